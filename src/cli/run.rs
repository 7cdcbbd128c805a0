//! `chronolith run`.

use super::arguments::RunArguments;
use super::progress::Progress;
use super::protocols::check_isolation;
use super::settings::{DEFAULT_DURATION, Ending, fingerprint, replay, with_workload};
use super::{Failure, INTERRUPTED, VIOLATED, deliver, from_run, watch_signals};
use crate::bench::{self, ClientProperties, Outcome, Plan};
use crate::report::{Output, Outputs, Report, RunFacts, write_table};
use crate::workload::{Properties, Workload, WorkloadVisitor};
use std::io::Write;

/// Loads, runs, reports.
pub(super) fn run(arguments: &RunArguments) -> Result<(), Failure> {
    check_isolation(&arguments.engine.protocol, arguments.measure.isolation.as_deref())?;
    let protocol = std::slice::from_ref(&arguments.engine.protocol);
    // One protocol heeds the settings, or the run is refused: there is nothing to note.
    arguments.measure.contention.check(protocol)?;
    let properties = arguments.workload.gather()?;
    with_workload(&properties, RunWorkload { arguments, properties: &properties })
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
        let outputs = Outputs::open(arguments.files.outputs())?;
        let measure = &arguments.measure;
        let engine = (arguments.engine.protocol.as_str(), arguments.engine.threads(&client));
        let seed = arguments.workload.seed();
        let plan = Plan {
            keep_interval_histograms: outputs.contains(Output::Hlog),
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
            isolation: measure.isolation.clone(),
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

fn replay_line(arguments: &RunArguments, plan: &Plan, shards: usize) -> String {
    let engine = [("-t", plan.threads.to_string()), ("--protocol", plan.protocol.clone())];
    replay("run", (&arguments.workload, &arguments.measure), plan, shards, &engine)
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
    use super::*;
    use crate::cli::arguments::{Arguments, Command};
    use crate::protocol::Protocol;
    use crate::workload::{
        Finding, Footprint, KeyStream, LoadWatch, Moment, Preset, PropertyError, PropertyRow, Seed,
        TallyRow,
    };
    use crate::{Error, Store, TransactionError};
    use clap::Parser;

    /// A workload that damages what it has loaded.
    struct Damaged<W>(W);

    /// The core workload's table and its number of records here.
    const TABLE: &str = "usertable";
    const RECORDS: u64 = 100;

    impl<W: Workload> Workload for Damaged<W> {
        type Tables<P: Protocol> = W::Tables<P>;
        type Worker<'run, P: Protocol>
            = W::Worker<'run, P>
        where
            Self: 'run;

        const CLASSES: &'static [&'static str] = W::CLASSES;
        const PRESETS: &'static [Preset] = W::PRESETS;
        const PROPERTIES: &'static [PropertyRow] = W::PROPERTIES;
        const KINDS: &'static [&'static str] = W::KINDS;
        const TALLIES: &'static [TallyRow] = W::TALLIES;

        fn configure(properties: &Properties) -> Result<Self, PropertyError> {
            W::configure(properties).map(Damaged)
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

        fn open<P: Protocol>(&self, store: &Store<P>) -> Result<W::Tables<P>, Error> {
            self.0.open(store)
        }

        fn load<P: Protocol>(
            &self,
            store: &Store<P>,
            tables: &W::Tables<P>,
            seed: Seed,
            watch: &dyn LoadWatch,
        ) -> Result<(), TransactionError> {
            self.0.load(store, tables, seed, watch)?;
            let table = store.table::<[u8], [u8]>(TABLE)?;
            store.transact(|tx| {
                for number in 0..RECORDS {
                    let (key, mut buffer) = (format!("user{number}"), Vec::new());
                    tx.update_bytes(&table, key.as_bytes(), &mut buffer, |old, new| {
                        new.extend_from_slice(old);
                        new.reverse();
                    })?;
                }
                // Money from nowhere, where there is a bank; nothing elsewhere.
                tx.update(&store.table::<u64, i64>("balances")?, &0, |balance| balance + 1)?;
                Ok(())
            })
        }

        fn worker<'run, P: Protocol>(
            &'run self,
            store: &'run Store<P>,
            tables: &'run W::Tables<P>,
            seed: Seed,
            index: usize,
            workers: usize,
        ) -> W::Worker<'run, P> {
            self.0.worker(store, tables, seed, index, workers)
        }

        fn audit<P: Protocol>(
            &self,
            store: &Store<P>,
            tables: &W::Tables<P>,
            moment: Moment,
        ) -> Result<Vec<Finding>, TransactionError> {
            self.0.audit(store, tables, moment)
        }

        fn key_stream(&self, seed: Seed, of: usize, all: usize) -> Option<(KeyStream<'_>, u64)> {
            self.0.key_stream(seed, of, all)
        }
    }

    struct RunDamaged<'a>(RunWorkload<'a>);

    impl WorkloadVisitor for RunDamaged<'_> {
        type Output = Result<(), Failure>;
        fn visit<W: Workload>(self, workload: W) -> Result<(), Failure> {
            self.0.visit(Damaged(workload))
        }
    }

    fn run_arguments(more: &[&str]) -> Box<RunArguments> {
        let words = ["chronolith", "run", "-q", "-t", "1", "-n", "2000", "--warmup", "0s"];
        let parsed = Arguments::try_parse_from(words.iter().chain(more));
        match parsed.expect("valid flags").command {
            Some(Command::Run(arguments)) => arguments,
            other => panic!("{other:?}"),
        }
    }

    /// The data are intact: success. They are not: exit code 3, and the report says why.
    fn damage_has_its_own_exit_code(more: &[&str]) {
        let arguments = run_arguments(more);
        let properties = arguments.workload.gather().expect("known properties");
        let run = || RunWorkload { arguments: &arguments, properties: &properties };
        with_workload(&properties, run()).expect("nothing is wrong");
        let failure = with_workload(&properties, RunDamaged(run())).expect_err("it is damaged");
        assert_eq!((failure.code, failure.line), (VIOLATED, None));
    }

    #[test]
    fn a_promise_that_a_worker_sees_broken_has_its_own_exit_code() {
        let records = format!("recordcount={RECORDS}");
        let damaged = [&records, "insertorder=ordered", "dataintegrity=true", "fieldlength=20"];
        for preset in ["ycsb-b", "ycsb-e"] {
            let properties = damaged.iter().flat_map(|property| ["-p", property]);
            damage_has_its_own_exit_code(
                &["-w", preset].into_iter().chain(properties).collect::<Vec<_>>(),
            );
        }
    }

    #[test]
    fn a_promise_that_an_audit_finds_broken_has_its_own_exit_code() {
        // Without sums in its own transactions the bank's workers see nothing.
        damage_has_its_own_exit_code(&["-w", "bank", "-p", "auditproportion=0"]);
    }
}
