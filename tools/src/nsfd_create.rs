//! `nsfd-create`: makes namespaces and holds them by descriptor.

use std::ffi::CString;
use std::os::fd::RawFd;
use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};
use libctr::idmap::{Holder, IdMap, MapSpec, Which};
use libctr::ns::{Create, Kind, NsRef, Pin, TimeOffsets};
use libctr::process::Exec;
use libctr::{Error, show};

use crate::cli::{Chain, Failure, Tool, become_program, require, usage, value as parse};
use crate::ids::Ranges;

/// Makes namespaces and executes PROGRAM with them as open descriptors, named in the environment: NSFD_USER=3 NSFD_NET=4 …
/// No process stays behind in them; they live as long as a descriptor is open.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    example = "nsfd-create -Un --uid-map 0:100000:65536 --gid-map 0:100000:65536 -- env",
    note = "MAP is any of these, several joined by commas: INSIDE:OUTSIDE:COUNT, root (0 is the caller), self (the caller is \
            itself), all (every id the caller has), subid (the caller's of /etc/subuid and /etc/subgid, from 0), auto:COUNT (a \
            range that no other container has, until the namespace is gone: see idmap-alloc; Linux 6.18). An ordinary user \
            needs newuidmap(1) and newgidmap(1) for more than its own id.\n\
            A file may be denied to a group (mode 0604): whoever can leave the group can read it. So an ordinary user that has \
            supplementary groups gets setgroups(2) denied: they stay with it inside (ns-enter --keep-ids), and no program \
            there can change its groups (su, apt). --setgroups allow gives that up, with a MAP that /etc/subgid allows. The \
            caller's own group is left in any case, unless it is among the supplementary ones.\n\
            A pid namespace cannot be held without a process: pivot-init and ns-enter --new pid make it.\n\
            Exit status: that of PROGRAM; 125 this tool failed, 126 PROGRAM cannot be executed, 127 not found."
)]
pub struct NsfdCreate {
    /// make a user namespace
    #[argh(switch, short = 'U')]
    user: bool,
    /// make a network namespace
    #[argh(switch, short = 'n')]
    net: bool,
    /// make a mount namespace
    #[argh(switch, short = 'm')]
    mnt: bool,
    /// make an ipc namespace
    #[argh(switch, short = 'i')]
    ipc: bool,
    /// make a uts namespace
    #[argh(switch, short = 'u')]
    uts: bool,
    /// make a cgroup namespace
    #[argh(switch, short = 'C')]
    cgroup: bool,
    /// make a time namespace
    #[argh(switch, short = 'T')]
    time: bool,
    /// refused, with the reason: a pid namespace cannot be held without a process
    #[argh(switch, short = 'p')]
    pid: bool,
    /// user ids of the user namespace; may be repeated
    #[argh(option, arg_name = "MAP", from_str_fn(maps))]
    uid_map: Vec<Vec<MapSpec>>,
    /// group ids of the user namespace; may be repeated
    #[argh(option, arg_name = "MAP", from_str_fn(maps))]
    gid_map: Vec<Vec<MapSpec>>,
    /// short for --uid-map root --gid-map root: root inside is the caller
    #[argh(switch)]
    map_root: bool,
    /// short for --uid-map self --gid-map self: the caller stays itself
    #[argh(switch)]
    map_self: bool,
    /// short for --uid-map auto:COUNT --gid-map auto:COUNT
    #[argh(option, arg_name = "COUNT", from_str_fn(auto))]
    map_auto: Option<MapSpec>,
    /// allow or deny setgroups(2) inside; by default denied to an ordinary user with groups, or without /etc/subgid
    #[argh(option, arg_name = "allow|deny", from_str_fn(allow_or_deny))]
    setgroups: Option<bool>,
    /// make the user namespace this user's
    #[argh(option, arg_name = "UID[:GID]", from_str_fn(owner))]
    owner: Option<(u32, u32)>,
    /// make them inside this user namespace, with rights over its ids and none over the caller's
    #[argh(option, arg_name = "NSREF", from_str_fn(parse))]
    parent: Option<NsRef>,
    /// also bind the namespace file to a path, which is made; may be repeated. PROGRAM can then be left out
    #[argh(option, arg_name = "KIND=PATH", from_str_fn(pinned))]
    pin: Vec<(Kind, PathBuf)>,
    /// host name in the new uts namespace
    #[argh(option, arg_name = "NAME")]
    hostname: Option<String>,
    /// seconds added to the monotonic clock of the new time namespace
    #[argh(option, arg_name = "SECONDS", from_str_fn(seconds))]
    monotonic: Option<i64>,
    /// seconds added to the boot-time clock of the new time namespace
    #[argh(option, arg_name = "SECONDS", from_str_fn(seconds))]
    boottime: Option<i64>,
    /// the number of that kind's descriptor, from 3 on; may be repeated
    #[argh(option, arg_name = "KIND=N", from_str_fn(numbered))]
    fd: Vec<(Kind, RawFd)>,
}

