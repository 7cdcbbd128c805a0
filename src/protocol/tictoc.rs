//! `tictoc`: optimistic concurrency control whose timestamps come from the data (Yu, Pavlo,
//! Sanchez, Devadas: "TicToc: Time Traveling Optimistic Concurrency Control", SIGMOD 2016).
//!
//! A version holds from its *write time* and was read up to its *read time*. A transaction commits
//! at the lowest time at which everything that it read holds and everything that it overwrites has
//! no reader any more: above the read times of what it overwrites, not below the write times of
//! what it read. Then it extends the read times that are too low. These times count commits that
//! depend on each other; they have nothing to do with a clock.
//!
//! # Departures
//!
//! * *A version has the word* (lock bit, read time as a difference of 15 bits, write time of 48),
//!   *not a record,* because here a write makes a new version instead of overwriting the old one.
//!   So one load of the head gives value and word together, where the paper reads the word twice.
//!   And the word of an overwritten version goes on saying until when it held, so what was read can
//!   be validated after it was overwritten: the paper's timestamp history, complete and for free.
//! * *The lock bit* says that somebody is about to overwrite the version, or has: nobody extends
//!   its read time any more. Who may is decided before that by the install of a pending version
//!   (`optimistic.rs`).
//! * *Locks are waited for a bounded moment* when installing and reading, and not at all when
//!   validating: the paper's no-wait locking with pre-emptive aborts.
//! * *If a difference does not fit, the write time goes up,* as in the paper. It costs less here:
//!   what was read is identified by its address, so nobody who saw the old write time aborts.
//! * *Absent keys*: below. The paper leaves them to the index.
//!
//! # Absent keys
//!
//! An absence holds from the write time of the remove that made it, and is read up to some time,
//! like a value. But the word of a removed version goes away with its record, and where a key never
//! was there is nothing to carry a word. So a table of words, by hash, has for all absent keys of a
//! bucket one number, the *absence*: not below the write time of any remove and the commit time of
//! any reader of an absence. It only grows. (That keys share it makes others commit later than they
//! had to, and no more.)
//!
//! * Who has read an absence (no record, a record without a version, a version that says "absent")
//!   commits at the absence or later, raises it to its commit time, and *then* checks that the key
//!   is still absent: the same head, not dead, or the same empty slot.
//! * Who writes over an absence installs, and *then* loads the absence, and commits above it.
//! * Who removes raises it to its commit time, and then publishes.
//!
//! A range says of further keys that they are absent, so it has such a number as well: one for each
//! ordered table, which is raised by whoever reads a range of it and by whoever removes a key of
//! it, and loaded by whoever writes the first version into a record. The check is then that of the
//! ordered index.
//!
//! These are sequentially consistent. So if a writer's install comes after a reader's check, its
//! load comes after the reader's raise and it commits above the reader; else the reader finds its
//! version or record, and aborts. A raise by a reader that aborts only makes others commit later.
//!
//! # Why the result is serializable
//!
//! The order is that of the commit times, and of equal ones that in which the transactions drew
//! theirs. Let T commit at t.
//!
//! 1. *T reads v, R wrote v* at w: t is at least w. If equal, R has drawn before T: T met v
//!    published.
//! 2. *T reads v, W overwrites it*: v's read time was at least t at some moment. It only grows
//!    until W sets the lock bit; W commits above what it is then, hence above t. (It is never
//!    raised while the bit is set, except by W, to just below W's own time.) For an absence: see
//!    above.
//! 3. *T overwrites v, R wrote v* at w: v's read time is at least w, so t is above w. A remove's w
//!    is not above the absence.
//!
//! Order of versions and order of times are one by 3, so T reads at t what a serial execution would
//! read. The order is *not* that of real time: a transaction that begins after another has returned
//! may commit at a lower time, and a third may see the second and not the first (the test
//! `an_order_that_is_not_that_of_real_time` shows it).

use super::access_set::{AbsentEntry, ReadEntry, WriteEntry, WriteState};
use super::context::{Context, Core, Worker};
use super::stamps::{ByHash, ByTable, raise, seen};
use super::{Isolation, Progress, Protocol, Ranges, Reads, Step, optimistic, single_version};
use crate::limits::UNDECIDED_SPINS_MAX;
use crate::storage::Words;
use crate::storage::hash_index::Witness;
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::Version;
use crate::sync::fault::{self, Fault};
use crate::sync::step::{self, Step as Point};
use crate::sync::{AtomicU64, Ordering, model_fence};
use std::ops::Range;

