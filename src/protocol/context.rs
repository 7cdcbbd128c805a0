//! What a protocol works with: the parts of a store that it may use, and one transaction's state.

use super::access_set::AccessSet;
use super::crowd::Crowd;
use super::garbage::Garbage;
use super::janitor::Janitor;
use super::{Conflict, Contention, Place, Protocol};
use crate::clock::Clock;
use crate::error::{Abort, AbortReason};
use crate::reclaim::arena::{Arena, ChunkPool};
use crate::reclaim::watermark::{Slot, Watermark};
use crate::shard::ring::Ring;
use crate::storage::Words;
use crate::storage::record::Record;
use crate::storage::table::{Spread, TableCore, TableVersion};
use crate::storage::version::Version;
use crate::sync::published::Published;
use crate::sync::{AtomicU64, CachePadded, Tally};
use crossbeam_epoch::{Collector, LocalHandle};
use std::cell::UnsafeCell;
use std::ptr::NonNull;
use std::sync::Arc;

const TABLE_CHUNK: usize = 256;

type TableChunk<W> = Box<[Published<Arc<TableCore<W>>>]>;

/// The tables of a store, by number: append-only, read without a lock.
#[derive(Debug)]
pub(crate) struct Tables<W: Words> {
    chunks: [Published<TableChunk<W>>; TABLE_CHUNK],
}

impl<W: Words> Tables<W> {
    fn new() -> Self {
        Tables { chunks: std::array::from_fn(|_| Published::new()) }
    }

    fn slot(&self, number: u16) -> &Published<Arc<TableCore<W>>> {
        let chunk = self.chunks[usize::from(number) / TABLE_CHUNK]
            .get_or_publish(|| (0..TABLE_CHUNK).map(|_| Published::new()).collect());
        &chunk[usize::from(number) % TABLE_CHUNK]
    }

    /// Adds a table under its number, which nobody else uses.
    pub(crate) fn add(&self, table: Arc<TableCore<W>>) {
        self.slot(table.number).get_or_publish(|| table);
    }

    /// The table with this number.
    #[inline]
    pub(crate) fn get(&self, number: u16) -> &TableCore<W> {
        let chunk = self.chunks[usize::from(number) / TABLE_CHUNK].get();
        let table = chunk.and_then(|chunk| chunk[usize::from(number) % TABLE_CHUNK].get());
        table.expect("a record's table was added before the record was made")
    }
}

/// The parts of a store that protocols and reclamation share.
#[derive(Debug)]
pub(crate) struct Core<P: Protocol> {
    pub(crate) id: u64,
    pub(crate) clock: Clock,
    pub(crate) watermark: Watermark,
    pub(crate) pool: Arc<ChunkPool>,
    pub(crate) tables: Tables<P::Words>,
    pub(crate) ring: Ring,
    pub(crate) hasher: ahash::RandomState,
    /// How many ordered indexes an ordered table has.
    pub(crate) ordered_parts: usize,
    pub(crate) contention: Contention,
    pub(crate) right_of_way: CachePadded<AtomicU64>,
    pub(crate) crowd: CachePadded<Crowd>,
    pub(crate) shared: P::Shared,
    pub(crate) workers: Workers<P>,
    pub(crate) collector: Collector,
}

impl<P: Protocol> Core<P> {
    pub(crate) fn new(
        clock: Clock,
        spread: Spread,
        hasher: ahash::RandomState,
        contention: Contention,
    ) -> Self {
        // Relaxed: only uniqueness matters.
        static NEXT_ID: crate::sync::unmodelled::AtomicU64 =
            crate::sync::unmodelled::AtomicU64::new(1);
        Core {
            id: NEXT_ID.fetch_add(1, crate::sync::unmodelled::Ordering::Relaxed),
            clock,
            watermark: Watermark::new(),
            pool: Arc::new(ChunkPool::new()),
            tables: Tables::new(),
            ring: Ring::new(spread.shards),
            ordered_parts: spread.parts,
            hasher,
            contention,
            right_of_way: CachePadded::new(AtomicU64::new(0)),
            crowd: CachePadded::new(Crowd::new()),
            shared: P::Shared::default(),
            workers: Workers::new(),
            collector: Collector::new(),
        }
    }

    /// An abort that names the table and the key's hash where the conflict was found.
    pub(crate) fn describe(&self, conflict: Conflict<P::Words>) -> Abort {
        let (table, hash) = match conflict.at {
            None => return Abort::new(conflict.reason),
            Some(Place::Record(record)) => {
                // SAFETY: the transaction that met the conflict has not ended, so the record is
                // alive.
                let table = self.tables.get(unsafe { (*record).table });
                (table, table.hash_of(record, &self.hasher))
            }
            // SAFETY: tables live as long as the store.
            Some(Place::Key(table, hash)) => (unsafe { &*table }, hash),
        };
        Abort::at(conflict.reason, Arc::clone(&table.name), hash)
    }
}

