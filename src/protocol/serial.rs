//! `serial`: one transaction at a time, behind one mutex. The oracle that tests hold others to, and
//! the proof that the seam between protocols and storage is real.
//!
//! # Departures
//!
//! There is no paper to depart from. A transaction waits for its turn no longer than
//! `LOCK_WAIT_MAX_MS`, because the one before it may have stopped.

use super::context::{Context, Core, Worker};
use super::{
    Conflict, Isolation, Progress, Protocol, Ranges, Reads, Step, install, single_version,
};
use crate::error::AbortReason;
use crate::limits::LOCK_WAIT_MAX_MS;
use crate::storage::NoWords;
use crate::storage::hash_index::Witness;
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::Version;
use crate::sync::fault::{self, Fault};
use std::ops::Range;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// One transaction at a time. There is no paper: it is the oracle.
#[derive(Debug)]
pub struct Serial;

/// A lock that a transaction holds from its begin to its end, and may release on another path than
/// the one that took it; a `MutexGuard` could not live in a transaction.
#[derive(Debug, Default)]
pub struct Turnstile {
    taken: Mutex<bool>,
    released: Condvar,
}

impl Turnstile {
    fn enter(&self) -> bool {
        let limit = Duration::from_millis(LOCK_WAIT_MAX_MS);
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut taken, waited) = self
            .released
            .wait_timeout_while(taken, limit, |taken| *taken && !fault::on(Fault::GrantUnchecked))
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return false;
        }
        *taken = true;
        true
    }

    fn leave(&self) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.released.notify_one();
    }
}

type Cx<'a> = Context<'a, Serial>;

#[allow(private_interfaces, reason = "see `Protocol`")]
impl Protocol for Serial {
    const NAME: &'static str = "serial";
    const SUMMARY: &'static str = "one transaction at a time behind one mutex (the oracle)";
    const ISOLATION: Isolation = Isolation::Serializable;
    const STRICT: bool = true;
    const PROGRESS: Progress = Progress::Blocking;
    const READS: Reads = Reads::Snapshot;
    const VALIDATES_READ_ONLY: bool = false;
    const RANGES: Ranges = Ranges::Unchecked;
    #[cfg(all(test, not(loom)))]
    const FAULTS: &'static [Fault] = &[Fault::GrantUnchecked];

    type Words = NoWords;
    type Shared = Turnstile;
    type Local = ();

    fn begin(core: &Core<Self>, _worker: &mut Worker<Self>) -> Step<Self, ()> {
        if core.shared.enter() { Ok(()) } else { Err(Conflict::new(AbortReason::LockTimeout)) }
    }

    fn read(
        _cx: &mut Cx<'_>,
        record: &Record<NoWords>,
        _shard: u32,
    ) -> Step<Self, *mut Version<NoWords>> {
        // The newest version stays the newest, and so stays, until this transaction ends.
        Ok(single_version::newest(record).0)
    }

    fn read_base(
        _cx: &mut Cx<'_>,
        record: &Record<NoWords>,
        _shard: u32,
    ) -> Step<Self, *mut Version<NoWords>> {
        Ok(single_version::newest(record).0)
    }

    fn read_absent(
        _cx: &mut Cx<'_>,
        _table: &TableCore<NoWords>,
        _witness: Witness<NoWords>,
        _hash: u64,
        _shard: u32,
    ) -> Step<Self, ()> {
        Ok(())
    }

    fn prepare(cx: &mut Cx<'_>, writes: Range<usize>) -> Step<Self, ()> {
        for index in writes {
            single_version::install(cx, index)?;
        }
        Ok(())
    }

    fn draw(cx: &mut Cx<'_>) -> Step<Self, ()> {
        single_version::draw(cx);
        Ok(())
    }

    fn validate(_cx: &mut Cx<'_>, _reads: Range<usize>, _absents: Range<usize>) -> Step<Self, ()> {
        Ok(())
    }

    fn finish(cx: &mut Cx<'_>) {
        install::stamp(cx);
    }

    fn abort(cx: &mut Cx<'_>) {
        single_version::take_back(cx);
    }

    fn end(core: &Core<Self>, _worker: &mut Worker<Self>) {
        core.shared.leave();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::{Error, RetryPolicy, Store, TransactionError};

    #[test]
    fn a_view_that_cannot_begin_says_why_and_has_ended() {
        let policy = RetryPolicy { retries_max: 1, ..RetryPolicy::default() };
        let store: Store<Serial> = Store::builder().retry(policy).build_with().unwrap();
        let table = store.table::<u64, u64>("t").unwrap();
        store.transact(|tx| tx.put(&table, 1, 1)).unwrap();
        let alone = store.begin().unwrap();
        let mut runs = 0;
        let error = store.view(|view| {
            runs += 1;
            let first = view.get(&table, &1).map(|_| ());
            // Whoever swallows the error does not get farther by that.
            assert_eq!(view.get(&table, &1).unwrap_err(), TransactionError::Error(Error::Ended));
            let _ = view.rollback();
            first.or(Ok(()))
        });
        let reason = error.unwrap_err().abort().map(|abort| abort.reason());
        assert_eq!((reason, runs), (Some(AbortReason::LockTimeout), 1));
        alone.commit().unwrap();
        assert_eq!(store.view(|view| Ok(view.get(&table, &1)?.copied())).unwrap(), Some(1));
    }
}
