//! Secondary indexes: how they are declared, and what is found through them.
//!
//! An index is an ordered table of the same store. Its entries are the index keys, each with the
//! primary key of its row: in the entry's key where several rows may share an index key, in its
//! value where they may not. `maintain.rs` writes them.

use super::maintain::{Declared, Upkeep};
use super::{OrderedTable, Range, Store, Table, Transaction};
use crate::error::{Error, TransactionError};
use crate::protocol::{Mvocc, Protocol, Ranges};
use crate::storage::ordered_key::OrderedKey;
use crate::storage::payload::{Key, Value};
use crate::storage::table::TableCore;
use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, PoisonError};

/// The key of an entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entry<I, T> {
    pub(super) index: I,
    /// What tells entries with equal index keys apart.
    pub(super) tie: T,
}

impl<I, T> OrderedKey for Entry<I, T>
where
    I: OrderedKey + Clone,
    T: Clone + Ord + Hash + Send + Sync + 'static,
{
    #[inline]
    fn head(&self, skip: u32) -> u64 {
        self.index.head(skip)
    }

    fn shared(&self, higher: &Self) -> u32 {
        self.index.shared(&higher.index)
    }
}

/// Where an entry stands among those with its index key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tie<O> {
    /// Before all of them: the bound of a range.
    Before,
    /// At the primary key of its row.
    At(O),
    /// Behind all of them: the bound of a range.
    Behind,
}

/// The form of an index: [`NonUnique`] or [`Unique`].
pub trait IndexForm<O>: 'static {
    #[doc(hidden)]
    const UNIQUE: bool;
    /// What tells entries with equal index keys apart.
    #[doc(hidden)]
    type Tie: Clone + Ord + Hash + Send + Sync + 'static;
    /// What an entry holds besides its key.
    #[doc(hidden)]
    type Owner: Send + Sync + 'static;

    /// The ties before and behind all others.
    #[doc(hidden)]
    fn ends() -> (Self::Tie, Self::Tie);
    /// The entry of the row with this primary key.
    #[doc(hidden)]
    fn entry(primary: O) -> (Self::Tie, Self::Owner);
    /// The primary key of an entry's row.
    #[doc(hidden)]
    fn primary<'e>(tie: &'e Self::Tie, owner: &'e Self::Owner) -> &'e O;
}

/// The form of an index in which several rows may have one index key.
#[derive(Debug)]
pub struct NonUnique;

impl<O: Clone + Ord + Hash + Send + Sync + 'static> IndexForm<O> for NonUnique {
    const UNIQUE: bool = false;
    type Tie = Tie<O>;
    type Owner = ();

    fn ends() -> (Tie<O>, Tie<O>) {
        (Tie::Before, Tie::Behind)
    }

    fn entry(primary: O) -> (Tie<O>, ()) {
        (Tie::At(primary), ())
    }

    fn primary<'e>(tie: &'e Tie<O>, (): &'e ()) -> &'e O {
        match tie {
            Tie::At(primary) => primary,
            Tie::Before | Tie::Behind => unreachable!("the bounds of ranges are no entries"),
        }
    }
}

/// The form of an index in which no two rows have the same index key.
#[derive(Debug)]
pub struct Unique;

impl<O: Send + Sync + 'static> IndexForm<O> for Unique {
    const UNIQUE: bool = true;
    type Tie = ();
    type Owner = O;

    fn ends() -> ((), ()) {
        ((), ())
    }

    fn entry(primary: O) -> ((), O) {
        ((), primary)
    }

    fn primary<'e>((): &'e (), owner: &'e O) -> &'e O {
        owner
    }
}

/// A type of keys whose table can have indexes: one with an order, of which an entry can hold a
/// copy. There is nothing to implement yourself.
pub trait PrimaryKey: Key + ToOwned<Owned: Clone + Ord + Hash + Send + Sync + 'static> {}

impl<K> PrimaryKey for K where
    K: Key + ToOwned<Owned: Clone + Ord + Hash + Send + Sync + 'static> + ?Sized
{
}

