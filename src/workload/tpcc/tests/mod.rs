//! TPC-C on a store: the population, the transactions, the audits, and a run on every protocol.

mod conditions;
mod population;
mod requests;
mod transactions;

use super::Tpcc;
use crate::protocol::Mvocc;
use crate::sync::fault::Fault;
use crate::workload::common::testing::{self, Loaded};
use crate::workload::{Finding, Moment};

type OnMvocc = Loaded<Tpcc, Mvocc>;

/// Two warehouses with ten districts of 30 customers.
const SMALL: &[(&str, &str)] = &[("warehouses", "2"), ("customers", "30"), ("items", "100")];
const LOADED_ORDERS: u32 = 30;

/// The conditions of this moment, and the places, from 1, of those that do not hold.
fn conditions(loaded: &OnMvocc) -> (Vec<Finding>, Vec<usize>) {
    let findings = loaded.audit(Moment::During);
    assert_eq!(findings.len(), 13);
    let numbered = (1..).zip(&findings).filter(|(_, finding)| !finding.holds);
    let broken = numbered.map(|(number, _)| number).collect();
    (findings, broken)
}

fn expect_consistent(loaded: &OnMvocc) {
    let (findings, broken) = conditions(loaded);
    assert_eq!(broken, [0; 0], "{findings:#?}");
}

#[test]
fn every_protocol_keeps_the_conditions() {
    testing::holds_on_every_protocol::<Tpcc>(SMALL, 400);
}

#[test]
fn a_long_scan_beside_it_changes_nothing() {
    let with_analyst = [SMALL, &[("analysts", "1")]].concat();
    testing::holds_on_every_protocol::<Tpcc>(&with_analyst, 100);
}

#[test]
fn a_lost_update_is_found() {
    let what = "W_YTD = sum(H_AMOUNT) (3.3.2.8)";
    testing::faults_are_found::<Tpcc>(&[Fault::IgnoreBase], SMALL, what);
}
