//! [`PidRef`]: how a person names a process.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::str::FromStr;

use nix::unistd::Pid;

use crate::error::{Context, Errno, Error, Result, show};
use crate::sys;

/// A process as it is named on a command line.
///
/// ```
/// use libctr::process::PidRef;
/// assert_eq!("42".parse::<PidRef>()?, PidRef::Pid(nix::unistd::Pid::from_raw(42)));
/// assert_eq!("fd:5".parse::<PidRef>()?, PidRef::Fd(5));
/// assert!("0".parse::<PidRef>().is_err());
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PidRef {
    /// `42` or `pid:42`: its number in the caller's pid namespace.
    Pid(Pid),
    /// `fd:5`: an open pidfd.
    Fd(RawFd),
    /// `env:VAR`: the pidfd whose number is the value of `VAR`.
    Env(OsString),
}

impl PidRef {
    /// A pidfd of it; a given one is duplicated.
    ///
    /// # Errors
    /// ESRCH: no such process. EBADF: the descriptor is not open. EINVAL: it is no pidfd.
    pub fn open(&self) -> Result<OwnedFd> {
        let number = match (self, self.number()?) {
            (PidRef::Pid(pid), _) => return sys::clone::pidfd_open(*pid).context("open process", self),
            (_, number) => number.unwrap_or(-1),
        };
        let fd = sys::fd::duplicate(number, 3).context("open process", self)?;
        match pid_of(&fd) {
            Err(error) if error.errno() == Errno::EINVAL => Err(Error::invalid("use as process", self, "is no pidfd")),
            other => other.map(|_| fd),
        }
    }

    /// The number of the descriptor it names; `None` for a process id.
    ///
    /// # Errors
    /// ENOENT: the variable is not set. EINVAL: its value is not a descriptor number.
    pub fn number(&self) -> Result<Option<RawFd>> {
        match self {
            PidRef::Pid(_) => Ok(None),
            PidRef::Fd(number) => Ok(Some(*number)),
            PidRef::Env(variable) => crate::fd::number_from_env(variable).map(Some),
        }
    }
}

/// The number, in the pid namespace of `/proc`, of the process behind a pidfd.
///
/// # Errors
/// EINVAL: it is no pidfd. ESRCH: the process has ended, or is in a pid namespace that `/proc` does not show.
pub fn pid_of(pidfd: impl AsFd) -> Result<Pid> {
    let number = pidfd.as_fd().as_raw_fd();
    let path = format!("/proc/self/fdinfo/{number}");
    let text = std::fs::read_to_string(&path).context("read", path)?;
    let pid = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    match pid.map(|pid| pid.trim().parse()) {
        Some(Ok(pid)) if pid > 0 => Ok(Pid::from_raw(pid)),
        Some(_) => Err(Error::new("find process of", format_args!("fd:{number}"), Errno::ESRCH)
            .with_reason("it has ended, or is in a pid namespace that is not seen from here")),
        None => Err(Error::invalid("find process of", format_args!("fd:{number}"), "is no pidfd")),
    }
}

impl FromStr for PidRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<PidRef> {
        let invalid = |reason| Error::invalid("parse process reference", show(text), reason);
        let number = |text| crate::fd::parse_number(text);
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() && !name.contains('=') => Ok(PidRef::Env(name.into())),
            Some(("fd", fd)) => number(fd).map(PidRef::Fd).ok_or_else(|| invalid("is no descriptor number")),
            None | Some(("pid", _)) => match number(text.strip_prefix("pid:").unwrap_or(text)) {
                Some(pid) if pid > 0 => Ok(PidRef::Pid(Pid::from_raw(pid))),
                _ => Err(invalid("is no process id, which is a number from 1 to 2147483647")),
            },
            Some(_) => Err(invalid("is none of N, pid:N, fd:N, env:VAR")),
        }
    }
}

impl fmt::Display for PidRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PidRef::Pid(pid) => write!(f, "pid:{pid}"),
            PidRef::Fd(number) => write!(f, "fd:{number}"),
            PidRef::Env(name) => write!(f, "env:{}", show(name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_not_a_reference() {
        for text in ["", "0", "-1", "+3", "3abc", "pid:", "pid:0", "fd:", "fd:x", "env:", "x:1", "99999999999"] {
            assert_eq!(text.parse::<PidRef>().unwrap_err().errno(), Errno::EINVAL, "{text:?}");
        }
    }

    #[test]
    fn opens_processes_and_nothing_else() {
        let own = nix::unistd::getpid();
        let pidfd = PidRef::Pid(own).open().unwrap();
        assert_eq!(pid_of(&pidfd).unwrap(), own);
        assert!(PidRef::Fd(pidfd.as_raw_fd()).open().is_ok());
        let error = PidRef::Fd(0).open().unwrap_err();
        assert_eq!(error.to_string(), "use as process fd:0: is no pidfd (EINVAL)");
        assert_eq!(PidRef::Fd(999_999).open().unwrap_err().errno(), Errno::EBADF);
        assert_eq!(PidRef::Pid(Pid::from_raw(i32::MAX)).open().unwrap_err().errno(), Errno::ESRCH);
    }
}
