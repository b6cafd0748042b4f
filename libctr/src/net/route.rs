//! [`Route`]: where packets for a network go.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::address::{Prefix, family};
use super::message::Message;
use super::netlink::{Request, Socket};
use super::{InterfaceName, Link};
use crate::error::{Error, Result, show};

/// A route: `PREFIX|default[=VIA][,dev=NAME][,onlink][,metric=N][,src=ADDR][,table=N]`. VIA is a gateway; or `blackhole`
/// (packets vanish), `unreachable` or `prohibit` (the sender is told).
///
/// `default` is of the family of its gateway or source, else IPv4; `::/0` says IPv6. An IPv4 route may go via an IPv6
/// gateway (`RTA_VIA`, Linux 5.2): `0.0.0.0/0=fe80::1,dev=eth0`.
///
/// ```
/// use libctr::net::Route;
/// assert!("default=10.0.0.1".parse::<Route>().is_ok());
/// assert!("10.1.0.0/16,dev=eth0,metric=100".parse::<Route>().is_ok());
/// assert!("10.1.0.0/16".parse::<Route>().is_err());
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    kind: RouteKind,
    destination: Prefix,
    via: Option<IpAddr>,
    dev: Option<InterfaceName>,
    onlink: bool,
    metric: Option<u32>,
    src: Option<IpAddr>,
    table: u32,
}

/// What becomes of the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RouteKind {
    Unicast = libc::RTN_UNICAST as isize,
    Blackhole = libc::RTN_BLACKHOLE as isize,
    Unreachable = libc::RTN_UNREACHABLE as isize,
    Prohibit = libc::RTN_PROHIBIT as isize,
}

impl RouteKind {
    /// Those without a next hop, by the name they are given instead of one.
    pub(super) fn dead_end(text: &str) -> Option<RouteKind> {
        match text {
            "blackhole" => Some(RouteKind::Blackhole),
            "unreachable" => Some(RouteKind::Unreachable),
            "prohibit" => Some(RouteKind::Prohibit),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            RouteKind::Unicast => "unicast",
            RouteKind::Blackhole => "blackhole",
            RouteKind::Unreachable => "unreachable",
            RouteKind::Prohibit => "prohibit",
        }
    }
}

impl Route {
    /// The route to `destination` through `dev`, without a gateway.
    pub fn through(destination: Prefix, dev: InterfaceName) -> Self {
        let table = u32::from(libc::RT_TABLE_MAIN);
        let kind = RouteKind::Unicast;
        Route { kind, destination, via: None, dev: Some(dev), onlink: false, metric: None, src: None, table }
    }

    /// Where it leads.
    pub fn destination(&self) -> Prefix {
        self.destination
    }

    /// The interface that it names.
    pub fn dev(&self) -> Option<&InterfaceName> {
        self.dev.as_ref()
    }

