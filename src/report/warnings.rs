//! What makes a figure worth less than it seems: printed beside it, and kept in the JSON.

use super::Report;
use super::format::{latency, percent, rate};
use crate::bench::{Environment, Machine, Plan, Repetition, is_debug_build};
use crate::workload::Moment;
use std::time::Duration;

/// The share of the run's cost above which the harness is too large a part of it.
const HARNESS_SHARE_MAX: f64 = 0.5;
/// A throttled run that achieves less than this share of its target is saturated.
const ACHIEVED_MIN: f64 = 0.99;
/// A measurement shorter than this says little.
const ELAPSED_MIN: Duration = Duration::from_millis(900);
/// Load from elsewhere, in processors, above which it disturbs.
const LOAD_MAX: f64 = 0.5;
/// Relative change between the first and the last third above which a run was not steady.
const DRIFT_MAX: f64 = 0.05;
/// Steps without which a drift cannot be told from noise.
const STEPS_MIN: usize = 9;

/// Everything that deserves a warning.
#[must_use]
pub fn warnings(report: &Report<'_>) -> Vec<String> {
    let shown = report.shown();
    let (machine, threads) = (&report.outcome.environment.machine, report.plan.threads);
    let found = [debug_build(), too_many_threads(threads, machine), heavy(report, shown)];
    let more = [
        saturated(report, shown),
        too_short(shown.elapsed),
        busy_machine(machine),
        governor(machine),
        unsteady(shown),
        overflow(report),
        cut_short(report),
    ];
    let mut warnings: Vec<String> = found.into_iter().chain(more).flatten().collect();
    for (name, count) in report.outcome.violations() {
        warnings.push(format!("VIOLATION: {count} {name}: the store broke its promise"));
    }
    warnings.extend(broken_audits(report));
    warnings
}

/// Every broken finding that was kept, with its evidence, and how many audits broke in all.
fn broken_audits(report: &Report<'_>) -> Vec<String> {
    let repetitions = report.outcome.repetitions.iter().enumerate();
    let kept = repetitions.flat_map(|(index, repetition)| {
        repetition.audits.broken.iter().map(move |(moment, finding)| (index + 1, moment, finding))
    });
    let told = kept.map(|(repetition, moment, finding)| {
        let when = match moment {
            Moment::During => "during",
            Moment::After => "after",
        };
        format!(
            "VIOLATION: it does not hold that {}: {} (audit {when} repetition {repetition})",
            finding.what, finding.evidence
        )
    });
    let mut warnings: Vec<String> = told.collect();
    if !warnings.is_empty() {
        let broken = report.outcome.broken_audits();
        warnings.push(format!("VIOLATION: {broken} audits found a broken promise of the store"));
    }
    warnings
}

pub(super) fn debug_build() -> Option<String> {
    is_debug_build().then(|| {
        "this is a debug build: the figures say nothing about speed; build with --release"
            .to_owned()
    })
}

pub(super) fn too_many_threads(threads: usize, machine: &Machine) -> Option<String> {
    let processors = machine.processors;
    (threads > processors).then(|| {
        format!("{threads} threads share {processors} processors: latency includes waiting for one")
    })
}

fn heavy(report: &Report<'_>, shown: &Repetition) -> Option<String> {
    let transactions = shown.per_second(shown.stats.total().counts.transactions());
    harness_heavy(&report.outcome.environment, report.plan, transactions)
}

/// Whether the harness is too large a part of the cost of one of `transactions` a second.
pub(super) fn harness_heavy(
    environment: &Environment,
    plan: &Plan,
    transactions: f64,
) -> Option<String> {
    if plan.throttle.is_some() {
        return None;
    }
    let running = plan.threads.min(environment.machine.processors) as f64;
    let cost_ns = running * 1e9 / transactions.max(1e-9);
    let share = environment.harness.transaction_ns / cost_ns;
    (share > HARNESS_SHARE_MAX).then(|| {
        format!(
            "the harness is {} of the cost of a transaction ({} of {}): the store is faster than \
             the throughput says",
            percent(share),
            latency(environment.harness.transaction_ns),
            latency(cost_ns)
        )
    })
}

fn saturated(report: &Report<'_>, shown: &Repetition) -> Option<String> {
    let throttle = report.plan.throttle?;
    let operations = report.outcome.environment.operations_per_transaction;
    let target = throttle.operations_per_second / operations;
    let achieved = shown.per_second(shown.stats.total().counts.transactions());
    (achieved < ACHIEVED_MIN * target && shown.missed > 0).then(|| {
        format!(
            "SATURATED: {} of the {} asked for, {} scheduled starts came too late; latency from \
             the intended start grows with the duration, so use service time or lower the target",
            rate(achieved),
            rate(target),
            shown.missed
        )
    })
}

pub(super) fn too_short(elapsed: Duration) -> Option<String> {
    (elapsed < ELAPSED_MIN).then(|| {
        let elapsed = latency(elapsed.as_nanos() as f64);
        format!("only {elapsed} were measured, too short to mean much: use a longer -d")
    })
}

pub(super) fn busy_machine(machine: &Machine) -> Option<String> {
    let load = machine.get("load-average")?;
    let load: f64 = load.split_whitespace().next()?.parse().ok()?;
    (load > LOAD_MAX).then(|| {
        format!("the machine was busy when the run began (load average {load}): figures may be low")
    })
}

pub(super) fn governor(machine: &Machine) -> Option<String> {
    let governor = machine.get("governor")?;
    (governor != "performance").then(|| {
        format!("the processors' governor is \"{governor}\": their speed may change during the run")
    })
}

/// Compares the first with the last third of the timeline.
fn unsteady(shown: &Repetition) -> Option<String> {
    // The last step is cut off by the end of the run.
    let steps = &shown.steps[..shown.steps.len().saturating_sub(1)];
    if steps.len() < STEPS_MIN {
        return None;
    }
    let rates: Vec<f64> = steps.iter().map(|step| step.counts.committed() as f64).collect();
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let overall = mean(&rates);
    let variance = rates.iter().map(|rate| (rate - overall).powi(2)).sum::<f64>();
    let deviation = (variance / (rates.len() - 1) as f64).sqrt();
    let third = rates.len() / 3;
    let change = mean(&rates[rates.len() - third..]) - mean(&rates[..third]);
    (change.abs() > 2.0 * deviation && change.abs() > DRIFT_MAX * overall).then(|| {
        format!(
            "not steady: throughput of the last third differs from the first by {}",
            percent(change.abs() / overall)
        )
    })
}

fn overflow(report: &Report<'_>) -> Option<String> {
    let repetitions = report.outcome.repetitions.iter();
    let latencies = repetitions.flat_map(|repetition| &repetition.stats.kinds);
    let latencies = latencies.flat_map(|kind| kind.service.iter().chain([&kind.intended]));
    let overflow: u64 = latencies.flatten().map(|latencies| latencies.overflow).sum();
    (overflow > 0).then(|| format!("{overflow} latencies were above the histogram's hour"))
}

fn cut_short(report: &Report<'_>) -> Option<String> {
    let outcome = report.outcome;
    if outcome.repetitions.iter().any(|repetition| repetition.starved) {
        return Some(
            "STOPPED EARLY: memory was nearly used up; this is what was measured".to_owned(),
        );
    }
    outcome
        .interrupted()
        .then(|| "INTERRUPTED: this is what was measured until then, not the whole run".to_owned())
}
