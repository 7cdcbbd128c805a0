//! Memory stays bounded, whatever is held open meanwhile.
//!
//! # Where the bounds come from
//!
//! One key's chain holds the newest version, one version for each open snapshot that sees an older
//! one, and those that were overwritten since the last look at it: `VOLUNTEER_DEPTH` (8) at most
//! when one thread writes, because whoever makes a chain that long prunes it. So 16 is a handful
//! with room for two snapshots. The arenas take memory in chunks of 64 KiB to 2 MiB, of which each
//! worker holds a few.

use chronolith::{Stats, Store, Table, Transaction};
use std::sync::mpsc;

/// Versions of one hot key, at any time.
const HANDFUL: u64 = 16;
/// Versions that wait for a grace period: a few batches of 64 for each of a few workers.
const RETIRED_MAX: u64 = 4_096;
const ARENA_MAX_BYTES: u64 = 8 << 20;
/// Free blocks come in magazines of 256, of which a worker may hold two for each size: a quarter of
/// a megabyte each where the blocks are nodes of an ordered index, and a worker takes from its
/// chunk before it takes a magazine of another one.
const ORDERED_ARENA_MAX_BYTES: u64 = 2 * ARENA_MAX_BYTES;
/// Records that an insert-and-remove churn leaves at any time: what is in flight between the
/// threads, what waits for the next look at the watermark, and what waits for a grace period.
const CHURN_RECORDS_MAX: u64 = 8_192;

const UPDATES: u64 = if cfg!(debug_assertions) { 1_000_000 } else { 10_000_000 };
const CHURN: u64 = if cfg!(debug_assertions) { 200_000 } else { 1_000_000 };

fn counter() -> (Store, Table<u64, u64>) {
    let store = Store::new();
    let table = store.table("counter").unwrap();
    store.transact(|tx| tx.put(&table, 0, 0)).unwrap();
    (store, table)
}

fn count_up(store: &Store, table: &Table<u64, u64>) {
    let updated = store.transact(|tx| tx.update(table, &0, |count| count + 1));
    assert!(updated.unwrap(), "the counter is there");
}

/// Updates one key very often and looks at what the store holds all the while.
fn hammer(store: &Store, table: &Table<u64, u64>) {
    for round in 1..=UPDATES {
        count_up(store, table);
        if round.is_multiple_of(1_001) {
            let stats = store.stats();
            assert_bounded(&stats, HANDFUL, &format!("after {round} updates"));
        }
    }
}

fn assert_bounded(stats: &Stats, versions_max: u64, when: &str) {
    assert!(stats.versions_live <= versions_max, "{when}: {stats:?}");
    assert!(stats.versions_retired <= RETIRED_MAX, "{when}: {stats:?}");
    assert!(stats.arena_bytes <= ARENA_MAX_BYTES, "{when}: {stats:?}");
}

fn read(view: &Transaction<'_>, table: &Table<u64, u64>) -> u64 {
    *view.get(table, &0).unwrap().expect("the counter is there")
}

#[test]
fn one_key_updated_without_a_snapshot() {
    let (store, table) = counter();
    hammer(&store, &table);
    assert_eq!(read(&store.begin_view().unwrap(), &table), UPDATES);
}

#[test]
fn one_key_updated_under_an_old_snapshot_of_this_thread() {
    let (store, table) = counter();
    let view = store.begin_view().unwrap();
    let before = view.get(&table, &0).unwrap().expect("the counter is there");
    hammer(&store, &table);
    assert_eq!(*before, 0, "a reference stays what it was");
    assert_eq!(read(&view, &table), 0);
    drop(view);
    assert_eq!(read(&store.begin_view().unwrap(), &table), UPDATES);
}

#[test]
fn one_key_updated_under_an_old_snapshot_of_another_thread() {
    let (store, table) = counter();
    let (opened, wait_opened) = mpsc::channel();
    let (done, wait_done) = mpsc::channel();
    std::thread::scope(|scope| {
        let (store, table) = (&store, &table);
        scope.spawn(move || {
            let view = store.begin_view().unwrap();
            opened.send(()).unwrap();
            // An error says that the updates have failed; the other thread's panic says why.
            let _ = wait_done.recv();
            assert_eq!(read(&view, table), 0);
        });
        wait_opened.recv().unwrap();
        hammer(store, table);
        done.send(()).unwrap();
    });
    assert_eq!(read(&store.begin_view().unwrap(), &table), UPDATES);
}

#[test]
fn one_key_updated_inside_a_view_of_the_same_thread() {
    let (store, table) = counter();
    let seen = store.view(|view| {
        // Its first operation is what draws the view's snapshot.
        let before = *view.get(&table, &0)?.expect("the counter is there");
        hammer(&store, &table);
        Ok((before, *view.get(&table, &0)?.expect("the counter is there")))
    });
    assert_eq!(seen.unwrap(), (0, 0));
    assert_eq!(read(&store.begin_view().unwrap(), &table), UPDATES);
}

/// Updates of each of several threads: enough that a count of them in sixteen bits would overflow.
const SHARE: u64 = if cfg!(debug_assertions) { 400_000 } else { 1_000_000 };
/// Updates of one thread that follow those of several: time for what the others left behind.
const CALM: u64 = 100_000;
/// A thread that is preempted while it has the right to prune, or while it is pinned, holds back
/// reclamation for its time slice: some ten milliseconds' worth of versions and decision words, and
/// several slices on a busy machine. Without reclamation it would be half a gigabyte.
const PREEMPTED_ARENA_MAX_BYTES: u64 = 64 << 20;

