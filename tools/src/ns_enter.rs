//! `ns-enter`: enters namespaces, then makes others.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};
use libctr::cred::UserNamespaceLimit;
use libctr::idmap::{IdMap, MapSpec, Which};
use libctr::ns::{self, Create, Kind, Namespace, NsRef, Propagation};
use libctr::process::{Exec, Lifeline, PidRef, pid_of, spawn};
use libctr::{Context, Errno, Error, show};
use nix::sched::CloneFlags;
use nix::unistd::{chdir, chroot, setgroups};

use crate::cli::{Chain, Failure, List, Tool, become_program, require, usage, value as parse, wait_for};
use crate::privileges::with_privileges;

with_privileges! {
/// Enters namespaces, then makes others, and executes PROGRAM. On entering or making a user namespace it becomes its root,
/// without supplementary groups.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    example = "ns-enter --ns user,net --new ipc,uts -- id",
    example = "ns-enter --target 4711 --all -- sh",
    note = "NSREF is N, fd:N, env:VAR, pid:N or a path with a / in it; the default is env:NSFD_KIND, or with --target its \
            namespace of that kind.\n\
            PIDREF is N, pid:N, or fd:N and env:VAR, which are pidfds.\n\
            The descriptors that are entered are closed and their variables removed.\n\
            With a pid namespace, PROGRAM runs in a child: this tool waits for it, sends it the signals that come, and ends \
            as it does.\n\
            Exit status: that of PROGRAM; 125 this tool failed, 126 PROGRAM cannot be executed, 127 not found."
)]
pub struct NsEnter {
    /// enter these; may be repeated
    #[argh(option, arg_name = "KIND[=NSREF],…", from_str_fn(references))]
    ns: Vec<Vec<(Kind, Option<NsRef>)>>,
    /// enter the namespaces of this process
    #[argh(option, short = 't', arg_name = "PIDREF", from_str_fn(parse))]
    target: Option<PidRef>,
    /// with --target: enter all of its namespaces that are not the caller's
    #[argh(switch, short = 'a')]
    all: bool,
    /// then make these: user, net, mnt, pid, ipc, uts, cgroup, time; may be repeated
    #[argh(option, arg_name = "KIND,…")]
    new: Vec<List<Kind>>,
    /// keep the ids and groups as they are, where a user namespace is entered or made
    #[argh(switch)]
    keep_ids: bool,
    /// of the mounts in a new mount namespace: private, slave (default), shared, unchanged
    #[argh(option, arg_name = "HOW", from_str_fn(parse))]
    propagation: Option<Propagation>,
    /// host name, in a uts namespace that is entered or made here
    #[argh(option, arg_name = "NAME")]
    hostname: Option<String>,
    /// directory that becomes the root, as its path is seen in the namespaces entered
    #[argh(option, arg_name = "DIR")]
    root: Option<PathBuf>,
    /// working directory, as its path is seen below the root that then is
    #[argh(option, arg_name = "DIR")]
    cwd: Option<PathBuf>,
    /// run PROGRAM in a child in any case, and wait for it
    #[argh(switch)]
    fork: bool,
}
}

fn references(text: &str) -> Result<Vec<(Kind, Option<NsRef>)>, String> {
    let one = |item: &str| match item.split_once('=') {
        None => parse::<Kind>(item).map(|kind| (kind, None)),
        Some((kind, reference)) => Ok((parse(kind)?, Some(parse(reference)?))),
    };
    text.split(',').map(one).collect()
}

impl Tool for NsEnter {
    const NAME: &'static str = "ns-enter";
    const CHAIN: Chain = Chain::Always;

    fn meets_strangers(options: &[&str]) -> bool {
        options.windows(2).any(|pair| match pair {
            ["--target", _] => true,
            ["--ns", value] => value.contains("mnt") || value.contains("pid"),
            _ => false,
        })
    }

