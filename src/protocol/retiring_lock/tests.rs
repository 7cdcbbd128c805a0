//! The lock with early release on one thread and on several.

use super::*;
use crate::sync::fault::Armed;
use Mode::{Exclusive, Shared};
use std::cell::Cell;
use std::time::Instant;

/// Short: these waits end in vain.
const MOMENT: Duration = Duration::from_millis(20);
/// Long: what is waited for comes.
const AGES: Duration = Duration::from_secs(60);

fn transactions<const N: usize>() -> [Nodes; N] {
    std::array::from_fn(|age| {
        let mut nodes = Nodes::default();
        nodes.get(0);
        nodes.transaction().begin(age as u64, age as u64);
        nodes
    })
}

impl Nodes {
    fn node(&self) -> &Node {
        self.made(0)
    }

    fn take(&self, lock: &Lock, mode: Mode) -> Result<usize, AbortReason> {
        lock.acquire(self.node(), mode, MOMENT).map(|shown| shown.addr())
    }

    fn show(&self, lock: &Lock, what: usize) {
        lock.retire(self.node(), std::ptr::without_provenance_mut(what));
    }

    fn count(&self) -> u64 {
        self.transaction().dependencies.load(Ordering::SeqCst)
    }
}

/// The states in the list, front first.
fn list(lock: &Lock) -> Vec<u8> {
    let list = lock.latch();
    let states = list.nodes().map(Node::state).collect();
    list.unlatch();
    states
}

#[test]
fn members_depend_on_those_before_them() {
    let _armed = Armed::new(None);
    let (lock, [one, two, three, four]) = (Lock::default(), transactions());
    assert_eq!(one.take(&lock, Shared), Ok(0));
    assert_eq!(two.take(&lock, Exclusive), Ok(0), "a reader lets a writer in");
    assert_eq!(three.take(&lock, Shared), Err(AbortReason::LockTimeout), "nothing is shown");
    two.show(&lock, 2);
    assert_eq!(three.take(&lock, Shared), Ok(2));
    assert_eq!(four.take(&lock, Exclusive), Ok(2));
    four.show(&lock, 4);
    assert_eq!([&one, &two, &three, &four].map(Nodes::count), [0, 1, 1, 1]);
    lock.release(one.node(), false);
    assert_eq!([&two, &three, &four].map(Nodes::count), [0, 1, 1]);
    lock.release(two.node(), false);
    assert_eq!([&three, &four].map(Nodes::count), [0, 1]);
    lock.release(three.node(), true);
    assert_eq!((four.count(), four.transaction().doom()), (0, None), "a reader pulls nobody down");
    lock.release(four.node(), false);
    assert!(lock.is_free());
}

#[test]
fn a_writer_that_fails_pulls_down_those_behind_it() {
    let _armed = Armed::new(None);
    let (lock, [one, two, three, four]) = (Lock::default(), transactions());
    for (nodes, mode) in [(&one, Shared), (&two, Exclusive)] {
        assert_eq!(nodes.take(&lock, mode), Ok(0));
    }
    two.show(&lock, 2);
    assert_eq!(three.take(&lock, Shared), Ok(2));
    assert_eq!(four.take(&lock, Exclusive), Ok(2));
    lock.release(two.node(), true);
    let fallen = Some(AbortReason::CascadingAbort);
    let dooms = [&one, &three, &four].map(|nodes| nodes.transaction().doom());
    assert_eq!(dooms, [None, fallen, fallen]);
    assert_eq!(three.transaction().await_dependencies(AGES), Err(AbortReason::CascadingAbort));
    assert_eq!(one.transaction().await_dependencies(AGES), Ok(()));
}

#[test]
fn nobody_comes_in_behind_a_doomed_writer() {
    let _armed = Armed::new(None);
    let (lock, [old, young]) = (Lock::default(), transactions());
    assert_eq!(young.take(&lock, Exclusive), Ok(0));
    young.show(&lock, 1);
    assert_eq!(old.take(&lock, Shared), Err(AbortReason::LockTimeout));
    assert_eq!(young.transaction().doom(), Some(AbortReason::Wounded));
    assert_eq!(young.transaction().await_dependencies(AGES), Ok(()), "it depends on nobody");
    assert_eq!(list(&lock), [state::RETIRED], "the wait has left no trace");
    lock.release(young.node(), true);
    assert_eq!(old.take(&lock, Shared), Ok(0));
    assert_eq!((old.count(), old.transaction().doom()), (0, None));
}

