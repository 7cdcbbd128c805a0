//! The properties of YCSB's client: how fast, how long, what is measured.

use super::plan::LatencyBasis;
use crate::workload::properties::{refused, row};
use crate::workload::{Properties, PropertyError, PropertyRow, Rule};
use std::time::Duration;

const JSON: &str = "use --json FILE or --csv FILE";
const HLOG: &str = "use --hlog FILE";
const BUCKETS: &str = "latencies are in hdrhistograms; use --hgrm FILE for the whole distribution";
const TIMELINE: &str = "--json FILE has a timeline in steps of a second";
const RAW: &str = "single latencies are not kept; use --hgrm FILE or --hlog FILE";
const ERRORS: &str = "aborts are reported by reason, apart from latencies; leave it out";

/// Every client property that is known by name.
pub const CLIENT_ROWS: &[PropertyRow] = &[
    row("operationcount", "0", "operations to run, unless -d or -n says otherwise", Rule::Honoured),
    row(
        "threadcount",
        "all processors",
        "worker threads, unless -t says otherwise",
        Rule::Honoured,
    ),
    row(
        "target",
        "0",
        "operations a second of all workers together; 0 is no limit",
        Rule::Honoured,
    ),
    row("spin.sleep", "false", "a throttled worker spins instead of sleeping", Rule::Honoured),
    row(
        "maxexecutiontime",
        "0",
        "seconds, unless -d says otherwise; 0 is no limit",
        Rule::Honoured,
    ),
    row(
        "warmuptime",
        "0",
        "seconds, unless --warmup says otherwise (from go-ycsb)",
        Rule::Honoured,
    ),
    row(
        "auditinterval",
        "100",
        "milliseconds between two audits while a workload runs that has such audits; 0 for none \
         (ours)",
        Rule::Honoured,
    ),
    row("label", "", "a text for the report", Rule::Honoured),
    row("status", "false", "a status line on stderr now and then", Rule::Honoured),
    row("status.interval", "10", "seconds between status lines", Rule::Honoured),
    row(
        "measurement.interval",
        "both when throttled",
        "op, intended or both: which latency a throttled run reports",
        Rule::Honoured,
    ),
    row("hdrhistogram.percentiles", "", "percentiles to add to the table", Rule::Honoured),
    row(
        "measurementtype",
        "hdrhistogram",
        "how latencies are kept",
        Rule::Accepts(&["hdrhistogram"], "only hdrhistogram is available; leave it out"),
    ),
    row(
        "dotransactions",
        "true",
        "run, not only load",
        Rule::Accepts(&["true"], "every run loads its own fresh store; leave it out"),
    ),
    row(
        "exporter",
        "site.ycsb.measurements.exporter.TextMeasurementsExporter",
        "the report's format",
        Rule::Accepts(
            &[
                "site.ycsb.measurements.exporter.TextMeasurementsExporter",
                "com.yahoo.ycsb.measurements.exporter.TextMeasurementsExporter",
            ],
            JSON,
        ),
    ),
    refused("exportfile", "the report's file", JSON),
    row(
        "measurement.trackjvm",
        "false",
        "measure the Java machine",
        Rule::Accepts(&["false"], "there is no Java machine to track; leave it out"),
    ),
    row("hdrhistogram.fileoutput", "false", "write histograms", Rule::Accepts(&["false"], HLOG)),
    row("hdrhistogram.output.path", "", "where to write them", Rule::Accepts(&[""], HLOG)),
    row(
        "measurement.histogram.verbose",
        "false",
        "print all buckets",
        Rule::Accepts(&["false"], BUCKETS),
    ),
    refused("histogram.buckets", "buckets of a millisecond", BUCKETS),
    refused("histogram.percentiles.export", "write percentiles (go-ycsb)", "use --hgrm FILE"),
    refused("histogram.percentiles.export.filepath", "where (go-ycsb)", "use --hgrm FILE"),
    refused("timeseries.granularity", "milliseconds of a step", TIMELINE),
    row("measurement.raw.output_file", "", "a file of latencies", Rule::Accepts(&[""], RAW)),
    row("measurement.raw.no_summary", "false", "only that file", Rule::Accepts(&["false"], RAW)),
    row(
        "reportlatencyforeacherror",
        "false",
        "latencies of failed operations",
        Rule::Accepts(&["false"], ERRORS),
    ),
    row("latencytrackederrors", "", "which of them", Rule::Accepts(&[""], ERRORS)),
    row("silence", "true", "print less (go-ycsb)", Rule::Accepts(&["true"], "use status=true")),
    row("verbose", "false", "print more (go-ycsb)", Rule::Accepts(&["false"], "use status=true")),
    refused(
        "debug.pprof",
        "a profiling port (go-ycsb)",
        "run the command under perf; leave it out",
    ),
    refused("measurement.output_file", "a file of measurements (go-ycsb)", JSON),
    row(
        "outputstyle",
        "plain",
        "plain, table or json (go-ycsb)",
        Rule::Accepts(&["plain", "table"], "use --json FILE"),
    ),
];