fn seconds(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| "is no whole number of seconds, perhaps after a -".to_owned())
}

fn allow_or_deny(text: &str) -> Result<bool, String> {
    match text {
        "allow" => Ok(true),
        "deny" => Ok(false),
        _ => Err("is neither allow nor deny".to_owned()),
    }
}

fn owner(text: &str) -> Result<(u32, u32), String> {
    let (uid, gid) = text.split_once(':').unwrap_or((text, text));
    Ok((parse::<libctr::idmap::Id>(uid)?.get(), parse::<libctr::idmap::Id>(gid)?.get()))
}

fn kind_and(text: &str) -> Result<(Kind, &str), String> {
    let (kind, rest) = text.split_once('=').ok_or("needs KIND=…")?;
    Ok((parse(kind)?, rest))
}

fn maps(text: &str) -> Result<Vec<MapSpec>, String> {
    // extents are one map, which is checked as a whole
    if text.split(',').all(|part| part.starts_with(|c: char| c.is_ascii_digit())) {
        return Ok(vec![parse(text)?]);
    }
    text.split(',').map(parse).collect()
}

fn auto(text: &str) -> Result<MapSpec, String> {
    parse(&format!("auto:{text}"))
}

fn pinned(text: &str) -> Result<(Kind, PathBuf), String> {
    let (kind, path) = kind_and(text)?;
    if path.is_empty() { Err("needs KIND=PATH".to_owned()) } else { Ok((kind, path.into())) }
}

fn numbered(text: &str) -> Result<(Kind, RawFd), String> {
    let (kind, number) = kind_and(text)?;
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    match libctr::fd::parse_number(number) {
        Some(number) if number >= 3 && (number as u64) < limit => Ok((kind, number)),
        _ => Err(format!("needs KIND=N, a number from 3 on and below {limit}, which is RLIMIT_NOFILE (ulimit -n)")),
    }
}

impl NsfdCreate {
    fn kinds(&self) -> Vec<Kind> {
        let asked = [self.user, self.net, self.mnt, self.pid, self.ipc, self.uts, self.cgroup, self.time];
        Kind::ALL.into_iter().zip(asked).filter(|(_, asked)| *asked).map(|(kind, _)| kind).collect()
    }

    /// Everything that can be refused before anything is made.
    fn check(&self, kinds: &[Kind]) -> Result<(), Failure> {
        if self.pid {
            let reason = "a pid namespace cannot be opened before its first process and dies with it; \
                          pivot-init and ns-enter --new pid make one";
            return Err(usage("--pid", reason));
        }
        let needs = |given: bool, option: &str, kind: Kind| {
            if given && !kinds.contains(&kind) { Err(usage(option, format!("needs --{kind}"))) } else { Ok(()) }
        };
        needs(!self.uid_map.is_empty(), "--uid-map", Kind::User)?;
        needs(!self.gid_map.is_empty(), "--gid-map", Kind::User)?;
        needs(self.map_root, "--map-root", Kind::User)?;
        needs(self.map_self, "--map-self", Kind::User)?;
        needs(self.map_auto.is_some(), "--map-auto", Kind::User)?;
        needs(self.parent.is_some(), "--parent", Kind::User)?;
        needs(self.setgroups.is_some(), "--setgroups", Kind::User)?;
        needs(self.owner.is_some(), "--owner", Kind::User)?;
        needs(self.hostname.is_some(), "--hostname", Kind::Uts)?;
        needs(self.monotonic.is_some(), "--monotonic", Kind::Time)?;
        needs(self.boottime.is_some(), "--boottime", Kind::Time)?;
        if kinds.is_empty() {
            let error = Error::invalid("read", "options", "no namespace is asked for");
            return Err(Failure::Usage(error.with_hint("for example -U -n: see --help")));
        }
        for (index, (kind, number)) in self.fd.iter().enumerate() {
            needs(true, "--fd", *kind)?;
            if self.fd[..index].iter().any(|(other, taken)| other == kind || taken == number) {
                return Err(usage("--fd", format!("gives kind {kind} or number {number} twice")));
            }
        }
        for (index, (kind, path)) in self.pin.iter().enumerate() {
            needs(true, "--pin", *kind)?;
            if self.pin[..index].iter().any(|(_, other)| other == path) {
                return Err(usage("--pin", format!("gives {} twice", show(path))));
            }
        }
        if self.parent.is_some() && self.owner.is_some() {
            return Err(usage("--parent and --owner", "exclude each other: root of the parent is the owner"));
        }
        let shorthands = usize::from(self.map_root) + usize::from(self.map_self) + usize::from(self.map_auto.is_some());
        if shorthands > 1 || (shorthands == 1 && !(self.uid_map.is_empty() && self.gid_map.is_empty())) {
            return Err(usage("--map-root, --map-self, --map-auto, --uid-map, --gid-map", "exclude each other"));
        }
        Ok(())
    }

