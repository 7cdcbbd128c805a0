//! The anomalies of the literature, as fixed interleavings that one thread steps through.
//!
//! The names are Adya's (G0 to G2), Berenson's (P4), Hermitage's (OTV) and Fekete's. Each case
//! states what must not happen; which of the transactions pays for it with an abort is up to the
//! protocol, except that one whose conflict partners are all still open has nobody to lose to. The
//! cases with scans come with ordered tables. `tests/anomalies_stress.rs` has random interleavings.

use chronolith::{Store, Table, Transaction, TransactionError};

const K1: u64 = 1;
const K2: u64 = 2;

type Numbers = Table<u64, i64>;

/// Runs a case on one shard (one-phase commit) and on several (two-phase), with k1=10 and k2=20.
fn on_each_store(case: impl Fn(&Store, &Numbers)) {
    for shards in [1, 3, 16] {
        let store = Store::builder().shards(shards).build().unwrap();
        let table = store.table("numbers").unwrap();
        let fill = |tx: &Transaction<'_>| {
            tx.put(&table, K1, 10)?;
            tx.put(&table, K2, 20)
        };
        store.transact(fill).unwrap();
        case(&store, &table);
    }
}

fn read(tx: &Transaction<'_>, table: &Numbers, key: u64) -> Option<i64> {
    tx.get(table, &key).unwrap().copied()
}

fn write(tx: &Transaction<'_>, table: &Numbers, key: u64, value: i64) {
    tx.put(table, key, value).unwrap();
}

/// Whether it committed. Anything but a conflict is a fault of the test.
fn commits(tx: Transaction<'_>) -> bool {
    match tx.commit() {
        Ok(()) => true,
        Err(TransactionError::Abort(_)) => false,
        Err(TransactionError::Error(error)) => panic!("{error}"),
    }
}

/// What a new transaction sees.
fn now(store: &Store, table: &Numbers) -> (Option<i64>, Option<i64>) {
    let view = store.begin_view().unwrap();
    (read(&view, table, K1), read(&view, table, K2))
}

#[test]
fn g0_dirty_write() {
    on_each_store(|store, table| {
        let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
        write(&one, table, K1, 11);
        write(&two, table, K1, 12);
        write(&one, table, K2, 21);
        assert!(commits(one));
        assert_eq!(now(store, table), (Some(11), Some(21)));
        write(&two, table, K2, 22);
        let expected = if commits(two) { (12, 22) } else { (11, 21) };
        assert_eq!(now(store, table), (Some(expected.0), Some(expected.1)));
    });
}

#[test]
fn g1a_aborted_read() {
    on_each_store(|store, table| {
        let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
        write(&one, table, K1, 101);
        assert_eq!(read(&two, table, K1), Some(10));
        drop(one);
        assert_eq!(read(&two, table, K1), Some(10));
        assert!(commits(two));
        assert_eq!(now(store, table), (Some(10), Some(20)));
    });
}

#[test]
fn g1b_intermediate_read() {
    on_each_store(|store, table| {
        let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
        write(&one, table, K1, 101);
        assert_eq!(read(&two, table, K1), Some(10));
        write(&one, table, K1, 11);
        assert!(commits(one));
        assert_eq!(read(&two, table, K1), Some(10), "a read is repeatable");
        commits(two);
        assert_eq!(now(store, table).0, Some(11));
    });
}

#[test]
fn g1c_circular_information_flow() {
    on_each_store(|store, table| {
        let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
        write(&one, table, K1, 11);
        write(&two, table, K2, 22);
        let by_one = read(&one, table, K2);
        let by_two = read(&two, table, K1);
        assert_eq!((by_one, by_two), (Some(20), Some(10)));
        assert!(commits(one));
        // Neither has seen the other: in any serial order the second one would have.
        assert!(!commits(two));
    });
}

#[test]
fn otv_observed_transaction_vanishes() {
    on_each_store(|store, table| {
        let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
        write(&one, table, K1, 11);
        write(&one, table, K2, 19);
        write(&two, table, K1, 12);
        assert!(commits(one));
        let three = store.begin().unwrap();
        assert_eq!(read(&three, table, K1), Some(11));
        write(&two, table, K2, 18);
        assert_eq!(read(&three, table, K2), Some(19));
        commits(two);
        assert_eq!(read(&three, table, K2), Some(19));
        assert_eq!(read(&three, table, K1), Some(11));
    });
}

