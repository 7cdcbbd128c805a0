//! `si`: snapshot isolation, first committer wins.
//!
//! Berenson et al. (SIGMOD 1995): a transaction reads the versions of one instant, its begin, and
//! commits unless another one that was open at the same time has committed a write to a key that it
//! writes too. Reads are never validated, so write skew is possible.
//!
//! # Why it is snapshot isolation
//!
//! Let T have the snapshot b and commit at c. *Concurrent* with T is whoever began before T
//! committed and committed at or after b.
//!
//! 1. *Reads.* T reads what was committed before b. An undecided version that it passes by can only
//!    commit above b from then on (its floor, see `storage/decision.rs`), and all of a
//!    transaction's versions hang on one decision word, so T sees all of another one or nothing,
//!    and never changes its mind.
//! 2. *Writes to a key with a record.* T's version goes on the newest committed one, whose begin is
//!    before b, or T aborts: a concurrent writer that was first is met here. One that comes later
//!    either finds T undecided and aborts it, or finds T's version committed at c. If it began at
//!    or before c, then c is not before its snapshot and it aborts; otherwise it is not concurrent.
//! 3. *Writes to a key without one.* Only one record of a key can be in the index, so of two
//!    concurrent inserts one fails. A key can also come and go while T is open and leave no record
//!    behind; so a record goes out of use only when every open snapshot sees its tombstone
//!    (`KEEPS_TOMBSTONES`). A key without a record was thus written by nobody at or after b, and
//!    none of the records that T finds dead at its commit can hide a concurrent writer either: T
//!    aborts there. (The plain rule, that a tombstone goes when no snapshot sees what is below it,
//!    would let T insert a key that a concurrent transaction has inserted and another one removed.)
//! 4. *Real time.* The snapshot is drawn at the begin and contains whatever has returned by then
//!    (*strong* snapshot isolation), also for read-only transactions.
//!
//! 5. *Ranges.* The record of a version that a snapshot sees is in the indexes for as long as the
//!    snapshot is open, so a range shows what was there at b. Phantoms are of other snapshots.
//!
//! # Departures
//!
//! The first *updater* is stopped as well: an update or a remove whose base is not the newest
//! committed version fails at once, because its commit could only fail. Snapshots do not move
//! forward (timestamp extension): what was read before is not validated, so nothing would tell that
//! it is still what the later snapshot shows.
//!
//! Nobody waits for a stopped thread, as in `mvocc`.

use super::context::Context;
use super::multi_version::{self, Local, visible_now};
use super::{Conflict, Isolation, Progress, Protocol, Ranges, Reads, Step};
use crate::error::AbortReason;
use crate::storage::NoWords;
use crate::storage::hash_index::Witness;
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::Version;
use crate::sync::fault::{self, Fault};
use crate::sync::step::{self, Step as Point};
use std::ops::Range;

/// Snapshot isolation, first committer wins (Berenson, Bernstein, Gray, Melton, O'Neil, O'Neil: "A
/// Critique of ANSI SQL Isolation Levels", SIGMOD 1995).
#[derive(Debug)]
pub struct Si;

type Cx<'a> = Context<'a, Si>;

#[allow(private_interfaces, reason = "see `Protocol`")]
impl Protocol for Si {
    const NAME: &'static str = "si";
    const SUMMARY: &'static str =
        "snapshot isolation: reads as of the begin, of two writers the first committer wins";
    const ISOLATION: Isolation = Isolation::Snapshot;
    const STRICT: bool = true;
    const PROGRESS: Progress = Progress::LockFree;
    const READS: Reads = Reads::Snapshot;
    const VALIDATES_READ_ONLY: bool = false;
    const VIEWS_LEAVE_NO_TRACE: bool = true;
    const RANGES: Ranges = Ranges::Unchecked;
    const KEEPS_TOMBSTONES: bool = true;
    #[cfg(all(test, not(loom)))]
    const FAULTS: &'static [Fault] = &[Fault::IgnoreBase];

    type Words = NoWords;
    type Shared = ();
    type Local = Local;

    #[inline]
    fn read(
        cx: &mut Cx<'_>,
        record: &Record<NoWords>,
        _shard: u32,
    ) -> Step<Self, *mut Version<NoWords>> {
        step::at(Point::ReadWalk);
        Ok(visible_now(cx, record).0)
    }

    #[inline]
    fn read_base(
        cx: &mut Cx<'_>,
        record: &Record<NoWords>,
        _shard: u32,
    ) -> Step<Self, *mut Version<NoWords>> {
        step::at(Point::ReadWalk);
        let (version, newest) = visible_now(cx, record);
        if newest { Ok(version) } else { Err(Conflict::at(AbortReason::WriteConflict, record)) }
    }

    #[inline]
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
        // What a write is based on is what the snapshot saw: the same version, if it began before.
        let snapshot = cx.worker.snapshot;
        multi_version::prepare(cx, writes, snapshot, |_, _, begin| {
            let admitted = begin < snapshot || fault::on(Fault::IgnoreBase);
            admitted.then_some(()).ok_or(AbortReason::WriteConflict)
        })
    }

    #[inline]
    fn draw(cx: &mut Cx<'_>) -> Step<Self, ()> {
        multi_version::draw(cx);
        Ok(())
    }

    #[inline]
    fn validate(_cx: &mut Cx<'_>, _reads: Range<usize>, _absents: Range<usize>) -> Step<Self, ()> {
        Ok(())
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
