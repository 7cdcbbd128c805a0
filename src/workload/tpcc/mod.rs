//! TPC-C (Transaction Processing Performance Council, Benchmark C, revision 5.11): a wholesale
//! supplier's order entry, all five transactions, and its consistency conditions checked while it
//! runs.
//!
//! What departs from the standard is said in [`Workload::basis`] and hence in every report: no
//! terminals beyond this process, no durability, and no keying and think times unless they are
//! asked for. Clauses are cited where they are implemented.
//!
//! * [`rows`], [`keys`], [`text`]: the tables.
//! * [`nurand`], [`population`], [`load`]: what is in them at first.
//! * [`terminal`], [`request`]: who asks for what.
//! * [`transactions`]: what is then done.
//! * [`audit`]: whether it was done right.
//!
//! Under snapshot isolation TPC-C is serializable (Fekete, Liarokapis, O'Neil, O'Neil, Shasha, TODS
//! 2005), so the conditions are the same for protocols of that level.

#![allow(clippy::inconsistent_digit_grouping, reason = "the last two digits are cents: 10_00")]

mod audit;
mod config;
mod keys;
mod load;
mod nurand;
mod population;
mod request;
mod rows;
mod tables;
mod terminal;
#[cfg(all(test, not(loom)))]
mod tests;
mod text;
mod transactions;
mod worker;

pub use tables::Tables;
pub use worker::TpccWorker;

use crate::protocol::Protocol;
use crate::workload::common::preset;
use crate::workload::{
    Finding, Footprint, LoadWatch, Moment, Preset, Properties, PropertyError, PropertyRow, Seed,
    TallyRow, Workload,
};
use crate::{Error, Store, TransactionError};
use config::{Config, DECK, DISTRICTS, Scale};
use population::Population;
use rows::{Customer, District, History, Item, Order, OrderLine, Stock, Warehouse};

/// TPC-C.
#[derive(Debug)]
pub struct Tpcc {
    config: Config,
}

impl Workload for Tpcc {
    type Tables<P: Protocol> = Tables<P>;
    type Worker<'run, P: Protocol> = TpccWorker<'run, P>;

    const CLASSES: &'static [&'static str] = &["tpcc"];
    const PRESETS: &'static [Preset] = &[preset(
        "tpcc",
        include_str!("../../../workloads/tpcc"),
        "order entry, all five transactions, two warehouses, twelve conditions audited as it runs",
    )];
    const PROPERTIES: &'static [PropertyRow] = config::ROWS;
    const KINDS: &'static [&'static str] = worker::KINDS;
    const TALLIES: &'static [TallyRow] = &worker::TALLIES;

    fn configure(properties: &Properties) -> Result<Self, PropertyError> {
        Ok(Tpcc { config: Config::read(properties)? })
    }

    fn basis(&self) -> Vec<(&'static str, String)> {
        vec![
            ("mix", self.describe_mix()),
            ("scale", self.describe_scale()),
            ("compliance", self.describe_compliance()),
            ("tables", DESCRIBE_TABLES.to_owned()),
            ("operations", DESCRIBE_OPERATIONS.to_owned()),
        ]
    }

    fn footprint(&self) -> Footprint {
        footprint(self.config.scale, self.config.transactions_expected)
    }

    fn open<P: Protocol>(&self, store: &Store<P>) -> Result<Tables<P>, Error> {
        Tables::open(store)
    }

    fn load<P: Protocol>(
        &self,
        store: &Store<P>,
        tables: &Tables<P>,
        seed: Seed,
        watch: &dyn LoadWatch,
    ) -> Result<(), TransactionError> {
        let population = Population::new(self.config.scale, seed, request::now());
        load::load(&population, store, tables, watch)
    }

    fn worker<'run, P: Protocol>(
        &'run self,
        store: &'run Store<P>,
        tables: &'run Tables<P>,
        seed: Seed,
        index: usize,
        workers: usize,
    ) -> TpccWorker<'run, P> {
        TpccWorker::new(self, store, tables, seed, index, workers)
    }

    fn audit<P: Protocol>(
        &self,
        store: &Store<P>,
        tables: &Tables<P>,
        moment: Moment,
    ) -> Result<Vec<Finding>, TransactionError> {
        audit::audit(&self.config, store, tables, moment)
    }

    fn audits_during(&self) -> bool {
        true
    }
}

