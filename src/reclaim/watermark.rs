//! The watermark: which snapshots are open.
//!
//! # Definitions
//!
//! A *slot* belongs to one transaction at a time. It is *closed* on a snapshot, or *open* from a
//! floor: then the transaction is about to draw its snapshot, and may have drawn it already. A
//! *scan* draws `now` from the clock and then reads every slot.
//!
//! # Invariant
//!
//! A snapshot that a scan does not list is greater than the scan's `now`, or not smaller than the
//! floor of an open slot that the scan saw.
//!
//! # Why it holds
//!
//! A transaction first opens its slot (a locked instruction that publishes a floor not above its
//! coming snapshot), then draws its snapshot b, then closes the slot on b. A scan first draws
//! `now`, then reads the slots. For one slot there are three cases:
//!
//! * the scan's read comes before the opening: `now` was drawn before that, and b after the
//!   opening, so b is greater than `now` by the clock's real-time order;
//! * it comes after the closing: it lists b;
//! * it comes between: it sees the floor. A lower value alone would do for a mere oldest snapshot,
//!   but not here, where versions *between* listed snapshots are dead: b may lie between.
//!
//! A transaction that moves its snapshot forward opens its slot again in the same way. Peers that
//! drew first and registered later let reclamation take the version the reader needed.

use crate::limits::OPEN_TRANSACTIONS_MAX;
use crate::sync::fault::{self, Fault};
use crate::sync::published::Published;
use crate::sync::{AtomicU64, AtomicUsize, CachePadded, Ordering, model_fence, spin_loop};

const CHUNK_LEN: usize = if cfg!(loom) { 1 } else { 64 };
const CHUNKS: usize = if cfg!(loom) { 1 } else { OPEN_TRANSACTIONS_MAX / CHUNK_LEN };

/// No transaction holds the slot.
const FREE: u64 = 0;
/// The slot's transaction may hold pointers to records between its operations, as those that write
/// do.
const READ_WRITE: u64 = 1;
/// The slot is open: its value is a floor.
const OPEN: u64 = 2;
const SHIFT: u32 = 2;

/// Pauses that a scan grants an open slot to close: opening to closing takes some tens of
/// nanoseconds, and an open slot keeps everything above its floor.
const OPEN_SPINS_MAX: u32 = if cfg!(loom) { 0 } else { 32 };

type Chunk = Box<[CachePadded<AtomicU64>]>;

/// The slots of one store.
#[derive(Debug)]
pub(crate) struct Watermark {
    chunks: [Published<Chunk>; CHUNKS],
    len: AtomicUsize,
}

/// What a scan saw. Reused, so that a scan allocates only while it grows.
#[derive(Debug, Default)]
pub(crate) struct Live {
    /// Drawn before the slots were read: a snapshot that is not listed is above it.
    pub(crate) now: u64,
    /// The `now` of the scan before this one.
    pub(crate) previous_now: u64,
    /// The snapshots seen, in ascending order.
    snapshots: Vec<u64>,
    /// The oldest snapshot of a transaction that may hold pointers to records, or `now`.
    oldest_writer: u64,
    /// The lowest floor of an open slot, or the end of time: snapshots from here on are not all
    /// listed.
    open_from: u64,
    watermark: u64,
    horizon: u64,
}

impl Live {
    /// No snapshot below this is open or will be.
    #[inline]
    pub(crate) fn watermark(&self) -> u64 {
        self.watermark
    }

    /// How many transactions were open.
    pub(crate) fn open_count(&self) -> usize {
        self.snapshots.len()
    }

    /// How many snapshots are open that were open at the scan before this one.
    pub(crate) fn old_count(&self) -> usize {
        self.snapshots.partition_point(|&snapshot| snapshot < self.previous_now)
    }

    /// Every transaction that can hold pointers to records began at or after this.
    pub(crate) fn oldest_writer(&self) -> u64 {
        self.oldest_writer
    }

    /// A snapshot that sees a version which began at `from` and was overwritten at `until`: one
    /// above `from` and not above `until`. Only complete for `until` up to `now`.
    pub(crate) fn seen_by(&self, from: u64, until: u64) -> Option<u64> {
        let first = self.snapshots.partition_point(|&snapshot| snapshot <= from);
        let seen = self.snapshots.get(first).copied().filter(|&snapshot| snapshot <= until);
        seen.or((self.open_from <= until).then_some(self.open_from))
    }

    /// Whether exactly this snapshot was open.
    pub(crate) fn contains(&self, snapshot: u64) -> bool {
        self.snapshots.binary_search(&snapshot).is_ok()
    }

    /// Up to here garbage may be looked at: versions overwritten before this are seen by no
    /// transaction that has begun since the last scan. Short transactions thus delay reclamation
    /// for a moment; only long ones make it work around them.
    #[inline]
    pub(crate) fn horizon(&self) -> u64 {
        self.horizon
    }
}

