//! Mounts held by descriptor and mount plans, from outside: images, id-mapped trees, overlays, masks, locks.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::arena;

const MAPS: &str = "--uid-map 0:100000:65536 --gid-map 0:100000:65536";
/// In an own user and mount namespace, as the container's root.
const INSIDE: &str = "ns-enter --ns user --new mnt --";

/// The loop devices with a file in a directory called `name`, of which none may be left. They are the whole machine's, hence
/// a name for each test: another test's, seen before and gone after, would count as a difference.
fn with_loops(name: &str, script: &str) -> common::Run {
    arena(&format!(
        "loops() {{ cat /sys/block/loop*/loop/backing_file 2>/dev/null | grep /{name}/; }}; mkdir /tmp/{name}; {script}\n\
         tries=0; while loops && [ $((tries += 1)) -lt 200 ]; do sleep 0.01; done >/dev/null; loops && echo LOOP LEFT; rm -r /tmp/{name}"
    ))
}

#[test]
fn images_are_attached_where_they_could_not_be_mounted() {
    let run = with_loops(
        "images",
        &format!(
            "mkdir -p /tmp/images/tree; echo hello >/tmp/images/tree/file; cd /tmp/images; \
         mksquashfs tree squashfs -quiet -no-progress >/dev/null && mkfs.erofs erofs tree >/dev/null 2>&1 && truncate -s 8M ext4 && \
         mkfs.ext4 -q -d tree ext4 && chmod 600 squashfs erofs ext4 && \
         for image in squashfs erofs ext4; do \
           nsfd-create -U {MAPS} -- mntfd-create --image /tmp/images/$image=APP,nosuid -- {INSIDE} \
           mount-setup -e 'env:MNTFD_APP /mnt fd' -- sh -c 'cat /mnt/file; touch /mnt/x 2>&1 | grep -o \"Read-only.*\"; \
             stat -f -c %T /mnt | cut -d/ -f1; echo ${{MNTFD_APP-gone}}; ls /proc/self/fd | wc -l'; done; cd /"
        ),
    );
    let words = run.stdout.replace("ext2", "ext4");
    let each = |name: &str| format!("hello\nRead-only file system\n{name}\ngone\n");
    let words: String =
        words.lines().filter(|line| line.parse::<u32>().is_err()).map(|line| format!("{line}\n")).collect();
    // stat(1) has no name for erofs
    let words = words.replace("UNKNOWN (0xe0f5e1e2)", "erofs");
    assert_eq!(words, each("squashfs") + &each("erofs") + &each("ext4"), "{}", run.stderr);
}

#[test]
fn an_id_mapped_tree_is_the_containers_inside_and_the_hosts_outside() {
    // /tmp of the arena is a tmpfs; on the host's own filesystem it is the same
    let run = arena(&format!(
        "mkdir /tmp/tree; echo a >/tmp/tree/a; nsfd-create -U {MAPS} -- mntfd-create --bind /tmp/tree=TREE,idmap=env:NSFD_USER -- {INSIDE} \
         mount-setup -e 'env:MNTFD_TREE /mnt fd' -- sh -c 'echo b >/mnt/b; chown 5:6 /mnt/b; stat -c %u:%g /mnt/a /mnt/b'; \
         stat -c %u:%g /tmp/tree/a /tmp/tree/b; rm -r /tmp/tree"
    ));
    assert_eq!(run.words(), ["0:0", "5:6", "0:0", "5:6"], "{}", run.stderr);
}

#[test]
fn changes_to_an_overlay_are_above() {
    let run = arena(
        "cd /tmp; mkdir -p 'l:ow' low2 up work; echo 1 >'l:ow/a'; echo 2 >low2/a; echo 2 >low2/b; \
         mntfd-create --overlay 'up:work:l\\072ow:low2=ALL' --overlay '::l\\072ow:low2=RO' -- ns-enter --new mnt -- \
         mount-setup --root /tmp -e 'env:MNTFD_ALL /all fd x-mkdir' -e 'env:MNTFD_RO /ro fd x-mkdir' -- \
         sh -c 'cat /tmp/all/a /tmp/all/b; echo new >/tmp/all/a; touch /tmp/ro/x 2>&1 | grep -c Read-only'; \
         cat up/a 'l:ow/a'; rm -r /tmp/*",
    );
    assert_eq!(run.words(), ["1", "2", "1", "new", "1"], "{}", run.stderr);
}

#[test]
fn what_is_locked_or_masked_stays_so() {
    let attempts = "try() { \"$@\" 2>/dev/null && echo \"DONE: $*\"; }; \
        try touch /mnt/ro/x; try mount -o remount,bind,rw /mnt/ro; try umount /mnt/ro; try umount -l /mnt/ro; try umount /mnt/secret; \
        try umount -l /mnt/secret; try mount -o remount,bind,rw /mnt/file; try umount /mnt/file; try ls /mnt/secret/inner; \
        try mount --move /mnt/secret /tmp; try mount --bind /mnt /tmp; cat /mnt/file; ls -A /mnt/secret; \
        mount --rbind /mnt /tmp && try touch /tmp/ro/x; try umount /tmp/secret; echo end";
    let run = arena(&format!(
        "mkdir -p /tmp/t/secret /tmp/t/ro; touch /tmp/t/secret/inner; echo secret >/tmp/t/file; chmod 700 /tmp/t/secret; \
         nsfd-create -U {MAPS} -- mntfd-create --bind /tmp/t=T,idmap=env:NSFD_USER -- {INSIDE} \
         mount-setup --root /mnt -e 'env:MNTFD_T / fd' -e '/usr /ro bind ro' -e 'none /secret mask' -e 'none /file mask' -e 'none / lock' -- \
         sh -c '{attempts}'; rm -r /tmp/t"
    ));
    assert_eq!(run.words(), ["end"], "{} {}", run.stdout, run.stderr);
}

#[test]
fn namespaces_and_moves() {
    let run = arena(
        "nsfd-create -nu --hostname kept -- mount-setup --root /tmp -e 'env:NSFD_UTS /uts ns kind=uts' -e 'env:NSFD_NET /net ns' \
         -e 'none /from tmpfs x-mkdir' -e 'none /from/file file text=x' -e 'none /to dir'; \
         ns-enter --ns uts=/tmp/uts,net=/tmp/net -- sh -c 'uname -n; tail -n +3 /proc/net/dev | cut -d: -f1'; \
         unshare -m --propagation private mount-setup --root /tmp -e '/from /to move' -- ls /tmp/from /tmp/to; \
         umount /tmp/uts /tmp/net /tmp/from; rm -r /tmp/*",
    );
    assert_eq!(run.words(), ["kept", "lo", "/tmp/from:", "/tmp/to:", "file"], "{}", run.stderr);
}

