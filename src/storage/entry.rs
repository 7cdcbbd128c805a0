//! How a record enters the indexes of its table, and how it leaves them.
//!
//! An ordered table has two indexes, and no instruction enters a record in both. It enters the
//! ordered one first: writers find records through the hash index, and one that overrules the
//! inserter and installs in its place must not commit a key that ranges do not show.
//!
//! # Why nobody waits for who has stopped between the two
//!
//! The ordered index admits one record of a key that is in use. Who fails there with a record of
//! its own is told which one that is, *helps* it into the hash index, and fails. Its next attempt
//! finds the record like any other, and the protocol says what becomes of the undecided version in
//! it.
//!
//! Helping asks for the record itself as well as for one with its key, so that a record enters the
//! hash index once, whoever is first. The inserter that comes second finds its own record and has
//! succeeded. (It may find another one instead, in use, if its own was overruled, removed and put
//! out of use meanwhile. Then it has lost anyway, and aborts.)
//!
//! # Why a record that has left does not come back
//!
//! Between seeing a record in use in the ordered index and entering it in the hash index a helper
//! may stop, and the record may go out of use; so may the record of an inserter that has stopped.
//! Both then enter a record that is dead. That harms nobody who looks for its key, because dead
//! records are passed by; but the record must not be freed while it is there. So of an ordered
//! table the janitor takes a record out of the hash index only when every transaction has ended
//! that was open when the record went out of use (`Stage::Buried` in `janitor/dying.rs`). A
//! helper's is one of them, and the inserter's too: later ones find the record dead, and help it
//! no more. So nobody enters it after it was taken out, and from there on it is freed as the
//! record of any other table is: after everybody who may have found it has ended.
//!
//! A record need not be in the hash index when it leaves: its inserter may have found no memory for
//! it there. Until it goes out of use it can still be helped in, as above.
//!
//! A table without an order has no helpers, and its inserters enter a record once, before anybody
//! else can put it out of use: its records leave at once.

use super::Words;
use super::hash_index::{Array, HashIndex, Inserted};
use super::ordered_index::{Block, KeyOrder, Memory, OrderedIndex, Retired};
use super::record::Record;
use crate::reclaim::arena::Region;
use crate::sync::fault::{self, Fault};
use crate::sync::step::{self, Step};

/// The indexes of a table that a key belongs into.
pub(crate) struct Indexes<'t, W: Words, O> {
    pub(crate) hash: &'t HashIndex<W>,
    /// That of an ordered table.
    pub(crate) ordered: Option<&'t OrderedIndex<W>>,
    pub(crate) order: &'t O,
}

/// What an index has no use for any more.
pub(crate) enum Replaced<W: Words> {
    /// An array of the hash index.
    Array(Box<Array<W>>),
    /// Something of the ordered index.
    Ordered(Retired<W>),
}

/// The memory of all indexes as that of the ordered one.
struct OrderedMemory<'a, M>(&'a mut M);

impl<W: Words, M: Memory<Replaced<W>>> Memory<Retired<W>> for OrderedMemory<'_, M> {
    fn allocate(&mut self, region: Region, size: usize) -> Option<Block> {
        self.0.allocate(region, size)
    }

    fn retire(&mut self, retired: Retired<W>) {
        self.0.retire(Replaced::Ordered(retired));
    }
}

