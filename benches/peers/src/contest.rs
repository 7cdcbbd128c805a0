//! The loop that every store runs in, and the rounds that interleave them.

use crate::requests::{self, Mix, Request};
use crate::stores::Peer;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

/// What one thread did in one window.
#[derive(Debug, Clone, Copy)]
struct Work {
    committed: u64,
    attempts: u64,
    cpu: Duration,
    start: Instant,
    end: Instant,
}

/// One window of a store.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Committed transactions a second.
    pub rate: f64,
    /// Attempts for each of them.
    pub attempts: f64,
    /// The share of the processor time that the store could have had and has had: less than all if
    /// it slept, or if something else ran on the machine.
    pub cpu: f64,
}

/// The processor time of this thread so far; 0 where the kernel does not tell.
fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = text.split(' ').next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(ns.unwrap_or(0))
}

type Run = dyn Fn(&[Vec<Request>], Duration) -> Window;

/// A row of the table: a store, what it does, and with how many threads.
pub struct Contestant {
    /// The name of the row.
    pub name: String,
    /// Threads.
    pub threads: usize,
    /// The least that the case's first row shall reach, as a multiple of this one.
    pub target: Option<f64>,
    run: Box<Run>,
}

impl Contestant {
    /// A row in which `step` is called with one transaction's requests at a time, and returns the
    /// sum of what it read.
    pub fn new<P: Peer>(
        peer: &Arc<P>,
        operations: usize,
        threads: usize,
        step: impl Fn(&P, &[Request], &mut u64) -> u64 + Sync + 'static,
    ) -> Self {
        let peer = Arc::clone(peer);
        Contestant {
            name: P::NAME.to_string(),
            threads,
            target: None,
            run: Box::new(move |requests, time| {
                let step = |unit: &[Request], attempts: &mut u64| step(&peer, unit, attempts);
                drive(&requests[..threads], operations, time, step)
            }),
        }
    }

    /// Gives the row another name.
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.to_string();
        self
    }

    /// Sets what the case's first row shall reach.
    pub fn target(mut self, least: f64) -> Self {
        self.target = Some(least);
        self
    }
}

/// Runs `step` on every thread until the time is over.
fn drive(
    requests: &[Vec<Request>],
    operations: usize,
    time: Duration,
    step: impl Fn(&[Request], &mut u64) -> u64 + Sync,
) -> Window {
    let (stop, barrier) = (AtomicBool::new(false), Barrier::new(requests.len() + 1));
    let client = |requests: &[Request]| {
        let (mut committed, mut attempts, mut sum) = (0, 0, 0u64);
        barrier.wait();
        let (cpu, start) = (cpu_time(), Instant::now());
        'run: loop {
            for unit in requests.chunks_exact(operations) {
                // Relaxed: it carries no data, and a transaction more or less does not matter.
                if stop.load(Ordering::Relaxed) {
                    break 'run;
                }
                sum = sum.wrapping_add(step(unit, &mut attempts));
                committed += 1;
            }
        }
        black_box(sum);
        Work { committed, attempts, start, end: Instant::now(), cpu: cpu_time() - cpu }
    };
    let done: Vec<Work> = std::thread::scope(|scope| {
        let clients: Vec<_> =
            requests.iter().map(|requests| scope.spawn(|| client(requests))).collect();
        barrier.wait();
        std::thread::sleep(time);
        // Relaxed: as above.
        stop.store(true, Ordering::Relaxed);
        let joined = clients.into_iter().map(|client| client.join());
        joined.map(|work| work.expect("no client panics")).collect()
    });
    summary(&done)
}

fn summary(done: &[Work]) -> Window {
    let start = done.iter().map(|work| work.start).min();
    let end = done.iter().map(|work| work.end).max();
    let elapsed = end.zip(start).map_or(Duration::ZERO, |(end, start)| end - start);
    let committed: u64 = done.iter().map(|work| work.committed).sum();
    let attempts: u64 = done.iter().map(|work| work.attempts).sum();
    let cpu: Duration = done.iter().map(|work| work.cpu).sum();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let possible = elapsed * done.len().min(cores) as u32;
    Window {
        rate: committed as f64 / elapsed.as_secs_f64(),
        attempts: attempts as f64 / committed.max(1) as f64,
        cpu: cpu.as_secs_f64() / possible.as_secs_f64(),
    }
}

/// How long and how often.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The length of a window.
    pub time: Duration,
    /// Rounds, in each of which every contestant has one window.
    pub rounds: usize,
    /// The seed of the requests.
    pub seed: u64,
}

/// Runs the rounds of a case: the windows of each contestant, in the order of the rounds.
pub fn rounds(contestants: &[Contestant], mix: Mix, records: u64, plan: Plan) -> Vec<Vec<Window>> {
    let threads = contestants.iter().map(|one| one.threads).max().unwrap_or(1);
    let mut windows = vec![Vec::new(); contestants.len()];
    let mut seed = plan.seed;
    let warm_up = requests::draw(mix, records, threads, seed);
    for contestant in contestants {
        (contestant.run)(&warm_up, plan.time.min(Duration::from_millis(300)));
    }
    for round in 0..plan.rounds {
        seed = requests::next_seed(seed);
        let requests = requests::draw(mix, records, threads, seed);
        // Each round begins with another contestant, so that none always follows the same one.
        for place in 0..contestants.len() {
            let turn = (round + place) % contestants.len();
            windows[turn].push((contestants[turn].run)(&requests, plan.time));
        }
    }
    windows
}
