//! [`Holder`]: who has a range of ids, and whether it is gone.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;

use nix::fcntl::{OFlag, openat};
use nix::sys::signal::kill;
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpid};

use super::extent::number;
use crate::error::{Context, Errno, Error, Result};
use crate::ns::Namespace;
use crate::process;
use crate::sys::nsfs::{NsHandle, handle, open_handle};

/// Who has a range, and when it becomes free by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody that can be seen: until it is released.
    Nobody,
    /// A process: until it has ended. Known by its number and its start, in ticks since boot, and by the pid and time
    /// namespace (inodes) that they are counted in: from another one it is taken to be alive.
    Process {
        /// Its number.
        pid: i32,
        /// When it started.
        start: u64,
        /// Where it has this number.
        namespace: u64,
        /// Where it started then; 0 where the kernel has no time namespaces.
        time: u64,
    },
    /// A namespace: until nothing holds it, neither a process nor a descriptor, mount or namespace in it (Linux 6.18). From
    /// another user namespace than that of the one who wrote this (inode), or with fewer rights, it is taken to be alive.
    Namespace {
        /// What the kernel finds it by.
        handle: NsHandle,
        /// Where it can be looked for.
        user: u64,
        /// Whether that takes CAP_SYS_ADMIN.
        admin: bool,
    },
}

impl Holder {
    /// The process behind a pidfd.
    ///
    /// # Errors
    /// Those of [`process::pid_of`] and [`process::open_proc`]; ESRCH: it has ended.
    pub fn process(pidfd: impl AsFd) -> Result<Holder> {
        let pid = process::pid_of(pidfd)?.as_raw();
        let start = started(process::open_proc(getpid())?.as_fd(), pid)?;
        let start = start.ok_or_else(|| Error::new("find start of process", pid, Errno::ESRCH))?;
        Ok(Holder::Process { pid, start, namespace: inode_of("pid")?, time: inode_of("time")? })
    }

    /// A namespace.
    ///
    /// # Errors
    /// EOPNOTSUPP: the kernel cannot tell when it is gone (before Linux 6.18). ESTALE: it is not the caller's to look for: in no
    /// user namespace that the caller owns or has CAP_SYS_ADMIN in. EPERM, ENOSYS: a filter forbids it.
    pub fn namespace(namespace: &Namespace) -> Result<Holder> {
        let refused = |errno| {
            let hint = match errno {
                Errno::ESTALE => "it is in no user namespace that the caller owns or has CAP_SYS_ADMIN in",
                _ => {
                    "only Linux 6.18 can tell when a namespace is gone (and only without a filter of open_by_handle_at). Have a \
                     process that outlives it hold the range: MAP from $(idmap-alloc --count N --process $$)"
                }
            };
            Error::new("watch namespace", namespace.kind(), errno).with_hint(hint)
        };
        let handle = handle(namespace).map_err(refused)?;
        let here = Here::new()?;
        // that it is found now says that not finding it will mean something
        open_handle(&here.any, handle).map_err(refused)?;
        Ok(Holder::Namespace { handle, user: here.user, admin: here.admin })
    }

    /// Whether it is gone for certain.
    pub(super) fn is_gone(&self, here: &Here) -> Result<bool> {
        match self {
            Holder::Nobody => Ok(false),
            Holder::Process { pid, start, namespace, time } => {
                if (*namespace, *time) != (here.pid, here.time) {
                    return Ok(false);
                }
                let proc = here.proc.as_ref().map_err(Clone::clone)?;
                Ok(started(proc.as_fd(), *pid)? != Some(*start))
            }
            Holder::Namespace { handle, user, admin } => {
                if *user != here.user || (*admin && !here.admin) {
                    return Ok(false);
                }
                match open_handle(&here.any, *handle) {
                    Ok(_) => Ok(false),
                    Err(Errno::ESTALE) => Ok(true),
                    Err(errno) => Err(Error::new("look for namespace", handle, errno)),
                }
            }
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Nobody => f.write_str("-"),
            Holder::Process { pid, start, namespace, time } => write!(f, "pid:{pid}:{start}:{namespace:x}:{time:x}"),
            Holder::Namespace { handle, user, admin } => {
                write!(f, "{}:{user:x}:{handle}", if *admin { "ns" } else { "own-ns" })
            }
        }
    }
}

