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
fn what_another_manager_has_handed_on_is_said_only_if_all_of_it_is_kept() {
    let run = sh(
        "export LISTEN_FDS=3 LISTEN_PID=1; for keep in 3 3,4,5; do close-fds --keep $keep -- sh -c 'echo ${LISTEN_FDS-none}' 3</dev/null 4</dev/null 5</dev/null; done; \
         fd-open --packet 0x+0800=P -- true",
    );
    assert_eq!(run.words(), ["none", "3"], "{}", run.stderr);
    assert!(run.stderr.contains("does not begin with a protocol"), "{}", run.stderr);
}

#[test]
fn every_number_that_is_free_can_be_had() {
    let run = sh(
        "for k in user net uts; do for n in 3 4 5 6 7 8 9; do nsfd-create -Unmiu --map-root --fd $k=$n -- readlink /proc/self/fd/$n; done; done; \
         nsfd-create -U --map-root --fd user=5 -- true 5</dev/null",
    );
    let kinds: Vec<&str> = run.words().iter().map(|word| word.split_once(':').unwrap().0).collect();
    assert_eq!(kinds, [["user"; 7], ["net"; 7], ["uts"; 7]].concat(), "{}", run.stderr);
    assert_eq!(run.stderr, "nsfd-create: pass descriptor as fd:5: a descriptor of that number is open (EBUSY)\n");
}

#[test]
fn it_dies_with_who_started_it() {
    let line = container_line("-- /bin/sh -c \"echo started; exec /usr/bin/sleep 60\"");
    let run = common::arena(&format!(
        "({line}) >/tmp/out & until grep -q started /tmp/out; do sleep 0.01; done; pkill -KILL -x pivot-init; echo $?; wait 2>/dev/null; rm /tmp/out"
    ));
    assert_eq!((run.stdout.trim(), run.code), ("0", Some(0)), "{}", run.stderr);
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
    let scripts = [
        "mount -t tmpfs x /mnt",
        "ip link add left type veth peer name right",
        "touch /tmp/x",
        "sleep 60 >/dev/null 2>&1 &",
    ];
    // each is looked at until its time is over
    let runs = scripts.map(|script| std::thread::spawn(move || common::arena(script)));
    for (script, run) in scripts.iter().zip(runs) {
        let run = run.join().unwrap();
        assert_eq!(run.code, Some(99), "{script}: {}", run.stderr);
    }
}

#[test]
fn every_tool_refuses_what_it_does_not_know() {
    // in one arena, which sees whether any of them left something
    let mut script = String::new();
    let tools = sh("ctrtool --list").stdout;
    for tool in tools.lines() {
        script.push_str(&format!("{tool} --frob -- true; echo $?; {tool} --frob=1; echo $?; {tool} -q; echo $?;"));
    }
    let run = common::arena(&script);
    let chain = ["nsfd-create", "ns-enter", "close-fds", "mntfd-create", "fd-open", "pivot-init"];
    let expected: Vec<String> = tools
        .lines()
        .flat_map(|tool| {
            let optional = tool == "mount-setup";
            let code = |program: bool| if chain.contains(&tool) || (optional && program) { "125" } else { "2" };
            [code(true), code(false), code(false)].map(str::to_owned)
        })
        .collect();
    assert_eq!(run.words(), expected, "{}", run.stderr);
    for (tool, lines) in tools.lines().zip(run.stderr.lines().collect::<Vec<_>>().chunks(6)) {
        for line in [lines[0], lines[2]] {
            assert_eq!(line, format!("{tool}: option --frob: is unknown (EINVAL)"));
        }
        assert_eq!(lines[4], format!("{tool}: option -q: is unknown (EINVAL)"));
        assert_eq!(lines[5], "hint: --help lists the options");
    }
}

#[test]
fn every_tool_names_the_option_that_lacks_a_value() {
    for tool in sh("ctrtool --list").stdout.lines() {
        let help = sh(&format!("{tool} --help")).stdout;
        let mut seen = 0;
        // the list of options: an indent, perhaps a letter, the name. The usage line says which take a value
        for line in help.lines().skip_while(|line| *line != "Options:").filter(|line| line.starts_with("  -")) {
            let names: Vec<&str> = line.split_whitespace().map(|word| word.trim_end_matches(',')).collect();
            let names = names.iter().take_while(|word| word.starts_with('-'));
            let Some(option) = names.clone().find(|name| name.starts_with("--")) else { continue };
            if names.clone().any(|name| help.contains(&format!("{name} <"))) {
                let run = sh(&format!("{tool} {option}"));
                let message = format!("{tool}: option {option}: needs a value (EINVAL)");
                assert!(
                    run.stderr.starts_with(&message) && matches!(run.code, Some(125 | 2)),
                    "{tool} {option} {}",
                    run.stderr
                );
                seen += 1;
            }
        }
        assert!(seen > 0, "{tool} has no option with a value? {help}");
    }
}

