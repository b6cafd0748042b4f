//! Carrying out a plan: all of it, or nothing.

use std::collections::HashSet;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use nix::fcntl::{AtFlags, OFlag, open};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, unlinkat, write};

use super::hold::image;
use super::plan::{Device, Line, Op, Owner, Plan, Source};
use super::resolve::{Made, Root, kind, shown};
use super::tree::{Attributes, Tree, detach, propagate};
use crate::error::{Context, Errno, Error, Result, show};
use crate::ns::Kind;
use crate::sys;
use crate::sys::mount::{mount_id, place};

/// What has been done, to be undone in the other order. What is below a mount of the plan's own goes with that mount.
#[derive(Default)]
struct Journal {
    steps: Vec<Step>,
    own: HashSet<u64>,
}

enum Step {
    /// On the root, where what is mounted cannot be found again by a path.
    MountedOnRoot(OwnedFd),
    Mounted(Root, PathBuf),
    Made(Made),
}

impl Plan {
    /// Carries the plan out below `root`, which becomes what the plan mounts on it.
    ///
    /// # Errors
    /// Of the first operation that fails, with its place in the plan. What the plan had mounted and made is gone then; what
    /// it had changed of what was there before (`propagation`, `remount`, `umount`) is not changed back.
    pub fn apply(&self, root: &mut Root) -> Result<()> {
        self.apply_while(root, || true)
    }

    /// As [`Plan::apply`], as long as `go_on` says so, which is asked before each line and after the last: else what was done
    /// is undone.
    ///
    /// # Errors
    /// As [`Plan::apply`]. ECANCELED: `go_on` said no.
    pub fn apply_while(&self, root: &mut Root, go_on: impl Fn() -> bool) -> Result<()> {
        let before = root.clone();
        let mut journal = Journal::default();
        let canceled = || Error::new("carry out plan", "", Errno::ECANCELED);
        for line in &self.lines {
            let done = if go_on() { line.apply(root, &mut journal) } else { Err(canceled()) };
            if let Err(error) = done {
                *root = before;
                return Err(journal.undo(error.with_place(&line.place)));
            }
        }
        if !go_on() {
            *root = before;
            return Err(journal.undo(canceled()));
        }
        Ok(())
    }
}

impl Journal {
    fn made(&mut self, root: &Root, made: Vec<Made>) {
        for made in made {
            let mount = if root.is(&made.parent) { Ok(root.place().mount) } else { mount_id(made.parent.as_fd()) };
            if !mount.is_ok_and(|mount| self.own.contains(&mount)) {
                self.steps.push(Step::Made(made));
            }
        }
    }

    fn undo_mount(root: &Root, path: &Path) -> nix::Result<()> {
        detach(root.resolve(path)?)
    }

    fn undo(self, error: Error) -> Error {
        let mut left = 0;
        for step in self.steps.into_iter().rev() {
            let undone = match step {
                Step::MountedOnRoot(mounted) => detach(mounted),
                Step::Mounted(root, path) => match Journal::undo_mount(&root, &path) {
                    // the plan itself has unmounted it
                    Err(Errno::EINVAL | Errno::ENOENT) => Ok(()),
                    other => other,
                },
                Step::Made(made) => {
                    let flag = if made.is_dir { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
                    unlinkat(made.parent.as_fd(), made.name.as_c_str(), flag)
                }
            };
            left += usize::from(undone.is_err());
        }
        if left == 0 { error } else { error.with_hint(format!("and {left} of the steps before could not be undone")) }
    }
}

impl Line {
    fn apply(&self, root: &mut Root, journal: &mut Journal) -> Result<()> {
        let mut made = Vec::new();
        let done = self.carry_out(root, journal, &mut made);
        journal.made(root, made);
        done
    }

