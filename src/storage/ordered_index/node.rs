//! What the nodes of the ordered index have in common: ranges, links and memory.

use super::inner::Inner;
use super::leaf::Leaf;
use super::memory::{Block, NodeMemory, free_own_block, own_block};
use super::{KeyOrder, Sought};
use crate::reclaim::arena::{Arena, ChunkPool, OWN_ALLOCATION, Region, class_of, class_size};
use crate::storage::Words;
use crate::storage::hash_index::prefetch_line;
use crate::storage::record::Record;
use std::cmp;
use std::ops::Range;
use std::ptr::NonNull;

/// Entries of a leaf's sorted part.
pub(super) const SORTED: usize = if cfg!(loom) { 4 } else { 48 };
/// Slots behind it for records that were inserted since.
pub(super) const SLOTS: usize = if cfg!(loom) { 2 } else { 12 };
pub(super) const ENTRIES: usize = SORTED + SLOTS;
/// Children of an inner node.
pub(super) const FANOUT: usize = if cfg!(loom) { 3 } else { 62 };

/// The tag of a link, and the content of an empty slot, that never changes again.
pub(super) const FROZEN_LINK: usize = 1;

pub(super) const LINE: usize = 64;

/// The boundary of a key range: a head where heads are exact, else a record with the boundary's
/// key.
#[derive(Debug)]
pub(super) struct Fence<W: Words> {
    pub(super) head: u64,
    pub(super) record: *mut Record<W>,
}

impl<W: Words> Clone for Fence<W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W: Words> Copy for Fence<W> {}

/// A fence, or a record, as the key that is looked for.
pub(super) struct KeyOf<'a, W: Words, O> {
    pub(super) fence: Fence<W>,
    pub(super) order: &'a O,
}

impl<W: Words, O> Clone for KeyOf<'_, W, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W: Words, O> Copy for KeyOf<'_, W, O> {}

impl<'a, W: Words, O: KeyOrder<W>> KeyOf<'a, W, O> {
    /// # Safety
    ///
    /// The record is alive for as long as the result is used.
    pub(super) unsafe fn record(record: *mut Record<W>, order: &'a O) -> Self {
        // SAFETY: the caller's promise.
        let head = if order.exact() { unsafe { order.head(record, 0) } } else { 0 };
        KeyOf { fence: Fence { head, record }, order }
    }
}

impl<W: Words, O: KeyOrder<W>> Sought<W> for KeyOf<'_, W, O> {
    #[inline]
    fn head(&self, skip: u32) -> u64 {
        if self.order.exact() {
            return self.fence.head;
        }
        // SAFETY: a fence's record outlives every node with that fence (invariant 6).
        unsafe { self.order.head(self.fence.record, skip) }
    }

    #[inline]
    unsafe fn compare(&self, record: *const Record<W>) -> cmp::Ordering {
        if self.order.exact() {
            // SAFETY: the caller's promise.
            return self.fence.head.cmp(&unsafe { self.order.head(record, 0) });
        }
        // SAFETY: as above, and the caller's promise.
        unsafe { self.order.compare(self.fence.record, record) }
    }
}

/// How a key lies to a fence.
#[inline]
pub(super) fn compare_to_fence<W: Words>(
    key: &impl Sought<W>,
    fence: &Fence<W>,
    order: &impl KeyOrder<W>,
) -> cmp::Ordering {
    if order.exact() {
        return key.head(0).cmp(&fence.head);
    }
    // SAFETY: as in `KeyOf::head`.
    unsafe { key.compare(fence.record) }
}

/// What leaves and inner nodes have in common. None of it ever changes.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Node<W: Words> {
    /// The distance from the leaves.
    pub(super) level: u8,
    /// Entries in the sorted part of a leaf, children of an inner node.
    len: u8,
    /// The size class of the node's block.
    class: u8,
    /// Leading bytes that every key of this node's range shares; heads begin behind them.
    pub(super) skip: u32,
    /// The range: from `low` on, up to but without `high`.
    pub(super) low: Option<Fence<W>>,
    pub(super) high: Option<Fence<W>>,
}

