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

use crate::Backoff;
use crate::bench::{Outcome, Plan, Repetition, TableCounts};
use hlog::Logged;
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
    /// The isolation level that was asked for, if one was.
    pub isolation: Option<String>,
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
            Output::Hlog => hlog::write(out, self.plan, &self.logged()),
            Output::Markdown | Output::CellHgrm { .. } => {
                Err(io::Error::other("a run has no such report"))
            }
        }
    }

    /// The repetition whose details are shown: the median by throughput (the lower of two).
    /// Quantiles of different repetitions are never pooled.
    #[must_use]
    pub fn shown(&self) -> &Repetition {
        &self.outcome.repetitions[self.shown_index()]
    }

    fn shown_index(&self) -> usize {
        let repetitions = self.outcome.repetitions.iter();
        let throughput: Vec<f64> = repetitions.map(Repetition::throughput).collect();
        lower_median(&throughput).expect("an outcome has a repetition")
    }

    /// What the interval log is of.
    fn logged(&self) -> Vec<Logged<'_>> {
        let Outcome { protocol, environment, repetitions } = self.outcome;
        let logged = repetitions.iter().map(|repetition| Logged {
            tag: protocol.name.to_owned(),
            kinds: environment.kinds,
            started: repetition.started,
            elapsed: repetition.elapsed,
            steps: &repetition.steps,
        });
        logged.collect()
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

/// The place of the median; of the lower one of two.
fn lower_median(values: &[f64]) -> Option<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    order.get(order.len().saturating_sub(1) / 2).copied()
}

/// The indexes of a workload's tables.
fn describe_index(tables: TableCounts) -> String {
    let TableCounts { all, ordered } = tables;
    match ordered {
        0 => "hash index".to_owned(),
        _ if ordered == all => "hash index and ordered index".to_owned(),
        _ => format!("hash index, {ordered} of {all} tables with an ordered index too"),
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
    let backoff = match plan.backoff {
        Backoff::None => "no back-off".to_owned(),
        policy => format!("{} back-off", policy.name()),
    };
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
