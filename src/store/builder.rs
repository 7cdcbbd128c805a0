//! How a store is made.

use super::backoff::Climb;
use super::{RetryPolicy, Store};
use crate::clock::{Clock, ClockSource};
use crate::error::Error;
use crate::limits::SHARDS_MAX;
use crate::protocol::context::Core;
use crate::protocol::{Contention, Mvocc, Protocol};
use crate::storage::table::Spread;
use crate::sync::CachePadded;
use std::sync::Mutex;

/// Settings for a store; see [`Store::builder`].
///
/// ```
/// # fn main() -> Result<(), chronolith::Error> {
/// let store = chronolith::Store::builder().shards(4).build()?;
/// assert_eq!(store.shard_count(), 4);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct StoreBuilder {
    shards: usize,
    ordered_parts: usize,
    retry: RetryPolicy,
    contention: Contention,
    clock: ClockSource,
    hash_seed: Option<u64>,
}

impl StoreBuilder {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        StoreBuilder {
            shards: cores.min(SHARDS_MAX),
            ordered_parts: 1,
            retry: RetryPolicy::default(),
            contention: Contention::default(),
            clock: ClockSource::default(),
            hash_seed: None,
        }
    }

    /// The number of shards that keys are spread over; the number of cores unless set.
    #[must_use]
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// Over how many ordered indexes the keys of an ordered table are spread; 1 unless set, and at
    /// most as many as there are shards (set that as well: it depends on the machine).
    ///
    /// A range merges one walk through each of them, so with one it is the fastest. More of them
    /// may help threads that insert side by side at one end of the order and hardly read ranges.
    #[must_use]
    pub fn ordered_parts(mut self, parts: usize) -> Self {
        self.ordered_parts = parts;
        self
    }

    /// How often, and how fast, `transact` tries again.
    #[must_use]
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.retry = policy;
        self
    }

    /// How a commit deals with contention. Protocols that give no choice ignore it: see
    /// [`Protocol::HEEDS_CONTENTION`].
    #[must_use]
    pub fn contention(mut self, contention: Contention) -> Self {
        self.contention = contention;
        self
    }

    /// Where timestamps come from; found out unless set.
    #[must_use]
    pub fn clock(mut self, source: ClockSource) -> Self {
        self.clock = source;
        self
    }

    /// Makes key hashes, and thus placement, the same in every run. Unset, they differ from process
    /// to process, so that nobody can choose keys that collide.
    #[must_use]
    pub fn hash_seed(mut self, seed: u64) -> Self {
        self.hash_seed = Some(seed);
        self
    }

    /// Makes a store with the default protocol.
    ///
    /// # Errors
    ///
    /// [`Error::ShardCount`] if the number of shards is 0 or above [`SHARDS_MAX`];
    /// [`Error::PartCount`] if that of parts is 0 or above the number of shards.
    pub fn build(self) -> Result<Store, Error> {
        self.build_with::<Mvocc>()
    }

    /// Makes a store with protocol `P`.
    ///
    /// # Errors
    ///
    /// As for [`StoreBuilder::build`].
    pub fn build_with<P: Protocol>(self) -> Result<Store<P>, Error> {
        if self.shards == 0 || self.shards > SHARDS_MAX {
            return Err(Error::ShardCount { asked: self.shards, max: SHARDS_MAX });
        }
        let spread = Spread { shards: self.shards, parts: self.ordered_parts };
        if spread.parts == 0 || spread.parts > spread.shards {
            return Err(Error::PartCount { asked: spread.parts, max: spread.shards });
        }
        let hasher = match self.hash_seed {
            Some(seed) => ahash::RandomState::with_seeds(seed, !seed, seed.rotate_left(32), 0x5eed),
            None => ahash::RandomState::new(),
        };
        Ok(Store {
            core: Core::new(Clock::new(self.clock), spread, hasher, self.contention),
            names: Mutex::default(),
            retry: self.retry,
            climb: CachePadded::new(Climb::new()),
        })
    }
}
