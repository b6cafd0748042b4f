//! The system calls that nix does not wrap, one thin safe function each.
//!
//! This is the only module with `unsafe`. A function takes borrowed descriptors and C strings, makes one call, and returns
//! the kernel's errno unchanged: what a failure means is for the module that knows what was attempted. Search by the name
//! of the system call; each function carries it as an alias.

#![allow(unsafe_code, reason = "this module is where all of it lives")]

pub mod clone;
pub mod cred;
pub mod exec;
pub mod fd;
pub mod loopdev;
pub mod mount;
pub mod net;
pub mod nsfs;
pub mod signal;
pub mod start;
pub mod tty;

use std::os::fd::{FromRawFd, OwnedFd};

use nix::errno::Errno;

/// The result of a raw system call as nix reports it.
fn check(ret: libc::c_long) -> nix::Result<libc::c_long> {
    if ret < 0 { Err(Errno::last()) } else { Ok(ret) }
}

/// The new descriptor that a raw system call returned.
fn owned(ret: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = check(ret)?;
    // SAFETY: the callers pass the result of calls that return a descriptor made for us, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}
