//! New processes and handles to them: clone3(2), pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::prctl::{set_dumpable, set_pdeathsig};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::{check, owned};

/// Makes a child that runs `child` and exits with its result; returns its pid and pidfd (which is close-on-exec).
///
/// Of `flags` only the namespaces (`CLONE_NEW*`) are used; memory, descriptors and signal handlers are always the child's own
/// copy, so nothing it does can corrupt the caller. `cgroup` puts the child into that cgroup v2 directory (Linux 5.7). Where
/// clone3 is missing or filtered, clone(2) with `CLONE_PIDFD` does the same, `cgroup` and time namespaces excepted.
///
/// **The child has one thread, the caller's memory, and locks as they were.** When the caller has other threads, one of
/// them may have held the allocator's lock: `child` must then neither allocate nor lock, only make system calls. It never
/// unwinds into the caller's frames: a panic ends the child with 125.
///
/// # Errors
/// Those of clone3(2); ENOSYS where `cgroup` is asked of a kernel without clone3.
pub fn clone3(
    flags: CloneFlags,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> i32,
) -> nix::Result<(Pid, OwnedFd)> {
    let namespaces = flags.bits() as u32 as u64 & NAMESPACES;
    clone_with(namespaces, libc::SIGCHLD, cgroup, child)
}

/// As [`clone3`] in no new namespaces, for a child of which the rest of the program needs to know nothing: its end sends no
/// SIGCHLD, and [`wait_exit`] learns of it also where SIGCHLD is ignored. No signal that is sent to the process group runs the
/// caller's handlers in it.
///
/// # Errors
/// Those of clone3(2).
pub(crate) fn helper(child: impl FnOnce() -> i32) -> nix::Result<(Pid, OwnedFd)> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let started = clone_with(0, 0, None, child);
    before.thread_set_mask()?;
    started
}

/// What a short-lived child opens, where it puts itself first: in a namespace, for example, that the caller must not enter. The
/// inner result is that of `open`, the outer one that of `go`.
///
/// Processes of a user namespace that the child enters may do to it what they like but for this: nobody may trace it
/// (`PR_SET_DUMPABLE`), and of the caller's descriptors it has `keep` only. What it opens comes back through a socket. It dies
/// with the caller. See [`clone3`] for what `go` and `open` may do.
///
/// # Errors
/// That of `go`, or of clone3(2) and the like. ESRCH: the child was killed.
#[doc(alias = "SCM_RIGHTS")]
pub(crate) fn open_elsewhere(
    keep: &[BorrowedFd<'_>],
    go: &dyn Fn() -> nix::Result<()>,
    open: &dyn Fn() -> nix::Result<OwnedFd>,
) -> nix::Result<nix::Result<OwnedFd>> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let kept: Vec<_> = keep.iter().map(AsRawFd::as_raw_fd).chain([theirs.as_raw_fd()]).collect();
    let arrive = || {
        set_dumpable(false)?;
        super::fd::close_from(0, &kept);
        go()?;
        // a change of credentials makes it what fs.suid_dumpable says
        set_dumpable(false)?;
        // not before, since a change of credentials takes it back
        set_pdeathsig(Signal::SIGKILL)?;
        match poll(&mut [PollFd::new(theirs.as_fd(), PollFlags::empty())], PollTimeout::ZERO)? {
            0 => Ok(()),
            _ => Err(Errno::EPIPE),
        }
    };
    let send = |there: Option<Errno>, opened: Option<Errno>, file: Option<BorrowedFd<'_>>| {
        let number = |errno: Option<Errno>| errno.map_or(0, |errno| errno as u8);
        super::fd::send(theirs.as_fd(), [number(there), number(opened)], file)
    };
    let (_, pidfd) = helper(|| {
        let _ = match arrive().map(|()| open()) {
            Err(errno) => send(Some(errno), None, None),
            Ok(Err(errno)) => send(None, Some(errno), None),
            Ok(Ok(file)) => send(None, None, Some(file.as_fd())).or_else(|errno| send(None, Some(errno), None)),
        };
        0
    })?;
    drop(theirs);
    let received = super::fd::receive(ours.as_fd());
    while wait_exit(&pidfd) == Err(Errno::EINTR) {}
    match received? {
        Some(([0, 0], Some(file))) => Ok(Ok(file)),
        Some(([0, errno], None)) => Ok(Err(Errno::from_raw(errno.into()))),
        Some(([errno, _], _)) => Err(Errno::from_raw(errno.into())),
        None => Err(Errno::ESRCH),
    }
}

