//! `2pl-waitdie`: two-phase locking in which only the older transaction waits (Rosenkrantz,
//! Stearns, Lewis, TODS 1978). The younger one dies: it aborts, and keeps its age when it tries
//! again.
//!
//! The age is the snapshot of a transaction's first attempt (`Store::transact` keeps it; a
//! transaction that the caller retries is a new one each time), and the worker's number where two
//! snapshots tie.
//!
//! # Departures
//!
//! Beside those of `two_phase_locking.rs`:
//!
//! * A younger one dies not only of an older owner: also of an older one that waits and presses, if
//!   both cannot have the lock together. Otherwise readers that join the owners could keep an older
//!   writer waiting for ever.
//! * Ages need not be unique by themselves, nor are they drawn for the purpose: see above.
//! * An older one waits no longer than `LOCK_WAIT_MAX_MS`, and then aborts too.
//!
//! # No deadlock
//!
//! Whenever a waiting transaction looks at the lock, everybody whom it waits for is younger, or it
//! dies. It looks whenever the list has changed; so an older one that joins the owners meanwhile
//! is noticed too. In a cycle somebody would wait for an older one, and never look.
//!
//! # No starvation
//!
//! There is no queue in the order of arrival. What holds is this: *the oldest open transaction
//! never dies, and gets each lock after finitely many commits and aborts of younger ones*, if these
//! end at all. It waits for owners only, which are younger; and once it presses (see
//! `record_lock.rs`), a younger one that asks for the lock in a conflicting mode dies. An age never
//! changes, so each transaction becomes the oldest in time. (A wait also ends after
//! `LOCK_WAIT_MAX_MS`; the age is kept then too.) A younger one may die many times before.

use super::record_lock::{Party, Rule};
use super::two_phase_locking::{Policy, TwoPhaseLocking};
use crate::error::AbortReason;

/// Strict two-phase locking; the older one waits, the younger one aborts (Rosenkrantz, Stearns,
/// Lewis: "System Level Concurrency Control for Distributed Database Systems", TODS 1978).
pub type WaitDie = TwoPhaseLocking<Die>;

/// Whoever meets an older one gives up.
#[derive(Debug)]
pub struct Die;

impl Rule for Die {
    fn meet(asking: &Party, other: &Party, _owns: bool) -> Result<(), AbortReason> {
        if other.is_older_than(asking) { Err(AbortReason::LockDie) } else { Ok(()) }
    }
}

impl Policy for Die {
    const NAME: &'static str = "2pl-waitdie";
    const SUMMARY: &'static str = "strict two-phase locking, older ones wait, younger ones abort";
}