#[test]
fn wrong_sources_are_named_and_leave_nothing() {
    for (script, message) in [
        ("mntfd-create --image /none=X -- true", "mntfd-create: open image /none: No such file or directory (ENOENT)"),
        (
            "mntfd-create --image /dev/null=X -- true",
            "mntfd-create: use as image /dev/null: is no regular file (EINVAL)",
        ),
        (
            "mntfd-create --image /etc/passwd=X -- true",
            "mntfd-create: use as image /etc/passwd: is no image of squashfs, erofs or ext4",
        ),
        (
            ": >/tmp/wrong/e; mntfd-create --image /tmp/wrong/e=X -- true; c=$?; rm /tmp/wrong/e; exit $c",
            "mntfd-create: use as image /tmp/wrong/e: is empty (EINVAL)",
        ),
        (
            "printf hsqs >/tmp/wrong/e; truncate -s 64k /tmp/wrong/e; mntfd-create --image /tmp/wrong/e=X -- true; c=$?; rm /tmp/wrong/e; exit $c",
            "mntfd-create: mount filesystem squashfs: ",
        ),
        ("mntfd-create --bind /none=X -- true", "mntfd-create: open source /none: No such file or directory (ENOENT)"),
        (
            "mntfd-create --bind /etc=X,frob -- true",
            "mntfd-create: option --bind /etc=X,frob: is unknown to type bind (EINVAL)",
        ),
        ("mntfd-create --bind /etc -- true", "mntfd-create: option --bind /etc: needs SOURCE=NAME[,OPTIONS] (EINVAL)"),
        (
            "mntfd-create --bind /etc=X --bind /usr=X -- true",
            "mntfd-create: option MNTFD_X: is the name of two mounts (EINVAL)",
        ),
        (
            "mntfd-create --fs frob=X -- true",
            "mntfd-create: open filesystem frob: the kernel has no filesystem of this type (ENODEV)",
        ),
        (
            "mntfd-create --bind /etc=X,idmap=/proc/self/ns/net -- true",
            "mntfd-create: use as namespace /proc/self/ns/net: is net, expected user",
        ),
        ("mntfd-create --bind /etc=X,idmap=/proc/self/ns/user -- true", "mntfd-create: map owners in /etc: "),
        (
            "mntfd-create --overlay /none:/none:/etc=X -- true",
            "mntfd-create: open directory /none: No such file or directory (ENOENT)",
        ),
        (
            "mntfd-create -- true",
            "mntfd-create: option --bind, --image, --fs or --overlay: one of them is needed (EINVAL)",
        ),
        (
            "mntfd-create --fs tmpfs=X,size=x -- true",
            "mntfd-create: set option size=x of tmpfs: tmpfs: Bad value for 'size' (EINVAL)",
        ),
    ] {
        let run = with_loops("wrong", &format!("({script}); echo $?"));
        assert!(run.stderr.starts_with(message), "{script}: {}", run.stderr);
        assert_eq!(run.stdout, "125\n", "{script}: {}", run.stderr);
    }
}

#[test]
fn a_racing_rename_never_leads_out() {
    // a directory and a link to the host change places all the time; each run mounts inside, or says why not
    let run = arena(
        "mkdir -p /tmp/r/a/deep /tmp/host/deep; ln -s /tmp/host /tmp/r/b; \
         perl -e 'while (1) { syscall(316, -100, \"/tmp/r/a\", -100, \"/tmp/r/b\", 2) }' & \
         for i in $(seq 300); do mount-setup --root /tmp/r -e \"none /a/deep/x$i dir\" -e 'none /a/deep tmpfs' 2>>/tmp/errors; \
           grep -q ' /tmp/host' /proc/self/mountinfo && echo \"OUT $i\"; umount -l /tmp/r/a/deep /tmp/r/b/deep 2>/dev/null; done; \
         kill $!; wait 2>/dev/null; ls /tmp/host/deep; grep -vE 'ENOENT|ELOOP|EXDEV|EAGAIN|EEXIST|ENOTDIR|hint:' /tmp/errors; rm -r /tmp/*; echo end",
    );
    assert_eq!(run.stdout.trim(), "end", "{}", run.stderr);
}