#[test]
fn wrong_input_is_named_and_leaves_nothing() {
    let net = "nsfd-create -n --";
    for (script, code, message) in [
        (
            format!("{net} sh -c 'veth-create --host a --peer sixteen-bytes-xx --netns env:NSFD_NET'"),
            2,
            "veth-create: option --peer sixteen-bytes-xx: has 16 bytes, the kernel takes at most 15 (EINVAL)",
        ),
        (
            format!("{net} sh -c 'veth-create --host a --peer b --netns 77'"),
            1,
            "veth-create: open namespace fd:77: Bad file descriptor (EBADF)",
        ),
        (
            "veth-create --host a --peer b --netns /proc/self/ns/uts".into(),
            1,
            "veth-create: use as namespace /proc/self/ns/uts: is uts, expected net (EINVAL)",
        ),
        (
            "net-setup --netns 0 --lo </dev/null".into(),
            1,
            "net-setup: use as namespace fd:0: is a character device, not a",
        ),
        ("net-setup --link sixteen-bytes-xx --up".into(), 2, "net-setup: option --link sixteen-bytes-xx: has 16 bytes"),
        ("net-setup --link none --up".into(), 1, "net-setup: find link none: No such device (ENODEV)"),
        (
            "nsfd-create -U --uid-map 0:1000:10,5:2000:1 -- true".into(),
            125,
            "nsfd-create: option --uid-map 0:1000:10,5:2000:1: extents 0:1000:10 and 5:2000:1 overlap (inside ids) (EINVAL)",
        ),
        (
            "nsfd-create -U --uid-map 0:1000:10,20:1009:1 -- true".into(),
            125,
            "nsfd-create: option --uid-map 0:1000:10,20:1009:1: extents 0:1000:10 and 20:1009:1 overlap (outside ids) (EINVAL)",
        ),
        (
            "nsfd-create -U --uid-map 4294967296:0:1 -- true".into(),
            125,
            "nsfd-create: option --uid-map 4294967296:0:1: ",
        ),
        (
            "mount-setup --root /none -e 'none / tmpfs'".into(),
            1,
            "mount-setup: open root /none: No such file or directory (ENOENT)",
        ),
        (
            "mount-setup -e 'none /tmp/x tmpfs'".into(),
            1,
            "mount-setup: -e 1: open mount point /tmp/x: No such file or directory (ENOENT)\nhint: x-mkdir",
        ),
        (
            "mount-setup -e 'none /tmp/x frobfs x-mkdir'".into(),
            1,
            "mount-setup: -e 1: open filesystem frobfs: the kernel has no filesystem of this type (ENODEV)",
        ),
        (
            "mount-setup -e 'none /tmp/x tmpfs x-mkdir,frob=1'".into(),
            1,
            "mount-setup: -e 1: set option frob=1 of tmpfs: tmpfs: Unknown parameter 'frob' (EINVAL)",
        ),
        (
            "mount-setup -e 'none /tmp/x tmpfs x-mkdir,mode=9'".into(),
            1,
            "mount-setup: -e 1: set option mode=9 of tmpfs: tmpfs: Bad value for 'mode' (EINVAL)",
        ),
        (
            "mount-setup -e '/none /tmp/x bind x-mkdir'".into(),
            1,
            "mount-setup: -e 1: open source /none: No such file or directory (ENOENT)",
        ),
        (
            "mount-setup -e 'fd:77 /tmp/x fd x-mkdir'".into(),
            2,
            "mount-setup: -e 1:1: use source fd:77: Bad file descriptor (EBADF)",
        ),
        (
            "mount-setup -e 'none /tmp umount'; mount-setup -e 'none /tmp/x dir' -e 'none /tmp/x umount'".into(),
            1,
            "mount-setup: -e 2: unmount /tmp/x: Invalid argument (EINVAL)\nhint: it is no mount point",
        ),
        (
            "mount-setup -e '/etc /etc/passwd bind'".into(),
            1,
            "mount-setup: -e 1: mount at /etc/passwd: one of mount and mount point is a directory, the other is not",
        ),
        ("mount-setup --plan /none".into(), 1, "mount-setup: read plan /none: No such file or directory (ENOENT)"),
        ("mount-setup".into(), 2, "mount-setup: option --plan or --line: one of them is needed (EINVAL)"),
        ("ns-enter --new net --groups 1,x -- true".into(), 125, "ns-enter: option --groups 1,x: is no id"),
        (
            "ns-enter --ns net=/proc/self/ns/net --ns net=/proc/self/ns/net -- true".into(),
            125,
            "ns-enter: option --ns: gives net twice (EINVAL)",
        ),
        (
            "ns-enter --target 99999 --all -- true".into(),
            125,
            "ns-enter: open process pid:99999: No such process (ESRCH)",
        ),
        (
            "pivot-init --root /tmp --keep-fds 77 -- true".into(),
            125,
            "pivot-init: option --keep-fds: lists descriptor 77, which is not open",
        ),
        (
            "ns-enter --new net -- /nonexistent".into(),
            127,
            "ns-enter: execute /nonexistent: No such file or directory (ENOENT)",
        ),
        (
            "ns-enter --new net,pid -- /nonexistent".into(),
            127,
            "ns-enter: execute /nonexistent: No such file or directory (ENOENT)",
        ),
        ("ns-enter --new net -- /etc/passwd".into(), 126, "ns-enter: execute /etc/passwd: Permission denied (EACCES)"),
        (
            "nsfd-create -n -- /nonexistent".into(),
            127,
            "nsfd-create: execute /nonexistent: No such file or directory (ENOENT)",
        ),
        ("nsfd-create -n -- /etc/passwd".into(), 126, "nsfd-create: execute /etc/passwd: Permission denied (EACCES)"),
        (
            "mount-setup -e 'none /tmp umount' -- /nonexistent; c=$?; exit $c".into(),
            127,
            "mount-setup: execute /nonexistent",
        ),
    ] {
        // what the script unmounts itself is not what the tool leaves
        let script = script
            .replace("mount-setup -e 'none /tmp umount';", "")
            .replace("-e 'none /tmp umount'", "-e 'none /tmp dir'");
        let run = common::arena(&script);
        assert!(run.stderr.starts_with(message), "{script}: {}", run.stderr);
        assert_eq!(run.code, Some(code), "{script}: {}", run.stderr);
    }
}

