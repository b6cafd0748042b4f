//! [`Error`]: what was attempted, on what, why it failed, and what a person can do about it.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

pub use nix::errno::Errno;

/// The result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation.
///
/// Displayed as `OPERATION OBJECT: Reason (ERRNO)`; the [hint](Error::hint) is kept apart, for a second line.
///
/// ```
/// use libctr::{Errno, Error};
/// let error = Error::new("write uid_map", "\"0 100000 65536\"", Errno::EPERM).with_hint("see newuidmap(1)");
/// assert_eq!(error.to_string(), "write uid_map \"0 100000 65536\": Operation not permitted (EPERM)");
/// assert_eq!(error.hint(), Some("see newuidmap(1)"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Repr>);

#[derive(Clone, PartialEq, Eq)]
struct Repr {
    operation: Cow<'static, str>,
    object: String,
    errno: Errno,
    reason: Option<String>,
    hint: Option<Cow<'static, str>>,
}

impl Error {
    /// `operation` on `object` failed with `errno`.
    pub fn new(operation: impl Into<Cow<'static, str>>, object: impl fmt::Display, errno: Errno) -> Self {
        Error(Box::new(Repr {
            operation: operation.into(),
            object: object.to_string(),
            errno,
            reason: None,
            hint: None,
        }))
    }

    /// `operation` on `object` was refused by this crate, before the kernel was asked: EINVAL with a `reason` of ours.
    pub fn invalid(
        operation: impl Into<Cow<'static, str>>,
        object: impl fmt::Display,
        reason: impl Into<String>,
    ) -> Self {
        Error::new(operation, object, Errno::EINVAL).with_reason(reason)
    }

    /// Replaces the text of the errno by one that says more, such as the kernel's extended acknowledgement.
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.0.reason = Some(reason.into());
        self
    }

    /// Says where in a text that a person wrote the cause is, before all else: `plan:3: mount …`.
    pub fn with_place(mut self, place: impl fmt::Display) -> Self {
        self.0.operation = format!("{place}: {}", self.0.operation).into();
        self
    }

    /// Says what a person could do about it.
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// What was attempted: `open`, `write uid_map`, `create veth`.
    pub fn operation(&self) -> &str {
        &self.0.operation
    }

    /// On what: a path, an interface, a map, a descriptor.
    pub fn object(&self) -> &str {
        &self.0.object
    }

    /// The kernel's error number; EINVAL where this crate refused.
    pub fn errno(&self) -> Errno {
        self.0.errno
    }

    /// Why, without the errno's name.
    pub fn reason(&self) -> Cow<'_, str> {
        match &self.0.reason {
            Some(reason) => reason.into(),
            None => strerror(self.0.errno).into(),
        }
    }

    /// What a person could do about it, if that is known.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

/// The C library's text for an errno, which is what people search for; nix has its own.
pub fn strerror(errno: Errno) -> String {
    let text = std::io::Error::from_raw_os_error(errno as i32).to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.operation)?;
        if !self.0.object.is_empty() {
            write!(f, " {}", self.0.object)?;
        }
        write!(f, ": {} ({:?})", self.reason(), self.0.errno)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        self.hint().map_or(Ok(()), |hint| write!(f, " [hint: {hint}]"))
    }
}

impl std::error::Error for Error {}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        std::io::Error::new(std::io::Error::from(error.errno()).kind(), error)
    }
}

/// Names the operation and the object of a failed system call.
pub trait Context<T> {
    /// Turns the errno into an [`Error`]. `object` is formatted only on failure.
    ///
    /// # Errors
    /// The errno that was there, with its context.
    fn context(self, operation: &'static str, object: impl fmt::Display) -> Result<T>;
}

impl<T> Context<T> for nix::Result<T> {
    fn context(self, operation: &'static str, object: impl fmt::Display) -> Result<T> {
        self.map_err(|errno| Error::new(operation, object, errno))
    }
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, operation: &'static str, object: impl fmt::Display) -> Result<T> {
        self.map_err(|error| match error.raw_os_error() {
            Some(errno) => Error::new(operation, object, Errno::from_raw(errno)),
            None => Error::new(operation, object, Errno::EIO).with_reason(error.to_string()),
        })
    }
}

/// A failed step in a place that may not allocate: between clone3(2) and execve(2) in the child of a threaded program.
///
/// It borrows what it names and becomes an [`Error`] where allocation is allowed again: here, or in the parent, to which it
/// travels through a pipe as [bytes](Fault::encode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault<'a> {
    /// What was attempted.
    pub operation: &'static str,
    /// On what.
    pub object: Object<'a>,
    /// Why it failed.
    pub errno: Errno,
    /// What a person could do about it.
    pub hint: Option<&'static str>,
}

/// What a [`Fault`] names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object<'a> {
    /// Nothing.
    None,
    /// A number: an id, a descriptor, a capability.
    Number(u64),
    /// A name or a path.
    Text(&'a [u8]),
}

const FAULT_MAX: usize = 1024;

impl<'a> Fault<'a> {
    /// The room that [`Fault::encode`] needs: a longer object is cut to fit.
    pub const MAX: usize = FAULT_MAX;

    /// `operation` on `object` failed with `errno`.
    pub fn new(operation: &'static str, object: Object<'a>, errno: Errno) -> Self {
        Fault { operation, object, errno, hint: None }
    }

