//! What the transactions do.

use super::super::keys;
use super::super::request::{
    Delivery, Line, NewOrder, OrderStatus, Payment, Request, Selector, StockLevel,
};
use super::super::rows::Credit;
use super::super::text::last_name;
use super::super::transactions::{Scratch, execute};
use super::{LOADED_ORDERS, OnMvocc, SMALL, expect_consistent};
use crate::Attempts;
use crate::workload::End;
use crate::workload::common::testing::Loaded;

/// Runs one request; its scratch, if it committed.
fn run(loaded: &OnMvocc, request: Request) -> (Scratch, End) {
    let Loaded { store, tables, .. } = loaded;
    let (mut scratch, mut attempts) = (Scratch::default(), Attempts::default());
    let history = keys::history(9, 1);
    let outcome = execute(store, tables, &request, history, &mut scratch, &mut attempts);
    (scratch, End::of(outcome).expect("no misuse"))
}

fn new_order(items: &[u32]) -> Request {
    let line = |&item| Line { item, supplier: 1 + item % 2, quantity: 4 };
    let lines = items.iter().map(line).collect();
    Request::NewOrder(NewOrder { warehouse: 1, district: 2, customer: 3, entered: 5, lines })
}

#[test]
fn an_order_is_entered_shown_delivered_and_counted() {
    let loaded = Loaded::new(SMALL);
    // The same item twice: the second line sees what the first one left.
    let (scratch, end) = run(&loaded, new_order(&[7, 8, 9, 10, 7]));
    assert_eq!((end, scratch.lost, scratch.duplicates), (End::Committed, 0, 0));
    let screen = &scratch.screen;
    assert_eq!((screen.order_number, screen.new_lines.len()), (LOADED_ORDERS + 1, 5));
    let [first, .., last] = screen.new_lines.as_slice() else { panic!("five lines") };
    assert!(last.stock == first.stock - 4 || last.stock == first.stock + 87);
    assert_eq!(first.amount, 4 * first.price);
    let sum: i64 = screen.new_lines.iter().map(|line| line.amount).sum();
    assert!(screen.total > sum / 2 && screen.total < sum * 14 / 10);

    let status = |customer| {
        let status = OrderStatus { warehouse: 1, district: 2, customer };
        run(&loaded, Request::OrderStatus(status)).0.screen
    };
    let shown = status(Selector::Number(3));
    assert_eq!((shown.order_number, shown.order_lines.len()), (LOADED_ORDERS + 1, 5));
    assert!(shown.order.is_some_and(|order| order.carrier.is_none() && !order.all_local));

    let level = StockLevel { warehouse: 1, district: 2, threshold: 101 };
    let low = run(&loaded, Request::StockLevel(level)).0.screen.low_stocks;
    assert!(low > 50 && low <= 100, "most of a hundred items are in the last twenty orders: {low}");

    // Nine orders of each district were waiting, and now ten of this one.
    for round in 1..=10 {
        let delivery = Delivery { warehouse: 1, carrier: 4, date: 6 };
        let (scratch, end) = run(&loaded, Request::Delivery(delivery));
        let expected = if round <= 9 { (10, 0) } else { (1, 9) };
        assert_eq!(
            (end, scratch.delivered, scratch.skipped),
            (End::Committed, expected.0, expected.1)
        );
    }
    let shown = status(Selector::Number(3));
    assert!(shown.order.is_some_and(|order| order.carrier == Some(4)));
    assert!(shown.order_lines.iter().all(|line| line.delivered == Some(6)));
    assert!(shown.customer.is_some_and(|customer| customer.delivery_count >= 1));

    let groups = run(&loaded, Request::Analysis).0.screen.groups;
    assert_eq!(groups.len(), 16);
    assert_eq!(groups[0].count, 0, "lines are numbered from 1");
    assert!(groups[1].count >= groups[15].count && groups[1].amount > 0);
    expect_consistent(&loaded);
}

#[test]
fn a_mistaken_order_leaves_nothing() {
    let loaded = Loaded::new(SMALL);
    let (_, end) = run(&loaded, new_order(&[7, 8, 9, 10, 101]));
    assert_eq!(end, End::RolledBack);
    let tables = &loaded.tables;
    let left = loaded.store.view(|tx| {
        let district = tx.get(&tables.districts, &keys::district(1, 2))?.expect("loaded");
        let stock = tx.get(&tables.stocks, &keys::stock(2, 7))?.expect("loaded");
        let order = tx.get(&tables.orders, &keys::order(1, 2, LOADED_ORDERS + 1))?;
        Ok((district.next_order, stock.order_count, order.is_some()))
    });
    assert_eq!(left.expect("a view"), (LOADED_ORDERS + 1, 0, false));
    expect_consistent(&loaded);
}

#[test]
fn payments_find_the_middle_namesake_and_note_bad_credit() {
    let loaded = OnMvocc::new(&[("warehouses", "2"), ("customers", "1500"), ("items", "100")]);
    let Loaded { store, tables, .. } = &loaded;
    // A name that several have, and one of them with bad credit.
    let (last, middle) = (0..1_000)
        .find_map(|number| {
            let namesakes = store.view(|tx| {
                let mut rows = Vec::new();
                for customer in 1..=1_500 {
                    let row = tx.get(&tables.customers, &keys::customer(2, 4, customer))?;
                    let row = row.expect("loaded");
                    if row.last == last_name(number) {
                        rows.push((row.first, customer, row.credit));
                    }
                }
                rows.sort_by_key(|row| (row.0, row.1));
                Ok(rows)
            });
            let namesakes = namesakes.expect("a view");
            // Of four the second is the middle one.
            let (_, customer, credit) = *namesakes.get(1)?;
            (namesakes.len() == 4 && credit == Credit::Bad).then(|| (last_name(number), customer))
        })
        .expect("some name has four bearers, the second with bad credit");
    let payment = Payment {
        warehouse: 1,
        district: 5,
        customer_warehouse: 2,
        customer_district: 4,
        customer: Selector::LastName(last),
        amount: 123_45,
        date: 8,
    };
    let (scratch, end) = run(&loaded, Request::Payment(payment));
    assert_eq!((end, scratch.lost, scratch.duplicates), (End::Committed, 0, 0));
    let note = format!("{middle} 4 2 5 1 123.45 ");
    assert!(scratch.screen.customer_data.starts_with(note.as_bytes()));
    assert_eq!(scratch.screen.customer_data.len(), 200);
    let customer = scratch.screen.customer.expect("shown");
    assert_eq!((customer.balance, customer.ytd_payment), (-133_45, 133_45));
    expect_consistent(&loaded);
}
