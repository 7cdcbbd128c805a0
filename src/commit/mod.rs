//! Commit: from a transaction's access set to one decision.
//!
//! Each shard that the transaction touched is a participant of a two-phase commit. With one
//! participant there is nothing to coordinate and nothing of it is paid for. With more, every shard
//! first prepares, then the transaction's place in the serial order is drawn, then what was read
//! from every shard is validated, and only if all agree is the one decision word set: all shards'
//! writes become visible at one instant.

use crate::error::AbortReason;
use crate::limits::REDRAWS_MAX;
use crate::protocol::access_set::WriteKind;
use crate::protocol::context::Context;
use crate::protocol::{Conflict, Place, Protocol, Step};
use crate::storage::ordered_index::KeyOrder;
use crate::sync::fault::{self, Fault};
use crate::sync::step::{self, Step as Point};

/// How many shards a commit had to bring together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Participants {
    /// One: the one-phase path.
    One,
    /// Several: two-phase commit.
    Several,
}

/// Commits the transaction, or takes everything back and says why not.
pub(crate) fn commit<P: Protocol>(cx: &mut Context<'_, P>) -> Step<P, Participants> {
    // A key's equality is the user's code and may panic while the transaction is half installed.
    let unwinding = TakeBack { cx };
    let outcome = try_commit(unwinding.cx);
    match outcome {
        Ok(_) => P::finish(unwinding.cx),
        Err(_) => P::abort(unwinding.cx),
    }
    std::mem::forget(unwinding);
    outcome
}

/// Takes back what was prepared, when a panic passes through. No code of the user's runs after the
/// decision, so it is still open then.
struct TakeBack<'c, 'a, P: Protocol> {
    cx: &'c mut Context<'a, P>,
}

impl<P: Protocol> Drop for TakeBack<'_, '_, P> {
    fn drop(&mut self) {
        P::abort(self.cx);
    }
}

/// Finds out whether the transaction could commit, and takes everything back. What it read was one
/// moment's truth then.
pub(crate) fn rehearse<P: Protocol>(cx: &mut Context<'_, P>) -> Step<P, ()> {
    let unwinding = TakeBack { cx };
    let cx = &mut *unwinding.cx;
    prepare(cx)?;
    P::draw(cx)?;
    vote(cx)
}

fn try_commit<P: Protocol>(cx: &mut Context<'_, P>) -> Step<P, Participants> {
    let participants = prepare(cx)?;
    for _ in 0..REDRAWS_MAX {
        P::draw(cx)?;
        if fault::on(Fault::TornDecision) {
            // SAFETY: prepared, and only the end of this transaction gives it away.
            cx.worker.access.writes.iter().take(1).for_each(|write| unsafe {
                (*write.version).set_begin(cx.worker.commit);
            });
        }
        vote(cx)?;
        step::at(Point::PrepareVoted);
        // False: a reader has pushed the transaction later meanwhile.
        if P::decide(cx)? {
            return Ok(participants);
        }
    }
    Err(Conflict::new(AbortReason::FloorRaised))
}

/// Prepares the writes in runs of one shard: one run for each shard, or several of them if the
/// transaction only inserts.
#[inline(always)]
fn prepare<P: Protocol>(cx: &mut Context<'_, P>) -> Step<P, Participants> {
    cx.worker.access.order_writes();
    let mut writes = 0..0;
    while let Some(first) = cx.worker.access.writes.get(writes.end) {
        let rest = &cx.worker.access.writes[writes.end..];
        let len = rest.iter().take_while(|write| write.shard == first.shard).count();
        writes = writes.end..writes.end + len;
        P::prepare(cx, writes.clone())?;
    }
    if writes.start == 0 && reads_one_shard(cx) {
        Ok(Participants::One)
    } else {
        Ok(Participants::Several)
    }
}

/// The votes of all shards, in one pass: the coordinator reaches every shard's memory itself.
#[inline]
fn vote<P: Protocol>(cx: &mut Context<'_, P>) -> Step<P, ()> {
    let access = &cx.worker.access;
    let (reads, absents, ranges) =
        (access.reads.len(), access.absents.len(), !access.ranges.is_empty());
    P::validate(cx, 0..reads, 0..absents)?;
    if ranges && !fault::on(Fault::SkipRanges) {
        validate_ranges(cx)?;
    }
    Ok(())
}

/// Whether everything that the transaction read is in the shard of its first write.
fn reads_one_shard<P: Protocol>(cx: &Context<'_, P>) -> bool {
    if cx.core.ring.shards() == 1 {
        return true;
    }
    let access = &cx.worker.access;
    // A range is one of keys of all shards.
    if access.walks > 0 {
        return false;
    }
    let writes = access.writes.iter().take(1).map(|write| write.shard);
    let reads = access.reads.iter().map(|read| read.shard);
    let absents = access.absents.iter().map(|absent| absent.shard);
    let mut shards = writes.chain(reads).chain(absents);
    let first = shards.next();
    shards.all(|shard| Some(shard) == first)
}

/// Checks that no key was inserted into a range that the transaction has read. Inserts are
/// published before their transactions validate, in the one order of sequentially consistent
/// operations, so of two transactions that each insert into the other's range at least one notices.
fn validate_ranges<P: Protocol>(cx: &Context<'_, P>) -> Step<P, ()> {
    let access = &cx.worker.access;
    let is_own = |record| {
        let mut inserts = access.writes.iter().filter(|write| write.kind == WriteKind::Insert);
        inserts.any(|write| std::ptr::eq(write.record, record))
    };
    for range in &access.ranges {
        let table = range.table.get();
        let index = &table.parts()[range.part as usize];
        let pass = |record| {
            // SAFETY: records in the index are alive while this step is pinned.
            let head = unsafe { table.head(record, 0) };
            head < range.low || head > range.high || is_own(record)
        };
        if !index.still_unchanged(&range.witness, table, pass) {
            let at = Some(Place::Key(range.table.pointer(), 0));
            return Err(Conflict { reason: AbortReason::Phantom, at });
        }
    }
    Ok(())
}
