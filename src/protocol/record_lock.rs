//! A lock of one word: shared or exclusive, with its owners and waiters, each with its age.
//!
//! # Layout
//!
//! The word points to a list of *nodes*, one for each transaction that owns the lock or waits for
//! it. The nodes belong to the transactions' workers, so that a lock is eight bytes however many
//! share it, and taking it allocates nothing. Three flags say what a newcomer has to know without
//! walking the list: it is *latched* (somebody is changing it), it is owned *exclusively*, it is
//! *awaited*. The top bits count changes, so that who waits has to look at the list only when there
//! is something new.
//!
//! # Cost
//!
//! Taking a free lock, sharing one that nobody waits for, and releasing one that nobody else has
//! are one compare-and-swap each. Everything else latches the word first: one compare-and-swap and
//! a store.
//!
//! # Invariants
//!
//! 1. A word without nodes is 0, or latched.
//! 2. Nodes are added in front only, and only to a word that is not latched or by who has latched
//!    it. They are taken out, and change their state, only under the latch, except for the only
//!    node of a word, which its owner takes out by replacing the word with 0.
//! 3. If a node is exclusive, no other node owns the lock.
//! 4. Whoever finds a node in the list under the latch knows that its transaction is open: it can
//!    only end after it has taken the node out, for which it needs the latch (or the word as it was
//!    before the latch). Hence a wound meets the transaction that it is meant for, although the
//!    [`Party`] is used again by the worker's next one.
//!
//! # Who is next
//!
//! There is no queue in the order of arrival. A lock that becomes free goes to whoever looks first:
//! to hand it to somebody who is not running would make everybody wait for that thread's turn on a
//! core, at every lock, where there are more threads than cores. But whoever has waited for
//! `LOCK_PRESSES_AFTER_US` *presses*, and then nobody younger is granted what conflicts, but for an
//! upgrade, for whose owner the others have to wait anyway. So of those who press the oldest is the
//! next, except for older ones that arrive, who are few.

use super::lock_parts::{Chunks, Patience};
use crate::error::AbortReason;
use crate::limits::LOCK_PRESSES_AFTER_US;
use crate::sync::fault::{self, Fault};
use crate::sync::{AtomicBool, AtomicU8, AtomicU64, CachePadded, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// Somebody is changing the list.
const LATCHED: u64 = 1;
/// The only owner has the lock to itself.
const EXCLUSIVE: u64 = 2;
/// At least one node waits.
const AWAITED: u64 = 4;
const FLAGS: u64 = LATCHED | EXCLUSIVE | AWAITED;
/// The address of the first node.
const FIRST: u64 = 0x0000_ffff_ffff_fff0;
/// One change.
const CHANGE: u64 = 1 << 48;
const CHANGES: u64 = !0 << 48;

/// How long whoever waits lets younger ones pass.
const PRESSES_AFTER: Duration = Duration::from_micros(LOCK_PRESSES_AFTER_US);
/// Moments after which a waiting thread looks at the list although the word seems the same.
const ROUNDS_MAX: u32 = 1_024;

/// How a lock is, or is to be, held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Together with others.
    Shared,
    /// Alone.
    Exclusive,
}

/// What a conflict with another transaction means for the one that asks for a lock.
pub trait Rule: Send + Sync + 'static {
    /// Whether `asking` waits for `other`, which owns the lock (`owns`), or is older and waits for
    /// it; otherwise why it gives up.
    ///
    /// # Errors
    ///
    /// The reason, if it gives up.
    fn meet(asking: &Party, other: &Party, owns: bool) -> Result<(), AbortReason>;
}

/// A transaction as others meet it. Used again by the next one of the same worker.
#[derive(Debug, Default)]
pub struct Party {
    age: AtomicU64,
    /// The worker's number, for transactions of the same age.
    id: AtomicU64,
    wounded: AtomicBool,
}

impl Party {
    /// Begins a transaction; it owns no lock and waits for none.
    pub(crate) fn begin(&self, age: u64, id: u64) {
        // Relaxed, all three: the exchange that puts a node into a list publishes them, and nobody
        // looks at them before.
        self.age.store(age, Ordering::Relaxed);
        // Relaxed: as above.
        self.id.store(id, Ordering::Relaxed);
        // Relaxed: as above.
        self.wounded.store(false, Ordering::Relaxed);
    }

    fn rank(&self) -> (u64, u64) {
        // Relaxed: the latch under which the node was found orders these after `begin`.
        (self.age.load(Ordering::Relaxed), self.id.load(Ordering::Relaxed))
    }

    /// Whether this transaction began before the other. One of two is the older.
    pub(crate) fn is_older_than(&self, other: &Party) -> bool {
        self.rank() < other.rank()
    }

