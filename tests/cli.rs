//! The command as a user meets it: the built binary, its output, its errors, its exit codes.
#![cfg(feature = "cli")]

#[path = "common/command.rs"]
mod command;

use chronolith::bench::{metric, protocol_facts};
use chronolith::protocol;
use command::{chronolith, command, fails, headings, logged, parse_json, stderr, stdout, succeeds};
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Output, Stdio};

/// A run that is over in a moment.
const SMALL: [&str; 8] = ["run", "-p", "recordcount=500", "-p", "fieldlength=10", "-q", "-t", "2"];

fn small(more: &[&str]) -> Output {
    chronolith(&[&SMALL, more].concat())
}

fn workload_file(name: &str) -> String {
    format!("{}/workloads/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn help_and_lists_are_answers() {
    for arguments in [&["--help"][..], &["run", "--help"], &["--version"], &[]] {
        assert!(succeeds(&chronolith(arguments)).contains("chronolith"), "{arguments:?}");
    }
    let listed = succeeds(&chronolith(&["list", "protocols"]));
    assert!(protocol::NAMES.iter().all(|name| listed.contains(name)), "{listed}");
    assert!(succeeds(&chronolith(&["list", "workloads"])).contains("ycsb-f"));
    assert!(succeeds(&chronolith(&["list", "properties"])).contains("opspertransaction"));
}

#[test]
fn a_run_says_what_it_measured_and_how_to_repeat_it() {
    let report = succeeds(&small(&["-d", "200ms", "--seed", "7", "--pin", "compact"]));
    for part in [
        "throughput",
        "abort rate",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "p99.99",
        "max",
        "hottest key",
        "seed         0x7",
        "machine",
        "harness",
        "mvocc",
        "READ",
        "UPDATE",
        "replay",
    ] {
        assert!(report.contains(part), "{part} is missing:\n{report}");
    }
    let replay = report.lines().find_map(|line| line.strip_prefix("replay       chronolith "));
    let replay: Vec<&str> = replay.expect("a replay line").split(' ').collect();
    assert!(succeeds(&chronolith(&replay)).contains("seed         0x7"));
}

/// The first protocol that heeds the settings of contention, or that does not.
fn protocol_that(heeds: bool) -> &'static str {
    let heeds_it = |name: &str| protocol_facts(name).expect("a protocol").heeds_contention;
    let mut names = protocol::NAMES.iter().copied();
    names.find(|name| heeds_it(name) == heeds).expect("there are both")
}

#[test]
fn what_is_set_about_contention_is_said_and_repeated() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run.json");
    let shown = path.to_str().expect("a plain path");
    let flags = "--backoff adaptive --pre-check off --write-order contention";
    let split: Vec<&str> = flags.split(' ').collect();
    let run = ["-n", "500", "--protocol", protocol_that(true), "--json", shown];
    let report = succeeds(&small(&[&run, &split[..]].concat()));
    let said = "adaptive back-off, no pre-check, writes by contention";
    assert!(report.contains(said), "{report}");
    let replay = report.lines().find_map(|line| line.strip_prefix("replay       chronolith "));
    let replay = replay.expect("a replay line");
    assert!(replay.contains(flags), "{replay}");
    let replay: Vec<&str> = replay.split(' ').collect();
    assert!(succeeds(&chronolith(&replay)).contains(said));
    let config = &parse_json(&path)["config"];
    assert_eq!(config["backoff"], "adaptive");
    assert_eq!(config["pre_check"], false);
    assert_eq!(config["write_order"], "contention");

    for (heeds, said) in [
        (false, "retries until commit, exponential back-off\n"),
        (true, "exponential back-off, pre-check, writes by record\n"),
    ] {
        let report = succeeds(&small(&["-n", "500", "--protocol", protocol_that(heeds)]));
        assert!(report.contains(said), "{report}");
        let unsaid = ["--backoff", "--pre-check", "--write-order"];
        assert!(!unsaid.iter().any(|flag| report.contains(flag)), "{report}");
    }
}

#[test]
fn settings_that_the_protocol_does_not_heed_are_refused() {
    let (deaf, heeding) = (protocol_that(false), protocol_that(true));
    for flag in ["--pre-check off", "--write-order contention"] {
        let split: Vec<&str> = flag.split(' ').collect();
        let output = small(&[&["--protocol", deaf], &split[..]].concat());
        let refused = format!("{flag}: has no effect on protocol {deaf}; it has one on {heeding}");
        fails(&output, &refused);
        assert!(output.stdout.is_empty(), "{}", stdout(&output));
    }
    // Back-off is every protocol's.
    for (policy, said) in [
        ("none", "no"),
        ("fixed", "fixed"),
        ("exponential", "exponential"),
        ("adaptive", "adaptive"),
    ] {
        let run = ["-n", "500", "--backoff", policy, "--protocol", deaf];
        assert!(succeeds(&small(&run)).contains(&format!(", {said} back-off\n")));
    }
}

