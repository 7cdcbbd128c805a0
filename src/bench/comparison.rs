//! A comparison: the same requests under several protocols, in one process and in turns.
//!
//! A block is one repetition of every protocol at every number of threads, each on a fresh store. A
//! block has requests of its own, the same for all, and its protocols run in an order of their own,
//! so that whatever changes in the machine meets all of them. What one repetition gives is reduced
//! to its numbers at once: histograms of hundreds of repetitions would fill the memory that the
//! next one is measured in.

use super::collector::{Step, compress};
use super::deployment::AnyWorkload;
use super::long_reader::LongReaderFacts;
use super::metrics::{Measured, Metric, beside, measured};
use super::order::balanced_orders;
use super::session::{Environment, Load, ProtocolFacts, Repetition, Session, protocol_facts};
use super::stats::Counts;
use super::stopwatch::Stopwatch;
use super::{Observer, Plan, RunError};
use crate::sync::{AtomicBool, Ordering};
use crate::workload::{Purpose, Seed, visible};
use core_affinity::CoreId;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// What a comparison is to do.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparisonPlan {
    /// What all repetitions have in common; their number is that of the blocks. Its protocol is the
    /// baseline, its threads are the most, its seed is the one that all others follow from.
    pub plan: Plan,
    /// The protocols.
    pub protocols: Vec<String>,
    /// The numbers of threads.
    pub threads: Vec<usize>,
    /// Whether the distribution of the latencies of each repetition is kept.
    pub keep_latencies: bool,
}

impl ComparisonPlan {
    /// The baseline's place among the protocols.
    #[must_use]
    pub fn baseline(&self) -> usize {
        let place = self.protocols.iter().position(|name| *name == self.plan.protocol);
        place.expect("the plan was checked")
    }

    /// Repetitions of all protocols at all numbers of threads.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.protocols.len() * self.threads.len() * self.plan.repetitions as usize
    }

    /// The name of one protocol at one number of threads, by their places: the protocol's, with the
    /// threads where there are several numbers of them.
    #[must_use]
    pub fn cell_name(&self, protocol: usize, threads: usize) -> String {
        let name = &self.protocols[protocol];
        match self.threads[..] {
            [_] => name.clone(),
            _ => format!("{name}.t{}", self.threads[threads]),
        }
    }

    /// Checks what flags could have set wrong.
    pub fn check(&self) -> Result<(), RunError> {
        for (index, name) in self.protocols.iter().enumerate() {
            if protocol_facts(name).is_none() {
                return Err(RunError::Protocol(name.clone()));
            }
            if self.protocols[..index].contains(name) {
                return Err(RunError::Comparison(format!("protocol {name} is named twice")));
            }
        }
        let baseline = &self.plan.protocol;
        if !self.protocols.contains(baseline) {
            return Err(RunError::Comparison(format!(
                "--baseline {}: it is none of the protocols ({}); choose one of them, or add it",
                visible(baseline),
                self.protocols.join(", ")
            )));
        }
        if self.protocols.len() < 2 {
            return Err(RunError::Comparison(format!(
                "{baseline} alone cannot be compared: name another protocol"
            )));
        }
        let at = |threads| Plan { threads, ..self.plan.clone() };
        self.threads.iter().try_for_each(|threads| at(*threads).check())
    }
}

/// The seed of block `number`, from 1, of a comparison with this seed.
fn block_seed(seed: Seed, number: u32) -> Seed {
    Seed::new(seed.key(Purpose::Repetition, number.into()))
}

/// One repetition of one protocol at one number of threads.
#[derive(Debug, Clone)]
pub struct Cell {
    /// A hash of the requests that it was asked.
    pub requests: u64,
    /// When it was its turn among those at its number of threads, from 0.
    pub turn: usize,
    /// How the load went.
    pub load: Load,
    /// How long it was measured.
    pub elapsed: Duration,
    /// Counts of transactions and attempts.
    pub counts: Counts,
    /// Committed transactions by kind.
    pub committed: Vec<u64>,
    /// What the workload counted.
    pub tallies: Vec<u64>,
    /// The numbers, in the order of [`measured`].
    pub values: Vec<f64>,
    /// What the long readers cost, if there were any.
    pub long_reader: Option<LongReaderFacts>,
    /// When the measurement began.
    pub started: SystemTime,
    /// The timeline, where the plan keeps its histograms.
    pub steps: Vec<Step>,
    /// The latencies of committed transactions, compressed, where the plan keeps them.
    pub latencies: Option<Vec<u8>>,
}

