//! [`Registry`]: ranges of ids, each given to one holder at a time.

use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use super::extent::number;
use super::holder::{Here, Holder};
use super::range::{IdRange, Pool};
use crate::error::{Context, Errno, Error, Result, show};

/// A range that is given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which ids.
    pub range: IdRange,
    /// What it is called; empty for nothing.
    pub name: String,
    /// Who has it.
    pub holder: Holder,
}

/// A directory that says which ranges are given out. Any number of processes may use it at once.
///
/// All of it is the file `ranges`, one range a line, which is replaced as a whole while the file `lock` is locked with
/// flock(2). Its last line counts the others and sums up their bytes: what was cut off or written over is refused, and no range
/// is given out from it. A process that is killed at any moment leaves the file as it was before or after.
///
/// ```
/// use libctr::idmap::{Holder, Pool, Registry};
/// # let directory = std::env::temp_dir().join(format!("registry-{}", std::process::id()));
/// let registry = Registry::new(&directory);
/// let range = registry.allocate(&Pool::of_caller(None)?, 1000, "web", Holder::Nobody)?;
/// // the same name gets the same range
/// assert_eq!(registry.allocate(&Pool::of_caller(None)?, 1000, "web", Holder::Nobody)?, range);
/// registry.release(&[range])?;
/// assert!(registry.entries()?.is_empty());
/// # std::fs::remove_dir_all(directory).unwrap();
/// # Ok::<(), libctr::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Registry {
    directory: PathBuf,
}

/// What is in `XDG_RUNTIME_DIR` and has this bit is not cleaned up, as old files may be.
const STICKY: Mode = Mode::S_ISVTX;

/// Longer than any number of callers has to queue.
const PATIENCE: Duration = Duration::from_secs(10);

const FIRST_LINE: &str = "libctr id ranges 1";

impl Registry {
    /// The registry in this directory, which is made when a range is first given out.
    pub fn new(directory: impl Into<PathBuf>) -> Registry {
        Registry { directory: directory.into() }
    }

