//! Memory for versions, records and the nodes of ordered indexes: per-worker size classes over
//! chunks that the store owns.
//!
//! A block freed on another thread costs the general allocator most of a microsecond; here it goes
//! to the free list of whoever reclaimed it. Free lists come in *magazines* of a fixed number of
//! blocks: a worker that reclaims more than it allocates hands whole magazines to a shared stack,
//! from which a worker that allocates more takes them, so that one thread may insert for ever what
//! another deletes.
//!
//! Chunks are aligned to huge pages and ask for them: random access over a large store is bound by
//! address translation otherwise. For the same reason nodes lie in chunks of their own: where a
//! host backs a guest's huge pages with small ones, nearly every node would have a translation to
//! itself among records.

use crate::sync::{AtomicPtr, AtomicU64, Ordering};
use std::alloc::{Layout, alloc, dealloc};
use std::ptr::{self, NonNull};

/// Every block is aligned to this; a type that wants more is allocated by itself.
pub(crate) const BLOCK_ALIGN: usize = 16;
const CACHE_LINE: usize = 64;
const BLOCK_MAX: usize = 4096;
pub(crate) const HUGE_PAGE: usize = 2 << 20;
const CHUNK_MIN: usize = 64 << 10;
const MAGAZINE_LEN: u32 = 256;
/// Sizes of blocks.
const SIZES: usize = 40;
/// A class is a size and a region.
const CLASSES: usize = SIZES * REGIONS;

/// The class of a block that has an allocation of its own.
pub(crate) const OWN_ALLOCATION: u8 = u8::MAX;
const _: () = assert!(CLASSES <= OWN_ALLOCATION as usize);

/// What blocks lie among. Each region has chunks of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Region {
    /// Records and versions, and whatever else there is little of.
    Records,
    /// Leaves of ordered indexes.
    Leaves,
    /// Inner nodes: the fewest, and every descent reads some.
    InnerNodes,
}

const REGIONS: usize = Region::InnerNodes as usize + 1;

/// The class of `size` bytes among records, or `None` if the size is beyond the classes.
#[inline]
pub(crate) const fn class_of(size: usize) -> Option<u8> {
    // Sixteen classes of 16 bytes, twelve of 64, twelve of 256: at most a fifth of a block is
    // unused beyond the first few.
    let class = match size {
        0..=256 => size.saturating_sub(1) / 16,
        257..=1024 => 16 + (size - 257) / 64,
        1025..=BLOCK_MAX => 28 + (size - 1025) / 256,
        _ => return None,
    };
    Some(class as u8)
}

const CLASS_SIZES: [u16; CLASSES] = {
    let mut sizes = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        sizes[class] = match class % SIZES {
            size @ 0..=15 => (size + 1) * 16,
            size @ 16..=27 => 256 + (size - 15) * 64,
            size => 1024 + (size - 27) * 256,
        } as u16;
        class += 1;
    }
    sizes
};

/// The number of bytes in a block of `class`.
#[inline]
pub(crate) const fn class_size(class: u8) -> usize {
    CLASS_SIZES[class as usize] as usize
}

const _: () = assert!(class_size(SIZES as u8 - 1) == BLOCK_MAX);

struct FreeBlock {
    next: *mut FreeBlock,
    /// In the first block of a magazine on the shared stack: the next magazine.
    next_magazine: *mut FreeBlock,
}

const _: () = assert!(size_of::<FreeBlock>() <= 16);

struct Chunk {
    next: *mut Chunk,
    base: *mut u8,
    layout: Layout,
}

/// What the arenas of one store share: the chunks, and full magazines on their way between workers.
#[derive(Debug)]
pub(crate) struct ChunkPool {
    chunks: AtomicPtr<Chunk>,
    magazines: [AtomicPtr<FreeBlock>; CLASSES],
    bytes: AtomicU64,
}

// SAFETY: the pool is two kinds of lock-free stacks; the raw pointers in it are owned by the pool.
unsafe impl Send for ChunkPool {}
// SAFETY: as above.
unsafe impl Sync for ChunkPool {}

impl ChunkPool {
    pub(crate) fn new() -> Self {
        ChunkPool {
            chunks: AtomicPtr::new(ptr::null_mut()),
            magazines: std::array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            bytes: AtomicU64::new(0),
        }
    }

