//! Strict two-phase locking, but for what happens when two transactions want one lock: that is the
//! [`Policy`], and the only difference between `2pl-nowait`, `2pl-waitdie` and `2pl-woundwait`.
//!
//! Two-phase locking is due to Eswaran, Gray, Lorie, Traiger (CACM 1976). A transaction shares the
//! lock of a record when it reads it and has it to itself when it writes it, or reads it in order to
//! write it; a shared lock can be upgraded. Every lock is kept until the outcome is decided and
//! cleaned up.
//!
//! # Departures
//!
//! * There are no locks on gaps or keys without a record. An absence is proved by a witness (see
//!   `storage/hash_index.rs`), which is validated at commit while every lock is held. So a
//!   transaction that found a key absent can still abort at its commit, and one that only reads
//!   comes to a commit too.
//! * Locks lie in the records, not in a lock table, and there is no deadlock detection: the policies
//!   prevent deadlocks.
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
//!    passed by, because T inserted the key after it had found it absent.
//! 3. *Two that pass each other.* If T and U each insert what the other found absent, both publish
//!    before they validate, and publishing and validating stand in one order (SeqCst): at least one
//!    finds the other's record, and aborts.
//! 4. *A record without a value* (a tombstone, or what an aborted insert left) is locked like any
//!    other, but reclamation takes it out of use at any time, and then its key may get a new record
//!    that T's lock does not protect. So T validates that the record is still in use. If it is, at a
//!    load after s(T), the new record is published after that: as in 2.
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

use super::access_set::{AbsentEntry, ReadEntry, WriteKind};
use super::context::{Context, Core, Worker};
use super::record_lock::{Lock, Mode, Nodes, Rule};
use super::{Conflict, Isolation, Progress, Protocol, Ranges, Reads, Step, single_version};
use crate::error::AbortReason;
use crate::limits::LOCK_WAIT_MAX_MS;
use crate::storage::Words;
use crate::storage::hash_index::Witness;
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::Version;
use crate::sync::fault::{self, Fault};
use std::collections::HashMap;
use std::marker::PhantomData;
use std::ops::Range;
use std::time::Duration;

/// Locks up to which a search goes through them one by one.
const LINEAR_MAX: usize = 16;
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
    /// The node with an entry's number stands in the list of that record's lock.
    nodes: Nodes,
    locked: Vec<*const Record<LockWords>>,
    /// From a record to its number, once there are more than a few.
    places: HashMap<usize, usize, ahash::RandomState>,
}

impl Local {
    fn find(&self, record: *const Record<LockWords>) -> Option<usize> {
        if self.locked.len() <= LINEAR_MAX {
            self.locked.iter().rposition(|&locked| std::ptr::eq(locked, record))
        } else {
            self.places.get(&record.addr()).copied()
        }
    }

    fn push(&mut self, record: *const Record<LockWords>) {
        self.locked.push(record);
        if self.locked.len() > LINEAR_MAX {
            let first = if self.places.is_empty() { 0 } else { self.locked.len() - 1 };
            let new = self.locked[first..].iter().zip(first..);
            self.places.extend(new.map(|(record, number)| (record.addr(), number)));
        }
    }

    /// Locks a record that nobody else can find yet.
    fn lock_private<R: Rule>(&mut self, record: &Record<LockWords>) -> Result<(), AbortReason> {
        let node = self.nodes.get(self.locked.len());
        record.word.acquire::<R>(node, Mode::Exclusive, LOCK_WAIT_MAX)?;
        self.push(record);
        Ok(())
    }

    fn release_all(&mut self) {
        for (number, &record) in self.locked.iter().enumerate() {
            // SAFETY: the records that an open transaction has met are alive.
            unsafe { &*record }.word.release(self.nodes.get(number));
        }
        self.locked.clear();
        self.places.clear();
    }
}

type Cx<'a, R> = Context<'a, TwoPhaseLocking<R>>;

/// Gets the lock of a record, or the one that it has into this mode. True if it is a new one.
#[inline]
fn lock<R: Policy>(
    cx: &mut Cx<'_, R>,
    record: &Record<LockWords>,
    mode: Mode,
) -> Step<TwoPhaseLocking<R>, bool> {
    let refused = |reason| Conflict::at(reason, record);
    let local = &mut cx.worker.local;
    if local.nodes.party().is_wounded() {
        return Err(refused(AbortReason::Wounded));
    }
    // A lock of our own is not free.
    let known = if record.word.is_free() { None } else { local.find(record) };
    let node = local.nodes.get(known.unwrap_or(local.locked.len()));
    if known.is_none() {
        record.word.acquire::<R>(node, mode, LOCK_WAIT_MAX).map_err(refused)?;
        local.push(record);
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
    const RANGES: Ranges = Ranges::Validated;

    type Words = LockWords;
    type Shared = ();
    type Local = Local;

    #[inline]
    fn begin(_core: &Core<Self>, worker: &mut Worker<Self>) -> Step<Self, ()> {
        worker.local.nodes.party().begin(worker.age, worker.id);
        Ok(())
    }

    #[inline]
    fn read(
        cx: &mut Cx<'_, R>,
        record: &Record<LockWords>,
        shard: u32,
    ) -> Step<Self, *mut Version<LockWords>> {
        let new = lock(cx, record, Mode::Shared)?;
        if record.head().is_dead() {
            // The key may have another record.
            return Err(Conflict::at(AbortReason::ReadValidation, record));
        }
        let version = single_version::present(record);
        if new || version.is_null() {
            cx.worker.access.reads.push(ReadEntry { record, version, shard });
        }
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
        if fault::on(Fault::SkipValidation) {
            return Ok(());
        }
        single_version::validate_absences(cx, reads, absents)
    }

    #[inline]
    fn decide(_cx: &mut Cx<'_, R>) -> Step<Self, bool> {
        Ok(true)
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
