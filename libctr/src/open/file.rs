//! Files, perhaps in another mount namespace, and the taking back of those that were made.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{Opening, What, c_string, descriptor, invalid, reference};
use crate::error::{Context, Errno, Error, Result, show};
use crate::mount::options::split;
use crate::ns::{Kind, NsRef, open_in};
use crate::process::PidRef;
use crate::sys;

pub(super) const DIRECTORY: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);

#[derive(Clone, Debug)]
pub(super) struct File {
    path: CString,
    mntns: Option<NsRef>,
    root: Option<Root>,
    flags: OFlag,
    mode: Mode,
    resolve: ResolveFlag,
}

#[derive(Clone, Debug)]
enum Root {
    Path(CString),
    /// An open directory.
    Held(PidRef),
}

/// Where paths lead: the mount namespace of the caller, or another.
#[derive(Debug)]
pub(super) struct Place(Option<(OwnedFd, NsRef)>);

impl Place {
    pub(super) fn new(mntns: Option<&NsRef>) -> Result<Place> {
        let open = |mntns: &NsRef| Ok((mntns.open(Kind::Mnt)?.into_fd(), mntns.clone()));
        mntns.map(open).transpose().map(Place)
    }

    pub(super) fn is_here(&self) -> bool {
        self.0.is_none()
    }

    /// See [`open_in`] for what `keep` and `open` are there, and for the inner result.
    pub(super) fn open(
        &self,
        keep: &[BorrowedFd<'_>],
        open: &dyn Fn() -> nix::Result<OwnedFd>,
    ) -> Result<nix::Result<OwnedFd>> {
        match &self.0 {
            None => Ok(open()),
            Some((mntns, name)) => open_in(mntns.as_fd(), Kind::Mnt, name, keep, open),
        }
    }
}

/// The directory of a path and the name in it, where it ends in one.
pub(super) fn split_name(path: &CStr) -> Option<(CString, CString)> {
    let bytes = path.to_bytes();
    let at = bytes.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (dir, name) = bytes.split_at(at);
    let dir = if dir.is_empty() { b"." } else { dir };
    match name {
        b"" | b"." | b".." => None,
        _ => Some((CString::new(dir).ok()?, CString::new(name).ok()?)),
    }
}

/// A file that was made by opening it, or by binding a socket: removed when this is dropped, unless [kept](Made::keep). What a
/// link at the end of the path had pointed to in vain is not known to be new, and stays.
#[derive(Debug)]
pub struct Made {
    place: Place,
    dir: OwnedFd,
    name: CString,
    /// Device and inode number.
    id: (u64, u64),
    kept: bool,
}

impl Made {
    pub(super) fn new(place: Place, dir: OwnedFd, name: CString, file: &OwnedFd) -> Result<Made> {
        let stat = fstat(file).context("stat", show(OsStr::from_bytes(name.to_bytes())))?;
        let (dir, place) = (aside(dir), Place(place.0.map(|(mntns, name)| (aside(mntns), name))));
        Ok(Made { place, dir, name, id: (stat.st_dev, stat.st_ino), kept: false })
    }

