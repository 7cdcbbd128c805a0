//! A bank whose money is counted while it moves.
//!
//! More threads than cores transfer random amounts between accounts; an account without money is
//! removed and comes back with its next income. Another thread counts the whole table in snapshots
//! all the while: the sum is right every time.

#[macro_use]
mod common;
#[path = "common/random.rs"]
mod random;

use chronolith::protocol::{self, Protocol, Visitor};
use chronolith::{Abort, AbortReason, Store, Table, Transaction, TransactionError};
use random::Random;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const ACCOUNTS: u64 = 24;
const FUNDS: u64 = 100;
/// Teller threads for each core.
const CROWDING: usize = 4;
const TRANSFERS: u64 = if cfg!(debug_assertions) { 6_000 } else { 20_000 };

type Accounts<P> = Table<u64, u64, P>;

/// Moves some money; rolls back if there is not enough.
fn transfer<P: Protocol>(
    tx: &Transaction<'_, P>,
    accounts: &Accounts<P>,
    random: &mut Random,
) -> Result<(), TransactionError> {
    let (from, to) = (random.below(ACCOUNTS), random.below(ACCOUNTS));
    let amount = 1 + random.below(FUNDS);
    let Some(&funds) = tx.get(accounts, &from)? else {
        return Err(tx.rollback());
    };
    random.maybe_yield();
    match funds.checked_sub(amount) {
        None => return Err(tx.rollback()),
        // If what was just read is gone, or there by now, this transaction is bound to fail.
        Some(0) => {
            tx.remove(accounts, &from)?;
        }
        Some(rest) => tx.put(accounts, from, rest)?,
    }
    random.maybe_yield();
    if !tx.update(accounts, &to, |funds| funds + amount)? {
        tx.insert(accounts, to, amount)?;
    }
    Ok(())
}

/// Everything in the bank, at one moment.
fn audit<P: Protocol>(store: &Store<P>, accounts: &Accounts<P>) -> u64 {
    let keys: Vec<u64> = (0..ACCOUNTS).collect();
    let keys: Vec<&u64> = keys.iter().collect();
    let sum = store.view(|tx| {
        let mut found = [None; ACCOUNTS as usize];
        tx.get_many(accounts, &keys, &mut found)?;
        Ok(found.into_iter().flatten().sum())
    });
    sum.unwrap()
}

/// As above, slowly: others commit between the reads.
fn slow_audit<P: Protocol>(store: &Store<P>, accounts: &Accounts<P>) -> u64 {
    let sum = store.view(|tx| {
        let mut sum = 0;
        for key in 0..ACCOUNTS {
            sum += tx.get(accounts, &key)?.copied().unwrap_or(0);
            std::thread::yield_now();
        }
        Ok(sum)
    });
    sum.unwrap()
}

fn tell<P: Protocol>(store: &Store<P>, accounts: &Accounts<P>, mut random: Random) -> u64 {
    let mut moved = 0;
    for _ in 0..TRANSFERS {
        let outcome = store.transact(|tx| transfer(tx, accounts, &mut random));
        match outcome.as_ref().map_err(TransactionError::abort) {
            Ok(()) => moved += 1,
            Err(abort) => assert_eq!(abort.map(Abort::reason), Some(AbortReason::User)),
        }
    }
    moved
}

fn run<P: Protocol>(store: &Store<P>) {
    let seed = random::seed();
    let accounts = store.table::<u64, u64>("accounts").unwrap();
    let open =
        |tx: &Transaction<'_, P>| (0..ACCOUNTS).try_for_each(|key| tx.put(&accounts, key, FUNDS));
    store.transact(open).unwrap();
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let (closing, moved) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let auditor = scope.spawn(|| {
            let mut audits = 0u64;
            while !closing.load(Ordering::Relaxed) {
                assert_eq!(audit(store, &accounts), ACCOUNTS * FUNDS, "audit {audits}");
                assert_eq!(slow_audit(store, &accounts), ACCOUNTS * FUNDS, "audit {audits}");
                audits += 1;
            }
            audits
        });
        let tellers: Vec<_> = (0..cores * CROWDING)
            .map(|teller| {
                let (accounts, moved) = (&accounts, &moved);
                let random = Random::new(seed, teller as u64);
                scope.spawn(move || {
                    moved.fetch_add(tell(store, accounts, random), Ordering::Relaxed);
                })
            })
            .collect();
        // Both outcomes are looked at after the auditor has been told to stop, lest it go on for
        // ever.
        let told: Vec<_> = tellers.into_iter().map(|teller| teller.join()).collect();
        closing.store(true, Ordering::Relaxed);
        let audits = auditor.join().expect("every audit is right");
        assert!(told.iter().all(Result::is_ok), "a teller failed");
        assert!(audits > 0, "nobody has looked");
    });
    assert_eq!(audit(store, &accounts), ACCOUNTS * FUNDS);
    assert!(moved.into_inner() > TRANSFERS, "money has moved");
}

for_each_protocol! {
    fn the_sum_is_right_at_every_audit<P>(store) {
        run(&store);
    }
}
