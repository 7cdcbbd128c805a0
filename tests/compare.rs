//! `chronolith compare` as a user meets it.
#![cfg(feature = "cli")]

#[path = "common/command.rs"]
mod command;

use chronolith::bench::{metric, protocol_facts};
use chronolith::protocol::NAMES;
use chronolith::report::{latency, percent, rate};
use command::{
    chronolith, command as start, fails, headings, logged, parse_json, stderr, stdout, succeeds,
};
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// A comparison that is over in a moment.
const SMALL: [&str; 9] =
    ["compare", "-p", "recordcount=300", "-p", "fieldlength=10", "-q", "-t", "2", "--protocols"];

/// The first two protocols, whichever they are.
fn two() -> String {
    NAMES[..2].join(",")
}

fn small(protocols: &str, more: &[&str]) -> Output {
    chronolith(&[&SMALL[..], &[protocols], more].concat())
}

/// The JSON of a small comparison.
fn document(protocols: &str, more: &[&str]) -> Value {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("compare.json");
    let shown = path.to_str().expect("a plain path");
    succeeds(&small(protocols, &[more, &["--json", shown]].concat()));
    parse_json(&path)
}

fn list<'a>(value: &'a Value, name: &str) -> &'a Vec<Value> {
    value[name].as_array().unwrap_or_else(|| panic!("{name} is no list in {value}"))
}

/// The verbs of the requests of a small comparison.
const VERBS: [&str; 2] = ["reads", "updates"];

/// The operations of each verb that were committed.
type Committed = [u64; VERBS.len()];

/// The hashes of the requests and what was committed of them, by block and protocol. What failed
/// attempts have done is chance and no part of it.
fn asked(document: &Value) -> Vec<(String, BTreeMap<String, Committed>)> {
    let rounds = list(document, "blocks").iter().flat_map(|block| list(block, "rounds"));
    let described = rounds.map(|round| {
        let cells = round["cells"].as_object().expect("a map").iter();
        let committed = cells.map(|(name, cell)| {
            (name.clone(), VERBS.map(|verb| cell["tallies"][verb].as_u64().unwrap_or(0)))
        });
        (round["requests"].as_str().expect("a hash").to_owned(), committed.collect())
    });
    described.collect()
}

#[test]
fn every_protocol_is_asked_the_same_and_the_seed_decides_what() {
    // A number of transactions and not a time, so that all of them are asked for.
    let more = ["-n", "300", "--reps", "3", "-p", "opspertransaction=3"];
    let with_seed = |seed| document("all", &[&more[..], &["--seed", seed]].concat());
    let (first, again, other) = (with_seed("7"), with_seed("7"), with_seed("8"));
    let requests = |document: &Value| asked(document).into_iter().map(|(hash, _)| hash);
    for (hash, by_protocol) in asked(&first) {
        assert_eq!(by_protocol.len(), NAMES.len());
        let reference = by_protocol[NAMES[0]];
        assert_eq!(reference.iter().sum::<u64>(), 900, "requests {hash}");
        for (name, committed) in by_protocol {
            // What was done agrees as well as what was to be asked.
            assert_eq!(committed, reference, "{name}, requests {hash}");
        }
    }
    assert_eq!(asked(&first), asked(&again));
    assert_eq!(first["requests"], again["requests"]);
    assert_ne!(first["requests"], other["requests"]);
    let mut hashes: Vec<String> = requests(&first).chain(requests(&other)).collect();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 6, "each repetition has requests of its own");
    assert_eq!(first["complete"], true);
}

/// The cells of the tables in a text, by the first cell and the heading.
fn cells(text: &str) -> BTreeMap<(String, String), String> {
    let mut cells = BTreeMap::new();
    let mut headings: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| line.starts_with('|')) {
        let parts: Vec<String> =
            line.trim_matches('|').split('|').map(|part| part.trim().to_owned()).collect();
        if parts[0].starts_with("protocol") {
            headings = parts;
        } else if !parts[0].starts_with('-') {
            for (heading, part) in headings.iter().zip(&parts).skip(1) {
                cells.insert((parts[0].clone(), heading.clone()), part.clone());
            }
        }
    }
    cells
}

