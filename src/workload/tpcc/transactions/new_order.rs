//! New-Order (clause 2.4).

use super::super::config::LINES_MAX;
use super::super::keys;
use super::super::request::{Line, NewOrder};
use super::super::rows::{Cents, Item, Order, OrderLine, Rate};
use super::{Attempt, ShownLine};
use crate::TransactionError;
use crate::protocol::Protocol;

impl<P: Protocol> Attempt<'_, '_, P> {
    pub(super) fn new_order(&mut self, request: &NewOrder) -> Result<(), TransactionError> {
        let (tx, tables) = (self.transaction, self.tables);
        let NewOrder { warehouse, district, customer, entered, lines } = request;
        let Some(home) = tx.get(&tables.warehouses, &u64::from(*warehouse))? else {
            self.must(false);
            return Ok(());
        };
        let (mut number, mut district_tax) = (0, 0);
        let district_key = keys::district(*warehouse, *district);
        let found = tx.update(&tables.districts, &district_key, |row| {
            (number, district_tax) = (row.next_order, row.tax);
            let mut row = *row;
            row.next_order += 1;
            row
        })?;
        self.must(found);
        let customer_key = keys::customer(*warehouse, *district, *customer);
        let mut discount = 0;
        match tx.get(&tables.customers, &customer_key)? {
            Some(row) => {
                discount = row.discount;
                self.scratch.screen.customer_name = Some((row.last, row.credit));
            }
            None => self.must(false),
        }
        let order = keys::order(*warehouse, *district, number);
        let row = Order {
            customer: *customer,
            entered: *entered,
            carrier: None,
            line_count: lines.len() as u8,
            all_local: request.remote_lines() == 0,
        };
        self.must_be_new(tx.insert(&tables.orders, order, row)?);
        self.must_be_new(tx.insert(&tables.new_orders, order, ())?);
        let customer_order = keys::customer_order(customer_key, number);
        self.must_be_new(tx.insert(&tables.customer_orders, customer_order, ())?);
        let Some(sum) = self.order_lines(request, order)? else {
            // The user's mistake, noticed as late as the standard asks (clause 2.4.2.3).
            return Err(tx.rollback());
        };
        let screen = &mut self.scratch.screen;
        screen.order_number = number;
        screen.rates = [home.tax, district_tax, discount];
        screen.total = total(sum, screen.rates);
        Ok(())
    }

    /// Orders all lines; the sum of their amounts, or `None` if an item does not exist.
    fn order_lines(
        &mut self,
        request: &NewOrder,
        order: u64,
    ) -> Result<Option<Cents>, TransactionError> {
        let numbers: [u64; LINES_MAX as usize] =
            std::array::from_fn(|at| request.lines.get(at).map_or(0, |line| u64::from(line.item)));
        let keys: [&u64; LINES_MAX as usize] = numbers.each_ref();
        let mut items: [Option<&Item>; LINES_MAX as usize] = [None; LINES_MAX as usize];
        let count = request.lines.len();
        let tables = self.tables;
        self.transaction.get_many(&tables.items, &keys[..count], &mut items[..count])?;
        let (mut sum, mut mistaken) = (0, false);
        for (number, (line, item)) in (1..).zip(request.lines.iter().zip(items)) {
            match item {
                Some(item) => sum += self.order_line(request, order, number, line, item)?,
                None => mistaken = true,
            }
        }
        Ok((!mistaken).then_some(sum))
    }

    fn order_line(
        &mut self,
        request: &NewOrder,
        order: u64,
        number: u32,
        line: &Line,
        item: &Item,
    ) -> Result<Cents, TransactionError> {
        let (tx, tables) = (self.transaction, self.tables);
        let amount = Cents::from(line.quantity) * item.price;
        let remote = line.supplier != request.warehouse;
        let mut shown =
            ShownLine { name: item.name, stock: 0, brand: b'G', price: item.price, amount };
        let mut district_info = None;
        let found = tx.update(&tables.stocks, &keys::stock(line.supplier, line.item), |stock| {
            let mut stock = *stock;
            stock.quantity = restocked(stock.quantity, line.quantity);
            stock.ytd += u64::from(line.quantity);
            stock.order_count += 1;
            stock.remote_count += u32::from(remote);
            shown.stock = stock.quantity;
            if item.data.is_original() && stock.data.is_original() {
                shown.brand = b'B';
            }
            district_info = Some(stock.districts[request.district as usize - 1]);
            stock
        })?;
        self.must(found);
        self.scratch.screen.new_lines.push(shown);
        let row = OrderLine {
            item: line.item,
            supplier: line.supplier,
            delivered: None,
            quantity: line.quantity,
            amount,
            district_info: district_info.unwrap_or(super::Text::EMPTY),
        };
        self.must_be_new(tx.insert(&tables.order_lines, keys::order_line(order, number), row)?);
        Ok(amount)
    }
}

/// S_QUANTITY after an order: 91 come in when fewer than ten would be left.
fn restocked(stock: i16, ordered: u8) -> i16 {
    let left = stock - i16::from(ordered);
    if left >= 10 { left } else { left + 91 }
}

/// What the customer has to pay, in cents: taxes on the discounted sum (clause 2.4.2.2).
fn total(sum: Cents, [warehouse_tax, district_tax, discount]: [Rate; 3]) -> Cents {
    const WHOLE: Cents = 10_000;
    let discounted = WHOLE - Cents::from(discount);
    let taxed = WHOLE + Cents::from(warehouse_tax) + Cents::from(district_tax);
    (sum * discounted * taxed + WHOLE * WHOLE / 2) / (WHOLE * WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stocks_are_filled_up_as_the_standard_says() {
        assert_eq!(restocked(20, 10), 10);
        assert_eq!(restocked(19, 10), 100);
        assert_eq!(restocked(10, 1), 100);
        assert_eq!(restocked(11, 1), 10);
        let reachable = (10..=100).flat_map(|stock| (1..=10).map(move |n| restocked(stock, n)));
        assert!(reachable.into_iter().all(|stock| (10..=100).contains(&stock)));
    }

    #[test]
    fn totals_are_exact_to_the_cent() {
        assert_eq!(total(10_000, [0, 0, 0]), 10_000);
        // 100.00 less a half, plus a fifth and a fifth.
        assert_eq!(total(10_000, [2_000, 2_000, 5_000]), 7_000);
        assert_eq!(total(1, [0, 0, 5_000]), 1);
        assert_eq!(total(333, [725, 1_111, 1_234]), 346);
        assert_eq!(total(15 * 10 * 100_00, [2_000, 2_000, 0]), 2_100_000);
    }
}
