//! The six procedures, as their authors define them. Amounts are in cents.

use super::{Account, Amounts, Tables};
use crate::protocol::Protocol;
use crate::{Table, Transaction, TransactionError};
use std::fmt::Write;

/// Bytes of a customer's name.
pub(super) const NAME_LEN_BYTES: usize = "customer-0000000000".len();

/// Writes the name of a customer.
pub(super) fn write_name(customer: u64, name: &mut String) {
    name.clear();
    write!(name, "customer-{customer:010}").expect("a string takes what is written to it");
}

/// What an attempt leaves behind for the worker.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outcome {
    /// What came from outside by this transaction, less what left.
    pub(super) from_outside: i64,
    /// The balance, for those who ask for it.
    pub(super) balance: i64,
    pub(super) overdrafts: u64,
    /// It was rolled back because nobody has the name.
    pub(super) unknown_name: bool,
    /// It was rolled back because of the amount.
    pub(super) refused: bool,
    /// Rows that must exist and were not there.
    pub(super) missing: u64,
}

/// One attempt of one procedure.
pub(super) struct Procedure<'a, 's, P: Protocol> {
    pub(super) tables: &'a Tables<P>,
    pub(super) amounts: &'a Amounts,
    pub(super) transaction: &'a Transaction<'s, P>,
    pub(super) outcome: &'a mut Outcome,
}

type Done = Result<(), TransactionError>;

impl<P: Protocol> Procedure<'_, '_, P> {
    /// Savings and checking together.
    pub(super) fn balance(mut self, name: &str) -> Done {
        let customer = self.look_up(name)?;
        let savings = self.read(&self.tables.savings, customer)?;
        let checking = self.read(&self.tables.checking, customer)?;
        self.outcome.balance = savings + checking;
        Ok(())
    }

    /// Brings money to the checking account; rolled back if that would take some.
    pub(super) fn deposit_checking(mut self, name: &str) -> Done {
        let customer = self.look_up(name)?;
        let amount = self.amounts.deposit_checking;
        if amount < 0 {
            return self.refuse();
        }
        self.bring(&self.tables.checking, customer, amount)?;
        Ok(())
    }

    /// Brings money to the savings account, or takes some; rolled back if that would overdraw it.
    pub(super) fn transact_savings(mut self, name: &str) -> Done {
        let customer = self.look_up(name)?;
        let left = self.bring(&self.tables.savings, customer, self.amounts.transact_savings)?;
        if left < 0 { self.refuse() } else { Ok(()) }
    }

    /// Moves all the money of the first customer to the checking account of the second.
    pub(super) fn amalgamate(mut self, first: &str, second: &str) -> Done {
        let (first, second) = (self.look_up(first)?, self.look_up(second)?);
        let mut moved = 0;
        for table in [&self.tables.savings, &self.tables.checking] {
            self.change(table, first, |account| {
                moved += account.cents;
                Account { cents: 0, ..account }
            })?;
        }
        self.change(&self.tables.checking, second, |account| account.paid(moved))?;
        Ok(())
    }

    /// Takes money from the checking account, and more if both accounts together have too little.
    pub(super) fn write_check(mut self, name: &str) -> Done {
        let customer = self.look_up(name)?;
        let Amounts { write_check, overdraft, .. } = *self.amounts;
        let savings = self.read(&self.tables.savings, customer)?;
        let checking = self.read(&self.tables.checking, customer)?;
        let overdrawn = savings + checking < write_check;
        self.outcome.overdrafts = overdrawn.into();
        let taken = if overdrawn { write_check + overdraft } else { write_check };
        self.bring(&self.tables.checking, customer, -taken)?;
        Ok(())
    }

    /// Moves money between two checking accounts; rolled back if the first has too little.
    pub(super) fn send_payment(mut self, first: &str, second: &str) -> Done {
        let (first, second) = (self.look_up(first)?, self.look_up(second)?);
        let amount = self.amounts.send_payment;
        let left = self.change(&self.tables.checking, first, |account| account.paid(-amount))?;
        if left < 0 {
            return self.refuse();
        }
        self.change(&self.tables.checking, second, |account| account.paid(amount))?;
        Ok(())
    }

    /// The customer of this name; rolled back if there is none.
    fn look_up(&mut self, name: &str) -> Result<u64, TransactionError> {
        match self.transaction.get(&self.tables.accounts, name)? {
            Some(customer) => Ok(*customer),
            None => {
                self.outcome.unknown_name = true;
                Err(self.transaction.rollback())
            }
        }
    }

    fn refuse(self) -> Done {
        self.outcome.refused = true;
        Err(self.transaction.rollback())
    }

    fn read(
        &mut self,
        table: &Table<u64, Account, P>,
        customer: u64,
    ) -> Result<i64, TransactionError> {
        let account = self.transaction.get(table, &customer)?;
        self.outcome.missing += u64::from(account.is_none());
        Ok(account.map_or(0, |account| account.cents))
    }

    /// Changes a row; gives what it then holds.
    fn change(
        &mut self,
        table: &Table<u64, Account, P>,
        customer: u64,
        change: impl FnOnce(Account) -> Account,
    ) -> Result<i64, TransactionError> {
        let mut left = 0;
        let changed = self.transaction.update(table, &customer, |account| {
            let account = change(*account);
            left = account.cents;
            account
        })?;
        self.outcome.missing += u64::from(!changed);
        Ok(left)
    }

