//! What transactions and janitors put away, and how each kind goes back to where it came from.

use crate::reclaim::arena::{Arena, ChunkPool};
use crate::storage::Words;
use crate::storage::decision::Decision;
use crate::storage::hash_index::{Array, HashIndex};
use crate::storage::ordered_index::{OwnedNode, Retired};
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::Version;
use std::ptr::NonNull;

/// The arena class of a decision word.
const DECISION_SIZE: usize = size_of::<Decision>();

/// Something unlinked: nobody who begins now can reach it.
#[derive(Debug)]
pub(crate) enum Garbage<W: Words> {
    /// A version.
    Version(*const TableCore<W>, NonNull<Version<W>>),
    /// A record without versions.
    Record(*const TableCore<W>, NonNull<Record<W>>),
    /// An index array that was replaced.
    Array(*const HashIndex<W>, Box<Array<W>>),
    /// A decision word that no version points to.
    Decision(NonNull<Decision>),
    /// A node of an ordered index that was replaced.
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
            Garbage::Node(node) => drop(node),
            Garbage::Decision(decision) => {
                // SAFETY: made by `new_decision`.
                unsafe { free_decision(decision, arena, pool) };
            }
        }
        0
    }
}

/// A decision word in the arena; `None` if there is no memory.
#[inline]
pub(crate) fn new_decision(
    (priority, floor): (u32, u64),
    arena: &mut Arena,
    pool: &ChunkPool,
) -> Option<NonNull<Decision>> {
    // Blocks whose size is a multiple of a cache line lie on one.
    let (block, _) = arena.allocate(pool, DECISION_SIZE, crate::reclaim::arena::BLOCK_ALIGN)?;
    let decision: NonNull<Decision> = block.cast();
    // SAFETY: the block is ours and large enough.
    unsafe { decision.write(Decision::new(priority, floor)) };
    Some(decision)
}

/// # Safety
///
/// Made by [`new_decision`], and nobody can reach it.
unsafe fn free_decision(decision: NonNull<Decision>, arena: &mut Arena, pool: &ChunkPool) {
    let class = crate::reclaim::arena::class_of(DECISION_SIZE).expect("a small block");
    // SAFETY: the caller's promise.
    unsafe { arena.free(pool, decision.cast(), class, (DECISION_SIZE, 1)) };
}
