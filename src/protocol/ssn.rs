//! `ssn`: snapshot isolation made serializable by a safety net.
//!
//! The serial safety net of Wang, Johnson, Fekete and Pandis (The VLDB Journal 26, 2017) lets the
//! commits of snapshot isolation through that close no cycle of dependencies. It looks at one
//! transaction at a time. For T with the commit timestamp c:
//!
//! * *eta* is the greatest commit timestamp of those that T depends on and that commit before it:
//!   who wrote the versions that T read or overwrote, and who read the versions that T overwrote.
//! * *pi* is the least commit timestamp that paths of anti-dependencies back in time reach from T:
//!   the least of c and of pi of those that overwrote what T read and committed before it.
//!
//! T commits only if pi > eta. Every version carries two words for that: *readers*, the greatest
//! commit timestamp of a reader, and *successor*, pi of who overwrote it.
//!
//! # Why the result is serializable
//!
//! Call a dependency A -> B (B read or overwrote what A wrote, or overwrote what A read) *forward*
//! if B's test counts A in eta and A commits before B, and *back* if A's test counts B in pi and B
//! commits at or before A. Reads are of a snapshot and chains grow at their heads, so A -> B by a
//! version that A wrote is forward: B draws its timestamp until it is above its snapshot and the
//! begin of all it overwrites. What is left is B overwriting v that A has read:
//!
//! 1. A raises readers(v) to its c and then looks above v. B installs above v, draws its c, and
//!    then looks at readers(v). So B sees A's stamp, or A sees B's version, or both.
//! 2. If B sees the stamp, it counts it and draws again until it is above it: forward.
//! 3. Otherwise A sees B's version. If B is committed at or before A's c: back, and A takes
//!    successor(v), which B has lowered to its pi before its decision. If B is committed after A's
//!    c, A draws again, above it: back. If B is undecided, A raises B's floor, not to its own c but
//!    to a timestamp drawn now, that is, after B has looked at the stamp and hence after B has
//!    drawn. So B cannot commit without drawing and looking again: forward.
//! 4. What B has written may be pruned by the time that A looks. Then a later version stands
//!    directly above v; B committed before that one began, and successor(v) is still there, because
//!    v stays for A's snapshot.
//!
//! Take a cycle of such dependencies, and in it a transaction U with the least timestamp. What
//! leads to U is back. Follow the cycle against its direction for as long as what leads to a
//! transaction is back. Not all of it can be: the timestamps would all be equal, so that nobody but
//! readers and overwriters could be on it, and each would have been decided before the one that
//! saw it, around the cycle. So there is a first T that is reached forward, from Q. Then
//! pi(T) <= c(U) <= c(Q) <= eta(T), and T did not commit.
//!
//! Timestamps can tie. A tie between a reader and an overwriter is back if the reader saw the
//! overwriter's commit, and does not happen otherwise (2 and 3 make them differ).
//!
//! Stamps that transactions leave which abort afterwards, or draw again, only make others abort.
//!
//! # Absent keys
//!
//! A key that is absent has no version to leave a stamp at, and a tombstone's record goes out of
//! use. So the absence of all keys of one hash bucket is one imaginary version, with words of its
//! own: its readers, and the greatest commit timestamp of a remover. Whoever writes a key that was
//! absent counts both; whoever reads an absence counts the removers. A reader of an absence without
//! a tombstone aborts if a version of the key has been committed since (`ReadValidation`), which is
//! simpler than to count its writer and loses little; under a tombstone it is counted.
//!
//! # Ranges
//!
//! A key without a record is absent from a range in the same way, with one imaginary version for
//! each table. A transaction that has read a range raises the readers and counts the removers
//! before the store looks whether a key was inserted into it, which aborts it (`Phantom`). Whoever
//! inserts a record into an ordered table counts the readers, and so does whoever writes the first
//! version into a record that an abort has left there; the records in the range have stamps of
//! their own.
//!
//! # Read-only transactions
//!
//! They certify as well. With snapshots alone one can see a state that no serial order has had
//! (Fekete, O'Neil and O'Neil, SIGMOD Record 2004). They have no decision word.
//!
//! # Why this one and no `ssi`
//!
//! Serializable snapshot isolation (Cahill, Röhm and Fekete, SIGMOD 2008) comes to the same level
//! from the same snapshots. Its writers have to find the *transactions* that have read what they
//! overwrite, also such as have committed while somebody concurrent is still open: that takes a
//! list of readers for each record, without a bound, and its reclamation, which is not small. The
//! test above needs to know only *when* the last one has read: one word, raised and never freed.
//!
//! # Departures
//!
//! The paper's parallel commit lets transactions wait for each other's outcome; here nobody waits
//! for a stopped thread: floors and new draws take the place of it (3 above). There is no bitmap of
//! readers, and no exemption for versions that have not changed for long. The serial order is not
//! that of real time: a transaction may come before one that had returned when it began (a script
//! of `tests/common/anomalies.rs` shows it).

