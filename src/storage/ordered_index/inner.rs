//! An inner node of the ordered index, and what is to become of it.

use super::memory::NodeMemory;
use super::node::{Entry, FANOUT, FROZEN_LINK, Fence, Link, Node, OwnedNode, prefetch};
use super::{KeyOrder, Sought};
use crate::reclaim::arena::Region;
use crate::storage::Words;
use crate::storage::record::Record;
use crate::sync::fault::{self, Fault};
use crate::sync::{AtomicPtr, AtomicUsize, Ordering};
use std::mem::offset_of;

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
        memory: &mut NodeMemory<'_, W>,
    ) -> Option<OwnedNode<W>> {
        debug_assert_eq!(children.len(), fences.len() + 1);
        debug_assert!(children.len() <= FANOUT);
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
        OwnedNode::allocate(inner, Region::InnerNodes, memory)
    }

    /// Asks for what a search reads, all links among it: which of them it follows is known when it
    /// has compared the heads, and to ask only then would be one miss more.
    #[inline]
    pub(super) fn prefetch(node: Link<W>) {
        prefetch(node, 0..offset_of!(Self, fences));
        prefetch(node, offset_of!(Self, links)..size_of::<Self>());
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
