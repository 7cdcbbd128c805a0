//! Reads and writes.

use super::operation::{
    BATCH, Base, Home, Place, Stop, insert_record, locate, prefetch, read, read_base, replace,
    write, write_after,
};
use super::{Store, Table};
use crate::error::{Abort, AbortReason, Error, TransactionError};
use crate::limits::PAYLOAD_LEN_MAX_BYTES;
use crate::protocol::access_set::WriteKind;
use crate::protocol::context::{Context, Worker, WorkerCell};
use crate::protocol::{Conflict, Mvocc, Protocol, Reads};
use crate::storage::payload::{Key, Value};
use crate::storage::table::TableCore;
use crate::storage::version::Version;
use crossbeam_epoch::Guard;
use std::borrow::Borrow;
use std::cell::Cell;
use std::hash::Hash;
use std::marker::PhantomData;
use std::ptr::NonNull;

/// A transaction: a consistent snapshot, and the writes that will be committed on top of it.
///
/// Operations take `&self`, so references to values live as long as the transaction and a write
/// does not end them. Whatever a transaction writes, it also reads. Dropping one rolls it back.
///
/// ```
/// # fn main() -> Result<(), chronolith::TransactionError> {
/// let store = chronolith::Store::new();
/// let table = store.table::<u64, String>("greetings")?;
/// let tx = store.begin()?;
/// tx.put(&table, 1, "hello".to_string())?;
/// assert_eq!(tx.get(&table, &1)?.map(String::as_str), Some("hello"));
/// tx.commit()?;
/// # Ok(())
/// # }
/// ```
pub struct Transaction<'s, P: Protocol = Mvocc> {
    pub(super) store: &'s Store<P>,
    /// The worker; before the transaction has begun nothing is there.
    pub(super) cell: Cell<NonNull<WorkerCell<P>>>,
    pub(super) state: Cell<State>,
    pub(super) conflict: Cell<Option<Abort>>,
    /// The reason of that conflict, which stays when the conflict is taken.
    pub(super) failure: Cell<Option<AbortReason>>,
    /// The worker is used through a shared reference by one thread.
    pub(super) not_sync: PhantomData<*mut ()>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// A view whose snapshot its first operation draws: it has no worker yet.
    Unbegun,
    /// Open for operations.
    Open,
    /// Inside an operation.
    Busy,
    /// It has met a conflict or was rolled back: it can only end.
    Failed,
    /// Its commit has failed and is cleaned up; only the worker is still to be returned.
    CleanedUp,
    /// Over.
    Ended,
}

/// Ends a step, also when a panic passes through it.
pub(super) struct Busy<'t> {
    state: &'t Cell<State>,
    before: State,
}

impl Drop for Busy<'_> {
    #[inline]
    fn drop(&mut self) {
        self.state.set(self.before);
    }
}

impl<P: Protocol> std::fmt::Debug for Transaction<'_, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction").field("state", &self.state.get()).finish_non_exhaustive()
    }
}