#[test]
fn the_same_seed_gives_the_same_requests() {
    let other = protocol::NAMES.last().expect("more than the default");
    let counted = |seed: &str| {
        let report = succeeds(&small(&["-n", "2000", "--seed", seed, "--protocol", other]));
        let lines = report.lines().filter(|line| line.starts_with("| "));
        let committed = lines.filter_map(|line| line.split('|').nth(2));
        committed.map(|cell| cell.trim().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(counted("1"), counted("1"));
    assert_ne!(counted("1"), counted("2"));
}

fn sum(values: &Value) -> u64 {
    let numbers: Vec<&Value> = match values {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => map.values().collect(),
        _ => Vec::new(),
    };
    numbers.into_iter().filter_map(Value::as_u64).sum()
}

#[test]
fn the_json_adds_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("run.json");
    let shown = path.to_str().expect("a plain path");
    // Few records and several operations, so that transactions meet.
    let more = ["-p", "opspertransaction=4", "-n", "5000", "--reps", "2", "--json", shown];
    succeeds(&small(&more));
    let document = parse_json(&path);
    assert_eq!(document["schema"], "chronolith.run/v1");
    assert_eq!(document["complete"], true);
    let repetitions = document["repetitions"].as_array().expect("a list");
    assert_eq!(repetitions.len(), 2);
    for repetition in repetitions {
        let counts = &repetition["total"]["counts"];
        let number = |name: &str| counts[name].as_u64().expect("a number");
        assert_eq!(number("committed"), 5000);
        assert_eq!(number("attempts"), 5000 + sum(&counts["aborts"]));
        assert_eq!(sum(&repetition["timeline"]["committed"]), 5000);
        assert_eq!(repetition["total"]["service_ns"]["count"], 5000);
        let kinds = repetition["kinds"].as_object().expect("a map");
        let committed = kinds.values().filter_map(|kind| kind["counts"]["committed"].as_u64());
        assert_eq!(committed.sum::<u64>(), 5000);
        let tallies = &repetition["tallies"];
        let operations = ["reads", "updates"].map(|name| tallies[name].as_u64().unwrap_or(0));
        assert_eq!(operations.iter().sum::<u64>(), 20_000);
        // A failed attempt has begun one operation at least, and all four at most.
        let wasted = tallies["operations of failed attempts"].as_u64().expect("a number");
        let failed = sum(&counts["aborts"]);
        assert!((failed..=4 * failed).contains(&wasted), "{tallies}");
        assert!(number("wasted_ns") <= number("busy_ns"));
        let retried = repetition["retries"].as_array().expect("a list").iter();
        let retries: u64 =
            retried.map(|pair| pair[0].as_u64().unwrap_or(0) * sum_at(pair, 1)).sum();
        assert_eq!(retries, sum(&counts["aborts"]));
        assert_eq!(repetition["load"]["records"], 500);
    }
    assert_eq!(sum(&document["violations"]), 0);
}

fn sum_at(pair: &Value, index: usize) -> u64 {
    pair[index].as_u64().unwrap_or(0)
}

#[test]
fn histograms_are_readable_by_others() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("plain").to_owned();
    let (hgrm, hlog, csv) = (path("run.hgrm"), path("run.hlog"), path("run.csv"));
    let more = ["-n", "3000", "--hgrm", &hgrm, "--hlog", &hlog, "--csv", &csv];
    let report = succeeds(&small(&more));

    let text = fs::read_to_string(&hgrm).expect("written");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
    assert!(lines[lines.len() - 2].ends_with("Total count    =         3000]"), "{text}");
    let last: Vec<&str> = lines[lines.len() - 4].split_whitespace().collect();
    assert_eq!(last[1..], ["1.000000000000", "3000"]);

    let log = fs::read(&hlog).expect("written");
    assert!(log.starts_with(b"#[Histogram log format version 1.3]\n#[StartTime: "));
    let mut recorded = 0;
    for entry in IntervalLogIterator::new(&log) {
        let Ok(LogEntry::Interval(interval)) = entry else {
            continue;
        };
        let tag = interval.tag().expect("a tag").as_str().to_owned();
        assert!(["mvocc.READ", "mvocc.UPDATE"].contains(&tag.as_str()), "{tag}");
        recorded += logged(interval.encoded_histogram()).len();
    }
    assert_eq!(recorded, 3000);

    let mut rows = csv::Reader::from_path(&csv).expect("written");
    let column = |rows: &mut csv::Reader<fs::File>, name: &str| {
        rows.headers().expect("a header").iter().position(|header| header == name)
    };
    let committed = column(&mut rows, "committed").expect("a column");
    let rows: Vec<csv::StringRecord> = rows.records().collect::<Result<_, _>>().expect("rows");
    let committed: Vec<u64> = rows.iter().filter_map(|row| row[committed].parse().ok()).collect();
    assert_eq!(committed.last(), Some(&3000));
    assert_eq!(committed.iter().sum::<u64>(), 6000);

    let mut header = csv::Reader::from_path(&csv).expect("written");
    let columns = header.headers().expect("a header").iter().map(str::to_owned);
    let several = succeeds(&small(&["-n", "100", "--reps", "2"]));
    let tables = [&report, &several].map(|report| headings(report)).concat();
    assert!(tables.iter().any(|heading| heading == "load s"), "{tables:?}");
    for word in columns.chain(tables) {
        assert!(metric(&word).is_some(), "explain {word} knows nothing");
    }
}

