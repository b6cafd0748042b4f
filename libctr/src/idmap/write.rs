//! Writing a map to `/proc/PID`: once, whole, and read back.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use super::spec::own_map;
use super::{IdMap, Which, helper};
use crate::error::{Context, Errno, Error, Result};
use crate::process::verify_procfs;

/// Sets the user or group ids of the user namespace of process `pid`, which the caller has just made and not yet waited
/// for. `proc` is its `/proc/PID`, as [`open_proc`](crate::process::open_proc) opens it.
///
/// A map can be set once. It is written in one write(2) and read back. A caller that may not write it (neither CAP_SETUID or
/// CAP_SETGID, nor only the caller's own id) has it written by newuidmap(1) or newgidmap(1), if they are in `PATH`.
///
/// The kernel takes a map for a process that is already a zombie; that it still lives is for the caller to see.
///
/// ```no_run
/// use std::os::fd::AsFd;
/// use libctr::idmap::{self, Which};
/// # let pid = nix::unistd::Pid::this();
/// let proc = libctr::process::open_proc(pid)?;
/// idmap::write(proc.as_fd(), pid, Which::Uid, &"0:100000:65536".parse()?)?;
/// # Ok::<(), libctr::Error>(())
/// ```
///
/// # Errors
/// EPERM: already set, an id that is not mapped here or not the caller's to map, setgroups(2) not denied yet; the hint says
/// which. ENOENT, ESRCH: the process has ended, or newuidmap is not installed. EACCES: the process is not dumpable. EROFS:
/// `/proc` is read-only. ENOTSUP: this is not procfs. EIO: what was read back is not what was written.
#[doc(alias = "uid_map")]
#[doc(alias = "gid_map")]
#[doc(alias = "newuidmap")]
pub fn write(proc: BorrowedFd<'_>, pid: Pid, which: Which, map: &IdMap) -> Result<()> {
    if which.capable()? || is_own_id(which, map) {
        write_whole(open(proc, which.file(), OFlag::O_WRONLY)?, which.file(), map.to_kernel().as_bytes())
            .map_err(|(errno, reason)| explain(proc, which, map, errno, reason))?;
    } else {
        helper::run(pid, which, map).map_err(|error| match already_set(proc, which) {
            Some(hint) => error.with_hint(hint),
            None => error,
        })?;
    }
    verify(proc, which, map)
}

/// Verifies that the kernel shows this map, in any order of its extents.
pub(crate) fn verify(proc: BorrowedFd<'_>, which: Which, map: &IdMap) -> Result<()> {
    let text = read_file(proc, which.file())?;
    if IdMap::parse_kernel(&text).is_ok_and(|set| set.sorted() == map.sorted()) {
        return Ok(());
    }
    Err(Error::new(operation(which), map.quoted(), Errno::EIO)
        .with_reason(format!("the kernel now shows another map: \"{}\"", text.escape_ascii())))
}

/// The map of a process's user namespace, as the caller's user namespace numbers the ids outside. `proc` as for [`write()`].
///
/// # Errors
/// EINVAL: it has none yet. Those of reading it.
pub fn read(proc: BorrowedFd<'_>, which: Which) -> Result<IdMap> {
    IdMap::parse_kernel(read_file(proc, which.file())?)
}

/// Allows or denies setgroups(2) in the user namespace of a process (Linux 3.19); `proc` as for [`write()`]. Deny comes before
/// the group ids are mapped, and is for ever.
///
/// # Errors
/// EPERM: group ids are mapped already, or setgroups was denied before. Others as for [`write()`].
#[doc(alias = "setgroups")]
pub fn write_setgroups(proc: BorrowedFd<'_>, allow: bool) -> Result<()> {
    let word: &str = if allow { "allow" } else { "deny" };
    let file = open(proc, "setgroups", OFlag::O_WRONLY)?;
    write_whole(file, "setgroups", word.as_bytes()).map_err(|(errno, reason)| {
        let error = Error::new("write setgroups", word, errno);
        let error = if let Some(reason) = reason { error.with_reason(reason) } else { error };
        match errno {
            Errno::EPERM if allow => {
                error.with_hint("setgroups(2) is denied, here or in a user namespace above: for ever")
            }
            Errno::EPERM => error.with_hint("deny must be written before gid_map; that is set"),
            _ => error,
        }
    })?;
    let set = read_file(proc, "setgroups")?;
    if set.trim_ascii() == word.as_bytes() {
        return Ok(());
    }
    Err(Error::new("write setgroups", word, Errno::EIO)
        .with_reason(format!("the kernel now shows \"{}\"", set.escape_ascii())))
}

