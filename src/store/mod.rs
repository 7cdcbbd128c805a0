//! The store: what an embedder sees.
//!
//! * [`builder`]: how a store is made.
//! * [`table`]: typed handles to its tables.
//! * [`transaction`]: reads and writes.
//! * [`operation`]: what each of them does in its one pinned step.
//! * [`beginning`]: how a transaction begins.
//! * [`ending`]: how a transaction ends.
//! * [`range`]: ranges of ordered tables.
//! * [`index`]: secondary indexes: how they are declared, and what is found through them.
//! * [`maintain`]: how writes keep them.
//! * [`retry`]: `transact` and `view`: run, commit, and try again.
//! * [`backoff`]: how long they wait in between.
//! * [`stats`]: what it has done and what it holds.

mod backoff;
mod beginning;
#[cfg(all(test, not(loom)))]
#[allow(clippy::unwrap_used, reason = "it shares code with the integration tests")]
mod broken;
mod builder;
mod ending;
mod index;
mod maintain;
mod merge;
mod operation;
mod range;
mod retry;
mod session;
mod stats;
#[cfg(all(test, not(loom)))]
mod suspension;
mod table;
mod transaction;

pub use backoff::Backoff;
pub use builder::StoreBuilder;
pub use index::{
    Index, IndexForm, IndexRange, IntoIndexKey, NonUnique, PrimaryKey, Unique, UniqueIndex,
};
pub use range::Range;
pub use retry::{Attempts, RetryPolicy};
pub use stats::Stats;
pub use table::{OrderedTable, Table};
pub use transaction::Transaction;

use crate::error::Error;
use crate::limits::TABLES_MAX;
use crate::protocol::context::Core;
use crate::protocol::{Mvocc, Protocol, Ranges};
use crate::reclaim::arena::ChunkPool;
use crate::storage::ordered_key::OrderedKey;
use crate::storage::payload::{Key, Value};
use crate::storage::table::{Spread, TableCore};
use crate::sync::CachePadded;
use backoff::Climb;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

type SharedCore<P> = Arc<TableCore<<P as Protocol>::Words>>;

/// The tables by name, and how many numbers of tables are given away.
#[derive(Debug)]
struct Names<P: Protocol> {
    tables: HashMap<Arc<str>, SharedCore<P>>,
    numbers: usize,
}

impl<P: Protocol> Default for Names<P> {
    fn default() -> Self {
        Names { tables: HashMap::new(), numbers: 0 }
    }
}

/// Makes a table of certain types: its number, its name, the store it belongs to, its indexes,
/// memory.
type MakeTable<W> = fn(u16, &str, u64, Spread, Arc<ChunkPool>) -> Option<TableCore<W>>;

/// A lock-free, in-memory, multi-version transactional store.
///
/// `P` is the concurrency-control protocol; the default needs no mention. A store is used from any
/// number of threads through shared references.
///
/// ```
/// # fn main() -> Result<(), chronolith::TransactionError> {
/// let store = chronolith::Store::new();
/// let accounts = store.table::<u64, i64>("accounts")?;
/// store.transact(|tx| {
///     tx.put(&accounts, 1, 100)?;
///     tx.put(&accounts, 2, 0)
/// })?;
/// store.transact(|tx| {
///     tx.update(&accounts, &1, |balance| balance - 30)?;
///     tx.update(&accounts, &2, |balance| balance + 30)
/// })?;
/// let total = store.view(|tx| {
///     let one = tx.get(&accounts, &1)?.copied().unwrap_or(0);
///     let two = tx.get(&accounts, &2)?.copied().unwrap_or(0);
///     Ok(one + two)
/// })?;
/// assert_eq!(total, 100);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Store<P: Protocol = Mvocc> {
    pub(crate) core: Core<P>,
    /// Tables by name: opening one is rare and takes a lock; using one does not.
    names: Mutex<Names<P>>,
    retry: RetryPolicy,
    climb: CachePadded<Climb>,
}

impl Store {
    /// A store with the default protocol, one shard for each core, and default limits.
    #[must_use]
    pub fn new() -> Self {
        StoreBuilder::new().build().expect("the default number of shards is within the limits")
    }

    /// Settings for a store.
    #[must_use]
    pub fn builder() -> StoreBuilder {
        StoreBuilder::new()
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl<P: Protocol> Store<P> {
    /// Opens the table of that name, or makes it.
    ///
    /// # Errors
    ///
    /// [`Error::TableType`] if it exists with other types, [`Error::TableCount`] at the limit,
    /// [`Error::OutOfMemory`].
    pub fn table<K: Key + ?Sized, V: Value + ?Sized>(
        &self,
        name: &str,
    ) -> Result<Table<K, V, P>, Error> {
        Table::new(self.open(name, TableCore::new::<K, V>)?)
    }

    /// Opens the ordered table of that name, or makes it.
    ///
    /// # Errors
    ///
    /// As for [`Store::table`], also if it exists without order; [`Error::NoRanges`] with a
    /// protocol that has no ranges.
    pub fn ordered_table<K: OrderedKey + ?Sized, V: Value + ?Sized>(
        &self,
        name: &str,
    ) -> Result<OrderedTable<K, V, P>, Error> {
        if P::RANGES == Ranges::Unsupported {
            return Err(Error::NoRanges { protocol: P::NAME });
        }
        OrderedTable::new(self.open(name, TableCore::new_ordered::<K, V>)?)
    }

    fn open(&self, name: &str, make: MakeTable<P::Words>) -> Result<SharedCore<P>, Error> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = names.tables.get(name) {
            return Ok(Arc::clone(table));
        }
        let table = self.make(&mut names, name, make)?;
        names.tables.insert(Arc::clone(&table.name), Arc::clone(&table));
        Ok(table)
    }

    /// Makes a table and gives it a number, but not its name yet.
    fn make(
        &self,
        names: &mut Names<P>,
        name: &str,
        make: MakeTable<P::Words>,
    ) -> Result<SharedCore<P>, Error> {
        let number = names.numbers;
        if number >= TABLES_MAX {
            return Err(Error::TableCount { max: TABLES_MAX });
        }
        let core = &self.core;
        let spread = Spread { shards: core.ring.shards(), parts: core.ordered_parts };
        let pool = Arc::clone(&core.pool);
        let table = make(number as u16, name, core.id, spread, pool).ok_or(Error::OutOfMemory)?;
        let table = Arc::new(table);
        core.tables.add(Arc::clone(&table));
        names.numbers += 1;
        Ok(table)
    }

    /// The number of shards.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.core.ring.shards()
    }

    /// How many tables there are, those of secondary indexes included, and how many are ordered.
    #[cfg(feature = "cli")]
    pub(crate) fn table_counts(&self) -> (usize, usize) {
        let names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        let tables = (0..names.numbers).map(|number| self.core.tables.get(number as u16));
        let ordered = tables.filter(|table| table.is_ordered()).count();
        (names.numbers, ordered)
    }

    /// Where timestamps come from: the processor's time-stamp counter or a shared counter.
    #[must_use]
    pub fn clock_name(&self) -> &'static str {
        self.core.clock.name()
    }
}
