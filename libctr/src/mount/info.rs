//! Mounts as `/proc/self/mountinfo` shows them: see proc_pid_mountinfo(5).

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::plan::unescape;
use crate::error::Errno;
use crate::sys::mount::{mount_id, number_in_mountinfo};

/// One mount.
pub(super) struct Mount {
    pub(super) id: u64,
    parent: u64,
    pub(super) path: PathBuf,
    pub(super) attributes: Vec<String>,
    is_shared: bool,
    /// No copy of it can be made.
    is_unbindable: bool,
    /// It keeps a mount namespace, of which a new one gets no copy.
    is_namespace: bool,
}

/// All that this process sees.
pub(super) fn mounts() -> nix::Result<Vec<Mount>> {
    let text = std::fs::read("/proc/self/mountinfo")
        .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    let parse = |line: &[u8]| {
        let mut fields = line.split(|byte| *byte == b' ');
        let mut next = || fields.next();
        let number = |field: Option<&[u8]>| std::str::from_utf8(field?).ok()?.parse().ok();
        let (id, parent) = (number(next())?, number(next())?);
        let (_, root, path, attributes) = (next()?, next()?, unescape(next()?)?, next()?);
        let attributes = String::from_utf8_lossy(attributes).split(',').map(str::to_owned).collect();
        let tags: Vec<&[u8]> = std::iter::from_fn(next).take_while(|field| *field != b"-").collect();
        let (is_shared, is_unbindable) =
            (tags.iter().any(|tag| tag.starts_with(b"shared:")), tags.contains(&&b"unbindable"[..]));
        let path = OsString::from_vec(path).into();
        Some(Mount { id, parent, path, attributes, is_shared, is_unbindable, is_namespace: root.starts_with(b"mnt:[") })
    };
    Ok(text.split(|byte| *byte == b'\n').filter_map(parse).collect())
}

/// What is known of the mount that [`place`](crate::sys::mount::place) calls `mount`, if it is attached here.
fn find(mount: u64) -> nix::Result<Option<Mount>> {
    let id = match number_in_mountinfo(mount) {
        Ok(None) => return Ok(None),
        Ok(Some(id)) => id,
        // then it is the same number
        Err(_) => mount,
    };
    Ok(mounts()?.into_iter().find(|other| other.id == id))
}

/// Whether the mount that [`place`](crate::sys::mount::place) calls `mount` is attached here.
pub(super) fn is_attached(mount: u64) -> bool {
    // where it cannot be told, it may be
    number_in_mountinfo(mount)
        .map(|id| id.is_some())
        .or_else(|_| find(mount).map(|mount| mount.is_some()))
        .unwrap_or(true)
}

/// Where that mount is, from the root of this process.
pub(super) fn mount_point(mount: u64) -> nix::Result<Option<PathBuf>> {
    Ok(find(mount)?.map(|mount| mount.path))
}

/// The number `top` and those of all mounts below it.
pub(super) fn from(top: u64, all: &[Mount]) -> Vec<u64> {
    let mut wanted = vec![top];
    // a mount that was moved may come before the one that it is on
    let mut before = 0;
    while wanted.len() != before {
        before = wanted.len();
        let is_below = |mount: &&Mount| wanted.contains(&mount.parent) && !wanted.contains(&mount.id);
        let below: Vec<u64> = all.iter().filter(is_below).map(|mount| mount.id).collect();
        wanted.extend(below);
    }
    wanted
}

/// A mount at or below `mounted` that a copy of that would not have; `locked`: one that comes by way of another mount namespace.
pub(super) fn not_copied(mounted: impl AsFd, locked: bool) -> nix::Result<Option<PathBuf>> {
    let mut all = mounts()?;
    let wanted = from(mount_id(mounted)?, &all);
    let is_lost = |mount: &Mount| mount.is_unbindable || locked && mount.is_namespace;
    let lost = all.iter().position(|mount| wanted.contains(&mount.id) && is_lost(mount));
    Ok(lost.map(|index| all.swap_remove(index).path))
}

/// Whether one of these mounts is at or below `mounted`.
pub(super) fn holds_any(mounted: impl AsFd, others: &[u64]) -> nix::Result<bool> {
    let below = from(mount_id(mounted)?, &mounts()?);
    let id = |mount: &u64| number_in_mountinfo(*mount).unwrap_or(Some(*mount));
    Ok(others.iter().filter_map(id).any(|id| below.contains(&id)))
}

/// Whether what is mounted on `mounted` is seen elsewhere too, and the other way round.
pub(super) fn is_shared(mounted: impl AsFd) -> nix::Result<bool> {
    let id = mount_id(mounted)?;
    Ok(mounts()?.iter().any(|mount| mount.id == id && mount.is_shared))
}
