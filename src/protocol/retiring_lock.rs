//! A lock of one word whose exclusive owner can *retire*: it shows what it has written, lets others
//! in before it commits, and they commit after it or not at all (Guo, Wu, Yan, Yu: "Releasing Locks
//! As Early As You Can", SIGMOD 2021, algorithm 2).
//!
//! # Definitions
//!
//! As in `record_lock.rs` the word points to a list of nodes, which belong to the transactions'
//! workers, and is latched while somebody changes it. The list begins with the *members*, in the
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

use super::lock_parts::{Chunks, Patience};
use super::record_lock::{Mode, Party};
use crate::error::AbortReason;
use crate::sync::fault::{self, Fault};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, CachePadded, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// Somebody is changing the list.
const LATCHED: u64 = 1;
/// The address of the first node.
const FIRST: u64 = 0x0000_ffff_ffff_fff0;
/// One change.
const CHANGE: u64 = 1 << 48;
const CHANGES: u64 = !0 << 48;
/// Moments after which a waiting thread looks at the list although the word seems the same.
const ROUNDS_MAX: u32 = 1_024;

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
    next: AtomicU64,
    /// What a retired owner shows.
    shown: AtomicPtr<()>,
    member: Arc<CachePadded<Member>>,
    state: AtomicU8,
    depends: AtomicBool,
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
        // Relaxed: the latch orders it.
        self.next.load(Ordering::Relaxed)
    }

    fn set_next(&self, next: u64) {
        // Relaxed: as in `next`.
        self.next.store(next, Ordering::Relaxed);
    }

    fn state(&self) -> u8 {
        // Relaxed: the latch orders it; the owner may always ask, nobody else changes it.
        self.state.load(Ordering::Relaxed)
    }

    fn set_state(&self, state: u8) {
        // Relaxed: as in `state`.
        self.state.store(state, Ordering::Relaxed);
    }

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

/// The nodes of one worker.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    member: Arc<CachePadded<Member>>,
    nodes: Chunks<Node>,
}

impl Nodes {
    /// The transaction that these nodes stand for.
    #[inline]
    pub(crate) fn member(&self) -> &Member {
        &self.member
    }

    /// A node by number.
    #[inline]
    pub(crate) fn get(&mut self, number: usize) -> &Node {
        self.nodes.get_or_make(number, || Node {
            next: AtomicU64::new(0),
            shown: AtomicPtr::new(std::ptr::null_mut()),
            member: Arc::clone(&self.member),
            state: AtomicU8::new(state::READS),
            depends: AtomicBool::new(false),
        })
    }
}

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

    fn wait(&self, request: Request<'_>, limit: Duration) -> Result<*mut (), AbortReason> {
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

    fn latch(&self) -> Latched<'_> {
        let mut patience = Patience::default();
        loop {
            // Relaxed: the exchange checks it.
            let word = self.word.load(Ordering::Relaxed);
            // Acquire: pairs with the Release in `unlatch`; the list is as its last owner left it,
            // and what is shown in it is written. Relaxed if it fails: tried again.
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

impl Request<'_> {
    fn writes(&self) -> bool {
        self.mode == Mode::Exclusive
    }
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

    fn members(&self) -> impl Iterator<Item = &Node> {
        self.nodes().take_while(|node| state::is_member(node.state()))
    }

    /// Meets everybody whom the request conflicts with, and wounds the younger ones who are in.
    /// Whether it can be granted.
    fn judge(&self, request: &Request<'_>) -> bool {
        let asking = &request.node.member;
        let (mut granted, mut passed) = (true, false);
        for other in self.nodes() {
            if std::ptr::eq(other, request.node) {
                passed = true;
                continue;
            }
            let theirs = other.state();
            let older = other.member.party.is_older_than(&asking.party);
            let conflicts = request.writes() || state::writes(theirs);
            if state::is_member(theirs) && conflicts && !older {
                other.member.party.wound();
            }
            let in_the_way = match theirs {
                state::OWNS => true,
                // One that wrote after this one had read does not commit before it either.
                state::RETIRED => other.member.doom().is_some() || (request.upgrade && passed),
                state::UPGRADES | state::WAITS_TO_OWN => older && !request.upgrade,
                state::WAITS_TO_READ => older && !request.upgrade && request.writes(),
                _ => false,
            };
            granted &= !in_the_way || fault::on(Fault::GrantUnchecked);
        }
        granted
    }

    /// Makes the node the last of the members. Returns what the last one before it shows.
    fn grant(&mut self, request: &Request<'_>, waiting: bool) -> *mut () {
        let node = request.node;
        if waiting || request.upgrade {
            self.remove(node);
        }
        let (mut last, mut conflicts, mut shown) = (None, false, std::ptr::null_mut());
        for other in self.members() {
            let writes = state::writes(other.state());
            conflicts |= writes || request.writes();
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
    fn enter(&mut self, request: &Request<'_>) {
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
    fn withdraw(&mut self, request: &Request<'_>) {
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

    fn insert_after(&mut self, place: Option<u64>, node: &Node) {
        // SAFETY: the address of a node of this list, which is latched.
        match place.and_then(|place| unsafe { Node::at(place) }) {
            Some(before) => {
                node.set_next(before.next());
                before.set_next(node.address());
            }
            None => {
                node.set_next(self.word & FIRST);
                self.word = (self.word & !FIRST) | node.address();
            }
        }
        self.changed = true;
    }

    fn remove(&mut self, node: &Node) {
        let before = self.nodes().find(|before| before.next() == node.address());
        match before {
            Some(before) => before.set_next(node.next()),
            None => {
                debug_assert_eq!(self.word & FIRST, node.address(), "the node is in the list");
                self.word = (self.word & !FIRST) | node.next();
            }
        }
        self.changed = true;
    }

    /// Lets the next one in; returns the word as it is then.
    fn unlatch(self) -> u64 {
        let first = self.word & FIRST;
        let word = match (self.changed, first) {
            (false, _) => self.word,
            (true, 0) => 0,
            (true, _) => first | (self.word.wrapping_add(CHANGE) & CHANGES),
        };
        let unlock = if fault::on(Fault::UnlockRelaxed) {
            // Relaxed: what a model must catch.
            Ordering::Relaxed
        } else {
            // Release: pairs with `latch`. Nobody changes a latched word, so a store will do.
            Ordering::Release
        };
        self.lock.word.store(word, unlock);
        word
    }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Lock>() == 8 && size_of::<Node>() == 64);
#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod models;
