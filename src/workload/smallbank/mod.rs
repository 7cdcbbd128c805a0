//! SmallBank (Alomari, Cahill, Fekete, Röhm, "The Cost of Serializability on Platforms That Use
//! Snapshot Isolation", ICDE 2008), with the sixth procedure that H-Store added to it.
//!
//! Every customer has a savings and a checking row. WriteCheck reads both and writes one of them,
//! so it is the pivot of a dangerous structure: under snapshot isolation it may charge an overdraft
//! that no serial order charges.
//!
//! What money comes in from outside, or leaves, is also added up in the row that it comes to. So
//! the balances of one snapshot must sum to what came in according to the same snapshot, while the
//! procedures run, at the cost of no further write; and after the run both must equal what the
//! workers know to have committed. Snapshot isolation keeps all of this, because every amount goes
//! into a row that its transaction writes; the wrong overdraft shows in no balance.

mod procedures;
mod worker;

pub use worker::SmallBankWorker;

use super::common::{
    CHOICE, Ledger, describe_hot_spot, describe_shares, for_each_batch, preset, read_all,
    read_hot_spot, read_shares, tally,
};
use super::generator::{Keys, Shape, Shares};
use super::properties::honoured;
use super::{
    Finding, Footprint, KeyStream, LoadWatch, Moment, Preset, Properties, PropertyError,
    PropertyRow, Purpose, Seed, TallyRole, TallyRow, Workload,
};
use crate::protocol::{Isolation, Protocol};
use crate::{Error, Store, Table, Transaction, TransactionError};
use rand::RngExt;

/// The most customers.
const CUSTOMERS_MAX: u64 = 1 << 30;
/// The largest amount in cents: balances and their sum stay far from the ends of 64 bits.
const CENTS_MAX: i64 = 1 << 30;
/// Customers that one transaction loads.
const BATCH: u64 = 32;

/// In the order of the usual configuration.
const KINDS: &[&str] = &[
    "AMALGAMATE",
    "BALANCE",
    "DEPOSIT-CHECKING",
    "SEND-PAYMENT",
    "TRANSACT-SAVINGS",
    "WRITE-CHECK",
];
const WEIGHTS: [(&str, f64); KINDS.len()] = [
    ("amalgamateproportion", 0.15),
    ("balanceproportion", 0.15),
    ("depositcheckingproportion", 0.15),
    ("sendpaymentproportion", 0.25),
    ("transactsavingsproportion", 0.15),
    ("writecheckproportion", 0.15),
];

#[derive(Debug, Clone, Copy)]
enum Kind {
    Amalgamate,
    Balance,
    DepositChecking,
    SendPayment,
    TransactSavings,
    WriteCheck,
}

impl Kind {
    const ALL: [Kind; KINDS.len()] = [
        Kind::Amalgamate,
        Kind::Balance,
        Kind::DepositChecking,
        Kind::SendPayment,
        Kind::TransactSavings,
        Kind::WriteCheck,
    ];
}

/// What the workers count: committed procedures by kind, and what else is worth knowing.
#[derive(Debug, Clone, Copy)]
enum Tally {
    Wasted = KINDS.len() as isize,
    Overdrafts,
    UnknownNames,
    Refused,
    Lost,
}

const TALLY_COUNT: usize = Tally::Lost as usize + 1;

const TALLIES: [TallyRow; TALLY_COUNT] = [
    tally("amalgamations", TallyRole::Operation),
    tally("balances", TallyRole::Operation),
    tally("deposits", TallyRole::Operation),
    tally("payments", TallyRole::Operation),
    tally("savings", TallyRole::Operation),
    tally("checks", TallyRole::Operation),
    tally("operations of failed attempts", TallyRole::Wasted),
    tally("overdrafts charged", TallyRole::Fact),
    tally("rolled back for an unknown name", TallyRole::Fact),
    tally("rolled back for the amount", TallyRole::Fact),
    tally("lost rows", TallyRole::Violation),
];

/// A savings or checking row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Account {
    cents: i64,
    /// What has come to this row from outside the bank, less what has left the bank from it.
    from_outside: i64,
}

/// What a row holds at the beginning, all of it from outside.
impl From<i64> for Account {
    fn from(cents: i64) -> Self {
        Account { cents, from_outside: cents }
    }
}

