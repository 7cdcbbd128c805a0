//! Tests of the ordered index: alone against a map, and many threads against what each one knows.

use super::node::counted::NODES;
use super::*;
use crate::reclaim::arena::{Arena, ChunkPool};
use crate::storage::NoWords;
use crate::storage::record::Head;
use crate::sync::fault::Armed;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::ops::RangeBounds;

type Rec = Record<NoWords>;

/// A record with its key behind it, as in a block.
#[repr(C)]
struct Item<K> {
    record: Rec,
    key: K,
}

/// How a type of keys is ordered in an index.
trait TestKey: Ord + Clone + std::fmt::Debug + Send + Sync + 'static {
    const EXACT: bool;
    fn head(&self, skip: u32) -> u64;
    fn shared(&self, other: &Self) -> u32;
}

/// The head is the key.
impl TestKey for u64 {
    const EXACT: bool = true;
    fn head(&self, _skip: u32) -> u64 {
        *self
    }
    fn shared(&self, _other: &Self) -> u32 {
        0
    }
}

/// The head is a part of the key.
impl TestKey for Vec<u8> {
    const EXACT: bool = false;
    fn head(&self, skip: u32) -> u64 {
        head_of_bytes(self, skip)
    }
    fn shared(&self, other: &Self) -> u32 {
        shared_bytes(self, other)
    }
}

/// A key without a head.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Opaque(u64);

impl TestKey for Opaque {
    const EXACT: bool = false;
    fn head(&self, _skip: u32) -> u64 {
        0
    }
    fn shared(&self, _other: &Self) -> u32 {
        0
    }
}

struct Keys<K>(PhantomData<K>);

fn key_of<'a, K>(record: *const Rec) -> &'a K {
    // SAFETY: every record of these tests is the first field of an `Item<K>` that is alive.
    unsafe { &(*record.cast::<Item<K>>()).key }
}

impl<K: TestKey> KeyOrder<NoWords> for Keys<K> {
    fn exact(&self) -> bool {
        K::EXACT
    }
    unsafe fn head(&self, record: *const Rec, skip: u32) -> u64 {
        key_of::<K>(record).head(skip)
    }
    unsafe fn shared(&self, low: *const Rec, high: *const Rec) -> u32 {
        key_of::<K>(low).shared(key_of(high))
    }
    unsafe fn compare(&self, one: *const Rec, other: *const Rec) -> cmp::Ordering {
        assert!(!K::EXACT, "exact heads decide alone");
        key_of::<K>(one).cmp(key_of(other))
    }
}

struct Wanted<'a, K>(&'a K);

impl<K: TestKey> Sought<NoWords> for Wanted<'_, K> {
    fn head(&self, skip: u32) -> u64 {
        self.0.head(skip)
    }
    unsafe fn compare(&self, record: *const Rec) -> cmp::Ordering {
        assert!(!K::EXACT, "exact heads decide alone");
        self.0.cmp(key_of(record))
    }
}

fn item<K>(key: K) -> *mut Rec {
    let record = Record::new(std::ptr::null_mut(), 0, 0, 0);
    Box::into_raw(Box::new(Item { record, key })).cast()
}

/// # Safety
///
/// The record was made by `item` with this type of key, and nobody uses it any more.
unsafe fn free<K>(record: *mut Rec) {
    // SAFETY: the caller's promise.
    drop(unsafe { Box::from_raw(record.cast::<Item<K>>()) });
}

fn kill(record: *mut Rec) {
    // SAFETY: the tests' records are alive until they were removed.
    let record = unsafe { &*record };
    record.exchange(record.head(), Head::dead()).expect("nobody else changes the head");
}

fn bound<'a, K>(bound: &'a Bound<K>) -> Bound<Wanted<'a, K>> {
    match bound {
        Bound::Included(key) => Bound::Included(Wanted(key)),
        Bound::Excluded(key) => Bound::Excluded(Wanted(key)),
        Bound::Unbounded => Bound::Unbounded,
    }
}

