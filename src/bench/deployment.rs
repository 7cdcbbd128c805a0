//! A workload in a store, with the types of both forgotten.
//!
//! Every workload meets every protocol here and nowhere else, so that the worker loop, the loader
//! and the audits are compiled once. It costs a transaction a handful of indirect calls, the same
//! for all.

use super::RunError;
use crate::protocol::{self, Contention, Protocol, Reads};
use crate::workload::{
    Finding, Footprint, KeyStream, LoadWatch, Moment, Seed, TallyRow, Worker, Workload,
};
use crate::{Backoff, RetryPolicy, Store, TransactionError};

/// What a workload says of itself.
#[derive(Debug, Clone)]
pub struct WorkloadFacts {
    /// The kinds of transaction that are reported apart.
    pub kinds: &'static [&'static str],
    /// What its workers count.
    pub tallies: &'static [TallyRow],
    /// Operations of one transaction, on average.
    pub operations_per_transaction: f64,
    /// What a reader of the figures must know.
    pub basis: Vec<(&'static str, String)>,
    /// How much there is to load.
    pub footprint: Footprint,
    /// Whether audits also take place while the workers run.
    pub audits_during: bool,
}

/// A workload, whichever it is.
pub trait AnyWorkload: Sync {
    /// What it says of itself.
    fn facts(&self) -> WorkloadFacts;

    /// As [`Workload::key_stream`].
    fn key_stream(&self, seed: Seed, index: usize, workers: usize) -> Option<(KeyStream<'_>, u64)>;

    /// Opens its tables in a store of its own.
    ///
    /// # Errors
    ///
    /// [`RunError::Protocol`] if no protocol has that name, and what the store says.
    fn deploy(&self, settings: &StoreSettings<'_>) -> Result<Box<dyn Deployment + '_>, RunError>;
}

/// How a store is made.
#[derive(Debug, Clone, Copy)]
pub struct StoreSettings<'a> {
    /// The name of its protocol.
    pub protocol: &'a str,
    /// The seed of its hashes.
    pub hash_seed: u64,
    /// Its shards, unless there is to be one for each processor.
    pub shards: Option<usize>,
    /// How long a transaction waits after an abort.
    pub backoff: Backoff,
    /// What it does about contention.
    pub contention: Contention,
}

/// How many tables a store has: which indexes a workload uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableCounts {
    /// All of them; each has a hash index.
    pub all: usize,
    /// Those that have an ordered index too.
    pub ordered: usize,
}

/// A workload's tables in a store.
pub trait Deployment: Sync {
    /// The store.
    fn store(&self) -> &dyn AnyStore;

    /// As [`Workload::load`].
    ///
    /// # Errors
    ///
    /// What the store says.
    fn load(&self, seed: Seed, watch: &dyn LoadWatch) -> Result<(), TransactionError>;

    /// As [`Workload::worker`].
    fn worker(&self, seed: Seed, index: usize, workers: usize) -> Box<dyn Worker + '_>;

    /// As [`Workload::audit`].
    ///
    /// # Errors
    ///
    /// What the store says.
    fn audit(&self, moment: Moment) -> Result<Vec<Finding>, TransactionError>;
}

/// A store, whichever its protocol.
pub trait AnyStore: Sync {
    /// What it has done and what it holds.
    fn stats(&self) -> crate::Stats;

    /// Its shards.
    fn shard_count(&self) -> usize;

    /// Its tables, and how many of them are ordered.
    fn tables(&self) -> TableCounts;

    /// What a read sees.
    fn reads(&self) -> Reads;

    /// Does `work` while a snapshot is open; false if the store refused to open one.
    fn beside_snapshot(&self, work: &mut dyn FnMut()) -> bool;
}

impl<P: Protocol> AnyStore for Store<P> {
    fn stats(&self) -> crate::Stats {
        Store::stats(self)
    }

    fn shard_count(&self) -> usize {
        Store::shard_count(self)
    }

    fn tables(&self) -> TableCounts {
        let (all, ordered) = self.table_counts();
        TableCounts { all, ordered }
    }

    fn reads(&self) -> Reads {
        P::READS
    }

    fn beside_snapshot(&self, work: &mut dyn FnMut()) -> bool {
        let Ok(_snapshot) = self.begin_view() else {
            return false;
        };
        work();
        true
    }
}

struct Deployed<'w, W: Workload, P: Protocol> {
    workload: &'w W,
    store: Store<P>,
    tables: W::Tables<P>,
}

impl<W: Workload, P: Protocol> Deployment for Deployed<'_, W, P> {
    fn store(&self) -> &dyn AnyStore {
        &self.store
    }

    fn load(&self, seed: Seed, watch: &dyn LoadWatch) -> Result<(), TransactionError> {
        self.workload.load(&self.store, &self.tables, seed, watch)
    }

    fn worker(&self, seed: Seed, index: usize, workers: usize) -> Box<dyn Worker + '_> {
        Box::new(self.workload.worker(&self.store, &self.tables, seed, index, workers))
    }

    fn audit(&self, moment: Moment) -> Result<Vec<Finding>, TransactionError> {
        self.workload.audit(&self.store, &self.tables, moment)
    }
}

impl<W: Workload> AnyWorkload for W {
    fn facts(&self) -> WorkloadFacts {
        WorkloadFacts {
            kinds: self.kinds(),
            tallies: self.tallies(),
            operations_per_transaction: self.operations_per_transaction(),
            basis: self.basis(),
            footprint: self.footprint(),
            audits_during: self.audits_during(),
        }
    }

    fn key_stream(&self, seed: Seed, index: usize, workers: usize) -> Option<(KeyStream<'_>, u64)> {
        Workload::key_stream(self, seed, index, workers)
    }

    fn deploy(&self, settings: &StoreSettings<'_>) -> Result<Box<dyn Deployment + '_>, RunError> {
        let visitor = Deploy { workload: self, settings };
        protocol::dispatch(settings.protocol, visitor)
            .unwrap_or_else(|| Err(RunError::Protocol(settings.protocol.to_owned())))
    }
}

struct Deploy<'w, 's, W> {
    workload: &'w W,
    settings: &'s StoreSettings<'s>,
}

impl<'w, W: Workload> protocol::Visitor for Deploy<'w, '_, W> {
    type Output = Result<Box<dyn Deployment + 'w>, RunError>;

    fn visit<P: Protocol>(self) -> Self::Output {
        let Deploy { workload, settings } = self;
        let retry = RetryPolicy { backoff: settings.backoff, ..RetryPolicy::default() };
        let builder = Store::builder().hash_seed(settings.hash_seed).retry(retry);
        let builder = builder.contention(settings.contention);
        let builder = match settings.shards {
            Some(shards) => builder.shards(shards),
            None => builder,
        };
        let store: Store<P> = builder.build_with()?;
        let tables = workload.open(&store)?;
        Ok(Box::new(Deployed { workload, store, tables }))
    }
}
