//! `bamboo`: two-phase locking that lets others in before it commits, after Bamboo (Guo, Wu, Yan,
//! Yu: "Releasing Locks As Early As You Can: Reducing Contention of Hotspots by Violating Two-Phase
//! Locking", SIGMOD 2021).
//!
//! Locks are those of wound-wait: the older transaction wounds the younger, the younger one waits.
//! But a write *retires* as soon as its value is known: others read that value, and write on top of
//! it, while its transaction is still open. They commit after it, and if it fails they fail too.
//! The lock with its members, their order and their dependencies is in `retiring_lock.rs`.
//!
//! # Where a value lies before its transaction commits
//!
//! In the lock's list, not in the record's chain: the node of a retired writer points to its
//! version. A transaction installs when everybody it depends on has committed, so a chain never
//! has more than one undecided version, as under any other protocol, and there is nothing to take
//! out of the middle of one. The hook `written` of the trait says that a write has its value; the
//! entry's mark `shown` says that others may have seen it. Such a version is put away like one that
//! was overwritten: references to it last until every transaction has ended that was open then,
//! whatever became of its writer.
//!
//! # Departures
//!
//! * *Every write retires at once.* The paper retires a write when the program will not write the
//!   record again, which it finds by analysing the program, and keeps the last writes of a
//!   transaction, as nobody gains from those. A closure cannot be analysed. If it writes a key
//!   again, whoever may have used the first value fails, as in section 3.3 of the paper.
//! * *An older reader wounds a younger writer.* The paper's optimisations let it read the version
//!   before, and give timestamps at the first conflict only; here the age is that of the first
//!   attempt, so that no transaction starves.
//! * *Whoever finds a wounded writer waits until that has left*, instead of taking it out of the
//!   list. So the oldest transaction is not pulled down by one that it has wounded itself.
//! * *A shared lock can be upgraded.* The node moves behind the other readers.
//! * Absent keys, ranges, and the bound of each wait are those of `two_phase_locking.rs`.
//!
//! # Why the result is strictly serializable
//!
//! Let s(T) be the moment before the first validation of a transaction T that commits; it lies
//! between T's begin and its return. By then everybody that T depends on has committed and left the
//! lists, T's nodes are in the lists still, and its versions and records are installed.
//!
//! 1. *A record that both use, one of them writing.* If T came in first, U depends on T and does
//!    not reach s(U) before T has left: s(T) < s(U). What U found is the value of the last writer
//!    that came in before it, and if U commits that one has; if U only read, whoever wrote after
//!    it waits for U.
//! 2. *Keys without a record, ranges, records that go out of use*: as in `two_phase_locking.rs`, 2
//!    to 5, with this s. Others find an inserted record after its install, owned until the outcome.
//!
//! What a transaction sees that fails in the end need not be of one moment. Its closure's outcome
//! is not believed then: `commit::rehearse` waits for the same dependencies.

use super::access_set::{AbsentEntry, WriteKind};
use super::context::{Context, Core, Worker};
use super::lock_parts::{Locked, Mode};
use super::retiring_lock::{Lock, Nodes};
use super::{Conflict, Isolation, Progress, Protocol, Ranges, Reads, Step, single_version};
use crate::error::AbortReason;
use crate::limits::LOCK_WAIT_MAX_MS;
use crate::storage::Words;
use crate::storage::hash_index::Witness;
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::Version;
#[cfg(all(test, not(loom)))]
use crate::sync::fault::Fault;
use std::ops::Range;
use std::time::Duration;

const LOCK_WAIT_MAX: Duration = Duration::from_millis(LOCK_WAIT_MAX_MS);

/// Two-phase locking whose writes are seen before they commit (Guo, Wu, Yan, Yu: "Releasing Locks
/// As Early As You Can: Reducing Contention of Hotspots by Violating Two-Phase Locking", SIGMOD
/// 2021).
#[derive(Debug)]
pub struct Bamboo;

