//! Gates: bounds that every protocol has to keep, relative to the baseline.

use super::summary::Effect;
use crate::bench::{Metric, Scale, measured, metric, nearest_metric};
use crate::workload::visible;
use std::fmt;

/// A bound like `throughput>-5%`.
#[derive(Debug, Clone, PartialEq)]
pub struct Gate {
    /// The metric's name.
    pub metric: &'static str,
    /// Its place among the measured metrics.
    pub(super) index: usize,
    /// Whether the change has to be above the bound, or else below it.
    pub(super) above: bool,
    /// The bound: a ratio, or a difference.
    pub(super) bound: f64,
    /// The gate as it was written.
    pub text: String,
}

/// A gate that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateError(String);

impl fmt::Display for GateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for GateError {}

/// What the data say about a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// The whole interval is within the bound.
    Kept,
    /// The whole interval is beyond it.
    Failed,
    /// The bound lies in the interval, or there is none.
    Inconclusive,
}

impl Ruling {
    /// The ruling in files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Ruling::Kept => "kept",
            Ruling::Failed => "failed",
            Ruling::Inconclusive => "inconclusive",
        }
    }
}

impl Gate {
    /// Reads `METRIC>VALUE%` or `METRIC<VALUE%`.
    ///
    /// # Errors
    ///
    /// A sentence that says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, GateError> {
        let fail = |problem: &str| {
            let shown = visible(text.trim());
            GateError(format!(
                "--gate {shown}: {problem}; write it like 'throughput>-5%' or 'p99<+10%'"
            ))
        };
        if text.trim().is_empty() {
            return Err(fail("it is empty"));
        }
        let at = text.find(['<', '>']).ok_or_else(|| fail("it has neither < nor >"))?;
        let (name, rest) = (text[..at].trim(), text[at + 1..].trim());
        let (index, metric, scale) = find(name).map_err(|problem| fail(&problem))?;
        let number = rest.strip_suffix('%').ok_or_else(|| fail("the bound has no % at its end"))?;
        let percent: f64 = number.trim().parse().map_err(|_| fail("the bound is no number"))?;
        if !percent.is_finite() {
            return Err(fail("the bound is no number"));
        }
        let bound = match scale {
            Scale::Ratio if percent <= -100.0 => {
                return Err(fail("nothing falls by 100 % or more"));
            }
            Scale::Ratio => 1.0 + percent / 100.0,
            Scale::Difference => percent / 100.0,
        };
        let above = text[at..].starts_with('>');
        Ok(Gate { metric: metric.name, index, above, bound, text: text.trim().to_owned() })
    }

    /// Decides by the interval and never by the estimate: without an interval, nothing is decided.
    #[must_use]
    pub fn rule(&self, effect: Option<&Effect>) -> Ruling {
        let Some((low, high)) = effect.and_then(|effect| effect.interval) else {
            return Ruling::Inconclusive;
        };
        let (nearest, farthest) = if self.above { (low, high) } else { (-high, -low) };
        let bound = if self.above { self.bound } else { -self.bound };
        if nearest > bound {
            Ruling::Kept
        } else if farthest <= bound {
            Ruling::Failed
        } else {
            Ruling::Inconclusive
        }
    }
}

fn find(name: &str) -> Result<(usize, &'static Metric, Scale), String> {
    let Some(found) = metric(name) else {
        return Err(unknown_metric(name));
    };
    let measured = measured().enumerate();
    let mut rows = measured.map(|(index, (metric, measure))| (index, metric, measure.scale));
    rows.find(|(_, metric, _)| metric.name == found.name)
        .ok_or_else(|| format!("{name} is not compared by itself, so it has no bounds"))
}

/// The sentence about a metric that nobody knows.
#[must_use]
pub fn unknown_metric(name: &str) -> String {
    let hint = match nearest_metric(name) {
        Some(nearest) => format!("did you mean {nearest}?"),
        None => "`chronolith list metrics` shows the known ones".to_owned(),
    };
    match name {
        "" => "the name of a metric is missing: `chronolith list metrics` shows them".to_owned(),
        _ => format!("there is no metric {name}: {hint}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(interval: Option<(f64, f64)>) -> Effect {
        Effect { scale: Scale::Ratio, estimate: 1.0, interval, detectable: None }
    }

    #[test]
    fn the_interval_decides() {
        let gate = Gate::parse("throughput>-5%").expect("valid");
        let rule = |low, high| gate.rule(Some(&effect(Some((low, high)))));
        assert_eq!(rule(0.96, 1.20), Ruling::Kept);
        assert_eq!(rule(0.94, 1.20), Ruling::Inconclusive);
        assert_eq!(rule(0.80, 0.96), Ruling::Inconclusive);
        assert_eq!(rule(0.80, 0.94), Ruling::Failed);
        assert_eq!(gate.rule(Some(&effect(None))), Ruling::Inconclusive);
        assert_eq!(gate.rule(None), Ruling::Inconclusive);

        let gate = Gate::parse(" p99 < +10 % ").expect("valid");
        assert_eq!((gate.metric, gate.bound), ("p99", 1.1));
        let rule = |low, high| gate.rule(Some(&effect(Some((low, high)))));
        assert_eq!(rule(0.90, 1.09), Ruling::Kept);
        assert_eq!(rule(1.05, 1.15), Ruling::Inconclusive);
        assert_eq!(rule(1.11, 1.15), Ruling::Failed);

        // A metric answers to all its names.
        assert_eq!(Gate::parse("goodput>-5%").expect("valid").metric, "throughput");

        let gate = Gate::parse("abort-rate<10%").expect("valid");
        assert_eq!(gate.bound, 0.1);
        // Nothing is below itself: a bound that is met exactly is not kept.
        let gate = Gate::parse("abort-rate<0%").expect("valid");
        assert_eq!(gate.rule(Some(&effect(Some((0.0, 0.0))))), Ruling::Failed);
    }

    #[test]
    fn a_bad_gate_is_one_clear_line() {
        for (text, part) in [
            ("", "--gate '': it is empty; write it like"),
            ("throughput", "neither < nor >"),
            ("throughput=5%", "neither < nor >"),
            ("thruput>-5%", "did you mean throughput?"),
            ("zzz>-5%", "list metrics"),
            (">5%", "the name of a metric is missing"),
            ("drain<5%", "has no bounds"),
            ("throughput>", "no % at its end"),
            ("throughput>-5", "no % at its end"),
            ("throughput>five%", "no number"),
            ("throughput>=5%", "no number"),
            ("throughput>NaN%", "no number"),
            ("throughput>-100%", "100 % or more"),
            ("p-value<5%", "has no bounds"),
            ("isolation<5%", "has no bounds"),
        ] {
            let error = Gate::parse(text).expect_err(text).to_string();
            assert!(error.contains(part), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}
