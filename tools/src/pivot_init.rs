//! `pivot-init`: the last step: a pid namespace, the new root, the init program.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use argh::{ArgsInfo, FromArgs};
use libctr::cred::UserNamespaceLimit;
use libctr::fd::FdList;
use libctr::ns::{self, Kind};
use libctr::pivot::NewRoot;
use libctr::process::{Ended, Exec, Lifeline, Terminal, forward_and_wait, spawn, spawn_init};
use libctr::sys::fd::duplicate;
use libctr::{Context, Errno, Error, Fault, Object, show};
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, fcntl, openat, renameat};
use nix::sched::CloneFlags;
use nix::sys::stat::{Mode, fstat};
use nix::unistd::{Pid, UnlinkatFlags, chdir, fchdir, getpid, getppid, setsid, unlinkat, write};

use crate::cli::{Chain, Failure, Tool, child_failure, require, usage, value as parse};
use crate::close_fds::open_numbers;
use crate::privileges::with_privileges;

with_privileges! {
/// Makes a pid namespace, makes DIR the root, and executes INIT there as process 1, in a session of its own. Waits for it,
/// sends it the signals that come, and ends as it does. Where its parent or process 1 is in the same mount namespace, INIT gets a
/// copy of that, and nobody else's root changes.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    example = "pivot-init --root /mnt -- /bin/sh",
    note = "INIT has no descriptors but 0, 1, 2 and those of --keep-fds.\n\
            As process 1 INIT gets only those signals that it handles; --init is for programs that do not.\n\
            Exit status: that of INIT; 125 this tool failed, 126 INIT cannot be executed, 127 not found."
)]
pub struct PivotInit {
    /// the directory that becomes the root: a mount point
    #[argh(option, arg_name = "DIR")]
    root: PathBuf,
    /// if DIR is no mount point bind-mount it onto itself, in a copy of the mount namespace, which INIT gets then
    #[argh(switch)]
    bind_root: bool,
    /// do not mount /proc
    #[argh(switch)]
    no_proc: bool,
    /// hide what /proc tells of the host, and make read-only what changes it there; in a user namespace nobody inside can undo
    /// it, without one a process with CAP_SYS_ADMIN can mount a proc that is not masked
    #[argh(switch)]
    mask_proc: bool,
    /// working directory of INIT, in the new root; / by default
    #[argh(option, arg_name = "DIR")]
    cwd: Option<String>,
    /// put a small init at process 1, which collects orphans, sends signals on to INIT and ends as INIT does
    #[argh(switch)]
    init: bool,
    /// make INIT itself process 1 (default)
    #[argh(switch)]
    as_pid_1: bool,
    /// give INIT a terminal of the container's own, of its /dev/ptmx, and pass on what this tool reads and what INIT writes
    #[argh(switch)]
    tty: bool,
    /// do not wait: end as soon as INIT runs, and let it outlive this tool
    #[argh(switch)]
    detach: bool,
    /// write the number of process 1, as seen from here, to this file while it runs; it stays with --detach, and where this
    /// tool is killed by SIGKILL
    #[argh(option, arg_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// write to this descriptor a line of JSON when INIT has started, and another when it has ended
    #[argh(option, arg_name = "N", from_str_fn(descriptor))]
    status_fd: Option<RawFd>,
    /// write a newline to this descriptor when INIT has started
    #[argh(option, arg_name = "N", from_str_fn(descriptor))]
    ready_fd: Option<RawFd>,
    /// start INIT with an empty environment
    #[argh(switch)]
    clear_env: bool,
    /// set a variable, or keep it where --clear-env is given; may be repeated
    #[argh(option, arg_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// keep these descriptors open too; may be repeated
    #[argh(option, arg_name = "LIST", from_str_fn(parse))]
    keep_fds: Vec<FdList>,
}
}

/// A descriptor that is open for writing.
fn descriptor(text: &str) -> Result<RawFd, String> {
    let number = libctr::fd::parse_number(text).ok_or("is no descriptor number")?;
    let copy = duplicate(number, 3).map_err(|_| "is not open")?;
    match fcntl(&copy, FcntlArg::F_GETFL).map(|flags| OFlag::from_bits_retain(flags) & OFlag::O_ACCMODE) {
        Ok(OFlag::O_RDONLY) | Err(_) => Err("is not open for writing".to_owned()),
        Ok(_) => Ok(number),
    }
}

