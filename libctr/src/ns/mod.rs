//! Namespaces held by descriptor: kinds, references, making and entering.
//!
//! A [`Namespace`] is an open descriptor whose kind has been verified. It keeps the namespace alive without any process in
//! it, for as long as it is open. [`Create`] makes a set of them; [`Namespace::enter`] moves the caller into one;
//! [`NsRef`] is how a person names one. See namespaces(7).

mod create;
mod elsewhere;
mod reference;

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{Mode, fstat};
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::Pid;

use crate::error::{Context, Errno, Error, Result, show};
use crate::mount::Tree;
use crate::{process, sys};

pub use create::{Create, Propagation, TimeOffsets, make};
pub(crate) use elsewhere::open_in;
pub use reference::NsRef;

/// The kinds of namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// User and group ids, capabilities: user_namespaces(7).
    User,
    /// Network devices, addresses, routes, ports: network_namespaces(7).
    Net,
    /// Mounts: mount_namespaces(7).
    Mnt,
    /// Process ids: pid_namespaces(7).
    Pid,
    /// System V and POSIX message queues and shared memory: ipc_namespaces(7).
    Ipc,
    /// Host and domain name: uts_namespaces(7).
    Uts,
    /// What is seen as the root of the cgroups: cgroup_namespaces(7).
    Cgroup,
    /// Offsets of the monotonic and boot-time clocks (Linux 5.6): time_namespaces(7).
    Time,
}

/// `CLONE_NEWTIME`, which nix does not name.
const CLONE_NEWTIME: CloneFlags = CloneFlags::from_bits_retain(0x80);

impl Kind {
    /// Every kind, in the order in which descriptors are handed on.
    pub const ALL: [Kind; 8] =
        [Kind::User, Kind::Net, Kind::Mnt, Kind::Pid, Kind::Ipc, Kind::Uts, Kind::Cgroup, Kind::Time];

    /// Its name, as in `/proc/PID/ns`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Net => "net",
            Kind::Mnt => "mnt",
            Kind::Pid => "pid",
            Kind::Ipc => "ipc",
            Kind::Uts => "uts",
            Kind::Cgroup => "cgroup",
            Kind::Time => "time",
        }
    }

    /// The environment variable that hands on a descriptor of this kind: `NSFD_USER`, …
    pub fn variable(self) -> &'static str {
        match self {
            Kind::User => "NSFD_USER",
            Kind::Net => "NSFD_NET",
            Kind::Mnt => "NSFD_MNT",
            Kind::Pid => "NSFD_PID",
            Kind::Ipc => "NSFD_IPC",
            Kind::Uts => "NSFD_UTS",
            Kind::Cgroup => "NSFD_CGROUP",
            Kind::Time => "NSFD_TIME",
        }
    }

    /// Its `CLONE_NEW*` flag.
    pub fn flag(self) -> CloneFlags {
        match self {
            Kind::User => CloneFlags::CLONE_NEWUSER,
            Kind::Net => CloneFlags::CLONE_NEWNET,
            Kind::Mnt => CloneFlags::CLONE_NEWNS,
            Kind::Pid => CloneFlags::CLONE_NEWPID,
            Kind::Ipc => CloneFlags::CLONE_NEWIPC,
            Kind::Uts => CloneFlags::CLONE_NEWUTS,
            Kind::Cgroup => CloneFlags::CLONE_NEWCGROUP,
            Kind::Time => CLONE_NEWTIME,
        }
    }

    /// The file in `/proc/PID/ns` through which the namespace of that process's next children is opened: the same as
    /// [`Kind::name`] but for pid and time.
    fn file_for_children(self) -> &'static str {
        match self {
            Kind::Pid => "pid_for_children",
            Kind::Time => "time_for_children",
            kind => kind.name(),
        }
    }
}

/// The flags of several kinds together.
pub fn flags(kinds: &[Kind]) -> CloneFlags {
    kinds.iter().fold(CloneFlags::empty(), |flags, kind| flags | kind.flag())
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Kind> {
        let name = if text == "mount" { "mnt" } else { text };
        Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            Error::invalid("parse namespace kind", show(text), "is none of user, net, mnt, pid, ipc, uts, cgroup, time")
        })
    }
}

/// An open namespace of a verified kind. Holding it keeps the namespace alive.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
    kind: Kind,
}

