//! A whole run: load, warm-up, measurement, as often as asked, on one protocol.

use super::audit::{Auditor, Audits};
use super::collector::{Collected, Step};
use super::crew::Crew;
use super::deployment::{AnyWorkload, Deployment, StoreSettings, TableCounts, WorkloadFacts};
use super::driver::{Course, Gate, Lines, Shared, run_worker};
use super::harness::{self, HarnessCost};
use super::long_reader::{Company, LongReaderFacts};
use super::machine::Machine;
use super::skew::{self, Skew};
use super::stats::{Latencies, Stats};
use super::stopwatch::{ClockCost, Stopwatch};
use super::watchdog::{Stage, Watchdog};
use super::{Observer, Plan, RunError, Tick, memory, requests};
use crate::TransactionError;
use crate::protocol::{self, Protocol};
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::workload::{End, LoadWatch, Moment, TallyRole, TallyRow};
use std::time::{Duration, Instant, SystemTime};

/// The processors that workers are bound to, if they are.
type Cores<'a> = Option<&'a [core_affinity::CoreId]>;

/// How long `run` measures the harness before it measures the store.
const HARNESS_BRIEFLY: Duration = Duration::from_millis(200);

/// What the registry says about the protocol that ran.
#[derive(Debug, Clone)]
pub struct ProtocolFacts {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a line.
    pub summary: &'static str,
    /// The isolation level it declares.
    pub isolation: String,
    /// Whether it keeps real-time order.
    pub strict: bool,
    /// The progress guarantee it declares.
    pub progress: String,
    /// Whether it heeds the store's settings of contention.
    pub heeds_contention: bool,
}

impl ProtocolFacts {
    /// The isolation level, and whether it is the strict one.
    #[must_use]
    pub fn level(&self) -> String {
        let strictly = if self.strict { "strictly " } else { "" };
        format!("{strictly}{}", self.isolation)
    }
}

/// The facts of a protocol.
#[must_use]
pub fn protocol_facts(name: &str) -> Option<ProtocolFacts> {
    struct Facts;
    impl protocol::Visitor for Facts {
        type Output = ProtocolFacts;
        fn visit<P: Protocol>(self) -> ProtocolFacts {
            ProtocolFacts {
                name: P::NAME,
                summary: P::SUMMARY,
                isolation: P::ISOLATION.name().to_owned(),
                strict: P::STRICT,
                progress: P::PROGRESS.name().to_owned(),
                heeds_contention: P::HEEDS_CONTENTION,
            }
        }
    }
    protocol::dispatch(name, Facts)
}

/// How a load went.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// Records loaded.
    pub records: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// One repetition: a fresh store, loaded, warmed up, measured.
#[derive(Debug)]
pub struct Repetition {
    /// A hash of the requests that the workers began with; equal requests have equal hashes.
    pub requests: u64,
    /// How the load went.
    pub load: Load,
    /// When the measurement began.
    pub started: SystemTime,
    /// How long it lasted.
    pub elapsed: Duration,
    /// What was seen.
    pub stats: Stats,
    /// The timeline.
    pub steps: Vec<Step>,
    /// What the workload counted, in the order of its rows.
    pub tallies: Vec<u64>,
    /// What the audits found.
    pub audits: Audits,
    /// What the long readers cost, if there were any.
    pub long_reader: Option<LongReaderFacts>,
    /// Scheduled starts that came too late to be made.
    pub missed: u64,
    /// What the store says of itself at the end; its counters cover load and warm-up too.
    pub store: crate::Stats,
    /// Whether it was stopped before its time by someone.
    pub interrupted: bool,
    /// Whether it was stopped because memory was nearly gone.
    pub starved: bool,
}

impl Repetition {
    /// Committed transactions per second.
    #[must_use]
    pub fn throughput(&self) -> f64 {
        let committed: u64 = self.stats.kinds.iter().map(|kind| kind.counts.committed()).sum();
        self.per_second(committed)
    }

    /// The latencies of committed transactions that a report is about: from the actual start, or
    /// from the intended one if only that was asked for.
    #[must_use]
    pub fn latencies(&self, plan: &Plan) -> Latencies {
        let mut total = self.stats.total();
        let intended = plan.throttle.is_some() && !plan.latency.shows_operation();
        let main = match intended {
            true => total.intended.take(),
            false => total.service[End::Committed as usize].take(),
        };
        main.unwrap_or_default()
    }

    /// `count` events of the measurement as a rate.
    #[must_use]
    pub fn per_second(&self, count: u64) -> f64 {
        let seconds = self.elapsed.as_secs_f64();
        if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
    }
}

