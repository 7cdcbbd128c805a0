//! Finding a worker for a transaction: the one this thread used last, if it is free.

use crate::error::Error;
use crate::limits::OPEN_TRANSACTIONS_MAX;
use crate::protocol::Protocol;
use crate::protocol::context::{Core, WorkerCell};
use std::cell::Cell;

/// Stores that a thread remembers its worker of.
const HINTS: usize = 4;

/// Which worker this thread used last in a store, and the greatest timestamp that it has had there:
/// its next snapshot is greater.
#[derive(Clone, Copy)]
struct Hint {
    store: u64,
    worker: usize,
    timestamp: u64,
}

thread_local! {
    static LAST: [Cell<Hint>; HINTS] =
        const { [const { Cell::new(Hint { store: 0, worker: 0, timestamp: 1 }) }; HINTS] };
}

impl<P: Protocol> Core<P> {
    /// Takes a free worker, whose slot is then open, and says which timestamp this thread had last.
    #[inline]
    pub(super) fn take_worker(&self, writes: bool) -> Result<(&WorkerCell<P>, u64), Error> {
        // A thread that is going away has no memory of its own any more; it takes the slow path.
        let hint = LAST.try_with(|last| last[self.id as usize % HINTS].get()).ok();
        let hint = hint.filter(|hint| hint.store == self.id);
        if let Some(hint) = hint {
            // SAFETY: the hint's number was this worker's address in this store, which still lives.
            let cell = unsafe { &*(hint.worker as *const WorkerCell<P>) };
            if cell.slot.take(hint.timestamp, writes) {
                return Ok((cell, hint.timestamp));
            }
        }
        let last = hint.map_or(1, |hint| hint.timestamp);
        Ok((self.find_worker(writes)?, last))
    }

    #[cold]
    fn find_worker(&self, writes: bool) -> Result<&WorkerCell<P>, Error> {
        let free = self.workers.cells().find(|cell| cell.slot.take(1, writes));
        free.or_else(|| self.add_worker(writes))
            .ok_or(Error::OpenTransactions { max: OPEN_TRANSACTIONS_MAX })
    }

    /// A snapshot above `last`. The clock gives one at once, except to a thread that begins within
    /// nanoseconds of its last commit.
    #[inline]
    pub(super) fn snapshot_after(&self, last: u64) -> u64 {
        loop {
            let snapshot = self.clock.snapshot();
            if snapshot > last {
                return snapshot;
            }
        }
    }

    /// Remembers this thread's worker, and a timestamp that it has had.
    #[inline]
    pub(super) fn remember(&self, cell: &WorkerCell<P>, timestamp: u64) {
        let worker = std::ptr::from_ref(cell) as usize;
        let _ = LAST.try_with(|last| {
            last[self.id as usize % HINTS].set(Hint { store: self.id, worker, timestamp });
        });
    }
}
