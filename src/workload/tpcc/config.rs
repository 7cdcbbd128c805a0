//! The parameters, read from the properties and checked.

use super::keys::{CUSTOMERS_MAX, ITEMS_MAX, WAREHOUSES_MAX};
use crate::workload::common::CHOICE;
use crate::workload::properties::honoured;
use crate::workload::{Properties, PropertyError, PropertyRow};

/// Districts of a warehouse, and terminals too.
pub(super) const DISTRICTS: u32 = 10;
/// Order lines of the largest order.
pub(super) const LINES_MAX: u32 = 15;
/// Order lines of the smallest order.
pub(super) const LINES_MIN: u32 = 5;
/// The most workers that scan.
const ANALYSTS_MAX: u64 = 1_000;
/// The most cards of one kind in a deck.
const CARDS_MAX: u64 = 1_000;

/// Every property of TPC-C that is known by name.
pub(super) const ROWS: &[PropertyRow] = &[
    CHOICE,
    honoured("warehouses", "2", "the scale: TPC-C's W"),
    honoured("customers", "3000", "customers of a district; 3000 is the standard's"),
    honoured("items", "100000", "items, and stocks of a warehouse; 100000 is the standard's"),
    honoured("deck", "45,43,4,4,4", "cards: New-Order,Payment,Order-Status,Delivery,Stock-Level"),
    honoured("think", "false", "terminals key and think for as long as the standard says"),
    honoured("analysts", "0", "workers that run CH-benCHmark's query 1 instead of TPC-C"),
];

/// How much there is of everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Scale {
    pub(super) warehouses: u32,
    /// Customers of a district, and orders that it is loaded with.
    pub(super) customers: u32,
    pub(super) items: u32,
}

impl Scale {
    /// Orders of a district that are loaded as delivered.
    pub(super) fn delivered(&self) -> u32 {
        self.customers * 7 / 10
    }

    /// How many last names there are.
    pub(super) fn names(&self) -> u32 {
        self.customers.min(1000)
    }

    /// The number that no item has: asking for it is the user's mistake of clause 2.4.1.4.
    pub(super) fn unused_item(&self) -> u32 {
        self.items + 1
    }

    /// Whether districts and warehouses are as large as the standard says.
    pub(super) fn is_standard(&self) -> bool {
        self.customers == 3000 && self.items == 100_000
    }

    /// Every district: its warehouse and its number.
    pub(super) fn districts(&self) -> impl Iterator<Item = (u32, u32)> {
        (1..=self.warehouses).flat_map(|w| (1..=DISTRICTS).map(move |d| (w, d)))
    }

    /// The place of a district among [`Scale::districts`], or `None` if there is no such district.
    pub(super) fn district_index(&self, warehouse: u32, district: u32) -> Option<usize> {
        let known =
            (1..=self.warehouses).contains(&warehouse) && (1..=DISTRICTS).contains(&district);
        known.then(|| ((warehouse - 1) * DISTRICTS + district - 1) as usize)
    }
}

/// Everything that the properties say.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) scale: Scale,
    pub(super) deck: [u32; 5],
    pub(super) think: bool,
    pub(super) analysts: usize,
    /// Transactions that operationcount announces.
    pub(super) transactions_expected: u64,
}

/// The deck of cards that gives the standard's mix.
pub(super) const DECK: [u32; 5] = [45, 43, 4, 4, 4];

impl Config {
    pub(super) fn read(properties: &Properties) -> Result<Self, PropertyError> {
        let whole = |name, default, max: u32| {
            properties.whole(name, default, 1, u64::from(max)).map(|number| number as u32)
        };
        Ok(Config {
            scale: Scale {
                warehouses: whole("warehouses", 2, WAREHOUSES_MAX)?,
                customers: whole("customers", 3000, CUSTOMERS_MAX)?,
                items: whole("items", 100_000, ITEMS_MAX)?,
            },
            deck: read_deck(properties)?,
            think: properties.flag("think", false)?,
            analysts: properties.whole("analysts", 0, 0, ANALYSTS_MAX)? as usize,
            transactions_expected: properties.whole("operationcount", 0, 0, i64::MAX as u64)?,
        })
    }
}

fn read_deck(properties: &Properties) -> Result<[u32; 5], PropertyError> {
    let Some(text) = properties.get("deck") else {
        return Ok(DECK);
    };
    let refused = || {
        let expected =
            format!("five whole numbers of cards, 0 to {CARDS_MAX} each, like 45,43,4,4,4");
        properties.must_be("deck", &expected)
    };
    let cards = text.split(',').map(|count| {
        let count: u64 = count.trim().parse().map_err(|_| refused())?;
        if count <= CARDS_MAX { Ok(count as u32) } else { Err(refused()) }
    });
    let cards: Vec<u32> = cards.collect::<Result<_, _>>()?;
    let deck: [u32; 5] = cards.try_into().map_err(|_| refused())?;
    if deck.iter().all(|count| *count == 0) {
        return Err(refused());
    }
    Ok(deck)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<Config, PropertyError> {
        let mut properties = Properties::new();
        properties.read_bytes(text.as_bytes(), "test").expect("a valid text");
        properties.check(ROWS)?;
        Config::read(&properties)
    }

    #[test]
    fn the_defaults_are_the_standards_districts() {
        let config = config("").expect("the defaults are valid");
        assert!(config.scale.is_standard());
        assert_eq!((config.scale.delivered(), config.scale.names()), (2100, 1000));
        assert_eq!(config.deck, DECK);
        assert!(!config.think);
    }

    #[test]
    fn nonsense_is_refused_in_one_line() {
        for text in [
            "warehouses=0",
            "warehouses=65536",
            "customers=4096",
            "items=0",
            "items=1048575",
            "deck=1,2,3,4",
            "deck=0,0,0,0,0",
            "deck=1,2,3,4,x",
            "deck=1001,0,0,0,0",
            "think=maybe",
            "analysts=-1",
            "warehuoses=1",
        ] {
            let error = config(text).map(|_| ()).expect_err(text).to_string();
            assert_eq!(error.lines().count(), 1, "{error}");
        }
        assert_eq!(config("deck = 1, 1 ,0,0,0").expect("valid").deck, [1, 1, 0, 0, 0]);
    }
}
