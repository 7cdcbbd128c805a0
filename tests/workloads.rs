//! The banking, register, vote and snapshot workloads, and YCSB's short ranges, as a user runs
//! them: small, on the built binary.
#![cfg(feature = "cli")]

#[path = "common/command.rs"]
mod command;

use chronolith::protocol::{self, NAMES, Protocol, Ranges, Visitor};
use command::{chronolith, fails, parse_json, succeeds};

/// Every preset, with what makes it small.
const SMALL: [(&str, &str); 8] = [
    ("bank", "accounts=50"),
    ("bank-split", "accounts=50"),
    ("closed-economy", "accounts=50"),
    ("smallbank", "customers=1500"),
    ("smallbank-hot", "customers=100"),
    ("tatp", "subscribers=200"),
    ("voter", "phones=200"),
    ("sibench", "records=20"),
];

#[test]
fn every_preset_runs_and_its_audits_hold() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run.json");
    let shown = path.to_str().expect("a plain path");
    for (index, (preset, small)) in SMALL.into_iter().enumerate() {
        // The protocols take turns; the tests in the crate run every workload on each of them.
        let protocol = NAMES[index % NAMES.len()];
        let run = ["run", "-q", "-t", "2", "-n", "3000", "-p", "auditinterval=1"];
        let more = ["-w", preset, "-p", small, "--protocol", protocol, "--json", shown];
        let report = succeeds(&chronolith(&[&run[..], &more].concat()));
        assert!(report.contains("audits       "), "{report}");
        assert!(!report.contains("BROKEN") && !report.contains("VIOLATION"), "{report}");
        let document = parse_json(&path);
        let repetition = &document["repetitions"][0];
        let audits = &repetition["audits"];
        assert_eq!(audits["after"]["held"], 1, "{audits}");
        assert_eq!(audits["during"]["broken"], 0, "{audits}");
        assert_eq!(audits["during"]["held"].as_u64() > Some(0), preset != "tatp", "{audits}");
        let findings = audits["findings"].as_array().expect("a list");
        assert!(findings.iter().all(|finding| finding["holds"] == true), "{audits}");
        assert!(document["violations"].as_object().is_some_and(serde_json::Map::is_empty));
    }
}

/// Whether a protocol has ranges.
struct HasRanges;

impl Visitor for HasRanges {
    type Output = bool;
    fn visit<P: Protocol>(self) -> bool {
        P::RANGES != Ranges::Unsupported
    }
}

#[test]
fn short_ranges_run_on_every_protocol_that_has_ranges() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run.json");
    let shown = path.to_str().expect("a plain path");
    let small = ["-w", "ycsb-e", "-q", "-t", "2", "-p", "recordcount=500", "-n", "1000"];
    let verified = ["-p", "fieldlength=40", "-p", "dataintegrity=true", "--json", shown];
    let mut with_ranges = Vec::new();
    for name in NAMES {
        let run = ["run", "--protocol", name];
        let output = chronolith(&[&run[..], &small, &verified].concat());
        if !protocol::dispatch(name, HasRanges).expect("a registered protocol") {
            fails(&output, &format!("the protocol {name} has none"));
            continue;
        }
        with_ranges.push(*name);
        let report = succeeds(&output);
        for part in ["SCAN", "1 to 100 records, uniform", "inserts 5 %, scans 95 %"] {
            assert!(report.contains(part), "{name}: {part} is missing:\n{report}");
        }
        let document = parse_json(&path);
        assert!(document["violations"].as_object().is_some_and(serde_json::Map::is_empty));
        let tallies = &document["repetitions"][0]["tallies"];
        let count = |tally: &str| tallies[tally].as_u64().unwrap_or(0);
        assert_eq!(count("scans") + count("inserts"), 1000, "{tallies}");
        let read = count("records that scans read");
        // From 1 to 100 records, uniform: 50 on average, less where the table ends.
        assert!((30..=60).contains(&(read / count("scans"))), "{tallies}");
        assert_eq!(count("verified reads"), read, "{tallies}");
    }
    let names = with_ranges.join(",");
    let compare = ["compare", "--reps", "2", "--protocols", &names];
    let report = succeeds(&chronolith(&[&compare[..], &small].concat()));
    assert!(with_ranges.iter().all(|name| report.contains(&format!("| {name}"))), "{report}");
}

