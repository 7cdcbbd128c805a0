//! Strict two-phase locking, but for what happens when two transactions want one lock: that is the
//! [`Policy`], and the only difference between `2pl-nowait`, `2pl-waitdie` and `2pl-woundwait`.
//!
//! Two-phase locking is due to Eswaran, Gray, Lorie, Traiger (CACM 1976). A transaction shares the
//! lock of a record when it reads it and has it to itself when it writes it, or reads it in order
//! to write it; a shared lock can be upgraded. Every lock is kept until the outcome is decided and
//! cleaned up.
//!
//! # Departures
//!
//! * There are no locks on gaps or keys without a record. An absence is proved by a witness (see
//!   `storage/hash_index.rs`), which is validated at commit while every lock is held. So a
//!   transaction that found a key absent can still abort at its commit, and one that only reads
//!   comes to a commit too. A range of an ordered table is validated in the same way, by the leaves
//!   that it went through; the records in it are locked.
//! * Locks lie in the records, not in a lock table, and there is no deadlock detection: the
//!   policies prevent deadlocks.
//! * A thread waits for a lock within an operation, so it keeps unlinked memory from being freed
//!   while it waits; and no longer than `LOCK_WAIT_MAX_MS`, because the owner may have stopped.
//! * New versions are installed at commit, under the locks, so an abort before that has nothing to
//!   undo.
//!
//! # Why the result is strictly serializable
//!
//! Let s(T) be the moment before the first validation of a transaction T that commits. T's locks
//! are all held then, and its own versions and records are all installed. The order of the s(T) is
//! a serial order that explains every committed transaction:
//!
//! 1. *A record that both use, one of them writing:* their locks exclude each other, each is held
//!    at its own s and until the outcome is visible. So whoever had the lock first comes first, and
//!    the other one finds what it left.
//! 2. *A key without a record.* T found key k absent, and U inserts k. If T found it absent because
//!    U's record was not there yet: T's validation loads the slot that proves the absence after
//!    s(T), and finds it still empty, so U publishes its record later, and s(U) is later still. If
//!    U's record had been there and was gone again, s(U) is before T's lookup. T's own records are
//!    passed by, because T inserted the key after it had found it absent. A range is the absence of
//!    all keys but those that were found in it.
//! 3. *Two that pass each other.* If T and U each insert what the other found absent, both publish
//!    before they validate, and publishing and validating stand in one order (SeqCst): at least one
//!    finds the other's record, and aborts.
//! 4. *A record without a value* (a tombstone, or what an aborted insert left) is locked like any
//!    other, but reclamation takes it out of use at any time, and then its key may get a new record
//!    that T's lock does not protect. So T validates that the record is still in use. If it is, at
//!    a load after s(T), the new record is published after that: as in 2.
//! 5. *Deletes* write a tombstone and are writes like any other. An install on a record that went
//!    out of use fails, and so does the transaction; its retry finds the new record or none. The
//!    tombstone is newer than anything until the commit is decided, so nobody buries it before.
//! 6. *Real time.* s(T) lies between T's begin and its return.
//!
//! A transaction that only reads goes through the same steps, and what is said of T holds for it. A
//! transaction that will abort sees a consistent state too, of what has a record.
//!
//! Memory: a version leaves its chain when its successor is stamped, under the lock, and stays in
//! memory until every transaction that was open then has ended. Inline versions are used again
//! after that only.

use super::access_set::{AbsentEntry, WriteKind};
use super::context::{Context, Core, Worker};
use super::lock_parts::{Locked, Mode};
use super::record_lock::{Lock, Nodes, Rule};
use super::{Conflict, Isolation, Progress, Protocol, Ranges, Reads, Step, single_version};
use crate::error::AbortReason;
use crate::limits::LOCK_WAIT_MAX_MS;
use crate::storage::Words;
use crate::storage::hash_index::Witness;
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::Version;
#[cfg(all(test, not(loom)))]
use crate::sync::fault::Fault;
use std::marker::PhantomData;
use std::ops::Range;
use std::time::Duration;

