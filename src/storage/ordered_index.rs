//! The ordered index: from keys to records, in the order of the keys. Lock-free: readers write
//! nothing, and what a writer has begun anybody can finish.
//!
//! # Layout
//!
//! A tree of nodes of several cache lines. A *leaf* holds up to 48 sorted records and behind them
//! 12 slots, which later inserts fill from the first to the last. An *inner node* holds up to 62
//! children and the fences between them. Beside each record (or fence) lies its *head*, eight bytes
//! of the key that sort as the key does, so that a search reads the lines of a node and looks at
//! records only where heads tie. The keys of a node's range share the bytes that its two fences
//! share; heads begin behind those, so that long common prefixes cost nothing.
//!
//! The tree follows the BzTree (Arulraj, Levandoski, Minhas, Larson, VLDB 2018) in what it does: a
//! node is never changed where readers search it, it is frozen and replaced. It departs from it in
//! how: instead of a multi-word compare-and-swap, each inner node has one *intent* word, which says
//! what is to become of it before anything is frozen.
//!
//! # Definitions
//!
//! A node is *current* if it is reached from the root by links. A leaf is *frozen* when its state
//! and its first empty slot are marked so; an inner node when it has an intent and all its links
//! are marked. A *fence* is the boundary between two ranges: a head where heads decide alone, else
//! a record, whose key is the boundary.
//!
//! # Invariants
//!
//! 1. A node's range, its sorted entries and its fences never change. A slot goes empty -> record
//!    or empty -> frozen and never back, and slots fill in order. So a key is in the sorted
//!    entries, in the filled slots or nowhere, and two inserts of one key meet in the same slot.
//! 2. A frozen node never changes. Only frozen nodes are copied, and a node stops being current
//!    only after it was frozen. So an insert, a removal or a swing that succeeds has changed a
//!    current node, and every copy shows it.
//! 3. The ranges of the current nodes of a level cover all keys, once: a replacement covers exactly
//!    what it replaces, and one compare-and-swap of one link puts it in place.
//! 4. An inner node's intent is decided once, before its first link is frozen, and it names the
//!    children that are rebuilt. Whoever needs the node carries the intent out first; all build the
//!    same and one swing wins. A node whose parent rebuilds it gets that as its own intent, so no
//!    node is replaced by two.
//! 5. A removed record is in no node that becomes current later.
//! 6. A record that is the low fence of a current leaf is not freed: its removal says so
//!    ([`Removed::Kept`]), and the index hands it out ([`Retired::Record`]) when the fence is gone.
//!
//! Nobody waits: who finds a node frozen, or an intent undecided, finishes that with what is in
//! memory for everyone to see. Each round of helping that fails does so because another one's swing
//! succeeded, and each swing serves an insert or a removal that had to have it.
//!
//! # What readers rely on
//!
//! A search loads the root and a link of each node on its way. A link may lead to a node that was
//! replaced since; its contents are then those of a moment after the search began, because they
//! were frozen while it was current. So a record that is in the index from before the search until
//! after it is found, and every record that is found was in it at some moment between.
//!
//! # What the caller owes
//!
//! Every call is made inside an open transaction that counts as one that holds pointers (or inside
//! one pinned step), and what [`Retired`] hands out is freed only after every transaction has ended
//! that was open at that moment and a grace period has passed, like a removed record. [`Witness`]es
//! and cursors hold pointers to nodes. A transaction that moves its snapshot forward gives up that
//! protection for what was replaced before; it keeps only the witnesses for which
//! [`OrderedIndex::unchanged_in_place`] says yes after the new snapshot was drawn, and no cursor.

mod arrangement;
mod cursor;
mod inner;
mod leaf;
mod memory;
mod node;
mod rebuild;

use super::Words;
use super::hash_index::Inserted;
use super::record::Record;
use crate::sync::fault::{self, Fault};
use crate::sync::step::{self, Step};
use crate::sync::{AtomicPtr, Ordering, model_fence};
use arrangement::Arrangement;
use cursor::Bounded;
use inner::{Inner, Side};
use leaf::{Extent, Leaf, Slot};
use memory::NodeMemory;
use node::{Fence, KeyOf, Link, Node, SLOTS};
use rebuild::Builder;
use std::cmp;
use std::ops::Bound;