/// What the function of an index gives for a row: its index key, or an [`Option`] of it, `None`
/// for a row that is not to be in the index. There is nothing to implement yourself.
pub trait IntoIndexKey {
    /// The index key.
    type Key: OrderedKey + Clone;
    /// The row's index key, if it has one.
    fn into_index_key(self) -> Option<Self::Key>;
}

impl<I: OrderedKey + Clone> IntoIndexKey for I {
    type Key = I;
    fn into_index_key(self) -> Option<I> {
        Some(self)
    }
}

impl<I: OrderedKey + Clone> IntoIndexKey for Option<I> {
    type Key = I;
    fn into_index_key(self) -> Option<I> {
        self
    }
}

/// The bounds of a range of entries.
type Bounds<I, T> = (Bound<Entry<I, T>>, Bound<Entry<I, T>>);

/// A handle to a secondary index with keys `I` of a table with keys `K` and values `V`; cheap to
/// clone. The index belongs to the table: it is kept whether there is a handle or not.
///
/// Every write to the table changes it in the same transaction, so it shows what the table shows,
/// the transaction's own writes included, and ranges of it are as free of phantoms as those of an
/// [`OrderedTable`]. A write that leaves a row's index key as it is does not touch the index. A
/// `put` to an indexed table reads what it overwrites, and conflicts as an `update` does. Entries
/// are counted as records and versions in [`Stats`](crate::Stats).
///
/// ```
/// # fn main() -> Result<(), chronolith::TransactionError> {
/// struct Customer {
///     name: String,
///     city: String,
///     email: Option<String>,
/// }
/// let store = chronolith::Store::new();
/// let customers = store.table::<u64, Customer>("customers")?;
/// let by_city = store.index(&customers, "by_city", |customer| customer.city.clone())?;
/// let by_email = store.unique_index(&customers, "by_email", |customer| customer.email.clone())?;
/// store.transact(|tx| {
///     let ada = Customer {
///         name: "Ada".to_string(),
///         city: "London".to_string(),
///         email: Some("ada@example.org".to_string()),
///     };
///     let paul = Customer { name: "Paul".to_string(), city: "Budapest".to_string(), email: None };
///     tx.put(&customers, 1, ada)?;
///     tx.put(&customers, 2, paul)
/// })?;
/// store.view(|tx| {
///     for found in tx.find(&by_city, "London")? {
///         let (city, id, customer) = found?;
///         assert_eq!((city.as_str(), *id, customer.name.as_str()), ("London", 1, "Ada"));
///     }
///     let cities = tx.range_by(&by_city, "A".to_string().."M".to_string())?.take(10);
///     assert_eq!(cities.count(), 2);
///     let ada = tx.find_one(&by_email, "ada@example.org")?;
///     assert_eq!(ada.map(|(id, _)| *id), Some(1));
///     Ok(())
/// })?;
/// # Ok(())
/// # }
/// ```
pub struct Index<I, K, V, P = Mvocc, F = NonUnique>
where
    K: PrimaryKey + ?Sized,
    V: ?Sized,
    P: Protocol,
    F: IndexForm<K::Owned>,
{
    entries: OrderedTable<Entry<I, F::Tie>, F::Owner, P>,
    rows: Table<K, V, P>,
}

/// A handle to an index in which no two rows have the same index key; see [`Index`].
pub type UniqueIndex<I, K, V, P = Mvocc> = Index<I, K, V, P, Unique>;

impl<I, K, V, P, F> Index<I, K, V, P, F>
where
    I: OrderedKey + Clone,
    K: PrimaryKey + ?Sized,
    V: Value + ?Sized,
    P: Protocol,
    F: IndexForm<K::Owned>,
{
    /// The index's name, with its table's: `"customers.by_city"`. Conflicts in it are reported
    /// under this name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.entries.name()
    }

    /// The entries within `bounds`, as the bounds of the table that holds them.
    fn bounds(bounds: &impl RangeBounds<I>) -> Bounds<I, F::Tie> {
        let (before, behind) = F::ends();
        let low = match bounds.start_bound() {
            Bound::Included(key) => Bound::Included((key, before.clone())),
            Bound::Excluded(key) => Bound::Excluded((key, behind.clone())),
            Bound::Unbounded => Bound::Unbounded,
        };
        let high = match bounds.end_bound() {
            Bound::Included(key) => Bound::Included((key, behind)),
            Bound::Excluded(key) => Bound::Excluded((key, before)),
            Bound::Unbounded => Bound::Unbounded,
        };
        let entry = |(index, tie): (&I, F::Tie)| Entry { index: index.clone(), tie };
        (low.map(entry), high.map(entry))
    }
}