    /// Where the caller's registry is by default: `/run/libctr/ids` for root, `$XDG_RUNTIME_DIR/libctr/ids` for others. It
    /// lasts until the next boot, as containers do; one for ranges that own files on disk belongs in `/var/lib`.
    ///
    /// # Errors
    /// ENOENT: an ordinary user without `XDG_RUNTIME_DIR`.
    pub fn default_directory() -> Result<PathBuf> {
        if geteuid().is_root() {
            return Ok("/run/libctr/ids".into());
        }
        match std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
            Some(directory) if directory.is_absolute() => Ok(directory.join("libctr/ids")),
            _ => Err(Error::new("find registry of id ranges", "", Errno::ENOENT)
                .with_reason("XDG_RUNTIME_DIR is not set")
                .with_hint("name a directory of your own with IDMAP_REGISTRY or idmap-alloc --registry")),
        }
    }

    /// Gives out `count` ids of the pool that nobody has: the first that fit. A `name` (empty for none) that already has a
    /// range of this size gets the same again, with the new holder, if nobody holds it or its holder is gone.
    ///
    /// # Errors
    /// ENOSPC: no gap of the pool is as large; or the disk is full. EBUSY: another holder has the range of that name. EINVAL: the
    /// count is 0, the [name](Registry::check_name) is none or has another count, or the registry is damaged. EPERM: it is
    /// another user's, or others may write to it. ETIMEDOUT: others have kept it locked for 10 seconds. Those of its files.
    pub fn allocate(&self, pool: &Pool, count: u32, name: &str, holder: Holder) -> Result<IdRange> {
        let refused = |reason: String| Err(Error::invalid("allocate ids", count, reason));
        if count == 0 {
            return refused("is not from 1 to 4294967295".to_owned());
        }
        if !name.is_empty() {
            Registry::check_name(name)?;
        }
        let mut locked = self.lock()?;
        if let Some((index, entry)) = locked.named(name)? {
            let range = entry.range;
            if range.count != count {
                return refused(format!("{} has {} ids already, from {}", show(name), range.count, range.first));
            }
            if entry.holder != Holder::Nobody && entry.holder != holder && !entry.holder.is_gone(&Here::new()?)? {
                return Err(Error::new("allocate ids", count, Errno::EBUSY)
                    .with_reason(format!("{} has them already, from {}: {}", show(name), range.first, entry.holder))
                    .with_hint(
                        "its holder is not gone: take another name, or idmap-alloc --release that range first",
                    ));
            }
            locked.set(index, &Entry { holder, ..entry });
            locked.replace()?;
            return Ok(range);
        }
        // all holders are looked at only where that is needed: there may be thousands
        locked.collect(16)?;
        let mut found = locked.gap(pool, count);
        let mut unknown = None;
        if found.is_none() {
            unknown = locked.collect(usize::MAX)?.1;
            found = locked.gap(pool, count);
        }
        let Some(range) = found else {
            // whoever cannot be looked at may be gone
            if let Some(error) = unknown {
                return Err(error);
            }
            let shown: Vec<String> = pool.0.iter().take(3).map(IdRange::to_string).collect();
            let shown = if shown.is_empty() { "nothing".to_owned() } else { shown.join(", ") };
            return Err(Error::new("allocate ids", count, Errno::ENOSPC)
                .with_reason(format!("no gap as large is left in the pool ({shown})"))
                .with_hint("see idmap-alloc --list; release some, or name another pool"));
        };
        locked.insert(&Entry { range, name: name.to_owned(), holder });
        locked.replace()?;
        Ok(range)
    }

    /// Says who holds a range from now on.
    ///
    /// # Errors
    /// ENOENT: the range is not given out. Others as [`Registry::allocate`].
    pub fn hold(&self, range: IdRange, holder: Holder) -> Result<()> {
        let mut locked = self.lock()?;
        let index = locked.find(range)?;
        let entry = locked.entry(index)?;
        locked.set(index, &Entry { holder, ..entry });
        locked.replace()
    }

    /// Takes ranges back: all of them or none.
    ///
    /// # Errors
    /// As [`Registry::hold`].
    pub fn release(&self, ranges: &[IdRange]) -> Result<()> {
        let mut locked = self.lock()?;
        for range in ranges {
            let index = locked.find(*range)?;
            locked.remove(index);
        }
        locked.replace()
    }

    /// Whether a range can have this name: 1 to 255 bytes without spaces and control characters, and not `-`.
    ///
    /// # Errors
    /// EINVAL: it cannot.
    pub fn check_name(name: &str) -> Result<()> {
        let refused = |c: char| c.is_whitespace() || c.is_control();
        if (1..=255).contains(&name.len()) && name != "-" && !name.contains(refused) {
            return Ok(());
        }
        Err(Error::invalid("name ids", show(name), "is no name of 1 to 255 bytes without spaces, other than -"))
    }

    /// The ranges that are given out, in order, without those whose holder is gone.
    ///
    /// # Errors
    /// As [`Registry::allocate`].
    pub fn entries(&self) -> Result<Vec<Entry>> {
        match std::fs::metadata(&self.directory) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.context("stat", show(&self.directory))?,
        };
        let mut locked = self.lock()?;
        if locked.collect(usize::MAX)?.0 {
            locked.replace()?;
        }
        (0..locked.lines.len()).map(|index| locked.entry(index)).collect()
    }

    /// Waits for the lock and reads the file.
    fn lock(&self) -> Result<Locked> {
        let path = show(&self.directory);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&self.directory)
            .context("make directory", &path)?;
        let directory = File::open(&self.directory).context("open registry", &path)?;
        let metadata = directory.metadata().context("stat", &path)?;
        if metadata.uid() != geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
            return Err(Error::new("use as registry", &path, Errno::EPERM)
                .with_reason("it is another user's, or others may write to it")
                .with_hint("chmod go-w, or name a directory of your own"));
        }
        let directory = OwnedFd::from(directory);
        // what is no file may make us wait
        let open = |name: &str, flags| -> Result<File> {
            let path = format!("{path}/{name}");
            let flags = flags | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
            let file =
                openat(&directory, name, flags, STICKY | Mode::from_bits_truncate(0o600)).context("open", &path)?;
            let file = File::from(file);
            if file.metadata().context("stat", &path)?.is_file() {
                return Ok(file);
            }
            Err(Error::invalid("use", path, "is no file").with_hint("move it away"))
        };
        let lock = loop {
            let lock = open("lock", OFlag::O_RDWR | OFlag::O_CREAT)?;
            wait_for(&lock, &path)?;
            // one that was removed meanwhile locks nobody out
            let named = fstatat(&directory, "lock", AtFlags::AT_SYMLINK_NOFOLLOW).map(|stat| stat.st_ino);
            if named == Ok(lock.metadata().context("stat", &path)?.ino()) {
                break lock;
            }
        };
        let shown = path.to_string();
        let mut text = match open("ranges", OFlag::O_RDONLY) {
            Ok(mut file) => {
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).context("read", format_args!("{path}/ranges"))?;
                String::from_utf8(bytes).map_err(|error| {
                    let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                    damaged(&shown, 1 + before.iter().filter(|byte| **byte == b'\n').count(), "is no text")
                })?
            }
            Err(error) if error.errno() == Errno::ENOENT => {
                let first = format!("{FIRST_LINE}\n");
                first.clone() + &last_line(0, &first)
            }
            Err(error) => return Err(error),
        };
        let lines = parse(&mut text).map_err(|(line, reason)| damaged(&shown, line, reason))?;
        Ok(Locked { directory, shown, text, lines, lock })
    }
}

