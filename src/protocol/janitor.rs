//! The janitor: old versions, dead records and replaced index arrays, put away a little at a time.
//!
//! Each worker has one. A commit hands it the records whose reclamation ticket it took and the
//! memory it unlinked, and then does a bounded amount of work on it. A janitor has its own flag,
//! apart from its worker's transaction, so that an idle snapshot, or a thread that has gone away,
//! leaves no ticket where nobody can work on it: busy workers visit the others' janitors in turn.
//!
//! # Invariant
//!
//! A record whose head has the ticket bit is in exactly one janitor's queue (or in the hands of
//! whoever is working on it), so a queue never holds a record that somebody else has freed.

mod dying;

use super::context::{Core, Tallies, Worker, WorkerCell};
use super::garbage::{Garbage, Sink};
use super::{Protocol, Reads};
use crate::limits::{RECLAIM_BATCH, RECLAIM_STEPS_PER_COMMIT, VOLUNTEER_DEPTH};
use crate::reclaim::arena::{Arena, ChunkPool};
use crate::reclaim::limbo::Limbo;
use crate::reclaim::queue::Queue;
use crate::reclaim::watermark::Live;
use crate::storage::Words;
use crate::storage::prune::{self, Left};
use crate::storage::record::{Head, Record};
use crate::storage::table::{TableCore, TableVersion};
use crate::storage::version::Version;
use crate::sync::step::{self, Step};
use crate::sync::unmodelled::{AtomicBool, Ordering};
use crossbeam_epoch::Guard;
use dying::{Dying, Stage};
use std::cell::UnsafeCell;
use std::collections::VecDeque;

/// A record with a version to unlink, and when that was overwritten.
type Queued<W> = (*mut Record<W>, u64);

/// A janitor's queues.
#[derive(Debug)]
pub(crate) struct Chores<W: Words> {
    /// Records with a version to unlink, and when it was overwritten; in that order.
    recent: Queue<Queued<W>>,
    /// Records with a version that an old snapshot still sees, and that snapshot.
    parked: VecDeque<(*mut Record<W>, u64)>,
    dying: VecDeque<Dying<W>>,
    /// Versions that left their chains when they were overwritten or their record went out of use,
    /// and when that was; in that order. Transactions that were open then may still refer to them.
    superseded: VecDeque<(TableVersion<W>, u64)>,
    /// The length of that queue at which a scan of the watermark may show something new.
    superseded_scan_len: usize,
    limbo: Limbo<Garbage<W>>,
    live: Live,
}

/// A worker's chores and the flag of whoever is at them.
#[derive(Debug)]
pub(crate) struct Janitor<W: Words> {
    busy: AtomicBool,
    chores: UnsafeCell<Chores<W>>,
}

/// The right to work on a janitor's chores.
struct Turn<'a, W: Words>(&'a Janitor<W>);

impl<W: Words> Drop for Turn<'_, W> {
    fn drop(&mut self) {
        // Release: pairs with the Acquire in `Janitor::turn`.
        self.0.busy.store(false, Ordering::Release);
    }
}

impl<W: Words> Turn<'_, W> {
    fn chores(&mut self) -> &mut Chores<W> {
        // SAFETY: the flag is ours until this value is dropped.
        unsafe { &mut *self.0.chores.get() }
    }
}

impl<W: Words> Janitor<W> {
    pub(crate) fn new() -> Self {
        Janitor {
            busy: AtomicBool::new(false),
            chores: UnsafeCell::new(Chores {
                recent: Queue::new(),
                parked: VecDeque::new(),
                dying: VecDeque::new(),
                superseded: VecDeque::new(),
                superseded_scan_len: RECLAIM_BATCH,
                limbo: Limbo::new(),
                live: Live::default(),
            }),
        }
    }

    /// The right to work here, unless somebody else is at it.
    #[inline]
    fn turn(&self) -> Option<Turn<'_, W>> {
        // Acquire: pairs with the Release when a turn ends.
        let taken = self.busy.swap(true, Ordering::Acquire);
        // Lazily: a `Turn` that is made and dropped would end somebody else's.
        (!taken).then(|| Turn(self))
    }

    /// The chores, for the one who drops the store.
    ///
    /// # Safety
    ///
    /// Nobody else uses the store.
    #[allow(clippy::mut_from_ref, reason = "the caller has the store to itself")]
    pub(crate) unsafe fn exclusive(&self) -> &mut Chores<W> {
        // SAFETY: the caller's promise.
        unsafe { &mut *self.chores.get() }
    }
}