impl Watermark {
    pub(crate) fn new() -> Self {
        Watermark { chunks: std::array::from_fn(|_| Published::new()), len: AtomicUsize::new(0) }
    }

    /// How many slots exist.
    pub(crate) fn len(&self) -> usize {
        // Acquire: pairs with the AcqRel increment in `register`.
        self.len.load(Ordering::Acquire).min(OPEN_TRANSACTIONS_MAX)
    }

    /// Adds a slot, free; `None` at the limit.
    pub(crate) fn register(&self) -> Option<usize> {
        // AcqRel: a scan that reads the new length with Acquire counts this slot.
        let id = self.len.fetch_add(1, Ordering::AcqRel);
        if id >= OPEN_TRANSACTIONS_MAX {
            // Release: nothing is published; the count merely must not creep towards an overflow.
            self.len.store(OPEN_TRANSACTIONS_MAX, Ordering::Release);
            return None;
        }
        Some(id)
    }

    fn read(&self, id: usize) -> u64 {
        let mut spins = 0;
        loop {
            // SeqCst: in the single order of sequentially consistent operations this load is before
            // or after the opening of the slot; the module's text closes all cases. It also
            // acquires what an ended transaction did before its Release in `release`.
            model_fence();
            let word = self.slot(id).load(Ordering::SeqCst);
            if word & OPEN == 0 || spins == OPEN_SPINS_MAX {
                return word;
            }
            spins += 1;
            spin_loop();
        }
    }

    fn slot(&self, id: usize) -> &AtomicU64 {
        let chunk = self.chunks[id / CHUNK_LEN].get_or_publish(|| {
            (0..CHUNK_LEN).map(|_| CachePadded::new(AtomicU64::new(FREE))).collect()
        });
        &chunk[id % CHUNK_LEN]
    }

    /// A handle to slot `id`.
    pub(crate) fn handle(&self, id: usize) -> Slot {
        Slot(std::ptr::from_ref(self.slot(id)))
    }

    /// Draws `now` with `draw`, then reads every slot.
    pub(crate) fn scan(&self, draw: impl FnOnce() -> u64, live: &mut Live) {
        live.previous_now = live.now;
        live.now = draw();
        live.oldest_writer = live.now;
        live.open_from = u64::MAX;
        live.snapshots.clear();
        for id in 0..self.len() {
            let word = self.read(id);
            if word == FREE {
                continue;
            }
            let snapshot = word >> SHIFT;
            live.snapshots.push(snapshot);
            if word & READ_WRITE != 0 {
                live.oldest_writer = live.oldest_writer.min(snapshot);
            }
            if word & OPEN != 0 && !fault::on(Fault::IgnoreOpen) {
                live.open_from = live.open_from.min(snapshot);
            }
        }
        live.snapshots.sort_unstable();
        let or_now = |snapshot: Option<&u64>| snapshot.map_or(live.now, |&one| one.min(live.now));
        live.watermark = or_now(live.snapshots.first());
        live.horizon = or_now(live.snapshots.get(live.old_count()));
    }
}

/// One transaction's place in the watermark.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot(*const AtomicU64);

// SAFETY: a slot is an atomic word that lives as long as its store; the handle is no more than a
// reference to it without a lifetime.
unsafe impl Send for Slot {}
// SAFETY: as above.
unsafe impl Sync for Slot {}

impl Slot {
    fn word(&self) -> &AtomicU64 {
        // SAFETY: slots are never freed before the watermark, which the store drops after every
        // worker (the only holders of handles) is gone.
        unsafe { &*self.0 }
    }

    /// Takes the slot if it is free and opens it from `floor`, a value not above the coming
    /// snapshot.
    #[inline]
    pub(crate) fn take(&self, floor: u64, writes: bool) -> bool {
        let word = Self::encode(floor) | OPEN | u64::from(writes);
        // SeqCst: see `Watermark::scan`; as a locked instruction it also completes before the
        // snapshot is drawn. It acquires the worker's state from the Release in `release`.
        let taken =
            self.word().compare_exchange(FREE, word, Ordering::SeqCst, Ordering::Relaxed).is_ok();
        model_fence();
        taken
    }

    /// Opens the slot of a running transaction again, whose snapshot is about to move forward.
    pub(crate) fn reopen(&self, snapshot: u64, writes: bool) {
        let word = Self::encode(snapshot) | OPEN | u64::from(writes);
        // SeqCst: as in `take`; a plain store could pass the draw.
        self.word().swap(word, Ordering::SeqCst);
        model_fence();
    }

    /// Says, in the middle of a transaction, that it may hold pointers to records from now on.
    #[inline]
    pub(crate) fn hold_records(&self) {
        // Relaxed: nobody but the slot's transaction sets the bit.
        if self.word().load(Ordering::Relaxed) & READ_WRITE != 0 {
            return;
        }
        // SeqCst: a scan that does not see it draws `now` before this, and before whatever leaves
        // an index after this.
        self.word().fetch_or(READ_WRITE, Ordering::SeqCst);
        model_fence();
    }

