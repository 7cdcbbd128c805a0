//! `hstore`: one lock for each shard, and nothing else: whoever has a shard's lock has the shard to
//! itself.
//!
//! The execution model is that of H-Store (Kallman et al., VLDB 2008): a partition runs one
//! transaction at a time, so that a transaction on one partition needs no concurrency control. A
//! transaction on several takes all of them, and the more of those there are the less runs at the
//! same time. With one shard this is `serial`.
//!
//! # Departures
//!
//! * H-Store is told which partitions a transaction needs, by the declaration of its stored
//!   procedure, before it starts. Here nobody declares anything: a shard is locked when it is first
//!   needed. That is done by waiting where the shard comes after all those that the transaction has
//!   already, and otherwise by trying: if that fails it aborts, remembers which shards it has asked
//!   for so far, and takes them all in ascending order when it begins again. A transaction that
//!   `Store::transact` retries on another worker learns its shards anew.
//! * H-Store runs a partition's transactions on a thread of its own, in the order of their
//!   timestamps. Here the callers' threads do it. A lock that is free goes to whoever asks; of
//!   those who have waited long the oldest is the next (see `record_lock.rs`).
//!
//! # Why there is no deadlock, and who may starve
//!
//! Whoever waits for a shard has only shards before it. So of those who wait, the ones for the
//! greatest shard wait for transactions that do not wait, or for an older one of their own kind.
//! A transaction that has all its shards from the beginning aborts no more (but for a write to a
//! record that reclamation takes out of use, see below): after as many failures as there are shards
//! it only ever waits, and of the waiting the oldest is the next. (A wait ends after
//! `LOCK_WAIT_MAX_MS`; the age and the shards are remembered then too.)
//!
//! # Why the result is strictly serializable
//!
//! Let s(T) be the moment when T asks for the end: it has the locks of all shards that it has met,
//! since before it met them and until its outcome is in place. So the order of the s(T) is a serial
//! order: of two that met one shard, one had ended before the other got the lock. And s(T) lies
//! between T's begin and its return. For a transaction that only reads this is the same; it is why
//! a `view` takes locks too, and why it need not validate.
//!
//! *Ranges.* Whoever reads one takes the locks of all shards first.
//!
//! *Absent keys, inserts, deletes.* All records of a key, present and future, lie in one shard. A
//! key is looked up before its shard is locked, so what the lookup found is checked after: that the
//! record is still in use, or the witness of an absence still good. From then on nobody else
//! inserts. Reclamation may take the record of a deleted key out of use, which leaves the key
//! absent; only a write to that very record then fails, as a conflict.

use super::access_set::{AbsentEntry, ReadEntry};
use super::context::{Context, Core, Worker};
use super::lock_parts::Mode;
use super::no_wait::Refuse;
use super::record_lock::{Lock, Nodes, Party, Rule};
use super::{Conflict, Isolation, Place, Progress, Protocol, Ranges, Reads, Step, single_version};
use crate::error::AbortReason;
use crate::limits::{LOCK_WAIT_MAX_MS, SHARDS_MAX};
use crate::shard::members;
use crate::storage::NoWords;
use crate::storage::hash_index::{HashIndex, Witness};
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::Version;
use crate::sync::CachePadded;
#[cfg(all(test, not(loom)))]
use crate::sync::fault::Fault;
use std::ops::Range;
use std::time::Duration;

const LOCK_WAIT_MAX: Duration = Duration::from_millis(LOCK_WAIT_MAX_MS);

/// One lock for each shard (Kallman et al.: "H-Store: A High-Performance, Distributed Main Memory
/// Transaction Processing System", VLDB 2008).
#[derive(Debug)]
pub struct HStore;

/// The locks of a store's shards.
#[derive(Debug)]
pub struct Partitions([CachePadded<Lock>; SHARDS_MAX]);

impl Default for Partitions {
    fn default() -> Self {
        Partitions(std::array::from_fn(|_| CachePadded::default()))
    }
}

/// The shards of one open transaction, and what is to be remembered when it is tried again.
#[derive(Debug, Default)]
pub struct Local {
    /// The node with a shard's number stands in the list of that shard's lock.
    nodes: Nodes,
    /// One bit for each shard whose lock it has.
    held: u64,
    /// One bit for each shard that it, or an earlier attempt, has asked for.
    known: u64,
    /// Whose shards these are.
    age: u64,
}

