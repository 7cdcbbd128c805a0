//! Secondary indexes against a map, and under threads: at every moment an index is what its table
//! is.

#[macro_use]
mod common;
#[allow(dead_code, reason = "the other suite uses the rest")]
#[path = "common/indexed.rs"]
mod indexed;
#[path = "common/random.rs"]
mod random;

use chronolith::protocol::{self, Progress, Protocol, Ranges, Visitor};
use chronolith::{AbortReason, Store, Transaction, TransactionError};
use indexed::{Indexed, Row, Shown, keys, not_unique, row};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use random::Random;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

for_each_protocol! {
    /// Rows move between cities and take each other's badges, come and go, while views look.
    fn index_and_table_agree_at_every_moment<P>(store) {
        if P::RANGES == Ranges::Unsupported {
            continue;
        }
        const THREADS: u64 = 3;
        const ROUNDS: u64 = 150;
        const ROWS: u64 = 12;
        let indexed = Indexed::new(&store);
        let rows = &indexed.rows;
        store.transact(|tx| {
            (0..ROWS).try_for_each(|key| tx.put(rows, key, row(0, key, 0)))
        }).unwrap();
        let (moved, refused) = (AtomicU64::new(0), AtomicU64::new(0));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let movers = [0; THREADS as usize].iter().zip(0..).map(|(_, thread)| {
                let (store, indexed, moved, refused) = (&store, &indexed, &moved, &refused);
                scope.spawn(move || {
                    let mut random = Random::new(random::seed(), thread);
                    for _ in 0..ROUNDS {
                        match store.transact(|tx| shuffle(tx, indexed, &mut random, ROWS)) {
                            Ok(()) => moved.fetch_add(1, Ordering::Relaxed),
                            Err(error) if error == not_unique() => {
                                refused.fetch_add(1, Ordering::Relaxed)
                            }
                            Err(error) => panic!("{}: {error}", P::NAME),
                        };
                    }
                })
            });
            let movers: Vec<_> = movers.collect();
            let viewer = scope.spawn(|| {
                let mut looks = 0;
                while looks < 10 || !done.load(Ordering::Relaxed) {
                    store.view(|tx| Shown::of(tx, &indexed)).unwrap().agrees::<P>();
                    // And in a transaction that could write.
                    store.transact(|tx| Shown::of(tx, &indexed)).unwrap().agrees::<P>();
                    looks += 1;
                }
            });
            let outcomes: Vec<_> = movers.into_iter().map(|mover| mover.join()).collect();
            done.store(true, Ordering::Relaxed);
            viewer.join().unwrap();
            outcomes.into_iter().for_each(|outcome| outcome.unwrap());
        });
        store.view(|tx| Shown::of(tx, &indexed)).unwrap().agrees::<P>();
        let (moved, refused) = (moved.into_inner(), refused.into_inner());
        assert!(moved > 0 && refused > 0, "{moved} moved and {refused} were refused");
    }

    /// Each transaction counts the rows of a city and adds one, so that every count is different.
    fn no_row_slips_into_a_city_that_was_counted<P>(store) {
        if P::RANGES == Ranges::Unsupported {
            continue;
        }
        const THREADS: u64 = 3;
        const ROUNDS: u64 = 60;
        let Indexed { rows, by_city, by_badge } = Indexed::new(&store);
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (store, rows, by_city) = (&store, &rows, &by_city);
                scope.spawn(move || {
                    let mut random = Random::new(random::seed(), thread);
                    for round in 0..ROUNDS {
                        let key = random.below(1 << 32) << 16 | thread << 8 | round;
                        store.transact(|tx| {
                            let count = keys(tx.find(by_city, &7)?)?.len() as u64;
                            random.maybe_yield();
                            // By way of another city, so that it moves in.
                            tx.put(rows, key, row(6, key, 0))?;
                            tx.put(rows, key, row(7, key, count))
                        }).unwrap();
                    }
                });
            }
        });
        let mut counts = store.view(|tx| {
            let found = tx.range_by(&by_badge, ..)?;
            found.map(|found| Ok(found?.2.load)).collect::<Result<Vec<_>, _>>()
        }).unwrap();
        assert_eq!(counts.len() as u64, THREADS * ROUNDS);
        counts.sort_unstable();
        let distinct = counts.iter().copied().eq(0..THREADS * ROUNDS);
        let serializable = P::ISOLATION == protocol::Isolation::Serializable;
        assert!(distinct || !serializable, "two transactions counted the same city");
    }
}

