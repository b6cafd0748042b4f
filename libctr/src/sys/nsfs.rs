//! What a namespace file tells of itself: the ioctls of ioctl_nsfs(2), and of a pidfd (Linux 6.11).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::{check, owned};

/// The `CLONE_NEW*` flag of a namespace file's kind (Linux 4.11).
///
/// # Errors
/// ENOTTY: not a namespace file.
#[doc(alias = "NS_GET_NSTYPE")]
pub fn nstype(fd: impl AsFd) -> nix::Result<i32> {
    // SAFETY: this ioctl takes no argument.
    let flag = check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::NS_GET_NSTYPE) }.into())?;
    Ok(flag as i32)
}

/// The user namespace that owns a namespace (Linux 4.9), close-on-exec.
///
/// # Errors
/// EPERM: it is not the caller's user namespace or one below it. ENOTTY: not a namespace file.
#[doc(alias = "NS_GET_USERNS")]
pub fn userns(fd: impl AsFd) -> nix::Result<OwnedFd> {
    // SAFETY: this ioctl takes no argument and returns a new descriptor.
    owned(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::NS_GET_USERNS) }.into())
}

/// The parent of a user or pid namespace (Linux 4.9), close-on-exec.
///
/// # Errors
/// EPERM: the parent is out of the caller's sight. EINVAL: this kind has no parents.
#[doc(alias = "NS_GET_PARENT")]
pub fn parent(fd: impl AsFd) -> nix::Result<OwnedFd> {
    // SAFETY: this ioctl takes no argument and returns a new descriptor.
    owned(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::NS_GET_PARENT) }.into())
}

/// The user id, seen from the caller, that owns a user namespace (Linux 4.11).
///
/// # Errors
/// EINVAL: not a user namespace.
#[doc(alias = "NS_GET_OWNER_UID")]
pub fn owner_uid(fd: impl AsFd) -> nix::Result<u32> {
    let mut uid: libc::uid_t = 0;
    // SAFETY: the kernel stores one uid_t there.
    check(unsafe { libc::ioctl(fd.as_fd().as_raw_fd(), libc::NS_GET_OWNER_UID, &raw mut uid) }.into())?;
    Ok(uid)
}
