//! The anomalies of `tests/anomalies.rs` with threads that run freely, under every protocol: no
//! violation at all of what its level promises. Only what has committed counts: a transaction that
//! will abort may see an inconsistent state under a protocol without versions.

#[path = "common/random.rs"]
mod random;

use chronolith::protocol::{self, Isolation, Protocol, Visitor};
use chronolith::{Store, Table, Transaction, TransactionError};
use random::Random;
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
    fn prepare<P: Protocol>(&self, _store: &Store<P>, _table: &Numbers<P>) {}
    fn round<P: Protocol>(&self, at: &At<'_, P>, random: &mut Random) -> Ended;
    fn check<P: Protocol>(&self, store: &Store<P>, table: &Numbers<P>);
}

/// Where a case runs.
struct At<'s, P: Protocol> {
    store: &'s Store<P>,
    table: &'s Numbers<P>,
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
}

struct Stress<'c, C>(&'c C);

impl<C: Case> Visitor for Stress<'_, C> {
    type Output = ();
    fn visit<P: Protocol>(self) {
        let (case, seed) = (self.0, random::seed());
        let rounds = if P::NAME == protocol::NAMES[0] { ROUNDS } else { ROUNDS / 10 };
        for shards in [1, 3] {
            let store = Store::builder().shards(shards).build_with::<P>().unwrap();
            let table = store.table("numbers").unwrap();
            case.prepare(&store, &table);
            std::thread::scope(|scope| {
                for thread in 0..THREADS {
                    let at = At { store: &store, table: &table };
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
            println!("{}, {shards} shards: {:?}", P::NAME, store.stats());
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