/// A lock in each record.
#[derive(Debug)]
pub struct RetiringWords;

impl Words for RetiringWords {
    type Record = Lock;
    type Version = ();
}

/// The locks of one open transaction.
#[derive(Debug, Default)]
pub struct Local {
    /// The node with a record's number stands in the list of that record's lock.
    nodes: Nodes,
    locked: Locked<RetiringWords>,
    /// The value that it found when it got the lock with that number (null: the key was absent).
    found: Vec<*mut Version<RetiringWords>>,
}

impl Local {
    /// Gets the lock of a record for the first time. Returns its number.
    fn acquire(
        &mut self,
        record: &Record<RetiringWords>,
        mode: Mode,
    ) -> Result<usize, AbortReason> {
        let number = self.locked.len();
        let shown = record.word.acquire(self.nodes.get(number), mode, LOCK_WAIT_MAX)?;
        self.locked.push(record);
        let shown = shown.cast::<Version<RetiringWords>>();
        // SAFETY: found under the latch by this pinned step; whatever becomes of its writer, it is
        // not freed before the step ends.
        self.found.push(match unsafe { shown.as_ref() } {
            Some(version) if version.is_tombstone() => std::ptr::null_mut(),
            Some(_) => shown,
            // Whoever writes the record from now on commits after this transaction has ended.
            None => single_version::present(record),
        });
        Ok(number)
    }

    /// Leaves every list; `failed` says that the transaction does not commit.
    fn release_all(&mut self, failed: bool) {
        let nodes = &mut self.nodes;
        self.locked.release_all(|number, record| record.word.release(nodes.get(number), failed));
        self.found.clear();
    }
}

type Cx<'a> = Context<'a, Bamboo>;

/// Gives up if this transaction is bound to fail.
#[inline]
fn heed_doom(cx: &Cx<'_>) -> Step<Bamboo, ()> {
    cx.worker.local.nodes.transaction().doom().map_or(Ok(()), |reason| Err(Conflict::new(reason)))
}

/// Waits until everybody has committed that this transaction depends on.
fn await_dependencies(cx: &Cx<'_>) -> Step<Bamboo, ()> {
    cx.worker.local.nodes.transaction().await_dependencies(LOCK_WAIT_MAX).map_err(Conflict::new)
}

/// Gets the lock of a record, or the one that it has into this mode. Returns its number, and
/// whether it is a new one.
#[inline]
fn lock(
    cx: &mut Cx<'_>,
    record: &Record<RetiringWords>,
    mode: Mode,
) -> Step<Bamboo, (usize, bool)> {
    heed_doom(cx)?;
    let refused = |reason| Conflict::at(reason, record);
    let local = &mut cx.worker.local;
    // A lock of our own is not free.
    let known = if record.word.is_free() { None } else { local.locked.find(record) };
    let Some(number) = known else {
        let number = local.acquire(record, mode).map_err(refused)?;
        return Ok((number, true));
    };
    let node = local.nodes.get(number);
    if mode == Mode::Exclusive && node.mode() == Mode::Shared {
        record.word.upgrade(node, LOCK_WAIT_MAX).map_err(refused)?;
    }
    Ok((number, false))
}

/// Owns a record, if that is in use. Returns the number of its lock.
#[inline]
fn lock_to_write(cx: &mut Cx<'_>, record: &Record<RetiringWords>) -> Step<Bamboo, usize> {
    let (number, _) = lock(cx, record, Mode::Exclusive)?;
    if record.head().is_dead() {
        return Err(Conflict::at(AbortReason::WriteConflict, record));
    }
    Ok(number)
}

/// Owns the record of a write (null: none), if that is in use.
#[inline]
fn lock_found(cx: &mut Cx<'_>, record: *const Record<RetiringWords>) -> Step<Bamboo, ()> {
    // SAFETY: found by this pinned step, or met before by this transaction.
    match unsafe { record.as_ref() } {
        Some(record) => lock_to_write(cx, record).map(|_| ()),
        // The record that is going to be made is locked before others can find it.
        None => Ok(()),
    }
}

