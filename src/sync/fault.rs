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
    /// Skip the validation of ranges, or the look at the stamps or reservations that readers of
    /// ranges leave: a phantom.
    SkipRanges,
    /// Install on whatever version is the newest, not on the one that the write is based on or that
    /// its snapshot sees: lost updates.
    IgnoreBase,
    /// Take a pending version for a committed one: the models of the single-version protocols read
    /// what was taken back.
    ReadPending,
    /// Extend the read time of a version that somebody is overwriting: the model of `tictoc` sees a
    /// reader and a writer of one version in the wrong order.
    ExtendLocked,
    /// Do not say that an absence was read: the model of `tictoc` sees an insert that commits
    /// before a reader that has not seen it.
    AbsenceUnraised,
    /// Make one of a transaction's versions visible before the decision: a view across a suspended
    /// transfer counts wrong, or sees what an abort is about to take back.
    TornDecision,
    /// Begin a view with a snapshot that is older than the last commits: reads are stale in real
    /// time.
    StaleSnapshot,
    /// Copy an index slot without freezing it first: the models of growth and of splits lose an
    /// insert.
    CopyUnfrozen,
    /// Draw the snapshot before the slot is published: the watermark model frees a visible version.
    DrawBeforePublish,
    /// Take the floor of an open slot for its snapshot: the watermark model frees a visible
    /// version.
    IgnoreOpen,
    /// Give a record's lock back with a relaxed store: the lock model sees a data race.
    UnlockRelaxed,
    /// Grant a lock whoever owns it: the lock model sees a data race, that of retired locks a lost
    /// update, and the scripts see lost updates.
    GrantUnchecked,
    /// Commit although somebody has not committed whose value was read: the model of retired locks
    /// commits on a write that was given up, and so does a script.
    IgnoreDependencies,
    /// Look at the chain before leaving the stamp of a read: the model of timestamp order loses a
    /// write that comes between.
    StampLate,
    /// Raise an overwriter's floor to the reader's own timestamp: the certifier's model loses a
    /// predecessor.
    FloorAtCommit,
    /// Copy an inner node of the ordered index without freezing its links: the model of splits
    /// loses an insert.
    LinkUnfrozen,
    /// Remove a record from a frozen leaf: the model of merges finds it again.
    RemoveFrozen,
    /// Leave alone who has stopped between the two indexes of an ordered table: the model of entry
    /// fails at a key that it cannot find.
    HelpNobody,
    /// Take a record out of its indexes while somebody may still enter it: the model of entry finds
    /// it again.
    RemoveAtOnce,
    /// Take a frozen leaf for an unchanged one: the model of range validation misses a phantom.
    FrozenIsUnchanged,
    /// Take the next entry of a range from any shard and not from that with the lowest key: the
    /// scans of YCSB see keys that do not ascend.
    MergeUnsorted,
}

#[cfg(not(any(test, loom)))]
#[inline(always)]
pub(crate) const fn on(_fault: Fault) -> bool {
    false
}

#[cfg(all(test, not(loom), feature = "cli"))]
pub(crate) use switch::ArmedHere;
#[cfg(any(test, loom))]
pub(crate) use switch::{Armed, on};

#[cfg(any(test, loom))]
mod switch {
    use super::Fault;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    // Process-wide, because the threads of a model or a test all run the same faulty code; the
    // tests that arm a fault run one at a time (`Armed` holds a lock).
    static ARMED: AtomicU64 = AtomicU64::new(0);
    static HIT: AtomicBool = AtomicBool::new(false);
    static ONE_AT_A_TIME: std::sync::Mutex<()> = std::sync::Mutex::new(());

    thread_local! {
        static ARMED_HERE: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }

    /// Whether `fault` is armed.
    pub(crate) fn on(fault: Fault) -> bool {
        let mask = 1 << fault as u32;
        // Relaxed: armed before the threads start, disarmed after they were joined.
        let armed = ARMED.load(Ordering::Relaxed) & mask != 0;
        if armed {
            // Relaxed: looked at after the threads were joined.
            HIT.store(true, Ordering::Relaxed);
        }
        armed || ARMED_HERE.get() & mask != 0
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
            // Relaxed: see `on`.
            HIT.store(false, Ordering::Relaxed);
            Armed(lock)
        }

        /// Whether the faulty code has run since.
        #[cfg(not(loom))]
        pub(crate) fn was_hit(&self) -> bool {
            // Relaxed: see `on`.
            HIT.load(Ordering::Relaxed)
        }
    }

    impl Drop for Armed {
        fn drop(&mut self) {
            // Relaxed: see `on`.
            ARMED.store(0, Ordering::Relaxed);
        }
    }

    /// Arms faults for what this thread does, until dropped: tests in other threads go on as they
    /// are.
    #[cfg(all(test, not(loom), feature = "cli"))]
    pub(crate) struct ArmedHere(());

    #[cfg(all(test, not(loom), feature = "cli"))]
    impl ArmedHere {
        pub(crate) fn new(faults: &[Fault]) -> Self {
            ARMED_HERE.set(faults.iter().fold(0, |mask, fault| mask | 1 << *fault as u32));
            ArmedHere(())
        }
    }

    #[cfg(all(test, not(loom), feature = "cli"))]
    impl Drop for ArmedHere {
        fn drop(&mut self) {
            ARMED_HERE.set(0);
        }
    }
}
