//! The tables that a script can run on: with numbers for keys and without an order, with an order,
//! and with strings of bytes for keys. What a range of them shows is written down here twice: as it
//! is asked of a store, and as it follows from a state.

use super::State;
use chronolith::protocol::Protocol;
use chronolith::{OrderedKey, OrderedTable, Store, Table, Transaction, TransactionError};
use std::ops::Bound::Included;

/// Numbers whose last three bits differ are a group; the keys of a group share a prefix.
const GROUP: u64 = 7;
/// Behind the bytes that tell keys apart, so that a key is longer than what nodes hold of it.
const TAIL: &[u8] = b"and so on";

/// Which kind of table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Hashed,
    Ordered,
    Bytes,
}

impl Form {
    pub fn has_ranges(self) -> bool {
        self != Form::Hashed
    }
}

/// A table of one of the forms.
pub enum Keyed<P: Protocol> {
    Hashed(Table<u64, i64, P>),
    Ordered(OrderedTable<u64, i64, P>),
    Bytes(OrderedTable<[u8], i64, P>),
}

impl<P: Protocol> Keyed<P> {
    pub fn open(store: &Store<P>, form: Form) -> Self {
        match form {
            Form::Hashed => Keyed::Hashed(store.table("numbers").unwrap()),
            Form::Ordered => Keyed::Ordered(store.ordered_table("ordered").unwrap()),
            Form::Bytes => Keyed::Bytes(store.ordered_table("bytes").unwrap()),
        }
    }

    pub fn form(&self) -> Form {
        match self {
            Keyed::Hashed(_) => Form::Hashed,
            Keyed::Ordered(_) => Form::Ordered,
            Keyed::Bytes(_) => Form::Bytes,
        }
    }

    /// What a transaction finds in a range, in the order in which it is found.
    pub fn scan(&self, tx: &Transaction<'_, P>, scan: Scan) -> Result<Seen, TransactionError> {
        let (low, high) = scan.bounds();
        match self {
            Keyed::Hashed(_) => panic!("a table without an order has no ranges"),
            Keyed::Ordered(table) => take(tx, table, scan, [&low, &high], |key| *key),
            Keyed::Bytes(table) => match scan {
                Scan::Prefix(_) => {
                    let found = tx.prefix(table, &bytes_of(low)[..2])?;
                    found.map(|entry| entry.map(|(key, value)| (number_of(key), *value))).collect()
                }
                _ => take(tx, table, scan, [&bytes_of(low)[..], &bytes_of(high)], number_of),
            },
        }
    }
}

/// The string of bytes that stands for a number: the group's first, in the order of the numbers.
pub fn bytes_of(number: u64) -> Vec<u8> {
    let [high, low] = u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes();
    [&[high, low & !(GROUP as u8), low][..], TAIL].concat()
}

fn number_of(bytes: &[u8]) -> u64 {
    u64::from(u16::from_be_bytes([bytes[0], bytes[2]]))
}

/// Keys and values.
pub type Seen = Vec<(u64, i64)>;

/// A range, and how much of it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// At most so many entries from the lowest to the highest key, both within; or the other way
    /// round.
    Range {
        low: u64,
        high: u64,
        most: usize,
        reversed: bool,
    },
    First,
    Last,
    /// The keys of this one's group.
    Prefix(u64),
}

impl Scan {
    pub const EVERYTHING: Scan =
        Scan::Range { low: 0, high: u64::MAX, most: usize::MAX, reversed: false };

    fn bounds(self) -> (u64, u64) {
        match self {
            Scan::Range { low, high, .. } => (low, high),
            Scan::First | Scan::Last => (0, u64::MAX),
            Scan::Prefix(key) => (key & !GROUP, key | GROUP),
        }
    }

    /// What it shows of a state.
    pub fn of(self, state: &State) -> Seen {
        let (low, high) = self.bounds();
        if low > high {
            return Seen::new();
        }
        let entries = state.range(low..=high).map(|(key, value)| (*key, *value));
        match self {
            Scan::Range { most, reversed: true, .. } => entries.rev().take(most).collect(),
            Scan::Range { most, .. } => entries.take(most).collect(),
            Scan::First => entries.take(1).collect(),
            Scan::Last => entries.rev().take(1).collect(),
            Scan::Prefix(_) => entries.collect(),
        }
    }
}

fn take<P: Protocol, K: OrderedKey + ?Sized>(
    tx: &Transaction<'_, P>,
    table: &OrderedTable<K, i64, P>,
    scan: Scan,
    [low, high]: [&K; 2],
    number: impl Fn(&K) -> u64,
) -> Result<Seen, TransactionError> {
    let seen = |(key, value): (&K, &i64)| (number(key), *value);
    let bounds = (Included(low), Included(high));
    match scan {
        Scan::First => Ok(tx.first(table)?.map(seen).into_iter().collect()),
        Scan::Last => Ok(tx.last(table)?.map(seen).into_iter().collect()),
        Scan::Range { most, reversed: true, .. } => {
            tx.range_rev(table, bounds)?.take(most).map(|entry| entry.map(seen)).collect()
        }
        Scan::Range { most, .. } => {
            tx.range(table, bounds)?.limit(most).map(|entry| entry.map(seen)).collect()
        }
        Scan::Prefix(_) => tx.range(table, bounds)?.map(|entry| entry.map(seen)).collect(),
    }
}
