//! Links: what a [`Link`] is, and its [`Change`]s.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::str::FromStr;

use super::InterfaceName;
use super::message::{Message, attributes, nested, str_of, u32_of};
use super::netlink::{Request, Socket};
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
pub struct Mac(pub(super) [u8; 6]);

impl Mac {
    /// Its six bytes.
    pub fn bytes(self) -> [u8; 6] {
        self.0
    }
}

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
    flags: u32,
    mtu: u32,
    mac: Vec<u8>,
    master: u32,
    /// The link of this network namespace that it is on, as a macvlan is.
    parent: u32,
    /// What it is set to as the port of a bridge: attributes of `IFLA_INFO_SLAVE_DATA`.
    port: Vec<(u16, Vec<u8>)>,
    /// The number of the network namespace of the other end, of a veth whose other end is in another; [`ENDED`] where that has
    /// ended, and the kernel deletes both ends a moment later.
    pub(super) peer_netns: Option<u32>,
}

/// `NETNSA_NSID_NOT_ASSIGNED`.
pub(super) const ENDED: u32 = u32::MAX;

/// The kind of link that a message about one is about (`IFLA_INFO_KIND`).
pub(super) fn info_kind(message: &Message) -> Option<String> {
    let mut info = message.attributes(HEADER).filter(|(kind, _)| *kind == libc::IFLA_LINKINFO);
    let mut kinds = info.next().map(|(_, value)| attributes(value)).into_iter().flatten();
    kinds.find(|(kind, _)| *kind == libc::IFLA_INFO_KIND).map(|(_, value)| str_of(value))
}

/// Flags of linux/if.h.
const UP: u32 = libc::IFF_UP as u32;
const NOARP: u32 = libc::IFF_NOARP as u32;
const LOWER_UP: u32 = 1 << 16;
/// The length of `struct ifinfomsg`.
const HEADER: usize = 16;
/// `IFLA_NEW_IFINDEX` (Linux 5.13; before, a link whose number is taken gets another).
const NEW_IFINDEX: u16 = 49;

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
    /// Attached to nothing.
    NoMaster,
    /// Another name. Before Linux 6.2 the link has to be down.
    Rename(InterfaceName),
    /// Whether it resolves addresses by ARP and NDP (`IFF_NOARP`).
    Arp(bool),
    /// How the bridge that it is attached to treats it.
    Port(Port),
}

/// Settings of the port of a bridge, as in bridge(8): `KEY=VALUE,…` with the keys `isolated`, `hairpin`, `learning`, `flood`,
/// `mcast_flood`, `bcast_flood`, `guard`, `root_block`, `fastleave`, `neigh_suppress` (each `on` or `off`), `priority` (0 to
/// 63) and `cost` (1 to 65535).
///
/// ```
/// use libctr::net::link::Port;
/// assert!("isolated=on,learning=off".parse::<Port>().is_ok());
/// assert!("isolated=maybe".parse::<Port>().is_err());
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    text: String,
    attributes: Vec<(u16, Vec<u8>)>,
}

impl FromStr for Port {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // IFLA_BRPORT_* of linux/if_link.h
        const SWITCHES: [(&str, u16); 10] = [
            ("hairpin", 4),
            ("guard", 5),
            ("root_block", 6),
            ("fastleave", 7),
            ("learning", 8),
            ("flood", 9),
            ("mcast_flood", 27),
            ("bcast_flood", 30),
            ("neigh_suppress", 32),
            ("isolated", 33),
        ];
        let mut attributes: Vec<(u16, Vec<u8>)> = Vec::new();
        for part in text.split(',') {
            let invalid = |reason: &str| Error::invalid("parse bridge port", show(text), format!("{part:?} {reason}"));
            let (key, value) = part.split_once('=').ok_or_else(|| invalid("is not KEY=VALUE"))?;
            let number = |range: std::ops::RangeInclusive<u32>| {
                let digits = value.bytes().all(|byte| byte.is_ascii_digit());
                value.parse().ok().filter(|number| digits && range.contains(number))
            };
            let (kind, value) = match (SWITCHES.iter().find(|(name, _)| *name == key), key, value) {
                (Some((_, kind)), _, "on") => (*kind, vec![1]),
                (Some((_, kind)), _, "off") => (*kind, vec![0]),
                (Some(_), ..) => return Err(invalid("is neither on nor off")),
                (None, "priority", _) => {
                    let number = number(0..=63).ok_or_else(|| invalid("is not from 0 to 63"))?;
                    (2, (number as u16).to_ne_bytes().to_vec())
                }
                (None, "cost", _) => {
                    let number = number(1..=65535).ok_or_else(|| invalid("is not from 1 to 65535"))?;
                    (3, number.to_ne_bytes().to_vec())
                }
                _ => return Err(invalid("is no setting of a port")),
            };
            if attributes.iter().any(|(other, _)| *other == kind) {
                return Err(invalid("is given twice"));
            }
            attributes.push((kind, value));
        }
        Ok(Port { text: text.to_owned(), attributes })
    }
}

