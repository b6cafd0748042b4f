//! The options of `ns-enter` and `pivot-init` that say who the program is and what it may do.

use std::path::{Path, PathBuf};

use libctr::cred::{CapChange, Rlimit, SeccompProgram, Securebits};
use libctr::fd::parse_number;
use libctr::idmap::Id;
use libctr::{Context, Error, show};
use nix::sys::stat::Mode;

use crate::cli::value as parse;

/// A user or group id: strict decimal, 0 to 4294967294.
pub(crate) fn id(text: &str) -> Result<u32, String> {
    parse::<Id>(text).map(Id::get)
}

/// Ids joined by commas; an empty text is none.
pub(crate) fn ids(text: &str) -> Result<Vec<u32>, String> {
    if text.is_empty() { Ok(Vec::new()) } else { text.split(',').map(id).collect() }
}

/// A change of a set of capabilities.
pub(crate) fn caps(text: &str) -> Result<CapChange, String> {
    parse(text)
}

/// Resource limits joined by commas.
pub(crate) fn rlimits(text: &str) -> Result<Vec<Rlimit>, String> {
    text.split(',').map(parse).collect()
}

/// A change of the securebits.
pub(crate) fn securebits(text: &str) -> Result<Securebits, String> {
    parse(text)
}

/// A file mode creation mask, in octal.
pub(crate) fn mask(text: &str) -> Result<Mode, String> {
    let octal = !text.is_empty() && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    match u32::from_str_radix(text, 8) {
        Ok(mask) if octal && mask <= 0o777 => Ok(Mode::from_bits_retain(mask)),
        _ => Err("is no octal number from 0 to 777".to_owned()),
    }
}

/// Where a compiled filter is.
pub(crate) fn filter(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("fd:").map(parse_number) {
        Some(Some(number)) => Ok(format!("/proc/self/fd/{number}").into()),
        Some(None) => Err("is no descriptor number".to_owned()),
        None => Ok(text.into()),
    }
}

/// Reads a filter, before its file is out of reach.
pub(crate) fn read_filter(path: &Path) -> Result<SeccompProgram, Error> {
    let text = std::fs::read(path).context("read seccomp filter", show(path)).map_err(|error| {
        match path.to_str().and_then(parse_number) {
            Some(number) => error.with_hint(format!("fd:{number} is the descriptor of that number")),
            None => error,
        }
    })?;
    SeccompProgram::new(&text)
}

/// Adds the options to a tool's own, and a method `credentials` that says what they mean. A macro, since argh cannot take one
/// struct of options into another.
macro_rules! with_privileges {
    ($(#[$meta:meta])* pub struct $name:ident { $($own:tt)* }) => {
        $(#[$meta])*
        pub struct $name {
            $($own)*
            /// become this user id; the group id stays unless --gid is given
            #[argh(option, arg_name = "N", from_str_fn(crate::privileges::id))]
            uid: Option<u32>,
            /// become this group id
            #[argh(option, arg_name = "N", from_str_fn(crate::privileges::id))]
            gid: Option<u32>,
            /// supplementary groups; none where an id is given, or a user namespace entered; may be repeated
            #[argh(option, arg_name = "N,…", from_str_fn(crate::privileges::ids))]
            groups: Vec<Vec<u32>>,
            /// resource limits: NAME=SOFT[:HARD], names as in prlimit(1); may be repeated
            #[argh(option, arg_name = "LIMIT,…", from_str_fn(crate::privileges::rlimits))]
            rlimit: Vec<Vec<libctr::cred::Rlimit>>,
            /// capability bounding set: all, none, NAME,… (exactly these) or +NAME,-NAME,…
            #[argh(option, arg_name = "CAPS", from_str_fn(crate::privileges::caps))]
            bounding: Option<libctr::cred::CapChange>,
            /// what the program has: of root's the bounding set loses the others too, another user's get these as ambient ones
            #[argh(option, arg_name = "CAPS", from_str_fn(crate::privileges::caps))]
            permitted: Option<libctr::cred::CapChange>,
            /// inheritable set; empty by default
            #[argh(option, arg_name = "CAPS", from_str_fn(crate::privileges::caps))]
            inheritable: Option<libctr::cred::CapChange>,
            /// ambient set, which the program has without being root; empty by default
            #[argh(option, arg_name = "CAPS", from_str_fn(crate::privileges::caps))]
            ambient: Option<libctr::cred::CapChange>,
            /// securebits: NAME,… or +NAME,-NAME,… as in setpriv(1)
            #[argh(option, arg_name = "BITS", from_str_fn(crate::privileges::securebits))]
            securebits: Option<libctr::cred::Securebits>,
            /// file mode creation mask, in octal
            #[argh(option, arg_name = "MASK", from_str_fn(crate::privileges::mask))]
            umask: Option<nix::sys::stat::Mode>,
            /// the program and what it starts can gain no privilege by execve(2)
            #[argh(switch)]
            no_new_privs: bool,
            /// no further user namespaces in this one: its limit becomes 0, and CAP_SYS_RESOURCE is dropped
            #[argh(switch)]
            disable_userns: bool,
            /// filter of system calls, compiled BPF; may be repeated, all of them hold
            #[argh(option, arg_name = "FILE|fd:N", from_str_fn(crate::privileges::filter))]
            seccomp: Vec<std::path::PathBuf>,
        }

        impl $name {
            fn credentials(&self) -> Result<libctr::cred::Credentials, libctr::Error> {
                let mut credentials = libctr::cred::Credentials::default();
                if let Some(uid) = self.uid {
                    credentials.uid(uid);
                }
                if let Some(gid) = self.gid {
                    credentials.gid(gid);
                }
                if !self.groups.is_empty() {
                    credentials.groups(&self.groups.concat());
                }
                for limit in self.rlimit.iter().flatten() {
                    credentials.rlimit(*limit);
                }
                if let Some(change) = self.bounding {
                    credentials.bounding(change);
                }
                if let Some(change) = self.permitted {
                    credentials.permitted(change);
                }
                if let Some(change) = self.inheritable {
                    credentials.inheritable(change);
                }
                if let Some(change) = self.ambient {
                    credentials.ambient(change);
                }
                if let Some(bits) = self.securebits {
                    credentials.securebits(bits);
                }
                if let Some(mask) = self.umask {
                    credentials.umask(mask);
                }
                if self.no_new_privs {
                    credentials.no_new_privs();
                }
                for path in &self.seccomp {
                    credentials.seccomp(crate::privileges::read_filter(path)?);
                }
                Ok(credentials)
            }
        }
    };
}
pub(crate) use with_privileges;
