//! What workers count, and how it is merged.

use crate::workload::End;
use crate::{AbortReason, Attempts};
use hdrhistogram::Histogram;
use std::ops::AddAssign;

/// The longest latency that a histogram resolves; longer ones are counted apart.
pub const LATENCY_MAX_NS: u64 = 3_600_000_000_000;
/// Significant digits of every histogram.
pub const DIGITS: u8 = 3;
/// The most retries that a histogram resolves: what the store's policy allows.
const RETRIES_MAX: u64 = 1 << 21;

/// A latency histogram in nanoseconds that forgets nothing: what is too long for it is recorded at
/// its end and counted.
#[derive(Debug, Clone)]
pub struct Latencies {
    /// The histogram.
    pub histogram: Histogram<u64>,
    /// How many values were above [`LATENCY_MAX_NS`].
    pub overflow: u64,
}

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_MAX_NS, DIGITS);
        Latencies { histogram: histogram.expect("constant bounds are valid"), overflow: 0 }
    }
}

impl Latencies {
    #[inline]
    fn record(&mut self, ns: u64) {
        // A zero (two readings within one tick) counts as the smallest value, not as nothing.
        if self.histogram.record(ns.max(1)).is_err() {
            self.histogram.saturating_record(ns);
            self.overflow += 1;
        }
    }

    /// Adds what `other` has.
    pub fn merge(&mut self, other: &Latencies) {
        self.histogram.add(&other.histogram).expect("all latency histograms have the same bounds");
        self.overflow += other.overflow;
    }

    fn clear(&mut self) {
        self.histogram.reset();
        self.overflow = 0;
    }
}

/// Counts of transactions and attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Attempts, the successful ones included.
    pub attempts: u64,
    /// Transactions by their end, in the order of [`End`].
    pub ends: [u64; End::COUNT],
    /// Failed attempts by reason.
    pub aborts: [u64; AbortReason::COUNT],
    /// The time of the workers in transactions, each from its first start to its end.
    pub busy_ns: u64,
    /// The part of it that was for nothing: what came before the attempt that committed, waiting
    /// for the next attempt included, and all of a transaction that was given up.
    pub wasted_ns: u64,
}

impl Counts {
    /// Transactions that committed.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.ends[End::Committed as usize]
    }

    /// Transactions that ended, in whatever way.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.ends.iter().sum()
    }

    /// Attempts that conflicts ended; the workload's own rollbacks are none.
    #[must_use]
    pub fn conflicts(&self) -> u64 {
        self.aborts.iter().sum::<u64>() - self.aborts[AbortReason::User as usize]
    }

    /// The share of attempts that conflicts ended.
    #[must_use]
    pub fn abort_rate(&self) -> f64 {
        share(self.conflicts(), self.attempts)
    }

    /// The share of the workers' time in transactions that was for nothing.
    #[must_use]
    pub fn wasted_share(&self) -> f64 {
        share(self.wasted_ns, self.busy_ns)
    }

    /// Attempts beyond the first, for each transaction that ended.
    #[must_use]
    pub fn retries_per_transaction(&self) -> f64 {
        let transactions = self.transactions();
        share(self.attempts.saturating_sub(transactions), transactions)
    }

    /// The share of transactions that were given up.
    #[must_use]
    pub fn gave_up_share(&self) -> f64 {
        share(self.ends[End::GaveUp as usize], self.transactions())
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl AddAssign<&Counts> for Counts {
    fn add_assign(&mut self, other: &Counts) {
        let Counts { attempts, ends, aborts, busy_ns, wasted_ns } = other;
        self.attempts += attempts;
        self.busy_ns += busy_ns;
        self.wasted_ns += wasted_ns;
        self.ends.iter_mut().zip(ends).for_each(|(sum, count)| *sum += count);
        self.aborts.iter_mut().zip(aborts).for_each(|(sum, count)| *sum += count);
    }
}

/// What was seen of one kind of transaction.
#[derive(Debug, Clone, Default)]
pub struct KindStats {
    /// Counts.
    pub counts: Counts,
    /// Latency from the first start to the end, by the kind of end; never mixed.
    pub service: [Option<Latencies>; End::COUNT],
    /// Latency of committed transactions from their intended start, where a schedule says it.
    pub intended: Option<Latencies>,
}

impl KindStats {
    /// Adds what `other` has.
    pub fn merge(&mut self, other: &KindStats) {
        self.counts += &other.counts;
        for (sum, part) in self.service.iter_mut().zip(&other.service) {
            merge_latencies(sum, part);
        }
        merge_latencies(&mut self.intended, &other.intended);
    }

    fn clear(&mut self) {
        self.counts = Counts::default();
        let recorded = self.service.iter_mut().chain(std::iter::once(&mut self.intended));
        recorded.flatten().for_each(Latencies::clear);
    }
}

fn merge_latencies(sum: &mut Option<Latencies>, part: &Option<Latencies>) {
    if let Some(part) = part.as_ref().filter(|part| !part.histogram.is_empty()) {
        sum.get_or_insert_default().merge(part);
    }
}

/// The times of one transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// From its first start to its end.
    pub(super) service_ns: u64,
    /// The part of it that was for nothing.
    pub(super) wasted_ns: u64,
    /// From its intended start to its end, if a schedule had one.
    pub(super) intended_ns: Option<u64>,
}

