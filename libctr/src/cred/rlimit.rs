//! Resource limits, by name.

use std::str::FromStr;

use nix::sys::resource::{Resource, setrlimit};

use crate::error::{Error, Fault, Object, Result, show};

/// One resource limit: `NAME=SOFT[:HARD]`, each a number or `unlimited`; names as in prlimit(1) or getrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    resource: Resource,
    name: &'static str,
    soft: u64,
    hard: u64,
}

const RESOURCES: [(&str, Resource); 16] = [
    ("as", Resource::RLIMIT_AS),
    ("core", Resource::RLIMIT_CORE),
    ("cpu", Resource::RLIMIT_CPU),
    ("data", Resource::RLIMIT_DATA),
    ("fsize", Resource::RLIMIT_FSIZE),
    ("locks", Resource::RLIMIT_LOCKS),
    ("memlock", Resource::RLIMIT_MEMLOCK),
    ("msgqueue", Resource::RLIMIT_MSGQUEUE),
    ("nice", Resource::RLIMIT_NICE),
    ("nofile", Resource::RLIMIT_NOFILE),
    ("nproc", Resource::RLIMIT_NPROC),
    ("rss", Resource::RLIMIT_RSS),
    ("rtprio", Resource::RLIMIT_RTPRIO),
    ("rttime", Resource::RLIMIT_RTTIME),
    ("sigpending", Resource::RLIMIT_SIGPENDING),
    ("stack", Resource::RLIMIT_STACK),
];

impl Rlimit {
    /// Sets it for the calling process.
    pub(super) fn apply(&self) -> std::result::Result<(), Fault<'static>> {
        setrlimit(self.resource, self.soft, self.hard).map_err(|errno| {
            Fault::new("set resource limit", Object::Text(self.name.as_bytes()), errno)
                .with_hint("above the hard limit it needs CAP_SYS_RESOURCE in the initial user namespace")
        })
    }
}

impl FromStr for Rlimit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Rlimit> {
        let invalid = |reason: &str| Error::invalid("parse resource limit", show(text), reason);
        let (name, values) = text.split_once('=').ok_or_else(|| invalid("needs NAME=SOFT[:HARD]"))?;
        let lower = name.to_ascii_lowercase();
        let lower = lower.strip_prefix("rlimit_").unwrap_or(&lower);
        let found = RESOURCES.into_iter().find(|(known, _)| *known == lower);
        let (name, resource) = found.ok_or_else(|| {
            let names: Vec<&str> = RESOURCES.iter().map(|(name, _)| *name).collect();
            invalid(&format!("names none of {}", names.join(", ")))
        })?;
        let number = |text: &str| match text {
            "unlimited" | "infinity" => Some(libc::RLIM_INFINITY),
            _ if text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0')) => {
                text.parse().ok()
            }
            _ => None,
        };
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        match (number(soft), number(hard)) {
            (Some(soft), Some(hard)) if soft <= hard => Ok(Rlimit { resource, name, soft, hard }),
            (Some(_), Some(_)) => Err(invalid("has a soft limit above the hard one")),
            _ => Err(invalid("needs numbers, or unlimited")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_strict() {
        for text in ["nofile=5", "RLIMIT_NOFILE=5:6", "core=unlimited", "stack=0:unlimited"] {
            assert!(text.parse::<Rlimit>().is_ok(), "{text:?}");
        }
        for text in
            ["", "nofile", "nofile=", "nofile=6:5", "frob=1", "nofile=-1", "nofile=05", "nofile=1e3", "as=unlimited:1"]
        {
            assert!(text.parse::<Rlimit>().is_err(), "{text:?}");
        }
    }
}