impl<W: Words> Chores<W> {
    /// Frees what waits in limbo: the first half of dropping a store.
    pub(crate) fn drain_limbo(&mut self, arena: &mut Arena, pool: &ChunkPool) {
        for ((table, version), _) in self.superseded.drain(..) {
            Garbage::Version(table, version).dispose(arena, pool);
        }
        self.limbo.drain(|garbage| {
            garbage.dispose(arena, pool);
        });
    }
}

/// What became of a queued record.
enum Next {
    /// Its ticket is returned, or it is dying.
    Done,
    /// Look again when newer versions are within the scan.
    Later,
    /// This snapshot still sees one of its versions.
    Parked(u64),
}

/// Whether a queued record may be looked at; see [`Live::horizon`].
#[inline]
fn is_due<W: Words>(&(_, at): &Queued<W>, live: &Live) -> bool {
    at <= live.horizon()
}

/// The table of a record; `last` is that of the record before.
#[inline]
fn table_of<'a, P: Protocol>(
    core: &'a Core<P>,
    last: &mut Option<(u16, &'a TableCore<P::Words>)>,
    record: &Record<P::Words>,
) -> &'a TableCore<P::Words> {
    match *last {
        Some((number, table)) if number == record.table => table,
        _ => last.insert((record.table, core.tables.get(record.table))).1,
    }
}

/// Gives the ticket of a record back whose newest version stands alone; false if there is another
/// one by now, which saw the ticket and counts on us.
#[inline]
fn return_ticket<W: Words>(target: &Record<W>, newest: *mut Version<W>) -> bool {
    target.exchange(Head::new(newest, true), Head::new(newest, false)).is_ok()
}

/// The tools of whoever is doing chores.
struct Hands<'a, P: Protocol> {
    core: &'a Core<P>,
    arena: &'a mut Arena,
    tallies: &'a Tallies,
    guard: &'a Guard,
    /// The table of the last record, and its number.
    table: Option<(u16, &'a TableCore<P::Words>)>,
}

impl<'a, P: Protocol> Hands<'a, P> {
    fn scan(&self, live: &mut Live) {
        self.core.watermark.scan(|| self.core.clock.snapshot(), live);
        self.core.crowd.notice(&self.core.clock, live);
    }

    fn measure(&self, left: &Left<P::Words>) {
        if let Left::Versions { length, .. } = left {
            self.tallies.chain_length_max.raise(*length);
        }
    }

    /// Prunes the records at the front of the queue, `steps` at most, for as long as each is the
    /// common case: its newest version holds a value that every snapshot sees, so what is below is
    /// seen by none. Returns how many steps are left, and the record that was not so.
    ///
    /// A record leaves the queue before anything is done to it: a value's `Drop` may panic, and one
    /// whose ticket is returned must not be in a queue.
    #[inline]
    fn tend_common(
        &mut self,
        chores: &mut Chores<P::Words>,
        mut steps: usize,
    ) -> (usize, Option<Queued<P::Words>>) {
        let Hands { core, arena, tallies, guard, table } = self;
        let Chores { recent, limbo, live, .. } = chores;
        let Some(&(first, _)) = recent.first() else {
            return (steps, None);
        };
        if P::READS == Reads::Newest {
            return (steps.saturating_sub(1), recent.pop_if(|next| is_due(next, live)));
        }
        // SAFETY: we hold the tickets of what is in the queue, so the record has not been freed.
        let first = table_of(core, table, unsafe { &*first });
        let mut sink = Sink::new::<P>(first, arena, &core.pool, limbo, guard);
        let (mut other, mut longest) = (None, 0);
        while steps > 0
            && let Some(next) = recent.pop_if(|next| is_due(next, live))
        {
            step::at(Step::ReclaimPrune);
            steps -= 1;
            // SAFETY: as above.
            let target = unsafe { &*next.0 };
            let mut returned = false;
            if target.try_prune() {
                sink.table = table_of(core, table, target);
                // SAFETY: the prune right is ours; this runs inside an open transaction's pinned
                // step.
                let pruned = unsafe { prune::prune_below_newest(target, live, &mut sink) };
                if let Some((newest, length)) = pruned {
                    longest = length.max(longest);
                    returned = return_ticket(target, newest.as_ptr());
                }
                target.end_prune();
            }
            if !returned {
                other = Some(next);
                break;
            }
        }
        sink.count(tallies);
        tallies.chain_length_max.raise(longest);
        (steps, other)
    }