use super::access_set::{AbsentEntry, ReadEntry};
use super::context::{Context, Core, Worker};
use super::multi_version::{self, Above, Local, above, still_absent, visible_now};
use super::stamps::{ByHash, ByTable, lower, raise, seen};
use super::{Conflict, Isolation, Progress, Protocol, Ranges, Reads, Step};
use crate::error::AbortReason;
use crate::storage::Words;
use crate::storage::hash_index::Witness;
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::{Stamp, Version, committed_begin};
use crate::sync::AtomicU64;
use crate::sync::fault::{self, Fault};
use crate::sync::step::{self, Step as Point};
use std::ops::Range;
use std::ptr::NonNull;

/// Snapshot isolation with the serial safety net (Wang, Johnson, Fekete, Pandis: "Efficiently
/// Making (Almost) Any Concurrency Control Mechanism Serializable", The VLDB Journal 26, 2017).
#[derive(Debug)]
pub struct Ssn;

/// A version's words.
#[derive(Debug)]
pub struct Stamps {
    /// The greatest commit timestamp of a transaction that read it.
    pub(super) readers: AtomicU64,
    /// The pi of the transaction that overwrote it: the least, should some have tried and aborted.
    pub(super) successor: AtomicU64,
}

impl Default for Stamps {
    fn default() -> Self {
        Stamps { readers: AtomicU64::new(0), successor: AtomicU64::new(u64::MAX) }
    }
}

/// The words of the imaginary version that absent keys share.
#[derive(Debug, Default)]
pub struct Absence {
    /// The greatest commit timestamp of a transaction that found a key absent.
    readers: AtomicU64,
    /// The greatest commit timestamp of a transaction that removed a key.
    removers: AtomicU64,
}

/// The words of all that is not there.
#[derive(Debug, Default)]
pub struct Gaps {
    /// Of the absence of keys.
    keys: ByHash<Absence>,
    /// Of the absence of further keys in a range.
    ranges: ByTable<Absence>,
}

/// The words of `ssn`.
#[derive(Debug)]
pub struct SsnWords;

impl Words for SsnWords {
    type Record = ();
    type Version = Stamps;
}

/// What the test at commit is about, for one transaction.
#[derive(Debug)]
pub struct Certificate {
    /// The greatest commit timestamp of a predecessor: the paper's eta.
    predecessor: u64,
    /// The least pi of a successor that has committed: the paper's pi, were it not for c.
    successor: u64,
    /// A new draw has to be above this.
    floor: u64,
}

impl Default for Certificate {
    fn default() -> Self {
        Certificate { predecessor: 0, successor: u64::MAX, floor: 0 }
    }
}

impl Certificate {
    /// Somebody who committed at this timestamp comes before.
    pub(super) fn comes_after(&mut self, timestamp: u64) {
        self.predecessor = self.predecessor.max(timestamp);
        self.floor = self.floor.max(timestamp);
    }

    /// Counts what stands directly above a version that this transaction has read.
    pub(super) fn was_overwritten(&mut self, stamps: &Stamps, begin: u64, commit: u64) {
        if begin <= commit {
            self.successor = self.successor.min(seen(&stamps.successor));
        } else {
            // Drawn above it, the dependency goes back in time and is ours to count.
            self.floor = self.floor.max(begin);
        }
    }

    /// The pi of a commit at this timestamp, if it is outside the exclusion window.
    pub(super) fn pi(&self, commit: u64) -> Option<u64> {
        let pi = self.successor.min(commit);
        (pi > self.predecessor).then_some(pi)
    }

    /// Whether the timestamp is too low for something that was found since it was drawn.
    pub(super) fn has_to_redraw(&self, commit: u64) -> bool {
        self.floor >= commit
    }

    /// Whether no timestamp can help.
    fn is_hopeless(&self) -> bool {
        self.successor <= self.predecessor
    }
}

type Cx<'a> = Context<'a, Ssn>;

#[allow(private_interfaces, reason = "see `Protocol`")]
impl Protocol for Ssn {
    const NAME: &'static str = "ssn";
    const SUMMARY: &'static str =
        "snapshots, and a safety net at commit that lets no cycle of dependencies close";
    const ISOLATION: Isolation = Isolation::Serializable;
    const STRICT: bool = false;
    const PROGRESS: Progress = Progress::LockFree;
    const READS: Reads = Reads::Snapshot;
    const VALIDATES_READ_ONLY: bool = true;
    const RANGES: Ranges = Ranges::Validated;
    #[cfg(all(test, not(loom)))]
    const FAULTS: &'static [Fault] = &[Fault::SkipValidation, Fault::SkipRanges, Fault::IgnoreBase];

