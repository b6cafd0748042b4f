//! [`Create`]: new namespaces, held by descriptor, with no process left in them.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use nix::fcntl::{OFlag, openat};
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::stat::Mode;
use nix::unistd::{Gid, Pid, Uid, geteuid, read, setgroups, setresgid, setresuid, write};

use super::{Kind, Namespace, flags};
use crate::error::{Context, Errno, Error, Fault, Object, Result, show};
use crate::idmap::{self, IdMap, Which};
use crate::{process, sys};

/// Offsets of a new time namespace's clocks, in whole seconds; see time_namespaces(7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeOffsets {
    /// Added to `CLOCK_MONOTONIC`.
    pub monotonic: i64,
    /// Added to `CLOCK_BOOTTIME`.
    pub boottime: i64,
}

/// A set of namespaces to be made together.
///
/// The others are owned by the user namespace that is made with them. In a mount namespace all mounts are slaves of those
/// outside. A short-lived child makes them; when [`create`](Create::create) returns it is gone, and if the caller dies
/// meanwhile it ends by itself.
///
/// ```no_run
/// use libctr::ns::{Create, Kind};
/// let map: libctr::idmap::IdMap = "0:100000:65536".parse()?;
/// let mut create = Create::new(&[Kind::User, Kind::Net]);
/// create.uid_map(map.clone()).gid_map(map);
/// let namespaces = create.create()?; // in the order of Kind::ALL
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Create {
    kinds: Vec<Kind>,
    uid_map: Option<IdMap>,
    gid_map: Option<IdMap>,
    allow_setgroups: Option<bool>,
    owner: Option<(u32, u32)>,
    parent: Option<Arc<Namespace>>,
    hostname: Option<CString>,
    time: TimeOffsets,
}

impl Create {
    /// Namespaces of these kinds.
    pub fn new(kinds: &[Kind]) -> Create {
        let kinds = Kind::ALL.into_iter().filter(|kind| kinds.contains(kind)).collect();
        Create { kinds, ..Create::default() }
    }

    /// The user ids of the user namespace. Without a map every id in it is the overflow id, 65534.
    pub fn uid_map(&mut self, map: IdMap) -> &mut Self {
        self.uid_map = Some(map);
        self
    }

    /// The group ids of the user namespace.
    pub fn gid_map(&mut self, map: IdMap) -> &mut Self {
        self.gid_map = Some(map);
        self
    }

    /// Whether setgroups(2) is allowed in the user namespace. By default it is denied only where a caller without CAP_SETGID
    /// [could drop a group](idmap::needs_setgroups_denied) that denies it a file.
    pub fn setgroups(&mut self, allow: bool) -> &mut Self {
        self.allow_setgroups = Some(allow);
        self
    }

    /// Makes the user namespace another user's: that user may enter it. Needs CAP_SETUID and CAP_SETGID.
    pub fn owner(&mut self, uid: u32, gid: u32) -> &mut Self {
        self.owner = Some((uid, gid));
        self
    }

    /// Makes the user namespace inside this one instead of the caller's. Its maps are then in the ids of `parent`: root inside
    /// has rights over `parent`'s ids, and none over the caller's. Needs rights over `parent`, as its owner or CAP_SYS_ADMIN.
    pub fn parent(&mut self, parent: Namespace) -> &mut Self {
        self.parent = Some(Arc::new(parent));
        self
    }

    /// The host name in the new uts namespace, 1 to 64 bytes.
    pub fn hostname(&mut self, name: CString) -> &mut Self {
        self.hostname = Some(name);
        self
    }

    /// The clocks' offsets in the new time namespace.
    pub fn time_offsets(&mut self, offsets: TimeOffsets) -> &mut Self {
        self.time = offsets;
        self
    }

