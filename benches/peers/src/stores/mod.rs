//! One adapter for each store, all behind one small trait.

mod chronolith;
mod fast_stm;
mod papaya;
mod surrealmx;

pub use chronolith::Chronolith;
pub use fast_stm::FastStm;
pub use papaya::Papaya;
pub use surrealmx::SurrealMx;

use crate::requests::Request;

/// Values have 100 bytes, as YCSB's fields do.
pub type Value = [u8; 100];

/// A store under test. Every method returns a sum over the values that it read (see [`touch`]), so
/// that no read can be left out, and reads none of them more thoroughly than another store does.
pub trait Peer: Send + Sync + Sized + 'static {
    /// Its name in the table.
    const NAME: &'static str;

    /// A store that holds the keys `0..records`.
    fn load(records: u64) -> Self;

    /// Reads one key: the cheapest way to get a value that is committed.
    fn read(&self, key: u64) -> u64;

    /// Changes one key's value: the cheapest way that the store offers.
    fn modify(&self, key: u64) -> u64;

    /// Runs these operations as one transaction until it commits; counts every attempt.
    fn transact(&self, requests: &[Request], attempts: &mut u64) -> u64;
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

/// What a read-modify-write makes of a value.
pub fn changed(value: &[u8]) -> Value {
    let mut value: Value = value.try_into().expect("every value has 100 bytes");
    value[0] = value[0].wrapping_add(1);
    value
}
