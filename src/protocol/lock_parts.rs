//! What the protocols with a lock in each record have in common beside what their locks mean: the
//! word of a lock and the list that it points to, how a thread waits, and which records a
//! transaction has locked.
//!
//! # The word and its list
//!
//! The word of a lock points to a list of *nodes*, one for each transaction that has the lock or
//! waits for it. The nodes belong to the transactions' workers, so that a lock is eight bytes
//! however many share it, and taking it allocates nothing. A flag says that the word is *latched*:
//! somebody is changing the list. The top bits count changes, so that who waits has to look at the
//! list only when there is something new. What else the lowest bits say is the lock's own affair.

use crate::storage::Words;
use crate::storage::record::Record;
use crate::sync::fault::{self, Fault};
use crate::sync::{AtomicU8, AtomicU64, CachePadded, Ordering, spin_loop};
use std::collections::HashMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Somebody is changing the list.
pub(super) const LATCHED: u64 = 1;
/// The address of the first node.
pub(super) const FIRST: u64 = 0x0000_ffff_ffff_fff0;
/// One change.
const CHANGE: u64 = 1 << 48;
const CHANGES: u64 = !0 << 48;
/// Moments after which a waiting thread looks at the list although the word seems the same: as many
/// changes as can be counted bring the word back.
pub(super) const ROUNDS_MAX: u32 = 1_024;

/// Pauses after which a waiting thread lets others run: there may be more threads than cores.
const PAUSES_MAX: u32 = if cfg!(loom) { u32::MAX } else { 64 };
const NODES_PER_CHUNK: usize = if cfg!(loom) { 1 } else { 64 };
/// Locks up to which a search goes through them one by one.
pub(crate) const LINEAR_MAX: usize = 16;

/// A wait that is a spin at first, and lets other threads run after that.
#[derive(Default)]
pub(crate) struct Patience {
    pauses: u32,
    since: Option<Instant>,
}

impl Patience {
    /// Waits a moment; returns how long this has lasted.
    pub(crate) fn wait(&mut self) -> Duration {
        if self.pauses < PAUSES_MAX {
            self.pauses += 1;
            spin_loop();
            return Duration::ZERO;
        }
        std::thread::yield_now();
        self.since.get_or_insert_with(Instant::now).elapsed()
    }
}

/// How a lock is, or is to be, held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Together with others.
    Shared,
    /// Alone.
    Exclusive,
}

/// What a transaction asks of a lock.
pub(super) struct Request<'a, N> {
    /// Its node; in the list already, if it has asked before or has the lock.
    pub(super) node: &'a N,
    pub(super) mode: Mode,
    /// From shared to exclusive.
    pub(super) upgrade: bool,
}

impl<N> Request<'_, N> {
    #[inline]
    pub(super) fn is_exclusive(&self) -> bool {
        self.mode == Mode::Exclusive
    }
}

/// What every node has: the address of the next one, and what its transaction does in the list.
#[derive(Debug, Default)]
pub(crate) struct Link {
    next: AtomicU64,
    state: AtomicU8,
}

/// One transaction's place in the list of one lock.
pub(crate) trait Listed: Sized {
    /// A transaction as others meet it. Used again by the next one of the same worker.
    type Transaction: Default;

    /// A node that is in no list.
    fn new(transaction: &Arc<CachePadded<Self::Transaction>>) -> Self;

    fn link(&self) -> &Link;

    /// What the word says of its list, in flags, when that has changed.
    #[inline]
    fn flags(_list: &Latched<'_, Self>) -> u64 {
        0
    }

    #[inline]
    fn address(&self) -> u64 {
        std::ptr::from_ref(self).expose_provenance() as u64
    }

