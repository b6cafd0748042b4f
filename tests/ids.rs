//! Identities and privilege, from outside: maps as root and as an ordinary user, ranges given out, owners, nested containers.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use std::collections::BTreeSet;

use common::{Run, arena};

/// User and group 1, daemon on every Debian, with ids of its own; the tools and examples where it can read them.
/// `user GROUPS COMMAND…` runs as it.
const USER: &str = "mkdir -m 755 /tmp/user; printf 'daemon:200000:65536\\n1:300000:10\\nother:1:1\\n' >/tmp/user/subid; \
     mount --bind /tmp/user/subid /etc/subuid; mount --bind /tmp/user/subid /etc/subgid; \
     mkdir -m 755 /tmp/user/t; for f in /run/tools/*-*; do [ -f $f ] && [ -x $f ] && cp $f /tmp/user/t; done; \
     cp /run/examples/*.sh /tmp/user/t; mkdir -m 700 /tmp/user/run; chown 1:1 /tmp/user/run; chmod 1777 /tmp; \
     user() { g=$1; shift; setpriv --reuid 1 --regid 1 --groups $g env -i TOOLS=/tmp/user/t XDG_RUNTIME_DIR=/tmp/user/run \
       PATH=/tmp/user/t:/usr/bin:/bin \"$@\"; }; ";
const END: &str = "; umount /etc/subuid /etc/subgid; rm -r /tmp/*";

fn as_user(script: &str) -> Run {
    arena(&format!("{USER}{script}{END}"))
}

/// A registry of the arena's own.
const REGISTRY: &str = "export IDMAP_REGISTRY=/tmp/ids; ";

#[test]
fn where_close_range_is_filtered_helpers_get_no_descriptor_nevertheless() {
    let run = arena(
        "mkdir /tmp/user; echo 'daemon:100000:65536' >/tmp/user/subid; for f in subuid subgid; do mount --bind /tmp/user/subid /etc/$f; done; \
         for errno in EPERM ENOSYS EINVAL; do \
           strace -f -o /dev/null -e inject=close_range:error=$errno setpriv --reuid 1 --regid 1 --clear-groups \
             nsfd-create -U --uid-map subid --gid-map subid --fd user=20 -- \
             nsfd-create -Un --parent fd:20 --uid-map 0:0:9 --gid-map 0:0:9 -- ns-enter --ns user -- sh -c 'cat /proc/self/uid_map'; done; \
         umount /etc/subuid /etc/subgid; rm -r /tmp/*",
    );
    assert_eq!(run.words(), ["0", "0", "9"].repeat(3), "{}", run.stderr);
}

#[test]
fn ids_that_others_have_in_whatever_notation_are_not_given_out() {
    // as newuidmap(1) reads them
    let run = arena(
        "mkdir /tmp/user; printf 'daemon:0x70000000:65536\\nbin:016000200000:0x10\\n' >/tmp/user/subid; mount --bind /tmp/user/subid /etc/subuid; \
         export IDMAP_REGISTRY=/tmp/ids; idmap-alloc --count 7; for count in 5:6 +5 05 0 x; do idmap-alloc --count $count; echo $?; done 2>/dev/null; \
         mkdir -m 700 /tmp/priv; setpriv --reuid 1 --clear-groups idmap-alloc --registry /tmp/priv/ids --list; echo $?; umount /etc/subuid; rm -r /tmp/*",
    );
    assert_eq!(run.words(), ["0:1879113744:7", "2", "2", "2", "2", "2", "1"], "{}", run.stderr);
    assert!(run.stderr.contains("stat /tmp/priv/ids: Permission denied"), "{}", run.stderr);
}

#[test]
fn an_ordinary_user_runs_the_template() {
    let run = as_user(
        "user 5,6 container.sh /bin/sh -c 'cat /proc/self/uid_map /proc/self/gid_map; id -u; id -G; touch /f; chown 1000:2000 /f; \
           stat -c %u:%g /f; grep -c : /proc/net/dev; touch /usr/x 2>&1 | grep -o Read-only'; \
         ls -l /run/netns 2>/dev/null",
    );
    let expected = "0 200000 65536 65536 300000 10 0 200000 65536 65536 300000 10 0 0 1000:2000 1 Read-only";
    assert_eq!(run.words().join(" "), expected, "{}", run.stderr);
    assert_eq!(run.stderr.trim(), "container.sh: a veth needs root of the host: loopback only");
}

#[test]
fn every_form_of_a_map_means_what_it_says() {
    for (who, form, expected) in [
        ("", "root", "0 0 1"),
        ("", "self", "0 0 1"),
        ("", "all", "0 0 4294967295"),
        ("", "0:5:2,7:1000:1", "0 5 2 7 1000 1"),
        ("", "root,1:100000:1000", "0 0 1 1 100000 1000"),
        ("", "auto:10,20:5:1", "0 1879048192 10 20 5 1"),
        ("user 1", "root", "0 1 1"),
        ("user 1", "self", "1 1 1"),
        ("user 1", "subid", "0 200000 65536 65536 300000 10"),
        ("user 1", "0:1:1,1:200000:5,7:200010:1", "0 1 1 1 200000 5 7 200010 1"),
        ("user 1", "auto:1000", "0 200000 1000"),
        ("user 1", "root,1:200000:5", "0 1 1 1 200000 5"),
    ] {
        let run = as_user(&format!(
            "{who} nsfd-create -U --uid-map {form} --gid-map {form} -- ns-enter --ns user --keep-ids -- \
             cat /proc/self/uid_map /proc/self/gid_map; rm -rf /run/libctr"
        ));
        assert_eq!(run.words().join(" "), format!("{expected} {expected}"), "{who} {form}: {}", run.stderr);
    }
}

