//! Carrying out a plan: all of it, or nothing.

use std::borrow::Cow;
use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use nix::fcntl::{OFlag, open, openat};
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, stat};
use nix::unistd::{Gid, Uid, fchown, write};

use super::hold::image;
use super::info::is_attached;
use super::journal::{Journal, Move, Record, Step};
use super::lock::Locks;
use super::plan::{Device, Line, Op, Owner, Plan, Source};
use super::resolve::{Root, kind, shown};
use super::tree::{Attributes, NEEDS_RIGHTS, Tree, detach, has_no_rights, propagate, reconfigure};
use crate::error::{Context, Errno, Error, Result, show};
use crate::ns::Kind;
use crate::sys;
use crate::sys::mount::{Place, place};

impl Plan {
    /// Carries the plan out below `root`, which becomes what the plan mounts on it.
    ///
    /// # Errors
    /// Of the first operation that fails, with its place in the plan. What the plan had mounted, moved, locked and made is
    /// undone then, or the hint says what is not; what it had changed of what was there before (`propagation`, `remount`,
    /// `umount`) is not changed back.
    pub fn apply(&self, root: &mut Root) -> Result<()> {
        self.carry_out(root, Journal::default(), || true)
    }

    /// As [`Plan::apply`], as long as `go_on` says so, which is asked before each line, after the last, and while the locks are
    /// put: else what was done is undone. All of it is written down in `record`.
    ///
    /// # Errors
    /// As [`Plan::apply`]. ECANCELED: `go_on` said no.
    pub fn apply_while(&self, root: &mut Root, record: &Record, go_on: impl Fn() -> bool) -> Result<()> {
        self.carry_out(root, Journal::recorded(record), go_on)
    }

    fn carry_out(&self, root: &mut Root, mut journal: Journal<'_>, go_on: impl Fn() -> bool) -> Result<()> {
        let before = root.clone();
        let canceled = || Error::new("carry out plan", "", Errno::ECANCELED);
        let mut work = || {
            let go_on = || if go_on() { Ok(()) } else { Err(canceled()) };
            let mut locks = Locks::default();
            for line in &self.lines {
                let carry_out = |()| match &line.op {
                    Op::Lock => locks.add(line, &before, root),
                    Op::Propagation(how) => {
                        let mount = line.propagate(*how, root)?;
                        locks.propagated(line, *how, mount);
                        Ok(())
                    }
                    _ => line.carry_out(&before, root, &mut journal),
                };
                go_on().and_then(carry_out).map_err(|error| error.with_place(&line.place))?;
            }
            go_on()?;
            locks.put(&before, root, &mut journal, &go_on)?;
            go_on()
        };
        work().map_err(|error| {
            let error = journal.undo(&before, error);
            *root = before;
            error
        })
    }
}

