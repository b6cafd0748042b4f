//! `idmap-alloc`: gives out id ranges, each to one container.

use argh::{ArgsInfo, FromArgs};
use libctr::Error;
use libctr::idmap::{Holder, IdRange, Registry};
use libctr::ns::{Kind, NsRef};
use libctr::process::{Exec, PidRef};

use crate::cli::{Chain, Failure, Tool, print, usage, value as parse};
use crate::ids;

/// Gives out ranges of user and group ids that no other container on this machine has, and takes them back. Prints the range as
/// a map, 0:FIRST:COUNT.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    example = "map=$(idmap-alloc --count 65536 --name web)",
    note = "A range stays taken until it is released, or its process or namespace is gone. By default it comes from those ids \
            from 1879048192 to 2147352575 that nobody in /etc/passwd, /etc/group, /etc/subuid and /etc/subgid has; for an \
            ordinary user from its own in /etc/subuid and /etc/subgid.\n\
            nsfd-create gives out and holds a range itself for a MAP auto:COUNT, from the same registry.\n\
            The registry is /run/libctr/ids, for an ordinary user $XDG_RUNTIME_DIR/libctr/ids. IDMAP_REGISTRY and IDMAP_POOL \
            in the environment are the defaults of --registry and --pool.\n\
            Exit status: 0 done, 1 failed, 2 usage."
)]
pub struct IdmapAlloc {
    /// give out a range of this many ids
    #[argh(option, arg_name = "N", from_str_fn(count))]
    count: Option<u32>,
    /// what it is called: the same name gets the same range again, unless another process or namespace still holds it
    #[argh(option, arg_name = "NAME", from_str_fn(name))]
    name: Option<String>,
    /// free it when this process has ended
    #[argh(option, arg_name = "PIDREF", from_str_fn(parse))]
    process: Option<PidRef>,
    /// free it when this user namespace is gone (Linux 6.18; one that the caller owns, or as root)
    #[argh(option, arg_name = "NSREF", from_str_fn(parse))]
    namespace: Option<NsRef>,
    /// say who holds a range from now on: --process, --namespace, or nobody
    #[argh(option, arg_name = "RANGE", from_str_fn(parse))]
    hold: Option<IdRange>,
    /// take a range back, FIRST:COUNT or as it was printed; may be repeated: all or none are taken back
    #[argh(option, arg_name = "RANGE", from_str_fn(parse))]
    release: Vec<IdRange>,
    /// print the ranges that are taken: map, name or -, holder or -
    #[argh(switch)]
    list: bool,
    /// directory of the registry
    #[argh(option, arg_name = "DIR", from_str_fn(directory))]
    registry: Option<String>,
    /// where ranges are taken from
    #[argh(option, arg_name = "FIRST:COUNT", from_str_fn(parse))]
    pool: Option<IdRange>,
}

fn count(text: &str) -> Result<u32, String> {
    match parse::<IdRange>(&format!("0:{text}")) {
        Ok(range) if !text.contains(':') => Ok(range.count()),
        _ => Err("is no number from 1 to 4294967295".to_owned()),
    }
}

fn name(text: &str) -> Result<String, String> {
    Registry::check_name(text).map(|()| text.to_owned()).map_err(|error| error.reason().into_owned())
}

fn directory(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("needs a directory".to_owned()) } else { Ok(text.to_owned()) }
}

impl IdmapAlloc {
    fn holder(&self) -> Result<Holder, Error> {
        match (&self.process, &self.namespace) {
            (Some(process), _) => Holder::process(process.open()?),
            (None, Some(namespace)) => Holder::namespace(&namespace.open(Kind::User)?),
            (None, None) => Ok(Holder::Nobody),
        }
    }
}

impl Tool for IdmapAlloc {
    const NAME: &'static str = "idmap-alloc";
    const CHAIN: Chain = Chain::No;

    fn run(self, _: Option<Exec>) -> Result<(), Failure> {
        let asked = [self.count.is_some(), self.hold.is_some(), !self.release.is_empty(), self.list];
        if asked.into_iter().filter(|asked| *asked).count() != 1 {
            return Err(usage("--count, --hold, --release or --list", "one of them is needed"));
        }
        if self.process.is_some() && self.namespace.is_some() {
            return Err(usage("--process and --namespace", "exclude each other"));
        }
        let holds = self.count.is_some() || self.hold.is_some();
        if !holds && (self.process.is_some() || self.namespace.is_some()) {
            return Err(usage("--process or --namespace", "needs --count or --hold"));
        }
        if self.count.is_none() && (self.name.is_some() || self.pool.is_some()) {
            return Err(usage("--name or --pool", "needs --count"));
        }
        let registry = ids::registry(self.registry.as_deref())?;
        if let Some(count) = self.count {
            let name = self.name.as_deref().unwrap_or_default();
            let range = registry.allocate(&ids::pool(self.pool)?, count, name, self.holder()?)?;
            // what nobody was told of is nobody's; one with a name is found again by it, and may have been another's before
            return print(&format!("{}\n", range.extent()))
                .inspect_err(|_| drop(name.is_empty().then(|| registry.release(&[range]))));
        }
        if let Some(range) = self.hold {
            registry.hold(range, self.holder()?)?;
        }
        if !self.release.is_empty() {
            registry.release(&self.release)?;
        }
        if self.list {
            let line = |entry: libctr::idmap::Entry| {
                let name = if entry.name.is_empty() { "-" } else { &entry.name };
                format!("{} {name} {}\n", entry.range.extent(), entry.holder)
            };
            print(&registry.entries()?.into_iter().map(line).collect::<String>())?;
        }
        Ok(())
    }
}
