//! A plan of 500 lines against the bare system calls that it stands for, each in a mount namespace of its own, in turns, in one run:
//! `cargo bench -p libctr --bench plan`, as root. Prints the medians and their ratio.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench reports, and has failed where it cannot go on")]

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use libctr::mount::{Plan, Root};
use libctr::sys::mount::{
    AT_EMPTY_PATH, AT_RECURSIVE, Config, MOUNT_ATTR_NOSUID, MOVE_MOUNT_F_EMPTY_PATH, MOVE_MOUNT_T_EMPTY_PATH,
    OPEN_TREE_CLONE, fsconfig, fsmount, fsopen, mount_attr, mount_setattr, move_mount, open_tree,
};
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::mount::MsFlags;
use nix::sys::stat::{Mode, mkdirat};

const LINES: usize = 500;
const ROUNDS: usize = 15;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("--plan") => report(with_plan),
        Some("--bare") => report(bare),
        _ => compare(),
    }
}

fn compare() {
    let run = |how: &str| -> u64 {
        let output = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", "mount -t tmpfs bench /mnt && exec \"$0\" \"$1\""])
            .arg(std::env::current_exe().unwrap())
            .arg(how)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
    };
    let (mut plan, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plan.push(run("--plan"));
        bare.push(run("--bare"));
    }
    plan.sort_unstable();
    bare.sort_unstable();
    let (plan, bare) = (plan[ROUNDS / 2] as f64 / 1e6, bare[ROUNDS / 2] as f64 / 1e6);
    println!("plan of {LINES} lines     {plan:8.2} ms");
    println!("bare system calls     {bare:8.2} ms");
    println!("ratio                 {:8.2}    (bar 1.5)", plan / bare);
}

fn report(work: impl FnOnce()) {
    let start = Instant::now();
    work();
    println!("{}", start.elapsed().as_nanos());
}

/// A third each of directories, tmpfs and bind mounts.
fn with_plan() {
    let mut text = String::new();
    for n in 0..LINES {
        text.push_str(&match n % 3 {
            0 => format!("none /d{n} dir\n"),
            1 => format!("none /d{} tmpfs size=1m,nosuid\n", n - 1),
            _ => format!("/usr /u{n} bind ro,x-mkdir\n"),
        });
    }
    Plan::parse("bench", text.as_bytes()).unwrap().apply(&mut Root::open(Path::new("/mnt")).unwrap()).unwrap();
}

fn bare() {
    let path_only = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let root = openat(AT_FDCWD, "/mnt", path_only | OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    let mode = Mode::from_bits_retain(0o755);
    let resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(path_only).resolve(resolve);
    let attach = |tree: OwnedFd, at: &str| {
        let target = openat2(root.as_fd(), at, how).unwrap();
        move_mount(&tree, c"", &target, c"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH).unwrap();
    };
    for n in 0..LINES {
        match n % 3 {
            0 => mkdirat(&root, format!("d{n}").as_str(), mode).unwrap(),
            1 => {
                let context = fsopen(c"tmpfs").unwrap();
                fsconfig(&context, Config::String(c"size", c"1m")).unwrap();
                fsconfig(&context, Config::Create).unwrap();
                attach(fsmount(&context, MOUNT_ATTR_NOSUID).unwrap(), &format!("d{}", n - 1));
            }
            _ => {
                let source = openat(AT_FDCWD, "/usr", path_only, Mode::empty()).unwrap();
                let tree = open_tree(&source, c"", AT_EMPTY_PATH as u32 | OPEN_TREE_CLONE).unwrap();
                let propagation = MsFlags::MS_PRIVATE.bits();
                let attr = mount_attr { attr_set: 1, attr_clr: 0, propagation, userns_fd: 0 };
                mount_setattr(&tree, c"", AT_EMPTY_PATH as u32 | AT_RECURSIVE as u32, &attr).unwrap();
                mkdirat(&root, format!("u{n}").as_str(), mode).unwrap();
                attach(tree, &format!("u{n}"));
            }
        }
    }
}
