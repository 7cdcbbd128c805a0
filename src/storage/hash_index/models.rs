//! Models of the hash index: every interleaving, within bounds, of its growth.

use super::*;
use crate::storage::NoWords;
use crate::sync::fault::{Armed, Fault};
fn new_index() -> &'static HashIndex<NoWords> {
    Box::leak(Box::new(HashIndex::new().expect("memory")))
}

fn record(hash: u32) -> *mut Record<NoWords> {
    let record = Record::new(std::ptr::null_mut(), u64::from(hash), 0, 0);
    Box::into_raw(Box::new(record))
}

fn insert(index: &HashIndex<NoWords>, hash: u32) -> Inserted<NoWords> {
    let same = |found: &Record<NoWords>| found.hash == hash;
    // Arrays are leaked: the model has no grace periods.
    index.insert(record(hash), u64::from(hash), same, &mut |old| std::mem::forget(old))
}

fn finds(index: &HashIndex<NoWords>, hash: u32) -> bool {
    let found = index.find(u64::from(hash), |record| record.hash == hash);
    matches!(found, Lookup::Found(_))
}

/// One thread inserts while the other starts a growth and finishes it.
fn insert_against_growth() {
    bounded(|| {
        let index = new_index();
        let other = loom::thread::spawn(move || assert_eq!(insert(index, 2), Inserted::Yes));
        // One record is enough to make the smallest array grow.
        assert_eq!(insert(index, 3), Inserted::Yes);
        index.finish_copy(&mut |old| std::mem::forget(old));
        other.join().expect("its assertion holds");
        assert!(finds(index, 2) && finds(index, 3), "lost an insert");
    });
}

/// A key that was there is found while its slot is frozen, copied and left behind.
#[test]
fn loom_a_reader_finds_its_key_throughout_growth() {
    let _armed = Armed::new(None);
    bounded(|| {
        let index = new_index();
        assert_eq!(insert(index, 1), Inserted::Yes);
        let other = loom::thread::spawn(move || {
            index.finish_copy(&mut |old| std::mem::forget(old));
        });
        assert!(finds(index, 1), "lost a key that was there");
        other.join().expect("no assertion there");
        assert!(finds(index, 1), "lost a key that was there");
    });
}

fn bounded(model: impl Fn() + Sync + Send + 'static) {
    let mut bounds = loom::model::Builder::new();
    bounds.preemption_bound = Some(2);
    bounds.check(model);
}

#[test]
fn loom_growth_loses_no_insert() {
    let _armed = Armed::new(None);
    insert_against_growth();
}

#[test]
#[should_panic(expected = "lost an insert")]
fn loom_copying_without_freezing_is_caught() {
    let _armed = Armed::new(Some(Fault::CopyUnfrozen));
    insert_against_growth();
}

/// Two inserts of one key: exactly one wins, growth or not.
#[test]
fn loom_a_key_is_inserted_once() {
    let _armed = Armed::new(None);
    bounded(|| {
        let index = new_index();
        let other = loom::thread::spawn(move || insert(index, 2) == Inserted::Yes);
        let mine = insert(index, 2) == Inserted::Yes;
        let theirs = other.join().expect("no assertion there");
        assert!(mine != theirs, "inserted by both or by none");
    });
}
