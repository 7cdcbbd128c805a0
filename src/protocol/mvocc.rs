//! `mvocc`: multi-version optimistic concurrency control with commit-time timestamps. The default.
//!
//! The family is that of Hekaton's optimistic scheme (Larson et al., VLDB 2012): versions with
//! begin timestamps, invisible reads, validation at a commit timestamp. Three departures:
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
use super::install;
use super::janitor::{Garbage, new_decision};
use super::{Conflict, Isolation, Place, Progress, Protocol, Reads, Step};
use crate::error::AbortReason;
use crate::limits::{EXTENSION_READS_MAX, UNDECIDED_SPINS_MAX};
use crate::storage::decision::{Decision, Refusal};
use crate::storage::hash_index::{HashIndex, Lookup, Witness};
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::{Stamp, Top, Version, top, visible_at};
use crate::storage::{NoWords, Words};
use crate::sync::step::{self, Step as Point};
use crate::sync::{fault, spin_loop};
use std::ops::Range;
use std::ptr::NonNull;

/// Multi-version optimistic concurrency control with commit-time timestamps.
#[derive(Debug)]
pub struct Mvocc;

/// One transaction's decision word, from prepare to the end.
#[derive(Debug, Default)]
pub struct Local {
    decision: Option<NonNull<Decision>>,
}

