//! `net-setup`: interfaces, addresses and routes of one network namespace.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use argh::{ArgsInfo, CommandInfoWithArgs, EarlyExit, FlagInfoKind, FromArgs};
use libctr::net::link::Port;
use libctr::net::{
    Assignment, Change, InterfaceName, Link, LinkKind, Mac, Neighbour, Request, Route, Rule, Socket, Sysctl,
    Transaction, neighbour,
};
use libctr::ns::{Kind, Namespace, NsRef};
use libctr::process::Exec;
use libctr::{Errno, Error};

use crate::cli::{Chain, Failure, Tool, usage, value as parse};
use crate::ending::Ending;
use crate::veth_create::{Missing, number, set_all};

/// Configures interfaces, addresses and routes of its network namespace, or of another. Where a step fails, or a signal asks to
/// end, those before it are undone. The options after --link NAME are about that link, up to the next --link.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    example = "net-setup --lo --link eth0 --addr 10.0.0.2/24 --addr 2001:db8::2/64,nodad --up --route default=10.0.0.1",
    note = "Whatever the order of the options: links are made and renamed, then settings written, then links changed and given \
            addresses, then routes, rules and neighbours added, at last links moved.\n\
            KIND: bridge, dummy, ifb, macvlan,parent=NAME[,mode=…], macvtap,…, ipvlan,parent=NAME[,mode=…], vlan,parent=NAME,id=N, \
            vxlan,id=N[,remote=IP…], vrf,table=N, wireguard, tun|tap[,user=N][,group=N][,multi_queue].\n\
            ADDRESS: ADDR/LEN[,nodad][,scope=global|link|host|N][,peer=ADDR][,broadcast=ADDR|none][,lifetime=VALID[:PREFERRED]], in \
            seconds; nodad is for IPv6, scope and broadcast for IPv4.\n\
            ROUTE: PREFIX|default[=VIA][,dev=NAME][,onlink][,metric=N][,src=ADDR][,table=N]; VIA is a gateway, blackhole, unreachable or \
            prohibit.\n\
            RULE: [inet6][,from=PREFIX][,to=PREFIX][,iif=NAME][,oif=NAME][,fwmark=N[/MASK]][,priority=N], and table=N, blackhole, \
            unreachable or prohibit.\n\
            PORT: isolated, hairpin, learning, flood, mcast_flood, bcast_flood, guard, root_block, fastleave, neigh_suppress (=on or \
            =off), priority=N, cost=N, joined by commas.\n\
            Exit status: 0 done, 1 failed, 2 usage."
)]
struct Section {
    /// network namespace to configure, by default the caller's
    #[argh(option, arg_name = "NSREF", from_str_fn(parse))]
    netns: Option<NsRef>,
    /// set the loopback interface up
    #[argh(switch)]
    lo: bool,
    /// the link that the options after it are about; may be repeated
    #[argh(option, arg_name = "NAME", from_str_fn(parse))]
    link: Option<InterfaceName>,
    /// make the link first
    #[argh(option, arg_name = "KIND[,KEY=VALUE...]", from_str_fn(parse))]
    add: Option<LinkKind>,
    /// set the link up
    #[argh(switch)]
    up: bool,
    /// set the link down
    #[argh(switch)]
    down: bool,
    /// largest packet of the link in bytes
    #[argh(option, arg_name = "BYTES", from_str_fn(mtu))]
    mtu: Option<u32>,
    /// hardware address of the link
    #[argh(option, arg_name = "MAC", from_str_fn(parse))]
    mac: Option<Mac>,
    /// give the link another name
    #[argh(option, arg_name = "NAME", from_str_fn(parse))]
    rename: Option<InterfaceName>,
    /// attach the link to this bridge or vrf
    #[argh(option, arg_name = "NAME", from_str_fn(parse))]
    master: Option<InterfaceName>,
    /// detach the link from its bridge or vrf
    #[argh(switch)]
    nomaster: bool,
    /// how the bridge treats the link
    #[argh(option, arg_name = "PORT", from_str_fn(parse))]
    port: Option<Port>,
    /// where the link is to be: with --add it is born there, else moved there at the end, down and without addresses
    #[argh(option, arg_name = "NSREF", from_str_fn(parse))]
    into: Option<NsRef>,
    /// resolve addresses by ARP and NDP on the link, or not
    #[argh(option, arg_name = "on|off", from_str_fn(on_or_off))]
    arp: Option<bool>,
    /// address of the link, nodad: usable at once, without duplicate address detection; may be repeated
    #[argh(option, arg_name = "ADDRESS", from_str_fn(parse))]
    addr: Vec<Assignment>,
    /// hardware address of a neighbour on the link; may be repeated
    #[argh(option, arg_name = "IP=MAC", from_str_fn(parse))]
    neigh: Vec<Neighbour>,
    /// answer ARP or NDP on the link for this address; may be repeated
    #[argh(option, arg_name = "IP", from_str_fn(ip))]
    proxy: Vec<IpAddr>,
    /// route; after --link, through that link unless dev says otherwise; may be repeated
    #[argh(option, arg_name = "ROUTE")]
    route: Vec<String>,
    /// routing rule; may be repeated
    #[argh(option, arg_name = "RULE", from_str_fn(parse))]
    rule: Vec<Rule>,
    /// setting below net, as in net.ipv4.ip_forward=1; one that cannot be read, as net.ipv4.route.flush, stays where a later step
    /// fails; may be repeated
    #[argh(option, arg_name = "NAME=VALUE", from_str_fn(parse))]
    sysctl: Vec<Sysctl>,
    /// wait until the IPv6 addresses of the links named (of all, if none is), the link-local ones too, have been found to be
    /// unique; at most 10 seconds
    #[argh(switch)]
    wait_dad: bool,
}