/// Whoever asks waits: the order of the shards prevents deadlocks.
struct InOrder;

impl Rule for InOrder {
    fn meet(_asking: &Party, _other: &Party, _owns: bool) -> Result<(), AbortReason> {
        Ok(())
    }
}

impl Local {
    /// The shards that an earlier attempt of this transaction has asked for.
    fn remember(&mut self, age: u64, retries: u32) -> u64 {
        if retries == 0 || self.age != age {
            (self.age, self.known) = (age, 0);
        }
        self.known
    }

    /// Gets the lock of a shard, if it is not ours already. True if it is a new one.
    #[inline]
    fn enter(&mut self, partitions: &Partitions, shard: u32) -> Result<bool, AbortReason> {
        if self.held & (1 << shard) != 0 {
            return Ok(false);
        }
        self.enter_new(partitions, shard)?;
        Ok(true)
    }

    fn enter_new(&mut self, partitions: &Partitions, shard: u32) -> Result<(), AbortReason> {
        let (lock, bit) = (&partitions.0[shard as usize], 1 << shard);
        self.known |= bit;
        let is_last = self.held < bit;
        let node = self.nodes.get(shard as usize);
        if is_last {
            lock.acquire::<InOrder>(node, Mode::Exclusive, LOCK_WAIT_MAX)?;
        } else {
            lock.acquire::<Refuse>(node, Mode::Exclusive, LOCK_WAIT_MAX)?;
        }
        self.held |= bit;
        Ok(())
    }

    fn enter_all(&mut self, partitions: &Partitions, shards: u64) -> Result<(), AbortReason> {
        members(shards).try_for_each(|shard| self.enter_new(partitions, shard))
    }

    fn leave_all(&mut self, partitions: &Partitions) {
        for shard in members(self.held) {
            let node = self.nodes.get(shard as usize);
            partitions.0[shard as usize].release(node);
        }
        self.held = 0;
    }
}

type Cx<'a> = Context<'a, HStore>;

/// Gets the lock of a shard. True if it is a new one: what was looked up before may have changed.
#[inline]
fn enter(cx: &mut Cx<'_>, shard: u32) -> Step<HStore, bool> {
    cx.worker.local.enter(&cx.core.shared, shard).map_err(Conflict::new)
}

#[allow(private_interfaces, reason = "see `Protocol`")]
impl Protocol for HStore {
    const NAME: &'static str = "hstore";
    const SUMMARY: &'static str = "one lock for each shard, nothing for each record";
    const ISOLATION: Isolation = Isolation::Serializable;
    const STRICT: bool = true;
    const PROGRESS: Progress = Progress::Blocking;
    const READS: Reads = Reads::Newest;
    const VALIDATES_READ_ONLY: bool = false;
    const TAKES_LOCKS: bool = true;
    const RANGES: Ranges = Ranges::Unchecked;
    #[cfg(all(test, not(loom)))]
    const FAULTS: &'static [Fault] = &[Fault::GrantUnchecked];

    type Words = NoWords;
    type Shared = Partitions;
    type Local = Local;

    fn begin(core: &Core<Self>, worker: &mut Worker<Self>) -> Step<Self, ()> {
        let local = &mut worker.local;
        local.nodes.transaction().begin(worker.age, worker.id);
        let known = local.remember(worker.age, worker.retries);
        let shards = if core.ring.shards() == 1 { 1 } else { known };
        let entered = local.enter_all(&core.shared, shards);
        entered.map_err(|reason| {
            // A transaction that has not begun does not end.
            local.leave_all(&core.shared);
            Conflict::new(reason)
        })
    }

    #[inline]
    fn read(
        cx: &mut Cx<'_>,
        record: &Record<NoWords>,
        shard: u32,
    ) -> Step<Self, *mut Version<NoWords>> {
        let version = Self::read_base(cx, record, shard)?;
        if cx.worker.writes {
            cx.worker.access.reads.push(ReadEntry { record, version, shard });
        }
        Ok(version)
    }

