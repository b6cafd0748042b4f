//! Links: [`Veth`] pairs and the other [kinds](LinkKind), what a [`Link`] is, and its [`Change`]s.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd};
use std::str::FromStr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoData, InfoIpVlan, InfoKind, InfoMacVlan, InfoMacVtap, InfoVeth, InfoVlan, InfoVrf, InfoVxlan, IpVlanMode,
    LinkAttribute, LinkFlags, LinkInfo, LinkMessage, MacVlanMode,
};

use super::InterfaceName;
use super::netlink::{Request, Socket, Transaction};
use crate::error::{Errno, Error, Result, show};

/// The hardware address of one Ethernet interface: neither multicast nor all zeroes.
///
/// ```
/// use libctr::net::Mac;
/// assert_eq!("02:00:00:00:00:0A".parse::<Mac>()?.to_string(), "02:00:00:00:00:0a");
/// assert!("01:00:5e:00:00:01".parse::<Mac>().is_err());
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac([u8; 6]);

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |reason| Error::invalid("parse MAC address", show(text), reason);
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|c| c.is_ascii_hexdigit()));
            *byte = part
                .and_then(|part| u8::from_str_radix(part, 16).ok())
                .ok_or_else(|| invalid("is not six bytes in hexadecimal, as in 02:00:00:00:00:01"))?;
        }
        if parts.next().is_some() {
            return Err(invalid("is longer than six bytes"));
        }
        if bytes[0] & 1 != 0 || bytes == [0; 6] {
            return Err(invalid("is a multicast address or zero, which no interface can have"));
        }
        Ok(Mac(bytes))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// An interface as it was when it was [looked up](Socket::link).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    index: u32,
    name: InterfaceName,
    flags: LinkFlags,
    mtu: u32,
    mac: Vec<u8>,
    master: u32,
}

/// A change of one property of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Up: it receives and sends (`IFF_UP`).
    Up,
    /// Down. Its routes go.
    Down,
    /// The largest packet, in bytes.
    Mtu(u32),
    /// The hardware address. Most kinds take it while they are up too.
    Mac(Mac),
    /// Attached to this bridge, vrf, bond or team.
    Master(Link),
    /// Another name. Before Linux 6.2 the link has to be down.
    Rename(InterfaceName),
    /// Whether it resolves addresses by ARP and NDP (`IFF_NOARP`).
    Arp(bool),
}

impl Link {
    /// Its number in its network namespace.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Its name.
    pub fn name(&self) -> &InterfaceName {
        &self.name
    }

    /// Whether it is up (`IFF_UP`).
    pub fn is_up(&self) -> bool {
        self.flags.contains(LinkFlags::Up)
    }

    /// Whether it has a carrier (`IFF_LOWER_UP`): a veth whose other end is up.
    pub fn has_carrier(&self) -> bool {
        self.flags.contains(LinkFlags::LowerUp)
    }

    /// The largest packet, in bytes.
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// The hardware address, for Ethernet six bytes.
    pub fn hardware_address(&self) -> &[u8] {
        &self.mac
    }

    /// The request that makes this change. To undo it is to restore what was there when the link was looked up.
    pub fn change(&self, change: Change) -> Request {
        let (up, arp) = (LinkFlags::Up, LinkFlags::Noarp);
        let flag = |flag, on| self.message(if on { flag } else { LinkFlags::empty() }, flag, None);
        let attribute = |attribute| self.message(LinkFlags::empty(), LinkFlags::empty(), Some(attribute));
        let name = &self.name;
        let (operation, object, message, undo) = match change {
            Change::Up => ("set link up", name.to_string(), flag(up, true), flag(up, self.is_up())),
            Change::Down => ("set link down", name.to_string(), flag(up, false), flag(up, self.is_up())),
            Change::Arp(on) => (
                "set arp",
                format!("{} of {name}", if on { "on" } else { "off" }),
                flag(arp, !on),
                flag(arp, self.flags.contains(arp)),
            ),
            Change::Mtu(mtu) => (
                "set mtu",
                format!("{mtu} of {name}"),
                attribute(LinkAttribute::Mtu(mtu)),
                attribute(LinkAttribute::Mtu(self.mtu)),
            ),
            Change::Mac(mac) => (
                "set MAC address",
                format!("{mac} of {name}"),
                attribute(LinkAttribute::Address(mac.0.into())),
                attribute(LinkAttribute::Address(self.mac.clone())),
            ),
            Change::Master(master) => (
                "attach link",
                format!("{name} to {}", master.name),
                attribute(LinkAttribute::Controller(master.index)),
                attribute(LinkAttribute::Controller(self.master)),
            ),
            Change::Rename(to) => (
                "rename link",
                format!("{name} to {to}"),
                attribute(LinkAttribute::IfName(to.as_str().to_owned())),
                attribute(LinkAttribute::IfName(name.as_str().to_owned())),
            ),
        };
        let wrap = RouteNetlinkMessage::NewLink;
        Request::change(operation, object, wrap(message), Some(wrap(undo)))
    }

