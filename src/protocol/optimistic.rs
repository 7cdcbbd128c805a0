//! What the optimistic protocols with one committed version for each record have in common: a
//! commit installs its versions over the committed ones, pending, and they either begin or go back.
//! Unlike in `single_version.rs`, whose users hold locks of their own, others may meet what is
//! pending.
//!
//! # Definitions
//!
//! A version is *pending* from its install until its transaction has committed or taken it back;
//! the time at which it begins says so. A record whose head is pending is *locked*, by the
//! transaction that installed it.
//!
//! # Invariants
//!
//! 1. Nobody installs on a pending version: the install, one compare-and-swap of the head, is the
//!    lock. It needs no bit of its own, and a record that is locked cannot be taken out of use.
//! 2. A version that was committed when an open transaction loaded it keeps its address to itself
//!    until that transaction ends, and never becomes the head again after another has committed. So
//!    if the head is that version now, it was the newest committed one all the time since.
//! 3. An overwritten version leaves its chain before the new one begins, which is what unlocks.
//!
//! # What a transaction may see
//!
//! Each read is of a committed version, but two reads need not be of one moment until the commit
//! has checked them: a closure may run on an inconsistent state, and is then run again.

use super::access_set::{AbsentEntry, ReadEntry, WriteEntry, WriteKind, WriteState};
use super::context::Context;
use super::{Conflict, Place, Protocol, Step, install};
use crate::clock::TIMESTAMP_MAX;
use crate::error::AbortReason;
use crate::limits::UNDECIDED_SPINS_MAX;
use crate::storage::Words;
use crate::storage::hash_index::HashIndex;
use crate::storage::record::{Head, Record};
use crate::storage::version::{Stamp, Version};
use crate::sync::fault::{self, Fault};
use crate::sync::spin_loop;
use crate::sync::step::{self, Step as Point};

/// When a pending version begins: later than anything.
const PENDING: u64 = TIMESTAMP_MAX;

/// A record is locked by another transaction.
#[derive(Debug)]
pub(crate) struct Locked;

/// The head of a record and when the version there began (none: 0), once that is a committed one;
/// waits for at most `spins` pauses.
///
/// # Safety
///
/// The calling step is pinned, in an open transaction, and the record is alive.
#[inline(always)]
pub(crate) unsafe fn newest<W: Words>(
    record: &Record<W>,
    mut spins: u32,
) -> Result<(Head<W>, u64), Locked> {
    loop {
        let head = record.head();
        // SAFETY: a committed version stays until every transaction that was open when it was
        // overwritten has ended, a pending one until this step ends.
        let begin = unsafe { head.version().as_ref() }.map_or(0, begin_of);
        if begin != PENDING || fault::on(Fault::ReadPending) {
            return Ok((head, begin));
        }
        if spins == 0 {
            return Err(Locked);
        }
        spins -= 1;
        spin_loop();
    }
}

#[inline]
fn begin_of<W: Words>(version: &Version<W>) -> u64 {
    match version.stamp() {
        Stamp::At(begin) => begin,
        Stamp::By(_) => unreachable!("these protocols stamp a version before they install it"),
    }
}

/// The newest committed version of a record (null: none). A record that is out of use is a
/// conflict: its key may have another one.
#[inline(always)]
pub(crate) fn read_newest<P: Protocol>(
    record: &Record<P::Words>,
) -> Step<P, *mut Version<P::Words>> {
    step::at(Point::ReadWalk);
    // SAFETY: a step of an open transaction, which has found the record, and is pinned.
    match unsafe { newest(record, UNDECIDED_SPINS_MAX) } {
        Ok((head, _)) if !head.is_dead() => Ok(head.version()),
        Ok(_) => Err(Conflict::at(AbortReason::ReadValidation, record)),
        Err(Locked) => Err(Conflict::at(AbortReason::LockConflict, record)),
    }
}

