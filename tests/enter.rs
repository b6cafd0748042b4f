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

/// CVE-2019-5736, in its worst case: no user namespace, so that root inside may write what belongs to root. A script in the container
/// has ns-enter execute itself again there, and holds it in the moment before it protects itself.
#[test]
fn the_file_of_a_tool_that_enters_is_out_of_reach() {
    let run = arena(
        "cp /run/tools/ns-enter /run/tools/pivot-init /tmp; PATH=/tmp:$PATH; mkfifo /tmp/told; cat >/tmp/watch <<'END'\n\
             while :; do for p in /proc/[0-9]*; do case $(tr '\\0' ' ' <$p/cmdline 2>/dev/null) in *--seccomp=/x/fifo*) \
               readlink $p/exe | cut -d' ' -f1; exec 8<$p/exe; kill -KILL ${p#/proc/}; \
               (echo pwned >/proc/self/fd/8) 2>/dev/null && echo WROTE; exit;; esac; done; done\nEND\n\
             caps=chown,dac_override,fowner,kill,setuid,setgid,net_bind_service,sys_chroot; \
             ns-enter --new mnt,ipc,uts -- sh -c \"mount-setup --root /mnt -e 'none / rootfs' -e 'none /x tmpfs x-mkdir' -e '/tmp/watch /x/watch bind x-mkdir' && \
               mkfifo /mnt/x/fifo && printf '#!/proc/self/exe --seccomp=/x/fifo\\n' >/mnt/x/evil && chmod 755 /mnt/x/evil && \
               exec pivot-init --root /mnt --pid-file /tmp/pid --bounding $caps -- /bin/sh /x/watch\" >/tmp/out & \
             until [ -s /tmp/pid ]; do sleep 0.01; done; ns-enter --target $(cat /tmp/pid) --ns mnt,pid --bounding $caps -- /x/evil 2>/dev/null; \
             wait $!; cat /tmp/out; for tool in ns-enter pivot-init; do cmp /tmp/$tool /run/tools/$tool && echo same; done; rm -f /tmp/*",
    );
    assert_eq!(run.words(), ["/memfd:ns-enter", "same", "same"], "{} {}", run.stdout, run.stderr);
}
