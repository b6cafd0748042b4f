//! [`Opening`]: descriptors from elsewhere, to be handed on: sockets bound in a network namespace, files beneath another mount
//! namespace's root, tun devices, processes, and what other descriptors tell of their namespaces.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, Backlog, NetlinkAddr, SockFlag, SockType, SockaddrLike, SockaddrStorage, UnixAddr, bind, connect,
    listen, setsockopt, sockopt,
};
use nix::sys::stat::Mode;

use crate::error::{Context, Errno, Error, Result, show};
use crate::mount::options::{Options, split};
use crate::net::{InterfaceName, Tun};
use crate::ns::{Kind, NsRef};
use crate::process::PidRef;
use crate::sys;
use crate::sys::clone::open_elsewhere;

/// A descriptor to be opened, and the name that it is handed on by.
///
/// ```
/// use libctr::open::Opening;
/// let opening = Opening::tcp("[::1]:0=WEB,reuseaddr")?;
/// assert_eq!(opening.variable(), "OPENFD_WEB");
/// let socket = opening.open()?;
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Opening {
    name: String,
    /// As it was asked for, for messages.
    text: String,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Socket(Box<Socket>),
    File(Box<File>),
    Tun(InterfaceName, Tun, Option<NsRef>),
    Process(PidRef),
    Of(PidRef, u32),
    NetnsOf(PidRef),
    Owner(Kind, NsRef),
    Parent(Kind, NsRef),
}

#[derive(Clone, Debug)]
struct Socket {
    kind: SocketKind,
    netns: Option<NsRef>,
    connect: bool,
    backlog: Option<Backlog>,
    flags: SockFlag,
    settings: Vec<Setting>,
}

#[derive(Clone, Debug)]
enum SocketKind {
    Tcp(SocketAddr),
    Udp(SocketAddr),
    Unix(UnixAddr, SockType, Option<Mode>),
    Netlink(i32, u32),
    /// The protocol, whether with the link's header, and the interface.
    Packet(u16, bool, Option<InterfaceName>),
}

