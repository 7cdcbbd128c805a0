//! What the tests of the workloads share: loading, running on threads, auditing.

use crate::protocol::{self, Mvocc, Protocol, Ranges, Reads, Visitor};
use crate::sync::fault::{Armed, ArmedHere, Fault};
use crate::sync::step;
use crate::workload::{Finding, LoadWatch, Moment, Properties, Seed, TallyRole, Worker, Workload};
use crate::{Attempts, Error, Store, TransactionError};

/// Rounds of work in which a fault must have been found.
const ROUNDS_MAX: usize = 200;
/// Threads of every test.
const THREADS: usize = 3;

struct Unwatched;

impl LoadWatch for Unwatched {
    fn loaded(&self, _records: u64) -> bool {
        true
    }
}

/// The workload with these properties beside its defaults.
pub(crate) fn configured<W: Workload>(settings: &[(&str, &str)]) -> W {
    let mut properties = Properties::new();
    settings.iter().for_each(|(name, value)| properties.set(name, value, "test"));
    properties.check(W::PROPERTIES).expect("known properties");
    W::configure(&properties).expect("valid properties")
}

/// These values of a property, with spaces between, are refused with the line that says what it
/// must be.
pub(crate) fn refuses<W: Workload>(cases: &[(&str, &str, &str)]) {
    for (name, values, expected) in cases {
        for value in values.split(' ') {
            let line = format!("{name}={value} (-p): it must be {expected}");
            refuses_with::<W>(&[(&format!("{name}={value}"), &line)]);
        }
    }
}

/// Each of these, written as on the command line after `-p`, several with spaces between, is
/// refused with this line.
pub(crate) fn refuses_with<W: Workload>(cases: &[(&str, &str)]) {
    for (arguments, line) in cases {
        let mut properties = Properties::new();
        let configured = arguments
            .split(' ')
            .try_for_each(|argument| properties.read_argument(argument))
            .and_then(|()| properties.check(W::PROPERTIES))
            .and_then(|()| W::configure(&properties).map(|_| ()));
        assert_eq!(configured.map_err(|error| error.to_string()), Err((*line).to_owned()));
    }
}

/// A workload with its loaded store.
pub(crate) struct Loaded<W: Workload, P: Protocol> {
    pub(crate) workload: W,
    pub(crate) store: Store<P>,
    pub(crate) tables: W::Tables<P>,
}

impl<W: Workload, P: Protocol> Loaded<W, P> {
    pub(crate) fn new(settings: &[(&str, &str)]) -> Self {
        let workload = configured::<W>(settings);
        let store = Store::builder().shards(2).ordered_parts(2).build_with::<P>().expect("a store");
        let tables = workload.open(&store).expect("tables");
        workload.load(&store, &tables, Seed::new(1), &Unwatched).expect("loaded");
        Loaded { workload, store, tables }
    }

    /// Runs so many transactions on each of a few threads, with `faults` in all of them, and a few
    /// audits meanwhile. Gives what these found, and the sum of the violations that workers saw.
    pub(crate) fn work(
        &self,
        seed: u64,
        transactions: usize,
        faults: &[Fault],
    ) -> (Vec<Finding>, u64) {
        let rows = self.workload.tallies();
        let run = |index: usize| {
            let _armed = ArmedHere::new(faults);
            // With faults, threads give way in the middle of transactions, so that these overlap.
            if !faults.is_empty() {
                let mut steps = index;
                step::on(move |_| {
                    steps += 1;
                    if steps.is_multiple_of(5) {
                        std::thread::yield_now();
                    }
                });
            }
            let (store, tables) = (&self.store, &self.tables);
            let mut worker = self.workload.worker(store, tables, Seed::new(seed), index, THREADS);
            for _ in 0..transactions {
                worker.prepare();
                let end = worker.execute(&mut Attempts::default()).expect("no misuse");
                worker.settle(end);
                assert!(worker.kind() < self.workload.kinds().len());
            }
            assert_eq!(worker.tallies().len(), rows.len());
            let counted = rows.iter().zip(worker.tallies());
            counted.filter(|(row, _)| row.role == TallyRole::Violation).map(|(_, n)| n).sum::<u64>()
        };
        let run = &run;
        std::thread::scope(|scope| {
            let workers: Vec<_> =
                (0..THREADS).map(|index| scope.spawn(move || run(index))).collect();
            let mut found = Vec::new();
            while self.workload.audits_during() && workers.iter().any(|w| !w.is_finished()) {
                match self.workload.audit(&self.store, &self.tables, Moment::During) {
                    // Given up, where whoever writes may be in the way of whoever reads.
                    Err(TransactionError::Abort(_)) if views_fail::<P>() => {}
                    audited => found.extend(audited.expect("audited")),
                }
                std::thread::yield_now();
            }
            let seen = workers.into_iter().map(|worker| worker.join().expect("a worker"));
            (found, seen.sum())
        })
    }