/// What is the same for every repetition, and what the figures depend on besides the protocol.
#[derive(Debug)]
pub struct Environment {
    /// Shards of the store.
    pub shards: usize,
    /// Its tables.
    pub tables: TableCounts,
    /// Names of the kinds of transaction.
    pub kinds: &'static [&'static str],
    /// What the workload counts.
    pub tally_rows: &'static [TallyRow],
    /// What a reader of the figures must know about the workload.
    pub basis: Vec<(&'static str, String)>,
    /// Operations of one transaction, on average.
    pub operations_per_transaction: f64,
    /// The machine.
    pub machine: Machine,
    /// What it costs to look at the clock.
    pub clock: ClockCost,
    /// What the harness costs.
    pub harness: HarnessCost,
    /// How skewed the requests are.
    pub skew: Option<Skew>,
}

impl Environment {
    /// Counts of broken promises among `tallies`, by name.
    pub fn violations<'a>(
        &self,
        tallies: &'a [u64],
    ) -> impl Iterator<Item = (&'static str, u64)> + 'a {
        let counted = self.tally_rows.iter().zip(tallies);
        counted
            .filter(|(row, count)| row.role == TallyRole::Violation && **count > 0)
            .map(|(row, count)| (row.name, *count))
    }
}

/// Everything that a run found out.
#[derive(Debug)]
pub struct Outcome {
    /// The protocol.
    pub protocol: ProtocolFacts,
    /// What its repetitions have in common.
    pub environment: Environment,
    /// The repetitions; fewer than planned after an interruption.
    pub repetitions: Vec<Repetition>,
}

impl Outcome {
    /// Counts of broken promises, over all repetitions, by name.
    #[must_use]
    pub fn violations(&self) -> Vec<(&'static str, u64)> {
        let mut sums = vec![0; self.environment.tally_rows.len()];
        for repetition in &self.repetitions {
            sums.iter_mut().zip(&repetition.tallies).for_each(|(sum, count)| *sum += count);
        }
        self.environment.violations(&sums).collect()
    }

    /// How many audits found a broken promise, over all repetitions.
    #[must_use]
    pub fn broken_audits(&self) -> u64 {
        self.repetitions.iter().map(|repetition| repetition.audits.broken_count()).sum()
    }

    /// Whether someone stopped the run before its end.
    #[must_use]
    pub fn interrupted(&self) -> bool {
        self.repetitions.iter().any(|repetition| repetition.interrupted)
    }
}

/// Runs `workload` as `plan` says. `stop` ends it early: what was measured until then is the
/// outcome.
pub fn run(
    workload: &dyn AnyWorkload,
    plan: &Plan,
    stop: &AtomicBool,
    observer: &dyn Observer,
) -> Result<Outcome, RunError> {
    plan.check()?;
    Session { workload, plan, stop, observer, stopwatch: Stopwatch::calibrated() }.run()
}

/// Measures the harness alone, with the requests of `workload`.
pub fn probe_harness(
    workload: &dyn AnyWorkload,
    plan: &Plan,
    stop: &AtomicBool,
    observer: &dyn Observer,
) -> Result<(HarnessCost, ClockCost), RunError> {
    plan.check()?;
    let session = Session { workload, plan, stop, observer, stopwatch: Stopwatch::calibrated() };
    let duration = plan.limit.duration.unwrap_or(Duration::from_secs(1));
    let cost = session.harness(&*session.deploy()?, &workload.facts(), duration)?;
    Ok((cost, session.stopwatch.cost()))
}

/// One protocol's run of a workload, and who watches and who stops it.
#[derive(Clone, Copy)]
pub(super) struct Session<'a> {
    pub(super) workload: &'a dyn AnyWorkload,
    pub(super) plan: &'a Plan,
    pub(super) stop: &'a AtomicBool,
    pub(super) observer: &'a dyn Observer,
    pub(super) stopwatch: Stopwatch,
}

