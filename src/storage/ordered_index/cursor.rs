//! Walking over a range of the ordered index.

use super::inner::{Inner, Side};
use super::leaf::{Leaf, Places};
use super::node::{ENTRIES, Fence, KeyOf, LINE, Link, compare_to_fence, prefetch};
use super::{KeyOrder, OrderedIndex, Sought, Target, Witness};
use crate::storage::Words;
use crate::storage::hash_index::prefetch_line;
use crate::storage::record::Record;
use std::ops::Bound;

/// Records that are fetched ahead of the one that is returned.
const AHEAD: usize = 6;

/// Where the next leaf is.
enum Next<W: Words> {
    /// Where the range begins.
    Start,
    /// This child of this inner node.
    Child(Link<W>, usize),
    /// Behind this fence, from which the walk has to descend again.
    Behind(Fence<W>),
    /// There is none in the range.
    End,
}

/// A walk over the records of a range; with `REVERSED` in descending order. It goes from leaf to
/// leaf and takes of each what it holds at that moment. The leaves' ranges follow each other
/// without a gap, so the witnesses of all leaves cover the whole range that was walked over.
///
/// Records that are out of use may be among those it returns.
pub(crate) struct Cursor<'a, W: Words, S, O, const REVERSED: bool> {
    index: &'a OrderedIndex<W>,
    order: &'a O,
    low: Bound<S>,
    high: Bound<S>,
    next: Next<W>,
    leaf: *const Leaf<W>,
    /// Entries of the leaf in order; those from `start` to `end` are still to come.
    places: Places,
    start: usize,
    end: usize,
}

impl<W: Words, S, O, const REVERSED: bool> std::fmt::Debug for Cursor<'_, W, S, O, REVERSED> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").field("left_in_leaf", &(self.end - self.start)).finish()
    }
}

fn key_of<S>(bound: &Bound<S>) -> Option<&S> {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => Some(key),
        Bound::Unbounded => None,
    }
}

