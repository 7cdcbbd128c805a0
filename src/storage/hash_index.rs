//! The hash index: from a key's hash to its record. Lock-free, and it grows while it is used.
//!
//! # Layout
//!
//! An array of buckets, each one cache line of eight slots. A slot is one word: sixteen bits of the
//! hash, the record's address, and two tags. The *probe sequence* of a hash begins at a slot of its
//! bucket that the hash chooses, goes round that bucket, and goes on in the same way in the next
//! one; the first empty slot ends it. A lookup that succeeds looks at one slot or two.
//!
//! # Definitions
//!
//! A slot is *empty*, holds a *record*, or is *deleted*; each of these may be *frozen*. An array is
//! *current*, *next* (being filled from the current one) or *old*.
//!
//! # Invariants
//!
//! 1. A slot goes empty -> record -> deleted and never back. So a key is in the first empty slot's
//!    prefix of its probe sequence or nowhere, and two inserts of one key meet in the same slot.
//! 2. A frozen slot never changes. A record is copied to the next array only after its slot is
//!    frozen.
//! 3. A key is inserted into the next array only after the empty slot that ends its probe sequence
//!    in the current one is frozen. So a key is never inserted in both.
//! 4. The next array becomes the current one only when every slot was copied.
//! 5. No record is removed while an old array (and thus a slow copier) may exist; see `unsettled`.
//!
//! # Growth
//!
//! Whoever inserts while the array grows copies a chunk of buckets. When the last chunk is claimed
//! and one is still missing, its copier may have been suspended: others copy it again. Copying a
//! record twice ends in the same slot (invariant 1), so nobody waits for anybody.

mod buckets;

use super::Words;
use super::record::Record;
use crate::sync::step::{self, Step};
use crate::sync::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering, fault, unmodelled};
use buckets::{BUCKET_SLOTS, Buckets, EMPTY};

#[cfg(not(loom))]
const BUCKETS_MIN: usize = 8;
#[cfg(loom)]
const BUCKETS_MIN: usize = 1;
#[cfg(not(loom))]
const CHUNK_BUCKETS: usize = 32;
#[cfg(loom)]
const CHUNK_BUCKETS: usize = 1;

const FROZEN: u64 = 1;
const DELETED: u64 = 2;
const ADDRESS: u64 = 0x0000_ffff_ffff_fff0;
/// Records are aligned to this, and no record is at 0.
const ADDRESS_MIN: u64 = 16;
const TAG: u64 = 0xffff << 48;

/// The place of a witness in an array without an empty slot.
const FULL: usize = usize::MAX;

/// Which hash bits do what: the low half places the bucket (and its top bits the first slot) and,
/// spread by the ring, the shard; four of the high half decide which inserts are counted, the top
/// sixteen are kept in the slot.
const SLOT_SHIFT: u32 = 29;
const SAMPLE_SHIFT: u32 = 44;
const SAMPLE_MAX: u64 = 16;

/// Whether a slot holds the record of a hash with these sixteen bits.
#[inline(always)]
fn holds_record_of(word: u64, hash: u64) -> bool {
    // With equal bits the difference is the address and the two tags; below it there are none.
    (word ^ (hash & TAG)).wrapping_sub(ADDRESS_MIN) < ADDRESS
}

/// The bucket at this place of the probe sequence of `hash`, among as many as the mask says.
#[inline(always)]
fn bucket_of(hash: u64, place: usize, mask: usize) -> usize {
    (hash as u32 as usize + place / BUCKET_SLOTS) & mask
}

/// An array of buckets, and what its growth needs.
pub(crate) struct Array<W: Words> {
    buckets: Buckets,
    mask: usize,
    /// Slots that are not empty, and slots deleted: sampled counts.
    used: AtomicUsize,
    deleted: AtomicUsize,
    next: AtomicPtr<Array<W>>,
    /// The next chunk that nobody has begun to copy.
    cursor: AtomicUsize,
    copied: Box<[AtomicBool]>,
}

impl<W: Words> std::fmt::Debug for Array<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Array").field("buckets", &self.buckets.len()).finish_non_exhaustive()
    }
}

