//! veth-create and net-setup as a user runs them, in network namespaces of their own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says what failed by panicking")]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use libctr::net::{InterfaceName, Socket};
use libctr::ns::{Kind, Namespace};
use nix::sched::{CloneFlags, setns, unshare};

/// Runs `test` on a thread in a new network namespace, which plays the host, with another one for the container.
fn on_a_host(test: impl FnOnce(&OwnedFd) + Send) {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| match unshare(CloneFlags::CLONE_NEWNET) {
            Ok(()) => test(&new_netns()),
            Err(errno) if std::env::var("CTR_TEST_REQUIRE").is_ok_and(|value| value == "1") => {
                panic!("cannot make a network namespace: {errno}")
            }
            Err(errno) => eprintln!("skipped: cannot make a network namespace: {errno}"),
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

fn new_netns() -> OwnedFd {
    let make = || {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        Namespace::current(Kind::Net).unwrap().into_fd()
    };
    std::thread::spawn(make).join().unwrap()
}

/// Runs a tool in the calling thread's network namespace, with the other one as descriptor 0.
fn tool(tool: &str, netns: &OwnedFd, args: &str) -> Output {
    let stdin = Stdio::from(netns.try_clone().unwrap());
    Command::new(tool).args(args.split_whitespace()).stdin(stdin).output().unwrap()
}

fn veth_create(netns: &OwnedFd, args: &str) -> Output {
    tool(env!("CARGO_BIN_EXE_veth-create"), netns, args)
}

fn net_setup(netns: &OwnedFd, args: &str) -> Output {
    tool(env!("CARGO_BIN_EXE_net-setup"), netns, args)
}

#[track_caller]
fn ok(output: Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.is_empty() && err.is_empty(), "{}: {out}{err}", output.status);
}

/// Checks the exit status and that the message, on its first line, contains `message`.
#[track_caller]
fn fails(output: Output, status: i32, message: &str) {
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{err}");
    assert!(err.lines().next().unwrap_or_default().contains(message), "{err:?} does not contain {message:?}");
    assert!(err.lines().skip(1).all(|line| line.starts_with("hint: ")), "{err}");
}

/// Runs `work` in another network namespace.
fn inside<T: Send>(netns: &OwnedFd, work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let work = || {
            setns(netns, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        };
        scope.spawn(work).join().unwrap()
    })
}

/// The names of all links of the calling thread's network namespace.
fn links() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let mut names: Vec<_> =
        text.lines().skip(2).map(|line| line.split(':').next().unwrap().trim().to_owned()).collect();
    names.retain(|name| name != "lo" && name != "sit0" && name != "ip6tnl0" && name != "tunl0");
    names
}

fn name(text: &str) -> InterfaceName {
    text.parse().unwrap()
}

/// Whether a TCP connection to `ip` in `server` can be made from `client`, and carries bytes both ways.
fn echo(server: &OwnedFd, client: &OwnedFd, ip: &str) {
    let ip: IpAddr = ip.parse().unwrap();
    let listener = inside(server, || TcpListener::bind(SocketAddr::new(ip, 0)).unwrap());
    let address = listener.local_addr().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).unwrap();
            stream.write_all(&bytes).unwrap();
        });
        let mut stream = inside(client, || TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap());
        stream.write_all(b"ping").unwrap();
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"ping");
    });
}

#[test]
fn a_container_talks_to_its_host_in_both_families() {
    on_a_host(|netns| {
        let host = Namespace::current(Kind::Net).unwrap().into_fd();
        ok(veth_create(
            netns,
            "--host vethc1 --peer eth0 --netns 0 --mtu 1400 --queues 2 --host-mac 02:00:00:00:00:01 \
             --peer-mac 02:00:00:00:00:02 --host-addr 10.0.0.1/24 --host-addr 2001:db8::1/64 --route 10.9.0.2 \
             --route 2001:db8:9::2 --forward --up",
        ));
        assert_eq!(links(), ["vethc1"], "the peer was never here");
        ok(net_setup(
            netns,
            "--netns fd:0 --lo --link eth0 --rename lan0 --addr 10.0.0.2/24 --addr 10.9.0.2/32 --addr 2001:db8::2/64 \
             --addr 2001:db8:9::2/128,nodad --route default=10.0.0.1 --route default=2001:db8::1,metric=7 --wait-dad",
        ));
        assert_eq!(inside(netns, links), ["lan0"]);
        ok(net_setup(netns, "--lo --link vethc1 --wait-dad"));
        for (server, client, ip) in [
            (netns, &host, "10.0.0.2"),
            (netns, &host, "2001:db8::2"),
            (netns, &host, "10.9.0.2"),
            (netns, &host, "2001:db8:9::2"),
            (&host, netns, "10.0.0.1"),
            (&host, netns, "2001:db8::1"),
            (netns, netns, "127.0.0.1"),
            (netns, netns, "::1"),
        ] {
            echo(server, client, ip);
        }
        let link = Socket::open().unwrap().link(&name("vethc1")).unwrap();
        assert_eq!((link.mtu(), link.hardware_address()), (1400, &[2, 0, 0, 0, 0, 1][..]));
        for family in ["ipv4", "ipv6"] {
            let file = format!("/proc/sys/net/{family}/conf/vethc1/forwarding");
            assert_eq!(std::fs::read_to_string(file).unwrap().trim(), "1");
        }
    });
}

