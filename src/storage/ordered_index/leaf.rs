//! A leaf of the ordered index: what it holds, search within it, and freezing.
//!
//! Heads lie side by side, so that a search reads a few lines of one node and looks at records only
//! where heads tie.

use super::memory::NodeMemory;
use super::node::{ENTRIES, Entry, FROZEN_LINK, Fence, Node, OwnedNode, SLOTS, SORTED, prefetch};
use super::{KeyOrder, Sought};
use crate::reclaim::arena::Region;
use crate::storage::Words;
use crate::storage::record::Record;
use crate::sync::fault::{self, Fault};
use crate::sync::{AtomicPtr, AtomicU64, Ordering, model_fence};
use std::cmp;
use std::mem::offset_of;
use std::ops::Range;

/// A leaf's state: one bit for each entry that is removed, and these two.
const FROZEN: u64 = 1 << 63;
/// The record of the low fence is out of use and belongs to the index.
const OWNED: u64 = 1 << 62;
const _: () = assert!(ENTRIES <= 62, "the state has a bit for each entry");

/// The head of a slot's record before somebody has noted it; a head of this value is never noted.
const UNKNOWN: u64 = u64::MAX;

/// A leaf: sorted records, then slots that fill from the first to the last.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Leaf<W: Words> {
    pub(super) node: Node<W>,
    state: AtomicU64,
    heads: [u64; SORTED],
    records: [*mut Record<W>; SORTED],
    slots: [AtomicPtr<Record<W>>; SLOTS],
    slot_heads: [AtomicU64; SLOTS],
}

/// What a slot holds.
pub(super) enum Slot<W: Words> {
    Record(*mut Record<W>),
    Empty,
    /// Nothing, for ever.
    Frozen,
}

/// What a leaf held when it was looked at: neither later removals nor later inserts count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) removed: u64,
    pub(super) filled: u8,
}

impl Extent {
    /// Of no leaf.
    pub(super) const EMPTY: Self = Extent { removed: 0, filled: 0 };

    #[inline]
    pub(super) fn is_removed(self, entry: usize) -> bool {
        self.removed & (1 << entry) != 0
    }

    /// A bit for each of the first `len` entries that is not removed.
    #[inline]
    pub(super) fn sorted(self, len: usize) -> u64 {
        !self.removed & ((1 << len) - 1)
    }

    pub(super) fn is_frozen(self) -> bool {
        self.removed & FROZEN != 0
    }

    /// Whether the index owns the record of the low fence.
    pub(super) fn owns_fence(self) -> bool {
        self.removed & OWNED != 0
    }
}

impl<W: Words> Leaf<W> {
    /// A leaf without entries whose range is everything, in an allocation of its own.
    pub(super) fn empty() -> Option<OwnedNode<W>> {
        OwnedNode::allocate_apart(Self::with_node(Node::of_everything(), 0))
    }

    /// A leaf with these entries, which are sorted; `None` if there is no memory.
    pub(super) fn build(
        entries: &[Entry<W>],
        low: Option<Fence<W>>,
        high: Option<Fence<W>>,
        owns_fence: bool,
        order: &impl KeyOrder<W>,
        memory: &mut NodeMemory<'_, W>,
    ) -> Option<OwnedNode<W>> {
        let node = Node::new(0, entries.len(), low, high, order);
        let mut leaf = Self::with_node(node, if owns_fence { OWNED } else { 0 });
        for (at, entry) in entries.iter().enumerate() {
            leaf.heads[at] = entry.head_behind(leaf.node.skip, order);
            leaf.records[at] = entry.record;
        }
        OwnedNode::allocate(leaf, Region::Leaves, memory)
    }

    fn with_node(node: Node<W>, state: u64) -> Self {
        Leaf {
            node,
            state: AtomicU64::new(state),
            heads: [0; SORTED],
            records: [std::ptr::null_mut(); SORTED],
            slots: std::array::from_fn(|_| AtomicPtr::new(std::ptr::null_mut())),
            slot_heads: std::array::from_fn(|_| AtomicU64::new(UNKNOWN)),
        }
    }

    /// The removed entries as of now.
    #[inline]
    pub(super) fn removed(&self) -> Extent {
        // SeqCst: stands in one order with removals and freezing. A record whose bit is not set
        // here is removed later, hence freed only after the calling transaction.
        Extent { removed: self.state.load(Ordering::SeqCst), filled: 0 }
    }

    #[inline]
    pub(super) fn slot(&self, slot: usize) -> Slot<W> {
        // SeqCst: acquires the record's contents from the insert; in the single order it is also
        // the read that proves absence, against the insert's compare-and-swap.
        let word = self.slots[slot].load(Ordering::SeqCst);
        match word.addr() {
            0 => Slot::Empty,
            FROZEN_LINK => Slot::Frozen,
            _ => Slot::Record(word),
        }
    }

