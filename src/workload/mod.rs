//! What is asked of the store: workloads, the property files that configure them, and the
//! generators behind their requests.
//!
//! A workload knows the public API of the store and nothing of the protocol or of who measures. It
//! is one module with one row in the registry below; the driver, the loader, the report and the
//! flags are the same for all of them.

pub mod bank;
mod common;
pub mod generator;
pub(crate) mod properties;
mod seed;
pub mod sibench;
pub mod smallbank;
pub mod tatp;
pub mod tpcc;
pub mod voter;
pub mod ycsb;

pub use generator::Fingerprint;
pub(crate) use properties::visible;
pub use properties::{Properties, PropertyError, PropertyRow, Rule};
pub use seed::{Purpose, Random, Seed};

use crate::protocol::Protocol;
use crate::{Attempts, Error, Store, TransactionError};
use std::time::Duration;

/// How a transaction ended, once it had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It committed.
    Committed,
    /// The workload rolled it back, as its definition says: completed work, not a failure.
    RolledBack,
    /// It was retried as often as the policy allows and never committed.
    GaveUp,
}

impl End {
    /// How many ways there are.
    pub const COUNT: usize = 3;

    /// Reads an outcome of the store; an error of the store is not an end but a stop of the run.
    pub fn of<R>(outcome: Result<R, TransactionError>) -> Result<End, Error> {
        match outcome {
            Ok(_) => Ok(End::Committed),
            Err(TransactionError::Abort(abort)) if abort.reason() == crate::AbortReason::User => {
                Ok(End::RolledBack)
            }
            Err(TransactionError::Abort(_)) => Ok(End::GaveUp),
            Err(TransactionError::Error(error)) => Err(error),
        }
    }
}

/// One worker's side of a workload: it draws requests and runs them.
///
/// The driver calls the first four methods in turn. Only `execute` is timed.
pub trait Worker {
    /// Draws the next request, whole: every key, every value.
    fn prepare(&mut self);

    /// How long whoever sends the prepared request takes before he sends it. The driver waits so
    /// long, untimed.
    #[inline]
    fn pause(&self) -> Duration {
        Duration::ZERO
    }

    /// Runs the prepared request until it commits, is rolled back or is given up. A retry runs the
    /// same request again.
    fn execute(&mut self, attempts: &mut Attempts) -> Result<End, Error>;

    /// Takes note of the end of the prepared request.
    fn settle(&mut self, end: End);

    /// Adds all of the prepared request to a fingerprint: what it does to which keys, and the bytes
    /// that it writes.
    fn describe(&self, fingerprint: &mut Fingerprint);

    /// The kind of the prepared request, as an index into [`Workload::kinds`].
    fn kind(&self) -> usize;

    /// What this worker has counted so far, in the order of [`Workload::tallies`].
    fn tallies(&self) -> &[u64];
}

/// What a tally of a workload says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TallyRole {
    /// Operations done by committed transactions; their sum is the operation throughput.
    Operation,
    /// Operations begun by attempts that failed.
    Wasted,
    /// A fact worth printing when it is not 0.
    Fact,
    /// Proof that the store broke its promise; anything above 0 fails the run.
    Violation,
}

/// A counter that a workload keeps.
#[derive(Debug, Clone, Copy)]
pub struct TallyRow {
    /// Its name in reports.
    pub name: &'static str,
    /// What it says.
    pub role: TallyRole,
}

/// How much a workload is about to load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Records to load.
    pub records: u64,
    /// Records that the run is expected to add.
    pub records_added: u64,
    /// Bytes of key and value of one record, on average.
    pub record_bytes: u64,
}

/// Who watches a load: told of progress, and may stop it.
pub trait LoadWatch: Sync {
    /// `records` more are loaded. False asks the loader to stop.
    fn loaded(&self, records: u64) -> bool;
}

/// What an audit found about one promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The promise, as a sentence without its full stop.
    pub what: &'static str,
    /// Whether it holds. What the protocol's isolation level permits breaks no promise.
    pub holds: bool,
    /// The figures that show it.
    pub evidence: String,
}

/// When an audit takes place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// While the workers run.
    During,
    /// After the last one has ended.
    After,
}

/// A named set of properties that comes with the command.
#[derive(Debug, Clone, Copy)]
pub struct Preset {
    /// The name after `-w`.
    pub name: &'static str,
    /// What it is, in a line.
    pub summary: &'static str,
    /// The text of its property file.
    pub text: &'static str,
    /// Properties that the preset sets beyond its file.
    pub adds: &'static [(&'static str, &'static str)],
    /// Properties of its file that the preset leaves to the flags.
    pub removes: &'static [&'static str],
}

impl Preset {
    /// The preset's properties.
    pub fn properties(&self) -> Result<Properties, PropertyError> {
        let mut properties = Properties::new();
        properties.read_bytes(self.text.as_bytes(), self.name)?;
        for name in self.removes {
            properties.remove(name);
        }
        for (name, value) in self.adds {
            properties.set(name, value, self.name);
        }
        Ok(properties)
    }
}

/// A stream of keys, drawn as a worker draws them; see [`Workload::key_stream`].
pub type KeyStream<'a> = Box<dyn FnMut() -> u64 + 'a>;

