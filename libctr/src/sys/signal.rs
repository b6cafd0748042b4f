//! Signal dispositions and masks, as a new program should find them. Nothing here allocates.

use super::check;

/// Sets the disposition of signal number `signal` to the default.
///
/// # Errors
/// EINVAL: no such signal, or SIGKILL or SIGSTOP.
#[doc(alias = "sigaction")]
pub fn set_default(signal: i32) -> nix::Result<()> {
    dispose(signal, libc::SIG_DFL)
}

/// Has signal number `signal` ignored, also by the programs executed from here, until it is set to its default.
///
/// # Errors
/// EINVAL: no such signal, or SIGKILL or SIGSTOP.
#[doc(alias = "sigaction")]
pub fn ignore(signal: i32) -> nix::Result<()> {
    dispose(signal, libc::SIG_IGN)
}

fn dispose(signal: i32, disposition: libc::sighandler_t) -> nix::Result<()> {
    // SAFETY: all zeroes is a valid sigaction: no flags, empty mask.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = disposition;
    // SAFETY: neither of the two dispositions runs code of ours.
    check(unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) }.into()).map(drop)
}

/// Whether signal number `signal` is ignored.
pub fn is_ignored(signal: i32) -> bool {
    // SAFETY: all zeroes is a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: nothing is changed, and the kernel fills `action`.
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut action) };
    asked == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Sets every signal, the real-time ones too, to its default disposition and unblocks all of them.
pub fn reset_all() {
    for signal in 1..=libc::SIGRTMAX() {
        // SIGKILL, SIGSTOP and the two that the C library keeps for itself cannot be changed, and need not be
        let _ = set_default(signal);
    }
    let _ = set_mask(&nix::sys::signal::SigSet::empty());
}

/// Replaces the calling thread's signal mask; returns the one before.
///
/// # Errors
/// None is known; what sigprocmask(2) says is passed on.
#[doc(alias = "sigprocmask")]
pub fn set_mask(mask: &nix::sys::signal::SigSet) -> nix::Result<nix::sys::signal::SigSet> {
    let mut old = nix::sys::signal::SigSet::empty();
    nix::sys::signal::sigprocmask(nix::sys::signal::SigmaskHow::SIG_SETMASK, Some(mask), Some(&mut old))?;
    Ok(old)
}

/// Sends signal number `signal` to the calling process.
#[doc(alias = "kill")]
pub fn raise(signal: i32) {
    // SAFETY: takes numbers only.
    unsafe { libc::kill(libc::getpid(), signal) };
}

/// Takes one of the blocked signals that are pending, waiting for it; returns its number, real-time signals too.
///
/// # Errors
/// EINTR: a handler of a signal that is not blocked ran.
#[doc(alias = "sigwaitinfo")]
pub fn wait_blocked() -> nix::Result<i32> {
    let all = nix::sys::signal::SigSet::all();
    // SAFETY: a null siginfo is allowed: nothing is stored.
    check(unsafe { libc::sigwaitinfo(all.as_ref(), std::ptr::null_mut()) }.into()).map(|signal| signal as i32)
}
