//! [`Sysctl`]: the settings of a network namespace below `/proc/sys/net`.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::str::FromStr;

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

use super::InterfaceName;
use crate::error::{Context, Errno, Error, Result, show};
use crate::ns::{Kind, open_in};

/// `NAME=VALUE`, the name below `net`.
///
/// As in sysctl(8), the first separator of the name decides: in `net.ipv4.conf.eth0/1.forwarding` a `/` is a dot of the
/// interface's name, `net/ipv4/conf/eth0.1/forwarding` is the path itself.
///
/// ```
/// use libctr::net::Sysctl;
/// assert_eq!("net.ipv4.ip_forward=1".parse::<Sysctl>()?.to_string(), "net/ipv4/ip_forward=1");
/// assert!("kernel.hostname=x".parse::<Sysctl>().is_err());
/// assert!("net/../kernel/hostname=x".parse::<Sysctl>().is_err());
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sysctl {
    path: String,
    value: String,
}

impl Sysctl {
    /// Sets it in the caller's network namespace, or in `netns` (from a child that goes there). Returns what restores the
    /// former value, or `None` where that cannot be read, as of `net/ipv4/route/flush`. Where the kernel takes a part of the
    /// value and refuses the rest, the former one is restored.
    ///
    /// # Errors
    /// ENOENT: the kernel has no such setting. EACCES, EPERM, EROFS: it may not be written. EINVAL: it does not take the value.
    /// EXDEV: `/proc/sys` is not procfs, or another filesystem is mounted below it.
    pub fn set(&self, netns: Option<impl AsFd>) -> Result<Option<Sysctl>> {
        let netns = netns.as_ref().map(AsFd::as_fd);
        let mut file = match self.open(netns, OFlag::O_RDWR) {
            Err(error) if error.errno() == Errno::EACCES => self.open(netns, OFlag::O_WRONLY)?,
            opened => opened?,
        };
        let former = self.read(&mut file).ok();
        if let Err(error) = self.write(&file) {
            // most often nothing was changed, and what cannot be written now could not before
            let _ = former.map(|former| former.write(&file));
            return Err(error).context("set sysctl", self);
        }
        Ok(former)
    }

    /// Whether it has this value already, but for white space, in the caller's network namespace or in `netns`.
    ///
    /// # Errors
    /// ENOENT: the kernel has no such setting. EACCES, EPERM: it may not be read. EXDEV: as [`Sysctl::set`].
    pub fn is_set(&self, netns: Option<impl AsFd>) -> Result<bool> {
        Ok(self.get(netns.as_ref().map(AsFd::as_fd))?.is_same(self))
    }

    /// The same setting with the value that it has now.
    pub(super) fn get(&self, netns: Option<BorrowedFd<'_>>) -> Result<Sysctl> {
        let mut file = self.open(netns, OFlag::O_RDONLY)?;
        self.read(&mut file)
    }

    fn open(&self, netns: Option<BorrowedFd<'_>>, access: OFlag) -> Result<File> {
        const SYS: &str = "/proc/sys";
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = openat(AT_FDCWD, SYS, flags, Mode::empty()).context("open", SYS)?;
        if fstatfs(&root).context("open", SYS)?.filesystem_type() != PROC_SUPER_MAGIC {
            return Err(Error::new("open", SYS, Errno::EXDEV).with_reason("is not procfs"));
        }
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
        let how = OpenHow::new().flags(access | OFlag::O_CLOEXEC).resolve(resolve);
        // which network namespace the files are those of is decided when they are opened
        let open = || match openat2(&root, self.path.as_str(), how) {
            // missing (before Linux 5.6) or filtered
            Err(Errno::ENOSYS | Errno::EPERM) => walk(root.as_fd(), &self.path, access),
            other => other,
        };
        let file = match netns {
            Some(netns) => open_in(netns, Kind::Net, &"", &[root.as_fd()], &open)?,
            None => open(),
        };
        Ok(file.context("set sysctl", self)?.into())
    }

    fn read(&self, file: &mut File) -> Result<Sysctl> {
        let mut former = String::new();
        file.read_to_string(&mut former).context("read sysctl", show(&self.path))?;
        Ok(Sysctl { path: self.path.clone(), value: former.trim_end().to_owned() })
    }

    fn write(&self, file: &File) -> std::io::Result<()> {
        // a write of nothing changes nothing
        file.write_all_at(if self.value.is_empty() { b"\n" } else { self.value.as_bytes() }, 0)
    }

    /// Whether both have the same value, if white space may differ.
    pub(super) fn is_same(&self, other: &Sysctl) -> bool {
        self.value.split_whitespace().eq(other.value.split_whitespace())
    }

