//! What the store does about contention: the flags, and who heeds them.

use super::Failure;
use crate::Backoff;
use crate::bench::{Plan, RunError, protocol_facts};
use crate::limits::BACKOFF_FIXED_NS;
use crate::protocol::{Contention, NAMES, WriteOrder};
use crate::workload::PropertyError;
use clap::{Args, ValueEnum};

/// Shared by the commands that measure the store.
#[derive(Debug, Clone, Args)]
pub(super) struct ContentionArguments {
    /// How long a transaction waits after an abort: a random part of a ceiling
    #[arg(long, value_name = "POLICY", default_value = "exponential")]
    backoff: Policy,
    /// Whether writes are checked before the first of them is installed (a few protocols only)
    #[arg(long, value_name = "WHETHER", default_value = "on")]
    pre_check: Switch,
    /// The order in which a commit installs its writes (a few protocols only)
    #[arg(long, value_name = "ORDER", default_value = "record")]
    write_order: Order,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Policy {
    /// No wait
    None,
    /// The ceiling is always the same
    Fixed,
    /// The ceiling doubles with each abort of a worker and halves with each commit
    Exponential,
    /// The ceiling moves where more transactions commit
    Adaptive,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Switch {
    /// Yes
    On,
    /// No
    Off,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Order {
    /// By record, the same for all transactions
    Record,
    /// The most contended first
    Contention,
}

impl ContentionArguments {
    pub(super) fn backoff(&self) -> Backoff {
        match self.backoff {
            Policy::None => Backoff::None,
            Policy::Fixed => Backoff::Fixed { ceiling_ns: BACKOFF_FIXED_NS },
            Policy::Exponential => Backoff::default(),
            Policy::Adaptive => Backoff::Adaptive,
        }
    }

    pub(super) fn contention(&self) -> Contention {
        Contention {
            pre_check: matches!(self.pre_check, Switch::On),
            write_order: match self.write_order {
                Order::Record => WriteOrder::Record,
                Order::Contention => WriteOrder::Contention,
            },
        }
    }

    /// Refuses settings that none of these protocols heeds. Where some do, says which do not.
    pub(super) fn check(&self, protocols: &[String]) -> Result<Option<String>, Failure> {
        let contention = self.contention();
        if contention == Contention::default() {
            return Ok(None);
        }
        let mut ignoring = Vec::new();
        for name in protocols {
            if !heeds(name).ok_or_else(|| RunError::Protocol(name.clone()))? {
                ignoring.push(name.as_str());
            }
        }
        let flags = words(contention).map(|(flag, value)| format!("{flag} {value}"));
        let flags = flags.collect::<Vec<_>>().join(" ");
        if ignoring.len() < protocols.len() {
            let names = ignoring.join(", ");
            return Ok((!names.is_empty()).then(|| format!("{flags} has no effect on {names}")));
        }
        let heeding: Vec<&str> =
            NAMES.iter().copied().filter(|name| heeds(name) == Some(true)).collect();
        let (ignoring, heeding) = (ignoring.join(", "), heeding.join(", "));
        let sentence =
            format!("{flags}: has no effect on protocol {ignoring}; it has one on {heeding}");
        Err(PropertyError::new(sentence).into())
    }
}

/// Whether a protocol heeds the settings; `None` if there is none of that name.
fn heeds(name: &str) -> Option<bool> {
    protocol_facts(name).map(|facts| facts.heeds_contention)
}

/// The flags of what is not as it is by default.
fn words(contention: Contention) -> impl Iterator<Item = (&'static str, &'static str)> {
    let Contention { pre_check, write_order } = contention;
    let pre_check = (!pre_check).then_some(("--pre-check", "off"));
    let order = (write_order != WriteOrder::Record).then(|| ("--write-order", write_order.name()));
    pre_check.into_iter().chain(order)
}

/// The flags by which a replay does the same about contention.
pub(super) fn replay_flags(plan: &Plan) -> impl Iterator<Item = (&'static str, &'static str)> {
    let backoff = (plan.backoff != Backoff::default()).then(|| ("--backoff", plan.backoff.name()));
    backoff.into_iter().chain(words(plan.contention))
}
