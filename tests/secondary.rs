//! Secondary indexes: what is found through them, what is refused, and what a failure leaves. With
//! the default protocol; `secondary_model.rs` holds every protocol to what matters most.

#[macro_use]
mod common;
#[allow(dead_code, reason = "the other suite uses the rest")]
#[path = "common/indexed.rs"]
mod indexed;

use chronolith::{Error, Store, TransactionError};
use indexed::{Found, Indexed, Row, keys, not_unique, row};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

on_each_shard_count! {
    fn rows_are_found_by_their_index_keys(store) {
        let Indexed { rows, by_city, by_badge } = Indexed::new(&store);
        store.transact(|tx| {
            (0..60).try_for_each(|key| tx.put(&rows, key, row(key % 6, 1000 - key, key)))?;
            let outside = Row { city: None, badge: None, load: 0 };
            tx.put(&rows, 100, outside.clone())?;
            tx.put(&rows, 101, outside)
        }).unwrap();
        assert_eq!((by_city.name(), by_badge.name()), ("rows.by_city", "rows.by_badge"));
        store.view(|tx| {
            let expected = |from: u64, to: u64| -> Vec<(u64, u64)> {
                (from..to).flat_map(|city| (0..10).map(move |n| (city, n * 6 + city))).collect()
            };
            let between = |low, high| -> Found<u64, u64> {
                let found = keys(tx.range_by(&by_city, (low, high))?)?;
                let mut reversed = keys(tx.range_by_rev(&by_city, (low, high))?)?;
                reversed.reverse();
                assert_eq!(found, reversed);
                Ok(found)
            };
            use Bound::{Excluded, Included, Unbounded};
            assert_eq!(between(Unbounded, Unbounded)?, expected(0, 6));
            assert_eq!(between(Included(2), Excluded(4))?, expected(2, 4));
            assert_eq!(between(Excluded(2), Included(4))?, expected(3, 5));
            assert_eq!(between(Excluded(4), Unbounded)?, expected(5, 6));
            assert!(between(Excluded(2), Excluded(3))?.is_empty());
            assert!(between(Included(4), Excluded(4))?.is_empty());
            assert!(between(Included(4), Included(3))?.is_empty());
            assert_eq!(keys(tx.find(&by_city, &3)?)?, expected(3, 4));
            assert_eq!(keys(tx.range_by(&by_city, 3..)?.take(2))?, [(3, 3), (3, 9)]);
            let all = expected(3, 6);
            for count in [0, 1, 2, 12, 29, 30, 31] {
                let most = count.min(all.len());
                assert_eq!(keys(tx.range_by(&by_city, 3..)?.limit(count))?, all[..most]);
                let mut reversed = keys(tx.range_by_rev(&by_city, 3..)?.limit(count))?;
                reversed.reverse();
                assert_eq!(reversed, all[all.len() - most..]);
                let mut range = tx.range_by(&by_city, 3..)?;
                let first = keys(range.by_ref().take(5))?;
                let found = [first, keys(range.limit(count))?].concat();
                assert_eq!(found, all[..(5 + count).min(all.len())]);
            }
            assert_eq!(keys(tx.find(&by_badge, &999)?)?, [(999, 1)]);
            assert_eq!(keys(tx.range_by(&by_badge, ..943)?)?, [(941, 59), (942, 58)]);
            let last = tx.range_by_rev(&by_badge, (Excluded(940), Excluded(942)))?;
            assert_eq!(keys(last)?, [(941, 59)]);
            assert_eq!(tx.find_one(&by_badge, &990)?, Some((&10, &row(4, 990, 10))));
            assert_eq!(tx.find_one(&by_badge, &1001)?, None);
            Ok(())
        }).unwrap();
    }

    fn a_transaction_finds_its_own_writes(store) {
        let Indexed { rows, by_city, by_badge } = Indexed::new(&store);
        store.transact(|tx| {
            (0..4).try_for_each(|key| tx.put(&rows, key, row(key, key, 0)))
        }).unwrap();
        store.transact(|tx| {
            // A put twice, a row that moves, one that goes and comes, and one that only comes by.
            tx.put(&rows, 0, row(7, 70, 0))?;
            tx.put(&rows, 0, row(8, 80, 0))?;
            assert!(tx.update(&rows, &1, |old| Row { city: Some(8), ..old.clone() })?);
            assert!(tx.remove(&rows, &2)? && tx.insert(&rows, 2, row(2, 20, 0))?);
            assert!(tx.insert(&rows, 9, row(9, 9, 0))? && tx.remove(&rows, &9)?);
            assert!(!tx.insert(&rows, 3, row(9, 9, 0))? && !tx.remove(&rows, &9)?);
            assert_eq!(keys(tx.range_by(&by_city, ..)?)?, [(2, 2), (3, 3), (8, 0), (8, 1)]);
            assert_eq!(keys(tx.range_by(&by_badge, ..)?)?, [(1, 1), (3, 3), (20, 2), (80, 0)]);
            // What a row becomes or whether it goes while a range is walked shows.
            let mut walk = tx.range_by(&by_city, 3..)?;
            tx.remove(&rows, &3)?;
            tx.update(&rows, &0, |old| Row { load: 5, ..old.clone() })?;
            assert_eq!(walk.next().transpose()?, Some((&8, &0, &row(8, 80, 5))));
            drop(walk);
            // One that goes counts to a limit, but it does not show.
            let walk = tx.range_by(&by_city, ..)?.limit(2);
            tx.remove(&rows, &2)?;
            assert_eq!(keys(walk)?, [(8, 0)]);
            Err::<(), _>(tx.rollback())
        }).unwrap_err();
        store.view(|tx| {
            let all = [(0, 0), (1, 1), (2, 2), (3, 3)];
            assert_eq!(keys(tx.range_by(&by_city, ..)?)?, all);
            assert_eq!(keys(tx.range_by(&by_badge, ..)?)?, all);
            Ok(())
        }).unwrap();
    }

    fn a_second_row_with_a_unique_key_is_refused(store) {
        let Indexed { rows, by_city, by_badge } = Indexed::new(&store);
        store.transact(|tx| {
            (1..4).try_for_each(|key| tx.put(&rows, key, row(1, key, 0)))
        }).unwrap();
        // The index is the table's: no handle is needed to keep it.
        drop(by_badge.clone());
        store.transact(|tx| {
            assert_eq!(tx.insert(&rows, 5, row(2, 1, 0)), Err(not_unique()));
            assert_eq!(tx.put(&rows, 5, row(2, 1, 0)), Err(not_unique()));
            assert_eq!(tx.put(&rows, 2, row(2, 1, 0)), Err(not_unique()));
            let moved = tx.update(&rows, &2, |old| Row { badge: Some(3), ..old.clone() });
            assert_eq!(moved, Err(not_unique()));
            // Nothing has happened, and the transaction goes on: two rows swap their keys.
            assert_eq!(tx.get(&rows, &5)?, None);
            assert_eq!(keys(tx.range_by(&by_city, ..)?)?, [(1, 1), (1, 2), (1, 3)]);
            tx.remove(&rows, &1)?;
            tx.put(&rows, 2, row(1, 1, 0))?;
            tx.put(&rows, 1, row(1, 2, 0))?;
            assert_eq!(tx.put(&rows, 5, row(2, 1, 0)), Err(not_unique()));
            Ok(())
        }).unwrap();
        let outcome = store.transact(|tx| tx.put(&rows, 9, row(1, 2, 0)));
        assert_eq!(outcome, Err(not_unique()));
        let line = outcome.unwrap_err().to_string();
        assert_eq!(line, "unique index \"rows.by_badge\" has another row with this key");
        store.view(|tx| {
            assert_eq!(keys(tx.range_by(&by_badge, ..)?)?, [(1, 2), (2, 1), (3, 3)]);
            assert_eq!(keys(tx.range_by(&by_city, ..)?)?, [(1, 1), (1, 2), (1, 3)]);
            Ok(())
        }).unwrap();
    }

    fn what_cannot_be_declared_is_an_error(store) {
        let rows = store.table::<u64, u64>("rows").unwrap();
        let declare = |name: &str| store.index(&rows, name, |value: &u64| *value).map(|_| ());
        let named = |index: &str| index.to_string();
        store.table::<u64, u64>("rows.taken").unwrap();
        assert_eq!(declare("taken"), Err(Error::IndexExists { index: named("rows.taken") }));
        declare("a").unwrap();
        assert_eq!(declare("a"), Err(Error::IndexExists { index: named("rows.a") }));
        // Its entries are no table of the program's.
        let error = store.ordered_table::<u64, u64>("rows.a").unwrap_err();
        assert_eq!(error, Error::TableType { table: named("rows.a") });
        declare("b").unwrap();
        let tx = store.begin().unwrap();
        tx.put(&rows, 1, 1).unwrap();
        assert_eq!(declare("c"), Err(Error::IndexTooLate { index: named("rows.c") }));
        drop(tx);
        // The first write decides, whatever becomes of it.
        assert_eq!(declare("c"), Err(Error::IndexTooLate { index: named("rows.c") }));
        assert_eq!(declare("a"), Err(Error::IndexExists { index: named("rows.a") }));
        let other = Store::new();
        let foreign = other.table::<u64, u64>("rows").unwrap();
        let error = store.index(&foreign, "d", |value: &u64| *value).unwrap_err();
        assert_eq!(error, Error::ForeignTable { table: named("rows") });
        let index = other.index(&foreign, "d", |value: &u64| *value).unwrap();
        let error = store.view(|tx| tx.range_by(&index, ..).map(|_| ())).unwrap_err();
        assert_eq!(error, Error::ForeignTable { table: named("rows.d") }.into());
        let read_only = other.view(|tx| tx.put(&foreign, 1, 1)).unwrap_err();
        assert_eq!(read_only, Error::ReadOnly.into());
    }

    fn a_row_that_keeps_its_index_key_leaves_the_index_alone(store) {
        let Indexed { rows, .. } = Indexed::new(&store);
        store.transact(|tx| tx.put(&rows, 1, row(1, 1, 0))).unwrap();
        let tx = store.begin().unwrap();
        let made = |work: &dyn Fn()| {
            let before = store.stats().versions_live;
            work();
            store.stats().versions_live - before
        };
        let put = |row: Row| made(&|| tx.put(&rows, 1, row.clone()).unwrap());
        assert_eq!(put(row(1, 1, 5)), 1);
        assert_eq!(made(&|| assert!(tx.update(&rows, &1, |old| old.clone()).unwrap())), 1);
        // The row, an entry that comes, and a tombstone for the one that goes.
        assert_eq!(put(row(2, 1, 5)), 3);
        assert_eq!(put(Row { badge: None, ..row(2, 1, 5) }), 2);
        assert_eq!(put(Row { badge: None, ..row(2, 1, 6) }), 1);
        tx.commit().unwrap();
    }

    fn strings_are_keys_and_values(store) {
        let words = store.ordered_table::<str, [u8]>("words").unwrap();
        let by_first = store.index(&words, "first", |word| {
            word.first().map(|&first| char::from(first).to_string())
        }).unwrap();
        let by_text = store.unique_index(&words, "text", <[u8]>::to_vec).unwrap();
        store.transact(|tx| {
            let all = [("c", "beta"), ("a", "beam"), ("b", "alpha"), ("d", "")];
            all.into_iter().try_for_each(|(key, word)| tx.put(&words, key, word.as_bytes()))
        }).unwrap();
        let mut buffer = Vec::new();
        store.transact(|tx| {
            let raise = |old: &[u8], new: &mut Vec<u8>| new.extend(old.iter().map(|byte| byte + 1));
            assert!(tx.update_bytes(&words, "b", &mut buffer, raise)?);
            assert!(tx.update_bytes(&words, "d", &mut buffer, |_, new| new.push(b'z'))?);
            Ok(())
        }).unwrap();
        store.view(|tx| {
            let found = keys(tx.find(&by_first, "b")?)?;
            let [a, b, c] = ["a", "b", "c"].map(|key| ("b".to_string(), key.to_string()));
            assert_eq!(found, [a, b, c]);
            assert_eq!(tx.range_by(&by_first, "c".to_string()..)?.count(), 1);
            let found = tx.find_one(&by_text, b"bmqib".as_slice())?;
            assert_eq!(found, Some(("b", b"bmqib".as_slice())));
            assert_eq!(tx.find_one(&by_text, b"alpha".as_slice())?, None);
            Ok(())
        }).unwrap();
    }

    fn a_function_that_panics_has_written_nothing(store) {
        let rows = store.table::<u64, u64>("rows").unwrap();
        let halves = store.index(&rows, "halves", |value: &u64| value / 2).unwrap();
        let explosive = |value: &u64| if *value == 13 { panic!("no key") } else { *value };
        let same = store.unique_index(&rows, "same", explosive).unwrap();
        let tx = store.begin().unwrap();
        tx.put(&rows, 1, 10).unwrap();
        let panics: [&dyn Fn(); 3] = [
            &|| drop(tx.put(&rows, 1, 13)),
            &|| drop(tx.insert(&rows, 2, 13)),
            &|| drop(tx.update(&rows, &1, |_| 13)),
        ];
        for panics in panics {
            catch_unwind(AssertUnwindSafe(panics)).unwrap_err();
        }
        tx.put(&rows, 3, 30).unwrap();
        tx.commit().unwrap();
        let doomed = store.begin().unwrap();
        catch_unwind(AssertUnwindSafe(|| doomed.put(&rows, 1, 13))).unwrap_err();
        drop(doomed);
        store.view(|tx| {
            assert_eq!(keys(tx.range_by(&halves, ..)?)?, [(5, 1), (15, 3)]);
            assert_eq!(keys(tx.range_by(&same, ..)?)?, [(10, 1), (30, 3)]);
            assert_eq!(tx.get(&rows, &2)?, None);
            Ok(())
        }).unwrap();
    }

    fn a_function_that_changes_its_mind_commits_nothing(store) {
        let rows = store.table::<u64, u64>("rows").unwrap();
        let mind = std::sync::Arc::new(AtomicU64::new(0));
        let changed = std::sync::Arc::clone(&mind);
        let key = move |value: &u64| value + changed.load(Ordering::Relaxed);
        let index = store.index(&rows, "i", key).unwrap();
        store.transact(|tx| tx.put(&rows, 1, 1)).unwrap();
        mind.store(100, Ordering::Relaxed);
        let error = Error::IndexFunction { index: "rows.i".to_string() };
        assert_eq!(store.transact(|tx| tx.put(&rows, 1, 2)), Err(error.clone().into()));
        assert_eq!(store.transact(|tx| tx.remove(&rows, &1)), Err(error.clone().into()));
        // Whoever does not listen cannot go on.
        let tx = store.begin().unwrap();
        assert_eq!(tx.put(&rows, 1, 2), Err(error.into()));
        assert_eq!(tx.put(&rows, 5, 5), Err(Error::Ended.into()));
        assert_eq!(tx.commit(), Err(Error::Ended.into()));
        store.view(|tx| {
            assert_eq!(keys(tx.range_by(&index, ..)?)?, [(1, 1)]);
            assert_eq!(tx.get(&rows, &1)?, Some(&1));
            Ok(())
        }).unwrap();
    }

    /// Whether it comes before or behind the first write, an index has all rows or does not exist.
    fn an_index_is_declared_before_the_first_write_or_not_at_all(store) {
        for round in 0..40 {
            let rows = store.table::<u64, u64>(&format!("rows{round}")).unwrap();
            let begin = std::sync::Barrier::new(3);
            let declared = std::thread::scope(|scope| {
                for thread in 0..2 {
                    let (store, rows, begin) = (&store, &rows, &begin);
                    scope.spawn(move || {
                        begin.wait();
                        for key in 0..5 {
                            store.transact(|tx| tx.put(rows, key * 2 + thread, key)).unwrap();
                        }
                    });
                }
                begin.wait();
                (0..round % 8).for_each(|_| std::thread::yield_now());
                store.index(&rows, "i", |value: &u64| *value)
            });
            match declared {
                Ok(index) => {
                    let found = store.view(|tx| keys(tx.range_by(&index, ..)?)).unwrap();
                    assert_eq!(found, (0..10).map(|key| (key / 2, key)).collect::<Vec<_>>());
                }
                Err(error) => assert!(matches!(error, Error::IndexTooLate { .. }), "{error}"),
            }
        }
    }
}