    /// Prunes one record whose ticket we hold.
    fn tend(&mut self, chores: &mut Chores<P::Words>, record: *mut Record<P::Words>) -> Next {
        step::at(Step::ReclaimPrune);
        // SAFETY: we hold the ticket, so the record has not been freed.
        let target = unsafe { &*record };
        if !target.try_prune() {
            return Next::Later;
        }
        let table = table_of(self.core, &mut self.table, target);
        let next = self.tend_pruning(chores, table, record);
        target.end_prune();
        next
    }

    /// As `tend`, with the prune right in hand.
    fn tend_pruning(
        &mut self,
        chores: &mut Chores<P::Words>,
        table: &TableCore<P::Words>,
        record: *mut Record<P::Words>,
    ) -> Next {
        // SAFETY: as in `tend`.
        let target = unsafe { &*record };
        let (live, limbo) = (&chores.live, &mut chores.limbo);
        let mut sink = Sink::new::<P>(table, self.arena, &self.core.pool, limbo, self.guard);
        let left = match P::READS {
            // SAFETY: as in `tend`.
            Reads::Snapshot => unsafe { prune::prune(target, live, &mut sink) },
            // SAFETY: as in `tend`.
            Reads::Newest => unsafe { prune::look(target, live) },
        };
        sink.count(self.tallies);
        self.measure(&left);
        match left {
            Left::TooNew => Next::Later,
            Left::Versions { kept: 1.., blocker, .. } => Next::Parked(blocker),
            // SAFETY: `newest` is the newest committed version, which stays while we hold the
            // right.
            Left::Versions { newest, .. } if !unsafe { &*newest }.is_tombstone() => {
                if return_ticket(target, newest) { Next::Done } else { Next::Later }
            }
            Left::Versions { begin, .. }
                if P::KEEPS_TOMBSTONES && begin >= chores.live.watermark() =>
            {
                Next::Parked(chores.live.watermark())
            }
            Left::Versions { newest, .. } => self.bury(chores, table, record, newest),
            Left::Nothing => self.bury(chores, table, record, std::ptr::null_mut()),
        }
    }

    /// A bounded amount of work.
    fn work(&mut self, chores: &mut Chores<P::Words>, steps: usize) {
        let (core, tallies) = (self.core, self.tallies);
        chores.limbo.collect(|garbage| {
            let freed = u64::from(matches!(garbage, Garbage::Version(..)));
            let bytes = garbage.dispose(self.arena, &core.pool);
            tallies.versions_freed.add(freed);
            tallies.bytes_freed.add(bytes as u64);
        });
        let due = |chores: &Chores<P::Words>| {
            chores.recent.first().is_some_and(|next| is_due(next, &chores.live))
        };
        if !due(chores) && chores.recent.len() >= RECLAIM_BATCH {
            let mut live = std::mem::take(&mut chores.live);
            self.scan(&mut live);
            chores.live = live;
        }
        let mut left = steps;
        while left > 0 && due(chores) {
            let other;
            (left, other) = self.tend_common(chores, left);
            if let Some(other) = other {
                self.tend_other(chores, other);
            }
        }
        for _ in 0..2.min(chores.parked.len()) {
            let Some((record, blocker)) = chores.parked.pop_front() else {
                break;
            };
            if chores.live.contains(blocker) {
                chores.parked.push_back((record, blocker));
            } else {
                chores.recent.push((record, chores.live.now));
            }
        }
        if !chores.dying.is_empty() {
            self.tend_dying(chores);
        }
        if P::READS == Reads::Newest {
            self.free_superseded(chores);
        }
    }

    /// Tends a record that is not the common case.
    #[cold]
    fn tend_other(&mut self, chores: &mut Chores<P::Words>, (record, at): Queued<P::Words>) {
        match self.tend(chores, record) {
            Next::Done => {}
            // To the back, as if its newest version were overwritten now.
            Next::Later => chores.recent.push((record, at.max(chores.live.now))),
            Next::Parked(blocker) => chores.parked.push_back((record, blocker)),
        }
    }

    /// Frees what no open transaction can refer to any more.
    fn free_superseded(&mut self, chores: &mut Chores<P::Words>) {
        if chores.superseded.len() >= chores.superseded_scan_len {
            let mut live = std::mem::take(&mut chores.live);
            self.scan(&mut live);
            chores.live = live;
            // Beside a long transaction a scan shows nothing new for a while.
            chores.superseded_scan_len = chores.superseded.len() + RECLAIM_BATCH;
        }
        let watermark = chores.live.watermark();
        while let Some(&((table, version), at)) = chores.superseded.front()
            && at < watermark
        {
            chores.superseded.pop_front();
            chores.superseded_scan_len = RECLAIM_BATCH;
            let bytes = Garbage::Version(table, version).dispose(self.arena, &self.core.pool);
            self.tallies.versions_freed.add(1);
            self.tallies.bytes_freed.add(bytes as u64);
        }
    }
}

