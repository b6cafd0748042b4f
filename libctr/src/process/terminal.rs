//! [`Terminal`]: a pseudo-terminal of the container's own, and what passes between it and the caller's.

use std::io::{Stdout, stdin, stdout};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::poll::PollFlags;
use nix::sys::stat::{Mode, fstat, major, minor};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{Gid, Uid, fchown, isatty, read, write};

use crate::error::{Context, Errno, Error, Fault, Object, Result};
use crate::mount::Root;
use crate::sys;

/// A pseudo-terminal. What runs on its inner end has job control and cannot reach the terminal that the caller was started
/// from, which has no part in it but what [`forward_and_wait`](super::forward_and_wait) passes on.
#[derive(Debug)]
pub struct Terminal {
    master: OwnedFd,
    inner: OwnedFd,
    /// Of a terminal that is the caller's descriptor 1 another open file, to which writing does not wait until all fits in.
    out: Option<OwnedFd>,
}

impl Terminal {
    /// A new one of the devpts that is mounted below `root`, as programs there will see it in `/dev/pts`.
    ///
    /// # Errors
    /// ENOENT: there is no `/dev/ptmx` below the root. ENODEV: it is something else. ENOSPC: that devpts has no more.
    #[doc(alias = "ptmx")]
    pub fn open(root: &Path) -> Result<Terminal> {
        const PTMX: &str = "/dev/ptmx";
        const OPERATION: &str = "open terminal of the new root";
        let explain =
            |error: Error| error.with_hint("the new root needs a devpts at /dev/pts and its ptmx at /dev/ptmx");
        let found = Root::open(root)?.resolve(Path::new(PTMX)).context(OPERATION, PTMX).map_err(explain)?;
        let device = fstat(&found).context(OPERATION, PTMX)?;
        if device.st_mode & libc::S_IFMT != libc::S_IFCHR || (major(device.st_rdev), minor(device.st_rdev)) != (5, 2) {
            let error = Error::new(OPERATION, PTMX, Errno::ENODEV).with_reason("is not character device 5:2");
            return Err(explain(error));
        }
        let link = format!("/proc/self/fd/{}", found.as_raw_fd());
        let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let master = openat(AT_FDCWD, link.as_str(), flags, Mode::empty()).context(OPERATION, PTMX).map_err(explain)?;
        sys::tty::unlock(&master).context("unlock terminal", PTMX)?;
        let inner = sys::tty::peer(&master).context("open inner end of terminal", PTMX)?;
        // the caller's may be none
        let _ = sys::tty::copy_size(stdin(), &master);
        let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let out = isatty(stdout()).unwrap_or(false);
        let out = out.then(|| openat(AT_FDCWD, "/proc/self/fd/1", flags, Mode::empty())).transpose().ok().flatten();
        // opening the outer end of one makes another
        let out = out.filter(|out| fstat(out).is_ok_and(|stat| (major(stat.st_rdev), minor(stat.st_rdev)) != (5, 2)));
        Ok(Terminal { master, inner, out })
    }

    /// Gives the inner end to a user and a group of the container.
    ///
    /// # Errors
    /// EPERM: CAP_CHOWN is missing. EINVAL: an id is not mapped.
    pub fn give_to(&self, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        fchown(&self.inner, uid.map(Uid::from_raw), gid.map(Gid::from_raw)).context("change owner of", "terminal")
    }

    /// In the child: makes the inner end its descriptors 0, 1 and 2. Allocates nothing.
    ///
    /// # Errors
    /// Those of dup2(2).
    pub fn attach(&self) -> std::result::Result<(), Fault<'static>> {
        let fault = |errno| Fault::new("attach to terminal", Object::None, errno);
        (0..3).try_for_each(|number| sys::fd::place(self.inner.as_fd(), number)).map_err(fault)
    }

    /// In the child, as leader of a new session: makes it the controlling terminal. Allocates nothing.
    ///
    /// # Errors
    /// Those of `TIOCSCTTY`.
    pub fn control(&self) -> std::result::Result<(), Fault<'static>> {
        let fault = |errno| Fault::new("make controlling terminal", Object::None, errno);
        sys::tty::make_controlling(&self.inner).map_err(fault)
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }
}

