//! Replacing nodes of the ordered index: copies, splits, merges, and whatever others have begun.
//!
//! Every replacement goes the same way: what is copied is frozen, the copies are built in private,
//! and one compare-and-swap of one link puts them in place. Who loses that race hands its copies
//! out as if they had been replaced. A leaf that becomes one leaf is swung within its parent.
//! Whatever changes the number of a parent's children replaces the parent as well, and goes through
//! the parent's intent.

use super::arrangement::Arrangement;
use super::inner::{Inner, Intent, Side};
use super::leaf::Leaf;
use super::memory::NodeMemory;
use super::node::{ENTRIES, Entry, FANOUT, Fence, KeyOf, Link, Node, OwnedNode, SORTED};
use super::{KeyOrder, OrderedIndex, OutOfMemory, Retired, Target};
use crate::storage::Words;
use crate::storage::record::Record;
use crate::sync::Ordering;
use crate::sync::step::{self, Step};

/// A leaf with at most this many records looks for a neighbour to merge with,
const SMALL_LEAF: usize = SORTED / 3;
/// but only at every so many removals.
const MERGE_PERIOD: usize = if cfg!(loom) { 1 } else { 4 };
/// Two leaves are merged if they have at most this many records together.
const MERGED_LEAF: usize = SORTED / 4 * 3;
/// An inner node with at most this many children looks for a neighbour,
const SMALL_INNER: usize = if cfg!(loom) { 1 } else { FANOUT / 4 };
/// and this many are merged into one.
const MERGED_INNER: usize = FANOUT / 4 * 3;
/// The children of the right part if the last inner node of a level is split.
const LAST_INNER: usize = if cfg!(loom) { 1 } else { FANOUT / 8 };

/// The most nodes that two leaves, filled up before they were frozen, become.
const PIECES: usize = 3;
const _: () = assert!((2 * ENTRIES).div_ceil(SORTED) <= PIECES);
// An intent is decided only in an inner node that is not full: it takes one more child.
const _: () = assert!(ENTRIES.div_ceil(SORTED) <= 2 && PIECES - 2 <= 1);

/// A vector of fixed capacity.
struct Row<T, const N: usize> {
    items: [T; N],
    len: usize,
}

impl<T: Copy, const N: usize> Row<T, N> {
    fn new(filler: T) -> Self {
        Row { items: [filler; N], len: 0 }
    }

    fn push(&mut self, item: T) {
        self.items[self.len] = item;
        self.len += 1;
    }
}

impl<T, const N: usize> std::ops::Deref for Row<T, N> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items[..self.len]
    }
}

type LeafRow<W> = Row<Entry<W>, { 2 * ENTRIES }>;
type LinkRow<W> = Row<Link<W>, { 2 * FANOUT }>;
type FenceRow<W> = Row<Entry<W>, { 2 * FANOUT }>;

/// Private nodes, from left to right, the fences between them, and the node above them if that is
/// new, too. They have to go into the tree or be discarded.
#[must_use]
struct Pieces<W: Words> {
    nodes: [Option<OwnedNode<W>>; PIECES],
    fences: [Option<Fence<W>>; PIECES],
    len: usize,
    top: Option<OwnedNode<W>>,
}

impl<W: Words> Pieces<W> {
    fn new() -> Self {
        let nodes = [const { None }; PIECES];
        Pieces { nodes, fences: [None; PIECES], len: 0, top: None }
    }

    /// Adds a node; `fence` is the one above it. If there was no memory for the node, the others
    /// are discarded.
    fn with(
        self,
        node: Option<OwnedNode<W>>,
        fence: Option<Fence<W>>,
        memory: &mut NodeMemory<'_, W>,
    ) -> Result<Self, OutOfMemory> {
        let (mut pieces, node) = self.beside(node, memory)?;
        pieces.nodes[pieces.len] = Some(node);
        pieces.fences[pieces.len] = fence;
        pieces.len += 1;
        Ok(pieces)
    }

    /// Adds the node above all others, as `with` does.
    fn below(
        self,
        top: Option<OwnedNode<W>>,
        memory: &mut NodeMemory<'_, W>,
    ) -> Result<Self, OutOfMemory> {
        let (mut pieces, top) = self.beside(top, memory)?;
        pieces.top = Some(top);
        Ok(pieces)
    }

