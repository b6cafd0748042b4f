//! The options of a plan line: taken one by one by the type that knows them; what is left is an error.

use std::ffi::{CString, OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use nix::mount::MsFlags;
use nix::sys::stat::Mode;

use super::plan::{Owner, unescape};
use super::tree::Attributes;
use crate::error::{Error, Result, show};

/// What is written between the commas.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options(Vec<(String, Option<Vec<u8>>)>);

const OPERATION: &str = "use option";

/// Names that are not passed on to the kernel: fstab(5) has them for other programs.
const IGNORED: [&str; 1] = ["defaults"];

const PROPAGATIONS: [(&str, MsFlags); 4] = [
    ("private", MsFlags::MS_PRIVATE),
    ("slave", MsFlags::MS_SLAVE),
    ("shared", MsFlags::MS_SHARED),
    ("unbindable", MsFlags::MS_UNBINDABLE),
];

fn invalid(object: impl std::fmt::Display, reason: impl Into<String>) -> Error {
    Error::invalid(OPERATION, object, reason)
}

/// The parts between those `separator`s that no `\` precedes.
pub(super) fn unescaped(text: &[u8], separator: u8) -> Vec<&[u8]> {
    let mut escaped = false;
    text.split(|byte| {
        let splits = *byte == separator && !escaped;
        escaped = *byte == b'\\' && !escaped;
        splits
    })
    .collect()
}

/// Where in the text of options the one is that a message calls `object`, or else the first.
pub(super) fn find(text: &[u8], object: &str) -> usize {
    let name = object.trim_start_matches('"').split(['=', '"']).next().unwrap_or_default();
    let mut at = 0;
    let mut found = 0;
    for item in unescaped(text, b',') {
        // of two the second is the one too many
        if item.split(|byte| *byte == b'=').next() == Some(name.as_bytes()) {
            found = at;
        }
        at += item.len() + 1;
    }
    found
}

impl Options {
    /// Splits at commas that no `\` precedes.
    pub(crate) fn parse(text: &[u8]) -> Result<Options> {
        let mut options = Options::default();
        for item in unescaped(text, b',').into_iter().filter(|item| !item.is_empty()) {
            let shown = || show(OsStr::from_bytes(item)).to_string();
            let (name, value) = match item.iter().position(|byte| *byte == b'=') {
                Some(index) => (&item[..index], Some(&item[index + 1..])),
                None => (item, None),
            };
            let name = match std::str::from_utf8(name) {
                Ok(name)
                    if name.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\#".contains(&byte))
                        && !name.is_empty() =>
                {
                    name
                }
                _ => return Err(invalid(shown(), "has no name of ASCII letters, digits and signs before the =")),
            };
            let value = match value.map(unescape) {
                Some(None) => {
                    return Err(invalid(shown(), "has a \\ that is neither \\\\, \\, nor \\ and three octal digits"));
                }
                other => other.flatten(),
            };
            if options.0.iter().any(|(other, _)| other == name) {
                return Err(invalid(shown(), "is given twice"));
            }
            if !IGNORED.contains(&name) {
                options.0.push((name.to_owned(), value));
            }
        }
        Ok(options)
    }

    pub(crate) fn from_pairs(pairs: &[(&str, &str)]) -> Options {
        Options(pairs.iter().map(|(name, value)| ((*name).to_owned(), Some(value.as_bytes().to_vec()))).collect())
    }

    /// Those of these names, taken out.
    pub(super) fn take(&mut self, names: &[&str]) -> Options {
        Options(self.0.extract_if(.., |(name, _)| names.contains(&name.as_str())).collect())
    }

    pub(super) fn append(&mut self, mut other: Options) {
        self.0.append(&mut other.0);
    }

    pub(crate) fn add_flag(&mut self, name: &str) {
        self.0.push((name.to_owned(), None));
    }

    /// Whether `name` is given, without a value. With one it stays, to be refused at the end.
    pub(crate) fn flag(&mut self, name: &str) -> bool {
        let before = self.0.len();
        self.0.retain(|(other, value)| other != name || value.is_some());
        self.0.len() != before
    }

    /// `name=yes` or `name=no`.
    pub(super) fn yes(&mut self, name: &str, default: bool) -> Result<bool> {
        match self.text(name)?.as_deref() {
            None => Ok(default),
            Some("yes") => Ok(true),
            Some("no") => Ok(false),
            Some(other) => Err(invalid(format_args!("{name}={}", show(other)), "is neither yes nor no")),
        }
    }

    /// Whether `name` is given, with or without a value.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| other == name)
    }

    /// The value of `name`, if that is given.
    pub(crate) fn value(&mut self, name: &str) -> Result<Option<Vec<u8>>> {
        let Some(index) = self.0.iter().position(|(other, _)| other == name) else { return Ok(None) };
        match self.0.remove(index).1 {
            Some(value) => Ok(Some(value)),
            None => Err(invalid(name, "needs a value")),
        }
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>> {
        let value = self.value(name)?;
        value.map(|value| String::from_utf8(value).map_err(|_| invalid(name, "is not UTF-8"))).transpose()
    }

    /// `mode=`, in octal.
    pub(crate) fn mode(&mut self, default: u32) -> Result<Mode> {
        let Some(text) = self.text("mode")? else { return Ok(Mode::from_bits_retain(default)) };
        let octal = !text.is_empty() && text.len() <= 5 && text.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if octal && mode <= 0o7777 => Ok(Mode::from_bits_retain(mode)),
            _ => Err(invalid(format_args!("mode={}", show(&text)), "needs an octal number from 0 to 7777")),
        }
    }

    /// `uid=` and `gid=`.
    pub(super) fn owner(&mut self) -> Result<Owner> {
        let mut id = |name| {
            let text = self.text(name)?;
            text.map(|text| {
                text.parse::<crate::idmap::Id>()
                    .map(crate::idmap::Id::get)
                    .map_err(|error| invalid(format_args!("{name}={}", show(&text)), error.reason().into_owned()))
            })
            .transpose()
        };
        Ok(Owner { uid: id("uid")?, gid: id("gid")? })
    }

    /// The attributes of mounts among the options, after those of `defaults`.
    pub(crate) fn attributes(&mut self, defaults: &[&str]) -> Result<Attributes> {
        let mut attributes = Attributes::new(defaults)?;
        let mut wrong = None;
        self.0.retain(|(name, value)| {
            // `dev` and `mode` with a value are the filesystem's own
            if value.is_none() {
                return !attributes.add(name);
            }
            if matches!(name.as_str(), "ro" | "rw") {
                wrong = Some(name.clone());
            }
            true
        });
        match wrong {
            Some(name) => Err(invalid(name, "takes no value")),
            None => Ok(attributes),
        }
    }

    /// `private`, `rslave` and so on, as mount(8) has them; `rec` is another way to say the `r`.
    pub(crate) fn propagation(&mut self) -> Result<MsFlags> {
        let recursive = self.flag("rec");
        let mut found = Vec::new();
        for (name, flag) in PROPAGATIONS {
            if self.flag(name) {
                found.push(flag);
            }
            if self.flag(&format!("r{name}")) {
                found.push(flag | MsFlags::MS_REC);
            }
        }
        match found.as_slice() {
            [flag] => Ok(*flag | if recursive { MsFlags::MS_REC } else { MsFlags::empty() }),
            _ => Err(invalid("", "needs one of private, slave, shared, unbindable, or with r before it")),
        }
    }

    /// What is left, for the filesystem, after those of `defaults` that are not given.
    #[allow(clippy::type_complexity, reason = "it is what fsconfig(2) takes, one after the other")]
    pub(crate) fn rest(&mut self, defaults: &[(&str, &str)]) -> Result<Vec<(CString, Option<CString>)>> {
        for (name, value) in defaults {
            if self.0.iter().all(|(other, _)| other != name) {
                self.0.push(((*name).to_owned(), Some(value.as_bytes().to_vec())));
            }
        }
        let c_string = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| invalid("", "holds a NUL byte"));
        let mut options = Vec::new();
        for (name, value) in std::mem::take(&mut self.0) {
            if name.starts_with("x-") {
                return Err(invalid(show(&name), "is unknown: x-mkdir is the only one that begins with x-"));
            }
            // of overlay a list, which is handed over piece by piece
            let longest = match (name.as_str(), value.as_deref()) {
                ("lowerdir", Some(list)) => unescaped(list, b':').into_iter().map(<[u8]>::len).max().unwrap_or(0),
                (_, value) => value.map_or(0, <[u8]>::len),
            };
            if name.len() > 255 || longest > 255 {
                return Err(invalid(
                    show(&name[..name.len().min(32)]),
                    "has more than 255 bytes, which fsconfig(2) does not take",
                ));
            }
            options.push((c_string(name.into_bytes())?, value.map(c_string).transpose()?));
        }
        Ok(options)
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(&self, kind: &str) -> Result<()> {
        match self.0.first() {
            None => Ok(()),
            Some((name, Some(_)))
                if Attributes::new(&[name]).is_ok() || matches!(name.as_str(), "rec" | "lock" | "x-mkdir") =>
            {
                Err(invalid(name, "takes no value"))
            }
            Some((name, _)) => {
                let error = invalid(show(name), format!("is unknown to type {kind}"));
                let held = kind == "bind" && name == "idmap";
                Err(if held {
                    error.with_hint("mntfd-create --bind has it; type fd mounts what that holds")
                } else {
                    error
                })
            }
        }
    }
}