    /// The request that deletes the link, with a veth its other end too. It cannot be undone.
    pub fn delete(&self) -> Request {
        let message = self.message(LinkFlags::empty(), LinkFlags::empty(), None);
        Request::change("delete link", &self.name, RouteNetlinkMessage::DelLink(message), None)
    }

    fn message(&self, flags: LinkFlags, mask: LinkFlags, attribute: Option<LinkAttribute>) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = self.index;
        message.header.flags = flags;
        message.header.change_mask = mask;
        message.attributes.extend(attribute);
        message
    }
}

impl Socket {
    /// The link of this name.
    ///
    /// # Errors
    /// ENODEV: there is none in the socket's network namespace.
    pub fn link(&mut self, name: &InterfaceName) -> Result<Link> {
        self.find(name.to_string(), named(name, Vec::new()))
    }

    /// The link of this number.
    ///
    /// # Errors
    /// ENODEV: there is none in the socket's network namespace. EINVAL: its name is one that [`InterfaceName`] refuses.
    pub fn link_at(&mut self, index: u32) -> Result<Link> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.find(format!("number {index}"), message)
    }

    fn find(&mut self, object: String, message: LinkMessage) -> Result<Link> {
        let request = Request::change("find link", &object, RouteNetlinkMessage::GetLink(message), None);
        let found = self.query(&request)?.into_iter().find_map(|message| match message {
            RouteNetlinkMessage::NewLink(message) => Some(message),
            _ => None,
        });
        let Some(message) = found else { return Err(Error::new("find link", object, Errno::ENODEV)) };
        let (mut name, mut mtu, mut mac, mut master) = (String::new(), 0, Vec::new(), 0);
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name = text,
                LinkAttribute::Mtu(bytes) => mtu = bytes,
                LinkAttribute::Address(bytes) => mac = bytes,
                LinkAttribute::Controller(index) => master = index,
                _ => {}
            }
        }
        Ok(Link { index: message.header.index, name: name.parse()?, flags: message.header.flags, mtu, mac, master })
    }
}

impl Transaction<'_> {
    /// The link of this name.
    ///
    /// # Errors
    /// ENODEV: there is none in the socket's network namespace.
    pub fn link(&mut self, name: &InterfaceName) -> Result<Link> {
        self.socket().link(name)
    }
}

fn named(name: &InterfaceName, attributes: Vec<LinkAttribute>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = vec![LinkAttribute::IfName(name.as_str().to_owned())];
    message.attributes.extend(attributes);
    message
}

/// Makes a request that creates the link `name`.
fn create(
    operation: &'static str,
    object: String,
    name: &InterfaceName,
    mut attributes: Vec<LinkAttribute>,
    kind: InfoKind,
    data: Option<InfoData>,
) -> Request {
    let mut info = vec![LinkInfo::Kind(kind)];
    info.extend(data.map(LinkInfo::Data));
    attributes.push(LinkAttribute::LinkInfo(info));
    let message = RouteNetlinkMessage::NewLink(named(name, attributes));
    Request::create(operation, object, message, RouteNetlinkMessage::DelLink(named(name, Vec::new())))
}

/// A pair of virtual Ethernet interfaces, each of which receives what the other sends, see veth(4).
#[derive(Clone, Debug)]
#[must_use]
pub struct Veth {
    host: InterfaceName,
    peer: InterfaceName,
    mtu: Option<u32>,
    host_mac: Option<Mac>,
    peer_mac: Option<Mac>,
    queues: Option<u32>,
}

impl Veth {
    /// A pair with these names, and all else as the kernel chooses.
    pub fn new(host: InterfaceName, peer: InterfaceName) -> Self {
        Veth { host, peer, mtu: None, host_mac: None, peer_mac: None, queues: None }
    }