    /// Makes them. They come in the order of [`Kind::ALL`].
    ///
    /// # Errors
    /// EINVAL: the set makes no sense (a pid namespace, a map without a user namespace, …). ENOSPC: a limit
    /// `user.max_*_namespaces`, or 32 levels, is reached. EPERM: not allowed; the hint says what forbids it. Those of
    /// [`idmap::write`].
    #[doc(alias = "unshare")]
    pub fn create(&self) -> Result<Vec<Namespace>> {
        self.validate()?;
        let (ours, theirs) = pair()?;
        let (pid, pidfd) = sys::clone::helper(|| {
            sys::fd::close(ours.as_raw_fd());
            report(&theirs, self.in_child(&theirs))
        })
        .map_err(no_child)?;
        drop(theirs);
        let made = self.in_parent(&ours, pid);
        // the child waits for the end of our socket; the signal is for the case that it is stuck elsewhere
        drop(ours);
        let _ = sys::clone::pidfd_send_signal(&pidfd, libc::SIGKILL);
        while sys::clone::wait_exit(&pidfd) == Err(Errno::EINTR) {}
        made
    }

    fn validate(&self) -> Result<()> {
        let has = |kind| self.kinds.contains(&kind);
        let invalid = |object, reason| Err(Error::invalid("create namespaces", object, reason));
        if self.kinds.is_empty() {
            return invalid("", "no kind is asked for");
        }
        if has(Kind::Pid) {
            return invalid(
                "pid",
                "a pid namespace cannot be opened before its first process, and dies with it: it is made where that process is",
            );
        }
        if !has(Kind::User) && (self.uid_map.is_some() || self.gid_map.is_some()) {
            return invalid("id map", "needs a new user namespace");
        }
        if !has(Kind::User) && (self.owner.is_some() || self.allow_setgroups.is_some()) {
            return invalid("owner or setgroups", "needs a new user namespace");
        }
        if let Some(parent) = &self.parent {
            if !has(Kind::User) {
                return invalid("parent", "needs a new user namespace");
            }
            if self.owner.is_some() {
                return invalid("parent and owner", "exclude each other: root of the parent is the owner");
            }
            if parent.kind() != Kind::User {
                return invalid("parent", "is no user namespace");
            }
        }
        if !has(Kind::Uts) && self.hostname.is_some() {
            return invalid("hostname", "needs a new uts namespace");
        }
        if self.hostname.as_ref().is_some_and(|name| !(1..=64).contains(&name.as_bytes().len())) {
            return invalid("hostname", "must have 1 to 64 bytes");
        }
        if !has(Kind::Time) && self.time != TimeOffsets::default() {
            return invalid("clock offsets", "needs a new time namespace");
        }
        Ok(())
    }

