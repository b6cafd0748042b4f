//! What a plan has done, to be undone in the other order: in memory, and on request in a [`Record`] for another process.

use std::ffi::{CStr, CString, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::fcntl::AtFlags;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{SFlag, fstatat};
use nix::sys::uio::pread;
use nix::unistd::{UnlinkatFlags, unlinkat, write};

use super::plan::{escape, unescape};
use super::resolve::{Root, shown};
use super::tree::{Tree, detach, is_attached};
use crate::error::{Context, Errno, Error, Result};
use crate::sys::mount::{Place, place, place_at};

/// Every step names a path below the root as it was then, which it is again when all later steps are undone, and what must be
/// found there. There is no descriptor a step.
#[derive(Debug)]
pub(super) enum Step {
    Mounted {
        path: PathBuf,
        mount: u64,
    },
    Moved {
        from: PathBuf,
        to: PathBuf,
        mount: u64,
    },
    Locked(Lock),
    /// A file, a directory or a link: its device and inode; without them it is about to be made.
    Made {
        path: PathBuf,
        file: Option<((u32, u32), u64)>,
    },
}

/// A copy beneath a mount, or in its place.
#[derive(Debug)]
pub(super) struct Lock {
    path: PathBuf,
    mount: u64,
    original: u64,
    /// Whether the original is the plan's.
    own: bool,
}

/// What a plan does, written down as it does it, so that another process can undo it should the one that carries it out be
/// killed. It is memory of both.
#[derive(Debug)]
pub struct Record(OwnedFd);

#[derive(Default)]
pub(super) struct Journal<'a> {
    steps: Vec<Step>,
    /// The devices of the plan's own tmpfs: what is made in one goes with it.
    own: Vec<(u32, u32)>,
    record: Option<&'a Record>,
}

impl Record {
    /// An empty one.
    ///
    /// # Errors
    /// Those of memfd_create(2).
    pub fn new() -> Result<Record> {
        let make = |flags| memfd_create(c"plan", MFdFlags::MFD_CLOEXEC | flags);
        // a machine may insist on it (vm.memfd_noexec), an older kernel does not know it
        let noexec = MFdFlags::from_bits_retain(8);
        let memory = make(noexec).or_else(|_| make(MFdFlags::empty())).context("make memory file", "")?;
        Ok(Record(memory))
    }

    /// Undoes what is written down, below the `root` that the plan began with; returns what could not be undone. The process
    /// that carried the plan out must have ended.
    ///
    /// # Errors
    /// The record cannot be read.
    pub fn undo(&self, root: &Root) -> Result<Vec<String>> {
        let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
        loop {
            match pread(&self.0, &mut buffer, text.len() as i64).context("read", "record")? {
                0 => break,
                count => text.extend_from_slice(&buffer[..count]),
            }
        }
        let mut steps: Vec<Step> = Vec::new();
        for line in text.split(|byte| *byte == b'\n') {
            let Some(step) = Step::parse(line) else { continue };
            // what was about to be made: either it was, which is the next step, or something else was there
            if let Some(Step::Made { file: None, .. }) = steps.last() {
                steps.pop();
            }
            steps.push(step);
        }
        Ok(undo(steps, root))
    }
}

