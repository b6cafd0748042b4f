//! The seven steps in one process: `seven_steps PROGRAM [ARG…]`, as root.

use libctr::fd::close_except;
use libctr::idmap::IdMap;
use libctr::mount::{Plan, Root};
use libctr::net::{Address, Change, InterfaceName, Route, Socket, Veth};
use libctr::ns::{self, Create, Kind, Namespace, Propagation};
use libctr::pivot::NewRoot;
use libctr::process::{Exec, Lifeline, forward_and_wait, spawn};
use libctr::{Context, Fault, Object};
use nix::sched::CloneFlags;
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid, setsid};

fn main() -> libctr::Result<()> {
    let program = Exec::new(std::env::args_os().skip(1).collect())?;

    // 1. user and network namespaces, mapped, held by descriptor
    let map: IdMap = "0:100000:65536".parse()?;
    let mut create = Create::new(&[Kind::User, Kind::Net]);
    create.uid_map(map.clone()).gid_map(map);
    let namespaces = create.create()?;
    let netns = namespaces.iter().find(|ns| ns.kind() == Kind::Net);

    // 2. a veth pair, its peer born inside
    let (host, peer): (InterfaceName, InterfaceName) = ("ve-seven".parse()?, "eth0".parse()?);
    if let Some(netns) = netns {
        let (here, there): (Address, Address) = ("10.174.0.1/24".parse()?, "10.174.0.2/24".parse()?);
        let (mut socket, mut inside) = (Socket::open()?, Socket::open_in(netns)?);
        let mut transaction = socket.begin(); // an error from here on deletes the pair
        Veth::new(host.clone(), peer.clone()).create(&mut transaction, netns)?;
        let link = transaction.link(&host)?;
        transaction.run(&[here.add(&link, false), link.change(Change::Up)])?;
        // 6., the network's half, while the socket into the namespace is open
        let link = inside.link(&peer)?;
        inside.run(&[there.add(&link, false), link.change(Change::Up)])?;
        let route = Route::parse_for("default=10.174.0.1", Some(&peer))?.add(&mut inside)?;
        inside.run(&[route])?;
        transaction.commit();
    }

    // 3. enter both, and become their root
    setgroups(&[]).context("drop groups", "")?;
    namespaces.iter().try_for_each(Namespace::enter)?;
    setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0)).context("become group", 0)?;
    setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).context("become user", 0)?;

    // 4. no descriptor of the caller's goes further; 5. the other namespaces
    drop(namespaces);
    close_except(&[0, 1, 2])?;
    ns::make(&[Kind::Ipc, Kind::Cgroup, Kind::Mnt, Kind::Uts], Propagation::Slave)?;

    // 6. the mounts
    Plan::parse("seven_steps", b"none / rootfs usr=bind,etc=minimal\n")?.apply(&mut Root::open("/mnt".as_ref())?)?;

    // 7. the new root, a pid namespace, the program as process 1
    let root = NewRoot::open("/mnt".as_ref())?;
    let image = program.image()?;
    let lifeline = Lifeline::new()?;
    let ended = forward_and_wait(None, || {
        spawn(CloneFlags::CLONE_NEWPID, || {
            setsid().map_err(|errno| Fault::new("make session", Object::None, errno))?;
            root.mount_proc()?;
            root.pivot()?;
            lifeline.tie()?;
            Err(Fault::new("execute", Object::None, image.exec()))
        })
    })?;
    ended.mirror()
}
