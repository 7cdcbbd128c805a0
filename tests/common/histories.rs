//! Random concurrent transactions that append to lists and read them, recorded.

use super::list_append::{Action, Entry};
use super::random::{self, Random};
use chronolith::protocol::Protocol;
use chronolith::{Store, Table, Transaction, TransactionError};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

const THREADS: u64 = 4;
/// Lists in use at once: few, so that transactions meet.
const SLOTS: u64 = 6;
/// Appends after which a list is retired and a new one takes its place.
const APPENDS_PER_KEY: u64 = 16;

/// The lists of a store: even keys hold bytes, odd ones vectors, so that both forms are tested.
struct Lists<P: Protocol> {
    bytes: Table<u64, [u8], P>,
    vectors: Table<u64, Vec<u32>, P>,
    /// Appends that each slot has had or was promised.
    tickets: [AtomicU64; SLOTS as usize],
}

impl<P: Protocol> Lists<P> {
    fn new(store: &Store<P>) -> Self {
        Lists {
            bytes: store.table("bytes").unwrap(),
            vectors: store.table("vectors").unwrap(),
            tickets: [const { AtomicU64::new(0) }; SLOTS as usize],
        }
    }

    fn key(slot: u64, ticket: u64) -> u64 {
        ticket / APPENDS_PER_KEY * SLOTS + slot
    }

    /// A key to read: mostly the present one of its slot, sometimes the one before.
    fn key_to_read(&self, slot: u64, random: &mut Random) -> u64 {
        let ticket = self.tickets[slot as usize].load(Ordering::Relaxed);
        let back = if random.below(8) == 0 { APPENDS_PER_KEY } else { 0 };
        Self::key(slot, ticket.saturating_sub(back))
    }

    /// A key to append to, and a value that it has not had.
    fn key_to_append(&self, slot: u64) -> (u64, u32) {
        let ticket = self.tickets[slot as usize].fetch_add(1, Ordering::Relaxed);
        let value = u32::try_from(ticket % APPENDS_PER_KEY).expect("a small number");
        (Self::key(slot, ticket), value + 1)
    }

    /// Every key that was ever used.
    fn keys(&self) -> impl Iterator<Item = u64> {
        let last = self.tickets.iter().map(|ticket| ticket.load(Ordering::Relaxed)).max();
        0..Self::key(SLOTS, last.expect("a slot"))
    }

    fn read(&self, tx: &Transaction<'_, P>, key: u64) -> Result<Vec<u32>, TransactionError> {
        if key % 2 == 1 {
            return Ok(tx.get(&self.vectors, &key)?.cloned().unwrap_or_default());
        }
        let bytes = tx.get(&self.bytes, &key)?.unwrap_or_default();
        let words = bytes.chunks_exact(4).map(|word| word.try_into().expect("four bytes"));
        Ok(words.map(u32::from_le_bytes).collect())
    }

    /// Appends in one of the ways that the interface offers. A key that `update` has not found
    /// and `insert` finds has changed meanwhile: the transaction must not commit, or its append
    /// is in no list.
    fn append(
        &self,
        tx: &Transaction<'_, P>,
        (key, value): (u64, u32),
        by_update: bool,
    ) -> Result<(), TransactionError> {
        let appended = |mut list: Vec<u32>| {
            list.push(value);
            list
        };
        if key % 2 == 1 {
            if !by_update {
                let list = self.read(tx, key)?;
                return tx.put(&self.vectors, key, appended(list));
            }
            if !tx.update(&self.vectors, &key, |list| appended(list.clone()))? {
                tx.insert(&self.vectors, key, vec![value])?;
            }
            return Ok(());
        }
        if !by_update {
            let list = appended(self.read(tx, key)?);
            let bytes: Vec<u8> = list.into_iter().flat_map(u32::to_le_bytes).collect();
            return tx.put(&self.bytes, key, &bytes);
        }
        let mut buffer = Vec::new();
        let updated = tx.update_bytes(&self.bytes, &key, &mut buffer, |old, new| {
            new.extend_from_slice(old);
            new.extend(value.to_le_bytes());
        })?;
        if !updated {
            tx.insert(&self.bytes, key, &value.to_le_bytes())?;
        }
        Ok(())
    }
}

/// What one transaction is going to do, with readings still to come.
fn plan<P: Protocol>(lists: &Lists<P>, random: &mut Random) -> (bool, Vec<Action>) {
    let read_only = random.below(5) == 0;
    let actions = (0..1 + random.below(5)).map(|_| {
        let slot = random.below(SLOTS);
        if read_only || random.below(2) == 0 {
            return Action::Read(lists.key_to_read(slot, random), Vec::new());
        }
        let (key, value) = lists.key_to_append(slot);
        Action::Append(key, value)
    });
    (read_only, actions.collect())
}

/// Fills in the readings.
fn act<P: Protocol>(
    tx: &Transaction<'_, P>,
    lists: &Lists<P>,
    actions: &mut [Action],
    random: &mut Random,
) -> Result<(), TransactionError> {
    for action in actions {
        match action {
            Action::Append(key, value) => {
                lists.append(tx, (*key, *value), random.below(2) == 0)?;
            }
            Action::Read(key, list) => *list = lists.read(tx, *key)?,
        }
        random.maybe_yield();
    }
    Ok(())
}

/// Runs one transaction.
fn attempt<P: Protocol>(
    store: &Store<P>,
    lists: &Lists<P>,
    (process, clock): (u64, Instant),
    random: &mut Random,
) -> Entry {
    let time = || u64::try_from(clock.elapsed().as_nanos()).expect("a short test");
    let (read_only, mut actions) = plan(lists, random);
    let invoked = time();
    let outcome = if read_only && random.below(2) == 0 {
        // Its first reading begins it. If it has to run again it reads everything again.
        store.view(|tx| act(tx, lists, &mut actions, random))
    } else {
        let tx = if read_only { store.begin_view() } else { store.begin() };
        tx.and_then(|tx| {
            act(&tx, lists, &mut actions, random)?;
            tx.commit()
        })
    };
    let returned = time();
    if let Err(TransactionError::Error(error)) = &outcome {
        panic!("{error}");
    }
    Entry { process, invoked, returned, committed: outcome.is_ok(), actions }
}

/// Runs transactions on several threads, then reads every list.
pub fn record<P: Protocol>(store: &Store<P>, transactions: u64) -> Vec<Entry> {
    let (seed, lists, clock) = (random::seed(), Lists::new(store), Instant::now());
    let mut history = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|process| {
                let (lists, mut random) = (&lists, Random::new(seed, process));
                scope.spawn(move || {
                    (0..transactions / THREADS)
                        .map(|_| attempt(store, lists, (process, clock), &mut random))
                        .collect::<Vec<Entry>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<Entry>>()
    });
    let invoked = u64::try_from(clock.elapsed().as_nanos()).unwrap();
    let read_all = |tx: &Transaction<'_, P>| {
        let read = |key| Ok(Action::Read(key, lists.read(tx, key)?));
        lists.keys().map(read).collect::<Result<Vec<Action>, TransactionError>>()
    };
    let actions = store.view(read_all).unwrap();
    let returned = invoked + 1;
    history.push(Entry { process: THREADS, invoked, returned, committed: true, actions });
    history
}
