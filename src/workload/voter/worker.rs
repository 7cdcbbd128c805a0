//! One worker of the telephone vote.

use super::{TALLY_COUNT, Tables, Tally, Vote, Voter, area_code, phone_number};
use crate::protocol::Protocol;
use crate::workload::common::Page;
use crate::workload::{End, Fingerprint, Purpose, Random, Seed, Worker};
use crate::{Attempts, Error, Store, Transaction, TransactionError};
use rand::RngExt;
use std::sync::Arc;

/// One worker of the telephone vote.
pub struct VoterWorker<'run, P: Protocol> {
    voter: &'run Voter,
    store: &'run Store<P>,
    tables: &'run Tables<P>,
    keys: Random,
    operations: Random,
    phone: u64,
    contestant: u64,
    result: VoteResult,
    /// An area code was not there, or a vote that had not been made.
    amiss: bool,
    tallies: [u64; TALLY_COUNT],
    page: Arc<Page<1>>,
}

impl<P: Protocol> std::fmt::Debug for VoterWorker<'_, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { phone, contestant, tallies, .. } = self;
        let mut shown = f.debug_struct("VoterWorker");
        shown.field("phone", phone).field("contestant", contestant).field("tallies", tallies);
        shown.finish_non_exhaustive()
    }
}

/// What becomes of a vote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum VoteResult {
    Accepted = Tally::Accepted as isize,
    NoContestant = Tally::NoContestant as isize,
    OverLimit = Tally::OverLimit as isize,
}

impl<'run, P: Protocol> VoterWorker<'run, P> {
    pub(super) fn new(
        voter: &'run Voter,
        store: &'run Store<P>,
        tables: &'run Tables<P>,
        seed: Seed,
        index: usize,
    ) -> Self {
        VoterWorker {
            voter,
            store,
            tables,
            keys: seed.stream(Purpose::Keys, index as u64),
            operations: seed.stream(Purpose::Operations, index as u64),
            phone: 0,
            contestant: 0,
            result: VoteResult::NoContestant,
            amiss: false,
            tallies: [0; TALLY_COUNT],
            page: tables.accepted.page(),
        }
    }

    /// One attempt to vote.
    fn vote(
        &self,
        transaction: &Transaction<'_, P>,
    ) -> Result<(VoteResult, bool), TransactionError> {
        let Self { tables, phone, contestant, .. } = self;
        if transaction.get(&tables.contestants, contestant)?.is_none() {
            return Ok((VoteResult::NoContestant, false));
        }
        let before = transaction.get(&tables.phones, phone)?.copied().unwrap_or(0);
        if before >= self.voter.vote_limit {
            return Ok((VoteResult::OverLimit, false));
        }
        let state = transaction.get(&tables.area_codes, &area_code(*phone))?.copied();
        let vote = Vote { contestant: *contestant as u32, state: state.unwrap_or(u8::MAX) };
        let is_new = transaction.insert(&tables.votes, (*phone, before), vote)?;
        if before == 0 {
            transaction.put(&tables.phones, *phone, 1)?;
        } else {
            transaction.update(&tables.phones, phone, |votes| votes.wrapping_add(1))?;
        }
        transaction.update(&tables.contestants, contestant, |votes| votes.wrapping_add(1))?;
        Ok((VoteResult::Accepted, state.is_none() || !is_new))
    }
}

impl<P: Protocol> Worker for VoterWorker<'_, P> {
    #[inline]
    fn prepare(&mut self) {
        let Voter { contestants, phones, invalid_share, .. } = *self.voter;
        self.phone = phone_number(self.keys.random_range(0..phones));
        self.contestant = self.operations.random_range(0..contestants);
        if self.operations.random::<f64>() < invalid_share {
            // One after the last.
            self.contestant = contestants;
        }
        (self.result, self.amiss) = (VoteResult::NoContestant, false);
    }

    #[inline]
    fn execute(&mut self, attempts: &mut Attempts) -> Result<End, Error> {
        let outcome = self.store.transact_observed(attempts, |transaction| self.vote(transaction));
        self.tallies[Tally::Wasted as usize] += attempts.attempts.saturating_sub(1);
        if let Ok((result, amiss)) = outcome {
            (self.result, self.amiss) = (result, amiss);
        }
        End::of(outcome)
    }

    #[inline]
    fn settle(&mut self, end: End) {
        if end != End::Committed {
            return;
        }
        self.tallies[self.result as usize] += 1;
        self.tallies[Tally::Lost as usize] += u64::from(self.amiss);
        if self.result == VoteResult::Accepted {
            self.page.add(0, 1);
        }
    }

    fn describe(&self, fingerprint: &mut Fingerprint) {
        fingerprint.add_number(self.phone);
        fingerprint.add_number(self.contestant);
    }

    #[inline]
    fn kind(&self) -> usize {
        0
    }

    #[inline]
    fn tallies(&self) -> &[u64] {
        &self.tallies
    }
}
