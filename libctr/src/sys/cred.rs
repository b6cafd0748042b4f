//! Capabilities as bit masks, prctl(2) and seccomp(2): forms that allocate nothing, for the moment before execve(2).

use nix::errno::Errno;

use super::check;

/// The three capability sets of capset(2), bit N for capability N.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapSets {
    /// What the thread may use now.
    pub effective: u64,
    /// What it may make effective.
    pub permitted: u64,
    /// What passes through an execve(2) of a program whose file allows it.
    pub inheritable: u64,
}

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

const LINUX_CAPABILITY_VERSION_3: u32 = 0x2008_0522;

/// The calling thread's capability sets.
///
/// # Errors
/// None is known; what capget(2) says is passed on.
pub fn capget() -> nix::Result<CapSets> {
    let mut header = Header { version: LINUX_CAPABILITY_VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 reads the header and fills two elements.
    check(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) })?;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(CapSets {
        effective: join(data[0].effective, data[1].effective),
        permitted: join(data[0].permitted, data[1].permitted),
        inheritable: join(data[0].inheritable, data[1].inheritable),
    })
}

/// Sets the calling thread's capability sets.
///
/// # Errors
/// EPERM: permitted would grow, effective would exceed it, or inheritable would exceed the bounding set.
pub fn capset(sets: CapSets) -> nix::Result<()> {
    let mut header = Header { version: LINUX_CAPABILITY_VERSION_3, pid: 0 };
    let data = [0, 32].map(|shift| Data {
        effective: (sets.effective >> shift) as u32,
        permitted: (sets.permitted >> shift) as u32,
        inheritable: (sets.inheritable >> shift) as u32,
    });
    // SAFETY: version 3 reads the header and two elements.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) }).map(drop)
}

/// Whether capability number `cap` is in the bounding set.
///
/// # Errors
/// EINVAL: the kernel knows no such capability.
#[doc(alias = "PR_CAPBSET_READ")]
pub fn bounding_has(cap: u8) -> nix::Result<bool> {
    Ok(prctl(libc::PR_CAPBSET_READ, cap.into(), 0)? == 1)
}

/// Removes capability number `cap` from the bounding set.
///
/// # Errors
/// EPERM: no CAP_SETPCAP. EINVAL: the kernel knows no such capability.
#[doc(alias = "PR_CAPBSET_DROP")]
pub fn bounding_drop(cap: u8) -> nix::Result<()> {
    prctl(libc::PR_CAPBSET_DROP, cap.into(), 0).map(drop)
}

/// Empties the ambient set (Linux 4.3).
///
/// # Errors
/// EINVAL: the kernel has none.
#[doc(alias = "PR_CAP_AMBIENT_CLEAR_ALL")]
pub fn ambient_clear() -> nix::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0).map(drop)
}

/// Adds capability number `cap` to the ambient set (Linux 4.3).
///
/// # Errors
/// EPERM: it is not both permitted and inheritable, or securebits forbid it.
#[doc(alias = "PR_CAP_AMBIENT_RAISE")]
pub fn ambient_raise(cap: u8) -> nix::Result<()> {
    prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, cap.into()).map(drop)
}

/// Whether capability number `cap` is in the ambient set (Linux 4.3).
///
/// # Errors
/// EINVAL: the kernel knows no such capability.
#[doc(alias = "PR_CAP_AMBIENT_IS_SET")]
pub fn ambient_has(cap: u8) -> nix::Result<bool> {
    Ok(prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_IS_SET as u64, cap.into())? == 1)
}

/// The securebits of capabilities(7).
///
/// # Errors
/// None is known; what prctl(2) says is passed on.
#[doc(alias = "PR_GET_SECUREBITS")]
pub fn securebits() -> nix::Result<u32> {
    prctl(libc::PR_GET_SECUREBITS, 0, 0).map(|bits| bits as u32)
}

/// Sets the securebits of capabilities(7).
///
/// # Errors
/// EPERM: no CAP_SETPCAP, or a locked bit would change.
#[doc(alias = "PR_SET_SECUREBITS")]
pub fn set_securebits(bits: u32) -> nix::Result<()> {
    prctl(libc::PR_SET_SECUREBITS, bits.into(), 0).map(drop)
}

/// Whether the calling process has no supplementary group but its own effective one, for certain: 65534 may stand for any that is
/// not mapped in this user namespace. Unlike nix's getgroups it allocates nothing.
///
/// # Errors
/// None is known; what getgroups(2) says is passed on.
#[doc(alias = "getgroups")]
pub fn no_other_groups() -> nix::Result<bool> {
    let mut only: libc::gid_t = 0;
    // SAFETY: getgroups stores at most one group there; where there are more it says EINVAL and stores none.
    match check(unsafe { libc::getgroups(1, &raw mut only) }.into()) {
        Ok(0) => Ok(true),
        Ok(_) => {
            let own = nix::unistd::getegid();
            // an id that is not mapped cannot be set, not even where it is the one that is had
            let mapped = own.as_raw() != 65534 && nix::unistd::setresgid(own, own, own).is_ok();
            Ok(mapped && only == own.as_raw())
        }
        Err(nix::errno::Errno::EINVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Whether the permitted set survives when the user id becomes other than 0; execve(2) clears it.
///
/// # Errors
/// EPERM: a securebit has locked it.
#[doc(alias = "PR_SET_KEEPCAPS")]
pub fn keep_capabilities(keep: bool) -> nix::Result<()> {
    prctl(libc::PR_SET_KEEPCAPS, keep.into(), 0).map(drop)
}

/// Puts the calling thread under a seccomp filter: `program` is an array of `struct sock_filter`, eight bytes each.
///
/// # Errors
/// EINVAL: an invalid program, or not 1 to 4096 instructions of eight bytes. EACCES: neither CAP_SYS_ADMIN nor
/// no_new_privs.
#[doc(alias = "seccomp")]
#[doc(alias = "SECCOMP_SET_MODE_FILTER")]
pub fn seccomp_filter(program: &[libc::sock_filter]) -> nix::Result<()> {
    let len = u16::try_from(program.len()).map_err(|_| Errno::EINVAL)?;
    let program = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies `len` instructions and does not write to them.
    check(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) }).map(drop)
}

/// Joins a new anonymous session keyring, so that the caller's keys are not handed on.
///
/// # Errors
/// ENOSYS: the kernel has no keyrings. EPERM, EDQUOT: see keyctl(2).
#[doc(alias = "KEYCTL_JOIN_SESSION_KEYRING")]
pub fn join_session_keyring() -> nix::Result<()> {
    let anonymous = std::ptr::null::<libc::c_char>();
    // SAFETY: a null name asks for an anonymous keyring.
    check(unsafe { libc::syscall(libc::SYS_keyctl, libc::KEYCTL_JOIN_SESSION_KEYRING, anonymous) }).map(drop)
}

fn prctl(option: i32, arg2: u64, arg3: u64) -> nix::Result<i32> {
    // SAFETY: the options of this module take numbers only.
    let ret = check(unsafe { libc::prctl(option, arg2, arg3, 0, 0) }.into())?;
    Ok(ret as i32)
}
