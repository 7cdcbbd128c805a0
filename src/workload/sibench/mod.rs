//! SIBench (Cahill, Röhm, Fekete, "Serializable Isolation for Snapshot Databases", TODS 2009): a
//! reader of everything beside writers of single records, to see what reads and writes of the same
//! records cost each other.
//!
//! One transaction finds the record with the smallest value among all; the other adds 1 to one
//! record. So the sum of a snapshot is the number of updates before it, and no value ever falls:
//! both are held against what workers know to have committed. Snapshot isolation keeps both.

mod worker;

pub use worker::SiBenchWorker;

use super::common::{
    CHOICE, Ledger, describe_shares, load_rows, preset, read_all, read_shares, tally,
};
use super::generator::Shares;
use super::properties::honoured;
use super::{
    Finding, Footprint, LoadWatch, Moment, Preset, Properties, PropertyError, PropertyRow, Seed,
    TallyRole, TallyRow, Workload,
};
use crate::protocol::Protocol;
use crate::{Error, Store, Table, TransactionError};

/// The most records.
const RECORDS_MAX: u64 = 1 << 30;

const KINDS: &[&str] = &["MINIMUM", "UPDATE"];
const WEIGHTS: [(&str, f64); 2] = [("minimumproportion", 0.5), ("updateproportion", 0.5)];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Minimum,
    Update,
}

/// What the workers count.
#[derive(Debug, Clone, Copy)]
enum Tally {
    Wasted = KINDS.len() as isize,
    Lost,
    WentBack,
}

const TALLY_COUNT: usize = Tally::WentBack as usize + 1;

const TALLIES: [TallyRow; TALLY_COUNT] = [
    tally("minimums", TallyRole::Operation),
    tally("updates", TallyRole::Operation),
    tally("operations of failed attempts", TallyRole::Wasted),
    tally("lost records", TallyRole::Violation),
    tally("values that went back", TallyRole::Violation),
];

/// SIBench.
#[derive(Debug)]
pub struct SiBench {
    mix: Shares,
    records: u64,
}

/// SIBench's table in one store.
#[derive(Debug)]
pub struct Tables<P: Protocol> {
    values: Table<u64, u64, P>,
    /// Committed updates.
    updates: Ledger<1>,
}

const PROPERTIES: &[PropertyRow] = &[
    CHOICE,
    honoured("records", "10", "records, all of which a minimum reads"),
    honoured("minimumproportion", "0.5", "share of transactions that look for the minimum"),
    honoured("updateproportion", "0.5", "share of transactions that add 1 to a record"),
];

const PRESETS: &[Preset] = &[preset(
    "sibench",
    include_str!("../../../workloads/sibench"),
    "the minimum of all records beside updates of single ones",
)];

impl Workload for SiBench {
    type Tables<P: Protocol> = Tables<P>;
    type Worker<'run, P: Protocol> = SiBenchWorker<'run, P>;

