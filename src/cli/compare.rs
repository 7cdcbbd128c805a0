//! `chronolith compare`.

use super::arguments::{CompareArguments, ThreadCount};
use super::progress::ComparisonProgress;
use super::protocols::choose;
use super::settings::{Ending, default_threads, fingerprint, replay, with_workload};
use super::{
    FAILED, Failure, GATE_FAILED, INTERRUPTED, VIOLATED, deliver, from_run, watch_signals,
};
use crate::bench::{self, ClientProperties, ComparisonPlan, Plan};
use crate::protocol::NAMES;
use crate::report::comparison::{ComparisonReport, Gate, Ruling, write_table};
use crate::report::{Output, Outputs, RunFacts};
use crate::workload::{Properties, Workload, WorkloadVisitor};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long one protocol is measured in each repetition when nothing says otherwise: with all
/// protocols and eight repetitions the whole takes less than five minutes on two processors.
const DURATION: Duration = Duration::from_secs(1);
/// The records of a preset: loading more would take longer than measuring them.
const RECORDS: &str = "100000";

/// Compares protocols.
pub(super) fn compare(arguments: &CompareArguments) -> Result<(), Failure> {
    let gates = arguments.gates.iter().map(|gate| Gate::parse(gate)).collect::<Result<_, _>>()?;
    let mut properties = arguments.workload.gather()?;
    let preset = arguments.workload.preset_name();
    // What the user set stays; only what a preset says about the records gives way.
    let of_preset = preset.is_some() && properties.origin("recordcount") == preset;
    if of_preset {
        properties.set("recordcount", RECORDS, "compare");
    }
    let visitor = CompareWorkload { arguments, properties: &properties, gates, of_preset };
    with_workload(&properties, visitor)
}

struct CompareWorkload<'a> {
    arguments: &'a CompareArguments,
    properties: &'a Properties,
    gates: Vec<Gate>,
    /// Whether the number of records is the command's own choice.
    of_preset: bool,
}

impl WorkloadVisitor for CompareWorkload<'_> {
    type Output = Result<(), Failure>;

    fn visit<W: Workload>(self, workload: W) -> Result<(), Failure> {
        let CompareWorkload { arguments, properties, gates, .. } = &self;
        let client = ClientProperties::read(properties)?;
        let ending = Ending::resolve(
            arguments.workload.duration,
            arguments.measure.transactions,
            arguments.measure.warmup,
            &client,
            workload.operations_per_transaction(),
            DURATION,
        );
        let plan = comparison_plan(arguments, &client, &ending)?;
        let outputs = Outputs::open(output_files(arguments, &plan))?;
        let mut notes = self.notes(&client, &ending, plan.plan.threads);
        notes.extend(arguments.measure.contention.check(&plan.protocols)?);
        let progress =
            ComparisonProgress::new(arguments.measure.quiet, client.status.is_some(), &plan);
        progress.estimate(workload.footprint().records, &plan);
        let comparison = bench::compare(&workload, &plan, watch_signals(), &progress);
        progress.clear();
        let comparison = comparison.map_err(from_run)?;
        let facts = RunFacts {
            workload: arguments.workload.shown_name(),
            properties: properties.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            fingerprint: fingerprint::<W>(properties, plan.plan.seed),
            isolation: arguments.measure.isolation.clone(),
            label: client.label.clone(),
            notes,
            percentiles: Vec::new(),
            replay: replay_line(arguments, &plan, comparison.environment.shards),
        };
        let report = ComparisonReport::new(&comparison, &plan, &facts, gates);
        let table = &mut |out: &mut dyn Write| write_table(out, &report);
        deliver(table, &outputs, &|output, out| report.write(output, out))?;
        conclude(&report)
    }
}

impl CompareWorkload<'_> {
    fn notes(&self, client: &ClientProperties, ending: &Ending, most: usize) -> Vec<String> {
        let asked = (!self.arguments.threads.is_empty()).then_some(most);
        let mut notes = self.arguments.measure.notes(asked, client, ending);
        if self.of_preset {
            notes.push(format!("{RECORDS} records; set recordcount for another number"));
        }
        if !client.percentiles.is_empty() {
            notes.push("hdrhistogram.percentiles has no effect on a comparison".to_owned());
        }
        if self.properties.get("status.interval").is_some() {
            notes.push("status.interval has no effect: a line comes after each repetition".into());
        }
        notes
    }
}

