//! [`Veth`]: pairs of links, the one here, the other born in another network namespace.

use std::os::fd::{AsFd, AsRawFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::InterfaceName;
use super::link::{ENDED, Mac, create, named};
use super::message::nested;
use super::netlink::Socket;
use super::transaction::Transaction;
use crate::error::{Errno, Result};

/// A pair of virtual Ethernet interfaces, each of which receives what the other sends, see veth(4).
#[derive(Clone, Debug)]
#[must_use]
pub struct Veth {
    host: InterfaceName,
    peer: InterfaceName,
    mtu: Option<u32>,
    host_mac: Option<Mac>,
    peer_mac: Option<Mac>,
    queues: Option<u32>,
}

impl Veth {
    /// A pair with these names, and all else as the kernel chooses.
    pub fn new(host: InterfaceName, peer: InterfaceName) -> Self {
        Veth { host, peer, mtu: None, host_mac: None, peer_mac: None, queues: None }
    }

    /// The largest packet of both ends, in bytes: 68 to 65535.
    pub fn mtu(self, bytes: u32) -> Self {
        Veth { mtu: Some(bytes), ..self }
    }

    /// The hardware address of the host end.
    pub fn host_mac(self, mac: Mac) -> Self {
        Veth { host_mac: Some(mac), ..self }
    }

    /// The hardware address of the peer.
    pub fn peer_mac(self, mac: Mac) -> Self {
        Veth { peer_mac: Some(mac), ..self }
    }

    /// The number of receive and of transmit queues of both ends: 1 to 4096. What one CPU sends then need not wait for
    /// another.
    pub fn queues(self, count: u32) -> Self {
        Veth { queues: Some(count), ..self }
    }

    /// Makes the pair: the host end in the transaction's network namespace, the peer born in `netns`, where it never had
    /// another name or was seen elsewhere. Both ends are down. A veth of the host end's name whose peer's network namespace has
    /// ended, or does so within 200 ms, and which the kernel has not deleted yet, is deleted first, if this is the first step of
    /// the transaction.
    ///
    /// # Errors
    /// EEXIST: one of the names is taken; the message says which. EPERM: CAP_NET_ADMIN is missing over one of the network
    /// namespaces; the hint says which. EOPNOTSUPP: the kernel has no veth. ERANGE, EINVAL: the MTU or the number of queues is
    /// out of range.
    pub fn create(&self, transaction: &mut Transaction<'_>, netns: impl AsFd) -> Result<()> {
        let netns = netns.as_fd();
        let end = |name: &InterfaceName, mac: Option<Mac>| {
            let message = named(libc::RTM_NEWLINK, name)
                .with_some_u32(libc::IFLA_MTU, self.mtu)
                .with_some_u32(libc::IFLA_NUM_TX_QUEUES, self.queues)
                .with_some_u32(libc::IFLA_NUM_RX_QUEUES, self.queues);
            match mac {
                Some(mac) => message.with(libc::IFLA_ADDRESS, &mac.0),
                None => message,
            }
        };
        /// `VETH_INFO_PEER` of linux/veth.h: a whole message about the other end.
        const PEER: u16 = 1;
        let peer = end(&self.peer, self.peer_mac).with_u32(libc::IFLA_NET_NS_FD, netns.as_raw_fd() as u32);
        let object = format!("{} with peer {}", self.host, self.peer);
        let data = nested().with(PEER, &peer.bytes);
        let request = create("create veth", object, &self.host, end(&self.host, self.host_mac), "veth", Some(data));
        let was_empty = transaction.is_empty();
        let mut result = transaction.run(std::slice::from_ref(&request));
        if result.as_ref().is_err_and(|error| error.errno() == Errno::EEXIST)
            // else that is undone by now
            && was_empty
            && await_end(transaction.socket(), &self.host)
        {
            result = transaction.run(&[request]);
        }
        result.map_err(|error| match error.errno() {
            Errno::EEXIST if transaction.link(&self.host).is_ok() => {
                error.with_reason(format!("{} exists", self.host)).with_hint(
                    "that of a container goes with its network namespace, when its last process and descriptor have",
                )
            }
            Errno::EEXIST => error.with_reason(format!("{} exists in the network namespace of the peer", self.peer)),
            _ => error,
        })
    }
}

/// Whether the veth `name`, whose other end is in a network namespace that has ended, is gone or deleted now. What was there last
/// keeps a namespace a little longer: the kernel lets go of a netlink socket when no CPU can be using it any more (RCU).
fn await_end(socket: &mut Socket, name: &InterfaceName) -> bool {
    const PATIENCE: Duration = Duration::from_millis(200);
    let begin = Instant::now();
    loop {
        match socket.link(name) {
            Err(error) => return error.errno() == Errno::ENODEV,
            // where it has gone meanwhile that is as good
            Ok(link) if link.peer_netns == Some(ENDED) => {
                return socket.run(&[link.delete()]).is_ok() || socket.link(name).is_err();
            }
            Ok(link) if link.peer_netns.is_none() || begin.elapsed() > PATIENCE => return false,
            Ok(_) => sleep(Duration::from_millis(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tests::{in_new_netns, name, new_netns};
    use crate::net::{Change, LinkKind};

    #[test]
    fn the_peer_is_born_where_it_belongs() {
        in_new_netns(|| {
            let netns = new_netns();
            let (mut here, mut there) = (Socket::open().unwrap(), Socket::open_in(&netns).unwrap());
            let mut transaction = here.begin();
            Veth::new(name("v0"), name("eth0"))
                .mtu(1400)
                .queues(2)
                .host_mac("02:00:00:00:00:01".parse().unwrap())
                .peer_mac("02:00:00:00:00:02".parse().unwrap())
                .create(&mut transaction, &netns)
                .unwrap();
            transaction.commit();
            let (host, peer) = (here.link(&name("v0")).unwrap(), there.link(&name("eth0")).unwrap());
            assert_eq!((host.mtu(), peer.mtu()), (1400, 1400));
            assert_eq!(host.hardware_address(), [2, 0, 0, 0, 0, 1]);
            assert_eq!(peer.hardware_address(), [2, 0, 0, 0, 0, 2]);
            assert_eq!(here.link(&name("eth0")).unwrap_err().errno(), Errno::ENODEV);
            here.run(&[host.change(Change::Up)]).unwrap();
            there.run(&[peer.change(Change::Up)]).unwrap();
            assert!(here.link(&name("v0")).unwrap().has_carrier());
            here.run(&[host.delete()]).unwrap();
            assert_eq!(there.link(&name("eth0")).unwrap_err().errno(), Errno::ENODEV);
        });
    }

    #[test]
    fn a_taken_name_is_named_and_nothing_is_left() {
        in_new_netns(|| {
            let netns = new_netns();
            let (mut here, mut there) = (Socket::open().unwrap(), Socket::open_in(&netns).unwrap());
            for socket in [&mut here, &mut there] {
                let mut transaction = socket.begin();
                LinkKind::Bridge.create(&mut transaction, &name("taken")).unwrap();
                transaction.commit();
            }
            let mut transaction = here.begin();
            let error = Veth::new(name("taken"), name("eth0")).create(&mut transaction, &netns).unwrap_err();
            assert_eq!(error.to_string(), "create veth taken with peer eth0: taken exists (EEXIST)");
            let error = Veth::new(name("v0"), name("taken")).create(&mut transaction, &netns).unwrap_err();
            assert_eq!(
                error.to_string(),
                "create veth v0 with peer taken: taken exists in the network namespace of the peer (EEXIST)"
            );
            drop(transaction);
            assert!(here.link(&name("v0")).is_err());
            assert!(there.link(&name("eth0")).is_err());
        });
    }
}