    fn run(self, program: Option<Exec>) -> Result<(), Failure> {
        let mut program = require(program)?;
        let new: Vec<Kind> = self.new.iter().flat_map(|list| list.0.iter().copied()).collect();
        self.check(&new)?;
        let mut credentials = self.credentials()?;
        // all are opened before the first is entered: afterwards a path or a process may be out of reach
        let target = self.target.as_ref().map(PidRef::open).transpose()?;
        let (enter, references) = self.open(target.as_ref())?;
        let entered: Vec<Kind> = enter.iter().map(Namespace::kind).collect();
        for (index, kind) in entered.iter().enumerate() {
            if entered[..index].contains(kind) {
                return Err(usage("--ns", format!("gives {kind} twice")));
            }
        }
        let uts = entered.contains(&Kind::Uts) || new.contains(&Kind::Uts);
        if self.hostname.as_ref().is_some_and(|name| !uts || name.is_empty() || name.len() > 64) {
            return Err(usage("--hostname", "needs 1 to 64 bytes, and a uts namespace that is entered or made"));
        }
        let mut numbers = references.iter().map(NsRef::number).collect::<Result<Vec<_>, _>>()?;
        numbers.push(self.target.as_ref().map(PidRef::number).transpose()?.flatten());
        // those that are called otherwise than NSFD_…
        let mut variables: Vec<OsString> = Vec::new();
        variables.extend(references.into_iter().filter_map(|reference| match reference {
            NsRef::Env(variable) => Some(variable),
            _ => None,
        }));
        if let Some(PidRef::Env(variable)) = &self.target {
            variables.push(variable.clone());
        }
        let user = enter.iter().find(|namespace| namespace.kind() == Kind::User);
        let made = if new.contains(&Kind::User) { make_user(user)? } else { Vec::new() };
        // what is in there may see this process: nothing of it may be read or traced from inside
        nix::sys::prctl::set_dumpable(false).context("clear dumpable", "")?;
        let user = entered.contains(&Kind::User) || !made.is_empty();
        if user && !self.keep_ids {
            drop_groups_before()?;
        }
        match &target {
            // with --all, there may be none that is not the caller's
            Some(_) if entered.is_empty() => {}
            Some(target) if self.ns.iter().flatten().all(|(_, reference)| reference.is_none()) => {
                ns::enter_process(target, &entered)?;
            }
            _ => enter_all(enter)?,
        }
        made.iter().try_for_each(Namespace::enter)?;
        let rest: Vec<Kind> = new.iter().copied().filter(|kind| !matches!(kind, Kind::User | Kind::Pid)).collect();
        ns::make(&rest, self.propagation.unwrap_or_default())?;
        if let Some(name) = &self.hostname {
            nix::unistd::sethostname(name).context("set hostname", name)?;
        }
        if let Some(root) = &self.root {
            chroot(root).context("change root to", show(root))?;
            chdir("/").context("change directory to", "/")?;
        }
        if let Some(cwd) = &self.cwd {
            chdir(cwd).context("change directory to", show(cwd))?;
        }
        let numbers: Vec<_> = numbers.into_iter().flatten().collect();
        for number in &numbers {
            libctr::sys::fd::set_cloexec(*number, true).context("mark close-on-exec", number)?;
        }
        program.forget_descriptors(|number| !numbers.contains(&number));
        variables.iter().for_each(|variable| program.remove_var(variable));
        // the rights of root there are needed until here, whatever the ids are
        if self.disable_userns {
            UserNamespaceLimit::open()?.disable().map_err(Error::from)?;
        }
        if user && !self.keep_ids {
            credentials.uid(self.uid.unwrap_or(0)).gid(self.gid.unwrap_or(0));
        }
        let pid = new.contains(&Kind::Pid);
        if !(self.fork || pid || entered.contains(&Kind::Pid) || new.contains(&Kind::Time)) {
            credentials.apply(None).map_err(|fault| explain_ids(fault.into()))?;
            return Err(become_program(program));
        }
        let image = program.image().map_err(Failure::Usage)?;
        let lifeline = Lifeline::new()?;
        let flags = if pid { CloneFlags::CLONE_NEWPID } else { CloneFlags::empty() };
        wait_for(&program, || {
            let child = spawn(flags, || {
                credentials.apply(Some(&lifeline))?;
                Err(image.execute())
            });
            child.map_err(explain_ids)
        })
    }
}

impl NsEnter {
    fn check(&self, new: &[Kind]) -> Result<(), Failure> {
        if self.all && self.target.is_none() {
            return Err(usage("--all", "needs --target"));
        }
        if self.target.is_some() && !self.all && self.ns.is_empty() {
            return Err(usage("--target", "needs --ns KIND,… or --all"));
        }
        if self.ns.is_empty() && self.target.is_none() && new.is_empty() {
            return Err(usage("--ns, --target or --new", "one of them is needed"));
        }
        if let Some(index) = (1..new.len()).find(|index| new[..*index].contains(&new[*index])) {
            return Err(usage("--new", format!("gives {} twice", new[index])));
        }
        if self.propagation.is_some() && !new.contains(&Kind::Mnt) {
            return Err(usage("--propagation", "needs --new mnt"));
        }
        if self.keep_ids && new.contains(&Kind::User) && self.ns.iter().flatten().any(|(kind, _)| *kind == Kind::User) {
            return Err(usage(
                "--keep-ids",
                "excludes --new user with --ns user: its root is that of the one it is in",
            ));
        }
        if self.keep_ids && (self.uid.is_some() || self.gid.is_some() || !self.groups.is_empty()) {
            return Err(usage("--keep-ids", "excludes --uid, --gid and --groups"));
        }
        Ok(())
    }

