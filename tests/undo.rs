//! Mount plans that fail, or are killed, or asked to end: what was there before is there afterwards.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::arena;

#[test]
fn a_plan_that_fails_leaves_what_was_there() {
    // what is mounted, and where, and every file, before and after a plan whose last line fails, on shared mounts and on private ones
    let run_with = |propagation: &str, before: &str, command: &str| {
        let plan_fails = format!("{command} -e 'none /zz umount'");
        let run = arena(&format!(
            "cat >/tmp/script <<'END'\nstate() {{ cut -d' ' -f5- /proc/self/mountinfo; find /tmp; }}; cd /tmp; mkdir r; {before}\n\
             state >/run/1; {plan_fails}; code=$?; state >/run/2; [ $code = 1 ] || echo \"code $code\"; diff /run/1 /run/2\nEND\n\
             unshare -m --propagation {propagation} sh /tmp/script; for m in /tmp/r/*; do ! mountpoint -q $m || umount -R $m; done; rm -r /run/1 /run/2 /tmp/*"
        ));
        assert_eq!((run.stdout.as_str(), run.code), ("", Some(0)), "{propagation} {before} {command} {}", run.stderr);
        assert!(!run.stderr.contains("could not be undone"), "{command} {}", run.stderr);
    };
    let setup = "mount-setup --root /tmp/r";
    let user = "mkdir r/a; mount -t tmpfs user r/a; touch r/a/file";
    let own_root = "mount -t tmpfs r r; mount --make-private r; mkdir r/x; ln -s . r/self; mount -t tmpfs user r/x; mkdir r/x/s; touch r/x/precious";
    let moved = "mkdir r/p r/x; mount -t tmpfs user r/x; touch r/x/precious";
    let nested = "mkdir r/q; mount -t tmpfs user r/q; mkdir r/q/b; mount -t tmpfs user r/q/b; touch r/q/b/file";
    let fails =
        |when: u32, how: &str| format!("strace -f -o /dev/null -e inject=move_mount:error={how}:when={when} {setup}");
    let old = format!("strace -f -o /dev/null -e inject=statmount:error=ENOSYS {setup}");
    let (lock_fails, second_fails) = (format!("{} -e 'none /a lock'", fails(1, "EPERM")), fails(2, "EPERM"));
    for (before, command) in [
        ("", format!("{setup} -e 'none / rootfs'")),
        ("", format!("{setup} -e 'none / rootfs lock=no' -e 'none / lock' -e 'none / lock'")),
        ("mkdir r/a", format!("{setup} -e 'none /a tmpfs' -e 'none /a tmpfs' -e '/usr /a bind rec,lock,ro'")),
        (user, format!("{setup} -e 'none /a tmpfs' -e 'none /a umount'")),
        (user, format!("{setup} -e 'none /a lock'")),
        (user, format!("{setup} -e 'none /a lock' -e 'none /a lock' -e 'none /a/x dir'")),
        (user, lock_fails),
        // an older kernel, whose numbers of mounts are those in mountinfo
        (
            user,
            format!(
                "{old} -e '/usr /u bind rec,lock,x-mkdir' -e 'x /c tmpfs x-mkdir' -e 'none /c umount' -e 'none /a lock'"
            ),
        ),
        // back also where that is no longer below private mounts, or where the way leads through what was mounted since
        (own_root, format!("{setup} -e 'p /p tmpfs x-mkdir' -e 'none /p/x dir' -e '/x/s/.. /p/x move'")),
        (own_root, format!("{setup} -e 'x /x/s/.. tmpfs'")),
        (own_root, format!("{setup} -e 'x /self/x tmpfs' -e 'x /self/../x tmpfs'")),
        (own_root, format!("{setup} -e '/x / move'")),
        (own_root, format!("{setup} -e 'u /x/s tmpfs' -e '/x/s /x move'")),
        (
            "mkdir r/a r/s; mount -t tmpfs a r/a; mount --make-private r/a",
            format!("{setup} -e 'p /a/p tmpfs x-mkdir' -e '/a/p /s move'"),
        ),
        (own_root, format!("{} -e 'none /x/s/.. lock' -e 'none /d dir'", fails(1, "EINVAL"))),
        // what the plan did in what was there before, or moved into its own, is undone in the original
        ("mkdir r/a; mount -t tmpfs user r/a; mkdir r/a/b", format!("{setup} -e 'x /a/b tmpfs' -e 'none /a lock'")),
        (moved, format!("{setup} -e 'x /p tmpfs' -e 'none /p/x dir' -e '/x /p/x move' -e 'none /p lock'")),
        (nested, format!("{setup} -e 'none /q/b lock' -e 'none /q lock'")),
        (nested, format!("{second_fails} -e 'none /q/b lock' -e 'none /q lock'")),
        (nested, format!("{second_fails} -e 'none /q lock' -e 'none /q/b lock'")),
        (moved, format!("{} -e 'x /p tmpfs x-mkdir' -e 'none /x lock' -e 'none /p lock'", fails(3, "EPERM"))),
        (moved, format!("{} -e 'x /p tmpfs x-mkdir' -e 'none /p lock' -e 'none /x lock'", fails(3, "EPERM"))),
        ("", format!("{setup} -e 'none /a tmpfs x-mkdir' -e 'none /a umount' -e 'none /b tmpfs x-mkdir'")),
        (
            "",
            format!(
                "{setup} -e 'none / tmpfs' -e 'none / umount' -e 'none /b/c dir' -e 'none / tmpfs' -e 'none /d dir'"
            ),
        ),
        (
            "mkdir data",
            format!(
                "mntfd-create --bind /tmp/data=D -- {setup} -e 'env:MNTFD_D / fd' -e 'none /etc/x dir' -e 'none /f file text=x' -e 'f /l symlink'"
            ),
        ),
        ("", format!("{setup} -e 'none / tmpfs' -e 'none /d dir' -e 'none / remount ro'")),
        ("mkdir r/b r/a", format!("{setup} -e 'none /a tmpfs' -e '/a /b move' -e 'none /b/x dir'")),
        ("", format!("{setup} -e 'none /a tmpfs x-mkdir' -e 'none /b dir' -e '/a /b move' -e 'none /b lock'")),
        ("mkdir r/b r/a; mount -t tmpfs user r/a", format!("{setup} -e '/a /b move'")),
        ("", "mount-setup -e 'none /proc tmpfs'".to_owned()),
        (
            "",
            format!(
                "mount -t tmpfs x /proc; {setup} -e '/usr /u bind lock,x-mkdir,ro' -e 'none /zz umount'; umount /proc; {setup}"
            ),
        ),
    ] {
        for propagation in ["shared", "private"] {
            run_with(propagation, before, &command);
        }
    }
}

