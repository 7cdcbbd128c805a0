//! What transactions and janitors put away, and how each kind goes back to where it came from.

use super::Protocol;
use super::context::Tallies;
use crate::reclaim::arena::{Arena, BLOCK_ALIGN, ChunkPool, class_of};
use crate::reclaim::limbo::Limbo;
use crate::storage::Words;
use crate::storage::decision::Decision;
use crate::storage::hash_index::{Array, HashIndex};
use crate::storage::ordered_index::{OwnedNode, Retired};
use crate::storage::prune::Unlinked;
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::Version;
use crossbeam_epoch::Guard;
use std::ptr::NonNull;

/// Decision words in one block: they are allocated and put away together.
pub(super) const DECISIONS: usize = 16;
const DECISIONS_SIZE: usize = DECISIONS * size_of::<Decision>();

/// Something unlinked: nobody who begins now can reach it.
#[derive(Debug)]
pub(crate) enum Garbage<W: Words> {
    /// A version.
    Version(*const TableCore<W>, NonNull<Version<W>>),
    /// A record without versions.
    Record(*const TableCore<W>, NonNull<Record<W>>),
    /// An index array that was replaced.
    Array(*const HashIndex<W>, Box<Array<W>>),
    /// A block of decision words that no version points to.
    Decisions(NonNull<Decision>),
    /// A node of an ordered index that was replaced, or that never was in it.
    Node(OwnedNode<W>),
    /// A record that an ordered index kept until now, because it was a fence.
    Fence(*const TableCore<W>, NonNull<Record<W>>),
}

impl<W: Words> Garbage<W> {
    /// What the ordered index of a table has no use for any more.
    pub(crate) fn of_ordered(table: *const TableCore<W>, retired: Retired<W>) -> Self {
        match retired {
            Retired::Node(node) => Garbage::Node(node),
            Retired::Record(record) => {
                Garbage::Fence(table, NonNull::new(record).expect("a record"))
            }
        }
    }

    /// Frees it; its grace period is over. Returns the bytes of a version.
    pub(crate) fn dispose(self, arena: &mut Arena, pool: &ChunkPool) -> usize {
        match self {
            Garbage::Version(table, version) => {
                // SAFETY: tables live as long as the store, and nobody can reach the version.
                return unsafe { (*table).free_version(arena, pool, version) };
            }
            Garbage::Record(table, record) | Garbage::Fence(table, record) => {
                // SAFETY: as above.
                unsafe { (*table).free_record(arena, pool, record) };
            }
            Garbage::Array(index, array) => {
                drop(array);
                // SAFETY: an index lives as long as its table.
                unsafe { (*index).settle() };
            }
            Garbage::Node(node) => node.free(arena, pool),
            Garbage::Decisions(block) => {
                let class = class_of(DECISIONS_SIZE).expect("a small block");
                // SAFETY: allocated by `new_decisions`, and nobody can reach it.
                unsafe { arena.free(pool, block.cast(), class, (DECISIONS_SIZE, 1)) };
            }
        }
        0
    }
}

/// Where unlinked versions of one table go.
pub(super) struct Sink<'a, W: Words> {
    pub(super) table: &'a TableCore<W>,
    arena: &'a mut Arena,
    pool: &'a ChunkPool,
    limbo: &'a mut Limbo<Garbage<W>>,
    guard: &'a Guard,
    /// Somebody may stand on a version that no snapshot sees.
    patient: bool,
    freed: u64,
    bytes_freed: u64,
    retired: u64,
}

impl<'a, W: Words> Sink<'a, W> {
    #[inline]
    pub(super) fn new<P: Protocol<Words = W>>(
        table: &'a TableCore<W>,
        arena: &'a mut Arena,
        pool: &'a ChunkPool,
        limbo: &'a mut Limbo<Garbage<W>>,
        guard: &'a Guard,
    ) -> Self {
        let patient = P::COMMITS_IN_THE_PAST;
        Sink { table, arena, pool, limbo, guard, patient, freed: 0, bytes_freed: 0, retired: 0 }
    }

    /// Adds what went through to the tallies.
    pub(super) fn count(&self, tallies: &Tallies) {
        tallies.versions_unlinked.add(self.freed + self.retired);
        tallies.versions_freed.add(self.freed);
        tallies.bytes_freed.add(self.bytes_freed);
    }
}

impl<W: Words> Unlinked<W> for Sink<'_, W> {
    #[inline]
    fn free(&mut self, version: NonNull<Version<W>>) {
        if self.patient {
            return self.retire(version);
        }
        // SAFETY: `prune` says that nobody can reach it.
        let bytes = unsafe { self.table.free_version(self.arena, self.pool, version) };
        self.freed += 1;
        self.bytes_freed += bytes as u64;
    }

    fn retire(&mut self, version: NonNull<Version<W>>) {
        TableCore::mark_retired(version);
        self.retired += 1;
        self.limbo.push(Garbage::Version(self.table, version), self.guard);
    }
}

/// A block for [`DECISIONS`] decision words, none of them written; `None` if there is no memory.
#[cold]
pub(super) fn new_decisions(arena: &mut Arena, pool: &ChunkPool) -> Option<NonNull<Decision>> {
    // Blocks whose size is a multiple of a cache line lie on one.
    let (block, _) = arena.allocate(pool, DECISIONS_SIZE, BLOCK_ALIGN)?;
    Some(block.cast())
}
