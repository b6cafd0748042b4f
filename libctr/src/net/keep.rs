//! [`Kept`]: what a change can cost a link besides, remembered before it and given back after it has been undone.
//!
//! A link that goes down loses its routes, its IPv6 addresses and neighbours; another hardware address costs the neighbours, an
//! MTU below 1280 all of IPv6, another master the settings of the port, another network namespace everything. The messages in
//! which the kernel lists what a link has are those that make it again.

use std::net::IpAddr;

use super::Link;
use super::message::{Message, attributes, header_of, ip_of, u32_of};
use super::netlink::{Request, Socket};
use crate::error::{Errno, Error, Result};

const NLM_F_REPLACE: u16 = libc::NLM_F_REPLACE as u16;
const NLM_F_EXCL: u16 = libc::NLM_F_EXCL as u16;
const NLM_F_CREATE: u16 = libc::NLM_F_CREATE as u16;
const NLM_F_APPEND: u16 = libc::NLM_F_APPEND as u16;

/// What a link has, or what default routers IPv6 has found.
#[derive(Debug)]
pub(super) struct Kept {
    link: Option<(Link, Settings)>,
    lists: Vec<Request>,
    entries: Vec<Entry>,
}

/// The values below `net.ipv4.conf.NAME` and `net.ipv6.conf.NAME`, by address family.
type Settings = Vec<(u16, Vec<u8>)>;

/// An address, neighbour or route, as it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    message: Message,
    /// An attribute that says for how long.
    lifetime: Option<(u16, Vec<u8>)>,
    /// An address that cannot be used yet.
    tentative: bool,
}

impl Kept {
    /// All that the link of this number has.
    pub(super) fn of(socket: &mut Socket, index: u32) -> Result<Kept> {
        /// `NDA_IFINDEX` and `NTF_PROXY` of linux/neighbour.h.
        const ON: u16 = 8;
        const PROXY: u8 = 8;
        let neighbours = |flags| Message::neighbour(libc::RTM_GETNEIGH, 0, 0, 0, flags).with_u32(ON, index);
        let messages = [
            Message::address(libc::RTM_GETADDR, 0, 0, 0, 0, index),
            neighbours(0),
            neighbours(PROXY),
            routes(libc::AF_INET, 0).with_u32(libc::RTA_OIF, index),
            routes(libc::AF_INET6, 0).with_u32(libc::RTA_OIF, index),
        ];
        let link = now(socket, index)?;
        Kept { link: Some(link), lists: messages.map(list).into(), entries: Vec::new() }.filled(socket)
    }

    /// The default routers that have advertised themselves: IPv6 forgets them when it begins to forward.
    pub(super) fn routers(socket: &mut Socket) -> Result<Kept> {
        /// `RTPROT_RA` of linux/rtnetlink.h.
        const RA: u8 = 9;
        let lists = vec![list(routes(libc::AF_INET6, RA))];
        Kept { link: None, lists, entries: Vec::new() }.filled(socket)
    }

    fn filled(mut self, socket: &mut Socket) -> Result<Kept> {
        socket.be_strict();
        self.entries = self.list(socket, |_| true)?;
        Ok(self)
    }

    /// The number of the link.
    pub(super) fn index(&self) -> Option<u32> {
        self.link.as_ref().map(|(link, _)| link.index())
    }

    fn object(&self) -> String {
        self.link.as_ref().map_or_else(|| "IPv6".to_owned(), |(link, _)| link.shown())
    }

    /// What there is now, of some kinds of messages.
    fn list(&self, socket: &mut Socket, wanted: impl Fn(u16) -> bool) -> Result<Vec<Entry>> {
        let mut entries = Vec::new();
        // GET is the second after NEW
        for request in self.lists.iter().filter(|request| wanted(request.message().kind - 2)) {
            let asked = request.message();
            for message in socket.dump(request)? {
                let fits = message.kind + 2 == asked.kind
                    && (asked.kind != libc::RTM_GETROUTE || message.bytes.first() == asked.bytes.first())
                    && self
                        .index()
                        .map_or_else(|| message.bytes.get(5) == asked.bytes.get(5), |index| is_of(&message, index));
                entries.extend(if fits { entry(&message) } else { None });
            }
        }
        Ok(entries)
    }

