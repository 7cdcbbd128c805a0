//! Counters that workers keep for the audits.

use crate::sync::{AtomicU64, CachePadded, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What one worker has recorded: `N` counters that it alone writes.
#[derive(Debug)]
pub struct Page<const N: usize>(CachePadded<[AtomicU64; N]>);

impl<const N: usize> Page<N> {
    fn new() -> Self {
        Page(CachePadded::new(std::array::from_fn(|_| AtomicU64::new(0))))
    }

    /// Adds to counter `column`. Only the worker whose page it is calls this. Negative amounts are
    /// added as their two's complement.
    #[inline]
    pub fn add(&self, column: usize, amount: u64) {
        let counter = &self.0[column];
        // Relaxed: nobody else writes it.
        let sum = counter.load(Ordering::Relaxed).wrapping_add(amount);
        // Release: pairs with the Acquire in `Ledger::sum`; who sees the sum sees what came before.
        counter.store(sum, Ordering::Release);
    }
}

/// The pages of all workers of one run.
///
/// A worker enters a transaction once it has been told of the commit, and before it begins the next
/// one. So, of what is in a snapshot, each worker's last transaction may be missing here, and
/// nothing is here that a later snapshot does not contain.
#[derive(Debug, Default)]
pub struct Ledger<const N: usize> {
    /// A lock for joining and for audits; workers write their pages without it.
    pages: Mutex<Vec<Arc<Page<N>>>>,
}

impl<const N: usize> Ledger<N> {
    /// Nobody has recorded anything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A page for one more worker.
    #[must_use]
    pub fn page(&self) -> Arc<Page<N>> {
        let page = Arc::new(Page::new());
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&page));
        page
    }

    /// The sum of counter `column`, modulo 2^64.
    #[must_use]
    pub fn sum(&self, column: usize) -> u64 {
        let pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.iter().fold(0, |sum: u64, page| {
            // Acquire: pairs with the Release in `Page::add`.
            sum.wrapping_add(page.0[column].load(Ordering::Acquire))
        })
    }

    /// How many workers there are.
    #[must_use]
    pub fn workers(&self) -> u64 {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }
}