#[test]
fn bad_input_is_refused_before_anything_exists() {
    on_a_host(|netns| {
        for (args, message) in [
            ("--host sixteen-bytes-xx --peer eth0 --netns 0", "has 16 bytes, the kernel takes at most 15"),
            ("--host a%d --peer eth0 --netns 0", "contains '%'"),
            ("--host v0 --peer all --netns 0", "is reserved"),
            ("--host v0 --peer eth0 --netns 0 --mtu 67", "is no number from 68 to 65535"),
            ("--host v0 --peer eth0 --netns 0 --queues 0", "is no number from 1 to 4096"),
            ("--host v0 --peer eth0 --netns 0 --host-mac 01:00:00:00:00:00", "is a multicast address"),
            ("--host v0 --peer eth0 --netns 0 --host-addr 10.0.0.1", "needs a prefix length"),
            ("--host v0 --peer eth0 --netns 0 --up --route 10.0.0.1/24", "has bits set beyond its length"),
            ("--host v0 --peer eth0 --netns 0 --route 10.0.0.1", "needs --up"),
            ("--host v0 --peer eth0 --netns 0 --proxy", "needs --route"),
            ("--host v0 --peer eth0 --netns 0 --up --proxy --route 10.0.0.0/24", "answers for single addresses"),
            ("--host v0 --peer eth0 --netns 0 --host-addr 10.0.0.1/8,nodad", "nodad is for IPv6"),
            ("--host v0 --peer eth0 --netns blue", "is none of N, fd:N, env:VAR"),
            ("--host v0 --peer v0 --netns /proc/thread-self/ns/net", "is the name of both ends"),
            ("--host v0 --netns 0", "--peer"),
            ("--host v0 --peer eth0 --netns 0 true", "executes no program"),
        ] {
            fails(veth_create(netns, args), 2, message);
        }
        for (args, message) in [
            ("--host v0 --peer eth0 --netns 99", "open namespace fd:99: Bad file descriptor (EBADF)"),
            ("--host v0 --peer eth0 --netns /proc/self/ns/uts", "is uts, expected net"),
            ("--host v0 --peer eth0 --netns /dev/null", "is a character device, not a namespace"),
            ("--host v0 --peer eth0 --netns env:NSFD_NOT_SET", "NSFD_NOT_SET"),
            ("--host v0 --peer eth0 --netns 0 --bridge br0", "find link br0: No such device (ENODEV)"),
            ("--host v0 --peer eth0 --netns 0 --up --proxy --route 10.0.0.1", "no interface has this address"),
        ] {
            fails(veth_create(netns, args), 1, message);
        }
        let file = OwnedFd::from(File::open("/dev/null").unwrap());
        fails(veth_create(&file, "--host v0 --peer eth0 --netns 0"), 1, "is a character device, not a namespace");
        for (args, message) in [
            ("--up", "give it after --link NAME"),
            ("--link v0 --up --down", "exclude each other"),
            ("--link v0 --arp maybe", "is neither on nor off"),
            ("--link v0 --addr 10.0.0.1/8,x", "is none of nodad, scope="),
            ("--link v0 --addr ::5/64,nodad,nodad", "nodad is given twice"),
            ("--link v0 --addr ::5/64,lifetime=5,lifetime=6", "lifetime is given twice"),
            ("--link v0 --addr 10.0.0.1/8,nodad", "nodad is for IPv6"),
            ("--link v0 --addr ::5/64,scope=link", "scope is for IPv4"),
            ("--link v0 --addr ::5/64,broadcast=none", "broadcast is for IPv4"),
            ("--link v0 --master b0 --nomaster", "exclude each other"),
            ("--nomaster", "give it after --link NAME"),
            ("--route 10.0.0.0/8", "needs a gateway (=VIA) or an interface (dev=NAME)"),
            ("--link v0 --add frob", "is none of bridge"),
            ("--sysctl kernel.hostname=x", "is not below net"),
            ("--netns 0 --link v0 --netns 0", "is given twice"),
        ] {
            fails(net_setup(netns, args), 2, message);
        }
        assert_eq!((links(), inside(netns, links)), (vec![], vec![]));
    });
}

