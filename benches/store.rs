//! What each operation of the store costs on one thread, by criterion.
//!
//! `cargo bench --no-default-features --bench store`
//!
//! 8-byte keys, 100-byte values, keys uniform over [`RECORDS`]; drawn from a list that is made
//! before, so that drawing is not measured. Comparisons with other stores are in `benches/peers`,
//! instruction counts (which repeat better than times) in `benches/instructions.rs`.

use chronolith::{Store, Table, Transaction, TransactionError};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use std::hint::black_box;
use std::time::Duration;

type Value = [u8; 100];

const RECORDS: u64 = 200_000;
/// Keys in a batch, and in a transaction with several.
const SEVERAL: usize = 10;
const FAILED: &str = "one thread has nobody to conflict with";

/// A loaded store and a list of keys to use, again and again.
struct Bench {
    store: Store,
    table: Table<u64, Value>,
    keys: Vec<u64>,
    next: usize,
}

impl Bench {
    fn new() -> Self {
        // Two shards and one hash seed, so that runs on different machines do the same.
        let store = Store::builder().shards(2).hash_seed(7).build();
        let store = store.expect("two shards are within the limits");
        let table = store.table("bench").expect("the first table");
        for first in (0..RECORDS).step_by(1_000) {
            let load = store.transact(|tx| {
                (first..first + 1_000).try_for_each(|key| tx.put(&table, key, [0; 100]))
            });
            load.expect(FAILED);
        }
        // A multiplicative walk visits every key, in an order that no prefetcher guesses.
        let keys = (0..RECORDS).map(|step| step * 1_000_003 % RECORDS);
        Bench { keys: keys.collect(), store, table, next: 0 }
    }

    fn key(&mut self) -> u64 {
        self.next = (self.next + 1) % self.keys.len();
        self.keys[self.next]
    }

    fn several(&mut self) -> [u64; SEVERAL] {
        std::array::from_fn(|_| self.key())
    }

    fn transact(&self, body: impl FnMut(&Transaction<'_>) -> Result<(), TransactionError>) {
        self.store.transact(body).expect(FAILED);
    }

    /// Two keys whose transaction touches `shards` shards, told by the store's own counters.
    fn two_keys(&mut self, shards: u64) -> [u64; 2] {
        loop {
            let pair = [self.key(), self.key()];
            let before = self.store.stats().commits_cross_shard;
            self.transact(|tx| put_all(tx, &self.table, &pair));
            if self.store.stats().commits_cross_shard - before == shards - 1 {
                return pair;
            }
        }
    }
}

fn put_all(
    tx: &Transaction<'_>,
    table: &Table<u64, Value>,
    keys: &[u64],
) -> Result<(), TransactionError> {
    keys.iter().try_for_each(|key| tx.put(table, *key, [1; 100]))
}

fn reads(criterion: &mut Criterion, bench: &mut Bench) {
    criterion.bench_function("get", |bencher| {
        bencher.iter(|| {
            let key = bench.key();
            let view = bench.store.view(|tx| Ok(tx.get(&bench.table, &key)?.copied()));
            black_box(view).expect(FAILED)
        });
    });
    let mut group = criterion.benchmark_group("view of 10");
    group.throughput(Throughput::Elements(SEVERAL as u64));
    group.bench_function("get", |bencher| {
        bencher.iter(|| {
            let keys = bench.several();
            let view = bench.store.view(|tx| {
                keys.iter().try_fold(0u64, |sum, key| {
                    let value = tx.get(&bench.table, key)?;
                    Ok(sum + value.map_or(0, |value| u64::from(value[99])))
                })
            });
            black_box(view).expect(FAILED)
        });
    });
    group.bench_function("get_many", |bencher| {
        bencher.iter(|| {
            let keys = bench.several();
            let keys: [&u64; SEVERAL] = std::array::from_fn(|place| &keys[place]);
            let view = bench.store.view(|tx| {
                let mut found = [None; SEVERAL];
                tx.get_many(&bench.table, &keys, &mut found)?;
                let last_bytes = found.iter().flatten().map(|value| u64::from(value[99]));
                Ok(last_bytes.sum::<u64>())
            });
            black_box(view).expect(FAILED)
        });
    });
    group.finish();
}

fn writes(criterion: &mut Criterion, bench: &mut Bench) {
    criterion.bench_function("put", |bencher| {
        bencher.iter(|| {
            let key = bench.key();
            bench.transact(|tx| tx.put(&bench.table, key, [2; 100]));
        });
    });
    criterion.bench_function("read-modify-write", |bencher| {
        bencher.iter(|| {
            let key = bench.key();
            bench.transact(|tx| {
                let change = |value: &Value| {
                    let mut value = *value;
                    value[0] = value[0].wrapping_add(1);
                    value
                };
                tx.update(&bench.table, &key, change).map(|_| ())
            });
        });
    });
}

/// Two puts; only what the commit has to bring together differs.
fn commits(criterion: &mut Criterion, bench: &mut Bench) {
    let mut group = criterion.benchmark_group("commit of 2 puts");
    for (name, shards) in [("one shard", 1), ("cross shard", 2)] {
        // Few pairs, hence in the cache: this is about the protocol.
        let pairs: Vec<[u64; 2]> = (0..64).map(|_| bench.two_keys(shards)).collect();
        let mut pairs = pairs.iter().cycle();
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let pair = pairs.next().expect("an endless list");
                bench.transact(|tx| put_all(tx, &bench.table, pair));
            });
        });
    }
    group.finish();
}