#[test]
fn what_cannot_be_moved_back_comes_back_as_a_copy_or_stays() {
    // the plan's own mount does not go with somebody's in it; what has no copy stays where it is, and is named
    let run = arena(
        "cd /tmp; mkdir r; mount -t tmpfs r r; mount --make-private r; mkdir r/x; mount -t tmpfs user r/x; echo precious >r/x/f; mkdir r/x/s; mount -t tmpfs s r/x/s; touch r/x/s/inner; \
         plan() { mount-setup --root r -e 'p /p tmpfs x-mkdir' -e 'none /p/x dir' -e '/x /p/x move' -e 'none / propagation rec,shared' \"$@\"; mount --make-rprivate r; }; \
         plan -e 'none /zz umount'; cat r/x/f; ls r; ls -d r/x/s/*; plan -e 'none /p/x/s propagation unbindable' -e 'none /zz umount'; cat r/p/x/f; ls r; umount -l r; rmdir r",
    );
    assert_eq!(run.words(), ["precious", "x", "r/x/s/inner", "precious", "p", "x"], "{}", run.stderr);
    assert!(run.stderr.ends_with("could not be undone: move of /x to /p/x, mount at /p\n"), "{}", run.stderr);
}

#[test]
fn what_has_come_to_its_locks_is_done_or_undone() {
    // told to end, or killed, at every call of the last moments: what was there before is somewhere, and nothing is there twice
    let run = arena(
        "cd /tmp; mkdir r; for how in move_mount:delay_exit=200000:when=3 umount2:delay_exit=200000 umount2:delay_enter=200000; do for signal in TERM KILL; do \
           mount -t tmpfs r r; mount --make-private r; mkdir r/x; mount -t tmpfs user r/x; echo precious >r/x/f; \
           strace -f -o /dev/null -e inject=$how mount-setup --root r -e 'p /p tmpfs x-mkdir' -e 'none /p/x dir' -e '/x /p/x move' -e 'none /p/x lock' -e 'none /p lock' 2>>/run/err & \
           s=$!; until m=$(pgrep -x mount-setup -P $s) && w=$(pgrep -P $m); do :; done; sleep 0.1; [ $signal = TERM ] || m=$w; kill -$signal $m; wait $s; \
           cat r/x/f r/p/x/f 2>/dev/null; grep -c ' - tmpfs user' /proc/self/mountinfo; umount -l r; done; done; rm -r r; cat /run/err >&2; rm /run/err",
    );
    assert_eq!(run.stdout, "precious\n1\n".repeat(6), "{}", run.stderr);
}

