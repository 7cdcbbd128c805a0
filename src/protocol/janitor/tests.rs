//! What only the janitor itself can show.

use super::*;
use crate::protocol;
use crate::store::Store;
use crate::sync::Tally;
use crate::sync::fault::Armed;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// So many values are dropped before one whose drop panics.
const FUSE: u64 = 1;

/// A value that knows how many were dropped before.
struct Fused;

thread_local! {
    static DROPPED: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

impl Drop for Fused {
    fn drop(&mut self) {
        let before = DROPPED.replace(DROPPED.get() + 1);
        assert_ne!(before, FUSE, "the fuse is lit");
    }
}

#[test]
fn a_panic_leaves_no_record_in_a_queue_whose_ticket_is_returned() {
    let store = Store::builder().shards(1).build().expect("valid");
    let table = store.table::<u64, Fused>("t").expect("a new table");
    // Each key is left alone for a while: what is below its newest version is seen by nobody.
    let panics = |round: u64| {
        let put = || store.transact(|tx| tx.put(&table, round % 256, Fused)).expect("alone");
        catch_unwind(AssertUnwindSafe(put)).is_err()
    };
    assert!((0..20_000).any(panics), "the janitor drops values");
    // The first one of its batch was done with when it panicked.
    assert_eq!(DROPPED.get(), FUSE + 1);
    let mut queued = HashSet::new();
    for cell in store.core.workers.cells() {
        // SAFETY: nobody else uses the store.
        let chores = unsafe { cell.janitor.exclusive() };
        let parked = chores.parked.iter().copied();
        for (record, _) in parked.chain(std::iter::from_fn(|| chores.recent.pop_if(|_| true))) {
            // SAFETY: no record was removed.
            assert!(unsafe { &*record }.head().has_ticket());
            assert!(queued.insert(record), "it is queued twice");
        }
    }
    assert!(!queued.is_empty(), "the last commit has overwritten records");
}

/// A record without a value goes out of use while a transaction is open that has found it so
/// and comes back to that at its commit: until then its tombstone must not be freed.
fn found_tombstone_stays<P: Protocol>() {
    let store = Store::builder().shards(1).build_with::<P>().expect("valid");
    let table = store.table::<u64, u64>("t").expect("a new table");
    let count = |of: fn(&Tallies) -> &Tally| -> u64 {
        store.core.workers.cells().map(|cell| of(&cell.tallies).get()).sum()
    };
    let unlinked = || count(|tallies| &tallies.versions_unlinked);
    let freed = || count(|tallies| &tallies.versions_freed);
    // Inserts, which themselves replace nothing.
    let mut keys = 10..;
    let mut insert = || {
        let key = keys.next().expect("endless");
        store.transact(|tx| tx.put(&table, key, 0)).expect("alone");
    };
    let insert_until = |insert: &mut dyn FnMut(), done: &dyn Fn() -> bool| {
        for _ in 0..100_000 {
            insert();
            if done() {
                return;
            }
        }
        panic!("{}: reclamation does not come by", P::NAME);
    };
    // A record stays in use while its first version waits, which lies inside it. The worker
    // that has put it away is taken, so that others visit it.
    store.transact(|tx| tx.put(&table, 1, 1)).expect("alone");
    store.transact(|tx| tx.put(&table, 1, 2)).expect("alone");
    let taken = store.begin().expect("room");
    insert_until(&mut insert, &|| freed() == 1);
    drop(taken);
    store.transact(|tx| tx.remove(&table, &1)).expect("alone");
    let finder = store.begin().expect("room");
    assert_eq!(finder.get(&table, &1), Ok(None), "{}", P::NAME);
    let before = unlinked();
    insert_until(&mut insert, &|| unlinked() > before);
    // What it has replaced may go now.
    (0..10_000).for_each(|_| insert());
    assert!(freed() <= 2, "{}: the tombstone is freed", P::NAME);
    drop(finder);
    // Both workers.
    let _taken = [store.begin().expect("room"), store.begin().expect("room")];
    insert_until(&mut insert, &|| freed() == 3);
}

#[test]
fn a_tombstone_stays_until_those_have_ended_that_have_found_it() {
    let _armed = Armed::new(None);
    found_tombstone_stays::<protocol::Silo>();
    found_tombstone_stays::<protocol::TicToc>();
    found_tombstone_stays::<protocol::NoWait>();
    found_tombstone_stays::<protocol::Bamboo>();
}
