//! Back-off: how long a transaction waits between an abort and its next attempt.
//!
//! Every wait is a random part of a *ceiling*, so that two that have met do not meet again at once.
//! The policies differ in where the ceiling comes from, and all protocols share them. Whatever the
//! policy, a transaction that starves gets the right of way (see `retry`).

use super::Store;
use crate::limits::{
    BACKOFF_CLIMB_INTERVAL_NS, BACKOFF_CLIMB_MAX_NS, BACKOFF_CLIMB_STEP_NS, BACKOFF_MAX_NS,
    BACKOFF_MIN_NS,
};
use crate::protocol::Protocol;
use crate::protocol::context::{Core, Worker};
use crate::sync::{AtomicU64, Ordering, spin_loop};
use std::cmp::Ordering::Equal;
use std::time::{Duration, Instant};

/// The ceiling of the waits after an abort: each wait is a random part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backoff {
    /// There is no wait.
    None,
    /// The ceiling is always the same.
    Fixed {
        /// The ceiling, in nanoseconds.
        ceiling_ns: u64,
    },
    /// Each worker has a ceiling of its own, which doubles with each of its aborts and halves with
    /// each of its commits.
    Exponential {
        /// The ceiling's lower bound, in nanoseconds.
        min_ns: u64,
        /// The ceiling's upper bound, in nanoseconds.
        max_ns: u64,
    },
    /// The store has one ceiling, which follows the throughput: every few milliseconds it moves a
    /// step, on in the same direction if more transactions have committed since the last move than
    /// before, and back if fewer have (hill climbing, as in Cicada: Lim, Kaminsky and Andersen,
    /// SIGMOD 2017, "contention regulation"). The bounds are in [`crate::limits`]. It begins at 0
    /// and takes a second at least for each 100 µs, so a short run says little about it.
    Adaptive,
}

impl Default for Backoff {
    fn default() -> Self {
        Backoff::Exponential { min_ns: BACKOFF_MIN_NS, max_ns: BACKOFF_MAX_NS }
    }
}

impl Backoff {
    /// The policy's name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Backoff::None => "none",
            Backoff::Fixed { .. } => "fixed",
            Backoff::Exponential { .. } => "exponential",
            Backoff::Adaptive => "adaptive",
        }
    }
}

/// How long this worker waits after the abort that it has just met.
pub(super) fn next_wait<P: Protocol>(store: &Store<P>, worker: &mut Worker<P>) -> Duration {
    // A linear congruential step (Knuth's MMIX constants); its high bits are random enough here.
    worker.random = worker
        .random
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    let ceiling = match store.retry.backoff {
        Backoff::None => return Duration::ZERO,
        Backoff::Fixed { ceiling_ns } => ceiling_ns,
        Backoff::Exponential { min_ns, max_ns } => {
            let ceiling = worker.backoff_ns.max(min_ns).min(max_ns);
            worker.backoff_ns = ceiling.saturating_mul(2).min(max_ns);
            ceiling
        }
        Backoff::Adaptive => {
            let now = store.climb.begun.elapsed().as_nanos() as u64;
            store.climb.ceiling(now, worker.random >> 63 == 1, || commits(&store.core))
        }
    };
    Duration::from_nanos((worker.random >> 33) % ceiling.saturating_add(1))
}

/// Waits.
pub(super) fn pause(wait: Duration) {
    if wait.is_zero() {
        return;
    }
    let start = Instant::now();
    while start.elapsed() < wait {
        // Past a few microseconds somebody else may need this core more.
        if wait > Duration::from_micros(5) {
            std::thread::yield_now();
        } else {
            spin_loop();
        }
    }
}

/// The commits of all workers. They count them anyway; the sum is taken once in an interval.
fn commits<P: Protocol>(core: &Core<P>) -> u64 {
    core.workers.cells().map(|cell| cell.tallies.commits.get()).sum()
}

