//! What a run is to do, checked before anything starts.

use super::{LongReader, RunError};
use crate::Backoff;
use crate::protocol::Contention;
use crate::workload::{Seed, visible};
use std::time::Duration;

/// The most worker threads: each holds open transactions and megabytes of histograms.
pub const THREADS_MAX: usize = 1024;
/// The most repetitions.
pub const REPETITIONS_MAX: u32 = 1000;
/// The longest duration that can be asked for.
pub const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long after a sign of life was due a repetition is called overdue: longer than a transaction
/// of any workload should take, also with several hundred threads to a processor.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// When a run is over: whichever of the two comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limit {
    /// After so long, warm-up not counted.
    pub duration: Option<Duration>,
    /// After so many transactions of all workers, those of the warm-up not counted.
    pub transactions: Option<u64>,
}

/// How workers are bound to processors.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Pinning {
    /// The operating system places them.
    #[default]
    None,
    /// Worker i on the i-th processor that this process may use, round and round.
    Compact,
    /// Worker i on the i-th processor of the list, round and round.
    List(Vec<usize>),
}

impl Pinning {
    /// Reads `none`, `compact` or a list like `0,2,4-7`.
    pub fn parse(text: &str) -> Result<Self, String> {
        match text {
            "none" => return Ok(Pinning::None),
            "compact" => return Ok(Pinning::Compact),
            _ => {}
        }
        let shown = visible(text);
        let advice =
            || format!("{shown} is none of: none, compact, a list of processors like 0,2-3");
        let mut processors = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let first: u16 = first.trim().parse().map_err(|_| advice())?;
            let last: u16 = last.trim().parse().map_err(|_| advice())?;
            if first > last {
                return Err(advice());
            }
            processors.extend((first..=last).map(usize::from));
        }
        Ok(Pinning::List(processors))
    }

    /// The processor of each worker, or `None` without pinning.
    pub(super) fn resolve(&self) -> Result<Option<Vec<core_affinity::CoreId>>, RunError> {
        if *self == Pinning::None {
            return Ok(None);
        }
        let allowed = core_affinity::get_core_ids().filter(|ids| !ids.is_empty());
        let allowed = allowed.ok_or_else(|| {
            RunError::Pinning(
                "this system does not say which processors it has: use --pin none".into(),
            )
        })?;
        let Pinning::List(list) = self else {
            return Ok(Some(allowed));
        };
        let find = |id: &usize| {
            allowed.iter().find(|core| core.id == *id).copied().ok_or_else(|| {
                let known: Vec<String> = allowed.iter().map(|core| core.id.to_string()).collect();
                let known = known.join(", ");
                RunError::Pinning(format!(
                    "processor {id} is not one that this process may use ({known})"
                ))
            })
        };
        list.iter().map(find).collect::<Result<Vec<_>, _>>().map(Some)
    }
}

impl std::fmt::Display for Pinning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Pinning::None => f.write_str("none"),
            Pinning::Compact => f.write_str("compact"),
            Pinning::List(list) => {
                let list: Vec<String> = list.iter().map(usize::to_string).collect();
                f.write_str(&list.join(","))
            }
        }
    }
}

/// Which latency a throttled run reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LatencyBasis {
    /// From the actual start.
    Operation,
    /// From the start that the schedule intended, so that waiting for a slow predecessor counts.
    Intended,
    /// Both.
    Both,
}

impl LatencyBasis {
    /// Whether latency from the actual start is reported.
    #[must_use]
    pub fn shows_operation(self) -> bool {
        self != LatencyBasis::Intended
    }

    /// Whether latency from the intended start is reported.
    #[must_use]
    pub fn shows_intended(self) -> bool {
        self != LatencyBasis::Operation
    }
}

/// A throttle.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Throttle {
    /// Operations per second of all workers together.
    pub operations_per_second: f64,
    /// Whether a worker that waits keeps its processor busy instead of sleeping.
    pub spin: bool,
}

/// Everything that a run is told, apart from the workload.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The protocol's name in the registry.
    pub protocol: String,
    /// Worker threads.
    pub threads: usize,
    /// When it is over.
    pub limit: Limit,
    /// How long requests run before the measurement begins.
    pub warmup: Duration,
    /// The seed of everything random.
    pub seed: Seed,
    /// Shards of the store; `None` leaves it to the store.
    pub shards: Option<usize>,
    /// How long a transaction waits after an abort.
    pub backoff: Backoff,
    /// What the store does about contention, if its protocol heeds that.
    pub contention: Contention,
    /// How workers are bound to processors.
    pub pinning: Pinning,
    /// Repetitions, each with a fresh store and the same requests.
    pub repetitions: u32,
    /// The throttle, if any.
    pub throttle: Option<Throttle>,
    /// Which latency a throttled run reports.
    pub latency: LatencyBasis,
    /// The length of one step of the timeline.
    pub interval: Duration,
    /// The pause between two audits while the workers run, for workloads that have such audits.
    pub audit_interval: Option<Duration>,
    /// Snapshots that are held open beside the workers, if any.
    pub long_reader: Option<LongReader>,
    /// Whether the histogram of every step and kind is kept.
    pub keep_interval_histograms: bool,
    /// How long a sign of life may be overdue before the observer is told; see [`PATIENCE`].
    pub patience: Duration,
}

impl Plan {
    /// Checks what a flag or a property could have set wrong.
    pub fn check(&self) -> Result<(), RunError> {
        let within = |what: &'static str, value: u64, max: u64| {
            if (1..=max).contains(&value) {
                Ok(())
            } else {
                Err(RunError::Range { what, value, max })
            }
        };
        within("threads", self.threads as u64, THREADS_MAX as u64)?;
        within("repetitions", self.repetitions.into(), REPETITIONS_MAX.into())?;
        within("transactions", self.limit.transactions.unwrap_or(1), u64::MAX)?;
        for (what, duration) in [("duration", self.limit.duration), ("warm-up", Some(self.warmup))]
        {
            if duration.is_some_and(|duration| duration > DURATION_MAX) {
                return Err(RunError::TooLong { what });
            }
        }
        if self.limit.duration.is_some_and(|duration| duration.is_zero()) {
            return Err(RunError::NoTime);
        }
        assert!(
            self.limit != Limit::default(),
            "the command sets a limit where the user sets none"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_lists_are_read() {
        assert_eq!(Pinning::parse("none"), Ok(Pinning::None));
        assert_eq!(Pinning::parse("0,2-4"), Ok(Pinning::List(vec![0, 2, 3, 4])));
        for bad in ["", "a", "3-1", "0,,1", "-1", "99999999"] {
            assert!(Pinning::parse(bad).is_err(), "{bad}");
        }
        assert!(Pinning::List(vec![60_000]).resolve().is_err());
    }
}
