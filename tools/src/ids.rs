//! Where id ranges come from: a registry and a pool, by option or by environment.

use std::env::VarError;
use std::ffi::OsString;

use libctr::idmap::{Holder, IdRange, Pool, Registry};
use libctr::process::PidRef;
use libctr::{Error, show};

use crate::cli::{Failure, usage};

/// Names the registry's directory where no option does.
const REGISTRY: &str = "IDMAP_REGISTRY";
/// Names the pool where no option does.
const POOL: &str = "IDMAP_POOL";

/// The registry of an option, else of the environment, else the default one.
pub(crate) fn registry(option: Option<&str>) -> Result<Registry, Failure> {
    let directory = option.map(OsString::from).or_else(|| std::env::var_os(REGISTRY));
    match directory.filter(|directory| !directory.is_empty()) {
        Some(directory) => Ok(Registry::new(directory)),
        None => Ok(Registry::new(Registry::default_directory()?)),
    }
}

/// The pool of an option, else of the environment, else the default one.
pub(crate) fn pool(option: Option<IdRange>) -> Result<Pool, Failure> {
    let from_environment = || match std::env::var(POOL) {
        Ok(text) => text.parse().map(Some).map_err(|error: Error| usage(POOL, error.reason())),
        Err(VarError::NotUnicode(text)) => Err(usage(POOL, format!("is {}, which is not UTF-8", show(&text)))),
        Err(VarError::NotPresent) => Ok(None),
    };
    Ok(Pool::of_caller(option.map_or_else(from_environment, |range| Ok(Some(range)))?)?)
}

/// Ranges for one container: each count once, held by this process until somebody else does. Released when this is dropped:
/// not when another program takes over.
#[derive(Default)]
pub(crate) struct Ranges {
    given: Vec<(Registry, IdRange)>,
}

impl Ranges {
    /// A range of so many ids, the same one for the same count.
    pub(crate) fn of(&mut self, count: u32) -> Result<IdRange, Failure> {
        if let Some((_, range)) = self.given.iter().find(|(_, range)| range.count() == count) {
            return Ok(*range);
        }
        let holder = Holder::process(PidRef::Pid(nix::unistd::getpid()).open()?)?;
        let registry = registry(None)?;
        let range = registry.allocate(&pool(None)?, count, "", holder)?;
        self.given.push((registry, range));
        Ok(range)
    }

    /// Has this holder have them.
    pub(crate) fn hold(&self, holder: impl Fn() -> Result<Holder, Error>) -> Result<(), Failure> {
        for (registry, range) in &self.given {
            registry.hold(*range, holder()?)?;
        }
        Ok(())
    }

    /// Leaves them to their holder.
    pub(crate) fn keep(mut self) {
        self.given.clear();
    }
}

impl Drop for Ranges {
    fn drop(&mut self) {
        for (registry, range) in &self.given {
            let _ = registry.release(&[*range]);
        }
    }
}
