//! TPC-C on a store: the population, the transactions, the audits, and a run on every protocol.

use super::keys;
use super::request::{
    Delivery, Line, NewOrder, OrderStatus, Payment, Request, Selector, StockLevel,
};
use super::rows::{Credit, Stock, Warehouse};
use super::tables::Tables;
use super::text::last_name;
use super::transactions::{Scratch, execute};
use super::worker::{TALLY_COUNT, Tally};
use super::{Tpcc, audit};
use crate::protocol::{self, Mvocc, Protocol, Ranges, Visitor};
use crate::sync::unmodelled::{AtomicBool, AtomicU64, Ordering};
use crate::workload::{
    End, Finding, LoadWatch, Moment, Properties, Seed, TallyRole, Worker, Workload,
};
use crate::{Attempts, OrderedTable, Store, Transaction, TransactionError};

const SEED: u64 = 20;
/// Two warehouses with ten districts of 30 customers.
const SMALL: &str = "warehouses=2\ncustomers=30\nitems=100";
const LOADED_ORDERS: u32 = 30;

#[derive(Default)]
struct Loaded(AtomicU64);

impl LoadWatch for Loaded {
    fn loaded(&self, records: u64) -> bool {
        // Relaxed: a statistic.
        self.0.fetch_add(records, Ordering::Relaxed);
        true
    }
}

fn tpcc(text: &str) -> Tpcc {
    let mut properties = Properties::new();
    properties.read_bytes(text.as_bytes(), "test").expect("a valid text");
    Tpcc::configure(&properties).expect("a valid configuration")
}

/// A loaded store, and the number of rows that the loader counted.
fn loaded<P: Protocol>(tpcc: &Tpcc) -> (Store<P>, Tables<P>, u64) {
    let store = Store::builder().shards(2).build_with().expect("a store");
    let tables = tpcc.open(&store).expect("tables");
    let watch = Loaded::default();
    tpcc.load(&store, &tables, Seed::new(SEED), &watch).expect("loaded");
    (store, tables, watch.0.into_inner())
}

fn findings<P: Protocol>(tpcc: &Tpcc, store: &Store<P>, tables: &Tables<P>) -> Vec<Finding> {
    audit::audit(&tpcc.config, store, tables, Moment::During).expect("nobody is in the way")
}

/// The places, from 1, of the conditions that do not hold.
fn broken(findings: &[Finding]) -> Vec<usize> {
    (1..).zip(findings).filter(|(_, finding)| !finding.holds).map(|(number, _)| number).collect()
}

fn rows<K, V>(store: &Store, table: &OrderedTable<K, V, Mvocc>) -> u64
where
    K: crate::OrderedKey,
    V: Send + Sync + 'static,
{
    store.view(|tx| Ok(tx.range(table, ..)?.count() as u64)).expect("a view")
}

#[test]
fn a_warehouse_of_the_standard_has_the_standards_rows() {
    let tpcc = tpcc("warehouses=1");
    let (store, tables, counted) = loaded::<Mvocc>(&tpcc);
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
    let findings = findings(&tpcc, &store, &tables);
    assert_eq!(findings.len(), 13);
    assert_eq!(broken(&findings), [0; 0], "{findings:?}");
    check_population(&store, &tables);
}

