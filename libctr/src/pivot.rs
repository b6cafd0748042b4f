//! Making a directory the root of the mount namespace: pivot_root(2) and what must surround it.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, fstat, stat};
use nix::unistd::{chdir, fchdir, pivot_root};

use crate::error::{Context, Errno, Error, Fault, Object, Result, show};
use crate::mount::{Attributes, Tree};
pub use crate::mount::{MASKED, READ_ONLY};
use crate::sys::mount::{
    AT_EMPTY_PATH, AT_RECURSIVE, Config, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY,
    MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH, OPEN_TREE_CLONE, fsconfig, fsmount, fsopen, mount_id, move_mount,
    open_tree,
};

const BOTH_EMPTY: u32 = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;

fn fault_of(operation: &'static str, name: &'static CStr, errno: Errno) -> Fault<'static> {
    Fault::new(operation, Object::Text(name.to_bytes()), errno)
}

/// A directory that is going to be the root, held open: what its path means later does not matter.
#[derive(Debug)]
pub struct NewRoot {
    dir: OwnedFd,
    id: (u64, u64),
    /// Whether it is no mount point yet.
    to_bind: bool,
}

impl NewRoot {
    /// Opens a directory that is a mount point.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR: there is no such directory. EINVAL: not a mount point; or what pivot_root(2) would refuse without
    /// saying why: shared propagation, a caller in a chroot or on the initial ramfs. EBUSY: it is the root already.
    pub fn open(path: &Path) -> Result<NewRoot> {
        let dir = open_dir(path)?;
        if !is_mount_point(&dir, path)? {
            return Err(Error::invalid("use as root", show(path), "is not a mount point")
                .with_hint("mount something there, or bind-mount it onto itself with --bind-root"));
        }
        NewRoot::checked(dir, path, false)
    }

    /// The same for a directory that need not be a mount point: one that is none will be bind-mounted onto itself, with all
    /// that is mounted below it, in a [copy](NewRoot::in_copy) of the mount namespace. Nothing of it is left in this one.
    ///
    /// # Errors
    /// Those of [`NewRoot::open`].
    pub fn bind(path: &Path) -> Result<NewRoot> {
        let dir = open_dir(path)?;
        let to_bind = !is_mount_point(&dir, path)?;
        NewRoot::checked(dir, path, to_bind)
    }

    fn checked(dir: OwnedFd, path: &Path, to_bind: bool) -> Result<NewRoot> {
        check_pivot(&dir, path, to_bind)?;
        let stat = fstat(&dir).context("stat", show(path))?;
        Ok(NewRoot { id: (stat.st_dev, stat.st_ino), dir, to_bind })
    }

    /// Whether only a [copy](NewRoot::in_copy) can be pivoted to.
    pub fn needs_copy(&self) -> bool {
        self.to_bind
    }

