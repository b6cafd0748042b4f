//! What all tools share: the command line, the messages and the exit status of CLI.md.
//!
//! A tool is a struct of options ([`argh`]) and a [`Tool::run`]. argh knows neither `-Un` nor `--name=value` nor arguments that
//! are not UTF-8, so [`main`] first splits off the program with its arguments, untouched, and spreads what argh does not know,
//! driven by the same table of options that `--help` shows.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use argh::{ArgsInfo, CommandInfoWithArgs, EarlyExit, FlagInfoKind, FromArgs};
use libctr::process::{Child, EXECUTE, Exec, forward_and_wait, run_from_memory};
use libctr::sys::start::Start;
use libctr::{Context, Errno, Error, show};

/// One tool: its options and what it does.
pub trait Tool: FromArgs + ArgsInfo {
    /// Its name, as the user types it.
    const NAME: &'static str;
    /// Whether it ends by becoming another program.
    const CHAIN: Chain;

    /// The options from their canonical form: `--name`, `value`.
    ///
    /// # Errors
    /// What argh says of them.
    fn parse(args: &[&str]) -> Result<Self, EarlyExit> {
        Self::from_args(&[Self::NAME], args)
    }

    /// Whether, with these options, it comes where strangers could reach its file as `/proc/PID/exe`.
    fn meets_strangers(_options: &[&str]) -> bool {
        false
    }

    /// Does the step, and becomes `program` if there is one.
    ///
    /// # Errors
    /// What [`Failure`] says.
    fn run(self, program: Option<Exec>) -> Result<(), Failure>;
}

/// Whether a tool ends by executing a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    /// Never: a program is an error.
    No,
    /// If one is given.
    Optional,
    /// Always, as far as the command line goes; a tool may allow an exception itself.
    Always,
}

/// Why a tool did not do its step.
#[derive(Debug)]
pub enum Failure {
    /// The command line makes no sense: nothing has been done.
    Usage(Error),
    /// The step failed.
    Failed(Error),
    /// The step is done, the program could not be executed.
    Program(Error),
    /// The step failed, and a process of the tool has said why.
    Reported,
}

impl Failure {
    /// What it says; nothing where that has been said.
    pub fn into_error(self) -> Option<Error> {
        match self {
            Failure::Usage(error) | Failure::Failed(error) | Failure::Program(error) => Some(error),
            Failure::Reported => None,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Failed(error)
    }
}

/// A usage error that concerns one option.
pub fn usage(option: &str, reason: impl Into<String>) -> Failure {
    Failure::Usage(Error::invalid("option", option, reason))
}

/// Becomes the program; returns why that failed.
pub fn become_program(program: Exec) -> Failure {
    Failure::Program(program.exec())
}

/// Starts `program` with `start`, waits for it, and ends as it does. Returns only where it could not be started.
///
/// # Errors
/// Those of `start`; where the operation is [`EXECUTE`], the program is at fault.
pub fn wait_for(program: &Exec, start: impl FnOnce() -> Result<Child, Error>) -> Result<(), Failure> {
    match forward_and_wait(None, start) {
        Ok(ended) => ended.mirror(),
        Err(error) => Err(child_failure(program, error)),
    }
}

/// Why a child could not become `program`.
pub fn child_failure(program: &Exec, error: Error) -> Failure {
    match error.operation() {
        EXECUTE => Failure::Program(program.explain(error.errno(), error.hint().is_some())),
        _ => Failure::Failed(error),
    }
}

static NO_STDOUT: AtomicBool = AtomicBool::new(false);

/// Notes whether there is nobody to print to, since descriptor 1 was closed when the program was started.
pub(crate) fn note_stdout(start: &Start) {
    NO_STDOUT.store(start.closed[1], Relaxed);
}

/// The `main` of a tool; returns the exit status.
pub fn main<T: Tool>(start: Start) -> u8 {
    note_stdout(&start);
    let info = T::get_args_info();
    let args: Vec<OsString> = start.args.into_iter().skip(1).collect();
    // where an option is unknown, nobody can tell whether a value follows it: only -- says for sure that a program does
    let separated = args.iter().any(|arg| arg == "--");
    if let Err(errno) = start.null {
        let error =
            Error::new("open", "/dev/null", errno).with_hint("or start it with the descriptors 0, 1 and 2 open");
        return report::<T>(error.into(), separated);
    }
    let (options, program) = match split(&info, T::CHAIN, args) {
        Ok(split) => split,
        Err(failure) => return report::<T>(failure, separated),
    };
    let has_program = program.is_some();
    match parse_and_run::<T>(&options, program) {
        Ok(_) => 0,
        Err(failure) => report::<T>(failure, has_program),
    }
}

fn parse_and_run<T: Tool>(options: &[String], program: Option<Vec<OsString>>) -> Result<(), Failure> {
    if options.iter().any(|option| option == VERSION) {
        print(&format!("{} (libctr) {}\n", T::NAME, env!("CARGO_PKG_VERSION")))?;
        return Ok(());
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    // before anything is read that can be read once only
    if T::meets_strangers(&options) {
        run_from_memory()?;
    }
    let tool = match T::parse(&options) {
        Ok(tool) => tool,
        Err(EarlyExit { output, status: Ok(()) }) => {
            print(&with_program(&output, T::CHAIN))?;
            return Ok(());
        }
        Err(EarlyExit { output, .. }) => return Err(explain_argh(&output)),
    };
    let program = program.map(Exec::new).transpose().map_err(Failure::Usage)?;
    tool.run(program)
}

/// Puts argh's message into our form: `Error parsing option '--uid-map' with value '0': …`.
fn explain_argh(output: &str) -> Failure {
    let text = output.split_whitespace().collect::<Vec<_>>().join(" ");
    let parsed = text.strip_prefix("Error parsing option '").and_then(|rest| {
        let (option, rest) = rest.split_once("' with value '")?;
        // the value may hold anything, so the reason is what follows the last `': ` that a message of ours begins after
        let (value, reason) = rest.split_once("': ")?;
        Some(Failure::Usage(Error::invalid("option", format!("{option} {}", show(value)), strip_errno(reason))))
    });
    parsed.unwrap_or_else(|| Failure::Usage(Error::invalid("read", "options", text.trim_end_matches('.'))))
}

fn strip_errno(reason: &str) -> &str {
    reason.strip_suffix(" (EINVAL)").unwrap_or(reason)
}

/// A value of an option, parsed by its own type, whose error says only the reason: argh names the option and the value.
///
/// # Errors
/// The reason, and the hint if there is one.
pub fn value<T: FromStr<Err = Error>>(text: &str) -> Result<T, String> {
    T::from_str(text).map_err(|error| match error.hint() {
        Some(hint) => format!("{}; {hint}", error.reason()),
        None => error.reason().into_owned(),
    })
}

/// Several values joined by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T>(pub Vec<T>);

impl<T: FromStr<Err = Error>> FromStr for List<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(value).collect::<Result<_, _>>().map(List)
    }
}