    fn carry_out(&self, root: &mut Root, journal: &mut Journal, made: &mut Vec<Made>) -> Result<()> {
        let path = self.target.as_path();
        match &self.op {
            Op::Filesystem { fstype, source, options, attributes, mkdir, pidns } => {
                let pidns = pidns.as_ref().map(|reference| reference.open(Kind::Pid)).transpose()?;
                let by_fd: Vec<_> = pidns.iter().map(|pidns| (c"pidns", pidns.as_fd())).collect();
                let tree = Tree::filesystem_with(fstype, source.as_deref(), &by_fd, options, *attributes)?;
                let target = self.directory(*mkdir, root, made)?;
                journal.made(root, std::mem::take(made));
                self.attach(tree, target, false, root, journal)
            }
            Op::Bind { source, recursive, attributes, lock, mkdir } => {
                let source = source.open()?;
                let mut tree = match &source {
                    Opened::Tree(tree) => Tree::from_fd(tree.try_clone().context("duplicate", "tree")?),
                    Opened::Place(place) => bind(place, *recursive, *attributes, path)?,
                };
                if !attributes.is_empty() && matches!(source, Opened::Tree(_)) {
                    tree.set(*attributes, *recursive)
                        .context("set attributes of mount for", shown(path))
                        .map_err(|error| explain_attributes(error, *attributes))?;
                }
                let target =
                    if *mkdir { self.make_mount_point(&tree, root, made)? } else { Rc::new(self.resolve(root)?) };
                journal.made(root, std::mem::take(made));
                self.attach(tree, target, *lock, root, journal)
            }
            Op::Device(device) => {
                let tree = bind(device.open()?, false, Attributes::new(&["nosuid", "noexec"])?, path)?;
                let target = self.make_mount_point(&tree, root, made)?;
                self.attach(tree, target, false, root, journal)
            }
            Op::Dir { mode, owner } => {
                let before = made.len();
                let dir = root.make_dir(path, Mode::from_bits_retain(0o755), made)?;
                // only what was missing: a directory that is there stays as it is
                let Some(last) = made.get(before..).and_then(<[_]>::last) else { return Ok(()) };
                if *owner == Owner::default() && mode.bits() == 0o755 {
                    return Ok(());
                }
                owner.give_at(last, path)?;
                fchmod(dir.as_fd(), *mode).context("set mode of", shown(path))
            }
            Op::File { mode, owner, text } => match root.make_file(path, *mode, made)? {
                (file, true) => {
                    if write(&file, text).context("write", shown(path))? != text.len() {
                        return Err(Error::new("write", shown(path), Errno::ENOSPC));
                    }
                    let (uid, gid) = owner.ids();
                    fchown(&file, uid, gid).context("change owner of", shown(path))?;
                    // chown(2) clears the set-id bits
                    fchmod(&file, *mode).context("set mode of", shown(path))
                }
                (file, false) if kind(&file).context("stat", shown(path))? == SFlag::S_IFREG => Ok(()),
                _ => Err(Error::new("create file", shown(path), Errno::EEXIST).with_reason("something else is there")),
            },
            Op::Link(to) => root.make_link(path, to, made),
            Op::Propagation(how) => propagate(self.mounted(root)?, *how).context("change propagation of", shown(path)),
            Op::Remount { attributes, recursive } => Tree::remount(self.mounted(root)?, *attributes, *recursive)
                .context("remount", shown(path))
                .map_err(|error| explain_attributes(error, *attributes)),
            Op::Image { file, options, attributes, mkdir } => {
                let mut tree = image(file, options)?;
                if !attributes.is_empty() {
                    tree.set(*attributes, false).context("set attributes of mount for", shown(path))?;
                }
                let target = self.directory(*mkdir, root, made)?;
                journal.made(root, std::mem::take(made));
                self.attach(tree, target, false, root, journal)
            }
            Op::Namespace(reference, kind) => {
                let namespace = reference.open(*kind)?;
                let tree = bind(namespace.as_fd(), false, Attributes::default(), path)?;
                let target = self.make_mount_point(&tree, root, made)?;
                journal.made(root, std::mem::take(made));
                self.attach(tree, target, false, root, journal)
            }
            Op::Move(from) => {
                let tree = Tree::from_fd(root.resolve(from).context("open", shown(from))?);
                let target = self.resolve(root)?;
                tree.attach(&target).context("move mount to", shown(path)).map_err(|error| match error.errno() {
                    Errno::EINVAL => error.with_hint("the source is no mount point, locked, or below a shared mount"),
                    _ => error,
                })
            }
            Op::Mask => {
                let target = Rc::new(self.mounted(root)?);
                let tree = if kind(target.as_fd()).context("stat", shown(path))? == SFlag::S_IFDIR {
                    let option = |key: &CStr, value: &CStr| (key.to_owned(), Some(value.to_owned()));
                    let options = [option(c"mode", c"0"), option(c"size", c"4k")];
                    Tree::filesystem(c"tmpfs", None, &options, Attributes::new(&["ro", "nosuid", "nodev", "noexec"])?)?
                } else {
                    let null = null_device()?;
                    bind(null, false, Attributes::new(&["ro", "nosuid", "noexec"])?, path)?
                };
                self.attach(tree, target, false, root, journal)
            }
            Op::Lock => {
                let mut target = self.mounted(root)?;
                let locked = locked(&target, path)?;
                // below the root's copy the original goes with the old root; elsewhere it would be seen when the copy is unmounted
                if place(&target).context("stat", shown(path))? != root.place() {
                    detach(&target).context("detach unlocked mount from", shown(path)).map_err(|error| match error
                        .errno()
                    {
                        Errno::EINVAL => error.with_hint(NO_MOUNT_POINT),
                        _ => error,
                    })?;
                    target = self.resolve(root)?;
                }
                self.attach(locked, Rc::new(target), false, root, journal)
            }
            Op::Umount => {
                detach(self.mounted(root)?).context("unmount", shown(path)).map_err(|error| match error.errno() {
                    Errno::EINVAL => error.with_hint(NO_MOUNT_POINT),
                    _ => error,
                })
            }
        }
    }

