//! Ranges of ordered tables.
//!
//! Each shard has an ordered index of its own, so a range is the merge of one walk per shard and of
//! what the transaction itself has written. Entries are found in chunks, in one pinned step each:
//! small ones first, so that a transaction that wants one entry depends on little more.

use super::transaction::State;
use super::{OrderedTable, Table, Transaction};
use crate::error::TransactionError;
use crate::protocol::access_set::RangeEntry;
use crate::protocol::context::Context;
use crate::protocol::{Mvocc, Protocol, Ranges, Step};
use crate::storage::Words;
use crate::storage::ordered_index::{Cursor, KeyOrder, Sought};
use crate::storage::ordered_key::OrderedKey;
use crate::storage::payload::{Key, Value};
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::Version;
use crate::sync::fault::{self, Fault};
use crate::sync::step::{self, Step as Point};
use std::borrow::Borrow;
use std::cmp;
use std::ops::{Bound, RangeBounds};
use std::ptr::NonNull;

/// A record and what the transaction sees of it.
type Seen<W> = (*mut Record<W>, *mut Version<W>);

/// Entries found in one pinned step, at most.
const CHUNK_MAX: usize = 16;
/// Records looked at in one pinned step, at most: many may be invisible.
const LOOKS_MAX: usize = 256;

/// A bound of a range.
struct Wanted<'t, K: OrderedKey + ?Sized, W: Words> {
    key: K::Owned,
    table: &'t TableCore<W>,
}

impl<K: OrderedKey + ?Sized, W: Words> Wanted<'_, K, W> {
    fn key(&self) -> &K {
        self.key.borrow()
    }
}

impl<K: OrderedKey + ?Sized, W: Words> Sought<W> for Wanted<'_, K, W> {
    #[inline]
    fn head(&self, skip: u32) -> u64 {
        self.key().head(skip)
    }

    unsafe fn compare(&self, record: *const Record<W>) -> cmp::Ordering {
        // SAFETY: the caller's promise.
        self.key().cmp(unsafe { key_of(self.table, record) })
    }
}

/// The key of a record.
///
/// # Safety
///
/// The record is alive for `'t`, and of this table, whose keys are `K`s.
pub(super) unsafe fn key_of<'t, K: Key + ?Sized, W: Words>(
    table: &TableCore<W>,
    record: *const Record<W>,
) -> &'t K {
    let (at, len) = table.schema.key_at(record);
    // SAFETY: the caller's promise.
    unsafe { K::view(at, len) }
}

/// The walk through one shard, and the record that it has come to.
struct Walk<'t, K: OrderedKey + ?Sized, W: Words, const REVERSED: bool> {
    cursor: Cursor<'t, W, Wanted<'t, K, W>, TableCore<W>, REVERSED>,
    shard: u32,
    next: Option<(u64, *mut Record<W>)>,
}

/// The entries of a range of an ordered table, in order; see [`Transaction::range`].
pub struct Range<'t, K, V, P = Mvocc, const REVERSED: bool = false>
where
    K: OrderedKey + ?Sized,
    V: Value + ?Sized,
    P: Protocol,
{
    pub(super) transaction: &'t Transaction<'t, P>,
    table: &'t TableCore<P::Words>,
    walks: Vec<Walk<'t, K, P::Words, REVERSED>>,
    begun: bool,
    /// The transaction's own writes in the range, the next one last.
    own: Vec<Seen<P::Words>>,
    found: [Seen<P::Words>; CHUNK_MAX],
    /// Entries of `found`, and how many of them were handed out.
    len: usize,
    given: usize,
    chunk: usize,
    /// The record that was handed out last.
    last: *mut Record<P::Words>,
    exhausted: bool,
    /// This walk's number among the transaction's, and the first of its entries in the access set.
    number: u32,
    first_entry: usize,
    bounds: (u64, u64),
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

fn own_bound<'t, K: OrderedKey + ?Sized, W: Words>(
    bound: Bound<&K>,
    table: &'t TableCore<W>,
) -> Bound<Wanted<'t, K, W>> {
    bound.map(|key| Wanted { key: key.to_owned(), table })
}

