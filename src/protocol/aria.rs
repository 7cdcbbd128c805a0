//! `aria`: transactions in batches that all see the state before the batch, after Aria (Lu, Yu,
//! Cao, Madden: "Aria: A Fast and Practical Deterministic OLTP Database", VLDB 2020), with its
//! deterministic reordering.
//!
//! A batch has two phases. In the first its members execute: they read what the batches before have
//! left, and keep their writes to themselves. When one of them asks for its commit it *reserves*
//! what it has read and written: each place keeps the smallest rank of a reader and of a writer. In
//! the second phase, which begins when every member has reserved, each of them decides for itself:
//! it commits if nobody before it, by rank, writes what it writes (WAW), and not both somebody
//! before it writes what it has read (RAW) and somebody before it has read what it writes (WAR).
//!
//! # Departures
//!
//! * *Nobody hands transactions in.* A batch is open until the first of its writers asks for its
//!   commit; whoever begins after that waits for the next one. So a batch closes, although other
//!   threads are idle or begin transactions all the time. It is as large as there are threads.
//! * *A member that is late is put out.* If it has not come `LOCK_WAIT_MAX_MS` after another one,
//!   the batch closes without it, and it fails when it goes on. So a transaction that is held open
//!   costs others one such wait, and two of one thread cannot wait for each other for ever; but one
//!   that takes longer than that beside others that write does not get through.
//! * *The rank is that of the ages* at the moment when the first one asks, because nobody has put
//!   the transactions into an order before. The age is kept by retries, so whoever fails often
//!   becomes the first of its batch, and that one never has a conflict. The outcome of a batch
//!   follows from ranks, reads and writes, but which transactions make up a batch does not, so
//!   there is no replay here. Nor is there the paper's fallback for batches with many conflicts.
//! * *One that only reads does not wait:* it comes before all writers of its batch.
//! * *Reservations lie in the records.* Those of keys that are absent, or come into being, lie in
//!   buckets by hash, and those of ranges in one place for each table; that others share these
//!   costs aborts and no more. They need not be cleared: they carry the batch's number.
//!
//! # Why the result is strictly serializable
//!
//! 1. *Within a batch* nobody reads what another member writes, and of two that write one key one
//!    fails. So of those who commit one has to come before another only if it has read what the
//!    other one writes. In a cycle of such edges the member with the greatest rank has read what
//!    somebody before it writes, and writes what somebody before it has read: it fails. So there is
//!    no cycle, and any order that follows the edges explains them.
//! 2. *Absent keys.* While members execute nobody commits, so nothing appears. A read that finds no
//!    value reserves the key's bucket, and so does a write that finds none, whichever record it has
//!    gone through: reclamation may have taken that of a removed key out of use meanwhile. Ranges
//!    conflict in the same way with writes that find no value.
//! 3. *Between batches.* The next one opens when the last member of this one has left, with its
//!    versions in place. Batches follow each other in real time, and no member of one has returned
//!    with a write before another one of it began.
//! 4. *Who was put out* may see versions that the batch installs, or what was there before them; it
//!    never commits, and its closure is not believed (`commit::rehearse`). What it has seen stays
//!    until it ends: versions that are taken back are marked as `shown`.

use super::access_set::{AbsentEntry, ReadEntry, WriteEntry, WriteKind};
use super::context::{Context, Core, Worker};
use super::stamps::{ByHash, ByTable, raise, seen};
use super::{Conflict, Isolation, Progress, Protocol, Ranges, Reads, Step, single_version};
use crate::error::AbortReason;
use crate::limits::{LOCK_WAIT_MAX_MS, OPEN_TRANSACTIONS_MAX};
use crate::shard::members;
use crate::storage::Words;
use crate::storage::hash_index::Witness;
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::Version;
use crate::sync::fault::{self, Fault};
use crate::sync::step::{self, Step as Point};
use crate::sync::{AtomicU64, CachePadded, Ordering};
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const WAIT_MAX: Duration = Duration::from_millis(LOCK_WAIT_MAX_MS);
/// Low bits of a reservation: the rank, counted from the end.
const RANK_BITS: u32 = 16;
const RANK_MAX: u64 = (1 << RANK_BITS) - 1;
const _: () = assert!(OPEN_TRANSACTIONS_MAX as u64 <= RANK_MAX);