impl Line {
    /// The plan began with `first` as its root.
    fn carry_out(&self, first: &Root, root: &mut Root, journal: &mut Journal<'_>) -> Result<()> {
        let path = self.target.as_path();
        match &self.op {
            Op::Filesystem { fstype, source, options, attributes, mkdir, pidns } => {
                let pidns = pidns.as_ref().map(|reference| reference.open(Kind::Pid)).transpose()?;
                let mut options = Cow::Borrowed(options);
                if attributes.is_read_only() && source.as_deref().is_some_and(is_block_device) {
                    // a mount that is read-only writes to its device nevertheless, to replay a journal for example
                    options.to_mut().insert(0, (c"ro".to_owned(), None));
                }
                let by_fd: Vec<_> = pidns.iter().map(|pidns| (c"pidns", pidns.as_fd())).collect();
                let tree = Tree::filesystem_with(fstype, source.as_deref(), &by_fd, &options, *attributes)
                    .map_err(|error| explain_type(error, fstype))?;
                let target = self.directory(*mkdir, root, journal)?;
                let place = self.put(tree, target, root, journal)?;
                journal.filesystem(fstype, place);
                Ok(())
            }
            Op::Bind { source, recursive, attributes, lock, mkdir } => {
                let tree = match source {
                    Source::Path(source) => self.bind_path(source, *recursive, *attributes)?,
                    Source::Fd(number) => {
                        let held = sys::fd::duplicate(*number, 3).context("use source", format_args!("fd:{number}"))?;
                        if is_attached(place(&held).context("stat", "tree")?.mount) {
                            return Err(Error::invalid("use tree for", shown(path), "it is mounted somewhere"));
                        }
                        let mut tree = Tree::from_fd(held);
                        if !attributes.is_empty() {
                            tree.set(*attributes, *recursive)
                                .context("set attributes of mount for", shown(path))
                                .map_err(|error| explain_attributes(error, *attributes))?;
                        }
                        tree
                    }
                };
                let target =
                    if *mkdir { self.make_mount_point(&tree, root, journal)? } else { Rc::new(self.resolve(root)?) };
                let before = root.clone();
                self.attach(tree, target, root, journal)?;
                if *lock { self.lock_own(before, root, journal) } else { Ok(()) }
            }
            Op::Device(device) => {
                // read-only, since a chmod(2) would be of the host's node: devices are written to nevertheless
                let tree = bind(device.open()?, false, Attributes::new(&["ro", "nosuid", "noexec"])?, path)?;
                let target = self.make_mount_point(&tree, root, journal)?;
                self.attach(tree, target, root, journal)
            }
            Op::Dir { mode, owner } => match root.make_dir(path, Mode::from_bits_retain(0o755), journal)? {
                // a directory that is there stays as it is
                (dir, true) if *owner != Owner::default() || mode.bits() != 0o755 => owner.give(&dir, *mode, path),
                _ => Ok(()),
            },
            Op::File { mode, owner, text } => match root.make_file(path, *mode, journal)? {
                (file, true) => {
                    if write(&file, text).context("write", shown(path))? != text.len() {
                        return Err(Error::new("write", shown(path), Errno::ENOSPC));
                    }
                    journal.written(&file, path)?;
                    owner.give(&file, *mode, path)
                }
                (file, false) if kind(&file).context("stat", shown(path))? == SFlag::S_IFREG => Ok(()),
                _ => Err(Error::new("create file", shown(path), Errno::EEXIST).with_reason("something else is there")),
            },
            Op::Link(to) => root.make_link(path, to, journal),
            Op::Remount { attributes, recursive, options } => {
                let mounted = self.mounted(root)?;
                if !place(&mounted).context("stat", shown(path))?.is_root {
                    return Err(Error::new("remount", shown(path), Errno::EINVAL).with_hint(NO_MOUNT_POINT));
                }
                if !options.is_empty() {
                    reconfigure(&mounted, options, &shown(path))?;
                }
                if attributes.is_empty() {
                    return Ok(());
                }
                Tree::remount(mounted, *attributes, *recursive)
                    .context("remount", shown(path))
                    .map_err(|error| explain_attributes(error, *attributes))
            }
            Op::Image { file, options, attributes, mkdir } => {
                let mut tree = image(file, options)?;
                if !attributes.is_empty() {
                    tree.set(*attributes, false).context("set attributes of mount for", shown(path))?;
                }
                let target = self.directory(*mkdir, root, journal)?;
                self.attach(tree, target, root, journal)
            }
            Op::Namespace(reference, kind) => {
                let namespace = reference.open(*kind)?;
                let tree = bind(namespace.as_fd(), false, Attributes::default(), path)?;
                let target = self.make_mount_point(&tree, root, journal)?;
                self.attach(tree, target, root, journal)
            }
            Op::Move(from) => {
                let tree = Tree::from_fd(root.resolve(from).context("open", shown(from))?);
                let target = self.resolve(root)?;
                let (mount, at) = (place(&tree), place(&target).context("stat", shown(path))?);
                let mount = mount.context("stat", shown(from))?;
                if !mount.is_root {
                    return Err(Error::new("move mount from", shown(from), Errno::EINVAL).with_hint(NO_MOUNT_POINT));
                }
                let (from, to) = (root.real_path(&tree, from), root.real_path(&target, path));
                let above = from.parent().map(|parent| root.resolve(parent));
                let name = from.file_name().map(std::ffi::OsStr::to_owned);
                journal.add(Step::Moved(Move { from, to, mount: mount.mount, back: None }));
                tree.attach(&target).context("move mount to", shown(path)).map_err(|error| {
                    journal.forget_last();
                    match error.errno() {
                        Errno::EINVAL => {
                            error.with_hint("the source is no mount point, locked, or below a shared mount")
                        }
                        _ => explain_mount_point(error),
                    }
                })?;
                if let (Some(Ok(above)), Some(name)) = (above, name) {
                    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
                    openat(&above, name.as_os_str(), flags, Mode::empty())
                        .into_iter()
                        .for_each(|back| journal.moved(back));
                }
                self.becomes_root(at, tree, root)
            }
            Op::Mask { optional, read_only } => {
                let target = match root.resolve(path) {
                    Err(Errno::ENOENT) if *optional => return Ok(()),
                    other => Rc::new(other.context("open", shown(path))?),
                };
                let hidden = Attributes::new(&["ro", "nosuid", "nodev", "noexec"])?;
                let tree = if *read_only {
                    bind(&target, false, Attributes::READ_ONLY, path)?
                } else if is_directory(&target) {
                    let option = |key: &CStr, value: &CStr| (key.to_owned(), Some(value.to_owned()));
                    let options = [option(c"mode", c"0"), option(c"size", c"4k")];
                    Tree::filesystem(c"tmpfs", None, &options, hidden)?
                } else {
                    bind(null_device()?, false, Attributes::new(&["ro", "nosuid", "noexec"])?, path)?
                };
                self.attach(tree, target, root, journal)
            }
            // see Plan::carry_out
            Op::Lock | Op::Propagation(_) => Ok(()),
            Op::Umount => {
                let mounted = self.mounted(root)?;
                let on_root = place(&mounted).context("stat", shown(path))? == root.place();
                detach(mounted).context("unmount", shown(path)).map_err(explain_mount_point)?;
                if on_root {
                    *root = first.topmost().context("open root", "")?;
                }
                Ok(())
            }
        }
    }

