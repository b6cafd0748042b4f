//! What a process may do: ids, capabilities, securebits, resource limits, no_new_privs, seccomp filters.
//!
//! [`Credentials`] says what is to change and [applies](Credentials::apply) it in the one order that works: each step needs
//! rights that a later one takes away. See credentials(7), capabilities(7).

mod capability;
mod rlimit;
mod seccomp;
mod securebits;
mod user_namespaces;

use nix::sys::prctl::set_no_new_privs;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, geteuid, getuid, setgroups, setresgid, setresuid};

use capability::{bits, name_of};
use securebits::NOROOT;

pub use capability::{CapChange, Capabilities};
pub use rlimit::Rlimit;
pub use seccomp::SeccompProgram;
pub use securebits::Securebits;
pub use user_namespaces::UserNamespaceLimit;

use crate::error::{Errno, Fault, Object};
use crate::process::Lifeline;
use crate::sys::cred::{self, CapSets};

/// What a process gives up, and who it becomes.
///
/// Without any call it empties the inheritable and the ambient set and changes nothing else.
///
/// ```no_run
/// use libctr::cred::Credentials;
/// let mut credentials = Credentials::default();
/// credentials.uid(1000).gid(1000).ambient("net_bind_service".parse()?).no_new_privs();
/// credentials.apply(None)?;
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    uid: Option<u32>,
    gid: Option<u32>,
    groups: Option<Vec<Gid>>,
    rlimits: Vec<Rlimit>,
    bounding: Option<CapChange>,
    permitted: Option<CapChange>,
    inheritable: Option<CapChange>,
    ambient: Option<CapChange>,
    securebits: Option<Securebits>,
    umask: Option<Mode>,
    no_new_privs: bool,
    seccomp: Vec<SeccompProgram>,
}

impl Credentials {
    /// Real, effective and saved user id. Supplementary groups are dropped with it unless [given](Credentials::groups).
    pub fn uid(&mut self, uid: u32) -> &mut Self {
        self.uid = Some(uid);
        self
    }

    /// Real, effective and saved group id. Supplementary groups are dropped with it unless [given](Credentials::groups).
    pub fn gid(&mut self, gid: u32) -> &mut Self {
        self.gid = Some(gid);
        self
    }

    /// The supplementary groups.
    pub fn groups(&mut self, groups: &[u32]) -> &mut Self {
        self.groups = Some(groups.iter().map(|id| Gid::from_raw(*id)).collect());
        self
    }

    /// A resource limit. Above the hard limit that there is it needs CAP_SYS_RESOURCE in the initial user namespace.
    pub fn rlimit(&mut self, rlimit: Rlimit) -> &mut Self {
        self.rlimits.push(rlimit);
        self
    }

    /// The bounding set: what no execve(2) can bring back. It only shrinks.
    pub fn bounding(&mut self, change: CapChange) -> &mut Self {
        self.bounding = Some(change);
        self
    }

    /// What the program has: its permitted and effective set. An execve(2) computes them anew, so that more has to change: a
    /// program that runs as root gets all that is in the bounding set, which loses the others too; to that of another user they
    /// are handed as ambient ones, and it has no others.
    pub fn permitted(&mut self, change: CapChange) -> &mut Self {
        self.permitted = Some(change);
        self
    }

    /// The inheritable set, which is emptied otherwise.
    pub fn inheritable(&mut self, change: CapChange) -> &mut Self {
        self.inheritable = Some(change);
        self
    }

    /// The ambient set, which is emptied otherwise: what a program has without being root. They become permitted and
    /// inheritable too.
    pub fn ambient(&mut self, change: CapChange) -> &mut Self {
        self.ambient = Some(change);
        self
    }

    /// The securebits.
    pub fn securebits(&mut self, bits: Securebits) -> &mut Self {
        self.securebits = Some(bits);
        self
    }

    /// The file mode creation mask.
    pub fn umask(&mut self, mask: Mode) -> &mut Self {
        self.umask = Some(mask);
        self
    }

    /// No execve(2) grants privileges any more. It cannot be undone.
    pub fn no_new_privs(&mut self) -> &mut Self {
        self.no_new_privs = true;
        self
    }

    /// A filter of system calls, on top of those that there are. It holds for execve(2), too.
    pub fn seccomp(&mut self, program: SeccompProgram) -> &mut Self {
        self.seccomp.push(program);
        self
    }

