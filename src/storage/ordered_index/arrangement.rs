//! What a leaf held at one moment, in the order of the keys.

use super::leaf::{Extent, Leaf};
use super::node::{SLOTS, SORTED, compare_to_fence};
use super::{KeyOrder, Sought};
use crate::storage::Words;
use std::num::NonZeroU64;
use std::ops::{Range, RangeInclusive};

/// Which side of a key is kept.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kept {
    Above,
    Below,
}

/// Entries of a leaf that are still to come; with `REVERSED` the last one first. Sorted ones are
/// bits, because most of a leaf is sorted; what the slots hold is sorted when the leaf is looked
/// at, and the two are merged one entry at a time: a range that wants few entries does not pay for
/// the rest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrangement<const REVERSED: bool> {
    sorted: u64,
    /// The slots' entries: those from `slots_start` to `slots_end`, and the head of the next one.
    slots: [u8; SLOTS],
    slots_start: u8,
    slots_end: u8,
    slot_head: u64,
}

impl<const REVERSED: bool> Arrangement<REVERSED> {
    /// All heads.
    pub(super) const ALL: RangeInclusive<u64> = 0..=u64::MAX;

    /// No entries.
    pub(super) const EMPTY: Self =
        Arrangement { sorted: 0, slots: [0; SLOTS], slots_start: 0, slots_end: 0, slot_head: 0 };

    /// What the leaf held at `extent`, without removed entries. Those of its slots whose heads lie
    /// outside `wanted` may be left out.
    #[inline]
    pub(super) fn of<W: Words>(
        leaf: &Leaf<W>,
        extent: Extent,
        wanted: RangeInclusive<u64>,
        order: &impl KeyOrder<W>,
    ) -> Self {
        let mut arrangement =
            Arrangement { sorted: extent.sorted(leaf.node.len()), ..Arrangement::EMPTY };
        let mut heads = [0; SLOTS];
        for entry in SORTED..SORTED + usize::from(extent.filled) {
            if extent.is_removed(entry) {
                continue;
            }
            let head = leaf.head(entry, order);
            if !wanted.contains(&head) {
                continue;
            }
            let mut at = usize::from(arrangement.slots_end);
            while at > 0 {
                let before = usize::from(arrangement.slots[at - 1]);
                if leaf.in_order((heads[at - 1], before), (head, entry), order) {
                    break;
                }
                heads[at] = heads[at - 1];
                arrangement.slots[at] = before as u8;
                at -= 1;
            }
            heads[at] = head;
            arrangement.slots[at] = entry as u8;
            arrangement.slots_end += 1;
        }
        arrangement.look_at_slots(leaf, order);
        arrangement
    }

    /// Notes the head of the next of the slots' entries.
    #[inline]
    fn look_at_slots<W: Words>(&mut self, leaf: &Leaf<W>, order: &impl KeyOrder<W>) {
        if self.has_slots() {
            self.slot_head = leaf.head(self.next_of_slots(), order);
        }
    }

    #[inline]
    fn next_of_slots(&self) -> usize {
        let at = if REVERSED { self.slots_end - 1 } else { self.slots_start };
        usize::from(self.slots[usize::from(at)])
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.sorted == 0 && !self.has_slots()
    }

