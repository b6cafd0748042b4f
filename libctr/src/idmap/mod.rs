//! User and group id maps of user_namespaces(7): parsed, validated, written once and read back.
//!
//! A value that exists is valid: an [`Extent`] neither is empty nor wraps, an [`IdMap`] has no overlaps and fits the kernel's
//! limits. [`MapSpec`] is how a person names a map; [`write()`] gives it to a new user namespace.

mod spec;
mod write;

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result, show};

pub use spec::{MapSpec, Which};
pub use write::{needs_setgroups_denied, write, write_setgroups};

/// A user or group id: 0 to 4294967294. The last number, 4294967295, means "no id" to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id(u32);

impl Id {
    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

impl FromStr for Id {
    type Err = Error;

    fn from_str(text: &str) -> Result<Id> {
        match number(text) {
            Some(id) if id < u32::MAX => Ok(Id(id)),
            _ => Err(Error::invalid("parse id", show(text), "is no id, which is a number from 0 to 4294967294")),
        }
    }
}

/// Strict decimal: digits only, no leading zero, at most 32 bits.
fn number(text: &str) -> Option<u32> {
    let strict = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if strict { text.parse().ok() } else { None }
}

/// A range of ids: `count` of them from `inside`, which are those from `outside` in the parent namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    inside: u32,
    outside: u32,
    count: u32,
}

impl Extent {
    /// A range of `count` ids.
    ///
    /// # Errors
    /// EINVAL: it is empty, or passes 4294967294 on either side.
    pub fn new(inside: u32, outside: u32, count: u32) -> Result<Extent> {
        let extent = Extent { inside, outside, count };
        let invalid = |reason| Err(Error::invalid("make id map extent", extent, reason));
        if count == 0 {
            return invalid("count is 0");
        }
        if inside.checked_add(count).is_none() || outside.checked_add(count).is_none() {
            return invalid("the range overflows: the last id is 4294967294");
        }
        Ok(extent)
    }

    /// The first id in the new namespace.
    pub fn inside(self) -> u32 {
        self.inside
    }

    /// The first id in the parent namespace.
    pub fn outside(self) -> u32 {
        self.outside
    }

    /// How many ids, at least 1.
    pub fn count(self) -> u32 {
        self.count
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.inside, self.outside, self.count)
    }
}

impl FromStr for Extent {
    type Err = Error;

    fn from_str(text: &str) -> Result<Extent> {
        let fields: Option<Vec<u32>> = text.split(':').map(number).collect();
        match fields.as_deref() {
            Some(&[inside, outside, count]) => Extent::new(inside, outside, count),
            _ => Err(Error::invalid(
                "parse id map extent",
                show(text),
                "needs INSIDE:OUTSIDE:COUNT, decimal numbers from 0 to 4294967295 without leading zeros",
            )),
        }
    }
}

/// A valid map: 1 to 340 extents that overlap on neither side, in the kernel's 4095 bytes.
///
/// ```
/// use libctr::idmap::IdMap;
/// let map: IdMap = "0:100000:1000,1000:1000:1".parse()?;
/// assert_eq!(map.to_outside(5), Some(100005));
/// assert_eq!(map.to_inside(1000), Some(1000));
/// let error = "0:1000:5,3:2000:5".parse::<IdMap>().unwrap_err();
/// assert_eq!(error.reason(), "extents 0:1000:5 and 3:2000:5 overlap (inside ids)");
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMap(Vec<Extent>);

impl IdMap {
    /// The most extents that the kernel takes (Linux 4.15).
    pub const MAX_EXTENTS: usize = 340;
    /// The most bytes that the kernel takes in the one write: less than a page.
    pub const MAX_BYTES: usize = 4095;

