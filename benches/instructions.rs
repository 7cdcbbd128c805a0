//! Instructions per committed transaction, counted by callgrind: a figure that repeats on any
//! machine.
//!
//! `cargo bench --no-default-features --bench instructions`
//!
//! 8-byte keys and values in a hash table, or for ranges in an ordered one, one thread, ten
//! operations a transaction, keys uniform over [`RECORDS`]. The program runs itself under valgrind
//! with N and with 2N transactions and takes the difference. callgrind counts inside [`measured`]
//! alone: the load, the drawing of the keys and above all the calibration of the store's clock are
//! outside, whose threads spin for each other and so never execute the same number of instructions
//! twice. The counts are of user-space instructions: neither time nor cache misses. The clock is
//! named, because valgrind may hide what the store looks for.

use chronolith::{OrderedTable, Store, Table, TransactionError};
use std::hint::black_box;
use std::io::ErrorKind;
use std::process::{Command, ExitCode};

/// Records in the table.
const RECORDS: u64 = 100_000;
/// Operations in a transaction.
const OPERATIONS: usize = 10;
/// Entries of a range.
const RANGE: usize = 10;
/// Transactions in the shorter run; the longer one has twice as many.
const TRANSACTIONS: usize = 20_000;
/// Transactions before the loop, so that every path has been taken once.
const WARM_UP: usize = 2_000;
const SEED: u64 = 0x5eed;

/// The first argument of the run that is counted; never given by hand.
const COUNTED: &str = "--counted";
/// What the counted run says its clock is.
const CLOCK: &str = "clock: ";

type Keys = [u64; OPERATIONS];

/// The tables of a run, of which only the one that its case works on has records.
struct Tables {
    hashed: Table<u64, u64>,
    ordered: OrderedTable<u64, u64>,
}

/// Runs one transaction.
type Run = fn(&Store, &Tables, &Keys) -> Result<(), TransactionError>;

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    what: &'static str,
    /// The most instructions that the project allows itself.
    target: Option<u64>,
    /// Whether it works on the ordered table.
    ordered: bool,
    run: Run,
}

const CASES: [Case; 5] = [
    Case {
        name: "read-modify-write",
        what: "transact: 5 gets, 5 read-modify-writes",
        target: Some(4_000),
        ordered: false,
        run: read_modify_write,
    },
    Case { name: "reads", what: "view: 10 gets", target: Some(1_600), ordered: false, run: reads },
    Case { name: "batch", what: "view: get_many of 10", target: None, ordered: false, run: batch },
    Case {
        name: "ranges",
        what: "view: 10 ranges of 10, ordered table",
        target: None,
        ordered: true,
        run: ranges,
    },
    Case { name: "empty", what: "view: nothing", target: None, ordered: false, run: empty },
];

fn read_modify_write(store: &Store, tables: &Tables, keys: &Keys) -> Result<(), TransactionError> {
    store.transact(|tx| {
        for (place, key) in keys.iter().enumerate() {
            if place % 2 == 0 {
                black_box(tx.get(&tables.hashed, key)?);
            } else {
                tx.update(&tables.hashed, key, |value| value.wrapping_add(1))?;
            }
        }
        Ok(())
    })
}

fn reads(store: &Store, tables: &Tables, keys: &Keys) -> Result<(), TransactionError> {
    store.view(|tx| {
        for key in keys {
            black_box(tx.get(&tables.hashed, key)?);
        }
        Ok(())
    })
}

fn batch(store: &Store, tables: &Tables, keys: &Keys) -> Result<(), TransactionError> {
    store.view(|tx| {
        let keys: [&u64; OPERATIONS] = std::array::from_fn(|place| &keys[place]);
        let mut found = [None; OPERATIONS];
        tx.get_many(&tables.hashed, &keys, &mut found)?;
        black_box(&found);
        Ok(())
    })
}

fn ranges(store: &Store, tables: &Tables, keys: &Keys) -> Result<(), TransactionError> {
    store.view(|tx| {
        for &key in keys {
            for entry in tx.range(&tables.ordered, key..)?.limit(RANGE) {
                black_box(entry?);
            }
        }
        Ok(())
    })
}

fn empty(store: &Store, _tables: &Tables, _keys: &Keys) -> Result<(), TransactionError> {
    store.view(|tx| {
        black_box(tx);
        Ok(())
    })
}

/// Sebastiano Vigna's SplitMix64: enough for uniform keys, and no dependency.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn key(&mut self) -> u64 {
        ((u128::from(self.next()) * u128::from(RECORDS)) >> 64) as u64
    }
}

