//! What went on beside the workers: audits, and long readers.

use super::Report;
use super::basis::line;
use super::format::{count, latency, percent, rate};
use crate::bench::{AuditCounts, Audits, LongReaderFacts, Repetition, show_bytes};
use crate::workload::Finding;
use std::io::{self, Write};

/// How many audits held, what they cost, and what the last one found.
pub(super) fn write_audits(
    out: &mut dyn Write,
    report: &Report<'_>,
    shown: &Repetition,
) -> io::Result<()> {
    let Audits { during, after, findings, .. } = &shown.audits;
    let mut told = Vec::new();
    if during.all() > 0 {
        let interval = report.plan.audit_interval.unwrap_or_default();
        let share = during.elapsed.as_secs_f64() / during.span.as_secs_f64().max(1e-9);
        told.push(format!(
            "during the run {}, one after the other with a pause of {} on a thread of their own, \
             which they keep busy {} of the time ({} each)",
            audit_counts(during),
            latency(interval.as_nanos() as f64),
            percent(share),
            latency(during.elapsed.as_nanos() as f64 / during.all() as f64)
        ));
    }
    if after.all() > 0 {
        told.push(format!("after it {}", audit_counts(after)));
    }
    if !told.is_empty() {
        line(out, "audits", &told.join("; "))?;
    }
    for Finding { what, holds, evidence } in findings {
        let verdict = if *holds { "holds" } else { "BROKEN" };
        line(out, "audited", &format!("{what}: {verdict}; {evidence}"))?;
    }
    Ok(())
}

fn audit_counts(counts: &AuditCounts) -> String {
    let AuditCounts { held, broken, gave_up, .. } = *counts;
    let mut parts = vec![format!("{} held", count(held))];
    parts.extend((broken > 0).then(|| format!("{} BROKEN", count(broken))));
    parts.extend((gave_up > 0).then(|| format!("{} given up", count(gave_up))));
    parts.join(", ")
}

/// What the long readers cost.
pub(super) fn write_long_reader(
    out: &mut dyn Write,
    report: &Report<'_>,
    shown: &Repetition,
) -> io::Result<()> {
    let (Some(facts), Some(reader)) = (&shown.long_reader, report.plan.long_reader) else {
        return Ok(());
    };
    let LongReaderFacts { throughput_without, with, without, .. } = facts;
    let change = (shown.throughput() / throughput_without.max(1e-9) - 1.0) * 100.0;
    line(
        out,
        "long reader",
        &format!(
            "{reader}, idle, in rounds: {} with it; {} without it, in the repetition before \
             ({change:+.1} %)",
            rate(shown.throughput()),
            rate(*throughput_without)
        ),
    )?;
    line(
        out,
        "it held up",
        &format!(
            "{} versions beyond one for each record at most ({} without it), {} in all ({}), \
             longest chain {} ({})",
            count(with.surplus_versions),
            count(without.surplus_versions),
            show_bytes(with.retained_bytes.into()),
            show_bytes(without.retained_bytes.into()),
            count(with.chain_length),
            count(without.chain_length)
        ),
    )?;
    line(out, "drained", &drained(facts))?;
    line(out, "which means", facts.meaning)
}

fn drained(facts: &LongReaderFacts) -> String {
    let LongReaderFacts { held, cut_short, refused, .. } = facts;
    let times = facts.drain_times();
    let mut told = match (facts.median_drain(), times.last()) {
        (None, _) | (_, None) => "never: use a longer -d or a shorter hold".to_owned(),
        (Some(median), Some(longest)) => {
            let median = median.as_nanos() as f64;
            format!(
                "of what it held up a tenth was left {} after its end (median of {}, longest {})",
                latency(median),
                times.len(),
                latency(longest.as_nanos() as f64)
            )
        }
    };
    let late = facts.late_drains();
    if late > 0 {
        told.push_str(&format!("; {late} rounds took longer than the hold, or than the run"));
    }
    told.push_str(&format!("; {held} snapshots were held to their end"));
    if *cut_short > 0 {
        told.push_str(&format!(", {cut_short} cut short by the end of the run"));
    }
    if *refused > 0 {
        told.push_str(&format!(", {refused} refused by the store"));
    }
    told
}