    /// A map of these extents.
    ///
    /// # Errors
    /// EINVAL: none, more than 340, more than 4095 bytes of text, or two that overlap, which are named.
    pub fn new(extents: Vec<Extent>) -> Result<IdMap> {
        let invalid = |reason: String| Err(Error::invalid("make id map", "", reason));
        if extents.is_empty() {
            return invalid("it is empty".to_owned());
        }
        if extents.len() > Self::MAX_EXTENTS {
            return invalid(format!("{} extents, max {}", extents.len(), Self::MAX_EXTENTS));
        }
        for (side, first) in [("inside", Extent::inside as fn(Extent) -> u32), ("outside", Extent::outside)] {
            let mut sorted = extents.clone();
            sorted.sort_by_key(|extent| first(*extent));
            if let Some(pair) = sorted.windows(2).find(|pair| first(pair[0]) + pair[0].count > first(pair[1])) {
                return invalid(format!("extents {} and {} overlap ({side} ids)", pair[0], pair[1]));
            }
        }
        let map = IdMap(extents);
        match map.to_kernel().len() {
            0..=Self::MAX_BYTES => Ok(map),
            bytes => invalid(format!("map text {bytes} bytes, max {}", Self::MAX_BYTES)),
        }
    }

    /// Its extents, in the order given.
    pub fn extents(&self) -> &[Extent] {
        &self.0
    }

    /// The text for `/proc/PID/uid_map`.
    pub fn to_kernel(&self) -> String {
        self.0.iter().map(|e| format!("{} {} {}\n", e.inside, e.outside, e.count)).collect()
    }

    /// What the kernel shows in `/proc/PID/uid_map`.
    ///
    /// # Errors
    /// EINVAL: it is empty, as that of a namespace without a map, or no map.
    pub fn parse_kernel(text: &str) -> Result<IdMap> {
        let line = |line: &str| line.split_ascii_whitespace().collect::<Vec<_>>().join(":").parse();
        IdMap::new(text.lines().map(line).collect::<Result<_>>()?)
    }

    /// The parent's id of an id inside.
    pub fn to_outside(&self, id: u32) -> Option<u32> {
        let extent = self.0.iter().find(|e| id >= e.inside && id - e.inside < e.count)?;
        Some(extent.outside + (id - extent.inside))
    }

    /// The id inside of one of the parent's.
    pub fn to_inside(&self, id: u32) -> Option<u32> {
        let extent = self.0.iter().find(|e| id >= e.outside && id - e.outside < e.count)?;
        Some(extent.inside + (id - extent.outside))
    }
}

impl FromStr for IdMap {
    type Err = Error;

    fn from_str(text: &str) -> Result<IdMap> {
        IdMap::new(text.split(',').map(Extent::from_str).collect::<Result<_>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_the_kernel_would_take_wrongly() {
        for text in [
            "4294967296:100000:1",
            "0:1:4294967301",
            "010:1:1",
            "-1:1:1",
            "+1:1:1",
            "0x10:1:1",
            "",
            "0:1",
            "0:1:2:3",
            "0:1:1\0",
            " 0:1:1",
            "0:1:1,",
            "0:0:0",
            "4294967295:0:1",
            "0:4294967295:1",
            "1:0:4294967295",
        ] {
            assert!(text.parse::<IdMap>().is_err(), "{text:?}");
        }
        assert!("0:0:4294967295".parse::<IdMap>().is_ok());
        assert!("4294967295".parse::<Id>().is_err());
    }

    #[test]
    fn names_what_overlaps() {
        let reason = |text: &str| text.parse::<IdMap>().unwrap_err().reason().into_owned();
        assert_eq!(reason("0:0:10,9:100:1"), "extents 0:0:10 and 9:100:1 overlap (inside ids)");
        assert_eq!(reason("10:0:10,0:9:1"), "extents 10:0:10 and 0:9:1 overlap (outside ids)");
        let many = |n: u32| (0..n).map(|i| format!("{i}:{i}:1")).collect::<Vec<_>>().join(",");
        assert!(many(340).parse::<IdMap>().is_ok());
        assert_eq!(reason(&many(341)), "341 extents, max 340");
        let long = (0..300).map(|i| format!("{0}:{0}:1", 1_000_000_000 + i)).collect::<Vec<_>>().join(",");
        assert_eq!(reason(&long), "map text 7200 bytes, max 4095");
    }

    #[test]
    fn translates_both_ways_and_reads_back() {
        let map: IdMap = "0:100000:1000,2000:5:1".parse().unwrap();
        for id in [0, 999, 2000] {
            assert_eq!(map.to_outside(id).and_then(|outside| map.to_inside(outside)), Some(id));
        }
        assert_eq!((map.to_outside(1000), map.to_inside(6)), (None, None));
        assert_eq!(IdMap::parse_kernel("         0     100000       1000\n 2000 5 1\n").unwrap(), map);
    }
}
