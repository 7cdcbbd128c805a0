//! A lock of one word whose exclusive owner can *retire*: it shows what it has written, lets others
//! in before it commits, and they commit after it or not at all (Guo, Wu, Yan, Yu: "Releasing Locks
//! As Early As You Can", SIGMOD 2021, algorithm 2).
//!
//! # Definitions
//!
//! The word points to a list of nodes (see `lock_parts.rs`) and is latched while somebody changes
//! it. The list begins with the *members*, in the
//! order in which they were let in, and ends with those who wait. A member reads, or owns the
//! record and has shown nothing yet, or has retired. Two members *conflict* if one of them writes.
//! A member *depends* on those before it that it conflicts with. A transaction counts at how many
//! locks it depends on somebody: the paper's commit semaphore. It is *doomed* if it was wounded, or
//! has *fallen* because somebody whose value it may have used has failed.
//!
//! # Invariants
//!
//! 1. Nodes are added, taken out, and change their state under the latch only. Whoever finds a node
//!    under the latch knows that its transaction is open.
//! 2. An owner that has shown nothing is the last of the members.
//! 3. Of two members that conflict the first is the older one, or was wounded before the second one
//!    came in. So whoever waits, for a lock or for those it depends on, waits for older ones and
//!    for wounded ones, which give up when they notice: no deadlock.
//! 4. Nobody comes in after a doomed writer before that has left. So the oldest of all open
//!    transactions never falls through what it locks from then on.
//! 5. A transaction's count is not 0 while somebody that it depends on is in a list; and when one
//!    that has failed leaves, those after it have fallen before their count goes down. So who finds
//!    0 and then that it has not fallen depends on committed transactions only.
//!
//! # Who is next
//!
//! Those who wait are let in when nobody older waits for something that conflicts. An upgrade does
//! not mind those, who would have to wait for it anyway.

use super::lock_parts::{self, Latched, Link, Listed, Mode, Patience, ROUNDS_MAX, Request};
use super::record_lock::Party;
use crate::error::AbortReason;
use crate::sync::fault::{self, Fault};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU64, CachePadded, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// A transaction as others meet it. Used again by the next one of the same worker.
#[derive(Debug, Default)]
pub(crate) struct Member {
    party: Party,
    /// Locks at which it depends on somebody.
    dependencies: AtomicU64,
    fallen: AtomicBool,
}

impl Member {
    /// Begins a transaction; it is in no list.
    pub(crate) fn begin(&self, age: u64, id: u64) {
        self.party.begin(age, id);
        // Relaxed, both: the latch under which a node is put into a list publishes them.
        self.dependencies.store(0, Ordering::Relaxed);
        // Relaxed: as above.
        self.fallen.store(false, Ordering::Relaxed);
    }

    fn fall(&self) {
        // Relaxed: published by the count that goes down after it (`Latched::settle`).
        self.fallen.store(true, Ordering::Relaxed);
    }

    fn has_fallen(&self) -> bool {
        // Relaxed: to commit on it, the count is loaded first (`await_dependencies`); otherwise it
        // only says that going on is in vain.
        self.fallen.load(Ordering::Relaxed)
    }

    /// Why this transaction has to give up, if it has.
    #[inline]
    pub(crate) fn doom(&self) -> Option<AbortReason> {
        if self.has_fallen() {
            Some(AbortReason::CascadingAbort)
        } else {
            self.party.is_wounded().then_some(AbortReason::Wounded)
        }
    }

    /// Waits until everybody has committed that this transaction depends on. After that it is not
    /// held up, nor doomed, by anybody.
    ///
    /// # Errors
    ///
    /// One of those has failed; or the wait was too long, or somebody older has wounded this
    /// transaction.
    pub(crate) fn await_dependencies(&self, limit: Duration) -> Result<(), AbortReason> {
        let mut patience = Patience::default();
        loop {
            // Acquire: pairs with the Release in `Latched::settle`: what those before have done,
            // and whether one of them has failed.
            let free = self.dependencies.load(Ordering::Acquire) == 0;
            if (free && !self.has_fallen()) || fault::on(Fault::IgnoreDependencies) {
                return Ok(());
            }
            if let Some(reason) = self.doom() {
                return Err(reason);
            }
            if patience.wait() >= limit {
                return Err(AbortReason::LockTimeout);
            }
        }
    }
}

/// What a node does in its list.
mod state {
    pub(super) const READS: u8 = 0;
    /// Has the record to itself, and has shown nothing.
    pub(super) const OWNS: u8 = 1;
    /// Has written, and lets others in.
    pub(super) const RETIRED: u8 = 2;
    /// Reads, and waits to own.
    pub(super) const UPGRADES: u8 = 3;
    pub(super) const WAITS_TO_READ: u8 = 4;
    pub(super) const WAITS_TO_OWN: u8 = 5;

