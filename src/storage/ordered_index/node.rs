//! The nodes of the ordered index: how they lie in memory, search within one, and freezing.
//!
//! A node's heads lie side by side, so that a search reads a few lines of one node and looks at
//! records only where heads tie.

use super::{KeyOrder, Sought};
use crate::storage::Words;
use crate::storage::hash_index::prefetch_line;
use crate::storage::record::Record;
use crate::sync::fault::{self, Fault};
use crate::sync::{AtomicPtr, AtomicU64, AtomicUsize, Ordering, model_fence};
use std::alloc::{Layout, alloc, dealloc};
use std::cmp;
use std::ptr::NonNull;

/// Entries of a leaf's sorted part.
pub(super) const SORTED: usize = if cfg!(loom) { 4 } else { 48 };
/// Slots behind it for records that were inserted since.
pub(super) const SLOTS: usize = if cfg!(loom) { 2 } else { 14 };
pub(super) const ENTRIES: usize = SORTED + SLOTS;
/// Children of an inner node.
pub(super) const FANOUT: usize = if cfg!(loom) { 3 } else { 64 };

/// A leaf's state: one bit for each entry that is removed, and these two.
const FROZEN: u64 = 1 << 63;
/// The record of the low fence is out of use and belongs to the index.
const OWNED: u64 = 1 << 62;
const _: () = assert!(ENTRIES <= 62, "the state has a bit for each entry");

/// The head of a slot's record before somebody has noted it; a head of this value is never noted.
const UNKNOWN: u64 = u64::MAX;

/// The tag of a link that never changes again.
const FROZEN_LINK: usize = 1;

const LINE: usize = 64;

/// The boundary of a key range: a head where heads are exact, else a record with the boundary's
/// key.
#[derive(Debug)]
pub(super) struct Fence<W: Words> {
    pub(super) head: u64,
    pub(super) record: *mut Record<W>,
}

impl<W: Words> Clone for Fence<W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W: Words> Copy for Fence<W> {}

impl<W: Words> PartialEq for Fence<W> {
    fn eq(&self, other: &Self) -> bool {
        self.head == other.head && self.record == other.record
    }
}

/// A fence, or a record, as the key that is looked for.
pub(super) struct KeyOf<'a, W: Words, O> {
    pub(super) fence: Fence<W>,
    pub(super) order: &'a O,
}

impl<W: Words, O> Clone for KeyOf<'_, W, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W: Words, O> Copy for KeyOf<'_, W, O> {}

impl<'a, W: Words, O: KeyOrder<W>> KeyOf<'a, W, O> {
    /// # Safety
    ///
    /// The record is alive for as long as the result is used.
    pub(super) unsafe fn record(record: *mut Record<W>, order: &'a O) -> Self {
        // SAFETY: the caller's promise.
        let head = if order.exact() { unsafe { order.head(record, 0) } } else { 0 };
        KeyOf { fence: Fence { head, record }, order }
    }
}

impl<W: Words, O: KeyOrder<W>> Sought<W> for KeyOf<'_, W, O> {
    #[inline]
    fn head(&self, skip: u32) -> u64 {
        if self.order.exact() {
            return self.fence.head;
        }
        // SAFETY: a fence's record outlives every node with that fence (invariant 6).
        unsafe { self.order.head(self.fence.record, skip) }
    }

    #[inline]
    unsafe fn compare(&self, record: *const Record<W>) -> cmp::Ordering {
        if self.order.exact() {
            // SAFETY: the caller's promise.
            return self.fence.head.cmp(&unsafe { self.order.head(record, 0) });
        }
        // SAFETY: as above, and the caller's promise.
        unsafe { self.order.compare(self.fence.record, record) }
    }
}

/// How a key lies to a fence.
#[inline]
pub(super) fn compare_to_fence<W: Words>(
    key: &impl Sought<W>,
    fence: &Fence<W>,
    order: &impl KeyOrder<W>,
) -> cmp::Ordering {
    if order.exact() {
        return key.head(0).cmp(&fence.head);
    }
    // SAFETY: as in `KeyOf::head`.
    unsafe { key.compare(fence.record) }
}