/// A message that sets these attributes of a bridge port.
fn port(index: u32, attributes: &[(u16, Vec<u8>)]) -> Message {
    /// `IFLA_INFO_SLAVE_KIND` and `IFLA_INFO_SLAVE_DATA`.
    const KIND: u16 = 4;
    const DATA: u16 = 5;
    let data = attributes.iter().fold(nested(), |data, (kind, value)| data.with(*kind, value));
    let info = nested().with_str(KIND, "bridge").with(DATA, &data.bytes);
    Message::link(libc::RTM_NEWLINK, index, 0, 0).with(libc::IFLA_LINKINFO, &info.bytes)
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
        self.flags & UP != 0
    }

    /// Whether it has a carrier (`IFF_LOWER_UP`): a veth whose other end is up.
    pub fn has_carrier(&self) -> bool {
        self.flags & LOWER_UP != 0
    }

    /// The largest packet, in bytes.
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// The hardware address, for Ethernet six bytes.
    pub fn hardware_address(&self) -> &[u8] {
        &self.mac
    }

    /// Whether it is on the link of this number, as a macvlan is.
    pub(super) fn is_on(&self, index: u32) -> bool {
        self.parent == index
    }

    /// The request that makes this change. To undo it is to restore what was there when the link was looked up.
    pub fn change(&self, change: Change) -> Request {
        let flag = |flag, on| Message::link(libc::RTM_NEWLINK, self.index, if on { flag } else { 0 }, flag);
        let none = || Message::link(libc::RTM_NEWLINK, self.index, 0, 0);
        let number = |kind, value| none().with_u32(kind, value);
        let name = &self.name;
        let (operation, object, message, undo) = match change {
            Change::Port(setting) => {
                let object = format!("{} of {name}", setting.text);
                let is_set = |(kind, _): &&(u16, Vec<u8>)| setting.attributes.iter().any(|(other, _)| other == kind);
                let former: Vec<_> = self.port.iter().filter(is_set).cloned().collect();
                let message = port(self.index, &setting.attributes);
                // what was no port before is none after the change of its master is undone
                let undo = (!former.is_empty()).then(|| port(self.index, &former));
                return Request::change("set bridge port", object, message, undo);
            }
            Change::Up => ("set link up", name.to_string(), flag(UP, true), flag(UP, self.is_up())),
            Change::Down => ("set link down", name.to_string(), flag(UP, false), flag(UP, self.is_up())),
            Change::Arp(on) => (
                "set arp",
                format!("{} of {name}", if on { "on" } else { "off" }),
                flag(NOARP, !on),
                flag(NOARP, self.flags & NOARP != 0),
            ),
            Change::Mtu(mtu) => {
                ("set mtu", format!("{mtu} of {name}"), number(libc::IFLA_MTU, mtu), number(libc::IFLA_MTU, self.mtu))
            }
            Change::Mac(mac) => (
                "set MAC address",
                format!("{mac} of {name}"),
                none().with(libc::IFLA_ADDRESS, &mac.0),
                none().with(libc::IFLA_ADDRESS, &self.mac),
            ),
            Change::Master(master) => {
                let object = format!("{name} to {}", master.name);
                let message = number(libc::IFLA_MASTER, master.index);
                let undo = number(libc::IFLA_MASTER, self.master);
                let request =
                    Request::change("attach link", object, message, Some(undo)).touching(self.index, self.master);
                return request.keeping_address(master.index, &master.mac);
            }
            Change::NoMaster => {
                ("detach link", name.to_string(), number(libc::IFLA_MASTER, 0), number(libc::IFLA_MASTER, self.master))
            }
            Change::Rename(to) => {
                let object = format!("{name} to {to}");
                let [message, undo] = [&to, name].map(|name| none().with_str(libc::IFLA_IFNAME, name.as_str()));
                return Request::change("rename link", object, message, Some(undo));
            }
        };
        Request::change(operation, object, message, Some(undo)).touching(self.index, self.master)
    }

    /// The request that moves the link to another network namespace, where it is down and has no addresses. It can be undone from
    /// there only, by a request of the same kind.
    #[doc(alias = "IFLA_NET_NS_FD")]
    pub fn move_to(&self, netns: impl AsFd) -> Request {
        self.move_as(netns.as_fd(), None)
    }

    fn move_as(&self, netns: BorrowedFd<'_>, index: Option<u32>) -> Request {
        let message = Message::link(libc::RTM_NEWLINK, self.index, 0, 0)
            .with_u32(libc::IFLA_NET_NS_FD, netns.as_raw_fd() as u32)
            .with_some_u32(NEW_IFINDEX, index);
        let object = format!("{} to the other network namespace", self.name);
        Request::change("move link", object, message, None).touching(self.index, self.master)
    }

    /// The same, back to where it was and had this number.
    pub(super) fn move_back(&self, (netns, index): &(impl AsFd, u32)) -> Request {
        self.move_as(netns.as_fd(), Some(*index))
    }

    /// Its name as a person should see it, whatever it is.
    pub(super) fn shown(&self) -> String {
        show(self.name.as_str()).to_string()
    }

    /// What gives back what this link, as it was before, and the same link `now` differ in, of what a move, or a change of the
    /// one that it is on, costs.
    pub(super) fn give_back(&self, now: &Link) -> Vec<Request> {
        let mut changes = Vec::new();
        if now.mtu != self.mtu {
            changes.push(Message::link(libc::RTM_NEWLINK, self.index, 0, 0).with_u32(libc::IFLA_MTU, self.mtu));
        }
        if now.master != self.master {
            changes.push(Message::link(libc::RTM_NEWLINK, self.index, 0, 0).with_u32(libc::IFLA_MASTER, self.master));
        }
        if now.flags & UP != self.flags & UP {
            changes.push(Message::link(libc::RTM_NEWLINK, self.index, self.flags, UP));
        }
        changes.into_iter().map(|message| Request::change("restore", self.shown(), message, None)).collect()
    }

    /// What gives back the settings of a port that differ `now`.
    pub(super) fn give_back_port(&self, now: &Link) -> Option<Request> {
        // its state, what only the kernel says, and a command to forget
        let writable = |kind: u16| !matches!(kind, 1 | 13..=24 | 26 | 35 | 36 | 38 | 41);
        let differs = |setting: &&(u16, Vec<u8>)| writable(setting.0) && !now.port.contains(setting);
        let differing: Vec<_> = self.port.iter().filter(differs).cloned().collect();
        let message = (!differing.is_empty()).then(|| port(self.index, &differing))?;
        Some(Request::change("restore", format!("bridge port {}", self.shown()), message, None))
    }

    /// The request that deletes the link, with a veth its other end too. It cannot be undone.
    pub fn delete(&self) -> Request {
        let message = Message::link(libc::RTM_DELLINK, self.index, 0, 0);
        Request::change("delete link", &self.name, message, None)
    }
}

