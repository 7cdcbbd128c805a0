//! Ordered tables: what ranges show, against a model, and that nothing slips into them.

#[macro_use]
mod common;
#[path = "common/random.rs"]
mod random;

use chronolith::protocol::{self, Protocol, Ranges, Visitor};
use chronolith::{Error, OrderedKey, OrderedTable, Store, Transaction, TransactionError};
use random::Random;
use std::collections::BTreeMap;
use std::ops::Bound;

type Numbers<P> = OrderedTable<u64, u64, P>;

/// The entries of a range.
fn all<'t, K: Copy + 't, V: Copy + 't>(
    entries: impl Iterator<Item = Result<(&'t K, &'t V), TransactionError>>,
) -> Result<Vec<(K, V)>, TransactionError> {
    entries.map(|entry| entry.map(|(key, value)| (*key, *value))).collect()
}

fn fill<P: Protocol>(store: &Store<P>, table: &Numbers<P>, keys: impl Iterator<Item = u64>) {
    for key in keys {
        store.transact(|tx| tx.put(table, key, key * 10)).unwrap();
    }
}

for_each_protocol! {
    fn a_range_shows_what_lies_within_its_bounds<P>(store) {
        if P::RANGES == Ranges::Unsupported {
            continue;
        }
        let table: Numbers<P> = store.ordered_table("t").unwrap();
        fill(&store, &table, (0..500).map(|key| (key * 7919) % 500 * 2));
        store.view(|tx| {
            let keys = |low, high| -> Result<Vec<u64>, TransactionError> {
                let entries = all(tx.range(&table, (low, high))?)?;
                let mut reversed = all(tx.range_rev(&table, (low, high))?)?;
                reversed.reverse();
                assert_eq!(entries, reversed);
                Ok(entries.into_iter().map(|(key, _)| key).collect())
            };
            let expected = |from: u64, to: u64| {
                (from..to).filter(|key| key % 2 == 0).collect::<Vec<_>>()
            };
            assert_eq!(keys(Bound::Unbounded, Bound::Unbounded)?, expected(0, 1000));
            assert_eq!(keys(Bound::Included(&10), Bound::Excluded(&20))?, expected(10, 20));
            assert_eq!(keys(Bound::Excluded(&10), Bound::Included(&20))?, expected(12, 21));
            assert_eq!(keys(Bound::Included(&11), Bound::Included(&19))?, expected(12, 19));
            assert_eq!(keys(Bound::Included(&990), Bound::Unbounded)?, expected(990, 1000));
            assert_eq!(keys(Bound::Unbounded, Bound::Excluded(&1))?, expected(0, 1));
            assert!(keys(Bound::Included(&20), Bound::Excluded(&20))?.is_empty());
            assert!(keys(Bound::Included(&30), Bound::Included(&20))?.is_empty());
            assert!(keys(Bound::Excluded(&20), Bound::Excluded(&21))?.is_empty());
            let three = all(tx.range(&table, 100..)?.take(3))?;
            assert_eq!(three, [(100, 1000), (102, 1020), (104, 1040)]);
            assert_eq!(tx.first(&table)?, Some((&0, &0)));
            assert_eq!(tx.last(&table)?, Some((&998, &9980)));
            Ok(())
        }).unwrap();
    }

    fn a_range_shows_the_transactions_own_writes<P>(store) {
        if P::RANGES == Ranges::Unsupported {
            continue;
        }
        let table: Numbers<P> = store.ordered_table("t").unwrap();
        fill(&store, &table, (0..20).map(|key| key * 2));
        let outcome = store.transact(|tx| {
            tx.put(&table, 5, 55)?;
            tx.put(&table, 6, 66)?;
            assert!(tx.remove(&table, &8)?);
            assert!(tx.update(&table, &10, |value| value + 1)?);
            assert!(tx.insert(&table, 100, 1)?);
            let entries = all(tx.range(&table, 4..=12)?)?;
            assert_eq!(entries, [(4, 40), (5, 55), (6, 66), (10, 101), (12, 120)]);
            let reversed = all(tx.range_rev(&table, 4..=12)?)?;
            assert_eq!(reversed, [(12, 120), (10, 101), (6, 66), (5, 55), (4, 40)]);
            assert_eq!(tx.last(&table)?, Some((&100, &1)));
            let mut while_it_runs = tx.range(&table, 30..)?;
            assert_eq!(while_it_runs.next().transpose()?, Some((&30, &300)));
            tx.put(&table, 31, 1)?;
            assert_eq!(while_it_runs.next().transpose()?, Some((&32, &320)));
            drop(while_it_runs);
            Err::<(), _>(tx.rollback())
        });
        outcome.unwrap_err();
        let entries = store.view(|tx| all(tx.range(&table, 4..=12)?)).unwrap();
        assert_eq!(entries, [(4, 40), (6, 60), (8, 80), (10, 100), (12, 120)]);
    }

    fn byte_strings_have_prefixes<P>(store) {
        if P::RANGES == Ranges::Unsupported {
            continue;
        }
        let table: OrderedTable<[u8], u64, P> = store.ordered_table("t").unwrap();
        let names: [&[u8]; 8] =
            [b"", b"a", b"ab", b"abc", b"abcdefghijk", b"abcdefghijl", b"b", b"\xff\xff"];
        store.transact(|tx| {
            names.iter().zip(0..).try_for_each(|(name, number)| tx.put(&table, name, number))
        }).unwrap();
        let with = |prefix: &[u8]| {
            store.view(|tx| {
                tx.prefix(&table, prefix)?
                    .map(|entry| entry.map(|(key, value)| (key.to_vec(), *value)))
                    .collect::<Result<Vec<_>, _>>()
            }).unwrap()
        };
        let expected = |from: usize, to: usize| {
            (from..to).map(|at| (names[at].to_vec(), at as u64)).collect::<Vec<_>>()
        };
        assert_eq!(with(b""), expected(0, 8));
        assert_eq!(with(b"a"), expected(1, 6));
        assert_eq!(with(b"abcdefghij"), expected(4, 6));
        assert_eq!(with(b"\xff"), expected(7, 8));
        assert!(with(b"zz").is_empty());
    }

    fn what_a_table_cannot_do_is_an_error<P>(store) {
        if P::RANGES == Ranges::Unsupported {
            continue;
        }
        let plain = store.table::<u64, u64>("plain").unwrap();
        let ordered: Numbers<P> = store.ordered_table("ordered").unwrap();
        let error = store.ordered_table::<u64, u64>("plain").unwrap_err();
        assert_eq!(error, Error::TableType { table: "plain".to_string() });
        assert_eq!(store.table::<u64, u64>("ordered").unwrap().name(), ordered.name());
        drop(plain);
        let other = Store::builder().build_with::<P>().unwrap();
        let foreign: Numbers<P> = other.ordered_table("ordered").unwrap();
        let error = store.view(|tx| tx.range(&foreign, ..).map(|_| ())).unwrap_err();
        assert_eq!(error, Error::ForeignTable { table: "ordered".to_string() }.into());
    }

    fn ranges_agree_with_a_model<P>(store) {
        if P::RANGES == Ranges::Unsupported {
            continue;
        }
        let table: Numbers<P> = store.ordered_table("t").unwrap();
        let mut model = BTreeMap::new();
        let mut random = Random::new(random::seed(), 0);
        for round in 0..600 {
            let before = model.clone();
            let rolled_back = random.below(5) == 0;
            let outcome = store.transact(|tx| {
                // A lone transaction may have to be tried again, when a record has gone out of use.
                model = before.clone();
                for _ in 0..random.below(12) {
                    let (key, value) = (random.below(200), random.below(1000));
                    match random.below(4) {
                        0 | 1 => {
                            tx.put(&table, key, value)?;
                            model.insert(key, value);
                        }
                        2 => assert_eq!(tx.remove(&table, &key)?, model.remove(&key).is_some()),
                        _ => {
                            let (low, high) = (key, key + random.below(60));
                            let expected: Vec<_> =
                                model.range(low..high).map(|(key, value)| (*key, *value)).collect();
                            let found = all(tx.range(&table, low..high)?)?;
                            assert_eq!(found, expected, "round {round}");
                            let (some, more) = (random.below(40), random.below(40));
                            let (some, more) = (some as usize, more as usize);
                            let mut range = tx.range(&table, low..high)?;
                            let mut found = all(range.by_ref().take(some))?;
                            found.extend(all(range.limit(more))?);
                            let most = expected.len().min(some + more);
                            assert_eq!(found, expected[..most], "{some} and {more}");
                            let expected: Vec<_> = expected.into_iter().rev().take(some).collect();
                            let reversed = tx.range_rev(&table, low..high)?.limit(some);
                            assert_eq!(all(reversed)?, expected);
                        }
                    }
                }
                if rolled_back { Err(tx.rollback()) } else { Ok(()) }
            });
            assert_eq!(outcome.is_err(), rolled_back);
            if rolled_back {
                model = before;
            }
        }
        let expected: Vec<_> = model.into_iter().collect();
        assert_eq!(store.view(|tx| all(tx.range(&table, ..)?)).unwrap(), expected);
    }

    /// Each transaction counts a range and inserts into it, so that every count is different; half
    /// of the keys are removed again by others.
    fn no_key_slips_into_a_range_that_was_counted<P>(store) {
        if P::RANGES == Ranges::Unsupported {
            continue;
        }
        const THREADS: u64 = 4;
        const ROUNDS: u64 = 200;
        let table: Numbers<P> = store.ordered_table("t").unwrap();
        let tickets = store.table::<u64, u64>("tickets").unwrap();
        let serializable = P::ISOLATION == protocol::Isolation::Serializable;
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (store, table, tickets) = (&store, &table, &tickets);
                scope.spawn(move || {
                    let mut random = Random::new(random::seed(), thread);
                    for round in 0..ROUNDS {
                        let key = random.below(1 << 32) << 16 | thread << 8 | (round % 256);
                        store.transact(|tx| {
                            let count = tx.range(table, ..)?.try_fold(0, |count, entry| {
                                entry.map(|_| count + 1)
                            })?;
                            random.maybe_yield();
                            tx.put(table, key, count)?;
                            tx.put(tickets, key, count)
                        }).unwrap();
                    }
                });
            }
        });
        let entries = store.view(|tx| all(tx.range(&table, ..)?)).unwrap();
        let mut counts: Vec<u64> = entries.into_iter().map(|entry| entry.1).collect();
        assert_eq!(counts.len() as u64, THREADS * ROUNDS);
        counts.sort_unstable();
        let expected: Vec<u64> = (0..THREADS * ROUNDS).collect();
        assert!(!serializable || counts == expected, "two transactions counted the same range");
    }

    /// Orders with their lines, numbered by a counter that everybody wants: whoever loses the race
    /// for a number has inserted some of its keys already.
    fn an_order_is_never_seen_without_all_its_lines<P>(store) {
        if P::RANGES == Ranges::Unsupported {
            continue;
        }
        const LINES: u64 = 6;
        const ORDERS: u64 = 150;
        let lines: Numbers<P> = store.ordered_table("lines").unwrap();
        let counter = store.table::<u64, u64>("counter").unwrap();
        store.transact(|tx| tx.put(&counter, 0, 0)).unwrap();
        let placed = std::sync::atomic::AtomicU64::new(0);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (store, lines, counter, placed) = (&store, &lines, &counter, &placed);
                scope.spawn(move || {
                    let mut random = Random::new(random::seed(), thread);
                    for _ in 0..ORDERS {
                        store.transact(|tx| {
                            let number = tx.get(counter, &0)?.copied().unwrap_or(0);
                            for line in 0..LINES {
                                random.maybe_yield();
                                tx.put(lines, number * LINES + line, number)?;
                            }
                            tx.put(counter, 0, number + 1)
                        }).unwrap();
                        placed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    }
                });
            }
            let orders = 4 * ORDERS;
            while placed.load(std::sync::atomic::Ordering::Relaxed) < orders {
                let (number, count) = store.view(|tx| {
                    let number = tx.get(&counter, &0)?.copied().unwrap_or(0);
                    let from = number.saturating_sub(20) * LINES;
                    Ok((number.min(20), all(tx.range(&lines, from..number * LINES)?)?.len()))
                }).unwrap();
                assert_eq!(count as u64, number * LINES, "{}", P::NAME);
            }
        });
    }

    fn keys_come_and_go_while_others_walk<P>(store) {
        if P::RANGES == Ranges::Unsupported {
            continue;
        }
        let table: Numbers<P> = store.ordered_table("t").unwrap();
        // Even keys stay; odd ones come and go.
        fill(&store, &table, (0..1000).map(|key| key * 2));
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let walker = scope.spawn(|| {
                let mut walks = 0;
                while walks < 20 || !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let entries = store.view(|tx| all(tx.range(&table, 500..700)?)).unwrap();
                    assert!(entries.windows(2).all(|pair| pair[0].0 < pair[1].0), "out of order");
                    let even: Vec<u64> =
                        entries.iter().map(|&(key, _)| key).filter(|key| key % 2 == 0).collect();
                    assert_eq!(even, (500..700).step_by(2).collect::<Vec<u64>>());
                    walks += 1;
                }
            });
            for round in 0..2000u64 {
                let key = round * 7919 % 1000 * 2 + 1;
                store.transact(|tx| tx.insert(&table, key, round)).unwrap();
                if round >= 100 {
                    let gone = (round - 100) * 7919 % 1000 * 2 + 1;
                    store.transact(|tx| tx.remove(&table, &gone)).unwrap();
                }
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            walker.join().unwrap();
        });
    }
}