    /// The pieces and one more node, unless there was no memory for that.
    fn beside(
        self,
        node: Option<OwnedNode<W>>,
        memory: &mut NodeMemory<'_, W>,
    ) -> Result<(Self, OwnedNode<W>), OutOfMemory> {
        match node {
            Some(node) => Ok((self, node)),
            None => {
                self.discard(memory);
                Err(OutOfMemory)
            }
        }
    }

    fn links(&self) -> impl Iterator<Item = Link<W>> {
        self.nodes.iter().flatten().map(OwnedNode::link)
    }

    fn inner_fences(&self) -> impl Iterator<Item = Fence<W>> {
        self.fences[..self.len - 1].iter().copied().flatten()
    }

    /// The node that the others hang below, or the only one.
    fn link(&self) -> Link<W> {
        let first = || self.links().next();
        self.top.as_ref().map(OwnedNode::link).or_else(first).expect("there is at least one piece")
    }

    fn into_nodes(self) -> impl Iterator<Item = OwnedNode<W>> {
        self.nodes.into_iter().chain([self.top]).flatten()
    }

    /// The tree owns the nodes from now on.
    fn release(self) {
        self.into_nodes().for_each(|node| {
            node.into_link();
        });
    }

    /// Nobody needs the nodes.
    fn discard(self, memory: &mut NodeMemory<'_, W>) {
        self.into_nodes().for_each(|node| memory.retire(Retired::Node(node)));
    }
}

/// Where a node hangs.
enum Above<W: Words> {
    Root,
    /// In this inner node, as this child.
    Parent(Link<W>, usize),
    /// It was replaced.
    Gone,
}

/// Follows a link to a leaf.
///
/// # Safety
///
/// The link was loaded by the calling operation and leads to a node of level 0.
unsafe fn leaf_at<'a, W: Words>(link: Link<W>) -> &'a Leaf<W> {
    // SAFETY: the caller's promise; nodes outlive the operations that may have reached them.
    unsafe { &*link.cast::<Leaf<W>>() }
}

/// Follows a link to an inner node.
///
/// # Safety
///
/// The link was loaded by the calling operation and leads to a node above level 0.
unsafe fn inner_at<'a, W: Words>(link: Link<W>) -> &'a Inner<W> {
    // SAFETY: as in `leaf_at`.
    unsafe { &*link.cast::<Inner<W>>() }
}

/// Whoever rebuilds a part of an index.
pub(super) struct Builder<'a, W: Words, O> {
    index: &'a OrderedIndex<W>,
    order: &'a O,
    memory: &'a mut NodeMemory<'a, W>,
}

impl<'a, W: Words, O: KeyOrder<W>> Builder<'a, W, O> {
    pub(super) fn new(
        index: &'a OrderedIndex<W>,
        order: &'a O,
        memory: &'a mut NodeMemory<'a, W>,
    ) -> Self {
        Builder { index, order, memory }
    }

    /// Has a leaf replaced that is full or frozen: by a copy, or by halves if it holds too much for
    /// one. If others are at its parent, theirs is finished instead; the caller looks again.
    #[cold]
    #[inline(never)]
    pub(super) fn replace(&mut self, link: Link<W>) -> Result<(), OutOfMemory> {
        // SAFETY: the caller descended to this leaf.
        let leaf = unsafe { leaf_at(link) };
        leaf.freeze();
        step::at(Step::OrderedFrozen);
        let mut entries = Row::new(Entry::NONE);
        let ascending = self.gather(leaf, &mut entries);
        self.drop_dead_twins(&mut entries);
        let above = self.above(link);
        if let Above::Parent(parent, child) = above {
            // SAFETY: the parent was found by a descent.
            if unsafe { inner_at(parent) }.intent() != Intent::None {
                return self.complete(parent);
            }
            if entries.len() > SORTED {
                return self.request(parent, Intent::Rebuild { first: child, count: 1 });
            }
        }
        if matches!(above, Above::Gone) {
            return Ok(());
        }
        let mut pieces = self.leaves(&entries, leaf, leaf, ascending)?;
        // Only the root has no parent to take a second leaf.
        if pieces.len > 1 {
            pieces = self.root_over(pieces, 1)?;
        }
        if self.swing_pieces(&above, link, pieces) {
            self.retire_node(link);
        }
        Ok(())
    }

