//! Reads many records in one transaction.

use crate::protocol::Protocol;
use crate::{Table, Transaction, TransactionError};

/// Keys of one call to `get_many`.
const BATCH: usize = 16;

/// Reads the values of all `keys` and shows each to `visit`, in batches whose cache misses overlap.
pub fn read_all<'a, P: Protocol, V: Send + Sync + 'static>(
    transaction: &'a Transaction<'_, P>,
    table: &Table<u64, V, P>,
    keys: impl IntoIterator<Item = u64>,
    mut visit: impl FnMut(u64, Option<&'a V>),
) -> Result<(), TransactionError> {
    let mut keys = keys.into_iter();
    let mut numbers = [0; BATCH];
    loop {
        let mut filled = 0;
        for (place, key) in numbers.iter_mut().zip(&mut keys) {
            *place = key;
            filled += 1;
        }
        if filled == 0 {
            return Ok(());
        }
        let batch: [&u64; BATCH] = std::array::from_fn(|index| &numbers[index]);
        let mut found: [Option<&V>; BATCH] = [None; BATCH];
        transaction.get_many(table, &batch[..filled], &mut found[..filled])?;
        numbers[..filled].iter().zip(found).for_each(|(key, value)| visit(*key, value));
    }
}
