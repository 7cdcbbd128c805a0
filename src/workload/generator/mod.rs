//! Where keys and lengths come from.
//!
//! The classic YCSB generators are here as YCSB codes them, so that a published property file means
//! the same; the true [`Zipf`] with its [`Permutation`] is here because YCSB's "zipfian" is not
//! one.

mod acknowledged;
mod fnv;
mod keys;
mod lengths;
mod permutation;
mod shares;
mod zipf;
mod zipfian;

pub use super::seed::Random;
pub use acknowledged::AcknowledgedCounter;
pub use fnv::{Fingerprint, fnv_fingerprint, fnv_hash_64};
pub use keys::{Distribution, HotSet, KeySpace, Keys, Shape};
pub use lengths::{LengthHistogram, Lengths};
pub use permutation::Permutation;
pub use shares::Shares;
pub use zipf::Zipf;
pub use zipfian::{ScrambledZipfian, Zipfian};
