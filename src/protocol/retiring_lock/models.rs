//! Models of the lock with early release: every interleaving, within bounds, of two transactions.

use super::*;
use crate::sync::fault::Armed;
use loom::cell::UnsafeCell;

const AGES: Duration = Duration::MAX;

/// A record: the value that its writer shows, and the one that is committed. Loom sees it if
/// two touch one at once, or without having synchronised.
struct Guarded {
    lock: Lock,
    shown: UnsafeCell<u64>,
    committed: UnsafeCell<u64>,
}

fn read(cell: &UnsafeCell<u64>) -> u64 {
    // SAFETY: loom checks it.
    cell.with(|value| unsafe { *value })
}

fn write(cell: &UnsafeCell<u64>, new: u64) {
    // SAFETY: loom checks it.
    cell.with_mut(|value| unsafe { *value = new });
}

fn nodes(age: u64) -> Nodes {
    let nodes = Nodes::default();
    nodes.transaction().begin(age, age);
    nodes
}

fn check(model: impl Fn() + Sync + Send + 'static) {
    let mut bounds = loom::model::Builder::new();
    bounds.preemption_bound = Some(3);
    bounds.check(model);
}

/// The older one writes, shows that, and commits or fails; the other one reads. If it may
/// commit, what it has read is committed.
fn writer_and_reader(fails: bool) {
    check(move || {
        let guarded = loom::sync::Arc::new(Guarded {
            lock: Lock::default(),
            shown: UnsafeCell::new(0),
            committed: UnsafeCell::new(0),
        });
        let writer = {
            let guarded = guarded.clone();
            loom::thread::spawn(move || {
                let mut nodes = nodes(0);
                let got = guarded.lock.acquire(nodes.get(0), Mode::Exclusive, AGES);
                assert!(got.is_ok(), "it is the older one");
                write(&guarded.shown, 7);
                let something = std::ptr::without_provenance_mut(16);
                guarded.lock.retire(nodes.get(0), something);
                assert_eq!(nodes.transaction().await_dependencies(AGES), Ok(()));
                if !fails {
                    write(&guarded.committed, 7);
                }
                guarded.lock.release(nodes.get(0), fails);
            })
        };
        let mut nodes = nodes(1);
        // The older one may wound it, whether it has come in or not.
        if let Ok(shown) = guarded.lock.acquire(nodes.get(0), Mode::Shared, AGES) {
            let dirty = !shown.is_null();
            let seen = read(if dirty { &guarded.shown } else { &guarded.committed });
            if nodes.transaction().await_dependencies(AGES).is_ok() {
                assert_eq!(read(&guarded.committed), seen, "it is committed");
            }
            guarded.lock.release(nodes.get(0), true);
        }
        writer.join().expect("no assertion there");
        assert!(guarded.lock.is_free());
    });
}

#[test]
fn loom_what_is_read_early_is_committed_before_its_reader() {
    let _armed = Armed::new(None);
    writer_and_reader(false);
    writer_and_reader(true);
}

#[test]
#[should_panic(expected = "it is committed")]
fn loom_a_commit_before_its_dependencies_is_caught() {
    let _armed = Armed::new(Some(Fault::IgnoreDependencies));
    writer_and_reader(true);
}

/// Loom reports the unsynchronised access to what is shown.
#[test]
#[should_panic(expected = "Causality violation")]
fn loom_unlatching_without_release_is_caught() {
    let _armed = Armed::new(Some(Fault::UnlockRelaxed));
    writer_and_reader(false);
}

/// Both read, and add one to what they have read: the young one gives up, or was through
/// before; nothing is lost.
fn two_upgrades() {
    check(|| {
        let lock = loom::sync::Arc::new(Lock::default());
        let value = loom::sync::Arc::new(UnsafeCell::new(0));
        let add = |age: u64, lock: &Lock, value: &UnsafeCell<u64>| {
            let mut nodes = nodes(age);
            let Ok(shown) = lock.acquire(nodes.get(0), Mode::Shared, AGES) else {
                return 0;
            };
            let seen = if shown.is_null() { read(value) } else { shown.addr() as u64 / 16 };
            let new = seen + 1;
            let added = lock.upgrade(nodes.get(0), AGES).and_then(|()| {
                let shown = std::ptr::without_provenance_mut(new as usize * 16);
                lock.retire(nodes.get(0), shown);
                nodes.transaction().await_dependencies(AGES)
            });
            if added.is_ok() {
                write(value, new);
            }
            lock.release(nodes.get(0), added.is_err());
            u64::from(added.is_ok())
        };
        let young = {
            let (lock, value) = (lock.clone(), value.clone());
            loom::thread::spawn(move || add(1, &lock, &value))
        };
        let old = add(0, &lock, &value);
        let young = young.join().expect("no assertion there");
        assert_eq!(old, 1, "the oldest one goes through");
        assert_eq!(read(&value), old + young, "an addition is lost");
        assert!(lock.is_free());
    });
}

#[test]
fn loom_of_two_upgrades_none_is_lost() {
    let _armed = Armed::new(None);
    two_upgrades();
}

/// One of them adds to what the other has overwritten.
#[test]
#[should_panic(expected = "an addition is lost")]
fn loom_granting_whoever_is_in_is_caught() {
    let _armed = Armed::new(Some(Fault::GrantUnchecked));
    two_upgrades();
}
