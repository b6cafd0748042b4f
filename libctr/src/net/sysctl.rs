//! [`Sysctl`]: the settings of a network namespace below `/proc/sys/net`.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::str::FromStr;

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};

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
    /// former value.
    ///
    /// # Errors
    /// ENOENT: the kernel has no such setting. EACCES, EPERM, EROFS: it may not be written. EINVAL: it does not take the value.
    /// EXDEV: `/proc/sys` is not procfs, or something is mounted below it.
    pub fn set(&self, netns: Option<impl AsFd>) -> Result<Sysctl> {
        const SYS: &str = "/proc/sys";
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let root = openat(AT_FDCWD, SYS, flags, Mode::empty()).context("open", SYS)?;
        if fstatfs(&root).context("open", SYS)?.filesystem_type() != PROC_SUPER_MAGIC {
            return Err(Error::new("open", SYS, Errno::EXDEV).with_reason("is not procfs"));
        }
        let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_XDEV;
        let how = OpenHow::new().flags(OFlag::O_RDWR | OFlag::O_CLOEXEC).resolve(resolve);
        // which network namespace the files are those of is decided when they are opened
        let open = || openat2(&root, self.path.as_str(), how);
        let file = match &netns {
            Some(netns) => open_in(netns.as_fd(), Kind::Net, &"", &[root.as_fd()], &open)?,
            None => open(),
        };
        let mut former = String::new();
        let mut file = File::from(file.context("set sysctl", self)?);
        file.read_to_string(&mut former).context("read sysctl", show(&self.path))?;
        file.write_all_at(self.value.as_bytes(), 0).context("set sysctl", self)?;
        Ok(Sysctl { path: self.path.clone(), value: former.trim_end().to_owned() })
    }
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
                    let former = ttl.set(Some(&netns)).unwrap();
                    assert_eq!(former.to_string(), "net/ipv4/ip_default_ttl=64");
                    assert_eq!(former.set(Some(&netns)).unwrap(), ttl);
                });
            });
            let missing: Sysctl = "net.ipv4.nonsense=1".parse().unwrap();
            assert_eq!(missing.set(None::<&Namespace>).unwrap_err().errno(), Errno::ENOENT);
        });
    }
}