    /// Master, state and settings as a port.
    fn give_back_link(&self, socket: &mut Socket) -> Result<()> {
        let Some((link, _)) = &self.link else { return Ok(()) };
        let (present, _) = now(socket, link.index())?;
        link.give_back(&present).iter().try_for_each(|request| socket.query(request).map(drop))?;
        let (present, _) = now(socket, link.index())?;
        link.give_back_port(&present).map_or(Ok(()), |request| socket.query(&request).map(drop))
    }

    /// What is missing of one kind of messages; whether anything was given back, and the first failure.
    fn give_back(&self, socket: &mut Socket, kind: u16) -> Result<(bool, Result<()>)> {
        let present = self.list(socket, |other| other == kind)?;
        let (mut some, mut first) = (false, Ok(()));
        // what the kernel gave a link when it came up again
        for made in present
            .iter()
            .filter(|made| made.is_automatic() && !self.entries.iter().any(|kept| kept.message == made.message))
        {
            let request = Request::change(
                "undo",
                format!("an address of {}", self.object()),
                made.message.of_kind(libc::RTM_DELADDR),
                None,
            );
            first = first.and(socket.query(&request).map(drop));
        }
        for entry in self.entries.iter().filter(|entry| entry.message.kind == kind) {
            let there = present.iter().find(|there| there.message == entry.message);
            let fresh = match there {
                Some(there) if there.tentative && !entry.tentative => true,
                Some(_) => continue,
                None => false,
            };
            match entry.make(&self.object(), fresh).iter().try_for_each(|request| socket.query(request).map(drop)) {
                Ok(()) => some = true,
                // the kernel was faster
                Err(error) if error.errno() == Errno::EEXIST => {}
                Err(error) => first = first.and(Err(error)),
            }
        }
        Ok((some, first))
    }

    fn check_settings(&self, socket: &mut Socket) -> Result<()> {
        let Some((link, settings)) = &self.link else { return Ok(()) };
        if now(socket, link.index())?.1 == *settings {
            return Ok(());
        }
        let error =
            Error::new("restore", format!("the settings of {} below net.*.conf", link.shown()), Errno::EOPNOTSUPP);
        Err(error.with_reason("the kernel has set them to the defaults"))
    }
}

/// Restores a setting; what changes by that is what the links are to have from then on, since they may have been looked at
/// after it was set.
pub(super) fn restoring(all: &mut [Kept], socket: &mut Socket, restore: impl FnOnce() -> Result<()>) -> Result<()> {
    let look = |all: &[Kept], socket: &mut Socket| -> Vec<Settings> {
        let settings = |kept: &Kept| now(socket, kept.index()?).ok().map(|(_, settings)| settings);
        all.iter().map(settings).map(Option::unwrap_or_default).collect()
    };
    let before = look(all, socket);
    let result = restore();
    let after = look(all, socket);
    for ((kept, before), after) in all.iter_mut().zip(&before).zip(&after) {
        for (family, values) in kept.link.iter_mut().flat_map(|(_, settings)| settings) {
            let of = |settings: &[(u16, Vec<u8>)]| {
                settings.iter().find(|(other, _)| other == family).map_or_else(Vec::new, |(_, values)| values.clone())
            };
            for ((value, before), after) in values.iter_mut().zip(of(before)).zip(of(after)) {
                if before != after {
                    *value = after;
                }
            }
        }
    }
    result
}

