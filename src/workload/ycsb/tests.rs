//! Scans: what they return, how long they are, and that what goes wrong with them is counted.

use super::config::Verb;
use super::{KINDS, Records, Tally, Ycsb, YcsbWorker};
use crate::protocol::{self, Mvocc, Protocol, Visitor};
use crate::sync::fault::{Armed, ArmedHere, Fault};
use crate::workload::common::testing::{self, Loaded};
use crate::workload::{End, Fingerprint, Seed, Worker, Workload};
use crate::{Attempts, TransactionError};
use std::collections::BTreeSet;

/// Scans of a small table.
const SCANS: &[(&str, &str)] = &[
    ("recordcount", "200"),
    ("fieldcount", "2"),
    ("fieldlength", "30"),
    ("readproportion", "0"),
    ("updateproportion", "0"),
    ("scanproportion", "1"),
    ("maxscanlength", "50"),
];

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [SCANS, more].concat()
}

type LoadedYcsb<P = Mvocc> = Loaded<Ycsb, P>;

fn worker<P: Protocol>(loaded: &LoadedYcsb<P>) -> YcsbWorker<'_, P> {
    loaded.workload.worker(&loaded.store, &loaded.tables, Seed::new(3), 0, 1)
}

/// Runs one request.
fn run<P: Protocol>(worker: &mut YcsbWorker<'_, P>) {
    worker.prepare();
    let end = worker.execute(&mut Attempts::default()).expect("no misuse");
    worker.settle(end);
}

/// What one worker counts in so many requests.
fn counted<P: Protocol>(loaded: &LoadedYcsb<P>, requests: usize) -> Vec<u64> {
    let mut worker = worker(loaded);
    (0..requests).for_each(|_| run(&mut worker));
    worker.tallies().to_vec()
}

#[test]
fn scans_hold_on_every_protocol() {
    struct Holds<'a>(&'a [(&'a str, &'a str)]);
    impl Visitor for Holds<'_> {
        type Output = ();
        fn visit<P: Protocol>(self) {
            if !testing::is_supported::<Ycsb, P>(self.0) {
                return;
            }
            let loaded = LoadedYcsb::<P>::new(self.0);
            let (_, violations) = loaded.work(5, 150, &[]);
            assert_eq!(violations, 0, "{}, {:?}", P::NAME, self.0);
        }
    }
    let _nobody_arms = Armed::new(None);
    let inserts = with(&[("insertproportion", "0.3"), ("dataintegrity", "true")]);
    let all = with(&[
        ("insertproportion", "0.5"),
        ("deleteproportion", "0.5"),
        ("updateproportion", "0.5"),
        ("readmodifywriteproportion", "0.5"),
        ("opspertransaction", "3"),
        ("scanlengthdistribution", "zipfian"),
        ("dataintegrity", "true"),
    ]);
    let numbers = with(&[
        ("insertproportion", "0.3"),
        ("keytype", "integer"),
        ("insertorder", "ordered"),
        ("readonlyview", "false"),
    ]);
    for settings in [&inserts, &all, &numbers] {
        for name in protocol::NAMES {
            protocol::dispatch(name, Holds(settings)).expect("a registered protocol");
        }
    }
}

/// The bytes of a key, which sort as the key does, and its record.
type Entry = (Vec<u8>, Vec<u8>);

/// All that is in the store, in order, without a range.
fn model(loaded: &LoadedYcsb) -> Result<Vec<Entry>, TransactionError> {
    let config = &loaded.workload.config;
    let numbers = (0..config.shape.space.records).map(|record| config.keys.number_of(record));
    let keys: BTreeSet<(Vec<u8>, u64)> = numbers
        .map(|number| {
            let mut text = Vec::new();
            match config.keys.integer {
                true => text.extend_from_slice(&number.to_be_bytes()),
                false => config.keys.append_text(number, &mut text),
            }
            (text, number)
        })
        .collect();
    loaded.store.view(|tx| {
        let sorted = keys.iter().map(|(text, number)| {
            let record = match &loaded.tables.records {
                Records::Text(table) => tx.get(&table.points, text)?,
                Records::Integer(table) => tx.get(&table.points, number)?,
            };
            Ok((text.clone(), record.expect("it was loaded").to_vec()))
        });
        sorted.collect()
    })
}

