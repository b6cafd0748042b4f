//! [`IdMap`]: extents that the kernel takes together.

use std::fmt;
use std::str::FromStr;

use super::Extent;
use crate::error::{Error, Result};

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
            sorted.sort_unstable_by_key(|extent| first(*extent));
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
    pub fn parse_kernel(text: impl AsRef<[u8]>) -> Result<IdMap> {
        let text = String::from_utf8_lossy(text.as_ref());
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

    /// The map from inside this one to outside of `parent`, the map of the user namespace above. Ids that `parent` has not
    /// are left out; extents are in ascending order inside.
    ///
    /// ```
    /// use libctr::idmap::IdMap;
    /// let (inner, outer): (IdMap, IdMap) = ("0:10:5".parse()?, "0:1000:12,12:5000:100".parse()?);
    /// assert_eq!(inner.compose(&outer)?.to_string(), "0:1010:2,2:5000:3");
    /// # Ok::<(), libctr::Error>(())
    /// ```
    ///
    /// # Errors
    /// EINVAL: no id is left, or it is cut into more extents than a map can have.
    pub fn compose(&self, parent: &IdMap) -> Result<IdMap> {
        let mut extents = Vec::new();
        for &ours in &self.0 {
            for &theirs in &parent.0 {
                let first = ours.outside().max(theirs.inside());
                let end = |first: u32, extent: Extent| first + extent.count();
                let end = end(ours.outside(), ours).min(end(theirs.inside(), theirs));
                if first < end {
                    let inside = ours.inside() + (first - ours.outside());
                    let outside = theirs.outside() + (first - theirs.inside());
                    extents.push(Extent::new(inside, outside, end - first)?);
                }
            }
        }
        extents.sort_unstable();
        IdMap::new(extents)
    }

    /// The same extents in ascending order, as the kernel shows them where there are more than five.
    pub(super) fn sorted(&self) -> Vec<Extent> {
        let mut extents = self.0.clone();
        extents.sort_unstable();
        extents
    }

    /// The kernel's text as messages quote it, cut where it is long.
    pub(super) fn quoted(&self) -> String {
        const SHOWN: usize = 3;
        let lines: Vec<String> = self.to_kernel().lines().take(SHOWN).map(str::to_owned).collect();
        let more = if self.0.len() > SHOWN { format!(", … ({} extents)", self.0.len()) } else { String::new() };
        format!("\"{}{more}\"", lines.join(", "))
    }
}

impl FromStr for IdMap {
    type Err = Error;

    fn from_str(text: &str) -> Result<IdMap> {
        IdMap::new(text.split(',').map(Extent::from_str).collect::<Result<_>>()?)
    }
}

impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, extent) in self.0.iter().enumerate() {
            write!(f, "{}{extent}", if index > 0 { "," } else { "" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idmap::Id;

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

    /// Marsaglia's xorshift: the same maps every time.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u32) -> u32 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            ((self.0 >> 16) % u64::from(limit)) as u32
        }

        /// A valid map of ids below about 2000, its extents in random order.
        fn map(&mut self) -> IdMap {
            let count = 1 + self.below(12) as usize;
            let lengths: Vec<u32> = (0..count).map(|_| 1 + self.below(40)).collect();
            let outside = self.place(&lengths);
            let inside = self.place(&lengths);
            let extents = (0..count).map(|i| Extent::new(inside[i], outside[i], lengths[i]).unwrap()).collect();
            IdMap::new(extents).unwrap()
        }

        /// First ids for ranges of these lengths, in a random order, with holes.
        fn place(&mut self, lengths: &[u32]) -> Vec<u32> {
            let mut order: Vec<usize> = (0..lengths.len()).collect();
            for i in (1..order.len()).rev() {
                order.swap(i, self.below(i as u32 + 1) as usize);
            }
            let mut firsts = vec![0; lengths.len()];
            let mut next = 0;
            for index in order {
                next += self.below(3) * self.below(60);
                firsts[index] = next;
                next += lengths[index];
            }
            firsts
        }
    }

    #[test]
    fn there_and_back_is_the_same_id() {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        for _ in 0..300 {
            let map = random.map();
            let mapped: u32 = map.extents().iter().map(|e| e.count()).sum();
            let inside: Vec<u32> = (0..3000).filter(|id| map.to_outside(*id).is_some()).collect();
            let outside: Vec<u32> = (0..3000).filter(|id| map.to_inside(*id).is_some()).collect();
            assert_eq!((inside.len(), outside.len()), (mapped as usize, mapped as usize), "{map}");
            assert!(inside.iter().all(|id| map.to_inside(map.to_outside(*id).unwrap()) == Some(*id)), "{map}");
            assert!(outside.iter().all(|id| map.to_outside(map.to_inside(*id).unwrap()) == Some(*id)), "{map}");
        }
    }

    #[test]
    fn every_text_form_reads_back() {
        let mut random = Random(0xD1B5_4A32_D192_ED03);
        for _ in 0..300 {
            let map = random.map();
            assert_eq!(map.to_string().parse::<IdMap>().as_ref(), Ok(&map));
            assert_eq!(IdMap::parse_kernel(map.to_kernel().as_bytes()).as_ref(), Ok(&map));
        }
    }

    #[test]
    fn composition_is_one_map_after_the_other() {
        let mut random = Random(0x2545_F491_4F6C_DD1D);
        for _ in 0..300 {
            let (inner, outer, above) = (random.map(), random.map(), random.map());
            let both = |id| inner.to_outside(id).and_then(|id| outer.to_outside(id));
            match inner.compose(&outer) {
                Ok(composed) => {
                    assert!((0..3000).all(|id| composed.to_outside(id) == both(id)), "{inner} after {outer}");
                    // and it does not matter in which order three are joined
                    let left = composed.compose(&above).map(|map| map.sorted());
                    let right = outer.compose(&above).and_then(|map| inner.compose(&map)).map(|map| map.sorted());
                    if let (Ok(left), Ok(right)) = (left, right) {
                        let (left, right) = (IdMap::new(left).unwrap(), IdMap::new(right).unwrap());
                        assert!((0..3000).all(|id| left.to_outside(id) == right.to_outside(id)));
                    }
                }
                Err(_) => assert!((0..3000).all(|id| both(id).is_none()), "{inner} after {outer}"),
            }
        }
    }

    #[test]
    fn split_extents_are_the_same_map() {
        let mut random = Random(0x8EBC_6AF0_9C88_C6E3);
        for _ in 0..300 {
            let (map, outer) = (random.map(), random.map());
            let mut extents = Vec::new();
            for whole in map.extents() {
                let at = random.below(whole.count());
                let rest = Extent::new(whole.inside() + at, whole.outside() + at, whole.count() - at).unwrap();
                extents.extend(Extent::new(whole.inside(), whole.outside(), at));
                extents.insert(random.below(extents.len() as u32 + 1) as usize, rest);
            }
            let split = IdMap::new(extents).unwrap();
            assert!((0..3000).all(|id| split.to_outside(id) == map.to_outside(id)), "{split} of {map}");
            assert!((0..3000).all(|id| split.to_inside(id) == map.to_inside(id)), "{split} of {map}");
            if let (Ok(whole), Ok(split)) = (map.compose(&outer), split.compose(&outer)) {
                assert!((0..3000).all(|id| split.to_outside(id) == whole.to_outside(id)), "{split} of {map}");
            }
        }
    }

    #[test]
    fn everything_is_the_neutral_element() {
        let mut random = Random(0xA076_1D64_78BD_642F);
        let all: IdMap = "0:0:4294967295".parse().unwrap();
        for _ in 0..300 {
            let map = random.map();
            assert_eq!(map.compose(&all).unwrap().extents(), map.sorted());
            assert_eq!(all.compose(&map).unwrap().extents(), map.sorted());
        }
        assert_eq!(all.compose(&all).unwrap(), all);
        assert_eq!(all.to_outside(u32::MAX), None);
    }

    #[test]
    fn any_added_overlap_is_refused() {
        let mut random = Random(0xE703_7ED1_A0B4_28DB);
        for _ in 0..300 {
            let map = random.map();
            let hit = map.extents()[random.below(map.extents().len() as u32) as usize];
            let offset = random.below(hit.count());
            for (extra, side) in [
                (Extent::new(hit.inside() + offset, 1_000_000, 1).unwrap(), "(inside ids)"),
                (Extent::new(1_000_000, hit.outside() + offset, 1).unwrap(), "(outside ids)"),
            ] {
                let mut extents = map.extents().to_vec();
                extents.insert(random.below(extents.len() as u32 + 1) as usize, extra);
                let error = IdMap::new(extents).unwrap_err().to_string();
                assert!(error.contains(&hit.to_string()) && error.contains(&extra.to_string()), "{error}");
                assert!(error.contains(side), "{error}");
            }
        }
    }

    #[test]
    fn messages_stay_short() {
        assert_eq!("0:1:2,3:4:5".parse::<IdMap>().unwrap().quoted(), "\"0 1 2, 3 4 5\"");
        let many = IdMap::new((0..340).map(|i| Extent::new(i, i, 1).unwrap()).collect()).unwrap();
        assert_eq!(many.quoted(), "\"0 0 1, 1 1 1, 2 2 1, … (340 extents)\"");
    }
}
