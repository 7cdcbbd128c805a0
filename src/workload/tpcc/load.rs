//! The load phase: every row of clause 4.3.3.1, on all threads of the current rayon pool.

use super::config::DISTRICTS;
use super::keys;
use super::population::Population;
use super::tables::Tables;
use crate::protocol::Protocol;
use crate::workload::LoadWatch;
use crate::workload::common::for_each_batch;
use crate::{Store, TransactionError};
use std::ops::Range;

/// Rows, or orders, of one transaction.
const BATCH: u32 = 50;

/// A piece of the load that one thread does at a time.
#[derive(Debug, Clone)]
enum Piece {
    Items(Range<u32>),
    /// A warehouse and its districts.
    Warehouse(u32),
    Stocks(u32, Range<u32>),
    Customers((u32, u32), Range<u32>),
    Orders((u32, u32), Range<u32>),
}

/// `1..=last` in batches.
fn batches(last: u32) -> impl Iterator<Item = Range<u32>> {
    (1..=last).step_by(BATCH as usize).map(move |first| first..(last + 1).min(first + BATCH))
}

/// Loads everything. An end that `watch` asks for is no error.
pub(super) fn load<P: Protocol>(
    population: &Population,
    store: &Store<P>,
    tables: &Tables<P>,
    watch: &dyn LoadWatch,
) -> Result<(), TransactionError> {
    let scale = population.scale;
    let mut pieces: Vec<Piece> = batches(scale.items).map(Piece::Items).collect();
    for warehouse in 1..=scale.warehouses {
        pieces.push(Piece::Warehouse(warehouse));
        pieces.extend(batches(scale.items).map(|batch| Piece::Stocks(warehouse, batch)));
        for district in (1..=DISTRICTS).map(|district| (warehouse, district)) {
            let customers = batches(scale.customers);
            pieces.extend(customers.map(|batch| Piece::Customers(district, batch)));
            pieces.extend(batches(scale.customers).map(|batch| Piece::Orders(district, batch)));
        }
    }
    let count = pieces.len() as u64;
    for_each_batch(
        (count, 1),
        watch,
        || (),
        |(), numbers| load_piece(population, store, tables, pieces[numbers.start as usize].clone()),
    )
}

/// Loads one piece and gives the number of its rows.
fn load_piece<P: Protocol>(
    population: &Population,
    store: &Store<P>,
    tables: &Tables<P>,
    piece: Piece,
) -> Result<u64, TransactionError> {
    let count = |rows: &Range<u32>| u64::from(rows.end - rows.start);
    match piece {
        Piece::Items(items) => {
            store.transact(|tx| {
                items.clone().try_for_each(|item| {
                    tx.put(&tables.items, u64::from(item), population.item(item))
                })
            })?;
            Ok(count(&items))
        }
        Piece::Warehouse(warehouse) => {
            let (row, districts) = population.warehouse(warehouse);
            store.transact(|tx| {
                tx.put(&tables.warehouses, u64::from(warehouse), row)?;
                (1..).zip(&districts).try_for_each(|(district, row)| {
                    tx.put(&tables.districts, keys::district(warehouse, district), *row)
                })
            })?;
            Ok(1 + u64::from(DISTRICTS))
        }
        Piece::Stocks(warehouse, items) => {
            let originals = population.original_stocks(warehouse);
            store.transact(|tx| {
                items.clone().try_for_each(|item| {
                    let stock = population.stock(&originals, warehouse, item);
                    tx.put(&tables.stocks, keys::stock(warehouse, item), stock)
                })
            })?;
            Ok(count(&items))
        }
        Piece::Customers(district, customers) => {
            load_customers(population, store, tables, district, customers)
        }
        Piece::Orders(district, orders) => load_orders(population, store, tables, district, orders),
    }
}

fn load_customers<P: Protocol>(
    population: &Population,
    store: &Store<P>,
    tables: &Tables<P>,
    district: (u32, u32),
    customers: Range<u32>,
) -> Result<u64, TransactionError> {
    let bad_credits = population.bad_credits(keys::district(district.0, district.1));
    let mut data = Vec::new();
    store.transact(|tx| {
        for customer in customers.clone() {
            data.clear();
            let key = keys::customer(district.0, district.1, customer);
            let row = population.customer(&bad_credits, district, customer, &mut data);
            let name = keys::name(district, &row.last, &row.first, customer);
            tx.put(&tables.customers, key, row)?;
            tx.put(&tables.customer_data, key, &data)?;
            tx.put(&tables.customer_names, name, ())?;
            // Worker 0 is nobody: the workers count from 1.
            let payment = population.history(district, customer);
            tx.put(&tables.history, keys::history(0, key), payment)?;
        }
        Ok(())
    })?;
    Ok(4 * u64::from(customers.end - customers.start))
}

fn load_orders<P: Protocol>(
    population: &Population,
    store: &Store<P>,
    tables: &Tables<P>,
    district: (u32, u32),
    orders: Range<u32>,
) -> Result<u64, TransactionError> {
    let customers = population.order_customers(keys::district(district.0, district.1));
    let mut lines = Vec::new();
    store.transact(|tx| {
        let mut rows = 0;
        for order in orders.clone() {
            let key = keys::order(district.0, district.1, order);
            let row = population.order(&customers, district, order, &mut lines);
            let customer = keys::customer(district.0, district.1, row.customer);
            tx.put(&tables.orders, key, row)?;
            tx.put(&tables.customer_orders, keys::customer_order(customer, order), ())?;
            for (number, line) in (1..).zip(&lines) {
                tx.put(&tables.order_lines, keys::order_line(key, number), *line)?;
            }
            if row.carrier.is_none() {
                tx.put(&tables.new_orders, key, ())?;
                rows += 1;
            }
            rows += 2 + lines.len() as u64;
        }
        Ok(rows)
    })
}
