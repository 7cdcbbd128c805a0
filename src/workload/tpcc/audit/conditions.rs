//! The consistency conditions, checked on the books.

use super::super::config::Scale;
use super::books::Books;
use crate::workload::Finding;

/// Clause 3.3.2's conditions, in its order, and one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    WarehouseYtd,
    NextOrder,
    NewOrdersDense,
    LineCounts,
    Carrier,
    LinesOfOrder,
    LineDelivered,
    PaidInWarehouse,
    PaidInDistrict,
    PaidByCustomer,
    Delivered,
    Balance,
    Stock,
}

impl Condition {
    pub(super) const COUNT: usize = Condition::Stock as usize + 1;
}

/// The conditions in words.
const WORDS: [&str; Condition::COUNT] = [
    "W_YTD = sum(D_YTD) (3.3.2.1)",
    "D_NEXT_O_ID - 1 = max(O_ID) = max(NO_O_ID) (3.3.2.2)",
    "max(NO_O_ID) - min(NO_O_ID) + 1 = number of new orders (3.3.2.3)",
    "sum(O_OL_CNT) = number of order lines (3.3.2.4)",
    "an order has no carrier if, and only if, it is a new order (3.3.2.5)",
    "O_OL_CNT = number of the order's lines (3.3.2.6)",
    "a line is delivered if, and only if, its order has a carrier (3.3.2.7)",
    "W_YTD = sum(H_AMOUNT) (3.3.2.8)",
    "D_YTD = sum(H_AMOUNT) (3.3.2.9)",
    "C_BALANCE = sum(delivered OL_AMOUNT) - sum(H_AMOUNT) (3.3.2.10)",
    "orders - new orders = those loaded as delivered + sum(C_DELIVERY_CNT) (3.3.2.11)",
    "C_BALANCE + C_YTD_PAYMENT = sum(delivered OL_AMOUNT) (3.3.2.12)",
    "S_YTD and S_ORDER_CNT = quantity and number of the lines supplied (not in 3.3.2)",
];

/// How many times a condition was compared, how many times it failed, and how it did first.
#[derive(Debug, Clone, Default)]
pub(super) struct Check {
    compared: u64,
    broken: u64,
    first: Option<String>,
}

impl Check {
    pub(super) fn expect(&mut self, holds: bool, evidence: impl FnOnce() -> String) {
        self.compared += 1;
        if !holds {
            self.broken += 1;
            self.first.get_or_insert_with(evidence);
        }
    }

    fn finding(self, what: &'static str) -> Finding {
        let evidence = match &self.first {
            None => format!("compared {} times", self.compared),
            Some(first) => {
                format!("{} of {} comparisons fail, first {first}", self.broken, self.compared)
            }
        };
        Finding { what, holds: self.broken == 0, evidence }
    }
}

/// Checks every condition: thirteen findings, in the order of the conditions.
pub(super) fn check(scale: Scale, books: &Books) -> Vec<Finding> {
    let mut checks = books.checks.clone();
    check_warehouses(&mut checks, scale, books);
    check_districts(&mut checks, scale, books);
    check_customers(&mut checks, scale, books);
    checks.into_iter().zip(WORDS).map(|(check, what)| check.finding(what)).collect()
}

type Checks = [Check; Condition::COUNT];

fn expect(checks: &mut Checks, of: Condition, holds: bool, evidence: impl FnOnce() -> String) {
    checks[of as usize].expect(holds, evidence);
}

fn check_warehouses(checks: &mut Checks, scale: Scale, books: &Books) {
    for (number, book) in (1..).zip(&books.warehouses) {
        let districts = scale.districts().zip(&books.districts);
        let own = districts.filter(|((w, _), _)| *w == number);
        let districts_ytd: Option<i64> = own.map(|(_, district)| district.ytd).sum();
        let evidence = || format!("warehouse {number}: {:?}, sum {districts_ytd:?}", book.ytd);
        let holds = book.ytd.is_some() && book.ytd == districts_ytd;
        expect(checks, Condition::WarehouseYtd, holds, evidence);
        let evidence = || format!("warehouse {number}: {:?}, paid {}", book.ytd, book.paid);
        expect(checks, Condition::PaidInWarehouse, book.ytd == Some(book.paid), evidence);
        let holds = (book.stock_ytd, book.stock_orders) == (book.supplied, book.supplies);
        expect(checks, Condition::Stock, holds, || format!("warehouse {number}: {book:?}"));
    }
}

fn check_districts(checks: &mut Checks, scale: Scale, books: &Books) {
    for ((w, d), book) in scale.districts().zip(&books.districts) {
        let evidence = || format!("district {w}/{d}: {book:?}");
        let last = book.next_order.map(|next| next.wrapping_sub(1));
        let newest = book.last_new.is_none() || book.last_new == last;
        let holds = last.is_some() && last == book.last_order && newest;
        expect(checks, Condition::NextOrder, holds, evidence);
        let span = book.first_new.zip(book.last_new).map_or(0, |(first, last)| last - first + 1);
        expect(checks, Condition::NewOrdersDense, u64::from(span) == book.new_orders, evidence);
        expect(checks, Condition::LineCounts, book.line_counts == book.lines, evidence);
        expect(checks, Condition::PaidInDistrict, book.ytd == Some(book.paid), evidence);
        let delivered = u64::from(scale.delivered()) + book.deliveries;
        let holds = book.orders == book.new_orders + delivered;
        expect(checks, Condition::Delivered, holds, evidence);
    }
}

fn check_customers(checks: &mut Checks, scale: Scale, books: &Books) {
    let numbers = || 1..=scale.customers;
    let all = scale.districts().flat_map(|(w, d)| numbers().map(move |c| (w, d, c)));
    for ((w, d, c), book) in all.zip(&books.customers) {
        let evidence = || format!("customer {w}/{d}/{c}: {book:?}");
        let holds = book.account.is_some_and(|(balance, _)| balance == book.delivered - book.paid);
        expect(checks, Condition::PaidByCustomer, holds, evidence);
        let holds = book.account.is_some_and(|(balance, paid)| balance + paid == book.delivered);
        expect(checks, Condition::Balance, holds, evidence);
    }
}
