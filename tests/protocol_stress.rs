//! Every protocol under threads that get into each other's way, at the level that it declares:
//! sums that must not change, increments that must not be lost, pairs that must not both be given
//! up, keys that come and go.
//!
//! What a closure reads may be inconsistent with protocols that check it at commit, so whatever is
//! asserted here is asserted of transactions that have committed.

#[macro_use]
mod common;
#[path = "common/random.rs"]
mod random;

use chronolith::protocol::{self, Isolation, Protocol, Visitor};
use chronolith::{Store, Table, Transaction, TransactionError};
use random::Random;

const THREADS: u64 = 4;

/// Runs `body` on several threads, each with its number and its random choices, and adds up what
/// they return.
fn on_threads(body: impl Fn(u64, &mut Random) -> u64 + Sync) -> u64 {
    let seed = random::seed();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let body = &body;
                scope.spawn(move || body(thread, &mut Random::new(seed, thread)))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no assertion there failed")).sum()
    })
}

fn sum<P: Protocol>(
    tx: &Transaction<'_, P>,
    table: &Table<u64, i64, P>,
    keys: u64,
) -> Result<i64, TransactionError> {
    let mut sum = 0;
    for key in 0..keys {
        sum += tx.get(table, &key)?.copied().unwrap_or_default();
    }
    Ok(sum)
}

