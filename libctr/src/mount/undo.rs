//! Undoing what a plan has done, the last step first.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AtFlags, readlinkat};
use nix::mount::MsFlags;
use nix::sys::stat::{SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::info::{holds_any, is_attached, is_shared, mount_point, not_copied};
use super::journal::{Lock, Move, Step};
use super::resolve::{Root, shown};
use super::tree::{Tree, detach, propagate};
use crate::error::Errno;
use crate::sys::mount::{place, place_at};

/// What is left, in words.
pub fn could_not(left: &[String]) -> String {
    let more = if left.len() > 3 { format!(" and {} more", left.len() - 3) } else { String::new() };
    format!("could not be undone: {}{more}", left[..left.len().min(3)].join(", "))
}

/// Undoes the steps; returns what could not be undone.
pub(super) fn undo(steps: Vec<Step>, root: &Root) -> Vec<String> {
    let mounted = |step: &Step| if let Step::Mounted { mount, .. } = step { Some(*mount) } else { None };
    let own: Vec<u64> = steps.iter().filter_map(mounted).collect();
    let committed = steps.iter().any(|step| matches!(step, Step::Committed));
    let (mut locks, mut rest) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Locked(lock) => locks.push(lock),
            other => rest.push(other),
        }
    }
    // what was mounted on the root later is gone
    let topmost = || root.topmost();
    let is_anothers = |step: &Step| matches!(step, Step::Moved(step) if !own.contains(&step.mount));
    if committed && (rest.iter().any(is_anothers) || locks.iter().any(|lock| !lock.own)) {
        // what was there before is in the copies alone
        for lock in locks.iter().filter(|lock| is_attached(lock.mount)) {
            let _ = topmost().and_then(|root| find(&root, &lock.path, lock.original)?.map_or(Ok(()), detach));
        }
        return vec!["the plan, since mounts that were there before were being locked".to_owned()];
    }
    let uncovered =
        |locks: &mut Vec<Lock>| locks.retain(|lock| topmost().and_then(|root| lock.take_away(&root)) != Ok(true));
    uncovered(&mut locks);
    let mut left = Vec::new();
    // mounts that were there before, and are not back
    let mut kept: Vec<u64> = Vec::new();
    let mut busy = Vec::new();
    // files that others have written to
    let mut theirs: Vec<PathBuf> = Vec::new();
    for step in rest.into_iter().rev() {
        if matches!(&step, Step::Made { path, .. } if theirs.contains(path)) {
            continue;
        }
        let undone = topmost().and_then(|root| step.undo(&root, &own, &kept));
        match (undone, step) {
            (Ok(()), _) => {}
            // perhaps a copy is mounted on it
            (Err(Errno::EBUSY | Errno::ENOTEMPTY), step @ (Step::Making { .. } | Step::Made { .. }))
                if !locks.is_empty() =>
            {
                busy.push(step)
            }
            (Err(_), step) => {
                left.push(step.to_string());
                match step {
                    Step::Moved(step) => kept.push(step.mount),
                    Step::Written { path, .. } => theirs.push(path),
                    _ => {}
                }
            }
        }
        uncovered(&mut locks);
    }
    for lock in locks {
        if topmost().and_then(|root| lock.undo(&root)).is_err() {
            left.push(format!("lock of {}", shown(&lock.path)));
        }
    }
    for step in busy {
        if topmost().and_then(|root| step.undo(&root, &own, &kept)).is_err() {
            left.push(step.to_string());
        }
    }
    left
}

/// What is mounted at `path`, if that is `mount`.
fn open(root: &Root, path: &Path, mount: u64) -> nix::Result<Option<OwnedFd>> {
    let found = root.resolve(path)?;
    let place = place(&found)?;
    Ok((place.mount == mount && place.is_root).then_some(found))
}

/// What is mounted at `path`, if that is `mount`; or where that mount is now, if it is on top there.
fn find(root: &Root, path: &Path, mount: u64) -> nix::Result<Option<OwnedFd>> {
    let found = open(root, path, mount);
    if matches!(found, Ok(Some(_))) || !is_attached(mount) {
        return Ok(found.unwrap_or(None));
    }
    // the way leads through what was mounted since, perhaps over itself
    let real = mount_point(mount)?.and_then(|path| root.below(&path));
    match real.map_or(found, |path| open(root, &path, mount))? {
        // covered by another
        None => Err(Errno::EBUSY),
        found => Ok(found),
    }
}

/// Whether it is one, or a directory, which is removed only if it is empty.
fn is_empty_file(parent: &OwnedFd, name: &CStr) -> nix::Result<bool> {
    let stat = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
    Ok(kind == SFlag::S_IFDIR || kind == SFlag::S_IFREG && stat.st_size == 0)
}

