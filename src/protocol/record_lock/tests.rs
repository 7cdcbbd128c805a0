//! The lock of a record on one thread and on several.

use super::*;
use crate::protocol::{no_wait, wait_die, wound_wait};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Instant;

type Refuse = no_wait::Refuse;
type Die = wait_die::Die;
type Wound = wound_wait::Wound;

/// Short: these waits end in vain.
const MOMENT: Duration = Duration::from_millis(20);
/// Long: what is waited for comes.
const AGES: Duration = Duration::from_secs(60);

/// A transaction of this age, with one node.
fn transaction(age: u64) -> Nodes {
    let mut nodes = Nodes::default();
    nodes.get(0);
    nodes.transaction().begin(age, age);
    nodes
}

impl Nodes {
    fn node(&self, number: usize) -> &Node {
        self.made(number)
    }
}

fn transactions<const N: usize>() -> [Nodes; N] {
    std::array::from_fn(|age| transaction(age as u64))
}

fn take<R: Rule>(lock: &Lock, nodes: &Nodes, mode: Mode) -> Result<(), AbortReason> {
    lock.acquire::<R>(nodes.node(0), mode, MOMENT)
}

/// Who is in the list, front first: the ages and the states.
fn list(lock: &Lock) -> Vec<(u64, u8)> {
    let list = lock.latch();
    let nodes = list.nodes().map(|node| (node.party.rank().0, node.state())).collect();
    list.unlatch();
    nodes
}

fn flags(lock: &Lock) -> u64 {
    lock.word.load(Ordering::SeqCst) & FLAGS
}

use Mode::{Exclusive, Shared};

#[test]
fn shared_locks_go_together_and_exclusive_ones_alone() {
    let (lock, [one, two, three]) = (Lock::default(), transactions());
    assert!(lock.is_free());
    assert_eq!(take::<Refuse>(&lock, &one, Shared), Ok(()));
    assert_eq!(take::<Refuse>(&lock, &two, Shared), Ok(()));
    assert_eq!(take::<Refuse>(&lock, &three, Exclusive), Err(AbortReason::LockConflict));
    assert_eq!(list(&lock), [(1, state::SHARES), (0, state::SHARES)]);
    // The one at the end of the list goes first, then the only one.
    lock.release(one.node(0));
    assert_eq!(list(&lock), [(1, state::SHARES)]);
    lock.release(two.node(0));
    assert!(lock.is_free());

    assert_eq!(take::<Refuse>(&lock, &three, Exclusive), Ok(()));
    assert_eq!(three.node(0).mode(), Exclusive);
    assert_eq!(flags(&lock), EXCLUSIVE);
    assert_eq!(take::<Refuse>(&lock, &one, Shared), Err(AbortReason::LockConflict));
    assert_eq!(take::<Refuse>(&lock, &one, Exclusive), Err(AbortReason::LockConflict));
    assert_eq!(list(&lock), [(2, state::OWNS)]);
    lock.release(three.node(0));
    assert!(lock.is_free());
}

#[test]
fn any_owner_in_a_list_can_leave() {
    for leaver in 0..3 {
        let (lock, all) = (Lock::default(), transactions::<3>());
        for nodes in &all {
            assert_eq!(take::<Refuse>(&lock, nodes, Shared), Ok(()));
        }
        lock.release(all[leaver].node(0));
        let rest: Vec<u64> = list(&lock).into_iter().map(|(age, _)| age).collect();
        let expected: Vec<u64> = (0..3).rev().filter(|&age| age != leaver as u64).collect();
        assert_eq!(rest, expected);
    }
}

#[test]
fn an_upgrade_needs_to_be_alone() {
    let (lock, [one, two]) = (Lock::default(), transactions());
    assert_eq!(take::<Refuse>(&lock, &one, Shared), Ok(()));
    assert_eq!(take::<Refuse>(&lock, &two, Shared), Ok(()));
    let refused = lock.upgrade::<Refuse>(two.node(0), MOMENT);
    assert_eq!(refused, Err(AbortReason::LockConflict));
    assert_eq!(two.node(0).mode(), Shared, "it still shares the lock");
    assert_eq!(flags(&lock), 0);
    lock.release(one.node(0));
    assert_eq!(lock.upgrade::<Refuse>(two.node(0), MOMENT), Ok(()));
    assert_eq!((two.node(0).mode(), flags(&lock)), (Exclusive, EXCLUSIVE));
    assert_eq!(take::<Refuse>(&lock, &one, Shared), Err(AbortReason::LockConflict));
    lock.release(two.node(0));
    assert!(lock.is_free());
}