    /// Closes the slot on the snapshot that was drawn.
    #[inline]
    pub(crate) fn publish(&self, snapshot: u64, writes: bool) {
        // Release: a scan that still sees the slot open keeps more, never less.
        self.word().store(Self::encode(snapshot) | u64::from(writes), Ordering::Release);
    }

    #[inline]
    fn encode(snapshot: u64) -> u64 {
        // A slot that is taken is never 0.
        snapshot.max(1) << SHIFT
    }

    /// Ends the transaction's claim on versions.
    #[inline]
    pub(crate) fn release(&self) {
        // Release: every read of this transaction happens before a scan that finds the slot free,
        // and its worker's state before the next `take`.
        self.word().store(FREE, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_scan_lists_open_snapshots_in_order() {
        let watermark = Watermark::new();
        let mut live = Live::default();
        let slots: Vec<Slot> = (0..3)
            .map(|_| watermark.handle(watermark.register().expect("below the limit")))
            .collect();
        for (slot, (snapshot, writes)) in slots.iter().zip([(30, false), (10, true), (20, false)]) {
            assert!(slot.take(1, writes));
            assert!(!slot.take(1, writes), "a slot has one holder");
            slot.publish(snapshot, writes);
        }
        watermark.scan(|| 40, &mut live);
        assert_eq!((live.watermark(), live.oldest_writer()), (10, 10));
        assert_eq!(live.seen_by(20, 29), None, "20 sees what was before, 30 what comes after");
        assert_eq!(live.seen_by(11, 20), Some(20));
        slots[1].release();
        watermark.scan(|| 50, &mut live);
        assert_eq!((live.watermark(), live.oldest_writer()), (20, 50));
    }

    #[test]
    fn slots_run_out_with_none_and_without_overflow() {
        let watermark = Watermark::new();
        for _ in 0..OPEN_TRANSACTIONS_MAX {
            assert!(watermark.register().is_some());
        }
        assert!(watermark.register().is_none());
        assert_eq!(watermark.len(), OPEN_TRANSACTIONS_MAX);
    }
}

/// Run with `RUSTFLAGS="--cfg loom" cargo test --lib --release loom`.
#[cfg(all(test, loom))]
mod loom_tests {
    use super::*;
    use crate::sync::AtomicBool;
    use crate::sync::fault::{self, Armed, Fault};
    use loom::sync::Arc;

    /// A reader begins while a reclaimer scans. A version holds from 2 until 4; the clock goes from
    /// 3 to 5 meanwhile. A reader that draws 3 sees the version, so the reclaimer must not take it,
    /// unless the reader's snapshot is 5. The worker's previous snapshot, its floor, was 1.
    fn begin_against_scan() {
        loom::model(|| {
            let watermark = Arc::new(Watermark::new());
            let slot = watermark.handle(watermark.register().expect("first"));
            let clock = Arc::new(AtomicU64::new(3));
            let reclaimed = Arc::new(AtomicBool::new(false));
            let reader = {
                let (clock, reclaimed) = (clock.clone(), reclaimed.clone());
                // The slot lives in the watermark.
                let watermark = watermark.clone();
                loom::thread::spawn(move || {
                    let mut snapshot = 0;
                    if fault::on(Fault::DrawBeforePublish) {
                        snapshot = clock.load(Ordering::SeqCst);
                    }
                    assert!(slot.take(1, false));
                    if !fault::on(Fault::DrawBeforePublish) {
                        snapshot = clock.load(Ordering::SeqCst);
                    }
                    slot.publish(snapshot, false);
                    if snapshot < 5 {
                        assert!(!reclaimed.load(Ordering::SeqCst), "reclaimed under a reader");
                    }
                    drop(watermark);
                })
            };
            // The writer that overwrote at 4 is this thread, and then it reclaims.
            clock.store(5, Ordering::SeqCst);
            let mut live = Live::default();
            watermark.scan(|| clock.load(Ordering::SeqCst), &mut live);
            if live.seen_by(2, 4).is_none() {
                reclaimed.store(true, Ordering::SeqCst);
            }
            reader.join().expect("the reader's assertion holds");
        });
    }

    #[test]
    fn loom_a_scan_never_misses_a_snapshot() {
        let _armed = Armed::new(None);
        begin_against_scan();
    }

    #[test]
    #[should_panic(expected = "reclaimed under a reader")]
    fn loom_drawing_before_publishing_is_caught() {
        let _armed = Armed::new(Some(Fault::DrawBeforePublish));
        begin_against_scan();
    }

    #[test]
    #[should_panic(expected = "reclaimed under a reader")]
    fn loom_taking_a_floor_for_a_snapshot_is_caught() {
        let _armed = Armed::new(Some(Fault::IgnoreOpen));
        begin_against_scan();
    }
}