#[test]
fn settings_that_no_protocol_heeds_are_refused_and_others_noted() {
    let heeds = |name: &&str| protocol_facts(name).expect("a protocol").heeds_contention;
    let (heeding, deaf): (Vec<&str>, Vec<&str>) = NAMES.iter().copied().partition(heeds);
    let flags = ["-n", "200", "--reps", "1", "--write-order", "contention"];
    let refused = small(&deaf[..2].join(","), &flags);
    fails(&refused, &format!("has no effect on protocol {}; it has one on", deaf[..2].join(", ")));
    let report = succeeds(&small(&[deaf[0], heeding[0]].join(","), &flags));
    for part in [
        &format!("note         --write-order contention has no effect on {}\n", deaf[0]),
        "exponential back-off, pre-check, writes by contention\n",
        " --write-order contention ",
    ] {
        assert!(report.contains(part), "{part} is missing:\n{report}");
    }
    let report = succeeds(&small(&two(), &flags[..4]));
    assert!(!report.contains("has no effect") && !report.contains("--write-order"), "{report}");
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn the_table_and_all_files_have_the_same_numbers() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("plain").to_owned();
    let (json, csv, markdown) = (path("c.json"), path("c.csv"), path("c.md"));
    let files = ["--json", &json, "--csv", &csv, "--markdown", &markdown];
    let more = ["-n", "500", "--reps", "3", "-p", "opspertransaction=4", "-p", "label=of the day"];
    let report = succeeds(&small(&two(), &[&more[..], &files].concat()));
    let document = parse_json(Path::new(&json));
    assert_eq!(document["schema"], "chronolith.compare/v1");
    let shown = cells(&report);
    let rows = list(&list(&document, "results")[0], "rows");
    assert_eq!(rows.len(), 2);
    for row in rows {
        let name = row["protocol"].as_str().expect("a name");
        let cell = |heading: &str| shown[&(name.to_owned(), heading.to_owned())].as_str();
        let median = |column: &str| number(&row["median"][column]);
        assert_eq!(cell("throughput"), rate(median("committed_per_s")));
        assert_eq!(cell("abort rate"), percent(median("abort_rate")));
        assert_eq!(cell("wasted"), percent(median("wasted_work_share")));
        for (heading, column) in [("p50", "p50_ns"), ("p99", "p99_ns"), ("p99.9", "p99.9_ns")] {
            assert_eq!(cell(heading), latency(median(column)));
        }
        assert_eq!(cell("isolation"), row["isolation"].as_str().expect("a level"));
        assert_eq!(cell("progress"), row["progress"].as_str().expect("a guarantee"));
        if row["baseline"] == true {
            assert_eq!([cell("ratio"), cell("p")], ["baseline", "-"]);
        } else {
            assert_eq!(cell("ratio"), short(number(&row["throughput_ratio"])));
            let ends = list(row, "throughput_ratio_interval");
            let ends = format!("{} to {}", short(number(&ends[0])), short(number(&ends[1])));
            assert_eq!(cell("95 % interval"), ends);
            assert_eq!(cell("p"), format!("{:.3}", number(&row["p_corrected"])));
        }
    }
    let text = fs::read_to_string(&markdown).expect("written");
    assert_eq!(cells(&text), shown);
    assert!(text.contains("**label** of the day"), "{text}");
    check_csv(&csv, &document);
}

