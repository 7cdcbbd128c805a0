//! The audit of the run (clause 9.2.2.5): whether the requests had the shares that they must have.

use super::super::config::{Config, DECK};
use super::super::worker::Tally;
use crate::workload::Finding;

/// Standard errors within which a share of few requests may lie beyond its limits.
const STANDARD_ERRORS: f64 = 4.0;

/// A share, where it should be, and the limits of the clause, all in percent.
struct Share {
    what: &'static str,
    part: Tally,
    /// The tallies that make up the whole.
    whole: &'static [Tally],
    target: f64,
    limits: (f64, f64),
}

const SHARES: [Share; 5] = [
    Share {
        what: "0.9 to 1.1 % of the new orders are rolled back (9.2.2.5)",
        part: Tally::Mistakes,
        whole: &[Tally::NewOrders, Tally::Mistakes],
        target: 1.0,
        limits: (0.9, 1.1),
    },
    Share {
        what: "0.95 to 1.05 % of the order lines are remote (9.2.2.5)",
        part: Tally::RemoteLines,
        whole: &[Tally::Lines],
        target: 1.0,
        limits: (0.95, 1.05),
    },
    Share {
        what: "14 to 16 % of the payments are remote (9.2.2.5)",
        part: Tally::RemotePayments,
        whole: &[Tally::Payments],
        target: 15.0,
        limits: (14.0, 16.0),
    },
    Share {
        what: "57 to 63 % of the payments are by last name (9.2.2.5)",
        part: Tally::PaymentsByName,
        whole: &[Tally::Payments],
        target: 60.0,
        limits: (57.0, 63.0),
    },
    Share {
        what: "57 to 63 % of the order-statuses are by last name (9.2.2.5)",
        part: Tally::OrderStatusesByName,
        whole: &[Tally::OrderStatuses],
        target: 60.0,
        limits: (57.0, 63.0),
    },
];

/// Checks the shares of what the workers have counted: `count` gives each count.
pub(in super::super) fn check(config: &Config, count: impl Fn(Tally) -> u64) -> Vec<Finding> {
    let mut findings = Vec::new();
    for share in &SHARES {
        let remote = matches!(share.part, Tally::RemoteLines | Tally::RemotePayments);
        let whole = share.whole.iter().map(|tally| count(*tally)).sum();
        if whole > 0 && !(remote && config.scale.warehouses == 1) {
            findings.push(share.finding(count(share.part), whole));
        }
    }
    let new_orders = count(Tally::NewOrders) + count(Tally::Mistakes);
    if new_orders > 0 {
        findings.push(lines_of_orders(count(Tally::Lines), new_orders));
    }
    if config.deck == DECK {
        let kinds = [Tally::Payments, Tally::OrderStatuses, Tally::Deliveries, Tally::StockLevels];
        findings.extend(mix(new_orders, kinds.map(count)));
    }
    findings
}

impl Share {
    fn finding(&self, part: u64, whole: u64) -> Finding {
        let percent = 100.0 * part as f64 / whole as f64;
        let error = (self.target * (100.0 - self.target) / whole as f64).sqrt();
        finding(self.what, percent, (self.target, self.limits), error, &format!("of {whole}"))
    }
}

/// Order lines of an order: uniform from 5 to 15, so their variance is 10.
fn lines_of_orders(lines: u64, orders: u64) -> Finding {
    let (mean, error) = (lines as f64 / orders as f64, (10.0 / orders as f64).sqrt());
    let what = "a new order has 9.5 to 10.5 lines on average (9.2.2.5)";
    finding(what, mean, (10.0, (9.5, 10.5)), error, &format!("in {orders}"))
}

/// A figure holds if it is within its limits. That of few requests may also lie beyond them, by
/// what chance explains.
fn finding(
    what: &'static str,
    figure: f64,
    (target, (low, high)): (f64, (f64, f64)),
    error: f64,
    of: &str,
) -> Finding {
    let chance = STANDARD_ERRORS * error;
    let enough = chance <= (high - target).min(target - low);
    let within = (low..=high).contains(&figure);
    let note = if enough { "" } else { ", too few for narrow limits" };
    Finding {
        what,
        holds: within || (!enough && (figure - target).abs() <= chance),
        evidence: format!("{figure:.3} {of}{note}"),
    }
}

/// Clause 5.2.3: every kind but New-Order has its least share. Decks give it but for the cards of
/// the terminals' last decks.
fn mix(new_orders: u64, others: [u64; 4]) -> Option<Finding> {
    let [payments, statuses, deliveries, levels] = others;
    let counts = [new_orders, payments, statuses, deliveries, levels];
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return None;
    }
    let shares = counts.map(|count| 100.0 * count as f64 / all as f64);
    let least = [0.0, 43.0, 4.0, 4.0, 4.0];
    let holds = shares.iter().zip(least).all(|(share, least)| {
        share - least >= -STANDARD_ERRORS * (least * (100.0 - least) / all as f64).sqrt()
    });
    let evidence: Vec<String> = shares.iter().map(|share| format!("{share:.2}")).collect();
    Some(Finding {
        what: "payments 43 %, order-statuses, deliveries, stock-levels 4 % each (5.2.3)",
        holds,
        evidence: format!("{} % of {all}, new orders first", evidence.join(", ")),
    })
}
