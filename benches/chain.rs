//! What a chain of programs costs: the template's seven steps as seven tools, and the same steps in one process with raw
//! system calls, in turns, in one run. Prints the medians and their ratio; `cargo bench -p tools --bench chain`, as root.
//!
//! Both make the same container: a 65,536-id map, a veth with two addresses a side and two default routes, own ipc, cgroup,
//! mount, uts and pid namespaces, the same root filesystem, and execute the same static program. The one process uses no
//! more of libctr than its thin wrappers of system calls, its netlink messages, and the plan.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench reports, and has failed where it cannot go on")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use libctr::idmap::IdMap;
use libctr::mount::{Plan, Root};
use libctr::net::{Address, Change, InterfaceName, Request, Route, Socket, Veth};
use libctr::ns::{self, Create, Kind, Namespace, Propagation};
use libctr::pivot::NewRoot;
use libctr::process::{Exec, Lifeline, forward_and_wait, spawn};
use libctr::{Fault, Object};
use nix::sched::CloneFlags;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid};

const PLAN: &str = "none / rootfs usr=bind,etc=minimal\n";
const HOST: [&str; 2] = ["10.175.0.1/24", "fd17:5::1/64"];
const OWN: [&str; 2] = ["10.175.0.2/24", "fd17:5::2/64"];
const VIA: [&str; 2] = ["default=10.175.0.1", "default=fd17:5::1"];
const MAP: &str = "0:100000:65536";

fn main() {
    if std::env::args().any(|arg| arg == "--one-process") {
        one_process();
    }
    let tools = Path::new(env!("CARGO_BIN_EXE_ctrtool")).parent().unwrap().to_owned();
    // in a network and a mount namespace that play the host's
    if std::env::var_os("CHAIN_INSIDE").is_none() {
        let status = Command::new("unshare")
            .args(["-m", "-n", "--propagation", "private"])
            .arg(std::env::current_exe().unwrap())
            .args(std::env::args_os().skip(1))
            .env("CHAIN_INSIDE", "1")
            .status()
            .unwrap();
        std::process::exit(status.code().unwrap_or(1));
    }
    let rounds = 60;
    let (mut chain, mut single) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let (a, b) = (time(as_chain(&tools, round)), time(as_one_process(round)));
        // the first rounds fill the caches
        if round >= 10 {
            chain.push(a);
            single.push(b);
        }
    }
    let (chain, single) = (median(&mut chain), median(&mut single));
    println!("chain of tools   {:8.2} ms", chain.as_secs_f64() * 1e3);
    println!("one process      {:8.2} ms", single.as_secs_f64() * 1e3);
    println!("ratio            {:8.2}    (bar 2.5)", chain.as_secs_f64() / single.as_secs_f64());
}

/// The program in the container: the smallest that there is in /usr of every machine.
const PROGRAM: &str = "/bin/true";

fn link(round: u32, kind: char) -> String {
    // a network namespace ends late: every round has a name of its own
    format!("ve-{kind}{round}")
}

fn as_chain(tools: &Path, round: u32) -> Command {
    let link = link(round, 'c');
    let script = format!(
        "veth-create --host {link} --peer eth0 --netns env:NSFD_NET --up --host-addr {} --host-addr {} && \
         exec ns-enter --ns user,net -- close-fds -- ns-enter --new ipc,cgroup,mnt,uts -- sh -c \
         'net-setup --lo --link eth0 --up --addr {} --addr {},nodad --route {} --route {} && \
         mount-setup --root /mnt -e \"{}\" && exec pivot-init --root /mnt -- {PROGRAM}'",
        HOST[0],
        HOST[1],
        OWN[0],
        OWN[1],
        VIA[0],
        VIA[1],
        PLAN.trim()
    );
    let mut command = Command::new(tools.join("nsfd-create"));
    command.args(["-Un", "--uid-map", MAP, "--gid-map", MAP, "--", "sh", "-c", &script]);
    command.env("PATH", format!("{}:/usr/bin:/bin", tools.display()));
    command
}

fn as_one_process(round: u32) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("--one-process").arg(link(round, 'p'));
    command
}

fn time(mut command: Command) -> Duration {
    let start = Instant::now();
    let status = command.stdin(Stdio::null()).status().unwrap();
    let took = start.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    took
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// The seven steps in this process.
fn one_process() -> ! {
    let link: InterfaceName = std::env::args().nth(2).unwrap().parse().unwrap();
    let peer: InterfaceName = "eth0".parse().unwrap();
    let map: IdMap = MAP.parse().unwrap();
    let mut create = Create::new(&[Kind::User, Kind::Net]);
    let namespaces = create.uid_map(map.clone()).gid_map(map).create().unwrap();
    let netns = &namespaces[1];
    let (mut host, mut inside) = (Socket::open().unwrap(), Socket::open_in(netns).unwrap());
    let mut transaction = host.begin();
    Veth::new(link.clone(), peer.clone()).create(&mut transaction, netns).unwrap();
    let here = transaction.link(&link).unwrap();
    let add = |text: &str, link, nodad| text.parse::<Address>().unwrap().add(link, nodad);
    let requests: Vec<Request> =
        HOST.iter().map(|text| add(text, &here, false)).chain([here.change(Change::Up)]).collect();
    transaction.run(&requests).unwrap();
    transaction.commit();
    setgroups(&[]).unwrap();
    namespaces.iter().try_for_each(Namespace::enter).unwrap();
    setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0)).unwrap();
    setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).unwrap();
    let there = inside.link(&peer).unwrap();
    let lo = inside.link(&"lo".parse().unwrap()).unwrap();
    let own = [lo.change(Change::Up), add(OWN[0], &there, false), add(OWN[1], &there, true), there.change(Change::Up)];
    inside.run(&own).unwrap();
    let routes: Vec<Request> =
        VIA.iter().map(|via| Route::parse_for(via, Some(&peer)).unwrap().add(&mut inside).unwrap()).collect();
    inside.run(&routes).unwrap();
    drop((host, inside, namespaces));
    libctr::fd::close_except(&[0, 1, 2]).unwrap();
    ns::make(&[Kind::Ipc, Kind::Cgroup, Kind::Mnt, Kind::Uts], Propagation::Slave).unwrap();
    Plan::parse("bench", PLAN.as_bytes()).unwrap().apply(&mut Root::open(&PathBuf::from("/mnt")).unwrap()).unwrap();
    let root = NewRoot::open(Path::new("/mnt")).unwrap();
    let image = Exec::new(vec![PROGRAM.into()]).unwrap().image().unwrap();
    let lifeline = Lifeline::new().unwrap();
    let ended = forward_and_wait(None, || {
        spawn(CloneFlags::CLONE_NEWPID, || {
            setsid().map_err(|errno| Fault::new("make session", Object::None, errno))?;
            root.mount_proc()?;
            root.pivot()?;
            lifeline.tie()?;
            Err(Fault::new("execute", Object::None, image.exec()))
        })
    });
    ended.unwrap().mirror()
}
