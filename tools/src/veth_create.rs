//! `veth-create`: a pair of interfaces, one end in another network namespace.

use argh::{ArgsInfo, FromArgs};
use libctr::net::link::Link;
use libctr::net::neighbour;
use libctr::net::{Assignment, Change, InterfaceName, Mac, Prefix, Request, Route, Socket, Sysctl, Transaction, Veth};
use libctr::ns::{Kind, Namespace, NsRef};
use libctr::process::Exec;
use libctr::{Errno, Error};

use crate::cli::{Chain, Failure, Tool, usage, value as parse};
use crate::ending::Ending;

/// Makes a pair of virtual Ethernet interfaces: one end here, the peer born inside another network namespace. Where a step
/// fails, or a signal asks to end, the pair is deleted.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    example = "veth-create --host vethc1 --peer eth0 --netns env:NSFD_NET --host-addr 10.0.0.1/32 --route 10.0.0.2 --up",
    note = "NSREF is fd:N, env:VAR, pid:N, or a path such as /run/netns/blue.\n\
            Interface names have at most 15 bytes.\n\
            ADDRESS: ADDR/LEN[,nodad][,scope=global|link|host|N][,peer=ADDR][,broadcast=ADDR|none][,lifetime=VALID[:PREFERRED]], in \
            seconds; nodad is for IPv6, scope and broadcast for IPv4.\n\
            Exit status: 0 done, 1 failed, 2 usage."
)]
pub struct VethCreate {
    /// name of the end that stays here
    #[argh(option, arg_name = "NAME", from_str_fn(parse))]
    host: InterfaceName,
    /// name of the end in the other network namespace
    #[argh(option, arg_name = "NAME", from_str_fn(parse))]
    peer: InterfaceName,
    /// network namespace of the peer
    #[argh(option, arg_name = "NSREF", from_str_fn(parse))]
    netns: NsRef,
    /// network namespace of the host end, by default the caller's
    #[argh(option, arg_name = "NSREF", from_str_fn(parse))]
    host_netns: Option<NsRef>,
    /// largest packet of both ends in bytes, 68 to 65535
    #[argh(option, arg_name = "BYTES", from_str_fn(mtu))]
    mtu: Option<u32>,
    /// hardware address of the host end
    #[argh(option, arg_name = "MAC", from_str_fn(parse))]
    host_mac: Option<Mac>,
    /// hardware address of the peer
    #[argh(option, arg_name = "MAC", from_str_fn(parse))]
    peer_mac: Option<Mac>,
    /// receive and transmit queues of both ends, 1 to 4096
    #[argh(option, arg_name = "N", from_str_fn(queues))]
    queues: Option<u32>,
    /// attach the host end to this bridge
    #[argh(option, arg_name = "NAME", from_str_fn(parse))]
    bridge: Option<InterfaceName>,
    /// address of the host end; may be repeated
    #[argh(option, arg_name = "ADDRESS", from_str_fn(parse))]
    host_addr: Vec<Assignment>,
    /// route to this network or address through the pair, needs --up; may be repeated
    #[argh(option, arg_name = "PREFIX", from_str_fn(parse))]
    route: Vec<Prefix>,
    /// answer ARP and NDP for the addresses of --route (single ones only, of both families) on the interfaces that have them in
    /// their network, which are set to forward for that; IPv6 then takes no router advertisements there unless accept_ra is 2.
    /// The entries (ip neighbour show proxy) outlive the pair
    #[argh(switch)]
    proxy: bool,
    /// forward what comes in through the host end, IPv4 and IPv6 (before Linux 6.17 with net.ipv6.conf.all.forwarding=1 only)
    #[argh(switch)]
    forward: bool,
    /// set both ends up
    #[argh(switch)]
    up: bool,
}