/// Gives back what is missing: links, then addresses, neighbours and routes, of which one may need another.
pub(super) fn give_back(all: &[Kept], socket: &mut Socket) -> Result<()> {
    let mut first = Ok(());
    for kept in all {
        first = first.and(kept.give_back_link(socket));
    }
    for kind in [libc::RTM_NEWADDR, libc::RTM_NEWNEIGH, libc::RTM_NEWROUTE] {
        loop {
            let (mut some, mut failed) = (false, Ok(()));
            for kept in all {
                match kept.give_back(socket, kind) {
                    Ok((more, result)) => {
                        some |= more;
                        failed = failed.and(result);
                    }
                    Err(error) => failed = failed.and(Err(error)),
                }
            }
            if failed.is_ok() || !some {
                first = first.and(failed);
                break;
            }
        }
    }
    for kept in all {
        first = first.and(kept.check_settings(socket));
    }
    first
}

fn list(message: Message) -> Request {
    Request::change("list what is to be restored", "", message, None)
}

/// Asks for the routes of a family, and of a protocol where it is not 0.
fn routes(family: i32, protocol: u8) -> Message {
    Message { kind: libc::RTM_GETROUTE, bytes: vec![family as u8, 0, 0, 0, 0, protocol, 0, 0, 0, 0, 0, 0] }
}

/// A link as it is now, with its settings.
fn now(socket: &mut Socket, index: u32) -> Result<(Link, Settings)> {
    // linux/if_link.h: IFLA_AF_SPEC, in which IFLA_INET_CONF or IFLA_INET6_CONF
    const AF_SPEC: u16 = 26;
    const CONF: [(u16, u16); 2] = [(libc::AF_INET as u16, 1), (libc::AF_INET6 as u16, 2)];
    let object = format!("number {index}");
    let request = Request::change("find link", &object, Message::link(libc::RTM_GETLINK, index, 0, 0), None);
    let messages = socket.query(&request)?;
    let found = messages.iter().find_map(|message| Some((Link::read(message)?, message)));
    let (link, message) = found.ok_or_else(|| Error::new("find link", object, Errno::ENODEV))?;
    let families = message.attributes(header_of(message.kind)).filter(|(kind, _)| *kind == AF_SPEC);
    let settings = families.flat_map(|(_, value)| attributes(value)).flat_map(|(family, value)| {
        let conf = attributes(value).filter(move |(kind, _)| CONF.contains(&(family, *kind)));
        conf.map(move |(_, value)| (family, value.to_vec()))
    });
    let settings = settings.collect();
    Ok((link, settings))
}

/// Whether a message is about what this link has.
pub(super) fn is_of(message: &Message, index: u32) -> bool {
    if message.kind != libc::RTM_NEWROUTE {
        return message.header_u32(4) == Some(index);
    }
    message.attributes(header_of(message.kind)).any(|(kind, value)| match kind {
        libc::RTA_OIF => u32_of(value) == Some(index),
        libc::RTA_MULTIPATH => hops(value).any(|at| u32_of(&value[at + 4..]) == Some(index)),
        _ => false,
    })
}

/// Where the next hops (`struct rtnexthop`) of a route with several begin.
fn hops(value: &[u8]) -> impl Iterator<Item = usize> {
    let length = |at: usize| {
        Some(usize::from(u16::from_ne_bytes([*value.get(at)?, *value.get(at + 7).and(value.get(at + 1))?])))
    };
    std::iter::successors(Some(0), move |at| Some(at + length(*at)?.max(8).next_multiple_of(4)))
        .take_while(move |at| length(*at).is_some())
}