type Meddled = (chronolith::Transaction<'static>, chronolith::Table<u64, u64>);

thread_local! {
    /// The transaction that the function of an index comes back to, and what it was told.
    static OWN: std::cell::RefCell<Option<std::rc::Rc<Meddled>>> =
        const { std::cell::RefCell::new(None) };
    static TOLD: std::cell::RefCell<Vec<Result<(), TransactionError>>> =
        const { std::cell::RefCell::new(Vec::new()) };
}

#[test]
fn a_transaction_that_the_function_of_an_index_comes_back_to_is_busy() {
    // Never freed: thread-local values have no lifetime to borrow for.
    let store: &'static Store = Box::leak(Box::new(Store::new()));
    let rows = store.table::<u64, u64>("rows").unwrap();
    let index = store.index(&rows, "i", |value: &u64| {
        if let Some(own) = OWN.with_borrow(Clone::clone) {
            let (tx, rows) = &*own;
            let told = [tx.put(rows, 2, 2), tx.get(rows, &1).map(|_| ())];
            TOLD.with_borrow_mut(|all| all.extend(told));
        }
        *value
    });
    let own = std::rc::Rc::new((store.begin().unwrap(), rows.clone()));
    OWN.set(Some(own.clone()));
    own.0.put(&rows, 1, 1).unwrap();
    OWN.set(None);
    let busy = Err(Error::Busy.into());
    assert_eq!(TOLD.take(), [busy.clone(), busy]);
    let (tx, _) = std::rc::Rc::into_inner(own).expect("the last one");
    tx.commit().unwrap();
    let found = store.view(|tx| keys(tx.range_by(index.as_ref().unwrap(), ..)?)).unwrap();
    assert_eq!(found, [(1, 1)]);
}