#[test]
fn every_heading_and_column_is_explained() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("plain").to_owned();
    let (csv, json) = (path("c.csv"), path("c.json"));
    let more = ["-d", "60ms", "--warmup", "0s", "--reps", "2", "--long-reader", "hold=10ms"];
    let report = succeeds(&small(&two(), &[&more[..], &["--csv", &csv, "--json", &json]].concat()));
    let mut words = headings(&report);
    assert!(words.len() > 20, "{words:?}");
    let mut reader = csv::Reader::from_path(&csv).expect("written");
    words.extend(reader.headers().expect("a header").iter().map(str::to_owned));
    words.extend(["failed", "goodput", "power", "wasted", "p"].map(str::to_owned));
    let document = parse_json(Path::new(&json));
    for metric in list(&document, "metrics") {
        words
            .extend(["name", "column"].map(|word| metric[word].as_str().expect("text").to_owned()));
    }
    for word in words.iter().filter(|word| !word.is_empty()) {
        assert!(metric(word).is_some(), "explain {word} knows nothing");
    }
    let explained = |word: &str| succeeds(&chronolith(&["explain", word]));
    for (word, name) in [("wasted", "wasted-work"), ("p", "p-value"), ("power", "detectable")] {
        assert!(explained(word).starts_with(&format!("{name}: ")), "{word}");
    }
    assert!(explained("committed_per_s").starts_with("throughput: "));
    assert!(explained("load s").contains("unit      seconds"));
}

#[test]
fn long_readers_are_beside_every_protocol() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("plain").to_owned();
    let (csv, json, markdown) = (path("c.csv"), path("c.json"), path("c.md"));
    let run = ["-d", "150ms", "--warmup", "0s", "--reps", "2", "--long-reader", "n=2,hold=20ms"];
    let files = ["--csv", &csv, "--json", &json, "--markdown", &markdown];
    let report = succeeds(&small(&two(), &[&run[..], &files].concat()));
    let heading = "| protocol, 2 threads, beside n=2,hold=20ms ";
    assert_eq!(report.matches(heading).count(), 1, "{report}");
    assert!(report.contains("long reader  n=2,hold=20ms, idle"), "{report}");
    let replay = report.lines().find(|line| line.starts_with("replay")).expect("a line");
    assert!(replay.contains(" --long-reader n=2,hold=20ms "), "{replay}");
    assert!(fs::read_to_string(&markdown).expect("written").contains(heading));

    let document = parse_json(Path::new(&json));
    assert_eq!(document["config"]["long_reader"], "n=2,hold=20ms");
    let shown = cells(&report);
    for row in list(&list(&document, "results")[0], "rows") {
        let name = row["protocol"].as_str().expect("a name");
        let number = |column: &str| number(&row["long_reader"][column]);
        let without = number("committed_per_s_without");
        assert!(
            without > 0.0 && number("retained_bytes_peak") > 0.0 && number("snapshots_held") > 0.0
        );
        let cell = |heading: &str| shown[&(name.to_owned(), heading.to_owned())].as_str();
        assert_eq!(cell("throughput without"), rate(without));
        assert!(report.lines().any(|line| line.starts_with("long reader") && line.contains(name)));
        for block in list(&document, "blocks") {
            let cell = &block["rounds"][0]["cells"][name];
            assert!(cell["long_reader"]["held"].as_u64() > Some(0), "{cell}");
            let rate = cell["values"]["committed_per_s"].as_f64().expect("a rate");
            assert!(rate > 0.0);
        }
    }
    let mut reader = csv::Reader::from_path(&csv).expect("written");
    let header = reader.headers().expect("a header").clone();
    let place = header.iter().position(|column| column == "throughput_kept").expect("a column");
    let kept = reader.records().map(|record| record.expect("a row")[place].parse::<f64>());
    let kept: Vec<f64> = kept.collect::<Result<_, _>>().expect("numbers in every row");
    assert!(kept.len() == 6 && kept.iter().all(|kept| *kept > 0.0), "{kept:?}");
}

#[test]
fn one_level_is_compared_with_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    let json = directory.path().join("c.json");
    let facts = |name: &&str| protocol_facts(name).expect("a protocol");
    let level = facts(&NAMES[0]).isolation;
    let kept: Vec<&str> =
        NAMES.iter().copied().filter(|name| facts(name).isolation == level).collect();
    assert!(kept.len() < NAMES.len());
    let more = ["-n", "100", "--reps", "1", "--isolation", &level];
    let files = ["--json", json.to_str().expect("plain")];
    let report = succeeds(&small("all", &[&more[..], &files].concat()));
    let named = format!("protocols    {}; compared with {}\n", kept.join(", "), NAMES[0]);
    assert!(report.contains(&named), "{report}");
    assert!(report.contains(&format!(" --isolation {level} ")), "{report}");
    assert_eq!(parse_json(&json)["config"]["isolation"], level.as_str());
    let spaced = [NAMES[0], kept[1]].join(" , ");
    assert!(succeeds(&small(&spaced, &more)).contains(&[NAMES[0], kept[1]].join(", ")));
}

