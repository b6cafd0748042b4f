//! newuidmap(1) and newgidmap(1), which write the maps that /etc/subuid and /etc/subgid allow to the caller.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::stat::Mode;
use nix::unistd::{AccessFlags, Pid, access, chdir, pipe2};

use super::{IdMap, Which};
use crate::error::{Context, Errno, Error, Fault, Object, Result, show};
use crate::process::{self, Child, Exec};
use crate::sys;

/// Longer than any lookup of a user in a directory service should take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Has the helper write the map of process `pid`: an absolute path, an empty environment, nothing but stderr open.
pub(super) fn run(pid: Pid, which: Which, map: &IdMap) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let program = find(which.helper(), &path).ok_or_else(|| {
        Error::new("find", which.helper(), Errno::ENOENT)
            .with_reason("the caller may not write this map itself, and this helper is not in PATH")
            .with_hint("install uidmap (shadow-utils on Fedora); or map the caller alone (root, self)")
    })?;
    run_program(&program, pid, which, map, PATIENCE)
}

/// The first absolute, executable file of this name in a search path.
fn find(name: &str, path: &OsStr) -> Option<PathBuf> {
    let mut candidates =
        path.as_bytes().split(|byte| *byte == b':').map(|dir| Path::new(OsStr::from_bytes(dir)).join(name));
    let usable = |file: &PathBuf| file.is_absolute() && file.is_file() && access(file, AccessFlags::X_OK).is_ok();
    candidates.find(usable)
}

fn run_program(program: &Path, pid: Pid, which: Which, map: &IdMap, patience: Duration) -> Result<()> {
    let numbers = map.extents().iter().flat_map(|e| [e.inside(), e.outside(), e.count()]);
    let argv = [program.as_os_str().to_owned(), pid.to_string().into()];
    let mut command = Exec::new(argv.into_iter().chain(numbers.map(|number| number.to_string().into())).collect())?;
    command.clear_vars();
    let image = command.image()?;
    let shown = show(program);
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).context("make pipe", "")?;
    let null =
        openat(AT_FDCWD, "/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).context("open", "/dev/null")?;
    let child = process::spawn(CloneFlags::empty(), || {
        let fault = |errno| Fault::new("set up", Object::None, errno);
        for (file, number) in [(&null, 0), (&null, 1), (&writer, 2)] {
            sys::fd::place(file.as_fd(), number).map_err(fault)?;
        }
        sys::fd::cloexec_from(3);
        chdir("/").map_err(fault)?;
        Err(Fault::new("execute", Object::None, image.exec()))
    })
    .map_err(|error| Error::new("run", &shown, error.errno()))?;
    drop(writer);
    let (said, status) = listen(&child, File::from(reader), patience).map_err(|errno| {
        // nothing may write the map after this
        let _ = child.signal(libc::SIGKILL);
        let _ = sys::clone::wait_exit(&child);
        let error = Error::new("run", &shown, errno);
        match errno {
            Errno::ETIMEDOUT => error.with_hint("it was killed; is the directory service of its user lookups down?"),
            _ => error,
        }
    })?;
    let said = said.trim_ascii();
    let reason = match status {
        // unknown where the caller ignores SIGCHLD: what the map is read back as will tell
        None | Some((libc::CLD_EXITED, 0)) => return Ok(()),
        Some((libc::CLD_EXITED, status)) if said.is_empty() => format!("failed with status {status}"),
        Some((libc::CLD_EXITED, _)) => {
            said.escape_ascii().to_string().replace("\\n", "; ").replace("\\\'", "'").replace("\\\"", "\"")
        }
        Some((_, signal)) => format!("was killed by signal {signal}"),
    };
    let hint = if nix::sys::prctl::get_no_new_privs() == Ok(true) {
        format!("no_new_privs is set, so that {} has no rights of its own", which.helper())
    } else {
        format!("it gives only what {} allows to this user, and needs to be setuid root", which.subordinates())
    };
    Err(Error::new("run", &shown, Errno::EPERM).with_reason(reason).with_hint(hint))
}

/// What a child said and how it ended, as waitid(2) has it.
type Heard = (Vec<u8>, Option<(i32, i32)>);