/// One thread's index, with what it should hold.
struct Checked<K: TestKey> {
    index: OrderedIndex<NoWords>,
    /// Where its nodes lie; the pool goes after the index.
    arena: Arena,
    pool: ChunkPool,
    order: Keys<K>,
    model: BTreeMap<K, *mut Rec>,
    /// Records out of use that are not removed yet.
    dead: Vec<*mut Rec>,
    kept: BTreeSet<*mut Rec>,
}

impl<K: TestKey> Checked<K> {
    fn new() -> Self {
        Checked {
            index: OrderedIndex::new().expect("memory"),
            arena: Arena::new(),
            pool: ChunkPool::new(),
            order: Keys(PhantomData),
            model: BTreeMap::new(),
            dead: Vec::new(),
            kept: BTreeSet::new(),
        }
    }

    /// Changes the index; also returns what it hands out.
    fn change<T>(
        &mut self,
        change: impl FnOnce(&OrderedIndex<NoWords>, &Keys<K>, &mut NodeMemory<'_, NoWords>) -> T,
    ) -> (T, Vec<Retired<NoWords>>) {
        let mut retired = Vec::new();
        let (arena, pool) = (&mut self.arena, &self.pool);
        let mut memory = ArenaMemory { arena, pool, retire: |old| retired.push(old) };
        let outcome = change(&self.index, &self.order, &mut memory);
        (outcome, retired)
    }

    /// Frees what the index has handed out; records must be among those it kept.
    fn dispose(&mut self, retired: Vec<Retired<NoWords>>) {
        for retired in retired {
            match retired {
                Retired::Node(node) => node.free(&mut self.arena, &self.pool),
                Retired::Record(record) => {
                    assert!(self.kept.remove(&record), "a record that the index did not own");
                    // SAFETY: the index was its last user.
                    unsafe { free::<K>(record) };
                }
            }
        }
    }

    fn insert(&mut self, key: K) {
        let record = item(key.clone());
        let (inserted, retired) =
            self.change(|index, order, memory| index.insert(record, order, memory));
        self.dispose(retired);
        match inserted {
            Inserted::Yes => assert_eq!(self.model.insert(key, record), None, "lost a key"),
            Inserted::Exists(_) => {
                assert!(self.model.contains_key(&key), "a key came back");
                // SAFETY: it was refused.
                unsafe { free::<K>(record) };
            }
            Inserted::OutOfMemory => panic!("there is memory"),
        }
    }

    /// Puts a key's record out of use; it stays in the index.
    fn bury(&mut self, key: &K) {
        if let Some(record) = self.model.remove(key) {
            kill(record);
            self.dead.push(record);
        }
    }

    /// Removes what is out of use.
    fn clean(&mut self) {
        for record in std::mem::take(&mut self.dead) {
            let (removed, retired) =
                self.change(|index, order, memory| index.remove(record, order, memory));
            match removed {
                // SAFETY: it is out of the index.
                Removed::Yes => unsafe { free::<K>(record) },
                Removed::Kept => assert!(self.kept.insert(record)),
                Removed::NotNow => panic!("there is memory"),
            }
            self.dispose(retired);
        }
    }

    fn remove(&mut self, key: &K) {
        self.bury(key);
        self.clean();
    }

    fn find(&self, key: &K) -> Option<*mut Rec> {
        match self.index.find(&Wanted(key), &self.order) {
            Lookup::Found(record) => Some(record),
            Lookup::Absent(witness) => {
                assert!(self.index.still_unchanged(&witness, &self.order, |_| false));
                None
            }
        }
    }

    fn check_find(&self, key: &K) {
        assert_eq!(self.find(key), self.model.get(key).copied(), "{key:?}");
    }

    fn check_range(&self, low: &Bound<K>, high: &Bound<K>) {
        let inside = |key: &K| (low.as_ref(), high.as_ref()).contains(key);
        let expected: Vec<_> =
            self.model.iter().filter(|(key, _)| inside(key)).map(|(_, &record)| record).collect();
        let live = |record: &*mut Rec| {
            // SAFETY: nothing in the index is freed.
            !unsafe { &**record }.head().is_dead()
        };
        let mut witnesses = Vec::new();
        let mut visit = |witness| witnesses.push(witness);
        let mut cursor = self.index.range(bound(low), bound(high), &self.order);
        let forward =
            std::iter::from_fn(|| cursor.next(&mut visit)).map(|(_, record)| record).filter(live);
        assert_eq!(forward.collect::<Vec<_>>(), expected, "{low:?} .. {high:?}");
        let mut cursor = self.index.range_reversed(bound(low), bound(high), &self.order);
        let backward =
            std::iter::from_fn(|| cursor.next(&mut visit)).map(|(_, record)| record).filter(live);
        let mut backward: Vec<_> = backward.collect();
        backward.reverse();
        assert_eq!(backward, expected, "{low:?} .. {high:?} reversed");
        for passed in [0, 1, 5] {
            let bounds = (bound(low), bound(high));
            let forward = self.drain::<false>(&bounds, passed, &mut witnesses);
            assert_eq!(forward, expected, "drained");
            let mut backward = self.drain::<true>(&bounds, passed, &mut witnesses);
            backward.reverse();
            assert_eq!(backward, expected, "drained, reversed");
        }
        for witness in witnesses {
            assert!(self.index.still_unchanged(&witness, &self.order, |_| false));
        }
    }

    /// The records in use of a range: some are passed one by one, the rest is drained in pieces of
    /// several sizes.
    fn drain<const REVERSED: bool>(
        &self,
        bounds: &Bounds<Wanted<'_, K>>,
        passed: usize,
        witnesses: &mut Vec<Witness<NoWords>>,
    ) -> Vec<*mut Rec> {
        let mut cursor = Cursor::<_, _, REVERSED>::new(&self.index, &self.order);
        let mut visit = |witness| witnesses.push(witness);
        let (mut found, mut is_empty) = (Vec::new(), true);
        for _ in 0..passed {
            if is_empty && !cursor.fill(bounds, &mut visit) {
                break;
            }
            found.push(cursor.front().1);
            is_empty = cursor.pass();
        }
        for len in [1, 16, 3, 40].into_iter().cycle() {
            let mut place = vec![std::ptr::null_mut(); len];
            let count = cursor.drain(bounds, &mut visit, &mut place, len, |_| {});
            found.extend(&place[..count]);
            if count < len {
                break;
            }
        }
        // SAFETY: nothing in the index is freed.
        found.retain(|&record| !unsafe { &*record }.head().is_dead());
        found
    }
}

impl<K: TestKey> Drop for Checked<K> {
    fn drop(&mut self) {
        self.check_range(&Bound::Unbounded, &Bound::Unbounded);
        let mut left: BTreeSet<_> = self.model.values().copied().collect();
        left.extend(&self.kept);
        left.extend(&self.dead);
        self.index.drain(|record| {
            assert!(left.remove(&record), "a record that was not there, or twice");
            // SAFETY: the last use.
            unsafe { free::<K>(record) };
        });
        // A record out of use may have left the index without being removed: a twin took its place.
        for record in left {
            assert!(self.dead.contains(&record), "lost a record");
            // SAFETY: it is in nobody's hands but ours.
            unsafe { free::<K>(record) };
        }
    }
}

#[derive(Debug, Clone)]
enum Op<K> {
    Insert(K),
    Bury(K),
    Clean,
    Remove(K),
    Find(K),
    Range(Bound<K>, Bound<K>),
    /// Many inserts in order, from a key on.
    Run(K),
}

fn bounds<K: TestKey>(
    keys: impl Strategy<Value = K> + Clone + 'static,
) -> impl Strategy<Value = Bound<K>> {
    prop_oneof![
        keys.clone().prop_map(Bound::Included),
        keys.prop_map(Bound::Excluded),
        Just(Bound::Unbounded),
    ]
}

fn ops<K: TestKey>(
    keys: impl Strategy<Value = K> + Clone + 'static,
) -> impl Strategy<Value = Vec<Op<K>>> {
    let op = prop_oneof![
        8 => keys.clone().prop_map(Op::Insert),
        3 => keys.clone().prop_map(Op::Remove),
        2 => keys.clone().prop_map(Op::Bury),
        1 => Just(Op::Clean),
        2 => keys.clone().prop_map(Op::Find),
        1 => (bounds(keys.clone()), bounds(keys.clone())).prop_map(|(l, h)| Op::Range(l, h)),
        1 => keys.prop_map(Op::Run),
    ];
    proptest::collection::vec(op, 0..600)
}

fn run<K: TestKey>(ops: Vec<Op<K>>, successor: impl Fn(&K, u64) -> K) {
    let before = NODES.get();
    let mut checked = Checked::new();
    for op in ops {
        match op {
            Op::Insert(key) => checked.insert(key),
            Op::Bury(key) => checked.bury(&key),
            Op::Clean => checked.clean(),
            Op::Remove(key) => checked.remove(&key),
            Op::Find(key) => checked.check_find(&key),
            Op::Range(low, high) => checked.check_range(&low, &high),
            Op::Run(key) => (0..40).for_each(|step| checked.insert(successor(&key, step))),
        }
    }
    drop(checked);
    assert_eq!(NODES.get(), before, "every node is freed once");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn integers_are_as_in_a_map(ops in ops(0u64..3000)) {
        let _armed = Armed::new(None);
        run(ops, |key, step| key.wrapping_add(step));
    }

    #[test]
    fn keys_without_heads_are_as_in_a_map(ops in ops((0u64..3000).prop_map(Opaque))) {
        let _armed = Armed::new(None);
        run(ops, |key, step| Opaque(key.0 + step));
    }

    /// Long common prefixes, keys that are prefixes of others, and zeros, which pad heads.
    #[test]
    fn byte_strings_are_as_in_a_map(ops in ops(prop_oneof![
        "(user|user12345678)[0-2]{0,14}".prop_map(String::into_bytes),
        proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(255)], 0..12),
    ])) {
        let _armed = Armed::new(None);
        run(ops, |key, step| [key.as_slice(), &[0, 0, 0, 0, 0, 0, 0, 0, 0, step as u8]].concat());
    }
}

