//! YCSB's zipfian generators, bit for bit given the same uniform draws.

use super::fnv::fnv_hash_64;

/// The skew that YCSB fixes.
const THETA: f64 = 0.99;
/// The domain of the scrambled generator, whatever the number of records.
const SCRAMBLED_ITEMS: u64 = 10_000_000_000;
/// The sum of i^-0.99 over that domain, as a constant of YCSB's source.
const SCRAMBLED_ZETA: f64 = 26.469_028_201_783_02;

/// The generator of Gray et al. ("Quickly Generating Billion-Record Synthetic Databases", SIGMOD
/// 1994) as YCSB codes it: rank 0 is the most popular.
#[derive(Debug, Clone)]
pub struct Zipfian {
    items: u64,
    /// The number of items that `zeta` sums over.
    counted: u64,
    alpha: f64,
    zeta: f64,
    zeta_two: f64,
    eta: f64,
    /// Below this, the scaled draw is rank 1.
    second: f64,
}

impl Zipfian {
    /// A generator over `items` ranks; costs one power function per rank.
    #[must_use]
    pub fn new(items: u64) -> Self {
        Self::with_zeta(items, zeta(0, items, 0.0))
    }

    /// A generator over `items` ranks whose sum is known.
    fn with_zeta(items: u64, zeta_items: f64) -> Self {
        let mut zipfian = Zipfian {
            items,
            counted: items,
            alpha: 1.0 / (1.0 - THETA),
            zeta: zeta_items,
            zeta_two: zeta(0, 2, 0.0),
            eta: 0.0,
            second: 1.0 + 0.5f64.powf(THETA),
        };
        zipfian.eta = zipfian.eta_now();
        zipfian
    }

    /// As in YCSB, eta keeps the first number of items when the sum grows.
    fn eta_now(&self) -> f64 {
        (1.0 - (2.0 / self.items as f64).powf(1.0 - THETA)) / (1.0 - self.zeta_two / self.zeta)
    }

    /// The rank for the uniform draw `u` in [0, 1).
    #[inline]
    #[must_use]
    pub fn rank(&self, u: f64) -> u64 {
        self.rank_among(u, self.items)
    }

    /// The rank for `u` when there are `items` by now: the sum is extended, never shortened.
    #[inline]
    #[must_use]
    pub fn rank_grown(&mut self, u: f64, items: u64) -> u64 {
        if items > self.counted {
            self.grow(items);
        }
        self.rank_among(u, items)
    }

    #[cold]
    fn grow(&mut self, items: u64) {
        self.zeta = zeta(self.counted, items, self.zeta);
        self.counted = items;
        self.eta = self.eta_now();
    }

    #[inline]
    fn rank_among(&self, u: f64, items: u64) -> u64 {
        let scaled = u * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if scaled < self.second {
            return 1;
        }
        (items as f64 * (self.eta * u - self.eta + 1.0).powf(self.alpha)) as u64
    }
}

/// The sum of i^-theta for i from `from + 1` to `to`, added to `sum` in YCSB's order.
fn zeta(from: u64, to: u64, sum: f64) -> f64 {
    (from..to).fold(sum, |sum, i| sum + 1.0 / ((i + 1) as f64).powf(THETA))
}

/// YCSB's "zipfian" request distribution: a zipfian rank over ten billion items whatever the number
/// of records, hashed into the records.
///
/// It is much flatter than a zipf distribution over the records: the hottest key gets about 3.8 %
/// for every number of records. [`super::Zipf`] is the true one.
#[derive(Debug, Clone)]
pub struct ScrambledZipfian {
    first: u64,
    items: u64,
    ranks: Zipfian,
}

impl ScrambledZipfian {
    /// Keys from `first` to `last`, both included.
    #[must_use]
    pub fn new(first: u64, last: u64) -> Self {
        assert!(first <= last, "a key range has at least one key");
        // YCSB's ranks go from 0 to ITEM_COUNT, both included: one item more than the sum covers.
        let ranks = Zipfian::with_zeta(SCRAMBLED_ITEMS + 1, SCRAMBLED_ZETA);
        ScrambledZipfian { first, items: last - first + 1, ranks }
    }

    /// The key for the uniform draw `u` in [0, 1).
    #[inline]
    #[must_use]
    pub fn key(&self, u: f64) -> u64 {
        self.first + fnv_hash_64(self.ranks.rank(u)) % self.items
    }
}
