//! One order for the walks through the parts of a table and for what the transaction itself has
//! written.

use super::operation::fetch_inline;
use crate::protocol::access_set::{RangeEntry, StoreTable};
use crate::protocol::context::Context;
use crate::protocol::{Protocol, Ranges, Step};
use crate::storage::Words;
use crate::storage::ordered_index::{Bounds, Cursor, KeyOrder, OrderedIndex, Sought, Witness};
use crate::storage::ordered_key::OrderedKey;
use crate::storage::payload::Value;
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::Version;
use crate::sync::fault::{self, Fault};
use std::borrow::Borrow;
use std::cmp;
use std::hint::select_unpredictable;
use std::ops::Bound;

/// A record and what the transaction sees of it.
pub(super) type Seen<W> = (*mut Record<W>, *mut Version<W>);

/// The limit of a range that has none.
pub(super) const UNLIMITED: usize = usize::MAX;

/// Records that are merged at once, at most.
pub(super) const CHUNK_MAX: usize = 16;

/// A bound of a range of a table whose keys are `K`s.
pub(super) struct Wanted<K: OrderedKey + ?Sized>(K::Owned);

impl<K: OrderedKey + ?Sized> Wanted<K> {
    fn key(&self) -> &K {
        self.0.borrow()
    }
}

impl<K: OrderedKey + ?Sized, W: Words> Sought<W> for Wanted<K> {
    #[inline]
    fn head(&self, skip: u32) -> u64 {
        self.key().head(skip)
    }

    unsafe fn compare(&self, record: *const Record<W>) -> cmp::Ordering {
        // SAFETY: the caller's promise, and whoever makes a bound gives it the type of the keys.
        self.key().cmp(unsafe { Record::key(record) })
    }
}

fn own_bound<K: OrderedKey + ?Sized>(bound: Bound<&K>) -> Bound<Wanted<K>> {
    bound.map(|key| Wanted(key.to_owned()))
}

/// The heads of the lowest and the highest key within bounds.
fn heads_of<K: OrderedKey + ?Sized>(low: Bound<&K>, high: Bound<&K>) -> (u64, u64) {
    let head = |bound: Bound<&K>, unbounded| match bound {
        Bound::Included(key) | Bound::Excluded(key) => key.head(0),
        Bound::Unbounded => unbounded,
    };
    (head(low, 0), head(high, u64::MAX))
}

/// Notes the witnesses of a walk in the access set, if its transaction depends on them.
#[inline]
fn note_range<P: Protocol>(
    cx: &mut Context<'_, P>,
    table: &TableCore<P::Words>,
    part: u32,
    walk: u32,
    (low, high): (u64, u64),
) -> impl FnMut(Witness<P::Words>) {
    let noted = match P::RANGES {
        Ranges::Validated => cx.worker.writes || P::VALIDATES_READ_ONLY,
        Ranges::Unchecked | Ranges::Unsupported => false,
    };
    let ranges = &mut cx.worker.access.ranges;
    // SAFETY: a transaction walks only over tables of its store.
    let table = unsafe { StoreTable::new(table) };
    move |witness| {
        if noted {
            ranges.push(RangeEntry { witness, table, part, walk, low, high });
        }
    }
}

/// The walk through one part. One that has come to its end is dropped.
struct Walk<'t, W: Words, const REVERSED: bool> {
    cursor: Cursor<'t, W, TableCore<W>, REVERSED>,
    part: u32,
}

/// The walks of a range: one as a rule, which needs no memory of its own.
#[allow(clippy::large_enum_variant, reason = "the large one is the rule, and lies on the stack")]
enum Walks<'t, W: Words, const REVERSED: bool> {
    One(Walk<'t, W, REVERSED>),
    Several(Vec<Walk<'t, W, REVERSED>>),
}

impl<'t, W: Words, const REVERSED: bool> Walks<'t, W, REVERSED> {
    fn new(parts: &'t [OrderedIndex<W>], table: &'t TableCore<W>) -> Self {
        let walk = |(index, part)| Walk { cursor: Cursor::new(index, table), part };
        match parts {
            [index] => Walks::One(walk((index, 0))),
            _ => Walks::Several(parts.iter().zip(0..).map(walk).collect()),
        }
    }

    /// Forgets one that has come to its end.
    fn drop_walk(&mut self, at: usize) {
        match self {
            Walks::One(_) => *self = Walks::Several(Vec::new()),
            Walks::Several(walks) => drop(walks.swap_remove(at)),
        }
    }
}

impl<'t, W: Words, const REVERSED: bool> std::ops::Deref for Walks<'t, W, REVERSED> {
    type Target = [Walk<'t, W, REVERSED>];

    #[inline]
    fn deref(&self) -> &Self::Target {
        match self {
            Walks::One(walk) => std::slice::from_ref(walk),
            Walks::Several(walks) => walks,
        }
    }
}

impl<W: Words, const REVERSED: bool> std::ops::DerefMut for Walks<'_, W, REVERSED> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        match self {
            Walks::One(walk) => std::slice::from_mut(walk),
            Walks::Several(walks) => walks,
        }
    }
}