#[test]
fn without_openat2_it_is_the_same() {
    // strace makes the call fail as an old kernel or a filter does
    for errno in ["ENOSYS", "EPERM"] {
        let run = arena(&format!(
            "mkdir -p /tmp/r/real /tmp/host; ln -s real /tmp/r/in; ln -s /real /tmp/r/abs; ln -s ../../host /tmp/r/out; \
             strace -f -o /dev/null -e inject=openat2:error={errno} mount-setup --root /tmp/r -e 'none /in/one dir' -e 'none /abs/two dir' \
             -e 'none /out/three dir'; echo $?; ls /tmp/r/real /tmp/host; rm -r /tmp/r /tmp/host"
        ));
        assert_eq!(run.words(), ["1", "/tmp/host:", "/tmp/r/real:"], "{}", run.stderr);
        assert!(
            run.stderr.starts_with("mount-setup: -e 3: make directory /out: a symbolic link to nothing is there"),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn what_the_dry_run_says_is_what_strace_sees() {
    // the calls about mounts, by name; those for what is missing are left out on both sides, and so are those for another kind of mask
    let names = "fsopen|fsconfig|fsmount|fspick|open_tree|mount_setattr|move_mount|unshare|umount2|symlinkat|mount|fchown|fchmod";
    let whole = "-e 'none /a tmpfs x-mkdir,size=1m,nosuid' -e '/usr /a/u bind rec,ro,lock,x-mkdir' -e '/etc /a/e bind x-mkdir' -e 'none /a/d dev' \
                 -e 'none /a propagation private' -e 'none /a/e remount ro' -e 'x /a/l symlink' -e 'none /a/e umount' -e 'none /a lock'";
    let image = "-e '/tmp/image /i image x-mkdir,nosuid,errors=continue' -e 'none /a/b/d dir mode=700,uid=5' -e 'none /f file mode=600,gid=4,text=x' \
                 -e 'none /g file' -e 'none /h dir' -e 'none /t tmpfs x-mkdir' -e 'none /t remount size=1m,ro' -e '/t /h move' -e '/proc/self/ns/net /n ns' \
                 -e 'none /i lock'";
    let masks = "-e 'none /h dir mode=711' -e 'none /h mask ro' -e 'none /x mask optional'";
    for (plan, other, least) in [
        (whole, "nothing", 40),
        (image, "nothing", 25),
        (&format!("{masks} -e 'none /h mask'"), "if it is none|if it is there", 8),
        (
            &format!("{masks} -e 'none /h lock' -e 'none /f file' -e 'none /f mask'"),
            "if it is a directory|if it is there",
            8,
        ),
    ] {
        let run = arena(&format!(
            "cd /tmp; mkdir t r; mksquashfs t image -quiet -no-progress >/dev/null; mount --make-private /tmp; \
             mount-setup --root /tmp/r {plan} --dry-run | grep -vE '{other}' | cut -d'(' -f1 | grep -xE '{names}'; echo =; \
             strace -f -o /tmp/trace mount-setup --root /tmp/r {plan} && sed -E 's/^[0-9]+ +//' /tmp/trace | grep -oE '^({names})\\(' | tr -d '('; \
             for m in $(cut -d' ' -f5 /proc/self/mountinfo | grep ^/tmp/r | tac); do umount -l $m; done; mount --make-shared /tmp; rm -r /tmp/*"
        ));
        let (said, done) = run.stdout.split_once("=\n").unwrap();
        assert!(said.lines().count() > least, "{} {}", run.stdout, run.stderr);
        assert_eq!(said.lines().collect::<Vec<_>>(), done.lines().collect::<Vec<_>>(), "{plan} {}", run.stderr);
    }
}

#[test]
fn without_mount_setattr_each_mount_is_remounted() {
    // as before Linux 5.12: every submount becomes read-only, keeps what it had, and nothing comes back to the shared host mount
    for errno in ["ENOSYS", "EPERM"] {
        let run = arena(&format!(
            "mkdir -p /tmp/t/sub /tmp/to; mount -t tmpfs -o nosuid,noexec,noatime sub /tmp/t/sub; mkdir '/tmp/t/sub/a b'; mount -t tmpfs -o nodev deep '/tmp/t/sub/a b'; \
             strace -f -o /dev/null -e inject=mount_setattr:error={errno} mount-setup --root /tmp -e '/tmp/t /to bind rec,ro,nodev' -e 'none /to/sub remount nosymfollow' || exit 1; \
             for d in /tmp/to /tmp/to/sub '/tmp/to/sub/a b'; do touch \"$d/x\" 2>&1 | grep -o Read-only; done; \
             grep ' /tmp/to' /proc/self/mountinfo | cut -d' ' -f6; \
             grep -c -e ' /tmp/t.*shared:' /proc/self/mountinfo; grep -c -e ' /tmp/to.* shared:' /proc/self/mountinfo; \
             umount -R /tmp/to; umount -R /tmp/t/sub; rm -r /tmp/*"
        ));
        let expected = "Read-only Read-only Read-only ro,nodev,relatime ro,nosuid,nodev,noexec,noatime,nosymfollow ro,nodev,relatime";
        assert_eq!(run.words()[..6].join(" "), expected, "{} {}", run.stdout, run.stderr);
        // the source is shared, the copy is not
        assert!(run.words()[6] != "0" && run.words()[7] == "0", "{}", run.stdout);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    }
}

#[test]
fn killed_at_any_moment_it_leaves_no_loop_device() {
    let run = with_loops(
        "killed",
        "cd /tmp/killed; mkdir d; mksquashfs d image -quiet -no-progress >/dev/null; for ms in $(seq 1 30); do \
           timeout -s KILL 0.$(printf %03d $ms) mntfd-create --image image=X -- mount-setup --root /mnt -e 'env:MNTFD_X / fd' -e 'none / umount'; \
           while pgrep -x mount-setup >/dev/null; do sleep 0.005; done; done; cd /; echo end",
    );
    assert_eq!((run.stdout.trim(), run.code), ("end", Some(0)), "{}", run.stderr);
}

#[test]
fn a_loop_device_that_another_takes_first_is_not_the_last() {
    // between LOOP_CTL_GET_FREE and LOOP_CONFIGURE, twice
    let run = with_loops(
        "raced",
        "cd /tmp/raced; mkdir t; echo x >t/f; mksquashfs t i -quiet -no-progress; \
         strace -f -o trace -e trace=ioctl -e inject=ioctl:error=EBUSY:when=2..4+2 mntfd-create --image i=I -- mount-setup --root t -e 'env:MNTFD_I / fd' -- cat t/f; \
         grep -c 'LOOP_CONFIGURE.*INJECTED' trace; umount t",
    );
    assert_eq!(run.words(), ["x", "2"], "{}", run.stderr);
}

#[test]
fn a_proc_can_show_another_pid_namespace() {
    let run = arena(
        "ns-enter --new pid -- sleep 60 & until p=$(pgrep -n -x sleep); do sleep 0.01; done; \
         mount-setup --root /tmp -e \"none /p proc x-mkdir,pidns=pid:$p\"; cat /tmp/p/1/comm; ls -d /tmp/p/[0-9]* | wc -l; \
         umount /tmp/p; rmdir /tmp/p; kill -9 $p; wait 2>/dev/null; mount-setup -e 'none /tmp/p proc x-mkdir,pidns=/proc/self/ns/net'; echo $?",
    );
    assert_eq!(run.words(), ["sleep", "1", "1"], "{}", run.stderr);
    assert!(run.stderr.contains("use as namespace /proc/self/ns/net: is net, expected pid"), "{}", run.stderr);
}

#[test]
fn locked_attributes_stay_on_every_submount() {
    // what the host has set, a less privileged namespace cannot clear: both ways of making read-only keep all of it
    for inject in ["", "strace -f -o /dev/null -e inject=mount_setattr:error=ENOSYS"] {
        let run = arena(&format!(
            "mkdir /tmp/t /tmp/to; mount -t tmpfs -o nosuid,nodev,noexec,noatime a /tmp/t; mkdir /tmp/t/b /tmp/t/c; \
             mount -t tmpfs -o nodev b /tmp/t/b; mount -t tmpfs -o ro,nosuid,nosymfollow c /tmp/t/c; \
             nsfd-create -U {MAPS} -- {INSIDE} {inject} mount-setup -e '/tmp/t /tmp/to bind rec,ro' -- \
             sh -c 'grep \" /tmp/to\" /proc/self/mountinfo | cut -d\" \" -f6; mount -o remount,bind,ro,suid /tmp/to 2>/dev/null && echo DONE'; \
             umount -R /tmp/t; rm -r /tmp/*"
        ));
        let expected = ["ro,nosuid,nodev,noexec,noatime", "ro,nodev,relatime", "ro,nosuid,relatime,nosymfollow"];
        let same = |shown: &str, expected: &str| {
            let sorted = |text: &str| {
                let mut words: Vec<String> = text.split(',').map(str::to_owned).collect();
                words.sort();
                words
            };
            sorted(shown) == sorted(expected)
        };
        let words = run.words();
        assert!(
            words.len() == 3 && words.iter().zip(expected).all(|(a, b)| same(a, b)),
            "{inject}: {} {}",
            run.stdout,
            run.stderr
        );
    }
}

#[test]
fn a_sysfs_of_its_own_is_read_only_and_masked() {
    let run = arena(&format!(
        "nsfd-create -Un {MAPS} -- ns-enter --ns user,net --new mnt,ipc,cgroup -- \
         mount-setup --root /mnt -e 'none / rootfs sys=yes,cgroup=ro,lock' -- sh -c 'ls /mnt/sys/class/net; touch /mnt/sys/x 2>&1 | grep -c \"x.:\"; \
           for d in /sys/firmware /sys/devices/virtual/powercap; do [ ! -e $d ] || ls -A /mnt$d; done; umount /mnt/sys 2>/dev/null && echo DONE; \
           grep -q \" /mnt/sys ro,\" /proc/self/mountinfo && echo ro; ls /mnt/sys/fs/cgroup/cgroup.procs'"
    ));
    assert_eq!(run.words(), ["lo", "1", "ro", "/mnt/sys/fs/cgroup/cgroup.procs"], "{} {}", run.stdout, run.stderr);
}

#[test]
fn a_lock_is_the_last_thing_and_takes_what_is_there_then() {
    // the second time as on kernels that mount nothing beneath another
    for before in ["", "strace -f -o /dev/null -e inject=move_mount:error=EINVAL:when=5..6 "] {
        let run = arena(&format!(
            "mkdir /tmp/r; mount -t tmpfs r /tmp/r; mount --make-private /tmp/r; cd /tmp; mkdir r/q; mount -t tmpfs q r/q; mkdir r/q/b; mount -t tmpfs b r/q/b; touch r/q/b/file; \
             {before}mount-setup --root r -e 'none /q/b lock' -e 'x /q/x tmpfs x-mkdir,ro' -e 'x /m tmpfs x-mkdir,ro' -e 'none /q/n dir' -e '/m /q/n move' -e 'none /q/n lock' -e 'x /q/b/c tmpfs x-mkdir' -e 'none /q lock'; \
             grep -c ' /tmp/r/' /proc/self/mountinfo; ls r/q/b; \
             for m in q/b q/x q/b/c; do umount r/$m 2>/dev/null && echo $m; done; mount -o remount,bind,rw r/q/x 2>/dev/null && echo rw; \
             umount -l r/q; ls r/q; umount r; rm -r r"
        ));
        assert_eq!(run.words(), ["5", "c", "file"], "{before} {}", run.stderr);
    }
}

#[test]
fn what_a_lock_was_for_must_still_be_there() {
    for (line, later) in
        [("none /a lock", "none /a tmpfs"), ("none /a lock", "/a /b move"), ("none /a lock", "none /a umount")]
    {
        let run = arena(&format!(
            "mkdir -p /tmp/r/a /tmp/r/b; mount-setup --root /tmp/r -e 'none / tmpfs' -e 'none / propagation private' -e 'none /b dir' \
             -e 'none /a tmpfs x-mkdir' -e '{line}' -e '{later}'; rm -r /tmp/r"
        ));
        let expected = "mount-setup: -e 5: lock mount at /a: a later line has mounted something over it, or moved or unmounted it (EBUSY)\n";
        assert_eq!(run.stderr, expected, "{later}");
    }
}

#[test]
fn a_tree_by_descriptor_has_no_devices_and_no_set_id_programs_in_a_root() {
    let run = arena(
        "mkdir -p /tmp/t /tmp/r; mknod /tmp/t/null c 1 3; cp /usr/bin/id /tmp/t/; chmod u+s /tmp/t/id; mount -o remount,dev,suid /tmp; \
         mntfd-create --bind /tmp/t=T --bind /tmp/t=U -- mount-setup --root /tmp/r -e 'none / rootfs usr=fd:T,opt=fd:U,mqueue=no' -- \
         sh -c 'for d in usr opt; do true 2>/dev/null >/tmp/r/$d/null || echo none; setpriv --reuid 1 /tmp/r/$d/id -u; done; umount -l /tmp/r'; rm -r /tmp/t /tmp/r",
    );
    assert_eq!(run.words(), ["none", "1", "none", "1"], "{}", run.stderr);
}

#[test]
fn what_a_lock_cannot_copy_is_refused() {
    // what cannot be copied would be gone with the original; the own root nobody would see; a tree is attached once. (The kernel binds
    // only a mount namespace of a higher number, which a newer one made on another CPU does not always have.)
    let run = arena(
        "cd /tmp; mkdir r; mount -t tmpfs r r; mount --make-private r; mkdir r/a; mount -t tmpfs user r/a; touch r/a/ns; mkdir r/a/u; mount -t tmpfs u r/a/u; \
         while :; do unshare -m sleep 60 & p=$!; until [ \"$(cat /proc/$p/comm)\" = sleep ]; do :; done; \
           mount --bind /proc/$p/ns/mnt r/a/ns 2>/dev/null && break; kill $p; done; kill $p; \
         mount-setup --root r -e 'none /a lock'; echo $?; umount r/a/ns; mount --make-unbindable r/a/u; mount-setup --root r -e 'none / lock'; echo $?; \
         ls -d r/a/u; umount r/a/u; mount-setup --root r -e 'none /a lock'; echo $?; umount -l r; \
         mount-setup -e 'none / rootfs'; echo $?; unshare -U true && echo still; \
         mntfd-create --fs tmpfs=X -- sh -c 'eval \"exec 7<&$MNTFD_X\"; mount-setup --root r -e \"env:MNTFD_X /a fd x-mkdir\" -e \"fd:7 /b fd x-mkdir\"'; echo $?; rmdir r",
    );
    assert_eq!(run.words(), ["1", "1", "r/a/u", "0", "1", "still", "1"], "{}", run.stderr);
    for text in
        ["/tmp/r/a/ns cannot be copied", "/tmp/r/a/u cannot be copied", "root of this process", "mounted somewhere"]
    {
        assert!(run.stderr.contains(text), "{text} {}", run.stderr);
    }
}

#[test]
fn propagation_holds_for_what_is_locked_and_ro_for_the_device() {
    let run = arena(
        "cd /tmp; mkdir r d; echo hi >d/f; mount-setup --root r -e 'none / rootfs' -e 'none /run propagation shared' -e 'none /tmp propagation slave'; \
         grep -E ' /tmp/r/(run|tmp) ' /proc/self/mountinfo | grep -oE 'shared|unbindable|master'; umount -l r; \
         mksquashfs d i.sq -quiet -no-progress >/dev/null; truncate -s 8M e4; mke2fs -q -t ext4 e4; \
         loop=$(losetup -r -f --show i.sq); mount-setup --root r -e \"$loop /x squashfs ro,x-mkdir\"; cat r/x/f; umount r/x; losetup -d $loop; \
         loop=$(losetup -f --show e4); md5sum <$loop >m; mount-setup --root r -e \"$loop /x ext4 ro,x-mkdir\"; umount r/x; md5sum <$loop | cmp - m && echo same; losetup -d $loop; rm -r /tmp/*",
    );
    assert_eq!(run.words(), ["shared", "hi", "same"], "{}", run.stderr);
}

#[test]
fn nothing_is_left_below_a_locked_root() {
    // also before Linux 6.5
    let run = arena(
        r#"cd /tmp; mkdir r; for plan in '/usr / bind lock' 'none / rootfs' "$(printf 'none / tmpfs\nnone /x tmpfs x-mkdir\nnone / lock')"; do echo "$plan" >plan; when=999
          for once in 1 2; do strace -f -o trace -e trace=move_mount -e inject=move_mount:error=EINVAL:when=$when mount-setup --root r --plan plan
            grep -c ' /tmp/r ' /proc/self/mountinfo; umount -l r; when=$(grep move_mount trace | grep -nE '0x200|BENEATH' | cut -d: -f1); when=${when:-999}; done; done
        grep -c INJECTED trace; rm -r /tmp/*"#,
    );
    assert_eq!(run.words(), ["1"; 7], "{}", run.stderr);
}

#[test]
fn the_hosts_device_nodes_are_not_the_containers_to_change() {
    let run = arena(
        "mkdir /tmp/dev; mknod -m 600 /tmp/dev/full c 1 7; for n in null zero random urandom tty; do touch /tmp/dev/$n; mount --bind /dev/$n /tmp/dev/$n; done; \
         ns-enter --new mnt -- sh -c 'mount --bind /tmp/dev /dev; mount --rbind /tmp/dev /dev; mount-setup --root /mnt -e \"none / rootfs\"; \
           chmod 666 /mnt/dev/full 2>/dev/null || echo refused; echo x >/mnt/dev/null && echo written; head -c 2 /mnt/dev/zero | wc -c'; \
         stat -c %a /tmp/dev/full; umount /tmp/dev/*; rm -r /tmp/dev",
    );
    assert_eq!(run.words(), ["refused", "written", "2", "600"], "{}", run.stderr);
}

#[test]
fn a_root_is_locked_unless_it_says_no() {
    let attempts = "try() { \"$@\" 2>/dev/null && echo \"DONE: $*\"; }; \
        for d in /sys /sys/firmware /sys/fs/cgroup /usr /srv /etc/alternatives /tmp /dev/null /opt /; do try umount $d; try umount -l $d; done; \
        try mount -o remount,rw /sys; try mount -o remount,bind,rw /sys; try mount -o remount,bind,rw /usr; try mount -o remount,bind,rw /opt; \
        try mount -o remount,bind,rw /srv; try touch /usr/x; try touch /opt/x; try mount --bind /sys /mnt; ls -A /sys/firmware; echo x >/tmp/x; echo x >/run/x; mkdir /new; \
        mount -t tmpfs own /tmp && umount /tmp && cat /tmp/x; mount --bind /tmp /new && cat /new/x && umount /new; echo end";
    let run = arena(&format!(
        "nsfd-create -Un {MAPS} -- ns-enter --ns user,net --new mnt,ipc,cgroup,uts -- sh -c \"mount-setup --root /mnt -e 'none / rootfs sys=yes,cgroup=ro,opt=/usr/share' -e '/etc /srv bind ro,x-mkdir' && \
           exec pivot-init --root /mnt -- /bin/sh -s\" <<'END'\n{attempts}\nEND"
    ));
    assert_eq!(run.words(), ["x", "x", "end"], "{} {}", run.stdout, run.stderr);
    // where no user namespace can be made, the hint says what can
    let inside = format!("nsfd-create -U {MAPS} -- ns-enter --ns user --new mnt,ipc --disable-userns --");
    let run = arena(&format!(
        "{inside} mount-setup --root /mnt -e 'none / rootfs usr=bind'; {inside} mount-setup --root /mnt -e 'none / rootfs usr=bind,lock=no' -- sh -c 'umount /mnt/usr && echo done'"
    ));
    assert!(
        run.stderr.starts_with("mount-setup: -e 1: lock mount at /: No space left on device (ENOSPC)\nhint: ")
            && run.stderr.contains("lock=no"),
        "{}",
        run.stderr
    );
    assert_eq!(run.words(), ["done"], "{}", run.stderr);
}

#[test]
fn proc_and_sysfs_are_masked_with_one_word() {
    let look = r#"try() { "$@" 2>/dev/null && echo "DONE: $*"; }; p=$1
        try umount $p/sys; try umount -l $p/keys; try mount -o remount,bind,rw $p/sys; try sh -c "echo 1 >$p/sys/net/ipv4/ip_forward"
        wc -c <$p/timer_list; ls -A $p/acpi; cat $p/1/comm; try umount /mnt/s/firmware; ls -A /mnt/s/firmware; ls -d /mnt/s/class"#;
    let inside =
        format!("nsfd-create -Un {MAPS} -- ns-enter --ns user,net --new mnt,ipc,cgroup,pid -- mount-setup --root /mnt");
    let run = arena(&format!(
        "cat >/tmp/look <<'END'\n{look}\nEND\n\
         {inside} -e 'none / rootfs proc=masked' -e 'none /s sysfs masked,x-mkdir' -- sh /tmp/look /mnt/proc; \
         {inside} -e 'none / tmpfs' -e 'none /p proc masked,x-mkdir' -e 'none /s sysfs x-mkdir,masked' -- sh /tmp/look /mnt/p; \
         {inside} -e 'none / tmpfs' -e 'none /s sysfs x-mkdir,masked,lock=no' -- sh -c 'umount /mnt/s/firmware && echo unlocked'; rm /tmp/look"
    ));
    let expected = "0 sh /mnt/s/class 0 sh /mnt/s/class unlocked";
    assert_eq!(run.words().join(" "), expected, "{}", run.stderr);
}

#[test]
fn a_false_proc_or_null_leads_nowhere() {
    // links that look like those of proc(5) and are another's mount
    let run = arena(
        "cd /tmp; mkdir -p r/w victim; touch r/f; mount -t tmpfs v victim; mount -t tmpfs w r/w; mount --bind r/f r/f; mount -t tmpfs false /proc; \
         mkdir -p /proc/self/fd; for i in $(seq 0 30); do ln -s /tmp/victim /proc/self/fd/$i; done; \
         for line in 'none /w propagation private' 'none /w remount noexec' 'none /w umount' 'none /f umount'; do mount-setup --root /tmp/r -e \"$line\"; echo $?; done; \
         strace -f -o /dev/null -e inject=mount_setattr:error=ENOSYS mount-setup --root /tmp/r -e 'none /w remount noexec'; \
         umount /proc; grep ' /tmp/[^ ]* r[ow],' /proc/self/mountinfo | cut -d' ' -f5,6; umount victim r/f; rm -r /tmp/*",
    );
    let expected = "0 0 0 1 /tmp/victim rw,relatime /tmp/r/f rw,relatime";
    assert_eq!(run.words().join(" "), expected, "{}", run.stderr);
    assert!(
        run.stderr
            .contains("unmount /f: Stale file handle (ESTALE)\nhint: what is at /proc is no proc of this process"),
        "{}",
        run.stderr
    );
    for make in ["ln -s /tmp/x /dev/null", "touch /dev/null", "mknod /dev/null c 1 5"] {
        let run = arena(&format!(
            "touch /tmp/x /tmp/secret; unshare -m sh -c 'mount -t tmpfs dev /dev; {make}; mount-setup --root /tmp -e \"none /secret mask\"; echo $?; \
               grep -c /tmp/secret /proc/self/mountinfo' 3>&1; rm /tmp/*"
        ));
        assert_eq!(run.words(), ["1", "0"], "{make} {}", run.stderr);
        assert!(run.stderr.contains("use device /dev/null: it is not character device 1:3 (ENODEV)"), "{}", run.stderr);
    }
}

#[test]
fn a_descriptor_is_a_detached_mount_and_used_once() {
    let twice = "is used by the plan before; what it holds can be attached once (EINVAL)";
    for (command, message) in [
        (
            "mount-setup --root /tmp/r -e 'fd:5 /a fd' 5</tmp/m",
            "-e 1:1: use source fd:5: is mounted somewhere (EINVAL)",
        ),
        (
            "mount-setup --root /tmp/r -e 'fd:5 /a fd ro' 5</tmp/m",
            "-e 1:1: use source fd:5: is mounted somewhere (EINVAL)",
        ),
        ("mount-setup --root /tmp/r -e 'fd:5 /a fd' 5</tmp/r", "-e 1:1: use source fd:5: is no mount (EINVAL)"),
        (
            "mount-setup --root /tmp/r -e 'none / rootfs usr=fd:5' 5</tmp/m",
            "-e 1:15: use option usr=fd:5: is mounted somewhere (EINVAL)",
        ),
        (
            "mntfd-create --bind /usr=U -- mount-setup --root /tmp/r -e 'env:MNTFD_U /a fd' -e 'env:MNTFD_U /b fd'",
            "-e 2: use source fd:",
        ),
        (
            "mntfd-create --bind /usr=U -- mount-setup --root /tmp/r -e 'none / rootfs usr=fd:U,opt=fd:U'",
            "-e 1: use source fd:",
        ),
    ] {
        let run = arena(&format!(
            "cd /tmp; mkdir r m; mount -t tmpfs m m; {command}; echo $?; grep -c ' /tmp/[^ ]* r[ow],' /proc/self/mountinfo; grep -c ' /tmp/m rw,' /proc/self/mountinfo; umount m; rm -r /tmp/*"
        ));
        assert_eq!(run.words(), ["2", "1", "1"], "{command} {}", run.stderr);
        assert!(run.stderr.starts_with(&format!("mount-setup: {message}")), "{command} {}", run.stderr);
        assert_eq!(
            run.stderr.contains(twice),
            command.contains("MNTFD_U /b") || command.contains("opt="),
            "{command} {}",
            run.stderr
        );
    }
}

#[test]
fn the_remount_of_a_tree_finds_what_was_moved_there() {
    let run = arena(
        "cd /tmp; mount --make-private /tmp; mkdir A T; mount -t tmpfs A A; mount -t tmpfs T T; mkdir T/b; mount -t tmpfs b T/b; mkdir T/b/x; mount --make-rprivate T; \
         mount --make-private A; mount --move A T/b/x; strace -f -o /dev/null -e inject=mount_setattr:error=ENOSYS mount-setup -e 'none /tmp/T remount rec,ro'; \
         grep ' /tmp/T' /proc/self/mountinfo | cut -d' ' -f5,6 | sort; umount -R T; rmdir A T; mount --make-shared /tmp",
    );
    let expected = "/tmp/T ro,relatime /tmp/T/b ro,relatime /tmp/T/b/x ro,relatime";
    assert_eq!(run.words().join(" "), expected, "{}", run.stderr);
}

#[test]
fn overlays_take_many_layers_and_odd_names() {
    // `\\` is a backslash to the plan, and `\:` a colon to overlay
    let run = arena(
        r#"cd /tmp; l=; for i in $(seq 100); do mkdir -p l/a$i; touch l/a$i/f$i; l=$l:/tmp/l/a$i; done
        mkdir 'l/o:d,\'; touch 'l/o:d,\/odd'; odd='/tmp/l/o\\:d\,\\\\'
        for list in "${l#:}" "${l#:}:$odd" "/tmp/l/a1:$odd"; do mount-setup -e "none /tmp/o overlay x-mkdir,lowerdir=$list"
          ls /tmp/o | wc -l; ls /tmp/o/odd; umount /tmp/o; done
        # as before Linux 6.5, where options are one string
        legacy() { strace -f -o /dev/null -e inject=fsconfig:error=EOPNOTSUPP:when=1 "$@"; }
        for list in "${l#:}" "/tmp/l/a1:$odd"; do legacy mount-setup -e "none /tmp/o overlay x-mkdir,ro,lowerdir=$list" -- sh -c 'ls /tmp/o | wc -l; ls /tmp/o/odd; grep " /tmp/o ro" /proc/self/mountinfo | wc -l'
          umount /tmp/o; done; long=$(printf :%0200d $(seq 21)); legacy mount-setup -e "none /tmp/o overlay x-mkdir,lowerdir=${long#:}"
        legacy mntfd-create --overlay '::l/a1:l/a2=X' -- mount-setup -e 'env:MNTFD_X /tmp/o fd x-mkdir' -- ls /tmp/o; umount /tmp/o
        mount-setup -e 'none /tmp/o overlay upperdir=/tmp/l'
        mkdir up work; strace -f -o /dev/null -e inject=fsconfig:error=EINVAL:when=1 \
          mntfd-create --overlay 'up:work:l/a1:l/o\072d\054\134=X' -- mount-setup -e 'env:MNTFD_X /tmp/o fd'
        ls o; touch o/new; ls up; umount o; rm -r /tmp/*"#,
    );
    let expected = "100 101 /tmp/o/odd 2 /tmp/o/odd 100 1 2 /tmp/o/odd 1 f1 f2 f1 odd new";
    assert_eq!(run.words().join(" "), expected, "{}", run.stderr);
    assert!(
        run.stderr.contains("its options are 4229 bytes, of which this kernel takes 4095 (E2BIG)"),
        "{}",
        run.stderr
    );
    assert!(
        run.stderr.contains("mount filesystem overlay: Invalid argument (EINVAL)\nhint: it needs lowerdir, "),
        "{}",
        run.stderr
    );
}

#[test]
fn what_rootfs_can_be_told() {
    let look = "cd /tmp/r";
    for (options, command, expected) in [
        ("usr=no,etc=no,var=no,home=no,root=no,run=no,tmp=no,mnt=no,dev=no", "ls", "dev proc sys"),
        (
            "usr=dir,etc=dir,opt=dir,srv=dir",
            "ls; ls usr etc; readlink bin lib32",
            "bin dev etc home lib lib32 lib64 libx32 mnt opt proc root run sbin srv sys tmp usr var etc: usr: usr/bin usr/lib32",
        ),
        (
            "usr=tmpfs,etc=tmpfs,root=tmpfs,var=tmpfs",
            "stat -f -c %T usr etc root var home",
            "tmpfs tmpfs tmpfs tmpfs tmpfs",
        ),
        ("etc=bind", "cmp etc/passwd /etc/passwd && echo same; touch etc/x 2>&1 | grep -o Read-only", "same Read-only"),
        (
            "opt=/usr/share,mnt=/etc",
            "[ -d opt/doc ] && touch opt/x 2>&1 | grep -o Read-only; cmp mnt/passwd /etc/passwd && echo same",
            "Read-only same",
        ),
        (
            "nodes=null:zero,shm=no,pts=no,mqueue=no",
            "ls dev dev/shm; grep -c ' /tmp/r/dev/[spm]' /proc/self/mountinfo",
            "dev: fd mqueue null ptmx pts shm stderr stdin stdout zero dev/shm: 0",
        ),
        ("tun=yes,nodes=null", "ls -F dev/net; stat -c %t:%T dev/net/tun", "tun a:c8"),
        (
            "cgroup=rw,sys=yes",
            "grep -o ' /tmp/r/sys[^ ]* r[ow]' /proc/self/mountinfo",
            "/tmp/r/sys ro /tmp/r/sys/firmware ro /tmp/r/sys/fs/cgroup rw",
        ),
        (
            "size=1m,mode=0711,uid=3,gid=4,nr_inodes=200",
            "stat -c %a:%u:%g .; grep -o 'size=1024k,nr_inodes=200' /proc/mounts",
            "711:3:4 size=1024k,nr_inodes=200",
        ),
    ] {
        let run = arena(&format!(
            "mkdir /tmp/r; [ -e /sys/firmware ] || exit 9; nsfd-create -n -- ns-enter --ns net --new mnt,ipc,cgroup -- mount-setup --root /tmp/r -e 'none / rootfs lock=no,{options}' -- sh -c '{}' ; rmdir /tmp/r",
            format!("{look}; {command}").replace('\'', "'\\''")
        ));
        assert_eq!(run.words().join(" "), expected, "{options} {}", run.stderr);
    }
    let tun = arena("[ -c /dev/net/tun ] || echo none");
    assert_eq!(tun.stdout, "");
}

#[test]
fn files_are_locked_filesystems_changed() {
    let run = arena(&format!(
        "echo secret >/tmp/file; nsfd-create -U {MAPS} -- {INSIDE} mount-setup --root /mnt -e 'none / tmpfs' -e '/tmp/file /f bind ro,lock,x-mkdir' -e '/tmp/file /g bind ro,x-mkdir' \
           -e 'none /g lock' -- sh -c 'for f in f g; do cat /mnt/$f; mount -o remount,bind,rw /mnt/$f 2>/dev/null && echo DONE; echo x 2>/dev/null >/mnt/$f && echo DONE; done'; \
         mkdir /tmp/a /tmp/b; mount -t tmpfs -o size=1m,nosuid a /tmp/a; mount-setup -e 'none /tmp/a remount size=2m,nodev'; grep ' /tmp/a' /proc/mounts | cut -d' ' -f4; \
         mount-setup -e 'none /tmp/b remount ro'; mount-setup -e 'none /tmp/b remount'; mount-setup -e 'none /tmp/a remount size=x'; umount /tmp/a; rm -r /tmp/*"
    ));
    assert_eq!(run.words(), ["secret", "secret", "rw,nosuid,nodev,relatime,size=2048k"], "{}", run.stderr);
    let errors: Vec<&str> = run.stderr.lines().filter(|line| line.starts_with("mount-setup")).collect();
    let expected = [
        "mount-setup: -e 1: remount /tmp/b: Invalid argument (EINVAL)",
        "mount-setup: -e 1:20: use option: needs what to change: an attribute or an option (EINVAL)",
        "mount-setup: -e 1: set option size=x of /tmp/a: tmpfs: Bad value for 'size' (EINVAL)",
    ];
    assert_eq!(errors, expected);
}

#[test]
fn attributes_and_propagation_are_what_mountinfo_shows() {
    let show = "grep -E ' /tmp/(a|a/b) ' /proc/self/mountinfo | cut -d' ' -f6- | cut -d- -f1";
    for (line, expected) in [
        ("none /a propagation slave", "rw,relatime master:N rw,relatime shared:N"),
        ("none /a propagation rprivate", "rw,relatime rw,relatime"),
        ("none /a propagation private,rec", "rw,relatime rw,relatime"),
        ("none /a propagation unbindable", "rw,relatime unbindable rw,relatime shared:N"),
        ("none /a propagation shared", "rw,relatime shared:N rw,relatime shared:N"),
        ("none /a remount ro", "ro,relatime shared:N rw,relatime shared:N"),
        ("none /a remount rec,ro,nodiratime", "ro,nodiratime,relatime shared:N ro,nodiratime,relatime shared:N"),
        ("none /a remount rec,noatime", "rw,noatime shared:N rw,noatime shared:N"),
        ("none /a remount strictatime", "rw shared:N rw,relatime shared:N"),
        ("none /a remount relatime,noexec", "rw,noexec,relatime shared:N rw,relatime shared:N"),
    ] {
        for inject in ["", "strace -f -o /dev/null -e inject=mount_setattr:error=ENOSYS"] {
            let run = arena(&format!(
                "mkdir /tmp/a /tmp/c; mount -t tmpfs a /tmp/a; mkdir /tmp/a/b; mount --bind /tmp/a /tmp/c; mount -t tmpfs b /tmp/a/b; {inject} mount-setup --root /tmp -e '{line}' || exit 1; \
                 {show} | sed 's/:[0-9]*/:N/'; umount -R /tmp/a /tmp/c; rmdir /tmp/a /tmp/c"
            ));
            assert_eq!(run.words().join(" "), expected, "{inject} {line} {}", run.stderr);
        }
    }
}

