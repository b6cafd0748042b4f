//! The small init: process 1 of a pid namespace where the program is not made for that.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::{Pid, write};

use crate::sys;

/// What the init does when its program runs: collects what ends, sends signals on, ends with the program. Returns the exit
/// status, and says more through `ended`. Every signal is blocked. Allocates nothing.
pub(super) fn run(program: Pid, ended: &OwnedFd) -> i32 {
    close_all_but(ended.as_raw_fd());
    loop {
        match sys::signal::wait_blocked() {
            Ok(libc::SIGCHLD) | Err(_) => {}
            Ok(signal) => sys::clone::signal_child(program, signal),
        }
        // one SIGCHLD may stand for many
        while let Ok(Some((pid, code, status))) = sys::clone::reap() {
            if pid == program {
                let mut said = [0; 8];
                said[..4].copy_from_slice(&code.to_ne_bytes());
                said[4..].copy_from_slice(&status.to_ne_bytes());
                let _ = write(ended, &said);
                return if code == libc::CLD_EXITED { status } else { 128 + status };
            }
        }
    }
}

/// The init never executes a program, so close-on-exec does nothing for it: what it holds is seen in `/proc/1/fd`. With the
/// report's pipe gone, who started it learns that the program runs.
fn close_all_but(kept: i32) {
    let kept = kept.unsigned_abs();
    let below = if kept > 3 { sys::fd::close_range(3, kept - 1) } else { Ok(()) };
    if below.and_then(|()| sys::fd::close_range(kept + 1, u32::MAX)).is_err() {
        let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(_, hard)| hard.min(1 << 20)) as i32;
        (3..limit).filter(|number| number.unsigned_abs() != kept).for_each(sys::fd::close);
    }
}