impl<I, K, V, P, F> Clone for Index<I, K, V, P, F>
where
    K: PrimaryKey + ?Sized,
    V: ?Sized,
    P: Protocol,
    F: IndexForm<K::Owned>,
{
    fn clone(&self) -> Self {
        Index { entries: self.entries.clone(), rows: self.rows.clone() }
    }
}

impl<I, K, V, P, F> fmt::Debug for Index<I, K, V, P, F>
where
    K: PrimaryKey + ?Sized,
    V: ?Sized,
    P: Protocol,
    F: IndexForm<K::Owned>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index").field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl<P: Protocol> Store<P> {
    /// Declares an index on a table: `key` gives the index key of a row, or an [`Option`] of it,
    /// `None` for a row that is not to be in the index. See [`Index`].
    ///
    /// An index is declared before the first write to its table, once. The first write settles
    /// which indexes the table has, also if its transaction does not commit, so none is ever
    /// without the rows of a transaction that ran at the same time.
    ///
    /// `key` must give the same for the same row, whenever it is asked. A panic in it passes
    /// through the operation that asked; that has written nothing then, and the transaction can go
    /// on or be dropped.
    ///
    /// # Errors
    ///
    /// [`Error::IndexTooLate`] after the first write to the table, [`Error::IndexExists`] if the
    /// name is taken, [`Error::ForeignTable`], [`Error::NoRanges`] with a protocol that has no
    /// ranges, [`Error::TableCount`] at the limit (an index counts as a table),
    /// [`Error::OutOfMemory`].
    pub fn index<K, V, R>(
        &self,
        table: &Table<K, V, P>,
        name: &str,
        key: impl Fn(&V) -> R + Send + Sync + 'static,
    ) -> Result<Index<R::Key, K, V, P>, Error>
    where
        K: PrimaryKey + ?Sized,
        V: Value + ?Sized,
        R: IntoIndexKey,
    {
        self.declare(table, name, move |row: &V| key(row).into_index_key())
    }

    /// As [`Store::index`], for an index in which no two rows may have the same index key.
    ///
    /// A write that would give a row the index key of another one is [`Error::NotUnique`] and does
    /// nothing; the transaction can go on. That is decided when the write is called, not at commit:
    /// to swap the keys of two rows, remove one first. Two transactions that give the same key to
    /// different rows at the same time conflict.
    ///
    /// # Errors
    ///
    /// As for [`Store::index`].
    pub fn unique_index<K, V, R>(
        &self,
        table: &Table<K, V, P>,
        name: &str,
        key: impl Fn(&V) -> R + Send + Sync + 'static,
    ) -> Result<UniqueIndex<R::Key, K, V, P>, Error>
    where
        K: PrimaryKey + ?Sized,
        V: Value + ?Sized,
        R: IntoIndexKey,
    {
        self.declare(table, name, move |row: &V| key(row).into_index_key())
    }

    fn declare<I, K, V, F>(
        &self,
        table: &Table<K, V, P>,
        name: &str,
        key: impl Fn(&V) -> Option<I> + Send + Sync + 'static,
    ) -> Result<Index<I, K, V, P, F>, Error>
    where
        I: OrderedKey + Clone,
        K: PrimaryKey + ?Sized,
        V: Value + ?Sized,
        F: IndexForm<K::Owned>,
    {
        if P::RANGES == Ranges::Unsupported {
            return Err(Error::NoRanges { protocol: P::NAME });
        }
        if table.core().store != self.core.id {
            return Err(Error::ForeignTable { table: table.name().to_string() });
        }
        let index = format!("{}.{name}", table.name());
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.tables.contains_key(index.as_str()) {
            return Err(Error::IndexExists { index });
        }
        let indexes = &table.core().indexes;
        if indexes.is_sealed() {
            return Err(Error::IndexTooLate { index });
        }
        let make = TableCore::new_ordered::<Entry<I, F::Tie>, F::Owner>;
        let core = self.make(&mut names, &index, make)?;
        let entries = OrderedTable::new(Arc::clone(&core))?;
        let upkeep: Upkeep<I, K::Owned, P, F, _> = Upkeep { entries: entries.clone(), key };
        if !indexes.push(Box::new(Declared::<K, V, P>(Box::new(upkeep)))) {
            // The first write came in between. The table's number is lost, its name is not.
            return Err(Error::IndexTooLate { index });
        }
        names.tables.insert(Arc::clone(&core.name), core);
        Ok(Index { entries, rows: table.clone() })
    }
}

