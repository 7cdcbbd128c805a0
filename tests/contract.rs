//! The contract of the public API, for every protocol.

#[macro_use]
mod common;

use chronolith::protocol::{self, Progress, Protocol, Visitor};
use chronolith::{AbortReason, Error, Store, Table, Transaction, TransactionError};

for_each_protocol! {
    fn what_is_put_is_got<P>(store) {
        let table = store.table::<u64, u64>("t").unwrap();
        store.transact(|tx| {
            for key in 0..1000 {
                tx.put(&table, key, key * 10)?;
            }
            Ok(())
        }).unwrap();
        store.view(|tx| {
            for key in 0..1000 {
                assert_eq!(tx.get(&table, &key)?, Some(&(key * 10)));
            }
            assert_eq!(tx.get(&table, &1000)?, None);
            Ok(())
        }).unwrap();
        let stats = store.stats();
        assert_eq!(stats.commits, 2);
        assert_eq!(stats.commits_read_only, 1);
        assert_eq!(stats.records, 1000);
    }

    /// It commits at the first attempt, in whatever order the keys' shards come.
    fn what_was_found_absent_is_inserted<P>(store) {
        let plain = store.table::<u64, u64>("plain").unwrap();
        let ordered = store.ordered_table::<u64, u64>("ordered").unwrap();
        let indexed = store.ordered_table::<u64, u64>("indexed").unwrap();
        let by_value = store.index(&indexed, "by_value", |value: &u64| value % 5).unwrap();
        for first in (0..400).step_by(8) {
            let tx = store.begin().unwrap();
            for key in first..first + 8 {
                assert_eq!(tx.get(&plain, &key), Ok(None), "{}", P::NAME);
                tx.put(&plain, key, key).unwrap();
                assert!(tx.insert(&ordered, key, key).unwrap(), "{}", P::NAME);
                assert!(tx.insert(&indexed, key, key).unwrap(), "{}", P::NAME);
            }
            assert_eq!(tx.commit().map(|_| ()), Ok(()), "{}", P::NAME);
        }
        store.view(|tx| {
            assert_eq!(tx.range(&ordered, ..)?.count(), 400);
            assert_eq!(tx.find(&by_value, &3)?.count(), 80);
            (0..400).try_for_each(|key| {
                assert_eq!(tx.get(&plain, &key)?, Some(&key));
                Ok(())
            })
        }).unwrap();
    }

    fn a_transaction_sees_its_own_writes<P>(store) {
        let table = store.table::<u64, String>("t").unwrap();
        store.transact(|tx| {
            assert!(tx.insert(&table, 1, "a".into())?);
            assert!(!tx.insert(&table, 1, "b".into())?);
            let first = tx.get(&table, &1)?.expect("own insert");
            tx.put(&table, 1, "c".into())?;
            // A reference handed out before stays what it was.
            assert_eq!(first, "a");
            assert_eq!(tx.get(&table, &1)?.map(String::as_str), Some("c"));
            assert!(tx.update(&table, &1, |value| format!("{value}d"))?);
            assert_eq!(tx.get(&table, &1)?.map(String::as_str), Some("cd"));
            assert!(tx.remove(&table, &1)?);
            assert!(!tx.remove(&table, &1)?);
            assert_eq!(tx.get(&table, &1)?, None);
            assert!(!tx.update(&table, &1, String::clone)?);
            assert!(tx.insert(&table, 1, "e".into())?);
            Ok(())
        }).unwrap();
        let value = store.view(|tx| Ok(tx.get(&table, &1)?.cloned())).unwrap();
        assert_eq!(value.as_deref(), Some("e"));
    }

    fn a_rollback_leaves_nothing<P>(store) {
        let table = store.table::<u64, Vec<u8>>("t").unwrap();
        store.transact(|tx| tx.put(&table, 1, vec![1])).unwrap();
        let outcome: Result<(), _> = store.transact(|tx| {
            tx.put(&table, 1, vec![2])?;
            tx.put(&table, 2, vec![2])?;
            Err(tx.rollback())
        });
        let abort = outcome.unwrap_err();
        assert_eq!(abort.abort().unwrap().reason(), AbortReason::User);
        let tx = store.begin().unwrap();
        tx.put(&table, 1, vec![3]).unwrap();
        drop(tx);
        store.view(|tx| {
            assert_eq!(tx.get(&table, &1)?, Some(&vec![1]));
            assert_eq!(tx.get(&table, &2)?, None);
            Ok(())
        }).unwrap();
        assert_eq!(store.stats().aborts_for(AbortReason::User), 2);
    }

    fn byte_strings_of_any_length<P>(store) {
        let table = store.table::<[u8], [u8]>("t").unwrap();
        // Keys of up to 2020 bytes (fewer with words) have their first version behind them.
        let lens = [0usize, 1, 15, 16, 100, 1000, 2020, 2021, 2100, 4096, 5000, 100_000];
        store.transact(|tx| {
            for len in lens {
                tx.put(&table, &vec![7; len], &vec![len as u8; len])?;
            }
            Ok(())
        }).unwrap();
        for round in 0..3u8 {
            store.transact(|tx| {
                for len in lens {
                    let key = vec![7; len];
                    let mut buffer = Vec::new();
                    assert!(tx.update_bytes(&table, key.as_slice(), &mut buffer, |old, new| {
                        new.extend_from_slice(old);
                        new.push(round);
                    })?);
                }
                Ok(())
            }).unwrap();
        }
        store.view(|tx| {
            for len in lens {
                let value = tx.get(&table, vec![7; len].as_slice())?.expect("present");
                assert_eq!(value.len(), len + 3);
                assert_eq!(value[len..], [0, 1, 2]);
                assert!(value[..len].iter().all(|&byte| byte == len as u8));
            }
            Ok(())
        }).unwrap();
    }

    fn one_transaction_spans_tables_of_different_types<P>(store) {
        let numbers = store.table::<u64, i64>("numbers").unwrap();
        let names = store.table::<str, [u8]>("names").unwrap();
        store.transact(|tx| {
            tx.put(&numbers, 1, -1)?;
            tx.put(&names, "one", b"1")
        }).unwrap();
        store.view(|tx| {
            assert_eq!(tx.get(&numbers, &1)?, Some(&-1));
            assert_eq!(tx.get(&names, "one")?, Some(b"1".as_slice()));
            Ok(())
        }).unwrap();
    }

    fn a_batch_of_reads_answers_in_order<P>(store) {
        let table = store.table::<u64, u64>("t").unwrap();
        store.transact(|tx| {
            (0..100).try_for_each(|key| tx.put(&table, key * 2, key))
        }).unwrap();
        let keys: Vec<u64> = (0..200).collect();
        let keys: Vec<&u64> = keys.iter().collect();
        store.transact(|tx| {
            tx.put(&table, 3, 33)?;
            let mut found = vec![None; keys.len()];
            tx.get_many(&table, &keys, &mut found)?;
            for (key, found) in found.iter().enumerate() {
                let expected = match key {
                    3 => Some(33),
                    key if key % 2 == 0 => Some(key as u64 / 2),
                    _ => None,
                };
                assert_eq!(found.copied(), expected, "key {key}");
            }
            Err::<(), _>(tx.rollback())
        }).unwrap_err();
    }

    fn misuse_is_an_error_and_no_panic<P>(store) {
        let table = store.table::<u64, u64>("t").unwrap();
        assert_eq!(
            store.table::<u64, i64>("t").unwrap_err(),
            Error::TableType { table: "t".into() }
        );
        let read_only = store.view(|tx| tx.put(&table, 1, 1)).unwrap_err();
        assert_eq!(read_only, TransactionError::Error(Error::ReadOnly));
        let other = Store::builder().build_with::<P>().unwrap();
        let foreign = other.view(|tx| tx.get(&table, &1).map(|_| ())).unwrap_err();
        assert!(matches!(foreign, TransactionError::Error(Error::ForeignTable { .. })));
        let ended = store.transact(|tx| {
            let _ = tx.rollback();
            tx.put(&table, 1, 1)
        }).unwrap_err();
        assert_eq!(ended, TransactionError::Error(Error::Ended));
        // A table handle may outlive its store.
        drop(store);
        assert_eq!(table.name(), "t");
    }

    fn values_are_dropped_once<P>(store) {
        use std::sync::Arc;
        let token = Arc::new(());
        let table = store.table::<u64, Arc<()>>("t").unwrap();
        for round in 0..50u64 {
            store.transact(|tx| {
                for key in 0..20 {
                    tx.put(&table, key, Arc::clone(&token))?;
                    tx.put(&table, key, Arc::clone(&token))?;
                }
                tx.remove(&table, &(round % 20))?;
                Ok(())
            }).unwrap();
            let _ = store.transact(|tx| {
                tx.put(&table, 100 + round, Arc::clone(&token))?;
                Err::<(), _>(tx.rollback())
            });
        }
        drop(store);
        drop(table);
        assert_eq!(Arc::strong_count(&token), 1);
    }

    fn concurrent_increments_are_all_there<P>(store) {
        let table = store.table::<u64, u64>("t").unwrap();
        store.transact(|tx| tx.put(&table, 0, 0)).unwrap();
        const THREADS: u64 = 4;
        const EACH: u64 = 2_000;
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (store, table) = (&store, &table);
                scope.spawn(move || {
                    for round in 0..EACH {
                        store.transact(|tx| {
                            tx.update(table, &0, |count| count + 1)?;
                            // An insert each, so that the index grows under way.
                            tx.insert(table, 1 + thread * EACH + round, round)?;
                            Ok(())
                        }).unwrap();
                    }
                });
            }
        });
        store.view(|tx| {
            assert_eq!(tx.get(&table, &0)?, Some(&(THREADS * EACH)));
            for key in 1..=THREADS * EACH {
                assert!(tx.get(&table, &key)?.is_some(), "key {key} is missing");
            }
            Ok(())
        }).unwrap();
    }
}

