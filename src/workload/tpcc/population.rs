//! The initial rows, as clause 4.3.3.1 says.

use super::config::{DISTRICTS, LINES_MAX, LINES_MIN, Scale};
use super::nurand::Constants;
use super::rows::{
    Address, CUSTOMER_DATA_LEN_MAX_BYTES, Cents, Credit, Customer, District, History, Item, Order,
    OrderLine, Rate, Stock, Timestamp, Warehouse,
};
use super::text::{Text, append_letters, last_name, zip_code};
use crate::workload::generator::Permutation;
use crate::workload::{Purpose, Random, Seed};
use rand::RngExt;

/// H_AMOUNT: what every customer has paid once.
const HISTORY_AMOUNT: Cents = 10_00;
/// OL_QUANTITY.
const QUANTITY: u8 = 5;

/// Which part of the population a stream of random numbers is for.
#[derive(Debug, Clone, Copy)]
enum Part {
    Item = 1,
    Warehouse,
    Stock,
    Customer,
    History,
    Order,
    OriginalItem,
    OriginalStock,
    BadCredit,
    OrderCustomer,
}

/// Gives the rows. What a row holds depends on the seed and on its key, not on who loads it.
#[derive(Debug)]
pub(super) struct Population {
    pub(super) scale: Scale,
    seed: Seed,
    constants: Constants,
    /// When the load began.
    now: Timestamp,
    original_items: Permutation,
}

impl Population {
    pub(super) fn new(scale: Scale, seed: Seed, now: Timestamp) -> Self {
        let key = seed.key(Purpose::Load, index(Part::OriginalItem, 0));
        let original_items = Permutation::new(u64::from(scale.items), key);
        Population { scale, seed, constants: Constants::new(seed), now, original_items }
    }

    fn random(&self, part: Part, number: u64) -> Random {
        self.seed.stream(Purpose::Load, index(part, number))
    }

    fn permutation(&self, part: Part, number: u64, size: u32) -> Permutation {
        Permutation::new(u64::from(size), self.seed.key(Purpose::Load, index(part, number)))
    }

    pub(super) fn item(&self, item: u32) -> Item {
        let mut random = self.random(Part::Item, u64::from(item));
        let original = in_first_tenth(&self.original_items, item, self.scale.items);
        Item {
            image: random.random_range(1..=10_000),
            name: Text::letters(&mut random, 14),
            price: random.random_range(1_00..=100_00),
            data: data(&mut random, original),
        }
    }

    /// A warehouse and its districts.
    pub(super) fn warehouse(&self, warehouse: u32) -> (Warehouse, [District; DISTRICTS as usize]) {
        let mut random = self.random(Part::Warehouse, u64::from(warehouse));
        let ytd = HISTORY_AMOUNT * Cents::from(self.scale.customers);
        let row = Warehouse {
            name: Text::letters_up_to(&mut random, 6, 10),
            address: address(&mut random),
            tax: tax(&mut random),
            ytd: ytd * Cents::from(DISTRICTS),
        };
        let districts = std::array::from_fn(|_| District {
            name: Text::letters_up_to(&mut random, 6, 10),
            address: address(&mut random),
            tax: tax(&mut random),
            ytd,
            next_order: self.scale.customers + 1,
        });
        (row, districts)
    }

    /// The stocks of a warehouse that are original.
    pub(super) fn original_stocks(&self, warehouse: u32) -> Permutation {
        self.permutation(Part::OriginalStock, u64::from(warehouse), self.scale.items)
    }

    pub(super) fn stock(&self, originals: &Permutation, warehouse: u32, item: u32) -> Stock {
        let mut random = self.random(Part::Stock, super::keys::stock(warehouse, item));
        let original = in_first_tenth(originals, item, self.scale.items);
        Stock {
            quantity: random.random_range(10..=100),
            order_count: 0,
            remote_count: 0,
            ytd: 0,
            data: data(&mut random, original),
            districts: std::array::from_fn(|_| Text::letters(&mut random, 24)),
        }
    }