/// The amounts of the procedures, in cents.
#[derive(Debug, Clone, Copy)]
struct Amounts {
    deposit_checking: i64,
    send_payment: i64,
    transact_savings: i64,
    write_check: i64,
    /// What WriteCheck takes in addition when the money does not suffice.
    overdraft: i64,
}

/// SmallBank.
#[derive(Debug)]
pub struct SmallBank {
    mix: Shares,
    customers: Shape,
    balance_min: i64,
    balance_max: i64,
    amounts: Amounts,
    unknown_share: f64,
}

/// SmallBank's tables in one store.
#[derive(Debug)]
pub struct Tables<P: Protocol> {
    /// Customers by name.
    accounts: Table<str, u64, P>,
    savings: Table<u64, Account, P>,
    checking: Table<u64, Account, P>,
    /// What came from outside, by committed transactions, the load among them.
    ledger: Ledger<1>,
}

const PROPERTIES: &[PropertyRow] = &[
    CHOICE,
    honoured("customers", "18000", "customers, each with a savings and a checking row"),
    honoured("hotspotrecords", "1000", "customers in the hot part; 0: all alike"),
    honoured("hotspotopnfraction", "0.9", "the hot part's share of the customers asked for"),
    honoured("minbalance", "1000000", "the lowest balance of a row at the beginning, in cents"),
    honoured("maxbalance", "5000000", "the highest, in cents"),
    honoured("depositchecking", "130", "cents that DepositChecking brings; below 0: rolled back"),
    honoured("sendpayment", "500", "cents that SendPayment moves"),
    honoured("transactsavings", "2020", "cents that TransactSavings adds; below 0 it takes them"),
    honoured("writecheck", "500", "cents that WriteCheck takes"),
    honoured("overdraft", "100", "cents that WriteCheck takes in addition for an overdraft"),
    honoured("unknownproportion", "0", "share of requests with a name that nobody has"),
    honoured("amalgamateproportion", "0.15", "share of Amalgamate"),
    honoured("balanceproportion", "0.15", "share of Balance"),
    honoured("depositcheckingproportion", "0.15", "share of DepositChecking"),
    honoured("sendpaymentproportion", "0.25", "share of SendPayment"),
    honoured("transactsavingsproportion", "0.15", "share of TransactSavings"),
    honoured("writecheckproportion", "0.15", "share of WriteCheck"),
];

const PRESETS: &[Preset] = &[
    preset(
        "smallbank",
        include_str!("../../../workloads/smallbank"),
        "six short banking procedures, 90 % of them on 1,000 of 18,000 customers",
    ),
    preset(
        "smallbank-hot",
        include_str!("../../../workloads/smallbank-hot"),
        "the same with 10 hot customers: high contention",
    ),
];

fn read_cents(
    properties: &Properties,
    name: &str,
    default: i64,
    min: i64,
) -> Result<i64, PropertyError> {
    let expected = format!("a whole number of cents from {min} to {CENTS_MAX}");
    let cents = properties.parse(name, default, &expected)?;
    let fits = (min..=CENTS_MAX).contains(&cents);
    if fits { Ok(cents) } else { Err(properties.must_be(name, &expected)) }
}

impl Workload for SmallBank {
    type Tables<P: Protocol> = Tables<P>;
    type Worker<'run, P: Protocol> = SmallBankWorker<'run, P>;

