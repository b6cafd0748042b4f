//! `ctrtool`: all tools in one program, by the name it is called by or by its first argument.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use libctr::{Error, show};

use crate::cli::{self, Tool};
use crate::{close_fds, net_setup, ns_enter, nsfd_create, pivot_init, veth_create};

type Main = fn(std::vec::IntoIter<OsString>) -> ExitCode;

/// Every tool, by name.
const TOOLS: [(&str, Main); 6] = [
    (nsfd_create::NsfdCreate::NAME, cli::main::<nsfd_create::NsfdCreate>),
    (veth_create::VethCreate::NAME, cli::main::<veth_create::VethCreate>),
    (ns_enter::NsEnter::NAME, cli::main::<ns_enter::NsEnter>),
    (close_fds::CloseFds::NAME, cli::main::<close_fds::CloseFds>),
    (net_setup::NetSetup::NAME, cli::main::<net_setup::NetSetup>),
    (pivot_init::PivotInit::NAME, cli::main::<pivot_init::PivotInit>),
];

const HELP: &str = "Usage: ctrtool TOOL [OPTIONS] …\n\nAll container tools in one program; also by the name of a link to it.\n\n\
                    Options:\n  --list      print the names of the tools\n  --version   print the version\n  --help      print this\n\n\
                    Example: ctrtool nsfd-create -Un --map-root -- env\n";

/// The `main` of ctrtool: `args` with the program's own name first.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let mut args: Vec<OsString> = args.collect();
    let tool = |name: &OsString| {
        let name = Path::new(name).file_name()?;
        TOOLS.iter().find(|(tool, _)| name == *tool).map(|(_, main)| *main)
    };
    if let Some(main) = args.first().and_then(tool) {
        return main(args.split_off(1).into_iter());
    }
    let Some(name) = args.get(1) else {
        return refuse("read argument", "TOOL", "none is given");
    };
    let text = match name.to_str() {
        Some("--list") => TOOLS.iter().map(|(name, _)| format!("{name}\n")).collect(),
        Some("--version") => format!("ctrtool (libctr) {}\n", env!("CARGO_PKG_VERSION")),
        Some("--help" | "-h") => HELP.to_owned(),
        _ => match tool(name) {
            Some(main) => return main(args.split_off(2).into_iter()),
            None => return refuse("run tool", &show(name).to_string(), "there is none of that name"),
        },
    };
    match cli::print(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn refuse(operation: &'static str, object: &str, reason: &str) -> ExitCode {
    cli::complain("ctrtool", &Error::invalid(operation, object, reason).with_hint("ctrtool --list names the tools"));
    ExitCode::from(2)
}