#[test]
fn histograms_are_written_for_each_protocol() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name).to_str().expect("plain").to_owned();
    let (hgrm, hlog) = (path("out.hgrm"), path("out.hlog"));
    let files = ["--hgrm", &hgrm, "--hlog", &hlog, "-n", "400", "--reps", "2"];
    succeeds(&small(&two(), &files));
    let distribution = |name: String| fs::read_to_string(path(&name)).expect("written");
    for name in &NAMES[..2] {
        let text = distribution(format!("out.{name}.hgrm"));
        assert!(text.contains("Total count    =          400]"), "{text}");
    }
    assert!(!Path::new(&hgrm).exists());
    assert_eq!(recorded(&hlog), NAMES[..2].iter().map(|name| ((*name).to_owned(), 800)).collect());

    let flags: Vec<&str> = SMALL.into_iter().filter(|word| !["-t", "2"].contains(word)).collect();
    succeeds(&chronolith(&[&flags[..], &[&two(), "-t", "1,2"], &files].concat()));
    let mut counted = BTreeMap::new();
    for cell in NAMES[..2].iter().flat_map(|name| [format!("{name}.t1"), format!("{name}.t2")]) {
        let text = distribution(format!("out.{cell}.hgrm"));
        assert!(text.contains("Total count    =          400]"), "{text}");
        counted.insert(cell, 800);
    }
    assert_eq!(recorded(&hlog), counted);
}

/// How many values an interval log has, by the tag without the kind.
fn recorded(path: &str) -> BTreeMap<String, u64> {
    let log = fs::read(path).expect("written");
    let mut recorded = BTreeMap::new();
    for entry in IntervalLogIterator::new(&log) {
        let Ok(LogEntry::Interval(interval)) = entry else { continue };
        let tag = interval.tag().expect("a tag").as_str().to_owned();
        let (cell, _) = tag.rsplit_once('.').expect("a kind");
        *recorded.entry(cell.to_owned()).or_insert(0) += logged(interval.encoded_histogram()).len();
    }
    recorded
}

fn short(ratio: f64) -> String {
    if ratio < 0.1 { format!("{ratio:.4}") } else { format!("{ratio:.3}") }
}

/// Both are written to the last digit; the reader of the JSON rounds in the sixteenth.
fn same(text: &str, value: &Value) {
    let (written, expected) = (text.parse::<f64>(), number(value));
    let near = |written: f64| (written - expected).abs() <= 1e-15 * expected.abs();
    assert!(written.is_ok_and(near), "{text} is not {value}");
}

/// The rows of the CSV are the medians and the repetitions of the JSON.
fn check_csv(path: &str, document: &Value) {
    let mut reader = csv::Reader::from_path(path).expect("written");
    let header = reader.headers().expect("a header").clone();
    let records: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().expect("rows");
    assert_eq!(records.len(), 2 * (3 + 1));
    let result = &list(document, "results")[0];
    let columns: Vec<&str> = list(document, "metrics")
        .iter()
        .filter(|metric| !metric["scale"].is_null())
        .map(|metric| metric["column"].as_str().expect("a name"))
        .collect();
    for record in &records {
        let field = |name: &str| {
            let place = header.iter().position(|column| column == name);
            record.get(place.unwrap_or_else(|| panic!("no column {name}"))).expect("a field")
        };
        let protocol = field("protocol");
        let rows = list(result, "rows").iter();
        let row = rows.clone().find(|row| row["protocol"] == protocol).expect("the protocol");
        let expected = match field("repetition").parse::<usize>() {
            Ok(number) => {
                let round = &list(&list(document, "blocks")[number - 1], "rounds")[0];
                assert_eq!(round["requests"], field("requests"));
                &round["cells"][protocol]["values"]
            }
            Err(_) => &row["median"],
        };
        for column in &columns {
            same(field(column), &expected[*column]);
        }
        if field("repetition") == "all" && row["baseline"] == false {
            for column in ["throughput_ratio", "p_corrected", "detectable_ratio", "p_uncorrected"] {
                same(field(column), &row[column]);
            }
        }
    }
}