const LOCK_WAIT_MAX: Duration = Duration::from_millis(LOCK_WAIT_MAX_MS);

/// How deadlocks are prevented, and what that is called.
pub trait Policy: Rule {
    /// The protocol's name.
    const NAME: &'static str;
    /// What it is, in a line.
    const SUMMARY: &'static str;
}

/// Strict two-phase locking with a policy that prevents deadlocks.
#[derive(Debug)]
pub struct TwoPhaseLocking<R: Policy>(PhantomData<R>);

/// A lock in each record.
#[derive(Debug)]
pub struct LockWords;

impl Words for LockWords {
    type Record = Lock;
    type Version = ();
}

/// The locks of one open transaction.
#[derive(Debug, Default)]
pub struct Local {
    /// The node with a record's number stands in the list of that record's lock.
    nodes: Nodes,
    locked: Locked<LockWords>,
}

impl Local {
    /// Locks a record that nobody else can find yet.
    fn lock_private<R: Rule>(&mut self, record: &Record<LockWords>) -> Result<(), AbortReason> {
        let node = self.nodes.get(self.locked.len());
        record.word.acquire::<R>(node, Mode::Exclusive, LOCK_WAIT_MAX)?;
        self.locked.push(record);
        Ok(())
    }

    fn release_all(&mut self) {
        self.locked.release_all(|number, record| record.word.release(self.nodes.get(number)));
    }
}

type Cx<'a, R> = Context<'a, TwoPhaseLocking<R>>;

/// Gives up if somebody older has asked for it.
#[inline]
fn heed_wounds<R: Policy>(cx: &Cx<'_, R>) -> Step<TwoPhaseLocking<R>, ()> {
    if cx.worker.local.nodes.transaction().is_wounded() {
        return Err(Conflict::new(AbortReason::Wounded));
    }
    Ok(())
}

/// Gets the lock of a record, or the one that it has into this mode. True if it is a new one.
#[inline]
fn lock<R: Policy>(
    cx: &mut Cx<'_, R>,
    record: &Record<LockWords>,
    mode: Mode,
) -> Step<TwoPhaseLocking<R>, bool> {
    heed_wounds(cx)?;
    let refused = |reason| Conflict::at(reason, record);
    let local = &mut cx.worker.local;
    // A lock of our own is not free.
    let known = if record.word.is_free() { None } else { local.locked.find(record) };
    let node = local.nodes.get(known.unwrap_or(local.locked.len()));
    if known.is_none() {
        record.word.acquire::<R>(node, mode, LOCK_WAIT_MAX).map_err(refused)?;
        local.locked.push(record);
    } else if mode == Mode::Exclusive && node.mode() == Mode::Shared {
        record.word.upgrade::<R>(node, LOCK_WAIT_MAX).map_err(refused)?;
    }
    Ok(known.is_none())
}

/// Has the lock of a record to itself, if the record is in use.
#[inline]
fn lock_to_write<R: Policy>(
    cx: &mut Cx<'_, R>,
    record: &Record<LockWords>,
) -> Step<TwoPhaseLocking<R>, ()> {
    lock(cx, record, Mode::Exclusive)?;
    if record.head().is_dead() {
        return Err(Conflict::at(AbortReason::WriteConflict, record));
    }
    Ok(())
}

#[allow(private_interfaces, reason = "see `Protocol`")]
impl<R: Policy> Protocol for TwoPhaseLocking<R> {
    const NAME: &'static str = R::NAME;
    const SUMMARY: &'static str = R::SUMMARY;
    const ISOLATION: Isolation = Isolation::Serializable;
    const STRICT: bool = true;
    const PROGRESS: Progress = Progress::Blocking;
    const READS: Reads = Reads::Newest;
    const VALIDATES_READ_ONLY: bool = true;
    const TAKES_LOCKS: bool = true;
    const RANGES: Ranges = Ranges::Validated;
    #[cfg(all(test, not(loom)))]
    const FAULTS: &'static [Fault] =
        &[Fault::SkipValidation, Fault::SkipRanges, Fault::GrantUnchecked];

    type Words = LockWords;
    type Shared = ();
    type Local = Local;

