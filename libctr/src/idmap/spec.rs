//! [`MapSpec`]: an id map as a person asks for it, before it is known who the caller is.

use std::str::FromStr;

use super::extent::number;
use super::{Extent, IdMap, Which, accounts};
use crate::error::{Context, Error, Result, show};

/// How a map is asked for: `INSIDE:OUTSIDE:COUNT[,…]`, `root`, `self`, `all`, `subid` or `auto:COUNT`.
///
/// ```
/// use libctr::idmap::{MapSpec, Which};
/// let map = "root".parse::<MapSpec>()?.resolve(Which::Uid)?;
/// assert!(map.to_outside(0).is_some());
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapSpec {
    /// This map.
    Explicit(IdMap),
    /// `root`: 0 inside is the caller's effective id.
    Root,
    /// `self`: the caller's effective id is itself.
    Own,
    /// `all`: every id of the caller's user namespace, unchanged.
    All,
    /// `subid`: the ranges of /etc/subuid or /etc/subgid that the caller's real user id has, by name or number, in the
    /// order they are listed, from 0 on.
    Subordinate,
    /// `auto:COUNT`: a range that no other container has, from 0 on.
    Auto(u32),
}

impl MapSpec {
    /// The map this means for the calling process now.
    ///
    /// # Errors
    /// ENOENT: the caller has no subordinate ids, or there is no /etc/subuid or /proc. EINVAL: such a file is malformed, or
    /// has more ranges than a map can; or it is `auto:COUNT`, which a [`Registry`](super::Registry) must give out first, the same
    /// range to user and group ids.
    pub fn resolve(&self, which: Which) -> Result<IdMap> {
        match self {
            MapSpec::Explicit(map) => Ok(map.clone()),
            MapSpec::Root => IdMap::new(vec![Extent::new(0, which.own(), 1)?]),
            MapSpec::Own => IdMap::new(vec![Extent::new(which.own(), which.own(), 1)?]),
            MapSpec::All => everything(which),
            MapSpec::Subordinate => accounts::subordinate_map(which),
            MapSpec::Auto(count) => {
                let reason = "means no map until a registry has given out its range";
                Err(Error::invalid("resolve id map", format_args!("auto:{count}"), reason))
            }
        }
    }
}

/// The caller's own map, with what is inside on both sides.
fn everything(which: Which) -> Result<IdMap> {
    let own = own_map(which)?;
    let unchanged = |extent: &Extent| Extent::new(extent.inside(), extent.inside(), extent.count());
    IdMap::new(own.extents().iter().map(unchanged).collect::<Result<_>>()?)
}

/// The map of the caller's own user namespace.
pub(super) fn own_map(which: Which) -> Result<IdMap> {
    let path = format!("/proc/self/{}", which.file());
    let file = std::fs::File::open(&path).context("open", &path)?;
    crate::process::verify_procfs(&file, &path)?;
    let text = std::io::read_to_string(file).context("read", &path)?;
    IdMap::parse_kernel(text.as_bytes())
        .map_err(|error| Error::invalid("parse", &path, error.reason()).with_hint("this user namespace has no map yet"))
}

impl FromStr for MapSpec {
    type Err = Error;

    fn from_str(text: &str) -> Result<MapSpec> {
        Ok(match text {
            "root" => MapSpec::Root,
            "self" => MapSpec::Own,
            "all" => MapSpec::All,
            "subid" => MapSpec::Subordinate,
            _ if text.starts_with("auto:") => match text.strip_prefix("auto:").and_then(number) {
                Some(count) if count > 0 => MapSpec::Auto(count),
                _ => return Err(Error::invalid("parse id map", show(text), "needs auto:COUNT, from 1 to 4294967295")),
            },
            _ if text.contains(':') => MapSpec::Explicit(text.parse()?),
            _ => {
                let reason = "is none of INSIDE:OUTSIDE:COUNT, root, self, all, subid, auto:COUNT";
                return Err(Error::invalid("parse id map", show(text), reason));
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form() {
        let parse = |text: &str| text.parse::<MapSpec>();
        assert_eq!(parse("root"), Ok(MapSpec::Root));
        assert_eq!(parse("self"), Ok(MapSpec::Own));
        assert_eq!(parse("all"), Ok(MapSpec::All));
        assert_eq!(parse("subid"), Ok(MapSpec::Subordinate));
        let map: IdMap = "0:1:2,5:6:7".parse().unwrap();
        assert_eq!(parse("0:1:2,5:6:7"), Ok(MapSpec::Explicit(map)));
        for text in ["", "Root", "own", "root ", "0"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(
                error.ends_with("is none of INSIDE:OUTSIDE:COUNT, root, self, all, subid, auto:COUNT (EINVAL)"),
                "{error}"
            );
        }
        assert_eq!(parse("auto:65536"), Ok(MapSpec::Auto(65_536)));
        for text in ["auto:0", "auto:", "auto:010", "auto:1:2", "auto:4294967296"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn means_the_caller() {
        let own = Which::Uid.own();
        assert_eq!(MapSpec::Root.resolve(Which::Uid).unwrap().to_string(), format!("0:{own}:1"));
        assert_eq!(MapSpec::Own.resolve(Which::Uid).unwrap().to_string(), format!("{own}:{own}:1"));
        let all = MapSpec::All.resolve(Which::Gid).unwrap();
        assert!(all.extents().iter().all(|extent| extent.inside() == extent.outside()));
        let read = IdMap::parse_kernel(std::fs::read("/proc/self/gid_map").unwrap()).unwrap();
        let counts = |map: &IdMap| map.extents().iter().map(|e| e.count()).collect::<Vec<_>>();
        assert_eq!(counts(&all), counts(&read));
    }
}
