//! fd-open: descriptors from other namespaces and processes, handed on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod common;

use common::{Run, arena, sh};

#[test]
fn sockets_belong_to_the_namespace_they_were_opened_in() {
    // a server on inherited sockets, in the host's namespace; its clients are in the other one
    let run = arena(
        "nsfd-create -n --fd net=20 -- sh -c 'net-setup --netns fd:20 --lo; \
         fd-open --tcp 127.0.0.1:80=WEB,netns=fd:20,reuseaddr,backlog=5 --udp \"[::1]:53=DNS,netns=fd:20,v6only\" --unix @abs=ABS,netns=fd:20 \
           --netlink route=NL,groups=1,netns=fd:20 --packet 0x0800=PK,link=lo,netns=fd:20 --tun t0=TUN,tap,netns=fd:20 -- sh -c \"\
             wc -l </proc/net/tcp; ns-enter --ns net=fd:20 -- sh -c \\\"grep -c 0100007F:0050 /proc/net/tcp; grep -c :0035 /proc/net/udp6; \
               grep -c @abs /proc/net/unix; grep -c 0800 /proc/net/packet; ip -o link show t0 | grep -o ether; \
               perl -MIO::Socket::INET -e \\\\\\\"IO::Socket::INET->new(q(127.0.0.1:80)) and print qq(connected\\\\\\\\n)\\\\\\\"\\\"; \
             ip -o link | wc -l\"'",
    );
    assert_eq!(run.words(), ["1", "1", "1", "1", "1", "ether", "connected", "1"], "{}", run.stderr);
}

#[test]
fn a_unix_socket_has_the_mode_asked_for() {
    let run = arena(
        "fd-open --unix /tmp/s=S,mode=0600,type=seqpacket -- sh -c 'stat -c %F:%a /tmp/s; fd-open --unix /tmp/s=C,type=seqpacket,connect -- \
           sh -c \"echo \\${OPENFD_S:+kept} \\${OPENFD_C:+connected}\"'; fd-open --unix /tmp/s=S -- true; echo $?; rm /tmp/s",
    );
    assert_eq!(run.stdout, "socket:600\nkept connected\n125\n", "{}", run.stderr);
    assert_eq!(run.stderr, "fd-open: bind socket /tmp/s=S: Address already in use (EADDRINUSE)\n");
}

#[test]
fn files_come_from_another_mount_namespace_and_stay_beneath_a_root() {
    let run = arena(
        "echo outside >/tmp/out; nsfd-create -m --fd mnt=20 -- sh -c 'ns-enter --ns mnt=fd:20 -- sh -c \"mount -t tmpfs x /mnt; echo inside >/mnt/f; \
           ln -s /f /mnt/l; ln -s /tmp/out /mnt/o; mkdir /mnt/tmp; echo own >/mnt/tmp/out\"; [ -e /mnt/f ] || echo unseen; \
         fd-open --file /mnt/f=A,mntns=fd:20 --file l=B,root=/mnt,mntns=fd:20 --file o=C,root=/mnt,mntns=fd:20 --file /mnt/o=D,mntns=fd:20 \
           --file /mnt/new=N,mntns=fd:20,write,create,excl,mode=0640 -- sh -c \"cat <&\\$OPENFD_A; cat <&\\$OPENFD_B; cat <&\\$OPENFD_C; \
             cat <&\\$OPENFD_D; echo x >&\\$OPENFD_N\"; ns-enter --ns mnt=fd:20 -- stat -c %a:%s /mnt/new; \
         for o in no_symlinks beneath; do fd-open --file o=C,root=/mnt,$o,mntns=fd:20 -- true; done'; rm /tmp/out; \
         fd-open --file /proc/self/root/etc/passwd=X -- true; fd-open --file /proc/self/root/etc/passwd=X,magiclinks -- echo followed",
    );
    assert_eq!(run.words(), ["unseen", "inside", "inside", "own", "outside", "640:2", "followed"], "{}", run.stderr);
    assert_eq!(run.stderr.matches("(ELOOP)").count(), 2, "{}", run.stderr);
    assert_eq!(run.stderr.matches("(EXDEV)").count(), 1, "{}", run.stderr);
}

#[test]
fn an_ordinary_user_opens_files_of_its_own_containers() {
    let run = arena(
        "mkdir -m 755 /tmp/t; cp /run/tools/nsfd-create /run/tools/ns-enter /run/tools/fd-open /tmp/t; chmod 1777 /tmp; \
         setpriv --reuid 1 --regid 1 --clear-groups env PATH=/tmp/t:/bin:/usr/bin nsfd-create -Um --map-root --fd mnt=20 --fd user=21 -- sh -c '\
           ns-enter --ns user=fd:21,mnt=fd:20 -- sh -c \"mount -t tmpfs x /mnt; echo inside >/mnt/f\"; \
           fd-open --file /mnt/f=F,mntns=fd:20 -- sh -c \"cat <&\\$OPENFD_F; id -u\"'; rm -r /tmp/t; chmod 755 /tmp",
    );
    assert_eq!(run.words(), ["inside", "1"], "{}", run.stderr);
}

