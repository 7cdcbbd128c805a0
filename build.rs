//! Tells the binary which compiler made it and from which revision, for its reports.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    if let Some(version) = answer(&rustc, &["--version"]) {
        println!("cargo::rustc-env=CHRONOLITH_RUSTC={version}");
    }
    // Outside a checkout (a packaged crate) there is no revision, and the report leaves it out.
    if let Some(directory) = answer("git", &["rev-parse", "--absolute-git-dir"]) {
        println!("cargo::rerun-if-changed={directory}/HEAD");
        println!("cargo::rerun-if-changed={directory}/index");
        let describe = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"];
        if let Some(revision) = answer("git", &describe) {
            println!("cargo::rustc-env=CHRONOLITH_REVISION={revision}");
        }
    }
}

/// What a program prints, if it runs and succeeds.
fn answer(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned()).filter(|text| output.status.success() && !text.is_empty())
}
