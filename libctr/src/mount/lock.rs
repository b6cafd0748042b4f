//! `lock`: locked copies in the places of mounts, when all else of a plan is done, so that what is undone before is the original.

use std::cmp::Reverse;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::mount::MsFlags;
use nix::sys::stat::Mode;

use super::apply::{NO_MOUNT_POINT, explain_mount_point, is_directory};
use super::info::{is_attached, not_copied};
use super::journal::Journal;
use super::plan::Line;
use super::resolve::{Root, shown};
use super::tree::{Tree, detach};
use crate::error::{Context, Errno, Error, Result, show};
use crate::sys::mount::{Place, place};

/// The mounts that lines of a plan want locked, and what their copies are to have like them.
#[derive(Default)]
pub(super) struct Locks<'a> {
    wanted: Vec<Wanted<'a>>,
    /// Changes of propagation, each with the mount that it was for.
    propagated: Vec<(&'a Line, MsFlags, u64)>,
}

struct Wanted<'a> {
    line: &'a Line,
    at: Place,
}

/// What is to be put in the place of what.
struct Copy<'a> {
    line: &'a Line,
    at: Place,
    original: OwnedFd,
    copy: Tree,
}

impl<'a> Locks<'a> {
    /// What is mounted at the target of `line` now is to be locked. The plan began with `first` as its root.
    pub(super) fn add(&mut self, line: &'a Line, first: &Root, root: &Root) -> Result<()> {
        let at = place(line.mounted(root)?).context("stat", shown(&line.target))?;
        let refused = || Error::new("lock mount at", shown(&line.target), Errno::EINVAL);
        if !at.is_root && at != root.place() {
            return Err(refused().with_hint(NO_MOUNT_POINT));
        }
        let own = openat(AT_FDCWD, "/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).context("open", "/")?;
        if at == root.place() && first.place() == place(own).context("stat", "/")? {
            return Err(refused()
                .with_reason("it is the root of this process, which would not see what is mounted over it")
                .with_hint("name another directory with --root, and pivot to that"));
        }
        if self.wanted.iter().all(|other| other.at != at) {
            self.wanted.push(Wanted { line, at });
        }
        Ok(())
    }

    /// `line` has changed the propagation of `mount`.
    pub(super) fn propagated(&mut self, line: &'a Line, how: MsFlags, mount: u64) {
        self.propagated.push((line, how, mount));
    }

    /// Puts the copies in their places: all of them, or the originals are still there for the journal to undo what is in them,
    /// unless one of the last calls fails that cannot. `go_on` is asked before these.
    pub(super) fn put(
        mut self,
        first: &Root,
        root: &mut Root,
        journal: &mut Journal<'_>,
        go_on: &dyn Fn() -> Result<()>,
    ) -> Result<()> {
        if self.wanted.is_empty() {
            return Ok(());
        }
        // what is in the root is locked with it
        if let Some(whole) = self.wanted.iter().rposition(|wanted| wanted.at == root.place()) {
            self.wanted = vec![self.wanted.swap_remove(whole)];
        }
        // an inner one is put back before the outer one is copied to be put back
        self.wanted.sort_by_key(|wanted| Reverse(wanted.line.target.components().count()));
        let mount_at = |line: &Line, root: &Root| -> Result<u64> {
            Ok(place(line.mounted(root)?).context("stat", shown(&line.target))?.mount)
        };
        // what later lines have mounted there is not what was meant
        self.propagated.retain(|(line, _, mount)| mount_at(line, root).is_ok_and(|now| now == *mount));
        let at_line = |line: &'a Line| move |error: Error| error.with_place(&line.place);
        let copy = |wanted: &Wanted<'a>| wanted.copy(root).map_err(at_line(wanted.line));
        let copies = self.wanted.iter().map(copy).collect::<Result<Vec<_>>>()?;
        let (mut beneath, mut instead) = (Vec::new(), Vec::new());
        for copy in copies {
            let line = copy.line;
            let on_root = copy.at == root.place();
            // the root that the plan began with stays below its copy, and goes when the old root does
            let goes = !(on_root && copy.at == first.place());
            if goes && copy.put_beneath(journal).map_err(at_line(line))? {
                if on_root {
                    *root = copy.as_root(root)?;
                }
                beneath.push(copy);
            } else if goes {
                instead.push(copy);
            } else {
                line.attach(copy.copy, Rc::new(copy.original), root, journal).map_err(at_line(line))?;
            }
        }
        go_on()?;
        for copy in &instead {
            copy.replace(first, root, journal).map_err(at_line(copy.line))?;
        }
        journal.commit();
        beneath.iter().try_for_each(|copy| copy.detach_original().map_err(at_line(copy.line)))?;
        // the copies are private
        for (line, how, mount) in self.propagated {
            if mount_at(line, root)? != mount {
                line.propagate(how, root).map_err(at_line(line))?;
            }
        }
        Ok(())
    }
}

impl<'a> Wanted<'a> {
    fn copy(&self, root: &Root) -> Result<Copy<'a>> {
        let Wanted { line, at } = *self;
        let path = line.target.as_path();
        let original = line.mounted(root)?;
        if place(&original).context("stat", shown(path))? != at {
            return Err(Error::new("lock mount at", shown(path), Errno::EBUSY)
                .with_reason("a later line has mounted something over it, or moved or unmounted it"));
        }
        Ok(Copy { line, at, copy: line.locked_copy(&original, root)?, original })
    }
}