    #[inline]
    fn begin(_core: &Core<Self>, worker: &mut Worker<Self>) -> Step<Self, ()> {
        worker.local.nodes.transaction().begin(worker.age, worker.id);
        Ok(())
    }

    #[inline]
    fn read(
        cx: &mut Cx<'_, R>,
        record: &Record<LockWords>,
        shard: u32,
    ) -> Step<Self, *mut Version<LockWords>> {
        let new = lock(cx, record, Mode::Shared)?;
        let version = single_version::present(record);
        single_version::note_read(cx, record, shard, version, new)?;
        Ok(version)
    }

    #[inline]
    fn read_base(
        cx: &mut Cx<'_, R>,
        record: &Record<LockWords>,
        _shard: u32,
    ) -> Step<Self, *mut Version<LockWords>> {
        lock_to_write(cx, record)?;
        Ok(single_version::present(record))
    }

    #[inline]
    fn read_absent(
        cx: &mut Cx<'_, R>,
        table: &TableCore<LockWords>,
        witness: Witness<LockWords>,
        hash: u64,
        shard: u32,
    ) -> Step<Self, ()> {
        heed_wounds(cx)?;
        cx.worker.access.absents.push(AbsentEntry { witness, table, hash, shard });
        Ok(())
    }

    #[inline]
    fn write(cx: &mut Cx<'_, R>, record: *mut Record<LockWords>, _shard: u32) -> Step<Self, ()> {
        // SAFETY: found by this pinned step, or met before by this transaction.
        match unsafe { record.as_ref() } {
            Some(record) => lock_to_write(cx, record),
            // The record that is going to be made is locked before others can find it.
            None => Ok(()),
        }
    }

    fn prepare(cx: &mut Cx<'_, R>, writes: Range<usize>) -> Step<Self, ()> {
        for index in writes {
            let write = &cx.worker.access.writes[index];
            if write.kind == WriteKind::Insert {
                // SAFETY: the record is this transaction's own, and private.
                let record = unsafe { &*write.record };
                cx.worker.local.lock_private::<R>(record).map_err(Conflict::new)?;
            }
            single_version::install(cx, index)?;
        }
        Ok(())
    }

    #[inline]
    fn draw(cx: &mut Cx<'_, R>) -> Step<Self, ()> {
        single_version::draw(cx);
        Ok(())
    }

    #[inline]
    fn validate(cx: &mut Cx<'_, R>, reads: Range<usize>, absents: Range<usize>) -> Step<Self, ()> {
        single_version::validate_absences(cx, reads, absents)
    }

    #[inline]
    fn finish(cx: &mut Cx<'_, R>) {
        single_version::stamp(cx);
        cx.worker.local.release_all();
    }

    fn abort(cx: &mut Cx<'_, R>) {
        single_version::take_back(cx);
        cx.worker.local.release_all();
    }