/// Waits for the lock, which whoever has it needs for milliseconds.
fn wait_for(lock: &File, path: impl fmt::Display) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_millis(1);
    loop {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new("lock registry", path, Errno::ETIMEDOUT)
                    .with_reason(format!("another process has kept it locked for {} s", PATIENCE.as_secs()))
                    .with_hint("fuser on the file lock there tells which"));
            }
            Err(TryLockError::Error(error)) => return Err(error).context("lock registry", path),
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(16));
    }
}

fn damaged(registry: &str, line: usize, reason: &str) -> Error {
    Error::invalid("read", format_args!("{registry}/ranges"), format!("line {line} {reason}: it is damaged"))
        .with_hint("no range is given out from it. When no container uses its ids, remove that file")
}

/// The registry while no other process can use it. Lines that are not looked at are kept as text: there may be thousands.
struct Locked {
    directory: OwnedFd,
    shown: String,
    /// All of the file but its last line.
    text: String,
    /// The ranges in order, and where in the text their lines begin.
    lines: Vec<Line>,
    lock: File,
}

impl Drop for Locked {
    fn drop(&mut self) {
        // at once, though another thread's child may still have a copy of the descriptor
        let _ = self.lock.unlock();
    }
}

#[derive(Debug)]
struct Line {
    range: IdRange,
    start: usize,
}