/// The same, recorded as read.
#[inline(always)]
pub(crate) fn read<P: Protocol>(
    cx: &mut Context<'_, P>,
    record: &Record<P::Words>,
    shard: u32,
) -> Step<P, *mut Version<P::Words>> {
    let version = read_newest::<P>(record)?;
    cx.worker.access.reads.push(ReadEntry { record, version, shard });
    Ok(version)
}

/// Marks a private version as pending.
#[inline]
pub(crate) fn set_pending<W: Words>(version: &Version<W>) {
    version.set_begin(PENDING);
}

/// Installs a write's version on the newest committed one, pending. Waits for whoever has locked
/// the record for at most `spins` pauses.
pub(crate) fn install_pending<P: Protocol>(
    cx: &mut Context<'_, P>,
    index: usize,
    spins: u32,
) -> Step<P, ()> {
    step::at(Point::PrepareInstall);
    let WriteEntry { record, version, base, kind, .. } = cx.worker.access.writes[index];
    // SAFETY: the version is ours.
    set_pending(unsafe { &*version });
    if kind == WriteKind::Insert {
        install::publish_record(cx, index)?;
        step::at(Point::PrepareInstalled);
        return Ok(());
    }
    // SAFETY: the record of an open transaction's write is alive.
    let target = unsafe { &*record };
    loop {
        // SAFETY: this step is pinned; the record is alive.
        let (head, begin) = unsafe { newest(target, spins) }
            .map_err(|Locked| Conflict::at(AbortReason::LockConflict, record))?;
        let overtaken = kind == WriteKind::Based && head.version() != base;
        if (overtaken && !fault::on(Fault::IgnoreBase)) || head.is_dead() {
            return Err(Conflict::at(AbortReason::WriteConflict, record));
        }
        // A janitor may just have returned the record's ticket, or another transaction locked it:
        // then look again.
        if install::install_on(cx, index, head, head.version(), begin) {
            step::at(Point::PrepareInstalled);
            return Ok(());
        }
    }
}

/// After the commit point: takes the overwritten versions out of their chains, then lets the new
/// ones begin, which unlocks their records. `word` sets the protocol's own word of each before.
#[inline]
pub(crate) fn publish<P: Protocol>(
    cx: &mut Context<'_, P>,
    word: impl Fn(&<P::Words as Words>::Version),
) {
    install::supersede(cx);
    for write in &cx.worker.access.writes {
        // SAFETY: our own version; this step has been pinned since before it was installed.
        begin(unsafe { &*write.version }, cx.worker.commit, &word);
        step::at(Point::FinishStamped);
    }
}

/// Lets a pending version begin, which unlocks its record. `word` sets the protocol's word before.
#[inline]
pub(super) fn begin<W: Words>(version: &Version<W>, commit: u64, word: impl Fn(&W::Version)) {
    word(&version.word);
    version.set_begin(commit);
}

/// What this transaction has installed on a record: its pending version.
#[inline]
fn installed<'a, P: Protocol>(
    cx: &'a Context<'_, P>,
    shard: u32,
    record: *const Record<P::Words>,
) -> Option<&'a Version<P::Words>> {
    let write = cx.worker.access.find_in_order(shard, record)?;
    // SAFETY: our own version; this step has been pinned since before it was installed.
    (write.state == WriteState::Installed).then(|| unsafe { &*write.version })
}

/// Whether this transaction has locked the record by a version on top of what it read.
#[inline]
pub(crate) fn locked_over<P: Protocol>(cx: &Context<'_, P>, read: &ReadEntry<P::Words>) -> bool {
    let own = installed(cx, read.shard, read.record);
    own.is_some_and(|own| own.older().cast_const() == read.version)
}

/// Whether what was read is the newest committed version and nobody else has locked the record.
#[inline]
pub(crate) fn is_newest<P: Protocol>(cx: &Context<'_, P>, read: &ReadEntry<P::Words>) -> bool {
    // SAFETY: records that an open transaction has read are not freed.
    is_head(unsafe { &*read.record }, read.version) || locked_over(cx, read)
}