pub(crate) use cursor::{Bounds, Cursor};
#[cfg(test)]
pub(crate) use memory::OwnMemory;
pub(crate) use memory::{ArenaMemory, Block, Memory};
pub(crate) use node::OwnedNode;

/// How the keys of an index's records are ordered.
pub(crate) trait KeyOrder<W: Words> {
    /// Whether keys with equal heads are equal. Then no record is looked at to compare keys, and
    /// `skip` is always 0.
    fn exact(&self) -> bool;

    /// Eight bytes of a record's key: of two keys that agree in their first `skip` bytes, the one
    /// with the lower head is the lower one. A key type without such bytes has the head 0.
    ///
    /// # Safety
    ///
    /// The record is alive and belongs to the index.
    unsafe fn head(&self, record: *const Record<W>, skip: u32) -> u64;

    /// In how many leading bytes two keys agree, and hence all keys between them. 0 for a key type
    /// that is not a byte string.
    ///
    /// # Safety
    ///
    /// As for `head`.
    unsafe fn shared(&self, low: *const Record<W>, high: *const Record<W>) -> u32;

    /// How the key of `one` lies to the key of `other`.
    ///
    /// # Safety
    ///
    /// As for `head`.
    unsafe fn compare(&self, one: *const Record<W>, other: *const Record<W>) -> cmp::Ordering;
}

/// A key that is looked for.
pub(crate) trait Sought<W: Words> {
    /// As [`KeyOrder::head`], for this key.
    fn head(&self, skip: u32) -> u64;

    /// How this key lies to a record's. Not called where heads are exact.
    ///
    /// # Safety
    ///
    /// As for [`KeyOrder::head`].
    unsafe fn compare(&self, record: *const Record<W>) -> cmp::Ordering;
}

impl<W: Words, S: Sought<W>> Sought<W> for &S {
    #[inline]
    fn head(&self, skip: u32) -> u64 {
        (**self).head(skip)
    }

    #[inline]
    unsafe fn compare(&self, record: *const Record<W>) -> cmp::Ordering {
        // SAFETY: the caller's promise.
        unsafe { (**self).compare(record) }
    }
}

/// The head of a byte string: eight bytes behind the first `skip`, zeros where it is shorter.
#[inline]
pub(crate) fn head_of_bytes(key: &[u8], skip: u32) -> u64 {
    let rest = key.get(skip as usize..).unwrap_or_default();
    match rest.first_chunk::<8>() {
        Some(bytes) => u64::from_be_bytes(*bytes),
        None => {
            let mut bytes = [0; 8];
            bytes[..rest.len()].copy_from_slice(rest);
            u64::from_be_bytes(bytes)
        }
    }
}

/// In how many leading bytes two byte strings agree.
pub(crate) fn shared_bytes(one: &[u8], other: &[u8]) -> u32 {
    one.iter().zip(other).take_while(|(one, other)| one == other).count() as u32
}

/// What a leaf held when a transaction read it: the proof that nothing else was there, for as long
/// as [`OrderedIndex::still_unchanged`] confirms it.
#[derive(Debug)]
pub(crate) struct Witness<W: Words> {
    leaf: *const Leaf<W>,
    extent: Extent,
}

impl<W: Words> Clone for Witness<W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W: Words> Copy for Witness<W> {}

/// What a lookup found.
#[cfg(test)]
#[derive(Debug)]
pub(crate) enum Lookup<W: Words> {
    /// The key's record.
    Found(*mut Record<W>),
    /// No record that is in use, and the proof.
    Absent(Witness<W>),
}

/// How a removal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removed {
    /// The record is out of the index.
    Yes,
    /// It is out, but it is still a fence: the index owns it now and hands it out later.
    Kept,
    /// There is no memory to finish a rebuilding that it is part of.
    NotNow,
}

/// What the index has no use for any more.
#[derive(Debug)]
pub(crate) enum Retired<W: Words> {
    /// A node that was replaced, or that never was in the tree.
    Node(OwnedNode<W>),
    /// A record that was [`Removed::Kept`].
    Record(*mut Record<W>),
}

/// No memory for a node.
#[derive(Debug)]
struct OutOfMemory;

/// Where a descent goes.
enum Target<'a, S> {
    First,
    Last,
    Key(&'a S, Side),
}

