//! One worker of the core workload: it draws requests and runs them.

use super::config::{Config, Verb};
use super::record::deterministic_value;
use super::request::{Operation, RecordKey, Request};
use super::{KIND_LONG, KIND_MIXED, RecordTable, Records, TALLY_COUNT, Tables, Tally, Ycsb};
use crate::protocol::Protocol;
use crate::sync::Ordering;
use crate::workload::generator::Keys;
use crate::workload::{End, Fingerprint, Purpose, Random, Seed, Worker};
use crate::{Attempts, Error, Store, Transaction, TransactionError};
use rand::{Rng, RngExt};
use std::hint::black_box;
use std::ops::Range;

/// Keys of one call to `get_many`.
const BATCH: usize = 16;

/// One worker of the core workload.
pub struct YcsbWorker<'run, P: Protocol> {
    config: &'run Config,
    store: &'run Store<P>,
    tables: &'run Tables<P>,
    keys: Keys,
    operations: Random,
    values: Random,
    pub(super) request: Request,
    pub(super) scratch: Scratch,
    tallies: [u64; TALLY_COUNT],
}

impl<P: Protocol> std::fmt::Debug for YcsbWorker<'_, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { keys, request, tallies, .. } = self;
        let mut shown = f.debug_struct("YcsbWorker");
        shown.field("keys", keys).field("request", request).field("tallies", tallies);
        shown.finish_non_exhaustive()
    }
}

/// What an attempt leaves behind; every attempt starts it afresh.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Operations begun by all attempts of the request together.
    begun: u64,
    /// The bytes that reads copied out.
    pub(super) copied: Vec<u8>,
    /// Which parts of that are what, where reads are verified.
    copies: Vec<Copied>,
    /// The record that a write assembles.
    record: Vec<u8>,
    pub(super) absent: u64,
    duplicates: u64,
    malformed: u64,
    /// Records that scans read, and how many of their keys were not where they must be.
    pub(super) scanned: u64,
    pub(super) disorder: u64,
}

/// A key and what was copied of its record, both parts of [`Scratch::copied`].
#[derive(Debug)]
struct Copied {
    /// Which operation wanted it.
    operation: usize,
    key: Range<usize>,
    record: Range<usize>,
}

impl Scratch {
    fn restart(&mut self) {
        self.copied.clear();
        self.copies.clear();
        (self.absent, self.duplicates, self.malformed) = (0, 0, 0);
        (self.scanned, self.disorder) = (0, 0);
    }
}

impl<'run, P: Protocol> YcsbWorker<'run, P> {
    pub(super) fn new(
        ycsb: &'run Ycsb,
        store: &'run Store<P>,
        tables: &'run Tables<P>,
        seed: Seed,
        index: usize,
        workers: usize,
    ) -> Self {
        let config = &ycsb.config;
        YcsbWorker {
            config,
            store,
            tables,
            keys: Keys::new(&config.shape, seed, index as u64, workers as u64),
            operations: seed.stream(Purpose::Operations, index as u64),
            values: seed.stream(Purpose::Values, index as u64),
            request: Request::default(),
            scratch: Scratch::default(),
            tallies: [0; TALLY_COUNT],
        }
    }

    /// Draws the verbs and takes the numbers of the inserts among them.
    #[inline]
    fn prepare_verbs(&mut self) {
        let sizes = self.config.sizes;
        // Without long transactions nothing is drawn, so that the requests are those of YCSB.
        self.request.long =
            sizes.long_share > 0.0 && self.operations.random::<f64>() < sizes.long_share;
        let count = if self.request.long { sizes.long } else { sizes.usual };
        let mut inserts = 0;
        for _ in 0..count {
            let verb = self.config.mix.choose(self.operations.random());
            inserts += u64::from(verb == Verb::Insert);
            self.request.operations.push(Operation::new(verb));
        }
        if inserts > 0 {
            let counter = self.tables.inserted.as_ref();
            self.request.first_insert =
                counter.expect("a mix with inserts has a counter").take(inserts);
        }
        self.request.inserts = inserts;
    }

