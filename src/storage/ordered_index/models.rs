//! Models of the ordered index, over the code that ships. Run with
//! `RUSTFLAGS="--cfg loom" cargo test --lib --release --no-default-features loom_ordered`. A
//! model's leaves have four sorted entries and two slots, its inner nodes three children.
//!
//! Each model has a twin in which one step is left out on purpose, and which must fail.

use super::node::counted::NODES;
use super::*;
use crate::storage::NoWords;
use crate::storage::record::Head;
use crate::sync::AtomicBool;
use crate::sync::fault::Armed;
use std::mem::ManuallyDrop;
use std::sync::{Arc, Mutex};

pub(in crate::storage) type Rec = Record<NoWords>;

/// The key is the record's hash.
pub(in crate::storage) struct Hashes;

impl KeyOrder<NoWords> for Hashes {
    fn exact(&self) -> bool {
        true
    }
    unsafe fn head(&self, record: *const Rec, _skip: u32) -> u64 {
        // SAFETY: the records of a model live until it ends.
        u64::from(unsafe { (*record).hash })
    }
    unsafe fn shared(&self, _low: *const Rec, _high: *const Rec) -> u32 {
        0
    }
    unsafe fn compare(&self, _one: *const Rec, _other: *const Rec) -> cmp::Ordering {
        unreachable!("exact heads decide alone")
    }
}

#[derive(Clone, Copy)]
struct Key(u32);

impl Sought<NoWords> for Key {
    fn head(&self, _skip: u32) -> u64 {
        u64::from(self.0)
    }
    unsafe fn compare(&self, _record: *const Rec) -> cmp::Ordering {
        unreachable!("exact heads decide alone")
    }
}

/// An index, and what has to be freed when the model's execution ends.
struct Modelled {
    index: ManuallyDrop<OrderedIndex<NoWords>>,
    retired: Mutex<Vec<Retired<NoWords>>>,
    records: Mutex<Vec<*mut Rec>>,
}

// SAFETY: the records are freed by whoever is the last to hold this.
unsafe impl Send for Modelled {}
// SAFETY: as above.
unsafe impl Sync for Modelled {}

impl Drop for Modelled {
    fn drop(&mut self) {
        if std::thread::panicking() || fault::on(Fault::LinkUnfrozen) {
            // A fault has done damage: a node may hang in the tree and be retired as well.
            let retired = std::mem::take(&mut self.retired).into_inner();
            std::mem::forget(retired);
            return;
        }
        for retired in self.retired.get_mut().expect("no model panicked").drain(..) {
            if let Retired::Node(node) = retired {
                node.free_with_pool();
            }
        }
        // SAFETY: dropped here only.
        unsafe { ManuallyDrop::drop(&mut self.index) };
        for &record in self.records.get_mut().expect("no model panicked").iter() {
            // SAFETY: made by `record`, and this is the last use.
            drop(unsafe { Box::from_raw(record) });
        }
    }
}

impl Modelled {
    /// An index with these keys, inserted in this order.
    fn new(keys: &[u32]) -> Arc<Self> {
        let index = ManuallyDrop::new(OrderedIndex::new().expect("memory"));
        let (retired, records) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let modelled = Modelled { index, retired, records };
        keys.iter().for_each(|&key| assert_eq!(modelled.insert(key), Inserted::Yes));
        Arc::new(modelled)
    }

    fn retire(&self, retired: Retired<NoWords>) {
        self.retired.lock().expect("no model panicked").push(retired);
    }

    fn insert(&self, key: u32) -> Inserted<NoWords> {
        let record = Record::new(std::ptr::null_mut(), u64::from(key), 0, 0);
        let record = Box::into_raw(Box::new(record));
        self.records.lock().expect("no model panicked").push(record);
        self.index.insert(record, &Hashes, &mut OwnMemory(|old| self.retire(old)))
    }

    fn find(&self, key: u32) -> Option<*mut Rec> {
        match self.index.find(&Key(key), &Hashes) {
            Lookup::Found(record) => Some(record),
            Lookup::Absent(_) => None,
        }
    }

    /// Puts the key's record out of use and removes it.
    fn remove(&self, key: u32) {
        let record = self.find(key).expect("lost a key that was there");
        // SAFETY: as in `Hashes::head`.
        let target = unsafe { &*record };
        target.exchange(target.head(), Head::dead()).expect("nobody else changes the head");
        let mut memory = OwnMemory(|old| self.retire(old));
        assert_eq!(self.index.remove(record, &Hashes, &mut memory), Removed::Yes);
    }