/// What it says on stderr until it ends, and how it ended: unknown where the caller ignores SIGCHLD.
fn listen(child: &Child, mut stderr: File, patience: Duration) -> std::result::Result<Heard, Errno> {
    let deadline = Instant::now() + patience;
    let mut said = Vec::new();
    let mut buffer = [0; 512];
    loop {
        await_until(stderr.as_fd(), deadline)?;
        match stderr.read(&mut buffer) {
            Ok(0) => break,
            // more than anybody would read is taken from the pipe but not kept
            Ok(count) if said.len() < 4096 => said.extend_from_slice(&buffer[..count]),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)),
        }
    }
    await_until(child.as_fd(), deadline)?;
    loop {
        match sys::clone::wait_exit(child) {
            Ok(status) => return Ok((said, Some(status))),
            Err(Errno::ECHILD) => return Ok((said, None)),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn await_until(fd: std::os::fd::BorrowedFd<'_>, deadline: Instant) -> std::result::Result<(), Errno> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], timeout) {
            Ok(0) => return Err(Errno::ETIMEDOUT),
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A directory with a script in place of newuidmap; removed at the end.
    struct Fake(PathBuf);

    impl Fake {
        fn new(name: &str, script: &str) -> Fake {
            let dir = std::env::temp_dir().join(format!("libctr-helper-{}-{name}", std::process::id()));
            std::fs::create_dir(&dir).unwrap();
            std::fs::write(dir.join("newuidmap"), format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(dir.join("newuidmap"), PermissionsExt::from_mode(0o755)).unwrap();
            Fake(dir)
        }

        fn run(&self) -> Result<()> {
            let map = "0:1000:1,1:100000:65536".parse().unwrap();
            let program = self.0.join("newuidmap");
            loop {
                match run_program(&program, Pid::from_raw(42), Which::Uid, &map, Duration::from_millis(500)) {
                    // another test's child still has the copy of our descriptor that wrote the script
                    Err(error) if error.errno() == Errno::ETXTBSY => std::thread::sleep(Duration::from_millis(1)),
                    other => return other,
                }
            }
        }
    }

    impl Drop for Fake {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn is_found_in_absolute_directories_only() {
        let fake = Fake::new("find", "exit 0");
        let dir = fake.0.as_os_str().to_str().unwrap();
        let expected = Some(fake.0.join("newuidmap"));
        assert_eq!(find("newuidmap", format!("/nonexistent::relative:{dir}").as_ref()), expected);
        assert_eq!(find("newuidmap", "".as_ref()), None);
        assert_eq!(find("newgidmap", dir.as_ref()), None);
        std::fs::set_permissions(fake.0.join("newuidmap"), PermissionsExt::from_mode(0o644)).unwrap();
        assert_eq!(find("newuidmap", dir.as_ref()), None);
    }

    #[test]
    fn gets_every_extent_and_no_environment() {
        let fake = Fake::new("args", "[ \"$*\" = '42 0 1000 1 1 100000 65536' ] && [ -z \"$HOME$CARGO\" ]");
        assert_eq!(fake.run(), Ok(()));
    }

    #[test]
    fn every_way_to_fail_is_an_error() {
        for (name, script, expected) in [
            ("says", "echo 'newuidmap: no \"x\"' >&2; echo more >&2; exit 1", "newuidmap: no \"x\"; more (EPERM)"),
            ("silent", "exit 3", "failed with status 3 (EPERM)"),
            ("killed", "kill -9 $$", "was killed by signal 9 (EPERM)"),
            ("hangs", "exec sleep 60", "Connection timed out (ETIMEDOUT)"),
            ("hides", "exec sleep 60 2>&-", "Connection timed out (ETIMEDOUT)"),
        ] {
            let fake = Fake::new(name, script);
            let error = fake.run().unwrap_err();
            assert!(error.to_string().ends_with(&format!("/newuidmap: {expected}")), "{error}");
            assert!(error.hint().is_some());
        }
        let fake = Fake::new("interpreter", "");
        std::fs::write(fake.0.join("newuidmap"), "#!/nonexistent\n").unwrap();
        assert_eq!(fake.run().unwrap_err().errno(), Errno::ENOENT);
    }
}
