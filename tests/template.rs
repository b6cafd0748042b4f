//! `examples/container.sh`, seen from inside the container and from the host, which an arena plays.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{Run, arena};

/// Runs the template with a command, given as words of sh(1), after `before` on the host.
fn template(before: &str, command: &str) -> Run {
    arena(&format!("export TOOLS=/run/tools; {before}\n/run/examples/container.sh {command}"))
}

#[test]
fn a_container_is_what_the_readme_says() {
    let run = template("", "/bin/sh -c 'id -u; id -G; ls /; cat /proc/1/comm; pwd; uname -n'");
    let root = "bin dev etc home lib lib64 mnt proc root run sbin sys tmp usr var";
    let expected = format!("0 0 {root} sh / box");
    assert_eq!(run.words().join(" "), expected, "{}", run.stderr);
    assert_eq!((run.stderr.as_str(), run.code), ("", Some(0)));
}

#[test]
fn without_a_command_it_reports() {
    let run = template("", "</dev/null");
    for text in [
        "uid=0(root) gid=0(root) groups=0(root)",
        " 0 100000 65536",
        "own namespaces: cgroup ipc mnt net pid user uts\n",
        "    10.173.0.2\n",
        "    fd17:0003:0000:0000:0000:0000:0000:0002 on eth0\n",
        "    00000000/00000000 via 0100AD0A dev eth0\n",
        "    /usr ro,",
        "    /dev/mqueue ",
    ] {
        assert!(run.stdout.contains(text), "{text:?} is missing: {} {}", run.stdout, run.stderr);
    }
    assert_eq!(run.code, Some(0));
}

#[test]
fn both_families_arrive_both_ways() {
    // a refusal is an answer: somebody is there, who has no such service
    let knock = "knock() { timeout 60 bash -c \"echo >/dev/tcp/$1/9\" 2>&1 | grep -m1 -o refused; };";
    let inside = format!("{knock} knock 10.173.0.1; knock fd17:3::1; echo up; sleep 60");
    let run = arena(&format!(
        "export TOOLS=/run/tools; {knock} mkfifo /tmp/out; /run/examples/container.sh /bin/sh -c '{inside}' >/tmp/out & \
         exec 4</tmp/out; while read -r line <&4; do echo $line; [ $line != up ] || break; done; \
         knock 10.173.0.2; knock fd17:3::2; pkill -KILL -x pivot-init; wait 2>/dev/null; rm /tmp/out"
    ));
    assert_eq!(run.words(), ["refused", "refused", "up", "refused", "refused"], "{}", run.stderr);
}

#[test]
fn the_peer_is_born_inside() {
    // a listener on the host hears of every link that is there, for however short
    let run = template(
        "ip monitor link >/tmp/links & m=$!; until [ -s /tmp/links ]; do ip link set lo mtu 65535; ip link set lo mtu 65536; sleep 0.01; done;",
        "/bin/sh -c 'cut -d: -f1 /proc/net/dev | tail -n +3'; ip link set lo mtu 65000; until grep -q 65000 /tmp/links; do sleep 0.01; done; kill $m; wait $m 2>/dev/null; grep -c eth0 /tmp/links; \
         grep -c ve-box /tmp/links >/dev/null && echo heard; rm /tmp/links",
    );
    assert_eq!(run.words(), ["lo", "eth0", "0", "heard"], "{} {}", run.stdout, run.stderr);
}

#[test]
fn usr_is_read_only_for_good() {
    let attempts = "try() { \"$@\" 2>/dev/null && echo \"DONE: $*\"; }; \
        try touch /usr/x; try touch /usr/share/doc/x; try mount -o remount,bind,rw /usr; try mount -o remount,rw /usr; \
        try umount /usr/share/doc; try umount -l /usr/share/doc; try mount --bind -o rw /usr /mnt; \
        mount --rbind /usr /mnt && try touch /mnt/x; try mount -o remount,bind,rw /mnt; try mount -o remount,bind,rw /mnt/share/doc; \
        try mount -o remount,bind,suid /usr; ls /usr/share/doc; echo end";
    let run = template(
        "mount -t tmpfs doc /usr/share/doc; touch /usr/share/doc/inner; trap 'umount /usr/share/doc' EXIT;",
        &format!("/bin/sh -c '{attempts}'"),
    );
    assert_eq!(run.words(), ["inner", "end"], "{} {}", run.stdout, run.stderr);
}

