//! What each number of a report is: one row for each. The tables' headings, the columns of the
//! files, the gates, `list metrics` and `explain` all read these rows.

mod rows;

pub use rows::METRICS;

use super::stats::{Counts, Latencies};
use super::{Environment, LongReaderFacts, Plan, Repetition};
use crate::AbortReason;
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
    /// A count.
    Count,
    /// Seconds.
    Seconds,
    /// A multiple of the baseline.
    Ratio,
    /// A multiple of something else.
    Multiple,
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
            Unit::Count => "a count",
            Unit::Seconds => "seconds",
            Unit::Ratio => "a multiple of the baseline",
            Unit::Multiple => "a multiple",
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

/// Reads a number from what long readers cost and the throughput beside them; `None` where the
/// repetition did not get so far.
pub type ReadBeside = fn(&LongReaderFacts, f64) -> Option<f64>;

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
    /// From one repetition beside long readers; reports give the median as well.
    Beside(ReadBeside),
    /// It says what a row is about, or how often something was counted.
    Fact,
}

/// A row: one number of a report.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its heading in tables; empty where tables leave it out.
    pub heading: &'static str,
    /// Its column in files, with the unit last; empty where they have none.
    pub column: &'static str,
    /// What else it is called: in a table of `run`, in a file, or by those who ask for it.
    pub aliases: &'static [&'static str],
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
            Source::Derived(_) | Source::Beside(_) | Source::Fact => None,
        }
    }

    /// Every word for it, in the form in which words are compared.
    fn words(&self) -> impl Iterator<Item = String> {
        let words = [self.name, self.heading, self.column].into_iter();
        let words = words.chain(self.aliases.iter().copied()).filter(|word| !word.is_empty());
        words.map(canonical)
    }
}

/// A word as it is compared with others: the hyphens of names, the blanks of headings and the
/// underscores of columns are the same.
fn canonical(word: &str) -> String {
    word.trim().to_lowercase().replace([' ', '_'], "-")
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

/// The row of that name, heading, column or alias.
#[must_use]
pub fn metric(name: &str) -> Option<&'static Metric> {
    let asked = canonical(name);
    // Each reason of an abort has a column of its own, and all of them one row.
    let of_reason = asked.strip_prefix("aborts-").is_some_and(|asked| {
        AbortReason::ALL.iter().any(|reason| canonical(reason.name()) == asked)
    });
    let asked = if of_reason { "aborts" } else { &asked };
    METRICS.iter().find(|metric| metric.words().any(|word| word == asked))
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

/// The rows that long readers add.
pub fn beside() -> impl Iterator<Item = (&'static Metric, ReadBeside)> {
    METRICS.iter().filter_map(|metric| match metric.source {
        Source::Beside(read) => Some((metric, read)),
        Source::Measured(_) | Source::Derived(_) | Source::Fact => None,
    })
}

/// The rows that are measured in each repetition, in the order of [`METRICS`].
pub fn measured() -> impl Iterator<Item = (&'static Metric, Measure)> {
    METRICS.iter().filter_map(|metric| Some((metric, metric.measure()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_for_one_row() {
        for metric in METRICS {
            for word in metric.words() {
                let same = |other: &&Metric| other.words().any(|other| other == word);
                let rows: Vec<&str> = METRICS.iter().filter(same).map(|row| row.name).collect();
                assert_eq!(rows, [metric.name], "{word}");
            }
            assert!(!metric.summary.ends_with('.') && metric.definition.ends_with('.'));
        }
    }

    #[test]
    fn a_row_is_found_by_all_its_words() {
        for (word, name) in [
            ("wasted", "wasted-work"),
            ("p", "p-value"),
            ("goodput", "throughput"),
            ("power", "detectable"),
            ("committed_per_s", "throughput"),
            ("Abort Rate", "abort-rate"),
            ("95 % interval", "interval"),
            ("throughput_ratio_interval_low", "interval"),
            ("aborts_write-conflict", "aborts"),
            (" P99 ", "p99"),
        ] {
            assert_eq!(metric(word).map(|row| row.name), Some(name), "{word}");
        }
        assert!(metric("").is_none() && metric("aborts_of-others").is_none());
    }

    #[test]
    fn a_misspelt_name_has_a_nearest_one() {
        assert_eq!(nearest_metric("thruput"), Some("throughput"));
        assert_eq!(nearest_metric("abort_rate"), Some("abort-rate"));
        assert_eq!(nearest_metric("p999"), Some("p99.9"));
        assert_eq!(nearest_metric("zzz"), None);
    }
}