/// What is found through an index: the index key of a row, its primary key, and its value.
type Found<'t, I, K, V> = (&'t I, &'t K, &'t V);

/// The rows of a range of an index, in the order of their index keys and, where these are equal, of
/// their primary keys; see [`Transaction::range_by`].
pub struct IndexRange<'t, I, K, V, P = Mvocc, F = NonUnique, const REVERSED: bool = false>
where
    I: OrderedKey + Clone,
    K: PrimaryKey + ?Sized,
    V: Value + ?Sized,
    P: Protocol,
    F: IndexForm<K::Owned>,
{
    entries: Range<'t, Entry<I, F::Tie>, F::Owner, P, REVERSED>,
    rows: &'t Table<K, V, P>,
    failed: bool,
}

impl<I, K, V, P, F, const REVERSED: bool> fmt::Debug for IndexRange<'_, I, K, V, P, F, REVERSED>
where
    I: OrderedKey + Clone,
    K: PrimaryKey + ?Sized,
    V: Value + ?Sized,
    P: Protocol,
    F: IndexForm<K::Owned>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IndexRange").field("entries", &self.entries).finish_non_exhaustive()
    }
}

impl<'t, I, K, V, P, F, const REVERSED: bool> IndexRange<'t, I, K, V, P, F, REVERSED>
where
    I: OrderedKey + Clone,
    K: PrimaryKey + ?Sized,
    V: Value + ?Sized,
    P: Protocol,
    F: IndexForm<K::Owned>,
{
    fn new(
        transaction: &'t Transaction<'t, P>,
        index: &'t Index<I, K, V, P, F>,
        bounds: &impl RangeBounds<I>,
    ) -> Result<Self, TransactionError> {
        let bounds = Index::<I, K, V, P, F>::bounds(bounds);
        let entries = Range::new(transaction, &index.entries, &bounds)?;
        Ok(IndexRange { entries, rows: &index.rows, failed: false })
    }

    /// Ends the range after `count` more entries; as [`Range::limit`]. An entry counts also if its
    /// row is left out because the transaction has removed it since the range began.
    ///
    /// ```
    /// # fn main() -> Result<(), chronolith::TransactionError> {
    /// # let store = chronolith::Store::new();
    /// # let scores = store.table::<u64, u64>("scores")?;
    /// let by_score = store.index(&scores, "by_score", |score| *score)?;
    /// # store.transact(|tx| (0..100).try_for_each(|id| tx.put(&scores, id, 3 * id)))?;
    /// let best = store.view(|tx| {
    ///     let found = tx.range_by_rev(&by_score, ..)?.limit(2);
    ///     found.map(|found| Ok(*found?.1)).collect::<Result<Vec<_>, _>>()
    /// })?;
    /// assert_eq!(best, [99, 98]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn limit(mut self, count: usize) -> Self {
        self.entries = self.entries.limit(count);
        self
    }

    fn advance(&mut self) -> Result<Option<Found<'t, I, K, V>>, TransactionError> {
        let transaction = self.entries.transaction;
        while let Some((entry, owner)) = self.entries.next().transpose()? {
            let primary: &'t K = F::primary(&entry.tie, owner).borrow();
            // Absent: removed by this transaction since the range began; or, with a protocol that
            // reads the newest versions, by one that this one cannot commit after.
            if let Some(row) = transaction.get(self.rows, primary)? {
                return Ok(Some((&entry.index, primary, row)));
            }
        }
        Ok(None)
    }
}