    /// The largest packet of both ends, in bytes: 68 to 65535.
    pub fn mtu(self, bytes: u32) -> Self {
        Veth { mtu: Some(bytes), ..self }
    }

    /// The hardware address of the host end.
    pub fn host_mac(self, mac: Mac) -> Self {
        Veth { host_mac: Some(mac), ..self }
    }

    /// The hardware address of the peer.
    pub fn peer_mac(self, mac: Mac) -> Self {
        Veth { peer_mac: Some(mac), ..self }
    }

    /// The number of receive and of transmit queues of both ends: 1 to 4096. What one CPU sends then need not wait for
    /// another.
    pub fn queues(self, count: u32) -> Self {
        Veth { queues: Some(count), ..self }
    }

    /// Makes the pair: the host end in the transaction's network namespace, the peer born in `netns`, where it never had
    /// another name or was seen elsewhere. Both ends are down.
    ///
    /// # Errors
    /// EEXIST: one of the names is taken; the message says which. EPERM: CAP_NET_ADMIN is missing over one of the network
    /// namespaces; the hint says which. EOPNOTSUPP: the kernel has no veth. ERANGE, EINVAL: the MTU or the number of queues is
    /// out of range.
    pub fn create(&self, transaction: &mut Transaction<'_>, netns: impl AsFd) -> Result<()> {
        let netns = netns.as_fd();
        let common = |mac: Option<Mac>| {
            let queues = self.queues.into_iter();
            let queues = queues.flat_map(|n| [LinkAttribute::NumTxQueues(n), LinkAttribute::NumRxQueues(n)]);
            let mac = mac.map(|mac| LinkAttribute::Address(mac.0.into()));
            self.mtu.map(LinkAttribute::Mtu).into_iter().chain(mac).chain(queues).collect::<Vec<_>>()
        };
        let mut peer = common(self.peer_mac);
        peer.push(LinkAttribute::NetNsFd(netns.as_raw_fd()));
        let data = InfoData::Veth(InfoVeth::Peer(named(&self.peer, peer)));
        let object = format!("{} with peer {}", self.host, self.peer);
        let request = create("create veth", object, &self.host, common(self.host_mac), InfoKind::Veth, Some(data));
        transaction.run(&[request]).map_err(|error| match error.errno() {
            Errno::EEXIST if transaction.link(&self.host).is_ok() => error.with_reason(format!("{} exists", self.host)),
            Errno::EEXIST => error.with_reason(format!("{} exists in the network namespace of the peer", self.peer)),
            _ => error,
        })
    }
}

/// A kind of link other than veth, as in ip-link(8): `KIND[,KEY=VALUE]…`.
///
/// ```
/// use libctr::net::LinkKind;
/// assert_eq!("bridge".parse::<LinkKind>()?, LinkKind::Bridge);
/// assert!("macvlan,parent=eth0,mode=private".parse::<LinkKind>().is_ok());
/// assert!("macvlan".parse::<LinkKind>().is_err());
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// `bridge`: an Ethernet switch.
    Bridge,
    /// `dummy`: drops what it is given.
    Dummy,
    /// `ifb`: an intermediate functional block, for shaping what comes in.
    Ifb,
    /// `macvlan,parent=NAME[,mode=bridge|private|vepa|passthru]`: another hardware address on the parent; mode `bridge` by
    /// default.
    Macvlan(InterfaceName, MacVlanMode),
    /// `macvtap`, with the keys of `macvlan`: the same, as a tap(4) device.
    Macvtap(InterfaceName, MacVlanMode),
    /// `ipvlan,parent=NAME[,mode=l2|l3|l3s]`: other IP addresses with the parent's hardware address; mode `l3` by default.
    Ipvlan(InterfaceName, IpVlanMode),
    /// `vlan,parent=NAME,id=N`: the frames of the parent with this 802.1Q tag, 0 to 4094.
    Vlan(InterfaceName, u16),
    /// `vxlan,id=N[,parent=NAME][,remote=IP][,local=IP][,port=N]`: Ethernet in UDP; port 4789 by default.
    Vxlan(Vxlan),
    /// `vrf,table=N`: the routes of what is attached to it come from this table.
    Vrf(u32),
}

