//! The comparison for people: on a terminal and as Markdown.

use super::summary::{Effect, Row, Standing};
use super::{ComparisonReport, EQUAL_FOR_ALL, Ruling, Verdict};
use crate::bench::inference::{CONFIDENCE, POWER};
use crate::bench::{Derived, METRICS, Metric, Scale, Source, beside, measured};
use crate::report::basis::{line, write_machine, write_workload};
use crate::report::format::{latency, percent, probability, ratio, value};
use crate::report::table::plain_table;
use crate::report::{describe_contention, describe_index, describe_loop, describe_threads};
use comfy_table::CellAlignment;
use std::io::{self, Write};

/// What stands where there is nothing to say.
const NOTHING: &str = "-";

/// Writes the report.
pub fn write_table(out: &mut dyn Write, report: &ComparisonReport<'_>) -> io::Result<()> {
    write_head(out, report)?;
    for standing in &report.standings {
        writeln!(out)?;
        writeln!(out, "{}", standing_table(report, standing))?;
        if let Some(table) = beside_table(report, standing) {
            writeln!(out)?;
            writeln!(out, "{table}")?;
        }
    }
    writeln!(out)?;
    for (label, text) in foot(report) {
        line(out, label, &text)?;
    }
    Ok(())
}

/// Writes the report as Markdown: the same lines as a list, the same tables.
pub(super) fn write_markdown(out: &mut dyn Write, report: &ComparisonReport<'_>) -> io::Result<()> {
    writeln!(out, "# Protocols compared: {}\n", report.facts.workload)?;
    let mut head = Vec::new();
    write_head(&mut head, report)?;
    for text in String::from_utf8_lossy(&head).lines() {
        match text.split_once(' ') {
            Some((label, rest)) => writeln!(out, "* **{label}** {}", rest.trim_start())?,
            None => writeln!(out, "* {text}")?,
        }
    }
    for standing in &report.standings {
        writeln!(out, "\n## {}\n", describe_threads(standing.threads))?;
        writeln!(out, "{}", standing_table(report, standing))?;
        if let Some(table) = beside_table(report, standing) {
            writeln!(out, "\n{table}")?;
        }
    }
    writeln!(out)?;
    for (label, text) in foot(report) {
        writeln!(out, "* **{label}** {text}")?;
    }
    Ok(())
}

fn write_head(out: &mut dyn Write, report: &ComparisonReport<'_>) -> io::Result<()> {
    let ComparisonReport { comparison, plan, facts, .. } = report;
    let environment = &comparison.environment;
    write_workload(out, facts, environment)?;
    let names = plan.protocols.join(", ");
    line(out, "protocols", &format!("{names}; compared with {}", plan.plan.protocol))?;
    line(out, "basis", &format!("equal for all: {EQUAL_FOR_ALL}"))?;
    let shards = environment.shards;
    let heeded = comparison.protocols.iter().any(|protocol| protocol.heeds_contention);
    let contention = describe_contention(&plan.plan, heeded);
    let index = describe_index(environment.tables);
    let store = format!("{index}, {shards} shard(s), a fresh one for each repetition");
    line(out, "store", &format!("{store}, {contention}"))?;
    let threads: Vec<String> = plan.threads.iter().map(usize::to_string).collect();
    let threads = match plan.threads[..] {
        [single] => describe_threads(single),
        _ => format!("{} threads in turn", threads.join(", ")),
    };
    line(out, "loop", &describe_loop(&plan.plan, &threads))?;
    if let Some(reader) = plan.plan.long_reader {
        let text =
            "idle, in rounds; each repetition is run without it first, on a store of its own";
        line(out, "long reader", &format!("{reader}, {text}"))?;
    }
    line(out, "seed", &format!("{}; each repetition has one of its own from it", plan.plan.seed))?;
    line(
        out,
        "repetitions",
        &format!(
            "{} of {}, each {} after {} of warm-up, protocols in balanced order; requests {:016x}, \
             the same for all",
            report.blocks(),
            plan.plan.repetitions,
            describe_length(report),
            latency(plan.plan.warmup.as_nanos() as f64),
            report.requests()
        ),
    )?;
    write_machine(out, environment, &plan.plan)
}

fn describe_length(report: &ComparisonReport<'_>) -> String {
    let limit = report.plan.plan.limit;
    let time = limit.duration.map(|duration| latency(duration.as_nanos() as f64));
    let count = limit.transactions.map(|count| format!("{count} transactions"));
    time.into_iter().chain(count).collect::<Vec<_>>().join(" or ")
}