    fn resolve(&self, root: &Root) -> Result<OwnedFd> {
        root.resolve(&self.target).context("open mount point", shown(&self.target)).map_err(|error| {
            match error.errno() {
                Errno::ENOENT => error.with_hint("x-mkdir makes it"),
                _ => error,
            }
        })
    }

    /// The directory to mount on, made if asked for.
    fn directory(&self, mkdir: bool, root: &Root, made: &mut Vec<Made>) -> Result<Rc<OwnedFd>> {
        if mkdir {
            root.make_dir(&self.target, Mode::from_bits_retain(0o755), made)
        } else {
            self.resolve(root).map(Rc::new)
        }
    }

    /// What is mounted at the target.
    fn mounted(&self, root: &Root) -> Result<OwnedFd> {
        root.resolve(&self.target).context("open", shown(&self.target))
    }

    /// The mount point that this tree needs: a directory, or a file.
    fn make_mount_point(&self, tree: &Tree, root: &Root, made: &mut Vec<Made>) -> Result<Rc<OwnedFd>> {
        if kind(tree).context("stat", "source")? == SFlag::S_IFDIR {
            return root.make_dir(&self.target, Mode::from_bits_retain(0o755), made);
        }
        Ok(Rc::new(root.make_file(&self.target, Mode::from_bits_retain(0o644), made)?.0))
    }

