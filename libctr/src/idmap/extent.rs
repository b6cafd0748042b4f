//! [`Id`] and [`Extent`]: numbers as the kernel should have taken them.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result, show};

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
pub(super) fn number(text: &str) -> Option<u32> {
    let strict = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if strict { text.parse().ok() } else { None }
}

/// A range of ids: `count` of them from `inside`, which are those from `outside` in the parent namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    pub(super) inside: u32,
    pub(super) outside: u32,
    pub(super) count: u32,
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