/// A read that has to walk past this many newer versions. Versions that no snapshot sees are
/// pruned, so each of them is kept by a snapshot of its own.
fn chains(criterion: &mut Criterion, bench: &mut Bench) {
    let mut group = criterion.benchmark_group("chain walk");
    for depth in [1, 4, 16, 64] {
        let key = bench.key();
        bench.transact(|tx| tx.put(&bench.table, key, [0; 100]));
        let mut snapshots = Vec::new();
        for number in 1..=depth {
            snapshots.push(bench.store.begin_view().expect("few open transactions"));
            bench.transact(|tx| tx.put(&bench.table, key, [number; 100]));
        }
        let read = || snapshots[0].get(&bench.table, &key);
        assert_eq!(read(), Ok(Some(&[0; 100])), "a snapshot does not change");
        group.bench_function(BenchmarkId::from_parameter(depth), |bencher| {
            bencher.iter(|| black_box(read()).expect(FAILED));
        });
    }
    group.finish();
}

/// Uses a transaction for nothing.
fn nothing(tx: &Transaction<'_>) -> Result<(), TransactionError> {
    black_box(tx);
    Ok(())
}

/// Begin and end alone: what every transaction pays before it does anything.
fn pin(criterion: &mut Criterion, bench: &mut Bench) {
    let mut group = criterion.benchmark_group("pin");
    group.bench_function("view", |bencher| {
        bencher.iter(|| bench.store.view(nothing).expect(FAILED));
    });
    group.bench_function("transact", |bencher| {
        bencher.iter(|| bench.transact(nothing));
    });
    group.finish();
}

fn growth(criterion: &mut Criterion) {
    const KEYS: u64 = 100_000;
    let mut group = criterion.benchmark_group("growth");
    group.throughput(Throughput::Elements(KEYS));
    group.sample_size(10);
    group.bench_function("insert 100k keys into an empty table", |bencher| {
        bencher.iter_batched(
            || {
                let store = Store::builder().shards(2).hash_seed(7).build();
                let store = store.expect("two shards are within the limits");
                let table = store.table::<u64, u64>("grows").expect("the first table");
                (store, table)
            },
            |(store, table)| {
                for first in (0..KEYS).step_by(100) {
                    let grown = store.transact(|tx| {
                        (first..first + 100).try_for_each(|key| tx.put(&table, key, key))
                    });
                    grown.expect(FAILED);
                }
                // Returned, so that taking it down is not measured.
                (store, table)
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let mut bench = Bench::new();
    reads(&mut criterion, &mut bench);
    writes(&mut criterion, &mut bench);
    commits(&mut criterion, &mut bench);
    chains(&mut criterion, &mut bench);
    pin(&mut criterion, &mut bench);
    growth(&mut criterion);
    criterion.final_summary();
}