#[test]
fn nothing_is_left_after_a_failure() {
    on_a_host(|netns| {
        ok(net_setup(netns, "--link taken --add bridge"));
        ok(net_setup(netns, "--netns 0 --link taken --add bridge"));
        for (args, message) in [
            ("--host taken --peer eth0 --netns 0", "create veth taken with peer eth0: taken exists (EEXIST)"),
            ("--host v0 --peer taken --netns 0", "taken exists in the network namespace of the peer (EEXIST)"),
            (
                "--host v0 --peer eth0 --netns 0 --host-addr 10.0.0.1/8 --host-addr 10.0.0.1/8",
                "add address 10.0.0.1/8 to v0",
            ),
            ("--host v0 --peer eth0 --netns 0 --up --route 10.0.0.1 --route 10.0.0.1", "add route 10.0.0.1/32,dev=v0"),
        ] {
            fails(veth_create(netns, args), 1, message);
            assert_eq!((links(), inside(netns, links)), (vec!["taken".into()], vec!["taken".into()]), "{args}");
        }
        for (args, message) in [
            (
                "--link b0 --add bridge --up --addr 10.0.0.1/8 --route 10.1.0.0/16=192.0.2.1",
                "add route 10.1.0.0/16=192.0.2.1,dev=b0",
            ),
            ("--link b0 --add bridge --rename b1 --link missing --up", "find link missing: No such device (ENODEV)"),
            ("--link b0 --add bridge --link taken --add bridge", "create link taken of kind bridge"),
            ("--link b0 --add bridge --sysctl net.ipv4.nonsense=1", "nonsense"),
            ("--link taken --rename other --mtu 1", "set mtu 1 of other"),
        ] {
            fails(net_setup(netns, args), 1, message);
            assert_eq!(links(), ["taken"], "{args}");
        }
        let link = Socket::open().unwrap().link(&name("taken")).unwrap();
        assert!(!link.is_up());
        fails(
            net_setup(netns, "--sysctl net.ipv4.ip_default_ttl=77 --link taken --up --link missing --mtu 1500"),
            1,
            "find link missing",
        );
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap().trim(), "64");
        assert!(!Socket::open().unwrap().link(&name("taken")).unwrap().is_up());
    });
}

#[test]
fn every_option_of_net_setup_does_what_it_says() {
    on_a_host(|netns| {
        ok(net_setup(netns, "--link br0 --add bridge --mac 02:00:00:00:00:09 --up --addr 192.0.2.1/24"));
        ok(veth_create(
            netns,
            "--host v0 --peer eth0 --netns 0 --bridge br0 --host-netns /proc/thread-self/ns/net --up --route 192.0.2.77 --proxy",
        ));
        ok(net_setup(
            netns,
            "--link v0 --down --mtu 1300 --arp off --rename v1 --link mv0 --add macvlan,parent=br0 --up",
        ));
        let mut socket = Socket::open().unwrap();
        let link = socket.link(&name("v1")).unwrap();
        assert_eq!((link.mtu(), link.is_up()), (1300, false));
        ok(net_setup(netns, "--link v1 --up --master br0 --sysctl net.ipv4.conf.v1.rp_filter=2"));
        assert!(socket.link(&name("mv0")).unwrap().is_up());
        assert_eq!(socket.link(&name("br0")).unwrap().hardware_address(), [2, 0, 0, 0, 0, 9]);
        assert_eq!(std::fs::read_to_string("/proc/sys/net/ipv4/conf/v1/rp_filter").unwrap().trim(), "2");
        // an IPv4 route via an IPv6 gateway, a table and a source address of its own
        ok(net_setup(netns, "--link br0 --addr 2001:db8::1/64,nodad --route 198.51.100.0/24=2001:db8::2,metric=9"));
        ok(net_setup(netns, "--route 203.0.113.0/24=192.0.2.9,dev=br0,onlink,src=192.0.2.1,table=1000"));
        let routes = std::fs::read_to_string("/proc/thread-self/net/route").unwrap();
        assert!(routes.lines().any(|line| line.starts_with("br0\t006433C6")), "{routes}");
        fails(net_setup(netns, "--route 203.0.113.0/24=192.0.2.9,dev=br0,table=1000"), 1, "File exists");
    });
}