#[test]
fn gates_decide_the_exit_code() {
    let gated = |reps: &str, gates: &[&str]| {
        let gates = gates.iter().flat_map(|gate| ["--gate", gate]);
        let more: Vec<&str> = ["-n", "300", "--reps", reps].into_iter().chain(gates).collect();
        small(&two(), &more)
    };
    // No share can rise by 100 points, or fall by them.
    let kept = succeeds(&gated("4", &["abort-rate<+101%", "gave-up>-101%"]));
    assert!(kept.contains(&format!("abort-rate<+101%, 2 threads: kept by {}", NAMES[1])), "{kept}");

    let failed = gated("4", &["abort-rate<+101%", "abort-rate<-101%"]);
    assert_eq!(failed.status.code(), Some(4), "{}", stderr(&failed));
    let complaint = stderr(&failed);
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    let says = format!("gate abort-rate<-101% failed by {}, 2 thread(s)", NAMES[1]);
    assert!(complaint.contains(&says), "{complaint}");
    assert!(stdout(&failed).contains("FAILED by"), "{}", stdout(&failed));

    // One repetition decides nothing.
    let open = succeeds(&gated("1", &["abort-rate<-101%"]));
    assert!(open.contains("inconclusive for"), "{open}");
}

#[test]
fn numbers_of_threads_have_a_table_each() {
    let flags = ["-n", "200", "--reps", "2"];
    let arguments: Vec<&str> =
        SMALL.into_iter().filter(|word| !["-t", "2"].contains(word)).collect();
    let (protocols, threads) = (two(), ["-t", "1,3,1x"]);
    let output = chronolith(&[&arguments[..], &[&protocols], &flags, &threads].concat());
    let report = succeeds(&output);
    for heading in ["| protocol, 1 thread ", "| protocol, 3 threads "] {
        assert_eq!(report.matches(heading).count(), 1, "{heading}\n{report}");
    }
    let replay = report.lines().find_map(|line| line.strip_prefix("replay       chronolith "));
    let words: Vec<&str> = replay.expect("a replay line").split(' ').collect();
    let hash = |report: &str| {
        let line = report.lines().find(|line| line.starts_with("repetitions"));
        let (_, hash) = line.and_then(|line| line.split_once("requests ")).expect("a hash");
        hash[..16].to_owned()
    };
    assert_eq!(hash(&succeeds(&chronolith(&words))), hash(&report));
}

#[test]
fn numbers_are_listed_and_defined() {
    let listed = succeeds(&chronolith(&["list", "metrics"]));
    let names: Vec<&str> =
        listed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    for name in ["throughput", "ratio", "p99.9", "wasted-work", "isolation"] {
        assert!(names.contains(&name), "{listed}");
    }
    for name in names {
        let text = succeeds(&chronolith(&["explain", name]));
        assert!(text.starts_with(&format!("{name}: ")) && text.contains("unit "), "{text}");
    }
    fails(&chronolith(&["explain", "throughptu"]), "did you mean throughput?");
    fails(&chronolith(&["explain", "zzz"]), "list metrics");
}

