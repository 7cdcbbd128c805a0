//! `chronolith run`.

use super::arguments::RunArguments;
use super::progress::Progress;
use super::settings::{Ending, fingerprint, shell_word, with_workload};
use super::{Failure, INTERRUPTED, VIOLATED, complain, print, watch_signals};
use crate::bench::{self, ClientProperties, Limit, Outcome, Pinning, Plan, Throttle};
use crate::report::{Output, Outputs, Report, RunFacts, write_table};
use crate::workload::{Properties, PropertyError, Workload, WorkloadVisitor};
use std::time::Duration;

/// The length of one step of the timeline.
const INTERVAL: Duration = Duration::from_secs(1);

/// Loads, runs, reports.
pub(super) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    check_isolation(arguments)?;
    let properties = arguments.workload.gather()?;
    with_workload(&properties, RunWorkload { arguments, properties: &properties })
}

/// Every protocol has one level: asking for another one is asking for another protocol.
fn check_isolation(arguments: &RunArguments) -> Result<(), Failure> {
    let Some(asked) = &arguments.isolation else {
        return Ok(());
    };
    let name = &arguments.workload.protocol;
    let facts =
        bench::protocol_facts(name).ok_or_else(|| bench::RunError::Protocol(name.clone()))?;
    if *asked == facts.isolation {
        return Ok(());
    }
    Err(PropertyError::new(format!(
        "--isolation {asked}: protocol {name} is {} and nothing else; leave the flag out",
        facts.isolation
    ))
    .into())
}

struct RunWorkload<'a> {
    arguments: &'a RunArguments,
    properties: &'a Properties,
}

impl WorkloadVisitor for RunWorkload<'_> {
    type Output = Result<(), Failure>;

    fn visit<W: Workload>(self, workload: W) -> Result<(), Failure> {
        let RunWorkload { arguments, properties } = self;
        let client = ClientProperties::read(properties)?;
        let ending = Ending::resolve(
            arguments.workload.duration,
            arguments.transactions,
            arguments.warmup,
            &client,
            workload.operations_per_transaction(),
        );
        let outputs = Outputs::open(output_files(arguments))?;
        let plan = plan(arguments, &client, &ending, outputs.contains(Output::Hlog))?;
        plan.check()?;
        let notes = notes(arguments, &client, ending);
        let progress = Progress::new(arguments.quiet, client.status, &plan);
        let outcome = bench::run(&workload, &plan, watch_signals(), &progress);
        progress.clear();
        let outcome = outcome.map_err(|error| match error {
            bench::RunError::InterruptedEarly => {
                Failure { code: INTERRUPTED, line: Some(error.to_string()) }
            }
            error => error.into(),
        })?;
        let facts = RunFacts {
            workload: arguments.workload.shown_name(),
            properties: properties.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            fingerprint: fingerprint::<W>(properties, plan.seed),
            label: client.label.clone(),
            notes,
            percentiles: client.percentiles.clone(),
            replay: replay(arguments, &plan, outcome.shards),
        };
        report(&Report { outcome: &outcome, plan: &plan, facts: &facts }, &outputs)?;
        conclude(&outcome)
    }
}

fn output_files(arguments: &RunArguments) -> Vec<(Output, std::path::PathBuf)> {
    let RunArguments { json, csv, hgrm, hlog, .. } = arguments;
    let files =
        [(Output::Json, json), (Output::Csv, csv), (Output::Hgrm, hgrm), (Output::Hlog, hlog)];
    files.into_iter().filter_map(|(output, path)| Some((output, path.clone()?))).collect()
}

fn plan(
    arguments: &RunArguments,
    client: &ClientProperties,
    ending: &Ending,
    keep_interval_histograms: bool,
) -> Result<Plan, Failure> {
    let pinning = Pinning::parse(&arguments.pin).map_err(bench::RunError::Pinning)?;
    Ok(Plan {
        protocol: arguments.workload.protocol.clone(),
        threads: arguments.workload.threads(client),
        limit: ending.limit,
        warmup: ending.warmup,
        seed: arguments.workload.seed(),
        shards: arguments.shards,
        pinning,
        repetitions: arguments.reps,
        throttle: client
            .target
            .map(|target| Throttle { operations_per_second: target, spin: client.spin }),
        latency: client.latency,
        interval: INTERVAL,
        audit_interval: client.audit_interval,
        keep_interval_histograms,
    })
}

/// What a reader should know about how the settings were read: no property is idle in silence.
fn notes(arguments: &RunArguments, client: &ClientProperties, ending: Ending) -> Vec<String> {
    let mut notes = ending.notes;
    if let (Some(flag), Some(idle)) = (arguments.workload.threads, client.threads)
        && flag as u64 != idle
    {
        notes.push(format!("threadcount={idle} is not used: -t {flag} is"));
    }
    if let (Some(_), Some(idle)) = (arguments.warmup, client.warmup) {
        notes.push(format!("warmuptime={} is not used: --warmup is", idle.as_secs()));
    }
    if client.spin && client.target.is_none() {
        notes.push("spin.sleep has no effect: there is no target to wait for".to_owned());
    }
    notes
}

/// The command line that does the same again.
fn replay(arguments: &RunArguments, plan: &Plan, shards: usize) -> String {
    let mut words = vec!["chronolith".to_owned(), "run".to_owned()];
    words.extend(arguments.workload.replay_flags());
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    let time = |duration: Duration| humantime::format_duration(duration).to_string();
    let Limit { duration, transactions } = plan.limit;
    add("-t", plan.threads.to_string());
    if let Some(duration) = duration {
        add("-d", time(duration).replace(' ', ""));
    }
    if let Some(transactions) = transactions {
        add("-n", transactions.to_string());
    }
    add("--warmup", time(plan.warmup).replace(' ', ""));
    add("--seed", plan.seed.to_string());
    add("--shards", shards.to_string());
    add("--protocol", plan.protocol.clone());
    add("--pin", plan.pinning.to_string());
    add("--reps", plan.repetitions.to_string());
    words.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ")
}

/// The table first: it is there even if a file cannot be written.
fn report(report: &Report<'_>, outputs: &Outputs) -> Result<(), Failure> {
    let printed = print(&mut |out| write_table(out, report));
    let mut errors = outputs.write(report);
    let Some(last) = errors.pop() else {
        return printed;
    };
    errors.iter().for_each(|error| complain(&error.to_string()));
    Err(last.into())
}

fn conclude(outcome: &Outcome) -> Result<(), Failure> {
    if outcome.violations().next().is_some() || outcome.broken_audits() > 0 {
        return Err(Failure::silent(VIOLATED));
    }
    if outcome.interrupted() {
        return Err(Failure::silent(INTERRUPTED));
    }
    Ok(())
}
