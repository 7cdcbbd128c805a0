//! Faults that a test switches on to prove that a model or a check has teeth.
//!
//! In a normal build [`on`] is the constant `false` and the faulty branch does not exist. Each
//! variant says which check must fail when it is on.

/// A mistake that somebody could make here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "each is switched on by one test or model")]
pub(crate) enum Fault {
    /// Publish a version with a relaxed store: the chain model sees an uninitialised value.
    PublishRelaxed,
    /// Leave the install out of the single order: the write-skew models lose both conflicts.
    InstallUnordered,
    /// Commit although a reader raised the floor above the timestamp: the decision model sees a
    /// torn snapshot.
    IgnoreFloor,
    /// Skip the validation of reads: write skew, lost updates through reads.
    SkipValidation,
    /// Copy an index slot without freezing it first: the models of growth and of splits lose an
    /// insert.
    CopyUnfrozen,
    /// Draw the snapshot before the slot is published: the watermark model frees a visible version.
    DrawBeforePublish,
    /// Take the floor of an open slot for its snapshot: the watermark model frees a visible
    /// version.
    IgnoreOpen,
    /// Copy an inner node of the ordered index without freezing its links: the model of splits
    /// loses an insert.
    LinkUnfrozen,
    /// Remove a record from a frozen leaf: the model of merges finds it again.
    RemoveFrozen,
    /// Take a frozen leaf for an unchanged one: the model of range validation misses a phantom.
    FrozenIsUnchanged,
}

#[cfg(not(any(test, loom)))]
#[inline(always)]
pub(crate) const fn on(_fault: Fault) -> bool {
    false
}

#[cfg(any(test, loom))]
pub(crate) use switch::{Armed, on};

#[cfg(any(test, loom))]
mod switch {
    use super::Fault;
    use std::sync::atomic::{AtomicU64, Ordering};

    // Process-wide, because the threads of a model or a test all run the same faulty code; the
    // tests that arm a fault run one at a time (`Armed` holds a lock).
    static ARMED: AtomicU64 = AtomicU64::new(0);
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

    /// Whether `fault` is armed.
    pub(crate) fn on(fault: Fault) -> bool {
        // Relaxed: armed before the threads start, disarmed after they were joined.
        ARMED.load(Ordering::Relaxed) & (1 << fault as u32) != 0
    }

    /// Arms a fault (or none) until dropped; holds out every other test that would arm one.
    pub(crate) struct Armed(#[allow(dead_code, reason = "held, not read")] Lock);

    type Lock = std::sync::MutexGuard<'static, ()>;

    impl Armed {
        /// Arms `fault`; `None` only keeps others from arming one meanwhile.
        pub(crate) fn new(fault: Option<Fault>) -> Self {
            // A panicking model is an expected outcome here, so a poisoned lock is no news.
            let lock = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // Relaxed: see `on`.
            ARMED.store(fault.map_or(0, |f| 1 << f as u32), Ordering::Relaxed);
            Armed(lock)
        }
    }

    impl Drop for Armed {
        fn drop(&mut self) {
            // Relaxed: see `on`.
            ARMED.store(0, Ordering::Relaxed);
        }
    }
}