#[test]
fn a_wait_for_nothing_ends_and_leaves_no_trace() {
    let (lock, [old, young]) = (Lock::default(), transactions());
    assert_eq!(take::<Die>(&lock, &young, Exclusive), Ok(()));
    for mode in [Shared, Exclusive] {
        assert_eq!(take::<Die>(&lock, &old, mode), Err(AbortReason::LockTimeout));
        assert_eq!(list(&lock), [(1, state::OWNS)]);
        assert_eq!(flags(&lock), EXCLUSIVE);
    }
    lock.release(young.node(0));
    // The same for an upgrade.
    assert_eq!(take::<Die>(&lock, &old, Shared), Ok(()));
    assert_eq!(take::<Die>(&lock, &young, Shared), Ok(()));
    assert_eq!(lock.upgrade::<Die>(old.node(0), MOMENT), Err(AbortReason::LockTimeout));
    assert_eq!(list(&lock), [(1, state::SHARES), (0, state::SHARES)]);
    assert_eq!(flags(&lock), 0);
}

#[test]
fn the_younger_one_dies() {
    let (lock, [old, young]) = (Lock::default(), transactions());
    assert_eq!(take::<Die>(&lock, &old, Exclusive), Ok(()));
    assert_eq!(take::<Die>(&lock, &young, Shared), Err(AbortReason::LockDie));
    assert_eq!(take::<Die>(&lock, &young, Exclusive), Err(AbortReason::LockDie));
    lock.release(old.node(0));
    assert_eq!(take::<Die>(&lock, &old, Shared), Ok(()));
    assert_eq!(take::<Die>(&lock, &young, Shared), Ok(()));
    assert_eq!(lock.upgrade::<Die>(young.node(0), MOMENT), Err(AbortReason::LockDie));
    assert_eq!(list(&lock), [(1, state::SHARES), (0, state::SHARES)]);
}

/// Asks for the lock on a thread of its own, and says how that ended; the lock is not returned.
fn ask<'s, R: Rule>(
    scope: &'s std::thread::Scope<'s, '_>,
    (lock, node): (&'s Lock, &'s Node),
    (mode, upgrade): (Mode, bool),
    answer: &Sender<(u64, Result<(), AbortReason>)>,
) {
    let answer = answer.clone();
    scope.spawn(move || {
        let got = if upgrade {
            lock.upgrade::<R>(node, AGES)
        } else {
            lock.acquire::<R>(node, mode, AGES)
        };
        answer.send((node.party.rank().0, got)).expect("the test listens");
    });
}

/// Waits until somebody of this age is in the list in this state.
fn until_in_list(lock: &Lock, entry: (u64, u8)) {
    let begin = Instant::now();
    let is_there =
        |&(age, now): &(u64, u8)| (age, now) == entry || (age, now & !state::PRESSES) == entry;
    while !list(lock).iter().any(is_there) {
        assert!(begin.elapsed() < AGES, "never: {entry:?}");
        std::thread::yield_now();
    }
}

#[test]
fn the_oldest_of_those_who_wait_is_next_and_newcomers_do_not_pass() {
    let lock = Lock::default();
    let (answer, answers) = channel();
    let [zero, one, two, three, four] = transactions();
    lock.acquire::<Wound>(four.node(0), Shared, MOMENT).expect("free");
    std::thread::scope(|scope| {
        ask::<Wound>(scope, (&lock, two.node(0)), (Exclusive, false), &answer);
        until_in_list(&lock, (2, state::WAITS_TO_OWN | state::PRESSES));
        ask::<Wound>(scope, (&lock, one.node(0)), (Exclusive, false), &answer);
        until_in_list(&lock, (1, state::WAITS_TO_OWN | state::PRESSES));
        // A younger one could share the lock with its owner, but somebody older presses.
        let got = lock.acquire::<Wound>(three.node(0), Shared, MOMENT);
        assert_eq!(got, Err(AbortReason::LockTimeout));
        let got = lock.acquire::<Die>(three.node(0), Shared, MOMENT);
        assert_eq!(got, Err(AbortReason::LockDie));
        // One that is older than all of them shares it.
        assert_eq!(lock.acquire::<Wound>(zero.node(0), Shared, MOMENT), Ok(()));
        lock.release(zero.node(0));
        assert!(four.transaction().is_wounded(), "it owns what older ones want");
        assert_eq!(answers.try_recv().ok(), None);
        lock.release(four.node(0));
        assert_eq!(answers.recv_timeout(AGES), Ok((1, Ok(()))));
        assert_eq!(answers.recv_timeout(MOMENT), Err(RecvTimeoutError::Timeout));
        lock.release(one.node(0));
        assert_eq!(answers.recv_timeout(AGES), Ok((2, Ok(()))));
    });
    lock.release(two.node(0));
    assert!(lock.is_free());
}

