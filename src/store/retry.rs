//! Run, commit, and try again.

use super::backoff::{Backoff, pause};
use super::beginning::Opening;
use super::{Store, Transaction};
use crate::error::{Abort, AbortReason, Error, TransactionError};
use crate::limits::{RETRIES_MAX_DEFAULT, RIGHT_OF_WAY_MAX_NS, STARVING_AFTER_RETRIES};
use crate::protocol::Protocol;
use crate::protocol::context::Core;
use crate::sync::Ordering;
use std::time::Instant;

/// How often, and how fast, a transaction is tried again.
///
/// ```
/// use chronolith::{Backoff, RetryPolicy, Store};
///
/// # fn main() -> Result<(), chronolith::Error> {
/// let policy = RetryPolicy { retries_max: 20, backoff: Backoff::Adaptive };
/// let store = Store::builder().retry(policy).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Retries after which the last abort is returned to the caller.
    pub retries_max: u32,
    /// How long it waits after an abort.
    pub backoff: Backoff,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        RetryPolicy { retries_max: RETRIES_MAX_DEFAULT, backoff: Backoff::default() }
    }
}

/// What it took to get a transaction through; for whoever measures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempts {
    /// How often the closure ran.
    pub attempts: u64,
    /// Aborted attempts, by [`AbortReason::index`].
    pub aborts: [u64; AbortReason::COUNT],
    /// When the last attempt began, if it was not the first.
    pub retried_at: Option<Instant>,
}