#[test]
fn nothing_of_the_hosts_root_is_in_reach() {
    let look = "ls -l /proc/1/fd | wc -l; for f in /proc/*/fd/*; do readlink $f; done | grep -v -e ^pipe: -e ^/dev/null -e ^/proc/; \
                readlink /proc/1/cwd /proc/1/root; ls /proc/1/root/../../.. | tr \"\\n\" \" \"; set -- /proc/[0-9]*; echo $#; \
                cut -d\" \" -f5 /proc/1/mountinfo | grep -e run/tools -e /old; env | cut -d= -f1 | sort | tr \"\\n\" \" \"";
    let run = template(
        "mkdir /tmp/secret; cd /tmp/secret; exec 5</etc/shadow 6</ 7</tmp/secret;",
        &format!("/bin/sh -c '{look}' </dev/null 2>&1 | cat; cd /; rmdir /tmp/secret"),
    );
    let lines: Vec<&str> = run.stdout.lines().map(str::trim).collect();
    // 0, 1, 2 and the total; the root as the template makes it; sh alone; PWD is what sh itself sets
    let root = "bin dev etc home lib lib64 mnt proc root run sbin sys tmp usr var 1";
    assert_eq!(lines, ["4", "/", "/", root, "HOME PATH PWD TERM"], "{}", run.stderr);
}

#[test]
fn ten_thousand_descriptors_of_the_caller_are_gone() {
    let perl = "perl -e '$^F = 100000; open($f[$_], \"<\", \"/dev/null\") for 1..10000; exec @ARGV'";
    let run = arena(&format!(
        "ulimit -n 20000; export TOOLS=/run/tools; {perl} /run/examples/container.sh /bin/sh -c 'ls /proc/1/fd'"
    ));
    assert_eq!(run.words(), ["0", "1", "2"], "{}", run.stderr);
}

#[test]
fn status_signals_and_bytes_pass_through() {
    assert_eq!(template("", "/bin/sh -c 'exit 42'").code, Some(42));
    assert_eq!(template("", "/nonexistent").code, Some(127));
    assert_eq!(template("", "/etc/passwd").code, Some(126));
    let run = template("a=$(printf 'a\\377\\nb')", "/usr/bin/printf %s \"$a\" | od -An -tx1");
    assert_eq!(run.stdout.trim(), "61 ff 0a 62", "{}", run.stderr);
    // process 1 is killed from outside, where a signal can do that
    let run = arena(
        "export TOOLS=/run/tools; /run/examples/container.sh /usr/bin/sleep 60 & \
         until p=$(pgrep -f '^/usr/bin/sleep 60$'); do :; done; pkill -TERM -x pivot-init; kill -KILL $p; wait $!; echo $?",
    );
    assert_eq!(run.stdout.trim(), "137", "{}", run.stderr);
}

#[test]
fn it_starts_from_a_directory_that_only_root_can_search() {
    let run = arena(
        "mkdir -m 700 /tmp/home; mkdir /tmp/home/tools; cp /run/tools/* /tmp/home/tools 2>/dev/null; cp -r /run/examples /tmp/home/examples; \
         TOOLS=/tmp/home/tools /tmp/home/examples/container.sh /bin/sh -c 'echo in'; rm -r /tmp/home",
    );
    assert_eq!(run.stdout, "in\n", "{}", run.stderr);
}

#[test]
fn a_step_that_fails_leaves_nothing() {
    // the link exists: step 2 fails; the arena says whether anything of step 1 is left
    let run = arena(
        "export TOOLS=/run/tools; ip link add ve-box type bridge; /run/examples/container.sh /bin/true; echo $?; ip link del ve-box",
    );
    assert_eq!(run.stdout.trim(), "1", "{}", run.stderr);
    assert!(run.stderr.starts_with("veth-create: create veth ve-box"), "{}", run.stderr);
    // no /mnt: step 6 fails in the container's own namespaces
    let run = arena(
        "export TOOLS=/run/tools; sed s,/mnt,/none, /run/examples/container.sh >/tmp/c.sh; sh /tmp/c.sh /bin/true; echo $?; rm /tmp/c.sh",
    );
    assert_eq!(run.stdout.trim(), "1", "{}", run.stderr);
    assert!(
        run.stderr.starts_with("mount-setup: open root /none: No such file or directory (ENOENT)"),
        "{}",
        run.stderr
    );
}