    /// Says what a person could do about it.
    pub fn with_hint(self, hint: &'static str) -> Self {
        Fault { hint: Some(hint), ..self }
    }

    /// Writes itself into `buffer` without allocating; returns what was written.
    pub fn encode<'b>(&self, buffer: &'b mut [u8; FAULT_MAX]) -> &'b [u8] {
        let mut used = 0;
        let mut put = |bytes: &[u8], limit: usize| {
            let bytes = &bytes[..bytes.len().min(limit)];
            let end = (used + bytes.len()).min(buffer.len());
            buffer[used..end].copy_from_slice(&bytes[..end - used]);
            used = end;
        };
        put(&(self.errno as i32).to_ne_bytes(), 4);
        put(self.operation.as_bytes(), 128);
        put(&[0], 1);
        put(self.hint.unwrap_or_default().as_bytes(), 512);
        put(&[0], 1);
        match self.object {
            Object::None => {}
            Object::Text(text) => put(text, usize::MAX),
            Object::Number(number) => {
                let mut digits = [0; 20];
                let mut first = digits.len();
                let mut rest = number;
                while first == digits.len() || rest > 0 {
                    first -= 1;
                    digits[first] = b'0' + (rest % 10) as u8;
                    rest /= 10;
                }
                put(&digits[first..], usize::MAX);
            }
        }
        &buffer[..used]
    }

    /// The error that [`Fault::encode`] wrote; `None` where `bytes` are nothing of the kind.
    pub fn decode(bytes: &[u8]) -> Option<Error> {
        let (errno, text) = bytes.split_first_chunk()?;
        let mut parts = text.splitn(3, |byte| *byte == 0).map(|part| String::from_utf8_lossy(part).into_owned());
        let (operation, hint, object) = (parts.next()?, parts.next()?, parts.next()?);
        let error = Error::new(operation, show(object.as_str()), Errno::from_raw(i32::from_ne_bytes(*errno)));
        let error = if object.is_empty() { Error(Box::new(Repr { object, ..*error.0 })) } else { error };
        Some(if hint.is_empty() { error } else { error.with_hint(hint) })
    }
}

impl From<Fault<'_>> for Error {
    fn from(fault: Fault<'_>) -> Self {
        let error = match fault.object {
            Object::None => Error::new(fault.operation, "", fault.errno),
            Object::Number(number) => Error::new(fault.operation, number, fault.errno),
            Object::Text(text) => Error::new(fault.operation, show(OsStr::from_bytes(text)), fault.errno),
        };
        match fault.hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// A path, name or argument as a person should see it: as it is where it is printable, otherwise quoted and escaped, so
/// that a message stays on one line whatever the bytes are.
pub fn show<S: AsRef<OsStr> + ?Sized>(bytes: &S) -> impl fmt::Display + '_ {
    Shown(bytes.as_ref())
}

struct Shown<'a>(&'a OsStr);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.to_str() {
            Some(text) if !text.is_empty() && !text.contains(|c: char| c.is_control() || c == '"' || c == ' ') => {
                f.write_str(text)
            }
            Some(text) if !text.contains(char::is_control) => write!(f, "\"{}\"", text.replace('"', "\\\"")),
            _ => write!(f, "\"{}\"", self.0.as_bytes().escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_on_what_and_why() {
        let error = Error::new("open", "/x", Errno::ENOENT);
        assert_eq!(error.to_string(), "open /x: No such file or directory (ENOENT)");
        let error = Error::invalid("parse id map", "\"0:1\"", "needs INSIDE:OUTSIDE:COUNT").with_hint("as in 0:1000:1");
        assert_eq!(error.to_string(), "parse id map \"0:1\": needs INSIDE:OUTSIDE:COUNT (EINVAL)");
        assert_eq!(error.hint(), Some("as in 0:1000:1"));
        assert_eq!(std::io::Error::from(error).kind(), std::io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_fault_arrives_as_the_error_it_is() {
        let mut buffer = [0; Fault::MAX];
        for object in [Object::None, Object::Number(0), Object::Number(u64::MAX), Object::Text(b"/a b")] {
            let fault = Fault::new("set gid", object, Errno::EPERM);
            assert_eq!(Fault::decode(fault.encode(&mut buffer)), Some(fault.into()));
            let fault = fault.with_hint("map it");
            assert_eq!(Fault::decode(fault.encode(&mut buffer)), Some(fault.into()));
        }
        let long = [b'x'; 5000];
        let cut = Fault::decode(Fault::new("open", Object::Text(&long), Errno::EIO).encode(&mut buffer)).unwrap();
        assert_eq!((cut.operation(), cut.errno()), ("open", Errno::EIO));
        assert_eq!(Fault::decode(b""), None);
        assert_eq!(Fault::decode(b"\x01\0\0\0open"), None);
    }

    #[test]
    fn shows_any_bytes_on_one_line() {
        assert_eq!(show("/run/netns/blue").to_string(), "/run/netns/blue");
        assert_eq!(show("a b").to_string(), "\"a b\"");
        assert_eq!(show("").to_string(), "\"\"");
        assert_eq!(show(OsStr::from_bytes(b"a\xff\nb")).to_string(), "\"a\\xff\\nb\"");
    }
}
