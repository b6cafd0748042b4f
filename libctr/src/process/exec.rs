//! [`Exec`]: the next program, with its arguments, environment and descriptors.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;
use nix::unistd::dup3;

use crate::error::{Context, Errno, Error, Fault, Object, Result, show};
use crate::sys;

/// The operation of a [`Fault`] that says that the program itself could not be executed.
pub const EXECUTE: &str = "execute";

const THERE: &str = "the file is there: its interpreter (#! line) or dynamic loader is not";

impl sys::exec::Image {
    /// In a child, whose root may be another: becomes the program, or says why it cannot. Allocates nothing.
    pub fn execute(&self) -> Fault<'static> {
        let fault = Fault::new(EXECUTE, Object::None, self.exec());
        if fault.errno == Errno::ENOENT && self.is_there() { fault.with_hint(THERE) } else { fault }
    }
}

/// A program that is going to replace this process, or to run in a new one.
///
/// Starts with the caller's environment. Descriptors that are [passed](Exec::pass) lose close-on-exec, nothing else does;
/// SIGPIPE, which the Rust runtime ignores, is set back to its default.
#[derive(Debug)]
pub struct Exec {
    argv: Vec<CString>,
    env: Vec<(OsString, OsString)>,
    pass: Vec<(OwnedFd, RawFd)>,
}

impl Exec {
    /// A program and its arguments, `argv[0]` first. A name without a `/` is looked up in `PATH` when it is executed.
    ///
    /// # Errors
    /// EINVAL: there is no `argv[0]`, or an argument holds a NUL byte.
    pub fn new(argv: Vec<OsString>) -> Result<Exec> {
        if argv.is_empty() {
            return Err(Error::invalid("execute", "", "no program is given"));
        }
        let argv = argv.into_iter().map(c_string).collect::<Result<_>>()?;
        Ok(Exec { argv, env: std::env::vars_os().collect(), pass: Vec::new() })
    }

    /// The program's name as given.
    pub fn program(&self) -> &OsStr {
        self.argv.first().map_or(OsStr::new(""), |name| OsStr::from_bytes(name.as_bytes()))
    }

    /// Sets an environment variable.
    pub fn set_var(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        let name = name.into();
        self.remove_var(&name);
        self.env.push((name, value.into()));
    }

    /// Removes an environment variable.
    pub fn remove_var(&mut self, name: impl AsRef<OsStr>) {
        self.env.retain(|(key, _)| key != name.as_ref());
    }

    /// Removes every environment variable.
    pub fn clear_vars(&mut self) {
        self.env.clear();
    }