    /// What the child does. It allocates nothing: the caller may have threads.
    fn in_child(&self, socket: &OwnedFd) -> std::result::Result<(), Fault<'_>> {
        if let Some((uid, gid)) = self.owner {
            let (raw_uid, raw_gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            let fault = |operation, id: u32| {
                move |errno| {
                    let fault = Fault::new(operation, Object::Number(id.into()), errno);
                    match errno {
                        Errno::EINVAL => fault.with_hint("that id is not mapped in the caller's user namespace"),
                        Errno::EPERM => {
                            fault.with_hint("this needs CAP_SETUID and CAP_SETGID, and setgroups(2) allowed")
                        }
                        _ => fault,
                    }
                }
            };
            setgroups(&[]).map_err(fault("drop groups for owner", uid))?;
            setresgid(raw_gid, raw_gid, raw_gid).map_err(fault("become group of owner", gid))?;
            setresuid(raw_uid, raw_uid, raw_uid).map_err(fault("become owner", uid))?;
        }
        if let Some(parent) = &self.parent {
            enter_parent(parent, socket)?;
        }
        if self.kinds.contains(&Kind::User) {
            make_one(Kind::User)?;
            meet(socket)?;
        }
        // one kind at a time, so that a failure names it; nothing is lost, since all of them go with this process
        for kind in self.kinds.iter().filter(|kind| **kind != Kind::User) {
            make_one(*kind)?;
            if *kind == Kind::Mnt {
                // as with a user namespace, where the kernel does it: what is mounted inside does not come back
                let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
                nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)
                    .map_err(|errno| Fault::new("make slave", Object::Text(b"/"), errno))?;
            }
        }
        if let Some(name) = &self.hostname {
            nix::unistd::sethostname(OsStr::from_bytes(name.as_bytes()))
                .map_err(|errno| Fault::new("set hostname", Object::Text(name.as_bytes()), errno))?;
        }
        meet(socket)
    }

    fn in_parent(&self, socket: &OwnedFd, pid: Pid) -> Result<Vec<Namespace>> {
        let proc = process::open_proc(pid)?;
        if self.kinds.contains(&Kind::User) {
            hear(socket, pid)?;
            self.write_maps(proc.as_fd(), pid)?;
            answer(socket, pid)?;
        }
        hear(socket, pid)?;
        if self.time != TimeOffsets::default() {
            self.write_offsets(&proc)?;
        }
        self.kinds.iter().map(|kind| open(&proc, *kind)).collect()
    }

    fn write_maps(&self, proc: BorrowedFd<'_>, pid: Pid) -> Result<()> {
        if let Some(parent) = &self.parent {
            return self.write_maps_in(parent, proc);
        }
        match (self.allow_setgroups, &self.gid_map) {
            (Some(allow), _) => idmap::write_setgroups(proc, allow)?,
            (None, Some(map)) if idmap::needs_setgroups_denied(map) => idmap::write_setgroups(proc, false)?,
            (None, _) => {}
        }
        if let Some(map) = &self.uid_map {
            idmap::write(proc, pid, Which::Uid, map)?;
        }
        if let Some(map) = &self.gid_map {
            idmap::write(proc, pid, Which::Gid, map)?;
        }
        Ok(())
    }

    /// The kernel takes a map from a process in the namespace's parent only: one more child goes there and writes it. It keeps
    /// its ids, since `/proc/PID` of a process that cannot be dumped is root's.
    fn write_maps_in(&self, parent: &Namespace, proc: BorrowedFd<'_>) -> Result<()> {
        let setgroups = match self.allow_setgroups {
            Some(true) => "allow",
            Some(false) => "deny",
            None => "",
        };
        let text = |map: &Option<IdMap>| map.as_ref().map(IdMap::to_kernel).unwrap_or_default();
        let (uid, gid) = (text(&self.uid_map), text(&self.gid_map));
        let files = [("setgroups", setgroups), ("uid_map", uid.as_str()), ("gid_map", gid.as_str())];
        let (ours, theirs) = pair()?;
        let (pid, pidfd) = sys::clone::helper(|| {
            sys::fd::close(ours.as_raw_fd());
            let write_all = || {
                setns_user(parent)?;
                files.iter().try_for_each(|(name, text)| put(proc, name, text))?;
                write(&theirs, b"+").map(drop).map_err(|errno| Fault::new("talk to parent", Object::None, errno))
            };
            report(&theirs, write_all())
        })
        .map_err(no_child)?;
        drop(theirs);
        let heard = hear(&ours, pid);
        let parents = process::open_proc(pid)
            .and_then(|proc| Ok((idmap::read(proc.as_fd(), Which::Uid)?, idmap::read(proc.as_fd(), Which::Gid)?)));
        drop(ours);
        while sys::clone::wait_exit(&pidfd) == Err(Errno::EINTR) {}
        heard.map_err(|error| match (error.errno(), &parents) {
            (Errno::EPERM, Ok((uid, gid))) => {
                let map = if error.object() == "gid_map" { gid } else { uid };
                error.with_hint(format!("every range must lie within one of the parent's, whose map is {map}"))
            }
            _ => error,
        })?;
        // from here the kernel shows both maps, one after the other
        let (uid, gid) = parents?;
        for (which, asked, parent) in [(Which::Uid, &self.uid_map, uid), (Which::Gid, &self.gid_map, gid)] {
            if let Some(asked) = asked {
                idmap::verify(proc, which, &asked.compose(&parent)?)?;
            }
        }
        Ok(())
    }

    fn write_offsets(&self, proc: &OwnedFd) -> Result<()> {
        let text = format!("monotonic {} 0\nboottime {} 0\n", self.time.monotonic, self.time.boottime);
        let file = openat(proc, "timens_offsets", OFlag::O_WRONLY | OFlag::O_CLOEXEC, Mode::empty())
            .context("open", "timens_offsets")?;
        let written = write(&file, text.as_bytes()).context("write timens_offsets", format_args!("{:?}", text.trim()));
        written.map(drop).map_err(|error| match error.errno() {
            Errno::ERANGE => error.with_hint("the clock would be negative, or beyond 146 years"),
            Errno::EPERM => {
                error.with_hint("this needs CAP_SYS_TIME in the user namespace that owns the time namespace")
            }
            _ => error,
        })
    }
}