impl Socket {
    /// The link of this name.
    ///
    /// # Errors
    /// ENODEV: there is none in the socket's network namespace.
    pub fn link(&mut self, name: &InterfaceName) -> Result<Link> {
        self.find(name.to_string(), named(libc::RTM_GETLINK, name))
    }

    /// The link of this number.
    ///
    /// # Errors
    /// ENODEV: there is none in the socket's network namespace. EINVAL: its name is one that [`InterfaceName`] refuses.
    pub fn link_at(&mut self, index: u32) -> Result<Link> {
        self.find(format!("number {index}"), Message::link(libc::RTM_GETLINK, index, 0, 0))
    }

    /// All links, those too with a name that [`InterfaceName`] refuses.
    pub(super) fn links(&mut self) -> Result<Vec<Link>> {
        let request = Request::change("list links", "", Message::link(libc::RTM_GETLINK, 0, 0, 0), None);
        Ok(self.dump(&request)?.iter().filter_map(Link::read).collect())
    }

    fn find(&mut self, object: String, message: Message) -> Result<Link> {
        let request = Request::change("find link", &object, message, None);
        let found = self.query(&request)?.iter().find_map(Link::read);
        let link = found.ok_or_else(|| Error::new("find link", object, Errno::ENODEV))?;
        link.name.as_str().parse::<InterfaceName>()?;
        Ok(link)
    }
}

impl Link {
    /// The link that a message is about, if it is about one, with the name that it has: it may be none that [`InterfaceName`]
    /// takes.
    pub(super) fn read(message: &Message) -> Option<Link> {
        let (index, flags) = message.header_u32(4).zip(message.header_u32(8))?;
        if message.kind != libc::RTM_NEWLINK {
            return None;
        }
        let (mut name, mut mtu, mut mac, mut master, mut parent, mut port) =
            (InterfaceName(String::new()), 0, Vec::new(), 0, 0, Vec::new());
        let mut netns = None;
        for (kind, value) in message.attributes(HEADER) {
            match kind {
                libc::IFLA_IFNAME => name = InterfaceName(str_of(value)),
                libc::IFLA_MTU => mtu = u32_of(value).unwrap_or(0),
                libc::IFLA_ADDRESS => mac = value.to_vec(),
                libc::IFLA_MASTER => master = u32_of(value).unwrap_or(0),
                libc::IFLA_LINK => parent = u32_of(value).unwrap_or(0),
                libc::IFLA_LINK_NETNSID => netns = u32_of(value),
                libc::IFLA_LINKINFO => {
                    /// `IFLA_INFO_SLAVE_DATA`.
                    const DATA: u16 = 5;
                    let data = attributes(value).filter(|(kind, _)| *kind == DATA);
                    port = data
                        .flat_map(|(_, value)| attributes(value))
                        .map(|(kind, value)| (kind, value.to_vec()))
                        .collect();
                }
                _ => {}
            }
        }
        let pair = info_kind(message).filter(|kind| matches!(kind.as_str(), "veth" | "vxcan" | "netkit"));
        if pair.is_some() || netns.is_some() {
            // the number is that of the other end, or one of another network namespace
            parent = 0;
        }
        let peer_netns = netns.filter(|_| pair.as_deref() == Some("veth"));
        Some(Link { index, name, flags, mtu, mac, master, parent, port, peer_netns })
    }
}

