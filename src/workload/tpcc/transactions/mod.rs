//! The five transactions of clause 2, and the scan beside them: one file each.

mod analysis;
mod delivery;
mod new_order;
mod order_status;
mod payment;
mod stock_level;

use super::keys;
use super::request::{Request, Selector};
use super::rows::{Address, Cents, Credit, Customer, Order, OrderLine, Rate};
use super::tables::Tables;
use super::text::Text;
use crate::protocol::Protocol;
use crate::{Attempts, Store, Transaction, TransactionError};
use analysis::Group;

/// What an attempt at a transaction leaves behind; every attempt starts it afresh.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Rows that must exist and were not there.
    pub(super) lost: u64,
    /// Rows that must not exist and were there.
    pub(super) duplicates: u64,
    /// Orders delivered.
    pub(super) delivered: u64,
    /// Districts in which there was nothing to deliver.
    pub(super) skipped: u64,
    pub(super) screen: Screen,
    /// Customers of one name, or items of some orders.
    numbers: Vec<u64>,
    /// Order lines with their keys.
    lines: Vec<(u64, OrderLine)>,
    /// The C_DATA that a payment assembles.
    data: Vec<u8>,
}

/// What the terminal shows its user. Every transaction copies its answer here, as a client would
/// get it.
#[allow(dead_code, reason = "what is shown is for the user; the program looks at none of it")]
#[derive(Debug, Default)]
pub(super) struct Screen {
    pub(super) order_number: u32,
    pub(super) rates: [Rate; 3],
    pub(super) total: Cents,
    pub(super) customer_name: Option<(Text<16>, Credit)>,
    pub(super) new_lines: Vec<ShownLine>,
    pub(super) addresses: Option<[Address; 2]>,
    pub(super) customer: Option<Customer>,
    pub(super) customer_data: Vec<u8>,
    pub(super) order: Option<Order>,
    pub(super) order_lines: Vec<OrderLine>,
    pub(super) low_stocks: u64,
    pub(super) groups: Vec<Group>,
}

/// A line of a new order as the terminal shows it.
#[allow(dead_code, reason = "as for `Screen`")]
#[derive(Debug, Clone, Copy)]
pub(super) struct ShownLine {
    pub(super) name: Text<24>,
    pub(super) stock: i16,
    /// Brand or generic.
    pub(super) brand: u8,
    pub(super) price: Cents,
    pub(super) amount: Cents,
}

impl Scratch {
    /// Forgets the last attempt, but keeps its memory.
    fn restart(&mut self) {
        (self.lost, self.duplicates, self.delivered, self.skipped) = (0, 0, 0, 0);
        self.numbers.clear();
        self.lines.clear();
        let Screen { new_lines, customer_data, order_lines, groups, .. } = &mut self.screen;
        new_lines.clear();
        customer_data.clear();
        order_lines.clear();
        groups.clear();
    }
}

/// Runs a request until it commits, is rolled back, or is given up. `history` is the key of the
/// payment, if it is one.
pub(super) fn execute<P: Protocol>(
    store: &Store<P>,
    tables: &Tables<P>,
    request: &Request,
    history: u64,
    scratch: &mut Scratch,
    attempts: &mut Attempts,
) -> Result<(), TransactionError> {
    let mut attempt = |transaction: &Transaction<'_, P>| {
        scratch.restart();
        let mut attempt = Attempt { transaction, tables, scratch };
        match request {
            Request::NewOrder(request) => attempt.new_order(request),
            Request::Payment(request) => attempt.payment(request, history),
            Request::OrderStatus(request) => attempt.order_status(request),
            Request::Delivery(request) => attempt.deliver(request),
            Request::StockLevel(request) => attempt.stock_level(request),
            Request::Analysis => attempt.analyse(),
        }
    };
    match request {
        Request::NewOrder(_) | Request::Payment(_) | Request::Delivery(_) => {
            store.transact_observed(attempts, |transaction| attempt(transaction))
        }
        Request::OrderStatus(_) | Request::StockLevel(_) | Request::Analysis => {
            store.view_observed(attempts, |transaction| attempt(transaction))
        }
    }
}

/// One attempt at a transaction.
///
/// A row that must exist and is not there is counted and passed by: an optimistic protocol may read
/// what never was together, and finds out when it commits. Only what has committed is held against
/// the store.
struct Attempt<'a, 's, P: Protocol> {
    transaction: &'a Transaction<'s, P>,
    tables: &'a Tables<P>,
    scratch: &'a mut Scratch,
}

impl<P: Protocol> Attempt<'_, '_, P> {
    /// The key of the customer whom a user has named: of all with one last name the middle one in
    /// the order of their first names (clause 2.5.2.2).
    fn find_customer(
        &mut self,
        (warehouse, district): (u32, u32),
        selector: &Selector,
    ) -> Result<Option<u64>, TransactionError> {
        let number = match selector {
            Selector::Number(number) => *number,
            Selector::LastName(last) => {
                let bound =
                    |first, customer| keys::name((warehouse, district), last, first, customer);
                let namesakes = bound(&Text::EMPTY, 0)..=bound(&Text::MAX, u32::MAX);
                self.scratch.numbers.clear();
                for found in self.transaction.range(&self.tables.customer_names, namesakes)? {
                    self.scratch.numbers.push(u64::from(keys::customer_of_name(found?.0)));
                }
                let count = self.scratch.numbers.len();
                if count == 0 {
                    self.scratch.lost += 1;
                    return Ok(None);
                }
                self.scratch.numbers[count.div_ceil(2) - 1] as u32
            }
        };
        Ok(Some(keys::customer(warehouse, district, number)))
    }

    /// Takes note of whether a row was found where one must be.
    fn must(&mut self, found: bool) {
        self.scratch.lost += u64::from(!found);
    }

    /// Takes note of whether a new row was new.
    fn must_be_new(&mut self, inserted: bool) {
        self.scratch.duplicates += u64::from(!inserted);
    }
}
