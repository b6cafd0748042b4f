//! [`open_in`]: what is opened in a namespace that the caller does not enter.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sched::{CloneFlags, setns};

use super::Kind;
use crate::error::{Errno, Error, Result};
use crate::sys;
use crate::sys::clone::{open_beside, open_elsewhere};

/// What `open` opens in a network or mount namespace, called `name` in messages. A child goes there, which has no descriptors but
/// `keep`. The caller needs the rights to enter it, or else to enter the user namespace that owns it, which the child then does
/// first. The inner result is that of `open`, which may neither allocate nor lock.
///
/// # Errors
/// EPERM: neither way is allowed. EINVAL: it is no namespace of this kind.
pub(crate) fn open_in(
    namespace: BorrowedFd<'_>,
    kind: Kind,
    name: &dyn fmt::Display,
    keep: &[BorrowedFd<'_>],
    open: &dyn Fn() -> nix::Result<OwnedFd>,
) -> Result<nix::Result<OwnedFd>> {
    let enter = || setns(namespace, kind.flag());
    let keep = [keep, &[namespace]].concat();
    let mut opened = match kind {
        // there is nobody in a network namespace: what matters is in whose user namespace one is
        Kind::Net => open_beside(&keep, &enter, open),
        _ => open_elsewhere(&keep, &enter, open),
    };
    if let Err(Errno::EPERM) = opened
        && let Ok(owner) = sys::nsfs::userns(namespace)
    {
        let go = || setns(&owner, CloneFlags::CLONE_NEWUSER).and_then(|()| enter());
        opened = open_elsewhere(&[&keep[..], &[owner.as_fd()]].concat(), &go, open);
        if let Err(Errno::EINVAL) = opened {
            // the caller is in that user namespace, without the rights
            opened = Err(Errno::EPERM);
        }
    }
    let (operation, reason) = match kind {
        Kind::Net => ("enter network namespace", "the descriptor is no network namespace"),
        _ => ("enter mount namespace", "the descriptor is no mount namespace"),
    };
    opened.map_err(|errno| {
        let error = Error::new(operation, name, errno);
        match errno {
            Errno::EPERM => error.with_hint(
                "this needs CAP_SYS_ADMIN in the caller's user namespace and in the one that owns it, or to be the owner of that one",
            ),
            Errno::EINVAL => error.with_reason(reason),
            _ => error,
        }
    })
}
