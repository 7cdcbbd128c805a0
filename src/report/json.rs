//! The report for machines: schema `chronolith.run/v1`.
//!
//! Fields are added without notice; a field that changes its meaning or goes away makes a new
//! version.

use super::{Report, RunFacts, describe_loop, describe_threads, warnings};
use crate::AbortReason;
use crate::bench::{
    AuditCounts, Audits, Counts, Environment, KindStats, Latencies, LongReaderFacts, Peak, Plan,
    ProtocolFacts, Repetition, Step, compress,
};
use crate::workload::{End, Finding, Moment};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::io::{self, Write};

/// The name and version of the schema.
const SCHEMA: &str = "chronolith.run/v1";

/// Writes the document.
pub(super) fn write(out: &mut dyn Write, report: &Report<'_>) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &document(report)).map_err(io::Error::from)?;
    writeln!(out)
}

fn document(report: &Report<'_>) -> Value {
    let Report { outcome, plan, facts } = report;
    let protocol = &outcome.protocol;
    let repetitions: Vec<Value> =
        outcome.repetitions.iter().map(|repetition| repetition_value(report, repetition)).collect();
    let violations: Map<String, Value> = outcome
        .violations()
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count.into()))
        .collect();
    json!({
        "schema": SCHEMA,
        "complete": !outcome.interrupted() && outcome.repetitions.iter().all(|r| !r.starved),
        "label": facts.label,
        "workload": workload_value(facts, &outcome.environment),
        "protocol": protocol_value(protocol),
        "config": config_value(plan, facts, &outcome.environment, plan.threads.into()),
        // As text too: many readers keep numbers in 53 bits.
        "seed": plan.seed.number(),
        "seed_text": plan.seed.to_string(),
        "skew": skew_value(&outcome.environment),
        "machine": machine_value(&outcome.environment),
        "clock": clock_value(&outcome.environment),
        "harness": harness_value(&outcome.environment),
        "notes": facts.notes,
        "warnings": warnings(report),
        "violations": violations,
        "replay": facts.replay,
        "repetitions": repetitions,
    })
}

/// What is asked of the store.
pub(super) fn workload_value(facts: &RunFacts, environment: &Environment) -> Value {
    json!({
        "name": facts.workload,
        "fingerprint": format!("{:016x}", facts.fingerprint),
        "properties": object(facts.properties.iter().map(|(k, v)| (k.as_str(), v.as_str()))),
        "basis": object(environment.basis.iter().map(|(k, v)| (*k, v.as_str()))),
        "operations_per_transaction": environment.operations_per_transaction,
    })
}

pub(super) fn protocol_value(protocol: &ProtocolFacts) -> Value {
    json!({
        "name": protocol.name,
        "summary": protocol.summary,
        "isolation": protocol.isolation,
        "strict": protocol.strict,
        "progress": protocol.progress,
        "heeds_contention": protocol.heeds_contention,
    })
}

pub(super) fn skew_value(environment: &Environment) -> Option<Value> {
    environment.skew.map(|skew| {
        json!({
            "hottest_key": skew.hottest,
            "top_ten": skew.top_ten,
            "top_percent": skew.top_percent,
            "draws": skew.draws,
        })
    })
}

pub(super) fn machine_value(environment: &Environment) -> Value {
    let facts = &environment.machine.facts;
    object(facts.iter().map(|fact| (fact.name, fact.value.as_str()))).into()
}

pub(super) fn clock_value(environment: &Environment) -> Value {
    json!({
        "source": environment.clock.source,
        "reading_ns": environment.clock.reading_ns,
        "step_ns": environment.clock.step_ns,
    })
}

pub(super) fn harness_value(environment: &Environment) -> Value {
    json!({
        "transaction_ns": environment.harness.transaction_ns,
        "ceiling_per_s": environment.harness.ceiling_per_second,
        "threads": environment.harness.threads,
    })
}