/// The part that callgrind counts; it finds the function by its name, so it must stay one.
#[inline(never)]
fn measured(
    run: Run,
    store: &Store,
    tables: &Tables,
    requests: &[Keys],
) -> Result<(), TransactionError> {
    requests.iter().try_for_each(|keys| run(store, tables, keys))
}

/// The run that is counted: always the same but for the number of transactions.
fn counted(case: Case, transactions: usize) -> Result<(), TransactionError> {
    // One shard count and one hash seed, so that placement is the same in every run.
    let store = Store::builder().shards(2).hash_seed(SEED).build()?;
    let tables =
        Tables { hashed: store.table("hashed")?, ordered: store.ordered_table("ordered")? };
    let table: &Table<u64, u64> = if case.ordered { &tables.ordered } else { &tables.hashed };
    for first in (0..RECORDS).step_by(1_000) {
        store.transact(|tx| {
            (first..RECORDS.min(first + 1_000)).try_for_each(|key| tx.put(table, key, key))
        })?;
    }
    let mut random = SplitMix(SEED);
    let requests: Vec<Keys> =
        (0..WARM_UP + 2 * TRANSACTIONS).map(|_| std::array::from_fn(|_| random.key())).collect();
    let (warm_up, rest) = requests.split_at(WARM_UP);
    warm_up.iter().try_for_each(|keys| (case.run)(&store, &tables, keys))?;
    measured(case.run, &store, &tables, &rest[..transactions])?;
    println!("{CLOCK}{}", store.clock_name());
    let aborts: u64 = store.stats().aborts.iter().sum();
    assert_eq!(aborts, 0, "one thread has nobody to conflict with");
    Ok(())
}

/// Why there is no count.
enum Failed {
    NoValgrind,
    Other(String),
}

/// The instructions of this many transactions, and the clock that they used.
fn instructions(case: Case, transactions: usize) -> Result<(u64, String), Failed> {
    let other = |why: String| Failed::Other(format!("{}: {why}", case.name));
    let program = std::env::current_exe().map_err(|error| other(error.to_string()))?;
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args(["--collect-atstart=no", "--toggle-collect=instructions::measured"])
        .arg(program)
        .args([COUNTED, case.name, &transactions.to_string()])
        .output()
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => Failed::NoValgrind,
            _ => other(error.to_string()),
        })?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(other(format!("{}\n{text}", output.status)));
    }
    // callgrind's last words: "==123== Collected : 456".
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    let count =
        collected.and_then(|(_, count)| count.trim().parse().ok()).filter(|&count| count > 0);
    let count = count.ok_or_else(|| other(format!("no count in what callgrind says:\n{text}")))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let clock = said.lines().find_map(|line| line.strip_prefix(CLOCK)).unwrap_or("unknown");
    Ok((count, clock.to_string()))
}

/// Counts every case and prints the table.
fn report() -> Result<(), Failed> {
    println!("instructions per transaction: 8-byte keys and values, uniform over {RECORDS}");
    println!("{:<42} {:>13} {:>9}", "transaction", "instructions", "target");
    let mut clock = String::new();
    for case in CASES {
        let (short, _) = instructions(case, TRANSACTIONS)?;
        let (long, its_clock) = instructions(case, 2 * TRANSACTIONS)?;
        clock = its_clock;
        let difference = long.checked_sub(short).ok_or_else(|| {
            Failed::Other(format!("{}: twice the work took fewer instructions", case.name))
        })?;
        let each = difference / TRANSACTIONS as u64;
        let target = case.target.map_or_else(String::new, |most| {
            let verdict = if each <= most { "met" } else { "MISSED" };
            format!("<= {most} {verdict}")
        });
        println!("{:<42} {each:>13} {target:>16}", case.what);
    }
    println!("clock under valgrind: {clock}");
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [flag, name, transactions] = arguments.as_slice()
        && flag == COUNTED
    {
        let case = CASES.into_iter().find(|case| case.name == name);
        let case = case.expect("the name of a case");
        let transactions = transactions.parse().expect("a number of transactions");
        counted(case, transactions).expect("a run with one thread and enough memory");
        return ExitCode::SUCCESS;
    }
    match report() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::NoValgrind) => {
            println!("instructions: skipped, because valgrind is not installed");
            ExitCode::SUCCESS
        }
        Err(Failed::Other(why)) => {
            eprintln!("instructions: {why}");
            ExitCode::FAILURE
        }
    }
}