    #[inline]
    fn end(_core: &Core<Self>, worker: &mut Worker<Self>) {
        worker.local.release_all();
    }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Record<LockWords>>() == 24);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::error::TransactionError;
    use crate::protocol::lock_parts::LINEAR_MAX;
    use crate::protocol::{NoWait, WaitDie, WoundWait};
    use crate::store::{Store, Table};
    use crate::sync::fault::Armed;

    fn store_of<P: Protocol>(shards: usize) -> (Store<P>, Table<u64, u64, P>) {
        let store = Store::builder().shards(shards).build_with::<P>().expect("valid");
        let table = store.table("t").expect("a new table");
        store.transact(|tx| (0..4).try_for_each(|key| tx.put(&table, key, 0))).expect("alone");
        (store, table)
    }

    fn reason<T>(outcome: Result<T, TransactionError>) -> Option<AbortReason> {
        outcome.err()?.abort().map(crate::error::Abort::reason)
    }

    #[test]
    fn without_waiting_whoever_asks_second_aborts() {
        let (store, table) = store_of::<NoWait>(1);
        let (one, two, three) = (store.begin(), store.begin(), store.begin());
        let (one, two, three) = (one.expect("room"), two.expect("room"), three.expect("room"));
        assert_eq!(one.get(&table, &1), Ok(Some(&0)));
        assert_eq!(two.get(&table, &1), Ok(Some(&0)), "readers share");
        assert_eq!(reason(three.put(&table, 1, 3)), Some(AbortReason::LockConflict));
        assert_eq!(reason(two.put(&table, 1, 2)), Some(AbortReason::LockConflict));
        drop(two);
        one.put(&table, 1, 1).expect("the only reader upgrades");
        assert_eq!(reason(store.begin().expect("room").get(&table, &1)), {
            Some(AbortReason::LockConflict)
        });
        one.commit().expect("it has its locks");
        assert_eq!(store.view(|tx| Ok(tx.get(&table, &1)?.copied())), Ok(Some(1)));
    }

    #[test]
    fn what_lies_behind_a_limit_is_not_locked() {
        let store = Store::builder().shards(1).build_with::<NoWait>().expect("valid");
        let table = store.ordered_table::<u64, u64>("ordered").expect("a new table");
        store.transact(|tx| (0..100).try_for_each(|key| tx.put(&table, key, 0))).expect("alone");
        // Where a chunk ends: the next one is merged already, from the second on.
        for taken in [0, 15, 31] {
            let one = store.begin().expect("room");
            let mut range = one.range(&table, ..).expect("room");
            assert_eq!(range.by_ref().take(taken).flatten().count(), taken);
            assert_eq!(range.limit(3).flatten().count(), 3);
            let last = taken as u64 + 2;
            let two = store.begin().expect("room");
            assert_eq!(reason(two.put(&table, last, 1)), Some(AbortReason::LockConflict));
            let behind = (last + 1..100).filter(|&key| {
                let other = store.begin().expect("room");
                other.put(&table, key, 1).is_err()
            });
            assert_eq!(behind.collect::<Vec<_>>(), [0; 0], "after {taken}");
        }
    }

    #[test]
    fn an_update_reads_with_the_intent_to_write() {
        let (store, table) = store_of::<NoWait>(1);
        let one = store.begin().expect("room");
        one.update(&table, &1, |value| {
            let other = store.begin().expect("room");
            assert_eq!(reason(other.get(&table, &1)), Some(AbortReason::LockConflict));
            value + 1
        })
        .expect("alone");
        one.commit().expect("alone");
    }

    #[test]
    fn the_younger_one_dies() {
        let (store, table) = store_of::<WaitDie>(1);
        let (old, young) = (store.begin().expect("room"), store.begin().expect("room"));
        assert_eq!(old.get(&table, &1), Ok(Some(&0)));
        assert_eq!(reason(young.put(&table, 1, 2)), Some(AbortReason::LockDie));
        old.put(&table, 1, 1).expect("the young one owns nothing");
        old.commit().expect("it has its locks");
    }

    #[test]
    fn the_younger_one_is_wounded_and_gives_its_locks_back() {
        let (store, table) = store_of::<WoundWait>(1);
        let (old, young) = (store.begin().expect("room"), store.begin().expect("room"));
        young.put(&table, 1, 2).expect("free");
        let (wounded, is_wounded) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let (table, young) = (&table, Sent(young));
            scope.spawn(move || {
                let young = young;
                // Until it notices.
                while let Ok(value) = young.0.get(table, &2) {
                    assert_eq!(value, Some(&0));
                    std::thread::yield_now();
                }
                wounded.send(reason(young.0.get(table, &3))).expect("the test listens");
                drop(young);
            });
            old.put(table, 1, 1).expect("the young one has gone");
        });
        // The first failure was the wound; after it the transaction can only end.
        assert_eq!(is_wounded.recv(), Ok(None));
        old.commit().expect("it has its locks");
        assert_eq!(store.view(|tx| Ok(tx.get(&table, &1)?.copied())), Ok(Some(1)));
        assert_eq!(store.stats().aborts_for(AbortReason::Wounded), 1);
    }

    /// A transaction that goes to another thread, which then is the only one to use it.
    struct Sent<'s>(crate::store::Transaction<'s, WoundWait>);
    // SAFETY: a transaction refers to no thread; it is not `Send` because it is not `Sync` either.
    unsafe impl Send for Sent<'_> {}

    /// Each finds absent what the other inserts. Returns how the second one ends.
    fn skew_of_absences<R: Policy>(shards: usize) -> Option<AbortReason> {
        let (store, table) = store_of::<TwoPhaseLocking<R>>(shards);
        let (one, two) = (store.begin().expect("room"), store.begin().expect("room"));
        assert_eq!(one.get(&table, &100), Ok(None));
        assert_eq!(two.get(&table, &101), Ok(None));
        one.put(&table, 101, 1).expect("no lock lies there");
        two.put(&table, 100, 2).expect("no lock lies there");
        one.commit().expect("nothing has changed yet");
        reason(two.commit())
    }

    #[test]
    fn of_two_that_insert_what_the_other_found_absent_one_aborts() {
        let _armed = Armed::new(None);
        for shards in [1, 4] {
            let validated = Some(AbortReason::ReadValidation);
            assert_eq!(skew_of_absences::<crate::protocol::no_wait::Refuse>(shards), validated);
            assert_eq!(skew_of_absences::<crate::protocol::wait_die::Die>(shards), validated);
            assert_eq!(skew_of_absences::<crate::protocol::wound_wait::Wound>(shards), validated);
        }
    }

    /// Reads a deleted key, whose record is then taken out of use and replaced by another one.
    /// Returns how the reader ends.
    fn absence_in_a_record_that_goes() -> Option<AbortReason> {
        let (store, table) = store_of::<NoWait>(1);
        store.transact(|tx| tx.remove(&table, &1)).expect("alone");
        let reader = store.begin_view().expect("room");
        assert_eq!(reader.get(&table, &1), Ok(None), "by its tombstone");
        // Commits of others make reclamation look around.
        for key in 0..100_000 {
            let replaced = store.begin().and_then(|tx| {
                tx.put(&table, 1, 5)?;
                tx.commit()
            });
            match reason(replaced) {
                None => return reason(reader.commit()),
                Some(AbortReason::LockConflict | AbortReason::WriteConflict) => {}
                Some(other) => panic!("{other}"),
            }
            store.transact(|tx| tx.put(&table, 1_000 + key % 10, key)).expect("alone");
        }
        panic!("the record of the deleted key is never taken out of use");
    }

    #[test]
    fn an_absence_ends_when_the_deleted_record_goes() {
        let _armed = Armed::new(None);
        assert_eq!(absence_in_a_record_that_goes(), Some(AbortReason::ReadValidation));
    }

    /// Both tests above must be able to fail.
    #[test]
    fn skipped_validation_is_noticed() {
        let _armed = Armed::new(Some(Fault::SkipValidation));
        assert_eq!(skew_of_absences::<crate::protocol::no_wait::Refuse>(1), None);
        assert_eq!(absence_in_a_record_that_goes(), None);
    }

    #[test]
    fn many_locks_are_found_again_and_all_given_back() {
        const KEYS: u64 = 10 * LINEAR_MAX as u64;
        let (store, table) = store_of::<NoWait>(4);
        store.transact(|tx| (0..KEYS).try_for_each(|key| tx.put(&table, key, 0))).expect("alone");
        for committed in [false, true] {
            let many = store.begin().expect("room");
            for key in 0..KEYS {
                assert_eq!(many.get(&table, &key), Ok(Some(&0)));
            }
            for key in (0..KEYS).rev() {
                assert_eq!(many.get(&table, &key), Ok(Some(&0)));
                if key % 2 == 0 {
                    assert_eq!(many.update(&table, &key, |value| value + 1), Ok(true));
                } else {
                    many.put(&table, key, 1).expect("an upgrade");
                }
            }
            if committed {
                many.commit().expect("alone");
            }
        }
        let all = store.begin().expect("room");
        for key in 0..KEYS {
            assert_eq!(all.update(&table, &key, |value| value + 1), Ok(true));
        }
        all.commit().expect("every lock is free");
    }
}
