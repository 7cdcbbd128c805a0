//! The parallel loader's loop.

use crate::TransactionError;
use crate::workload::LoadWatch;
use rayon::iter::{IntoParallelIterator, ParallelIterator};
use std::ops::Range;

/// Hands the numbers below `count` to `body`, `batch` at a time, on all threads of the current
/// rayon pool, until all are done or `watch` has seen enough. `state` makes what a thread keeps
/// from one batch to the next; `body` gives the number of records that it has loaded.
pub fn for_each_batch<S: Send>(
    (count, batch): (u64, u64),
    watch: &dyn LoadWatch,
    state: impl Fn() -> S + Send + Sync,
    body: impl Fn(&mut S, Range<u64>) -> Result<u64, TransactionError> + Send + Sync,
) -> Result<(), TransactionError> {
    let batches = (0..count.div_ceil(batch)).into_par_iter();
    let outcome = batches.try_for_each_init(state, |state, number| {
        let numbers = number * batch..count.min((number + 1) * batch);
        let loaded = body(state, numbers).map_err(Some)?;
        // An early end that is no error: someone asked to stop.
        if watch.loaded(loaded) { Ok(()) } else { Err(None) }
    });
    match outcome {
        Ok(()) | Err(None) => Ok(()),
        Err(Some(error)) => Err(error),
    }
}
