//! YCSB's core workload (Cooper et al., "Benchmarking Cloud Serving Systems with YCSB", SoCC 2010),
//! configured by its own property files.
//!
//! Beyond YCSB: several operations in one transaction, deletes, a true zipf, integer keys. What
//! differs: a record is one byte string that holds all fields, so an update of one field reads the
//! record and writes it back, in one transaction.
//!
//! Where the mix has scans the records lie in an ordered table, and in a hash table otherwise.

mod config;
mod load;
mod presets;
mod record;
mod request;
mod rows;
mod scan;
#[cfg(all(test, not(loom)))]
mod tests;
mod worker;

pub use worker::YcsbWorker;

use crate::protocol::Protocol;
use crate::sync::AtomicBool;
use crate::workload::common::tally;
use crate::workload::generator::{AcknowledgedCounter, Distribution, HotSet, Keys, Lengths};
use crate::workload::{
    Footprint, KeyStream, LoadWatch, Preset, Properties, PropertyError, PropertyRow, Seed,
    TallyRole, TallyRow, Workload,
};
use crate::{Error, OrderedTable, Store, Table, TransactionError};
use config::{Config, Sizes, Verb};
use request::RecordKey;

/// The core workload.
#[derive(Debug)]
pub struct Ycsb {
    config: Config,
}

/// The tables of the core workload in one store.
#[derive(Debug)]
pub struct Tables<P: Protocol> {
    records: Records<P>,
    /// Numbers for inserts, where the mix has any.
    inserted: Option<AcknowledgedCounter>,
    /// Whether some insert was given up, so that its key may be asked for and not be there.
    insert_gave_up: AtomicBool,
}

#[derive(Debug)]
enum Records<P: Protocol> {
    Text(RecordTable<[u8], P>),
    Integer(RecordTable<u64, P>),
}

/// The records under keys of one type.
#[derive(Debug)]
struct RecordTable<K: ?Sized, P: Protocol> {
    points: Table<K, [u8], P>,
    /// The same table with its order, where the mix has scans.
    ordered: Option<OrderedTable<K, [u8], P>>,
}

impl<K: RecordKey + ?Sized, P: Protocol> RecordTable<K, P> {
    fn open(store: &Store<P>, config: &Config) -> Result<Self, Error> {
        let name = &config.table;
        // Whoever comes first decides whether the table has an order.
        let ordered = config.has_scans().then(|| store.ordered_table(name)).transpose()?;
        Ok(RecordTable { points: store.table(name)?, ordered })
    }
}

/// The kinds of transaction: those of one verb have its name, in the order of the verbs.
const KINDS: &[&str] =
    &["READ", "UPDATE", "INSERT", "SCAN", "READ-MODIFY-WRITE", "DELETE", "MIXED", "LONG"];
const KIND_MIXED: usize = Verb::COUNT;
/// Long transactions, where some are, whatever their verbs.
const KIND_LONG: usize = KIND_MIXED + 1;

/// What the workers count beyond the operations of each verb.
#[derive(Debug, Clone, Copy)]
enum Tally {
    Wasted = Verb::COUNT as isize,
    Absent,
    Duplicate,
    Scanned,
    Verified,
    Lost,
    Wrong,
    Disorder,
}

const TALLY_COUNT: usize = Tally::Disorder as usize + 1;

const TALLIES: [TallyRow; TALLY_COUNT] = [
    tally("reads", TallyRole::Operation),
    tally("updates", TallyRole::Operation),
    tally("inserts", TallyRole::Operation),
    tally("scans", TallyRole::Operation),
    tally("read-modify-writes", TallyRole::Operation),
    tally("deletes", TallyRole::Operation),
    tally("operations of failed attempts", TallyRole::Wasted),
    tally("operations on absent keys", TallyRole::Fact),
    tally("inserts of present keys", TallyRole::Fact),
    tally("records that scans read", TallyRole::Fact),
    tally("verified reads", TallyRole::Fact),
    tally("lost keys", TallyRole::Violation),
    tally("wrong records", TallyRole::Violation),
    tally("scanned keys out of order", TallyRole::Violation),
];

