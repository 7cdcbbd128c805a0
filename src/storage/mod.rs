//! Storage: what a table is made of. It knows no protocol.
//!
//! * [`payload`]: which types can be keys and values, and how their bytes lie in a block.
//! * [`decision`]: the one word that commits or aborts a transaction.
//! * [`version`]: a value with the time from which it holds, and the link to the one before.
//! * [`record`]: a key and the head of its version chain.
//! * [`hash_index`]: from a key's hash to its record, lock-free, growing while it is used.
//! * [`ordered_index`]: from keys to records in the order of the keys, lock-free, for ranges.
//! * [`entry`]: how a record gets into the indexes of its table, and out of them.
//! * [`prune`]: which versions of a chain nobody can see any more, and how they leave it.
//! * [`table`]: a name, its types, and its indexes.
//!
//! Headers are generic over the words that a protocol keeps per record and per version ([`Words`]),
//! never over the key and value types, so that protocol code is compiled once per protocol.

pub(crate) mod decision;
pub(crate) mod entry;
pub(crate) mod hash_index;
pub(crate) mod ordered_index;
pub(crate) mod ordered_key;
pub(crate) mod payload;
pub(crate) mod prune;
pub(crate) mod record;
pub(crate) mod table;
pub(crate) mod version;

/// The words that a protocol keeps in each record and in each version.
pub trait Words: std::fmt::Debug + 'static {
    /// Per record; `()` costs nothing.
    type Record: Default + Send + Sync;
    /// Per version; `()` costs nothing.
    type Version: Default + Send + Sync;
}

/// No words: the protocol needs only the version chain itself.
#[derive(Debug, PartialEq, Eq)]
pub struct NoWords;

impl Words for NoWords {
    type Record = ();
    type Version = ();
}