#[test]
fn the_number_of_shards_is_checked() {
    for shards in [0, 65, usize::MAX] {
        let error = Store::builder().shards(shards).build().unwrap_err();
        assert_eq!(error, Error::ShardCount { asked: shards, max: 64 });
    }
}

#[test]
fn the_number_of_parts_of_ordered_tables_is_checked() {
    for parts in [0, 4, usize::MAX] {
        let error = Store::builder().shards(3).ordered_parts(parts).build().unwrap_err();
        assert_eq!(error, Error::PartCount { asked: parts, max: 3 });
        assert!(error.to_string().contains("1 to 3 parts"), "{error}");
    }
    assert!(Store::builder().shards(3).ordered_parts(3).build().is_ok());
}

#[test]
fn a_conflict_names_its_reason_its_table_and_its_key() {
    let store = Store::new();
    let table = store.table::<u64, u64>("accounts").unwrap();
    store.transact(|tx| tx.put(&table, 1, 0)).unwrap();
    let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
    one.update(&table, &1, |value| value + 1).unwrap();
    two.update(&table, &1, |value| value + 1).unwrap();
    one.commit().unwrap();
    let error = two.commit().unwrap_err();
    let abort = error.abort().unwrap();
    assert_eq!(abort.reason(), AbortReason::WriteConflict);
    assert_eq!(abort.table(), Some("accounts"));
    assert!(abort.key_hash().is_some());
    assert!(error.to_string().contains("write-conflict in table \"accounts\""), "{error}");
}