fn mtu(text: &str) -> Result<u32, String> {
    number(text, 1, i32::MAX as u32)
}

fn on_or_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("is neither on nor off".to_owned()),
    }
}

fn ip(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "is no IP address".to_owned())
}

/// The options, in the sections that `--link` begins; the first is about no link.
pub struct NetSetup(Vec<Section>);

impl FromArgs for NetSetup {
    fn from_args(command: &[&str], args: &[&str]) -> Result<Self, EarlyExit> {
        if args.is_empty() {
            return Ok(NetSetup(Vec::new()));
        }
        let info = Section::get_args_info();
        let takes_value = |arg: &str| {
            info.flags.iter().any(|flag| flag.long == arg && matches!(flag.kind, FlagInfoKind::Option { .. }))
        };
        let (mut starts, mut at) = (vec![0], 0);
        while let Some(arg) = args.get(at) {
            if *arg == "--link" {
                starts.push(at);
            }
            at += if takes_value(arg) { 2 } else { 1 };
        }
        starts.push(args.len());
        let sections = starts.windows(2).map(|bounds| Section::from_args(command, &args[bounds[0]..bounds[1]]));
        sections.collect::<Result<_, _>>().map(NetSetup)
    }
}

impl ArgsInfo for NetSetup {
    fn get_args_info() -> CommandInfoWithArgs {
        Section::get_args_info()
    }
}

