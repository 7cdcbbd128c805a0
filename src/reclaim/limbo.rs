//! Limbo: unlinked memory waits here until no pinned operation can still stand on it.
//!
//! `crossbeam-epoch` would run one deferred function per block on whichever thread advances the
//! epoch. Here a worker keeps its own unlinked blocks in batches and defers one function per
//! *batch*, which sets a flag; the blocks then return to that worker's arena. No block travels
//! through a queue that all cores write, and the work is done in bounded pieces by the worker that
//! caused it.

use crate::limits::LIMBO_BATCH;
use crate::sync::unmodelled::{AtomicBool, Ordering};
use std::collections::VecDeque;
use std::sync::Arc;

/// Batches of `T`s, each with the flag that says that its grace period is over.
#[derive(Debug)]
pub(crate) struct Limbo<T> {
    open: Vec<T>,
    sealed: VecDeque<(Arc<AtomicBool>, Vec<T>)>,
    /// Emptied batches and their flags, used again.
    spare: Vec<(Arc<AtomicBool>, Vec<T>)>,
}

impl<T> Limbo<T> {
    pub(crate) fn new() -> Self {
        Limbo { open: Vec::with_capacity(LIMBO_BATCH), sealed: VecDeque::new(), spare: Vec::new() }
    }

    /// Adds an unlinked block. The caller is pinned by `guard` and has unlinked it under that pin
    /// or before.
    #[inline]
    pub(crate) fn push(&mut self, block: T, guard: &crossbeam_epoch::Guard) {
        self.open.push(block);
        if self.open.len() >= LIMBO_BATCH {
            self.seal(guard);
        }
    }

    /// Starts the grace period of what was added so far.
    #[cold]
    #[inline(never)]
    pub(crate) fn seal(&mut self, guard: &crossbeam_epoch::Guard) {
        if self.open.is_empty() {
            return;
        }
        let (flag, empty) = self
            .spare
            .pop()
            .unwrap_or_else(|| (Arc::new(AtomicBool::new(false)), Vec::with_capacity(LIMBO_BATCH)));
        // Relaxed: the flag is ours alone until the deferred function gets its clone below.
        flag.store(false, Ordering::Relaxed);
        let ready = Arc::clone(&flag);
        // Release: pairs with the Acquire in `pop_ready`. Whoever runs this has seen every pin of
        // the batch's time end, so those operations' accesses happen before the blocks are used
        // again.
        guard.defer(move || ready.store(true, Ordering::Release));
        guard.flush();
        self.sealed.push_back((flag, std::mem::replace(&mut self.open, empty)));
    }

    /// Hands every block whose grace period is over to `reclaim`, one batch at most.
    #[inline]
    pub(crate) fn collect(&mut self, reclaim: impl FnMut(T)) {
        // Acquire: pairs with the Release of the deferred function.
        if self.sealed.front().is_some_and(|(flag, _)| flag.load(Ordering::Acquire)) {
            self.collect_front(reclaim);
        }
    }

    fn collect_front(&mut self, reclaim: impl FnMut(T)) {
        if let Some((flag, mut batch)) = self.sealed.pop_front() {
            batch.drain(..).for_each(reclaim);
            // The deferred function may still hold its clone for an instant; a flag that is shared
            // could be set late, in its next use, so it is dropped instead.
            if let Some(flag) = Arc::into_inner(flag) {
                self.spare.push((Arc::new(flag), batch));
            }
        }
    }

    /// Hands over everything: the store is being dropped and nobody is pinned.
    pub(crate) fn drain(&mut self, mut reclaim: impl FnMut(T)) {
        self.open.drain(..).for_each(&mut reclaim);
        for (_, mut batch) in self.sealed.drain(..) {
            batch.drain(..).for_each(&mut reclaim);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crossbeam_epoch::Collector;

    #[test]
    fn a_pinned_operation_holds_back_what_was_unlinked_since() {
        let collector = Collector::new();
        let (reader, writer) = (collector.register(), collector.register());
        let mut limbo = Limbo::new();
        let pinned = reader.pin();
        for block in 0..10 * LIMBO_BATCH {
            limbo.push(block, &writer.pin());
            limbo.collect(|_| panic!("reclaimed under a pin"));
        }
        drop(pinned);
        let mut reclaimed = 0;
        for block in 0..10 * LIMBO_BATCH {
            limbo.push(block, &writer.pin());
            limbo.collect(|_| reclaimed += 1);
        }
        assert!(reclaimed >= 10 * LIMBO_BATCH, "only {reclaimed} of the first blocks came back");
    }
}