impl Cell {
    /// What the long readers cost, in the order of [`beside`]; without them there is no number.
    pub fn beside(&self) -> impl Iterator<Item = (&'static Metric, Option<f64>)> {
        let throughput = self.counts.committed() as f64 / self.elapsed.as_secs_f64();
        beside().map(move |(metric, read)| {
            (metric, self.long_reader.as_ref().and_then(|facts| read(facts, throughput)))
        })
    }
}

/// One repetition of every protocol at one number of threads.
#[derive(Debug, Clone)]
pub struct Round {
    /// A hash of the requests, which were the same for all.
    pub requests: u64,
    /// By protocol; `None` for those that have failed.
    pub cells: Vec<Option<Cell>>,
}

/// One repetition of everything.
#[derive(Debug, Clone)]
pub struct Block {
    /// Its number, from 1.
    pub number: u32,
    /// The seed of its requests.
    pub seed: Seed,
    /// By number of threads.
    pub rounds: Vec<Round>,
}

/// Why a protocol is out of the comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Whether it is proof that the store broke its promise.
    pub violation: bool,
    /// What happened, and when.
    pub reason: String,
}

/// Everything that a comparison found out.
#[derive(Debug)]
pub struct Comparison {
    /// What all repetitions have in common.
    pub environment: Environment,
    /// The protocols.
    pub protocols: Vec<ProtocolFacts>,
    /// Which of them failed, and how.
    pub flaws: Vec<Option<Flaw>>,
    /// The complete blocks.
    pub blocks: Vec<Block>,
    /// Whether someone stopped it before its end.
    pub interrupted: bool,
}

/// The next repetition of a comparison, for those who watch.
#[derive(Debug, Clone, Copy)]
pub struct NextCell<'a> {
    /// Repetitions that are over.
    pub done: usize,
    /// The block, from 1.
    pub block: u32,
    /// The protocol.
    pub protocol: &'a str,
    /// The threads.
    pub threads: usize,
}

/// Compares as `comparison` says. `stop` ends it early: the complete blocks are the outcome.
pub fn compare(
    workload: &dyn AnyWorkload,
    comparison: &ComparisonPlan,
    stop: &AtomicBool,
    observer: &dyn Observer,
) -> Result<Comparison, RunError> {
    comparison.check()?;
    let plan = &comparison.plan;
    let session = Session { workload, plan, stop, observer, stopwatch: Stopwatch::calibrated() };
    let cores = plan.pinning.resolve()?;
    let environment = session.survey()?;
    let facts = comparison.protocols.iter().filter_map(|name| protocol_facts(name));
    let protocols: Vec<ProtocolFacts> = facts.collect();
    let flaws = vec![None; protocols.len()];
    let mut contest = Contest { comparison, session, cores, environment, flaws, done: 0 };
    let blocks = contest.run()?;
    observer.finished();
    // Relaxed: the workers have been joined; only whether someone asked is of interest.
    let interrupted = stop.load(Ordering::Relaxed);
    if blocks.is_empty() && contest.flaws.iter().all(Option::is_none) {
        return Err(RunError::InterruptedEarly);
    }
    let Contest { environment, flaws, .. } = contest;
    Ok(Comparison { environment, protocols, flaws, blocks, interrupted })
}

/// How a repetition ended.
enum CellEnd {
    Done(Box<Cell>),
    Stopped,
    Flawed(bool, String),
}

struct Contest<'a> {
    comparison: &'a ComparisonPlan,
    session: Session<'a>,
    cores: Option<Vec<CoreId>>,
    environment: Environment,
    flaws: Vec<Option<Flaw>>,
    /// Repetitions that are over.
    done: usize,
}