impl Session<'_> {
    fn run(&self) -> Result<Outcome, RunError> {
        let Session { plan, .. } = *self;
        let protocol = protocol_facts(&plan.protocol);
        let protocol = protocol.ok_or_else(|| RunError::Protocol(plan.protocol.clone()))?;
        let cores = plan.pinning.resolve()?;
        let environment = self.survey()?;
        let mut repetitions = Vec::new();
        for number in 1..=plan.repetitions {
            self.observer.repetition(number, plan.repetitions);
            let Some(repetition) = self.repetition(cores.as_deref())? else {
                break;
            };
            let interrupted = repetition.interrupted || repetition.starved;
            repetitions.push(repetition);
            if interrupted {
                break;
            }
        }
        self.observer.finished();
        if repetitions.is_empty() {
            return Err(RunError::InterruptedEarly);
        }
        Ok(Outcome { protocol, environment, repetitions })
    }

    /// Finds out what all repetitions have in common.
    pub(super) fn survey(&self) -> Result<Environment, RunError> {
        let Session { workload, plan, .. } = *self;
        let facts = workload.facts();
        memory::check(facts.footprint)?;
        let deployment = self.deploy()?;
        let machine = Machine::observe();
        let clock = self.stopwatch.cost();
        self.observer.calibrating();
        let harness = self.harness(&*deployment, &facts, HARNESS_BRIEFLY)?;
        Ok(Environment {
            shards: deployment.store().shard_count(),
            tables: deployment.store().tables(),
            kinds: facts.kinds,
            tally_rows: facts.tallies,
            basis: facts.basis,
            operations_per_transaction: facts.operations_per_transaction,
            machine,
            clock,
            harness,
            skew: skew::measure(workload, plan.seed, plan.threads),
        })
    }

    fn harness(
        &self,
        deployment: &dyn Deployment,
        facts: &WorkloadFacts,
        duration: Duration,
    ) -> Result<HarnessCost, RunError> {
        let Session { plan, stopwatch, stop, .. } = *self;
        harness::measure(deployment, facts, plan, stopwatch, duration, stop)
    }

    fn deploy(&self) -> Result<Box<dyn Deployment + '_>, RunError> {
        self.workload.deploy(&StoreSettings {
            protocol: &self.plan.protocol,
            // With the run's seed the keys of a replay lie in the same shards.
            hash_seed: self.plan.seed.number(),
            shards: self.plan.shards,
            backoff: self.plan.backoff,
            contention: self.plan.contention,
        })
    }

    /// One repetition; where there are long readers, after one without them. `None` if it was
    /// stopped before it measured anything.
    pub(super) fn repetition(&self, cores: Cores<'_>) -> Result<Option<Repetition>, RunError> {
        let Some(reader) = self.plan.long_reader else {
            return self.repetition_in(cores, Company::None);
        };
        let Some(without) = self.repetition_in(cores, Company::Watch)? else {
            return Ok(None);
        };
        if without.interrupted || without.starved {
            return Ok(Some(without));
        }
        let usual = without.long_reader.as_ref().map(|facts| facts.with).unwrap_or_default();
        let with = self.repetition_in(cores, Company::Readers(reader, &usual))?;
        Ok(with.map(|mut with| {
            if let Some(facts) = &mut with.long_reader {
                facts.throughput_without = without.throughput();
            }
            with.audits.include(without.audits);
            // A promise that was broken without readers is broken as well.
            let tallies = self.workload.facts().tallies.iter().zip(without.tallies);
            for ((row, broken), sum) in tallies.zip(&mut with.tallies) {
                *sum += if row.role == TallyRole::Violation { broken } else { 0 };
            }
            with
        }))
    }

    fn repetition_in(
        &self,
        cores: Cores<'_>,
        company: Company<'_>,
    ) -> Result<Option<Repetition>, RunError> {
        let Plan { protocol, threads, patience, .. } = self.plan;
        Watchdog::over((protocol, *threads), *patience, self.observer, |watchdog| {
            self.watched(cores, company, watchdog)
        })
    }

    fn watched(
        &self,
        cores: Cores<'_>,
        company: Company<'_>,
        watchdog: &Watchdog,
    ) -> Result<Option<Repetition>, RunError> {
        let Session { workload, plan, stop, .. } = *self;
        let requests = requests::fingerprint(&*self.deploy()?, plan);
        let deployment = self.deploy()?;
        let (deployment, facts) = (&*deployment, workload.facts());
        let Some(load) = self.load(deployment, facts.footprint.records, watchdog)? else {
            return Ok(None);
        };
        self.observer.running(plan);
        let started = SystemTime::now() + plan.warmup;
        let interval = plan.audit_interval.filter(|_| facts.audits_during);
        let auditor = Auditor { deployment, interval };
        let mut audits = Audits::default();
        let work = || self.work(deployment, &facts, cores, watchdog);
        let (collected, long_reader) = auditor
            .beside(&mut audits, || company.beside(deployment.store(), work))
            .map_err(RunError::Store)?;
        // Relaxed: the workers have been joined; only whether someone asked is of interest.
        let interrupted = stop.load(Ordering::Relaxed);
        let Collected { stats, steps, tallies, missed, measured, error, starved } = collected?;
        if let Some(error) = error {
            return Err(RunError::Store(TransactionError::Error(error)));
        }
        let Some((from_ns, to_ns)) = measured else {
            return Ok(None);
        };
        watchdog.expect(Stage::Auditing, Duration::ZERO);
        // The audit's own reading is no part of what the store did.
        let stats_of_store = deployment.store().stats();
        auditor.audit(&mut audits, Moment::After).map_err(RunError::Store)?;
        Ok(Some(Repetition {
            requests,
            load,
            started,
            elapsed: Duration::from_nanos(to_ns - from_ns),
            stats,
            steps,
            tallies,
            audits,
            long_reader,
            missed,
            store: stats_of_store,
            interrupted,
            starved,
        }))
    }

    /// Runs the workers to their end.
    fn work(
        &self,
        deployment: &dyn Deployment,
        facts: &WorkloadFacts,
        cores: Cores<'_>,
        watchdog: &Watchdog,
    ) -> Result<Collected, RunError> {
        let Session { plan, stop, .. } = *self;
        let shared = self.shared(facts);
        let run = |index, lines: Lines| {
            let mut worker = deployment.worker(plan.seed, index, plan.threads);
            run_worker(&shared, index, &mut *worker, lines);
        };
        let crew = Crew {
            shared: &shared,
            tallies: facts.tallies.len(),
            keep_histograms: plan.keep_interval_histograms,
            pinned: cores,
            stop,
        };
        let launched = Instant::now();
        // Where a number of transactions ends the run, each report of a worker is a sign of life.
        let (stage, time) = match plan.limit.duration {
            Some(duration) => (Stage::Timed, duration),
            None => (Stage::Counted, shared.course.silence_max()),
        };
        watchdog.expect(stage, plan.warmup.saturating_add(time));
        let (mut reports, mut stopping) = (0, false);
        crew.run(&run, &mut |collector| {
            // Relaxed: a request to stop; nothing is read on the strength of it.
            if !stopping && stop.load(Ordering::Relaxed) {
                stopping = true;
                watchdog.expect(Stage::Stopping, Duration::ZERO);
            } else if !stopping && stage == Stage::Counted && collector.reports() > reports {
                reports = collector.reports();
                watchdog.expect(stage, time);
            }
            self.observer.ticked(&Tick {
                elapsed: launched.elapsed(),
                committed: collector.committed(),
                step: collector.last_step(),
            });
        })
    }

    fn shared(&self, facts: &WorkloadFacts) -> Shared {
        let Session { plan, stopwatch, .. } = *self;
        let nanoseconds = |duration: Duration| duration.as_nanos() as u64;
        let operations = facts.operations_per_transaction;
        Shared {
            course: Course {
                threads: plan.threads,
                warmup_ns: nanoseconds(plan.warmup),
                duration_ns: plan.limit.duration.map_or(u64::MAX, nanoseconds),
                transactions: plan.limit.transactions,
                interval_ns: nanoseconds(plan.interval),
                throttle: plan.throttle.map(|throttle| {
                    (1e9 * operations / throttle.operations_per_second, throttle.spin)
                }),
                kinds: facts.kinds.len(),
            },
            stopwatch,
            stop: AtomicBool::new(false),
            gate: Gate::default(),
        }
    }

    /// Loads the tables on all processors; `None` if it was stopped.
    fn load(
        &self,
        deployment: &dyn Deployment,
        records: u64,
        watchdog: &Watchdog,
    ) -> Result<Option<Load>, RunError> {
        let pool = rayon::ThreadPoolBuilder::new().thread_name(|i| format!("loader-{i}")).build();
        let pool = pool.map_err(|error| RunError::Loader(error.to_string()))?;
        let loaded = AtomicU64::new(0);
        let watch = Watch { observer: self.observer, stop: self.stop, loaded, watchdog };
        self.observer.loading(records);
        let started = Instant::now();
        pool.install(|| deployment.load(self.plan.seed, &watch)).map_err(RunError::Store)?;
        let elapsed = started.elapsed();
        // Relaxed: the loaders have been joined.
        let records = watch.loaded.load(Ordering::Relaxed);
        // Relaxed: as above.
        let stopped = self.stop.load(Ordering::Relaxed);
        Ok((!stopped).then_some(Load { records, elapsed }))
    }
}

struct Watch<'a> {
    observer: &'a dyn Observer,
    stop: &'a AtomicBool,
    loaded: AtomicU64,
    watchdog: &'a Watchdog,
}

impl LoadWatch for Watch<'_> {
    fn loaded(&self, records: u64) -> bool {
        // Relaxed: a statistic; the end of the load orders its last value.
        self.loaded.fetch_add(records, Ordering::Relaxed);
        self.observer.loaded(records);
        self.watchdog.expect(Stage::Loading, Duration::ZERO);
        // Relaxed: a request to stop; nothing is read on the strength of it.
        !self.stop.load(Ordering::Relaxed)
    }
}