#[test]
fn images_in_a_plan() {
    let run = with_loops(
        "planned",
        "cd /tmp/planned; mkdir tree dir; dd if=/dev/urandom of=tree/file bs=64k count=4 status=none; mksquashfs tree squashfs -quiet -no-progress >/dev/null; \
         mkfs.erofs erofs tree >/dev/null 2>&1; truncate -s 8M ext4; mkfs.ext4 -q -d tree ext4; \
         for image in squashfs erofs ext4; do mount-setup --root /tmp/planned -e \"/tmp/planned/$image /i image x-mkdir,nosuid,noexec\" -- sh -c 'cmp i/file tree/file && \
           grep /tmp/planned/i /proc/self/mountinfo | cut -d\" \" -f6; touch i/x 2>&1 | grep -o Read-only; umount i'; rmdir i; \
           mount-setup --root /tmp/planned -e \"/tmp/planned/$image /i image x-mkdir\" -e 'none /zz umount' 2>/dev/null; ls -d i 2>/dev/null; done; \
         echo cut; for image in squashfs erofs ext4; do for size in 2048 4096 70000; do cp $image cut; truncate -s $size cut; \
           mntfd-create --image cut=X -- mount-setup --root /tmp/planned -e 'env:MNTFD_X /i fd x-mkdir' -- sh -c 'cat i/file >/dev/null && echo WHOLE; umount i' 2>/dev/null; done; done; \
         rmdir i 2>/dev/null; echo direct; truncate -s 16M disk; mkdir d; cp erofs d; mkfs.ext4 -q -d d disk; mount -o loop disk dir; \
         mount-setup --root /tmp/planned -e '/tmp/planned/dir/erofs /i image x-mkdir' -- sh -c 'cmp i/file tree/file; grep -o \"[^ ]* /tmp/planned/i erofs ro\" /proc/mounts | cut -c1-6; umount i'; \
         echo dirty; touch dir/new; sync; cp disk disk2; umount dir; mntfd-create --image disk2=X -- true; mntfd-create --image disk2=X,noload -- echo without; cd /",
    );
    let each = "rw,nosuid,nodev,noexec,relatime Read-only ";
    let expected = format!("{}cut direct /proc/ dirty without", each.repeat(3));
    assert_eq!(run.words().join(" "), expected, "{}", run.stderr);
    assert!(
        run.stderr.contains("Read-only file system (EROFS)\nhint: the journal of disk2 needs recovery: noload "),
        "{}",
        run.stderr
    );
}