    /// The keys in the index, and with them the records that are out of use.
    fn keys(&self) -> Vec<u32> {
        let (low, high) = (Bound::<Key>::Unbounded, Bound::Unbounded);
        let mut cursor = self.index.range(low, high, &Hashes);
        // SAFETY: as in `Hashes::head`.
        std::iter::from_fn(|| cursor.next(&mut |_| {})).map(|(_, r)| unsafe { (*r).hash }).collect()
    }

    /// Reads a range; what it saw, and the witnesses.
    fn scan(&self, low: u32, high: u32) -> (Vec<u32>, Vec<Witness<NoWords>>) {
        let (mut keys, mut witnesses) = (Vec::new(), Vec::new());
        let (low, high) = (Bound::Included(Key(low)), Bound::Excluded(Key(high)));
        let mut cursor = self.index.range(low, high, &Hashes);
        while let Some((_, record)) = cursor.next(&mut |witness| witnesses.push(witness)) {
            // SAFETY: as in `Hashes::head`.
            keys.push(unsafe { (*record).hash });
        }
        (keys, witnesses)
    }

    /// Whether nothing was inserted from `low` up to `high`.
    fn unchanged(&self, witnesses: &[Witness<NoWords>], low: u32, high: u32) -> bool {
        // SAFETY: as in `Hashes::head`.
        let outside = |record: *const Rec| !(low..high).contains(unsafe { &(*record).hash });
        witnesses.iter().all(|seen| self.index.still_unchanged(seen, &Hashes, outside))
    }
}

fn bounded(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut bounds = loom::model::Builder::new();
    bounds.preemption_bound = Some(preemptions);
    bounds.max_branches = 10_000;
    // Everything in an execution runs on this one thread, as far as thread-locals go.
    let before = NODES.get();
    bounds.check(move || {
        model();
        let leaked = fault::on(Fault::LinkUnfrozen);
        assert!(leaked || NODES.get() == before, "every node is freed once");
    });
}

/// One leaf that is full: four sorted entries, and 20 and 40 in its slots.
const FULL: [u32; 6] = [10, 30, 50, 60, 20, 40];

/// Two leaves under the root: 10, 20, 30 and 40, 50, 60, and behind each one free slot.
fn two_leaves() -> Arc<Modelled> {
    let model = Modelled::new(&FULL);
    assert_eq!(model.insert(70), Inserted::Yes);
    assert_eq!(model.insert(15), Inserted::Yes);
    model.remove(70);
    model.remove(15);
    // SAFETY: the root is alive.
    let root = unsafe { &*model.index.root() };
    assert_eq!((root.level, root.len()), (1, 2));
    assert_eq!(model.keys(), [10, 20, 30, 40, 50, 60]);
    model
}

/// Two leaves under the root: 10, 20 and 40. If one record more is removed, they are merged.
fn small_leaves() -> Arc<Modelled> {
    let model = two_leaves();
    [60, 50, 30].into_iter().for_each(|key| model.remove(key));
    // SAFETY: the root is alive.
    assert_eq!(unsafe { &*model.index.root() }.len(), 2, "merged too early");
    assert_eq!(model.keys(), [10, 20, 40]);
    model
}

/// Two full leaves under the root: 10, 15, 20, 25, 30, which needs a split, and 40, 60, 70, 80,
/// which needs no more than a copy.
fn full_leaves() -> Arc<Modelled> {
    let model = Modelled::new(&FULL);
    [70, 80, 15, 25].into_iter().for_each(|key| assert_eq!(model.insert(key), Inserted::Yes));
    model.remove(50);
    // SAFETY: the root is alive.
    assert_eq!(unsafe { &*model.index.root() }.len(), 2);
    assert_eq!(model.keys(), [10, 15, 20, 25, 30, 40, 60, 70, 80]);
    model
}

/// Runs `other` beside `own` and then returns the keys.
fn beside(
    model: Arc<Modelled>,
    own: impl Fn(&Modelled),
    other: impl Fn(&Modelled) + Send + 'static,
) -> Vec<u32> {
    let thread = {
        let model = model.clone();
        loom::thread::spawn(move || other(&model))
    };
    own(&model);
    thread.join().expect("its assertions hold");
    model.keys()
}

