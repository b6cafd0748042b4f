//! Processes: what the calling one is, starting others, waiting for them, becoming the next program.

mod exec;
mod init;
mod launch;
mod reference;
mod sealed;
mod terminal;
mod wait;

use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::{AT_FDCWD, OFlag, openat, readlink};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{Pid, getpid};

use crate::error::{Context, Errno, Error, Result, show};

pub use exec::{EXECUTE, Exec};
pub use launch::{Child, Lifeline, spawn, spawn_init};
pub use reference::{PidRef, pid_of};
pub use sealed::run_from_memory;
pub use terminal::Terminal;
pub use wait::{Ended, forward_and_wait};

/// Whether the calling process has one thread only. Asked of the kernel without `/proc`: unshare(2) of a thread group
/// changes nothing and fails where there is more than one.
#[doc(alias = "CLONE_THREAD")]
pub fn is_single_threaded() -> bool {
    unshare(CloneFlags::CLONE_THREAD) != Err(Errno::EINVAL)
}

/// Verifies that an open file is on a procfs: whatever else is mounted there may take a write and do nothing.
///
/// # Errors
/// ENOTSUP: it is another filesystem.
pub fn verify_procfs(fd: impl AsFd, path: &str) -> Result<()> {
    if fstatfs(fd).context("stat filesystem of", show(path))?.filesystem_type() == PROC_SUPER_MAGIC {
        return Ok(());
    }
    Err(Error::new("use", show(path), Errno::ENOTSUP)
        .with_reason("is not procfs")
        .with_hint("something else is mounted there: mount -t proc proc /proc"))
}

/// Opens `/proc/PID` of a process of the caller's pid namespace, having verified that `/proc` is a procfs of that pid
/// namespace: in another's, the number would name another process.
///
/// # Errors
/// ENOENT: no such process, or `/proc` is not mounted. ENOTSUP: `/proc` is something else. ESRCH: it shows another pid
/// namespace.
pub fn open_proc(pid: Pid) -> Result<OwnedFd> {
    let dir = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let proc = openat(AT_FDCWD, "/proc", dir, Mode::empty()).context("open", "/proc")?;
    verify_procfs(&proc, "/proc")?;
    let own = readlink("/proc/self").context("read", "/proc/self").map_err(|error| match error.errno() {
        Errno::ENOENT => error.with_hint("this /proc shows a pid namespace that the caller is not in"),
        _ => error,
    })?;
    if own.to_str() != Some(&getpid().to_string()) {
        return Err(Error::new("use", "/proc", Errno::ESRCH)
            .with_reason(format!("shows another pid namespace: here this process is {}, not {}", show(&own), getpid()))
            .with_hint("mount a procfs of this pid namespace: mount -t proc proc /proc"));
    }
    openat(&proc, pid.to_string().as_str(), dir | OFlag::O_NOFOLLOW, Mode::empty())
        .context("open", format_args!("/proc/{pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_has_threads_and_a_forked_child_has_not() {
        assert!(!is_single_threaded());
        let pid = crate::sys::clone::fork(|| if is_single_threaded() { 0 } else { 1 }).unwrap();
        let status = nix::sys::wait::waitpid(pid, None).unwrap();
        assert_eq!(status, nix::sys::wait::WaitStatus::Exited(pid, 0));
    }

    #[test]
    fn proc_is_verified() {
        assert!(open_proc(getpid()).is_ok());
        assert_eq!(open_proc(Pid::from_raw(i32::MAX)).unwrap_err().errno(), Errno::ENOENT);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_eq!(verify_procfs(&file, "/dev/null").unwrap_err().errno(), Errno::ENOTSUP);
    }
}