impl<P: Protocol> Core<P> {
    /// Hands a finished transaction's tickets and garbage to the worker's janitor and does a
    /// bounded amount of the work that waits there. Runs inside the transaction: its snapshot is
    /// published.
    pub(crate) fn reclaim(&self, cell: &WorkerCell<P>, worker: &mut Worker<P>, guard: &Guard) {
        // A janitor whose visitor was suspended keeps its chores; ours wait in the worker
        // meanwhile.
        let Some(mut turn) = cell.janitor.turn() else {
            // But a record is only known to be alive until this transaction ends.
            worker.crowded.clear();
            return;
        };
        let chores = turn.chores();
        let steps = worker.tickets.len() + RECLAIM_STEPS_PER_COMMIT;
        chores.recent.append(&mut worker.tickets);
        while let Some(garbage) = worker.garbage.pop() {
            match garbage {
                Garbage::Array(index, array) => {
                    let now = self.clock.snapshot();
                    chores.dying.push_back(Dying::Array(index, array, now));
                }
                Garbage::Node(node) => {
                    chores.dying.push_back(Dying::Node(node, self.clock.snapshot()));
                }
                Garbage::Fence(table, record) => {
                    let stage = Stage::Out(self.clock.snapshot());
                    chores.dying.push_back(Dying::Record(table, record.as_ptr(), stage));
                }
                garbage => chores.limbo.push(garbage, guard),
            }
        }
        if !worker.superseded.is_empty() {
            // Drawn after they left their chains: whoever begins later does not find them.
            let now = self.clock.snapshot();
            let superseded = worker.superseded.drain(..);
            chores.superseded.extend(superseded.map(|version| (version, now)));
        }
        let mut hands = Hands {
            core: self,
            arena: &mut worker.arena,
            tallies: &cell.tallies,
            guard,
            table: None,
        };
        hands.work(chores, steps);
        while let Some((record, depth)) = worker.crowded.pop() {
            // Beside old snapshots the ticket may be parked for as long as they stay open, and a
            // chain that is longer than their number has something to prune. Without one, whoever
            // holds the ticket will come by soon, unless the chain shows that nobody does.
            let old = chores.live.old_count();
            if (old > 0 && usize::from(depth) > old) || depth.is_multiple_of(VOLUNTEER_DEPTH) {
                hands.volunteer(chores, record);
            }
        }
        worker.runs += 1;
        if worker.runs.is_multiple_of(VISIT_PERIOD) {
            self.visit_another(worker.runs / VISIT_PERIOD, cell, &mut worker.arena, guard);
        }
    }

    /// Works on another worker's chores, in case it is idle or gone.
    #[cold]
    fn visit_another(&self, round: u64, own: &WorkerCell<P>, arena: &mut Arena, guard: &Guard) {
        let id = round as usize % self.watermark.len().max(1);
        let Some(other) = self.workers.get(id) else {
            return;
        };
        if std::ptr::eq(own, other) {
            return;
        }
        let Some(mut turn) = other.janitor.turn() else {
            return;
        };
        let chores = turn.chores();
        let mut hands = Hands { core: self, arena, tallies: &own.tallies, guard, table: None };
        let mut live = std::mem::take(&mut chores.live);
        hands.scan(&mut live);
        chores.live = live;
        chores.limbo.seal(guard);
        hands.work(chores, VISIT_STEPS);
    }
}

/// Commits of a worker between two visits to another one's janitor.
const VISIT_PERIOD: u64 = 32;
/// Records tended in one visit.
const VISIT_STEPS: usize = 64;

impl<P: Protocol> Hands<'_, P> {
    /// Prunes a record with a long chain whose ticket somebody else holds.
    #[cold]
    fn volunteer(&mut self, chores: &mut Chores<P::Words>, record: *mut Record<P::Words>) {
        // SAFETY: the transaction that runs this has just written the record, and has not ended.
        let target = unsafe { &*record };
        if !target.try_prune() {
            return;
        }
        let mut live = std::mem::take(&mut chores.live);
        self.scan(&mut live);
        chores.live = live;
        let table = table_of(self.core, &mut self.table, target);
        let limbo = &mut chores.limbo;
        let mut sink = Sink::new::<P>(table, self.arena, &self.core.pool, limbo, self.guard);
        // SAFETY: the prune right is ours; this runs inside an open transaction's pinned step.
        let left = unsafe { prune::prune(target, &chores.live, &mut sink) };
        sink.count(self.tallies);
        self.measure(&left);
        target.end_prune();
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
