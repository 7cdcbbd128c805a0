//! The consistent-hash ring (Karger et al., STOC 1997): a key's hash to a shard.
//!
//! Each shard owns a number of points on a circle; a hash, spread over the circle, belongs to the
//! first point at or after it. A shard that joins takes over the arcs in front of its points and
//! nothing else changes hands.
//!
//! Departure: the circle is cut into equal cells, and each cell belongs to the shard that its
//! middle falls to. A lookup is then one load from a small table instead of a binary search, and
//! the property stays: a cell changes hands only if one of the points around it does.
//!
//! The points come from the shard's number by a fixed mixing function, so that two processes (or
//! two machines) that know the same shards agree on every cell.

use crate::limits::RING_POINTS_PER_SHARD;

const CELL_BITS: u32 = 12;
const CELLS: usize = 1 << CELL_BITS;
/// Spreads the low half of a key's hash, which its record remembers, over the cells. (Knuth's
/// multiplier for 32 bits.) Its top bits depend on all bits below, so that the keys of one shard
/// still fill all buckets of its index, which takes the low bits as they are.
const SPREAD: u32 = 0x9e37_79b1;

/// Which shard each cell of the circle belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ring {
    cells: Box<[u8; CELLS]>,
    shards: usize,
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): stable across builds and
/// platforms.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Ring {
    /// The ring of the shards with these numbers.
    pub(crate) fn of(members: &[u8]) -> Self {
        let mut points: Vec<(u64, u8)> = members
            .iter()
            .flat_map(|&shard| {
                (0..RING_POINTS_PER_SHARD as u64)
                    .map(move |point| (mix(u64::from(shard) << 32 | point), shard))
            })
            .collect();
        points.sort_unstable();
        let cells = Box::new(std::array::from_fn(|cell| {
            let middle = (cell as u64) << (64 - CELL_BITS) | 1 << (63 - CELL_BITS);
            let next = points.partition_point(|&(point, _)| point < middle);
            // The first point follows the last on a circle.
            points.get(next).or(points.first()).map_or(0, |&(_, shard)| shard)
        }));
        Ring { cells, shards: members.len() }
    }

    /// The ring of the shards `0..shards`.
    pub(crate) fn new(shards: usize) -> Self {
        let members: Vec<u8> = (0..shards).map(|shard| shard as u8).collect();
        Self::of(&members)
    }

    /// The shard of a key with this hash, of which the low half is enough.
    #[inline(always)]
    pub(crate) fn shard_of(&self, hash: u32) -> u32 {
        u32::from(self.cells[(hash.wrapping_mul(SPREAD) >> (u32::BITS - CELL_BITS)) as usize])
    }

    pub(crate) fn shards(&self) -> usize {
        self.shards
    }
}

const _: () = assert!(crate::limits::SHARDS_MAX <= u8::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    fn share(ring: &Ring, shard: u8) -> f64 {
        ring.cells.iter().filter(|&&owner| owner == shard).count() as f64 / CELLS as f64
    }

    #[test]
    fn shards_are_balanced() {
        for shards in [2, 3, 4, 8, 16] {
            let ring = Ring::new(shards);
            for shard in 0..shards as u8 {
                let relative = share(&ring, shard) * shards as f64;
                assert!((0.7..1.3).contains(&relative), "{shards} shards: {shard} has {relative}");
            }
        }
    }

    #[test]
    fn a_joining_shard_takes_its_share_and_moves_nothing_else() {
        for shards in [1u8, 2, 4, 7, 15] {
            let members: Vec<u8> = (0..shards).collect();
            let before = Ring::of(&members);
            let after = Ring::new(usize::from(shards) + 1);
            let mut moved = 0;
            for (old, new) in before.cells.iter().zip(after.cells.iter()) {
                if old != new {
                    assert_eq!(*new, shards, "a cell moved between two shards that were there");
                    moved += 1;
                }
            }
            let expected = CELLS as f64 / (f64::from(shards) + 1.0);
            let relative = f64::from(moved) / expected;
            assert!((0.7..1.3).contains(&relative), "{moved} cells moved, not about {expected}");
        }
    }

    #[test]
    fn a_leaving_shard_moves_only_its_own_keys() {
        let before = Ring::new(5);
        let after = Ring::of(&[0, 1, 3, 4]);
        for (old, new) in before.cells.iter().zip(after.cells.iter()) {
            assert!(old == new || *old == 2, "a key of shard {old} moved though shard 2 left");
            assert_ne!(*new, 2);
        }
    }

    /// The index of a shard takes its bucket from the low bits of the hash that chose the shard.
    #[test]
    fn the_keys_of_one_shard_fill_all_buckets() {
        const BITS: u32 = 16;
        let ring = Ring::new(16);
        for below in [0, 32 - BITS] {
            let mut filled = vec![0u32; 1 << BITS];
            let hashes = (0..1u64 << 24).map(|number| mix(number) as u32);
            for hash in hashes.filter(|&hash| ring.shard_of(hash) == 3) {
                filled[(hash >> below) as usize & ((1 << BITS) - 1)] += 1;
            }
            // On average sixteen keys.
            let (least, most) = (filled.iter().min(), filled.iter().max());
            assert!(least > Some(&0) && most < Some(&64), "{least:?} to {most:?}");
        }
    }

    #[test]
    fn placement_is_the_same_in_every_build() {
        // Computed by another program from the definition: every machine must agree with it.
        let ring = Ring::new(4);
        let sum: u64 = ring.cells.iter().enumerate().map(|(i, &s)| i as u64 * u64::from(s)).sum();
        assert_eq!(sum, PLACEMENT_OF_FOUR);
    }

    const PLACEMENT_OF_FOUR: u64 = 12_665_292;
}
