//! [`Plan`]: what to mount where, as text in the manner of fstab(5), and as typed operations.

use std::ffi::{CStr, CString, OsString};
use std::fmt;
use std::os::fd::RawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;
use nix::sys::stat::Mode;

use super::info::is_attached;
use super::options::Options;
use super::rootfs;
use super::tree::Attributes;
use crate::error::{Context, Error, Result, show};
use crate::fd::number_from_env;
use crate::ns::{Kind, NsRef};
use crate::sys::fd::duplicate;
use crate::sys::mount::place;

/// Operations below a root, in the order in which they are carried out.
///
/// One a line: `SOURCE TARGET TYPE [OPTIONS]`; `\040` is a space, `#` begins a comment. All is checked before anything happens.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub(super) lines: Vec<Line>,
}

/// One operation, and the place in the text that asks for it.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) place: String,
    pub(super) target: PathBuf,
    pub(super) op: Op,
}

/// What to do at a target.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// Mount a new filesystem.
    Filesystem {
        fstype: CString,
        source: Option<CString>,
        options: Vec<(CString, Option<CString>)>,
        attributes: Attributes,
        mkdir: bool,
        /// Of proc: the pid namespace that it shows, if not the caller's.
        pidns: Option<NsRef>,
    },
    /// Mount what is mounted elsewhere, or held by descriptor.
    Bind { source: Source, recursive: bool, attributes: Attributes, lock: bool, mkdir: bool },
    /// Bind one of the host's device nodes.
    Device(Device),
    /// Make a directory.
    Dir { mode: Mode, owner: Owner },
    /// Make a file.
    File { mode: Mode, owner: Owner, text: Vec<u8> },
    /// Make a symbolic link.
    Link(OsString),
    /// Change propagation.
    Propagation(MsFlags),
    /// Change the attributes of what is mounted there, and options of its filesystem.
    Remount { attributes: Attributes, recursive: bool, options: Vec<(CString, Option<CString>)> },
    /// Detach what is mounted there.
    Umount,
    /// Mount an image, read-only.
    Image { file: PathBuf, options: Vec<(CString, Option<CString>)>, attributes: Attributes, mkdir: bool },
    /// Keep a namespace at a file.
    Namespace(NsRef, Kind),
    /// Move what is mounted at another place below the root.
    Move(PathBuf),
    /// Hide what is there, or make it read-only.
    Mask { optional: bool, read_only: bool },
    /// Make what is mounted there, and all below, unchangeable, when all else of the plan is done.
    Lock,
}

/// Where a bind mount comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A path, as the caller sees it.
    Path(PathBuf),
    /// An open descriptor: a detached tree, or a directory or file.
    Fd(RawFd),
}

/// Who owns what is made; `None`: who makes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
}

/// A device node that every program expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Device {
    pub(super) name: &'static str,
    pub(super) number: (u64, u64),
}

/// The nodes that `dev` and `rootfs` know.
const DEVICES: [Device; 7] = [
    Device { name: "null", number: (1, 3) },
    Device { name: "zero", number: (1, 5) },
    Device { name: "full", number: (1, 7) },
    Device { name: "random", number: (1, 8) },
    Device { name: "urandom", number: (1, 9) },
    Device { name: "tty", number: (5, 0) },
    Device { name: "net/tun", number: (10, 200) },
];

impl Device {
    fn find(name: &str) -> Option<Device> {
        let name = if name == "tun" { "net/tun" } else { name };
        DEVICES.into_iter().find(|device| device.name == name)
    }
}

