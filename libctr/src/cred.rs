//! What a process may do: ids, capabilities, securebits, resource limits, no_new_privs, seccomp filters.
//!
//! [`Credentials`] says what is to change and [applies](Credentials::apply) it in the one order that works: each step needs
//! rights that a later one takes away. See credentials(7), capabilities(7).

use std::fmt;
use std::os::fd::OwnedFd;
use std::str::FromStr;

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl::set_no_new_privs;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, geteuid, getuid, setgroups, setresgid, setresuid};

use crate::error::{Context, Errno, Error, Fault, Object, Result, show};
use crate::ns::{Kind, Namespace};
use crate::process::Lifeline;
use crate::sys::cred::{self, CapSets};

/// A set of capabilities, bit N for capability N.
///
/// ```
/// use libctr::cred::Capabilities;
/// let set: Capabilities = "net_admin,CAP_SYS_CHROOT".parse()?;
/// assert_eq!(set.to_string(), "net_admin,sys_chroot");
/// assert!("net_admim".parse::<Capabilities>().is_err());
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u64);

impl FromStr for Capabilities {
    type Err = Error;

    fn from_str(text: &str) -> Result<Capabilities> {
        text.split(',').map(capability).try_fold(0, |mask, bit| Ok(mask | bit?)).map(Capabilities)
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = bits(self.0).map(name_of).collect();
        f.write_str(&names.join(","))
    }
}

/// The names of capabilities(7) up to Linux 5.9, after which there were no others, in the order of their numbers.
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

/// The numbers of the bits that are set.
fn bits(set: u64) -> impl Iterator<Item = u8> {
    (0..64).filter(move |bit| set & 1 << bit != 0)
}

fn name_of(capability: u8) -> &'static str {
    NAMES.get(usize::from(capability)).unwrap_or(&"unknown")
}

/// The bit of one capability: `net_admin`, `CAP_NET_ADMIN`.
fn capability(name: &str) -> Result<u64> {
    let lower = name.to_ascii_lowercase();
    let lower = lower.strip_prefix("cap_").unwrap_or(&lower);
    NAMES.iter().position(|known| *known == lower).map(|bit| 1 << bit).ok_or_else(|| {
        Error::invalid("parse capability", show(name), "is no capability, as net_admin or CAP_NET_ADMIN is one")
    })
}

/// How a set of capabilities changes: `all`, `none`, `net_admin,chown` (exactly these) or `+net_admin,-chown`. What is named has to
/// be there to be had; `all` is all that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapChange {
    keep: u64,
    add: u64,
    named: u64,
}

impl CapChange {
    /// What the set becomes.
    pub fn of(self, current: u64) -> u64 {
        current & self.keep | self.add
    }

    /// The same, where only what is `available` can be had.
    fn within(self, current: u64, available: u64, operation: &'static str) -> std::result::Result<u64, Fault<'static>> {
        match bits(self.named & self.add & !available).next() {
            Some(missing) => Err(Fault::new(operation, Object::Text(name_of(missing).as_bytes()), Errno::EPERM)
                .with_hint("this process does not have it, or its bounding set has not")),
            None => Ok(self.of(current) & available),
        }
    }
}

impl FromStr for CapChange {
    type Err = Error;

    fn from_str(text: &str) -> Result<CapChange> {
        match text {
            "all" => return Ok(CapChange { keep: 0, add: u64::MAX, named: 0 }),
            "none" => return Ok(CapChange { keep: 0, add: 0, named: 0 }),
            _ if !text.contains(['+', '-']) => {
                return text.parse().map(|Capabilities(add)| CapChange { keep: 0, add, named: add });
            }
            _ => {}
        }
        let mut change = CapChange { keep: u64::MAX, add: 0, named: 0 };
        for item in text.split(',') {
            let Some((sign, name)) = item.split_at_checked(1).filter(|(sign, _)| matches!(*sign, "+" | "-")) else {
                return Err(Error::invalid("parse capabilities", show(text), "has names with and without a sign"));
            };
            let (bits, named) = if name == "all" { (u64::MAX, 0) } else { capability(name).map(|bit| (bit, bit))? };
            change = match sign {
                "+" => CapChange { add: change.add | bits, named: change.named | named, ..change },
                _ => CapChange { keep: change.keep & !bits, add: change.add & !bits, ..change },
            };
        }
        Ok(change)
    }
}

/// One resource limit: `NAME=SOFT[:HARD]`, each a number or `unlimited`; names as in prlimit(1) or getrlimit(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    resource: Resource,
    name: &'static str,
    soft: u64,
    hard: u64,
}