impl Locked {
    /// Takes back what a holder that is gone had, of at most so many holders: whether there was any, and why one could not be
    /// looked at, whose range then stays taken. Each call begins elsewhere, so that a few a time are enough for all.
    fn collect(&mut self, most: usize) -> Result<(bool, Option<Error>)> {
        let (mut any, mut unknown) = (false, None);
        let total = self.lines.len();
        if total == 0 {
            return Ok((any, unknown));
        }
        let here = Here::new()?;
        let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.subsec_nanos() as usize / 1000);
        // from the end, so that those before stay where they are
        for index in (0..total).rev().filter(|index| (index + total - now % total) % total < most) {
            match self.entry(index)?.holder.is_gone(&here) {
                Ok(false) => {}
                Ok(true) => {
                    self.remove(index);
                    any = true;
                }
                Err(error) => unknown = Some(error),
            }
        }
        Ok((any, unknown))
    }

    /// The first gap of the pool that is large enough. Ranges and pool are in the order of their ids.
    fn gap(&self, pool: &Pool, count: u32) -> Option<IdRange> {
        let mut taken = self.lines.iter().map(|line| line.range).peekable();
        for free in &pool.0 {
            let mut first = free.first;
            while let Some(range) = taken.peek().filter(|range| range.first < free.end()) {
                if range.first > first && range.first - first >= count {
                    break;
                }
                first = first.max(range.end());
                // one that goes on beyond this part of the pool matters to the next one too
                if range.end() > free.end() {
                    break;
                }
                taken.next();
            }
            if first < free.end() && free.end() - first >= count {
                return Some(IdRange { first, count });
            }
        }
        None
    }

    fn find(&self, range: IdRange) -> Result<usize> {
        self.lines.binary_search_by_key(&range, |line| line.range).map_err(|_| {
            Error::new("find ids", range, Errno::ENOENT).with_reason(format!("{} has no such range", self.shown))
        })
    }

    /// The range of this name; none where it is empty.
    fn named(&self, name: &str) -> Result<Option<(usize, Entry)>> {
        let field = format!(" {name} ");
        if name.is_empty() || !self.text.contains(&field) {
            return Ok(None);
        }
        let mut entries = (0..self.lines.len()).map(|index| Ok((index, self.entry(index)?)));
        entries.find(|entry: &Result<_>| entry.as_ref().map_or(true, |(_, entry)| entry.name == name)).transpose()
    }

    fn end_of(&self, index: usize) -> usize {
        self.lines.get(index + 1).map_or(self.text.len(), |next| next.start)
    }

    fn entry(&self, index: usize) -> Result<Entry> {
        let Line { range, start } = self.lines[index];
        let mut fields = self.text[start..self.end_of(index)].trim_end().splitn(4, ' ').skip(2);
        match (fields.next(), fields.next().map(str::parse)) {
            (Some(name), Some(Ok(holder))) => {
                Ok(Entry { range, name: if name == "-" { "" } else { name }.to_owned(), holder })
            }
            _ => Err(damaged(&self.shown, index + 2, "is no range")),
        }
    }

    fn insert(&mut self, entry: &Entry) {
        let index = self.lines.partition_point(|line| line.range < entry.range);
        let start = self.lines.get(index).map_or(self.text.len(), |line| line.start);
        self.lines.insert(index, Line { range: entry.range, start });
        self.splice(index, start, &entry.to_string());
    }

    fn set(&mut self, index: usize, entry: &Entry) {
        self.splice(index, self.end_of(index), &entry.to_string());
    }

    fn remove(&mut self, index: usize) {
        self.splice(index, self.end_of(index), "");
        self.lines.remove(index);
    }

    /// Replaces the text of a line up to `end`.
    fn splice(&mut self, index: usize, end: usize, text: &str) {
        let start = self.lines[index].start;
        self.text.replace_range(start..end, text);
        for line in &mut self.lines[index + 1..] {
            line.start = line.start + text.len() - (end - start);
        }
    }

    /// Writes it as a whole: the old file is there until the new one is complete.
    fn replace(&self) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let write = || {
            // of one that was killed
            let _ = unlinkat(&self.directory, "ranges.new", UnlinkatFlags::NoRemoveDir);
            let file = openat(&self.directory, "ranges.new", flags, STICKY | Mode::from_bits_truncate(0o644))
                .map_err(std::io::Error::from)?;
            let mut file = File::from(file);
            file.write_all(self.text.as_bytes())?;
            file.write_all(last_line(self.lines.len(), &self.text).as_bytes())?;
            file.sync_all()?;
            nix::fcntl::renameat(&self.directory, "ranges.new", &self.directory, "ranges")
                .map_err(std::io::Error::from)?;
            // it is done: that a crash may undo it is no failure
            let _ = nix::unistd::fsync(&self.directory);
            Ok(())
        };
        write()
            .inspect_err(|_: &std::io::Error| {
                let _ = unlinkat(&self.directory, "ranges.new", UnlinkatFlags::NoRemoveDir);
            })
            .context("write registry", &self.shown)
    }
}

impl fmt::Display for Entry {
    /// Its line in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "-" } else { &self.name };
        writeln!(f, "{} {} {name} {}", self.range.first, self.range.count, self.holder)
    }
}

fn last_line(count: usize, text: &str) -> String {
    format!("end {count} {:016x}\n", checksum(text.as_bytes()))
}

