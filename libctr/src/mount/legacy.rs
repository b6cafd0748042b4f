//! Overlay before Linux 6.5, which knew its options as one string: fsconfig(2) took none of them with a comma in it, and 255 bytes of
//! each, where mount(2) takes 4095 in all, with `\,` for the comma.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use nix::fcntl::AT_FDCWD;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::tree::Pair;
use crate::error::{Errno, Error, Result};
use crate::sys::clone::open_beside;
use crate::sys::mount::{Config, OPEN_TREE_CLONE, fsconfig, fsopen, open_tree};

const OVERLAY: &CStr = c"overlay";

/// Whether `options` of filesystem `fstype` are for mount(2) alone.
pub(super) fn is_needed(fstype: &CStr, options: &[Pair]) -> bool {
    let special = |value: &CString| value.as_bytes().contains(&b',') || value.as_bytes().len() > 255;
    let mut values = options.iter().filter_map(|(_, value)| value.as_ref());
    // of those that know options one by one, none has this one, and the errno of an unknown option is another
    let knows_one_string = || {
        let context = fsopen(OVERLAY)?;
        fsconfig(&context, Config::Fd(c"libctr", context.as_fd()))
    };
    fstype == OVERLAY && values.any(special) && knows_one_string() == Err(Errno::EOPNOTSUPP)
}

/// A new instance of it, mounted for a moment in a mount namespace that nobody sees.
pub(super) fn filesystem(source: Option<&CStr>, options: &[Pair]) -> Result<nix::Result<OwnedFd>> {
    let mut data = Vec::new();
    for (key, value) in options {
        data.extend_from_slice(if data.is_empty() { b"" } else { b"," });
        data.extend_from_slice(key.as_bytes());
        let Some(value) = value else { continue };
        data.push(b'=');
        for byte in value.as_bytes() {
            data.extend_from_slice(if *byte == b',' { b"\\," } else { std::slice::from_ref(byte) });
        }
    }
    if data.len() > 4095 {
        return Err(Error::new("mount filesystem", "overlay", Errno::E2BIG)
            .with_reason(format!("its options are {} bytes, of which this kernel takes 4095", data.len())));
    }
    let data = CString::new(data).map_err(|_| Error::new("mount filesystem", "overlay", Errno::EINVAL))?;
    // any mount will do; what the options name is looked up before something is mounted there
    const PLACE: &CStr = c"/proc";
    let go = || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        mount(None::<&CStr>, PLACE, None::<&CStr>, MsFlags::MS_PRIVATE, None::<&CStr>)
    };
    let open = || {
        mount(source.or(Some(c"none")), PLACE, Some(OVERLAY), MsFlags::empty(), Some(data.as_c_str()))?;
        open_tree(AT_FDCWD, PLACE, OPEN_TREE_CLONE)
    };
    Ok(open_beside(&[], &go, &open).and_then(|opened| opened))
}
