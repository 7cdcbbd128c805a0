//! `2pl-woundwait`: two-phase locking in which only the younger transaction waits (Rosenkrantz,
//! Stearns, Lewis, TODS 1978). An older one wounds the younger owners of the lock that it asks for.
//!
//! The age is the snapshot of a transaction's first attempt (`Store::transact` keeps it; a
//! transaction that the caller retries is a new one each time), and the worker's number where two
//! snapshots tie.
//!
//! # What a wound is
//!
//! A flag that its owner looks at in each operation, and while it waits for a lock. It then
//! aborts, and gives its locks back itself; the older one waits for that. Nobody takes a lock away,
//! so a wounded transaction still reads consistent values, and one that is computing between two
//! operations holds the older one up until it goes on. As in the paper, a wound that comes after
//! the transaction began to terminate has no effect: once `commit` is called it asks for no lock
//! that somebody else could own, and committing frees its locks as soon as aborting would.
//!
//! # Departures
//!
//! Beside those of `two_phase_locking.rs`:
//!
//! * Nobody but the wounded one itself ends it: the wound is a flag, which it notices in its next
//!   operation or while it waits, and not before (see above).
//! * A younger one waits not only for owners: also behind an older one that waits and presses, if
//!   both cannot have the lock together.
//! * Ages need not be unique by themselves, nor are they drawn for the purpose: see above.
//! * Nobody waits longer than `LOCK_WAIT_MAX_MS`; who has, aborts, wounded or not.
//!
//! # No deadlock
//!
//! Whenever a waiting transaction looks at the lock, it wounds every younger one whom it waits for,
//! and it looks whenever the list has changed. In a cycle somebody waits for a younger one, which
//! is wounded, and which waits itself: it notices and gives up.
//!
//! # No starvation
//!
//! There is no queue in the order of arrival. What holds is this: *the oldest open transaction is
//! never wounded, and gets each lock after finitely many younger owners have ended*, if they end at
//! all. It wounds whoever owns the lock each time it looks; and once it presses (see
//! `record_lock.rs`), a younger one that asks for the lock in a conflicting mode waits behind it.
//! An age never changes, so each transaction becomes the oldest in time. (A wait also ends after
//! `LOCK_WAIT_MAX_MS`; the age is kept then too.)

use super::record_lock::{Party, Rule};
use super::two_phase_locking::{Policy, TwoPhaseLocking};
use crate::error::AbortReason;

/// Strict two-phase locking; the older one aborts the younger, the younger one waits (Rosenkrantz,
/// Stearns, Lewis: "System Level Concurrency Control for Distributed Database Systems", TODS 1978).
pub type WoundWait = TwoPhaseLocking<Wound>;

/// Whoever meets a younger owner wounds it, and waits in any case.
#[derive(Debug)]
pub struct Wound;

impl Rule for Wound {
    fn meet(asking: &Party, other: &Party, owns: bool) -> Result<(), AbortReason> {
        if owns && asking.is_older_than(other) {
            other.wound();
        }
        Ok(())
    }
}

impl Policy for Wound {
    const NAME: &'static str = "2pl-woundwait";
    const SUMMARY: &'static str = "strict two-phase locking, older ones abort younger, these wait";
}
