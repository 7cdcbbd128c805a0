//! The anomalies of `tests/anomalies.rs` with threads that run freely, under every protocol: no
//! violation at all of what its level promises. Only what has committed counts: a transaction that
//! will abort may see an inconsistent state under a protocol without versions.

#[path = "common/random.rs"]
mod random;

use chronolith::protocol::{self, Isolation, Protocol, Ranges, Visitor};
use chronolith::{OrderedTable, Store, Table, Transaction, TransactionError};
use random::Random;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const THREADS: u64 = 6;
/// Rounds of each thread with the default protocol; others, which are slower, get a tenth.
const ROUNDS: u64 = if cfg!(debug_assertions) { 10_000 } else { 150_000 };
/// Few, so that the threads meet.
const PAIRS: u64 = 3;

type Numbers<P> = Table<u64, i64, P>;
type Ended = Result<(), TransactionError>;

/// One anomaly: what is there before, what every thread does again and again, and what is looked at
/// after.
trait Case: Sync {
    /// Whether its table has to have an order.
    const ORDERED: bool = false;

    fn prepare<P: Protocol>(&self, _store: &Store<P>, _table: &Numbers<P>) {}
    fn round<P: Protocol>(&self, at: &At<'_, P>, random: &mut Random) -> Ended;
    fn check<P: Protocol>(&self, store: &Store<P>, table: &Numbers<P>);
}

/// Where a case runs.
struct At<'s, P: Protocol> {
    store: &'s Store<P>,
    table: &'s Numbers<P>,
    /// The same table, if it has an order.
    ordered: Option<&'s OrderedTable<u64, i64, P>>,
}

impl<P: Protocol> At<'_, P> {
    fn read(
        &self,
        tx: &Transaction<'_, P>,
        key: u64,
        random: &mut Random,
    ) -> Result<Option<i64>, TransactionError> {
        let value = tx.get(self.table, &key)?.copied();
        random.maybe_yield();
        Ok(value)
    }

    /// The keys and values of a range.
    fn scan(
        &self,
        tx: &Transaction<'_, P>,
        keys: Range<u64>,
        random: &mut Random,
    ) -> Result<Vec<(u64, i64)>, TransactionError> {
        let table = self.ordered.expect("the case has asked for an order");
        let found: Result<_, _> = if random.below(2) == 0 {
            tx.range(table, keys)?.map(|entry| entry.map(|(key, value)| (*key, *value))).collect()
        } else {
            let reversed = tx.range_rev(table, keys)?;
            reversed.map(|entry| entry.map(|(key, value)| (*key, *value))).collect()
        };
        random.maybe_yield();
        found
    }
}

struct Stress<'c, C>(&'c C);

impl<C: Case> Visitor for Stress<'_, C> {
    type Output = ();
    fn visit<P: Protocol>(self) {
        if C::ORDERED && P::RANGES == Ranges::Unsupported {
            return;
        }
        let (case, seed) = (self.0, random::seed());
        let rounds = if P::NAME == protocol::NAMES[0] { ROUNDS } else { ROUNDS / 10 };
        for (shards, parts) in [(1, 1), (3, 1), (3, 2)] {
            let store =
                Store::builder().shards(shards).ordered_parts(parts).build_with::<P>().unwrap();
            let ordered = C::ORDERED.then(|| store.ordered_table("numbers").unwrap());
            let table = store.table("numbers").unwrap();
            case.prepare(&store, &table);
            std::thread::scope(|scope| {
                for thread in 0..THREADS {
                    let at = At { store: &store, table: &table, ordered: ordered.as_ref() };
                    scope.spawn(move || {
                        let mut random = Random::new(seed, thread);
                        for _ in 0..rounds {
                            // Anything but a conflict is a fault of the test.
                            if let Err(TransactionError::Error(error)) =
                                case.round(&at, &mut random)
                            {
                                panic!("{error}");
                            }
                        }
                    });
                }
            });
            println!("{}, {shards} shards, {parts} parts: {:?}", P::NAME, store.stats());
            case.check(&store, &table);
        }
    }
}

