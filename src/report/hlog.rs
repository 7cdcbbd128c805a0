//! The interval log: one histogram for each second and kind, as HdrHistogram's tools read it.

use crate::bench::{Plan, Step};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

/// As in the Java implementation, the maximum is in milliseconds while the values are nanoseconds.
const MAX_DIVISOR: f64 = 1e6;

/// One repetition, as far as the log is about it.
#[derive(Debug)]
pub(super) struct Logged<'a> {
    /// What the tags of its lines begin with.
    pub(super) tag: String,
    /// Names of the kinds of transaction.
    pub(super) kinds: &'static [&'static str],
    /// When the measurement began.
    pub(super) started: SystemTime,
    /// How long it lasted.
    pub(super) elapsed: Duration,
    /// The timeline.
    pub(super) steps: &'a [Step],
}

/// Writes the log of repetitions that follow each other. Tags are `TAG.KIND`, where the protocol is
/// a part of TAG.
pub(super) fn write(
    out: &mut dyn Write,
    plan: &Plan,
    repetitions: &[Logged<'_>],
) -> io::Result<()> {
    let start = repetitions.first().map_or(SystemTime::UNIX_EPOCH, |first| first.started);
    let seconds = since_epoch(start).as_secs_f64();
    let date = humantime::format_rfc3339_millis(start);
    writeln!(out, "#[Histogram log format version 1.3]")?;
    writeln!(out, "#[StartTime: {seconds:.3} (seconds since epoch), {date}]")?;
    writeln!(out, "#[BaseTime: {seconds:.3} (seconds since epoch)]")?;
    writeln!(
        out,
        "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
    )?;
    let mut lines = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    // The header is above; the writer is asked for the lines only.
    let mut log = IntervalLogWriterBuilder::new()
        .with_max_value_divisor(MAX_DIVISOR)
        .begin_log_with(&mut lines, &mut serializer)
        .map_err(io::Error::other)?;
    for repetition in repetitions {
        let offset = since_epoch(repetition.started).saturating_sub(since_epoch(start));
        for step in repetition.steps {
            let begin = plan.interval.saturating_mul(step.number as u32);
            let length = plan.interval.min(repetition.elapsed.saturating_sub(begin));
            for (kind, compressed) in &step.histograms {
                let histogram: Histogram<u64> = Deserializer::new()
                    .deserialize(&mut compressed.as_slice())
                    .map_err(io::Error::other)?;
                let tag = format!("{}.{}", repetition.tag, repetition.kinds[*kind]);
                let tag = Tag::new(&tag).expect("names have neither commas nor spaces");
                log.write_histogram(&histogram, offset + begin, length, Some(tag))
                    .map_err(|error| io::Error::other(error.to_string()))?;
            }
        }
    }
    out.write_all(&lines)
}

fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
