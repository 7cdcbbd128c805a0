//! Models of the version chain and the decision word, over the code that ships. Run with
//! `RUSTFLAGS="--cfg loom" cargo test --lib --release --no-default-features loom`.
//!
//! A model has two threads and a handful of operations; loom tries every interleaving and every
//! value that a load may return. Each has a twin in which one ordering or one step is broken on
//! purpose, and which must fail. Memory is leaked: grace periods are not what is modelled here.

use super::multi_version::still_newest;
use crate::storage::decision::{Decision, Refusal};
use crate::storage::record::{Head, Record};
use crate::storage::version::{Version, visible_at};
use crate::storage::{NoWords, Words};
use crate::sync::fault::{self, Armed, Fault};
use crate::sync::{AtomicU64, Ordering, model_fence};
use loom::cell::UnsafeCell;
use loom::sync::Arc;

/// A version and its value, as they lie in a block.
#[repr(C)]
pub(super) struct Node<W: Words> {
    version: Version<W>,
    pub(super) value: UnsafeCell<u64>,
}

pub(super) fn node<W: Words>(value: u64) -> *mut Version<W> {
    let node: Node<W> = Node { version: Version::new(0, 0, 0), value: UnsafeCell::new(value) };
    Box::into_raw(Box::new(node)).cast()
}

pub(super) fn value<W: Words>(version: *mut Version<W>) -> u64 {
    // SAFETY: every version of a model is a leaked `Node`.
    unsafe { (*version.cast::<Node<W>>()).value.with(|value| *value) }
}

/// A record with one version, committed at 1.
pub(super) fn record_of<W: Words>(first: u64) -> Record<W> {
    let version = node::<W>(first);
    // SAFETY: leaked just above.
    unsafe { (*version).set_begin(1) };
    Record::new(version, 0, 0, 0)
}

/// A clock as `Clock::Counter` is one.
struct Ticks(AtomicU64);

impl Ticks {
    fn snapshot(&self) -> u64 {
        model_fence();
        // SeqCst: as in `Clock::snapshot`.
        self.0.load(Ordering::SeqCst) + 1
    }

    fn commit(&self) -> u64 {
        // Relaxed with the fault on, because even this operation would put the install in order.
        if fault::on(Fault::InstallUnordered) {
            return self.0.fetch_add(2, Ordering::Relaxed) + 2;
        }
        // SeqCst: as in `Clock::commit`.
        let drawn = self.0.fetch_add(2, Ordering::SeqCst) + 2;
        model_fence();
        drawn
    }
}

fn install(record: &Record<NoWords>, value: u64, decision: *const Decision) {
    let (new, head) = (node::<NoWords>(0), record.head());
    // SAFETY: leaked in `node`.
    unsafe {
        (*new.cast::<Node<NoWords>>()).value.with_mut(|place| *place = value);
        (*new).set_writer(decision);
        (*new).set_older(head.version());
    }
    record.exchange(head, Head::new(new, false)).expect("the only writer of this record");
}

fn read(record: &Record<NoWords>, snapshot: u64) -> u64 {
    let mut newest = true;
    // SAFETY: nothing is freed in a model.
    value(unsafe { visible_at(record.head().version(), snapshot, &mut newest) })
}

fn decision() -> &'static Decision {
    Box::leak(Box::new(Decision::new(0)))
}

/// One thread installs a value that it has just written; the other reads it.
fn publish() {
    loom::model(|| {
        let record = Arc::new(record_of(10));
        let writer = {
            let record = record.clone();
            loom::thread::spawn(move || {
                let decision = decision();
                install(&record, 11, decision);
            })
        };
        // Without this, loom tries the load before the install only.
        loom::thread::yield_now();
        let head = record.head().version();
        assert!(matches!(value(head), 10 | 11));
        writer.join().expect("no assertion there");
    });
}

#[test]
fn loom_an_installed_version_is_whole() {
    let _armed = Armed::new(None);
    publish();
}

/// Loom reports the unsynchronised access to the value itself.
#[test]
#[should_panic]
fn loom_publishing_without_release_is_caught() {
    let _armed = Armed::new(Some(Fault::PublishRelaxed));
    publish();
}

/// A transaction writes two records; a snapshot sees both writes or neither.
fn all_or_nothing() {
    let mut bounds = loom::model::Builder::new();
    bounds.preemption_bound = Some(3);
    bounds.check(|| {
        let records = Arc::new([record_of(10), record_of(20)]);
        let clock = Arc::new(Ticks(AtomicU64::new(2)));
        let writer = {
            let (records, clock) = (records.clone(), clock.clone());
            loom::thread::spawn(move || {
                let decision = decision();
                install(&records[0], 11, decision);
                install(&records[1], 21, decision);
                for _ in 0..3 {
                    match decision.commit(clock.commit()) {
                        Ok(()) => return,
                        Err(Refusal::Floor) => {}
                        Err(Refusal::Aborted) => panic!("nobody aborts here"),
                    }
                }
            })
        };
        let snapshot = clock.snapshot();
        let seen = (read(&records[0], snapshot), read(&records[1], snapshot));
        assert!(matches!(seen, (10, 20) | (11, 21)), "torn snapshot {seen:?}");
        // A snapshot does not change its mind either.
        assert_eq!(read(&records[0], snapshot), seen.0, "torn snapshot");
        writer.join().expect("no assertion there");
    });
}

#[test]
fn loom_a_snapshot_sees_all_of_a_transaction_or_nothing() {
    let _armed = Armed::new(None);
    all_or_nothing();
}

#[test]
#[should_panic(expected = "torn snapshot")]
fn loom_committing_below_the_floor_is_caught() {
    let _armed = Armed::new(Some(Fault::IgnoreFloor));
    all_or_nothing();
}

/// Reads one record and writes the other; true if it commits.
fn skew(mine: &Record<NoWords>, other: &Record<NoWords>, clock: &Ticks) -> bool {
    let seen = other.head().version();
    // SAFETY: nothing is freed in a model. An undecided head means that the other one was faster.
    if seen != other.head().version() || unsafe { (*seen).older() } != std::ptr::null_mut() {
        return false;
    }
    let decision = decision();
    install(mine, 1, decision);
    let commit = clock.commit();
    // SAFETY: nothing is freed in a model.
    let unchanged = unsafe { still_newest(other, seen, commit, decision) };
    (unchanged || fault::on(Fault::SkipValidation)) && decision.commit(commit).is_ok()
}

/// Two transactions each read what the other writes: not both may commit on what they read.
fn write_skew() {
    let mut bounds = loom::model::Builder::new();
    bounds.preemption_bound = Some(3);
    bounds.check(|| {
        let records = Arc::new([record_of(0), record_of(0)]);
        let clock = Arc::new(Ticks(AtomicU64::new(2)));
        let other = {
            let (records, clock) = (records.clone(), clock.clone());
            loom::thread::spawn(move || skew(&records[0], &records[1], &clock))
        };
        let mine = skew(&records[1], &records[0], &clock);
        let theirs = other.join().expect("no assertion there");
        assert!(!(mine && theirs), "both committed on what the other overwrote");
    });
}

#[test]
fn loom_of_two_that_pass_each_other_one_gives_way() {
    let _armed = Armed::new(None);
    write_skew();
}

#[test]
#[should_panic(expected = "both committed")]
fn loom_skipping_validation_is_caught() {
    let _armed = Armed::new(Some(Fault::SkipValidation));
    write_skew();
}

#[test]
#[should_panic(expected = "both committed")]
fn loom_installing_out_of_order_is_caught() {
    let _armed = Armed::new(Some(Fault::InstallUnordered));
    write_skew();
}