impl Copy<'_> {
    /// Puts the copy beneath the original; `false` where that cannot be done.
    fn put_beneath(&self, journal: &mut Journal<'_>) -> Result<bool> {
        let path = self.line.target.as_path();
        journal.add_lock(path.to_owned(), place(&self.copy).context("stat", shown(path))?.mount, self.at.mount);
        match self.copy.attach_beneath(&self.original) {
            // before Linux 6.5, and where propagation would show it twice
            Err(Errno::EINVAL) => Ok(false),
            other => other.context("mount beneath", shown(path)).map_err(explain_mount_point).map(|()| true),
        }
    }

    /// Puts the copy where the original is, in two steps.
    fn replace(&self, first: &Root, root: &mut Root, journal: &mut Journal<'_>) -> Result<()> {
        let path = self.line.target.as_path();
        let back = Tree::copy(&self.original).context("copy mount at", shown(path))?;
        let on_root = self.at == root.place();
        let (below, real) =
            if on_root { (first.clone(), "/".into()) } else { (root.clone(), root.real_path(&self.original, path)) };
        self.detach_original()?;
        journal.commit();
        let attach = |tree: &Tree| below.resolve(&real).and_then(|target| tree.attach(target));
        attach(&self.copy).context("mount at", shown(path)).map_err(|error| match attach(&back) {
            Ok(()) => error,
            Err(errno) => error.with_hint(format!("what was mounted there could not be put back: {errno}")),
        })?;
        if on_root {
            *root = self.as_root(root)?;
        }
        Ok(())
    }

    fn as_root(&self, root: &Root) -> Result<Root> {
        let copy = self.copy.as_fd().try_clone_to_owned().map_err(|_| Errno::EMFILE);
        copy.and_then(|copy| root.at(copy)).context("open root", "")
    }

    /// Elsewhere it would be seen when the copy is unmounted.
    fn detach_original(&self) -> Result<()> {
        match detach(&self.original) {
            // it was below another
            Err(_) if !is_attached(self.at.mount) => Ok(()),
            other => other.context("detach unlocked mount from", shown(&self.line.target)).map_err(explain_mount_point),
        }
    }
}

impl Line {
    /// Puts a locked copy in the place of what this line has just mounted at its target, when the root was `before`.
    pub(super) fn lock_own(&self, before: Root, root: &mut Root, journal: &mut Journal<'_>) -> Result<()> {
        let mounted = self.mounted(root)?;
        let at = place(&mounted).context("stat", shown(&self.target))?;
        let copy = self.locked_copy(&mounted, root)?;
        let on_root = at == root.place();
        detach(&mounted).context("detach unlocked mount from", shown(&self.target)).map_err(explain_mount_point)?;
        let target = if on_root {
            *root = before;
            root.resolve("/".as_ref()).context("open root", "")?
        } else {
            self.resolve(root)?
        };
        self.attach(copy, Rc::new(target), root, journal)
    }

    /// A locked copy of what is mounted, on top, at the target.
    fn locked_copy(&self, mounted: &OwnedFd, root: &Root) -> Result<Tree> {
        let path = self.target.as_path();
        if let Some(lost) = not_copied(mounted, true).context("look at mounts below", shown(path))? {
            let reason = format!("{} cannot be copied: it is unbindable, or keeps a mount namespace", show(&lost));
            return Err(Error::invalid("lock mount at", shown(path), reason));
        }
        let copy = || -> nix::Result<Tree> {
            if is_directory(mounted) {
                return Tree::locked(mounted);
            }
            // a file is found again by its name in the other mount namespace
            let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Err(Errno::ENOTDIR) };
            let (parent, name) = (root.resolve(parent)?, CString::new(name.as_bytes()).map_err(|_| Errno::EINVAL)?);
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            if place(openat(&parent, name.as_c_str(), flags, Mode::empty())?)? != place(mounted)? {
                return Err(Errno::ELOOP);
            }
            Tree::locked_at(&parent, &name)
        };
        copy().context("lock mount at", shown(path)).map_err(|error| match error.errno() {
            Errno::ENOSPC | Errno::EPERM => error.with_hint(
                "this needs a user namespace for a moment (see user.max_user_namespaces): lock=no for rootfs and masked, else \
                 leave out lock",
            ),
            Errno::EACCES => error.with_hint("its root directory may not be searched by this process"),
            _ => error,
        })
    }
}