    /// Gives an operation its key and the bytes that it writes.
    #[inline]
    fn prepare_operation(&mut self, index: usize, number: u64) {
        let config = self.config;
        let request = &mut self.request;
        let verb = request.operations[index].verb;
        request.set_key(index, number, &config.keys);
        if verb == Verb::Scan {
            let length = config.scans.draw(&mut self.operations);
            request.operations[index].length =
                u32::try_from(length).expect("the configuration bounds the length of a scan");
        }
        if verb.only_reads() && config.read_all || verb == Verb::Delete {
            return;
        }
        let field = self.operations.random_range(0..config.layout.fields());
        request.operations[index].field = field;
        match verb {
            Verb::Read | Verb::Scan | Verb::Delete => {}
            Verb::Insert => prepare_record(config, request, index, &mut self.values),
            Verb::Update | Verb::ReadModifyWrite if config.write_all => {
                prepare_record(config, request, index, &mut self.values);
            }
            Verb::Update | Verb::ReadModifyWrite => {
                prepare_field(config, request, index, &mut self.values);
            }
        }
    }

    /// Compares what reads and scans copied with what YCSB's dataintegrity says they must be.
    fn verify(&mut self) {
        let config = self.config;
        let mut expected = Vec::new();
        let Scratch { copied, copies, .. } = &self.scratch;
        for Copied { operation, key, record } in copies {
            let operation = &self.request.operations[*operation];
            let key = &copied[key.clone()];
            expected.clear();
            let fields = match config.read_all {
                true => 0..config.layout.fields(),
                false => operation.field..operation.field + 1,
            };
            for field in fields {
                append_deterministic(config, key, field, &mut expected);
            }
            self.tallies[Tally::Verified as usize] += 1;
            if copied[record.clone()] != expected {
                self.tallies[Tally::Wrong as usize] += 1;
            }
        }
    }

    /// A key that must exist was not there: the store lost it, unless an insert was given up.
    #[cold]
    fn note_absent(&mut self) {
        // Relaxed: a hint that is set before the run is over; a violation is reported at its end.
        let excused = self.tables.insert_gave_up.load(Ordering::Relaxed);
        let lost = self.config.keys_all_present && !excused;
        let tally = if lost { Tally::Lost } else { Tally::Absent };
        self.tallies[tally as usize] += self.scratch.absent;
    }
}

impl<P: Protocol> Worker for YcsbWorker<'_, P> {
    #[inline]
    fn prepare(&mut self) {
        self.request.restart();
        self.prepare_verbs();
        let limit = match &self.tables.inserted {
            Some(counter) => counter.limit(),
            None => self.config.shape.space.records,
        };
        let mut next_insert = self.request.first_insert;
        for index in 0..self.request.operations.len() {
            let number = if self.request.operations[index].verb == Verb::Insert {
                next_insert += 1;
                next_insert - 1
            } else {
                self.keys.draw(limit)
            };
            self.prepare_operation(index, number);
        }
        self.request.classify();
    }

    #[inline]
    fn execute(&mut self, attempts: &mut Attempts) -> Result<End, Error> {
        let Self { config, store, request, scratch, .. } = self;
        scratch.begun = 0;
        match &self.tables.records {
            Records::Text(table) => {
                Run { config, table, request, scratch }.execute(store, attempts)
            }
            Records::Integer(table) => {
                Run { config, table, request, scratch }.execute(store, attempts)
            }
        }
    }

    #[inline]
    fn settle(&mut self, end: End) {
        if self.request.inserts > 0 {
            if end != End::Committed {
                // Relaxed: see `note_absent`.
                self.tables.insert_gave_up.store(true, Ordering::Relaxed);
            }
            let counter = self.tables.inserted.as_ref().expect("a mix with inserts has a counter");
            let first = self.request.first_insert;
            (first..first + self.request.inserts).for_each(|number| counter.acknowledge(number));
        }
        if end != End::Committed {
            self.tallies[Tally::Wasted as usize] += self.scratch.begun;
            return;
        }
        let wasted = self.scratch.begun.saturating_sub(self.request.operations.len() as u64);
        self.tallies[Tally::Wasted as usize] += wasted;
        for operation in &self.request.operations {
            self.tallies[operation.verb as usize] += 1;
        }
        if self.scratch.absent > 0 {
            self.note_absent();
        }
        self.tallies[Tally::Duplicate as usize] += self.scratch.duplicates;
        self.tallies[Tally::Wrong as usize] += self.scratch.malformed;
        self.tallies[Tally::Scanned as usize] += self.scratch.scanned;
        self.tallies[Tally::Disorder as usize] += self.scratch.disorder;
        if self.config.integrity {
            self.verify();
        }
        black_box(&self.scratch.copied);
    }

    fn describe(&self, fingerprint: &mut Fingerprint) {
        let request = &self.request;
        for operation in &request.operations {
            fingerprint.add_number(operation.verb as u64);
            fingerprint.add_number(operation.number);
            fingerprint.add_number(operation.field as u64);
            fingerprint.add_number(operation.length.into());
            fingerprint.add(request.value(operation));
        }
    }

    #[inline]
    fn kind(&self) -> usize {
        if self.request.long {
            return KIND_LONG;
        }
        self.request.uniform_verb.map_or(KIND_MIXED, |verb| verb as usize)
    }

    #[inline]
    fn tallies(&self) -> &[u64] {
        &self.tallies
    }
}

