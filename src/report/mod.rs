//! What a run says in the end: a table for people, and files for machines.

mod basis;
mod beside;
pub mod comparison;
mod csv;
mod format;
mod hgrm;
mod hlog;
mod json;
mod sink;
mod table;
mod warnings;

pub use format::{latency, percent, rate};
pub use sink::{Output, OutputError, Outputs, WriteOutput};
pub use table::write_table;
pub use warnings::warnings;

use crate::bench::{Outcome, Plan, Repetition};
use std::io::{self, Write};

/// What the command knows about a run besides the plan.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFacts {
    /// The workload as the user named it.
    pub workload: String,
    /// Every property that was set.
    pub properties: Vec<(String, String)>,
    /// A hash of everything that decides the requests.
    pub fingerprint: u64,
    /// The user's text.
    pub label: String,
    /// What the user should know about how the settings were read.
    pub notes: Vec<String>,
    /// Percentiles to add to the usual ones.
    pub percentiles: Vec<f64>,
    /// The command line that does the same again.
    pub replay: String,
}

/// The percentiles of every report.
const PERCENTILES: [f64; 5] = [50.0, 90.0, 99.0, 99.9, 99.99];

/// A run to report on.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// What it found out.
    pub outcome: &'a Outcome,
    /// What it was told.
    pub plan: &'a Plan,
    /// What else is known.
    pub facts: &'a RunFacts,
}

impl Report<'_> {
    /// Writes the file of this kind.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, output: Output, out: &mut dyn Write) -> io::Result<()> {
        match output {
            Output::Json => json::write(out, self),
            Output::Csv => csv::write(out, self),
            Output::Hgrm => hgrm::write(out, &self.shown().latencies(self.plan).histogram),
            Output::Hlog => hlog::write(out, self),
            Output::Markdown => Err(io::Error::other("a run has no report in Markdown")),
        }
    }

    /// The repetition whose details are shown: the median by throughput (the lower of two).
    /// Quantiles of different repetitions are never pooled.
    #[must_use]
    pub fn shown(&self) -> &Repetition {
        &self.outcome.repetitions[self.shown_index()]
    }

    fn shown_index(&self) -> usize {
        let repetitions = &self.outcome.repetitions;
        let mut order: Vec<usize> = (0..repetitions.len()).collect();
        let throughput = |index: &usize| repetitions[*index].throughput();
        order.sort_by(|a, b| throughput(a).total_cmp(&throughput(b)));
        order[(order.len() - 1) / 2]
    }

    /// The usual percentiles and those that were asked for, in ascending order.
    fn percentiles(&self) -> Vec<f64> {
        let mut percentiles = PERCENTILES.to_vec();
        percentiles.extend(&self.facts.percentiles);
        percentiles.sort_by(f64::total_cmp);
        percentiles.dedup();
        percentiles
    }

    /// Whether starts are scheduled, so that latency from the intended start exists.
    fn has_schedule(&self) -> bool {
        self.plan.throttle.is_some()
    }
}

/// What decides when a request starts, and what that means for its latency.
fn describe_loop(plan: &Plan, threads: &str) -> String {
    let Some(throttle) = plan.throttle else {
        return format!(
            "closed, {threads}; service time, closed loop (coordinated omission possible)"
        );
    };
    let latency = match (plan.latency.shows_operation(), plan.latency.shows_intended()) {
        (true, true) => "latency from the actual and from the intended start",
        (true, false) => "latency from the actual start (coordinated omission possible)",
        (false, _) => "latency from the intended start",
    };
    let target = rate(throttle.operations_per_second);
    format!("scheduled, {target} operations in all, {threads}; {latency}")
}

/// What is done about contention, by protocols of which some heed the settings, or none.
fn describe_contention(plan: &Plan, heeded: bool) -> String {
    let backoff = format!("{} back-off", plan.backoff.name());
    if !heeded {
        return backoff;
    }
    let pre_check = if plan.contention.pre_check { "pre-check" } else { "no pre-check" };
    format!("{backoff}, {pre_check}, writes by {}", plan.contention.write_order.name())
}

/// A number of threads in words.
fn describe_threads(threads: usize) -> String {
    match threads {
        1 => "1 thread".to_owned(),
        threads => format!("{threads} threads"),
    }
}
