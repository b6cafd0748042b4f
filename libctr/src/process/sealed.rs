//! A program that runs from memory: nobody whom it meets can reach the file that it was started from.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::fcntl::{AT_FDCWD, AtFlags, FcntlArg, OFlag, SealFlag, fcntl, openat};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl::set_name;
use nix::sys::sendfile::sendfile64;
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{AccessFlags, faccessat, fexecve};

use crate::error::{Context, Errno, Result};

const OWN: &str = "/proc/self/exe";

/// Starts this program again, with the same arguments, from a sealed copy in memory: for the first moments of one that is going
/// to enter a mount or a pid namespace where strangers run. They reach it as `/proc/PID/exe`, or make it execute itself again
/// by a script that begins with `#!/proc/self/exe`, and could write to its file with the ids that it has (CVE-2019-5736).
///
/// Returns where it runs from such a copy already, or from a file that it may not write to, which those inside then cannot
/// either.
///
/// # Errors
/// ENOENT: `/proc` is not mounted. EACCES: `vm.memfd_noexec` forbids programs in memory. Those of memfd_create(2), sendfile(2)
/// and execve(2).
#[doc(alias = "memfd_create")]
pub fn run_from_memory() -> Result<()> {
    let arguments: Vec<CString> =
        std::env::args_os().filter_map(|argument| CString::new(argument.into_vec()).ok()).collect();
    let own = openat(AT_FDCWD, OWN, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()).context("open", OWN)?;
    // a regular file has none
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    let sealed = fcntl(&own, FcntlArg::F_GET_SEALS).is_ok_and(|has| has & seals.bits() == seals.bits());
    // its name is otherwise that of a descriptor
    let name =
        arguments.first().and_then(|argument| Path::new(std::ffi::OsStr::from_bytes(argument.to_bytes())).file_name());
    let name = name.and_then(|name| CString::new(name.as_bytes()).ok()).unwrap_or_default();
    if sealed {
        return set_name(&name).context("set name of", "this process");
    }
    // what else it says, of a filter say, is no reason to trust the file
    if let Err(Errno::EACCES | Errno::EROFS) = faccessat(AT_FDCWD, OWN, AccessFlags::W_OK, AtFlags::AT_EACCESS) {
        return Ok(());
    }
    let copy = copy(&own, &name).context("copy to memory", OWN).map_err(|error| {
        error.with_hint("a program that may write to its own file runs from a copy: on a read-only mount it needs none")
    })?;
    fcntl(&copy, FcntlArg::F_ADD_SEALS(seals)).context("seal", "copy in memory")?;
    let environment = std::env::vars_os().filter_map(|(mut text, value)| {
        text.push("=");
        text.push(value);
        CString::new(text.into_vec()).ok()
    });
    let environment: Vec<CString> = environment.collect();
    fexecve(&copy, &arguments, &environment).map(drop).context("execute", "copy in memory")
}

fn copy(own: &OwnedFd, name: &CString) -> nix::Result<OwnedFd> {
    /// `MFD_EXEC` of linux/memfd.h, Linux 6.3; before it they can all be executed.
    const EXEC: MFdFlags = MFdFlags::from_bits_retain(0x10);
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let copy = match memfd_create(name.as_c_str(), flags | EXEC) {
        Err(Errno::EINVAL) => memfd_create(name.as_c_str(), flags),
        other => other,
    }?;
    let mut rest = fstat(own)?.st_size.unsigned_abs() as usize;
    while rest > 0 {
        match sendfile64(&copy, own, None, rest)? {
            0 => return Err(Errno::EIO),
            count => rest = rest.saturating_sub(count),
        }
    }
    Ok(copy)
}