#[test]
fn a_plan_that_fails_is_undone() {
    let run = common::arena(
        "mkdir /tmp/r; mount-setup --root /tmp/r -e 'none /a/b dir' -e 'none /a/m tmpfs x-mkdir' -e 'none /a/m/deep dir' \
         -e 'none /a/f file text=x' -e '/etc /a/e bind x-mkdir' -e 'none / tmpfs' -e 'none /new dir' -e 'none /x umount'; echo $?; \
         ls -A /tmp/r; rmdir /tmp/r",
    );
    assert_eq!(run.stdout.trim(), "1", "{}", run.stderr);
    assert!(run.stderr.starts_with("mount-setup: -e 8: open /x: No such file or directory (ENOENT)"), "{}", run.stderr);
}

#[test]
fn links_of_the_root_lead_nowhere_else() {
    // every way out of a root: nothing of the host is changed, as the arena sees
    let run = common::arena(
        "mkdir -p /tmp/r/real /tmp/host; cd /tmp/r; ln -s /tmp/host abs; ln -s ../host up; ln -s /proc/self/root/tmp/host magic; \
         ln -s loop loop; ln -s /nothing dangling; ln -s real in; ln -s /real absin; ls -AR /tmp/host >/tmp/before; \
         for l in abs up magic loop dangling; do \
           for line in \"none /$l/x dir\" \"none /$l/x tmpfs x-mkdir\" \"none /$l tmpfs\" \"none /$l/f file text=x\" \"y /$l/s symlink\" \"none /$l dev\"; do \
             mount-setup --root /tmp/r -e \"$line\" 2>/dev/null && echo \"DONE $line\"; done; done; \
         mount-setup --root /tmp/r -e 'none /in/one dir' -e 'none /absin/two dir' && ls real | tr '\\n' ' '; \
         ls -AR /tmp/host | cmp - /tmp/before && echo same; cd /; rm -r /tmp/r /tmp/host /tmp/before",
    );
    assert_eq!(run.stdout.trim(), "one two same", "{}", run.stderr);
}

#[test]
fn what_is_printed_is_what_is_done() {
    let plan = "none /tmp/r tmpfs x-mkdir,mode=0755\n/usr /tmp/r/usr bind rec,x-mkdir,ro\n";
    let run = common::arena(&format!(
        "printf '{}' >/tmp/plan; mount-setup --plan /tmp/plan --expand; ls /tmp; mount-setup --plan - </tmp/plan; ls /tmp/r; \
         umount -R /tmp/r; rmdir /tmp/r; rm /tmp/plan",
        plan.replace('\n', "\\n")
    ));
    assert_eq!(run.stdout, format!("{plan}plan\nusr\n"), "{}", run.stderr);
}