#[allow(private_interfaces, reason = "see `Protocol`")]
impl Protocol for Bamboo {
    const NAME: &'static str = "bamboo";
    const SUMMARY: &'static str =
        "two-phase locking whose writes are seen before they commit; wound-wait (Bamboo)";
    const ISOLATION: Isolation = Isolation::Serializable;
    const STRICT: bool = true;
    const PROGRESS: Progress = Progress::Blocking;
    const READS: Reads = Reads::Newest;
    const VALIDATES_READ_ONLY: bool = true;
    const TAKES_LOCKS: bool = true;
    const RANGES: Ranges = Ranges::Validated;
    #[cfg(all(test, not(loom)))]
    const FAULTS: &'static [Fault] =
        &[Fault::SkipValidation, Fault::SkipRanges, Fault::IgnoreDependencies];

    type Words = RetiringWords;
    type Shared = ();
    type Local = Local;

    #[inline]
    fn begin(_core: &Core<Self>, worker: &mut Worker<Self>) -> Step<Self, ()> {
        worker.local.nodes.transaction().begin(worker.age, worker.id);
        Ok(())
    }

    #[inline]
    fn read(
        cx: &mut Cx<'_>,
        record: &Record<RetiringWords>,
        shard: u32,
    ) -> Step<Self, *mut Version<RetiringWords>> {
        let (number, new) = lock(cx, record, Mode::Shared)?;
        let version = cx.worker.local.found[number];
        single_version::note_read(cx, record, shard, version, new)?;
        Ok(version)
    }

    #[inline]
    fn read_base(
        cx: &mut Cx<'_>,
        record: &Record<RetiringWords>,
        _shard: u32,
    ) -> Step<Self, *mut Version<RetiringWords>> {
        let number = lock_to_write(cx, record)?;
        Ok(cx.worker.local.found[number])
    }

    #[inline]
    fn read_absent(
        cx: &mut Cx<'_>,
        table: &TableCore<RetiringWords>,
        witness: Witness<RetiringWords>,
        hash: u64,
        shard: u32,
    ) -> Step<Self, ()> {
        heed_doom(cx)?;
        cx.worker.access.absents.push(AbsentEntry { witness, table, hash, shard });
        Ok(())
    }

    #[inline]
    fn write(cx: &mut Cx<'_>, record: *mut Record<RetiringWords>, _shard: u32) -> Step<Self, ()> {
        lock_found(cx, record)
    }

    #[inline]
    fn written(cx: &mut Cx<'_>, index: usize) {
        let (write, local) = (&mut cx.worker.access.writes[index], &mut cx.worker.local);
        if write.kind == WriteKind::Insert {
            // Nobody else can find the record.
            return;
        }
        let number = local.locked.find(write.record).expect("a write has its lock");
        // SAFETY: the record of an open transaction's write is alive.
        unsafe { &*write.record }.word.retire(local.nodes.get(number), write.version.cast());
        write.shown = true;
    }

    fn prepare(cx: &mut Cx<'_>, writes: Range<usize>) -> Step<Self, ()> {
        await_dependencies(cx)?;
        for index in writes {
            let write = &cx.worker.access.writes[index];
            if write.kind == WriteKind::Insert {
                // SAFETY: the record is this transaction's own, and private.
                let record = unsafe { &*write.record };
                cx.worker.local.acquire(record, Mode::Exclusive).map_err(Conflict::new)?;
            }
            single_version::install(cx, index)?;
        }
        Ok(())
    }

    #[inline]
    fn draw(cx: &mut Cx<'_>) -> Step<Self, ()> {
        // One that only reads has prepared nothing.
        await_dependencies(cx)?;
        single_version::draw(cx);
        Ok(())
    }

    #[inline]
    fn validate(cx: &mut Cx<'_>, reads: Range<usize>, absents: Range<usize>) -> Step<Self, ()> {
        single_version::validate_absences(cx, reads, absents)
    }

