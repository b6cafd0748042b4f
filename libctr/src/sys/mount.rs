//! Mounts as descriptors: open_tree(2), fsopen(2), fsconfig(2), fsmount(2), move_mount(2), mount_setattr(2).

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::null;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use super::{check, owned};

pub use libc::{
    AT_EMPTY_PATH, AT_RECURSIVE, AT_SYMLINK_NOFOLLOW, FSPICK_EMPTY_PATH, MOUNT_ATTR__ATIME, MOUNT_ATTR_IDMAP,
    MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY, MOUNT_ATTR_RELATIME, MOUNT_ATTR_STRICTATIME, MOVE_MOUNT_BENEATH,
    MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH, OPEN_TREE_CLONE, mount_attr,
};

/// Opens the mount at `path` below `dir` (Linux 5.2); with [`OPEN_TREE_CLONE`] a detached copy of it, with [`AT_RECURSIVE`]
/// of all below it too. Close-on-exec. `flags`: those and `AT_*`.
///
/// # Errors
/// EPERM: cloning needs CAP_SYS_ADMIN over the mount namespace. EINVAL: a single mount that covers locked ones, or a detached
/// source before Linux 6.15. Others of open_tree(2).
pub fn open_tree(dir: impl AsFd, path: &CStr, flags: u32) -> nix::Result<OwnedFd> {
    let flags = flags | libc::O_CLOEXEC as u32;
    // SAFETY: `path` is a C string that outlives the call.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir.as_fd().as_raw_fd(), path.as_ptr(), flags) })
}

/// Attaches or moves the mount at `from` to `to` (Linux 5.2). `flags`: `MOVE_MOUNT_*`.
///
/// # Errors
/// EINVAL: a locked mount, a shared parent, or a target in another mount namespace. Others of move_mount(2).
pub fn move_mount(
    from_dir: impl AsFd,
    from_path: &CStr,
    to_dir: impl AsFd,
    to_path: &CStr,
    flags: u32,
) -> nix::Result<()> {
    let (from, to) = (from_dir.as_fd().as_raw_fd(), to_dir.as_fd().as_raw_fd());
    // SAFETY: both paths are C strings that outlive the call.
    check(unsafe { libc::syscall(libc::SYS_move_mount, from, from_path.as_ptr(), to, to_path.as_ptr(), flags) })
        .map(drop)
}

/// A configuration context for a new instance of filesystem `fstype` (Linux 5.2), close-on-exec. Reading the descriptor
/// gives the kernel's messages.
///
/// # Errors
/// ENODEV: the kernel has no such filesystem. EPERM: no CAP_SYS_ADMIN over the mount namespace.
pub fn fsopen(fstype: &CStr) -> nix::Result<OwnedFd> {
    // SAFETY: `fstype` is a C string that outlives the call.
    owned(unsafe { libc::syscall(libc::SYS_fsopen, fstype.as_ptr(), libc::FSOPEN_CLOEXEC) })
}

/// A configuration context for the filesystem that is mounted at `path` (Linux 5.2), to reconfigure it. Close-on-exec.
///
/// # Errors
/// EINVAL: not a mount point. EPERM: the filesystem belongs to another user namespace.
pub fn fspick(dir: impl AsFd, path: &CStr, flags: u32) -> nix::Result<OwnedFd> {
    let flags = flags | libc::FSPICK_CLOEXEC;
    // SAFETY: `path` is a C string that outlives the call.
    owned(unsafe { libc::syscall(libc::SYS_fspick, dir.as_fd().as_raw_fd(), path.as_ptr(), flags) })
}

/// One step of [`fsconfig`].
#[derive(Clone, Copy, Debug)]
pub enum Config<'a> {
    /// An option without a value: `FSCONFIG_SET_FLAG`.
    Flag(&'a CStr),
    /// `key=value`: `FSCONFIG_SET_STRING`.
    String(&'a CStr, &'a CStr),
    /// A value that is a descriptor: `FSCONFIG_SET_FD`.
    Fd(&'a CStr, BorrowedFd<'a>),
    /// Make the filesystem: `FSCONFIG_CMD_CREATE`.
    Create,
    /// Change the filesystem: `FSCONFIG_CMD_RECONFIGURE`.
    Reconfigure,
}

/// Sets one option of a configuration context, or carries it out (Linux 5.2).
///
/// # Errors
/// EINVAL: the filesystem does not know the option or refuses its value; the context's messages say more. Others of
/// fsconfig(2) and of the filesystem.
pub fn fsconfig(context: impl AsFd, config: Config<'_>) -> nix::Result<()> {
    let none = null();
    let (command, key, value, aux) = match config {
        Config::Flag(key) => (libc::FSCONFIG_SET_FLAG, key.as_ptr(), none, 0),
        Config::String(key, value) => (libc::FSCONFIG_SET_STRING, key.as_ptr(), value.as_ptr(), 0),
        Config::Fd(key, fd) => (libc::FSCONFIG_SET_FD, key.as_ptr(), none, fd.as_raw_fd()),
        Config::Create => (libc::FSCONFIG_CMD_CREATE, none, none, 0),
        Config::Reconfigure => (libc::FSCONFIG_CMD_RECONFIGURE, none, none, 0),
    };
    let context = context.as_fd().as_raw_fd();
    // SAFETY: key and value are null where the command takes none, else C strings that outlive the call.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, context, command, key, value, aux) }).map(drop)
}

