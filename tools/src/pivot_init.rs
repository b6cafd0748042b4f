//! `pivot-init`: the last step: a pid namespace, the new root, the init program.

use std::path::PathBuf;
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};
use libctr::fd::FdList;
use libctr::pivot::NewRoot;
use libctr::process::{Ended, Exec, forward_and_wait, spawn};
use libctr::{Error, Fault, Object};
use nix::sched::CloneFlags;

use crate::cli::{Chain, Failure, Tool, require, usage, value as parse};

/// Makes a pid namespace, makes DIR the root, and executes INIT there as process 1, in a session of its own. Waits for it,
/// sends it the signals that come, and ends as it does.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    example = "pivot-init --root /mnt -- /bin/sh",
    note = "INIT has no descriptors but 0, 1, 2 and those of --keep-fds.\n\
            Exit status: that of INIT; 125 this tool failed, 126 INIT cannot be executed, 127 not found."
)]
pub struct PivotInit {
    /// the directory that becomes the root: a mount point
    #[argh(option, arg_name = "DIR")]
    root: PathBuf,
    /// bind-mount DIR onto itself if it is no mount point
    #[argh(switch)]
    bind_root: bool,
    /// do not mount /proc
    #[argh(switch)]
    no_proc: bool,
    /// working directory of INIT, in the new root; / by default
    #[argh(option, arg_name = "DIR")]
    cwd: Option<String>,
    /// start INIT with an empty environment
    #[argh(switch)]
    clear_env: bool,
    /// set a variable, or keep it where --clear-env is given; may be repeated
    #[argh(option, arg_name = "NAME[=VALUE]")]
    env: Vec<String>,
    /// INIT and what it starts can gain no privilege by execve(2)
    #[argh(switch)]
    no_new_privs: bool,
    /// keep these descriptors open too; may be repeated
    #[argh(option, arg_name = "LIST", from_str_fn(parse))]
    keep_fds: Vec<FdList>,
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

    fn run(self, program: Option<Exec>) -> Result<ExitCode, Failure> {
        let mut program = require(program)?;
        let mut keep = vec![0, 1, 2];
        for list in &self.keep_fds {
            for number in list.numbers().map_err(Failure::Usage)? {
                if !libctr::sys::fd::is_open(number) {
                    return Err(usage("--keep-fds", format!("lists descriptor {number}, which is not open")));
                }
                keep.push(number);
            }
        }
        self.environment(&mut program)?;
        program.forget_descriptors(|number| keep.contains(&number));
        let cwd =
            self.cwd.clone().map(|cwd| std::ffi::CString::new(cwd).map_err(|_| usage("--cwd", "holds a NUL byte")));
        let cwd = cwd.transpose()?;
        let root = NewRoot::open(&self.root, self.bind_root)?;
        let image = program.image().map_err(Failure::Usage)?;
        // what INIT must not have goes at execve(2); the pipe that reports to us goes with it, as it should
        libctr::fd::cloexec_except(&keep)?;
        let set_up = || -> Result<std::convert::Infallible, Fault<'_>> {
            let fault = |operation| move |errno| Fault::new(operation, Object::None, errno);
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)
                .map_err(fault("set parent death signal"))?;
            nix::unistd::setsid().map_err(fault("make session"))?;
            if !self.no_proc {
                root.mount_proc()?;
            }
            root.pivot()?;
            if let Some(cwd) = &cwd {
                nix::unistd::chdir(cwd.as_c_str())
                    .map_err(|errno| Fault::new("change directory to", Object::Text(cwd.as_bytes()), errno))?;
            }
            if self.no_new_privs {
                nix::sys::prctl::set_no_new_privs().map_err(fault("set no_new_privs"))?;
            }
            Err(Fault::new(EXECUTE, Object::None, image.exec()))
        };
        let ended = forward_and_wait(|| spawn(CloneFlags::CLONE_NEWPID, set_up));
        match ended {
            Ok(ended) => mirror(ended),
            Err(error) if error.operation() == EXECUTE => {
                Err(Failure::Program(Error::new(EXECUTE, libctr::show(program.program()), error.errno())))
            }
            Err(error) => Err(error.into()),
        }
    }
}

const EXECUTE: &str = "execute";

fn mirror(ended: Ended) -> ! {
    ended.mirror()
}
