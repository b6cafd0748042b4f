//! `mntfd-create`: detached mounts, held by descriptor.

use argh::{ArgsInfo, FromArgs};
use libctr::Context;
use libctr::mount::Held;
use libctr::process::Exec;

use crate::cli::{Chain, Failure, Tool, become_program, require, usage};

/// Opens mounts that are attached nowhere and executes PROGRAM with their descriptors, which MNTFD_NAME variables number.
/// mount-setup attaches them, also where the container's root could never have mounted them.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    example = "mntfd-create --image app.squashfs=ROOT --bind /srv/data=DATA,rec,idmap=env:NSFD_USER -- env",
    note = "OPTS: ro, nosuid, nodev, noexec, nosymfollow, noatime, ... ; rec, with --bind: all mounts below too, and every one gets \
            the attributes; idmap=NSREF: owners as the maps of that user namespace show them; others are the filesystem's. Without lock in \
            the plan that attaches it the container's root can take attributes away.\n\
            What is written with idmap= is owned by the host's ids: a set-id program too, which any user of the host who can reach it may execute. \
            Keep such trees in a directory that only root may enter.\n\
            NAME is letters, digits and _. In a path \\054 is a comma, \\072 a colon.\n\
            A mount ends with its last descriptor unless it was attached, and its loop device with it.\n\
            Exit status: that of PROGRAM; 125 this tool failed, 126 PROGRAM cannot be executed, 127 not found."
)]
pub struct MntfdCreate {
    /// a copy of the mount at a directory or file; may be repeated
    #[argh(option, arg_name = "PATH=NAME[,OPTS]", from_str_fn(bind))]
    bind: Vec<Held>,
    /// a squashfs, erofs or ext4 image, read-only, and nodev unless dev is given; may be repeated
    #[argh(option, arg_name = "FILE=NAME[,OPTS]", from_str_fn(image))]
    image: Vec<Held>,
    /// a new filesystem, as tmpfs=NAME; may be repeated
    #[argh(option, arg_name = "TYPE=NAME[,OPTS]", from_str_fn(filesystem))]
    fs: Vec<Held>,
    /// an overlay; with UPPER and WORK empty it is read-only; may be repeated
    #[argh(option, arg_name = "UPPER:WORK:LOWER[:LOWER…]=NAME[,OPTS]", from_str_fn(overlay))]
    overlay: Vec<Held>,
}

fn bind(text: &str) -> Result<Held, String> {
    Held::bind(text).map_err(|error| error.reason().into_owned())
}

fn image(text: &str) -> Result<Held, String> {
    Held::image(text).map_err(|error| error.reason().into_owned())
}

fn filesystem(text: &str) -> Result<Held, String> {
    Held::filesystem(text).map_err(|error| error.reason().into_owned())
}

fn overlay(text: &str) -> Result<Held, String> {
    Held::overlay(text).map_err(|error| error.reason().into_owned())
}

impl Tool for MntfdCreate {
    const NAME: &'static str = "mntfd-create";
    const CHAIN: Chain = Chain::Always;

    fn run(self, program: Option<Exec>) -> Result<(), Failure> {
        let mut program = require(program)?;
        let wanted = [self.bind, self.image, self.fs, self.overlay].concat();
        if wanted.is_empty() {
            return Err(usage("--bind, --image, --fs or --overlay", "one of them is needed"));
        }
        for (index, held) in wanted.iter().enumerate() {
            if wanted[..index].iter().any(|other| other.variable() == held.variable()) {
                return Err(usage(&held.variable(), "is the name of two mounts"));
            }
        }
        for held in &wanted {
            let tree = held.open()?.into_fd().context("hold mount", held.variable()).map_err(|error| {
                error.with_hint(
                    "it has to be private, which needs mount_setattr(2): Linux 5.12, and no filter against it",
                )
            })?;
            let number = program.pass(tree, None)?;
            program.set_var(held.variable(), number.to_string());
        }
        Err(become_program(program))
    }
}
