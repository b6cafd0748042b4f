//! The securebits of capabilities(7), by name.

use std::str::FromStr;

use crate::error::{Error, Result, show};

/// A change of the securebits: `noroot,noroot_locked` (exactly these) or `+noroot,-no_setuid_fixup`; names as in setpriv(1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Securebits {
    pub(super) keep: u32,
    pub(super) set: u32,
}

pub(super) const NOROOT: u32 = 1;
const KEEP_CAPS: u32 = 1 << 4;
const SECUREBITS: [&str; 8] = [
    "noroot",
    "noroot_locked",
    "no_setuid_fixup",
    "no_setuid_fixup_locked",
    "keep_caps",
    "keep_caps_locked",
    "no_cap_ambient_raise",
    "no_cap_ambient_raise_locked",
];

impl FromStr for Securebits {
    type Err = Error;

    fn from_str(text: &str) -> Result<Securebits> {
        let invalid = |reason: String| Error::invalid("parse securebits", show(text), reason);
        let signed = text.starts_with(['+', '-']);
        let mut bits = Securebits { keep: if signed { u32::MAX } else { 0 }, set: 0 };
        for item in text.split(',') {
            let name = item.trim_start_matches(['+', '-']);
            if item.len() - name.len() != usize::from(signed) {
                return Err(invalid("has names with and without a sign".into()));
            }
            let index = SECUREBITS.iter().position(|known| *known == name);
            let bit =
                1 << index.ok_or_else(|| invalid(format!("{} is none of {}", show(name), SECUREBITS.join(", "))))?;
            if bit == KEEP_CAPS && !item.starts_with('-') {
                return Err(invalid("has keep_caps, which execve(2) clears: see the ambient set".into()));
            }
            if item.starts_with('-') {
                bits = Securebits { keep: bits.keep & !bit, set: bits.set & !bit };
            } else {
                bits.set |= bit;
            }
        }
        Ok(bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_strict() {
        assert_eq!("noroot,noroot_locked".parse::<Securebits>().unwrap(), Securebits { keep: 0, set: 3 });
        assert_eq!("+no_setuid_fixup,-noroot".parse::<Securebits>().unwrap(), Securebits { keep: !1, set: 4 });
        for text in ["", "noroot,+no_setuid_fixup", "frob", "++noroot", "keep_caps", "+keep_caps"] {
            assert!(text.parse::<Securebits>().is_err(), "{text:?}");
        }
    }
}
