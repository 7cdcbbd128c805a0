//! Many threads at once. Each one owns some keys, so it knows at every moment which of them are in
//! the index, and some keys are always there.

use super::*;
use crossbeam_epoch::{Collector, Guard};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel};
use std::time::Duration;

const THREADS: u64 = 4;
/// One in this many keys is always there.
const STABLE: u64 = 16;

struct Shared<K> {
    index: OrderedIndex<NoWords>,
    order: Keys<K>,
    key: fn(u64) -> K,
    number: fn(&K) -> u64,
    keys: u64,
}

// SAFETY: the index is atomics and plain values; its records are plain data behind atomic heads.
unsafe impl<K: Send> Send for Shared<K> {}
// SAFETY: as above.
unsafe impl<K: Sync> Sync for Shared<K> {}

/// Who may still be looking at what goes here is pinned.
fn retire_later<K: TestKey>(guard: &Guard, retired: Retired<NoWords>) {
    match retired {
        // SAFETY: freed when every pin has ended that was there when it was replaced.
        Retired::Node(node) => unsafe { guard.defer_unchecked(move || node.free_with_pool()) },
        Retired::Record(record) => free_later::<K>(guard, record),
    }
}

fn free_later<K: TestKey>(guard: &Guard, record: *mut Rec) {
    // SAFETY: as above.
    unsafe { guard.defer_unchecked(move || free::<K>(record)) };
}

struct Worker<'a, K: TestKey> {
    shared: &'a Shared<K>,
    thread: u64,
    own: BTreeMap<u64, *mut Rec>,
    random: u64,
}

