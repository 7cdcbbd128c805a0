//! The decision: one word that commits or aborts a transaction, and the only commit point.
//!
//! # Definitions
//!
//! A decision is *undecided* with a *floor*, then either *committed* at a timestamp or *aborted*,
//! for ever. While a transaction is undecided its versions carry a pointer to this word instead of
//! a timestamp.
//!
//! # Invariants
//!
//! 1. A transaction commits only at a timestamp above its floor.
//! 2. The floor only rises. Anyone may raise it, and anyone may abort an undecided transaction.
//!
//! # What they give
//!
//! A reader with snapshot b that meets an undecided version raises the floor to b. After that the
//! version's transaction cannot become visible at b any more, so the reader may pass it by: it
//! neither waits nor aborts anybody. (Hekaton lets the reader depend on the outcome instead; the
//! floor is ours.) A writer that meets an undecided version waits a bounded moment and then aborts
//! it. Both are one compare-and-swap on this word, against which the owner's own compare-and-swap
//! to *committed* decides.

use crate::sync::{AtomicU64, Ordering, fault, spin_loop};

const TAG: u64 = 0b11;
const UNDECIDED: u64 = 0b00;
const COMMITTED: u64 = 0b01;
const ABORTED: u64 = 0b10;

/// What a decision word says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Open; if it commits, then above this timestamp.
    Undecided {
        /// The exclusive lower bound of the commit timestamp.
        floor: u64,
    },
    /// Committed at this timestamp.
    Committed(u64),
    /// Aborted.
    Aborted,
}

/// Why a transaction could not commit at the timestamp it proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// A reader has raised the floor to or above the proposed timestamp: draw again and validate
    /// again.
    Floor,
    /// Somebody aborted the transaction.
    Aborted,
}

/// The decision word of one transaction, and how urgent that transaction is.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Decision {
    word: AtomicU64,
    /// How often this transaction has been retried: the more, the longer others wait for it.
    priority: u32,
}

impl Decision {
    /// An undecided one. What its transaction commits above anyway may be the floor already: then
    /// snapshots below that pass its versions by at once.
    pub(crate) fn new(priority: u32, floor: u64) -> Self {
        Decision { word: AtomicU64::new(floor << 2 | UNDECIDED), priority }
    }

    pub(crate) fn priority(&self) -> u32 {
        self.priority
    }

    fn parse(word: u64) -> Outcome {
        match word & TAG {
            UNDECIDED => Outcome::Undecided { floor: word >> 2 },
            COMMITTED => Outcome::Committed(word >> 2),
            _ => Outcome::Aborted,
        }
    }

    /// What the word says now.
    #[inline]
    pub(crate) fn outcome(&self) -> Outcome {
        // SeqCst: pairs with the compare-and-swap in `commit`. Acquire would publish the versions;
        // the single order also keeps this load behind the caller's load of the chain's head.
        Self::parse(self.word.load(Ordering::SeqCst))
    }

    /// Settles what a reader at `snapshot` sees of this transaction: waits for `spins` pauses at
    /// most, then raises the floor so that it sees nothing. Returns the commit timestamp or, for an
    /// aborted transaction and one that can only commit after `snapshot`, `None`.
    #[inline]
    pub(crate) fn settle_for(&self, snapshot: u64, mut spins: u32) -> Option<u64> {
        loop {
            // SeqCst: as in `outcome`.
            let word = self.word.load(Ordering::SeqCst);
            match Self::parse(word) {
                Outcome::Committed(at) => return Some(at),
                Outcome::Aborted => return None,
                Outcome::Undecided { floor } if floor >= snapshot => return None,
                Outcome::Undecided { .. } if spins > 0 => {
                    spins -= 1;
                    spin_loop();
                }
                Outcome::Undecided { .. } => {
                    // SeqCst: ordered against the owner's compare-and-swap in `commit`; if this one
                    // comes first, the owner draws a later timestamp. Relaxed if it fails: the loop
                    // loads the word again.
                    let raised = self.word.compare_exchange(
                        word,
                        snapshot << 2,
                        Ordering::SeqCst,
                        Ordering::Relaxed,
                    );
                    if raised.is_ok() {
                        return None;
                    }
                }
            }
        }
    }

    /// The timestamp above which this transaction has to commit.
    pub(crate) fn floor(&self) -> u64 {
        match self.outcome() {
            Outcome::Undecided { floor } => floor,
            Outcome::Committed(_) | Outcome::Aborted => 0,
        }
    }

    /// Commits at `timestamp`, unless a reader has raised the floor to it or somebody aborted.
    #[inline]
    pub(crate) fn commit(&self, timestamp: u64) -> Result<(), Refusal> {
        // Relaxed: the compare-and-swap below checks it.
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            match Self::parse(word) {
                Outcome::Undecided { floor }
                    if floor < timestamp || fault::on(fault::Fault::IgnoreFloor) => {}
                Outcome::Undecided { .. } => return Err(Refusal::Floor),
                Outcome::Aborted => return Err(Refusal::Aborted),
                Outcome::Committed(_) => unreachable!("only the owner commits, and only once"),
            }
            // SeqCst: the commit point. Releases the versions to whoever reads `committed`; in the
            // single order it stands against `settle_for` and `abort`. Relaxed if it fails: the
            // word is only parsed and exchanged again.
            match self.word.compare_exchange(
                word,
                (timestamp << 2) | COMMITTED,
                Ordering::SeqCst,
                Ordering::Relaxed,
            ) {
                Ok(_) => return Ok(()),
                Err(now) => word = now,
            }
        }
    }

    /// Aborts the transaction if it is still undecided; says how it ended.
    pub(crate) fn abort(&self) -> Outcome {
        // Relaxed: the compare-and-swap below checks it.
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            match Self::parse(word) {
                Outcome::Undecided { .. } => {}
                // SeqCst: the caller acts on a committed outcome, so it must see the versions.
                _ => return self.outcome(),
            }
            // SeqCst: ordered against the owner's `commit`.
            match self.word.compare_exchange(word, ABORTED, Ordering::SeqCst, Ordering::Relaxed) {
                Ok(_) => return Outcome::Aborted,
                Err(now) => word = now,
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_decision_is_taken_once() {
        let decision = Decision::new(0, 0);
        assert_eq!(decision.outcome(), Outcome::Undecided { floor: 0 });
        assert_eq!(decision.settle_for(7, 0), None);
        assert_eq!(decision.floor(), 7);
        assert_eq!(decision.settle_for(5, 0), None, "a lower snapshot needs no higher floor");
        assert_eq!(decision.floor(), 7);
        assert_eq!(decision.commit(7), Err(Refusal::Floor));
        assert_eq!(decision.commit(8), Ok(()));
        assert_eq!(decision.abort(), Outcome::Committed(8));
        assert_eq!(decision.settle_for(100, 0), Some(8));

        let decision = Decision::new(3, 0);
        assert_eq!(decision.abort(), Outcome::Aborted);
        assert_eq!(decision.commit(8), Err(Refusal::Aborted));
        assert_eq!(decision.settle_for(100, 0), None);
        assert_eq!(decision.priority(), 3);
    }
}
