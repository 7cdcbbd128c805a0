//! A bank whose money is counted while it moves.
//!
//! More threads than cores transfer random amounts between accounts; an account without money is
//! removed and comes back with its next income. Another thread counts the whole table all the
//! while, in snapshots and in transactions: the sum is right every time.

use super::random::{self, Random};
use chronolith::protocol::Protocol;
use chronolith::{Abort, AbortReason, Store, Table, Transaction, TransactionError};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const ACCOUNTS: u64 = 24;
const FUNDS: u64 = 100;
/// Teller threads for each core.
const CROWDING: usize = 4;

type Accounts<P> = Table<u64, u64, P>;
type Counted = Result<u64, TransactionError>;

/// Moves some money; rolls back if there is not enough. What it has read may be inconsistent under
/// a protocol without versions, and then it must not commit.
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
        Some(0) => tx.remove(accounts, &from).map(|_| ())?,
        Some(rest) => tx.put(accounts, from, rest)?,
    }
    random.maybe_yield();
    if !tx.update(accounts, &to, |funds| funds + amount)? {
        tx.insert(accounts, to, amount)?;
    }
    Ok(())
}

/// Everything in the bank.
fn count<P: Protocol>(tx: &Transaction<'_, P>, accounts: &Accounts<P>) -> Counted {
    let keys: Vec<u64> = (0..ACCOUNTS).collect();
    let keys: Vec<&u64> = keys.iter().collect();
    let mut found = [None; ACCOUNTS as usize];
    tx.get_many(accounts, &keys, &mut found)?;
    Ok(found.into_iter().flatten().sum())
}

/// As above, slowly: others commit between the reads.
fn count_slowly<P: Protocol>(tx: &Transaction<'_, P>, accounts: &Accounts<P>) -> Counted {
    let mut sum = 0;
    for key in 0..ACCOUNTS {
        sum += tx.get(accounts, &key)?.copied().unwrap_or(0);
        std::thread::yield_now();
    }
    Ok(sum)
}

/// One look at the bank in each way that there is: what was found, if it was wrong.
fn audit<P: Protocol>(store: &Store<P>, accounts: &Accounts<P>) -> Result<(), String> {
    let looks = [
        ("view", store.view(|tx| count(tx, accounts))),
        ("slow view", store.view(|tx| count_slowly(tx, accounts))),
        ("transaction", store.transact(|tx| count(tx, accounts))),
    ];
    for (name, sum) in looks {
        if sum != Ok(ACCOUNTS * FUNDS) {
            return Err(format!("{}: a {name} has counted {sum:?}", P::NAME));
        }
    }
    Ok(())
}

fn tell<P: Protocol>(
    store: &Store<P>,
    accounts: &Accounts<P>,
    mut random: Random,
    transfers: u64,
) -> u64 {
    let mut moved = 0;
    for _ in 0..transfers {
        let outcome = store.transact(|tx| transfer(tx, accounts, &mut random));
        match outcome.as_ref().map_err(TransactionError::abort) {
            Ok(()) => moved += 1,
            Err(abort) => assert_eq!(abort.map(Abort::reason), Some(AbortReason::User)),
        }
    }
    moved
}

/// Runs so many transfers on each thread; what was found wrong.
pub fn run<P: Protocol>(store: &Store<P>, transfers: u64) -> Result<(), String> {
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
                audit(store, &accounts)?;
                audits += 1;
            }
            Ok::<u64, String>(audits)
        });
        let tellers: Vec<_> = (0..cores * CROWDING)
            .map(|teller| {
                let (accounts, moved) = (&accounts, &moved);
                let random = Random::new(seed, teller as u64);
                scope.spawn(move || {
                    let told = tell(store, accounts, random, transfers);
                    moved.fetch_add(told, Ordering::Relaxed);
                })
            })
            .collect();
        // Both outcomes are looked at after the auditor has been told to stop, lest it go on for
        // ever.
        let told: Vec<_> = tellers.into_iter().map(|teller| teller.join()).collect();
        closing.store(true, Ordering::Relaxed);
        let audits = auditor.join().expect("the auditor reports what it finds")?;
        assert!(told.iter().all(Result::is_ok), "a teller failed");
        if audits == 0 { Err("nobody has looked".to_owned()) } else { Ok(()) }
    })?;
    audit(store, &accounts)?;
    if moved.into_inner() > transfers { Ok(()) } else { Err("too little money has moved".into()) }
}