    /// The node at an address, if there is one.
    ///
    /// # Safety
    ///
    /// The address comes from a list, and the caller has latched its lock.
    #[inline]
    unsafe fn at<'a>(address: u64) -> Option<&'a Self> {
        let node: *const Self = std::ptr::with_exposed_provenance(address as usize);
        // SAFETY: nodes live as long as their workers, and those as long as the store.
        (address != 0).then(|| unsafe { &*node })
    }

    #[inline]
    fn next(&self) -> u64 {
        // Relaxed: the latch orders it.
        self.link().next.load(Ordering::Relaxed)
    }

    #[inline]
    fn set_next(&self, next: u64) {
        // Relaxed: the latch orders it, or the exchange that puts a node into a list.
        self.link().next.store(next, Ordering::Relaxed);
    }

    #[inline]
    fn state(&self) -> u8 {
        // Relaxed: the latch orders it; the owner may always ask, nobody else changes it.
        self.link().state.load(Ordering::Relaxed)
    }

    #[inline]
    fn set_state(&self, state: u8) {
        // Relaxed: as in `set_next`.
        self.link().state.store(state, Ordering::Relaxed);
    }
}

/// The nodes of one worker. Their addresses do not change.
#[derive(Debug)]
pub(crate) struct Nodes<N: Listed> {
    transaction: Arc<CachePadded<N::Transaction>>,
    chunks: Vec<Arc<[N]>>,
}

impl<N: Listed> Default for Nodes<N> {
    fn default() -> Self {
        Nodes { transaction: Arc::default(), chunks: Vec::new() }
    }
}

impl<N: Listed> Nodes<N> {
    /// The transaction that these nodes stand for.
    #[inline]
    pub(crate) fn transaction(&self) -> &N::Transaction {
        &self.transaction
    }

    /// A node by number; makes more if there are not as many.
    #[inline]
    pub(crate) fn get(&mut self, number: usize) -> &N {
        while self.chunks.len() <= number / NODES_PER_CHUNK {
            self.grow();
        }
        self.made(number)
    }

    #[cold]
    fn grow(&mut self) {
        let chunk = (0..NODES_PER_CHUNK).map(|_| N::new(&self.transaction)).collect();
        self.chunks.push(chunk);
    }

    /// A node that was made before, by number.
    #[inline]
    pub(super) fn made(&self, number: usize) -> &N {
        &self.chunks[number / NODES_PER_CHUNK][number % NODES_PER_CHUNK]
    }
}

/// The count of changes in a word, one higher.
#[inline]
pub(super) fn one_change_more(word: u64) -> u64 {
    word.wrapping_add(CHANGE) & CHANGES
}

/// A lock whose list nobody else changes.
pub(crate) struct Latched<'a, N> {
    lock: &'a AtomicU64,
    /// The word without the latch.
    word: u64,
    pub(super) changed: bool,
    list: PhantomData<&'a N>,
}

impl<'a, N: Listed> Latched<'a, N> {
    /// Latches the lock with this word.
    pub(super) fn new(lock: &'a AtomicU64) -> Self {
        let mut patience = Patience::default();
        loop {
            // Relaxed: the exchange checks it.
            let word = lock.load(Ordering::Relaxed);
            // Acquire: pairs with the Release in `unlatch`, and with that of a lock which is taken
            // without the latch; the list is as they left it, and what nodes point to is written.
            // Relaxed if it fails: tried again.
            if word & LATCHED == 0
                && lock
                    .compare_exchange(word, word | LATCHED, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return Latched { lock, word, changed: false, list: PhantomData };
            }
            patience.wait();
        }
    }

    #[inline]
    pub(super) fn nodes(&self) -> impl Iterator<Item = &N> {
        // SAFETY: the list is latched, here and below.
        let first = unsafe { N::at(self.word & FIRST) };
        // SAFETY: as above.
        std::iter::successors(first, |node| unsafe { N::at(node.next()) })
    }

