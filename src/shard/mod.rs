//! Shards: which of them a key belongs to.

pub(crate) mod ring;

/// The shards of a set that has one bit for each, in ascending order.
pub(crate) fn members(mut shards: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let shard = shards.trailing_zeros();
        // Clears the lowest bit; with none left there is no such shard.
        shards &= shards.wrapping_sub(1);
        (shard < u64::BITS).then_some(shard)
    })
}
