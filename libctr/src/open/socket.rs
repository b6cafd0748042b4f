//! Sockets, perhaps in another network namespace.

use std::ffi::{CString, OsStr};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::socket::{
    Backlog, NetlinkAddr, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, bind, connect, listen,
};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, fstatat, umask};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::file::{DIRECTORY, Made, Place, split_name};
use super::{Opening, What, c_string, invalid, parse, reference};
use crate::error::{Context, Errno, Error, Result, show};
use crate::mount::options::{Options, split};
use crate::net::InterfaceName;
use crate::ns::{Kind, NsRef, open_in};
use crate::sys;

#[derive(Clone, Debug)]
pub(super) struct Socket {
    family: i32,
    kind: SockType,
    protocol: i32,
    address: Address,
    netns: Option<NsRef>,
    connect: bool,
    backlog: Option<Backlog>,
    flags: SockFlag,
    settings: Vec<Setting>,
}

#[derive(Clone, Debug)]
enum Address {
    /// It is only opened.
    None,
    /// With the name of its scope, where that is no number.
    Internet(SocketAddr, Option<InterfaceName>),
    Unix(Box<Unix>),
    /// Multicast groups.
    Netlink(u32),
    /// The protocol and the interface.
    Packet(u16, Option<InterfaceName>),
}

#[derive(Clone, Debug)]
struct Unix {
    address: UnixAddr,
    /// But for an abstract one.
    path: Option<CString>,
    mode: Option<Mode>,
    mntns: Option<NsRef>,
}

/// An option of setsockopt(2).
#[derive(Clone, Debug)]
struct Setting {
    /// As it was given.
    text: String,
    level: i32,
    name: i32,
    value: Vec<u8>,
}

const SWITCHES: [(&str, i32, i32); 7] = [
    ("reuseaddr", libc::SOL_SOCKET, libc::SO_REUSEADDR),
    ("reuseport", libc::SOL_SOCKET, libc::SO_REUSEPORT),
    ("freebind", libc::SOL_IP, libc::IP_FREEBIND),
    ("transparent", libc::SOL_IP, libc::IP_TRANSPARENT),
    ("keepalive", libc::SOL_SOCKET, libc::SO_KEEPALIVE),
    ("nodelay", libc::SOL_TCP, libc::TCP_NODELAY),
    ("broadcast", libc::SOL_SOCKET, libc::SO_BROADCAST),
];

const NUMBERS: [(&str, i32, i32); 4] = [
    ("mark", libc::SOL_SOCKET, libc::SO_MARK),
    ("rcvbuf", libc::SOL_SOCKET, libc::SO_RCVBUF),
    ("sndbuf", libc::SOL_SOCKET, libc::SO_SNDBUF),
    ("defer_accept", libc::SOL_TCP, libc::TCP_DEFER_ACCEPT),
];

const FAMILIES: [(&str, i32); 6] = [
    ("inet", libc::AF_INET),
    ("inet6", libc::AF_INET6),
    ("unix", libc::AF_UNIX),
    ("netlink", libc::AF_NETLINK),
    ("packet", libc::AF_PACKET),
    ("vsock", libc::AF_VSOCK),
];

const TYPES: [(&str, SockType); 4] = [
    ("stream", SockType::Stream),
    ("dgram", SockType::Datagram),
    ("raw", SockType::Raw),
    ("seqpacket", SockType::SeqPacket),
];

const IP_PROTOCOLS: [(&str, i32); 6] = [
    ("icmp", libc::IPPROTO_ICMP),
    ("tcp", libc::IPPROTO_TCP),
    ("udp", libc::IPPROTO_UDP),
    ("icmpv6", libc::IPPROTO_ICMPV6),
    ("sctp", libc::IPPROTO_SCTP),
    ("raw", libc::IPPROTO_RAW),
];

const NETLINK_PROTOCOLS: [(&str, i32); 7] = [
    ("route", libc::NETLINK_ROUTE),
    ("generic", libc::NETLINK_GENERIC),
    ("netfilter", libc::NETLINK_NETFILTER),
    ("audit", libc::NETLINK_AUDIT),
    ("kobject_uevent", libc::NETLINK_KOBJECT_UEVENT),
    ("sock_diag", libc::NETLINK_SOCK_DIAG),
    ("xfrm", libc::NETLINK_XFRM),
];