impl Plan {
    /// Reads a plan. `name` is what messages call it: `FILE:LINE:COLUMN`.
    ///
    /// # Errors
    /// EINVAL: a line is no operation; the message names the place, and what would be accepted. ENOENT: a variable that
    /// a line names is not set.
    pub fn parse(name: &str, text: &[u8]) -> Result<Plan> {
        let mut plan = Plan::default();
        for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let place = format!("{name}:{}", index + 1);
            plan.append(Plan::parse_line(&place, line)?)?;
        }
        Ok(plan)
    }

    /// Reads one line. `place` is what messages call it.
    ///
    /// # Errors
    /// As [`Plan::parse`].
    pub fn parse_line(place: &str, line: &[u8]) -> Result<Plan> {
        let mut plan = Plan::default();
        plan.append(Plan { lines: parse_line(place, line)? })?;
        Ok(plan)
    }

    /// Adds the operations of another plan after those of this.
    ///
    /// # Errors
    /// EINVAL: they use up the same descriptor.
    pub fn append(&mut self, other: Plan) -> Result<()> {
        for line in other.lines {
            if let Op::Bind { source: Source::Fd(number), .. } = line.op
                && self.descriptors().any(|used| used == number)
            {
                let reason = "is used by the plan before; what it holds can be attached once";
                let error = Error::invalid("use source", format_args!("fd:{number}"), reason);
                return Err(error.with_place(&line.place));
            }
            self.lines.push(line);
        }
        Ok(())
    }

    /// The descriptors that it uses up: what they hold is attached, once.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        self.lines.iter().filter_map(|line| match line.op {
            Op::Bind { source: Source::Fd(number), .. } => Some(number),
            _ => None,
        })
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

/// The plan as it will be carried out, one operation a line, in words that are plan lines again.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// The fields of a line with their columns, counted from 1; escapes are resolved later, since options have more of them.
fn fields(line: &[u8]) -> Vec<(usize, &[u8])> {
    let mut fields = Vec::new();
    let mut start = None;
    for (index, byte) in line.iter().chain(b" ").enumerate() {
        let blank = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        match (start, blank) {
            (None, false) if *byte == b'#' => break,
            (None, false) => start = Some(index),
            (Some(first), true) => {
                fields.push((first + 1, &line[first..index]));
                start = None;
            }
            _ => {}
        }
    }
    fields
}

/// Resolves `\ooo`, three octal digits, and `\\`.
pub(super) fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        match (byte, tail) {
            (b'\\', [b'\\' | b',', ..]) => {
                out.push(tail[0]);
                rest = &tail[1..];
            }
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..]) => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = &tail[3..];
            }
            (b'\\', _) => return None,
            _ => out.push(*byte),
        }
    }
    (!out.contains(&0)).then_some(out)
}

fn is_number(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_digit)
}

fn parse_line(place: &str, line: &[u8]) -> Result<Vec<Line>> {
    let fields = fields(line);
    let at = |column: usize| format!("{place}:{column}");
    let (source, target, kind, options) = match fields.as_slice() {
        [] => return Ok(Vec::new()),
        [source, target, kind] => (source, target, kind, (line.len() + 1, &b""[..])),
        [source, target, kind, options] => (source, target, kind, *options),
        // of fstab(5): for dump(8) and fsck(8)
        [source, target, kind, options, rest @ ..]
            if rest.len() <= 2 && rest.iter().all(|(_, text)| is_number(text)) =>
        {
            (source, target, kind, *options)
        }
        [first, ..] => {
            let error = Error::invalid(
                "read plan line",
                show(std::ffi::OsStr::from_bytes(line)),
                "needs 3 or 4 fields, or 6 as in fstab(5)",
            );
            return Err(error
                .with_place(at(first.0))
                .with_hint("SOURCE TARGET TYPE [OPTIONS]; a space in one is written \\040"));
        }
    };
    let text = |field: (usize, &[u8])| {
        unescape(field.1).map(OsString::from_vec).ok_or_else(|| {
            let shown = show(std::ffi::OsStr::from_bytes(field.1)).to_string();
            Error::invalid(
                "read field",
                shown,
                "has a \\ that is neither \\\\ nor \\ and three octal digits, or a NUL byte",
            )
            .with_place(at(field.0))
        })
    };
    let (source_text, target_text, kind_text) = (text(*source)?, text(*target)?, text(*kind)?);
    let option = |error: &Error| options.0 + super::options::find(options.1, error.object());
    let mut given = Options::parse(options.1).map_err(|error| {
        let column = option(&error);
        error.with_place(at(column))
    })?;
    let kind_name = kind_text.to_string_lossy().into_owned();
    let place_of = |error: Error| {
        let column = match error.operation() {
            "use source" => source.0,
            "use option" => option(&error),
            "use target" => target.0,
            _ => kind.0,
        };
        error.with_place(at(column))
    };
    let target = PathBuf::from(target_text);
    if target.as_os_str().len() >= 4096 {
        return Err(place_of(Error::invalid("use target", "", "has 4096 bytes or more")));
    }
    let ops = operations(&source_text, &target, &kind_name, &mut given).map_err(place_of)?;
    given.finish(&kind_name).map_err(place_of)?;
    Ok(ops.into_iter().map(|(target, op)| Line { place: place.to_owned(), target, op }).collect())
}

