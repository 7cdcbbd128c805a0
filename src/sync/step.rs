//! Named step points: where a test may stop a thread for as long as it likes.
//!
//! In a normal build [`at`] is an empty inline function. In the crate's own tests a thread installs
//! a hook with [`on`], which is called with each step that the thread reaches; a hook that blocks
//! is a thread suspended at that instruction.

/// Every point at which a thread of a transaction can be suspended, in the order of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(dead_code, reason = "`ALL` and the hooks exist in tests only")]
pub(crate) enum Step {
    /// The worker's slot is taken and published, the snapshot not yet drawn.
    BeginPublished,
    /// The snapshot is drawn and published.
    BeginDrawn,
    /// A reader holds a record and is about to walk its chain.
    ReadWalk,
    /// A writer is about to install its next undecided version.
    PrepareInstall,
    /// At least one undecided version is installed.
    PrepareInstalled,
    /// The commit timestamp is drawn, nothing is validated.
    PrepareDrawn,
    /// Every shard has voted yes; the decision is still open.
    PrepareVoted,
    /// The decision word says committed, no version is stamped.
    DecideCommitted,
    /// Some versions are stamped.
    FinishStamped,
    /// An aborting transaction has still to take its versions out of their chains.
    AbortUnlink,
    /// A worker is about to unlink old versions from a chain.
    ReclaimPrune,
    /// A worker is about to take a dead record out of the index.
    ReclaimRemove,
    /// A larger index array is published, nothing is copied.
    GrowPublished,
    /// A chunk of the old array is frozen and about to be copied.
    GrowCopy,
    /// Everything is copied; the new array is about to become the current one.
    GrowSwitch,
    /// A walk over a range is about to look at its next records.
    RangeWalk,
    /// A record is in the ordered index of its table, and not yet in the hash index.
    OrderedEntered,
    /// A record is about to enter a leaf of an ordered index.
    OrderedInsert,
    /// A leaf of an ordered index is frozen, and nothing is built in its place.
    OrderedFrozen,
    /// It is decided what becomes of an inner node, and nothing of it is frozen.
    OrderedIntent,
    /// A node's replacement is built and about to be put in place.
    OrderedSwing,
    /// A record is out of an ordered index, and its leaf may be merged with a neighbour.
    OrderedRemoved,
}

#[cfg(not(test))]
#[inline(always)]
pub(crate) fn at(_step: Step) {}

#[cfg(test)]
pub(crate) use hook::at;
#[cfg(all(test, not(loom)))]
pub(crate) use hook::on;

#[cfg(test)]
mod hook {
    use super::Step;
    use std::cell::RefCell;

    type Hook = Box<dyn FnMut(Step)>;

    thread_local! {
        static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
    }

    /// Calls this thread's hook, if it has one and is not already inside it.
    pub(crate) fn at(step: Step) {
        let _ = HOOK.try_with(|hook| {
            let Ok(mut slot) = hook.try_borrow_mut() else {
                return;
            };
            if let Some(hook) = slot.as_mut() {
                hook(step);
            }
        });
    }

    /// Installs `hook` for the calling thread.
    #[cfg_attr(loom, allow(dead_code, reason = "models suspend nobody"))]
    pub(crate) fn on(hook: impl FnMut(Step) + 'static) {
        HOOK.with(|slot| *slot.borrow_mut() = Some(Box::new(hook)));
    }

    impl Step {
        /// The steps of an ordered index.
        pub(crate) const ORDERED: [Step; 5] = [
            Step::OrderedInsert,
            Step::OrderedFrozen,
            Step::OrderedIntent,
            Step::OrderedSwing,
            Step::OrderedRemoved,
        ];

        /// Every step of a transaction, for tests that visit them all.
        pub(crate) const ALL: [Step; 22] = [
            Step::BeginPublished,
            Step::BeginDrawn,
            Step::ReadWalk,
            Step::PrepareInstall,
            Step::PrepareInstalled,
            Step::PrepareDrawn,
            Step::PrepareVoted,
            Step::DecideCommitted,
            Step::FinishStamped,
            Step::AbortUnlink,
            Step::ReclaimPrune,
            Step::ReclaimRemove,
            Step::GrowPublished,
            Step::GrowCopy,
            Step::GrowSwitch,
            Step::RangeWalk,
            Step::OrderedEntered,
            Step::OrderedInsert,
            Step::OrderedFrozen,
            Step::OrderedIntent,
            Step::OrderedSwing,
            Step::OrderedRemoved,
        ];
    }
}
