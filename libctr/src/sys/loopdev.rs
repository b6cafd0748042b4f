//! Loop devices, see loop(4).

use std::os::fd::{AsFd, AsRawFd};

use super::check;

const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_CLR_FD: libc::Ioctl = 0x4C01;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_info64` of linux/loop.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct LoopInfo64 {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    sizelimit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config` of linux/loop.h.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo64,
    reserved: [u64; 8],
}

/// The number of a loop device that was free at that moment; another process may take it first. `control` is
/// `/dev/loop-control`.
///
/// # Errors
/// ENOSPC: there is none and none can be made.
#[doc(alias = "LOOP_CTL_GET_FREE")]
pub fn loop_get_free(control: impl AsFd) -> nix::Result<u32> {
    // SAFETY: this ioctl takes no argument.
    check(unsafe { libc::ioctl(control.as_fd().as_raw_fd(), LOOP_CTL_GET_FREE) }.into()).map(|number| number as u32)
}

/// Backs an open loop device by `file`, to be freed with its last user (`LO_FLAGS_AUTOCLEAR`), read-only if asked (Linux 5.8).
///
/// # Errors
/// EBUSY: another process took the device first. EINVAL: older than 5.8. Others of loop(4).
#[doc(alias = "LOOP_CONFIGURE")]
pub fn loop_configure(device: impl AsFd, file: impl AsFd, read_only: bool) -> nix::Result<()> {
    // SAFETY: all zeroes is a valid loop_config.
    let mut config: LoopConfig = unsafe { std::mem::zeroed() };
    config.fd = file.as_fd().as_raw_fd() as u32;
    config.info.flags = LO_FLAGS_AUTOCLEAR | if read_only { LO_FLAGS_READ_ONLY } else { 0 };
    // SAFETY: the kernel reads one loop_config, laid out as in linux/loop.h.
    check(unsafe { libc::ioctl(device.as_fd().as_raw_fd(), LOOP_CONFIGURE, &raw const config) }.into()).map(drop)
}

/// Detaches an open loop device from its file.
///
/// # Errors
/// ENXIO: it has none.
#[doc(alias = "LOOP_CLR_FD")]
pub fn loop_clear(device: impl AsFd) -> nix::Result<()> {
    // SAFETY: this ioctl takes no argument.
    check(unsafe { libc::ioctl(device.as_fd().as_raw_fd(), LOOP_CLR_FD) }.into()).map(drop)
}