/// Batches that all see the state before the batch (Lu, Yu, Cao, Madden: "Aria: A Fast and
/// Practical Deterministic OLTP Database", VLDB 2020).
#[derive(Debug)]
pub struct Aria;

/// Reservations in each record.
#[derive(Debug)]
pub struct AriaWords;

impl Words for AriaWords {
    type Record = Reservations;
    type Version = ();
}

/// Who was the first of a batch to reserve this place. The later the batch and the smaller the
/// rank, the greater is the word.
#[derive(Debug, Default)]
pub struct Reservations {
    reads: AtomicU64,
    writes: AtomicU64,
}

/// How far a batch is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    /// Whoever begins joins it.
    #[default]
    Open,
    /// One of its members has asked for its commit: nobody joins.
    Called,
    /// Its members decide.
    Closed,
}

/// A member: the snapshot of its first attempt, and its worker's number.
type Member = (u64, u64);

#[derive(Debug, Default)]
struct Batch {
    number: u64,
    phase: Phase,
    /// In the order of their ranks, once it is called.
    members: Vec<Member>,
    /// Members that execute.
    executing: usize,
    /// Members that have reserved, and have not ended.
    deciding: usize,
}

/// The present batch.
#[derive(Debug, Default)]
pub struct Sequencer {
    batch: Mutex<Batch>,
    changed: Condvar,
    /// Batches that are closed: the number of the first one that is not.
    closed: CachePadded<AtomicU64>,
    /// For the absence of keys.
    keys: ByHash<Reservations>,
    /// For the absence of keys in ranges.
    ranges: ByTable<Reservations>,
}

impl Sequencer {
    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while a condition holds; false if that was too long.
    fn wait_while<'a>(
        &self,
        batch: MutexGuard<'a, Batch>,
        holds: impl Fn(&Batch) -> bool,
    ) -> (MutexGuard<'a, Batch>, bool) {
        let (batch, waited) = self
            .changed
            .wait_timeout_while(batch, WAIT_MAX, |batch| holds(batch))
            .unwrap_or_else(PoisonError::into_inner);
        (batch, !waited.timed_out())
    }

    /// Joins the next batch that opens, or the one that is open. Returns its number.
    fn join(&self, member: Member) -> Result<u64, AbortReason> {
        let (mut batch, opened) = self.wait_while(self.lock(), |batch| batch.phase != Phase::Open);
        if !opened {
            return Err(AbortReason::LockTimeout);
        }
        batch.members.push(member);
        batch.executing += 1;
        Ok(batch.number)
    }

    /// Lets nobody join any more. Returns the member's rank.
    fn call(&self, number: u64, member: Member) -> Result<u64, AbortReason> {
        let mut batch = self.lock();
        if batch.number != number || batch.phase == Phase::Closed {
            return Err(AbortReason::Overruled);
        }
        if batch.phase == Phase::Open {
            batch.phase = Phase::Called;
            batch.members.sort_unstable();
        }
        let rank = batch.members.iter().position(|other| *other == member);
        Ok(rank.expect("a member of the batch") as u64)
    }

    /// A member has reserved: waits until all have, or puts out those who are late.
    fn arrive(&self, number: u64) -> Result<(), AbortReason> {
        let mut batch = self.lock();
        if batch.number != number || batch.phase == Phase::Closed {
            return Err(AbortReason::Overruled);
        }
        batch.executing -= 1;
        batch.deciding += 1;
        if batch.executing > 0 {
            let (waited, in_time) = self.wait_while(batch, |batch| batch.phase != Phase::Closed);
            if in_time {
                return Ok(());
            }
            batch = waited;
        }
        self.close(&mut batch);
        Ok(())
    }

    fn close(&self, batch: &mut Batch) {
        batch.phase = Phase::Closed;
        batch.executing = 0;
        // SeqCst: before anything of the batch is installed. Pairs with `is_closed`.
        self.closed.store(batch.number + 1, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// Whether the members of a batch decide, or have ended. Whoever has read what was installed
    /// then finds that they do.
    #[inline]
    fn is_closed(&self, number: u64) -> bool {
        // SeqCst: pairs with `close`; it stays behind the reads.
        self.closed.load(Ordering::SeqCst) > number
    }

    /// A member that has not reserved ends; also one that was put out.
    fn leave(&self, number: u64, member: Member) {
        let mut batch = self.lock();
        if batch.number != number || batch.phase == Phase::Closed {
            return;
        }
        batch.executing -= 1;
        if batch.phase == Phase::Open {
            let place = batch.members.iter().position(|other| *other == member);
            batch.members.swap_remove(place.expect("a member of the batch"));
        } else if batch.executing == 0 && batch.deciding > 0 {
            self.close(&mut batch);
        } else if batch.executing == 0 {
            self.open_next(&mut batch);
        }
    }

    /// A member that has reserved ends.
    fn end(&self) {
        let mut batch = self.lock();
        batch.deciding -= 1;
        if batch.deciding == 0 {
            self.open_next(&mut batch);
        }
    }

    fn open_next(&self, batch: &mut Batch) {
        batch.number += 1;
        batch.phase = Phase::Open;
        batch.members.clear();
        self.changed.notify_all();
    }
}

/// What a transaction is doing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Ended,
    Executes,
    Decides,
}

