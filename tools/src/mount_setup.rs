//! `mount-setup`: carries out a mount plan.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};
use libctr::mount::{Plan, Record, Root, could_not};
use libctr::process::Exec;
use libctr::sys::clone::{clone3, pidfd_open, wait_exit};
use libctr::sys::signal::{set_default, set_mask};
use libctr::{Context, Errno, Error, show};
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::signal::SigSet;
use nix::unistd::{Pid, getpid, pipe2, setpgid, write};

use crate::cli::{Chain, Failure, Tool, become_program, complain, print, usage};
use crate::ending::Ending;

/// Carries out a mount plan below DIR: all of it, or nothing. Then executes PROGRAM, if one is given.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    example = "mount-setup --root /mnt -e 'none / rootfs usr=bind,etc=minimal'",
    example = "mount-setup -e 'none /run/x tmpfs x-mkdir,size=1m,nosuid' -- ls -ld /run/x",
    note = "A line is SOURCE TARGET TYPE [OPTIONS]; \\040 is a space, # begins a comment. TARGET is below DIR, and found \
            there as if DIR were the root already. SOURCE is as this tool sees it, none where there is none.\n\
            TYPE: bind (rec, lock, ro, nosuid, nodev, noexec, nosymfollow, noatime, ...), fd (SOURCE is env:MNTFD_X or fd:N), dir and \
            file (mode=, uid=, gid=, text=), symlink, dev (nodes=null:zero:full:random:urandom:tty:tun), devpts, mqueue, proc (pidns=NSREF, masked), \
            sysfs (masked), cgroup, image (squashfs, erofs, ext4), tmpfs and every other filesystem of the kernel, with its options; propagation \
            (private, slave, shared, unbindable, rec), remount (attributes, rec, options), umount, move (SOURCE is below DIR), ns (SOURCE is an \
            NSREF, kind=KIND), mask (made unreadable; ro: read-only; optional), lock (as the option, all that is mounted there when the plan is done), rootfs.\n\
            x-mkdir makes the mount point. lock: nobody in the container, its root included, can make it \
            writable again, or uncover what is below the mounts on it.\n\
            rootfs: usr= etc= var= home= root= run= tmp= opt= srv= mnt= (each no, dir, tmpfs, bind, /PATH or fd:NAME, which is \
            MNTFD_NAME; etc also minimal), dev= pts= shm= mqueue= tun= sys= (yes or no), proc= (no, yes, masked), cgroup= (no, ro, rw), nodes=, size= \
            and others of tmpfs; all of it is locked, unless lock=no.\n\
            All of it: ctrtool --man mount-plan | man -l -\n\
            Exit status: 0, 1 where the plan failed, 2 usage; with PROGRAM its own, 125, 126 or 127. What the plan did is undone where PROGRAM \
            cannot be executed, unless it has locked or moved mounts that were there before."
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

    fn run(self, program: Option<Exec>) -> Result<(), Failure> {
        if self.plan.is_empty() && self.line.is_empty() {
            return Err(usage("--plan or --line", "one of them is needed"));
        }
        let mut plan = Plan::default();
        for name in &self.plan {
            let mut text = Vec::new();
            if name == "-" {
                std::io::stdin().read_to_end(&mut text).context("read plan", "stdin")?;
                Plan::parse("stdin", &text).and_then(|more| plan.append(more)).map_err(Failure::Usage)?;
            } else {
                let text = std::fs::read(name).context("read plan", show(name))?;
                Plan::parse(name, &text).and_then(|more| plan.append(more)).map_err(Failure::Usage)?;
            }
        }
        for (index, line) in self.line.iter().enumerate() {
            let place = format!("-e {}", index + 1);
            Plan::parse_line(&place, line.as_bytes()).and_then(|line| plan.append(line)).map_err(Failure::Usage)?;
        }
        if self.dry_run || self.expand {
            print(&if self.expand { plan.to_string() } else { plan.system_calls() })?;
            return Ok(());
        }
        let root = Root::open(&self.root)?;
        // what is undone because of PROGRAM is so before it is another plan's turn
        let (record, _turn) = carry_out(&plan, &root)?;
        match program {
            Some(mut program) => {
                let used: Vec<_> = plan.descriptors().collect();
                for number in &used {
                    libctr::sys::fd::set_cloexec(*number, true).context("mark close-on-exec", number)?;
                }
                program.forget_descriptors(|number| !used.contains(&number));
                match become_program(program) {
                    // nothing is left of what it was for
                    Failure::Program(error) => Err(Failure::Program(match record.undo(&root)? {
                        left if left.is_empty() => error,
                        left => error.with_hint(could_not(&left)),
                    })),
                    other => Err(other),
                }
            }
            None => Ok(()),
        }
    }
}

