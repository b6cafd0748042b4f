//! [`Address`] and [`Prefix`]: IP addresses with the length of their network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use super::link::Link;
use super::message::{Message, ip_of, u32_of};
use super::netlink::{Request, Socket};
use crate::error::{Error, Result, show};

/// An interface's address with the length of its network: `10.0.0.1/24`, `2001:db8::1/64`.
///
/// ```
/// use libctr::net::Address;
/// assert_eq!("10.0.0.1/24".parse::<Address>()?.prefix().to_string(), "10.0.0.0/24");
/// assert!("10.0.0.1".parse::<Address>().is_err());
/// assert!("10.0.0.1/33".parse::<Address>().is_err());
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    ip: IpAddr,
    length: u8,
}

/// A network: an address whose bits beyond the length are zero. A bare address is the network of itself alone.
///
/// ```
/// use libctr::net::Prefix;
/// assert_eq!("10.0.0.7".parse::<Prefix>()?.to_string(), "10.0.0.7/32");
/// assert!("10.0.0.7/24".parse::<Prefix>().is_err());
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    ip: IpAddr,
    length: u8,
}

impl Address {
    /// The address itself.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The network that it is in.
    pub fn prefix(&self) -> Prefix {
        Prefix { ip: network(self.ip, self.length), length: self.length }
    }

    /// The request that gives this address to `link`, with all else as [`Assignment`] has it by default; with `nodad`, an IPv6
    /// address is usable at once, without duplicate address detection (`IFA_F_NODAD`).
    pub fn add(&self, link: &Link, nodad: bool) -> Request {
        Assignment { nodad, ..Assignment::from(*self) }.add(link)
    }
}

/// How an interface is to have an address:
/// `ADDR/LEN[,nodad][,scope=global|link|host|N][,peer=ADDR][,broadcast=ADDR|none][,lifetime=SECONDS[:SECONDS]]`, as in
/// ip-address(8). `nodad` is for IPv6, `scope` and `broadcast` for IPv4.
///
/// ```
/// use libctr::net::Assignment;
/// assert!("10.0.0.1/32,peer=10.0.0.2,scope=link".parse::<Assignment>().is_ok());
/// assert!("2001:db8::1/64,lifetime=3600:1800".parse::<Assignment>().is_ok());
/// assert!("2001:db8::1/64,broadcast=10.0.0.1".parse::<Assignment>().is_err());
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    address: Address,
    /// IPv6: no duplicate address detection.
    nodad: bool,
    /// By default what the address is: loopback `host`, link-local `link`, else `global`.
    scope: Option<u8>,
    /// The other end of a point-to-point link; the network is the peer's then.
    peer: Option<IpAddr>,
    broadcast: Broadcast,
    /// For how many seconds it is valid, and preferred for new connections; for ever by default.
    lifetime: Option<(u32, u32)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broadcast {
    /// The last address of an IPv4 network larger than two addresses, as by ip-address(8) with `brd +`.
    Last,
    None,
    Is(Ipv4Addr),
}

impl From<Address> for Assignment {
    fn from(address: Address) -> Self {
        Assignment { address, nodad: false, scope: None, peer: None, broadcast: Broadcast::Last, lifetime: None }
    }
}

impl Assignment {
    /// The address.
    pub fn ip(&self) -> IpAddr {
        self.address.ip
    }

    /// The request that gives the address to `link`.
    pub fn add(&self, link: &Link) -> Request {
        let Address { ip, length } = self.address;
        let scope = self.scope.unwrap_or(match ip {
            ip if ip.is_loopback() => libc::RT_SCOPE_HOST,
            IpAddr::V6(ip) if ip.is_unicast_link_local() => libc::RT_SCOPE_LINK,
            IpAddr::V4(ip) if ip.is_link_local() => libc::RT_SCOPE_LINK,
            _ => libc::RT_SCOPE_UNIVERSE,
        });
        let flags = if self.nodad && ip.is_ipv6() { libc::IFA_F_NODAD as u8 } else { 0 };
        let mut message = Message::address(libc::RTM_NEWADDR, family(ip), length, flags, scope, link.index())
            .with_ip(libc::IFA_LOCAL, ip)
            .with_ip(libc::IFA_ADDRESS, self.peer.unwrap_or(ip));
        let undo = message.of_kind(libc::RTM_DELADDR);
        let broadcast = match (self.broadcast, ip) {
            (Broadcast::Is(broadcast), _) => Some(broadcast),
            (Broadcast::Last, IpAddr::V4(ip)) if length < 31 && self.peer.is_none() => {
                let host_bits = u32::MAX.checked_shr(length.into()).unwrap_or(0);
                Some(Ipv4Addr::from(u32::from(ip) | host_bits))
            }
            _ => None,
        };
        if let Some(broadcast) = broadcast {
            message = message.with_ip(libc::IFA_BROADCAST, broadcast.into());
        }
        if let Some((valid, preferred)) = self.lifetime {
            // struct ifa_cacheinfo: preferred, valid, and two times that only the kernel tells
            let words = [preferred, valid, 0, 0].map(u32::to_ne_bytes);
            message = message.with(libc::IFA_CACHEINFO, words.as_flattened());
        }
        Request::create("add address", format!("{} to {}", self.address, link.name()), message, undo)
    }
}