    /// Asks this transaction to give up. Called under the latch of a lock that it owns.
    pub(crate) fn wound(&self) {
        // Relaxed: a message without content; the owner acts on it when it sees it.
        self.wounded.store(true, Ordering::Relaxed);
    }

    /// Whether somebody older has asked this transaction to give up.
    #[inline]
    pub(crate) fn is_wounded(&self) -> bool {
        // Relaxed: as in `wound`.
        self.wounded.load(Ordering::Relaxed)
    }
}

/// What a node does in its list.
mod state {
    pub(super) const SHARES: u8 = 0;
    pub(super) const OWNS: u8 = 1;
    pub(super) const WAITS_TO_SHARE: u8 = 2;
    pub(super) const WAITS_TO_OWN: u8 = 3;
    /// Shares the lock and waits for the others to leave.
    pub(super) const UPGRADES: u8 = 4;
    /// Set while a node that waits does not let younger ones pass any more.
    pub(super) const PRESSES: u8 = 8;

    pub(super) fn is_owner(state: u8) -> bool {
        matches!(state & !PRESSES, SHARES | OWNS | UPGRADES)
    }

    pub(super) fn waits_to_own(state: u8) -> bool {
        matches!(state & !PRESSES, WAITS_TO_OWN | UPGRADES)
    }
}

/// One transaction's place in the list of one lock.
#[derive(Debug)]
#[repr(align(32))]
pub(crate) struct Node {
    next: AtomicU64,
    party: Arc<CachePadded<Party>>,
    state: AtomicU8,
}

impl Node {
    fn address(&self) -> u64 {
        std::ptr::from_ref(self).expose_provenance() as u64
    }

    /// The node at an address, if there is one.
    ///
    /// # Safety
    ///
    /// The address comes from a list, and the caller has latched its lock.
    unsafe fn at<'a>(address: u64) -> Option<&'a Node> {
        let node: *const Node = std::ptr::with_exposed_provenance(address as usize);
        // SAFETY: nodes live as long as their workers, and those as long as the store.
        (address != 0).then(|| unsafe { &*node })
    }

    fn next(&self) -> u64 {
        // Relaxed: the latch orders it. Without the latch only the owner asks, whether its node is
        // the last one; and what is last stays last, because nodes are added in front.
        self.next.load(Ordering::Relaxed)
    }

    fn state(&self) -> u8 {
        // Relaxed: the latch orders it; the owner may always ask, nobody else changes it.
        self.state.load(Ordering::Relaxed)
    }

    fn set_state(&self, state: u8) {
        // Relaxed: as in `state`.
        self.state.store(state, Ordering::Relaxed);
    }

    /// How this node holds its lock.
    #[inline]
    pub(crate) fn mode(&self) -> Mode {
        if self.state() == state::OWNS { Mode::Exclusive } else { Mode::Shared }
    }
}

/// The nodes of one worker. Their addresses do not change.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    party: Arc<CachePadded<Party>>,
    nodes: Chunks<Node>,
}

impl Nodes {
    /// The transaction that these nodes stand for.
    #[inline]
    pub(crate) fn party(&self) -> &Party {
        &self.party
    }

    /// A node by number.
    #[inline]
    pub(crate) fn get(&mut self, number: usize) -> &Node {
        self.nodes.get_or_make(number, || Node {
            next: AtomicU64::new(0),
            party: Arc::clone(&self.party),
            state: AtomicU8::new(state::SHARES),
        })
    }
}

/// A lock that transactions share or have to themselves.
#[derive(Debug, Default)]
pub struct Lock {
    word: AtomicU64,
}

impl Lock {
    /// Whether nobody owns the lock. The answer is firm for somebody who would be the owner.
    #[inline]
    pub(crate) fn is_free(&self) -> bool {
        // Relaxed: the exchange that takes the lock checks it.
        self.word.load(Ordering::Relaxed) == 0
    }

    /// Takes the lock with this node, which is in no list.
    ///
    /// # Errors
    ///
    /// As the rule says; or the wait was too long, or somebody wounded this transaction meanwhile.
    #[inline]
    pub(crate) fn acquire<R: Rule>(
        &self,
        node: &Node,
        mode: Mode,
        limit: Duration,
    ) -> Result<(), AbortReason> {
        if self.acquire_at_once(node, mode) {
            return Ok(());
        }
        self.wait::<R>(Request { node, mode, upgrade: false }, limit)
    }