    pub(super) fn is_member(state: u8) -> bool {
        state < WAITS_TO_READ
    }

    pub(super) fn writes(state: u8) -> bool {
        matches!(state, OWNS | RETIRED)
    }
}

/// One transaction's place in the list of one lock.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Node {
    link: Link,
    /// What a retired owner shows.
    shown: AtomicPtr<()>,
    member: Arc<CachePadded<Member>>,
    depends: AtomicBool,
}

impl Node {
    fn shown(&self) -> *mut () {
        // Relaxed: the latch orders it, and what it points to.
        self.shown.load(Ordering::Relaxed)
    }

    fn depends(&self) -> bool {
        // Relaxed: the latch orders it.
        self.depends.load(Ordering::Relaxed)
    }

    fn set_depends(&self, depends: bool) {
        // Relaxed: the latch orders it.
        self.depends.store(depends, Ordering::Relaxed);
    }

    /// Begins to depend on somebody, if it does not yet. Only the node's transaction does this.
    fn depend(&self) {
        if !self.depends() {
            self.set_depends(true);
            // Relaxed: nobody else raises the count, and who waits for it is this thread.
            self.member.dependencies.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Depends on nobody any more.
    fn depend_no_more(&self) {
        self.set_depends(false);
        // Release: pairs with `Member::await_dependencies`.
        self.member.dependencies.fetch_sub(1, Ordering::Release);
    }

    /// How this node's transaction holds the lock.
    #[inline]
    pub(crate) fn mode(&self) -> Mode {
        if state::writes(self.state()) { Mode::Exclusive } else { Mode::Shared }
    }
}

impl Listed for Node {
    type Transaction = Member;

    fn new(member: &Arc<CachePadded<Member>>) -> Self {
        Node {
            link: Link::default(),
            shown: AtomicPtr::new(std::ptr::null_mut()),
            member: Arc::clone(member),
            depends: AtomicBool::new(false),
        }
    }

    #[inline]
    fn link(&self) -> &Link {
        &self.link
    }
}

/// The nodes of one worker.
pub(crate) type Nodes = lock_parts::Nodes<Node>;

/// A lock that its owners give up before they commit.
#[derive(Debug, Default)]
pub struct Lock {
    word: AtomicU64,
}

impl Lock {
    /// Whether the list is empty. The answer is firm for somebody who would be in it.
    #[inline]
    pub(crate) fn is_free(&self) -> bool {
        // Relaxed: a latch checks it, if that is taken.
        self.word.load(Ordering::Relaxed) == 0
    }

    /// Takes the lock with this node, which is in no list. Returns what the last one shows who has
    /// written and is still here (null: nobody).
    ///
    /// # Errors
    ///
    /// The wait was too long, or this transaction is doomed meanwhile.
    #[inline]
    pub(crate) fn acquire(
        &self,
        node: &Node,
        mode: Mode,
        limit: Duration,
    ) -> Result<*mut (), AbortReason> {
        self.wait(Request { node, mode, upgrade: false }, limit)
    }

    /// Lets a reader own the record. If that fails, it still reads.
    ///
    /// # Errors
    ///
    /// As for [`Lock::acquire`].
    pub(crate) fn upgrade(&self, node: &Node, limit: Duration) -> Result<(), AbortReason> {
        self.wait(Request { node, mode: Mode::Exclusive, upgrade: true }, limit).map(|_| ())
    }

    /// Shows what the owner has written, and lets others in. If it has shown something before,
    /// whoever may have used that falls.
    pub(crate) fn retire(&self, node: &Node, shown: *mut ()) {
        let mut list = self.latch();
        if node.state() == state::RETIRED {
            list.fell_those_after(node);
        }
        // Relaxed: the latch orders it.
        node.shown.store(shown, Ordering::Relaxed);
        node.set_state(state::RETIRED);
        list.changed = true;
        list.unlatch();
    }

    /// Gives the lock back; the node is in no list then. If its transaction has failed, whoever may
    /// have used what it shows falls.
    #[inline]
    pub(crate) fn release(&self, node: &Node, failed: bool) {
        let mut list = self.latch();
        if failed && node.state() == state::RETIRED {
            list.fell_those_after(node);
        }
        list.remove(node);
        if node.depends() {
            node.depend_no_more();
        }
        list.settle();
        list.unlatch();
    }

    fn wait(&self, request: Request<'_, Node>, limit: Duration) -> Result<*mut (), AbortReason> {
        let mut patience = Patience::default();
        let (mut waiting, mut over) = (false, None);
        loop {
            let mut list = self.latch();
            let mut outcome = None;
            if let Some(reason) = over {
                list.withdraw(&request);
                outcome = Some(Err(reason));
            } else if list.judge(&request) {
                outcome = Some(Ok(list.grant(&request, waiting)));
            } else if !waiting {
                list.enter(&request);
                waiting = true;
            }
            let seen = list.unlatch();
            if let Some(outcome) = outcome {
                return outcome;
            }
            over = self.watch(seen, request.node, &mut patience, limit);
        }
    }

    /// Waits until the list has changed, or a while. Returns why the wait is over, if it is.
    fn watch(
        &self,
        seen: u64,
        node: &Node,
        patience: &mut Patience,
        limit: Duration,
    ) -> Option<AbortReason> {
        for _ in 0..ROUNDS_MAX {
            let waited = patience.wait();
            if let Some(reason) = node.member.doom() {
                return Some(reason);
            }
            if waited >= limit {
                return Some(AbortReason::LockTimeout);
            }
            // Relaxed: a hint that there is something new; the latch is what acquires it.
            if self.word.load(Ordering::Relaxed) != seen {
                break;
            }
        }
        None
    }

    fn latch(&self) -> Latched<'_, Node> {
        Latched::new(&self.word)
    }
}

impl Latched<'_, Node> {
    fn members(&self) -> impl Iterator<Item = &Node> {
        self.nodes().take_while(|node| state::is_member(node.state()))
    }

