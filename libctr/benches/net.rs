//! A veth pair with addresses and routes of both families at both ends, made by libctr, by hand-packed netlink messages, and by
//! ip(8), in turns, in one run; then the same with a thousand containers there: `cargo bench -p libctr --bench net`, as root.
//!
//! libctr and the raw messages use two sockets, one in each namespace; their time begins when both are open, and that of ip(8) with its
//! first call. All end with both ends up. Prints medians and ratios, and what it costs to open the sockets.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench reports, and has failed where it cannot go on")]

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use libctr::net::{Address, Change, InterfaceName, Route, Socket, Veth};
use libctr::ns::{Create, Kind, Namespace};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

const ROUNDS: usize = 101;
const CONTAINERS: usize = 1000;

/// Networks of its own for each container, since a network namespace ends a few milliseconds late.
struct Plan {
    name: String,
    outside: [String; 2],
    inside: [String; 2],
    routed: [String; 2],
    default: [String; 2],
}

impl Plan {
    fn new(number: usize) -> Plan {
        let (a, b) = (number / 256, number % 256);
        Plan {
            name: format!("ve{number}"),
            outside: [format!("10.{a}.{b}.1/24"), format!("fd00:{number:x}::1/64")],
            inside: [format!("10.{a}.{b}.2/24"), format!("fd00:{number:x}::2/64")],
            routed: [format!("11.{a}.{b}.0/29"), format!("fd01:{number:x}::/64")],
            default: [format!("default=10.{a}.{b}.1"), format!("default=fd00:{number:x}::1")],
        }
    }
}

fn main() {
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let mut number = 0..;
    let mut next = || Plan::new(number.next().unwrap());
    let mut turns = || [by_libctr(&next()).0, by_hand(&next()).0, by_ip(&next()).0];
    (0..3).for_each(|_| _ = turns());
    let times: Vec<_> = (0..ROUNDS).map(|_| turns()).collect();
    let [libctr, hand, ip] = [0, 1, 2].map(|which| median(times.iter().map(|round| round[which])));
    println!("by libctr             {:8.1} us", micros(libctr));
    println!("by hand               {:8.1} us   libctr / hand {:6.2}    (bar 1.15)", micros(hand), ratio(libctr, hand));
    println!("by ip(8)              {:8.1} us   ip / libctr   {:6.2}    (bar 20)", micros(ip), ratio(ip, libctr));

    let netns = container();
    let opening = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        let _sockets = (Socket::open().unwrap(), Socket::open_in(&netns).unwrap());
        start.elapsed()
    });
    println!("two sockets opened    {:8.1} us", micros(median(opening)));

    // the namespaces stay, held by descriptor; at this point, the one and the other in turns, each taken back before the next
    unshare(CloneFlags::CLONE_NEWNET).unwrap();
    let held: Vec<_> = (1..CONTAINERS).map(|number| by_libctr(&Plan::new(number))).collect();
    let mut last = [Vec::new(), Vec::new()];
    for round in 0..2 * ROUNDS {
        let plan = Plan::new(CONTAINERS + round);
        let by = if round % 2 == 0 { by_libctr } else { by_hand };
        last[round % 2].push(by(&plan).0);
        let mut socket = Socket::open().unwrap();
        let link = socket.link(&plan.name.parse().unwrap()).unwrap();
        socket.run(&[link.delete()]).unwrap();
    }
    let [last, hand] = last.map(|times| median(times.into_iter()));
    println!("the first twenty      {:8.1} us", micros(median(held.iter().take(20).map(|(time, _)| *time))));
    println!("the thousandth        {:8.1} us   libctr / hand {:6.2}    (bar 1.2)", micros(last), ratio(last, hand));
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort_unstable();
    times[times.len() / 2]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn ratio(a: Duration, b: Duration) -> f64 {
    a.as_secs_f64() / b.as_secs_f64()
}

fn container() -> Namespace {
    Create::new(&[Kind::Net]).create().unwrap().pop().unwrap()
}