/// Where a descent ended: the node, and the parent in which it was found (null for the root).
struct Position<W: Words> {
    parent: Link<W>,
    child: usize,
    node: Link<W>,
}

impl<W: Words> Position<W> {
    fn of_root(node: Link<W>) -> Self {
        Position { parent: std::ptr::null_mut(), child: 0, node }
    }

    /// Goes down to a child, and asks for what a search reads of it; false, and not, if the node is
    /// not above `level`.
    #[inline]
    fn step_down<S: Sought<W>>(
        &mut self,
        target: &Target<'_, S>,
        level: u8,
        order: &impl KeyOrder<W>,
    ) -> bool {
        // SAFETY: a node that is reached by links is freed only after the calling transaction.
        if unsafe { &*self.node }.level <= level {
            return false;
        }
        let parent = self.node;
        // SAFETY: as above; nodes above level 0 are inner nodes.
        let inner = unsafe { &*parent.cast::<Inner<W>>() };
        let child = match target {
            Target::First => 0,
            Target::Last => inner.node.len() - 1,
            Target::Key(key, side) => inner.child_of(*key, *side, order),
        };
        *self = Position { parent, child, node: inner.child(child) };
        if inner.node.level > 1 {
            Inner::prefetch(self.node);
        } else {
            Leaf::prefetch_heads(self.node);
        }
        true
    }
}

/// An ordered index of a table, or of one part of it.
#[derive(Debug)]
pub(crate) struct OrderedIndex<W: Words> {
    root: AtomicPtr<Node<W>>,
}

impl<W: Words> OrderedIndex<W> {
    /// An empty index; `None` if there is no memory.
    pub(crate) fn new() -> Option<Self> {
        Some(OrderedIndex { root: AtomicPtr::new(Leaf::empty()?.into_link()) })
    }

    #[inline]
    fn root(&self) -> Link<W> {
        // SeqCst: as in `Inner::child`.
        self.root.load(Ordering::SeqCst)
    }

    /// Goes down to `level`, or not at all if the root is not above it.
    #[inline]
    fn descend<S: Sought<W>>(
        &self,
        target: &Target<'_, S>,
        level: u8,
        order: &impl KeyOrder<W>,
    ) -> Position<W> {
        let mut position = Position::of_root(self.root());
        while position.step_down(target, level, order) {}
        position
    }

    #[inline]
    fn leaf_of(&self, key: &impl Sought<W>, order: &impl KeyOrder<W>) -> (&Leaf<W>, Link<W>) {
        let link = self.descend(&Target::Key(key, Side::At), 0, order).node;
        // SAFETY: as in `descend`; nodes of level 0 are leaves.
        (unsafe { &*link.cast::<Leaf<W>>() }, link)
    }

    /// Looks for the record of a key. Records that are out of use are passed by. (Tables look
    /// points up in their hash index.)
    #[cfg(test)]
    pub(crate) fn find(&self, key: &impl Sought<W>, order: &impl KeyOrder<W>) -> Lookup<W> {
        let (leaf, _) = self.leaf_of(key, order);
        let mut extent = leaf.removed();
        if let Some(record) = leaf.find_sorted(key, order, extent) {
            return Lookup::Found(record);
        }
        while usize::from(extent.filled) < SLOTS {
            let slot = usize::from(extent.filled);
            let Slot::Record(record) = leaf.slot(slot) else { break };
            if leaf.slot_matches(slot, record, key, order, extent) {
                return Lookup::Found(record);
            }
            extent.filled += 1;
        }
        Lookup::Absent(Witness { leaf, extent })
    }

    /// Inserts a record unless its key has one that is in use.
    pub(crate) fn insert(
        &self,
        record: *mut Record<W>,
        order: &impl KeyOrder<W>,
        memory: &mut NodeMemory<'_, W>,
    ) -> Inserted<W> {
        // SAFETY: the caller's record is alive.
        let key = unsafe { KeyOf::record(record, order) };
        loop {
            let (leaf, link) = self.leaf_of(&key, order);
            let extent = leaf.removed();
            if let Some(other) = leaf.find_sorted(&key, order, extent) {
                return Inserted::Exists(other);
            }
            step::at(Step::OrderedInsert);
            if let Some(outcome) = Self::insert_into_slot(leaf, record, &key, order, extent) {
                return outcome;
            }
            if Builder::new(self, order, memory).replace(link).is_err() {
                return Inserted::OutOfMemory;
            }
        }
    }

