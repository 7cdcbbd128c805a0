//! The non-uniform random numbers of clause 2.1.6, and their constants.

use crate::workload::{Purpose, Random, Seed};
use rand::RngExt;

/// One of the standard's skewed fields: its constant A.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// C_LAST: the number of a last name.
    LastName = 255,
    /// C_ID: a customer.
    Customer = 1023,
    /// OL_I_ID: an item.
    Item = 8191,
}

/// The constants C of a run: one for each field, and one for the names that are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Constants {
    load_last: u32,
    run_last: u32,
    customer: u32,
    item: u32,
}

impl Constants {
    /// The constants of a seed. Every terminal and every loader has the same.
    pub(super) fn new(seed: Seed) -> Self {
        let mut random = seed.stream(Purpose::Scatter, 0);
        let load_last = random.random_range(0..=Field::LastName as u32);
        let allowed = (0..=Field::LastName as u32).filter(|run| delta_is_allowed(load_last, *run));
        let allowed: Vec<u32> = allowed.collect();
        Constants {
            load_last,
            run_last: allowed[random.random_range(0..allowed.len())],
            customer: random.random_range(0..=Field::Customer as u32),
            item: random.random_range(0..=Field::Item as u32),
        }
    }

    /// The last name of a customer that is loaded: the first `names` customers have one each.
    pub(super) fn loaded_name(&self, random: &mut Random, customer: u32, names: u32) -> u32 {
        match customer <= names {
            true => customer - 1,
            false => nurand(random, Field::LastName, self.load_last, 0, names - 1),
        }
    }

    /// A last name to look for.
    pub(super) fn asked_name(&self, random: &mut Random, names: u32) -> u32 {
        nurand(random, Field::LastName, self.run_last, 0, names - 1)
    }

    /// A customer of a district.
    pub(super) fn customer(&self, random: &mut Random, customers: u32) -> u32 {
        nurand(random, Field::Customer, self.customer, 1, customers)
    }

    /// An item.
    pub(super) fn item(&self, random: &mut Random, items: u32) -> u32 {
        nurand(random, Field::Item, self.item, 1, items)
    }
}

/// Clause 2.1.6.1: the popular names of the run are not those of the load, by a distance that is
/// neither too small nor one of two exceptions.
fn delta_is_allowed(load: u32, run: u32) -> bool {
    let delta = load.abs_diff(run);
    (65..=119).contains(&delta) && delta != 96 && delta != 112
}

/// NURand(A, x, y) with the constant C.
fn nurand(random: &mut Random, field: Field, c: u32, x: u32, y: u32) -> u32 {
    let a = random.random_range(0..=field as u32);
    combine(a, random.random_range(x..=y), c, x, y)
}

/// What NURand makes of its two draws.
fn combine(a: u32, b: u32, c: u32, x: u32, y: u32) -> u32 {
    ((a | b) + c) % (y - x + 1) + x
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exact distribution of NURand, from all pairs of draws.
    fn exact(field: Field, c: u32, x: u32, y: u32) -> Vec<f64> {
        let mut shares = vec![0.0; (y - x + 1) as usize];
        let weight = 1.0 / (f64::from(field as u32 + 1) * f64::from(y - x + 1));
        for a in 0..=field as u32 {
            for b in x..=y {
                // As the standard writes it, in wide arithmetic.
                let value = ((u64::from(a) | u64::from(b)) + u64::from(c)) % u64::from(y - x + 1);
                shares[value as usize] += weight;
            }
        }
        shares
    }

    /// The total variation distance of `draws` draws from the exact distribution.
    fn distance(field: Field, c: u32, x: u32, y: u32, draws: u32) -> f64 {
        let mut random = Seed::new(3).stream(Purpose::Keys, 0);
        let exact = exact(field, c, x, y);
        let mut counts = vec![0u32; exact.len()];
        for _ in 0..draws {
            let drawn = nurand(&mut random, field, c, x, y);
            assert!((x..=y).contains(&drawn));
            counts[(drawn - x) as usize] += 1;
        }
        let differences = counts.iter().zip(&exact);
        let differences =
            differences.map(|(count, share)| (f64::from(*count) / f64::from(draws) - share).abs());
        differences.sum::<f64>() / 2.0
    }

    #[test]
    fn draws_follow_the_directly_computed_distribution() {
        assert!(distance(Field::LastName, 123, 0, 999, 1_000_000) < 0.02);
        assert!(distance(Field::Customer, 259, 1, 3000, 1_000_000) < 0.03);
        // With the wrong constant the popular values are others: the distance has power.
        let wrong = exact(Field::LastName, 200, 0, 999);
        let right = exact(Field::LastName, 123, 0, 999);
        let apart: f64 = wrong.iter().zip(&right).map(|(one, other)| (one - other).abs()).sum();
        assert!(apart / 2.0 > 0.2, "{apart}");
    }

    #[test]
    fn items_stay_in_their_range_and_are_skewed() {
        let constants = Constants::new(Seed::new(9));
        let mut random = Seed::new(9).stream(Purpose::Keys, 1);
        let mut counts = vec![0u32; 100_001];
        for _ in 0..1_000_000 {
            counts[constants.item(&mut random, 100_000) as usize] += 1;
        }
        assert_eq!(counts[0], 0);
        counts.sort_unstable_by(|one, other| other.cmp(one));
        let hottest: u32 = counts[..10_000].iter().sum();
        assert!(hottest > 500_000, "the most popular tenth has more than half: {hottest}");
    }

    #[test]
    fn the_two_constants_of_names_keep_their_distance() {
        for seed in 0..2_000 {
            let constants = Constants::new(Seed::new(seed));
            let delta = constants.load_last.abs_diff(constants.run_last);
            assert!((65..=119).contains(&delta) && delta != 96 && delta != 112, "{constants:?}");
            assert!(constants.load_last <= 255 && constants.run_last <= 255);
            assert!(constants.customer <= 1023 && constants.item <= 8191);
        }
        assert_eq!(Constants::new(Seed::new(5)), Constants::new(Seed::new(5)));
        // No constant of the load is without a partner.
        for load in 0..=255 {
            assert!((0..=255).any(|run| delta_is_allowed(load, run)), "{load}");
        }
    }

    #[test]
    fn the_first_thousand_customers_have_a_name_each() {
        let constants = Constants::new(Seed::new(5));
        let mut random = Seed::new(5).stream(Purpose::Load, 0);
        for customer in 1..=1000 {
            assert_eq!(constants.loaded_name(&mut random, customer, 1000), customer - 1);
        }
        let others: Vec<u32> =
            (1001..=3000).map(|c| constants.loaded_name(&mut random, c, 1000)).collect();
        assert!(others.iter().all(|number| *number < 1000));
        assert!(others.iter().enumerate().any(|(at, number)| *number != at as u32));
    }
}
