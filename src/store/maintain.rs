//! How writes keep the secondary indexes of their table.
//!
//! A write to an indexed table always knows the row that it replaces, and depends on it: a `put`
//! reads its base first and is a based write, so that the entry that it takes away is that of the
//! very row that it overwrites. What the change means is found out for every index, and whether the
//! unique ones permit it, before anything is written: what fails until then has changed nothing.
//! From then on a failure leaves the transaction unable to commit.
//!
//! Entries are rows of ordered tables of the same store, written by the same transaction. So they
//! need no argument of their own: whatever the protocol guarantees for two tables holds for a table
//! and its index, ranges without phantoms included.

use super::index::{Entry, IndexForm};
use super::operation::{Base, Home, find_own};
use super::transaction::State;
use super::{OrderedTable, Table, Transaction};
use crate::error::{AbortReason, Error, TransactionError};
use crate::protocol::{Conflict, Protocol};
use crate::storage::ordered_key::OrderedKey;
use crate::storage::payload::{Key, Value};
use crate::storage::record::Record;
use crate::sync::roll::Entries;
use std::any::Any;
use std::borrow::Borrow;
use std::cell::Cell;
use std::hash::Hash;

type Outcome = Result<(), TransactionError>;

/// A change of one row.
pub(super) struct Change<'c, K: ?Sized, V: ?Sized> {
    key: &'c K,
    old: Option<&'c V>,
    new: Option<&'c V>,
}

/// An index as the writes to its table know it.
pub(super) trait Maintain<K: ?Sized, V: ?Sized, P: Protocol>: Send + Sync {
    /// Finds out what a change means for the index, lets `others` do so for the rest of the
    /// indexes, and then writes.
    fn maintain(
        &self,
        transaction: &Transaction<'_, P>,
        change: &Change<'_, K, V>,
        others: &mut dyn FnMut() -> Outcome,
    ) -> Outcome;
}

/// An index as its table keeps it: the table's core does not know the types.
pub(super) struct Declared<K: ?Sized, V: ?Sized, P: Protocol>(
    pub(super) Box<dyn Maintain<K, V, P>>,
);

/// The entries of an index, and the function that gives a row's key.
pub(super) struct Upkeep<I, O, P: Protocol, F: IndexForm<O>, C> {
    pub(super) entries: OrderedTable<Entry<I, F::Tie>, F::Owner, P>,
    pub(super) key: C,
}

impl<I, K, V, P, F, C> Maintain<K, V, P> for Upkeep<I, K::Owned, P, F, C>
where
    I: OrderedKey + Clone,
    K: ToOwned + ?Sized,
    V: ?Sized,
    P: Protocol,
    F: IndexForm<K::Owned>,
    C: Fn(&V) -> Option<I> + Send + Sync,
{
    fn maintain(
        &self,
        transaction: &Transaction<'_, P>,
        change: &Change<'_, K, V>,
        others: &mut dyn FnMut() -> Outcome,
    ) -> Outcome {
        let (from, to) = {
            // The function is the user's: if it comes back to this transaction it finds it busy.
            let _busy = transaction.busy();
            (change.old.and_then(&self.key), change.new.and_then(&self.key))
        };
        if from == to {
            return others();
        }
        let entry = |index| {
            let (tie, owner) = F::entry(change.key.to_owned());
            (Entry { index, tie }, owner)
        };
        let (from, to) = (from.map(entry), to.map(entry));
        let name = || self.entries.name().to_string();
        if F::UNIQUE
            && let Some((entry, _)) = &to
            && transaction.get(&self.entries, entry)?.is_some()
        {
            return Err(Error::NotUnique { index: name() }.into());
        }
        others()?;
        let mut faithful = true;
        if let Some((entry, owner)) = to {
            let inserted = transaction.insert(&self.entries, entry, owner)?;
            if F::UNIQUE && !inserted {
                // It was free a moment ago: somebody else has committed it.
                return Err(transaction.meet(Conflict::new(AbortReason::ReadValidation)));
            }
            faithful &= inserted;
        }
        if let Some((entry, _)) = from {
            faithful &= transaction.remove(&self.entries, &entry)?;
        }
        // Or the row has changed since it was read: see `depend_on`.
        if faithful { Ok(()) } else { Err(Error::IndexFunction { index: name() }.into()) }
    }
}

