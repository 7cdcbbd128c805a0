//! The bank of `common/bank.rs`, whose money is counted while it moves, under every protocol.

#[macro_use]
mod common;
#[path = "common/bank.rs"]
mod bank;
#[path = "common/random.rs"]
mod random;

use chronolith::Store;
use chronolith::protocol::{self, Protocol, Visitor};

/// Transfers of each thread with the default protocol; others get a quarter.
const TRANSFERS: u64 = if cfg!(debug_assertions) { 6_000 } else { 20_000 };

for_each_protocol! {
    fn the_sum_is_right_at_every_audit<P>(store) {
        let transfers = if P::NAME == protocol::NAMES[0] { TRANSFERS } else { TRANSFERS / 4 };
        if let Err(complaint) = bank::run(&store, transfers) {
            panic!("{complaint}");
        }
    }
}