/// A key whose hash is legal and useless: every key goes to the same place.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Constant(u64);

impl std::hash::Hash for Constant {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        0u64.hash(state);
    }
}

#[test]
fn keys_that_all_collide_are_slow_and_right() {
    let store = Store::builder().shards(1).build().unwrap();
    let table = store.table::<Constant, u64>("t").unwrap();
    const KEYS: u64 = 3_000;
    for key in 0..KEYS {
        store.transact(|tx| tx.put(&table, Constant(key), key)).unwrap();
    }
    store
        .view(|tx| {
            assert_eq!(tx.get(&table, &Constant(KEYS))?, None);
            assert_eq!(tx.get(&table, &Constant(KEYS - 1))?, Some(&(KEYS - 1)));
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_put_inside_the_closure_of_an_update_loses_nothing() {
    let store = Store::new();
    let table = store.table::<u64, u64>("t").unwrap();
    store.transact(|tx| tx.put(&table, 1, 10)).unwrap();
    let tx = store.begin().unwrap();
    tx.update(&table, &1, |value| {
        tx.put(&table, 1, 0).unwrap();
        store.transact(|other| other.update(&table, &1, |value| value + 1000)).unwrap();
        value + 1
    })
    .unwrap();
    assert_eq!(tx.commit().unwrap_err().abort().unwrap().reason(), AbortReason::WriteConflict);
    assert_eq!(store.view(|tx| Ok(tx.get(&table, &1)?.copied())).unwrap(), Some(1010));
}

/// A value whose drop panics once the fuse is lit.
struct Fused(std::sync::Arc<std::sync::atomic::AtomicU64>);

impl Drop for Fused {
    fn drop(&mut self) {
        use std::sync::atomic::Ordering::Relaxed;
        if self.0.fetch_add(1, Relaxed) == FUSE {
            panic!("the fuse is lit");
        }
    }
}

const FUSE: u64 = 3;

#[test]
fn a_drop_that_panics_frees_nothing_twice_and_blocks_nobody() {
    let drops = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let store = Store::new();
    let table = store.table::<u64, Fused>("t").unwrap();
    let doomed = store.begin().unwrap();
    for key in 0..8 {
        doomed.put(&table, key, Fused(drops.clone())).unwrap();
    }
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(doomed)));
    assert!(panicked.is_err());
    assert!(drops.load(std::sync::atomic::Ordering::Relaxed) <= 8, "a value was dropped twice");
    // The worker is free again, and its next transaction starts clean.
    store.transact(|tx| tx.put(&table, 1, Fused(drops.clone()))).unwrap();
    assert!(store.view(|tx| Ok(tx.get(&table, &2)?.is_none())).unwrap());
}

#[test]
fn a_drop_that_panics_in_the_janitor_frees_nothing_twice() {
    let drops = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let store = Store::builder().shards(1).build().unwrap();
    let table = store.table::<u64, Fused>("t").unwrap();
    let (mut made, mut panics) = (0, 0);
    for round in 0..2_000 {
        // Overwritten for some time, then also removed, so that records are freed too.
        let removes = round > 200 && round % 2 == 0;
        let work = std::panic::AssertUnwindSafe(|| {
            store.transact(|tx| {
                (0..8).try_for_each(|key| match removes {
                    true => tx.remove(&table, &key).map(drop),
                    false => tx.put(&table, key, Fused(drops.clone())),
                })
            })
        });
        made += if removes { 0 } else { 8 };
        match std::panic::catch_unwind(work) {
            Ok(outcome) => outcome.unwrap(),
            Err(_) => panics += 1,
        }
    }
    assert_eq!(panics, 1, "the fuse is lit once");
    drop(store);
    drop(table);
    let dropped = drops.load(std::sync::atomic::Ordering::Relaxed);
    assert!(dropped <= made, "{dropped} of {made} values were dropped");
    assert!(dropped + 16 > made, "{dropped} of {made} values were dropped");
}

/// A key whose equality does what a test tells it to, on this thread.
#[derive(Debug, Clone, Hash)]
#[allow(clippy::derived_hash_with_manual_eq, reason = "equal keys are equal; this one looks on")]
struct Meddling(u64);

thread_local! {
    static MEDDLE: std::cell::Cell<Option<fn()>> = const { std::cell::Cell::new(None) };
}

impl PartialEq for Meddling {
    fn eq(&self, other: &Self) -> bool {
        if let Some(meddle) = MEDDLE.take() {
            meddle();
            // It would do so every time.
            MEDDLE.set(Some(meddle));
        }
        self.0 == other.0
    }
}

impl Eq for Meddling {}

/// The equality of keys is asked for by an insert's commit when another transaction has inserted
/// the key meanwhile. It panics; nothing of the commit is left, and nobody is blocked.
struct PanicsInCommit;

impl Visitor for PanicsInCommit {
    type Output = ();
    fn visit<P: Protocol>(self) {
        // One thread steps through two transactions.
        if P::PROGRESS == Progress::Blocking {
            return;
        }
        for shards in [1, 3] {
            let store = Store::builder().shards(shards).build_with::<P>().unwrap();
            let table = store.table::<Meddling, u64>("t").unwrap();
            let doomed = store.begin().unwrap();
            for key in 0..8 {
                doomed.put(&table, Meddling(key), 1).unwrap();
            }
            store.transact(|tx| tx.put(&table, Meddling(7), 2)).unwrap();
            MEDDLE.set(Some(|| panic!("no equality today")));
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| doomed.commit()));
            MEDDLE.set(None);
            // A protocol may have found out before it compared keys.
            assert!(!matches!(ended, Ok(Ok(()))), "{}", P::NAME);
            let seen = store.view(|tx| {
                (0..8).map(|key| Ok(tx.get(&table, &Meddling(key))?.copied())).collect()
            });
            let mut expected = vec![None; 8];
            expected[7] = Some(2);
            assert_eq!(seen, Ok(expected), "{}", P::NAME);
            store
                .transact(|tx| (0..8).try_for_each(|key| tx.put(&table, Meddling(key), 3)))
                .unwrap();
        }
    }
}