    const CLASSES: &'static [&'static str] = &["smallbank"];
    const PRESETS: &'static [Preset] = PRESETS;
    const PROPERTIES: &'static [PropertyRow] = PROPERTIES;
    const KINDS: &'static [&'static str] = KINDS;
    const TALLIES: &'static [TallyRow] = &TALLIES;

    fn configure(properties: &Properties) -> Result<Self, PropertyError> {
        let customers = properties.whole("customers", 18_000, 2, CUSTOMERS_MAX)?;
        let balance_min = read_cents(properties, "minbalance", 1_000_000, 0)?;
        Ok(SmallBank {
            mix: read_shares(properties, &WEIGHTS)?,
            customers: read_hot_spot(properties, customers, 1_000, 0.9)?,
            balance_min,
            balance_max: read_cents(
                properties,
                "maxbalance",
                balance_min.max(5_000_000),
                balance_min,
            )?,
            amounts: Amounts {
                deposit_checking: read_cents(properties, "depositchecking", 130, -CENTS_MAX)?,
                send_payment: read_cents(properties, "sendpayment", 500, 0)?,
                transact_savings: read_cents(properties, "transactsavings", 2_020, -CENTS_MAX)?,
                write_check: read_cents(properties, "writecheck", 500, 0)?,
                overdraft: read_cents(properties, "overdraft", 100, 0)?,
            },
            unknown_share: properties.real("unknownproportion", 0.0, 0.0, 1.0)?,
        })
    }

    fn basis(&self) -> Vec<(&'static str, String)> {
        let Amounts { deposit_checking, send_payment, transact_savings, write_check, overdraft } =
            self.amounts;
        vec![
            ("mix", describe_shares(KINDS, &self.mix)),
            ("requests", describe_hot_spot(&self.customers, "customers")),
            (
                "values",
                format!(
                    "two rows of 16 bytes for each customer, {} to {} cents each at the beginning; \
                     in cents: deposit {deposit_checking}, payment {send_payment}, savings \
                     {transact_savings}, check {write_check}, overdraft {overdraft}",
                    self.balance_min, self.balance_max
                ),
            ),
        ]
    }

    fn footprint(&self) -> Footprint {
        let row = (size_of::<u64>() + size_of::<Account>()) as u64;
        let name = (procedures::NAME_LEN_BYTES + size_of::<u64>()) as u64;
        let records = 3 * self.customers.space.count;
        Footprint { records, records_added: 0, record_bytes: (2 * row + name).div_ceil(3) }
    }

    fn open<P: Protocol>(&self, store: &Store<P>) -> Result<Tables<P>, Error> {
        Ok(Tables {
            accounts: store.table("accounts")?,
            savings: store.table("savings")?,
            checking: store.table("checking")?,
            ledger: Ledger::new(),
        })
    }

    fn load<P: Protocol>(
        &self,
        store: &Store<P>,
        tables: &Tables<P>,
        seed: Seed,
        watch: &dyn LoadWatch,
    ) -> Result<(), TransactionError> {
        let space = self.customers.space;
        let state = || (String::new(), tables.ledger.page());
        for_each_batch((space.count, BATCH), watch, state, |(name, page), batch| {
            let mut sum = 0;
            store.transact(|transaction| {
                sum = 0;
                for customer in batch.clone() {
                    let mut random = seed.stream(Purpose::Load, customer);
                    let mut draw = || random.random_range(self.balance_min..=self.balance_max);
                    let [savings, checking] = [draw(), draw()];
                    procedures::write_name(customer, name);
                    transaction.insert(&tables.accounts, name.as_str(), customer)?;
                    transaction.insert(&tables.savings, customer, savings.into())?;
                    transaction.insert(&tables.checking, customer, checking.into())?;
                    sum += savings + checking;
                }
                Ok(())
            })?;
            page.add(0, sum.cast_unsigned());
            Ok(3 * (batch.end - batch.start))
        })
    }

    fn worker<'run, P: Protocol>(
        &'run self,
        store: &'run Store<P>,
        tables: &'run Tables<P>,
        seed: Seed,
        index: usize,
        workers: usize,
    ) -> SmallBankWorker<'run, P> {
        SmallBankWorker::new(self, store, tables, seed, index, workers)
    }

    fn audit<P: Protocol>(
        &self,
        store: &Store<P>,
        tables: &Tables<P>,
        moment: Moment,
    ) -> Result<Vec<Finding>, TransactionError> {
        let books = store.view(|transaction| self.read_books(transaction, tables))?;
        let mut findings = vec![judge_balances::<P>(books)];
        if moment == Moment::After {
            findings.push(judge_records(books, tables.ledger.sum(0).cast_signed()));
        }
        Ok(findings)
    }

    fn audits_during(&self) -> bool {
        true
    }

    fn key_stream(&self, seed: Seed, index: usize, workers: usize) -> Option<(KeyStream<'_>, u64)> {
        let mut keys = Keys::new(&self.customers, seed, index as u64, workers as u64);
        let count = self.customers.space.count;
        Some((Box::new(move || keys.draw(count)), count))
    }
}

/// What one snapshot shows of all rows. Sums are modulo 2^64, so that even a broken one is a sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Books {
    cents: i64,
    from_outside: i64,
    rows: u64,
    missing: u64,
}

