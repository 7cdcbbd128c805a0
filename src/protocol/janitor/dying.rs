//! What is dying: records out of use, and what the indexes have replaced, until no open transaction
//! can hold a pointer to it.

use super::{Chores, Hands, Next};
use crate::limits::RECLAIM_STEPS_PER_COMMIT;
use crate::protocol::garbage::Garbage;
use crate::protocol::{Protocol, Reads};
use crate::reclaim::arena::{Arena, ChunkPool};
use crate::storage::Words;
use crate::storage::hash_index::{Array, HashIndex};
use crate::storage::ordered_index::{ArenaMemory, OwnedNode, Removed, Retired};
use crate::storage::record::{Head, Record};
use crate::storage::table::TableCore;
use crate::storage::version::Version;
use crate::sync::step::{self, Step};
use std::ptr::NonNull;

/// Something out of use that a transaction may still hold a pointer to between its operations.
#[derive(Debug)]
pub(super) enum Dying<W: Words> {
    /// A record that is dead.
    Record(*const TableCore<W>, *mut Record<W>, Stage),
    /// An index array and when it was replaced.
    Array(*const HashIndex<W>, Box<Array<W>>, u64),
    /// A node of an ordered index and when it was replaced.
    Node(OwnedNode<W>, u64),
}

/// How far a dead record has come.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stage {
    /// It is out of use, since then, and a transaction that was open may still enter it in the hash
    /// index of its ordered table: see `storage/entry.rs`.
    Buried(u64),
    /// It could not be taken out of the hash index yet.
    InHashIndex,
    /// Nor out of the ordered one.
    InOrderedIndex,
    /// It is out, since then.
    Out(u64),
}

impl<W: Words> Chores<W> {
    /// Frees what is dying: the second half, because versions in any limbo may lie inside dying
    /// records. Records in the queues are in their tables as well.
    pub(crate) fn drain_dying(&mut self, arena: &mut Arena, pool: &ChunkPool) {
        for dying in self.dying.drain(..) {
            match dying {
                // Still in the index, which frees it.
                Dying::Record(_, _, Stage::Buried(_) | Stage::InHashIndex) => {}
                Dying::Node(node, _) => node.free(arena, pool),
                Dying::Record(table, record, Stage::InOrderedIndex | Stage::Out(_)) => {
                    let record = NonNull::new(record).expect("a record");
                    Garbage::Record(table, record).dispose(arena, pool);
                }
                Dying::Array(index, array, _) => {
                    Garbage::Array(index, array).dispose(arena, pool);
                }
            }
        }
    }
}