/// One transaction's place in its batch.
#[derive(Debug, Default)]
pub struct Local {
    batch: u64,
    stage: Stage,
    /// What it leaves where it reserves.
    mark: u64,
    /// The places of tables of which it has read ranges, a bit for each.
    walked: u64,
}

type Cx<'a> = Context<'a, Aria>;

fn member_of(worker: &Worker<Aria>) -> Member {
    (worker.age, worker.id)
}

/// Gives up if the batch was closed without this transaction.
#[inline]
fn heed_closing(cx: &Cx<'_>) -> Step<Aria, ()> {
    match cx.core.shared.is_closed(cx.worker.local.batch) {
        true => Err(Conflict::new(AbortReason::Overruled)),
        false => Ok(()),
    }
}

/// The newest version of a record, which stays that while members execute.
#[inline]
fn newest(cx: &Cx<'_>, record: &Record<AriaWords>) -> Step<Aria, *mut Version<AriaWords>> {
    step::at(Point::ReadWalk);
    heed_closing(cx)?;
    if record.head().is_dead() {
        // The key may have another record.
        return Err(Conflict::at(AbortReason::ReadValidation, record));
    }
    Ok(single_version::present(record))
}

/// Whether a write makes a key appear.
fn creates(write: &WriteEntry<AriaWords>) -> bool {
    // SAFETY: the record of an open transaction's write is alive; the calling step is pinned.
    write.kind == WriteKind::Insert || single_version::present(unsafe { &*write.record }).is_null()
}

/// Shows every place that the transaction has read.
fn each_read(cx: &Cx<'_>, mut show: impl FnMut(&Reservations)) {
    let (shared, access) = (&cx.core.shared, &cx.worker.access);
    for read in &access.reads {
        // SAFETY: records that an open transaction has read are not freed; this step is pinned.
        let record = unsafe { &*read.record };
        show(&record.word);
        if read.version.is_null() {
            show(shared.keys.at(record.hash));
        }
    }
    access.absents.iter().for_each(|absent| show(shared.keys.at(absent.hash as u32)));
    members(cx.worker.local.walked).for_each(|place| show(shared.ranges.at(place as usize)));
}

/// Shows every place that the transaction writes, and whether only one may write there.
fn each_write(cx: &Cx<'_>, mut show: impl FnMut(&Reservations, bool)) {
    let shared = &cx.core.shared;
    for write in &cx.worker.access.writes {
        if write.kind != WriteKind::Insert {
            // SAFETY: the record of an open transaction's write is alive.
            show(&unsafe { &*write.record }.word, true);
        }
        if creates(write) {
            show(shared.keys.at(write.hash as u32), true);
            let table = write.table.get();
            if table.is_ordered() {
                show(shared.ranges.of(table), false);
            }
        }
    }
}

