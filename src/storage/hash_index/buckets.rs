//! The memory of the hash index: lines of slots, in one allocation for each array.

use crate::reclaim::arena::{HUGE_PAGE, advise_huge_pages};
use crate::sync::AtomicU64;
use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

/// The slots of a bucket.
#[cfg(not(loom))]
pub(super) const BUCKET_SLOTS: usize = 8;
#[cfg(loom)]
pub(super) const BUCKET_SLOTS: usize = 2;

/// The word of a slot that never held a record.
pub(super) const EMPTY: u64 = 0;

/// One cache line of slots.
#[repr(align(64))]
pub(super) struct Bucket {
    pub(super) slots: [AtomicU64; BUCKET_SLOTS],
}

/// The memory of an array. Huge pages have to be asked for before the memory is touched, and
/// aligned: lookups go to random lines, and with small pages each costs a page walk as well.
pub(super) struct Buckets {
    base: NonNull<Bucket>,
    len: usize,
}

// SAFETY: an owned slice of atomics.
unsafe impl Send for Buckets {}
// SAFETY: as above.
unsafe impl Sync for Buckets {}

impl Buckets {
    fn layout(len: usize) -> Option<Layout> {
        let layout = Layout::array::<Bucket>(len).ok()?;
        let huge = layout.size() >= HUGE_PAGE;
        if huge { layout.align_to(HUGE_PAGE).ok() } else { Some(layout) }
    }

    pub(super) fn allocate(len: usize) -> Option<Self> {
        let layout = Self::layout(len)?;
        // SAFETY: an array has at least one bucket.
        let base: NonNull<Bucket> = NonNull::new(unsafe { alloc(layout) })?.cast();
        advise_huge_pages(base.as_ptr().cast(), layout.size());
        for bucket in 0..len {
            let empty = Bucket { slots: std::array::from_fn(|_| AtomicU64::new(EMPTY)) };
            // SAFETY: within the allocation, and not shared yet.
            unsafe { base.add(bucket).write(empty) };
        }
        Some(Buckets { base, len })
    }

    /// Where they lie.
    pub(super) fn base(&self) -> *mut u8 {
        self.base.as_ptr().cast()
    }

    /// # Safety
    ///
    /// `index` is below the number of buckets.
    #[inline(always)]
    pub(super) unsafe fn at(&self, index: usize) -> &Bucket {
        // SAFETY: the caller's promise.
        unsafe { self.base.add(index).as_ref() }
    }
}

impl std::ops::Deref for Buckets {
    type Target = [Bucket];

    #[inline]
    fn deref(&self) -> &[Bucket] {
        // SAFETY: `len` buckets were written here, and live as long as `self`.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }
}

impl Drop for Buckets {
    fn drop(&mut self) {
        let layout = Self::layout(self.len).expect("valid when it was allocated");
        // SAFETY: allocated with this layout; a bucket has nothing to drop.
        unsafe { dealloc(self.base.as_ptr().cast(), layout) };
    }
}