#[test]
fn three_hundred_and_forty_ranges_arrive() {
    // with holes on both sides; newuidmap(1) gets as many arguments
    let map = |count: u32, first: u32| {
        let extents: Vec<String> = (0..count).map(|i| format!("{}:{}:1", 2 * i, first + 3 * i)).collect();
        extents.join(",")
    };
    for (who, map) in [("", map(340, 1000)), ("user 1", map(200, 200_000))] {
        let run = as_user(&format!(
            "{who} nsfd-create -U --uid-map {map} --gid-map {map} -- ns-enter --ns user -- cat /proc/self/uid_map /proc/self/gid_map"
        ));
        let mut expected: Vec<Vec<&str>> = map.split(',').map(|extent| extent.split(':').collect()).collect();
        let mut shown: Vec<Vec<&str>> = run.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
        expected.extend(expected.clone());
        expected.sort();
        shown.sort();
        assert!(shown == expected, "{who}: {} lines {:.300}", shown.len(), run.stderr);
    }
}

#[test]
fn what_denies_a_group_denies_it_inside() {
    // mode 0604: its group may not read it, everybody else may
    for ids in ["root", "self"] {
        for enter in ["--ns user --keep-ids", "--new user --keep-ids", "--ns user"] {
            let make = if enter.contains("--new") {
                String::new()
            } else {
                format!("nsfd-create -U --uid-map {ids} --gid-map {ids} --")
            };
            let run = as_user(&format!(
                "echo secret >/tmp/secret; chgrp 6 /tmp/secret; chmod 604 /tmp/secret; user 5 cat /tmp/secret; \
                 user 6 {make} ns-enter {enter} -- cat /tmp/secret"
            ));
            assert_eq!(run.stdout, "secret\n", "{ids} {enter}: {}", run.stderr);
        }
    }
    // nor with all of the user's subordinate ids, where the kernel would let it leave the group
    for map in ["subid", "auto:10", "root,1:200000:10", "5:200000:1"] {
        let run = as_user(&format!(
            "echo secret >/tmp/secret; chgrp 6 /tmp/secret; chmod 604 /tmp/secret; \
             user 1,6 nsfd-create -U --uid-map {map} --gid-map {map} -- sh -c \
               'ns-enter --ns user -- cat /tmp/secret; ns-enter --ns user --keep-ids -- cat /tmp/secret; \
                ns-enter --ns user --uid 5 --gid 5 -- cat /tmp/secret; nsfd-create -U --parent env:NSFD_USER --uid-map 0:5:1 --gid-map 0:5:1 -- \
                  ns-enter --ns user -- cat /tmp/secret; ns-enter --ns user --keep-ids -- setpriv --clear-groups cat /tmp/secret'"
        ));
        assert_eq!(run.stdout, "", "{map}: {}", run.stderr);
        assert!(run.stderr.contains("--keep-ids enters with them"), "{map}: {}", run.stderr);
        assert!(run.stderr.contains("cat: /tmp/secret: Permission denied"), "{map}: {}", run.stderr);
        assert!(run.stderr.contains("setpriv: setgroups failed: Operation not permitted"), "{map}: {}", run.stderr);
    }
    // unless that is asked for; who has no such group is not bothered
    for (groups, options) in [("1,6", "--setgroups allow"), ("1", "")] {
        let run = as_user(&format!(
            "user {groups} nsfd-create -U --uid-map subid --gid-map subid {options} -- ns-enter --ns user -- setpriv --groups 5 id -G"
        ));
        assert_eq!(run.stdout, "0 5\n", "{}", run.stderr);
    }
}