/// The operations that one line of this type asks for.
fn operations(source: &std::ffi::OsStr, target: &Path, kind: &str, given: &mut Options) -> Result<Vec<(PathBuf, Op)>> {
    let one = |op| Ok(vec![(target.to_owned(), op)]);
    match kind {
        "bind" => {
            let (recursive, lock) = (given.flag("rec"), given.flag("lock"));
            let mkdir = given.flag("x-mkdir");
            let source = Source::Path(source.into());
            one(Op::Bind { source, recursive, attributes: given.attributes(&[])?, lock, mkdir })
        }
        "fd" => {
            let lock = given.flag("lock");
            let mkdir = given.flag("x-mkdir");
            let source = Source::Fd(descriptor(source)?);
            one(Op::Bind { source, recursive: true, attributes: given.attributes(&[])?, lock, mkdir })
        }
        "dir" => one(Op::Dir { mode: given.mode(0o755)?, owner: given.owner()? }),
        "file" => {
            let text = given.value("text")?.unwrap_or_default();
            one(Op::File { mode: given.mode(0o644)?, owner: given.owner()?, text })
        }
        "symlink" => one(Op::Link(source.to_owned())),
        "dev" => {
            let nodes = given.text("nodes")?.unwrap_or_else(|| "null:zero:full:random:urandom:tty".to_owned());
            dev(target, &nodes)
        }
        "propagation" => one(Op::Propagation(given.propagation()?)),
        "remount" => {
            let recursive = given.flag("rec");
            let (attributes, options) = (given.attributes(&[])?, given.rest(&[])?);
            if attributes.is_empty() && options.is_empty() {
                return Err(Error::invalid("use option", "", "needs what to change: an attribute or an option"));
            }
            one(Op::Remount { attributes, recursive, options })
        }
        "umount" => one(Op::Umount),
        "image" => {
            let mkdir = given.flag("x-mkdir");
            let attributes = given.attributes(&["nodev"])?;
            one(Op::Image { file: source.into(), options: given.rest(&[])?, attributes, mkdir })
        }
        "ns" => {
            let as_source = |error: Error| Error::invalid("use source", show(source), error.reason().into_owned());
            let reference = source.to_string_lossy().parse::<NsRef>().map_err(as_source)?;
            let kind = given.text("kind")?.unwrap_or_else(|| "net".to_owned());
            let kind = kind
                .parse()
                .map_err(|_| Error::invalid("use option", format!("kind={kind}"), "is no kind of namespace"))?;
            one(Op::Namespace(reference, kind))
        }
        "move" => one(Op::Move(source.into())),
        "mask" => one(Op::Mask { optional: given.flag("optional"), read_only: given.flag("ro") }),
        "proc" | "sysfs" if given.has("masked") => masked(source, target, kind, given),
        "lock" => one(Op::Lock),
        "rootfs" => rootfs::expand(target, given),
        _ => one(filesystem(source, kind, given)?),
    }
}

/// What container engines hide in `/proc`.
pub const MASKED: [&CStr; 9] =
    [c"acpi", c"asound", c"kcore", c"keys", c"latency_stats", c"sched_debug", c"scsi", c"timer_list", c"timer_stats"];
/// What they make read-only there.
pub const READ_ONLY: [&CStr; 5] = [c"bus", c"fs", c"irq", c"sys", c"sysrq-trigger"];
/// What they hide in `/sys`.
const MASKED_SYS: [&CStr; 2] = [c"firmware", c"devices/virtual/powercap"];

/// The masks of a procfs or a sysfs: which paths there are depends on the machine.
pub(super) fn masks(target: &Path, kind: &str) -> Vec<(PathBuf, Op)> {
    let (hidden, read_only): (&[&CStr], &[&CStr]) =
        if kind == "proc" { (&MASKED, &READ_ONLY) } else { (&MASKED_SYS, &[]) };
    let mask = |name: &&CStr, read_only| {
        (target.join(std::ffi::OsStr::from_bytes(name.to_bytes())), Op::Mask { optional: true, read_only })
    };
    let read_only = read_only.iter().map(|name| mask(name, true));
    read_only.chain(hidden.iter().map(|name| mask(name, false))).collect()
}

