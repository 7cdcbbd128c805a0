//! A bank, or closed economy: money moves between accounts, and none is made or lost.
//!
//! The economy is that of YCSB+T (Dey, Fekete, Nambiar, Röhm, "YCSB+T: Benchmarking web-scale
//! transactional databases", ICDE Workshops 2014), which sums the accounts once, at the end. Here
//! the sum is also taken in one snapshot *while* money moves, as Jepsen's bank test does: by a kind
//! of transaction, and by the audit. An account can be split into two rows, so that whether it may
//! be drawn on depends on a row that the transfer does not write: that is where write skew shows.

mod worker;

pub use worker::BankWorker;

use super::common::{
    CHOICE, Ledger, describe_hot_spot, describe_shares, load_rows, preset, read_all, read_hot_spot,
    read_shares, tally,
};
use super::generator::{Keys, Shape, Shares};
use super::properties::honoured;
use super::{
    Finding, Footprint, KeyStream, LoadWatch, Moment, Preset, Properties, PropertyError,
    PropertyRow, Seed, TallyRole, TallyRow, Workload,
};
use crate::protocol::{Isolation, Protocol};
use crate::{Error, Store, Table, TransactionError};

/// The most accounts.
const ACCOUNTS_MAX: u64 = 1 << 30;
/// The highest balance at the beginning: the sum of all fits into 62 bits.
const BALANCE_MAX: u64 = 1 << 30;

const KINDS: &[&str] = &["TRANSFER", "READ", "AUDIT"];
const WEIGHTS: [(&str, f64); 3] =
    [("transferproportion", 0.99), ("readproportion", 0.0), ("auditproportion", 0.01)];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Transfer,
    Read,
    Audit,
}

#[derive(Debug, Clone, Copy)]
enum Tally {
    Wasted = KINDS.len() as isize,
    Refused,
    Lost,
    WrongTotal,
}

const TALLY_COUNT: usize = Tally::WrongTotal as usize + 1;

const TALLIES: [TallyRow; TALLY_COUNT] = [
    tally("transfers", TallyRole::Operation),
    tally("reads", TallyRole::Operation),
    tally("audits", TallyRole::Operation),
    tally("operations of failed attempts", TallyRole::Wasted),
    tally("transfers refused for want of money", TallyRole::Fact),
    tally("lost accounts", TallyRole::Violation),
    tally("snapshots with a wrong total", TallyRole::Violation),
];

/// The bank.
#[derive(Debug)]
pub struct Bank {
    mix: Shares,
    accounts: Shape,
    initial_balance: i64,
    amount_max: i64,
    /// Rows of one account: 1 or 2.
    rows: u64,
    overdraft: bool,
}

/// The bank's table in one store.
#[derive(Debug)]
pub struct Tables<P: Protocol> {
    /// Balances by row; the rows of account a are a * rows and those after it.
    balances: Table<u64, i64, P>,
    /// Committed transfers.
    transfers: Ledger<1>,
}

const PROPERTIES: &[PropertyRow] = &[
    CHOICE,
    honoured("accounts", "1000", "accounts of the bank, 2 or more"),
    honoured("initialbalance", "1000", "the money on each account at the beginning"),
    honoured("transfermax", "100", "the largest amount of a transfer; the smallest is 1"),
    honoured("rowsperaccount", "1", "1, or 2: an account's money then lies in two rows"),
    honoured("overdraft", "false", "whether a transfer may draw an account below 0"),
    honoured("hotspotrecords", "0", "accounts in the hot part; 0: all alike"),
    honoured("hotspotopnfraction", "0.8", "the hot part's share of the requests"),
    honoured("transferproportion", "0.99", "share of transfers"),
    honoured("readproportion", "0", "share of reads of one account"),
    honoured("auditproportion", "0.01", "share of reads of all accounts in one snapshot"),
];

const PRESETS: &[Preset] = &[
    preset(
        "bank",
        include_str!("../../../workloads/bank"),
        "transfers, and now and then a sum over all accounts in one snapshot",
    ),
    preset(
        "bank-split",
        include_str!("../../../workloads/bank-split"),
        "the same with two rows for each account: shows write skew",
    ),
    preset(
        "closed-economy",
        include_str!("../../../workloads/closed-economy"),
        "YCSB+T's economy: reads, and transfers of one unit",
    ),
];

impl Workload for Bank {
    type Tables<P: Protocol> = Tables<P>;
    type Worker<'run, P: Protocol> = BankWorker<'run, P>;