/// A record that comes next, with the head of its key.
type Front<W> = (u64, *mut Record<W>);

/// The records of a range in order, a chunk at a time; with `REVERSED` in descending order.
pub(super) struct Merge<'t, K, P, const REVERSED: bool>
where
    K: OrderedKey + ?Sized,
    P: Protocol,
{
    table: &'t TableCore<P::Words>,
    bounds: Bounds<Wanted<K>>,
    /// The heads of the bounds.
    heads: (u64, u64),
    /// If there is something to merge, every one of them has a record in front once they have
    /// begun.
    walks: Walks<'t, P::Words, REVERSED>,
    begun: bool,
    /// The walk whose batch is empty: it is filled when more is wanted.
    empty: Option<usize>,
    /// The transaction's own writes in the range, the next one last.
    own: Vec<Seen<P::Words>>,
    /// Whether the next one was merged. It stays until every record of its key has come by: one
    /// that is out of use may still be in the index beside another.
    own_merged: bool,
    merged: [*mut Record<P::Words>; CHUNK_MAX],
    /// What the transaction writes of each of them; null: nothing.
    written: [*mut Version<P::Words>; CHUNK_MAX],
    len: usize,
    /// Whether there is one walk, and nothing to merge with what it finds. It stays so.
    is_alone: bool,
    /// The number of the whole walk among the transaction's.
    number: u32,
}

