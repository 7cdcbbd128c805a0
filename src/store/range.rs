//! Ranges of ordered tables.
//!
//! A range is the merge of one walk through each part of its table (as a rule there is one) and of
//! what the transaction itself has written. Entries are found in chunks, in one pinned step each:
//! small ones first, so that a transaction that wants one entry depends on little more. A chunk is
//! merged, and its records are fetched, while the one before it is used; then they are read.

use super::merge::{CHUNK_MAX, Merge, Seen, UNLIMITED};
use super::transaction::State;
use super::{OrderedTable, Table, Transaction};
use crate::error::TransactionError;
use crate::protocol::access_set::RangeEntry;
use crate::protocol::context::{Context, Worker};
use crate::protocol::{Mvocc, Protocol, Step};
use crate::storage::Words;
use crate::storage::ordered_index::KeyOrder;
use crate::storage::ordered_key::OrderedKey;
use crate::storage::payload::{Key, Value};
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::{Version, visible_at};
use crate::sync::step::{self, Step as Point};
use std::cmp;
use std::convert::Infallible;
use std::ops::{Bound, RangeBounds};
use std::ptr::NonNull;

/// Entries found in the first step of a view that leaves no trace.
const CHUNK_OF_SNAPSHOT: usize = 4;
/// How many entries a walk has to ask for at once before it merges more than that.
const CHUNK_AHEAD: usize = 8;
/// Chunks of records looked at in one pinned step, at most: many may be invisible.
const CHUNKS_MAX: usize = 16;

/// The entries of a range of an ordered table, in order; see [`Transaction::range`].
pub struct Range<'t, K, V, P = Mvocc, const REVERSED: bool = false>
where
    K: OrderedKey + ?Sized,
    V: Value + ?Sized,
    P: Protocol,
{
    pub(super) transaction: &'t Transaction<'t, P>,
    table: &'t TableCore<P::Words>,
    /// Records in order that are still to be read.
    merge: Merge<'t, K, P, REVERSED>,
    found: [Found<P::Words>; CHUNK_MAX],
    /// Entries of `found`, and how many of them were handed out.
    len: usize,
    given: usize,
    /// How many entries the next step finds, and how many are to be found in all.
    chunk: usize,
    limit: usize,
    /// The record that was handed out last before those in `found`, or null.
    last: *const Record<P::Words>,
    exhausted: bool,
    /// This walk's number among the transaction's, and the first of its entries in the access set.
    number: u32,
    first_entry: usize,
    value: std::marker::PhantomData<&'t V>,
}

impl<K, V, P, const REVERSED: bool> std::fmt::Debug for Range<'_, K, V, P, REVERSED>
where
    K: OrderedKey + ?Sized,
    V: Value + ?Sized,
    P: Protocol,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Range").field("table", &self.table.name).finish_non_exhaustive()
    }
}

/// A record, and the version of it that the transaction sees, which is a value.
type Found<W> = (*const Record<W>, NonNull<Version<W>>);

/// Sorts by keys of whatever type: one sort serves all tables.
fn sort_by_record<W: Words>(
    seen: &mut [Seen<W>],
    compare: &dyn Fn(*mut Record<W>, *mut Record<W>) -> cmp::Ordering,
) {
    seen.sort_by(|one, other| compare(one.0, other.0));
}

/// Whether no key lies within the bounds.
fn is_empty<K: Ord + ?Sized>(low: Bound<&K>, high: Bound<&K>) -> bool {
    match (low, high) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(low), Bound::Included(high)) => low > high,
        (
            Bound::Included(low) | Bound::Excluded(low),
            Bound::Included(high) | Bound::Excluded(high),
        ) => low >= high,
    }
}