impl Section {
    fn check(&self) -> Result<(), Failure> {
        if self.up && self.down {
            return Err(usage("--up, --down", "exclude each other"));
        }
        if self.master.is_some() && self.nomaster {
            return Err(usage("--master, --nomaster", "exclude each other"));
        }
        if self.into.is_some() {
            let there = "is for the network namespace that has the link: net-setup --netns NSREF";
            let lost = [
                ("--up", self.up),
                ("--master", self.master.is_some()),
                ("--nomaster", self.nomaster),
                ("--port", self.port.is_some()),
                ("--addr", !self.addr.is_empty()),
                ("--neigh", !self.neigh.is_empty()),
                ("--proxy", !self.proxy.is_empty()),
                ("--route", !self.route.is_empty()),
                ("--mtu, --mac, --rename, --arp, --down with --add and --into", self.add.is_some() && self.changes()),
            ];
            if let Some((option, _)) = lost.into_iter().find(|(_, given)| *given) {
                return Err(usage(option, there));
            }
        }
        if self.link.is_some() {
            return Ok(());
        }
        let of_a_link = [
            ("--add", self.add.is_some()),
            ("--up", self.up),
            ("--down", self.down),
            ("--mtu", self.mtu.is_some()),
            ("--mac", self.mac.is_some()),
            ("--rename", self.rename.is_some()),
            ("--master", self.master.is_some()),
            ("--nomaster", self.nomaster),
            ("--arp", self.arp.is_some()),
            ("--addr", !self.addr.is_empty()),
            ("--port", self.port.is_some()),
            ("--into", self.into.is_some()),
            ("--neigh", !self.neigh.is_empty()),
            ("--proxy", !self.proxy.is_empty()),
        ];
        match of_a_link.into_iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(usage(option, "is about a link: give it after --link NAME")),
            None => Ok(()),
        }
    }

    /// Whether a setting is given that a link has anywhere.
    fn changes(&self) -> bool {
        self.mtu.is_some() || self.mac.is_some() || self.rename.is_some() || self.arp.is_some() || self.down
    }

    /// The link's name once it is renamed.
    fn name(&self) -> Option<&InterfaceName> {
        self.rename.as_ref().or(self.link.as_ref())
    }

    fn routes(&self) -> Result<Vec<Route>, Failure> {
        let parse = |text: &String| {
            let parsed = Route::parse_for(text, self.name());
            parsed.map_err(|error| usage(&format!("--route {}", libctr::show(text)), error.reason()))
        };
        self.route.iter().map(parse).collect()
    }

    fn make_and_rename(&self, transaction: &mut Transaction<'_>) -> Result<(), Error> {
        let Some(name) = &self.link else { return Ok(()) };
        match (&self.add, &self.into) {
            // it is born elsewhere, at the end
            (Some(_), Some(_)) => return Ok(()),
            (Some(kind), None) => kind.create(transaction, name)?,
            (None, _) => {}
        }
        let link = transaction.link(name)?;
        let down = self.down.then(|| link.change(Change::Down));
        let rename = self.rename.clone().map(|to| link.change(Change::Rename(to)));
        transaction.run(&down.into_iter().chain(rename).collect::<Vec<_>>())
    }

    /// The link that the section is about, unless it is born elsewhere.
    fn find(&self, transaction: &mut Transaction<'_>) -> Result<Option<Link>, Error> {
        let name = self.name().filter(|_| self.add.is_none() || self.into.is_none());
        name.map(|name| transaction.link(name)).transpose()
    }

    fn change(&self, transaction: &mut Transaction<'_>, link: &Link) -> Result<(), Error> {
        let master = self.master.as_ref().map(|name| transaction.link(name)).transpose()?;
        let master = master.map(Change::Master).or(self.nomaster.then_some(Change::NoMaster));
        let changes = self.mac.map(Change::Mac).into_iter().chain(self.mtu.map(Change::Mtu)).chain(master);
        let changes = changes.chain(self.port.clone().map(Change::Port));
        let changes = changes.chain(self.arp.map(Change::Arp)).chain(self.up.then_some(Change::Up));
        let requests = changes.map(|change| link.change(change));
        let addresses = self.addr.iter().map(|address| address.add(link));
        transaction.run(&requests.chain(addresses).collect::<Vec<_>>())
    }

    /// After all links have changed: what a bridge knows of its neighbours goes when it gets a port, and with it another address.
    fn neighbours(&self, link: &Link) -> Vec<Request> {
        let neighbours = self.neigh.iter().map(|neighbour| neighbour.add(link));
        neighbours.chain(self.proxy.iter().map(|ip| neighbour::add_proxy(*ip, link))).collect()
    }

    /// Moves the link where it is to be, or has it born there. What is the last step needs nothing to undo it with.
    fn settle(&self, transaction: &mut Transaction<'_>, netns: &Namespace, is_last: bool) -> Result<(), Error> {
        // --into is given after --link alone
        let name = self.name().cloned().ok_or_else(|| Error::invalid("move link", "", "is not named"))?;
        let there = match Socket::open_in(netns) {
            Err(error) if !is_last => return Err(error),
            opened => opened.ok(),
        };
        match &self.add {
            Some(kind) => kind.create_in(transaction, &name, netns, there),
            None => {
                let link = transaction.link(&name)?;
                transaction.move_link(&link, netns, there)
            }
        }
    }
}

impl NetSetup {
    fn netns(&self) -> Result<Option<&NsRef>, Failure> {
        let mut given = self.0.iter().filter_map(|section| section.netns.as_ref());
        let first = given.next();
        if given.next().is_some() { Err(usage("--netns", "is given twice")) } else { Ok(first) }
    }

