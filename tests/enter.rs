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
    let run = sh(
        "setpriv --bounding-set -net_admin -- ns-enter --new uts --uid 5 --ambient all -- grep -c 'CapAmb:.*[1-9a-f]' /proc/self/status",
    );
    assert_eq!(run.stdout, "1\n", "{}", run.stderr);
}

/// CVE-2019-5736: who is inside reaches the file of what enters as `/proc/PID/exe`, or by a script that has it execute itself again.
/// It is one that nobody can write to.
#[test]
fn the_file_of_a_tool_that_enters_is_out_of_reach() {
    let run = arena(
        "sleep 60 & p=$!; until [ \"$(cat /proc/$p/comm)\" = sleep ]; do :; done; printf '#!/proc/self/exe --version\\n' >/tmp/again; chmod 755 /tmp/again; \
         ns-enter --target $p --ns mnt --fork -- sh -c 'readlink /proc/$PPID/exe; cat /proc/$PPID/comm; (echo pwned >/proc/$PPID/exe) 2>/dev/null || echo kept; \
           cmp /proc/$PPID/exe /run/tools/ns-enter && echo same'; \
         ns-enter --target $p --ns mnt -- /tmp/again; ns-enter --target $p --ns net --fork -- sh -c 'readlink /proc/$PPID/exe'; \
         kill $p; wait 2>/dev/null; rm /tmp/*",
    );
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines[0].starts_with("/memfd:ns-enter"), "{} {}", run.stdout, run.stderr);
    assert_eq!(lines[1..4], ["ns-enter", "kept", "same"], "{}", run.stderr);
    assert!(lines[4].starts_with("ns-enter (libctr)") && lines[5].starts_with("/memfd:ns-enter"), "{}", run.stdout);
}

#[test]
fn nobody_else_loses_the_root() {
    // the caller's own mount namespace: a program that cannot be executed, one that can, one that goes on alone
    let run = arena(
        "unshare -m --propagation private sh -c 'mkdir -p /tmp/r/proc /tmp/r/bin; mount -t tmpfs r /mnt; mkdir /mnt/proc; mount --bind /bin /tmp/r/bin; \
           cp /bin/busybox /mnt/sh; wc -l </proc/self/mountinfo; \
           pivot-init --root /mnt --cwd /x -- /nonexistent; echo $?; pivot-init --root /mnt -- /sh -c \"echo \\$$\"; \
           pivot-init --root /mnt --detach -- /sh -c \"exit 3\"; echo $?; \
           pivot-init --root /tmp/r --bind-root --cwd /x -- /nonexistent; pivot-init --root /tmp/r --bind-root --disable-userns -- /nonexistent; \
           cp /bin/busybox /tmp/r/sh; pivot-init --root /tmp/r --bind-root -- /sh -c \"echo \\$$; ls -d /bin/sh\"; \
           mkdir /tmp/s; pivot-init --root /tmp/s --bind-root -- /sh; ls -d /tmp/r/sh; \
           pivot-init --root /tmp/r --bind-root --detach -- /sh -c \"read x\"; wc -l </proc/self/mountinfo' </dev/zero; rm -r /tmp/r /tmp/s",
    );
    let lines: Vec<&str> = run.words();
    let before = lines[0];
    assert_eq!(lines, [before, "125", "1", "0", "1", "/bin/sh", "/tmp/r/sh", before], "{}", run.stderr);
    assert_eq!(run.stderr.matches("change directory to /x: No such file").count(), 2, "{}", run.stderr);
    assert!(run.stderr.contains("pivot-init: open mount point /proc: No such file"), "{}", run.stderr);
}

#[test]
fn a_user_namespace_inside_the_one_that_is_entered() {
    let maps = "--uid-map 0:100000:65536 --gid-map 0:100000:65536";
    let run = arena(&format!(
        "nsfd-create -U {maps} -- ns-enter --ns user --new user -- sh -c 'id -u; cat /proc/self/uid_map; echo ${{NSFD_USER-none}}'; \
         nsfd-create -U {maps} -- ns-enter --ns user --new user --keep-ids -- true; \
         nsfd-create -U {maps} -- ns-enter --ns user -- sleep 60 & p=$!; until [ \"$(cat /proc/$p/comm)\" = sleep ]; do :; done; \
         ns-enter --target $p --ns user --new user -- cat /proc/self/uid_map; ns-enter --target $$ --all -- echo nothing to enter; \
         ns-enter --target $$ --ns user -- true; kill $p; wait 2>/dev/null"
    ));
    let expected = "0 0 0 1 none 0 0 1 nothing to enter";
    assert_eq!(run.words().join(" "), expected, "{}", run.stderr);
    assert!(run.stderr.contains("option --keep-ids: excludes --new user with --ns user"), "{}", run.stderr);
    assert!(run.stderr.contains("hint: the caller cannot enter the user namespace that it is in"), "{}", run.stderr);
}

