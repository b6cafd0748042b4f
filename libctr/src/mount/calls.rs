//! What a plan does, as system calls: for people, before it happens.

use std::path::{Path, PathBuf};

use super::plan::{Line, Op, Owner, Plan, Source};
use super::resolve::shown;
use super::tree::{Attributes, Pair, pieces};
use crate::error::show;

impl Plan {
    /// The system calls that carry the plan out, one a line, in order: `NAME(WHAT)`. Opening a target is one line, however many
    /// directories it is in; what happens only where something is missing, or of some kind, says so.
    pub fn system_calls(&self) -> String {
        let mut known = vec![PathBuf::new()];
        let (locks, others): (Vec<&Line>, Vec<&Line>) = self.lines.iter().partition(|line| matches!(line.op, Op::Lock));
        let is_locked = |line: &&Line| locks.iter().any(|lock| line.target.starts_with(&lock.target));
        let again: Vec<&Line> =
            others.iter().copied().filter(|line| matches!(line.op, Op::Propagation(_))).filter(is_locked).collect();
        let lines = others.into_iter().chain(locks).chain(again);
        lines.flat_map(|line| line.system_calls(&mut known)).map(|call| format!("{call}\n")).collect()
    }
}

fn new_filesystem(fstype: &str, options: &[Pair], attributes: Attributes) -> Vec<String> {
    let mut calls = vec![format!("fsopen({fstype})")];
    calls.extend(configure(fstype, &pieces(options)));
    calls.push(format!("fsconfig({fstype}, CMD_CREATE)"));
    calls.push(format!("fsmount({fstype}, {attributes})"));
    calls
}

fn configure(what: &str, options: &[Pair]) -> Vec<String> {
    let call = |(key, value): &Pair| match value {
        Some(value) => format!("fsconfig({what}, {}={})", key.to_string_lossy(), value.to_string_lossy()),
        None => format!("fsconfig({what}, {})", key.to_string_lossy()),
    };
    options.iter().map(call).collect()
}

fn copy(source: &str, recursive: bool, attributes: Attributes) -> Vec<String> {
    let comma = if attributes.is_empty() { "" } else { ", " };
    let flags = if recursive { "OPEN_TREE_CLONE|AT_RECURSIVE" } else { "OPEN_TREE_CLONE" };
    vec![
        format!("open_tree({source}, {flags})"),
        format!("mount_setattr({source}, AT_RECURSIVE, MS_PRIVATE{comma}{attributes})"),
    ]
}

fn opened(source: &str, attributes: Attributes) -> Vec<String> {
    let mut calls = copy(source, false, attributes);
    calls.insert(0, format!("openat({source}, O_PATH)"));
    calls
}

fn give(target: &str, owner: Owner, mode: u32) -> Vec<String> {
    let id = |id: Option<u32>| id.map_or("-1".to_owned(), |id| id.to_string());
    let chown = (owner != Owner::default()).then(|| format!("fchown({target}, {}, {})", id(owner.uid), id(owner.gid)));
    let calls = chown.into_iter().chain([format!("fchmod({target}, {mode:o})")]);
    calls.map(|call| format!("{call} where it was missing")).collect()
}