/// A number in a range, for an option.
pub(crate) fn number(text: &str, min: u32, max: u32) -> Result<u32, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok().filter(|number| digits && (min..=max).contains(number));
    number.ok_or_else(|| format!("is no number from {min} to {max}"))
}

fn mtu(text: &str) -> Result<u32, String> {
    number(text, 68, 65535)
}

fn queues(text: &str) -> Result<u32, String> {
    number(text, 1, 4096)
}

impl VethCreate {
    /// What makes no sense whatever the machine is like.
    fn check(&self) -> Result<(), Failure> {
        if !self.route.is_empty() && !self.up {
            return Err(usage("--route", "needs --up: a route leads through a link that is up"));
        }
        if self.proxy && self.route.is_empty() {
            return Err(usage("--proxy", "needs --route: it answers for those addresses"));
        }
        match self.route.iter().find(|prefix| self.proxy && !prefix.is_single()) {
            Some(prefix) => Err(usage(
                "--proxy",
                format!(
                    "answers for single addresses, {prefix} is a network: give a --route for each, or have it routed here"
                ),
            )),
            None => Ok(()),
        }
    }

    /// The interfaces whose neighbours would ask for the addresses of the routes.
    fn proxies(&self, socket: &mut Socket) -> Result<Vec<(Prefix, Link)>, Error> {
        if !self.proxy {
            return Ok(Vec::new());
        }
        let assigned = socket.addresses()?;
        let mut proxies = Vec::new();
        for prefix in &self.route {
            let before = proxies.len();
            let near = assigned.iter().filter(|near| near.network.contains(prefix.ip()));
            let mut indices: Vec<u32> = near.map(|near| near.index).collect();
            indices.sort_unstable();
            indices.dedup();
            for index in indices {
                proxies.push((*prefix, socket.link_at(index)?));
            }
            if proxies.len() == before {
                let error = Error::new("add proxy for", prefix, Errno::ENETUNREACH);
                let error =
                    error.with_reason("no interface has this address in its network, so nobody would ask for it");
                return Err(error.with_hint("leave out --proxy: the neighbours reach it by a route"));
            }
        }
        Ok(proxies)
    }

    /// What `--forward` and `--proxy` set below /proc/sys, with what it means where it is missing.
    fn sysctls(&self, proxies: &[(Prefix, Link)]) -> Result<Vec<(Sysctl, Missing)>, Error> {
        let mut settings = Vec::new();
        let mut set = |path: String, missing| {
            format!("net/{path}=1").parse().map(|sysctl: Sysctl| settings.push((sysctl, missing)))
        };
        if self.forward {
            let needs_v6 = self.route.iter().map(Prefix::ip).chain(self.host_addr.iter().map(Assignment::ip));
            let needs_v6 = needs_v6.into_iter().any(|ip| ip.is_ipv6());
            let (v6, force) =
                if needs_v6 { (Missing::Fails, Missing::Old) } else { (Missing::IsFine, Missing::IsFine) };
            set(format!("ipv4/conf/{}/forwarding", self.host.as_str()), Missing::Fails)?;
            set(format!("ipv6/conf/{}/forwarding", self.host.as_str()), v6)?;
            set(format!("ipv6/conf/{}/force_forwarding", self.host.as_str()), force)?;
        }
        // the kernel answers for others on a link that forwards
        for (prefix, link) in proxies {
            let family = if prefix.ip().is_ipv6() { "ipv6" } else { "ipv4" };
            set(format!("{family}/conf/{}/forwarding", link.name()), Missing::Fails)?;
            if prefix.ip().is_ipv6() {
                set(format!("ipv6/conf/{}/force_forwarding", link.name()), Missing::Old)?;
                set(format!("ipv6/conf/{}/proxy_ndp", link.name()), Missing::Fails)?;
            }
        }
        Ok(settings)
    }
}

impl Tool for VethCreate {
    const NAME: &'static str = "veth-create";
    const CHAIN: Chain = Chain::No;

