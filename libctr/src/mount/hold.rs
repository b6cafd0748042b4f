//! [`Held`]: a detached mount as a person asks for it, to be opened on the host and attached in a container.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, SFlag};
use nix::sys::uio::pread;

use super::options::{Options, split};
use super::plan::unescape;
use super::resolve::kind;
use super::tree::{Attributes, NEEDS_RIGHTS, Tree, path_of};
use crate::error::{Context, Errno, Error, Result, show};
use crate::ns::{Kind, NsRef};
use crate::sys::loopdev::{loop_configure, loop_get_free};

type Pairs = Vec<(CString, Option<CString>)>;

/// A detached mount to be opened, and the name that it is handed on by: `SOURCE=NAME[,OPTIONS]`.
///
/// Options are those of mounts (`ro`, `nosuid`, …), `rec` for a bind mount of a whole tree, `idmap=NSREF` for owners as the maps
/// of that user namespace show them, and the filesystem's own.
#[derive(Clone, Debug)]
pub struct Held {
    name: String,
    what: What,
    recursive: bool,
    attributes: Attributes,
    idmap: Option<NsRef>,
}

#[derive(Clone, Debug)]
enum What {
    Bind(OsString),
    Image(OsString, Pairs),
    Filesystem(CString, Pairs),
    Overlay { upper: Option<(OsString, OsString)>, lower: Vec<OsString>, options: Pairs },
}

impl Held {
    /// `PATH=NAME[,OPTIONS]`: a copy of the mount at a directory or file.
    ///
    /// # Errors
    /// EINVAL: not of this form; the message says what is wrong. So for the others.
    pub fn bind(text: &str) -> Result<Held> {
        let (path, name, mut given) = split(text)?;
        let recursive = given.flag("rec");
        Held::new(name, What::Bind(path), recursive, given)
    }

    /// `FILE=NAME[,OPTIONS]`: a squashfs, erofs or ext4 image, read-only, and nodev unless `dev` is given. Its type is found
    /// from its superblock.
    ///
    /// # Errors
    /// As [`Held::bind`].
    pub fn image(text: &str) -> Result<Held> {
        let (path, name, mut given) = split(text)?;
        // whoever made it may have put device nodes into it
        let (attributes, idmap) = common(&mut given, &["nodev"])?;
        let options = given.rest(&[])?;
        Ok(Held { name, what: What::Image(path, options), recursive: false, attributes, idmap })
    }

    /// `TYPE=NAME[,OPTIONS]`: a new filesystem.
    ///
    /// # Errors
    /// As [`Held::bind`].
    pub fn filesystem(text: &str) -> Result<Held> {
        let (fstype, name, mut given) = split(text)?;
        let (attributes, idmap) = common(&mut given, &[])?;
        let options = given.rest(&[])?;
        Ok(Held { name, what: What::Filesystem(c_string(&fstype)?, options), recursive: false, attributes, idmap })
    }

    /// `UPPER:WORK:LOWER[:LOWER…]=NAME[,OPTIONS]`: changes in UPPER above what the LOWERs have, the first of them on top. With
    /// UPPER and WORK empty, and two LOWERs at least, it is read-only. A `:` in a path is written `\072`.
    ///
    /// # Errors
    /// As [`Held::bind`].
    pub fn overlay(text: &str) -> Result<Held> {
        let end = text.find(',').unwrap_or(text.len());
        let (paths, name) =
            text[..end].rsplit_once('=').ok_or_else(|| invalid(text, "needs UPPER:WORK:LOWER[:LOWER…]=NAME"))?;
        let (_, name, mut given) = split(&format!("x={name}{}", &text[end..]))?;
        let parts = paths.split(':').map(|part| unescape(part.as_bytes()).map(OsString::from_vec));
        let parts: Vec<OsString> =
            parts.collect::<Option<_>>().ok_or_else(|| invalid(text, "has a wrong \\ in a path"))?;
        let upper = match parts.as_slice() {
            [upper, work, _, _, ..] if upper.is_empty() && work.is_empty() => None,
            [upper, work, _, ..] if !upper.is_empty() && !work.is_empty() => Some((upper.clone(), work.clone())),
            _ => {
                return Err(invalid(
                    text,
                    "needs UPPER:WORK:LOWER[:LOWER…], or for a read-only one ::LOWER:LOWER[:LOWER…]",
                ));
            }
        };
        let (attributes, idmap) = common(&mut given, &[])?;
        let (lower, options) = (parts[2..].to_vec(), given.rest(&[])?);
        Ok(Held { name, what: What::Overlay { upper, lower, options }, recursive: false, attributes, idmap })
    }