const RESOURCES: [(&str, Resource); 16] = [
    ("as", Resource::RLIMIT_AS),
    ("core", Resource::RLIMIT_CORE),
    ("cpu", Resource::RLIMIT_CPU),
    ("data", Resource::RLIMIT_DATA),
    ("fsize", Resource::RLIMIT_FSIZE),
    ("locks", Resource::RLIMIT_LOCKS),
    ("memlock", Resource::RLIMIT_MEMLOCK),
    ("msgqueue", Resource::RLIMIT_MSGQUEUE),
    ("nice", Resource::RLIMIT_NICE),
    ("nofile", Resource::RLIMIT_NOFILE),
    ("nproc", Resource::RLIMIT_NPROC),
    ("rss", Resource::RLIMIT_RSS),
    ("rtprio", Resource::RLIMIT_RTPRIO),
    ("rttime", Resource::RLIMIT_RTTIME),
    ("sigpending", Resource::RLIMIT_SIGPENDING),
    ("stack", Resource::RLIMIT_STACK),
];

impl FromStr for Rlimit {
    type Err = Error;

    fn from_str(text: &str) -> Result<Rlimit> {
        let invalid = |reason: &str| Error::invalid("parse resource limit", show(text), reason);
        let (name, values) = text.split_once('=').ok_or_else(|| invalid("needs NAME=SOFT[:HARD]"))?;
        let lower = name.to_ascii_lowercase();
        let lower = lower.strip_prefix("rlimit_").unwrap_or(&lower);
        let found = RESOURCES.into_iter().find(|(known, _)| *known == lower);
        let (name, resource) = found.ok_or_else(|| {
            let names: Vec<&str> = RESOURCES.iter().map(|(name, _)| *name).collect();
            invalid(&format!("names none of {}", names.join(", ")))
        })?;
        let number = |text: &str| match text {
            "unlimited" | "infinity" => Some(libc::RLIM_INFINITY),
            _ if text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0')) => {
                text.parse().ok()
            }
            _ => None,
        };
        let (soft, hard) = values.split_once(':').unwrap_or((values, values));
        match (number(soft), number(hard)) {
            (Some(soft), Some(hard)) if soft <= hard => Ok(Rlimit { resource, name, soft, hard }),
            (Some(_), Some(_)) => Err(invalid("has a soft limit above the hard one")),
            _ => Err(invalid("needs numbers, or unlimited")),
        }
    }
}

/// A change of the securebits: `noroot,noroot_locked` (exactly these) or `+noroot,-no_setuid_fixup`; names as in setpriv(1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Securebits {
    keep: u32,
    set: u32,
}

const NOROOT: u32 = 1;
const KEEP_CAPS: u32 = 1 << 4;
const SECUREBITS: [&str; 8] = [
    "noroot",
    "noroot_locked",
    "no_setuid_fixup",
    "no_setuid_fixup_locked",
    "keep_caps",
    "keep_caps_locked",
    "no_cap_ambient_raise",
    "no_cap_ambient_raise_locked",
];

impl FromStr for Securebits {
    type Err = Error;

    fn from_str(text: &str) -> Result<Securebits> {
        let invalid = |reason: String| Error::invalid("parse securebits", show(text), reason);
        let signed = text.starts_with(['+', '-']);
        let mut bits = Securebits { keep: if signed { u32::MAX } else { 0 }, set: 0 };
        for item in text.split(',') {
            let name = item.trim_start_matches(['+', '-']);
            if item.len() - name.len() != usize::from(signed) {
                return Err(invalid("has names with and without a sign".into()));
            }
            let index = SECUREBITS.iter().position(|known| *known == name);
            let bit =
                1 << index.ok_or_else(|| invalid(format!("{} is none of {}", show(name), SECUREBITS.join(", "))))?;
            if bit == KEEP_CAPS && !item.starts_with('-') {
                return Err(invalid("has keep_caps, which execve(2) clears: see the ambient set".into()));
            }
            if item.starts_with('-') {
                bits = Securebits { keep: bits.keep & !bit, set: bits.set & !bit };
            } else {
                bits.set |= bit;
            }
        }
        Ok(bits)
    }
}