    #[inline]
    fn acquire_at_once(&self, node: &Node, mode: Mode) -> bool {
        let (state, flag) = match mode {
            Mode::Shared => (state::SHARES, 0),
            Mode::Exclusive => (state::OWNS, EXCLUSIVE),
        };
        // Relaxed: the exchange below checks it.
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            let joins = mode == Mode::Shared && word & FLAGS == 0;
            if word != 0 && !joins {
                return false;
            }
            node.set_state(state);
            // Relaxed: the node is private until the exchange below.
            node.next.store(word & FIRST, Ordering::Relaxed);
            let new = node.address() | flag | (word.wrapping_add(CHANGE) & CHANGES);
            // AcqRel: acquires what the last owner wrote (pairs with the Release in `release` and
            // `unlatch`) and publishes the node. Relaxed if it fails: tried again.
            match self.word.compare_exchange(word, new, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
    }

    /// Makes a shared lock exclusive. If that fails, it is still shared.
    ///
    /// # Errors
    ///
    /// As for [`Lock::acquire`].
    pub(crate) fn upgrade<R: Rule>(&self, node: &Node, limit: Duration) -> Result<(), AbortReason> {
        self.wait::<R>(Request { node, mode: Mode::Exclusive, upgrade: true }, limit)
    }

    /// Gives the lock back; the node is in no list then.
    #[inline]
    pub(crate) fn release(&self, node: &Node) {
        // Relaxed: the exchange below checks it.
        let word = self.word.load(Ordering::Relaxed);
        let only = word & (FIRST | LATCHED | AWAITED) == node.address() && node.next() == 0;
        if only {
            let unlock = if fault::on(Fault::UnlockRelaxed) {
                // Relaxed: what a model must catch.
                Ordering::Relaxed
            } else {
                // AcqRel: releases what this owner did to the next one (`acquire_at_once`,
                // `latch`), and puts a wound that somebody gave under the latch before the worker's
                // next `begin`.
                Ordering::AcqRel
            };
            // Relaxed if it fails: the list is looked at below.
            if self.word.compare_exchange(word, 0, unlock, Ordering::Relaxed).is_ok() {
                return;
            }
        }
        self.release_latched(node);
    }

    #[cold]
    fn release_latched(&self, node: &Node) {
        let mut list = self.latch();
        list.remove(node);
        list.unlatch();
    }

    fn wait<R: Rule>(&self, request: Request<'_>, limit: Duration) -> Result<(), AbortReason> {
        let mut patience = Patience::default();
        let (mut waiting, mut presses, mut over) = (false, false, None);
        loop {
            let mut list = self.latch();
            let verdict = over.map_or_else(|| list.judge::<R>(&request), Err);
            match verdict {
                Ok(Verdict::Granted) => list.grant(&request, waiting),
                Ok(Verdict::Waits) => list.enter(&request, waiting, presses),
                Err(_) if waiting => list.withdraw(&request),
                Err(_) => {}
            }
            let seen = list.unlatch();
            match verdict {
                Ok(Verdict::Granted) => return Ok(()),
                Ok(Verdict::Waits) => waiting = true,
                Err(reason) => return Err(reason),
            }
            for round in 1.. {
                let waited = patience.wait();
                if request.node.party.is_wounded() {
                    over = Some(AbortReason::Wounded);
                } else if waited >= limit {
                    over = Some(AbortReason::LockTimeout);
                }
                let presses_now = waited >= PRESSES_AFTER && !presses;
                presses |= presses_now;
                // Relaxed: a hint that there is something new; the latch is what acquires it.
                let changed = self.word.load(Ordering::Relaxed) != seen;
                // Now and then all the same: as many changes as can be counted bring the word back.
                if changed || presses_now || over.is_some() || round == ROUNDS_MAX {
                    break;
                }
            }
        }
    }

    fn latch(&self) -> Latched<'_> {
        let mut patience = Patience::default();
        loop {
            // Relaxed: the exchange checks it.
            let word = self.word.load(Ordering::Relaxed);
            // Acquire: pairs with the Release in `unlatch` and `acquire_at_once`; the list is as
            // they left it. Relaxed if it fails: tried again.
            if word & LATCHED == 0
                && self
                    .word
                    .compare_exchange(word, word | LATCHED, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return Latched { lock: self, word, changed: false };
            }
            patience.wait();
        }
    }
}

/// What a transaction asks of a lock.
struct Request<'a> {
    node: &'a Node,
    mode: Mode,
    upgrade: bool,
}

enum Verdict {
    Granted,
    Waits,
}

/// A lock whose list nobody else changes.
struct Latched<'a> {
    lock: &'a Lock,
    /// The word without the latch.
    word: u64,
    changed: bool,
}