/// Waits until no other plan is carried out in this mount namespace, if that can be told: two at once would find, and undo, each
/// other's directories. Anybody in the namespace may lock it: hence not for ever.
fn take_turn(ending: &Ending) -> Result<Option<Flock<File>>, Error> {
    let Ok(mut namespace) = File::open("/proc/self/ns/mnt") else { return Ok(None) };
    for _ in 0..2000 {
        match Flock::lock(namespace, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(Some(locked)),
            Err((again, Errno::EAGAIN)) => namespace = again,
            Err(_) => return Ok(None),
        }
        if ending.sleep(Duration::from_millis(5)).is_err() {
            return Ok(None);
        }
    }
    complain(
        MountSetup::NAME,
        &Error::new("wait for other plans in", "this mount namespace", Errno::ETIMEDOUT)
            .with_hint("someone keeps /proc/self/ns/mnt locked; this one is carried out now"),
    );
    Ok(None)
}

/// Carries the plan out in a child that outlives this process if need be, and that no signal of the terminal reaches. Whichever
/// of the two is killed meanwhile, the other undoes what is done; and this one, asked to end, ends when that is done.
fn carry_out(plan: &Plan, root: &Root) -> Result<(Record, Option<Flock<File>>), Failure> {
    let parent = pidfd_open(getpid()).context("open process", getpid())?;
    // a caller that ignores SIGCHLD must not lose us the status
    set_default(libc::SIGCHLD).context("reset disposition of", "SIGCHLD")?;
    let ending = Ending::block()?;
    let (asked, ask) = pipe2(OFlag::O_CLOEXEC).context("make pipe", "")?;
    let record = Record::new()?;
    // which the child has too, for as long as it undoes what a plan began that was killed
    let turn = take_turn(&ending)?;
    if ending.asked()?.is_some() {
        return ending.end(MountSetup::NAME, Ok((record, turn)));
    }
    let go_on = || {
        let mut fds = [PollFd::new(parent.as_fd(), PollFlags::POLLIN), PollFd::new(asked.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::ZERO) == Ok(0)
    };
    let (pid, pidfd) = clone3(CloneFlags::empty(), None, || {
        let _ = set_mask(&SigSet::all());
        // who kills the process group does not mean this one
        let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
        match plan.apply_while(&mut root.clone(), &record, go_on) {
            Ok(()) => 0,
            Err(error) => {
                complain(MountSetup::NAME, &error);
                1
            }
        }
    })
    .context("start child process", "")?;
    let ended = loop {
        let signals = ending.signals().as_fd();
        let mut fds = [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN), PollFd::new(signals, PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::NONE) {
            Ok(_) if fds[0].any() == Some(true) => break wait_exit(&pidfd).context("wait for process", pid)?,
            Ok(_) => {
                ending.asked()?;
                write(&ask, b"x").context("write to", "child process")?;
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(Error::new("wait for process", pid, errno).into()),
        }
    };
    // it undoes what it does unless it was killed, or was ready just before it was asked
    let undo = || {
        let left = record.undo(root)?;
        Ok(if left.is_empty() { None } else { Some(could_not(&left)) })
    };
    let result = match (ended, ending.asked()?) {
        ((libc::CLD_EXITED, 0), None) => Ok(()),
        ((libc::CLD_EXITED, 0), Some(_)) => undo().and_then(|left| match left {
            None => Ok(()),
            Some(left) => Err(Error::new("undo plan", "", Errno::ECANCELED).with_hint(left).into()),
        }),
        ((libc::CLD_EXITED, _), _) => Err(Failure::Reported),
        ((_, signal), _) => undo().and_then(|left| {
            let error = Error::new("carry out plan in process", pid, Errno::ECANCELED);
            let died = format!("it died of signal {signal}");
            Err(match left {
                None => error.with_reason(format!("{died}; what it had done is undone")),
                Some(left) => error.with_reason(died).with_hint(left),
            }
            .into())
        }),
    };
    ending.end(MountSetup::NAME, result.map(|()| (record, turn)))
}