impl<'a, W: Words, S: Sought<W>, O: KeyOrder<W>, const REVERSED: bool>
    Cursor<'a, W, S, O, REVERSED>
{
    pub(crate) fn new(
        index: &'a OrderedIndex<W>,
        low: Bound<S>,
        high: Bound<S>,
        order: &'a O,
    ) -> Self {
        let leaf = std::ptr::null();
        let places = [0; ENTRIES];
        Cursor { index, order, low, high, next: Next::Start, leaf, places, start: 0, end: 0 }
    }

    /// The next record and the head of its key. `visit` gets a witness for each leaf before the
    /// first of its records.
    #[inline]
    pub(crate) fn next(
        &mut self,
        visit: &mut impl FnMut(Witness<W>),
    ) -> Option<(u64, *mut Record<W>)> {
        while self.start == self.end {
            if !self.enter_next(visit) {
                return None;
            }
        }
        let at = if REVERSED {
            self.end -= 1;
            self.end
        } else {
            self.start += 1;
            self.start - 1
        };
        let ahead = if REVERSED { at.wrapping_sub(AHEAD) } else { at + AHEAD };
        if (self.start..self.end).contains(&ahead) {
            self.prefetch_record(ahead);
        }
        let record = self.record(at);
        let head = if self.order.exact() {
            // Heads of exact keys skip nothing, so the leaf's are the keys'. The record is left
            // alone until it is read, when the prefetch has had its time.
            // SAFETY: as in `record`.
            unsafe { &*self.leaf }.head(usize::from(self.places[at]), self.order)
        } else {
            // SAFETY: not removed when the leaf was entered, inside an open transaction.
            unsafe { self.order.head(record, 0) }
        };
        Some((head, record))
    }

    /// Asks for the record at a place, with the version that lies in its block.
    #[inline]
    fn prefetch_record(&self, at: usize) {
        let record = self.record(at).cast::<u8>();
        for line in 0..self.order.lines() {
            prefetch_line(record.wrapping_add(LINE * line));
        }
    }

    #[inline]
    fn record(&self, at: usize) -> *mut Record<W> {
        // SAFETY: a leaf was entered, and it is freed only after the calling transaction.
        unsafe { &*self.leaf }.record(usize::from(self.places[at]))
    }

    /// Goes on to the next leaf; false if there is none in the range.
    fn enter_next(&mut self, visit: &mut impl FnMut(Witness<W>)) -> bool {
        match self.next {
            Next::Start => {
                let link = self.seek();
                self.enter(link, visit);
            }
            Next::Child(parent, child) => {
                self.note_next(parent, child);
                // SAFETY: as in `record`; a parent is an inner node.
                let link = unsafe { &*parent.cast::<Inner<W>>() }.child(child);
                self.enter(link, visit);
            }
            Next::Behind(fence) => {
                let key = KeyOf { fence, order: self.order };
                let side = if REVERSED { Side::Before } else { Side::At };
                let link = self.descend(&Target::Key(&key, side));
                self.enter(link, visit);
                // Leaves may have been merged across the fence meanwhile.
                // SAFETY: as in `record`.
                let leaf = unsafe { &*self.leaf };
                let at = self.position_of(leaf, self.end, &key, false);
                if REVERSED {
                    self.end = at.max(self.start);
                } else {
                    self.start = at.max(self.start);
                }
            }
            Next::End => return false,
        }
        true
    }

    /// Descends to where the range begins.
    fn seek(&mut self) -> Link<W> {
        let target = match (REVERSED, &self.low, &self.high) {
            (true, _, Bound::Unbounded) => Target::Last,
            (true, _, Bound::Included(key)) => Target::Key(key, Side::At),
            (true, _, Bound::Excluded(key)) => Target::Key(key, Side::Before),
            (false, Bound::Unbounded, _) => Target::First,
            (false, Bound::Included(key) | Bound::Excluded(key), _) => Target::Key(key, Side::At),
        };
        let position = self.index.descend(&target, 0, self.order);
        self.note_next(position.parent, position.child);
        position.node
    }

    fn descend(&mut self, target: &Target<'_, KeyOf<'a, W, O>>) -> Link<W> {
        let position = self.index.descend(target, 0, self.order);
        self.note_next(position.parent, position.child);
        position.node
    }

    /// Notes the place behind child `child` of `parent` as the next one, if that has another child.
    fn note_next(&mut self, parent: Link<W>, child: usize) {
        self.next = Next::End;
        if parent.is_null() {
            return;
        }
        // SAFETY: as in `record`; a parent is an inner node.
        let inner = unsafe { &*parent.cast::<Inner<W>>() };
        let next = if REVERSED { child.wrapping_sub(1) } else { child + 1 };
        if next < inner.node.len() {
            self.next = Next::Child(parent, next);
            prefetch(inner.child(next));
        }
    }

    /// Takes the entries of a leaf that are in the range.
    fn enter(&mut self, link: Link<W>, visit: &mut impl FnMut(Witness<W>)) {
        // SAFETY: as in `record`; links at level 0 lead to leaves.
        let leaf = unsafe { &*link.cast::<Leaf<W>>() };
        leaf.prefetch_records();
        let extent = leaf.extent();
        visit(Witness { leaf, extent });
        self.leaf = leaf;
        let len = leaf.arrange(self.order, extent, &mut self.places);
        (self.start, self.end) = (0, len);
        // A bound matters only in the leaf whose range it is in; nothing beyond that is asked for.
        let order = self.order;
        let low = key_of(&self.low).filter(|&key| {
            leaf.node.low.is_none_or(|fence| compare_to_fence(key, &fence, order).is_ge())
        });
        if let Some(key) = low {
            let excluded = matches!(self.low, Bound::Excluded(_));
            self.start = self.position_of(leaf, len, key, excluded);
        }
        let included = matches!(self.high, Bound::Included(_));
        let high = key_of(&self.high).filter(|&key| {
            let to_fence = leaf.node.high.map(|fence| compare_to_fence(key, &fence, order));
            to_fence.is_none_or(|compared| compared.is_lt() || !included && compared.is_eq())
        });
        if let Some(key) = high {
            self.end = self.position_of(leaf, len, key, included).max(self.start);
        }
        let (last, fence) = if REVERSED {
            (low.is_some(), leaf.node.low)
        } else {
            (high.is_some(), leaf.node.high)
        };
        self.next = match (fence, &self.next) {
            _ if last => Next::End,
            (None, _) => Next::End,
            (Some(_), &Next::Child(parent, child)) => Next::Child(parent, child),
            (Some(fence), _) => Next::Behind(fence),
        };
        for ahead in 0..AHEAD.min(self.end - self.start) {
            let at = if REVERSED { self.end - 1 - ahead } else { self.start + ahead };
            self.prefetch_record(at);
        }
    }

    /// How many of the leaf's first `len` places are left of a key; with `equal` its own is, too.
    fn position_of(&self, leaf: &Leaf<W>, len: usize, key: &impl Sought<W>, equal: bool) -> usize {
        // Heads compare only keys of the leaf's range, and a range that is upside down has its
        // bounds beyond it.
        let lies = |fence| compare_to_fence(key, &fence, self.order);
        if leaf.node.low.is_some_and(|low| lies(low).is_lt()) {
            return 0;
        }
        if leaf.node.high.is_some_and(|high| lies(high).is_ge()) {
            return len;
        }
        let head = key.head(leaf.node.skip);
        self.places[..len].partition_point(|&place| {
            let compared = leaf.compare_entry(key, head, usize::from(place), self.order);
            compared.is_gt() || equal && compared.is_eq()
        })
    }
}