#[test]
fn only_what_is_entered_loses_its_variable() {
    let run = arena(
        "exec 5</dev/null; NSFD_NET=5 ns-enter --ns net=/proc/self/ns/net -- sh -c 'echo $NSFD_NET; ls /proc/self/fd | grep -cx 5'; \
         nsfd-create -n --fd net=7 -- env OTHER=7 ns-enter --ns net=env:OTHER -- sh -c 'echo ${NSFD_NET-gone} ${OTHER-gone}; ls /proc/self/fd | grep -cx 7'; \
         fd-open --pidfd $$=P -- ns-enter --target env:OPENFD_P --ns uts -- sh -c 'echo ${OPENFD_P-gone}'",
    );
    assert_eq!(run.words(), ["5", "1", "gone", "gone", "0", "gone"], "{}", run.stderr);
}

#[test]
fn a_start_that_cannot_be_told_of_is_none() {
    let run = arena(
        "ns-enter --new mnt -- sh -c \"mount-setup --root /mnt -e 'none / rootfs'; \
           pivot-init --root /mnt --detach --status-fd 0 -- /bin/sleep 33 </dev/null; echo \\$?; \
           pivot-init --root /mnt --pid-file /tmp/pid --status-fd 5 -- /bin/sleep 33 5>/dev/full; echo \\$?; \
           pivot-init --root /mnt --pid-file /tmp/pid --detach --ready-fd 5 -- /bin/sleep 33 5>/dev/full; echo \\$?; ls -A /tmp; pgrep -x sleep\"",
    );
    assert_eq!(run.words(), ["125", "125", "125"], "{}", run.stderr);
    assert!(run.stderr.contains("option --status-fd 0: is not open for writing"), "{}", run.stderr);
    assert_eq!(run.stderr.matches("No space left on device (ENOSPC)").count(), 2, "{}", run.stderr);
}

/// A filter that refuses one system call with an errno, as compiled BPF.
fn filter(number: libc::c_long, errno: i32) -> String {
    format!(
        "perl -e 'print pack(\"SCCL\", 0x20, 0, 0, 0), pack(\"SCCL\", 0x15, 0, 1, {number}), pack(\"SCCL\", 6, 0, 0, 0x50000 | {errno}), \
         pack(\"SCCL\", 6, 0, 0, 0x7fff0000)'"
    )
}

#[test]
fn filters_come_last_and_what_is_filtered_is_done_without() {
    let container =
        "ns-enter --new mnt -- sh -c \"mount-setup --root /mnt -e 'none / rootfs' && exec pivot-init --root /mnt";
    for errno in [libc::ENOSYS, libc::EPERM] {
        let run = arena(&format!(
            "{} >/tmp/prctl; {} >/tmp/pidfd; {container} --no-new-privs --seccomp /tmp/prctl --seccomp /tmp/pidfd -- /bin/echo one\"; \
             ns-enter --new pid --seccomp /tmp/prctl -- echo two; \
             ns-enter --new uts --seccomp /tmp/pidfd -- ns-enter --new pid -- echo three; rm /tmp/prctl /tmp/pidfd; ns-enter --new uts --seccomp /none -- true",
            filter(libc::SYS_prctl, errno),
            filter(libc::SYS_pidfd_open, errno),
        ));
        assert_eq!(run.words(), ["one", "two", "three"], "{}", run.stderr);
        assert!(run.stderr.contains("read seccomp filter /none: No such file or directory (ENOENT)"), "{}", run.stderr);
    }
}

/// Runs `command` at a terminal; of each step, the words of printf(1) are typed once the text before them has been seen.
fn at_a_terminal(command: &str, steps: &[(&str, &str)]) -> common::Run {
    let typed: String = steps
        .iter()
        .map(|(text, keys)| format!("until grep -qF '{text}' /tmp/out; do sleep 0.02; done; printf '{keys}' >&5; "))
        .collect();
    arena(&format!(
        "cat >/tmp/run <<'END'\n{command}\nEND\nmkfifo /tmp/in; exec 5<>/tmp/in; \
         script -qefc 'stty cols 77 rows 33; sh /tmp/run' /dev/null </tmp/in >/tmp/out & {typed} wait $!; cat /tmp/out; rm /tmp/*"
    ))
}