impl<K: TestKey> Worker<'_, K> {
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    fn is_own(&self, number: u64) -> bool {
        !number.is_multiple_of(STABLE) && number % THREADS == self.thread
    }

    fn own_number(&mut self) -> u64 {
        loop {
            let number = self.random(self.shared.keys / THREADS) * THREADS + self.thread;
            if self.is_own(number) {
                return number;
            }
        }
    }

    fn insert(&mut self, number: u64, guard: &Guard) {
        let record = item((self.shared.key)(number));
        let mut memory = OwnMemory(|retired| retire_later::<K>(guard, retired));
        match self.shared.index.insert(record, &self.shared.order, &mut memory) {
            Inserted::Yes => {
                assert_eq!(self.own.insert(number, record), None, "lost {number}");
            }
            Inserted::Exists(_) => {
                assert!(self.own.contains_key(&number), "{number} came back");
                // SAFETY: it was refused.
                unsafe { free::<K>(record) };
            }
            Inserted::OutOfMemory => panic!("there is memory"),
        }
    }

    fn remove(&mut self, number: u64, guard: &Guard) {
        let Some(record) = self.own.remove(&number) else { return };
        kill(record);
        let mut memory = OwnMemory(|retired| retire_later::<K>(guard, retired));
        match self.shared.index.remove(record, &self.shared.order, &mut memory) {
            Removed::Yes => free_later::<K>(guard, record),
            Removed::Kept => {}
            Removed::NotNow => panic!("there is memory"),
        }
    }

    fn find(&self, number: u64) {
        let key = (self.shared.key)(number);
        let found = self.shared.index.find(&Wanted(&key), &self.shared.order);
        let found = if let Lookup::Found(record) = found { Some(record) } else { None };
        if self.is_own(number) {
            assert_eq!(found, self.own.get(&number).copied(), "{number}");
        } else if number.is_multiple_of(STABLE) {
            assert!(found.is_some(), "lost {number}, which is always there");
        }
    }

    /// Scans a range in one of the directions; what is its own must be there exactly, what is
    /// always there must be there, everything must be in order.
    fn scan(&mut self, guard: &Guard) {
        let from = self.random(self.shared.keys);
        let to = from + self.random(400);
        let (low_key, high_key) = ((self.shared.key)(from), (self.shared.key)(to));
        let (low, high) = (Bound::Included(low_key), Bound::Excluded(high_key));
        let (index, order) = (&self.shared.index, &self.shared.order);
        let (mut witnesses, mut numbers) = (Vec::new(), Vec::new());
        let mut visit = |witness| witnesses.push(witness);
        let number = |(_, record): (u64, *mut Rec)| (self.shared.number)(key_of::<K>(record));
        let live = |&(_, record): &(u64, *mut Rec)| {
            // SAFETY: pinned.
            !unsafe { &*record }.head().is_dead()
        };
        if self.random & 1 == 0 {
            let mut cursor = index.range(bound(&low), bound(&high), order);
            let records = std::iter::from_fn(|| cursor.next(&mut visit));
            numbers.extend(records.filter(live).map(number));
        } else {
            let mut cursor = index.range_reversed(bound(&low), bound(&high), order);
            let records = std::iter::from_fn(|| cursor.next(&mut visit));
            numbers.extend(records.filter(live).map(number));
            numbers.reverse();
        }
        // Two records of one key may be met, one after the other: the second was inserted when the
        // first was out of use, which happened after the first was looked at.
        assert!(numbers.is_sorted(), "out of order: {numbers:?}");
        let sure = |number: &u64| number.is_multiple_of(STABLE) || self.is_own(*number);
        let seen: Vec<u64> = numbers.into_iter().filter(sure).collect();
        let there = |number: &u64| {
            number.is_multiple_of(STABLE) && *number < self.shared.keys
                || self.own.contains_key(number)
        };
        let expected: Vec<u64> = (from..to).filter(there).collect();
        assert_eq!(seen, expected);
        self.check_witnesses(&witnesses, from, to, guard);
    }

    /// As far as this thread's own keys go, nobody else changes anything.
    fn check_witnesses(
        &mut self,
        witnesses: &[Witness<NoWords>],
        from: u64,
        to: u64,
        guard: &Guard,
    ) {
        let shared = self.shared;
        let thread = self.thread;
        let is_own =
            move |number: u64| !number.is_multiple_of(STABLE) && number % THREADS == thread;
        let unchanged = |witnesses: &[Witness<NoWords>]| {
            let pass = |record: *const Rec| {
                let number = (shared.number)(key_of::<K>(record));
                !is_own(number) || !(from..to).contains(&number)
            };
            witnesses.iter().all(|w| shared.index.still_unchanged(w, &shared.order, pass))
        };
        assert!(unchanged(witnesses), "nothing of this thread's was inserted");
        let absent = (from..to.min(shared.keys))
            .find(|&number| is_own(number) && !self.own.contains_key(&number));
        if let Some(absent) = absent {
            self.insert(absent, guard);
            assert!(!unchanged(witnesses), "missed the phantom {absent}");
        }
    }

    fn work(&mut self, guard: &Guard) {
        let number = self.own_number();
        match self.random(16) {
            0..6 => self.insert(number, guard),
            6..11 => self.remove(number, guard),
            11..15 => {
                self.find(number);
                let any = self.random(self.shared.keys);
                self.find(any);
            }
            _ => self.scan(guard),
        }
    }

    /// Runs of inserts and of removals, so that leaves are split and merged all the time.
    fn wave(&mut self, guard: &Guard) {
        let from = self.own_number();
        let insert = self.random(2) == 0;
        for number in from..(from + 300).min(self.shared.keys) {
            if self.is_own(number) {
                if insert { self.insert(number, guard) } else { self.remove(number, guard) }
            }
        }
    }
}

impl<K: TestKey> Shared<K> {
    fn new(keys: u64, key: fn(u64) -> K, number: fn(&K) -> u64) -> Arc<Self> {
        let index = OrderedIndex::new().expect("memory");
        let shared = Shared { index, order: Keys(PhantomData), key, number, keys };
        for number in (0..keys).step_by(STABLE as usize) {
            let record = item(key(number));
            let mut memory = OwnMemory(|retired| match retired {
                Retired::Node(node) => node.free_with_pool(),
                Retired::Record(_) => unreachable!("nothing was removed"),
            });
            let outcome = shared.index.insert(record, &shared.order, &mut memory);
            assert_eq!(outcome, Inserted::Yes);
        }
        Arc::new(shared)
    }

    fn worker(&self, thread: u64) -> Worker<'_, K> {
        let random = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(2 * thread + 1);
        Worker { shared: self, thread, own: BTreeMap::new(), random }
    }

    /// Frees what is left and checks that it is what the threads say.
    fn finish(self: Arc<Self>, own: Vec<u64>) {
        let Ok(mut shared) = Arc::try_unwrap(self) else { panic!("every thread has ended") };
        let mut expected: BTreeSet<u64> = own.into_iter().collect();
        expected.extend((0..shared.keys).step_by(STABLE as usize));
        let number = shared.number;
        shared.index.drain(|record| {
            // SAFETY: alone here.
            if !unsafe { &*record }.head().is_dead() {
                assert!(expected.remove(&number(key_of::<K>(record))));
            }
            // SAFETY: the last use.
            unsafe { free::<K>(record) };
        });
        assert!(expected.is_empty(), "lost {expected:?}");
    }
}