#[test]
fn the_shipped_property_files_run_unchanged() {
    for letter in 'a'..='f' {
        let name = format!("workload{letter}");
        let file = workload_file(&name);
        let report = succeeds(&chronolith(&["run", "-q", "-t", "2", "-P", &file]));
        assert!(report.contains("operationcount=1000 operations"), "{report}");
        assert!(report.contains("1,000 committed"), "{report}");
    }
}

#[test]
fn every_preset_of_the_core_workload_runs() {
    let listed = succeeds(&chronolith(&["list", "workloads"]));
    let names: Vec<&str> =
        listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let index = |name| {
        let report = succeeds(&small(&["-w", name, "-n", "1"]));
        let store = report.lines().find_map(|line| line.strip_prefix("store        "));
        store.and_then(|store| store.split(" shard").next()).expect("a store").to_owned()
    };
    assert!(index("ycsb-a").starts_with("hash index, "), "{}", index("ycsb-a"));
    assert!(index("ycsb-e").starts_with("hash index and ordered index, "), "{}", index("ycsb-e"));
    for name in ["uniform", "zipf-1.2", "hot-key", "moving-hot-set", "long-among-short"] {
        assert!(names.contains(&name), "{listed}");
    }
    // Those that are no YCSB run in `tests/workloads.rs`.
    let others = ["bank", "closed", "smallbank", "tatp", "voter", "sibench", "tpcc"];
    for name in names.into_iter().filter(|name| !others.iter().any(|other| name.starts_with(other)))
    {
        // With a seed, so that there is a long transaction among them in every run of this test.
        let report = succeeds(&small(&["-w", name, "-n", "400", "--seed", "7"]));
        assert!(report.contains("400 committed") && !report.contains("VIOLATION"), "{report}");
        let long = report.lines().any(|line| line.starts_with("| LONG "));
        assert_eq!(long, name == "long-among-short", "{report}");
    }
}

#[test]
fn every_option_of_the_workload_runs_and_verifies() {
    for (properties, part) in [
        ("deleteproportion=0.2 insertproportion=0.2 keytype=integer", "DELETE"),
        ("fieldlengthdistribution=zipfian readallfields=false", "READ"),
        (
            "dataintegrity=true opspertransaction=5 fieldlength=60 readmodifywriteproportion=0.5",
            "verified reads",
        ),
        ("requestdistribution=zipf zipf.theta=1.2 writeallfields=true", "true zipf, theta 1.2"),
        ("requestdistribution=hotspot hotspotrecords=7 hotspotmoves=20", "7 record(s), which move"),
        ("longtransactionproportion=0.5 opsperlongtransaction=9", "9 in 50 % of them"),
        ("target=5000 hdrhistogram.percentiles=75", "Intended-READ"),
        (
            "scanproportion=0.5 scanlengthdistribution=zipfian maxscanlength=20 dataintegrity=true \
             fieldlength=60 opspertransaction=3 deleteproportion=0.1 insertproportion=0.1",
            "records that scans read",
        ),
        ("scanproportion=0.9 keytype=integer insertorder=ordered readallfields=false", "SCAN"),
    ] {
        let flags = properties.split(' ').flat_map(|property| ["-p", property]);
        let flags: Vec<&str> = flags.chain(["-n", "600"]).collect();
        let report = succeeds(&small(&flags));
        assert!(report.contains(part), "{part} is missing:\n{report}");
        assert!(!report.contains("VIOLATION"), "{report}");
    }
}

