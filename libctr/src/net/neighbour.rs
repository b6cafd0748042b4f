//! Neighbour entries: answering ARP and NDP on behalf of another.

use std::net::IpAddr;

use super::Link;
use super::address::family;
use super::message::Message;
use super::netlink::Request;

/// The request that makes `link` answer ARP (or, IPv6, neighbour solicitations) for `ip`, as `ip neighbour add proxy` does.
///
/// The entry stays until it or the link is deleted. The kernel uses it while the link forwards, and for IPv6 while its sysctl
/// `proxy_ndp` is on.
pub fn add_proxy(ip: IpAddr, link: &Link) -> Request {
    /// `NTF_PROXY` and `NDA_DST` of linux/neighbour.h.
    const PROXY: u8 = 0x08;
    const DESTINATION: u16 = 1;
    let message = Message::neighbour(libc::RTM_NEWNEIGH, family(ip), link.index(), PROXY).with_ip(DESTINATION, ip);
    let undo = message.of_kind(libc::RTM_DELNEIGH);
    Request::create("add proxy for", format!("{ip} on {}", link.name()), message, undo)
}
