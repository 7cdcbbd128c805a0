//! What a comparison says in the end: the same numbers as a table, as Markdown, as CSV and as JSON.

mod csv;
mod gate;
mod json;
mod summary;
mod table;

pub use gate::{Gate, GateError, Ruling, unknown_metric};
pub use summary::{Effect, Row, Significance, Standing, summarise};
pub use table::write_table;

use super::hlog::Logged;
use super::warnings::too_short;
use super::warnings::{busy_machine, debug_build, governor, harness_heavy, too_many_threads};
use super::{Output, RunFacts, hgrm, hlog, lower_median};
use crate::bench::inference::{CONFIDENCE, median, pairs_needed};
use crate::bench::{
    Cell, Comparison, ComparisonPlan, Flaw, Latencies, Metric, Plan, ProtocolFacts, beside,
    measured,
};
use crate::workload::Fingerprint;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use std::io::{self, Write};

/// What is the same for every protocol of a comparison (the "basis factors" of Huang et al.,
/// "Opportunities for Optimism in Contended Main-Memory Multicore Transactions", VLDB 2020).
const EQUAL_FOR_ALL: &str = "index, record layout, allocator, reclamation, clock, back-off, \
    retries until commit, right of way, requests and their order, values, threads and where they \
    run, compiler and process; only the protocol differs";

/// A comparison to report on.
#[derive(Debug)]
pub struct ComparisonReport<'a> {
    /// What it found out.
    pub comparison: &'a Comparison,
    /// What it was told.
    pub plan: &'a ComparisonPlan,
    /// What else is known.
    pub facts: &'a RunFacts,
    /// What its numbers say.
    pub standings: Vec<Standing>,
    /// What they say about the gates.
    pub verdicts: Vec<Verdict>,
}

/// What the data say about one gate and one protocol.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// The gate.
    pub gate: Gate,
    /// The threads.
    pub threads: usize,
    /// The protocol's name.
    pub protocol: &'static str,
    /// How it compares, if it could be compared.
    pub effect: Option<Effect>,
    /// The decision.
    pub ruling: Ruling,
}

impl<'a> ComparisonReport<'a> {
    /// Draws the conclusions.
    #[must_use]
    pub fn new(
        comparison: &'a Comparison,
        plan: &'a ComparisonPlan,
        facts: &'a RunFacts,
        gates: &[Gate],
    ) -> Self {
        let standings = summarise(comparison, plan.baseline(), &plan.threads);
        let mut verdicts = Vec::new();
        for gate in gates {
            for standing in &standings {
                let others = standing.rows.iter().filter(|row| row.protocol != plan.baseline());
                verdicts.extend(others.map(|row| {
                    let effect = row.effects.get(gate.index).copied().flatten();
                    Verdict {
                        gate: gate.clone(),
                        threads: standing.threads,
                        protocol: comparison.protocols[row.protocol].name,
                        effect,
                        ruling: gate.rule(effect.as_ref()),
                    }
                }));
            }
        }
        ComparisonReport { comparison, plan, facts, standings, verdicts }
    }

