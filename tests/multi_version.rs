//! What each multi-version protocol lets happen and what it does not, at and around its isolation
//! level: fixed interleavings, and random ones whose outcome is counted.

#[path = "common/random.rs"]
mod random;

use chronolith::protocol::{self, Isolation, Progress, Protocol, Reads, Visitor};
use chronolith::{AbortReason, Store, Table, Transaction, TransactionError};
use random::Random;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

const THREADS: u64 = 6;
const ROUNDS: u64 = if cfg!(debug_assertions) { 6_000 } else { 60_000 };

type Numbers<P> = Table<u64, i64, P>;

/// Calls a generic case with each protocol, on one shard and on four.
macro_rules! with_each {
    ($($(#[$meta:meta])* $name:ident => $case:ident;)+) => {$(
        $(#[$meta])*
        #[test]
        fn $name() {
            struct Case(usize);
            impl Visitor for Case {
                type Output = ();
                fn visit<P: Protocol>(self) {
                    if P::READS == Reads::Snapshot && P::PROGRESS == Progress::LockFree {
                        $case::<P>(self.0);
                    }
                }
            }
            for name in protocol::NAMES {
                for shards in [1, 4] {
                    protocol::dispatch(name, Case(shards)).expect("a registered protocol");
                }
            }
        }
    )+};
}

fn open<P: Protocol>(shards: usize) -> (Store<P>, Numbers<P>) {
    let store = Store::builder().shards(shards).build_with::<P>().unwrap();
    let table = store.table("numbers").unwrap();
    (store, table)
}

/// Whether something went through. Anything but a conflict is a fault of the test.
fn passed<R>(outcome: Result<R, TransactionError>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(TransactionError::Abort(abort)) => {
            assert_ne!(abort.reason(), AbortReason::OutOfMemory);
            false
        }
        Err(TransactionError::Error(error)) => panic!("{error}"),
    }
}

fn put_all<P: Protocol>(store: &Store<P>, table: &Numbers<P>, pairs: &[(u64, i64)]) {
    store.transact(|tx| pairs.iter().try_for_each(|&(key, to)| tx.put(table, key, to))).unwrap();
}

/// Steps of one transaction that stop at its first conflict.
fn steps<P: Protocol>(
    tx: &Transaction<'_, P>,
    body: impl FnOnce(&Transaction<'_, P>) -> Result<(), TransactionError>,
) -> bool {
    passed(body(tx))
}

const SERIALIZABLE: fn(Isolation) -> bool = |level| level == Isolation::Serializable;

/// Two transactions each read what the other writes.
fn write_skew<P: Protocol>(shards: usize) {
    let (store, table) = open::<P>(shards);
    put_all(&store, &table, &[(1, 10), (2, 20)]);
    let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
    let both = |tx: &Transaction<'_, P>| {
        steps(tx, |tx| tx.get(&table, &1).and(tx.get(&table, &2)).map(|_| ()))
    };
    let read = both(&one) && both(&two);
    let first = read && passed(one.put(&table, 1, 11)) && passed(one.commit());
    let second = read && passed(two.put(&table, 2, 21)) && passed(two.commit());
    assert_eq!(first && second, !SERIALIZABLE(P::ISOLATION), "{}", P::NAME);
}

/// The same with keys that are absent.
fn absent_write_skew<P: Protocol>(shards: usize) {
    let (store, table) = open::<P>(shards);
    let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
    let both = |tx: &Transaction<'_, P>| {
        steps(tx, |tx| tx.get(&table, &1).and(tx.get(&table, &2)).map(|_| ()))
    };
    let read = both(&one) && both(&two);
    let first = read && passed(one.insert(&table, 1, 11)) && passed(one.commit());
    let second = read && passed(two.insert(&table, 2, 21)) && passed(two.commit());
    assert_eq!(first && second, !SERIALIZABLE(P::ISOLATION), "{}", P::NAME);
}

