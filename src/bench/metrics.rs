//! What each number of a report is: one row for each. The tables' headings, the columns of the
//! files, the gates, `list metrics` and `explain` all read these rows.

use super::stats::{Counts, Latencies};
use super::{Environment, Plan, Repetition};
use crate::workload::TallyRole;

/// In what a number is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Events per second.
    PerSecond,
    /// Nanoseconds.
    Nanoseconds,
    /// A part of a whole, from 0 to 1.
    Share,
    /// So many for each of something.
    Each,
    /// Bytes.
    Bytes,
    /// A multiple of the baseline.
    Ratio,
    /// A probability.
    Probability,
    /// No number but a word.
    Word,
}

impl Unit {
    /// The unit in words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Unit::PerSecond => "per second",
            Unit::Nanoseconds => "nanoseconds",
            Unit::Share => "a share from 0 to 1, shown as a percentage",
            Unit::Each => "a count for each transaction",
            Unit::Bytes => "bytes",
            Unit::Ratio => "a multiple of the baseline",
            Unit::Probability => "a probability",
            Unit::Word => "a word",
        }
    }
}

/// How two values of a number are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// By their ratio, as the mean of its logarithm.
    Ratio,
    /// By their difference: the number may well be 0.
    Difference,
}

impl Scale {
    /// The scale's name in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Scale::Ratio => "ratio",
            Scale::Difference => "difference",
        }
    }
}

/// A number of one repetition.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    /// How protocols are compared by it.
    pub scale: Scale,
    /// Whether more of it is better.
    pub more_is_better: bool,
    read: Read,
}

#[derive(Debug, Clone, Copy)]
enum Read {
    Number(fn(&Measured<'_>) -> f64),
    Percentile(f64),
}

/// A number that follows from all repetitions, or a property of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Derived {
    /// The ratio of the throughput to the baseline's.
    Ratio,
    /// Its interval.
    Interval,
    /// Its corrected p value.
    Significance,
    /// The effect that could have been found.
    Detectable,
    /// The protocol's isolation level.
    Isolation,
    /// The protocol's progress guarantee.
    Progress,
}

/// Where a number comes from.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// From one repetition; reports give the median over the repetitions.
    Measured(Measure),
    /// From all of them.
    Derived(Derived),
}

/// A row: one number of a report.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its heading in tables; empty where tables leave it out.
    pub heading: &'static str,
    /// Its column in files, with the unit last.
    pub column: &'static str,
    /// Its unit.
    pub unit: Unit,
    /// Where it comes from.
    pub source: Source,
    /// What it is, in a line.
    pub summary: &'static str,
    /// How it is found, what is in it, and what is not.
    pub definition: &'static str,
}

impl Metric {
    /// How it is measured in one repetition, if it is.
    #[must_use]
    pub fn measure(&self) -> Option<Measure> {
        match self.source {
            Source::Measured(measure) => Some(measure),
            Source::Derived(_) => None,
        }
    }
}

/// A repetition, ready to be asked for its numbers.
#[derive(Debug)]
pub struct Measured<'a> {
    environment: &'a Environment,
    repetition: &'a Repetition,
    counts: Counts,
    latencies: Latencies,
}

impl<'a> Measured<'a> {
    /// Prepares `repetition`.
    #[must_use]
    pub fn new(environment: &'a Environment, plan: &Plan, repetition: &'a Repetition) -> Self {
        let counts = repetition.stats.total().counts;
        let latencies = repetition.latencies(plan);
        Measured { environment, repetition, counts, latencies }
    }

    /// The number that `measure` describes.
    #[must_use]
    pub fn value(&self, measure: Measure) -> f64 {
        match measure.read {
            Read::Number(number) => number(self),
            Read::Percentile(p) => self.latencies.histogram.value_at_percentile(p) as f64,
        }
    }

    fn tallied(&self, role: TallyRole) -> u64 {
        let counted = self.environment.tally_rows.iter().zip(&self.repetition.tallies);
        counted.filter(|(row, _)| row.role == role).map(|(_, count)| count).sum()
    }
}

/// The row of that name.
#[must_use]
pub fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// The name that is most like `name`, if any is.
#[must_use]
pub fn nearest_metric(name: &str) -> Option<&'static str> {
    const SIMILAR_MIN: f64 = 0.7;
    let names = METRICS.iter().map(|metric| metric.name);
    let liked = names.map(|known| (strsim::jaro_winkler(name, known), known));
    let best = liked.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 >= SIMILAR_MIN).then_some(best.1)
}

/// The rows that are measured in each repetition, in the order of [`METRICS`].
pub fn measured() -> impl Iterator<Item = (&'static Metric, Measure)> {
    METRICS.iter().filter_map(|metric| Some((metric, metric.measure()?)))
}

