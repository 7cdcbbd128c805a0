//! What one snapshot of the tables says, added up for the conditions.

use super::super::config::{DISTRICTS, Scale};
use super::super::keys;
use super::super::rows::Cents;
use super::super::tables::Tables;
use super::conditions::{Check, Condition};
use crate::protocol::Protocol;
use crate::workload::common::read_all;
use crate::{Transaction, TransactionError};

/// Sums over the tables.
#[derive(Debug)]
pub(super) struct Books {
    /// In the order of their numbers, from 1.
    pub(super) warehouses: Vec<WarehouseBook>,
    /// In the order of [`Scale::districts`].
    pub(super) districts: Vec<DistrictBook>,
    /// In the order of their keys: those of the first district come first.
    pub(super) customers: Vec<CustomerBook>,
    /// What was compared row by row on the way.
    pub(super) checks: [Check; Condition::COUNT],
}

#[derive(Debug, Clone, Default)]
pub(super) struct WarehouseBook {
    pub(super) ytd: Option<Cents>,
    /// The sum of its payments.
    pub(super) paid: Cents,
    /// S_YTD and S_ORDER_CNT of its stocks.
    pub(super) stock_ytd: u64,
    pub(super) stock_orders: u64,
    /// The quantity and the number of the order lines that the run has had from its stocks.
    pub(super) supplied: u64,
    pub(super) supplies: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct DistrictBook {
    pub(super) ytd: Option<Cents>,
    pub(super) next_order: Option<u32>,
    pub(super) paid: Cents,
    pub(super) orders: u64,
    pub(super) last_order: Option<u32>,
    pub(super) new_orders: u64,
    pub(super) first_new: Option<u32>,
    pub(super) last_new: Option<u32>,
    /// The sum of O_OL_CNT.
    pub(super) line_counts: u64,
    pub(super) lines: u64,
    /// The sum of C_DELIVERY_CNT.
    pub(super) deliveries: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct CustomerBook {
    /// C_BALANCE and C_YTD_PAYMENT.
    pub(super) account: Option<(Cents, Cents)>,
    /// The sum of his payments.
    pub(super) paid: Cents,
    /// The sum of his delivered order lines.
    pub(super) delivered: Cents,
}

/// An order, while its new-order row and its lines are looked for.
#[derive(Debug)]
struct OpenOrder {
    key: u64,
    customer: u32,
    delivered: bool,
    line_count: u64,
    lines: u64,
    is_new: bool,
}

impl Books {
    /// Reads everything in one transaction.
    pub(super) fn read<P: Protocol>(
        tx: &Transaction<'_, P>,
        tables: &Tables<P>,
        scale: Scale,
    ) -> Result<Self, TransactionError> {
        let districts = (scale.warehouses * DISTRICTS) as usize;
        let mut books = Books {
            warehouses: vec![WarehouseBook::default(); scale.warehouses as usize],
            districts: vec![DistrictBook::default(); districts],
            customers: vec![CustomerBook::default(); districts * scale.customers as usize],
            checks: Default::default(),
        };
        books.read_warehouses(tx, tables, scale)?;
        books.read_customers(tx, tables, scale)?;
        books.read_history(tx, tables, scale)?;
        for (index, district) in scale.districts().enumerate() {
            books.read_orders(tx, tables, scale, (index, district))?;
        }
        Ok(books)
    }

    fn read_warehouses<P: Protocol>(
        &mut self,
        tx: &Transaction<'_, P>,
        tables: &Tables<P>,
        scale: Scale,
    ) -> Result<(), TransactionError> {
        for (number, book) in (1..).zip(&mut self.warehouses) {
            book.ytd = tx.get(&tables.warehouses, &u64::from(number))?.map(|row| row.ytd);
            let stocks = (1..=scale.items).map(|item| keys::stock(number, item));
            read_all(tx, &tables.stocks, stocks, |_, stock| {
                book.stock_ytd += stock.map_or(0, |stock| stock.ytd);
                book.stock_orders += stock.map_or(0, |stock| u64::from(stock.order_count));
            })?;
        }
        for ((w, d), book) in scale.districts().zip(&mut self.districts) {
            if let Some(row) = tx.get(&tables.districts, &keys::district(w, d))? {
                (book.ytd, book.next_order) = (Some(row.ytd), Some(row.next_order));
            }
        }
        Ok(())
    }

    fn read_customers<P: Protocol>(
        &mut self,
        tx: &Transaction<'_, P>,
        tables: &Tables<P>,
        scale: Scale,
    ) -> Result<(), TransactionError> {
        let numbers = || 1..=scale.customers;
        let of_district = |(w, d)| numbers().map(move |c| keys::customer(w, d, c));
        let all = scale.districts().flat_map(of_district);
        let mut books = self.customers.iter_mut();
        let mut at = 0;
        read_all(tx, &tables.customers, all, |_, row| {
            let book = books.next().expect("a book for each customer");
            book.account = row.map(|row| (row.balance, row.ytd_payment));
            let district = &mut self.districts[at / scale.customers as usize];
            district.deliveries += row.map_or(0, |row| u64::from(row.delivery_count));
            at += 1;
        })
    }

    fn read_history<P: Protocol>(
        &mut self,
        tx: &Transaction<'_, P>,
        tables: &Tables<P>,
        scale: Scale,
    ) -> Result<(), TransactionError> {
        for payment in tx.range(&tables.history, ..)? {
            let (key, row) = payment?;
            let district = scale.district_index(row.warehouse, row.district);
            let customer = customer_index(
                scale,
                (row.customer_warehouse, row.customer_district, row.customer),
            );
            let (Some(district), Some(customer)) = (district, customer) else {
                let check = &mut self.checks[Condition::PaidByCustomer as usize];
                check.expect(false, || format!("payment {key:#x} is nobody's: {row:?}"));
                continue;
            };
            self.warehouses[district / DISTRICTS as usize].paid += row.amount;
            self.districts[district].paid += row.amount;
            self.customers[customer].paid += row.amount;
        }
        Ok(())
    }

    /// Reads the orders of a district, its new orders and its order lines, and compares them.
    fn read_orders<P: Protocol>(
        &mut self,
        tx: &Transaction<'_, P>,
        tables: &Tables<P>,
        scale: Scale,
        (index, (w, d)): (usize, (u32, u32)),
    ) -> Result<(), TransactionError> {
        let mut orders = Vec::new();
        let keys_of_district = keys::orders_of_district(w, d);
        for order in tx.range(&tables.orders, keys_of_district.clone())? {
            let (key, row) = order?;
            orders.push(OpenOrder {
                key: *key,
                customer: row.customer,
                delivered: row.carrier.is_some(),
                line_count: u64::from(row.line_count),
                lines: 0,
                is_new: false,
            });
        }
        let book = &mut self.districts[index];
        book.orders = orders.len() as u64;
        book.last_order = orders.last().map(|order| keys::order_number(order.key));
        book.line_counts = orders.iter().map(|order| order.line_count).sum();
        for new in tx.range(&tables.new_orders, keys_of_district.clone())? {
            let key = *new?.0;
            let number = keys::order_number(key);
            book.new_orders += 1;
            book.first_new.get_or_insert(number);
            book.last_new = Some(number);
            match find(&mut orders, key) {
                Some(order) => order.is_new = true,
                None => self.checks[Condition::Carrier as usize]
                    .expect(false, || format!("new order {number} of {w}/{d} has no order")),
            }
        }
        self.read_lines(tx, tables, scale, (index, (w, d)), &mut orders)?;
        self.compare_orders(&orders, (w, d));
        Ok(())
    }

    fn read_lines<P: Protocol>(
        &mut self,
        tx: &Transaction<'_, P>,
        tables: &Tables<P>,
        scale: Scale,
        (index, (w, d)): (usize, (u32, u32)),
        orders: &mut [OpenOrder],
    ) -> Result<(), TransactionError> {
        let keys = keys::orders_of_district(w, d);
        let lines = keys::order_line(*keys.start(), 0)..=keys::order_line(*keys.end(), 15);
        // Lines come in the order of their orders, so each search begins where the last one ended.
        let mut at = 0;
        for line in tx.range(&tables.order_lines, lines)? {
            let (key, line) = line?;
            self.districts[index].lines += 1;
            let order = keys::order_of_line(*key);
            let number = keys::order_number(order);
            while orders.get(at).is_some_and(|open| open.key < order) {
                at += 1;
            }
            if number > scale.customers
                && let Some(supplier) = self.warehouses.get_mut(line.supplier as usize - 1)
            {
                supplier.supplied += u64::from(line.quantity);
                supplier.supplies += 1;
            }
            let Some(open) = orders.get_mut(at).filter(|open| open.key == order) else {
                self.checks[Condition::LinesOfOrder as usize]
                    .expect(false, || format!("a line of {w}/{d}/{number}, which is no order"));
                continue;
            };
            open.lines += 1;
            let delivered = line.delivered.is_some();
            self.checks[Condition::LineDelivered as usize]
                .expect(delivered == open.delivered, || {
                    format!("order {w}/{d}/{number}: its line {} is otherwise", key & 15)
                });
            if delivered && let Some(customer) = customer_index(scale, (w, d, open.customer)) {
                self.customers[customer].delivered += line.amount;
            }
        }
        Ok(())
    }

    fn compare_orders(&mut self, orders: &[OpenOrder], (w, d): (u32, u32)) {
        for order in orders {
            let number = keys::order_number(order.key);
            self.checks[Condition::Carrier as usize].expect(
                order.delivered != order.is_new,
                || {
                    let OpenOrder { delivered, is_new, .. } = order;
                    format!("order {w}/{d}/{number}: carrier {delivered}, new order {is_new}")
                },
            );
            self.checks[Condition::LinesOfOrder as usize].expect(
                order.line_count == order.lines,
                || {
                    let OpenOrder { line_count, lines, .. } = order;
                    format!("order {w}/{d}/{number}: O_OL_CNT {line_count}, {lines} lines")
                },
            );
        }
    }
}

fn find(orders: &mut [OpenOrder], key: u64) -> Option<&mut OpenOrder> {
    let at = orders.binary_search_by_key(&key, |order| order.key).ok()?;
    Some(&mut orders[at])
}

/// The place of a customer among all, or `None` if there is no such customer.
fn customer_index(scale: Scale, (w, d, customer): (u32, u32, u32)) -> Option<usize> {
    let district = scale.district_index(w, d)?;
    let known = (1..=scale.customers).contains(&customer);
    known.then(|| district * scale.customers as usize + customer as usize - 1)
}
