//! What a transaction has read and what it will write. One form for every protocol, without types.

use crate::limits::CONTENDED_FIRST;
use crate::storage::Words;
use crate::storage::hash_index::Witness;
use crate::storage::ordered_index;
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::Version;
use std::ops::Range;

/// Writes up to which a search goes through them one by one.
const LINEAR_MAX: usize = 8;

/// A table of the store that the transaction is of. The store keeps its tables to its end, and
/// whoever looks at an access set borrows the store.
#[derive(Debug)]
pub(crate) struct StoreTable<W: Words>(*const TableCore<W>);

impl<W: Words> Clone for StoreTable<W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W: Words> Copy for StoreTable<W> {}

impl<W: Words> StoreTable<W> {
    /// # Safety
    ///
    /// The table outlives this and its copies, as that of a store outlives the access sets of the
    /// store's transactions.
    #[inline]
    pub(crate) unsafe fn new(table: *const TableCore<W>) -> Self {
        StoreTable(table)
    }

    #[inline]
    pub(crate) fn get(&self) -> &TableCore<W> {
        // SAFETY: the table outlives this: whoever made it has promised that.
        unsafe { &*self.0 }
    }

    #[inline]
    pub(crate) fn pointer(self) -> *const TableCore<W> {
        self.0
    }
}

/// A record that was read, and the version that was found (null: none).
#[derive(Debug)]
pub(crate) struct ReadEntry<W: Words> {
    pub(crate) record: *const Record<W>,
    pub(crate) version: *const Version<W>,
    pub(crate) shard: u32,
}

/// A key that was absent, and the proof.
#[derive(Debug)]
pub(crate) struct AbsentEntry<W: Words> {
    pub(crate) witness: Witness<W>,
    pub(crate) table: *const TableCore<W>,
    pub(crate) hash: u64,
    pub(crate) shard: u32,
}

/// A part of a range that was read: what one leaf of an ordered index held of it.
#[derive(Debug)]
pub(crate) struct RangeEntry<W: Words> {
    pub(crate) witness: ordered_index::Witness<W>,
    pub(crate) table: StoreTable<W>,
    /// The part of the table that the leaf is of.
    pub(crate) part: u32,
    /// Which walk of the transaction it belongs to.
    pub(crate) walk: u32,
    /// The heads of the lowest and the highest key that was asked for.
    pub(crate) low: u64,
    pub(crate) high: u64,
}

/// What a write depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteKind {
    /// On nothing: it may land on any committed version.
    Blind,
    /// On `base` being the newest version.
    Based,
    /// On the key having no record: the record is private until it is installed.
    Insert,
}

/// How far a write has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WriteState {
    /// Its version is private.
    Private,
    /// Its version is the head of the chain, undecided.
    Installed,
}

/// A version to be installed.
#[derive(Debug)]
pub(crate) struct WriteEntry<W: Words> {
    pub(crate) record: *mut Record<W>,
    pub(crate) version: *mut Version<W>,
    /// For a write that depends on it: the version that was read (null: none).
    pub(crate) base: *mut Version<W>,
    pub(crate) table: StoreTable<W>,
    pub(crate) hash: u64,
    pub(crate) shard: u32,
    pub(crate) kind: WriteKind,
    pub(crate) state: WriteState,
    /// The install took the record's reclamation ticket.
    pub(crate) ticket: bool,
    /// Others may have seen the version before the outcome is known: if it does not become a part
    /// of the record's chain, it is put away as if it had been one.
    pub(crate) shown: bool,
}

/// The reads and writes of one transaction. Reused by the next one on the same worker, so that an
/// operation allocates nothing once the vectors have grown.
#[derive(Debug)]
pub(crate) struct AccessSet<W: Words> {
    pub(crate) reads: Vec<ReadEntry<W>>,
    pub(crate) absents: Vec<AbsentEntry<W>>,
    pub(crate) ranges: Vec<RangeEntry<W>>,
    /// Walks over ranges that this transaction has begun.
    pub(crate) walks: u32,
    pub(crate) writes: Vec<WriteEntry<W>>,
    /// Versions that a later write of the same transaction replaced. Kept until the end, because
    /// references to them may have been handed out.
    pub(crate) replaced: Vec<(StoreTable<W>, *mut Version<W>)>,
    /// One bit for each written key's hash: most searches end here.
    filter: u64,
    /// Open addressing by hash over `writes` (index + 1), once there are more than a few.
    places: Vec<u32>,
    /// Whether all writes were inserts when they were put in order.
    only_inserts: bool,
}