/// Takes the last line away and finds the others; or the number of the line that cannot be right, and why.
fn parse(text: &mut String) -> std::result::Result<Vec<Line>, (usize, &'static str)> {
    let body = text.strip_suffix('\n').ok_or_else(|| (text.lines().count().max(1), "is cut off"))?;
    let body = body.rfind('\n').map(|end| end + 1).ok_or((1, "is the only one"))?;
    let mut lines: Vec<Line> = Vec::with_capacity(body / 32);
    let mut start = 0;
    for line in text[..body].split_inclusive('\n') {
        if start == 0 {
            if line.trim_end() != FIRST_LINE {
                return Err((1, "is not that of a registry"));
            }
        } else {
            let wrong = (lines.len() + 2, "is no range");
            let mut fields = line.splitn(3, ' ').map(number);
            let (Some(Some(first)), Some(Some(count))) = (fields.next(), fields.next()) else { return Err(wrong) };
            if count == 0 || first.checked_add(count).is_none() {
                return Err(wrong);
            }
            if lines.last().is_some_and(|last| last.range.end() > first) {
                return Err((lines.len() + 2, "overlaps the one before"));
            }
            lines.push(Line { range: IdRange { first, count }, start });
        }
        start += line.len();
    }
    if text[body..] != last_line(lines.len(), &text[..body]) {
        return Err((lines.len() + 2, "does not match the others"));
    }
    text.truncate(body);
    Ok(lines)
}