impl FromStr for Assignment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |reason: String| Error::invalid("parse address", show(text), reason);
        let mut parts = text.split(',');
        let mut this = Assignment::from(parts.next().unwrap_or_default().parse::<Address>()?);
        let v4 = this.address.ip.is_ipv4();
        let mut given = Vec::new();
        for part in parts {
            let key = part.split('=').next().unwrap_or_default();
            if given.contains(&key) {
                return Err(invalid(format!("{key} is given twice")));
            }
            given.push(key);
            let number = |value: &str| {
                let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
                value.parse::<u32>().ok().filter(|_| digits)
            };
            let wrong = || invalid(format!("{part:?} is no {key} of this address"));
            let other = |family| invalid(format!("{key} is for IPv{family}: with this one the kernel ignores it"));
            match part.split_once('=') {
                None if part == "nodad" && v4 => return Err(other(6)),
                Some(("scope" | "broadcast", _)) if !v4 => return Err(other(4)),
                None if part == "nodad" => this.nodad = true,
                Some(("scope", value)) => {
                    this.scope = Some(match value {
                        "global" => libc::RT_SCOPE_UNIVERSE,
                        "link" => libc::RT_SCOPE_LINK,
                        "host" => libc::RT_SCOPE_HOST,
                        _ => number(value).and_then(|number| number.try_into().ok()).ok_or_else(wrong)?,
                    });
                }
                Some(("peer", value)) => {
                    let peer = value.parse::<IpAddr>().ok().filter(|peer| peer.is_ipv4() == v4);
                    this.peer = Some(peer.ok_or_else(wrong)?);
                }
                Some(("broadcast", "none")) => this.broadcast = Broadcast::None,
                Some(("broadcast", value)) => {
                    this.broadcast = Broadcast::Is(value.parse().ok().filter(|_| v4).ok_or_else(wrong)?);
                }
                Some(("lifetime", value)) => {
                    let (valid, preferred) = value.split_once(':').unwrap_or((value, value));
                    let lifetime = number(valid).zip(number(preferred));
                    let lifetime = lifetime.filter(|(valid, preferred)| *valid > 0 && preferred <= valid);
                    this.lifetime = Some(lifetime.ok_or_else(wrong)?);
                }
                _ => {
                    let known =
                        "nodad, scope=global|link|host|N, peer=ADDR, broadcast=ADDR|none, lifetime=VALID[:PREFERRED]";
                    return Err(invalid(format!("{part:?} is none of {known}")));
                }
            }
        }
        Ok(this)
    }
}

impl Prefix {
    /// The first address.
    pub fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The number of leading bits that all its addresses share.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// Whether `ip` is one of its addresses.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.ip.is_ipv4() == ip.is_ipv4() && network(ip, self.length) == self.ip
    }

    /// Whether it is one address alone.
    pub fn is_single(&self) -> bool {
        self.length == bits(self.ip)
    }
}

/// An address that an interface has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Assigned {
    /// The interface's index.
    pub index: u32,
    /// The address and the length of its network.
    pub address: Address,
    /// Whom it reaches directly: its network or, on a point-to-point link, that of the other end.
    pub network: Prefix,
    /// IPv6 only: duplicate address detection has not ended, the address cannot be bound yet.
    pub tentative: bool,
    /// IPv6 only: another machine has this address, it is not used.
    pub duplicate: bool,
}

impl Socket {
    /// All addresses of all interfaces.
    ///
    /// # Errors
    /// Those of rtnetlink(7).
    pub fn addresses(&mut self) -> Result<Vec<Assigned>> {
        let message = Message::address(libc::RTM_GETADDR, 0, 0, 0, 0, 0);
        let messages = self.dump(&Request::change("list addresses", "", message, None))?;
        Ok(messages.iter().filter_map(assigned).collect())
    }
}

fn assigned(message: &Message) -> Option<Assigned> {
    const HEADER: usize = 8;
    let [_, length, flags, ..] = *message.bytes.get(..HEADER)? else { return None };
    let mut flags = u32::from(flags);
    let (mut local, mut address) = (None, None);
    for (kind, value) in message.attributes(HEADER) {
        match kind {
            libc::IFA_LOCAL => local = ip_of(value),
            libc::IFA_ADDRESS => address = ip_of(value),
            libc::IFA_FLAGS => flags = u32_of(value)?,
            _ => {}
        }
    }
    // of the other end, where there is one, is also the length
    let ip = local.or(address)?;
    let other = address.unwrap_or(ip);
    (message.kind == libc::RTM_NEWADDR && length <= bits(ip)).then_some(Assigned {
        index: message.header_u32(4)?,
        address: Address { ip, length },
        network: Address { ip: other, length }.prefix(),
        tentative: flags & libc::IFA_F_TENTATIVE != 0,
        duplicate: flags & libc::IFA_F_DADFAILED != 0,
    })
}