fn named<T: Copy>(table: &[(&str, T)], name: &str) -> Option<T> {
    table.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

fn number(given: &mut Options, key: &str) -> Result<Option<u32>> {
    let Some(text) = given.text(key)? else { return Ok(None) };
    let (digits, radix) = text.strip_prefix("0x").map_or((text.as_str(), 10), |hex| (hex, 16));
    let valid = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    match u32::from_str_radix(digits, radix) {
        Ok(number) if valid => Ok(Some(number)),
        _ => Err(Error::invalid("use option", format_args!("{key}={text}"), "is no number from 0 to 4294967295")),
    }
}

fn settings(given: &mut Options) -> Result<Vec<Setting>> {
    let mut settings = Vec::new();
    let mut add = |text: String, level, name, value: u32| {
        settings.push(Setting { text, level, name, value: value.to_ne_bytes().to_vec() });
    };
    for (key, level, name) in SWITCHES {
        if given.flag(key) {
            add(key.to_owned(), level, name, 1);
        }
    }
    for (key, level, name) in NUMBERS {
        if let Some(value) = number(given, key)? {
            add(format!("{key}={value}"), level, name, value);
        }
    }
    let v6only = if given.flag("v6only") { Some("on".to_owned()) } else { given.text("v6only")? };
    if let Some(value) = v6only {
        let on = match value.as_str() {
            "on" => 1,
            "off" => 0,
            _ => return Err(Error::invalid("use option", format_args!("v6only={value}"), "is neither on nor off")),
        };
        add(format!("v6only={value}"), libc::SOL_IPV6, libc::IPV6_V6ONLY, on);
    }
    if let Some(device) = reference::<InterfaceName>(given, "dev")? {
        let (text, value) = (format!("dev={device}"), device.as_str().as_bytes().to_vec());
        settings.push(Setting { text, level: libc::SOL_SOCKET, name: libc::SO_BINDTODEVICE, value });
    }
    Ok(settings)
}

/// `ADDR:PORT`, with the name of an interface in `[ADDR%NAME]:PORT`.
fn internet(text: &str, source: &OsStr) -> Result<(i32, Address)> {
    const EXPECTED: &str = "ADDR:PORT, an IPv6 address in brackets";
    let parts = source.to_str().and_then(|source| {
        let (address, rest) = source.split_once('%')?;
        let (scope, port) = rest.split_once(']')?;
        Some((format!("{address}]{port}"), scope.parse::<InterfaceName>().ok()?))
    });
    let (address, scope) = match parts {
        Some((address, scope)) if scope.as_str().parse::<u32>().is_err() => {
            (parse(text, OsStr::new(&address), EXPECTED)?, Some(scope))
        }
        _ => (parse::<SocketAddr>(text, source, EXPECTED)?, None),
    };
    match address {
        SocketAddr::V4(_) => Ok((libc::AF_INET, Address::Internet(address, None))),
        SocketAddr::V6(v6)
            if (scope.is_some() || v6.scope_id() != 0)
                && !(v6.ip().is_unicast_link_local() || v6.ip().is_multicast()) =>
        {
            Err(invalid(text, "has a scope, but only link-local and multicast addresses have one"))
        }
        SocketAddr::V6(_) => Ok((libc::AF_INET6, Address::Internet(address, scope))),
    }
}

impl Opening {
    fn socket_of(
        (text, name, mut given): (&str, String, Options),
        (family, kind, protocol): (i32, SockType, i32),
        address: Address,
    ) -> Result<Opening> {
        let settings = settings(&mut given)?;
        let connect = matches!(address, Address::Internet(..) | Address::Unix(_)) && given.flag("connect");
        let bound = !matches!(address, Address::None) && !connect;
        let listens = bound && matches!(kind, SockType::Stream | SockType::SeqPacket) && !given.flag("nolisten");
        let backlog = if listens { Some(number(&mut given, "backlog")?.unwrap_or(4096)) } else { None };
        let backlog = backlog.map(|backlog| {
            let backlog = i32::try_from(backlog).ok().and_then(|backlog| Backlog::new(backlog).ok());
            backlog.ok_or_else(|| invalid(text, "has a backlog that is not from 0 to 4096"))
        });
        let flags = if given.flag("nonblock") { SockFlag::SOCK_NONBLOCK } else { SockFlag::empty() };
        let netns = reference(&mut given, "netns")?;
        given.finish("socket")?;
        let backlog = backlog.transpose()?;
        let socket = Socket { family, kind, protocol, address, netns, connect, backlog, flags, settings };
        Ok(Opening::new(name, text, What::Socket(Box::new(socket))))
    }

    /// `ADDR:PORT=NAME[,OPTIONS]`: a TCP socket that listens there, unless with `nolisten`; with `connect`, one that is
    /// connected. In `[ADDR%SCOPE]:PORT` the scope is the name or the number of an interface.
    ///
    /// Options of sockets: `netns=NSREF`, `connect`, `nolisten`, `backlog=N`, `nonblock`, `reuseaddr`, `reuseport`,
    /// `v6only[=on|off]`, `freebind`, `transparent`, `keepalive`, `nodelay`, `defer_accept=SECONDS`, `broadcast`, `dev=NAME`,
    /// `mark=N`, `rcvbuf=BYTES`, `sndbuf=BYTES`; see socket(7), ip(7), ipv6(7), tcp(7).
    ///
    /// # Errors
    /// EINVAL: not of this form; the message says what is wrong. So for the others.
    pub fn tcp(text: &str) -> Result<Opening> {
        let (source, name, given) = split(text)?;
        let (family, address) = internet(text, &source)?;
        Opening::socket_of((text, name, given), (family, SockType::Stream, 0), address)
    }

    /// `ADDR:PORT=NAME[,OPTIONS]`: a UDP socket bound there, or connected.
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn udp(text: &str) -> Result<Opening> {
        let (source, name, given) = split(text)?;
        let (family, address) = internet(text, &source)?;
        Opening::socket_of((text, name, given), (family, SockType::Datagram, 0), address)
    }

    /// `PATH=NAME[,type=stream|dgram|seqpacket][,mode=OCTAL][,mntns=NSREF][,OPTIONS]`: a unix socket that is bound there,
    /// perhaps in another mount namespace, and, unless of type dgram, listens; or is connected. `@NAME` is an abstract one.
    /// `mode` is that of the socket's file, whatever the umask.
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn unix(text: &str) -> Result<Opening> {
        let (source, name, mut given) = split(text)?;
        let abstract_name = source.as_bytes().strip_prefix(b"@");
        let address = match abstract_name {
            Some(name) => UnixAddr::new_abstract(name),
            None => UnixAddr::new(source.as_os_str()),
        };
        let address = address.map_err(|_| invalid(text, "has a path of more than 107 bytes"))?;
        let kind = given.text("type")?;
        let kind = named(&TYPES, kind.as_deref().unwrap_or("stream")).filter(|kind| *kind != SockType::Raw);
        let kind = kind.ok_or_else(|| invalid(text, "has a type that is none of stream, dgram, seqpacket"))?;
        let mode = if given.has("mode") { Some(given.mode(0)?) } else { None };
        let mntns = reference(&mut given, "mntns")?;
        if abstract_name.is_some() && (mode.is_some() || mntns.is_some()) {
            return Err(invalid(text, "has mode or mntns, but an abstract socket has no file"));
        }
        if mode.is_some() && given.has("connect") {
            return Err(invalid(text, "has mode and connect, which makes no file"));
        }
        let path = if abstract_name.is_some() { None } else { Some(c_string(text, source)?) };
        let unix = Unix { address, path, mode, mntns };
        Opening::socket_of((text, name, given), (libc::AF_UNIX, kind, 0), Address::Unix(Box::new(unix)))
    }

    /// `PROTOCOL=NAME[,groups=N][,OPTIONS]`: a netlink socket, of a protocol of netlink(7): `route`, `generic`, `netfilter`,
    /// `audit`, `kobject_uevent`, `sock_diag`, `xfrm`, or a number. `groups` is a mask of multicast groups.
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn netlink(text: &str) -> Result<Opening> {
        let (source, name, mut given) = split(text)?;
        let protocol = source.to_str().and_then(|source| {
            let number = || crate::fd::parse_number(source).filter(|number| *number < 32);
            named(&NETLINK_PROTOCOLS, source).or_else(number)
        });
        let protocol = protocol
            .ok_or_else(|| invalid(text, "does not begin with a protocol of netlink(7), or a number from 0 to 31"))?;
        let groups = number(&mut given, "groups")?.unwrap_or(0);
        Opening::socket_of((text, name, given), (libc::AF_NETLINK, SockType::Raw, protocol), Address::Netlink(groups))
    }

    /// `PROTOCOL=NAME[,link=NAME][,type=raw|dgram][,OPTIONS]`: a packet(7) socket for an Ethernet protocol, `0x0800` or `all`,
    /// on one interface or on all.
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn packet(text: &str) -> Result<Opening> {
        let (source, name, mut given) = split(text)?;
        let protocol = match source.as_bytes() {
            b"all" => Some(libc::ETH_P_ALL as u16),
            other => str::from_utf8(other)
                .ok()
                .and_then(|text| text.strip_prefix("0x"))
                .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
                .and_then(|digits| u16::from_str_radix(digits, 16).ok()),
        };
        let protocol = protocol.ok_or_else(|| invalid(text, "does not begin with a protocol, as 0x0800, or all"))?;
        let kind = match given.text("type")?.as_deref() {
            None | Some("raw") => SockType::Raw,
            Some("dgram") => SockType::Datagram,
            Some(other) => return Err(invalid(text, format!("type {other:?} is neither raw nor dgram"))),
        };
        let link = reference(&mut given, "link")?;
        // bound with its protocol: until then it receives nothing
        Opening::socket_of((text, name, given), (libc::AF_PACKET, kind, 0), Address::Packet(protocol, link))
    }

    /// `FAMILY:TYPE:PROTOCOL=NAME[,OPTIONS]`: a socket that is only opened, neither bound nor connected, as socket(2) has it.
    /// Families: `inet`, `inet6`, `unix`, `netlink`, `packet`, `vsock`, or a number. Types: `stream`, `dgram`, `raw`,
    /// `seqpacket`. Protocols: `icmp`, `tcp`, `udp`, `icmpv6`, `sctp`, `raw`, or a number; those of [`Opening::netlink`] by
    /// name too. That of a packet socket is an Ethernet protocol.
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn socket(text: &str) -> Result<Opening> {
        let (source, name, given) = split(text)?;
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(hex) => u16::from_str_radix(hex, 16).ok().filter(|_| !hex.starts_with('+')).map(i32::from),
            None => crate::fd::parse_number(text),
        };
        let parts = source.to_str().map(|source| source.split(':').collect::<Vec<_>>());
        let [family, kind, protocol] = parts.as_deref().unwrap_or_default() else {
            return Err(invalid(text, "does not begin with FAMILY:TYPE:PROTOCOL"));
        };
        let Some(family) = named(&FAMILIES, family).or_else(|| number(family)) else {
            return Err(invalid(
                text,
                "has a family that is none of inet, inet6, unix, netlink, packet, vsock, or a number",
            ));
        };
        let Some(kind) = named(&TYPES, kind) else {
            return Err(invalid(text, "has a type that is none of stream, dgram, raw, seqpacket"));
        };
        let names: &[_] = match family {
            libc::AF_INET | libc::AF_INET6 => &IP_PROTOCOLS,
            libc::AF_NETLINK => &NETLINK_PROTOCOLS,
            _ => &[],
        };
        let Some(protocol) = named(names, protocol).or_else(|| number(protocol)) else {
            return Err(invalid(text, "has a protocol that is neither a name of the family's nor a number"));
        };
        let protocol = match (family, u16::try_from(protocol)) {
            (libc::AF_PACKET, Ok(protocol)) => protocol.to_be().into(),
            _ => protocol,
        };
        Opening::socket_of((text, name, given), (family, kind, protocol), Address::None)
    }
}

