//! Models of the lock of a record: every interleaving, within bounds, of what two or three threads
//! do.

use super::*;
use crate::protocol::{no_wait::Refuse, wound_wait::Wound};
use crate::sync::fault::Armed;
use loom::cell::UnsafeCell;

const AGES: Duration = Duration::MAX;

/// What the lock protects: loom sees it if two touch it at once, or without having
/// synchronised.
struct Guarded {
    lock: Lock,
    value: UnsafeCell<u64>,
}

impl Guarded {
    fn new() -> loom::sync::Arc<Self> {
        loom::sync::Arc::new(Guarded { lock: Lock::default(), value: UnsafeCell::new(0) })
    }

    fn read(&self) -> u64 {
        // SAFETY: loom checks it.
        self.value.with(|value| unsafe { *value })
    }

    fn add(&self) {
        // SAFETY: loom checks it.
        self.value.with_mut(|value| unsafe { *value += 1 });
    }
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

/// One owns, the other owns or shares: whoever gets the lock finds what the other did, or
/// nothing of it.
fn two_owners(mode: Mode) {
    check(move || {
        let guarded = Guarded::new();
        let other = {
            let guarded = guarded.clone();
            loom::thread::spawn(move || {
                let mut nodes = nodes(1);
                let got = guarded.lock.acquire::<Refuse>(nodes.get(0), mode, AGES).is_ok();
                if got && mode == Mode::Exclusive {
                    guarded.add();
                } else if got {
                    guarded.read();
                }
                if got {
                    guarded.lock.release(nodes.get(0));
                }
                got && mode == Mode::Exclusive
            })
        };
        let mut nodes = nodes(0);
        let mine = guarded.lock.acquire::<Refuse>(nodes.get(0), Mode::Exclusive, AGES).is_ok();
        if mine {
            guarded.add();
            guarded.lock.release(nodes.get(0));
        }
        let theirs = other.join().expect("no assertion there");
        assert!(guarded.lock.is_free());
        assert_eq!(guarded.read(), u64::from(mine) + u64::from(theirs));
    });
}

#[test]
fn loom_owners_of_a_lock_are_alone() {
    let _armed = Armed::new(None);
    two_owners(Mode::Exclusive);
    two_owners(Mode::Shared);
}

/// Loom reports the unsynchronised access to the value.
#[test]
#[should_panic(expected = "Causality violation")]
fn loom_unlocking_without_release_is_caught() {
    let _armed = Armed::new(Some(Fault::UnlockRelaxed));
    two_owners(Mode::Exclusive);
}

/// Loom reports the access to the value from two threads at once.
#[test]
#[should_panic(expected = "Causality violation")]
fn loom_granting_whoever_owns_is_caught() {
    let _armed = Armed::new(Some(Fault::GrantUnchecked));
    two_owners(Mode::Exclusive);
}

/// Both share the lock and upgrade, and one waits for the other: the young one is wounded and
/// leaves, or was through before, and the old one gets it every time.
#[test]
fn loom_the_older_upgrade_goes_through() {
    let _armed = Armed::new(None);
    check(|| {
        let guarded = Guarded::new();
        let young = {
            let guarded = guarded.clone();
            loom::thread::spawn(move || {
                let mut nodes = nodes(1);
                let shared = guarded.lock.acquire::<Wound>(nodes.get(0), Mode::Shared, AGES);
                if shared.is_err() {
                    return 0;
                }
                let upgraded = guarded.lock.upgrade::<Wound>(nodes.get(0), AGES);
                if upgraded.is_ok() {
                    guarded.add();
                }
                guarded.lock.release(nodes.get(0));
                u64::from(upgraded.is_ok())
            })
        };
        let mut nodes = nodes(0);
        let shared = guarded.lock.acquire::<Wound>(nodes.get(0), Mode::Shared, AGES);
        assert_eq!(shared, Ok(()));
        let before = guarded.read();
        assert_eq!(guarded.lock.upgrade::<Wound>(nodes.get(0), AGES), Ok(()));
        assert_eq!(guarded.read(), before, "nobody wrote what was shared");
        guarded.add();
        guarded.lock.release(nodes.get(0));
        let theirs = young.join().expect("no assertion there");
        assert_eq!(guarded.read(), 1 + theirs);
        assert!(guarded.lock.is_free());
    });
}
