//! The load phase of the core workload.

use super::config::Verb;
use super::request::{Operation, RecordKey, Request};
use super::worker::append_record;
use super::{RecordTable, Records, Tables, Ycsb};
use crate::protocol::Protocol;
use crate::workload::common::for_each_batch;
use crate::workload::{LoadWatch, Purpose, Seed};
use crate::{Store, TransactionError};

/// Inserts of one transaction.
const BATCH: u64 = 64;

/// Inserts all records, on all threads of the current rayon pool.
///
/// What a record holds depends on the seed and on its number alone, not on the thread that loads
/// it.
pub(super) fn load<P: Protocol>(
    ycsb: &Ycsb,
    store: &Store<P>,
    tables: &Tables<P>,
    seed: Seed,
    watch: &dyn LoadWatch,
) -> Result<(), TransactionError> {
    match &tables.records {
        Records::Text(table) => load_table(ycsb, store, table, seed, watch),
        Records::Integer(table) => load_table(ycsb, store, table, seed, watch),
    }
}

fn load_table<P: Protocol, K: RecordKey + ?Sized>(
    ycsb: &Ycsb,
    store: &Store<P>,
    table: &RecordTable<K, P>,
    seed: Seed,
    watch: &dyn LoadWatch,
) -> Result<(), TransactionError> {
    let space = ycsb.config.shape.space;
    for_each_batch((space.count, BATCH), watch, Request::default, |request, batch| {
        prepare(ycsb, request, space.first + batch.start..space.first + batch.end, seed);
        store.transact(|transaction| {
            for operation in &request.operations {
                let key = K::of(request, operation);
                transaction.insert(&table.points, key.input(), request.value(operation))?;
            }
            Ok(batch.end - batch.start)
        })
    })
}

fn prepare(ycsb: &Ycsb, request: &mut Request, records: std::ops::Range<u64>, seed: Seed) {
    let config = &ycsb.config;
    request.restart();
    for (index, number) in records.enumerate() {
        request.operations.push(Operation::new(Verb::Insert));
        request.set_key(index, number, &config.keys);
        let key = request.operations[index].key.clone();
        let start = request.values.len();
        let mut random = seed.stream(Purpose::Load, number);
        append_record(config, &request.keys[key], &mut random, &mut request.values);
        request.operations[index].value = start..request.values.len();
    }
}