/// As [`open_elsewhere`], some four times faster, and as fast however large the caller is. **Not for what enters a user
/// namespace**: the child shares the caller's memory and descriptors.
///
/// # Errors
/// As [`open_elsewhere`].
#[doc(alias = "vfork")]
pub(crate) fn open_beside(
    keep: &[BorrowedFd<'_>],
    go: &dyn Fn() -> nix::Result<()>,
    open: &dyn Fn() -> nix::Result<OwnedFd>,
) -> nix::Result<nix::Result<OwnedFd>> {
    match beside(|| go().map(|()| open())) {
        // before Linux 6.1, where the caller's children get another time namespace
        Err(Errno::EINVAL) => open_elsewhere(keep, go, open),
        done => done?,
    }
}

/// Runs `run` in a child that has namespaces, a working directory and a umask of its own, and shares all else with the caller,
/// memory and descriptors too, whose thread stands still meanwhile. It may use that memory as it is (allocate also), but little
/// stack: 64 KiB.
///
/// # Errors
/// Those of clone(2). ESRCH: the child was killed.
fn beside<T, F: FnOnce() -> T>(run: F) -> nix::Result<T> {
    struct Work<F, T> {
        run: Option<F>,
        result: Option<T>,
    }
    extern "C" fn main<T, F: FnOnce() -> T>(work: *mut libc::c_void) -> libc::c_int {
        let _exit_on_unwind = ExitOnDrop;
        // SAFETY: it is the `work` below, which nobody else uses before this child has ended
        let work = unsafe { &mut *work.cast::<Work<F, T>>() };
        work.result = work.run.take().map(|run| run());
        exit(0)
    }
    let mut work = Work { run: Some(run), result: None };
    let mut stack = Vec::<u128>::with_capacity(4096);
    let top = stack.spare_capacity_mut().as_mut_ptr_range().end;
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_FILES;
    // no handler of the caller's may run in the child
    let mask = super::signal::set_mask(&SigSet::all())?;
    // SAFETY: until the child has ended, by itself or by a signal, CLONE_VFORK holds this thread here, so that the child has its
    // thread-local state and `work` to itself; the stack is its own, aligned, and outlives it.
    let pid = unsafe { libc::clone(main::<T, F>, top.cast(), flags, (&raw mut work).cast()) };
    let pid = check(pid.into());
    let _ = super::signal::set_mask(&mask);
    let pid = Pid::from_raw(pid? as i32);
    while waitpid(pid, Some(WaitPidFlag::__WALL)) == Err(Errno::EINTR) {}
    work.result.ok_or(Errno::ESRCH)
}

fn clone_with(
    namespaces: u64,
    exit_signal: i32,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> i32,
) -> nix::Result<(Pid, OwnedFd)> {
    let mut pidfd: libc::c_int = -1;
    let mut args = libc::clone_args {
        flags: namespaces | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: exit_signal as u64,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child gets a copy of all memory and continues on a copy of this stack, as after fork(2);
    // `args` and `pidfd` outlive the call.
    let mut ret = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    if ret < 0 && cgroup.is_none() && matches!(Errno::last(), Errno::ENOSYS | Errno::EPERM) {
        let flags = namespaces | (libc::CLONE_PIDFD | exit_signal) as u64;
        // SAFETY: as above. The third argument is where CLONE_PIDFD stores the descriptor on every architecture.
        ret = unsafe { libc::syscall(libc::SYS_clone, flags, 0, &raw mut pidfd, 0, 0) };
    }
    match check(ret)? {
        0 => {
            let _exit_on_unwind = ExitOnDrop;
            let status = child();
            exit(status)
        }
        pid => {
            // SAFETY: the kernel stored a new descriptor there, owned by nothing else.
            Ok((Pid::from_raw(pid as i32), unsafe { OwnedFd::from_raw_fd(pidfd) }))
        }
    }
}

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
const NAMESPACES: u64 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u64;

struct ExitOnDrop;

impl Drop for ExitOnDrop {
    fn drop(&mut self) {
        exit(125)
    }
}

/// Ends the process at once: no destructor, no exit handler, no buffer flushed.
#[doc(alias = "_exit")]
pub fn exit(status: i32) -> ! {
    // SAFETY: _exit only ends the process.
    unsafe { libc::_exit(status) }
}

/// fork(2) through libc, for tests: unlike [`clone3`] it leaves the child a usable allocator also when other threads run.
#[cfg(test)]
pub(crate) fn fork(child: impl FnOnce() -> i32) -> nix::Result<Pid> {
    // SAFETY: glibc's fork keeps malloc usable in the child; what the tests do there takes no other lock.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(child),
        nix::unistd::ForkResult::Child => {
            let _exit_on_unwind = ExitOnDrop;
            let status = child();
            exit(status)
        }
    }
}

/// For tests: runs `test` in a process with one thread, which may change what it likes about itself. Its panic is ours.
#[cfg(test)]
pub(crate) fn fork_and_report(test: impl FnOnce()) {
    use std::io::{Read, Write};
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
    let pid = fork(|| {
        let writer = std::fs::File::from(writer.try_clone().unwrap());
        std::panic::set_hook(Box::new(move |panic| {
            let _ = write!(&writer, "{panic}");
        }));
        test();
        0
    })
    .unwrap();
    drop(writer);
    let mut report = String::new();
    std::fs::File::from(reader).read_to_string(&mut report).unwrap();
    let status = nix::sys::wait::waitpid(pid, None).unwrap();
    assert_eq!(status, nix::sys::wait::WaitStatus::Exited(pid, 0), "in the child: {report}");
}

/// A descriptor that refers to the process `pid` (Linux 5.3), close-on-exec.
///
/// # Errors
/// ESRCH: there is no such process. Others of pidfd_open(2).
pub fn pidfd_open(pid: Pid) -> nix::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })
}

