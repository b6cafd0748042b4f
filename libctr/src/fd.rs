//! Descriptors by number: what a program inherits, keeps, renumbers and closes.

use std::ffi::OsStr;
use std::os::fd::{AsFd, RawFd};

use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::Mode;

use crate::error::{Context, Errno, Error, Result, show};
use crate::sys;

/// A descriptor number, or another count, in strict decimal: digits only, no sign, no space, no leading zero, at most
/// 2147483647.
pub fn parse_number(text: &str) -> Option<RawFd> {
    let strict = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if strict { text.parse().ok() } else { None }
}

/// The descriptor number that an environment variable holds.
///
/// # Errors
/// ENOENT: it is not set. EINVAL: it holds something else.
pub fn number_from_env(variable: &OsStr) -> Result<RawFd> {
    let object = format_args!("env:{}", show(variable));
    let value = std::env::var_os(variable).ok_or_else(|| {
        Error::new("read descriptor number from", object, Errno::ENOENT).with_reason("the variable is not set")
    })?;
    value.to_str().and_then(parse_number).ok_or_else(|| {
        let reason = format!("its value {} is not a descriptor number", show(&value));
        Error::invalid("read descriptor number from", object, reason)
    })
}

/// Closes every descriptor except those numbered in `keep`, with a handful of close_range(2) calls; where that is missing
/// or filtered, one by one as `/proc/self/fd` lists them.
///
/// For the moment before execve(2): what owned a closed descriptor in this process owns nothing afterwards.
///
/// # Errors
/// ENOSYS and the like: there is neither close_range(2) nor a readable `/proc/self/fd`; nothing has been closed then.
#[doc(alias = "close_range")]
pub fn close_except(keep: &[RawFd]) -> Result<()> {
    each_gap(keep, sys::fd::close_range).or_else(|errno| {
        let open = list_open().map_err(|error| {
            error.with_hint(format!("close_range(2) failed with {errno:?}: mount /proc, or allow that system call"))
        })?;
        open.into_iter().filter(|number| !keep.contains(number)).for_each(sys::fd::close);
        Ok(())
    })
}

/// Renumbers open descriptors: the first of `numbers` becomes 3, the next 4, and so on, each inheritable. What had those
/// numbers is closed.
///
/// For the moment before execve(2), like [`close_except`].
///
/// # Errors
/// EBADF: one of them is not open. EMFILE: RLIMIT_NOFILE is too low. Then nothing has changed.
#[doc(alias = "dup2")]
pub fn arrange(numbers: &[RawFd]) -> Result<()> {
    let beyond = numbers.len() as RawFd + 3;
    // first out of the way of each other, so that a swap works
    let copy = |number: &RawFd| {
        sys::fd::duplicate(*number, beyond).map_err(|errno| {
            // fcntl(2) says EINVAL of a number beyond the limit
            let errno = if errno == Errno::EINVAL { Errno::EMFILE } else { errno };
            let error = Error::new("duplicate", format_args!("fd:{number}"), errno);
            if errno == Errno::EMFILE { error.with_hint("raise RLIMIT_NOFILE") } else { error }
        })
    };
    let copies = numbers.iter().map(copy).collect::<Result<Vec<_>>>()?;
    for (copy, number) in copies.iter().zip(3..) {
        sys::fd::place(copy.as_fd(), number).context("renumber to", format_args!("fd:{number}"))?;
    }
    Ok(())
}

/// Marks every descriptor except those numbered in `keep` close-on-exec, instead of closing it.
///
/// # Errors
/// As [`close_except`].
#[doc(alias = "CLOSE_RANGE_CLOEXEC")]
pub fn cloexec_except(keep: &[RawFd]) -> Result<()> {
    each_gap(keep, sys::fd::cloexec_range).or_else(|errno| {
        let open = list_open().map_err(|error| {
            error.with_hint(format!("close_range(2) failed with {errno:?}: mount /proc, or allow that system call"))
        })?;
        for number in open.into_iter().filter(|number| !keep.contains(number)) {
            match sys::fd::set_cloexec(number, true) {
                Ok(()) | Err(Errno::EBADF) => {}
                Err(errno) => return Err(Error::new("mark close-on-exec", format_args!("fd:{number}"), errno)),
            }
        }
        Ok(())
    })
}

/// Calls `act` with the first and last number of each gap between the numbers of `keep`.
fn each_gap(keep: &[RawFd], act: impl Fn(u32, u32) -> nix::Result<()>) -> nix::Result<()> {
    let mut keep: Vec<u32> = keep.iter().filter_map(|number| u32::try_from(*number).ok()).collect();
    keep.sort_unstable();
    let mut first = 0;
    for number in keep {
        if number > first {
            act(first, number - 1)?;
        }
        first = first.max(number + 1);
    }
    act(first, u32::MAX)
}

