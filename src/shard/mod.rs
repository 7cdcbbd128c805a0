//! Shards: which of them a key belongs to.

pub(crate) mod ring;

/// The members of a set that has one bit for each (shards, say), in ascending order.
pub(crate) fn members(mut set: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let member = set.trailing_zeros();
        // Clears the lowest bit; with none left there is no such member.
        set &= set.wrapping_sub(1);
        (member < u64::BITS).then_some(member)
    })
}
