//! `mvocc`: multi-version optimistic concurrency control with commit-time timestamps. The default.
//!
//! The family is that of Hekaton's optimistic scheme (Larson et al., VLDB 2012): versions with
//! begin timestamps, invisible reads, validation at a commit timestamp.
//!
//! # Departures
//!
//! * A write is private until commit; only *prepare* installs it, undecided, at the head of its
//!   chain.
//! * A reader never depends on an undecided transaction. It raises that transaction's floor instead
//!   (see `storage/decision.rs`), which forces it to commit later than the reader's snapshot.
//! * Validation asks whether each version that was read is still the newest committed one, not
//!   whether it is visible at the commit timestamp, because versions between two open snapshots are
//!   pruned and a gap must not look like "unchanged".
//!
//! # Why the result is strictly serializable
//!
//! Let T commit at c. Its order is that of the timestamps. Four facts:
//!
//! 1. *Its writes.* T installs on the newest committed version or not at all, and only one
//!    undecided version can be in a chain, so the chain's order is the order of the commit points;
//!    T draws c until it is above the begin of every version that it overwrites, so it is also the
//!    order of the timestamps.
//! 2. *Its reads.* Validation runs after c is drawn. For each version v that T read it finds that
//!    no committed version is newer, and that an undecided one above it can only commit after c
//!    (its floor is raised). A version installed later draws its timestamp later than c. So v is
//!    what a serial execution at c would read. The same for an absent key: the empty slot that
//!    proves the absence would have to be filled first.
//! 3. *Two that pass each other.* If T1 and T2 each overwrite what the other reads, both install
//!    before they validate, and installs and validating loads stand in one order (SeqCst): at least
//!    one finds the other's version.
//! 4. *Real time.* A snapshot that is drawn after T returned is not below c by the clock's
//!    property, and finds T's versions installed.
//!
//! A transaction without writes serializes at its snapshot: it validates nothing.
//!
//! # Why nobody waits for a stopped thread
//!
//! Readers raise a floor after a bounded spin. Writers abort an undecided transaction after a
//! bounded spin, whatever its priority; priority only decides how long the spin is. What a stopped
//! thread has decided but not cleaned up is read through its decision word, and installed over.

use super::access_set::{AbsentEntry, ReadEntry, WriteEntry, WriteKind};
use super::context::Context;
use super::multi_version::{self, Local, still_absent, still_newest, visible_now};
use super::{Conflict, Isolation, Progress, Protocol, Ranges, Reads, Step};
use crate::error::AbortReason;
use crate::limits::EXTENSION_READS_MAX;
use crate::storage::decision::Decision;
use crate::storage::hash_index::{Lookup, Witness};
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::Version;
use crate::storage::{NoWords, Words};
use crate::sync::fault::{self, Fault};
use crate::sync::step::{self, Step as Point};
use std::ops::Range;

/// Multi-version optimistic concurrency control with commit-time timestamps (after Larson, Blanas,
/// Diaconu, Freedman, Patel, Zwilling: "High-Performance Concurrency Control Mechanisms for
/// Main-Memory Databases", VLDB 2012).
#[derive(Debug)]
pub struct Mvocc;

type Cx<'a> = Context<'a, Mvocc>;

#[allow(private_interfaces, reason = "see `Protocol`")]
impl Protocol for Mvocc {
    const NAME: &'static str = "mvocc";
    const SUMMARY: &'static str =
        "multi-version optimistic, timestamps drawn at commit, invisible reads (the default)";
    const ISOLATION: Isolation = Isolation::Serializable;
    const STRICT: bool = true;
    const PROGRESS: Progress = Progress::LockFree;
    const READS: Reads = Reads::Snapshot;
    const VALIDATES_READ_ONLY: bool = false;
    const VIEWS_LEAVE_NO_TRACE: bool = true;
    const RANGES: Ranges = Ranges::Validated;
    #[cfg(all(test, not(loom)))]
    const FAULTS: &'static [Fault] = &[Fault::SkipValidation, Fault::SkipRanges, Fault::IgnoreBase];

    type Words = NoWords;
    type Shared = ();
    type Local = Local;

    #[inline(always)]
    fn read(
        cx: &mut Cx<'_>,
        record: &Record<NoWords>,
        shard: u32,
    ) -> Step<Self, *mut Version<NoWords>> {
        let (version, _) = visible(cx, record)?;
        if cx.worker.writes {
            cx.worker.access.reads.push(ReadEntry { record, version, shard });
        }
        Ok(version)
    }

    #[inline(always)]
    fn read_base(
        cx: &mut Cx<'_>,
        record: &Record<NoWords>,
        _shard: u32,
    ) -> Step<Self, *mut Version<NoWords>> {
        let (version, newest) = visible(cx, record)?;
        if !newest {
            // Somebody has committed a newer version: this write could only fail at commit.
            return Err(Conflict::at(AbortReason::WriteConflict, record));
        }
        Ok(version)
    }

    #[inline]
    fn read_absent(
        cx: &mut Cx<'_>,
        table: &TableCore<NoWords>,
        witness: Witness<NoWords>,
        hash: u64,
        shard: u32,
    ) -> Step<Self, ()> {
        if cx.worker.writes {
            cx.worker.access.absents.push(AbsentEntry { witness, table, hash, shard });
        }
        Ok(())
    }