/// Whether a version (null: none) is the head of a record that is in use.
#[inline]
pub(super) fn is_head<W: Words>(record: &Record<W>, version: *const Version<W>) -> bool {
    let head = record.head();
    // Of a record without a version the key may have got another one.
    std::ptr::eq(head.version(), version) && !head.is_dead()
}

/// Whether a key that had no record has none still, but for one that this transaction inserted.
#[inline]
pub(crate) fn is_absent<P: Protocol>(cx: &Context<'_, P>, absent: &AbsentEntry<P::Words>) -> bool {
    // A version on top of another's is no proof of absence.
    let own = |record: &Record<P::Words>| {
        installed(cx, absent.shard, record).is_some_and(|version| version.older().is_null())
    };
    HashIndex::still_absent(&absent.witness, absent.hash, own)
}

/// The conflict at a record that has changed, or is about to, since it was read.
#[cold]
pub(crate) fn changed<P: Protocol>(
    cx: &Context<'_, P>,
    read: &ReadEntry<P::Words>,
) -> Conflict<P::Words> {
    // SAFETY: this step is pinned, and records that an open transaction has read are not freed.
    let locked = unsafe { newest(&*read.record, 0) }.is_err();
    // If it is locked by this transaction, somebody has changed it before.
    let by_another = locked && installed(cx, read.shard, read.record).is_none();
    let reason = if by_another { AbortReason::LockConflict } else { AbortReason::ReadValidation };
    Conflict::at(reason, read.record)
}

/// The conflict at a key that had no record and may have one now.
#[cold]
pub(crate) fn appeared<W: Words>(absent: &AbsentEntry<W>) -> Conflict<W> {
    let at = Some(Place::Key(absent.table, absent.hash));
    Conflict { reason: AbortReason::ReadValidation, at }
}

#[cfg(all(test, not(loom)))]
pub(super) mod tests {
    use super::*;
    use crate::protocol::{Silo, TicToc};
    use crate::storage::hash_index::Lookup;
    use crate::{AbortReason, Store, Table, TransactionError};
    use std::cell::RefCell;
    use std::sync::Arc;

    type Numbers<P> = Table<u64, u64, P>;

    /// The record of a key that is in use. Nobody else uses the store.
    fn record_of<P: Protocol>(
        store: &Store<P>,
        table: &Numbers<P>,
        key: u64,
    ) -> Option<*mut Record<P::Words>> {
        let (core, hash) = (table.core(), store.core.hasher.hash_one(key));
        let is_key = |record: &Record<P::Words>| {
            let (at, _) = core.schema.key_at(record);
            // SAFETY: the keys of the table are of this type.
            unsafe { at.cast::<u64>().read() == key && !record.head().is_dead() }
        };
        match core.index(store.core.ring.shard_of(hash as u32)).find(hash, is_key) {
            Lookup::Found(record) => Some(record),
            Lookup::Absent(_) => None,
        }
    }

    /// Shows the protocol's word of a key's newest version. Nobody else uses the store.
    pub(in crate::protocol) fn word_of<P: Protocol, R>(
        store: &Store<P>,
        table: &Numbers<P>,
        key: u64,
        show: impl Fn(&<P::Words as Words>::Version) -> R,
    ) -> R {
        let record = record_of(store, table, key).expect("the key has a record");
        // SAFETY: the test has the store to itself.
        show(unsafe { &(*(*record).head().version()).word })
    }

    fn reason(outcome: Result<(), TransactionError>) -> Option<AbortReason> {
        outcome.err().and_then(|error| Some(error.abort()?.reason()))
    }

