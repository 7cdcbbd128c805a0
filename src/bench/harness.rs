//! What the harness itself costs: the same loop over an engine that does nothing.

use super::crew::Crew;
use super::driver::{Course, Gate, Lines, Shared, run_worker};
use super::stopwatch::Stopwatch;
use super::{Plan, RunError};
use crate::protocol::Protocol;
use crate::sync::AtomicBool;
use crate::workload::{End, Fingerprint, Worker, Workload};
use crate::{Attempts, Error, Store};
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
#[derive(Debug)]
struct NoOp<W>(W);

impl<W: Worker> Worker for NoOp<W> {
    #[inline]
    fn prepare(&mut self) {
        self.0.prepare();
        black_box(&mut self.0);
    }

    #[inline]
    fn execute(&mut self, attempts: &mut Attempts) -> Result<End, Error> {
        attempts.attempts = 1;
        Ok(End::Committed)
    }

    #[inline]
    fn settle(&mut self, end: End) {
        self.0.settle(end);
    }

    fn describe(&self, fingerprint: &mut Fingerprint) {
        self.0.describe(fingerprint);
    }

    #[inline]
    fn kind(&self) -> usize {
        self.0.kind()
    }

    #[inline]
    fn tallies(&self) -> &[u64] {
        self.0.tallies()
    }
}

/// Measures the harness for `duration`, with the plan's workers but no more than there are
/// processors: workers that wait for each other would count as cost.
pub(super) fn measure<W: Workload, P: Protocol>(
    workload: &W,
    plan: &Plan,
    stopwatch: Stopwatch,
    duration: Duration,
    stop: &AtomicBool,
) -> Result<HarnessCost, RunError> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = plan.threads.min(processors);
    // The store stays empty: the workers only need something to refer to.
    let store: Store<P> = Store::builder().build_with()?;
    let tables = workload.open(&store)?;
    let duration_ns = duration.as_nanos() as u64;
    let shared = Shared {
        course: Course {
            threads,
            warmup_ns: duration_ns / 4,
            duration_ns,
            transactions: None,
            interval_ns: plan.interval.as_nanos() as u64,
            throttle: None,
            kinds: workload.kinds().len(),
        },
        stopwatch,
        stop: AtomicBool::new(false),
        gate: Gate::default(),
    };
    let make = |index| NoOp(workload.worker(&store, &tables, plan.seed, index, threads));
    let tallies = workload.tallies().len();
    let run = |index, lines: Lines| {
        run_worker(&shared, index, make(index), lines);
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
