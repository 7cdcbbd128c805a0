//! The only worker loop: closed, or throttled by a schedule.
//!
//! Each worker draws a request, runs it until it ends, takes two clock readings and writes only its
//! own memory. Once an interval it hands what it has counted to the collector and goes on with an
//! empty set. Nothing in the loop is shared but the stop flag, which nobody writes until the end.

use super::pace::{Pace, SPIN_NS, wait_until};
use super::stats::{Stats, Times};
use super::stopwatch::Stopwatch;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::workload::Worker;
use crate::{Attempts, Error};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Duration;

/// When workers start, measure and stop.
#[derive(Debug, Clone)]
pub(super) struct Course {
    pub(super) threads: usize,
    pub(super) warmup_ns: u64,
    /// The length of the measurement, `u64::MAX` for none.
    pub(super) duration_ns: u64,
    /// Transactions of all workers together, if they are limited.
    pub(super) transactions: Option<u64>,
    pub(super) interval_ns: u64,
    /// The period of all workers together, and whether to spin, if they are throttled.
    pub(super) throttle: Option<(f64, bool)>,
    pub(super) kinds: usize,
}

impl Course {
    /// The share of worker `index` in the transactions: all shares differ by at most one.
    fn share(&self, index: usize) -> u64 {
        let Some(total) = self.transactions else {
            return u64::MAX;
        };
        let (threads, index) = (self.threads as u64, index as u64);
        total / threads + u64::from(index < total % threads)
    }

    /// How long a worker goes without a report whose transactions take no time and whose workload
    /// makes no pauses: it looks at the time when a transaction has ended, and when its schedule
    /// wakes it for the next one.
    pub(super) fn silence_max(&self) -> Duration {
        let period_ns = self.throttle.map_or(0.0, |(period_ns, _)| period_ns * self.threads as f64);
        // The cast saturates.
        Duration::from_nanos(self.interval_ns.saturating_add(period_ns as u64))
    }
}

/// What a worker tells the collector.
#[derive(Debug)]
pub(super) enum Report {
    /// What was counted since the last report of this worker.
    Interval {
        worker: usize,
        /// The step of the timeline in which it ended.
        step: u64,
        stats: Box<Stats>,
    },
    /// The worker is done.
    Done(Box<Finish>),
}

/// A worker's last words.
#[derive(Debug)]
pub(super) struct Finish {
    pub(super) worker: usize,
    /// When its measurement began and ended; `None` if it was stopped before it began.
    pub(super) measured: Option<(u64, u64)>,
    /// Its workload tallies within the measurement.
    pub(super) tallies: Vec<u64>,
    /// Scheduled starts within the measurement that it did not get to.
    pub(super) missed: u64,
    pub(super) error: Option<Error>,
}

/// Lets workers start together, once all are there, or not at all.
#[derive(Debug, Default)]
pub(super) struct Gate {
    ready: AtomicUsize,
    start_ns: AtomicU64,
}

/// The start time that means: do not start.
const CALLED_OFF: u64 = u64::MAX;

impl Gate {
    /// Waits for the start and gives its time; `None` if it was called off.
    fn wait(&self) -> Option<u64> {
        // AcqRel: pairs with the Acquire in `open`, so that a worker's preparations are behind it.
        self.ready.fetch_add(1, Ordering::AcqRel);
        loop {
            // Acquire: pairs with the Release in `set`.
            match self.start_ns.load(Ordering::Acquire) {
                0 => std::thread::sleep(Duration::from_micros(50)),
                CALLED_OFF => return None,
                start => return Some(start),
            }
        }
    }

    fn set(&self, start_ns: u64) {
        // Release: pairs with the Acquire in `wait`.
        self.start_ns.store(start_ns, Ordering::Release);
    }

    /// Tells waiting workers to leave.
    pub(super) fn call_off(&self) {
        self.set(CALLED_OFF);
    }

    /// Waits until `threads` workers are ready, then lets them start. Gives the time of the start.
    pub(super) fn open(&self, threads: usize, stopwatch: &Stopwatch) -> u64 {
        // Acquire: pairs with the AcqRel in `wait`.
        while self.ready.load(Ordering::Acquire) < threads {
            std::thread::sleep(Duration::from_micros(50));
        }
        let start = stopwatch.now().max(1);
        self.set(start);
        start
    }
}

/// What every worker of a run shares.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) course: Course,
    pub(super) stopwatch: Stopwatch,
    /// Set to end the run early.
    pub(super) stop: AtomicBool,
    pub(super) gate: Gate,
}

