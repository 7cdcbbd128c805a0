//! Progress on stderr: bars on a terminal, status lines where a property asks for them.

use crate::bench::{ComparisonPlan, NextCell, Observer, Overdue, Plan, Tick};
use crate::report::{latency, rate};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often a bar is drawn at most, per second.
const DRAWS_PER_SECOND: u8 = 10;

/// A bar that is seen on a terminal only, and nowhere when the user wants quiet.
fn bar(quiet: bool) -> ProgressBar {
    let bar = ProgressBar::new(0);
    bar.set_draw_target(if quiet || !io::stderr().is_terminal() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr_with_hz(DRAWS_PER_SECOND)
    });
    bar
}

/// Says that a repetition does not end, whether or not progress is wanted.
fn say_overdue(bar: &ProgressBar, overdue: &Overdue<'_>) {
    // A line that cannot be written changes nothing about it.
    bar.suspend(|| {
        let _ = writeln!(io::stderr(), "WARNING: {overdue}");
    });
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).expect("a constant template is valid");
    style.progress_chars("=> ")
}

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
        Progress {
            bar: bar(quiet),
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
        self.bar.set_style(style(template));
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

    fn overdue(&self, overdue: &Overdue<'_>) {
        say_overdue(&self.bar, overdue);
    }
}

/// Records that one processor loads in a second, for the first estimate only.
const LOADED_PER_SECOND: f64 = 150_000.0;

/// Shows how far a comparison is: one bar for all of it.
#[derive(Debug)]
pub(super) struct ComparisonProgress {
    bar: ProgressBar,
    blocks: u32,
    /// Whether a line is wanted after each block.
    status: bool,
}

impl ComparisonProgress {
    /// As with a run, on a terminal only.
    pub(super) fn new(quiet: bool, status: bool, plan: &ComparisonPlan) -> Self {
        let bar = bar(quiet);
        bar.set_style(style("[{bar:30}] {pos}/{len}, {eta} left; {msg}"));
        bar.set_length(plan.cells() as u64);
        ComparisonProgress { bar, blocks: plan.plan.repetitions, status: status && !quiet }
    }

    /// Says how long it will take, as far as that is known before the first repetition.
    pub(super) fn estimate(&self, records: u64, plan: &ComparisonPlan) {
        if self.bar.is_hidden() {
            return;
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let load = Duration::from_secs_f64(records as f64 / (LOADED_PER_SECOND * processors));
        let cells = plan.cells();
        let line = match plan.plan.limit.duration {
            Some(duration) => {
                let cell = (plan.plan.warmup + duration + load).as_secs_f64();
                // With long readers every repetition is run without them first.
                let times = if plan.plan.long_reader.is_some() { 2.0 } else { 1.0 };
                let seconds = (cell * cells as f64 * times).ceil() as u64;
                let about = humantime::format_duration(Duration::from_secs(seconds));
                format!(
                    "{cells} repetitions in all: about {about} (Ctrl-C reports what is complete)"
                )
            }
            None => format!("{cells} repetitions in all (Ctrl-C reports what is complete)"),
        };
        self.bar.println(line);
    }

    /// Removes the bar.
    pub(super) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for ComparisonProgress {
    fn calibrating(&self) {
        self.bar.set_message("measuring the harness");
        self.bar.tick();
    }

    fn cell(&self, next: &NextCell<'_>) {
        let NextCell { done, block, protocol, threads } = next;
        self.bar.set_position(*done as u64);
        let blocks = self.blocks;
        self.bar
            .set_message(format!("repetition {block} of {blocks}: {protocol}, {threads} threads"));
    }

    fn block(&self, number: u32, of: u32) {
        if self.status {
            // A status line that cannot be written is not worth the comparison.
            self.bar.suspend(|| {
                let _ = writeln!(io::stderr(), "repetition {number} of {of} is complete");
            });
        }
    }

    fn ticked(&self, _tick: &Tick<'_>) {
        self.bar.tick();
    }

    fn overdue(&self, overdue: &Overdue<'_>) {
        say_overdue(&self.bar, overdue);
    }
}