impl PivotInit {
    fn environment(&self, program: &mut Exec) -> Result<(), Failure> {
        let mut set = Vec::new();
        for item in &self.env {
            match item.split_once('=') {
                Some(("", _)) | None if item.is_empty() || item.starts_with('=') => {
                    return Err(usage("--env", "needs NAME or NAME=VALUE"));
                }
                Some((name, value)) => set.push((name.into(), value.into())),
                None => match std::env::var_os(item) {
                    Some(value) => set.push((std::ffi::OsString::from(item), value)),
                    None => return Err(usage("--env", format!("{item} is not set"))),
                },
            }
        }
        if self.clear_env {
            program.clear_vars();
        }
        set.into_iter().for_each(|(name, value)| program.set_var(name, value));
        Ok(())
    }
}

impl Tool for PivotInit {
    const NAME: &'static str = "pivot-init";
    const CHAIN: Chain = Chain::Always;

    /// INIT, and whoever is with the small init.
    fn meets_strangers(_options: &[&str]) -> bool {
        true
    }

    fn run(self, program: Option<Exec>) -> Result<(), Failure> {
        let mut program = require(program)?;
        let mut keep = open_numbers("--keep-fds", &self.keep_fds)?;
        keep.extend(0..3);
        self.environment(&mut program)?;
        program.forget_descriptors(|number| keep.contains(&number));
        let cwd =
            self.cwd.clone().map(|cwd| std::ffi::CString::new(cwd).map_err(|_| usage("--cwd", "holds a NUL byte")));
        let cwd = cwd.transpose()?;
        if self.init && self.as_pid_1 {
            return Err(usage("--init", "excludes --as-pid-1"));
        }
        if self.tty && self.detach {
            return Err(usage("--tty", "excludes --detach: somebody has to pass on what is read and written"));
        }
        if self.mask_proc && self.no_proc {
            return Err(usage("--mask-proc", "excludes --no-proc"));
        }
        let credentials = self.credentials()?;
        let null = self.mask_proc.then(libctr::mount::null_device).transpose()?;
        let told = Told::new(&self)?;
        // opened where /proc/sys can be written to, whatever becomes of the container's
        let limit = self.disable_userns.then(UserNamespaceLimit::open).transpose()?;
        let root = if self.bind_root { NewRoot::bind(&self.root)? } else { NewRoot::open(&self.root)? };
        // those who are in this mount namespace too would lose their root: INIT gets a copy then
        let copied =
            root.needs_copy() || ns::shared_with(Kind::Mnt, getppid()) || ns::shared_with(Kind::Mnt, Pid::from_raw(1));
        let terminal = self.tty.then(|| Terminal::open(&self.root)).transpose()?;
        if let Some(terminal) = terminal.as_ref().filter(|_| self.uid.is_some() || self.gid.is_some()) {
            terminal.give_to(self.uid, self.gid)?;
        }
        if copied {
            fchdir(&root).context("change directory to", show(&self.root))?;
        }
        let image = program.image().map_err(Failure::Usage)?;
        // what INIT must not have goes at execve(2); the pipe that reports to us goes with it, as it should
        libctr::fd::cloexec_except(&keep)?;
        let lifeline = if self.detach { None } else { Some(Lifeline::new()?) };
        let tie = || lifeline.as_ref().map_or(Ok(()), Lifeline::tie);
        let set_up = || -> Result<(), Fault<'_>> {
            tie()?;
            // keys of the caller's session keyring are not for what runs inside; a kernel without keyrings has none
            match libctr::sys::cred::join_session_keyring() {
                Ok(()) | Err(Errno::ENOSYS | Errno::EPERM) => {}
                Err(errno) => return Err(Fault::new("make session keyring", Object::None, errno)),
            }
            setsid().map_err(|errno| Fault::new("make session", Object::None, errno))?;
            terminal.as_ref().map_or(Ok(()), Terminal::attach)?;
            let copy = if copied { Some(root.in_copy()?) } else { None };
            let root = copy.as_ref().unwrap_or(&root);
            if !self.no_proc {
                root.mount_proc()?;
                match &null {
                    Some(null) if copied => root.mask_proc(in_copy(null)?)?,
                    Some(null) => root.mask_proc(null)?,
                    None => {}
                }
            }
            root.pivot()?;
            // the mask was locked in a user namespace of a moment: it was the last one
            if let Some(limit) = &limit {
                limit.disable()?;
            }
            match &cwd {
                Some(cwd) => chdir(cwd.as_c_str())
                    .map_err(|errno| Fault::new("change directory to", Object::Text(cwd.as_bytes()), errno)),
                None => Ok(()),
            }
        };
        let execute = || -> Result<Infallible, Fault<'_>> {
            terminal.as_ref().map_or(Ok(()), Terminal::control)?;
            // a program under the init ends with the init
            credentials.apply(lifeline.as_ref().filter(|_| !self.init))?;
            Err(image.execute())
        };
        let flags = if copied { CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS } else { CloneFlags::CLONE_NEWPID };
        let start = || {
            let child = if self.init {
                spawn_init(flags, set_up, || {
                    setsid().map_err(|errno| Fault::new("make session", Object::None, errno))?;
                    execute()
                })
            } else {
                spawn(flags, || {
                    set_up()?;
                    execute()
                })
            }?;
            if let Err(error) = told.started(child.pid()) {
                child.kill();
                told.forget();
                return Err(error);
            }
            Ok(child)
        };
        if self.detach {
            return match start() {
                Ok(_) => Ok(()),
                Err(error) => Err(child_failure(&program, error)),
            };
        }
        match forward_and_wait(terminal.as_ref(), start) {
            Ok(ended) => {
                told.ended(ended);
                ended.mirror()
            }
            Err(error) => Err(child_failure(&program, error)),
        }
    }
}

