//! Memory: who may still look at it, and when it may be used again.
//!
//! Three different questions, three answers:
//!
//! * **Which versions can still be seen?** [`watermark`]: every open transaction publishes its
//!   snapshot; a version that no published snapshot and no future one can see is dead.
//! * **Who may still stand on a version or a decision word while it is unlinked?**
//!   `crossbeam-epoch`: every operation is pinned while it walks, and [`limbo`] holds unlinked
//!   memory for a grace period. The pin lasts for one operation, not for the transaction, so that
//!   an idle snapshot holds back nothing but the versions that it can see.
//! * **Whose memory is it then?** [`arena`]: blocks return to the free lists of the worker that
//!   reclaimed them.

pub(crate) mod arena;
pub(crate) mod limbo;
pub(crate) mod queue;
pub(crate) mod watermark;
