//! Delivery (clause 2.7): all ten districts in one transaction, run at once and not from a queue.

use super::super::config::DISTRICTS;
use super::super::keys;
use super::super::request::Delivery;
use super::super::rows::Cents;
use super::Attempt;
use crate::TransactionError;
use crate::protocol::Protocol;

impl<P: Protocol> Attempt<'_, '_, P> {
    pub(super) fn deliver(&mut self, request: &Delivery) -> Result<(), TransactionError> {
        (1..=DISTRICTS).try_for_each(|district| self.deliver_in(request, district))
    }

    /// Delivers the oldest new order of a district, if there is one.
    fn deliver_in(&mut self, request: &Delivery, district: u32) -> Result<(), TransactionError> {
        let (tx, tables) = (self.transaction, self.tables);
        let waiting = keys::orders_of_district(request.warehouse, district);
        let Some(oldest) = tx.range(&tables.new_orders, waiting)?.limit(1).next().transpose()?
        else {
            self.scratch.skipped += 1;
            return Ok(());
        };
        let order = *oldest.0;
        let found = tx.remove(&tables.new_orders, &order)?;
        self.must(found);
        let mut customer = None;
        let found = tx.update(&tables.orders, &order, |row| {
            customer = Some(keys::customer(request.warehouse, district, row.customer));
            let mut row = *row;
            row.carrier = Some(request.carrier);
            row
        })?;
        self.must(found);
        let sum = self.deliver_lines(request, order)?;
        if let Some(customer) = customer {
            let found = tx.update(&tables.customers, &customer, |row| {
                let mut row = *row;
                row.balance += sum;
                row.delivery_count += 1;
                row
            })?;
            self.must(found);
        }
        self.scratch.delivered += 1;
        Ok(())
    }

    /// Dates the lines of an order; what they cost together.
    fn deliver_lines(&mut self, request: &Delivery, order: u64) -> Result<Cents, TransactionError> {
        let (tx, tables) = (self.transaction, self.tables);
        let lines = &mut self.scratch.lines;
        lines.clear();
        for line in tx.range(&tables.order_lines, keys::lines_of_order(order))? {
            let (key, row) = line?;
            lines.push((*key, *row));
        }
        let mut sum = 0;
        for (key, row) in lines.iter_mut() {
            sum += row.amount;
            row.delivered = Some(request.date);
            tx.put(&tables.order_lines, *key, *row)?;
        }
        Ok(sum)
    }
}
