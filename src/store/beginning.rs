//! How a transaction begins: it takes a worker, and draws its snapshot.

use super::Store;
use super::retry::right_of_way;
use super::transaction::{State, Transaction};
use crate::error::TransactionError;
use crate::limits::STARVING_AFTER_RETRIES;
use crate::protocol::Protocol;
use crate::protocol::context::WorkerCell;
use crate::sync::fault::{self, Fault};
use crate::sync::step::{self, Step as Point};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// How old a snapshot is that a test asked to be stale: in time, or in commits where timestamps
/// are no time.
const STALE_NS: u64 = 1_000_000;
const STALE_COMMITS: u64 = 4;

/// What is known of a transaction when it begins.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Opening {
    pub(super) writes: bool,
    /// Whether its first operation walks over a range.
    pub(super) walks: bool,
    /// How many attempts at it have failed.
    pub(super) retries: u32,
    /// The snapshot of the first attempt, if this is another one.
    pub(super) age: Option<u64>,
}

impl<P: Protocol> Store<P> {
    /// Begins a transaction that the caller commits, retries, and backs off for itself.
    ///
    /// # Errors
    ///
    /// [`crate::Error::OpenTransactions`] at the limit; a lock timeout with a blocking protocol.
    pub fn begin(&self) -> Result<Transaction<'_, P>, TransactionError> {
        Transaction::begin(self, Opening { writes: true, ..Opening::default() })
    }

    /// Begins a read-only snapshot. It may stay open: it keeps the versions that it sees, and
    /// nothing else, from being reclaimed.
    ///
    /// # Errors
    ///
    /// As for [`Store::begin`].
    pub fn begin_view(&self) -> Result<Transaction<'_, P>, TransactionError> {
        Transaction::begin(self, Opening::default())
    }
}

/// Takes a worker and opens a transaction on it.
#[inline]
fn open<P: Protocol>(
    store: &Store<P>,
    Opening { writes, walks, retries, age }: Opening,
) -> Result<&WorkerCell<P>, TransactionError> {
    let core = &store.core;
    // What is validated at commit has to be alive until then, and so has where a walk goes on.
    let holds_records = writes || walks || P::VALIDATES_READ_ONLY;
    let (cell, last) = core.take_worker(holds_records)?;
    step::at(Point::BeginPublished);
    // SAFETY: the slot is ours until `end`, and the worker with it.
    let worker = unsafe { &mut *cell.worker.get() };
    worker.snapshot = P::snapshot(core, core.snapshot_after(last));
    if !writes && fault::on(Fault::StaleSnapshot) {
        // Not below what the slot was opened from, so that what it reads is there.
        let stale = core.clock.ticks(STALE_NS).unwrap_or(STALE_COMMITS);
        worker.snapshot = worker.snapshot.saturating_sub(stale).max(last + 1);
    }
    cell.slot.publish(worker.snapshot, holds_records);
    step::at(Point::BeginDrawn);
    // Below the snapshot, which a clock that stands still may give again.
    core.remember(cell, worker.snapshot - 1);
    worker.writes = writes;
    worker.retries = retries;
    worker.age = age.unwrap_or(worker.snapshot);
    worker.held = 0;
    worker.commit_floor = 0;
    worker.access.walks = 0;
    if retries >= STARVING_AFTER_RETRIES {
        right_of_way::ask(core, worker.id, retries);
    }
    if P::TAKES_LOCKS {
        right_of_way::yield_to(core, worker.id);
    }
    if let Err(conflict) = P::begin(core, worker) {
        let abort = core.describe(conflict);
        cell.tallies.aborts[abort.reason().index()].add(1);
        cell.slot.release();
        return Err(abort.into());
    }
    Ok(cell)
}

impl<'s, P: Protocol> Transaction<'s, P> {
    /// A view that its first operation begins.
    ///
    /// A begin is fences: nothing after them starts before everything ahead of them is done. An
    /// operation that knows its key asks for the key's bucket first, so that this miss overlaps
    /// with the fences and with whatever the thread still waits for from before.
    #[inline]
    pub(super) fn view(store: &'s Store<P>) -> Self {
        Transaction::new(store, NonNull::dangling(), State::Unbegun)
    }

    #[inline]
    pub(super) fn begin(store: &'s Store<P>, opening: Opening) -> Result<Self, TransactionError> {
        let cell = open(store, opening)?;
        Ok(Transaction::new(store, NonNull::from(cell), State::Open))
    }

    #[inline(always)]
    fn new(store: &'s Store<P>, cell: NonNull<WorkerCell<P>>, state: State) -> Self {
        Transaction {
            store,
            cell: Cell::new(cell),
            state: Cell::new(state),
            conflict: Cell::new(None),
            failure: Cell::new(None),
            not_sync: PhantomData,
        }
    }

    /// Begins a view that has not begun yet, with a walk or not. If it cannot begin it has ended.
    #[inline]
    pub(super) fn begin_now(&self, walks: bool) -> Result<(), TransactionError> {
        match open(self.store, Opening { walks, ..Opening::default() }) {
            Ok(cell) => {
                self.cell.set(NonNull::from(cell));
                self.state.set(State::Open);
                Ok(())
            }
            Err(error) => {
                self.conflict.set(error.abort().cloned());
                self.state.set(State::Ended);
                Err(error)
            }
        }
    }
}
