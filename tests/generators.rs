//! The generators against values that were worked out elsewhere, and against their definitions.
#![cfg(feature = "cli")]

use chronolith::workload::generator::{
    Distribution, HotSet, KeySpace, Keys, Permutation, ScrambledZipfian, Shape, Zipf, Zipfian,
    fnv_hash_64,
};
use chronolith::workload::{Purpose, Seed};
use std::collections::HashMap;

/// Uniform draws for which the tables below give the answers.
const DRAWS: [f64; 12] =
    [0.0, 0.0377, 0.0378, 0.05, 0.0568, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999_999];

fn space(count: u64) -> KeySpace {
    KeySpace { first: 0, count, records: count }
}

fn keys(distribution: Distribution, count: u64, seed: u64) -> Keys {
    Keys::new(&Shape::new(distribution, space(count)), Seed::new(seed), 0, 1)
}

/// How often each key is drawn.
fn tally(distribution: Distribution, count: u64, draws: u64) -> HashMap<u64, u64> {
    let mut stream = keys(distribution, count, 42);
    let mut tally = HashMap::new();
    for _ in 0..draws {
        *tally.entry(stream.draw(count)).or_insert(0) += 1;
    }
    tally
}

fn hottest_share(tally: &HashMap<u64, u64>) -> f64 {
    let sum: u64 = tally.values().sum();
    *tally.values().max().expect("something was drawn") as f64 / sum as f64
}

#[test]
fn the_hash_is_that_of_ycsb() {
    // Worked out by an independent script.
    for (number, hash) in [
        (0, 6_284_781_860_667_377_211),
        (1, 8_517_097_267_634_966_620),
        (2, 1_820_151_046_732_198_393),
        (999, 2_071_219_101_098_386_137),
        (10_000_000_000, 1_201_321_332_300_452_516),
    ] {
        assert_eq!(fnv_hash_64(number), hash, "{number}");
    }
}

#[test]
fn scrambled_zipfian_gives_the_keys_of_ycsb() {
    // Worked out by an independent script from YCSB's source.
    let expected = [144, 144, 610, 610, 610, 942, 809, 367, 767, 991, 745, 383];
    let generator = ScrambledZipfian::new(0, 1000);
    assert_eq!(DRAWS.map(|u| generator.key(u)), expected);
    let shifted = ScrambledZipfian::new(50, 1050);
    assert_eq!(DRAWS.map(|u| shifted.key(u)), expected.map(|key| key + 50));
}

#[test]
fn zipfian_gives_the_ranks_of_ycsb_and_grows_as_it_does() {
    // Worked out by an independent script from YCSB's source.
    let first = [0, 0, 0, 0, 0, 0, 3, 22, 151, 471, 926, 998];
    let grown = [0, 0, 0, 0, 0, 0, 3, 24, 167, 519, 1020, 1098];
    let mut generator = Zipfian::new(999);
    assert_eq!(DRAWS.map(|u| generator.rank(u)), first);
    assert_eq!(DRAWS.map(|u| generator.rank_grown(u, 1099)), grown);
}

#[test]
fn the_scrambled_zipfians_hottest_key_gets_the_same_share_for_every_number_of_records() {
    for count in [1_000, 1_000_000] {
        let distribution = Distribution::Zipfian { expected_inserts: 0 };
        let share = hottest_share(&tally(distribution, count, 1_000_000));
        // 3.78 % and what the hash adds to it, with three standard deviations of the draws.
        assert!((0.0372..0.0395).contains(&share), "{count}: {share}");
    }
}