impl Contest<'_> {
    /// Runs the blocks, until one is not completed.
    fn run(&mut self) -> Result<Vec<Block>, RunError> {
        let ComparisonPlan { plan, protocols, threads, .. } = self.comparison;
        let count = plan.repetitions as usize;
        let orders = |items: usize, stream: u64| {
            balanced_orders(items, count, &mut plan.seed.stream(Purpose::Order, stream))
        };
        // Protocols take turns within one number of threads, so that those that are compared are
        // close to each other in time.
        let of_threads = orders(threads.len(), 0);
        let of_protocols: Vec<_> =
            (1..=threads.len()).map(|stream| orders(protocols.len(), stream as u64)).collect();
        let mut blocks = Vec::with_capacity(count);
        for number in 1..=plan.repetitions {
            let index = number as usize - 1;
            let seed = block_seed(plan.seed, number);
            let empty = Round { requests: 0, cells: vec![None; protocols.len()] };
            let mut block = Block { number, seed, rounds: vec![empty; threads.len()] };
            for place in &of_threads[index] {
                let order = &of_protocols[*place][index];
                if !self.round(&mut block, *place, order)? {
                    return Ok(blocks);
                }
            }
            blocks.push(block);
            self.session.observer.block(number, plan.repetitions);
        }
        Ok(blocks)
    }

    /// Runs every protocol once at one number of threads; false if it was stopped.
    fn round(
        &mut self,
        block: &mut Block,
        place: usize,
        order: &[usize],
    ) -> Result<bool, RunError> {
        let threads = self.comparison.threads[place];
        let round = &mut block.rounds[place];
        for (turn, index) in order.iter().enumerate() {
            let protocol = &self.comparison.protocols[*index];
            let (done, block_number) = (self.done, block.number);
            let next = NextCell { done, block: block_number, protocol, threads };
            self.session.observer.cell(&next);
            self.done += 1;
            if self.flaws[*index].is_some() {
                continue;
            }
            match self.cell(protocol, threads, block.seed, turn)? {
                CellEnd::Stopped => return Ok(false),
                CellEnd::Done(cell) => round.cells[*index] = Some(*cell),
                CellEnd::Flawed(violation, reason) => {
                    self.flaws[*index] = Some(flaw(violation, &reason, block.number, threads));
                }
            }
        }
        self.compare_requests(round, block.number, threads);
        Ok(true)
    }

    /// Sees to it that all were asked what the baseline was asked.
    fn compare_requests(&mut self, round: &mut Round, block: u32, threads: usize) {
        let baseline = round.cells[self.comparison.baseline()].as_ref();
        let reference = baseline.or_else(|| round.cells.iter().flatten().next());
        round.requests = reference.map_or(0, |cell| cell.requests);
        for (cell, own) in round.cells.iter_mut().zip(&mut self.flaws) {
            if cell.as_ref().is_some_and(|cell| cell.requests != round.requests) {
                *cell = None;
                *own = Some(flaw(true, "it was asked other requests", block, threads));
            }
        }
    }

    /// Runs one protocol once. What it does wrong ends its part of the comparison and no more.
    fn cell(
        &self,
        protocol: &str,
        threads: usize,
        seed: Seed,
        turn: usize,
    ) -> Result<CellEnd, RunError> {
        let protocol = protocol.to_owned();
        let plan = Plan { protocol, threads, seed, ..self.comparison.plan.clone() };
        let session = Session { plan: &plan, ..self.session };
        let ended = PanicWatch::over(|| session.repetition(self.cores.as_deref()));
        let repetition = match ended {
            Err(panic) => return Ok(CellEnd::Flawed(true, format!("it panicked: {panic}"))),
            Ok(Err(error @ RunError::Store(_))) => {
                return Ok(CellEnd::Flawed(false, error.to_string()));
            }
            Ok(Err(error)) => return Err(error),
            Ok(Ok(repetition)) => repetition,
        };
        Ok(match repetition.filter(|repetition| !repetition.interrupted) {
            None => CellEnd::Stopped,
            Some(repetition) => self.reduce(&plan, repetition, turn),
        })
    }

    fn reduce(&self, plan: &Plan, repetition: Repetition, turn: usize) -> CellEnd {
        let broken = self.environment.violations(&repetition.tallies).next();
        if let Some((name, count)) = broken {
            let reason = format!("VIOLATION: {count} {name}: the store broke its promise");
            return CellEnd::Flawed(true, reason);
        }
        if let Some((_, finding)) = repetition.audits.broken.first() {
            let reason =
                format!("VIOLATION: it does not hold that {}: {}", finding.what, finding.evidence);
            return CellEnd::Flawed(true, reason);
        }
        if repetition.starved {
            return CellEnd::Flawed(false, "memory was nearly used up".to_owned());
        }
        let counts = repetition.stats.total().counts;
        if counts.committed() == 0 {
            return CellEnd::Flawed(false, "it committed nothing".to_owned());
        }
        let numbers = Measured::new(&self.environment, plan, &repetition);
        let values = measured().map(|(_, measure)| numbers.value(measure)).collect();
        let kept = self.comparison.keep_latencies;
        let latencies = kept.then(|| compress(&repetition.latencies(plan)));
        let kinds = repetition.stats.kinds.iter();
        let cell = Cell {
            requests: repetition.requests,
            turn,
            load: repetition.load,
            elapsed: repetition.elapsed,
            counts,
            committed: kinds.map(|kind| kind.counts.committed()).collect(),
            tallies: repetition.tallies,
            values,
            long_reader: repetition.long_reader,
            started: repetition.started,
            steps: if plan.keep_interval_histograms { repetition.steps } else { Vec::new() },
            latencies,
        };
        CellEnd::Done(Box::new(cell))
    }
}