impl<P: Protocol> Hands<'_, P> {
    /// Takes a record out of use whose only version is a tombstone (or which has none).
    pub(super) fn bury(
        &mut self,
        chores: &mut Chores<P::Words>,
        table: &TableCore<P::Words>,
        record: *mut Record<P::Words>,
        tombstone: *mut Version<P::Words>,
    ) -> Next {
        // SAFETY: as in `tend`.
        let target = unsafe { &*record };
        // An aborted version inside the record's block must leave limbo first. The tombstone may be
        // inside it too, but where it waits below the record follows it.
        if target.inline_retired()
            || target.exchange(Head::new(tombstone, true), Head::dead()).is_err()
        {
            return Next::Later;
        }
        if let Some(tombstone) = NonNull::new(tombstone) {
            self.tallies.versions_unlinked.add(1);
            match P::READS {
                Reads::Snapshot => {
                    chores.limbo.push(Garbage::Version(table, tombstone), self.guard)
                }
                // Who has found it may come back to it, as to any version that was the newest.
                Reads::Newest => {
                    TableCore::mark_retired(tombstone);
                    // Drawn after it went out of use: whoever begins later does not find it.
                    let now = self.core.clock.snapshot();
                    chores.superseded.push_back(((table, tombstone), now));
                }
            }
        }
        if table.is_ordered() {
            // Drawn after it went out of use: whoever begins later does not help it.
            let stage = Stage::Buried(self.core.clock.snapshot());
            chores.dying.push_back(Dying::Record(table, record, stage));
        } else {
            self.remove(table, record, Stage::InHashIndex, chores);
        }
        Next::Done
    }

    /// Takes a dead record out of its indexes, as far as that is possible now.
    fn remove(
        &mut self,
        table: *const TableCore<P::Words>,
        record: *mut Record<P::Words>,
        stage: Stage,
        chores: &mut Chores<P::Words>,
    ) {
        step::at(Step::ReclaimRemove);
        // SAFETY: tables live as long as the store; a dead record belongs to whoever buried it.
        let core_table = unsafe { &*table };
        let hash = core_table.hash_of(record, &self.core.hasher);
        // SAFETY: as above.
        if hash as u32 != unsafe { &*record }.hash {
            // The key's `Hash` has changed its mind: where the record is nobody can tell any more,
            // so it stays there.
            return;
        }
        let shard = self.core.ring.shard_of(hash as u32);
        let index = core_table.index(shard);
        if matches!(stage, Stage::InHashIndex) && !index.remove(record, hash) {
            // The index is growing. If nobody inserts any more, nobody else finishes that.
            let now = self.core.clock.snapshot();
            index.assist(&mut |old| chores.dying.push_back(Dying::Array(index, old, now)));
            chores.dying.push_back(Dying::Record(table, record, stage));
            return;
        }
        let removed = core_table.ordered_index(shard).map_or(Removed::Yes, |ordered| {
            let retire = |retired| {
                let now = self.core.clock.snapshot();
                chores.dying.push_back(match retired {
                    Retired::Node(node) => Dying::Node(node, now),
                    Retired::Record(record) => Dying::Record(table, record, Stage::Out(now)),
                });
            };
            let mut memory = ArenaMemory { arena: self.arena, pool: &self.core.pool, retire };
            ordered.remove(record, core_table, &mut memory)
        });
        let stage = match removed {
            Removed::Yes => Stage::Out(self.core.clock.snapshot()),
            Removed::NotNow => Stage::InOrderedIndex,
            // The ordered index hands it out later.
            Removed::Kept => return,
        };
        chores.dying.push_back(Dying::Record(table, record, stage));
    }

    /// Looks at what is dying: what no open transaction can hold a pointer to goes to limbo.
    pub(super) fn tend_dying(&mut self, chores: &mut Chores<P::Words>) {
        for _ in 0..RECLAIM_STEPS_PER_COMMIT.min(chores.dying.len()) {
            let Some(dying) = chores.dying.pop_front() else {
                return;
            };
            let oldest = chores.live.oldest_writer();
            match dying {
                Dying::Record(
                    table,
                    record,
                    stage @ (Stage::InHashIndex | Stage::InOrderedIndex),
                ) => {
                    self.remove(table, record, stage, chores);
                }
                Dying::Record(table, record, Stage::Buried(buried)) if buried < oldest => {
                    self.remove(table, record, Stage::InHashIndex, chores);
                }
                // An aborted version inside the record's block may have entered another worker's
                // limbo after the record was buried; whoever put it there has ended by now.
                Dying::Record(table, record, Stage::Out(removed))
                    // SAFETY: a dying record is freed here only.
                    if removed < oldest && !unsafe { (*record).inline_retired() } =>
                {
                    let record = NonNull::new(record).expect("a record");
                    self.tallies.records_freed.add(1);
                    chores.limbo.push(Garbage::Record(table, record), self.guard);
                }
                Dying::Array(index, array, replaced) if replaced < oldest => {
                    chores.limbo.push(Garbage::Array(index, array), self.guard);
                }
                Dying::Node(node, replaced) if replaced < oldest => {
                    chores.limbo.push(Garbage::Node(node), self.guard);
                }
                dying => chores.dying.push_back(dying),
            }
        }
    }
}