    /// The environment as it is now.
    pub fn vars(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.env.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()))
    }

    /// Removes the variables `NSFD_*`, `MNTFD_*` and `OPENFD_*` whose descriptors fail `keep`.
    pub fn forget_descriptors(&mut self, keep: impl Fn(RawFd) -> bool) {
        self.renumber_descriptors(|number| keep(number).then_some(number));
    }

    /// Gives the variables `NSFD_*`, `MNTFD_*` and `OPENFD_*` the descriptors' new numbers; those without one are removed.
    pub fn renumber_descriptors(&mut self, new: impl Fn(RawFd) -> Option<RawFd>) {
        self.env.retain_mut(|(name, value)| {
            if !["NSFD_", "MNTFD_", "OPENFD_"].iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes())) {
                return true;
            }
            let number = value.to_str().and_then(crate::fd::parse_number).and_then(&new);
            if let Some(number) = number {
                *value = number.to_string().into();
            }
            number.is_some()
        });
    }

    /// Keeps a number free for a descriptor that is opened later, and then [passed](Exec::pass) as this one.
    ///
    /// # Errors
    /// EBUSY: a descriptor of that number is open already. EINVAL: it is beyond RLIMIT_NOFILE.
    pub fn reserve(&mut self, number: RawFd) -> Result<()> {
        let busy = || {
            Error::new("pass descriptor as", format_args!("fd:{number}"), Errno::EBUSY)
                .with_reason("a descriptor of that number is open")
        };
        if sys::fd::is_open(number) {
            return Err(busy());
        }
        let any = openat(AT_FDCWD, "/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).context("open", "/")?;
        // if the first one has it nothing else lands on it either
        let held = if any.as_raw_fd() == number { Ok(any) } else { sys::fd::duplicate(any.as_raw_fd(), number) };
        let held = held.map_err(|errno| {
            let error = Error::new("pass descriptor as", format_args!("fd:{number}"), errno);
            if errno == Errno::EINVAL { error.with_hint("it is beyond RLIMIT_NOFILE") } else { error }
        })?;
        if held.as_raw_fd() != number {
            return Err(busy());
        }
        self.pass.push((held, number));
        Ok(())
    }

    /// Hands a descriptor to the program, numbered as it is now, or `number`, which was [reserved](Exec::reserve) for it.
    /// Returns that number.
    ///
    /// # Errors
    /// EINVAL: the number was not reserved. Those of dup2(2).
    pub fn pass(&mut self, fd: OwnedFd, number: Option<RawFd>) -> Result<RawFd> {
        let own = fd.as_raw_fd();
        let Some(number) = number else {
            self.pass.push((fd, own));
            return Ok(own);
        };
        let context = |errno| Error::new("pass descriptor as", format_args!("fd:{number}"), errno);
        let reserved = self.pass.iter_mut().find(|(_, reserved)| *reserved == number);
        let (held, _) = reserved.ok_or_else(|| context(Errno::EINVAL).with_reason("it was not reserved"))?;
        dup3(&fd, held, OFlag::O_CLOEXEC).map_err(context)?;
        Ok(number)
    }

    /// Lays everything out for execve(2), so that nothing is left to allocate: see [`sys::exec::Image`].
    ///
    /// # Errors
    /// EINVAL: a variable holds a NUL byte.
    pub fn image(&self) -> Result<sys::exec::Image> {
        let env = self
            .env
            .iter()
            .map(|(name, value)| {
                let mut text = name.clone();
                text.push("=");
                text.push(value);
                c_string(text)
            })
            .collect::<Result<_>>()?;
        Ok(sys::exec::Image::new(self.candidates()?, self.argv.clone(), env))
    }

    /// The paths to try: the name itself where it has a `/`, else one for each directory of the program's `PATH`.
    fn candidates(&self) -> Result<Vec<CString>> {
        let name = self.program();
        if name.is_empty() || name.as_bytes().contains(&b'/') {
            return Ok(vec![c_string(name.to_owned())?]);
        }
        let path = self.vars().find(|(key, _)| *key == "PATH").map(|(_, value)| value);
        let path = path.unwrap_or(OsStr::new("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
        let join = |dir: &[u8]| {
            let mut file = if dir.is_empty() { b".".to_vec() } else { dir.to_vec() };
            file.push(b'/');
            file.extend_from_slice(name.as_bytes());
            c_string(OsString::from_vec(file))
        };
        path.as_bytes().split(|byte| *byte == b':').map(join).collect()
    }

    /// Becomes the program. Returns only if that failed: ENOENT where it was not found, another errno where it was found
    /// but could not be executed.
    #[doc(alias = "execve")]
    pub fn exec(self) -> Error {
        let image = match self.image() {
            Ok(image) => image,
            Err(error) => return error,
        };
        for (fd, number) in &self.pass {
            if let Err(errno) = sys::fd::place(fd.as_fd(), *number) {
                return Error::new("pass descriptor as", format_args!("fd:{number}"), errno);
            }
        }
        let _ = sys::signal::set_default(libc::SIGPIPE);
        let errno = image.exec();
        self.explain(errno, image.is_there())
    }

    /// The error of an execve(2) of this program that failed; `is_there`: whether the file is there nevertheless.
    pub fn explain(&self, errno: Errno, is_there: bool) -> Error {
        let error = Error::new("execute", show(self.program()), errno);
        let missing = errno == Errno::ENOENT;
        match errno {
            Errno::ENOENT if is_there => error.with_hint(THERE),
            Errno::EACCES => error.with_hint(
                "it needs execute permission, and every directory above it search permission, for the ids that this \
                 process has now; and no noexec mount",
            ),
            Errno::ENOEXEC => {
                error.with_hint("it is neither a program for this machine nor a script that begins with #!")
            }
            _ if missing && !self.program().as_bytes().contains(&b'/') => {
                error.with_hint("it is in no directory of PATH")
            }
            _ => error,
        }
    }
}

fn c_string(text: OsString) -> Result<CString> {
    CString::new(text.into_vec()).map_err(|error| {
        let shown = show(OsStr::from_bytes(&error.clone().into_vec())).to_string();
        Error::invalid("pass argument", shown, "holds a NUL byte")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_why_a_program_cannot_be_executed() {
        let run = |name: &str| Exec::new(vec![name.into()]).unwrap().exec();
        assert_eq!(run("no-such-program-here").errno(), Errno::ENOENT);
        assert_eq!(run("/etc/passwd").errno(), Errno::EACCES);
        assert_eq!(run("").errno(), Errno::ENOENT);
        assert_eq!(run("/proc").errno(), Errno::EACCES);
        assert!(Exec::new(vec![]).is_err());
        assert!(Exec::new(vec!["a\0b".into()]).is_err());
    }

    #[test]
    fn the_environment_loses_what_is_closed() {
        let mut exec = Exec::new(vec!["x".into()]).unwrap();
        exec.set_var("NSFD_NET", "7");
        exec.set_var("MNTFD_A", "8");
        exec.set_var("NSFD_BAD", "x");
        exec.set_var("NSFD_NET", "9");
        exec.forget_descriptors(|number| number == 9);
        let ours: Vec<_> = exec.vars().filter(|(name, _)| name.as_bytes().starts_with(b"NSFD_")).collect();
        assert_eq!(ours, [(OsStr::new("NSFD_NET"), OsStr::new("9"))]);
    }
}