impl<'s, P: Protocol> Transaction<'s, P> {
    /// The entries of an ordered table within `bounds`, in ascending order of their keys. Take as
    /// many as you need: with a protocol that validates ranges, the transaction depends on the
    /// part that was walked over, and not on what lies behind it.
    ///
    /// It shows what the transaction has written before this call, and no write after it.
    ///
    /// ```
    /// # fn main() -> Result<(), chronolith::TransactionError> {
    /// let store = chronolith::Store::new();
    /// let scores = store.ordered_table::<u64, String>("scores")?;
    /// store.transact(|tx| {
    ///     [(30, "c"), (10, "a"), (20, "b")]
    ///         .into_iter()
    ///         .try_for_each(|(score, name)| tx.put(&scores, score, name.to_string()))
    /// })?;
    /// let names = store.view(|tx| {
    ///     tx.range(&scores, 10..30)?.map(|entry| Ok(entry?.1.clone())).collect::<Result<Vec<_>,
    ///     _>>()
    /// })?;
    /// assert_eq!(names, ["a", "b"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Misuse. Each entry may be a conflict, after which the range ends.
    pub fn range<'t, K, V>(
        &'t self,
        table: &'t OrderedTable<K, V, P>,
        bounds: impl RangeBounds<K>,
    ) -> Result<Range<'t, K, V, P>, TransactionError>
    where
        K: OrderedKey + ?Sized,
        V: Value + ?Sized,
    {
        Range::new(self, table, &bounds)
    }

    /// As [`Transaction::range`], in descending order.
    ///
    /// # Errors
    ///
    /// As for [`Transaction::range`].
    pub fn range_rev<'t, K, V>(
        &'t self,
        table: &'t OrderedTable<K, V, P>,
        bounds: impl RangeBounds<K>,
    ) -> Result<Range<'t, K, V, P, true>, TransactionError>
    where
        K: OrderedKey + ?Sized,
        V: Value + ?Sized,
    {
        Range::new(self, table, &bounds)
    }

    /// The entry with the lowest key.
    ///
    /// # Errors
    ///
    /// A conflict, or misuse.
    #[allow(clippy::type_complexity, reason = "an entry")]
    pub fn first<'t, K, V>(
        &'t self,
        table: &'t OrderedTable<K, V, P>,
    ) -> Result<Option<(&'t K, &'t V)>, TransactionError>
    where
        K: OrderedKey + ?Sized,
        V: Value + ?Sized,
    {
        self.range(table, ..)?.limit(1).next().transpose()
    }

    /// The entry with the highest key.
    ///
    /// # Errors
    ///
    /// A conflict, or misuse.
    #[allow(clippy::type_complexity, reason = "an entry")]
    pub fn last<'t, K, V>(
        &'t self,
        table: &'t OrderedTable<K, V, P>,
    ) -> Result<Option<(&'t K, &'t V)>, TransactionError>
    where
        K: OrderedKey + ?Sized,
        V: Value + ?Sized,
    {
        self.range_rev(table, ..)?.limit(1).next().transpose()
    }

    /// The entries whose keys begin with `prefix`, in ascending order.
    ///
    /// # Errors
    ///
    /// As for [`Transaction::range`].
    pub fn prefix<'t, V>(
        &'t self,
        table: &'t OrderedTable<[u8], V, P>,
        prefix: &[u8],
    ) -> Result<Range<'t, [u8], V, P>, TransactionError>
    where
        V: Value + ?Sized,
    {
        // The lowest key behind all that begin with the prefix: its last byte that can be raised
        // is.
        let mut end = prefix.to_vec();
        while end.pop_if(|byte| *byte == u8::MAX).is_some() {}
        let high = match end.last_mut() {
            Some(byte) => {
                *byte += 1;
                Bound::Excluded(end.as_slice())
            }
            None => Bound::Unbounded,
        };
        Range::new(self, table, &(Bound::Included(prefix), high))
    }
}

impl<P: Protocol> Transaction<'_, P> {
    /// Begins a walk over ranges: its number, and where its entries in the access set begin.
    fn begin_walk<K, V>(&self, table: &Table<K, V, P>) -> Result<(u32, usize), TransactionError>
    where
        K: Key + ?Sized,
        V: Value + ?Sized,
    {
        if !self.is_open_for(table) {
            self.begin_or_refuse(table.core(), true)?;
        }
        Ok(self.step_unpinned(|worker| {
            // A walk holds pointers into the index between its steps.
            worker.slot.hold_records();
            worker.access.walks += 1;
            (worker.access.walks, worker.access.ranges.len())
        }))
    }

    /// Changes the entries that a walk has left in the access set.
    fn end_walk(
        &self,
        first_entry: usize,
        number: u32,
        mut change: impl FnMut(&mut RangeEntry<P::Words>),
    ) {
        self.step_unpinned(|worker| {
            let entries = worker.access.ranges.iter_mut().skip(first_entry);
            entries.filter(|entry| entry.walk == number).for_each(&mut change);
        });
    }

    /// The transaction's own writes to a table that are within a range, in ascending order.
    fn own_writes<K: OrderedKey + ?Sized>(
        &self,
        table: &TableCore<P::Words>,
        contains: impl Fn(&K) -> bool,
    ) -> Vec<Seen<P::Words>> {
        let _busy = self.busy();
        self.step_unpinned(|worker| {
            // SAFETY: the record of an open transaction's write is alive; it is this table's.
            let key = |record| unsafe { Record::key::<K>(record) };
            let writes = worker.access.writes.iter();
            let mut own: Vec<_> = writes
                .filter(|write| {
                    std::ptr::eq(write.table.pointer(), table) && contains(key(write.record))
                })
                .map(|write| (write.record, write.version))
                .collect();
            sort_by_record(&mut own, &|one, other| key(one).cmp(key(other)));
            own
        })
    }

    /// Runs one step of a walk.
    fn step_of_range<R>(
        &self,
        step: impl FnOnce(&mut Context<'_, P>) -> Step<P, R>,
    ) -> Result<R, TransactionError> {
        match self.state.get() {
            State::Open => {}
            _ => return Err(self.misuse("").into()),
        }
        self.step(|cx, _| step(cx)).map_err(|conflict| self.meet(conflict))
    }
}

