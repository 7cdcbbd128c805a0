//! What can go wrong, in two kinds that are never confused.
//!
//! An [`Abort`] is an expected outcome of concurrency: it has a reason and a place, and trying
//! again usually helps. An [`Error`] is misuse or a limit: trying again does not help. A bug is
//! neither; it is an assertion.

use std::fmt;
use std::sync::Arc;

/// Why a transaction did not commit.
///
/// One enumeration for every protocol, so that a comparison can put their aborts side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AbortReason {
    /// Another transaction committed a newer version of a record that this one writes.
    WriteConflict,
    /// A record or an absent key that this transaction read has changed since.
    ReadValidation,
    /// A key was inserted into a range that this transaction read.
    Phantom,
    /// Another transaction inserted the key that this one inserts.
    InsertConflict,
    /// Another transaction decided this one's fate while it was undecided.
    Overruled,
    /// Readers kept raising the lower bound of the commit timestamp.
    FloorRaised,
    /// The record lies in the past of another transaction: a later one has read or written it.
    WriteTooOld,
    /// A lock was held by another transaction (protocols that do not wait for locks).
    LockConflict,
    /// An older transaction held the lock (wait-die).
    LockDie,
    /// An older transaction took the lock away (wound-wait).
    Wounded,
    /// A lock was not granted in time (blocking protocols only).
    LockTimeout,
    /// Committing could close a cycle of dependencies (certifiers over snapshots).
    ExclusionWindow,
    /// A transaction whose uncommitted value this one read has aborted.
    CascadingAbort,
    /// Another transaction of the batch comes first (deterministic batches).
    BatchConflict,
    /// The allocator refused memory for the commit.
    OutOfMemory,
    /// The program rolled the transaction back.
    User,
}

impl AbortReason {
    /// Every reason, in the order of their index.
    pub const ALL: [AbortReason; 16] = [
        AbortReason::WriteConflict,
        AbortReason::ReadValidation,
        AbortReason::Phantom,
        AbortReason::InsertConflict,
        AbortReason::Overruled,
        AbortReason::FloorRaised,
        AbortReason::WriteTooOld,
        AbortReason::LockConflict,
        AbortReason::LockDie,
        AbortReason::Wounded,
        AbortReason::LockTimeout,
        AbortReason::ExclusionWindow,
        AbortReason::CascadingAbort,
        AbortReason::BatchConflict,
        AbortReason::OutOfMemory,
        AbortReason::User,
    ];
    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();

    /// The reason's name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            AbortReason::WriteConflict => "write-conflict",
            AbortReason::ReadValidation => "read-validation",
            AbortReason::Phantom => "phantom",
            AbortReason::InsertConflict => "insert-conflict",
            AbortReason::Overruled => "overruled",
            AbortReason::FloorRaised => "floor-raised",
            AbortReason::WriteTooOld => "write-too-old",
            AbortReason::LockConflict => "lock-conflict",
            AbortReason::LockDie => "lock-die",
            AbortReason::Wounded => "wounded",
            AbortReason::LockTimeout => "lock-timeout",
            AbortReason::ExclusionWindow => "exclusion-window",
            AbortReason::CascadingAbort => "cascading-abort",
            AbortReason::BatchConflict => "batch-conflict",
            AbortReason::OutOfMemory => "out-of-memory",
            AbortReason::User => "user",
        }
    }

    /// The reason's place in an array of [`AbortReason::COUNT`] counters.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for AbortReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A transaction that did not commit: the reason, and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Abort {
    reason: AbortReason,
    table: Option<Arc<str>>,
    key_hash: Option<u64>,
}

impl Abort {
    /// An abort that no single key caused.
    #[must_use]
    pub fn new(reason: AbortReason) -> Self {
        Abort { reason, table: None, key_hash: None }
    }