/// The distribution of each protocol at each number of threads is in a file of its own.
fn output_files(arguments: &CompareArguments, plan: &ComparisonPlan) -> Vec<(Output, PathBuf)> {
    let mut files: Vec<(Output, PathBuf)> = Vec::new();
    for (output, path) in arguments.files.outputs() {
        if output != Output::Hgrm {
            files.push((output, path));
            continue;
        }
        for threads in 0..plan.threads.len() {
            files.extend((0..plan.protocols.len()).map(|protocol| {
                let named = with_part(&path, &plan.cell_name(protocol, threads));
                (Output::CellHgrm { protocol, threads }, named)
            }));
        }
    }
    files.extend(arguments.markdown.iter().map(|path| (Output::Markdown, path.clone())));
    files
}

/// The path with `part` before its extension. What can be no file stays as it is, and is refused.
fn with_part(path: &Path, part: &str) -> PathBuf {
    if path.is_dir() || path.file_name().is_none() {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!(".{part}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

fn comparison_plan(
    arguments: &CompareArguments,
    client: &ClientProperties,
    ending: &Ending,
) -> Result<ComparisonPlan, Failure> {
    let protocols = choose(&arguments.protocols, arguments.measure.isolation.as_deref())?;
    let default = protocols.iter().find(|name| *name == NAMES[0]).or(protocols.first());
    let baseline = arguments.baseline.as_ref().or(default).cloned().unwrap_or_default();
    let mut threads = Vec::new();
    for count in arguments.threads.iter().map(|count| ThreadCount::resolve(*count)) {
        // On some machines a number and a multiple are the same.
        if !threads.contains(&count) {
            threads.push(count);
        }
    }
    if threads.is_empty() {
        threads.push(default_threads(client));
    }
    let most = threads.iter().copied().max().unwrap_or(1);
    let seed = arguments.workload.seed();
    let engine = (baseline.as_str(), most);
    let plan = Plan {
        keep_interval_histograms: arguments.files.hlog.is_some(),
        ..arguments.measure.plan(engine, arguments.reps, seed, client, ending)?
    };
    let keep_latencies = arguments.files.hgrm.is_some();
    let plan = ComparisonPlan { plan, protocols, threads, keep_latencies };
    plan.check()?;
    Ok(plan)
}

fn replay_line(arguments: &CompareArguments, plan: &ComparisonPlan, shards: usize) -> String {
    let threads: Vec<String> = plan.threads.iter().map(usize::to_string).collect();
    let mut more = vec![
        ("--protocols", plan.protocols.join(",")),
        ("--baseline", plan.plan.protocol.clone()),
        ("-t", threads.join(",")),
    ];
    more.extend(arguments.gates.iter().map(|gate| ("--gate", gate.clone())));
    replay("compare", (&arguments.workload, &arguments.measure), &plan.plan, shards, &more)
}

/// The exit code, worst first, and the line that says why.
fn conclude(report: &ComparisonReport<'_>) -> Result<(), Failure> {
    let describe = |violation: bool| {
        let flaws = report.flaws().filter(|(_, flaw)| flaw.violation == violation);
        let flaws = flaws.map(|(facts, flaw)| format!("{}: {}", facts.name, flaw.reason));
        flaws.collect::<Vec<_>>().join("; ")
    };
    for (violation, code) in [(true, VIOLATED), (false, FAILED)] {
        let line = describe(violation);
        if !line.is_empty() {
            return Err(Failure { code, line: Some(line) });
        }
    }
    if report.comparison.interrupted {
        return Err(Failure::silent(INTERRUPTED));
    }
    let failed = report.verdicts.iter().filter(|verdict| verdict.ruling == Ruling::Failed);
    let failed: Vec<String> = failed
        .map(|verdict| {
            let (gate, protocol) = (&verdict.gate.text, verdict.protocol);
            let threads = verdict.threads;
            format!("gate {gate} failed by {protocol}, {threads} thread(s): {}", verdict.describe())
        })
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure { code: GATE_FAILED, line: Some(failed.join("; ")) })
}
