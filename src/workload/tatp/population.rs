//! The four tables' rows, their keys, and how many of them a subscriber has.

use super::{RECORD_FORWARDINGS_LOADED, Tables};
use crate::protocol::Protocol;
use crate::workload::common::for_each_batch;
use crate::workload::{Footprint, LoadWatch, Purpose, Random, Seed};
use crate::{Store, Transaction, TransactionError};
use rand::RngExt;
use rand::seq::SliceRandom;
use std::ops::Range;

/// Types of access and of special facilities.
pub(super) const TYPES: u64 = 4;
/// The hours at which a call forwarding may start.
pub(super) const START_HOURS: [u64; 3] = [0, 8, 16];
/// The share of special facilities that are active.
pub(super) const ACTIVE_SHARE: f64 = 0.85;
/// Hours from the start of a call forwarding to its end, at most.
pub(super) const HOURS_MAX: u64 = 8;
/// Subscribers that one transaction loads.
const BATCH: u64 = 16;

/// A subscriber's number: its identifier with leading zeros.
pub(super) type SubNbr = [u8; 15];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subscriber {
    pub(super) sub_nbr: SubNbr,
    /// bit_1 to bit_10, the first the lowest.
    pub(super) bits: u16,
    pub(super) hexes: [u8; 10],
    pub(super) bytes: [u8; 10],
    pub(super) msc_location: u32,
    pub(super) vlr_location: u32,
    /// How often this row was updated; ours, for the audit.
    pub(super) updates: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AccessInfo {
    pub(super) data_1: u8,
    pub(super) data_2: u8,
    pub(super) data_3: [u8; 3],
    pub(super) data_4: [u8; 5],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SpecialFacility {
    pub(super) is_active: bool,
    pub(super) error_control: u8,
    pub(super) data_a: u8,
    pub(super) data_b: [u8; 5],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CallForwarding {
    pub(super) end_hour: u8,
    pub(super) number: SubNbr,
}

/// The key of an access or a special facility of a subscriber; `kind` counts from 0.
pub(super) fn typed_key(subscriber: u64, kind: u64) -> u64 {
    subscriber * TYPES + kind
}

/// The key of a call forwarding of a special facility; `start` is an index into [`START_HOURS`].
pub(super) fn forwarding_key(facility: u64, start: u64) -> u64 {
    facility * START_HOURS.len() as u64 + start
}

/// Fifteen decimal digits.
pub(super) fn digits(mut number: u64) -> SubNbr {
    let mut text = [b'0'; 15];
    for digit in text.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    text
}

/// A subscriber as transactions draw it, from 0: by the or of two uniform draws, the first over as
/// many bits as the specification gives to a population of this size.
#[inline]
pub(super) fn draw_subscriber(random: &mut Random, subscribers: u64) -> u64 {
    let mask: u64 = match subscribers {
        0..=1_000_000 => 65_535,
        1_000_001..=10_000_000 => 1_048_575,
        _ => 2_097_151,
    };
    (random.random_range(0..=mask) | random.random_range(1..=subscribers)) % subscribers
}

/// How much there is to load: 1 to 4 accesses and facilities, 0 to 3 forwardings of each.
pub(super) fn footprint(subscribers: u64) -> Footprint {
    const QUARTERS_OF_ROWS: u64 = 4 + 4 + 10 + 10 + 15;
    Footprint {
        records: (subscribers * QUARTERS_OF_ROWS).div_ceil(4),
        records_added: 0,
        // Most rows are small; one in eleven is a subscriber.
        record_bytes: 32,
    }
}

/// Fills the tables. A subscriber's rows depend on the seed and on the subscriber alone.
pub(super) fn load<P: Protocol>(
    subscribers: u64,
    store: &Store<P>,
    tables: &Tables<P>,
    seed: Seed,
    watch: &dyn LoadWatch,
) -> Result<(), TransactionError> {
    let state = || tables.records.page();
    for_each_batch((subscribers, BATCH), watch, state, |page, batch| {
        let counts = store.transact(|transaction| insert_all(transaction, tables, seed, &batch))?;
        page.add(RECORD_FORWARDINGS_LOADED, counts.forwardings);
        Ok(counts.rows)
    })
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    rows: u64,
    forwardings: u64,
}

fn insert_all<P: Protocol>(
    transaction: &Transaction<'_, P>,
    tables: &Tables<P>,
    seed: Seed,
    subscribers: &Range<u64>,
) -> Result<Counts, TransactionError> {
    let mut counts = Counts::default();
    for subscriber in subscribers.clone() {
        let random = &mut seed.stream(Purpose::Load, subscriber);
        let sub_nbr = digits(subscriber + 1);
        let row = draw_row(sub_nbr, random);
        transaction.insert(&tables.subscribers, subscriber, row)?;
        transaction.insert(&tables.numbers, sub_nbr, subscriber)?;
        let accesses = draw_some(TYPES, 1, random);
        for kind in &accesses {
            let info = AccessInfo {
                data_1: random.random(),
                data_2: random.random(),
                data_3: random.random(),
                data_4: random.random(),
            };
            transaction.insert(&tables.access_infos, typed_key(subscriber, *kind), info)?;
        }
        counts.rows += 2 + accesses.len() as u64;
        for kind in draw_some(TYPES, 1, random) {
            let facility = typed_key(subscriber, kind);
            let row = SpecialFacility {
                is_active: random.random_bool(ACTIVE_SHARE),
                error_control: random.random(),
                data_a: random.random(),
                data_b: random.random(),
            };
            transaction.insert(&tables.special_facilities, facility, row)?;
            let starts = draw_some(START_HOURS.len() as u64, 0, random);
            for start in &starts {
                let row = draw_forwarding(*start, random);
                transaction.insert(
                    &tables.call_forwardings,
                    forwarding_key(facility, *start),
                    row,
                )?;
            }
            counts.rows += 1 + starts.len() as u64;
            counts.forwardings += starts.len() as u64;
        }
    }
    Ok(counts)
}

fn draw_row(sub_nbr: SubNbr, random: &mut Random) -> Subscriber {
    Subscriber {
        sub_nbr,
        bits: random.random_range(0..1 << 10),
        hexes: std::array::from_fn(|_| random.random_range(0..16)),
        bytes: random.random(),
        msc_location: random.random(),
        vlr_location: random.random(),
        updates: 0,
    }
}

/// At least `min` of the numbers below `all`: every count is as likely as every other, and so is
/// every choice of so many.
fn draw_some(all: u64, min: u64, random: &mut Random) -> Vec<u64> {
    let mut numbers: Vec<u64> = (0..all).collect();
    numbers.shuffle(random);
    numbers.truncate(random.random_range(min..=all) as usize);
    numbers
}

/// A call forwarding that starts at that place of [`START_HOURS`].
pub(super) fn draw_forwarding(start: u64, random: &mut Random) -> CallForwarding {
    let end = START_HOURS[start as usize] + random.random_range(1..=HOURS_MAX);
    let number = digits(random.random_range(0..1_000_000_000_000_000));
    CallForwarding { end_hour: end as u8, number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_fifteen_digits() {
        assert_eq!(&digits(42), b"000000000000042");
        assert_eq!(&digits(999_999_999_999_999), b"999999999999999");
    }

    #[test]
    fn keys_do_not_collide() {
        let mut keys = Vec::new();
        for facility in (0..5).flat_map(|s| (0..TYPES).map(move |kind| typed_key(s, kind))) {
            keys.extend((0..3).map(|start| forwarding_key(facility, start)));
        }
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }

    #[test]
    fn subscribers_are_drawn_unevenly_and_all_exist() {
        let random = &mut Seed::new(5).stream(Purpose::Keys, 0);
        let mut counts = vec![0_u32; 1_000];
        for _ in 0..200_000 {
            counts[draw_subscriber(random, 1_000) as usize] += 1;
        }
        let most = counts.iter().max().expect("some");
        // An even draw gives 200 to each, and more than 300 to none.
        assert!(*most > 300, "{most}");
    }

    #[test]
    fn every_count_is_as_likely() {
        let random = &mut Seed::new(6).stream(Purpose::Load, 0);
        let mut counts = [0_u32; 5];
        for _ in 0..40_000 {
            let some = draw_some(4, 1, random);
            assert!(some.iter().all(|number| *number < 4));
            counts[some.len()] += 1;
        }
        // Six standard deviations of a binomial count around 10,000.
        assert!(counts[1..].iter().all(|count| (9_480..10_520).contains(count)), "{counts:?}");
        assert_eq!(counts[0], 0);
    }
}
