//! Socket and tun(4) ioctls.

use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use nix::sys::socket::{SockFlag, SockType};

use super::{check, owned};

/// A netlink socket that has been opened, as one of netlink-sys.
pub(crate) fn netlink_socket(fd: OwnedFd) -> netlink_sys::Socket {
    // SAFETY: the descriptor is open and passes to the socket.
    unsafe { netlink_sys::Socket::from_raw_fd(fd.into_raw_fd()) }
}

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
    let mut request = ifreq(name)?;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the kernel reads and writes one ifreq.
    check(unsafe { libc::ioctl(tun.as_fd().as_raw_fd(), libc::TUNSETIFF, &raw mut request) }.into()).map(drop)
}

/// A setting of an attached tun or tap interface that is a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunSetting {
    /// Whether it outlives its descriptor.
    #[doc(alias = "TUNSETPERSIST")]
    Persist,
    /// The user who may attach to it.
    #[doc(alias = "TUNSETOWNER")]
    User,
    /// The group that may.
    #[doc(alias = "TUNSETGROUP")]
    Group,
}

/// Changes a setting of an attached tun or tap interface.
///
/// # Errors
/// EBADFD: not attached yet. EINVAL: an id that is not mapped.
pub fn tun_set(tun: impl AsFd, setting: TunSetting, value: u32) -> nix::Result<()> {
    let request = match setting {
        TunSetting::Persist => libc::TUNSETPERSIST,
        TunSetting::User => libc::TUNSETOWNER,
        TunSetting::Group => libc::TUNSETGROUP,
    };
    // SAFETY: these take a number.
    check(unsafe { libc::ioctl(tun.as_fd().as_raw_fd(), request, libc::c_ulong::from(value)) }.into()).map(drop)
}

/// A socket; unlike nix's it takes any family and protocol.
///
/// # Errors
/// Those of socket(2).
pub fn socket(family: i32, kind: SockType, flags: SockFlag, protocol: i32) -> nix::Result<OwnedFd> {
    // SAFETY: takes numbers and returns a new descriptor.
    owned(unsafe { libc::socket(family, kind as i32 | flags.bits(), protocol) }.into())
}

/// Sets an option of a socket.
///
/// # Errors
/// ENOPROTOOPT: the socket has no such option. Others of setsockopt(2).
#[doc(alias = "setsockopt")]
pub fn set_option(socket: impl AsFd, level: i32, name: i32, value: &[u8]) -> nix::Result<()> {
    let length = value.len() as libc::socklen_t;
    // SAFETY: the kernel reads as many bytes as are there.
    check(unsafe { libc::setsockopt(socket.as_fd().as_raw_fd(), level, name, value.as_ptr().cast(), length) }.into())
        .map(drop)
}

/// The number of an interface in the network namespace of a socket.
///
/// # Errors
/// ENODEV: there is none of that name. EINVAL: the name does not fit.
#[doc(alias = "SIOCGIFINDEX")]
pub fn interface_index(socket: impl AsFd, name: &str) -> nix::Result<i32> {
    let mut request = ifreq(name)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the kernel reads and writes one ifreq.
    check(unsafe { libc::ioctl(fd, libc::SIOCGIFINDEX as libc::Ioctl, &raw mut request) }.into())?;
    // SAFETY: the call succeeded, so that this is the field that is set.
    Ok(unsafe { request.ifr_ifru.ifru_ifindex })
}

/// Binds a packet(7) socket to a protocol on one interface, or on all (0).
///
/// # Errors
/// Those of bind(2). ENODEV: there is no such interface.
#[doc(alias = "sockaddr_ll")]
pub fn bind_packet(socket: impl AsFd, protocol: u16, interface: i32) -> nix::Result<()> {
    // SAFETY: all zeroes is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = interface;
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the kernel reads one sockaddr_ll, whose length is given.
    check(unsafe { libc::bind(socket.as_fd().as_raw_fd(), (&raw const address).cast(), length) }.into()).map(drop)
}

/// An ifreq with this name.
fn ifreq(name: &str) -> nix::Result<libc::ifreq> {
    // SAFETY: all zeroes is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(nix::errno::Errno::EINVAL);
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}
