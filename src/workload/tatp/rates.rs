//! How often each kind of transaction must succeed.

use super::population::{ACTIVE_SHARE, HOURS_MAX, START_HOURS, draw_subscriber};
use super::{KIND_COUNT, Kind};
use crate::workload::{Purpose, Seed};

/// Completed transactions without which a rate is not judged.
const SAMPLE_MIN: u64 = 1_000;
/// Standard deviations of the interval around an expected rate: one honest run in 16,000 is
/// outside.
const DEVIATIONS: f64 = 4.0;
/// Draws from which the concentration of the requests is estimated.
const DRAWS: u64 = 1 << 17;

/// The chance that a subscriber has an access, or a special facility, of a type drawn at random:
/// 1, 2, 3 or 4 of four types, all equally likely.
const TYPE_EXISTS: f64 = 0.625;
/// The chance that a call forwarding of a start drawn at random exists: 0 to 3 of three.
const START_EXISTS: f64 = 0.5;

/// The rates between which a kind succeeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Expected {
    pub(super) low: f64,
    pub(super) high: f64,
}

/// What the specification's population and requests come to.
///
/// Inserts and deletes are equally frequent and each fails where the other would succeed, so half
/// of the possible call forwardings exist at any time. What the two change is which of them exist
/// together, and with that, a little, GET_NEW_DESTINATION: it has a rate at the beginning and one
/// that it comes to.
///
/// The specification says 23.9 % for GET_NEW_DESTINATION. Its own population and parameters give
/// 14.8 %, which a simulation confirms (`the_rate_follows_from_the_population`); what is audited is
/// what they give.
pub(super) fn expected(kind: Kind) -> Expected {
    let exactly = |rate| Expected { low: rate, high: rate };
    match kind {
        Kind::GetSubscriberData | Kind::UpdateLocation => exactly(1.0),
        Kind::GetAccessData | Kind::UpdateSubscriberData => exactly(TYPE_EXISTS),
        Kind::InsertCallForwarding => exactly(TYPE_EXISTS * (1.0 - START_EXISTS)),
        Kind::DeleteCallForwarding => exactly(TYPE_EXISTS * START_EXISTS),
        Kind::GetNewDestination => Expected {
            // Loaded: with 0 to 3 of three, two given ones exist with 1/3, all three with 1/4.
            low: new_destination(1.0 / 3.0, 1.0 / 4.0),
            // Mixed: each exists or not regardless of the others.
            high: new_destination(1.0 / 4.0, 1.0 / 8.0),
        },
    }
}

/// The rate of GET_NEW_DESTINATION, where two given forwardings of a facility exist together with
/// probability `pair`, and all three with `triple`.
fn new_destination(pair: f64, triple: f64) -> f64 {
    // The chance that an hour of 1 to 24 is before the end of the forwarding of each start.
    let before_end = START_HOURS.map(|start| {
        let ends = (1..=HOURS_MAX).map(|hours| (start + hours - 1) as f64 / 24.0);
        ends.sum::<f64>() / HOURS_MAX as f64
    });
    // An hour before the end of one is before the ends of all later ones; so what counts is whether
    // any of the 1, 2 or 3 that are still good, and have started by then, exists.
    let any = [START_EXISTS, 2.0 * START_EXISTS - pair, 3.0 * START_EXISTS - 3.0 * pair + triple];
    let by_start = (0..START_HOURS.len()).map(|last| {
        let parts = (0..=last).map(|first| {
            let earlier = if first == 0 { 0.0 } else { before_end[first - 1] };
            (before_end[first] - earlier) * any[last - first]
        });
        parts.sum::<f64>()
    });
    TYPE_EXISTS * ACTIVE_SHARE * by_start.sum::<f64>() / START_HOURS.len() as f64
}

/// One kind's rate, judged.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Judgement {
    pub(super) holds: bool,
    /// The rate in words, with what was expected.
    pub(super) told: String,
}

