//! `2pl-nowait`: two-phase locking without waiting. Whoever does not get a lock at once aborts.
//!
//! So nobody waits while it owns a lock, and there is no deadlock. (The name is that of Yu et al.,
//! VLDB 2014, and older than they.) Nobody is favoured either: a transaction can lose any number of
//! times, and only back-off and the store's right of way get it through.
//!
//! # Departures
//!
//! Those of `two_phase_locking.rs`, and none of its own.

use super::record_lock::{Party, Rule};
use super::two_phase_locking::{Policy, TwoPhaseLocking};
use crate::error::AbortReason;

/// Strict two-phase locking; a conflict aborts whoever asks (`NO_WAIT` in Yu, Bezerra, Pavlo,
/// Devadas, Stonebraker: "Staring into the Abyss: An Evaluation of Concurrency Control with One
/// Thousand Cores", VLDB 2014).
pub type NoWait = TwoPhaseLocking<Refuse>;

/// Whoever asks gives up.
#[derive(Debug)]
pub struct Refuse;

impl Rule for Refuse {
    fn meet(_asking: &Party, _other: &Party, _owns: bool) -> Result<(), AbortReason> {
        Err(AbortReason::LockConflict)
    }
}

impl Policy for Refuse {
    const NAME: &'static str = "2pl-nowait";
    const SUMMARY: &'static str = "strict two-phase locking, a conflict aborts whoever asks";
}