    /// An abort caused by one key of one table.
    pub(crate) fn at(reason: AbortReason, table: Arc<str>, key_hash: u64) -> Self {
        Abort { reason, table: Some(table), key_hash: Some(key_hash) }
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> AbortReason {
        self.reason
    }

    /// The table of the key that conflicted, where one key is to blame.
    #[must_use]
    pub fn table(&self) -> Option<&str> {
        self.table.as_deref()
    }

    /// The hash of the key that conflicted, where one key is to blame. Equal keys of one table have
    /// equal hashes for as long as the store lives.
    #[must_use]
    pub fn key_hash(&self) -> Option<u64> {
        self.key_hash
    }
}

impl fmt::Display for Abort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "transaction aborted: {}", self.reason)?;
        if let (Some(table), Some(hash)) = (&self.table, self.key_hash) {
            write!(f, " in table \"{table}\" at key hash {hash:016x}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Abort {}

/// Misuse or a limit: something that trying again does not change.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The number of shards is 0 or above the limit.
    ShardCount {
        /// What was asked for.
        asked: usize,
        /// The largest number allowed.
        max: usize,
    },
    /// The number of parts of an ordered table is 0 or above that of the shards.
    PartCount {
        /// What was asked for.
        asked: usize,
        /// The largest number allowed: that of the shards.
        max: usize,
    },
    /// The table exists with other key or value types.
    TableType {
        /// The table's name.
        table: String,
    },
    /// There are too many tables.
    TableCount {
        /// The largest number allowed.
        max: usize,
    },
    /// The table belongs to another store.
    ForeignTable {
        /// The table's name.
        table: String,
    },
    /// A read-only transaction was asked to write.
    ReadOnly,
    /// The transaction was already rolled back, or met a conflict, and can only end.
    Ended,
    /// An operation was called from inside another one of the same transaction.
    Busy,
    /// Too many transactions are open at once.
    OpenTransactions {
        /// The largest number allowed.
        max: usize,
    },
    /// A key or value is longer than the limit.
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The largest length allowed, in bytes.
        max: usize,
    },
    /// The protocol has no ranges.
    NoRanges {
        /// The protocol's name.
        protocol: &'static str,
    },
    /// There is an index, or a table, of that name already.
    IndexExists {
        /// The name, with the table's.
        index: String,
    },
    /// The table was written to before the index was declared.
    IndexTooLate {
        /// The index's name, with the table's.
        index: String,
    },
    /// Another row has this key in a unique index.
    NotUnique {
        /// The index's name, with the table's.
        index: String,
    },
    /// The function of an index gave one row two different keys.
    IndexFunction {
        /// The index's name, with the table's.
        index: String,
    },
    /// A batch has not as many places for values as keys.
    BatchLength {
        /// How many keys.
        keys: usize,
        /// How many places.
        places: usize,
    },
    /// The allocator refused memory.
    OutOfMemory,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::ShardCount { asked, max } => {
                write!(f, "a store has 1 to {max} shards, not {asked}")
            }
            Error::PartCount { asked, max } => {
                write!(f, "ordered tables have 1 to {max} parts in this store, not {asked}")
            }
            Error::TableType { table } => {
                write!(f, "table \"{table}\" exists with other key or value types")
            }
            Error::TableCount { max } => write!(f, "a store has at most {max} tables"),
            Error::ForeignTable { table } => {
                write!(f, "table \"{table}\" belongs to another store")
            }
            Error::ReadOnly => f.write_str("this transaction is read-only: use transact or begin"),
            Error::Ended => f.write_str("this transaction has already failed and can only end"),
            Error::Busy => f.write_str(
                "this transaction is inside another operation: a key or value must not use it",
            ),
            Error::OpenTransactions { max } => {
                write!(f, "at most {max} transactions can be open at once: end some first")
            }
            Error::TooLong { len, max } => {
                write!(f, "a key or value has at most {max} bytes, not {len}")
            }
            Error::NoRanges { protocol } => write!(
                f,
                "the protocol {protocol} has no ranges: use another one, or tables without order"
            ),
            Error::IndexExists { index } => {
                write!(f, "an index or a table \"{index}\" exists already: clone its handle")
            }
            Error::IndexTooLate { index } => write!(
                f,
                "index \"{index}\" comes too late: declare it before the first write to its table"
            ),
            Error::NotUnique { index } => {
                write!(f, "unique index \"{index}\" has another row with this key")
            }
            Error::IndexFunction { index } => write!(
                f,
                "the function of index \"{index}\" gave another key than before for the same row"
            ),
            Error::BatchLength { keys, places } => {
                write!(f, "a batch of {keys} keys needs {keys} places for values, not {places}")
            }
            Error::OutOfMemory => f.write_str("the allocator has no memory left"),
        }
    }
}

impl std::error::Error for Error {}

/// What an operation inside a transaction returns when it cannot go on.
///
/// Hand it on with `?`: [`crate::Store::transact`] retries the aborts that a retry can help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TransactionError {
    /// An expected conflict, or the program's own rollback.
    Abort(Abort),
    /// Misuse or a limit.
    Error(Error),
}

impl TransactionError {
    /// The abort, if it is one.
    #[must_use]
    pub fn abort(&self) -> Option<&Abort> {
        match self {
            TransactionError::Abort(abort) => Some(abort),
            TransactionError::Error(_) => None,
        }
    }
}

impl fmt::Display for TransactionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TransactionError::Abort(abort) => abort.fmt(f),
            TransactionError::Error(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TransactionError {}

impl From<Abort> for TransactionError {
    fn from(abort: Abort) -> Self {
        TransactionError::Abort(abort)
    }
}

impl From<Error> for TransactionError {
    fn from(error: Error) -> Self {
        TransactionError::Error(error)
    }
}