/// The metrics that the table of a comparison shows.
fn columns() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().filter(|metric| {
        let is_there = matches!(metric.source, Source::Measured(_) | Source::Derived(_));
        is_there && !metric.heading.is_empty()
    })
}

/// Columns in the order of a reader's questions: how fast, compared with what, at what price, and
/// what for.
fn ordered_columns() -> Vec<&'static Metric> {
    let rank = |metric: &&Metric| match metric.source {
        Source::Measured(_) if metric.name == "throughput" => 0,
        Source::Derived(Derived::Isolation | Derived::Progress) => 3,
        Source::Derived(_) => 1,
        _ => 2,
    };
    let mut columns: Vec<_> = columns().collect();
    columns.sort_by_key(rank);
    columns
}

fn standing_table(report: &ComparisonReport<'_>, standing: &Standing) -> comfy_table::Table {
    let columns = ordered_columns();
    let threads = describe_threads(standing.threads);
    let mut header = vec![format!("protocol, {threads}")];
    header.extend(columns.iter().map(|metric| metric.heading.to_owned()));
    let any_failed = standing.rows.iter().any(|row| report.flaw_of(row).is_some());
    if any_failed {
        header.push("failed".to_owned());
    }
    let mut table = plain_table(header);
    let words = columns.iter().enumerate().filter(|(_, metric)| is_word(metric));
    for index in words.map(|(index, _)| index + 1).chain(any_failed.then_some(columns.len() + 1)) {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Left);
        }
    }
    for row in &standing.rows {
        let mut cells = vec![report.facts_of(row).name.to_owned()];
        cells.extend(columns.iter().map(|metric| cell(report, row, metric)));
        if any_failed {
            let reason = report.flaw_of(row).map_or("", |flaw| flaw.reason.as_str());
            cells.push(reason.replace('|', "/"));
        }
        table.add_row(cells);
    }
    table
}

/// What the long readers cost each protocol, the fastest first; nothing without such readers.
fn beside_table(report: &ComparisonReport<'_>, standing: &Standing) -> Option<comfy_table::Table> {
    let reader = report.plan.plan.long_reader?;
    let threads = describe_threads(standing.threads);
    let mut header = vec![format!("protocol, {threads}, beside {reader}")];
    header.extend(beside().map(|(metric, _)| metric.heading.to_owned()));
    let mut table = plain_table(header);
    for row in &standing.rows {
        let mut cells = vec![report.facts_of(row).name.to_owned()];
        cells.extend(report.beside(standing, row).into_iter().map(|(metric, median)| {
            median.map_or_else(|| NOTHING.to_owned(), |median| value(metric.unit, median))
        }));
        table.add_row(cells);
    }
    Some(table)
}

