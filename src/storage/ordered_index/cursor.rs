//! Walking over a range of the ordered index.

use super::arrangement::{Arrangement, Kept};
use super::inner::{Inner, Side};
use super::leaf::{Extent, Leaf};
use super::node::{Fence, KeyOf, Link, compare_to_fence};
use super::{KeyOrder, OrderedIndex, Position, Sought, Target, Witness};
use crate::storage::Words;
use crate::storage::hash_index::prefetch_line;
use crate::storage::record::Record;
use std::ops::Bound;

/// Records of a leaf that are taken at once, at most, and at first.
const BATCH: usize = 16;
const BATCH_FIRST: usize = 8;

/// The bounds of a range: the lower one, and the higher one.
pub(crate) type Bounds<S> = (Bound<S>, Bound<S>);

/// Where the next leaf is.
enum Next<W: Words> {
    /// Where the range begins.
    Start,
    /// On the way there, so far.
    Descent(Position<W>),
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
/// Records that are out of use may be among those it returns. Every call gets the same bounds:
/// several cursors share them.
pub(crate) struct Cursor<'a, W: Words, O, const REVERSED: bool> {
    index: &'a OrderedIndex<W>,
    order: &'a O,
    next: Next<W>,
    /// The leaf, what it held, and what of that is still to be taken.
    leaf: *const Leaf<W>,
    extent: Extent,
    left: Arrangement<REVERSED>,
    /// Whether the next leaf was asked for.
    asked: bool,
    /// The next records and the heads of their keys: those from `at` to `len`.
    batch: [(u64, *mut Record<W>); BATCH],
    at: usize,
    len: usize,
}

impl<W: Words, O, const REVERSED: bool> std::fmt::Debug for Cursor<'_, W, O, REVERSED> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cursor").field("in_batch", &(self.len - self.at)).finish_non_exhaustive()
    }
}

fn key_of<S>(bound: &Bound<S>) -> Option<&S> {
    match bound {
        Bound::Included(key) | Bound::Excluded(key) => Some(key),
        Bound::Unbounded => None,
    }
}

impl<'a, W: Words, O: KeyOrder<W>, const REVERSED: bool> Cursor<'a, W, O, REVERSED> {
    pub(crate) fn new(index: &'a OrderedIndex<W>, order: &'a O) -> Self {
        Cursor {
            index,
            order,
            next: Next::Start,
            leaf: std::ptr::null(),
            extent: Extent::EMPTY,
            left: Arrangement::EMPTY,
            asked: false,
            batch: [(0, std::ptr::null_mut()); BATCH],
            at: 0,
            len: 0,
        }
    }

    /// The record in front and the head of its key, after a `fill` that said that there is one.
    #[inline]
    pub(crate) fn front(&self) -> (u64, *mut Record<W>) {
        self.batch[self.at]
    }

    /// Goes on by one record; true if the batch is empty now, and has to be filled.
    #[inline]
    pub(crate) fn pass(&mut self) -> bool {
        self.at += 1;
        self.at == self.len
    }

    /// Takes one step down to where the range begins; false once the walk is there. Walks that take
    /// them in turns wait for memory at the same time.
    pub(crate) fn approach<S: Sought<W>>(&mut self, bounds: &Bounds<S>) -> bool {
        match &mut self.next {
            Next::Start => {
                self.next = Next::Descent(Position::of_root(self.index.root()));
                true
            }
            Next::Descent(position) => {
                let target = match (REVERSED, &bounds.0, &bounds.1) {
                    (true, _, Bound::Unbounded) => Target::Last,
                    (true, _, Bound::Included(key)) => Target::Key(key, Side::At),
                    (true, _, Bound::Excluded(key)) => Target::Key(key, Side::Before),
                    (false, Bound::Unbounded, _) => Target::First,
                    (false, Bound::Included(key) | Bound::Excluded(key), _) => {
                        Target::Key(key, Side::At)
                    }
                };
                let stepped = position.step_down(&target, 0, self.order);
                // SAFETY: as in `take`. The child itself has not come yet.
                if stepped && unsafe { &*position.parent }.level == 1 {
                    Leaf::prefetch_records(position.node);
                }
                stepped
            }
            Next::Child(..) | Next::Behind(_) | Next::End => false,
        }
    }

