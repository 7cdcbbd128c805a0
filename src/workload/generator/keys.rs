//! Which record a request goes to.

use super::{Permutation, Random, ScrambledZipfian, Zipf, Zipfian};
use crate::workload::{Purpose, Seed};
use rand::RngExt;
use std::sync::OnceLock;

/// A request distribution with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub enum Distribution {
    /// Every record alike.
    Uniform,
    /// YCSB's scrambled zipfian; `expected_inserts` more keys than are loaded are in its range.
    Zipfian {
        /// Keys that the run is expected to add.
        expected_inserts: u64,
    },
    /// A true zipf over the loaded records, scattered by a bijection.
    Zipf {
        /// The skew: 0 is uniform.
        theta: f64,
    },
    /// A hot set that gets most of the operations.
    Hotspot {
        /// The hot set's share of the records.
        data_fraction: f64,
        /// The hot set's share of the operations.
        operation_fraction: f64,
    },
    /// One record after the other.
    Sequential,
    /// Recent records exponentially more often.
    Exponential {
        /// This percentage of requests falls in the fraction below.
        percentile: f64,
        /// The fraction of the records.
        fraction: f64,
    },
    /// Zipfian backwards from the newest record.
    Latest,
}

/// The loaded records and the worker that asks for them.
#[derive(Debug, Clone, Copy)]
pub struct KeySpace {
    /// The first loaded record.
    pub first: u64,
    /// How many are loaded.
    pub count: u64,
    /// YCSB's recordcount: the number of the next insert.
    pub records: u64,
}

/// One worker's stream of record numbers.
#[derive(Debug)]
pub struct Keys {
    random: Random,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Uniform { first: u64, end: u64 },
    Zipfian(ScrambledZipfian),
    Zipf { first: u64, ranks: Zipf, scatter: Permutation },
    Hotspot { first: u64, hot_end: u64, end: u64, hot_share: f64 },
    Sequential { first: u64, count: u64, next: u64, stride: u64 },
    Exponential { gamma: f64 },
    Latest(Zipfian),
}

impl Keys {
    /// The stream of worker `index` of `workers`.
    ///
    /// The parameters were checked when the workload was configured.
    #[must_use]
    pub fn new(shape: &Shape, seed: Seed, index: u64, workers: u64) -> Self {
        let KeySpace { first, count, records } = shape.space;
        let end = first + count;
        let source = match &shape.distribution {
            Distribution::Uniform => Source::Uniform { first, end },
            Distribution::Zipfian { expected_inserts } => {
                // YCSB hands over an exclusive bound as an inclusive one: the range has one key
                // more.
                Source::Zipfian(ScrambledZipfian::new(first, end.saturating_add(*expected_inserts)))
            }
            Distribution::Zipf { theta } => Source::Zipf {
                first,
                ranks: Zipf::new(count, *theta).expect("count and theta were checked"),
                scatter: Permutation::new(count, seed.key(Purpose::Scatter, 0)),
            },
            Distribution::Hotspot { data_fraction, operation_fraction } => {
                let hot = ((count as f64 * data_fraction) as u64).min(count);
                // An empty part cannot be drawn from: the other one gets all.
                let hot_share = match hot {
                    0 => 0.0,
                    hot if hot == count => 1.0,
                    _ => *operation_fraction,
                };
                Source::Hotspot { first, hot_end: first + hot, end, hot_share }
            }
            Distribution::Sequential => {
                Source::Sequential { first, count, next: index % count, stride: workers % count }
            }
            Distribution::Exponential { percentile, fraction } => Source::Exponential {
                gamma: -(1.0 - percentile / 100.0).ln() / (records as f64 * fraction),
            },
            Distribution::Latest => Source::Latest(shape.latest_ranks()),
        };
        Keys { random: seed.stream(Purpose::Keys, index), source }
    }

    /// The next record number, given that all records below `limit` exist.
    ///
    /// As in YCSB, a number that is not acknowledged yet is drawn again.
    #[inline]
    pub fn draw(&mut self, limit: u64) -> u64 {
        loop {
            let number = self.draw_once(limit);
            if let Some(number) = number.filter(|number| *number < limit) {
                return number;
            }
        }
    }

    #[inline]
    fn draw_once(&mut self, limit: u64) -> Option<u64> {
        let random = &mut self.random;
        Some(match &mut self.source {
            Source::Uniform { first, end } => random.random_range(*first..*end),
            Source::Zipfian(scrambled) => scrambled.key(random.random()),
            Source::Zipf { first, ranks, scatter } => {
                *first + scatter.apply(ranks.rank(random) - 1)
            }
            Source::Hotspot { first, hot_end, end, hot_share } => {
                if random.random::<f64>() < *hot_share {
                    random.random_range(*first..*hot_end)
                } else {
                    random.random_range(*hot_end..*end)
                }
            }
            Source::Sequential { first, count, next, stride } => {
                let number = *first + *next;
                *next = (*next + *stride) % *count;
                number
            }
            Source::Exponential { gamma } => {
                let back = (-random.random::<f64>().ln() / *gamma) as u64;
                return (limit - 1).checked_sub(back);
            }
            Source::Latest(ranks) => {
                let last = limit - 1;
                // The rank is below `last` but for rounding, and YCSB never reaches record 0 either
                // unless it is alone.
                last.saturating_sub(ranks.rank_grown(random.random(), last))
            }
        })
    }
}

/// A distribution over a key space, with what all workers share.
#[derive(Debug, Clone)]
pub struct Shape {
    /// The distribution.
    pub distribution: Distribution,
    /// The records it ranges over.
    pub space: KeySpace,
    /// The sum over all records is costly, so it is made on first use and then shared.
    latest_ranks: OnceLock<Zipfian>,
}

impl Shape {
    /// Prepares what the workers share.
    #[must_use]
    pub fn new(distribution: Distribution, space: KeySpace) -> Self {
        assert!(space.count >= 1 && space.records >= space.first + space.count, "{space:?}");
        Shape { distribution, space, latest_ranks: OnceLock::new() }
    }

    fn latest_ranks(&self) -> Zipfian {
        // YCSB's generator starts with the number of the last record, not with their count.
        self.latest_ranks.get_or_init(|| Zipfian::new(self.space.records - 1)).clone()
    }
}
