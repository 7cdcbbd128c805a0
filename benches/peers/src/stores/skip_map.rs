//! crossbeam-skiplist: a concurrent ordered map *without* transactions. A scan sees each entry as
//! it is when the scan comes to it, not all of them at one moment.

use super::{Ordered, Peer, Value, fresh, touch, touch_entry};
use crossbeam_skiplist::SkipMap;
use std::sync::atomic::AtomicU64;

/// The map. A key and its value lie in the node itself.
pub struct SkipList {
    map: SkipMap<u64, Value>,
    added: AtomicU64,
}

impl Peer for SkipList {
    const NAME: &'static str = "SkipMap (no transactions)";

    fn load(keys: &[u64]) -> Self {
        let map = keys.iter().map(|&key| (key, fresh(key))).collect();
        SkipList { map, added: AtomicU64::new(0) }
    }

    fn read(&self, key: u64) -> u64 {
        self.map.get(&key).map_or(0, |entry| touch(entry.value()))
    }
}

impl Ordered for SkipList {
    fn scan(&self, from: u64, len: usize) -> u64 {
        let entries = self.map.range(from..).take(len);
        entries.map(|entry| touch_entry(*entry.key(), entry.value())).sum()
    }

    fn put(&self, key: u64) {
        self.map.insert(key, fresh(key));
    }

    fn added(&self) -> &AtomicU64 {
        &self.added
    }
}