/// Whether nothing depends on what a transaction reads.
#[inline]
fn leaves_no_trace<P: Protocol>(worker: &Worker<P>) -> bool {
    P::VIEWS_LEAVE_NO_TRACE && !worker.writes
}

impl<'t, K, V, P, const REVERSED: bool> Range<'t, K, V, P, REVERSED>
where
    K: OrderedKey + ?Sized,
    V: Value + ?Sized,
    P: Protocol,
{
    pub(super) fn new(
        transaction: &'t Transaction<'t, P>,
        table: &'t OrderedTable<K, V, P>,
        bounds: &impl RangeBounds<K>,
    ) -> Result<Self, TransactionError> {
        let core = table.core();
        let (low, high) = (bounds.start_bound(), bounds.end_bound());
        let empty = is_empty(low, high);
        let (number, first_entry) = transaction.begin_walk(table)?;
        let only_looks = transaction.step_unpinned(|worker| leaves_no_trace(worker));
        let (parts, own) = if empty {
            (Default::default(), Vec::new())
        } else {
            let own = transaction.own_writes(core, |key: &K| bounds.contains(key));
            (core.parts(), own)
        };
        Ok(Range {
            transaction,
            table: core,
            merge: Merge::new(core, (low, high), parts, own, number),
            found: [(std::ptr::null(), NonNull::dangling()); CHUNK_MAX],
            len: 0,
            given: 0,
            chunk: if only_looks { CHUNK_OF_SNAPSHOT } else { 1 },
            limit: UNLIMITED,
            last: std::ptr::null(),
            exhausted: empty,
            number,
            first_entry,
            value: std::marker::PhantomData,
        })
    }

    /// Ends the range after `count` more entries. As [`Iterator::take`], but the range knows it: it
    /// finds as many entries and no more, and finds them together. Take what you have asked for:
    /// the transaction depends on the entries that were found, also if they are not taken.
    ///
    /// ```
    /// # fn main() -> Result<(), chronolith::TransactionError> {
    /// # let store = chronolith::Store::new();
    /// # let scores = store.ordered_table::<u64, u64>("scores")?;
    /// # store.transact(|tx| (0..100).try_for_each(|score| tx.put(&scores, score, score)))?;
    /// let found = store.view(|tx| Ok(tx.range(&scores, 10..)?.limit(5).count()))?;
    /// assert_eq!(found, 5);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn limit(mut self, count: usize) -> Self {
        // What was found ahead of the last call is part of it.
        self.len = self.len.min(self.given.saturating_add(count));
        self.limit = self.limit.min(count - (self.len - self.given));
        self.chunk = CHUNK_MAX;
        self
    }

    /// Finds the next chunk of entries; false at the end of the range. Apart from the caller's
    /// loop, which would take registers from it.
    #[inline(never)]
    fn fill(&mut self) -> Result<bool, TransactionError> {
        let transaction = self.transaction;
        self.last = self.last_given();
        (self.len, self.given) = (0, 0);
        while self.len == 0 && !self.exhausted && self.limit > 0 {
            // If the order of a key panics, or there is a conflict, the walks are asked no more.
            self.exhausted = true;
            self.exhausted = transaction.step_of_range(|cx| self.fill_pinned(cx))?;
        }
        Ok(self.len > 0)
    }

    /// True at the end of the range.
    fn fill_pinned(&mut self, cx: &mut Context<'_, P>) -> Step<P, bool> {
        self.merge.begin(cx)?;
        step::at(Point::RangeWalk);
        for _ in 0..CHUNKS_MAX {
            if self.merge.len() == 0 {
                self.merge.fill::<V>(cx, self.chunk.min(self.limit), self.limit);
                if self.merge.len() == 0 {
                    return Ok(true);
                }
            }
            self.read(cx)?;
            let read = self.chunk;
            self.chunk = (2 * read).min(CHUNK_MAX);
            if read >= CHUNK_AHEAD {
                self.merge.fill::<V>(cx, self.chunk.min(self.limit), self.limit);
            }
            if self.len > 0 {
                break;
            }
        }
        Ok(false)
    }

    /// Reads what was merged.
    fn read(&mut self, cx: &mut Context<'_, P>) -> Step<P, ()> {
        // There are more than the limit if it was set after they had been merged.
        let (merge, found) = (&self.merge, &mut self.found[..self.limit.min(CHUNK_MAX)]);
        self.len = if leaves_no_trace(cx.worker) {
            keep_visible(cx, merge.records(), found)
        } else {
            keep(merge.merged(), found, |record| {
                if record.head().is_dead() {
                    // A record that is out of use says nothing about its key.
                    return Ok(std::ptr::null_mut());
                }
                P::read(cx, record, cx.core.ring.shard_of(record.hash))
            })?
        };
        self.merge.clear();
        if self.limit != UNLIMITED {
            self.limit -= self.len;
        }
        Ok(())
    }

    /// The record that was handed out last, or null.
    #[inline]
    fn last_given(&self) -> *const Record<P::Words> {
        match self.given.checked_sub(1) {
            Some(last) => self.found[last].0,
            None => self.last,
        }
    }
}

