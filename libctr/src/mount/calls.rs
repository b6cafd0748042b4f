//! What a plan does, as system calls: for people, before it happens.

use std::ffi::CString;

use super::plan::{Line, Op, Plan, Source};
use super::resolve::shown;
use super::tree::Attributes;
use crate::error::show;

impl Plan {
    /// The system calls that carry the plan out, one a line, in order: `NAME(WHAT)`. Opening and making the directories that a
    /// target is in is one line, however many there are; what happens only where something is missing says so.
    pub fn system_calls(&self) -> String {
        self.lines.iter().flat_map(|line| line.system_calls()).map(|call| format!("{call}\n")).collect()
    }
}

fn new_filesystem(fstype: &str, options: &[(CString, Option<CString>)], attributes: Attributes) -> Vec<String> {
    let mut calls = vec![format!("fsopen({fstype})")];
    calls.extend(options.iter().map(|(key, value)| match value {
        Some(value) => format!("fsconfig({fstype}, {}={})", key.to_string_lossy(), value.to_string_lossy()),
        None => format!("fsconfig({fstype}, {})", key.to_string_lossy()),
    }));
    calls.push(format!("fsconfig({fstype}, CMD_CREATE)"));
    calls.push(format!("fsmount({fstype}, {attributes})"));
    calls
}

fn copy(source: &str, recursive: bool, attributes: Attributes) -> Vec<String> {
    let comma = if attributes.is_empty() { "" } else { ", " };
    let flags = if recursive { "OPEN_TREE_CLONE|AT_RECURSIVE" } else { "OPEN_TREE_CLONE" };
    vec![
        format!("openat({source}, O_PATH)"),
        format!("open_tree({source}, {flags})"),
        format!("mount_setattr({source}, AT_RECURSIVE, MS_PRIVATE{comma}{attributes})"),
    ]
}

impl Line {
    fn system_calls(&self) -> Vec<String> {
        let target = shown(&self.target);
        let attributes = |source: &str, attributes: &Attributes, recursive: bool| {
            let flag = if recursive { "AT_RECURSIVE, " } else { "" };
            (!attributes.is_empty()).then(|| format!("mount_setattr({source}, {flag}{attributes})"))
        };
        let make = |made: bool, what: &str| {
            let make = made.then(|| format!("{what}({target}) where it is missing"));
            make.into_iter().chain([format!("openat2({target}, RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS)")])
        };
        let attach = || format!("move_mount({target})");
        let lock = || {
            vec![
                "clone3()".to_owned(),
                "unshare(CLONE_NEWUSER|CLONE_NEWNS)".to_owned(),
                format!("open_tree({target}, OPEN_TREE_CLONE|AT_RECURSIVE)"),
            ]
        };
        let mut calls = Vec::new();
        match &self.op {
            Op::Filesystem { fstype, source, options, attributes, mkdir, pidns } => {
                let name = fstype.to_string_lossy();
                calls = new_filesystem(&name, options, *attributes);
                if let Some(source) = source {
                    calls.insert(1, format!("fsconfig({name}, source={})", source.to_string_lossy()));
                }
                if let Some(pidns) = pidns {
                    calls.insert(1, format!("fsconfig({name}, pidns={pidns})"));
                }
                calls.extend(make(*mkdir, "mkdirat").chain([attach()]));
            }
            Op::Bind { source, recursive, attributes: wanted, lock: locked, mkdir } => {
                match source {
                    Source::Path(path) => calls = copy(&show(path).to_string(), *recursive, *wanted),
                    Source::Fd(number) => calls.extend(attributes(&format!("fd:{number}"), wanted, *recursive)),
                }
                calls.extend(make(*mkdir, "mkdirat").chain([attach()]));
                if *locked {
                    calls.extend(lock());
                    calls.extend([format!("umount2({target}, MNT_DETACH)"), attach()]);
                }
            }
            Op::Device(device) => {
                let attributes = Attributes::new(&["nosuid", "noexec"]).unwrap_or_default();
                calls = copy(&format!("/dev/{}", device.name), false, attributes);
                calls.extend(make(true, "openat").chain([attach()]));
            }
            Op::Dir { mode, .. } => calls.push(format!("mkdirat({target}, {:o}) where it is missing", mode.bits())),
            Op::File { mode, text, .. } => {
                calls.push(format!("openat({target}, O_CREAT|O_EXCL, {:o}) where it is missing", mode.bits()));
                calls.push(format!("write({target}, {} bytes) where it was missing", text.len()));
            }
            Op::Link(to) => calls.push(format!("symlinkat({}, {target}) where it is missing", show(to))),
            Op::Propagation(how) => {
                calls.extend(make(false, ""));
                calls.push(format!("mount({target}, {})", super::options::propagation_words(*how).join(",")));
            }
            Op::Remount { attributes: wanted, recursive } => {
                calls.extend(make(false, "").chain(attributes(&target, wanted, *recursive)));
            }
            Op::Umount => calls.extend(make(false, "").chain([format!("umount2({target}, MNT_DETACH)")])),
            Op::Image { file, options, attributes: wanted, mkdir } => {
                let file = show(file).to_string();
                calls.push(format!("openat({file}, O_RDONLY)"));
                calls.push(format!(
                    "ioctl(LOOP_CONFIGURE, {file}) unless it is erofs and the kernel mounts it from the file"
                ));
                calls.extend(new_filesystem("its type", options, Attributes::default()));
                calls.extend(attributes(&file, wanted, false));
                calls.extend(make(*mkdir, "mkdirat").chain([attach()]));
            }
            Op::Namespace(reference, _) => {
                calls = copy(&reference.to_string(), false, Attributes::default());
                calls.extend(make(true, "openat").chain([attach()]));
            }
            Op::Move(from) => {
                calls.push(format!("openat2({}, RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS)", shown(from)));
                calls.extend(make(false, "").chain([format!("move_mount({}, {target})", shown(from))]));
            }
            Op::Mask => {
                calls.extend(make(false, ""));
                calls.push(format!("fsmount(tmpfs, ro) if {target} is a directory, else open_tree(/dev/null)"));
                calls.push(attach());
            }
            Op::Lock => {
                calls.extend(make(false, ""));
                calls.extend(lock());
                if target != "/" {
                    calls.push(format!("umount2({target}, MNT_DETACH)"));
                    calls.extend(make(false, ""));
                }
                calls.push(attach());
            }
        }
        calls
    }
}