/// What a `vxlan` link needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vxlan {
    id: u32,
    parent: Option<InterfaceName>,
    remote: Option<std::net::IpAddr>,
    local: Option<std::net::IpAddr>,
    port: u16,
}

impl LinkKind {
    /// Makes a link of this kind, which is down.
    ///
    /// # Errors
    /// EEXIST: the name is taken. ENODEV: there is no such parent. EOPNOTSUPP: the kernel has no such kind. EPERM: no
    /// CAP_NET_ADMIN over the network namespace.
    pub fn create(&self, transaction: &mut Transaction<'_>, name: &InterfaceName) -> Result<()> {
        let mut parent = |name: &InterfaceName| Ok::<_, Error>(transaction.link(name)?.index());
        let (kind, link, data) = match self {
            LinkKind::Bridge => (InfoKind::Bridge, None, None),
            LinkKind::Dummy => (InfoKind::Dummy, None, None),
            LinkKind::Ifb => (InfoKind::Ifb, None, None),
            LinkKind::Macvlan(name, mode) => {
                let data = InfoData::MacVlan(vec![InfoMacVlan::Mode(*mode)]);
                (InfoKind::MacVlan, Some(parent(name)?), Some(data))
            }
            LinkKind::Macvtap(name, mode) => {
                let data = InfoData::MacVtap(vec![InfoMacVtap::Mode(*mode)]);
                (InfoKind::MacVtap, Some(parent(name)?), Some(data))
            }
            LinkKind::Ipvlan(name, mode) => {
                let data = InfoData::IpVlan(vec![InfoIpVlan::Mode(*mode)]);
                (InfoKind::IpVlan, Some(parent(name)?), Some(data))
            }
            LinkKind::Vlan(name, id) => {
                (InfoKind::Vlan, Some(parent(name)?), Some(InfoData::Vlan(vec![InfoVlan::Id(*id)])))
            }
            LinkKind::Vxlan(vxlan) => {
                let mut data = vec![InfoVxlan::Id(vxlan.id), InfoVxlan::Port(vxlan.port)];
                if let Some(name) = &vxlan.parent {
                    data.push(InfoVxlan::Link(parent(name)?));
                }
                data.extend(vxlan.remote.map(|ip| match ip {
                    std::net::IpAddr::V4(ip) => InfoVxlan::Group(ip),
                    std::net::IpAddr::V6(ip) => InfoVxlan::Group6(ip),
                }));
                data.extend(vxlan.local.map(|ip| match ip {
                    std::net::IpAddr::V4(ip) => InfoVxlan::Local(ip),
                    std::net::IpAddr::V6(ip) => InfoVxlan::Local6(ip),
                }));
                (InfoKind::Vxlan, None, Some(InfoData::Vxlan(data)))
            }
            LinkKind::Vrf(table) => (InfoKind::Vrf, None, Some(InfoData::Vrf(vec![InfoVrf::TableId(*table)]))),
        };
        let attributes = link.map(LinkAttribute::Link).into_iter().collect();
        let object = format!("{name} of kind {kind}");
        transaction.run(&[create("create link", object, name, attributes, kind, data)])
    }
}

