//! More transactions open than processors: then threads rest between transactions, not in them.
//!
//! The scheduler takes a processor away wherever the thread happens to be, mostly inside a
//! transaction. What such a transaction sees stays in the chains, what it may point to stays
//! unfreed, what it has locked stays locked, until every other thread has had its time slice; with
//! eight threads a core the working set outgrows the caches. So in a crowd a thread that has run
//! one transaction after another for a while gives its processor away before the next one begins,
//! while it holds nothing, and comes back with a fresh time slice.
//!
//! A crowd is noticed by whoever scans the watermark, and remembered for a while: once threads
//! rest between transactions, a scan finds few of them open. Nobody waits for anybody here, and
//! nothing depends on it but speed.
//!
//! It is `Store::transact` and `Store::view` that rest. Whoever begins transactions by hand decides
//! for himself when to let others run; if he has one open while he calls them, he rests with that.
//! Idle views count as well: they too keep what they see.

use crate::clock::Clock;
use crate::limits::{CROWD_REMEMBERED_NS, REST_AFTER_NS};
use crate::reclaim::watermark::Live;
use crate::sync::unmodelled::{AtomicU64, Ordering};
use std::cell::Cell;

/// A run of transactions of one thread, each begun soon after the one before.
#[derive(Clone, Copy)]
struct Stretch {
    began: u64,
    /// When its latest transaction began.
    latest: u64,
}

thread_local! {
    static STRETCH: Cell<Stretch> = const { Cell::new(Stretch { began: 0, latest: 0 }) };
}

/// Whether a store is crowded.
#[derive(Debug)]
pub(crate) struct Crowd {
    processors: usize,
    /// Until when it counts as crowded; 0 if it does not.
    until: AtomicU64,
    rests: AtomicU64,
}

impl Crowd {
    pub(crate) fn new() -> Self {
        Crowd {
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            until: AtomicU64::new(0),
            rests: AtomicU64::new(0),
        }
    }

    /// How often a thread has rested.
    pub(crate) fn rests(&self) -> u64 {
        // Relaxed: a count.
        self.rests.load(Ordering::Relaxed)
    }

    /// Looks at what a scan of the watermark saw.
    #[inline]
    pub(crate) fn notice(&self, clock: &Clock, live: &Live) {
        if live.open_count() > self.processors {
            self.remember(clock, live.now);
        }
    }

    #[cold]
    fn remember(&self, clock: &Clock, now: u64) {
        // A clock that does not tell time cannot say who has run for long.
        let Some(ticks) = clock.ticks(CROWD_REMEMBERED_NS) else {
            return;
        };
        // Relaxed: who rests is a matter of speed, not of correctness. The line is read before
        // every transaction, so it is not written at every scan.
        if self.until.load(Ordering::Relaxed) < now + ticks / 2 {
            // Relaxed: as above.
            self.until.store(now + ticks, Ordering::Relaxed);
        }
    }

    /// Called before a transaction begins: lets other threads run, if it is time to.
    #[inline]
    pub(crate) fn rest(&self, clock: &Clock) {
        // Relaxed: as in `remember`.
        let until = self.until.load(Ordering::Relaxed);
        if until != 0 {
            self.rest_if_due(clock, until);
        }
    }

    #[cold]
    fn rest_if_due(&self, clock: &Clock, until: u64) {
        let (now, Some(long)) = (clock.snapshot(), clock.ticks(REST_AFTER_NS)) else {
            return;
        };
        if now > until {
            // Relaxed: as in `remember`.
            let _ = self.until.compare_exchange(until, 0, Ordering::Relaxed, Ordering::Relaxed);
            return;
        }
        // A thread that is going away has no memory of its own any more, and need not rest.
        let _ = STRETCH.try_with(|stretch| {
            let Stretch { began, latest } = stretch.get();
            // The stores of a process agree on the time: their clocks are one.
            let goes_on = now.saturating_sub(latest) <= long;
            if goes_on && now.saturating_sub(began) > long {
                // Relaxed: a count.
                self.rests.fetch_add(1, Ordering::Relaxed);
                std::thread::yield_now();
                let now = clock.snapshot();
                stretch.set(Stretch { began: now, latest: now });
            } else {
                stretch.set(Stretch { began: if goes_on { began } else { now }, latest: now });
            }
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::clock::ClockSource;
    use crate::{Store, Table};
    use std::time::{Duration, Instant};

    const PATIENCE: Duration = Duration::from_secs(30);

    /// Updates a record for `patience`, or until somebody has rested. Returns whether.
    fn rests(store: &Store, patience: Duration) -> bool {
        let table: Table<u64, u64> = store.table("numbers").expect("a table");
        store.transact(|tx| tx.put(&table, 1, 0)).expect("nobody is in its way");
        let begun = Instant::now();
        while begun.elapsed() < patience && store.stats().rests == 0 {
            for _ in 0..100 {
                store
                    .transact(|tx| tx.update(&table, &1, |n| n + 1).map(|_| ()))
                    .expect("nobody is in its way");
            }
        }
        store.stats().rests > 0
    }

    /// One more than there are processors.
    fn idle_views(store: &Store) -> Vec<crate::Transaction<'_>> {
        let processors = store.core.crowd.processors;
        (0..=processors).map(|_| store.begin_view().expect("below the limit")).collect()
    }

    /// Calls `check` in a crowd, unless the clock cannot say who has run for long.
    fn in_a_crowd(check: impl FnOnce(&Store)) {
        let store = Store::new();
        if store.core.clock.ticks(1).is_none() {
            return;
        }
        let views = idle_views(&store);
        check(&store);
        drop(views);
    }

    #[test]
    fn in_a_crowd_threads_rest() {
        in_a_crowd(|store| assert!(rests(store, PATIENCE)));
    }

    /// One that rested before every transaction would rest before each second one here.
    #[test]
    fn a_thread_that_has_just_come_does_not_rest() {
        in_a_crowd(|store| {
            assert!(rests(store, PATIENCE));
            let two = || {
                let before = store.stats().rests;
                let empty = || store.transact(|_| Ok(())).expect("nobody is in its way");
                empty();
                empty();
                store.stats().rests == before
            };
            // Some may be held up between the two by other work.
            let undisturbed = (0..100).any(|_| {
                std::thread::scope(|scope| scope.spawn(two).join().expect("it does not panic"))
            });
            assert!(undisturbed);
        });
    }

    #[test]
    fn alone_nobody_rests() {
        assert!(!rests(&Store::new(), Duration::from_millis(200)));
    }

    #[test]
    fn without_time_nobody_rests() {
        let store = Store::builder().clock(ClockSource::SharedCounter).build().expect("a store");
        let views = idle_views(&store);
        assert!(!rests(&store, Duration::from_millis(200)));
        drop(views);
    }

    #[test]
    fn a_thread_that_does_other_work_does_not_rest() {
        in_a_crowd(|store| {
            let table: Table<u64, u64> = store.table("numbers").expect("a table");
            for n in 0..100 {
                store.transact(|tx| tx.put(&table, 1, n)).expect("nobody is in its way");
                // Longer than the pause that ends a stretch.
                std::thread::sleep(Duration::from_millis(2));
            }
            assert_ne!(store.core.crowd.until.load(super::Ordering::Relaxed), 0, "nobody noticed");
            assert_eq!(store.stats().rests, 0);
        });
    }
}