impl<'s, P: Protocol> Transaction<'s, P> {
    /// The worker of a transaction that has begun.
    #[inline(always)]
    pub(super) fn cell(&self) -> &'s WorkerCell<P> {
        debug_assert!(self.state.get() != State::Unbegun, "nobody works for it yet");
        // SAFETY: set when the transaction began, and whatever needs the worker begins it first;
        // workers live as long as their store, which is borrowed for that long.
        unsafe { &*self.cell.get().as_ptr() }
    }

    /// Runs one step: pinned, with the worker to itself. A key's equality or a value's `Drop` is
    /// the user's code; if it comes back to this transaction it finds it busy.
    #[inline]
    pub(super) fn step<R>(&self, step: impl FnOnce(&mut Context<'_, P>, &Guard) -> R) -> R {
        let _busy = self.busy();
        // SAFETY: the slot is ours, this type is not `Sync`, and steps do not nest.
        let worker = unsafe { &mut *self.cell().worker.get() };
        let guard = worker.handle.pin();
        let mut cx = Context { core: &self.store.core, worker, tallies: &self.cell().tallies };
        step(&mut cx, &guard)
    }

    #[inline(always)]
    pub(super) fn busy(&self) -> Busy<'_> {
        Busy { state: &self.state, before: self.state.replace(State::Busy) }
    }

    #[inline(always)]
    fn home<Q: Hash + ?Sized>(&self, key: &Q) -> Home {
        let core = &self.store.core;
        Home::of(core, core.hasher.hash_one(key))
    }

    #[cold]
    pub(super) fn meet(&self, conflict: Conflict<P::Words>) -> TransactionError {
        let abort = self.store.core.describe(conflict);
        self.state.set(State::Failed);
        self.failure.set(Some(abort.reason()));
        self.conflict.set(Some(abort.clone()));
        abort.into()
    }

    #[inline(always)]
    pub(super) fn check<K, V>(&self, table: &Table<K, V, P>) -> Result<(), TransactionError>
    where
        K: Key + ?Sized,
        V: Value + ?Sized,
    {
        if self.is_open_for(table) { Ok(()) } else { self.begin_or_refuse(table.core(), false) }
    }

    /// Whether it has begun, and can go on with an operation on this table.
    #[inline(always)]
    pub(super) fn is_open_for<K, V>(&self, table: &Table<K, V, P>) -> bool
    where
        K: Key + ?Sized,
        V: Value + ?Sized,
    {
        self.state.get() == State::Open && table.core().store == self.store.core.id
    }

    /// Begins a view with its first operation, or says what is wrong. Apart, because whatever
    /// operation may be the first would save registers for its sake.
    #[inline(never)]
    pub(super) fn begin_or_refuse(
        &self,
        table: &TableCore<P::Words>,
        walks: bool,
    ) -> Result<(), TransactionError> {
        if self.state.get() == State::Unbegun && table.store == self.store.core.id {
            return self.begin_now(walks);
        }
        Err(self.misuse(&table.name).into())
    }

    /// What is wrong with an operation on a table of this name.
    #[cold]
    pub(super) fn misuse(&self, table: &str) -> Error {
        match self.state.get() {
            State::Unbegun | State::Open => Error::ForeignTable { table: table.to_string() },
            State::Busy => Error::Busy,
            State::Failed | State::CleanedUp | State::Ended => Error::Ended,
        }
    }

    fn check_write<K, V>(
        &self,
        table: &Table<K, V, P>,
        lens: [usize; 2],
    ) -> Result<(), TransactionError>
    where
        K: Key + ?Sized,
        V: Value + ?Sized,
    {
        self.check(table)?;
        // SAFETY: the slot is ours; nothing else refers to the worker now.
        if !unsafe { &*self.cell().worker.get() }.writes {
            return Err(Error::ReadOnly.into());
        }
        match lens.into_iter().find(|&len| len > PAYLOAD_LEN_MAX_BYTES) {
            Some(len) => Err(Error::TooLong { len, max: PAYLOAD_LEN_MAX_BYTES }.into()),
            None => Ok(()),
        }
    }

    /// The value of a key, or `None`.
    ///
    /// # Errors
    ///
    /// A conflict (not with multi-version protocols), or misuse.
    #[inline(always)]
    pub fn get<K, V, Q>(
        &self,
        table: &Table<K, V, P>,
        key: &Q,
    ) -> Result<Option<&V>, TransactionError>
    where
        K: Key + Borrow<Q> + ?Sized,
        V: Value + ?Sized,
        Q: Hash + Eq + ?Sized,
    {
        let home = self.home(key);
        // As in `begin_or_refuse`, which views that get one value would feel as a call.
        if !self.is_open_for(table) {
            let core = table.core();
            if self.state.get() != State::Unbegun || core.store != self.store.core.id {
                return Err(self.misuse(&core.name).into());
            }
            core.index(home.shard).prefetch(home.hash);
            self.begin_now(false)?;
        }
        let busy = self.busy();
        // SAFETY: as in `step`, which is written out here because this is the hottest path of all.
        let worker = unsafe { &mut *self.cell().worker.get() };
        let guard = worker.handle.pin();
        let mut cx = Context { core: &self.store.core, worker, tallies: &self.cell().tallies };
        match read(&mut cx, table, key, home) {
            Ok(version) => {
                // While pinned, because a tombstone is not kept for the snapshot as a value is.
                let value = self.value(table, version);
                drop(guard);
                Ok(value)
            }
            Err(conflict) => {
                drop((guard, busy));
                Err(self.meet(conflict))
            }
        }
    }

    /// The values of several keys, each in its place of `found`. The cache misses of a batch
    /// overlap, so this is faster than as many calls of [`Transaction::get`].
    ///
    /// ```
    /// # fn main() -> Result<(), chronolith::TransactionError> {
    /// # let store = chronolith::Store::new();
    /// # let table = store.table::<u64, u64>("numbers")?;
    /// # store.transact(|tx| tx.put(&table, 1, 10))?;
    /// let sum = store.view(|tx| {
    ///     let mut found = [None; 2];
    ///     tx.get_many(&table, &[&1, &2], &mut found)?;
    ///     Ok(found.into_iter().flatten().sum::<u64>())
    /// })?;
    /// assert_eq!(sum, 10);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As for [`Transaction::get`]; [`Error::BatchLength`] if there are not as many places as keys.
    pub fn get_many<'a, K, V, Q>(
        &'a self,
        table: &Table<K, V, P>,
        keys: &[&Q],
        found: &mut [Option<&'a V>],
    ) -> Result<(), TransactionError>
    where
        K: Key + Borrow<Q> + ?Sized,
        V: Value + ?Sized,
        Q: Hash + Eq + ?Sized,
    {
        self.check(table)?;
        if keys.len() != found.len() {
            return Err(Error::BatchLength { keys: keys.len(), places: found.len() }.into());
        }
        let outcome = self.step(|cx, _| {
            for (keys, found) in keys.chunks(BATCH).zip(found.chunks_mut(BATCH)) {
                let homes = prefetch(cx.core, table, keys);
                for ((key, home), found) in keys.iter().zip(homes).zip(found) {
                    *found = self.value(table, read(cx, table, *key, home)?);
                }
            }
            Ok(())
        });
        outcome.map_err(|conflict| self.meet(conflict))
    }

    /// The value of a version, in the step that found it.
    #[inline]
    pub(super) fn value<K: Key + ?Sized, V: Value + ?Sized>(
        &self,
        _: &Table<K, V, P>,
        version: *mut Version<P::Words>,
    ) -> Option<&V> {
        let header = NonNull::new(version)?;
        // SAFETY: the version is visible at this transaction's published snapshot (or is its own),
        // so it stays until the transaction ends, which the reference cannot outlive.
        let header = unsafe { header.as_ref() };
        // SAFETY: as above; versions of this table hold a `V`, unless they are tombstones.
        (!header.is_tombstone()).then(|| unsafe { Version::value(version) })
    }

    /// Sets the value of a key, whether it is present or not.
    ///
    /// # Errors
    ///
    /// A conflict, misuse, or [`Error::OutOfMemory`].
    pub fn put<K, V>(
        &self,
        table: &Table<K, V, P>,
        key: K::Input<'_>,
        value: V::Input<'_>,
    ) -> Result<(), TransactionError>
    where
        K: Key + ?Sized,
        V: Value + ?Sized,
    {
        self.check_write(table, [K::len(&key), V::len(&value)])?;
        let home = self.home(K::peek(&key));
        if !table.core().indexes.is_sealed_empty() {
            return self.put_indexed(table, key, home, value);
        }
        let written = self.step(|cx, _| match locate(cx, table, K::peek(&key), home) {
            Place::Own(index) => Ok(replace(cx, table, index, Some(value))?),
            Place::Record(record) => {
                write(cx, table, record, home, WriteKind::Blind, std::ptr::null_mut(), Some(value))
            }
            Place::Absent(_) => insert_record(cx, table, key, home, value),
        });
        written.map_err(|stop| self.stop(stop))
    }

    /// Inserts a key; does nothing and returns false if it is present.
    ///
    /// # Errors
    ///
    /// As for [`Transaction::put`].
    pub fn insert<K, V>(
        &self,
        table: &Table<K, V, P>,
        key: K::Input<'_>,
        value: V::Input<'_>,
    ) -> Result<bool, TransactionError>
    where
        K: Key + ?Sized,
        V: Value + ?Sized,
    {
        self.check_write(table, [K::len(&key), V::len(&value)])?;
        let home = self.home(K::peek(&key));
        if !table.core().indexes.is_sealed_empty() {
            return self.insert_indexed(table, key, home, value);
        }
        self.insert_row(table, key, home, value)
    }

    /// Inserts a key, and leaves indexes alone.
    #[inline]
    pub(super) fn insert_row<K, V>(
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
        let inserted = self.step(|cx, _| -> Result<bool, Stop<P>> {
            match locate(cx, table, K::peek(&key), home) {
                Place::Own(index) => {
                    let version = cx.worker.access.writes[index].version;
                    // SAFETY: the transaction's own private version.
                    if !unsafe { &*version }.is_tombstone() {
                        return Ok(false);
                    }
                    replace(cx, table, index, Some(value))?;
                }
                Place::Record(record) => {
                    // SAFETY: this step is pinned since before the record was found.
                    let found =
                        P::read(cx, unsafe { &*record }, home.shard).map_err(Stop::Conflict)?;
                    if self.value(table, found).is_some() {
                        return Ok(false);
                    }
                    write(cx, table, record, home, WriteKind::Based, found, Some(value))?;
                }
                Place::Absent(_) => insert_record(cx, table, key, home, value)?,
            }
            Ok(true)
        });
        inserted.map_err(|stop| self.stop(stop))
    }

    /// Replaces the value of a key by what `change` makes of it; returns false if it is absent.
    ///
    /// # Errors
    ///
    /// As for [`Transaction::put`].
    pub fn update<K, V, Q>(
        &self,
        table: &Table<K, V, P>,
        key: &Q,
        change: impl FnOnce(&V) -> V,
    ) -> Result<bool, TransactionError>
    where
        K: Key + Borrow<Q> + ?Sized,
        V: for<'v> Value<Input<'v> = V>,
        Q: Hash + Eq + ?Sized,
    {
        self.check_write(table, [0, 0])?;
        let home = self.home(key);
        let Some((base, before)) = self.base(table, key, home)? else {
            return Ok(false);
        };
        let value = self.hold_snapshot(|| change(before));
        if !table.core().indexes.is_sealed_empty() {
            return self.write_indexed(table, key, home, (base, before), Some(value));
        }
        self.write_based(table, key, home, base, Some(value))
    }

    /// As [`Transaction::update`], for byte-string values: `change` is given the present bytes and
    /// a buffer that is empty, and fills the buffer with the new ones.
    ///
    /// # Errors
    ///
    /// As for [`Transaction::put`].
    pub fn update_bytes<K, Q>(
        &self,
        table: &Table<K, [u8], P>,
        key: &Q,
        buffer: &mut Vec<u8>,
        change: impl FnOnce(&[u8], &mut Vec<u8>),
    ) -> Result<bool, TransactionError>
    where
        K: Key + Borrow<Q> + ?Sized,
        Q: Hash + Eq + ?Sized,
    {
        self.check_write(table, [0, 0])?;
        let home = self.home(key);
        let Some((base, before)) = self.base(table, key, home)? else {
            return Ok(false);
        };
        buffer.clear();
        self.hold_snapshot(|| change(before, buffer));
        self.check_write(table, [0, buffer.len()])?;
        let value = Some(buffer.as_slice());
        if !table.core().indexes.is_sealed_empty() {
            return self.write_indexed(table, key, home, (base, before), value);
        }
        self.write_based(table, key, home, base, value)
    }

    /// Removes a key; returns false if it is absent.
    ///
    /// # Errors
    ///
    /// As for [`Transaction::put`].
    pub fn remove<K, V, Q>(&self, table: &Table<K, V, P>, key: &Q) -> Result<bool, TransactionError>
    where
        K: Key + Borrow<Q> + ?Sized,
        V: Value + ?Sized,
        Q: Hash + Eq + ?Sized,
    {
        self.check_write(table, [0, 0])?;
        let home = self.home(key);
        if !table.core().indexes.is_sealed_empty() {
            return self.remove_indexed(table, key, home);
        }
        let removed = self.step(|cx, _| -> Result<bool, Stop<P>> {
            let place = locate(cx, table, key, home);
            let version = match &place {
                Place::Own(index) => cx.worker.access.writes[*index].version,
                found => read_base(cx, table, found, home).map_err(Stop::Conflict)?,
            };
            if self.value(table, version).is_none() {
                return Ok(false);
            }
            match place {
                Place::Own(index) => replace::<K, V, P>(cx, table, index, None)?,
                Place::Record(record) => {
                    write::<K, V, P>(cx, table, record, home, WriteKind::Based, version, None)?;
                }
                Place::Absent(_) => unreachable!("a value has a record"),
            }
            Ok(true)
        });
        removed.map_err(|stop| self.stop(stop))
    }

    /// Rolls the transaction back. Return what this returns from the closure of
    /// [`Store::transact`]: it is not tried again.
    pub fn rollback(&self) -> TransactionError {
        if self.state.get() == State::Busy {
            // From a function of the user's that an operation has called: the operation goes on.
            return Error::Busy.into();
        }
        // A view that has not begun, or could not, has no worker and nothing to undo.
        self.state.set(if self.has_worker() { State::Failed } else { State::Ended });
        Abort::new(AbortReason::User).into()
    }

    /// Commits.
    ///
    /// # Errors
    ///
    /// The conflict that prevented it; nothing is written then.
    pub fn commit(mut self) -> Result<(), TransactionError> {
        match self.take_conflict() {
            Some(abort) => Err(abort.into()),
            None => self.finish(),
        }
    }
}