/// The adaptive ceiling, and what the last move of it has to be compared with.
///
/// A transaction that aborts looks whether the next move is due; one of those that find so claims
/// it and makes it. One that stops between the two has made no move, and the next one is due all
/// the same an interval later. Should it go on by then, the two moves may mix what they have seen:
/// a step in the wrong direction at worst, which later ones take back.
#[derive(Debug)]
pub(super) struct Climb {
    begun: Instant,
    ceiling_ns: AtomicU64,
    /// When the next move is due; this and the other times count from `begun`.
    due_ns: AtomicU64,
    /// When the last move was made, and how many commits there were by then.
    moved_at_ns: AtomicU64,
    commits: AtomicU64,
    /// The ceiling before the last move, and the throughput under it, in commits a nanosecond (the
    /// bits of an `f64`).
    ceiling_before_ns: AtomicU64,
    throughput_before: AtomicU64,
}

impl Climb {
    pub(super) fn new() -> Self {
        Climb {
            begun: Instant::now(),
            ceiling_ns: AtomicU64::new(0),
            due_ns: AtomicU64::new(BACKOFF_CLIMB_INTERVAL_NS),
            moved_at_ns: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            ceiling_before_ns: AtomicU64::new(0),
            throughput_before: AtomicU64::new(0),
        }
    }

    /// The ceiling, after the next move if that is due. `coin` decides where nothing else does.
    fn ceiling(&self, now: u64, coin: bool, commits: impl FnOnce() -> u64) -> u64 {
        if self.claim(now) {
            self.step(now, coin, commits());
        }
        get(&self.ceiling_ns)
    }