#[test]
fn mounts_are_held_with_their_options() {
    let run = arena(
        "mkdir -p /tmp/t/sub /tmp/to; mount -t tmpfs sub /tmp/t/sub; touch /tmp/t/sub/file; \
         mntfd-create --fs tmpfs=NEW,size=1m,mode=700,nosuid --bind /tmp/t=ALL,rec,ro --bind /tmp/t=ONE -- mount-setup --root /tmp/to -e 'env:MNTFD_NEW /new fd x-mkdir' \
           -e 'env:MNTFD_ALL /all fd x-mkdir' -e 'env:MNTFD_ONE /one fd x-mkdir' -- sh -c 'cd /tmp/to; stat -c %a new; grep -o \"/new .*size=1024k\" /proc/mounts; \
             ls all/sub one/sub; touch all/sub/x 2>&1 | grep -o Read-only; touch one/x && echo written'; umount -R /tmp/to/*; umount /tmp/t/sub; rm -r /tmp/*",
    );
    let expected = "700 /new tmpfs rw,nosuid,relatime,size=1024k all/sub: file one/sub: Read-only written";
    assert_eq!(run.words().join(" "), expected, "{}", run.stderr);
}

#[test]
fn whoever_has_no_rights_is_told_so() {
    for line in [
        "/usr /mnt bind ro",
        "/usr /mnt bind",
        "none /mnt tmpfs",
        "none / umount",
        "none / propagation private",
        "none / remount ro",
    ] {
        let run = arena(&format!("setpriv --reuid 1000 --clear-groups mount-setup -e '{line}'; echo $?"));
        assert_eq!(run.stdout, "1\n", "{}", run.stderr);
        assert!(
            run.stderr.ends_with("(EPERM)\nhint: this needs CAP_SYS_ADMIN over the mount namespace\n"),
            "{line} {}",
            run.stderr
        );
    }
}

#[test]
fn the_size_of_an_image_costs_no_memory() {
    // less address space than the image has bytes, by far
    let run = arena(
        "cd /tmp; truncate -s 512M big; mkfs.ext4 -q -E lazy_itable_init=1 big; mkdir r; \
         (ulimit -v 12000; mntfd-create --image big=B -- mount-setup --root r -e 'env:MNTFD_B / fd' -- sh -c 'ulimit -v') && ls r; umount r; rm -r big r",
    );
    assert_eq!(run.words(), ["12000", "lost+found"], "{}", run.stderr);
}