impl Workload for Ycsb {
    type Tables<P: Protocol> = Tables<P>;
    type Worker<'run, P: Protocol> = YcsbWorker<'run, P>;

    const CLASSES: &'static [&'static str] =
        &["site.ycsb.workloads.CoreWorkload", "com.yahoo.ycsb.workloads.CoreWorkload", "core"];
    const PRESETS: &'static [Preset] = presets::PRESETS;
    const PROPERTIES: &'static [PropertyRow] = rows::ROWS;
    const KINDS: &'static [&'static str] = KINDS;
    const TALLIES: &'static [TallyRow] = &TALLIES;

    fn configure(properties: &Properties) -> Result<Self, PropertyError> {
        Ok(Ycsb { config: Config::read(properties)? })
    }

    fn operations_per_transaction(&self) -> f64 {
        self.config.sizes.mean()
    }

    fn basis(&self) -> Vec<(&'static str, String)> {
        let mut basis = vec![
            ("mix", self.describe_mix()),
            ("requests", self.describe_requests()),
            ("keys", self.describe_keys()),
            ("values", self.describe_values()),
            ("operations", self.describe_operations()),
        ];
        if self.config.has_scans() {
            basis.push(("scans", self.describe_scans()));
        }
        basis
    }

    fn footprint(&self) -> Footprint {
        let Config { layout, lengths, keys, shape, inserts_expected, .. } = &self.config;
        let key_bytes = match keys.integer {
            true => size_of::<u64>(),
            // A hashed number has 19 digits, nearly always.
            false => keys.prefix.len() + keys.zero_padding.max(19),
        };
        let record_bytes = layout.record_len(0) as f64 + lengths.mean() * layout.fields() as f64;
        Footprint {
            records: shape.space.count,
            records_added: *inserts_expected,
            record_bytes: record_bytes.ceil() as u64 + key_bytes as u64,
        }
    }

    fn open<P: Protocol>(&self, store: &Store<P>) -> Result<Tables<P>, Error> {
        let records = match self.config.keys.integer {
            true => Records::Integer(RecordTable::open(store, &self.config)?),
            false => Records::Text(RecordTable::open(store, &self.config)?),
        };
        let has_inserts = self.config.mix.share(Verb::Insert) > 0.0;
        let start = self.config.shape.space.records;
        Ok(Tables {
            records,
            inserted: has_inserts.then(|| AcknowledgedCounter::new(start)),
            insert_gave_up: AtomicBool::new(false),
        })
    }

    fn load<P: Protocol>(
        &self,
        store: &Store<P>,
        tables: &Tables<P>,
        seed: Seed,
        watch: &dyn LoadWatch,
    ) -> Result<(), TransactionError> {
        load::load(self, store, tables, seed, watch)
    }

    fn worker<'run, P: Protocol>(
        &'run self,
        store: &'run Store<P>,
        tables: &'run Tables<P>,
        seed: Seed,
        index: usize,
        workers: usize,
    ) -> YcsbWorker<'run, P> {
        YcsbWorker::new(self, store, tables, seed, index, workers)
    }

    fn key_stream(&self, seed: Seed, index: usize, workers: usize) -> Option<(KeyStream<'_>, u64)> {
        let shape = &self.config.shape;
        if matches!(shape.distribution, Distribution::Hotspot { draws_per_move: 1.., .. }) {
            return None;
        }
        let mut keys = Keys::new(shape, seed, index as u64, workers as u64);
        let limit = shape.space.records;
        Some((Box::new(move || keys.draw(limit)), shape.space.count))
    }
}

impl Ycsb {
    fn describe_mix(&self) -> String {
        let shares = Verb::ALL.iter().zip(TALLIES);
        let shares = shares.filter(|(verb, _)| self.config.mix.share(**verb) > 0.0);
        let shares: Vec<String> = shares
            .map(|(verb, row)| format!("{} {} %", row.name, percent(self.config.mix.share(*verb))))
            .collect();
        format!("{}; {}", shares.join(", "), self.describe_count())
    }