#[test]
fn a_terminal_of_its_own_has_job_control() {
    let command = "TOOLS=/run/tools /run/examples/container.sh; echo ended $?; stty -a | grep -o ' icanon'";
    let steps = [
        ("# ", "tty; stty size; echo $((1233+1)); sleep 30\\n"),
        ("1234", "\\003"),
        ("^C", "echo $?.$((2344+1)); sleep 31\\n"),
        ("130.2345", "\\032"),
        ("[1] + Stopped", "exit 7\\n"),
        ("You have stopped jobs", "exit 7\\n"),
    ];
    let run = at_a_terminal(command, &steps);
    for text in ["/dev/pts/0\r\n33 77\r\n", "ended 7", "\n icanon"] {
        assert!(run.stdout.contains(text), "{text:?} is missing: {:?} {}", run.stdout, run.stderr);
    }
}

#[test]
fn what_is_read_ends_and_nothing_is_left_of_the_callers_terminal() {
    let container =
        "ns-enter --new mnt -- sh -c \"mount-setup --root /mnt -e 'none / rootfs' && exec pivot-init --root /mnt";
    let run = arena(&format!(
        "for init in --as-pid-1 --init; do printf 'one\\ntwo' | {container} --tty $init -- /bin/sh -c 'cat; tty; ls -l /proc/1/fd | grep -c pts/0'\"; done; \
         {container} --tty --uid 5 --gid 5 -- /usr/bin/stat -c %u /dev/pts/0\" </dev/null; {container} --tty --detach -- /bin/true\"; \
         ns-enter --new mnt -- sh -c \"mount-setup --root /mnt -e 'none / rootfs pts=no' && exec pivot-init --root /mnt --tty -- /bin/true\""
    ));
    let text = run.stdout.replace('\r', "");
    assert_eq!(text.matches("one\ntwo").count(), 4, "echoed and written, twice: {text:?} {}", run.stderr);
    assert_eq!(text.matches("/dev/pts/0\n3\n").count(), 2, "{text:?}");
    assert!(text.ends_with("\n5\n"), "{text:?} {}", run.stderr);
    assert!(run.stderr.contains("option --tty: excludes --detach"), "{}", run.stderr);
    assert!(run.stderr.contains("open terminal of the new root /dev/ptmx: No such file"), "{}", run.stderr);
}

#[test]
fn a_program_that_says_much_is_still_spoken_to_and_ended() {
    // by a key, by a signal; also where nobody reads; and what is said last arrives, by a pipe that does not block too
    let run = arena(
        "cat >/tmp/run <<'END'\nmount-setup --root /mnt -e 'none / rootfs' && exec pivot-init --root /mnt --tty \"$@\"\nEND\n\
         run() { ns-enter --new mnt -- sh /tmp/run \"$@\"; }; mkfifo /tmp/fifo; \
         (sleep 0.2; echo x) | run --init -- /bin/sh -c 'yes & read x; kill $!; wait; echo; echo got:$x' | (sleep 0.5; tail -n 1); \
         ns-enter --new mnt -- sh /tmp/run --init -- /bin/yes </dev/null >/tmp/fifo & exec 5</tmp/fifo; sleep 0.3; kill -TERM $!; wait $!; echo $?; exec 5<&-; \
         run -- /bin/seq 20000 </dev/null | (sleep 0.3; tail -n 1); \
         (perl -MFcntl -e 'fcntl(STDOUT, F_SETFL, O_WRONLY | O_NONBLOCK)'; run -- /bin/seq 20000 </dev/null) | (sleep 0.3; wc -l); rm /tmp/*",
    );
    assert_eq!(run.words(), ["got:x", "143", "20000", "20000"], "{}", run.stderr);
}

#[test]
fn what_is_said_of_a_program_is_about_the_root_it_was_looked_for_in() {
    let run = arena(
        "mkdir /tmp/r; unshare -m --propagation private sh -c 'mount -t tmpfs r /tmp/r; mkdir /tmp/r/proc /tmp/r/usr; pivot-init --root /tmp/r -- /usr/bin/id; echo $?; \
         printf \"#!/no/such\" >/tmp/r/script; chmod +x /tmp/r/script; pivot-init --root /tmp/r -- /script; \
         touch /tmp/.pid.$$; exec pivot-init --root /tmp/r --pid-file /tmp/pid -- /nothing'; rmdir /tmp/r",
    );
    let missing = "execute /usr/bin/id: No such file or directory (ENOENT)\npivot-init: execute /script: No such file or directory (ENOENT)\nhint: the file is there: ";
    assert!(run.stderr.starts_with(&format!("pivot-init: {missing}")), "{}", run.stderr);
    // a leftover of an earlier process of the number is no obstacle, and does not stay
    assert!(run.stderr.ends_with("execute /nothing: No such file or directory (ENOENT)\n"), "{}", run.stderr);
    assert_eq!(run.words(), ["127"]);
}

