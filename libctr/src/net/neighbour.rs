//! Neighbour entries: answering ARP and NDP on behalf of another.

use std::net::IpAddr;

use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::{NeighbourAttribute, NeighbourFlags, NeighbourMessage};

use super::Link;
use super::address::family;
use super::netlink::Request;

/// The request that makes `link` answer ARP (or, IPv6, neighbour solicitations) for `ip`, as `ip neighbour add proxy` does.
///
/// The entry stays until it or the link is deleted. The kernel uses it while the link forwards, and for IPv6 while its sysctl
/// `proxy_ndp` is on.
pub fn add_proxy(ip: IpAddr, link: &Link) -> Request {
    let mut message = NeighbourMessage::default();
    message.header.family = family(ip);
    message.header.ifindex = link.index();
    message.header.flags = NeighbourFlags::Proxy;
    message.attributes = vec![NeighbourAttribute::Destination(match ip {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => ip.into(),
    })];
    let undo = RouteNetlinkMessage::DelNeighbour(message.clone());
    Request::create(
        "add proxy for",
        format!("{ip} on {}", link.name()),
        RouteNetlinkMessage::NewNeighbour(message),
        undo,
    )
}
