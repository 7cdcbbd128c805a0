//! In which order the variants of a comparison run.

use crate::workload::Random;
use rand::seq::SliceRandom;

/// One order of `items` variants for each of `blocks` blocks.
///
/// The orders are rows of Williams' design (Williams, "Experimental designs balanced for the
/// estimation of residual effects of treatments", 1949) in random sequence: over all its rows every
/// variant stands equally often in every place and comes equally often after every other one, so
/// that neither warming up nor what the one before left behind favours anyone. An odd number of
/// variants needs each row backwards too. Fewer blocks than rows are balanced as far as they go:
/// no variant comes twice after the same one.
pub(super) fn balanced_orders(items: usize, blocks: usize, random: &mut Random) -> Vec<Vec<usize>> {
    let mut names: Vec<usize> = (0..items).collect();
    names.shuffle(random);
    let row = |shift: usize, backwards: bool| -> Vec<usize> {
        // 0, 1, n - 1, 2, n - 2, ...: all steps between neighbours differ.
        let zigzag = (0..items).map(|place| match place % 2 {
            0 => (items - place / 2) % items,
            _ => place.div_ceil(2),
        });
        let mut row: Vec<usize> = zigzag.map(|place| names[(place + shift) % items]).collect();
        if backwards {
            row.reverse();
        }
        row
    };
    let mut rows: Vec<Vec<usize>> = (0..items).map(|shift| row(shift, false)).collect();
    if !items.is_multiple_of(2) {
        rows.extend((0..items).map(|shift| row(shift, true)));
    }
    let mut orders = Vec::with_capacity(blocks);
    while orders.len() < blocks {
        rows.shuffle(random);
        let missing = blocks - orders.len();
        orders.extend(rows.iter().take(missing).cloned());
    }
    orders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Purpose, Seed};
    use std::collections::BTreeMap;

    fn orders(items: usize, blocks: usize, seed: u64) -> Vec<Vec<usize>> {
        balanced_orders(items, blocks, &mut Seed::new(seed).stream(Purpose::Order, 0))
    }

    #[test]
    fn all_rows_together_are_balanced() {
        for items in 1..=9 {
            let rows = if items % 2 == 0 { items } else { 2 * items };
            let mut places = BTreeMap::new();
            let mut followers = BTreeMap::new();
            for order in orders(items, rows, 7) {
                for (place, item) in order.iter().enumerate() {
                    *places.entry((place, *item)).or_insert(0) += 1;
                }
                for pair in order.windows(2) {
                    *followers.entry((pair[0], pair[1])).or_insert(0) += 1;
                }
            }
            assert_eq!(places.len(), items * items);
            assert_eq!(followers.len(), items * (items - 1));
            assert!(places.values().all(|count| *count == rows / items), "{places:?}");
            assert!(followers.values().all(|count| *count == rows / items), "{followers:?}");
        }
    }

    #[test]
    fn every_block_has_everyone_and_the_seed_decides() {
        for order in orders(15, 40, 1) {
            let mut sorted = order;
            sorted.sort_unstable();
            assert_eq!(sorted, (0..15).collect::<Vec<_>>());
        }
        assert_eq!(orders(15, 8, 1), orders(15, 8, 1));
        assert_ne!(orders(15, 8, 1), orders(15, 8, 2));
    }
}
