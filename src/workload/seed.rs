//! One seed, and every stream of random numbers that is derived from it.

use rand::SeedableRng;
use rand_xoshiro::Xoshiro256PlusPlus;

/// The generator behind every random choice of a run.
pub type Random = Xoshiro256PlusPlus;

/// What a stream of random numbers decides. Streams of different purposes are independent, so that
/// (say) longer values do not change which keys are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The contents of a loaded record; the index is the record's number.
    Load = 1,
    /// The keys that one worker asks for; the index is the worker's.
    Keys = 2,
    /// The kinds of operation that one worker performs.
    Operations = 3,
    /// The values that one worker writes.
    Values = 4,
    /// Where the popular keys lie in the key space; the same for every worker.
    Scatter = 5,
    /// The seed of one repetition of a comparison; the index is the repetition's.
    Repetition = 6,
    /// The order in which the variants of a comparison run.
    Order = 7,
}

/// The seed of a run: it is printed, and the same seed gives the same requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// The seed with this number.
    #[must_use]
    pub fn new(number: u64) -> Self {
        Seed(number)
    }

    /// The seed's number.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// A 64-bit key for `purpose` and `index`.
    #[must_use]
    pub fn key(self, purpose: Purpose, index: u64) -> u64 {
        let purpose = split_mix(self.0 ^ split_mix(purpose as u64));
        split_mix(purpose.wrapping_add(index.wrapping_mul(GOLDEN_GAMMA)))
    }

    /// The stream of random numbers for `purpose` and `index`.
    #[must_use]
    pub fn stream(self, purpose: Purpose, index: u64) -> Random {
        Random::seed_from_u64(self.key(purpose, index))
    }
}

impl std::fmt::Display for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

const GOLDEN_GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// One step of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a bijection that mixes well.
fn split_mix(state: u64) -> u64 {
    let mut mixed = state.wrapping_add(GOLDEN_GAMMA);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn the_mix_is_split_mix_64() {
        // The first output of the reference implementation for the state 0.
        assert_eq!(split_mix(0), 0xE220_A839_7B1D_CDAF);
    }

    #[test]
    fn streams_differ_by_seed_purpose_and_index_and_by_nothing_else() {
        let first = |seed: u64, purpose, index| Seed::new(seed).stream(purpose, index).next_u64();
        let reference = first(7, Purpose::Keys, 3);
        assert_eq!(reference, first(7, Purpose::Keys, 3));
        assert_ne!(reference, first(8, Purpose::Keys, 3));
        assert_ne!(reference, first(7, Purpose::Values, 3));
        assert_ne!(reference, first(7, Purpose::Keys, 4));
    }
}