    const CLASSES: &'static [&'static str] = &["bank"];
    const PRESETS: &'static [Preset] = PRESETS;
    const PROPERTIES: &'static [PropertyRow] = PROPERTIES;
    const KINDS: &'static [&'static str] = KINDS;
    const TALLIES: &'static [TallyRow] = &TALLIES;

    fn configure(properties: &Properties) -> Result<Self, PropertyError> {
        let accounts = properties.whole("accounts", 1_000, 2, ACCOUNTS_MAX)?;
        Ok(Bank {
            mix: read_shares(properties, &WEIGHTS)?,
            accounts: read_hot_spot(properties, accounts, 0, 0.8)?,
            initial_balance: properties.whole("initialbalance", 1_000, 0, BALANCE_MAX)? as i64,
            amount_max: properties.whole("transfermax", 100, 1, BALANCE_MAX)? as i64,
            rows: properties.whole("rowsperaccount", 1, 1, 2)?,
            overdraft: properties.flag("overdraft", false)?,
        })
    }

    fn basis(&self) -> Vec<(&'static str, String)> {
        let rows = match self.rows {
            1 => "one row each",
            _ => "two rows each",
        };
        let refusal = match self.overdraft {
            true => "accounts may be overdrawn",
            false => "a transfer that would overdraw its account is rolled back",
        };
        vec![
            ("mix", describe_shares(KINDS, &self.mix)),
            ("requests", describe_hot_spot(&self.accounts, "accounts")),
            ("values", format!("8-byte integers, {rows}; {refusal}")),
        ]
    }

    fn footprint(&self) -> Footprint {
        let records = self.row_count();
        let record_bytes = 2 * size_of::<u64>() as u64;
        Footprint { records, records_added: 0, record_bytes }
    }

    fn open<P: Protocol>(&self, store: &Store<P>) -> Result<Tables<P>, Error> {
        Ok(Tables { balances: store.table("balances")?, transfers: Ledger::new() })
    }

    fn load<P: Protocol>(
        &self,
        store: &Store<P>,
        tables: &Tables<P>,
        _seed: Seed,
        watch: &dyn LoadWatch,
    ) -> Result<(), TransactionError> {
        let row = |row| (row, self.initial_of_row(row));
        load_rows(store, &tables.balances, self.row_count(), watch, row)
    }

    fn worker<'run, P: Protocol>(
        &'run self,
        store: &'run Store<P>,
        tables: &'run Tables<P>,
        seed: Seed,
        index: usize,
        workers: usize,
    ) -> BankWorker<'run, P> {
        BankWorker::new(self, store, tables, seed, index, workers)
    }

    fn audit<P: Protocol>(
        &self,
        store: &Store<P>,
        tables: &Tables<P>,
        moment: Moment,
    ) -> Result<Vec<Finding>, TransactionError> {
        let transfers = tables.transfers.sum(0);
        let seen = store.view(|transaction| self.read_books(transaction, tables))?;
        let mut findings =
            vec![self.judge_total(seen, (moment == Moment::After).then_some(transfers))];
        if !self.overdraft {
            findings.push(self.judge_overdrafts::<P>(seen));
        }
        Ok(findings)
    }

    fn audits_during(&self) -> bool {
        true
    }

    fn key_stream(&self, seed: Seed, index: usize, workers: usize) -> Option<(KeyStream<'_>, u64)> {
        let mut keys = Keys::new(&self.accounts, seed, index as u64, workers as u64);
        let count = self.accounts.space.count;
        Some((Box::new(move || keys.draw(count)), count))
    }
}

/// What one snapshot shows of all accounts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Books {
    /// Modulo 2^64, so that even a broken sum is a sum.
    total: i64,
    missing_rows: u64,
    overdrawn: u64,
    lowest: i64,
}

impl Bank {
    fn row_count(&self) -> u64 {
        self.accounts.space.count * self.rows
    }

    fn initial_of_row(&self, row: u64) -> i64 {
        let half = self.initial_balance / 2;
        match (self.rows, row % self.rows) {
            (1, _) => self.initial_balance,
            (_, 0) => self.initial_balance - half,
            _ => half,
        }
    }

    /// All the money that there is.
    fn economy(&self) -> i64 {
        self.initial_balance * self.accounts.space.count as i64
    }