/// A worker's lines to the collector and back.
#[derive(Debug)]
pub(super) struct Lines {
    pub(super) reports: Sender<Report>,
    /// Sets of counters that the collector has emptied.
    pub(super) emptied: Receiver<Box<Stats>>,
}

/// One worker thread's state around the workload's worker.
struct Lane<'a> {
    shared: &'a Shared,
    index: usize,
    worker: &'a mut dyn Worker,
    lines: Lines,
    stats: Box<Stats>,
    /// The next time at which something other than the next request is due.
    event_ns: u64,
    measure_ns: u64,
    deadline_ns: u64,
    /// Whether the warm-up is over.
    measuring: bool,
    measured_from_ns: u64,
    remaining: u64,
    tallies_before: Vec<u64>,
}

/// Runs one worker from the gate to its end. It always ends with [`Report::Done`].
pub(super) fn run_worker(shared: &Shared, index: usize, worker: &mut dyn Worker, lines: Lines) {
    let stats = Box::new(Stats::new(shared.course.kinds));
    let mut lane = Lane {
        shared,
        index,
        worker,
        lines,
        stats,
        event_ns: 0,
        measure_ns: 0,
        deadline_ns: 0,
        measuring: false,
        measured_from_ns: 0,
        remaining: shared.course.share(index),
        tallies_before: Vec::new(),
    };
    let Some(start_ns) = shared.gate.wait() else {
        lane.finish(0, None, None);
        return;
    };
    lane.schedule(start_ns);
    let mut pace = shared.course.throttle.map(|(period_ns, spin)| {
        // Workers take turns: the ticks of all together are evenly spaced.
        let first_ns = start_ns + (period_ns * index as f64) as u64;
        Pace::new(first_ns, period_ns * shared.course.threads as f64, spin)
    });
    let outcome = lane.work(&mut pace);
    let (ended_ns, error) = match outcome {
        Ok(ended_ns) => (ended_ns, None),
        Err(error) => (shared.stopwatch.now(), Some(error)),
    };
    lane.finish(ended_ns, pace.as_ref(), error);
}

