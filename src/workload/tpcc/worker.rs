//! One worker: it sits at its terminals, or it analyses.

use super::Tpcc;
use super::keys;
use super::nurand::Constants;
use super::request::{Drawer, Request, Selector};
use super::tables::Tables;
use super::terminal::{Kind, Terminals};
use super::transactions::{Scratch, execute};
use crate::protocol::Protocol;
use crate::workload::common::{Page, tally};
use crate::workload::{End, Fingerprint, Seed, TallyRole, TallyRow, Worker};
use crate::{Attempts, Error, Store};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

/// What the workers count. Requests that are given up are counted as such and as nothing else.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tally {
    /// New orders without a mistake.
    NewOrders,
    Payments,
    OrderStatuses,
    Deliveries,
    StockLevels,
    Analyses,
    Wasted,
    /// New orders with an item that does not exist.
    Mistakes,
    /// Lines of new orders, mistaken ones included.
    Lines,
    RemoteLines,
    RemotePayments,
    PaymentsByName,
    OrderStatusesByName,
    Delivered,
    Skipped,
    GivenUp,
    Lost,
    Duplicate,
}

pub(super) const TALLY_COUNT: usize = Tally::Duplicate as usize + 1;

pub(super) const TALLIES: [TallyRow; TALLY_COUNT] = [
    tally("new orders", TallyRole::Operation),
    tally("payments", TallyRole::Operation),
    tally("order-statuses", TallyRole::Operation),
    tally("deliveries", TallyRole::Operation),
    tally("stock-levels", TallyRole::Operation),
    tally("analyses", TallyRole::Operation),
    tally("operations of failed attempts", TallyRole::Wasted),
    tally("mistaken new orders", TallyRole::Fact),
    tally("order lines", TallyRole::Fact),
    tally("remote order lines", TallyRole::Fact),
    tally("remote payments", TallyRole::Fact),
    tally("payments by last name", TallyRole::Fact),
    tally("order-statuses by last name", TallyRole::Fact),
    tally("orders delivered", TallyRole::Fact),
    tally("districts with nothing to deliver", TallyRole::Fact),
    tally("requests given up", TallyRole::Fact),
    tally("lost rows", TallyRole::Violation),
    tally("rows that were there before", TallyRole::Violation),
];

/// The kinds of transaction that are reported apart: those of the deck, and the scan.
pub(super) const KINDS: &[&str] =
    &["NEW-ORDER", "PAYMENT", "ORDER-STATUS", "DELIVERY", "STOCK-LEVEL", "ANALYSIS"];
const KIND_ANALYSIS: usize = Kind::ALL.len();

/// One worker of TPC-C.
pub struct TpccWorker<'run, P: Protocol> {
    store: &'run Store<P>,
    tables: &'run Tables<P>,
    drawer: Drawer,
    /// `None` for an analyst.
    terminals: Option<Terminals>,
    index: u64,
    /// Payments drawn so far, which number the rows of this worker's history.
    payments: u64,
    kind: Option<Kind>,
    request: Request,
    scratch: Scratch,
    tallies: [u64; TALLY_COUNT],
    /// The same counts, for the audit of the run.
    page: Arc<Page<TALLY_COUNT>>,
}

impl<P: Protocol> std::fmt::Debug for TpccWorker<'_, P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { index, request, tallies, .. } = self;
        let mut shown = f.debug_struct("TpccWorker");
        shown.field("index", index).field("request", request).field("tallies", tallies);
        shown.finish_non_exhaustive()
    }
}

