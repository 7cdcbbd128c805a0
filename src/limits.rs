//! Every bound of the store, in one place, with its unit last.

/// Transactions that may be open at once in one store: each needs a slot in the watermark.
pub const OPEN_TRANSACTIONS_MAX: usize = 4096;
/// Shards of one store.
pub const SHARDS_MAX: usize = 64;
/// Points of each shard on the ring; more balance better and cost more when the ring is built.
pub const RING_POINTS_PER_SHARD: usize = 256;
/// Tables of one store: a record names its table in 16 bits.
pub const TABLES_MAX: usize = 65_535;
/// The longest key or byte-string value.
pub const PAYLOAD_LEN_MAX_BYTES: usize = 1 << 30;
/// Failures after which `transact` gives up, unless the builder says otherwise.
pub const RETRIES_MAX_DEFAULT: u32 = 1_000_000;
/// Where the exponential back-off's ceiling begins.
pub const BACKOFF_MIN_NS: u64 = 100;
/// Where the exponential back-off's ceiling ends.
pub const BACKOFF_MAX_NS: u64 = 100_000;
/// The fixed back-off's ceiling on the command line: the abort penalty of DBx1000.
pub const BACKOFF_FIXED_NS: u64 = 100_000;
/// The time between two moves of the adaptive back-off's ceiling (this and the next two: Cicada).
pub const BACKOFF_CLIMB_INTERVAL_NS: u64 = 5_000_000;
/// How far the adaptive back-off's ceiling moves.
pub const BACKOFF_CLIMB_STEP_NS: u64 = 500;
/// Where the adaptive back-off's ceiling ends; it begins at 0.
pub const BACKOFF_CLIMB_MAX_NS: u64 = 1_000_000;
/// Writes of one shard that a commit picks out as the most contended (Cicada's partial sort).
pub const CONTENDED_FIRST: usize = 8;
/// Pauses a transaction grants an undecided writer before it decides that writer's fate.
pub const UNDECIDED_SPINS_MAX: u32 = if cfg!(loom) { 0 } else { 64 };
/// Times a commit draws a later timestamp because a reader raised its floor, before it gives way.
pub const REDRAWS_MAX: u32 = 16;
/// Failed attempts after which a transaction asks for the right of way.
pub const STARVING_AFTER_RETRIES: u32 = 8;
/// The longest right of way that a starving transaction can hold.
pub const RIGHT_OF_WAY_MAX_NS: u64 = 10_000_000;
/// How long a store counts as crowded after more transactions were open than processors.
pub const CROWD_REMEMBERED_NS: u64 = 1_000_000_000;
/// In a crowd a thread that has run transactions for so long, without a pause as long, gives its
/// processor away before the next one.
pub const REST_AFTER_NS: u64 = 500_000;
/// Reads that may be checked again to move a snapshot forward instead of aborting.
pub const EXTENSION_READS_MAX: usize = 64;
/// A writer whose version has a multiple of this number below it prunes the record although another
/// worker holds its reclamation ticket.
pub const VOLUNTEER_DEPTH: u16 = 8;
/// Records one commit may prune beyond those it wrote itself.
pub const RECLAIM_STEPS_PER_COMMIT: usize = 4;
/// Queued records that make a worker look for the oldest snapshot again.
pub const RECLAIM_BATCH: usize = 32;
/// Blocks that wait for one epoch together.
pub const LIMBO_BATCH: usize = 64;
/// The longest wait for a lock, by the protocols that have locks, before they abort.
pub const LOCK_WAIT_MAX_MS: u64 = 1_000;
/// How long whoever waits for a lock lets younger transactions pass.
pub const LOCK_PRESSES_AFTER_US: u64 = 200;
