//! Sets of capabilities and their changes, by name.

use std::fmt;
use std::str::FromStr;

use crate::error::{Errno, Error, Fault, Object, Result, show};

/// A set of capabilities, bit N for capability N.
///
/// ```
/// use libctr::cred::Capabilities;
/// let set: Capabilities = "net_admin,CAP_SYS_CHROOT".parse()?;
/// assert_eq!(set.to_string(), "net_admin,sys_chroot");
/// assert!("net_admim".parse::<Capabilities>().is_err());
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl FromStr for Capabilities {
    type Err = Error;

    fn from_str(text: &str) -> Result<Capabilities> {
        text.split(',').map(capability).try_fold(0, |mask, bit| Ok(mask | bit?)).map(Capabilities)
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = bits(self.0).map(name_of).collect();
        f.write_str(&names.join(","))
    }
}

/// The names of capabilities(7) up to Linux 5.9, after which there were no others, in the order of their numbers.
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// The numbers of the bits that are set.
pub(super) fn bits(set: u64) -> impl Iterator<Item = u8> {
    (0..64).filter(move |bit| set & 1 << bit != 0)
}

pub(super) fn name_of(capability: u8) -> &'static str {
    NAMES.get(usize::from(capability)).unwrap_or(&"unknown")
}

/// The bit of one capability: `net_admin`, `CAP_NET_ADMIN`.
fn capability(name: &str) -> Result<u64> {
    let lower = name.to_ascii_lowercase();
    let lower = lower.strip_prefix("cap_").unwrap_or(&lower);
    NAMES.iter().position(|known| *known == lower).map(|bit| 1 << bit).ok_or_else(|| {
        Error::invalid("parse capability", show(name), "is no capability, as net_admin or CAP_NET_ADMIN is one")
    })
}

/// How a set of capabilities changes: `all`, `none`, `net_admin,chown` (exactly these) or `+net_admin,-chown`. What is named
/// has to be there to be had; `all` is all that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapChange {
    keep: u64,
    add: u64,
    named: u64,
}

impl CapChange {
    /// What the set becomes.
    pub fn of(self, current: u64) -> u64 {
        current & self.keep | self.add
    }

    /// The same, where only what is `available` can be had.
    pub(super) fn within(
        self,
        current: u64,
        available: u64,
        operation: &'static str,
    ) -> std::result::Result<u64, Fault<'static>> {
        match bits(self.named & self.add & !available).next() {
            Some(missing) => Err(Fault::new(operation, Object::Text(name_of(missing).as_bytes()), Errno::EPERM)
                .with_hint("this process does not have it, or its bounding set has not")),
            None => Ok(self.of(current) & available),
        }
    }
}

impl FromStr for CapChange {
    type Err = Error;

    fn from_str(text: &str) -> Result<CapChange> {
        match text {
            "all" => return Ok(CapChange { keep: 0, add: u64::MAX, named: 0 }),
            "none" => return Ok(CapChange { keep: 0, add: 0, named: 0 }),
            _ if !text.contains(['+', '-']) => {
                return text.parse().map(|Capabilities(add)| CapChange { keep: 0, add, named: add });
            }
            _ => {}
        }
        let mut change = CapChange { keep: u64::MAX, add: 0, named: 0 };
        for item in text.split(',') {
            let Some((sign, name)) = item.split_at_checked(1).filter(|(sign, _)| matches!(*sign, "+" | "-")) else {
                return Err(Error::invalid("parse capabilities", show(text), "has names with and without a sign"));
            };
            let (bits, named) = if name == "all" { (u64::MAX, 0) } else { capability(name).map(|bit| (bit, bit))? };
            change = match sign {
                "+" => CapChange { add: change.add | bits, named: change.named | named, ..change },
                _ => CapChange { keep: change.keep & !bits, add: change.add & !bits, ..change },
            };
        }
        Ok(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_strict() {
        assert_eq!("all".parse::<CapChange>().unwrap().of(5), u64::MAX);
        assert_eq!("none".parse::<CapChange>().unwrap().of(5), 0);
        assert_eq!("chown,dac_override".parse::<CapChange>().unwrap().of(0xf0), 3);
        assert_eq!("+chown,-dac_override".parse::<CapChange>().unwrap().of(0xf2), 0xf1);
        assert_eq!("-all,+chown".parse::<CapChange>().unwrap().of(0xf2), 1);
        for text in ["", "chown,+kill", "frob", "+", "cap_", "1", "chown,", "ALL "] {
            assert!(text.parse::<CapChange>().is_err(), "{text:?}");
        }
    }
}