#[derive(Clone, Debug)]
enum Setting {
    On(Switch),
    Device(InterfaceName),
    Mark(u32),
    ReceiveBuffer(usize),
    SendBuffer(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Switch {
    ReuseAddr,
    ReusePort,
    V6Only,
    FreeBind,
    Transparent,
    KeepAlive,
    NoDelay,
    Broadcast,
}

const SWITCHES: [(&str, Switch); 8] = [
    ("reuseaddr", Switch::ReuseAddr),
    ("reuseport", Switch::ReusePort),
    ("v6only", Switch::V6Only),
    ("freebind", Switch::FreeBind),
    ("transparent", Switch::Transparent),
    ("keepalive", Switch::KeepAlive),
    ("nodelay", Switch::NoDelay),
    ("broadcast", Switch::Broadcast),
];

#[derive(Clone, Debug)]
struct File {
    path: OsString,
    mntns: Option<NsRef>,
    root: Option<String>,
    flags: OFlag,
    mode: Mode,
    resolve: ResolveFlag,
}

fn invalid(text: &str, reason: impl Into<String>) -> Error {
    Error::invalid("parse descriptor to open", show(text), reason)
}

/// The source as text of some type.
fn parse<T: FromStr>(text: &str, source: &OsStr, expected: &str) -> Result<T> {
    let parsed = source.to_str().and_then(|source| source.parse().ok());
    parsed.ok_or_else(|| invalid(text, format!("does not begin with {expected}")))
}

fn reference<T: FromStr<Err = Error>>(given: &mut Options, key: &str) -> Result<Option<T>> {
    given.text(key)?.map(|text| text.parse()).transpose()
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

impl Opening {
    fn new(name: String, text: &str, what: What) -> Opening {
        Opening { name, text: text.to_owned(), what }
    }

    fn socket(text: &str, name: String, kind: SocketKind, mut given: Options) -> Result<Opening> {
        let mut settings = Vec::new();
        for (key, switch) in SWITCHES {
            if given.flag(key) {
                settings.push(Setting::On(switch));
            }
        }
        if let Some(device) = reference(&mut given, "dev")? {
            settings.push(Setting::Device(device));
        }
        settings.extend(number(&mut given, "mark")?.map(Setting::Mark));
        settings.extend(number(&mut given, "rcvbuf")?.map(|size| Setting::ReceiveBuffer(size as usize)));
        settings.extend(number(&mut given, "sndbuf")?.map(|size| Setting::SendBuffer(size as usize)));
        let stream = match &kind {
            SocketKind::Tcp(_) => true,
            SocketKind::Unix(_, kind, _) => *kind != SockType::Datagram,
            _ => false,
        };
        let connects = matches!(kind, SocketKind::Tcp(_) | SocketKind::Udp(_) | SocketKind::Unix(..));
        let connect = connects && given.flag("connect");
        let backlog = if stream && !connect { Some(number(&mut given, "backlog")?.unwrap_or(4096)) } else { None };
        let backlog = backlog.map(|backlog| {
            let backlog = i32::try_from(backlog).ok().and_then(|backlog| Backlog::new(backlog).ok());
            backlog.ok_or_else(|| invalid(text, "has a backlog that is not from 0 to 4096"))
        });
        let flags = if given.flag("nonblock") { SockFlag::SOCK_NONBLOCK } else { SockFlag::empty() };
        let netns = reference(&mut given, "netns")?;
        given.finish("socket")?;
        let socket = Socket { kind, netns, connect, backlog: backlog.transpose()?, flags, settings };
        Ok(Opening::new(name, text, What::Socket(Box::new(socket))))
    }

    /// `ADDR:PORT=NAME[,OPTIONS]`: a TCP socket that listens there; with `connect`, one that is connected.
    ///
    /// Options of sockets: `netns=NSREF`, `connect`, `backlog=N`, `nonblock`, `reuseaddr`, `reuseport`, `v6only`, `freebind`,
    /// `transparent`, `keepalive`, `nodelay`, `broadcast`, `dev=NAME`, `mark=N`, `rcvbuf=BYTES`, `sndbuf=BYTES`; see socket(7), ip(7), tcp(7).
    ///
    /// # Errors
    /// EINVAL: not of this form; the message says what is wrong. So for the others.
    pub fn tcp(text: &str) -> Result<Opening> {
        let (source, name, given) = split(text)?;
        let address = parse(text, &source, "ADDR:PORT, an IPv6 address in brackets")?;
        Opening::socket(text, name, SocketKind::Tcp(address), given)
    }

    /// `ADDR:PORT=NAME[,OPTIONS]`: a UDP socket bound there, or connected.
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn udp(text: &str) -> Result<Opening> {
        let (source, name, given) = split(text)?;
        let address = parse(text, &source, "ADDR:PORT, an IPv6 address in brackets")?;
        Opening::socket(text, name, SocketKind::Udp(address), given)
    }

    /// `PATH=NAME[,type=stream|dgram|seqpacket][,mode=OCTAL][,OPTIONS]`: a unix socket that is bound there and, unless of type dgram,
    /// listens; or is connected. `@NAME` is an abstract one. `mode` is that of the socket's file.
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn unix(text: &str) -> Result<Opening> {
        let (source, name, mut given) = split(text)?;
        let address = match source.as_bytes().strip_prefix(b"@") {
            Some(name) => UnixAddr::new_abstract(name),
            None => UnixAddr::new(source.as_os_str()),
        };
        let address = address.map_err(|_| invalid(text, "has a path of more than 107 bytes"))?;
        let kind = match given.text("type")?.as_deref() {
            None | Some("stream") => SockType::Stream,
            Some("dgram") => SockType::Datagram,
            Some("seqpacket") => SockType::SeqPacket,
            Some(other) => return Err(invalid(text, format!("type {other:?} is none of stream, dgram, seqpacket"))),
        };
        let mode = if given.has("mode") { Some(given.mode(0)?) } else { None };
        Opening::socket(text, name, SocketKind::Unix(address, kind, mode), given)
    }

    /// `PROTOCOL=NAME[,groups=N][,OPTIONS]`: a netlink socket, of a protocol of netlink(7): `route`, `generic`, `netfilter`, `audit`,
    /// `kobject_uevent`, `sock_diag`, `xfrm`, or a number. `groups` is a mask of multicast groups.
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn netlink(text: &str) -> Result<Opening> {
        let (source, name, mut given) = split(text)?;
        let protocol = match source.as_bytes() {
            b"route" => libc::NETLINK_ROUTE,
            b"generic" => libc::NETLINK_GENERIC,
            b"netfilter" => libc::NETLINK_NETFILTER,
            b"audit" => libc::NETLINK_AUDIT,
            b"kobject_uevent" => libc::NETLINK_KOBJECT_UEVENT,
            b"sock_diag" => libc::NETLINK_SOCK_DIAG,
            b"xfrm" => libc::NETLINK_XFRM,
            other => match crate::fd::parse_number(&String::from_utf8_lossy(other)) {
                Some(number) if number < 32 => number,
                _ => {
                    return Err(invalid(
                        text,
                        "does not begin with a protocol of netlink(7), or a number from 0 to 31",
                    ));
                }
            },
        };
        let groups = number(&mut given, "groups")?.unwrap_or(0);
        Opening::socket(text, name, SocketKind::Netlink(protocol, groups), given)
    }

    /// `PROTOCOL=NAME[,link=NAME][,type=raw|dgram][,OPTIONS]`: a packet(7) socket for an Ethernet protocol, `0x0800` or `all`, on one
    /// interface or on all.
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn packet(text: &str) -> Result<Opening> {
        let (source, name, mut given) = split(text)?;
        let protocol = match source.as_bytes() {
            b"all" => Some(libc::ETH_P_ALL as u16),
            other => str::from_utf8(other).ok().and_then(|text| u16::from_str_radix(text.strip_prefix("0x")?, 16).ok()),
        };
        let protocol = protocol.ok_or_else(|| invalid(text, "does not begin with a protocol, as 0x0800, or all"))?;
        let raw = match given.text("type")?.as_deref() {
            None | Some("raw") => true,
            Some("dgram") => false,
            Some(other) => return Err(invalid(text, format!("type {other:?} is neither raw nor dgram"))),
        };
        let link = reference(&mut given, "link")?;
        Opening::socket(text, name, SocketKind::Packet(protocol, raw, link), given)
    }

    /// `PATH=NAME[,mntns=NSREF][,root=DIR][,OPTIONS]`: a file, in another mount namespace, or with DIR as the root that no link in the path
    /// leads out of. Read-only by default. Options: `write`, `rdwr`, `path`, `append`, `create`, `excl`, `trunc`, `mode=OCTAL`,
    /// `directory`, `nofollow`, `nonblock`; and of openat2(2): `beneath`, `no_symlinks`, `no_xdev`. Magic links of `/proc` are followed only with
    /// `magiclinks`.
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn file(text: &str) -> Result<Opening> {
        let (source, name, mut given) = split(text)?;
        let mut access = Vec::new();
        for (key, flag) in [("write", OFlag::O_WRONLY), ("rdwr", OFlag::O_RDWR), ("path", OFlag::O_PATH)] {
            if given.flag(key) {
                access.push(flag);
            }
        }
        let mut flags = match access.as_slice() {
            [] => OFlag::O_RDONLY,
            [flag] => *flag,
            _ => return Err(invalid(text, "has more than one of write, rdwr, path")),
        };
        for (key, flag) in [
            ("append", OFlag::O_APPEND),
            ("create", OFlag::O_CREAT),
            ("excl", OFlag::O_EXCL),
            ("trunc", OFlag::O_TRUNC),
            ("directory", OFlag::O_DIRECTORY),
            ("nofollow", OFlag::O_NOFOLLOW),
            ("nonblock", OFlag::O_NONBLOCK),
        ] {
            if given.flag(key) {
                flags |= flag;
            }
        }
        let creates = flags.contains(OFlag::O_CREAT);
        if !creates && (flags.contains(OFlag::O_EXCL) || given.has("mode")) {
            return Err(invalid(text, "has excl or mode without create"));
        }
        let mode = if creates { given.mode(0o600)? } else { Mode::empty() };
        let mut resolve = ResolveFlag::empty();
        for (key, flag) in [
            ("beneath", ResolveFlag::RESOLVE_BENEATH),
            ("no_symlinks", ResolveFlag::RESOLVE_NO_SYMLINKS),
            ("no_xdev", ResolveFlag::RESOLVE_NO_XDEV),
        ] {
            if given.flag(key) {
                resolve |= flag;
            }
        }
        if !given.flag("magiclinks") {
            resolve |= ResolveFlag::RESOLVE_NO_MAGICLINKS;
        }
        let (mntns, root) = (reference(&mut given, "mntns")?, given.text("root")?);
        if root.is_some() && !resolve.contains(ResolveFlag::RESOLVE_BENEATH) {
            resolve |= ResolveFlag::RESOLVE_IN_ROOT;
        }
        given.finish("file")?;
        let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let file = File { path: source, mntns, root, flags, mode, resolve };
        Ok(Opening::new(name, text, What::File(Box::new(file))))
    }

    /// `LINK=NAME[,tap][,netns=NSREF][,multi_queue][,vnet_hdr]`: a tun device, or a tap device; made if it is missing, then gone with the
    /// descriptor.
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn tun(text: &str) -> Result<Opening> {
        let (source, name, mut given) = split(text)?;
        let link = parse(text, &source, "the name of an interface")?;
        let mut kind = if given.flag("tap") { "tap" } else { "tun" }.to_owned();
        for key in ["multi_queue", "vnet_hdr"] {
            if given.flag(key) {
                kind = format!("{kind},{key}");
            }
        }
        let netns = reference(&mut given, "netns")?;
        given.finish("tun device")?;
        Ok(Opening::new(name, text, What::Tun(link, kind.parse()?, netns)))
    }

    fn simple(text: &str, what: impl FnOnce(&str) -> Result<What>) -> Result<Opening> {
        let (source, name, given) = split(text)?;
        given.finish("descriptor")?;
        let source = source.to_str().ok_or_else(|| invalid(text, "is not UTF-8"))?;
        Ok(Opening::new(name, text, what(source)?))
    }

    /// `PIDREF=NAME`: a pidfd.
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn process(text: &str) -> Result<Opening> {
        Opening::simple(text, |source| Ok(What::Process(source.parse()?)))
    }

    /// `PIDREF:N=NAME`: a duplicate of descriptor N of a process (Linux 5.6).
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn of_process(text: &str) -> Result<Opening> {
        Opening::simple(text, |source| {
            let (process, fd) = source.rsplit_once(':').ok_or_else(|| invalid(text, "needs PIDREF:N=NAME"))?;
            let fd =
                crate::fd::parse_number(fd).ok_or_else(|| invalid(text, "needs a descriptor number after the :"))?;
            Ok(What::Of(process.parse()?, fd as u32))
        })
    }

    /// `fd:N=NAME` or `env:VAR=NAME`: the network namespace of a socket (Linux 4.9).
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn netns_of(text: &str) -> Result<Opening> {
        Opening::simple(text, |source| match source.parse()? {
            PidRef::Pid(_) => Err(invalid(text, "needs fd:N or env:VAR, a socket")),
            // a reference to an open descriptor, whatever is behind it
            reference => Ok(What::NetnsOf(reference)),
        })
    }

    /// `KIND:NSREF=NAME`: the user namespace that owns a namespace (Linux 4.9).
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn owner(text: &str) -> Result<Opening> {
        Opening::simple(text, |source| kind_and(text, source).map(|(kind, reference)| What::Owner(kind, reference)))
    }

    /// `user:NSREF=NAME` or `pid:NSREF=NAME`: the parent of a namespace (Linux 4.9).
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn parent(text: &str) -> Result<Opening> {
        Opening::simple(text, |source| match kind_and(text, source)? {
            (kind @ (Kind::User | Kind::Pid), reference) => Ok(What::Parent(kind, reference)),
            (kind, _) => Err(invalid(text, format!("{kind} namespaces have no parents; user and pid have"))),
        })
    }

    /// The environment variable that hands its descriptor on: `OPENFD_NAME`.
    pub fn variable(&self) -> String {
        format!("OPENFD_{}", self.name)
    }

    /// Opens it, close-on-exec.
    ///
    /// # Errors
    /// Those of the system calls that it takes; ESRCH and the like for references to what is not there.
    pub fn open(&self) -> Result<OwnedFd> {
        match &self.what {
            What::Socket(socket) => socket.open(&self.text),
            What::File(file) => file.open(),
            What::Tun(link, tun, netns) => {
                let netns = netns.as_ref().map(|netns| netns.open(Kind::Net)).transpose()?;
                tun.open(link, netns)
            }
            What::Process(process) => process.open(),
            What::Of(process, fd) => {
                let pidfd = process.open()?;
                sys::clone::pidfd_getfd(&pidfd, *fd).map_err(|errno| {
                    let error = Error::new("duplicate descriptor", format_args!("{fd} of {process}"), errno);
                    match errno {
                        Errno::EPERM => error.with_hint("this needs the right to ptrace(2) the process"),
                        _ => error,
                    }
                })
            }
            What::NetnsOf(reference) => {
                let number = number_of(reference)?;
                let socket = sys::fd::duplicate(number, 3).context("open descriptor", reference)?;
                sys::net::socket_netns(&socket).map_err(|errno| {
                    let error = Error::new("find network namespace of", reference, errno);
                    match errno {
                        Errno::ENOTTY | Errno::ENOTSOCK => error.with_reason("is no socket"),
                        Errno::EPERM => error.with_hint("this needs CAP_NET_ADMIN over that network namespace"),
                        _ => error,
                    }
                })
            }
            What::Owner(kind, reference) => Ok(reference.open(*kind)?.owner()?.into_fd()),
            What::Parent(kind, reference) => {
                let namespace = reference.open(*kind)?;
                sys::nsfs::parent(&namespace).map_err(|errno| {
                    let error = Error::new("find parent of namespace", reference, errno);
                    match errno {
                        Errno::EPERM => {
                            error.with_reason("it is the first one, or its parent is out of sight from here")
                        }
                        _ => error,
                    }
                })
            }
        }
    }
}

fn number_of(reference: &PidRef) -> Result<RawFd> {
    match reference {
        PidRef::Fd(number) => Ok(*number),
        PidRef::Env(variable) => crate::fd::number_from_env(variable),
        PidRef::Pid(_) => Err(Error::invalid("use as descriptor", reference, "is a process")),
    }
}

fn kind_and(text: &str, source: &str) -> Result<(Kind, NsRef)> {
    let (kind, reference) = source.split_once(':').ok_or_else(|| invalid(text, "needs KIND:NSREF=NAME"))?;
    Ok((kind.parse()?, reference.parse()?))
}

impl File {
    fn open(&self) -> Result<OwnedFd> {
        let object = || match &self.root {
            Some(root) => format!("{} with root {}", show(&self.path), show(root)),
            None => show(&self.path).to_string(),
        };
        let how = OpenHow::new().flags(self.flags).mode(self.mode).resolve(self.resolve);
        let open = || match &self.root {
            Some(root) => {
                let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
                let root = openat(AT_FDCWD, root.as_str(), flags, Mode::empty())?;
                openat2(&root, self.path.as_os_str(), how)
            }
            None => openat2(AT_FDCWD, self.path.as_os_str(), how),
        };
        let explain = |errno| {
            let error = Error::new("open", object(), errno);
            match errno {
                Errno::ELOOP => error.with_hint("a link in the path is refused: see magiclinks, no_symlinks, nofollow"),
                Errno::EXDEV => error.with_hint("the path leads out: see root, beneath, no_xdev"),
                _ => error,
            }
        };
        let Some(reference) = &self.mntns else { return open().map_err(explain) };
        let mntns = reference.open(Kind::Mnt)?;
        // only its owner's root may enter it, which an ordinary user becomes on the way
        let owner = mntns.owner().ok();
        let go = || match (setns(&mntns, CloneFlags::CLONE_NEWNS), &owner) {
            (Err(Errno::EPERM), Some(owner)) => {
                setns(owner, CloneFlags::CLONE_NEWUSER)?;
                setns(&mntns, CloneFlags::CLONE_NEWNS)
            }
            (done, _) => done,
        };
        open_elsewhere(go, open).map_err(|(entered, errno)| {
            if entered { explain(errno) } else { Error::new("enter mount namespace", reference, errno) }
        })
    }
}

impl Socket {
    fn open(&self, text: &str) -> Result<OwnedFd> {
        let netns = self.netns.as_ref().map(|netns| netns.open(Kind::Net)).transpose()?;
        let (family, kind, protocol) = match &self.kind {
            SocketKind::Tcp(address) => (family_of(address), SockType::Stream, 0),
            SocketKind::Udp(address) => (family_of(address), SockType::Datagram, 0),
            SocketKind::Unix(_, kind, _) => (libc::AF_UNIX, *kind, 0),
            SocketKind::Netlink(protocol, _) => (libc::AF_NETLINK, SockType::Raw, *protocol),
            // bound with its protocol: until then it receives nothing
            SocketKind::Packet(_, raw, _) => {
                (libc::AF_PACKET, if *raw { SockType::Raw } else { SockType::Datagram }, 0)
            }
        };
        let flags = SockFlag::SOCK_CLOEXEC | self.flags;
        let make = || sys::net::socket(family, kind, flags, protocol);
        let made = match &netns {
            Some(netns) => open_elsewhere(|| setns(netns, CloneFlags::CLONE_NEWNET), make),
            None => make().map_err(|errno| (true, errno)),
        };
        let socket = made.map_err(|(entered, errno)| match entered {
            true => Error::new("open socket", show(text), errno),
            false => Error::new("enter network namespace", "", errno)
                .with_hint("this needs CAP_SYS_ADMIN in the user namespace that owns it, and in the caller's own"),
        })?;
        for setting in &self.settings {
            setting.set(&socket).map_err(|errno| {
                let error = Error::new("set option of socket", format_args!("{}: {setting:?}", show(text)), errno);
                match errno {
                    Errno::EPERM => {
                        error.with_hint("this needs CAP_NET_ADMIN or CAP_NET_RAW over its network namespace")
                    }
                    _ => error,
                }
            })?;
        }
        self.bind(&socket, text)?;
        if let Some(backlog) = self.backlog {
            listen(&socket, backlog).context("listen on socket", show(text))?;
        }
        Ok(socket)
    }

    fn bind(&self, socket: &OwnedFd, text: &str) -> Result<()> {
        let place = |address: &dyn SockaddrLike| {
            let (operation, done) = if self.connect {
                ("connect socket", connect(socket.as_raw_fd(), address))
            } else {
                ("bind socket", bind(socket.as_raw_fd(), address))
            };
            match done {
                // it goes on by itself
                Err(Errno::EINPROGRESS) => Ok(()),
                other => other.context(operation, show(text)),
            }
        };
        match &self.kind {
            SocketKind::Tcp(address) | SocketKind::Udp(address) => place(&SockaddrStorage::from(*address)),
            SocketKind::Unix(address, _, mode) => {
                place(address)?;
                match (mode, address.path()) {
                    (Some(mode), Some(path)) if !self.connect => {
                        nix::sys::stat::fchmodat(AT_FDCWD, path, *mode, nix::sys::stat::FchmodatFlags::FollowSymlink)
                            .context("change mode of socket", show(text))
                    }
                    _ => Ok(()),
                }
            }
            SocketKind::Netlink(_, groups) => place(&NetlinkAddr::new(0, *groups)),
            SocketKind::Packet(protocol, _, link) => {
                // what is looked up must be the namespace of the socket
                let index = match link {
                    Some(link) => sys::net::interface_index(socket, link.as_str()).context("find link", link)?,
                    None => 0,
                };
                sys::net::bind_packet(socket, *protocol, index).context("bind socket", show(text))
            }
        }
    }
}

fn family_of(address: &SocketAddr) -> i32 {
    if address.is_ipv4() { AddressFamily::Inet as i32 } else { AddressFamily::Inet6 as i32 }
}

impl Setting {
    fn set(&self, socket: &OwnedFd) -> nix::Result<()> {
        match self {
            Setting::On(Switch::ReuseAddr) => setsockopt(socket, sockopt::ReuseAddr, &true),
            Setting::On(Switch::ReusePort) => setsockopt(socket, sockopt::ReusePort, &true),
            Setting::On(Switch::V6Only) => setsockopt(socket, sockopt::Ipv6V6Only, &true),
            Setting::On(Switch::FreeBind) => setsockopt(socket, sockopt::IpFreebind, &true),
            Setting::On(Switch::Transparent) => setsockopt(socket, sockopt::IpTransparent, &true),
            Setting::On(Switch::KeepAlive) => setsockopt(socket, sockopt::KeepAlive, &true),
            Setting::On(Switch::NoDelay) => setsockopt(socket, sockopt::TcpNoDelay, &true),
            Setting::On(Switch::Broadcast) => setsockopt(socket, sockopt::Broadcast, &true),
            Setting::Device(name) => setsockopt(socket, sockopt::BindToDevice, &OsString::from(name.as_str())),
            Setting::Mark(mark) => setsockopt(socket, sockopt::Mark, mark),
            Setting::ReceiveBuffer(bytes) => setsockopt(socket, sockopt::RcvBuf, bytes),
            Setting::SendBuffer(bytes) => setsockopt(socket, sockopt::SndBuf, bytes),
        }
    }
}
