//! One request: everything that the terminal's user enters, and what he is going to get wrong.

use super::config::{DISTRICTS, LINES_MAX, LINES_MIN, Scale};
use super::nurand::Constants;
use super::rows::{Cents, Timestamp};
use super::terminal::{Kind, Terminal};
use super::text::{Text, last_name};
use crate::workload::{Fingerprint, Random};
use rand::RngExt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A request of one of the five kinds, or the scan beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    NewOrder(NewOrder),
    Payment(Payment),
    OrderStatus(OrderStatus),
    Delivery(Delivery),
    StockLevel(StockLevel),
    Analysis,
}

/// How a customer is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selector {
    Number(u32),
    LastName(Text<16>),
}

/// One line of a new order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Line {
    pub(super) item: u32,
    pub(super) supplier: u32,
    pub(super) quantity: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NewOrder {
    pub(super) warehouse: u32,
    pub(super) district: u32,
    pub(super) customer: u32,
    pub(super) entered: Timestamp,
    pub(super) lines: Vec<Line>,
}

impl NewOrder {
    pub(super) fn remote_lines(&self) -> usize {
        self.lines.iter().filter(|line| line.supplier != self.warehouse).count()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Payment {
    pub(super) warehouse: u32,
    pub(super) district: u32,
    pub(super) customer_warehouse: u32,
    pub(super) customer_district: u32,
    pub(super) customer: Selector,
    pub(super) amount: Cents,
    pub(super) date: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OrderStatus {
    pub(super) warehouse: u32,
    pub(super) district: u32,
    pub(super) customer: Selector,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) warehouse: u32,
    pub(super) carrier: u8,
    pub(super) date: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StockLevel {
    pub(super) warehouse: u32,
    pub(super) district: u32,
    pub(super) threshold: i16,
}

impl Request {
    /// Adds everything but the dates, which are the only part that the seed does not decide.
    pub(super) fn describe(&self, fingerprint: &mut Fingerprint) {
        let mut add = |numbers: &[u32]| {
            numbers.iter().for_each(|number| fingerprint.add_number(u64::from(*number)));
        };
        match self {
            Request::NewOrder(NewOrder { warehouse, district, customer, lines, .. }) => {
                add(&[0, *warehouse, *district, *customer]);
                for Line { item, supplier, quantity } in lines {
                    add(&[*item, *supplier, u32::from(*quantity)]);
                }
            }
            Request::Payment(payment) => {
                add(&[1, payment.warehouse, payment.district, payment.customer_warehouse]);
                add(&[payment.customer_district, payment.amount as u32]);
                payment.customer.describe(fingerprint);
            }
            Request::OrderStatus(OrderStatus { warehouse, district, customer }) => {
                add(&[2, *warehouse, *district]);
                customer.describe(fingerprint);
            }
            Request::Delivery(Delivery { warehouse, carrier, .. }) => {
                add(&[3, *warehouse, u32::from(*carrier)]);
            }
            Request::StockLevel(StockLevel { warehouse, district, threshold }) => {
                add(&[4, *warehouse, *district, *threshold as u32]);
            }
            Request::Analysis => add(&[5]),
        }
    }
}

impl Selector {
    fn describe(&self, fingerprint: &mut Fingerprint) {
        match self {
            Selector::Number(number) => fingerprint.add_number(u64::from(*number)),
            Selector::LastName(name) => fingerprint.add(name.as_bytes()),
        }
    }
}

/// The present time.
pub(super) fn now() -> Timestamp {
    // A clock before 1970 gives 1970: dates are only shown.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_micros() as u64)
}

/// Draws requests.
#[derive(Debug)]
pub(super) struct Drawer {
    pub(super) scale: Scale,
    pub(super) constants: Constants,
}

impl Drawer {
    /// Draws what `terminal` sends when the card is `kind`, into a request whose memory is used
    /// again.
    pub(super) fn draw(&self, kind: Kind, terminal: &mut Terminal, request: &mut Request) {
        match kind {
            Kind::NewOrder => {
                let lines = match request {
                    Request::NewOrder(last) => std::mem::take(&mut last.lines),
                    _ => Vec::with_capacity(LINES_MAX as usize),
                };
                *request = Request::NewOrder(self.new_order(terminal, lines));
            }
            Kind::Payment => *request = Request::Payment(self.payment(terminal)),
            Kind::OrderStatus => *request = Request::OrderStatus(self.order_status(terminal)),
            Kind::Delivery => {
                *request = Request::Delivery(Delivery {
                    warehouse: terminal.warehouse,
                    carrier: terminal.random.random_range(1..=10),
                    date: now(),
                });
            }
            Kind::StockLevel => {
                *request = Request::StockLevel(StockLevel {
                    warehouse: terminal.warehouse,
                    district: terminal.district,
                    threshold: terminal.random.random_range(10..=20),
                });
            }
        }
    }

    /// Clause 2.4.1.
    fn new_order(&self, terminal: &mut Terminal, mut lines: Vec<Line>) -> NewOrder {
        let Terminal { warehouse, random, .. } = terminal;
        let (warehouse, scale) = (*warehouse, self.scale);
        lines.clear();
        let count = random.random_range(LINES_MIN..=LINES_MAX);
        for _ in 0..count {
            let remote = scale.warehouses > 1 && percent(random, 1);
            lines.push(Line {
                item: self.constants.item(random, scale.items),
                supplier: if remote { self.other_warehouse(random, warehouse) } else { warehouse },
                quantity: random.random_range(1..=10),
            });
        }
        if percent(random, 1) {
            // The user's mistake: the last item does not exist.
            lines[count as usize - 1].item = scale.unused_item();
        }
        NewOrder {
            warehouse,
            district: random.random_range(1..=DISTRICTS),
            customer: self.constants.customer(random, scale.customers),
            entered: now(),
            lines,
        }
    }

    /// Clause 2.5.1.
    fn payment(&self, terminal: &mut Terminal) -> Payment {
        let Terminal { warehouse, random, .. } = terminal;
        let warehouse = *warehouse;
        let district = random.random_range(1..=DISTRICTS);
        let remote = self.scale.warehouses > 1 && percent(random, 15);
        let (customer_warehouse, customer_district) = match remote {
            true => (self.other_warehouse(random, warehouse), random.random_range(1..=DISTRICTS)),
            false => (warehouse, district),
        };
        Payment {
            warehouse,
            district,
            customer_warehouse,
            customer_district,
            customer: self.selector(random),
            amount: random.random_range(1_00..=5_000_00),
            date: now(),
        }
    }

    /// Clause 2.6.1.
    fn order_status(&self, terminal: &mut Terminal) -> OrderStatus {
        let Terminal { warehouse, random, .. } = terminal;
        OrderStatus {
            warehouse: *warehouse,
            district: random.random_range(1..=DISTRICTS),
            customer: self.selector(random),
        }
    }

    /// Six customers in ten are asked for by name.
    fn selector(&self, random: &mut Random) -> Selector {
        match percent(random, 60) {
            true => {
                let name = self.constants.asked_name(random, self.scale.names());
                Selector::LastName(last_name(name))
            }
            false => Selector::Number(self.constants.customer(random, self.scale.customers)),
        }
    }

    /// Any warehouse but this one; there are at least two.
    fn other_warehouse(&self, random: &mut Random, warehouse: u32) -> u32 {
        let other = random.random_range(1..self.scale.warehouses);
        other + u32::from(other >= warehouse)
    }
}

/// True in `share` cases of a hundred.
fn percent(random: &mut Random, share: u32) -> bool {
    random.random_range(1..=100) <= share
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::tpcc::config::Config;
    use crate::workload::tpcc::terminal::Terminals;
    use crate::workload::{Properties, Seed};

    fn requests(
        text: &str,
        count: usize,
        mut visit: impl FnMut(Kind, u32, u32, &Request),
    ) -> Scale {
        let mut properties = Properties::new();
        properties.read_bytes(text.as_bytes(), "test").expect("a valid text");
        let config = Config::read(&properties).expect("valid");
        let seed = Seed::new(11);
        let drawer = Drawer { scale: config.scale, constants: Constants::new(seed) };
        let mut terminals = Terminals::new(&config, seed, 0, 1);
        let mut request = Request::Analysis;
        for _ in 0..count {
            let (kind, terminal) = terminals.choose();
            drawer.draw(kind, terminal, &mut request);
            visit(kind, terminal.warehouse, terminal.district, &request);
        }
        config.scale
    }

    #[test]
    fn everything_entered_is_in_its_range() {
        let mut unused = 0;
        requests("warehouses=3", 100_000, |_, warehouse, district, request| match request {
            Request::NewOrder(order) => {
                assert_eq!(order.warehouse, warehouse);
                assert!((1..=10).contains(&order.district));
                assert!((1..=3000).contains(&order.customer));
                assert!((5..=15).contains(&order.lines.len()));
                let (last, others) = order.lines.split_last().expect("at least five lines");
                assert!(others.iter().all(|line| (1..=100_000).contains(&line.item)));
                assert!((1..=100_001).contains(&last.item));
                unused += u32::from(last.item == 100_001);
                for line in &order.lines {
                    assert!((1..=3).contains(&line.supplier) && (1..=10).contains(&line.quantity));
                }
            }
            Request::Payment(payment) => {
                assert_eq!(payment.warehouse, warehouse);
                assert!((1..=3).contains(&payment.customer_warehouse));
                assert!((1..=10).contains(&payment.customer_district));
                assert!((100..=500_000).contains(&payment.amount));
                if payment.customer_warehouse == warehouse {
                    assert_eq!(payment.customer_district, payment.district);
                }
            }
            Request::OrderStatus(status) => {
                assert_eq!(status.warehouse, warehouse);
                assert!((1..=10).contains(&status.district));
            }
            Request::Delivery(delivery) => {
                assert_eq!(delivery.warehouse, warehouse);
                assert!((1..=10).contains(&delivery.carrier));
            }
            Request::StockLevel(level) => {
                assert_eq!((level.warehouse, level.district), (warehouse, district));
                assert!((10..=20).contains(&level.threshold));
            }
            Request::Analysis => panic!("terminals do not analyse"),
        });
        assert!((330..570).contains(&unused), "one order in a hundred: {unused}");
    }

    #[test]
    fn one_warehouse_has_no_other() {
        requests("warehouses=1", 20_000, |_, _, _, request| match request {
            Request::NewOrder(order) => assert_eq!(order.remote_lines(), 0),
            Request::Payment(payment) => assert_eq!(payment.customer_warehouse, 1),
            _ => {}
        });
    }

    #[test]
    fn remote_warehouses_are_all_the_others() {
        let mut seen = [0u32; 5];
        requests("warehouses=4\ndeck=0,1,0,0,0", 40_000, |_, warehouse, _, request| {
            if let Request::Payment(payment) = request
                && payment.customer_warehouse != warehouse
            {
                seen[payment.customer_warehouse as usize] += 1;
            }
        });
        assert!(seen[1..].iter().all(|count| (1_300..1_700).contains(count)), "{seen:?}");
    }

    #[test]
    fn the_same_seed_gives_the_same_requests() {
        let draw = || {
            let mut all = Vec::new();
            requests("warehouses=2", 500, |_, _, _, request| {
                let mut request = request.clone();
                match &mut request {
                    Request::NewOrder(order) => order.entered = 0,
                    Request::Payment(payment) => payment.date = 0,
                    Request::Delivery(delivery) => delivery.date = 0,
                    _ => {}
                }
                all.push(request);
            });
            all
        };
        assert_eq!(draw(), draw());
    }
}