fn flaw(violation: bool, reason: &str, block: u32, threads: usize) -> Flaw {
    let reason = format!("{reason} (repetition {block}, {threads} thread(s))");
    Flaw { violation, reason }
}

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Sync + Send + 'static>;

/// Held by who watches: the hook is the process's, and two would restore it in the wrong order.
static WATCHING: Mutex<()> = Mutex::new(());
/// What the first panic since the watch began has said.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Catches panics of a protocol, in whichever thread, and keeps what they say for the report.
struct PanicWatch {
    hook: Option<Hook>,
}

impl PanicWatch {
    /// Runs `body`; `Err` with the message and the place if something in it panicked.
    fn over<T>(body: impl FnOnce() -> T) -> Result<T, String> {
        let _alone = WATCHING.lock().unwrap_or_else(PoisonError::into_inner);
        *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let watch = PanicWatch { hook: Some(take_hook()) };
        set_hook(Box::new(|info| {
            let place = info.location().map(|place| format!(" at {place}")).unwrap_or_default();
            let message = info.payload_as_str().unwrap_or("no message");
            let mut first = PANIC.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| format!("{message}{place}").replace('\n', " "));
        }));
        // Nothing of what a panic interrupted is looked at again: the store is gone with the body.
        let outcome = catch_unwind(AssertUnwindSafe(body));
        drop(watch);
        outcome.map_err(|_| {
            let said = PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
            said.unwrap_or_else(|| "no message".to_owned())
        })
    }
}

impl Drop for PanicWatch {
    fn drop(&mut self) {
        if let Some(hook) = self.hook.take() {
            set_hook(hook);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_another_thread_is_caught_with_its_message() {
        let outcome = PanicWatch::over(|| {
            std::thread::scope(|scope| {
                scope.spawn(|| panic!("the lock\nwas lost"));
            });
        });
        let message = outcome.expect_err("it panicked");
        assert!(message.starts_with("the lock was lost at src/"), "{message}");
        assert_eq!(PanicWatch::over(|| 7), Ok(7));
    }

    #[test]
    fn blocks_have_seeds_of_their_own() {
        let seed = Seed::new(7);
        assert_eq!(block_seed(seed, 1), block_seed(seed, 1));
        assert_ne!(block_seed(seed, 1), block_seed(seed, 2));
        assert_ne!(block_seed(seed, 1), block_seed(Seed::new(8), 1));
    }
}
