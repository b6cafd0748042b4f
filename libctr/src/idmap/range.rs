//! Ranges of ids, and [`Pool`]s that they may be taken from.

use std::fmt;
use std::str::FromStr;

use super::extent::number;
use super::{Extent, accounts};
use crate::error::{Error, Result, show};

/// `count` consecutive ids from `first`, as the caller's user namespace numbers them.
///
/// Its text is `FIRST:COUNT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IdRange {
    pub(super) first: u32,
    pub(super) count: u32,
}

impl IdRange {
    /// A range of `count` ids.
    ///
    /// # Errors
    /// EINVAL: it is empty, or passes 4294967294.
    pub fn new(first: u32, count: u32) -> Result<IdRange> {
        Extent::new(first, first, count)
            .map(|_| IdRange { first, count })
            .map_err(|error| Error::invalid("make id range", format_args!("{first}:{count}"), error.reason()))
    }

    /// The first id.
    pub fn first(self) -> u32 {
        self.first
    }

    /// How many ids, at least 1.
    pub fn count(self) -> u32 {
        self.count
    }

    /// The first id after it.
    pub(super) fn end(self) -> u32 {
        self.first + self.count
    }

    /// What a container's map needs: these ids outside, from 0 on inside.
    pub fn extent(self) -> Extent {
        Extent { inside: 0, outside: self.first, count: self.count }
    }
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.first, self.count)
    }
}

impl FromStr for IdRange {
    type Err = Error;

    /// `FIRST:COUNT`, or the extent `0:FIRST:COUNT`.
    fn from_str(text: &str) -> Result<IdRange> {
        let fields = text.strip_prefix("0:").filter(|rest| rest.contains(':')).unwrap_or(text).split_once(':');
        match fields.map(|(first, count)| (number(first), number(count))) {
            Some((Some(first), Some(count))) => IdRange::new(first, count),
            _ => Err(Error::invalid("parse id range", show(text), "needs FIRST:COUNT")),
        }
    }
}

/// Where ranges may be taken from: some ids, without those that are somebody else's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool(pub(super) Vec<IdRange>);

impl Pool {
    /// The first of the ids that systemd keeps free for others (UIDS-GIDS of systemd): 1879048192 to 2147352575.
    pub const DEFAULT: IdRange = IdRange { first: 0x7000_0000, count: 0x0FFE_0000 };

    /// What the caller may give out. For one with CAP_SETUID and CAP_SETGID: those of `ids` (default: [`Pool::DEFAULT`], or in
    /// a user namespace that does not have these, all of its ids from 10000 on) that its user namespace has, without those of
    /// anybody in /etc/passwd, /etc/group, /etc/subuid or /etc/subgid. For an ordinary user: those of its own in both
    /// /etc/subuid and /etc/subgid, within `ids`.
    ///
    /// # Errors
    /// Those of reading these files; EINVAL: one is malformed. ENOENT: an ordinary user without subordinate ids.
    pub fn of_caller(ids: Option<IdRange>) -> Result<Pool> {
        let whichs = [super::Which::Uid, super::Which::Gid];
        let privileged = whichs[0].capable()? && whichs[1].capable()?;
        let mut sets: Vec<Vec<IdRange>> = Vec::new();
        for which in whichs {
            let map = if privileged { super::spec::own_map(which)? } else { accounts::subordinate_map(which)? };
            let ids = |e: &Extent| if privileged { e.inside() } else { e.outside() };
            sets.push(map.extents().iter().map(|e| IdRange { first: ids(e), count: e.count() }).collect());
        }
        let mut free = intersect(&sets[0], &sets[1]);
        let wanted = match ids {
            Some(ids) => vec![ids],
            None if !privileged => vec![IdRange::new(0, u32::MAX)?],
            None if !intersect(&free, &[Pool::DEFAULT]).is_empty() => vec![Pool::DEFAULT],
            None => vec![IdRange::new(10_000, u32::MAX - 10_000)?],
        };
        free = intersect(&free, &wanted);
        if privileged {
            free = subtract(free, accounts::taken()?);
        }
        Ok(Pool(free))
    }
}

/// The ids in both.
fn intersect(a: &[IdRange], b: &[IdRange]) -> Vec<IdRange> {
    let mut both = Vec::new();
    for a in a {
        for b in b {
            let (first, end) = (a.first.max(b.first), a.end().min(b.end()));
            if first < end {
                both.push(IdRange { first, count: end - first });
            }
        }
    }
    both.sort_unstable();
    both
}

/// `from`, which is in order, without `taken`.
fn subtract(from: Vec<IdRange>, mut taken: Vec<IdRange>) -> Vec<IdRange> {
    taken.sort_unstable();
    let mut left = Vec::new();
    for range in from {
        let mut first = range.first;
        // those before end before, or belong to what overlaps; few enough to look at all
        for other in taken.iter().filter(|other| other.end() > range.first && other.first < range.end()) {
            if other.first > first {
                left.push(IdRange { first, count: other.first - first });
            }
            first = first.max(other.end());
        }
        if first < range.end() {
            left.push(IdRange { first, count: range.end() - first });
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> IdRange {
        text.parse().unwrap()
    }

    #[test]
    fn reads_both_forms() {
        assert_eq!(range("0:1000:5"), range("1000:5"));
        assert_eq!(range("0:5").to_string(), "0:5");
        assert_eq!(range("100:5").extent().to_string(), "0:100:5");
        for text in ["", "5", "0:0", "5:0", "1:1000:5", "4294967295:1", "1:4294967295", "0:1:2:3", "01:2", "a:b"] {
            assert!(text.parse::<IdRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_pool_is_what_is_left() {
        let left = subtract(
            vec![range("10:10"), range("30:10")],
            vec![range("35:1"), range("5:7"), range("19:12"), range("6:1")],
        );
        assert_eq!(left, [range("12:7"), range("31:4"), range("36:4")]);
        assert_eq!(intersect(&[range("10:10"), range("30:10")], &[range("15:20")]), [range("15:5"), range("30:5")]);
        // root and nobody are somebody's everywhere
        let pool = Pool::of_caller(Some(range("0:70000"))).unwrap();
        assert!(!pool.0.iter().any(|free| free.first == 0 || (free.first..free.end()).contains(&65534)), "{pool:?}");
        assert_eq!(Pool::of_caller(None).unwrap(), Pool(vec![Pool::DEFAULT]));
    }
}