impl<P: Protocol> Store<P> {
    /// Runs `body` in a transaction and commits; after a conflict, backs off and runs it again.
    ///
    /// # Errors
    ///
    /// What `body` returned, if that was not a conflict: nothing is written then. The last
    /// conflict, once the policy's retries are used up.
    pub fn transact<R>(
        &self,
        body: impl FnMut(&Transaction<'_, P>) -> Result<R, TransactionError>,
    ) -> Result<R, TransactionError> {
        self.attempt(true, None, body)
    }

    /// As [`Store::transact`], and adds to `attempts` what it took.
    ///
    /// # Errors
    ///
    /// As for [`Store::transact`].
    pub fn transact_observed<R>(
        &self,
        attempts: &mut Attempts,
        body: impl FnMut(&Transaction<'_, P>) -> Result<R, TransactionError>,
    ) -> Result<R, TransactionError> {
        self.attempt(true, Some(attempts), body)
    }

    /// Runs `body` on a read-only snapshot that contains every transaction that has committed
    /// before. It is the first operation of `body` that draws it (if `body` has to run again, it is
    /// drawn before that); [`Store::begin_view`] draws its own at once. With a multi-version
    /// protocol a view never aborts and never holds anybody up.
    ///
    /// # Errors
    ///
    /// What `body` returned. A write in it is [`crate::Error::ReadOnly`].
    pub fn view<R>(
        &self,
        body: impl FnMut(&Transaction<'_, P>) -> Result<R, TransactionError>,
    ) -> Result<R, TransactionError> {
        self.attempt(false, None, body)
    }

    /// As [`Store::view`], and adds to `attempts` what it took.
    ///
    /// # Errors
    ///
    /// As for [`Store::view`].
    pub fn view_observed<R>(
        &self,
        attempts: &mut Attempts,
        body: impl FnMut(&Transaction<'_, P>) -> Result<R, TransactionError>,
    ) -> Result<R, TransactionError> {
        self.attempt(false, Some(attempts), body)
    }

    #[inline]
    fn attempt<R>(
        &self,
        writes: bool,
        mut attempts: Option<&mut Attempts>,
        mut body: impl FnMut(&Transaction<'_, P>) -> Result<R, TransactionError>,
    ) -> Result<R, TransactionError> {
        self.core.crowd.rest(&self.core.clock);
        let mut retries = 0;
        let mut age = None;
        loop {
            let aborted = match self.attempt_once(writes, retries, &mut age, &mut body) {
                Ok(result) => {
                    note(&mut attempts, None);
                    return Ok(result);
                }
                Err(Failed::Final(error)) => {
                    note(&mut attempts, error.abort());
                    return Err(error);
                }
                Err(Failed::Retry(abort)) => abort,
            };
            note(&mut attempts, Some(&aborted));
            if retries >= self.retry.retries_max {
                return Err(aborted.into());
            }
            retries += 1;
            if let Some(attempts) = attempts.as_deref_mut() {
                attempts.retried_at = Some(Instant::now());
            }
        }
    }

    #[inline]
    fn attempt_once<R>(
        &self,
        writes: bool,
        retries: u32,
        age: &mut Option<u64>,
        body: &mut impl FnMut(&Transaction<'_, P>) -> Result<R, TransactionError>,
    ) -> Result<R, Failed> {
        let begun = if writes || retries > 0 {
            Transaction::begin(self, Opening { writes, retries, age: *age, ..Opening::default() })
        } else {
            Ok(Transaction::view(self))
        };
        let mut transaction = match begun {
            Ok(transaction) => transaction,
            Err(error) => return Err(Failed::from(error)),
        };
        let failed = match body(&transaction) {
            Ok(result) if !transaction.has_failed() => match transaction.finish() {
                Ok(()) => {
                    // It has ended: there is nothing left to drop.
                    std::mem::forget(transaction);
                    return Ok(result);
                }
                Err(error) => Failed::from(error),
            },
            outcome => Self::judge(&mut transaction, outcome.err()),
        };
        self.wind_up(transaction, &failed, age);
        Err(failed)
    }

    /// What the end of a closure means that met a conflict or gave up with `error`.
    #[cold]
    fn judge(transaction: &mut Transaction<'_, P>, error: Option<TransactionError>) -> Failed {
        match (error, transaction.take_conflict()) {
            // A conflict that the closure has swallowed is still a conflict.
            (_, Some(abort)) => Failed::Retry(abort),
            (Some(error), None) => match transaction.saw_one_moment() {
                Ok(()) => Failed::Final(error),
                Err(abort) => Failed::Retry(abort),
            },
            (None, None) => Failed::from(TransactionError::from(Error::Ended)),
        }
    }

    /// Ends an attempt that failed, and waits if there is to be another one.
    #[cold]
    fn wind_up(&self, mut transaction: Transaction<'_, P>, failed: &Failed, age: &mut Option<u64>) {
        // One that could not begin has waited already.
        if let Failed::Retry(_) = failed
            && transaction.has_worker()
        {
            *age = Some(transaction.age());
            let wait = transaction.next_wait();
            // The slot is free while we wait: a waiting transaction holds back nothing.
            drop(transaction);
            pause(wait);
        }
    }
}

/// Counts an attempt, for whoever measures.
#[inline]
fn note(attempts: &mut Option<&mut Attempts>, abort: Option<&Abort>) {
    if let Some(attempts) = attempts.as_deref_mut() {
        attempts.attempts += 1;
        if let Some(abort) = abort {
            attempts.aborts[abort.reason().index()] += 1;
        }
    }
}

/// How an attempt failed.
pub(super) enum Failed {
    /// Another attempt may succeed.
    Retry(Abort),
    /// The caller has to know.
    Final(TransactionError),
}

impl From<TransactionError> for Failed {
    fn from(error: TransactionError) -> Self {
        match error {
            // Trying again at once does not make memory.
            TransactionError::Abort(abort) if abort.reason() == AbortReason::OutOfMemory => {
                Failed::Final(Error::OutOfMemory.into())
            }
            TransactionError::Abort(abort) => Failed::Retry(abort),
            error @ TransactionError::Error(_) => Failed::Final(error),
        }
    }
}

/// The right of way: the word holds when it ends, with the holder's number in the low bits, or 0.
///
/// Optimistic transactions that are long can be overtaken for ever by short ones. One that has
/// failed several times asks the others to let it pass: until it has committed, or its time is
/// over, they wait before they prepare; with a protocol that takes locks as it goes, before they
/// begin. The time is bounded and absolute, so a holder that stops costs the others at most that.
/// The window doubles with each retry until it is longer than the transaction takes.
pub(super) mod right_of_way {
    use super::*;

    const HOLDER: u64 = (1 << 12) - 1;
    const _: () = assert!(crate::limits::OPEN_TRANSACTIONS_MAX <= HOLDER as usize + 1);
    const WINDOW_MIN_NS: u64 = 20_000;

    /// Asks for it, if this transaction starves.
    #[cold]
    pub(in crate::store) fn ask<P: Protocol>(core: &Core<P>, holder: u64, retries: u32) {
        let doublings = (retries - STARVING_AFTER_RETRIES).min(20);
        let window = (WINDOW_MIN_NS << doublings).min(RIGHT_OF_WAY_MAX_NS);
        let Some(ticks) = core.clock.ticks(window) else {
            return;
        };
        let now = core.clock.snapshot();
        // Relaxed: whom to let pass is a matter of fairness, not of correctness.
        let current = core.right_of_way.load(Ordering::Relaxed);
        if current > now && current & HOLDER != holder {
            return;
        }
        let word = ((now + ticks) & !HOLDER) | holder;
        // Relaxed: as above.
        let _ =
            core.right_of_way.compare_exchange(current, word, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Gives it back, if this transaction has it.
    #[cold]
    pub(in crate::store) fn give_back<P: Protocol>(core: &Core<P>, holder: u64) {
        // Relaxed: as in `ask`.
        let current = core.right_of_way.load(Ordering::Relaxed);
        if current & HOLDER == holder && current != 0 {
            // Relaxed: as in `ask`.
            let _ = core.right_of_way.compare_exchange(
                current,
                0,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
        }
    }

    /// Lets the holder pass, before this transaction prepares.
    #[inline]
    pub(in crate::store) fn yield_to<P: Protocol>(core: &Core<P>, holder: u64) {
        // Relaxed: as in `ask`; the line is written only by starving transactions.
        let current = core.right_of_way.load(Ordering::Relaxed);
        if current != 0 && current & HOLDER != holder {
            wait(core, current);
        }
    }

    #[cold]
    fn wait<P: Protocol>(core: &Core<P>, seen: u64) {
        // Relaxed: as in `ask`.
        while core.right_of_way.load(Ordering::Relaxed) == seen && core.clock.snapshot() < seen {
            std::thread::yield_now();
        }
    }
}
