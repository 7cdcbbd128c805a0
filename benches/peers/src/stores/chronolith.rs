//! Chronolith: strictly serializable transactions; read-only ones are views.

use super::{Peer, Value, changed, fresh, touch};
use crate::requests::{Kind, Request};
use chronolith::{Store, Table, Transaction, TransactionError};

/// The store and its one table.
pub struct Chronolith {
    store: Store,
    table: Table<u64, Value>,
}

const FAILED: &str = "a transaction is tried again until it commits";

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

    fn load(records: u64) -> Self {
        const BATCH: usize = 1_000;
        let store = Store::new();
        let table = store.table("peers").expect("the first table");
        for first in (0..records).step_by(BATCH) {
            let batch = first..records.min(first + BATCH as u64);
            let loaded = store
                .transact(|tx| batch.clone().try_for_each(|key| tx.put(&table, key, fresh(key))));
            loaded.expect(FAILED);
        }
        Chronolith { store, table }
    }

    fn read(&self, key: u64) -> u64 {
        let sum =
            self.store.view(|tx| Ok(tx.get(&self.table, &key)?.map_or(0, |value| touch(value))));
        sum.expect(FAILED)
    }

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