/// A workload: what is loaded, what is asked, what is counted.
pub trait Workload: Sized + Sync {
    /// The tables of the workload in one store, and what its workers share.
    type Tables<P: Protocol>: Sync;
    /// One worker.
    type Worker<'run, P: Protocol>: Worker
    where
        Self: 'run;

    /// Names by which a property file chooses this workload (`workload=...`).
    const CLASSES: &'static [&'static str];
    /// Named sets of properties.
    const PRESETS: &'static [Preset];
    /// Every property that is known by name.
    const PROPERTIES: &'static [PropertyRow];
    /// The kinds of transaction that are reported apart.
    const KINDS: &'static [&'static str];
    /// What the workers count.
    const TALLIES: &'static [TallyRow];

    /// Reads the properties. They have been checked against [`Workload::PROPERTIES`].
    fn configure(properties: &Properties) -> Result<Self, PropertyError>;

    /// [`Workload::KINDS`], of a value.
    fn kinds(&self) -> &'static [&'static str] {
        Self::KINDS
    }

    /// [`Workload::TALLIES`], of a value.
    fn tallies(&self) -> &'static [TallyRow] {
        Self::TALLIES
    }

    /// Operations of one transaction, on average: rates and limits in property files count
    /// operations.
    fn operations_per_transaction(&self) -> f64 {
        1.0
    }

    /// What a reader of the figures must know: pairs of a word and a sentence.
    fn basis(&self) -> Vec<(&'static str, String)>;

    /// How much there is to load.
    fn footprint(&self) -> Footprint;

    /// Opens the tables in a store.
    fn open<P: Protocol>(&self, store: &Store<P>) -> Result<Self::Tables<P>, Error>;

    /// Fills the tables, on all threads of the current rayon pool.
    fn load<P: Protocol>(
        &self,
        store: &Store<P>,
        tables: &Self::Tables<P>,
        seed: Seed,
        watch: &dyn LoadWatch,
    ) -> Result<(), TransactionError>;

    /// Worker `index` of `workers`.
    fn worker<'run, P: Protocol>(
        &'run self,
        store: &'run Store<P>,
        tables: &'run Self::Tables<P>,
        seed: Seed,
        index: usize,
        workers: usize,
    ) -> Self::Worker<'run, P>;

    /// Holds the store to the promises of this workload. It is called once after each repetition
    /// and, where [`Workload::audits_during`] says so, again and again while the workers run: an
    /// audit of that moment looks at one snapshot.
    fn audit<P: Protocol>(
        &self,
        store: &Store<P>,
        tables: &Self::Tables<P>,
        moment: Moment,
    ) -> Result<Vec<Finding>, TransactionError> {
        let _ = (store, tables, moment);
        Ok(Vec::new())
    }

    /// Whether audits also take place while the workers run.
    fn audits_during(&self) -> bool {
        false
    }

    /// The keys that worker `index` of `workers` asks for, and the number of keys there are, so
    /// that the skew can be measured; `None` where requests have no single key.
    fn key_stream(&self, seed: Seed, index: usize, workers: usize) -> Option<(KeyStream<'_>, u64)> {
        let _ = (seed, index, workers);
        None
    }
}

/// Work to do with a workload, whichever it is.
pub trait WorkloadVisitor {
    /// What the work gives.
    type Output;

    /// Does the work.
    fn visit<W: Workload>(self, workload: W) -> Self::Output;
}

/// Declares the registry: one row for each workload.
macro_rules! workloads {
    ($($workload:ty,)*) => {
        /// Every preset of every workload.
        pub fn presets() -> impl Iterator<Item = &'static Preset> {
            [$(<$workload as Workload>::PRESETS,)*].into_iter().flatten()
        }

        /// Every property that some workload knows by name, with the name of that workload.
        pub fn property_rows() -> impl Iterator<Item = (&'static str, &'static PropertyRow)> {
            let classes = [$(<$workload as Workload>::CLASSES,)*].map(|classes| {
                *classes.last().expect("a workload has a name")
            });
            let rows = [$(<$workload as Workload>::PROPERTIES,)*];
            classes.into_iter().zip(rows).flat_map(|(class, rows)| {
                rows.iter().map(move |row| (class, row))
            })
        }

        /// Configures the workload that the properties name and hands it to `visitor`. `others` are
        /// rows of properties that someone else honours.
        pub fn dispatch<V: WorkloadVisitor>(
            properties: &Properties,
            others: &[PropertyRow],
            visitor: V,
        ) -> Result<V::Output, PropertyError> {
            let class = properties.get("workload").unwrap_or(DEFAULT_CLASS);
            $(if <$workload as Workload>::CLASSES.contains(&class) {
                let rows = [<$workload as Workload>::PROPERTIES, others].concat();
                properties.check(&rows)?;
                return Ok(visitor.visit(<$workload as Workload>::configure(properties)?));
            })*
            let known = [$(<$workload as Workload>::CLASSES,)*].concat().join(", ");
            Err(properties.must_be("workload", &format!("one of {known}")))
        }
    };
}

/// The workload of a property file that names none.
const DEFAULT_CLASS: &str = "site.ycsb.workloads.CoreWorkload";

workloads! {
    ycsb::Ycsb,
    bank::Bank,
    smallbank::SmallBank,
    tatp::Tatp,
    voter::Voter,
    sibench::SiBench,
    tpcc::Tpcc,
}