/// As above, but the observer reads the second key only after the overwriter has committed.
#[test]
fn otv_read_after_the_overwriter() {
    on_each_store(|store, table| {
        let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
        write(&one, table, K1, 11);
        write(&one, table, K2, 19);
        assert!(commits(one));
        let (three, view) = (store.begin().unwrap(), store.begin_view().unwrap());
        assert_eq!(read(&three, table, K1), Some(11));
        write(&two, table, K1, 12);
        write(&two, table, K2, 18);
        commits(two);
        assert_eq!(read(&three, table, K2), Some(19));
        assert_eq!(read(&view, table, K2), Some(19));
        assert_eq!(read(&view, table, K1), Some(11));
    });
}

#[test]
fn p4_lost_update() {
    on_each_store(|store, table| {
        let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
        let (first, second) = (read(&one, table, K1), read(&two, table, K1));
        assert_eq!((first, second), (Some(10), Some(10)));
        write(&one, table, K1, 11);
        write(&two, table, K1, 12);
        assert!(commits(one));
        assert!(!commits(two));
        assert_eq!(now(store, table).0, Some(11));
    });
}

#[test]
fn p4_lost_update_by_update() {
    on_each_store(|store, table| {
        let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
        assert!(one.update(table, &K1, |value| value + 1).unwrap());
        assert!(two.update(table, &K1, |value| value + 2).unwrap());
        assert!(commits(two));
        assert!(!commits(one));
        assert_eq!(now(store, table).0, Some(12));
    });
}

#[test]
fn g_single_read_skew() {
    on_each_store(|store, table| {
        let (one, view) = (store.begin().unwrap(), store.begin_view().unwrap());
        assert_eq!(read(&one, table, K1), Some(10));
        assert_eq!(read(&view, table, K1), Some(10));
        let two = store.begin().unwrap();
        write(&two, table, K1, 12);
        write(&two, table, K2, 18);
        assert!(commits(two));
        assert_eq!(read(&one, table, K2), Some(20));
        assert_eq!(read(&view, table, K2), Some(20));
        // As a writer it would have to stand before and after the other.
        write(&one, table, 3, 30);
        assert!(!commits(one));
        assert!(commits(view));
    });
}

#[test]
fn g_single_write_based_on_an_old_read() {
    on_each_store(|store, table| {
        let one = store.begin().unwrap();
        assert_eq!(read(&one, table, K1), Some(10));
        let two = store.begin().unwrap();
        write(&two, table, K1, 12);
        write(&two, table, K2, 18);
        assert!(commits(two));
        let removed = one.remove(table, &K2);
        assert!(removed.is_err() || !commits(one));
        assert_eq!(now(store, table), (Some(12), Some(18)));
    });
}

#[test]
fn g2_item_write_skew() {
    on_each_store(|store, table| {
        let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
        for tx in [&one, &two] {
            assert_eq!(read(tx, table, K1), Some(10));
            assert_eq!(read(tx, table, K2), Some(20));
        }
        write(&one, table, K1, 11);
        write(&two, table, K2, 21);
        assert!(commits(one));
        assert!(!commits(two));
        assert_eq!(now(store, table), (Some(11), Some(20)));
    });
}

#[test]
fn g2_two_edges() {
    on_each_store(|store, table| {
        let one = store.begin().unwrap();
        assert_eq!(read(&one, table, K1), Some(10));
        assert_eq!(read(&one, table, K2), Some(20));
        let two = store.begin().unwrap();
        assert!(two.update(table, &K2, |value| value + 5).unwrap());
        assert!(commits(two));
        assert_eq!(now(store, table), (Some(10), Some(25)));
        write(&one, table, K1, 0);
        assert!(!commits(one));
    });
}

/// Fekete, O'Neil and O'Neil (2004): without its reader the history would be serializable.
#[test]
fn read_only_anomaly() {
    on_each_store(|store, table| {
        store.transact(|tx| tx.put(table, K1, 0)).unwrap();
        store.transact(|tx| tx.put(table, K2, 0)).unwrap();
        let two = store.begin().unwrap();
        assert_eq!(read(&two, table, K1), Some(0));
        assert_eq!(read(&two, table, K2), Some(0));
        let one = store.begin().unwrap();
        assert_eq!(read(&one, table, K2), Some(0));
        write(&one, table, K2, 20);
        assert!(commits(one));
        assert_eq!(now(store, table), (Some(0), Some(20)));
        write(&two, table, K1, -11);
        assert!(!commits(two), "the reader has seen that it did not come first");
    });
}

