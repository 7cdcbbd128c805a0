//! `silo`: single-version optimistic concurrency control with epochs, after Silo (Tu, Zheng,
//! Kohler, Liskov, Madden: "Speedy Transactions in Multicore In-Memory Databases", SOSP 2013).
//!
//! A commit locks what it writes in one global order, reads the epoch, checks what it read, and
//! publishes under a *transaction number* (the paper's TID): an epoch and a sequence. The number is
//! greater than that of every version read or overwritten and than the last one of this worker, and
//! lies in the epoch that was read.
//!
//! # Departures
//!
//! * *A version has the number, not a record.* Silo overwrites a record in place, so it reads
//!   number, data, number, and validates by the number. Here a write swings the record's head to
//!   another version, whose address is its own while anybody can compare it (`optimistic.rs`,
//!   invariant 2): one load gives data and identity together, and validation compares addresses.
//!   For the same reason the lock bit is the pending head: one locked instruction locks and
//!   installs, where Silo locks and writes later.
//! * *A lock is waited for a bounded moment,* then the transaction aborts. Silo waits until it is
//!   free; with more threads than cores its holder may not even run. (The authors of `TicToc` found
//!   that Silo, too, gains from not waiting: SIGMOD 2016, section 5.)
//! * *There is no thread that advances the epoch.* The first commit after 40 ms does. Nothing here
//!   needs that all workers are within one epoch of each other: that serves Silo's log and its
//!   snapshots, which are absent, so a transaction that only reads is validated like any other.
//! * *Absent keys* are proved by empty index slots (`storage/hash_index.rs`), and ranges by the
//!   witnesses of the ordered index, instead of by the versions of tree nodes or by records
//!   inserted for the purpose.
//! * *Removed keys* are versions that say "absent". When such a record leaves the index its head
//!   says dead for ever, so a read of it fails its validation.
//!
//! # Why the result is strictly serializable
//!
//! Let m(T) be the moment after T's last install and before its first check (for a transaction
//! without writes: before its first check); it lies between T's begin and its return. Installs and
//! checks are sequentially consistent, so "before" is one order. The order of the m(T) is a serial
//! order of the committed transactions:
//!
//! 1. *T reads v, R writes v.* T has met v stamped, so R had published it: m(R) < m(T). The same
//!    for a key that T found absent because R removed it: the record was taken out of use, or out
//!    of the index, after R had stamped its version.
//! 2. *T reads v, W overwrites it.* T's check finds v at the head, or below T's own pending
//!    version. Had W installed before, W's version would be there, pending or committed. So W
//!    installs after T's check: m(T) < m(W). The same for an absent key: its slot is still empty at
//!    T's check, so whoever inserts it does so later. And for a range, of which the ordered index
//!    says that nothing was inserted until T's check.
//! 3. *T overwrites v, R wrote v.* T installs on stamped versions only: m(R) < m(T).
//!
//! Of two that overwrite what the other reads, the second to check finds the other's pending
//! version, since both install before they check.
//!
//! # Epochs agree with the serial order
//!
//! T reads the epoch at m(T), and it only grows: if m(T) < m(U), then T's epoch is not above U's.
//! Within an epoch the numbers follow reads and overwrites, but not "T reads v, W overwrites it"
//! (Silo, section 4.3).

use super::access_set::AbsentEntry;
use super::context::{Context, Core, Worker};
use super::{Isolation, Progress, Protocol, Ranges, Reads, Step, optimistic, single_version};
use crate::clock::Clock;
use crate::limits::UNDECIDED_SPINS_MAX;
use crate::storage::Words;
use crate::storage::hash_index::Witness;
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::Version;
use crate::sync::fault::{self, Fault};
use crate::sync::step::{self, Step as Point};
use crate::sync::{AtomicU64, CachePadded, Ordering};
use std::ops::Range;

/// The length of an epoch.
const EPOCH_NS: u64 = 40_000_000;
/// The same where the clock counts commits instead of time.
const EPOCH_TICKS: u64 = 1 << 16;
/// The bits of a transaction number below its epoch.
const SEQUENCE_BITS: u32 = 32;

/// Single-version optimistic concurrency control with epochs (Silo: Tu, Zheng, Kohler, Liskov,
/// Madden: "Speedy Transactions in Multicore In-Memory Databases", SOSP 2013).
#[derive(Debug)]
pub struct Silo;

/// Each version carries the number of the transaction that wrote it.
#[derive(Debug)]
pub struct SiloWords;