impl Line {
    /// `known` are the directories that are there since a line before.
    fn system_calls(&self, known: &mut Vec<PathBuf>) -> Vec<String> {
        let target = shown(&self.target);
        let on_root = target == "/";
        let attributes = |source: &str, attributes: &Attributes, recursive: bool| {
            let flag = if recursive { "AT_RECURSIVE, " } else { "" };
            (!attributes.is_empty()).then(|| format!("mount_setattr({source}, {flag}{attributes})"))
        };
        let open = || format!("openat2({target}, RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS)");
        let relative = self.target.strip_prefix("/").unwrap_or(&self.target);
        let mut parents = || {
            let mut parents: Vec<&Path> = relative.ancestors().skip(1).collect();
            parents.reverse();
            parents.retain(|parent| !known.iter().any(|dir| dir == parent));
            known.extend(parents.iter().map(|parent| parent.to_path_buf()));
            let new = parents.iter().map(|parent| format!("mkdirat({}, 755) where it is missing", shown(parent)));
            let calls: Vec<String> = new.collect();
            known.push(relative.to_owned());
            calls
        };
        let mut make = |made: bool, what: &str| {
            let mut calls = if made { parents() } else { Vec::new() };
            let how = if what == "mkdirat" { "755" } else { "O_CREAT|O_EXCL, 644" };
            calls.extend(made.then(|| format!("{what}({target}, {how}) where it is missing")));
            calls.push(open());
            calls
        };
        let attach = || format!("move_mount({target})");
        let unmount = || vec!["clone3()".to_owned(), format!("umount2({target}, MNT_DETACH)")];
        let locked_copy = || {
            [open(), "clone3()".to_owned(), "unshare(CLONE_NEWUSER|CLONE_NEWNS)".to_owned()]
                .into_iter()
                .chain([format!("open_tree({target}, OPEN_TREE_CLONE|AT_RECURSIVE)")])
                .chain([format!("mount_setattr({target}, AT_RECURSIVE, MS_PRIVATE)")])
        };
        let mut calls = Vec::new();
        match &self.op {
            Op::Filesystem { fstype, source, options, attributes, mkdir, pidns } => {
                let name = fstype.to_string_lossy();
                calls = new_filesystem(&name, options, *attributes);
                if let Some(pidns) = pidns {
                    calls.insert(1, format!("fsconfig({name}, pidns={pidns})"));
                }
                if let Some(source) = source {
                    if attributes.is_read_only() {
                        calls.insert(1, format!("fsconfig({name}, ro) if the source is a block device"));
                    }
                    calls.insert(1, format!("fsconfig({name}, source={})", source.to_string_lossy()));
                }
                calls.extend(make(*mkdir, "mkdirat"));
                calls.push(attach());
            }
            Op::Bind { source, recursive, attributes: wanted, lock: locked, mkdir } => {
                match source {
                    Source::Path(path) => calls = copy(&show(path).to_string(), *recursive, *wanted),
                    Source::Fd(number) => calls.extend(attributes(&format!("fd:{number}"), wanted, *recursive)),
                }
                calls.extend(make(*mkdir, "mkdirat"));
                calls.push(attach());
                if *locked {
                    calls.extend(locked_copy());
                    if !on_root {
                        calls.extend(unmount());
                        calls.push(open());
                    }
                    calls.push(attach());
                }
            }
            Op::Device(device) => {
                let attributes = Attributes::new(&["ro", "nosuid", "noexec"]).unwrap_or_default();
                calls = opened(&format!("/dev/{}", device.name), attributes);
                calls.extend(make(true, "openat"));
                calls.push(attach());
            }
            Op::Dir { mode, owner } => {
                calls.extend(parents());
                calls.push(format!("mkdirat({target}, 755) where it is missing"));
                if *owner != Owner::default() || mode.bits() != 0o755 {
                    calls.extend(give(&target, *owner, mode.bits()));
                }
            }
            Op::File { mode, owner, text } => {
                calls.extend(parents());
                calls.push(format!("openat({target}, O_CREAT|O_EXCL, {:o}) where it is missing", mode.bits()));
                calls.push(format!("write({target}, {} bytes) where it was missing", text.len()));
                calls.extend(give(&target, *owner, mode.bits()));
            }
            Op::Link(to) => {
                calls.extend(parents());
                calls.push(format!("symlinkat({}, {target}) where it is missing", show(to)));
            }
            Op::Propagation(how) => {
                let words = super::options::propagation_words(*how).join(", ").replace("rec", "AT_RECURSIVE");
                calls.extend([open(), format!("mount_setattr({target}, {words})")]);
            }
            Op::Remount { attributes: wanted, recursive, options } => {
                calls.push(open());
                if !options.is_empty() {
                    calls.push(format!("fspick({target})"));
                    calls.extend(configure(&target, options));
                    calls.push(format!("fsconfig({target}, CMD_RECONFIGURE)"));
                }
                calls.extend(attributes(&target, wanted, *recursive));
            }
            Op::Umount => {
                calls.push(open());
                calls.extend(unmount());
            }
            Op::Image { file, options, attributes: wanted, mkdir } => {
                let file = show(file).to_string();
                calls.push(format!("openat({file}, O_RDONLY)"));
                let loops = "unless it is erofs and the kernel mounts it from the file";
                calls.push(format!("ioctl(LOOP_CONFIGURE, {file}) {loops}"));
                let mut options = options.clone();
                options.insert(0, (c"ro".to_owned(), None));
                calls.extend(new_filesystem("its type", &options, Attributes::default()));
                let create = calls.len() - options.len() - 2;
                calls.insert(create, "fsconfig(its type, source=the loop device, or the file)".to_owned());
                calls.extend(attributes(&file, wanted, false));
                calls.extend(make(*mkdir, "mkdirat"));
                calls.push(attach());
            }
            Op::Namespace(reference, _) => {
                calls = opened(&reference.to_string(), Attributes::default());
                calls.extend(make(true, "openat"));
                calls.push(attach());
            }
            Op::Move(from) => {
                calls.push(format!("openat2({}, RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS)", shown(from)));
                calls.extend([open(), format!("move_mount({}, {target})", shown(from))]);
            }
            Op::Mask { read_only: true, .. } => {
                calls.push(open());
                calls.extend(copy(&target, false, Attributes::READ_ONLY));
                calls.push(attach());
            }
            Op::Mask { .. } => {
                let hidden = Attributes::new(&["ro", "nosuid", "nodev", "noexec"]).unwrap_or_default();
                let null = Attributes::new(&["ro", "nosuid", "noexec"]).unwrap_or_default();
                let options = [(c"mode", c"0"), (c"size", c"4k")].map(|(key, value)| (key.into(), Some(value.into())));
                calls.push(open());
                calls.extend(
                    new_filesystem("tmpfs", &options, hidden).iter().map(|c| format!("{c} if it is a directory")),
                );
                calls.extend(opened("/dev/null", null).iter().map(|call| format!("{call} if it is none")));
                calls.push(attach());
            }
            Op::Lock if on_root => calls.extend(locked_copy().chain([attach()])),
            Op::Lock => {
                calls.extend(locked_copy());
                calls.push(format!("move_mount({target}, MOVE_MOUNT_BENEATH)"));
                calls.extend(unmount());
            }
        }
        if let Op::Mask { optional: true, .. } = self.op {
            calls.iter_mut().skip(1).for_each(|call| call.push_str(" if it is there"));
        }
        calls
    }
}