/// What an open reader holds up, by the protocols of which that is true.
fn describe_readers(report: &ComparisonReport<'_>) -> Vec<String> {
    let mut meanings: Vec<(&'static str, Vec<&str>)> = Vec::new();
    for (place, protocol) in report.comparison.protocols.iter().enumerate() {
        let cell = (0..report.plan.threads.len()).find_map(|at| report.cells(place, at).next());
        let Some(facts) = cell.and_then(|cell| cell.long_reader.as_ref()) else { continue };
        match meanings.iter_mut().find(|(meaning, _)| *meaning == facts.meaning) {
            Some((_, names)) => names.push(protocol.name),
            None => meanings.push((facts.meaning, vec![protocol.name])),
        }
    }
    let told =
        meanings.into_iter().map(|(meaning, names)| format!("{}: {meaning}", names.join(", ")));
    told.collect()
}

fn is_word(metric: &Metric) -> bool {
    matches!(metric.source, Source::Derived(Derived::Isolation | Derived::Progress))
}

/// What the table shows of one number of one protocol.
fn cell(report: &ComparisonReport<'_>, row: &Row, metric: &Metric) -> String {
    let shown = match metric.source {
        Source::Measured(_) => {
            let index = measured().position(|(other, _)| other.name == metric.name);
            let medians = row.medians.as_ref();
            medians.zip(index).map(|(medians, index)| value(metric.unit, medians[index]))
        }
        Source::Derived(Derived::Isolation) => Some(report.facts_of(row).level()),
        Source::Derived(Derived::Progress) => Some(report.facts_of(row).progress.clone()),
        Source::Derived(Derived::Ratio) if report.is_baseline(row) => Some("baseline".to_owned()),
        Source::Derived(Derived::Ratio) => row.throughput().map(|effect| ratio(effect.estimate)),
        Source::Derived(Derived::Interval) => {
            row.throughput().and_then(|effect| effect.interval).map(range)
        }
        Source::Derived(Derived::Significance) => {
            row.significance.map(|significance| probability(significance.corrected))
        }
        Source::Derived(Derived::Detectable) => {
            row.throughput().and_then(|effect| effect.detectable).map(ratio)
        }
        Source::Beside(_) | Source::Fact => None,
    };
    shown.unwrap_or_else(|| NOTHING.to_owned())
}

fn range((low, high): (f64, f64)) -> String {
    format!("{} to {}", ratio(low), ratio(high))
}

/// What stands below the tables: how to read them, what they cannot show, the gates, warnings.
fn foot(report: &ComparisonReport<'_>) -> Vec<(&'static str, String)> {
    let mut lines = vec![("read", describe_reading(report))];
    lines.extend(describe_power(report).map(|text| ("power", text)));
    lines.extend(describe_readers(report).into_iter().map(|text| ("long reader", text)));
    let gates = report.verdicts.chunk_by(|a, b| a.gate == b.gate && a.threads == b.threads);
    lines.extend(gates.flat_map(describe_gate).map(|text| ("gate", text)));
    lines.extend(report.facts.notes.iter().map(|note| ("note", note.clone())));
    lines.extend(report.warnings().into_iter().map(|warning| ("WARNING", warning)));
    lines.push(("replay", report.facts.replay.clone()));
    lines
}

fn describe_reading(report: &ComparisonReport<'_>) -> String {
    format!(
        "medians of {} repetition(s), by throughput; ratio and {:.0} % interval: throughput \
         against {} within each repetition; p: by chance, corrected for {} comparison(s) (Holm); \
         wasted: share of operations; `chronolith explain METRIC` defines each number",
        report.blocks(),
        CONFIDENCE * 100.0,
        report.plan.plan.protocol,
        report.tests()
    )
}

/// What effect could have been found, from the steadiest to the least steady comparison.
fn describe_power(report: &ComparisonReport<'_>) -> Option<String> {
    let rows = report.standings.iter().flat_map(|standing| &standing.rows);
    let detectable = rows.filter_map(|row| {
        let effect = row.throughput()?;
        Some((effect.detectable? - 1.0, report.facts_of(row).name))
    });
    let mut detectable: Vec<(f64, &str)> = detectable.collect();
    detectable.sort_by(|a, b| a.0.total_cmp(&b.0));
    let ((least, steadiest), (most, noisiest)) = (*detectable.first()?, *detectable.last()?);
    let range = match detectable.len() {
        1 => format!("{} ({steadiest})", percent(least)),
        _ => format!("{} ({steadiest}) to {} ({noisiest})", percent(least), percent(most)),
    };
    Some(format!(
        "with a chance of {:.0} % a difference from {} of {range} would have been found; a smaller \
         one may be there and unseen",
        POWER * 100.0,
        report.plan.plan.protocol
    ))
}

/// Lines about one gate at one number of threads: one for each protocol that did not keep it.
fn describe_gate(verdicts: &[Verdict]) -> Vec<String> {
    let Some(first) = verdicts.first() else {
        return Vec::new();
    };
    let gate = format!("{}, {}", first.gate.text, describe_threads(first.threads));
    let named = |ruling: Ruling| verdicts.iter().filter(move |verdict| verdict.ruling == ruling);
    let mut lines = Vec::new();
    for verdict in named(Ruling::Failed) {
        lines.push(format!("{gate}: FAILED by {}: {}", verdict.protocol, verdict.describe()));
    }
    for verdict in named(Ruling::Inconclusive) {
        let why = verdict.describe();
        lines.push(format!("{gate}: inconclusive for {}: {why}", verdict.protocol));
    }
    let kept: Vec<&str> = named(Ruling::Kept).map(|verdict| verdict.protocol).collect();
    if !kept.is_empty() {
        lines.push(format!("{gate}: kept by {}", kept.join(", ")));
    }
    lines
}

impl Verdict {
    /// The figures that decided.
    #[must_use]
    pub fn describe(&self) -> String {
        let metric = self.gate.metric;
        let Some(Effect { scale, estimate, interval, .. }) = self.effect else {
            return format!("{metric} could not be compared");
        };
        let show = |value: f64| match scale {
            Scale::Ratio => ratio(value),
            Scale::Difference => format!("{:+.2} %", value * 100.0),
        };
        let interval = match interval {
            Some((low, high)) => format!("interval {} to {}", show(low), show(high)),
            None => "no interval from a single repetition".to_owned(),
        };
        format!("{metric} {} {}, {interval}", scale.name(), show(estimate))
    }
}
