//! Chronolith: strictly serializable transactions; read-only ones are views.

use super::{Peer, Transactional, Value, changed, fresh, touch};
use crate::requests::{Kind, Request};
use chronolith::{Store, Table, Transaction, TransactionError};

/// The store and its one table.
pub struct Chronolith {
    store: Store,
    table: Table<u64, Value>,
}

pub(super) const FAILED: &str = "a transaction is tried again until it commits";

/// Puts these keys into a table.
pub(super) fn fill(store: &Store, table: &Table<u64, Value>, keys: &[u64]) {
    for batch in keys.chunks(1_000) {
        let loaded =
            store.transact(|tx| batch.iter().try_for_each(|&key| tx.put(table, key, fresh(key))));
        loaded.expect(FAILED);
    }
}

/// Reads one key in a view.
pub(super) fn read(store: &Store, table: &Table<u64, Value>, key: u64) -> u64 {
    let sum = store.view(|tx| Ok(tx.get(table, &key)?.map_or(0, |value| touch(value))));
    sum.expect(FAILED)
}

impl Chronolith {
    fn run(&self, tx: &Transaction<'_>, requests: &[Request]) -> Result<u64, TransactionError> {
        let mut sum = 0;
        for request in requests {
            let key = request.key();
            match request.kind() {
                Kind::Read => sum += tx.get(&self.table, &key)?.map_or(0, |value| touch(value)),
                Kind::Update => tx.put(&self.table, key, fresh(key))?,
                Kind::Modify => {
                    tx.update(&self.table, &key, |value| changed(value))?;
                }
            }
        }
        Ok(sum)
    }

    /// As `transact` of reads alone, by `get_many`.
    pub fn read_many(&self, requests: &[Request]) -> u64 {
        let values = self.store.view(|tx| {
            let keys: [u64; 10] = std::array::from_fn(|place| requests[place].key());
            let keys: [&u64; 10] = std::array::from_fn(|place| &keys[place]);
            let mut found = [None; 10];
            tx.get_many(&self.table, &keys, &mut found)?;
            Ok(found.iter().flatten().map(|value| touch(*value)).sum())
        });
        values.expect(FAILED)
    }
}

impl Peer for Chronolith {
    const NAME: &'static str = "Chronolith";

    fn load(keys: &[u64]) -> Self {
        let store = Store::new();
        let table = store.table("peers").expect("the first table");
        fill(&store, &table, keys);
        Chronolith { store, table }
    }

    fn read(&self, key: u64) -> u64 {
        read(&self.store, &self.table, key)
    }
}

impl Transactional for Chronolith {
    fn modify(&self, key: u64) -> u64 {
        let found = self.store.transact(|tx| tx.update(&self.table, &key, |value| changed(value)));
        u64::from(found.expect(FAILED))
    }

    fn transact(&self, requests: &[Request], attempts: &mut u64) -> u64 {
        let reads_only = requests.iter().all(|request| request.kind() == Kind::Read);
        let sum = if reads_only {
            *attempts += 1;
            self.store.view(|tx| self.run(tx, requests))
        } else {
            self.store.transact(|tx| {
                *attempts += 1;
                self.run(tx, requests)
            })
        };
        sum.expect(FAILED)
    }
}
