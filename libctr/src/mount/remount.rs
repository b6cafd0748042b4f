//! Attributes of attached mounts where mount_setattr(2) is missing (before Linux 5.12) or filtered: one remount each.

use std::ffi::CStr;
use std::os::fd::AsFd;

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;

use super::info::{Mount, from, mounts};
use super::tree::{Attributes, with_path};
use crate::error::Errno;
use crate::sys::mount::mount_id;

/// What mount(2) calls each attribute, by the name that mountinfo has for it.
const FLAGS: [(&str, MsFlags); 8] = [
    ("ro", MsFlags::MS_RDONLY),
    ("nosuid", MsFlags::MS_NOSUID),
    ("nodev", MsFlags::MS_NODEV),
    ("noexec", MsFlags::MS_NOEXEC),
    ("nosymfollow", MsFlags::from_bits_retain(256)),
    ("noatime", MsFlags::MS_NOATIME),
    ("nodiratime", MsFlags::MS_NODIRATIME),
    ("relatime", MsFlags::MS_RELATIME),
];

/// The flags of mount(2) for what mountinfo shows.
fn flags(attributes: &[String]) -> MsFlags {
    let set = |(name, _): &&(&str, MsFlags)| attributes.iter().any(|attribute| attribute == name);
    FLAGS.iter().filter(set).fold(MsFlags::empty(), |flags, (_, flag)| flags | *flag)
}

/// Remounts the mount whose root `mounted` is, with `recursive` all below it too, keeping every attribute that is there and is
/// not to be cleared: a locked one could not be left out. What mountinfo shows afterwards is compared.
///
/// # Errors
/// Those of mount(2) with `MS_REMOUNT | MS_BIND`; EIO: an attribute is not there afterwards.
pub(super) fn set(mounted: impl AsFd, attributes: Attributes, recursive: bool) -> nix::Result<()> {
    let top = mount_id(mounted.as_fd())?;
    let all = mounts()?;
    let wanted = if recursive { from(top, &all) } else { vec![top] };
    for mount in all.iter().filter(|mount| wanted.contains(&mount.id)) {
        remount(mount, &mounted, mount.id == top, attributes)?;
    }
    // what mountinfo cannot show is left out
    let shown = |flags: MsFlags| flags.difference(MsFlags::MS_STRICTATIME);
    let now = mounts()?;
    let as_wanted = |before: &Mount| {
        let after = now.iter().find(|mount| mount.id == before.id).map(|mount| flags(&mount.attributes));
        after == Some(shown(attributes.of(flags(&before.attributes))))
    };
    if all.iter().filter(|mount| wanted.contains(&mount.id)).all(as_wanted) { Ok(()) } else { Err(Errno::EIO) }
}

fn remount(info: &Mount, top: &impl AsFd, is_top: bool, attributes: Attributes) -> nix::Result<()> {
    let opened = if is_top {
        top.as_fd().try_clone_to_owned().map_err(|_| Errno::EMFILE)?
    } else {
        openat(AT_FDCWD, &info.path, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?
    };
    // something else may be mounted over it meanwhile
    if mount_id(&opened)? != info.id {
        return Err(Errno::ESTALE);
    }
    let flags = attributes.of(flags(&info.attributes)) | MsFlags::MS_REMOUNT | MsFlags::MS_BIND;
    with_path(opened.as_fd(), |path| mount(None::<&CStr>, path, None::<&CStr>, flags, None::<&CStr>))
}
