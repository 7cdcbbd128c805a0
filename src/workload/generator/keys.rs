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
        /// How large the hot set is.
        size: HotSet,
        /// The hot set's share of the operations.
        operation_fraction: f64,
        /// Keys that a worker draws before the hot set moves on by its own size; 0: it stays.
        ///
        /// Counted in draws and not in time, so that the requests depend on the seed alone. Workers
        /// count for themselves: one that is slower follows later.
        draws_per_move: u64,
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

/// How large a hot set is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HotSet {
    /// This share of the loaded records.
    Fraction(f64),
    /// So many records.
    Records(u64),
}

impl HotSet {
    /// The hot records among `count`.
    fn records(self, count: u64) -> u64 {
        match self {
            HotSet::Fraction(fraction) => ((count as f64 * fraction) as u64).min(count),
            HotSet::Records(records) => records.min(count),
        }
    }
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
    Hotspot(Hotspot),
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
            Distribution::Hotspot { size, operation_fraction, draws_per_move } => {
                let hot = size.records(count);
                // An empty part cannot be drawn from: the other one gets all.
                let hot_share = match hot {
                    0 => 0.0,
                    hot if hot == count => 1.0,
                    _ => *operation_fraction,
                };
                Source::Hotspot(Hotspot {
                    first,
                    count,
                    hot,
                    hot_share,
                    shift: 0,
                    draws_per_move: *draws_per_move,
                    draws_left: *draws_per_move,
                })
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
            Source::Hotspot(hotspot) => hotspot.draw(random),
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

/// A hot set and the rest.
#[derive(Debug)]
struct Hotspot {
    first: u64,
    count: u64,
    /// Records in the hot set.
    hot: u64,
    hot_share: f64,
    /// How far the hot set has moved from the first record.
    shift: u64,
    draws_per_move: u64,
    draws_left: u64,
}

impl Hotspot {
    #[inline]
    fn draw(&mut self, random: &mut Random) -> u64 {
        let place = if random.random::<f64>() < self.hot_share {
            random.random_range(0..self.hot)
        } else {
            random.random_range(self.hot..self.count)
        };
        if self.draws_per_move == 0 {
            return self.first + place;
        }
        let moved = (place + self.shift) % self.count;
        self.draws_left -= 1;
        if self.draws_left == 0 {
            self.draws_left = self.draws_per_move;
            self.shift = (self.shift + self.hot) % self.count;
        }
        self.first + moved
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
