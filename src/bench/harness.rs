//! What the harness itself costs: the same loop over an engine that does nothing.

use super::crew::Crew;
use super::deployment::{Deployment, WorkloadFacts};
use super::driver::{Course, Gate, Lines, Shared, run_worker};
use super::stopwatch::Stopwatch;
use super::{Plan, RunError};
use crate::sync::AtomicBool;
use crate::workload::{End, Fingerprint, Worker};
use crate::{Attempts, Error};
use std::hint::black_box;
use std::time::Duration;

/// The cost of the loop around the store.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HarnessCost {
    /// Nanoseconds that one transaction costs a worker without the store.
    pub transaction_ns: f64,
    /// Transactions a second that these workers could do if the store cost nothing.
    pub ceiling_per_second: f64,
    /// Workers that were measured.
    pub threads: usize,
}

/// A worker that draws the same requests and runs none of them.
struct NoOp<'a>(Box<dyn Worker + 'a>);

impl Worker for NoOp<'_> {
    fn prepare(&mut self) {
        self.0.prepare();
        black_box(&mut self.0);
    }

    fn execute(&mut self, attempts: &mut Attempts) -> Result<End, Error> {
        attempts.attempts = 1;
        Ok(End::Committed)
    }

    fn settle(&mut self, end: End) {
        self.0.settle(end);
    }

    fn describe(&self, fingerprint: &mut Fingerprint) {
        self.0.describe(fingerprint);
    }

    fn kind(&self) -> usize {
        self.0.kind()
    }

    fn tallies(&self) -> &[u64] {
        self.0.tallies()
    }
}

/// Measures the harness for `duration` on a deployment whose store stays empty, with the plan's
/// workers but no more than there are processors: workers that wait for each other would count as
/// cost.
pub(super) fn measure(
    deployment: &dyn Deployment,
    facts: &WorkloadFacts,
    plan: &Plan,
    stopwatch: Stopwatch,
    duration: Duration,
    stop: &AtomicBool,
) -> Result<HarnessCost, RunError> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = plan.threads.min(processors);
    let duration_ns = duration.as_nanos() as u64;
    let shared = Shared {
        course: Course {
            threads,
            warmup_ns: duration_ns / 4,
            duration_ns,
            transactions: None,
            interval_ns: plan.interval.as_nanos() as u64,
            throttle: None,
            kinds: facts.kinds.len(),
        },
        stopwatch,
        stop: AtomicBool::new(false),
        gate: Gate::default(),
    };
    let tallies = facts.tallies.len();
    let run = |index, lines: Lines| {
        let mut worker = NoOp(deployment.worker(plan.seed, index, threads));
        run_worker(&shared, index, &mut worker, lines);
    };
    let crew = Crew { shared: &shared, tallies, keep_histograms: false, pinned: None, stop };
    let collected = crew.run(&run, &mut |_| {})?;
    let transactions = collected.stats.total().counts.transactions().max(1) as f64;
    let (from, to) = collected.measured.unwrap_or((0, 1));
    let elapsed_ns = (to - from).max(1) as f64;
    Ok(HarnessCost {
        transaction_ns: elapsed_ns * threads as f64 / transactions,
        ceiling_per_second: transactions * 1e9 / elapsed_ns,
        threads,
    })
}