impl<'t, I, K, V, P, F, const REVERSED: bool> Iterator for IndexRange<'t, I, K, V, P, F, REVERSED>
where
    I: OrderedKey + Clone,
    K: PrimaryKey + ?Sized,
    V: Value + ?Sized,
    P: Protocol,
    F: IndexForm<K::Owned>,
{
    type Item = Result<Found<'t, I, K, V>, TransactionError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let found = self.advance();
        self.failed = found.is_err();
        found.transpose()
    }
}

impl<'s, P: Protocol> Transaction<'s, P> {
    /// The rows whose index keys lie within `bounds`, in ascending order: each with its index key
    /// and its primary key. Take as many as you need: the transaction depends on the part that was
    /// walked over, as with [`Transaction::range`].
    ///
    /// It has the entries that were there when it was called, the transaction's own included. The
    /// rows are read as they come: one that the transaction has changed meanwhile shows its present
    /// value, one that it has removed is left out.
    ///
    /// # Errors
    ///
    /// Misuse. Each row may be a conflict, after which the range ends.
    pub fn range_by<'t, I, K, V, F>(
        &'t self,
        index: &'t Index<I, K, V, P, F>,
        bounds: impl RangeBounds<I>,
    ) -> Result<IndexRange<'t, I, K, V, P, F>, TransactionError>
    where
        I: OrderedKey + Clone,
        K: PrimaryKey + ?Sized,
        V: Value + ?Sized,
        F: IndexForm<K::Owned>,
    {
        IndexRange::new(self, index, &bounds)
    }

    /// As [`Transaction::range_by`], in descending order.
    ///
    /// # Errors
    ///
    /// As for [`Transaction::range_by`].
    #[allow(clippy::type_complexity, reason = "a range in the other direction")]
    pub fn range_by_rev<'t, I, K, V, F>(
        &'t self,
        index: &'t Index<I, K, V, P, F>,
        bounds: impl RangeBounds<I>,
    ) -> Result<IndexRange<'t, I, K, V, P, F, true>, TransactionError>
    where
        I: OrderedKey + Clone,
        K: PrimaryKey + ?Sized,
        V: Value + ?Sized,
        F: IndexForm<K::Owned>,
    {
        IndexRange::new(self, index, &bounds)
    }

    /// The rows with this index key, in the order of their primary keys.
    ///
    /// # Errors
    ///
    /// As for [`Transaction::range_by`].
    pub fn find<'t, I, K, V, F, Q>(
        &'t self,
        index: &'t Index<I, K, V, P, F>,
        key: &Q,
    ) -> Result<IndexRange<'t, I, K, V, P, F>, TransactionError>
    where
        I: OrderedKey + Clone + Borrow<Q>,
        K: PrimaryKey + ?Sized,
        V: Value + ?Sized,
        F: IndexForm<K::Owned>,
        Q: ToOwned<Owned = I> + ?Sized,
    {
        let key = key.to_owned();
        IndexRange::new(self, index, &(Bound::Included(&key), Bound::Included(&key)))
    }

    /// The row with this key in a unique index: its primary key and its value.
    ///
    /// # Errors
    ///
    /// A conflict, or misuse.
    #[allow(clippy::type_complexity, reason = "a row")]
    pub fn find_one<'t, I, K, V, Q>(
        &'t self,
        index: &'t UniqueIndex<I, K, V, P>,
        key: &Q,
    ) -> Result<Option<(&'t K, &'t V)>, TransactionError>
    where
        I: OrderedKey + Clone + Borrow<Q>,
        K: PrimaryKey + ?Sized,
        V: Value + ?Sized,
        Q: ToOwned<Owned = I> + ?Sized,
    {
        let entry = Entry { index: key.to_owned(), tie: () };
        let Some(owner) = self.get(&index.entries, &entry)? else {
            return Ok(None);
        };
        let primary: &K = owner.borrow();
        Ok(self.get(&index.rows, primary)?.map(|row| (primary, row)))
    }
}