#[test]
fn what_is_in_the_way_of_undoing_goes_first() {
    // the tool itself is killed while its child locks; a directory that a locked copy is mounted on; a link whose maker is killed
    let run = arena(
        "cd /tmp; mkdir r; strace -f -o /dev/null -e trace=unshare -e inject=unshare:delay_enter=500000 mount-setup --root r -e 'none / rootfs' & s=$!; \
         until m=$(pgrep -x mount-setup -P $s) && pgrep -P $m >/run/out; do :; done; sleep 0.1; kill -KILL $m; while pgrep -x mount-setup >/run/out; do sleep 0.01; done; wait $s; grep -c ' /tmp/r ' /proc/self/mountinfo; \
         mkdir r/a r/c; mount -t tmpfs old r/a; strace -f -o /dev/null -e inject=move_mount:error=EPERM:when=4 mount-setup --root r \
           -e 'none /a/new/x/y tmpfs x-mkdir' -e 'none /c tmpfs' -e 'none /a lock' -e 'none /c lock' 2>/run/out; grep undone /run/out; ls r/a; umount r/a; \
         strace -f -o /dev/null -e inject=symlinkat:delay_exit=1000000 mount-setup --root r -e 'some/where /l symlink' 2>/run/out & s=$!; \
         until [ -L r/l ]; do :; done; m=$(pgrep -x mount-setup -P $s); kill -KILL $(pgrep -P $m); wait $s; ls -A r; cat /run/out >&2; rm -r r /run/out",
    );
    assert_eq!(run.words(), ["0", "a", "c"], "{}", run.stderr);
    assert!(run.stderr.contains("it died of signal 9; what it had done is undone (ECANCELED)"), "{}", run.stderr);
}

#[test]
fn what_may_not_be_searched_is_locked_and_undone() {
    let maps = "--uid-map 0:100000:65536 --gid-map 0:100000:65536";
    let run = arena(&format!(
        "mkdir -m 700 /tmp/tree; chown 1000 /tmp/tree; mkdir /tmp/r; cd /tmp; mount-setup --root r -e '/tmp/tree / bind lock'; echo $?; umount -l r; \
         mount-setup --root r -e 'none / rootfs mode=000'; echo $?; umount -l r; \
         nsfd-create -U {maps} -- ns-enter --ns user --new mnt -- sh -c 'mount -t tmpfs x /mnt; \
           mount-setup --root /mnt -e \"/tmp/tree /d bind x-mkdir\" -e \"none /no/x tmpfs\"; ls /mnt; grep -c /mnt/d /proc/self/mountinfo'; rm -r tree r"
    ));
    assert_eq!(run.words(), ["0", "0", "0"], "{}", run.stderr);
    assert!(!run.stderr.contains("undone"), "{}", run.stderr);
}

#[test]
fn a_program_that_cannot_be_executed_leaves_nothing_mounted() {
    let run = arena(
        "mkdir -p /tmp/r/a; mount -t tmpfs a /tmp/r/a; cd /tmp; printf '#!/no/such' >prog; chmod +x prog; state() { cut -d' ' -f4- /proc/self/mountinfo; find /tmp; }; state >/run/1; \
         for prog in /no/such /tmp ./prog; do mount-setup --root r -e 'x /b tmpfs x-mkdir' -e 'x /a/c tmpfs x-mkdir' -e 'none / lock' -- $prog; echo $?; state >/run/2; diff /run/1 /run/2; done; \
         umount r/a; rm -r r prog /run/1 /run/2",
    );
    assert_eq!(run.words(), ["127", "126", "127"], "{}{}", run.stdout, run.stderr);
    assert!(!run.stderr.contains("undone"), "{}", run.stderr);
}

