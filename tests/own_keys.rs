//! What a transaction has written is in its ranges once, whatever others do to the same keys: also
//! if they commit a key that it has inserted in private, or if the record that it writes goes out
//! of use and the key gets another one.

#[macro_use]
mod common;

use chronolith::protocol::{self, Progress, Protocol, Ranges, Reads, Visitor};
use chronolith::{OrderedKey, OrderedTable, Store, Transaction, TransactionError, Value};
use std::fmt::Debug;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Of eight numbers in a row two are always there, one is inserted by everybody, and one goes and
/// comes again.
const NUMBERS: u64 = 400;
const STAYING: [u64; 2] = [0, 6];
const INSERTED: u64 = 3;
const REPLACED: u64 = 5;
/// As many keys of each kind.
const EACH: usize = NUMBERS as usize / 8;
/// What the transaction writes; the others write the numbers.
const OWN: u64 = u64::MAX;
/// Removals that let every janitor come round.
const CHURN: u64 = 600;
/// How long others are waited for where an open transaction may hold them up,
const PATIENCE: Duration = Duration::from_millis(50);
/// and where it may not.
const STEP_MAX: Duration = Duration::from_secs(60);

/// Whether a transaction reads what others commit, and is told of a conflict when it ends.
fn is_optimistic_on_the_newest<P: Protocol>() -> bool {
    P::READS == Reads::Newest && !P::TAKES_LOCKS
}

/// Waits until the others have done what they were told, or stand before a lock.
fn wait_for_others<P: Protocol>(done: &Receiver<()>) {
    if P::PROGRESS == Progress::LockFree || is_optimistic_on_the_newest::<P>() {
        done.recv_timeout(STEP_MAX).expect("nobody holds the others up");
    } else {
        let _ = done.recv_timeout(PATIENCE);
    }
}

/// Every eighth number.
fn numbers(from: u64) -> impl Iterator<Item = u64> {
    (from..NUMBERS).step_by(8)
}

/// What others do.
struct Others<'s, P: Protocol, K: OrderedKey> {
    store: &'s Store<P>,
    table: &'s OrderedTable<K, u64, P>,
    key: fn(u64) -> K,
}

impl<P: Protocol, K: OrderedKey + for<'a> Value<Input<'a> = K>> Others<'_, P, K> {
    fn insert(&self, from: u64) {
        for number in numbers(from) {
            let put = |tx: &Transaction<'_, P>| tx.put(self.table, (self.key)(number), number);
            self.store.transact(put).unwrap();
        }
    }

    /// Removes keys, and gets their records out of use where that is possible.
    fn remove(&self, from: u64) {
        for number in numbers(from) {
            let key = (self.key)(number);
            assert!(self.store.transact(|tx| tx.remove(self.table, &key)).unwrap());
        }
        self.churn();
    }

    /// Lets every janitor come round.
    fn churn(&self) {
        let churned = self.store.table::<u64, u64>("churned").unwrap();
        for number in 0..CHURN {
            self.store.transact(|tx| tx.put(&churned, number, 0)).unwrap();
            self.store.transact(|tx| tx.remove(&churned, &number).map(drop)).unwrap();
        }
    }
}

type Entry<'t, K> = Result<(&'t K, &'t u64), TransactionError>;

/// What comes in a walk, which a conflict may end, is in order, so no key comes twice. A walk that
/// comes to its end has had each of the transaction's own keys, with the value that it wrote.
/// Returns whether it came there.
fn each_comes_once<'t, K: Ord + Debug + 't>(
    entries: impl Iterator<Item = Entry<'t, K>>,
    reversed: bool,
    what: &str,
) -> bool {
    let (mut last, mut own): (Option<&K>, usize) = (None, 0);
    for entry in entries {
        let (key, value) = match entry {
            Ok(entry) => entry,
            Err(TransactionError::Abort(_)) => return false,
            Err(error) => panic!("{what}: {error}"),
        };
        let in_order = last.is_none_or(|last| if reversed { key < last } else { key > last });
        assert!(in_order, "{what}, reversed {reversed}: {key:?} after {last:?}");
        last = Some(key);
        own += usize::from(*value == OWN);
    }
    assert_eq!(own, 2 * EACH, "{what}, reversed {reversed}");
    true
}

fn own_keys_come_once<P, K>(store: &Store<P>, key: fn(u64) -> K)
where
    P: Protocol,
    K: OrderedKey + Debug + for<'a> Value<Input<'a> = K>,
{
    let name = std::any::type_name::<K>();
    let what = format!("{} with keys of {name} on {} shards", P::NAME, store.shard_count());
    let table = store.ordered_table::<K, u64>(name).unwrap();
    let others = &Others { store, table: &table, key };
    STAYING.into_iter().for_each(|from| others.insert(from));
    // A record does not go out of use before the version that it came with is freed.
    (0..2).for_each(|_| others.insert(REPLACED));
    others.churn();
    std::thread::scope(|scope| {
        let (orders, told) = channel::<fn(&Others<'_, P, K>)>();
        let (report, done) = channel();
        scope.spawn(move || {
            for order in told {
                order(others);
                // The transaction need not wait any more.
                let _ = report.send(());
            }
        });
        let have = |order| {
            orders.send(order).expect("the others listen");
            wait_for_others::<P>(&done);
        };
        let tx = store.begin().unwrap();
        let mut own = numbers(INSERTED).chain(numbers(REPLACED));
        let written = own.try_for_each(|number| tx.put(&table, key(number), OWN));
        if let Err(error) = written {
            assert!(error.abort().is_some(), "{what}: {error}");
            return;
        }
        let mut ascending = tx.range(&table, ..).unwrap();
        let mut descending = tx.range_rev(&table, ..).unwrap();
        let (lowest, highest) = (ascending.next(), descending.next());
        have(|others| {
            others.remove(REPLACED);
            [REPLACED, INSERTED].into_iter().for_each(|from| others.insert(from));
        });
        // A conflict ends the transaction: it has no walk after that.
        let to_the_end = each_comes_once(lowest.into_iter().chain(ascending), false, &what)
            && each_comes_once(highest.into_iter().chain(descending), true, &what)
            && each_comes_once(tx.range(&table, ..).unwrap(), false, &what)
            && each_comes_once(tx.range_rev(&table, ..).unwrap(), true, &what);
        assert!(to_the_end || P::TAKES_LOCKS, "{what}: not every walk was whole");
    });
}

for_each_protocol! {
    fn what_a_transaction_has_written_comes_once<P>(store) {
        if P::RANGES != Ranges::Unsupported {
            own_keys_come_once::<P, u64>(&store, |number| number);
            // What tells these apart is behind their heads.
            own_keys_come_once::<P, String>(&store, |number| format!("a number: {number:03}"));
        }
    }
}
