//! Statistics of paired differences: pure functions, nothing measured and nothing printed.
//!
//! One difference for each block of a comparison: what happened to the machine during a block
//! happened to both of a pair and cancels out.

use rand::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// The confidence of every interval.
pub const CONFIDENCE: f64 = 0.95;
/// The probability of finding an effect that is as large as [`Paired::detectable`].
pub const POWER: f64 = 0.80;
/// Up to so many differences every assignment of signs is tried; it takes milliseconds.
const EXACT_MAX: usize = 20;
/// Random assignments of signs beyond that.
const SAMPLES: u32 = 100_000;
/// Sums that differ by less than this share of their size are equal: they were added up in another
/// order.
const ROUNDING: f64 = 1e-12;

/// What paired differences say about their mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paired {
    /// How many differences there are.
    pub pairs: usize,
    /// Their mean.
    pub mean: f64,
    /// The interval that has the true mean in it with [`CONFIDENCE`], by Student's t distribution;
    /// `None` for a single difference.
    pub interval: Option<(f64, f64)>,
    /// The smallest true mean that a two-sided test at the level 1 - [`CONFIDENCE`] would find with
    /// [`POWER`]; `None` for a single difference.
    pub detectable: Option<f64>,
}

/// Summarises paired differences; `None` if there are none, or if one is not finite.
#[must_use]
pub fn paired(differences: &[f64]) -> Option<Paired> {
    let pairs = differences.len();
    if pairs == 0 || differences.iter().any(|difference| !difference.is_finite()) {
        return None;
    }
    let mean = differences.iter().sum::<f64>() / pairs as f64;
    if pairs == 1 {
        return Some(Paired { pairs, mean, interval: None, detectable: None });
    }
    let freedom = (pairs - 1) as f64;
    let squares: f64 = differences.iter().map(|difference| (difference - mean).powi(2)).sum();
    let error = (squares / freedom).sqrt() / (pairs as f64).sqrt();
    let student = StudentsT::new(0.0, 1.0, freedom).expect("the freedom is positive");
    let critical = student.inverse_cdf((1.0 + CONFIDENCE) / 2.0);
    let half = critical * error;
    Some(Paired {
        pairs,
        mean,
        interval: Some((mean - half, mean + half)),
        // The usual approximation: the shift of a central t distribution.
        detectable: Some((critical + student.inverse_cdf(POWER)) * error),
    })
}

/// The two-sided p value of a mean that far from 0 if each difference could as well have had the
/// other sign (Fisher's sign-flip permutation test): exact for up to 20 differences, from random
/// assignments beyond. 1 without differences.
#[must_use]
pub fn sign_flip_p(differences: &[f64]) -> f64 {
    let size: f64 = differences.iter().map(|difference| difference.abs()).sum();
    let reached = differences.iter().sum::<f64>().abs() - size * ROUNDING;
    if differences.len() > EXACT_MAX {
        return sampled_p(differences, reached);
    }
    // Gray code: each assignment differs from the one before in one sign.
    let assignments = 1_u64 << differences.len();
    let mut signed = differences.to_vec();
    let mut sum: f64 = differences.iter().sum();
    let mut extreme = u64::from(sum.abs() >= reached);
    for assignment in 1..assignments {
        let flipped = &mut signed[assignment.trailing_zeros() as usize];
        sum -= 2.0 * *flipped;
        *flipped = -*flipped;
        extreme += u64::from(sum.abs() >= reached);
    }
    extreme as f64 / assignments as f64
}

fn sampled_p(differences: &[f64], reached: f64) -> f64 {
    // A constant seed: the same differences always give the same answer.
    let mut random = Xoshiro256PlusPlus::seed_from_u64(0);
    let mut extreme = 0_u32;
    for _ in 0..SAMPLES {
        let mut sum = 0.0;
        for group in differences.chunks(64) {
            let mut signs = random.next_u64();
            for difference in group {
                sum += if signs & 1 == 0 { *difference } else { -*difference };
                signs >>= 1;
            }
        }
        extreme += u32::from(sum.abs() >= reached);
    }
    // The assignment that was observed is one of them, so that p is never 0.
    f64::from(extreme + 1) / f64::from(SAMPLES + 1)
}

/// Corrects the p values of one family of tests by Holm's step-down method: the chance that any of
/// the true null hypotheses is rejected stays below the level. In the order given.
#[must_use]
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut corrected = vec![0.0; p_values.len()];
    let mut floor = 0.0_f64;
    for (rank, index) in order.into_iter().enumerate() {
        let remaining = (p_values.len() - rank) as f64;
        floor = floor.max((p_values[index] * remaining).min(1.0));
        corrected[index] = floor;
    }
    corrected
}