    /// Whether the next move is due and the caller's to make.
    fn claim(&self, now: u64) -> bool {
        let (due, next) = (get(&self.due_ns), now.saturating_add(BACKOFF_CLIMB_INTERVAL_NS));
        // Relaxed: only who makes the move is decided here; as in `get`.
        let claim = || {
            self.due_ns.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        due <= now && claim()
    }

    /// One move.
    fn step(&self, now: u64, coin: bool, commits: u64) {
        let elapsed = now.saturating_sub(get(&self.moved_at_ns)).max(1);
        let committed = commits.saturating_sub(get(&self.commits));
        let throughput = committed as f64 / elapsed as f64;
        let ceiling = get(&self.ceiling_ns);
        let moved = ceiling.cmp(&get(&self.ceiling_before_ns));
        let gained = throughput.total_cmp(&f64::from_bits(get(&self.throughput_before)));
        let up = if moved == Equal || gained == Equal { coin } else { moved == gained };
        let next = match up {
            true => ceiling.saturating_add(BACKOFF_CLIMB_STEP_NS).min(BACKOFF_CLIMB_MAX_NS),
            false => ceiling.saturating_sub(BACKOFF_CLIMB_STEP_NS),
        };
        set(&self.moved_at_ns, now);
        set(&self.commits, commits);
        set(&self.ceiling_before_ns, ceiling);
        set(&self.throughput_before, throughput.to_bits());
        set(&self.ceiling_ns, next);
    }
}

fn get(word: &AtomicU64) -> u64 {
    // Relaxed: how long to wait is a matter of speed; nothing else is read on the strength of it.
    word.load(Ordering::Relaxed)
}

fn set(word: &AtomicU64, value: u64) {
    // Relaxed: as in `get`.
    word.store(value, Ordering::Relaxed);
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::RetryPolicy;

    /// So many intervals take the climb from one end to the other, with some to spare.
    const INTERVALS: u64 = 2 * BACKOFF_CLIMB_MAX_NS / BACKOFF_CLIMB_STEP_NS;

    /// Lets `climb` live through intervals in which the throughput is the greater the nearer the
    /// ceiling is to `peak`, and returns the ceilings of the last few.
    fn live(climb: &Climb, peak: u64) -> Vec<u64> {
        let (mut commits, mut ceilings) = (0, Vec::new());
        for interval in 1..=INTERVALS {
            commits += 2 * BACKOFF_CLIMB_MAX_NS - get(&climb.ceiling_ns).abs_diff(peak);
            let now = interval * BACKOFF_CLIMB_INTERVAL_NS;
            ceilings.push(climb.ceiling(now, interval % 2 == 0, || commits));
        }
        ceilings.split_off(ceilings.len() - 100)
    }

    #[test]
    fn the_climb_finds_the_better_side_and_stays_there() {
        const MAX: u64 = BACKOFF_CLIMB_MAX_NS;
        for from in [0, 300_000, MAX] {
            for peak in [0, 40_000, 40_250, 700_000, MAX] {
                let climb = Climb::new();
                set(&climb.ceiling_ns, from);
                let ceilings = live(&climb, peak);
                let near = |ceiling: &u64| ceiling.abs_diff(peak) <= 3 * BACKOFF_CLIMB_STEP_NS;
                assert!(ceilings.iter().all(near), "from {from} to {peak}: {ceilings:?}");
            }
        }
    }

    /// However much a longer wait would gain.
    #[test]
    fn the_climb_ends_at_its_bound() {
        const MAX: u64 = BACKOFF_CLIMB_MAX_NS;
        let climb = Climb::new();
        set(&climb.ceiling_ns, MAX / 2);
        let ceilings = live(&climb, 2 * MAX);
        assert_eq!(ceilings.iter().max(), Some(&MAX), "{ceilings:?}");
    }

    #[test]
    fn the_climb_moves_once_in_an_interval_whoever_stops() {
        let climb = Climb::new();
        let unasked = || -> u64 { panic!("no move is due") };
        assert_eq!(climb.ceiling(BACKOFF_CLIMB_INTERVAL_NS - 1, true, unasked), 0);
        let due = BACKOFF_CLIMB_INTERVAL_NS;
        assert_eq!(climb.ceiling(due, true, || 1), BACKOFF_CLIMB_STEP_NS);
        assert_eq!(climb.ceiling(due, true, unasked), BACKOFF_CLIMB_STEP_NS);
        // Somebody claims the next move and stops; the one after it is made all the same.
        assert!(climb.claim(2 * due));
        assert_eq!(climb.ceiling(2 * due, true, unasked), BACKOFF_CLIMB_STEP_NS);
        assert_eq!(climb.ceiling(3 * due, true, || 9), 2 * BACKOFF_CLIMB_STEP_NS);
    }

    /// The waits of one worker after that many aborts in a row.
    fn waits(backoff: Backoff, ceiling: u64) -> Vec<u64> {
        let policy = RetryPolicy { backoff, ..RetryPolicy::default() };
        let store = Store::builder().retry(policy).build().expect("a store");
        set(&store.climb.ceiling_ns, ceiling);
        // The bound must hold wherever the climb is; this keeps it where it is.
        set(&store.climb.due_ns, u64::MAX);
        let mut transaction = store.begin().expect("a transaction");
        (0..2_000).map(|_| transaction.next_wait().as_nanos() as u64).collect()
    }

    /// Every wait is within its ceiling, and together they make use of all of it.
    fn fill(waits: &[u64], ceiling: u64) {
        assert!(waits.iter().all(|wait| *wait <= ceiling), "{waits:?} above {ceiling}");
        let (least, most) = (waits.iter().min(), waits.iter().max());
        assert!(least < Some(&(ceiling / 10)) && most > Some(&(ceiling / 10 * 9)), "{waits:?}");
    }

    #[test]
    fn without_back_off_there_is_no_wait() {
        assert!(waits(Backoff::None, 77_000).iter().all(|wait| *wait == 0));
    }

    #[test]
    fn a_fixed_back_off_keeps_its_ceiling() {
        fill(&waits(Backoff::Fixed { ceiling_ns: 30_000 }, 77_000), 30_000);
        assert!(waits(Backoff::Fixed { ceiling_ns: 0 }, 77_000).iter().all(|wait| *wait == 0));
    }

    #[test]
    fn an_exponential_back_off_doubles_up_to_its_ceiling() {
        let found = waits(Backoff::Exponential { min_ns: 200, max_ns: 50_000 }, 77_000);
        let doubled = (0..).map(|aborts| 200 << aborts);
        let rising = doubled.take_while(|ceiling| *ceiling < 50_000);
        assert!(rising.zip(&found).all(|(ceiling, wait)| *wait <= ceiling), "{found:?}");
        fill(&found, 50_000);
    }

    #[test]
    fn an_adaptive_back_off_keeps_to_the_ceiling_of_the_store() {
        fill(&waits(Backoff::Adaptive, 77_000), 77_000);
        assert!(waits(Backoff::Adaptive, 0).iter().all(|wait| *wait == 0));
    }
}
