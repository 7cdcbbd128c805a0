//! The nine tables of the standard, C_DATA, and two secondary indexes.

use super::keys::NameKey;
use super::rows::{Customer, District, History, Item, Order, OrderLine, Stock, Warehouse};
use super::worker::TALLY_COUNT;
use crate::protocol::Protocol;
use crate::workload::common::Ledger;
use crate::{Error, OrderedTable, Store, Table};

/// The tables of TPC-C in one store. Keys are packed as [`super::keys`] says.
#[derive(Debug)]
pub struct Tables<P: Protocol> {
    pub(super) warehouses: Table<u64, Warehouse, P>,
    pub(super) districts: Table<u64, District, P>,
    pub(super) customers: Table<u64, Customer, P>,
    /// C_DATA.
    pub(super) customer_data: Table<u64, [u8], P>,
    /// Customers by last name, and then by first name.
    pub(super) customer_names: OrderedTable<NameKey, (), P>,
    pub(super) history: OrderedTable<u64, History, P>,
    pub(super) items: Table<u64, Item, P>,
    pub(super) stocks: Table<u64, Stock, P>,
    pub(super) orders: OrderedTable<u64, Order, P>,
    /// Orders by customer.
    pub(super) customer_orders: OrderedTable<u64, (), P>,
    pub(super) new_orders: OrderedTable<u64, (), P>,
    pub(super) order_lines: OrderedTable<u64, OrderLine, P>,
    /// What the workers have counted, for the audit of the run.
    pub(super) ledger: Ledger<TALLY_COUNT>,
}

impl<P: Protocol> Tables<P> {
    pub(super) fn open(store: &Store<P>) -> Result<Self, Error> {
        Ok(Tables {
            warehouses: store.table("warehouse")?,
            districts: store.table("district")?,
            customers: store.table("customer")?,
            customer_data: store.table("customer.data")?,
            customer_names: store.ordered_table("customer.by-name")?,
            history: store.ordered_table("history")?,
            items: store.table("item")?,
            stocks: store.table("stock")?,
            orders: store.ordered_table("order")?,
            customer_orders: store.ordered_table("order.by-customer")?,
            new_orders: store.ordered_table("new-order")?,
            order_lines: store.ordered_table("order-line")?,
            ledger: Ledger::new(),
        })
    }
}
