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
mod tests;

#[cfg(all(test, loom))]
mod models;
