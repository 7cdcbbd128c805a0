//! What a protocol may be told about contention at commit.

/// How a commit deals with contention, under protocols that give the choice
/// ([`super::Protocol::HEEDS_CONTENTION`]); the others ignore it. The options are those of Cicada
/// (Lim, Kaminsky and Andersen, SIGMOD 2017); its third one, the back-off, every protocol has
/// ([`crate::Backoff`]).
///
/// ```
/// use chronolith::Store;
/// use chronolith::protocol::{Contention, WriteOrder};
///
/// # fn main() -> Result<(), chronolith::Error> {
/// let contention = Contention { write_order: WriteOrder::Contention, ..Contention::default() };
/// let store = Store::builder().contention(contention).build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contention {
    /// Whether the writes are checked before the first of them is installed. That finds most
    /// conflicts before anything is there that others would meet; without conflicts it is in vain.
    pub pre_check: bool,
    /// The order in which the writes of a shard are checked and installed.
    pub write_order: WriteOrder,
}

impl Default for Contention {
    fn default() -> Self {
        Contention { pre_check: true, write_order: WriteOrder::Record }
    }
}

/// The order in which a commit installs the writes of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteOrder {
    /// That of the records' addresses: the same for all transactions.
    Record,
    /// The most contended first (the [`crate::limits::CONTENDED_FIRST`] most contended, of many): a
    /// transaction that will fail does so before it has installed much. The record that was written
    /// last counts as the most contended.
    Contention,
}

impl WriteOrder {
    /// The order's name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            WriteOrder::Record => "record",
            WriteOrder::Contention => "contention",
        }
    }
}