    /// The same directory in a copy of the mount namespace, as a child has it that was made with `CLONE_NEWNS`: for when others
    /// are in this one, all of whose roots would change, or it is to be [bound](NewRoot::bind). The working directory, which
    /// must be this one, leads there. Allocates nothing.
    ///
    /// # Errors
    /// ESTALE: the working directory is another one. Those of openat(2), of open_tree(2).
    pub fn in_copy(&self) -> std::result::Result<NewRoot, Fault<'static>> {
        let fault = |operation| move |errno| Fault::new(operation, Object::None, errno);
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let operation = "open root in copy of mount namespace";
        let mut dir = openat(AT_FDCWD, c".", flags, Mode::empty()).map_err(fault(operation))?;
        let stat = fstat(&dir).map_err(fault(operation))?;
        let id = (stat.st_dev, stat.st_ino);
        if id != self.id {
            return Err(fault(operation)(Errno::ESTALE));
        }
        if self.to_bind {
            let operation = "bind-mount root onto itself";
            let bound = open_tree(&dir, c"", AT_EMPTY_PATH as u32 | OPEN_TREE_CLONE | AT_RECURSIVE as u32);
            let bound = bound.map_err(fault(operation))?;
            move_mount(&bound, c"", &dir, c"", BOTH_EMPTY).map_err(fault(operation))?;
            dir = bound;
        }
        Ok(NewRoot { dir, id, to_bind: false })
    }

    /// Mounts a procfs of the caller's pid namespace at `proc` below the root, which must be a directory there, not a link.
    /// It must be done before the old root is gone: a less privileged mount namespace may mount proc only while a fully
    /// visible one is mounted. Allocates nothing.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, ELOOP: there is no such directory. EPERM: the caller does not own its pid namespace, or the `/proc`
    /// that it sees is partly masked.
    pub fn mount_proc(&self) -> std::result::Result<(), Fault<'static>> {
        let fault =
            |operation, hint| move |errno| Fault { hint, ..Fault::new(operation, Object::Text(b"/proc"), errno) };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let missing = Some("the root needs a directory proc, or use --no-proc");
        let target = openat(&self.dir, c"proc", flags, Mode::empty()).map_err(fault("open mount point", missing))?;
        let revealing = Some("proc can be mounted in an own pid namespace, where the /proc seen now is not masked");
        let context = fsopen(c"proc").map_err(fault("mount", revealing))?;
        fsconfig(&context, Config::Create).map_err(fault("mount", revealing))?;
        let attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
        let proc = fsmount(&context, attributes).map_err(fault("mount", revealing))?;
        move_mount(&proc, c"", &target, c"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)
            .map_err(fault("mount", None))
    }

    /// Hides what the mounted `/proc` tells of the host or lets change there: [`MASKED`] files and directories are empty,
    /// [`READ_ONLY`] ones read-only, for good, the container's root included (see [`Tree::locked`]), if it is root of a user
    /// namespace of its own: root of the initial one can mount another proc. `null` is the null device. Allocates nothing.
    ///
    /// # Errors
    /// Those of mount_setattr(2) and of [`Tree::locked`].
    pub fn mask_proc(&self, null: impl AsFd) -> std::result::Result<(), Fault<'static>> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let open = |dir: BorrowedFd<'_>, name: &CStr| openat(dir, name, flags, Mode::empty());
        let proc = open(self.dir.as_fd(), c"proc").map_err(|errno| fault_of("open", c"/proc", errno))?;
        let read_only = Attributes::READ_ONLY;
        for (name, masked) in READ_ONLY.map(|name| (name, false)).into_iter().chain(MASKED.map(|name| (name, true))) {
            let mask = || -> nix::Result<()> {
                let target = match open(proc.as_fd(), name) {
                    Err(Errno::ENOENT) => return Ok(()),
                    other => other?,
                };
                let directory = fstat(&target)?.st_mode & libc::S_IFMT == libc::S_IFDIR;
                let tree = match (masked, directory) {
                    (true, true) => {
                        let context = fsopen(c"tmpfs")?;
                        fsconfig(&context, Config::Create)?;
                        let attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
                        return move_mount(fsmount(&context, attributes)?, c"", &target, c"", BOTH_EMPTY);
                    }
                    (true, false) => Tree::bind_with(null.as_fd(), false, read_only)?,
                    (false, _) => Tree::bind_with(&target, false, read_only)?,
                };
                tree.attach(&target)
            };
            mask().map_err(|errno| fault_of("mask in /proc", name, errno))?;
        }
        let lock = || -> nix::Result<()> {
            let locked = Tree::locked(proc.as_fd())?;
            fchdir(&proc)?;
            umount2(c".", MntFlags::MNT_DETACH)?;
            locked.attach(open(self.dir.as_fd(), c"proc")?)
        };
        let hint = "this needs a user namespace for a moment (see user.max_user_namespaces), or leave out --mask-proc";
        lock().map_err(|errno| fault_of("lock", c"/proc", errno).with_hint(hint))
    }

    /// Makes it the root of the mount namespace, detaches the old root with all that is mounted on it, and changes the working
    /// directory to the new `/`. Allocates nothing.
    ///
    /// # Errors
    /// EINVAL: the parent mount of either root is shared, or the current root is the initial ramfs or a chroot. EBUSY: it is
    /// the root already.
    #[doc(alias = "pivot_root")]
    pub fn pivot(&self) -> std::result::Result<(), Fault<'static>> {
        let fault = |operation, hint| move |errno| Fault { hint, ..Fault::new(operation, Object::None, errno) };
        let causes = Some(
            "make the mounts private or slave in an own mount namespace first; the initial ramfs and a chroot cannot be \
             pivoted from",
        );
        fchdir(&self.dir).map_err(fault("change to new root", None))?;
        pivot_root(c".", c".").map_err(fault("pivot_root", causes))?;
        // both roots are stacked at "." now, the old one on top; where it is still a peer of others they must not lose it
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&CStr>, c".", None::<&CStr>, private, None::<&CStr>)
            .map_err(fault("make old root private", None))?;
        umount2(c".", MntFlags::MNT_DETACH).map_err(fault("detach old root", None))?;
        chdir(c"/").map_err(fault("change to /", None))?;
        let root = stat(c"/").map_err(fault("stat new /", None))?;
        if (root.st_dev, root.st_ino) != self.id {
            return Err(Fault::new("verify new root", Object::None, Errno::ESTALE));
        }
        Ok(())
    }
}

