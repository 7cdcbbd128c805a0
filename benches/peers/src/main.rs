//! Chronolith beside other in-memory stores: the same requests, the same seed, the same loop, one
//! table.
//!
//! `cargo run --release --manifest-path benches/peers/Cargo.toml -- [--only ycsb-a,crowd] [--rounds
//! 7]`
//!
//! # What is compared
//!
//! * *Chronolith*: strictly serializable transactions, tried again until they commit.
//! * *SurrealMX* 1.x: an in-memory transactional store; write transactions are serializable.
//! * *fast-stm*: software transactional memory; serializable, single-version, no index.
//! * *papaya*: a concurrent hash map *without* transactions. It is no rival but the upper bound.
//! * *crossbeam-skiplist*'s `SkipMap`, in the cases that need an order: a concurrent ordered map
//!   *without* transactions. A scan of it is none of one moment.
//!
//! Keys are 8 bytes and values 100. In each round every store runs for one short window, in an
//! order that rotates; the table gives the median over the rounds, and the ratio is the median of
//! the ratios within a round. The requests of a round are drawn before it and are the same for
//! every store.
//! *cpu* is how much of the processors a store had: on a machine that does other work too it shows
//! which rows to trust, and *per cpu* is the ratio of transactions per second of processor time.
//!
//! # What is not fair about it
//!
//! * We wrote it. The cases are the ones that we set ourselves targets for.
//! * Everybody uses the system's allocator. Chronolith takes its versions from arenas of its own
//!   and so depends on it least; with a better allocator the others would gain, most of all with
//!   two threads.
//! * Chronolith and papaya hash with ahash here, and so does the map in front of fast-stm's
//!   variables. SurrealMX keeps its keys in order, for which it pays; where Chronolith does not, no
//!   order is used.
//! * Keys are `u64`; SurrealMX's are bytes, and so the same in big-endian.
//! * Scans begin at a record and have no upper bound but a number of records. Of each they look at
//!   the key and at both cache lines of the value, in place, in all stores.
//! * Records are loaded in a scattered order, as YCSB loads them, whose default is to hash the
//!   number of a record to its key. With `--in-key-order` neighbours in the order of the keys are
//!   neighbours in memory, too: good for scans, the more so for those that do not fetch ahead.
//! * ycsb-e adds records, the more of them the faster a store is: it does its next scans with a
//!   larger index.
//! * fast-stm's map never changes, so its index is free of any cost of concurrency. It is built
//!   without `wait-on-retry`, which nobody here uses, and with `hash-registers`; against its
//!   default features that made no difference that we could tell from noise.
//! * A transaction that only reads is declared read-only to the stores that know such a thing
//!   (Chronolith, SurrealMX), as a program would do that knows its own transactions.
//! * papaya's single insert writes without reading; Chronolith's read-modify-write reads as well.
//! * All stores live in one process for the whole run, so a store's background threads run during
//!   the windows of the others (SurrealMX has two, which sleep for most of the time).
//! * Closed loop, throughput only: nothing is said about latency.

mod cases;
mod contest;
mod requests;
mod stores;
mod table;

use cases::{CASES, Case, Data, Stores};
use clap::Parser;
use contest::Plan;
use std::process::ExitCode;
use std::time::Duration;

/// Chronolith beside other in-memory stores.
#[derive(Debug, Parser)]
struct Options {
    /// Records in each store (`batch` takes ten times as many)
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// Seconds that a store runs for in each round
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Threads, where a case uses several [default: as many as there are cores]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=128))]
    threads: Option<u16>,
    /// Rounds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// The seed of the requests
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Load the records in the order of their keys and not in a scattered one
    #[arg(long)]
    in_key_order: bool,
    /// Only these cases, by name: read, modify, ycsb-a, ycsb-b, ycsb-f, crowd, ordered-read, scan,
    /// parts, ycsb-e, batch [default: all but batch, which takes several gigabytes]
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// The cases that were asked for, or the name of one that does not exist.
fn chosen(only: &[String]) -> Result<Vec<&'static Case>, String> {
    static ALL: [Case; CASES.len()] = CASES;
    if only.is_empty() {
        return Ok(ALL.iter().filter(|case| case.data != Data::Tenfold).collect());
    }
    let find = |name: &String| {
        let found = ALL.iter().find(|case| case.name == name);
        found.ok_or_else(|| format!("there is no case \"{name}\"; see --help"))
    };
    only.iter().map(find).collect()
}

fn main() -> ExitCode {
    let options = Options::parse();
    let cases = match chosen(&options.only) {
        Ok(cases) => cases,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
    };
    let Ok(time) = Duration::try_from_secs_f64(options.seconds) else {
        eprintln!("--seconds: a positive number of seconds");
        return ExitCode::FAILURE;
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.map_or(cores, usize::from);
    let plan = Plan { time, rounds: usize::from(options.rounds), seed: options.seed };
    println!(
        "{} records of 8 + 100 bytes, loaded in {} order, {} rounds of {} s, seed {}, \
         {cores} cores, system allocator",
        options.records,
        if options.in_key_order { "their" } else { "a scattered" },
        options.rounds,
        options.seconds,
        options.seed
    );
    println!("ratio: the first row of a case to this one, median over the rounds");
    table::heading();
    let stores = Stores::new(options.records, !options.in_key_order);
    for case in cases {
        let own = stores.for_case(case);
        let stores = own.as_ref().unwrap_or(&stores);
        let contestants = case.contestants(stores, threads);
        let windows = contest::rounds(&contestants, case.mix, stores.records(), plan);
        table::print(case.name, case.what, &contestants, &windows);
    }
    ExitCode::SUCCESS
}