/// Whether a transaction committed.
fn commits<P: Protocol>(tx: Transaction<'_, P>) -> bool {
    match tx.commit() {
        Ok(()) => true,
        Err(TransactionError::Abort(_)) => false,
        Err(TransactionError::Error(error)) => panic!("{error}"),
    }
}

/// With one shard, neighbours lie in one leaf, so it is the bounds of what was taken that decide.
#[test]
fn a_transaction_depends_on_no_more_of_a_range_than_it_took() {
    let filled = || {
        let store = Store::builder().shards(1).build().unwrap();
        let table = store.ordered_table::<u64, u64>("t").unwrap();
        fill(&store, &table, (0..1000).map(|key| key * 2));
        (store, table)
    };
    let after = |count: usize, limit: usize, reversed: bool, inserted: u64| {
        let (store, table) = filled();
        let tx = store.begin().unwrap();
        let seen = if reversed {
            all(tx.range_rev(&table, ..=1000).unwrap().limit(limit).take(count))
        } else {
            all(tx.range(&table, 1000..).unwrap().limit(limit).take(count))
        };
        assert_eq!(seen.unwrap().len(), count);
        tx.put(&table, 5000, 1).unwrap();
        store.transact(|tx| tx.put(&table, inserted, 0)).unwrap();
        commits(tx)
    };
    for count in [2, 20] {
        for limit in [count, usize::MAX] {
            let last = 2 * (count as u64 - 1);
            assert!(after(count, limit, false, 1000 + last + 1), "behind the last of {count}");
            assert!(!after(count, limit, false, 1000 + last - 1), "a phantom among {count}");
            assert!(after(count, limit, true, 1000 - last - 1), "below the last of {count}");
            assert!(!after(count, limit, true, 1000 - last + 1), "a phantom among {count}");
        }
    }
    let (store, table) = filled();
    let tx = store.begin().unwrap();
    assert_eq!(all(tx.range(&table, 100..).unwrap().limit(2)).unwrap().len(), 2);
    tx.put(&table, 5000, 1).unwrap();
    store.transact(|tx| tx.put(&table, 104, 0)).unwrap();
    assert!(commits(tx), "a limited range reads nothing behind its end");
}