impl SmallBank {
    fn read_books<P: Protocol>(
        &self,
        transaction: &Transaction<'_, P>,
        tables: &Tables<P>,
    ) -> Result<Books, TransactionError> {
        let mut books = Books::default();
        for table in [&tables.savings, &tables.checking] {
            read_all(transaction, table, 0..self.customers.space.count, |_, account| {
                books.rows += 1;
                let Some(account) = account else {
                    books.missing += 1;
                    return;
                };
                books.cents = books.cents.wrapping_add(account.cents);
                books.from_outside = books.from_outside.wrapping_add(account.from_outside);
            })?;
        }
        Ok(books)
    }
}

fn judge_balances<P: Protocol>(books: Books) -> Finding {
    let Books { cents, from_outside, rows, missing } = books;
    let mut evidence = format!("{rows} rows hold {cents} cents, {from_outside} came from outside");
    if missing > 0 {
        evidence.push_str(&format!(", {missing} rows are missing"));
    }
    if P::ISOLATION == Isolation::Snapshot {
        evidence.push_str(
            "; snapshot isolation keeps this, but may charge an overdraft that no serial order \
             charges, which no balance shows",
        );
    }
    Finding {
        what: "balances sum to what came from outside",
        holds: cents == from_outside && missing == 0,
        evidence,
    }
}

fn judge_records(books: Books, recorded: i64) -> Finding {
    Finding {
        what: "the store has every committed deposit and withdrawal, and no other",
        holds: books.from_outside == recorded,
        evidence: format!(
            "{} cents came from outside by its rows, {recorded} by the workers' records",
            books.from_outside
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Mvocc;
    use crate::sync::fault::Fault;
    use crate::workload::common::testing::{self, Loaded};

    const SMALL: &[(&str, &str)] = &[("customers", "10"), ("hotspotrecords", "3")];
    const BALANCES: &str = "balances sum to what came from outside";
    const RECORDS: &str = "the store has every committed deposit and withdrawal, and no other";

    #[test]
    fn audits_hold_on_every_protocol() {
        testing::holds_on_every_protocol::<SmallBank>(SMALL, 400);
        // Poor customers, withdrawals, and names that nobody has: every way to be rolled back.
        let poor = [
            ("customers", "5"),
            ("minbalance", "0"),
            ("maxbalance", "1000"),
            ("transactsavings", "-300"),
            ("unknownproportion", "0.1"),
        ];
        testing::holds_on_every_protocol::<SmallBank>(&poor, 400);
    }

    #[test]
    fn a_changed_row_is_found() {
        let bank = Loaded::<SmallBank, Mvocc>::new(SMALL);
        bank.expect_all_hold();
        let put = |account: Account| {
            let put = bank.store.transact(|tx| tx.put(&bank.tables.checking, 3, account));
            put.expect("put");
        };
        put(Account { cents: 7, from_outside: 8 });
        bank.expect_broken(BALANCES);
        put(7.into());
        bank.expect_broken(RECORDS);
        bank.store.transact(|tx| tx.remove(&bank.tables.savings, &3)).expect("removed");
        bank.expect_broken(BALANCES);
    }

    #[test]
    fn lost_updates_are_found() {
        testing::faults_are_found::<SmallBank>(&[Fault::IgnoreBase], SMALL, BALANCES);
        testing::faults_are_found::<SmallBank>(&[Fault::IgnoreBase], SMALL, RECORDS);
    }

    #[test]
    fn bad_properties_are_refused() {
        testing::refuses::<SmallBank>(&[
            ("customers", "1 many", "a whole number from 2 to 1073741824"),
            ("hotspotrecords", "18001", "a whole number from 0 to 18000"),
            ("hotspotopnfraction", "-0.1", "a number from 0 to 1"),
            ("minbalance", "-1", "a whole number of cents from 0 to 1073741824"),
            ("maxbalance", "1", "a whole number of cents from 1000000 to 1073741824"),
            ("sendpayment", "-5", "a whole number of cents from 0 to 1073741824"),
            ("writecheck", "1.5", "a whole number of cents from 0 to 1073741824"),
            ("overdraft", "99999999999", "a whole number of cents from 0 to 1073741824"),
            ("unknownproportion", "2", "a number from 0 to 1"),
            ("balanceproportion", "-1", "a number from 0 to 1000000000"),
        ]);
    }
}
