//! Random concurrent histories of appends to lists, and two judges of them, under every protocol at
//! the level that it declares.
//!
//! The first judge is `adya`, which nobody here has written; it looks for every anomaly of Adya's
//! catalogue. Install it with `cargo install adya --no-default-features` or name the binary in
//! `CHRONOLITH_ADYA`. The second is `common/list_append.rs`, which needs nothing and always runs.
//! That both have teeth is shown with histories made by hand.

#[path = "common/histories.rs"]
mod histories;
#[path = "common/list_append.rs"]
mod list_append;
#[path = "common/random.rs"]
mod random;

use chronolith::Store;
use chronolith::protocol::{self, Isolation, Protocol, Visitor};
use list_append::{Action, Entry};
use std::path::PathBuf;
use std::process::Command;

/// Transactions of the default protocol, over all stores; others, which are slower, get a tenth.
const TRANSACTIONS: u64 = 100_000;

/// A level, and whether it comes with real-time order.
type Level = (Isolation, bool);

/// The third-party checker, where there is one. Where tests are a gate, it has to be there.
fn adya() -> Option<PathBuf> {
    let named = std::env::var_os("CHRONOLITH_ADYA").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut found = std::env::split_paths(&path).map(|folder| folder.join("adya"));
    let binary = named.or_else(|| found.find(|file| file.is_file()));
    if binary.is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI needs `adya`: see the top of this file");
        println!("skipped: no `adya`; see the top of tests/history.rs");
    }
    binary
}

/// What the checker calls a level.
fn model((isolation, strict): Level) -> &'static str {
    match (isolation, strict) {
        (Isolation::Serializable, true) => "strict-serializable",
        (Isolation::Serializable, false) => "serializable",
        (Isolation::Snapshot, true) => "strong-snapshot-isolation",
        (Isolation::Snapshot, false) => "snapshot-isolation",
        (other, _) => panic!("the checker has no name for the level {other:?}"),
    }
}

/// The exit code of the checker for a history: 0 valid, 1 an anomaly, 2 unknown, 3 an error.
fn judge(adya: &PathBuf, history: &[Entry], level: Level) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.jsonl");
    std::fs::write(&file, list_append::to_json_lines(history)).unwrap();
    let output = Command::new(adya)
        .args(["check", "-m", "list-append", "-c", model(level), "--json"])
        // A search that runs out of time says "unknown", which is no verdict.
        .args(["--cycle-search-timeout", "60000"])
        .arg(&file)
        .output()
        .expect("the checker starts");
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

struct Recorded {
    shards: usize,
    transactions: u64,
}

impl Visitor for Recorded {
    type Output = ();
    fn visit<P: Protocol>(self) {
        let store = Store::builder().shards(self.shards).build_with::<P>().unwrap();
        let history = histories::record(&store, self.transactions);
        let committed = history.iter().filter(|entry| entry.committed).count();
        println!("{}: {committed} of {} committed", P::NAME, history.len());
        assert!(committed > history.len() / 4, "too few to say anything");
        if let Err(anomaly) = list_append::check(&history, P::ISOLATION, P::STRICT) {
            panic!("{}: {anomaly}", P::NAME);
        }
        if let Some(adya) = adya() {
            let (code, said) = judge(&adya, &history, (P::ISOLATION, P::STRICT));
            assert_eq!(code, Some(0), "{}: {said}", P::NAME);
        }
    }
}

#[test]
fn histories_are_possible_at_the_declared_level() {
    for (place, name) in protocol::NAMES.iter().enumerate() {
        let transactions = if place == 0 { TRANSACTIONS } else { TRANSACTIONS / 10 };
        for shards in [1, 3] {
            let recorded = Recorded { shards, transactions: transactions / 2 };
            protocol::dispatch(name, recorded).expect("a registered protocol");
        }
    }
}

/// A history by hand: each transaction with its process, when it was called and when it returned.
fn by_hand(entries: &[(u64, [u64; 2], &[Action])]) -> Vec<Entry> {
    let entry = |&(process, [invoked, returned], actions): &(u64, [u64; 2], &[Action])| Entry {
        process,
        invoked,
        returned,
        committed: true,
        actions: actions.to_vec(),
    };
    entries.iter().map(entry).collect()
}

