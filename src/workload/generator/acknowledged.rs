//! The counter that hands out numbers for new records and knows which of them exist by now.

use crate::sync::{AtomicU64, CachePadded, Ordering};

/// Numbers for inserts, and the largest number up to which every insert has been acknowledged.
///
/// Requests draw keys up to that limit only, so a key that another worker is still inserting is not
/// asked for. As in YCSB, at most [`AcknowledgedCounter::WINDOW`] numbers are outstanding. YCSB
/// moves the limit under a lock and clears flags behind it; here a slot holds the number that was
/// acknowledged last in it, so nothing is cleared and anyone may move the limit by a
/// compare-and-swap.
#[derive(Debug)]
pub struct AcknowledgedCounter {
    next: CachePadded<AtomicU64>,
    /// One above the largest number below which all are acknowledged.
    limit: CachePadded<AtomicU64>,
    window: Box<[AtomicU64]>,
}

impl AcknowledgedCounter {
    /// How far inserts may run ahead of the slowest one.
    pub const WINDOW: u64 = 1 << 20;

    /// A counter whose first number is `start`; all before it count as acknowledged.
    #[must_use]
    pub fn new(start: u64) -> Self {
        // No slot holds u64::MAX legitimately, so it stands for "nothing yet".
        let window = (0..Self::WINDOW).map(|_| AtomicU64::new(u64::MAX)).collect();
        AcknowledgedCounter {
            next: CachePadded::new(AtomicU64::new(start)),
            limit: CachePadded::new(AtomicU64::new(start)),
            window,
        }
    }

    /// Takes `count` consecutive numbers and gives the first. Waits while the window is full, that
    /// is while one insert is a million numbers behind the others.
    ///
    /// All numbers of one transaction are taken by one call: a worker that already held some could
    /// otherwise wait here for itself.
    #[inline]
    pub fn take(&self, count: u64) -> u64 {
        debug_assert!(count <= Self::WINDOW / 2, "{count} numbers leave no room in the window");
        // Relaxed: only uniqueness matters; what the number names is published by the store.
        let first = self.next.fetch_add(count, Ordering::Relaxed);
        while first + count - self.limit() > Self::WINDOW {
            std::thread::yield_now();
        }
        first
    }

    /// How many leading numbers are acknowledged: every number below this one names a record whose
    /// insert has ended.
    #[inline]
    pub fn limit(&self) -> u64 {
        // Acquire: pairs with the Release in `acknowledge`; whoever draws a key below the limit is
        // ordered after that key's insert.
        self.limit.load(Ordering::Acquire)
    }

    /// Says that the insert of `number` has ended, and moves the limit over all that have.
    pub fn acknowledge(&self, number: u64) {
        // SeqCst, here and at both loads below: an acknowledger that stops because the next slot is
        // empty, and one that fills that slot while the limit is still behind, must not both miss
        // the other. In the one total order either the store comes first and the load sees it, or
        // the load (and the limit's move before it) comes first and the other sees the moved limit.
        self.slot(number).store(number, Ordering::SeqCst);
        loop {
            // SeqCst: as above.
            let limit = self.limit.load(Ordering::SeqCst);
            // SeqCst: as above.
            if self.slot(limit).load(Ordering::SeqCst) != limit {
                return;
            }
            // SeqCst: as above, and it releases the inserts below the new limit to `limit`. A
            // failure means that another thread moved it: look again.
            let (next, order) = (limit + 1, Ordering::SeqCst);
            // Relaxed on failure: the value is not used, the loop reads it again.
            let _ = self.limit.compare_exchange(limit, next, order, Ordering::Relaxed);
        }
    }

    fn slot(&self, number: u64) -> &AtomicU64 {
        &self.window[(number % Self::WINDOW) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_follows_the_slowest() {
        let counter = AcknowledgedCounter::new(10);
        assert_eq!([counter.take(1), counter.take(3), counter.take(1)], [10, 11, 14]);
        assert_eq!(counter.limit(), 10);
        counter.acknowledge(11);
        counter.acknowledge(13);
        assert_eq!(counter.limit(), 10);
        counter.acknowledge(10);
        assert_eq!(counter.limit(), 12);
        counter.acknowledge(12);
        assert_eq!(counter.limit(), 14);
    }

    #[test]
    fn many_threads_lose_no_number() {
        const PER_THREAD: u64 = 20_000;
        let counter = AcknowledgedCounter::new(5);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..PER_THREAD {
                        counter.acknowledge(counter.take(1));
                    }
                });
            }
        });
        assert_eq!(counter.limit(), 5 + 4 * PER_THREAD);
    }
}