pub(super) fn family(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => libc::AF_INET as u8,
        IpAddr::V6(_) => libc::AF_INET6 as u8,
    }
}

fn bits(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// `ip` with all bits beyond `length` cleared.
fn network(ip: IpAddr, length: u8) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let mask = !u32::MAX.checked_shr(length.into()).unwrap_or(0);
            Ipv4Addr::from(u32::from(ip) & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = !u128::MAX.checked_shr(length.into()).unwrap_or(0);
            Ipv6Addr::from(u128::from(ip) & mask).into()
        }
    }
}

/// Reads `IP[/LENGTH]`; where a length is missing, `None`.
fn split(text: &str) -> std::result::Result<(IpAddr, Option<u8>), String> {
    let (ip, length) = match text.split_once('/') {
        Some((ip, length)) => (ip, Some(length)),
        None => (text, None),
    };
    let ip: IpAddr = ip.parse().map_err(|_| "is no IPv4 or IPv6 address".to_owned())?;
    let Some(length) = length else { return Ok((ip, None)) };
    let digits = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
    match length.parse::<u8>() {
        Ok(number) if digits && number <= bits(ip) => Ok((ip, Some(number))),
        _ => Err(format!("has no prefix length from 0 to {}", bits(ip))),
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |reason: String| Error::invalid("parse address", show(text), reason);
        match split(text).map_err(invalid)? {
            (_, None) => Err(invalid("needs a prefix length, as in 10.0.0.1/24".into())),
            (ip, _) if ip.is_multicast() => Err(invalid("is a multicast address".into())),
            (ip, _) if ip.is_unspecified() => Err(invalid("is the unspecified address".into())),
            (IpAddr::V4(Ipv4Addr::BROADCAST), _) => Err(invalid("is the broadcast address".into())),
            (ip, Some(length)) => Ok(Address { ip, length }),
        }
    }
}

impl FromStr for Prefix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |reason: String| Error::invalid("parse prefix", show(text), reason);
        let (ip, length) = split(text).map_err(invalid)?;
        let length = length.unwrap_or(bits(ip));
        let first = network(ip, length);
        if first != ip {
            return Err(invalid(format!("has bits set beyond its length; the network is {first}/{length}")));
        }
        Ok(Prefix { ip, length })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.length)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_what_is_an_address_and_nothing_else() {
        for good in ["10.0.0.1/8", "10.0.0.1/32", "fe80::1/64", "::1/128", "192.0.2.0/31"] {
            assert_eq!(good.parse::<Address>().unwrap().to_string(), good);
        }
        for bad in
            ["", "10.0.0.1", "10.0.0.1/", "10.0.0.1/+8", "10.0.0.1/33", "::1/129", "0.0.0.0/0", "ff02::1/64", "x/8"]
        {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
        let error = "10.0.0.7/24".parse::<Prefix>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "parse prefix 10.0.0.7/24: has bits set beyond its length; the network is 10.0.0.0/24 (EINVAL)"
        );
    }

    #[test]
    fn a_prefix_contains_its_own() {
        let prefix: Prefix = "2001:db8::/32".parse().unwrap();
        assert!(prefix.contains("2001:db8:1::1".parse().unwrap()));
        assert!(!prefix.contains("2001:db9::".parse().unwrap()));
        assert!(!prefix.contains("10.0.0.1".parse().unwrap()));
        assert!("0.0.0.0/0".parse::<Prefix>().unwrap().contains("255.255.255.255".parse().unwrap()));
    }

    #[test]
    fn hundreds_are_added_and_undone_together() {
        use crate::net::tests::in_new_netns;
        use crate::net::{InterfaceName, LinkKind};
        in_new_netns(|| {
            let mut socket = Socket::open().unwrap();
            let name: InterfaceName = "br0".parse().unwrap();
            let mut transaction = socket.begin();
            LinkKind::Bridge.create(&mut transaction, &name).unwrap();
            transaction.commit();
            let link = socket.link(&name).unwrap();
            let address = |n: u32| format!("10.0.{}.{}/32", n / 250, n % 250 + 1).parse::<Address>().unwrap();
            let mut requests: Vec<_> = (0..1000).map(|n| address(n).add(&link, false)).collect();
            requests.push(address(7).add(&link, false));
            let error = socket.run(&requests).unwrap_err();
            assert_eq!(error.object(), "10.0.0.8/32 to br0");
            assert_eq!(socket.addresses().unwrap(), []);
            requests.pop();
            socket.run(&requests).unwrap();
            assert_eq!(socket.addresses().unwrap().len(), 1000);
        });
    }
}