impl<W: Words> Node<W> {
    /// A leaf without entries whose range is everything.
    pub(super) fn of_everything() -> Self {
        Node { level: 0, len: 0, class: OWN_ALLOCATION, skip: 0, low: None, high: None }
    }

    pub(super) fn new(
        level: u8,
        len: usize,
        low: Option<Fence<W>>,
        high: Option<Fence<W>>,
        order: &impl KeyOrder<W>,
    ) -> Self {
        let skip = match (low, high) {
            (Some(low), Some(high)) if !order.exact() => {
                // SAFETY: as in `KeyOf::head`.
                unsafe { order.shared(low.record, high.record) }
            }
            _ => 0,
        };
        Node { level, len: len as u8, class: OWN_ALLOCATION, skip, low, high }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }
}

/// A pointer to a node, as nodes and the root hold it.
pub(super) type Link<W> = *mut Node<W>;

/// Asks for some bytes of a node.
#[inline(always)]
pub(super) fn prefetch<W: Words>(node: *const Node<W>, bytes: Range<usize>) {
    for line in bytes.start / LINE..bytes.end.div_ceil(LINE) {
        prefetch_line(node.cast::<u8>().wrapping_add(line * LINE));
    }
}

/// A record with its head, on its way into a node: `head` begins behind `skip` bytes.
#[derive(Debug)]
pub(super) struct Entry<W: Words> {
    pub(super) head: u64,
    pub(super) skip: u32,
    pub(super) record: *mut Record<W>,
}

impl<W: Words> Clone for Entry<W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W: Words> Copy for Entry<W> {}

impl<W: Words> Entry<W> {
    pub(super) const NONE: Self = Entry { head: 0, skip: 0, record: std::ptr::null_mut() };

    pub(super) fn head_behind(&self, skip: u32, order: &impl KeyOrder<W>) -> u64 {
        if self.skip == skip {
            return self.head;
        }
        // SAFETY: skips differ from 0 only where heads are not exact, and there an entry has a
        // record: one that was not removed when its leaf was frozen, or one of a fence.
        unsafe { order.head(self.record, skip) }
    }

    /// The boundary below this entry's key.
    pub(super) fn fence(&self, order: &impl KeyOrder<W>) -> Fence<W> {
        if order.exact() {
            Fence { head: self.head, record: std::ptr::null_mut() }
        } else {
            Fence { head: 0, record: self.record }
        }
    }

    /// The fence as an entry of an inner node.
    pub(super) fn of_fence(fence: Fence<W>, order: &impl KeyOrder<W>) -> Self {
        if order.exact() {
            return Entry { head: fence.head, skip: 0, record: fence.record };
        }
        // SAFETY: as in `KeyOf::head`.
        let head = unsafe { order.head(fence.record, 0) };
        Entry { head, skip: 0, record: fence.record }
    }
}

/// A node that nobody else owns: private, or replaced. It has to be freed, which takes the arena
/// and the pool that its block goes back to; whoever drops it loses its memory.
#[must_use]
#[derive(Debug)]
pub(crate) struct OwnedNode<W: Words>(NonNull<Node<W>>);

// SAFETY: a node is plain values, atomics, and pointers that only the index follows.
unsafe impl<W: Words> Send for OwnedNode<W> {}

impl<W: Words> OwnedNode<W> {
    /// Moves a leaf or an inner node, whose first field is its `Node`, to a block of `memory`.
    pub(super) fn allocate<T>(
        node: T,
        region: Region,
        memory: &mut NodeMemory<'_, W>,
    ) -> Option<Self> {
        Some(Self::place(node, memory.allocate(region, size_of::<T>())?))
    }

    /// As [`OwnedNode::allocate`], to an allocation of its own.
    pub(super) fn allocate_apart<T>(node: T) -> Option<Self> {
        Some(Self::place(node, own_block(size_of::<T>())?))
    }

