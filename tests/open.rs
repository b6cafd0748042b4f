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
/// and root's: a file that nobody else may open (9), the network namespace (8).
fn as_user(script: &str) -> Run {
    let run = arena(&format!(
        "mkdir -m 755 /tmp/t; cp /run/tools/nsfd-create /run/tools/ns-enter /run/tools/fd-open /run/tools/net-setup /tmp/t; chmod 1777 /tmp
         echo secret >/tmp/secret; chmod 600 /tmp/secret; exec 9</tmp/secret 8</proc/self/ns/net
         mknod -m 666 /tmp/t/tun c 10 200; mount --bind /tmp/t/tun /dev/net/tun
         cat >/tmp/t/script <<'EOF'\n{script}\nEOF
         setpriv --reuid 1 --regid 1 --clear-groups env PATH=/tmp/t:/bin:/usr/bin:/sbin nsfd-create -Umn --map-root --fd mnt=20 --fd user=21 \
           --fd net=22 -- sh /tmp/t/script; code=$?
         umount /dev/net/tun; rm -r /tmp/t /tmp/secret; chmod 755 /tmp; exit $code"
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
        # the first child finds that it needs a second one, which stays
        child() { cat /proc/$p/task/$p/children; }
        until c=$(child); sleep 0.4; [ -n "$c" ] && [ "$c" = "$(child)" ]; do :; done
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
fn an_ordinary_user_opens_sockets_and_devices_of_its_own_network_namespace() {
    let run = as_user(
        r#"inside() { ns-enter --ns user=fd:21,net=fd:22 -- "$@"; }
        net-setup --netns fd:22 --lo --sysctl net.ipv4.ip_forward=1 || exit 1
        fd-open --tcp 127.0.0.1:80=W,netns=fd:22,mark=5 --packet 0x0800=P,netns=fd:22 --tun t0=T,tap,netns=fd:22 -- \
          ns-enter --ns user=fd:21,net=fd:22 -- sh -c 'cat /proc/sys/net/ipv4/ip_forward; grep -c 0100007F:0050 /proc/net/tcp
            grep -c 0800 /proc/net/packet; ip -o link show t0 | grep -o ether; ip -o link show lo | grep -o LOWER_UP'
        fd-open --udp 127.0.0.1:0=X,netns=fd:8 -- true; echo $?
        net-setup --netns fd:8 --lo; echo $?"#,
    );
    assert_eq!(run.words(), ["1", "1", "1", "ether", "LOWER_UP", "125", "1"], "{}", run.stderr);
    assert!(run.stderr.starts_with("fd-open: enter network namespace fd:8: Operation not permitted (EPERM)\nhint: "));
}

#[test]
fn a_caller_that_ignores_sigchld_loses_nothing() {
    // not through a shell, which would set a handler
    let run = arena(
        r#"ignoring() { perl -e '$SIG{CHLD} = "IGNORE"; exec @ARGV' "$@"; }
        ignoring nsfd-create -n --fd net=20 -- net-setup --netns fd:20 --lo && echo up
        ignoring nsfd-create -mn --fd net=20 --fd mnt=21 -- fd-open --udp 127.0.0.1:0=U,netns=fd:20 --file /etc/passwd=F,mntns=fd:21 -- echo opened
        ignoring nsfd-create -Un --map-root -- echo made"#,
    );
    assert_eq!(run.stdout, "up\nopened\nmade\n", "{}", run.stderr);
}

#[test]
fn rights_are_the_hint_where_they_are_missing_only() {
    for (errno, hints) in [("EPERM", 1), ("ENOMEM", 0)] {
        let run = arena(&format!(
            "strace -f -o /dev/null -e inject=setns:error={errno} fd-open --udp 127.0.0.1:0=X,netns=/proc/1/ns/net -- true"
        ));
        assert!(run.stderr.starts_with("fd-open: enter network namespace /proc/1/ns/net: "), "{}", run.stderr);
        assert_eq!((run.stderr.contains(errno), run.stderr.matches("hint").count()), (true, hints), "{}", run.stderr);
    }
}

#[test]
fn a_kernel_or_a_filter_that_refuses_the_quick_way_leaves_another() {
    let run = arena(
        "strace -f -o /tmp/trace -e inject=clone:error=EINVAL -e inject=close_range:error=EPERM fd-open --udp 127.0.0.1:0=U,netns=/proc/1/ns/net \
           --file /etc/passwd=F,mntns=/proc/1/ns/mnt --unix /tmp/s=S,mode=0600 -- stat -c %a /tmp/s
         grep -c 'clone.*INJECTED' /tmp/trace; grep -c 'close_range.*INJECTED' /tmp/trace; rm /tmp/*",
    );
    assert_eq!(run.stdout, "600\n2\n3\n", "{}", run.stderr);
}

#[test]
fn the_mode_of_a_unix_socket_is_set_without_its_path() {
    // the umask is neither in the way nor changed; what is put in the socket's place is left alone
    let run = arena(
        r#"umask 077; fd-open --unix /tmp/s=S,mode=0666 -- sh -c 'stat -c %a /tmp/s; umask'; rm /tmp/s; : >/tmp/victim
        strace -f -o /dev/null -e trace=bind -e inject=bind:delay_exit=300000 fd-open --unix /tmp/s=S,mode=0666 -- true & p=$!
        until [ -S /tmp/s ]; do sleep 0.02; done; rm /tmp/s; ln -s victim /tmp/s; wait $p; echo $?; stat -c %a /tmp/victim; rm /tmp/s /tmp/victim"#,
    );
    assert_eq!(run.words(), ["666", "0077", "125", "600"], "{}", run.stderr);
    assert_eq!(run.stderr, "fd-open: bind socket /tmp/s=S,mode=0666: what is there now is something else (ESTALE)\n");
}

#[test]
fn unix_sockets_are_bound_and_found_in_another_mount_namespace() {
    let script = r#"ns-enter --ns user=fd:21,mnt=fd:20 -- mount -t tmpfs x /mnt
        fd-open --unix /mnt/s=S,mode=0640,mntns=fd:20 --unix /mnt/s=C,connect,mntns=fd:20 -- \
          sh -c 'echo ${OPENFD_S:+bound} ${OPENFD_C:+connected}; [ -e /mnt/s ] || echo unseen'
        ns-enter --ns user=fd:21,mnt=fd:20 -- stat -c %a:%u /mnt/s
        fd-open --unix /mnt/t=S,mntns=fd:20 --file /mnt/f=F,create,mntns=fd:20 --file /none=N -- true; echo $?
        ns-enter --ns user=fd:21,mnt=fd:20 -- ls -A /mnt"#;
    let run = as_user(script);
    assert_eq!(run.words(), ["bound", "connected", "unseen", "640:0", "125", "s"], "{}", run.stderr);
}

#[test]
fn what_was_made_is_removed_when_the_rest_fails() {
    let run = arena(
        r#"cd /tmp; echo old >have
        fd-open --unix s=A --unix /tmp/d=B,type=dgram --file new=C,write,create --file /tmp/excl=D,write,create,excl -- /nonexistent; echo $?
        fd-open --unix /tmp/s=A --file /tmp/excl=C,write,create,excl --file /none=B -- true; echo $?
        fd-open --unix /tmp/s=A,backlog=1 --unix /tmp/s=B -- true; echo $?
        strace -f -o /dev/null -P s -P /tmp/s -e inject=openat:error=EMFILE fd-open --unix /tmp/s=A -- true; echo $?
        fd-open --file /tmp/have=A,write,create --file /none=B -- true; echo $?; ls -A /tmp; cat have
        fd-open --unix /tmp/s=A --file new=F,write,create,mode=0640 -- true; echo $?; stat -c %n:%a new; ls -A; rm *"#,
    );
    assert_eq!(
        run.words(),
        ["127", "125", "125", "125", "125", "have", "old", "0", "new:640", "have", "new", "s"],
        "{}",
        run.stderr
    );
}

#[test]
fn options_of_sockets_are_set() {
    const GETSOCKOPT: &str = r#"for (@ARGV) { my ($fd, $level, $name) = split /,/; open my $s, "+<&=", $fd or die; print unpack("i", getsockopt($s, $level, $name) . "\0"), "\n" }"#;
    // the option to give, and level and name to ask for
    let table = [
        ("tcp 127.0.0.1:0,reuseaddr", 1, 2, 1),
        ("tcp 127.0.0.1:0,reuseport", 1, 15, 1),
        ("tcp 203.0.113.1:1,freebind", 0, 15, 1),
        ("tcp 203.0.113.1:2,transparent", 0, 19, 1),
        ("tcp [2001:db8::1]:1,freebind", 0, 15, 1),
        ("tcp 127.0.0.1:0,keepalive", 1, 9, 1),
        ("tcp 127.0.0.1:0,nodelay", 6, 1, 1),
        ("tcp 127.0.0.1:0,defer_accept=3", 6, 9, 3),
        ("udp 127.0.0.1:0,broadcast", 1, 6, 1),
        ("udp 127.0.0.1:0,mark=0x10", 1, 36, 16),
        ("udp 127.0.0.1:0,rcvbuf=8192", 1, 8, 16384),
        ("udp 127.0.0.1:0,sndbuf=8192", 1, 7, 16384),
        ("udp 127.0.0.1:0,dev=lo", 1, 25, i32::from_le_bytes(*b"lo\0\0")),
        ("udp [::]:0,v6only", 41, 26, 1),
        ("udp [::]:0,v6only=off", 41, 26, 0),
        // SO_ACCEPTCONN
        ("tcp 127.0.0.1:0", 1, 30, 1),
        ("tcp 127.0.0.1:0,nolisten", 1, 30, 0),
        ("unix @nolisten,nolisten", 1, 30, 0),
        // SO_TYPE, SO_PROTOCOL, SO_DOMAIN
        ("socket inet:raw:icmp", 1, 3, 3),
        ("socket inet:raw:icmp", 1, 38, 1),
        ("socket inet6:stream:tcp,v6only=off", 1, 39, 10),
        ("socket netlink:raw:generic", 1, 38, 16),
        ("socket 1:seqpacket:0", 1, 3, 5),
        ("socket packet:dgram:0x0800", 1, 39, 17),
    ];
    let (mut open, mut ask) = (String::new(), String::new());
    for (index, (option, level, name, _)) in table.iter().enumerate() {
        let (kind, text) = option.split_once(' ').unwrap();
        let (source, rest) = text.split_at(text.find(',').unwrap_or(text.len()));
        open.push_str(&format!("--{kind} '{source}=N{index}{rest}' "));
        ask.push_str(&format!("$OPENFD_N{index},{level},{name} "));
    }
    let run = arena(&format!(
        "unshare -n sh <<'EOF'\nnet-setup --lo; fd-open {open} -- sh -c 'exec perl -e \"$0\" {ask}' '{GETSOCKOPT}'\nEOF"
    ));
    let expected: Vec<_> = table.iter().map(|row| row.3.to_string()).collect();
    assert_eq!(run.words(), expected, "{}", run.stderr);
}

#[test]
fn sockets_are_connected_scoped_and_nonblocking() {
    let run = arena(
        r#"unshare -n sh <<'EOF'
        net-setup --lo; ip link add b0 type bridge; ip addr add fe80::1/64 dev b0 nodad; ip link set b0 up
        fd-open --tcp 127.0.0.1:80=L --tcp 127.0.0.1:80=C,connect --udp 127.0.0.1:53=U,connect --udp 127.0.0.1:0=B,nonblock \
          --tcp '[fe80::1%b0]:80=S' --packet 0x0806=P,type=dgram --socket packet:raw:0x88cc=R -- sh -c '
            grep -c ":0050 0[01]00007F:[^ ]* 01 \| 0100007F:0050 01 " /proc/net/tcp; grep -c " 0100007F:0035 01" /proc/net/udp
            grep -c "^flags:.*4002$" /proc/self/fdinfo/$OPENFD_B /proc/self/fdinfo/$OPENFD_U | cut -d: -f2; grep -c ":0050 .* 0A " /proc/net/tcp6
            awk "NR > 1 { print \$3, \$4 }" /proc/net/packet | sort'
        fd-open --tcp '[fe80::1%nope]:80=S' -- true
EOF"#,
    );
    assert_eq!(run.words(), ["2", "1", "1", "0", "1", "2", "0806", "3", "88cc"], "{}", run.stderr);
    assert_eq!(run.stderr, "fd-open: find link nope: No such device (ENODEV)\n");
}

#[test]
fn options_of_files_are_set() {
    let run = arena(
        r#"cd /tmp; mkdir d; echo one >d/f; echo long >t; ln -s d/f l; mkfifo fifo; exec 7<d
        fd-open --file d/f=A,write,append --file t=T,rdwr,trunc --file l=P,path,nofollow --file d=D,directory --file f=R,root=fd:7 \
          --file fifo=F,nonblock -- sh -c 'echo two >&$OPENFD_A; stat -c %s t; stat -Lc %F /proc/self/fd/$OPENFD_P /proc/self/fd/$OPENFD_D
            grep -c "^flags:.*10400000$" /proc/self/fdinfo/$OPENFD_P; cat <&$OPENFD_R; grep -c ^flags:.*4000 /proc/self/fdinfo/$OPENFD_F'
        for what in l=X,nofollow t=X,directory proc/version=X,root=/,no_xdev fifo=X,write,nonblock; do fd-open --file $what -- true; done; rm -r *"#,
    );
    assert_eq!(run.stdout, "0\nsymbolic link\ndirectory\n1\none\ntwo\n1\n", "{}", run.stderr);
    for (line, errno) in
        run.stderr.lines().filter(|line| !line.starts_with("hint")).zip(["ELOOP", "ENOTDIR", "EXDEV", "ENXIO"])
    {
        assert!(line.contains(errno), "{}", run.stderr);
    }
}

#[test]
fn tun_devices_have_their_flags_and_pid_namespaces_parents() {
    let run = arena(
        r#"fd-open --tun t0=A,tap,multi_queue --tun t0=B,tap,multi_queue --tun t1=C,vnet_hdr,nonblock -- sh -c '
             for link in t0 t1; do ip -d link show $link | grep -oE "tun type ...|vnet_hdr on|multi_queue"; done
             grep -c ^flags:.*4002 /proc/self/fdinfo/$OPENFD_A /proc/self/fdinfo/$OPENFD_C | cut -d: -f2'
        unshare -p --fork --kill-child sleep 60 & p=$!; until c=$(cat /proc/$p/task/$p/children) && [ "$(cat /proc/${c% }/comm)" = sleep ]; do sleep 0.02; done
        fd-open --parent-of pid:pid:${c% }=P -- sh -c '[ $(readlink /proc/self/fd/$OPENFD_P) = $(readlink /proc/self/ns/pid) ] && echo parent'
        kill -9 $c; wait 2>/dev/null"#,
    );
    let expected = "tun type tap\nmulti_queue\ntun type tun\nvnet_hdr on\n0\n1\nparent\n";
    assert_eq!(run.stdout, expected, "{}", run.stderr);
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
fn what_waits_for_a_fifo_has_made_nothing_yet() {
    let run = arena(
        "mkfifo /tmp/f; timeout -s TERM 0.5 fd-open --unix /tmp/s=S --file /tmp/f=F -- true; echo $?; ls /tmp; rm /tmp/f",
    );
    assert_eq!(run.words(), ["124", "f"], "{}", run.stderr);
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
        ("--file /etc/passwd=X,path,create", "has path, which goes with directory and nofollow only"),
        ("--file /etc/passwd=X,path,nonblock", "has path, which goes with directory and nofollow only"),
        ("--file /etc/passwd=X,path,append", "has append or trunc without write or rdwr"),
        ("--file /etc/passwd=X,trunc", "has append or trunc without write or rdwr"),
        ("--file /etc/passwd=X,create,directory", "creates files only"),
        ("--file f=X,root=fd:99", "fd-open: open descriptor fd:99: Bad file descriptor (EBADF)"),
        ("--unix @a=X,mode=0600", "an abstract socket has no file"),
        ("--unix /tmp/a=X,type=raw", "type that is none of stream, dgram, seqpacket"),
        ("--tcp [::1%lo]:80=X", "has a scope, but only link-local and multicast addresses have one"),
        ("--tcp 127.0.0.1:80=X,v6only=maybe", "option --tcp 127.0.0.1:80=X,v6only=maybe: is neither on nor off"),
        ("--tcp 127.0.0.1:80=X,connect,nolisten", "is unknown to type socket"),
        ("--socket inet:raw=X", "does not begin with FAMILY:TYPE:PROTOCOL"),
        ("--socket inet:raw:frob=X", "has a protocol that is neither a name of the family's nor a number"),
        ("--socket inet:stream:0=X,backlog=1", "is unknown to type socket"),
        ("--udp 127.0.0.1:0=X,dev=nope", "set option dev=nope of 127.0.0.1:0=X,dev=nope: No such device (ENODEV)"),
        ("--udp 127.0.0.1:0=X,nodelay", "set option nodelay of 127.0.0.1:0=X,nodelay: "),
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
