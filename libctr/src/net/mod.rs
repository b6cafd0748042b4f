//! Interfaces, addresses and routes over one rtnetlink socket, see rtnetlink(7).
//!
//! A [`Socket`] belongs for good to the network namespace in which it was opened. Its [`Transaction`] sends [`Request`]s, each
//! of which the kernel acknowledges; where one fails, those before it are undone, so that nothing is left. Names, addresses
//! and routes are parsed once ([`InterfaceName`], [`Mac`], [`Address`], [`Prefix`], [`Route`]) and are valid from there on.
//!
//! ```no_run
//! use libctr::net::{Address, Change, InterfaceName, Socket, Veth};
//! use libctr::ns::{Kind, NsRef};
//! # fn main() -> libctr::Result<()> {
//! let netns = "env:NSFD_NET".parse::<NsRef>()?.open(Kind::Net)?;
//! let host: InterfaceName = "vethc1".parse()?;
//! let mut socket = Socket::open()?;
//! let mut transaction = socket.begin();
//! Veth::new(host.clone(), "eth0".parse()?).create(&mut transaction, &netns)?;
//! let link = transaction.link(&host)?;
//! let address: Address = "10.0.0.1/24".parse()?;
//! transaction.run(&[link.change(Change::Up), address.add(&link, false)])?;
//! transaction.commit();
//! # Ok(())
//! # }
//! ```

pub mod address;
mod keep;
pub mod kind;
pub mod link;
mod message;
pub mod neighbour;
pub mod netlink;
mod ready;
pub mod route;
pub mod rule;
pub mod sysctl;
pub mod transaction;
pub mod tun;
pub mod veth;

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result, show};

pub use address::{Address, Assignment, Prefix};
pub use kind::LinkKind;
pub use link::{Change, Link, Mac};
pub use neighbour::Neighbour;
pub use netlink::{Request, Socket};
pub use route::Route;
pub use rule::Rule;
pub use sysctl::Sysctl;
pub use transaction::Transaction;
pub use tun::Tun;
pub use veth::Veth;

/// The name of a network interface: 1 to 15 bytes that neither the kernel nor a shell nor `/proc/sys` reads in another way.
///
/// Stricter than the kernel, which takes `a%d` for a template, and control bytes and the names `all` and `default` (those of
/// the sysctl directories of every interface) as they are.
///
/// ```
/// use libctr::net::InterfaceName;
/// assert!("eth0".parse::<InterfaceName>().is_ok());
/// for bad in ["", ".", "..", "a/b", "a:b", "a b", "a%d", "all", "default", "sixteen-bytes-xx", "\u{e4}"] {
///     assert!(bad.parse::<InterfaceName>().is_err(), "{bad}");
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceName(String);

impl InterfaceName {
    /// The longest name, in bytes: `IFNAMSIZ` less the NUL.
    pub const MAX: usize = libc::IFNAMSIZ - 1;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InterfaceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let reason = match text {
            "" => "is empty".to_owned(),
            "." | ".." => "names a directory".to_owned(),
            "all" | "default" => "is reserved: /proc/sys/net/ipv4/conf has a directory of that name".to_owned(),
            _ if text.len() > Self::MAX => format!("has {} bytes, the kernel takes at most {}", text.len(), Self::MAX),
            _ => match text.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '/' | ':' | '%')) {
                Some(c) => format!("contains {c:?}; printable ASCII without /, :, % and blanks is accepted"),
                None => return Ok(InterfaceName(text.to_owned())),
            },
        };
        Err(Error::invalid("parse interface name", show(text), reason))
    }
}

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::os::fd::OwnedFd;

    use super::*;
    use crate::ns::{Kind, Namespace};

    /// Runs `test` on a thread in a new network namespace. Where that cannot be made, says why, and fails if
    /// `CTR_TEST_REQUIRE` is 1.
    pub(crate) fn in_new_netns(test: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| match nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
                Ok(()) => test(),
                Err(errno) if std::env::var("CTR_TEST_REQUIRE").is_ok_and(|value| value == "1") => {
                    panic!("cannot make a network namespace: {errno}")
                }
                Err(errno) => eprintln!("skipped: cannot make a network namespace: {errno}"),
            });
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    pub(crate) fn name(text: &str) -> InterfaceName {
        text.parse().unwrap()
    }

    /// A new network namespace, held by descriptor alone.
    pub(crate) fn new_netns() -> OwnedFd {
        let make = || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            Namespace::current(Kind::Net).unwrap().into_fd()
        };
        std::thread::spawn(make).join().unwrap()
    }

    #[test]
    fn names_are_refused_for_a_reason() {
        let error = "sixteen-bytes-xx".parse::<InterfaceName>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "parse interface name sixteen-bytes-xx: has 16 bytes, the kernel takes at most 15 (EINVAL)"
        );
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "a\tb", "a%d", "a\nb", "a\0b", "a\x7f", "ä", "all", "default"]
        {
            assert!(bad.parse::<InterfaceName>().is_err(), "{bad:?}");
        }
        for good in ["a", "eth0", "-x", "fifteen-bytes-x", "a.100", "a@b", "..."] {
            assert_eq!(good.parse::<InterfaceName>().unwrap().as_str(), good);
        }
    }
}