/// What mounts and unmounts in a new mount namespace have to do with those outside; see mount_namespaces(7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Propagation {
    /// None in either direction.
    Private,
    /// Those outside still arrive, nothing goes back.
    #[default]
    Slave,
    /// In the new namespace all mounts become shared, those that were not in new peer groups.
    Shared,
    /// As the mounts were.
    Unchanged,
}

impl std::str::FromStr for Propagation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Propagation> {
        match text {
            "private" => Ok(Propagation::Private),
            "slave" => Ok(Propagation::Slave),
            "shared" => Ok(Propagation::Shared),
            "unchanged" => Ok(Propagation::Unchanged),
            _ => Err(Error::invalid("parse propagation", show(text), "is none of private, slave, shared, unchanged")),
        }
    }
}

/// Makes the calling thread's own new namespaces in one unshare(2), then sets the propagation of all mounts of a new mount
/// namespace.
///
/// # Errors
/// Those of unshare(2), with a hint; then the caller must end, and not try again with fewer kinds.
#[doc(alias = "unshare")]
pub fn make(kinds: &[Kind], propagation: Propagation) -> Result<()> {
    if kinds.is_empty() {
        return Ok(());
    }
    if kinds.contains(&Kind::Mnt) && !process::is_single_threaded() {
        return Err(Error::invalid("create namespace", "mnt", "the calling process has more than one thread"));
    }
    let names = kinds.iter().map(|kind| kind.name()).collect::<Vec<_>>().join(",");
    unshare(flags(kinds)).map_err(|errno| explain(Error::new("create namespace", names, errno)))?;
    let flag = match propagation {
        Propagation::Private => MsFlags::MS_PRIVATE,
        Propagation::Slave => MsFlags::MS_SLAVE,
        Propagation::Shared => MsFlags::MS_SHARED,
        Propagation::Unchanged => return Ok(()),
    };
    if kinds.contains(&Kind::Mnt) {
        nix::mount::mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | flag, None::<&str>)
            .context("change propagation of", "/")?;
    }
    Ok(())
}

fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).context("make socketpair", "")
}

fn no_child(errno: Errno) -> Error {
    Error::new("start child process", "", errno).with_hint("RLIMIT_NPROC or pids.max of the cgroup is reached")
}

/// In the child: how it ended, as its exit status.
fn report(socket: &OwnedFd, done: std::result::Result<(), Fault<'_>>) -> i32 {
    match done {
        Ok(()) => 0,
        Err(fault) => {
            let mut buffer = [0; Fault::MAX];
            let _ = write(socket, fault.encode(&mut buffer));
            125
        }
    }
}

fn setns_user(parent: &Namespace) -> std::result::Result<(), Fault<'static>> {
    // the caller's own: it is there already
    match setns(parent, CloneFlags::CLONE_NEWUSER) {
        Ok(()) | Err(Errno::EINVAL) => Ok(()),
        Err(errno) => Err(Fault::new("enter", Object::Text(b"parent user namespace"), errno)
            .with_hint("only its owner, or CAP_SYS_ADMIN in it, may enter a user namespace")),
    }
}