impl<W: Words> AccessSet<W> {
    pub(crate) fn new() -> Self {
        AccessSet {
            reads: Vec::new(),
            absents: Vec::new(),
            ranges: Vec::new(),
            walks: 0,
            writes: Vec::new(),
            replaced: Vec::new(),
            filter: 0,
            places: Vec::new(),
            only_inserts: false,
        }
    }

    /// Forgets everything. Whoever calls this has already disposed of the versions.
    pub(crate) fn clear(&mut self) {
        self.reads.clear();
        self.absents.clear();
        self.ranges.clear();
        self.walks = 0;
        self.writes.clear();
        self.replaced.clear();
        self.filter = 0;
        self.places.clear();
    }

    /// The write to the key of `table` with this hash for which `same` holds.
    #[inline(always)]
    pub(crate) fn find_write(
        &self,
        table: *const TableCore<W>,
        hash: u64,
        same: impl Fn(&WriteEntry<W>) -> bool,
    ) -> Option<usize> {
        if self.filter & Self::filter_bit(hash) == 0 {
            return None;
        }
        self.search_write(table, hash, same)
    }

    #[inline(never)]
    fn search_write(
        &self,
        table: *const TableCore<W>,
        hash: u64,
        same: impl Fn(&WriteEntry<W>) -> bool,
    ) -> Option<usize> {
        let matches = |entry: &WriteEntry<W>| {
            entry.hash == hash && std::ptr::eq(entry.table.pointer(), table) && same(entry)
        };
        if self.places.is_empty() {
            return self.writes.iter().position(matches);
        }
        let mask = self.places.len() - 1;
        let mut place = hash as usize & mask;
        while self.places[place] != 0 {
            let index = self.places[place] as usize - 1;
            if matches(&self.writes[index]) {
                return Some(index);
            }
            place = (place + 1) & mask;
        }
        None
    }

    fn filter_bit(hash: u64) -> u64 {
        // Bits that place neither shard nor bucket in a small table.
        1 << (hash >> 58)
    }

    /// Adds a write to a key that has none yet.
    #[inline]
    pub(crate) fn push_write(&mut self, entry: WriteEntry<W>) {
        self.filter |= Self::filter_bit(entry.hash);
        self.writes.push(entry);
        if self.writes.len() > LINEAR_MAX {
            self.add_place();
        }
    }

    #[inline(never)]
    fn add_place(&mut self) {
        if self.writes.len() * 2 > self.places.len() {
            self.rebuild_places();
        } else {
            self.place(self.writes.len() - 1);
        }
    }

    #[cold]
    fn rebuild_places(&mut self) {
        let len = (self.writes.len() * 4).next_power_of_two();
        self.places.clear();
        self.places.resize(len, 0);
        for index in 0..self.writes.len() {
            self.place(index);
        }
    }

    fn place(&mut self, index: usize) {
        let mask = self.places.len() - 1;
        let mut place = self.writes[index].hash as usize & mask;
        while self.places[place] != 0 {
            place = (place + 1) & mask;
        }
        self.places[place] = index as u32 + 1;
    }

    /// Puts the writes into the order in which they are installed: by shard, then by record, in
    /// every transaction. After this, writes are no longer found by `find_write`.
    ///
    /// One order is there for those that wait for each other's records. A transaction that only
    /// inserts does not: to publish a record succeeds or fails at once. So it goes by record alone,
    /// which as a rule is the order in which it made them: keys that ascend then fill an ordered
    /// index leaf after leaf, and not each shard's between those of another.
    pub(crate) fn order_writes(&mut self) {
        self.filter = 0;
        self.only_inserts = self.writes.iter().all(|write| write.kind == WriteKind::Insert);
        let only_inserts = self.only_inserts;
        if self.writes.len() > 1 {
            self.writes.sort_unstable_by_key(|write| {
                Self::place_in_order(only_inserts, write.shard, write.record)
            });
        }
    }

    fn place_in_order(only_inserts: bool, shard: u32, record: *const Record<W>) -> u64 {
        // User addresses have 48 bits (the arena checks it), a shard's number far fewer than 16.
        let shard = if only_inserts { 0 } else { u64::from(shard) };
        shard << 48 | record.addr() as u64
    }

    /// The write to a record, once the writes are in order, and as long as they stay in it.
    #[inline]
    pub(crate) fn find_in_order(
        &self,
        shard: u32,
        record: *const Record<W>,
    ) -> Option<&WriteEntry<W>> {
        let place = |shard, record| Self::place_in_order(self.only_inserts, shard, record);
        let wanted = place(shard, record);
        let found =
            self.writes.binary_search_by_key(&wanted, |write| place(write.shard, write.record));
        found.ok().map(|index| &self.writes[index])
    }