    /// Applies it to the calling thread, in this order: supplementary groups, group, user (keeping the permitted set for the
    /// steps that need it), resource limits, bounding, inheritable and ambient set, securebits, permitted and effective set,
    /// umask, the parent's death signal where there is a `lifeline` (a change of ids has cleared it), no_new_privs, seccomp
    /// filters. Allocates nothing, so that it may run between clone3(2) and execve(2).
    ///
    /// # Errors
    /// EPERM: a right is missing, or a capability that is named. EINVAL: an id is not mapped in this user namespace. ESRCH: the
    /// parent is dead. After an error the process is half-way, and has to end.
    #[doc(alias = "setresuid")]
    #[doc(alias = "capset")]
    pub fn apply(&self, lifeline: Option<&Lifeline>) -> std::result::Result<(), Fault<'_>> {
        self.become_ids()?;
        for limit in &self.rlimits {
            limit.apply()?;
        }
        self.set_capabilities()?;
        if let Some(mask) = self.umask {
            umask(mask);
        }
        lifeline.map_or(Ok(()), Lifeline::tie)?;
        if self.no_new_privs {
            set_no_new_privs().map_err(|errno| Fault::new("set no_new_privs", Object::None, errno))?;
        }
        for program in &self.seccomp {
            program.apply()?;
        }
        Ok(())
    }

    fn become_ids(&self) -> std::result::Result<(), Fault<'_>> {
        let fault = |operation, id: u32| {
            move |errno| {
                let fault = Fault::new(operation, Object::Number(id.into()), errno);
                match errno {
                    Errno::EINVAL => fault.with_hint("that id is not mapped in this user namespace"),
                    Errno::EPERM => fault.with_hint("this needs CAP_SETUID and CAP_SETGID"),
                    _ => fault,
                }
            }
        };
        let ids = self.uid.is_some() || self.gid.is_some();
        let groups = self.groups.as_deref().or(ids.then_some(&[]));
        if let Some(groups) = groups {
            match setgroups(groups) {
                // setgroups(2) may be denied for good, which matters only where there are other groups
                Err(Errno::EPERM) if groups.is_empty() && cred::no_other_groups() == Ok(true) => {}
                other => other.map_err(|errno| {
                    Fault::new("set supplementary groups", Object::None, errno)
                        .with_hint("setgroups(2) is denied in this user namespace, a group is not mapped, or CAP_SETGID is missing")
                })?,
            }
        }
        if let Some(gid) = self.gid {
            let raw = Gid::from_raw(gid);
            setresgid(raw, raw, raw).map_err(fault("become group", gid))?;
        }
        if let Some(uid) = self.uid {
            let capability = |errno| Fault::new("keep capabilities", Object::None, errno);
            cred::keep_capabilities(true).map_err(capability)?;
            let raw = Uid::from_raw(uid);
            setresuid(raw, raw, raw).map_err(fault("become user", uid))?;
            cred::keep_capabilities(false).map_err(capability)?;
            // the effective set is gone, the permitted one is not
            let sets = cred::capget().map_err(capability)?;
            cred::capset(CapSets { effective: sets.permitted, ..sets }).map_err(capability)?;
        }
        Ok(())
    }

    fn set_capabilities(&self) -> std::result::Result<(), Fault<'_>> {
        let fault = |operation| move |errno| Fault::new(operation, Object::None, errno);
        let had = cred::capget().map_err(fault("read capabilities"))?;
        let mut bounding = 0;
        for cap in 0..64 {
            match cred::bounding_has(cap) {
                Ok(true) => bounding |= 1 << cap,
                Ok(false) => {}
                // beyond the last that this kernel knows
                Err(_) => break,
            }
        }
        let shrink = |bounding: &mut u64, wanted: u64| {
            for cap in bits(*bounding & !wanted) {
                cred::bounding_drop(cap).map_err(|errno| {
                    let name = Object::Text(name_of(cap).as_bytes());
                    Fault::new("drop from bounding set", name, errno).with_hint("this needs CAP_SETPCAP")
                })?;
            }
            *bounding &= wanted;
            Ok(())
        };
        if let Some(change) = self.bounding {
            let wanted = change.within(bounding, bounding, "keep in bounding set")?;
            shrink(&mut bounding, wanted)?;
        }
        let securebits = cred::securebits().map_err(fault("read securebits"))?;
        let securebits_then = self.securebits.map_or(securebits, |change| securebits & change.keep | change.set);
        let root = (getuid().is_root() || geteuid().is_root()) && securebits_then & NOROOT == 0;
        let available = had.permitted & bounding;
        let ambient_had = bits(had.permitted).filter(|cap| cred::ambient_has(*cap) == Ok(true));
        let ambient_had = ambient_had.fold(0, |set, cap| set | 1 << cap);
        let mut ambient = match self.ambient {
            Some(change) => change.within(ambient_had, available, "make ambient")?,
            None => 0,
        };
        let mut permitted = if root || self.uid.is_none() { had.permitted } else { 0 };
        if let Some(change) = self.permitted {
            permitted = change.within(permitted, available, "permit")?;
            if root {
                shrink(&mut bounding, permitted | ambient)?;
            } else {
                ambient |= permitted;
            }
        }
        permitted |= ambient;
        // root gets what is inheritable, whatever the bounding set says
        let allowed = if root && self.permitted.is_some() { permitted } else { u64::MAX };
        let available = (had.permitted & bounding | had.inheritable) & allowed;
        let inheritable = match self.inheritable {
            Some(change) => change.within(had.inheritable, available, "make inheritable")? | ambient,
            None => ambient,
        };
        cred::capset(CapSets { inheritable, ..had }).map_err(fault("set inheritable capabilities"))?;
        match cred::ambient_clear() {
            // before Linux 4.3 there is none
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(Fault::new("clear ambient capabilities", Object::None, errno)),
        }
        for cap in bits(ambient) {
            cred::ambient_raise(cap).map_err(|errno| {
                Fault::new("make ambient", Object::Text(name_of(cap).as_bytes()), errno)
                    .with_hint("securebits forbid it")
            })?;
        }
        if securebits_then != securebits {
            cred::set_securebits(securebits_then).map_err(|errno| {
                Fault::new("set securebits", Object::None, errno)
                    .with_hint("this needs CAP_SETPCAP, and no locked bit changes")
            })?;
        }
        cred::capset(CapSets { effective: permitted, permitted, inheritable }).map_err(fault("set capabilities"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs `work` in a child of its own; its result is the exit status.
    fn in_child(work: impl FnOnce() -> i32) -> i32 {
        let pid = crate::sys::clone::fork(work).unwrap();
        match nix::sys::wait::waitpid(pid, None).unwrap() {
            nix::sys::wait::WaitStatus::Exited(_, status) => status,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn another_user_keeps_only_what_was_asked() {
        let mut credentials = Credentials::default();
        credentials.uid(1234).gid(1235).groups(&[1236]).rlimit("core=0".parse().unwrap()).no_new_privs();
        credentials.ambient("net_bind_service".parse().unwrap()).bounding("net_bind_service,chown".parse().unwrap());
        let status = in_child(|| {
            if credentials.apply(None).is_err() {
                return 1;
            }
            let sets = cred::capget().unwrap();
            let net_bind_service = 1 << 10;
            let ids = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw(), cred::no_other_groups());
            let bounding: Vec<u8> = (0..41).filter(|cap| cred::bounding_has(*cap) == Ok(true)).collect();
            let right = ids == (1234, 1235, Ok(false))
                && (sets.permitted, sets.effective, sets.inheritable)
                    == (net_bind_service, net_bind_service, net_bind_service)
                && bounding == [0, 10]
                && cred::ambient_has(10) == Ok(true);
            if right { 0 } else { 2 }
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn by_default_nothing_is_inheritable() {
        let status = in_child(|| {
            let had = cred::capget().unwrap();
            cred::capset(CapSets { inheritable: had.permitted, ..had }).unwrap();
            cred::ambient_raise(0).unwrap();
            Credentials::default().apply(None).unwrap();
            let now = cred::capget().unwrap();
            if (now.permitted, now.inheritable, cred::ambient_has(0)) == (had.permitted, 0, Ok(false)) { 0 } else { 1 }
        });
        assert_eq!(status, 0);
    }

    #[test]
    fn what_is_refused_is_named() {
        let mut credentials = Credentials::default();
        credentials.permitted("none".parse().unwrap()).seccomp(SeccompProgram::new(&[0; 8]).unwrap());
        let status = in_child(|| match credentials.apply(None) {
            Err(fault) if fault.operation == "set seccomp filter" && fault.hint.is_some() => fault.errno as i32,
            _ => 0,
        });
        // with no right left and without no_new_privs
        assert!(status == Errno::EACCES as i32 || status == Errno::EINVAL as i32, "{status}");
    }
}