    /// How many entries are still to come.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.sorted.count_ones() as usize + usize::from(self.slots_end - self.slots_start)
    }

    /// The next entry and its head.
    #[inline(always)]
    pub(super) fn next<W: Words>(
        &mut self,
        leaf: &Leaf<W>,
        order: &impl KeyOrder<W>,
    ) -> Option<(u64, usize)> {
        let has_slots = self.has_slots();
        let Some(entry) = self.first_sorted() else {
            return has_slots.then(|| self.take_of_slots(leaf, order));
        };
        let head = leaf.sorted_head(entry);
        if has_slots {
            let later = (self.slot_head, self.next_of_slots());
            if leaf.in_order((head, entry), later, order) == REVERSED {
                return Some(self.take_of_slots(leaf, order));
            }
        }
        self.pass_sorted(entry);
        Some((head, entry))
    }

    /// Whether entries of the slots are still to come.
    #[inline(always)]
    pub(super) fn has_slots(&self) -> bool {
        self.slots_start < self.slots_end
    }

    /// The next of the sorted entries.
    #[inline(always)]
    fn first_sorted(&self) -> Option<usize> {
        let sorted = NonZeroU64::new(self.sorted)?;
        let at = if REVERSED { 63 - sorted.leading_zeros() } else { sorted.trailing_zeros() };
        Some(at as usize)
    }

    #[inline(always)]
    fn pass_sorted(&mut self, entry: usize) {
        self.sorted &= !(1 << entry);
    }

    /// Takes sorted entries that come next and lie side by side, up to so many of them.
    #[inline(always)]
    pub(super) fn take_sorted(&mut self, room: usize) -> Range<usize> {
        let Some(first) = self.first_sorted() else { return 0..0 };
        let taken = if REVERSED {
            let side_by_side = (self.sorted << (63 - first)).leading_ones() as usize;
            first + 1 - side_by_side.min(room)..first + 1
        } else {
            let side_by_side = (self.sorted >> first).trailing_ones() as usize;
            first..first + side_by_side.min(room)
        };
        // There are fewer entries than bits.
        self.sorted &= !(((1 << taken.len()) - 1) << taken.start);
        taken
    }

    #[inline]
    fn take_of_slots<W: Words>(
        &mut self,
        leaf: &Leaf<W>,
        order: &impl KeyOrder<W>,
    ) -> (u64, usize) {
        let taken = (self.slot_head, self.next_of_slots());
        if REVERSED {
            self.slots_end -= 1;
        } else {
            self.slots_start += 1;
        }
        self.look_at_slots(leaf, order);
        taken
    }

    /// Keeps only what lies on one side of a key, whose own entries count as below it with `equal`
    /// and else as above.
    pub(super) fn keep<W: Words>(
        &mut self,
        kept: Kept,
        leaf: &Leaf<W>,
        extent: Extent,
        key: &impl Sought<W>,
        equal: bool,
        order: &impl KeyOrder<W>,
    ) {
        let (sorted, slots) = self.below(leaf, extent, key, equal, order);
        let above = u64::MAX << sorted;
        match kept {
            Kept::Above => (self.sorted, self.slots_start) = (self.sorted & above, slots),
            Kept::Below => (self.sorted, self.slots_end) = (self.sorted & !above, slots),
        }
        self.look_at_slots(leaf, order);
    }

    /// Where in the sorted entries, and where in those of the slots, what is not below a key
    /// begins.
    fn below<W: Words>(
        &self,
        leaf: &Leaf<W>,
        extent: Extent,
        key: &impl Sought<W>,
        equal: bool,
        order: &impl KeyOrder<W>,
    ) -> (usize, u8) {
        // Heads compare only keys of the leaf's range, and a range that is upside down has its
        // bounds beyond it.
        if leaf.node.low.is_some_and(|low| compare_to_fence(key, &low, order).is_lt()) {
            return (0, self.slots_start);
        }
        if leaf.node.high.is_some_and(|high| compare_to_fence(key, &high, order).is_ge()) {
            return (SORTED, self.slots_end);
        }
        let head = key.head(leaf.node.skip);
        let is_below = |&entry: &u8| {
            let compared = leaf.compare_entry(key, head, usize::from(entry), order);
            compared.is_gt() || equal && compared.is_eq()
        };
        let slots = &self.slots[usize::from(self.slots_start)..usize::from(self.slots_end)];
        let slots =
            self.slots_start + slots.iter().take_while(|entry| is_below(entry)).count() as u8;
        (leaf.sorted_below(key, head, equal, order, extent), slots)
    }
}
