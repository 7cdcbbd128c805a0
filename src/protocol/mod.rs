//! Concurrency-control protocols: each is one file here, its `mod` line, and one row of the
//! registry.
//!
//! A protocol decides which version a read sees, whether a transaction may commit, and at which
//! instant its writes become visible. Index, memory, retry, back-off and reclamation are the same
//! for all of them, so that a comparison compares protocols only.
//!
//! The commit of every protocol is split into the same steps, so that two-phase commit over shards
//! needs no code of its own in any of them: `prepare` and `validate` for each shard (its vote),
//! then `decide` once, then `finish` or `abort`.

pub(crate) mod access_set;
pub(crate) mod context;
pub(crate) mod crowd;
pub(crate) mod garbage;
pub(crate) mod install;
pub(crate) mod janitor;
pub(crate) mod multi_version;

mod aria;
mod bamboo;
mod contention;
mod hstore;
mod lock_parts;
#[cfg(all(test, loom))]
mod models;
#[cfg(all(test, loom))]
mod models_optimistic;
mod mvocc;
mod mvto;
mod no_wait;
mod optimistic;
mod record_lock;
mod retiring_lock;
mod serial;
mod si;
mod silo;
mod single_version;
mod ssn;
mod stamps;
mod tictoc;
mod two_phase_locking;
mod wait_die;
mod wound_wait;

pub use aria::Aria;
pub use bamboo::Bamboo;
pub use contention::{Contention, WriteOrder};
pub use hstore::HStore;
pub use mvocc::Mvocc;
pub use mvto::Mvto;
pub use no_wait::NoWait;
pub use serial::Serial;
pub use si::Si;
pub use silo::Silo;
pub use ssn::Ssn;
pub use tictoc::TicToc;
pub use wait_die::WaitDie;
pub use wound_wait::WoundWait;

use crate::error::AbortReason;
use crate::storage::Words;
use crate::storage::hash_index::Witness;
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::Version;
#[cfg(all(test, not(loom)))]
use crate::sync::fault::Fault;
use crate::sync::step::{self, Step as Point};
use context::{Context, Core, Worker};
use std::ops::Range;

/// Which anomalies a protocol excludes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isolation {
    /// The outcome is that of some serial order.
    Serializable,
    /// Each transaction reads one snapshot and no two concurrent ones write the same key (Berenson
    /// et al., SIGMOD 1995): write skew is possible.
    Snapshot,
}

impl Isolation {
    /// The level's name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Isolation::Serializable => "serializable",
            Isolation::Snapshot => "snapshot",
        }
    }
}

/// Which version of a record a read sees, and hence how long a version has to stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reads {
    /// The one at the transaction's snapshot. Old versions stay while a snapshot sees them.
    Snapshot,
    /// The newest committed one: a record has no other. An overwritten version leaves its chain at
    /// once, and its memory stays until every transaction that was open then has ended.
    Newest,
}

/// What a protocol does about ranges of ordered tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ranges {
    /// It has none.
    Unsupported,
    /// They show what the transaction's snapshot, or its locks, let them show; there is nothing to
    /// check at commit.
    Unchecked,
    /// At commit no key may have been inserted into a range that was read.
    Validated,
}

/// What a thread that stops can do to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Nothing: whoever meets its unfinished work decides its fate and goes on.
    LockFree,
    /// It can hold them up for as long as it stops.
    Blocking,
}

impl Progress {
    /// The guarantee's name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Progress::LockFree => "lock-free",
            Progress::Blocking => "blocking",
        }
    }
}

/// A conflict, and the record or key that it was found at.
#[derive(Debug)]
pub(crate) struct Conflict<W: Words> {
    pub(crate) reason: AbortReason,
    pub(crate) at: Option<Place<W>>,
}

/// Where a conflict was found.
#[derive(Debug)]
pub(crate) enum Place<W: Words> {
    /// At a record.
    Record(*const Record<W>),
    /// At a key without a record, known by its hash.
    Key(*const TableCore<W>, u64),
}