    pub(crate) fn audit(&self, moment: Moment) -> Vec<Finding> {
        self.workload.audit(&self.store, &self.tables, moment).expect("audited")
    }

    pub(crate) fn expect_all_hold(&self) {
        for finding in self.audit(Moment::After) {
            assert!(finding.holds, "{finding:?}");
        }
    }

    /// The audit after a run finds that this promise is broken.
    pub(crate) fn expect_broken(&self, what: &str) {
        let findings = self.audit(Moment::After);
        assert!(findings.iter().any(|found| found.what == what && !found.holds), "{findings:#?}");
    }
}

/// Whether a view can meet a conflict.
fn views_fail<P: Protocol>() -> bool {
    P::READS == Reads::Newest || P::VALIDATES_READ_ONLY
}

/// Whether the protocol has what the workload needs. One without ranges says so, and only that.
pub(crate) fn is_supported<W: Workload, P: Protocol>(settings: &[(&str, &str)]) -> bool {
    let store = Store::builder().build_with::<P>().expect("a store");
    match configured::<W>(settings).open(&store) {
        Ok(_) => true,
        Err(Error::NoRanges { .. }) => {
            assert_eq!(P::RANGES, Ranges::Unsupported, "{}", P::NAME);
            false
        }
        Err(error) => panic!("{}: {error}", P::NAME),
    }
}

/// Runs the workload on every protocol of the registry: every audit holds. A protocol without
/// ranges is passed by where the workload needs them.
pub(crate) fn holds_on_every_protocol<W: Workload>(settings: &[(&str, &str)], transactions: usize) {
    struct Holds<'a, W>(&'a [(&'a str, &'a str)], usize, std::marker::PhantomData<W>);
    impl<W: Workload> Visitor for Holds<'_, W> {
        type Output = ();
        fn visit<P: Protocol>(self) {
            if !is_supported::<W, P>(self.0) {
                return;
            }
            let loaded = Loaded::<W, P>::new(self.0);
            let (during, violations) = loaded.work(7, self.1, &[]);
            let broken: Vec<&Finding> = during.iter().filter(|found| !found.holds).collect();
            assert!(broken.is_empty(), "{}: {broken:?}", P::NAME);
            assert_eq!(violations, 0, "{}", P::NAME);
            let after = loaded.audit(Moment::After);
            assert!(!after.is_empty() && after.iter().all(|found| found.holds), "{after:#?}");
        }
    }
    let _nobody_arms = Armed::new(None);
    for name in protocol::NAMES {
        protocol::dispatch(name, Holds::<W>(settings, transactions, std::marker::PhantomData))
            .expect("a registered protocol");
    }
}

/// Runs the workload on the default protocol with faults in it, until an audit says that the
/// promise `what` is broken.
pub(crate) fn faults_are_found<W: Workload>(
    faults: &[Fault],
    settings: &[(&str, &str)],
    what: &str,
) {
    let found = (0..ROUNDS_MAX).any(|round| {
        let loaded = Loaded::<W, Mvocc>::new(settings);
        let (mut findings, _) = loaded.work(round as u64, 500, faults);
        findings.extend(loaded.audit(Moment::After));
        findings.iter().any(|finding| finding.what == what && !finding.holds)
    });
    assert!(found, "{faults:?} went unnoticed");
}