/// A transaction number: the epoch, then a sequence.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    pub(super) fn set(&self, number: u64) {
        // Relaxed: the version's stamp publishes it.
        self.0.store(number, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        // Relaxed: whoever asks has loaded the version's stamp before.
        self.0.load(Ordering::Relaxed)
    }
}

impl Words for SiloWords {
    type Record = ();
    type Version = Number;
}

/// The global epoch. Read by every commit, written once an epoch.
#[derive(Debug, Default)]
pub struct Epoch(CachePadded<EpochWords>);

#[derive(Debug, Default)]
struct EpochWords {
    number: AtomicU64,
    /// When it ends, by the store's clock.
    end: AtomicU64,
}

impl Epoch {
    /// The present epoch; begins the next one if `now` is past its end.
    fn at(&self, now: u64, clock: &Clock) -> u64 {
        // Relaxed: when an epoch ends is no matter of correctness.
        let end = self.0.end.load(Ordering::Relaxed);
        if now >= end {
            let next_end = now + clock.ticks(EPOCH_NS).unwrap_or(EPOCH_TICKS);
            // Relaxed: it only decides who advances the epoch.
            let won =
                self.0.end.compare_exchange(end, next_end, Ordering::Relaxed, Ordering::Relaxed);
            if won.is_ok() {
                // SeqCst: see the load below.
                self.0.number.fetch_add(1, Ordering::SeqCst);
            }
        }
        // SeqCst: stands between this transaction's installs and its checks, in the one order.
        self.0.number.load(Ordering::SeqCst)
    }
}

/// One transaction's numbers; `last` stays for the next one of the same worker.
#[derive(Debug, Default)]
pub struct Local {
    epoch: u64,
    /// The greatest number of a version that this transaction has read or overwritten.
    met: u64,
    last: u64,
}

impl Local {
    /// The number to commit under.
    fn draw(&mut self) -> u64 {
        self.last = (self.met.max(self.last) + 1).max(self.epoch << SEQUENCE_BITS);
        self.last
    }
}

type Cx<'a> = Context<'a, Silo>;

/// The number of a version (null: 0).
///
/// # Safety
///
/// The version was committed when this transaction, which is still open, loaded it.
unsafe fn number_of(version: *const Version<SiloWords>) -> u64 {
    // SAFETY: the caller's promise.
    unsafe { version.as_ref() }.map_or(0, |version| version.word.get())
}

#[allow(private_interfaces, reason = "see `Protocol`")]
impl Protocol for Silo {
    const NAME: &'static str = "silo";
    const SUMMARY: &'static str =
        "single-version optimistic: lock the writes, check the reads, epoch numbers (Silo)";
    const ISOLATION: Isolation = Isolation::Serializable;
    const STRICT: bool = true;
    const PROGRESS: Progress = Progress::Blocking;
    const READS: Reads = Reads::Newest;
    const VALIDATES_READ_ONLY: bool = true;
    const RANGES: Ranges = Ranges::Validated;
    #[cfg(all(test, not(loom)))]
    const FAULTS: &'static [Fault] = &[Fault::SkipValidation, Fault::SkipRanges, Fault::IgnoreBase];

    type Words = SiloWords;
    type Shared = Epoch;
    type Local = Local;

    #[inline(always)]
    fn read(
        cx: &mut Cx<'_>,
        record: &Record<SiloWords>,
        shard: u32,
    ) -> Step<Self, *mut Version<SiloWords>> {
        optimistic::read(cx, record, shard)
    }

    #[inline]
    fn read_base(
        _cx: &mut Cx<'_>,
        record: &Record<SiloWords>,
        _shard: u32,
    ) -> Step<Self, *mut Version<SiloWords>> {
        optimistic::read_newest::<Self>(record)
    }

    #[inline]
    fn read_absent(
        cx: &mut Cx<'_>,
        table: &TableCore<SiloWords>,
        witness: Witness<SiloWords>,
        hash: u64,
        shard: u32,
    ) -> Step<Self, ()> {
        cx.worker.access.absents.push(AbsentEntry { witness, table, hash, shard });
        Ok(())
    }

    fn prepare(cx: &mut Cx<'_>, mut writes: Range<usize>) -> Step<Self, ()> {
        writes.try_for_each(|index| {
            optimistic::install_pending(cx, index, UNDECIDED_SPINS_MAX)?;
            // SAFETY: our own version, and what it was installed on: both stay while it is pending.
            let base = unsafe { (*cx.worker.access.writes[index].version).older() };
            // SAFETY: as above.
            cx.worker.local.met = cx.worker.local.met.max(unsafe { number_of(base) });
            Ok(())
        })
    }