fn by_libctr(plan: &Plan) -> (Duration, Namespace) {
    let netns = container();
    let (name, peer): (InterfaceName, InterfaceName) = (plan.name.parse().unwrap(), "eth0".parse().unwrap());
    let (mut host, mut inside) = (Socket::open().unwrap(), Socket::open_in(&netns).unwrap());
    let start = Instant::now();
    let mut transaction = host.begin();
    Veth::new(name.clone(), peer.clone()).create(&mut transaction, &netns).unwrap();
    let link = transaction.link(&name).unwrap();
    let mut requests = plan.outside.each_ref().map(|text| text.parse::<Address>().unwrap().add(&link, true)).to_vec();
    requests.push(link.change(Change::Up));
    requests.extend(
        plan.routed.each_ref().map(|text| Route::through(text.parse().unwrap(), name.clone()).add_through(&link)),
    );
    transaction.run(&requests).unwrap();
    let mut within = inside.begin();
    let link = within.link(&peer).unwrap();
    within.own(&link);
    let mut requests = plan.inside.each_ref().map(|text| text.parse::<Address>().unwrap().add(&link, true)).to_vec();
    requests.push(link.change(Change::Up));
    requests
        .extend(plan.default.each_ref().map(|text| Route::parse_for(text, Some(&peer)).unwrap().add_through(&link)));
    within.run(&requests).unwrap();
    within.commit();
    transaction.commit();
    (start.elapsed(), netns)
}

/// The same messages, as bytes.
fn by_hand(plan: &Plan) -> (Duration, Namespace) {
    let netns = container();
    let here = Namespace::current(Kind::Net).unwrap();
    let host = raw();
    setns(&netns, CloneFlags::CLONE_NEWNET).unwrap();
    let inside = raw();
    setns(&here, CloneFlags::CLONE_NEWNET).unwrap();
    let start = Instant::now();
    let peer = [link(0, 0), attribute(libc::IFLA_IFNAME, b"eth0\0"), netns_fd(&netns)].concat();
    let data = attribute(1, &peer);
    let info = [attribute(libc::IFLA_INFO_KIND, b"veth\0"), attribute(libc::IFLA_INFO_DATA, &data)].concat();
    let named = attribute(libc::IFLA_IFNAME, format!("{}\0", plan.name).as_bytes());
    let veth = [link(0, 0), named.clone(), attribute(libc::IFLA_LINKINFO, &info)].concat();
    exchange(&host, &[(libc::RTM_NEWLINK, CREATE, veth)]);
    let requests = |socket: &OwnedFd, named: Vec<u8>, addresses: &[String; 2], routes: &[String; 2]| {
        let index = exchange(socket, &[(libc::RTM_GETLINK, 0, [link(0, 0), named].concat())]);
        let mut messages = addresses.each_ref().map(|text| (libc::RTM_NEWADDR, CREATE, address(text, index))).to_vec();
        messages.push((libc::RTM_NEWLINK, 0, link(index, libc::IFF_UP as u32)));
        messages.extend(routes.each_ref().map(|text| (libc::RTM_NEWROUTE, CREATE, route(text, index))));
        exchange(socket, &messages);
    };
    requests(&host, named, &plan.outside, &plan.routed);
    requests(&inside, attribute(libc::IFLA_IFNAME, b"eth0\0"), &plan.inside, &plan.default);
    (start.elapsed(), netns)
}

/// As a script does it.
fn by_ip(plan: &Plan) -> (Duration, Namespace) {
    let netns = container();
    let fd = netns.as_fd().as_raw_fd();
    let ip = |line: String| assert!(Command::new("ip").args(line.split(' ')).status().unwrap().success(), "{line}");
    let file = format!("/proc/{}/fd/{fd}", std::process::id());
    let inside = |line: String| {
        let status = Command::new("nsenter").arg(format!("--net={file}")).arg("ip").args(line.split(' ')).status();
        assert!(status.unwrap().success(), "{line}");
    };
    let (name, start) = (&plan.name, Instant::now());
    ip(format!("link add {name} type veth peer name eth0 netns {file}"));
    plan.outside.iter().for_each(|address| ip(format!("addr add {address} dev {name}")));
    ip(format!("link set {name} up"));
    plan.routed.iter().for_each(|route| ip(format!("route add {route} dev {name}")));
    plan.inside.iter().for_each(|address| inside(format!("addr add {address} dev eth0")));
    inside("link set eth0 up".into());
    plan.default.iter().for_each(|route| inside(format!("route add {}", route.replace('=', " via "))));
    (start.elapsed(), netns)
}