/// Whether setgroups(2) is to be denied before this map of group ids is written: to a caller without CAP_SETGID that maps its
/// own group alone, of which the kernel wants it, or that has other groups. It could drop one that denies it a file; the
/// kernel lets it where newgidmap(1) maps further ids.
pub fn needs_setgroups_denied(map: &IdMap) -> bool {
    let own = nix::unistd::getegid();
    let only_own = || nix::unistd::getgroups().is_ok_and(|groups| groups.iter().all(|group| *group == own));
    !Which::Gid.capable().unwrap_or(false) && (is_own_id(Which::Gid, map) || !only_own())
}

/// Whether the map is the caller's own id alone, which needs no capability.
fn is_own_id(which: Which, map: &IdMap) -> bool {
    matches!(map.extents(), [extent] if extent.count() == 1 && extent.outside() == which.own())
}

fn operation(which: Which) -> &'static str {
    match which {
        Which::Uid => "write uid_map",
        Which::Gid => "write gid_map",
    }
}

/// Opens a file of `/proc/PID`; nothing that is mounted over it is taken for it.
fn open(proc: BorrowedFd<'_>, name: &'static str, mode: OFlag) -> Result<OwnedFd> {
    let flags = mode | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let how = OpenHow::new()
        .flags(flags)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let file = match openat2(proc, name, how) {
        // missing (before Linux 5.6) or filtered
        Err(Errno::ENOSYS | Errno::EPERM) => openat(proc, name, flags, Mode::empty()),
        other => other,
    };
    let file = file.map_err(|errno| {
        let error = Error::new("open", name, errno);
        match errno {
            Errno::ENOENT | Errno::ESRCH => error.with_hint("the process has ended"),
            Errno::EXDEV => error.with_reason("something is mounted over it").with_hint("umount it in /proc"),
            Errno::EACCES => error.with_hint(
                "the process is not dumpable, or its program not readable by the caller: its /proc/PID belongs to root",
            ),
            Errno::EROFS => error.with_hint("/proc is mounted read-only here"),
            _ => error,
        }
    })?;
    verify_procfs(file.as_fd(), name)?;
    Ok(file)
}

/// One write(2), since the second one would be refused. Otherwise the errno, and our reason where it says nothing.
fn write_whole(file: OwnedFd, name: &str, text: &[u8]) -> std::result::Result<(), (Errno, Option<String>)> {
    let written = loop {
        match nix::unistd::write(&file, text) {
            Err(Errno::EINTR) => {}
            other => break other.map_err(|errno| (errno, None))?,
        }
    };
    if written == text.len() {
        return Ok(());
    }
    Err((Errno::EIO, Some(format!("{name} took {written} of {} bytes", text.len()))))
}

fn read_file(proc: BorrowedFd<'_>, name: &'static str) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut file = std::fs::File::from(open(proc, name, OFlag::O_RDONLY)?);
    std::io::Read::read_to_end(&mut file, &mut text).context("read", name)?;
    Ok(text)
}

/// What the kernel's errno means for this map.
fn explain(proc: BorrowedFd<'_>, which: Which, map: &IdMap, errno: Errno, reason: Option<String>) -> Error {
    let error = Error::new(operation(which), map.quoted(), errno);
    let error = if let Some(reason) = reason { error.with_reason(reason) } else { error };
    match errno {
        Errno::EPERM => error.with_hint(forbidden(proc, which, map)),
        Errno::EINVAL => error.with_hint("this kernel takes a shorter map: 5 ranges before Linux 4.15"),
        Errno::ESRCH | Errno::ENOENT => error.with_hint("the process has ended"),
        _ => error,
    }
}