/// Sends signal number `signal` (real-time ones too; 0 only checks) to the process behind `pidfd` (Linux 5.1).
///
/// # Errors
/// ESRCH: it has ended. Others of pidfd_send_signal(2).
pub fn pidfd_send_signal(pidfd: impl AsFd, signal: i32) -> nix::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a null siginfo is allowed and means what kill(2) would send.
    check(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_fd().as_raw_fd(), signal, none, 0) })?;
    Ok(())
}

/// Waits for the child behind `pidfd` to end (Linux 5.4). Returns `si_code`, which is `CLD_EXITED` or one of the signal deaths,
/// and the exit status or the signal's number: real-time signals too, which nix cannot name.
///
/// # Errors
/// ECHILD: not a child, or its status was discarded. EINTR: a signal handler ran.
#[doc(alias = "waitid")]
pub fn wait_exit(pidfd: impl AsFd) -> nix::Result<(i32, i32)> {
    // SAFETY: all zeroes is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let id = pidfd.as_fd().as_raw_fd() as libc::id_t;
    // SAFETY: the kernel fills `info`.
    check(unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED | libc::__WALL) }.into())?;
    // SAFETY: waitid succeeded, so that these fields are the ones of SIGCHLD.
    Ok((info.si_code, unsafe { info.si_status() }))
}

/// A duplicate of descriptor number `target` of the process behind `pidfd` (Linux 5.6), close-on-exec.
///
/// # Errors
/// EPERM: the caller may not ptrace(2) it. EBADF: it has no such descriptor. Others of pidfd_getfd(2).
pub fn pidfd_getfd(pidfd: impl AsFd, target: u32) -> nix::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_fd().as_raw_fd(), target, 0) })
}