#[test]
fn a_scan_returns_consecutive_records_from_its_key_on() {
    for (key_type, order) in
        [("string", "hashed"), ("string", "ordered"), ("integer", "hashed"), ("integer", "ordered")]
    {
        let loaded = LoadedYcsb::<Mvocc>::new(&with(&[
            ("keytype", key_type),
            ("insertorder", order),
            ("opspertransaction", "2"),
        ]));
        let sorted = model(&loaded).expect("nobody else writes");
        let mut worker = worker(&loaded);
        let mut reached_the_end = false;
        for _ in 0..100 {
            run(&mut worker);
            let mut expected = Vec::new();
            for operation in &worker.request.operations {
                let number = operation.number.to_be_bytes();
                let start = match key_type {
                    "string" => worker.request.text_key(operation),
                    _ => number.as_slice(),
                };
                let from = sorted.iter().skip_while(|(key, _)| key.as_slice() < start);
                let read: Vec<_> = from.take(operation.length as usize).collect();
                reached_the_end |= read.len() < operation.length as usize;
                read.iter().for_each(|(_, record)| expected.extend_from_slice(record));
            }
            assert!(worker.scratch.copied == expected, "{key_type}, {order}");
        }
        assert!(reached_the_end, "{key_type}, {order}: no scan met the end of the table");
    }
}

#[test]
fn a_scan_is_one_operation_and_of_its_kind() {
    let loaded = LoadedYcsb::<Mvocc>::new(SCANS);
    let tallies = counted(&loaded, 50);
    assert_eq!(tallies[Verb::Scan as usize], 50);
    assert!(tallies[Tally::Scanned as usize] > 50);
    assert_eq!(tallies.iter().sum::<u64>(), 50 + tallies[Tally::Scanned as usize]);
    let mut one = worker(&loaded);
    run(&mut one);
    assert_eq!(KINDS[one.kind()], "SCAN");
    assert!(one.request.only_reads);
    let basis = loaded.workload.basis();
    assert!(basis[0].1.starts_with("scans 100 %"), "{basis:?}");
    let scans = basis.iter().find(|(word, _)| *word == "scans").expect("described");
    assert!(scans.1.starts_with("1 to 50 records, uniform, "), "{scans:?}");
}

#[test]
fn one_field_is_read_where_a_read_would_read_one() {
    let loaded = LoadedYcsb::<Mvocc>::new(&with(&[("readallfields", "false")]));
    let mut worker = worker(&loaded);
    for _ in 0..20 {
        run(&mut worker);
        assert_eq!(worker.scratch.copied.len() as u64, worker.scratch.scanned * 30);
    }
}

#[test]
fn only_mixes_with_scans_have_an_ordered_table() {
    for (share, expected) in [("0", false), ("0.01", true)] {
        let settings = [("recordcount", "10"), ("scanproportion", share)];
        let loaded = LoadedYcsb::<Mvocc>::new(&settings);
        let Records::Text(table) = &loaded.tables.records else { panic!("keys are texts") };
        assert_eq!(table.ordered.is_some(), expected);
        let described = loaded.workload.basis().iter().any(|(word, _)| *word == "scans");
        assert_eq!(described, expected);
    }
}

/// How often scans of each length were drawn, from 0 on.
fn lengths(settings: &[(&str, &str)], scans: usize) -> Vec<u64> {
    let loaded = LoadedYcsb::<Mvocc>::new(&with(settings));
    let mut worker = worker(&loaded);
    let mut counts = Vec::new();
    for _ in 0..scans {
        worker.prepare();
        let length = worker.request.operations[0].length as usize;
        counts.resize(counts.len().max(length + 1), 0);
        counts[length] += 1;
        worker.settle(End::GaveUp);
    }
    counts
}

#[test]
fn lengths_follow_their_distribution_and_stay_within_their_bounds() {
    const DRAWN: usize = 20_000;
    let bounds = [("minscanlength", "11"), ("maxscanlength", "30")];
    let check = |distribution, share: &dyn Fn(usize) -> f64| {
        let more = [&bounds[..], &[("scanlengthdistribution", distribution)]].concat();
        let counts = lengths(&more, DRAWN);
        assert_eq!(counts.len(), 31, "{distribution}: {counts:?}");
        assert_eq!(counts[..11].iter().sum::<u64>(), 0, "{distribution}: {counts:?}");
        for rank in 0..20 {
            let expected = share(rank) * DRAWN as f64;
            let off = (counts[11 + rank] as f64 - expected).abs();
            // Five deviations of a binomial count: the seed is fixed, so this never wavers.
            assert!(off < 5.0 * expected.sqrt(), "{distribution}, {rank}: {counts:?}");
        }
    };
    check("uniform", &|_| 1.0 / 20.0);
    // Where YCSB's rank for a uniform draw begins, after Gray et al., worked out anew.
    let zeta = |n: i32| (1..=n).map(|i| 1.0 / f64::from(i).powf(0.99)).sum::<f64>();
    let eta = (1.0 - (2.0_f64 / 20.0).powf(0.01)) / (1.0 - zeta(2) / zeta(20));
    let begins = |rank: usize| match rank {
        0 => 0.0,
        1 => 1.0 / zeta(20),
        _ => {
            let by_formula = ((rank as f64 / 20.0).powf(0.01) - 1.0 + eta) / eta;
            by_formula.clamp(zeta(2) / zeta(20), 1.0)
        }
    };
    check("zipfian", &|rank| begins(rank + 1) - begins(rank));
    let same = lengths(&[("minscanlength", "7"), ("maxscanlength", "7")], 100);
    assert_eq!((same.len(), same[7]), (8, 100));
}

