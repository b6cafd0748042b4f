//! `mount-setup`: carries out a mount plan.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::process::ExitCode;

use argh::{ArgsInfo, FromArgs};
use libctr::mount::{Plan, Root};
use libctr::process::Exec;
use libctr::sys::clone::{clone3, pidfd_open, wait_exit};
use libctr::sys::signal::{set_default, set_mask};
use libctr::{Context, Errno, Error, show};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::signal::SigSet;
use nix::unistd::{Pid, getpid, setpgid};

use crate::cli::{Chain, Failure, Tool, become_program, complain, print, usage};

/// Carries out a mount plan below DIR: all of it, or nothing. Then executes PROGRAM, if one is given.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    example = "mount-setup --root /mnt -e 'none / rootfs usr=bind,etc=minimal'",
    example = "mount-setup -e 'none /run/x tmpfs x-mkdir,size=1m,nosuid' -- ls -ld /run/x",
    note = "A line is SOURCE TARGET TYPE [OPTIONS]; \\040 is a space, # begins a comment. TARGET is below DIR, and found \
            there as if DIR were the root already. SOURCE is as this tool sees it, none where there is none.\n\
            TYPE: bind (rec, lock, ro, nosuid, nodev, noexec, nosymfollow, noatime, ...), fd (SOURCE is env:MNTFD_X or fd:N), dir and \
            file (mode=, uid=, gid=, text=), symlink, dev (nodes=null:zero:full:random:urandom:tty:tun), devpts, mqueue, proc (pidns=NSREF), sysfs, \
            cgroup, image (squashfs, erofs, ext4), tmpfs and every other filesystem of the kernel, with its options; propagation (private, slave, shared, \
            unbindable, rec), remount (attributes, rec), umount, move (SOURCE is below DIR), ns (SOURCE is an NSREF, kind=KIND), mask (made \
            unreadable), lock (as the option, all that is mounted there), rootfs.\n\
            x-mkdir makes the mount point. lock, for directories: nobody in the container, its root included, can make it \
            writable again, or uncover what is below the mounts on it.\n\
            rootfs: usr= etc= var= home= root= run= tmp= opt= srv= mnt= (each no, dir, tmpfs, bind or fd:NAME, which is \
            MNTFD_NAME; etc also minimal), lock, dev= pts= shm= mqueue= tun= sys= (yes or no), cgroup= (no, ro, rw), nodes=, size=.\n\
            Exit status: 0, 1 where the plan failed, 2 usage; with PROGRAM its own, 125, 126 or 127."
)]
pub struct MountSetup {
    /// the directory that TARGETs are below; / by default
    #[argh(option, arg_name = "DIR", default = "PathBuf::from(\"/\")")]
    root: PathBuf,
    /// read the plan from this file, - for stdin; may be repeated
    #[argh(option, arg_name = "FILE")]
    plan: Vec<String>,
    /// a line of a plan; may be repeated, and comes after those of --plan
    #[argh(option, short = 'e', arg_name = "LINE")]
    line: Vec<String>,
    /// print what would be done, one system call a line, and do nothing
    #[argh(switch)]
    dry_run: bool,
    /// print the plan that the lines stand for, rootfs and dev in full, and do nothing
    #[argh(switch)]
    expand: bool,
}

impl Tool for MountSetup {
    const NAME: &'static str = "mount-setup";
    const CHAIN: Chain = Chain::Optional;

    fn run(self, program: Option<Exec>) -> Result<ExitCode, Failure> {
        if self.plan.is_empty() && self.line.is_empty() {
            return Err(usage("--plan or --line", "one of them is needed"));
        }
        let mut plan = Plan::default();
        for name in &self.plan {
            let mut text = Vec::new();
            if name == "-" {
                std::io::stdin().read_to_end(&mut text).context("read plan", "stdin")?;
                plan.append(Plan::parse("stdin", &text).map_err(Failure::Usage)?);
            } else {
                let text = std::fs::read(name).context("read plan", show(name))?;
                plan.append(Plan::parse(name, &text).map_err(Failure::Usage)?);
            }
        }
        for (index, line) in self.line.iter().enumerate() {
            let place = format!("-e {}", index + 1);
            plan.append(Plan::parse_line(&place, line.as_bytes()).map_err(Failure::Usage)?);
        }
        if self.dry_run || self.expand {
            print(&if self.expand { plan.to_string() } else { plan.system_calls() })?;
            return Ok(ExitCode::SUCCESS);
        }
        carry_out(&plan, Root::open(&self.root)?)?;
        match program {
            Some(mut program) => {
                let used: Vec<_> = plan.descriptors().collect();
                for number in &used {
                    libctr::sys::fd::set_cloexec(*number, true).context("mark close-on-exec", number)?;
                }
                program.forget_descriptors(|number| !used.contains(&number));
                Err(become_program(program))
            }
            None => Ok(ExitCode::SUCCESS),
        }
    }
}

/// Carries the plan out in a child that outlives this process if need be, and that no signal of the terminal reaches: where
/// this process is killed meanwhile, the child undoes what is done.
fn carry_out(plan: &Plan, mut root: Root) -> Result<(), Failure> {
    let parent = pidfd_open(getpid()).context("open process", getpid())?;
    // a caller that ignores SIGCHLD must not lose us the status
    set_default(libc::SIGCHLD).context("reset disposition of", "SIGCHLD")?;
    let parent_lives = || {
        let mut fds = [PollFd::new(parent.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO) == Ok(0)
    };
    let (pid, pidfd) = clone3(CloneFlags::empty(), None, || {
        let _ = set_mask(&SigSet::all());
        // who kills the process group does not mean this one
        let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
        match plan.apply_while(&mut root, parent_lives) {
            Ok(()) => 0,
            Err(error) => {
                complain(MountSetup::NAME, &error);
                1
            }
        }
    })
    .context("start child process", "")?;
    loop {
        match wait_exit(&pidfd) {
            Ok((libc::CLD_EXITED, 0)) => return Ok(()),
            Ok((libc::CLD_EXITED, _)) => return Err(Failure::Reported),
            Ok((_, signal)) => {
                let error = Error::new("carry out plan in process", pid, Errno::ECANCELED);
                return Err(error.with_reason(format!("it died of signal {signal}; what it had done remains")).into());
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::new("wait for process", pid, errno).into()),
        }
    }
}
