//! Models of the optimistic single-version protocols: a pending version as a lock, validation
//! against installs, the words of `tictoc`. As in `models.rs`, with broken twins.

use super::models::{Node, node, record_of, value};
use super::optimistic::{begin, is_head, newest, set_pending};
use super::silo::SiloWords;
use super::tictoc::{Absences, Lifetime};
use crate::storage::hash_index::{HashIndex, Inserted, Lookup};
use crate::storage::record::{Head, Record};
use crate::storage::version::Version;
use crate::storage::{NoWords, Words};
use crate::sync::fault::{self, Armed, Fault};
use loom::sync::Arc;

fn bounded(model: impl Fn() + Sync + Send + 'static) {
    let mut bounds = loom::model::Builder::new();
    bounds.preemption_bound = Some(3);
    bounds.check(model);
}

/// Installs a pending version; `None` if another one is there.
fn install<W: Words>(record: &Record<W>, value: u64) -> Option<*mut Version<W>> {
    // SAFETY: nothing is freed in a model.
    let (head, _) = unsafe { newest(record, 0) }.ok()?;
    let new = node::<W>(0);
    // SAFETY: leaked in `node`, and private.
    unsafe {
        (*new.cast::<Node<W>>()).value.with_mut(|place| *place = value);
        set_pending(&*new);
        (*new).set_older(head.version());
    }
    record.exchange(head, Head::new(new, false)).ok().map(|()| new)
}

fn take_back<W: Words>(record: &Record<W>, version: *mut Version<W>) {
    // SAFETY: leaked in `node`.
    let base = unsafe { (*version).older() };
    record.exchange(record.head(), Head::new(base, false)).expect("we have locked it");
}

fn publish<W: Words>(version: *mut Version<W>, word: impl Fn(&W::Version)) {
    // SAFETY: leaked in `node`.
    let version = unsafe { &*version };
    version.set_older(std::ptr::null_mut());
    begin(version, 2, word);
}

/// One transaction aborts after it has installed, the next one commits; a reader sees what was
/// there or what was committed, under its number.
fn read_against_install() {
    bounded(|| {
        let record = Arc::new(record_of::<SiloWords>(10));
        let writer = {
            let record = record.clone();
            loom::thread::spawn(move || {
                let aborted = install(&record, 99).expect("the only writer");
                take_back(&record, aborted);
                let version = install(&record, 11).expect("the only writer");
                publish(version, |number| number.set(7));
            })
        };
        // Without this, loom tries the loads before the installs only.
        loom::thread::yield_now();
        // SAFETY: nothing is freed in a model.
        if let Ok((head, _)) = unsafe { newest(&record, 0) } {
            // SAFETY: as above.
            let number = unsafe { (*head.version()).word.get() };
            let seen = (value(head.version()), number);
            assert!(matches!(seen, (10, 0) | (11, 7)), "read {seen:?}, which was not committed");
        }
        writer.join().expect("no assertion there");
    });
}

#[test]
fn loom_a_reader_takes_committed_versions_only() {
    let _armed = Armed::new(None);
    read_against_install();
}

#[test]
#[should_panic(expected = "which was not committed")]
fn loom_reading_a_pending_version_is_caught() {
    let _armed = Armed::new(Some(Fault::ReadPending));
    read_against_install();
}

/// Loom reports the unsynchronised access to the value itself.
#[test]
#[should_panic(expected = "Causality violation")]
fn loom_locking_without_release_is_caught() {
    let _armed = Armed::new(Some(Fault::PublishRelaxed));
    read_against_install();
}

fn validates<W: Words>(record: &Record<W>, seen: *mut Version<W>) -> bool {
    fault::on(Fault::SkipValidation) || is_head(record, seen)
}

/// Reads one record and writes the other; true if it commits.
fn skew(mine: &Record<NoWords>, other: &Record<NoWords>) -> bool {
    // SAFETY: nothing is freed in a model.
    let Ok((seen, _)) = (unsafe { newest(other, 0) }) else { return false };
    // The other one has committed before.
    if value(seen.version()) != 0 {
        return false;
    }
    let Some(version) = install(mine, 1) else { return false };
    let valid = validates(other, seen.version());
    if valid {
        publish(version, |()| {})
    } else {
        take_back(mine, version)
    }
    valid
}

/// Two transactions each read what the other writes: not both may commit on what they read.
fn write_skew() {
    bounded(|| {
        let records = Arc::new([record_of(0), record_of(0)]);
        let other = {
            let records = records.clone();
            loom::thread::spawn(move || skew(&records[0], &records[1]))
        };
        let mine = skew(&records[1], &records[0]);
        let theirs = other.join().expect("no assertion there");
        assert!(!(mine && theirs), "both committed on what the other overwrote");
    });
}

#[test]
fn loom_of_two_that_lock_and_validate_one_gives_way() {
    let _armed = Armed::new(None);
    write_skew();
}

#[test]
#[should_panic(expected = "both committed")]
fn loom_not_validating_is_caught() {
    let _armed = Armed::new(Some(Fault::SkipValidation));
    write_skew();
}

