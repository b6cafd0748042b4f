//! Id maps, holders and the registry's file: whatever is accepted reads back, and no range is given out twice from it.
#![no_main]

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::LazyLock;

use libctr::idmap::{Holder, IdMap, IdRange, MapSpec, Pool, Registry};
use libfuzzer_sys::fuzz_target;

static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join(format!("libctr-fuzz-{}", std::process::id()));
    let _ = std::fs::create_dir(&directory);
    directory
});

/// The last line that the registry wants after these.
fn last_line(text: &str) -> String {
    let mut sum = 0xCBF2_9CE4_8422_2325;
    for chunk in text.as_bytes().chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01B3);
        sum ^= sum >> 29;
    }
    let mut line = String::new();
    let _ = writeln!(line, "end {} {sum:016x}", text.lines().count().saturating_sub(1));
    line
}

fn registry(text: &str) {
    let path = DIRECTORY.join("ranges");
    if std::fs::write(path, text).is_err() {
        return;
    }
    let registry = Registry::new(&*DIRECTORY);
    let Ok(entries) = registry.entries() else { return };
    let end = |range: IdRange| u64::from(range.first()) + u64::from(range.count());
    let disjoint = |a: IdRange, b: IdRange| end(a) <= b.first().into() || end(b) <= a.first().into();
    assert!(entries.windows(2).all(|pair| end(pair[0].range) <= pair[1].range.first().into()), "{text:?}");
    if let Ok(pool) = Pool::of_caller(None)
        && let Ok(given) = registry.allocate(&pool, 1000, "", Holder::Nobody)
    {
        assert!(entries.iter().all(|entry| disjoint(entry.range, given)), "{given} of {text:?}");
    }
}

fuzz_target!(|text: &str| {
    if let Ok(map) = text.parse::<IdMap>() {
        assert_eq!(map.to_string().parse::<IdMap>().as_ref(), Ok(&map));
        assert_eq!(IdMap::parse_kernel(map.to_kernel()).as_ref(), Ok(&map));
        for extent in map.extents() {
            assert_eq!(map.to_outside(extent.inside()).and_then(|id| map.to_inside(id)), Some(extent.inside()));
        }
        if let Ok(twice) = map.compose(&map) {
            let id = twice.extents()[0].inside();
            assert_eq!(twice.to_outside(id), map.to_outside(id).and_then(|id| map.to_outside(id)));
        }
    }
    let _ = IdMap::parse_kernel(text);
    let _ = text.parse::<MapSpec>();
    if let Ok(range) = text.parse::<IdRange>() {
        assert_eq!(range.to_string().parse(), Ok(range));
    }
    if let Ok(holder) = text.parse::<Holder>() {
        assert_eq!(holder.to_string().parse(), Ok(holder));
    }
    registry(text);
    let body = format!("libctr id ranges 1\n{text}\n");
    registry(&(body.clone() + &last_line(&body)));
});