/// FNV-1a over words of eight bytes: against accidents, not against people.
fn checksum(bytes: &[u8]) -> u64 {
    let mut sum = 0xCBF2_9CE4_8422_2325;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x0000_0100_0000_01B3);
        sum ^= sum >> 29;
    }
    sum
}
#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use nix::unistd::getpid;

    use super::*;
    use crate::idmap::holder::started;
    use crate::ns::{Create, Kind};
    use crate::process;

    /// A registry of its own; removed at the end.
    struct Temporary(Registry);

    impl Temporary {
        fn new(name: &str) -> Temporary {
            let directory = std::env::temp_dir().join(format!("libctr-registry-{}-{name}", std::process::id()));
            let _ = std::fs::remove_dir_all(&directory);
            Temporary(Registry::new(directory))
        }

        fn file(&self) -> PathBuf {
            self.0.directory.join("ranges")
        }
    }

    impl Drop for Temporary {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0.directory);
        }
    }

    fn range(text: &str) -> IdRange {
        text.parse().unwrap()
    }

    #[test]
    fn fills_gaps_and_never_gives_an_id_twice() {
        let registry = Temporary::new("gaps");
        let pool = Pool(vec![range("100:50"), range("200:1"), range("300:30")]);
        let mut held: Vec<IdRange> = Vec::new();
        let mut random = 1_u64;
        for _ in 0..400 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = (random >> 33) as usize;
            if number.is_multiple_of(3) && !held.is_empty() {
                registry.0.release(&[held.swap_remove(number / 3 % held.len())]).unwrap();
                continue;
            }
            let count = (number % 17 + 1) as u32;
            let taken = |id: u32| held.iter().any(|range| (range.first..range.end()).contains(&id));
            let fits = |first: u32| {
                let ids = first..first + count;
                pool.0.iter().any(|free| free.first <= first && ids.end <= free.end()) && !ids.clone().any(taken)
            };
            let expected = (0..400).find(|first| fits(*first));
            let given = registry.0.allocate(&pool, count, "", Holder::Nobody);
            assert_eq!(given.as_ref().ok().map(|range| range.first()), expected, "{count} of {held:?}");
            match given {
                Ok(range) => held.push(range),
                Err(error) => assert_eq!(error.errno(), Errno::ENOSPC),
            }
        }
        held.sort_unstable();
        assert_eq!(registry.0.entries().unwrap().iter().map(|entry| entry.range).collect::<Vec<_>>(), held);
    }

    #[test]
    fn a_name_keeps_its_range() {
        let registry = Temporary::new("name");
        let pool = Pool(vec![range("1000:100")]);
        let web = registry.0.allocate(&pool, 10, "web", Holder::Nobody).unwrap();
        assert_ne!(registry.0.allocate(&pool, 10, "db", Holder::Nobody).unwrap(), web);
        assert_eq!(registry.0.allocate(&pool, 10, "web", Holder::Nobody).unwrap(), web);
        let error = registry.0.allocate(&pool, 11, "web", Holder::Nobody).unwrap_err();
        assert_eq!(error.to_string(), "allocate ids 11: web has 10 ids already, from 1000 (EINVAL)");
        for name in ["two words", "-", "a\u{a0}b", "tab\t"] {
            let error = registry.0.allocate(&pool, 1, name, Holder::Nobody).unwrap_err();
            assert!(error.reason().starts_with("is no name of"), "{error}");
        }
        assert!(registry.0.allocate(&pool, 0, "", Holder::Nobody).is_err());
        let error = registry.0.release(&[range("1000:5")]).unwrap_err();
        assert!(error.to_string().ends_with("has no such range (ENOENT)"), "{error}");
    }

    #[test]
    fn what_is_held_is_free_when_its_holder_is_gone() {
        let registry = Temporary::new("holder");
        let pool = Pool(vec![range("1000:2")]);
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pidfd = crate::sys::clone::pidfd_open(nix::unistd::Pid::from_raw(child.id().cast_signed())).unwrap();
        let first = registry.0.allocate(&pool, 1, "", Holder::process(&pidfd).unwrap()).unwrap();
        let mut made = Create::new(&[Kind::User, Kind::Net]).create().unwrap();
        let second = registry.0.allocate(&pool, 1, "", Holder::Nobody).unwrap();
        registry.0.hold(second, Holder::namespace(&made[0]).unwrap()).unwrap();
        assert_eq!(registry.0.allocate(&pool, 1, "", Holder::Nobody).unwrap_err().errno(), Errno::ENOSPC);
        child.kill().unwrap();
        // what is left of it, its exit status, holds nothing
        let proc = process::open_proc(getpid()).unwrap();
        while started(proc.as_fd(), child.id().cast_signed()).unwrap().is_some() {}
        assert_eq!(registry.0.entries().unwrap().len(), 1);
        child.wait().unwrap();
        // what it owns keeps a user namespace
        made.remove(0);
        assert_eq!(registry.0.entries().unwrap().len(), 1);
        assert_eq!(registry.0.allocate(&pool, 1, "", Holder::Nobody).unwrap(), first);
        drop(made);
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while registry.0.entries().unwrap().len() > 1 && std::time::Instant::now() < deadline {}
        assert_eq!(registry.0.allocate(&pool, 1, "", Holder::Nobody).unwrap(), second);
    }

    #[test]
    fn a_damaged_file_is_refused_wherever_it_is_cut() {
        let registry = Temporary::new("damaged");
        let pool = Pool(vec![range("1000:1000")]);
        for count in 1..6 {
            registry.0.allocate(&pool, count, "", Holder::Nobody).unwrap();
        }
        let whole = std::fs::read(registry.file()).unwrap();
        let parse = |bytes: &[u8]| parse(&mut String::from_utf8_lossy(bytes).into_owned());
        assert!(parse(&whole).is_ok());
        for length in 0..whole.len() {
            assert!(parse(&whole[..length]).is_err(), "{length}");
        }
        for index in 0..whole.len() {
            let mut changed = whole.clone();
            changed[index] ^= 1;
            assert!(parse(&changed).is_err(), "{index}");
        }
        std::fs::write(registry.file(), &whole[..40]).unwrap();
        for error in [
            registry.0.allocate(&pool, 1, "", Holder::Nobody).unwrap_err(),
            registry.0.entries().unwrap_err(),
            registry.0.release(&[range("1000:1")]).unwrap_err(),
        ] {
            assert!(error.to_string().ends_with("/ranges: line 3 is cut off: it is damaged (EINVAL)"), "{error}");
        }
        assert_eq!(std::fs::read(registry.file()).unwrap(), &whole[..40]);
    }

    #[test]
    fn sixty_four_race() {
        let registry = Temporary::new("race");
        let pool = Pool(vec![range("1000:6400")]);
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        let given = registry.0.allocate(&pool, 20, "", Holder::Nobody).unwrap();
                        let kept = registry.0.allocate(&pool, 1, "", Holder::Nobody).unwrap();
                        registry.0.release(&[given]).unwrap();
                        registry.0.hold(kept, Holder::Nobody).unwrap();
                    }
                });
            }
        });
        // disjoint: or the file were refused
        assert_eq!(registry.0.entries().unwrap().len(), 320);
    }
}
