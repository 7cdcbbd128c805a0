//! One worker of SIBench.

use super::{Kind, SiBench, TALLY_COUNT, Tables, Tally};
use crate::protocol::Protocol;
use crate::workload::common::{Page, read_all};
use crate::workload::{End, Fingerprint, Purpose, Random, Seed, Worker};
use crate::{Attempts, Error, Store, Transaction, TransactionError};
use rand::RngExt;
use std::hint::black_box;
use std::sync::Arc;

/// One worker of SIBench.
pub struct SiBenchWorker<'run, P: Protocol> {
    bench: &'run SiBench,
    store: &'run Store<P>,
    tables: &'run Tables<P>,
    keys: Random,
    operations: Random,
    kind: Kind,
    record: u64,
    seen: Seen,
    /// The highest value of each record that a committed transaction of this worker has seen.
    known: Vec<u64>,
    tallies: [u64; TALLY_COUNT],
    page: Arc<Page<1>>,
}

impl<P: Protocol> std::fmt::Debug for SiBenchWorker<'_, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, record, tallies, .. } = self;
        let mut shown = f.debug_struct("SiBenchWorker");
        shown.field("kind", kind).field("record", record).field("tallies", tallies);
        shown.finish_non_exhaustive()
    }
}

/// What an attempt leaves behind; every attempt starts it afresh.
#[derive(Debug, Default)]
struct Seen {
    /// The values of all records, or the one that an update left.
    values: Vec<u64>,
    missing: u64,
}

impl<'run, P: Protocol> SiBenchWorker<'run, P> {
    pub(super) fn new(
        bench: &'run SiBench,
        store: &'run Store<P>,
        tables: &'run Tables<P>,
        seed: Seed,
        index: usize,
    ) -> Self {
        SiBenchWorker {
            bench,
            store,
            tables,
            keys: seed.stream(Purpose::Keys, index as u64),
            operations: seed.stream(Purpose::Operations, index as u64),
            kind: Kind::Minimum,
            record: 0,
            seen: Seen::default(),
            known: vec![0; bench.records as usize],
            tallies: [0; TALLY_COUNT],
            page: tables.updates.page(),
        }
    }

    /// Compares what was seen with what this worker has seen before: values only grow, and a
    /// protocol that respects real time never shows an older snapshot than the one before.
    fn check(&mut self) {
        let first = match self.kind {
            Kind::Minimum => 0,
            Kind::Update => self.record as usize,
        };
        for (known, value) in self.known[first..].iter_mut().zip(&self.seen.values) {
            self.tallies[Tally::WentBack as usize] += u64::from(P::STRICT && value < known);
            *known = *value;
        }
    }
}

impl<P: Protocol> Worker for SiBenchWorker<'_, P> {
    #[inline]
    fn prepare(&mut self) {
        let kinds = [Kind::Minimum, Kind::Update];
        self.kind = kinds[self.bench.mix.choose(self.operations.random())];
        self.record = self.keys.random_range(0..self.bench.records);
        self.seen.values.clear();
        self.seen.missing = 0;
    }

    #[inline]
    fn execute(&mut self, attempts: &mut Attempts) -> Result<End, Error> {
        let Self { bench, store, tables, kind, record, seen, .. } = self;
        let outcome = match kind {
            Kind::Minimum => {
                store.view_observed(attempts, |tx| minimum(tables, bench.records, seen, tx))
            }
            Kind::Update => {
                store.transact_observed(attempts, |tx| add_one(tables, *record, seen, tx))
            }
        };
        self.tallies[Tally::Wasted as usize] += attempts.attempts.saturating_sub(1);
        End::of(outcome)
    }

    #[inline]
    fn settle(&mut self, end: End) {
        if end != End::Committed {
            return;
        }
        self.tallies[self.kind as usize] += 1;
        self.tallies[Tally::Lost as usize] += self.seen.missing;
        if self.kind == Kind::Update {
            self.page.add(0, 1);
        }
        self.check();
    }

    fn describe(&self, fingerprint: &mut Fingerprint) {
        fingerprint.add_number(self.kind as u64);
        fingerprint.add_number(self.record);
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

/// Finds the record with the smallest value.
fn minimum<P: Protocol>(
    tables: &Tables<P>,
    records: u64,
    seen: &mut Seen,
    transaction: &Transaction<'_, P>,
) -> Result<(), TransactionError> {
    seen.values.clear();
    seen.missing = 0;
    let mut smallest = None;
    read_all(transaction, &tables.values, 0..records, |record, value| {
        seen.missing += u64::from(value.is_none());
        let value = value.copied().unwrap_or(0);
        seen.values.push(value);
        let candidate = (value, record);
        smallest = Some(smallest.map_or(candidate, |least: (u64, u64)| least.min(candidate)));
    })?;
    black_box(smallest);
    Ok(())
}

/// Adds 1 to a record.
fn add_one<P: Protocol>(
    tables: &Tables<P>,
    record: u64,
    seen: &mut Seen,
    transaction: &Transaction<'_, P>,
) -> Result<(), TransactionError> {
    seen.values.clear();
    seen.missing = 0;
    let updated = transaction.update(&tables.values, &record, |value| {
        let value = value.wrapping_add(1);
        seen.values.push(value);
        value
    })?;
    seen.missing += u64::from(!updated);
    Ok(())
}