impl FromStr for LinkKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |reason: String| Error::invalid("parse link kind", show(text), reason);
        let mut parts = text.split(',');
        let kind = parts.next().unwrap_or_default();
        let mut keys = Vec::new();
        for part in parts {
            let (key, value) = part.split_once('=').ok_or_else(|| invalid(format!("{part:?} is not KEY=VALUE")))?;
            if keys.iter().any(|(other, _)| *other == key) {
                return Err(invalid(format!("{key} is given twice")));
            }
            keys.push((key, value));
        }
        let mut take =
            |key: &str| keys.iter().position(|(found, _)| *found == key).map(|found| keys.swap_remove(found).1);
        fn number<T: FromStr>(key: &str, value: Option<&str>) -> std::result::Result<T, String> {
            let value = value.ok_or_else(|| format!("needs {key}=N"))?;
            let digits = value.bytes().all(|byte| byte.is_ascii_digit());
            value.parse().ok().filter(|_| digits).ok_or_else(|| format!("{key}={value} is out of range or no number"))
        }
        let parsed = match kind {
            "bridge" => LinkKind::Bridge,
            "dummy" => LinkKind::Dummy,
            "ifb" => LinkKind::Ifb,
            "macvlan" | "macvtap" => {
                let parent = take("parent").ok_or_else(|| invalid("needs parent=NAME".into()))?.parse()?;
                let mode = match take("mode").unwrap_or("bridge") {
                    "bridge" => MacVlanMode::Bridge,
                    "private" => MacVlanMode::Private,
                    "vepa" => MacVlanMode::Vepa,
                    "passthru" => MacVlanMode::Passthrough,
                    other => return Err(invalid(format!("mode {other:?} is none of bridge, private, vepa, passthru"))),
                };
                if kind == "macvlan" { LinkKind::Macvlan(parent, mode) } else { LinkKind::Macvtap(parent, mode) }
            }
            "ipvlan" => {
                let parent = take("parent").ok_or_else(|| invalid("needs parent=NAME".into()))?.parse()?;
                let mode = match take("mode").unwrap_or("l3") {
                    "l2" => IpVlanMode::L2,
                    "l3" => IpVlanMode::L3,
                    "l3s" => IpVlanMode::L3S,
                    other => return Err(invalid(format!("mode {other:?} is none of l2, l3, l3s"))),
                };
                LinkKind::Ipvlan(parent, mode)
            }
            "vlan" => {
                let parent = take("parent").ok_or_else(|| invalid("needs parent=NAME".into()))?.parse()?;
                let id = number("id", take("id")).map_err(invalid)?;
                if id > 4094 {
                    return Err(invalid(format!("id {id} is not from 0 to 4094")));
                }
                LinkKind::Vlan(parent, id)
            }
            "vxlan" => {
                let id = number("id", take("id")).map_err(invalid)?;
                if id > 0xff_ffff {
                    return Err(invalid(format!("id {id} is not from 0 to 16777215")));
                }
                let mut ip = |key| {
                    let parse =
                        |text: &str| text.parse().map_err(|_| invalid(format!("{key}={text} is no IP address")));
                    take(key).map(parse).transpose()
                };
                let (remote, local) = (ip("remote")?, ip("local")?);
                let parent = take("parent").map(str::parse).transpose()?;
                let port = take("port").map_or(Ok(4789), |port| number("port", Some(port))).map_err(invalid)?;
                LinkKind::Vxlan(Vxlan { id, parent, remote, local, port })
            }
            "vrf" => match number("table", take("table")).map_err(invalid)? {
                0 => return Err(invalid("table 0 is no table".into())),
                table => LinkKind::Vrf(table),
            },
            "veth" => return Err(invalid("is made by veth-create".into())),
            _ => {
                let kinds = "bridge, dummy, ifb, macvlan, macvtap, ipvlan, vlan, vxlan, vrf";
                return Err(invalid(format!("{kind:?} is none of {kinds}")));
            }
        };
        match keys.first() {
            Some((key, _)) => Err(invalid(format!("{kind} takes no {key}"))),
            None => Ok(parsed),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::net::tests::in_new_netns;
    use crate::ns::{Kind, Namespace};

    fn name(text: &str) -> InterfaceName {
        text.parse().unwrap()
    }

    /// A new network namespace, held by descriptor alone.
    fn new_netns() -> OwnedFd {
        let make = || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            Namespace::current(Kind::Net).unwrap().into_fd()
        };
        std::thread::spawn(make).join().unwrap()
    }

    #[test]
    fn the_peer_is_born_where_it_belongs() {
        in_new_netns(|| {
            let netns = new_netns();
            let (mut here, mut there) = (Socket::open().unwrap(), Socket::open_in(&netns).unwrap());
            let mut transaction = here.begin();
            Veth::new(name("v0"), name("eth0"))
                .mtu(1400)
                .queues(2)
                .host_mac("02:00:00:00:00:01".parse().unwrap())
                .peer_mac("02:00:00:00:00:02".parse().unwrap())
                .create(&mut transaction, &netns)
                .unwrap();
            transaction.commit();
            let (host, peer) = (here.link(&name("v0")).unwrap(), there.link(&name("eth0")).unwrap());
            assert_eq!((host.mtu(), peer.mtu()), (1400, 1400));
            assert_eq!(host.hardware_address(), [2, 0, 0, 0, 0, 1]);
            assert_eq!(peer.hardware_address(), [2, 0, 0, 0, 0, 2]);
            assert_eq!(here.link(&name("eth0")).unwrap_err().errno(), Errno::ENODEV);
            here.run(&[host.change(Change::Up)]).unwrap();
            there.run(&[peer.change(Change::Up)]).unwrap();
            assert!(here.link(&name("v0")).unwrap().has_carrier());
            here.run(&[host.delete()]).unwrap();
            assert_eq!(there.link(&name("eth0")).unwrap_err().errno(), Errno::ENODEV);
        });
    }

    #[test]
    fn a_taken_name_is_named_and_nothing_is_left() {
        in_new_netns(|| {
            let netns = new_netns();
            let (mut here, mut there) = (Socket::open().unwrap(), Socket::open_in(&netns).unwrap());
            for socket in [&mut here, &mut there] {
                let mut transaction = socket.begin();
                LinkKind::Bridge.create(&mut transaction, &name("taken")).unwrap();
                transaction.commit();
            }
            let mut transaction = here.begin();
            let error = Veth::new(name("taken"), name("eth0")).create(&mut transaction, &netns).unwrap_err();
            assert_eq!(error.to_string(), "create veth taken with peer eth0: taken exists (EEXIST)");
            let error = Veth::new(name("v0"), name("taken")).create(&mut transaction, &netns).unwrap_err();
            assert_eq!(
                error.to_string(),
                "create veth v0 with peer taken: taken exists in the network namespace of the peer (EEXIST)"
            );
            drop(transaction);
            assert!(here.link(&name("v0")).is_err());
            assert!(there.link(&name("eth0")).is_err());
        });
    }

    #[test]
    fn a_failed_batch_is_undone() {
        in_new_netns(|| {
            let netns = new_netns();
            let mut here = Socket::open().unwrap();
            let mut transaction = here.begin();
            Veth::new(name("v0"), name("eth0")).create(&mut transaction, &netns).unwrap();
            let link = transaction.link(&name("v0")).unwrap();
            let error = transaction
                .run(&[link.change(Change::Rename(name("v1"))), link.change(Change::Mtu(7)), link.change(Change::Up)])
                .unwrap_err();
            assert_eq!(error.operation(), "set mtu");
            assert_eq!(error.to_string(), "set mtu 7 of v0: Invalid argument: mtu less than device minimum (EINVAL)");
            transaction.commit();
            assert!(here.link(&name("v0")).is_err());
            assert!(here.link(&name("v1")).is_err());
        });
    }

    #[test]
    fn makes_every_kind_or_says_that_the_kernel_has_it_not() {
        in_new_netns(|| {
            let netns = new_netns();
            let mut socket = Socket::open().unwrap();
            let mut transaction = socket.begin();
            Veth::new(name("v0"), name("v1")).create(&mut transaction, &netns).unwrap();
            for kind in [
                "bridge",
                "dummy",
                "ifb",
                "ipvlan,parent=v0",
                "macvlan,parent=v0,mode=private",
                "macvtap,parent=v0",
                "vlan,parent=v0,id=5",
                "vxlan,id=42,remote=192.0.2.1,port=4790",
                "vrf,table=10",
            ] {
                let mut text = format!("t{}", kind.split(',').next().unwrap());
                text.truncate(15);
                match kind.parse::<LinkKind>().unwrap().create(&mut transaction, &name(&text)) {
                    Ok(()) => assert!(transaction.link(&name(&text)).is_ok()),
                    Err(error) => {
                        assert_eq!(error.errno(), Errno::EOPNOTSUPP, "{error}");
                        eprintln!("{kind}: {error}");
                        // the failure undid all; begin again
                        Veth::new(name("v0"), name("v1")).create(&mut transaction, &netns).unwrap();
                    }
                }
            }
            drop(transaction);
            assert!(socket.link(&name("v0")).is_err());
            assert!(socket.link(&name("tbridge")).is_err());
        });
    }

    #[test]
    fn kinds_are_refused_for_a_reason() {
        for bad in [
            "",
            "veth",
            "bridge,x=1",
            "vlan,parent=a",
            "vlan,parent=a,id=4095",
            "vlan,id=1",
            "macvlan",
            "vrf,table=0",
            "vrf",
            "vxlan",
            "vxlan,id=+1",
            "vxlan,id=1,remote=x",
            "vxlan,id=1,id=2",
            "macvlan,parent=a,mode=x",
            "ipvlan,parent",
        ] {
            assert_eq!(bad.parse::<LinkKind>().unwrap_err().errno(), Errno::EINVAL, "{bad}");
        }
    }
}