impl<W: Words> Array<W> {
    fn allocate(buckets: usize) -> Option<Box<Self>> {
        debug_assert!(buckets.is_power_of_two());
        let chunks = buckets.div_ceil(CHUNK_BUCKETS);
        Some(Box::new(Array {
            buckets: Buckets::allocate(buckets)?,
            mask: buckets - 1,
            used: AtomicUsize::new(0),
            deleted: AtomicUsize::new(0),
            next: AtomicPtr::new(std::ptr::null_mut()),
            cursor: AtomicUsize::new(0),
            copied: (0..chunks).map(|_| AtomicBool::new(false)).collect(),
        }))
    }

    fn capacity(&self) -> usize {
        self.buckets.len() * BUCKET_SLOTS
    }

    /// One in how many hashes is counted: all while the array is small.
    fn sample(&self) -> u64 {
        if self.capacity() > 1 << 14 { SAMPLE_MAX } else { 1 }
    }

    /// The slot at this place of the probe sequence of `hash`.
    #[inline(always)]
    fn slot(&self, hash: u64, place: usize) -> &AtomicU64 {
        // SAFETY: the mask is the number of buckets minus one.
        let bucket = unsafe { self.buckets.at(bucket_of(hash, place, self.mask)) };
        let first = hash as u32 as usize >> SLOT_SHIFT;
        &bucket.slots[(first + place) % BUCKET_SLOTS]
    }
}

/// Asks for a cache line that will be read soon.
#[inline]
pub(crate) fn prefetch_line(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch of any address is harmless.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// The empty slot that proves that a key was absent: it would have to be filled, or frozen, before
/// the key could be inserted.
#[derive(Debug)]
pub(crate) struct Witness<W: Words> {
    array: *const Array<W>,
    /// The slot's place in the probe sequence of the key's hash.
    place: usize,
}

impl<W: Words> Clone for Witness<W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W: Words> Copy for Witness<W> {}

/// What a lookup found.
#[derive(Debug)]
pub(crate) enum Lookup<W: Words> {
    /// The key's record.
    Found(*mut Record<W>),
    /// No record, and the proof.
    Absent(Witness<W>),
}

/// How an insert ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inserted<W: Words> {
    /// The record is in the index.
    Yes,
    /// The key has a record already: this one.
    Exists(*mut Record<W>),
    /// No memory to grow.
    OutOfMemory,
}

enum Probe<W: Words> {
    Match(*mut Record<W>),
    /// The place of an empty slot, not frozen.
    Empty(usize),
    /// The sequence ends in a frozen slot: the answer is in the next array.
    Moved,
    /// Every slot is in use: it is time to grow.
    Full,
}

/// A point index of one shard of one table.
#[derive(Debug)]
pub(crate) struct HashIndex<W: Words> {
    current: AtomicPtr<Array<W>>,
    /// Growths that have begun and whose old array is not freed yet: while there is one, a copier
    /// may be left.
    unsettled: AtomicUsize,
    /// Where the current array's buckets lie, and its mask: for whoever may not look at the array
    /// because it is not pinned. Both may be out of date, and need not be of one array.
    bucket_base: unmodelled::AtomicPtr<u8>,
    bucket_mask: unmodelled::AtomicU64,
}

impl<W: Words> HashIndex<W> {
    pub(crate) fn new() -> Option<Self> {
        let array = Array::allocate(BUCKETS_MIN)?;
        Some(HashIndex {
            bucket_base: unmodelled::AtomicPtr::new(array.buckets.base()),
            bucket_mask: unmodelled::AtomicU64::new(array.mask as u64),
            current: AtomicPtr::new(Box::into_raw(array)),
            unsettled: AtomicUsize::new(0),
        })
    }

    fn current(&self) -> &Array<W> {
        // Acquire: pairs with the AcqRel exchange in `finish_growth`.
        let array = self.current.load(Ordering::Acquire);
        // SAFETY: an array is freed after every transaction that began before it was replaced has
        // ended and a grace period has passed (`Garbage::Array`), so it outlives this operation.
        unsafe { &*array }
    }

    /// Asks for the bucket of `hash`. The caller need not be pinned.
    #[inline(always)]
    pub(crate) fn prefetch(&self, hash: u64) {
        // Relaxed, both: only to fetch a line ahead; the lookup finds its bucket for itself.
        let base = self.bucket_base.load(Ordering::Relaxed);
        // Relaxed: as above.
        let mask = self.bucket_mask.load(Ordering::Relaxed);
        let bucket = bucket_of(hash, 0, mask as usize);
        prefetch_line(base.wrapping_add(bucket * size_of::<buckets::Bucket>()));
    }