/// What was listed, as it is made again; `None` for what is not to be, as what the kernel knows only for a while.
pub(super) fn entry(message: &Message) -> Option<Entry> {
    /// `RTNH_F_ONLINK`; the other flags say what became of the next hop.
    const ONLINK: u8 = 4;
    let header = header_of(message.kind);
    let mut made = Message { kind: message.kind, bytes: message.bytes.get(..header)?.to_vec() };
    let (mut lifetime, mut tentative) = (None, false);
    match message.kind {
        libc::RTM_NEWADDR => {
            // what can be asked for: nodad, optimistic, home, mngtmpaddr, noprefixroute, autojoin
            const ASKED: u32 = 0x716;
            let mut flags = u32::from(std::mem::take(made.bytes.get_mut(2)?));
            for (kind, value) in message.attributes(header) {
                match kind {
                    libc::IFA_FLAGS => flags = u32_of(value)?,
                    libc::IFA_CACHEINFO => lifetime = Some((kind, value.to_vec())),
                    _ => made = made.with(kind, value),
                }
            }
            tentative = flags & libc::IFA_F_TENTATIVE != 0;
            made = made.with_u32(libc::IFA_FLAGS, flags & ASKED);
        }
        libc::RTM_NEWNEIGH => {
            /// `NUD_PERMANENT` and `NTF_PROXY`.
            const PERMANENT: u8 = 0x80;
            const PROXY: u8 = 0x08;
            if made.bytes.get(10)? & PROXY != 0 {
                // it has no state
                made.bytes.get_mut(8..10)?.fill(0);
            } else if made.bytes.get(8)? & PERMANENT == 0 {
                return None;
            }
            // NDA_CACHEINFO and NDA_PROBES tell its past
            made = message
                .attributes(header)
                .filter(|(kind, _)| !matches!(kind, 3 | 4))
                .fold(made, |made, (kind, value)| made.with(kind, value));
        }
        libc::RTM_NEWROUTE => {
            // RTM_F_CLONED: an exception, not a route
            const CLONED: u32 = 0x200;
            const EXPIRES: u16 = 23;
            const NH_ID: u16 = 30;
            let flags = message.header_u32(8)?;
            // what has no metric the kernel makes, a moment after the address that it is for
            let v6 = message.bytes.first() == Some(&(libc::AF_INET6 as u8));
            let metric = message.attributes(header).find(|(kind, _)| *kind == libc::RTA_PRIORITY);
            if flags & CLONED != 0 || (v6 && metric.and_then(|(_, value)| u32_of(value)).unwrap_or(0) == 0) {
                return None;
            }
            made.bytes.get_mut(8..12)?.copy_from_slice(&(flags & u32::from(ONLINK)).to_ne_bytes());
            let by_id = message.attributes(header).any(|(kind, _)| kind == NH_ID);
            for (kind, value) in message.attributes(header) {
                match kind {
                    libc::RTA_CACHEINFO => {
                        // hundredths of a second
                        let left =
                            value.get(8..).and_then(u32_of).filter(|left| (100..=i32::MAX as u32).contains(left));
                        lifetime = left.map(|left| (EXPIRES, (left / 100).to_ne_bytes().to_vec()));
                    }
                    libc::RTA_MULTIPATH | libc::RTA_OIF | libc::RTA_GATEWAY | libc::RTA_VIA if by_id => {}
                    libc::RTA_MULTIPATH => {
                        let mut value = value.to_vec();
                        let starts: Vec<usize> = hops(&value).collect();
                        starts.into_iter().for_each(|at| value[at + 2] &= ONLINK);
                        made = made.with(kind, &value);
                    }
                    _ => made = made.with(kind, value),
                }
            }
        }
        _ => return None,
    }
    Some(Entry { message: made, lifetime, tentative })
}

impl Entry {
    /// An address that the kernel gives to a link on its own: loopback or link-local.
    fn is_automatic(&self) -> bool {
        let mut ips = self
            .message
            .attributes(8)
            .filter(|(kind, _)| *kind == libc::IFA_ADDRESS)
            .filter_map(|(_, value)| ip_of(value));
        self.message.kind == libc::RTM_NEWADDR
            && ips.any(|ip| match ip {
                IpAddr::V4(ip) => ip.is_loopback(),
                IpAddr::V6(ip) => ip.is_unicast_link_local(),
            })
    }

