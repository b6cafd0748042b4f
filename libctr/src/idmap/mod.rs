//! User and group id maps of user_namespaces(7): parsed, validated, written once and read back.
//!
//! A value that exists is valid: an [`Extent`] neither is empty nor wraps, an [`IdMap`] has no overlaps and fits the kernel's
//! limits. [`MapSpec`] is how a person names a map; [`write()`] gives it to a new user namespace, through newuidmap(1) where the
//! caller may not.

mod accounts;
mod extent;
mod helper;
mod holder;
mod map;
mod range;
mod registry;
mod spec;
mod write;

pub use extent::{Extent, Id};
pub use holder::Holder;
pub use map::IdMap;
pub use range::{IdRange, Pool};
pub use registry::{Entry, Registry};
pub use spec::MapSpec;
pub(crate) use write::verify;
pub use write::{needs_setgroups_denied, read, write, write_setgroups};

use crate::error::{Context, Result};

const CAP_SETGID: u8 = 6;
const CAP_SETUID: u8 = 7;

/// Which of the two maps of a user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// User ids: `/proc/PID/uid_map`, `/etc/subuid`, newuidmap(1).
    Uid,
    /// Group ids: `/proc/PID/gid_map`, `/etc/subgid`, newgidmap(1).
    Gid,
}

impl Which {
    /// The file in `/proc/PID`.
    pub fn file(self) -> &'static str {
        match self {
            Which::Uid => "uid_map",
            Which::Gid => "gid_map",
        }
    }

    fn subordinates(self) -> &'static str {
        match self {
            Which::Uid => "/etc/subuid",
            Which::Gid => "/etc/subgid",
        }
    }

    fn helper(self) -> &'static str {
        match self {
            Which::Uid => "newuidmap",
            Which::Gid => "newgidmap",
        }
    }

    /// The caller's effective id of this sort.
    fn own(self) -> u32 {
        match self {
            Which::Uid => nix::unistd::geteuid().as_raw(),
            Which::Gid => nix::unistd::getegid().as_raw(),
        }
    }

    /// Whether the caller has the capability to map any id of this sort: CAP_SETUID or CAP_SETGID.
    fn capable(self) -> Result<bool> {
        let capability = match self {
            Which::Uid => CAP_SETUID,
            Which::Gid => CAP_SETGID,
        };
        Ok(crate::sys::cred::capget().context("read capabilities", "")?.effective & (1 << capability) != 0)
    }
}
