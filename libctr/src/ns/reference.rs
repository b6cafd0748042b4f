//! [`NsRef`]: how a person names a namespace.

use std::ffi::OsString;
use std::fmt;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::str::FromStr;

use nix::unistd::Pid;

use super::{Kind, Namespace};
use crate::error::{Context, Error, Result, show};
use crate::sys;

/// A namespace as it is named on a command line.
///
/// ```
/// use libctr::ns::NsRef;
/// assert_eq!("3".parse::<NsRef>()?, NsRef::Fd(3));
/// assert_eq!("fd:3".parse::<NsRef>()?, NsRef::Fd(3));
/// assert_eq!("env:NSFD_NET".parse::<NsRef>()?, NsRef::Env("NSFD_NET".into()));
/// assert_eq!("/run/netns/blue".parse::<NsRef>()?, NsRef::Path("/run/netns/blue".into()));
/// assert!("blue".parse::<NsRef>().is_err());
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NsRef {
    /// `3` or `fd:3`: an open descriptor.
    Fd(RawFd),
    /// `env:VAR`: the descriptor whose number is the value of `VAR`.
    Env(OsString),
    /// `pid:42`: the namespace of that process.
    Pid(Pid),
    /// A path with a `/` in it: a namespace file.
    Path(PathBuf),
}

impl NsRef {
    /// Opens the namespace and verifies its kind. A descriptor is duplicated: the original stays as it is.
    ///
    /// # Errors
    /// EBADF: the descriptor is not open. ENOENT: the variable is not set, or there is no such file or process. Those of
    /// [`Namespace::verify`].
    pub fn open(&self, kind: Kind) -> Result<Namespace> {
        match self {
            NsRef::Fd(_) | NsRef::Env(_) => {
                let number = self.number()?.unwrap_or(-1);
                let fd = sys::fd::duplicate(number, 3).context("open namespace", self)?;
                Namespace::verify(fd, kind, self)
            }
            NsRef::Pid(pid) => Namespace::of_process(*pid, kind),
            NsRef::Path(path) => Namespace::open(path, kind),
        }
    }

    /// The number of the descriptor it names; `None` for a process or a path.
    ///
    /// # Errors
    /// ENOENT: the variable is not set. EINVAL: its value is not a descriptor number.
    pub fn number(&self) -> Result<Option<RawFd>> {
        match self {
            NsRef::Fd(number) => Ok(Some(*number)),
            NsRef::Env(variable) => crate::fd::number_from_env(variable).map(Some),
            NsRef::Pid(_) | NsRef::Path(_) => Ok(None),
        }
    }
}

impl FromStr for NsRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<NsRef> {
        let invalid = |reason| Error::invalid("parse namespace reference", show(text), reason);
        if text.contains('/') {
            return Ok(NsRef::Path(text.into()));
        }
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() && !name.contains('=') => Ok(NsRef::Env(name.into())),
            Some(("pid", number)) => match crate::fd::parse_number(number) {
                Some(pid) if pid > 0 => Ok(NsRef::Pid(Pid::from_raw(pid))),
                _ => Err(invalid("is no process id, which is a number from 1 to 2147483647")),
            },
            Some(("fd", number)) => crate::fd::parse_number(number)
                .map(NsRef::Fd)
                .ok_or_else(|| invalid("is no descriptor, which is a number from 0 to 2147483647")),
            _ => crate::fd::parse_number(text)
                .map(NsRef::Fd)
                .ok_or_else(|| invalid("is none of N, fd:N, env:VAR, pid:N, or a path with a / in it")),
        }
    }
}

impl fmt::Display for NsRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NsRef::Fd(number) => write!(f, "fd:{number}"),
            NsRef::Env(name) => write!(f, "env:{}", show(name)),
            NsRef::Pid(pid) => write!(f, "pid:{pid}"),
            NsRef::Path(path) => show(path).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Errno;

    #[test]
    fn refuses_what_is_not_a_reference() {
        for text in ["", "-1", "+3", "3abc", "03", "99999999999", "fd:", "fd:x", "pid:0", "pid:-1", "env:", "net", " 3"]
        {
            assert_eq!(text.parse::<NsRef>().unwrap_err().errno(), Errno::EINVAL, "{text:?}");
        }
    }

    #[test]
    fn opens_what_is_open_and_names_what_is_not() {
        let net = Namespace::current(Kind::Net).unwrap();
        let number = std::os::fd::AsRawFd::as_raw_fd(&net.as_fd());
        use std::os::fd::AsFd;
        assert_eq!(NsRef::Fd(number).open(Kind::Net).unwrap().id().unwrap(), net.id().unwrap());
        let error = NsRef::Fd(999_999).open(Kind::Net).unwrap_err();
        assert_eq!(error.to_string(), "open namespace fd:999999: Bad file descriptor (EBADF)");
        let error = NsRef::Env("NSFD_NOT_SET".into()).open(Kind::Net).unwrap_err();
        assert_eq!(error.errno(), Errno::ENOENT);
    }
}