impl Latched<'_> {
    fn nodes(&self) -> impl Iterator<Item = &Node> {
        // SAFETY: the list is latched, here and below.
        let first = unsafe { Node::at(self.word & FIRST) };
        // SAFETY: as above.
        std::iter::successors(first, |node| unsafe { Node::at(node.next()) })
    }

    /// Meets everybody who conflicts with the request.
    fn judge<R: Rule>(&self, request: &Request<'_>) -> Result<Verdict, AbortReason> {
        let mut verdict = Verdict::Granted;
        let exclusive = request.mode == Mode::Exclusive;
        let asking = &request.node.party;
        for other in self.nodes().filter(|other| !std::ptr::eq(*other, request.node)) {
            let theirs = other.state();
            let owns = state::is_owner(theirs) && (exclusive || theirs == state::OWNS);
            let comes_first = !request.upgrade
                && theirs & state::PRESSES != 0
                && (exclusive || state::waits_to_own(theirs))
                && other.party.is_older_than(asking);
            if (owns || comes_first) && !fault::on(Fault::GrantUnchecked) {
                R::meet(asking, &other.party, owns)?;
                verdict = Verdict::Waits;
            }
        }
        Ok(verdict)
    }

    fn grant(&mut self, request: &Request<'_>, waiting: bool) {
        if !waiting && !request.upgrade {
            self.push(request.node);
        }
        request.node.set_state(match request.mode {
            Mode::Shared => state::SHARES,
            Mode::Exclusive => state::OWNS,
        });
        self.changed = true;
    }

    /// Begins to wait, or goes on.
    fn enter(&mut self, request: &Request<'_>, waiting: bool, presses: bool) {
        if !waiting && !request.upgrade {
            self.push(request.node);
        }
        let waits = match (request.upgrade, request.mode) {
            (true, _) => state::UPGRADES,
            (false, Mode::Shared) => state::WAITS_TO_SHARE,
            (false, Mode::Exclusive) => state::WAITS_TO_OWN,
        };
        let new = if presses { waits | state::PRESSES } else { waits };
        if !waiting || request.node.state() != new {
            request.node.set_state(new);
            self.changed = true;
        }
    }

    /// Ends the wait without the lock.
    fn withdraw(&mut self, request: &Request<'_>) {
        if request.upgrade {
            request.node.set_state(state::SHARES);
            self.changed = true;
        } else {
            self.remove(request.node);
        }
    }

    fn push(&mut self, node: &Node) {
        // Relaxed: the latch orders it.
        node.next.store(self.word & FIRST, Ordering::Relaxed);
        self.word = (self.word & !FIRST) | node.address();
    }

    fn remove(&mut self, node: &Node) {
        let before = self.nodes().find(|before| before.next() == node.address());
        match before {
            // Relaxed: the latch orders it.
            Some(before) => before.next.store(node.next(), Ordering::Relaxed),
            None => {
                debug_assert_eq!(self.word & FIRST, node.address(), "the node is in the list");
                self.word = (self.word & !FIRST) | node.next();
            }
        }
        self.changed = true;
    }

    /// Lets the next one in; returns the word as it is then.
    fn unlatch(self) -> u64 {
        let word = if self.changed { self.changed_word() } else { self.word };
        let unlock = if fault::on(Fault::UnlockRelaxed) {
            // Relaxed: what a model must catch.
            Ordering::Relaxed
        } else {
            // Release: pairs with `latch` and `acquire_at_once`. Nobody changes a latched word, so
            // a store will do.
            Ordering::Release
        };
        self.lock.word.store(word, unlock);
        word
    }

    fn changed_word(&self) -> u64 {
        let first = self.word & FIRST;
        if first == 0 {
            return 0;
        }
        let mut flags = 0;
        for node in self.nodes() {
            flags |= match node.state() {
                state::OWNS => EXCLUSIVE,
                state::SHARES => 0,
                _ => AWAITED,
            };
        }
        first | flags | (self.word.wrapping_add(CHANGE) & CHANGES)
    }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Lock>() == 8 && size_of::<Node>() == 32);

#[cfg(all(test, not(loom)))]
mod tests {
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
        nodes.party().begin(age, age);
        nodes
    }

    impl Nodes {
        fn node(&self, number: usize) -> &Node {
            self.nodes.made(number)
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
            assert!(four.party().is_wounded(), "it owns what older ones want");
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
        young.party().begin(7, 7);
        assert!(!young.party().is_wounded(), "the next transaction of the worker is unhurt");
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
                        nodes.party().begin(age, thread);
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
}

#[cfg(all(test, loom))]
mod models {
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
        nodes.party().begin(age, age);
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
    #[should_panic]
    fn loom_unlocking_without_release_is_caught() {
        let _armed = Armed::new(Some(Fault::UnlockRelaxed));
        two_owners(Mode::Exclusive);
    }

    /// Loom reports the access to the value from two threads at once.
    #[test]
    #[should_panic]
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
}
