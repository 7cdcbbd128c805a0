//! Where the nodes of an ordered index come from, and where they go.
//!
//! Nodes lie in the arena of whoever builds them, as records and versions do, but leaves among
//! leaves and inner nodes among inner nodes: a descent needs few address translations for them.
//! Only an index's first leaf, which is made before there is a worker, has an allocation of its
//! own.

use super::Retired;
use super::node::LINE;
use crate::reclaim::arena::{Arena, BLOCK_ALIGN, ChunkPool, OWN_ALLOCATION, Region};
use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

/// A block on a whole cache line, and its class.
pub(crate) type Block = (NonNull<u8>, u8);

/// What a change of an index needs besides the index: blocks for new nodes, and somebody who takes
/// what is out of use, `R`.
pub(crate) trait Memory<R> {
    /// A block for a node of `size` bytes, which are whole cache lines, in this region; `None` if
    /// there is no memory.
    fn allocate(&mut self, region: Region, size: usize) -> Option<Block>;

    /// Takes what nobody who begins now can reach.
    fn retire(&mut self, retired: R);
}

/// What changes of ordered indexes themselves are given.
pub(super) type NodeMemory<'a, W> = dyn Memory<Retired<W>> + 'a;

/// A worker's arena, and a function for what is out of use.
pub(crate) struct ArenaMemory<'a, F> {
    pub(crate) arena: &'a mut Arena,
    pub(crate) pool: &'a ChunkPool,
    pub(crate) retire: F,
}

impl<R, F: FnMut(R)> Memory<R> for ArenaMemory<'_, F> {
    fn allocate(&mut self, region: Region, size: usize) -> Option<Block> {
        block_of_lines(self.arena, region, self.pool, size)
    }

    fn retire(&mut self, retired: R) {
        (self.retire)(retired);
    }
}

/// A block of the arena.
#[inline(never)]
fn block_of_lines(
    arena: &mut Arena,
    region: Region,
    pool: &ChunkPool,
    size: usize,
) -> Option<Block> {
    debug_assert!(size.is_multiple_of(LINE));
    // The class of whole cache lines is whole lines as well, and its blocks lie on them.
    let (block, class) = arena.allocate_among(region, pool, size, BLOCK_ALIGN)?;
    debug_assert!(block.addr().get().is_multiple_of(LINE));
    Some((block, class))
}

/// A block with an allocation of its own.
pub(super) fn own_block(size: usize) -> Option<Block> {
    let layout = Layout::from_size_align(size.max(1), LINE).ok()?;
    // SAFETY: the size is not zero.
    Some((NonNull::new(unsafe { alloc(layout) })?, OWN_ALLOCATION))
}

/// Gives the memory of a block back if it has an allocation of its own. If it has not, the pool
/// frees it when the store goes.
///
/// # Safety
///
/// The block was made by [`own_block`] for this size, or has another class, and nobody can reach
/// it.
pub(super) unsafe fn free_own_block((block, class): Block, size: usize) {
    if class == OWN_ALLOCATION {
        let layout = Layout::from_size_align(size.max(1), LINE)
            .expect("the layout was valid when the block was allocated");
        // SAFETY: the caller's promise.
        unsafe { dealloc(block.as_ptr(), layout) };
    }
}

/// An allocation for each node, and a function for what is out of use.
#[cfg(test)]
pub(crate) struct OwnMemory<F>(pub(crate) F);

#[cfg(test)]
impl<R, F: FnMut(R)> Memory<R> for OwnMemory<F> {
    fn allocate(&mut self, _region: Region, size: usize) -> Option<Block> {
        own_block(size)
    }

    fn retire(&mut self, retired: R) {
        (self.0)(retired);
    }
}
