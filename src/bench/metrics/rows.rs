//! The rows.

use super::{Derived, Measure, Measured, Metric, Read, Scale, Source, Unit};
use crate::workload::TallyRole;

const fn number(scale: Scale, more_is_better: bool, read: fn(&Measured<'_>) -> f64) -> Source {
    Source::Measured(Measure { scale, more_is_better, read: Read::Number(read) })
}

const fn percentile(p: f64) -> Source {
    let read = Read::Percentile(p);
    Source::Measured(Measure { scale: Scale::Ratio, more_is_better: false, read })
}

/// A percentile's row; the definition is that of the latency.
macro_rules! percentile_row {
    (
        $name:literal, $p:literal, $heading:literal, $column:literal, $aliases:expr,
        $meaning:literal
    ) => {
        Metric {
            name: $name,
            heading: $heading,
            column: $column,
            aliases: $aliases,
            unit: Unit::Nanoseconds,
            source: percentile($p),
            summary: concat!("first start to commit: ", $meaning),
            definition: concat!(
                "The time from the start of a transaction's first attempt until the commit has \
                 returned: ",
                $meaning,
                ". Failed attempts and the waits after them are in it; drawing the request is \
                 not. Transactions that were rolled back or given up are not in it. Taken from a \
                 histogram of 3 digits for each repetition, never pooled over repetitions. With a \
                 target and measurement.interval=intended it begins at the start that the \
                 schedule intended; without a target a slow transaction delays the next one \
                 unseen (coordinated omission)."
            ),
        }
    };
}

/// The row of a number that is there with long readers only.
macro_rules! beside_row {
    (
        $name:literal, $heading:literal, $column:literal, $unit:expr, $read:expr, $summary:literal,
        $definition:literal
    ) => {
        Metric {
            name: $name,
            heading: $heading,
            column: $column,
            aliases: &[],
            unit: $unit,
            source: Source::Beside($read),
            summary: $summary,
            definition: $definition,
        }
    };
}

/// The row of something that tables and files name and nobody compares.
macro_rules! fact_row {
    (
        $name:literal, $column:literal, $aliases:expr, $unit:expr, $summary:literal,
        $definition:literal
    ) => {
        Metric {
            name: $name,
            heading: "",
            column: $column,
            aliases: $aliases,
            unit: $unit,
            source: Source::Fact,
            summary: $summary,
            definition: $definition,
        }
    };
}

/// Every number.
pub const METRICS: &[Metric] = &[
    Metric {
        name: "throughput",
        heading: "throughput",
        column: "committed_per_s",
        aliases: &["goodput", "per second", "tps"],
        unit: Unit::PerSecond,
        source: number(Scale::Ratio, true, |measured| measured.repetition.throughput()),
        summary: "committed transactions a second, all workers together (goodput)",
        definition: "Transactions that committed within the measurement, divided by its length: \
            from the first worker's first measured moment to the last one's last. Failed attempts \
            do not count, nor do transactions that were rolled back or given up, nor the warm-up.",
    },
    Metric {
        name: "operations",
        heading: "",
        column: "operations_per_s",
        aliases: &["ops"],
        unit: Unit::PerSecond,
        source: number(Scale::Ratio, true, |measured| {
            measured.repetition.per_second(measured.tallied(TallyRole::Operation))
        }),
        summary: "operations of committed transactions a second",
        definition: "Reads, updates, inserts, read-modify-writes and deletes that belong to \
            committed transactions, divided by the length of the measurement. Operations of failed \
            attempts are not in it.",
    },
    Metric {
        name: "abort-rate",
        heading: "abort rate",
        column: "abort_rate",
        aliases: &[],
        unit: Unit::Share,
        source: number(Scale::Difference, false, |measured| measured.counts.abort_rate()),
        summary: "the share of attempts that a conflict ended",
        definition: "Attempts that ended in a conflict, divided by all attempts, the successful \
            ones included. A transaction that the workload itself rolled back has no conflict. \
            The files of `run` have the conflicts by reason.",
    },
    Metric {
        name: "mean",
        heading: "",
        column: "mean_ns",
        aliases: &[],
        unit: Unit::Nanoseconds,
        source: number(Scale::Ratio, false, |measured| measured.latencies.histogram.mean()),
        summary: "first start to commit: the mean",
        definition: "The mean of the latency of which `explain p50` says what is in it.",
    },
    percentile_row!(
        "p50",
        50.0,
        "p50",
        "p50_ns",
        &["median", "latency"],
        "half of the transactions were faster"
    ),
    percentile_row!("p90", 90.0, "", "p90_ns", &[], "90 % of the transactions were faster"),
    percentile_row!("p99", 99.0, "p99", "p99_ns", &[], "99 % of the transactions were faster"),
    percentile_row!(
        "p99.9",
        99.9,
        "p99.9",
        "p99.9_ns",
        &["p999"],
        "99.9 % of the transactions were faster"
    ),
    percentile_row!(
        "p99.99",
        99.99,
        "",
        "p99.99_ns",
        &["p9999"],
        "99.99 % of the transactions were faster"
    ),
    Metric {
        name: "max",
        heading: "",
        column: "max_ns",
        aliases: &[],
        unit: Unit::Nanoseconds,
        source: number(Scale::Ratio, false, |measured| measured.latencies.histogram.max() as f64),
        summary: "first start to commit: the slowest transaction",
        definition: "The maximum of the latency of which `explain p50` says what is in it.",
    },
    Metric {
        name: "retries",
        heading: "retries",
        column: "retries_per_transaction",
        aliases: &[],
        unit: Unit::Each,
        source: number(Scale::Difference, false, |measured| {
            measured.counts.retries_per_transaction()
        }),
        summary: "attempts beyond the first, for each transaction",
        definition: "Attempts beyond the first one of each transaction, divided by the \
            transactions that ended. The same request is retried until it commits.",
    },
    Metric {
        name: "wasted-work",
        heading: "wasted",
        column: "wasted_work_share",
        aliases: &[],
        unit: Unit::Share,
        source: number(Scale::Difference, false, |measured| {
            let wasted = measured.tallied(TallyRole::Wasted) as f64;
            wasted / (wasted + measured.tallied(TallyRole::Operation) as f64).max(1.0)
        }),
        summary: "the share of operations that belong to failed attempts",
        definition: "Operations begun by attempts that failed, divided by those and the operations \
            of committed transactions. An attempt that fails at its third operation has wasted \
            three, one that fails when it commits has wasted all of its own. All attempts of a \
            transaction that was given up are wasted. Waiting is in none of it, whether for a lock \
            or as a back-off: `wasted-time` has the back-off.",
    },
    Metric {
        name: "wasted-time",
        heading: "",
        column: "wasted_time_share",
        aliases: &[],
        unit: Unit::Share,
        source: number(Scale::Difference, false, |measured| measured.counts.wasted_share()),
        summary: "the share of the time in transactions that came before their last attempt",
        definition: "The time from a transaction's first start to the start of the attempt that \
            committed, summed over all transactions and divided by the sum of their times from \
            first start to end. The back-off after a failed attempt is in it, and all the time of \
            a transaction that was given up. Time that an attempt waits for a lock is not, if the \
            attempt then commits. It is time on the wall: a thread that has lost its processor in \
            a failed attempt wastes all the while, so with more threads than processors it says \
            more about the scheduler than about the protocol. The clock is read once more for each \
            retry and never for a first attempt.",
    },
    Metric {
        name: "gave-up",
        heading: "",
        column: "gave_up_share",
        aliases: &[],
        unit: Unit::Share,
        source: number(Scale::Difference, false, |measured| measured.counts.gave_up_share()),
        summary: "the share of transactions that were retried in vain as often as allowed",
        definition: "Transactions that used up the retries of the store's policy, divided by the \
            transactions that ended, whatever way they did.",
    },
    Metric {
        name: "retained",
        heading: "",
        column: "retained_bytes",
        aliases: &["memory"],
        unit: Unit::Bytes,
        source: number(Scale::Ratio, false, |measured| {
            measured.repetition.store.retained_bytes as f64
        }),
        summary: "bytes of versions in the store at the end",
        definition: "Bytes of all versions in chains, and of those that are unlinked and not free \
            yet, when the last worker has ended. Records, indexes and free blocks of the arenas \
            are not in it.",
    },
    Metric {
        name: "ratio",
        heading: "ratio",
        column: "throughput_ratio",
        aliases: &["estimate", "effect"],
        unit: Unit::Ratio,
        source: Source::Derived(Derived::Ratio),
        summary: "throughput as a multiple of the baseline's",
        definition: "In each repetition the throughput is divided by the baseline's in the same \
            repetition, which had the same requests and ran within the same minute or so. The \
            ratio is the geometric mean of these quotients (the mean of their logarithms), so it \
            may differ a little from the quotient of the two medians.",
    },
    Metric {
        name: "interval",
        heading: "95 % interval",
        column: "throughput_ratio_interval",
        aliases: &["throughput_ratio_interval_low", "throughput_ratio_interval_high", "confidence"],
        unit: Unit::Ratio,
        source: Source::Derived(Derived::Interval),
        summary: "where the true ratio lies, with a confidence of 95 %",
        definition: "Student's t interval of the mean of the logarithms of the ratios, one for \
            each repetition, taken back to a ratio. It is for one protocol and not corrected for \
            the number of protocols.",
    },
    Metric {
        name: "p-value",
        heading: "p",
        column: "p_corrected",
        aliases: &["p_uncorrected", "significance"],
        unit: Unit::Probability,
        source: Source::Derived(Derived::Significance),
        summary: "how likely a ratio so far from 1 is by chance, corrected for many protocols",
        definition: "Two-sided. If protocol and baseline were equally fast, each repetition's \
            log-ratio could as well have the other sign; p is the share of all assignments of \
            signs that give a mean at least as far from 0 (exact up to 20 repetitions, 100,000 \
            random assignments beyond). Corrected by Holm's method over all protocols and numbers \
            of threads of the comparison. It cannot be smaller than the number of comparisons \
            times 2 / 2^repetitions. Files have it uncorrected as well (p_uncorrected).",
    },
    Metric {
        name: "detectable",
        heading: "",
        column: "detectable_ratio",
        aliases: &["power"],
        unit: Unit::Ratio,
        source: Source::Derived(Derived::Detectable),
        summary: "the smallest true ratio that would have been found four times out of five",
        definition: "The ratio above 1 that a two-sided t test at 5 % would find with a power of \
            80 %, given how much the log-ratios of the repetitions scatter; a drop to 1 over it \
            is found as easily. Not corrected for the number of protocols.",
    },
    Metric {
        name: "isolation",
        heading: "isolation",
        column: "isolation",
        aliases: &["strict", "level"],
        unit: Unit::Word,
        source: Source::Derived(Derived::Isolation),
        summary: "the isolation level that the protocol promises",
        definition: "What the protocol declares and the tests hold it to. \"Strictly\" means that \
            the serial order respects real time: a transaction that begins after another one has \
            returned sees it. A protocol that promises less may well be faster.",
    },
    Metric {
        name: "progress",
        heading: "progress",
        column: "progress",
        aliases: &[],
        unit: Unit::Word,
        source: Source::Derived(Derived::Progress),
        summary: "what a thread that stops can do to the others",
        definition: "lock-free: nothing, whoever meets its unfinished work goes on. blocking: it \
            can hold the others up for as long as it stops.",
    },
    beside_row! {
        "throughput-without", "throughput without", "committed_per_s_without", Unit::PerSecond,
        |facts, _| Some(facts.throughput_without),
        "throughput without the long readers",
        "The throughput of the same requests on a store of their own, without long readers, in the \
         repetition before the one with them."
    },
    beside_row! {
        "kept-throughput", "kept", "throughput_kept", Unit::Multiple,
        |facts, with| Some(with / facts.throughput_without.max(f64::MIN_POSITIVE)),
        "throughput beside the long readers as a multiple of that without them",
        "The throughput beside the long readers divided by `throughput-without`."
    },
    beside_row! {
        "surplus", "surplus versions", "surplus_versions_peak", Unit::Count,
        |facts, _| Some(facts.with.surplus_versions as f64),
        "versions beyond one for each record at most, beside long readers",
        "The store is looked at every few milliseconds; this is the most versions beyond one for \
         each record that it held then: those that an open snapshot keeps, those that wait to be \
         freed, and those that wait for their turn to be pruned."
    },
    beside_row! {
        "surplus-without", "surplus without", "surplus_versions_peak_without", Unit::Count,
        |facts, _| Some(facts.without.surplus_versions as f64),
        "versions beyond one for each record at most, without long readers",
        "As `surplus`, in the repetition without long readers."
    },
    beside_row! {
        "retained-peak", "retained peak", "retained_bytes_peak", Unit::Bytes,
        |facts, _| Some(facts.with.retained_bytes as f64),
        "bytes of versions in the store at most, beside long readers",
        "The most that `retained` was while the store was looked at, every few milliseconds."
    },
    beside_row! {
        "retained-peak-without", "retained without", "retained_bytes_peak_without", Unit::Bytes,
        |facts, _| Some(facts.without.retained_bytes as f64),
        "bytes of versions in the store at most, without long readers",
        "As `retained-peak`, in the repetition without long readers."
    },
    beside_row! {
        "chain", "longest chain", "chain_length_max", Unit::Count,
        |facts, _| Some(facts.with.chain_length as f64),
        "the longest chain of versions that was pruned, beside long readers",
        "The most versions of one record that reclamation has met, load and warm-up included."
    },
    beside_row! {
        "chain-without", "chain without", "chain_length_max_without", Unit::Count,
        |facts, _| Some(facts.without.chain_length as f64),
        "the longest chain of versions that was pruned, without long readers",
        "As `chain`, in the repetition without long readers."
    },
    beside_row! {
        "drain", "time to drain", "drain_ns", Unit::Nanoseconds,
        |facts, _| facts.median_drain().map(|time| time.as_nanos() as f64),
        "how long what the long readers held up takes to go away",
        "The time from the end of the snapshots of a round until a tenth of the versions that they \
         held up is left: the median over the rounds of a repetition in which that came to pass \
         before the snapshots had been held for as long again, and before the end of the run."
    },
    beside_row! {
        "late-drains", "late", "drains_late", Unit::Count,
        |facts, _| Some(facts.late_drains() as f64),
        "rounds of long readers that left what they held up for too long to be counted by drain",
        "Rounds that have no time to drain: what was held up had not gone away after the snapshots \
         had been held for as long again, or at the end of the run."
    },
    beside_row! {
        "held", "held", "snapshots_held", Unit::Count,
        |facts, _| Some(facts.held as f64),
        "snapshots of long readers that were held to their end",
        "Snapshots that the end of the run cut short, and those that the store refused to begin, \
         are not in it; the JSON has both."
    },
    fact_row! {
        "protocol", "protocol", &[], Unit::Word,
        "the concurrency-control protocol",
        "Its name; `list protocols` says in a line what each of them does."
    },
    fact_row! {
        "baseline", "", &[], Unit::Word,
        "the protocol that the others are compared with",
        "What --baseline names: the default protocol unless set, or else the first."
    },
    fact_row! {
        "failed", "failed", &[], Unit::Word,
        "why a protocol is out of a comparison",
        "It panicked, the store failed, it broke a promise, it was asked other requests than the \
         baseline, or it committed nothing. Its numbers are left out and the others go on."
    },
    fact_row! {
        "workload", "workload", &[], Unit::Word,
        "the workload as it was named",
        "The preset and the property files, in the order in which they were read."
    },
    fact_row! {
        "fingerprint", "fingerprint", &[], Unit::Word,
        "a hash of everything that decides the requests",
        "Of the workload's properties and the seed: what two runs have in common that were asked \
         for the same requests."
    },
    fact_row! {
        "seed", "seed", &["seed_text"], Unit::Word,
        "the number that everything random follows from",
        "What --seed sets, or a random number that is printed so that the run can be repeated."
    },
    fact_row! {
        "requests", "requests", &[], Unit::Word,
        "a hash of the requests that were drawn",
        "Of the first requests of every worker: equal for all protocols of a repetition, or the \
         protocol is out. In a row for all repetitions it is a hash of theirs."
    },
    fact_row! {
        "threads", "threads", &[], Unit::Count,
        "worker threads",
        "What -t sets. Loaders, audits and long readers are on threads of their own."
    },
    fact_row! {
        "repetition", "repetition", &["repetitions", "block"], Unit::Word,
        "the number of the repetition, from 1",
        "Each repetition has a fresh store. In a comparison \"all\" marks the row for all of them."
    },
    fact_row! {
        "kind", "kind", &["latency of"], Unit::Word,
        "the kind of transaction that a row is about",
        "The workload names its kinds; ALL is all of them together. \"Intended\" marks latencies \
         from the start that the schedule of a target intended."
    },
    fact_row! {
        "elapsed", "elapsed_s", &[], Unit::Seconds,
        "the length of the measurement",
        "From the first worker's first measured moment to the last one's last, without the warm-up."
    },
    fact_row! {
        "load", "", &["load s"], Unit::Seconds,
        "how long it took to load the store",
        "The time in which all processors together have loaded the records of one repetition."
    },
    fact_row! {
        "attempts", "attempts", &[], Unit::Count,
        "attempts of transactions, the successful ones included",
        "Each transaction has one attempt, and one more for each retry."
    },
    fact_row! {
        "committed", "committed", &[], Unit::Count,
        "transactions that committed",
        "Those of the measurement; divided by its length they are the throughput."
    },
    fact_row! {
        "rolled-back", "rolled_back", &[], Unit::Count,
        "transactions that the workload itself rolled back",
        "The workload asks for it, as TPC-C does in one New-Order of a hundred. It is no conflict."
    },
    fact_row! {
        "aborts", "aborts_REASON", &[], Unit::Count,
        "attempts that a conflict ended, by its reason",
        "One column for each reason, named after it; divided by all attempts their sum is the \
         abort rate."
    },
];