    fn apply(
        &self,
        transaction: &mut Transaction<'_>,
        routes: &[Vec<Route>],
        netns: Option<&Namespace>,
        into: &[Option<Namespace>],
        ending: &Ending,
    ) -> Result<(), Error> {
        self.0.iter().try_for_each(|section| section.make_and_rename(transaction))?;
        let sysctls = self.0.iter().flat_map(|section| &section.sysctl).map(|sysctl| (sysctl.clone(), Missing::Fails));
        set_all(transaction, &sysctls.collect::<Vec<_>>(), netns)?;
        if self.0.iter().any(|section| section.lo) {
            let lo = transaction.link(&"lo".parse()?)?;
            transaction.run(&[lo.change(Change::Up)])?;
        }
        let mut links = Vec::new();
        for section in &self.0 {
            let link = section.find(transaction)?;
            link.iter().try_for_each(|link| section.change(transaction, link))?;
            links.push(link);
        }
        let mut requests = Vec::new();
        for (route, link) in
            routes.iter().zip(&links).flat_map(|(routes, link)| routes.iter().map(move |route| (route, link)))
        {
            requests.push(match link {
                Some(link) if route.dev() == Some(link.name()) => route.add_through(link),
                _ => route.add(transaction.socket())?,
            });
        }
        transaction.run(&requests)?;
        let sections = || self.0.iter().zip(&links).filter_map(|(section, link)| Some((section, link.as_ref()?)));
        transaction.run(&sections().flat_map(|(section, link)| section.neighbours(link)).collect::<Vec<_>>())?;
        transaction.run(&self.0.iter().flat_map(|section| &section.rule).map(Rule::add).collect::<Vec<_>>())?;
        // of a link that is born elsewhere there is nothing to wait for here
        let elsewhere = self.0.iter().any(|section| section.link.is_some()) && sections().next().is_none();
        if self.0.iter().any(|section| section.wait_dad) && !elsewhere {
            let added =
                sections().flat_map(|(section, link)| section.addr.iter().map(|addr| (link.index(), addr.ip())));
            let named = sections().map(|(_, link)| link.index()).collect::<Vec<_>>();
            wait_dad(transaction.socket(), &named, added.filter(|(_, ip)| ip.is_ipv6()).collect(), ending)?;
        }
        let moved = self.0.iter().zip(into).filter_map(|(section, netns)| Some((section, netns.as_ref()?)));
        let mut moved = moved.peekable();
        if moved.peek().is_none() {
            ending.check()?;
        }
        while let Some((section, netns)) = moved.next() {
            let is_last = moved.peek().is_none();
            if is_last {
                ending.check()?;
            }
            section.settle(transaction, netns, is_last)?;
        }
        Ok(())
    }
}

impl Tool for NetSetup {
    const NAME: &'static str = "net-setup";
    const CHAIN: Chain = Chain::No;

    fn run(self, _program: Option<Exec>) -> Result<(), Failure> {
        if self.0.is_empty() {
            return Err(usage("--link and others", "one of them is needed: see --help"));
        }
        self.0.iter().try_for_each(Section::check)?;
        let routes = self.0.iter().map(Section::routes).collect::<Result<Vec<_>, _>>()?;
        let netns = self.netns()?.map(|reference| reference.open(Kind::Net)).transpose()?;
        let into = self.0.iter().map(|section| section.into.as_ref().map(|into| into.open(Kind::Net)).transpose());
        let into = into.collect::<Result<Vec<_>, _>>()?;
        let mut socket = match &netns {
            Some(netns) => Socket::open_in(netns)?,
            None => Socket::open()?,
        };
        let ending = Ending::block()?;
        let mut transaction = socket.begin();
        let done = self.apply(&mut transaction, &routes, netns.as_ref(), &into, &ending);
        ending.decide(Self::NAME, transaction, done)
    }
}

/// Waits for duplicate address detection (RFC 4862), which takes one to two seconds where the link has a carrier: for these
/// addresses, and those that the links (all, if none is named) have or are about to have.
fn wait_dad(socket: &mut Socket, named: &[u32], mut awaited: Vec<(u32, IpAddr)>, ending: &Ending) -> Result<(), Error> {
    const PATIENCE: Duration = Duration::from_secs(10);
    const OPERATION: &str = "wait for duplicate address detection of";
    let start = Instant::now();
    let is_named = |index: u32| named.is_empty() || named.contains(&index);
    loop {
        // in this order: a link that is there no more has its address
        let links = socket.links_before_ipv6()?;
        let assigned = socket.addresses()?;
        let mut pending = links.iter().find(|link| is_named(link.index())).map(|link| link.name().to_string());
        for assigned in assigned.iter().filter(|assigned| is_named(assigned.index)) {
            let this = (assigned.index, assigned.address.ip());
            if (assigned.tentative || assigned.duplicate) && !awaited.contains(&this) {
                awaited.push(this);
            }
        }
        for (index, ip) in &awaited {
            let found = assigned.iter().find(|assigned| assigned.index == *index && assigned.address.ip() == *ip);
            match found {
                None => {
                    let error =
                        Error::new(OPERATION, ip, Errno::EADDRNOTAVAIL).with_reason("the kernel has taken it away");
                    return Err(error.with_hint("another machine has this address, or the link went down"));
                }
                Some(found) if found.duplicate => {
                    let error = Error::new(OPERATION, found.address, Errno::EADDRINUSE);
                    return Err(error.with_reason("another machine has this address"));
                }
                Some(found) if found.tentative => pending = Some(found.address.to_string()),
                Some(_) => {}
            }
        }
        let Some(pending) = pending else { return Ok(()) };
        if start.elapsed() >= PATIENCE {
            let error = Error::new(OPERATION, pending, Errno::ETIMEDOUT);
            return Err(
                error.with_hint("it starts when the link is up and has a carrier: for a veth, when both ends are up")
            );
        }
        ending.sleep(Duration::from_millis(20))?;
    }
}