impl Lane<'_> {
    fn schedule(&mut self, start_ns: u64) {
        let course = &self.shared.course;
        self.measure_ns = start_ns.saturating_add(course.warmup_ns);
        self.deadline_ns = self.measure_ns.saturating_add(course.duration_ns);
        self.event_ns = self.measure_ns;
        if course.warmup_ns == 0 {
            self.begin_measuring(start_ns);
        }
    }

    /// The loop. Gives the time at which the last transaction ended.
    fn work(&mut self, pace: &mut Option<Pace>) -> Result<u64, Error> {
        let stopwatch = self.shared.stopwatch;
        let stop = &self.shared.stop;
        if self.remaining == 0 {
            return Ok(self.measure_ns);
        }
        loop {
            self.worker.prepare();
            if let Some(now_ns) = self.linger() {
                return Ok(now_ns);
            }
            let due_ns = match pace {
                None => None,
                Some(pace) => {
                    let due = pace.wait(&stopwatch, self.deadline_ns, stop);
                    let now_ns = stopwatch.now();
                    if self.catch_up(now_ns) || due.is_none() {
                        return Ok(now_ns);
                    }
                    due
                }
            };
            let mut attempts = Attempts::default();
            let started_ns = stopwatch.now();
            let end = self.worker.execute(&mut attempts)?;
            let ended_ns = stopwatch.now();
            let service_ns = ended_ns.saturating_sub(started_ns);
            let intended_ns = due_ns.map(|due_ns| ended_ns.saturating_sub(due_ns));
            let times = Times::of(service_ns, intended_ns, end, &attempts);
            self.worker.settle(end);
            self.stats.record(self.worker.kind(), end, &attempts, times);
            self.remaining -= u64::from(self.measuring);
            // Relaxed: a request to stop; nothing is read on the strength of it.
            let stopped = stop.load(Ordering::Relaxed);
            if (ended_ns >= self.event_ns || self.remaining == 0 || stopped)
                && (self.handle_event(ended_ns) || stopped)
            {
                return Ok(ended_ns);
            }
        }
    }

    /// Waits for whoever sends the prepared request, if he takes his time. Gives the present time
    /// if the worker was done before that.
    #[inline]
    fn linger(&mut self) -> Option<u64> {
        let pause = self.worker.pause();
        if pause.is_zero() { None } else { self.sleep_for(pause) }
    }

    #[cold]
    fn sleep_for(&mut self, pause: Duration) -> Option<u64> {
        let stopwatch = self.shared.stopwatch;
        let until_ns = stopwatch.now().saturating_add(pause.as_nanos() as u64);
        let stop = &self.shared.stop;
        let outcome = wait_until(&stopwatch, until_ns, self.deadline_ns, SPIN_NS, stop);
        let now_ns = stopwatch.now();
        (self.catch_up(now_ns) || outcome.is_none()).then_some(now_ns)
    }

    /// Ends what has ended while the worker waited for its schedule. True when the worker is done.
    fn catch_up(&mut self, now_ns: u64) -> bool {
        if !self.measuring && now_ns >= self.measure_ns {
            // Waiting is what the schedule asks for, so the measurement began when it should have.
            self.begin_measuring(self.measure_ns);
        }
        now_ns >= self.event_ns && self.handle_event(now_ns)
    }

    /// Ends the warm-up or an interval. True when the worker is done.
    #[cold]
    fn handle_event(&mut self, now_ns: u64) -> bool {
        if !self.measuring {
            if now_ns >= self.measure_ns {
                self.begin_measuring(now_ns);
            }
            return false;
        }
        if now_ns >= self.deadline_ns || self.remaining == 0 {
            return true;
        }
        if now_ns >= self.event_ns {
            self.hand_over(now_ns);
            self.set_next_event(now_ns);
        }
        false
    }

    fn begin_measuring(&mut self, now_ns: u64) {
        self.stats.clear();
        self.tallies_before = self.worker.tallies().to_vec();
        self.measuring = true;
        self.measured_from_ns = now_ns;
        self.set_next_event(now_ns);
    }

    fn set_next_event(&mut self, now_ns: u64) {
        let next = (self.step(now_ns) + 1) * self.shared.course.interval_ns;
        self.event_ns = self.measure_ns.saturating_add(next).min(self.deadline_ns);
    }

    /// The step of the timeline at `now_ns`.
    fn step(&self, now_ns: u64) -> u64 {
        now_ns.saturating_sub(self.measure_ns) / self.shared.course.interval_ns
    }

    fn hand_over(&mut self, now_ns: u64) {
        let kinds = self.shared.course.kinds;
        let empty = self.lines.emptied.try_recv().unwrap_or_else(|_| Box::new(Stats::new(kinds)));
        let stats = std::mem::replace(&mut self.stats, empty);
        // The step that has just ended, which the reading at its end is already beyond.
        let step = self.step(now_ns).max(1) - 1;
        self.send(Report::Interval { worker: self.index, step, stats });
    }

    fn finish(mut self, ended_ns: u64, pace: Option<&Pace>, error: Option<Error>) {
        let mut measured = None;
        let mut tallies = vec![0; self.worker.tallies().len()];
        let mut missed = 0;
        if self.measuring {
            measured = Some((self.measured_from_ns, ended_ns.max(self.measured_from_ns)));
            let counted = self.worker.tallies().iter().zip(&self.tallies_before);
            tallies = counted.map(|(after, before)| after - before).collect();
            let until = ended_ns.min(self.deadline_ns);
            missed = pace.map_or(0, |pace| pace.missed(until));
            // The last transaction may end beyond the deadline; it belongs to the last step.
            let step = self.step(until.saturating_sub(1));
            let stats = std::mem::replace(&mut self.stats, Box::new(Stats::new(0)));
            self.send(Report::Interval { worker: self.index, step, stats });
        }
        let finish = Finish { worker: self.index, measured, tallies, missed, error };
        self.send(Report::Done(Box::new(finish)));
    }

    fn send(&self, report: Report) {
        // The collector outlives the workers; if it has failed, the run has, and the report is
        // moot.
        let _ = self.lines.reports.send(report);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_is_silent_for_an_interval_and_for_its_period() {
        let mut course = Course {
            threads: 4,
            warmup_ns: 0,
            duration_ns: u64::MAX,
            transactions: Some(8),
            interval_ns: 1_000,
            throttle: None,
            kinds: 1,
        };
        assert_eq!(course.silence_max(), Duration::from_nanos(1_000));
        course.throttle = Some((500.0, false));
        assert_eq!(course.silence_max(), Duration::from_nanos(3_000));
        course.throttle = Some((f64::INFINITY, false));
        assert_eq!(course.silence_max(), Duration::from_nanos(u64::MAX));
    }
}