    /// Takes the next records into the batch, which is empty; false if there are none left. `visit`
    /// gets a witness for each leaf before the first of its records.
    pub(crate) fn fill<S: Sought<W>>(
        &mut self,
        bounds: &Bounds<S>,
        visit: &mut impl FnMut(Witness<W>),
    ) -> bool {
        // Whoever asks again will go farther.
        let room = if self.leaf.is_null() { BATCH_FIRST } else { BATCH };
        (self.at, self.len) = (0, 0);
        while self.left.is_empty() {
            if !self.enter_next(bounds, visit) {
                return false;
            }
        }
        self.take(room);
        if self.left.is_empty() {
            self.fetch_next(true);
        }
        true
    }

    /// As `fill`, but puts the records `into` a place of the caller's, without their keys: for a
    /// walk whose records need not be compared with others. `fetch` gets each of them. The caller
    /// will want so many `ahead`, as far as it knows: a leaf that holds fewer has the next one
    /// asked for. Returns how many there were: if they do not fill the place, there are none left.
    pub(crate) fn drain<S: Sought<W>>(
        &mut self,
        bounds: &Bounds<S>,
        visit: &mut impl FnMut(Witness<W>),
        into: &mut [*mut Record<W>],
        ahead: usize,
        fetch: impl Fn(*mut Record<W>),
    ) -> usize {
        let mut room = into;
        let wanted = room.len();
        let batch = self.batch[self.at..self.len].iter().map(|&(_, record)| record);
        self.at += Self::hand_over(batch, &mut room, &fetch);
        while !room.is_empty() {
            while self.left.is_empty() {
                if !self.enter_next(bounds, visit) {
                    return wanted - room.len();
                }
            }
            if !self.asked && self.left.len() < ahead {
                self.asked = true;
                self.fetch_next(self.extent.filled > 0);
            }
            // SAFETY: as in `take`.
            let leaf = unsafe { &*self.leaf };
            if self.left.has_slots() {
                let entries = std::iter::from_fn(|| self.left.next(leaf, self.order));
                Self::hand_over(entries.map(|(_, entry)| leaf.record(entry)), &mut room, &fetch);
            } else {
                // As a rule there are only sorted entries.
                let records =
                    leaf.sorted_records(self.left.take_sorted(room.len())).iter().copied();
                if REVERSED {
                    Self::hand_over(records.rev(), &mut room, &fetch);
                } else {
                    Self::hand_over(records, &mut room, &fetch);
                }
            }
        }
        wanted
    }

    /// Puts records into a place, which gets smaller, until it is full. Returns how many.
    #[inline(always)]
    fn hand_over(
        records: impl Iterator<Item = *mut Record<W>>,
        room: &mut &mut [*mut Record<W>],
        fetch: &impl Fn(*mut Record<W>),
    ) -> usize {
        let mut count = 0;
        for (place, record) in room.iter_mut().zip(records) {
            fetch(record);
            *place = record;
            count += 1;
        }
        *room = &mut std::mem::take(room)[count..];
        count
    }

    /// Asks for the next leaf, with its heads if its entries will be merged with something: with
    /// other walks', or with those of its slots. If this leaf's slots are empty the next one's are
    /// likely to be so, too: keys that are inserted in their order fill leaf after leaf.
    #[inline]
    fn fetch_next(&self, with_heads: bool) {
        if let Next::Child(parent, child) = self.next {
            // SAFETY: as in `take`; a parent is an inner node.
            let leaf = unsafe { &*parent.cast::<Inner<W>>() }.child(child);
            if with_heads {
                Leaf::prefetch_heads(leaf);
                Leaf::prefetch_records(leaf);
            } else {
                Leaf::prefetch_sorted(leaf);
            }
        }
    }

    /// Takes what is left of the leaf, up to so many records.
    #[inline]
    fn take(&mut self, room: usize) {
        let order = self.order;
        // SAFETY: a leaf was entered, and it is freed only after the calling transaction.
        let leaf = unsafe { &*self.leaf };
        let mut left = self.left;
        for place in &mut self.batch[..room] {
            let Some((head, entry)) = left.next(leaf, order) else { break };
            *place = (head, leaf.record(entry));
            self.len += 1;
        }
        self.left = left;
        // Heads that skip nothing are the keys', and the records are left alone until they are
        // read: by then whoever reads them has asked for them.
        if !order.exact() && leaf.node.skip > 0 {
            let taken = &mut self.batch[..self.len];
            taken.iter().for_each(|&(_, record)| prefetch_line(record.cast()));
            for (head, record) in taken {
                // SAFETY: not removed when the leaf was entered, inside an open transaction.
                *head = unsafe { order.head(*record, 0) };
            }
        }
    }

