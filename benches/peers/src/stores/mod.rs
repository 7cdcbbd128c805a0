//! One adapter for each store, all behind one small trait.

mod chronolith;
mod fast_stm;
mod ordered_chronolith;
mod papaya;
mod skip_map;
mod surrealmx;

pub use chronolith::Chronolith;
pub use fast_stm::FastStm;
pub use ordered_chronolith::OrderedChronolith;
pub use papaya::Papaya;
pub use skip_map::SkipList;
pub use surrealmx::SurrealMx;

use crate::requests::Request;
use std::sync::atomic::{AtomicU64, Ordering};

/// Values have 100 bytes, as YCSB's fields do.
pub type Value = [u8; 100];

/// A store under test. Every method returns a sum over the values that it read (see [`touch`]), so
/// that no read can be left out, and reads none of them more thoroughly than another store does.
pub trait Peer: Send + Sync + Sized + 'static {
    /// Its name in the table.
    const NAME: &'static str;

    /// A store that holds these keys, put there in this order.
    fn load(keys: &[u64]) -> Self;

    /// Reads one key: the cheapest way to get a value that is committed.
    fn read(&self, key: u64) -> u64;
}

/// A store with transactions over several keys, or what comes closest to it.
pub trait Transactional: Peer {
    /// Changes one key's value: the cheapest way that the store offers.
    fn modify(&self, key: u64) -> u64;

    /// Runs these operations as one transaction until it commits; counts every attempt.
    fn transact(&self, requests: &[Request], attempts: &mut u64) -> u64;
}

/// A store that keeps its keys in order.
pub trait Ordered: Peer {
    /// Reads the keys and values of up to `len` records from `from` on: the cheapest way to get
    /// those of one moment, where the store knows such a thing.
    fn scan(&self, from: u64, len: usize) -> u64;

    /// Puts a record there: the cheapest way.
    fn put(&self, key: u64);

    /// How many keys were added to those that were loaded.
    fn added(&self) -> &AtomicU64;

    /// Adds a key that is between the loaded key of this number and the next one. The n-th call
    /// adds the same key to each store, given the same number.
    fn insert(&self, number: u64) {
        // Relaxed: the count alone makes the key a new one.
        let added = self.added().fetch_add(1, Ordering::Relaxed);
        self.put(ordered_key(number) + 1 + added);
    }
}

/// The key of this number in an ordered store: four billion more fit in front of the next one.
pub fn ordered_key(number: u64) -> u64 {
    number << 32
}

/// The value that a key is loaded with, or that an update puts there.
pub fn fresh(key: u64) -> Value {
    let mut value = [key as u8; 100];
    value[..8].copy_from_slice(&key.to_le_bytes());
    value
}

/// Looks at both cache lines of a value.
pub fn touch(value: &[u8]) -> u64 {
    u64::from(value[0]) + u64::from(value[50]) + u64::from(value[99])
}

/// Looks at a record that a scan came to.
pub fn touch_entry(key: u64, value: &[u8]) -> u64 {
    (key >> 32) + touch(value)
}

/// What a read-modify-write makes of a value.
pub fn changed(value: &[u8]) -> Value {
    let mut value: Value = value.try_into().expect("every value has 100 bytes");
    value[0] = value[0].wrapping_add(1);
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sum of a scan, and of the same scan after two inserts behind its first record.
    fn sums<P: Ordered>() -> [u64; 4] {
        let keys: Vec<u64> = (0..1_000).rev().map(ordered_key).collect();
        let peer = P::load(&keys);
        let before = peer.scan(ordered_key(100), 10);
        peer.insert(100);
        peer.insert(100);
        let last = peer.scan(ordered_key(995), 100);
        [before, peer.scan(ordered_key(100), 10), last, peer.read(ordered_key(7))]
    }

    #[test]
    fn every_ordered_store_reads_the_same() {
        let entry = |key| touch_entry(key, &fresh(key));
        let loaded = |range: std::ops::Range<u64>| range.map(|n| entry(ordered_key(n))).sum();
        let added = entry(ordered_key(100) + 1) + entry(ordered_key(100) + 2);
        let expected = [
            loaded(100..110),
            loaded(100..108) + added,
            loaded(995..1_000),
            touch(&fresh(ordered_key(7))),
        ];
        assert_eq!(sums::<OrderedChronolith>(), expected);
        assert_eq!(sums::<SurrealMx>(), expected);
        assert_eq!(sums::<SkipList>(), expected);
    }
}