fn masked(source: &std::ffi::OsStr, target: &Path, kind: &str, given: &mut Options) -> Result<Vec<(PathBuf, Op)>> {
    if !given.flag("masked") {
        return Err(Error::invalid("use option", "masked", "takes no value"));
    }
    let lock = given.yes("lock", true)?;
    let mut ops = vec![(target.to_owned(), filesystem(source, kind, given)?)];
    ops.extend(masks(target, kind));
    ops.extend(lock.then(|| (target.to_owned(), Op::Lock)));
    Ok(ops)
}

/// A new filesystem: any that the kernel has, a few with defaults that nobody wants to type.
pub(super) fn filesystem(source: &std::ffi::OsStr, kind: &str, given: &mut Options) -> Result<Op> {
    let (fstype, defaults, attributes): (&str, &[(&str, &str)], &[&str]) = match kind {
        "proc" => ("proc", &[], &["nosuid", "nodev", "noexec"]),
        "sysfs" => ("sysfs", &[], &["ro", "nosuid", "nodev", "noexec"]),
        "cgroup" => ("cgroup2", &[], &["ro", "nosuid", "nodev", "noexec"]),
        "devpts" => ("devpts", &[("ptmxmode", "0666"), ("mode", "0620")], &["nosuid", "noexec"]),
        "mqueue" => ("mqueue", &[], &["nosuid", "nodev", "noexec"]),
        other => (other, &[], &[]),
    };
    if !fstype.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')) {
        return Err(Error::invalid("use type", show(fstype), "is no name of a filesystem"));
    }
    let mkdir = given.flag("x-mkdir");
    let attributes = given.attributes(attributes)?;
    let pidns = if fstype == "proc" { given.text("pidns")? } else { None };
    let pidns = pidns
        .map(|text| text.parse::<NsRef>())
        .transpose()
        .map_err(|error| Error::invalid("use option", "pidns", error.reason().into_owned()))?;
    let options = given.rest(defaults)?;
    let c_string = |bytes: &[u8]| CString::new(bytes).map_err(|_| Error::invalid("use source", "", "holds a NUL byte"));
    let source = if source == "none" { None } else { Some(c_string(source.as_bytes())?) };
    Ok(Op::Filesystem { fstype: c_string(fstype.as_bytes())?, source, options, attributes, mkdir, pidns })
}

/// `env:VAR`, `fd:N` or `N`, which holds the root of a detached mount: an attached one would be moved from where it is.
pub(super) fn descriptor(source: &std::ffi::OsStr) -> Result<RawFd> {
    let text = source.to_string_lossy();
    let invalid = |reason: &str| Error::invalid("use source", show(source), reason);
    let number = match text.strip_prefix("env:") {
        Some(variable) => number_from_env(variable.as_ref()).map_err(|error| {
            Error::new("use source", show(source), error.errno()).with_reason(error.reason().into_owned())
        })?,
        None => crate::fd::parse_number(text.strip_prefix("fd:").unwrap_or(&text))
            .ok_or_else(|| invalid("is none of env:VAR, fd:N"))?,
    };
    let held = duplicate(number, 3).context("use source", show(source))?;
    let place = place(&held).context("use source", show(source))?;
    if !place.is_root {
        return Err(invalid("is no mount").with_hint("mntfd-create holds one"));
    }
    if is_attached(place.mount) {
        return Err(invalid("is mounted somewhere").with_hint("type bind mounts a copy of it"));
    }
    Ok(number)
}

