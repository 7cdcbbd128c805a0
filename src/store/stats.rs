//! What a store has done and what it holds.

use super::Store;
use crate::error::AbortReason;
use crate::protocol::Protocol;

/// Counts since the store was made, and what it holds now. Read while others work, so the figures
/// are each a little behind and need not agree with each other to the last unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Committed transactions.
    pub commits: u64,
    /// Committed transactions that wrote nothing.
    pub commits_read_only: u64,
    /// Committed writing transactions that touched one shard: the one-phase path.
    pub commits_one_shard: u64,
    /// Committed writing transactions that touched several: two-phase commit.
    pub commits_cross_shard: u64,
    /// Aborted attempts, by [`AbortReason::index`].
    pub aborts: [u64; AbortReason::COUNT],
    /// Versions in chains, and private ones of open transactions.
    pub versions_live: u64,
    /// Versions unlinked and not yet free, because a reader might stand on them.
    pub versions_retired: u64,
    /// The longest version chain that reclamation has met.
    pub chain_length_max: u64,
    /// Bytes of live and retired versions.
    pub retained_bytes: u64,
    /// Records: keys that are present, or were recently.
    pub records: u64,
    /// Bytes that the store's arenas hold, in use or free.
    pub arena_bytes: u64,
    /// How often a thread gave its processor away between two transactions, because more of them
    /// were open than there are processors.
    pub rests: u64,
    /// Transactions that were open at once, at most.
    pub workers: u64,
}

impl Stats {
    /// Aborted attempts for one reason.
    #[must_use]
    pub fn aborts_for(&self, reason: AbortReason) -> u64 {
        self.aborts[reason.index()]
    }
}

impl<P: Protocol> Store<P> {
    /// What the store has done and what it holds.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = Stats {
            arena_bytes: self.core.pool.bytes(),
            rests: self.core.crowd.rests(),
            ..Stats::default()
        };
        // Each worker counts what it did itself: one may free what another made.
        let (mut made, mut unlinked, mut freed) = (0u64, 0u64, 0u64);
        let (mut bytes_made, mut bytes_freed) = (0u64, 0u64);
        let (mut records_made, mut records_freed) = (0u64, 0u64);
        for cell in self.core.workers.cells() {
            let tallies = &cell.tallies;
            stats.workers += 1;
            stats.commits += tallies.commits.get();
            stats.commits_read_only += tallies.commits_read_only.get();
            stats.commits_one_shard += tallies.commits_one_shard.get();
            stats.commits_cross_shard += tallies.commits_cross_shard.get();
            for (sum, tally) in stats.aborts.iter_mut().zip(&tallies.aborts) {
                *sum += tally.get();
            }
            stats.chain_length_max = stats.chain_length_max.max(tallies.chain_length_max.get());
            made += tallies.versions_made.get();
            unlinked += tallies.versions_unlinked.get();
            freed += tallies.versions_freed.get();
            bytes_made += tallies.bytes_made.get();
            bytes_freed += tallies.bytes_freed.get();
            records_made += tallies.records_made.get();
            records_freed += tallies.records_freed.get();
        }
        stats.versions_live = made.saturating_sub(unlinked);
        stats.versions_retired = unlinked.saturating_sub(freed);
        stats.retained_bytes = bytes_made.saturating_sub(bytes_freed);
        stats.records = records_made.saturating_sub(records_freed);
        stats
    }
}