/// Growing to several levels and back to one leaf, in several orders.
#[test]
fn the_tree_grows_and_shrinks() {
    let _armed = Armed::new(None);
    let height = |checked: &Checked<u64>| {
        // SAFETY: the root is alive.
        unsafe { &*checked.index.root() }.level
    };
    let before = NODES.get();
    let scrambled = |key: u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let orders: [&dyn Fn(u64) -> u64; 3] = [&|key| key, &|key| u64::MAX - key, &scrambled];
    for (insert, remove) in [(0, 0), (0, 1), (1, 2), (2, 0), (2, 2)] {
        let mut checked = Checked::<u64>::new();
        let count = 30_000;
        // The same keys in another order: the sorted numbering of the scrambled ones.
        let mut keys: Vec<u64> = (0..count).map(orders[insert]).collect();
        keys.iter().for_each(|&key| checked.insert(key));
        assert!(height(&checked) >= 2, "too few nodes to test anything");
        let full = NODES.get() - before;
        assert!((full as u64) < count / 20, "{full} nodes for {count} records");
        checked.check_range(&Bound::Unbounded, &Bound::Unbounded);
        keys.sort_by_key(|&key| orders[remove](key));
        for (at, key) in keys.iter().enumerate() {
            checked.remove(key);
            if at % 5_000 == 0 {
                checked.check_range(&Bound::Unbounded, &Bound::Unbounded);
            }
        }
        let left = NODES.get() - before;
        assert!(left <= 3, "{left} nodes for nothing, of {full}");
        drop(checked);
        assert_eq!(NODES.get(), before);
    }
}