#[test]
fn an_upgrade_moves_behind_the_other_readers() {
    let _armed = Armed::new(None);
    let (lock, [one, two, three]) = (Lock::default(), transactions());
    for nodes in [&one, &two, &three] {
        assert_eq!(nodes.take(&lock, Shared), Ok(0));
    }
    assert_eq!(lock.upgrade(two.node(), MOMENT), Ok(()));
    assert_eq!(list(&lock), [state::READS, state::READS, state::OWNS]);
    assert_eq!([&one, &two, &three].map(Nodes::count), [0, 1, 0]);
    assert_eq!(three.transaction().doom(), Some(AbortReason::Wounded));
    two.show(&lock, 2);
    // The oldest one has read what the other one overwrites, and wants to write too.
    assert_eq!(lock.upgrade(one.node(), MOMENT), Err(AbortReason::LockTimeout));
    assert_eq!(two.transaction().doom(), Some(AbortReason::Wounded));
    assert_eq!(one.node().mode(), Shared, "it still reads");
    lock.release(two.node(), true);
    assert_eq!(lock.upgrade(one.node(), MOMENT), Ok(()));
    assert_eq!((one.count(), one.transaction().doom()), (1, None));
    lock.release(three.node(), true);
    assert_eq!(one.transaction().await_dependencies(AGES), Ok(()));
    assert_eq!(list(&lock), [state::OWNS]);
}

#[test]
fn the_older_of_those_who_wait_comes_first() {
    let _armed = Armed::new(None);
    let (lock, [zero, one, two]) = (Lock::default(), transactions());
    assert_eq!(zero.take(&lock, Exclusive), Ok(0));
    let first = AtomicU64::new(9);
    let until = |states: &[u8]| {
        let begin = Instant::now();
        while list(&lock) != states {
            assert!(begin.elapsed() < AGES, "never: {states:?}");
            std::thread::yield_now();
        }
    };
    let wait = |nodes: &Nodes, age: u64| {
        lock.acquire(nodes.node(), Exclusive, AGES).expect("granted");
        let _ = first.compare_exchange(9, age, Ordering::SeqCst, Ordering::SeqCst);
        nodes.show(&lock, age as usize);
        nodes.transaction().await_dependencies(AGES).expect("nobody fails");
        lock.release(nodes.node(), false);
    };
    std::thread::scope(|scope| {
        scope.spawn(|| wait(&two, 2));
        until(&[state::OWNS, state::WAITS_TO_OWN]);
        scope.spawn(|| wait(&one, 1));
        until(&[state::OWNS, state::WAITS_TO_OWN, state::WAITS_TO_OWN]);
        lock.release(zero.node(), false);
    });
    assert_eq!(first.load(Ordering::SeqCst), 1);
    assert!(lock.is_free());
}

/// Transactions add one to what they find, and some give up. Whoever commits finds that what it
/// added to is committed.
#[test]
fn nothing_is_lost_under_stress() {
    let _armed = Armed::new(None);
    const THREADS: u64 = 4;
    const ROUNDS: u64 = if cfg!(debug_assertions) { 20_000 } else { 100_000 };
    let (lock, ages) = (Lock::default(), AtomicU64::new(0));
    let (committed, commits) = (AtomicU64::new(1), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (lock, ages, committed, commits) = (&lock, &ages, &committed, &commits);
            scope.spawn(move || {
                let [nodes] = transactions();
                for round in 0..ROUNDS {
                    nodes.transaction().begin(ages.fetch_add(1, Ordering::Relaxed), thread);
                    let seen = Cell::new(0);
                    let body = || {
                        let reads_first = round % 2 == 0;
                        let mode = if reads_first { Shared } else { Exclusive };
                        let shown = lock.acquire(nodes.node(), mode, AGES)?.addr() as u64;
                        let now = committed.load(Ordering::SeqCst);
                        seen.set(if shown == 0 { now } else { shown });
                        if round % 3 == 0 && reads_first {
                            return nodes.transaction().await_dependencies(AGES);
                        }
                        if reads_first && let Err(reason) = lock.upgrade(nodes.node(), AGES) {
                            return Err(reason);
                        }
                        nodes.show(lock, seen.get() as usize + 1);
                        if round % 7 == 0 {
                            return Err(AbortReason::User);
                        }
                        nodes.transaction().await_dependencies(AGES)?;
                        committed
                            .compare_exchange(
                                seen.get(),
                                seen.get() + 1,
                                Ordering::SeqCst,
                                Ordering::SeqCst,
                            )
                            .expect("what it added to is committed, and the newest");
                        commits.fetch_add(1, Ordering::Relaxed);
                        Ok(())
                    };
                    let outcome: Result<(), AbortReason> = body();
                    let only_read = nodes.node().mode() == Shared;
                    if outcome.is_ok() && only_read {
                        assert_eq!(committed.load(Ordering::SeqCst), seen.get());
                    }
                    // One that got no lock is in no list.
                    if seen.get() > 0 {
                        lock.release(nodes.node(), outcome.is_err());
                    }
                }
            });
        }
    });
    assert!(lock.is_free());
    let commits = commits.load(Ordering::Relaxed);
    assert_eq!(committed.load(Ordering::Relaxed), 1 + commits);
    assert!(commits > 0);
}
