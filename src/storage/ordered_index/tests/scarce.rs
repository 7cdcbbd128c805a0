//! Inserts and removals for which there is no memory.

use super::*;
use crate::reclaim::arena::Region;

/// Memory for so many nodes, and what was handed out.
struct Scarce {
    left: usize,
    retired: Vec<Retired<NoWords>>,
}

impl Memory<Retired<NoWords>> for Scarce {
    fn allocate(&mut self, _region: Region, size: usize) -> Option<Block> {
        self.left = self.left.checked_sub(1)?;
        memory::own_block(size)
    }
    fn retire(&mut self, retired: Retired<NoWords>) {
        self.retired.push(retired);
    }
}

/// Calls `change` with memory for no node, for one, and so on, until it is done. Returns how often
/// it was not, and what it handed out in the end.
fn with_ever_more_memory<K: TestKey>(
    checked: &mut Checked<K>,
    mut change: impl FnMut(&OrderedIndex<NoWords>, &Keys<K>, &mut Scarce) -> bool,
) -> (usize, Vec<Retired<NoWords>>) {
    for failures in 0.. {
        let mut memory = Scarce { left: failures, retired: Vec::new() };
        if change(&checked.index, &checked.order, &mut memory) {
            return (failures, memory.retired);
        }
        checked.dispose(memory.retired);
    }
    unreachable!("the memory was enough")
}

/// An insert or a removal for which there is no memory, wherever that shows, loses no node and can
/// be tried again; an insert has changed nothing that anybody sees.
#[test]
fn without_memory_nothing_is_lost() {
    let _armed = Armed::new(None);
    let before = NODES.get();
    let mut checked = Checked::<u64>::new();
    let mut nodes_missing = BTreeSet::new();
    for key in (0..8_000u64).map(|key| key.wrapping_mul(0x9e37_79b9_7f4a_7c15)) {
        let record = item(key);
        let (failures, retired) = with_ever_more_memory(&mut checked, |index, order, memory| {
            match index.insert(record, order, memory) {
                Inserted::Yes => return true,
                Inserted::Exists(_) => panic!("a key came back"),
                Inserted::OutOfMemory => {}
            }
            assert!(matches!(index.find(&Wanted(&key), order), Lookup::Absent(_)));
            false
        });
        checked.dispose(retired);
        checked.model.insert(key, record);
        nodes_missing.insert(failures);
    }
    assert!(nodes_missing.range(4..).next().is_some(), "no inner node was split");
    checked.check_range(&Bound::Unbounded, &Bound::Unbounded);
    let mut removals_failed = 0;
    for (key, record) in std::mem::take(&mut checked.model) {
        kill(record);
        let mut removed = Removed::NotNow;
        let (failures, retired) = with_ever_more_memory(&mut checked, |index, order, memory| {
            removed = index.remove(record, order, memory);
            removed != Removed::NotNow
        });
        removals_failed += failures;
        assert_eq!(checked.find(&key), None);
        if removed == Removed::Kept {
            checked.kept.insert(record);
        } else {
            // SAFETY: it is out of the index.
            unsafe { free::<u64>(record) };
        }
        checked.dispose(retired);
    }
    assert!(removals_failed > 0, "no removal met what another had no memory to finish");
    drop(checked);
    assert_eq!(NODES.get(), before, "every node is freed once");
}
