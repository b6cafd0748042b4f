//! The limit of further user namespaces.

use std::os::fd::OwnedFd;

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::Mode;

use crate::error::{Context, Errno, Error, Fault, Object, Result};
use crate::ns::{Kind, Namespace};
use crate::sys::cred::{self, CapSets};

/// The limit of further user namespaces in the calling thread's own, `user.max_user_namespaces` of namespaces(7), open to be
/// written.
#[derive(Debug)]
pub struct UserNamespaceLimit(OwnedFd);

impl UserNamespaceLimit {
    /// Opens it, while `/proc/sys` can be written to.
    ///
    /// # Errors
    /// EPERM: in the initial user namespace it would hold for the whole machine. EACCES: CAP_SYS_RESOURCE is missing. EROFS,
    /// ENOENT: `/proc/sys` is read-only or not there.
    pub fn open() -> Result<UserNamespaceLimit> {
        /// `PROC_USER_INIT_INO` of linux/proc_ns.h, for ever the same.
        const INITIAL: u64 = 0xEFFF_FFFD;
        const LIMIT: &str = "/proc/sys/user/max_user_namespaces";
        if Namespace::current(Kind::User)?.id()?.1 == INITIAL {
            return Err(Error::new(Self::OPERATION, "", Errno::EPERM)
                .with_reason("this is the initial user namespace: it would hold for the whole machine")
                .with_hint("enter or make a user namespace first"));
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let file = openat(AT_FDCWD, LIMIT, flags, Mode::empty()).context("open", LIMIT)?;
        crate::process::verify_procfs(&file, LIMIT)?;
        Ok(UserNamespaceLimit(file))
    }

    /// Forbids further user namespaces to everything in this one, for good: the limit becomes 0, and the thread loses
    /// CAP_SYS_RESOURCE, which could change that, from its bounding set on. Then it is tried out. Allocates nothing.
    ///
    /// Whoever else has that capability in this user namespace could still raise the limit: this is for before the container's
    /// first process.
    ///
    /// # Errors
    /// EPERM: CAP_SYS_RESOURCE or CAP_SETPCAP is missing. EIO: one could still be made.
    #[doc(alias = "max_user_namespaces")]
    pub fn disable(&self) -> std::result::Result<(), Fault<'static>> {
        const CAP_SYS_RESOURCE: u8 = 24;
        let fault = |errno| Fault::new(Self::OPERATION, Object::None, errno);
        nix::unistd::write(&self.0, b"0").map_err(fault)?;
        cred::bounding_drop(CAP_SYS_RESOURCE).map_err(fault)?;
        let had = cred::capget().map_err(fault)?;
        let without = |set: u64| set & !(1 << CAP_SYS_RESOURCE);
        cred::capset(CapSets {
            effective: without(had.effective),
            permitted: without(had.permitted),
            inheritable: without(had.inheritable),
        })
        .map_err(fault)?;
        match unshare(CloneFlags::CLONE_NEWUSER) {
            Err(Errno::ENOSPC) => Ok(()),
            Err(errno) => Err(fault(errno).with_hint("one could not be tried out")),
            Ok(()) => Err(fault(Errno::EIO).with_hint("one could still be made")),
        }
    }

    const OPERATION: &'static str = "disable user namespaces";
}
