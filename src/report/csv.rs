//! The report as comma-separated values: one row for each repetition and kind of transaction.

use super::Report;
use crate::AbortReason;
use crate::bench::{KindStats, Repetition, metric};
use crate::workload::End;
use std::io::{self, Write};

/// Writes the rows, with a header.
pub(super) fn write(out: &mut dyn Write, report: &Report<'_>) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(header(report)).map_err(io::Error::other)?;
    for (index, repetition) in report.outcome.repetitions.iter().enumerate() {
        let kinds = report.outcome.environment.kinds.iter().zip(&repetition.stats.kinds);
        for (name, stats) in kinds.filter(|(_, stats)| stats.counts.transactions() > 0) {
            csv.write_record(row(report, index, repetition, name, stats))
                .map_err(io::Error::other)?;
        }
        let total = repetition.stats.total();
        csv.write_record(row(report, index, repetition, "ALL", &total))
            .map_err(io::Error::other)?;
    }
    csv.flush()
}

/// The column of a number that has a row among the metrics, so that all files call it the same.
fn column(name: &str) -> String {
    metric(name).expect("the metrics have a row of this name").column.to_owned()
}

fn header(report: &Report<'_>) -> Vec<String> {
    let mut header: Vec<String> = [
        "protocol",
        "workload",
        "fingerprint",
        "seed",
        "threads",
        "repetition",
        "kind",
        "elapsed_s",
        "attempts",
        "committed",
        "rolled_back",
        "gave_up",
    ]
    .map(str::to_owned)
    .into();
    header.extend(["throughput", "abort-rate"].map(column));
    header.extend(AbortReason::ALL.iter().map(|reason| format!("aborts_{}", reason.name())));
    header.extend(["mean", "max"].map(column));
    header.extend(report.percentiles().iter().map(|p| format!("p{p}_ns")));
    header
}

fn row(
    report: &Report<'_>,
    index: usize,
    repetition: &Repetition,
    kind: &str,
    stats: &KindStats,
) -> Vec<String> {
    let Report { outcome, plan, facts } = report;
    let counts = &stats.counts;
    let latencies = match report.has_schedule() && !plan.latency.shows_operation() {
        true => &stats.intended,
        false => &stats.service[End::Committed as usize],
    };
    let latencies = latencies.clone().unwrap_or_default().histogram;
    let mut row = vec![
        outcome.protocol.name.to_owned(),
        facts.workload.clone(),
        format!("{:016x}", facts.fingerprint),
        plan.seed.to_string(),
        plan.threads.to_string(),
        (index + 1).to_string(),
        kind.to_owned(),
        format!("{:.6}", repetition.elapsed.as_secs_f64()),
        counts.attempts.to_string(),
    ];
    row.extend(counts.ends.iter().map(u64::to_string));
    row.push(format!("{:.3}", repetition.per_second(counts.committed())));
    row.push(format!("{:.9}", counts.abort_rate()));
    row.extend(counts.aborts.iter().map(u64::to_string));
    row.push(format!("{:.1}", latencies.mean()));
    row.push(latencies.max().to_string());
    let percentiles = report.percentiles();
    row.extend(percentiles.iter().map(|p| latencies.value_at_percentile(*p).to_string()));
    row
}
