//! The flags.

use super::contention::ContentionArguments;
use crate::bench::LongReader;
use crate::protocol::NAMES;
use crate::report::Output;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// A lock-free, in-memory, multi-version transactional store: the command that measures it.
#[derive(Debug, Parser)]
#[command(
    name = "chronolith",
    version,
    about,
    after_help = "Exit codes: 0 done, 1 bad input or a file that cannot be written, 3 the store \
                  broke a promise, 4 a gate failed, 130 interrupted (what was measured is \
                  reported)."
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Load a fresh store, run a workload against it, report throughput and latency
    Run(Box<RunArguments>),
    /// Run the same requests under several protocols, in turns, and say which differ
    Compare(Box<CompareArguments>),
    /// Measure something other than the store
    #[command(subcommand)]
    Probe(Probe),
    /// Show what there is to choose from
    List {
        /// What to list
        what: Listing,
    },
    /// Define a number of the reports
    Explain {
        /// Its name (see `list metrics`)
        metric: String,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Probe {
    /// What the harness costs: the same requests and the same loop over an engine that does nothing
    Harness(Box<ProbeArguments>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Listing {
    /// Concurrency-control protocols, for --protocol
    Protocols,
    /// Workloads that need no file, for -w
    Workloads,
    /// Numbers of the reports, for explain and --gate
    Metrics,
    /// Properties of workload files, for -p
    Properties,
}

/// What to run: shared by every command that runs requests.
#[derive(Debug, Clone, Args)]
pub(super) struct WorkloadArguments {
    /// A workload that needs no file (see `list workloads`); ycsb-a unless there is a -P
    #[arg(short, long, value_name = "NAME")]
    pub(super) workload: Option<String>,
    /// A YCSB property file; several are read in order
    #[arg(short = 'P', long = "property-file", value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// One property; wins over all files
    #[arg(short = 'p', long = "property", value_name = "NAME=VALUE")]
    pub(super) properties: Vec<String>,
    /// How long to measure, like 10s or 2m; 5s (compare: 1s) unless something else ends the run
    #[arg(short, long, value_name = "TIME", value_parser = parse_duration)]
    #[arg(allow_hyphen_values = true)]
    pub(super) duration: Option<Duration>,
    /// The seed of everything random, decimal or 0x...; random unless set, and printed
    #[arg(long, value_name = "SEED", value_parser = parse_seed, allow_negative_numbers = true)]
    pub(super) seed: Option<u64>,
}

/// With what to run it: shared by the commands that measure one protocol.
#[derive(Debug, Clone, Args)]
pub(super) struct EngineArguments {
    /// The concurrency-control protocol (see `list protocols`)
    #[arg(long, value_name = "NAME", default_value = NAMES[0])]
    pub(super) protocol: String,
    /// Worker threads, a number or a multiple of the processors like 2x; 1x unless set
    #[arg(short, long, value_name = "N", value_parser = parse_threads)]
    #[arg(allow_negative_numbers = true)]
    pub(super) threads: Option<ThreadCount>,
}

/// How to measure it: shared by the commands that measure the store.
#[derive(Debug, Clone, Args)]
pub(super) struct MeasureArguments {
    /// Transactions to run, all threads together
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true)]
    pub(super) transactions: Option<u64>,
    /// How long to run before measuring; up to 1s unless transactions are counted
    #[arg(long, value_name = "TIME", value_parser = parse_duration, allow_hyphen_values = true)]
    pub(super) warmup: Option<Duration>,
    /// Shards of the store; one for each processor unless set
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(super) shards: Option<usize>,
    #[command(flatten)]
    pub(super) contention: ContentionArguments,
    /// The isolation level: a protocol that has another one is refused, and no part of `all`
    #[arg(long, value_name = "LEVEL")]
    pub(super) isolation: Option<String>,
    /// Snapshots held open beside the workload, like n=1,hold=5s; every repetition is run without
    /// them first, to compare with
    #[arg(long, value_name = "READERS", value_parser = LongReader::parse)]
    pub(super) long_reader: Option<LongReader>,
    /// Bind threads to processors: none, compact, or a list like 0,2-3
    #[arg(long, value_name = "WHERE", default_value = "none")]
    pub(super) pin: String,
    /// No progress on stderr
    #[arg(short, long)]
    pub(super) quiet: bool,
}

/// What to write: shared by the commands that measure the store.
#[derive(Debug, Clone, Args)]
pub(super) struct FileArguments {
    /// Write everything as JSON (schema chronolith.run/v1; compare: chronolith.compare/v1)
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write a row for each repetition and kind of transaction (compare: for each protocol and
    /// repetition, and one for all its repetitions)
    #[arg(long, value_name = "FILE")]
    pub(super) csv: Option<PathBuf>,
    /// Write the latency distribution as text, for HdrHistogram's plotter (compare: a file for each
    /// protocol, out.PROTOCOL.hgrm for out.hgrm, and with several -t out.PROTOCOL.t4.hgrm)
    #[arg(long, value_name = "FILE")]
    pub(super) hgrm: Option<PathBuf>,
    /// Write a histogram for each second and kind, for HdrHistogram's log tools (one file for all
    /// protocols: its tags are PROTOCOL.KIND, and with several -t PROTOCOL.t4.KIND)
    #[arg(long, value_name = "FILE")]
    pub(super) hlog: Option<PathBuf>,
}

impl FileArguments {
    /// The files that were asked for.
    pub(super) fn outputs(&self) -> Vec<(Output, PathBuf)> {
        let FileArguments { json, csv, hgrm, hlog } = self;
        let files =
            [(Output::Json, json), (Output::Csv, csv), (Output::Hgrm, hgrm), (Output::Hlog, hlog)];
        files.into_iter().filter_map(|(output, path)| Some((output, path.clone()?))).collect()
    }
}

#[derive(Debug, Clone, Args)]
pub(super) struct ProbeArguments {
    #[command(flatten)]
    pub(super) workload: WorkloadArguments,
    #[command(flatten)]
    pub(super) engine: EngineArguments,
}

#[derive(Debug, Clone, Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    pub(super) workload: WorkloadArguments,
    #[command(flatten)]
    pub(super) engine: EngineArguments,
    #[command(flatten)]
    pub(super) measure: MeasureArguments,
    /// Repetitions, each with a fresh store and the same requests
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    pub(super) reps: u32,
    #[command(flatten)]
    pub(super) files: FileArguments,
}

/// `--gate` takes the metric, a comparison and a percentage; see the help below.
const GATE_HELP: &str = "\
Gates: --gate 'throughput>-5%' demands that every protocol is less than 5 % slower than the \
baseline, --gate 'p99<+10%' that its 99th percentile is less than 10 % above the baseline's. A \
share (abort-rate, wasted-work) and a count (retries) are compared by difference: +10% is 0.1. A \
gate fails only if the whole 95 % interval lies beyond the bound; if the bound lies in the \
interval the gate is called inconclusive and passes. Exit code 4 says that a gate failed.

Without -d, -n or recordcount each cell loads 100,000 records and is measured for 1s after 250ms.";

#[derive(Debug, Clone, Args)]
#[command(after_help = GATE_HELP)]
pub(super) struct CompareArguments {
    #[command(flatten)]
    pub(super) workload: WorkloadArguments,
    /// The protocols, with commas between them (see `list protocols`), or all
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "all")]
    pub(super) protocols: Vec<String>,
    /// The protocol that the others are compared with; the default one, or else the first, if unset
    #[arg(long, value_name = "NAME")]
    pub(super) baseline: Option<String>,
    /// Worker threads, numbers or multiples of the processors like 1x,2x,8x: a table for each
    #[arg(short, long, value_name = "N", value_parser = parse_threads, value_delimiter = ',')]
    #[arg(allow_negative_numbers = true)]
    pub(super) threads: Vec<ThreadCount>,
    #[command(flatten)]
    pub(super) measure: MeasureArguments,
    /// Repetitions, each with requests of its own, the same for all protocols
    #[arg(long, value_name = "N", default_value_t = 8, allow_negative_numbers = true)]
    pub(super) reps: u32,
    /// A bound that every protocol has to keep, like 'throughput>-5%'; several are allowed
    #[arg(long = "gate", value_name = "GATE", value_delimiter = ',')]
    pub(super) gates: Vec<String>,
    #[command(flatten)]
    pub(super) files: FileArguments,
    /// Write the tables as Markdown
    #[arg(long, value_name = "FILE")]
    pub(super) markdown: Option<PathBuf>,
}

