//! Connects a new network namespace to the caller's by a veth pair: `veth HOST-NAME ADDRESS/LEN PEER-ADDRESS/LEN`.
//!
//! The namespace is held by descriptor alone, so it ends with this program, and the pair with it. Needs CAP_NET_ADMIN and
//! CAP_SYS_ADMIN: try it in a network namespace, `unshare -n`.

use libctr::net::{Address, Change, InterfaceName, Socket, Veth};
use libctr::ns::{Kind, Namespace};
use nix::sched::{CloneFlags, unshare};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [host, here, there] = args.as_slice() else {
        return Err("usage: veth HOST-NAME ADDRESS/LEN PEER-ADDRESS/LEN".into());
    };
    let (host, peer): (InterfaceName, InterfaceName) = (host.parse()?, "eth0".parse()?);
    let (here, there): (Address, Address) = (here.parse()?, there.parse()?);

    // a thread makes the namespace; when it has ended, the descriptor is all that keeps it
    let thread = std::thread::spawn(|| -> libctr::Result<Namespace> {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| libctr::Error::new("make", "network namespace", errno))?;
        Namespace::current(Kind::Net)
    });
    let netns = thread.join().map_err(|_| "the thread panicked")??;

    let (mut socket, mut inside) = (Socket::open()?, Socket::open_in(&netns)?);
    let mut transaction = socket.begin(); // an error from here on deletes the pair
    Veth::new(host.clone(), peer.clone()).create(&mut transaction, &netns)?;
    let link = transaction.link(&host)?;
    transaction.run(&[here.add(&link, false), link.change(Change::Up)])?;
    let link = inside.link(&peer)?;
    inside.run(&[there.add(&link, false), link.change(Change::Up)])?;
    transaction.commit();

    std::io::Write::write_all(&mut std::io::stdout(), b"connected; end of input ends it\n")?;
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(())
}