    fn new(name: String, what: What, recursive: bool, mut given: Options) -> Result<Held> {
        let (attributes, idmap) = common(&mut given, &[])?;
        given.finish("bind")?;
        Ok(Held { name, what, recursive, attributes, idmap })
    }

    /// The environment variable that hands its descriptor on: `MNTFD_NAME`.
    pub fn variable(&self) -> String {
        format!("MNTFD_{}", self.name)
    }

    /// Opens it. Nothing is attached anywhere; when it is dropped, or the process is killed, nothing of it is left, loop
    /// devices included.
    ///
    /// # Errors
    /// Of [`Tree`]'s functions, of opening the source. EINVAL: an image of no known kind.
    pub fn open(&self) -> Result<Tree> {
        let (mut tree, object) = match &self.what {
            What::Bind(path) => {
                let source = openat(AT_FDCWD, path.as_os_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
                    .context("open source", show(path))?;
                let tree =
                    Tree::bind(source, self.recursive).context("copy mount", show(path)).map_err(
                        |error| match error.errno() {
                            Errno::EPERM => error.with_hint(NEEDS_RIGHTS),
                            Errno::EINVAL => {
                                error.with_hint("it is unbindable; or without rec, there are locked mounts below it")
                            }
                            _ => error,
                        },
                    )?;
                (tree, show(path).to_string())
            }
            What::Image(path, options) => (image(Path::new(path), options)?, show(path).to_string()),
            What::Filesystem(fstype, options) => {
                let tree = Tree::filesystem(fstype, None, options, Attributes::default())?;
                (tree, fstype.to_string_lossy().into_owned())
            }
            What::Overlay { upper, lower, options } => (overlay(upper.as_ref(), lower, options)?, "overlay".to_owned()),
        };
        if !self.attributes.is_empty() {
            tree.set(self.attributes, self.recursive).context("set attributes of mount", &object)?;
        }
        if let Some(reference) = &self.idmap {
            let user = reference.open(Kind::User)?;
            tree.map_ids(&user, self.recursive).context("map owners in", &object).map_err(|error| {
                match error.errno() {
                    Errno::EINVAL => {
                        error.with_hint(
                            "its filesystem, or with rec that of a mount below it, does not support id-mapped mounts, or it is id-mapped \
                             already, or that user namespace has no maps yet",
                        )
                    }
                    Errno::EPERM => {
                        error.with_hint("this needs CAP_SYS_ADMIN over the filesystem, and a user namespace with maps")
                    }
                    Errno::ENOSYS => error.with_hint("mount_setattr(2) needs Linux 5.12"),
                    _ => error,
                }
            })?;
        }
        Ok(tree)
    }
}

fn invalid(text: &str, reason: &str) -> Error {
    Error::invalid("read mount", show(text), reason)
}

fn c_string(text: &OsStr) -> Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| Error::invalid("read mount", show(text), "holds a NUL byte"))
}

fn common(given: &mut Options, defaults: &[&str]) -> Result<(Attributes, Option<NsRef>)> {
    let idmap = given.text("idmap")?.map(|text| text.parse::<NsRef>()).transpose()?;
    Ok((given.attributes(defaults)?, idmap))
}

/// Mounts an image read-only: erofs from the file itself where the kernel can, else through a loop device.
pub(super) fn image(path: &Path, options: &Pairs) -> Result<Tree> {
    let file = openat(AT_FDCWD, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK, Mode::empty())
        .context("open image", show(path))?;
    if kind(&file).context("stat image", show(path))? != SFlag::S_IFREG {
        return Err(Error::invalid("use as image", show(path), "is no regular file"));
    }
    let fstype = image_type(&file, path)?;
    let mut options = options.clone();
    options.insert(0, (c"ro".to_owned(), None));
    let mount = |source: &OsStr| {
        Tree::filesystem(fstype, Some(&c_string(source)?), &options, Attributes::default()).map_err(|error| match error
            .errno()
        {
            Errno::EROFS if fstype == c"ext4" => {
                error.with_hint(format!("the journal of {} needs recovery: noload does without", show(path)))
            }
            _ if error.hint().is_some() => error,
            _ => error.with_hint(format!("this is about the image file {}", show(path))),
        })
    };
    // what has been looked at, whatever is at its path now
    if fstype == c"erofs"
        && let Ok(link) = path_of(file.as_fd())
    {
        match mount(link.as_ref()) {
            // older kernels take block devices alone
            Err(error) if matches!(error.errno(), Errno::ENOTBLK | Errno::EINVAL) => {}
            other => return other,
        }
    }
    let (name, _device) = loop_device(&file, path)?;
    mount(name.as_ref())
}

