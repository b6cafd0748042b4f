//! Neighbour entries: what a neighbour's hardware address is, and answering ARP and NDP on behalf of another.

use std::net::IpAddr;
use std::str::FromStr;

use super::address::family;
use super::message::Message;
use super::netlink::Request;
use super::{Link, Mac};
use crate::error::{Error, Result, show};

/// `NDA_DST` and `NDA_LLADDR` of linux/neighbour.h.
const DESTINATION: u16 = 1;
const HARDWARE: u16 = 2;

/// A neighbour whose hardware address is known for good: `IP=MAC`, as `ip neighbour add … nud permanent`.
///
/// ```
/// use libctr::net::Neighbour;
/// assert!("10.0.0.9=02:00:00:00:00:09".parse::<Neighbour>().is_ok());
/// assert!("10.0.0.9".parse::<Neighbour>().is_err());
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    ip: IpAddr,
    mac: Mac,
}

impl Neighbour {
    /// The request that adds the entry on `link`.
    pub fn add(&self, link: &Link) -> Request {
        /// `NUD_PERMANENT`.
        const PERMANENT: u16 = 0x80;
        let message = Message::neighbour(libc::RTM_NEWNEIGH, family(self.ip), link.index(), PERMANENT, 0)
            .with_ip(DESTINATION, self.ip);
        let undo = message.of_kind(libc::RTM_DELNEIGH);
        let object = format!("{}={} on {}", self.ip, self.mac, link.name());
        Request::create("add neighbour", object, message.with(HARDWARE, &self.mac.bytes()), undo)
    }
}

impl FromStr for Neighbour {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |reason: &str| Error::invalid("parse neighbour", show(text), reason);
        let (ip, mac) = text.split_once('=').ok_or_else(|| invalid("needs IP=MAC"))?;
        let ip: IpAddr = ip.parse().map_err(|_| invalid("does not begin with an IP address"))?;
        if ip.is_multicast() || ip.is_unspecified() {
            return Err(invalid("is no one's address"));
        }
        Ok(Neighbour { ip, mac: mac.parse()? })
    }
}

/// The request that makes `link` answer ARP (or, IPv6, neighbour solicitations) for `ip`, as `ip neighbour add proxy` does.
///
/// The entry stays until it or the link is deleted. The kernel uses it while the link forwards, and for IPv6 while its sysctl
/// `proxy_ndp` is on.
pub fn add_proxy(ip: IpAddr, link: &Link) -> Request {
    /// `NTF_PROXY` of linux/neighbour.h.
    const PROXY: u8 = 0x08;
    let message = Message::neighbour(libc::RTM_NEWNEIGH, family(ip), link.index(), 0, PROXY).with_ip(DESTINATION, ip);
    let [undo, probe] = [libc::RTM_DELNEIGH, libc::RTM_GETNEIGH].map(|kind| message.of_kind(kind));
    // an entry that is there already is no error
    Request::create("add proxy for", format!("{ip} on {}", link.name()), message, undo).unless_found(probe)
}