impl<W: Words, O: KeyOrder<W>> Indexes<'_, W, O> {
    /// Enters a record, unless its key has one that is in use; that one can be found through the
    /// hash index then. `same_key` compares the keys of two records with equal hashes. `visible` is
    /// called when others may find the record, which need not mean that this succeeds.
    pub(crate) fn enter(
        &self,
        record: *mut Record<W>,
        hash: u64,
        same_key: impl Fn(&Record<W>, &Record<W>) -> bool,
        mut visible: impl FnMut(),
        memory: &mut impl Memory<Replaced<W>>,
    ) -> Inserted<W> {
        if let Some(ordered) = self.ordered {
            match ordered.insert(record, self.order, &mut OrderedMemory(memory)) {
                Inserted::Yes => visible(),
                Inserted::Exists(other)
                    if fault::on(Fault::HelpNobody)
                        || !Self::have_one_key(other, record, &same_key) =>
                {
                    return Inserted::Exists(other);
                }
                Inserted::Exists(other) => {
                    return match self.enter_hash(other, hash, &same_key, memory) {
                        Inserted::OutOfMemory => Inserted::OutOfMemory,
                        Inserted::Yes | Inserted::Exists(_) => Inserted::Exists(other),
                    };
                }
                Inserted::OutOfMemory => return Inserted::OutOfMemory,
            }
            step::at(Step::OrderedEntered);
        }
        match self.enter_hash(record, hash, &same_key, memory) {
            Inserted::Exists(helped) if std::ptr::eq(helped, record) => Inserted::Yes,
            Inserted::Yes => {
                visible();
                Inserted::Yes
            }
            failed => failed,
        }
    }

    /// Whether two records that the order holds for one key have equal keys. A key type whose order
    /// is coarser than its equality breaks its promise; entering a record under another key's hash
    /// would let it be freed while it is there.
    fn have_one_key(
        found: *mut Record<W>,
        own: *mut Record<W>,
        same_key: &impl Fn(&Record<W>, &Record<W>) -> bool,
    ) -> bool {
        // SAFETY: found in the ordered index by this pinned step, and the caller's own.
        let (found, own) = unsafe { (&*found, &*own) };
        found.hash == own.hash && same_key(found, own)
    }

    /// Enters a record in the hash index, if neither it nor one with its key is there.
    fn enter_hash(
        &self,
        record: *mut Record<W>,
        hash: u64,
        same_key: &impl Fn(&Record<W>, &Record<W>) -> bool,
        memory: &mut impl Memory<Replaced<W>>,
    ) -> Inserted<W> {
        // SAFETY: the caller's own, or found in the ordered index by this pinned step.
        let own = unsafe { &*record };
        let same = |other: &Record<W>| {
            std::ptr::eq(other, own)
                || (other.hash == own.hash && same_key(other, own) && !other.head().is_dead())
        };
        let mut retire = |array| memory.retire(Replaced::Array(array));
        self.hash.insert(record, hash, same, &mut retire)
    }
}

#[cfg(all(test, loom))]
mod models {
    use super::*;
    use crate::storage::NoWords;
    use crate::storage::hash_index::Lookup;
    use crate::storage::ordered_index::models::{Hashes, Rec};
    use crate::storage::ordered_index::{OwnMemory, Removed};
    use crate::storage::record::Head;
    use crate::sync::fault::Armed;
    use std::sync::Arc;

    const KEY: u64 = 7;

    /// Both indexes. What they have no use for is leaked: threads may look at it to the end.
    struct Table {
        hash: HashIndex<NoWords>,
        ordered: OrderedIndex<NoWords>,
    }

    impl Table {
        fn new() -> Arc<Self> {
            let hash = HashIndex::new().expect("memory");
            Arc::new(Table { hash, ordered: OrderedIndex::new().expect("memory") })
        }

        fn record() -> *mut Rec {
            Box::into_raw(Box::new(Record::new(std::ptr::null_mut(), KEY, 0, 0)))
        }

        fn forget(&self, replaced: Replaced<NoWords>) {
            if matches!(replaced, Replaced::Array(_)) {
                // Nobody reads the memory after this, so nobody can tell that it is not freed.
                self.hash.settle();
            }
            std::mem::forget(replaced);
        }

        /// Enters a new record of the one key.
        fn enter(&self) -> (*mut Rec, Inserted<NoWords>) {
            let record = Self::record();
            let indexes =
                Indexes { hash: &self.hash, ordered: Some(&self.ordered), order: &Hashes };
            let mut memory = OwnMemory(|replaced| self.forget(replaced));
            (record, indexes.enter(record, KEY, |_, _| true, || {}, &mut memory))
        }

        fn find(&self) -> Option<*mut Rec> {
            match self.hash.find(KEY, |_| true) {
                Lookup::Found(record) => Some(record),
                Lookup::Absent(_) => None,
            }
        }

        /// Takes a record out of both indexes.
        fn remove(&self, record: *mut Rec) {
            while !self.hash.remove(record, KEY) {
                self.hash.assist(&mut |array| self.forget(Replaced::Array(array)));
            }
            let mut memory = OwnMemory(|retired| self.forget(Replaced::Ordered(retired)));
            assert_eq!(self.ordered.remove(record, &Hashes, &mut memory), Removed::Yes);
        }
    }

    fn bounded(model: impl Fn() + Sync + Send + 'static) {
        let mut bounds = loom::model::Builder::new();
        bounds.preemption_bound = Some(2);
        bounds.max_branches = 10_000;
        bounds.check(model);
    }