    /// The customers of a district with bad credit.
    pub(super) fn bad_credits(&self, district: u64) -> Permutation {
        self.permutation(Part::BadCredit, district, self.scale.customers)
    }

    /// A customer; C_DATA goes to the end of `data`.
    pub(super) fn customer(
        &self,
        bad_credits: &Permutation,
        (warehouse, district): (u32, u32),
        customer: u32,
        data: &mut Vec<u8>,
    ) -> Customer {
        let key = super::keys::customer(warehouse, district, customer);
        let mut random = self.random(Part::Customer, key);
        let name = self.constants.loaded_name(&mut random, customer, self.scale.names());
        append_letters(&mut random, 300, CUSTOMER_DATA_LEN_MAX_BYTES, data);
        Customer {
            first: Text::letters(&mut random, 8),
            middle: Text::of(b"OE"),
            last: last_name(name),
            address: address(&mut random),
            phone: Text::digits(&mut random),
            since: self.now,
            credit: match in_first_tenth(bad_credits, customer, self.scale.customers) {
                true => Credit::Bad,
                false => Credit::Good,
            },
            credit_limit: 50_000_00,
            discount: random.random_range(0..=5_000),
            balance: -HISTORY_AMOUNT,
            ytd_payment: HISTORY_AMOUNT,
            payment_count: 1,
            delivery_count: 0,
        }
    }

    /// A customer's first payment.
    pub(super) fn history(&self, (warehouse, district): (u32, u32), customer: u32) -> History {
        let key = super::keys::customer(warehouse, district, customer);
        let mut random = self.random(Part::History, key);
        History {
            warehouse,
            district,
            customer_warehouse: warehouse,
            customer_district: district,
            customer,
            date: self.now,
            amount: HISTORY_AMOUNT,
            data: Text::letters(&mut random, 12),
        }
    }

    /// Whose order each of a district's orders is: a permutation of its customers.
    pub(super) fn order_customers(&self, district: u64) -> Permutation {
        self.permutation(Part::OrderCustomer, district, self.scale.customers)
    }

    /// An order and its lines, which replace those in `lines`.
    pub(super) fn order(
        &self,
        customers: &Permutation,
        (warehouse, district): (u32, u32),
        order: u32,
        lines: &mut Vec<OrderLine>,
    ) -> Order {
        let key = super::keys::order(warehouse, district, order);
        let mut random = self.random(Part::Order, key);
        let delivered = order <= self.scale.delivered();
        let count = random.random_range(LINES_MIN..=LINES_MAX);
        lines.clear();
        lines.extend((0..count).map(|_| OrderLine {
            item: random.random_range(1..=self.scale.items),
            supplier: warehouse,
            delivered: delivered.then_some(self.now),
            quantity: QUANTITY,
            amount: if delivered { 0 } else { random.random_range(1..=9_999_99) },
            district_info: Text::letters(&mut random, 24),
        }));
        Order {
            customer: customers.apply(u64::from(order - 1)) as u32 + 1,
            entered: self.now,
            carrier: delivered.then(|| random.random_range(1..=10)),
            line_count: count as u8,
            all_local: true,
        }
    }
}

/// Parts have eight bits and numbers the rest; the largest is an order's key.
fn index(part: Part, number: u64) -> u64 {
    debug_assert!(number < 1 << 56, "{number:#x} would run into the part");
    (part as u64) << 56 | number
}

/// Whether a number from 1 to `size` is in the tenth that a permutation selects.
fn in_first_tenth(permutation: &Permutation, number: u32, size: u32) -> bool {
    permutation.apply(u64::from(number - 1)) < u64::from(size / 10)
}

fn data(random: &mut Random, original: bool) -> Text<50> {
    match original {
        true => Text::original(random, 26),
        false => Text::letters(random, 26),
    }
}

fn tax(random: &mut Random) -> Rate {
    random.random_range(0..=2_000)
}

fn address(random: &mut Random) -> Address {
    let state = Text::<2>::letters(random, 2);
    Address {
        street_1: Text::letters(random, 10),
        street_2: Text::letters(random, 10),
        city: Text::letters(random, 10),
        state,
        zip: zip_code(random),
    }
}
