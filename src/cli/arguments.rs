//! The flags.

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
                  broke a promise, 130 interrupted (what was measured is reported)."
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Load a fresh store, run a workload against it, report throughput and latency
    Run(Box<RunArguments>),
    /// Measure something other than the store
    #[command(subcommand)]
    Probe(Probe),
    /// Show what there is to choose from
    List {
        /// What to list
        what: Listing,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Probe {
    /// What the harness costs: the same requests and the same loop over an engine that does nothing
    Harness(Box<WorkloadArguments>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Listing {
    /// Concurrency-control protocols, for --protocol
    Protocols,
    /// Workloads that need no file, for -w
    Workloads,
    /// Properties of workload files, for -p
    Properties,
}

/// What to run, and how fast: shared by every command that runs requests.
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
    /// The concurrency-control protocol (see `list protocols`)
    #[arg(long, value_name = "NAME", default_value = "mvocc")]
    pub(super) protocol: String,
    /// Worker threads; all processors unless set
    #[arg(short, long, value_name = "N", allow_negative_numbers = true)]
    pub(super) threads: Option<usize>,
    /// How long to measure, like 10s or 2m; 5s unless something else ends the run
    #[arg(short, long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) duration: Option<Duration>,
    /// The seed of everything random, decimal or 0x...; random unless set, and printed
    #[arg(long, value_name = "SEED", value_parser = parse_seed)]
    pub(super) seed: Option<u64>,
}

#[derive(Debug, Clone, Args)]
pub(super) struct RunArguments {
    #[command(flatten)]
    pub(super) workload: WorkloadArguments,
    /// Transactions to run, all threads together
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true)]
    pub(super) transactions: Option<u64>,
    /// How long to run before measuring; up to 1s unless transactions are counted
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) warmup: Option<Duration>,
    /// Shards of the store; one for each processor unless set
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(super) shards: Option<usize>,
    /// The isolation level; the protocol's own unless set
    #[arg(long, value_name = "LEVEL")]
    pub(super) isolation: Option<String>,
    /// Bind threads to processors: none, compact, or a list like 0,2-3
    #[arg(long, value_name = "WHERE", default_value = "none")]
    pub(super) pin: String,
    /// Repetitions, each with a fresh store and the same requests
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    pub(super) reps: u32,
    /// Write everything as JSON (schema chronolith.run/v1)
    #[arg(long, value_name = "FILE")]
    pub(super) json: Option<PathBuf>,
    /// Write one row for each repetition and kind of transaction
    #[arg(long, value_name = "FILE")]
    pub(super) csv: Option<PathBuf>,
    /// Write the latency distribution as text, for HdrHistogram's plotter
    #[arg(long, value_name = "FILE")]
    pub(super) hgrm: Option<PathBuf>,
    /// Write a histogram for each second and kind, for HdrHistogram's log tools
    #[arg(long, value_name = "FILE")]
    pub(super) hlog: Option<PathBuf>,
    /// No progress on stderr
    #[arg(short, long)]
    pub(super) quiet: bool,
}

/// A duration with units, or a plain number of seconds.
fn parse_duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 10s or 1m 30s"))
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