/// One request on one table.
pub(super) struct Run<'a, P: Protocol, K: RecordKey + ?Sized> {
    config: &'a Config,
    pub(super) table: &'a RecordTable<K, P>,
    pub(super) request: &'a Request,
    pub(super) scratch: &'a mut Scratch,
}

impl<P: Protocol, K: RecordKey + ?Sized> Run<'_, P, K> {
    #[inline]
    fn execute(mut self, store: &Store<P>, attempts: &mut Attempts) -> Result<End, Error> {
        let as_view = self.config.read_only_view && self.request.only_reads;
        End::of(if as_view {
            store.view_observed(attempts, |transaction| self.attempt(transaction))
        } else {
            store.transact_observed(attempts, |transaction| self.attempt(transaction))
        })
    }

    #[inline]
    fn attempt(&mut self, transaction: &Transaction<'_, P>) -> Result<(), TransactionError> {
        self.scratch.restart();
        let operations = self.request.operations.as_slice();
        let mut index = 0;
        while index < operations.len() {
            let reads = operations[index..].iter().take(BATCH);
            let reads = reads.take_while(|operation| operation.verb == Verb::Read).count();
            self.scratch.begun += reads.max(1) as u64;
            if reads > 1 {
                self.read_many(transaction, index, reads)?;
                index += reads;
            } else {
                self.operate(transaction, index)?;
                index += 1;
            }
        }
        Ok(())
    }

    #[inline]
    fn operate(
        &mut self,
        transaction: &Transaction<'_, P>,
        index: usize,
    ) -> Result<(), TransactionError> {
        let operation = &self.request.operations[index];
        let (key, points) = (K::of(self.request, operation), &self.table.points);
        match operation.verb {
            Verb::Read => {
                let found = transaction.get(points, key)?;
                self.copy_out(index, key, found);
            }
            Verb::Scan => self.scan(transaction, index)?,
            Verb::Update if self.config.updates_blindly() => {
                transaction.put(points, key.input(), self.request.value(operation))?;
            }
            Verb::Update | Verb::ReadModifyWrite => {
                let updated = self.update(transaction, index)?;
                self.scratch.absent += u64::from(!updated);
            }
            Verb::Insert => {
                let value = self.request.value(operation);
                let inserted = transaction.insert(points, key.input(), value)?;
                self.scratch.duplicates += u64::from(!inserted);
            }
            Verb::Delete => {
                let removed = transaction.remove(points, key)?;
                self.scratch.absent += u64::from(!removed);
            }
        }
        Ok(())
    }

    /// Writes the record back with its new field, or whole; false if it does not exist.
    #[inline]
    fn update(
        &mut self,
        transaction: &Transaction<'_, P>,
        index: usize,
    ) -> Result<bool, TransactionError> {
        let operation = &self.request.operations[index];
        let (key, value) = (K::of(self.request, operation), self.request.value(operation));
        let mut assembled = std::mem::take(&mut self.scratch.record);
        let points = &self.table.points;
        let outcome = transaction.update_bytes(points, key, &mut assembled, |record, out| {
            if operation.verb == Verb::ReadModifyWrite {
                self.copy_out(index, key, Some(record));
            }
            if self.config.write_all {
                out.extend_from_slice(value);
            } else if !self.config.layout.replace(record, operation.field, value, out) {
                self.scratch.malformed += 1;
                out.extend_from_slice(record);
            }
        });
        self.scratch.record = assembled;
        outcome
    }

    /// Several reads in a row go to the store as one batch.
    #[inline]
    fn read_many(
        &mut self,
        transaction: &Transaction<'_, P>,
        first: usize,
        count: usize,
    ) -> Result<(), TransactionError> {
        let operations = &self.request.operations[first..first + count];
        let mut keys = [K::of(self.request, &operations[0]); BATCH];
        for (key, operation) in keys.iter_mut().zip(operations) {
            *key = K::of(self.request, operation);
        }
        let mut found: [Option<&[u8]>; BATCH] = [None; BATCH];
        transaction.get_many(&self.table.points, &keys[..count], &mut found[..count])?;
        for (offset, record) in found[..count].iter().enumerate() {
            self.copy_out(first + offset, keys[offset], *record);
        }
        Ok(())
    }

    /// Copies what a read asks for into the worker's own memory, as a client would get it.
    #[inline]
    pub(super) fn copy_out(&mut self, index: usize, key: &K, found: Option<&[u8]>) {
        let Some(record) = found else {
            self.scratch.absent += 1;
            return;
        };
        let operation = &self.request.operations[index];
        let copied = &mut self.scratch.copied;
        let start = copied.len();
        if self.config.integrity {
            key.append_to(copied);
        }
        let before = copied.len();
        let layout = &self.config.layout;
        if !self.config.read_all {
            match layout.find(record, operation.field) {
                Some(place) => copied.extend_from_slice(&record[place]),
                None => self.scratch.malformed += 1,
            }
        } else if self.config.read_by_name {
            for field in 0..layout.fields() {
                match layout.find(record, field) {
                    Some(place) => copied.extend_from_slice(&record[place]),
                    None => self.scratch.malformed += 1,
                }
            }
        } else {
            copied.extend_from_slice(record);
        }
        if self.config.integrity {
            let (key, record) = (start..before, before..copied.len());
            self.scratch.copies.push(Copied { operation: index, key, record });
        }
    }
}

