//! Runs workloads and measures them: the one worker loop, the one loader, for every workload and
//! every protocol.

mod audit;
mod bell;
mod client;
mod collector;
mod comparison;
mod crew;
mod deployment;
mod driver;
mod harness;
pub mod inference;
mod long_reader;
mod machine;
mod memory;
mod metrics;
mod order;
mod pace;
mod plan;
mod requests;
mod session;
mod skew;
mod stats;
mod stopwatch;
mod watchdog;

pub use audit::{AuditCounts, Audits};
pub use client::{CLIENT_ROWS, ClientProperties};
pub use collector::{Step, compress};
pub use comparison::{Block, Cell, Comparison, ComparisonPlan, Flaw, NextCell, Round, compare};
pub use deployment::{
    AnyStore, AnyWorkload, Deployment, StoreSettings, TableCounts, WorkloadFacts,
};
pub use harness::HarnessCost;
pub use long_reader::{LongReader, LongReaderFacts, Peak};
pub use machine::{Fact, Machine, is_debug_build};
pub use memory::{available_bytes, show_bytes};
pub use metrics::{
    Derived, METRICS, Measure, Measured, Metric, ReadBeside, Scale, Source, Unit, beside, measured,
    metric, nearest_metric,
};
pub use plan::{
    DURATION_MAX, LatencyBasis, Limit, PATIENCE, Pinning, Plan, REPETITIONS_MAX, THREADS_MAX,
    Throttle,
};
pub use session::{
    Environment, Load, Outcome, ProtocolFacts, Repetition, probe_harness, protocol_facts, run,
};
pub use skew::Skew;
pub use stats::{Counts, DIGITS, KindStats, LATENCY_MAX_NS, Latencies, Stats};
pub use stopwatch::{ClockCost, Stopwatch};
pub use watchdog::{Overdue, Stage};

use crate::workload::visible;
use crate::{Error, TransactionError};
use std::fmt;
use std::time::Duration;

/// What a watcher of a run is told a few times a second.
#[derive(Debug)]
pub struct Tick<'a> {
    /// Time since the workers started, warm-up included.
    pub elapsed: Duration,
    /// Transactions committed in the measurement so far, as far as reported.
    pub committed: u64,
    /// The step of the timeline that was completed last.
    pub step: Option<&'a Step>,
}

/// Who watches a run: progress bars, status lines. Every call may come from another thread.
pub trait Observer: Sync {
    /// The harness and the skew are being measured.
    fn calibrating(&self) {}
    /// Repetition `number` of `of` begins.
    fn repetition(&self, number: u32, of: u32) {
        let _ = (number, of);
    }
    /// A repetition of a comparison begins, or is left out because its protocol has failed.
    fn cell(&self, next: &NextCell<'_>) {
        let _ = next;
    }
    /// Block `number` of a comparison's `of` is complete.
    fn block(&self, number: u32, of: u32) {
        let _ = (number, of);
    }
    /// A load of `records` begins.
    fn loading(&self, records: u64) {
        let _ = records;
    }
    /// `records` more are loaded.
    fn loaded(&self, records: u64) {
        let _ = records;
    }
    /// The workers start.
    fn running(&self, plan: &Plan) {
        let _ = plan;
    }
    /// Time passes.
    fn ticked(&self, tick: &Tick<'_>) {
        let _ = tick;
    }
    /// A repetition does not end: told once for each one.
    fn overdue(&self, overdue: &Overdue<'_>) {
        let _ = overdue;
    }
    /// The last repetition is over.
    fn finished(&self) {}
}

/// Nobody watches.
impl Observer for () {}

/// Why a run could not be done.
#[derive(Debug)]
pub enum RunError {
    /// No protocol has this name.
    Protocol(String),
    /// The protocols do not make a comparison.
    Comparison(String),
    /// A number is 0 or above its limit.
    Range {
        /// What it counts.
        what: &'static str,
        /// The number.
        value: u64,
        /// The largest that is allowed.
        max: u64,
    },
    /// A duration is above [`DURATION_MAX`].
    TooLong {
        /// Which one.
        what: &'static str,
    },
    /// The duration is zero.
    NoTime,
    /// The records do not fit into memory.
    Memory {
        /// Records to load.
        records: u64,
        /// The bytes they need.
        needed: u128,
        /// The bytes there are.
        available: u64,
    },
    /// A processor cannot be used.
    Pinning(String),
    /// The system refused a thread.
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        error: std::io::Error,
    },
    /// The loader's threads could not be started.
    Loader(String),
    /// The store failed.
    Store(TransactionError),
    /// It was stopped before anything was measured.
    InterruptedEarly,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Protocol(name) => write!(
                f,
                "there is no protocol {}: choose one of {}",
                visible(name),
                crate::protocol::NAMES.join(", ")
            ),
            RunError::Comparison(sentence) => f.write_str(sentence),
            RunError::Range { what, value, max } => {
                write!(f, "{value} {what}: it must be from 1 to {max}")
            }
            RunError::TooLong { what } => write!(
                f,
                "the {what} is too long: it may be {} at most",
                humantime::format_duration(DURATION_MAX)
            ),
            RunError::NoTime => f.write_str("a duration of 0 measures nothing: use -d 10s or so"),
            RunError::Memory { records, needed, available } => write!(
                f,
                "{records} records need about {}, and {} are available: lower recordcount, \
                 fieldcount or fieldlength",
                show_bytes(*needed),
                show_bytes(u128::from(*available))
            ),
            RunError::Pinning(sentence) => write!(f, "--pin: {sentence}"),
            RunError::Threads { threads, error } => {
                write!(f, "the system refuses {threads} threads ({error}): use a smaller -t")
            }
            RunError::Loader(error) => write!(f, "the loader cannot start: {error}"),
            RunError::Store(TransactionError::Error(Error::NoRanges { protocol })) => write!(
                f,
                "this workload reads ranges, and the protocol {protocol} has none: choose another"
            ),
            RunError::Store(error) => write!(f, "the store failed: {error}"),
            RunError::InterruptedEarly => f.write_str("stopped before anything was measured"),
        }
    }
}

impl std::error::Error for RunError {}

impl From<Error> for RunError {
    fn from(error: Error) -> Self {
        RunError::Store(TransactionError::Error(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_without_ranges_is_refused_by_name() {
        let said = RunError::from(Error::NoRanges { protocol: "plain" }).to_string();
        let expected =
            "this workload reads ranges, and the protocol plain has none: choose another";
        assert_eq!(said, expected);
    }
}
