//! Audits: a workload holds the store to its promises, after a repetition and while it runs.

use super::deployment::Deployment;
use crate::TransactionError;
use crate::workload::{Finding, Moment};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Broken findings of one repetition whose evidence is kept.
const BROKEN_KEPT_MAX: usize = 8;

/// How the audits of one moment ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditCounts {
    /// Every finding held.
    pub held: u64,
    /// Some finding did not.
    pub broken: u64,
    /// The audit's own transaction was retried as often as the policy allows and never committed.
    pub gave_up: u64,
    /// How long they took, all together.
    pub elapsed: Duration,
    /// From the first one's begin to the last one's end.
    pub span: Duration,
}

impl AuditCounts {
    /// How many audits there were.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.held + self.broken + self.gave_up
    }
}

/// What the audits of one repetition found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audits {
    /// Those while the workers ran.
    pub during: AuditCounts,
    /// The one after it.
    pub after: AuditCounts,
    /// The findings of the last audit.
    pub findings: Vec<Finding>,
    /// The first findings that did not hold, whenever they were made.
    pub broken: Vec<(Moment, Finding)>,
}

impl Audits {
    /// How many audits found a broken promise.
    #[must_use]
    pub fn broken_count(&self) -> u64 {
        self.during.broken + self.after.broken
    }

    /// Adds the audits of another run of the same requests, whose findings are not the last ones.
    pub(super) fn include(&mut self, other: Audits) {
        for (own, other) in [(&mut self.during, other.during), (&mut self.after, other.after)] {
            own.held += other.held;
            own.broken += other.broken;
            own.gave_up += other.gave_up;
            own.elapsed += other.elapsed;
            own.span += other.span;
        }
        self.broken.splice(..0, other.broken);
        self.broken.truncate(BROKEN_KEPT_MAX);
    }

    /// Takes note of one audit. Only an error that no retry can help is passed on.
    fn note(
        &mut self,
        moment: Moment,
        started: Instant,
        outcome: Result<Vec<Finding>, TransactionError>,
    ) -> Result<(), TransactionError> {
        let counts = match moment {
            Moment::During => &mut self.during,
            Moment::After => &mut self.after,
        };
        counts.elapsed += started.elapsed();
        let findings = match outcome {
            Ok(findings) => findings,
            Err(TransactionError::Abort(_)) => {
                counts.gave_up += 1;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if findings.is_empty() {
            return Ok(());
        }
        match findings.iter().all(|finding| finding.holds) {
            true => counts.held += 1,
            false => counts.broken += 1,
        }
        let room = BROKEN_KEPT_MAX - self.broken.len();
        let broken = findings.iter().filter(|finding| !finding.holds).take(room);
        self.broken.extend(broken.map(|finding| (moment, finding.clone())));
        self.findings = findings;
        Ok(())
    }
}

/// Audits one repetition.
pub(super) struct Auditor<'a> {
    pub(super) deployment: &'a dyn Deployment,
    /// The pause between two audits while the workers run; `None` for no such audits.
    pub(super) interval: Option<Duration>,
}

impl Auditor<'_> {
    /// Does `work`, and meanwhile audits again and again on a thread of its own. The first audit is
    /// made at once, so that a short run has one too.
    pub(super) fn beside<R>(
        &self,
        audits: &mut Audits,
        work: impl FnOnce() -> R,
    ) -> Result<R, TransactionError> {
        let Some(interval) = self.interval else {
            return Ok(work());
        };
        std::thread::scope(|scope| {
            // Nothing is ever sent: the end of the line is the end of the audits.
            let (line, over) = channel::<()>();
            let auditor = scope.spawn(move || self.repeat(audits, interval, &over));
            let result = work();
            drop(line);
            match auditor.join() {
                Ok(outcome) => outcome.map(|()| result),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    fn repeat(
        &self,
        audits: &mut Audits,
        interval: Duration,
        over: &Receiver<()>,
    ) -> Result<(), TransactionError> {
        let began = Instant::now();
        loop {
            self.audit(audits, Moment::During)?;
            audits.during.span = began.elapsed();
            match over.recv_timeout(interval) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    /// One audit.
    pub(super) fn audit(
        &self,
        audits: &mut Audits,
        moment: Moment,
    ) -> Result<(), TransactionError> {
        let started = Instant::now();
        let outcome = self.deployment.audit(moment);
        audits.note(moment, started, outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Abort, AbortReason, Error};

    fn finding(holds: bool) -> Finding {
        Finding { what: "something holds", holds, evidence: format!("{holds}") }
    }

    #[test]
    fn audits_are_counted_and_broken_ones_are_kept() {
        let mut audits = Audits::default();
        let now = Instant::now();
        let mut note = |moment, outcome| audits.note(moment, now, outcome);
        note(Moment::During, Ok(vec![finding(true), finding(true)])).expect("noted");
        for _ in 0..20 {
            note(Moment::During, Ok(vec![finding(true), finding(false)])).expect("noted");
        }
        note(Moment::After, Err(Abort::new(AbortReason::ReadValidation).into())).expect("noted");
        note(Moment::After, Ok(Vec::new())).expect("noted");
        assert!(note(Moment::After, Err(Error::OutOfMemory.into())).is_err());
        assert_eq!([audits.during.held, audits.during.broken], [1, 20]);
        assert_eq!([audits.after.held, audits.after.broken, audits.after.gave_up], [0, 0, 1]);
        assert_eq!(audits.broken_count(), 20);
        assert_eq!(audits.broken.len(), BROKEN_KEPT_MAX);
        assert!(
            audits
                .broken
                .iter()
                .all(|(moment, found)| { *moment == Moment::During && !found.holds })
        );
    }
}