    fn place<T>(node: T, (block, class): Block) -> Self {
        let place = block.cast::<T>();
        // SAFETY: the block is ours, large enough, and on a whole cache line.
        unsafe { place.write(node) };
        let mut header = place.cast::<Node<W>>();
        // SAFETY: just written; leaves and inner nodes begin with their `Node`.
        unsafe { header.as_mut() }.class = class;
        #[cfg(test)]
        counted::NODES.with(|nodes| nodes.set(nodes.get() + 1));
        OwnedNode(header)
    }

    /// The node as a link, which the tree owns from now on.
    pub(super) fn into_link(self) -> Link<W> {
        let link = self.0.as_ptr();
        std::mem::forget(self);
        link
    }

    pub(super) fn link(&self) -> Link<W> {
        self.0.as_ptr()
    }

    /// # Safety
    ///
    /// `link` was made by [`OwnedNode::into_link`], and the tree owns it no more.
    pub(super) unsafe fn from_link(link: Link<W>) -> Self {
        OwnedNode(NonNull::new(link).expect("links are not null"))
    }

    /// Frees the node's memory, not what it points to. The pool is the one that its store's nodes
    /// come from.
    pub(crate) fn free(self, arena: &mut Arena, pool: &ChunkPool) {
        let ((block, class), size) = self.into_block();
        // SAFETY: the block came from an arena over this pool, or else was allocated with this
        // layout; the node was owned.
        unsafe { arena.free(pool, block, class, (size, LINE)) };
    }

    /// As [`OwnedNode::free`], for whoever has no arena because the pool is about to go as well.
    pub(super) fn free_with_pool(self) {
        let (block, size) = self.into_block();
        // SAFETY: nodes with an allocation of their own have it from `own_block`.
        unsafe { free_own_block(block, size) };
    }

    /// The node's block and the size that it was allocated for; there is no node in it any more.
    fn into_block(self) -> (Block, usize) {
        let node = self.0;
        std::mem::forget(self);
        // SAFETY: owned.
        let (class, inner) = unsafe { (node.as_ref().class, node.as_ref().level > 0) };
        #[cfg(test)]
        counted::NODES.with(|nodes| nodes.set(nodes.get() - 1));
        #[cfg(loom)]
        if inner {
            // SAFETY: owned, and of this type; the model's atomics have something to drop.
            unsafe { node.cast::<Inner<W>>().drop_in_place() };
        } else {
            // SAFETY: as above.
            unsafe { node.cast::<Leaf<W>>().drop_in_place() };
        }
        let size = if inner { size_of::<Inner<W>>() } else { size_of::<Leaf<W>>() };
        ((node.cast(), class), size)
    }
}

#[cfg(debug_assertions)]
impl<W: Words> Drop for OwnedNode<W> {
    fn drop(&mut self) {
        // A key whose comparison panics has the right to lose memory.
        assert!(std::thread::panicking(), "a node was dropped instead of freed");
    }
}

/// Whether blocks for a `T` are in the arena, on whole lines, and as large as what they hold.
const fn fills_its_class<T>() -> bool {
    let size = size_of::<T>();
    match class_of(size) {
        Some(class) => size.is_multiple_of(LINE) && (cfg!(loom) || class_size(class) == size),
        None => false,
    }
}

const _: () = assert!(fills_its_class::<Leaf<crate::storage::NoWords>>());
const _: () = assert!(fills_its_class::<Inner<crate::storage::NoWords>>());
#[cfg(not(loom))]
const _: () = assert!(size_of::<Leaf<crate::storage::NoWords>>() == 16 * LINE);
#[cfg(not(loom))]
const _: () = assert!(size_of::<Inner<crate::storage::NoWords>>() == 24 * LINE);

/// The number of nodes that this thread has made and not freed.
#[cfg(test)]
pub(super) mod counted {
    use std::cell::Cell;

    thread_local! {
        pub(in super::super) static NODES: Cell<isize> = const { Cell::new(0) };
    }
}