    /// Reads a route that goes through the interface `dev` unless it names another.
    ///
    /// # Errors
    /// EINVAL, saying what would be accepted.
    pub fn parse_for(text: &str, dev: Option<&InterfaceName>) -> Result<Self> {
        let invalid = |reason: String| Error::invalid("parse route", show(text), reason);
        let mut parts = text.split(',');
        let first = parts.next().unwrap_or_default();
        let (to, via) = first.split_once('=').map_or((first, None), |(to, via)| (to, Some(via)));
        let ip = |what: &str, text: &str| {
            text.parse::<IpAddr>().map_err(|_| invalid(format!("{what} {text:?} is no IP address")))
        };
        let dead_end = via.and_then(RouteKind::dead_end);
        let via = via.filter(|_| dead_end.is_none()).map(|via| ip("gateway", via)).transpose()?;
        let (mut named, mut onlink, mut metric, mut src, mut table) = (None, false, None, None, None);
        for part in parts {
            let number = |value: &str| match value.parse::<u32>() {
                Ok(number) if number > 0 && value.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
                _ => Err(invalid(format!("{part:?} needs a number from 1 to 4294967295"))),
            };
            let twice = match part.split_once('=') {
                Some(("dev", value)) => named.replace(value.parse::<InterfaceName>()?).is_some(),
                Some(("metric", value)) => metric.replace(number(value)?).is_some(),
                Some(("src", value)) => src.replace(ip("source", value)?).is_some(),
                Some(("table", "main")) => table.replace(u32::from(libc::RT_TABLE_MAIN)).is_some(),
                Some(("table", value)) => table.replace(number(value)?).is_some(),
                None if part == "onlink" => std::mem::replace(&mut onlink, true),
                _ => {
                    let known = "dev=NAME, onlink, metric=N, src=ADDR, table=N";
                    return Err(invalid(format!("{part:?} is none of {known}")));
                }
            };
            if twice {
                return Err(invalid(format!("{part:?} is given twice")));
            }
        }
        let destination: Prefix = match (to, src.or(via)) {
            ("default", Some(IpAddr::V6(_))) => "::/0".parse()?,
            ("default", _) => "0.0.0.0/0".parse()?,
            _ => to.parse()?,
        };
        if let Some(kind) = dead_end {
            if named.is_some() || onlink || src.is_some() {
                return Err(invalid(format!("{} goes nowhere: it takes metric and table alone", kind.name())));
            }
            let table = table.unwrap_or(u32::from(libc::RT_TABLE_MAIN));
            return Ok(Route { kind, destination, via: None, dev: None, onlink, metric, src, table });
        }
        let dev = named.or_else(|| dev.cloned());
        let reason = match (destination.ip(), via, src) {
            (IpAddr::V6(_), Some(IpAddr::V4(_)), _) => "an IPv6 route cannot go via an IPv4 gateway",
            (to, _, Some(src)) if to.is_ipv4() != src.is_ipv4() => "the source is of the other address family",
            (_, Some(via), _) if via.is_unspecified() || via.is_multicast() => "the gateway is no host's address",
            (_, None, _) if dev.is_none() => "needs a gateway (=VIA) or an interface (dev=NAME)",
            (_, None, _) if onlink => "onlink says that a gateway is there, but none is given",
            (_, Some(IpAddr::V6(via)), _) if via.is_unicast_link_local() && dev.is_none() => {
                "a link-local gateway needs its interface (dev=NAME)"
            }
            (_, Some(_), _) if onlink && dev.is_none() => "onlink needs an interface (dev=NAME)",
            _ => {
                let table = table.unwrap_or(u32::from(libc::RT_TABLE_MAIN));
                let kind = RouteKind::Unicast;
                return Ok(Route { kind, destination, via, dev, onlink, metric, src, table });
            }
        };
        Err(invalid(reason.into()))
    }

    /// The request that adds the route. Its interface has to be up.
    ///
    /// # Errors
    /// ENODEV: there is no such interface.
    pub fn add(&self, socket: &mut Socket) -> Result<Request> {
        let link = self.dev.as_ref().map(|dev| socket.link(dev)).transpose()?;
        Ok(self.request(link.as_ref()))
    }

    /// The request that adds the route through an interface that has been looked up, whichever the route names.
    pub fn add_through(&self, link: &Link) -> Request {
        self.request(Some(link))
    }

    fn request(&self, link: Option<&Link>) -> Request {
        let message = self.message(link);
        let undo = message.of_kind(libc::RTM_DELROUTE);
        Request::create("add route", self, message, undo)
    }

    fn message(&self, link: Option<&Link>) -> Message {
        let to = self.destination;
        let table = u8::try_from(self.table).unwrap_or(libc::RT_TABLE_COMPAT);
        let scope = match (self.via, to.ip()) {
            (None, IpAddr::V4(_)) if self.kind == RouteKind::Unicast => libc::RT_SCOPE_LINK,
            _ => libc::RT_SCOPE_UNIVERSE,
        };
        // RTNH_F_ONLINK of linux/rtnetlink.h
        let flags = if self.onlink { 4 } else { 0 };
        let mut message =
            Message::route(libc::RTM_NEWROUTE, family(to.ip()), to.length(), table, scope, self.kind as u8, flags)
                .with_u32(libc::RTA_TABLE, self.table);
        if to.length() > 0 {
            message = message.with_ip(libc::RTA_DST, to.ip());
        }
        message = message.with_some_u32(libc::RTA_OIF, link.map(Link::index));
        message = match (to.ip(), self.via) {
            (IpAddr::V4(_), Some(IpAddr::V6(via))) => {
                // struct rtvia: the family, then the address
                let mut value = libc::AF_INET6.to_ne_bytes()[..2].to_vec();
                value.extend(via.octets());
                message.with(libc::RTA_VIA, &value)
            }
            (_, Some(via)) => message.with_ip(libc::RTA_GATEWAY, via),
            (_, None) => message,
        };
        // what is undone without a metric is, with IPv6, any route there; 1024 is what the kernel gives one without
        let metric = self.metric.or(if to.ip().is_ipv6() { Some(1024) } else { None });
        message = message.with_some_u32(libc::RTA_PRIORITY, metric);
        match self.src {
            Some(src) => message.with_ip(libc::RTA_PREFSRC, src),
            None => message,
        }
    }
}