    #[inline]
    fn finish(cx: &mut Cx<'_>) {
        single_version::stamp(cx);
        cx.worker.local.release_all(false);
    }

    fn abort(cx: &mut Cx<'_>) {
        single_version::take_back(cx);
        cx.worker.local.release_all(true);
    }

    #[inline]
    fn end(_core: &Core<Self>, worker: &mut Worker<Self>) {
        worker.local.release_all(true);
    }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Record<RetiringWords>>() == 24);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::error::{Abort, TransactionError};
    use crate::store::{Attempts, Store, Table};
    use crate::sync::fault::Armed;
    use std::sync::mpsc::channel;

    type Texts = Table<u64, String, Bamboo>;

    fn store_of(shards: usize) -> (Store<Bamboo>, Texts) {
        let store = Store::builder().shards(shards).build_with::<Bamboo>().expect("valid");
        let table: Texts = store.table("t").expect("a new table");
        let put_all = |tx: &crate::store::Transaction<'_, Bamboo>| {
            (0..4).try_for_each(|key| tx.put(&table, key, "first".into()))
        };
        store.transact(put_all).expect("alone");
        (store, table)
    }

    fn reason<T>(outcome: Result<T, TransactionError>) -> Option<AbortReason> {
        outcome.err()?.abort().map(Abort::reason)
    }

    fn is(text: &str) -> impl Fn(Result<Option<&String>, TransactionError>) -> bool + '_ {
        move |found| found.is_ok_and(|found| found.is_some_and(|found| found == text))
    }

    /// One writes, the other sees that and writes on top of it, a third one sees that. Returns how
    /// each of them ends, if the first one commits or not.
    fn chain_of_three(shards: usize, commits: bool) -> [Option<AbortReason>; 2] {
        let (store, table) = store_of(shards);
        let [one, two, three] = [(), (), ()].map(|()| store.begin().expect("room"));
        one.put(&table, 1, "one".into()).expect("free");
        assert!(is("one")(two.get(&table, &1)), "it is seen before it commits");
        two.update(&table, &1, |text| format!("{text} two")).expect("an upgrade");
        assert!(is("one two")(three.get(&table, &1)));
        assert!(is("first")(three.get(&table, &2)));
        if commits {
            one.commit().expect("it depends on nobody");
        } else {
            drop(one);
        }
        let ends = [reason(two.commit()), reason(three.commit())];
        let left = store.view(|tx| Ok(tx.get(&table, &1)?.cloned()));
        let expected = if commits { "one two" } else { "first" };
        assert_eq!(left.expect("alone").as_deref(), Some(expected));
        ends
    }

    #[test]
    fn whoever_saw_a_value_commits_after_it_or_not_at_all() {
        let _armed = Armed::new(None);
        for shards in [1, 4] {
            assert_eq!(chain_of_three(shards, true), [None; 2]);
            assert_eq!(chain_of_three(shards, false), [Some(AbortReason::CascadingAbort); 2]);
        }
    }

    /// The test above must be able to fail.
    #[test]
    #[should_panic = "assertion"]
    fn a_commit_before_its_dependencies_is_noticed() {
        let _armed = Armed::new(Some(Fault::IgnoreDependencies));
        assert_eq!(chain_of_three(1, false), [Some(AbortReason::CascadingAbort); 2]);
    }

    #[test]
    fn a_reader_waits_for_whom_it_depends_on() {
        let _armed = Armed::new(None);
        let (store, table) = store_of(4);
        let writer = store.begin().expect("room");
        writer.put(&table, 1, "late".into()).expect("free");
        let (sees, seen) = channel();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                store.view(|tx| {
                    let text = tx.get(&table, &1)?.cloned();
                    sees.send(()).expect("the test listens");
                    Ok(text)
                })
            });
            seen.recv().expect("it reads without waiting");
            std::thread::sleep(Duration::from_millis(20));
            assert!(!reader.is_finished(), "what it saw is not committed");
            writer.commit().expect("it depends on nobody");
            assert_eq!(reader.join().expect("no panic"), Ok(Some("late".into())));
        });
    }

    #[test]
    fn a_wait_for_a_transaction_of_the_same_thread_ends() {
        let _armed = Armed::new(None);
        let (store, table) = store_of(1);
        let writer = store.begin().expect("room");
        writer.put(&table, 1, "open".into()).expect("free");
        let reader = store.begin_view().expect("room");
        assert!(is("open")(reader.get(&table, &1)));
        assert_eq!(reason(reader.commit()), Some(AbortReason::LockTimeout));
        writer.commit().expect("it depends on nobody");
    }

    #[test]
    fn who_writes_again_pulls_down_those_who_saw_the_first_value() {
        let _armed = Armed::new(None);
        let (store, table) = store_of(1);
        let [writer, early, late] = [(), (), ()].map(|()| store.begin().expect("room"));
        writer.put(&table, 1, "draft".into()).expect("free");
        let draft = early.get(&table, &1).expect("it is shown").expect("present");
        writer.put(&table, 1, "final".into()).expect("its own");
        assert!(is("final")(late.get(&table, &1)));
        assert_eq!(reason(early.get(&table, &2)), Some(AbortReason::CascadingAbort));
        writer.commit().expect("it depends on nobody");
        late.commit().expect("what it saw is committed");
        assert_eq!(draft, "draft", "a reference lasts as long as its transaction");
    }

    #[test]
    fn a_reference_outlives_the_failure_of_its_writer() {
        let _armed = Armed::new(None);
        let (store, table) = store_of(1);
        for fails_at_commit in [false, true] {
            let [writer, reader] = [(), ()].map(|()| store.begin().expect("room"));
            // An absence that the writer depends on, and that ends.
            assert_eq!(writer.get(&table, &100), Ok(None));
            writer.put(&table, 1, "in vain".into()).expect("free");
            let seen = reader.get(&table, &1).expect("it is shown").expect("present");
            if fails_at_commit {
                store.transact(|tx| tx.put(&table, 100, "here".into())).expect("alone");
                assert_eq!(reason(writer.commit()), Some(AbortReason::ReadValidation));
            } else {
                drop(writer);
            }
            for round in 0..2_000u64 {
                store.transact(|tx| tx.put(&table, 2, round.to_string())).expect("alone");
            }
            assert_eq!(seen, "in vain");
            assert_eq!(reason(reader.commit()), Some(AbortReason::CascadingAbort));
        }
    }

    #[test]
    fn a_closure_that_gave_up_for_a_value_in_vain_is_run_again() {
        let _armed = Armed::new(None);
        let (store, table) = store_of(1);
        let mut writer = Some(store.begin().expect("room"));
        let other = writer.as_ref().expect("it is open");
        other.put(&table, 1, "in vain".into()).expect("free");
        let mut attempts = Attempts::default();
        let outcome = store.transact_observed(&mut attempts, |tx| {
            let text = tx.get(&table, &1)?.cloned();
            if text.as_deref() == Some("in vain") {
                writer.take();
                return Err(tx.rollback());
            }
            Ok(text)
        });
        assert_eq!(outcome, Ok(Some("first".into())));
        assert_eq!(attempts.attempts, 2);
        assert_eq!(attempts.aborts[AbortReason::CascadingAbort.index()], 1);
    }

    #[test]
    fn what_rollbacks_have_shown_does_not_pile_up() {
        let _armed = Armed::new(None);
        let (store, table) = store_of(1);
        for round in 0..10_000u64 {
            let tx = store.begin().expect("room");
            tx.put(&table, 1, round.to_string()).expect("alone");
            drop(tx);
        }
        let stats = store.stats();
        assert!(stats.versions_live + stats.versions_retired < 1_000, "{stats:?}");
    }
}