/// Flags of `run` that are wrong, and what the complaint must mention.
const BAD_INPUT: &[(&str, &str)] = &[
    ("-p recordcuont=5", "did you mean recordcount?"),
    ("-p no.such.thing=5", "list properties"),
    ("-p recordcount", "name=value"),
    ("-P /no/such/file", "/no/such/file"),
    ("-P /", "cannot read"),
    ("-w ycsb-z", "choose one of"),
    ("-t 0", "0 threads"),
    ("-t -1", "-1"),
    ("-t 99999999999999999999", "99999999999999999999"),
    ("-t 1000000", "1000000 threads"),
    ("-d 0", "measures nothing"),
    ("-d 0s", "measures nothing"),
    ("-d ten", "ten"),
    ("-d -1s", "a time is not negative"),
    ("--warmup -1s", "a time is not negative"),
    ("--seed -1", "invalid value '-1' for '--seed"),
    ("--long-reader hold=-1s", "write it like n=1,hold=5s"),
    ("-w ", "-w '': choose one of"),
    ("-p ", "-p '': write it as"),
    ("--pin ", "--pin: '' is none of"),
    ("--protocol ", "there is no protocol '': choose one of"),
    ("-d 9999999999y", "too long"),
    ("-d 100years", "too long"),
    ("-n 0", "0 transactions"),
    ("--reps 0", "0 repetitions"),
    ("--shards 0", "shards"),
    ("--shards 100000", "shards"),
    ("--seed 0xyz", "0xyz"),
    ("--protocol magic", "mvocc"),
    ("--isolation si", "leave the flag out"),
    ("--backoff linear", "possible values: none, fixed, exponential, adaptive"),
    ("--pre-check maybe", "possible values: on, off"),
    ("--write-order random", "possible values: record, contention"),
    ("--write-order contention --protocol magic", "there is no protocol magic"),
    ("--pin everywhere", "compact"),
    ("--pin 60000", "60000"),
    ("--no-such-flag", "--no-such-flag"),
    ("-p readproportion=0 -p updateproportion=0", "sum to 0"),
    ("-p readproportion=-1", "readproportion=-1"),
    ("-p readproportion=NaN", "readproportion=NaN"),
    ("-p readproportion=inf", "readproportion=inf"),
    ("-p scanproportion=-0.1", "scanproportion=-0.1 (-p): it must be a number from 0 to"),
    ("-p scanproportion=some", "scanproportion=some (-p): it must be a number from 0 to"),
    ("-p scanproportion=NaN", "scanproportion=NaN"),
    ("-p scanpropotion=0.1", "did you mean scanproportion?"),
    ("-w ycsb-e -p scanproportion=0 -p insertproportion=0", "raise one of readproportion"),
    ("-w ycsb-e -p minscanlength=0", "minscanlength=0 (-p): it must be a whole number from 1"),
    ("-w ycsb-e -p minscanlength=101", "minscanlength=101 is above maxscanlength=100"),
    ("-w ycsb-e -p minscanlength=2.5", "minscanlength=2.5"),
    ("-w ycsb-e -p maxscanlength=0", "maxscanlength=0 (-p): it must be a whole number from 1"),
    ("-w ycsb-e -p maxscanlength=-1", "maxscanlength=-1"),
    ("-w ycsb-e -p maxscanlength=16777217", "from 1 to 16777216"),
    ("-w ycsb-e -p scanlengthdistribution=constant", "one of uniform, zipfian"),
    ("-w ycsb-e -p scanlengthdistribution=", "one of uniform, zipfian"),
    ("-w ycsb-e -p insertorder=random", "one of hashed, ordered"),
    ("-w ycsb-e -p maxscanrate=5", "Bigtable"),
    ("-p recordcount=99999999999999", "available"),
    ("-p recordcount=0", "2147483647"),
    ("-p recordcount=99999999999999999999", "whole number"),
    ("-p insertstart=2000000", "insertstart"),
    ("-p fieldcount=1048576 -p fieldlength=16777216", "fieldlength"),
    ("-p requestdistribution=pareto", "one of uniform"),
    ("-p zipf.theta=-1", "zipf.theta"),
    ("-p exponential.percentile=0", "exponential.percentile"),
    ("-p fieldlengthdistribution=histogram", "hist.txt"),
    ("-p minfieldlength=9 -p fieldlength=5 -p fieldlengthdistribution=uniform", "minfieldlength"),
    ("-p dataintegrity=true -p keytype=integer", "keytype=string"),
    ("-p workload=site.ycsb.workloads.TimeSeriesWorkload", "CoreWorkload"),
    ("-p db=site.ycsb.db.MongoDbClient", "--protocol"),
    ("-p measurementtype=raw", "hdrhistogram"),
    ("-p target=-5", "target=-5"),
    ("-p batch.size=7", "opspertransaction"),
    ("--json /no/such/directory/run.json", "--json"),
    ("--csv /", "--csv"),
    ("--json /tmp/same --csv /tmp/same", "same file"),
];