#[test]
fn after_step_1_no_process_is_left_and_descriptors_alone_hold_the_namespaces() {
    // every process of the arena, with the namespaces it is in, as seen by the program that nsfd-create became; then the
    // namespaces' ids again when the descriptors are gone: no process is in them, so they are not to be found any more
    let run = arena(
        "nsfd-create -Unmiu --map-root -- sh -c 'for n in $NSFD_USER $NSFD_NET $NSFD_MNT $NSFD_IPC $NSFD_UTS; do \
           id=$(readlink /proc/self/fd/$n); echo held; for p in /proc/[0-9]*; do \
             [ \"$(readlink $p/ns/${id%%:*})\" != \"$id\" ] || echo \"$p is in $id\"; done; done; \
           for p in /proc/[0-9]*; do read -r comm <$p/comm; echo $comm; done | grep -c nsfd-create'",
    );
    let words = run.words();
    assert_eq!(words, ["held", "held", "held", "held", "held", "0"], "{} {}", run.stdout, run.stderr);
}

#[test]
fn the_map_is_the_same_from_both_sides() {
    let run = arena(
        "export TOOLS=/run/tools; mkfifo /tmp/out; \
         /run/examples/container.sh /bin/sh -c 'cat /proc/1/uid_map /proc/1/gid_map; echo up; sleep 60' >/tmp/out & \
         exec 4</tmp/out; while read -r line <&4; do [ \"$line\" != up ] || break; echo $line; done; \
         until pid=$(pgrep -n -x sleep); do :; done; cat /proc/$pid/uid_map /proc/$pid/gid_map; grep -E '^(Uid|Gid|Groups)' /proc/$pid/status; \
         pkill -KILL -x pivot-init; wait 2>/dev/null; rm /tmp/out",
    );
    let map = ["0", "100000", "65536"];
    let ids = ["100000"; 4];
    let expected: Vec<&str> = [&map[..], &map, &map, &map, &["Uid:"], &ids, &["Gid:"], &ids, &["Groups:"]].concat();
    assert_eq!(run.words(), expected, "{}", run.stderr);
}

#[test]
fn only_the_namespaces_that_were_asked_for_differ() {
    let run = arena(
        "export TOOLS=/run/tools; list() { for k in user net mnt pid ipc uts cgroup time; do readlink /proc/self/ns/$k; done; }; \
         list >/tmp/host; /run/examples/container.sh /bin/sh -c 'for k in user net mnt pid ipc uts cgroup time; do readlink \
         /proc/self/ns/$k; done' >/tmp/inside; grep -xFf /tmp/host /tmp/inside; wc -l </tmp/inside; rm /tmp/host /tmp/inside",
    );
    let words = run.words();
    assert_eq!(words.len(), 2, "{} {}", run.stdout, run.stderr);
    assert!(words[0].starts_with("time:") && words[1] == "8", "{}", run.stdout);
}

#[test]
fn it_can_be_killed_at_any_moment() {
    // the whole chain, killed after 0, 1, 2, … milliseconds: the arena sees what remains
    let run = arena(
        "export TOOLS=/run/tools; for ms in $(seq 1 2 41); do \
           sed \"s/^link=.*/link=ve-$ms/\" /run/examples/container.sh >/tmp/c.sh; \
           timeout -s KILL 0.$(printf %03d $ms) sh /tmp/c.sh /bin/true >/dev/null 2>&1; done; rm /tmp/c.sh; echo end",
    );
    assert_eq!((run.stdout.trim(), run.code), ("end", Some(0)), "{}", run.stderr);
}

#[test]
fn it_can_be_started_again_at_once() {
    let run = template(
        "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do /run/examples/container.sh /bin/sh -c 'exit 3' || echo $?; done;",
        "/bin/sh -c 'echo last'",
    );
    assert_eq!(run.words(), [&["3"; 20][..], &["last"]].concat(), "{}", run.stderr);
    assert_eq!(run.stderr, "");
}
