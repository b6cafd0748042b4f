//! Links that have a carrier of which IPv6 has not heard yet.

use super::message::{Message, attributes, str_of, u32_of};
use super::netlink::{Request, Socket};
use super::{InterfaceName, Link};
use crate::error::Result;

impl Socket {
    /// The links to which the kernel has yet to give a link-local address: they are up and have a carrier, but it tells IPv6 of a
    /// carrier only a moment later, up to a second. Left out are links without IPv6, and those with a name that
    /// [`InterfaceName`] refuses.
    ///
    /// # Errors
    /// Those of rtnetlink(7).
    pub fn links_before_ipv6(&mut self) -> Result<Vec<Link>> {
        let request = Request::change("list links", "", Message::link(libc::RTM_GETLINK, 0, 0, 0), None);
        let messages = self.dump(&request)?;
        let links = messages.iter().filter(|message| is_before_ipv6(message)).filter_map(Link::read);
        Ok(links.filter(|link| link.name().as_str().parse::<InterfaceName>().is_ok()).collect())
    }
}

fn is_before_ipv6(message: &Message) -> bool {
    // linux/if.h
    const UP: u32 = libc::IFF_UP as u32;
    const SLAVE: u32 = libc::IFF_SLAVE as u32;
    const LOWER_UP: u32 = 1 << 16;
    const DORMANT: u32 = 1 << 17;
    // linux/if_link.h: IFLA_AF_SPEC, IFLA_INFO_SLAVE_KIND, IFLA_INET6_FLAGS and IFLA_INET6_CONF
    const AF_SPEC: u16 = 26;
    const SLAVE_KIND: u16 = 4;
    const FLAGS: u16 = 1;
    const CONF: u16 = 2;
    /// `IF_READY` of net/if_inet6.h.
    const READY: u32 = 0x8000_0000;
    /// Where `DEVCONF_DISABLE_IPV6` of linux/ipv6.h is.
    const DISABLED: usize = 26 * 4;
    let inside = |outer: u16, inner: u16| {
        let outer = message.attributes(16).filter(move |(kind, _)| *kind == outer);
        outer.flat_map(|(_, value)| attributes(value)).find(move |(kind, _)| *kind == inner).map(|(_, value)| value)
    };
    let number = |kind: u16, at: usize| {
        let value = attributes(inside(AF_SPEC, libc::AF_INET6 as u16)?).find(|(other, _)| *other == kind)?.1;
        value.get(at..).and_then(u32_of)
    };
    let flags = message.header_u32(8).unwrap_or(0);
    // the ports of a bond or team get no addresses
    let is_port = inside(libc::IFLA_LINKINFO, SLAVE_KIND).is_some_and(|kind| str_of(kind) == "team");
    flags & (UP | LOWER_UP | DORMANT | SLAVE) == UP | LOWER_UP
        && !is_port
        && number(FLAGS, 0).is_some_and(|flags| flags & READY == 0)
        && number(CONF, DISABLED) == Some(0)
}
