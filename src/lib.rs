//! Chronolith: a lock-free, in-memory, multi-version transactional store.
//!
//! ```
//! # fn main() -> Result<(), chronolith::TransactionError> {
//! let store = chronolith::Store::new();
//! let stock = store.table::<str, u64>("stock")?;
//! store.transact(|tx| tx.put(&stock, "apples", 10))?;
//! let sold = store.transact(|tx| {
//!     let left = tx.get(&stock, "apples")?.copied().unwrap_or(0);
//!     if left < 3 {
//!         return Err(tx.rollback());
//!     }
//!     tx.put(&stock, "apples", left - 3)?;
//!     Ok(3)
//! })?;
//! assert_eq!(sold, 3);
//! # Ok(())
//! # }
//! ```
//!
//! * [`Store`] holds typed tables; [`Store::transact`] runs a closure as a strictly serializable
//!   transaction over any of them and retries it after a conflict; [`Store::view`] is a read-only
//!   snapshot that is fresh and never aborts.
//! * Reads return references into the store that live as long as the transaction.
//! * No thread that stops, wherever it stops, keeps others from committing.
//!
//! How it works, and why it is right, is in `docs/ARCHITECTURE.md`.

// In the package's lints it would also forbid tests to fail by panicking.
#![deny(clippy::unwrap_used)]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("chronolith packs an address and a tag into 64 bits and needs a 64-bit target");

// The suites in `tests/common` run in here too, against faults that only this crate can switch on.
#[cfg(test)]
extern crate self as chronolith;

mod clock;
mod commit;
mod error;
pub mod limits;
pub mod protocol;
mod reclaim;
mod shard;
mod storage;
mod store;
mod sync;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod bench;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod report;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod workload;

pub use clock::ClockSource;
pub use error::{Abort, AbortReason, Error, TransactionError};
pub use storage::ordered_key::OrderedKey;
pub use storage::payload::{Key, Value};
pub use storage::{NoWords, Words};
pub use store::{
    Attempts, Backoff, Index, IndexForm, IndexRange, IntoIndexKey, NonUnique, OrderedTable,
    PrimaryKey, Range, RetryPolicy, Stats, Store, StoreBuilder, Table, Transaction, Unique,
    UniqueIndex,
};

/// The README's example, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExample;