    /// Writes the file of this kind.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, output: Output, out: &mut dyn Write) -> io::Result<()> {
        match output {
            Output::Json => json::write(out, self),
            Output::Csv => csv::write(out, self),
            Output::Markdown => table::write_markdown(out, self),
            Output::CellHgrm { protocol, threads } => {
                hgrm::write(out, &self.latencies(protocol, threads)?)
            }
            Output::Hlog => hlog::write(out, &self.plan.plan, &self.logged()),
            Output::Hgrm => Err(io::Error::other("a comparison has one for each protocol")),
        }
    }

    /// The protocols that failed, and why.
    pub fn flaws(&self) -> impl Iterator<Item = (&ProtocolFacts, &Flaw)> {
        let flaws = self.comparison.protocols.iter().zip(&self.comparison.flaws);
        flaws.filter_map(|(facts, flaw)| Some((facts, flaw.as_ref()?)))
    }

    fn facts_of(&self, row: &Row) -> &ProtocolFacts {
        &self.comparison.protocols[row.protocol]
    }

    fn flaw_of(&self, row: &Row) -> Option<&Flaw> {
        self.comparison.flaws[row.protocol].as_ref()
    }

    fn is_baseline(&self, row: &Row) -> bool {
        row.protocol == self.plan.baseline()
    }

    /// The repetitions of one protocol at one number of threads, by their places in the plan; none
    /// of one that failed.
    fn cells(&self, protocol: usize, threads: usize) -> impl Iterator<Item = &Cell> {
        let sound = self.comparison.flaws[protocol].is_none();
        let blocks = self.comparison.blocks.iter().filter(move |_| sound);
        blocks.filter_map(move |block| block.rounds[threads].cells[protocol].as_ref())
    }

    /// What the long readers cost a protocol: the medians over the repetitions.
    fn beside(&self, standing: &Standing, row: &Row) -> Vec<(&'static Metric, Option<f64>)> {
        let place = self.plan.threads.iter().position(|threads| *threads == standing.threads);
        let place = place.expect("each standing is one of the plan's numbers of threads");
        let values: Vec<Vec<Option<f64>>> = self
            .cells(row.protocol, place)
            .map(|cell| cell.beside().map(|(_, value)| value).collect())
            .collect();
        let medians = beside().enumerate().map(|(index, (metric, _))| {
            let values: Vec<f64> = values.iter().filter_map(|values| values[index]).collect();
            (metric, median(&values))
        });
        medians.collect()
    }

    /// The latencies of the repetition that is the median by throughput. Those of a protocol that
    /// failed are none.
    fn latencies(&self, protocol: usize, threads: usize) -> io::Result<Histogram<u64>> {
        let cells: Vec<&Cell> = self.cells(protocol, threads).collect();
        let throughput = measured().position(|(metric, _)| metric.name == "throughput");
        let throughput = throughput.expect("throughput is measured");
        let rates: Vec<f64> = cells.iter().map(|cell| cell.values[throughput]).collect();
        let shown = lower_median(&rates).and_then(|index| cells[index].latencies.as_ref());
        let Some(compressed) = shown else {
            return Ok(Latencies::default().histogram);
        };
        Deserializer::new().deserialize(&mut compressed.as_slice()).map_err(io::Error::other)
    }

    /// What the interval log is of: every repetition, in the order in which they ran.
    fn logged(&self) -> Vec<Logged<'_>> {
        let places = (0..self.plan.threads.len())
            .flat_map(|threads| (0..self.plan.protocols.len()).map(move |name| (name, threads)));
        let logged = places.flat_map(|(protocol, threads)| {
            self.cells(protocol, threads).map(move |cell| Logged {
                tag: self.plan.cell_name(protocol, threads),
                kinds: self.comparison.environment.kinds,
                started: cell.started,
                elapsed: cell.elapsed,
                steps: &cell.steps,
            })
        });
        let mut logged: Vec<Logged<'_>> = logged.collect();
        logged.sort_by_key(|logged| logged.started);
        logged
    }

    /// Repetitions that every protocol has completed.
    fn blocks(&self) -> usize {
        self.comparison.blocks.len()
    }

    /// How many p values were corrected for each other.
    fn tests(&self) -> usize {
        let rows = self.standings.iter().flat_map(|standing| &standing.rows);
        rows.filter(|row| row.significance.is_some()).count()
    }

    /// A hash of all requests of all blocks.
    fn requests(&self) -> u64 {
        let mut fingerprint = Fingerprint::new();
        for round in self.comparison.blocks.iter().flat_map(|block| &block.rounds) {
            fingerprint.add_number(round.requests);
        }
        fingerprint.value()
    }

    /// The plan of one number of threads.
    fn plan_at(&self, threads: usize) -> Plan {
        Plan { threads, ..self.plan.plan.clone() }
    }

    /// Everything that deserves a warning.
    fn warnings(&self) -> Vec<String> {
        let environment = &self.comparison.environment;
        let machine = &environment.machine;
        let most = self.plan.plan.threads;
        let cells = self.comparison.blocks.iter().flat_map(|block| &block.rounds);
        let cells = cells.flat_map(|round| &round.cells).flatten();
        let shortest = cells.map(|cell| cell.elapsed).min();
        let mut warnings: Vec<String> = [
            debug_build(),
            too_many_threads(most, machine),
            self.heavy_harness(),
            shortest.and_then(too_short),
            busy_machine(machine),
            governor(machine),
            self.too_few_repetitions(),
        ]
        .into_iter()
        .flatten()
        .collect();
        if self.comparison.interrupted {
            warnings.push(format!(
                "INTERRUPTED: this is what {} of {} repetitions say, those that every protocol \
                 has completed",
                self.blocks(),
                self.plan.plan.repetitions
            ));
        }
        warnings
    }

    /// The fastest protocol is the one of which the harness takes the largest part.
    fn heavy_harness(&self) -> Option<String> {
        self.standings.iter().find_map(|standing| {
            let fastest = standing.rows.first()?.medians.as_ref()?.first()?;
            let plan = self.plan_at(standing.threads);
            harness_heavy(&self.comparison.environment, &plan, *fastest)
        })
    }

    fn too_few_repetitions(&self) -> Option<String> {
        let (blocks, tests) = (self.blocks() as u32, self.tests());
        let needed = pairs_needed(tests);
        (tests > 0 && blocks < needed).then(|| {
            format!(
                "with {blocks} repetition(s) and {tests} comparison(s) no corrected p can be below \
                 {:.2}: read the intervals, or use --reps {needed}",
                1.0 - CONFIDENCE
            )
        })
    }
}