#[test]
fn bad_input_is_one_line_and_exit_code_1() {
    let twice = format!("--protocols {0},{0}", NAMES[1]);
    let alone = format!("--protocols {}", NAMES[1]);
    let left_out = format!("--protocols {} --baseline {}", two(), "nobody");
    let beside = format!("--protocols {},all,magic", NAMES[0]);
    let both = format!("--protocols {},all", NAMES[0]);
    let open = format!("--protocols {},", NAMES[0]);
    let level = protocol_facts(NAMES[0]).expect("a protocol").isolation;
    let has_level = |name: &&str| protocol_facts(name).expect("a protocol").isolation == level;
    let other = NAMES.iter().copied().find(|name| !has_level(name)).expect("not all have it");
    let mixed = format!("--protocols {},{other} --isolation {level}", NAMES[0]);
    let bad: &[(&str, &str)] = &[
        (&beside, "there is no protocol magic: choose one of"),
        (&both, "all stands for every protocol"),
        ("--protocols all,all", "named twice"),
        (&open, "a name is missing; write it like"),
        ("--protocols ", "--protocols '': a name is missing"),
        (&mixed, &format!("protocol {other} is")),
        ("--isolation chaos", "no protocol has it; choose one of"),
        ("--isolation ", "--isolation '': no protocol has it"),
        ("--long-reader n=0", "from 1 to 1024"),
        ("--hgrm /no/such/directory/out.hgrm", "--hgrm /no/such/directory/out."),
        ("--hgrm /", "--hgrm /: cannot write: this is a directory"),
        ("--hlog /no/such/directory/out.hlog", "--hlog /no/such/directory/out.hlog"),
        ("--hlog /tmp/same --csv /tmp/same", "same file"),
        ("-d -1s", "a time is not negative"),
        ("--warmup -1s", "a time is not negative"),
        ("--gate ", "--gate '': it is empty"),
        ("--gate throughput>-5%,", "--gate '': it is empty"),
        ("--gate >5%", "the name of a metric is missing"),
        ("--baseline ", "--baseline '': it is none of the protocols"),
        ("--pin ", "--pin: '' is none of"),
        ("-t ", "write a number"),
        ("-t 1,", "write a number"),
        ("--shards 0", "1 to 64 shards"),
        ("stray", "unexpected argument 'stray'"),
        ("--protocols magic", "choose one of"),
        (&twice, "named twice"),
        (&alone, "name another protocol"),
        (&left_out, "none of the protocols"),
        ("--reps 0", "0 repetitions"),
        ("--reps -3", "-3"),
        ("-t 0", "0 threads"),
        ("-t 1,0x", "0 threads"),
        ("-t 2,two", "two"),
        ("-t 1,1000000", "1000000 threads"),
        ("-n 0", "0 transactions"),
        ("-d 0s", "measures nothing"),
        ("--gate throughput", "neither < nor >"),
        ("--gate thruput>5%", "did you mean throughput?"),
        ("--gate p99<10", "no % at its end"),
        ("--gate p-value<5%", "has no bounds"),
        ("-w nope", "choose one of"),
        ("-p hotspotrecords=-1", "hotspotrecords=-1"),
        ("-p longtransactionproportion=2", "longtransactionproportion=2"),
        ("--json /tmp/same --markdown /tmp/same", "same file"),
        ("--markdown /", "--markdown"),
    ];
    for (flags, part) in bad {
        let flags: Vec<&str> = flags.split(' ').collect();
        let output = chronolith(&[&["compare", "-q"], flags.as_slice()].concat());
        fails(&output, part);
        assert!(output.stdout.is_empty(), "{flags:?}: {}", stdout(&output));
    }
}

#[cfg(unix)]
#[test]
fn an_interrupted_comparison_reports_what_is_complete() {
    let status = ["-n", "200", "--reps", "1000", "-p", "status=true"];
    let arguments: Vec<&str> = SMALL.into_iter().filter(|word| *word != "-q").collect();
    let mut child = start(&[&arguments[..], &[&two()], &status].concat())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command starts");
    let mut line = String::new();
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped"));
    lines.read_line(&mut line).expect("a status line");
    assert_eq!(line, "repetition 1 of 1000 is complete\n");
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill starts").success());
    let mut report = String::new();
    let mut out = child.stdout.take().expect("it is piped");
    out.read_to_string(&mut report).expect("the report is text");
    assert_eq!(child.wait().expect("it ends").code(), Some(130), "{report}");
    assert!(report.contains("INTERRUPTED") && report.contains("of 1000"), "{report}");
    assert!(cells(&report).len() > 10, "{report}");
}