    fn attach(
        &self,
        tree: Tree,
        target: Rc<OwnedFd>,
        lock: bool,
        root: &mut Root,
        journal: &mut Journal,
    ) -> Result<()> {
        let at = place(target.as_fd()).context("stat", shown(&self.target))?;
        let directory = |fd: BorrowedFd<'_>| kind(fd).is_ok_and(|kind| kind == SFlag::S_IFDIR);
        let attach = |tree: &Tree| {
            tree.attach(target.as_fd()).context("mount at", shown(&self.target)).map_err(|error| match error.errno() {
                Errno::ENOTDIR | Errno::EINVAL if directory(tree.as_fd()) != directory(target.as_fd()) => {
                    error.with_reason("one of mount and mount point is a directory, the other is not")
                }
                Errno::EPERM => error.with_hint("this needs CAP_SYS_ADMIN over the mount namespace"),
                _ => error,
            })
        };
        attach(&tree)?;
        let mut mounted = tree;
        if lock {
            let locked = locked(&mounted, &self.target);
            detach(&mounted).context("detach unlocked mount from", shown(&self.target))?;
            let locked = locked?;
            attach(&locked)?;
            mounted = locked;
        }
        let now = place(&mounted).context("stat", shown(&self.target))?;
        let nested = !journal.own.insert(now.mount) || journal.own.contains(&at.mount);
        if at == root.place() {
            if !nested {
                journal
                    .steps
                    .push(Step::MountedOnRoot(mounted.as_fd().try_clone_to_owned().context("duplicate", "mount")?));
            }
            *root = Root::of(mounted.into_mounted()).context("stat", shown(&self.target))?;
        } else if !nested {
            journal.steps.push(Step::Mounted(root.clone(), self.target.clone()));
        }
        Ok(())
    }
}

fn locked(mounted: &impl AsFd, path: &Path) -> Result<Tree> {
    Tree::locked(mounted.as_fd()).context("lock mount at", shown(path)).map_err(|error| match error.errno() {
        Errno::ENOTDIR => error.with_reason("only directories can be locked"),
        Errno::ENOSPC | Errno::EPERM => {
            error.with_hint("this needs a user namespace for a moment: user.max_user_namespaces, or leave out lock")
        }
        _ => error,
    })
}

const NO_MOUNT_POINT: &str = "it is no mount point, or locked by a more privileged mount namespace";

fn bind(source: impl AsFd, recursive: bool, attributes: Attributes, path: &Path) -> Result<Tree> {
    Tree::bind_with(source, recursive, attributes).context("copy mount for", shown(path)).map_err(|error| {
        match error.errno() {
            Errno::EINVAL if !recursive => {
                error.with_hint("mounts below it were made by a more privileged mount namespace: only rec copies them")
            }
            Errno::EPERM if attributes.is_empty() => {
                error.with_hint("this needs CAP_SYS_ADMIN over the mount namespace")
            }
            _ => explain_attributes(error, attributes),
        }
    })
}

fn explain_attributes(error: Error, attributes: Attributes) -> Error {
    match error.errno() {
        Errno::EPERM => error.with_hint(format!(
            "one of {attributes} is locked by a more privileged mount namespace, and stays as it is"
        )),
        Errno::EINVAL => error.with_hint(NO_MOUNT_POINT),
        Errno::ENOSYS => error.with_hint("mount_setattr(2) needs Linux 5.12, or a filter forbids it"),
        _ => error,
    }
}

/// The source of a bind mount, opened.
enum Opened {
    /// A detached tree: attached as it is, once.
    Tree(OwnedFd),
    /// A directory or file, of which a copy is attached.
    Place(OwnedFd),
}

impl Source {
    fn open(&self) -> Result<Opened> {
        match self {
            Source::Path(path) => open(path.as_path(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
                .context("open source", show(path))
                .map(Opened::Place),
            Source::Fd(number) => {
                sys::fd::duplicate(*number, 3).context("use source", format_args!("fd:{number}")).map(Opened::Tree)
            }
        }
    }
}

/// The null device, verified to be that, to be mounted over what is to be hidden.
///
/// # Errors
/// ENODEV: something else is at `/dev/null`. Those of open(2).
pub fn null_device() -> Result<OwnedFd> {
    Device { name: "null", number: (1, 3) }.open()
}

impl Device {
    /// The host's node, verified: what lies at its path may be anything.
    fn open(&self) -> Result<OwnedFd> {
        let path = Path::new("/dev").join(self.name);
        let node = open(path.as_path(), OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
            .context("open device", show(&path))?;
        let stat = fstat(&node).context("stat device", show(&path))?;
        let device = (nix::sys::stat::major(stat.st_rdev), nix::sys::stat::minor(stat.st_rdev));
        if kind(&node).context("stat device", show(&path))? == SFlag::S_IFCHR && device == self.number {
            return Ok(node);
        }
        let (major, minor) = self.number;
        Err(Error::new("use device", show(&path), Errno::ENODEV)
            .with_reason(format!("it is not character device {major}:{minor}")))
    }
}

impl Owner {
    fn ids(self) -> (Option<Uid>, Option<Gid>) {
        (self.uid.map(Uid::from_raw), self.gid.map(Gid::from_raw))
    }

    fn give_at(self, made: &Made, path: &Path) -> Result<()> {
        let (uid, gid) = self.ids();
        if uid.is_none() && gid.is_none() {
            return Ok(());
        }
        fchownat(made.parent.as_fd(), made.name.as_c_str(), uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)
            .context("change owner of", shown(path))
    }
}
