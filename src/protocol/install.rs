//! Installing versions and taking them back: the same for every protocol that keeps chains.

use super::access_set::{WriteEntry, WriteState};
use super::context::{Context, Worker};
use super::garbage::Garbage;
use super::{Conflict, Place, Protocol, Reads, Step};
use crate::error::AbortReason;
use crate::storage::Words;
use crate::storage::entry::{Indexes, Replaced};
use crate::storage::hash_index::Inserted;
use crate::storage::ordered_index::ArenaMemory;
use crate::storage::record::{Head, Record};
use crate::storage::version::Version;
use crate::sync::step::{self, Step as Point};
use std::ptr::NonNull;

/// Publishes a private record, with the version that the write made for it, in the indexes. The
/// version is stamped already.
pub(crate) fn publish_record<P: Protocol>(cx: &mut Context<'_, P>, index: usize) -> Step<P, ()> {
    let Worker { access, arena, garbage, .. } = &mut *cx.worker;
    let write = &mut access.writes[index];
    // SAFETY: private until it is in an index.
    let (record, version) = unsafe { (&*write.record, &*write.version) };
    // A key that is inserted and removed by one transaction leaves a record that has to go again.
    write.ticket = version.is_tombstone();
    record.set_private_head(Head::new(write.version, write.ticket));
    // A copy: the entry's state is written to while this is in use.
    let table = write.table;
    let table = table.get();
    let (pointer, hash, shard) = (write.record, write.hash, write.shard);
    let hash_index = table.index(shard);
    let indexes = Indexes { hash: hash_index, ordered: table.ordered_index(shard), order: table };
    let same_key = |one: &Record<P::Words>, other: &Record<P::Words>| table.same_key(one, other);
    let retire = |replaced| {
        garbage.push(match replaced {
            Replaced::Array(array) => Garbage::Array(hash_index, array),
            Replaced::Ordered(retired) => Garbage::of_ordered(table, retired),
        });
    };
    let mut memory = ArenaMemory { arena, pool: &cx.core.pool, retire };
    let visible = || write.state = WriteState::Installed;
    match indexes.enter(pointer, hash, same_key, visible, &mut memory) {
        Inserted::Yes => Ok(()),
        Inserted::Exists(_) => {
            let at = Some(Place::Key(table, hash));
            Err(Conflict { reason: AbortReason::InsertConflict, at })
        }
        Inserted::OutOfMemory => Err(Conflict::new(AbortReason::OutOfMemory)),
    }
}

/// How an attempt to install a version ended.
pub(super) enum Install<W: Words> {
    /// The head has changed.
    Lost,
    /// On top of the newest committed version, or of nothing.
    Done,
    /// In place of an aborted version, which is ours to put away.
    InPlaceOf(NonNull<Version<W>>),
}

/// Installs a write's version on `base`, the newest committed version (or null), if the head is
/// still `head`.
#[inline]
pub(super) fn install_write<P: Protocol>(
    write: &mut WriteEntry<P::Words>,
    head: Head<P::Words>,
    base: *mut Version<P::Words>,
) -> Install<P::Words> {
    // SAFETY: the record of an open transaction's write is alive; the version is ours.
    let (record, version) = unsafe { (&*write.record, &*write.version) };
    version.set_older(base);
    let below = NonNull::new(base)
        // SAFETY: the newest committed version stays while this step is pinned.
        .map_or(0, |base| unsafe { base.as_ref() }.depth().wrapping_add(1));
    version.set_depth(below);
    // Whoever creates something that a janitor has to unlink takes the ticket, unless it is taken.
    let overwrites = P::READS == Reads::Snapshot && !base.is_null();
    let creates_garbage = overwrites || version.is_tombstone();
    let new_head = Head::new(write.version, head.has_ticket() || creates_garbage);
    if record.exchange(head, new_head).is_err() {
        return Install::Lost;
    }
    write.state = WriteState::Installed;
    write.ticket = creates_garbage && !head.has_ticket();
    match NonNull::new(head.version()).filter(|head| head.as_ptr() != base) {
        None => Install::Done,
        Some(aborted) => Install::InPlaceOf(aborted),
    }
}