#[test]
#[should_panic(expected = "both committed")]
fn loom_locking_out_of_order_is_caught() {
    let _armed = Armed::new(Some(Fault::InstallUnordered));
    write_skew();
}

/// A transaction writes two records; a reader that validates has seen both writes or neither.
fn all_or_nothing() {
    bounded(|| {
        let records = Arc::new([record_of::<NoWords>(10), record_of(20)]);
        let writer = {
            let records = records.clone();
            loom::thread::spawn(move || {
                let first = install(&records[0], 11).expect("the only writer");
                let second = install(&records[1], 21).expect("the only writer");
                publish(first, |()| {});
                publish(second, |()| {});
            })
        };
        let read = |place: usize| {
            // As above.
            loom::thread::yield_now();
            // SAFETY: nothing is freed in a model.
            unsafe { newest(&records[place], 0) }.ok()
        };
        if let (Some((first, _)), Some((second, _))) = (read(0), read(1)) {
            let (first, second) = (first.version(), second.version());
            if validates(&records[0], first) && validates(&records[1], second) {
                let seen = (value(first), value(second));
                assert!(matches!(seen, (10, 20) | (11, 21)), "torn reading {seen:?}");
            }
        }
        writer.join().expect("no assertion there");
    });
}

#[test]
fn loom_a_validated_reader_sees_all_of_a_transaction_or_nothing() {
    let _armed = Armed::new(None);
    all_or_nothing();
}

#[test]
#[should_panic(expected = "torn reading")]
fn loom_a_reader_that_does_not_validate_is_caught() {
    let _armed = Armed::new(Some(Fault::SkipValidation));
    all_or_nothing();
}

/// When the readers of these models commit.
const READ_AT: u64 = 5;

/// A reader extends a version's life to its own time while a writer ends it.
fn extend_against_lock() {
    bounded(|| {
        let version: Arc<Lifetime> = Arc::default();
        let writer = {
            let version = version.clone();
            loom::thread::spawn(move || {
                version.lock();
                let written = version.next_write();
                version.overwritten_at(written);
                written
            })
        };
        let read = version.extend(READ_AT);
        let written = writer.join().expect("no assertion there");
        assert!(!read || written > READ_AT, "read at {READ_AT}, overwritten at {written}");
    });
}

#[test]
fn loom_a_version_is_overwritten_after_its_readers() {
    let _armed = Armed::new(None);
    extend_against_lock();
}

#[test]
#[should_panic(expected = "overwritten at")]
fn loom_extending_a_locked_version_is_caught() {
    let _armed = Armed::new(Some(Fault::ExtendLocked));
    extend_against_lock();
}

/// A reader validates that a key has no record while another transaction inserts it.
fn absence_against_insert() {
    bounded(|| {
        let index: &HashIndex<NoWords> = Box::leak(Box::new(HashIndex::new().expect("memory")));
        let Lookup::Absent(witness): Lookup<NoWords> = index.find(0, |_| true) else {
            unreachable!("it is empty");
        };

        let absences: Arc<Absences> = Arc::default();
        let writer = {
            let absences = absences.clone();
            loom::thread::spawn(move || {
                let record = Box::into_raw(Box::new(record_of::<NoWords>(1)));
                let inserted = index.insert(record, 0, |_| true, &mut |old| std::mem::forget(old));
                assert_eq!(inserted, Inserted::Yes);
                absences.of_key(0) + 1
            })
        };
        absences.raise_key(0, READ_AT);
        let absent = HashIndex::still_absent(&witness, 0, |_| false);
        let written = writer.join().expect("no assertion there");
        assert!(!absent || written > READ_AT, "absent at {READ_AT}, inserted at {written}");
    });
}

#[test]
fn loom_a_key_is_inserted_after_the_readers_of_its_absence() {
    let _armed = Armed::new(None);
    absence_against_insert();
}

#[test]
#[should_panic(expected = "inserted at")]
fn loom_not_raising_the_absence_is_caught() {
    let _armed = Armed::new(Some(Fault::AbsenceUnraised));
    absence_against_insert();
}

/// The same for a record whose version says that the key is absent.
fn absence_against_install() {
    bounded(|| {
        let record = Arc::new(record_of::<NoWords>(0));
        let absences: Arc<Absences> = Arc::default();
        let tombstone = record.head().version();
        let writer = {
            let (record, absences) = (record.clone(), absences.clone());
            loom::thread::spawn(move || {
                install(&record, 1).expect("the only writer");
                absences.of_key(0) + 1
            })
        };
        absences.raise_key(0, READ_AT);
        let absent = is_head(&record, tombstone);
        let written = writer.join().expect("no assertion there");
        assert!(!absent || written > READ_AT, "absent at {READ_AT}, written at {written}");
    });
}

#[test]
fn loom_an_absence_is_overwritten_after_its_readers() {
    let _armed = Armed::new(None);
    absence_against_install();
}

#[test]
#[should_panic(expected = "written at")]
fn loom_not_raising_the_absence_of_a_record_is_caught() {
    let _armed = Armed::new(Some(Fault::AbsenceUnraised));
    absence_against_install();
}