/// What was to be done, but for the protocol; `threads` is a number or several.
pub(super) fn config_value(
    plan: &Plan,
    facts: &RunFacts,
    environment: &Environment,
    threads: Value,
) -> Value {
    let description = describe_loop(
        plan,
        &match &threads {
            Value::Array(list) => format!("{} numbers of threads", list.len()),
            _ => describe_threads(plan.threads),
        },
    );
    json!({
        "threads": threads,
        "duration_s": plan.limit.duration.map(|duration| duration.as_secs_f64()),
        "transactions": plan.limit.transactions,
        "warmup_s": plan.warmup.as_secs_f64(),
        "isolation": facts.isolation,
        "shards": environment.shards,
        "tables": environment.tables.all,
        "ordered_tables": environment.tables.ordered,
        "backoff": plan.backoff.name(),
        "pre_check": plan.contention.pre_check,
        "write_order": plan.contention.write_order.name(),
        "pinning": plan.pinning.to_string(),
        "repetitions": plan.repetitions,
        "target_operations_per_s": plan.throttle.map(|throttle| throttle.operations_per_second),
        "loop": description,
        "long_reader": plan.long_reader.map(|reader| reader.to_string()),
        "audit_interval_s": plan.audit_interval.map(|pause| pause.as_secs_f64()),
        "interval_s": plan.interval.as_secs_f64(),
    })
}

pub(super) fn object<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Map<String, Value> {
    pairs.map(|(name, value)| (name.to_owned(), value.into())).collect()
}

fn repetition_value(report: &Report<'_>, repetition: &Repetition) -> Value {
    let outcome = report.outcome;
    let kinds = outcome.environment.kinds.iter().zip(&repetition.stats.kinds);
    let kinds: Map<String, Value> = kinds
        .filter(|(_, stats)| stats.counts.transactions() > 0)
        .map(|(name, stats)| ((*name).to_owned(), kind_value(report, repetition, stats)))
        .collect();
    let tallies = outcome.environment.tally_rows.iter().zip(&repetition.tallies);
    let tallies: Map<String, Value> =
        tallies.map(|(row, count)| (row.name.to_owned(), (*count).into())).collect();
    let retries = &repetition.stats.retries;
    let retried: Vec<[u64; 2]> =
        retries.iter_recorded().map(|v| [v.value_iterated_to(), v.count_at_value()]).collect();
    json!({
        "requests": format!("{:016x}", repetition.requests),
        "started": humantime::format_rfc3339_millis(repetition.started).to_string(),
        "elapsed_s": repetition.elapsed.as_secs_f64(),
        "load": {
            "records": repetition.load.records,
            "elapsed_s": repetition.load.elapsed.as_secs_f64(),
        },
        "interrupted": repetition.interrupted,
        "starved": repetition.starved,
        "missed_starts": repetition.missed,
        "total": kind_value(report, repetition, &repetition.stats.total()),
        "kinds": kinds,
        "tallies": tallies,
        "audits": audits_value(&repetition.audits),
        "long_reader": repetition.long_reader.as_ref().map(long_reader_value),
        // Pairs of a number of retries and of the committed transactions that needed so many.
        "retries": retried,
        "timeline": timeline(report, repetition),
        "store": store_value(&repetition.store),
    })
}

pub(super) fn long_reader_value(facts: &LongReaderFacts) -> Value {
    let peak = |peak: &Peak| {
        json!({
            "surplus_versions": peak.surplus_versions,
            "retained_bytes": peak.retained_bytes,
            "chain_length_max": peak.chain_length,
        })
    };
    let drains = facts.drains.iter().map(|time| time.map(|time| time.as_secs_f64()));
    json!({
        "meaning": facts.meaning,
        "committed_per_s_without": facts.throughput_without,
        "peak_without": peak(&facts.without),
        "peak_with": peak(&facts.with),
        "held": facts.held,
        "cut_short": facts.cut_short,
        "refused": facts.refused,
        // Of each round; null where it was not cleared away in time.
        "drains_s": drains.collect::<Vec<_>>(),
    })
}