/// Reserves, waits for the others, and decides.
fn come_to_a_decision(cx: &mut Cx<'_>) -> Step<Aria, ()> {
    if cx.worker.local.stage == Stage::Decides {
        return Ok(());
    }
    let (shared, batch) = (&cx.core.shared, cx.worker.local.batch);
    let rank = shared.call(batch, member_of(cx.worker)).map_err(Conflict::new)?;
    let mark = batch << RANK_BITS | (RANK_MAX - rank);
    cx.worker.local.mark = mark;
    each_read(cx, |place| {
        raise(&place.reads, mark);
    });
    each_write(cx, |place, _| {
        raise(&place.writes, mark);
    });
    shared.arrive(batch).map_err(Conflict::new)?;
    cx.worker.local.stage = Stage::Decides;
    let (mut waw, mut raw, mut war) = (false, false, false);
    each_write(cx, |place, alone| {
        waw |= alone && seen(&place.writes) > mark;
        war |= seen(&place.reads) > mark;
    });
    each_read(cx, |place| raw |= seen(&place.writes) > mark);
    if waw || (raw && war && !fault::on(Fault::SkipValidation)) {
        return Err(Conflict::new(AbortReason::BatchConflict));
    }
    Ok(())
}

fn leave(core: &Core<Aria>, worker: &mut Worker<Aria>) {
    match std::mem::take(&mut worker.local.stage) {
        Stage::Ended => {}
        Stage::Executes => core.shared.leave(worker.local.batch, member_of(worker)),
        Stage::Decides => core.shared.end(),
    }
}

#[allow(private_interfaces, reason = "see `Protocol`")]
impl Protocol for Aria {
    const NAME: &'static str = "aria";
    const SUMMARY: &'static str =
        "batches that see the state before the batch, reservations, reordering (Aria)";
    const ISOLATION: Isolation = Isolation::Serializable;
    const STRICT: bool = true;
    const PROGRESS: Progress = Progress::Blocking;
    const READS: Reads = Reads::Newest;
    const VALIDATES_READ_ONLY: bool = true;
    const TAKES_LOCKS: bool = true;
    const RANGES: Ranges = Ranges::Unchecked;
    #[cfg(all(test, not(loom)))]
    const FAULTS: &'static [Fault] = &[Fault::SkipValidation, Fault::SkipRanges];

    type Words = AriaWords;
    type Shared = Sequencer;
    type Local = Local;

    fn begin(core: &Core<Self>, worker: &mut Worker<Self>) -> Step<Self, ()> {
        let batch = core.shared.join(member_of(worker)).map_err(Conflict::new)?;
        worker.local = Local { batch, stage: Stage::Executes, mark: 0, walked: 0 };
        Ok(())
    }

    #[inline]
    fn read(
        cx: &mut Cx<'_>,
        record: &Record<AriaWords>,
        shard: u32,
    ) -> Step<Self, *mut Version<AriaWords>> {
        let version = newest(cx, record)?;
        cx.worker.access.reads.push(ReadEntry { record, version, shard });
        Ok(version)
    }

    #[inline]
    fn read_base(
        cx: &mut Cx<'_>,
        record: &Record<AriaWords>,
        _shard: u32,
    ) -> Step<Self, *mut Version<AriaWords>> {
        newest(cx, record)
    }

    #[inline]
    fn read_absent(
        cx: &mut Cx<'_>,
        table: &TableCore<AriaWords>,
        witness: Witness<AriaWords>,
        hash: u64,
        shard: u32,
    ) -> Step<Self, ()> {
        heed_closing(cx)?;
        cx.worker.access.absents.push(AbsentEntry { witness, table, hash, shard });
        Ok(())
    }

    fn read_range(cx: &mut Cx<'_>, table: &TableCore<AriaWords>) -> Step<Self, ()> {
        heed_closing(cx)?;
        if !fault::on(Fault::SkipRanges) {
            cx.worker.local.walked |= 1 << ByTable::<Reservations>::place(table);
        }
        Ok(())
    }

