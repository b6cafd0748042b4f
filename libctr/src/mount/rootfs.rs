//! `rootfs`: the whole skeleton of a root filesystem as one plan line, every decision an option.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;

use super::options::Options;
use super::plan::{Op, Owner, Source, descriptor, dev, filesystem, masks};
use super::tree::Attributes;
use crate::error::{Error, Result, show};

/// What a directory of the root is.
enum Choice {
    /// It is not there.
    No,
    /// An empty directory.
    Dir,
    /// A tmpfs of its own.
    Tmpfs,
    /// The host's, or another directory there, with all that is mounted below, read-only.
    Bind(PathBuf),
    /// A detached tree, held by descriptor.
    Tree(Source),
    /// Only the files that most programs need; `etc` alone.
    Minimal,
}

/// What users of merged /usr expect at the top.
const MERGED: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];

/// The options that a tmpfs knows.
const TMPFS: [&str; 11] =
    ["size", "mode", "uid", "gid", "nr_blocks", "nr_inodes", "huge", "mpol", "inode32", "inode64", "noswap"];

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n";
const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n";

/// The operations that a line of type `rootfs` stands for, of which each would do as a line of its own.
pub(super) fn expand(target: &Path, given: &mut Options) -> Result<Vec<(PathBuf, Op)>> {
    let mut choice = |name: &str, default: &str| -> Result<Choice> {
        let text = given.text(name)?.unwrap_or_else(|| default.to_owned());
        match (text.as_str(), text.split_once(':')) {
            ("no", _) => Ok(Choice::No),
            ("dir", _) => Ok(Choice::Dir),
            ("tmpfs", _) => Ok(Choice::Tmpfs),
            ("bind", _) => Ok(Choice::Bind(Path::new("/").join(name))),
            (path, _) if path.starts_with('/') => Ok(Choice::Bind(path.into())),
            ("minimal", _) if name == "etc" => Ok(Choice::Minimal),
            (_, Some(("fd", reference))) => {
                let variable = format!("MNTFD_{reference}");
                let numeric = crate::fd::parse_number(reference).is_some();
                let source = if numeric { reference.to_owned() } else { format!("env:{variable}") };
                descriptor(source.as_ref()).map(|number| Choice::Tree(Source::Fd(number))).map_err(|error| {
                    Error::new("use option", format_args!("{name}={}", show(&text)), error.errno())
                        .with_reason(error.reason().into_owned())
                })
            }
            _ => {
                let known = if name == "etc" { ", minimal" } else { "" };
                let reason = format!("is none of no, dir, tmpfs, bind, /PATH, fd:NAME{known}");
                Err(Error::invalid("use option", format_args!("{name}={}", show(&text)), reason))
            }
        }
    };
    let dirs = [
        ("usr", choice("usr", "bind")?, 0o755),
        ("etc", choice("etc", "minimal")?, 0o755),
        ("var", choice("var", "dir")?, 0o755),
        ("home", choice("home", "dir")?, 0o755),
        ("root", choice("root", "dir")?, 0o700),
        ("run", choice("run", "tmpfs")?, 0o755),
        ("tmp", choice("tmp", "tmpfs")?, 0o1777),
        ("opt", choice("opt", "no")?, 0o755),
        ("srv", choice("srv", "no")?, 0o755),
        ("mnt", choice("mnt", "dir")?, 0o755),
    ];
    let (with_dev, with_pts, with_shm) = (given.yes("dev", true)?, given.yes("pts", true)?, given.yes("shm", true)?);
    let (with_mqueue, with_tun, with_sys) =
        (given.yes("mqueue", true)?, given.yes("tun", false)?, given.yes("sys", false)?);
    let cgroup = given.text("cgroup")?.unwrap_or_else(|| "no".to_owned());
    let nodes = given.text("nodes")?.unwrap_or_else(|| "null:zero:full:random:urandom:tty".to_owned());
    let proc = given.text("proc")?.unwrap_or_else(|| "no".to_owned());
    // on by default, so that the flag says what is so anyway
    let lock = given.flag("lock") || given.yes("lock", true)?;
    let mut root = given.take(&TMPFS);
    if !root.has("mode") {
        root.append(Options::from_pairs(&[("mode", "0755")]));
    }
    if given.flag("x-mkdir") {
        root.add_flag("x-mkdir");
    }
    root.add_flag("nosuid");
    root.add_flag("nodev");
    let mut ops = vec![(target.to_owned(), filesystem(OsStr::new("none"), "tmpfs", &mut root)?)];
    let dir = |name: &str, mode: u32| {
        (target.join(name), Op::Dir { mode: Mode::from_bits_retain(mode), owner: Owner::default() })
    };
    let host_usr = matches!(&dirs[0].1, Choice::Bind(path) if path == Path::new("/usr"));
    for (name, choice, mode) in &dirs {
        ops.push(match choice {
            Choice::No => continue,
            Choice::Dir => dir(name, *mode),
            Choice::Tmpfs => (target.join(name), tmpfs(*mode)?),
            Choice::Bind(path) => (target.join(name), bind(Source::Path(path.clone()), true)?),
            Choice::Tree(source) => (target.join(name), bind(source.clone(), false)?),
            Choice::Minimal => {
                ops.extend(etc(target, host_usr)?);
                continue;
            }
        });
    }
    if !matches!(dirs[0].1, Choice::No) {
        ops.extend(merged(target, host_usr)?);
    }
    let own = |name: &str, kind: &str, options: &mut Options| -> Result<(PathBuf, Op)> {
        options.add_flag("x-mkdir");
        Ok((target.join(name), filesystem(OsStr::new("none"), kind, options)?))
    };
    match proc.as_str() {
        // pivot-init mounts it, in the pid namespace that it shows
        "no" => ops.push(dir("proc", 0o555)),
        "yes" | "masked" => ops.push(own("proc", "proc", &mut Options::default())?),
        other => {
            return Err(Error::invalid(
                "use option",
                format_args!("proc={}", show(other)),
                "is none of no, yes, masked",
            ));
        }
    }
    if proc == "masked" {
        ops.extend(masks(&target.join("proc"), "proc"));
    }
    if with_sys {
        ops.push(own("sys", "sysfs", &mut Options::default())?);
        ops.extend(masks(&target.join("sys"), "sysfs"));
    } else {
        ops.push(dir("sys", 0o555));
    }
    match cgroup.as_str() {
        "no" => {}
        "ro" | "rw" => {
            let mut options = Options::default();
            options.add_flag(&cgroup);
            ops.push(own("sys/fs/cgroup", "cgroup", &mut options)?);
        }
        other => {
            return Err(Error::invalid("use option", format_args!("cgroup={}", show(other)), "is none of no, ro, rw"));
        }
    }
    if with_dev {
        let nodes = if with_tun { format!("{nodes}:tun") } else { nodes };
        ops.extend(dev(&target.join("dev"), &nodes)?);
        if with_pts {
            ops.push(own("dev/pts", "devpts", &mut Options::default())?);
        }
        if with_shm {
            ops.push((target.join("dev/shm"), tmpfs(0o1777)?));
        }
        if with_mqueue {
            ops.push(own("dev/mqueue", "mqueue", &mut Options::default())?);
        }
    } else {
        ops.push(dir("dev", 0o755));
    }
    if lock {
        ops.push((target.to_owned(), Op::Lock));
    }
    Ok(ops)
}

