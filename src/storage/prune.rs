//! Pruning: which versions of a chain nobody can see any more, and how they leave it.
//!
//! # Definitions
//!
//! Take a chain x0, x1, x2, ... of committed versions, newest first, with descending begin
//! timestamps t0, t1, t2, ..., where t0 is not above the `now` of a scan of the watermark. Version
//! xi (i >= 1) holds from ti until t(i-1); a snapshot s sees it if ti < s <= t(i-1). It is *dead*
//! if the scan lists no such snapshot: one that the scan does not list is above `now`, hence above
//! t(i-1).
//!
//! # Invariants
//!
//! 1. Only the holder of the record's prune right unlinks versions below the newest committed one.
//! 2. An unlinked version's block is used again at once if every open snapshot is above the begin
//!    of the version that it was linked from: nobody who is open ever walks that far. Otherwise it
//!    waits in limbo, because a reader on its way to an older version may stand on it. (Where
//!    transactions commit below open snapshots it always waits: the reader may have set out
//!    before.)
//!
//! The second point is what makes the common case cheap: without an old snapshot, a version goes
//! from its chain to the free list with no grace period, while it is still in the cache.

use super::Words;
use super::record::Record;
use super::version::{Stamp, Version, committed_begin};
use crate::reclaim::watermark::Live;
use std::ptr::NonNull;

/// What is left of a chain.
#[derive(Debug)]
pub(crate) enum Left<W: Words> {
    /// The record has no version at all: the insert that made it was aborted.
    Nothing,
    /// Every committed version is newer than the scan, or one is undecided on top of nothing.
    TooNew,
    /// The newest version within the scan, and what stays below it.
    Versions {
        /// That version.
        newest: *mut Version<W>,
        /// When it began.
        begin: u64,
        /// How many versions stay below it.
        kept: u16,
        /// One of the snapshots that they stay for.
        blocker: u64,
        /// How many committed versions the chain had from the newest one on.
        length: u64,
    },
}

/// Where unlinked versions go.
pub(crate) trait Unlinked<W: Words> {
    /// Nobody can reach it: its block may be used again.
    fn free(&mut self, version: NonNull<Version<W>>);
    /// A reader may stand on it.
    fn retire(&mut self, version: NonNull<Version<W>>);
}

/// Unlinks everything below the newest version of a record, in the common case that this version
/// holds a value which every snapshot sees; returns it, and how many versions there were. `None`,
/// and nothing is done, in any other case.
///
/// # Safety
///
/// As for [`prune`].
#[inline]
pub(crate) unsafe fn prune_below_newest<W: Words>(
    record: &Record<W>,
    live: &Live,
    sink: &mut impl Unlinked<W>,
) -> Option<(NonNull<Version<W>>, u64)> {
    let newest = NonNull::new(record.head().version())?;
    // SAFETY: the caller is pinned.
    let version = unsafe { newest.as_ref() };
    let seen_by_all = matches!(version.stamp(), Stamp::At(begin) if begin < live.watermark());
    if !seen_by_all || version.is_tombstone() {
        return None;
    }
    // SAFETY: the caller's promise; nobody who is open walks below this version.
    let unlinked = unsafe { unlink(newest, std::ptr::null_mut(), true, sink) };
    version.set_depth(0);
    Some((newest, 1 + unlinked))
}

/// What is left of the chain of a record that has one committed version at most.
///
/// # Safety
///
/// As for [`prune`], except that no right is needed: nothing is unlinked.
pub(crate) unsafe fn look<W: Words>(record: &Record<W>, live: &Live) -> Left<W> {
    let Some(head) = NonNull::new(record.head().version()) else {
        return Left::Nothing;
    };
    // SAFETY: the caller is pinned.
    match unsafe { head.as_ref() }.stamp() {
        Stamp::At(begin) if begin <= live.now => {
            Left::Versions { newest: head.as_ptr(), begin, kept: 0, blocker: u64::MAX, length: 1 }
        }
        Stamp::At(_) | Stamp::By(_) => Left::TooNew,
    }
}

/// Unlinks every dead version of a record.
///
/// # Safety
///
/// The caller holds the record's prune right, is pinned, and has published a snapshot; the record
/// is alive.
pub(crate) unsafe fn prune<W: Words>(
    record: &Record<W>,
    live: &Live,
    sink: &mut impl Unlinked<W>,
) -> Left<W> {
    let head = record.head();
    let Some(mut newest) = NonNull::new(head.version()) else {
        return Left::Nothing;
    };
    let newest_begin = loop {
        // SAFETY: versions above the newest committed one leave the chain through limbo, and the
        // committed ones only by whoever holds the prune right, which is us.
        let version = unsafe { newest.as_ref() };
        // SAFETY: the caller is pinned.
        match unsafe { committed_begin(version) } {
            Some(begin) if begin <= live.now => break begin,
            _ => {}
        }
        match NonNull::new(version.older()) {
            Some(older) => newest = older,
            None => return Left::TooNew,
        }
    };
    // The last version kept so far, and its begin; the version looked at, and when it was
    // overwritten.
    let (mut last, mut last_begin) = (newest, newest_begin);
    let (mut overwritten, mut kept, mut blocker) = (newest_begin, 0, u64::MAX);
    let mut length = 1;
    // SAFETY: as above.
    let mut next = unsafe { newest.as_ref() }.older();
    while let Some(version) = NonNull::new(next) {
        // SAFETY: as above.
        let current = unsafe { version.as_ref() };
        next = current.older();
        length += 1;
        // SAFETY: the caller is pinned.
        let begin = unsafe { committed_begin(current) };
        let begin = begin.expect("a version below a committed one is committed");
        if let Some(snapshot) = live.seen_by(begin, overwritten) {
            // SAFETY: as above; everything between the two is dead.
            unsafe { unlink(last, version.as_ptr(), live.watermark() > last_begin, sink) };
            (last, last_begin, kept) = (version, begin, kept + 1);
            blocker = blocker.min(snapshot);
        }
        overwritten = begin;
    }
    // SAFETY: as above; everything below the last version kept is dead.
    unsafe { unlink(last, std::ptr::null_mut(), live.watermark() > last_begin, sink) };
    // SAFETY: as above.
    unsafe { newest.as_ref() }.set_depth(kept);
    Left::Versions { newest: newest.as_ptr(), begin: newest_begin, kept, blocker, length }
}

/// Links `from` to `to` and disposes of the versions between: in this order, because a grace period
/// begins only when nobody can reach them any more. Returns how many they are.
///
/// # Safety
///
/// As for [`prune`]; `to` (or null) is below `from`, and every version between is dead. With
/// `at_once`, every open snapshot is above the begin of `from`.
#[inline]
unsafe fn unlink<W: Words>(
    from: NonNull<Version<W>>,
    to: *mut Version<W>,
    at_once: bool,
    sink: &mut impl Unlinked<W>,
) -> u64 {
    // SAFETY: the caller's promise.
    let from = unsafe { from.as_ref() };
    let (mut next, mut unlinked) = (from.older(), 0);
    if next == to {
        return unlinked;
    }
    from.set_older(to);
    while next != to {
        let version = NonNull::new(next).expect("`to` is below `from`");
        // SAFETY: the versions between are ours since the line above.
        next = unsafe { version.as_ref() }.older();
        if at_once {
            sink.free(version)
        } else {
            sink.retire(version)
        }
        unlinked += 1;
    }
    unlinked
}