    /// Commits a transaction that holds keys 1 and 2, and runs `meanwhile` while it is pending.
    fn while_pending<P: Protocol>(
        meanwhile: impl FnOnce(&Store<P>, &Numbers<P>) + Send + 'static,
    ) -> Result<Vec<Option<u64>>, TransactionError> {
        let store = Arc::new(Store::builder().shards(4).build_with::<P>()?);
        let table = store.table::<u64, u64>("numbers")?;
        store.transact(|tx| (0..2).try_for_each(|key| tx.put(&table, key, 10)))?;
        let (inside, within) = (store.clone(), store.table::<u64, u64>("numbers")?);
        let run = move || {
            let meanwhile = RefCell::new(Some(meanwhile));
            let tx = store.begin()?;
            tx.put(&table, 1, 11)?;
            tx.put(&table, 2, 12)?;
            step::on(move |point| {
                if point == Point::PrepareDrawn
                    && let Some(meanwhile) = meanwhile.borrow_mut().take()
                {
                    meanwhile(&inside, &within);
                }
            });
            tx.commit()?;
            store.view(|tx| (0..3).map(|key| Ok(tx.get(&table, &key)?.copied())).collect())
        };
        // A thread of its own: hooks stay with their thread.
        std::thread::spawn(run).join().expect("no assertion there failed")
    }

    fn pending_is_locked<P: Protocol>() -> Result<(), TransactionError> {
        let seen = while_pending::<P>(|store, table| {
            let tx = store.begin().expect("another worker");
            assert_eq!(tx.get(table, &0).expect("not locked"), Some(&10));
            assert_eq!(
                reason(tx.get(table, &1).map(drop)),
                Some(AbortReason::LockConflict),
                "{}: a value that may never be",
                P::NAME
            );
            drop(tx);
            let insert = |tx: &crate::Transaction<'_, P>| tx.insert(table, 2, 0).map(drop);
            let tx = store.begin().expect("another worker");
            assert_eq!(reason(insert(&tx)), Some(AbortReason::LockConflict), "{}", P::NAME);
            drop(tx);
            let tx = store.begin().expect("another worker");
            tx.put(table, 0, 7).expect("private until it commits");
            tx.put(table, 1, 7).expect("private until it commits");
            assert_eq!(reason(tx.commit()), Some(AbortReason::LockConflict), "{}", P::NAME);
        })?;
        assert_eq!(seen, [Some(10), Some(11), Some(12)], "{}", P::NAME);
        Ok(())
    }

    #[test]
    fn what_is_pending_is_locked() -> Result<(), TransactionError> {
        pending_is_locked::<Silo>()?;
        pending_is_locked::<TicToc>()
    }