fn already_set(proc: BorrowedFd<'_>, which: Which) -> Option<String> {
    let set = read(proc, which).ok()?;
    Some(format!("{} is already set, to {}; a map can be set once", which.file(), set.quoted()))
}

fn forbidden(proc: BorrowedFd<'_>, which: Which, map: &IdMap) -> String {
    const CAP_SETFCAP: u64 = 1 << 31;
    if let Some(hint) = already_set(proc, which) {
        return hint;
    }
    if let Ok(own) = own_map(which) {
        // each extent must lie within one of the parent's
        let held = |first: u32, count: u32| {
            own.extents().iter().any(|e| {
                (e.inside()..).contains(&first)
                    && u64::from(first) + u64::from(count) <= u64::from(e.inside()) + u64::from(e.count())
            })
        };
        if let Some(extent) = map.extents().iter().find(|extent| !held(extent.outside(), extent.count())) {
            return format!(
                "outside ids of {extent} are not in one range of the caller's own {}: {}",
                which.file(),
                own.quoted()
            );
        }
    }
    if which == Which::Gid
        && !which.capable().unwrap_or(false)
        && read_file(proc, "setgroups").is_ok_and(|s| s.starts_with(b"allow"))
    {
        return "without CAP_SETGID, setgroups must be denied first".to_owned();
    }
    let effective = crate::sys::cred::capget().map_or(0, |sets| sets.effective);
    if which == Which::Uid && map.to_inside(0).is_some() && effective & CAP_SETFCAP == 0 {
        return "mapping outside id 0 needs CAP_SETFCAP".to_owned();
    }
    "the process is in no user namespace that the caller owns or has CAP_SYS_ADMIN over".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idmap::Extent;
    use crate::process::open_proc;
    use crate::sys::clone::{clone3, fork_and_report};
    use nix::sched::CloneFlags;
    use nix::sys::wait::waitpid;

    /// A child in a user namespace of its own that lives as long as this does.
    struct Target {
        pid: Pid,
        pidfd: OwnedFd,
        proc: OwnedFd,
        _until_closed: OwnedFd,
    }

    impl Target {
        fn new() -> Target {
            Target::with(CloneFlags::CLONE_NEWUSER)
        }

        fn with(flags: CloneFlags) -> Target {
            let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
            let (pid, pidfd) = clone3(flags, None, || {
                use std::os::fd::AsRawFd;
                crate::sys::fd::close(writer.as_raw_fd());
                let _ = nix::unistd::read(&reader, &mut [0]);
                0
            })
            .unwrap();
            Target { pid, pidfd, proc: open_proc(pid).unwrap(), _until_closed: writer }
        }

        fn end(&self) {
            let _ = crate::sys::clone::pidfd_send_signal(&self.pidfd, libc::SIGKILL);
            let _ = waitpid(self.pid, None);
        }

        fn write(&self, which: Which, map: &str) -> Result<()> {
            write(self.proc.as_fd(), self.pid, which, &map.parse().unwrap())
        }

        fn read(&self, name: &'static str) -> Vec<u8> {
            read_file(self.proc.as_fd(), name).unwrap()
        }
    }

    impl Drop for Target {
        fn drop(&mut self) {
            self.end();
        }
    }

    /// Becomes an ordinary user, whose children can be looked at.
    fn become_user(id: u32) {
        nix::unistd::setgroups(&[]).unwrap();
        nix::unistd::setresgid(id.into(), id.into(), id.into()).unwrap();
        nix::unistd::setresuid(id.into(), id.into(), id.into()).unwrap();
        nix::sys::prctl::set_dumpable(true).unwrap();
    }

    /// Runs as an ordinary user in a process of its own; the report is empty where all is well.
    fn as_user(id: u32, test: impl FnOnce()) {
        fork_and_report(|| {
            become_user(id);
            test();
        });
    }

    #[test]
    fn maps_of_every_size_are_what_was_asked() {
        for count in [1, 2, 5, 6, 340] {
            // holes on both sides, the largest ids first
            let extents = (0..count).rev().map(|i| Extent::new(2 * i, 1000 + 3 * i, 1).unwrap()).collect();
            let map = IdMap::new(extents).unwrap();
            let target = Target::new();
            for which in [Which::Uid, Which::Gid] {
                write(target.proc.as_fd(), target.pid, which, &map).unwrap();
                let set = IdMap::parse_kernel(target.read(which.file())).unwrap();
                assert_eq!(set.sorted(), map.sorted());
                assert_eq!(set.to_outside(1), None);
            }
            assert_eq!(target.read("setgroups"), b"allow\n");
        }
    }

    #[test]
    fn a_map_is_set_once() {
        let target = Target::new();
        target.write(Which::Uid, "0:100000:10").unwrap();
        let error = target.write(Which::Uid, "0:200000:10").unwrap_err();
        assert_eq!(error.to_string(), "write uid_map \"0 200000 10\": Operation not permitted (EPERM)");
        assert_eq!(error.hint(), Some("uid_map is already set, to \"0 100000 10\"; a map can be set once"));
        assert_eq!(IdMap::parse_kernel(target.read("uid_map")).unwrap().to_string(), "0:100000:10");
    }

    #[test]
    fn a_refused_map_can_be_tried_again() {
        fork_and_report(|| {
            // a user namespace with few ids, and one in it
            let outer = Target::new();
            outer.write(Which::Uid, "0:0:1000,1000:5000:1000").unwrap();
            outer.write(Which::Gid, "0:0:1000").unwrap();
            let user = std::fs::File::open(format!("/proc/{}/ns/user", outer.pid)).unwrap();
            nix::sched::setns(&user, CloneFlags::CLONE_NEWUSER).unwrap();
            nix::sys::prctl::set_dumpable(true).unwrap();
            let inner = Target::new();
            for (map, extent) in [("0:3000:1", "0:3000:1"), ("0:5:1,1:999:2", "1:999:2")] {
                let error = inner.write(Which::Uid, map).unwrap_err();
                assert_eq!(error.errno(), Errno::EPERM);
                let hint = format!(
                    "outside ids of {extent} are not in one range of the caller's own uid_map: \"0 0 1000, 1000 5000 1000\""
                );
                assert_eq!(error.hint(), Some(hint.as_str()));
            }
            inner.write(Which::Uid, "0:999:1,1:1000:1").unwrap();
        });
    }

    #[test]
    fn outside_root_needs_setfcap() {
        fork_and_report(|| {
            let mut sets = crate::sys::cred::capget().unwrap();
            sets.effective &= !(1 << 31);
            sets.permitted = sets.effective;
            crate::sys::cred::capset(sets).unwrap();
            // what makes the namespace lacks it too
            let target = Target::new();
            let error = target.write(Which::Uid, "0:0:5").unwrap_err();
            assert_eq!(error.hint(), Some("mapping outside id 0 needs CAP_SETFCAP"));
            target.write(Which::Uid, "0:1:5").unwrap();
        });
    }

    #[test]
    fn another_namespace_is_not_ours_to_map() {
        let target = Target::with(CloneFlags::empty());
        let error = target.write(Which::Uid, "0:0:1").unwrap_err();
        assert_eq!(error.errno(), Errno::EPERM);
        assert!(error.hint().unwrap().starts_with("uid_map is already set"), "{error:?}");
    }

    #[test]
    fn a_user_maps_itself() {
        as_user(12345, || {
            let target = Target::new();
            target.write(Which::Uid, "0:12345:1").unwrap();
            let map = "7:12345:1".parse().unwrap();
            assert!(needs_setgroups_denied(&map));
            assert!(!needs_setgroups_denied(&"7:12345:2".parse().unwrap()));
            let error = write(target.proc.as_fd(), target.pid, Which::Gid, &map).unwrap_err();
            assert_eq!(error.to_string(), "write gid_map \"7 12345 1\": Operation not permitted (EPERM)");
            assert_eq!(error.hint(), Some("without CAP_SETGID, setgroups must be denied first"));
            write_setgroups(target.proc.as_fd(), false).unwrap();
            write(target.proc.as_fd(), target.pid, Which::Gid, &map).unwrap();
        });
    }

    #[test]
    fn setgroups_is_denied_for_ever() {
        let target = Target::new();
        write_setgroups(target.proc.as_fd(), true).unwrap();
        write_setgroups(target.proc.as_fd(), false).unwrap();
        let error = write_setgroups(target.proc.as_fd(), true).unwrap_err();
        assert_eq!(error.to_string(), "write setgroups allow: Operation not permitted (EPERM)");
        assert_eq!(error.hint(), Some("setgroups(2) is denied, here or in a user namespace above: for ever"));
        let target = Target::new();
        target.write(Which::Gid, "0:100000:1").unwrap();
        let error = write_setgroups(target.proc.as_fd(), false).unwrap_err();
        assert_eq!(error.hint(), Some("deny must be written before gid_map; that is set"));
        assert_eq!(target.read("setgroups"), b"allow\n");
    }

    #[test]
    fn a_process_that_ended_is_said_to_have() {
        let target = Target::new();
        target.end();
        let own = format!("0:{}:1", Which::Uid.own());
        let error = target.write(Which::Uid, &own).unwrap_err();
        assert!(matches!(error.errno(), Errno::ENOENT | Errno::ESRCH), "{error}");
        assert_eq!(error.hint(), Some("the process has ended"));
    }

    #[test]
    fn what_cannot_be_opened_says_why() {
        as_user(12345, || {
            nix::sys::prctl::set_dumpable(false).unwrap();
            let target = Target::new();
            let error = target.write(Which::Uid, "0:12345:1").unwrap_err();
            assert_eq!(error.to_string(), "open uid_map: Permission denied (EACCES)");
            assert!(error.hint().unwrap().starts_with("the process is not dumpable"));
        });
    }

    #[test]
    fn what_is_mounted_there_is_not_written_to() {
        use nix::mount::{MsFlags, mount};
        fork_and_report(|| {
            nix::sched::unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            let target = Target::new();
            let path = format!("/proc/{}/uid_map", target.pid);
            mount(Some("/dev/null"), path.as_str(), none, MsFlags::MS_BIND, none).unwrap();
            let error = target.write(Which::Uid, "0:100000:1").unwrap_err();
            assert_eq!(error.to_string(), "open uid_map: something is mounted over it (EXDEV)");
            // and without openat2
            let error = verify_procfs(std::fs::File::open(&path).unwrap(), "uid_map").unwrap_err();
            assert_eq!(error.errno(), Errno::ENOTSUP);
        });
    }

    #[test]
    fn newuidmap_writes_what_the_caller_may_not() {
        use nix::mount::{MsFlags, mount};
        fork_and_report(|| {
            nix::sched::unshare(CloneFlags::CLONE_NEWNS).unwrap();
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            mount(Some("none"), "/mnt", Some("tmpfs"), MsFlags::empty(), none).unwrap();
            std::fs::write("/mnt/subid", "daemon:200000:1000\n1:300000:500\n").unwrap();
            for file in ["/etc/subuid", "/etc/subgid"] {
                mount(Some("/mnt/subid"), file, none, MsFlags::MS_BIND, none).unwrap();
            }
            become_user(1);
            let target = Target::new();
            let map = crate::idmap::MapSpec::Subordinate.resolve(Which::Uid).unwrap();
            assert_eq!(map.to_string(), "0:200000:1000,1000:300000:500");
            let error = target.write(Which::Uid, "0:100000:1").unwrap_err();
            assert_eq!(error.operation(), "run");
            assert!(error.to_string().contains("newuidmap: uid range [0-1) -> [100000-100001) not allowed"), "{error}");
            assert!(error.hint().unwrap().contains("/etc/subuid"), "{error:?}");
            target.write(Which::Uid, "0:200000:7,7:200010:3").unwrap();
            target.write(Which::Gid, "0:200000:1000").unwrap();
            assert_eq!(IdMap::parse_kernel(target.read("gid_map")).unwrap().to_string(), "0:200000:1000");
            let error = target.write(Which::Uid, "0:200000:1000").unwrap_err();
            assert_eq!(
                error.hint(),
                Some("uid_map is already set, to \"0 200000 7, 7 200010 3\"; a map can be set once")
            );

            let target = Target::new();
            nix::sys::prctl::set_no_new_privs().unwrap();
            let error = target.write(Which::Uid, "0:200000:7").unwrap_err();
            assert!(error.hint().unwrap().contains("no_new_privs"), "{error:?}");
        });
    }
}
