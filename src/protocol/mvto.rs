//! `mvto`: multi-version timestamp order. The serial order is that of the begins.
//!
//! Reed (PhD thesis, MIT 1978) gives each transaction its timestamp when it begins: it reads the
//! versions of that moment, and what it writes begins then. A write that comes too late, under a
//! later transaction's read or write, aborts. The form is that of Cicada (Lim, Kaminsky and
//! Andersen, SIGMOD 2017): writes are private until commit, versions are installed undecided and
//! at the head only, and no central counter gives timestamps. Each version carries one word,
//! *readers*: the greatest timestamp of a reader.
//!
//! # Why the result is strictly serializable
//!
//! Let T have the timestamp t, and say that it reads the greatest version below t.
//!
//! 1. *Writes.* T installs on the newest committed version if that began before t, else it aborts
//!    (`WriteTooOld`). So chains are in the order of their timestamps.
//! 2. *Reads.* R, at r, looks for its version v, raises readers(v) to r, and looks above v. W, at
//!    w < r, installs above v and then looks at readers(v). All four stand in one order, so W sees
//!    the stamp and aborts, or R sees W's version. If that is committed, R looks for its version
//!    again. If it is undecided, R waits a bounded moment and then raises W's floor to r, so that W
//!    cannot commit at w any more. So once R has its version, nothing is ever committed between it
//!    and r: a read is final and needs no validation, in a `view` neither.
//! 3. *Real time.* T's timestamp is drawn between its begin and its end.
//! 4. *Ties.* The clock can give two transactions one timestamp. Two that have met at a version are
//!    then in no order, so one of them aborts: a version that began at t is no version below t, but
//!    whoever looks and finds one aborts; and who finds that readers(v) is t already, although it
//!    has not read v, aborts. So T knows that a stamp of t is its own if it has read v.
//!
//! So an execution of all transactions in the order of their timestamps reads and leaves the same.
//!
//! # Absent keys
//!
//! The absence of all keys of one hash bucket has one word, which readers of an absence raise, and
//! which whoever writes a key that was absent looks at. For a key without a record the look after
//! the stamp is the index's (`HashIndex::still_absent`). Tombstones use the same word, because
//! their records go out of use. This they do when every open timestamp is above the tombstone's
//! (`KEEPS_TOMBSTONES`), so that nobody inserts below what is forgotten.
//!
//! # Ranges
//!
//! The ranges of a table have one word, which a transaction raises before it begins to walk over
//! one. Whoever inserts a record into an ordered table looks at it afterwards, so it sees the
//! stamp and aborts if it is below, or the walk finds its record. Then the rules for records hold.
//! So does whoever writes the first version into a record that an abort has left: it may have come
//! into the index behind the walk. A record with a version did not: its first writer looked.
//!
//! # Why what is read stays
//!
//! Versions can be committed below an open snapshot. One that a transaction has read is safe all
//! the same: it stays the one that its snapshot sees (2). One that it merely stands on while it
//! looks may be overwritten and unlinked under its eyes; such versions always wait for a grace
//! period (`COMMITS_IN_THE_PAST`).
//!
//! # Options
//!
//! Two of Cicada's means against contention are settings of the store ([`super::Contention`]). The
//! *pre-check* looks at all writes of a shard before the first of them is installed; it only finds
//! earlier what `prepare` and `validate` find anyway. The *write order* is that of the records, or
//! the most contended first. Orders that differ cannot deadlock, because nobody waits for long:
//! whoever meets an undecided version spins for a bounded moment and then aborts its transaction.
//! Nor do they livelock: a transaction that was aborted so aborts nobody itself when it comes to
//! the next record, so of two that stand in each other's way both fail only if the patience of both
//! ends at the same instant; random back-off parts them, and without it the right of way of the one
//! that has failed often. Nothing after `prepare` depends on the order.
//!
//! # Departures
//!
//! From Cicada: reads leave their stamp at once, not at validation; that makes them final, and what
//! a transaction has seen stays protected by its snapshot. Read-only transactions do the same
//! instead of reading a state older than every writer, because what has returned must be seen. A
//! writer that is undecided for longer than a moment is passed by, not waited for. Timestamps carry
//! no thread number (see 4). The options stay as they are set: Cicada leaves out the pre-check and
//! the sort after five commits in a row. Its adaptive back-off is every protocol's
//! ([`crate::Backoff`]).

