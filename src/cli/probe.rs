//! `chronolith probe`.

use super::arguments::ProbeArguments;
use super::progress::Progress;
use super::settings::with_workload;
use super::{Failure, INTERRUPTED, print, watch_signals};
use crate::Backoff;
use crate::bench::{
    self, ClientProperties, LatencyBasis, Limit, PATIENCE, Pinning, Plan, is_debug_build,
};
use crate::protocol::Contention;
use crate::report::{latency, rate};
use crate::sync::Ordering;
use crate::workload::{Properties, Workload, WorkloadVisitor};
use std::time::Duration;

/// How long the harness is measured unless a flag says otherwise.
const DURATION: Duration = Duration::from_secs(2);

/// Measures the harness.
pub(super) fn harness(arguments: &ProbeArguments) -> Result<(), Failure> {
    let properties = arguments.workload.gather()?;
    with_workload(&properties, ProbeWorkload { arguments, properties: &properties })
}

struct ProbeWorkload<'a> {
    arguments: &'a ProbeArguments,
    properties: &'a Properties,
}

impl WorkloadVisitor for ProbeWorkload<'_> {
    type Output = Result<(), Failure>;

    fn visit<W: Workload>(self, workload: W) -> Result<(), Failure> {
        let ProbeWorkload { arguments, properties } = self;
        let client = ClientProperties::read(properties)?;
        let duration = arguments.workload.duration.unwrap_or(DURATION);
        let plan = Plan {
            protocol: arguments.engine.protocol.clone(),
            threads: arguments.engine.threads(&client),
            limit: Limit { duration: Some(duration), transactions: None },
            warmup: Duration::ZERO,
            seed: arguments.workload.seed(),
            shards: None,
            backoff: Backoff::default(),
            contention: Contention::default(),
            pinning: Pinning::None,
            repetitions: 1,
            throttle: None,
            latency: LatencyBasis::Operation,
            interval: Duration::from_secs(1),
            audit_interval: None,
            long_reader: None,
            keep_interval_histograms: false,
            patience: PATIENCE,
        };
        let progress = Progress::new(false, None, &plan);
        let stop = watch_signals();
        let (cost, clock) = bench::probe_harness(&workload, &plan, stop, &progress)?;
        progress.clear();
        print(&mut |out| {
            writeln!(out, "workload     {}, seed {}", arguments.workload.shown_name(), plan.seed)?;
            writeln!(
                out,
                "harness      {} a transaction, everything but the store: request, clock, counting",
                latency(cost.transaction_ns)
            )?;
            writeln!(
                out,
                "ceiling      {} transactions with {} thread(s)",
                rate(cost.ceiling_per_second),
                cost.threads
            )?;
            writeln!(
                out,
                "clock        {}, {:.1} ns a reading, steps of {} ns",
                clock.source, clock.reading_ns, clock.step_ns
            )?;
            if is_debug_build() {
                writeln!(out, "WARNING      this is a debug build: build with --release")?;
            }
            Ok(())
        })?;
        // Relaxed: the workers have been joined; only whether someone asked is of interest.
        if stop.load(Ordering::Relaxed) { Err(Failure::silent(INTERRUPTED)) } else { Ok(()) }
    }
}