impl FromStr for Route {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Route::parse_for(text, None)
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination)?;
        if self.kind != RouteKind::Unicast {
            write!(f, "={}", self.kind.name())?;
        }
        self.via.map_or(Ok(()), |via| write!(f, "={via}"))?;
        self.dev.as_ref().map_or(Ok(()), |dev| write!(f, ",dev={dev}"))?;
        if self.onlink {
            f.write_str(",onlink")?;
        }
        self.metric.map_or(Ok(()), |metric| write!(f, ",metric={metric}"))?;
        self.src.map_or(Ok(()), |src| write!(f, ",src={src}"))?;
        if self.table == u32::from(libc::RT_TABLE_MAIN) { Ok(()) } else { write!(f, ",table={}", self.table) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Errno;
    use crate::net::tests::in_new_netns;
    use crate::net::{Address, Change, LinkKind};

    #[test]
    fn parses_what_is_a_route_and_nothing_else() {
        for (text, shown) in [
            ("default=10.0.0.1", "0.0.0.0/0=10.0.0.1"),
            ("10.0.0.0/8=blackhole,metric=9", "10.0.0.0/8=blackhole,metric=9"),
            ("2001:db8::/32=unreachable,table=7", "2001:db8::/32=unreachable,table=7"),
            ("default=fe80::1,dev=eth0", "::/0=fe80::1,dev=eth0"),
            ("0.0.0.0/0=fe80::1,dev=eth0,onlink", "0.0.0.0/0=fe80::1,dev=eth0,onlink"),
            (
                "10.1.2.3,dev=eth0,metric=7,src=10.0.0.1,table=1000",
                "10.1.2.3/32,dev=eth0,metric=7,src=10.0.0.1,table=1000",
            ),
        ] {
            assert_eq!(text.parse::<Route>().unwrap().to_string(), shown);
        }
        for bad in [
            "",
            "default",
            "10.0.0.0/8",
            "::/0=10.0.0.1",
            "default=",
            "default=x",
            "default=0.0.0.0",
            "default=fe80::1",
            "10.0.0.0/8=blackhole,dev=a",
            "10.0.0.0/8,dev=a,dev=b",
            "10.0.0.0/8,onlink,dev=a",
            "10.0.0.0/8,dev=a,metric=0",
            "10.0.0.0/8,dev=a,x",
            "10.0.0.0/8,dev=a,src=::1",
            "10.0.0.1/8,dev=a",
            ",dev=a",
            "default=10.0.0.1,table=+1",
        ] {
            assert_eq!(bad.parse::<Route>().unwrap_err().errno(), Errno::EINVAL, "{bad}");
        }
    }

    #[test]
    fn adds_routes_of_both_families_and_takes_them_back() {
        in_new_netns(|| {
            let mut socket = Socket::open().unwrap();
            let mut transaction = socket.begin();
            let name: InterfaceName = "d0".parse().unwrap();
            LinkKind::Bridge.create(&mut transaction, &name).unwrap();
            let link = transaction.link(&name).unwrap();
            let addresses =
                ["10.0.0.2/24", "2001:db8::2/64"].map(|text| text.parse::<Address>().unwrap().add(&link, true));
            transaction.run(&[link.change(Change::Up)]).unwrap();
            transaction.run(&addresses).unwrap();
            transaction.commit();
            for text in [
                "default=10.0.0.1",
                "default=2001:db8::1",
                "10.9.0.0/16=2001:db8::1,dev=d0",
                "10.8.0.0/16=192.0.2.1,dev=d0,onlink,metric=5",
                "10.7.0.0/16,dev=d0,src=10.0.0.2,table=1000",
                "10.4.0.0/16=blackhole",
                "10.3.0.0/16=prohibit,metric=3",
                "2001:db8:4::/48=unreachable",
            ] {
                let request = text.parse::<Route>().unwrap().add(&mut socket).unwrap();
                socket.run(std::slice::from_ref(&request)).unwrap();
                let error = socket.run(&[request]).unwrap_err();
                assert_eq!((error.operation(), error.errno()), ("add route", Errno::EEXIST));
            }
            let good = "10.6.0.0/16,dev=d0".parse::<Route>().unwrap().add(&mut socket).unwrap();
            let bad = "10.5.0.0/16=203.0.113.1,dev=d0".parse::<Route>().unwrap().add(&mut socket).unwrap();
            let error = socket.run(&[good.clone(), bad]).unwrap_err();
            assert_eq!(error.object(), "10.5.0.0/16=203.0.113.1,dev=d0");
            assert_eq!(error.reason(), "Network is unreachable: Nexthop has invalid gateway");
            socket.run(&[good]).unwrap();
        });
    }
}
