//! Says so when a repetition does not end.
//!
//! A thread that hangs in a protocol cannot be ended: it holds references into the store, and the
//! repetition has to wait for it. All that can be done about it is to name the protocol, so that a
//! command that hangs does not hang without a word.

use super::Observer;
use super::bell::Bell;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often the watchdog looks at the clock, at the least.
const LOOK: Duration = Duration::from_secs(1);
/// Longer than any run lasts.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);

/// What a repetition is doing while it is overdue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It loads.
    Loading,
    /// It runs, and time ends that.
    Timed,
    /// It runs, and a number of transactions ends that.
    Counted,
    /// It was told to stop.
    Stopping,
    /// Its store is audited after the run.
    Auditing,
}

/// A repetition that is overdue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdue<'a> {
    /// The protocol.
    pub protocol: &'a str,
    /// The threads.
    pub threads: usize,
    /// What it is doing.
    pub stage: Stage,
    /// For how long nothing has come that should have.
    pub time: Duration,
}

impl fmt::Display for Overdue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Overdue { protocol, threads, stage, time } = self;
        let time = humantime::format_duration(*time);
        write!(f, "{protocol}, {threads} thread(s): ")?;
        match stage {
            Stage::Loading => write!(f, "no record was loaded for {time}"),
            Stage::Timed => write!(f, "its run should have ended {time} ago"),
            Stage::Counted => write!(f, "no worker has reported for {time}"),
            Stage::Stopping => write!(f, "it was told to stop {time} ago"),
            Stage::Auditing => write!(f, "the audit after its run has lasted for {time}"),
        }?;
        f.write_str("; if it hangs, a second Ctrl-C ends the command, without a report")
    }
}

/// The moment after so long, or one that nobody will see.
fn moment_after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now + FOREVER)
}

/// Knows when the next sign of life is due.
#[derive(Debug)]
pub(super) struct Watchdog {
    patience: Duration,
    due: Mutex<(Instant, Stage)>,
}

impl Watchdog {
    /// Does `work` of this protocol with so many threads, which says when it is to be heard of. If
    /// it is not, the observer is told, once.
    pub(super) fn over<R>(
        (protocol, threads): (&str, usize),
        patience: Duration,
        observer: &dyn Observer,
        work: impl FnOnce(&Watchdog) -> R,
    ) -> R {
        let due = Mutex::new((moment_after(patience), Stage::Loading));
        let (watchdog, bell) = (Watchdog { patience, due }, Bell::default());
        std::thread::scope(|scope| {
            let watch = || {
                if let Some(stage) = watchdog.watch(&bell) {
                    observer.overdue(&Overdue { protocol, threads, stage, time: patience });
                }
            };
            // Where the system refuses the thread the work goes unwatched; the refusal of a worker
            // is what will be reported.
            let _ =
                std::thread::Builder::new().name("watchdog".to_owned()).spawn_scoped(scope, watch);
            bell.ring_after(|| work(&watchdog))
        })
    }

    /// The next sign of life comes within `time`, and some patience.
    pub(super) fn expect(&self, stage: Stage, time: Duration) {
        let due = moment_after(time.saturating_add(self.patience));
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) = (due, stage);
    }

    /// Waits for the end of the work, or until it is overdue: then in this stage.
    fn watch(&self, bell: &Bell) -> Option<Stage> {
        loop {
            let (due, stage) = *self.due.lock().unwrap_or_else(PoisonError::into_inner);
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Some(stage);
            }
            if bell.wait(left.min(LOOK)) {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keeps what it is told.
    #[derive(Default)]
    struct Told(Mutex<Vec<(Stage, String)>>);

    impl Observer for Told {
        fn overdue(&self, overdue: &Overdue<'_>) {
            self.0.lock().expect("sound").push((overdue.stage, overdue.to_string()));
        }
    }

    fn told(work: impl FnOnce(&Watchdog)) -> Vec<(Stage, String)> {
        let told = Told::default();
        let patience = Duration::from_millis(200);
        Watchdog::over(("some", 2), patience, &told, work);
        told.0.into_inner().expect("sound")
    }

    #[test]
    fn what_is_heard_of_in_time_is_not_reported() {
        let heard = told(|watchdog| {
            watchdog.expect(Stage::Timed, Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(400));
        });
        assert_eq!(heard, []);
    }

    #[test]
    fn what_is_overdue_is_reported_once_with_its_stage() {
        let heard = told(|watchdog| {
            watchdog.expect(Stage::Stopping, Duration::ZERO);
            std::thread::sleep(Duration::from_millis(800));
        });
        let [(Stage::Stopping, line)] = &heard[..] else { panic!("{heard:?}") };
        assert!(line.starts_with("some, 2 thread(s): it was told to stop 200ms ago"), "{line}");
    }
}
