//! Tools that are killed at each of their system calls in turn: of what they had begun nothing is left, or all of it is there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod common;

use common::arena;

/// Runs `command`, in which `$strace` comes before what is meant, once, to see which system calls it makes, and then once for each of them, in which every process that comes to it is
/// killed as it enters it; `check` after each. The arena sees what is left in the end, processes too. Returns how many runs were killed.
fn killed_everywhere(before: &str, command: &str, check: &str, after: &str) -> usize {
    let run = arena(&format!(
        "{before}
         run() {{ strace=\"strace -f -qq $*\"; timeout 60 {command} >/tmp/out 2>&1; }}
         run -o /tmp/trace || cat /tmp/out; {check} true; killed=0
         sed -nE 's/^([0-9]+ +)?([a-z0-9_]+)\\(.*/\\2/p' /tmp/trace | sort | uniq -c >/tmp/calls
         while read -r count name; do
             n=0
             while [ $n -lt $count ]; do
                 n=$((n + 1))
                 run -o /dev/null -e inject=$name:signal=KILL:when=$n </dev/null || killed=$((killed + 1)); {check} true
             done
         done </tmp/calls
         {after} rm -rf /tmp/*; echo killed $killed"
    ));
    let words = run.words();
    let [.., "killed", count] = words[..] else { panic!("{} {}", run.stdout, run.stderr) };
    assert_eq!((words.len(), run.code), (2, Some(0)), "{} {}", run.stdout, run.stderr);
    count.parse().unwrap()
}

#[test]
fn namespaces_are_held_by_nobody_else() {
    let count = killed_everywhere(
        "",
        "$strace nsfd-create -Unm --uid-map 0:100000:9 --gid-map 0:100000:9 -- ns-enter --ns user,net --new uts,ipc -- true",
        "",
        "",
    );
    assert!(count > 60, "{count}");
}

#[test]
fn both_ends_of_a_pair_or_none() {
    let count = killed_everywhere(
        "ip netns add x;",
        "$strace veth-create --host v0 --peer eth0 --netns /run/netns/x --host-addr 10.9.0.1/24 --route 10.8.0.0/16 --up",
        "a=$(ip -o link show v0 2>/dev/null | wc -l); b=$(ip -n x -o link show eth0 2>/dev/null | wc -l); \
         [ $a = $b ] || echo HALF $n; [ $a = 0 ] || ip link del v0;",
        "ip netns del x; umount /run/netns; rmdir /run/netns;",
    );
    assert!(count > 40, "{count}");
}

#[test]
fn nothing_outlives_a_container_that_was_not_started() {
    let count = killed_everywhere(
        "",
        "unshare -m --propagation private sh -c \"mount-setup --root /mnt -e 'none / rootfs lock=no' && exec $strace pivot-init --root /mnt --init -- /bin/true\"",
        "",
        "",
    );
    assert!(count > 60, "{count}");
}

#[test]
fn the_registry_can_be_read_whenever_a_caller_was_killed() {
    let count = killed_everywhere(
        "export IDMAP_REGISTRY=/tmp/ids; idmap-alloc --count 7 --name kept >/dev/null;",
        "$strace idmap-alloc --count 10 --process 1",
        "idmap-alloc --list | grep -c kept | grep -v -x 1;",
        "",
    );
    assert!(count > 40, "{count}");
}
