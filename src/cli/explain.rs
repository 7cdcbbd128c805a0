//! `chronolith explain`.

use super::{FAILED, Failure, print};
use crate::bench::{METRICS, Metric, Scale, Source, metric};
use crate::report::comparison::unknown_metric;

/// The width of a definition; longer lines are hard to read.
const WIDTH: usize = 88;

/// Defines one number.
pub(super) fn explain(name: &str) -> Result<(), Failure> {
    let Some(row) = metric(name) else {
        return Err(Failure { code: FAILED, line: Some(unknown_metric(name)) });
    };
    print(&mut |out| {
        writeln!(out, "{}: {}", row.name, row.summary)?;
        writeln!(out)?;
        wrap(row.definition).iter().try_for_each(|text| writeln!(out, "{text}"))?;
        writeln!(out)?;
        writeln!(out, "unit      {}", row.unit.name())?;
        if !row.column.is_empty() {
            writeln!(out, "column    {}", row.column)?;
        }
        for text in wrap(&describe_comparison(row)) {
            writeln!(out, "compared  {text}")?;
        }
        let others = wrap(&others(row).join(", "));
        others.iter().try_for_each(|text| writeln!(out, "see also  {text}"))
    })
}

fn describe_comparison(row: &Metric) -> String {
    let Some(measure) = row.measure() else {
        return match row.source {
            Source::Beside(_) => "not: it is there with --long-reader only",
            Source::Fact => "not: it says what was asked, or counts something",
            _ => "not: it is about all repetitions, or about the protocol",
        }
        .to_owned();
    };
    let (better, relation, bound, side) = match measure.more_is_better {
        true => ("more", '>', "-10", "above"),
        false => ("less", '<', "+10", "below"),
    };
    let limit = match (measure.scale, measure.more_is_better) {
        (Scale::Ratio, true) => "0.9",
        (Scale::Ratio, false) => "1.1",
        (Scale::Difference, true) => "-0.1",
        (Scale::Difference, false) => "0.1",
    };
    let (scale, name) = (measure.scale.name(), row.name);
    format!(
        "by {scale}, {better} is better; --gate '{name}{relation}{bound}%' demands a {scale} \
         {side} {limit}"
    )
}

/// The other numbers.
fn others(row: &Metric) -> Vec<&'static str> {
    METRICS.iter().map(|other| other.name).filter(|other| *other != row.name).collect()
}

/// The text in lines that are not too long.
fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let line = &mut lines[last];
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= WIDTH {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_wrapped_and_lose_nothing() {
        for metric in METRICS {
            let lines = wrap(metric.definition);
            assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:?}");
            assert_eq!(
                lines.join(" "),
                metric.definition.split_whitespace().collect::<Vec<_>>().join(" ")
            );
        }
    }
}