#[test]
fn bad_input_is_one_line_and_exit_code_1() {
    for (flags, part) in BAD_INPUT {
        let flags: Vec<&str> = flags.split(' ').collect();
        let output = chronolith(&[&["run", "-q"], flags.as_slice()].concat());
        fails(&output, part);
        assert!(output.stdout.is_empty(), "{flags:?}: {}", stdout(&output));
    }
    fails(&chronolith(&["no-such-command"]), "no-such-command");
    fails(&chronolith(&["list", "everything"]), "everything");
    fails(&chronolith(&["explain", ""]), "the name of a metric is missing");
}

#[test]
fn every_property_of_ycsb_is_known_by_name() {
    let listed = succeeds(&chronolith(&["list", "properties"]));
    let listed: Vec<&str> =
        listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let names = "table fieldcount fieldlength minfieldlength fieldlengthdistribution \
        fieldlengthhistogram fieldnameprefix readallfields readallfieldsbyname writeallfields \
        dataintegrity readproportion updateproportion insertproportion scanproportion \
        readmodifywriteproportion requestdistribution minscanlength maxscanlength \
        scanlengthdistribution insertorder zeropadding hotspotdatafraction hotspotopnfraction \
        exponential.percentile exponential.frac insertstart insertcount recordcount operationcount \
        core_workload_insertion_retry_limit core_workload_insertion_retry_interval \
        core_workload_insertion_keep_going_on_error workload db exporter exportfile threadcount \
        target maxexecutiontime dotransactions status status.interval label spin.sleep \
        measurementtype measurement.interval measurement.trackjvm hdrhistogram.percentiles \
        hdrhistogram.fileoutput hdrhistogram.output.path measurement.histogram.verbose \
        histogram.buckets timeseries.granularity measurement.raw.output_file \
        measurement.raw.no_summary reportlatencyforeacherror latencytrackederrors basicdb.verbose \
        basicdb.simulatedelay basicdb.randomizedelay basicdb.count deleteproportion storageages \
        disksize occupancy maxscanrate scanoptimelimit discardscannedrecord columnfamily \
        warmuptime batch.size keyprefix dropdata silence verbose debug.pprof \
        measurement.output_file outputstyle histogram.percentiles.export \
        histogram.percentiles.export.filepath";
    for name in names.split_whitespace() {
        assert!(listed.contains(&name), "{name} would be called unknown");
    }
}

#[cfg(unix)]
#[test]
fn arguments_that_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    for flag in ["-p", "-w", "--protocol", "-d"] {
        let bad = OsStr::from_bytes(b"a\xff=1");
        fails(&chronolith(&[OsStr::new("run"), OsStr::new(flag), bad]), "UTF-8");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_the_file_and_not_the_report() {
    let output = small(&["-n", "100", "--json", "/dev/full"]);
    fails(&output, "--json /dev/full");
    assert!(stdout(&output).contains("throughput"));

    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    let arguments = [&SMALL[..], &["-n", "100"]].concat();
    let output = command(&arguments).stdout(full).output().expect("the command starts");
    fails(&output, "standard output");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut child = command(&["list", "properties"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the command ends");
    succeeds(&output);
    assert!(output.stderr.is_empty(), "{}", stderr(&output));
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_reports_what_it_has() {
    let arguments = [
        "run",
        "-p",
        "recordcount=500",
        "-t",
        "2",
        "-d",
        "1h",
        "-p",
        "status=true",
        "-p",
        "status.interval=1",
    ];
    let mut child = command(&arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut status = String::new();
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped"));
    lines.read_line(&mut status).expect("a status line");
    assert!(status.contains("committed"), "{status}");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill starts").success());
    let mut report = String::new();
    let mut out = child.stdout.take().expect("it is piped");
    out.read_to_string(&mut report).expect("the report is text");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(report.contains("INTERRUPTED") && report.contains("throughput"), "{report}");
}

#[test]
fn the_harness_can_be_measured_alone() {
    let report = succeeds(&chronolith(&["probe", "harness", "-t", "1", "-d", "100ms"]));
    assert!(report.contains("ns a transaction") || report.contains("µs a transaction"), "{report}");
}