impl<'a> Journal<'a> {
    pub(super) fn recorded(record: &'a Record) -> Journal<'a> {
        Journal { record: Some(record), ..Journal::default() }
    }

    /// Before a step is done: whether it was can be seen afterwards.
    pub(super) fn add(&mut self, step: Step) {
        if let Some(Record(memory)) = self.record {
            // what cannot be written down can still be undone here
            let _ = write(memory, step.to_text().as_bytes());
        }
        self.steps.push(step);
    }

    /// Before something is made: if it is there already nothing will be.
    pub(super) fn will_make(&mut self, parent: impl AsFd, name: &CStr, path: &Path) {
        if let Some(Record(memory)) = self.record
            && place_at(&parent, name) == Err(Errno::ENOENT)
            && place(&parent).is_ok_and(|place| !self.own.contains(&place.device))
        {
            let _ = write(memory, Step::Made { path: path.to_owned(), file: None }.to_text().as_bytes());
        }
    }

    /// After it was made.
    pub(super) fn made(&mut self, parent: impl AsFd, name: &CStr, path: &Path) -> Result<()> {
        let place = place_at(parent, name).context("stat", shown(path))?;
        if !self.own.contains(&place.device) {
            self.add(Step::Made { path: path.to_owned(), file: Some((place.device, place.inode)) });
        }
        Ok(())
    }

    /// The last step was not done after all.
    pub(super) fn forget_last(&mut self) {
        self.steps.pop();
    }

    /// A filesystem is mounted whose root is at `place`; what is made in a new tmpfs goes with it.
    pub(super) fn filesystem(&mut self, fstype: &CStr, place: Place) {
        if [c"tmpfs", c"ramfs"].contains(&fstype) {
            self.own.push(place.device);
        } else {
            // the number may have been that of a tmpfs that is gone
            self.own.retain(|own| *own != place.device);
        }
    }

    /// Before `mount`, a locked copy, is put where `original` is.
    pub(super) fn add_lock(&mut self, path: &Path, mount: u64, original: u64) {
        let is_original = |step: &Step| matches!(step, Step::Mounted { mount, .. } if *mount == original);
        let own = self.steps.iter().any(is_original);
        self.add(Step::Locked(Lock { path: path.to_owned(), mount, original, own }));
    }

    /// The number of steps so far.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// Undoes it all, because of `error`.
    pub(super) fn undo(self, root: &Root, error: Error) -> Error {
        let left = undo(self.steps, root);
        if left.is_empty() {
            return error;
        }
        let before = error.hint().map(|hint| format!("{hint}; ")).unwrap_or_default();
        error.with_hint(format!("{before}{}", could_not(&left)))
    }
}

/// What is left, in words.
pub fn could_not(left: &[String]) -> String {
    let more = if left.len() > 3 { format!(" and {} more", left.len() - 3) } else { String::new() };
    format!("could not be undone: {}{more}", left[..left.len().min(3)].join(", "))
}

fn undo(steps: Vec<Step>, root: &Root) -> Vec<String> {
    let mut left = Vec::new();
    let (mut locks, mut rest) = (Vec::new(), Vec::new());
    for step in steps {
        match step {
            Step::Locked(lock) => locks.push(lock),
            other => rest.push(other),
        }
    }
    // what was mounted on the root later is gone
    let topmost = || root.topmost();
    let mut uncovered = || locks.retain(|lock| topmost().and_then(|root| lock.take_away(&root)) != Ok(true));
    uncovered();
    for step in rest.into_iter().rev() {
        let what = step.what();
        if topmost().and_then(|root| step.undo(&root)).is_err() {
            left.push(what);
        }
        uncovered();
    }
    for lock in locks {
        if topmost().and_then(|root| lock.undo(&root)).is_err() {
            left.push(format!("lock of {}", shown(&lock.path)));
        }
    }
    left
}

/// What is mounted at `path`, if that is `mount`.
fn find(root: &Root, path: &Path, mount: u64) -> nix::Result<Option<OwnedFd>> {
    let found = root.resolve(path).and_then(|found| Ok((place(&found)?, found)));
    match found {
        Ok((place, found)) if place.mount == mount && place.is_root => Ok(Some(found)),
        // covered by another, or never done, or undone by the plan itself
        Ok(_) if is_attached(mount) => Err(Errno::EBUSY),
        Err(errno) if is_attached(mount) => Err(errno),
        _ => Ok(None),
    }
}

fn is_empty_file(parent: &OwnedFd, name: &CStr) -> nix::Result<bool> {
    let stat = fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    Ok(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG && stat.st_size == 0)
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
            _ if !is_attached(self.mount) => Ok(()),
            Some(original) => {
                let copy = Tree::copy(&original)?;
                detach(original)?;
                find(root, &self.path, self.mount)?.map_or(Ok(()), detach)?;
                copy.attach(root.resolve(&self.path)?)
            }
            None => Err(Errno::ENOENT),
        }
    }
}

impl Step {
    fn what(&self) -> String {
        match self {
            Step::Mounted { path, .. } => format!("mount at {}", shown(path)),
            Step::Moved { from, to, .. } => format!("move of {} to {}", shown(from), shown(to)),
            Step::Locked(Lock { path, .. }) => format!("lock of {}", shown(path)),
            Step::Made { path, .. } => shown(path),
        }
    }