#[test]
fn lists_show_workloads_and_whose_properties_are_whose() {
    let workloads = succeeds(&chronolith(&["list", "workloads"]));
    for (preset, _) in SMALL {
        assert!(workloads.lines().any(|line| line.starts_with(&format!("{preset} "))), "{preset}");
    }
    let properties = succeeds(&chronolith(&["list", "properties"]));
    for (property, workload) in [
        ("rowsperaccount", "bank"),
        ("writecheck", "smallbank"),
        ("subscribers", "tatp"),
        ("votelimit", "voter"),
        ("minimumproportion", "sibench"),
        ("recordcount", "core"),
        ("auditinterval", "any"),
    ] {
        let line = properties.lines().find(|line| line.starts_with(&format!("{property} ")));
        let words: Vec<&str> = line.expect("a row").split_whitespace().collect();
        assert!(words.contains(&workload), "{words:?}");
    }
}

#[test]
fn a_long_reader_is_compared_with_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run.json");
    let shown = path.to_str().expect("a plain path");
    let run = ["run", "-q", "-t", "2", "-d", "400ms", "--warmup", "0s", "-w", "bank"];
    let more = ["--long-reader", "n=2,hold=50ms", "--json", shown];
    let report = succeeds(&chronolith(&[&run[..], &more].concat()));
    for part in ["long reader  n=2,hold=50ms", "it held up", "drained", "which means"] {
        assert!(report.contains(part), "{part} is missing:\n{report}");
    }
    let replay = report.lines().find(|line| line.starts_with("replay"));
    assert!(replay.is_some_and(|line| line.contains("--long-reader n=2,hold=50ms")), "{report}");
    let document = parse_json(&path);
    let reader = &document["repetitions"][0]["long_reader"];
    assert!(reader["held"].as_u64() >= Some(2), "{reader}");
    assert!(reader["committed_per_s_without"].as_f64() > Some(0.0), "{reader}");
    // Both runs are audited.
    assert_eq!(document["repetitions"][0]["audits"]["after"]["held"], 2);
}

#[test]
fn audits_during_the_run_can_be_left_out() {
    let run = ["run", "-q", "-t", "2", "-n", "500", "-w", "bank", "-p", "auditinterval=0"];
    let report = succeeds(&chronolith(&run));
    assert!(report.contains("after it 1 held") && !report.contains("during the run"), "{report}");
}

#[test]
fn bad_input_is_one_line_and_exit_code_1() {
    for (preset, property, part) in [
        ("bank", "accounts=1", "accounts=1"),
        ("bank", "acounts=10", "did you mean accounts?"),
        ("bank", "rowsperaccount=3", "from 1 to 2"),
        ("bank", "transferproportion=0", "auditproportion"),
        ("smallbank", "customers=-1", "customers=-1"),
        ("smallbank", "maxbalance=5", "a whole number of cents"),
        ("tatp", "subscribers=0", "subscribers=0"),
        ("tatp", "recordcount=5", "unknown property recordcount"),
        ("voter", "votelimit=none", "votelimit=none"),
        ("voter", "invalidproportion=7", "from 0 to 1"),
        ("sibench", "records=0", "records=0"),
        ("sibench", "auditinterval=soon", "auditinterval=soon"),
    ] {
        // With no share left for the others, the proportions that remain sum to 0.
        let rest = if property == "transferproportion=0" { "auditproportion=0" } else { property };
        fails(&chronolith(&["run", "-w", preset, "-p", property, "-p", rest]), part);
    }
    for (readers, part) in
        [("n=0", "from 1 to 1024"), ("hold=0s", "hold"), ("5s", "n=1,hold=5s"), ("", "n=1,hold=5s")]
    {
        fails(&chronolith(&["run", "-w", "bank", "--long-reader", readers]), part);
    }
}
