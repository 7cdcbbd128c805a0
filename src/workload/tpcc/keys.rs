//! Keys: the parts of each composite key packed into one number that sorts as they do.

use super::text::Text;
use std::ops::RangeInclusive;

/// The most warehouses: their numbers have 16 bits.
pub(super) const WAREHOUSES_MAX: u32 = (1 << 16) - 1;
/// The most customers of a district: their numbers have 12 bits.
pub(super) const CUSTOMERS_MAX: u32 = (1 << 12) - 1;
/// The most items: their numbers have 20 bits, and one number is no item's.
pub(super) const ITEMS_MAX: u32 = (1 << 20) - 2;

/// The key of a district.
#[inline]
pub(super) fn district(warehouse: u32, district: u32) -> u64 {
    u64::from(warehouse) << 4 | u64::from(district)
}

/// The key of a customer.
#[inline]
pub(super) fn customer(warehouse: u32, district: u32, customer: u32) -> u64 {
    self::district(warehouse, district) << 12 | u64::from(customer)
}

/// The number of a customer, from the key.
#[inline]
pub(super) fn customer_number(customer: u64) -> u32 {
    customer as u32 & CUSTOMERS_MAX
}

/// The key of a stock.
#[inline]
pub(super) fn stock(warehouse: u32, item: u32) -> u64 {
    u64::from(warehouse) << 20 | u64::from(item)
}

/// The key of an order, and of its row among the new orders.
#[inline]
pub(super) fn order(warehouse: u32, district: u32, order: u32) -> u64 {
    self::district(warehouse, district) << 32 | u64::from(order)
}

/// The number of an order, from its key.
#[inline]
pub(super) fn order_number(order: u64) -> u32 {
    order as u32
}

/// The keys of all orders of a district.
#[inline]
pub(super) fn orders_of_district(warehouse: u32, district: u32) -> RangeInclusive<u64> {
    order(warehouse, district, 0)..=order(warehouse, district, u32::MAX)
}

/// The key of an order line.
#[inline]
pub(super) fn order_line(order: u64, line: u32) -> u64 {
    order << 4 | u64::from(line)
}

/// The keys of all lines of an order.
#[inline]
pub(super) fn lines_of_order(order: u64) -> RangeInclusive<u64> {
    order_line(order, 0)..=order_line(order, 15)
}

/// The key of the order that an order line belongs to.
#[inline]
pub(super) fn order_of_line(line: u64) -> u64 {
    line >> 4
}

/// The key of an order among those of its customer.
#[inline]
pub(super) fn customer_order(customer: u64, order: u32) -> u64 {
    customer << 32 | u64::from(order)
}

/// The key of a payment: those of one worker follow each other, and no two workers meet.
#[inline]
pub(super) fn history(worker: u64, number: u64) -> u64 {
    worker << 40 | number
}

/// The key of a customer among those of the same last name, in the order of their first names.
pub(super) type NameKey = [u8; 37];

pub(super) fn name(
    (warehouse, district): (u32, u32),
    last: &Text<16>,
    first: &Text<16>,
    customer: u32,
) -> NameKey {
    let mut key = [0; 37];
    // Neither number exceeds 16 bits: see the limits above.
    key[..2].copy_from_slice(&(warehouse as u16).to_be_bytes());
    key[2] = district as u8;
    key[3..19].copy_from_slice(last.padded());
    key[19..35].copy_from_slice(first.padded());
    key[35..].copy_from_slice(&(customer as u16).to_be_bytes());
    key
}

/// The number of the customer, from the key.
#[inline]
pub(super) fn customer_of_name(key: &NameKey) -> u32 {
    u32::from(u16::from_be_bytes([key[35], key[36]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_their_parts_do() {
        let (w, c) = (WAREHOUSES_MAX, CUSTOMERS_MAX);
        let ordered =
            [(1, 1, 1), (1, 1, 2), (1, 1, c), (1, 2, 1), (1, 10, c), (2, 1, 1), (w, 10, c)];
        for pair in ordered.windows(2) {
            let [one, other] = [pair[0], pair[1]];
            assert!(customer(one.0, one.1, one.2) < customer(other.0, other.1, other.2));
            assert!(order(one.0, one.1, one.2) < order(other.0, other.1, other.2));
            assert!(
                order_line(order(one.0, one.1, one.2), 15)
                    < order_line(order(other.0, other.1, other.2), 1)
            );
            assert!(
                customer_order(customer(one.0, one.1, one.2), u32::MAX)
                    < customer_order(customer(other.0, other.1, other.2), 0)
            );
        }
        assert!(stock(1, ITEMS_MAX + 1) < stock(2, 1));
        let largest = order(w, 10, u32::MAX);
        assert_eq!(order_of_line(order_line(largest, 15)), largest);
        assert_eq!(order_number(largest), u32::MAX);
    }

    #[test]
    fn names_sort_by_district_then_last_then_first() {
        let text = |text: &str| Text::<16>::of(text.as_bytes());
        let keys = [
            name((1, 1), &text("ABLE"), &text("b"), 7),
            name((1, 1), &text("ABLEABLE"), &text("a"), 3),
            name((1, 1), &text("BAR"), &text("a"), CUSTOMERS_MAX),
            name((1, 1), &text("BAR"), &text("ab"), 1),
            name((1, 1), &text("BAR"), &text("b"), 1),
            name((1, 2), &text("ABLE"), &text("a"), 1),
            name((256, 1), &text("ABLE"), &text("a"), 1),
        ];
        assert!(keys.is_sorted());
        assert_eq!(customer_of_name(&keys[2]), CUSTOMERS_MAX);
    }
}
