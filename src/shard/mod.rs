//! Shards: which of them a key belongs to.

pub(crate) mod ring;