impl Local {
    fn decision(&self) -> &Decision {
        let decision = self.decision.expect("prepare makes the decision word");
        // SAFETY: it is retired at the end of the transaction.
        unsafe { decision.as_ref() }
    }
}

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

    #[inline]
    fn read_base(cx: &mut Cx<'_>, record: &Record<NoWords>) -> Step<Self, *mut Version<NoWords>> {
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

    fn prepare(cx: &mut Cx<'_>, writes: Range<usize>) -> Step<Self, ()> {
        if cx.worker.local.decision.is_none() {
            let priority = cx.worker.retries;
            let decision = new_decision(priority, &mut cx.worker.arena, &cx.core.pool)
                .ok_or(Conflict::new(AbortReason::OutOfMemory))?;
            cx.worker.local.decision = Some(decision);
        }
        for index in writes {
            step::at(Point::PrepareInstall);
            match cx.worker.access.writes[index].kind {
                WriteKind::Insert => {
                    // SAFETY: the version is private until it is installed.
                    unsafe { &*cx.worker.access.writes[index].version }
                        .set_writer(cx.worker.local.decision());
                    install::publish_record(cx, index)?;
                }
                WriteKind::Blind | WriteKind::Based => install_version(cx, index)?,
            }
            step::at(Point::PrepareInstalled);
        }
        Ok(())
    }

    #[inline]
    fn draw(cx: &mut Cx<'_>) -> Step<Self, ()> {
        let floor =
            cx.worker.commit_floor.max(cx.worker.snapshot).max(cx.worker.local.decision().floor());
        loop {
            let commit = cx.core.clock.commit();
            // Greater, not equal: dependent commits must not tie. A tick passes in a few cycles.
            if commit > floor {
                cx.worker.commit = commit;
                step::at(Point::PrepareDrawn);
                return Ok(());
            }
        }
    }

    #[inline]
    fn validate(cx: &mut Cx<'_>, reads: Range<usize>, absents: Range<usize>) -> Step<Self, ()> {
        if fault::on(fault::Fault::SkipValidation) {
            return Ok(());
        }
        let decision = std::ptr::from_ref(cx.worker.local.decision());
        validate_at(cx, reads, absents, cx.worker.commit, decision)
    }

    #[inline]
    fn decide(cx: &mut Cx<'_>) -> Step<Self, bool> {
        match cx.worker.local.decision().commit(cx.worker.commit) {
            Ok(()) => {
                step::at(Point::DecideCommitted);
                Ok(true)
            }
            Err(Refusal::Floor) => Ok(false),
            Err(Refusal::Aborted) => Err(Conflict::new(AbortReason::Overruled)),
        }
    }

    #[inline]
    fn finish(cx: &mut Cx<'_>) {
        for write in &cx.worker.access.writes {
            // SAFETY: our own version; this step has been pinned since before it was installed.
            unsafe { &*write.version }.set_begin(cx.worker.commit);
            step::at(Point::FinishStamped);
        }
        install::hand_over(cx);
        retire_decision(cx);
    }

    fn abort(cx: &mut Cx<'_>) {
        if let Some(decision) = cx.worker.local.decision {
            // SAFETY: retired at the end of this function.
            unsafe { decision.as_ref() }.abort();
        }
        install::take_all_back(cx);
        retire_decision(cx);
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
    if newest || !cx.worker.writes || !extend(cx) {
        return Ok((version, newest));
    }
    // The snapshot that kept the record from being freed has moved. If the record is out of use,
    // its key may have another one.
    if record.head().is_dead() {
        return Err(Conflict::new(AbortReason::ReadValidation));
    }
    Ok(visible_now(cx, record))
}

#[inline(always)]
fn visible_now(cx: &Cx<'_>, record: &Record<NoWords>) -> (*mut Version<NoWords>, bool) {
    let mut newest = true;
    let head = record.head().version();
    // SAFETY: this step is pinned, the snapshot is published, and the head was loaded after it was
    // drawn.
    let version = unsafe { visible_at(head, cx.worker.snapshot, &mut newest) };
    (version, newest)
}

/// Draws a new snapshot, if everything that the transaction depends on is unchanged at it.
#[cold]
fn extend(cx: &mut Cx<'_>) -> bool {
    let access = &cx.worker.access;
    let (reads, absents) = (access.reads.len(), access.absents.len());
    if cx.worker.held > 0 || reads + absents + access.writes.len() > EXTENSION_READS_MAX {
        return false;
    }
    cx.worker.slot.reopen(cx.worker.snapshot, true);
    let snapshot = cx.core.clock.snapshot();
    let unchanged = validate_at(cx, 0..reads, 0..absents, snapshot, std::ptr::null()).is_ok()
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
            // SAFETY: tables live as long as the store.
            let table = unsafe { &*write.table };
            let same =
                |other: &Record<NoWords>| table.same_key(other, record) && !other.head().is_dead();
            let found = table.shards[write.shard as usize].find(write.hash, same);
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
    for absent in &cx.worker.access.absents[absents] {
        let is_own = |record: &Record<NoWords>| is_inserted_by(record, own);
        if !HashIndex::still_absent(&absent.witness, absent.hash, is_own) {
            let at = Some(Place::Key(absent.table, absent.hash));
            return Err(Conflict { reason: AbortReason::ReadValidation, at });
        }
    }
    Ok(())
}

/// Whether `version` (null: none) is the newest committed version of a record, and stays so until
/// after `at`. The transaction's own undecided version on top of it does not count.
///
/// # Safety
///
/// The calling step is pinned and its snapshot is published; the record is alive.
#[inline]
pub(super) unsafe fn still_newest(
    record: &Record<NoWords>,
    version: *const Version<NoWords>,
    at: u64,
    own: *const Decision,
) -> bool {
    let head = record.head();
    if std::ptr::eq(head.version(), version) && !version.is_null() {
        return true;
    }
    if head.is_dead() {
        // A new record may have taken the key.
        return false;
    }
    let mut current = head.version();
    while let Some(above) =
        NonNull::new(current).filter(|&above| above.as_ptr().cast_const() != version)
    {
        // SAFETY: the caller's promise, as in `visible_at`.
        let above = unsafe { above.as_ref() };
        match above.stamp() {
            Stamp::At(_) => return false,
            Stamp::By(decision) if decision == own => {}
            Stamp::By(decision) => {
                // SAFETY: as in `visible_at`.
                let decision = unsafe { &*decision };
                // A commit above `at` is a conflict all the same: see the module's text.
                if decision.settle_for(at, 0).is_some() {
                    return false;
                }
            }
        }
        current = above.older();
    }
    std::ptr::eq(current, version)
}

/// Whether the key of a record was absent until the transaction with this decision word wrote it:
/// its undecided version is the first one. A version on top of another's is no proof of absence.
fn is_inserted_by(record: &Record<NoWords>, own: *const Decision) -> bool {
    NonNull::new(record.head().version()).is_some_and(|version| {
        // SAFETY: the caller's step is pinned.
        let version = unsafe { version.as_ref() };
        version.stamp() == Stamp::By(own) && version.older().is_null()
    })
}

/// Installs an undecided version at the head of its chain.
fn install_version(cx: &mut Cx<'_>, index: usize) -> Step<Mvocc, ()> {
    let decision = std::ptr::from_ref(cx.worker.local.decision());
    let WriteEntry { record: pointer, version: new, base: expected, kind, .. } =
        cx.worker.access.writes[index];
    // SAFETY: the record of an open transaction's write is alive; the version is ours.
    let (record, version) = unsafe { (&*pointer, &*new) };
    version.set_writer(decision);
    let mut spins = 0;
    loop {
        let head = record.head();
        if head.is_dead() {
            return Err(Conflict::at(AbortReason::WriteConflict, record));
        }
        // SAFETY: this step is pinned and the snapshot published.
        let (base, begin) = match unsafe { top(head.version()) } {
            Top::Settled { base, begin } => (base, begin),
            Top::Undecided(other) => {
                // SAFETY: pinned: a decision word is freed a grace period after its last stamp
                // goes.
                wait_or_overrule(unsafe { &*other }, cx.worker.retries, &mut spins);
                continue;
            }
        };
        if kind == WriteKind::Based && base != expected {
            return Err(Conflict::at(AbortReason::WriteConflict, record));
        }
        if !install::install_on(cx, index, head, base, begin) {
            continue;
        }
        return Ok(());
    }
}

/// Meets an undecided transaction: waits a bounded moment, then aborts it.
fn wait_or_overrule(other: &Decision, priority: u32, spins: &mut u32) {
    // The more urgent one waits little, the other gives it four times as long to finish.
    let patience =
        if priority > other.priority() { UNDECIDED_SPINS_MAX } else { 4 * UNDECIDED_SPINS_MAX };
    if *spins < patience {
        *spins += 1;
        spin_loop();
    } else {
        other.abort();
        *spins = 0;
    }
}

fn retire_decision(cx: &mut Cx<'_>) {
    if let Some(decision) = cx.worker.local.decision.take() {
        cx.worker.garbage.push(Garbage::Decision(decision));
    }
}

const _: () = assert!(size_of::<<NoWords as Words>::Record>() == 0);