impl<P: Protocol> Drop for Core<P> {
    fn drop(&mut self) {
        // Nobody uses the store: every transaction borrowed it. Here goes what waits in limbo; the
        // tables free the rest, and the chunks go with the last table handle.
        let mut arena = Arena::new();
        for cell in self.workers.cells() {
            // SAFETY: `&mut self`: nobody else holds a janitor.
            let janitor = unsafe { cell.janitor.exclusive() };
            janitor.drain_limbo(&mut arena, &self.pool);
            // SAFETY: as above.
            let worker = unsafe { &mut *cell.worker.get() };
            for garbage in worker.garbage.drain(..) {
                garbage.dispose(&mut arena, &self.pool);
            }
            for (table, version) in worker.superseded.drain(..) {
                Garbage::Version(table, version).dispose(&mut arena, &self.pool);
            }
        }
        for cell in self.workers.cells() {
            // SAFETY: as above.
            let janitor = unsafe { cell.janitor.exclusive() };
            janitor.drain_dying(&mut arena, &self.pool);
        }
    }
}

/// Counters of one worker: written by it, read by `stats`.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    pub(crate) commits: Tally,
    pub(crate) commits_read_only: Tally,
    pub(crate) commits_one_shard: Tally,
    pub(crate) commits_cross_shard: Tally,
    pub(crate) aborts: [Tally; AbortReason::COUNT],
    pub(crate) versions_made: Tally,
    pub(crate) versions_unlinked: Tally,
    pub(crate) versions_freed: Tally,
    pub(crate) bytes_made: Tally,
    pub(crate) bytes_freed: Tally,
    pub(crate) records_made: Tally,
    pub(crate) records_freed: Tally,
    pub(crate) chain_length_max: Tally,
}

/// One transaction's state, used again by the next one.
pub(crate) struct Worker<P: Protocol> {
    pub(crate) id: u64,
    pub(crate) slot: Slot,
    pub(crate) handle: LocalHandle,
    pub(crate) arena: Arena,
    pub(crate) access: AccessSet<P::Words>,
    pub(crate) local: P::Local,
    /// Records whose reclamation ticket this transaction took, on their way to the janitor.
    pub(crate) tickets: Vec<(*mut Record<P::Words>, u64)>,
    /// Unlinked memory on its way to the janitor's limbo.
    pub(crate) garbage: Vec<Garbage<P::Words>>,
    /// Records with more than one version below the new one, whose ticket is in some queue already,
    /// and that number.
    pub(crate) crowded: Vec<(*mut Record<P::Words>, u16)>,
    /// Versions that commits of a protocol which reads the newest ones took out of their chains,
    /// and those that others have seen and that never got into one.
    pub(crate) superseded: Vec<TableVersion<P::Words>>,
    pub(crate) snapshot: u64,
    /// The snapshot of the first attempt at this transaction: the lower, the older it is.
    pub(crate) age: u64,
    /// The greatest timestamp that this transaction's commit must exceed.
    pub(crate) commit_floor: u64,
    pub(crate) commit: u64,
    pub(crate) writes: bool,
    pub(crate) retries: u32,
    /// Closures of `update` that are running: the snapshot must not move.
    pub(crate) held: u32,
    /// The exponential back-off's ceiling at the next abort.
    pub(crate) backoff_ns: u64,
    pub(crate) random: u64,
    pub(crate) runs: u64,
}

/// A worker and what others may use of it.
pub(crate) struct WorkerCell<P: Protocol> {
    pub(crate) slot: Slot,
    pub(crate) tallies: CachePadded<Tallies>,
    pub(crate) janitor: Janitor<P::Words>,
    /// Belongs to whoever has taken the slot.
    pub(crate) worker: UnsafeCell<Worker<P>>,
}

impl<P: Protocol> std::fmt::Debug for WorkerCell<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerCell").field("tallies", &self.tallies).finish_non_exhaustive()
    }
}

// SAFETY: `worker` is only touched by the holder of the slot (a compare-and-swap decides),
// `janitor` has its own flag, the rest is atomic. Moving the epoch handle between threads is sound
// because one thread at a time uses it and the slot's Release and Acquire order their uses; it
// refers to no thread.
unsafe impl<P: Protocol> Send for WorkerCell<P> {}
// SAFETY: as above.
unsafe impl<P: Protocol> Sync for WorkerCell<P> {}