    fn read_range(cx: &mut Cx<'_>, _table: &TableCore<NoWords>) -> Step<Self, ()> {
        let shards = cx.core.ring.shards() as u32;
        // Whoever fails at one of them asks for all of them next time.
        cx.worker.local.known |= u64::MAX >> (u64::BITS - shards);
        // Of the range nothing was looked up before.
        (0..shards).try_for_each(|shard| enter(cx, shard).map(|_| ()))
    }

    #[inline]
    fn read_base(
        cx: &mut Cx<'_>,
        record: &Record<NoWords>,
        shard: u32,
    ) -> Step<Self, *mut Version<NoWords>> {
        let new = enter(cx, shard)?;
        if new && record.head().is_dead() {
            return Err(Conflict::at(AbortReason::ReadValidation, record));
        }
        Ok(single_version::present(record))
    }

    #[inline]
    fn read_absent(
        cx: &mut Cx<'_>,
        table: &TableCore<NoWords>,
        witness: Witness<NoWords>,
        hash: u64,
        shard: u32,
    ) -> Step<Self, ()> {
        let new = enter(cx, shard)?;
        if new && !HashIndex::still_absent(&witness, hash, |_| false) {
            let at = Some(Place::Key(table, hash));
            return Err(Conflict { reason: AbortReason::ReadValidation, at });
        }
        if cx.worker.writes {
            cx.worker.access.absents.push(AbsentEntry { witness, table, hash, shard });
        }
        Ok(())
    }

    #[inline]
    fn write(cx: &mut Cx<'_>, _record: *mut Record<NoWords>, shard: u32) -> Step<Self, ()> {
        // What was looked up before is checked by the install.
        enter(cx, shard).map(|_| ())
    }

    fn prepare(cx: &mut Cx<'_>, mut writes: Range<usize>) -> Step<Self, ()> {
        writes.try_for_each(|index| single_version::install(cx, index))
    }

    #[inline]
    fn draw(cx: &mut Cx<'_>) -> Step<Self, ()> {
        single_version::draw(cx);
        Ok(())
    }

    #[inline]
    fn validate(_cx: &mut Cx<'_>, _reads: Range<usize>, _absents: Range<usize>) -> Step<Self, ()> {
        Ok(())
    }

    #[inline]
    fn finish(cx: &mut Cx<'_>) {
        single_version::stamp(cx);
        cx.worker.local.leave_all(&cx.core.shared);
    }

    fn abort(cx: &mut Cx<'_>) {
        single_version::take_back(cx);
        cx.worker.local.leave_all(&cx.core.shared);
    }

