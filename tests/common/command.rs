//! Runs the built binary and looks at what it says.

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
