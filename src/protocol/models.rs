//! Models of the version chain and the decision word, over the code that ships. Run with
//! `RUSTFLAGS="--cfg loom" cargo test --lib --release --no-default-features loom`.
//!
//! A model has two threads and a handful of operations; loom tries every interleaving and every
//! value that a load may return. Each has a twin in which one ordering or one step is broken on
//! purpose, and which must fail. Memory is leaked: grace periods are not what is modelled here.

use super::multi_version::{Above, above, still_newest};
use super::mvto::{MvtoWords, Stamped, is_above_readers, leave_stamp};
use super::ssn::{Certificate, SsnWords, new_floor};
use super::stamps::{self, lower, raise};
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

fn install<W: Words>(record: &Record<W>, value: u64, decision: *const Decision) {
    let (new, head) = (node::<W>(0), record.head());
    // SAFETY: leaked in `node`.
    unsafe {
        (*new.cast::<Node<W>>()).value.with_mut(|place| *place = value);
        (*new).set_writer(decision);
        (*new).set_older(head.version());
    }
    record.exchange(head, Head::new(new, false)).expect("the only writer of this record");
}

fn read(record: &Record<NoWords>, snapshot: u64) -> u64 {
    // SAFETY: nothing is freed in a model.
    value(unsafe { visible_at(record.head().version(), snapshot) }.0)
}

fn decision() -> &'static Decision {
    Box::leak(Box::new(Decision::new(0, 0)))
}

/// One thread installs a value that it has just written; the other reads it.
fn publish() {
    loom::model(|| {
        let record = Arc::new(record_of::<NoWords>(10));
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
#[should_panic(expected = "Causality violation")]
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

/// A record that every thread of a model may keep a reference to.
fn leaked_record<W: Words>() -> &'static Record<W> {
    Box::leak(Box::new(record_of(0)))
}

/// As `ssn` does it: reads one record and writes the other; true if it commits.
fn certified_skew(
    mine: &Record<SsnWords>,
    other: &Record<SsnWords>,
    (base, seen): (*mut Version<SsnWords>, *mut Version<SsnWords>),
    clock: &Ticks,
) -> bool {
    let (decision, mut certificate) = (decision(), Certificate::default());
    install(mine, 1, decision);
    for _ in 0..4 {
        let mut commit = clock.commit();
        while certificate.has_to_redraw(commit) || decision.floor() >= commit {
            commit = clock.commit();
        }
        // SAFETY: nothing is freed in a model.
        let (base, seen_stamps) = unsafe { (&(*base).word, &(*seen).word) };
        certificate.comes_after(stamps::seen(&base.readers));
        raise(&seen_stamps.readers, commit);
        let floor = || new_floor(commit, || clock.commit());
        // SAFETY: nothing is freed in a model.
        match unsafe { above(other, seen, floor) } {
            Above::Nothing => {}
            Above::Committed(begin) => certificate.was_overwritten(seen_stamps, begin, commit),
            Above::Gone | Above::Dead => unreachable!("nothing is pruned in this model"),
        }
        if certificate.has_to_redraw(commit) {
            continue;
        }
        let Some(pi) = certificate.pi(commit) else { break };
        lower(&base.successor, pi);
        match decision.commit(commit) {
            Ok(()) => return true,
            Err(Refusal::Floor) => {}
            Err(Refusal::Aborted) => break,
        }
    }
    decision.abort();
    false
}

/// Two transactions with one snapshot each read what the other writes: not both may commit.
fn certified_write_skew() {
    let mut bounds = loom::model::Builder::new();
    bounds.preemption_bound = Some(3);
    bounds.check(|| {
        let records: [&'static Record<SsnWords>; 2] = [leaked_record(), leaked_record()];
        let first = records.map(|record| record.head().version());
        let places = [(first[0], first[1]), (first[1], first[0])];
        let there = (places[0].0 as usize, places[0].1 as usize);
        let clock = Arc::new(Ticks(AtomicU64::new(2)));
        let other = {
            let clock = clock.clone();
            loom::thread::spawn(move || {
                let there = (there.0 as *mut _, there.1 as *mut _);
                certified_skew(records[0], records[1], there, &clock)
            })
        };
        let mine = certified_skew(records[1], records[0], places[1], &clock);
        let theirs = other.join().expect("no assertion there");
        assert!(!(mine && theirs), "both committed on what the other overwrote");
    });
}

#[test]
fn loom_the_net_lets_no_cycle_close() {
    let _armed = Armed::new(None);
    certified_write_skew();
}

/// The floor has to be drawn after the look at the stamps that it makes void.
#[test]
#[should_panic(expected = "both committed")]
fn loom_a_floor_at_the_readers_timestamp_is_caught() {
    let _armed = Armed::new(Some(Fault::FloorAtCommit));
    certified_write_skew();
}

/// As `mvto` does it: one transaction writes at 4, another one reads at 6.
fn timestamp_order() {
    const WRITER: u64 = 4;
    const READER: u64 = 6;
    loom::model(|| {
        let record: &'static Record<MvtoWords> = leaked_record();
        let first = record.head().version();
        let address = first as usize;
        let writer = loom::thread::spawn(move || {
            let decision: &'static Decision = Box::leak(Box::new(Decision::new(0, WRITER - 1)));
            install(record, 1, decision);
            // SAFETY: nothing is freed in a model.
            let stamp = unsafe { &(*(address as *mut Version<MvtoWords>)).word };
            let commits =
                is_above_readers(stamp, WRITER, || false) && decision.commit(WRITER).is_ok();
            if !commits {
                decision.abort();
            }
            commits
        });
        let read = loop {
            // SAFETY: nothing is freed in a model.
            let (found, _) = unsafe { visible_at(record.head().version(), READER) };
            // SAFETY: as above.
            let stamp = unsafe { &(*found).word };
            // SAFETY: as above.
            match unsafe { leave_stamp(record, found, stamp, READER, || false) } {
                Stamped::Final => break found,
                Stamped::Overtaken => {}
                Stamped::Conflict => panic!("nobody else has this timestamp"),
            }
        };
        let committed = writer.join().expect("no assertion there");
        assert_eq!(read != first, committed, "a write came under a later read");
    });
}

#[test]
fn loom_nothing_is_committed_under_a_later_read() {
    let _armed = Armed::new(None);
    timestamp_order();
}

#[test]
#[should_panic(expected = "a write came under a later read")]
fn loom_a_stamp_left_after_the_look_is_caught() {
    let _armed = Armed::new(Some(Fault::StampLate));
    timestamp_order();
}