/// Operations a second that no machine reaches.
const TARGET_MAX: f64 = 1e12;
/// Seconds of a duration, before the plan's own limit speaks.
const SECONDS_MAX: u64 = 1 << 32;

/// Milliseconds between two audits; nobody waits longer for the next one.
const AUDIT_INTERVAL_MAX_MS: u64 = 1 << 32;

/// What the client properties say.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientProperties {
    /// Operations to run; `None` for no limit.
    pub operations: Option<u64>,
    /// Worker threads, if they are set.
    pub threads: Option<u64>,
    /// Operations a second, if they are limited.
    pub target: Option<f64>,
    /// Whether a throttled worker spins.
    pub spin: bool,
    /// How long to run; `None` for no limit.
    pub duration: Option<Duration>,
    /// The warm-up, if it is set.
    pub warmup: Option<Duration>,
    /// The pause between two audits while the workers run; `None` for no such audits.
    pub audit_interval: Option<Duration>,
    /// A text for the report.
    pub label: String,
    /// Seconds between status lines, if they are wanted.
    pub status: Option<Duration>,
    /// Which latency a throttled run reports.
    pub latency: LatencyBasis,
    /// Percentiles to add to the table.
    pub percentiles: Vec<f64>,
}

impl ClientProperties {
    /// Reads the properties.
    pub fn read(properties: &Properties) -> Result<Self, PropertyError> {
        let seconds = |name| properties.whole(name, 0, 0, SECONDS_MAX).map(Duration::from_secs);
        let set = |duration: Duration| Some(duration).filter(|duration| !duration.is_zero());
        let operations = properties.whole("operationcount", 0, 0, i64::MAX as u64)?;
        let target = properties.real("target", 0.0, 0.0, TARGET_MAX)?;
        let threads = match properties.get("threadcount") {
            Some(_) => Some(properties.whole("threadcount", 1, 1, super::THREADS_MAX as u64)?),
            None => None,
        };
        let warmup = match properties.get("warmuptime") {
            Some(_) => Some(seconds("warmuptime")?),
            None => None,
        };
        let every = properties.whole("status.interval", 10, 1, SECONDS_MAX)?;
        let status = properties.flag("status", false)?;
        let latency =
            match properties.word("measurement.interval", "both", &["op", "intended", "both"])? {
                "op" => LatencyBasis::Operation,
                "intended" => LatencyBasis::Intended,
                _ => LatencyBasis::Both,
            };
        let audit_interval = properties.whole("auditinterval", 100, 0, AUDIT_INTERVAL_MAX_MS)?;
        Ok(ClientProperties {
            operations: Some(operations).filter(|operations| *operations > 0),
            threads,
            target: Some(target).filter(|target| *target > 0.0),
            spin: properties.flag("spin.sleep", false)?,
            duration: set(seconds("maxexecutiontime")?),
            warmup,
            audit_interval: set(Duration::from_millis(audit_interval)),
            label: properties.get("label").unwrap_or_default().to_owned(),
            status: status.then_some(Duration::from_secs(every)),
            latency,
            percentiles: read_percentiles(properties)?,
        })
    }
}

fn read_percentiles(properties: &Properties) -> Result<Vec<f64>, PropertyError> {
    let name = "hdrhistogram.percentiles";
    let text = properties.get(name).unwrap_or_default();
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let percentiles = parts.map(|part| {
        let number = part.parse::<f64>().ok().filter(|number| (0.0..=100.0).contains(number));
        number.ok_or_else(|| properties.must_be(name, "numbers from 0 to 100, like 50,95,99"))
    });
    percentiles.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_properties_are_read_or_refused() {
        let read = |text: &str| {
            let mut properties = Properties::new();
            properties.read_bytes(text.as_bytes(), "test").expect("valid");
            ClientProperties::read(&properties)
        };
        let client = read("target=5000\nmaxexecutiontime=3\nstatus=true\n").expect("valid");
        assert_eq!(client.target, Some(5000.0));
        assert_eq!(client.duration, Some(Duration::from_secs(3)));
        assert_eq!(client.status, Some(Duration::from_secs(10)));
        let percentiles = read("hdrhistogram.percentiles=50, 99.9").expect("valid").percentiles;
        assert_eq!(percentiles, [50.0, 99.9]);
        for bad in [
            "target=-1",
            "target=NaN",
            "threadcount=0",
            "measurement.interval=10",
            "hdrhistogram.percentiles=50,x",
            "status.interval=0",
            "maxexecutiontime=1.5",
            "auditinterval=-1",
        ] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