#[test]
fn the_host_answers_for_a_container_with_an_address_of_the_lan() {
    on_a_host(|netns| {
        let lan = new_netns();
        ok(net_setup(netns, "--link br0 --add bridge --up --addr 192.0.2.1/24 --addr 2001:db8::1/64,nodad"));
        ok(veth_create(&lan, "--host l0 --peer eth0 --netns 0 --bridge br0 --up"));
        ok(net_setup(&lan, "--netns 0 --link eth0 --addr 192.0.2.50/24 --addr 2001:db8::50/64,nodad"));
        ok(veth_create(
            netns,
            "--host v0 --peer eth0 --netns 0 --route 192.0.2.77 --route 2001:db8::77 --proxy --forward --up",
        ));
        let failing = "--host v2 --peer eth2 --netns 0 --host-addr 10.9.0.1/24 --route 192.0.2.78 --route 192.0.2.77 --proxy --up";
        fails(veth_create(netns, &format!("{failing} --route 192.0.2.78")), 1, "add route 192.0.2.77/32");
        let proc = |path: &str| std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{path}")).unwrap();
        assert_eq!(proc("br0/proxy_ndp").trim(), "1");
        ok(net_setup(
            netns,
            "--netns 0 --link eth0 --addr 192.0.2.77/32 --addr 2001:db8::77/128,nodad \
             --route default=192.0.2.1,onlink --route default=fe80::1 --route 2001:db8::1",
        ));
        // the router's link-local address is what the host end has; give it one that is known
        ok(net_setup(netns, "--link v0 --addr fe80::1/64,nodad"));
        echo(netns, &lan, "192.0.2.77");
        echo(netns, &lan, "2001:db8::77");
    });
}

#[test]
fn wait_dad_ends_and_says_why() {
    on_a_host(|netns| {
        ok(veth_create(netns, "--host v0 --peer eth0 --netns 0 --up"));
        ok(net_setup(netns, "--link v0 --addr 2001:db8::1/64 --wait-dad"));
        let args = "--netns 0 --link eth0 --addr 2001:db8::1/64 --wait-dad";
        fails(net_setup(netns, args), 1, "another machine has this address (EADDRINUSE)");
        let left = inside(netns, || Socket::open().unwrap().addresses().unwrap());
        assert!(left.iter().all(|left| left.address.ip() != "2001:db8::1".parse::<IpAddr>().unwrap()), "{left:?}");
        // the kernel deletes a duplicate that is not permanent
        let args = "--netns 0 --link eth0 --addr 2001:db8::1/64,lifetime=3600 --wait-dad";
        fails(net_setup(netns, args), 1, "the kernel has taken it away (EADDRNOTAVAIL)");
        // and every address of a link that goes down
        let here = Namespace::current(Kind::Net).unwrap().into_fd();
        std::thread::scope(|scope| {
            let down = || {
                std::thread::sleep(Duration::from_millis(300));
                ok(inside(&here, || net_setup(netns, "--link v0 --down")));
            };
            scope.spawn(down);
            let output = net_setup(netns, "--link v0 --addr 2001:db8::6/64 --wait-dad");
            fails(output, 1, "wait for duplicate address detection of 2001:db8::6: the kernel has taken it away");
        });
        // before the first carrier it does not begin
        ok(veth_create(netns, "--host v2 --peer eth2 --netns 0"));
        let output = net_setup(netns, "--link v2 --up --addr 2001:db8:9::7/64 --wait-dad");
        fails(output, 1, "2001:db8:9::7/64: Connection timed out (ETIMEDOUT)");
        // what is born elsewhere has no address here, and for v2 there would be no end
        ok(net_setup(netns, "--link br1 --add bridge --into fd:0 --wait-dad"));
        ok(net_setup(
            netns,
            "--link br0 --add bridge --up --addr 2001:db8:2::1/64,nodad --link mv0 --add macvlan,parent=br0 --into fd:0 --wait-dad",
        ));
    });
}

#[test]
fn a_refusal_says_which_side_lacks_the_right() {
    on_a_host(|netns| {
        let in_user_namespace = |kinds: &str| {
            let veth = format!("{} --host v0 --peer eth0 --netns 0", env!("CARGO_BIN_EXE_veth-create"));
            tool("unshare", netns, &format!("{kinds} {veth}"))
        };
        for (kinds, hint) in [
            ("-Urn", "not in the user namespace that owns the other one"),
            ("-Ur", "in the user namespace that owns this network namespace"),
        ] {
            let output = in_user_namespace(kinds);
            let err = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(err.trim_end().ends_with(hint), "{err}");
            fails(output, 1, "create veth v0 with peer eth0: Operation not permitted (EPERM)");
        }
        assert_eq!((links(), inside(netns, links)), (vec![], vec![]));
    });
}

#[test]
fn help_shows_an_example() {
    on_a_host(|netns| {
        for output in [veth_create(netns, "--help"), net_setup(netns, "--help")] {
            assert!(output.status.success());
            assert!(String::from_utf8_lossy(&output.stdout).contains("Examples"));
        }
    });
}