/// `/dev`: a tmpfs with bound nodes, and the links that programs expect there.
pub(super) fn dev(target: &Path, nodes: &str) -> Result<Vec<(PathBuf, Op)>> {
    let options = [("mode", "0755"), ("size", "64k")];
    let mut options = Options::from_pairs(&options);
    options.add_flag("x-mkdir");
    options.add_flag("nosuid");
    options.add_flag("noexec");
    let mut ops = vec![(target.to_owned(), filesystem("none".as_ref(), "tmpfs", &mut options)?)];
    for name in nodes.split([':', ',']).filter(|name| !name.is_empty()) {
        let device = Device::find(name).ok_or_else(|| {
            let known = "is none of null, zero, full, random, urandom, tty, tun, joined by colons";
            Error::invalid("use option", format_args!("nodes={}", show(name)), known)
        })?;
        ops.push((target.join(device.name), Op::Device(device)));
    }
    for (name, to) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        ops.push((target.join(name), Op::Link(to.into())));
    }
    for (name, mode) in [("pts", 0o755), ("shm", 0o1777), ("mqueue", 0o755)] {
        ops.push((target.join(name), Op::Dir { mode: Mode::from_bits_retain(mode), owner: Owner::default() }));
    }
    Ok(ops)
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = escape(Path::new("/").join(&self.target).as_os_str().as_bytes());
        let mut words: Vec<String> = Vec::new();
        let attribute_words = |attributes: &Attributes| {
            let text = attributes.to_string();
            text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>()
        };
        let mut flags = |pairs: &[(bool, &str)]| {
            words.extend(pairs.iter().filter(|(on, _)| *on).map(|(_, word)| (*word).to_owned()));
        };
        let (source, kind) = match &self.op {
            Op::Filesystem { fstype, source, options, attributes, mkdir, pidns } => {
                flags(&[(*mkdir, "x-mkdir")]);
                words.extend(pidns.as_ref().map(|reference| format!("pidns={reference}")));
                words.extend(attribute_words(attributes));
                words.extend(options.iter().map(option_word));
                let source = source.as_ref().map_or("none".to_owned(), |source| escape(source.as_bytes()));
                (source, fstype.to_string_lossy().into_owned())
            }
            Op::Bind { source, recursive, attributes, lock, mkdir } => {
                let by_path = matches!(source, Source::Path(_));
                flags(&[(*recursive && by_path, "rec"), (*lock, "lock"), (*mkdir, "x-mkdir")]);
                words.extend(attribute_words(attributes));
                match source {
                    Source::Path(path) => (escape(path.as_os_str().as_bytes()), "bind".to_owned()),
                    Source::Fd(number) => (format!("fd:{number}"), "fd".to_owned()),
                }
            }
            Op::Device(device) => {
                flags(&[(true, "x-mkdir"), (true, "nosuid"), (true, "noexec")]);
                (format!("/dev/{}", device.name), "bind".to_owned())
            }
            Op::Dir { mode, owner } => {
                words.push(format!("mode={:o}", mode.bits()));
                words.extend(owner.words());
                ("none".to_owned(), "dir".to_owned())
            }
            Op::File { mode, owner, text } => {
                words.push(format!("mode={:o}", mode.bits()));
                words.extend(owner.words());
                if !text.is_empty() {
                    words.push(format!("text={}", escape(text).replace(',', "\\,")));
                }
                ("none".to_owned(), "file".to_owned())
            }
            Op::Link(to) => (escape(to.as_bytes()), "symlink".to_owned()),
            Op::Propagation(how) => {
                words.extend(super::options::propagation_words(*how));
                ("none".to_owned(), "propagation".to_owned())
            }
            Op::Remount { attributes, recursive, options } => {
                flags(&[(*recursive, "rec")]);
                words.extend(attribute_words(attributes));
                words.extend(options.iter().map(option_word));
                ("none".to_owned(), "remount".to_owned())
            }
            Op::Umount => ("none".to_owned(), "umount".to_owned()),
            Op::Image { file, options, attributes, mkdir } => {
                flags(&[(*mkdir, "x-mkdir")]);
                words.extend(attribute_words(attributes));
                words.extend(options.iter().map(option_word));
                (escape(file.as_os_str().as_bytes()), "image".to_owned())
            }
            Op::Namespace(reference, kind) => {
                words.push(format!("kind={kind}"));
                (escape(reference.to_string().as_bytes()), "ns".to_owned())
            }
            Op::Move(from) => (escape(from.as_os_str().as_bytes()), "move".to_owned()),
            Op::Mask { optional, read_only } => {
                flags(&[(*optional, "optional"), (*read_only, "ro")]);
                ("none".to_owned(), "mask".to_owned())
            }
            Op::Lock => ("none".to_owned(), "lock".to_owned()),
        };
        write!(f, "{source} {target} {kind} {}", words.join(",")).and(Ok(()))
    }
}

