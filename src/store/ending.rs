//! How a transaction ends: it commits, fails, or is dropped.

use super::Transaction;
use super::backoff::next_wait;
use super::operation::dispose;
use super::retry::right_of_way;
use super::transaction::State;
use crate::commit::{self, Participants};
use crate::error::{Abort, AbortReason, Error, TransactionError};
use crate::limits::STARVING_AFTER_RETRIES;
use crate::protocol::{Protocol, Reads};

/// Gives the worker back, also when a value's `Drop` panics.
struct Ending<'t, 's, P: Protocol>(&'t Transaction<'s, P>);

impl<P: Protocol> Drop for Ending<'_, '_, P> {
    #[inline]
    fn drop(&mut self) {
        let transaction = self.0;
        transaction.state.set(State::Ended);
        transaction.step_unpinned(|worker| {
            worker.access.clear();
            // Empty, unless a value's `Drop` has panicked in the janitor.
            worker.crowded.clear();
            P::end(&transaction.store.core, worker);
        });
        transaction.cell().slot.release();
    }
}

impl<P: Protocol> Transaction<'_, P> {
    /// The conflict that the transaction has met, if any.
    pub(super) fn take_conflict(&self) -> Option<Abort> {
        self.conflict.take()
    }

    /// Whether an operation has met a conflict, or the transaction was rolled back or could not
    /// begin.
    #[inline]
    pub(super) fn has_failed(&self) -> bool {
        !matches!(self.state.get(), State::Open | State::Unbegun)
    }

    /// Whether it has a worker: it has begun, and has not ended.
    pub(super) fn has_worker(&self) -> bool {
        !matches!(self.state.get(), State::Unbegun | State::Ended)
    }

    /// Commits, or cleans up and says why not. Nothing else may be called after it, and after a
    /// success there is nothing left to drop.
    #[inline]
    pub(super) fn finish(&mut self) -> Result<(), TransactionError> {
        match self.state.get() {
            State::Open => {}
            State::Unbegun => self.begin_now(false)?,
            _ => return Err(Error::Ended.into()),
        }
        // SAFETY: the slot is ours; the reference does not outlive the statement.
        if !unsafe { &*self.cell().worker.get() }.access.writes.is_empty() {
            return self.finish_writes();
        }
        if P::VALIDATES_READ_ONLY {
            self.validate_read_only()?;
        }
        self.cell().tallies.commits_read_only.add(1);
        self.cell().tallies.commits.add(1);
        drop(Ending(self));
        Ok(())
    }

    /// Apart, because a transaction that has only read would save registers for its sake.
    #[inline(never)]
    fn finish_writes(&mut self) -> Result<(), TransactionError> {
        let (core, cell) = (&self.store.core, self.cell());
        let (id, retries) = self.step_unpinned(|worker| (worker.id, worker.retries));
        if !P::TAKES_LOCKS {
            right_of_way::yield_to(core, id);
        }
        // From here on there is nothing left for `drop` to free.
        self.state.set(State::CleanedUp);
        let outcome = self.step(|cx, guard| {
            let outcome = commit::commit(cx);
            dispose(cx, outcome.is_ok());
            core.reclaim(cell, cx.worker, guard);
            // The record of a conflict is alive until the slot is released.
            outcome.map_err(|conflict| core.describe(conflict))
        });
        if retries >= STARVING_AFTER_RETRIES {
            right_of_way::give_back(core, id);
        }
        match outcome {
            Ok(participants) => {
                self.step_unpinned(|worker| {
                    worker.backoff_ns /= 2;
                    // This thread's next snapshot is above this commit, however soon it begins.
                    core.remember(cell, worker.commit);
                });
                cell.tallies.commits.add(1);
                match participants {
                    Participants::One => cell.tallies.commits_one_shard.add(1),
                    Participants::Several => cell.tallies.commits_cross_shard.add(1),
                }
                drop(Ending(self));
                Ok(())
            }
            Err(abort) => {
                cell.tallies.aborts[abort.reason().index()].add(1);
                // The worker is still ours until the drop: its back-off is next.
                Err(abort.into())
            }
        }
    }

    /// The commit of a transaction that only reads, with a protocol for which that is not enough.
    fn validate_read_only(&mut self) -> Result<(), TransactionError> {
        self.state.set(State::CleanedUp);
        let core = &self.store.core;
        let outcome = self.step(|cx, guard| {
            let outcome = commit::commit(cx);
            if !cx.worker.garbage.is_empty() {
                core.reclaim(self.cell(), cx.worker, guard);
            }
            outcome.map_err(|conflict| core.describe(conflict))
        });
        if let Err(abort) = outcome {
            self.cell().tallies.aborts[abort.reason().index()].add(1);
            return Err(abort.into());
        }
        Ok(())
    }

    /// Whether the closure that gave up had reason to: with a protocol that reads the newest
    /// versions it may have seen values that were never there together, and then it is tried again.
    pub(super) fn saw_one_moment(&mut self) -> Result<(), Abort> {
        if P::READS == Reads::Snapshot || !self.has_worker() {
            return Ok(());
        }
        let core = &self.store.core;
        let rehearsed = self.step(|cx, _| {
            let outcome = commit::rehearse(cx);
            outcome.map_err(|conflict| core.describe(conflict))
        });
        if let Err(abort) = &rehearsed {
            self.failure.set(Some(abort.reason()));
        }
        rehearsed
    }

    /// The snapshot of the first attempt at this transaction.
    pub(super) fn age(&self) -> u64 {
        self.step_unpinned(|worker| worker.age)
    }

    /// How long to wait before the next attempt.
    pub(super) fn next_wait(&mut self) -> std::time::Duration {
        self.step_unpinned(|worker| next_wait(self.store, worker))
    }
}

impl<P: Protocol> Drop for Transaction<'_, P> {
    #[inline]
    fn drop(&mut self) {
        match self.state.get() {
            State::Unbegun | State::Ended => {}
            State::CleanedUp => drop(Ending(self)),
            State::Open | State::Busy | State::Failed => {
                let ending = Ending(self);
                let reason = self.failure.get().unwrap_or(AbortReason::User);
                self.cell().tallies.aborts[reason.index()].add(1);
                self.step(|cx, guard| {
                    if !cx.worker.superseded.is_empty() {
                        // Of this worker's transactions before. What this one has shown may still
                        // be found by others until it ends.
                        self.store.core.reclaim(self.cell(), cx.worker, guard);
                    }
                    dispose(cx, false);
                });
                drop(ending);
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::Store;
    use crate::protocol::{self, NAMES, Protocol};

    struct Views;

    impl protocol::Visitor for Views {
        type Output = ();

        fn visit<P: Protocol>(self) {
            let store: Store<P> = Store::builder().shards(1).build_with().expect("a store");
            let table = store.table::<u64, u64>("numbers").expect("a table");
            store.transact(|tx| tx.put(&table, 1, 1)).expect("nobody is in its way");
            for _ in 0..100 {
                store.view(|tx| tx.get(&table, &1).map(|_| ())).expect("nobody is in its way");
            }
            let cell = store.core.workers.get(0).expect("a worker");
            // SAFETY: no transaction is open, so nobody uses the worker.
            let access = unsafe { &(*cell.worker.get()).access };
            assert!(access.reads.is_empty() && access.reads.capacity() < 100, "{}", P::NAME);
        }
    }

    #[test]
    fn what_a_view_has_read_is_forgotten_at_its_end() {
        for name in NAMES {
            protocol::dispatch(name, Views).expect("a registered name");
        }
    }
}