/// Sorts by keys of whatever type: one sort serves all tables.
fn sort_by_record<W: Words>(
    seen: &mut [Seen<W>],
    compare: &dyn Fn(*mut Record<W>, *mut Record<W>) -> cmp::Ordering,
) {
    seen.sort_by(|one, other| compare(one.0, other.0));
}

/// The heads of the lowest and the highest key within bounds.
fn heads_of<K: OrderedKey + ?Sized>(low: Bound<&K>, high: Bound<&K>) -> (u64, u64) {
    let head = |bound: Bound<&K>, unbounded| match bound {
        Bound::Included(key) | Bound::Excluded(key) => key.head(0),
        Bound::Unbounded => unbounded,
    };
    (head(low, 0), head(high, u64::MAX))
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
        self.range(table, ..)?.next().transpose()
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
        self.range_rev(table, ..)?.next().transpose()
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
        self.check(table)?;
        Ok(self.step_unpinned(|worker| {
            if worker.access.walks == 0 {
                // A walk holds pointers into the index between its steps.
                self.cell.slot.hold_records();
            }
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
            let key = |record| {
                let (at, len) = table.schema.key_at(record);
                // SAFETY: the record of an open transaction's write is alive; it is this table's.
                unsafe { K::view(at, len) }
            };
            let writes = worker.access.writes.iter();
            let mut own: Vec<_> = writes
                .filter(|write| std::ptr::eq(write.table, table) && contains(key(write.record)))
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

    /// The number of shards.
    fn shards(&self) -> u32 {
        self.store.core.ring.shards() as u32
    }
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
        let mut range = Range {
            transaction,
            table: core,
            walks: Vec::new(),
            begun: false,
            own: Vec::new(),
            found: [(std::ptr::null_mut(), std::ptr::null_mut()); CHUNK_MAX],
            len: 0,
            given: 0,
            chunk: 1,
            last: std::ptr::null_mut(),
            exhausted: empty,
            number,
            first_entry,
            bounds: heads_of(low, high),
            value: std::marker::PhantomData,
        };
        if !empty {
            range.own = transaction.own_writes(core, |key: &K| bounds.contains(key));
            if !REVERSED {
                range.own.reverse();
            }
            range.walks = (0..transaction.shards())
                .map(|shard| {
                    let index = core.ordered_index(shard).expect("an ordered table");
                    let (low, high) = (own_bound(low, core), own_bound(high, core));
                    let cursor = Cursor::new(index, low, high, core);
                    Walk { cursor, shard, next: None }
                })
                .collect();
        }
        Ok(range)
    }

    /// Finds the next chunk of entries; false at the end of the range.
    fn fill(&mut self) -> Result<bool, TransactionError> {
        let transaction = self.transaction;
        (self.len, self.given) = (0, 0);
        while self.len == 0 && !self.exhausted {
            transaction.step_of_range(|cx| self.fill_pinned(cx))?;
        }
        self.chunk = (self.chunk * 2).min(CHUNK_MAX);
        Ok(self.len > 0)
    }

    fn fill_pinned(&mut self, cx: &mut Context<'_, P>) -> Step<P, ()> {
        if !self.begun {
            self.begun = true;
            for at in 0..self.walks.len() {
                P::read_range(cx, self.walks[at].shard)?;
                self.advance(cx, at);
            }
        }
        step::at(Point::RangeWalk);
        for _ in 0..LOOKS_MAX {
            if self.len == self.chunk {
                return Ok(());
            }
            let Some((record, version)) = self.next_record(cx)? else {
                self.exhausted = true;
                return Ok(());
            };
            // SAFETY: visible to this transaction, hence alive.
            let version_header = unsafe { version.as_ref() };
            if version_header.is_some_and(|version| !version.is_tombstone()) {
                self.found[self.len] = (record, version);
                self.len += 1;
            }
        }
        Ok(())
    }

    /// The next record in order, and what the transaction sees of it.
    #[inline]
    fn next_record(&mut self, cx: &mut Context<'_, P>) -> Step<P, Option<Seen<P::Words>>> {
        let mut lowest: Option<usize> = None;
        for at in 0..self.walks.len() {
            let Some(next) = self.walks[at].next else {
                continue;
            };
            let beats = lowest.and_then(|best| self.walks[best].next);
            let is_lower = |best| self.compare(next, best).is_lt();
            if beats.is_none_or(|best| !fault::on(Fault::MergeUnsorted) && is_lower(best)) {
                lowest = Some(at);
            }
        }
        let own = self.own.last().copied();
        let Some(at) = lowest else {
            return Ok(self.own.pop());
        };
        let (head, record) = self.walks[at].next.expect("it was the lowest");
        if let Some((own_record, own_version)) = own {
            // SAFETY: the record of an open transaction's write is alive.
            let own_head = unsafe { self.table.head(own_record, 0) };
            let order = if own_record == record {
                cmp::Ordering::Equal
            } else {
                self.compare((own_head, own_record), (head, record))
            };
            if order.is_lt() {
                return Ok(self.own.pop());
            }
            if own_record == record {
                self.own.pop();
                self.advance(cx, at);
                return Ok(Some((record, own_version)));
            }
        }
        let shard = self.walks[at].shard;
        // SAFETY: in the index while this step is pinned, or since the walk came to it: then the
        // transaction's slot has kept it.
        let found = unsafe { &*record };
        // A record that is out of use says nothing about its key.
        let dead = found.head().is_dead();
        let version = if dead { std::ptr::null_mut() } else { P::read(cx, found, shard)? };
        self.advance(cx, at);
        Ok(Some((record, version)))
    }

    /// Compares two records in the direction of the range.
    #[inline]
    fn compare(
        &self,
        one: (u64, *mut Record<P::Words>),
        other: (u64, *mut Record<P::Words>),
    ) -> cmp::Ordering {
        let by_head = one.0.cmp(&other.0);
        let order = if by_head.is_eq() && !K::EXACT {
            // SAFETY: both are alive: see `next_record`.
            unsafe { self.table.compare(one.1, other.1) }
        } else {
            by_head
        };
        if REVERSED { order.reverse() } else { order }
    }

    #[inline]
    fn advance(&mut self, cx: &mut Context<'_, P>, at: usize) {
        let recorded = match P::RANGES {
            Ranges::Validated => cx.worker.writes || P::VALIDATES_READ_ONLY,
            Ranges::Unchecked | Ranges::Unsupported => false,
        };
        let walk = &mut self.walks[at];
        let ((low, high), shard, walk_number) = (self.bounds, walk.shard, self.number);
        let ranges = &mut cx.worker.access.ranges;
        let table = std::ptr::from_ref(self.table);
        walk.next = walk.cursor.next(&mut |witness| {
            if recorded {
                ranges.push(RangeEntry { witness, table, shard, walk: walk_number, low, high });
            }
        });
    }
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
        self.last = record;
        let found = NonNull::new(version).expect("only values are found");
        // SAFETY: the version is visible at the transaction's published snapshot (or its own), so
        // it and its record stay until the transaction ends; the types are the table's.
        let entry = unsafe {
            let value = V::view(self.table.schema.value_at(version), found.as_ref().len);
            (key_of(self.table, record), value)
        };
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
        let seen_all = self.exhausted && self.given == self.len;
        if seen_all || self.last.is_null() {
            return;
        }
        // SAFETY: handed out, hence alive.
        let head = unsafe { self.table.head(self.last, 0) };
        self.transaction.end_walk(self.first_entry, self.number, |range| {
            if REVERSED { range.low = head } else { range.high = head }
        });
    }
}
