//! `close-fds`: closes every descriptor that is not wanted.

use std::process::ExitCode;

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

    fn run(self, program: Option<Exec>) -> Result<ExitCode, Failure> {
        let mut program = require(program)?;
        let mut keep = Vec::new();
        for list in &self.keep {
            for number in list.numbers().map_err(Failure::Usage)? {
                if keep.contains(&number) {
                    return Err(usage("--keep", format!("lists descriptor {number} twice")));
                }
                if !libctr::sys::fd::is_open(number) {
                    return Err(usage("--keep", format!("lists descriptor {number}, which is not open")));
                }
                keep.push(number);
            }
        }
        if !self.all {
            (0..3).filter(|number| !keep.contains(number)).collect::<Vec<_>>().into_iter().for_each(|n| keep.push(n));
        }
        program.forget_descriptors(|number| keep.contains(&number));
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