    /// A record that may be the one of `hash`, without looking at it: for fetching it ahead.
    #[inline]
    pub(crate) fn candidate(&self, hash: u64) -> Option<*const Record<W>> {
        let array = self.current();
        // Acquire: the caller may look at the record.
        let mut words =
            (0..BUCKET_SLOTS).map(|place| array.slot(hash, place).load(Ordering::Acquire));
        words
            .find(|&word| holds_record_of(word, hash))
            .map(|word| (word & ADDRESS) as usize as *const Record<W>)
    }

    /// Looks for the record of a key. `matches` compares keys (and passes dead records by).
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, matches: impl Fn(&Record<W>) -> bool) -> Lookup<W> {
        let array = self.current();
        // Most keys are in the first two slots of their sequence.
        let mut first = 0;
        while first < 2 {
            // SeqCst: as in `probe`.
            let word = array.slot(hash, first).load(Ordering::SeqCst);
            if holds_record_of(word, hash) {
                let record = (word & ADDRESS) as usize as *mut Record<W>;
                // SAFETY: as in `probe`.
                if matches(unsafe { &*record }) {
                    return Lookup::Found(record);
                }
            } else if word & !FROZEN == EMPTY {
                break;
            }
            first += 1;
        }
        Self::find_from(array, first, hash, &matches)
    }

    /// Goes on from a place of the probe sequence.
    #[inline(never)]
    fn find_from(
        mut array: &Array<W>,
        mut place: usize,
        hash: u64,
        matches: &impl Fn(&Record<W>) -> bool,
    ) -> Lookup<W> {
        loop {
            match Self::probe(array, place, hash, matches) {
                Probe::Match(record) => return Lookup::Found(record),
                Probe::Empty(place) => return Lookup::Absent(Witness { array, place }),
                // Acquire: pairs with the exchange in `begin_growth`.
                Probe::Full if array.next.load(Ordering::Acquire).is_null() => {
                    return Lookup::Absent(Witness { array, place: FULL });
                }
                Probe::Moved | Probe::Full => (array, place) = (Self::next(array), 0),
            }
        }
    }

    #[inline(always)]
    fn probe(
        array: &Array<W>,
        first: usize,
        hash: u64,
        matches: &impl Fn(&Record<W>) -> bool,
    ) -> Probe<W> {
        for place in first..array.capacity() {
            // SeqCst: acquires the record's contents from the insert; in the single order it is
            // also the read that proves absence, against the insert's compare-and-swap.
            let word = array.slot(hash, place).load(Ordering::SeqCst);
            if holds_record_of(word, hash) {
                let record = (word & ADDRESS) as usize as *mut Record<W>;
                // SAFETY: a record is freed after every transaction that could have found it here
                // has ended (`Garbage::Record`).
                if matches(unsafe { &*record }) {
                    return Probe::Match(record);
                }
            } else if word == EMPTY {
                return Probe::Empty(place);
            } else if word == EMPTY | FROZEN {
                return Probe::Moved;
            }
        }
        Probe::Full
    }

    fn next(array: &Array<W>) -> &Array<W> {
        // Acquire: pairs with the Release in `begin_growth`.
        let next = array.next.load(Ordering::Acquire);
        debug_assert!(!next.is_null(), "a frozen or full array has a next one");
        // SAFETY: as in `current`; the next array lives longer than this one.
        unsafe { &*next }
    }

    /// Whether the key of `hash` is still absent: nothing that could be its record has been
    /// inserted since the witness was found. Records that `own` claims (which the asking
    /// transaction inserted) are passed by, and so is whatever has another tag.
    pub(crate) fn still_absent(
        witness: &Witness<W>,
        hash: u64,
        own: impl Fn(&Record<W>) -> bool,
    ) -> bool {
        // SAFETY: the array is freed only after the transaction that holds the witness has ended.
        let mut array = unsafe { &*witness.array };
        if witness.place == FULL {
            // SeqCst: pairs with `begin_growth`, without which nothing can be inserted here.
            return array.next.load(Ordering::SeqCst).is_null();
        }
        // What comes before the witness has not held the key since, and never will: a slot is not
        // used twice.
        let mut place = witness.place;
        while place < array.capacity() {
            // SeqCst: the validating read; see `probe`.
            let word = array.slot(hash, place).load(Ordering::SeqCst);
            if word == EMPTY {
                return true;
            }
            if word == EMPTY | FROZEN {
                // The array has grown: the key would be inserted in the next one.
                array = Self::next(array);
                place = 0;
                continue;
            }
            if (word ^ hash) & TAG == 0 {
                let record = (word & ADDRESS) as usize as *const Record<W>;
                // SAFETY: as in `probe`, for a slot that is not deleted.
                if word & DELETED != 0 || !own(unsafe { &*record }) {
                    return false;
                }
            }
            place += 1;
        }
        false
    }

    /// Inserts a record unless its key has one. An array that this replaces goes to `retire`, to be
    /// freed when nobody can look at it any more.
    pub(crate) fn insert(
        &self,
        record: *mut Record<W>,
        hash: u64,
        matches: impl Fn(&Record<W>) -> bool,
        retire: &mut impl FnMut(Box<Array<W>>),
    ) -> Inserted<W> {
        let mut array = self.current();
        loop {
            // Acquire: pairs with the Release in `begin_growth`.
            let growing = !array.next.load(Ordering::Acquire).is_null();
            if growing {
                // Two chunks for each insert: the copy is finished long before the next array
                // fills.
                for _ in 0..2 {
                    self.copy_chunk(array, retire);
                }
            }
            let place = match Self::probe(array, 0, hash, &matches) {
                Probe::Match(record) => return Inserted::Exists(record),
                Probe::Moved => {
                    array = Self::next(array);
                    continue;
                }
                Probe::Full if growing => {
                    array = Self::next(array);
                    continue;
                }
                Probe::Full if !self.is_current(array) => {
                    self.finish_copy(retire);
                    array = self.current();
                    continue;
                }
                Probe::Full => {
                    if !self.begin_growth(array) {
                        return Inserted::OutOfMemory;
                    }
                    continue;
                }
                Probe::Empty(place) => place,
            };
            let word = if growing { EMPTY | FROZEN } else { record as usize as u64 | (hash & TAG) };
            // SeqCst: publishes the record's contents, and stands in one order with the reads that
            // prove absence.
            let won = array
                .slot(hash, place)
                .compare_exchange(EMPTY, word, Ordering::SeqCst, Ordering::Relaxed)
                .is_ok();
            if won && growing {
                array = Self::next(array);
            } else if won {
                self.count_insert(array, hash);
                return Inserted::Yes;
            }
        }
    }

    fn count_insert(&self, array: &Array<W>, hash: u64) {
        let sample = array.sample();
        if (hash >> SAMPLE_SHIFT) & (sample - 1) != 0 {
            return;
        }
        // Relaxed: a hint of when to grow.
        let used = array.used.fetch_add(sample as usize, Ordering::Relaxed) + sample as usize;
        if used > array.capacity() / 8 * 5 && self.is_current(array) {
            // Out of memory is no error yet: this insert has succeeded, and the array is not full.
            self.begin_growth(array);
        }
    }

    fn is_current(&self, array: &Array<W>) -> bool {
        std::ptr::eq(self.current(), array)
    }

    /// Publishes a next array for `array`, unless it has one. False if there is no memory.
    fn begin_growth(&self, array: &Array<W>) -> bool {
        // Relaxed: a first look that spares the allocation.
        if !array.next.load(Ordering::Relaxed).is_null() {
            return true;
        }
        // Relaxed: hints.
        let (used, deleted) =
            (array.used.load(Ordering::Relaxed), array.deleted.load(Ordering::Relaxed));
        let live = used.saturating_sub(deleted);
        let factor = if live > array.capacity() / 16 * 5 || live < 64 { 2 } else { 1 };
        let Some(next) = Array::allocate(array.buckets.len() * factor) else {
            return false;
        };
        // SeqCst: before anybody copies; `remove` checks it before it deletes.
        self.unsettled.fetch_add(1, Ordering::SeqCst);
        let next = Box::into_raw(next);
        // SeqCst: pairs with the Acquire loads of `next`, and with the proof of absence by a full
        // array.
        let won = array
            .next
            .compare_exchange(std::ptr::null_mut(), next, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok();
        if !won {
            self.settle();
            // SAFETY: nobody else has seen our array.
            drop(unsafe { Box::from_raw(next) });
        }
        step::at(Step::GrowPublished);
        true
    }

    /// Copies a chunk, if the index is growing: inserts do, and so must whoever waits for the end.
    pub(crate) fn assist(&self, retire: &mut impl FnMut(Box<Array<W>>)) {
        let array = self.current();
        // Acquire: pairs with the exchange in `begin_growth`.
        if !array.next.load(Ordering::Acquire).is_null() {
            self.copy_chunk(array, retire);
        }
    }

    /// Copies every chunk that is not copied yet, whoever claimed it.
    fn finish_copy(&self, retire: &mut impl FnMut(Box<Array<W>>)) {
        let array = self.current();
        // Acquire: pairs with the Release in `begin_growth`.
        while !array.next.load(Ordering::Acquire).is_null() && self.is_current(array) {
            self.copy_chunk(array, retire);
        }
    }

    /// Copies one chunk of `array` to its next array; whoever finishes the growth retires `array`.
    fn copy_chunk(&self, array: &Array<W>, retire: &mut impl FnMut(Box<Array<W>>)) {
        let chunks = array.copied.len();
        // Relaxed: claims are only a way to share the work; a chunk copied twice does no harm.
        let mut claimed = array.cursor.load(Ordering::Relaxed);
        if claimed < chunks {
            // Relaxed: as above.
            claimed = array.cursor.fetch_add(1, Ordering::Relaxed);
        }
        // Acquire: whoever sees every chunk copied sees every copied slot.
        let missing = || array.copied.iter().position(|copied| !copied.load(Ordering::Acquire));
        // If every chunk is claimed and one is missing, its copier may be suspended: copy it again.
        let chunk = if claimed < chunks { Some(claimed) } else { missing() };
        if let Some(chunk) = chunk {
            let moved = self.copy_buckets(array, chunk);
            // AcqRel: as above.
            if !array.copied[chunk].swap(true, Ordering::AcqRel) {
                // Relaxed: a hint.
                Self::next(array).used.fetch_add(moved, Ordering::Relaxed);
            }
        }
        // Not by a count of finished chunks: one who stopped before counting would hold up
        // everybody.
        if claimed + 1 >= chunks
            && missing().is_none()
            && let Some(old) = self.finish_growth(array)
        {
            retire(old);
        }
    }

    fn finish_growth(&self, array: &Array<W>) -> Option<Box<Array<W>>> {
        step::at(Step::GrowSwitch);
        let old = std::ptr::from_ref(array).cast_mut();
        // Acquire: pairs with the Release in `begin_growth`.
        let next = array.next.load(Ordering::Acquire);
        // AcqRel: publishes the filled array to `current`.
        let switched =
            self.current.compare_exchange(old, next, Ordering::AcqRel, Ordering::Relaxed);
        let old = switched.ok()?;
        let current = Self::next(array);
        // Relaxed, both: see `prefetch`.
        self.bucket_base.store(current.buckets.base(), Ordering::Relaxed);
        // Relaxed: as above.
        self.bucket_mask.store(current.mask as u64, Ordering::Relaxed);
        // SAFETY: arrays are made by `Box::into_raw`, and one thread wins the exchange.
        Some(unsafe { Box::from_raw(old) })
    }

    fn copy_buckets(&self, array: &Array<W>, chunk: usize) -> usize {
        let next = Self::next(array);
        let first = chunk * CHUNK_BUCKETS;
        let mut moved = 0;
        for bucket in &array.buckets[first..(first + CHUNK_BUCKETS).min(array.buckets.len())] {
            for slot in &bucket.slots {
                // Relaxed: only to fetch the records' lines ahead.
                prefetch_line((slot.load(Ordering::Relaxed) & ADDRESS) as usize as *const u8);
            }
            step::at(Step::GrowCopy);
            for slot in &bucket.slots {
                let word = if fault::on(fault::Fault::CopyUnfrozen) {
                    // SeqCst: as below, but a load freezes nothing.
                    slot.load(Ordering::SeqCst)
                } else {
                    // SeqCst: freezes; from here on neither an insert nor a removal changes the
                    // slot.
                    slot.fetch_or(FROZEN, Ordering::SeqCst)
                };
                if word & DELETED == 0 && word & ADDRESS != 0 {
                    Self::copy_record(next, word & !FROZEN);
                    moved += 1;
                }
            }
        }
        moved
    }

    /// Puts a copied slot into `next`, unless another copier has.
    fn copy_record(next: &Array<W>, word: u64) {
        // SAFETY: as in `probe`; besides, no record is removed while an array grows.
        let record = unsafe { &*((word & ADDRESS) as usize as *const Record<W>) };
        let hash = u64::from(record.hash);
        for place in 0.. {
            let slot = next.slot(hash, place);
            // Acquire: a slot that holds our record was filled by another copier.
            let mut found = slot.load(Ordering::Acquire);
            if found == EMPTY {
                // SeqCst: as for an insert.
                match slot.compare_exchange(EMPTY, word, Ordering::SeqCst, Ordering::Acquire) {
                    Ok(_) => return,
                    Err(now) => found = now,
                }
            }
            // A late copier may even find the next array growing; then the record is there, frozen.
            if found & !FROZEN == word {
                return;
            }
        }
    }

    /// Takes a record out of the index, if it is there; false if that is not possible now. Nobody
    /// enters it any more.
    pub(crate) fn remove(&self, record: *mut Record<W>, hash: u64) -> bool {
        // The array first: if it is replaced after this load it cannot be freed before this step
        // ends, so its growth is seen as unsettled below, or begins later and finds the slot
        // deleted (or freezes it first and makes the exchange below fail).
        let array = self.current();
        // SeqCst: pairs with the increment in `begin_growth`.
        if self.unsettled.load(Ordering::SeqCst) != 0 {
            return false;
        }
        for place in 0..array.capacity() {
            let slot = array.slot(hash, place);
            // Acquire: only the address is compared.
            let word = slot.load(Ordering::Acquire);
            if word & ADDRESS == record as usize as u64 {
                // SeqCst: stands in one order with freezing. Relaxed if it fails: it is tried again
                // later.
                let removed = word & FROZEN == 0
                    && slot
                        .compare_exchange(
                            word,
                            DELETED | word & TAG,
                            Ordering::SeqCst,
                            Ordering::Relaxed,
                        )
                        .is_ok();
                let sample = array.sample();
                if removed && (hash >> SAMPLE_SHIFT) & (sample - 1) == 0 {
                    // Relaxed: a hint.
                    array.deleted.fetch_add(sample as usize, Ordering::Relaxed);
                }
                return removed;
            }
            if word & !FROZEN == EMPTY {
                // Not frozen: this is the only array, and the record was never entered.
                return word == EMPTY;
            }
        }
        true
    }

    /// Says that the old array of a growth is freed: none of its copiers can be left.
    pub(crate) fn settle(&self) {
        // SeqCst: pairs with `remove`.
        self.unsettled.fetch_sub(1, Ordering::SeqCst);
    }

    /// Visits every record. The caller has the index to itself.
    pub(crate) fn drain(&mut self, mut visit: impl FnMut(*mut Record<W>)) {
        self.finish_copy(&mut drop);
        for bucket in self.current().buckets.iter() {
            for slot in &bucket.slots {
                // Relaxed: `&mut self` means that every other access happened before.
                let word = slot.load(Ordering::Relaxed);
                if word & DELETED == 0 && word & ADDRESS != 0 {
                    visit((word & ADDRESS) as usize as *mut Record<W>);
                }
            }
        }
    }
}

impl<W: Words> Drop for HashIndex<W> {
    fn drop(&mut self) {
        self.finish_copy(&mut drop);
        // Relaxed: `&mut self`.
        let array = self.current.load(Ordering::Relaxed);
        // SAFETY: made by `Box::into_raw`; old arrays were handed to whoever replaced them.
        drop(unsafe { Box::from_raw(array) });
    }
}

#[cfg(all(test, not(loom)))]
mod tests;

/// Run with `RUSTFLAGS="--cfg loom" cargo test --lib --release --no-default-features loom`. The
/// model's index has buckets of two slots and copies one bucket at a time.
#[cfg(all(test, loom))]
mod models;