impl Times {
    /// The times of a transaction that has just ended. Only one that was tried again costs a
    /// reading of another clock.
    #[inline]
    pub(super) fn of(
        service_ns: u64,
        intended_ns: Option<u64>,
        end: End,
        attempts: &Attempts,
    ) -> Self {
        let wasted_ns = match (end, attempts.retried_at) {
            (End::GaveUp, _) => service_ns,
            (_, None) => 0,
            (_, Some(at)) => service_ns.saturating_sub(at.elapsed().as_nanos() as u64),
        };
        Times { service_ns, wasted_ns, intended_ns }
    }
}

/// What one worker, or all of them, saw in one stretch of time.
#[derive(Debug, Clone)]
pub struct Stats {
    /// By kind of transaction.
    pub kinds: Vec<KindStats>,
    /// Retries of committed transactions that needed any.
    pub retries: Histogram<u64>,
}

impl Stats {
    /// Nothing seen yet of `kinds` kinds.
    #[must_use]
    pub fn new(kinds: usize) -> Self {
        let retries = Histogram::new_with_bounds(1, RETRIES_MAX, 2);
        Stats {
            kinds: vec![KindStats::default(); kinds],
            retries: retries.expect("constant bounds are valid"),
        }
    }

    /// Takes note of one transaction.
    #[inline]
    pub(super) fn record(&mut self, kind: usize, end: End, attempts: &Attempts, times: Times) {
        let Times { service_ns, wasted_ns, intended_ns } = times;
        let stats = &mut self.kinds[kind];
        stats.counts.busy_ns += service_ns;
        stats.counts.wasted_ns += wasted_ns;
        stats.counts.attempts += attempts.attempts;
        stats.counts.ends[end as usize] += 1;
        stats.service[end as usize].get_or_insert_default().record(service_ns);
        if let Some(ns) = intended_ns.filter(|_| end == End::Committed) {
            stats.intended.get_or_insert_default().record(ns);
        }
        if attempts.attempts > 1 || end != End::Committed {
            self.record_aborts(kind, end, attempts);
        }
    }

    #[cold]
    fn record_aborts(&mut self, kind: usize, end: End, attempts: &Attempts) {
        let aborts = &mut self.kinds[kind].counts.aborts;
        aborts.iter_mut().zip(attempts.aborts).for_each(|(sum, count)| *sum += count);
        if end == End::Committed {
            self.retries.saturating_record(attempts.attempts - 1);
        }
    }

    /// Adds what `other` has.
    pub fn merge(&mut self, other: &Stats) {
        for (sum, part) in self.kinds.iter_mut().zip(&other.kinds) {
            sum.merge(part);
        }
        self.retries.add(&other.retries).expect("all retry histograms have the same bounds");
    }

    pub(super) fn clear(&mut self) {
        self.kinds.iter_mut().for_each(KindStats::clear);
        self.retries.reset();
    }

    /// All kinds together.
    #[must_use]
    pub fn total(&self) -> KindStats {
        let mut total = KindStats::default();
        self.kinds.iter().for_each(|kind| total.merge(kind));
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_is_the_same_as_recording_together() {
        let mut parts = [Stats::new(2), Stats::new(2)];
        let mut together = Stats::new(2);
        for i in 0..1_000u64 {
            let (kind, service) = ((i % 2) as usize, i * i + 1);
            let end = if i % 7 == 0 { End::RolledBack } else { End::Committed };
            let mut attempts = Attempts { attempts: 1 + i % 3, ..Attempts::default() };
            attempts.aborts[0] = i % 3;
            for stats in [&mut parts[(i % 3 == 0) as usize], &mut together] {
                let intended_ns = Some(service + 5);
                let times = Times { service_ns: service, wasted_ns: i % 3, intended_ns };
                stats.record(kind, end, &attempts, times);
            }
        }
        let mut merged = Stats::new(2);
        parts.iter().for_each(|part| merged.merge(part));
        assert_eq!(merged.retries, together.retries);
        for (merged, together) in merged.kinds.iter().zip(&together.kinds) {
            assert_eq!(merged.counts, together.counts);
            for (a, b) in merged.service.iter().zip(&together.service) {
                let of = |latencies: &Option<Latencies>| latencies.clone().map(|l| l.histogram);
                assert_eq!(of(a), of(b));
            }
        }
        let counts = merged.total().counts;
        assert_eq!(counts.transactions(), 1_000);
        assert_eq!(counts.busy_ns, (0..1_000).map(|i| i * i + 1).sum::<u64>());
        assert_eq!(counts.wasted_ns, (0..1_000).map(|i| i % 3).sum::<u64>());
    }

    #[test]
    fn time_before_the_last_attempt_is_wasted() {
        const HOUR_NS: u64 = 3_600_000_000_000;
        let wasted = |end, retried_at| {
            let attempts = Attempts { attempts: 2, retried_at, ..Attempts::default() };
            Times::of(HOUR_NS, None, end, &attempts).wasted_ns
        };
        assert_eq!(wasted(End::Committed, None), 0);
        assert_eq!(wasted(End::GaveUp, None), HOUR_NS);
        let minute = std::time::Duration::from_secs(60);
        let began = std::time::Instant::now().checked_sub(minute);
        // The last attempt took a minute, and as long as this thread was suspended for.
        let before = wasted(End::Committed, began);
        assert!(before <= HOUR_NS / 60 * 59 && before > HOUR_NS / 2, "{before}");
    }

    #[test]
    fn latencies_beyond_the_histogram_are_counted() {
        let mut latencies = Latencies::default();
        latencies.record(LATENCY_MAX_NS * 10);
        latencies.record(0);
        assert_eq!((latencies.overflow, latencies.histogram.len()), (1, 2));
    }
}