    type Words = SsnWords;
    type Shared = Gaps;
    type Local = Local<Certificate>;

    #[inline]
    fn begin(_core: &Core<Self>, worker: &mut Worker<Self>) -> Step<Self, ()> {
        worker.local.more = Certificate::default();
        Ok(())
    }

    #[inline]
    fn read(
        cx: &mut Cx<'_>,
        record: &Record<SsnWords>,
        shard: u32,
    ) -> Step<Self, *mut Version<SsnWords>> {
        step::at(Point::ReadWalk);
        let (version, newest) = visible_now(cx, record);
        let certificate = &mut cx.worker.local.more;
        // SAFETY: visible to the published snapshot, and this step is pinned.
        let found = NonNull::new(version).map(|found| unsafe { found.as_ref() });
        match found {
            Some(found) => certificate.comes_after(begin_of(found)),
            None if newest => {}
            None => return Err(Conflict::at(AbortReason::ReadValidation, record)),
        }
        if let Some(found) = found.filter(|_| !newest) {
            // The net can be closed already: then there is no use in going on.
            certificate.successor = certificate.successor.min(seen(&found.word.successor));
            if certificate.is_hopeless() {
                return Err(Conflict::at(AbortReason::ExclusionWindow, record));
            }
        }
        if found.is_none_or(Version::is_tombstone) {
            certificate.comes_after(seen(&cx.core.shared.keys.at(record.hash).removers));
        }
        cx.worker.access.reads.push(ReadEntry { record, version, shard });
        Ok(version)
    }

    #[inline]
    fn read_base(
        cx: &mut Cx<'_>,
        record: &Record<SsnWords>,
        _shard: u32,
    ) -> Step<Self, *mut Version<SsnWords>> {
        step::at(Point::ReadWalk);
        let (version, newest) = visible_now(cx, record);
        if newest { Ok(version) } else { Err(Conflict::at(AbortReason::WriteConflict, record)) }
    }

    #[inline]
    fn read_absent(
        cx: &mut Cx<'_>,
        table: &TableCore<SsnWords>,
        witness: Witness<SsnWords>,
        hash: u64,
        shard: u32,
    ) -> Step<Self, ()> {
        let removers = seen(&cx.core.shared.keys.at(hash as u32).removers);
        cx.worker.local.more.comes_after(removers);
        cx.worker.access.absents.push(AbsentEntry { witness, table, hash, shard });
        Ok(())
    }

    fn prepare(cx: &mut Cx<'_>, writes: Range<usize>) -> Step<Self, ()> {
        if cx.worker.access.writes.is_empty() {
            return Ok(());
        }
        let snapshot = cx.worker.snapshot;
        multi_version::prepare(cx, writes, snapshot, |_, _, begin| {
            let admitted = begin < snapshot || fault::on(Fault::IgnoreBase);
            admitted.then_some(()).ok_or(AbortReason::WriteConflict)
        })
    }

    fn draw(cx: &mut Cx<'_>) -> Step<Self, ()> {
        cx.worker.commit_floor = cx.worker.commit_floor.max(cx.worker.local.more.floor);
        multi_version::draw(cx);
        // After the installs and the draw: see 1 and 3 in the module's text.
        for write in &cx.worker.access.writes {
            // SAFETY: installed by this step; what it stands on stays while the step is pinned.
            let base = unsafe { NonNull::new((*write.version).older()).map(|base| base.as_ref()) };
            let certificate = &mut cx.worker.local.more;
            if let Some(base) = base {
                certificate.comes_after(begin_of(base));
            }
            if let Some(base) = base.filter(|base| !base.is_tombstone()) {
                certificate.comes_after(seen(&base.word.readers));
            } else {
                let absence = cx.core.shared.keys.at(write.hash as u32);
                certificate.comes_after(seen(&absence.readers));
                certificate.comes_after(seen(&absence.removers));
            }
            // An insert, or the first version in a record that an abort has left, which may have
            // come into the index behind a walk.
            let table = write.table.get();
            if base.is_none() && table.is_ordered() {
                certificate.comes_after(seen(&cx.core.shared.ranges.of(table).readers));
            }
        }
        Ok(())
    }