fn prepare_record(config: &Config, request: &mut Request, index: usize, values: &mut Random) {
    let key = request.operations[index].key.clone();
    let Request { keys, values: out, operations, .. } = request;
    let start = out.len();
    append_record(config, &keys[key], values, out);
    operations[index].value = start..out.len();
}

fn prepare_field(config: &Config, request: &mut Request, index: usize, values: &mut Random) {
    let Request { keys, values: out, operations, .. } = request;
    let operation = &mut operations[index];
    let start = out.len();
    if config.integrity {
        append_deterministic(config, &keys[operation.key.clone()], operation.field, out);
    } else {
        append_random(config, values, out);
    }
    operation.value = start..out.len();
}

/// Appends a whole record.
pub(super) fn append_record(config: &Config, key: &[u8], values: &mut Random, out: &mut Vec<u8>) {
    config.layout.build(out, |field, out| {
        if config.integrity {
            append_deterministic(config, key, field, out);
        } else {
            append_random(config, values, out);
        }
    });
}

#[inline]
fn append_random(config: &Config, values: &mut Random, out: &mut Vec<u8>) {
    let start = out.len();
    let length = config.lengths.draw(values) as usize;
    out.resize(start + length, 0);
    values.fill_bytes(&mut out[start..]);
}

fn append_deterministic(config: &Config, key: &[u8], field: usize, out: &mut Vec<u8>) {
    let name = format!("{}{field}", config.field_prefix);
    deterministic_value(key, &name, config.lengths.max() as usize, out);
}