impl Namespace {
    /// Verifies that `fd` is a namespace of this kind: nsfs(5) by fstatfs(2), then `NS_GET_NSTYPE` (Linux 4.11). `object`
    /// is what messages call it.
    ///
    /// # Errors
    /// EINVAL: not a namespace, or of another kind; the message says which.
    pub fn verify(fd: OwnedFd, kind: Kind, object: impl fmt::Display) -> Result<Namespace> {
        const OPERATION: &str = "use as namespace";
        if !is_nsfs(&fd).context(OPERATION, &object)? {
            return Err(Error::invalid(OPERATION, object, format!("is {}, not a namespace", what_is(&fd))));
        }
        let flag = match sys::nsfs::nstype(&fd) {
            Err(Errno::EBADF) => {
                let error = Error::new(OPERATION, object, Errno::EBADF);
                return Err(error.with_reason("was opened with O_PATH, which names a namespace but does not open it"));
            }
            other => other.context(OPERATION, &object)?,
        };
        match Kind::ALL.into_iter().find(|kind| kind.flag().bits() == flag) {
            Some(found) if found == kind => Ok(Namespace { fd, kind }),
            Some(found) => Err(Error::invalid(OPERATION, object, format!("is {found}, expected {kind}"))),
            None => Err(Error::invalid(OPERATION, object, format!("is of an unknown kind {flag:#x}, expected {kind}"))),
        }
    }