    /// Goes on to the next leaf; false if there is none in the range.
    fn enter_next<S: Sought<W>>(
        &mut self,
        bounds: &Bounds<S>,
        visit: &mut impl FnMut(Witness<W>),
    ) -> bool {
        match self.next {
            Next::Start | Next::Descent(_) => {
                while self.approach(bounds) {}
                let Next::Descent(position) = std::mem::replace(&mut self.next, Next::End) else {
                    return false;
                };
                self.note_next(position.parent, position.child);
                self.enter(position.node, bounds, visit);
            }
            Next::Child(parent, child) => {
                self.note_next(parent, child);
                // SAFETY: as in `take`; a parent is an inner node.
                let link = unsafe { &*parent.cast::<Inner<W>>() }.child(child);
                self.enter(link, bounds, visit);
            }
            Next::Behind(fence) => {
                let order = self.order;
                let key = KeyOf { fence, order };
                let side = if REVERSED { Side::Before } else { Side::At };
                let position = self.index.descend(&Target::Key(&key, side), 0, order);
                self.note_next(position.parent, position.child);
                self.enter(position.node, bounds, visit);
                // Leaves may have been merged across the fence meanwhile.
                // SAFETY: as in `take`.
                let leaf = unsafe { &*self.leaf };
                let kept = if REVERSED { Kept::Below } else { Kept::Above };
                self.left.keep(kept, leaf, self.extent, &key, false, order);
            }
            Next::End => return false,
        }
        true
    }

    /// Notes the place behind child `child` of `parent` as the next one, if that has another child.
    fn note_next(&mut self, parent: Link<W>, child: usize) {
        self.next = Next::End;
        if parent.is_null() {
            return;
        }
        // SAFETY: as in `take`; a parent is an inner node.
        let inner = unsafe { &*parent.cast::<Inner<W>>() };
        let next = if REVERSED { child.wrapping_sub(1) } else { child + 1 };
        if next < inner.node.len() {
            self.next = Next::Child(parent, next);
        }
    }

    /// Looks at what a leaf holds in the range.
    fn enter<S: Sought<W>>(
        &mut self,
        link: Link<W>,
        bounds: &Bounds<S>,
        visit: &mut impl FnMut(Witness<W>),
    ) {
        // SAFETY: as in `take`; links at level 0 lead to leaves.
        let leaf = unsafe { &*link.cast::<Leaf<W>>() };
        let (order, extent) = (self.order, leaf.extent());
        visit(Witness { leaf, extent });
        (self.leaf, self.extent, self.asked) = (leaf, extent, false);
        // Other heads than exact ones say nothing about keys of other leaves.
        let wanted = if order.exact() {
            let head = |bound, unbounded| key_of(bound).map_or(unbounded, |key: &S| key.head(0));
            head(&bounds.0, 0)..=head(&bounds.1, u64::MAX)
        } else {
            Arrangement::<REVERSED>::ALL
        };
        self.left = Arrangement::of(leaf, extent, wanted, order);
        // A bound matters only in the leaf whose range it is in; nothing beyond that is asked for.
        let low = key_of(&bounds.0).filter(|&key| {
            leaf.node.low.is_none_or(|fence| compare_to_fence(key, &fence, order).is_ge())
        });
        if let Some(key) = low {
            let excluded = matches!(bounds.0, Bound::Excluded(_));
            self.left.keep(Kept::Above, leaf, extent, key, excluded, order);
        }
        let included = matches!(bounds.1, Bound::Included(_));
        let high = key_of(&bounds.1).filter(|&key| {
            let to_fence = leaf.node.high.map(|fence| compare_to_fence(key, &fence, order));
            to_fence.is_none_or(|compared| compared.is_lt() || !included && compared.is_eq())
        });
        if let Some(key) = high {
            self.left.keep(Kept::Below, leaf, extent, key, included, order);
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
    }
}

/// A cursor with its bounds, for whoever walks over one index.
#[derive(Debug)]
pub(super) struct Bounded<'a, W: Words, S, O, const REVERSED: bool> {
    pub(super) cursor: Cursor<'a, W, O, REVERSED>,
    pub(super) bounds: Bounds<S>,
}

impl<W: Words, S: Sought<W>, O: KeyOrder<W>, const REVERSED: bool> Bounded<'_, W, S, O, REVERSED> {
    /// The next record and the head of its key; `visit` is as for [`Cursor::fill`].
    pub(super) fn next(
        &mut self,
        visit: &mut impl FnMut(Witness<W>),
    ) -> Option<(u64, *mut Record<W>)> {
        let cursor = &mut self.cursor;
        if cursor.at == cursor.len && !cursor.fill(&self.bounds, visit) {
            return None;
        }
        let front = cursor.front();
        cursor.pass();
        Some(front)
    }
}
