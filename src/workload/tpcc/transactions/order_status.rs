//! Order-Status (clause 2.6).

use super::super::keys;
use super::super::request::OrderStatus;
use super::Attempt;
use crate::TransactionError;
use crate::protocol::Protocol;

impl<P: Protocol> Attempt<'_, '_, P> {
    pub(super) fn order_status(&mut self, request: &OrderStatus) -> Result<(), TransactionError> {
        let (tx, tables) = (self.transaction, self.tables);
        let place = (request.warehouse, request.district);
        let Some(customer) = self.find_customer(place, &request.customer)? else {
            return Ok(());
        };
        let row = tx.get(&tables.customers, &customer)?;
        self.must(row.is_some());
        self.scratch.screen.customer = row.copied();
        let orders = keys::customer_order(customer, 0)..=keys::customer_order(customer, u32::MAX);
        let Some(last) =
            tx.range_rev(&tables.customer_orders, orders)?.limit(1).next().transpose()?
        else {
            // Every customer is loaded with an order, and none is ever removed.
            self.must(false);
            return Ok(());
        };
        let number = keys::order_number(*last.0);
        let order = keys::order(place.0, place.1, number);
        let row = tx.get(&tables.orders, &order)?;
        self.must(row.is_some());
        self.scratch.screen.order_number = number;
        self.scratch.screen.order = row.copied();
        for line in tx.range(&tables.order_lines, keys::lines_of_order(order))? {
            self.scratch.screen.order_lines.push(*line?.1);
        }
        let found = self.scratch.screen.order_lines.len();
        self.must(row.is_none_or(|row| usize::from(row.line_count) == found));
        Ok(())
    }
}