thread_local! {
    /// After how many comparisons the order of [`Unsteady`] panics; 0 for never.
    static COMPARISONS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

/// A key whose order panics when it is told to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Unsteady(u64);

impl PartialOrd for Unsteady {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Unsteady {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let left = COMPARISONS.get();
        COMPARISONS.set(left.saturating_sub(1));
        if left == 1 {
            // Without the message of a panic.
            std::panic::resume_unwind(Box::new("told to"));
        }
        self.0.cmp(&other.0)
    }
}

impl OrderedKey for Unsteady {}

#[test]
fn a_range_whose_order_panics_has_ended() {
    let store = Store::builder().shards(2).ordered_parts(2).build().unwrap();
    let table = store.ordered_table::<Unsteady, u64>("t").unwrap();
    for key in 0..100 {
        store.transact(|tx| tx.put(&table, Unsteady(key), key)).unwrap();
    }
    let mut panics = 0;
    for after in 1..400 {
        let tx = store.begin_view().unwrap();
        let mut range = tx.range(&table, Unsteady(10)..).unwrap();
        let mut next = 10;
        COMPARISONS.set(after);
        let walked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for entry in range.by_ref() {
                assert_eq!(entry.unwrap(), (&Unsteady(next), &next));
                next += 1;
            }
        }));
        COMPARISONS.set(0);
        panics += u32::from(walked.is_err());
        assert!(walked.is_err() || next == 100);
        // What was found before may still come, but nothing is looked for any more.
        for entry in range {
            assert_eq!(entry.unwrap(), (&Unsteady(next), &next));
            next += 1;
        }
    }
    assert!(panics > 50, "{panics} panics: the order was not asked often");
}

#[test]
fn a_view_of_a_range_is_one_snapshot() {
    let store = Store::new();
    let table = store.ordered_table::<u64, u64>("t").unwrap();
    fill(&store, &table, 0..100);
    let view = store.begin_view().unwrap();
    let mut entries = view.range(&table, ..).unwrap();
    assert_eq!(entries.next().unwrap().unwrap(), (&0, &0));
    store
        .transact(|tx| {
            (0..100).try_for_each(|key| tx.remove(&table, &key).map(|_| ()))?;
            (100..200).try_for_each(|key| tx.put(&table, key, 0))
        })
        .unwrap();
    for _ in 0..2_000 {
        store.transact(|tx| tx.put(&table, 150, 1)).unwrap();
    }
    let rest = all(entries).unwrap();
    assert_eq!(rest, (1..100).map(|key| (key, key * 10)).collect::<Vec<_>>());
}
