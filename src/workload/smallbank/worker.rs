//! One worker of SmallBank.

use super::procedures::{Outcome, Procedure, write_name};
use super::{Kind, SmallBank, TALLY_COUNT, Tables, Tally};
use crate::protocol::Protocol;
use crate::workload::common::{Page, draw_two};
use crate::workload::generator::Keys;
use crate::workload::{End, Fingerprint, Purpose, Random, Seed, Worker};
use crate::{Attempts, Error, Store};
use rand::RngExt;
use std::hint::black_box;
use std::sync::Arc;

/// One worker of SmallBank.
pub struct SmallBankWorker<'run, P: Protocol> {
    bank: &'run SmallBank,
    store: &'run Store<P>,
    tables: &'run Tables<P>,
    keys: Keys,
    operations: Random,
    kind: Kind,
    names: [String; 2],
    outcome: Outcome,
    tallies: [u64; TALLY_COUNT],
    page: Arc<Page<1>>,
}

impl<P: Protocol> std::fmt::Debug for SmallBankWorker<'_, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, names, tallies, .. } = self;
        let mut shown = f.debug_struct("SmallBankWorker");
        shown.field("kind", kind).field("names", names).field("tallies", tallies);
        shown.finish_non_exhaustive()
    }
}

impl<'run, P: Protocol> SmallBankWorker<'run, P> {
    pub(super) fn new(
        bank: &'run SmallBank,
        store: &'run Store<P>,
        tables: &'run Tables<P>,
        seed: Seed,
        index: usize,
        workers: usize,
    ) -> Self {
        SmallBankWorker {
            bank,
            store,
            tables,
            keys: Keys::new(&bank.customers, seed, index as u64, workers as u64),
            operations: seed.stream(Purpose::Operations, index as u64),
            kind: Kind::Balance,
            names: [String::new(), String::new()],
            outcome: Outcome::default(),
            tallies: [0; TALLY_COUNT],
            page: tables.ledger.page(),
        }
    }

    fn note(&mut self, tally: Tally, count: u64) {
        self.tallies[tally as usize] += count;
    }
}

impl<P: Protocol> Worker for SmallBankWorker<'_, P> {
    #[inline]
    fn prepare(&mut self) {
        let bank = self.bank;
        self.kind = Kind::ALL[bank.mix.choose(self.operations.random())];
        let (mut first, second) = draw_two(&mut self.keys, bank.customers.space.count);
        if self.operations.random::<f64>() < bank.unknown_share {
            // Beyond the last customer.
            first += bank.customers.space.count;
        }
        for (name, customer) in self.names.iter_mut().zip([first, second]) {
            write_name(customer, name);
        }
        self.outcome = Outcome::default();
    }

    #[inline]
    fn execute(&mut self, attempts: &mut Attempts) -> Result<End, Error> {
        let Self { bank, store, tables, kind, names, outcome, .. } = self;
        let [first, second] = [names[0].as_str(), names[1].as_str()];
        let (tables, amounts) = (*tables, &bank.amounts);
        let done = match kind {
            Kind::Balance => store.view_observed(attempts, |transaction| {
                *outcome = Outcome::default();
                let outcome = &mut *outcome;
                Procedure { tables, amounts, transaction, outcome }.balance(first)
            }),
            kind => store.transact_observed(attempts, |transaction| {
                *outcome = Outcome::default();
                let outcome = &mut *outcome;
                let procedure = Procedure { tables, amounts, transaction, outcome };
                match kind {
                    Kind::Amalgamate => procedure.amalgamate(first, second),
                    Kind::Balance => procedure.balance(first),
                    Kind::DepositChecking => procedure.deposit_checking(first),
                    Kind::SendPayment => procedure.send_payment(first, second),
                    Kind::TransactSavings => procedure.transact_savings(first),
                    Kind::WriteCheck => procedure.write_check(first),
                }
            }),
        };
        self.note(Tally::Wasted, attempts.attempts.saturating_sub(1));
        End::of(done)
    }

    #[inline]
    fn settle(&mut self, end: End) {
        let outcome = self.outcome;
        match end {
            End::GaveUp => {}
            End::RolledBack => {
                self.note(Tally::UnknownNames, outcome.unknown_name.into());
                self.note(Tally::Refused, outcome.refused.into());
            }
            End::Committed => {
                self.tallies[self.kind as usize] += 1;
                self.note(Tally::Overdrafts, outcome.overdrafts);
                self.note(Tally::Lost, outcome.missing);
                if outcome.from_outside != 0 {
                    self.page.add(0, outcome.from_outside.cast_unsigned());
                }
            }
        }
        black_box(outcome.balance);
    }

    fn describe(&self, fingerprint: &mut Fingerprint) {
        fingerprint.add_number(self.kind as u64);
        self.names.iter().for_each(|name| fingerprint.add(name.as_bytes()));
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