#[test]
fn a_wound_ends_a_wait() {
    let (first, second) = (Lock::default(), Lock::default());
    let [old, middle, young] = transactions();
    // The young one owns what the old one wants, and waits for another.
    first.acquire::<Wound>(young.node(0), Shared, MOMENT).expect("free");
    second.acquire::<Wound>(middle.node(0), Exclusive, MOMENT).expect("free");
    let (answer, answers) = channel();
    std::thread::scope(|scope| {
        ask::<Wound>(scope, (&second, young.node(1)), (Shared, false), &answer);
        until_in_list(&second, (2, state::WAITS_TO_SHARE));
        ask::<Wound>(scope, (&first, old.node(0)), (Exclusive, false), &answer);
        assert_eq!(answers.recv_timeout(AGES), Ok((2, Err(AbortReason::Wounded))));
        assert_eq!(list(&second), [(1, state::OWNS)], "it has left");
        // Only now, because it gives its locks back itself.
        assert_eq!(answers.try_recv().ok(), None);
        first.release(young.node(0));
        assert_eq!(answers.recv_timeout(AGES), Ok((0, Ok(()))));
    });
    young.transaction().begin(7, 7);
    assert!(!young.transaction().is_wounded(), "the next transaction of the worker is unhurt");
}

#[test]
fn of_two_upgrades_the_older_goes_through() {
    let (lock, [old, young]) = (Lock::default(), transactions());
    let (answer, answers) = channel();
    lock.acquire::<Wound>(old.node(0), Shared, MOMENT).expect("free");
    lock.acquire::<Wound>(young.node(0), Shared, MOMENT).expect("shared");
    std::thread::scope(|scope| {
        ask::<Wound>(scope, (&lock, young.node(0)), (Exclusive, true), &answer);
        until_in_list(&lock, (1, state::UPGRADES));
        ask::<Wound>(scope, (&lock, old.node(0)), (Exclusive, true), &answer);
        assert_eq!(answers.recv_timeout(AGES), Ok((1, Err(AbortReason::Wounded))));
        lock.release(young.node(0));
        assert_eq!(answers.recv_timeout(AGES), Ok((0, Ok(()))));
    });
    assert_eq!((list(&lock), flags(&lock)), (vec![(0, state::OWNS)], EXCLUSIVE));
}

#[test]
fn a_waiter_that_has_become_the_younger_one_dies() {
    let (lock, [zero, one, two]) = (Lock::default(), transactions());
    let (answer, answers) = channel();
    lock.acquire::<Die>(two.node(0), Shared, MOMENT).expect("free");
    std::thread::scope(|scope| {
        ask::<Die>(scope, (&lock, one.node(0)), (Exclusive, false), &answer);
        until_in_list(&lock, (1, state::WAITS_TO_OWN));
        // An older one may share the lock, and is noticed.
        lock.acquire::<Die>(zero.node(0), Shared, MOMENT).expect("older than who waits");
        assert_eq!(answers.recv_timeout(AGES), Ok((1, Err(AbortReason::LockDie))));
    });
}

/// Counters that only the owner changes, and a check that sharing excludes owning.
fn stress<R: Rule>() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = if cfg!(debug_assertions) { 20_000 } else { 100_000 };
    let (lock, changes) = (Lock::default(), [const { AtomicU64::new(0) }; 2]);
    let (ages, granted) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (lock, changes, ages, granted) = (&lock, &changes, &ages, &granted);
            scope.spawn(move || {
                let nodes = transaction(0);
                for round in 0..ROUNDS {
                    let age = ages.fetch_add(1, Ordering::Relaxed);
                    nodes.transaction().begin(age, thread);
                    let mode = if round % 3 == 0 { Exclusive } else { Shared };
                    if lock.acquire::<R>(nodes.node(0), mode, AGES).is_err() {
                        continue;
                    }
                    let upgrade = mode == Shared && round % 4 == 0;
                    if upgrade && lock.upgrade::<R>(nodes.node(0), AGES).is_err() {
                        lock.release(nodes.node(0));
                        continue;
                    }
                    let one = changes[0].load(Ordering::Relaxed);
                    if nodes.node(0).mode() == Exclusive {
                        changes[0].store(one + 1, Ordering::Relaxed);
                        std::hint::spin_loop();
                        changes[1].store(one + 1, Ordering::Relaxed);
                        granted.fetch_add(1, Ordering::Relaxed);
                    } else {
                        assert_eq!(one, changes[1].load(Ordering::Relaxed));
                    }
                    lock.release(nodes.node(0));
                }
            });
        }
    });
    assert!(lock.is_free());
    assert_eq!(changes[0].load(Ordering::Relaxed), granted.load(Ordering::Relaxed));
    assert!(granted.load(Ordering::Relaxed) > 0);
}

#[test]
fn owners_are_alone_under_stress() {
    stress::<Refuse>();
    stress::<Die>();
    stress::<Wound>();
}
