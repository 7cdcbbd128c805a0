//! The long scan beside TPC-C: query 1 of CH-benCHmark (Cole et al., DBTest 2011), over all order
//! lines.

use super::super::rows::Cents;
use super::Attempt;
use crate::TransactionError;
use crate::protocol::Protocol;

/// What query 1 says about the order lines with one OL_NUMBER.
#[allow(dead_code, reason = "as for `Screen`")]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in super::super) struct Group {
    pub(in super::super) quantity: u64,
    pub(in super::super) amount: Cents,
    pub(in super::super) count: u64,
}

impl<P: Protocol> Attempt<'_, '_, P> {
    /// `SELECT ol_number, SUM(ol_quantity), SUM(ol_amount), COUNT(*) FROM order_line WHERE
    /// ol_delivery_d IS NOT NULL GROUP BY ol_number`. The averages follow from the sums; the date
    /// that the query compares with is before the load, as it is in CH-benCHmark.
    pub(super) fn analyse(&mut self) -> Result<(), TransactionError> {
        let mut groups = [Group::default(); 16];
        for line in self.transaction.range(&self.tables.order_lines, ..)? {
            let (key, line) = line?;
            if line.delivered.is_some() {
                let group = &mut groups[(key & 15) as usize];
                group.quantity += u64::from(line.quantity);
                group.amount += line.amount;
                group.count += 1;
            }
        }
        self.scratch.screen.groups.extend(groups);
        Ok(())
    }
}