    fn map(&self, which: Which, ranges: &mut Ranges) -> Result<Option<IdMap>, Failure> {
        let (option, given) = match which {
            Which::Uid => ("--uid-map", &self.uid_map),
            Which::Gid => ("--gid-map", &self.gid_map),
        };
        let specs: Vec<&MapSpec> = match (self.map_root, self.map_self, &self.map_auto) {
            (true, ..) => vec![&MapSpec::Root],
            (_, true, _) => vec![&MapSpec::Own],
            (.., Some(auto)) => vec![auto],
            _ => given.iter().flatten().collect(),
        };
        if specs.is_empty() {
            return Ok(None);
        }
        let mut extents = Vec::new();
        for spec in specs {
            if self.parent.is_some() && !matches!(spec, MapSpec::Explicit(_)) {
                return Err(usage("--parent", "needs maps INSIDE:OUTSIDE:COUNT, with the parent's ids outside"));
            }
            match spec {
                MapSpec::Auto(count) => extents.push(ranges.of(*count)?.extent()),
                other => extents.extend_from_slice(other.resolve(which)?.extents()),
            }
        }
        Ok(Some(IdMap::new(extents).map_err(|error| usage(option, error.reason()))?))
    }
}

impl Tool for NsfdCreate {
    const NAME: &'static str = "nsfd-create";
    const CHAIN: Chain = Chain::Always;

    fn run(self, program: Option<Exec>) -> Result<(), Failure> {
        let kinds = self.kinds();
        self.check(&kinds)?;
        let mut program = if self.pin.is_empty() { Some(require(program)?) } else { program };
        // before anything is opened that could take them
        if let Some(program) = &mut program {
            self.fd.iter().try_for_each(|(_, number)| program.reserve(*number))?;
        }
        let parent = self.parent.as_ref().map(|parent| parent.open(Kind::User)).transpose()?;
        let mut ranges = Ranges::default();
        let mut create = Create::new(&kinds);
        if let Some(map) = self.map(Which::Uid, &mut ranges)? {
            create.uid_map(map);
        }
        if let Some(map) = self.map(Which::Gid, &mut ranges)? {
            create.gid_map(map);
        }
        if let Some(parent) = parent {
            create.parent(parent);
        }
        if let Some(allow) = self.setgroups {
            create.setgroups(allow);
        }
        if let Some((uid, gid)) = self.owner {
            create.owner(uid, gid);
        }
        if let Some(name) = &self.hostname {
            let name = CString::new(name.as_str()).map_err(|_| usage("--hostname", "holds a NUL byte"))?;
            create.hostname(name);
        }
        create
            .time_offsets(TimeOffsets { monotonic: self.monotonic.unwrap_or(0), boottime: self.boottime.unwrap_or(0) });
        let namespaces = create.create()?;
        if let Some(user) = namespaces.iter().find(|namespace| namespace.kind() == Kind::User) {
            ranges.hold(|| Holder::namespace(user))?;
        }
        let mut pins = Vec::new();
        for (kind, path) in &self.pin {
            if let Some(namespace) = namespaces.iter().find(|namespace| namespace.kind() == *kind) {
                pins.push(namespace.pin(path)?);
            }
        }
        // whatever fails from here on, the program's execution included, undoes the pins and gives the ranges back
        let Some(mut program) = program else {
            pins.into_iter().for_each(Pin::keep);
            ranges.keep();
            return Ok(());
        };
        for namespace in namespaces {
            let kind = namespace.kind();
            let number = self.fd.iter().find(|(other, _)| *other == kind).map(|(_, number)| *number);
            let number = program.pass(namespace.into_fd(), number)?;
            program.set_var(kind.variable(), number.to_string());
        }
        Err(become_program(program))
    }
}
