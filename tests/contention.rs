//! The settings of contention and back-off: whatever they are, every protocol that heeds them is as
//! it declares.

#[path = "common/anomalies.rs"]
mod anomalies;
#[path = "common/bank.rs"]
mod bank;
#[path = "common/histories.rs"]
mod histories;
#[allow(dead_code, reason = "the other suites use the rest")]
#[path = "common/list_append.rs"]
mod list_append;
#[path = "common/random.rs"]
mod random;
#[allow(dead_code, reason = "the other suites use the rest")]
#[path = "common/script.rs"]
mod script;

use chronolith::limits::BACKOFF_FIXED_NS;
use chronolith::protocol::{self, Contention, Protocol, Ranges, Visitor, WriteOrder};
use chronolith::{
    Backoff, OrderedTable, RetryPolicy, Store, StoreBuilder, Transaction, TransactionError,
};
use random::Random;
use std::ops::Range;

const THREADS: u64 = 4;
const ROUNDS: u64 = 1_000;
const SCRIPTS: u64 = 300;
const TRANSACTIONS: u64 = 20_000;
const TRANSFERS: u64 = 2_000;
/// Keys on each of two sides, and of them at most one side may have any.
const SIDE: u64 = 20;
/// As many writes as need a partial selection.
const BURST: u64 = 12;

const BACKOFFS: [Backoff; 3] =
    [Backoff::None, Backoff::Fixed { ceiling_ns: BACKOFF_FIXED_NS }, Backoff::Adaptive];

/// A check of one protocol, on stores with these settings.
trait Check: Copy {
    fn check<P: Protocol>(self, builder: &StoreBuilder);
}

/// Stores with these settings, with and without other shards.
fn stores<P: Protocol>(builder: &StoreBuilder) -> impl Iterator<Item = Store<P>> {
    [1, 3].into_iter().map(|shards| builder.clone().shards(shards).build_with::<P>().unwrap())
}

/// Hands every combination of the settings to a check, if the protocol heeds them, each with
/// another back-off.
#[derive(Clone, Copy)]
struct Combinations<C>(C);

impl<C: Check> Visitor for Combinations<C> {
    /// How many they were.
    type Output = usize;
    fn visit<P: Protocol>(self) -> usize {
        if !P::HEEDS_CONTENTION {
            return 0;
        }
        let orders = [WriteOrder::Record, WriteOrder::Contention];
        let settings = orders.map(|order| [true, false].map(|pre_check| (pre_check, order)));
        let mut backoffs = BACKOFFS.into_iter().cycle();
        for (pre_check, write_order) in settings.into_iter().flatten() {
            let backoff = backoffs.next().expect("round and round");
            println!("{}: {pre_check}, {write_order:?}, {backoff:?}", P::NAME);
            let builder = Store::builder()
                .contention(Contention { pre_check, write_order })
                .retry(RetryPolicy { backoff, ..RetryPolicy::default() });
            self.0.check::<P>(&builder);
        }
        4
    }
}

/// Checks every combination of the settings under every protocol that heeds them.
fn each_combination(check: impl Check) {
    let names = protocol::NAMES.iter();
    let checked: usize = names
        .map(|name| protocol::dispatch(name, Combinations(check)).expect("a registered protocol"))
        .sum();
    assert!(checked >= 4, "no protocol heeds the settings");
}

#[derive(Clone, Copy)]
struct Scripts;

impl Check for Scripts {
    fn check<P: Protocol>(self, builder: &StoreBuilder) {
        let complaints = anomalies::fixed::<P>(builder);
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
        let complaints = anomalies::random::<P>(builder, SCRIPTS, random::seed());
        assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    }
}

#[test]
fn scripts_see_no_anomaly() {
    each_combination(Scripts);
}

#[derive(Clone, Copy)]
struct Histories;

impl Check for Histories {
    fn check<P: Protocol>(self, builder: &StoreBuilder) {
        for store in stores::<P>(builder) {
            let history = histories::record(&store, TRANSACTIONS);
            if let Err(anomaly) = list_append::check(&history, P::ISOLATION, P::STRICT) {
                panic!("{}, {} shards: {anomaly}", P::NAME, store.shard_count());
            }
        }
    }
}

#[test]
fn histories_are_possible() {
    each_combination(Histories);
}

#[derive(Clone, Copy)]
struct Bank;

impl Check for Bank {
    fn check<P: Protocol>(self, builder: &StoreBuilder) {
        for store in stores::<P>(builder) {
            if let Err(complaint) = bank::run(&store, TRANSFERS) {
                panic!("{} shards: {complaint}", store.shard_count());
            }
        }
    }
}

#[test]
fn the_sum_is_right_at_every_audit() {
    each_combination(Bank);
}

/// Whoever finds the other side empty fills some of its own, and else empties the other: many
/// writes in orders of their own, and phantoms if a range is not kept.
#[derive(Clone, Copy)]
struct Sides;

impl Sides {
    fn round<P: Protocol>(
        tx: &Transaction<'_, P>,
        table: &OrderedTable<u64, u64, P>,
        (own, other): (Range<u64>, Range<u64>),
        random: &mut Random,
    ) -> Result<(), TransactionError> {
        let found: Vec<u64> = tx
            .range(table, other)?
            .map(|entry| entry.map(|(key, _)| *key))
            .collect::<Result<_, _>>()?;
        random.maybe_yield();
        if found.is_empty() {
            let first = random.below(SIDE);
            return (first..first + BURST)
                .try_for_each(|key| tx.put(table, own.start + key % SIDE, key));
        }
        found.iter().try_for_each(|key| tx.remove(table, key).map(|_| ()))
    }

    fn count<P: Protocol>(
        tx: &Transaction<'_, P>,
        table: &OrderedTable<u64, u64, P>,
    ) -> Result<[usize; 2], TransactionError> {
        let left = tx.range(table, 0..SIDE)?.count();
        Ok([left, tx.range(table, SIDE..2 * SIDE)?.count()])
    }
}

impl Check for Sides {
    fn check<P: Protocol>(self, builder: &StoreBuilder) {
        if P::RANGES == Ranges::Unsupported {
            return;
        }
        let seed = random::seed();
        for store in stores::<P>(builder) {
            let table = store.ordered_table::<u64, u64>("sides").unwrap();
            std::thread::scope(|scope| {
                for thread in 0..THREADS {
                    let (store, table) = (&store, &table);
                    scope.spawn(move || {
                        let mut random = Random::new(seed, thread);
                        for _ in 0..ROUNDS {
                            let (left, right) = (0..SIDE, SIDE..2 * SIDE);
                            let sides =
                                if random.below(2) == 0 { (left, right) } else { (right, left) };
                            store
                                .transact(|tx| Self::round(tx, table, sides.clone(), &mut random))
                                .unwrap();
                            let counted = store.view(|tx| Self::count(tx, table)).unwrap();
                            assert!(counted.contains(&0), "{}: {counted:?}", P::NAME);
                        }
                    });
                }
            });
            let stats = store.stats();
            assert!(stats.aborts.iter().sum::<u64>() > 0, "nobody has met anybody");
        }
    }
}

#[test]
fn at_most_one_side_is_filled() {
    each_combination(Sides);
}