/// Fekete, O'Neil and O'Neil's bank: a withdrawal that began before a deposit and commits after a
/// report that has seen the deposit. The three together are no serial order, although the two
/// writers alone are one. With `absent`, what the deposit and the withdrawal write did not exist.
fn read_only_anomaly<P: Protocol>(shards: usize, absent: bool, report_writes: bool) {
    let (store, table) = open::<P>(shards);
    let (savings, checking, elsewhere) = (1, 2, 3);
    if !absent {
        put_all(&store, &table, &[(savings, 0), (checking, 0)]);
    }
    let withdrawal = store.begin().unwrap();
    let reads = |tx: &Transaction<'_, P>| {
        steps(tx, |tx| tx.get(&table, &savings).and(tx.get(&table, &checking)).map(|_| ()))
    };
    let begun = reads(&withdrawal);
    let deposit = store.begin().unwrap();
    let deposited = passed(deposit.get(&table, &savings).map(|_| ()))
        && passed(deposit.put(&table, savings, 20))
        && passed(deposit.commit());
    let report = if report_writes { store.begin().unwrap() } else { store.begin_view().unwrap() };
    let reported = reads(&report)
        && (!report_writes || passed(report.put(&table, elsewhere, 1)))
        && passed(report.commit());
    let withdrawn =
        begun && passed(withdrawal.put(&table, checking, -11)) && passed(withdrawal.commit());
    let all = deposited && reported && withdrawn;
    assert_eq!(all, !SERIALIZABLE(P::ISOLATION), "{} {absent} {report_writes}", P::NAME);
    assert!(deposited, "{}: it met nobody who was decided", P::NAME);
}

fn read_only_anomalies<P: Protocol>(shards: usize) {
    for absent in [false, true] {
        for report_writes in [false, true] {
            read_only_anomaly::<P>(shards, absent, report_writes);
        }
    }
}

/// A write that no read tells about, under another one that was first.
fn blind_lost_update<P: Protocol>(shards: usize) {
    let (store, table) = open::<P>(shards);
    put_all(&store, &table, &[(1, 10)]);
    let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
    let read = passed(one.get(&table, &1)) && passed(two.get(&table, &1));
    let first = read && passed(two.put(&table, 1, 11)) && passed(two.commit());
    let second = passed(one.put(&table, 1, 12)) && passed(one.commit());
    assert!(first && !second, "{}", P::NAME);
    let value = store.view(|tx| Ok(tx.get(&table, &1)?.copied())).unwrap();
    assert_eq!(value, Some(11), "{}", P::NAME);
}

/// A key comes and goes while a transaction is open that inserts it then. In the order of the
/// key's versions the insert comes after the remove; what the transaction has read says that it
/// comes before.
fn a_key_that_comes_and_goes<P: Protocol>(shards: usize) {
    for read_first in [false, true] {
        let (store, table) = open::<P>(shards);
        put_all(&store, &table, &[(1, 10)]);
        let late = store.begin().unwrap();
        let mut going = passed(late.get(&table, &1));
        going &= !read_first || passed(late.get(&table, &2));
        put_all(&store, &table, &[(2, 20)]);
        let moved = |tx: &Transaction<'_, P>| {
            tx.remove(&table, &2)?;
            tx.put(&table, 1, 11)
        };
        assert!(passed(store.transact(moved)), "{}: it met nobody who was decided", P::NAME);
        // Reclamation has every opportunity to forget the key.
        for round in 0..2_000 {
            put_all(&store, &table, &[(100 + round % 7, round as i64)]);
        }
        let inserted = going && passed(late.insert(&table, 2, 21)) && passed(late.commit());
        assert!(!inserted, "{}", P::NAME);
    }
}

