//! The tools from outside, as a shell script uses them: run as root, in namespaces that they make themselves.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::Command;

struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// Runs a line of sh(1) with the tools in PATH.
fn sh(script: &str) -> Run {
    let tools = std::path::Path::new(env!("CARGO_BIN_EXE_ctrtool")).parent().unwrap();
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", tools.display());
    let output = Command::new("/bin/sh").args(["-c", script]).env("PATH", path).output().unwrap();
    Run {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

const MAPS: &str = "--uid-map 0:100000:65536 --gid-map 0:100000:65536";

#[test]
fn the_map_is_what_was_asked_and_no_descriptor_is_left() {
    let run = sh(&format!(
        "exec nsfd-create -Un {MAPS} -- sh -c 'ns-enter --ns user,net --new ipc,cgroup,mnt,uts --hostname box -- close-fds -- \
         sh -c \"id -u; id -G; cat /proc/self/uid_map; uname -n; env | grep -c NSFD; ls /proc/self/fd | wc -l\"'"
    ));
    let words: Vec<&str> = run.stdout.split_whitespace().collect();
    // ls(1) has 0, 1, 2, and the directory
    assert_eq!(words, ["0", "0", "0", "100000", "65536", "box", "0", "4"], "{}", run.stderr);
}

#[test]
fn namespaces_differ_and_the_descriptors_hold_them() {
    let run = sh("for k in user net ipc; do readlink /proc/self/ns/$k; done; \
         nsfd-create -Uni --map-root -- sh -c 'for n in $NSFD_USER $NSFD_NET $NSFD_IPC; do readlink /proc/self/fd/$n; done'");
    let links: std::collections::HashSet<&str> = run.stdout.lines().collect();
    assert_eq!(links.len(), 6, "{} {}", run.stdout, run.stderr);
}

#[test]
fn ten_thousand_descriptors_are_gone_and_the_kept_one_is_there() {
    let run =
        sh("ulimit -n 20000; perl -e '$^F = 100000; open($f[$_], \"<\", \"/dev/null\") for 1..10000; exec @ARGV' \
         close-fds --keep 500 -- sh -c 'ls /proc/$$/fd' | tr '\\n' ' '");
    assert_eq!(run.stdout.trim(), "0 1 2 500", "{}", run.stderr);
}

#[test]
fn arguments_arrive_byte_for_byte() {
    let run = sh("a=$(printf 'a\\377b'); close-fds -- printf %s \"$a\" | od -An -tx1");
    assert_eq!(run.stdout.trim(), "61 ff 62", "{}", run.stderr);
}

#[test]
fn the_exit_status_is_the_programs() {
    assert_eq!(sh("nsfd-create -n -- sh -c 'exit 7'").code, Some(7));
    assert_eq!(sh("close-fds -- /nonexistent").code, Some(127));
    assert_eq!(sh("close-fds -- no-such-program-here").code, Some(127));
    assert_eq!(sh("close-fds -- /etc/passwd").code, Some(126));
    assert_eq!(sh("close-fds -- /").code, Some(126));
}

#[test]
fn mistakes_are_named() {
    for (script, code, message) in [
        ("nsfd-create --frob -- true", 125, "nsfd-create: option --frob: is unknown (EINVAL)"),
        ("nsfd-create -U --uid-map", 125, "nsfd-create: option --uid-map: needs a value (EINVAL)"),
        ("nsfd-create -U", 125, "nsfd-create: execute program: none is given (EINVAL)"),
        ("nsfd-create true", 125, "nsfd-create: read options: no namespace is asked for (EINVAL)"),
        (
            "nsfd-create -U --uid-map 0:1000:5,3:2000:5 true",
            125,
            "nsfd-create: option --uid-map 0:1000:5,3:2000:5: extents 0:1000:5 and 3:2000:5 overlap (inside ids) (EINVAL)",
        ),
        ("nsfd-create -p true", 125, "nsfd-create: option --pid: a pid namespace cannot be opened"),
        ("nsfd-create -n --map-root true", 125, "nsfd-create: option --map-root: needs --user (EINVAL)"),
        ("ns-enter --ns net=fd:99 true", 125, "ns-enter: open namespace fd:99: Bad file descriptor (EBADF)"),
        ("ns-enter --ns net=0 true </dev/null", 125, "ns-enter: use as namespace fd:0: is a character device, not a"),
        (
            "ns-enter --ns net=/proc/self/ns/uts true",
            125,
            "ns-enter: use as namespace /proc/self/ns/uts: is uts, expected",
        ),
        ("ns-enter --ns net true", 125, "ns-enter: read descriptor number from env:NSFD_NET: the variable is not set"),
        ("close-fds --keep 77 true", 125, "close-fds: option --keep: lists descriptor 77, which is not open (EINVAL)"),
        ("close-fds --keep 3abc true", 125, "close-fds: option --keep 3abc: needs N, FIRST-LAST or env:VAR"),
        ("veth-create --host h true", 2, "veth-create: read argument true: is not expected"),
        ("ctrtool frob", 2, "ctrtool: run tool frob: there is none of that name (EINVAL)"),
    ] {
        let run = sh(script);
        assert_eq!(run.code, Some(code), "{script}: {}", run.stderr);
        assert!(run.stderr.starts_with(message), "{script}: {}", run.stderr);
    }
}

#[test]
fn every_tool_answers_help_and_version() {
    for tool in sh("ctrtool --list").stdout.lines() {
        for option in ["--help", "-h", "--version"] {
            let run = sh(&format!("{tool} {option}"));
            assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{tool} {option}");
            assert!(run.stdout.contains(tool), "{tool} {option}: {}", run.stdout);
        }
    }
}

/// A container whose root is a tmpfs with the host's /usr, assembled by mount(8) until mount-setup exists.
fn container(init: &str) -> Run {
    sh(&format!(
        "exec nsfd-create -Un {MAPS} -- ns-enter --ns user,net -- close-fds -- ns-enter --new ipc,cgroup,mnt,uts -- sh -c '
         mount -t tmpfs tmpfs /mnt && cd /mnt && mkdir usr proc && mount --rbind /usr usr &&
         for d in bin lib lib64; do ln -s usr/$d $d; done && exec pivot-init --root /mnt -- {init}'"
    ))
}

#[test]
fn the_program_is_process_1_and_sees_nothing_of_the_hosts_root() {
    let run = container("/bin/sh -c \"id -u; ls /; cat /proc/1/comm; pwd; ls /proc/1/root\"");
    let words: Vec<&str> = run.stdout.split_whitespace().collect();
    let root = ["bin", "lib", "lib64", "proc", "usr"];
    assert_eq!(words, [&["0"][..], &root, &["sh", "/"], &root].concat(), "{}", run.stderr);
}

#[test]
fn the_end_of_process_1_is_the_end_of_pivot_init() {
    assert_eq!(container("/bin/sh -c \"exit 5\"").code, Some(5));
    assert_eq!(container("/nonexistent").code, Some(127));
    assert_eq!(container("/usr").code, Some(126));
    let run = sh("pivot-init --root /etc -- true");
    assert_eq!(run.code, Some(125));
    assert!(
        run.stderr.starts_with("pivot-init: use as root /etc: is not a mount point (EINVAL)\nhint: "),
        "{}",
        run.stderr
    );
}