const WRITE_BITS: u32 = 48;
const WRITE_TIME: u64 = (1 << WRITE_BITS) - 1;
const DIFFERENCE_MAX: u64 = (1 << 15) - 1;
const LOCKED: u64 = 1 << 63;

/// Optimistic concurrency control with data-driven timestamps (Yu, Pavlo, Sanchez, Devadas:
/// "`TicToc`: Time Traveling Optimistic Concurrency Control", SIGMOD 2016).
#[derive(Debug)]
pub struct TicToc;

/// Each version carries the times from which and up to which it is known to hold.
#[derive(Debug)]
pub struct TicTocWords;

impl Words for TicTocWords {
    type Record = ();
    type Version = Lifetime;
}

/// From when a version holds, up to when it was read, and whether it is overwritten: the paper's
/// word. Only numbers are compared here, and each word for itself, so every access is relaxed; the
/// stamp of a version publishes its first value.
#[derive(Debug, Default)]
pub struct Lifetime(AtomicU64);

impl Lifetime {
    fn pack(write: u64, read: u64) -> u64 {
        let difference = read - write;
        let shift = difference.saturating_sub(DIFFERENCE_MAX);
        (difference - shift) << WRITE_BITS | (write + shift)
    }

    fn read_time_of(word: u64) -> u64 {
        (word & WRITE_TIME) + ((word & !LOCKED) >> WRITE_BITS)
    }

    /// The version holds from `time`.
    fn begin(&self, time: u64) {
        // Relaxed: see the type.
        self.0.store(Self::pack(time, time), Ordering::Relaxed);
    }

    fn write_time(&self) -> u64 {
        // Relaxed: see the type.
        self.0.load(Ordering::Relaxed) & WRITE_TIME
    }

    fn read_time(&self) -> u64 {
        // Relaxed: see the type.
        Self::read_time_of(self.0.load(Ordering::Relaxed))
    }

