//! The commit of protocols under which nobody else touches the records that a transaction writes
//! between its *prepare* and its *finish*, because it holds a lock on them (or on everything).
//!
//! A version is installed newer than anything, so that nobody can bury it, and gets its timestamp
//! when the transaction has committed. Nobody reads it before that, because of the lock.

use super::access_set::{ReadEntry, WriteKind, WriteState};
use super::context::Context;
use super::{Conflict, Place, Protocol, Step, install};
use crate::clock::TIMESTAMP_MAX;
use crate::error::AbortReason;
use crate::storage::Words;
use crate::storage::hash_index::HashIndex;
use crate::storage::record::Record;
use crate::storage::version::{Top, Version, top};
use crate::sync::fault::{self, Fault};
use crate::sync::step::{self, Step as Point};
use std::ops::Range;

/// The newest version of a record that nobody else is writing (null: none), and its begin.
#[inline]
pub(crate) fn newest<W: Words>(record: &Record<W>) -> (*mut Version<W>, u64) {
    // SAFETY: the calling step is pinned.
    match unsafe { top(record.head().version()) } {
        Top::Settled { base, begin } => (base, begin),
        Top::Undecided(_) => unreachable!("these versions never point to a decision"),
    }
}

/// The newest version of a record that nobody else is writing, if the key is present in it; null
/// otherwise.
#[inline]
pub(crate) fn present<W: Words>(record: &Record<W>) -> *mut Version<W> {
    let (version, _) = newest(record);
    // SAFETY: the version stays while nobody else writes the record; the calling step is pinned.
    let absent = version.is_null() || unsafe { &*version }.is_tombstone();
    if absent { std::ptr::null_mut() } else { version }
}

/// Records a read under the record's lock (`new`: got for it) which has found this version (null:
/// none), if the record is in use. An absence is recorded however long the lock was held, because
/// the lock does not keep the record in use.
#[inline]
pub(crate) fn note_read<P: Protocol>(
    cx: &mut Context<'_, P>,
    record: &Record<P::Words>,
    shard: u32,
    version: *mut Version<P::Words>,
    new: bool,
) -> Step<P, ()> {
    if record.head().is_dead() {
        // The key may have another record.
        return Err(Conflict::at(AbortReason::ReadValidation, record));
    }
    if new || version.is_null() {
        cx.worker.access.reads.push(ReadEntry { record, version, shard });
    }
    Ok(())
}

/// Installs a write's version, or publishes its private record.
pub(crate) fn install<P: Protocol>(cx: &mut Context<'_, P>, index: usize) -> Step<P, ()> {
    step::at(Point::PrepareInstall);
    let write = &cx.worker.access.writes[index];
    // Newer than anything until it is stamped, so that reclamation leaves what is below alone.
    // SAFETY: the version is ours.
    unsafe { &*write.version }.set_begin(TIMESTAMP_MAX);
    if write.kind == WriteKind::Insert {
        install::publish_record(cx, index)?;
        step::at(Point::PrepareInstalled);
        return Ok(());
    }
    // SAFETY: the record of an open transaction's write is alive.
    let record = unsafe { &*write.record };
    loop {
        let head = record.head();
        if head.is_dead() {
            return Err(Conflict::at(AbortReason::WriteConflict, record));
        }
        let (base, begin) = newest(record);
        // Reclamation may just have returned the record's ticket: then look again.
        if install::install_on(cx, index, head, base, begin) {
            step::at(Point::PrepareInstalled);
            return Ok(());
        }
    }
}

/// Draws the commit timestamp: above those of the versions overwritten.
#[inline]
pub(crate) fn draw<P: Protocol>(cx: &mut Context<'_, P>) {
    if cx.worker.access.writes.is_empty() {
        return;
    }
    let floor = cx.worker.commit_floor.max(cx.worker.snapshot);
    cx.worker.commit = cx.core.clock.commit();
    while cx.worker.commit <= floor {
        cx.worker.commit = cx.core.clock.commit();
    }
    step::at(Point::PrepareDrawn);
}

/// Checks absences under which no lock lies: a key without a record still has none, and the record
/// in which a key was absent (noted as a read without a version) still is its key's record.
#[inline]
pub(crate) fn validate_absences<P: Protocol>(
    cx: &Context<'_, P>,
    reads: Range<usize>,
    absents: Range<usize>,
) -> Step<P, ()> {
    if fault::on(Fault::SkipValidation) {
        return Ok(());
    }
    let access = &cx.worker.access;
    for read in &access.reads[reads] {
        // SAFETY: records that an open transaction has read are not freed; this step is pinned.
        if read.version.is_null() && unsafe { &*read.record }.head().is_dead() {
            return Err(Conflict::at(AbortReason::ReadValidation, read.record));
        }
    }
    for absent in &access.absents[absents] {
        let own = |record: &Record<P::Words>| {
            let inserts = access.writes.iter().filter(|write| write.kind == WriteKind::Insert);
            inserts.into_iter().any(|write| std::ptr::eq(write.record, record))
        };
        if !HashIndex::still_absent(&absent.witness, absent.hash, own) {
            let at = Some(Place::Key(absent.table, absent.hash));
            return Err(Conflict { reason: AbortReason::ReadValidation, at });
        }
    }
    Ok(())
}

/// Stamps the versions of a transaction that has committed, and takes what they replace out of the
/// chains. The locks come off after this.
#[inline]
pub(crate) fn stamp<P: Protocol>(cx: &mut Context<'_, P>) {
    for write in &cx.worker.access.writes {
        // SAFETY: our own version; this step has been pinned since before it was installed.
        unsafe { &*write.version }.set_begin(cx.worker.commit);
        step::at(Point::FinishStamped);
    }
    install::supersede(cx);
}

/// Takes every installed version back. The locks come off after this.
pub(crate) fn take_back<P: Protocol>(cx: &mut Context<'_, P>) {
    for index in 0..cx.worker.access.writes.len() {
        if cx.worker.access.writes[index].state == WriteState::Installed {
            step::at(Point::AbortUnlink);
            install::take_back(cx, index);
        }
    }
}