/// The null device in a copy of the mount namespace: that which was opened before may not be mounted there.
fn in_copy(null: &OwnedFd) -> Result<OwnedFd, Fault<'static>> {
    let path = c"/dev/null";
    let fault = |errno| Fault::new("open in copy of mount namespace", Object::Text(path.to_bytes()), errno);
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let copy = openat(AT_FDCWD, path, flags, Mode::empty()).map_err(fault)?;
    let same = fstat(&copy).map_err(fault)?.st_rdev == fstat(null).map_err(fault)?.st_rdev;
    if same { Ok(copy) } else { Err(fault(Errno::ESTALE)) }
}

/// Whom the tool tells that INIT has started, and ended. What that needs is opened before INIT can start, since afterwards
/// the old root is gone; the pid file appears under its name only when it is complete.
struct Told {
    status: Option<OwnedFd>,
    ready: Option<OwnedFd>,
    pid_file: Option<PidFile>,
}

struct PidFile {
    dir: OwnedFd,
    name: OsString,
    temporary: OsString,
    file: OwnedFd,
}

impl Told {
    fn new(tool: &PivotInit) -> Result<Told, Error> {
        let open = |number: Option<RawFd>| {
            number.map(|number| duplicate(number, 3).context("duplicate", format_args!("fd:{number}"))).transpose()
        };
        let pid_file = tool.pid_file.as_deref().map(PidFile::create).transpose()?;
        Ok(Told { status: open(tool.status_fd)?, ready: open(tool.ready_fd)?, pid_file })
    }

    fn started(&self, pid: Pid) -> Result<(), Error> {
        if let Some(file) = &self.pid_file {
            file.publish(pid)?;
        }
        if let Some(status) = &self.status {
            let line = format!("{{\"event\":\"started\",\"pid\":{pid}}}\n");
            write(status, line.as_bytes()).context("write to", "--status-fd")?;
        }
        if let Some(ready) = &self.ready {
            write(ready, b"\n").context("write to", "--ready-fd")?;
        }
        Ok(())
    }

    /// Whoever listened may be gone: that is no reason not to end as INIT did.
    fn ended(&self, ended: Ended) {
        if let Some(status) = &self.status {
            let what = match ended {
                Ended::Exited(status) => format!("\"exit\":{status}"),
                Ended::Signaled(signal) => format!("\"signal\":{signal}"),
            };
            let _ = write(status, format!("{{\"event\":\"ended\",{what}}}\n").as_bytes());
        }
        self.forget();
    }

    /// Removes the pid file.
    fn forget(&self) {
        if let Some(file) = &self.pid_file {
            let _ = unlinkat(&file.dir, file.name.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

impl PidFile {
    fn create(path: &Path) -> Result<PidFile, Error> {
        let name = path.file_name().ok_or_else(|| Error::invalid("write pid file", show(path), "names no file"))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let dir = openat(AT_FDCWD, parent, flags, Mode::empty()).context("open directory", show(parent))?;
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}", getpid()));
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // of one that was killed: process numbers come again
        let _ = unlinkat(&dir, temporary.as_os_str(), UnlinkatFlags::NoRemoveDir);
        let file = openat(&dir, temporary.as_os_str(), flags, Mode::from_bits_retain(0o644))
            .context("create pid file", show(path))?;
        Ok(PidFile { dir, name: name.to_owned(), temporary, file })
    }

    fn publish(&self, pid: Pid) -> Result<(), Error> {
        write(&self.file, format!("{pid}\n").as_bytes()).context("write pid file", show(&self.name))?;
        renameat(&self.dir, self.temporary.as_os_str(), &self.dir, self.name.as_os_str())
            .context("rename pid file to", show(&self.name))
    }
}

impl Drop for PidFile {
    /// Of a start that failed nothing remains. After one that did not, there is no file of that name.
    fn drop(&mut self) {
        let _ = unlinkat(&self.dir, self.temporary.as_os_str(), UnlinkatFlags::NoRemoveDir);
    }
}
