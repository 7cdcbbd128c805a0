//! One worker of TATP.

use super::population::{START_HOURS, TYPES, digits, draw_forwarding, draw_subscriber};
use super::transactions::{Attempt, Parameters};
use super::{KIND_COUNT, Kind, RECORD_COUNT, RECORD_SUCCESSES, TALLY_COUNT, Tables, Tally, Tatp};
use crate::protocol::Protocol;
use crate::workload::common::Page;
use crate::workload::{End, Fingerprint, Purpose, Random, Seed, Worker};
use crate::{Attempts, Error, Store, Transaction, TransactionError};
use rand::RngExt;
use std::sync::Arc;

/// One worker of TATP.
pub struct TatpWorker<'run, P: Protocol> {
    tatp: &'run Tatp,
    store: &'run Store<P>,
    tables: &'run Tables<P>,
    keys: Random,
    operations: Random,
    values: Random,
    kind: Kind,
    parameters: Parameters,
    found: bool,
    missing: u64,
    tallies: [u64; TALLY_COUNT],
    page: Arc<Page<RECORD_COUNT>>,
}

impl<P: Protocol> std::fmt::Debug for TatpWorker<'_, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, parameters, tallies, .. } = self;
        let mut shown = f.debug_struct("TatpWorker");
        shown.field("kind", kind).field("parameters", parameters).field("tallies", tallies);
        shown.finish_non_exhaustive()
    }
}

impl<'run, P: Protocol> TatpWorker<'run, P> {
    pub(super) fn new(
        tatp: &'run Tatp,
        store: &'run Store<P>,
        tables: &'run Tables<P>,
        seed: Seed,
        index: usize,
    ) -> Self {
        let stream = |purpose| seed.stream(purpose, index as u64);
        let [mut keys, mut operations, mut values] =
            [Purpose::Keys, Purpose::Operations, Purpose::Values].map(stream);
        let parameters = draw(tatp, &mut keys, &mut operations, &mut values);
        TatpWorker {
            tatp,
            store,
            tables,
            keys,
            operations,
            values,
            kind: Kind::GetSubscriberData,
            parameters,
            found: false,
            missing: 0,
            tallies: [0; TALLY_COUNT],
            page: tables.records.page(),
        }
    }
}

/// Draws the parameters of all kinds, so that the mix does not change which rows are asked for.
#[inline]
fn draw(
    tatp: &Tatp,
    keys: &mut Random,
    operations: &mut Random,
    values: &mut Random,
) -> Parameters {
    let subscriber = draw_subscriber(keys, tatp.subscribers);
    let start = operations.random_range(0..START_HOURS.len() as u64);
    Parameters {
        subscriber,
        sub_nbr: digits(subscriber + 1),
        kind: operations.random_range(0..TYPES),
        start,
        hour: operations.random_range(1..=24),
        bit: values.random(),
        data_a: values.random(),
        location: values.random(),
        forwarding: draw_forwarding(start, values),
    }
}

/// One attempt of a transaction of this kind.
#[inline]
fn attempt<P: Protocol>(
    kind: Kind,
    tables: &Tables<P>,
    parameters: &Parameters,
    missing: &mut u64,
    transaction: &Transaction<'_, P>,
) -> Result<bool, TransactionError> {
    *missing = 0;
    let attempt = Attempt { tables, parameters, transaction, missing };
    match kind {
        Kind::GetSubscriberData => attempt.get_subscriber_data(),
        Kind::GetNewDestination => attempt.get_new_destination(),
        Kind::GetAccessData => attempt.get_access_data(),
        Kind::UpdateSubscriberData => attempt.update_subscriber_data(),
        Kind::UpdateLocation => attempt.update_location(),
        Kind::InsertCallForwarding => attempt.insert_call_forwarding(),
        Kind::DeleteCallForwarding => attempt.delete_call_forwarding(),
    }
}

impl<P: Protocol> Worker for TatpWorker<'_, P> {
    #[inline]
    fn prepare(&mut self) {
        let Self { tatp, keys, operations, values, .. } = self;
        self.kind = Kind::ALL[tatp.mix.choose(operations.random())];
        self.parameters = draw(tatp, keys, operations, values);
        (self.found, self.missing) = (false, 0);
    }

    #[inline]
    fn execute(&mut self, attempts: &mut Attempts) -> Result<End, Error> {
        let Self { store, tables, kind, parameters, missing, .. } = self;
        let reads = [Kind::GetSubscriberData, Kind::GetNewDestination, Kind::GetAccessData];
        let run = |transaction: &Transaction<'_, P>| {
            attempt(*kind, tables, parameters, missing, transaction)
        };
        let outcome = match reads.contains(kind) {
            true => store.view_observed(attempts, run),
            false => store.transact_observed(attempts, run),
        };
        self.tallies[Tally::Wasted as usize] += attempts.attempts.saturating_sub(1);
        self.found = outcome == Ok(true);
        End::of(outcome)
    }

    #[inline]
    fn settle(&mut self, end: End) {
        if end == End::GaveUp {
            return;
        }
        // Rolled back is complete, too: the row was not there.
        let tally = if self.found { Tally::Successful } else { Tally::Unsuccessful };
        self.tallies[tally as usize] += 1;
        self.page.add(self.kind as usize, 1);
        if self.found {
            self.page.add(RECORD_SUCCESSES + self.kind as usize, 1);
        }
        if end == End::Committed {
            self.tallies[Tally::Lost as usize] += self.missing;
        }
    }

    fn describe(&self, fingerprint: &mut Fingerprint) {
        let Parameters { subscriber, kind, start, hour, data_a, location, .. } = self.parameters;
        let numbers = [
            self.kind as u64,
            subscriber,
            kind,
            start,
            hour.into(),
            data_a.into(),
            location.into(),
        ];
        numbers.into_iter().for_each(|number| fingerprint.add_number(number));
        fingerprint.add(&self.parameters.forwarding.number);
    }

    #[inline]
    fn kind(&self) -> usize {
        self.kind as usize
    }

    #[inline]
    fn tallies(&self) -> &[u64] {
        &self.tallies
    }
}

const _: () = assert!(Kind::DeleteCallForwarding as usize + 1 == KIND_COUNT);