const WORKER_CHUNK: usize = 64;
const WORKER_CHUNKS: usize = crate::limits::OPEN_TRANSACTIONS_MAX / WORKER_CHUNK;

type WorkerChunk<P> = Box<[Published<WorkerCell<P>>]>;

/// The workers of a store: as many as were ever busy at once.
#[derive(Debug)]
pub(crate) struct Workers<P: Protocol> {
    chunks: [Published<WorkerChunk<P>>; WORKER_CHUNKS],
}

impl<P: Protocol> Workers<P> {
    fn new() -> Self {
        Workers { chunks: std::array::from_fn(|_| Published::new()) }
    }

    fn place(&self, id: usize) -> &Published<WorkerCell<P>> {
        let chunk = self.chunks[id / WORKER_CHUNK]
            .get_or_publish(|| (0..WORKER_CHUNK).map(|_| Published::new()).collect());
        &chunk[id % WORKER_CHUNK]
    }

    /// The worker with this number, if it exists yet.
    pub(crate) fn get(&self, id: usize) -> Option<&WorkerCell<P>> {
        self.chunks.get(id / WORKER_CHUNK)?.get()?.get(id % WORKER_CHUNK)?.get()
    }

    /// Every worker.
    pub(crate) fn cells(&self) -> impl Iterator<Item = &WorkerCell<P>> {
        let chunks = self.chunks.iter().filter_map(Published::get);
        chunks.flat_map(|chunk| chunk.iter().filter_map(Published::get))
    }
}

impl<P: Protocol> Core<P> {
    /// Makes one more worker and takes its slot; `None` at the limit.
    pub(crate) fn add_worker(&self, writes: bool) -> Option<&WorkerCell<P>> {
        let id = self.watermark.register()?;
        let slot = self.watermark.handle(id);
        let cell = self.workers.place(id).get_or_publish(|| WorkerCell {
            slot,
            tallies: CachePadded::new(Tallies::default()),
            janitor: Janitor::new(),
            worker: UnsafeCell::new(Worker {
                id: id as u64,
                slot,
                handle: self.collector.register(),
                arena: Arena::new(),
                access: AccessSet::new(),
                local: P::Local::default(),
                tickets: Vec::new(),
                garbage: Vec::new(),
                crowded: Vec::new(),
                superseded: Vec::new(),
                snapshot: 1,
                age: 1,
                commit_floor: 0,
                commit: 0,
                writes: false,
                retries: 0,
                held: 0,
                backoff_ns: crate::limits::BACKOFF_MIN_NS,
                random: 0x9e37_79b9_7f4a_7c15 ^ (id as u64 + 1),
                runs: 0,
            }),
        });
        // Another thread that looks for a free worker may take the new one first; then look again.
        if cell.slot.take(1, writes) { Some(cell) } else { self.add_worker(writes) }
    }
}

/// What one step of a protocol may use. Whoever runs the step is pinned, which keeps what it walks
/// over from being freed.
pub(crate) struct Context<'a, P: Protocol> {
    pub(crate) core: &'a Core<P>,
    pub(crate) worker: &'a mut Worker<P>,
    pub(crate) tallies: &'a Tallies,
}

impl<P: Protocol> Context<'_, P> {
    /// Forgets a version that nobody else has ever seen.
    pub(crate) fn free_private_version(
        &mut self,
        table: &TableCore<P::Words>,
        version: NonNull<Version<P::Words>>,
    ) {
        // SAFETY: the version is private, and the caller drops its only pointer.
        let bytes = unsafe { table.free_version(&mut self.worker.arena, &self.core.pool, version) };
        self.tallies.versions_unlinked.add(1);
        self.tallies.versions_freed.add(1);
        self.tallies.bytes_freed.add(bytes as u64);
    }

    /// Puts away a version that nobody will find any more, until every transaction has ended that
    /// is open now and may refer to it.
    pub(crate) fn supersede_version(
        &mut self,
        table: *const TableCore<P::Words>,
        version: NonNull<Version<P::Words>>,
    ) {
        TableCore::mark_retired(version);
        self.tallies.versions_unlinked.add(1);
        self.worker.superseded.push((table, version));
    }

    /// Hands an unlinked version to limbo.
    pub(crate) fn retire_version(
        &mut self,
        table: *const TableCore<P::Words>,
        version: NonNull<Version<P::Words>>,
    ) {
        TableCore::mark_retired(version);
        self.tallies.versions_unlinked.add(1);
        self.worker.garbage.push(Garbage::Version(table, version));
    }
}
