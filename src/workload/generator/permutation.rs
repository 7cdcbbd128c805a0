//! A seeded bijection on [0, n): it says where each rank of a distribution lies in the key space.

/// A keyed permutation of [0, n).
///
/// An alternating Feistel network permutes the smallest power of two that holds n; a result outside
/// [0, n) is permuted again until it falls inside (cycle walking), which takes less than two steps
/// on average. A hash would do for scattering, but two ranks could meet in one key, and then no key
/// has the share that its rank should have.
#[derive(Debug, Clone, Copy)]
pub struct Permutation {
    size: u64,
    low_bits: u32,
    low_mask: u64,
    high_mask: u64,
    keys: [u64; Permutation::ROUNDS],
}

impl Permutation {
    const ROUNDS: usize = 6;

    /// The permutation of [0, `size`) that `key` selects. `size` is at least 1.
    #[must_use]
    pub fn new(size: u64, key: u64) -> Self {
        assert!(size >= 1, "a permutation needs something to permute");
        let bits = u64::BITS - (size - 1).leading_zeros();
        let low_bits = bits / 2;
        let mask = |bits: u32| {
            if bits == 0 { 0 } else { u64::MAX >> (u64::BITS - bits) }
        };
        let mut keys = [0; Self::ROUNDS];
        let mut state = key;
        for round_key in &mut keys {
            state = mix(state.wrapping_add(0x9E37_79B9_7F4A_7C15));
            *round_key = state;
        }
        Permutation {
            size,
            low_bits,
            low_mask: mask(low_bits),
            high_mask: mask(bits - low_bits),
            keys,
        }
    }

    /// Where `position` goes. `position` is below the size.
    #[inline]
    #[must_use]
    pub fn apply(&self, position: u64) -> u64 {
        debug_assert!(position < self.size, "{position} is not below {}", self.size);
        let mut place = position;
        loop {
            place = self.step(place);
            if place < self.size {
                return place;
            }
        }
    }

    /// One pass over the power of two: each round changes one half by a function of the other,
    /// which can be undone, so every round and hence the whole is a bijection.
    #[inline]
    fn step(&self, place: u64) -> u64 {
        let mut low = place & self.low_mask;
        let mut high = place >> self.low_bits;
        for pair in self.keys.chunks_exact(2) {
            high ^= mix(low ^ pair[0]) & self.high_mask;
            low ^= mix(high ^ pair[1]) & self.low_mask;
        }
        (high << self.low_bits) | low
    }
}

#[inline]
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 32)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    x ^ (x >> 32)
}
