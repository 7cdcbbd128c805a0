//! From the numbers of many repetitions to what a comparison says.

use crate::bench::inference::{holm, median, paired, sign_flip_p};
use crate::bench::{Block, Comparison, Scale, measured};

/// How a protocol's number compares with the baseline's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    /// Whether the fields are ratios or differences.
    pub scale: Scale,
    /// The mean over the repetitions; of logarithms, for a ratio.
    pub estimate: f64,
    /// Where the true one lies; `None` after a single repetition.
    pub interval: Option<(f64, f64)>,
    /// The smallest one that would have been found four times out of five.
    pub detectable: Option<f64>,
}

/// How unlikely the difference in throughput would be by chance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Significance {
    /// The exact p value of this comparison alone.
    pub p: f64,
    /// The same, corrected for all comparisons.
    pub corrected: f64,
}

/// One protocol at one number of threads.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its place among the protocols.
    pub protocol: usize,
    /// The medians of its numbers over the repetitions, in the order of [`measured`]; none for a
    /// protocol that failed.
    pub medians: Option<Vec<f64>>,
    /// How they compare with the baseline's, in the same order.
    pub effects: Vec<Option<Effect>>,
    /// Whether its throughput differs from the baseline's.
    pub significance: Option<Significance>,
}

impl Row {
    /// The effect on the throughput.
    #[must_use]
    pub fn throughput(&self) -> Option<&Effect> {
        self.effects.get(throughput_index())?.as_ref()
    }
}

/// All protocols at one number of threads, the fastest first.
#[derive(Debug, Clone, PartialEq)]
pub struct Standing {
    /// The threads.
    pub threads: usize,
    /// The protocols.
    pub rows: Vec<Row>,
}

/// The place of the throughput among the measured numbers.
fn throughput_index() -> usize {
    let place = measured().position(|(metric, _)| metric.name == "throughput");
    place.expect("throughput is measured")
}

/// Summarises a comparison: a standing for each number of threads. The p values are corrected over
/// all of them together.
#[must_use]
pub fn summarise(comparison: &Comparison, baseline: usize, threads: &[usize]) -> Vec<Standing> {
    let sound: Vec<bool> = comparison.flaws.iter().map(Option::is_none).collect();
    summarise_blocks(&comparison.blocks, &sound, baseline, threads)
}

fn summarise_blocks(
    blocks: &[Block],
    sound: &[bool],
    baseline: usize,
    threads: &[usize],
) -> Vec<Standing> {
    let standing = |(place, threads): (usize, &usize)| {
        let values = |protocol: usize| values(blocks, place, protocol);
        let reference = sound[baseline].then(|| values(baseline));
        let row = |protocol: usize| {
            if !sound[protocol] || blocks.is_empty() {
                return Row { protocol, medians: None, effects: Vec::new(), significance: None };
            }
            compare(protocol, &values(protocol), reference.as_ref(), protocol == baseline)
        };
        Standing { threads: *threads, rows: (0..sound.len()).map(row).collect() }
    };
    let mut standings: Vec<Standing> = threads.iter().enumerate().map(standing).collect();
    let mut tests: Vec<&mut Significance> = standings
        .iter_mut()
        .flat_map(|standing| &mut standing.rows)
        .filter_map(|row| row.significance.as_mut())
        .collect();
    let corrected = holm(&tests.iter().map(|test| test.p).collect::<Vec<_>>());
    tests.iter_mut().zip(corrected).for_each(|(test, corrected)| test.corrected = corrected);
    for standing in &mut standings {
        // Those that failed have no throughput and come last.
        let goodput = |row: &Row| {
            row.medians.as_ref().map_or(f64::NEG_INFINITY, |medians| medians[throughput_index()])
        };
        standing.rows.sort_by(|a, b| goodput(b).total_cmp(&goodput(a)));
    }
    standings
}

/// By measured number, the values of one protocol in all blocks.
fn values(blocks: &[Block], place: usize, protocol: usize) -> Vec<Vec<f64>> {
    let cells = blocks.iter().map(|block| {
        let cell = block.rounds[place].cells[protocol].as_ref();
        &cell.expect("a protocol that has not failed has run in every block").values
    });
    (0..measured().count())
        .map(|index| cells.clone().map(|values| values[index]).collect())
        .collect()
}

fn compare(
    protocol: usize,
    values: &[Vec<f64>],
    reference: Option<&Vec<Vec<f64>>>,
    is_baseline: bool,
) -> Row {
    let medians = values.iter().filter_map(|values| median(values)).collect();
    let mut row = Row { protocol, medians: Some(medians), effects: Vec::new(), significance: None };
    let Some(reference) = reference.filter(|_| !is_baseline) else {
        return row;
    };
    let pairs = values.iter().zip(reference).zip(measured());
    row.effects =
        pairs.map(|((own, base), (_, measure))| effect(measure.scale, own, base)).collect();
    let index = throughput_index();
    let p = sign_flip_p(&differences(Scale::Ratio, &values[index], &reference[index]));
    row.significance = Some(Significance { p, corrected: p });
    row
}

fn differences(scale: Scale, own: &[f64], base: &[f64]) -> Vec<f64> {
    let pairs = own.iter().zip(base);
    match scale {
        Scale::Ratio => pairs.map(|(own, base)| (own / base).ln()).collect(),
        Scale::Difference => pairs.map(|(own, base)| own - base).collect(),
    }
}