    /// Makes sure that nobody overwrites the version at `time` or before; false if somebody may.
    pub(super) fn extend(&self, time: u64) -> bool {
        // Relaxed: see the type.
        let mut word = self.0.load(Ordering::Relaxed);
        loop {
            if Self::read_time_of(word) >= time {
                return true;
            }
            if word & LOCKED != 0 && !fault::on(Fault::ExtendLocked) {
                return false;
            }
            let extended = Self::pack(word & WRITE_TIME, time) | word & LOCKED;
            // Relaxed: see the type; whoever locks the word later gets this one.
            match self.0.compare_exchange(word, extended, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// Ends extensions.
    pub(super) fn lock(&self) {
        // Relaxed: see the type.
        self.0.fetch_or(LOCKED, Ordering::Relaxed);
    }

    /// Allows extensions again. The caller has locked it.
    fn unlock(&self) {
        // Relaxed: see the type.
        self.0.fetch_and(!LOCKED, Ordering::Relaxed);
    }

    /// The next version holds from `time`. The caller has locked this one.
    pub(super) fn overwritten_at(&self, time: u64) {
        let write = self.write_time();
        let read = (time - 1).min(write + DIFFERENCE_MAX);
        // Relaxed: see the type. While it is locked nobody else changes the word.
        self.0.store(Self::pack(write, read) | LOCKED, Ordering::Relaxed);
    }

    /// The lowest time at which a locked version can be overwritten.
    pub(super) fn next_write(&self) -> u64 {
        self.read_time() + 1
    }
}

/// The absences of all keys, and those of further keys in ranges.
#[derive(Debug, Default)]
pub struct Absences {
    keys: ByHash<AtomicU64>,
    ranges: ByTable<AtomicU64>,
}

impl Absences {
    /// The present absence of a hash, of which the low half is enough.
    pub(super) fn of_key(&self, hash: u32) -> u64 {
        seen(self.keys.at(hash))
    }

    /// Raises it to `time`.
    pub(super) fn raise_key(&self, hash: u32, time: u64) {
        if !fault::on(Fault::AbsenceUnraised) {
            raise(self.keys.at(hash), time);
        }
        // The caller's check stays behind it.
        model_fence();
    }

    /// The same for the ranges of a table.
    fn of_ranges(&self, table: &TableCore<TicTocWords>) -> u64 {
        seen(self.ranges.of(table))
    }

    fn raise_ranges(&self, table: &TableCore<TicTocWords>, time: u64) {
        raise(self.ranges.of(table), time);
        // The caller's check stays behind it.
        model_fence();
    }
}

/// One transaction's commit time.
#[derive(Debug, Default)]
pub struct Local {
    time: u64,
}

type Cx<'a> = Context<'a, TicToc>;

/// A version that holds a value; `None` for the absence of one.
///
/// # Safety
///
/// The version is null, this transaction's own, or was committed when this transaction, which is
/// still open, loaded it.
unsafe fn value<'v>(version: *const Version<TicTocWords>) -> Option<&'v Version<TicTocWords>> {
    // SAFETY: the caller's promise.
    unsafe { version.as_ref() }.filter(|version| !version.is_tombstone())
}

/// What an installed write overwrites, if that is a value.
fn overwritten<'v>(write: &WriteEntry<TicTocWords>) -> Option<&'v Version<TicTocWords>> {
    // SAFETY: our own version, and the committed one below it, while this step is pinned.
    unsafe { value((*write.version).older()) }
}

/// Makes sure that what was read holds at the transaction's commit time.
fn holds(cx: &Cx<'_>, read: &ReadEntry<TicTocWords>) -> bool {
    let time = cx.worker.local.time;
    // SAFETY: read by this transaction.
    if let Some(version) = unsafe { value(read.version) } {
        // What this transaction overwrites itself it has locked itself.
        return version.word.extend(time) || optimistic::locked_over(cx, read);
    }
    // SAFETY: records that an open transaction has read are not freed.
    cx.core.shared.raise_key(unsafe { (*read.record).hash }, time);
    optimistic::is_newest(cx, read)
}

#[allow(private_interfaces, reason = "see `Protocol`")]
impl Protocol for TicToc {
    const NAME: &'static str = "tictoc";
    const SUMMARY: &'static str =
        "single-version optimistic, commit times computed from what was read and written (TicToc)";
    const ISOLATION: Isolation = Isolation::Serializable;
    const STRICT: bool = false;
    const PROGRESS: Progress = Progress::Blocking;
    const READS: Reads = Reads::Newest;
    const VALIDATES_READ_ONLY: bool = true;
    const RANGES: Ranges = Ranges::Validated;
    #[cfg(all(test, not(loom)))]
    const FAULTS: &'static [Fault] = &[Fault::SkipValidation, Fault::SkipRanges, Fault::IgnoreBase];

    type Words = TicTocWords;
    type Shared = Absences;
    type Local = Local;

    #[inline(always)]
    fn read(
        cx: &mut Cx<'_>,
        record: &Record<TicTocWords>,
        shard: u32,
    ) -> Step<Self, *mut Version<TicTocWords>> {
        optimistic::read(cx, record, shard)
    }

    #[inline]
    fn read_base(
        _cx: &mut Cx<'_>,
        record: &Record<TicTocWords>,
        _shard: u32,
    ) -> Step<Self, *mut Version<TicTocWords>> {
        optimistic::read_newest::<Self>(record)
    }

    #[inline]
    fn read_absent(
        cx: &mut Cx<'_>,
        table: &TableCore<TicTocWords>,
        witness: Witness<TicTocWords>,
        hash: u64,
        shard: u32,
    ) -> Step<Self, ()> {
        cx.worker.access.absents.push(AbsentEntry { witness, table, hash, shard });
        Ok(())
    }

    fn prepare(cx: &mut Cx<'_>, mut writes: Range<usize>) -> Step<Self, ()> {
        writes.try_for_each(|index| {
            optimistic::install_pending(cx, index, UNDECIDED_SPINS_MAX)?;
            if let Some(version) = overwritten(&cx.worker.access.writes[index]) {
                version.word.lock();
            }
            Ok(())
        })
    }

    fn draw(cx: &mut Cx<'_>) -> Step<Self, ()> {
        single_version::draw(cx);
        let (access, absences) = (&cx.worker.access, &cx.core.shared);
        let mut time = 0;
        for write in &access.writes {
            time = time.max(match overwritten(write) {
                Some(version) => version.word.next_write(),
                None => absences.of_key(write.hash as u32) + 1,
            });
            // The first version in a record, which may have come into the index behind a walk: also
            // in one that an abort has left.
            // SAFETY: as in `overwritten`.
            let is_first = unsafe { (*write.version).older() }.is_null();
            if is_first && write.table.get().is_ordered() {
                time = time.max(absences.of_ranges(write.table.get()) + 1);
            }
        }
        for read in &access.reads {
            // SAFETY: read by this transaction.
            time = time.max(match unsafe { value(read.version) } {
                Some(version) => version.word.write_time(),
                // SAFETY: records that an open transaction has read are not freed.
                None => absences.of_key(unsafe { (*read.record).hash }),
            });
        }
        for absent in &access.absents {
            time = time.max(absences.of_key(absent.hash as u32));
        }
        for range in &access.ranges {
            time = time.max(absences.of_ranges(range.table.get()));
        }
        cx.worker.local.time = time;
        step::at(Point::PrepareDrawn);
        Ok(())
    }

    fn validate(cx: &mut Cx<'_>, reads: Range<usize>, absents: Range<usize>) -> Step<Self, ()> {
        if fault::on(Fault::SkipValidation) {
            return Ok(());
        }
        for read in &cx.worker.access.reads[reads] {
            if !holds(cx, read) {
                return Err(optimistic::changed(cx, read));
            }
        }
        for absent in &cx.worker.access.absents[absents] {
            cx.core.shared.raise_key(absent.hash as u32, cx.worker.local.time);
            if !optimistic::is_absent(cx, absent) {
                return Err(optimistic::appeared(absent));
            }
        }
        // What was inserted into the ranges is looked for when every shard has voted.
        for range in &cx.worker.access.ranges {
            cx.core.shared.raise_ranges(range.table.get(), cx.worker.local.time);
        }
        Ok(())
    }

    fn finish(cx: &mut Cx<'_>) {
        let time = cx.worker.local.time;
        for write in &cx.worker.access.writes {
            if let Some(version) = overwritten(write) {
                version.word.overwritten_at(time);
            }
            // SAFETY: our own version, while this step is pinned.
            if unsafe { (*write.version).is_tombstone() } {
                cx.core.shared.raise_key(write.hash as u32, time);
                if write.table.get().is_ordered() {
                    cx.core.shared.raise_ranges(write.table.get(), time);
                }
            }
        }
        optimistic::publish(cx, |word| word.begin(time));
    }

    fn abort(cx: &mut Cx<'_>) {
        for write in &cx.worker.access.writes {
            // Before the record is unlocked: the next one to install locks the word for itself.
            if write.state == WriteState::Installed
                && let Some(version) = overwritten(write)
            {
                version.word.unlock();
            }
        }
        single_version::take_back(cx);
    }

    #[inline]
    fn end(_core: &Core<Self>, worker: &mut Worker<Self>) {
        worker.local.time = 0;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::protocol::optimistic::tests::word_of;
    use crate::{AbortReason, Store, Table, TransactionError};

    type Numbers = Table<u64, u64, TicToc>;

    fn store() -> Result<(Store<TicToc>, Numbers), TransactionError> {
        let store = Store::builder().shards(4).build_with::<TicToc>()?;
        let table = store.table("numbers")?;
        Ok((store, table))
    }

    fn put(store: &Store<TicToc>, table: &Numbers, key: u64) -> Result<(), TransactionError> {
        store.transact(|tx| tx.put(table, key, 0))
    }

    /// Makes the write time of a key at least 9.
    fn age(store: &Store<TicToc>, table: &Numbers, key: u64) -> Result<u64, TransactionError> {
        (0..9).try_for_each(|_| put(store, table, key))?;
        Ok(word_of(store, table, key, Lifetime::write_time))
    }

    #[test]
    fn a_lifetime_is_extended_until_it_is_locked() {
        let lifetime = Lifetime::default();
        lifetime.begin(7);
        assert!(lifetime.extend(9) && lifetime.extend(8));
        assert_eq!((lifetime.write_time(), lifetime.read_time()), (7, 9));
        lifetime.lock();
        assert!(lifetime.extend(9) && !lifetime.extend(10));
        assert_eq!(lifetime.next_write(), 10);
        lifetime.unlock();
        assert!(lifetime.extend(10));
        lifetime.lock();
        lifetime.overwritten_at(20);
        assert!(lifetime.extend(19) && !lifetime.extend(20));
        assert_eq!((lifetime.write_time(), lifetime.read_time()), (7, 19));
    }

    #[test]
    fn a_difference_that_does_not_fit_moves_the_write_time() {
        let lifetime = Lifetime::default();
        lifetime.begin(7);
        assert!(lifetime.extend(7 + DIFFERENCE_MAX));
        assert_eq!(lifetime.write_time(), 7);
        assert!(lifetime.extend(10 + DIFFERENCE_MAX));
        assert_eq!((lifetime.write_time(), lifetime.read_time()), (10, 10 + DIFFERENCE_MAX));
        lifetime.lock();
        lifetime.overwritten_at(100 + 2 * DIFFERENCE_MAX);
        assert_eq!((lifetime.write_time(), lifetime.read_time()), (10, 10 + DIFFERENCE_MAX));
        assert!(!lifetime.extend(11 + DIFFERENCE_MAX), "it says less than it could, never more");
    }

    #[test]
    fn what_was_read_may_be_overwritten_before_the_commit() -> Result<(), TransactionError> {
        let (store, table) = store()?;
        put(&store, &table, 1)?;
        let at = age(&store, &table, 2)?;
        // The life of key 1 is now known to last until then.
        store.view(|tx| Ok((tx.get(&table, &1)?.copied(), tx.get(&table, &2)?.copied())))?;
        let early = store.begin()?;
        assert_eq!(early.get(&table, &1)?, Some(&0));
        put(&store, &table, 1)?;
        assert!(word_of(&store, &table, 1, Lifetime::write_time) > at);
        early.put(&table, 3, 0)?;
        early.commit()?;
        assert!(word_of(&store, &table, 3, Lifetime::write_time) <= at);
        // And if it has to commit later than that, it aborts.
        let late = store.begin()?;
        assert_eq!(late.get(&table, &1)?, Some(&0));
        put(&store, &table, 1)?;
        late.put(&table, 1, 0)?;
        let reason = late.commit().err().and_then(|error| Some(error.abort()?.reason()));
        assert_eq!(reason, Some(AbortReason::ReadValidation));
        Ok(())
    }

    #[test]
    fn an_order_that_is_not_that_of_real_time() -> Result<(), TransactionError> {
        let (store, table) = store()?;
        put(&store, &table, 1)?;
        age(&store, &table, 2)?;
        store.view(|tx| Ok((tx.get(&table, &1)?.copied(), tx.get(&table, &2)?.copied())))?;
        let view = store.begin_view()?;
        assert_eq!(view.get(&table, &1)?, Some(&0));
        // This returns ...
        store.transact(|tx| tx.put(&table, 1, 1))?;
        // ... before this begins ...
        store.transact(|tx| tx.put(&table, 3, 1))?;
        // ... and the view has seen the second and not the first.
        assert_eq!(view.get(&table, &3)?, Some(&1));
        view.commit()
    }

    #[test]
    fn an_absent_key_is_inserted_after_its_readers() -> Result<(), TransactionError> {
        let (store, table) = store()?;
        let at = age(&store, &table, 2)?;
        let pair =
            store.view(|tx| Ok((tx.get(&table, &1)?.copied(), tx.get(&table, &2)?.copied())))?;
        assert_eq!(pair, (None, Some(0)));
        put(&store, &table, 1)?;
        assert!(word_of(&store, &table, 1, Lifetime::write_time) > at, "somebody was there");
        Ok(())
    }

    #[test]
    fn a_removed_key_is_inserted_after_the_remove() -> Result<(), TransactionError> {
        let (store, table) = store()?;
        let at = age(&store, &table, 1)?;
        assert!(store.transact(|tx| tx.remove(&table, &1))?);
        // Reading the absence takes place after the remove.
        let reader = store.begin()?;
        assert_eq!(reader.get(&table, &1)?, None);
        reader.put(&table, 2, 0)?;
        reader.commit()?;
        assert!(word_of(&store, &table, 2, Lifetime::write_time) > at);
        // Until the record is gone, and the word with it.
        let (mut keys, before) = (0, store.stats().records);
        while store.stats().records + 100 > before + keys && keys < 100_000 {
            keys += 1;
            store.transact(|tx| tx.insert(&table, 99 + keys, 0).map(drop))?;
            store.transact(|tx| tx.remove(&table, &(99 + keys)).map(drop))?;
        }
        assert!(keys < 100_000, "no record ever goes");
        put(&store, &table, 1)?;
        assert!(word_of(&store, &table, 1, Lifetime::write_time) > at + 1);
        Ok(())
    }
}
