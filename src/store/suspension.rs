//! The test of the progress guarantee: a thread is suspended at every step of a transaction in
//! turn, for as long as others need to show that they go on.

use super::{Store, Table};
use crate::error::TransactionError;
use crate::sync::step::{self, Step};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::time::Duration;

const ACCOUNTS: u64 = 8;
const EACH: i64 = 1_000;
/// Far more than the work needs; reached only by a thread that waits for the suspended one.
const PATIENCE: Duration = Duration::from_secs(60);

struct Bank {
    store: Store,
    accounts: Table<u64, i64>,
    /// Keys that come and go, so that the index grows and records are removed.
    visits: Table<u64, u64>,
}

impl Bank {
    fn new() -> Self {
        let store = Store::builder().shards(2).build().expect("two shards");
        let accounts = store.table("accounts").expect("a new table");
        let visits = store.table("visits").expect("a new table");
        let bank = Bank { store, accounts, visits };
        bank.store
            .transact(|tx| {
                (0..ACCOUNTS).try_for_each(|account| tx.put(&bank.accounts, account, EACH))
            })
            .expect("nobody else writes");
        bank
    }

    fn transfer(&self, from: u64, to: u64) -> Result<(), TransactionError> {
        self.store.transact(|tx| {
            tx.update(&self.accounts, &from, |balance| balance - 1)?;
            tx.update(&self.accounts, &to, |balance| balance + 1)?;
            Ok(())
        })
    }

    /// A transaction that installs a version, finds that what it read has changed, and aborts.
    fn fail(&self, round: u64) -> Result<(), TransactionError> {
        let doomed = self.store.begin()?;
        doomed.get(&self.accounts, &0)?;
        let written = doomed
            .update(&self.accounts, &1, |balance| balance + 1_000_000)
            .and_then(|_| doomed.insert(&self.visits, u64::MAX - round, 0));
        self.transfer(0, 2)?;
        // Others may have changed what it writes already; otherwise it finds out when it commits.
        let outcome = written.and_then(|_| doomed.commit());
        assert!(outcome.is_err(), "what it read has changed");
        Ok(())
    }

    /// Everything a transaction can do, so that every step is reached.
    fn work(&self, thread: u64, round: u64) -> Result<(), TransactionError> {
        self.transfer(round % ACCOUNTS, (round + 1) % ACCOUNTS)?;
        self.fail(thread << 32 | round)?;
        let key = thread << 32 | round;
        self.store.transact(|tx| tx.insert(&self.visits, key, round).map(|_| ()))?;
        if round.is_multiple_of(2) {
            self.store.transact(|tx| tx.remove(&self.visits, &key).map(|_| ()))?;
        }
        self.audit()
    }

    fn audit(&self) -> Result<(), TransactionError> {
        let total = self.store.view(|tx| {
            let mut total = 0;
            for account in 0..ACCOUNTS {
                total += tx.get(&self.accounts, &account)?.copied().unwrap_or(0);
            }
            Ok(total)
        })?;
        assert_eq!(total, ACCOUNTS as i64 * EACH);
        Ok(())
    }
}

/// Works until it reaches `at`, stays there until told to go on, and then ends.
fn victim(bank: &Bank, at: Step, reached: SyncSender<()>, go_on: Receiver<()>) {
    let arrived = std::rc::Rc::new(std::cell::Cell::new(false));
    let seen = arrived.clone();
    step::on(move |step| {
        if step == at && !seen.replace(true) {
            reached.send(()).expect("the test waits");
            go_on.recv().expect("the test lets the victim go on");
        }
    });
    let mut round = 0;
    while !arrived.get() {
        bank.work(1, round).expect("no misuse");
        round += 1;
        assert!(round < 100_000, "never reached {at:?}");
    }
}

fn others_go_on_while_one_is_suspended_at(at: Step) {
    let bank = Arc::new(Bank::new());
    let (reached, has_reached) = sync_channel(1);
    let (let_go, go_on) = channel();
    let suspended = {
        let bank = Arc::clone(&bank);
        std::thread::spawn(move || victim(&bank, at, reached, go_on))
    };
    has_reached.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{at:?} was never reached"));
    let (done, is_done) = sync_channel(2);
    for thread in 2..4 {
        let (bank, done) = (Arc::clone(&bank), done.clone());
        std::thread::spawn(move || {
            for round in 0..1_000 {
                bank.work(thread, round).expect("no misuse");
            }
            done.send(()).expect("the test waits");
        });
    }
    drop(done);
    for _ in 0..2 {
        match is_done.recv_timeout(PATIENCE) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => panic!("a thread waits for one suspended at {at:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("a thread failed; see above"),
        }
    }
    let_go.send(()).expect("the victim is still suspended");
    suspended.join().expect("the victim ends well");
    bank.audit().expect("no misuse");
}

#[test]
fn no_suspended_thread_keeps_others_from_committing() {
    let _nothing_armed = crate::sync::fault::Armed::new(None);
    for at in Step::ALL {
        others_go_on_while_one_is_suspended_at(at);
    }
}

/// The test above must be able to fail: one mutex makes the others wait.
#[test]
fn a_suspended_holder_of_a_lock_is_noticed() {
    let store = Store::builder().build_with::<crate::protocol::Serial>().expect("valid");
    let table = store.table::<u64, u64>("t").expect("a new table");
    let holder = store.begin().expect("nobody holds the lock");
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| store.begin().map(|_| ()));
        let outcome = waiter.join().expect("no panic");
        let error = outcome.expect_err("the lock is held");
        assert_eq!(error.abort().map(crate::Abort::reason), Some(crate::AbortReason::LockTimeout));
    });
    holder.put(&table, 1, 1).expect("the holder goes on");
    holder.commit().expect("nobody else writes");
}
