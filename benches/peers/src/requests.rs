//! What the stores are asked to do: drawn before the clock runs, and the same for every store.

use rand::{Rng, RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};
use rand_xoshiro::Xoshiro256PlusPlus;

/// What to do with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Read its value.
    Read,
    /// Replace its value without looking at it.
    Update,
    /// Read its value and write another that depends on it.
    Modify,
}

/// One operation, on a key or on a range, in one word: the less the loop has to read, the more it
/// measures the stores.
#[derive(Debug, Clone, Copy)]
pub struct Request(u64);

impl Request {
    /// One operation on a key.
    pub fn new(key: u64, kind: Kind) -> Self {
        Request(key << 8 | kind as u64)
    }

    /// A scan of `len` records from this key on; of none, an insert of a new key there.
    fn scan(key: u64, len: u8) -> Self {
        Request(key << 8 | u64::from(len))
    }

    /// The key.
    pub fn key(self) -> u64 {
        self.0 >> 8
    }

    /// How many records a scan reads; 0 is an insert.
    pub fn scan_len(self) -> usize {
        usize::from(self.0 as u8)
    }

    /// What to do with it.
    pub fn kind(self) -> Kind {
        match self.0 as u8 {
            0 => Kind::Read,
            1 => Kind::Update,
            _ => Kind::Modify,
        }
    }
}

/// Which operations, and how many of them make one transaction.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    /// The share of reads or scans; the rest is `other` or inserts.
    pub reads: f64,
    /// What is no read.
    pub other: Kind,
    /// The records of the shortest and of the longest scan, for scans and inserts.
    pub scans: Option<(u8, u8)>,
    /// Operations in a transaction.
    pub operations: usize,
    /// The skew of the keys: 0 is uniform.
    pub theta: f64,
}

/// The requests of every thread for one round: a pure function of its arguments.
pub fn draw(mix: Mix, records: u64, threads: usize, seed: u64) -> Vec<Vec<Request>> {
    const REQUESTS: usize = 2_000_000;
    // Whole transactions, so that every lap over the list is the same.
    let each = (REQUESTS / threads).next_multiple_of(mix.operations);
    let zipf = Zipf::new(records as f64, mix.theta).expect("a skew that is not negative");
    let thread_requests = |thread: u64| {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed ^ thread << 32);
        let requests = (0..each).map(|_| {
            let key = if mix.theta > 0.0 {
                scatter(zipf.sample(&mut random) as u64 - 1, records)
            } else {
                random.random_range(0..records)
            };
            let is_read = random.random_bool(mix.reads);
            match mix.scans {
                None => Request::new(key, if is_read { Kind::Read } else { mix.other }),
                Some((min, max)) if is_read => Request::scan(key, random.random_range(min..=max)),
                // New keys lie everywhere, as those of YCSB do, whose keys are hashes.
                Some(_) => Request::scan(random.random_range(0..records), 0),
            }
        });
        requests.collect()
    };
    (0..threads as u64).map(thread_requests).collect()
}

/// A popularity rank to a key, one to one, so that popular keys are no neighbours.
pub fn scatter(rank: u64, records: u64) -> u64 {
    // A prime greater than any number of records that fits, hence coprime with it.
    const PRIME: u64 = 1_000_000_000_039;
    (u128::from(rank) * u128::from(PRIME) % u128::from(records)) as u64
}

/// A seed for the next round.
pub fn next_seed(seed: u64) -> u64 {
    Xoshiro256PlusPlus::seed_from_u64(seed).next_u64()
}