    /// Changes the propagation of what is mounted at the target; returns which mount that is.
    pub(super) fn propagate(&self, how: MsFlags, root: &Root) -> Result<u64> {
        let mounted = self.mounted(root)?;
        propagate(&mounted, how).context("change propagation of", shown(&self.target)).map_err(explain_mount_point)?;
        Ok(place(mounted).context("stat", shown(&self.target))?.mount)
    }

    pub(super) fn resolve(&self, root: &Root) -> Result<OwnedFd> {
        root.resolve(&self.target).context("open mount point", shown(&self.target)).map_err(|error| {
            match error.errno() {
                Errno::ENOENT => error.with_hint("x-mkdir makes it"),
                _ => error,
            }
        })
    }

    /// The directory to mount on, made if asked for.
    fn directory(&self, mkdir: bool, root: &Root, journal: &mut Journal<'_>) -> Result<Rc<OwnedFd>> {
        if mkdir {
            root.make_dir(&self.target, Mode::from_bits_retain(0o755), journal).map(|(dir, _)| dir)
        } else {
            self.resolve(root).map(Rc::new)
        }
    }

    /// A copy of the mount at `source`.
    fn bind_path(&self, source: &Path, recursive: bool, attributes: Attributes) -> Result<Tree> {
        Tree::bind_path(source, recursive, attributes).map_err(|errno| match errno {
            Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EACCES | Errno::ENAMETOOLONG => {
                Error::new("open source", show(source), errno)
            }
            _ => explain_bind(Error::new("copy mount for", shown(&self.target), errno), recursive, attributes),
        })
    }

    /// What is mounted at the target, on top.
    pub(super) fn mounted(&self, root: &Root) -> Result<OwnedFd> {
        let root = root.topmost().context("open root", "")?;
        root.resolve(&self.target).context("open", shown(&self.target))
    }

    /// The mount point that this tree needs: a directory, or a file.
    fn make_mount_point(&self, tree: &Tree, root: &Root, journal: &mut Journal<'_>) -> Result<Rc<OwnedFd>> {
        if is_directory(tree) {
            return self.directory(true, root, journal);
        }
        Ok(Rc::new(root.make_file(&self.target, Mode::from_bits_retain(0o644), journal)?.0))
    }

    pub(super) fn attach(
        &self,
        tree: Tree,
        target: Rc<OwnedFd>,
        root: &mut Root,
        journal: &mut Journal<'_>,
    ) -> Result<()> {
        self.put(tree, target, root, journal).map(drop)
    }

