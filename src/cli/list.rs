//! `chronolith list`.

use super::arguments::Listing;
use super::{Failure, print};
use crate::bench::{CLIENT_ROWS, METRICS, Metric, protocol_facts};
use crate::protocol;
use crate::workload::{PropertyRow, Rule, presets, property_rows};

/// Shows what there is to choose from.
pub(super) fn list(what: Listing) -> Result<(), Failure> {
    let rows = match what {
        Listing::Protocols => protocols(),
        Listing::Workloads => {
            let rows = presets().map(|preset| [preset.name, preset.summary].map(str::to_owned));
            rows.map(Vec::from).collect()
        }
        Listing::Metrics => METRICS.iter().map(metric).collect(),
        Listing::Properties => {
            let every = CLIENT_ROWS.iter().map(|row| ("any", row));
            property_rows().chain(every).map(property).collect()
        }
    };
    print(&mut |out| {
        let widths = widths(&rows);
        for row in &rows {
            let last = row.len() - 1;
            for (cell, width) in row[..last].iter().zip(&widths) {
                write!(out, "{cell:width$}  ")?;
            }
            writeln!(out, "{}", row[last])?;
        }
        Ok(())
    })
}

fn protocols() -> Vec<Vec<String>> {
    let facts = protocol::NAMES.iter().filter_map(|name| protocol_facts(name));
    let rows = facts.map(|facts| {
        vec![facts.name.to_owned(), facts.level(), facts.progress, facts.summary.to_owned()]
    });
    rows.collect()
}

fn metric(row: &Metric) -> Vec<String> {
    [row.name, row.column, row.summary].map(str::to_owned).into()
}

fn property((workload, row): (&str, &PropertyRow)) -> Vec<String> {
    let meaning = match row.rule {
        Rule::Honoured => row.meaning.to_owned(),
        Rule::Accepts(_, advice) => format!("{} (other values are refused: {advice})", row.meaning),
        Rule::Refused(advice) => format!("{} (refused: {advice})", row.meaning),
    };
    vec![row.name.to_owned(), row.default.to_owned(), workload.to_owned(), meaning]
}

fn widths(rows: &[Vec<String>]) -> Vec<usize> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    (0..columns).map(|column| width(column).unwrap_or(0).min(40)).collect()
}