impl<'run, P: Protocol> TpccWorker<'run, P> {
    pub(super) fn new(
        tpcc: &'run Tpcc,
        store: &'run Store<P>,
        tables: &'run Tables<P>,
        seed: Seed,
        index: usize,
        workers: usize,
    ) -> Self {
        let config = &tpcc.config;
        // The last workers analyse; one at least is left for the terminals.
        let tellers = workers.saturating_sub(config.analysts).max(1);
        TpccWorker {
            store,
            tables,
            drawer: Drawer { scale: config.scale, constants: Constants::new(seed) },
            terminals: (index < tellers).then(|| Terminals::new(config, seed, index, tellers)),
            // Number 0 is the loader's.
            index: index as u64 + 1,
            payments: 0,
            kind: None,
            request: Request::Analysis,
            scratch: Scratch::default(),
            tallies: [0; TALLY_COUNT],
            page: tables.ledger.page(),
        }
    }

    fn count(&mut self, tally: Tally, number: u64) {
        if number > 0 {
            self.tallies[tally as usize] += number;
            self.page.add(tally as usize, number);
        }
    }

    /// Counts what the request was.
    fn count_request(&mut self) {
        let by_name = |selector: &Selector| u64::from(matches!(selector, Selector::LastName(_)));
        match &self.request {
            Request::NewOrder(order) => {
                let (lines, remote) = (order.lines.len() as u64, order.remote_lines() as u64);
                let unused = self.drawer.scale.unused_item();
                let mistaken = order.lines.last().is_some_and(|line| line.item == unused);
                self.count(if mistaken { Tally::Mistakes } else { Tally::NewOrders }, 1);
                self.count(Tally::Lines, lines);
                self.count(Tally::RemoteLines, remote);
            }
            Request::Payment(payment) => {
                let remote = payment.customer_warehouse != payment.warehouse;
                let by_name = by_name(&payment.customer);
                self.count(Tally::Payments, 1);
                self.count(Tally::RemotePayments, u64::from(remote));
                self.count(Tally::PaymentsByName, by_name);
            }
            Request::OrderStatus(status) => {
                let by_name = by_name(&status.customer);
                self.count(Tally::OrderStatuses, 1);
                self.count(Tally::OrderStatusesByName, by_name);
            }
            Request::Delivery(_) => self.count(Tally::Deliveries, 1),
            Request::StockLevel(_) => self.count(Tally::StockLevels, 1),
            Request::Analysis => self.count(Tally::Analyses, 1),
        }
    }
}

impl<P: Protocol> Worker for TpccWorker<'_, P> {
    fn prepare(&mut self) {
        if let Some(terminals) = &mut self.terminals {
            let (kind, terminal) = terminals.choose();
            self.drawer.draw(kind, terminal, &mut self.request);
            self.kind = Some(kind);
            self.payments += u64::from(kind == Kind::Payment);
        }
    }

    fn pause(&self) -> Duration {
        self.terminals.as_ref().map_or(Duration::ZERO, Terminals::pause)
    }

    fn execute(&mut self, attempts: &mut Attempts) -> Result<End, Error> {
        let Self { store, tables, request, scratch, .. } = self;
        let history = keys::history(self.index, self.payments);
        let outcome = execute(store, tables, request, history, scratch, attempts);
        self.count(Tally::Wasted, attempts.attempts.saturating_sub(1));
        End::of(outcome)
    }

    fn settle(&mut self, end: End) {
        match end {
            End::Committed => {
                self.count_request();
                let Scratch { lost, duplicates, delivered, skipped, .. } = self.scratch;
                self.count(Tally::Lost, lost);
                self.count(Tally::Duplicate, duplicates);
                self.count(Tally::Delivered, delivered);
                self.count(Tally::Skipped, skipped);
            }
            End::RolledBack => self.count_request(),
            End::GaveUp => self.count(Tally::GivenUp, 1),
        }
        if let (Some(terminals), Some(kind)) = (&mut self.terminals, self.kind) {
            terminals.answered(kind);
        }
        black_box(&self.scratch.screen);
    }

    fn describe(&self, fingerprint: &mut Fingerprint) {
        self.request.describe(fingerprint);
    }

    fn kind(&self) -> usize {
        self.kind.map_or(KIND_ANALYSIS, |kind| kind as usize)
    }

    fn tallies(&self) -> &[u64] {
        &self.tallies
    }
}