/// The fewest pairs with which the smallest possible p value, corrected for `tests` tests, is below
/// 1 - [`CONFIDENCE`].
#[must_use]
pub fn pairs_needed(tests: usize) -> u32 {
    let smallest = |pairs: u32| 2.0 / 2.0_f64.powf(f64::from(pairs)) * tests as f64;
    (1..).find(|pairs| smallest(*pairs) <= 1.0 - CONFIDENCE).expect("p halves with each pair")
}

/// The middle value, or the mean of the two middle ones; `None` for nothing.
#[must_use]
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some(lower + (upper - lower) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Log-ratios as a comparison gives them: one is against the trend.
    const DIFFERENCES: [f64; 8] = [0.10, 0.12, 0.08, 0.15, -0.02, 0.11, 0.09, 0.13];

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-8 * expected.abs(), "{found} is not {expected}");
    }

    // The expected values of these tests were computed with SciPy 1.17 (stats.t.interval,
    // stats.t.ppf, stats.permutation_test over all samples) and statsmodels (multipletests).

    #[test]
    fn the_interval_and_the_detectable_effect_are_those_of_student() {
        let summary = paired(&DIFFERENCES).expect("there are differences");
        near(summary.mean, 0.095);
        let (low, high) = summary.interval.expect("there are several");
        near(low, 0.051_905_226_942_589_16);
        near(high, 0.138_094_773_057_410_86);
        near(summary.detectable.expect("there are several"), 0.059_424_722_371_093_21);
    }

    #[test]
    fn quantiles_of_few_and_of_many_pairs_are_right() {
        for (freedom, high, power) in [
            (1.0, 12.706_204_736_174_694, 1.376_381_920_471_173_8),
            (2.0, 4.302_652_729_749_462, 1.060_660_171_779_821_4),
            (30.0, 2.042_272_456_301_237_8, 0.853_767_261_471_297_9),
            (999.0, 1.962_341_461_133_449_3, 0.841_981_182_258_946_7),
        ] {
            let student = StudentsT::new(0.0, 1.0, freedom).expect("valid");
            near(student.inverse_cdf(0.975), high);
            near(student.inverse_cdf(0.8), power);
        }
    }

    #[test]
    fn a_single_pair_has_no_interval_and_nonsense_no_summary() {
        let single = paired(&[0.3]).expect("there is one");
        assert_eq!((single.mean, single.interval, single.detectable), (0.3, None, None));
        assert_eq!(paired(&[]), None);
        assert_eq!(paired(&[0.1, f64::NEG_INFINITY]), None);
        assert_eq!(paired(&[0.1, f64::NAN]), None);
        let equal = paired(&[0.5; 4]).expect("there are four");
        assert_eq!((equal.interval, equal.detectable), (Some((0.5, 0.5)), Some(0.0)));
    }

    #[test]
    fn sign_flips_are_counted_exactly() {
        near(sign_flip_p(&DIFFERENCES), 4.0 / 256.0);
        near(sign_flip_p(&[1.0, 2.0, 3.0, 4.0, 5.0]), 2.0 / 32.0);
        near(sign_flip_p(&[0.5, -0.3, 0.2, 0.2, -0.1, 0.4]), 20.0 / 64.0);
        near(sign_flip_p(&[0.0, 0.0]), 1.0);
        near(sign_flip_p(&[]), 1.0);
        near(sign_flip_p(&[0.1; 20]), 2.0 / f64::from(1 << 20));
    }

    #[test]
    fn sampled_sign_flips_agree_with_the_exact_ones() {
        let reached = DIFFERENCES.iter().sum::<f64>() * (1.0 - ROUNDING);
        let sampled = sampled_p(&DIFFERENCES, reached);
        assert!((sampled - 4.0 / 256.0).abs() < 0.002, "{sampled}");
        assert!(sign_flip_p(&[0.1; 100]) < 0.001);
    }

    #[test]
    fn holm_steps_down() {
        let near_all = |found: &[f64], expected: &[f64]| {
            assert_eq!(found.len(), expected.len());
            found.iter().zip(expected).for_each(|(a, b)| near(*a, *b));
        };
        near_all(&holm(&[0.01, 0.04, 0.03, 0.005]), &[0.03, 0.06, 0.06, 0.02]);
        near_all(&holm(&[0.5, 0.02, 0.6, 0.02]), &[1.0, 0.08, 1.0, 0.08]);
        near_all(&holm(&[0.04]), &[0.04]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn the_number_of_pairs_that_can_show_anything_grows_with_the_tests() {
        // 2/2^6 = 0.031; fourteen times 2/2^9 = 0.055 and 2/2^10 = 0.027.
        assert_eq!([pairs_needed(1), pairs_needed(14)], [6, 10]);
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }
}