    fn undo(self, root: &Root) -> nix::Result<()> {
        match self {
            Step::Mounted { path, mount } => find(root, &path, mount)?.map_or(Ok(()), detach),
            Step::Moved { from, to, mount } => match find(root, &to, mount) {
                Ok(Some(mounted)) => Tree::from_fd(mounted).attach(root.resolve(&from)?),
                // it was not moved yet
                _ if matches!(find(root, &from, mount), Ok(Some(_))) => Ok(()),
                other => Err(other.err().unwrap_or(Errno::ENOENT)),
            },
            Step::Locked(lock) => lock.undo(root),
            Step::Made { path, file } => {
                let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
                let name = CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?;
                let there = root.resolve(parent).and_then(|parent| Ok((place_at(&parent, &name)?, parent)));
                match there {
                    Ok((place, parent)) if file.is_none_or(|file| file == (place.device, place.inode)) => {
                        match unlinkat(&parent, name.as_c_str(), UnlinkatFlags::RemoveDir) {
                            // where it was not yet seen it is the plan's only if nobody has put anything into it
                            Err(Errno::ENOTDIR) if file.is_some() || is_empty_file(&parent, &name)? => {
                                unlinkat(&parent, name.as_c_str(), UnlinkatFlags::NoRemoveDir)
                            }
                            other => other,
                        }
                    }
                    // another's, or gone with what it was in
                    _ => Ok(()),
                }
            }
        }
    }

    fn to_text(&self) -> String {
        let path = |path: &Path| escape(path.as_os_str().as_bytes());
        match self {
            Step::Mounted { path: at, mount } => format!("mounted {mount} /{}\n", path(at)),
            Step::Moved { from, to, mount } => format!("moved {mount} /{} /{}\n", path(from), path(to)),
            Step::Locked(Lock { path: at, mount, original, own }) => {
                format!("locked {mount} /{} {original} {}\n", path(at), u8::from(*own))
            }
            Step::Made { path: at, file: None } => format!("make 0 /{}\n", path(at)),
            Step::Made { path: at, file: Some(((major, minor), inode)) } => {
                format!("made {inode} /{} {major} {minor}\n", path(at))
            }
        }
    }

    /// What [`Step::to_text`] wrote; `None` for a line that was cut short.
    fn parse(line: &[u8]) -> Option<Step> {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let number = |text: &&[u8]| std::str::from_utf8(text).ok()?.parse::<u64>().ok();
        let path = |text: &&[u8]| unescape(text).map(OsString::from_vec).map(PathBuf::from);
        Some(match fields.as_slice() {
            [b"mounted", mount, at] => Step::Mounted { path: path(at)?, mount: number(mount)? },
            [b"moved", mount, from, to] => Step::Moved { from: path(from)?, to: path(to)?, mount: number(mount)? },
            [b"locked", mount, at, original, own] => Step::Locked(Lock {
                path: path(at)?,
                mount: number(mount)?,
                original: number(original)?,
                own: number(own)? != 0,
            }),
            [b"make", _, at] => Step::Made { path: path(at)?, file: None },
            [b"made", inode, at, major, minor] => {
                let device = (number(major)? as u32, number(minor)? as u32);
                Step::Made { path: path(at)?, file: Some((device, number(inode)?)) }
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_says_itself() {
        let path = || PathBuf::from("/a b\\\n/#c");
        for step in [
            Step::Mounted { path: path(), mount: u64::MAX },
            Step::Moved { from: path(), to: "/".into(), mount: 1 },
            Step::Locked(Lock { path: path(), mount: 2, original: 3, own: true }),
            Step::Made { path: path(), file: None },
            Step::Made { path: path(), file: Some(((8, 1), 7)) },
        ] {
            let text = step.to_text();
            let read = Step::parse(text.trim_end().as_bytes()).unwrap();
            assert_eq!(format!("{read:?}").replace("\"//", "\"/"), format!("{step:?}").replace("\"//", "\"/"));
        }
        for cut in ["", "mounted", "mounted 5", "mounted x /a", "made 5 /a 8", "frob 1 /a"] {
            assert!(Step::parse(cut.as_bytes()).is_none(), "{cut}");
        }
    }
}