/// Keys that ascend leave no node half empty behind them.
#[test]
fn keys_that_ascend_fill_the_nodes() {
    let _armed = Armed::new(None);
    let mut checked = Checked::<u64>::new();
    (0..30_000).for_each(|key| checked.insert(key));
    let mut levels: Vec<Vec<usize>> = Vec::new();
    // SAFETY: the index is this test's alone.
    unsafe {
        OrderedIndex::walk(checked.index.root(), &mut |node| {
            let level = usize::from((*node).level);
            levels.resize(levels.len().max(level + 1), Vec::new());
            levels[level].push((*node).len());
        });
    }
    for (level, mut filled) in levels.into_iter().enumerate() {
        filled.pop();
        let least = if level == 0 { node::SORTED } else { node::FANOUT / 4 * 3 };
        assert!(filled.iter().all(|&len| len >= least), "level {level}: {filled:?}");
    }
}

/// A key whose dead records pile up, because whoever put them out of use has not come to remove
/// them, can still be inserted.
#[test]
fn dead_records_of_one_key_do_not_fill_a_leaf() {
    fn pile_up<K: TestKey>(key: K, others: impl Iterator<Item = K>) {
        let mut checked = Checked::new();
        others.for_each(|other| checked.insert(other));
        for _ in 0..500 {
            checked.insert(key.clone());
            checked.check_find(&key);
            checked.bury(&key);
            checked.check_find(&key);
        }
        checked.insert(key.clone());
        checked.check_range(&Bound::Unbounded, &Bound::Unbounded);
        checked.clean();
        checked.check_range(&Bound::Unbounded, &Bound::Unbounded);
    }
    let _armed = Armed::new(None);
    for others in [0, 1, 40, 200] {
        pile_up(77, 100..100 + others);
        pile_up(b"user123477".to_vec(), (0..others).map(|n| format!("user1234{n}").into_bytes()));
    }
}