/// During the run only the arenas have a bound, for that reason; the versions have one afterwards.
fn hammer_from_several_threads(store: &Store, table: &Table<u64, u64>) {
    const THREADS: u64 = 4;
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..SHARE {
                    count_up(store, table);
                }
            });
        }
    });
    for _ in 0..CALM {
        count_up(store, table);
    }
    let stats = store.stats();
    assert!(stats.versions_live <= HANDFUL, "{stats:?}");
    assert!(stats.versions_retired <= RETIRED_MAX, "{stats:?}");
    assert!(stats.arena_bytes <= PREEMPTED_ARENA_MAX_BYTES, "{stats:?}");
    let count = read(&store.begin_view().unwrap(), table);
    assert_eq!(count, THREADS * SHARE + CALM);
}

#[test]
fn one_key_updated_by_several_threads() {
    let (store, table) = counter();
    hammer_from_several_threads(&store, &table);
}

#[test]
fn one_key_updated_by_several_threads_under_an_old_snapshot() {
    let (store, table) = counter();
    let view = store.begin_view().unwrap();
    hammer_from_several_threads(&store, &table);
    assert_eq!(read(&view, &table), 0);
}

#[test]
fn an_idle_snapshot_keeps_what_it_sees_and_little_else() {
    const KEYS: u64 = 1_000;
    const ROUNDS: u64 = 1_000;
    let store = Store::new();
    let table = store.table::<u64, u64>("t").unwrap();
    let set_all = |value: u64| {
        for key in 0..KEYS {
            store.transact(|tx| tx.put(&table, key, value)).unwrap();
        }
    };
    set_all(0);
    let view = store.begin_view().unwrap();
    // The newest version and the snapshot's; half as many again may wait for the next look.
    for round in 1..=ROUNDS {
        set_all(round);
        let when = format!("round {round} under the snapshot");
        assert_bounded(&store.stats(), 3 * KEYS, &when);
    }
    for key in 0..KEYS {
        assert_eq!(view.get(&table, &key).unwrap(), Some(&0), "key {key}");
    }
    drop(view);
    // Commits elsewhere, so that it is not the writes that clean up their own keys.
    let other = store.table::<u64, u64>("other").unwrap();
    for round in 0..20 * KEYS {
        store.transact(|tx| tx.put(&other, 0, round)).unwrap();
    }
    let after = store.stats();
    assert_bounded(&after, KEYS + KEYS / 10, "after the snapshot has ended");
}

/// What an insert-and-remove churn of ever-new keys leaves behind.
fn assert_churn_bounded(stats: &Stats, round: u64) {
    assert!(stats.records <= CHURN_RECORDS_MAX, "{round}: {stats:?}");
    assert_bounded(stats, CHURN_RECORDS_MAX, &format!("key {round}"));
}

fn insert(store: &Store, table: &Table<u64, u64>, key: u64) {
    let inserted = store.transact(|tx| tx.insert(table, key, key)).unwrap();
    assert!(inserted, "key {key} is new");
}

fn remove(store: &Store, table: &Table<u64, u64>, key: u64) {
    let removed = store.transact(|tx| tx.remove(table, &key)).unwrap();
    assert!(removed, "key {key} was inserted");
}

fn churn_on_one_thread(store: &Store, table: &Table<u64, u64>) {
    for key in 0..CHURN {
        insert(store, table, key);
        remove(store, table, key);
        if key.is_multiple_of(1_001) {
            assert_churn_bounded(&store.stats(), key);
        }
    }
}

/// One thread inserts, the other removes: what one makes, the other has to free.
fn churn_on_two_threads(
    store: &Store,
    table: &Table<u64, u64>,
    assert_bounded: impl Fn(&Stats, u64),
) {
    // The channel bounds the keys in flight.
    let (produced, to_consume) = mpsc::sync_channel(256);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for key in 0..CHURN {
                insert(store, table, key);
                if produced.send(key).is_err() {
                    // The consumer has failed and says why.
                    return;
                }
            }
        });
        for key in to_consume {
            remove(store, table, key);
            if key.is_multiple_of(1_001) {
                assert_bounded(&store.stats(), key);
            }
        }
    });
}

fn empty() -> (Store, Table<u64, u64>) {
    let store = Store::new();
    let table = store.table("queue").unwrap();
    (store, table)
}

#[test]
fn ever_new_keys_on_one_thread() {
    let (store, table) = empty();
    churn_on_one_thread(&store, &table);
}

/// An ordered index replaces its nodes all the time; those lie in the arenas as well.
#[test]
fn ever_new_keys_of_an_ordered_table() {
    let store = Store::new();
    let table = store.ordered_table("queue").unwrap();
    churn_on_one_thread(&store, &table);
    churn_on_two_threads(&store, &table, |stats, key| {
        assert!(stats.records <= CHURN_RECORDS_MAX, "{key}: {stats:?}");
        assert!(stats.arena_bytes <= ORDERED_ARENA_MAX_BYTES, "{key}: {stats:?}");
    });
}

#[test]
fn ever_new_keys_under_an_idle_snapshot() {
    let (store, table) = empty();
    store.transact(|tx| tx.put(&table, u64::MAX, 1)).unwrap();
    let view = store.begin_view().unwrap();
    churn_on_one_thread(&store, &table);
    assert_eq!(view.get(&table, &0).unwrap(), None);
    assert_eq!(view.get(&table, &u64::MAX).unwrap(), Some(&1));
}

#[test]
fn ever_new_keys_from_a_producer_to_a_consumer() {
    let (store, table) = empty();
    churn_on_two_threads(&store, &table, assert_churn_bounded);
}

#[test]
fn ever_new_keys_from_a_producer_to_a_consumer_under_an_idle_snapshot() {
    let (store, table) = empty();
    let view = store.begin_view().unwrap();
    churn_on_two_threads(&store, &table, assert_churn_bounded);
    assert_eq!(view.get(&table, &0).unwrap(), None);
}
