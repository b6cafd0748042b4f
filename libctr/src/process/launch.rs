//! [`spawn`]: a child that sets itself up and reports through a pipe until it has become the program.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::OFlag;
use nix::sched::CloneFlags;
use nix::sys::signal::SigSet;
use nix::unistd::{Pid, pipe2, read, write};

use crate::error::{Context, Errno, Error, Fault, Result};
use crate::sys;

/// A child process, held by a pidfd: its number cannot come to mean another process.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Child {
    /// Its number in the caller's pid namespace.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends it a signal by number; 0 only asks whether it is there.
    ///
    /// # Errors
    /// ESRCH: it has ended and been waited for. EPERM: not allowed.
    pub fn signal(&self, signal: i32) -> Result<()> {
        sys::clone::pidfd_send_signal(&self.pidfd, signal)
            .context("send signal to", format_args!("{signal} to process {}", self.pid))
    }
}

impl AsFd for Child {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Starts a child in new namespaces (`flags`, of `CLONE_NEW*`) that runs `setup`, which ends by becoming another program.
/// Returns when it has become that program, or with the [`Fault`] that `setup` returned; then no child is left.
///
/// In the child all signals are at their defaults and none is blocked. Whether it outlives its parent is for `setup` to
/// say (`PR_SET_PDEATHSIG`). **`setup` runs between clone3(2) and execve(2)**: in a process with several threads it
/// must neither allocate nor lock. What it needs is prepared before, and its error is a [`Fault`] for that reason.
///
/// # Errors
/// That of clone3(2), or what `setup` returned.
#[doc(alias = "clone3")]
pub fn spawn<'a>(
    flags: CloneFlags,
    setup: impl FnOnce() -> std::result::Result<std::convert::Infallible, Fault<'a>>,
) -> Result<Child> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).context("make pipe", "")?;
    // no handler of the caller's may run in the child
    let mask = sys::signal::set_mask(&SigSet::all()).context("block signals", "")?;
    let child = sys::clone::clone3(flags, None, || {
        sys::signal::reset_all();
        sys::fd::close(reader.as_raw_fd());
        let Err(fault) = setup();
        let mut buffer = [0; Fault::MAX];
        let _ = write(&writer, fault.encode(&mut buffer));
        125
    });
    let _ = sys::signal::set_mask(&mask);
    drop(writer);
    let (pid, pidfd) = child.map_err(|errno| explain_clone(errno, flags))?;
    let child = Child { pid, pidfd };
    let mut report = [0; Fault::MAX];
    let mut used = 0;
    loop {
        match read(&reader, &mut report[used..]) {
            Ok(0) => break,
            Ok(count) => used += count,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(abandon(child, Error::new("read from child", pid, errno))),
        }
    }
    match Fault::decode(&report[..used]) {
        Some(error) => Err(abandon(child, error)),
        None => Ok(child),
    }
}

/// Ends a child that has failed, and waits for it.
fn abandon(child: Child, error: Error) -> Error {
    let _ = child.signal(libc::SIGKILL);
    let _ = super::wait::wait(&child);
    error
}

fn explain_clone(errno: Errno, flags: CloneFlags) -> Error {
    let error = Error::new("start child process", "", errno);
    let pid = flags.contains(CloneFlags::CLONE_NEWPID);
    match errno {
        Errno::EAGAIN => error.with_hint("RLIMIT_NPROC or pids.max of the cgroup is reached"),
        Errno::EPERM => error.with_hint("new namespaces need CAP_SYS_ADMIN in the current user namespace"),
        Errno::ENOSPC if pid => error.with_hint("user.max_pid_namespaces, or 32 levels of nesting, is reached"),
        Errno::EINVAL if pid => error.with_hint("a pid namespace for children was made before and has no process yet"),
        Errno::ENOMEM if pid => error.with_hint("the first process of the pid namespace for children has ended"),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Object;

    #[test]
    fn the_fault_of_the_child_arrives() {
        let error =
            spawn(CloneFlags::empty(), || Err(Fault::new("test", Object::Number(7), Errno::EXDEV))).unwrap_err();
        assert_eq!(error.to_string(), "test 7: Invalid cross-device link (EXDEV)");
    }

    #[test]
    fn a_program_that_runs_is_no_fault() {
        let image =
            super::super::Exec::new(vec!["/bin/sh".into(), "-c".into(), "exit 3".into()]).unwrap().image().unwrap();
        let child = spawn(CloneFlags::empty(), || Err(Fault::new("execute", Object::None, image.exec()))).unwrap();
        assert_eq!(super::super::wait::wait(&child).unwrap(), super::super::Ended::Exited(3));
    }
}