    /// The requests that make it on a link of this name. `fresh`: it is there, but to be tested once more.
    fn make(&self, name: &str, fresh: bool) -> Vec<Request> {
        let lifetime = |message: Message| match &self.lifetime {
            Some((kind, value)) => message.with(*kind, value),
            None => message,
        };
        let request = |what, message: Message, flags| {
            Request::change("restore", format!("{what} of {name}"), message, None).with_flags(flags)
        };
        let message = lifetime(self.message.clone());
        match message.kind {
            libc::RTM_NEWADDR => {
                let v6 = message.bytes.first() == Some(&(libc::AF_INET6 as u8));
                let mut requests = Vec::new();
                if fresh {
                    requests.push(request("an address", message.of_kind(libc::RTM_DELADDR), 0));
                }
                if v6 && !self.tentative {
                    // it was found to be unique: usable at once, then as it was
                    let flags = self.message.attributes(8).find(|(kind, _)| *kind == libc::IFA_FLAGS);
                    let flags = flags.and_then(|(_, value)| u32_of(value)).unwrap_or(0) | libc::IFA_F_NODAD;
                    let usable = message.clone().with_u32(libc::IFA_FLAGS, flags);
                    requests.push(request("an address", usable, NLM_F_CREATE | NLM_F_EXCL));
                    requests.push(request("an address", message, NLM_F_REPLACE));
                } else {
                    requests.push(request("an address", message, NLM_F_CREATE | NLM_F_EXCL));
                }
                requests
            }
            libc::RTM_NEWNEIGH => vec![request("a neighbour", message, NLM_F_CREATE | NLM_F_EXCL)],
            // others with the same destination and metric may be there
            _ => vec![request("a route", message, NLM_F_CREATE | NLM_F_APPEND)],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_made_again_without_what_became_of_it() {
        // struct rtnexthop: length, flags (linkdown, onlink), weight, interface
        let hop = |index: u32| [&[16, 0, 0x14, 0][..], &index.to_ne_bytes(), &[8, 0, 5, 0, 10, 0, 0, 1]].concat();
        let hops = [hop(3), hop(7)].concat();
        let listed = routes(libc::AF_INET, 0).of_kind(libc::RTM_NEWROUTE).with(libc::RTA_MULTIPATH, &hops);
        assert_eq!([3, 7, 4].map(|index| is_of(&listed, index)), [true, true, false]);
        let made = entry(&listed).unwrap().message;
        let (_, value) = made.attributes(12).next().unwrap();
        assert_eq!((value[2], value[18]), (4, 4));
        // a fault in a length ends the list
        for (at, length) in [(0, 0), (0, 255), (16, 0), (16, 255)] {
            let mut hops = hops.clone();
            hops[at] = length;
            assert!(super::hops(&hops).count() <= 4);
            let listed = routes(libc::AF_INET, 0).of_kind(libc::RTM_NEWROUTE).with(libc::RTA_MULTIPATH, &hops);
            let _ = (is_of(&listed, 7), entry(&listed));
        }
    }

    #[test]
    fn addresses_are_kept_as_they_were_asked_for() {
        let flags = libc::IFA_F_PERMANENT | libc::IFA_F_NODAD | libc::IFA_F_TENTATIVE;
        let listed = Message::address(libc::RTM_NEWADDR, libc::AF_INET6 as u8, 64, 0x80, 0, 3)
            .with(libc::IFA_CACHEINFO, &[0xff; 16])
            .with_u32(libc::IFA_FLAGS, flags);
        let entry = entry(&listed).unwrap();
        assert!(entry.tentative && entry.lifetime.is_some());
        assert_eq!(
            entry.message.attributes(8).map(|(kind, value)| (kind, u32_of(value))).collect::<Vec<_>>(),
            [(libc::IFA_FLAGS, Some(libc::IFA_F_NODAD))]
        );
    }
}
