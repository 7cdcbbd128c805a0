//! A true zipf distribution for any skew, in constant time and space.

use rand::{Rng, RngExt};

/// Ranks 1..=n with P(k) proportional to k^-theta, for any theta >= 0 (1 and above included).
///
/// Rejection-inversion (Hörmann and Derflinger, "Rejection-inversion to generate variates from
/// monotone discrete distributions", 1996): the continuous density x^-theta is inverted and
/// rounded, and the few draws that rounding favours are rejected. No table, no sum over n.
/// `rand_distr::Zipf` needs three powers a draw where this needs one logarithm and one exponential,
/// and it loses precision as theta comes near 1 (its exponent is 1/(1 - theta)); the helpers below
/// do not.
#[derive(Debug, Clone, Copy)]
pub struct Zipf {
    theta: f64,
    items: f64,
    /// H(1.5) - 1: the upper end of the draws.
    integral_first: f64,
    /// H(n + 0.5): the lower end of the draws.
    integral_last: f64,
    /// A rounded draw this close to its continuous value is accepted without another look.
    squeeze: f64,
}

impl Zipf {
    /// The distribution over `items` ranks; `None` unless `items` >= 1 and `theta` is finite, >= 0.
    #[must_use]
    pub fn new(items: u64, theta: f64) -> Option<Self> {
        if items == 0 || !theta.is_finite() || theta < 0.0 {
            return None;
        }
        let mut zipf = Zipf {
            theta,
            items: items as f64,
            integral_first: 0.0,
            integral_last: 0.0,
            squeeze: 0.0,
        };
        zipf.integral_first = zipf.integral(1.5) - 1.0;
        zipf.integral_last = zipf.integral(zipf.items + 0.5);
        zipf.squeeze = 2.0 - zipf.integral_inverse(zipf.integral(2.5) - zipf.density(2.0));
        Some(zipf)
    }

    /// A rank from 1 (the most popular) to the number of items.
    #[inline]
    pub fn rank(&self, random: &mut impl Rng) -> u64 {
        loop {
            let span = self.integral_first - self.integral_last;
            let draw = self.integral_last + random.random::<f64>() * span;
            let x = self.integral_inverse(draw);
            let rank = (x + 0.5).floor().clamp(1.0, self.items);
            if rank - x <= self.squeeze || draw >= self.integral(rank + 0.5) - self.density(rank) {
                return rank as u64;
            }
        }
    }

    /// The shares of all draws that the first `top` ranks get; sums over all items, so it is for
    /// tests and reports.
    #[must_use]
    pub fn shares(&self, top: u64) -> Vec<f64> {
        let items = self.items as u64;
        let weight = |rank: u64| (rank as f64).powf(-self.theta);
        // The small terms first, so that they are not lost in the sum of the large ones.
        let sum: f64 = (1..=items).rev().map(weight).sum();
        (1..=items.min(top)).map(|rank| weight(rank) / sum).collect()
    }

    /// x^-theta.
    #[inline]
    fn density(&self, x: f64) -> f64 {
        (-self.theta * x.ln()).exp()
    }

    /// H(x) = (x^(1 - theta) - 1) / (1 - theta), the integral of the density; ln x at theta 1.
    #[inline]
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        exp_minus_one_ratio((1.0 - self.theta) * log) * log
    }

    /// The inverse of H.
    #[inline]
    fn integral_inverse(&self, h: f64) -> f64 {
        // Rounding may push the argument just below the pole at -1.
        let t = (h * (1.0 - self.theta)).max(-1.0);
        (log_one_plus_ratio(t) * h).exp()
    }
}

/// ln(1 + x) / x, by its series near 0.
#[inline]
fn log_one_plus_ratio(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x * (0.5 - x / 3.0) }
}

/// (e^x - 1) / x, by its series near 0.
#[inline]
fn exp_minus_one_ratio(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x * 0.5 * (1.0 + x / 3.0) }
}
