//! Timestamps that transactions leave on versions and on absent keys: words that only rise, or only
//! fall.
//!
//! They are one side of races in which each of two transactions writes one word and then reads the
//! other's, so that at least one of them finds the other: a reader raises a stamp and then looks at
//! the chain's head; a writer installs at the head and then looks at the stamp. That takes a single
//! order of all four accesses.

use crate::storage::Words;
use crate::storage::table::TableCore;
use crate::sync::{AtomicU64, CachePadded, Ordering, model_fence};

/// Buckets that the keys of a store share for what is to be remembered of their absence.
const BUCKETS: usize = if cfg!(loom) { 1 } else { 4096 };
/// Places that the ordered tables of a store share: as many as a set of them has bits.
const TABLES: usize = if cfg!(loom) { 1 } else { u64::BITS as usize };

/// A stamp, ordered with the accesses to heads, indexes and decision words.
#[inline]
pub(super) fn seen(word: &AtomicU64) -> u64 {
    model_fence();
    // SeqCst: pairs with `raise`; it stays behind the caller's install.
    word.load(Ordering::SeqCst)
}

/// Raises a stamp to `timestamp` if it is lower; returns what it was.
#[inline]
pub(super) fn raise(word: &AtomicU64, timestamp: u64) -> u64 {
    // The first look spares the locked instruction where somebody later was first.
    let mut found = seen(word);
    while found < timestamp {
        // SeqCst: pairs with `seen`; the caller's look at the head stays behind it.
        match word.compare_exchange(found, timestamp, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return found,
            Err(other) => found = other,
        }
    }
    found
}

/// Lowers a stamp to `timestamp` if it is higher.
pub(super) fn lower(word: &AtomicU64, timestamp: u64) {
    let mut found = seen(word);
    while found > timestamp {
        // SeqCst: as in `raise`; the caller's decision comes after it.
        match word.compare_exchange(found, timestamp, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(_) => return,
            Err(other) => found = other,
        }
    }
}

/// Something for each bucket of keys, by hash. Absent keys have no place of their own to leave a
/// stamp at; that several share one makes stamps rise too far, which costs aborts and no more.
#[derive(Debug)]
pub struct ByHash<T>(Box<[T]>);

impl<T: Default> Default for ByHash<T> {
    fn default() -> Self {
        ByHash((0..BUCKETS).map(|_| T::default()).collect())
    }
}

impl<T> ByHash<T> {
    /// The place of the keys with this hash, of which the low half is enough.
    #[inline]
    pub(super) fn at(&self, hash: u32) -> &T {
        &self.0[hash as usize % BUCKETS]
    }
}

/// Something for each ordered table, for the ranges that are read of it. That all its ranges share
/// it, and a table with others once there are many, costs aborts and no more.
#[derive(Debug)]
pub struct ByTable<T>(Box<[CachePadded<T>]>);

impl<T: Default> Default for ByTable<T> {
    fn default() -> Self {
        ByTable((0..TABLES).map(|_| CachePadded::new(T::default())).collect())
    }
}

impl<T> ByTable<T> {
    /// The number of a table's place.
    #[inline]
    pub(super) fn place<W: Words>(table: &TableCore<W>) -> usize {
        usize::from(table.number) % TABLES
    }

    /// The place with this number.
    #[inline]
    pub(super) fn at(&self, place: usize) -> &T {
        &self.0[place]
    }

    /// The place of a table.
    #[inline]
    pub(super) fn of<W: Words>(&self, table: &TableCore<W>) -> &T {
        self.at(Self::place(table))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn stamps_rise_and_fall_one_way() {
        let word = AtomicU64::new(5);
        assert_eq!(raise(&word, 7), 5);
        assert_eq!(raise(&word, 6), 7);
        lower(&word, 9);
        assert_eq!(seen(&word), 7);
        lower(&word, 3);
        assert_eq!(seen(&word), 3);
    }
}