/// A snapshot is one, whatever is committed, removed and reclaimed meanwhile.
fn a_snapshot_stays<P: Protocol>(shards: usize) {
    let (store, table) = open::<P>(shards);
    put_all(&store, &table, &[(1, 10), (2, 20), (3, 30)]);
    let view = store.begin_view().unwrap();
    let one = view.get(&table, &1).unwrap();
    for round in 0..500 {
        let written = store.transact(|tx| {
            tx.put(&table, 2, round)?;
            tx.remove(&table, &3)?;
            tx.put(&table, 3, round)?;
            tx.put(&table, 4, round)
        });
        assert!(passed(written));
        assert!(passed(store.transact(|tx| tx.remove(&table, &4))));
    }
    for _ in 0..3 {
        let seen = [2, 3].map(|key| view.get(&table, &key).map(Option::<&i64>::copied));
        assert_eq!(seen, [Ok(Some(20)), Ok(Some(30))], "{}", P::NAME);
    }
    // One that certifies may find that it has no place in a serial order any more.
    match view.get(&table, &4) {
        Ok(seen) => assert_eq!(seen, None),
        Err(_) => assert!(P::VALIDATES_READ_ONLY, "{}", P::NAME),
    }
    assert_eq!(one, Some(&10));
}

/// Runs `round` on every thread.
fn on_threads(round: impl Fn(&mut Random) + Sync) {
    let seed = random::seed();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let round = &round;
            scope.spawn(move || {
                let mut random = Random::new(seed, thread);
                (0..ROUNDS).for_each(|_| round(&mut random));
            });
        }
    });
}

/// Money moves, is counted in transactions and in snapshots, and stays the same.
fn bank<P: Protocol>(shards: usize) {
    const ACCOUNTS: u64 = 8;
    let (store, table) = open::<P>(shards);
    put_all(&store, &table, &(0..ACCOUNTS).map(|key| (key, 100)).collect::<Vec<_>>());
    let count = |tx: &Transaction<'_, P>| {
        let mut sum = 0;
        for key in 0..ACCOUNTS {
            sum += tx.get(&table, &key)?.copied().unwrap_or(0);
        }
        Ok(sum)
    };
    on_threads(|random| {
        let (from, to) = (random.below(ACCOUNTS), random.below(ACCOUNTS));
        match random.below(8) {
            0 => assert_eq!(store.view(count), Ok(800), "{}", P::NAME),
            1 => {
                // An audit that leaves a mark, so that it is not read-only.
                let audit = |tx: &Transaction<'_, P>| {
                    let sum = count(tx)?;
                    tx.put(&table, ACCOUNTS, sum)?;
                    Ok(sum)
                };
                assert_eq!(store.transact(audit), Ok(800), "{}", P::NAME);
            }
            _ => {
                let moved = store.transact(|tx| {
                    let before = tx.get(&table, &from)?.copied().unwrap_or(0);
                    tx.put(&table, from, before - 1)?;
                    random.maybe_yield();
                    tx.update(&table, &to, |balance| balance + 1)
                });
                assert_eq!(moved, Ok(true), "{}", P::NAME);
            }
        }
    });
    assert_eq!(store.view(count), Ok(800), "{}", P::NAME);
}

/// Of each pair at least one has to stay, and each looks before it leaves.
fn write_skew_at_random<P: Protocol>(shards: usize) {
    let (store, table) = open::<P>(shards);
    put_all(&store, &table, &(0..6).map(|key| (key, 1)).collect::<Vec<_>>());
    let violations = AtomicU64::new(0);
    on_threads(|random| {
        let (pair, side) = (random.below(3), random.below(2));
        let (mine, other) = (2 * pair + side, 2 * pair + 1 - side);
        let tx = store.begin().unwrap();
        let stays = steps(&tx, |tx| {
            let mine_is_there = tx.get(&table, &mine)? == Some(&1);
            random.maybe_yield();
            let other_is_there = tx.get(&table, &other)? == Some(&1);
            if !mine_is_there && !other_is_there {
                violations.fetch_add(1, Ordering::Relaxed);
            }
            tx.put(&table, mine, i64::from(!(mine_is_there && other_is_there)))
        });
        if stays {
            random.maybe_yield();
            passed(tx.commit());
        }
    });
    // Under snapshot isolation a pair may both have left, and then it is seen.
    let counted = violations.into_inner();
    assert!(counted == 0 || !SERIALIZABLE(P::ISOLATION), "{}: {counted}", P::NAME);
}

