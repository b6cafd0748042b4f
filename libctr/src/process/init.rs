//! The small init: process 1 of a pid namespace where the program is not made for that.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::unistd::{Pid, write};

use crate::sys;

/// What the init does when its program runs: collects what ends, sends signals on, ends with the program. Returns the exit
/// status, and says more through `ended`. Every signal is blocked. Allocates nothing.
pub(super) fn run(program: Pid, ended: &OwnedFd) -> i32 {
    // it never executes a program, so close-on-exec does nothing for it: what it holds is seen in `/proc/1/fd`. With the report's
    // pipe gone, who started it learns that the program runs
    sys::fd::close_from(3, &[ended.as_raw_fd()]);
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