#[test]
fn what_the_caller_ignores_its_child_does_not_get() {
    let run = arena(
        "nohup ns-enter --new uts --fork -- sh -c 'echo ready >/tmp/ready; until [ -e /tmp/go ]; do sleep 0.01; done; echo on' >/tmp/out 2>/dev/null & \
         until [ -e /tmp/ready ]; do :; done; kill -HUP $!; touch /tmp/go; wait $!; echo $?; cat /tmp/out; rm /tmp/*; \
         ns-enter --new pid --rlimit nofile=0 -- true",
    );
    assert_eq!(run.words(), ["0", "on"], "{}", run.stderr);
    assert!(!run.stderr.contains("death signal"), "{}", run.stderr);
}

#[test]
fn a_key_reaches_a_program_once() {
    let count = "perl -e '$| = 1; $SIG{INT} = sub { $n++ }; print qq(ready\\n); <STDIN>; print qq(keys $n\\n)'";
    let steps = [("ready", "\\003"), ("^C", "\\n")];
    let run = at_a_terminal(&format!("exec ns-enter --new uts --fork -- {count}"), &steps);
    assert!(run.stdout.contains("keys 1\r\n"), "{:?} {}", run.stdout, run.stderr);
}

#[test]
fn descriptors_that_are_closed_at_the_start() {
    // nothing lands on them; what is to be printed is not lost in silence; and where /dev/null is missing the reason is said
    let run = arena(
        "nsfd-create -n -- sh -c '[ $NSFD_NET -gt 2 ] && echo above; readlink /proc/self/fd/0 >&2' <&-; (nsfd-create -Un --map-root -- sh -c '[ $NSFD_USER -gt 2 ] && [ $NSFD_NET -gt 2 ] && echo above >/tmp/n') 0<&- 1>&- 2>&-; \
         cat /tmp/n; rm /tmp/n; export IDMAP_REGISTRY=/tmp/ids; idmap-alloc --count 5 >&-; echo $?; idmap-alloc --list | wc -l; \
         idmap-alloc --count 5 >/dev/full; echo $?; ctrtool --list >&-; echo $?; rm -r /tmp/ids; \
         unshare -m --propagation private sh -c 'mount -t tmpfs dev /dev; nsfd-create -n -- true <&-; echo $?; nsfd-create -n -- echo fine' 0</proc/version; \
         sh -c 'sleep 0.2; idmap-alloc --help; echo $? >&2' | true",
    );
    assert_eq!(run.words(), ["above", "above", "1", "0", "1", "1", "125", "fine"], "{}", run.stderr);
    for message in [
        "/dev/null\n",
        "idmap-alloc: write to stdout: it was closed (EBADF)",
        "idmap-alloc: write to stdout: No space left on device (ENOSPC)",
        "ctrtool: write to stdout: it was closed (EBADF)",
        "nsfd-create: open /dev/null: No such file or directory (ENOENT)",
        "idmap-alloc: write to stdout: Broken pipe (EPIPE)\n1\n",
    ] {
        assert!(run.stderr.contains(message), "{message:?} is missing: {}", run.stderr);
    }
}

#[test]
fn at_a_terminal_that_nobody_reads_it_is_ended_too() {
    // script(1) has its own output to wait for, and reads the terminal no more; once killed it may have been waited for, or be a zombie
    let run = arena(
        "cat >/tmp/run <<'END'\nmount-setup --root /mnt -e 'none / rootfs' && exec pivot-init --root /mnt --tty --init -- /bin/yes 0123456\nEND\n\
         mkfifo /tmp/fifo; script -qefc 'ns-enter --new mnt -- sh /tmp/run' /dev/null </dev/null >/tmp/fifo & exec 5</tmp/fifo; \
         until p=$(pgrep -o -x pivot-init); do sleep 0.05; done; sleep 1; kill -TERM $p; i=0; while grep -q ^State:.[^Z] /proc/$p/status 2>/dev/null; do sleep 0.05; i=$((i+1)); [ $i -lt 200 ] || { echo hangs; break; }; done; \
         exec 5<&-; wait; echo ended; rm /tmp/*",
    );
    assert_eq!(run.words(), ["ended"], "{}", run.stderr);
}