#[test]
fn the_true_zipf_has_the_shares_of_the_formula() {
    let share = |theta, count| Zipf::new(count, theta).expect("valid").shares(1)[0];
    for (theta, count, expected) in [
        (0.99, 1_000, 0.1294),
        (0.99, 100_000, 0.0783),
        (0.99, 1_000_000, 0.0650),
        (0.99, 10_000_000, 0.0554),
        (0.6, 1_000_000, 0.0016),
        (0.8, 1_000_000, 0.0134),
        (0.9, 1_000_000, 0.0329),
    ] {
        let share = share(theta, count);
        assert!((share - expected).abs() < 0.000_06, "{theta} {count}: {share}");
    }
    let drawn = hottest_share(&tally(Distribution::Zipf { theta: 0.99 }, 1_000_000, 1_000_000));
    assert!((drawn - 0.0650).abs() < 0.0008, "{drawn}");
}

/// Draws ranks and compares them with the formula by a chi-square test, tail ranks in one class.
fn chi_square(theta: f64, count: u64) {
    const DRAWS: u64 = 50_000;
    let zipf = Zipf::new(count, theta).expect("valid");
    let mut random = Seed::new(7).stream(Purpose::Keys, 0);
    let classes = count.min(30) as usize;
    let mut observed = vec![0u64; classes + 1];
    for _ in 0..DRAWS {
        let rank = zipf.rank(&mut random);
        assert!((1..=count).contains(&rank), "{rank}");
        observed[(rank as usize - 1).min(classes)] += 1;
    }
    let mut rest = 1.0;
    let mut statistic = 0.0;
    let mut add = |observed: u64, share: f64| {
        let expected = share * DRAWS as f64;
        if expected > 5.0 {
            statistic += (observed as f64 - expected).powi(2) / expected;
        }
    };
    for (count, share) in observed.iter().zip(zipf.shares(classes as u64)) {
        rest -= share;
        add(*count, share);
    }
    add(observed[classes], rest);
    // The 99.9th percentile of chi-square with 30 degrees of freedom; the seed is fixed.
    assert!(statistic < 59.7, "theta {theta}, {count} items: {statistic}");
}

#[test]
fn the_true_zipf_fits_its_definition_for_every_theta() {
    for theta in [0.0, 0.5, 0.99, 0.999_999_999, 1.0, 1.000_000_001, 1.2, 2.0, 5.0, 1_000.0] {
        for count in [1, 2, 10, 1_000, 100_000] {
            chi_square(theta, count);
        }
    }
    assert!(Zipf::new(0, 1.0).is_none());
    for theta in [-0.1, f64::NAN, f64::INFINITY] {
        assert!(Zipf::new(10, theta).is_none(), "{theta}");
    }
}

#[test]
fn the_scatter_is_a_bijection_and_follows_its_key() {
    for size in (1..=130).chain([1_000, 4_095, 4_096, 4_097, 65_537]) {
        let mut seen = vec![false; size as usize];
        let permutation = Permutation::new(size, 99);
        for position in 0..size {
            let place = &mut seen[permutation.apply(position) as usize];
            assert!(!*place, "{size}: two positions meet");
            *place = true;
        }
    }
    let moved = |key| (0..1_000).map(|i| Permutation::new(1_000, key).apply(i)).collect::<Vec<_>>();
    assert_eq!(moved(1), moved(1));
    assert_ne!(moved(1), moved(2));
    let fixed = moved(1).iter().enumerate().filter(|(i, place)| *i as u64 == **place).count();
    assert!(fixed < 10, "{fixed} of 1000 positions stay");
}

fn hotspot(size: HotSet, operation_fraction: f64, draws_per_move: u64) -> Distribution {
    Distribution::Hotspot { size, operation_fraction, draws_per_move }
}

