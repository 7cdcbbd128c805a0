//! The audit of the run (clause 9.2.2.5), on requests that nobody runs.

use super::super::worker::{TALLY_COUNT, Tally};
use super::super::{Tpcc, audit};
use crate::Store;
use crate::workload::common::testing::configured;
use crate::workload::{End, Finding, Seed, Worker, Workload};

/// Draws requests and runs none of them; what was counted.
fn drawn(tpcc: &Tpcc, count: u64) -> [u64; TALLY_COUNT] {
    let store = Store::new();
    let tables = tpcc.open(&store).expect("tables");
    let mut worker = tpcc.worker(&store, &tables, Seed::new(20), 0, 1);
    for _ in 0..count {
        worker.prepare();
        worker.settle(End::Committed);
    }
    let tallies = std::array::from_fn(|tally| tables.ledger.sum(tally));
    assert_eq!(tallies.as_slice(), worker.tallies());
    tallies
}

fn audited(tpcc: &Tpcc, tallies: &[u64; TALLY_COUNT]) -> Vec<Finding> {
    audit::requests::check(&tpcc.config, |tally| tallies[tally as usize])
}

#[test]
fn the_requests_pass_the_audit_of_the_run_and_others_do_not() {
    let tpcc = configured::<Tpcc>(&[("warehouses", "10")]);
    let tallies = drawn(&tpcc, 2_000_000);
    let findings = audited(&tpcc, &tallies);
    assert_eq!(findings.len(), 7);
    for finding in &findings {
        assert!(finding.holds && !finding.evidence.contains("too few"), "{finding:?}");
    }
    let few = audited(&tpcc, &drawn(&tpcc, 1_000));
    assert!(few.iter().all(|finding| finding.holds), "{few:?}");
    assert!(few.iter().any(|finding| finding.evidence.contains("too few")), "{few:?}");
    // Each share is noticed when it is not what it must be.
    let noticed = |tally: Tally, percent: u64| {
        let mut tallies = tallies;
        tallies[tally as usize] = tallies[tally as usize] * percent / 100;
        let findings = audited(&tpcc, &tallies);
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