/// One of the things that movers do.
fn shuffle<P: Protocol>(
    tx: &Transaction<'_, P>,
    indexed: &Indexed<P>,
    random: &mut Random,
    rows: u64,
) -> Result<(), TransactionError> {
    let (key, city) = (random.below(rows), random.below(4));
    let badge = random.below(rows);
    let table = &indexed.rows;
    match random.below(5) {
        0 => {
            tx.update(table, &key, |old| Row { city: Some(city), ..old.clone() })?;
        }
        1 => tx.put(table, key, row(city, badge, 0))?,
        2 => {
            tx.remove(table, &key)?;
            random.maybe_yield();
            tx.insert(table, key, row(city, badge, 0))?;
        }
        3 => {
            tx.remove(table, &key)?;
        }
        _ => {
            // Two rows swap their badges: it is taken from one before the other gets it.
            let other = random.below(rows);
            if let (Some(one), Some(two)) = (tx.get(table, &key)?, tx.get(table, &other)?)
                && key != other
            {
                tx.put(table, key, Row { badge: None, ..one.clone() })?;
                random.maybe_yield();
                tx.put(table, other, Row { badge: one.badge, ..two.clone() })?;
                tx.put(table, key, Row { badge: two.badge, ..one.clone() })?;
            }
        }
    }
    random.maybe_yield();
    Ok(())
}

/// One operation on a row.
#[derive(Debug, Clone)]
enum Operation {
    Put(u64, Row),
    Insert(u64, Row),
    Update(u64, Row),
    Remove(u64),
    Look,
}

/// Few keys of every kind, so that rows meet each other.
fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let key = || 0..5u64;
    let row = || {
        let keys = (proptest::option::of(0..3u64), proptest::option::of(0..4u64), 0..3u64);
        keys.prop_map(|(city, badge, load)| Row { city, badge, load })
    };
    let operation = prop_oneof![
        (key(), row()).prop_map(|(key, row)| Operation::Put(key, row)),
        (key(), row()).prop_map(|(key, row)| Operation::Insert(key, row)),
        (key(), row()).prop_map(|(key, row)| Operation::Update(key, row)),
        key().prop_map(Operation::Remove),
        Just(Operation::Look),
    ];
    vec(operation, 0..12)
}

/// Does it, in the store and in the model, and compares the answers.
fn act<P: Protocol>(
    tx: &Transaction<'_, P>,
    indexed: &Indexed<P>,
    model: &mut BTreeMap<u64, Row>,
    operation: &Operation,
) -> Result<(), TransactionError> {
    let rows = &indexed.rows;
    let (key, new, answer) = match operation {
        Operation::Put(key, row) => {
            (*key, Some(row), tx.put(rows, *key, row.clone()).map(|()| true))
        }
        Operation::Insert(key, row) => (*key, Some(row), tx.insert(rows, *key, row.clone())),
        Operation::Update(key, row) => (*key, Some(row), tx.update(rows, key, |_| row.clone())),
        Operation::Remove(key) => (*key, None, tx.remove(rows, key)),
        Operation::Look => {
            let shown = Shown::of(tx, indexed)?;
            shown.agrees::<P>();
            assert_eq!(&shown.rows, model);
            return Ok(());
        }
    };
    if let Err(TransactionError::Abort(_)) = answer {
        return answer.map(|_| ());
    }
    let present = model.contains_key(&key);
    let happens = match operation {
        Operation::Insert(..) => !present,
        Operation::Update(..) | Operation::Remove(_) => present,
        Operation::Put(..) | Operation::Look => true,
    };
    let badge = new.and_then(|row| row.badge);
    let taken = badge.is_some() && model.iter().any(|(at, row)| *at != key && row.badge == badge);
    let expected = if happens && taken { Err(not_unique()) } else { Ok(happens) };
    assert_eq!(answer, expected, "{operation:?}");
    if answer == Ok(true) {
        match new {
            Some(row) => model.insert(key, row.clone()),
            None => model.remove(&key),
        };
    }
    Ok(())
}