fn stress(case: &impl Case) {
    for name in protocol::NAMES {
        protocol::dispatch(name, Stress(case)).expect("a registered protocol");
    }
}

/// A pair of keys, and one of them first.
fn pick_pair(random: &mut Random) -> (u64, u64) {
    let (pair, side) = (random.below(PAIRS), random.below(2));
    (2 * pair + side, 2 * pair + 1 - side)
}

/// Sets the keys below `count` to a value.
fn fill<P: Protocol>(store: &Store<P>, table: &Numbers<P>, count: u64, value: i64) {
    store.transact(|tx| (0..count).try_for_each(|key| tx.put(table, key, value))).unwrap();
}

/// Committed readings that cannot be: an anomaly that snapshot isolation allows.
#[derive(Default)]
struct Skews(AtomicU64);

impl Skews {
    fn note(&self, seen: bool) {
        self.0.fetch_add(u64::from(seen), Ordering::Relaxed);
    }

    fn check<P: Protocol>(&self) {
        let count = self.0.swap(0, Ordering::Relaxed);
        println!("{}: {count}", P::NAME);
        assert!(count == 0 || P::ISOLATION == Isolation::Snapshot, "{}: {count}", P::NAME);
    }
}

/// The doctors on call: each may leave only while the other is there.
struct WriteSkew(Skews);

impl Case for WriteSkew {
    fn prepare<P: Protocol>(&self, store: &Store<P>, table: &Numbers<P>) {
        fill(store, table, 2 * PAIRS, 1);
    }

    fn round<P: Protocol>(&self, at: &At<'_, P>, random: &mut Random) -> Ended {
        let (mine, other) = pick_pair(random);
        let tx = at.store.begin()?;
        let mine_on_call = at.read(&tx, mine, random)? == Some(1);
        let other_on_call = at.read(&tx, other, random)? == Some(1);
        let stays = !(mine_on_call && other_on_call);
        tx.put(at.table, mine, i64::from(stays))?;
        random.maybe_yield();
        tx.commit()?;
        self.0.note(!mine_on_call && !other_on_call);
        Ok(())
    }

    fn check<P: Protocol>(&self, _store: &Store<P>, _table: &Numbers<P>) {
        self.0.check::<P>();
    }
}

#[test]
fn write_skew() {
    stress(&WriteSkew(Skews::default()));
}

/// The same with presence for the value: of each pair of keys one is absent.
struct AbsentSkew(Skews);

impl Case for AbsentSkew {
    fn round<P: Protocol>(&self, at: &At<'_, P>, random: &mut Random) -> Ended {
        let (mine, other) = pick_pair(random);
        let tx = at.store.begin()?;
        let mine_present = at.read(&tx, mine, random)?.is_some();
        let other_present = at.read(&tx, other, random)?.is_some();
        match (mine_present, other_present) {
            (true, _) => tx.remove(at.table, &mine).map(|_| ())?,
            (false, true) => tx.remove(at.table, &other).map(|_| ())?,
            _ if random.below(2) == 0 => tx.insert(at.table, mine, 1).map(|_| ())?,
            _ => tx.put(at.table, mine, 1)?,
        }
        random.maybe_yield();
        tx.commit()?;
        self.0.note(mine_present && other_present);
        Ok(())
    }

    fn check<P: Protocol>(&self, _store: &Store<P>, _table: &Numbers<P>) {
        self.0.check::<P>();
    }
}

#[test]
fn absent_key_write_skew() {
    stress(&AbsentSkew(Skews::default()));
}

/// Keys of one class, which is a range.
const CLASS: u64 = 1_000;

fn class(number: u64) -> Range<u64> {
    number * CLASS..(number + 1) * CLASS
}

/// The same with ranges: of each pair of classes one is empty.
struct PhantomSkew(Skews);

impl Case for PhantomSkew {
    const ORDERED: bool = true;