use super::access_set::{ReadEntry, WriteEntry, WriteKind};
use super::context::{Context, Core, Worker};
use super::multi_version::{self, Above, Local, above, visible_now};
use super::stamps::{ByHash, ByTable, raise, seen};
use super::{Conflict, Isolation, Place, Progress, Protocol, Ranges, Reads, Step, WriteOrder};
use crate::clock::Clock;
use crate::error::AbortReason;
use crate::storage::Words;
use crate::storage::hash_index::{HashIndex, Witness};
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::{Top, Version, top};
use crate::sync::AtomicU64;
use crate::sync::fault::{self, Fault};
use crate::sync::step::{self, Step as Point};
use std::ops::Range;
use std::ptr::NonNull;

/// Multi-version timestamp order (Reed: "Naming and Synchronization in a Decentralized Computer
/// System", PhD thesis, MIT 1978), in the form of Cicada (Lim, Kaminsky, Andersen: "Cicada:
/// Dependably Fast Multi-Core In-Memory Transactions", SIGMOD 2017).
#[derive(Debug)]
pub struct Mvto;

/// The words of `mvto`: the greatest timestamp of a reader, in each version.
#[derive(Debug)]
pub struct MvtoWords;

impl Words for MvtoWords {
    type Record = ();
    type Version = AtomicU64;
}

/// The stamps of those who have seen that something is not there.
#[derive(Debug, Default)]
pub struct Gaps {
    /// That a key is absent.
    keys: ByHash<AtomicU64>,
    /// That a range has no further keys.
    ranges: ByTable<AtomicU64>,
}

/// Where among those a transaction has left its own.
#[derive(Debug, Default)]
pub struct Absent(Vec<*const AtomicU64>);

/// What came of leaving a stamp.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stamped {
    /// What was read is final.
    Final,
    /// An earlier transaction has committed meanwhile: look again.
    Overtaken,
    /// Another transaction with the same timestamp has been here, or the record is out of use.
    Conflict,
}

/// Leaves the stamp of a read at `at` and looks above the version (null: none) that was found.
/// `own` says whether this transaction has been here before.
///
/// # Safety
///
/// As for [`above`].
#[inline]
pub(super) unsafe fn leave_stamp<W: Words>(
    record: &Record<W>,
    version: *const Version<W>,
    stamp: &AtomicU64,
    at: u64,
    own: impl FnOnce() -> bool,
) -> Stamped {
    let late = fault::on(Fault::StampLate);
    if !late && raise(stamp, at) == at && !own() {
        return Stamped::Conflict;
    }
    // SAFETY: the caller's promise.
    let above = unsafe { above(record, version, || at) };
    if late {
        raise(stamp, at);
    }
    match above {
        Above::Nothing => Stamped::Final,
        Above::Committed(begin) if begin > at => Stamped::Final,
        Above::Committed(begin) if begin < at => Stamped::Overtaken,
        Above::Gone => Stamped::Overtaken,
        Above::Committed(_) | Above::Dead => Stamped::Conflict,
    }
}

/// Whether a write at `at` may land on what carries this stamp; `own` as for [`leave_stamp`].
#[inline]
pub(super) fn is_above_readers(stamp: &AtomicU64, at: u64, own: impl FnOnce() -> bool) -> bool {
    let readers = seen(stamp);
    readers < at || readers == at && own()
}

type Cx<'a> = Context<'a, Mvto>;

#[allow(private_interfaces, reason = "see `Protocol`")]
impl Protocol for Mvto {
    const NAME: &'static str = "mvto";
    const SUMMARY: &'static str =
        "multi-version timestamp order: the order of the begins, reads leave their timestamp";
    const ISOLATION: Isolation = Isolation::Serializable;
    const STRICT: bool = true;
    const PROGRESS: Progress = Progress::LockFree;
    const READS: Reads = Reads::Snapshot;
    const VALIDATES_READ_ONLY: bool = false;
    const RANGES: Ranges = Ranges::Unchecked;
    const KEEPS_TOMBSTONES: bool = true;
    const COMMITS_IN_THE_PAST: bool = true;
    const HEEDS_CONTENTION: bool = true;
    #[cfg(all(test, not(loom)))]
    const FAULTS: &'static [Fault] = &[Fault::SkipValidation, Fault::SkipRanges];