/// The detached mount of a configured filesystem (Linux 5.2), close-on-exec. `attributes`: `MOUNT_ATTR_*`.
///
/// # Errors
/// EPERM: the mount would reveal more than the ones that are visible (proc, sysfs). Others of fsmount(2).
pub fn fsmount(context: impl AsFd, attributes: u64) -> nix::Result<OwnedFd> {
    let context = context.as_fd().as_raw_fd();
    // SAFETY: takes numbers only.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, context, libc::FSMOUNT_CLOEXEC, attributes as u32) })
}

/// Changes the attributes or the propagation of a mount, with [`AT_RECURSIVE`] of the whole tree, all or none (Linux 5.12).
///
/// # Errors
/// EPERM: a locked attribute would be cleared, or an id-mapped mount is not allowed. EINVAL: not a mount point, or an
/// unknown attribute. ENOSYS: older than 5.12. Others of mount_setattr(2).
pub fn mount_setattr(dir: impl AsFd, path: &CStr, flags: u32, attr: &mount_attr) -> nix::Result<()> {
    let dir = dir.as_fd().as_raw_fd();
    let attr: *const mount_attr = attr;
    let size = size_of::<mount_attr>();
    // SAFETY: `path` and `attr` outlive the call; `size` is that of `attr`.
    check(unsafe { libc::syscall(libc::SYS_mount_setattr, dir, path.as_ptr(), flags, attr, size) }).map(drop)
}

/// What identifies a file or directory as it is reached: its filesystem, its inode, and the mount that it is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Major and minor number of the filesystem's device.
    pub device: (u32, u32),
    /// Its inode.
    pub inode: u64,
    /// The mount: a number that no other mount ever has, where [`number_in_mountinfo`] can be asked about it (Linux 6.8, and no
    /// filter forbids that); else the one in `/proc/PID/mountinfo`.
    pub mount: u64,
    /// Whether it is the root of that mount.
    pub is_root: bool,
}

fn stat(dir: impl AsFd, path: &CStr, mask: u32) -> nix::Result<libc::statx> {
    // SAFETY: all zeroes is a valid statx.
    let mut stat: libc::statx = unsafe { std::mem::zeroed() };
    let (dir, flags) = (dir.as_fd().as_raw_fd(), AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
    // SAFETY: the path is a C string that outlives the call, and the kernel fills `stat`.
    check(unsafe { libc::statx(dir, path.as_ptr(), flags, mask, &raw mut stat) }.into())?;
    if stat.stx_mask & (libc::STATX_MNT_ID | libc::STATX_MNT_ID_UNIQUE) == 0 {
        return Err(nix::errno::Errno::ENOSYS);
    }
    Ok(stat)
}

/// Where `fd` is (Linux 5.8).
///
/// # Errors
/// ENOSYS: older than 5.8. What statx(2) says.
#[doc(alias = "statx")]
pub fn place(fd: impl AsFd) -> nix::Result<Place> {
    place_at(fd, c"")
}

/// Where `path` below `dir` is, a link itself (Linux 5.8).
///
/// # Errors
/// As [`place`].
pub fn place_at(dir: impl AsFd, path: &CStr) -> nix::Result<Place> {
    let unique = if can_ask() { libc::STATX_MNT_ID_UNIQUE } else { 0 };
    let stat = stat(dir, path, libc::STATX_MNT_ID | unique | libc::STATX_INO)?;
    Ok(Place {
        device: (stat.stx_dev_major, stat.stx_dev_minor),
        inode: stat.stx_ino,
        mount: stat.stx_mnt_id,
        is_root: stat.stx_attributes & libc::STATX_ATTR_MOUNT_ROOT as u64 != 0,
    })
}

/// The number of the mount that `fd` is on, as in `/proc/PID/mountinfo` (Linux 5.8).
///
/// # Errors
/// As [`place`].
pub fn mount_id(fd: impl AsFd) -> nix::Result<u64> {
    stat(fd, c"", libc::STATX_MNT_ID).map(|stat| stat.stx_mnt_id)
}

/// Which number `/proc/self/mountinfo` has for a mount that [`place`] has another one for (Linux 6.8); `None` where it is not
/// attached in the caller's mount namespace.
///
/// # Errors
/// ENOSYS, EPERM: older than 6.8, or a filter forbids it. Others of statmount(2).
#[doc(alias = "statmount")]
pub fn number_in_mountinfo(mount: u64) -> nix::Result<Option<u64>> {
    const SYS_STATMOUNT: libc::c_long = 457;
    /// `STATMOUNT_MNT_BASIC`.
    const BASIC: u64 = 2;
    /// `struct mnt_id_req` of linux/mount.h.
    #[repr(C)]
    struct Request {
        size: u32,
        spare: u32,
        mount: u64,
        wanted: u64,
    }
    let request = Request { size: size_of::<Request>() as u32, spare: 0, mount, wanted: BASIC };
    let mut answer = [0_u32; 128];
    let size = size_of_val(&answer);
    // SAFETY: the kernel reads as much of `request` as that says, and writes at most `size` bytes to `answer`.
    match check(unsafe { libc::syscall(SYS_STATMOUNT, &raw const request, answer.as_mut_ptr(), size, 0) }) {
        // `mnt_id_old` of struct statmount, 32 bits
        Ok(_) => Ok(Some(u64::from(answer[14]))),
        Err(nix::errno::Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Whether [`number_in_mountinfo`] says anything.
fn can_ask() -> bool {
    // not a lock: a child of a program with threads may come here
    static ANSWER: AtomicU8 = AtomicU8::new(0);
    if ANSWER.load(Relaxed) == 0 {
        let can = number_in_mountinfo(u64::MAX) == Ok(None);
        ANSWER.store(if can { 1 } else { 2 }, Relaxed);
    }
    ANSWER.load(Relaxed) == 1
}
