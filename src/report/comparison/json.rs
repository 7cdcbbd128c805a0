//! The comparison for machines: schema `chronolith.compare/v1`.
//!
//! Fields are added without notice; a field that changes its meaning or goes away makes a new
//! version.

use super::summary::{Effect, Row, Standing};
use super::{ComparisonReport, EQUAL_FOR_ALL, Verdict};
use crate::bench::inference::{CONFIDENCE, POWER};
use crate::bench::{Block, Cell, Derived, METRICS, Round, Source, measured};
use crate::report::json::{
    clock_value, config_value, counts_value, harness_value, long_reader_value, machine_value,
    protocol_value, skew_value, workload_value,
};
use serde_json::{Map, Value, json};
use std::io::{self, Write};

/// The name and version of the schema.
const SCHEMA: &str = "chronolith.compare/v1";

/// Writes the document.
pub(super) fn write(out: &mut dyn Write, report: &ComparisonReport<'_>) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &document(report)).map_err(io::Error::from)?;
    writeln!(out)
}

fn document(report: &ComparisonReport<'_>) -> Value {
    let ComparisonReport { comparison, plan, facts, .. } = report;
    let environment = &comparison.environment;
    let list = |values: &mut dyn Iterator<Item = Value>| values.collect::<Vec<Value>>();
    json!({
        "schema": SCHEMA,
        "complete": !comparison.interrupted && comparison.flaws.iter().all(Option::is_none),
        "label": facts.label,
        "workload": workload_value(facts, environment),
        "protocols": list(&mut comparison.protocols.iter().map(protocol_value)),
        "baseline": plan.plan.protocol,
        "equal_for_all": EQUAL_FOR_ALL,
        "config": config_value(&plan.plan, facts, environment, json!(plan.threads)),
        // As text too: many readers keep numbers in 53 bits.
        "seed": plan.plan.seed.number(),
        "seed_text": plan.plan.seed.to_string(),
        "requests": format!("{:016x}", report.requests()),
        "skew": skew_value(environment),
        "machine": machine_value(environment),
        "clock": clock_value(environment),
        "harness": harness_value(environment),
        "statistics": {
            "confidence": CONFIDENCE,
            "power": POWER,
            "comparisons": report.tests(),
            "correction": "holm",
        },
        "metrics": list(&mut METRICS.iter().map(|metric| json!({
            "name": metric.name,
            "column": metric.column,
            "unit": metric.unit.name(),
            "scale": metric.measure().map(|measure| measure.scale.name()),
            "more_is_better": metric.measure().map(|measure| measure.more_is_better),
            "summary": metric.summary,
        }))),
        "results": list(&mut report.standings.iter().map(|s| standing_value(report, s))),
        "gates": list(&mut report.verdicts.iter().map(verdict_value)),
        "notes": facts.notes,
        "warnings": report.warnings(),
        "replay": facts.replay,
        "blocks": list(&mut comparison.blocks.iter().map(|block| block_value(report, block))),
    })
}

fn standing_value(report: &ComparisonReport<'_>, standing: &Standing) -> Value {
    let mut rows: Vec<Value> = standing.rows.iter().map(|row| row_value(report, row)).collect();
    for (value, row) in rows.iter_mut().zip(&standing.rows) {
        let beside = report.beside(standing, row).into_iter();
        let beside = beside.map(|(metric, median)| (metric.column.to_owned(), json!(median)));
        value["long_reader"] = match report.plan.plan.long_reader {
            Some(_) => Value::Object(beside.collect()),
            None => Value::Null,
        };
    }
    json!({ "threads": standing.threads, "rows": rows })
}

fn row_value(report: &ComparisonReport<'_>, row: &Row) -> Value {
    let effects = measured().zip(&row.effects);
    let effects: Map<String, Value> = effects
        .map(|((metric, _), effect)| (metric.column.to_owned(), effect_value(effect.as_ref())))
        .collect();
    let mut value = json!({
        "protocol": report.facts_of(row).name,
        "isolation": report.facts_of(row).level(),
        "progress": report.facts_of(row).progress,
        "baseline": report.is_baseline(row),
        "failed": report.flaw_of(row).map(|flaw| flaw.reason.as_str()),
        "median": row.medians.as_ref().map(|medians| by_column(medians)),
        "effects": effects,
        "p_uncorrected": row.significance.map(|significance| significance.p),
    });
    for metric in METRICS {
        let effect = row.throughput();
        let number = match metric.source {
            Source::Derived(Derived::Ratio) => json!(effect.map(|effect| effect.estimate)),
            Source::Derived(Derived::Interval) => json!(effect.and_then(|effect| effect.interval)),
            Source::Derived(Derived::Detectable) => {
                json!(effect.and_then(|effect| effect.detectable))
            }
            Source::Derived(Derived::Significance) => {
                json!(row.significance.map(|significance| significance.corrected))
            }
            _ => continue,
        };
        value[metric.column] = number;
    }
    value
}

fn effect_value(effect: Option<&Effect>) -> Value {
    effect.map_or(Value::Null, |effect| {
        json!({
            "scale": effect.scale.name(),
            "estimate": effect.estimate,
            "interval": effect.interval,
            "detectable": effect.detectable,
        })
    })
}

fn verdict_value(verdict: &Verdict) -> Value {
    json!({
        "gate": verdict.gate.text,
        "threads": verdict.threads,
        "protocol": verdict.protocol,
        "ruling": verdict.ruling.name(),
        "effect": effect_value(verdict.effect.as_ref()),
    })
}

fn by_column(values: &[f64]) -> Map<String, Value> {
    let columns = measured().map(|(metric, _)| metric.column.to_owned());
    columns.zip(values.iter().map(|value| json!(value))).collect()
}

fn block_value(report: &ComparisonReport<'_>, block: &Block) -> Value {
    let rounds = report.plan.threads.iter().zip(&block.rounds);
    let rounds: Vec<Value> =
        rounds.map(|(threads, round)| round_value(report, *threads, round)).collect();
    json!({ "number": block.number, "seed": block.seed.to_string(), "rounds": rounds })
}

fn round_value(report: &ComparisonReport<'_>, threads: usize, round: &Round) -> Value {
    let cells = report.comparison.protocols.iter().zip(&round.cells);
    let cells: Map<String, Value> = cells
        .filter_map(|(facts, cell)| {
            Some((facts.name.to_owned(), cell_value(report, cell.as_ref()?)))
        })
        .collect();
    let requests = format!("{:016x}", round.requests);
    json!({ "threads": threads, "requests": requests, "cells": cells })
}

fn cell_value(report: &ComparisonReport<'_>, cell: &Cell) -> Value {
    let environment = &report.comparison.environment;
    let named = |names: &mut dyn Iterator<Item = &'static str>, counts: &[u64]| {
        let pairs = names.zip(counts).map(|(name, count)| (name.to_owned(), (*count).into()));
        pairs.collect::<Map<String, Value>>()
    };
    json!({
        "turn": cell.turn,
        "elapsed_s": cell.elapsed.as_secs_f64(),
        "load": {
            "records": cell.load.records,
            "elapsed_s": cell.load.elapsed.as_secs_f64(),
        },
        "counts": counts_value(&cell.counts),
        "committed_by_kind": named(&mut environment.kinds.iter().copied(), &cell.committed),
        "tallies": named(&mut environment.tally_rows.iter().map(|row| row.name), &cell.tallies),
        "values": by_column(&cell.values),
        "long_reader": cell.long_reader.as_ref().map(long_reader_value),
    })
}