#[test]
fn requests_stay_below_the_limit_and_follow_the_seed() {
    let all = [
        Distribution::Uniform,
        Distribution::Zipfian { expected_inserts: 500 },
        Distribution::Zipf { theta: 1.1 },
        hotspot(HotSet::Fraction(0.2), 0.8, 0),
        hotspot(HotSet::Fraction(0.0), 1.0, 0),
        hotspot(HotSet::Fraction(1.0), 0.0, 0),
        hotspot(HotSet::Records(10), 0.9, 100),
        Distribution::Sequential,
        Distribution::Exponential { percentile: 95.0, fraction: 0.857 },
        Distribution::Latest,
    ];
    for distribution in all {
        for count in [1, 2, 3, 1_000] {
            let draw = |seed| {
                let mut stream = keys(distribution.clone(), count, seed);
                (0..2_000).map(|_| stream.draw(count)).collect::<Vec<_>>()
            };
            let drawn = draw(1);
            assert!(drawn.iter().all(|key| *key < count), "{distribution:?} {count}");
            assert_eq!(drawn, draw(1), "{distribution:?} {count}");
            if count == 1_000 && distribution != Distribution::Sequential {
                assert_ne!(drawn, draw(2), "{distribution:?}");
            }
        }
    }
}

#[test]
fn each_distribution_has_its_shape() {
    let share = |tally: &HashMap<u64, u64>, of: std::ops::Range<u64>| {
        let hits: u64 = tally.iter().filter(|(key, _)| of.contains(key)).map(|(_, n)| n).sum();
        hits as f64 / tally.values().sum::<u64>() as f64
    };
    let near = |share: f64, expected: f64| assert!((share - expected).abs() < 0.01, "{share}");
    near(share(&tally(Distribution::Uniform, 1_000, 100_000), 0..250), 0.25);
    let hotspot = hotspot(HotSet::Fraction(0.2), 0.8, 0);
    near(share(&tally(hotspot, 1_000, 100_000), 0..200), 0.8);
    // All draws beyond the oldest record are repeated: 95 % of what is not repeated is a little
    // more.
    let exponential = Distribution::Exponential { percentile: 95.0, fraction: 0.5 };
    near(share(&tally(exponential, 1_000, 100_000), 500..1_000), 0.95 / 0.9975);
    // YCSB's zipfian from the newest backwards: the newest record has the share of rank 0.
    let newest = share(&tally(Distribution::Latest, 1_000, 100_000), 999..1_000);
    near(newest, 0.1294);
    let sequential = tally(Distribution::Sequential, 1_000, 3_000);
    assert!(sequential.values().all(|times| *times == 3));
}

#[test]
fn a_hot_set_of_records_moves_when_it_should() {
    let draws = |distribution, count| {
        let mut stream = keys(distribution, 1_000, 7);
        (0..count).map(|_| stream.draw(1_000)).collect::<Vec<u64>>()
    };
    let one = draws(hotspot(HotSet::Records(1), 0.5, 0), 10_000);
    let hits = one.iter().filter(|key| **key == 0).count();
    assert!((4_800..5_200).contains(&hits), "{hits}");

    let moving = draws(hotspot(HotSet::Records(100), 1.0, 50), 1_000);
    for (index, key) in moving.iter().enumerate() {
        // After ten moves of a hundred records it has come round.
        assert_eq!(*key / 100, index as u64 / 50 % 10, "draw {index} is {key}");
    }
    // Up to its first move it is the set that stays.
    let staying = draws(hotspot(HotSet::Records(100), 0.9, 0), 50);
    assert_eq!(staying, draws(hotspot(HotSet::Records(100), 0.9, 50), 50));
    // More records than there are: all of them.
    assert!(draws(hotspot(HotSet::Records(5_000), 0.5, 3), 500).iter().any(|key| *key > 900));
}

#[test]
fn sequential_workers_share_one_sequence() {
    let shape = Shape::new(Distribution::Sequential, space(10));
    let mut workers: Vec<Keys> = (0..3).map(|i| Keys::new(&shape, Seed::new(1), i, 3)).collect();
    let drawn: Vec<u64> = (0..30).map(|i| workers[i % 3].draw(10)).collect();
    let expected: Vec<u64> = (0..30).map(|i| i % 10).collect();
    assert_eq!(drawn, expected);
}