impl<'t, K, P, const REVERSED: bool> Merge<'t, K, P, REVERSED>
where
    K: OrderedKey + ?Sized,
    P: Protocol,
{
    /// Of the records within bounds in these parts of a table, and of the transaction's writes
    /// there, which are in ascending order.
    pub(super) fn new(
        table: &'t TableCore<P::Words>,
        (low, high): (Bound<&K>, Bound<&K>),
        parts: &'t [OrderedIndex<P::Words>],
        mut own: Vec<Seen<P::Words>>,
        number: u32,
    ) -> Self {
        if !REVERSED {
            own.reverse();
        }
        Merge {
            table,
            bounds: (own_bound(low), own_bound(high)),
            heads: heads_of(low, high),
            walks: Walks::new(parts, table),
            begun: false,
            empty: None,
            own,
            own_merged: false,
            merged: [std::ptr::null_mut(); CHUNK_MAX],
            written: [std::ptr::null_mut(); CHUNK_MAX],
            len: 0,
            is_alone: false,
            number,
        }
    }

    /// How many records were merged.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The records that were merged, each with the version of it that the transaction writes, or
    /// null.
    #[inline]
    pub(super) fn merged(&self) -> impl Iterator<Item = Seen<P::Words>> {
        self.merged[..self.len].iter().copied().zip(self.written)
    }

    /// The records that were merged, for a transaction that writes nothing.
    #[inline]
    pub(super) fn records(&self) -> &[*mut Record<P::Words>] {
        &self.merged[..self.len]
    }

    /// Forgets the records that were merged.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Goes to where the range begins in every part, in all of them at the same time.
    pub(super) fn begin(&mut self, cx: &mut Context<'_, P>) -> Step<P, ()> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        P::read_range(cx, self.table)?;
        let bounds = &self.bounds;
        let mut step_all = || {
            let steps = self.walks.iter_mut().map(|walk| walk.cursor.approach(bounds));
            steps.fold(false, |any, stepped| any | stepped)
        };
        while step_all() {}
        if !self.is_alone_now() {
            for at in (0..self.walks.len()).rev() {
                self.refill(cx, at);
            }
        }
        Ok(())
    }

    /// Merges until there are so many records, or no more, and asks for them (values are `V`s).
    pub(super) fn fill<V: Value + ?Sized>(
        &mut self,
        cx: &mut Context<'_, P>,
        wanted: usize,
        limit: usize,
    ) {
        debug_assert_eq!(self.len, 0, "what was merged is read before more is");
        if self.is_alone_now() {
            self.drain::<V>(cx, wanted, if limit == UNLIMITED { 2 * wanted } else { limit });
            return;
        }
        while self.len < wanted {
            if let Some(at) = self.empty.take() {
                self.refill(cx, at);
            }
            self.empty = self.merge_batches::<V>(wanted);
            if self.walks.is_empty() {
                let Some(write) = self.own.pop() else { return };
                if !std::mem::take(&mut self.own_merged) {
                    self.push(write);
                }
            }
        }
    }

    #[inline]
    fn push(&mut self, (record, written): Seen<P::Words>) {
        (self.merged[self.len], self.written[self.len]) = (record, written);
        self.len += 1;
    }

    #[inline]
    fn is_alone_now(&mut self) -> bool {
        if !self.is_alone && self.walks.len() == 1 && self.own.is_empty() {
            self.is_alone = true;
            // A drain leaves them as they are.
            self.written.fill(std::ptr::null_mut());
            // From now on nobody asks whose batch is empty.
            self.empty = None;
        }
        self.is_alone
    }

    /// As `fill`, for a walk that is alone.
    #[inline(never)]
    fn drain<V: Value + ?Sized>(&mut self, cx: &mut Context<'_, P>, wanted: usize, ahead: usize) {
        let Some(Walk { cursor, part }) = self.walks.first_mut() else { return };
        let mut visit = note_range(cx, self.table, *part, self.number, self.heads);
        let room = &mut self.merged[self.len..wanted];
        let wanted = room.len();
        let found = cursor.drain(&self.bounds, &mut visit, room, ahead, |record| {
            fetch_inline::<K, V, P::Words>(record, 0);
        });
        self.len += found;
        if found < wanted {
            self.walks.drop_walk(0);
        }
    }

    /// Merges what the walks have in front, until one of them has nothing there any more: which
    /// one.
    fn merge_batches<V: Value + ?Sized>(&mut self, wanted: usize) -> Option<usize> {
        while self.len < wanted {
            let (at, front) = self.lowest()?;
            let mut is_own_key = false;
            if let Some(&write) = self.own.last() {
                let order = self.order_of_own(write, front);
                if order.is_le() && !std::mem::replace(&mut self.own_merged, true) {
                    self.push(write);
                }
                if order.is_lt() {
                    self.own.pop();
                    self.own_merged = false;
                    continue;
                }
                is_own_key = order.is_eq();
            }
            let walk = &mut self.walks[at];
            let is_empty = walk.cursor.pass();
            // Of a key that the transaction has written it sees what it wrote, and no record.
            if !is_own_key {
                fetch_inline::<K, V, P::Words>(front.1, 0);
                self.push((front.1, std::ptr::null_mut()));
            }
            if is_empty {
                return Some(at);
            }
        }
        None
    }

    /// The walk whose record is the next one, and that record.
    #[inline]
    fn lowest(&self) -> Option<(usize, Front<P::Words>)> {
        let mut lowest = (0, self.walks.first()?.cursor.front());
        for (at, walk) in self.walks.iter().enumerate().skip(1) {
            let front = walk.cursor.front();
            // Which of two parts has the lower key cannot be predicted.
            let is_lower =
                !fault::on(Fault::MergeUnsorted) && self.compare(front, lowest.1).is_lt();
            lowest = select_unpredictable(is_lower, (at, front), lowest);
        }
        Some(lowest)
    }

    /// How a write of the transaction lies to a record.
    #[inline]
    fn order_of_own(&self, write: Seen<P::Words>, front: Front<P::Words>) -> cmp::Ordering {
        if write.0 == front.1 {
            return cmp::Ordering::Equal;
        }
        // SAFETY: the record of an open transaction's write is alive.
        let head = unsafe { self.table.head(write.0, 0) };
        self.compare((head, write.0), front)
    }

    /// Compares two records in the direction of the range.
    #[inline]
    fn compare(&self, one: Front<P::Words>, other: Front<P::Words>) -> cmp::Ordering {
        let by_head = one.0.cmp(&other.0);
        let order = if by_head.is_eq() && !K::EXACT {
            // SAFETY: both are alive: in the index when a walk came to them, and kept since by the
            // transaction's slot; or of one of its writes.
            unsafe { self.table.compare(one.1, other.1) }
        } else {
            by_head
        };
        if REVERSED { order.reverse() } else { order }
    }

    /// Finds more records in one part.
    #[inline(never)]
    fn refill(&mut self, cx: &mut Context<'_, P>, at: usize) {
        let Walk { cursor, part } = &mut self.walks[at];
        let mut visit = note_range(cx, self.table, *part, self.number, self.heads);
        let found = cursor.fill(&self.bounds, &mut visit);
        if !found {
            self.walks.drop_walk(at);
        }
    }
}