/// A write of a row and its entries that has begun. Unless it comes to its end, also because a
/// panic passes through it, the transaction can only end: half of it must not commit.
struct Unfinished<'t> {
    state: &'t Cell<State>,
    begun: Cell<bool>,
}

impl Unfinished<'_> {
    fn finished(self) {
        self.begun.set(false);
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.begun.get() {
            self.state.set(State::Failed);
        }
    }
}

impl<P: Protocol> Transaction<'_, P> {
    /// Writes what a change means for the indexes of a table. The row itself is still to be
    /// written.
    fn maintain<K, V>(
        &self,
        table: &Table<K, V, P>,
        change: &Change<'_, K, V>,
    ) -> Result<Unfinished<'_>, TransactionError>
    where
        K: Key + ?Sized,
        V: Value + ?Sized,
    {
        let unfinished = Unfinished { state: &self.state, begun: Cell::new(false) };
        // The first write to the table: from now on no index can be declared that it would miss.
        let indexes = table.core().indexes.seal();
        // Entries are looked for under the snapshot that showed the old row.
        match self.hold_snapshot(|| self.maintain_rest(indexes, change, &unfinished.begun)) {
            Ok(()) => Ok(unfinished),
            Err(TransactionError::Error(error)) => {
                self.depend_on(table, change)?;
                Err(error.into())
            }
            abort => abort.map(|()| unfinished),
        }
    }

    /// Records the old row as read: so far only a write was to depend on it, and now there is none
    /// that could tell whether an error that follows from it is to be believed. With a protocol
    /// that reads the newest versions the row may have changed already, and its entries with it.
    fn depend_on<K, V>(&self, table: &Table<K, V, P>, change: &Change<'_, K, V>) -> Outcome
    where
        K: Key + ?Sized,
        V: Value + ?Sized,
    {
        let place = |row: &V| std::ptr::from_ref(row).cast::<u8>();
        if self.get(table, change.key)?.map(place) == change.old.map(place) {
            return Ok(());
        }
        Err(self.meet(Conflict::new(AbortReason::ReadValidation)))
    }

    fn maintain_rest<K, V>(
        &self,
        mut indexes: Entries<'_, Box<dyn Any + Send + Sync>>,
        change: &Change<'_, K, V>,
        begun: &Cell<bool>,
    ) -> Outcome
    where
        K: Key + ?Sized,
        V: Value + ?Sized,
    {
        let Some(index) = indexes.next() else {
            // Every index has agreed, and the last one is about to write.
            begun.set(true);
            return Ok(());
        };
        let declared = index.downcast_ref::<Declared<K, V, P>>();
        let declared = declared.expect("indexes are declared with the types of their table");
        let mut others = || self.maintain_rest(indexes.clone(), change, begun);
        declared.0.maintain(self, change, &mut others)
    }

    /// As `base`, which is copied to wherever it is asked for.
    #[allow(clippy::type_complexity, reason = "as for `base`")]
    #[cold]
    #[inline(never)]
    fn base_outlined<K, V, Q>(
        &self,
        table: &Table<K, V, P>,
        key: &Q,
        home: Home,
    ) -> Result<Option<(Base<P::Words>, &V)>, TransactionError>
    where
        K: Key + Borrow<Q> + ?Sized,
        V: Value + ?Sized,
        Q: Hash + Eq + ?Sized,
    {
        self.base(table, key, home)
    }

    /// As `put`, for a table that has indexes or was never written to.
    #[cold]
    #[inline(never)]
    pub(super) fn put_indexed<K, V>(
        &self,
        table: &Table<K, V, P>,
        key: K::Input<'_>,
        home: Home,
        value: V::Input<'_>,
    ) -> Outcome
    where
        K: Key + ?Sized,
        V: Value + ?Sized,
    {
        match self.base_outlined(table, K::peek(&key), home)? {
            None => self.insert_absent(table, key, home, value),
            Some(found) => {
                self.write_indexed(table, K::peek(&key), home, found, Some(value)).map(|_| ())
            }
        }
    }

    /// As `insert`, for a table that has indexes or was never written to.
    #[cold]
    #[inline(never)]
    pub(super) fn insert_indexed<K, V>(
        &self,
        table: &Table<K, V, P>,
        key: K::Input<'_>,
        home: Home,
        value: V::Input<'_>,
    ) -> Result<bool, TransactionError>
    where
        K: Key + ?Sized,
        V: Value + ?Sized,
    {
        if self.get(table, K::peek(&key))?.is_some() {
            return Ok(false);
        }
        self.insert_absent(table, key, home, value)?;
        Ok(true)
    }

    /// Inserts a key that this transaction has found absent.
    fn insert_absent<K, V>(
        &self,
        table: &Table<K, V, P>,
        key: K::Input<'_>,
        home: Home,
        value: V::Input<'_>,
    ) -> Outcome
    where
        K: Key + ?Sized,
        V: Value + ?Sized,
    {
        let change = Change { key: K::peek(&key), old: None, new: Some(V::peek(&value)) };
        let unfinished = self.maintain(table, &change)?;
        if !self.insert_row(table, key, home, value)? {
            // A protocol that reads the newest versions: it has come since.
            return Err(self.meet(Conflict::new(AbortReason::ReadValidation)));
        }
        unfinished.finished();
        Ok(())
    }

    /// As `remove`, for a table that has indexes or was never written to.
    #[cold]
    #[inline(never)]
    pub(super) fn remove_indexed<K, V, Q>(
        &self,
        table: &Table<K, V, P>,
        key: &Q,
        home: Home,
    ) -> Result<bool, TransactionError>
    where
        K: Key + Borrow<Q> + ?Sized,
        V: Value + ?Sized,
        Q: Hash + Eq + ?Sized,
    {
        match self.base_outlined(table, key, home)? {
            None => Ok(false),
            Some(found) => self.write_indexed(table, key, home, found, None),
        }
    }

    /// As `write_based`, for a table that has indexes or was never written to.
    #[cold]
    #[inline(never)]
    pub(super) fn write_indexed<K, V, Q>(
        &self,
        table: &Table<K, V, P>,
        key: &Q,
        home: Home,
        (base, before): (Base<P::Words>, &V),
        value: Option<V::Input<'_>>,
    ) -> Result<bool, TransactionError>
    where
        K: Key + Borrow<Q> + ?Sized,
        V: Value + ?Sized,
        Q: Hash + Eq + ?Sized,
    {
        // The closure may have failed or rolled back this very transaction.
        self.check(table)?;
        let (record, old) = self.step(|cx, _| match find_own(cx, table, key, home.hash) {
            // Or written to the key: then that is what this write replaces.
            Some(own) => {
                let write = &cx.worker.access.writes[own];
                (write.record, self.value(table, write.version))
            }
            None => (base.record.expect("a value that is not our own has a record"), Some(before)),
        });
        // SAFETY: of this table, and alive until the transaction ends: its own, or kept by the
        // snapshot, as its value is.
        let key_of_row: &K = unsafe { Record::key(record) };
        let change = Change { key: key_of_row, old, new: value.as_ref().map(V::peek) };
        let unfinished = self.maintain(table, &change)?;
        self.write_based(table, key, home, base, value)?;
        unfinished.finished();
        Ok(true)
    }
}
