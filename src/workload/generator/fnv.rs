//! The hash by which YCSB scatters key numbers.

const OFFSET_BASIS: u64 = 0xCBF2_9CE4_8422_2325;
const PRIME: u64 = 1_099_511_628_211;
const PRIME_POWER_4: u64 = PRIME.wrapping_pow(4);

/// YCSB's `fnvhash64`: FNV-1a over the eight octets, the least significant first, then Java's
/// `Math.abs`.
///
/// One departure: Java's `abs` of the smallest number is that negative number; here it is 2^63.
#[inline]
#[must_use]
pub fn fnv_hash_64(number: u64) -> u64 {
    let mut hash = low_octets(number, OFFSET_BASIS);
    hash = match number >> 32 {
        // Four octets of zero only multiply: record numbers rarely have more, and this is drawn
        // with every request.
        0 => hash.wrapping_mul(PRIME_POWER_4),
        high => low_octets(high, hash),
    };
    hash.cast_signed().unsigned_abs()
}

/// Goes on with the four low octets of `number`.
#[inline]
fn low_octets(number: u64, hash: u64) -> u64 {
    let octet = |hash: u64, shift: u32| (hash ^ (number >> shift & 0xFF)).wrapping_mul(PRIME);
    octet(octet(octet(octet(hash, 0), 8), 16), 24)
}

/// FNV-1a over bytes: the fingerprint of a configuration. Stable across builds and platforms.
#[must_use]
pub fn fnv_fingerprint(bytes: &[u8]) -> u64 {
    let mut fingerprint = Fingerprint::new();
    fingerprint.add(bytes);
    fingerprint.value()
}

/// The same, piece by piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint(u64);

impl Fingerprint {
    /// The fingerprint of nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Goes on with `bytes`.
    pub fn add(&mut self, bytes: &[u8]) {
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        self.0 = bytes.iter().fold(self.0, step);
    }

    /// Goes on with the eight bytes of a number.
    pub fn add_number(&mut self, number: u64) {
        self.add(&number.to_le_bytes());
    }

    /// The fingerprint so far.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}

impl Default for Fingerprint {
    fn default() -> Self {
        Fingerprint(OFFSET_BASIS)
    }
}