    fn round<P: Protocol>(&self, at: &At<'_, P>, random: &mut Random) -> Ended {
        let (mine, other) = pick_pair(random);
        let tx = at.store.begin()?;
        let in_mine = at.scan(&tx, class(mine), random)?;
        let in_other = at.scan(&tx, class(other), random)?;
        let (first_of_mine, first_of_other) = (in_mine.first(), in_other.first());
        match (first_of_mine, first_of_other) {
            // All of it or one of it.
            (Some(_), _) => {
                let count = if random.below(2) == 0 { 1 } else { in_mine.len() };
                for (key, _) in &in_mine[..count] {
                    tx.remove(at.table, key)?;
                }
            }
            (None, Some((key, _))) => {
                tx.remove(at.table, key)?;
            }
            (None, None) => {
                for _ in 0..=random.below(3) {
                    tx.put(at.table, mine * CLASS + random.below(CLASS), 1)?;
                }
            }
        }
        random.maybe_yield();
        tx.commit()?;
        self.0.note(!in_mine.is_empty() && !in_other.is_empty());
        Ok(())
    }

    fn check<P: Protocol>(&self, _store: &Store<P>, _table: &Numbers<P>) {
        self.0.check::<P>();
    }
}

#[test]
fn write_skew_by_predicate() {
    stress(&PhantomSkew(Skews::default()));
}

/// Two classes of rows; each new row of the one says how many the other one had. The threads go on
/// to two new classes together.
struct IntersectingData {
    committed: AtomicU64,
    skews: Skews,
}

impl IntersectingData {
    /// Whether the rows of two classes, each given as the counts that they say, came in some
    /// order. The i-th row of the one comes before the j-th of the other if it says no more than j.
    fn has_an_order(mut one: Vec<i64>, mut other: Vec<i64>) -> bool {
        one.sort_unstable();
        other.sort_unstable();
        let before = |j: usize| one.partition_point(|&said| said <= j as i64);
        other.iter().enumerate().all(|(j, &said)| said == before(j) as i64)
            && one.iter().all(|&said| said <= other.len() as i64)
    }
}

impl Case for IntersectingData {
    const ORDERED: bool = true;

    fn round<P: Protocol>(&self, at: &At<'_, P>, random: &mut Random) -> Ended {
        let first = self.committed.load(Ordering::Relaxed) / 16 * 2;
        let side = random.below(2);
        let (mine, other) = (first + side, first + 1 - side);
        let tx = at.store.begin()?;
        let count = at.scan(&tx, class(other), random)?.len();
        // Its own class is no part of what it depends on, but for the one key.
        if !tx.insert(at.table, mine * CLASS + random.below(CLASS), count as i64)? {
            return Ok(());
        }
        random.maybe_yield();
        tx.commit()?;
        self.committed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn check<P: Protocol>(&self, store: &Store<P>, table: &Numbers<P>) {
        let committed = self.committed.swap(0, Ordering::Relaxed);
        assert!(committed > 0, "{}: no row", P::NAME);
        let table = store.ordered_table::<u64, i64>(table.name()).unwrap();
        let rows = |number| {
            let said = |tx: &Transaction<'_, P>| {
                tx.range(&table, class(number))?.map(|entry| Ok(*entry?.1)).collect()
            };
            store.view(said).unwrap()
        };
        let mut counted = 0;
        for first in (0..=committed / 16 * 2).step_by(2) {
            let (one, other): (Vec<i64>, Vec<i64>) = (rows(first), rows(first + 1));
            counted += one.len() + other.len();
            self.skews.note(!Self::has_an_order(one, other));
        }
        assert_eq!(counted as u64, committed, "{}", P::NAME);
        self.skews.check::<P>();
    }
}

