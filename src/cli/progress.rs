//! Progress on stderr: bars on a terminal, status lines where a property asks for them.

use crate::bench::{Observer, Plan, Tick};
use crate::report::{latency, rate};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often a bar is drawn at most, per second.
const DRAWS_PER_SECOND: u8 = 10;

/// Shows how far a run is.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    status: Option<Duration>,
    status_shown: Mutex<Duration>,
    /// The length of warm-up and measurement, if time ends the run.
    length: Option<Duration>,
    transactions: Option<u64>,
}

impl Progress {
    /// Bars go to a terminal only, and nowhere when the user wants quiet.
    pub(super) fn new(quiet: bool, status: Option<Duration>, plan: &Plan) -> Self {
        let bar = ProgressBar::new(0);
        bar.set_draw_target(if quiet || !io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND)
        });
        Progress {
            bar,
            status: status.filter(|_| !quiet),
            status_shown: Mutex::new(Duration::ZERO),
            length: plan.limit.duration.map(|duration| plan.warmup + duration),
            transactions: plan.limit.transactions,
        }
    }

    /// Removes the bar.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn restart(&self, length: u64, template: &str) {
        let style = ProgressStyle::with_template(template).expect("a constant template is valid");
        self.bar.set_style(style.progress_chars("=> "));
        self.bar.reset();
        self.bar.set_length(length);
    }

    fn show_status(&self, tick: &Tick<'_>, line: &str) {
        let Some(interval) = self.status else { return };
        let mut shown = self.status_shown.lock().unwrap_or_else(PoisonError::into_inner);
        if tick.elapsed < *shown + interval {
            return;
        }
        *shown = tick.elapsed;
        let seconds = tick.elapsed.as_secs();
        // A status line that cannot be written is not worth the run.
        self.bar.suspend(|| {
            let _ = writeln!(io::stderr(), "{seconds} s: {} committed; {line}", tick.committed);
        });
    }
}

impl Observer for Progress {
    fn calibrating(&self) {
        self.restart(1, "{spinner} measuring the harness {msg}");
        self.bar.tick();
    }

    fn repetition(&self, number: u32, of: u32) {
        let message = if of > 1 { format!("repetition {number} of {of}") } else { String::new() };
        self.bar.set_message(message);
        *self.status_shown.lock().unwrap_or_else(PoisonError::into_inner) = Duration::ZERO;
    }

    fn loading(&self, records: u64) {
        self.restart(records, "load [{bar:40}] {human_pos}/{human_len} records, {eta} left {msg}");
    }

    fn loaded(&self, records: u64) {
        self.bar.inc(records);
    }

    fn running(&self, _plan: &Plan) {
        let length = self.length.map(|length| length.as_millis() as u64);
        let length = length.or(self.transactions).unwrap_or(1);
        self.restart(length, "run  [{bar:40}] {percent} % {msg}");
    }

    fn ticked(&self, tick: &Tick<'_>) {
        let position = match self.length {
            Some(_) => tick.elapsed.as_millis() as u64,
            None => tick.committed,
        };
        self.bar.set_position(position);
        let line = tick.step.map_or_else(String::new, |step| {
            let (committed, p99) = (step.counts.committed() as f64, step.p99_ns as f64);
            format!("{}, p99 {}", rate(committed), latency(p99))
        });
        if tick.step.is_some() {
            self.bar.set_message(line.clone());
        }
        self.show_status(tick, &line);
    }
}