impl Owner {
    fn words(self) -> Vec<String> {
        let word = |name, id: Option<u32>| id.map(|id| format!("{name}={id}"));
        word("uid", self.uid).into_iter().chain(word("gid", self.gid)).collect()
    }
}

fn option_word((key, value): &(CString, Option<CString>)) -> String {
    match value {
        Some(value) => format!("{}={}", escape(key.as_bytes()), escape(value.as_bytes()).replace(',', "\\,")),
        None => escape(key.as_bytes()),
    }
}

/// A field as a plan line has it.
pub(super) fn escape(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b'!'..=b'~' if *byte != b'#' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\{byte:03o}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Plan::parse("plan", text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_plan_says_itself() {
        let text = "none /tmp tmpfs x-mkdir,nosuid,size=1m,mode=1777\n/usr /usr bind rec,lock,ro\n\
                    none /a\\040b dir mode=700,uid=0,gid=5\nnone /etc/hosts file mode=644,text=a\\,b\\040\\012\n\
                    usr/bin /bin symlink \nnone / propagation rec,private\nnone /x remount rec,ro\nnone /x umount \n\
                    none /x remount ro,size=1m\nnone /x mask optional,ro\nnone /x overlay lowerdir=/a:/b\\\\:c\n";
        let plan = Plan::parse("plan", text.as_bytes()).unwrap();
        assert_eq!(plan.to_string(), text);
        assert_eq!(Plan::parse("again", plan.to_string().as_bytes()).unwrap().to_string(), text);
    }

    #[test]
    fn comments_and_empty_lines_are_nothing() {
        assert!(Plan::parse("plan", b"# all\n\n   \t # more\n").unwrap().is_empty());
    }

    #[test]
    fn mistakes_have_a_place() {
        assert_eq!(
            error("none /x"),
            "plan:1:1: read plan line \"none /x\": needs 3 or 4 fields, or 6 as in fstab(5) (EINVAL)"
        );
        assert!(
            error("\n a /b\\9 dir").starts_with("plan:2:4: read field /b\\9: has a \\"),
            "{}",
            error("\n a /b\\9 dir")
        );
        assert_eq!(
            error("none /x dir mode=9"),
            "plan:1:13: use option mode=9: needs an octal number from 0 to 7777 (EINVAL)"
        );
        for (line, column) in [
            ("none /x dir mode=700,frob", 22),
            ("none /x dir mode=700,uid=5,mode=700", 28),
            ("none /x dir mode=700,uid=\\,,gid=x", 22),
            ("none / rootfs etc=no,usr=frob,var=no", 22),
            ("none / rootfs usr=fd:NOPE_NOPE", 15),
            ("none /x rootfs dev=no,cgroup=x", 23),
            ("none /x remount", 16),
            ("env:NOPE_NOPE /x fd", 1),
            ("  fd:99999 /x fd", 3),
            ("none /x tmpfs size=1m,ro=1", 23),
            ("none /x tmpfs defaults 0 x", 1),
            ("none /x tmpfs defaults 0 0 0", 1),
        ] {
            assert!(error(line).starts_with(&format!("plan:1:{column}: ")), "{line}: {}", error(line));
        }
        assert!(Plan::parse("fstab", b"none /x tmpfs defaults,nosuid 0 0\n").is_ok());
        let big = format!("none /x file text={}", "x".repeat(5000));
        assert!(Plan::parse("plan", big.as_bytes()).is_ok());
        assert_eq!(error("none /x dir frob"), "plan:1:13: use option frob: is unknown to type dir (EINVAL)");
        assert_eq!(error("none /x bind ro=1"), "plan:1:14: use option ro: takes no value (EINVAL)");
        assert!(error("none /x a/b").starts_with("plan:1:9: use type a/b: is no name of a filesystem"));
        assert!(error("frob /x fd").starts_with("plan:1:1: use source frob: is none of env:VAR, fd:N"));
        assert!(error("none /x dev nodes=sda").contains("is none of null, zero"));
        let long = format!("none /x tmpfs a={}", "x".repeat(300));
        assert!(error(&long).contains("more than 255 bytes"), "{}", error(&long));
    }
}