fn insert(key: u32) -> impl Fn(&Modelled) + Send {
    move |model| assert_eq!(model.insert(key), Inserted::Yes)
}

fn remove(key: u32) -> impl Fn(&Modelled) + Send {
    move |model| model.remove(key)
}

/// Two inserts split the only leaf; a reader finds what was there all the time.
#[test]
fn loom_ordered_two_splits_of_a_leaf_lose_nothing() {
    let _armed = Armed::new(None);
    bounded(2, || {
        let own = |model: &Modelled| {
            insert(35)(model);
            assert!(model.find(20).is_some(), "lost a key that was there");
        };
        let keys = beside(Modelled::new(&FULL), own, insert(15));
        assert_eq!(keys, [10, 15, 20, 30, 35, 40, 50, 60]);
    });
}

/// A key is inserted once, also by two who have to split its leaf first.
#[test]
fn loom_ordered_a_key_is_inserted_once() {
    for full in [5, 6] {
        let _armed = Armed::new(None);
        bounded(2, move || {
            let model = Modelled::new(&FULL[..full]);
            let other = {
                let model = model.clone();
                loom::thread::spawn(move || model.insert(35) == Inserted::Yes)
            };
            let mine = model.insert(35) == Inserted::Yes;
            let theirs = other.join().expect("no assertion there");
            assert!(mine != theirs, "inserted by both or by none");
            assert_eq!(model.keys().len(), full + 1);
        });
    }
}

/// One leaf is split, which replaces the root, while its neighbour is replaced within the root.
fn a_split_beside_a_copy() {
    bounded(3, || {
        let keys = beside(full_leaves(), insert(12), insert(45));
        assert_eq!(keys, [10, 12, 15, 20, 25, 30, 40, 45, 60, 70, 80], "lost an insert");
    });
}

#[test]
fn loom_ordered_a_split_keeps_what_is_beside_it() {
    let _armed = Armed::new(None);
    a_split_beside_a_copy();
}

#[test]
#[should_panic(expected = "lost an insert")]
fn loom_ordered_copying_unfrozen_links_is_caught() {
    let _armed = Armed::new(Some(Fault::LinkUnfrozen));
    a_split_beside_a_copy();
}

/// A tree of three levels whose last leaf, the leaf before it, and the node above them are all
/// full; with it the last key and a key that belongs into the leaf before.
fn full_branch() -> (Arc<Modelled>, u32, u32) {
    let model = Modelled::new(&[]);
    for key in (10..).step_by(10) {
        assert_eq!(model.insert(key), Inserted::Yes);
        // SAFETY: the links of a tree that nobody changes.
        let node = |link: Link<NoWords>| unsafe { &*link };
        let root = model.index.root();
        if node(root).level < 2 {
            continue;
        }
        // SAFETY: inner nodes are above level 0.
        let last = |link: Link<NoWords>| unsafe { &*link.cast::<Inner<NoWords>>() };
        let above = last(last(root).child(node(root).len() - 1));
        // SAFETY: the children of a node of level 1 are leaves.
        let leaf = |at: usize| unsafe { &*above.child(at).cast::<Leaf<NoWords>>() };
        let at = above.node.len() - 1;
        if above.is_full() && leaf(at).live() == node::ENTRIES {
            let first = u32::try_from(leaf(at - 1).head(0, &Hashes)).expect("a hash");
            for slot in leaf(at - 1).live()..node::ENTRIES {
                assert_eq!(model.insert(first + slot as u32), Inserted::Yes);
            }
            return (model, key, first + 9);
        }
    }
    unreachable!("some key fills the branch")
}

/// Two leaves of a full inner node are split, and so is that node.
#[test]
fn loom_ordered_a_full_node_is_split_by_two() {
    let _armed = Armed::new(None);
    // With two preemptions this would take hours.
    bounded(1, || {
        let (model, last, before) = full_branch();
        let mut expected = model.keys();
        expected.extend([last + 5, before]);
        expected.sort_unstable();
        assert_eq!(beside(model, insert(last + 5), insert(before)), expected);
    });
}

/// A removal merges two leaves while somebody inserts into one of them.
fn a_merge_beside_an_insert() {
    bounded(2, || {
        let keys = beside(small_leaves(), remove(10), insert(45));
        assert_eq!(keys, [20, 40, 45], "lost an insert");
    });
}

