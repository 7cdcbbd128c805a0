//! The only door to atomics.
//!
//! Everything above this layer says `use crate::sync::...`, so that `--cfg loom` swaps in the model
//! checker's types for the very code that ships. `tests/tidy.rs` rejects any other import.
//!
//! `published` is a value made once, without a wait; `roll` is a list that grows until it is
//! sealed. The other two sub-modules are test instruments that compile to nothing in a normal
//! build: [`step`] names the instructions at which a test may suspend a thread, [`fault`] names the
//! mistakes a test may switch on to prove that a check would notice them.

pub(crate) mod fault;
pub(crate) mod published;
pub(crate) mod roll;
pub(crate) mod step;

pub use crossbeam_utils::CachePadded;

#[cfg(not(loom))]
pub use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU64, AtomicUsize, Ordering,
};

#[cfg(loom)]
pub use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU16, AtomicU64, AtomicUsize, Ordering, fence,
};

/// Atomics that no model looks at, whatever the build: statics (the model's have no constant
/// constructor), start-up checks of the machine itself, and hints that decide nothing.
pub mod unmodelled {
    pub use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering};
}

/// Tells the processor that this is a short wait for another core.
#[inline]
pub fn spin_loop() {
    #[cfg(not(loom))]
    std::hint::spin_loop();
    // Under the model a spinning thread must let the one it waits for run.
    #[cfg(loom)]
    loom::thread::yield_now();
}

/// Completes a sequentially consistent access for the model checker, which takes `SeqCst` accesses
/// for acquire-release ones and knows the single order of fences only. Nothing in a normal build.
#[inline(always)]
pub(crate) fn model_fence() {
    // SeqCst: see above.
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

/// A counter that one thread writes and any thread reads: an increment is a plain load and store,
/// never a locked instruction.
#[derive(Debug, Default)]
pub struct Tally(std::sync::atomic::AtomicU64);

impl Tally {
    /// Adds `n`. Only the owning worker calls this; a concurrent call would lose counts, not
    /// safety.
    #[inline]
    pub fn add(&self, n: u64) {
        // Relaxed: a statistic with one writer; nothing is published through it.
        let sum = self.0.load(std::sync::atomic::Ordering::Relaxed).wrapping_add(n);
        // Relaxed: as above.
        self.0.store(sum, std::sync::atomic::Ordering::Relaxed);
    }

    /// Raises the value to `n` if it is lower.
    #[inline]
    pub fn raise(&self, n: u64) {
        if n > self.get() {
            // Relaxed: as in `add`.
            self.0.store(n, std::sync::atomic::Ordering::Relaxed);
        }
    }

    /// The present value; a reader on another thread may be a little behind.
    #[inline]
    pub fn get(&self) -> u64 {
        // Relaxed: a statistic.
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}