/// Writes to stdout, and says so where that fails: `println!` would lose it or panic.
///
/// # Errors
/// What write(2) says.
pub fn print(text: &str) -> Result<(), Failure> {
    if NO_STDOUT.load(Relaxed) {
        return Err(Error::new("write to", "stdout", Errno::EBADF).with_reason("it was closed").into());
    }
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("write to", "stdout")?;
    Ok(())
}

fn report<T: Tool>(failure: Failure, has_program: bool) -> u8 {
    let chain = T::CHAIN == Chain::Always || (T::CHAIN == Chain::Optional && has_program);
    let code = match &failure {
        Failure::Usage(_) => {
            if chain {
                125
            } else {
                2
            }
        }
        Failure::Failed(_) | Failure::Reported => {
            if chain {
                125
            } else {
                1
            }
        }
        Failure::Program(error) if error.errno() == Errno::ENOENT => 127,
        Failure::Program(_) => 126,
    };
    if let Some(error) = failure.into_error() {
        complain(T::NAME, &error);
    }
    code
}

/// The one line, or two, on stderr.
pub fn complain(tool: &str, error: &Error) {
    let mut text = format!("{tool}: {error}\n");
    if let Some(hint) = error.hint() {
        text.push_str(&format!("hint: {hint}\n"));
    }
    // there is nobody left to tell where stderr is gone
    let _ = std::io::stderr().write_all(text.as_bytes());
}

const VERSION: &str = "--version";