    /// Opens a namespace file: `/run/netns/blue`, `/proc/42/ns/net`. Nothing but a namespace file is ever opened for
    /// reading, so a FIFO does not block and a device is not touched.
    ///
    /// # Errors
    /// Those of open(2), and of [`Namespace::verify`].
    pub fn open(path: &Path, kind: Kind) -> Result<Namespace> {
        let fd = openat(AT_FDCWD, path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
            .context("open namespace", show(path))?;
        if !is_nsfs(&fd).context("open namespace", show(path))? {
            return Err(Error::invalid("open namespace", show(path), format!("is {}, not a namespace", what_is(&fd))));
        }
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
        let fd = openat(AT_FDCWD, link.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .context("open namespace", show(path))?;
        Namespace::verify(fd, kind, show(path))
    }

    /// The caller's own namespace of this kind.
    ///
    /// # Errors
    /// ENOENT: `/proc` is not mounted, or the kernel has no such kind.
    pub fn current(kind: Kind) -> Result<Namespace> {
        Namespace::open(Path::new(&format!("/proc/thread-self/ns/{kind}")), kind)
    }

    /// The namespace of this kind of a process, as seen in the caller's `/proc`.
    ///
    /// # Errors
    /// ENOENT: no such process. EACCES: the caller may not ptrace(2) it.
    pub fn of_process(pid: Pid, kind: Kind) -> Result<Namespace> {
        Namespace::open(Path::new(&format!("/proc/{pid}/ns/{kind}")), kind)
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The device and inode number that identify the namespace: equal for two descriptors of the same one.
    ///
    /// # Errors
    /// What fstat(2) says.
    pub fn id(&self) -> Result<(u64, u64)> {
        let stat = fstat(&self.fd).context("stat namespace", self.kind)?;
        Ok((stat.st_dev, stat.st_ino))
    }

    /// The user namespace that owns this one (Linux 4.9).
    ///
    /// # Errors
    /// EPERM: it is not the caller's or one below it.
    pub fn owner(&self) -> Result<Namespace> {
        let fd = sys::nsfs::userns(&self.fd).context("find owner of namespace", self.kind)?;
        Ok(Namespace { fd, kind: Kind::User })
    }

    /// Moves the calling thread into the namespace with setns(2); for pid and time, its next children.
    ///
    /// # Errors
    /// EINVAL: already in this user namespace, or (user, mnt) the caller has more than one thread. EPERM: no CAP_SYS_ADMIN
    /// there, or chrooted.
    pub fn enter(&self) -> Result<()> {
        let object = format_args!("{} namespace", self.kind);
        if matches!(self.kind, Kind::User | Kind::Mnt) && !process::is_single_threaded() {
            return Err(Error::invalid("enter", object, "the calling process has more than one thread"));
        }
        setns(&self.fd, self.kind.flag()).map_err(|errno| {
            let error = Error::new("enter", object, errno);
            match (errno, self.kind) {
                (Errno::EINVAL, Kind::User) => error.with_reason("the caller is already in it"),
                (Errno::EPERM, Kind::User) => error
                    .with_hint("only its owner, or CAP_SYS_ADMIN in it, may enter a user namespace; not from a chroot"),
                (Errno::EPERM, _) => error.with_hint(
                    "this needs CAP_SYS_ADMIN in the user namespace that owns it: enter that one too (--ns user)",
                ),
                _ => error,
            }
        })
    }

    /// Binds the namespace file to a path, which is made, so that the namespace lives on without a process or a descriptor, as
    /// ip-netns(8) does. `umount PATH; rm PATH` ends that.
    ///
    /// # Errors
    /// EEXIST: there is something. EINVAL: a mount namespace on a shared mount, or on one of its own. Those of making a file
    /// and of mount(2).
    #[doc(alias = "ip netns add")]
    pub fn pin(&self, path: &Path) -> Result<Pin> {
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let file = openat(AT_FDCWD, path, flags, Mode::empty())
            .context("make file for namespace", show(path))
            .map_err(|error| match error.errno() {
                Errno::EEXIST => error.with_hint("umount it and remove it, if the namespace there is not needed"),
                _ => error,
            })?;
        let mut pin = Pin { path: path.to_owned(), mounted: false, kept: false };
        Tree::bind(&self.fd, false).and_then(|tree| tree.attach(&file)).map_err(|errno| {
            let error = Error::new("bind namespace to", show(path), errno);
            match (errno, self.kind) {
                (Errno::EINVAL | Errno::ELOOP, Kind::Mnt) => {
                    error.with_hint("a mount namespace can be bound on a private mount only: mount --make-private")
                }
                _ => error,
            }
        })?;
        pin.mounted = true;
        Ok(pin)
    }

    /// Puts the descriptor out of the caller's hands, to pass it on.
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }
}

/// A namespace bound to a path: undone when this is dropped, unless [kept](Pin::keep).
#[derive(Debug)]
pub struct Pin {
    path: PathBuf,
    mounted: bool,
    kept: bool,
}

impl Pin {
    /// Leaves it there.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if self.mounted {
            let flags = nix::mount::MntFlags::MNT_DETACH | nix::mount::MntFlags::UMOUNT_NOFOLLOW;
            let _ = nix::mount::umount2(&self.path, flags);
        }
        let _ = nix::unistd::unlink(&self.path);
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether the process of this number, other than the caller, is in the caller's namespace of this kind, as far as the caller may
/// know: not of one that it may not look into, which belongs to somebody else.
pub fn shared_with(kind: Kind, pid: Pid) -> bool {
    let id = |namespace: Result<Namespace>| namespace.and_then(|namespace| namespace.id());
    let other = pid.as_raw() > 0 && pid != nix::unistd::getpid();
    other && id(Namespace::of_process(pid, kind)).is_ok_and(|theirs| id(Namespace::current(kind)) == Ok(theirs))
}

/// Enters several namespaces of the process behind `pidfd` in one setns(2) (Linux 5.8): all or none.
///
/// # Errors
/// ESRCH: it has ended. EPERM: no rights over one of them. EINVAL: `kinds` is empty, the caller's own user namespace, or
/// a caller with several threads.
pub fn enter_process(pidfd: impl AsFd, kinds: &[Kind]) -> Result<()> {
    let names = kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(",");
    let threads = kinds.iter().any(|kind| matches!(kind, Kind::User | Kind::Mnt)) && !process::is_single_threaded();
    if kinds.is_empty() || threads {
        let reason = if threads { "the calling process has more than one thread" } else { "no kind is asked for" };
        return Err(Error::invalid("enter namespaces of process", names, reason));
    }
    setns(pidfd, flags(kinds)).map_err(|errno| {
        let error = Error::new("enter namespaces of process", names, errno);
        match errno {
            Errno::EINVAL => error.with_hint("the caller cannot enter the user namespace that it is in"),
            Errno::EPERM => {
                error.with_hint("this needs CAP_SYS_ADMIN in the user namespaces that own them, and no chroot")
            }
            Errno::ESRCH => error.with_hint("the process has ended"),
            _ => error,
        }
    })
}

fn is_nsfs(fd: &OwnedFd) -> nix::Result<bool> {
    Ok(fstatfs(fd)?.filesystem_type() == FsType(libc::NSFS_MAGIC as _))
}

/// What a descriptor is, for a message.
fn what_is(fd: &OwnedFd) -> &'static str {
    match fstat(fd).map(|stat| stat.st_mode & libc::S_IFMT) {
        Ok(libc::S_IFREG) => "a regular file",
        Ok(libc::S_IFDIR) => "a directory",
        Ok(libc::S_IFIFO) => "a pipe",
        Ok(libc::S_IFSOCK) => "a socket",
        Ok(libc::S_IFCHR) => "a character device",
        Ok(libc::S_IFBLK) => "a block device",
        Ok(libc::S_IFLNK) => "a symbolic link",
        _ => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_names_of_proc() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse::<Kind>().unwrap(), kind);
            assert_eq!(Namespace::current(kind).unwrap().kind(), kind);
        }
        assert_eq!("mount".parse::<Kind>().unwrap(), Kind::Mnt);
        assert!("".parse::<Kind>().is_err());
    }

    #[test]
    fn refuses_what_is_no_namespace_of_the_kind() {
        let error = Namespace::open(Path::new("/dev/null"), Kind::Net).unwrap_err();
        assert_eq!(error.to_string(), "open namespace /dev/null: is a character device, not a namespace (EINVAL)");
        let error = Namespace::open(Path::new("/proc/self/ns/uts"), Kind::Net).unwrap_err();
        assert_eq!(error.to_string(), "use as namespace /proc/self/ns/uts: is uts, expected net (EINVAL)");
        let error = Namespace::open(Path::new("/nonexistent"), Kind::Net).unwrap_err();
        assert_eq!(error.errno(), Errno::ENOENT);
    }

    #[test]
    fn threads_are_refused_where_the_kernel_would_take_one_of_them() {
        let error = Namespace::current(Kind::Mnt).unwrap().enter().unwrap_err();
        assert_eq!(error.to_string(), "enter mnt namespace: the calling process has more than one thread (EINVAL)");
    }
}