/// In the child: becomes root of the parent, which is to own the new user namespace.
fn enter_parent(parent: &Namespace, socket: &OwnedFd) -> std::result::Result<(), Fault<'static>> {
    let ordinary = !geteuid().is_root();
    setns_user(parent)?;
    let fault = |errno| {
        Fault::new("become root of", Object::Text(b"parent user namespace"), errno)
            .with_hint("id 0 is not mapped in it")
    };
    // denied in the parent: this process ends soon, and nothing is made of its groups
    match setgroups(&[]) {
        Ok(()) | Err(Errno::EPERM) => {}
        Err(errno) => return Err(Fault::new("drop groups in", Object::Text(b"parent user namespace"), errno)),
    }
    setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0)).map_err(fault)?;
    setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).map_err(fault)?;
    if ordinary {
        // its /proc/PID would be root's, to which an ordinary caller has no access. The parent's processes can then trace
        // it: it keeps nothing that they have not
        sys::fd::close_from(0, &[socket.as_raw_fd()]);
        nix::sys::prctl::set_dumpable(true).map_err(|errno| Fault::new("set dumpable", Object::None, errno))?;
    }
    Ok(())
}

/// In the child: one write to a file of `/proc/PID`, unless it is empty.
fn put(proc: BorrowedFd<'_>, name: &'static str, text: &str) -> std::result::Result<(), Fault<'static>> {
    if text.is_empty() {
        return Ok(());
    }
    let fault = |errno| Fault::new("write in parent user namespace", Object::Text(name.as_bytes()), errno);
    let file =
        openat(proc, name, OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty()).map_err(fault)?;
    match write(&file, text.as_bytes()).map_err(fault)? {
        count if count == text.len() => Ok(()),
        _ => Err(fault(Errno::EIO)),
    }
}

/// In the child: makes one namespace, with a fault that needs no allocation.
fn make_one(kind: Kind) -> std::result::Result<(), Fault<'static>> {
    unshare(kind.flag()).map_err(|errno| Fault::new("create namespace", Object::Text(kind.name().as_bytes()), errno))
}

/// In the child: says that a stage is reached and waits for the parent. The parent's death is an end of file.
fn meet(socket: &OwnedFd) -> std::result::Result<(), Fault<'static>> {
    let fault = |errno| Fault::new("talk to parent", Object::None, errno);
    write(socket, b"+").map_err(fault)?;
    let mut byte = [0];
    loop {
        match read(socket, &mut byte) {
            Ok(1) => return Ok(()),
            // nobody is left to hear of it
            Ok(_) => sys::clone::exit(0),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(fault(errno)),
        }
    }
}

/// In the parent: waits for the child to reach a stage.
fn hear(socket: &OwnedFd, pid: Pid) -> Result<()> {
    let mut report = [0; Fault::MAX];
    let count = loop {
        match read(socket, &mut report) {
            Err(Errno::EINTR) => {}
            other => break other.context("read from child", pid)?,
        }
    };
    match &report[..count] {
        b"+" => Ok(()),
        bytes => Err(match Fault::decode(bytes) {
            Some(error) => explain(error),
            None => Error::new("create namespaces", "", Errno::ESRCH)
                .with_reason(format!("the child process {pid} died before it had made them")),
        }),
    }
}

fn answer(socket: &OwnedFd, pid: Pid) -> Result<()> {
    // a child that died after its map was written leaves a map nobody can use
    nix::sys::socket::send(socket.as_raw_fd(), b"+", nix::sys::socket::MsgFlags::MSG_NOSIGNAL)
        .context("answer child", pid)
        .map(drop)
}