#[test]
fn the_owner_and_no_other_may_enter() {
    let run = arena(
        "nsfd-create -U --owner 1234 --uid-map 0:100000:10 --gid-map 0:100000:10 --fd user=30 -- sh -c '\
         for u in 1234 1235; do setpriv --reuid $u --regid $u --clear-groups ns-enter --ns user=fd:30 -- id -u; done'",
    );
    assert_eq!(run.words(), ["0"], "{}", run.stderr);
    assert!(
        run.stderr.starts_with("ns-enter: enter user namespace: Operation not permitted (EPERM)\nhint: only its owner"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_namespace_inside_another_is_nobody_on_the_host() {
    let maps = "--uid-map 0:1000:1000,1000:5000:10 --gid-map 0:1000:2000";
    for (who, outer, first) in [
        ("", "--uid-map 0:100000:65536 --gid-map 0:100000:65536", 101_000),
        ("user 1", "--uid-map subid --gid-map subid", 201_000),
    ] {
        let run = as_user(&format!(
            "mkdir -m 777 /tmp/w; {who} nsfd-create -U {outer} --fd user=20 -- nsfd-create -Unm --parent fd:20 {maps} -- sh -c '\
               ns-enter --ns user,net,mnt -- sh -c \"cat /proc/self/uid_map; touch /tmp/w/f; mount -t tmpfs t /mnt && echo mounted; \
                 mkdir /mnt/d && mount --bind /mnt/d /mnt/d && echo bound; ip link add ve0 type veth peer name ve1 && echo veth\"; \
               ns-enter --ns user=fd:20 -- touch /tmp/w/g'; stat -c %u /tmp/w/f /tmp/w/g"
        ));
        let expected = format!("0 1000 1000 1000 5000 10 mounted bound veth {first} {}", first - 1000);
        assert_eq!(run.words().join(" "), expected, "{who}: {}", run.stderr);
    }
    let run = arena(&format!(
        "nsfd-create -U --uid-map 0:100000:10 --gid-map 0:100000:10 --fd user=20 -- nsfd-create -U --parent fd:20 {maps} -- true; echo $?; \
         nsfd-create -U --parent /proc/self/ns/net --map-root -- true; nsfd-create -U --parent /proc/self/ns/user --map-root -- true"
    ));
    assert_eq!(run.stdout, "125\n");
    for message in [
        "nsfd-create: write in parent user namespace uid_map: Operation not permitted (EPERM)\nhint: every range must lie within one of \
         the parent's, whose map is 0:100000:10\n",
        "use as namespace /proc/self/ns/net: is net, expected user",
        "--parent: needs maps INSIDE:OUTSIDE:COUNT, with the parent's ids outside",
    ] {
        assert!(run.stderr.contains(message), "{}", run.stderr);
    }
}

#[test]
fn the_template_runs_three_deep() {
    let run = arena(
        "export TOOLS=/run/tools; /run/examples/nested.sh 3 /bin/sh -c 'cat /proc/self/uid_map; touch /x && stat -c %u /x; \
         ls /sys/class/net 2>/dev/null; cat /proc/1/comm; uname -n; chroot / /bin/true && echo root'",
    );
    assert_eq!(run.words().join(" "), "0 1000 10000 0 sh deep1 root", "{}", run.stderr);
}

#[test]
fn two_hundred_containers_share_no_id() {
    // all of them up at once; then the registry is empty
    let run = arena(&format!(
        "{REGISTRY} export TOOLS=/run/tools CTR_IDS=auto:1000 CTR_NETWORK=none; mkfifo /tmp/go; exec 5<>/tmp/go; for i in $(seq 200); do \
           CTR_NAME=c$i /run/examples/container.sh /bin/sh -c 'echo $(cat /proc/self/uid_map /proc/self/gid_map); read line' </tmp/go & \
         done >/tmp/out; until [ \"$(wc -l </tmp/out)\" = 200 ]; do sleep 0.1; done; idmap-alloc --list | wc -l; \
         for i in $(seq 200); do echo >&5; done; wait; exec 5>&-; cat /tmp/out; \
         tries=0; until [ \"$(idmap-alloc --list | wc -l)\" = 0 ] || [ $((tries += 1)) = 200 ]; do sleep 0.02; done; \
         echo left $(idmap-alloc --list | wc -l); rm -r /tmp/*"
    ));
    let mut firsts = BTreeSet::new();
    for line in run.stdout.lines().filter(|line| line.len() > 20) {
        let fields: Vec<u32> = line.split_whitespace().map(|field| field.parse().unwrap()).collect();
        assert_eq!((fields[0], fields[2]), (0, 1000), "{line}");
        assert_eq!(fields[..3], fields[3..], "{line}");
        firsts.insert(fields[1]);
    }
    assert_eq!(firsts.len(), 200, "{}", run.stderr);
    assert!(firsts.iter().zip(firsts.iter().skip(1)).all(|(a, b)| b - a >= 1000));
    assert!(run.stdout.starts_with("200\n") && run.stdout.ends_with("left 0\n"), "{} {}", run.stdout, run.stderr);
}

#[test]
fn sixty_four_callers_race_and_some_are_killed() {
    let run = arena(&format!(
        "{REGISTRY} for i in $(seq 64); do idmap-alloc --count $i >>/tmp/out & \
           timeout -s KILL 0.00$((i % 10)) idmap-alloc --count 5 >/dev/null 2>&1 & done; wait 2>/dev/null; \
         sort -u /tmp/out | wc -l; idmap-alloc --list >/tmp/list; grep -cFf /tmp/out /tmp/list; \
         for map in $(cut -d' ' -f1 /tmp/list); do idmap-alloc --release $map; done; idmap-alloc --list; ls -A /tmp/ids; rm -r /tmp/*"
    ));
    // `--list` would refuse a file with an overlap in it
    assert_eq!(run.words(), ["64", "64", "lock", "ranges"], "{}", run.stderr);
}

#[test]
fn a_registry_that_cannot_be_trusted_gives_nothing() {
    let run = arena(&format!(
        "{REGISTRY} idmap-alloc --count 5; idmap-alloc --count 6; truncate -s -3 /tmp/ids/ranges; \
         idmap-alloc --count 5; echo $?; nsfd-create -U --map-auto 5 -- true; echo $?; head -c 500 /dev/urandom >/tmp/ids/ranges; \
         idmap-alloc --list; echo $?; : >/tmp/ids/ranges; idmap-alloc --count 5; echo $?; rm /tmp/ids/ranges; idmap-alloc --count 5; \
         chmod o+w /tmp/ids; idmap-alloc --list; echo $?; rm -r /tmp/*"
    ));
    let expected = "0:1879048192:5 0:1879048197:6 1 125 1 1 0:1879048192:5 1".split(' ').collect::<Vec<_>>();
    assert_eq!(run.words(), expected, "{}", run.stderr);
    let messages: Vec<&str> = run.stderr.lines().filter(|line| !line.starts_with("hint:")).collect();
    assert_eq!(messages.len(), 5, "{}", run.stderr);
    assert!(
        messages[0].starts_with("idmap-alloc: read /tmp/ids/ranges: line 4 is cut off: it is damaged (EINVAL)"),
        "{messages:?}"
    );
    assert!(
        messages[1].starts_with("nsfd-create: read /tmp/ids/ranges: line 4 is cut off: it is damaged (EINVAL)"),
        "{messages:?}"
    );
    assert!(messages[2].starts_with("idmap-alloc: read /tmp/ids/ranges: line 1 is "), "{messages:?}");
    assert_eq!(
        messages[4],
        "idmap-alloc: use as registry /tmp/ids: it is another user's, or others may write to it (EPERM)"
    );
}

#[test]
fn a_full_disk_loses_no_range() {
    let run = arena(&format!(
        "{REGISTRY} mkdir /tmp/ids; mount -t tmpfs -o size=16k,mode=755 small /tmp/ids; n=0; while idmap-alloc --count 10 >>/tmp/out; do n=$((n + 1)); done; \
         [ $n -gt 50 ] && echo many; idmap-alloc --list | cut -d' ' -f1 | cmp - /tmp/out && echo same; \
         idmap-alloc --release $(head -n 1 /tmp/out) && echo released; ls /tmp/ids; umount /tmp/ids; rm -r /tmp/*"
    ));
    assert_eq!(run.words(), ["many", "same", "released", "lock", "ranges"], "{}", run.stderr);
    let message = "idmap-alloc: write registry /tmp/ids: No space left on device (ENOSPC)";
    assert_eq!(run.stderr.trim(), message);
}

#[test]
fn a_range_is_free_when_its_holder_is_gone() {
    let run = arena(&format!(
        "{REGISTRY} sleep 60 & idmap-alloc --count 5 --process $!; idmap-alloc --list | wc -l; kill $!; wait 2>/dev/null; \
         idmap-alloc --list | wc -l; nsfd-create -U --map-root -- sh -c 'idmap-alloc --count 7 --namespace env:NSFD_USER --name web; \
           idmap-alloc --list | cut -d\" \" -f1,2'; \
         tries=0; until [ -z \"$(idmap-alloc --list)\" ] || [ $((tries += 1)) = 100 ]; do sleep 0.02; done; idmap-alloc --list; \
         idmap-alloc --count 8 --name db; idmap-alloc --count 8 --name db; idmap-alloc --hold 1879048192:8 --process $$; \
         idmap-alloc --release 1879048192:8; idmap-alloc --release 1879048192:8; echo $?; \
         idmap-alloc --count 9 --pool 1000000:5; echo $?; rm -r /tmp/*"
    ));
    let expected = "0:1879048192:5 1 0 0:1879048192:7 0:1879048192:7 web 0:1879048192:8 0:1879048192:8 1 1";
    assert_eq!(run.words().join(" "), expected, "{}", run.stderr);
    assert!(run.stderr.contains("find ids 1879048192:8: /tmp/ids has no such range (ENOENT)"), "{}", run.stderr);
    assert!(
        run.stderr.contains("allocate ids 9: no gap as large is left in the pool (1000000:5) (ENOSPC)"),
        "{}",
        run.stderr
    );
}

#[test]
fn who_cannot_be_looked_at_keeps_its_range() {
    // each time a holder lives, and something hides that: the next range is another one
    let threads = "perl -Mthreads -e 'threads->create(sub { sleep 60 }); syscall(60, 0)'";
    for (holder, alloc) in [
        // no descriptor is left to look with
        ("sleep 60", "for n in 5 6 7 8 9; do prlimit --nofile=$n idmap-alloc --count 10; done"),
        // a name that is no text
        ("perl -e '$0 = qq(\\xff\\xfe); sleep 60'", "idmap-alloc --count 10"),
        // only its first thread has ended
        (threads, "grep -q Z /proc/$!/stat && idmap-alloc --count 10"),
        // hidden in /proc
        (
            "setpriv --reuid 1 --regid 1 --clear-groups sleep 60",
            "unshare -m sh -c 'mount -t proc -o hidepid=2 p /proc; setpriv --regid 1 --clear-groups --bounding-set -sys_ptrace idmap-alloc --count 10'",
        ),
        // /proc shows another clock
        ("sleep 60", "unshare -T --boottime 1000 --fork idmap-alloc --count 10"),
    ] {
        let run = arena(&format!(
            "{REGISTRY} {holder} & while grep -qxE 'sh|setpriv|unshare' /proc/$!/comm; do :; done; sleep 0.2; idmap-alloc --count 10 --process $! >/tmp/out; {{ {alloc}; }} >>/tmp/out 2>/tmp/err; sort /tmp/out | uniq -d; \
             idmap-alloc --list | grep -c pid:$!: ; kill $!; wait 2>/dev/null; idmap-alloc --list | grep -c pid:; rm -r /tmp/*"
        ));
        assert_eq!(run.words(), ["1", "0"], "{holder} {alloc}: {}", run.stderr);
    }
    // /proc of another pid namespace
    let run = arena(&format!(
        "{REGISTRY} unshare -p -m --fork --mount-proc sh -c 'sleep 60 & idmap-alloc --count 10 --process $!; umount /proc; idmap-alloc --count 10; \
           idmap-alloc --count 10 --process $$; idmap-alloc --pool 1879048192:10 --count 10; kill $!'; rm -r /tmp/*"
    ));
    assert_eq!(run.words(), ["0:1879048192:10", "0:1879048202:10"], "{}", run.stderr);
    assert_eq!(run.stderr.matches("idmap-alloc: use /proc: shows another pid namespace").count(), 2, "{}", run.stderr);
}

#[test]
fn a_namespace_that_is_not_the_callers_to_see_holds_nothing() {
    // root's, of a process that anybody may look at
    let run = as_user(
        "nsfd-create -U --owner 2 --uid-map 0:1000:1 --gid-map 0:1000:1 --pin user=/tmp/ns; \
         user 1 idmap-alloc --count 5 --namespace /tmp/ns; echo $?; user 1 idmap-alloc --list; umount /tmp/ns",
    );
    assert_eq!(run.stdout, "1\n", "{}", run.stderr);
    assert!(
        run.stderr.starts_with("idmap-alloc: watch namespace user: Stale file handle (ESTALE)\nhint: it is in no user"),
        "{}",
        run.stderr
    );
    // seen with a right that the next caller has not
    let run = arena(&format!(
        "{REGISTRY} nsfd-create -U --owner 2 --uid-map 0:1000:1 --gid-map 0:1000:1 --pin user=/tmp/ns; idmap-alloc --count 5 --namespace /tmp/ns; \
         setpriv --bounding-set -sys_admin idmap-alloc --count 5; idmap-alloc --list | wc -l; umount /tmp/ns; \
         tries=0; until [ $(idmap-alloc --list | wc -l) = 1 ] || [ $((tries += 1)) = 100 ]; do sleep 0.02; done; idmap-alloc --list | cut -d' ' -f1; rm -r /tmp/*"
    ));
    assert_eq!(run.words(), ["0:1879048192:5", "0:1879048197:5", "2", "0:1879048197:5"], "{}", run.stderr);
}

#[test]
fn without_a_way_to_watch_a_namespace_it_holds_nothing() {
    // before Linux 6.18, and with a filter
    for call in
        ["name_to_handle_at:error=EOPNOTSUPP", "name_to_handle_at:error=ENOSYS", "open_by_handle_at:error=EPERM"]
    {
        let run = arena(&format!(
            "{REGISTRY} strace -f -o /dev/null -e inject={call} nsfd-create -U --map-auto 10 -- true; echo $?; idmap-alloc --list; \
             map=$(idmap-alloc --count 10 --process $$); nsfd-create -U --uid-map $map --gid-map $map -- ns-enter --ns user -- cat /proc/self/uid_map; \
             rm -r /tmp/*"
        ));
        assert_eq!(run.words().join(" "), "125 0 1879048192 10", "{call}: {}", run.stderr);
        assert!(run.stderr.starts_with("nsfd-create: watch namespace user: "), "{}", run.stderr);
        assert!(run.stderr.contains("MAP from $(idmap-alloc --count N --process $$)"), "{}", run.stderr);
    }
}

#[test]
fn a_name_is_not_taken_from_its_holder() {
    let run = arena(&format!(
        "{REGISTRY} sleep 60 & a=$!; sleep 60 & b=$!; idmap-alloc --count 5 --name web --process $a; idmap-alloc --count 5 --name web --process $a; \
         idmap-alloc --count 5 --name web --process $b; echo $?; idmap-alloc --count 5 --name web; echo $?; kill $b; wait $b; \
         idmap-alloc --list | grep -c pid:$a:; kill $a; wait $a; idmap-alloc --count 5 --name web --process $$; idmap-alloc --list | wc -l; \
         idmap-alloc --name 'a b' --count 5; echo $?; idmap-alloc --name '' --count 5; echo $?; rm -r /tmp/*"
    ));
    assert_eq!(run.words().join(" "), "0:1879048192:5 0:1879048192:5 1 1 1 0:1879048192:5 1 2 2", "{}", run.stderr);
    assert!(
        run.stderr.starts_with("idmap-alloc: allocate ids 5: web has them already, from 1879048192: pid:"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("(EBUSY)\nhint: its holder is not gone: "), "{}", run.stderr);
    assert!(run.stderr.contains("option --name \"a b\": is no name of 1 to 255 bytes"), "{}", run.stderr);
}

#[test]
fn what_is_in_the_way_of_a_registry_is_named() {
    let run = arena(&format!(
        "{REGISTRY} mkdir -p /tmp/ids; for what in 'mkfifo /tmp/ids/ranges' 'mkdir /tmp/ids/ranges' 'mkfifo /tmp/ids/lock' 'mkdir /tmp/ids/lock' \
           'mkdir /tmp/ids/ranges.new'; do rm -rf /tmp/ids/*; $what; timeout 60 idmap-alloc --count 5; echo $?; done; rm -rf /tmp/ids/*; \
         mkfifo /tmp/ids/ranges.new; timeout 60 idmap-alloc --count 5; idmap-alloc --registry '' --list; echo $?; \
         IDMAP_POOL=$(printf '\\377') idmap-alloc --count 1; echo $?; \
         idmap-alloc --count 5 --pool 500000:10; idmap-alloc --release 1879048192:5 --release 500005:5; echo $?; \
         idmap-alloc --release 1879048192:5 --release 1879048192:5; echo $?; idmap-alloc --list | wc -l; \
         idmap-alloc --count 6 >/dev/full; echo $?; idmap-alloc --list | wc -l; \
         (flock 9; exec sleep 60) 9>/tmp/ids/lock & while flock -n /tmp/ids/lock true; do sleep 0.01; done; timeout 60 idmap-alloc --list; echo $?; kill $!; rm -r /tmp/*"
    ));
    let expected = "1 1 1 1 1 0:1879048192:5 2 2 0:500000:5 1 1 2 1 2 1";
    assert_eq!(run.words().join(" "), expected, "{}", run.stderr);
    for message in [
        "idmap-alloc: use /tmp/ids/ranges: is no file (EINVAL)\nhint: move it away\n",
        "idmap-alloc: use /tmp/ids/lock: is no file (EINVAL)",
        "idmap-alloc: open /tmp/ids/lock: Is a directory (EISDIR)",
        "idmap-alloc: write registry /tmp/ids: File exists (EEXIST)",
        "idmap-alloc: option --registry \"\": needs a directory",
        "idmap-alloc: option IDMAP_POOL: is \"\\xff\", which is not UTF-8",
        "idmap-alloc: lock registry /tmp/ids: another process has kept it locked for 10 s (ETIMEDOUT)\nhint: fuser",
    ] {
        assert!(run.stderr.contains(message), "{message}: {}", run.stderr);
    }
}

#[test]
fn no_further_user_namespaces() {
    let maps = "--uid-map 0:100000:65536 --gid-map 0:100000:65536";
    let run = arena(&format!(
        "nsfd-create -U {maps} -- ns-enter --ns user --disable-userns -- sh -c 'unshare -U true; echo 9 >/proc/sys/user/max_user_namespaces; \
           cat /proc/sys/user/max_user_namespaces; grep CapBnd /proc/self/status'; \
         nsfd-create -U {maps} -- ns-enter --ns user --new mnt,ipc,net -- sh -c \"mount-setup --root /mnt -e 'none / rootfs usr=bind' && \
           pivot-init --root /mnt --mask-proc --init --disable-userns -- /bin/sh -c 'unshare -U true; grep CapPrm /proc/1/status'\"; \
         ns-enter --new uts --disable-userns -- true; echo $?; [ $(cat /proc/sys/user/max_user_namespaces) -gt 9 ] && echo untouched"
    ));
    let expected = "0 CapBnd: 000001fffeffffff CapPrm: 000001fffeffffff 125 untouched";
    assert_eq!(run.words().join(" "), expected, "{}", run.stderr);
    assert_eq!(run.stderr.matches("unshare: unshare failed: No space left on device").count(), 2, "{}", run.stderr);
    assert!(run.stderr.contains("it would hold for the whole machine"), "{}", run.stderr);
}

#[test]
fn the_chain_works_without_a_user_namespace() {
    // the host's ids, and only what is named of root's rights
    let run = arena(
        "nsfd-create -n -- sh -c 'veth-create --host ve-none --peer eth0 --netns env:NSFD_NET --up --host-addr 10.9.0.1/24 && \
           exec ns-enter --ns net -- close-fds -- ns-enter --new ipc,cgroup,mnt,uts --hostname shared -- sh -c \"\
             net-setup --lo --link eth0 --up --addr 10.9.0.2/24 --route default=10.9.0.1; \
             mount-setup --root /mnt -e \\\"none / rootfs usr=bind,etc=minimal\\\" && exec pivot-init --root /mnt --bounding chown,setuid,setgid --permitted chown,setuid,setgid \
               --no-new-privs -- /bin/sh -c \\\"id -u; cat /proc/self/uid_map; grep -E CapEff.\\|CapBnd /proc/self/status; uname -n; \
                 mount -t tmpfs x /mnt || echo no; ip addr flush eth0 2>/dev/null || echo no\\\"\"'",
    );
    let expected = "0 0 0 4294967295 CapEff: 00000000000000c1 CapBnd: 00000000000000c1 shared no no";
    assert_eq!(run.words().join(" "), expected, "{}", run.stderr);
}

#[test]
fn namespaces_are_pinned_and_nothing_is_left_of_a_failure() {
    let run = arena(
        "mkdir /run/netns; nsfd-create -nu --hostname kept --pin net=/run/netns/blue --pin uts=/tmp/uts; ip netns exec blue ip -o link | cut -d: -f2; \
         ns-enter --ns uts=/tmp/uts -- uname -n; nsfd-create -n --pin net=/run/netns/blue; echo $?; \
         nsfd-create -nu --pin net=/run/netns/red --pin uts=/none/x; ls /run/netns; nsfd-create -n --pin uts=/tmp/x; \
         umount /run/netns/blue /tmp/uts; rm -r /run/netns /tmp/uts",
    );
    assert_eq!(run.words(), ["lo", "kept", "125", "blue"], "{}", run.stderr);
    assert!(run.stderr.contains("make file for namespace /run/netns/blue: File exists (EEXIST)"), "{}", run.stderr);
    assert!(run.stderr.contains("option --pin: needs --uts"), "{}", run.stderr);
    // nor of a program that does not run, or a number that is taken
    let run = arena(&format!(
        "{REGISTRY} exec 7</dev/null; nsfd-create -n --pin net=/run/x --fd net=7 -- true; echo $?; nsfd-create -Un --map-auto 5 --pin net=/run/x -- /none; echo $?; \
         cut -d' ' -f1,2 /tmp/ids/ranges; ls /run/x; nsfd-create -m --pin mnt=/run/x; echo $?; \
         for n in 2 1024 99999999999 x; do prlimit --nofile=1024 nsfd-create -n --fd net=$n -- true; done; rm -r /tmp/*"
    ));
    assert_eq!(run.words().join(" "), "125 127 libctr id end 0 125", "{}", run.stderr);
    // EINVAL or ELOOP, as the propagation to namespaces that are ending goes
    assert!(run.stderr.contains("nsfd-create: bind namespace to /run/x: "), "{}", run.stderr);
    assert!(run.stderr.contains("\nhint: a mount namespace can be bound on a private mount only"), "{}", run.stderr);
    let limit = "a number from 3 on and below 1024, which is RLIMIT_NOFILE (ulimit -n) (EINVAL)";
    assert_eq!(run.stderr.matches(limit).count(), 4, "{}", run.stderr);
}

#[test]
fn wrong_maps_are_refused_by_name() {
    let many: String = (0..341).map(|i| format!("{i}:{}:1,", 1000 + i)).collect();
    let many = many.trim_end_matches(',');
    let long: String = (0..300).map(|i| format!("{0}:{0}:1,", 1_000_000_000 + i)).collect();
    let long = long.trim_end_matches(',');
    let number = "decimal numbers from 0 to 4294967295 without leading zeros (EINVAL)";
    for (map, message) in [
        ("0:1000:10,5:5000:1", "extents 0:1000:10 and 5:5000:1 overlap (inside ids) (EINVAL)"),
        ("0:1000:10,50:1009:1", "extents 0:1000:10 and 50:1009:1 overlap (outside ids) (EINVAL)"),
        (many, "341 extents, max 340 (EINVAL)"),
        (long, "map text 7200 bytes, max 4095 (EINVAL)"),
        ("0:1000:0", "count is 0 (EINVAL)"),
        ("4294967290:0:10", "the range overflows: the last id is 4294967294 (EINVAL)"),
        ("0:4294967290:10", "the range overflows: the last id is 4294967294 (EINVAL)"),
        ("4294967295:0:1", "the range overflows: the last id is 4294967294 (EINVAL)"),
        ("4294967296:1000:1", number),
        ("0:1000:4294967301", number),
        ("-1:1000:1", number),
        ("0x10:1000:1", number),
        ("010:1000:1", number),
        ("+1:1000:1", number),
        ("0:1:2:3", number),
        ("0:1000:1,", "is none of INSIDE:OUTSIDE:COUNT, root, self, all, subid, auto:COUNT (EINVAL)"),
        ("root,0:5:1", "extents 0:0:1 and 0:5:1 overlap (inside ids) (EINVAL)"),
        ("0:1000:1\n", number),
        ("' 0:1000:1'", number),
        ("''", "is none of INSIDE:OUTSIDE:COUNT, root, self, all, subid, auto:COUNT (EINVAL)"),
        ("frob", "is none of INSIDE:OUTSIDE:COUNT, root, self, all, subid, auto:COUNT (EINVAL)"),
        ("auto:0", "needs auto:COUNT, from 1 to 4294967295 (EINVAL)"),
    ] {
        // the kernel is asked nothing: no strace shows a clone
        let run = common::sh(&format!(
            "strace -f -o /dev/stdout -e trace=clone,clone3,fork,vfork,unshare nsfd-create -U --uid-map {} --gid-map 0:1000:1 -- true",
            if map.starts_with('\'') { map.to_owned() } else { format!("'{map}'") }
        ));
        let first = run.stderr.lines().next().unwrap_or_default();
        assert!(first.starts_with("nsfd-create: option --uid-map"), "{map:.40}: {first:.300}");
        assert!(first.ends_with(message), "{map:.40}: …{}", &first[first.len().saturating_sub(200)..]);
        assert!(!run.stdout.contains("clone") && !run.stdout.contains("unshare("), "{map:.40}: {}", run.stdout);
        assert!(run.stdout.contains("exited with 125"), "{map:.40}: {}", run.stdout);
    }
}

#[test]
fn what_the_machine_forbids_is_explained() {
    for (script, message) in [
        // an ordinary user: more than its own id, and no way to have it
        (
            "user 1 nsfd-create -U --uid-map 0:1:1,1:5000:1 -- true",
            "nsfd-create: run /usr/bin/newuidmap: newuidmap: uid range [1-2) -> [5000-5001) not allowed (EPERM)\nhint: it gives only \
             what /etc/subuid allows to this user",
        ),
        (
            "user 1 env PATH=/tmp/user/t nsfd-create -U --uid-map subid -- /bin/true",
            "nsfd-create: find newuidmap: the caller may not write this map itself, and this helper is not in PATH (ENOENT)\nhint: \
             install uidmap",
        ),
        (
            "user 1 setpriv --no-new-privs nsfd-create -U --uid-map subid -- true",
            "hint: no_new_privs is set, so that newuidmap has no rights of its own",
        ),
        (
            "cp /bin/true /tmp/user/newuidmap; chmod 644 /tmp/user/newuidmap; user 1 env PATH=/tmp/user/t:/tmp/user nsfd-create -U --uid-map subid -- /bin/true",
            "nsfd-create: find newuidmap: ",
        ),
        (
            "printf '#!/bin/sh\\nkill -9 $$\\n' >/tmp/user/newuidmap; chmod 755 /tmp/user/newuidmap; \
             user 1 env PATH=/tmp/user:/tmp/user/t nsfd-create -U --uid-map subid -- /bin/true",
            "nsfd-create: run /tmp/user/newuidmap: was killed by signal 9 (EPERM)",
        ),
        // it says yes and does nothing
        (
            "cp /bin/true /tmp/user/newuidmap; user 1 env PATH=/tmp/user:/tmp/user/t nsfd-create -U --uid-map subid -- /bin/true",
            "nsfd-create: write uid_map \"0 200000 65536, 65536 300000 10\": the kernel now shows another map: \"\" (EIO)",
        ),
        // user ids are mapped, group ids not: nothing is handed on
        (
            "user 1 nsfd-create -U --uid-map subid --gid-map 0:5000:1 -- true",
            "nsfd-create: run /usr/bin/newgidmap: newgidmap: gid range [0-1) -> [5000-5001) not allowed (EPERM)",
        ),
        (
            "user 1 nsfd-create -U --uid-map root --gid-map root --setgroups allow -- true",
            "nsfd-create: write gid_map \"0 1 1\": Operation not permitted (EPERM)\nhint: without CAP_SETGID, setgroups must be denied first",
        ),
        (
            "printf 'other:1:5\\n' >/tmp/user/subid; user 1 nsfd-create -U --uid-map subid -- true",
            "nsfd-create: find ids in /etc/subuid: user daemon (1) has no range there (ENOENT)\nhint: have the administrator give one: \
             usermod --add-subuids",
        ),
        (
            "printf 'daemon:1\\n' >/tmp/user/subid; user 1 nsfd-create -U --uid-map subid -- true",
            "nsfd-create: parse /etc/subuid line 1: has not three fields (EINVAL)",
        ),
        (
            "printf 'other:0:0\\ndaemon:5:0\\n' >/tmp/user/subid; user 1 nsfd-create -U --uid-map subid -- true",
            "nsfd-create: parse /etc/subuid line 2: is empty, or passes 4294967294 (EINVAL)\nhint: it needs USER:FIRST:COUNT",
        ),
        (
            "printf 'daemon:5:10\\n1:7:1\\n' >/tmp/user/subid; user 1 nsfd-create -U --uid-map subid -- true",
            "nsfd-create: ranges of user daemon (1) in /etc/subuid: make id map: extents 0:5:10 and 10:7:1 overlap (outside ids) (EINVAL)",
        ),
        (
            "user 1 nsfd-create -U --owner 5 -- true",
            "nsfd-create: drop groups for owner 5: Operation not permitted (EPERM)\nhint: this needs CAP_SETUID and CAP_SETGID",
        ),
        // root
        (
            "nsfd-create -U --uid-map 0:1000:10 --gid-map 0:1000:10 -- ns-enter --ns user -- nsfd-create -U --owner 5:50 -- true",
            "nsfd-create: become group of owner 50: Invalid argument (EINVAL)\nhint: that id is not mapped in the caller's user namespace",
        ),
        (
            "nsfd-create -U --uid-map 0:1000:10 --gid-map 0:1000:10 -- ns-enter --ns user -- sh -c 'echo 0 >/proc/sys/user/max_cgroup_namespaces; \
             exec ns-enter --new mnt,cgroup,net -- true'",
            "ns-enter: create namespace mnt,cgroup,net: No space left on device (ENOSPC)\nhint: a limit is reached: user.max_cgroup_namespaces = 0 (here; ",
        ),
        (
            "nsfd-create -U --uid-map 0:1000:10 --gid-map 0:1000:10 -- ns-enter --ns user -- sh -c 'echo 1 >/proc/sys/user/max_mnt_namespaces; \
             exec ns-enter --new mnt -- ns-enter --new mnt,ipc -- true'",
            "hint: a limit is reached: user.max_mnt_namespaces = 1, user.max_ipc_namespaces = ",
        ),
        (
            "setpriv --bounding-set -setfcap --inh-caps -all nsfd-create -U --uid-map 0:0:5 -- true",
            "nsfd-create: write uid_map \"0 0 5\": Operation not permitted (EPERM)\nhint: mapping outside id 0 needs CAP_SETFCAP",
        ),
        (
            "nsfd-create -U --uid-map 0:1000:10 --gid-map 0:1000:10 -- ns-enter --ns user -- nsfd-create -U --uid-map 0:50:1 -- true",
            "nsfd-create: write uid_map \"0 50 1\": Operation not permitted (EPERM)\nhint: outside ids of 0:50:1 are not in one range of the \
             caller's own uid_map: \"0 1000 10\"",
        ),
        (
            "unshare -m sh -c 'mount -o remount,bind,ro /proc; exec nsfd-create -U --map-root -- true'",
            "nsfd-create: open uid_map: Read-only file system (EROFS)\nhint: /proc is mounted read-only here",
        ),
        ("unshare -m sh -c 'umount -l /proc; exec nsfd-create -U --map-root -- true'", "nsfd-create: use /proc: "),
        (
            "unshare -m sh -c 'mount -t tmpfs t /proc; exec nsfd-create -U --map-root -- true'",
            "nsfd-create: use /proc: ",
        ),
    ] {
        let run = as_user(&format!("({script}); echo $?"));
        assert!(run.stderr.contains(message), "{script}: {}", run.stderr);
        assert_eq!(run.stdout, "125\n", "{script}: {}", run.stderr);
    }
    // hidepid: its own child is seen
    for option in ["hidepid=1", "hidepid=2", "subset=pid"] {
        let run = as_user(&format!(
            "umount -l /proc 2>/dev/null; mount -t proc -o {option} proc /proc; \
             user 1 nsfd-create -U --uid-map subid --gid-map subid -- ns-enter --ns user -- id -u; umount /proc"
        ));
        assert_eq!(run.stdout, "0\n", "{option}: {}", run.stderr);
    }
}

#[test]
fn who_waits_outside_is_out_of_reach_from_inside() {
    // same pid namespace, same ids: only that it cannot be dumped keeps the container's root from its descriptors and memory
    for (who, map) in [("", "0:100000:65536"), ("user 1", "subid"), ("user 1", "root")] {
        let run = as_user(&format!(
            "echo secret >/tmp/user/secret; {who} nsfd-create -U --uid-map {map} --gid-map {map} -- ns-enter --ns user --fork -- sh -c '\
               ls /proc/$PPID/fd; readlink /proc/$PPID/root; head -c 1 /proc/$PPID/mem; head -c 1 /proc/$PPID/environ; \
               perl -e \"\\$p = syscall(434, $PPID, 0); print syscall(438, \\$p, 0, 0) < 0 ? qq(no\\n) : qq(GOT IT\\n)\"' 3</tmp/user/secret"
        ));
        assert_eq!(run.stdout, "no\n", "{who} {map}: {}", run.stderr);
        assert_eq!(run.stderr.matches("Permission denied").count(), 3, "{who} {map}: {}", run.stderr);
    }
}

#[test]
fn nothing_is_inherited_that_was_not_asked_for() {
    let run = arena(
        "setpriv --inh-caps +net_admin,+chown --ambient-caps +net_admin,+chown --groups 5,6 nsfd-create -U --uid-map 0:100000:65536 --gid-map 0:100000:65536 -- \
           ns-enter --ns user -- sh -c 'grep -E \"Groups|CapInh|CapAmb\" /proc/self/status; id -G'",
    );
    let expected = "Groups: CapInh: 0000000000000000 CapAmb: 0000000000000000 0";
    assert_eq!(run.words().join(" "), expected, "{}", run.stderr);
}
