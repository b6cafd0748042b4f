//! What a plan has done, to be undone in the other order: in memory, and on request in a [`Record`] for another process.

use std::ffi::{CStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::fstat;
use nix::sys::uio::pread;
use nix::unistd::write;

use super::plan::{escape, unescape};
use super::resolve::{Root, shown};
use super::undo::{could_not, undo};
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
    Moved(Move),
    Locked(Lock),
    /// From here on originals go whose copies are in place.
    Committed,
    /// A file, a directory or a link with this text is about to be made.
    Making {
        path: PathBuf,
        link: PathBuf,
    },
    /// It was: its device and inode.
    Made {
        path: PathBuf,
        file: ((u32, u32), u64),
    },
    /// A file that was made has its text: when, in seconds and nanoseconds, and how many bytes.
    Written {
        path: PathBuf,
        at: [i64; 3],
    },
}

/// A mount that was moved.
#[derive(Debug)]
pub(super) struct Move {
    pub(super) from: PathBuf,
    pub(super) to: PathBuf,
    pub(super) mount: u64,
    /// Where it came from, when it was gone from there.
    pub(super) back: Option<OwnedFd>,
}

/// A copy beneath a mount, or in its place.
#[derive(Debug)]
pub(super) struct Lock {
    pub(super) path: PathBuf,
    pub(super) mount: u64,
    pub(super) original: u64,
    /// Whether the original is the plan's.
    pub(super) own: bool,
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
            if let Some(Step::Making { .. }) = steps.last() {
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

    /// Before something is made, a link with this text, or something else: if it is there already nothing will be.
    pub(super) fn will_make(&mut self, parent: impl AsFd, name: &CStr, path: &Path, link: &Path) {
        if let Some(Record(memory)) = self.record
            && place_at(&parent, name) == Err(Errno::ENOENT)
            && place(&parent).is_ok_and(|place| !self.own.contains(&place.device))
        {
            let _ = write(memory, Step::Making { path: path.into(), link: link.into() }.to_text().as_bytes());
        }
    }

    /// After it was made.
    pub(super) fn made(&mut self, parent: impl AsFd, name: &CStr, path: &Path) -> Result<()> {
        let place = place_at(parent, name).context("stat", shown(path))?;
        if !self.own.contains(&place.device) {
            self.add(Step::Made { path: path.to_owned(), file: (place.device, place.inode) });
        }
        Ok(())
    }

    /// After a file that was made has its text.
    pub(super) fn written(&mut self, file: impl AsFd, path: &Path) -> Result<()> {
        let stat = fstat(file).context("stat", shown(path))?;
        let is_ours = |step: &Step| matches!(step, Step::Made { path: made, .. } if made == path);
        if self.steps.last().is_some_and(is_ours) {
            let at = [stat.st_mtime, stat.st_mtime_nsec, stat.st_size];
            self.add(Step::Written { path: path.to_owned(), at });
        }
        Ok(())
    }

    /// The last step, a move, is done: where it has to go back to.
    pub(super) fn moved(&mut self, from: OwnedFd) {
        if let Some(Step::Moved(step)) = self.steps.last_mut() {
            step.back = Some(from);
        }
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
    pub(super) fn add_lock(&mut self, path: PathBuf, mount: u64, original: u64) {
        let is_original = |step: &Step| matches!(step, Step::Mounted { mount, .. } if *mount == original);
        let own = self.steps.iter().any(is_original);
        self.add(Step::Locked(Lock { path, mount, original, own }));
    }

    /// The number of steps so far.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.steps.len()
    }

    /// From here on originals go whose copies are in place.
    pub(super) fn commit(&mut self) {
        if !matches!(self.steps.last(), Some(Step::Committed)) {
            self.add(Step::Committed);
        }
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

impl Step {
    fn to_text(&self) -> String {
        let path = |path: &Path| escape(path.strip_prefix("/").unwrap_or(path).as_os_str().as_bytes());
        match self {
            Step::Mounted { path: at, mount } => format!("mounted {mount} /{}\n", path(at)),
            Step::Moved(Move { from, to, mount, .. }) => format!("moved {mount} /{} /{}\n", path(from), path(to)),
            Step::Committed => "committed\n".to_owned(),
            Step::Locked(Lock { path: at, mount, original, own }) => {
                format!("locked {mount} /{} {original} {}\n", path(at), u8::from(*own))
            }
            // a link's text may begin with / or not
            Step::Making { path: at, link } => {
                format!("make {} /{}\n", escape(link.as_os_str().as_bytes()), path(at))
            }
            Step::Written { path: at, at: [seconds, nanoseconds, bytes] } => {
                format!("written {seconds} /{} {nanoseconds} {bytes}\n", path(at))
            }
            Step::Made { path: at, file: ((major, minor), inode) } => {
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
            [b"moved", mount, from, to] => {
                Step::Moved(Move { from: path(from)?, to: path(to)?, mount: number(mount)?, back: None })
            }
            [b"committed"] => Step::Committed,
            [b"locked", mount, at, original, own] => Step::Locked(Lock {
                path: path(at)?,
                mount: number(mount)?,
                original: number(original)?,
                own: number(own)? != 0,
            }),
            [b"written", seconds, at, nanoseconds, bytes] => {
                let number = |text: &&[u8]| std::str::from_utf8(text).ok()?.parse::<i64>().ok();
                Step::Written { path: path(at)?, at: [number(seconds)?, number(nanoseconds)?, number(bytes)?] }
            }
            [b"make", link, at] => Step::Making { path: path(at)?, link: path(link)? },
            [b"made", inode, at, major, minor] => {
                let device = (number(major)? as u32, number(minor)? as u32);
                Step::Made { path: path(at)?, file: (device, number(inode)?) }
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
            Step::Moved(Move { from: path(), to: "/".into(), mount: 1, back: None }),
            Step::Committed,
            Step::Locked(Lock { path: path(), mount: 2, original: 3, own: true }),
            Step::Making { path: path(), link: "".into() },
            Step::Making { path: path(), link: "../a b".into() },
            Step::Made { path: path(), file: ((8, 1), 7) },
            Step::Written { path: path(), at: [-1, 2, 3] },
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