#[test]
fn a_file_that_others_have_written_to_is_theirs() {
    // meanwhile; of two that the plan made only the other goes
    let run = arena(
        "mkdir /tmp/r; strace -f -o /dev/null -e inject=mkdirat:delay_enter=400000 mount-setup --root /tmp/r -e 'none /f file text=a' -e 'none /g file text=b' \
           -e 'none /d dir' -e 'none /zz umount' & until [ -s /tmp/r/g ]; do :; done; sleep 0.05; echo precious >>/tmp/r/f; wait; cat /tmp/r/f; ls /tmp/r; rm -r /tmp/r",
    );
    assert_eq!(run.words(), ["aprecious", "f"], "{}", run.stderr);
    assert!(run.stderr.ends_with("could not be undone: /f, to which others have written\n"), "{}", run.stderr);
}

#[test]
fn what_cannot_be_undone_is_named() {
    let run = arena(
        "mkdir /tmp/r; strace -f -o /dev/null -e inject=unlinkat:error=EBUSY mount-setup --root /tmp/r -e 'none /d dir' -e 'none /e tmpfs' \
         -e 'none /f dir'; rm -r /tmp/r",
    );
    assert!(run.stderr.contains("hint: x-mkdir makes it; could not be undone: /d\n"), "{}", run.stderr);
}

#[test]
fn killed_at_any_call_it_leaves_what_was_there() {
    // the worker, on its way into each of its calls that change mounts
    let run = arena(
        "mkdir /tmp/r; mount -t tmpfs r /tmp/r; mount --make-private /tmp/r; cd /tmp; mkdir r/q r/x; mount -t tmpfs q r/q; mkdir r/q/b; mount -t tmpfs x r/x; touch r/x/precious; \
         state() { cut -d' ' -f4- /proc/self/mountinfo; find /tmp; }; state >/run/1; \
         for n in 1 2 3 4 5; do strace -f -o /dev/null -e inject=move_mount:signal=KILL:when=$n mount-setup --root r -e 'p /p tmpfs x-mkdir' -e 'none /p/x dir' \
           -e '/x /p/x move' -e 'b /q/b tmpfs' -e 'none /p lock' -e 'none /q lock'; echo $?; state >/run/2; diff /run/1 /run/2; done; \
         umount -R r; rm -r r /run/1 /run/2",
    );
    assert_eq!(run.words(), ["1", "1", "1", "1", "1"], "{}{}", run.stdout, run.stderr);
}

#[test]
fn a_plan_whose_tool_is_killed_is_undone_or_done() {
    // in the arena's own mount namespace, killed after 1, 2, 3, … milliseconds: all 200 mounts are there, or none and no directory
    let run = arena(
        "i=0; while [ $i -lt 200 ]; do echo \"none /m$i tmpfs x-mkdir\"; i=$((i+1)); done >/tmp/plan; mkdir /tmp/r; \
         for ms in $(seq 1 40); do timeout -s KILL 0.$(printf %03d $ms) mount-setup --root /tmp/r --plan /tmp/plan 2>/dev/null; \
           while pgrep -x mount-setup >/dev/null; do sleep 0.005; done; \
           n=$(grep -c ' /tmp/r/' /proc/self/mountinfo); d=$(ls /tmp/r | wc -l); echo $n:$d; \
           [ $n = 0 ] || umount /tmp/r/*; rm -rf /tmp/r/*; done | sort | uniq -c | sed 's/.* //'; rm -r /tmp/*",
    );
    let kinds = run.words();
    assert!(
        !kinds.is_empty() && kinds.iter().all(|kind| ["0:0", "200:200"].contains(kind)),
        "{kinds:?} {}",
        run.stderr
    );
    assert!(kinds.contains(&"0:0"), "nothing was killed in time: {kinds:?}");
}

#[test]
fn a_plan_whose_worker_is_killed_is_undone() {
    // the tool's own child, killed at one moment and another: its parent undoes what it has done
    let run = arena(
        "i=0; while [ $i -lt 1000 ]; do echo \"none /m$i/x tmpfs x-mkdir\"; i=$((i+1)); done >/tmp/plan; mkdir /tmp/r; \
         for ms in 1 2 3 5 8 13 21 34 55; do mount-setup --root /tmp/r --plan /tmp/plan & until w=$(pgrep -P $!); do :; done; \
           sleep 0.$(printf %03d $ms); kill -KILL $w; wait $!; echo $?:$(grep -c ' /tmp/r/' /proc/self/mountinfo):$(ls /tmp/r | wc -l); \
           [ ! -e /tmp/r/m0 ] || { umount /tmp/r/*/x; rm -r /tmp/r/*; }; done 2>/tmp/err; grep -c 'died of signal 9; what it had done is undone' /tmp/err; \
         grep hint /tmp/err; rm -r /tmp/*",
    );
    let words = run.words();
    assert!(words[..9].iter().all(|word| ["1:0:0", "0:1000:1000"].contains(word)), "{}", run.stdout);
    assert!(words.len() == 10 && words[9] != "0", "{} {}", run.stdout, run.stderr);
}