#[test]
fn long_fork() {
    on_each_store(|store, table| {
        let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
        let (three, four) = (store.begin().unwrap(), store.begin().unwrap());
        write(&one, table, K1, 11);
        write(&two, table, K2, 22);
        assert_eq!(read(&four, table, K1), Some(10));
        assert!(commits(one));
        let by_three = (read(&three, table, K1), read(&three, table, K2));
        assert!(commits(two));
        let by_four = (Some(10), read(&four, table, K2));
        let forked = by_three == (Some(11), Some(20)) && by_four == (Some(10), Some(22));
        assert!(!forked, "the two writes were seen in both orders");
        assert!(commits(three));
        assert!(commits(four));
    });
}

#[test]
fn fractured_read() {
    on_each_store(|store, table| {
        let view = store.begin_view().unwrap();
        assert_eq!(read(&view, table, K1), Some(10));
        let one = store.begin().unwrap();
        write(&one, table, K1, 11);
        write(&one, table, K2, 21);
        assert!(commits(one));
        assert_eq!(read(&view, table, K2), Some(20));
        assert_eq!(now(store, table), (Some(11), Some(21)));
    });
}

#[test]
fn stale_read_in_real_time() {
    on_each_store(|store, table| {
        // Often, because a clock that ticks slowly goes unnoticed once.
        for value in 0..2_000 {
            store.transact(|tx| tx.put(table, K1, value)).unwrap();
            let seen = std::thread::scope(|scope| match value % 100 {
                0 => scope.spawn(|| now(store, table).0).join().unwrap(),
                _ => now(store, table).0,
            });
            assert_eq!(seen, Some(value));
            let tx = store.begin().unwrap();
            assert_eq!(read(&tx, table, K1), Some(value));
        }
    });
}

/// Commits both of two transactions that exclude each other; says whether one of them did.
fn one_commits(one: Transaction<'_>, two: Transaction<'_>) -> bool {
    let committed = [commits(one), commits(two)];
    assert_ne!(committed, [true, true]);
    committed.contains(&true)
}

/// Under way each shard's index grows, up to three times, and each growth may cost both
/// transactions of that moment their proof of absence.
const COMMITS_MIN: usize = 150;

#[test]
fn absent_key_write_skew() {
    on_each_store(|store, table| {
        let round = |key: &u64| {
            let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
            assert_eq!(read(&one, table, *key), None);
            assert_eq!(read(&two, table, key + 1), None);
            write(&one, table, key + 1, 1);
            write(&two, table, *key, 2);
            one_commits(one, two)
        };
        let committed = (100..500).step_by(2).filter(round).count();
        assert!(committed >= COMMITS_MIN, "{committed}");
    });
}

#[test]
fn absent_read_and_insert_of_the_same_key() {
    on_each_store(|store, table| {
        let round = |&key: &u64| {
            let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
            for tx in [&one, &two] {
                assert_eq!(read(tx, table, key), None);
                if key.is_multiple_of(2) {
                    assert!(tx.insert(table, key, 1).unwrap());
                } else {
                    write(tx, table, key, 1);
                }
            }
            one_commits(two, one)
        };
        let committed = (100..300).filter(round).count();
        assert!(committed >= COMMITS_MIN, "{committed}");
    });
}

/// As above, but the loser writes only after the winner has committed, so onto the winner's record.
#[test]
fn lost_update_of_an_absent_key() {
    on_each_store(|store, table| {
        for (way, key) in (100..103).enumerate() {
            let two = store.begin().unwrap();
            assert_eq!(read(&two, table, key), None);
            store.transact(|tx| tx.put(table, key, 1)).unwrap();
            let written = match way {
                0 => two.put(table, key, 2).is_ok(),
                1 => two.insert(table, key, 2) == Ok(true),
                _ => two.update(table, &key, |value| value + 1) == Ok(true),
            };
            assert!(!(written && commits(two)), "it has not seen what it overwrites");
            let view = store.begin_view().unwrap();
            assert_eq!(read(&view, table, key), Some(1));
        }
    });
}