/// Keys that come and go. What each transaction says that it did adds up to what is there.
fn comes_and_goes_at_random<P: Protocol>(shards: usize) {
    const KEYS: u64 = 4;
    let (store, table) = open::<P>(shards);
    let present: [AtomicI64; KEYS as usize] = [const { AtomicI64::new(0) }; KEYS as usize];
    let changes = AtomicU64::new(0);
    on_threads(|random| {
        let (key, kind) = (random.below(KEYS), random.below(3));
        let tx = store.begin().unwrap();
        let mut change = 0;
        let done = steps(&tx, |tx| {
            change = match kind {
                0 => i64::from(tx.insert(&table, key, 1)?),
                1 => -i64::from(tx.remove(&table, &key)?),
                // By a look and a write that depends on nothing.
                _ => {
                    let before = tx.get(&table, &key)?.is_some();
                    random.maybe_yield();
                    tx.put(&table, key, 2)?;
                    i64::from(!before)
                }
            };
            Ok(())
        });
        if done && passed(tx.commit()) {
            present[key as usize].fetch_add(change, Ordering::Relaxed);
            changes.fetch_add(change.unsigned_abs(), Ordering::Relaxed);
        }
    });
    let there = |key: u64| store.view(|tx| Ok(tx.get(&table, &key)?.is_some())).unwrap();
    for key in 0..KEYS {
        let sum = present[key as usize].load(Ordering::Relaxed);
        assert_eq!(sum, i64::from(there(key)), "{}: key {key}", P::NAME);
    }
    assert!(changes.into_inner() > ROUNDS / 10, "{}: nothing happens", P::NAME);
}

/// References to values live as long as their transaction, whatever others commit meanwhile, above
/// or below its snapshot.
fn references<P: Protocol>(shards: usize) {
    const KEYS: u64 = 6;
    const LEN: usize = 9;
    let store = Store::builder().shards(shards).build_with::<P>().unwrap();
    let table: Table<u64, Vec<u64>, P> = store.table("vectors").unwrap();
    on_threads(|random| {
        let tx = if random.below(3) == 0 { store.begin_view() } else { store.begin() }.unwrap();
        let mut held: Vec<&Vec<u64>> = Vec::new();
        let here = &tx;
        let read = steps(here, |_| {
            for _ in 0..4 {
                held.extend(here.get(&table, &random.below(KEYS))?);
                random.maybe_yield();
            }
            Ok(())
        });
        let (key, value) = (random.below(KEYS), random.below(1 << 40));
        let written = read
            && match random.below(4) {
                0 => tx.remove(&table, &key).is_ok(),
                1 => tx.update(&table, &key, |old| vec![old[0] + 1; LEN]).is_ok(),
                _ => tx.put(&table, key, vec![value; LEN]).is_ok(),
            };
        random.maybe_yield();
        for value in held {
            assert!(value.len() == LEN && value.iter().all(|number| *number == value[0]));
        }
        if written {
            passed(tx.commit());
        }
    });
}

with_each! {
    write_skew_is_allowed_by_snapshots_alone => write_skew;
    absent_write_skew_is_allowed_by_snapshots_alone => absent_write_skew;
    the_read_only_anomaly_is_allowed_by_snapshots_alone => read_only_anomalies;
    an_update_is_not_lost => blind_lost_update;
    a_key_that_comes_and_goes_is_a_conflict => a_key_that_comes_and_goes;
    a_snapshot_stays_what_it_is => a_snapshot_stays;
    the_sum_is_right => bank;
    one_of_each_pair_stays => write_skew_at_random;
    keys_come_and_go => comes_and_goes_at_random;
    what_is_read_stays_whole => references;
}
