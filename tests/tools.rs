//! The tools from outside, as a shell script uses them: run as root, in namespaces that they make themselves.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{Run, sh};

const MAPS: &str = "--uid-map 0:100000:65536 --gid-map 0:100000:65536";

#[test]
fn the_map_is_what_was_asked_and_no_descriptor_is_left() {
    let run = sh(&format!(
        "exec nsfd-create -Un {MAPS} -- sh -c 'ns-enter --ns user,net --new ipc,cgroup,mnt,uts --hostname box -- close-fds -- \
         sh -c \"id -u; id -G; cat /proc/self/uid_map; uname -n; env | grep -c NSFD; ls /proc/self/fd | wc -l\"'"
    ));
    let words = run.words();
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
    common::arena(&container_line(init))
}

fn container_line(init: &str) -> String {
    format!(
        "exec nsfd-create -Un {MAPS} -- ns-enter --ns user,net -- close-fds -- ns-enter --new ipc,cgroup,mnt,uts -- sh -c '
         mount -t tmpfs tmpfs /mnt && cd /mnt && mkdir usr proc && mount --rbind /usr usr &&
         for d in bin lib lib64; do ln -s usr/$d $d; done && exec pivot-init --root /mnt {init}'"
    )
}

#[test]
fn the_program_is_process_1_and_sees_nothing_of_the_hosts_root() {
    let run = container("-- /bin/sh -c \"id -u; ls /; cat /proc/1/comm; pwd; ls /proc/1/root\"");
    let words: Vec<&str> = run.stdout.split_whitespace().collect();
    let root = ["bin", "lib", "lib64", "proc", "usr"];
    assert_eq!(words, [&["0"][..], &root, &["sh", "/"], &root].concat(), "{}", run.stderr);
}

#[test]
fn the_end_of_process_1_is_the_end_of_pivot_init() {
    for (init, code) in [("/bin/sh -c \"exit 5\"", 5), ("/nonexistent", 127), ("/usr", 126)] {
        let run = container(&format!("-- {init}"));
        assert_eq!(run.code, Some(code), "{init}: {}", run.stderr);
    }
    let run = sh("pivot-init --root /etc -- true");
    assert_eq!(run.code, Some(125));
    assert!(
        run.stderr.starts_with("pivot-init: use as root /etc: is not a mount point (EINVAL)\nhint: "),
        "{}",
        run.stderr
    );
}

#[test]
fn the_small_init_collects_and_passes_on() {
    let run = container("--init -- /bin/sh -c \"cat /proc/1/comm; (sleep 0.1 &) ; ls /proc/1/fd | wc -l; exit 7\"");
    assert_eq!((run.words().as_slice(), run.code), (["pivot-init", "4"].as_slice(), Some(7)), "{}", run.stderr);
    assert_eq!(container("--init -- /nonexistent").code, Some(127));
}

#[test]
fn death_by_signal_arrives_as_such() {
    for options in ["", "--init"] {
        let script = container_line(&format!("{options} -- /bin/sh -c \"kill -KILL \\$\\$; sleep 1\""));
        // process 1 cannot kill itself: with the init the program is killed, without it goes on to its end
        let run = common::arena(&format!("{script} & wait $!; echo $?"));
        assert_eq!(run.stdout.trim(), if options.is_empty() { "0" } else { "137" }, "{}", run.stderr);
    }
}

#[test]
fn who_asks_is_told_when_it_starts_and_ends() {
    let keep = "exec 5>/run/status 6>/run/ready; ";
    let line = container_line("--status-fd 5 --ready-fd 6 --pid-file /run/pid -- /bin/sh -c \"exit 3\"");
    let line = line.replace("close-fds --", "close-fds --keep 5,6 --");
    let run = common::arena(&format!(
        "chmod 777 /run; {keep}({line}); echo $?; cat /run/status; wc -c </run/ready; ls /run/pid"
    ));
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines.len(), 4, "{} {}", run.stdout, run.stderr);
    assert_eq!(lines[0], "3");
    assert!(lines[1].starts_with("{\"event\":\"started\",\"pid\":"), "{}", run.stdout);
    assert_eq!(&lines[2..], ["{\"event\":\"ended\",\"exit\":3}", "1"]);
}

#[test]
fn what_is_detached_goes_on_alone() {
    let line = container_line("--detach --pid-file /run/pid -- /usr/bin/sleep 60");
    let run = common::arena(&format!(
        "chmod 777 /run; ({line}); echo $?; read -r pid </run/pid; cat /proc/$pid/comm; kill -9 $pid; rm /run/pid"
    ));
    assert_eq!(run.words(), ["0", "sleep"], "{}", run.stderr);
}

