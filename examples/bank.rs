//! Transfers between accounts from several threads, and an audit that runs meanwhile.
//!
//! Run it with `cargo run --release --no-default-features --example bank`.

use chronolith::{Store, TransactionError};

const ACCOUNTS: u64 = 100;
const INITIAL: i64 = 1_000;
const TRANSFERS: u64 = 50_000;

fn main() -> Result<(), TransactionError> {
    let store = Store::new();
    let accounts = store.table::<u64, i64>("accounts")?;
    store.transact(|tx| (0..ACCOUNTS).try_for_each(|id| tx.put(&accounts, id, INITIAL)))?;

    let transfer = |from: u64, to: u64, amount: i64| {
        store.transact(|tx| {
            let balance = tx.get(&accounts, &from)?.copied().unwrap_or(0);
            if balance < amount {
                // Not a conflict: the closure is not run again.
                return Err(tx.rollback());
            }
            tx.put(&accounts, from, balance - amount)?;
            tx.update(&accounts, &to, |balance| balance + amount)?;
            Ok(())
        })
    };
    let audit = || {
        store.view(|tx| {
            let balances = (0..ACCOUNTS).map(|id| tx.get(&accounts, &id));
            balances.map(|balance| Ok(balance?.copied().unwrap_or(0))).sum::<Result<i64, _>>()
        })
    };

    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            scope.spawn(move || {
                for round in 0..TRANSFERS {
                    let (from, to) = ((round * 7 + thread) % ACCOUNTS, (round * 13) % ACCOUNTS);
                    if from != to {
                        let _ = transfer(from, to, (round % 50) as i64);
                    }
                }
            });
        }
        for _ in 0..100 {
            assert_eq!(audit(), Ok(ACCOUNTS as i64 * INITIAL), "money appeared or vanished");
        }
    });

    let stats = store.stats();
    println!("{} commits, {} aborts", stats.commits, stats.aborts.iter().sum::<u64>());
    println!("{} live versions of {} records", stats.versions_live, stats.records);
    Ok(())
}
