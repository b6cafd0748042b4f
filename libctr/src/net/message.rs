//! [`Message`]: rtnetlink messages as bytes, written and read. See rtnetlink(7).
//!
//! The crates of this field carry a parser for everything that the kernel could ever say, half a megabyte of program; what is
//! needed here is four headers and a few attributes.

use std::net::IpAddr;

/// A message without its `nlmsghdr`, which is added when it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) kind: u16,
    pub(super) bytes: Vec<u8>,
}

impl Message {
    /// A message about links: `struct ifinfomsg`.
    pub(super) fn link(kind: u16, index: u32, flags: u32, change: u32) -> Message {
        let mut bytes = vec![0; 4];
        [index, flags, change].iter().for_each(|word| bytes.extend(word.to_ne_bytes()));
        Message { kind, bytes }
    }

    /// A message about addresses: `struct ifaddrmsg`.
    pub(super) fn address(kind: u16, family: u8, length: u8, flags: u8, scope: u8, index: u32) -> Message {
        let mut bytes = vec![family, length, flags, scope];
        bytes.extend(index.to_ne_bytes());
        Message { kind, bytes }
    }

    /// A message about routes: `struct rtmsg`.
    pub(super) fn route(kind: u16, family: u8, length: u8, table: u8, scope: u8, route: u8, flags: u32) -> Message {
        let mut bytes = vec![family, length, 0, 0, table, libc::RTPROT_BOOT, scope, route];
        bytes.extend(flags.to_ne_bytes());
        Message { kind, bytes }
    }

    /// A message about neighbours: `struct ndmsg`.
    pub(super) fn neighbour(kind: u16, family: u8, index: u32, state: u16, flags: u8) -> Message {
        let mut bytes = vec![family, 0, 0, 0];
        bytes.extend(index.to_ne_bytes());
        bytes.extend(state.to_ne_bytes());
        bytes.extend([flags, 0]);
        Message { kind, bytes }
    }

    /// About a routing rule (`struct fib_rule_hdr`): the lengths of its destination and source, and its action.
    pub(super) fn rule(kind: u16, family: u8, lengths: [u8; 2], action: u8) -> Message {
        let [destination, source] = lengths;
        Message { kind, bytes: vec![family, destination, source, 0, 0, 0, 0, action, 0, 0, 0, 0] }
    }

    /// The same about the same, of another kind: what undoes it.
    pub(super) fn of_kind(&self, kind: u16) -> Message {
        Message { kind, bytes: self.bytes.clone() }
    }

    /// With one more attribute. Its length is a 16-bit number; a message that long is refused when it is to be sent.
    pub(super) fn with(mut self, kind: u16, value: &[u8]) -> Message {
        self.bytes.extend(((value.len() + 4) as u16).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// With a 32-bit number.
    pub(super) fn with_u32(self, kind: u16, value: u32) -> Message {
        self.with(kind, &value.to_ne_bytes())
    }

    /// With a 32-bit number, if there is one.
    pub(super) fn with_some_u32(self, kind: u16, value: Option<u32>) -> Message {
        match value {
            Some(value) => self.with_u32(kind, value),
            None => self,
        }
    }

    /// With a string and the byte that ends it.
    pub(super) fn with_str(self, kind: u16, value: &str) -> Message {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.with(kind, &bytes)
    }

    /// With an address of four or of sixteen bytes.
    pub(super) fn with_ip(self, kind: u16, ip: IpAddr) -> Message {
        match ip {
            IpAddr::V4(ip) => self.with(kind, &ip.octets()),
            IpAddr::V6(ip) => self.with(kind, &ip.octets()),
        }
    }

    /// A number of the header: its bytes from `at` on.
    pub(super) fn header_u32(&self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(*self.bytes.get(at..)?.first_chunk()?))
    }

    /// The attributes after a header of `header` bytes.
    pub(super) fn attributes(&self, header: usize) -> impl Iterator<Item = (u16, &[u8])> {
        attributes(self.bytes.get(header..).unwrap_or_default())
    }
}

/// Attributes alone, as they go into another one.
pub(super) fn nested() -> Message {
    Message { kind: 0, bytes: Vec::new() }
}

/// The attributes in `bytes`, up to and without the first that is not well-formed.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    /// The two highest bits are flags (`NLA_F_NESTED`, `NLA_F_NET_BYTEORDER`).
    const KIND: u16 = 0x3fff;
    std::iter::from_fn(move || {
        let [a, b, c, d] = *bytes.first_chunk()?;
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([c, d]) & KIND, value))
    })
}

/// The length of the header of the messages of this kind, see rtnetlink(7).
pub(super) fn header_of(kind: u16) -> usize {
    match kind {
        libc::RTM_NEWLINK..=libc::RTM_SETLINK => 16,
        libc::RTM_NEWADDR..=libc::RTM_GETADDR => 8,
        _ => 12,
    }
}