/// Runs a script in an arena as an ordinary user, who holds by descriptor namespaces of its own, user (21), mount (20) and network (22),
/// and a file that only root may open (9).
fn as_user(script: &str) -> Run {
    let run = arena(&format!(
        "mkdir -m 755 /tmp/t; cp /run/tools/nsfd-create /run/tools/ns-enter /run/tools/fd-open /run/tools/net-setup /tmp/t; chmod 1777 /tmp
         echo secret >/tmp/secret; chmod 600 /tmp/secret; exec 9</tmp/secret
         cat >/tmp/t/script <<'EOF'\n{script}\nEOF
         setpriv --reuid 1 --regid 1 --clear-groups env PATH=/tmp/t:/bin:/usr/bin:/sbin nsfd-create -Umn --map-root --fd mnt=20 --fd user=21 \
           --fd net=22 -- sh /tmp/t/script; code=$?
         rm -r /tmp/t /tmp/secret; chmod 755 /tmp; exit $code"
    ));
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    run
}

#[test]
fn a_container_gets_nothing_from_who_opens_its_files() {
    // it makes the child that has entered it block, and sees that one's pid
    let run = as_user(
        r#"inside() { ns-enter --ns user=fd:21,mnt=fd:20 -- "$@"; }
        inside sh -c 'mount -t tmpfs x /mnt; mkfifo /mnt/f'
        fd-open --file /mnt/f=F,mntns=fd:20 -- true & p=$!
        while c=$(cat /proc/$p/task/$p/children) && [ -z "$c" ]; do sleep 0.05; done; sleep 0.3
        for n in 0 9 20; do
            inside fd-open --of-process ${c% }:$n=S -- sh -c 'cat <&$OPENFD_S'
        done
        inside cat /proc/${c% }/fdinfo/9
        kill $p; wait; exit 0"#,
    );
    assert_eq!(run.stdout, "", "{}", run.stderr);
    assert_eq!(run.stderr.matches("Operation not permitted (EPERM)").count(), 3, "{}", run.stderr);
    assert_eq!(run.stderr.matches("Permission denied").count(), 1, "{}", run.stderr);
}

#[test]
fn processes_and_what_descriptors_tell() {
    let run = arena(
        "sleep 60 <>/tmp/file & p=$!; until [ \"$(cat /proc/$p/comm)\" = sleep ]; do :; done; \
         nsfd-create -Un --map-root -- fd-open --pidfd $p=P --of-process $p:0=F --owner-of net:env:NSFD_NET=O --parent-of user:env:NSFD_USER=U \
           --udp 127.0.0.1:0=S,netns=env:NSFD_NET -- fd-open --netns-of env:OPENFD_S=N -- sh -c 'cd /proc/self/fd; \
             grep -c \"^Pid:.$1\" ../fdinfo/$OPENFD_P; readlink $OPENFD_F; [ $(readlink $OPENFD_O) = $(readlink $NSFD_USER) ] && echo owner; \
             [ $(readlink $OPENFD_U) = $(readlink ../ns/user) ] && echo parent; [ $(readlink $OPENFD_N) = $(readlink $NSFD_NET) ] && echo net; \
             close-fds -- sh -c \"env | grep -c FD_\"' sh $p; kill $p; wait 2>/dev/null; rm /tmp/file",
    );
    assert_eq!(run.words(), ["1", "/tmp/file", "owner", "parent", "net", "0"], "{}", run.stderr);
}

#[test]
fn what_is_wrong_is_named() {
    for (args, message) in [
        ("", "option --tcp, --udp, --unix, --file, …: one of them is needed: see --help"),
        ("--tcp 127.0.0.1=X", "option --tcp 127.0.0.1=X: does not begin with ADDR:PORT"),
        ("--tcp 127.0.0.1:80", "option --tcp 127.0.0.1:80: needs SOURCE=NAME[,OPTIONS]"),
        ("--tcp 127.0.0.1:80=X,frob", "option --tcp 127.0.0.1:80=X,frob: is unknown to type socket"),
        ("--udp 127.0.0.1:80=X,backlog=5", "option --udp 127.0.0.1:80=X,backlog=5: is unknown to type socket"),
        ("--udp 127.0.0.1:80=a-b", "needs a name of letters, digits and _ after the ="),
        ("--udp 127.0.0.1:0=X --tcp 127.0.0.1:0=X", "option OPENFD_X: is the name of two descriptors"),
        ("--netlink frob=X", "does not begin with a protocol of netlink(7), or a number from 0 to 31"),
        ("--packet 0800=X", "does not begin with a protocol, as 0x0800, or all"),
        ("--packet all=X,link=none", "fd-open: find link none: No such device (ENODEV)"),
        ("--file /etc/passwd=X,write,rdwr", "has more than one of write, rdwr, path"),
        ("--file /etc/passwd=X,mode=0600", "has excl or mode without create"),
        ("--file /none=X", "fd-open: open /none: No such file or directory (ENOENT)"),
        ("--file /etc/passwd=X,mntns=/proc/self/ns/net", "is net, expected mnt"),
        ("--tun a%d=X", "does not begin with the name of an interface"),
        ("--pidfd 0=X", "is no process id"),
        ("--of-process $$:99=X", "fd-open: duplicate descriptor 99 of pid:"),
        ("--netns-of fd:0=X </dev/null", "fd-open: find network namespace of fd:0: is no socket (E"),
        ("--parent-of net:pid:1=X", "net namespaces have no parents; user and pid have"),
        (
            "--udp 203.0.113.1:80=X",
            "fd-open: bind socket 203.0.113.1:80=X: Cannot assign requested address (EADDRNOTAVAIL)",
        ),
    ] {
        let run = sh(&format!("fd-open {args} -- true 2>&1; echo $?"));
        assert!(run.stdout.contains(message), "{args}: {}", run.stdout);
        assert!(run.stdout.ends_with("\n125\n"), "{args}: {}", run.stdout);
    }
}