    type Words = MvtoWords;
    type Shared = Gaps;
    type Local = Local<Absent>;

    #[inline]
    fn snapshot(core: &Core<Self>, drawn: u64) -> u64 {
        // A shared counter only advances with commits' draws, and no commit draws here.
        if matches!(core.clock, Clock::Counter(_)) { core.clock.commit() } else { drawn }
    }

    #[inline]
    fn begin(_core: &Core<Self>, worker: &mut Worker<Self>) -> Step<Self, ()> {
        worker.local.more.0.clear();
        Ok(())
    }

    #[inline]
    fn read(
        cx: &mut Cx<'_>,
        record: &Record<MvtoWords>,
        shard: u32,
    ) -> Step<Self, *mut Version<MvtoWords>> {
        read_finally(cx, record, shard).map(|(version, _)| version)
    }

    #[inline]
    fn read_base(
        cx: &mut Cx<'_>,
        record: &Record<MvtoWords>,
        shard: u32,
    ) -> Step<Self, *mut Version<MvtoWords>> {
        let (version, newest) = read_finally(cx, record, shard)?;
        if newest { Ok(version) } else { Err(Conflict::at(AbortReason::WriteTooOld, record)) }
    }

    #[inline]
    fn read_absent(
        cx: &mut Cx<'_>,
        table: &TableCore<MvtoWords>,
        witness: Witness<MvtoWords>,
        hash: u64,
        _shard: u32,
    ) -> Step<Self, ()> {
        let stamp = cx.core.shared.keys.at(hash as u32);
        let tied = raise(stamp, cx.worker.snapshot) == cx.worker.snapshot
            && !has_stamped(cx.worker, std::ptr::null(), stamp);
        if tied || !HashIndex::still_absent(&witness, hash, |_| false) {
            let at = Some(Place::Key(table, hash));
            return Err(Conflict { reason: AbortReason::ReadValidation, at });
        }
        cx.worker.local.more.0.push(stamp);
        Ok(())
    }

    fn read_range(cx: &mut Cx<'_>, table: &TableCore<MvtoWords>) -> Step<Self, ()> {
        let stamp = cx.core.shared.ranges.of(table);
        if raise(stamp, cx.worker.snapshot) == cx.worker.snapshot
            && !has_stamped(cx.worker, std::ptr::null(), stamp)
        {
            return Err(Conflict::new(AbortReason::Phantom));
        }
        cx.worker.local.more.0.push(stamp);
        Ok(())
    }

    fn prepare(cx: &mut Cx<'_>, writes: Range<usize>) -> Step<Self, ()> {
        let (at, options) = (cx.worker.snapshot, cx.core.contention);
        if options.write_order == WriteOrder::Contention && writes.len() > 1 {
            cx.worker.access.put_contended_first(writes.clone(), contention_of);
        }
        if options.pre_check {
            for write in &cx.worker.access.writes[writes.clone()] {
                check_before_install(cx, write)?;
            }
        }
        multi_version::prepare(cx, writes, at - 1, |_, _, begin| {
            (begin < at).then_some(()).ok_or(AbortReason::WriteTooOld)
        })
    }

    #[inline]
    fn draw(cx: &mut Cx<'_>) -> Step<Self, ()> {
        cx.worker.commit = cx.worker.snapshot;
        step::at(Point::PrepareDrawn);
        Ok(())
    }

    /// What has been read is final. What is written must not be below a read; this is looked at
    /// when everything is installed.
    fn validate(cx: &mut Cx<'_>, _reads: Range<usize>, _absents: Range<usize>) -> Step<Self, ()> {
        if fault::on(Fault::SkipValidation) {
            return Ok(());
        }
        for write in &cx.worker.access.writes {
            // SAFETY: installed by this step; what it stands on stays while the step is pinned.
            let base = unsafe { (*write.version).older() };
            if !is_above_readers_of(cx, write, base)
                || base.is_null() && !is_above_ranges(cx, write)
            {
                return Err(Conflict::at(AbortReason::WriteTooOld, write.record));
            }
        }
        Ok(())
    }

    #[inline]
    fn decide(cx: &mut Cx<'_>) -> Step<Self, bool> {
        if multi_version::decide(cx)? {
            return Ok(true);
        }
        // A later reader has passed this transaction's versions by.
        Err(Conflict::new(AbortReason::WriteTooOld))
    }