#[test]
fn the_fingerprint_tells_lengths_apart() {
    let fingerprint = |max: &str| {
        let loaded = LoadedYcsb::<Mvocc>::new(&with(&[("maxscanlength", max)]));
        let mut worker = worker(&loaded);
        worker.prepare();
        let mut fingerprint = Fingerprint::new();
        worker.describe(&mut fingerprint);
        fingerprint.value()
    };
    assert_eq!(fingerprint("1000"), fingerprint("1000"));
    assert_ne!(fingerprint("1000"), fingerprint("900"));
}

#[test]
fn keys_out_of_order_are_a_violation() {
    let _one_at_a_time = Armed::new(None);
    let loaded = LoadedYcsb::<Mvocc>::new(SCANS);
    assert_eq!(counted(&loaded, 100)[Tally::Disorder as usize], 0);
    let armed = ArmedHere::new(&[Fault::MergeUnsorted]);
    assert!(counted(&loaded, 100)[Tally::Disorder as usize] > 0);
    drop(armed);
    assert_eq!(counted(&loaded, 100)[Tally::Disorder as usize], 0);
}

#[test]
fn a_record_that_scans_miss_is_lost() {
    let loaded = LoadedYcsb::<Mvocc>::new(&with(&[("requestdistribution", "sequential")]));
    assert_eq!(counted(&loaded, 200)[Tally::Lost as usize], 0);
    let Records::Text(table) = &loaded.tables.records else { panic!("keys are texts") };
    let mut key = Vec::new();
    loaded.workload.config.keys.append_text(loaded.workload.config.keys.number_of(9), &mut key);
    let removed = loaded.store.transact(|tx| tx.remove(&table.points, key.as_slice()));
    assert_eq!(removed, Ok(true));
    // Each record is the start of one of the scans.
    assert_eq!(counted(&loaded, 200)[Tally::Lost as usize], 1);
}

#[test]
fn a_wrong_record_is_found_by_the_scans_that_read_it() {
    let loaded = LoadedYcsb::<Mvocc>::new(&with(&[("dataintegrity", "true")]));
    let before = counted(&loaded, 100);
    assert_eq!(before[Tally::Verified as usize], before[Tally::Scanned as usize]);
    assert_eq!(before[Tally::Wrong as usize], 0);
    let Records::Text(table) = &loaded.tables.records else { panic!("keys are texts") };
    let key = model(&loaded).expect("nobody else writes").swap_remove(100).0;
    let spoiled = loaded.store.transact(|tx| tx.put(&table.points, &key, &[b'?'; 60]));
    spoiled.expect("nobody else writes");
    let after = counted(&loaded, 100)[Tally::Wrong as usize];
    // About every eighth scan comes by.
    assert!((1..100).contains(&after), "{after}");
}

#[test]
fn bad_scan_properties_are_refused() {
    testing::refuses::<Ycsb>(&[
        ("scanproportion", "-0.1 NaN inf most", "a number from 0 to 1000000000"),
        ("minscanlength", "0 -1 1.5 16777217", "a whole number from 1 to 16777216"),
        (
            "maxscanlength",
            "0 -100 hundred 99999999999999999999",
            "a whole number from 1 to 16777216",
        ),
        ("scanlengthdistribution", "histogram Uniform ", "one of uniform, zipfian"),
        ("insertorder", "sorted", "one of hashed, ordered"),
    ]);
    testing::refuses_with::<Ycsb>(&[
        (
            "minscanlength=9 maxscanlength=5",
            "minscanlength=9 is above maxscanlength=5: lower the one or raise \
             the other",
        ),
        ("scanpropotion=1", "unknown property scanpropotion (-p): did you mean scanproportion?"),
    ]);
}
