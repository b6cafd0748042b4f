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

/// What names a namespace for as long as it lives, and nothing afterwards: the 64-bit id of its kernel handle, which is not
/// used again before the next boot (Linux 6.18).
///
/// # Errors
/// EOPNOTSUPP: older than 6.18. EBADF: not open, or `O_PATH`.
#[doc(alias = "name_to_handle_at")]
pub fn handle(fd: impl AsFd) -> nix::Result<NsHandle> {
    let mut handle = NsHandle { bytes: HANDLE_BYTES, kind: 0, id: 0, nstype: 0, inode: 0 };
    let mut mount = 0;
    let (fd, buffer) = (fd.as_fd().as_raw_fd(), (&raw mut handle).cast());
    // SAFETY: NsHandle is a file_handle with room for the bytes it says, and the path is empty and terminated.
    check(unsafe { libc::name_to_handle_at(fd, c"".as_ptr(), buffer, &raw mut mount, libc::AT_EMPTY_PATH) }.into())?;
    Ok(handle)
}

/// The namespace of a handle; `any` is a descriptor of any namespace.
///
/// # Errors
/// ESTALE: it is gone, or not the caller's to see. EOPNOTSUPP: older than Linux 6.18.
#[doc(alias = "open_by_handle_at")]
pub fn open_handle(any: impl AsFd, mut handle: NsHandle) -> nix::Result<OwnedFd> {
    let flags = libc::O_RDONLY | libc::O_CLOEXEC;
    // SAFETY: NsHandle is a file_handle with as many bytes as it says, and a success is a new descriptor.
    owned(unsafe { libc::open_by_handle_at(any.as_fd().as_raw_fd(), (&raw mut handle).cast(), flags) }.into())
}

const HANDLE_BYTES: u32 = 16;

/// A `struct file_handle` of nsfs, see linux/nsfs.h.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NsHandle {
    bytes: u32,
    kind: i32,
    id: u64,
    nstype: u32,
    inode: u32,
}

impl std::fmt::Display for NsHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}:{:x}:{:x}:{:x}", self.kind, self.id, self.nstype, self.inode)
    }
}

impl std::str::FromStr for NsHandle {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut fields = text.splitn(4, ':').map(|field| u64::from_str_radix(field, 16));
        let mut next = || fields.next().unwrap_or_else(|| u64::from_str_radix("", 16));
        let (kind, id, nstype, inode) = (next()?, next()?, next()?, next()?);
        Ok(NsHandle { bytes: HANDLE_BYTES, kind: kind as i32, id, nstype: nstype as u32, inode: inode as u32 })
    }
}
