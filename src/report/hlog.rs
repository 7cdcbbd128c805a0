//! The interval log: one histogram for each second and kind, as HdrHistogram's tools read it.

use super::Report;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

/// As in the Java implementation, the maximum is in milliseconds while the values are nanoseconds.
const MAX_DIVISOR: f64 = 1e6;

/// Writes the log. Tags are `protocol.KIND`.
pub(super) fn write(out: &mut dyn Write, report: &Report<'_>) -> io::Result<()> {
    let repetitions = &report.outcome.repetitions;
    let start = repetitions[0].started;
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
        for step in &repetition.steps {
            let begin = report.plan.interval.saturating_mul(step.number as u32);
            let length = report.plan.interval.min(repetition.elapsed.saturating_sub(begin));
            for (kind, compressed) in &step.histograms {
                let histogram: Histogram<u64> = Deserializer::new()
                    .deserialize(&mut compressed.as_slice())
                    .map_err(io::Error::other)?;
                let tag = format!(
                    "{}.{}",
                    report.outcome.protocol.name, report.outcome.environment.kinds[*kind]
                );
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
