//! Socket and tun(4) ioctls.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use super::{check, owned};

/// The network namespace of a socket (Linux 4.9), close-on-exec.
///
/// # Errors
/// EPERM: no CAP_NET_ADMIN over it. ENOTTY, ENOTSOCK: not a socket.
#[doc(alias = "SIOCGSKNS")]
pub fn socket_netns(socket: impl AsFd) -> nix::Result<OwnedFd> {
    // SAFETY: this ioctl takes no argument and returns a new descriptor.
    owned(unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCGSKNS as libc::Ioctl) }.into())
}

/// Attaches an open `/dev/net/tun` to the interface `name`, made if missing. `flags`: `IFF_TUN` or `IFF_TAP` with `IFF_NO_PI`,
/// `IFF_MULTI_QUEUE`, `IFF_VNET_HDR`.
///
/// # Errors
/// EINVAL: the name does not fit. EBUSY: the interface is in use. EPERM: no CAP_NET_ADMIN.
#[doc(alias = "TUNSETIFF")]
pub fn tun_attach(tun: impl AsFd, name: &str, flags: i32) -> nix::Result<()> {
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(nix::errno::Errno::EINVAL);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the kernel reads and writes one ifreq.
    check(unsafe { libc::ioctl(tun.as_fd().as_raw_fd(), libc::TUNSETIFF, &raw mut request) }.into()).map(drop)
}

/// Makes a tun or tap interface outlive its descriptor, or not.
///
/// # Errors
/// EBADFD: not attached yet.
#[doc(alias = "TUNSETPERSIST")]
pub fn tun_persist(tun: impl AsFd, on: bool) -> nix::Result<()> {
    // SAFETY: takes a number.
    check(unsafe { libc::ioctl(tun.as_fd().as_raw_fd(), libc::TUNSETPERSIST, on as libc::c_ulong) }.into()).map(drop)
}
