//! Entering, pivoting and giving up privileges: what the program has, sees and is left with.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{arena, sh};

/// What `/proc/self/status` says of the sets, in the program that ns-enter becomes.
fn sets(options: &str) -> String {
    let run = sh(&format!("ns-enter --new uts {options} -- grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status"));
    let sets = run.words().chunks(2).map(|pair| pair[1].trim_start_matches('0').to_owned()).collect::<Vec<_>>();
    if sets.is_empty() { run.stderr } else { sets.join(",") }
}

#[test]
fn the_program_has_what_was_named_also_after_execve() {
    // inheritable, permitted, effective, bounding, ambient; root, then another user
    assert_eq!(sets("--permitted none"), ",,,,");
    assert_eq!(sets("--permitted chown,kill"), ",21,21,21,");
    assert_eq!(sets("--permitted chown,kill --inheritable all"), "21,21,21,21,");
    assert_eq!(sets("--bounding chown,kill"), ",21,21,21,");
    assert_eq!(sets("--bounding chown,kill --permitted kill"), ",20,20,20,");
    let all = sets("");
    let bounding = all.split(',').nth(3).unwrap();
    assert_eq!(sets("--uid 5"), format!(",,,{bounding},"));
    assert_eq!(sets("--uid 5 --permitted chown"), format!("1,1,1,{bounding},1"));
    assert_eq!(sets("--uid 5 --ambient +kill --permitted chown"), format!("21,21,21,{bounding},21"));
    assert_eq!(sets("--securebits noroot --permitted chown"), format!("1,1,1,{bounding},1"));
    assert_eq!(sets("--uid 5 --inheritable net_raw"), format!("2000,,,{bounding},"));
}

#[test]
fn a_capability_that_cannot_be_had_is_named() {
    for (options, message) in [
        ("--ambient net_admin --uid 5", "make ambient net_admin: Operation not permitted (EPERM)"),
        ("--inheritable net_admin", "make inheritable net_admin: Operation not permitted (EPERM)"),
        ("--permitted kill --inheritable chown", "make inheritable chown: Operation not permitted (EPERM)"),
        ("--permitted net_admin,chown", "permit net_admin: Operation not permitted (EPERM)"),
        ("--bounding net_admin,chown", "keep in bounding set net_admin: Operation not permitted (EPERM)"),
        ("--bounding +net_admin", "keep in bounding set net_admin: Operation not permitted (EPERM)"),
        ("--ambient none --securebits keep_caps", "has keep_caps, which execve(2) clears"),
    ] {
        let run = sh(&format!("setpriv --bounding-set -net_admin -- ns-enter --new uts {options} -- true"));
        assert!(run.stderr.contains(message), "{options}: {}", run.stderr);
        assert_eq!(run.code, Some(125), "{options}");
    }
    // all is all that there is
    let run = sh("setpriv --bounding-set -net_admin -- ns-enter --new uts --uid 5 --ambient all -- grep -c 'CapAmb:.*[1-9a-f]' /proc/self/status");
    assert_eq!(run.stdout, "1\n", "{}", run.stderr);
}
