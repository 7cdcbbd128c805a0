//! The `chronolith` command: flags in, report out. What it does is in the layers below.

mod arguments;
mod compare;
mod contention;
mod explain;
mod list;
mod probe;
mod progress;
mod protocols;
mod run;
mod settings;

use crate::bench::RunError;
use crate::report::{Outputs, WriteOutput};
use crate::sync::{AtomicBool, Ordering};
use arguments::{Arguments, Command, Probe};
use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use std::io::{self, Write};
use std::process::ExitCode;

/// The exit code after an interruption: 128 and the number of the signal, as shells count.
const INTERRUPTED: u8 = 130;
/// The exit code after a broken promise of the store.
const VIOLATED: u8 = 3;
/// The exit code after a gate that failed.
const GATE_FAILED: u8 = 4;
/// The exit code after anything else that went wrong.
const FAILED: u8 = 1;

/// Why the command ends without success: one line for stderr, and the exit code.
#[derive(Debug)]
struct Failure {
    code: u8,
    line: Option<String>,
}

impl Failure {
    /// The code alone: the report has said why.
    fn silent(code: u8) -> Self {
        Failure { code, line: None }
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure { code: FAILED, line: Some(error.to_string()) }
    }
}

/// A run that was stopped before it measured anything has been interrupted and has not failed.
fn from_run(error: RunError) -> Failure {
    match error {
        RunError::InterruptedEarly => Failure { code: INTERRUPTED, line: Some(error.to_string()) },
        error => error.into(),
    }
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    match dispatch() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(line) = failure.line {
                complain(&line);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn dispatch() -> Result<(), Failure> {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return usage(&error),
    };
    match arguments.command {
        None => print(&mut |out| write!(out, "{}", Arguments::command().render_help())),
        Some(Command::Run(arguments)) => run::run(&arguments),
        Some(Command::Probe(Probe::Harness(arguments))) => probe::harness(&arguments),
        Some(Command::Compare(arguments)) => compare::compare(&arguments),
        Some(Command::Explain { metric }) => explain::explain(&metric),
        Some(Command::List { what }) => list::list(what),
    }
}

/// Help and version are answers; anything else that clap says is an error of one line.
fn usage(error: &clap::Error) -> Result<(), Failure> {
    let text = error.render().to_string();
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return print(&mut |out| out.write_all(text.as_bytes()));
    }
    let lines = text.lines().map(str::trim);
    let lines = lines.take_while(|line| !line.starts_with("Usage:"));
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let line = lines.collect::<Vec<_>>().join(" ");
    let line = line.strip_prefix("error: ").unwrap_or(&line);
    Err(Failure { code: FAILED, line: Some(format!("{line} (see --help)")) })
}

/// Writes one line to stderr. If even that fails there is nobody left to tell.
fn complain(line: &str) {
    let one_line = line.replace(['\n', '\r'], " ");
    let _ = writeln!(io::stderr(), "error: {one_line}");
}

/// Writes a result to stdout. A reader that has seen enough (`| head`) is no failure.
fn print(write: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let line = format!("cannot write to standard output: {error}");
            Err(Failure { code: FAILED, line: Some(line) })
        }
        _ => Ok(()),
    }
}

/// Writes the table and then the files: the table is there even if a file cannot be written.
fn deliver(
    table: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    outputs: &Outputs,
    write: WriteOutput<'_>,
) -> Result<(), Failure> {
    let printed = print(table);
    let mut errors = outputs.write(write);
    let Some(last) = errors.pop() else {
        return printed;
    };
    errors.iter().for_each(|error| complain(&error.to_string()));
    Err(last.into())
}

/// Set by the first Ctrl-C (or SIGTERM): the run ends and reports what it has.
static STOP: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C end the run with a report, and the second one end the process.
fn watch_signals() -> &'static AtomicBool {
    let handler = || {
        // Relaxed: a request to stop; nothing is read on the strength of it.
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
    };
    // Without a handler Ctrl-C ends the process at once: less polite, no reason to refuse to run.
    let _ = ctrlc::set_handler(handler);
    &STOP
}
