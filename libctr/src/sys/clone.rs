//! New processes and handles to them: clone3(2), pidfd_open(2), pidfd_send_signal(2), pidfd_getfd(2).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;
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
    clone_with(namespaces, cgroup, child)
}

/// What a short-lived child opens, where it puts itself first: in a namespace, for example, that the caller must not enter. Of the
/// child's two steps, the first is tried before the second; a failure says which of them it was.
///
/// Both run in a child that shares the caller's descriptors: see [`clone3`] for what it may do.
///
/// # Errors
/// Whether `go` was done, and the errno of the step that failed.
pub(crate) fn open_elsewhere(
    go: impl FnOnce() -> nix::Result<()>,
    open: impl FnOnce() -> nix::Result<OwnedFd>,
) -> Result<OwnedFd, (bool, Errno)> {
    /// Tells the failure of `go`; errnos are smaller.
    const NOT_THERE: i32 = 0x80;
    // the child puts what it opens in the place of this one
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let place = nix::fcntl::open(c"/", flags, Mode::empty()).map_err(|errno| (false, errno))?;
    let child = || {
        if let Err(errno) = go() {
            return errno as i32 | NOT_THERE;
        }
        match open().and_then(|file| super::fd::replace(file, place.as_fd())) {
            Ok(()) => 0,
            Err(errno) => errno as i32,
        }
    };
    let (_, pidfd) = clone_with(libc::CLONE_FILES as u64, None, child).map_err(|errno| (false, errno))?;
    loop {
        match wait_exit(&pidfd) {
            Ok((libc::CLD_EXITED, 0)) => return Ok(place),
            Ok((libc::CLD_EXITED, status)) => {
                return Err((status & NOT_THERE == 0, Errno::from_raw(status & !NOT_THERE)));
            }
            Ok(_) => return Err((false, Errno::ESRCH)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err((false, errno)),
        }
    }
}

fn clone_with(flags: u64, cgroup: Option<BorrowedFd<'_>>, child: impl FnOnce() -> i32) -> nix::Result<(Pid, OwnedFd)> {
    let namespaces = flags;
    let mut pidfd: libc::c_int = -1;
    let mut args = libc::clone_args {
        flags: namespaces | libc::CLONE_PIDFD as u64,
        pidfd: &raw mut pidfd as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: libc::SIGCHLD as u64,
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
        let flags = namespaces | (libc::CLONE_PIDFD | libc::SIGCHLD) as u64;
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
    check(unsafe { libc::waitid(libc::P_PIDFD, id, &raw mut info, libc::WEXITED) }.into())?;
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
