//! What every report for people begins with: the workload, the machine, the build, the harness.

use super::RunFacts;
use super::format::{count, latency, percent, rate};
use crate::bench::{Environment, Machine, Plan};
use std::io::{self, Write};

/// The width of the words on the left.
const LABEL_WIDTH: usize = 12;

/// Writes a word and what belongs to it.
pub(super) fn line(out: &mut dyn Write, label: &str, text: &str) -> io::Result<()> {
    writeln!(out, "{label:LABEL_WIDTH$} {text}")
}

/// Writes what is asked of the store.
pub(super) fn write_workload(
    out: &mut dyn Write,
    facts: &RunFacts,
    environment: &Environment,
) -> io::Result<()> {
    if !facts.label.is_empty() {
        line(out, "label", &facts.label)?;
    }
    let fingerprint = facts.fingerprint;
    line(out, "workload", &format!("{} (fingerprint {fingerprint:016x})", facts.workload))?;
    for (word, sentence) in &environment.basis {
        line(out, word, sentence)?;
    }
    let Some(skew) = environment.skew else {
        return Ok(());
    };
    let shares = [skew.hottest, skew.top_ten, skew.top_percent].map(percent);
    let [hottest, ten, hundredth] = shares;
    let draws = count(skew.draws as u64);
    line(
        out,
        "skew",
        &format!(
            "hottest key {hottest}, top ten {ten}, hottest 1 % of the keys {hundredth} ({draws} \
             draws)"
        ),
    )
}

/// Writes where it was measured and with what.
pub(super) fn write_machine(
    out: &mut dyn Write,
    environment: &Environment,
    plan: &Plan,
) -> io::Result<()> {
    let Environment { machine, harness, clock, .. } = environment;
    line(out, "machine", &describe_machine(machine, plan))?;
    line(out, "build", &describe_build(machine))?;
    line(
        out,
        "harness",
        &format!(
            "{} a transaction, ceiling {} with {} thread(s); clock: {}, {:.1} ns a reading",
            latency(harness.transaction_ns),
            rate(harness.ceiling_per_second),
            harness.threads,
            clock.source,
            clock.reading_ns
        ),
    )
}

fn describe_machine(machine: &Machine, plan: &Plan) -> String {
    let named = |name, before: &str| machine.get(name).map(|value| format!("{before}{value}"));
    let facts = [
        named("cpu", ""),
        named("topology", ""),
        named("processors", ""),
        named("cgroup-cpu", "cgroup "),
        named("memory", ""),
        named("cgroup-memory", "cgroup "),
        named("kernel", "Linux "),
        named("governor", "governor "),
        named("transparent-huge-pages", "huge pages "),
        named("load-average", "load "),
    ];
    let pinning = format!("pinning {}", plan.pinning);
    facts.into_iter().flatten().chain([pinning]).collect::<Vec<_>>().join(", ")
}

fn describe_build(machine: &Machine) -> String {
    let named = |name, before: &str| machine.get(name).map(|value| format!("{before}{value}"));
    let facts = [
        named("chronolith", "chronolith "),
        named("revision", "revision "),
        named("rustc", ""),
        named("profile", ""),
        named("target", ""),
        named("target-features", ""),
    ];
    facts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