const LEVELS: [Level; 4] = [
    (Isolation::Serializable, true),
    (Isolation::Serializable, false),
    (Isolation::Snapshot, true),
    (Isolation::Snapshot, false),
];

/// Histories, and at which of the levels they are possible.
fn judged() -> Vec<(&'static str, [bool; 4], Vec<Entry>)> {
    use Action::{Append, Read};
    let (none, one, two, both) = (vec![], vec![1], vec![2], vec![1, 2]);
    // A transaction's reading of the two lists.
    let reads = |x: &[u32], y: &[u32]| [Read(1, x.to_vec()), Read(2, y.to_vec())];
    let good = by_hand(&[
        (0, [1, 4], &[Read(1, none.clone()), Append(1, 1)]),
        (1, [2, 6], &[Append(1, 2), Read(1, both.clone())]),
        (0, [7, 8], &reads(&both, &none)),
    ]);
    // Each has missed the other's append.
    let write_skew = by_hand(&[
        (0, [1, 4], &[Read(1, none.clone()), Append(2, 2)]),
        (1, [2, 5], &[Read(2, none.clone()), Append(1, 1)]),
        (2, [6, 7], &reads(&one, &two)),
    ]);
    // The reader has seen that the slow one did not come first.
    let read_only = by_hand(&[
        (0, [1, 9], &[Read(1, none.clone()), Read(2, none.clone()), Append(1, 1)]),
        (1, [2, 3], &[Read(2, none.clone()), Append(2, 2)]),
        (2, [4, 5], &reads(&none, &two)),
        (2, [10, 11], &reads(&one, &two)),
    ]);
    let lost_append = by_hand(&[
        (0, [1, 4], &[Read(1, none.clone()), Append(1, 1)]),
        (1, [2, 5], &[Read(1, none.clone()), Append(1, 2)]),
        (2, [6, 7], &[Read(1, two.clone())]),
        (2, [8, 9], &[Read(1, one.clone())]),
    ]);
    let missed_append = by_hand(&[
        (0, [1, 4], &[Read(1, none.clone()), Append(1, 1)]),
        (1, [2, 5], &[Read(1, none.clone()), Append(1, 2)]),
        (2, [6, 7], &[Read(1, both)]),
    ]);
    let read_skew = by_hand(&[
        (0, [1, 4], &[Append(1, 1), Append(2, 2)]),
        (1, [2, 5], &reads(&one, &none)),
        (2, [6, 7], &reads(&one, &two)),
    ]);
    let long_fork = by_hand(&[
        (0, [1, 9], &[Append(1, 1)]),
        (1, [1, 9], &[Append(2, 2)]),
        (2, [1, 9], &reads(&one, &none)),
        (3, [1, 9], &reads(&none, &two)),
        (4, [10, 11], &reads(&one, &two)),
    ]);
    let stale = by_hand(&[
        (0, [1, 2], &[Append(1, 1)]),
        (1, [3, 4], &[Read(1, none)]),
        (1, [5, 6], &[Read(1, one)]),
    ]);
    vec![
        ("good", [true; 4], good),
        ("write skew", [false, false, true, true], write_skew),
        ("read-only anomaly", [false, false, true, true], read_only),
        ("lost append", [false; 4], lost_append),
        ("missed append", [false; 4], missed_append),
        ("read skew", [false; 4], read_skew),
        ("long fork", [false; 4], long_fork),
        ("stale read in real time", [false, true, false, true], stale),
    ]
}

#[test]
fn both_judges_convict_and_acquit() {
    for (name, verdicts, history) in judged() {
        let own = LEVELS.map(|(level, strict)| list_append::check(&history, level, strict).is_ok());
        assert_eq!(own, verdicts, "{name}");
        let Some(adya) = adya() else { continue };
        for (level, possible) in LEVELS.into_iter().zip(verdicts) {
            let (code, said) = judge(&adya, &history, level);
            assert_eq!(code, Some(i32::from(!possible)), "{name}, {level:?}: {said}");
        }
    }
}
