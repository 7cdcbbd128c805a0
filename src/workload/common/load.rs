//! The parallel loader's loop.

use crate::protocol::Protocol;
use crate::workload::LoadWatch;
use crate::{Store, Table, TransactionError};
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use std::ops::Range;

/// Hands the numbers below `count` to `body`, `batch` at a time, on all threads of the current
/// rayon pool, until all are done or `watch` has seen enough. `state` makes what a thread keeps
/// from one batch to the next; `body` gives the number of records that it has loaded.
pub fn for_each_batch<S>(
    (count, batch): (u64, u64),
    watch: &dyn LoadWatch,
    state: impl Fn() -> S + Sync,
    body: impl Fn(&mut S, Range<u64>) -> Result<u64, TransactionError> + Sync,
) -> Result<(), TransactionError> {
    let body = &body;
    let thread = || -> LoadBatch<'_> {
        let mut state = state();
        Box::new(move |numbers| body(&mut state, numbers))
    };
    run_batches((count, batch), watch, &thread)
}

/// Loads one batch and gives the number of records.
type LoadBatch<'a> = Box<dyn FnMut(Range<u64>) -> Result<u64, TransactionError> + 'a>;

/// The pool's side of the loop, compiled once for all workloads and protocols.
fn run_batches<'a>(
    (count, batch): (u64, u64),
    watch: &dyn LoadWatch,
    thread: &(dyn Fn() -> LoadBatch<'a> + Sync),
) -> Result<(), TransactionError> {
    let batches = (0..count.div_ceil(batch)).into_par_iter();
    let outcome = batches.try_for_each_init(thread, |load, number| {
        let numbers = number * batch..count.min((number + 1) * batch);
        let loaded = load(numbers).map_err(Some)?;
        // An early end that is no error: someone asked to stop.
        if watch.loaded(loaded) { Ok(()) } else { Err(None) }
    });
    match outcome {
        Ok(()) | Err(None) => Ok(()),
        Err(Some(error)) => Err(error),
    }
}

/// Rows that one transaction of [`load_rows`] inserts.
const ROWS_BATCH: u64 = 64;

/// Inserts `count` rows; `row` makes each of its number.
pub fn load_rows<P: Protocol, V: Send + Sync + 'static>(
    store: &Store<P>,
    table: &Table<u64, V, P>,
    count: u64,
    watch: &dyn LoadWatch,
    row: impl Fn(u64) -> (u64, V) + Sync,
) -> Result<(), TransactionError> {
    for_each_batch(
        (count, ROWS_BATCH),
        watch,
        || (),
        |(), batch| {
            store.transact(|transaction| {
                for number in batch.clone() {
                    let (key, value) = row(number);
                    transaction.insert(table, key, value)?;
                }
                Ok(batch.end - batch.start)
            })
        },
    )
}