#[test]
fn intersecting_data() {
    let in_order = [
        (vec![], vec![]),
        (vec![0, 0], vec![]),
        (vec![0, 1, 1], vec![1, 3]),
        (vec![2], vec![0, 0, 1]),
    ];
    for (one, other) in in_order {
        assert!(IntersectingData::has_an_order(one.clone(), other.clone()), "{one:?}, {other:?}");
        assert!(IntersectingData::has_an_order(other.clone(), one.clone()), "{other:?}, {one:?}");
    }
    for (one, other) in [(vec![0], vec![0]), (vec![1], vec![]), (vec![0, 1], vec![1, 1, 1])] {
        assert!(!IntersectingData::has_an_order(one.clone(), other.clone()), "{one:?}, {other:?}");
        assert!(!IntersectingData::has_an_order(other.clone(), one.clone()), "{other:?}, {one:?}");
    }
    stress(&IntersectingData { committed: AtomicU64::new(0), skews: Skews::default() });
}

/// Counters that are read and then written; `pick` chooses one, given how much was counted so far.
struct CountUp<F> {
    committed: AtomicU64,
    pick: F,
}

impl<F: Fn(u64, &mut Random) -> u64 + Sync> Case for CountUp<F> {
    fn round<P: Protocol>(&self, at: &At<'_, P>, random: &mut Random) -> Ended {
        let key = (self.pick)(self.committed.load(Ordering::Relaxed), random);
        let tx = at.store.begin()?;
        let before = at.read(&tx, key, random)?.unwrap_or(0);
        tx.put(at.table, key, before + 1)?;
        random.maybe_yield();
        tx.commit()?;
        self.committed.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn check<P: Protocol>(&self, store: &Store<P>, table: &Numbers<P>) {
        let committed = self.committed.swap(0, Ordering::Relaxed);
        let sum = |tx: &Transaction<'_, P>| {
            let mut sum = 0;
            for key in 0..=committed {
                sum += tx.get(table, &key)?.copied().unwrap_or(0);
            }
            Ok(sum)
        };
        let counted = store.view(sum).unwrap();
        assert_eq!(Ok(counted), i64::try_from(committed), "{}", P::NAME);
        assert!(committed > 0, "{}: nothing was counted", P::NAME);
    }
}

#[test]
fn lost_update() {
    let pick = |_, random: &mut Random| random.below(PAIRS);
    stress(&CountUp { committed: AtomicU64::new(0), pick });
}

/// The threads go on to a new counter together, so that they meet while it is absent.
#[test]
fn lost_update_of_an_absent_key() {
    let pick = |committed, _: &mut Random| committed / 8;
    stress(&CountUp { committed: AtomicU64::new(0), pick });
}

/// Writers of one of two keys, and readers of both: any two readers agree on the order.
struct LongFork(Mutex<Vec<[i64; 2]>>);

impl Case for LongFork {
    fn prepare<P: Protocol>(&self, store: &Store<P>, table: &Numbers<P>) {
        fill(store, table, 2, 0);
    }

    fn round<P: Protocol>(&self, at: &At<'_, P>, random: &mut Random) -> Ended {
        let (first, kind) = (random.below(2), random.below(4));
        let tx = match kind {
            0 | 1 => {
                let counted =
                    at.store.transact(|tx| tx.update(at.table, &first, |value| value + 1));
                assert!(counted.unwrap(), "a counter is never removed");
                return Ok(());
            }
            2 => at.store.begin_view()?,
            _ => at.store.begin()?,
        };
        let mut pair = [0; 2];
        for key in [first, 1 - first] {
            let value = at.read(&tx, key, random)?;
            pair[key as usize] = value.expect("a counter is never removed");
        }
        tx.commit()?;
        self.0.lock().unwrap().push(pair);
        Ok(())
    }

    fn check<P: Protocol>(&self, _store: &Store<P>, _table: &Numbers<P>) {
        let mut seen = std::mem::take(&mut *self.0.lock().unwrap());
        assert!(!seen.is_empty(), "{}: nobody has looked", P::NAME);
        seen.sort_unstable();
        let forks = seen.windows(2).filter(|two| two[0][1] > two[1][1]).count();
        assert_eq!(forks, 0, "{}", P::NAME);
    }
}

#[test]
fn long_fork() {
    stress(&LongFork(Mutex::default()));
}