/// The numbers of all open descriptors, in order, as `/proc/self/fd` lists them.
///
/// # Errors
/// Those of opening and reading `/proc/self/fd`; ENOTSUP where that is no procfs.
pub fn list_open() -> Result<Vec<RawFd>> {
    const PATH: &str = "/proc/self/fd";
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let dir = match openat(AT_FDCWD, PATH, flags, Mode::empty()) {
        Err(Errno::EMFILE) => {
            return Err(Error::new("list descriptors in", PATH, Errno::EMFILE)
                .with_hint("raise RLIMIT_NOFILE by one, or allow close_range(2)"));
        }
        other => other.context("list descriptors in", PATH)?,
    };
    crate::process::verify_procfs(&dir, PATH)?;
    let own = std::os::fd::AsRawFd::as_raw_fd(&dir);
    let mut dir = nix::dir::Dir::from_fd(dir).context("list descriptors in", PATH)?;
    let mut numbers = Vec::new();
    for entry in dir.iter() {
        let entry = entry.context("list descriptors in", PATH)?;
        if let Some(number) = entry.file_name().to_str().ok().and_then(parse_number)
            && number != own
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// A set of descriptors as a person lists it: `0,3,5-9,env:NSFD_NET`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FdList(Vec<FdItem>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum FdItem {
    Range(RawFd, RawFd),
    Env(String),
}

impl FdList {
    /// The numbers, in the order listed.
    ///
    /// # Errors
    /// EINVAL: a number is listed twice. Those of [`number_from_env`].
    pub fn numbers(&self) -> Result<Vec<RawFd>> {
        let mut numbers = Vec::new();
        for item in &self.0 {
            match item {
                FdItem::Range(first, last) => numbers.extend(*first..=*last),
                FdItem::Env(variable) => numbers.push(number_from_env(variable.as_ref())?),
            }
        }
        let mut sorted = numbers.clone();
        sorted.sort_unstable();
        match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => {
                Err(Error::invalid("read descriptor list", format_args!("fd:{}", pair[0]), "is listed twice"))
            }
            None => Ok(numbers),
        }
    }
}

impl std::str::FromStr for FdList {
    type Err = Error;

    fn from_str(text: &str) -> Result<FdList> {
        let invalid = |reason| Error::invalid("parse descriptor list", show(text), reason);
        let item = |item: &str| {
            if let Some(variable) = item.strip_prefix("env:").filter(|name| !name.is_empty()) {
                return Ok(FdItem::Env(variable.to_owned()));
            }
            let item = item.strip_prefix("fd:").unwrap_or(item);
            let (first, last) = item.split_once('-').unwrap_or((item, item));
            match (parse_number(first), parse_number(last)) {
                (Some(first), Some(last)) if first <= last && last - first < 1 << 20 => Ok(FdItem::Range(first, last)),
                (Some(first), Some(last)) if first > last => Err(invalid("has a range that ends before it begins")),
                (Some(_), Some(_)) => Err(invalid("has a range of more than 1048576 descriptors")),
                _ => Err(invalid("needs N, FIRST-LAST or env:VAR, joined by commas")),
            }
        };
        text.split(',').map(item).collect::<Result<_>>().map(FdList)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_strict() {
        assert_eq!("0,5-7,3".parse::<FdList>().unwrap().numbers().unwrap(), [0, 5, 6, 7, 3]);
        for text in ["", "1,", "a", "3abc", "-1", "5-3", "01", "99999999999", "env:", "0-2147483647"] {
            assert!(text.parse::<FdList>().is_err(), "{text:?}");
        }
        let twice = "1-3,2".parse::<FdList>().unwrap().numbers().unwrap_err();
        assert_eq!(twice.to_string(), "read descriptor list fd:2: is listed twice (EINVAL)");
    }

    #[test]
    fn gaps_leave_out_what_is_kept() {
        let calls = std::cell::RefCell::new(Vec::new());
        each_gap(&[7, 3, 0, 4], |first, last| {
            calls.borrow_mut().push((first, last));
            Ok(())
        })
        .unwrap();
        assert_eq!(calls.into_inner(), [(1, 2), (5, 6), (8, u32::MAX)]);
    }

    #[test]
    fn lists_itself_without_its_own_descriptor() {
        let before = list_open().unwrap();
        assert!(before.starts_with(&[0, 1, 2]));
    }
}