    fn run(self, _program: Option<Exec>) -> Result<(), Failure> {
        self.check()?;
        let netns = self.netns.open(Kind::Net)?;
        let host_netns = self.host_netns.as_ref().map(|reference| reference.open(Kind::Net)).transpose()?;
        if self.host == self.peer && is_same(&netns, host_netns.as_ref())? {
            return Err(usage("--peer", format!("{} is the name of both ends in one network namespace", self.peer)));
        }
        let mut socket = match &host_netns {
            Some(netns) => Socket::open_in(netns)?,
            None => Socket::open()?,
        };
        let mut peer_socket = if self.up { Some(Socket::open_in(&netns)?) } else { None };
        let bridge = self.bridge.as_ref().map(|name| socket.link(name)).transpose()?;
        let proxies = self.proxies(&mut socket)?;
        let sysctls = self.sysctls(&proxies)?;

        let mut veth = Veth::new(self.host.clone(), self.peer.clone());
        veth = self.mtu.into_iter().fold(veth, Veth::mtu);
        veth = self.host_mac.into_iter().fold(veth, Veth::host_mac);
        veth = self.peer_mac.into_iter().fold(veth, Veth::peer_mac);
        veth = self.queues.into_iter().fold(veth, Veth::queues);
        let ending = Ending::block()?;
        let mut transaction = socket.begin();
        let apply = || {
            veth.create(&mut transaction, &netns)?;
            let link = transaction.link(&self.host)?;
            let mut requests: Vec<Request> =
                bridge.map(|bridge| link.change(Change::Master(bridge))).into_iter().collect();
            requests.extend(self.host_addr.iter().map(|address| address.add(&link)));
            requests.extend(self.up.then(|| link.change(Change::Up)));
            let routes = self.route.iter().map(|prefix| Route::through(*prefix, self.host.clone()));
            requests.extend(routes.map(|route| route.add_through(&link)));
            requests.extend(proxies.iter().map(|(prefix, link)| neighbour::add_proxy(prefix.ip(), link)));
            set_all(&mut transaction, &sysctls, host_netns.as_ref())?;
            transaction.run(&requests)?;
            if let Some(socket) = &mut peer_socket {
                let peer = socket.link(&self.peer)?;
                socket.run(&[peer.change(Change::Up)])?;
            }
            ending.check()
        };
        let done = apply();
        ending.decide(Self::NAME, transaction, done)
    }
}

fn is_same(netns: &Namespace, other: Option<&Namespace>) -> Result<bool, Error> {
    let other = match other {
        Some(other) => other.id()?,
        None => Namespace::current(Kind::Net)?.id()?,
    };
    Ok(netns.id()? == other)
}

/// What it means that the kernel does not have a setting.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Missing {
    Fails,
    IsFine,
    /// It is older than Linux 6.17, and forwards IPv6 from every interface or from none.
    Old,
}

/// Sets all of these.
pub(crate) fn set_all(
    transaction: &mut Transaction<'_>,
    sysctls: &[(Sysctl, Missing)],
    netns: Option<&Namespace>,
) -> Result<(), Error> {
    const ALL: &str = "net.ipv6.conf.all.forwarding=1";
    let set = |(sysctl, missing): &(Sysctl, Missing)| match transaction.set(sysctl, netns) {
        Err(error) if error.errno() == Errno::ENOENT && *missing == Missing::IsFine => Ok(()),
        Err(error) if error.errno() == Errno::ENOENT && *missing == Missing::Old => {
            let hint = "before Linux 6.17 IPv6 is forwarded from every interface or from none: \
                        net-setup --sysctl net.ipv6.conf.all.forwarding=1";
            if ALL.parse::<Sysctl>()?.is_set(netns)? { Ok(()) } else { Err(error.with_hint(hint)) }
        }
        done => done,
    };
    let done = sysctls.iter().try_for_each(set);
    done.map_err(|error| transaction.undo(error))
}