/// A message about the link of this name.
pub(super) fn named(kind: u16, name: &InterfaceName) -> Message {
    Message::link(kind, 0, 0, 0).with_str(libc::IFLA_IFNAME, name.as_str())
}

/// Makes a request that creates the link `name`, which `message` describes.
pub(super) fn create(
    operation: &'static str,
    object: String,
    name: &InterfaceName,
    message: Message,
    kind: &str,
    data: Option<Message>,
) -> Request {
    let mut info = nested().with_str(libc::IFLA_INFO_KIND, kind);
    if let Some(data) = data {
        info = info.with(libc::IFLA_INFO_DATA, &data.bytes);
    }
    let [undo, probe] = [libc::RTM_DELLINK, libc::RTM_GETLINK].map(|kind| named(kind, name));
    let message = message.with(libc::IFLA_LINKINFO, &info.bytes);
    Request::create(operation, object, message, undo).unless_found(probe)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::net::tests::{in_new_netns, name, new_netns};
    use crate::net::{LinkKind, Veth};
    use crate::ns::{Kind, Namespace};

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
    fn the_other_end_of_a_pair_is_nothing_that_a_link_is_on() {
        in_new_netns(|| {
            let netns = new_netns();
            let mut socket = Socket::open().unwrap();
            let mut transaction = socket.begin();
            LinkKind::Bridge.create(&mut transaction, &name("b0")).unwrap();
            let bridge = transaction.link(&name("b0")).unwrap();
            // the number of the peer, the first link over there, is that of the bridge here
            Veth::new(name("v0"), name("eth0")).create(&mut transaction, &netns).unwrap();
            let here = Namespace::current(Kind::Net).unwrap();
            Veth::new(name("w0"), name("w1")).create(&mut transaction, &here).unwrap();
            "macvlan,parent=b0".parse::<LinkKind>().unwrap().create(&mut transaction, &name("mv0")).unwrap();
            transaction.commit();
            assert_eq!(Socket::open_in(&netns).unwrap().link(&name("eth0")).unwrap().index(), bridge.index());
            let links = socket.links().unwrap();
            let on = |index| links.iter().filter(|link| link.is_on(index)).map(Link::name).collect::<Vec<_>>();
            assert_eq!(on(bridge.index()), [&name("mv0")]);
            assert!(links.iter().filter(|link| link.name().as_str() != "b0").all(|link| on(link.index()).is_empty()));
        });
    }

    #[test]
    fn an_error_names_the_attribute() {
        in_new_netns(|| {
            let mut socket = Socket::open().unwrap();
            let message =
                Message::link(libc::RTM_NEWLINK, 1, 0, 0).with_u32(libc::IFLA_MTU, 65536).with_u32(NEW_IFINDEX, 0);
            let error = socket.query(&Request::change("set", "lo", message, None)).unwrap_err();
            assert!(error.reason().ends_with(" (IFLA_NEW_IFINDEX)"), "{error}");
            let data = nested().with(1, &[1, 2]);
            let request =
                create("create", "x".into(), &name("x"), named(libc::RTM_NEWLINK, &name("x")), "vxlan", Some(data));
            let error = socket.run(&[request]).unwrap_err();
            assert!(error.reason().ends_with(" (IFLA_LINKINFO > IFLA_INFO_DATA > attribute 1)"), "{error}");
            // of the peer in the data of a veth
            let peer = Message::link(0, 0, 0, 0).with_str(libc::IFLA_IFNAME, "peer").with(libc::IFLA_MTU, &[1]);
            let data = nested().with(1, &peer.bytes);
            let request =
                create("create", "x".into(), &name("x"), named(libc::RTM_NEWLINK, &name("x")), "veth", Some(data));
            let error = socket.run(&[request]).unwrap_err();
            let path = " (IFLA_LINKINFO > IFLA_INFO_DATA > attribute 1 > IFLA_MTU)";
            assert!(error.reason().ends_with(path), "{error}");
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
}