fn tmpfs(mode: u32) -> Result<Op> {
    let mode = format!("{mode:04o}");
    let mut options = Options::from_pairs(&[("mode", &mode)]);
    ["x-mkdir", "nosuid", "nodev"].into_iter().for_each(|flag| options.add_flag(flag));
    filesystem(OsStr::new("none"), "tmpfs", &mut options)
}

/// The host's own trees are read-only; a tree by descriptor only if who made it wanted that.
fn bind(source: Source, host: bool) -> Result<Op> {
    let attributes = Attributes::new(if host { &["ro", "nosuid", "nodev"] } else { &["nosuid", "nodev"] })?;
    Ok(Op::Bind { source, recursive: true, attributes, lock: false, mkdir: true })
}

/// The links of merged /usr as the host has them, or with another /usr as everybody has them; a host's directory where
/// it has not merged.
fn merged(target: &Path, host: bool) -> Result<Vec<(PathBuf, Op)>> {
    let mut ops = Vec::new();
    for name in MERGED {
        let path = Path::new("/").join(name);
        let op = match std::fs::read_link(&path) {
            Ok(link) if host => Op::Link(link.into()),
            _ if !host => Op::Link(format!("usr/{name}").into()),
            _ if path.is_dir() => bind(Source::Path(path), true)?,
            _ => continue,
        };
        ops.push((target.join(name), op));
    }
    Ok(ops)
}

fn etc(target: &Path, host_usr: bool) -> Result<Vec<(PathBuf, Op)>> {
    let mut ops = vec![];
    for (name, text) in [("passwd", PASSWD), ("group", GROUP), ("hosts", HOSTS)] {
        let mode = Mode::from_bits_retain(0o644);
        let op = Op::File { mode, owner: Owner::default(), text: text.as_bytes().to_vec() };
        ops.push((target.join("etc").join(name), op));
    }
    // what many programs of a Debian /usr lead through
    let alternatives = Path::new("/etc/alternatives");
    if host_usr && alternatives.is_dir() {
        ops.push((target.join("etc/alternatives"), bind(Source::Path(alternatives.to_owned()), true)?));
    }
    Ok(ops)
}
