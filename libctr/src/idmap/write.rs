//! Giving a map to a user namespace, through a held `/proc/PID`.

use std::os::fd::BorrowedFd;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, getegid, geteuid, read, write as write_fd};

use super::{IdMap, Which};
use crate::error::{Context, Errno, Error, Result};
use crate::process::verify_procfs;
use crate::sys;

const CAP_SETGID: u8 = 6;

/// Writes a map to the user namespace of a process, in one write(2), and reads it back. `proc` is the held `/proc/PID`; the
/// caller is in the namespace's parent.
///
/// # Errors
/// EPERM: it is set already, an outside id is not the caller's to give, or setgroups(2) must be denied first. EINVAL: the
/// kernel refuses the map. EIO: what it took is not what was asked. ENOTSUP: `proc` is no procfs.
#[doc(alias = "uid_map")]
pub fn write(proc: BorrowedFd<'_>, pid: Pid, which: Which, map: &IdMap) -> Result<()> {
    let text = map.to_kernel();
    let shown = format!("{:?}", text.trim_end());
    let operation = match which {
        Which::Uid => "write uid_map",
        Which::Gid => "write gid_map",
    };
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    let file = openat(proc, which.file(), flags, Mode::empty())
        .context("open", format_args!("/proc/{pid}/{}", which.file()))?;
    verify_procfs(&file, which.file())?;
    let count = write_fd(&file, text.as_bytes()).map_err(|errno| explain(operation, &shown, errno, which, map))?;
    if count != text.len() {
        return Err(Error::new(operation, shown, Errno::EIO).with_reason("the kernel took only a part of it"));
    }
    drop(file);
    let file = openat(proc, which.file(), OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty())
        .context("read back", which.file())?;
    let mut back = vec![0; 340 * 36];
    let mut used = 0;
    loop {
        match read(&file, &mut back[used..]).context("read back", which.file())? {
            0 => break,
            count => used += count,
        }
    }
    let back = IdMap::parse_kernel(&String::from_utf8_lossy(&back[..used]))?;
    let sorted = |map: &IdMap| {
        let mut extents = map.extents().to_vec();
        extents.sort_by_key(|extent| extent.inside());
        extents
    };
    if sorted(&back) != sorted(map) {
        let reason = format!("the kernel made it {:?}", back.to_kernel().trim_end());
        return Err(Error::new(operation, shown, Errno::EIO).with_reason(reason));
    }
    Ok(())
}

fn explain(operation: &'static str, shown: &str, errno: Errno, which: Which, map: &IdMap) -> Error {
    let error = Error::new(operation, shown, errno);
    match errno {
        Errno::EPERM if map.extents().iter().any(|e| e.outside() == 0) && geteuid().is_root() => error.with_hint(
            "outside id 0 needs CAP_SETFCAP (Linux 5.12); or the map is set already, or an id is not mapped here",
        ),
        Errno::EPERM if which == Which::Gid && needs_setgroups_denied(map) => {
            error.with_hint("without CAP_SETGID, setgroups must be denied first (--setgroups deny)")
        }
        Errno::EPERM => error.with_hint(
            "without CAP_SETUID and CAP_SETGID only the caller's own id can be mapped; and every outside id must be \
             mapped in the parent namespace; and a map is set only once",
        ),
        _ => error,
    }
}

/// Whether the kernel demands that setgroups(2) be denied before the caller may write this group map: it lacks CAP_SETGID,
/// and maps its own group.
pub fn needs_setgroups_denied(map: &IdMap) -> bool {
    let own = map.extents().iter().all(|e| e.count() == 1 && e.outside() == getegid().as_raw());
    let has_setgid = sys::cred::capget().is_ok_and(|sets| sets.effective & (1 << CAP_SETGID) != 0);
    own && !has_setgid
}

/// Allows or denies setgroups(2) in the user namespace of a process, before its group map is written (Linux 3.19).
///
/// # Errors
/// EPERM: the group map is set, or it is to be allowed where a parent denies it.
#[doc(alias = "setgroups")]
pub fn write_setgroups(proc: BorrowedFd<'_>, allow: bool) -> Result<()> {
    let text = if allow { "allow" } else { "deny" };
    let file = openat(proc, "setgroups", OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW, Mode::empty())
        .context("open", "setgroups")?;
    verify_procfs(&file, "setgroups")?;
    write_fd(&file, text.as_bytes()).context("write setgroups", text).map(drop)
}
