//! Signals that ask a tool to end while it has half of something done: it undoes that, and ends of the signal then.

use std::cell::Cell;
use std::os::fd::AsFd;
use std::time::Duration;

use libctr::net::Transaction;
use libctr::process::Ended;
use libctr::sys::signal::{is_ignored, set_mask};
use libctr::{Context, Errno, Error};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use crate::cli::{Failure, complain};

/// What a person or a service manager ends a program with.
const ENDING: [Signal; 4] = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM];

/// Those signals blocked, less those that the caller has ignored or blocked.
pub(crate) struct Ending {
    signals: SignalFd,
    before: SigSet,
    asked: Cell<Option<i32>>,
}

impl Ending {
    /// Blocks them.
    pub(crate) fn block() -> Result<Ending, Error> {
        let before = SigSet::thread_get_mask().context("read signal mask", "")?;
        let means_us = |signal: &Signal| !is_ignored(*signal as i32) && !before.contains(*signal);
        let ending: SigSet = ENDING.into_iter().filter(means_us).collect();
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = SignalFd::with_flags(&ending, flags).context("make signalfd", "")?;
        ending.thread_block().context("block signals", "")?;
        Ok(Ending { signals, before, asked: Cell::new(None) })
    }

    /// Readable when one has come.
    pub(crate) fn signals(&self) -> &impl AsFd {
        &self.signals
    }

    /// The first that has come.
    pub(crate) fn asked(&self) -> Result<Option<i32>, Error> {
        while let Some(signal) = self.signals.read_signal().context("read", "signalfd")? {
            self.asked.set(self.asked.get().or(Some(signal.ssi_signo as i32)));
        }
        Ok(self.asked.get())
    }

    /// Sleeps, and fails where one comes.
    pub(crate) fn sleep(&self, time: Duration) -> Result<(), Error> {
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(_) | Err(Errno::EINTR) => self.check(),
            Err(errno) => Err(Error::new("wait", "", errno)),
        }
    }

    /// Fails where one has come: asked before the last thing that can be undone.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let Some(signal) = self.asked()? else { return Ok(()) };
        let name = Signal::try_from(signal).map_or_else(|_| signal.to_string(), |signal| signal.to_string());
        Err(Error::new("configure network", "", Errno::ECANCELED).with_reason(format!("{name} came before the end")))
    }

    /// Keeps what a transaction did if it is done, undoes it otherwise; where a signal was the reason, the process says so, and
    /// ends of it. One that comes now is too late: they stay blocked.
    pub(crate) fn decide(
        self,
        tool: &str,
        mut transaction: Transaction<'_>,
        done: Result<(), Error>,
    ) -> Result<(), Failure> {
        match done {
            Ok(()) => {
                transaction.commit();
                Ok(())
            }
            Err(error) => self.give_up(tool, Err(transaction.undo(error).into())),
        }
    }

    /// Hands on how it went and unblocks the signals; where one was seen to come, the process says what failed, and ends of it.
    pub(crate) fn end<T>(self, tool: &str, result: Result<T, Failure>) -> Result<T, Failure> {
        let result = self.give_up(tool, result);
        set_mask(&self.before).context("restore signal mask", "")?;
        result
    }

    fn give_up<T>(&self, tool: &str, result: Result<T, Failure>) -> Result<T, Failure> {
        if let Some(signal) = self.asked.get() {
            if let Err(Failure::Failed(error)) = &result {
                complain(tool, error);
            }
            Ended::Signaled(signal).mirror();
        }
        result
    }
}
