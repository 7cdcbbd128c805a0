//! Random choices that a printed seed repeats.

use std::hash::{BuildHasher, RandomState};

/// A small generator (Steele, Lea, Flood: SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The generator of one thread of a run.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Random(seed ^ stream.wrapping_mul(0xa076_1d64_78bd_642f));
        random.next();
        random
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Lets another thread run, now and then: few cores would otherwise see few interleavings.
    pub fn maybe_yield(&mut self) {
        if self.below(4) == 0 {
            std::thread::yield_now();
        }
    }
}

/// The seed of this run: `CHRONOLITH_SEED`, or a new one. A failed test shows it.
pub fn seed() -> u64 {
    let given = std::env::var("CHRONOLITH_SEED").ok();
    let seed = match given {
        Some(text) => text.parse().expect("CHRONOLITH_SEED is a number"),
        None => RandomState::new().hash_one("seed"),
    };
    println!("CHRONOLITH_SEED={seed}");
    seed
}
