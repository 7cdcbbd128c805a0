//! Typed handles to tables.

use crate::error::Error;
use crate::protocol::{Mvocc, Protocol};
use crate::storage::ordered_key::OrderedKey;
use crate::storage::payload::{Key, Value};
use crate::storage::table::TableCore;
use std::any::TypeId;
use std::marker::PhantomData;
use std::sync::Arc;

/// A table's types are checked when it is opened, by identity. They must not change by subtyping
/// after that: a table of `fn(&'static str)` is no table of `for<'a> fn(&'a str)`.
type Invariant<K, V> = PhantomData<(fn(*const K) -> *const K, fn(*const V) -> *const V)>;

/// A handle to a table with keys `K` and values `V`; cheap to clone. `[u8]` and `str` are types of
/// keys and values like any other.
///
/// ```
/// # fn main() -> Result<(), chronolith::TransactionError> {
/// let store = chronolith::Store::new();
/// let names = store.table::<str, [u8]>("names")?;
/// store.transact(|tx| tx.put(&names, "ada", b"Lovelace"))?;
/// assert_eq!(store.view(|tx| Ok(tx.get(&names, "ada")?.map(<[u8]>::len)))?, Some(8));
/// # Ok(())
/// # }
/// ```
///
/// Its types are what they are, lifetimes included:
///
/// ```compile_fail
/// use chronolith::Table;
/// fn weaken(table: Table<u64, fn(&'static str)>) -> Table<u64, for<'a> fn(&'a str)> {
///     table
/// }
/// ```
pub struct Table<K: ?Sized, V: ?Sized, P: Protocol = Mvocc> {
    core: Arc<TableCore<P::Words>>,
    types: Invariant<K, V>,
}

impl<K: Key + ?Sized, V: Value + ?Sized, P: Protocol> Table<K, V, P> {
    pub(super) fn new(core: Arc<TableCore<P::Words>>) -> Result<Self, Error> {
        if core.schema.types != (TypeId::of::<K>(), TypeId::of::<V>()) {
            return Err(Error::TableType { table: core.name.to_string() });
        }
        Ok(Table { core, types: PhantomData })
    }

    /// The table's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.core.name
    }

    #[inline]
    pub(crate) fn core(&self) -> &TableCore<P::Words> {
        &self.core
    }
}

impl<K: ?Sized, V: ?Sized, P: Protocol> Clone for Table<K, V, P> {
    fn clone(&self) -> Self {
        Table { core: Arc::clone(&self.core), types: PhantomData }
    }
}

impl<K: ?Sized, V: ?Sized, P: Protocol> std::fmt::Debug for Table<K, V, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table").field("name", &self.core.name).finish_non_exhaustive()
    }
}

/// A handle to an ordered table: a [`Table`] whose keys have an order, so that it has ranges too
/// ([`Transaction::range`](crate::Transaction::range)). All that is done with a table is done with
/// it in the same way.
///
/// It has two indexes: points go through a hash index, as in every table, and ranges through an
/// ordered one. Reading and updating a key costs what it costs in a table without order; inserting
/// and removing one costs more.
///
/// ```
/// # fn main() -> Result<(), chronolith::TransactionError> {
/// let store = chronolith::Store::new();
/// let words = store.ordered_table::<str, u64>("words")?;
/// store.transact(|tx| tx.put(&words, "ada", 1))?;
/// let first = store.view(|tx| Ok(tx.first(&words)?.map(|(word, count)| (word.len(), *count))))?;
/// assert_eq!(first, Some((3, 1)));
/// # Ok(())
/// # }
/// ```
pub struct OrderedTable<K: ?Sized, V: ?Sized, P: Protocol = Mvocc>(Table<K, V, P>);

impl<K: OrderedKey + ?Sized, V: Value + ?Sized, P: Protocol> OrderedTable<K, V, P> {
    pub(super) fn new(core: Arc<TableCore<P::Words>>) -> Result<Self, Error> {
        if !core.is_ordered() {
            return Err(Error::TableType { table: core.name.to_string() });
        }
        Table::new(core).map(OrderedTable)
    }
}

impl<K: ?Sized, V: ?Sized, P: Protocol> std::ops::Deref for OrderedTable<K, V, P> {
    type Target = Table<K, V, P>;

    #[inline]
    fn deref(&self) -> &Table<K, V, P> {
        &self.0
    }
}

impl<K: ?Sized, V: ?Sized, P: Protocol> Clone for OrderedTable<K, V, P> {
    fn clone(&self) -> Self {
        OrderedTable(self.0.clone())
    }
}

impl<K: ?Sized, V: ?Sized, P: Protocol> std::fmt::Debug for OrderedTable<K, V, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("OrderedTable").field(&self.0).finish()
    }
}
