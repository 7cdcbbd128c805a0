//! Chronolith with an ordered table.

use super::chronolith::{FAILED, fill, read};
use super::{Ordered, Peer, Value, fresh, touch_entry};
use chronolith::{OrderedTable, Store};
use std::sync::atomic::AtomicU64;

/// The store and its one table, whose keys are spread over so many ordered indexes.
pub struct OrderedChronolith<const PARTS: usize = 1> {
    store: Store,
    table: OrderedTable<u64, Value>,
    added: AtomicU64,
}

impl<const PARTS: usize> Peer for OrderedChronolith<PARTS> {
    const NAME: &'static str = "Chronolith, ordered table";

    fn load(keys: &[u64]) -> Self {
        let builder = Store::builder().shards(Store::new().shard_count().max(PARTS));
        let store = builder.ordered_parts(PARTS).build().expect("as many shards as parts");
        let table = store.ordered_table("peers").expect("the first table");
        fill(&store, &table, keys);
        OrderedChronolith { store, table, added: AtomicU64::new(0) }
    }

    fn read(&self, key: u64) -> u64 {
        read(&self.store, &self.table, key)
    }
}

impl<const PARTS: usize> Ordered for OrderedChronolith<PARTS> {
    fn scan(&self, from: u64, len: usize) -> u64 {
        let sum = self.store.view(|tx| {
            let mut entries = tx.range(&self.table, from..)?.limit(len);
            entries.try_fold(0, |sum, entry| {
                let (&key, value) = entry?;
                Ok(sum + touch_entry(key, value))
            })
        });
        sum.expect(FAILED)
    }

    fn put(&self, key: u64) {
        self.store.transact(|tx| tx.put(&self.table, key, fresh(key))).expect(FAILED);
    }

    fn added(&self) -> &AtomicU64 {
        &self.added
    }
}