    /// Changes a row by money that comes from outside; gives what it then holds.
    fn bring(
        &mut self,
        table: &Table<u64, Account, P>,
        customer: u64,
        cents: i64,
    ) -> Result<i64, TransactionError> {
        self.outcome.from_outside += cents;
        self.change(table, customer, |account| {
            let from_outside = account.from_outside.wrapping_add(cents);
            Account { from_outside, ..account.paid(cents) }
        })
    }
}

impl Account {
    fn paid(self, cents: i64) -> Self {
        Account { cents: self.cents.wrapping_add(cents), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SmallBank;
    use super::*;
    use crate::protocol::Mvocc;
    use crate::workload::common::testing::Loaded;

    /// Runs a procedure for customers 0 and 1 who have these savings and checkings, and gives what
    /// they have then, or `None` if it was rolled back.
    fn run(
        before: [[i64; 2]; 2],
        settings: &[(&str, &str)],
        body: impl Fn(Procedure<'_, '_, Mvocc>, [&str; 2]) -> Done,
    ) -> (Option<[[i64; 2]; 2]>, Outcome) {
        let bank = Loaded::<SmallBank, Mvocc>::new(&[&[("customers", "2")], settings].concat());
        let tables = &bank.tables;
        let mut names = [String::new(), String::new()];
        for (customer, [savings, checking]) in before.into_iter().enumerate() {
            write_name(customer as u64, &mut names[customer]);
            let put = bank.store.transact(|tx| {
                tx.put(&tables.savings, customer as u64, savings.into())?;
                tx.put(&tables.checking, customer as u64, checking.into())
            });
            put.expect("put");
        }
        let mut outcome = Outcome::default();
        let done = bank.store.transact(|transaction| {
            outcome = Outcome::default();
            let amounts = &bank.workload.amounts;
            let procedure = Procedure { tables, amounts, transaction, outcome: &mut outcome };
            body(procedure, [&names[0], &names[1]])
        });
        let after = bank.store.view(|tx| {
            let cents = |table, customer: u64| -> Result<i64, TransactionError> {
                Ok(tx.get(table, &customer)?.map_or(0, |account: &Account| account.cents))
            };
            let of = |customer| -> Result<[i64; 2], TransactionError> {
                Ok([cents(&tables.savings, customer)?, cents(&tables.checking, customer)?])
            };
            Ok([of(0)?, of(1)?])
        });
        let after = after.expect("read");
        match done {
            Ok(()) => (Some(after), outcome),
            Err(_) => {
                assert_eq!(after, before, "a rollback changes nothing");
                (None, outcome)
            }
        }
    }

    #[test]
    fn amalgamate_moves_everything_to_the_other_checking_account() {
        let (after, outcome) =
            run([[10, 20], [30, 40]], &[], |procedure, [a, b]| procedure.amalgamate(a, b));
        assert_eq!(after, Some([[0, 0], [30, 70]]));
        assert_eq!(outcome.from_outside, 0);
    }

    #[test]
    fn balance_is_both_accounts() {
        let (after, outcome) =
            run([[10, 20], [0, 0]], &[], |procedure, [a, _]| procedure.balance(a));
        assert_eq!((after, outcome.balance), (Some([[10, 20], [0, 0]]), 30));
    }

    #[test]
    fn deposit_checking_refuses_to_take() {
        let deposit = |amount: &str| {
            run([[0, 5], [0, 0]], &[("depositchecking", amount)], |procedure, [a, _]| {
                procedure.deposit_checking(a)
            })
        };
        assert_eq!(deposit("130").0, Some([[0, 135], [0, 0]]));
        assert_eq!(deposit("130").1.from_outside, 130);
        let (after, outcome) = deposit("-1");
        assert!(after.is_none() && outcome.refused);
    }

    #[test]
    fn transact_savings_refuses_to_overdraw() {
        let transact = |amount: &str| {
            run([[300, 5], [0, 0]], &[("transactsavings", amount)], |procedure, [a, _]| {
                procedure.transact_savings(a)
            })
        };
        assert_eq!(transact("20").0, Some([[320, 5], [0, 0]]));
        assert_eq!(transact("-300").0, Some([[0, 5], [0, 0]]));
        let (after, outcome) = transact("-301");
        assert!(after.is_none() && outcome.refused);
    }

    #[test]
    fn write_check_charges_an_overdraft_of_both_accounts_together() {
        let check = |savings, checking| {
            run([[savings, checking], [0, 0]], &[], |procedure, [a, _]| procedure.write_check(a))
        };
        let (after, outcome) = check(400, 100);
        assert_eq!((after, outcome.overdrafts), (Some([[400, -400], [0, 0]]), 0));
        let (after, outcome) = check(400, 99);
        assert_eq!((after, outcome.overdrafts), (Some([[400, -501], [0, 0]]), 1));
        assert_eq!(outcome.from_outside, -600);
    }

    #[test]
    fn send_payment_refuses_to_overdraw_checking() {
        let pay = |checking| {
            run([[900, checking], [0, 1]], &[], |procedure, [a, b]| procedure.send_payment(a, b))
        };
        assert_eq!(pay(500).0, Some([[900, 0], [0, 501]]));
        let (after, outcome) = pay(499);
        assert!(after.is_none() && outcome.refused);
    }

    #[test]
    fn an_unknown_name_rolls_back() {
        let (after, outcome) =
            run([[1, 1], [1, 1]], &[], |procedure, [a, _]| procedure.amalgamate(a, "nobody"));
        assert!(after.is_none() && outcome.unknown_name);
    }
}