/// As [`install_write`], on a base whose begin is given, with all that follows from it. False if
/// the head is no longer `head`.
pub(crate) fn install_on<P: Protocol>(
    cx: &mut Context<'_, P>,
    index: usize,
    head: Head<P::Words>,
    base: *mut Version<P::Words>,
    begin: u64,
) -> bool {
    let write = &mut cx.worker.access.writes[index];
    let table = write.table;
    match install_write::<P>(write, head, base) {
        Install::Lost => return false,
        Install::Done => {}
        Install::InPlaceOf(aborted) => cx.retire_version(table.pointer(), aborted),
    }
    cx.worker.commit_floor = cx.worker.commit_floor.max(begin);
    true
}

/// Takes an aborted version out of its chain, unless somebody has installed in its place.
pub(crate) fn take_back<P: Protocol>(cx: &mut Context<'_, P>, index: usize) {
    let WriteEntry { record: pointer, version, table, ticket, shown, .. } =
        cx.worker.access.writes[index];
    // SAFETY: the record of an open transaction's write is alive; the version is ours, or in limbo
    // since this step was pinned.
    let (record, base) = unsafe { (&*pointer, (*version).older()) };
    let mut queue = ticket;
    loop {
        let head = record.head();
        if head.version() != version {
            break;
        }
        // A record without any version has to leave the index again; that needs the ticket.
        let empty = base.is_null();
        let others = head.has_ticket() && !ticket;
        if record.exchange(head, Head::new(base, others || empty)).is_ok() {
            // Otherwise the ticket goes back with the version.
            queue = empty && !others;
            let version = NonNull::new(version).expect("an installed version");
            match shown {
                true => cx.supersede_version(table.pointer(), version),
                false => cx.retire_version(table.pointer(), version),
            }
            break;
        }
    }
    if queue {
        cx.worker.tickets.push((pointer, cx.worker.snapshot));
    }
    cx.worker.access.writes[index].version = std::ptr::null_mut();
}

/// After a commit: stamps the versions, and passes on the tickets that the installs took and the
/// records whose chains have grown long while somebody else holds theirs.
#[inline]
pub(crate) fn stamp<P: Protocol>(cx: &mut Context<'_, P>) {
    let commit = cx.worker.commit;
    let Worker { access, tickets, crowded, .. } = &mut *cx.worker;
    for write in &access.writes {
        // SAFETY: our own version; this step has been pinned since before it was installed.
        let version = unsafe { &*write.version };
        version.set_begin(commit);
        step::at(Point::FinishStamped);
        if write.ticket {
            tickets.push((write.record, commit));
        } else if version.depth() > 1 {
            crowded.push((write.record, version.depth()));
        }
    }
}

/// After a commit of a protocol that reads the newest versions: takes the overwritten ones out of
/// their chains, and passes on the tickets that the installs took. Nobody else changes the chains
/// meanwhile: the protocol holds the records, and its janitors only look at heads.
pub(crate) fn supersede<P: Protocol>(cx: &mut Context<'_, P>) {
    debug_assert!(P::READS == Reads::Newest, "snapshots may still see what was overwritten");
    for index in 0..cx.worker.access.writes.len() {
        let WriteEntry { record, version, table, ticket, .. } = cx.worker.access.writes[index];
        // SAFETY: our own version; this step has been pinned since before it was installed.
        let version = unsafe { &*version };
        if let Some(older) = NonNull::new(version.older()) {
            version.set_older(std::ptr::null_mut());
            version.set_depth(0);
            cx.supersede_version(table.pointer(), older);
        }
        if ticket {
            cx.worker.tickets.push((record, cx.worker.commit));
        }
    }
}
