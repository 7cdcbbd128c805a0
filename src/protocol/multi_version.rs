//! What the multi-version protocols share: versions that hang on one decision word, from the walk
//! that finds the visible one to the stamps that a commit leaves.
//!
//! Writes are private until *prepare*, which installs them, undecided, at the heads of their
//! chains. One compare-and-swap on the decision word commits them all. A protocol adds what it
//! depends on: which installs it admits, what it validates, and where it lies in the serial order.

use super::access_set::{WriteEntry, WriteKind, WriteState};
use super::context::Context;
use super::garbage::{DECISIONS, Garbage, new_decisions};
use super::install::{self, Install};
use super::{Conflict, Place, Protocol, Step};
use crate::error::AbortReason;
use crate::limits::UNDECIDED_SPINS_MAX;
use crate::storage::Words;
use crate::storage::decision::{Decision, Outcome, Refusal};
use crate::storage::hash_index::HashIndex;
use crate::storage::record::Record;
use crate::storage::version::{Stamp, Top, Version, top, visible_at};
use crate::sync::spin_loop;
use crate::sync::step::{self, Step as Point};
use std::ops::Range;
use std::ptr::NonNull;

/// One open transaction's decision word, from prepare to the end, and what its protocol adds.
#[derive(Debug, Default)]
pub struct Local<M = ()> {
    decision: Option<NonNull<Decision>>,
    /// The block that decision words are taken from, and how many of it are taken. It is put away
    /// when the transaction of its last one ends: all the others have ended then.
    block: Option<NonNull<Decision>>,
    taken: usize,
    pub(super) more: M,
}

impl<M> Local<M> {
    pub(super) fn decision(&self) -> &Decision {
        let decision = self.decision.expect("prepare makes the decision word");
        // SAFETY: it is retired at the end of the transaction.
        unsafe { decision.as_ref() }
    }

    /// The decision word's address; null before prepare and without writes.
    #[inline]
    pub(super) fn own(&self) -> *const Decision {
        self.decision.map_or(std::ptr::null(), |decision| decision.as_ptr().cast_const())
    }

    /// The timestamp above which the transaction has to commit for others' sake.
    #[inline]
    fn floor(&self) -> u64 {
        // SAFETY: it is retired at the end of the transaction.
        self.decision.map_or(0, |decision| unsafe { decision.as_ref() }.floor())
    }
}

/// The version that the transaction's snapshot sees (null: none), and whether it is the newest
/// committed one.
#[inline(always)]
pub(crate) fn visible_now<P: Protocol>(
    cx: &Context<'_, P>,
    record: &Record<P::Words>,
) -> (*mut Version<P::Words>, bool) {
    let head = record.head().version();
    // SAFETY: this step is pinned, the snapshot is published, and the head was loaded after it was
    // drawn.
    unsafe { visible_at(head, cx.worker.snapshot) }
}

/// Whether `version` (null: none) is the newest committed version of a record, and stays so until
/// after `at`. The transaction's own undecided version on top of it does not count.
///
/// # Safety
///
/// The calling step is pinned and its snapshot is published; the record is alive.
#[inline]
pub(super) unsafe fn still_newest<W: Words>(
    record: &Record<W>,
    version: *const Version<W>,
    at: u64,
    own: *const Decision,
) -> bool {
    let head = record.head();
    if head.is_at(version) {
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
                // A commit above `at` is a conflict all the same: versions between two snapshots
                // are pruned, and a gap must not look like "unchanged".
                if decision.settle_for(at, 0).is_some() {
                    return false;
                }
            }
        }
        current = above.older();
    }
    std::ptr::eq(current, version)
}

/// What stands directly above a version.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Above {
    /// Nothing that is committed, or that can commit at or below the floor that it was given.
    Nothing,
    /// A version that began at this timestamp.
    Committed(u64),
    /// The version is not in the chain any more.
    Gone,
    /// The record is out of use.
    Dead,
}