for_each_protocol! {
    fn transfers_keep_the_sum<P>(store) {
        const ACCOUNTS: u64 = 6;
        let table = store.table::<u64, i64>("accounts").unwrap();
        store.transact(|tx| (0..ACCOUNTS).try_for_each(|key| tx.put(&table, key, 100))).unwrap();
        let audits = on_threads(|thread, random| {
            let mut audits = 0;
            for _ in 0..1_500 {
                let (from, to) = (random.below(ACCOUNTS), random.below(ACCOUNTS));
                let amount = random.below(9) as i64;
                match random.below(4) {
                    0 => {
                        let sum = store.view(|tx| sum(tx, &table, ACCOUNTS)).unwrap();
                        assert_eq!(sum, 100 * ACCOUNTS as i64, "{} in a view", P::NAME);
                        audits += 1;
                    }
                    1 => {
                        let pick = (thread + from) % ACCOUNTS;
                        // Writes as well, so that protocols treat it as a writer.
                        let audit = store.transact(|tx| {
                            let total = sum(tx, &table, ACCOUNTS)?;
                            let same = tx.get(&table, &pick)?.copied().expect("an account");
                            tx.put(&table, pick, same)?;
                            Ok(total)
                        });
                        assert_eq!(audit.unwrap(), 100 * ACCOUNTS as i64, "{}", P::NAME);
                        audits += 1;
                    }
                    2 => store
                        .transact(|tx| {
                            tx.update(&table, &from, |balance| balance - amount)?;
                            random.maybe_yield();
                            tx.update(&table, &to, |balance| balance + amount)?;
                            Ok(())
                        })
                        .unwrap(),
                    _ => store
                        .transact(|tx| {
                            let balance = *tx.get(&table, &from)?.expect("an account");
                            tx.put(&table, from, balance - amount)?;
                            random.maybe_yield();
                            let balance = *tx.get(&table, &to)?.expect("an account");
                            tx.put(&table, to, balance + amount)
                        })
                        .unwrap(),
                }
            }
            audits
        });
        assert!(audits > 0);
    }

    fn no_increment_is_lost<P>(store) {
        let table = store.table::<u64, u64>("counters").unwrap();
        let added = on_threads(|_, random| {
            for _ in 0..1_000 {
                let key = random.below(2);
                store
                    .transact(|tx| {
                        if random.below(2) == 0 {
                            let before = tx.get(&table, &key)?.copied().unwrap_or_default();
                            random.maybe_yield();
                            return tx.put(&table, key, before + 1);
                        }
                        if !tx.update(&table, &key, |before| before + 1)? {
                            // If it is there by now, this transaction is bound to fail.
                            tx.insert(&table, key, 1)?;
                        }
                        Ok(())
                    })
                    .unwrap();
            }
            1_000
        });
        let counted = store.view(|tx| {
            Ok(tx.get(&table, &0)?.unwrap_or(&0) + tx.get(&table, &1)?.unwrap_or(&0))
        });
        assert_eq!(counted.unwrap(), added, "{}", P::NAME);
    }

    /// Of two on call, one may leave if the other stays. Where write skew is allowed this shows
    /// nothing.
    fn one_of_two_stays<P>(store) {
        let table = store.table::<u64, bool>("on call").unwrap();
        let keys: Vec<[u64; 2]> = (0..4).map(|pair| [2 * pair, 2 * pair + 1]).collect();
        let left = on_threads(|_, random| {
            let mut left = 0;
            for _ in 0..1_000 {
                let pair = keys[random.below(4) as usize];
                let (me, other) = if random.below(2) == 0 { (0, 1) } else { (1, 0) };
                let both = store
                    .transact(|tx| {
                        let both = (
                            tx.get(&table, &pair[0])?.copied().unwrap_or(true),
                            tx.get(&table, &pair[1])?.copied().unwrap_or(true),
                        );
                        random.maybe_yield();
                        match both {
                            (true, true) => tx.put(&table, pair[me], false)?,
                            _ => {
                                tx.put(&table, pair[me], true)?;
                                tx.put(&table, pair[other], true)?;
                            }
                        }
                        Ok(both)
                    })
                    .unwrap();
                if P::ISOLATION == Isolation::Serializable {
                    assert_ne!(both, (false, false), "{}", P::NAME);
                }
                left += u64::from(both == (true, true));
            }
            left
        });
        assert!(left > 0);
    }

    /// Threads insert and remove a few keys; a counter beside each says how often it is there.
    fn keys_that_come_and_go<P>(store) {
        const KEYS: u64 = 3;
        let table = store.table::<u64, u64>("keys").unwrap();
        let present = store.table::<u64, i64>("present").unwrap();
        store.transact(|tx| (0..KEYS).try_for_each(|key| tx.put(&present, key, 0))).unwrap();
        let agree = |tx: &Transaction<'_, P>| {
            for key in 0..KEYS {
                let there = i64::from(tx.get(&table, &key)?.is_some());
                let counted = *tx.get(&present, &key)?.expect("a counter");
                if there != counted {
                    return Ok(Some((key, there, counted)));
                }
            }
            Ok(None)
        };
        on_threads(|thread, random| {
            for round in 0..1_000 {
                let key = random.below(KEYS);
                if random.below(5) == 0 {
                    assert_eq!(store.view(agree).unwrap(), None, "{}", P::NAME);
                    continue;
                }
                let insert = random.below(2) == 0;
                store
                    .transact(|tx| {
                        let by = if insert {
                            i64::from(tx.insert(&table, key, thread << 32 | round)?)
                        } else {
                            -i64::from(tx.remove(&table, &key)?)
                        };
                        random.maybe_yield();
                        if by != 0 {
                            tx.update(&present, &key, |count| count + by)?;
                        }
                        Ok(())
                    })
                    .unwrap();
            }
            0
        });
        assert_eq!(store.view(agree).unwrap(), None, "{}", P::NAME);
    }

    /// Each inserts its own key if the other's is absent: an absence must be read as carefully as a
    /// value.
    fn of_two_absent_keys_one_is_inserted<P>(store) {
        let table = store.table::<u64, u64>("keys").unwrap();
        let both = on_threads(|thread, random| {
            let mut both = 0;
            for _ in 0..1_500 {
                let pair = 2 * random.below(3);
                let (mine, other) = (pair + thread % 2, pair + 1 - thread % 2);
                both += store
                    .transact(|tx| {
                        if tx.get(&table, &other)?.is_some() {
                            let mine = tx.remove(&table, &mine)?;
                            tx.remove(&table, &other)?;
                            return Ok(u64::from(mine));
                        }
                        random.maybe_yield();
                        tx.put(&table, mine, thread)?;
                        Ok(0)
                    })
                    .unwrap();
            }
            both
        });
        if P::ISOLATION == Isolation::Serializable {
            assert_eq!(both, 0, "{}: each was inserted because the other was absent", P::NAME);
        }
    }
}
