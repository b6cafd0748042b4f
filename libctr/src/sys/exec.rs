//! execve(2) with everything prepared beforehand, so that the call itself allocates nothing.

use std::ffi::{CStr, CString};
use std::ptr::null;

use nix::errno::Errno;

/// A program, its arguments and its environment, laid out for execve(2).
#[derive(Debug)]
pub struct Image {
    candidates: Vec<CString>,
    argv: Vec<*const libc::c_char>,
    envp: Vec<*const libc::c_char>,
    // what the pointers point into
    _argv: Vec<CString>,
    _envp: Vec<CString>,
}

// SAFETY: the pointers lead to heap memory that this value owns and never changes.
unsafe impl Send for Image {}
// SAFETY: as above.
unsafe impl Sync for Image {}

impl Image {
    /// Lays out a program: the `candidates` are the paths to try, in order.
    pub fn new(candidates: Vec<CString>, argv: Vec<CString>, envp: Vec<CString>) -> Image {
        let pointers = |strings: &[CString]| strings.iter().map(|s| s.as_ptr()).chain([null()]).collect();
        Image { candidates, argv: pointers(&argv), envp: pointers(&envp), _argv: argv, _envp: envp }
    }

    /// Replaces this process by the first candidate that can be executed. Returns only the reason why there was none:
    /// EACCES if one was there but not executable, ENOENT if there was none, or what execve(2) said of the one it refused.
    /// Allocates nothing.
    #[doc(alias = "execve")]
    pub fn exec(&self) -> Errno {
        let mut seen = Errno::ENOENT;
        for path in &self.candidates {
            match self.try_path(path) {
                Errno::EACCES => seen = Errno::EACCES,
                Errno::ENOENT | Errno::ENOTDIR if self.candidates.len() > 1 => {}
                errno => return errno,
            }
        }
        seen
    }

    /// Whether there is a file at one of the candidates' paths.
    pub fn is_there(&self) -> bool {
        // SAFETY: a C string that outlives the call.
        self.candidates.iter().any(|path| unsafe { libc::access(path.as_ptr(), libc::F_OK) } == 0)
    }

    fn try_path(&self, path: &CStr) -> Errno {
        // SAFETY: both arrays end with a null pointer; they and the strings live as long as `self`.
        unsafe { libc::execve(path.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr()) };
        Errno::last()
    }
}