    const CLASSES: &'static [&'static str] = &["sibench"];
    const PRESETS: &'static [Preset] = PRESETS;
    const PROPERTIES: &'static [PropertyRow] = PROPERTIES;
    const KINDS: &'static [&'static str] = KINDS;
    const TALLIES: &'static [TallyRow] = &TALLIES;

    fn configure(properties: &Properties) -> Result<Self, PropertyError> {
        Ok(SiBench {
            mix: read_shares(properties, &WEIGHTS)?,
            records: properties.whole("records", 10, 1, RECORDS_MAX)?,
        })
    }

    fn basis(&self) -> Vec<(&'static str, String)> {
        vec![
            ("mix", describe_shares(KINDS, &self.mix)),
            ("requests", format!("updates uniform over {} records", self.records)),
            ("operations", format!("a minimum reads all {} records in a view", self.records)),
        ]
    }

    fn footprint(&self) -> Footprint {
        let record_bytes = 2 * size_of::<u64>() as u64;
        Footprint { records: self.records, records_added: 0, record_bytes }
    }

    fn open<P: Protocol>(&self, store: &Store<P>) -> Result<Tables<P>, Error> {
        Ok(Tables { values: store.table("values")?, updates: Ledger::new() })
    }

    fn load<P: Protocol>(
        &self,
        store: &Store<P>,
        tables: &Tables<P>,
        _seed: Seed,
        watch: &dyn LoadWatch,
    ) -> Result<(), TransactionError> {
        load_rows(store, &tables.values, self.records, watch, |record| (record, 0))
    }

    fn worker<'run, P: Protocol>(
        &'run self,
        store: &'run Store<P>,
        tables: &'run Tables<P>,
        seed: Seed,
        index: usize,
        _workers: usize,
    ) -> SiBenchWorker<'run, P> {
        SiBenchWorker::new(self, store, tables, seed, index)
    }

    fn audit<P: Protocol>(
        &self,
        store: &Store<P>,
        tables: &Tables<P>,
        moment: Moment,
    ) -> Result<Vec<Finding>, TransactionError> {
        let before = tables.updates.sum(0);
        let (mut sum, mut missing) = (0_u64, 0);
        store.view(|transaction| {
            (sum, missing) = (0, 0);
            read_all(transaction, &tables.values, 0..self.records, |_, value| {
                missing += u64::from(value.is_none());
                sum = sum.wrapping_add(value.copied().unwrap_or(0));
            })
        })?;
        // Each worker may have committed one update that it has not recorded yet.
        let in_flight = match moment {
            Moment::During => tables.updates.workers(),
            Moment::After => 0,
        };
        let latest = tables.updates.sum(0).saturating_add(in_flight);
        // A level without real time may show a snapshot from before the last updates.
        let earliest = if P::STRICT || moment == Moment::After { before } else { 0 };
        Ok(vec![Finding {
            what: "the values sum to the committed updates",
            holds: (earliest..=latest).contains(&sum) && missing == 0,
            evidence: format!(
                "the sum is {sum}, and {earliest} to {latest} updates were committed; {missing} of \
                 {} records are missing",
                self.records
            ),
        }])
    }

    fn audits_during(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Mvocc;
    use crate::sync::fault::Fault;
    use crate::workload::common::testing::{self, Loaded};

    const SUM: &str = "the values sum to the committed updates";

    #[test]
    fn audits_hold_on_every_protocol() {
        testing::holds_on_every_protocol::<SiBench>(&[], 400);
    }

    #[test]
    fn a_changed_value_is_found() {
        let bench = Loaded::<SiBench, Mvocc>::new(&[]);
        bench.work(1, 100, &[]);
        bench.expect_all_hold();
        let (store, tables) = (&bench.store, &bench.tables);
        let add = |more: u64| {
            let added = store
                .transact(|tx| tx.update(&tables.values, &4, |value| value.wrapping_add(more)));
            assert_eq!(added, Ok(true));
        };
        add(1);
        bench.expect_broken(SUM);
        add(u64::MAX);
        bench.expect_all_hold();
        store.transact(|tx| tx.remove(&tables.values, &4)).expect("removed");
        bench.expect_broken(SUM);
    }

    #[test]
    fn lost_updates_are_found() {
        testing::faults_are_found::<SiBench>(&[Fault::IgnoreBase], &[], SUM);
    }

    #[test]
    fn a_value_that_went_back_is_a_violation() {
        use crate::Attempts;
        use crate::workload::Worker;
        let bench = Loaded::<SiBench, Mvocc>::new(&[("updateproportion", "0")]);
        let (store, tables) = (&bench.store, &bench.tables);
        let mut worker = bench.workload.worker(store, tables, Seed::new(1), 0, 1);
        let mut look = || {
            worker.prepare();
            let end = worker.execute(&mut Attempts::default()).expect("no misuse");
            worker.settle(end);
            worker.tallies()[Tally::WentBack as usize]
        };
        let put = |value| store.transact(|tx| tx.put(&tables.values, 2, value)).expect("put");
        put(5);
        assert_eq!(look(), 0);
        put(4);
        assert_eq!(look(), 1);
    }

    #[test]
    fn bad_properties_are_refused() {
        testing::refuses::<SiBench>(&[
            ("records", "0 ten -1 1073741825 10.0", "a whole number from 1 to 1073741824"),
            ("minimumproportion", "-1 x 2e9", "a number from 0 to 1000000000"),
            ("updateproportion", "inf NaN 50%", "a number from 0 to 1000000000"),
        ]);
        testing::refuses_with::<SiBench>(&[
            ("record=5", "unknown property record (-p): did you mean records?"),
            (
                "minimumproportion=0 updateproportion=0",
                "the proportions sum to 0: raise one of minimumproportion, \
                 updateproportion",
            ),
        ]);
    }
}