    /// The namespaces to enter, and the references that name them.
    fn open(&self, target: Option<&std::os::fd::OwnedFd>) -> Result<(Vec<Namespace>, Vec<NsRef>), Failure> {
        let mut open = Vec::new();
        let mut references = Vec::new();
        let of_target = match target {
            Some(target) => Some(NsRef::Pid(pid_of(target)?)),
            None => None,
        };
        for (kind, reference) in self.ns.iter().flatten() {
            let reference = match (reference, &of_target) {
                (Some(reference), _) => reference.clone(),
                (None, Some(target)) => target.clone(),
                (None, None) => NsRef::Env(kind.variable().into()),
            };
            open.push(reference.open(*kind)?);
            references.push(reference);
        }
        if let (true, Some(reference)) = (self.all, &of_target) {
            let named: Vec<Kind> = open.iter().map(Namespace::kind).collect();
            for kind in Kind::ALL.into_iter().filter(|kind| !named.contains(kind)) {
                let theirs = reference.open(kind)?;
                if theirs.id()? != Namespace::current(kind)?.id()? {
                    open.push(theirs);
                }
            }
        }
        if let (Some(target), Some(reference)) = (target, of_target) {
            // had it ended meanwhile, the number could have come to mean another process
            if pid_of(target).map(NsRef::Pid)? != reference {
                return Err(Error::new("open namespaces of", reference, Errno::ESRCH).into());
            }
        }
        Ok((open, references))
    }
}

/// Makes a user namespace whose root is the caller, or the root of the one that is going to be entered, in which it is made.
fn make_user(parent: Option<&Namespace>) -> Result<Vec<Namespace>, Error> {
    let mut create = Create::new(&[Kind::User]);
    match parent {
        Some(parent) => {
            let root: IdMap = "0:0:1".parse()?;
            let fd = parent.as_fd().try_clone_to_owned().context("duplicate", "user namespace")?;
            create.parent(Namespace::verify(fd, Kind::User, "user namespace")?).uid_map(root.clone()).gid_map(root);
        }
        None => {
            create.uid_map(MapSpec::Root.resolve(Which::Uid)?).gid_map(MapSpec::Root.resolve(Which::Gid)?);
        }
    }
    create.create()
}

/// Enters each. Those that another user namespace owns are tried before the user namespace is entered, since the rights
/// over them may be lost with it; those that it owns, after. The mount namespace is the last: it changes what paths mean.
fn enter_all(mut namespaces: Vec<Namespace>) -> Result<(), Error> {
    namespaces.sort_by_key(|ns| (ns.kind() != Kind::User, ns.kind() == Kind::Mnt));
    if namespaces.first().is_some_and(|ns| ns.kind() == Kind::User) {
        let user = namespaces.remove(0);
        let id = user.id()?;
        let mut after = Vec::new();
        for namespace in namespaces {
            let owned = namespace.owner().and_then(|owner| owner.id()).is_ok_and(|owner| owner == id);
            match if owned { Err(Errno::EPERM) } else { namespace.enter().map_err(|error| error.errno()) } {
                Ok(()) => {}
                Err(_) => after.push(namespace),
            }
        }
        user.enter()?;
        namespaces = after;
    }
    namespaces.iter().try_for_each(Namespace::enter)
}

/// The caller's supplementary groups must not be carried in. Without the right to drop them here, it is done inside.
fn drop_groups_before() -> Result<(), Error> {
    match setgroups(&[]) {
        Ok(()) | Err(Errno::EPERM) => Ok(()),
        Err(errno) => Err(Error::new("drop supplementary groups", "", errno)),
    }
}

/// What --keep-ids could do about it.
fn explain_ids(error: Error) -> Error {
    match (error.errno(), error.operation()) {
        (Errno::EINVAL, "become user" | "become group") => {
            error.with_hint("that id is not mapped in this user namespace: --keep-ids enters without it")
        }
        (Errno::EPERM, "set supplementary groups") => error.with_hint(
            "setgroups(2) is denied in this user namespace and the caller has groups: --keep-ids enters with them, or make the \
             namespace with nsfd-create --setgroups allow",
        ),
        _ => error,
    }
}