    /// Adds a node behind the one at this address, or in front.
    #[inline]
    pub(super) fn insert_after(&mut self, place: Option<u64>, node: &N) {
        // SAFETY: the address of a node of this list, which is latched.
        match place.and_then(|place| unsafe { N::at(place) }) {
            Some(before) => {
                node.set_next(before.next());
                before.set_next(node.address());
            }
            None => {
                node.set_next(self.word & FIRST);
                self.word = (self.word & !FIRST) | node.address();
            }
        }
        self.changed = true;
    }

    #[inline]
    pub(super) fn remove(&mut self, node: &N) {
        let before = self.nodes().find(|before| before.next() == node.address());
        match before {
            Some(before) => before.set_next(node.next()),
            None => {
                debug_assert_eq!(self.word & FIRST, node.address(), "the node is in the list");
                self.word = (self.word & !FIRST) | node.next();
            }
        }
        self.changed = true;
    }

    /// Lets the next one in; returns the word as it is then.
    pub(super) fn unlatch(self) -> u64 {
        let first = self.word & FIRST;
        let word = match (self.changed, first) {
            (false, _) => self.word,
            (true, 0) => 0,
            (true, _) => first | N::flags(&self) | one_change_more(self.word),
        };
        let unlock = if fault::on(Fault::UnlockRelaxed) {
            // Relaxed: what a model must catch.
            Ordering::Relaxed
        } else {
            // Release: pairs with `new`, and with the Acquire of a lock that is taken without the
            // latch. Nobody changes a latched word, so a store will do.
            Ordering::Release
        };
        self.lock.store(word, unlock);
        word
    }
}

/// The records that an open transaction has locked, in the order of their numbers.
#[derive(Debug)]
pub(crate) struct Locked<W: Words> {
    records: Vec<*const Record<W>>,
    /// From a record to its number, once there are more than a few.
    places: HashMap<usize, usize, ahash::RandomState>,
}

impl<W: Words> Default for Locked<W> {
    fn default() -> Self {
        Locked { records: Vec::new(), places: HashMap::default() }
    }
}

impl<W: Words> Locked<W> {
    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// The number of a record, if it is among them.
    pub(crate) fn find(&self, record: *const Record<W>) -> Option<usize> {
        if self.records.len() <= LINEAR_MAX {
            self.records.iter().rposition(|&locked| std::ptr::eq(locked, record))
        } else {
            self.places.get(&record.addr()).copied()
        }
    }

    pub(crate) fn push(&mut self, record: *const Record<W>) {
        self.records.push(record);
        if self.records.len() > LINEAR_MAX {
            let first = if self.places.is_empty() { 0 } else { self.records.len() - 1 };
            let new = self.records[first..].iter().zip(first..);
            self.places.extend(new.map(|(record, number)| (record.addr(), number)));
        }
    }

    /// Forgets them all, each after `release`, which is given its number and the record.
    pub(crate) fn release_all(&mut self, mut release: impl FnMut(usize, &Record<W>)) {
        for (number, &record) in self.records.iter().enumerate() {
            // SAFETY: the records that an open transaction has met are alive.
            release(number, unsafe { &*record });
        }
        self.records.clear();
        self.places.clear();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::storage::NoWords;

    #[test]
    fn a_lock_is_found_among_few_and_among_many() {
        let mut locked = Locked::<NoWords>::default();
        let record = |number: usize| std::ptr::without_provenance(16 * (number + 1));
        for number in 0..10 * LINEAR_MAX {
            assert_eq!(locked.find(record(number)), None);
            locked.push(record(number));
            for earlier in [0, number / 2, number] {
                assert_eq!(locked.find(record(earlier)), Some(earlier));
            }
        }
    }

    #[test]
    fn nodes_stay_where_they_are() {
        let mut nodes = Nodes::<crate::protocol::record_lock::Node>::default();
        let first = nodes.get(0).address();
        for number in 1..10 * NODES_PER_CHUNK {
            assert_ne!(nodes.get(number).address(), first);
        }
        assert_eq!(nodes.get(0).address(), first);
    }
}