    #[inline]
    fn end(core: &Core<Self>, worker: &mut Worker<Self>) {
        worker.local.leave_all(&core.shared);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::store::{Attempts, Store, Table};
    use std::sync::Barrier;

    #[test]
    fn shards_in_order_are_waited_for_and_others_are_tried() {
        let partitions = Partitions::default();
        let [mut one, mut two] = [Local::default(), Local::default()];
        assert_eq!(one.enter(&partitions, 2), Ok(true));
        assert_eq!(one.enter(&partitions, 2), Ok(false), "it has that one");
        assert_eq!(two.enter(&partitions, 3), Ok(true));
        assert_eq!(two.enter(&partitions, 2), Err(AbortReason::LockConflict));
        assert_eq!(two.enter(&partitions, 1), Ok(true), "nobody has that one");
        two.leave_all(&partitions);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| two.enter_all(&partitions, 0b1110).map(|()| two.held));
            std::thread::yield_now();
            assert_eq!(one.enter(&partitions, 0), Ok(true), "not needed by the other");
            one.leave_all(&partitions);
            assert_eq!(waits.join().expect("no panic"), Ok(0b1110));
        });
        two.leave_all(&partitions);
        assert!(partitions.0.iter().all(|lock| lock.is_free()));
    }

    #[test]
    fn a_retry_remembers_what_its_transaction_has_asked_for() {
        let partitions = Partitions::default();
        let [mut other, mut local] = [Local::default(), Local::default()];
        other.enter(&partitions, 1).expect("free");
        assert_eq!(local.remember(7, 0), 0);
        local.enter(&partitions, 5).expect("free");
        local.enter(&partitions, 1).expect_err("taken, and out of order");
        local.leave_all(&partitions);
        assert_eq!(local.remember(7, 1), 0b10_0010);
        assert_eq!(local.remember(8, 2), 0, "of another transaction");
        assert_eq!(local.remember(8, 0), 0, "of a first attempt");
    }

    fn store_of(shards: usize) -> (Store<HStore>, Table<u64, u64, HStore>) {
        let store = Store::builder().shards(shards).build_with::<HStore>().expect("valid");
        let table = store.table("t").expect("a new table");
        (store, table)
    }

    #[test]
    fn who_knows_its_shards_fails_no_more() {
        const THREADS: u64 = 4;
        const KEYS: u64 = 16;
        let (store, table) = store_of(8);
        store.transact(|tx| (0..KEYS).try_for_each(|key| tx.put(&table, key, 100))).expect("alone");
        let all_here = Barrier::new(THREADS as usize);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (store, table, all_here) = (&store, &table, &all_here);
                scope.spawn(move || {
                    // With a worker of its own, so that a retry is the same worker's.
                    let own = store.begin().expect("room");
                    all_here.wait();
                    drop(own);
                    for round in 0..2_000 {
                        let (from, to) = ((7 * round + thread) % KEYS, (5 * round + thread) % KEYS);
                        let mut attempts = Attempts::default();
                        store
                            .transact_observed(&mut attempts, |tx| {
                                tx.update(table, &from, |value| value.wrapping_sub(1))?;
                                std::thread::yield_now();
                                tx.update(table, &to, |value| value.wrapping_add(1))?;
                                Ok(())
                            })
                            .expect("no misuse");
                        assert!(attempts.attempts <= 2, "{:?}", attempts.aborts);
                    }
                });
            }
        });
        let sum = store.view(|tx| {
            (0..KEYS).try_fold(0u64, |sum, key| {
                Ok(sum.wrapping_add(*tx.get(&table, &key)?.expect("it is never removed")))
            })
        });
        assert_eq!(sum, Ok(100 * KEYS));
    }

    #[test]
    fn whoever_fails_at_a_range_has_all_shards_next_time() {
        const SHARDS: usize = 4;
        let store = Store::builder().shards(SHARDS).build_with::<HStore>().expect("valid");
        let table = store.ordered_table::<u64, u64>("t").expect("a new table");
        let core = &store.core;
        let locks = &core.shared.0[..SHARDS];
        let is_of_third =
            |key: &u64| core.ring.shard_of(core.hasher.hash_one(*key) as u32) as usize == 2;
        let key = (0..).find(is_of_third).expect("one in four is");
        let mut other = Local::default();
        other.enter(&core.shared, 0).expect("free");
        let mut taken = Vec::new();
        let found = store.transact(|tx| {
            taken.push(locks.iter().filter(|lock| !lock.is_free()).count());
            // The range comes to the first shard after this one, so it does not wait.
            tx.get(&table, &key)?;
            let next = tx.range(&table, ..)?.next().transpose().map(|entry| entry.is_some());
            other.leave_all(&core.shared);
            next
        });
        assert_eq!(found, Ok(false), "nothing is there");
        assert_eq!(taken, [1, SHARDS], "that of the other, then all");
    }

    #[test]
    fn what_was_looked_up_before_the_lock_is_looked_at_again() {
        for shards in [1, 4] {
            let (store, table) = store_of(shards);
            for key in 0..100 {
                let writer = store.begin().expect("room");
                writer.put(&table, key, 7).expect("nobody else is here");
                std::thread::scope(|scope| {
                    let reads = || store.view(|tx| Ok(tx.get(&table, &key)?.copied()));
                    let reader = scope.spawn(reads);
                    std::thread::yield_now();
                    writer.commit().expect("it has its locks");
                    assert_eq!(reader.join().expect("no panic"), Ok(Some(7)));
                });
            }
        }
    }

    #[test]
    fn a_wait_for_nothing_ends() {
        let (store, table) = store_of(1);
        let holder = store.begin().expect("room");
        let error = store.begin().map(|_| ()).expect_err("the only shard is taken");
        assert_eq!(error.abort().map(crate::Abort::reason), Some(AbortReason::LockTimeout));
        holder.put(&table, 1, 1).expect("it has the lock");
        holder.commit().expect("it has the lock");
        assert_eq!(store.view(|tx| Ok(tx.get(&table, &1)?.copied())), Ok(Some(1)));
    }
}