fn audits_value(audits: &Audits) -> Value {
    let counts = |counts: &AuditCounts| {
        json!({
            "held": counts.held,
            "broken": counts.broken,
            "gave_up": counts.gave_up,
            "elapsed_s": counts.elapsed.as_secs_f64(),
        })
    };
    let finding = |finding: &Finding| {
        let Finding { what, holds, evidence } = finding;
        json!({ "what": what, "holds": holds, "evidence": evidence })
    };
    let findings: Vec<Value> = audits.findings.iter().map(finding).collect();
    let broken = audits.broken.iter().map(|(moment, found)| {
        let mut value = finding(found);
        value["moment"] = match moment {
            Moment::During => "during".into(),
            Moment::After => "after".into(),
        };
        value
    });
    json!({
        "during": counts(&audits.during),
        "after": counts(&audits.after),
        // Of the last audit.
        "findings": findings,
        // The first ones that did not hold.
        "broken": broken.collect::<Vec<_>>(),
    })
}

fn kind_value(report: &Report<'_>, repetition: &Repetition, stats: &KindStats) -> Value {
    let counts = &stats.counts;
    let latencies = |end: End| stats.service[end as usize].as_ref();
    json!({
        "counts": counts_value(counts),
        "committed_per_s": repetition.per_second(counts.committed()),
        "abort_rate": counts.abort_rate(),
        "service_ns": latencies(End::Committed).map(|l| latency_value(report, l)),
        "rolled_back_ns": latencies(End::RolledBack).map(|l| latency_value(report, l)),
        "gave_up_ns": latencies(End::GaveUp).map(|l| latency_value(report, l)),
        "intended_ns": stats.intended.as_ref().map(|l| latency_value(report, l)),
    })
}

pub(super) fn counts_value(counts: &Counts) -> Value {
    let aborts = AbortReason::ALL.iter().zip(counts.aborts);
    let aborts: Map<String, Value> =
        aborts.map(|(reason, count)| (reason.name().to_owned(), count.into())).collect();
    let [committed, rolled_back, gave_up] = counts.ends;
    json!({
        "attempts": counts.attempts,
        "committed": committed,
        "rolled_back": rolled_back,
        "gave_up": gave_up,
        "aborts": aborts,
        "busy_ns": counts.busy_ns,
        "wasted_ns": counts.wasted_ns,
    })
}

fn latency_value(report: &Report<'_>, latencies: &Latencies) -> Value {
    let histogram = &latencies.histogram;
    let quantiles: Map<String, Value> = report
        .percentiles()
        .iter()
        .map(|p| (format!("p{p}"), histogram.value_at_percentile(*p).into()))
        .collect();
    json!({
        "count": histogram.len(),
        "overflow": latencies.overflow,
        "min": histogram.min(),
        "mean": histogram.mean(),
        "stdev": histogram.stdev(),
        "max": histogram.max(),
        "quantiles": quantiles,
        // HdrHistogram's V2 encoding, deflated, in base 64.
        "histogram": STANDARD.encode(compress(latencies)),
    })
}

/// The timeline as arrays of one length.
#[derive(Debug, Serialize)]
struct Timeline {
    interval_s: f64,
    step: Vec<u64>,
    committed: Vec<u64>,
    attempts: Vec<u64>,
    p50_ns: Vec<u64>,
    p99_ns: Vec<u64>,
    max_ns: Vec<u64>,
}

fn timeline(report: &Report<'_>, repetition: &Repetition) -> Timeline {
    let column = |of: &dyn Fn(&Step) -> u64| repetition.steps.iter().map(of).collect();
    Timeline {
        interval_s: report.plan.interval.as_secs_f64(),
        step: column(&|step| step.number),
        committed: column(&|step| step.counts.committed()),
        attempts: column(&|step| step.counts.attempts),
        p50_ns: column(&|step| step.p50_ns),
        p99_ns: column(&|step| step.p99_ns),
        max_ns: column(&|step| step.max_ns),
    }
}

fn store_value(store: &crate::Stats) -> Value {
    json!({
        "commits": store.commits,
        "commits_read_only": store.commits_read_only,
        "commits_one_shard": store.commits_one_shard,
        "commits_cross_shard": store.commits_cross_shard,
        "records": store.records,
        "versions_live": store.versions_live,
        "versions_retired": store.versions_retired,
        "chain_length_max": store.chain_length_max,
        "retained_bytes": store.retained_bytes,
        "arena_bytes": store.arena_bytes,
        "workers": store.workers,
        "rests": store.rests,
    })
}
