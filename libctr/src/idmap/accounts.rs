//! /etc/passwd and /etc/subuid, read without the C library's name service: a static program has none.

use crate::error::{Context, Error, Result, show};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::extent::number;
use super::{Extent, IdMap, IdRange, Which};

/// The caller's ranges of /etc/subuid or /etc/subgid, in the order they are listed, inside from 0 on.
pub(super) fn subordinate_map(which: Which) -> Result<IdMap> {
    let uid = nix::unistd::getuid().as_raw();
    let path = which.subordinates();
    let passwd = std::fs::read("/etc/passwd").unwrap_or_default();
    let name = login_name(&passwd, uid);
    let who = match name {
        Some(name) => format!("{} ({uid})", show(OsStr::from_bytes(name))),
        None => uid.to_string(),
    };
    let text = std::fs::read(path).context("read", path)?;
    let ranges = subordinates(&text, name, uid).map_err(|(line, reason)| {
        Error::invalid("parse", format_args!("{path} line {line}"), reason).with_hint("it needs USER:FIRST:COUNT")
    })?;
    if ranges.is_empty() {
        let option = if which == Which::Uid { "subuids" } else { "subgids" };
        return Err(Error::new("find ids in", path, crate::Errno::ENOENT)
            .with_reason(format!("user {who} has no range there"))
            .with_hint(format!("have the administrator give one: usermod --add-{option} 100000-165535 USER")));
    }
    let mut inside = 0;
    let mut extents = Vec::new();
    let together = |error: Error| error.with_place(format_args!("ranges of user {who} in {path}"));
    for (first, count) in ranges {
        extents.push(Extent::new(inside, first, count).map_err(together)?);
        inside += count;
    }
    IdMap::new(extents).map_err(together)
}

/// The ids of everybody in /etc/passwd, /etc/group, /etc/subuid and /etc/subgid. Files that are missing and lines that nothing
/// can use have none.
pub(super) fn taken() -> Result<Vec<IdRange>> {
    let mut ranges = Vec::new();
    for (path, single) in [("/etc/passwd", true), ("/etc/group", true), ("/etc/subuid", false), ("/etc/subgid", false)]
    {
        let text = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.context("read", path)?,
        };
        for (_, line) in lines(&text) {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
            let number = |index: usize| fields.get(index).and_then(|field| as_c(field, !single));
            if single {
                // NAME:PASSWORD:UID:GID:… and NAME:PASSWORD:GID:MEMBERS
                let ids = [number(2), number(3).filter(|_| path == "/etc/passwd")];
                ranges.extend(ids.into_iter().flatten().filter_map(|id| IdRange::new(id, 1).ok()));
            } else if let (Some(first), Some(count)) = (number(1), number(2)) {
                ranges.extend(IdRange::new(first, count).ok());
            }
        }
    }
    Ok(ranges)
}

/// A number as the C library reads it, which newuidmap(1) and others use; in /etc/subuid and /etc/subgid `any_base`: `0x`
/// begins a hexadecimal one, `0` an octal one.
fn as_c(field: &[u8], any_base: bool) -> Option<u32> {
    let text = str::from_utf8(field).ok()?.trim_start();
    let hexadecimal = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    match hexadecimal {
        Some(digits) if any_base => u32::from_str_radix(digits, 16).ok(),
        _ if any_base && text.len() > 1 && text.starts_with('0') => u32::from_str_radix(text, 8).ok(),
        _ => text.parse().ok(),
    }
}

/// The first name that /etc/passwd gives this user, as getpwuid(3) would.
fn login_name(passwd: &[u8], uid: u32) -> Option<&[u8]> {
    lines(passwd).find_map(|(_, line)| {
        let mut fields = line.split(|byte| *byte == b':');
        let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
        (decimal(id) == Ok(uid) && !name.is_empty()).then_some(name)
    })
}

/// The ranges (first, count) of /etc/subuid that belong to this user by name or number, each once; or the number of a
/// line that is the user's but malformed, and what is wrong with it. Other users' lines are not looked at.
fn subordinates(
    text: &[u8],
    name: Option<&[u8]>,
    uid: u32,
) -> std::result::Result<Vec<(u32, u32)>, (usize, &'static str)> {
    let mut ranges = Vec::new();
    for (line_number, line) in lines(text) {
        let mut fields = line.split(|byte| *byte == b':');
        let owner = fields.next().unwrap_or_default();
        if name != Some(owner) && decimal(owner) != Ok(uid) {
            continue;
        }
        let refused = |reason| (line_number, reason);
        let (Some(first), Some(count), None) = (fields.next(), fields.next(), fields.next()) else {
            return Err(refused("has not three fields"));
        };
        let range = (decimal(first).map_err(refused)?, decimal(count).map_err(refused)?);
        if range.1 == 0 || range.0.checked_add(range.1).is_none() {
            return Err(refused("is empty, or passes 4294967294"));
        }
        if !ranges.contains(&range) {
            ranges.push(range);
        }
    }
    Ok(ranges)
}

fn lines(text: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    (1..).zip(text.split(|byte| *byte == b'\n')).filter(|(_, line)| !line.is_empty())
}

fn decimal(field: &[u8]) -> std::result::Result<u32, &'static str> {
    str::from_utf8(field).ok().and_then(number).ok_or("is not a decimal number")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] =
        b"root:x:0:0:root:/root:/bin/bash\nbob:x:1000:1000::/:/bin/sh\nrobert:x:1000:1000::/:/bin/sh\n\
        +nis\n:x:7:7::/:\nx\xff:x:9:9::/:\nlast:x:8:8::/:";

    #[test]
    fn finds_the_first_name() {
        assert_eq!(login_name(PASSWD, 0), Some(&b"root"[..]));
        assert_eq!(login_name(PASSWD, 1000), Some(&b"bob"[..]));
        assert_eq!(login_name(PASSWD, 8), Some(&b"last"[..]));
        assert_eq!(login_name(PASSWD, 9), Some(&b"x\xff"[..]));
        assert_eq!(login_name(PASSWD, 7), None);
        assert_eq!(login_name(b"", 0), None);
    }

    #[test]
    fn finds_ranges_by_name_and_number() {
        let text = b"bob:100000:65536\nalice:broken\n\n1000:300000:10\nbobby:1:1\nbob:100000:65536\nbob:200000:7";
        let bob = subordinates(text, Some(b"bob"), 1000);
        assert_eq!(bob, Ok(vec![(100_000, 65_536), (300_000, 10), (200_000, 7)]));
        assert_eq!(subordinates(text, None, 1000), Ok(vec![(300_000, 10)]));
        assert_eq!(subordinates(text, Some(b"carol"), 5), Ok(vec![]));
        assert_eq!(subordinates(b"bob:1:2\nbob:1", Some(b"bob"), 5), Err((2, "has not three fields")));
        assert_eq!(subordinates(b"bob:1:2:3", Some(b"bob"), 5), Err((1, "has not three fields")));
        assert_eq!(subordinates(b"bob:-1:2", Some(b"bob"), 5), Err((1, "is not a decimal number")));
        for text in ["bob:1:0", "bob:4294967295:1", "bob:4000000000:4000000000"] {
            let expected = Err((1, "is empty, or passes 4294967294"));
            assert_eq!(subordinates(text.as_bytes(), Some(b"bob"), 5), expected);
        }
    }
}
