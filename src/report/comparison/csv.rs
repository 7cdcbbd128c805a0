//! The comparison as comma-separated values: for each number of threads and protocol one row for
//! each repetition and one for all of them.

use super::ComparisonReport;
use super::summary::{Row, Standing};
use crate::bench::{Derived, METRICS, Metric, Source, beside, measured};
use std::io::{self, Write};

/// What stands in the column of the repetition where a row is about all of them.
const ALL: &str = "all";

/// Writes the rows, with a header.
pub(super) fn write(out: &mut dyn Write, report: &ComparisonReport<'_>) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(header(report)).map_err(io::Error::other)?;
    for (place, standing) in report.standings.iter().enumerate() {
        for row in &standing.rows {
            for record in records(report, place, standing, row) {
                csv.write_record(record).map_err(io::Error::other)?;
            }
        }
    }
    csv.flush()
}

fn header(report: &ComparisonReport<'_>) -> Vec<String> {
    let mut header = vec!["workload", "fingerprint", "seed", "threads", "protocol", "strict"];
    header.extend(["isolation", "progress", "repetition", "requests"]);
    let mut header: Vec<String> = header.into_iter().map(str::to_owned).collect();
    header.extend(measured().map(|(metric, _)| metric.column.to_owned()));
    if report.plan.plan.long_reader.is_some() {
        header.extend(beside().map(|(metric, _)| metric.column.to_owned()));
    }
    header.extend(derived().flat_map(derived_columns));
    header.push("p_uncorrected".to_owned());
    header.push("failed".to_owned());
    header
}

/// The derived metrics that are numbers.
fn derived() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().filter(|metric| match metric.source {
        Source::Measured(_) | Source::Beside(_) | Source::Fact => false,
        Source::Derived(derived) => !matches!(derived, Derived::Isolation | Derived::Progress),
    })
}

/// An interval has two ends.
fn derived_columns(metric: &Metric) -> Vec<String> {
    match metric.source {
        Source::Derived(Derived::Interval) => {
            ["low", "high"].map(|end| format!("{}_{end}", metric.column)).into()
        }
        _ => vec![metric.column.to_owned()],
    }
}

fn records(
    report: &ComparisonReport<'_>,
    place: usize,
    standing: &Standing,
    row: &Row,
) -> Vec<Vec<String>> {
    let facts = report.facts_of(row);
    let start = |repetition: String, requests: String| -> Vec<String> {
        vec![
            report.facts.workload.clone(),
            format!("{:016x}", report.facts.fingerprint),
            report.plan.plan.seed.to_string(),
            standing.threads.to_string(),
            facts.name.to_owned(),
            facts.strict.to_string(),
            facts.isolation.clone(),
            facts.progress.clone(),
            repetition,
            requests,
        ]
    };
    let width = header(report).len();
    let pad = |mut record: Vec<String>| {
        record.resize(width, String::new());
        record
    };
    let with_readers = report.plan.plan.long_reader.is_some();
    let mut records = Vec::new();
    if let Some(medians) = &row.medians {
        for block in &report.comparison.blocks {
            let round = &block.rounds[place];
            let requests = format!("{:016x}", round.requests);
            let mut record = start(block.number.to_string(), requests);
            if let Some(cell) = &round.cells[row.protocol] {
                record.extend(cell.values.iter().map(f64::to_string));
                let readers = cell.beside().filter(|_| with_readers);
                record.extend(readers.map(|(_, value)| show(value)));
            }
            records.push(pad(record));
        }
        let mut record = start(ALL.to_owned(), format!("{:016x}", report.requests()));
        record.extend(medians.iter().map(f64::to_string));
        if with_readers {
            let readers = report.beside(standing, row).into_iter();
            record.extend(readers.map(|(_, median)| show(median)));
        }
        record.extend(conclusions(row));
        records.push(pad(record));
    } else {
        let mut record = pad(start(ALL.to_owned(), String::new()));
        if let (Some(last), Some(flaw)) = (record.last_mut(), report.flaw_of(row)) {
            last.clone_from(&flaw.reason);
        }
        records.push(record);
    }
    records
}

fn show(value: Option<f64>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// The derived numbers, in the order of their columns.
fn conclusions(row: &Row) -> Vec<String> {
    let effect = row.throughput();
    let interval = effect.and_then(|effect| effect.interval);
    let mut numbers: Vec<String> = derived()
        .flat_map(|metric| match metric.source {
            Source::Derived(Derived::Ratio) => vec![show(effect.map(|effect| effect.estimate))],
            Source::Derived(Derived::Interval) => {
                vec![show(interval.map(|ends| ends.0)), show(interval.map(|ends| ends.1))]
            }
            Source::Derived(Derived::Significance) => {
                vec![show(row.significance.map(|significance| significance.corrected))]
            }
            Source::Derived(Derived::Detectable) => {
                vec![show(effect.and_then(|effect| effect.detectable))]
            }
            _ => Vec::new(),
        })
        .collect();
    numbers.push(show(row.significance.map(|significance| significance.p)));
    numbers
}