/// What leaves and inner nodes have in common. None of it ever changes.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Node<W: Words> {
    /// The distance from the leaves.
    pub(super) level: u8,
    /// Entries in the sorted part of a leaf, children of an inner node.
    len: u8,
    /// Leading bytes that every key of this node's range shares; heads begin behind them.
    pub(super) skip: u32,
    /// The range: from `low` on, up to but without `high`.
    pub(super) low: Option<Fence<W>>,
    pub(super) high: Option<Fence<W>>,
}

impl<W: Words> Node<W> {
    fn new(
        level: u8,
        len: usize,
        low: Option<Fence<W>>,
        high: Option<Fence<W>>,
        order: &impl KeyOrder<W>,
    ) -> Self {
        let skip = match (low, high) {
            (Some(low), Some(high)) if !order.exact() => {
                // SAFETY: as in `KeyOf::head`.
                unsafe { order.shared(low.record, high.record) }
            }
            _ => 0,
        };
        Node { level, len: len as u8, skip, low, high }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        usize::from(self.len)
    }
}

/// A pointer to a node, as nodes and the root hold it.
pub(super) type Link<W> = *mut Node<W>;

/// Asks for the lines of a node that a search reads first.
#[inline]
pub(super) fn prefetch<W: Words>(node: Link<W>) {
    for line in 0..1 + SORTED * size_of::<u64>() / LINE {
        prefetch_line(node.cast::<u8>().wrapping_add(line * LINE));
    }
}

/// A record with its head, on its way into a node: `head` begins behind `skip` bytes.
#[derive(Debug)]
pub(super) struct Entry<W: Words> {
    pub(super) head: u64,
    pub(super) skip: u32,
    pub(super) record: *mut Record<W>,
}

impl<W: Words> Clone for Entry<W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W: Words> Copy for Entry<W> {}

impl<W: Words> Entry<W> {
    pub(super) const NONE: Self = Entry { head: 0, skip: 0, record: std::ptr::null_mut() };

    fn head_behind(&self, skip: u32, order: &impl KeyOrder<W>) -> u64 {
        if self.skip == skip {
            return self.head;
        }
        // SAFETY: skips differ from 0 only where heads are not exact, and there an entry has a
        // record: one that was not removed when its leaf was frozen, or one of a fence.
        unsafe { order.head(self.record, skip) }
    }

    /// The boundary below this entry's key.
    pub(super) fn fence(&self, order: &impl KeyOrder<W>) -> Fence<W> {
        if order.exact() {
            Fence { head: self.head, record: std::ptr::null_mut() }
        } else {
            Fence { head: 0, record: self.record }
        }
    }

    /// The fence as an entry of an inner node.
    pub(super) fn of_fence(fence: Fence<W>, order: &impl KeyOrder<W>) -> Self {
        if order.exact() {
            return Entry { head: fence.head, skip: 0, record: fence.record };
        }
        // SAFETY: as in `KeyOf::head`.
        let head = unsafe { order.head(fence.record, 0) };
        Entry { head, skip: 0, record: fence.record }
    }
}

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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) removed: u64,
    pub(super) filled: u8,
}

impl Extent {
    #[inline]
    pub(super) fn is_removed(self, entry: usize) -> bool {
        self.removed & (1 << entry) != 0
    }

    pub(super) fn is_frozen(self) -> bool {
        self.removed & FROZEN != 0
    }

    /// Whether the index owns the record of the low fence.
    pub(super) fn owns_fence(self) -> bool {
        self.removed & OWNED != 0
    }
}

/// Places of entries in a leaf, in the order of their keys.
pub(super) type Places = [u8; ENTRIES];

impl<W: Words> Leaf<W> {
    /// A leaf without entries whose range is everything.
    pub(super) fn empty() -> Option<OwnedNode<W>> {
        let node = Node { level: 0, len: 0, skip: 0, low: None, high: None };
        OwnedNode::allocate(Self::with_node(node, 0))
    }

