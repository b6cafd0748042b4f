//! `close-fds`: closes every descriptor that is not wanted.

use std::os::fd::RawFd;

use argh::{ArgsInfo, FromArgs};
use libctr::fd::{self, FdList};
use libctr::process::Exec;

use crate::cli::{Chain, Failure, Tool, become_program, require, usage, value as parse};

/// Closes every descriptor but 0, 1, 2 and those listed, and executes PROGRAM.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    example = "close-fds --keep env:NSFD_NET,5-9 -- env",
    note = "LIST is N, FIRST-LAST or env:VAR, joined by commas. NSFD_* and MNTFD_* variables of closed descriptors are removed.\n\
            Exit status: that of PROGRAM; 125 this tool failed, 126 PROGRAM cannot be executed, 127 not found."
)]
pub struct CloseFds {
    /// keep these too; may be repeated
    #[argh(option, arg_name = "LIST", from_str_fn(parse))]
    keep: Vec<FdList>,
    /// renumber these to 3, 4, 5 and so on, in the order listed, and keep nothing else but 0, 1, 2
    #[argh(option, arg_name = "LIST", from_str_fn(parse))]
    arrange: Option<FdList>,
    /// with --arrange: also set LISTEN_FDS and LISTEN_PID, as sd_listen_fds(3) reads them
    #[argh(switch)]
    listen_fds: bool,
    /// as --listen-fds, with these in LISTEN_FDNAMES; also written --listen-fds=NAMES
    #[argh(option, arg_name = "NAME:…")]
    listen_fds_names: Option<String>,
    /// do not keep 0, 1 and 2 unless they are listed
    #[argh(switch)]
    all: bool,
    /// mark close-on-exec instead of closing now
    #[argh(switch)]
    cloexec: bool,
}

impl Tool for CloseFds {
    const NAME: &'static str = "close-fds";
    const CHAIN: Chain = Chain::Always;

    fn run(self, program: Option<Exec>) -> Result<(), Failure> {
        let mut program = require(program)?;
        let mut keep = open_numbers("--keep", &self.keep)?;
        if let Some(list) = &self.arrange {
            if !self.keep.is_empty() || self.cloexec {
                return Err(usage("--arrange", "excludes --keep and --cloexec"));
            }
            keep = self.rearrange(&open_numbers("--arrange", std::slice::from_ref(list))?, &mut program)?;
        } else if self.listen_fds || self.listen_fds_names.is_some() {
            return Err(usage("--listen-fds", "needs --arrange"));
        }
        if !self.all {
            let standard: Vec<RawFd> = (0..3).filter(|number| !keep.contains(number)).collect();
            keep.extend(standard);
        }
        program.forget_descriptors(|number| keep.contains(&number));
        // those that another manager of services has handed on begin at 3
        let listen = std::env::var("LISTEN_FDS").ok().and_then(|count| count.parse::<RawFd>().ok()).unwrap_or(0);
        if self.arrange.is_none() && !(3..listen.saturating_add(3)).all(|number| keep.contains(&number)) {
            ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"].iter().for_each(|variable| program.remove_var(variable));
        }
        if self.cloexec {
            fd::cloexec_except(&keep)?;
        } else {
            // a message about the program still needs stderr, which --all closes at execve(2)
            let mut now = keep.clone();
            (0..3).filter(|number| !keep.contains(number)).for_each(|number| now.push(number));
            fd::close_except(&now)?;
            if self.all {
                fd::cloexec_except(&keep)?;
            }
        }
        Err(become_program(program))
    }
}

impl CloseFds {
    /// Renumbers, says so in the environment, and returns the new numbers.
    fn rearrange(&self, numbers: &[RawFd], program: &mut Exec) -> Result<Vec<RawFd>, Failure> {
        let names = self.listen_fds_names.as_deref();
        if names.is_some_and(|names| names.split(':').count() != numbers.len()) {
            return Err(usage("--listen-fds", format!("needs {} names, joined by colons", numbers.len())));
        }
        fd::arrange(numbers)?;
        program.renumber_descriptors(|old| {
            let place = numbers.iter().position(|number| *number == old);
            place.map(|place| place as RawFd + 3).or((old < 3).then_some(old))
        });
        if self.listen_fds || names.is_some() {
            program.set_var("LISTEN_FDS", numbers.len().to_string());
            program.set_var("LISTEN_PID", std::process::id().to_string());
            match names {
                Some(names) => program.set_var("LISTEN_FDNAMES", names),
                None => program.remove_var("LISTEN_FDNAMES"),
            }
        }
        Ok((3..).take(numbers.len()).collect())
    }
}

/// The numbers listed, each of which is open and listed once.
pub(crate) fn open_numbers(option: &str, lists: &[FdList]) -> Result<Vec<RawFd>, Failure> {
    let mut numbers = Vec::new();
    for list in lists {
        for number in list.numbers().map_err(Failure::Usage)? {
            if numbers.contains(&number) {
                return Err(usage(option, format!("lists descriptor {number} twice")));
            }
            if !libctr::sys::fd::is_open(number) {
                return Err(usage(option, format!("lists descriptor {number}, which is not open")));
            }
            numbers.push(number);
        }
    }
    Ok(numbers)
}
