//! [`LinkKind`]: links that are made by one request, other than veth pairs.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::str::FromStr;

use super::InterfaceName;
use super::link::{create, named};
use super::message::nested;
use super::netlink::{Request, Socket};
use super::transaction::Transaction;
use super::tun::Tun;
use crate::error::{Error, Result, show};

/// How the macvlans of one parent see each other, see ip-link(8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacVlanMode {
    /// Not at all.
    Private = 1,
    /// Through the switch outside.
    Vepa = 2,
    /// Directly.
    Bridge = 4,
    /// There is only one.
    Passthru = 8,
}

/// What an ipvlan shares with its parent, see ip-link(8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVlanMode {
    /// Switching, with broadcast.
    L2 = 0,
    /// Routing.
    L3 = 1,
    /// Routing, with the parent's netfilter rules.
    L3s = 2,
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
    /// `wireguard`: a tunnel, to be configured by wg(8).
    Wireguard,
    /// `tun[,user=N][,group=N][,multi_queue]` or `tap,…`: packets, or frames, go to and come from a program that opens it; see
    /// [`Tun`]. It stays without one.
    Tun(Tun),
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
        if let LinkKind::Tun(tun) = self {
            return tun.create(transaction, name);
        }
        let request = self.request(transaction, name, None)?;
        transaction.run(&[request])
    }

    /// Makes a link of this kind in another network namespace; its parent is in the transaction's. `there` is a socket in that
    /// one, without which it is not taken back with the transaction.
    ///
    /// # Errors
    /// As [`LinkKind::create`]. EINVAL: a tun or tap device, which is made where it is.
    pub fn create_in(
        &self,
        transaction: &mut Transaction<'_>,
        name: &InterfaceName,
        netns: impl AsFd,
        there: Option<Socket>,
    ) -> Result<()> {
        let request = self.request(transaction, name, Some(netns.as_fd()))?;
        transaction.undo_there(there, name, None);
        transaction.run(&[request.elsewhere()])
    }

    fn request(
        &self,
        transaction: &mut Transaction<'_>,
        name: &InterfaceName,
        netns: Option<BorrowedFd<'_>>,
    ) -> Result<Request> {
        let mut parent = |name: &InterfaceName| Ok::<_, Error>(transaction.link(name)?.index());
        // the attributes of IFLA_INFO_DATA are those of linux/if_link.h, IFLA_MACVLAN_MODE and so on
        let mut link = None;
        let (kind, data) = match self {
            LinkKind::Bridge => ("bridge", None),
            LinkKind::Dummy => ("dummy", None),
            LinkKind::Ifb => ("ifb", None),
            LinkKind::Wireguard => ("wireguard", None),
            LinkKind::Macvlan(name, mode) | LinkKind::Macvtap(name, mode) => {
                link = Some(parent(name)?);
                let kind = if matches!(self, LinkKind::Macvlan(..)) { "macvlan" } else { "macvtap" };
                (kind, Some(nested().with_u32(1, *mode as u32)))
            }
            LinkKind::Ipvlan(name, mode) => {
                link = Some(parent(name)?);
                ("ipvlan", Some(nested().with(1, &(*mode as u16).to_ne_bytes())))
            }
            LinkKind::Vlan(name, id) => {
                link = Some(parent(name)?);
                ("vlan", Some(nested().with(1, &id.to_ne_bytes())))
            }
            LinkKind::Vxlan(vxlan) => {
                let parent = vxlan.parent.as_ref().map(parent).transpose()?;
                let mut data =
                    nested().with_u32(1, vxlan.id).with(15, &vxlan.port.to_be_bytes()).with_some_u32(3, parent);
                for (ip, v4, v6) in [(vxlan.remote, 2, 16), (vxlan.local, 4, 17)] {
                    if let Some(ip) = ip {
                        data = data.with_ip(if ip.is_ipv4() { v4 } else { v6 }, ip);
                    }
                }
                ("vxlan", Some(data))
            }
            LinkKind::Vrf(table) => ("vrf", Some(nested().with_u32(1, *table))),
            LinkKind::Tun(_) => {
                return Err(Error::invalid(
                    "create link",
                    name,
                    "a tun or tap device is made in the network namespace it is in",
                ));
            }
        };
        let message = named(libc::RTM_NEWLINK, name)
            .with_some_u32(libc::IFLA_LINK, link)
            .with_some_u32(libc::IFLA_NET_NS_FD, netns.map(|netns| netns.as_raw_fd() as u32));
        Ok(create("create link", format!("{name} of kind {kind}"), name, message, kind, data))
    }
}

impl FromStr for LinkKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |reason: String| Error::invalid("parse link kind", show(text), reason);
        let mut parts = text.split(',');
        let kind = parts.next().unwrap_or_default();
        if matches!(kind, "tun" | "tap") {
            return text.parse().map(LinkKind::Tun);
        }
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
            "wireguard" => LinkKind::Wireguard,
            "macvlan" | "macvtap" => {
                let parent = take("parent").ok_or_else(|| invalid("needs parent=NAME".into()))?.parse()?;
                let mode = match take("mode").unwrap_or("bridge") {
                    "bridge" => MacVlanMode::Bridge,
                    "private" => MacVlanMode::Private,
                    "vepa" => MacVlanMode::Vepa,
                    "passthru" => MacVlanMode::Passthru,
                    other => return Err(invalid(format!("mode {other:?} is none of bridge, private, vepa, passthru"))),
                };
                if kind == "macvlan" { LinkKind::Macvlan(parent, mode) } else { LinkKind::Macvtap(parent, mode) }
            }
            "ipvlan" => {
                let parent = take("parent").ok_or_else(|| invalid("needs parent=NAME".into()))?.parse()?;
                let mode = match take("mode").unwrap_or("l3") {
                    "l2" => IpVlanMode::L2,
                    "l3" => IpVlanMode::L3,
                    "l3s" => IpVlanMode::L3s,
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
                let kinds = "bridge, dummy, ifb, macvlan, macvtap, ipvlan, vlan, vxlan, vrf, wireguard, tun, tap";
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
    use super::*;
    use crate::Errno;

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