    fn describe_count(&self) -> String {
        let Sizes { usual, long_share, long } = self.config.sizes;
        let usual = match usual {
            1 => "1 operation a transaction".to_owned(),
            n => format!("{n} operations a transaction"),
        };
        match long_share {
            0.0 => usual,
            share => format!("{usual}, {long} in {} % of them", percent(share)),
        }
    }

    fn describe_requests(&self) -> String {
        match &self.config.shape.distribution {
            Distribution::Uniform => "uniform".to_owned(),
            Distribution::Zipfian { expected_inserts } => format!(
                "YCSB's scrambled zipfian (0.99 over 10^10, hashed into the records), room for \
                 {expected_inserts} inserts"
            ),
            Distribution::Zipf { theta } => {
                format!("true zipf, theta {theta}, scattered by a bijection")
            }
            Distribution::Hotspot { size, operation_fraction, draws_per_move } => {
                describe_hotspot(*size, *operation_fraction, *draws_per_move)
            }
            Distribution::Sequential => "sequential, worker i of n takes i, i + n, ...".to_owned(),
            Distribution::Exponential { percentile, fraction } => format!(
                "exponential: {percentile} % of the requests to the newest {} %",
                percent(*fraction)
            ),
            Distribution::Latest => "latest: YCSB's zipfian backwards from the newest".to_owned(),
        }
    }

    fn describe_keys(&self) -> String {
        let keys = &self.config.keys;
        let order = if keys.hashed { "hashed" } else { "ordered" };
        match keys.integer {
            true => format!("8-byte integers, {order}"),
            false => format!("strings \"{}\" + {order} number", keys.prefix),
        }
    }

    fn describe_values(&self) -> String {
        let Config { layout, lengths, integrity, .. } = &self.config;
        let kind = if *integrity { "YCSB's deterministic bytes" } else { "random bytes" };
        let fields = layout.fields();
        format!(
            "one byte string of {fields} field(s), {:.0} bytes each on average, {kind}",
            lengths.mean()
        )
    }

    fn describe_operations(&self) -> String {
        let config = &self.config;
        let read = match (config.read_all, config.read_by_name) {
            (false, _) => "a read copies one field out",
            (true, false) => "a read copies the record out",
            (true, true) => "a read copies the fields out one by one",
        };
        let update = match (config.write_all, config.updates_blindly()) {
            (_, true) => "an update writes the record without reading it",
            (true, false) => "an update writes the record if it exists",
            (false, _) => "an update reads the record and writes it back with one field changed",
        };
        let view = match config.read_only_view {
            true => "what only reads runs as a view",
            false => "what only reads runs as a read-write transaction",
        };
        format!("{read}; {update}; {view}")
    }

    fn describe_scans(&self) -> String {
        let Config { scans, keys, .. } = &self.config;
        let (min, max) = (scans.min(), scans.max());
        let kind = if matches!(scans, Lengths::Zipfian(..)) { "YCSB's zipfian" } else { "uniform" };
        let order = if keys.integer { "numbers" } else { "bytes" };
        format!(
            "{min} to {max} records, {kind}, from the key asked for on in the order of the keys' \
             {order}, copied out as by reads; an ordered table"
        )
    }
}

fn describe_hotspot(size: HotSet, operation_fraction: f64, draws_per_move: u64) -> String {
    let requests = percent(operation_fraction);
    let size = match size {
        HotSet::Fraction(fraction) => format!("{} % of the records", percent(fraction)),
        HotSet::Records(records) => format!("{records} record(s)"),
    };
    let moves = match draws_per_move {
        0 => String::new(),
        draws => format!(", which move on by their number after {draws} keys of a worker"),
    };
    format!("hotspot: {requests} % of the requests to {size}{moves}")
}

/// A share as a percentage with at most two digits after the point.
fn percent(share: f64) -> f64 {
    (share * 10_000.0).round() / 100.0
}