#[test]
fn loom_ordered_a_merge_loses_no_insert() {
    let _armed = Armed::new(None);
    a_merge_beside_an_insert();
}

#[test]
#[should_panic(expected = "lost an insert")]
fn loom_ordered_copying_without_freezing_is_caught() {
    let _armed = Armed::new(Some(Fault::CopyUnfrozen));
    a_merge_beside_an_insert();
}

/// A removal merges two leaves while another record of theirs is removed.
fn a_merge_beside_a_removal() {
    bounded(2, || {
        let keys = beside(small_leaves(), remove(10), remove(40));
        assert_eq!(keys, [20], "a removed record came back");
    });
}

#[test]
fn loom_ordered_what_is_removed_stays_removed() {
    let _armed = Armed::new(None);
    a_merge_beside_a_removal();
}

#[test]
#[should_panic(expected = "came back")]
fn loom_ordered_removing_from_a_frozen_leaf_is_caught() {
    let _armed = Armed::new(Some(Fault::RemoveFrozen));
    a_merge_beside_a_removal();
}

/// Two transactions each read the range into which the other inserts: not both may go on. In full
/// leaves the inserts replace the witnesses' leaves, and the root.
fn two_pass_each_other(leaves: fn() -> Arc<Modelled>) {
    fn transaction(model: &Modelled, range: (u32, u32), key: u32) -> bool {
        let (seen, witnesses) = model.scan(range.0, range.1);
        assert_eq!(model.insert(key), Inserted::Yes);
        // Who saw the other one's insert would read an undecided version, and is not the point.
        !seen.iter().any(|key| [12, 45].contains(key))
            && model.unchanged(&witnesses, range.0, range.1)
    }
    bounded(2, move || {
        let model = leaves();
        let other = {
            let model = model.clone();
            loom::thread::spawn(move || transaction(&model, (40, 90), 12))
        };
        let mine = transaction(&model, (10, 40), 45);
        let theirs = other.join().expect("its assertions hold");
        assert!(!(mine && theirs), "neither noticed the other one");
    });
}

#[test]
fn loom_ordered_of_two_that_pass_each_other_one_notices() {
    let _armed = Armed::new(None);
    two_pass_each_other(two_leaves);
}

#[test]
fn loom_ordered_of_two_that_pass_each_other_in_new_leaves_one_notices() {
    let _armed = Armed::new(None);
    two_pass_each_other(full_leaves);
}

#[test]
#[should_panic(expected = "neither noticed")]
fn loom_ordered_inserting_out_of_order_is_caught() {
    let _armed = Armed::new(Some(Fault::InstallUnordered));
    two_pass_each_other(two_leaves);
}

/// A range is read; then its leaf is merged with another, and the phantom comes into the new leaf.
fn a_phantom_in_a_merged_leaf() {
    bounded(2, || {
        let model = small_leaves();
        let inserted = Arc::new(AtomicBool::new(false));
        let other = {
            let (model, inserted) = (model.clone(), inserted.clone());
            loom::thread::spawn(move || {
                model.remove(40);
                assert_eq!(model.insert(15), Inserted::Yes);
                // Release: pairs with the load below.
                inserted.store(true, Ordering::Release);
            })
        };
        let (seen, witnesses) = model.scan(10, 40);
        // Acquire: the phantom was inserted before this.
        let was_inserted = inserted.load(Ordering::Acquire);
        let unchanged = model.unchanged(&witnesses, 10, 40);
        let missed = was_inserted && !seen.contains(&15) && unchanged;
        assert!(!missed, "missed a phantom");
        other.join().expect("its assertions hold");
        // Nothing but the phantom counts.
        let unchanged = model.unchanged(&witnesses, 10, 15) && model.unchanged(&witnesses, 16, 40);
        assert!(unchanged, "a phantom where none is");
    });
}

#[test]
fn loom_ordered_a_phantom_in_a_merged_leaf_is_noticed() {
    let _armed = Armed::new(None);
    a_phantom_in_a_merged_leaf();
}

#[test]
#[should_panic(expected = "missed a phantom")]
fn loom_ordered_taking_frozen_for_unchanged_is_caught() {
    let _armed = Armed::new(Some(Fault::FrozenIsUnchanged));
    a_phantom_in_a_merged_leaf();
}
