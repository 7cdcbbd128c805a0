//! Stock-Level (clause 2.8).

use super::super::keys;
use super::super::request::StockLevel;
use super::super::rows::Stock;
use super::Attempt;
use crate::TransactionError;
use crate::protocol::Protocol;

/// The orders that are looked at: the district's last ones.
const ORDERS: u32 = 20;
/// Stocks of one call to `get_many`.
const BATCH: usize = 16;

impl<P: Protocol> Attempt<'_, '_, P> {
    pub(super) fn stock_level(&mut self, request: &StockLevel) -> Result<(), TransactionError> {
        let (tx, tables) = (self.transaction, self.tables);
        let StockLevel { warehouse, district, threshold } = *request;
        let Some(row) = tx.get(&tables.districts, &keys::district(warehouse, district))? else {
            self.must(false);
            return Ok(());
        };
        let next = row.next_order;
        let first = keys::order(warehouse, district, next.saturating_sub(ORDERS));
        let lines =
            keys::order_line(first, 0)..keys::order_line(keys::order(warehouse, district, next), 0);
        let stocks = &mut self.scratch.numbers;
        for line in tx.range(&tables.order_lines, lines)? {
            stocks.push(keys::stock(warehouse, line?.1.item));
        }
        stocks.sort_unstable();
        stocks.dedup();
        let (mut low, mut absent) = (0, 0);
        for batch in stocks.chunks(BATCH) {
            let mut keys = [&0; BATCH];
            keys.iter_mut().zip(batch).for_each(|(key, stock)| *key = stock);
            let mut found: [Option<&Stock>; BATCH] = [None; BATCH];
            tx.get_many(&tables.stocks, &keys[..batch.len()], &mut found[..batch.len()])?;
            for stock in &found[..batch.len()] {
                match stock {
                    Some(stock) => low += u64::from(stock.quantity < threshold),
                    None => absent += 1,
                }
            }
        }
        self.scratch.lost += absent;
        self.scratch.screen.low_stocks = low;
        Ok(())
    }
}
