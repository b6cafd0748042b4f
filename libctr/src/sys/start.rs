//! The start of a small program: what the C library calls, without the Rust runtime, which takes 140 KB and a dozen system
//! calls, and aborts without a word where `/dev/null` is missing.

use std::ffi::OsString;
use std::os::fd::IntoRawFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

/// What a program is started with.
#[derive(Debug)]
pub struct Start {
    /// Its arguments, its own name first.
    pub args: Vec<OsString>,
    /// Which of the descriptors 0, 1 and 2 were closed. They are open on `/dev/null` now, so that nothing else lands on them.
    pub closed: [bool; 3],
    /// Why they could not be opened.
    pub null: Result<(), Errno>,
}

/// Makes `$main`, a `fn(Start) -> u8` that returns the exit status, the main function of a program that says `#![no_main]`.
#[macro_export]
macro_rules! start {
    ($main:expr) => {
        // SAFETY: the C library calls the one function of this name, with these arguments, and nothing else does.
        #[allow(unsafe_code, reason = "the C library has to find it by its name")]
        #[unsafe(no_mangle)]
        extern "C" fn main(_: std::ffi::c_int, _: *const *const std::ffi::c_char) -> std::ffi::c_int {
            $crate::sys::start::run($main)
        }
    };
}

/// What [`start!`](crate::start) does. SIGPIPE is ignored, so that a write to nobody is an error.
pub fn run(main: fn(Start) -> u8) -> i32 {
    let _ = super::signal::ignore(libc::SIGPIPE);
    let closed = [0, 1, 2].map(|number| !super::fd::is_open(number));
    let null = closed.iter().filter(|closed| **closed).try_for_each(|_| {
        // the lowest number that is free, which stays open
        open(c"/dev/null", OFlag::O_RDWR, Mode::empty()).map(|file| _ = file.into_raw_fd())
    });
    main(Start { args: std::env::args_os().collect(), closed, null }).into()
}