struct Differential;

impl Visitor for Differential {
    type Output = ();
    fn visit<P: Protocol>(self) {
        if P::RANGES == Ranges::Unsupported {
            return;
        }
        let cases = if P::NAME == protocol::NAMES[0] { 256 } else { 48 };
        let transactions = vec((operations(), any::<bool>()), 1..8);
        for (shards, parts) in [(1, 1), (3, 1), (3, 2)] {
            let config = Config { cases, failure_persistence: None, ..Config::default() };
            let checked = TestRunner::new(config).run(&transactions, |transactions| {
                let store =
                    Store::builder().shards(shards).ordered_parts(parts).build_with::<P>().unwrap();
                let indexed = Indexed::new(&store);
                let mut model = BTreeMap::new();
                for (operations, commits) in &transactions {
                    let before = model.clone();
                    let outcome = store.transact(|tx| {
                        // A lone transaction may have to be tried again, when a record has gone
                        // out of use.
                        model = before.clone();
                        for operation in operations {
                            act(tx, &indexed, &mut model, operation)?;
                        }
                        if *commits { Ok(()) } else { Err(tx.rollback()) }
                    });
                    prop_assert_eq!(outcome.is_ok(), *commits);
                    if !commits {
                        model = before;
                    }
                }
                let shown = store.view(|tx| Shown::of(tx, &indexed)).unwrap();
                shown.agrees::<P>();
                prop_assert_eq!(shown.rows, model);
                Ok(())
            });
            if let Err(failure) = checked {
                panic!("{} with {shards} shards: {failure}", P::NAME);
            }
        }
    }
}

#[test]
fn index_and_table_do_what_a_map_does() {
    for name in protocol::NAMES {
        protocol::dispatch(name, Differential).expect("a registered protocol");
    }
}

/// Of two transactions that give one key to different rows, and of two that put the same row, not
/// both get through, and nothing of the other is left.
struct Conflicts;

impl Visitor for Conflicts {
    type Output = ();
    fn visit<P: Protocol>(self) {
        // One thread steps through two transactions.
        if P::RANGES == Ranges::Unsupported || P::PROGRESS == Progress::Blocking {
            return;
        }
        let store = Store::builder().build_with::<P>().unwrap();
        let indexed = Indexed::new(&store);
        let rows = &indexed.rows;
        store.transact(|tx| tx.put(rows, 9, row(9, 9, 0))).unwrap();
        let mut expected = BTreeMap::from([(9, row(9, 9, 0))]);
        for (first, second) in [(1, 2), (9, 9)] {
            let (one, two) = (store.begin().unwrap(), store.begin().unwrap());
            let new = |key| row(key, first * 10, 5);
            let puts = [(one, first), (two, second)].map(|(tx, key)| {
                let put = tx.put(rows, key, new(key));
                (tx, key, put)
            });
            let mut through = 0;
            for (tx, key, put) in puts {
                match put.and_then(|()| tx.commit()) {
                    Ok(()) => {
                        through += 1;
                        expected.insert(key, new(key));
                    }
                    Err(TransactionError::Abort(abort)) => {
                        assert_ne!(abort.reason(), AbortReason::User);
                    }
                    Err(TransactionError::Error(error)) => panic!("{}: {error}", P::NAME),
                }
            }
            // A protocol may find fault with both.
            assert!(through <= 1, "{}: both got through", P::NAME);
            assert!(through == 1 || P::NAME != protocol::NAMES[0], "neither got through");
        }
        let shown = store.view(|tx| Shown::of(tx, &indexed)).unwrap();
        shown.agrees::<P>();
        assert_eq!(shown.rows, expected, "{}", P::NAME);
    }
}

#[test]
fn a_conflict_over_an_index_key_lets_one_through() {
    for name in protocol::NAMES {
        protocol::dispatch(name, Conflicts).expect("a registered protocol");
    }
}