    /// What else changes with it, below this directory: for each interface, `default` and `all`, this setting.
    pub(super) fn spreads(&self) -> Option<(&'static str, &'static str)> {
        let (directory, settings): (_, &[&'static str]) = match self.path.as_str() {
            "net/ipv4/ip_forward" => return Some(("net/ipv4/conf", "forwarding")),
            path if path.starts_with("net/ipv4/conf/all/") => ("net/ipv4/conf", &["forwarding"]),
            path if path.starts_with("net/ipv6/conf/all/") => (
                "net/ipv6/conf",
                &["forwarding", "force_forwarding", "disable_ipv6", "ignore_routes_with_linkdown", "addr_gen_mode"],
            ),
            _ => return None,
        };
        let setting = settings.iter().find(|setting| Some(**setting) == self.path.rsplit('/').next())?;
        Some((directory, setting))
    }

    /// Whether the kernel sets each interface to the value also where this has it already.
    pub(super) fn is_written_through(&self) -> bool {
        self.path.starts_with("net/ipv6/conf/all/")
    }

    /// Whether it is about the interface of this name, and goes with it.
    pub(super) fn is_of(&self, name: &InterfaceName) -> bool {
        self.path.split('/').nth(3) == Some(name.as_str())
    }

    /// That it stays as it was set.
    pub(super) fn not_restored(&self) -> Error {
        let error = Error::new("restore sysctl", show(&self.path), Errno::EOPNOTSUPP);
        error.with_reason("its former value could not be read")
    }

    /// The interface (or all) that loses IPv6 addresses by it, or gets some.
    pub(super) fn changes_addresses(&self) -> Option<&str> {
        let (name, setting) = self.path.strip_prefix("net/ipv6/conf/")?.split_once('/')?;
        matches!(setting, "disable_ipv6" | "addr_gen_mode").then_some(name)
    }

    /// Whether IPv6 forgets its default routers when it is set.
    pub(super) fn makes_a_router(&self) -> bool {
        self.path.starts_with("net/ipv6/conf/") && self.path.ends_with("/forwarding")
    }

    /// A setting to be read.
    pub(super) fn at(path: String) -> Sysctl {
        Sysctl { path, value: String::new() }
    }
}

/// Opens a file below `root` without openat2(2): every component on its own, none of them a link, and the file on the
/// filesystem of `root`.
fn walk(root: BorrowedFd<'_>, path: &str, access: OFlag) -> nix::Result<OwnedFd> {
    let all = OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let enter =
        |dir: BorrowedFd<'_>, name: &str| openat(dir, name, all | OFlag::O_PATH | OFlag::O_DIRECTORY, Mode::empty());
    let (directories, name) = path.rsplit_once('/').unwrap_or((".", path));
    let mut dir = enter(root, ".")?;
    for part in directories.split('/') {
        dir = enter(dir.as_fd(), part)?;
    }
    let file = openat(&dir, name, all | access, Mode::empty())?;
    if fstat(&file)?.st_dev == fstat(root)?.st_dev { Ok(file) } else { Err(Errno::EXDEV) }
}

impl FromStr for Sysctl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = |reason| Error::invalid("parse sysctl", show(text), reason);
        let (name, value) = text.split_once('=').ok_or_else(|| invalid("is not NAME=VALUE"))?;
        let path = match name.find(['.', '/']) {
            Some(at) if name.as_bytes()[at] == b'.' => name
                .chars()
                .map(|c| {
                    if c == '.' {
                        '/'
                    } else if c == '/' {
                        '.'
                    } else {
                        c
                    }
                })
                .collect(),
            _ => name.to_owned(),
        };
        let mut parts = path.split('/');
        if parts.next() != Some("net") || parts.clone().next().is_none() {
            return Err(invalid("is not below net: only net.* belongs to a network namespace"));
        }
        if parts.any(|part| matches!(part, "" | "." | "..")) || path.contains(char::is_control) {
            return Err(invalid("has a part that is no name"));
        }
        if value.is_empty() || value.contains(['\n', '\0']) {
            return Err(invalid("the value is empty or has more than one line"));
        }
        Ok(Sysctl { path, value: value.to_owned() })
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", show(&self.path), show(&self.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tests::in_new_netns;
    use crate::ns::{Kind, Namespace};

    #[test]
    fn names_stay_below_net() {
        for bad in [
            "",
            "x",
            "net=1",
            "net.=1",
            "kernel.x=1",
            "net/../x=1",
            "net/a//b=1",
            "/net/x=1",
            "net.ipv4.x=",
            "net.a=\n",
        ] {
            assert_eq!(bad.parse::<Sysctl>().unwrap_err().errno(), Errno::EINVAL, "{bad}");
        }
        let dotted: Sysctl = "net.ipv4.conf.eth0/1.forwarding=1".parse().unwrap();
        assert_eq!(dotted, "net/ipv4/conf/eth0.1/forwarding=1".parse().unwrap());
    }

    #[test]
    fn sets_and_restores_in_the_right_namespace() {
        in_new_netns(|| {
            let netns = Namespace::current(Kind::Net).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let ttl: Sysctl = "net.ipv4.ip_default_ttl=77".parse().unwrap();
                    let former = ttl.set(Some(&netns)).unwrap().unwrap();
                    assert_eq!(former.to_string(), "net/ipv4/ip_default_ttl=64");
                    assert_eq!(former.set(Some(&netns)).unwrap(), Some(ttl));
                });
            });
            let missing: Sysctl = "net.ipv4.nonsense=1".parse().unwrap();
            assert_eq!(missing.set(None::<&Namespace>).unwrap_err().errno(), Errno::ENOENT);
        });
    }
}
