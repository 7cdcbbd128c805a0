//! The schedule of a throttled worker.

use super::stopwatch::Stopwatch;
use crate::sync::{AtomicBool, Ordering};
use std::time::Duration;

/// Below this a sleeping thread could wake too late; it spins instead.
pub(super) const SPIN_NS: u64 = 60_000;
/// The longest sleep, so that a stop is noticed.
const SLEEP_MAX_NS: u64 = 20_000_000;

/// One worker's schedule: tick i is due at a fixed time, whatever happened to the ticks before.
///
/// No tick is skipped and none is merged with another: a worker that has fallen behind runs without
/// pause until it has caught up, and its latency from the intended start shows it. Warm-up and
/// measurement share one schedule, so that the end of the warm-up shifts nothing.
#[derive(Debug)]
pub(super) struct Pace {
    first_ns: u64,
    period_ns: f64,
    ticks: u64,
    spin: bool,
}

impl Pace {
    /// A schedule that starts at `first_ns`.
    pub(super) fn new(first_ns: u64, period_ns: f64, spin: bool) -> Self {
        Pace { first_ns, period_ns, ticks: 0, spin }
    }

    fn due_ns(&self) -> u64 {
        // A multiplication, not a sum: no error adds up over ticks. The cast saturates.
        self.first_ns.saturating_add((self.ticks as f64 * self.period_ns) as u64)
    }

    /// Waits for the next tick and gives the time it was due; `None` if the tick is due only after
    /// `deadline_ns`, or if the run was stopped.
    pub(super) fn wait(
        &mut self,
        stopwatch: &Stopwatch,
        deadline_ns: u64,
        stop: &AtomicBool,
    ) -> Option<u64> {
        let due = self.due_ns();
        let spin_ns = if self.spin { u64::MAX } else { SPIN_NS };
        wait_until(stopwatch, due, deadline_ns, spin_ns, stop)?;
        self.ticks += 1;
        Some(due)
    }

    /// Ticks that were due before `end_ns` and have not been started.
    pub(super) fn missed(&self, end_ns: u64) -> u64 {
        let due = self.due_ns();
        if due >= end_ns { 0 } else { ((end_ns - due) as f64 / self.period_ns) as u64 + 1 }
    }
}

/// Waits until `due_ns`; sleeps, but for the last `spin_ns`, which it spins. `None` if that is only
/// after `deadline_ns`, or if the run was stopped.
pub(super) fn wait_until(
    stopwatch: &Stopwatch,
    due_ns: u64,
    deadline_ns: u64,
    spin_ns: u64,
    stop: &AtomicBool,
) -> Option<()> {
    loop {
        let now = stopwatch.now();
        if now >= due_ns {
            break;
        }
        // Relaxed: a request to stop; nothing is read on the strength of it.
        if now >= deadline_ns || stop.load(Ordering::Relaxed) {
            return None;
        }
        let ahead = due_ns.min(deadline_ns) - now;
        if ahead <= spin_ns {
            std::hint::spin_loop();
        } else {
            std::thread::sleep(Duration::from_nanos((ahead - spin_ns / 2).min(SLEEP_MAX_NS)));
        }
    }
    (due_ns < deadline_ns).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_tick_is_skipped_and_missed_ones_are_counted() {
        let stopwatch = Stopwatch::calibrated();
        let stop = AtomicBool::new(false);
        let start = stopwatch.now();
        let mut pace = Pace::new(start, 1_000_000.0, true);
        std::thread::sleep(Duration::from_millis(5));
        for tick in 0..5 {
            let due = pace.wait(&stopwatch, u64::MAX, &stop);
            assert_eq!(due, Some(start + tick * 1_000_000));
        }
        assert_eq!(pace.missed(start + 5_000_000), 0);
        assert_eq!(pace.missed(start + 5_000_001), 1);
        assert_eq!(pace.missed(start + 7_000_001), 3);
        assert_eq!(pace.wait(&stopwatch, start + 1, &stop), None);
    }
}
