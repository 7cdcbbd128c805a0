//! A comparison in which one protocol goes wrong: the others go on, and the report says what
//! happened. The faults are in a workload that knows whom to disturb, so they need no broken store.
#![cfg(feature = "cli")]

use chronolith::bench::{
    Comparison, ComparisonPlan, Flaw, LatencyBasis, Limit, Observer, Overdue, PATIENCE, Pinning,
    Plan, Stage, Throttle, compare, run,
};
use chronolith::protocol::{Contention, NAMES, Protocol};
use chronolith::report::RunFacts;
use chronolith::report::comparison::{ComparisonReport, write_table};
use chronolith::workload::{
    End, Fingerprint, Footprint, LoadWatch, Preset, Properties, PropertyError, PropertyRow, Seed,
    TallyRole, TallyRow, Worker, Workload,
};
use chronolith::{Attempts, Backoff, Error, Store, Table, TransactionError};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What goes wrong under the second protocol.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    Nothing,
    Panics,
    Fails,
    BreaksPromise,
    AsksOthers,
    CommitsNothing,
    Hangs,
}

/// Set by whoever has been told of the worker that hangs.
static RELEASED: AtomicBool = AtomicBool::new(false);
/// How long a worker hangs of whom nobody is told.
const HANG_MAX: Duration = Duration::from_secs(30);

/// Blocks until it is released.
fn hang() {
    let began = Instant::now();
    // Relaxed: nothing is read on the strength of it.
    while !RELEASED.load(Ordering::Relaxed) && began.elapsed() < HANG_MAX {
        std::thread::sleep(Duration::from_millis(1));
    }
}

struct Counting(Fault);

struct CountingWorker<'run, P: Protocol> {
    store: &'run Store<P>,
    table: &'run Table<u64, u64, P>,
    fault: Fault,
    key: u64,
    tallies: [u64; 2],
}

impl<P: Protocol> Worker for CountingWorker<'_, P> {
    fn prepare(&mut self) {
        self.key = (self.key + 1) % 10;
    }

    fn execute(&mut self, attempts: &mut Attempts) -> Result<End, Error> {
        match self.fault {
            Fault::Panics => panic!("the protocol is broken"),
            Fault::Fails => return Err(Error::OutOfMemory),
            Fault::CommitsNothing => return Ok(End::RolledBack),
            Fault::Hangs => hang(),
            _ => {}
        }
        let Self { store, table, key, .. } = self;
        End::of(store.transact_observed(attempts, |tx| tx.update(table, key, |n| n + 1)))
    }

    fn settle(&mut self, _end: End) {
        self.tallies[0] += 1;
        self.tallies[1] += u64::from(self.fault == Fault::BreaksPromise);
    }

    fn describe(&self, fingerprint: &mut Fingerprint) {
        fingerprint.add_number(self.key + u64::from(self.fault == Fault::AsksOthers));
    }

    fn kind(&self) -> usize {
        0
    }

    fn tallies(&self) -> &[u64] {
        &self.tallies
    }
}

impl Workload for Counting {
    type Tables<P: Protocol> = Table<u64, u64, P>;
    type Worker<'run, P: Protocol> = CountingWorker<'run, P>;

    const CLASSES: &'static [&'static str] = &[];
    const PRESETS: &'static [Preset] = &[];
    const PROPERTIES: &'static [PropertyRow] = &[];
    const KINDS: &'static [&'static str] = &["COUNT"];
    const TALLIES: &'static [TallyRow] = &[
        TallyRow { name: "counted", role: TallyRole::Operation },
        TallyRow { name: "miscounted", role: TallyRole::Violation },
    ];

    fn configure(_properties: &Properties) -> Result<Self, PropertyError> {
        Ok(Counting(Fault::Nothing))
    }

    fn basis(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn footprint(&self) -> Footprint {
        Footprint { records: 10, records_added: 0, record_bytes: 16 }
    }

    fn open<P: Protocol>(&self, store: &Store<P>) -> Result<Table<u64, u64, P>, Error> {
        store.table("counters")
    }

    fn load<P: Protocol>(
        &self,
        store: &Store<P>,
        table: &Table<u64, u64, P>,
        _seed: Seed,
        _watch: &dyn LoadWatch,
    ) -> Result<(), TransactionError> {
        store.transact(|tx| (0..10).try_for_each(|key| tx.put(table, key, 0)))
    }

    fn worker<'run, P: Protocol>(
        &'run self,
        store: &'run Store<P>,
        table: &'run Table<u64, u64, P>,
        _seed: Seed,
        index: usize,
        _workers: usize,
    ) -> CountingWorker<'run, P> {
        let fault = if P::NAME == NAMES[1] { self.0 } else { Fault::Nothing };
        CountingWorker { store, table, fault, key: index as u64, tallies: [0; 2] }
    }
}

