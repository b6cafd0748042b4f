//! Descriptors by number: those that a program inherits, and close_range(2).

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};

use super::check;

/// A close-on-exec duplicate, numbered `min` or higher, of the descriptor that has this number now.
///
/// # Errors
/// EBADF: it is not open. EMFILE: the table is full.
#[doc(alias = "F_DUPFD_CLOEXEC")]
pub fn duplicate(number: RawFd, min: RawFd) -> nix::Result<OwnedFd> {
    let fd = borrow(number)?;
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(min))?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Sets or clears the close-on-exec flag of a descriptor by number.
///
/// # Errors
/// EBADF: it is not open.
#[doc(alias = "FD_CLOEXEC")]
pub fn set_cloexec(number: RawFd, on: bool) -> nix::Result<()> {
    let flags = if on { FdFlag::FD_CLOEXEC } else { FdFlag::empty() };
    fcntl(borrow(number)?, FcntlArg::F_SETFD(flags)).map(drop)
}

/// Whether a descriptor of this number is open.
pub fn is_open(number: RawFd) -> bool {
    borrow(number).is_ok_and(|fd| fcntl(fd, FcntlArg::F_GETFD).is_ok())
}

/// Puts a duplicate of `from` at number `to`, inheritable, replacing what was there. Both may be the same.
///
/// Only for the moment before execve(2), or in a new child: what owned `to` in this process now refers to something else.
///
/// # Errors
/// EBADF: `from` is not open, or `to` is beyond RLIMIT_NOFILE.
#[doc(alias = "dup2")]
pub(crate) fn place(from: BorrowedFd<'_>, to: RawFd) -> nix::Result<()> {
    use std::os::fd::AsRawFd;
    if from.as_raw_fd() == to {
        return set_cloexec(to, false);
    }
    // SAFETY: takes numbers only; see above for what `to` means to its owner.
    check(unsafe { libc::dup2(from.as_raw_fd(), to) }.into()).map(drop)
}

/// Makes the number of `at` refer to `file`, close-on-exec: whoever owns that number owns `file` from now on.
///
/// # Errors
/// EINTR, EBUSY: see dup3(2).
#[doc(alias = "dup3")]
pub(crate) fn replace(file: OwnedFd, at: BorrowedFd<'_>) -> nix::Result<()> {
    use std::os::fd::AsRawFd;
    // SAFETY: takes numbers only; the number stays that of an open descriptor all the time.
    check(unsafe { libc::dup3(file.as_raw_fd(), at.as_raw_fd(), libc::O_CLOEXEC) }.into()).map(drop)
}

/// Closes every descriptor from `first` to `last`, both included (Linux 5.9).
///
/// Only for the moment before execve(2), or in a new child: whoever owned them in this process owns nothing afterwards.
///
/// # Errors
/// ENOSYS, EPERM: missing or filtered. EINVAL: `first` is larger than `last`.
pub(crate) fn close_range(first: u32, last: u32) -> nix::Result<()> {
    // SAFETY: takes numbers only; see above for what it means to the owners.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Marks every descriptor from `first` to `last` close-on-exec (Linux 5.11).
///
/// # Errors
/// ENOSYS, EPERM: missing or filtered. EINVAL: older than 5.11, or `first` is larger than `last`.
#[doc(alias = "close_range")]
#[doc(alias = "CLOSE_RANGE_CLOEXEC")]
pub fn cloexec_range(first: u32, last: u32) -> nix::Result<()> {
    // SAFETY: takes numbers only, and closes nothing now.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, last, libc::CLOSE_RANGE_CLOEXEC) }).map(drop)
}

/// Closes one descriptor by number; an error of close(2) says nothing, the number is free afterwards.
///
/// Only for the moment before execve(2), or in a new child, like [`close_range`].
pub(crate) fn close(number: RawFd) {
    // SAFETY: takes a number only; see above for what it means to the owner.
    unsafe { libc::close(number) };
}

fn borrow<'a>(number: RawFd) -> nix::Result<BorrowedFd<'a>> {
    if number < 0 {
        return Err(Errno::EBADF);
    }
    // SAFETY: not -1. It is used for one fcntl within this module, which answers EBADF where it is not open.
    Ok(unsafe { BorrowedFd::borrow_raw(number) })
}
