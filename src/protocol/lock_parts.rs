//! What the protocols with a lock in each record have in common beside the lock: how a thread
//! waits, where nodes of lists lie, and which records a transaction has locked.

use crate::storage::Words;
use crate::storage::record::Record;
use crate::sync::spin_loop;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

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

/// The nodes of one worker. Their addresses do not change.
#[derive(Debug)]
pub(crate) struct Chunks<N>(Vec<Arc<[N]>>);

impl<N> Default for Chunks<N> {
    fn default() -> Self {
        Chunks(Vec::new())
    }
}

impl<N> Chunks<N> {
    /// A node by number; makes more if there are not as many.
    #[inline]
    pub(crate) fn get_or_make(&mut self, number: usize, make: impl Fn() -> N) -> &N {
        while self.0.len() <= number / NODES_PER_CHUNK {
            self.grow(&make);
        }
        self.made(number)
    }

    #[cold]
    fn grow(&mut self, make: impl Fn() -> N) {
        self.0.push((0..NODES_PER_CHUNK).map(|_| make()).collect());
    }

    /// A node that was made before, by number.
    #[inline]
    pub(crate) fn made(&self, number: usize) -> &N {
        &self.0[number / NODES_PER_CHUNK][number % NODES_PER_CHUNK]
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
        let mut chunks = Chunks::default();
        let first = std::ptr::from_ref(chunks.get_or_make(0, || 7));
        for number in 1..10 * NODES_PER_CHUNK {
            assert_eq!(*chunks.get_or_make(number, || 7), 7);
        }
        assert!(std::ptr::eq(first, chunks.made(0)));
    }
}
