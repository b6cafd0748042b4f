//! The example scripts, each run for real in an arena.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::arena;

fn run(script: &str) -> common::Run {
    arena(&format!("export TOOLS=/run/tools PATH=$PATH:/run/examples; {script}"))
}

#[test]
fn host_usr() {
    let run = run(
        "host-usr.sh /bin/sh -c 'cat /etc/motd; touch /usr/x; umount /tmp; umount -l /usr; touch /tmp/x && echo own'",
    );
    assert_eq!(run.stdout, "a container on the usr of its host\nown\n", "{}", run.stderr);
}

#[test]
fn one_image_for_two_at_once() {
    let run = run("export STATE=/tmp/state; mkdir /tmp/state; mkfifo /tmp/up /tmp/go; \
         CTR_NAME=a CTR_NET=1 squashfs.sh /bin/sh -c 'echo up; read line; echo kept >/var/a; stat -c %u /var/a' </tmp/go >/tmp/out & \
         exec 5>/tmp/go; until grep -q up /tmp/out 2>/dev/null; do sleep 0.02; done; \
         CTR_NAME=b CTR_NET=2 CTR_IDS=0:200000:65536 squashfs.sh /bin/sh -c 'id -u; touch /usr/x 2>&1 | grep -o Read-only; cat /etc/hosts | head -1; \
           ls /var; touch /tmp/x; echo b'; echo go >&5; exec 5>&-; wait; cat /tmp/out; cat /tmp/state/var-a/a; stat -c %u /tmp/state/var-a/a; \
         while grep -q ve-a /proc/net/dev; do sleep 0.02; done; \
         CTR_NAME=a CTR_NET=3 squashfs.sh /bin/cat /var/a; cat /sys/block/loop*/loop/backing_file 2>/dev/null | grep -c /tmp/state; rm -r /tmp/*");
    let expected = "0 Read-only 127.0.0.1 localhost b up 0 kept 0 kept 0";
    assert_eq!(run.words().join(" "), expected, "{}", run.stderr);
}

#[test]
fn a_tree_of_its_own() {
    let run = run(
        "export TREE=/tmp/tree; separate-tree.sh /bin/sh -c 'id -u; echo x >/etc/new; chown 7 /etc/new; stat -c %u /etc/new /bin/busybox'; \
         stat -c %u /tmp/tree/etc/new; cat /tmp/tree/etc/new; rm -r /tmp/tree",
    );
    assert_eq!(run.words(), ["0", "7", "0", "7", "x"], "{}", run.stderr);
}

#[test]
fn changes_above_thrown_away_or_kept() {
    let run = run(
        "export TREE=/tmp/tree; separate-tree.sh /bin/sh -c 'echo old >/etc/new'; find /tmp/tree | sort >/tmp/before; \
         change='echo changed >/etc/new; rm /etc/passwd; cat /etc/new'; look='cat /etc/new; ls /etc'; \
         CTR_NAME=o1 overlay.sh /bin/sh -c \"$change\"; CTR_NAME=o2 overlay.sh /bin/sh -c \"$look\"; export KEEP=/tmp/keep; \
         CTR_NAME=o3 overlay.sh /bin/sh -c \"$change\"; CTR_NAME=o4 overlay.sh /bin/sh -c \"$look\"; \
         cat /tmp/tree/etc/new; find /tmp/tree | sort | cmp - /tmp/before && echo same; rm -r /tmp/*",
    );
    let expected = "changed old new passwd changed changed new old same";
    assert_eq!(run.words().join(" "), expected, "{}", run.stderr);
}

#[test]
fn prefixes_routed_to_a_container() {
    let run = run("routed.sh 2>&1 | sort");
    let expected = [
        "the container reaches 198.51.100.1",
        "the container reaches 2001:db8:ffff::1",
        "the internet reaches 2001:db8:113::9",
        "the internet reaches 203.0.113.10",
        "the internet reaches 203.0.113.9",
    ];
    assert_eq!(run.stdout.lines().collect::<Vec<_>>(), expected, "{}", run.stderr);
}

#[test]
fn three_on_a_bridge() {
    let run = run("bridge.sh 2>&1");
    let expected = [
        "the third reaches 10.174.0.1",
        "the third reaches fd17:4::1",
        "the third reaches 10.174.0.2",
        "the third reaches fd17:4::2",
        "the third reaches 10.174.0.254",
        "the third reaches fd17:4::fe",
        "the second reaches 10.174.0.1",
        "the second reaches fd17:4::1",
    ];
    assert_eq!(run.stdout.lines().collect::<Vec<_>>(), expected, "{}", run.stderr);
}

#[test]
fn no_network_or_that_of_the_host() {
    let look = "/bin/sh -c 'readlink /proc/self/ns/net; tail -n +3 /proc/net/dev | wc -l'";
    let run = run(&format!(
        "readlink /proc/self/ns/net; no-network.sh {look}; ip link add br9 type bridge; \
         host-network.sh {look}; host-network.sh /bin/sh -c 'ip link del br9' 2>&1 | grep -q 'not permitted' && echo refused; ip link del br9"
    ));
    let words = run.words();
    assert_eq!(words.len(), 6, "{} {}", run.stdout, run.stderr);
    assert!(words[1] != words[0] && words[2] == "1", "{}", run.stdout);
    assert_eq!((words[3], words[4], words[5]), (words[0], "2", "refused"), "{}", run.stdout);
}
