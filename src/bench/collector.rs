//! Merges what workers hand over: the timeline step by step, and the whole.

use super::driver::{Finish, Report};
use super::stats::{Counts, Latencies, Stats};
use crate::Error;
use crate::workload::End;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};
use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

/// One step of the timeline, all workers together.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its number; step i begins i intervals after the measurement began.
    pub number: u64,
    /// Counts of transactions and attempts that ended in it.
    pub counts: Counts,
    /// The median latency of committed transactions in nanoseconds.
    pub p50_ns: u64,
    /// Their 99th percentile.
    pub p99_ns: u64,
    /// Their maximum.
    pub max_ns: u64,
    /// The histograms of committed transactions by kind, compressed, where the plan keeps them.
    pub histograms: Vec<(usize, Vec<u8>)>,
}

/// The merged reports of one repetition.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) stats: Stats,
    pub(super) steps: Vec<Step>,
    pub(super) tallies: Vec<u64>,
    pub(super) missed: u64,
    /// From the first worker's first measured moment to the last one's last.
    pub(super) measured: Option<(u64, u64)>,
    pub(super) error: Option<Error>,
    /// Whether the run was stopped because memory was nearly gone.
    pub(super) starved: bool,
}

/// Merges the reports of one repetition.
#[derive(Debug)]
pub(super) struct Collector {
    emptied: Vec<Sender<Box<Stats>>>,
    /// Steps that some worker may still add to.
    open: BTreeMap<u64, Stats>,
    /// The step that each worker reported last.
    reached: Vec<Option<u64>>,
    reports: u64,
    done: usize,
    keep_histograms: bool,
    collected: Collected,
}

impl Collector {
    pub(super) fn new(
        emptied: Vec<Sender<Box<Stats>>>,
        kinds: usize,
        tallies: usize,
        keep_histograms: bool,
    ) -> Self {
        Collector {
            open: BTreeMap::new(),
            reached: vec![None; emptied.len()],
            emptied,
            reports: 0,
            done: 0,
            keep_histograms,
            collected: Collected {
                stats: Stats::new(kinds),
                steps: Vec::new(),
                tallies: vec![0; tallies],
                missed: 0,
                measured: None,
                error: None,
                starved: false,
            },
        }
    }

    /// Whether every worker has ended.
    pub(super) fn is_complete(&self) -> bool {
        self.done == self.emptied.len()
    }

    /// How often a worker has reported, be it that nothing has ended since.
    pub(super) fn reports(&self) -> u64 {
        self.reports
    }

    /// Transactions committed so far, as far as reported.
    pub(super) fn committed(&self) -> u64 {
        self.collected.stats.kinds.iter().map(|kind| kind.counts.committed()).sum()
    }

    /// The step that was completed last.
    pub(super) fn last_step(&self) -> Option<&Step> {
        self.collected.steps.last()
    }

    /// Notes that the run is stopped because memory is nearly gone.
    pub(super) fn note_starved(&mut self) {
        self.collected.starved = true;
    }

    /// Takes one report. True if a worker failed, so that the others should stop.
    pub(super) fn take(&mut self, report: Report) -> bool {
        self.reports += 1;
        match report {
            Report::Interval { worker, step, stats } => self.take_interval(worker, step, stats),
            Report::Done(finish) => return self.take_finish(*finish),
        }
        false
    }

    fn take_interval(&mut self, worker: usize, step: u64, mut stats: Box<Stats>) {
        self.collected.stats.merge(&stats);
        let kinds = self.collected.stats.kinds.len();
        self.open.entry(step).or_insert_with(|| Stats::new(kinds)).merge(&stats);
        self.reached[worker] = Some(step);
        self.close_steps();
        stats.clear();
        // A worker that has ended needs no set of counters any more.
        let _ = self.emptied[worker].send(stats);
    }

    fn take_finish(&mut self, finish: Finish) -> bool {
        let collected = &mut self.collected;
        self.done += 1;
        self.reached[finish.worker] = Some(u64::MAX);
        collected.missed += finish.missed;
        collected.tallies.iter_mut().zip(finish.tallies).for_each(|(sum, part)| *sum += part);
        collected.measured = match (collected.measured, finish.measured) {
            (Some((from, to)), Some((first, last))) => Some((from.min(first), to.max(last))),
            (one, other) => one.or(other),
        };
        let failed = finish.error.is_some();
        collected.error = collected.error.take().or(finish.error);
        self.close_steps();
        failed
    }

    /// A step is complete once every worker has reported a later one, or its end.
    fn close_steps(&mut self) {
        let Some(reached) = self.reached.iter().min().copied().flatten() else {
            return;
        };
        while let Some(entry) = self.open.first_entry() {
            if *entry.key() >= reached {
                return;
            }
            let (number, stats) = entry.remove_entry();
            self.collected.steps.push(close(number, &stats, self.keep_histograms));
        }
    }

    pub(super) fn finish(self) -> Collected {
        assert!(self.open.is_empty(), "a step is open although every worker has ended");
        self.collected
    }
}

fn close(number: u64, stats: &Stats, keep_histograms: bool) -> Step {
    let mut total = stats.total();
    let committed = total.service[End::Committed as usize].take().unwrap_or_default().histogram;
    let mut histograms = Vec::new();
    if keep_histograms {
        for (kind, stats) in stats.kinds.iter().enumerate() {
            if let Some(latencies) = &stats.service[End::Committed as usize] {
                histograms.push((kind, compress(latencies)));
            }
        }
    }
    Step {
        number,
        counts: total.counts,
        p50_ns: committed.value_at_quantile(0.5),
        p99_ns: committed.value_at_quantile(0.99),
        max_ns: committed.max(),
        histograms,
    }
}

/// A histogram in its standard compressed form (V2, deflated).
#[must_use]
pub fn compress(latencies: &Latencies) -> Vec<u8> {
    let mut bytes = Vec::new();
    V2DeflateSerializer::new()
        .serialize(&latencies.histogram, &mut bytes)
        .expect("a histogram of bounded size is written to memory");
    bytes
}