fn threads_at_once<K: TestKey>(keys: u64, key: fn(u64) -> K, number: fn(&K) -> u64) {
    let _armed = Armed::new(None);
    let shared = Shared::new(keys, key, number);
    let collector = Collector::new();
    let rounds = if cfg!(miri) { 50 } else { 20_000 };
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let (shared, handle) = (Arc::clone(&shared), collector.clone());
            std::thread::spawn(move || {
                let handle = handle.register();
                let mut worker = shared.worker(thread);
                for round in 0..rounds {
                    let guard = handle.pin();
                    if round % 64 == 0 { worker.wave(&guard) } else { worker.work(&guard) }
                }
                worker.own.keys().copied().collect::<Vec<_>>()
            })
        })
        .collect();
    let own = threads.into_iter().flat_map(|thread| thread.join().expect("no assertion fails"));
    let own = own.collect();
    shared.finish(own);
}

#[test]
fn integers_in_one_leaf_by_many_threads() {
    threads_at_once(48, |n| n, |key| *key);
}

#[test]
fn integers_by_many_threads() {
    threads_at_once(20_000, |n| n, |key| *key);
}

#[test]
fn byte_strings_by_many_threads() {
    let number = |key: &Vec<u8>| {
        let digits = std::str::from_utf8(&key[8..]).expect("digits");
        digits.parse().expect("digits")
    };
    threads_at_once(5_000, |n| format!("customer{n:08}").into_bytes(), number);
}

#[test]
fn keys_without_heads_by_many_threads() {
    threads_at_once(2_000, Opaque, |key| key.0);
}

/// Far more than the work needs; reached only by a thread that waits for the suspended one.
const PATIENCE: Duration = Duration::from_secs(60);

fn victim(
    shared: &Shared<u64>,
    at: Step,
    reached: SyncSender<()>,
    go_on: Receiver<()>,
    handle: crossbeam_epoch::LocalHandle,
) -> Vec<u64> {
    let arrived = std::rc::Rc::new(std::cell::Cell::new(false));
    let seen = arrived.clone();
    step::on(move |step| {
        if step == at && !seen.replace(true) {
            reached.send(()).expect("the test waits");
            go_on.recv().expect("the test lets the victim go on");
        }
    });
    let mut worker = shared.worker(0);
    for round in 0.. {
        let guard = handle.pin();
        if round % 64 == 0 {
            worker.wave(&guard)
        } else {
            worker.work(&guard)
        }
        if arrived.get() {
            break;
        }
        assert!(round < 1_000_000, "never reached {at:?}");
    }
    worker.own.into_keys().collect()
}

fn others_go_on_while_one_is_suspended_at(at: Step) {
    let shared = Shared::new(2_000, |n| n, |key| *key);
    let collector = Collector::new();
    let (reached, has_reached) = sync_channel(1);
    let (let_go, go_on) = channel();
    let suspended = {
        let (shared, collector) = (Arc::clone(&shared), collector.clone());
        std::thread::spawn(move || victim(&shared, at, reached, go_on, collector.register()))
    };
    has_reached.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{at:?} was never reached"));
    let (done, is_done) = sync_channel(2);
    let others: Vec<_> = (1..3)
        .map(|thread| {
            let (shared, done, collector) = (Arc::clone(&shared), done.clone(), collector.clone());
            std::thread::spawn(move || {
                let (mut worker, handle) = (shared.worker(thread), collector.register());
                for round in 0..5_000 {
                    let guard = handle.pin();
                    if round % 8 == 0 { worker.wave(&guard) } else { worker.work(&guard) }
                }
                done.send(()).expect("the test waits");
                worker.own.keys().copied().collect::<Vec<_>>()
            })
        })
        .collect();
    drop(done);
    for _ in 1..3 {
        match is_done.recv_timeout(PATIENCE) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => panic!("a thread waits for one suspended at {at:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("a thread failed; see above"),
        }
    }
    let_go.send(()).expect("the victim is still suspended");
    let mut own = suspended.join().expect("the victim ends well");
    own.extend(others.into_iter().flat_map(|thread| thread.join().expect("it has sent")));
    shared.finish(own);
}

#[test]
fn no_suspended_thread_keeps_others_from_going_on() {
    let _armed = Armed::new(None);
    for at in Step::ORDERED {
        others_go_on_while_one_is_suspended_at(at);
    }
}
