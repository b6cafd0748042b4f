//! [`Opening`]: descriptors from elsewhere, to be handed on: sockets bound in a network namespace, files beneath another mount
//! namespace's root, tun devices, processes, and what other descriptors tell of their namespaces.

mod file;
mod socket;

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::str::FromStr;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use crate::error::{Context, Errno, Error, Result, show};
use crate::mount::options::{Options, split};
use crate::net::{InterfaceName, Tun};
use crate::ns::{Kind, NsRef};
use crate::process::PidRef;
use crate::sys;

use file::File;
pub use file::Made;
use socket::Socket;

/// A descriptor to be opened, and the name that it is handed on by.
///
/// ```
/// use libctr::open::Opening;
/// let opening = Opening::tcp("[::1]:0=WEB,reuseaddr")?;
/// assert_eq!(opening.variable(), "OPENFD_WEB");
/// let socket = opening.open()?;
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Opening {
    name: String,
    /// As it was asked for, for messages.
    text: String,
    what: What,
}

#[derive(Clone, Debug)]
enum What {
    Socket(Box<Socket>),
    File(Box<File>),
    /// With whether it is nonblocking.
    Tun(InterfaceName, Tun, Option<NsRef>, bool),
    Process(PidRef),
    Of(PidRef, u32),
    NetnsOf(PidRef),
    Owner(Kind, NsRef),
    Parent(Kind, NsRef),
}

fn invalid(text: &str, reason: impl Into<String>) -> Error {
    Error::invalid("parse descriptor to open", show(text), reason)
}

/// The source as text of some type.
fn parse<T: FromStr>(text: &str, source: &OsStr, expected: &str) -> Result<T> {
    let parsed = source.to_str().and_then(|source| source.parse().ok());
    parsed.ok_or_else(|| invalid(text, format!("does not begin with {expected}")))
}

fn c_string(text: &str, path: impl Into<OsString>) -> Result<CString> {
    CString::new(path.into().into_vec()).map_err(|_| invalid(text, "holds a NUL byte"))
}

fn reference<T: FromStr<Err = Error>>(given: &mut Options, key: &str) -> Result<Option<T>> {
    given.text(key)?.map(|text| text.parse()).transpose()
}

impl Opening {
    fn new(name: String, text: &str, what: What) -> Opening {
        Opening { name, text: text.to_owned(), what }
    }

    /// `LINK=NAME[,tap][,netns=NSREF][,multi_queue][,vnet_hdr][,nonblock]`: a tun device, or a tap device; made if it is
    /// missing, then gone with the descriptor.
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn tun(text: &str) -> Result<Opening> {
        let (source, name, mut given) = split(text)?;
        let link = parse(text, &source, "the name of an interface")?;
        let mut kind = if given.flag("tap") { "tap" } else { "tun" }.to_owned();
        for key in ["multi_queue", "vnet_hdr"] {
            if given.flag(key) {
                kind = format!("{kind},{key}");
            }
        }
        let netns = reference(&mut given, "netns")?;
        let nonblock = given.flag("nonblock");
        given.finish("tun device")?;
        Ok(Opening::new(name, text, What::Tun(link, kind.parse()?, netns, nonblock)))
    }

    fn simple(text: &str, what: impl FnOnce(&str) -> Result<What>) -> Result<Opening> {
        let (source, name, given) = split(text)?;
        given.finish("descriptor")?;
        let source = source.to_str().ok_or_else(|| invalid(text, "is not UTF-8"))?;
        Ok(Opening::new(name, text, what(source)?))
    }

    /// `PIDREF=NAME`: a pidfd.
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn process(text: &str) -> Result<Opening> {
        Opening::simple(text, |source| Ok(What::Process(source.parse()?)))
    }

    /// `PIDREF:N=NAME`: a duplicate of descriptor N of a process (Linux 5.6).
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn of_process(text: &str) -> Result<Opening> {
        Opening::simple(text, |source| {
            let (process, fd) = source.rsplit_once(':').ok_or_else(|| invalid(text, "needs PIDREF:N=NAME"))?;
            let fd =
                crate::fd::parse_number(fd).ok_or_else(|| invalid(text, "needs a descriptor number after the :"))?;
            Ok(What::Of(process.parse()?, fd as u32))
        })
    }