    /// `None` if the leaf is full or frozen.
    #[inline]
    fn insert_into_slot(
        leaf: &Leaf<W>,
        record: *mut Record<W>,
        key: &impl Sought<W>,
        order: &impl KeyOrder<W>,
        extent: Extent,
    ) -> Option<Inserted<W>> {
        let mut slot = 0;
        while slot < SLOTS {
            match leaf.slot(slot) {
                Slot::Record(other) if leaf.slot_matches(slot, other, key, order, extent) => {
                    return Some(Inserted::Exists(other));
                }
                Slot::Record(_) => slot += 1,
                Slot::Empty if leaf.fill(slot, record, key.head(leaf.node.skip)) => {
                    return Some(Inserted::Yes);
                }
                // Somebody was faster: look at this slot again.
                Slot::Empty => {}
                Slot::Frozen => return None,
            }
        }
        None
    }

    /// Takes a record out of the index. It is out of use, and this is called until it is done.
    pub(crate) fn remove(
        &self,
        record: *mut Record<W>,
        order: &impl KeyOrder<W>,
        memory: &mut NodeMemory<'_, W>,
    ) -> Removed {
        // SAFETY: the caller's record is alive.
        let key = unsafe { KeyOf::record(record, order) };
        loop {
            let (leaf, link) = self.leaf_of(&key, order);
            let extent = leaf.extent();
            if extent.is_frozen() && !fault::on(Fault::RemoveFrozen) {
                if Builder::new(self, order, memory).replace(link).is_err() {
                    return Removed::NotNow;
                }
                continue;
            }
            let entry = leaf.entry_of(record, &key, order, extent);
            let own = leaf.node.low.is_some_and(|fence| fence.record == record);
            // Without an entry it was left out of a copy already (see `Builder::gather`).
            if (entry.is_none() && !own) || leaf.remove(extent, entry, own) {
                step::at(Step::OrderedRemoved);
                // Merging saves memory and time, and it is no loss if it fails.
                let _ = Builder::new(self, order, memory).merge_if_small(link);
                return if own { Removed::Kept } else { Removed::Yes };
            }
        }
    }