fn image_type(file: &OwnedFd, path: &Path) -> Result<&'static std::ffi::CStr> {
    let mut block = [0; 2048];
    let length = pread(file, &mut block, 0).context("read image", show(path))?;
    // beyond the end of a short file there are zeroes, which are no magic
    let at = |offset: usize, magic: &[u8]| block[offset..].starts_with(magic);
    if at(0, b"hsqs") {
        Ok(c"squashfs")
    } else if at(1024, &0xe0f5_e1e2_u32.to_le_bytes()) {
        Ok(c"erofs")
    } else if at(1080, &0xef53_u16.to_le_bytes()) {
        Ok(c"ext4")
    } else {
        let what = if length == 0 { "is empty" } else { "is no image of squashfs, erofs or ext4" };
        Err(Error::invalid("use as image", show(path), what))
    }
}

/// A loop device on `file`, read-only, freed with its last user: the descriptor, then the mount.
fn loop_device(file: &OwnedFd, path: &Path) -> Result<(String, OwnedFd)> {
    const CONTROL: &str = "/dev/loop-control";
    let control =
        openat(AT_FDCWD, CONTROL, OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).context("open", CONTROL).map_err(
            |error| error.with_hint("the kernel has no loop devices, or this is not the initial user namespace's root"),
        )?;
    // another process may take the free one first
    for _ in 0..64 {
        let number = loop_get_free(&control).context("find free loop device for", show(path))?;
        let device_path = format!("/dev/loop{number}");
        let device = openat(AT_FDCWD, device_path.as_str(), OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .context("open", &device_path)?;
        match loop_configure(&device, file, true) {
            Ok(()) => return Ok((device_path, device)),
            Err(Errno::EBUSY) => {}
            Err(errno) => return Err(Error::new("set up loop device for", show(path), errno)),
        }
    }
    Err(Error::new("set up loop device for", show(path), Errno::EBUSY)
        .with_reason("others have taken each free device first, 64 times"))
}

/// Directories are given by descriptor where the kernel takes them (Linux 6.13), else by the links of proc(5) that are those.
fn overlay(upper: Option<&(OsString, OsString)>, lower: &[OsString], options: &Pairs) -> Result<Tree> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let open = |path: &OsString| {
        openat(AT_FDCWD, path.as_os_str(), flags, Mode::empty()).context("open directory", show(path))
    };
    let mut dirs: Vec<(&std::ffi::CStr, OwnedFd)> = Vec::new();
    for path in lower {
        dirs.push((c"lowerdir+", open(path)?));
    }
    if let Some((upper, work)) = upper {
        dirs.push((c"upperdir", open(upper)?));
        dirs.push((c"workdir", open(work)?));
    }
    let by_fd: Vec<_> = dirs.iter().map(|(key, dir)| (*key, dir.as_fd())).collect();
    match Tree::filesystem_with(c"overlay", None, &by_fd, options, Attributes::default()) {
        Err(error) if error.object().starts_with("lowerdir+ ") && error.errno() == Errno::EINVAL => {}
        // before Linux 6.5
        Err(error) if error.errno() == Errno::EOPNOTSUPP => {}
        other => return other,
    }
    let mut by_path: Pairs = Vec::new();
    let mut layers = Vec::new();
    for (key, dir) in &dirs {
        let link = path_of(dir.as_fd()).context("find link in /proc/self/fd of", "overlay directory")?;
        match *key {
            key if key == c"lowerdir+" => layers.push(link),
            key => by_path.push((key.to_owned(), Some(c_string(link.as_ref())?))),
        }
    }
    by_path.push((c"lowerdir".to_owned(), Some(c_string(layers.join(":").as_ref())?)));
    by_path.extend_from_slice(options);
    Tree::filesystem(c"overlay", None, &by_path, Attributes::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_strict() {
        let held = Held::bind("/a=b/c\\054d=NAME,rec,ro,idmap=fd:5").unwrap();
        assert_eq!(held.variable(), "MNTFD_NAME");
        assert!(held.recursive && held.attributes.is_read_only() && held.idmap == Some(NsRef::Fd(5)));
        assert!(matches!(held.what, What::Bind(path) if path == "/a=b/c,d"));
        for text in ["", "/a", "=X", "/a=", "/a=a b", "/a=X,frob", "/a=X,idmap", "/a=X,ro=1", "/a=X,ro,ro", "/a\\9=X"] {
            assert!(Held::bind(text).is_err(), "{text:?}");
        }
        for text in ["/l=X", "::/l=X", "/u:/l=X", "/u::/l=X", ":/w:/l=X", "/u:/w=X"] {
            assert!(Held::overlay(text).is_err(), "{text:?}");
        }
        assert!(Held::overlay("/u:/w:/l:/m=X,nosuid").is_ok() && Held::overlay("::/l:/m=X").is_ok());
    }
}
