//! Runs the built binary and looks at what it says.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Output, Stdio};

pub fn command<S: AsRef<OsStr>>(arguments: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chronolith"));
    command.args(arguments).stdin(Stdio::null());
    command
}

pub fn chronolith<S: AsRef<OsStr>>(arguments: &[S]) -> Output {
    command(arguments).output().expect("the command starts")
}

pub fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("the report is text")
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("the errors are text")
}

pub fn succeeds(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(output), stderr(output));
    stdout(output)
}

/// The command failed with exit code 1 and one line on stderr that contains `part`.
pub fn fails(output: &Output, part: &str) {
    let complaint = stderr(output);
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    assert!(complaint.starts_with("error: "), "{complaint}");
    assert!(complaint.contains(part), "{complaint:?} does not mention {part:?}");
}

pub fn parse_json(path: &std::path::Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("the file was written")).expect("valid JSON")
}

/// The headings of the tables in a report: of each, the first word of its first cell.
#[allow(dead_code, reason = "not every test file looks at tables")]
pub fn headings(report: &str) -> Vec<String> {
    let lines: Vec<&str> = report.lines().collect();
    let heads =
        lines.windows(2).filter(|pair| pair[0].starts_with('|') && pair[1].starts_with("|-"));
    let cells = heads.flat_map(|pair| pair[0].trim_matches('|').split('|'));
    cells.map(|cell| cell.split(',').next().unwrap_or_default().trim().to_owned()).collect()
}

/// The histogram of a line of an interval log.
#[allow(dead_code, reason = "not every test file looks at logs")]
pub fn logged(encoded: &str) -> Histogram<u64> {
    let bytes = STANDARD.decode(encoded).expect("base 64");
    Deserializer::new().deserialize(&mut bytes.as_slice()).expect("a histogram")
}
