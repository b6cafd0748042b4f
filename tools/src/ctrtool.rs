//! `ctrtool`: all tools in one program, by the name it is called by or by its first argument.

use std::ffi::OsString;
use std::path::Path;

use libctr::sys::start::Start;
use libctr::{Context, Error, show};

use crate::cli::{self, Tool};
use crate::{
    close_fds, fd_open, idmap_alloc, man, mntfd_create, mount_setup, net_setup, ns_enter, nsfd_create, pivot_init,
    veth_create,
};

/// A tool as the table below knows it.
struct Entry {
    name: &'static str,
    main: fn(Start) -> u8,
    man: fn() -> String,
}

const fn entry<T: Tool>() -> Entry {
    Entry { name: T::NAME, main: cli::main::<T>, man: || man::page(T::NAME, &T::get_args_info(), T::CHAIN) }
}

/// Every tool.
const TOOLS: [Entry; 10] = [
    entry::<nsfd_create::NsfdCreate>(),
    entry::<veth_create::VethCreate>(),
    entry::<ns_enter::NsEnter>(),
    entry::<close_fds::CloseFds>(),
    entry::<net_setup::NetSetup>(),
    entry::<mntfd_create::MntfdCreate>(),
    entry::<mount_setup::MountSetup>(),
    entry::<pivot_init::PivotInit>(),
    entry::<idmap_alloc::IdmapAlloc>(),
    entry::<fd_open::FdOpen>(),
];

const HELP: &str = "Usage: ctrtool TOOL [OPTIONS] …\n\nAll container tools in one program; also by the name of a link to it.\n\n\
                    Options:\n  --list         print the names of the tools\n  \
                    --man TOOL     print the man page of a tool, or mount-plan, for man -l -\n  \
                    --install DIR  link this program there by the name of each tool\n  \
                    --version      print the version\n  --help         print this\n\n\
                    Example: ctrtool nsfd-create -Un --map-root -- env\n";

/// The `main` of ctrtool; returns the exit status.
pub fn main(mut start: Start) -> u8 {
    cli::note_stdout(&start);
    let args = &mut start.args;
    let tool = |name: &OsString| {
        let name = Path::new(name).file_name()?;
        TOOLS.iter().find(|tool| name == tool.name)
    };
    if let Some(tool) = args.first().and_then(tool) {
        return (tool.main)(start);
    }
    let Some(name) = args.get(1) else {
        return refuse(Error::invalid("read argument", "TOOL", "none is given"));
    };
    let text = match (name.to_str(), args.get(2), args.len()) {
        (Some("--list"), None, _) => TOOLS.iter().map(|tool| format!("{}\n", tool.name)).collect(),
        (Some("--version"), None, _) => format!("ctrtool (libctr) {}\n", env!("CARGO_PKG_VERSION")),
        (Some("--help" | "-h"), None, _) => HELP.to_owned(),
        (Some("--man"), Some(name), 3) => match tool(name) {
            Some(tool) => (tool.man)(),
            None if name == "mount-plan" => include_str!("../../man/mount-plan.5").to_owned(),
            None => return refuse(Error::invalid("print man page of", show(name), "there is no tool of that name")),
        },
        (Some("--install"), Some(dir), 3) => match install(Path::new(dir)) {
            Ok(()) => return 0,
            Err(error) => {
                cli::complain("ctrtool", &error);
                return 1;
            }
        },
        (Some(option), ..) if option.starts_with('-') => {
            return refuse(Error::invalid("option", show(option), "is unknown, or has too few or too many values"));
        }
        _ => match tool(name) {
            Some(tool) => {
                args.remove(0);
                return (tool.main)(start);
            }
            None => return refuse(Error::invalid("run tool", show(name), "there is none of that name")),
        },
    };
    match cli::print(&text) {
        Ok(()) => 0,
        Err(failure) => {
            failure.into_error().iter().for_each(|error| cli::complain("ctrtool", error));
            1
        }
    }
}

/// Makes a symbolic link to this program for each tool: all, or none.
fn install(dir: &Path) -> libctr::Result<()> {
    let program = std::env::current_exe().context("find", "this program")?;
    for (index, tool) in TOOLS.iter().enumerate() {
        let path = dir.join(tool.name);
        if let Err(error) = std::os::unix::fs::symlink(&program, &path).context("make link", show(&path)) {
            TOOLS[..index].iter().for_each(|made| drop(std::fs::remove_file(dir.join(made.name))));
            return Err(error);
        }
    }
    Ok(())
}

fn refuse(error: Error) -> u8 {
    cli::complain("ctrtool", &error.with_hint("ctrtool --list names the tools, ctrtool --help the options"));
    2
}