/// What passes between the caller's descriptors 0 and 1 and a [`Terminal`]. While it lives the caller's terminal, if it has one,
/// passes on every key.
pub(super) struct Relay<'a> {
    master: &'a OwnedFd,
    /// How the caller's terminal was.
    before: Option<Termios>,
    reading: bool,
    /// Read from the caller, and not yet taken by the terminal.
    pending: Vec<u8>,
    /// Whether the last line read has no end yet.
    open_line: bool,
    /// Read from the terminal, and not yet taken by the caller.
    output: Vec<u8>,
    stdout: Stdout,
    /// What is written to instead, if there is anything.
    out: Option<&'a OwnedFd>,
}

impl Relay<'_> {
    pub(super) fn new(terminal: &Terminal) -> Relay<'_> {
        let before = tcgetattr(stdin()).ok();
        let (pending, output) = (Vec::new(), Vec::new());
        let relay = Relay {
            master: &terminal.master,
            before,
            reading: true,
            pending,
            open_line: false,
            output,
            stdout: stdout(),
            out: terminal.out.as_ref(),
        };
        relay.resume();
        relay
    }

    /// After a stop somebody else may have changed the caller's terminal.
    pub(super) fn resume(&self) {
        if let Some(mut raw) = self.before.clone() {
            cfmakeraw(&mut raw);
            let _ = tcsetattr(stdin(), SetArg::TCSADRAIN, &raw);
        }
        self.resize();
    }

    pub(super) fn resize(&self) {
        let _ = sys::tty::copy_size(stdin(), self.master);
    }

    /// Where what the terminal says goes.
    pub(super) fn out(&self) -> BorrowedFd<'_> {
        self.out.map_or(self.stdout.as_fd(), AsFd::as_fd)
    }

    /// What it waits for: of the caller's descriptor 0, of the terminal, and of the caller's descriptor 1.
    pub(super) fn waits_for(&self) -> [PollFlags; 3] {
        let when = |wanted: bool, flag| if wanted { flag } else { PollFlags::empty() };
        let terminal =
            when(self.output.is_empty(), PollFlags::POLLIN) | when(!self.pending.is_empty(), PollFlags::POLLOUT);
        [
            when(self.reading && self.pending.is_empty(), PollFlags::POLLIN),
            terminal,
            when(!self.output.is_empty(), PollFlags::POLLOUT),
        ]
    }

    /// Passes on what is there, once in each direction, so that neither keeps the other, or a signal, waiting; `input` and
    /// `output`: whether the caller's descriptors 0 and 1 are ready. Returns how much more the terminal had to say; `None`:
    /// nothing, and all of it is said.
    pub(super) fn pass(&mut self, input: bool, output: bool) -> Option<usize> {
        let mut buffer = [0; 4096];
        if input && self.reading && self.pending.is_empty() {
            match read(stdin(), &mut buffer) {
                Ok(0) | Err(Errno::EIO) => self.end_of_input(),
                Ok(count) => {
                    self.open_line = buffer[count - 1] != b'\n';
                    self.pending.extend_from_slice(&buffer[..count]);
                }
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                Err(_) => self.reading = false,
            }
        }
        if let Ok(count) = write(self.master, &self.pending) {
            self.pending.drain(..count);
        }
        let was_saying = !self.output.is_empty();
        if output {
            match write(self.out(), &self.output) {
                Ok(count) => drop(self.output.drain(..count)),
                Err(Errno::EINTR | Errno::EAGAIN) => {}
                // nobody listens any more
                Err(_) => self.output.clear(),
            }
        }
        if was_saying {
            return Some(0);
        }
        // EIO: nobody has the inner end open
        let count = read(self.master, &mut buffer).unwrap_or(0);
        self.output.extend_from_slice(&buffer[..count]);
        (count > 0).then_some(count)
    }

    /// As if the user had typed it; a caller without a terminal has no other way to say so.
    fn end_of_input(&mut self) {
        const END_OF_TRANSMISSION: u8 = 4;
        self.reading = false;
        // the first one ends the line alone
        self.pending.resize(if self.open_line { 2 } else { 1 }, END_OF_TRANSMISSION);
    }
}

impl Drop for Relay<'_> {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(stdin(), SetArg::TCSADRAIN, before);
        }
    }
}