/// The key is absent by a tombstone.
#[test]
fn lost_update_of_a_removed_key() {
    on_each_store(|store, table| {
        assert!(store.transact(|tx| tx.remove(table, &K1)).unwrap());
        for value in [1, 2] {
            let two = store.begin().unwrap();
            let before = read(&two, table, K1);
            store.transact(|tx| tx.put(table, K1, value)).unwrap();
            write(&two, table, K1, before.unwrap_or(0) + 10);
            assert!(!commits(two), "it has not seen what it overwrites");
            assert_eq!(now(store, table).0, Some(value));
        }
    });
}

#[test]
fn an_absent_key_that_came_and_went() {
    on_each_store(|store, table| {
        let one = store.begin().unwrap();
        assert_eq!(read(&one, table, 100), None);
        store.transact(|tx| tx.put(table, 100, 1)).unwrap();
        assert_eq!(read(&one, table, 100), None);
        assert!(store.transact(|tx| tx.remove(table, &100)).unwrap());
        assert_eq!(read(&one, table, 100), None);
        write(&one, table, K1, 11);
        // It may commit: the key is absent again. But what it has seen must be what there is.
        if commits(one) {
            assert_eq!(now(store, table).0, Some(11));
        }
    });
}

#[test]
fn removed_key_write_skew() {
    on_each_store(|store, table| {
        let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
        for tx in [&one, &two] {
            assert!(read(tx, table, K1).is_some() && read(tx, table, K2).is_some());
        }
        assert!(one.remove(table, &K1).unwrap());
        assert!(two.remove(table, &K2).unwrap());
        assert!(commits(one));
        assert!(!commits(two));
        assert_eq!(now(store, table), (None, Some(20)));
    });
}

/// Absent-key write skew on keys that have left a tombstone.
#[test]
fn write_skew_on_tombstones() {
    on_each_store(|store, table| {
        for key in [K1, K2] {
            assert!(store.transact(|tx| tx.remove(table, &key)).unwrap());
        }
        let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
        assert_eq!(read(&one, table, K1), None);
        assert_eq!(read(&two, table, K2), None);
        assert!(one.insert(table, K2, 21).unwrap());
        assert!(two.insert(table, K1, 11).unwrap());
        assert!(commits(one));
        assert!(!commits(two));
        assert_eq!(now(store, table), (None, Some(21)));
    });
}

#[test]
fn lost_remove() {
    on_each_store(|store, table| {
        let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
        assert!(one.remove(table, &K1).unwrap());
        assert!(two.update(table, &K1, |value| value + 1).unwrap());
        assert!(commits(one));
        assert!(!commits(two));
        assert_eq!(now(store, table).0, None);
        let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
        assert!(one.insert(table, K1, 11).unwrap());
        assert!(two.insert(table, K1, 12).unwrap());
        assert!(commits(two));
        assert!(!commits(one));
        assert_eq!(now(store, table).0, Some(12));
    });
}

/// A blind write finds the record of a removed key. That record is reclaimed while the transaction
/// is open, and the transaction's snapshot may move forward past that: the write must not land in
/// whatever has taken the record's place.
#[test]
fn a_blind_write_to_a_removed_key_stays_with_its_key() {
    on_each_store(|store, table| {
        assert!(store.transact(|tx| tx.remove(table, &K2)).unwrap());
        let one = store.begin().unwrap();
        write(&one, table, K2, -1);
        store.transact(|tx| tx.put(table, K1, 11)).unwrap();
        // Work for the janitor, which takes the removed key's record out of the index.
        for key in 1_000..1_500 {
            store.transact(|tx| tx.put(table, key, 0)).unwrap();
            assert!(store.transact(|tx| tx.remove(table, &key)).unwrap());
        }
        // This moves the snapshot forward, if the store finds that nothing stands against it.
        let seen = read(&one, table, K1);
        assert!(seen == Some(10) || seen == Some(11), "{seen:?}");
        // These take the memory of the records that nobody can point to any more.
        for key in 5_000..9_000 {
            let fill = |tx: &Transaction<'_>| tx.put(table, key, i64::try_from(key).unwrap());
            store.transact(fill).unwrap();
        }
        let expected = commits(one).then_some(-1);
        assert_eq!(now(store, table).1, expected);
        let view = store.begin_view().unwrap();
        for key in 5_000..9_000 {
            assert_eq!(read(&view, table, key), i64::try_from(key).ok());
        }
    });
}