    fn prepare(cx: &mut Cx<'_>, writes: Range<usize>) -> Step<Self, ()> {
        if writes.is_empty() {
            return Ok(());
        }
        come_to_a_decision(cx)?;
        for index in writes {
            // To those who were put out.
            cx.worker.access.writes[index].shown = true;
            single_version::install(cx, index)?;
        }
        Ok(())
    }

    fn draw(cx: &mut Cx<'_>) -> Step<Self, ()> {
        if cx.worker.local.stage == Stage::Executes {
            // It has written nothing, and comes before all that its batch writes.
            heed_closing(cx)?;
        }
        single_version::draw(cx);
        Ok(())
    }

    #[inline]
    fn validate(_cx: &mut Cx<'_>, _reads: Range<usize>, _absents: Range<usize>) -> Step<Self, ()> {
        Ok(())
    }

    fn finish(cx: &mut Cx<'_>) {
        single_version::stamp(cx);
        leave(cx.core, cx.worker);
    }

    fn abort(cx: &mut Cx<'_>) {
        single_version::take_back(cx);
        leave(cx.core, cx.worker);
    }

    fn end(core: &Core<Self>, worker: &mut Worker<Self>) {
        leave(core, worker);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::error::{Abort, TransactionError};
    use crate::store::{OrderedTable, Store, Table, Transaction};
    use crate::sync::fault::Armed;
    use std::sync::Barrier;

    type Numbers = Table<u64, u64, Aria>;
    type Body<'b> = &'b (dyn Fn(&Transaction<'_, Aria>) -> Result<(), TransactionError> + Sync);

    fn store_of(shards: usize) -> (Store<Aria>, Numbers) {
        let store = Store::builder().shards(shards).build_with::<Aria>().expect("valid");
        let table: Numbers = store.table("t").expect("a new table");
        store.transact(|tx| (0..4).try_for_each(|key| tx.put(&table, key, 0))).expect("alone");
        (store, table)
    }

    fn reason<T>(outcome: Result<T, TransactionError>) -> Option<AbortReason> {
        outcome.err()?.abort().map(Abort::reason)
    }

    /// Runs transactions as one batch, the first one the oldest. Returns how they end.
    fn batch<const N: usize>(
        store: &Store<Aria>,
        bodies: [Body<'_>; N],
    ) -> Vec<Option<AbortReason>> {
        let turns: Vec<Barrier> = (0..N).map(|_| Barrier::new(N)).collect();
        let run = |place: usize, body: Body<'_>| {
            let mut own = None;
            for (turn, barrier) in turns.iter().enumerate() {
                if turn == place {
                    own = Some(store.begin().expect("the batch is open"));
                }
                barrier.wait();
            }
            let own = own.expect("begun in its turn");
            reason(body(&own).and_then(|()| own.commit()))
        };
        let run = &run;
        std::thread::scope(|scope| {
            let threads = bodies.into_iter().enumerate();
            let threads: Vec<_> =
                threads.map(|(place, body)| scope.spawn(move || run(place, body))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        })
    }

    fn all(store: &Store<Aria>, table: &Numbers) -> Vec<Option<u64>> {
        let values = |tx: &Transaction<'_, Aria>| {
            (0..4).map(|key| Ok(tx.get(table, &key)?.copied())).collect()
        };
        store.view(values).expect("alone")
    }

    #[test]
    fn members_see_the_state_before_and_are_reordered() {
        let _armed = Armed::new(None);
        for shards in [1, 4] {
            let (store, table) = store_of(shards);
            // Each reads what the one before it writes: the last one comes first.
            let ends = batch(
                &store,
                [
                    &|tx| tx.put(&table, 0, 7),
                    &|tx| {
                        let seen = *tx.get(&table, &0)?.expect("present");
                        tx.put(&table, 1, seen + 1)
                    },
                    &|tx| {
                        let seen = *tx.get(&table, &1)?.expect("present");
                        tx.put(&table, 2, seen + 1)
                    },
                ],
            );
            assert_eq!(ends, [None; 3]);
            assert_eq!(all(&store, &table), [7, 1, 1, 0].map(Some));
        }
    }

    #[test]
    fn of_those_who_write_one_key_the_oldest_commits() {
        let _armed = Armed::new(None);
        let (store, table) = store_of(4);
        let lost = Some(AbortReason::BatchConflict);
        for key in [0, 100] {
            // A key that is there, and one that each of them inserts.
            let add = |tx: &Transaction<'_, Aria>, by: u64| {
                let old = tx.get(&table, &key)?.copied().unwrap_or(0);
                tx.put(&table, key, old + by)
            };
            let ends = batch(&store, [&|tx| add(tx, 1), &|tx| add(tx, 10), &|tx| add(tx, 100)]);
            assert_eq!(ends, [None, lost, lost]);
            assert_eq!(store.view(|tx| Ok(tx.get(&table, &key)?.copied())), Ok(Some(1)));
        }
    }

    /// Each reads what the other one writes. Returns how they end.
    fn skew(keys: [u64; 2]) -> Vec<Option<AbortReason>> {
        let (store, table) = store_of(4);
        let one = |tx: &Transaction<'_, Aria>, reads: u64, writes: u64| {
            let seen = tx.get(&table, &reads)?.copied().unwrap_or(0);
            tx.put(&table, writes, seen + 1)
        };
        let [a, b] = keys;
        batch(&store, [&|tx| one(tx, a, b), &|tx| one(tx, b, a)])
    }

    #[test]
    fn of_two_that_read_what_the_other_writes_the_younger_fails() {
        let _armed = Armed::new(None);
        for keys in [[0, 1], [100, 101], [0, 101]] {
            assert_eq!(skew(keys), [None, Some(AbortReason::BatchConflict)], "{keys:?}");
        }
    }

    /// The test above must be able to fail.
    #[test]
    fn skipped_validation_is_noticed() {
        let _armed = Armed::new(Some(Fault::SkipValidation));
        assert_eq!(skew([0, 1]), [None; 2]);
    }

    #[test]
    fn of_two_that_insert_into_the_others_range_the_younger_fails() {
        let _armed = Armed::new(None);
        let store = Store::builder().shards(1).build_with::<Aria>().expect("valid");
        let table: OrderedTable<u64, u64, Aria> = store.ordered_table("t").expect("a new table");
        let count_then_insert = |tx: &Transaction<'_, Aria>, key: u64| {
            let count = tx.range(&table, ..)?.count() as u64;
            tx.put(&table, key, count)
        };
        let ends = batch(&store, [&|tx| count_then_insert(tx, 1), &|tx| count_then_insert(tx, 2)]);
        assert_eq!(ends, [None, Some(AbortReason::BatchConflict)]);
    }

    #[test]
    fn a_member_that_is_late_is_put_out() {
        let _armed = Armed::new(None);
        let (store, table) = store_of(1);
        let [writer, reader] = [(), ()].map(|()| store.begin().expect("room"));
        let seen = reader.get(&table, &0).expect("the batch is open").expect("present");
        writer.put(&table, 1, 1).expect("private");
        store.transact(|tx| tx.put(&table, 0, 5)).expect("it does not wait for ever");
        assert_eq!(reason(reader.get(&table, &1)), Some(AbortReason::Overruled));
        assert_eq!(reason(writer.commit()), Some(AbortReason::Overruled));
        assert_eq!(*seen, 0, "a reference lasts as long as its transaction");
        drop(reader);
        assert_eq!(all(&store, &table), [5, 0, 0, 0].map(Some));
    }

    #[test]
    fn a_reader_waits_for_nobody() {
        let _armed = Armed::new(None);
        let (store, table) = store_of(1);
        let writer = store.begin().expect("room");
        writer.put(&table, 0, 5).expect("private");
        assert_eq!(all(&store, &table), [0; 4].map(Some));
        writer.commit().expect("it is alone in its batch");
        assert_eq!(all(&store, &table), [5, 0, 0, 0].map(Some));
    }
}
