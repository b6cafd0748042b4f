//! Waiting for a child, and handing on to it the signals that its parent gets.

use std::io::stdin;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{getpgid, getpgrp};

use super::Child;
use super::terminal::{Relay, Terminal};
use crate::error::{Context, Errno, Error, Result};
use crate::sys;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this exit status.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
}

impl Ended {
    /// Ends the calling process in the same way: with the same status, or of the same signal; where that signal does not
    /// kill it, with 128 plus its number.
    pub fn mirror(self) -> ! {
        match self {
            Ended::Exited(status) => sys::clone::exit(status),
            Ended::Signaled(signal) => {
                // a core file of ours would hide the one of the program
                let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
                sys::signal::reset_all();
                sys::signal::raise(signal);
                sys::clone::exit(128 + signal)
            }
        }
    }
}

/// Waits for a child to end.
///
/// # Errors
/// ECHILD: the caller ignores SIGCHLD, so the kernel has discarded the status.
pub(super) fn wait(child: &Child) -> Result<Ended> {
    loop {
        match sys::clone::wait_exit(child).map(|ended| child.said().unwrap_or(ended)) {
            Ok((libc::CLD_EXITED, status)) => return Ok(Ended::Exited(status)),
            Ok((_, signal)) => return Ok(Ended::Signaled(signal)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::new("wait for process", child.pid(), errno)),
        }
    }
}

/// Starts a child with `start` and waits for it; meanwhile every signal that this process gets is sent on to the child, and where
/// there is a `terminal`, what comes from descriptor 0 and what the terminal says to descriptor 1 is passed on.
///
/// Signals are blocked from before `start` until the end, so none is lost and none kills the waiter (SIGKILL and SIGSTOP
/// excepted, which cannot be caught). Not sent on are those that this process ignores; those that are about this process itself,
/// SIGCHLD, SIGTTIN, SIGTTOU and SIGTSTP; and those from the terminal where the child is in the same process group, which has
/// got them too.
///
/// # Errors
/// Those of `start`, of signalfd(2) and of waitid(2).
pub fn forward_and_wait(terminal: Option<&Terminal>, start: impl FnOnce() -> Result<Child>) -> Result<Ended> {
    // a caller that ignores SIGCHLD must not lose us the status
    sys::signal::set_default(libc::SIGCHLD).context("reset disposition of", "SIGCHLD")?;
    let own = [Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGTSTP];
    let mut forwarded = SigSet::all();
    own.into_iter().for_each(|signal| forwarded.remove(signal));
    // what is ignored, by nohup(1) for example, stays that
    let ignored = Signal::iterator().filter(|signal| sys::signal::is_ignored(*signal as i32));
    ignored.for_each(|signal| forwarded.remove(signal));
    sys::signal::set_mask(&forwarded).context("block signals", "")?;
    let signals = SignalFd::with_flags(&forwarded, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .context("make signalfd", "")?;
    let child = start()?;
    let mut relay = terminal.map(Relay::new);
    // what a terminal can hold is still said when the child has ended; if that was asked for, nobody waits long for a reader
    let (mut ended, mut asked_to_end, mut last_words) = (false, false, 1_usize << 16);
    loop {
        let input = stdin();
        let wanted = |wanted: bool| if wanted { PollFlags::POLLIN } else { PollFlags::empty() };
        let mut fds = vec![PollFd::new(child.as_fd(), wanted(!ended)), PollFd::new(signals.as_fd(), wanted(true))];
        let mut asked = [None; 3];
        if let (Some(terminal), Some(relay)) = (terminal, &relay) {
            let theirs = [input.as_fd(), terminal.as_fd(), relay.out()];
            for ((fd, flags), index) in theirs.into_iter().zip(relay.waits_for()).zip(&mut asked) {
                // one that is asked nothing still says that it is gone
                if !flags.is_empty() {
                    *index = Some(fds.len());
                    fds.push(PollFd::new(fd, flags));
                }
            }
        }
        let timeout = match (ended, asked[2]) {
            (true, None) => PollTimeout::ZERO,
            (true, Some(_)) if asked_to_end => PollTimeout::from(1000_u16),
            _ => PollTimeout::NONE,
        };
        match poll(&mut fds, timeout) {
            Ok(0) if ended && asked[2].is_some() => return wait(&child),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::new("wait for process", child.pid(), errno)),
        }
        let any = |index: usize| fds.get(index).and_then(PollFd::any) == Some(true);
        let [input, theirs, output] = asked.map(|index| index.is_some_and(any));
        ended = ended || any(0);
        while let Ok(Some(info)) = signals.read_signal() {
            let signal = info.ssi_signo as i32;
            asked_to_end |= [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM].contains(&signal);
            match (&relay, signal) {
                (_, libc::SIGCHLD) => {}
                (Some(relay), libc::SIGWINCH) => relay.resize(),
                _ if ended || (info.ssi_code == SI_KERNEL && shares_group(&child)) => {}
                _ => {
                    if let (Some(relay), libc::SIGCONT) = (&relay, signal) {
                        relay.resume();
                    }
                    // a child that has just ended cannot be told any more
                    let _ = child.signal(signal);
                }
            }
        }
        let said = match &mut relay {
            Some(relay) if ended || input || theirs || output => relay.pass(input, output),
            _ => None,
        };
        if ended {
            last_words = said.map_or(0, |count| last_words.saturating_sub(count));
            if last_words == 0 {
                return wait(&child);
            }
        }
    }
}

/// Whether the terminal sends to the child what it sends to this process.
fn shares_group(child: &Child) -> bool {
    getpgid(Some(child.pid())) == Ok(getpgrp())
}

/// `si_code` of a signal that the kernel sent.
const SI_KERNEL: i32 = 0x80;