    /// Reads all accounts.
    fn read_books<P: Protocol>(
        &self,
        transaction: &crate::Transaction<'_, P>,
        tables: &Tables<P>,
    ) -> Result<Books, TransactionError> {
        let mut books = Books::default();
        let mut account = 0;
        read_all(transaction, &tables.balances, 0..self.row_count(), |row, balance| {
            books.missing_rows += u64::from(balance.is_none());
            let balance = balance.copied().unwrap_or(0);
            books.total = books.total.wrapping_add(balance);
            account = match row % self.rows {
                0 => balance,
                _ => balance.wrapping_add(account),
            };
            if row % self.rows == self.rows - 1 {
                books.overdrawn += u64::from(account < 0);
                books.lowest = books.lowest.min(account);
            }
        })?;
        Ok(books)
    }

    fn judge_total(&self, seen: Books, transfers: Option<u64>) -> Finding {
        let Books { total, missing_rows, .. } = seen;
        let economy = self.economy();
        let mut evidence = format!("{} rows hold {total} of {economy}", self.row_count());
        if missing_rows > 0 {
            evidence.push_str(&format!(", {missing_rows} of them are missing"));
        }
        if let Some(transfers) = transfers.filter(|transfers| *transfers > 0) {
            let score = total.abs_diff(economy) as f64 / transfers as f64;
            evidence.push_str(&format!("; anomaly score {score} over {transfers} transfers"));
        }
        Finding {
            what: "money is neither made nor lost",
            holds: total == economy && missing_rows == 0,
            evidence,
        }
    }

    fn judge_overdrafts<P: Protocol>(&self, seen: Books) -> Finding {
        let Books { overdrawn, lowest, .. } = seen;
        let mut evidence = format!("{overdrawn} accounts are below 0, the lowest is {lowest}");
        // With one row the transfer writes the very row that it looked at.
        let permitted = self.rows > 1 && P::ISOLATION == Isolation::Snapshot;
        if permitted {
            evidence.push_str(
                "; two transfers from the two rows of one account may do that, which is write \
                 skew: snapshot isolation permits it",
            );
        }
        Finding { what: "no account is overdrawn", holds: overdrawn == 0 || permitted, evidence }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Mvocc;
    use crate::sync::fault::Fault;
    use crate::workload::common::testing::{self, Loaded};

    const SMALL: &[(&str, &str)] = &[("accounts", "20"), ("auditproportion", "0.1")];
    const SPLIT: &[(&str, &str)] = &[
        ("accounts", "4"),
        ("rowsperaccount", "2"),
        ("initialbalance", "20"),
        ("transfermax", "20"),
    ];

    #[test]
    fn audits_hold_on_every_protocol() {
        testing::holds_on_every_protocol::<Bank>(SMALL, 400);
        testing::holds_on_every_protocol::<Bank>(SPLIT, 400);
    }

    #[test]
    fn a_changed_balance_is_found() {
        let bank = Loaded::<Bank, Mvocc>::new(SMALL);
        bank.expect_all_hold();
        let put = |row, balance| {
            bank.store.transact(|tx| tx.put(&bank.tables.balances, row, balance)).expect("put");
        };
        put(3, 999);
        bank.expect_broken("money is neither made nor lost");
        put(3, -1);
        put(4, 2_001);
        bank.expect_broken("no account is overdrawn");
        bank.store.transact(|tx| tx.remove(&bank.tables.balances, &5)).expect("removed");
        bank.expect_broken("money is neither made nor lost");
    }

    #[test]
    fn lost_updates_are_found() {
        testing::faults_are_found::<Bank>(
            &[Fault::IgnoreBase],
            SMALL,
            "money is neither made nor lost",
        );
    }

    #[test]
    fn write_skew_is_found() {
        testing::faults_are_found::<Bank>(
            &[Fault::SkipValidation],
            SPLIT,
            "no account is overdrawn",
        );
    }

    #[test]
    fn bad_properties_are_refused() {
        testing::refuses::<Bank>(&[
            ("accounts", "1 x", "a whole number from 2 to 1073741824"),
            ("initialbalance", "-1", "a whole number from 0 to 1073741824"),
            ("transfermax", "0", "a whole number from 1 to 1073741824"),
            ("rowsperaccount", "3", "a whole number from 1 to 2"),
            ("overdraft", "maybe", "true or false"),
            ("hotspotrecords", "1001", "a whole number from 0 to 1000"),
            ("hotspotopnfraction", "1.5", "a number from 0 to 1"),
            ("transferproportion", "-1", "a number from 0 to 1000000000"),
            ("auditproportion", "NaN", "a number from 0 to 1000000000"),
        ]);
    }
}
