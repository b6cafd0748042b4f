//! [`MapSpec`]: how a person names a map.

use std::str::FromStr;

use nix::unistd::{getegid, geteuid};

use super::{Extent, IdMap};
use crate::error::{Context, Error, Result, show};

/// Whether a map is one of user or of group ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// User ids: `uid_map`.
    Uid,
    /// Group ids: `gid_map`.
    Gid,
}

impl Which {
    /// The file in `/proc/PID`.
    pub fn file(self) -> &'static str {
        match self {
            Which::Uid => "uid_map",
            Which::Gid => "gid_map",
        }
    }

    fn caller(self) -> u32 {
        match self {
            Which::Uid => geteuid().as_raw(),
            Which::Gid => getegid().as_raw(),
        }
    }
}

/// A map as it is named on a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapSpec {
    /// `INSIDE:OUTSIDE:COUNT,…`
    Explicit(IdMap),
    /// `root`: 0 is the caller.
    Root,
    /// `self`: the caller is itself.
    Own,
    /// `all`: every id the caller has, unchanged.
    All,
}

impl MapSpec {
    /// The map it means for the calling process.
    ///
    /// # Errors
    /// Those of reading `/proc/self/uid_map`.
    pub fn resolve(&self, which: Which) -> Result<IdMap> {
        match self {
            MapSpec::Explicit(map) => Ok(map.clone()),
            MapSpec::Root => IdMap::new(vec![Extent::new(0, which.caller(), 1)?]),
            MapSpec::Own => IdMap::new(vec![Extent::new(which.caller(), which.caller(), 1)?]),
            MapSpec::All => {
                let path = format!("/proc/self/{}", which.file());
                let own = IdMap::parse_kernel(&std::fs::read_to_string(&path).context("read", path)?)?;
                IdMap::new(
                    own.extents().iter().map(|e| Extent::new(e.inside, e.inside, e.count)).collect::<Result<_>>()?,
                )
            }
        }
    }
}

impl FromStr for MapSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<MapSpec> {
        match text {
            "root" => Ok(MapSpec::Root),
            "self" => Ok(MapSpec::Own),
            "all" => Ok(MapSpec::All),
            _ if text.starts_with(|c: char| c.is_ascii_alphabetic()) => {
                Err(Error::invalid("parse id map", show(text), "is none of INSIDE:OUTSIDE:COUNT, root, self, all"))
            }
            _ => text.parse().map(MapSpec::Explicit),
        }
    }
}