/// What is to be held by descriptor: `SOURCE=NAME[,OPTIONS]`. In SOURCE, `\\` and three octal digits are a byte.
pub(crate) fn split(text: &str) -> Result<(OsString, String, Options)> {
    let invalid = |reason| Error::invalid("parse what to hold", show(text), reason);
    let (head, options) = text.split_once(',').unwrap_or((text, ""));
    let (source, name) = head.rsplit_once('=').ok_or_else(|| invalid("needs SOURCE=NAME[,OPTIONS]"))?;
    let source = unescape(source.as_bytes()).filter(|source| !source.is_empty());
    let source = source.ok_or_else(|| invalid("has no source, or a wrong \\ in it"))?;
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        return Err(invalid("needs a name of letters, digits and _ after the ="));
    }
    Ok((OsString::from_vec(source), name.to_owned(), Options::parse(options.as_bytes())?))
}

/// How a plan line says a propagation.
pub(crate) fn propagation_words(how: MsFlags) -> Vec<String> {
    let recursive = how.contains(MsFlags::MS_REC).then(|| "rec".to_owned());
    let name = PROPAGATIONS.iter().find(|(_, flag)| how.contains(*flag)).map(|(name, _)| (*name).to_owned());
    recursive.into_iter().chain(name).collect()
}