    /// The entries as of now.
    #[inline]
    pub(super) fn extent(&self) -> Extent {
        let mut extent = self.removed();
        while usize::from(extent.filled) < SLOTS
            && matches!(self.slot(usize::from(extent.filled)), Slot::Record(_))
        {
            extent.filled += 1;
        }
        extent
    }

    /// The record of an entry within an extent.
    #[inline]
    pub(super) fn record(&self, entry: usize) -> *mut Record<W> {
        if entry < SORTED {
            self.records[entry]
        } else {
            // Acquire: as in `slot`; the slot was seen filled before.
            self.slots[entry - SORTED].load(Ordering::Acquire)
        }
    }

    /// Asks for what a search reads.
    #[inline]
    pub(super) fn prefetch_heads(leaf: *const Node<W>) {
        prefetch(leaf, 0..offset_of!(Self, records));
    }

    /// Asks for what a range reads besides.
    #[inline]
    pub(super) fn prefetch_records(leaf: *const Node<W>) {
        prefetch(leaf, offset_of!(Self, records)..size_of::<Self>());
    }

    /// Asks for what a range reads of a leaf whose slots are empty, without heads.
    #[inline]
    pub(super) fn prefetch_sorted(leaf: *const Node<W>) {
        prefetch(leaf, 0..1);
        prefetch(leaf, offset_of!(Self, records)..offset_of!(Self, slots) + 1);
    }

    /// The head of a slot's record.
    #[inline]
    fn slot_head(&self, slot: usize, record: *const Record<W>, order: &impl KeyOrder<W>) -> u64 {
        // Relaxed: the value is either unknown or a function of the record, which never changes.
        let known = self.slot_heads[slot].load(Ordering::Relaxed);
        if known != UNKNOWN {
            return known;
        }
        // SAFETY: the caller has seen the entry not removed, inside an open transaction.
        unsafe { order.head(record, self.node.skip) }
    }

    /// The head of a sorted entry.
    #[inline]
    pub(super) fn sorted_head(&self, entry: usize) -> u64 {
        self.heads[entry]
    }

    /// The records of sorted entries.
    #[inline]
    pub(super) fn sorted_records(&self, entries: Range<usize>) -> &[*mut Record<W>] {
        &self.records[entries]
    }

    /// The head of an entry that is not removed.
    #[inline]
    pub(super) fn head(&self, entry: usize, order: &impl KeyOrder<W>) -> u64 {
        if entry < SORTED {
            self.heads[entry]
        } else {
            self.slot_head(entry - SORTED, self.record(entry), order)
        }
    }

