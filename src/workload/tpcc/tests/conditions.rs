//! Each of the conditions notices when its tables are not what they should be.

use super::super::rows::{Customer, District, History, Order, OrderLine, Stock, Warehouse};
use super::super::{keys, tables};
use super::{LOADED_ORDERS, SMALL, conditions, expect_consistent};
use crate::protocol::Mvocc;
use crate::workload::common::testing::Loaded;
use crate::{Transaction, TransactionError};

type Tables = tables::Tables<Mvocc>;

/// A small store that is right, and then is changed by `damage`: which conditions notice?
fn noticed(
    damage: impl Fn(&Transaction<'_>, &Tables) -> Result<(), TransactionError>,
) -> Vec<usize> {
    let loaded = Loaded::new(SMALL);
    expect_consistent(&loaded);
    loaded.store.transact(|tx| damage(tx, &loaded.tables)).expect("damaged");
    let (findings, broken) = conditions(&loaded);
    for finding in findings.iter().filter(|finding| !finding.holds) {
        assert!(finding.evidence.contains("fail, first"), "{finding:?}");
    }
    broken
}

/// The keys of an order that is not delivered and of one that is.
fn waiting_and_delivered() -> (u64, u64) {
    (keys::order(2, 3, LOADED_ORDERS), keys::order(2, 3, 1))
}

#[test]
fn condition_1_notices_a_warehouse_that_is_not_its_districts() {
    let noticed = noticed(|tx, tables| {
        // A cent that no district and no payment knows of.
        let change = |row: &Warehouse| Warehouse { ytd: row.ytd + 1, ..*row };
        tx.update(&tables.warehouses, &2, change).map(|found| assert!(found))
    });
    assert_eq!(noticed, [1, 8]);
}

#[test]
fn condition_2_notices_a_number_that_was_skipped() {
    let noticed = noticed(|tx, tables| {
        let key = keys::district(1, 7);
        let change = |row: &District| District { next_order: row.next_order + 1, ..*row };
        tx.update(&tables.districts, &key, change).map(|found| assert!(found))
    });
    assert_eq!(noticed, [2]);
}

#[test]
fn condition_3_notices_a_gap_between_new_orders() {
    let noticed = noticed(|tx, tables| {
        let inside = keys::order(1, 1, LOADED_ORDERS - 3);
        tx.remove(&tables.new_orders, &inside).map(|found| assert!(found))
    });
    // The order has neither a carrier nor a row among the new ones, and was delivered by nobody.
    assert_eq!(noticed, [3, 5, 11]);
}

#[test]
fn conditions_4_and_6_notice_a_line_too_few() {
    let noticed = noticed(|tx, tables| {
        let line = keys::order_line(waiting_and_delivered().0, 2);
        tx.remove(&tables.order_lines, &line).map(|found| assert!(found))
    });
    assert_eq!(noticed, [4, 6]);
}

#[test]
fn condition_6_notices_a_line_in_the_wrong_order() {
    let noticed = noticed(|tx, tables| {
        let (from, to) = (keys::order(1, 1, 28), keys::order(1, 1, 29));
        let row = *tx.get(&tables.order_lines, &keys::order_line(from, 1))?.expect("loaded");
        assert!(tx.remove(&tables.order_lines, &keys::order_line(from, 1))?);
        tx.put(&tables.order_lines, keys::order_line(to, 0), row)
    });
    assert_eq!(noticed, [6]);
}

#[test]
fn condition_5_notices_a_carrier_too_early() {
    let noticed = noticed(|tx, tables| {
        let change = |row: &Order| Order { carrier: Some(1), ..*row };
        let (waiting, _) = waiting_and_delivered();
        tx.update(&tables.orders, &waiting, change).map(|found| assert!(found))
    });
    // Its lines are not delivered, although it has a carrier.
    assert_eq!(noticed, [5, 7]);
}

#[test]
fn condition_7_notices_a_line_that_was_not_delivered() {
    let noticed = noticed(|tx, tables| {
        let line = keys::order_line(waiting_and_delivered().1, 1);
        let change = |row: &OrderLine| OrderLine { delivered: None, ..*row };
        tx.update(&tables.order_lines, &line, change).map(|found| assert!(found))
    });
    // Delivered when it was loaded, hence without an amount: no sum changes.
    assert_eq!(noticed, [7]);
}

#[test]
fn conditions_8_to_10_notice_a_payment_that_is_gone() {
    let noticed = noticed(|tx, tables| {
        let first = *tx.first(&tables.history)?.expect("loaded").0;
        tx.remove(&tables.history, &first).map(|found| assert!(found))
    });
    assert_eq!(noticed, [8, 9, 10]);
}

#[test]
fn condition_9_notices_a_payment_in_the_wrong_district() {
    let noticed = noticed(|tx, tables| {
        let first = *tx.first(&tables.history)?.expect("loaded").0;
        let change = |row: &History| History { district: row.district % 10 + 1, ..*row };
        tx.update(&tables.history, &first, change).map(|found| assert!(found))
    });
    assert_eq!(noticed, [9]);
}

#[test]
fn condition_10_notices_a_payment_of_somebody_else() {
    let noticed = noticed(|tx, tables| {
        let first = *tx.first(&tables.history)?.expect("loaded").0;
        let change = |row: &History| History { customer: row.customer % 30 + 1, ..*row };
        tx.update(&tables.history, &first, change).map(|found| assert!(found))
    });
    assert_eq!(noticed, [10]);
}

#[test]
fn condition_11_notices_a_delivery_that_was_not_counted() {
    let noticed = noticed(|tx, tables| {
        let customer = keys::customer(1, 1, 1);
        let change = |row: &Customer| Customer { delivery_count: row.delivery_count + 1, ..*row };
        tx.update(&tables.customers, &customer, change).map(|found| assert!(found))
    });
    assert_eq!(noticed, [11]);
}

#[test]
fn condition_12_notices_a_payment_that_was_not_added_up() {
    let noticed = noticed(|tx, tables| {
        let customer = keys::customer(2, 10, 30);
        let change = |row: &Customer| Customer { ytd_payment: row.ytd_payment + 1, ..*row };
        tx.update(&tables.customers, &customer, change).map(|found| assert!(found))
    });
    assert_eq!(noticed, [12]);
}

#[test]
fn the_thirteenth_condition_notices_a_lost_update_of_a_stock() {
    let noticed = noticed(|tx, tables| {
        let change = |row: &Stock| Stock { ytd: row.ytd + 3, ..*row };
        tx.update(&tables.stocks, &keys::stock(2, 50), change).map(|found| assert!(found))
    });
    assert_eq!(noticed, [13]);
}
