//! What several workloads need: shares of the kinds of transaction, a hot spot, a parallel loader,
//! a reader of whole tables, and counters that workers keep for the audits.

mod ledger;
mod load;
mod read_all;
#[cfg(all(test, not(loom)))]
pub(crate) mod testing;

pub use ledger::{Ledger, Page};
pub use load::{for_each_batch, load_rows};
pub use read_all::read_all;

use crate::workload::generator::{Distribution, HotSet, KeySpace, Keys, Shape, Shares};
use crate::workload::properties::honoured;
use crate::workload::{Preset, Properties, PropertyError, PropertyRow, TallyRole, TallyRow};

/// Proportions are weights; above this their sum would lose precision.
pub(super) const PROPORTION_MAX: f64 = 1e9;

/// Reads the weights of alternatives, each a property with its default.
pub(super) fn read_shares(
    properties: &Properties,
    weights: &[(&'static str, f64)],
) -> Result<Shares, PropertyError> {
    let read =
        |weight: &(&'static str, f64)| properties.real(weight.0, weight.1, 0.0, PROPORTION_MAX);
    let read = weights.iter().map(read).collect::<Result<Vec<f64>, _>>()?;
    Shares::new(&read).ok_or_else(|| {
        let names: Vec<&str> = weights.iter().map(|(name, _)| *name).collect();
        PropertyError::new(format!("the proportions sum to 0: raise one of {}", names.join(", ")))
    })
}

/// Reads which of `count` records are asked for: a few hot ones and the rest, each part uniform.
pub(super) fn read_hot_spot(
    properties: &Properties,
    count: u64,
    hot: u64,
    share: f64,
) -> Result<Shape, PropertyError> {
    let hot = properties.whole("hotspotrecords", hot.min(count), 0, count)?;
    let operation_fraction = properties.real("hotspotopnfraction", share, 0.0, 1.0)?;
    let distribution =
        Distribution::Hotspot { size: HotSet::Records(hot), operation_fraction, draws_per_move: 0 };
    Ok(Shape::new(distribution, KeySpace { first: 0, count, records: count }))
}

/// Two different records.
#[inline]
pub(super) fn draw_two(keys: &mut Keys, count: u64) -> (u64, u64) {
    let first = keys.draw(count);
    // A hot part of one record that takes every draw would never let a second one come.
    for _ in 0..64 {
        let second = keys.draw(count);
        if second != first {
            return (first, second);
        }
    }
    (first, (first + 1) % count)
}

/// The hot spot in words.
pub(super) fn describe_hot_spot(shape: &Shape, things: &str) -> String {
    let count = shape.space.count;
    match shape.distribution {
        Distribution::Hotspot { size: HotSet::Records(hot), operation_fraction, .. }
            if hot > 0 && hot < count =>
        {
            let percent = operation_fraction * 100.0;
            format!("{percent} % to {hot} of {count} {things}, the rest to the others")
        }
        _ => format!("uniform over {count} {things}"),
    }
}

/// The mix in words: each kind that has a share.
pub(super) fn describe_shares(kinds: &[&str], shares: &Shares) -> String {
    let told = kinds.iter().enumerate().filter(|(index, _)| shares.share(*index) > 0.0);
    let told = told.map(|(index, kind)| {
        format!("{} {} %", kind.to_lowercase(), (shares.share(index) * 10_000.0).round() / 100.0)
    });
    told.collect::<Vec<_>>().join(", ")
}

/// A row of a tally.
pub(super) const fn tally(name: &'static str, role: TallyRole) -> TallyRow {
    TallyRow { name, role }
}

/// The row by which a property file chooses a workload.
pub(super) const CHOICE: PropertyRow = honoured("workload", "", "which workload it is");

/// A preset that is a shipped property file.
pub(super) const fn preset(
    name: &'static str,
    text: &'static str,
    summary: &'static str,
) -> Preset {
    Preset { name, summary, text, adds: &[], removes: &[] }
}