#[test]
fn told_to_end_it_ends_when_all_is_undone() {
    for signal in ["TERM", "INT", "HUP"] {
        let run = arena(&format!(
            "i=0; while [ $i -lt 2000 ]; do echo \"none /m$i tmpfs x-mkdir\"; i=$((i+1)); done >/tmp/plan; mkdir /tmp/r; \
             for ms in 1 5 9 20 40; do timeout -s {signal} 0.$(printf %03d $ms) mount-setup --root /tmp/r --plan /tmp/plan; echo $?:$(grep -c ' /tmp/r/' /proc/self/mountinfo):$(ls /tmp/r | wc -l); \
               [ ! -e /tmp/r/m0 ] || {{ umount /tmp/r/*; rm -r /tmp/r/*; }}; done 2>/dev/null; \
             (trap '' HUP; mount-setup --root /tmp/r --plan /tmp/plan & sleep 0.01; kill -HUP $!; wait $!); grep -c ' /tmp/r/' /proc/self/mountinfo; umount /tmp/r/*; rm -r /tmp/*"
        ));
        let words = run.words();
        assert!(words[..5].iter().all(|word| ["124:0:0", "0:2000:2000"].contains(word)), "{signal} {}", run.stdout);
        // one that is ignored says nothing
        assert_eq!(words[5], "2000", "{}", run.stderr);
    }
}

#[test]
fn one_that_is_killed_and_started_again_leaves_nothing() {
    // what the first began is undone before the second begins, however many there are
    let run = arena(
        "i=0; while [ $i -lt 300 ]; do echo \"none /k/d$i tmpfs x-mkdir\"; i=$((i+1)); done >/tmp/plan; echo 'none /zz/x tmpfs' >>/tmp/plan; mkdir /tmp/r; \
         for n in 1 2 3 4 5; do mount-setup --root /tmp/r --plan /tmp/plan 2>/dev/null & p=$!; sleep .01; kill -KILL $p; mount-setup --root /tmp/r --plan /tmp/plan 2>&1 | grep -c 'open mount point /zz/x'; \
           wait; while pgrep -x mount-setup >/dev/null; do sleep .01; done; grep -c ' /tmp/r/' /proc/self/mountinfo; ls /tmp/r; done; \
         for n in 1 2 3 4 5 6; do mount-setup --root /tmp/r --plan /tmp/plan 2>/run/out & mount-setup --root /tmp/r -e \"none /a/b/c$n tmpfs x-mkdir\" -- /no/such 2>/run/out & done; wait; \
         grep -c ' /tmp/r/' /proc/self/mountinfo; ls /tmp/r; rm -r /tmp/* /run/out",
    );
    let expected = [["1", "0"]; 5].concat();
    assert_eq!(run.words(), [&expected[..], &["0"]].concat(), "{}", run.stderr);
}

#[test]
fn a_long_plan_needs_few_descriptors() {
    // made, mounted and undone below 500 directories
    let run = arena(
        "i=0; while [ $i -lt 500 ]; do echo \"none /m$i/x tmpfs x-mkdir\"; echo \"none /n$i/x dir\"; i=$((i+1)); done >/tmp/plan; mkdir /tmp/r; ulimit -n 32; \
         mount-setup --root /tmp/r --plan /tmp/plan -e 'none /zz umount'; ls /tmp/r; mount-setup --root /tmp/r --plan /tmp/plan; \
         grep -c ' /tmp/r/' /proc/self/mountinfo; umount /tmp/r/m*/x; rm -r /tmp/*",
    );
    assert!(run.stderr.starts_with("mount-setup: -e 1: open /zz: "), "{}", run.stderr);
    assert_eq!(run.words(), ["500"], "{}", run.stderr);
}