/// What a witness says about inserts beside it, in its leaf, after splits and merges.
#[test]
fn a_witness_notices_what_was_inserted_and_nothing_else() {
    let _armed = Armed::new(None);
    let mut checked = Checked::<u64>::new();
    (0..1_000).for_each(|key| checked.insert(key * 10));
    let whole = |checked: &Checked<u64>| {
        let (mut seen, mut count) = (Vec::new(), 0);
        let (low, high) = (Bound::Included(2_000), Bound::Included(3_000));
        let mut cursor = checked.index.range(bound(&low), bound(&high), &checked.order);
        while cursor.next(&mut |witness| seen.push(witness)).is_some() {
            count += 1;
        }
        assert_eq!(count, 101);
        seen
    };
    let outside = |record: *const Rec| !(2_000..=3_000).contains(key_of::<u64>(record));
    let unchanged = |checked: &Checked<u64>, seen: &[Witness<NoWords>], own: &[u64]| {
        seen.iter().all(|witness| {
            checked.index.still_unchanged(witness, &checked.order, |record| {
                outside(record) || own.contains(key_of(record))
            })
        })
    };
    // The nodes that are replaced meanwhile are still witnesses.
    let keep_nodes = |checked: &mut Checked<u64>, keys: &[u64], kept: &mut Vec<_>| {
        for &key in keys {
            let record = item(key);
            let (outcome, retired) =
                checked.change(|index, order, memory| index.insert(record, order, memory));
            assert_eq!(outcome, Inserted::Yes);
            kept.extend(retired);
            checked.model.insert(key, record);
        }
    };
    let mut kept = Vec::new();
    let seen = whole(&checked);
    assert!(seen.len() > 1);
    // Its own inserts, so many that every leaf is split, and others' outside of the range.
    let own: Vec<u64> = (2_000..3_000).filter(|key| key % 10 != 0).collect();
    keep_nodes(&mut checked, &own, &mut kept);
    let beside: Vec<u64> = (1_500..2_000).chain(3_001..3_500).filter(|k| k % 10 != 0).collect();
    keep_nodes(&mut checked, &beside, &mut kept);
    assert!(unchanged(&checked, &seen, &own));
    assert!(!unchanged(&checked, &seen, &own[1..]), "one of them is a phantom");
    assert!(!unchanged(&checked, &seen, &own[..own.len() - 1]), "one of them is a phantom");
    let in_place = |witness| OrderedIndex::unchanged_in_place(witness, |_| true).is_some();
    assert!(!seen.iter().any(in_place), "every leaf was replaced");
    checked.dispose(kept);
}

mod scarce;
mod stress;