    /// A leaf with these entries, which are sorted; `None` if there is no memory.
    pub(super) fn build(
        entries: &[Entry<W>],
        low: Option<Fence<W>>,
        high: Option<Fence<W>>,
        owns_fence: bool,
        order: &impl KeyOrder<W>,
    ) -> Option<OwnedNode<W>> {
        let node = Node::new(0, entries.len(), low, high, order);
        let mut leaf = Self::with_node(node, if owns_fence { OWNED } else { 0 });
        for (at, entry) in entries.iter().enumerate() {
            leaf.heads[at] = entry.head_behind(leaf.node.skip, order);
            leaf.records[at] = entry.record;
        }
        OwnedNode::allocate(leaf)
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

    /// The head of an entry that is not removed.
    #[inline]
    pub(super) fn head(&self, entry: usize, order: &impl KeyOrder<W>) -> u64 {
        if entry < SORTED {
            self.heads[entry]
        } else {
            self.slot_head(entry - SORTED, self.record(entry), order)
        }
    }

    /// The first sorted entry, removed or not, before which every key is below the one sought.
    #[inline]
    fn first_not_below(
        &self,
        key: &impl Sought<W>,
        head: u64,
        order: &impl KeyOrder<W>,
        extent: Extent,
    ) -> usize {
        let heads = &self.heads[..self.node.len()];
        let mut low = heads.partition_point(|&other| other < head);
        if order.exact() {
            return low;
        }
        let mut high = low + heads[low..].partition_point(|&other| other == head);
        while low < high {
            let middle = low.midpoint(high);
            // A removed record may be freed already: its neighbour answers for it.
            let Some(at) = (middle..high).find(|&at| !extent.is_removed(at)) else {
                high = middle;
                continue;
            };
            // SAFETY: not removed when the extent was taken, inside an open transaction.
            if unsafe { key.compare(self.records[at]) }.is_gt() {
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
        let mut at = self.first_not_below(key, head, order, extent);
        while at < self.node.len() && self.heads[at] == head {
            if !extent.is_removed(at) {
                // SAFETY: as in `first_not_below`.
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
        // SAFETY: as in `first_not_below`.
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
        let first = self.first_not_below(key, head, order, extent);
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

    /// Sorts what the leaf held at `extent`, without removed entries; returns how many there are.
    pub(super) fn arrange(
        &self,
        order: &impl KeyOrder<W>,
        extent: Extent,
        places: &mut Places,
    ) -> usize {
        let mut new = [(0u64, 0u8); SLOTS];
        let mut new_len = 0;
        for slot in 0..usize::from(extent.filled) {
            if !extent.is_removed(SORTED + slot) {
                let item = (self.head(SORTED + slot, order), (SORTED + slot) as u8);
                let after = |other: &(u64, u8)| self.in_order(*other, item, order);
                let at = new[..new_len].iter().rposition(after).map_or(0, |before| before + 1);
                new.copy_within(at..new_len, at + 1);
                new[at] = item;
                new_len += 1;
            }
        }
        let (mut len, mut next) = (0, 0);
        for entry in 0..self.node.len() {
            if extent.is_removed(entry) {
                continue;
            }
            let item = (self.heads[entry], entry as u8);
            while next < new_len && !self.in_order(item, new[next], order) {
                places[len] = new[next].1;
                (len, next) = (len + 1, next + 1);
            }
            places[len] = entry as u8;
            len += 1;
        }
        for &(_, place) in &new[next..new_len] {
            places[len] = place;
            len += 1;
        }
        len
    }

    /// Whether an entry, given with its head, stays before one that was inserted later.
    #[inline]
    fn in_order(&self, one: (u64, u8), later: (u64, u8), order: &impl KeyOrder<W>) -> bool {
        if one.0 != later.0 || order.exact() {
            return one.0 <= later.0;
        }
        let (one, later) = (self.record(usize::from(one.1)), self.record(usize::from(later.1)));
        // SAFETY: neither was removed when the extent was taken, inside an open transaction.
        unsafe { order.compare(one, later) }.is_le()
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

/// An inner node: children and the fences between them. Its links are swung from a child to that
/// child's replacement; whatever changes the number of children replaces the node.
#[derive(Debug)]
#[repr(C, align(64))]
pub(super) struct Inner<W: Words> {
    pub(super) node: Node<W>,
    intent: AtomicUsize,
    heads: [u64; FANOUT - 1],
    fences: [*mut Record<W>; FANOUT - 1],
    links: [AtomicPtr<Node<W>>; FANOUT],
}

/// What is to become of an inner node. It is decided once, before anything of the node is frozen,
/// and then anybody can carry it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Intent {
    /// Nothing yet.
    None,
    /// Its parent rebuilds it.
    ByParent,
    /// It is the root, and is replaced as a whole: split, or left out if it has one child.
    Root,
    /// `count` children from `first` on are rebuilt: one is split, two are merged.
    Rebuild { first: usize, count: usize },
}

impl Intent {
    fn encode(self) -> usize {
        match self {
            Intent::None => 0,
            Intent::ByParent => 1,
            Intent::Root => 2,
            Intent::Rebuild { first, count } => 3 | count << 2 | first << 4,
        }
    }

    fn decode(word: usize) -> Self {
        match word & 3 {
            0 => Intent::None,
            1 => Intent::ByParent,
            2 => Intent::Root,
            _ => Intent::Rebuild { first: word >> 4, count: word >> 2 & 3 },
        }
    }
}

/// Which child a descent takes where the key is a fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The one that begins with the key.
    At,
    /// The one that ends before it.
    Before,
}

impl<W: Words> Inner<W> {
    /// An inner node with these children; `fences` lie between them.
    pub(super) fn build(
        level: u8,
        children: &[Link<W>],
        fences: &[Entry<W>],
        low: Option<Fence<W>>,
        high: Option<Fence<W>>,
        order: &impl KeyOrder<W>,
    ) -> Option<OwnedNode<W>> {
        debug_assert_eq!(children.len(), fences.len() + 1);
        let mut inner = Inner {
            node: Node::new(level, children.len(), low, high, order),
            intent: AtomicUsize::new(Intent::None.encode()),
            heads: [0; FANOUT - 1],
            fences: [std::ptr::null_mut(); FANOUT - 1],
            links: std::array::from_fn(|at| {
                AtomicPtr::new(children.get(at).copied().unwrap_or(std::ptr::null_mut()))
            }),
        };
        for (at, fence) in fences.iter().enumerate() {
            inner.heads[at] = fence.head_behind(inner.node.skip, order);
            inner.fences[at] = fence.record;
        }
        OwnedNode::allocate(inner)
    }

    pub(super) fn is_full(&self) -> bool {
        self.node.len() == FANOUT
    }

    /// The child whose range holds the key.
    #[inline]
    pub(super) fn child_of(
        &self,
        key: &impl Sought<W>,
        side: Side,
        order: &impl KeyOrder<W>,
    ) -> usize {
        let heads = &self.heads[..self.node.len() - 1];
        let head = key.head(self.node.skip);
        if order.exact() {
            return match side {
                Side::At => heads.partition_point(|&fence| fence <= head),
                Side::Before => heads.partition_point(|&fence| fence < head),
            };
        }
        let low = heads.partition_point(|&fence| fence < head);
        let ties = heads[low..].partition_point(|&fence| fence == head);
        low + self.fences[low..low + ties].partition_point(|&fence| {
            // SAFETY: as in `KeyOf::head`.
            let compared = unsafe { key.compare(fence) };
            compared.is_gt() || side == Side::At && compared.is_eq()
        })
    }

    /// A child.
    #[inline]
    pub(super) fn child(&self, at: usize) -> Link<W> {
        // SeqCst: acquires the node from whoever built it. A validation that takes an old child
        // here does so before the new one, and whatever is inserted there, in the single order.
        self.links[at].load(Ordering::SeqCst).map_addr(|addr| addr & !FROZEN_LINK)
    }

    /// The fence below child `at`, which is not the first.
    pub(super) fn entry(&self, at: usize) -> Entry<W> {
        let record = self.fences[at - 1];
        Entry { head: self.heads[at - 1], skip: self.node.skip, record }
    }

    /// Puts a replacement in a child's place; false if the child is gone or its link is frozen.
    pub(super) fn swing(&self, at: usize, from: Link<W>, to: Link<W>) -> bool {
        // SeqCst: publishes the new node; pairs with `child`, and with `freeze`: a link that is
        // frozen is copied as it is. Relaxed if it fails: the caller looks again.
        self.links[at].compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed).is_ok()
    }

    pub(super) fn intent(&self) -> Intent {
        // Acquire: pairs with `claim`; who sees the intent sees the children that it is about.
        Intent::decode(self.intent.load(Ordering::Acquire))
    }

    /// Decides what becomes of this node, unless that is decided: returns what it is.
    pub(super) fn claim(&self, intent: Intent) -> Intent {
        let (none, new) = (Intent::None.encode(), intent.encode());
        // AcqRel: pairs with `intent`. Acquire if it fails: as there.
        match self.intent.compare_exchange(none, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => intent,
            Err(found) => Intent::decode(found),
        }
    }

    /// Ends all change of the links.
    pub(super) fn freeze(&self) {
        if fault::on(Fault::LinkUnfrozen) {
            return;
        }
        for link in &self.links[..self.node.len()] {
            // A pointer has no `fetch_or` under the model.
            loop {
                // Acquire: as in `child`.
                let word = link.load(Ordering::Acquire);
                let frozen = word.map_addr(|addr| addr | FROZEN_LINK);
                // SeqCst: stands in one order with `swing`. Relaxed if it fails: look again.
                if word == frozen
                    || link
                        .compare_exchange(word, frozen, Ordering::SeqCst, Ordering::Relaxed)
                        .is_ok()
                {
                    break;
                }
            }
        }
    }
}

/// A node that nobody else owns: private, or replaced. Dropping it frees its memory, not what it
/// points to.
#[derive(Debug)]
pub(crate) struct OwnedNode<W: Words>(NonNull<Node<W>>);

// SAFETY: a node is plain values, atomics, and pointers that only the index follows.
unsafe impl<W: Words> Send for OwnedNode<W> {}

impl<W: Words> OwnedNode<W> {
    /// Moves a leaf or an inner node, whose first field is its `Node`, to memory of its own.
    fn allocate<T>(node: T) -> Option<Self> {
        // SAFETY: nodes have a size.
        let place = NonNull::new(unsafe { alloc(Layout::new::<T>()) })?.cast::<T>();
        // SAFETY: just allocated with the layout of a `T`.
        unsafe { place.write(node) };
        #[cfg(test)]
        counted::NODES.with(|nodes| nodes.set(nodes.get() + 1));
        Some(OwnedNode(place.cast()))
    }

    /// The node as a link, which the tree owns from now on.
    pub(super) fn into_link(self) -> Link<W> {
        let link = self.0.as_ptr();
        std::mem::forget(self);
        link
    }

    pub(super) fn link(&self) -> Link<W> {
        self.0.as_ptr()
    }

    /// # Safety
    ///
    /// `link` was made by [`OwnedNode::into_link`], and the tree owns it no more.
    pub(super) unsafe fn from_link(link: Link<W>) -> Self {
        OwnedNode(NonNull::new(link).expect("links are not null"))
    }
}

impl<W: Words> Drop for OwnedNode<W> {
    fn drop(&mut self) {
        // SAFETY: owned.
        let inner = unsafe { self.0.as_ref() }.level > 0;
        let layout = if inner { Layout::new::<Inner<W>>() } else { Layout::new::<Leaf<W>>() };
        #[cfg(test)]
        counted::NODES.with(|nodes| nodes.set(nodes.get() - 1));
        #[cfg(loom)]
        if inner {
            // SAFETY: owned, and of this type; the model's atomics have something to drop.
            unsafe { self.0.cast::<Inner<W>>().drop_in_place() };
        } else {
            // SAFETY: as above.
            unsafe { self.0.cast::<Leaf<W>>().drop_in_place() };
        }
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.0.as_ptr().cast(), layout) };
    }
}

/// The number of nodes that this thread has made and not freed.
#[cfg(test)]
pub(super) mod counted {
    use std::cell::Cell;

    thread_local! {
        pub(in super::super) static NODES: Cell<isize> = const { Cell::new(0) };
    }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Leaf<crate::storage::NoWords>>() == 17 * LINE);
#[cfg(not(loom))]
const _: () = assert!(size_of::<Inner<crate::storage::NoWords>>() == 25 * LINE);