/// Looks above `version` (null: the bottom of the chain). Undecided versions are settled for the
/// timestamp that `floor` gives.
///
/// # Safety
///
/// The calling step is pinned and its snapshot is published; the record is alive.
#[inline]
pub(super) unsafe fn above<W: Words>(
    record: &Record<W>,
    version: *const Version<W>,
    floor: impl Fn() -> u64,
) -> Above {
    let head = record.head();
    if head.is_dead() {
        return Above::Dead;
    }
    let (mut current, mut last) = (head.version(), Above::Nothing);
    while let Some(found) =
        NonNull::new(current).filter(|&found| found.as_ptr().cast_const() != version)
    {
        // SAFETY: as in `visible_at`.
        let found = unsafe { found.as_ref() };
        let begin = match found.stamp() {
            Stamp::At(begin) => Some(begin),
            // SAFETY: as in `visible_at`.
            Stamp::By(decision) => unsafe { &*decision }.settle_for(floor(), UNDECIDED_SPINS_MAX),
        };
        if let Some(begin) = begin {
            last = Above::Committed(begin);
        }
        current = found.older();
    }
    if std::ptr::eq(current, version) { last } else { Above::Gone }
}

/// Checks that no key that was absent has a record now. The transaction's own do not count.
#[inline]
pub(super) fn still_absent<P: Protocol>(
    cx: &Context<'_, P>,
    absents: Range<usize>,
    own: *const Decision,
) -> Step<P, ()> {
    for absent in &cx.worker.access.absents[absents] {
        let is_own = |record: &Record<P::Words>| is_inserted_by(record, own);
        if !HashIndex::still_absent(&absent.witness, absent.hash, is_own) {
            let at = Some(Place::Key(absent.table, absent.hash));
            return Err(Conflict { reason: AbortReason::ReadValidation, at });
        }
    }
    Ok(())
}

/// Whether the key of a record was absent until the transaction with this decision word wrote it:
/// its undecided version is the first one. A version on top of another's is no proof of absence.
fn is_inserted_by<W: Words>(record: &Record<W>, own: *const Decision) -> bool {
    NonNull::new(record.head().version()).is_some_and(|version| {
        // SAFETY: the caller's step is pinned.
        let version = unsafe { version.as_ref() };
        version.stamp() == Stamp::By(own) && version.older().is_null()
    })
}

/// Installs these writes, undecided, where `admits` lets a write land on the newest committed
/// version (or null) and its begin. The transaction will commit above `floor`, whatever happens.
#[inline]
pub(super) fn prepare<P: Protocol<Local = Local<M>>, M>(
    cx: &mut Context<'_, P>,
    writes: Range<usize>,
    floor: u64,
    admits: impl Fn(&WriteEntry<P::Words>, *mut Version<P::Words>, u64) -> Result<(), AbortReason>,
) -> Step<P, ()> {
    if cx.worker.local.decision.is_none() {
        take_decision(cx, floor)?;
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
            WriteKind::Blind | WriteKind::Based => install_version(cx, index, &admits)?,
        }
        step::at(Point::PrepareInstalled);
    }
    Ok(())
}

/// Takes a decision word for this transaction.
#[inline]
fn take_decision<P: Protocol<Local = Local<M>>, M>(
    cx: &mut Context<'_, P>,
    floor: u64,
) -> Step<P, ()> {
    let worker = &mut *cx.worker;
    let block = match worker.local.block {
        Some(block) => block,
        None => {
            let block = new_decisions(&mut worker.arena, &cx.core.pool)
                .ok_or(Conflict::new(AbortReason::OutOfMemory))?;
            worker.local.taken = 0;
            *worker.local.block.insert(block)
        }
    };
    // SAFETY: a block that is full is put away, so there is one more word in this one, which nobody
    // refers to: it is new, or its grace period is over.
    let decision = unsafe {
        let decision = block.add(worker.local.taken);
        decision.write(Decision::new(worker.retries, floor));
        decision
    };
    worker.local.taken += 1;
    worker.local.decision = Some(decision);
    Ok(())
}

