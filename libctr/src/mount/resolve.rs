//! [`Root`]: paths below a directory, which no symbolic link and no `..` leads out of.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2, readlinkat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat, mkdirat};
use nix::sys::statfs::{PROC_SUPER_MAGIC, fstatfs};
use nix::unistd::symlinkat;

use super::journal::Journal;
use crate::error::{Context, Errno, Error, Result, show};
use crate::sys::mount::{Place, place};

/// A directory that is `/` for the paths resolved in it: absolute links and `..` end there, as they will when it has become
/// the root.
#[derive(Clone, Debug)]
pub struct Root {
    dir: Rc<OwnedFd>,
    place: Place,
    umask: Mode,
    walk: bool,
}

const PATH_ONLY: OFlag = OFlag::O_PATH.union(OFlag::O_CLOEXEC);

impl Root {
    /// Opens the directory `path`, whose links are followed as usual.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn open(path: &Path) -> Result<Root> {
        let dir =
            openat(AT_FDCWD, path, PATH_ONLY | OFlag::O_DIRECTORY, Mode::empty()).context("open root", show(path))?;
        let place = place(&dir).context("stat root", show(path))?;
        Ok(Root { dir: Rc::new(dir), place, umask: umask(), walk: false })
    }

    /// The root itself.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// What is mounted over it now, as the root, or itself.
    pub(super) fn topmost(&self) -> nix::Result<Root> {
        // `..` of a root is the root, and leads to what is mounted there
        match self.ask_kernel(Path::new("..")) {
            Err(Errno::ENOSYS | Errno::EPERM) => Ok(self.clone()),
            other => self.at(other?),
        }
    }

    /// As this, with another directory.
    pub(super) fn at(&self, dir: OwnedFd) -> nix::Result<Root> {
        Ok(Root { place: place(&dir)?, dir: Rc::new(dir), ..*self })
    }

    /// Where it is.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Opens what `path` names below the root, with `O_PATH`; links are followed, the last one too. Where openat2(2) is
    /// missing or filtered it walks the path itself; then it takes no link on a procfs, since it cannot tell the magic ones.
    ///
    /// # Errors
    /// ENOENT, ENOTDIR, ELOOP (a magic link of procfs, too), EXDEV, and others of openat2(2).
    #[doc(alias = "openat2")]
    pub fn resolve(&self, path: &Path) -> nix::Result<OwnedFd> {
        if self.walk {
            return self.walk(path);
        }
        match self.ask_kernel(if path.as_os_str().is_empty() { Path::new(".") } else { path }) {
            Err(Errno::ENOSYS | Errno::EPERM) => self.walk(path),
            other => other,
        }
    }

    /// The path without links and `..` below the root that leads to what is open; `otherwise` where proc(5) does not tell.
    pub(super) fn real_path(&self, fd: impl AsFd, otherwise: &Path) -> PathBuf {
        let below = || self.below(&path_of(fd.as_fd()).ok()?);
        below().unwrap_or_else(|| otherwise.to_owned())
    }

    /// A path below the root, given from the root of this process.
    pub(super) fn below(&self, path: &Path) -> Option<PathBuf> {
        path.strip_prefix(path_of(self.dir()).ok()?).ok().map(|rest| Path::new("/").join(rest))
    }

    fn ask_kernel(&self, path: &Path) -> nix::Result<OwnedFd> {
        let flags = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new().flags(PATH_ONLY).resolve(flags);
        // EAGAIN: something was renamed or mounted meanwhile, so that the kernel could not tell
        for _ in 0..128 {
            match openat2(self.dir.as_fd(), path, how) {
                Err(Errno::EAGAIN) => {}
                other => return other,
            }
        }
        Err(Errno::EAGAIN)
    }

    /// What [`Root::resolve`] does without openat2(2): every component is opened on its own, links are read and put in front
    /// of what is left. It holds the directories that it came through, so `..` never asks the kernel.
    fn walk(&self, path: &Path) -> nix::Result<OwnedFd> {
        let mut rest = components(path.as_os_str());
        let mut above: Vec<OwnedFd> = Vec::new();
        let mut here = self.dir.try_clone().map_err(|_| Errno::EMFILE)?;
        let mut links = 0;
        while let Some(component) = rest.pop() {
            if component == "." {
                require_directory(&here)?;
                continue;
            }
            if component == ".." {
                require_directory(&here)?;
                if let Some(parent) = above.pop() {
                    here = parent;
                }
                continue;
            }
            let next = openat(&here, component.as_os_str(), PATH_ONLY | OFlag::O_NOFOLLOW, Mode::empty())?;
            if kind(&next)? != SFlag::S_IFLNK {
                above.push(std::mem::replace(&mut here, next));
                continue;
            }
            links += 1;
            if links > 40 || fstatfs(&next)?.filesystem_type() == PROC_SUPER_MAGIC {
                return Err(Errno::ELOOP);
            }
            let target = readlinkat(&next, "")?;
            if target.is_empty() {
                return Err(Errno::ENOENT);
            }
            if target.as_bytes().first() == Some(&b'/') {
                above.clear();
                here = self.dir.try_clone().map_err(|_| Errno::EMFILE)?;
            }
            rest.extend(components(&target));
        }
        Ok(here)
    }

    /// Opens the directory `path` below the root, and says whether it was made, making it and its missing parents with `mode`.
    /// Every one is made on the descriptor of its parent; what was made is added to the journal.
    pub(super) fn make_dir(&self, path: &Path, mode: Mode, journal: &mut Journal<'_>) -> Result<(Rc<OwnedFd>, bool)> {
        let mut here = Rc::clone(&self.dir);
        let mut walked = PathBuf::new();
        let mut parts =
            path.components().filter(|part| !matches!(part, Component::RootDir | Component::CurDir)).peekable();
        let mut new = false;
        while let Some(part) = parts.next() {
            walked.push(part);
            // the last one is probably missing, those above it are probably there
            let made_first = match part {
                Component::Normal(name) if parts.peek().is_none() => {
                    self.make_one_dir(&here, name, &walked, mode, journal)?
                }
                _ => None,
            };
            new = true;
            here = match (made_first, part) {
                (Some(dir), _) => dir,
                (None, part) => match (self.resolve(&walked), part) {
                    (Err(Errno::ENOENT), Component::Normal(name)) => {
                        let dir = self.make_one_dir(&here, name, &walked, mode, journal)?;
                        dir.ok_or_else(|| {
                            Error::new("make directory", shown(&walked), Errno::EEXIST)
                                .with_reason("a symbolic link to nothing is there")
                        })?
                    }
                    (other, _) => {
                        new = false;
                        Rc::new(other.context("open", shown(&walked))?)
                    }
                },
            };
        }
        if !new {
            require_directory(&here).context("use as directory", shown(&walked))?;
        }
        Ok((here, new))
    }

    /// Makes a directory; `None` where something is there already.
    fn make_one_dir(
        &self,
        parent: &Rc<OwnedFd>,
        name: &OsStr,
        path: &Path,
        mode: Mode,
        journal: &mut Journal<'_>,
    ) -> Result<Option<Rc<OwnedFd>>> {
        let name =
            CString::new(name.as_bytes()).map_err(|_| Error::invalid("make", shown(path), "holds a NUL byte"))?;
        journal.will_make(parent, &name, path, Path::new(""));
        match mkdirat(parent.as_fd(), name.as_c_str(), mode) {
            Err(Errno::EEXIST) => return Ok(None),
            other => other.context("make directory", shown(path))?,
        }
        journal.made(parent, &name, path)?;
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = openat(parent.as_fd(), name.as_c_str(), flags, Mode::empty()).context("open", shown(path))?;
        self.set_mode(&dir, mode, path)?;
        Ok(Some(Rc::new(dir)))
    }

    /// Sets the mode of what has just been made, if the umask has taken something away.
    fn set_mode(&self, file: &OwnedFd, mode: Mode, path: &Path) -> Result<()> {
        if self.umask.intersects(mode) { fchmod(file, mode).context("set mode of", shown(path)) } else { Ok(()) }
    }

    /// Opens the directory that `path` is in, making it where it is missing, and returns it with the last name of `path`.
    pub(super) fn make_parent(&self, path: &Path, journal: &mut Journal<'_>) -> Result<(Rc<OwnedFd>, CString)> {
        let (parent, name) = (path.parent(), path.file_name());
        let (Some(parent), Some(name)) = (parent, name) else {
            return Err(Error::invalid("make", shown(path), "it needs a name that is not . or .."));
        };
        let name =
            CString::new(name.as_bytes()).map_err(|_| Error::invalid("make", shown(path), "holds a NUL byte"))?;
        Ok((self.make_dir(parent, Mode::from_bits_retain(0o755), journal)?.0, name))
    }

    /// Opens the file `path` for writing, made empty with `mode` if it is missing. A link is not followed.
    pub(super) fn make_file(&self, path: &Path, mode: Mode, journal: &mut Journal<'_>) -> Result<(OwnedFd, bool)> {
        let (parent, name) = self.make_parent(path, journal)?;
        journal.will_make(&parent, &name, path, Path::new(""));
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        match openat(parent.as_fd(), name.as_c_str(), flags, mode) {
            Err(Errno::EEXIST) => Ok((self.resolve(path).context("open", shown(path))?, false)),
            other => {
                let file = other.context("create file", shown(path))?;
                journal.made(&parent, &name, path)?;
                self.set_mode(&file, mode, path)?;
                Ok((file, true))
            }
        }
    }

    /// Makes the symbolic link `path`. One that says the same may be there.
    pub(super) fn make_link(&self, path: &Path, target: &OsStr, journal: &mut Journal<'_>) -> Result<()> {
        let (parent, name) = self.make_parent(path, journal)?;
        journal.will_make(&parent, &name, path, target.as_ref());
        match symlinkat(target, parent.as_fd(), name.as_c_str()) {
            Err(Errno::EEXIST) if readlinkat(parent.as_fd(), name.as_c_str()).is_ok_and(|text| text == target) => {
                Ok(())
            }
            other => {
                other.context("make symbolic link", shown(path))?;
                journal.made(&parent, &name, path)
            }
        }
    }
}