impl Socket {
    pub(super) fn open(&self, text: &str) -> Result<(OwnedFd, Option<Made>)> {
        let flags = SockFlag::SOCK_CLOEXEC | self.flags;
        let make = || sys::net::socket(self.family, self.kind, flags, self.protocol);
        let made = match &self.netns {
            Some(netns) => open_in(netns.open(Kind::Net)?.as_fd(), Kind::Net, netns, &[], &make)?,
            None => make(),
        };
        let socket = made.context("open socket", show(text))?;
        for setting in &self.settings {
            sys::net::set_option(&socket, setting.level, setting.name, &setting.value).map_err(|errno| {
                let object = format_args!("{} of {}", setting.text, show(text));
                let error = Error::new("set option", object, errno);
                match errno {
                    Errno::EPERM => {
                        error.with_hint("this needs CAP_NET_ADMIN or CAP_NET_RAW over its network namespace")
                    }
                    _ => error,
                }
            })?;
        }
        let made = self.place(&socket, text)?;
        if let Some(backlog) = self.backlog {
            listen(&socket, backlog).context("listen on socket", show(text))?;
        }
        Ok((socket, made))
    }

    fn operation(&self) -> &'static str {
        if self.connect { "connect socket" } else { "bind socket" }
    }

    fn place(&self, socket: &OwnedFd, text: &str) -> Result<Option<Made>> {
        let index = |link: &InterfaceName| {
            // what is looked up must be the namespace of the socket
            sys::net::interface_index(socket, link.as_str()).context("find link", link)
        };
        let done = match &self.address {
            Address::None => Ok(()),
            Address::Internet(address, scope) => {
                let mut address = *address;
                if let (SocketAddr::V6(address), Some(scope)) = (&mut address, scope) {
                    address.set_scope_id(index(scope)? as u32);
                }
                self.bind_or_connect(socket, &SockaddrStorage::from(address))
            }
            Address::Unix(unix) => return self.place_unix(socket, unix, text),
            Address::Netlink(groups) => self.bind_or_connect(socket, &NetlinkAddr::new(0, *groups)),
            Address::Packet(protocol, link) => {
                let index = link.as_ref().map(index).transpose()?.unwrap_or(0);
                sys::net::bind_packet(socket, *protocol, index)
            }
        };
        done.context(self.operation(), show(text)).map(|()| None)
    }

    fn bind_or_connect(&self, socket: &OwnedFd, address: &dyn SockaddrLike) -> nix::Result<()> {
        if !self.connect {
            return bind(socket.as_raw_fd(), address);
        }
        match connect(socket.as_raw_fd(), address) {
            // it goes on by itself
            Err(Errno::EINPROGRESS) => Ok(()),
            done => done,
        }
    }

    fn place_unix(&self, socket: &OwnedFd, unix: &Unix, text: &str) -> Result<Option<Made>> {
        let place = Place::new(unix.mntns.as_ref())?;
        let failed = |errno| Error::new(self.operation(), show(text), errno);
        let (dir, name) = match unix.path.as_deref().and_then(split_name) {
            Some(names) if !self.connect => names,
            _ => {
                let go = || {
                    self.bind_or_connect(socket, &unix.address)?;
                    sys::fd::duplicate(socket.as_raw_fd(), 3)
                };
                return place.open(&[socket.as_fd()], &go)?.map(|_| None).map_err(failed);
            }
        };
        let open = || openat(AT_FDCWD, dir.as_c_str(), DIRECTORY, Mode::empty());
        let dir = place.open(&[], &open)?.map_err(failed)?;
        if let Some(mode) = unix.mode {
            // the file gets the mode of the socket, less the umask of who binds it
            fchmod(socket, mode).context("change mode of socket", show(text))?;
        }
        let bind = || {
            // what is there already is not ours to take back, wherever the path may lead by then
            if fstatat(&dir, name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() {
                return Err(Errno::EADDRINUSE);
            }
            if unix.mode.is_some() {
                umask(Mode::empty());
            }
            bind(socket.as_raw_fd(), &unix.address)?;
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            openat(&dir, name.as_c_str(), flags, Mode::empty()).inspect_err(|_| {
                let _ = unlinkat(&dir, name.as_c_str(), UnlinkatFlags::NoRemoveDir);
            })
        };
        let keep = [socket.as_fd(), dir.as_fd()];
        let file = match place.is_here() {
            // in a child, whose umask is its own
            true => sys::clone::open_beside(&keep, &|| Ok(()), &bind).map_err(failed)?,
            false => place.open(&keep, &bind)?,
        };
        let file = file.map_err(failed)?;
        let stat = fstat(&file).map_err(failed)?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFSOCK {
            return Err(failed(Errno::ESTALE).with_reason("what is there now is something else"));
        }
        Made::new(place, dir, name, &file).map(Some)
    }
}