/// Splits the command line into options in argh's form and the program with its arguments, as they are.
fn split(
    info: &CommandInfoWithArgs,
    chain: Chain,
    args: Vec<OsString>,
) -> Result<(Vec<String>, Option<Vec<OsString>>), Failure> {
    let mut options = Vec::new();
    let mut args = args.into_iter().peekable();
    let takes_value = |name: &str| {
        let flag = info.flags.iter().find(|flag| flag.long == name);
        flag.map(|flag| matches!(flag.kind, FlagInfoKind::Option { .. }))
    };
    while let Some(arg) = args.next_if(|arg| arg.as_bytes().first() == Some(&b'-') && arg.len() > 1) {
        if arg == "--" {
            break;
        }
        let Some(text) = arg.to_str() else {
            return Err(usage(&show(&arg).to_string(), "is not UTF-8"));
        };
        if !text.starts_with("--") {
            let mut letters = text.chars().skip(1);
            while let Some(letter) = letters.next() {
                let Some(flag) = info.flags.iter().find(|flag| flag.short == Some(letter)) else {
                    if letter == 'h' {
                        options.push("--help".to_owned());
                        continue;
                    }
                    return Err(unknown(&format!("-{letter}")));
                };
                options.push(flag.long.to_owned());
                if matches!(flag.kind, FlagInfoKind::Option { .. }) {
                    let rest: String = letters.by_ref().collect();
                    options.push(if rest.is_empty() { next_value(&mut args, flag.long)? } else { rest });
                }
            }
            continue;
        }
        let (name, inline) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        match (takes_value(name), inline) {
            (Some(true), inline) => {
                options.push(name.to_owned());
                options.push(match inline {
                    Some(value) => value,
                    None => next_value(&mut args, name)?,
                });
            }
            (Some(false), None) => options.push(name.to_owned()),
            (None, None) if name == VERSION => options.push(name.to_owned()),
            // an option whose value may be left out is a switch, and an option for the value
            (Some(false), Some(value)) if takes_value(&format!("{name}-names")) == Some(true) => {
                options.extend([format!("{name}-names"), value]);
            }
            (Some(false), Some(value)) => {
                return Err(usage(name, format!("takes no value, but {} is given", show(&value))));
            }
            (None, _) => return Err(unknown(name)),
        }
    }
    let program: Vec<OsString> = args.collect();
    match program.first() {
        None => Ok((options, None)),
        Some(first) if chain == Chain::No => {
            let error = Error::invalid("read argument", show(first), "is not expected: this tool executes no program");
            Err(Failure::Usage(error))
        }
        Some(_) => Ok((options, Some(program))),
    }
}

fn next_value(args: &mut impl Iterator<Item = OsString>, option: &str) -> Result<String, Failure> {
    let value = args.next().ok_or_else(|| usage(option, "needs a value"))?;
    value.into_string().map_err(|value| usage(option, format!("value {} is not UTF-8", show(&value))))
}

fn unknown(option: &str) -> Failure {
    Failure::Usage(Error::invalid("option", show(option), "is unknown").with_hint("--help lists the options"))
}

/// The program is not argh's business, so its usage line lacks it.
fn with_program(help: &str, chain: Chain) -> String {
    let suffix = match chain {
        Chain::No => return help.to_owned(),
        Chain::Optional => " [[--] PROGRAM [ARG...]]",
        Chain::Always => " [--] PROGRAM [ARG...]",
    };
    let (first, rest) = help.split_once('\n').unwrap_or((help, ""));
    format!("{first}{suffix}\n{rest}")
}

/// Completes a chain tool's program, which CLI.md lets nobody omit.
///
/// # Errors
/// A usage error where there is none.
pub fn require(program: Option<Exec>) -> Result<Exec, Failure> {
    program.ok_or_else(|| {
        let error = Error::invalid("execute", "program", "none is given");
        Failure::Usage(error.with_hint("give the program that follows this step: TOOL [OPTIONS] [--] PROGRAM [ARG...]"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// a tool
    #[derive(FromArgs, ArgsInfo)]
    struct Args {
        /// user
        #[argh(switch, short = 'U')]
        #[allow(dead_code, reason = "only the table is looked at")]
        user: bool,
        /// net
        #[argh(switch, short = 'n')]
        #[allow(dead_code, reason = "only the table is looked at")]
        net: bool,
        /// map
        #[argh(option, short = 'm')]
        #[allow(dead_code, reason = "only the table is looked at")]
        map: Option<String>,
    }

    fn run(args: &[&str]) -> Result<(Vec<String>, Option<Vec<OsString>>), String> {
        let args = args.iter().map(|arg| OsString::from(*arg)).collect();
        split(&Args::get_args_info(), Chain::Always, args).map_err(|failure| format!("{failure:?}"))
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn the_program_begins_at_the_first_word_that_is_no_option() {
        assert_eq!(
            run(&["-Un", "ls", "-l"]).unwrap(),
            (words(&["--user", "--net"]), Some(vec!["ls".into(), "-l".into()]))
        );
        assert_eq!(run(&["--map=a=b", "--", "-x"]).unwrap(), (words(&["--map", "a=b"]), Some(vec!["-x".into()])));
        assert_eq!(run(&["--map", "-x", "--"]).unwrap(), (words(&["--map", "-x"]), None));
        assert_eq!(run(&["-Um1", "-m", "2"]).unwrap().0, words(&["--user", "--map", "1", "--map", "2"]));
        assert_eq!(run(&["-"]).unwrap().1, Some(vec!["-".into()]));
    }

    #[test]
    fn mistakes_name_the_option() {
        assert!(run(&["--frob"]).unwrap_err().contains("option --frob: is unknown"));
        assert!(run(&["-Ux"]).unwrap_err().contains("option -x: is unknown"));
        assert!(run(&["--map"]).unwrap_err().contains("option --map: needs a value"));
        assert!(run(&["--user=yes"]).unwrap_err().contains("option --user: takes no value"));
    }
}