    /// Merges a leaf with a neighbour if both are small enough.
    #[inline]
    pub(super) fn merge_if_small(&mut self, link: Link<W>) -> Result<(), OutOfMemory> {
        // SAFETY: the caller descended to this leaf.
        let size = unsafe { leaf_at(link) }.live();
        if size > SMALL_LEAF || !size.is_multiple_of(MERGE_PERIOD) {
            return Ok(());
        }
        match self.above(link) {
            Above::Parent(parent, child) => self.merge(parent, child, size),
            Above::Root | Above::Gone => Ok(()),
        }
    }

    /// Where a node hangs now.
    fn above(&self, link: Link<W>) -> Above<W> {
        // SAFETY: the caller was led to this node by links.
        let node = unsafe { &*link };
        let key = node.low.map(|fence| KeyOf { fence, order: self.order });
        let target = key.as_ref().map_or(Target::First, |key| Target::Key(key, Side::At));
        let position = self.index.descend(&target, node.level, self.order);
        if position.node != link {
            Above::Gone
        } else if position.parent.is_null() {
            Above::Root
        } else {
            Above::Parent(position.parent, position.child)
        }
    }

    /// Puts `to` in the place of `from`.
    fn swing(&self, above: &Above<W>, from: Link<W>, to: Link<W>) -> bool {
        step::at(Step::OrderedSwing);
        match *above {
            // SeqCst: as in `Inner::swing`. Relaxed if it fails: the caller looks again.
            Above::Root => self
                .index
                .root
                .compare_exchange(from, to, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok(),
            // SAFETY: the parent was found by a descent.
            Above::Parent(parent, child) => unsafe { inner_at(parent) }.swing(child, from, to),
            Above::Gone => false,
        }
    }

    /// Puts new nodes in the place of `from`, or discards them.
    fn swing_pieces(&mut self, above: &Above<W>, from: Link<W>, pieces: Pieces<W>) -> bool {
        let swung = self.swing(above, from, pieces.link());
        if swung {
            pieces.release();
        } else {
            pieces.discard(self.memory);
        }
        swung
    }

    fn retire_node(&mut self, link: Link<W>) {
        // SAFETY: the caller's swing took it out of the tree, and only one swing does.
        self.memory.retire(Retired::Node(unsafe { OwnedNode::from_link(link) }));
    }

    /// Decides what becomes of an inner node, unless that is decided, and carries that out.
    fn request(&mut self, link: Link<W>, intent: Intent) -> Result<(), OutOfMemory> {
        // SAFETY: the caller found this inner node by a descent.
        let inner = unsafe { inner_at(link) };
        if inner.is_full() && intent != Intent::Root {
            return self.split(link);
        }
        inner.claim(intent);
        step::at(Step::OrderedIntent);
        self.complete(link)
    }

    /// Splits a full inner node.
    fn split(&mut self, link: Link<W>) -> Result<(), OutOfMemory> {
        match self.above(link) {
            Above::Root => self.request(link, Intent::Root),
            Above::Parent(parent, first) => {
                self.request(parent, Intent::Rebuild { first, count: 1 })
            }
            Above::Gone => Ok(()),
        }
    }

    /// Carries out what was decided for an inner node, until the node is replaced.
    fn complete(&mut self, link: Link<W>) -> Result<(), OutOfMemory> {
        loop {
            // SAFETY: the caller found this inner node by a descent.
            let replaced = match unsafe { inner_at(link) }.intent() {
                Intent::None => true,
                Intent::ByParent => {
                    if let Above::Parent(parent, _) = self.above(link) {
                        self.complete(parent)?;
                    }
                    true
                }
                Intent::Root => self.rebuild_root(link)?,
                Intent::Rebuild { first, count } => self.rebuild(link, first, count)?,
            };
            if replaced {
                return Ok(());
            }
        }
    }

    /// One attempt at replacing an inner node by one whose `count` children from `first` on are
    /// rebuilt; true if it is replaced, by whomever.
    fn rebuild(&mut self, link: Link<W>, first: usize, count: usize) -> Result<bool, OutOfMemory> {
        // SAFETY: the caller found this inner node by a descent.
        let inner = unsafe { inner_at(link) };
        if inner.node.level > 1 {
            // Before any link is frozen: a child that others rebuild has still to be swung here.
            for child in first..first + count {
                let child = inner.child(child);
                // SAFETY: a child above level 0.
                if unsafe { inner_at(child) }.claim(Intent::ByParent) != Intent::ByParent {
                    self.complete(child)?;
                    return Ok(false);
                }
            }
        }
        inner.freeze();
        let above = self.above(link);
        if matches!(above, Above::Gone) {
            return Ok(true);
        }
        let pieces = if inner.node.level > 1 {
            self.inner_pieces(inner, first, count)?
        } else {
            self.leaf_pieces(inner, first, count)?
        };
        let pieces = self.with_pieces(inner, first, count, pieces)?;
        if self.swing_pieces(&above, link, pieces) {
            self.retire_rebuilt(inner, first, count);
            self.retire_node(link);
            return Ok(true);
        }
        if let Above::Parent(parent, _) = above {
            // If the link was frozen, the parent's own replacement comes first.
            self.complete(parent)?;
        }
        Ok(false)
    }

    /// One attempt at replacing the root: by its only child, or by a root over its two halves.
    fn rebuild_root(&mut self, link: Link<W>) -> Result<bool, OutOfMemory> {
        // SAFETY: the caller found this inner node by a descent.
        let inner = unsafe { inner_at(link) };
        inner.freeze();
        if self.index.root() != link {
            return Ok(true);
        }
        if inner.node.len() == 1 {
            if self.swing(&Above::Root, link, inner.child(0)) {
                self.retire_node(link);
            }
            return Ok(true);
        }
        let (mut links, mut fences) = (Row::new(std::ptr::null_mut()), Row::new(Entry::NONE));
        Self::append(inner, &mut links, &mut fences);
        let pieces = self.inners(&links, &fences, inner, inner, 2)?;
        let pieces = self.root_over(pieces, inner.node.level + 1)?;
        if self.swing_pieces(&Above::Root, link, pieces) {
            self.retire_node(link);
        }
        Ok(true)
    }

    /// After a swing: hands out the children that were rebuilt, and the record of a fence that went
    /// with them.
    fn retire_rebuilt(&mut self, inner: &Inner<W>, first: usize, count: usize) {
        for at in first..first + count {
            let child = inner.child(at);
            if inner.node.level == 1 && at > first {
                // SAFETY: children of level 1 are leaves; this one is frozen.
                let leaf = unsafe { leaf_at(child) };
                let owned = leaf.node.low.filter(|_| leaf.removed().owns_fence());
                if let Some(fence) = owned {
                    self.memory.retire(Retired::Record(fence.record));
                }
            }
            self.retire_node(child);
        }
    }

    /// Puts pieces below a copy of an inner node, in the place of some children.
    fn with_pieces(
        &mut self,
        inner: &Inner<W>,
        first: usize,
        count: usize,
        pieces: Pieces<W>,
    ) -> Result<Pieces<W>, OutOfMemory> {
        let mut links: LinkRow<W> = Row::new(std::ptr::null_mut());
        let mut fences: FenceRow<W> = Row::new(Entry::NONE);
        (0..first).for_each(|at| links.push(inner.child(at)));
        (1..=first).for_each(|at| fences.push(inner.entry(at)));
        pieces.links().for_each(|link| links.push(link));
        pieces.inner_fences().for_each(|fence| fences.push(Entry::of_fence(fence, self.order)));
        (first + count..inner.node.len()).for_each(|at| {
            links.push(inner.child(at));
            fences.push(inner.entry(at));
        });
        let Node { level, low, high, .. } = inner.node;
        let top = Inner::build(level, &links, &fences, low, high, self.order, self.memory);
        pieces.below(top, self.memory)
    }

    /// Puts pieces that cover everything below a root.
    fn root_over(&mut self, pieces: Pieces<W>, level: u8) -> Result<Pieces<W>, OutOfMemory> {
        let mut links: LinkRow<W> = Row::new(std::ptr::null_mut());
        let mut fences: FenceRow<W> = Row::new(Entry::NONE);
        pieces.links().for_each(|link| links.push(link));
        pieces.inner_fences().for_each(|fence| fences.push(Entry::of_fence(fence, self.order)));
        let top = Inner::build(level, &links, &fences, None, None, self.order, self.memory);
        pieces.below(top, self.memory)
    }

    /// Appends a frozen leaf's entries in order; true if everything inserted since the leaf was
    /// built is above what it was built with.
    fn gather(&self, leaf: &Leaf<W>, into: &mut LeafRow<W>) -> bool {
        let extent = leaf.extent();
        let all = Arrangement::<false>::ALL;
        let mut entries = Arrangement::<false>::of(leaf, extent, all, self.order);
        let (mut seen_new, mut only_new_above) = (false, true);
        while let Some((head, entry)) = entries.next(leaf, self.order) {
            into.push(Entry { head, skip: leaf.node.skip, record: leaf.record(entry) });
            let is_new = entry >= SORTED;
            only_new_above &= is_new || !seen_new;
            seen_new |= is_new;
        }
        only_new_above
    }

    /// Makes the keys of what is too much for one leaf different from each other, so that it can be
    /// cut anywhere: of the records of one key all but one are out of use. They are removed by
    /// this; whoever put them out of use need not find them.
    fn drop_dead_twins(&self, entries: &mut LeafRow<W>) {
        if entries.len() <= SORTED {
            return;
        }
        let same = |one: &Entry<W>, other: &Entry<W>| {
            if (one.head, one.skip) != (other.head, other.skip) || self.order.exact() {
                return one.head == other.head && one.skip == other.skip;
            }
            // SAFETY: neither was removed when its leaf was frozen.
            unsafe { self.order.compare(one.record, other.record) }.is_eq()
        };
        let (mut kept, mut previous) = (0, None);
        for at in 0..entries.len {
            let entry = entries.items[at];
            let twin = previous.is_some_and(|previous| same(&previous, &entry))
                || entries.get(at + 1).is_some_and(|next| same(&entry, next));
            previous = Some(entry);
            let record: *const Record<W> = entry.record;
            // SAFETY: as above.
            if !(twin && unsafe { &*record }.head().is_dead()) {
                entries.items[kept] = entry;
                kept += 1;
            }
        }
        entries.len = kept;
    }

    /// The leaves that the children `first..first + count` become.
    fn leaf_pieces(
        &mut self,
        inner: &Inner<W>,
        first: usize,
        count: usize,
    ) -> Result<Pieces<W>, OutOfMemory> {
        let mut entries = Row::new(Entry::NONE);
        let mut ascending = false;
        // SAFETY: children of an inner node of level 1 are leaves.
        let child = |at| unsafe { leaf_at(inner.child(at)) };
        for at in first..first + count {
            child(at).freeze();
            ascending = self.gather(child(at), &mut entries) && count == 1;
        }
        self.drop_dead_twins(&mut entries);
        self.leaves(&entries, child(first), child(first + count - 1), ascending)
    }

    /// Leaves with these entries, for the range from the first old leaf to the last.
    fn leaves(
        &mut self,
        entries: &[Entry<W>],
        first: &Leaf<W>,
        last: &Leaf<W>,
        ascending: bool,
    ) -> Result<Pieces<W>, OutOfMemory> {
        let mut pieces = Pieces::new();
        let mut low = first.node.low;
        let mut owned = first.removed().owns_fence();
        let count = entries.len().div_ceil(SORTED).max(1);
        let mut start = 0;
        for piece in 1..=count {
            // Keys that only grow never come back to the left half.
            let even = entries.len() * piece / count;
            let end = if ascending && piece < count { piece * SORTED } else { even };
            let high = match entries.get(end) {
                Some(next) => Some(next.fence(self.order)),
                None => last.node.high,
            };
            let entries = &entries[start..end];
            let leaf = Leaf::build(entries, low, high, owned, self.order, self.memory);
            pieces = pieces.with(leaf, high, self.memory)?;
            (start, low, owned) = (end, high, false);
        }
        Ok(pieces)
    }

    /// Appends a frozen inner node's children and the fences between them.
    fn append(inner: &Inner<W>, links: &mut LinkRow<W>, fences: &mut FenceRow<W>) {
        (0..inner.node.len()).for_each(|at| links.push(inner.child(at)));
        (1..inner.node.len()).for_each(|at| fences.push(inner.entry(at)));
    }

    /// The inner nodes that the children `first..first + count`, which were claimed for this node,
    /// become.
    fn inner_pieces(
        &mut self,
        inner: &Inner<W>,
        first: usize,
        count: usize,
    ) -> Result<Pieces<W>, OutOfMemory> {
        let (mut links, mut fences) = (Row::new(std::ptr::null_mut()), Row::new(Entry::NONE));
        // SAFETY: children of an inner node above level 1 are inner nodes.
        let child = |at| unsafe { inner_at(inner.child(at)) };
        for at in first..first + count {
            child(at).freeze();
            if at > first {
                fences.push(inner.entry(at));
            }
            Self::append(child(at), &mut links, &mut fences);
        }
        let count_new = if links.len() > MERGED_INNER { 2 } else { 1 };
        self.inners(&links, &fences, child(first), child(first + count - 1), count_new)
    }

    /// `count` inner nodes with these children, for the range from the first old one to the last.
    fn inners(
        &mut self,
        links: &[Link<W>],
        fences: &[Entry<W>],
        first: &Inner<W>,
        last: &Inner<W>,
        count: usize,
    ) -> Result<Pieces<W>, OutOfMemory> {
        let mut pieces = Pieces::new();
        let (mut start, mut low) = (0, first.node.low);
        for piece in 1..=count {
            let even = links.len() * piece / count;
            // Where keys only grow, the last node of a level is split, and nothing comes back to
            // its left part.
            let is_of_last = std::ptr::eq(first, last) && last.node.high.is_none() && piece < count;
            let end = if is_of_last { links.len() - LAST_INNER } else { even };
            let high = match fences.get(end - 1) {
                Some(fence) => Some(fence.fence(self.order)),
                None => last.node.high,
            };
            let (level, between) = (first.node.level, &fences[start..end - 1]);
            let links = &links[start..end];
            let inner = Inner::build(level, links, between, low, high, self.order, self.memory);
            pieces = pieces.with(inner, high, self.memory)?;
            (start, low) = (end, high);
        }
        Ok(pieces)
    }

    /// Merges a child, which holds `size` things, with a neighbour if that is small enough too, and
    /// goes on upwards if that leaves few children.
    fn merge(&mut self, parent: Link<W>, child: usize, size: usize) -> Result<(), OutOfMemory> {
        // SAFETY: the parent was found by a descent.
        let inner = unsafe { inner_at(parent) };
        let above_leaves = inner.node.level == 1;
        let merged_max = if above_leaves { MERGED_LEAF } else { MERGED_INNER };
        let size_of = |at: usize| {
            let link = inner.child(at);
            // SAFETY: a child of a node of level 1 is a leaf, others are inner nodes.
            if above_leaves { unsafe { leaf_at(link) }.live() } else { unsafe { &*link }.len() }
        };
        let next = Some(child + 1).filter(|&next| next < inner.node.len());
        let fits = |at: &usize| size_of(*at) + size <= merged_max;
        if let Some(neighbour) = [child.checked_sub(1), next].into_iter().flatten().find(fits) {
            self.request(parent, Intent::Rebuild { first: child.min(neighbour), count: 2 })?;
        }
        if inner.node.len() > SMALL_INNER + 1 {
            return Ok(());
        }
        // The parent was replaced by now; its replacement has the same range.
        let key = inner.node.low.map(|fence| KeyOf { fence, order: self.order });
        let target = key.as_ref().map_or(Target::First, |key| Target::Key(key, Side::At));
        let position = self.index.descend(&target, inner.node.level, self.order);
        // SAFETY: found by a descent.
        let (level, len) = unsafe { ((*position.node).level, (*position.node).len()) };
        if level != inner.node.level || len > SMALL_INNER {
            Ok(())
        } else if !position.parent.is_null() {
            self.merge(position.parent, position.child, len)
        } else if len == 1 {
            self.request(position.node, Intent::Root)
        } else {
            Ok(())
        }
    }
}