#[test]
fn an_equality_that_panics_inside_a_commit_leaves_nothing_of_it() {
    for name in protocol::NAMES {
        protocol::dispatch(name, PanicsInCommit).expect("a registered protocol");
    }
}

type Meddled = (Transaction<'static>, Table<Meddling, u64>);

thread_local! {
    /// The transaction that a key's equality comes back to, and what it was told.
    static OWN: std::cell::RefCell<Option<std::rc::Rc<Meddled>>> =
        const { std::cell::RefCell::new(None) };
    static TOLD: std::cell::RefCell<Vec<Result<(), TransactionError>>> =
        const { std::cell::RefCell::new(Vec::new()) };
}

#[test]
fn a_transaction_that_its_keys_come_back_to_is_busy() {
    fn come_back() {
        let (tx, table) = &*OWN.with_borrow(Clone::clone).expect("a transaction");
        let told = [
            tx.get(table, &Meddling(1)).map(|_| ()),
            tx.put(table, Meddling(2), 2),
            tx.update(table, &Meddling(1), |value| value + 1).map(|_| ()),
            tx.remove(table, &Meddling(1)).map(|_| ()),
        ];
        TOLD.with_borrow_mut(|all| all.extend(told));
    }
    // Never freed: thread-local values have no lifetime to borrow for.
    let store: &'static Store = Box::leak(Box::new(Store::new()));
    let table = store.table::<Meddling, u64>("t").unwrap();
    store.transact(|tx| tx.put(&table, Meddling(1), 10)).unwrap();
    let own = std::rc::Rc::new((store.begin().unwrap(), table.clone()));
    OWN.set(Some(own.clone()));
    MEDDLE.set(Some(come_back));
    let (tx, _) = &*own;
    assert_eq!(tx.get(&table, &Meddling(1)).unwrap(), Some(&10));
    assert!(tx.update(&table, &Meddling(1), |value| value + 5).unwrap());
    assert_eq!(tx.get(&table, &Meddling(1)).unwrap(), Some(&15));
    MEDDLE.set(None);
    OWN.set(None);
    let told = TOLD.take();
    assert!(told.len() >= 12, "the keys were never compared");
    for answer in told {
        assert_eq!(answer, Err(TransactionError::Error(Error::Busy)));
    }
    let (tx, _) = std::rc::Rc::into_inner(own).expect("the last one");
    tx.commit().unwrap();
    assert_eq!(store.view(|tx| Ok(tx.get(&table, &Meddling(1))?.copied())).unwrap(), Some(15));
}