    #[inline(always)]
    fn prepare(cx: &mut Cx<'_>, writes: Range<usize>) -> Step<Self, ()> {
        multi_version::prepare(cx, writes, 0, |write, base, _| {
            let ignored = fault::on(Fault::IgnoreBase);
            let admitted = write.kind != WriteKind::Based || base == write.base || ignored;
            admitted.then_some(()).ok_or(AbortReason::WriteConflict)
        })
    }

    #[inline]
    fn draw(cx: &mut Cx<'_>) -> Step<Self, ()> {
        multi_version::draw(cx);
        Ok(())
    }

    #[inline]
    fn validate(cx: &mut Cx<'_>, reads: Range<usize>, absents: Range<usize>) -> Step<Self, ()> {
        if fault::on(Fault::SkipValidation) {
            return Ok(());
        }
        let decision = std::ptr::from_ref(cx.worker.local.decision());
        validate_at(cx, reads, absents, cx.worker.commit, decision)
    }

    #[inline]
    fn decide(cx: &mut Cx<'_>) -> Step<Self, bool> {
        multi_version::decide(cx)
    }

    #[inline]
    fn finish(cx: &mut Cx<'_>) {
        multi_version::finish(cx);
    }

    fn abort(cx: &mut Cx<'_>) {
        multi_version::abort(cx);
    }
}

/// The version that the transaction's snapshot sees (null: none), and whether it is the newest
/// committed one. Moves the snapshot forward if that shows the newest version and changes nothing
/// that was read so far (timestamp extension: Riegel, Felber, Fetzer, DISC 2006).
#[inline(always)]
fn visible(
    cx: &mut Cx<'_>,
    record: &Record<NoWords>,
) -> Step<Mvocc, (*mut Version<NoWords>, bool)> {
    step::at(Point::ReadWalk);
    let (version, newest) = visible_now(cx, record);
    if newest || !cx.worker.writes {
        return Ok((version, newest));
    }
    // Handed on as its parts, so that on the way here it never has to lie in memory.
    if !extend(Context { core: cx.core, worker: &mut *cx.worker, tallies: cx.tallies }) {
        return Ok((version, newest));
    }
    // The snapshot that kept the record from being freed has moved. If the record is out of use,
    // its key may have another one.
    if record.head().is_dead() {
        return Err(Conflict::new(AbortReason::ReadValidation));
    }
    Ok(visible_now(cx, record))
}

/// Draws a new snapshot, if everything that the transaction depends on is unchanged at it.
#[cold]
fn extend(cx: Cx<'_>) -> bool {
    let access = &cx.worker.access;
    let (reads, absents) = (access.reads.len(), access.absents.len());
    // What the proofs of absence and the walks over ranges hold of an index is protected by the
    // snapshot that they were made under: an array or a node that was replaced since may go.
    let anchored = cx.worker.held > 0 || absents > 0 || !access.ranges.is_empty();
    if anchored || reads + access.writes.len() > EXTENSION_READS_MAX {
        return false;
    }
    cx.worker.slot.reopen(cx.worker.snapshot, true);
    let snapshot = cx.core.clock.snapshot();
    let unchanged = validate_at(&cx, 0..reads, 0..0, snapshot, std::ptr::null()).is_ok()
        && cx.worker.access.writes.iter().all(|write| still_writable(write, snapshot));
    if unchanged {
        cx.worker.snapshot = snapshot;
    }
    cx.worker.slot.publish(cx.worker.snapshot, true);
    unchanged
}

/// Whether a write can go on after the snapshot has moved to `at`. The snapshot is also what keeps
/// the record alive: one that is out of use by now may be freed once it has moved.
fn still_writable(write: &WriteEntry<NoWords>, at: u64) -> bool {
    // SAFETY: the record of an open transaction's write is alive; this step is pinned.
    let record = unsafe { &*write.record };
    match write.kind {
        // The key had no record; if it has one now, the closure knows better than its new snapshot.
        WriteKind::Insert => {
            let table = write.table.get();
            let same =
                |other: &Record<NoWords>| table.same_key(other, record) && !other.head().is_dead();
            let found = table.index(write.shard).find(write.hash, same);
            matches!(found, Lookup::Absent(_))
        }
        WriteKind::Blind => !record.head().is_dead(),
        // SAFETY: as above.
        WriteKind::Based => unsafe { still_newest(record, write.base, at, std::ptr::null()) },
    }
}

/// Checks that what was read is what a serial execution at `at` would read.
#[inline]
fn validate_at(
    cx: &Cx<'_>,
    reads: Range<usize>,
    absents: Range<usize>,
    at: u64,
    own: *const Decision,
) -> Step<Mvocc, ()> {
    for read in &cx.worker.access.reads[reads] {
        // SAFETY: records that an open transaction has read are not freed; this step is pinned.
        if !unsafe { still_newest(&*read.record, read.version, at, own) } {
            return Err(Conflict::at(AbortReason::ReadValidation, read.record));
        }
    }
    still_absent(cx, absents, own)
}

const _: () = assert!(size_of::<<NoWords as Words>::Record>() == 0);