    /// `fd:N=NAME` or `env:VAR=NAME`: the network namespace of a socket (Linux 4.9).
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn netns_of(text: &str) -> Result<Opening> {
        Opening::simple(text, |source| match source.parse()? {
            PidRef::Pid(_) => Err(invalid(text, "needs fd:N or env:VAR, a socket")),
            // a reference to an open descriptor, whatever is behind it
            reference => Ok(What::NetnsOf(reference)),
        })
    }

    /// `KIND:NSREF=NAME`: the user namespace that owns a namespace (Linux 4.9).
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn owner(text: &str) -> Result<Opening> {
        Opening::simple(text, |source| kind_and(text, source).map(|(kind, reference)| What::Owner(kind, reference)))
    }

    /// `user:NSREF=NAME` or `pid:NSREF=NAME`: the parent of a namespace (Linux 4.9).
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn parent(text: &str) -> Result<Opening> {
        Opening::simple(text, |source| match kind_and(text, source)? {
            (kind @ (Kind::User | Kind::Pid), reference) => Ok(What::Parent(kind, reference)),
            (kind, _) => Err(invalid(text, format!("{kind} namespaces have no parents; user and pid have"))),
        })
    }

    /// The environment variable that hands its descriptor on: `OPENFD_NAME`.
    pub fn variable(&self) -> String {
        format!("OPENFD_{}", self.name)
    }

    /// Opens it, close-on-exec. What fails leaves no file behind.
    ///
    /// # Errors
    /// Those of the system calls that it takes; ESRCH and the like for references to what is not there.
    pub fn open(&self) -> Result<OwnedFd> {
        let (fd, made) = self.open_undoable()?;
        if let Some(made) = made {
            made.keep();
        }
        Ok(fd)
    }

    /// As [`Opening::open`]. The file that was made, of a socket too, is removed when that part is dropped.
    ///
    /// # Errors
    /// As [`Opening::open`].
    pub fn open_undoable(&self) -> Result<(OwnedFd, Option<Made>)> {
        let fd = match &self.what {
            What::Socket(socket) => return socket.open(&self.text),
            What::File(file) => return file.open(),
            What::Tun(link, tun, netns, nonblock) => {
                let netns = netns.as_ref().map(|netns| netns.open(Kind::Net)).transpose()?;
                let device = tun.open(link, netns)?;
                if *nonblock {
                    fcntl(&device, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).context("make nonblocking", link)?;
                }
                Ok(device)
            }
            What::Process(process) => process.open(),
            What::Of(process, fd) => {
                let pidfd = process.open()?;
                sys::clone::pidfd_getfd(&pidfd, *fd).map_err(|errno| {
                    let error = Error::new("duplicate descriptor", format_args!("{fd} of {process}"), errno);
                    match errno {
                        Errno::EPERM => error.with_hint("this needs the right to ptrace(2) the process"),
                        _ => error,
                    }
                })
            }
            What::NetnsOf(reference) => {
                let socket = descriptor(reference)?;
                sys::net::socket_netns(&socket).map_err(|errno| {
                    let error = Error::new("find network namespace of", reference, errno);
                    match errno {
                        Errno::ENOTTY | Errno::ENOTSOCK => error.with_reason("is no socket"),
                        Errno::EPERM => error.with_hint("this needs CAP_NET_ADMIN over that network namespace"),
                        _ => error,
                    }
                })
            }
            What::Owner(kind, reference) => Ok(reference.open(*kind)?.owner()?.into_fd()),
            What::Parent(kind, reference) => {
                let namespace = reference.open(*kind)?;
                sys::nsfs::parent(&namespace).map_err(|errno| {
                    let error = Error::new("find parent of namespace", reference, errno);
                    match errno {
                        Errno::EPERM => {
                            error.with_reason("it is the first one, or its parent is out of sight from here")
                        }
                        _ => error,
                    }
                })
            }
        };
        fd.map(|fd| (fd, None))
    }
}

/// A duplicate of an open descriptor, whatever is behind it.
fn descriptor(reference: &PidRef) -> Result<OwnedFd> {
    let number = match reference {
        PidRef::Fd(number) => *number,
        PidRef::Env(variable) => crate::fd::number_from_env(variable)?,
        PidRef::Pid(_) => return Err(Error::invalid("use as descriptor", reference, "is a process")),
    };
    sys::fd::duplicate(number, 3).context("open descriptor", reference)
}

fn kind_and(text: &str, source: &str) -> Result<(Kind, NsRef)> {
    let (kind, reference) = source.split_once(':').ok_or_else(|| invalid(text, "needs KIND:NSREF=NAME"))?;
    Ok((kind.parse()?, reference.parse()?))
}
