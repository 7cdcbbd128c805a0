//! A choice among a few alternatives by their shares.

/// How often each of a few alternatives is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Shares {
    shares: Vec<f64>,
    /// Alternatives with a share, each with the upper end of its part of [0, 1).
    ends: Vec<(f64, usize)>,
}

impl Shares {
    /// Alternatives with these weights, whatever their sum; `None` if that is not above 0.
    #[must_use]
    pub fn new(weights: &[f64]) -> Option<Self> {
        let sum: f64 = weights.iter().sum();
        if sum <= 0.0 || !sum.is_finite() {
            return None;
        }
        let shares: Vec<f64> = weights.iter().map(|weight| weight / sum).collect();
        let mut end = 0.0;
        let mut ends = Vec::new();
        for (index, share) in shares.iter().enumerate().filter(|(_, share)| **share > 0.0) {
            end += share;
            ends.push((end, index));
        }
        Some(Shares { shares, ends })
    }

    /// The share of alternative `index`.
    #[must_use]
    pub fn share(&self, index: usize) -> f64 {
        self.shares[index]
    }

    /// The alternative for the uniform draw `u` in [0, 1).
    #[inline]
    #[must_use]
    pub fn choose(&self, u: f64) -> usize {
        let (last, before) = self.ends.split_last().expect("some share is above 0");
        // Rounding may leave the last end just below 1; the last alternative takes what remains.
        before.iter().find(|(end, _)| u < *end).unwrap_or(last).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_get_their_parts() {
        let shares = Shares::new(&[0.0, 3.0, 0.0, 1.0]).expect("a positive sum");
        assert_eq!([shares.share(0), shares.share(1), shares.share(3)], [0.0, 0.75, 0.25]);
        assert_eq!([0.0, 0.7499, 0.75, 0.999_999].map(|u| shares.choose(u)), [1, 1, 3, 3]);
        assert_eq!(Shares::new(&[0.0, 0.0]), None);
        assert_eq!(Shares::new(&[]), None);
    }
}