/// A number of threads: as such, or for each processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ThreadCount {
    Exactly(usize),
    PerProcessor(usize),
}

impl ThreadCount {
    pub(super) fn resolve(self) -> usize {
        match self {
            ThreadCount::Exactly(threads) => threads,
            ThreadCount::PerProcessor(factor) => {
                std::thread::available_parallelism().map_or(1, usize::from).saturating_mul(factor)
            }
        }
    }
}

fn parse_threads(text: &str) -> Result<ThreadCount, String> {
    let (digits, of): (_, fn(usize) -> ThreadCount) = match text.strip_suffix('x') {
        Some(factor) => (factor, ThreadCount::PerProcessor),
        None => (text, ThreadCount::Exactly),
    };
    let number = digits.parse().map_err(|error| {
        format!("{error}; write a number, or a multiple of the processors like 2x")
    })?;
    Ok(of(number))
}

/// A duration with units, or a plain number of seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let advice = "write it like 10s or 1m 30s";
    if text.starts_with('-') {
        return Err(format!("a time is not negative; {advice}"));
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}; {advice}"))
}

fn parse_seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.map_err(|error| format!("{error}; a seed is a number of 64 bits, decimal or 0x..."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn thread_counts_are_read() {
        assert_eq!(parse_threads("12"), Ok(ThreadCount::Exactly(12)));
        assert_eq!(parse_threads("8x"), Ok(ThreadCount::PerProcessor(8)));
        let one = ThreadCount::PerProcessor(1).resolve();
        assert_eq!(ThreadCount::PerProcessor(8).resolve(), 8 * one);
        for bad in ["", "x", "-1", "1.5x", "2X", "99999999999999999999"] {
            assert!(parse_threads(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_and_seeds_are_read() {
        assert_eq!(parse_duration("10"), Ok(Duration::from_secs(10)));
        assert_eq!(parse_duration("1m 30s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["", "x", "-1", "10 parsecs", "99999999999999999999y"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_seed("0xff"), Ok(255));
        assert_eq!(parse_seed("7"), Ok(7));
        assert!(parse_seed("0xg").is_err());
        assert!(parse_seed("99999999999999999999").is_err());
    }
}