    /// The records from `low` to `high`, in ascending order.
    #[inline]
    fn range<'a, S: Sought<W>, O: KeyOrder<W>>(
        &'a self,
        low: Bound<S>,
        high: Bound<S>,
        order: &'a O,
    ) -> Bounded<'a, W, S, O, false> {
        Bounded { cursor: Cursor::new(self, order), bounds: (low, high) }
    }

    /// The records from `high` down to `low`, in descending order.
    #[cfg(test)]
    fn range_reversed<'a, S: Sought<W>, O: KeyOrder<W>>(
        &'a self,
        low: Bound<S>,
        high: Bound<S>,
        order: &'a O,
    ) -> Bounded<'a, W, S, O, true> {
        Bounded { cursor: Cursor::new(self, order), bounds: (low, high) }
    }

    /// Whether no record was inserted into the witness's leaf, or into what replaced it, since the
    /// witness was made. Records for which `pass` is true do not count: those that the asking
    /// transaction inserted, and those outside the range (or with another key) that it read.
    ///
    /// Of two transactions that each insert a record and then ask for the range of the other's, at
    /// least one gets no for an answer: inserts, links and these loads stand in one order, and
    /// what is inserted before this call is in the slots of the leaf or in a leaf that is reached
    /// from the root.
    pub(crate) fn still_unchanged(
        &self,
        witness: &Witness<W>,
        order: &impl KeyOrder<W>,
        pass: impl Fn(*const Record<W>) -> bool,
    ) -> bool {
        Self::unchanged_in_place(witness, &pass)
            .unwrap_or_else(|| self.unchanged_in_successors(witness, order, pass))
    }

    /// As [`OrderedIndex::still_unchanged`], but `None` if the leaf is frozen.
    pub(crate) fn unchanged_in_place(
        witness: &Witness<W>,
        pass: impl Fn(*const Record<W>) -> bool,
    ) -> Option<bool> {
        if !fault::on(Fault::InstallUnordered) {
            model_fence();
        }
        // SAFETY: the leaf is freed only after the transaction that holds the witness has ended.
        let leaf = unsafe { &*witness.leaf };
        for slot in usize::from(witness.extent.filled)..SLOTS {
            match leaf.slot(slot) {
                Slot::Empty => return Some(true),
                Slot::Frozen => return fault::on(Fault::FrozenIsUnchanged).then_some(true),
                Slot::Record(record) if pass(record) => {}
                Slot::Record(_) => return Some(false),
            }
        }
        // A full leaf takes nothing until it is replaced, for which it is frozen first.
        (!leaf.removed().is_frozen()).then_some(true)
    }

    /// Compares what is in the range of the witness's leaf now with what the leaf held.
    #[cold]
    fn unchanged_in_successors(
        &self,
        witness: &Witness<W>,
        order: &impl KeyOrder<W>,
        pass: impl Fn(*const Record<W>) -> bool,
    ) -> bool {
        // SAFETY: as in `unchanged_in_place`.
        let leaf = unsafe { &*witness.leaf };
        let all = Arrangement::<false>::ALL;
        let mut held = Arrangement::<false>::of(leaf, witness.extent, all, order);
        let bound = |fence: Fence<W>| KeyOf { fence, order };
        let low = leaf.node.low.map_or(Bound::Unbounded, |fence| Bound::Included(bound(fence)));
        let high = leaf.node.high.map_or(Bound::Unbounded, |fence| Bound::Excluded(bound(fence)));
        let mut cursor = self.range(low, high, order);
        while let Some((_, record)) = cursor.next(&mut |_| {}) {
            // Both are in order, so what was passed here does not come again. A record that was
            // removed before the witness was made is not among them; its address may be reused.
            let mut rest = held;
            let mut entries = std::iter::from_fn(|| rest.next(leaf, order));
            if entries.any(|(_, entry)| leaf.record(entry) == record) {
                held = rest;
            } else if !pass(record) {
                return false;
            }
        }
        true
    }

    /// Visits every record that the index owns. The caller has the index to itself.
    pub(crate) fn drain_owned(&mut self, mut visit: impl FnMut(*mut Record<W>)) {
        // SAFETY: `&mut self`.
        unsafe {
            Self::walk(self.root(), &mut |node| {
                if (*node).level == 0 {
                    let leaf = &*node.cast::<Leaf<W>>();
                    if let Some(fence) = leaf.node.low.filter(|_| leaf.extent().owns_fence()) {
                        visit(fence.record);
                    }
                }
            });
        }
    }

    /// Visits every record, also those that the index owns. The caller has the index to itself.
    #[cfg(test)]
    fn drain(&mut self, mut visit: impl FnMut(*mut Record<W>)) {
        // SAFETY: `&mut self`.
        unsafe {
            Self::walk(self.root(), &mut |node| {
                if (*node).level > 0 {
                    return;
                }
                let leaf = &*node.cast::<Leaf<W>>();
                let extent = leaf.extent();
                let slots = node::SORTED..node::SORTED + usize::from(extent.filled);
                let entries = (0..leaf.node.len()).chain(slots);
                entries.filter(|&entry| !extent.is_removed(entry)).for_each(|entry| {
                    visit(leaf.record(entry));
                });
            });
        }
        self.drain_owned(visit);
    }

    /// Visits every node of a tree, parents after their children.
    ///
    /// # Safety
    ///
    /// Nobody else uses the tree. `visit` may free the node that it gets.
    unsafe fn walk(node: Link<W>, visit: &mut impl FnMut(Link<W>)) {
        // SAFETY: links lead to nodes that are alive.
        let header = unsafe { &*node };
        if header.level > 0 {
            // SAFETY: as above; this is an inner node.
            let inner = unsafe { &*node.cast::<Inner<W>>() };
            for child in 0..header.len() {
                // SAFETY: the caller's promise.
                unsafe { Self::walk(inner.child(child), visit) };
            }
        }
        visit(node);
    }
}

impl<W: Words> Drop for OrderedIndex<W> {
    fn drop(&mut self) {
        // SAFETY: `&mut self`; each node has one parent, and replaced ones were handed out. Tables
        // go with their store, and the pool with the last of them.
        unsafe {
            Self::walk(self.root(), &mut |node| OwnedNode::from_link(node).free_with_pool());
        }
    }
}

#[cfg(all(test, loom))]
pub(super) mod models;
#[cfg(all(test, not(loom)))]
mod tests;
