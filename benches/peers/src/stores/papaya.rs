//! papaya: a concurrent hash map *without* transactions, the upper bound: what a store could reach
//! that gave no guarantee beyond the single operation.

use super::{Peer, Transactional, Value, changed, fresh, touch};
use crate::requests::{Kind, Request};
use papaya::HashMap;

/// The map, with the same hash function as the others.
pub struct Papaya(HashMap<u64, Value, ahash::RandomState>);

impl Peer for Papaya {
    const NAME: &'static str = "papaya (no transactions)";

    fn load(keys: &[u64]) -> Self {
        let map = HashMap::builder().capacity(keys.len()).hasher(ahash::RandomState::new()).build();
        for &key in keys {
            map.pin().insert(key, fresh(key));
        }
        Papaya(map)
    }

    fn read(&self, key: u64) -> u64 {
        self.0.pin().get(&key).map_or(0, |value| touch(value))
    }
}

impl Transactional for Papaya {
    /// An insert over the present value: it does not read it, which favours papaya.
    fn modify(&self, key: u64) -> u64 {
        u64::from(self.0.pin().insert(key, fresh(key)).is_some())
    }

    /// One operation after the other, under one pin.
    fn transact(&self, requests: &[Request], attempts: &mut u64) -> u64 {
        *attempts += 1;
        let map = self.0.pin();
        let mut sum = 0;
        for request in requests {
            let key = request.key();
            match request.kind() {
                Kind::Read => sum += map.get(&key).map_or(0, |value| touch(value)),
                Kind::Update => {
                    map.insert(key, fresh(key));
                }
                Kind::Modify => {
                    map.update(key, |value| changed(value));
                }
            }
        }
        sum
    }
}