/// A compiled seccomp filter: an array of `struct sock_filter`, as seccomp_export_bpf(3) writes it.
#[derive(Clone, Debug)]
pub struct SeccompProgram(Vec<libc::sock_filter>);

impl SeccompProgram {
    /// The program in `bytes`, in the machine's byte order.
    ///
    /// # Errors
    /// EINVAL: not 1 to 4096 instructions of eight bytes. The kernel checks the rest when it is applied.
    pub fn new(bytes: &[u8]) -> Result<SeccompProgram> {
        let (instructions, rest) = bytes.as_chunks::<8>();
        if !rest.is_empty() || !(1..=4096).contains(&instructions.len()) {
            let reason = "must be 1 to 4096 instructions of eight bytes: compiled BPF, not text";
            return Err(Error::invalid("read seccomp filter", format_args!("of {} bytes", bytes.len()), reason));
        }
        let read = |[a, b, jt, jf, c, d, e, f]: &[u8; 8]| libc::sock_filter {
            code: u16::from_ne_bytes([*a, *b]),
            jt: *jt,
            jf: *jf,
            k: u32::from_ne_bytes([*c, *d, *e, *f]),
        };
        Ok(SeccompProgram(instructions.iter().map(read).collect()))
    }
}

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

    /// What the program has: its permitted and effective set. An execve(2) computes them anew, so that more has to change: a program
    /// that runs as root gets all that is in the bounding set, which loses the others too; to that of another user they are
    /// handed as ambient ones, and it has no others.
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
    /// umask, the parent's death signal where there is a `lifeline` (a change of ids has cleared it), no_new_privs, seccomp filters.
    /// Allocates nothing, so that it may run between clone3(2) and execve(2).
    ///
    /// # Errors
    /// EPERM: a right is missing, or a capability that is named. EINVAL: an id is not mapped in this user namespace. ESRCH: the parent
    /// is dead. After an error the process is half-way, and has to end.
    #[doc(alias = "setresuid")]
    #[doc(alias = "capset")]
    pub fn apply(&self, lifeline: Option<&Lifeline>) -> std::result::Result<(), Fault<'_>> {
        self.become_ids()?;
        for limit in &self.rlimits {
            setrlimit(limit.resource, limit.soft, limit.hard).map_err(|errno| {
                let fault = Fault::new("set resource limit", Object::Text(limit.name.as_bytes()), errno);
                fault.with_hint("above the hard limit it needs CAP_SYS_RESOURCE in the initial user namespace")
            })?;
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
            cred::seccomp_filter(&program.0).map_err(|errno| {
                let fault = Fault::new("set seccomp filter", Object::None, errno);
                match errno {
                    Errno::EACCES => fault.with_hint("this needs no_new_privs, or CAP_SYS_ADMIN among the permitted"),
                    Errno::EINVAL => fault.with_hint("the kernel refuses this BPF program"),
                    _ => fault,
                }
            })?;
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

/// The limit of further user namespaces in the calling thread's own, `user.max_user_namespaces` of namespaces(7), open to be written.
#[derive(Debug)]
pub struct UserNamespaceLimit(OwnedFd);

impl UserNamespaceLimit {
    /// Opens it, while `/proc/sys` can be written to.
    ///
    /// # Errors
    /// EPERM: in the initial user namespace it would hold for the whole machine. EACCES: CAP_SYS_RESOURCE is missing. EROFS, ENOENT:
    /// `/proc/sys` is read-only or not there.
    pub fn open() -> Result<UserNamespaceLimit> {
        /// `PROC_USER_INIT_INO` of linux/proc_ns.h, for ever the same.
        const INITIAL: u64 = 0xEFFF_FFFD;
        const LIMIT: &str = "/proc/sys/user/max_user_namespaces";
        if Namespace::current(Kind::User)?.id()?.1 == INITIAL {
            return Err(Error::new(Self::OPERATION, "", Errno::EPERM)
                .with_reason("this is the initial user namespace: it would hold for the whole machine")
                .with_hint("enter or make a user namespace first"));
        }
        let flags = OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
        let file = openat(AT_FDCWD, LIMIT, flags, Mode::empty()).context("open", LIMIT)?;
        crate::process::verify_procfs(&file, LIMIT)?;
        Ok(UserNamespaceLimit(file))
    }

    /// Forbids further user namespaces to everything in this one, for good: the limit becomes 0, and the thread loses
    /// CAP_SYS_RESOURCE, which could change that, from its bounding set on. Then it is tried out. Allocates nothing.
    ///
    /// Whoever else has that capability in this user namespace could still raise the limit: this is for before the container's
    /// first process.
    ///
    /// # Errors
    /// EPERM: CAP_SYS_RESOURCE or CAP_SETPCAP is missing. EIO: one could still be made.
    #[doc(alias = "max_user_namespaces")]
    pub fn disable(&self) -> std::result::Result<(), Fault<'static>> {
        const CAP_SYS_RESOURCE: u8 = 24;
        let fault = |errno| Fault::new(Self::OPERATION, Object::None, errno);
        nix::unistd::write(&self.0, b"0").map_err(fault)?;
        cred::bounding_drop(CAP_SYS_RESOURCE).map_err(fault)?;
        let had = cred::capget().map_err(fault)?;
        let without = |set: u64| set & !(1 << CAP_SYS_RESOURCE);
        cred::capset(CapSets {
            effective: without(had.effective),
            permitted: without(had.permitted),
            inheritable: without(had.inheritable),
        })
        .map_err(fault)?;
        match unshare(CloneFlags::CLONE_NEWUSER) {
            Err(Errno::ENOSPC) => Ok(()),
            Err(errno) => Err(fault(errno).with_hint("one could not be tried out")),
            Ok(()) => Err(fault(Errno::EIO).with_hint("one could still be made")),
        }
    }

    const OPERATION: &'static str = "disable user namespaces";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_strict() {
        assert_eq!("all".parse::<CapChange>().unwrap().of(5), u64::MAX);
        assert_eq!("none".parse::<CapChange>().unwrap().of(5), 0);
        assert_eq!("chown,dac_override".parse::<CapChange>().unwrap().of(0xf0), 3);
        assert_eq!("+chown,-dac_override".parse::<CapChange>().unwrap().of(0xf2), 0xf1);
        assert_eq!("-all,+chown".parse::<CapChange>().unwrap().of(0xf2), 1);
        for text in ["", "chown,+kill", "frob", "+", "cap_", "1", "chown,", "ALL "] {
            assert!(text.parse::<CapChange>().is_err(), "{text:?}");
        }
        for text in ["nofile=5", "RLIMIT_NOFILE=5:6", "core=unlimited", "stack=0:unlimited"] {
            assert!(text.parse::<Rlimit>().is_ok(), "{text:?}");
        }
        for text in
            ["", "nofile", "nofile=", "nofile=6:5", "frob=1", "nofile=-1", "nofile=05", "nofile=1e3", "as=unlimited:1"]
        {
            assert!(text.parse::<Rlimit>().is_err(), "{text:?}");
        }
        assert_eq!("noroot,noroot_locked".parse::<Securebits>().unwrap(), Securebits { keep: 0, set: 3 });
        assert_eq!("+no_setuid_fixup,-noroot".parse::<Securebits>().unwrap(), Securebits { keep: !1, set: 4 });
        for text in ["", "noroot,+no_setuid_fixup", "frob", "++noroot", "keep_caps", "+keep_caps"] {
            assert!(text.parse::<Securebits>().is_err(), "{text:?}");
        }
        assert!(SeccompProgram::new(&[0; 7]).is_err() && SeccompProgram::new(&[]).is_err());
        assert!(SeccompProgram::new(&vec![0; 8 * 4097]).is_err() && SeccompProgram::new(&[0; 16]).is_ok());
    }

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
