//! What is loaded (clause 4.3.3.1).

use super::super::rows::Credit;
use super::super::text::last_name;
use super::super::{Tpcc, keys, tables};
use super::{OnMvocc, SMALL, expect_consistent};
use crate::protocol::Mvocc;
use crate::sync::unmodelled::{AtomicU64, Ordering};
use crate::workload::common::testing::{Loaded, configured};
use crate::workload::{LoadWatch, Seed, Workload};
use crate::{OrderedKey, OrderedTable, Store, Transaction, TransactionError};

type Tables = tables::Tables<Mvocc>;

#[derive(Default)]
struct Counted(AtomicU64);

impl LoadWatch for Counted {
    fn loaded(&self, records: u64) -> bool {
        // Relaxed: a statistic.
        self.0.fetch_add(records, Ordering::Relaxed);
        true
    }
}

fn rows<K, V>(store: &Store, table: &OrderedTable<K, V>) -> u64
where
    K: OrderedKey,
    V: Send + Sync + 'static,
{
    store.view(|tx| Ok(tx.range(table, ..)?.count() as u64)).expect("a view")
}

#[test]
fn a_warehouse_of_the_standard_has_the_standards_rows() {
    let tpcc = configured::<Tpcc>(&[("warehouses", "1")]);
    let store = Store::new();
    let tables = tpcc.open(&store).expect("tables");
    let watch = Counted::default();
    tpcc.load(&store, &tables, Seed::new(20), &watch).expect("loaded");
    let counted = watch.0.into_inner();
    let lines = rows(&store, &tables.order_lines);
    // 30,000 orders of ten lines on average: four standard errors are about 2,200.
    assert!((297_800..302_200).contains(&lines), "{lines}");
    assert_eq!(rows(&store, &tables.history), 30_000);
    assert_eq!(rows(&store, &tables.customer_names), 30_000);
    assert_eq!(rows(&store, &tables.orders), 30_000);
    assert_eq!(rows(&store, &tables.customer_orders), 30_000);
    assert_eq!(rows(&store, &tables.new_orders), 9_000);
    let point_rows = store.view(|tx| {
        let mut count = 0;
        for item in 1..=100_001 {
            count += u64::from(tx.get(&tables.items, &item)?.is_some());
            count += u64::from(tx.get(&tables.stocks, &keys::stock(1, item as u32))?.is_some());
        }
        for (district, customer) in (1..=11).flat_map(|d| (1..=3_001).map(move |c| (d, c))) {
            let key = keys::customer(1, district, customer);
            count += u64::from(tx.get(&tables.customers, &key)?.is_some());
            count += u64::from(tx.get(&tables.customer_data, &key)?.is_some());
        }
        Ok(count)
    });
    assert_eq!(point_rows.expect("a view"), 2 * 100_000 + 2 * 30_000);
    assert_eq!(counted, 2 * 100_000 + 6 * 30_000 + 9_000 + lines + 1 + 10);
    let footprint = tpcc.footprint();
    assert!(footprint.records.abs_diff(counted) < 3_000, "{footprint:?} is not {counted}");
    check_population(&store, &tables);
    expect_consistent(&Loaded { workload: tpcc, store, tables });
}

/// Shares and amounts of clause 4.3.3.1, in the standard's warehouse.
fn check_population(store: &Store, tables: &Tables) {
    let checked = store.view(|tx| {
        let warehouse = tx.get(&tables.warehouses, &1)?.expect("loaded");
        assert_eq!(warehouse.ytd, 300_000_00);
        assert!(warehouse.tax <= 2_000);
        let mut original = [0, 0];
        for item in 1..=100_000 {
            let row = tx.get(&tables.items, &item)?.expect("loaded");
            assert!((1_00..=100_00).contains(&row.price));
            original[0] += u32::from(row.data.is_original());
            let stock = tx.get(&tables.stocks, &keys::stock(1, item as u32))?.expect("loaded");
            assert!((10..=100).contains(&stock.quantity));
            original[1] += u32::from(stock.data.is_original());
        }
        assert_eq!(original, [10_000; 2], "exactly a tenth, but which is random");
        for district in 1..=10 {
            check_district(tx, tables, district)?;
        }
        Ok(())
    });
    checked.expect("a view");
}

fn check_district(
    tx: &Transaction<'_>,
    tables: &Tables,
    district: u32,
) -> Result<(), TransactionError> {
    let row = tx.get(&tables.districts, &keys::district(1, district))?.expect("loaded");
    assert_eq!((row.ytd, row.next_order), (30_000_00, 3_001));
    let mut bad = 0;
    for customer in 1..=3_000 {
        let key = keys::customer(1, district, customer);
        let row = tx.get(&tables.customers, &key)?.expect("loaded");
        assert_eq!((row.balance, row.ytd_payment), (-10_00, 10_00));
        assert_eq!((row.payment_count, row.delivery_count), (1, 0));
        assert!(row.discount <= 5_000);
        bad += u32::from(row.credit == Credit::Bad);
        if customer <= 1_000 {
            assert_eq!(row.last, last_name(customer - 1));
        }
        let data = tx.get(&tables.customer_data, &key)?.expect("loaded");
        assert!((300..=500).contains(&data.len()));
    }
    assert_eq!(bad, 300);
    let mut customers = Vec::new();
    for order in tx.range(&tables.orders, keys::orders_of_district(1, district))? {
        let (key, row) = order?;
        let delivered = keys::order_number(*key) <= 2_100;
        assert_eq!(row.carrier.is_some(), delivered);
        assert!(row.all_local && (5..=15).contains(&row.line_count));
        customers.push(row.customer);
        for line in tx.range(&tables.order_lines, keys::lines_of_order(*key))? {
            let line = line?.1;
            assert_eq!(line.delivered.is_some(), delivered);
            assert_eq!(line.amount == 0, delivered);
            assert!((0..=9_999_99).contains(&line.amount) && line.quantity == 5);
        }
    }
    assert!(!customers.is_sorted(), "a permutation, and not the first one");
    customers.sort_unstable();
    assert_eq!(customers, (1..=3_000).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn what_is_loaded_follows_from_the_seed_alone() {
    let read = || {
        let OnMvocc { store, tables, .. } = Loaded::new(SMALL);
        let all = store.view(|tx| {
            let lines = tx.range(&tables.order_lines, ..)?;
            let lines: Result<Vec<_>, _> =
                lines.map(|line| line.map(|(key, line)| (*key, line.item, line.amount))).collect();
            let names = tx.range(&tables.customer_names, ..)?;
            let names: Result<Vec<_>, _> = names.map(|name| name.map(|(key, ())| *key)).collect();
            Ok((lines?, names?))
        });
        all.expect("a view")
    };
    assert_eq!(read(), read());
}