impl<P: Protocol> Transaction<'_, P> {
    /// What an update is based on, and its value; `None` if the key is absent.
    #[allow(clippy::type_complexity, reason = "a pair, taken apart by those who ask for it")]
    #[inline(always)]
    pub(super) fn base<K, V, Q>(
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
        let busy = self.busy();
        // SAFETY: as in `step`, which is written out here as in `get`.
        let worker = unsafe { &mut *self.cell().worker.get() };
        let guard = worker.handle.pin();
        let mut cx = Context { core: &self.store.core, worker, tallies: &self.cell().tallies };
        let place = locate(&cx, table, key, home);
        match read_base(&mut cx, table, &place, home) {
            Ok(version) => {
                let record = match place {
                    Place::Record(record) => Some(record),
                    Place::Own(_) | Place::Absent(_) => None,
                };
                // While pinned: see `get`.
                let value = self.value(table, version);
                drop(guard);
                Ok(value.map(|value| (Base { record, version }, value)))
            }
            Err(conflict) => {
                drop((guard, busy));
                Err(self.meet(conflict))
            }
        }
    }

    /// Runs the user's closure while the snapshot stays where it is: the value that the closure
    /// looks at is protected by the snapshot alone until the write that is based on it exists.
    pub(super) fn hold_snapshot<R>(&self, body: impl FnOnce() -> R) -> R {
        // SAFETY: the slot is ours; the reference does not outlive the statement.
        unsafe { &mut *self.cell().worker.get() }.held += 1;
        let result = body();
        // SAFETY: as above.
        unsafe { &mut *self.cell().worker.get() }.held -= 1;
        result
    }

    /// Writes what an update's closure made of the value that it was given, or removes the key.
    #[inline(always)]
    pub(super) fn write_based<K, V, Q>(
        &self,
        table: &Table<K, V, P>,
        key: &Q,
        home: Home,
        base: Base<P::Words>,
        value: Option<V::Input<'_>>,
    ) -> Result<bool, TransactionError>
    where
        K: Key + Borrow<Q> + ?Sized,
        V: Value + ?Sized,
        Q: Hash + Eq + ?Sized,
    {
        if self.state.get() != State::Open {
            // The closure has failed or rolled back this very transaction.
            return Err(self.misuse(&table.core().name).into());
        }
        let busy = self.busy();
        // SAFETY: as in `step`.
        let worker = unsafe { &mut *self.cell().worker.get() };
        // What follows touches the record, which the snapshot keeps alive, and no version but ours.
        let guard = (P::READS == Reads::Newest).then(|| worker.handle.pin());
        let mut cx = Context { core: &self.store.core, worker, tallies: &self.cell().tallies };
        let written = write_after(&mut cx, table, key, home, base, value);
        drop((guard, busy));
        written.map_err(|stop| self.stop(stop))?;
        Ok(true)
    }

    #[cold]
    fn stop(&self, stop: Stop<P>) -> TransactionError {
        match stop {
            Stop::Conflict(conflict) => self.meet(conflict),
            Stop::Error(error) => error.into(),
        }
    }

    #[inline]
    pub(super) fn step_unpinned<R>(&self, step: impl FnOnce(&mut Worker<P>) -> R) -> R {
        // SAFETY: as in `step`.
        step(unsafe { &mut *self.cell().worker.get() })
    }
}