#[test]
fn privileges_are_given_up_for_good() {
    let show = "/bin/sh -c \"grep -E Cap.*: /proc/self/status; grep NoNewPrivs /proc/self/status; ulimit -n; umask; id -u; id -G; \
                 [ \\$(id -u) != 0 ] || echo root\"";
    let run = container(&format!("--bounding chown,net_raw --rlimit nofile=99 --umask 027 --no-new-privs -- {show}"));
    let mask = "0000000000002001";
    let zero = "0000000000000000";
    let expected = [
        "CapInh:",
        zero,
        "CapPrm:",
        mask,
        "CapEff:",
        mask,
        "CapBnd:",
        mask,
        "CapAmb:",
        zero,
        "NoNewPrivs:",
        "1",
        "99",
        "0027",
        "0",
        "0",
        "root",
    ];
    assert_eq!(run.words(), expected, "{}", run.stderr);
    let run = container(&format!("--init --uid 7 --gid 8 --groups 9,10 --ambient net_raw -- {show}"));
    let raw = "0000000000002000";
    let words = run.words();
    assert_eq!(words[..6], ["CapInh:", raw, "CapPrm:", raw, "CapEff:", raw], "{}", run.stderr);
    assert_eq!(words[8..10], ["CapAmb:", raw], "{}", run.stderr);
    assert_eq!(words[14..], ["7", "8", "9", "10"], "{}", run.stderr);
}

#[test]
fn a_seccomp_filter_holds() {
    // ld [0]; jeq uname(63): errno EPERM, else allow
    let filter = "\\040\\000\\000\\000\\000\\000\\000\\000\\025\\000\\000\\001\\077\\000\\000\\000\\006\\000\\000\\000\\001\\000\\005\\000\\006\\000\\000\\000\\000\\000\\377\\177";
    let run = common::arena(&format!(
        "printf '{filter}' >/tmp/bpf; ns-enter --new uts --no-new-privs --seccomp /tmp/bpf -- uname; echo $?; \
         ns-enter --new uts --seccomp fd:5 -- uname 5</tmp/bpf 2>&1; rm /tmp/bpf"
    ));
    assert!(run.stdout.starts_with("1\nuname: "), "{} {}", run.stdout, run.stderr);
    assert!(run.stderr.contains("Operation not permitted"), "{}", run.stderr);
}

#[test]
fn the_filesystems_of_the_kernel_are_mounted() {
    let run = common::arena(
        "mount-setup --root /tmp -e 'none /proc proc x-mkdir' -e 'none /sys sysfs x-mkdir' -e 'none /dev dev nodes=null:zero' \
         -e 'none /dev/pts devpts' -e 'none /dev/mqueue mqueue' -e 'none /cg cgroup x-mkdir' -e 'none /cg propagation private' \
         -e 'none /proc remount ro'; echo $?; cat /tmp/proc/1/comm; ls /tmp/sys/class/net; ls /tmp/dev | tr '\\n' ' '; echo x >/tmp/dev/null; \
         ls -l /tmp/dev/zero | cut -c1; grep -c '/tmp/proc ro,nosuid,nodev,noexec' /proc/self/mountinfo; ls /tmp/cg/cgroup.procs; \
         ls /tmp/dev/pts; mount-setup -e 'none /tmp/cg umount' -e 'none /tmp/proc umount' -e 'none /tmp/sys umount' -e 'none /tmp/dev umount' \
         && rmdir /tmp/*",
    );
    let expected = "0 sh lo fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero c 1 /tmp/cg/cgroup.procs ptmx";
    let expected: Vec<&str> =
        expected.split(' ').filter(|word| !["full", "random", "tty", "urandom"].contains(word)).collect();
    assert_eq!(run.words(), expected, "{}", run.stderr);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
}

#[test]
fn a_masked_proc_stays_masked() {
    let script = "exec 2>/err; wc -c </proc/timer_list; for p in timer_list keys sys bus acpi; do
        umount /proc/$p && echo DONE; umount -l /proc/$p && echo DONE; mount -o remount,bind,rw /proc/$p && echo DONE; done
        grep -c ' /proc/sys ro,' /proc/self/mountinfo; echo 1 >/proc/sys/net/ipv4/ip_forward; grep -o 'ip_forward.*' /err; cat /proc/1/comm; echo end";
    let line = container_line("--mask-proc -- /bin/sh -s");
    let run = common::arena(&format!("{line} <<'END'\n{script}\nEND\n"));
    assert_eq!(run.words().join(" "), "0 1 ip_forward: Read-only file system sh end", "{} {}", run.stdout, run.stderr);
}