const DESCRIBE_TABLES: &str = "the standard's nine, whole rows, money in integer cents; C_DATA \
    lies apart (clause 1.4.5), W_YTD beside W_TAX and D_YTD beside D_NEXT_O_ID; indexes of \
    customers by last name and of orders by customer, kept in the same transactions";

const DESCRIBE_OPERATIONS: &str = "a delivery serves its ten districts in one transaction, at once \
    and not from a queue; order-status and stock-level run as views, all else as transactions of \
    the protocol's level; a user's mistake is rolled back at the end and not retried";

impl Tpcc {
    fn describe_mix(&self) -> String {
        let Config { deck, analysts, .. } = &self.config;
        let [new_order, payment, status, delivery, level] = deck;
        let name = if *deck == DECK { "" } else { ", NOT THE STANDARD'S MIX" };
        let analysts = match analysts {
            0 => String::new(),
            n => format!("; the last {n} worker(s) scan all order lines instead (CH query 1)"),
        };
        format!(
            "decks of {new_order} new-orders, {payment} payments, {status} order-statuses, \
             {delivery} deliveries, {level} stock-levels{name}{analysts}"
        )
    }

    fn describe_scale(&self) -> String {
        let scale = self.config.scale;
        let Scale { warehouses, customers, items } = scale;
        let name = if scale.is_standard() { "" } else { ", SMALLER THAN THE STANDARD'S" };
        format!(
            "{warehouses} warehouse(s), each with {DISTRICTS} districts of {customers} customers \
             and {items} stocks{name}; {DISTRICTS} terminals for each, at home in its districts"
        )
    }

    fn describe_compliance(&self) -> String {
        let think = match self.config.think {
            true => "terminals key and think as clause 5.2.5.7 says, but",
            false => "no keying and think time (think=true adds them), and",
        };
        format!("not TPC-C compliant: {think} nothing is durable and nobody has audited this")
    }
}

/// What is loaded, and what a number of transactions adds.
fn footprint(scale: Scale, transactions: u64) -> Footprint {
    let warehouses = u64::from(scale.warehouses);
    let customers = warehouses * u64::from(DISTRICTS * scale.customers);
    let new_orders = warehouses * u64::from(DISTRICTS * (scale.customers - scale.delivered()));
    let stocks = warehouses * u64::from(scale.items);
    // Rows, and bytes of one key and value; C_DATA has 400 bytes on average, an order 10 lines.
    let tables: [(u64, usize); 12] = [
        (warehouses, 8 + size_of::<Warehouse>()),
        (warehouses * u64::from(DISTRICTS), 8 + size_of::<District>()),
        (customers, 8 + size_of::<Customer>()),
        (customers, 8 + 400),
        (customers, size_of::<keys::NameKey>()),
        (customers, 8 + size_of::<History>()),
        (u64::from(scale.items), 8 + size_of::<Item>()),
        (stocks, 8 + size_of::<Stock>()),
        (customers, 8 + size_of::<Order>()),
        (customers, 8),
        (new_orders, 8),
        (10 * customers, 8 + size_of::<OrderLine>()),
    ];
    let records: u64 = tables.iter().map(|(rows, _)| rows).sum();
    let bytes: u64 = tables.iter().map(|(rows, bytes)| rows * *bytes as u64).sum();
    Footprint {
        records,
        // 45 orders of 13 rows and 43 payments of one row in a hundred transactions.
        records_added: transactions.saturating_mul(45 * 13 + 43) / 100,
        record_bytes: bytes / records,
    }
}