    /// Bytes taken from the operating system.
    pub(crate) fn bytes(&self) -> u64 {
        // Relaxed: a statistic.
        self.bytes.load(Ordering::Relaxed)
    }

    fn allocate_chunk(&self, size: usize) -> Option<NonNull<u8>> {
        let layout = Layout::from_size_align(size, size.min(HUGE_PAGE)).ok()?;
        // SAFETY: the size is not zero.
        let base = NonNull::new(unsafe { alloc(layout) })?;
        assert!(
            (base.as_ptr() as usize).checked_add(size).is_some_and(|end| end < 1 << 48),
            "user addresses have 48 bits: the index keeps a tag in the rest"
        );
        advise_huge_pages(base.as_ptr(), size);
        let chunk =
            Box::into_raw(Box::new(Chunk { next: ptr::null_mut(), base: base.as_ptr(), layout }));
        // Relaxed: only a hint for the first exchange.
        let mut top = self.chunks.load(Ordering::Relaxed);
        loop {
            // SAFETY: the chunk is ours until the exchange succeeds.
            unsafe { (*chunk).next = top };
            // Release: the chunk's fields are written before `drop` (which has `&mut`) reads them.
            match self.chunks.compare_exchange_weak(
                top,
                chunk,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => break,
                Err(now) => top = now,
            }
        }
        // Relaxed: a statistic.
        self.bytes.fetch_add(size as u64, Ordering::Relaxed);
        Some(base)
    }