    /// Leaves it there.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

/// The same with a high number: a shell can use descriptors 0 to 9 only.
fn aside(fd: OwnedFd) -> OwnedFd {
    sys::fd::duplicate(fd.as_raw_fd(), 64).unwrap_or(fd)
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let remove = || {
            // what somebody else has put there since is not ours
            let stat = fstatat(&self.dir, self.name.as_c_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if (stat.st_dev, stat.st_ino) != self.id {
                return Err(Errno::ESTALE);
            }
            unlinkat(&self.dir, self.name.as_c_str(), UnlinkatFlags::NoRemoveDir)?;
            sys::fd::duplicate(self.dir.as_raw_fd(), 3)
        };
        let _ = self.place.open(&[self.dir.as_fd()], &remove);
    }
}

impl Opening {
    /// `PATH=NAME[,mntns=NSREF][,root=DIR][,OPTIONS]`: a file, in another mount namespace, or with DIR as the root that no link
    /// in the path leads out of; DIR is a path, or `fd:N` or `env:VAR`, an open directory. Read-only by default. Options:
    /// `write`, `rdwr`, `path`, `append`, `create`, `excl`, `trunc`, `mode=OCTAL`, `directory`, `nofollow`, `nonblock`; and of
    /// openat2(2): `beneath`, `no_symlinks`, `no_xdev`. Magic links of `/proc` are followed only with `magiclinks`. A FIFO is
    /// waited for until its other end is open too, unless with `nonblock`.
    ///
    /// # Errors
    /// As [`Opening::tcp`].
    pub fn file(text: &str) -> Result<Opening> {
        let (source, name, mut given) = split(text)?;
        let mut access = Vec::new();
        for (key, flag) in [("write", OFlag::O_WRONLY), ("rdwr", OFlag::O_RDWR), ("path", OFlag::O_PATH)] {
            if given.flag(key) {
                access.push(flag);
            }
        }
        let access = match access.as_slice() {
            [] => OFlag::O_RDONLY,
            [flag] => *flag,
            _ => return Err(invalid(text, "has more than one of write, rdwr, path")),
        };
        let mut flags = OFlag::empty();
        for (key, flag) in [
            ("append", OFlag::O_APPEND),
            ("create", OFlag::O_CREAT),
            ("excl", OFlag::O_EXCL),
            ("trunc", OFlag::O_TRUNC),
            ("directory", OFlag::O_DIRECTORY),
            ("nofollow", OFlag::O_NOFOLLOW),
            ("nonblock", OFlag::O_NONBLOCK),
        ] {
            if given.flag(key) {
                flags |= flag;
            }
        }
        let creates = flags.contains(OFlag::O_CREAT);
        if !creates && (flags.contains(OFlag::O_EXCL) || given.has("mode")) {
            return Err(invalid(text, "has excl or mode without create"));
        }
        if creates && flags.contains(OFlag::O_DIRECTORY) {
            return Err(invalid(text, "has create and directory, but creates files only"));
        }
        if access == OFlag::O_PATH && flags.intersects(OFlag::O_CREAT | OFlag::O_NONBLOCK) {
            return Err(invalid(text, "has path, which goes with directory and nofollow only"));
        }
        let writes = matches!(access, OFlag::O_WRONLY | OFlag::O_RDWR);
        if !writes && flags.intersects(OFlag::O_APPEND | OFlag::O_TRUNC) {
            return Err(invalid(text, "has append or trunc without write or rdwr"));
        }
        let mode = if creates { given.mode(0o600)? } else { Mode::empty() };
        let mut resolve = ResolveFlag::empty();
        for (key, flag) in [
            ("beneath", ResolveFlag::RESOLVE_BENEATH),
            ("no_symlinks", ResolveFlag::RESOLVE_NO_SYMLINKS),
            ("no_xdev", ResolveFlag::RESOLVE_NO_XDEV),
        ] {
            if given.flag(key) {
                resolve |= flag;
            }
        }
        if !given.flag("magiclinks") {
            resolve |= ResolveFlag::RESOLVE_NO_MAGICLINKS;
        }
        let mntns = reference(&mut given, "mntns")?;
        let root = given.text("root")?.map(|root| match root.split_once(':') {
            Some(("fd" | "env", _)) => root.parse().map(Root::Held),
            _ => c_string(text, root).map(Root::Path),
        });
        let root = root.transpose()?;
        if root.is_some() && !resolve.contains(ResolveFlag::RESOLVE_BENEATH) {
            resolve |= ResolveFlag::RESOLVE_IN_ROOT;
        }
        given.finish("file")?;
        flags |= access | OFlag::O_CLOEXEC;
        if access != OFlag::O_PATH {
            flags |= OFlag::O_NOCTTY;
        }
        let file = File { path: c_string(text, source)?, mntns, root, flags, mode, resolve };
        Ok(Opening::new(name, text, What::File(Box::new(file))))
    }
}

impl File {
    pub(super) fn open(&self) -> Result<(OwnedFd, Option<Made>)> {
        let place = Place::new(self.mntns.as_ref())?;
        let held = match &self.root {
            Some(Root::Held(root)) => Some(descriptor(root)?),
            _ => None,
        };
        let keep: Vec<_> = held.iter().map(AsFd::as_fd).collect();
        let how = |flags| OpenHow::new().flags(flags).resolve(self.resolve);
        let open = |path: &CStr, how| match (&held, &self.root) {
            (Some(root), _) => openat2(root, path, how),
            (None, Some(Root::Path(root))) => {
                openat2(openat(AT_FDCWD, root.as_c_str(), DIRECTORY, Mode::empty())?, path, how)
            }
            (None, _) => openat2(AT_FDCWD, path, how),
        };
        if self.flags.contains(OFlag::O_CREAT)
            && let Some((dir, name)) = split_name(&self.path)
        {
            // only a file that was not there is ours to take back
            let dir = place.open(&keep, &|| open(&dir, how(DIRECTORY)))?.map_err(|errno| self.explain(errno))?;
            let new = how(self.flags | OFlag::O_EXCL).mode(self.mode);
            match place.open(&[dir.as_fd()], &|| openat2(&dir, name.as_c_str(), new))? {
                Ok(file) => {
                    let made = Made::new(place, dir, name, &file)?;
                    return Ok((file, Some(made)));
                }
                Err(Errno::EEXIST) if !self.flags.contains(OFlag::O_EXCL) => {}
                Err(errno) => return Err(self.explain(errno)),
            }
        }
        let how = how(self.flags).mode(self.mode);
        let file = place.open(&keep, &|| open(&self.path, how))?;
        Ok((file.map_err(|errno| self.explain(errno))?, None))
    }

    fn explain(&self, errno: Errno) -> Error {
        let shown = |path: &CString| show(OsStr::from_bytes(path.to_bytes())).to_string();
        let object = match &self.root {
            Some(Root::Path(root)) => format!("{} with root {}", shown(&self.path), shown(root)),
            Some(Root::Held(root)) => format!("{} with root {root}", shown(&self.path)),
            None => shown(&self.path),
        };
        let error = Error::new("open", object, errno);
        match errno {
            Errno::ELOOP => error.with_hint("a link in the path is refused: see magiclinks, no_symlinks, nofollow"),
            Errno::EXDEV => error.with_hint("the path leads out: see root, beneath, no_xdev"),
            Errno::ENXIO => error.with_hint("a FIFO that nobody reads, a socket, or a device that is not there"),
            _ => error,
        }
    }
}