    /// How many of the sorted entries, removed or not, are below the key sought; with `equal` its
    /// own are, too.
    #[inline]
    pub(super) fn sorted_below(
        &self,
        key: &impl Sought<W>,
        head: u64,
        equal: bool,
        order: &impl KeyOrder<W>,
        extent: Extent,
    ) -> usize {
        let heads = &self.heads[..self.node.len()];
        if order.exact() {
            return heads.partition_point(|&other| other < head || equal && other == head);
        }
        let mut low = heads.partition_point(|&other| other < head);
        let mut high = low + heads[low..].partition_point(|&other| other == head);
        while low < high {
            let middle = low.midpoint(high);
            // A removed record may be freed already: its neighbour answers for it.
            let Some(at) = (middle..high).find(|&at| !extent.is_removed(at)) else {
                high = middle;
                continue;
            };
            // SAFETY: not removed when the extent was taken, inside an open transaction.
            let compared = unsafe { key.compare(self.records[at]) };
            if compared.is_gt() || equal && compared.is_eq() {
                low = at + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The record of a key among the sorted entries, unless it is out of use.
    #[inline]
    pub(super) fn find_sorted(
        &self,
        key: &impl Sought<W>,
        order: &impl KeyOrder<W>,
        extent: Extent,
    ) -> Option<*mut Record<W>> {
        let head = key.head(self.node.skip);
        let mut at = self.sorted_below(key, head, false, order, extent);
        while at < self.node.len() && self.heads[at] == head {
            if !extent.is_removed(at) {
                // SAFETY: as in `sorted_below`.
                let (record, same) =
                    (self.records[at], |record| unsafe { key.compare(record) }.is_eq());
                if !order.exact() && !same(record) {
                    return None;
                }
                // SAFETY: as above.
                if !unsafe { &*record }.head().is_dead() {
                    return Some(record);
                }
            }
            at += 1;
        }
        None
    }

    /// Whether `record`, which a slot holds, has this key and is not out of use.
    #[inline]
    pub(super) fn slot_matches(
        &self,
        slot: usize,
        record: *const Record<W>,
        key: &impl Sought<W>,
        order: &impl KeyOrder<W>,
        extent: Extent,
    ) -> bool {
        if extent.is_removed(SORTED + slot)
            || self.slot_head(slot, record, order) != key.head(self.node.skip)
        {
            return false;
        }
        // SAFETY: as in `sorted_below`.
        let same = order.exact() || unsafe { key.compare(record) }.is_eq();
        // SAFETY: as above.
        same && !unsafe { &*record }.head().is_dead()
    }

    /// Puts a record into a slot if that is empty.
    #[inline]
    pub(super) fn fill(&self, slot: usize, record: *mut Record<W>, head: u64) -> bool {
        // SeqCst: publishes the record's contents, and stands in one order with the reads that
        // prove absence.
        let filled = self.slots[slot]
            .compare_exchange(std::ptr::null_mut(), record, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok();
        if filled {
            if !fault::on(Fault::InstallUnordered) {
                model_fence();
            }
            // Relaxed: see `slot_head`.
            self.slot_heads[slot].store(head, Ordering::Relaxed);
        }
        filled
    }

    /// Which entry holds this very record, if it is not removed.
    pub(super) fn entry_of(
        &self,
        record: *mut Record<W>,
        key: &impl Sought<W>,
        order: &impl KeyOrder<W>,
        extent: Extent,
    ) -> Option<usize> {
        let head = key.head(self.node.skip);
        let first = self.sorted_below(key, head, false, order, extent);
        let tie = (first..self.node.len()).take_while(|&at| self.heads[at] == head);
        let slots = SORTED..SORTED + usize::from(extent.filled);
        tie.chain(slots).find(|&at| !extent.is_removed(at) && self.record(at) == record)
    }

    /// Marks entries as removed and, with `own`, the low fence's record as the index's own; false
    /// if the state is no longer that of `extent`.
    pub(super) fn remove(&self, extent: Extent, entry: Option<usize>, own: bool) -> bool {
        let mut state = extent.removed | if own { OWNED } else { 0 };
        if let Some(entry) = entry {
            state |= 1 << entry;
        }
        // SeqCst: stands in one order with freezing; whoever copies the leaf sees the bit, or has
        // frozen the state and makes this fail. Relaxed if it fails: the caller begins again.
        self.state
            .compare_exchange(extent.removed, state, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
    }

    /// Ends all change: neither an insert nor a removal succeeds after this. Whoever comes second
    /// finds nothing to do.
    pub(super) fn freeze(&self) {
        if fault::on(Fault::CopyUnfrozen) {
            return;
        }
        // SeqCst: stands in one order with removals, and with `extent` in validations.
        self.state.fetch_or(FROZEN, Ordering::SeqCst);
        let frozen = std::ptr::without_provenance_mut(FROZEN_LINK);
        for slot in &self.slots {
            // Slots fill in order, so freezing the first empty one stops every insert.
            // SeqCst: stands in one order with inserts. If it fails the slot is filled or frozen.
            match slot.compare_exchange(
                std::ptr::null_mut(),
                frozen,
                Ordering::SeqCst,
                Ordering::SeqCst,
            ) {
                Ok(_) => return,
                Err(found) if found == frozen => return,
                Err(_) => {}
            }
        }
    }

    /// Whether an entry, given with its head, stays before one that was inserted later. Neither is
    /// removed.
    #[inline]
    pub(super) fn in_order(
        &self,
        one: (u64, usize),
        later: (u64, usize),
        order: &impl KeyOrder<W>,
    ) -> bool {
        if one.0 != later.0 || order.exact() {
            return one.0 <= later.0;
        }
        // SAFETY: neither was removed when the extent was taken, inside an open transaction.
        unsafe { order.compare(self.record(one.1), self.record(later.1)) }.is_le()
    }

    /// How the key sought lies to an entry that is not removed; `head` is the key's.
    #[inline]
    pub(super) fn compare_entry(
        &self,
        key: &impl Sought<W>,
        head: u64,
        entry: usize,
        order: &impl KeyOrder<W>,
    ) -> cmp::Ordering {
        match head.cmp(&self.head(entry, order)) {
            // SAFETY: as in `in_order`.
            cmp::Ordering::Equal if !order.exact() => unsafe { key.compare(self.record(entry)) },
            decided => decided,
        }
    }

    /// About how many records the leaf holds.
    pub(super) fn live(&self) -> usize {
        let extent = self.extent();
        let removed = extent.removed & (OWNED - 1);
        self.node.len() + usize::from(extent.filled) - removed.count_ones() as usize
    }
}