fn open(proc: &OwnedFd, kind: Kind) -> Result<Namespace> {
    let path = format!("ns/{}", kind.file_for_children());
    let fd = openat(proc, path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
        .context("open new namespace", kind)?;
    Namespace::verify(fd, kind, kind)
}

/// Names what forbids a namespace: what the errno may mean depends on the machine's settings.
fn explain(error: Error) -> Error {
    if error.operation() != "create namespace" {
        return error;
    }
    let kind = error.object().to_owned();
    let setting = |name: &str| std::fs::read_to_string(format!("/proc/sys/{name}")).ok().map(|v| v.trim().to_owned());
    match error.errno() {
        Errno::ENOSPC => {
            let limit = |kind: &str| {
                let value = setting(&format!("user/max_{kind}_namespaces")).unwrap_or_else(|| "unknown".to_owned());
                format!("user.max_{kind}_namespaces = {value}")
            };
            let mut limits: Vec<String> = kind.split(',').map(limit).collect();
            // of several that were asked for at once, those that allow none are the cause
            if limits.iter().any(|limit| limit.ends_with("= 0")) {
                limits.retain(|limit| limit.ends_with("= 0"));
            }
            error.with_hint(format!(
                "a limit is reached: {} (here; they count in every parent), or 32 levels",
                limits.join(", ")
            ))
        }
        Errno::EPERM | Errno::EACCES if kind == "user" => {
            for (name, off) in [
                ("kernel/unprivileged_userns_clone", "0"),
                ("kernel/apparmor_restrict_unprivileged_userns", "1"),
                ("user/max_user_namespaces", "0"),
            ] {
                if setting(name).as_deref() == Some(off) {
                    return error
                        .with_hint(format!("this machine forbids it: sysctl {} = {off}", name.replace('/', ".")));
                }
            }
            error.with_hint("a chrooted process, or one whose ids are not mapped, may not make a user namespace")
        }
        Errno::EPERM => error.with_hint("this needs CAP_SYS_ADMIN: make a user namespace with it (--user)"),
        Errno::EINVAL => error.with_hint("this kernel has no namespaces of this kind"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(pid: &str) -> Vec<String> {
        Kind::ALL
            .iter()
            .map(|kind| std::fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap().display().to_string())
            .collect()
    }

    #[test]
    fn makes_every_kind_that_can_be_held_and_stays_where_it_is() {
        let before = names("thread-self");
        let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Pid).collect();
        let mut create = Create::new(&kinds);
        create.uid_map("0:100000:65536".parse().unwrap()).gid_map("0:100000:65536".parse().unwrap());
        create.hostname(c"inside".to_owned()).time_offsets(TimeOffsets { monotonic: 5, boottime: 7 });
        let made = create.create().unwrap();
        assert_eq!(made.iter().map(Namespace::kind).collect::<Vec<_>>(), kinds);
        for namespace in &made {
            let own = Namespace::current(namespace.kind()).unwrap();
            assert_ne!(namespace.id().unwrap(), own.id().unwrap(), "{}", namespace.kind());
            if namespace.kind() != Kind::User {
                assert_eq!(namespace.owner().unwrap().id().unwrap(), made[0].id().unwrap());
            }
        }
        assert_eq!(names("thread-self"), before);
    }

    #[test]
    fn refuses_sets_that_make_no_sense() {
        let error = Create::new(&[Kind::Pid]).create().unwrap_err();
        assert!(
            error.to_string().starts_with("create namespaces pid: a pid namespace cannot be opened before"),
            "{error}"
        );
        assert_eq!(Create::new(&[]).create().unwrap_err().errno(), Errno::EINVAL);
        let error = Create::new(&[Kind::Net]).uid_map("0:0:1".parse().unwrap()).create().unwrap_err();
        assert_eq!(error.to_string(), "create namespaces id map: needs a new user namespace (EINVAL)");
    }

    #[test]
    fn a_host_name_is_bytes() {
        let mut create = Create::new(&[Kind::Uts]);
        let uts = &create.hostname(c"a\xff".to_owned()).create().unwrap()[0];
        crate::sys::clone::fork_and_report(|| {
            uts.enter().unwrap();
            assert_eq!(nix::unistd::gethostname().unwrap(), OsStr::from_bytes(b"a\xff"));
        });
    }

    #[test]
    fn a_map_that_fails_leaves_nothing() {
        let mut create = Create::new(&[Kind::User]);
        // an id that no parent has, when this test runs in a user namespace with fewer; else it succeeds
        create.uid_map("0:4294967294:1".parse().unwrap());
        // not here, where other tests have children
        crate::sys::clone::fork_and_report(|| {
            let _ = create.create();
            let left = nix::sys::wait::waitpid(None, Some(nix::sys::wait::WaitPidFlag::WNOHANG));
            assert_eq!(left, Err(Errno::ECHILD));
        });
    }
}