const fn number(scale: Scale, more_is_better: bool, read: fn(&Measured<'_>) -> f64) -> Source {
    Source::Measured(Measure { scale, more_is_better, read: Read::Number(read) })
}

const fn percentile(p: f64) -> Source {
    let read = Read::Percentile(p);
    Source::Measured(Measure { scale: Scale::Ratio, more_is_better: false, read })
}

/// A percentile's row; the definition is that of the latency.
macro_rules! percentile_row {
    ($name:literal, $p:literal, $heading:literal, $column:literal, $meaning:literal) => {
        Metric {
            name: $name,
            heading: $heading,
            column: $column,
            unit: Unit::Nanoseconds,
            source: percentile($p),
            summary: concat!("first start to commit: ", $meaning),
            definition: concat!(
                "The time from the start of a transaction's first attempt until the commit has \
                 returned: ",
                $meaning,
                ". Failed attempts and the waits after them are in it; drawing the request is \
                 not. Transactions that were rolled back or given up are not in it. Taken from a \
                 histogram of 3 digits for each repetition, never pooled over repetitions. With a \
                 target and measurement.interval=intended it begins at the start that the \
                 schedule intended; without a target a slow transaction delays the next one \
                 unseen (coordinated omission)."
            ),
        }
    };
}

/// Every number.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "throughput",
        heading: "throughput",
        column: "committed_per_s",
        unit: Unit::PerSecond,
        source: number(Scale::Ratio, true, |measured| measured.repetition.throughput()),
        summary: "committed transactions a second, all workers together (goodput)",
        definition: "Transactions that committed within the measurement, divided by its length: \
            from the first worker's first measured moment to the last one's last. Failed attempts \
            do not count, nor do transactions that were rolled back or given up, nor the warm-up.",
    },
    Metric {
        name: "operations",
        heading: "",
        column: "operations_per_s",
        unit: Unit::PerSecond,
        source: number(Scale::Ratio, true, |measured| {
            measured.repetition.per_second(measured.tallied(TallyRole::Operation))
        }),
        summary: "operations of committed transactions a second",
        definition: "Reads, updates, inserts, read-modify-writes and deletes that belong to \
            committed transactions, divided by the length of the measurement. Operations of failed \
            attempts are not in it.",
    },
    Metric {
        name: "abort-rate",
        heading: "abort rate",
        column: "abort_rate",
        unit: Unit::Share,
        source: number(Scale::Difference, false, |measured| measured.counts.abort_rate()),
        summary: "the share of attempts that a conflict ended",
        definition: "Attempts that ended in a conflict, divided by all attempts, the successful \
            ones included. A transaction that the workload itself rolled back has no conflict. \
            The files of `run` have the conflicts by reason.",
    },
    Metric {
        name: "mean",
        heading: "",
        column: "mean_ns",
        unit: Unit::Nanoseconds,
        source: number(Scale::Ratio, false, |measured| measured.latencies.histogram.mean()),
        summary: "first start to commit: the mean",
        definition: "The mean of the latency of which `explain p50` says what is in it.",
    },
    percentile_row!("p50", 50.0, "p50", "p50_ns", "half of the transactions were faster"),
    percentile_row!("p90", 90.0, "", "p90_ns", "90 % of the transactions were faster"),
    percentile_row!("p99", 99.0, "p99", "p99_ns", "99 % of the transactions were faster"),
    percentile_row!("p99.9", 99.9, "p99.9", "p99.9_ns", "99.9 % of the transactions were faster"),
    percentile_row!("p99.99", 99.99, "", "p99.99_ns", "99.99 % of the transactions were faster"),
    Metric {
        name: "max",
        heading: "",
        column: "max_ns",
        unit: Unit::Nanoseconds,
        source: number(Scale::Ratio, false, |measured| measured.latencies.histogram.max() as f64),
        summary: "first start to commit: the slowest transaction",
        definition: "The maximum of the latency of which `explain p50` says what is in it.",
    },
    Metric {
        name: "retries",
        heading: "retries",
        column: "retries_per_transaction",
        unit: Unit::Each,
        source: number(Scale::Difference, false, |measured| {
            measured.counts.retries_per_transaction()
        }),
        summary: "attempts beyond the first, for each transaction",
        definition: "Attempts beyond the first one of each transaction, divided by the \
            transactions that ended. The same request is retried until it commits.",
    },
    Metric {
        name: "wasted-work",
        heading: "wasted",
        column: "wasted_work_share",
        unit: Unit::Share,
        source: number(Scale::Difference, false, |measured| {
            let wasted = measured.tallied(TallyRole::Wasted) as f64;
            wasted / (wasted + measured.tallied(TallyRole::Operation) as f64).max(1.0)
        }),
        summary: "the share of operations that belong to failed attempts",
        definition: "Operations begun by attempts that failed, divided by those and the operations \
            of committed transactions. An attempt that fails at its third operation has wasted \
            three, one that fails when it commits has wasted all of its own. All attempts of a \
            transaction that was given up are wasted. Waiting is in none of it, whether for a lock \
            or as a back-off: `wasted-time` has the back-off.",
    },
    Metric {
        name: "wasted-time",
        heading: "",
        column: "wasted_time_share",
        unit: Unit::Share,
        source: number(Scale::Difference, false, |measured| measured.counts.wasted_share()),
        summary: "the share of the time in transactions that came before their last attempt",
        definition: "The time from a transaction's first start to the start of the attempt that \
            committed, summed over all transactions and divided by the sum of their times from \
            first start to end. The back-off after a failed attempt is in it, and all the time of \
            a transaction that was given up. Time that an attempt waits for a lock is not, if the \
            attempt then commits. It is time on the wall: a thread that has lost its processor in \
            a failed attempt wastes all the while, so with more threads than processors it says \
            more about the scheduler than about the protocol. The clock is read once more for each \
            retry and never for a first attempt.",
    },
    Metric {
        name: "gave-up",
        heading: "",
        column: "gave_up_share",
        unit: Unit::Share,
        source: number(Scale::Difference, false, |measured| measured.counts.gave_up_share()),
        summary: "the share of transactions that were retried in vain as often as allowed",
        definition: "Transactions that used up the retries of the store's policy, divided by the \
            transactions that ended, whatever way they did.",
    },
    Metric {
        name: "retained",
        heading: "",
        column: "retained_bytes",
        unit: Unit::Bytes,
        source: number(Scale::Ratio, false, |measured| {
            measured.repetition.store.retained_bytes as f64
        }),
        summary: "bytes of versions in the store at the end",
        definition: "Bytes of all versions in chains, and of those that are unlinked and not free \
            yet, when the last worker has ended. Records, indexes and free blocks of the arenas \
            are not in it.",
    },
    Metric {
        name: "ratio",
        heading: "ratio",
        column: "throughput_ratio",
        unit: Unit::Ratio,
        source: Source::Derived(Derived::Ratio),
        summary: "throughput as a multiple of the baseline's",
        definition: "In each repetition the throughput is divided by the baseline's in the same \
            repetition, which had the same requests and ran within the same minute or so. The \
            ratio is the geometric mean of these quotients (the mean of their logarithms), so it \
            may differ a little from the quotient of the two medians.",
    },
    Metric {
        name: "interval",
        heading: "95 % interval",
        column: "throughput_ratio_interval",
        unit: Unit::Ratio,
        source: Source::Derived(Derived::Interval),
        summary: "where the true ratio lies, with a confidence of 95 %",
        definition: "Student's t interval of the mean of the logarithms of the ratios, one for \
            each repetition, taken back to a ratio. It is for one protocol and not corrected for \
            the number of protocols.",
    },
    Metric {
        name: "p-value",
        heading: "p",
        column: "p_corrected",
        unit: Unit::Probability,
        source: Source::Derived(Derived::Significance),
        summary: "how likely a ratio so far from 1 is by chance, corrected for many protocols",
        definition: "Two-sided. If protocol and baseline were equally fast, each repetition's \
            log-ratio could as well have the other sign; p is the share of all assignments of \
            signs that give a mean at least as far from 0 (exact up to 20 repetitions, 100,000 \
            random assignments beyond). Corrected by Holm's method over all protocols and numbers \
            of threads of the comparison. It cannot be smaller than the number of comparisons \
            times 2 / 2^repetitions.",
    },
    Metric {
        name: "detectable",
        heading: "",
        column: "detectable_ratio",
        unit: Unit::Ratio,
        source: Source::Derived(Derived::Detectable),
        summary: "the smallest true ratio that would have been found four times out of five",
        definition: "The ratio above 1 that a two-sided t test at 5 % would find with a power of \
            80 %, given how much the log-ratios of the repetitions scatter; a drop to 1 over it \
            is found as easily. Not corrected for the number of protocols.",
    },
    Metric {
        name: "isolation",
        heading: "isolation",
        column: "isolation",
        unit: Unit::Word,
        source: Source::Derived(Derived::Isolation),
        summary: "the isolation level that the protocol promises",
        definition: "What the protocol declares and the tests hold it to. \"Strictly\" means that \
            the serial order respects real time: a transaction that begins after another one has \
            returned sees it. A protocol that promises less may well be faster.",
    },
    Metric {
        name: "progress",
        heading: "progress",
        column: "progress",
        unit: Unit::Word,
        source: Source::Derived(Derived::Progress),
        summary: "what a thread that stops can do to the others",
        definition: "lock-free: nothing, whoever meets its unfinished work goes on. blocking: it \
            can hold the others up for as long as it stops.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_columns_are_unique() {
        for (index, metric) in METRICS.iter().enumerate() {
            let same = |other: &&Metric| other.name == metric.name || other.column == metric.column;
            assert_eq!(METRICS.iter().filter(same).count(), 1, "{index}: {}", metric.name);
            assert!(!metric.summary.ends_with('.') && metric.definition.ends_with('.'));
        }
    }

    #[test]
    fn a_misspelt_name_has_a_nearest_one() {
        assert_eq!(nearest_metric("thruput"), Some("throughput"));
        assert_eq!(nearest_metric("abort_rate"), Some("abort-rate"));
        assert_eq!(nearest_metric("p999"), Some("p99.9"));
        assert_eq!(nearest_metric("zzz"), None);
    }
}