impl<W: Words> Conflict<W> {
    pub(crate) fn new(reason: AbortReason) -> Self {
        Conflict { reason, at: None }
    }

    pub(crate) fn at(reason: AbortReason, record: *const Record<W>) -> Self {
        Conflict { reason, at: Some(Place::Record(record)) }
    }
}

/// What a protocol step returns when the transaction cannot go on.
pub(crate) type Step<P, T> = Result<T, Conflict<<P as Protocol>::Words>>;

/// A concurrency-control protocol. The constants are for everybody; the steps are the crate's own,
/// in types that only it can name, so a protocol is added here and nowhere else.
#[allow(private_interfaces, reason = "the steps are the crate's own; see the sentence above")]
pub trait Protocol: Sized + Send + Sync + 'static {
    /// The name in the registry and on the command line.
    const NAME: &'static str;
    /// What it is, in a line.
    const SUMMARY: &'static str;
    /// The isolation level that tests hold it to.
    const ISOLATION: Isolation;
    /// Whether the serial order respects real time.
    const STRICT: bool;
    /// What a stopped thread can do to the others.
    const PROGRESS: Progress;
    /// Which version a read sees.
    const READS: Reads;
    /// Whether a transaction that only reads has to validate what it read. Its reads are recorded
    /// then, also in a `view`, which may abort.
    const VALIDATES_READ_ONLY: bool;
    /// Whether what a view reads of a record is the version at its snapshot (`visible_now`) and
    /// nothing remembers that it did. A range of a view then reads many records in one go.
    const VIEWS_LEAVE_NO_TRACE: bool = false;
    /// Whether an open transaction owns locks that others need. It then lets a starving one pass
    /// before it begins: if it did so before it commits, as others do, it would stand in its way.
    const TAKES_LOCKS: bool = false;
    /// Whether a record stays until every open snapshot sees that its key is gone. Without this it
    /// goes when no snapshot sees a value of it, so a key may come and go during a transaction and
    /// leave nothing behind.
    const KEEPS_TOMBSTONES: bool = false;
    /// Whether a transaction can commit below a snapshot that is open by then. What it overwrites
    /// may be under the eyes of whoever looks for the version of that snapshot.
    const COMMITS_IN_THE_PAST: bool = false;
    /// Whether it heeds the store's [`Contention`]; the others ignore it.
    const HEEDS_CONTENTION: bool = false;
    /// What it does about ranges.
    const RANGES: Ranges = Ranges::Unsupported;
    /// The mistakes that can be made in its own code and that a suite has to notice. Of those that
    /// can be made in what protocols share, the other constants say which harm it; of all others
    /// that suites are tried with (`store/broken.rs`) it has to be safe.
    #[cfg(all(test, not(loom)))]
    #[doc(hidden)]
    const FAULTS: &'static [Fault];

    /// The words that it keeps in records and versions.
    type Words: Words;
    /// Its state in each store.
    type Shared: Default + Send + Sync + std::fmt::Debug;
    /// Its state in each open transaction.
    type Local: Default;

    /// The snapshot of a transaction that has just drawn `drawn` from the clock: not below that.
    #[doc(hidden)]
    #[inline]
    fn snapshot(_core: &Core<Self>, drawn: u64) -> u64 {
        drawn
    }

    /// Begins; the snapshot is drawn by then.
    #[doc(hidden)]
    #[inline]
    fn begin(_core: &Core<Self>, _worker: &mut Worker<Self>) -> Step<Self, ()> {
        Ok(())
    }

    /// The version of a record that this transaction sees (null: none), recorded as a read.
    #[doc(hidden)]
    fn read(
        cx: &mut Context<'_, Self>,
        record: &Record<Self::Words>,
        shard: u32,
    ) -> Step<Self, *mut Version<Self::Words>>;

    /// The version that a write of this transaction will be based on (null: none). Not recorded as
    /// a read: the write itself depends on it.
    #[doc(hidden)]
    fn read_base(
        cx: &mut Context<'_, Self>,
        record: &Record<Self::Words>,
        shard: u32,
    ) -> Step<Self, *mut Version<Self::Words>>;

    /// Records that a key has no record.
    #[doc(hidden)]
    fn read_absent(
        cx: &mut Context<'_, Self>,
        table: &TableCore<Self::Words>,
        witness: Witness<Self::Words>,
        hash: u64,
        shard: u32,
    ) -> Step<Self, ()>;

    /// Announces that a range of this table is about to be read: once, before its first record is
    /// looked for.
    #[doc(hidden)]
    #[inline]
    fn read_range(_cx: &mut Context<'_, Self>, _table: &TableCore<Self::Words>) -> Step<Self, ()> {
        Ok(())
    }

    /// Announces a write to a record (null: to a key without one) when the transaction asks for it;
    /// `prepare` comes at commit. With [`Reads::Snapshot`] it may run unpinned: the record is
    /// alive, its versions need not be.
    #[doc(hidden)]
    #[inline]
    fn write(
        _cx: &mut Context<'_, Self>,
        _record: *mut Record<Self::Words>,
        _shard: u32,
    ) -> Step<Self, ()> {
        Ok(())
    }

    /// A write of this transaction, by its place among them, has got its value, or another one. A
    /// protocol that lets others see that value before the outcome is known marks the write as
    /// `shown`, so that the version stays for whoever has seen it.
    #[doc(hidden)]
    #[inline]
    fn written(_cx: &mut Context<'_, Self>, _index: usize) {}

    /// Prepares these writes of one shard, in the global order, which a protocol that does not
    /// depend on it may change among them. If the transaction only inserts, they are in the order
    /// of their records, and other calls may bring more of this shard.
    #[doc(hidden)]
    fn prepare(cx: &mut Context<'_, Self>, writes: Range<usize>) -> Step<Self, ()>;

    /// Fixes the place in the serial order, after every shard is prepared and before any validates.
    #[doc(hidden)]
    fn draw(cx: &mut Context<'_, Self>) -> Step<Self, ()>;

    /// Checks these reads and absent keys: the vote of one shard.
    #[doc(hidden)]
    fn validate(
        cx: &mut Context<'_, Self>,
        reads: Range<usize>,
        absents: Range<usize>,
    ) -> Step<Self, ()>;

    /// The commit point. `Ok(false)`: draw and validate again. Nothing is left to be decided here
    /// unless others may decide that this transaction aborts.
    #[doc(hidden)]
    #[inline]
    fn decide(_cx: &mut Context<'_, Self>) -> Step<Self, bool> {
        step::at(Point::DecideCommitted);
        Ok(true)
    }

    /// Cleans up after a commit.
    #[doc(hidden)]
    fn finish(cx: &mut Context<'_, Self>);

    /// Takes back whatever was prepared.
    #[doc(hidden)]
    fn abort(cx: &mut Context<'_, Self>);

    /// Ends the transaction, whatever its outcome, and also when it never came to commit: releases
    /// what it still holds. The records that it has met are still alive.
    #[doc(hidden)]
    #[inline]
    fn end(_core: &Core<Self>, _worker: &mut Worker<Self>) {}
}

/// Something to do with a protocol that is known by name only at run time.
pub trait Visitor {
    /// What comes of it.
    type Output;
    /// Does it with protocol `P`.
    fn visit<P: Protocol>(self) -> Self::Output;
}

macro_rules! registry {
    ($($protocol:ty),+ $(,)?) => {
        /// The name of every protocol, the default first.
        pub const NAMES: &[&str] = &[$(<$protocol as Protocol>::NAME),+];

        /// Calls `visitor` with the protocol of that name; `None` if there is none.
        pub fn dispatch<V: Visitor>(name: &str, visitor: V) -> Option<V::Output> {
            $(if name == <$protocol as Protocol>::NAME {
                return Some(visitor.visit::<$protocol>());
            })+
            None
        }
    };
}

registry! {
    Mvocc,
    Mvto,
    Si,
    Ssn,
    Silo,
    TicToc,
    NoWait,
    WaitDie,
    WoundWait,
    Bamboo,
    Aria,
    HStore,
    Serial,
}