    /// Two insert a key. Who fails can find the record of the other, wherever that one has stopped.
    fn two_inserts() {
        bounded(|| {
            let table = Table::new();
            let other = {
                let table = table.clone();
                loom::thread::spawn(move || {
                    let (record, entered) = table.enter();
                    let failed = matches!(entered, Inserted::Exists(_));
                    assert!(!failed || table.find().is_some(), "it cannot be found");
                    (record as usize, failed)
                })
            };
            let (mine, entered) = table.enter();
            let failed = matches!(entered, Inserted::Exists(_));
            assert!(!failed || table.find().is_some(), "it cannot be found");
            let (theirs, other_failed) = other.join().expect("its assertions hold");
            assert!(failed != other_failed, "one of them succeeds");
            let winner = if failed { theirs as *mut Rec } else { mine };
            assert_eq!(table.find(), Some(winner));
            table.remove(winner);
            assert_eq!(table.find(), None, "it was there twice");
        });
    }

    #[test]
    fn loom_entry_who_fails_finds_the_other_record() {
        let _armed = Armed::new(None);
        two_inserts();
    }

    #[test]
    #[should_panic(expected = "it cannot be found")]
    fn loom_entry_helping_nobody_is_caught() {
        let _armed = Armed::new(Some(Fault::HelpNobody));
        two_inserts();
    }

    /// A record that an insert without memory has left in the ordered index alone goes out of use
    /// while somebody helps it.
    fn a_removal_beside_a_helper() {
        bounded(|| {
            let table = Table::new();
            let left = Table::record();
            let mut memory = OwnMemory(|retired| table.forget(Replaced::Ordered(retired)));
            assert_eq!(table.ordered.insert(left, &Hashes, &mut memory), Inserted::Yes);
            let mut helper = {
                let table = table.clone();
                Some(loom::thread::spawn(move || drop(table.enter())))
            };
            // SAFETY: leaked.
            let record = unsafe { &*left };
            record.exchange(record.head(), Head::dead()).expect("nobody else changes the head");
            // The end of every transaction that was open then.
            let mut join = || helper.take().map(|helper| helper.join().expect("it ends well"));
            if !fault::on(Fault::RemoveAtOnce) {
                join();
            }
            table.remove(left);
            join();
            assert_ne!(table.find(), Some(left), "it came back");
        });
    }

    #[test]
    fn loom_entry_what_has_left_stays_out() {
        let _armed = Armed::new(None);
        a_removal_beside_a_helper();
    }

    #[test]
    #[should_panic(expected = "it came back")]
    fn loom_entry_removing_at_once_is_caught() {
        let _armed = Armed::new(Some(Fault::RemoveAtOnce));
        a_removal_beside_a_helper();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::storage::NoWords;
    use crate::storage::hash_index::Lookup;
    use crate::storage::ordered_index::OwnMemory;
    use std::cmp;

    /// An order that breaks its promise: all keys are one to it.
    struct Blunt;

    impl KeyOrder<NoWords> for Blunt {
        fn exact(&self) -> bool {
            true
        }

        unsafe fn head(&self, _record: *const Record<NoWords>, _skip: u32) -> u64 {
            0
        }

        unsafe fn shared(
            &self,
            _low: *const Record<NoWords>,
            _high: *const Record<NoWords>,
        ) -> u32 {
            0
        }

        unsafe fn compare(
            &self,
            _one: *const Record<NoWords>,
            _other: *const Record<NoWords>,
        ) -> cmp::Ordering {
            cmp::Ordering::Equal
        }
    }

    #[test]
    fn nobody_helps_a_record_in_under_the_hash_of_another_key() {
        let hashes = [1, 2 | 7 << 48];
        let [mut first, mut second] =
            hashes.map(|hash| Record::<NoWords>::new(std::ptr::null_mut(), hash, 0, 0));
        let index = HashIndex::new().expect("memory");
        let ordered = OrderedIndex::new().expect("memory");
        let indexes = Indexes { hash: &index, ordered: Some(&ordered), order: &Blunt };
        let enter = |record: &mut Record<NoWords>, hash| {
            let same = |one: &Record<NoWords>, other: &Record<NoWords>| std::ptr::eq(one, other);
            let mut memory = OwnMemory(|_| unreachable!("two records replace nothing"));
            indexes.enter(std::ptr::from_mut(record), hash, same, || {}, &mut memory)
        };
        assert!(matches!(enter(&mut first, hashes[0]), Inserted::Yes));
        assert!(matches!(enter(&mut second, hashes[1]), Inserted::Exists(_)));
        assert!(matches!(index.find(hashes[0], |_| true), Lookup::Found(_)));
        assert!(matches!(index.find(hashes[1], |_| true), Lookup::Absent(_)));
    }
}