/// What proc(5) says that is open.
fn path_of(fd: BorrowedFd<'_>) -> nix::Result<PathBuf> {
    readlinkat(AT_FDCWD, format!("/proc/self/fd/{}", fd.as_raw_fd()).as_str()).map(PathBuf::from)
}

/// The file mode creation mask, which only proc(5) tells without changing it; all of it where that is not there.
fn umask() -> Mode {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Umask:"));
    let mask = line.and_then(|mask| u32::from_str_radix(mask.trim(), 8).ok());
    Mode::from_bits_retain(mask.unwrap_or(0o7777))
}

/// A path below the root as messages say it.
pub(super) fn shown(path: &Path) -> String {
    show(&Path::new("/").join(path)).to_string()
}

pub(super) fn kind(fd: impl AsFd) -> nix::Result<SFlag> {
    Ok(SFlag::from_bits_truncate(fstat(fd)?.st_mode) & SFlag::S_IFMT)
}

fn require_directory(fd: &OwnedFd) -> nix::Result<()> {
    if kind(fd)? == SFlag::S_IFDIR { Ok(()) } else { Err(Errno::ENOTDIR) }
}

/// The parts of a path, the last one first. One that ends in `/` needs a directory, which `.` stands for.
fn components(path: &OsStr) -> Vec<OsString> {
    let bytes = path.as_bytes();
    let mut parts: Vec<OsString> = Vec::new();
    if bytes.last() == Some(&b'/') {
        parts.push(".".into());
    }
    parts.extend(
        bytes.split(|byte| *byte == b'/').rev().filter(|part| !part.is_empty()).map(|p| OsStr::from_bytes(p).into()),
    );
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of links that lead everywhere, removed at the end.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Tree {
            let path = std::env::temp_dir().join(format!("libctr-{name}-{}", std::process::id()));
            std::fs::create_dir_all(path.join("usr/lib")).unwrap();
            std::fs::create_dir_all(path.join("run")).unwrap();
            std::fs::write(path.join("usr/file"), "x").unwrap();
            for (link, target) in [
                ("lib", "usr/lib"),
                ("abs", "/usr"),
                ("up", "../../../../usr"),
                ("loop", "loop"),
                ("dangling", "/nothing/here"),
                ("usr/back", ".."),
                ("usr/lib/top", "/"),
                ("slash", "usr/"),
                ("file-slash", "usr/file/"),
                ("host", "/etc/passwd"),
                ("dot", "./usr/./lib"),
            ] {
                std::os::unix::fs::symlink(target, path.join(link)).unwrap();
            }
            Tree(path)
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn id(fd: nix::Result<OwnedFd>) -> nix::Result<(u64, u64)> {
        fd.map(|fd| fstat(&fd).map(|stat| (stat.st_dev, stat.st_ino)).unwrap())
    }

    #[test]
    fn both_resolvers_agree_and_nothing_leads_out() {
        let tree = Tree::new("resolve");
        let root = Root::open(&tree.0).unwrap();
        let names = [
            "",
            "/",
            ".",
            "..",
            "usr",
            "/usr/",
            "lib",
            "abs",
            "abs/lib",
            "up",
            "loop",
            "dangling",
            "usr/back",
            "usr/back/lib/",
            "usr/lib/top/abs",
            "slash",
            "slash/lib",
            "file-slash",
            "usr/file",
            "usr/file/",
            "usr/file/.",
            "usr/file/..",
            "host",
            "dot",
            "../../etc/passwd",
            "nothing",
            "nothing/..",
            "usr//lib//",
            "abs/../run",
            "lib/..",
            "lib/../..",
        ];
        for first in names {
            assert_eq!(id(root.resolve(Path::new(first))), id(root.walk(Path::new(first))), "{first}");
            for second in names {
                let path = format!("{first}/{second}");
                assert_eq!(id(root.resolve(Path::new(&path))), id(root.walk(Path::new(&path))), "{path}");
            }
        }
        assert_eq!(root.resolve(Path::new("host")).unwrap_err(), Errno::ENOENT);
        assert_eq!(id(root.resolve(Path::new("../.."))), id(root.resolve(Path::new("/"))));
    }

    #[test]
    fn magic_links_are_not_taken() {
        let root = Root::open(Path::new("/")).unwrap();
        for path in ["proc/self/root", "proc/self/fd/0", "proc/self/cwd/x"] {
            assert_eq!(root.resolve(Path::new(path)).unwrap_err(), Errno::ELOOP, "{path}");
            assert_eq!(root.walk(Path::new(path)).unwrap_err(), Errno::ELOOP, "{path}");
        }
    }

    #[test]
    fn what_is_made_is_made_inside() {
        let tree = Tree::new("make");
        let root = Root::open(&tree.0).unwrap();
        let mut made = Journal::default();
        let mode = Mode::from_bits_retain(0o755);
        root.make_dir(Path::new("/abs/new/deep"), mode, &mut made).unwrap();
        assert!(tree.0.join("usr/new/deep").is_dir());
        assert_eq!(made.len(), 2);
        let error = root.make_dir(Path::new("dangling/x"), mode, &mut made).unwrap_err();
        assert_eq!(error.to_string(), "make directory /dangling: a symbolic link to nothing is there (EEXIST)");
        let error = root.make_dir(Path::new("usr/file/x"), mode, &mut made).unwrap_err();
        assert_eq!(error.errno(), Errno::ENOTDIR);
        assert!(root.make_file(Path::new("up/text"), mode, &mut made).unwrap().1);
        assert!(tree.0.join("usr/text").is_file());
        assert!(root.make_parent(Path::new("/.."), &mut made).is_err());
    }

    #[test]
    fn both_resolvers_agree_on_random_trees() {
        let path = std::env::temp_dir().join(format!("libctr-random-{}", std::process::id()));
        let tree = Tree(path.clone());
        // a linear congruential generator: the same trees every time
        let mut state = 42_u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let parts = ["a", "b", "c", "d", "..", ".", "", "a", "b", "nothing"];
        let mut found = 0;
        for _ in 0..30 {
            let _ = std::fs::remove_dir_all(&path);
            std::fs::create_dir_all(&path).unwrap();
            let name = |random: &mut dyn FnMut(usize) -> usize| {
                let depth = 1 + random(4);
                (0..depth).map(|_| parts[random(parts.len())]).collect::<Vec<_>>().join("/")
            };
            for _ in 0..25 {
                let at = path.join(["a", "b", "c", "d"][random(4)]).join(["a", "b", "c", "d", ""][random(5)]);
                let root = if random(3) == 0 { "/" } else { "" };
                let target = format!("{root}{}", name(&mut random));
                let _ = match random(4) {
                    0 => std::os::unix::fs::symlink(target, &at),
                    1 => std::fs::write(&at, ""),
                    _ => std::fs::create_dir(&at),
                };
            }
            let root = Root::open(&path).unwrap();
            for _ in 0..200 {
                let wanted = format!("{}{}", name(&mut random), if random(4) == 0 { "/" } else { "" });
                let (kernel, own) = (id(root.resolve(Path::new(&wanted))), id(root.walk(Path::new(&wanted))));
                found += usize::from(kernel.is_ok());
                assert_eq!(kernel, own, "{wanted}");
            }
        }
        assert!(found > 1000, "{found}");
        drop(tree);
    }
}
