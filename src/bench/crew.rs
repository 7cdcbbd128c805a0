//! Starts the workers, listens to them, and stops them.

use super::RunError;
use super::collector::{Collected, Collector};
use super::driver::{Lines, Shared};
use super::memory;
use crate::sync::{AtomicBool, Ordering};
use core_affinity::CoreId;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How often the collector looks up from the reports.
const TICK: Duration = Duration::from_millis(50);
/// How often it looks whether memory is nearly gone.
const MEMORY_CHECK: Duration = Duration::from_secs(1);

/// The workers of one run and who collects from them.
pub(super) struct Crew<'a> {
    pub(super) shared: &'a Shared,
    pub(super) tallies: usize,
    pub(super) keep_histograms: bool,
    /// The processor of each worker.
    pub(super) pinned: Option<&'a [CoreId]>,
    /// Set by whoever wants the run to end early.
    pub(super) stop: &'a AtomicBool,
}

/// Runs one worker, given its index and its lines, until it has said that it is done.
pub(super) type RunWorker<'a> = &'a (dyn Fn(usize, Lines) + Sync);

impl Crew<'_> {
    /// Runs all workers to their end. `tick` is called a few times a second.
    pub(super) fn run(
        &self,
        worker: RunWorker<'_>,
        tick: &mut dyn FnMut(&Collector),
    ) -> Result<Collected, RunError> {
        let Shared { course, gate, stopwatch, .. } = self.shared;
        std::thread::scope(|scope| {
            let (reports, received) = channel();
            let mut emptied_lines = Vec::new();
            for index in 0..course.threads {
                let (give_back, emptied) = channel();
                let lines = Lines { reports: reports.clone(), emptied };
                emptied_lines.push(give_back);
                let pinned = self.pinned.map(|cores| cores[index % cores.len()]);
                let body = move || {
                    // A refusal leaves the worker where the system puts it; the report says which
                    // processors were asked for, and they were found usable before.
                    pinned.map(core_affinity::set_for_current);
                    worker(index, lines);
                };
                let name = format!("worker-{index}");
                let spawned = std::thread::Builder::new().name(name).spawn_scoped(scope, body);
                if let Err(error) = spawned {
                    gate.call_off();
                    return Err(RunError::Threads { threads: course.threads, error });
                }
            }
            drop(reports);
            let collector =
                Collector::new(emptied_lines, course.kinds, self.tallies, self.keep_histograms);
            gate.open(course.threads, stopwatch);
            Ok(self.listen(&received, collector, tick))
        })
    }

    fn listen(
        &self,
        received: &Receiver<super::driver::Report>,
        mut collector: Collector,
        tick: &mut dyn FnMut(&Collector),
    ) -> Collected {
        let mut memory_checked = Instant::now();
        while !collector.is_complete() {
            let failed = match received.recv_timeout(TICK) {
                Ok(report) => collector.take(report),
                Err(RecvTimeoutError::Timeout) => false,
                // Every worker is gone, and not all have said so: the scope passes their panic on.
                Err(RecvTimeoutError::Disconnected) => break,
            };
            // Relaxed: a request to stop; nothing is read on the strength of it.
            let asked = self.stop.load(Ordering::Relaxed);
            let mut starved = false;
            if memory_checked.elapsed() >= MEMORY_CHECK {
                memory_checked = Instant::now();
                starved = memory::is_low();
                if starved {
                    collector.note_starved();
                }
            }
            if failed || asked || starved {
                // Relaxed: as above; the workers' reports come through their channel.
                self.shared.stop.store(true, Ordering::Relaxed);
            }
            tick(&collector);
        }
        collector.finish()
    }
}
