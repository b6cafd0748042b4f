//! [`spawn`]: a child that sets itself up and reports through a pipe until it has become the program.

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::fcntl::{OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getpid, pipe2, read, write};

use crate::error::{Context, Errno, Error, Fault, Object, Result};
use crate::sys;

/// A child process, held by a pidfd: its number cannot come to mean another process.
#[derive(Debug)]
pub struct Child {
    pid: Pid,
    pidfd: OwnedFd,
    /// Through which an init says how its program ended.
    ended: Option<OwnedFd>,
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

impl Child {
    /// Kills it and waits for its end.
    pub fn kill(self) {
        let _ = self.signal(libc::SIGKILL);
        let _ = super::wait::wait(&self);
    }

    /// What the init said of the program's end, if this is an init, and it lived to say it.
    pub(super) fn said(&self) -> Option<(i32, i32)> {
        let mut bytes = [0; 8];
        match read(self.ended.as_ref()?, &mut bytes) {
            Ok(8) => {
                let [a, b, c, d, e, f, g, h] = bytes;
                Some((i32::from_ne_bytes([a, b, c, d]), i32::from_ne_bytes([e, f, g, h])))
            }
            _ => None,
        }
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
/// say ([`Lifeline`]). **`setup` runs between clone3(2) and execve(2)**: in a process with several threads it must neither
/// allocate nor lock. What it needs is prepared before, and its error is a [`Fault`] for that reason.
///
/// # Errors
/// That of clone3(2), or what `setup` returned.
#[doc(alias = "clone3")]
pub fn spawn<'a>(
    flags: CloneFlags,
    setup: impl FnOnce() -> std::result::Result<Infallible, Fault<'a>>,
) -> Result<Child> {
    start(flags, None, |report| {
        let Err(fault) = setup();
        report.send(fault)
    })
}

/// As [`spawn`], but the child stays what it is, a small init, and the program runs in a child of its own: `setup` runs
/// first, in the init, then `program`, in its child.
///
/// The init collects every process that is handed to it, sends the signals that it gets on to the program, and ends when
/// the program does; how that ended is passed on to who waits for the init.
///
/// # Errors
/// That of clone3(2), or what `setup` or `program` returned.
pub fn spawn_init<'a>(
    flags: CloneFlags,
    setup: impl FnOnce() -> std::result::Result<(), Fault<'a>>,
    program: impl FnOnce() -> std::result::Result<Infallible, Fault<'a>>,
) -> Result<Child> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).context("make pipe", "")?;
    // moved, so that the caller's copy of the writer is gone before it reads
    start(flags, Some(reader), move |report| {
        if let Err(fault) = setup() {
            return report.send(fault);
        }
        let _ = sys::signal::set_mask(&SigSet::all());
        let child = sys::clone::clone3(CloneFlags::empty(), None, || {
            sys::signal::reset_all();
            let Err(fault) = program();
            report.send(fault)
        });
        match child {
            Ok((pid, pidfd)) => {
                drop(pidfd);
                super::init::run(pid, &writer)
            }
            Err(errno) => report.send(Fault::new("start program under init", Object::None, errno)),
        }
    })
}

/// Where a new process reports what went wrong; closed when it becomes the program.
struct Report<'a>(&'a OwnedFd);

impl Report<'_> {
    fn send(&self, fault: Fault<'_>) -> i32 {
        let mut buffer = [0; Fault::MAX];
        let _ = write(self.0, fault.encode(&mut buffer));
        125
    }
}

/// Starts `main` in a child and waits until the report's pipe is closed: by execve(2), by the init, or by death.
fn start(flags: CloneFlags, ended: Option<OwnedFd>, main: impl FnOnce(Report<'_>) -> i32) -> Result<Child> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).context("make pipe", "")?;
    // no handler of the caller's may run in the child
    let mask = sys::signal::set_mask(&SigSet::all()).context("block signals", "")?;
    let child = sys::clone::clone3(flags, None, || {
        sys::signal::reset_all();
        sys::fd::close(reader.as_raw_fd());
        main(Report(&writer))
    });
    let _ = sys::signal::set_mask(&mask);
    drop(writer);
    let (pid, pidfd) = child.map_err(|errno| explain_clone(errno, flags))?;
    let child = Child { pid, pidfd, ended };
    let mut report = [0; Fault::MAX];
    let mut used = 0;
    let failed = loop {
        match read(&reader, &mut report[used..]) {
            Ok(0) => break Fault::decode(&report[..used]),
            Ok(count) => used += count,
            Err(Errno::EINTR) => {}
            Err(errno) => break Some(Error::new("read from child", pid, errno)),
        }
    };
    match failed {
        Some(error) => {
            child.kill();
            Err(error)
        }
        None => Ok(child),
    }
}

/// Ties a new process to the one that made it: when that dies, so does the new one.
///
/// `PR_SET_PDEATHSIG` alone has two holes: a parent that died before it was set, and that it is cleared when the ids change.
/// This one is made in the parent, and tied in the child after the last change of ids.
#[derive(Debug)]
pub struct Lifeline {
    parent: OwnedFd,
    /// Whether that is a pidfd, or where there are none its directory in `/proc`.
    pidfd: bool,
}

impl Lifeline {
    /// To the calling process, whose children will be tied.
    ///
    /// # Errors
    /// What pidfd_open(2) says (Linux 5.3); where it is missing or filtered, those of opening `/proc/PID`.
    pub fn new() -> Result<Lifeline> {
        match sys::clone::pidfd_open(getpid()) {
            Ok(parent) => Ok(Lifeline { parent, pidfd: true }),
            Err(Errno::ENOSYS | Errno::EPERM) => Ok(Lifeline { parent: super::open_proc(getpid())?, pidfd: false }),
            Err(errno) => Err(Error::new("open process", getpid(), errno)),
        }
    }

    /// In the child: SIGKILL when the parent's thread ends, or has ended already. Allocates nothing.
    ///
    /// # Errors
    /// ESRCH: the parent is dead.
    #[doc(alias = "PR_SET_PDEATHSIG")]
    pub fn tie(&self) -> std::result::Result<(), Fault<'static>> {
        let fault = |errno| Fault::new("set parent death signal", Object::None, errno);
        nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(fault)?;
        if !self.pidfd {
            // PID (NAME) STATE …: Z has ended; once it has been waited for, nothing is found in its directory
            let mut text = [0; 128];
            let stat =
                openat(&self.parent, c"stat", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).map_err(fault)?;
            let length = read(&stat, &mut text).map_err(fault)?;
            let ended = text[..length].windows(3).any(|bytes| matches!(bytes, b") Z" | b") X"));
            return if ended { Err(fault(Errno::ESRCH)) } else { Ok(()) };
        }
        // a pidfd becomes readable when the process has ended; getppid(2) is 0 in a new pid namespace
        let mut fds = [PollFd::new(self.parent.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::ZERO) {
            Ok(0) => Ok(()),
            Ok(_) => Err(fault(Errno::ESRCH)),
            // where RLIMIT_NOFILE is 0 nothing can be asked
            Err(Errno::EINVAL) => Ok(()),
            Err(errno) => Err(fault(errno)),
        }
    }
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