    fn validate(cx: &mut Cx<'_>, reads: Range<usize>, absents: Range<usize>) -> Step<Self, ()> {
        if fault::on(Fault::SkipValidation) || cx.worker.local.more.has_to_redraw(cx.worker.commit)
        {
            return Ok(());
        }
        for index in reads {
            certify(cx, index)?;
        }
        for absent in &cx.worker.access.absents[absents.clone()] {
            raise(&cx.core.shared.keys.at(absent.hash as u32).readers, cx.worker.commit);
        }
        for index in 0..cx.worker.access.ranges.len() {
            let table = cx.worker.access.ranges[index].table.get();
            let gaps = cx.core.shared.ranges.of(table);
            raise(&gaps.readers, cx.worker.commit);
            cx.worker.local.more.comes_after(seen(&gaps.removers));
        }
        still_absent(cx, absents, cx.worker.local.own())
    }

    fn decide(cx: &mut Cx<'_>) -> Step<Self, bool> {
        let (certificate, commit) = (&cx.worker.local.more, cx.worker.commit);
        if certificate.is_hopeless() {
            return Err(Conflict::new(AbortReason::ExclusionWindow));
        }
        if certificate.has_to_redraw(commit) {
            return Ok(false);
        }
        let pi = certificate.pi(commit).ok_or(Conflict::new(AbortReason::ExclusionWindow))?;
        if cx.worker.access.writes.is_empty() {
            return Ok(true);
        }
        for write in &cx.worker.access.writes {
            // SAFETY: as in `draw`.
            let (version, base) = unsafe {
                let version = &*write.version;
                (version, NonNull::new(version.older()).map(|base| base.as_ref()))
            };
            if let Some(base) = base {
                lower(&base.word.successor, pi);
            }
            if version.is_tombstone() {
                raise(&cx.core.shared.keys.at(write.hash as u32).removers, commit);
                let table = write.table.get();
                if table.is_ordered() {
                    raise(&cx.core.shared.ranges.of(table).removers, commit);
                }
            }
        }
        multi_version::decide(cx)
    }

    fn finish(cx: &mut Cx<'_>) {
        multi_version::finish(cx);
    }

    fn abort(cx: &mut Cx<'_>) {
        multi_version::abort(cx);
    }
}

/// The begin of a version that a snapshot sees or that something was installed on.
fn begin_of(version: &Version<SsnWords>) -> u64 {
    // SAFETY: the caller's step is pinned.
    unsafe { committed_begin(version) }.expect("visible or overwritten, hence committed")
}

/// The floor for an undecided overwriter: whatever timestamp it has drawn before it could see our
/// stamp is not above this.
#[inline]
pub(super) fn new_floor(commit: u64, draw: impl Fn() -> u64) -> u64 {
    if fault::on(Fault::FloorAtCommit) { commit } else { draw().max(commit) }
}

/// Leaves this transaction's stamp at what it has read, and counts who has overwritten it.
fn certify(cx: &mut Cx<'_>, index: usize) -> Step<Ssn, ()> {
    let ReadEntry { record, version, .. } = cx.worker.access.reads[index];
    // SAFETY: records that an open transaction has read are not freed; this step is pinned.
    let record = unsafe { &*record };
    let head = record.head();
    if head.is_dead() {
        return Err(Conflict::at(AbortReason::ReadValidation, record));
    }
    let own = cx.worker.local.own();
    // SAFETY: this step is pinned.
    let newest = NonNull::new(head.version()).map(|newest| unsafe { newest.as_ref() });
    if newest.is_some_and(|newest| newest.stamp() == Stamp::By(own) && !own.is_null()) {
        // Overwritten by this transaction itself, whose install has seen to it that the version is
        // the one that its snapshot sees.
        return Ok(());
    }
    // SAFETY: the snapshot sees the version. If it is a tombstone, its record was not out of use
    // when this step was pinned already, so it is not freed before the step ends.
    let found = NonNull::new(version.cast_mut()).map(|found| unsafe { found.as_ref() });
    let readers = match found.filter(|found| !found.is_tombstone()) {
        Some(found) => &found.word.readers,
        None => &cx.core.shared.keys.at(record.hash).readers,
    };
    let commit = cx.worker.commit;
    raise(readers, commit);
    let floor = || new_floor(commit, || cx.core.clock.commit());
    // SAFETY: as above.
    match (found, unsafe { above(record, version, floor) }) {
        (_, Above::Nothing) => Ok(()),
        (Some(found), Above::Committed(begin)) => {
            cx.worker.local.more.was_overwritten(&found.word, begin, commit);
            Ok(())
        }
        (None, Above::Committed(_)) | (_, Above::Gone | Above::Dead) => {
            Err(Conflict::at(AbortReason::ReadValidation, record))
        }
    }
}