    #[inline]
    fn finish(cx: &mut Cx<'_>) {
        multi_version::finish(cx);
    }

    fn abort(cx: &mut Cx<'_>) {
        multi_version::abort(cx);
    }
}

/// Where readers of a version leave their stamp; of none, and of a tombstone, where those of the
/// absence of such keys do.
///
/// # Safety
///
/// The calling step has been pinned since before `version` was found.
#[inline]
unsafe fn stamp_of(core: &Core<Mvto>, hash: u32, version: *const Version<MvtoWords>) -> &AtomicU64 {
    // SAFETY: the caller's promise; the reference is used within the step.
    let found = NonNull::new(version.cast_mut()).map(|found| unsafe { found.as_ref() });
    match found.filter(|found| !found.is_tombstone()) {
        Some(found) => &found.word,
        None => core.shared.keys.at(hash),
    }
}

/// Whether this transaction has left its stamp there. Only asked when the stamp is its timestamp.
/// (A version that it has read stays until it ends, so its address stands for it.)
#[cold]
fn has_stamped(
    worker: &Worker<Mvto>,
    version: *const Version<MvtoWords>,
    stamp: *const AtomicU64,
) -> bool {
    let read = worker.access.reads.iter().any(|read| std::ptr::eq(read.version, version));
    !version.is_null() && read || worker.local.more.0.contains(&stamp)
}

/// The version below this transaction's timestamp (null: none), for good, and whether it is the
/// newest committed one.
#[inline]
fn read_finally(
    cx: &mut Cx<'_>,
    record: &Record<MvtoWords>,
    shard: u32,
) -> Step<Mvto, (*mut Version<MvtoWords>, bool)> {
    step::at(Point::ReadWalk);
    loop {
        let (version, newest) = visible_now(cx, record);
        // SAFETY: this step is pinned.
        let stamp = unsafe { stamp_of(cx.core, record.hash, version) };
        let own = || has_stamped(cx.worker, version, stamp);
        // SAFETY: as above, and the snapshot is published.
        match unsafe { leave_stamp(record, version, stamp, cx.worker.snapshot, own) } {
            Stamped::Final => {
                if std::ptr::eq(stamp, cx.core.shared.keys.at(record.hash)) {
                    cx.worker.local.more.0.push(stamp);
                } else {
                    cx.worker.access.reads.push(ReadEntry { record, version, shard });
                }
                return Ok((version, newest));
            }
            Stamped::Overtaken => {}
            Stamped::Conflict => return Err(Conflict::at(AbortReason::ReadValidation, record)),
        }
    }
}

/// Whether no later transaction has read what this write lands on.
#[inline]
fn is_above_readers_of(
    cx: &Cx<'_>,
    write: &WriteEntry<MvtoWords>,
    base: *mut Version<MvtoWords>,
) -> bool {
    // SAFETY: this step is pinned, and has been since the base was found.
    let stamp = unsafe { stamp_of(cx.core, write.hash as u32, base) };
    is_above_readers(stamp, cx.worker.snapshot, || has_stamped(cx.worker, base, stamp))
}

/// Whether no later transaction has read a range that a key without a version may lie in.
#[inline]
fn is_above_ranges(cx: &Cx<'_>, write: &WriteEntry<MvtoWords>) -> bool {
    let table = write.table.get();
    if !table.is_ordered() || fault::on(Fault::SkipRanges) {
        return true;
    }
    let stamp = cx.core.shared.ranges.of(table);
    let own = || has_stamped(cx.worker, std::ptr::null(), stamp);
    is_above_readers(stamp, cx.worker.snapshot, own)
}

/// How contended a write's record is: the later it was written, the more, and most of all if that
/// is still going on. Called by a step, which is pinned.
fn contention_of(write: &WriteEntry<MvtoWords>) -> u64 {
    if write.kind == WriteKind::Insert {
        return 0;
    }
    // SAFETY: the record of an open transaction's write is alive, and this step is pinned.
    match unsafe { top((*write.record).head().version()) } {
        Top::Settled { begin, .. } => begin,
        Top::Undecided(_) => u64::MAX,
    }
}

