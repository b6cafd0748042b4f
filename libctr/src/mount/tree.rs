//! [`Tree`]: mounts held by descriptor, attached nowhere yet.

use std::ffi::{CStr, CString};
use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::{fchdir, read};

use super::options::unescaped;
use super::resolve::kind;
use crate::error::{Context, Errno, Error, Result};
use crate::sys;
use crate::sys::mount::{
    AT_EMPTY_PATH, AT_RECURSIVE, AT_SYMLINK_NOFOLLOW, Config, FSPICK_EMPTY_PATH, MOUNT_ATTR__ATIME, MOUNT_ATTR_IDMAP,
    MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY, MOUNT_ATTR_RELATIME, MOUNT_ATTR_STRICTATIME, MOVE_MOUNT_BENEATH,
    MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH, OPEN_TREE_CLONE, fsconfig, fsmount, fsopen, fspick, mount_attr,
    mount_setattr, move_mount, open_tree, place,
};

/// An option of a filesystem.
pub(super) type Pair = (CString, Option<CString>);

/// Attributes of mounts to set and to clear, see mount_setattr(2): `ro`, `nosuid`, …
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    set: u64,
    clear: u64,
}

/// Names as mount(8) has them, with the bits that each sets and clears.
const NAMES: [(&str, u64, u64); 14] = [
    ("ro", MOUNT_ATTR_RDONLY, 0),
    ("rw", 0, MOUNT_ATTR_RDONLY),
    ("nosuid", MOUNT_ATTR_NOSUID, 0),
    ("suid", 0, MOUNT_ATTR_NOSUID),
    ("nodev", MOUNT_ATTR_NODEV, 0),
    ("dev", 0, MOUNT_ATTR_NODEV),
    ("noexec", MOUNT_ATTR_NOEXEC, 0),
    ("exec", 0, MOUNT_ATTR_NOEXEC),
    ("nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0),
    ("symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW),
    ("noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME),
    ("relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME),
    ("strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME),
    ("nodiratime", MOUNT_ATTR_NODIRATIME, 0),
];

impl Attributes {
    /// `ro`.
    pub const READ_ONLY: Attributes = Attributes { set: MOUNT_ATTR_RDONLY, clear: 0 };

    /// Adds the attribute of this name, as mount(8) has it; the later of two that contradict each other holds. Returns whether
    /// there is one.
    pub fn add(&mut self, name: &str) -> bool {
        let Some((_, set, clear)) = NAMES.iter().find(|(known, ..)| *known == name) else { return false };
        self.set = self.set & !clear | set;
        self.clear = self.clear & !set | clear;
        true
    }

    /// These, by name.
    ///
    /// # Errors
    /// EINVAL: there is no attribute of one of the names.
    pub fn new(names: &[&str]) -> Result<Attributes> {
        let mut attributes = Attributes::default();
        match names.iter().find(|name| !attributes.add(name)) {
            Some(name) => Err(Error::invalid("use mount attribute", name, "there is none of that name")),
            None => Ok(attributes),
        }
    }

    /// Whether nothing is to change.
    pub fn is_empty(self) -> bool {
        self == Attributes::default()
    }

    /// The flags of mount(2) that `flags` become.
    pub(super) fn of(self, flags: MsFlags) -> MsFlags {
        let (set, clear) = (to_flags(self.set), to_flags(self.clear));
        // the kinds of atime exclude each other
        let clear = if self.clear & MOUNT_ATTR__ATIME != 0 {
            clear | MsFlags::MS_RELATIME | MsFlags::MS_STRICTATIME
        } else {
            clear
        };
        let relatime = self.clear & MOUNT_ATTR__ATIME != 0 && self.set & MOUNT_ATTR__ATIME == MOUNT_ATTR_RELATIME;
        flags.difference(clear) | set | if relatime { MsFlags::MS_RELATIME } else { MsFlags::empty() }
    }

    /// Whether it makes read-only.
    pub fn is_read_only(self) -> bool {
        self.set & MOUNT_ATTR_RDONLY != 0
    }
}

/// What mount(2) calls these attributes.
fn to_flags(attributes: u64) -> MsFlags {
    let pairs = [
        (MOUNT_ATTR_RDONLY, MsFlags::MS_RDONLY),
        (MOUNT_ATTR_NOSUID, MsFlags::MS_NOSUID),
        (MOUNT_ATTR_NODEV, MsFlags::MS_NODEV),
        (MOUNT_ATTR_NOEXEC, MsFlags::MS_NOEXEC),
        (MOUNT_ATTR_NOSYMFOLLOW, MsFlags::from_bits_retain(256)),
        (MOUNT_ATTR_NOATIME, MsFlags::MS_NOATIME),
        (MOUNT_ATTR_STRICTATIME, MsFlags::MS_STRICTATIME),
        (MOUNT_ATTR_NODIRATIME, MsFlags::MS_NODIRATIME),
    ];
    let set = pairs.iter().filter(|(attribute, _)| attributes & attribute == *attribute);
    set.fold(MsFlags::empty(), |flags, (_, flag)| flags | *flag)
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ours = |(_, set, clear): &&(&str, u64, u64)| match (*set, *clear) {
            (set, MOUNT_ATTR__ATIME) => self.clear & MOUNT_ATTR__ATIME != 0 && self.set & MOUNT_ATTR__ATIME == set,
            (0, clear) => self.clear & clear == clear,
            (set, _) => self.set & set == set,
        };
        let names: Vec<&str> = NAMES.iter().filter(ours).map(|(name, ..)| *name).collect();
        f.write_str(&names.join(","))
    }
}

/// One mount, or several below each other, that are attached to no mount namespace; gone when dropped, unless
/// [attached](Tree::attach). It can be passed to another process, which can attach it where it could never have mounted it.
#[derive(Debug)]
pub struct Tree {
    fd: OwnedFd,
    /// What mount_setattr(2), which is missing, could not do yet.
    later: Later,
}

#[derive(Debug, Default)]
struct Later {
    private: bool,
    attributes: Vec<(Attributes, bool)>,
}

impl Tree {
    /// A copy of the mount at `source`, as bind mounts are; with `recursive` of all mounts below it too. The copy is private
    /// (Linux 5.12): as a peer of a shared mount it would carry what is mounted on it in a container back to the host.
    ///
    /// # Errors
    /// ENOSYS: older than 5.12.
    /// EPERM: no CAP_SYS_ADMIN over the mount namespace. EINVAL: `source` has mounts below it that a more privileged mount
    /// namespace made, which a copy of it alone would uncover.
    #[doc(alias = "open_tree")]
    pub fn bind(source: impl AsFd, recursive: bool) -> nix::Result<Tree> {
        Tree::bind_with(source, recursive, Attributes::default())
    }

    /// As [`Tree::bind`] and then [`Tree::set`], in one call: with `recursive` of every mount of the tree.
    pub(crate) fn bind_with(source: impl AsFd, recursive: bool, attributes: Attributes) -> nix::Result<Tree> {
        let flags = AT_EMPTY_PATH as u32 | OPEN_TREE_CLONE | if recursive { AT_RECURSIVE as u32 } else { 0 };
        Tree::private(open_tree(source, c"", flags)?, recursive, attributes)
    }

    /// As [`Tree::bind_with`], of what is at `path`, whose links are followed.
    pub(super) fn bind_path(path: &Path, recursive: bool, attributes: Attributes) -> nix::Result<Tree> {
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
        let flags = OPEN_TREE_CLONE | if recursive { AT_RECURSIVE as u32 } else { 0 };
        Tree::private(open_tree(AT_FDCWD, &path, flags)?, recursive, attributes)
    }

    /// A copy that has just been made, private and with these attributes.
    fn private(copy: OwnedFd, recursive: bool, attributes: Attributes) -> nix::Result<Tree> {
        let propagation = MsFlags::MS_PRIVATE.bits();
        let attr = mount_attr { attr_set: attributes.set, attr_clr: attributes.clear, propagation, userns_fd: 0 };
        let set = mount_setattr(&copy, c"", AT_EMPTY_PATH as u32 | AT_RECURSIVE as u32, &attr);
        let mut tree = Tree::from_fd(copy);
        if is_missing(set)? {
            tree.later.private = true;
            tree.later.attributes.extend((!attributes.is_empty()).then_some((attributes, recursive)));
        }
        Ok(tree)
    }

    /// A copy of what is mounted at `mounted`, and below, to be put in its place when that is detached. It is private: what is
    /// detached from a peer would go from it too.
    pub(super) fn copy(mounted: impl AsFd) -> nix::Result<Tree> {
        Tree::bind_with(mounted, true, Attributes::default())
    }

    /// A new instance of filesystem `fstype` with `options`, each a name and perhaps a value.
    ///
    /// # Errors
    /// ENODEV: the kernel has no such filesystem. EINVAL: it refuses an option. EPERM: not allowed here. The kernel's own words,
    /// where it has any, are the reason.
    #[doc(alias = "fsopen")]
    #[doc(alias = "fsmount")]
    pub fn filesystem(
        fstype: &CStr,
        source: Option<&CStr>,
        options: &[(CString, Option<CString>)],
        attributes: Attributes,
    ) -> Result<Tree> {
        Tree::filesystem_with(fstype, source, &[], options, attributes)
    }

    /// As [`Tree::filesystem`], with options before the others whose values are descriptors.
    pub(super) fn filesystem_with(
        fstype: &CStr,
        source: Option<&CStr>,
        dirs: &[(&CStr, BorrowedFd<'_>)],
        options: &[Pair],
        attributes: Attributes,
    ) -> Result<Tree> {
        let name = fstype.to_string_lossy();
        if super::legacy::is_needed(fstype, options) {
            let mounted = super::legacy::filesystem(source, options)?.and_then(|copy| {
                let mut tree = Tree::from_fd(copy);
                tree.set(attributes, false).map(|()| tree)
            });
            return mounted.map_err(|errno| explain(Error::new("mount filesystem", &name, errno), &name));
        }
        let context = fsopen(fstype).context("open filesystem", &name).map_err(|error| match error.errno() {
            Errno::ENODEV => error.with_reason("the kernel has no filesystem of this type"),
            Errno::EPERM => error.with_hint(NEEDS_RIGHTS),
            _ => error,
        })?;
        let failed = |errno| explain(with_log(Error::new("mount filesystem", &name, errno), &context), &name);
        if let Some(source) = source {
            fsconfig(&context, Config::String(c"source", source)).map_err(failed)?;
        }
        for (key, dir) in dirs {
            fsconfig(&context, Config::Fd(key, *dir)).map_err(|errno| {
                let error = Error::new("set option", format_args!("{} of {name}", key.to_string_lossy()), errno);
                match errno {
                    Errno::EINVAL => with_log(error, &context).with_hint("proc takes pidns since Linux 6.17"),
                    _ => with_log(error, &context),
                }
            })?;
        }
        configure(&context, &pieces(options), &name)?;
        fsconfig(&context, Config::Create).map_err(failed)?;
        fsmount(&context, attributes.set).map(Tree::from_fd).map_err(failed)
    }

    /// Sets and clears attributes; with `recursive` of every mount of the tree, all or none. Before Linux 5.12 it is done when
    /// the tree is [attached](Tree::attach).
    ///
    /// # Errors
    /// EPERM: an attribute that a more privileged mount namespace set would be cleared.
    #[doc(alias = "mount_setattr")]
    pub fn set(&mut self, attributes: Attributes, recursive: bool) -> nix::Result<()> {
        let attr = mount_attr { attr_set: attributes.set, attr_clr: attributes.clear, propagation: 0, userns_fd: 0 };
        if is_missing(mount_setattr(&self.fd, c"", flags(recursive), &attr))? {
            self.later.attributes.push((attributes, recursive));
        }
        Ok(())
    }

    /// Changes attributes of what is mounted, not of a detached tree.
    pub(super) fn remount(mounted: impl AsFd, attributes: Attributes, recursive: bool) -> nix::Result<()> {
        let attr = mount_attr { attr_set: attributes.set, attr_clr: attributes.clear, propagation: 0, userns_fd: 0 };
        match is_missing(mount_setattr(&mounted, c"", flags(recursive), &attr))? {
            true => super::remount::set(mounted, attributes, recursive),
            false => Ok(()),
        }
    }

    /// Shows the owners of files as the maps of `user`, a user namespace, say (Linux 5.12): what the host's 0 owns is owned by
    /// what 0 is mapped to. Only before it is attached.
    ///
    /// # Errors
    /// EINVAL: the filesystem cannot, or it is the initial user namespace. EPERM: no CAP_SYS_ADMIN over the filesystem.
    #[doc(alias = "MOUNT_ATTR_IDMAP")]
    pub fn map_ids(&self, user: impl AsFd, recursive: bool) -> nix::Result<()> {
        let userns_fd = user.as_fd().as_raw_fd() as u64;
        let attr = mount_attr { attr_set: MOUNT_ATTR_IDMAP, attr_clr: 0, propagation: 0, userns_fd };
        mount_setattr(&self.fd, c"", flags(recursive), &attr)
    }

    /// A tree that another process made and passed on.
    pub fn from_fd(fd: OwnedFd) -> Tree {
        Tree { fd, later: Later::default() }
    }

    /// Puts the descriptor out of the caller's hands, to pass it on.
    ///
    /// # Errors
    /// ENOSYS: before Linux 5.12 a copy of a mount cannot be made private, or read-only and the like, before it is attached.
    pub fn into_fd(self) -> nix::Result<OwnedFd> {
        if self.later.private || !self.later.attributes.is_empty() { Err(Errno::ENOSYS) } else { Ok(self.fd) }
    }

    /// Its descriptor, when it is attached.
    pub(super) fn into_mounted(self) -> OwnedFd {
        self.fd
    }

    /// Attaches it on `target`, a directory for a tree whose root is one, else a file. The descriptor then is that
    /// of the root of what is mounted there.
    ///
    /// # Errors
    /// ENOTDIR: one is a directory, the other is not. EINVAL: `target` is in another mount namespace. EPERM: no CAP_SYS_ADMIN
    /// over the mount namespace.
    #[doc(alias = "move_mount")]
    pub fn attach(&self, target: impl AsFd) -> nix::Result<()> {
        move_mount(&self.fd, c"", target, c"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)?;
        let finish = || {
            if self.later.private {
                propagate(&self.fd, MsFlags::MS_REC | MsFlags::MS_PRIVATE)?;
            }
            self.later
                .attributes
                .iter()
                .try_for_each(|(attributes, recursive)| super::remount::set(&self.fd, *attributes, *recursive))
        };
        if let Err(errno) = finish() {
            let _ = detach(&self.fd);
            return Err(errno);
        }
        Ok(())
    }

    /// Attaches it where the mount is whose root `top` is, on top there, beneath that (Linux 6.5).
    ///
    /// # Errors
    /// EINVAL: older, `top` is covered, or locked by a more privileged mount namespace, or propagation would show it twice.
    pub(super) fn attach_beneath(&self, top: impl AsFd) -> nix::Result<()> {
        let flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH | MOVE_MOUNT_BENEATH;
        move_mount(&self.fd, c"", top, c"", flags)
    }

    /// A copy of the tree that is mounted at `mounted`, a directory, which the caller itself cannot change any more: what is
    /// read-only stays so, what is mounted on it stays, for all who are not more privileged than the caller.
    ///
    /// The kernel locks mounts that it copies into a less privileged mount namespace. So a short-lived child makes such a
    /// namespace and opens the copy there. Of the caller's rights nothing changes.
    ///
    /// # Errors
    /// ENOSPC, EPERM: no user namespace can be made. ENOTDIR: not a directory.
    #[doc(alias = "MNT_LOCK_READONLY")]
    pub fn locked(mounted: impl AsFd) -> nix::Result<Tree> {
        // not `.`, which would need search permission, of which a user namespace takes root's exemption
        Tree::locked_at(mounted, c"")
    }

    /// As [`Tree::locked`], of what is mounted at `name`, a file perhaps, in the directory `dir`.
    pub(super) fn locked_at(dir: impl AsFd, name: &CStr) -> nix::Result<Tree> {
        let dir = dir.as_fd();
        let go = || {
            fchdir(dir)?;
            unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
        };
        let flags = OPEN_TREE_CLONE | AT_RECURSIVE as u32 | AT_SYMLINK_NOFOLLOW as u32 | AT_EMPTY_PATH as u32;
        let copy = || open_tree(AT_FDCWD, name, flags);
        // a slave would lose what is unmounted with the original
        Tree::private(sys::clone::open_elsewhere(&[dir], &go, &copy)??, true, Attributes::default())
    }
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The options as fsconfig(2) takes them: a `lowerdir` of overlay that is too long is one layer a call (Linux 6.5).
pub(super) fn pieces(options: &[Pair]) -> Vec<Pair> {
    let pieces = |(key, value): &Pair| match value {
        Some(list) if key.as_c_str() == c"lowerdir" && list.as_bytes().len() > 255 => {
            let mut key = c"lowerdir+";
            let mut pieces = Vec::new();
            for layer in unescaped(list.as_bytes(), b':') {
                // `::` comes before layers that have data alone
                if layer.is_empty() {
                    key = c"datadir+";
                    continue;
                }
                let mut escaped = false;
                let plain = layer.iter().copied().filter(|byte| {
                    escaped = *byte == b'\\' && !escaped;
                    !escaped
                });
                pieces.push((key.to_owned(), CString::new(plain.collect::<Vec<u8>>()).ok()));
            }
            pieces
        }
        _ => vec![(key.clone(), value.clone())],
    };
    options.iter().flat_map(pieces).collect()
}

/// Sets the options of a filesystem, before it is made or changed.
fn configure(context: &OwnedFd, options: &[Pair], name: &str) -> Result<()> {
    for (key, value) in options {
        let config = match value {
            Some(value) => Config::String(key, value),
            None => Config::Flag(key),
        };
        fsconfig(context, config).map_err(|errno| {
            let shown = match value {
                Some(value) => format!("{}={}", key.to_string_lossy(), value.to_string_lossy()),
                None => key.to_string_lossy().into_owned(),
            };
            with_log(Error::new("set option", format_args!("{shown} of {name}"), errno), context)
        })?;
    }
    Ok(())
}

/// Changes options of the filesystem that is mounted at `mounted`, which messages call `name`.
pub(super) fn reconfigure(mounted: impl AsFd, options: &[Pair], name: &str) -> Result<()> {
    let context = fspick(mounted, c"", FSPICK_EMPTY_PATH).context("open filesystem at", name).map_err(|error| {
        match error.errno() {
            Errno::EPERM => error.with_hint("this needs CAP_SYS_ADMIN over the filesystem's user namespace"),
            _ => error,
        }
    })?;
    configure(&context, options, name)?;
    fsconfig(&context, Config::Reconfigure)
        .map_err(|errno| with_log(Error::new("change filesystem at", name, errno), &context))
}

/// What whoever gets EPERM for whatever is asked should know.
pub(super) const NEEDS_RIGHTS: &str = "this needs CAP_SYS_ADMIN over the mount namespace";

/// Whether it is that.
pub(super) fn has_no_rights() -> bool {
    fsopen(c"tmpfs").is_err_and(|errno| errno == Errno::EPERM)
}

/// Whether mount_setattr(2) is missing: ENOSYS, or EPERM where a filter makes it fail whatever it is asked.
fn is_missing(result: nix::Result<()>) -> nix::Result<bool> {
    match result {
        Ok(()) => Ok(false),
        Err(Errno::ENOSYS) => Ok(true),
        // asked for nothing on no descriptor, the kernel itself has another errno
        Err(Errno::EPERM)
            if mount_setattr(
                AT_FDCWD,
                c"",
                0,
                &mount_attr { attr_set: 0, attr_clr: 0, propagation: 1, userns_fd: 0 },
            ) == Err(Errno::EPERM) =>
        {
            Ok(true)
        }
        Err(errno) => Err(errno),
    }
}

fn flags(recursive: bool) -> u32 {
    AT_EMPTY_PATH as u32 | if recursive { AT_RECURSIVE as u32 } else { 0 }
}

/// Detaches the mount whose root `mounted` is, and all below it. Nothing may be mounted over it: that would go instead.
pub(super) fn detach(mounted: impl AsFd) -> nix::Result<()> {
    with_path(mounted.as_fd(), |path| umount2(path, MntFlags::MNT_DETACH))
}

/// Changes propagation: `how` is one of `MS_PRIVATE`, …, perhaps with `MS_REC`.
pub(super) fn propagate(mounted: impl AsFd, how: MsFlags) -> nix::Result<()> {
    let propagation = how.difference(MsFlags::MS_REC).bits();
    let attr = mount_attr { attr_set: 0, attr_clr: 0, propagation, userns_fd: 0 };
    if is_missing(mount_setattr(&mounted, c"", flags(how.contains(MsFlags::MS_REC)), &attr))? {
        with_path(mounted.as_fd(), |path| mount(None::<&CStr>, path, None::<&CStr>, how, None::<&CStr>))?;
    }
    Ok(())
}

/// Calls mount(2) or umount2(2), which take no descriptors, with a path that is `fd`: for a directory `.`, else a link of
/// proc(5), verified. In a short-lived child, since the working directory is one for all threads.
pub(super) fn with_path(fd: BorrowedFd<'_>, call: impl Fn(&CStr) -> nix::Result<()>) -> nix::Result<()> {
    let name = number(fd);
    let directory = kind(fd)? == SFlag::S_IFDIR;
    // as in every child of a program that may have threads, no allocation
    let go = || {
        match fchdir(fd) {
            Ok(()) if directory => return call(c"."),
            // a file, or a directory that may not be searched
            Err(Errno::ENOTDIR | Errno::EACCES) | Ok(()) => {}
            Err(errno) => return Err(errno),
        }
        fchdir(own_descriptors(fd, &name)?)?;
        call(&name)
    };
    let child = || go().map_or_else(|errno| errno as i32, |()| 0);
    let (_, pidfd) = sys::clone::helper(child)?;
    loop {
        match sys::clone::wait_exit(&pidfd) {
            Ok((libc::CLD_EXITED, 0)) => return Ok(()),
            Ok((libc::CLD_EXITED, errno)) => return Err(Errno::from_raw(errno)),
            Ok(_) => return Err(Errno::ESRCH),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn number(fd: BorrowedFd<'_>) -> CString {
    CString::new(fd.as_raw_fd().to_string()).unwrap_or_default()
}

/// `/proc/self/fd`, where it is a proc(5) that has `fd` under its number. ESTALE: it is something else.
fn own_descriptors(fd: BorrowedFd<'_>, name: &CStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let dir = openat(AT_FDCWD, c"/proc/self/fd", flags | OFlag::O_DIRECTORY, Mode::empty())?;
    if fstatfs(&dir)?.filesystem_type() != PROC_SUPER_MAGIC
        || place(openat(&dir, name, flags, Mode::empty())?)? != place(fd)?
    {
        return Err(Errno::ESTALE);
    }
    Ok(dir)
}

/// A path that is `fd`, for what takes neither descriptors nor `.`: as long as nobody mounts anything on `/proc`.
pub(super) fn path_of(fd: BorrowedFd<'_>) -> nix::Result<String> {
    own_descriptors(fd, &number(fd))?;
    Ok(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Puts what the kernel has to say about a filesystem context into the reason.
fn with_log(error: Error, context: &OwnedFd) -> Error {
    let mut said = Vec::new();
    let mut buffer = [0; 1024];
    // one message a read(2): `e tmpfs: Bad value for 'mode'`
    while let Ok(count @ 1..) = read(context, &mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..count]).trim().to_owned();
        said.push(text.get(2..).unwrap_or_default().to_owned());
    }
    if said.is_empty() { error } else { error.with_reason(said.join("; ")) }
}

fn explain(error: Error, fstype: &str) -> Error {
    match (error.errno(), fstype) {
        (Errno::EINVAL, "overlay") if error.reason() == crate::error::strerror(Errno::EINVAL) => error.with_hint(
            "it needs lowerdir, and upperdir with workdir or neither, which are on one filesystem and not within each other; \
             the kernel's log says more",
        ),
        (Errno::EPERM, "proc") => error.with_hint(
            "proc needs an own pid namespace, and that the /proc seen now is not masked; pivot-init mounts it, with --mask-proc masked",
        ),
        (Errno::EPERM, "sysfs") => error.with_hint("sysfs needs an own network namespace, and that /sys is not masked"),
        (Errno::EPERM, "mqueue") => error.with_hint("mqueue needs an own ipc namespace"),
        (Errno::EPERM, "cgroup2") => error.with_hint("cgroup2 needs an own cgroup namespace"),
        (Errno::EPERM, _) => {
            error.with_hint("this filesystem may be mounted by root of the initial user namespace only")
        }
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_have_the_names_of_mount() {
        let mut attributes = Attributes::new(&["ro", "nosuid", "noatime"]).unwrap();
        assert_eq!(attributes.to_string(), "ro,nosuid,noatime");
        assert!(attributes.is_read_only() && attributes.add("rw") && !attributes.is_read_only());
        assert!(attributes.add("relatime"));
        assert_eq!(attributes.to_string(), "rw,nosuid,relatime");
        assert!(!attributes.add("uid=0"));
    }
}