    /// What an aborting transaction had installed is as if it had never been, also on a key that
    /// it inserts.
    fn an_abort_leaves_nothing<P: Protocol>() -> Result<(), TransactionError> {
        let store = Store::builder().shards(4).build_with::<P>()?;
        let table = store.table::<u64, u64>("numbers")?;
        store.transact(|tx| (0..4).try_for_each(|key| tx.put(&table, key, 10)))?;
        let reader = store.begin()?;
        assert_eq!(reader.get(&table, &0)?, Some(&10));
        assert_eq!(reader.get(&table, &9)?, None);
        for _ in 0..3 {
            let doomed = store.begin()?;
            assert_eq!(doomed.get(&table, &3)?, Some(&10));
            doomed.put(&table, 0, 99)?;
            doomed.put(&table, 9, 99)?;
            store.transact(|tx| tx.update(&table, &3, |value| value + 1).map(drop))?;
            // With times from the data it is the write to what it has read that dooms it.
            doomed.put(&table, 3, 99)?;
            assert_eq!(reason(doomed.commit()), Some(AbortReason::ReadValidation), "{}", P::NAME);
            store.transact(|tx| tx.put(&table, 3, 10))?;
        }
        let look = |tx: &crate::Transaction<'_, P>| {
            Ok((tx.get(&table, &0)?.copied(), tx.get(&table, &9)?.copied()))
        };
        assert_eq!(store.view(look)?, (Some(10), None), "{}", P::NAME);
        // A key whose insert was taken back can be inserted.
        assert!(store.transact(|tx| tx.insert(&table, 9, 1))?);
        assert_eq!(store.view(look)?, (Some(10), Some(1)), "{}", P::NAME);
        // Whoever had seen it absent cannot commit after that, with a write that comes after.
        reader.put(&table, 9, 2)?;
        assert!(reader.commit().is_err(), "{}", P::NAME);
        Ok(())
    }

    #[test]
    fn what_was_taken_back_never_was() -> Result<(), TransactionError> {
        an_abort_leaves_nothing::<Silo>()?;
        an_abort_leaves_nothing::<TicToc>()
    }

    /// An insert was taken back, somebody finds its record without a version, the record goes, and
    /// the key gets another one.
    fn a_record_without_a_version_goes<P: Protocol>() -> Result<(), TransactionError> {
        let store = Store::builder().build_with::<P>()?;
        let table = store.table::<u64, u64>("numbers")?;
        store.transact(|tx| tx.put(&table, 3, 10))?;
        let doomed = store.begin()?;
        doomed.get(&table, &3)?;
        doomed.put(&table, 9, 99)?;
        store.transact(|tx| tx.put(&table, 3, 11))?;
        doomed.put(&table, 3, 99)?;
        assert_eq!(reason(doomed.commit()), Some(AbortReason::ReadValidation), "{}", P::NAME);
        assert!(record_of(&store, &table, 9).is_some(), "{}: it stays for a while", P::NAME);
        let reader = store.begin()?;
        assert_eq!(reader.get(&table, &9)?, None, "{}", P::NAME);
        // Takes the other worker, so that what follows is a third one's, which visits both.
        let _idle = store.begin()?;
        let goes = (100..100_000).find(|key| {
            let come = store.transact(|tx| tx.put(&table, *key, 0));
            let go = store.transact(|tx| tx.remove(&table, key));
            assert_eq!((come, go), (Ok(()), Ok(true)));
            record_of(&store, &table, 9).is_none()
        });
        assert!(goes.is_some(), "{}: it never goes", P::NAME);
        store.transact(|tx| tx.put(&table, 9, 1))?;
        // A write to the key itself would fail on its own.
        reader.put(&table, 4, 4)?;
        assert_eq!(reason(reader.commit()), Some(AbortReason::ReadValidation), "{}", P::NAME);
        Ok(())
    }

    #[test]
    fn an_absence_ends_with_its_record() -> Result<(), TransactionError> {
        a_record_without_a_version_goes::<Silo>()?;
        a_record_without_a_version_goes::<TicToc>()
    }

    /// A record holds one version when nobody refers to the others any more.
    fn overwritten_versions_go<P: Protocol>() -> Result<(), TransactionError> {
        let store = Store::builder().build_with::<P>()?;
        let table = store.table::<u64, String>("texts")?;
        let text = |round: u64| format!("a text that is too long to lie inside, {round}");
        store.transact(|tx| tx.put(&table, 1, text(0)))?;
        let reader = store.begin()?;
        let seen = reader.get(&table, &1)?.expect("just written");
        for round in 0..10_000 {
            store.transact(|tx| tx.put(&table, 1, text(round)))?;
        }
        assert_eq!(*seen, text(0), "{}: it stays while it may be looked at", P::NAME);
        drop(reader);
        for round in 0..200 {
            store.transact(|tx| tx.put(&table, 1, text(round)))?;
        }
        let stats = store.stats();
        let kept = stats.versions_live + stats.versions_retired;
        assert!(kept < 500, "{}: {kept} versions of one record", P::NAME);
        Ok(())
    }

    #[test]
    fn a_record_keeps_one_version() -> Result<(), TransactionError> {
        overwritten_versions_go::<Silo>()?;
        overwritten_versions_go::<TicToc>()
    }
}
