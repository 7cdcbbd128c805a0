//! The report for people.

use super::basis::{self, line};
use super::format::{count, latency, percent, percentile, rate};
use super::{Report, beside, describe_contention, describe_loop, warnings};
use super::{describe_index, describe_threads};
use crate::AbortReason;
use crate::bench::{KindStats, Latencies, Repetition, show_bytes};
use crate::workload::{End, TallyRole};
use comfy_table::{CellAlignment, Table, presets};
use std::io::{self, Write};

/// Writes the report.
pub fn write_table(out: &mut dyn Write, report: &Report<'_>) -> io::Result<()> {
    let shown = report.shown();
    write_basis(out, report)?;
    writeln!(out)?;
    write_result(out, report, shown)?;
    writeln!(out)?;
    writeln!(out, "{}", latency_table(report, shown))?;
    if report.outcome.repetitions.len() > 1 {
        writeln!(out)?;
        writeln!(out, "{}", repetition_table(report))?;
        write_spread(out, report)?;
    }
    writeln!(out)?;
    for note in &report.facts.notes {
        line(out, "note", note)?;
    }
    for warning in warnings(report) {
        line(out, "WARNING", &warning)?;
    }
    line(out, "replay", &report.facts.replay)
}

fn write_basis(out: &mut dyn Write, report: &Report<'_>) -> io::Result<()> {
    let Report { outcome, plan, facts } = report;
    let protocol = &outcome.protocol;
    let environment = &outcome.environment;
    basis::write_workload(out, facts, environment)?;
    line(
        out,
        "protocol",
        &format!(
            "{}: {}, {}; {}",
            protocol.name,
            protocol.level(),
            protocol.progress,
            protocol.summary
        ),
    )?;
    let shards = environment.shards;
    let contention = describe_contention(plan, protocol.heeds_contention);
    let index = describe_index(environment.tables);
    let store = format!("{index}, {shards} shard(s), retries until commit, {contention}");
    line(out, "store", &store)?;
    line(out, "loop", &describe_loop(plan, &describe_threads(plan.threads)))?;
    line(out, "seed", &plan.seed.to_string())?;
    basis::write_machine(out, environment, plan)
}

fn write_result(out: &mut dyn Write, report: &Report<'_>, shown: &Repetition) -> io::Result<()> {
    let outcome = report.outcome;
    let counts = shown.stats.total().counts;
    let load = shown.load;
    line(
        out,
        "loaded",
        &format!(
            "{} records in {:.2} s ({} records)",
            count(load.records),
            load.elapsed.as_secs_f64(),
            rate(load.records as f64 / load.elapsed.as_secs_f64().max(1e-9))
        ),
    )?;
    let number = report.shown_index() + 1;
    let which = match outcome.repetitions.len() {
        1 => String::new(),
        all => format!("; repetition {number} of {all}, the median by throughput"),
    };
    line(
        out,
        "measured",
        &format!(
            "{} after {} of warm-up{which}",
            latency(shown.elapsed.as_nanos() as f64),
            latency(report.plan.warmup.as_nanos() as f64)
        ),
    )?;
    line(out, "throughput", &format!("{} committed transactions", rate(shown.throughput())))?;
    write_operations(out, report, shown)?;
    line(
        out,
        "abort rate",
        &format!(
            "{} of {} attempts{}",
            percent(counts.abort_rate()),
            count(counts.attempts),
            reasons(&counts.aborts)
        ),
    )?;
    let [committed, rolled_back, gave_up] = counts.ends.map(count);
    line(
        out,
        "ends",
        &format!(
            "{committed} committed, {rolled_back} rolled back by the workload, {gave_up} given up"
        ),
    )?;
    line(out, "retries", &retries(shown, counts.committed()))?;
    beside::write_audits(out, report, shown)?;
    beside::write_long_reader(out, report, shown)?;
    line(out, "in store", &store_state(&shown.store))
}

fn write_operations(
    out: &mut dyn Write,
    report: &Report<'_>,
    shown: &Repetition,
) -> io::Result<()> {
    let counted = || report.outcome.environment.tally_rows.iter().zip(&shown.tallies);
    let operations = counted().filter(|(row, _)| row.role == TallyRole::Operation);
    let sum: u64 = operations.clone().map(|(_, number)| number).sum();
    let parts: Vec<String> = operations
        .filter(|(_, number)| **number > 0)
        .map(|(row, number)| format!("{} {}", row.name, rate(shown.per_second(*number))))
        .collect();
    line(out, "operations", &format!("{} ({})", rate(shown.per_second(sum)), parts.join(", ")))?;
    let facts = counted().filter(|(row, number)| row.role != TallyRole::Operation && **number > 0);
    let facts: Vec<String> =
        facts.map(|(row, number)| format!("{} {}", count(*number), row.name)).collect();
    if facts.is_empty() { Ok(()) } else { line(out, "noted", &facts.join(", ")) }
}

