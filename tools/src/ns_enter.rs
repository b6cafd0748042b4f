//! `ns-enter`: enters namespaces, then makes others.

use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};
use libctr::ns::{Kind, Namespace, NsRef};
use libctr::process::Exec;
use libctr::{Context, Errno, Error};
use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};

use crate::cli::{Chain, Failure, List, Tool, become_program, require, usage, value as parse};

/// Enters namespaces, then makes others, and executes PROGRAM. On entering a user namespace it becomes its root, without
/// supplementary groups.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    example = "ns-enter --ns user,net --new ipc,uts -- id",
    note = "NSREF is N, fd:N, env:VAR, pid:N or a path with a / in it; the default is env:NSFD_KIND.\n\
            The descriptors that are entered are closed and their variables removed.\n\
            Exit status: that of PROGRAM; 125 this tool failed, 126 PROGRAM cannot be executed, 127 not found."
)]
pub struct NsEnter {
    /// enter these; may be repeated
    #[argh(option, arg_name = "KIND[=NSREF],…", from_str_fn(references))]
    ns: Vec<Vec<(Kind, NsRef)>>,
    /// then make these: net, mnt, ipc, uts, cgroup; may be repeated
    #[argh(option, arg_name = "KIND,…")]
    new: Vec<List<Kind>>,
    /// keep the ids and groups as they are
    #[argh(switch)]
    keep_ids: bool,
    /// host name, in a uts namespace that is entered or made here
    #[argh(option, arg_name = "NAME")]
    hostname: Option<String>,
}

fn references(text: &str) -> Result<Vec<(Kind, NsRef)>, String> {
    let one = |item: &str| match item.split_once('=') {
        None => parse::<Kind>(item).map(|kind| (kind, NsRef::Env(kind.variable().into()))),
        Some((kind, reference)) => Ok((parse(kind)?, parse(reference)?)),
    };
    text.split(',').map(one).collect()
}

impl Tool for NsEnter {
    const NAME: &'static str = "ns-enter";
    const CHAIN: Chain = Chain::Always;

    fn run(self, program: Option<Exec>) -> Result<ExitCode, Failure> {
        let mut program = require(program)?;
        let enter: Vec<(Kind, NsRef)> = self.ns.into_iter().flatten().collect();
        let new: Vec<Kind> = self.new.into_iter().flat_map(|list| list.0).collect();
        if enter.is_empty() && new.is_empty() {
            return Err(usage("--ns or --new", "one of them is needed"));
        }
        if let Some(kind) = new.iter().find(|kind| matches!(kind, Kind::User | Kind::Pid | Kind::Time)) {
            return Err(usage("--new", format!("{kind} is not made here: nsfd-create makes user and time")));
        }
        if let Some((kind, _)) = enter.iter().find(|(kind, _)| matches!(kind, Kind::Pid | Kind::Time)) {
            return Err(usage("--ns", format!("{kind} is entered by children only, which this tool does not make")));
        }
        for (index, (kind, _)) in enter.iter().enumerate() {
            if enter[..index].iter().any(|(other, _)| other == kind) {
                return Err(usage("--ns", format!("gives {kind} twice")));
            }
        }
        let has_uts = new.contains(&Kind::Uts) || enter.iter().any(|(kind, _)| *kind == Kind::Uts);
        if self.hostname.as_ref().is_some_and(|name| !has_uts || name.is_empty() || name.len() > 64) {
            return Err(usage("--hostname", "needs 1 to 64 bytes, and a uts namespace that is entered or made"));
        }
        // all are opened before the first is entered: afterwards a path or a process may be out of reach
        let mut open = enter.iter().map(|(kind, ns)| ns.open(*kind)).collect::<Result<Vec<_>, _>>()?;
        let numbers = enter.iter().map(|(_, reference)| reference.number()).collect::<Result<Vec<_>, _>>()?;
        // ours may be seen by what is in there: nothing of this process may be read or traced from inside
        nix::sys::prctl::set_dumpable(false).context("clear dumpable", "")?;
        let user = open.iter().any(|ns| ns.kind() == Kind::User);
        // the user namespace first, it gives the rights over those that it owns; mnt last, it changes what paths mean
        open.sort_by_key(|ns| (ns.kind() != Kind::User, ns.kind() == Kind::Mnt));
        if user && !self.keep_ids {
            drop_groups_before()?;
        }
        open.iter().try_for_each(Namespace::enter)?;
        if user && !self.keep_ids {
            become_root()?;
        }
        libctr::ns::make(&new)?;
        if let Some(name) = &self.hostname {
            nix::unistd::sethostname(name).context("set hostname", name)?;
        }
        for ((kind, reference), number) in enter.iter().zip(numbers) {
            if let Some(number) = number {
                libctr::sys::fd::set_cloexec(number, true).context("mark close-on-exec", number)?;
            }
            if let NsRef::Env(variable) = reference {
                program.remove_var(variable);
            }
            program.remove_var(kind.variable());
        }
        Err(become_program(program))
    }
}

/// The caller's supplementary groups must not be carried in. Without the right to drop them here, [`become_root`] does.
fn drop_groups_before() -> Result<(), Error> {
    match setgroups(&[]) {
        Ok(()) | Err(Errno::EPERM) => Ok(()),
        Err(errno) => Err(Error::new("drop supplementary groups", "", errno)),
    }
}

fn become_root() -> Result<(), Error> {
    let groups = nix::unistd::getgroups().context("read supplementary groups", "")?;
    if !groups.is_empty() {
        setgroups(&[]).context("drop supplementary groups", "").map_err(|error| {
            error.with_hint("setgroups(2) is denied in this user namespace: --keep-ids enters with the caller's groups")
        })?;
    }
    let hint = |error: Error| match error.errno() {
        Errno::EINVAL => error.with_hint("id 0 is not mapped in this user namespace: --keep-ids enters without it"),
        _ => error,
    };
    setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0)).context("become group", 0).map_err(hint)?;
    setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).context("become user", 0).map_err(hint)
}