/// Judges the rates, given completed and successful transactions of each kind, and the chance that
/// two requests are about the same subscriber.
pub(super) fn judge(
    completed: [u64; KIND_COUNT],
    successes: [u64; KIND_COUNT],
    concentration: f64,
) -> Vec<(Kind, Judgement)> {
    let judged = Kind::ALL.into_iter().map(|kind| {
        let (all, good) = (completed[kind as usize], successes[kind as usize]);
        (kind, judge_one(expected(kind), all, good, concentration))
    });
    judged.collect()
}

fn judge_one(expected: Expected, all: u64, good: u64, concentration: f64) -> Judgement {
    let percent = |share: f64| format!("{:.2} %", share * 100.0);
    if all < SAMPLE_MIN {
        return Judgement { holds: true, told: format!("{all} are too few to judge") };
    }
    let rate = good as f64 / all as f64;
    // A rate varies with the requests, and with what the subscribers that they are about happen to
    // have: as many draws as the requests are spread over.
    let deviation = |rate: f64| (rate * (1.0 - rate) * (1.0 / all as f64 + concentration)).sqrt();
    let low = (expected.low - DEVIATIONS * deviation(expected.low)).max(0.0);
    let high = (expected.high + DEVIATIONS * deviation(expected.high)).min(1.0);
    let told = format!("{} of {all} ({} to {})", percent(rate), percent(low), percent(high));
    Judgement { holds: (low..=high).contains(&rate), told }
}

/// The chance that two requests are about the same subscriber, estimated from draws.
pub(super) fn concentration(subscribers: u64) -> f64 {
    let random = &mut Seed::new(0).stream(Purpose::Keys, 0);
    let mut drawn: Vec<u64> = (0..DRAWS).map(|_| draw_subscriber(random, subscribers)).collect();
    drawn.sort_unstable();
    let pairs = |run: &[u64]| (run.len() * (run.len() - 1)) as f64;
    let same: f64 = drawn.chunk_by(|a, b| a == b).map(pairs).sum();
    same / (DRAWS * (DRAWS - 1)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt;
    use rand::seq::SliceRandom;

    #[test]
    fn the_rate_follows_from_the_population() {
        let random = &mut Seed::new(11).stream(Purpose::Load, 0);
        let draws = 200_000;
        let mut found = 0;
        for _ in 0..draws {
            // Written once more from the specification, not with the code under test.
            let exists = random.random_range(1..=4) >= random.random_range(1..=4);
            let is_active = random.random_range(0..100) < 85;
            let mut starts = [0, 8, 16];
            starts.shuffle(random);
            let forwardings = random.random_range(0..=3);
            let (start, hour) = (8 * random.random_range(0..3), random.random_range(1..=24));
            let good = starts[..forwardings].iter().any(|first| {
                let end = first + random.random_range(1..=8);
                *first <= start && hour < end
            });
            found += u32::from(exists && is_active && good);
        }
        let rate = f64::from(found) / f64::from(draws);
        let Expected { low, high } = expected(Kind::GetNewDestination);
        assert!((rate - low).abs() < 0.005, "{rate} and {low}");
        assert!(low < high && high < low + 0.02, "{low} {high}");
    }

    #[test]
    fn inverted_outcomes_are_noticed() {
        let concentration = concentration(100_000);
        assert!((1e-4..1e-3).contains(&concentration), "{concentration}");
        for kind in [Kind::GetAccessData, Kind::UpdateSubscriberData, Kind::DeleteCallForwarding] {
            let expected = expected(kind);
            let judge =
                |rate: f64| judge_one(expected, 20_000, (rate * 20_000.0) as u64, concentration);
            assert!(judge(expected.low).holds);
            assert!(!judge(1.0 - expected.low).holds, "{:?}", judge(1.0 - expected.low));
        }
        let always = expected(Kind::UpdateLocation);
        assert!(judge_one(always, 5_000, 5_000, concentration).holds);
        assert!(!judge_one(always, 5_000, 4_999, concentration).holds);
        assert!(judge_one(always, 999, 0, concentration).holds, "too few to judge");
    }
}
