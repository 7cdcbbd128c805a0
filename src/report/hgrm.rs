//! The percentile distribution as text, as HdrHistogram's plotter reads it.

use hdrhistogram::Histogram;
use std::io::{self, Write};

/// Lines for each halving of the distance to 100 %.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

/// Writes `.hgrm` text. Values are in nanoseconds.
pub(super) fn write(out: &mut dyn Write, histogram: &Histogram<u64>) -> io::Result<()> {
    let digits = usize::from(histogram.sigfig());
    let (value, percentile) = ("Value", "Percentile");
    writeln!(
        out,
        "{value:>12} {percentile:>14} {:>10} {:>14}\n",
        "TotalCount", "1/(1-Percentile)"
    )?;
    let mut total = 0;
    for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        total += step.count_since_last_iteration();
        let value = step.value_iterated_to() as f64;
        // The last line is at the quantile that was reached; those before at the one iterated to.
        let quantile = step.quantile_iterated_to();
        if quantile < 1.0 {
            let distance = 1.0 / (1.0 - quantile);
            writeln!(out, "{value:12.digits$} {quantile:2.12} {total:10} {distance:14.2}")?;
        } else {
            writeln!(out, "{value:12.digits$} {quantile:2.12} {total:10}")?;
        }
    }
    let (mean, deviation) = (histogram.mean(), histogram.stdev());
    writeln!(out, "#[Mean    = {mean:12.digits$}, StdDeviation   = {deviation:12.digits$}]")?;
    let (max, len) = (histogram.max() as f64, histogram.len());
    writeln!(out, "#[Max     = {max:12.digits$}, Total count    = {len:12}]")?;
    let (buckets, distinct) = (histogram.buckets(), histogram.distinct_values());
    // Each bucket but the first covers half as many new values as it has sub-buckets.
    let sub_buckets = distinct / (usize::from(buckets) + 1) * 2;
    writeln!(out, "#[Buckets = {buckets:12}, SubBuckets     = {sub_buckets:12}]")
}

#[cfg(test)]
mod tests {
    use crate::bench::{DIGITS, LATENCY_MAX_NS};
    use hdrhistogram::Histogram;

    #[test]
    fn the_text_has_the_format_of_the_java_implementation() {
        let mut histogram =
            Histogram::<u64>::new_with_bounds(1, LATENCY_MAX_NS, DIGITS).expect("valid bounds");
        (1..=1_000).for_each(|value| histogram.record(value).expect("within bounds"));
        let mut text = Vec::new();
        super::write(&mut text, &histogram).expect("memory");
        let text = String::from_utf8(text).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
        assert_eq!(lines[1], "");
        assert_eq!(lines[2], "       1.000 0.000000000000          1           1.00");
        let last = lines.iter().rfind(|line| !line.starts_with('#')).expect("a line");
        assert_eq!(*last, "    1000.000 1.000000000000       1000");
        let footer = &lines[lines.len() - 3..];
        assert_eq!(footer[0], "#[Mean    =      500.500, StdDeviation   =      288.675]");
        assert_eq!(footer[1], "#[Max     =     1000.000, Total count    =         1000]");
        assert!(footer[2].starts_with("#[Buckets =           32, SubBuckets     =         2048]"));
    }
}