    /// Hands over a full magazine.
    fn give(&self, class: usize, magazine: *mut FreeBlock) {
        let stack = &self.magazines[class];
        // Relaxed: only a hint for the first exchange.
        let mut top = stack.load(Ordering::Relaxed);
        loop {
            // SAFETY: the magazine is ours until the exchange succeeds.
            unsafe { (*magazine).next_magazine = top };
            // Release: pairs with the Acquire in `take`; the links are written before they are
            // read.
            match stack.compare_exchange_weak(top, magazine, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Takes a magazine, or null. Takes the whole stack and gives the rest back: popping one
    /// element by compare-and-swap would confuse a magazine that came back meanwhile with one that
    /// never left.
    fn take(&self, class: usize) -> *mut FreeBlock {
        let stack = &self.magazines[class];
        // Relaxed: an empty stack is the common case and costs no locked instruction.
        if stack.load(Ordering::Relaxed).is_null() {
            return ptr::null_mut();
        }
        // Acquire: pairs with the Release in `give`.
        let first = stack.swap(ptr::null_mut(), Ordering::Acquire);
        if first.is_null() {
            return first;
        }
        // SAFETY: the whole stack is ours now.
        let mut rest = unsafe { (*first).next_magazine };
        while !rest.is_null() {
            // SAFETY: as above.
            let next = unsafe { (*rest).next_magazine };
            self.give(class, rest);
            rest = next;
        }
        first
    }
}

impl Drop for ChunkPool {
    fn drop(&mut self) {
        // Relaxed: `&mut self` means that every other thread's use happened before.
        let mut chunk = self.chunks.load(Ordering::Relaxed);
        while !chunk.is_null() {
            // SAFETY: each chunk was made by `Box::into_raw` and is on this list once.
            let owned = unsafe { Box::from_raw(chunk) };
            // SAFETY: allocated with this layout; the store has dropped everything that lived in
            // it.
            unsafe { dealloc(owned.base, owned.layout) };
            chunk = owned.next;
        }
    }
}

#[cfg(target_os = "linux")]
pub(crate) fn advise_huge_pages(base: *mut u8, len: usize) {
    if len >= HUGE_PAGE {
        // SAFETY: the range is an allocation of ours; advice changes no contents, and a refusal
        // costs speed only.
        unsafe { libc::madvise(base.cast(), len, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn advise_huge_pages(_base: *mut u8, _len: usize) {}

/// What is left of a region's newest chunk.
#[derive(Clone, Copy)]
struct Rest {
    next: *mut u8,
    end: *mut u8,
}

impl Rest {
    /// Where the next block of this size would begin: blocks of whole cache lines lie on whole
    /// lines.
    #[inline]
    fn next_block(&self, size: usize) -> *mut u8 {
        let align = if size.is_multiple_of(CACHE_LINE) { CACHE_LINE } else { BLOCK_ALIGN };
        self.next.wrapping_add(self.next.addr().wrapping_neg() & (align - 1))
    }
}

#[derive(Clone, Copy)]
struct FreeList {
    active: *mut FreeBlock,
    active_len: u32,
    /// A full magazine, or null. Keeping one at hand means that a worker at the edge of a magazine
    /// does not go to the shared stack with every block.
    spare: *mut FreeBlock,
}

/// One worker's allocator.
pub(crate) struct Arena {
    free: [FreeList; CLASSES],
    rests: [Rest; REGIONS],
    /// How large the next chunk will be, of whatever region: a large store's nodes lie in huge
    /// pages, too.
    chunk_size: usize,
}

impl std::fmt::Debug for Arena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arena").field("chunk_size", &self.chunk_size).finish_non_exhaustive()
    }
}

impl Arena {
    pub(crate) fn new() -> Self {
        let empty = FreeList { active: ptr::null_mut(), active_len: 0, spare: ptr::null_mut() };
        let rest = Rest { next: ptr::null_mut(), end: ptr::null_mut() };
        Arena { free: [empty; CLASSES], rests: [rest; REGIONS], chunk_size: CHUNK_MIN }
    }

    /// A block of `size` bytes aligned to `align`, and its class. `None` when there is no memory.
    #[inline(always)]
    pub(crate) fn allocate(
        &mut self,
        pool: &ChunkPool,
        size: usize,
        align: usize,
    ) -> Option<(NonNull<u8>, u8)> {
        self.allocate_among(Region::Records, pool, size, align)
    }

    /// As [`Arena::allocate`], in this region.
    #[inline(always)]
    pub(crate) fn allocate_among(
        &mut self,
        region: Region,
        pool: &ChunkPool,
        size: usize,
        align: usize,
    ) -> Option<(NonNull<u8>, u8)> {
        if align <= BLOCK_ALIGN
            && let Some(size_class) = class_of(size)
        {
            let class = region as u8 * SIZES as u8 + size_class;
            let list = &mut self.free[class as usize];
            if let Some(block) = NonNull::new(list.active) {
                // SAFETY: a block on our free list is ours, and its first word is its link.
                list.active = unsafe { block.as_ref().next };
                list.active_len -= 1;
                return Some((block.cast(), class));
            }
            return self.allocate_anew(pool, class).map(|block| (block, class));
        }
        let layout = Layout::from_size_align(size.max(1), align.max(BLOCK_ALIGN)).ok()?;
        // SAFETY: the size is not zero.
        let block = NonNull::new(unsafe { alloc(layout) })?;
        Some((block, OWN_ALLOCATION))
    }

    /// A block that was not on the free list.
    #[inline(never)]
    fn allocate_anew(&mut self, pool: &ChunkPool, class: u8) -> Option<NonNull<u8>> {
        let (size, rest) = (class_size(class), &mut self.rests[class as usize / SIZES]);
        let block = rest.next_block(size);
        if (block as usize) + size <= rest.end as usize {
            rest.next = block.wrapping_add(size);
            return NonNull::new(block);
        }
        self.allocate_slow(pool, class)
    }

    #[cold]
    fn allocate_slow(&mut self, pool: &ChunkPool, class: u8) -> Option<NonNull<u8>> {
        let list = &mut self.free[class as usize];
        let magazine = if list.spare.is_null() { pool.take(class as usize) } else { list.spare };
        list.spare = ptr::null_mut();
        if let Some(first) = NonNull::new(magazine) {
            // SAFETY: a magazine that we took is ours.
            list.active = unsafe { first.as_ref().next };
            list.active_len = MAGAZINE_LEN - 1;
            return Some(first.cast());
        }
        // What is left of the old chunk is less than one block of this class; a store loses at most
        // that much per chunk.
        let rest = &mut self.rests[class as usize / SIZES];
        let base = pool.allocate_chunk(self.chunk_size)?;
        rest.end = base.as_ptr().wrapping_add(self.chunk_size);
        rest.next = base.as_ptr().wrapping_add(class_size(class));
        self.chunk_size = (self.chunk_size * 2).min(HUGE_PAGE);
        Some(base)
    }

    /// Takes a block back.
    ///
    /// # Safety
    ///
    /// The block came from `allocate` or `allocate_among` of an arena over the same pool with this
    /// class (and, for [`OWN_ALLOCATION`], this size and alignment), and nobody else can reach it
    /// any more.
    #[inline]
    pub(crate) unsafe fn free(
        &mut self,
        pool: &ChunkPool,
        block: NonNull<u8>,
        class: u8,
        own_layout: (usize, usize),
    ) {
        if class == OWN_ALLOCATION {
            let (size, align) = own_layout;
            let layout = Layout::from_size_align(size.max(1), align.max(BLOCK_ALIGN))
                .expect("the layout was valid when the block was allocated");
            // SAFETY: the caller says that the block was allocated by itself with this layout.
            unsafe { dealloc(block.as_ptr(), layout) };
            return;
        }
        let list = &mut self.free[class as usize];
        let free: *mut FreeBlock = block.as_ptr().cast();
        // SAFETY: the block is ours by the caller's promise and at least two words long.
        unsafe { free.write(FreeBlock { next: list.active, next_magazine: ptr::null_mut() }) };
        list.active = free;
        list.active_len += 1;
        if list.active_len == MAGAZINE_LEN {
            if !list.spare.is_null() {
                pool.give(class as usize, list.spare);
            }
            list.spare = list.active;
            list.active = ptr::null_mut();
            list.active_len = 0;
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn classes_cover_their_sizes() {
        for size in 1..=BLOCK_MAX {
            let class = class_of(size).expect("within the classes");
            assert!(class_size(class) >= size);
            assert!(class == 0 || class_size(class - 1) < size);
        }
        assert_eq!(class_of(BLOCK_MAX + 1), None);
    }

    #[test]
    fn regions_share_neither_chunks_nor_free_blocks() {
        let (pool, mut arena) = (ChunkPool::new(), Arena::new());
        let regions = [Region::Records, Region::Leaves, Region::InnerNodes];
        let of_all = |arena: &mut Arena| {
            regions.map(|region| arena.allocate_among(region, &pool, 1000, 8).expect("memory"))
        };
        let first = of_all(&mut arena);
        assert_eq!(pool.bytes(), (1 + 2 + 4) * CHUNK_MIN as u64);
        assert!(first.iter().all(|&(_, class)| class_size(class) == 1024));
        for (block, class) in first {
            // SAFETY: just allocated over the same pool, and not used again.
            unsafe { arena.free(&pool, block, class, (1000, 8)) };
        }
        let again = regions.map(|region| {
            let [one, other] = [(); 2].map(|()| arena.allocate_among(region, &pool, 1000, 8));
            (one.expect("memory"), other.expect("memory"))
        });
        for (first, (freed, next)) in first.into_iter().zip(again) {
            assert_eq!(freed, first, "the region's own free block");
            assert_eq!(next.0.as_ptr(), first.0.as_ptr().wrapping_add(1024), "its own chunk");
        }
    }

    #[test]
    fn one_thread_may_allocate_for_ever_what_another_frees() {
        let pool = ChunkPool::new();
        let (mut producer, mut consumer) = (Arena::new(), Arena::new());
        for _ in 0..200_000 {
            let (block, class) = producer.allocate(&pool, 100, 8).expect("memory");
            // SAFETY: the block was just allocated over the same pool and is not used again.
            unsafe { consumer.free(&pool, block, class, (100, 8)) };
        }
        assert!(pool.bytes() <= 1 << 20, "{} bytes for a few magazines of blocks", pool.bytes());
    }

    #[test]
    fn large_and_over_aligned_blocks_have_an_allocation_of_their_own() {
        let pool = ChunkPool::new();
        let mut arena = Arena::new();
        for (size, align) in [(BLOCK_MAX + 1, 8), (64, 64), (1, 128)] {
            let (block, class) = arena.allocate(&pool, size, align).expect("memory");
            assert_eq!(class, OWN_ALLOCATION);
            assert_eq!(block.as_ptr() as usize % align, 0);
            // SAFETY: allocated just above with this size and alignment.
            unsafe { arena.free(&pool, block, class, (size, align)) };
        }
        assert_eq!(pool.bytes(), 0);
    }
}