/// Cicada's pre-check: finds most conflicts before anything is installed that others would meet.
#[inline]
fn check_before_install(cx: &Cx<'_>, write: &WriteEntry<MvtoWords>) -> Step<Mvto, ()> {
    if write.kind == WriteKind::Insert {
        return Ok(());
    }
    // SAFETY: the record of an open transaction's write is alive, and this step is pinned.
    let top = unsafe { top((*write.record).head().version()) };
    if let Top::Settled { base, begin } = top
        && (begin >= cx.worker.snapshot || !is_above_readers_of(cx, write, base))
    {
        return Err(Conflict::at(AbortReason::WriteTooOld, write.record));
    }
    Ok(())
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::protocol::Contention;
    use crate::{Store, TransactionError};
    use std::cell::Cell;
    use std::rc::Rc;
    use std::sync::mpsc::channel;

    const WRITES: u64 = 20;

    /// One of the records that a transaction will write is written by a later one. How many of its
    /// versions it is about to install when it finds out, summed up over which record that is.
    fn installs_in_vain(contention: Contention) -> Result<u64, TransactionError> {
        let store = Store::builder().shards(1).contention(contention).build_with::<Mvto>()?;
        let table = store.table::<u64, u64>("numbers")?;
        store.transact(|tx| (0..WRITES).try_for_each(|key| tx.put(&table, key, 0)))?;
        let installs = Rc::new(Cell::new(0));
        for contended in 0..WRITES {
            let doomed = store.begin()?;
            (0..WRITES).try_for_each(|key| doomed.put(&table, key, 1))?;
            store.transact(|tx| tx.put(&table, contended, 2))?;
            let counted = Rc::clone(&installs);
            step::on(move |point| {
                counted.set(counted.get() + u64::from(point == Point::PrepareInstall));
            });
            let aborted = doomed.commit().expect_err("a later transaction has written");
            step::on(|_| ());
            assert_eq!(aborted.abort().map(|abort| abort.reason()), Some(AbortReason::WriteTooOld));
        }
        Ok(installs.get())
    }

    #[test]
    fn the_options_decide_how_much_is_installed_in_vain() -> Result<(), TransactionError> {
        let installs =
            |pre_check, write_order| installs_in_vain(Contention { pre_check, write_order });
        assert_eq!(installs(true, WriteOrder::Record)?, 0);
        assert_eq!(installs(true, WriteOrder::Contention)?, 0);
        // The record that was written last comes first.
        assert_eq!(installs(false, WriteOrder::Contention)?, WRITES);
        // It comes at each place once.
        assert_eq!(installs(false, WriteOrder::Record)?, (1..=WRITES).sum::<u64>());
        Ok(())
    }

    /// Transactions that began before a reader overwrite each other while it walks. No snapshot
    /// sees what they overwrite, and all are above it; but the reader may stand on it.
    #[test]
    fn what_a_reader_may_stand_on_is_not_reused() -> Result<(), TransactionError> {
        const WRITERS: u64 = 64;
        let store = Store::builder().build_with::<Mvto>()?;
        let table = store.table::<u64, u64>("numbers")?;
        store.transact(|tx| tx.put(&table, 1, 0))?;
        let begin = |value| {
            let writer = store.begin()?;
            writer.put(&table, 1, value)?;
            Ok(writer)
        };
        let writers = (1..=WRITERS).map(begin).collect::<Result<Vec<_>, TransactionError>>()?;
        let (reached, has_reached) = channel();
        let (let_go, go_on) = channel::<()>();
        std::thread::scope(|scope| {
            let (store, table) = (&store, &table);
            let reader = scope.spawn(move || {
                step::on(move |point| {
                    if point == Point::ReadWalk {
                        reached.send(()).expect("the test waits");
                        // Until the other end is gone, also because the test has failed.
                        let _ = go_on.recv();
                    }
                });
                store.view(|tx| Ok(tx.get(table, &1)?.copied()))
            });
            has_reached.recv().expect("the reader comes by");
            writers.into_iter().try_for_each(|writer| writer.commit())?;
            // One worker visits the janitors of all those, and leaves nothing to them.
            (2..20_000).try_for_each(|key| store.transact(|tx| tx.put(table, key, 0)))?;
            let retired = store.stats().versions_retired;
            drop(let_go);
            assert_eq!(reader.join().expect("no panic")?, Some(WRITERS));
            assert!(retired > WRITERS / 2, "only {retired} versions wait for the reader");
            Ok(())
        })
    }
}