/// Installs an undecided version at the head of its chain.
#[inline]
fn install_version<P: Protocol<Local = Local<M>>, M>(
    cx: &mut Context<'_, P>,
    index: usize,
    admits: &impl Fn(&WriteEntry<P::Words>, *mut Version<P::Words>, u64) -> Result<(), AbortReason>,
) -> Step<P, ()> {
    let worker = &mut *cx.worker;
    let write = &mut worker.access.writes[index];
    // SAFETY: the record of an open transaction's write is alive; the version is ours.
    let (record, version) = unsafe { (&*write.record, &*write.version) };
    version.set_writer(worker.local.decision());
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
                let other = unsafe { &*other };
                if !wait_or_overrule(other, worker.local.decision(), &mut spins) {
                    return Err(Conflict::at(AbortReason::Overruled, record));
                }
                continue;
            }
        };
        admits(write, base, begin).map_err(|reason| Conflict::at(reason, record))?;
        match install::install_write::<P>(write, head, base) {
            Install::Lost => continue,
            Install::Done => worker.commit_floor = worker.commit_floor.max(begin),
            Install::InPlaceOf(aborted) => {
                worker.commit_floor = worker.commit_floor.max(begin);
                let table = write.table.pointer();
                cx.retire_version(table, aborted);
            }
        }
        return Ok(());
    }
}

/// Meets an undecided transaction: waits a bounded moment, then aborts it. False if `own` has been
/// aborted meanwhile: whoever has been overruled overrules nobody, so of two that stand in each
/// other's way one can go on.
#[cold]
fn wait_or_overrule(other: &Decision, own: &Decision, spins: &mut u32) -> bool {
    if own.outcome() == Outcome::Aborted {
        return false;
    }
    // The more urgent one waits little, the other gives it four times as long to finish.
    let urgent = own.priority() > other.priority();
    let patience = if urgent { UNDECIDED_SPINS_MAX } else { 4 * UNDECIDED_SPINS_MAX };
    if *spins < patience {
        *spins += 1;
        spin_loop();
    } else {
        other.abort();
        *spins = 0;
    }
    true
}

/// Draws a commit timestamp above everything that the transaction's commit has to exceed.
#[inline]
pub(super) fn draw<P: Protocol<Local = Local<M>>, M>(cx: &mut Context<'_, P>) {
    let floor = cx.worker.commit_floor.max(cx.worker.snapshot).max(cx.worker.local.floor());
    loop {
        let commit = cx.core.clock.commit();
        // Greater, not equal: dependent commits must not tie. A tick passes in a few cycles.
        if commit > floor {
            cx.worker.commit = commit;
            step::at(Point::PrepareDrawn);
            return;
        }
    }
}

/// The commit point: one compare-and-swap on the decision word.
#[inline]
pub(super) fn decide<P: Protocol<Local = Local<M>>, M>(cx: &mut Context<'_, P>) -> Step<P, bool> {
    match cx.worker.local.decision().commit(cx.worker.commit) {
        Ok(()) => {
            step::at(Point::DecideCommitted);
            Ok(true)
        }
        Err(Refusal::Floor) => Ok(false),
        Err(Refusal::Aborted) => Err(Conflict::new(AbortReason::Overruled)),
    }
}

/// Stamps the versions of a committed transaction and hands over what they replace.
#[inline]
pub(super) fn finish<P: Protocol<Local = Local<M>>, M>(cx: &mut Context<'_, P>) {
    install::stamp(cx);
    retire_decision(cx);
}

/// Aborts, and takes back what was installed.
pub(super) fn abort<P: Protocol<Local = Local<M>>, M>(cx: &mut Context<'_, P>) {
    if let Some(decision) = cx.worker.local.decision {
        // SAFETY: retired at the end of this function.
        unsafe { decision.as_ref() }.abort();
    }
    for index in 0..cx.worker.access.writes.len() {
        if cx.worker.access.writes[index].state == WriteState::Installed {
            step::at(Point::AbortUnlink);
            install::take_back(cx, index);
        }
    }
    retire_decision(cx);
}

fn retire_decision<P: Protocol<Local = Local<M>>, M>(cx: &mut Context<'_, P>) {
    let local = &mut cx.worker.local;
    local.decision = None;
    if local.taken == DECISIONS
        && let Some(block) = local.block.take()
    {
        cx.worker.garbage.push(Garbage::Decisions(block));
    }
}