impl AsFd for NewRoot {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

fn open_dir(path: &Path) -> Result<OwnedFd> {
    openat(AT_FDCWD, path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .context("open root", show(path))
}

/// Whether an open directory is the root of a mount: it and its `..` are on different mounts.
fn is_mount_point(dir: &OwnedFd, path: &Path) -> Result<bool> {
    let parent = open_dir_at(dir, "..").context("open parent of", show(path))?;
    let same = fstat(dir).context("stat", show(path))? == fstat(&parent).context("stat", show(path))?;
    Ok(same || id_of_mount(dir, path)? != id_of_mount(&parent, path)?)
}

fn open_dir_at(dir: &OwnedFd, path: &str) -> nix::Result<OwnedFd> {
    openat(dir, path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
}

fn id_of_mount(dir: &OwnedFd, path: &Path) -> Result<u64> {
    mount_id(dir).context("find mount of", show(path))
}

/// With `to_bind` the mount that `dir` is on is going to be its parent.
///
/// Says which of the reasons holds for which pivot_root(2) would say EINVAL or EBUSY alone. What mountinfo does not show is
/// left to pivot_root(2).
fn check_pivot(dir: &OwnedFd, path: &Path, to_bind: bool) -> Result<()> {
    let refuse =
        |reason: &str, hint: &'static str| Err(Error::invalid("use as root", show(path), reason).with_hint(hint));
    let (id, root) = (id_of_mount(dir, path)?, id_of_mount(&open_dir(Path::new("/"))?, Path::new("/"))?);
    if id == root && !to_bind {
        return Err(Error::new("use as root", show(path), Errno::EBUSY).with_reason("is the root already"));
    }
    let text = std::fs::read_to_string("/proc/self/mountinfo").context("read", "/proc/self/mountinfo")?;
    let mounts: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    let find = |id: &str| mounts.iter().find(|mount| mount.first() == Some(&id));
    let (id, root) = (id.to_string(), root.to_string());
    let shared = |mount: &Vec<&str>| mount.iter().take_while(|field| **field != "-").any(|f| f.starts_with("shared:"));
    match find(&root) {
        Some(mount) if mount.get(4) == Some(&"/") => {
            if mount.iter().skip_while(|field| **field != "-").nth(1) == Some(&"rootfs") {
                return refuse(
                    "cannot be pivoted to: the current root is the initial ramfs",
                    "first move another filesystem there: mount --move NEW / and chroot, as switch_root(8) does",
                );
            }
        }
        _ => {
            return refuse(
                "cannot be pivoted to: this process is in a chroot",
                "make the chroot directory a mount point of its own, or begin outside of it",
            );
        }
    }
    let own = find(&id);
    let parent = own.and_then(|mount| mount.get(1)).and_then(|parent| find(parent));
    if own.is_some_and(shared) || parent.is_some_and(shared) {
        return refuse(
            "is on shared mounts: what happens below would spread to other mount namespaces",
            "make an own mount namespace first, as ns-enter --new mnt does, or mount --make-rprivate /",
        );
    }
    Ok(())
}