/// `None` where a ratio has no logarithm because something was 0.
fn effect(scale: Scale, own: &[f64], base: &[f64]) -> Option<Effect> {
    let paired = paired(&differences(scale, own, base))?;
    let back = |value: f64| match scale {
        Scale::Ratio => value.exp(),
        Scale::Difference => value,
    };
    Some(Effect {
        scale,
        estimate: back(paired.mean),
        interval: paired.interval.map(|(low, high)| (back(low), back(high))),
        detectable: paired.detectable.map(back),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Cell, Counts, Load, Round};
    use crate::workload::Seed;
    use std::time::{Duration, SystemTime};

    fn cell(throughput: f64) -> Cell {
        // Every number is the throughput, but for one that is 0.
        let mut values = vec![throughput; measured().count()];
        let aborts = measured().position(|(metric, _)| metric.name == "abort-rate");
        values[aborts.expect("it is measured")] = 0.0;
        Cell {
            requests: 1,
            turn: 0,
            load: Load { records: 1, elapsed: Duration::ZERO },
            elapsed: Duration::from_secs(1),
            counts: Counts::default(),
            committed: Vec::new(),
            tallies: Vec::new(),
            values,
            long_reader: None,
            started: SystemTime::UNIX_EPOCH,
            steps: Vec::new(),
            latencies: None,
        }
    }

    /// Blocks of three protocols: the baseline, one that is faster by about 10 %, one that is a
    /// third as fast.
    fn blocks() -> Vec<Block> {
        let ratios = [0.10, 0.12, 0.08, 0.15, -0.02, 0.11, 0.09, 0.13];
        let block = |(index, ratio): (usize, &f64)| {
            // The machine becomes slower; pairs do not notice.
            let base = 1e6 / (index + 1) as f64;
            let cells = [base, base * ratio.exp(), base / 3.0].map(|rate| Some(cell(rate)));
            let round = Round { requests: 1, cells: cells.into() };
            Block { number: index as u32 + 1, seed: Seed::new(1), rounds: vec![round] }
        };
        ratios.iter().enumerate().map(block).collect()
    }

    #[test]
    fn ratios_are_paired_within_blocks() {
        let standings = summarise_blocks(&blocks(), &[true; 3], 0, &[2]);
        let [standing] = &standings[..] else { panic!("{standings:?}") };
        let order: Vec<usize> = standing.rows.iter().map(|row| row.protocol).collect();
        assert_eq!(order, [1, 0, 2]);
        let [faster, baseline, slower] = &standing.rows[..] else { panic!("{standing:?}") };
        assert!(baseline.effects.is_empty() && baseline.significance.is_none());

        // The same differences as in the tests of the statistics, whose values SciPy gave.
        let effect = faster.throughput().expect("it was compared");
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-8, "{a} is not {b}");
        near(effect.estimate, 0.095_f64.exp());
        let (low, high) = effect.interval.expect("there are eight");
        near(low, 0.051_905_226_942_589_16_f64.exp());
        near(high, 0.138_094_773_057_410_86_f64.exp());
        near(effect.detectable.expect("there are eight"), 0.059_424_722_371_093_21_f64.exp());
        // Both tests have the smallest possible or the next p; Holm doubles the smaller one.
        near(faster.significance.expect("it was compared").p, 4.0 / 256.0);
        near(slower.significance.expect("it was compared").p, 2.0 / 256.0);
        near(slower.significance.expect("it was compared").corrected, 4.0 / 256.0);
        near(faster.significance.expect("it was compared").corrected, 4.0 / 256.0);
        near(slower.throughput().expect("it was compared").estimate, 1.0 / 3.0);
    }

    #[test]
    fn a_number_that_is_0_is_compared_by_difference() {
        let standings = summarise_blocks(&blocks(), &[true; 3], 0, &[2]);
        let aborts = measured().position(|(metric, _)| metric.name == "abort-rate");
        let effect = standings[0].rows[0].effects[aborts.expect("measured")];
        let effect = effect.expect("a difference of zeros");
        assert_eq!((effect.scale, effect.estimate), (Scale::Difference, 0.0));
    }

    #[test]
    fn those_that_failed_come_last_and_take_nothing_with_them() {
        let mut blocks = blocks();
        blocks.iter_mut().for_each(|block| block.rounds[0].cells[1] = None);
        let standings = summarise_blocks(&blocks, &[true, false, true], 0, &[2]);
        let order: Vec<usize> = standings[0].rows.iter().map(|row| row.protocol).collect();
        assert_eq!(order, [0, 2, 1]);
        assert_eq!(standings[0].rows[2].medians, None);
        // Without a baseline there are numbers and no ratios.
        let standings = summarise_blocks(&blocks, &[false, false, true], 0, &[2]);
        assert!(standings[0].rows[0].medians.is_some() && standings[0].rows[0].effects.is_empty());
    }

    #[test]
    fn a_single_block_has_a_ratio_and_no_interval() {
        let standings = summarise_blocks(&blocks()[..1], &[true; 3], 0, &[2]);
        let effect = standings[0].rows[0].throughput().expect("it was compared");
        assert_eq!((effect.interval, effect.detectable), (None, None));
    }
}
