//! `chronolith run`.

use super::arguments::RunArguments;
use super::progress::Progress;
use super::settings::{DEFAULT_DURATION, Ending, fingerprint, replay, with_workload};
use super::{Failure, INTERRUPTED, VIOLATED, deliver, from_run, watch_signals};
use crate::bench::{self, ClientProperties, Outcome, Plan};
use crate::report::{Output, Outputs, Report, RunFacts, write_table};
use crate::workload::{Properties, PropertyError, Workload, WorkloadVisitor};
use std::io::Write;

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
    let name = &arguments.engine.protocol;
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
            arguments.measure.transactions,
            arguments.measure.warmup,
            &client,
            workload.operations_per_transaction(),
            DEFAULT_DURATION,
        );
        let outputs = Outputs::open(output_files(arguments))?;
        let measure = &arguments.measure;
        let engine = (arguments.engine.protocol.as_str(), arguments.engine.threads(&client));
        let seed = arguments.workload.seed();
        let plan = Plan {
            keep_interval_histograms: outputs.contains(Output::Hlog),
            long_reader: arguments.long_reader,
            ..measure.plan(engine, arguments.reps, seed, &client, &ending)?
        };
        let asked = arguments.engine.threads.map(|threads| threads.resolve());
        let notes = measure.notes(asked, &client, &ending);
        let progress = Progress::new(measure.quiet, client.status, &plan);
        let outcome = bench::run(&workload, &plan, watch_signals(), &progress);
        progress.clear();
        let outcome = outcome.map_err(from_run)?;
        let facts = RunFacts {
            workload: arguments.workload.shown_name(),
            properties: properties.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect(),
            fingerprint: fingerprint::<W>(properties, plan.seed),
            label: client.label.clone(),
            notes,
            percentiles: client.percentiles.clone(),
            replay: replay_line(arguments, &plan, outcome.environment.shards),
        };
        let report = Report { outcome: &outcome, plan: &plan, facts: &facts };
        let table = &mut |out: &mut dyn Write| write_table(out, &report);
        deliver(table, &outputs, &|output, out| report.write(output, out))?;
        conclude(&outcome)
    }
}

fn output_files(arguments: &RunArguments) -> Vec<(Output, std::path::PathBuf)> {
    let RunArguments { json, csv, hgrm, hlog, .. } = arguments;
    let files =
        [(Output::Json, json), (Output::Csv, csv), (Output::Hgrm, hgrm), (Output::Hlog, hlog)];
    files.into_iter().filter_map(|(output, path)| Some((output, path.clone()?))).collect()
}

fn replay_line(arguments: &RunArguments, plan: &Plan, shards: usize) -> String {
    let mut engine = vec![("-t", plan.threads.to_string()), ("--protocol", plan.protocol.clone())];
    engine.extend(plan.long_reader.map(|reader| ("--long-reader", reader.to_string())));
    replay("run", &arguments.workload, plan, shards, &engine)
}

fn conclude(outcome: &Outcome) -> Result<(), Failure> {
    if !outcome.violations().is_empty() || outcome.broken_audits() > 0 {
        return Err(Failure::silent(VIOLATED));
    }
    if outcome.interrupted() {
        return Err(Failure::silent(INTERRUPTED));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::arguments::{Arguments, Command};
    use super::*;
    use crate::protocol::Protocol;
    use crate::workload::bank::{Bank, BankWorker, Tables};
    use crate::workload::{
        Finding, Footprint, KeyStream, LoadWatch, Moment, Preset, PropertyRow, Seed, TallyRow,
    };
    use crate::{Error, Store, TransactionError};
    use clap::Parser;

    /// The bank, with an auditor whom nothing satisfies.
    struct Suspicious(Bank);

    impl Workload for Suspicious {
        type Tables<P: Protocol> = Tables<P>;
        type Worker<'run, P: Protocol> = BankWorker<'run, P>;

        const CLASSES: &'static [&'static str] = Bank::CLASSES;
        const PRESETS: &'static [Preset] = Bank::PRESETS;
        const PROPERTIES: &'static [PropertyRow] = Bank::PROPERTIES;

        fn configure(properties: &Properties) -> Result<Self, PropertyError> {
            Bank::configure(properties).map(Suspicious)
        }
        fn kinds(&self) -> &'static [&'static str] {
            self.0.kinds()
        }
        fn tallies(&self) -> &'static [TallyRow] {
            self.0.tallies()
        }
        fn operations_per_transaction(&self) -> f64 {
            self.0.operations_per_transaction()
        }
        fn basis(&self) -> Vec<(&'static str, String)> {
            self.0.basis()
        }
        fn footprint(&self) -> Footprint {
            self.0.footprint()
        }
        fn open<P: Protocol>(&self, store: &Store<P>) -> Result<Tables<P>, Error> {
            self.0.open(store)
        }
        fn load<P: Protocol>(
            &self,
            store: &Store<P>,
            tables: &Tables<P>,
            seed: Seed,
            watch: &dyn LoadWatch,
        ) -> Result<(), TransactionError> {
            self.0.load(store, tables, seed, watch)
        }
        fn worker<'run, P: Protocol>(
            &'run self,
            store: &'run Store<P>,
            tables: &'run Tables<P>,
            seed: Seed,
            index: usize,
            workers: usize,
        ) -> BankWorker<'run, P> {
            self.0.worker(store, tables, seed, index, workers)
        }
        fn audit<P: Protocol>(
            &self,
            _store: &Store<P>,
            _tables: &Tables<P>,
            moment: Moment,
        ) -> Result<Vec<Finding>, TransactionError> {
            let holds = moment == Moment::During;
            let evidence = "a feeling".to_owned();
            Ok(vec![Finding { what: "all is well", holds, evidence }])
        }
        fn key_stream(
            &self,
            seed: Seed,
            index: usize,
            workers: usize,
        ) -> Option<(KeyStream<'_>, u64)> {
            self.0.key_stream(seed, index, workers)
        }
    }

    #[test]
    fn a_broken_audit_is_exit_code_3() {
        let words = ["chronolith", "run", "-q", "-w", "bank", "-n", "100", "-t", "1"];
        let arguments = match Arguments::try_parse_from(words) {
            Ok(Arguments { command: Some(Command::Run(arguments)) }) => arguments,
            other => panic!("{other:?}"),
        };
        let run = |honest: bool| {
            let properties = arguments.workload.gather().expect("a preset");
            let visitor = RunWorkload { arguments: &arguments, properties: &properties };
            match honest {
                true => visitor.visit(Bank::configure(&properties).expect("valid")),
                false => visitor.visit(Suspicious::configure(&properties).expect("valid")),
            }
        };
        assert!(run(true).is_ok());
        assert_eq!(run(false).map_err(|failure| failure.code), Err(VIOLATED));
    }
}
