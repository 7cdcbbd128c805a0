//! The anomalies of `tests/anomalies.rs` under random interleavings of threads: no violation at
//! all.

#[path = "common/random.rs"]
mod random;

use chronolith::{Store, Table, Transaction, TransactionError};
use random::Random;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const THREADS: u64 = 6;
const ROUNDS: u64 = if cfg!(debug_assertions) { 10_000 } else { 150_000 };
/// Few, so that the threads meet.
const PAIRS: u64 = 3;

type Numbers = Table<u64, i64>;

/// Runs `round` again and again on every thread, on one shard and on several. `prepare` is called
/// before and `check` after, for each store.
fn stress(
    prepare: impl Fn(&Store, &Numbers),
    round: impl Fn(&Store, &Numbers, &mut Random) + Sync,
    check: impl Fn(&Store, &Numbers),
) {
    let seed = random::seed();
    for shards in [1, 3] {
        let store = Store::builder().shards(shards).build().unwrap();
        let table = store.table("numbers").unwrap();
        prepare(&store, &table);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (store, table, round) = (&store, &table, &round);
                scope.spawn(move || {
                    let mut random = Random::new(seed, thread);
                    for _ in 0..ROUNDS {
                        round(store, table, &mut random);
                    }
                });
            }
        });
        println!("{shards} shards: {:?}", store.stats());
        check(&store, &table);
    }
}

fn read(tx: &Transaction<'_>, table: &Numbers, key: u64, random: &mut Random) -> Option<i64> {
    let value = tx.get(table, &key).unwrap().copied();
    random.maybe_yield();
    value
}

/// Whether it committed. Anything but a conflict is a fault of the test.
fn commits(tx: Transaction<'_>) -> bool {
    match tx.commit() {
        Ok(()) => true,
        Err(TransactionError::Abort(_)) => false,
        Err(TransactionError::Error(error)) => panic!("{error}"),
    }
}

/// A pair of keys, and one of them first.
fn pick_pair(random: &mut Random) -> (u64, u64) {
    let (pair, side) = (random.below(PAIRS), random.below(2));
    (2 * pair + side, 2 * pair + 1 - side)
}

/// Sets the keys below `count` to a value.
fn fill(store: &Store, table: &Numbers, count: u64, value: i64) {
    store.transact(|tx| (0..count).try_for_each(|key| tx.put(table, key, value))).unwrap();
}

/// The doctors on call: each may leave only while the other is there.
#[test]
fn write_skew() {
    let violations = AtomicU64::new(0);
    let round = |store: &Store, table: &Numbers, random: &mut Random| {
        let (mine, other) = pick_pair(random);
        let tx = store.begin().unwrap();
        let on_call = [mine, other].map(|key| read(&tx, table, key, random) == Some(1));
        if on_call == [false, false] {
            violations.fetch_add(1, Ordering::Relaxed);
        }
        let stays = on_call != [true, true];
        tx.put(table, mine, i64::from(stays)).unwrap();
        random.maybe_yield();
        commits(tx);
    };
    let prepare = |store: &Store, table: &Numbers| fill(store, table, 2 * PAIRS, 1);
    stress(prepare, round, |_, _| assert_eq!(violations.load(Ordering::Relaxed), 0));
}

/// The same with presence for the value: of each pair of keys one is absent.
#[test]
fn absent_key_write_skew() {
    let violations = AtomicU64::new(0);
    let round = |store: &Store, table: &Numbers, random: &mut Random| {
        let (mine, other) = pick_pair(random);
        let tx = store.begin().unwrap();
        let present = [mine, other].map(|key| read(&tx, table, key, random).is_some());
        if present == [true, true] {
            violations.fetch_add(1, Ordering::Relaxed);
        }
        let written = match (present, random.below(2)) {
            ([true, _], _) => tx.remove(table, &mine).map(|_| ()),
            ([false, true], _) => tx.remove(table, &other).map(|_| ()),
            ([false, false], 0) => tx.insert(table, mine, 1).map(|_| ()),
            ([false, false], _) => tx.put(table, mine, 1),
        };
        // A remove may meet its conflict before the commit.
        if written.is_ok() {
            random.maybe_yield();
            commits(tx);
        }
    };
    stress(|_, _| {}, round, |_, _| assert_eq!(violations.load(Ordering::Relaxed), 0));
}

/// Counters that are read and then written; `pick` chooses one, given how much was counted so far.
fn count_up(pick: impl Fn(u64, &mut Random) -> u64 + Sync) {
    let committed = AtomicU64::new(0);
    let round = |store: &Store, table: &Numbers, random: &mut Random| {
        let key = pick(committed.load(Ordering::Relaxed), random);
        let tx = store.begin().unwrap();
        let before = read(&tx, table, key, random).unwrap_or(0);
        tx.put(table, key, before + 1).unwrap();
        random.maybe_yield();
        if commits(tx) {
            committed.fetch_add(1, Ordering::Relaxed);
        }
    };
    let check = |store: &Store, table: &Numbers| {
        let view = store.begin_view().unwrap();
        let committed = committed.swap(0, Ordering::Relaxed);
        let counter = |key| view.get(table, &key).unwrap().copied();
        let counted: i64 = (0..=committed).filter_map(counter).sum();
        assert_eq!(Ok(counted), i64::try_from(committed));
    };
    stress(|_, _| {}, round, check);
}

#[test]
fn lost_update() {
    count_up(|_, random| random.below(PAIRS));
}

/// The threads go on to a new counter together, so that they meet while it is absent.
#[test]
fn lost_update_of_an_absent_key() {
    count_up(|committed, _| committed / 8);
}

/// Writers of one of two keys, and readers of both: any two readers agree on the order.
#[test]
fn long_fork() {
    let seen = Mutex::new(Vec::new());
    let prepare = |store: &Store, table: &Numbers| {
        seen.lock().unwrap().clear();
        fill(store, table, 2, 0);
    };
    let round = |store: &Store, table: &Numbers, random: &mut Random| {
        let (first, kind) = (random.below(2), random.below(4));
        let tx = match kind {
            0 | 1 => {
                let counted = store.transact(|tx| tx.update(table, &first, |value| value + 1));
                assert!(counted.unwrap(), "a counter is never removed");
                return;
            }
            2 => store.begin_view().unwrap(),
            _ => store.begin().unwrap(),
        };
        let mut pair = [0; 2];
        for key in [first, 1 - first] {
            let value = read(&tx, table, key, random);
            pair[key as usize] = value.expect("a counter is never removed");
        }
        assert!(commits(tx), "a transaction without writes always commits");
        seen.lock().unwrap().push(pair);
    };
    stress(prepare, round, |_, _| {
        let mut seen = std::mem::take(&mut *seen.lock().unwrap());
        seen.sort_unstable();
        let forks = seen.windows(2).filter(|two| two[0][1] > two[1][1]).count();
        assert_eq!(forks, 0);
    });
}