fn plan() -> ComparisonPlan {
    let plan = Plan {
        protocol: NAMES[0].to_owned(),
        threads: 2,
        limit: Limit { duration: None, transactions: Some(200) },
        warmup: Duration::ZERO,
        seed: Seed::new(1),
        shards: None,
        backoff: Backoff::default(),
        contention: Contention::default(),
        pinning: Pinning::None,
        repetitions: 2,
        throttle: None,
        latency: LatencyBasis::Both,
        interval: Duration::from_secs(1),
        audit_interval: None,
        long_reader: None,
        keep_interval_histograms: false,
        patience: PATIENCE,
    };
    let protocols = NAMES[..2].iter().map(|name| (*name).to_owned()).collect();
    ComparisonPlan { plan, protocols, threads: vec![2], keep_latencies: false }
}

/// The comparison, its table, and what is wrong with the second protocol.
fn compared(fault: Fault) -> (Comparison, String, Option<Flaw>) {
    let plan = plan();
    let outcome = compare(&Counting(fault), &plan, &AtomicBool::new(false), &());
    let comparison = outcome.expect("a fault of one protocol ends no comparison");
    let facts = RunFacts {
        workload: "counting".to_owned(),
        properties: Vec::new(),
        fingerprint: 0,
        isolation: None,
        label: String::new(),
        notes: Vec::new(),
        percentiles: Vec::new(),
        replay: String::new(),
    };
    let mut table = Vec::new();
    write_table(&mut table, &ComparisonReport::new(&comparison, &plan, &facts, &[]))
        .expect("memory takes it");
    assert_eq!(comparison.flaws[0], None);
    assert_eq!(comparison.blocks.len(), 2, "the others ran in every block");
    let flaw = comparison.flaws[1].clone();
    (comparison, String::from_utf8(table).expect("text"), flaw)
}

#[test]
fn without_a_fault_nothing_is_reported() {
    let (_, table, flaw) = compared(Fault::Nothing);
    assert_eq!(flaw, None);
    assert!(!table.contains("failed"), "{table}");
}

#[test]
fn a_fault_is_reported_in_its_row() {
    for (fault, violation, part) in [
        (Fault::Panics, true, "it panicked: the protocol is broken at tests/faults.rs:"),
        (Fault::Fails, false, "the store failed: the allocator has no memory left"),
        (Fault::BreaksPromise, true, "VIOLATION: 200 miscounted"),
        (Fault::AsksOthers, true, "it was asked other requests"),
        (Fault::CommitsNothing, false, "it committed nothing"),
    ] {
        let (comparison, table, flaw) = compared(fault);
        let flaw = flaw.unwrap_or_else(|| panic!("{fault:?} went unnoticed"));
        assert_eq!(flaw.violation, violation, "{fault:?}");
        let name = comparison.protocols[1].name;
        let row = table.lines().find(|line| line.starts_with(&format!("| {name} ")));
        let row = row.unwrap_or_else(|| panic!("{name} has no row:\n{table}"));
        assert!(row.contains(part) && row.contains(&flaw.reason), "{row}");
    }
}

/// Keeps what it is told, and lets whoever hangs go on.
#[derive(Default)]
struct Releasing(Mutex<Vec<(String, Stage)>>);

impl Observer for Releasing {
    fn overdue(&self, overdue: &Overdue<'_>) {
        let told = (overdue.protocol.to_owned(), overdue.stage);
        self.0.lock().expect("sound").push(told);
        // Relaxed: nothing is read on the strength of it.
        RELEASED.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_protocol_that_hangs_is_named() {
    let mut plan = plan();
    // No repetition but one that hangs lasts for so long after its end.
    plan.plan.patience = Duration::from_secs(3);
    plan.plan.limit = Limit { duration: Some(Duration::from_millis(50)), transactions: None };
    plan.plan.repetitions = 1;
    let observer = Releasing::default();
    let outcome = compare(&Counting(Fault::Hangs), &plan, &AtomicBool::new(false), &observer);
    let comparison = outcome.expect("it was released");
    assert_eq!(comparison.blocks.len(), 1);
    let told = observer.0.into_inner().expect("sound");
    assert_eq!(told, [(NAMES[1].to_owned(), Stage::Timed)]);
}

#[test]
fn a_schedule_that_is_slow_is_no_hang() {
    let mut plan = plan().plan;
    plan.threads = 1;
    plan.limit = Limit { duration: None, transactions: Some(2) };
    plan.repetitions = 1;
    plan.interval = Duration::from_millis(10);
    plan.patience = Duration::from_secs(2);
    // One is due at once and the other one after longer than the patience.
    plan.throttle = Some(Throttle { operations_per_second: 0.3, spin: false });
    let observer = Releasing::default();
    let outcome = run(&Counting(Fault::Nothing), &plan, &AtomicBool::new(false), &observer);
    let repetitions = outcome.expect("nothing goes wrong").repetitions;
    assert!(repetitions[0].elapsed > plan.patience, "{:?}", repetitions[0].elapsed);
    assert_eq!(observer.0.into_inner().expect("sound"), []);
}
