//! A lock of one word: shared or exclusive, with its owners and waiters, each with its age.
//!
//! # Layout
//!
//! The word points to a list of nodes (see `lock_parts.rs`). Three flags say what a newcomer has to
//! know without walking it: it is *latched* (somebody is changing it), the lock is owned
//! *exclusively*, it is *awaited*.
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

use super::lock_parts::{
    self, FIRST, LATCHED, Latched, Link, Listed, Mode, Patience, ROUNDS_MAX, Request,
    one_change_more,
};
use crate::error::AbortReason;
use crate::limits::LOCK_PRESSES_AFTER_US;
use crate::sync::fault::{self, Fault};
use crate::sync::{AtomicBool, AtomicU64, CachePadded, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// The only owner has the lock to itself.
const EXCLUSIVE: u64 = 2;
/// At least one node waits.
const AWAITED: u64 = 4;
const FLAGS: u64 = LATCHED | EXCLUSIVE | AWAITED;

/// How long whoever waits lets younger ones pass.
const PRESSES_AFTER: Duration = Duration::from_micros(LOCK_PRESSES_AFTER_US);
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
    link: Link,
    party: Arc<CachePadded<Party>>,
}

impl Node {
    /// How this node holds its lock.
    #[inline]
    pub(crate) fn mode(&self) -> Mode {
        if self.state() == state::OWNS { Mode::Exclusive } else { Mode::Shared }
    }
}

impl Listed for Node {
    type Transaction = Party;

    fn new(party: &Arc<CachePadded<Party>>) -> Self {
        Node { link: Link::default(), party: Arc::clone(party) }
    }

    #[inline]
    fn link(&self) -> &Link {
        &self.link
    }

    fn flags(list: &Latched<'_, Self>) -> u64 {
        list.nodes().fold(0, |flags, node| {
            flags
                | match node.state() {
                    state::OWNS => EXCLUSIVE,
                    state::SHARES => 0,
                    _ => AWAITED,
                }
        })
    }
}

/// The nodes of one worker.
pub(crate) type Nodes = lock_parts::Nodes<Node>;

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
            // The node is private until the exchange below.
            node.set_state(state);
            node.set_next(word & FIRST);
            let new = node.address() | flag | one_change_more(word);
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
        // Without the latch: what is last stays last, because nodes are added in front.
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

    fn wait<R: Rule>(
        &self,
        request: Request<'_, Node>,
        limit: Duration,
    ) -> Result<(), AbortReason> {
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
                if changed || presses_now || over.is_some() || round == ROUNDS_MAX {
                    break;
                }
            }
        }
    }

    fn latch(&self) -> Latched<'_, Node> {
        Latched::new(&self.word)
    }
}

enum Verdict {
    Granted,
    Waits,
}

impl Latched<'_, Node> {
    /// Meets everybody who conflicts with the request.
    fn judge<R: Rule>(&self, request: &Request<'_, Node>) -> Result<Verdict, AbortReason> {
        let mut verdict = Verdict::Granted;
        let exclusive = request.is_exclusive();
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

    fn grant(&mut self, request: &Request<'_, Node>, waiting: bool) {
        if !waiting && !request.upgrade {
            self.insert_after(None, request.node);
        }
        request.node.set_state(match request.mode {
            Mode::Shared => state::SHARES,
            Mode::Exclusive => state::OWNS,
        });
        self.changed = true;
    }

    /// Begins to wait, or goes on.
    fn enter(&mut self, request: &Request<'_, Node>, waiting: bool, presses: bool) {
        if !waiting && !request.upgrade {
            self.insert_after(None, request.node);
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
    fn withdraw(&mut self, request: &Request<'_, Node>) {
        if request.upgrade {
            request.node.set_state(state::SHARES);
            self.changed = true;
        } else {
            self.remove(request.node);
        }
    }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Lock>() == 8 && size_of::<Node>() == 32);

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod models;