    #[inline]
    fn draw(cx: &mut Cx<'_>) -> Step<Self, ()> {
        single_version::draw(cx);
        if !cx.worker.access.writes.is_empty() {
            cx.worker.local.epoch = cx.core.shared.at(cx.worker.commit, &cx.core.clock);
        }
        step::at(Point::PrepareDrawn);
        Ok(())
    }

    fn validate(cx: &mut Cx<'_>, reads: Range<usize>, absents: Range<usize>) -> Step<Self, ()> {
        if fault::on(Fault::SkipValidation) {
            return Ok(());
        }
        let (mut met, numbered) = (cx.worker.local.met, !cx.worker.access.writes.is_empty());
        for read in &cx.worker.access.reads[reads] {
            if !optimistic::is_newest(cx, read) {
                return Err(optimistic::changed(cx, read));
            }
            if numbered {
                // SAFETY: read by this transaction.
                met = met.max(unsafe { number_of(read.version) });
            }
        }
        for absent in &cx.worker.access.absents[absents] {
            if !optimistic::is_absent(cx, absent) {
                return Err(optimistic::appeared(absent));
            }
        }
        cx.worker.local.met = met;
        Ok(())
    }

    #[inline]
    fn finish(cx: &mut Cx<'_>) {
        if cx.worker.access.writes.is_empty() {
            return;
        }
        let number = cx.worker.local.draw();
        optimistic::publish(cx, |word| word.set(number));
    }

    fn abort(cx: &mut Cx<'_>) {
        single_version::take_back(cx);
    }

    #[inline]
    fn end(_core: &Core<Self>, worker: &mut Worker<Self>) {
        worker.local.met = 0;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::clock::ClockSource;
    use crate::protocol::optimistic::tests::word_of;
    use crate::{Store, TransactionError};

    #[test]
    fn an_epoch_ends_when_its_time_is_over() {
        let (clock, epoch) = (Clock::new(ClockSource::SharedCounter), Epoch::default());
        assert_eq!(epoch.at(10, &clock), 1);
        assert_eq!(epoch.at(9 + EPOCH_TICKS, &clock), 1);
        assert_eq!(epoch.at(10 + EPOCH_TICKS, &clock), 2);
        assert_eq!(epoch.at(11, &clock), 2, "a thread that is late does not turn it back");
    }

    #[test]
    fn a_number_is_above_what_it_depends_on_and_in_its_epoch() {
        let mut local = Local { epoch: 3, met: 0, last: 0 };
        assert_eq!(local.draw(), 3 << SEQUENCE_BITS);
        assert_eq!(local.draw(), (3 << SEQUENCE_BITS) + 1, "above its own last one");
        local.met = (3 << SEQUENCE_BITS) + 7;
        assert_eq!(local.draw(), (3 << SEQUENCE_BITS) + 8);
        local.epoch = 4;
        assert_eq!(local.draw(), 4 << SEQUENCE_BITS);
    }

    #[test]
    fn numbers_follow_reads_and_overwrites() -> Result<(), TransactionError> {
        let store = Store::builder().shards(4).build_with::<Silo>()?;
        let table = store.table::<u64, u64>("numbers")?;
        let number = |key| word_of(&store, &table, key, Number::get);
        // Another worker's transaction, whose own last number is 0.
        let other = store.begin()?;
        for value in 0..9 {
            store.transact(|tx| tx.put(&table, 1, value))?;
        }
        let first = number(1);
        assert_eq!(other.get(&table, &1)?, Some(&8));
        other.put(&table, 2, 1)?;
        other.commit()?;
        assert!(number(2) > first, "it has read the other");
        store.transact(|tx| tx.update(&table, &2, |value| value + 1).map(drop))?;
        assert!(number(2) > first + 1, "it has overwritten the other");
        assert_eq!(number(1), first);
        assert!(first >> SEQUENCE_BITS > 0, "epochs begin at 1");
        Ok(())
    }

    #[test]
    fn epochs_pass() -> Result<(), TransactionError> {
        let store = Store::builder().clock(ClockSource::SharedCounter).build_with::<Silo>()?;
        let table = store.table::<u64, u64>("numbers")?;
        let epoch = || word_of(&store, &table, 1, Number::get) >> SEQUENCE_BITS;
        store.transact(|tx| tx.put(&table, 1, 0))?;
        let before = epoch();
        // A commit takes two ticks of this clock.
        for value in 0..EPOCH_TICKS / 2 {
            store.transact(|tx| tx.put(&table, 1, value))?;
        }
        store.transact(|tx| tx.put(&table, 1, 0))?;
        assert_eq!(epoch(), before + 1);
        Ok(())
    }
}