/// As [`keep`], for a view whose reads leave no trace. A function of its own, because the loop
/// wants all registers.
#[inline(never)]
fn keep_visible<P: Protocol>(
    cx: &Context<'_, P>,
    records: &[*mut Record<P::Words>],
    found: &mut [Found<P::Words>],
) -> usize {
    let snapshot = cx.worker.snapshot;
    let merged = records.iter().map(|&record| (record, std::ptr::null_mut()));
    let Ok(len) = keep::<_, Infallible>(merged, found, |record| {
        step::at(Point::ReadWalk);
        // One that is out of use has no version.
        // SAFETY: this step is pinned, the snapshot is published, and the head was loaded after it
        // was drawn.
        Ok(unsafe { visible_at(record.head().version(), snapshot) }.0)
    });
    len
}

/// Puts those of the merged records whose version is a value into `found`, until that is full, and
/// returns how many; `see` finds the version of a record that the transaction does not write.
#[inline(always)]
fn keep<W: Words, E>(
    merged: impl Iterator<Item = Seen<W>>,
    found: &mut [Found<W>],
    mut see: impl FnMut(&Record<W>) -> Result<*mut Version<W>, E>,
) -> Result<usize, E> {
    let room = found.len();
    let mut places = found.iter_mut();
    let Some(mut place) = places.next() else { return Ok(0) };
    for (record, written) in merged {
        let version = if written.is_null() {
            // SAFETY: in the index when the walk came to it, and kept by the transaction's slot.
            see(unsafe { &*record })?
        } else {
            written
        };
        let Some(version) = NonNull::new(version) else { continue };
        // SAFETY: visible to this transaction or its own, hence alive.
        if !unsafe { version.as_ref() }.is_tombstone() {
            *place = (record, version);
            match places.next() {
                Some(next) => place = next,
                None => return Ok(room),
            }
        }
    }
    Ok(room - 1 - places.len())
}

impl<'t, K, V, P, const REVERSED: bool> Iterator for Range<'t, K, V, P, REVERSED>
where
    K: OrderedKey + ?Sized,
    V: Value + ?Sized,
    P: Protocol,
{
    type Item = Result<(&'t K, &'t V), TransactionError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.given == self.len {
            match self.fill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => {
                    self.exhausted = true;
                    self.len = 0;
                    return Some(Err(error));
                }
            }
        }
        let (record, version) = self.found[self.given];
        self.given += 1;
        // SAFETY: the version is visible at the transaction's published snapshot (or its own), so
        // it and its record stay until the transaction ends; the types are the table's.
        let entry = unsafe { (Record::key(record), Version::value(version.as_ptr())) };
        Some(Ok(entry))
    }
}

impl<K, V, P, const REVERSED: bool> Drop for Range<'_, K, V, P, REVERSED>
where
    K: OrderedKey + ?Sized,
    V: Value + ?Sized,
    P: Protocol,
{
    /// What was not asked for is not depended on.
    fn drop(&mut self) {
        if self.transaction.state.get() == State::Busy {
            // The user's code has dropped it inside a step, which has the access set to itself. To
            // depend on more than was taken is no mistake.
            return;
        }
        let (seen_all, last) = (self.exhausted && self.given == self.len, self.last_given());
        if seen_all || last.is_null() {
            return;
        }
        // SAFETY: handed out, hence alive.
        let head = unsafe { self.table.head(last, 0) };
        self.transaction.end_walk(self.first_entry, self.number, |range| {
            if REVERSED { range.low = head } else { range.high = head }
        });
    }
}