#[test]
fn it_dies_with_who_started_it() {
    let line = container_line("-- /usr/bin/sleep 60");
    let run = common::arena(&format!(
        "({line}) & for i in $(seq 100); do pkill -KILL -x pivot-init && break; sleep 0.02; done; wait 2>/dev/null; echo end"
    ));
    assert_eq!((run.stdout.trim(), run.code), ("end", Some(0)), "{}", run.stderr);
}

#[test]
fn each_root_that_cannot_be_is_refused_with_its_reason() {
    for (script, message) in [
        ("pivot-init --root / -- true", "pivot-init: use as root /: is the root already (EBUSY)"),
        (
            "mount -t tmpfs x /mnt; pivot-init --root /mnt -- true; c=$?; umount /mnt; exit $c",
            "pivot-init: use as root /mnt: is on shared mounts",
        ),
        ("pivot-init --root /tmp/none -- true", "pivot-init: open root /tmp/none: No such file or directory (ENOENT)"),
        ("pivot-init --root /etc/passwd -- true", "pivot-init: open root /etc/passwd: Not a directory (ENOTDIR)"),
        ("pivot-init --root /etc -- true", "pivot-init: use as root /etc: is not a mount point (EINVAL)"),
        ("pivot-init --init --as-pid-1 --root /tmp -- true", "pivot-init: option --init: excludes --as-pid-1 (EINVAL)"),
        ("pivot-init --root /tmp --status-fd 77 -- true", "pivot-init: option --status-fd 77: is not open (EINVAL)"),
        ("pivot-init --root /tmp --cwd", "pivot-init: option --cwd: needs a value (EINVAL)"),
    ] {
        let run = common::arena(script);
        assert!(run.stderr.starts_with(message), "{script}: {}", run.stderr);
        assert_eq!(run.code, Some(125), "{script}: {}", run.stderr);
    }
}

#[test]
fn the_namespaces_of_a_process_are_entered_at_once() {
    let run = common::arena(
        "nsfd-create -Unu --map-root --hostname inner -- ns-enter --ns user,net,uts -- sleep 60 & \
         for i in $(seq 100); do [ \"$(cat /proc/$!/comm)\" = sleep ] && break; sleep 0.02; done; \
         ns-enter --target $! --all -- sh -c 'uname -n; readlink /proc/self/ns/net'; readlink /proc/$!/ns/net; \
         ns-enter -t $! --ns uts -- uname -n; ns-enter --new pid,mnt -- sh -c 'echo $$; exit 4'; echo $?; kill $!; wait",
    );
    let words = run.words();
    assert_eq!(words.len(), 6, "{} {}", run.stdout, run.stderr);
    assert_eq!((words[0], words[3], words[4], words[5]), ("inner", "inner", "1", "4"));
    assert_eq!(words[1], words[2]);
}

#[test]
fn descriptors_are_renumbered_with_their_names() {
    let run = sh("exec 5</etc/passwd 6</dev/null; NSFD_NET=6 MNTFD_A=7 close-fds --arrange 6,5 --listen-fds=a:b -- \
                  sh -c 'readlink /proc/$$/fd/3 /proc/$$/fd/4; echo $NSFD_NET ${MNTFD_A-gone} $LISTEN_FDS $LISTEN_FDNAMES; \
                         [ $LISTEN_PID = $$ ] && echo same; ls /proc/$$/fd | wc -l'");
    assert_eq!(run.words(), ["/dev/null", "/etc/passwd", "3", "gone", "2", "a:b", "same", "5"], "{}", run.stderr);
}

#[test]
fn every_tool_has_a_man_page_with_all_of_its_options() {
    for tool in sh("ctrtool --list").stdout.lines() {
        let page = sh(&format!("ctrtool --man {tool}")).stdout.replace('\\', "");
        for option in sh(&format!("{tool} --help")).stdout.split_whitespace().filter(|word| word.starts_with("--")) {
            let name = option.trim_matches(|c: char| !c.is_ascii_alphanumeric());
            assert!(page.contains(name), "{tool}: {option} is missing");
        }
        assert!(page.starts_with(&format!(".TH {}", tool.to_uppercase())), "{tool}: {page}");
    }
}

#[test]
fn the_arena_sees_what_is_left() {
    for script in [
        "mount -t tmpfs x /mnt",
        "ip link add left type veth peer name right",
        "touch /tmp/x",
        "sleep 60 >/dev/null 2>&1 &",
    ] {
        let run = common::arena(script);
        assert_eq!(run.code, Some(99), "{script}: {}", run.stderr);
    }
}
