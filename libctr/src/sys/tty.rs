//! Terminal ioctls: see ioctl_tty(2). What nix has of termios(3) is used from there.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::{check, owned};

/// Lets the other end of a pseudo-terminal be opened.
///
/// # Errors
/// ENOTTY: not the master of one.
#[doc(alias = "TIOCSPTLCK")]
#[doc(alias = "unlockpt")]
pub fn unlock(master: impl AsFd) -> nix::Result<()> {
    let locked: libc::c_int = 0;
    // SAFETY: the kernel reads one int.
    check(unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCSPTLCK, &raw const locked) }.into()).map(drop)
}

/// The other end of a pseudo-terminal (Linux 4.13), whatever is at its path; close-on-exec.
///
/// # Errors
/// ENOTTY: not the master of one. EIO: it is locked.
#[doc(alias = "TIOCGPTPEER")]
pub fn peer(master: impl AsFd) -> nix::Result<OwnedFd> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: takes a number and returns a new descriptor.
    owned(unsafe { libc::ioctl(master.as_fd().as_raw_fd(), libc::TIOCGPTPEER, flags) }.into())
}

/// Makes a terminal the controlling one of the calling process's session, whose leader it is.
///
/// # Errors
/// EPERM: not a session leader, or there is a controlling terminal, or it is that of another session.
#[doc(alias = "TIOCSCTTY")]
pub fn make_controlling(terminal: impl AsFd) -> nix::Result<()> {
    // SAFETY: takes a number.
    check(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0) }.into()).map(drop)
}

/// Gives one terminal the size of another, in characters; its foreground processes get a SIGWINCH.
///
/// # Errors
/// ENOTTY: one of them is no terminal.
#[doc(alias = "TIOCSWINSZ")]
pub fn copy_size(from: impl AsFd, to: impl AsFd) -> nix::Result<()> {
    // SAFETY: all zeroes is a valid winsize.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one winsize.
    check(unsafe { libc::ioctl(from.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) }.into())?;
    // SAFETY: the kernel reads one winsize.
    check(unsafe { libc::ioctl(to.as_fd().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }.into()).map(drop)
}