/// The name of the attribute at this place of a message, after the names of those that it is in; with `more`, the name of that
/// attribute in it.
pub(super) fn path_of(message: &Message, at: usize, more: Option<u16>) -> String {
    let link: &[(u16, &str)] = &[
        (1, "IFLA_ADDRESS"),
        (3, "IFLA_IFNAME"),
        (4, "IFLA_MTU"),
        (5, "IFLA_LINK"),
        (10, "IFLA_MASTER"),
        (18, "IFLA_LINKINFO"),
        (28, "IFLA_NET_NS_FD"),
        (31, "IFLA_NUM_TX_QUEUES"),
        (32, "IFLA_NUM_RX_QUEUES"),
        (49, "IFLA_NEW_IFINDEX"),
    ];
    let mut names = match message.kind {
        libc::RTM_NEWLINK..=libc::RTM_SETLINK => link,
        libc::RTM_NEWADDR..=libc::RTM_GETADDR => {
            &[(1, "IFA_ADDRESS"), (2, "IFA_LOCAL"), (4, "IFA_BROADCAST"), (6, "IFA_CACHEINFO"), (8, "IFA_FLAGS")]
        }
        libc::RTM_NEWROUTE..=libc::RTM_GETROUTE => &[
            (1, "RTA_DST"),
            (4, "RTA_OIF"),
            (5, "RTA_GATEWAY"),
            (6, "RTA_PRIORITY"),
            (7, "RTA_PREFSRC"),
            (9, "RTA_MULTIPATH"),
            (15, "RTA_TABLE"),
            (18, "RTA_VIA"),
        ],
        libc::RTM_NEWNEIGH..=libc::RTM_GETNEIGH => &[(1, "NDA_DST"), (2, "NDA_LLADDR")],
        libc::RTM_NEWRULE..=libc::RTM_GETRULE => &[
            (1, "FRA_DST"),
            (2, "FRA_SRC"),
            (3, "FRA_IIFNAME"),
            (6, "FRA_PRIORITY"),
            (10, "FRA_FWMARK"),
            (15, "FRA_TABLE"),
            (16, "FRA_FWMASK"),
            (17, "FRA_OIFNAME"),
        ],
        _ => &[],
    };
    let name = |names: &[(u16, &str)], kind: u16| {
        let known = names.iter().find(|(number, _)| *number == kind);
        known.map_or_else(|| format!("attribute {kind}"), |(_, name)| (*name).to_owned())
    };
    let (mut path, mut start, mut end) = (Vec::new(), header_of(message.kind), message.bytes.len());
    while let Some([a, b, c, d]) = message.bytes.get(start..end).and_then(|rest| rest.first_chunk()).copied() {
        let (length, kind) = (usize::from(u16::from_ne_bytes([a, b])), u16::from_ne_bytes([c, d]) & 0x3fff);
        let next = start + length.max(4).next_multiple_of(4);
        if at >= next {
            start = next;
            continue;
        }
        if at < start {
            break;
        }
        path.push(name(names, kind));
        let skip;
        (names, skip) = match path.last().map(String::as_str) {
            Some("IFLA_LINKINFO") => {
                let info: &[(u16, &str)] = &[
                    (1, "IFLA_INFO_KIND"),
                    (2, "IFLA_INFO_DATA"),
                    (4, "IFLA_INFO_SLAVE_KIND"),
                    (5, "IFLA_INFO_SLAVE_DATA"),
                ];
                (info, 4)
            }
            // in the data of a veth, a whole message about the peer
            Some("attribute 1") if path.len() == 3 && length > 20 => (link, 20),
            _ => (&[] as &[_], 4),
        };
        if at == start {
            break;
        }
        (start, end) = (start + skip, next.min(end));
    }
    path.extend(more.map(|kind| name(names, kind)));
    path.join(" > ")
}

/// The number in an attribute.
pub(super) fn u32_of(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// The string in an attribute, up to the byte that ends it.
pub(super) fn str_of(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

/// The address in an attribute.
pub(super) fn ip_of(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => value.first_chunk::<4>().map(|bytes| IpAddr::from(*bytes)),
        16 => value.first_chunk::<16>().map(|bytes| IpAddr::from(*bytes)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let inner = nested().with_str(1, "veth").with_u32(2, 7);
        let message = Message::link(16, 5, 1, 1).with_u32(4, 1400).with(18, &inner.bytes).with_str(3, "eth0");
        assert_eq!(message.header_u32(4), Some(5));
        let read: Vec<_> = message.attributes(16).collect();
        assert_eq!((read.len(), read[0].0, u32_of(read[0].1)), (3, 4, Some(1400)));
        assert_eq!(attributes(read[1].1).map(|(kind, _)| kind).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(str_of(read[2].1), "eth0");
        assert_eq!(ip_of(&[10, 0, 0, 1]), Some("10.0.0.1".parse().unwrap()));
        assert_eq!(ip_of(&[10, 0, 0]), None);
    }

    #[test]
    fn what_is_cut_or_mangled_ends_the_list() {
        let message = Message::link(16, 5, 1, 1).with_u32(4, 1400).with_str(3, "eth0");
        for end in 0..message.bytes.len() {
            assert!(Message { kind: 16, bytes: message.bytes[..end].to_vec() }.attributes(16).count() <= 2);
        }
        for length in [0, 1, 3, 5, 0xffff] {
            let mut mangled = message.clone();
            mangled.bytes[16..18].copy_from_slice(&u16::to_ne_bytes(length));
            assert!(mangled.attributes(16).count() <= 2);
        }
    }
}