const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;

fn raw() -> OwnedFd {
    socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute).unwrap()
}

/// Sends these in one datagram and reads an acknowledgement for each; the number in the last answer that is about a link.
fn exchange(socket: &OwnedFd, messages: &[(u16, u16, Vec<u8>)]) -> u32 {
    let mut datagram = Vec::new();
    for (kind, flags, body) in messages {
        let flags = flags | (libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        datagram.extend((16 + body.len() as u32).to_ne_bytes());
        datagram.extend(kind.to_ne_bytes());
        datagram.extend(flags.to_ne_bytes());
        datagram.extend([0; 8]);
        datagram.extend(body);
    }
    send(socket.as_raw_fd(), &datagram, MsgFlags::empty()).unwrap();
    let (mut index, mut acknowledged, mut buffer) = (0, 0, [0; 16384]);
    while acknowledged < messages.len() {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).unwrap();
        let mut rest = &buffer[..length];
        while !rest.is_empty() {
            let word = |at: usize| u32::from_ne_bytes(*rest[at..].first_chunk().unwrap());
            let kind = u16::from_ne_bytes(*rest[4..].first_chunk().unwrap());
            if kind == libc::NLMSG_ERROR as u16 {
                assert_eq!(word(16) as i32, 0);
                acknowledged += 1;
            } else {
                index = word(20);
            }
            rest = &rest[(word(0) as usize).next_multiple_of(4).min(rest.len())..];
        }
    }
    index
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = ((value.len() + 4) as u16).to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn netns_fd(netns: &Namespace) -> Vec<u8> {
    attribute(libc::IFLA_NET_NS_FD, &netns.as_fd().as_raw_fd().to_ne_bytes())
}

fn link(index: u32, flags: u32) -> Vec<u8> {
    [0, index, flags, flags].map(u32::to_ne_bytes).concat()
}

fn octets(text: &str) -> Vec<u8> {
    match text.parse().unwrap() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn family(octets: &[u8]) -> u8 {
    if octets.len() == 4 { libc::AF_INET as u8 } else { libc::AF_INET6 as u8 }
}

fn address(text: &str, index: u32) -> Vec<u8> {
    let (ip, length) = text.split_once('/').unwrap();
    let ip = octets(ip);
    let mut bytes = vec![family(&ip), length.parse().unwrap(), libc::IFA_F_NODAD as u8, 0];
    bytes.extend(index.to_ne_bytes());
    bytes.extend(attribute(libc::IFA_LOCAL, &ip));
    bytes.extend(attribute(libc::IFA_ADDRESS, &ip));
    if let [a, b, c, _] = ip[..] {
        bytes.extend(attribute(libc::IFA_BROADCAST, &[a, b, c, 255]));
    }
    bytes
}

fn route(text: &str, index: u32) -> Vec<u8> {
    let (via, network) = match text.split_once('=') {
        Some((_, via)) => (Some(octets(via)), None),
        None => (None, text.split_once('/').map(|(ip, length)| (octets(ip), length.parse().unwrap()))),
    };
    let family = family(via.as_ref().or(network.as_ref().map(|(ip, _)| ip)).unwrap());
    let scope =
        if via.is_none() && family == libc::AF_INET as u8 { libc::RT_SCOPE_LINK } else { libc::RT_SCOPE_UNIVERSE };
    let length = network.as_ref().map_or(0, |(_, length)| *length);
    let mut bytes =
        vec![family, length, 0, 0, libc::RT_TABLE_MAIN, libc::RTPROT_BOOT, scope, libc::RTN_UNICAST, 0, 0, 0, 0];
    bytes.extend(attribute(libc::RTA_TABLE, &u32::from(libc::RT_TABLE_MAIN).to_ne_bytes()));
    network.iter().for_each(|(ip, _)| bytes.extend(attribute(libc::RTA_DST, ip)));
    bytes.extend(attribute(libc::RTA_OIF, &index.to_ne_bytes()));
    via.iter().for_each(|via| bytes.extend(attribute(libc::RTA_GATEWAY, via)));
    bytes
}