fn reasons(aborts: &[u64]) -> String {
    let named = AbortReason::ALL.iter().zip(aborts).filter(|(_, number)| **number > 0);
    let named: Vec<String> =
        named.map(|(reason, number)| format!("{} {}", reason.name(), count(*number))).collect();
    if named.is_empty() { String::new() } else { format!(": {}", named.join(", ")) }
}

fn retries(shown: &Repetition, committed: u64) -> String {
    let retries = &shown.stats.retries;
    if retries.is_empty() {
        return "no committed transaction needed any".to_owned();
    }
    format!(
        "{} of the committed transactions needed any; these: p50 {}, p99 {}, max {}",
        percent(retries.len() as f64 / committed.max(1) as f64),
        count(retries.value_at_quantile(0.5)),
        count(retries.value_at_quantile(0.99)),
        count(retries.max())
    )
}

fn store_state(store: &crate::Stats) -> String {
    format!(
        "{} records, {} versions live, {} retired, longest chain {}, {} retained; commits since \
         it was made: {} in one shard, {} across shards, {} read-only",
        count(store.records),
        count(store.versions_live),
        count(store.versions_retired),
        count(store.chain_length_max),
        show_bytes(store.retained_bytes.into()),
        count(store.commits_one_shard),
        count(store.commits_cross_shard),
        count(store.commits_read_only)
    )
}

pub(super) fn plain_table(header: Vec<String>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// One row for each kind of transaction, and one for all.
fn latency_table(report: &Report<'_>, shown: &Repetition) -> Table {
    let mut header: Vec<String> =
        ["latency of", "committed", "per second", "abort rate", "mean"].map(str::to_owned).into();
    header.extend(report.percentiles().into_iter().map(percentile));
    header.push("max".to_owned());
    let mut table = plain_table(header);
    let kinds = report.outcome.environment.kinds.iter().zip(&shown.stats.kinds);
    let kinds: Vec<(&str, &KindStats)> = kinds
        .filter(|(_, stats)| stats.counts.transactions() > 0)
        .map(|(name, stats)| (*name, stats))
        .collect();
    for (name, stats) in &kinds {
        add_rows(&mut table, report, shown, name, stats);
    }
    if kinds.len() != 1 {
        add_rows(&mut table, report, shown, "ALL", &shown.stats.total());
    }
    table
}

fn add_rows(
    table: &mut Table,
    report: &Report<'_>,
    shown: &Repetition,
    name: &str,
    stats: &KindStats,
) {
    let [committed, rolled_back, gave_up] = &stats.service;
    let scheduled = report.has_schedule();
    let mut add = |name: String, latencies: &Option<Latencies>, counts: [String; 3]| {
        let latencies = latencies.clone().unwrap_or_default().histogram;
        let mut row = vec![name];
        row.extend(counts);
        row.push(latency(latencies.mean()));
        let quantile = |p: &f64| latency(latencies.value_at_percentile(*p) as f64);
        row.extend(report.percentiles().iter().map(quantile));
        row.push(latency(latencies.max() as f64));
        table.add_row(row);
    };
    let counts = [
        count(stats.counts.committed()),
        rate(shown.per_second(stats.counts.committed())),
        percent(stats.counts.abort_rate()),
    ];
    if !scheduled || report.plan.latency.shows_operation() {
        add(name.to_owned(), committed, counts.clone());
    }
    if scheduled && report.plan.latency.shows_intended() {
        add(format!("Intended-{name}"), &stats.intended, counts);
    }
    for (end, word, latencies) in
        [(End::RolledBack, "rolled back", rolled_back), (End::GaveUp, "given up", gave_up)]
    {
        let number = stats.counts.ends[end as usize];
        if number > 0 {
            let counts = [count(number), rate(shown.per_second(number)), String::new()];
            add(format!("{name}, {word}"), latencies, counts);
        }
    }
}

/// One row for each repetition.
fn repetition_table(report: &Report<'_>) -> Table {
    let header = ["repetition", "per second", "abort rate", "p50", "p99", "p99.9", "max", "load s"];
    let mut table = plain_table(header.map(str::to_owned).into());
    for (index, repetition) in report.outcome.repetitions.iter().enumerate() {
        let latencies = repetition.latencies(report.plan).histogram;
        let at = |p: f64| latency(latencies.value_at_percentile(p) as f64);
        table.add_row([
            (index + 1).to_string(),
            rate(repetition.throughput()),
            percent(repetition.stats.total().counts.abort_rate()),
            at(50.0),
            at(99.0),
            at(99.9),
            latency(latencies.max() as f64),
            format!("{:.2}", repetition.load.elapsed.as_secs_f64()),
        ]);
    }
    table
}

fn write_spread(out: &mut dyn Write, report: &Report<'_>) -> io::Result<()> {
    let rates: Vec<f64> = report.outcome.repetitions.iter().map(Repetition::throughput).collect();
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    let variance = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>();
    let deviation = (variance / (rates.len() - 1) as f64).sqrt();
    let spread = percent(deviation / mean.max(1e-9));
    line(out, "spread", &format!("mean {}, standard deviation {spread}", rate(mean)))
}