impl FromStr for Holder {
    type Err = ();

    fn from_str(text: &str) -> std::result::Result<Holder, ()> {
        let inode = |field: &str| u64::from_str_radix(field, 16).map_err(drop);
        match text.split_once(':') {
            None if text == "-" => Ok(Holder::Nobody),
            Some(("pid", rest)) => match rest.split(':').collect::<Vec<_>>().as_slice() {
                // what begins with a sign or is 0 names more than one process
                [pid, start, namespace, time] => Ok(Holder::Process {
                    pid: number(pid).and_then(|pid| pid.try_into().ok()).filter(|pid| *pid > 0).ok_or(())?,
                    start: start.parse().map_err(drop)?,
                    namespace: inode(namespace)?,
                    time: inode(time)?,
                }),
                _ => Err(()),
            },
            Some((word @ ("ns" | "own-ns"), rest)) => {
                let (user, handle) = rest.split_once(':').ok_or(())?;
                Ok(Holder::Namespace { handle: handle.parse().map_err(drop)?, user: inode(user)?, admin: word == "ns" })
            }
            _ => Err(()),
        }
    }
}

/// From where holders are looked for.
pub(super) struct Here {
    pid: u64,
    time: u64,
    user: u64,
    /// A `/proc/PID` of this pid namespace, or why there is none.
    proc: Result<OwnedFd>,
    any: File,
    admin: bool,
}

impl Here {
    pub(super) fn new() -> Result<Here> {
        const CAP_SYS_ADMIN: u8 = 21;
        Ok(Here {
            pid: inode_of("pid")?,
            time: inode_of("time")?,
            user: inode_of("user")?,
            proc: process::open_proc(getpid()),
            any: File::open("/proc/self/ns/user").context("open", "/proc/self/ns/user")?,
            admin: crate::sys::cred::capget().context("read capabilities", "")?.effective & (1 << CAP_SYS_ADMIN) != 0,
        })
    }
}

/// Which namespace of this kind the caller is in; 0 where the kernel has none of the kind.
fn inode_of(kind: &str) -> Result<u64> {
    let path = format!("/proc/self/ns/{kind}");
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && kind == "time" => Ok(0),
        metadata => metadata.map(|metadata| metadata.ino()).context("stat", path),
    }
}

/// When a process started; `None` if there is none, or only its exit status is left. `proc` is the `/proc/PID` of any.
pub(super) fn started(proc: BorrowedFd<'_>, pid: i32) -> Result<Option<u64>> {
    let path = format!("../{pid}/stat");
    let mut stat = Vec::with_capacity(1024);
    let read = openat(proc, path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(std::io::Error::from)
        .and_then(|file| File::from(file).read_to_end(&mut stat));
    if let Err(error) = read {
        let missing = matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH));
        // hidepid hides it from a file, not from a signal
        if missing && kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
            return Ok(None);
        }
        return Err(error).context("look at process", pid);
    }
    // the name, in parentheses, can hold anything
    let rest = stat.iter().rposition(|byte| *byte == b')').map_or(&[][..], |end| &stat[end + 1..]);
    let mut fields = rest.split(|byte| *byte == b' ').filter(|field| !field.is_empty());
    let ended = matches!(fields.next(), Some(b"Z" | b"X"));
    // a first thread that has ended leaves the others
    match (fields.nth(16), fields.nth(1).and_then(|start| str::from_utf8(start).ok()?.parse().ok())) {
        (Some(b"0" | b"1"), Some(_)) if ended => Ok(None),
        (_, Some(start)) => Ok(Some(start)),
        (_, None) => Err(Error::invalid("look at process", pid, "its stat in /proc is none")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_one_process() {
        for text in ["pid:1:5:f0000000:f0000001", "ns:f0000000:f1:5:10000000:effffffd", "own-ns:1:f1:5:1:1", "-"] {
            assert_eq!(text.parse::<Holder>().map(|holder| holder.to_string()), Ok(text.to_owned()));
        }
        for text in
            ["pid:0:5:1:1", "pid:-1:5:1:1", "pid:2147483648:5:1:1", "pid:1:5:1", "pid:1:5:1:1:1", "ns:1", "", "x"]
        {
            assert_eq!(text.parse::<Holder>(), Err(()), "{text}");
        }
    }
}