    /// Meets everybody whom the request conflicts with, and wounds the younger ones who are in.
    /// Whether it can be granted.
    fn judge(&self, request: &Request<'_, Node>) -> bool {
        let asking = &request.node.member;
        let (mut granted, mut passed) = (true, false);
        for other in self.nodes() {
            if std::ptr::eq(other, request.node) {
                passed = true;
                continue;
            }
            let theirs = other.state();
            let older = other.member.party.is_older_than(&asking.party);
            let conflicts = request.is_exclusive() || state::writes(theirs);
            if state::is_member(theirs) && conflicts && !older {
                other.member.party.wound();
            }
            let in_the_way = match theirs {
                state::OWNS => true,
                // One that wrote after this one had read does not commit before it either.
                state::RETIRED => other.member.doom().is_some() || (request.upgrade && passed),
                state::UPGRADES | state::WAITS_TO_OWN => older && !request.upgrade,
                state::WAITS_TO_READ => older && !request.upgrade && request.is_exclusive(),
                _ => false,
            };
            granted &= !in_the_way || fault::on(Fault::GrantUnchecked);
        }
        granted
    }

    /// Makes the node the last of the members. Returns what the last one before it shows.
    fn grant(&mut self, request: &Request<'_, Node>, waiting: bool) -> *mut () {
        let node = request.node;
        if waiting || request.upgrade {
            self.remove(node);
        }
        let (mut last, mut conflicts, mut shown) = (None, false, std::ptr::null_mut());
        for other in self.members() {
            let writes = state::writes(other.state());
            conflicts |= writes || request.is_exclusive();
            if writes {
                shown = other.shown();
            }
            last = Some(other.address());
        }
        self.insert_after(last, node);
        node.set_state(match request.mode {
            Mode::Shared => state::READS,
            Mode::Exclusive => state::OWNS,
        });
        if conflicts {
            node.depend();
        }
        shown
    }

    /// Begins to wait.
    fn enter(&mut self, request: &Request<'_, Node>) {
        if request.upgrade {
            request.node.set_state(state::UPGRADES);
            self.changed = true;
            return;
        }
        request.node.set_state(match request.mode {
            Mode::Shared => state::WAITS_TO_READ,
            Mode::Exclusive => state::WAITS_TO_OWN,
        });
        let last = self.nodes().last().map(Node::address);
        self.insert_after(last, request.node);
    }

    /// Ends the wait without the lock.
    fn withdraw(&mut self, request: &Request<'_, Node>) {
        if request.upgrade {
            request.node.set_state(state::READS);
            self.changed = true;
        } else {
            self.remove(request.node);
        }
    }

    /// Fells every member behind a writer: each of them depends on it.
    fn fell_those_after(&self, node: &Node) {
        let after = self.members().skip_while(|other| !std::ptr::eq(*other, node)).skip(1);
        after.for_each(|other| other.member.fall());
    }

    /// Tells those who depend on nobody any more.
    fn settle(&self) {
        let mut first = true;
        for node in self.members() {
            let writes = state::writes(node.state());
            // A reader depends on writers, a writer on everybody.
            if node.depends() && (first || !writes) {
                node.depend_no_more();
            }
            if writes {
                break;
            }
            first = false;
        }
    }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Lock>() == 8 && size_of::<Node>() == 64);
#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod models;