    /// Puts the [`CONTENDED_FIRST`] most contended of these writes first, the most contended one
    /// before the others; the order of the rest is no particular one. Each write is weighed once.
    pub(crate) fn put_contended_first(
        &mut self,
        writes: Range<usize>,
        contention: impl Fn(&WriteEntry<W>) -> u64,
    ) {
        let writes = &mut self.writes[writes];
        let mut chosen = [(0, 0); CONTENDED_FIRST];
        let mut count = 0;
        for (index, write) in writes.iter().enumerate() {
            let weight = contention(write);
            let place = chosen[..count].partition_point(|&(chosen, _)| chosen >= weight);
            if place < CONTENDED_FIRST {
                count = (count + 1).min(CONTENDED_FIRST);
                chosen[place..count].rotate_right(1);
                chosen[place] = (weight, index);
            }
        }
        for place in 0..count {
            let from = chosen[place].1;
            writes.swap(place, from);
            // Whatever was at this place is where the chosen one was.
            for (_, index) in &mut chosen[place + 1..count] {
                if *index == place {
                    *index = from;
                }
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::storage::NoWords;

    fn write(hash: u64) -> WriteEntry<NoWords> {
        WriteEntry {
            record: std::ptr::null_mut(),
            version: std::ptr::null_mut(),
            base: std::ptr::null_mut(),
            // SAFETY: nobody asks for the table.
            table: unsafe { StoreTable::new(std::ptr::null()) },
            hash,
            shard: 0,
            kind: WriteKind::Blind,
            state: WriteState::Private,
            ticket: false,
            shown: false,
        }
    }

    /// The hashes stand for how contended the writes are.
    #[test]
    fn the_most_contended_writes_come_first_and_none_is_lost() {
        for count in [0, 1, 2, 7, 8, 9, 30] {
            for seed in 0..200 {
                let mut access: AccessSet<NoWords> = AccessSet::new();
                let weight = |index: u64| (index + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 59;
                let mut expected: Vec<u64> = (0..count).map(weight).collect();
                // Those before and behind are another shard's.
                access.push_write(write(u64::MAX));
                expected.iter().for_each(|weight| access.push_write(write(*weight)));
                access.push_write(write(u64::MAX));
                access.put_contended_first(1..1 + count as usize, |write| write.hash);
                let hashes: Vec<u64> = access.writes.iter().map(|write| write.hash).collect();
                let (first, rest) = hashes.split_at(1);
                let (middle, last) = rest.split_at(count as usize);
                assert_eq!((first, last), (&[u64::MAX][..], &[u64::MAX][..]));
                expected.sort_unstable_by(|a, b| b.cmp(a));
                let chosen = expected.len().min(CONTENDED_FIRST);
                assert_eq!(middle[..chosen], expected[..chosen], "{count} writes, seed {seed}");
                let mut all = middle.to_vec();
                all.sort_unstable_by(|a, b| b.cmp(a));
                assert_eq!(all, expected, "{count} writes, seed {seed}");
            }
        }
    }

    #[test]
    fn writes_stand_in_order_of_their_shards_unless_all_insert() {
        let ordered = |kinds: [WriteKind; 4]| {
            let mut access: AccessSet<NoWords> = AccessSet::new();
            for (kind, (shard, at)) in kinds.into_iter().zip([(1, 16), (0, 48), (1, 8), (0, 32)]) {
                let record = std::ptr::without_provenance_mut(at);
                access.push_write(WriteEntry { record, shard, kind, ..write(0) });
            }
            access.order_writes();
            let places = access.writes.iter().map(|write| {
                let found = access.find_in_order(write.shard, write.record);
                assert!(found.is_some_and(|found| std::ptr::eq(found, write)));
                (write.shard, write.record.addr())
            });
            places.collect::<Vec<_>>()
        };
        let by_shard = [(0, 32), (0, 48), (1, 8), (1, 16)];
        use WriteKind::{Based, Blind, Insert};
        assert_eq!(ordered([Blind; 4]), by_shard);
        assert_eq!(ordered([Insert, Insert, Insert, Based]), by_shard);
        assert_eq!(ordered([Insert; 4]), [(1, 8), (1, 16), (0, 32), (0, 48)]);
    }

    #[test]
    fn a_write_is_found_among_few_and_among_many() {
        let mut access: AccessSet<NoWords> = AccessSet::new();
        for count in 0..1000u64 {
            let hash = count.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            assert_eq!(access.find_write(std::ptr::null(), hash, |_| true), None);
            access.push_write(write(hash));
            for earlier in [0, count / 2, count] {
                let hash = earlier.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let found = access.find_write(std::ptr::null(), hash, |_| true);
                assert_eq!(found, Some(earlier as usize));
            }
        }
        access.clear();
        assert_eq!(access.find_write(std::ptr::null(), 0, |_| true), None);
    }
}
