//! Commit: from a transaction's access set to one decision.
//!
//! Each shard that the transaction touched is a participant of a two-phase commit. With one
//! participant there is nothing to coordinate and nothing of it is paid for. With more, every shard
//! first prepares, then the transaction's place in the serial order is drawn, then every shard
//! votes on what was read from it, and only if all vote yes is the one decision word set: all
//! shards' writes become visible at one instant.

use crate::error::AbortReason;
use crate::limits::REDRAWS_MAX;
use crate::protocol::context::Context;
use crate::protocol::{Conflict, Protocol, Step};
use crate::shard::members;
use crate::sync::step::{self, Step as Point};
use std::ops::Range;

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

fn try_commit<P: Protocol>(cx: &mut Context<'_, P>) -> Step<P, Participants> {
    cx.worker.access.order_writes();
    let shards = participants(cx);
    if shards.is_power_of_two() {
        one_phase(cx).map(|()| Participants::One)
    } else {
        two_phase(cx, shards).map(|()| Participants::Several)
    }
}

/// One bit for each shard that the transaction read from or writes to.
fn participants<P: Protocol>(cx: &Context<'_, P>) -> u64 {
    if cx.core.ring.shards() == 1 {
        return 1;
    }
    let access = &cx.worker.access;
    let writes = access.writes.iter().map(|write| write.shard);
    let reads = access.reads.iter().map(|read| read.shard);
    let absents = access.absents.iter().map(|absent| absent.shard);
    writes.chain(reads).chain(absents).fold(0, |shards, shard| shards | 1 << shard)
}

fn one_phase<P: Protocol>(cx: &mut Context<'_, P>) -> Step<P, ()> {
    let access = &cx.worker.access;
    let (reads, absents) = (access.reads.len(), access.absents.len());
    P::prepare(cx, 0..access.writes.len())?;
    until_decided(cx, |cx| P::validate(cx, 0..reads, 0..absents))
}

fn two_phase<P: Protocol>(cx: &mut Context<'_, P>, shards: u64) -> Step<P, ()> {
    cx.worker.access.order_reads();
    for shard in members(shards) {
        let writes = range(&cx.worker.access.writes, |write| write.shard, shard);
        P::prepare(cx, writes)?;
    }
    until_decided(cx, |cx| {
        for shard in members(shards) {
            let reads = range(&cx.worker.access.reads, |read| read.shard, shard);
            let absents = range(&cx.worker.access.absents, |absent| absent.shard, shard);
            P::validate(cx, reads, absents)?;
        }
        Ok(())
    })
}

/// Draws, collects the votes and decides; again if a reader pushed the transaction later meanwhile.
#[inline]
fn until_decided<P: Protocol>(
    cx: &mut Context<'_, P>,
    mut votes: impl FnMut(&mut Context<'_, P>) -> Step<P, ()>,
) -> Step<P, ()> {
    for _ in 0..REDRAWS_MAX {
        P::draw(cx)?;
        votes(cx)?;
        step::at(Point::PrepareVoted);
        if P::decide(cx)? {
            return Ok(());
        }
    }
    Err(Conflict::new(AbortReason::FloorRaised))
}

/// The entries of one shard, in a list that is ordered by shard.
fn range<T>(entries: &[T], shard_of: impl Fn(&T) -> u32, shard: u32) -> Range<usize> {
    let start = entries.partition_point(|entry| shard_of(entry) < shard);
    let len = entries[start..].partition_point(|entry| shard_of(entry) == shard);
    start..start + len
}