/// Collects one child that has ended, if there is one: its number, and what [`wait_exit`] says.
///
/// # Errors
/// ECHILD: there are no children at all.
#[doc(alias = "waitid")]
pub fn reap() -> nix::Result<Option<(Pid, i32, i32)>> {
    // SAFETY: all zeroes is a valid siginfo_t.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let flags = libc::WEXITED | libc::WNOHANG | libc::__WALL;
    // SAFETY: the kernel fills `info`.
    check(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) }.into())?;
    // SAFETY: these are the fields of SIGCHLD, or all zero where no child has ended.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    Ok((pid != 0).then(|| (Pid::from_raw(pid), info.si_code, status)))
}

/// Sends signal number `signal` to a child that has not been waited for, so that its number is still its own.
pub fn signal_child(pid: Pid, signal: i32) {
    // SAFETY: takes numbers only.
    unsafe { libc::kill(pid.as_raw(), signal) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::SigSet;
    use nix::sys::stat::{Mode, umask};
    use std::fs::File;

    /// Whether SIGCHLD, which must be blocked, is pending.
    fn got_sigchld() -> bool {
        std::fs::read_to_string("/proc/self/status").unwrap().lines().any(|line| {
            let pending = line.strip_prefix("ShdPnd:").map(|mask| u64::from_str_radix(mask.trim(), 16).unwrap());
            pending.is_some_and(|mask| mask & (1 << (libc::SIGCHLD - 1)) != 0)
        })
    }

    #[test]
    fn what_opens_elsewhere_has_no_more_than_it_needs_and_is_not_heard_of() {
        fork_and_report(|| {
            super::super::signal::set_mask(&SigSet::all()).unwrap();
            let (kept, secret) = (File::open("/dev/null").unwrap(), File::open("/etc/passwd").unwrap());
            let umask_before = umask(Mode::from_bits_truncate(0o22));
            let opened = open_elsewhere(
                &[kept.as_fd()],
                &|| {
                    umask(Mode::empty());
                    assert_eq!(nix::sys::prctl::get_dumpable(), Ok(false));
                    Ok(())
                },
                &|| {
                    assert!(!super::super::fd::is_open(secret.as_raw_fd()) && !super::super::fd::is_open(0));
                    super::super::fd::duplicate(kept.as_raw_fd(), 0)
                },
            );
            let opened = opened.unwrap().unwrap();
            assert_eq!(nix::sys::stat::fstat(&opened).unwrap().st_rdev, nix::sys::stat::fstat(&kept).unwrap().st_rdev);
            assert_eq!(umask(umask_before), Mode::from_bits_truncate(0o22));
            assert_eq!(nix::sys::prctl::get_dumpable(), Ok(true));
            let failed = open_elsewhere(&[], &|| Err(Errno::EXDEV), &|| Err(Errno::EIO));
            assert_eq!(failed.unwrap_err(), Errno::EXDEV);
            assert_eq!(open_elsewhere(&[], &|| Ok(()), &|| Err(Errno::EIO)).unwrap().unwrap_err(), Errno::EIO);
            assert_eq!(open_elsewhere(&[], &|| exit(0), &|| Err(Errno::EIO)).unwrap_err(), Errno::ESRCH);
            assert!(!got_sigchld());
            assert_eq!(reap(), Err(Errno::ECHILD));
        });
    }

    #[test]
    fn what_runs_beside_shares_memory_and_descriptors_but_not_the_umask() {
        fork_and_report(|| {
            super::super::signal::set_mask(&SigSet::all()).unwrap();
            let mut list = vec![1];
            let before = umask(Mode::from_bits_truncate(0o27));
            let file = beside(|| {
                umask(Mode::empty());
                list.push(2);
                File::open("/dev/null").unwrap()
            });
            assert_eq!(list, [1, 2]);
            assert!(file.unwrap().metadata().is_ok());
            assert_eq!(umask(before), Mode::from_bits_truncate(0o27));
            let killed = beside(|| super::super::signal::raise(libc::SIGKILL));
            assert_eq!(killed, Err(Errno::ESRCH));
            assert!(!got_sigchld());
            assert_eq!(reap(), Err(Errno::ECHILD));
        });
    }
}
