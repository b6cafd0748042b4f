//! Descriptors by number: those that a program inherits, and close_range(2).

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit};

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

/// Closes every descriptor from `first` on but these, one by one where close_range(2) is missing or filtered. Allocates nothing.
///
/// Only for a new child, like [`close_range`].
pub(crate) fn close_from(first: RawFd, keep: &[RawFd]) {
    let mut next = first as u32;
    loop {
        let kept = keep.iter().map(|number| *number as u32).filter(|number| *number >= next).min();
        let closed = match kept {
            Some(number) if number == next => Ok(()),
            Some(number) => close_range(next, number - 1),
            None => close_range(next, u32::MAX),
        };
        if closed.is_err() {
            numbers_from(first).filter(|number| !keep.contains(number)).for_each(close);
            return;
        }
        match kept {
            Some(number) => next = number + 1,
            None => return,
        }
    }
}

/// Marks every descriptor from `first` on close-on-exec, as [`close_from`] closes them. Allocates nothing.
pub(crate) fn cloexec_from(first: RawFd) {
    if cloexec_range(first as u32, u32::MAX).is_err() {
        for number in numbers_from(first) {
            let _ = set_cloexec(number, true);
        }
    }
}

/// Those that a descriptor can have.
fn numbers_from(first: RawFd) -> std::ops::Range<RawFd> {
    first..getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(_, hard)| hard.min(1 << 20)) as RawFd
}

/// Sends two bytes, and perhaps a descriptor, through a unix socket. Allocates nothing.
///
/// # Errors
/// EPIPE: the other end is closed. ETOOMANYREFS: too many descriptors are on their way.
#[doc(alias = "sendmsg")]
#[doc(alias = "SCM_RIGHTS")]
pub(crate) fn send(socket: BorrowedFd<'_>, mut bytes: [u8; 2], fd: Option<BorrowedFd<'_>>) -> nix::Result<()> {
    use std::os::fd::AsRawFd;
    #[repr(C)]
    struct Control {
        header: libc::cmsghdr,
        fd: libc::c_int,
    }
    // SAFETY: all zeroes is valid for these three, also for the fields that only some C libraries have.
    let (mut message, mut control): (libc::msghdr, Control) = unsafe { std::mem::zeroed() };
    let mut data = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    message.msg_iov = &raw mut data;
    message.msg_iovlen = 1;
    if let Some(fd) = fd {
        control.header.cmsg_len = (std::mem::offset_of!(Control, fd) + size_of::<libc::c_int>()) as _;
        control.header.cmsg_level = libc::SOL_SOCKET;
        control.header.cmsg_type = libc::SCM_RIGHTS;
        control.fd = fd.as_raw_fd();
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = size_of::<Control>() as _;
    }
    // SAFETY: `message` points to what lives until after the call.
    check(unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) } as _).map(drop)
}

/// Waits for what [`send`] sent; `None` where the other end was closed instead.
///
/// # Errors
/// EMFILE: there is no room for the descriptor.
pub(crate) fn receive(socket: BorrowedFd<'_>) -> nix::Result<Option<([u8; 2], Option<OwnedFd>)>> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    use std::os::fd::AsRawFd;
    let mut bytes = [0; 2];
    let mut data = [std::io::IoSliceMut::new(&mut bytes)];
    let mut space = nix::cmsg_space!(RawFd);
    let message = loop {
        match recvmsg::<()>(socket.as_raw_fd(), &mut data, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    let count = message.bytes;
    if message.flags.contains(MsgFlags::MSG_CTRUNC) {
        return Err(Errno::EMFILE);
    }
    let fd = message.cmsgs()?.find_map(|control| match control {
        // SAFETY: the kernel has just made it for us.
        ControlMessageOwned::ScmRights(fds) => fds.first().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }),
        _ => None,
    });
    Ok((count == bytes.len()).then_some((bytes, fd)))
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