/// Shares and amounts of clause 4.3.3.1, in the standard's warehouse.
fn check_population(store: &Store, tables: &Tables<Mvocc>) {
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
    tables: &Tables<Mvocc>,
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
    let tpcc = tpcc(SMALL);
    let read = || {
        let (store, tables, _) = loaded::<Mvocc>(&tpcc);
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

/// A small store that is right, and then is changed by `damage`: which conditions notice?
fn noticed(
    damage: impl Fn(&Transaction<'_>, &Tables<Mvocc>) -> Result<(), TransactionError>,
) -> Vec<usize> {
    let tpcc = tpcc(SMALL);
    let (store, tables, _) = loaded::<Mvocc>(&tpcc);
    let before = findings(&tpcc, &store, &tables);
    assert_eq!(broken(&before), [0; 0], "{before:?}");
    store.transact(|tx| damage(tx, &tables)).expect("damaged");
    let findings = findings(&tpcc, &store, &tables);
    for finding in findings.iter().filter(|finding| !finding.holds) {
        assert!(finding.evidence.contains("fail, first"), "{finding:?}");
    }
    broken(&findings)
}

/// The keys of an order that is not delivered and of one that is.
fn waiting_and_delivered() -> (u64, u64) {
    (keys::order(2, 3, LOADED_ORDERS), keys::order(2, 3, 1))
}

#[test]
fn condition_1_notices_a_warehouse_that_is_not_its_districts() {
    let noticed = noticed(|tx, tables| {
        // One district's income too high, another's too low: the second warehouse gains a cent.
        let change = |row: &Warehouse| Warehouse { ytd: row.ytd + 1, ..*row };
        tx.update(&tables.warehouses, &2, change).map(|found| assert!(found))
    });
    assert_eq!(noticed, [1, 8]);
}

#[test]
fn condition_2_notices_a_number_that_was_skipped() {
    let noticed = noticed(|tx, tables| {
        let key = keys::district(1, 7);
        let change = |row: &super::rows::District| {
            let mut row = *row;
            row.next_order += 1;
            row
        };
        tx.update(&tables.districts, &key, change).map(|found| assert!(found))
    });
    assert_eq!(noticed, [2]);
}

#[test]
fn condition_3_notices_a_gap_between_new_orders() {
    let noticed = noticed(|tx, tables| {
        let inside = keys::order(1, 1, LOADED_ORDERS - 3);
        tx.remove(&tables.new_orders, &inside).map(|found| assert!(found))
    });
    // The order has neither a carrier nor a row among the new ones, and was delivered by nobody.
    assert_eq!(noticed, [3, 5, 11]);
}

#[test]
fn conditions_4_and_6_notice_a_line_too_few() {
    let noticed = noticed(|tx, tables| {
        let line = keys::order_line(waiting_and_delivered().0, 2);
        tx.remove(&tables.order_lines, &line).map(|found| assert!(found))
    });
    assert_eq!(noticed, [4, 6]);
}

#[test]
fn condition_6_notices_a_line_in_the_wrong_order() {
    let noticed = noticed(|tx, tables| {
        let (from, to) = (keys::order(1, 1, 28), keys::order(1, 1, 29));
        let row = *tx.get(&tables.order_lines, &keys::order_line(from, 1))?.expect("loaded");
        assert!(tx.remove(&tables.order_lines, &keys::order_line(from, 1))?);
        tx.put(&tables.order_lines, keys::order_line(to, 0), row)
    });
    assert_eq!(noticed, [6]);
}

#[test]
fn condition_5_notices_a_carrier_too_early() {
    let noticed = noticed(|tx, tables| {
        let change = |row: &super::rows::Order| {
            let mut row = *row;
            row.carrier = Some(1);
            row
        };
        let (waiting, _) = waiting_and_delivered();
        tx.update(&tables.orders, &waiting, change).map(|found| assert!(found))
    });
    // Its lines are not delivered, although it has a carrier.
    assert_eq!(noticed, [5, 7]);
}

#[test]
fn condition_7_notices_a_line_that_was_not_delivered() {
    let noticed = noticed(|tx, tables| {
        let line = keys::order_line(waiting_and_delivered().1, 1);
        let change = |row: &super::rows::OrderLine| {
            let mut row = *row;
            row.delivered = None;
            row
        };
        tx.update(&tables.order_lines, &line, change).map(|found| assert!(found))
    });
    // Delivered when it was loaded, hence without an amount: no sum changes.
    assert_eq!(noticed, [7]);
}

#[test]
fn conditions_8_to_10_notice_a_payment_that_is_gone() {
    let noticed = noticed(|tx, tables| {
        let first = *tx.first(&tables.history)?.expect("loaded").0;
        tx.remove(&tables.history, &first).map(|found| assert!(found))
    });
    assert_eq!(noticed, [8, 9, 10]);
}

#[test]
fn condition_9_notices_a_payment_in_the_wrong_district() {
    let noticed = noticed(|tx, tables| {
        let first = *tx.first(&tables.history)?.expect("loaded").0;
        let change = |row: &super::rows::History| {
            let mut row = *row;
            row.district = row.district % 10 + 1;
            row
        };
        tx.update(&tables.history, &first, change).map(|found| assert!(found))
    });
    assert_eq!(noticed, [9]);
}

#[test]
fn condition_10_notices_a_payment_of_somebody_else() {
    let noticed = noticed(|tx, tables| {
        let first = *tx.first(&tables.history)?.expect("loaded").0;
        let change = |row: &super::rows::History| {
            let mut row = *row;
            row.customer = row.customer % 30 + 1;
            row
        };
        tx.update(&tables.history, &first, change).map(|found| assert!(found))
    });
    assert_eq!(noticed, [10]);
}

#[test]
fn condition_11_notices_a_delivery_that_was_not_counted() {
    let noticed = noticed(|tx, tables| {
        let customer = keys::customer(1, 1, 1);
        let change = |row: &super::rows::Customer| {
            let mut row = *row;
            row.delivery_count += 1;
            row
        };
        tx.update(&tables.customers, &customer, change).map(|found| assert!(found))
    });
    assert_eq!(noticed, [11]);
}

#[test]
fn condition_12_notices_a_payment_that_was_not_added_up() {
    let noticed = noticed(|tx, tables| {
        let customer = keys::customer(2, 10, 30);
        let change = |row: &super::rows::Customer| {
            let mut row = *row;
            row.ytd_payment += 1;
            row
        };
        tx.update(&tables.customers, &customer, change).map(|found| assert!(found))
    });
    assert_eq!(noticed, [12]);
}

#[test]
fn the_thirteenth_condition_notices_a_lost_update_of_a_stock() {
    let noticed = noticed(|tx, tables| {
        let change = |row: &Stock| Stock { ytd: row.ytd + 3, ..*row };
        tx.update(&tables.stocks, &keys::stock(2, 50), change).map(|found| assert!(found))
    });
    assert_eq!(noticed, [13]);
}

/// Runs one request; its scratch, if it committed.
fn run<P: Protocol>(store: &Store<P>, tables: &Tables<P>, request: Request) -> (Scratch, End) {
    let (mut scratch, mut attempts) = (Scratch::default(), Attempts::default());
    let history = keys::history(9, 1);
    let outcome = execute(store, tables, &request, history, &mut scratch, &mut attempts);
    (scratch, End::of(outcome).expect("no misuse"))
}

fn new_order(items: &[u32]) -> Request {
    let line = |&item| Line { item, supplier: 1 + item % 2, quantity: 4 };
    let lines = items.iter().map(line).collect();
    Request::NewOrder(NewOrder { warehouse: 1, district: 2, customer: 3, entered: 5, lines })
}

#[test]
fn an_order_is_entered_shown_delivered_and_counted() {
    let tpcc = tpcc(SMALL);
    let (store, tables, _) = loaded::<Mvocc>(&tpcc);
    // The same item twice: the second line sees what the first one left.
    let (scratch, end) = run(&store, &tables, new_order(&[7, 8, 9, 10, 7]));
    assert_eq!((end, scratch.lost, scratch.duplicates), (End::Committed, 0, 0));
    let screen = &scratch.screen;
    assert_eq!((screen.order_number, screen.new_lines.len()), (LOADED_ORDERS + 1, 5));
    let [first, .., last] = screen.new_lines.as_slice() else { panic!("five lines") };
    assert!(last.stock == first.stock - 4 || last.stock == first.stock + 87);
    assert_eq!(first.amount, 4 * first.price);
    let sum: i64 = screen.new_lines.iter().map(|line| line.amount).sum();
    assert!(screen.total > sum / 2 && screen.total < sum * 14 / 10);

    let status = |customer| {
        let status = OrderStatus { warehouse: 1, district: 2, customer };
        run(&store, &tables, Request::OrderStatus(status)).0.screen
    };
    let shown = status(Selector::Number(3));
    assert_eq!((shown.order_number, shown.order_lines.len()), (LOADED_ORDERS + 1, 5));
    assert!(shown.order.is_some_and(|order| order.carrier.is_none() && !order.all_local));

    let level = StockLevel { warehouse: 1, district: 2, threshold: 101 };
    let low = run(&store, &tables, Request::StockLevel(level)).0.screen.low_stocks;
    assert!(low > 50 && low <= 100, "most of a hundred items are in the last twenty orders: {low}");

    // Nine orders of each district were waiting, and now ten of this one.
    for round in 1..=10 {
        let delivery = Delivery { warehouse: 1, carrier: 4, date: 6 };
        let (scratch, end) = run(&store, &tables, Request::Delivery(delivery));
        let expected = if round <= 9 { (10, 0) } else { (1, 9) };
        assert_eq!(
            (end, scratch.delivered, scratch.skipped),
            (End::Committed, expected.0, expected.1)
        );
    }
    let shown = status(Selector::Number(3));
    assert!(shown.order.is_some_and(|order| order.carrier == Some(4)));
    assert!(shown.order_lines.iter().all(|line| line.delivered == Some(6)));
    assert!(shown.customer.is_some_and(|customer| customer.delivery_count >= 1));

    let groups = run(&store, &tables, Request::Analysis).0.screen.groups;
    assert_eq!(groups.len(), 16);
    assert_eq!(groups[0].count, 0, "lines are numbered from 1");
    assert!(groups[1].count >= groups[15].count && groups[1].amount > 0);
    let findings = findings(&tpcc, &store, &tables);
    assert_eq!(broken(&findings), [0; 0], "{findings:?}");
}

#[test]
fn a_mistaken_order_leaves_nothing() {
    let tpcc = tpcc(SMALL);
    let (store, tables, _) = loaded::<Mvocc>(&tpcc);
    let (_, end) = run(&store, &tables, new_order(&[7, 8, 9, 10, 101]));
    assert_eq!(end, End::RolledBack);
    let left = store.view(|tx| {
        let district = tx.get(&tables.districts, &keys::district(1, 2))?.expect("loaded");
        let stock = tx.get(&tables.stocks, &keys::stock(2, 7))?.expect("loaded");
        let order = tx.get(&tables.orders, &keys::order(1, 2, LOADED_ORDERS + 1))?;
        Ok((district.next_order, stock.order_count, order.is_some()))
    });
    assert_eq!(left.expect("a view"), (LOADED_ORDERS + 1, 0, false));
    assert_eq!(broken(&findings(&tpcc, &store, &tables)), [0; 0]);
}

#[test]
fn payments_find_the_middle_namesake_and_note_bad_credit() {
    let tpcc = tpcc("warehouses=2\ncustomers=1500\nitems=100");
    let (store, tables, _) = loaded::<Mvocc>(&tpcc);
    // A name that several have, and one of them with bad credit.
    let (last, middle) = (0..1_000)
        .find_map(|number| {
            let namesakes = store.view(|tx| {
                let mut rows = Vec::new();
                for customer in 1..=1_500 {
                    let row = tx.get(&tables.customers, &keys::customer(2, 4, customer))?;
                    let row = row.expect("loaded");
                    if row.last == last_name(number) {
                        rows.push((row.first, customer, row.credit));
                    }
                }
                rows.sort_by_key(|row| (row.0, row.1));
                Ok(rows)
            });
            let namesakes = namesakes.expect("a view");
            // Of four the second is the middle one.
            let (_, customer, credit) = *namesakes.get(1)?;
            (namesakes.len() == 4 && credit == Credit::Bad).then(|| (last_name(number), customer))
        })
        .expect("some name has four bearers, the second with bad credit");
    let payment = Payment {
        warehouse: 1,
        district: 5,
        customer_warehouse: 2,
        customer_district: 4,
        customer: Selector::LastName(last),
        amount: 123_45,
        date: 8,
    };
    let (scratch, end) = run(&store, &tables, Request::Payment(payment));
    assert_eq!((end, scratch.lost, scratch.duplicates), (End::Committed, 0, 0));
    let note = format!("{middle} 4 2 5 1 123.45 ");
    assert!(scratch.screen.customer_data.starts_with(note.as_bytes()));
    assert_eq!(scratch.screen.customer_data.len(), 200);
    let customer = scratch.screen.customer.expect("shown");
    assert_eq!((customer.balance, customer.ytd_payment), (-133_45, 133_45));
    assert_eq!(broken(&findings(&tpcc, &store, &tables)), [0; 0]);
}

/// Draws requests and runs none of them; what was counted.
fn drawn(tpcc: &Tpcc, count: u64) -> [u64; TALLY_COUNT] {
    let store: Store = Store::builder().shards(1).build().expect("a store");
    let tables = tpcc.open(&store).expect("tables");
    let mut worker = tpcc.worker(&store, &tables, Seed::new(SEED), 0, 1);
    for _ in 0..count {
        worker.prepare();
        worker.settle(End::Committed);
    }
    let tallies = std::array::from_fn(|tally| tables.ledger.sum(tally));
    assert_eq!(tallies.as_slice(), worker.tallies());
    tallies
}

fn requests(tpcc: &Tpcc, tallies: &[u64; TALLY_COUNT]) -> Vec<Finding> {
    audit::requests::check(&tpcc.config, |tally| tallies[tally as usize])
}

#[test]
fn the_requests_pass_the_audit_of_the_run_and_others_do_not() {
    let tpcc = tpcc("warehouses=10");
    let tallies = drawn(&tpcc, 2_000_000);
    let findings = requests(&tpcc, &tallies);
    assert_eq!(findings.len(), 7);
    for finding in &findings {
        assert!(finding.holds && !finding.evidence.contains("too few"), "{finding:?}");
    }
    let few = requests(&tpcc, &drawn(&tpcc, 1_000));
    assert!(few.iter().all(|finding| finding.holds), "{few:?}");
    assert!(few.iter().any(|finding| finding.evidence.contains("too few")), "{few:?}");
    // Each share is noticed when it is not what it must be.
    let noticed = |tally: Tally, percent: u64| {
        let mut tallies = tallies;
        tallies[tally as usize] = tallies[tally as usize] * percent / 100;
        let findings = requests(&tpcc, &tallies);
        findings.iter().filter(|finding| !finding.holds).count()
    };
    assert_eq!(noticed(Tally::Mistakes, 80), 1);
    assert_eq!(noticed(Tally::RemoteLines, 110), 1);
    assert_eq!(noticed(Tally::RemotePayments, 80), 1);
    assert_eq!(noticed(Tally::PaymentsByName, 110), 1);
    assert_eq!(noticed(Tally::OrderStatusesByName, 90), 1);
    assert_eq!(noticed(Tally::StockLevels, 50), 1);
    assert_eq!(noticed(Tally::Lines, 110), 2, "more lines, and fewer of them remote");
}

/// Workers of the concurrent run.
const WORKERS: usize = 3;
const REQUESTS: u64 = if cfg!(debug_assertions) { 400 } else { 2_000 };

/// A short run with audits beside it and after it.
struct ShortRun;

impl Visitor for ShortRun {
    type Output = ();

    fn visit<P: Protocol>(self) {
        let tpcc = tpcc(&format!("{SMALL}\nanalysts=1"));
        if P::RANGES == Ranges::Unsupported {
            let store: Store<P> = Store::builder().build_with().expect("a store");
            assert!(tpcc.open(&store).is_err(), "{} has no ranges", P::NAME);
            return;
        }
        let (store, tables, _) = loaded::<P>(&tpcc);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let auditor = scope.spawn(|| audit_until(&tpcc, &store, &tables, &over));
            let workers: Vec<_> = (0..WORKERS)
                .map(|index| {
                    let worker = tpcc.worker(&store, &tables, Seed::new(SEED), index, WORKERS);
                    scope.spawn(move || work(P::NAME, worker))
                })
                .collect();
            let worked: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            // Relaxed: a request to stop.
            over.store(true, Ordering::Relaxed);
            auditor.join().expect("every audit holds");
            assert!(worked.iter().all(Result::is_ok), "{}: a worker failed", P::NAME);
        });
        let findings = tpcc.audit(&store, &tables, Moment::After).expect("an audit");
        assert!(findings.len() > 13, "the conditions and the run");
        assert!(findings.iter().all(|finding| finding.holds), "{}: {findings:?}", P::NAME);
    }
}

fn audit_until<P: Protocol>(tpcc: &Tpcc, store: &Store<P>, tables: &Tables<P>, over: &AtomicBool) {
    // Relaxed: see where it is set.
    while !over.load(Ordering::Relaxed) {
        match tpcc.audit(store, tables, Moment::During) {
            Ok(findings) => {
                assert_eq!(findings.len(), 13);
                assert!(findings.iter().all(|f| f.holds), "{}: {findings:?}", P::NAME);
            }
            Err(TransactionError::Abort(_)) => {
                assert_eq!(P::READS, protocol::Reads::Newest, "{}: a view failed", P::NAME);
            }
            Err(error) => panic!("{}: {error}", P::NAME),
        }
    }
}

fn work<W: Worker>(protocol: &str, mut worker: W) {
    for _ in 0..REQUESTS {
        worker.prepare();
        let mut attempts = Attempts::default();
        let end = worker.execute(&mut attempts).expect("no misuse");
        assert_ne!(end, End::GaveUp, "{protocol}");
        worker.settle(end);
    }
    let violations = super::worker::TALLIES.iter().zip(worker.tallies());
    let violations = violations.filter(|(row, _)| row.role == TallyRole::Violation);
    for (row, count) in violations {
        assert_eq!(*count, 0, "{protocol}: {}", row.name);
    }
}

#[test]
fn a_short_run_is_consistent_with_every_protocol() {
    for name in protocol::NAMES {
        protocol::dispatch(name, ShortRun).expect("a registered protocol");
    }
}