    /// Attaches it; returns where the root of what is mounted is.
    fn put(&self, tree: Tree, target: Rc<OwnedFd>, root: &mut Root, journal: &mut Journal<'_>) -> Result<Place> {
        let at = place(target.as_fd()).context("stat", shown(&self.target))?;
        let mounted = place(&tree).context("stat", shown(&self.target))?;
        journal.add(Step::Mounted { path: self.target.clone(), mount: mounted.mount });
        tree.attach(target.as_fd()).context("mount at", shown(&self.target)).map_err(|error| match error.errno() {
            Errno::ENOTDIR | Errno::EINVAL if is_directory(&tree) != is_directory(target.as_fd()) => {
                error.with_reason("one of mount and mount point is a directory, the other is not")
            }
            Errno::EPERM => error.with_hint(NEEDS_RIGHTS),
            _ => error,
        })?;
        self.becomes_root(at, tree, root)?;
        Ok(mounted)
    }

    /// What is mounted on the root is the root.
    fn becomes_root(&self, at: Place, mounted: Tree, root: &mut Root) -> Result<()> {
        if at == root.place() {
            *root = root.at(mounted.into_mounted()).context("stat", shown(&self.target))?;
        }
        Ok(())
    }
}

pub(super) fn is_directory(fd: impl AsFd) -> bool {
    kind(fd).is_ok_and(|kind| kind == SFlag::S_IFDIR)
}

fn explain_type(error: Error, fstype: &CStr) -> Error {
    match error.errno() {
        Errno::ENOTBLK => error.with_hint("type image mounts an image file"),
        Errno::ENODEV if [c"none", c"auto"].contains(&fstype) => {
            error.with_hint("the type is the third field: bind, tmpfs, image, see mount-plan(5)")
        }
        _ => error,
    }
}

fn is_block_device(path: &CStr) -> bool {
    stat(path).is_ok_and(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFBLK)
}

pub(super) const NO_MOUNT_POINT: &str = "it is no mount point, or locked by a more privileged mount namespace";

pub(super) fn explain_mount_point(error: Error) -> Error {
    match error.errno() {
        Errno::EINVAL => error.with_hint(NO_MOUNT_POINT),
        Errno::EPERM => error.with_hint(NEEDS_RIGHTS),
        Errno::ESTALE => error.with_hint("what is at /proc is no proc of this process"),
        _ => error,
    }
}

fn bind(source: impl AsFd, recursive: bool, attributes: Attributes, path: &Path) -> Result<Tree> {
    Tree::bind_with(source, recursive, attributes)
        .context("copy mount for", shown(path))
        .map_err(|error| explain_bind(error, recursive, attributes))
}

fn explain_bind(error: Error, recursive: bool, attributes: Attributes) -> Error {
    match error.errno() {
        Errno::EINVAL if !recursive => error.with_hint(
            "mounts below it were made by a more privileged mount namespace: only rec copies them; or it is unbindable",
        ),
        Errno::ELOOP => error.with_hint("a file that keeps a mount namespace can be bound only in an older one"),
        _ => explain_attributes(error, attributes),
    }
}

fn explain_attributes(error: Error, attributes: Attributes) -> Error {
    match error.errno() {
        Errno::EPERM if attributes.is_empty() || has_no_rights() => error.with_hint(NEEDS_RIGHTS),
        Errno::EPERM => error.with_hint(format!(
            "one of {attributes} is locked by a more privileged mount namespace, and stays as it is"
        )),
        Errno::EINVAL => error.with_hint(NO_MOUNT_POINT),
        Errno::ENOSYS => error.with_hint("mount_setattr(2) needs Linux 5.12, or a filter forbids it"),
        _ => error,
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

    /// Sets owner and mode of what was made.
    fn give(self, made: impl AsFd, mode: Mode, path: &Path) -> Result<()> {
        let (uid, gid) = self.ids();
        if self != Owner::default() {
            fchown(&made, uid, gid).context("change owner of", shown(path))?;
        }
        // chown(2) clears the set-id bits
        fchmod(&made, mode).context("set mode of", shown(path))
    }
}