/// Puts a copy of what is mounted there at the place that `target` finds when it is gone; else back where it was.
fn put_copy(
    root: &Root,
    mounted: OwnedFd,
    path: &Path,
    target: impl FnOnce() -> nix::Result<OwnedFd>,
) -> nix::Result<()> {
    if not_copied(&mounted, false)?.is_some() {
        return Err(Errno::EBUSY);
    }
    let (copy, shared) = (Tree::copy(&mounted)?, is_shared(&mounted)?);
    detach(mounted)?;
    let done = target().and_then(|target| copy.attach(target)).or_else(|errno| {
        copy.attach(root.topmost()?.resolve(path)?)?;
        Err(errno)
    });
    if shared {
        propagate(&copy, MsFlags::MS_REC | MsFlags::MS_SHARED)?;
    }
    done
}

/// Removes what is at `path`, an empty directory or something else, if it `is_ours`.
fn unmake(root: &Root, path: &Path, is_ours: impl Fn(&OwnedFd, &CStr) -> nix::Result<bool>) -> nix::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
    let remove = || {
        let parent = root.resolve(parent)?;
        if is_ours(&parent, &name)? {
            let remove = |how| unlinkat(&parent, name.as_c_str(), how);
            return match remove(UnlinkatFlags::RemoveDir) {
                Err(Errno::ENOTDIR) => remove(UnlinkatFlags::NoRemoveDir),
                other => other,
            };
        }
        Ok(())
    };
    match remove() {
        // gone with what it was in
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(()),
        other => other,
    }
}

impl Lock {
    /// Detaches the copy where nothing is on top of it and the original is the plan's, or elsewhere; says whether it did.
    fn take_away(&self, root: &Root) -> nix::Result<bool> {
        match find(root, &self.path, self.mount)? {
            Some(copy) if self.own || is_attached(self.original) => detach(copy).map(|()| true),
            _ => Ok(false),
        }
    }

    /// When all that was done in the original is undone, another copy of it can be in its place, with none beneath.
    fn undo(&self, root: &Root) -> nix::Result<()> {
        match find(root, &self.path, self.original)? {
            _ if !is_attached(self.mount) => {
                if self.own || is_attached(self.original) {
                    Ok(())
                } else {
                    Err(Errno::ENOENT)
                }
            }
            Some(original) => put_copy(root, original, &self.path, || {
                find(root, &self.path, self.mount)?.map_or(Ok(()), detach)?;
                root.resolve(&self.path)
            }),
            None => Err(Errno::ENOENT),
        }
    }
}

impl Move {
    /// `own`: the plan has mounted it.
    fn undo(&self, root: &Root, own: bool) -> nix::Result<()> {
        if self.back.is_none() && matches!(open(root, &self.from, self.mount), Ok(Some(_))) {
            // it was not moved yet
            return Ok(());
        }
        let mounted = find(root, &self.to, self.mount)?.ok_or(Errno::ENOENT)?;
        let back = |root: &Root| match &self.back {
            Some(back) => back.try_clone().map_err(|_| Errno::EMFILE),
            None => root.resolve(&self.from),
        };
        let again = mounted.as_fd().try_clone_to_owned().map_err(|_| Errno::EMFILE)?;
        match back(root).and_then(|back| Tree::from_fd(again).attach(back)) {
            Ok(()) => Ok(()),
            // what is below a shared mount cannot be moved; nor can be found what it covers
            Err(_) if own => detach(mounted),
            Err(_) => put_copy(root, mounted, &self.to, || back(&root.topmost()?)),
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::Mounted { path, .. } => write!(f, "mount at {}", shown(path)),
            Step::Moved(step) => write!(f, "move of {} to {}", shown(&step.from), shown(&step.to)),
            Step::Locked(lock) => write!(f, "lock of {}", shown(&lock.path)),
            Step::Making { path, .. } | Step::Made { path, .. } => f.write_str(&shown(path)),
            Step::Written { path, .. } => write!(f, "{}, to which others have written", shown(path)),
            Step::Committed => f.write_str("locks"),
        }
    }
}

impl Step {
    fn undo(&self, root: &Root, own: &[u64], kept: &[u64]) -> nix::Result<()> {
        match self {
            Step::Mounted { path, mount } => match find(root, path, *mount)? {
                Some(mounted) if !kept.is_empty() && holds_any(&mounted, kept)? => Err(Errno::EBUSY),
                mounted => mounted.map_or(Ok(()), detach),
            },
            Step::Moved(step) => step.undo(root, own.contains(&step.mount)),
            // where it was not yet seen it is the plan's only if nobody has put anything into it
            Step::Making { path, link } => unmake(root, path, |parent, name| {
                Ok(is_empty_file(parent, name)? || readlinkat(parent, name).is_ok_and(|text| *text == **link))
            }),
            Step::Made { path, file } => unmake(root, path, |parent, name| {
                place_at(parent, name).map(|place| (place.device, place.inode) == *file)
            }),
            Step::Written { path, at } => match root.resolve(path).and_then(fstat) {
                Ok(stat) if [stat.st_mtime, stat.st_mtime_nsec, stat.st_size] != *at => Err(Errno::ETXTBSY),
                Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => Ok(()),
                Err(errno) => Err(errno),
            },
            Step::Locked(_) | Step::Committed => Ok(()),
        }
    }
}
