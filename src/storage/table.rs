//! A table without its types: what protocols and reclamation need to know of keys and values.

use super::Words;
use super::hash_index::HashIndex;
use super::ordered_index::{KeyOrder, OrderedIndex};
use super::ordered_key::OrderedKey;
use super::payload::{Key, Value};
use super::record::{Head, Record};
use super::version::{INLINE, INLINE_UNIT, Version, inline_offset};
use crate::reclaim::arena::{Arena, BLOCK_ALIGN, ChunkPool, OWN_ALLOCATION, class_of, class_size};
use crate::sync::roll::Roll;
use std::any::{Any, TypeId};
use std::cmp;
use std::ptr::NonNull;
use std::sync::Arc;

/// The farthest an inline version can lie from its record.
const INLINE_OFFSET_MAX: usize = INLINE_UNIT * u8::MAX as usize;

/// How the keys of an ordered table compare.
#[derive(Debug, Clone, Copy)]
struct Order {
    exact: bool,
    head: unsafe fn((*const u8, u32), u32) -> u64,
    shared: unsafe fn((*const u8, u32), (*const u8, u32)) -> u32,
    compare: unsafe fn((*const u8, u32), (*const u8, u32)) -> cmp::Ordering,
}

impl Order {
    fn new<K: OrderedKey + ?Sized>() -> Self {
        Order {
            exact: K::EXACT,
            // SAFETY: called with the key of a record of this table.
            head: |(at, len), skip| unsafe { K::view(at, len) }.head(skip),
            shared: |one, other| {
                // SAFETY: as above.
                unsafe { K::view(one.0, one.1).shared(K::view(other.0, other.1)) }
            },
            compare: |one, other| {
                // SAFETY: as above.
                unsafe { K::view(one.0, one.1).cmp(K::view(other.0, other.1)) }
            },
        }
    }
}

/// How the blocks of a table are laid out, and what to do with their contents.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) types: (TypeId, TypeId),
    value_offset: usize,
    /// Of the header and of a value of length 0.
    version_size: usize,
    value_align: usize,
    value_unsized: bool,
    key_offset: usize,
    key_size: usize,
    key_align: usize,
    key_unsized: bool,
    discard_value: Option<unsafe fn(*mut u8)>,
    discard_key: Option<unsafe fn(*mut u8)>,
    hash_key: unsafe fn(*const u8, u32, &ahash::RandomState) -> u64,
    equal_keys: unsafe fn((*const u8, u32), (*const u8, u32)) -> bool,
}

impl Schema {
    fn new<K: Key + ?Sized, V: Value + ?Sized, W: Words>() -> Self {
        const { assert!(align_of::<Version<W>>() <= INLINE_UNIT, "inline versions are aligned") };
        let value_offset = Version::<W>::value_offset::<V>();
        Schema {
            types: (TypeId::of::<K>(), TypeId::of::<V>()),
            value_offset,
            // A value that is smaller than its place in the header leaves that as large as it is.
            version_size: cmp::max(value_offset + V::SIZE, size_of::<Version<W>>()),
            value_align: V::ALIGN,
            value_unsized: V::UNSIZED,
            key_offset: Record::<W>::key_offset::<K>(),
            key_size: K::SIZE,
            key_align: K::ALIGN,
            key_unsized: K::UNSIZED,
            discard_value: V::NEEDS_DROP.then_some(V::discard as unsafe fn(*mut u8)),
            discard_key: K::NEEDS_DROP.then_some(K::discard as unsafe fn(*mut u8)),
            hash_key: |at, len, state| {
                // SAFETY: called with the key of a record of this table.
                state.hash_one(unsafe { K::view(at, len) })
            },
            equal_keys: |one, other| {
                // SAFETY: called with the keys of two records of this table.
                unsafe { K::view(one.0, one.1) == K::view(other.0, other.1) }
            },
        }
    }

    /// The bytes of a version with a value of this length.
    pub(crate) fn version_size(&self, len: usize) -> usize {
        self.version_size + len
    }

    /// Where the inline version lies in a record with a key of this length.
    fn inline_offset(&self, key_len: usize) -> usize {
        inline_offset(self.key_offset + self.key_size + key_len, self.value_align)
    }

    /// Where the value of a version lies.
    #[inline]
    fn value_at<W: Words>(&self, version: *const Version<W>) -> *mut u8 {
        version.cast_mut().cast::<u8>().wrapping_add(self.value_offset)
    }

    /// Where the key of a record lies, and its length if it is unsized.
    #[inline]
    pub(crate) fn key_at<W: Words>(&self, record: *const Record<W>) -> (*mut u8, u32) {
        let base = record.cast_mut().cast::<u8>();
        // SAFETY: the caller's record is alive, and of this table.
        let len = if self.key_unsized { unsafe { Record::key_len(record) } } else { 0 };
        (base.wrapping_add(self.key_offset), len)
    }
}

/// A version, and the table that knows how to free it.
pub(crate) type TableVersion<W> = (*const TableCore<W>, NonNull<Version<W>>);

/// A private record and its first version.
pub(crate) type NewRecord<W> = (NonNull<Record<W>>, NonNull<Version<W>>);

/// A table: its name, its layout, and its indexes.
#[derive(Debug)]
pub(crate) struct TableCore<W: Words> {
    pub(crate) number: u16,
    pub(crate) name: Arc<str>,
    pub(crate) store: u64,
    pub(crate) schema: Schema,
    pub(crate) shards: Box<[HashIndex<W>]>,
    /// The secondary indexes that are declared on it, without their types, which the layer above
    /// knows. The first write seals it.
    pub(crate) indexes: Roll<Box<dyn Any + Send + Sync>>,
    /// What an ordered table has besides.
    ordered: Option<Ordered<W>>,
    pool: Arc<ChunkPool>,
}

/// The second index of an ordered table: points go through the hash index, ranges through this one.
#[derive(Debug)]
struct Ordered<W: Words> {
    order: Order,
    parts: Box<[OrderedIndex<W>]>,
}

/// How many indexes a table has: a hash index for each shard and, if it is ordered, an ordered one
/// for each part, which is a number of shards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) shards: usize,
    pub(crate) parts: usize,
}

impl<W: Words> TableCore<W> {
    /// An empty table; `None` if there is no memory for its indexes.
    pub(crate) fn new<K: Key + ?Sized, V: Value + ?Sized>(
        number: u16,
        name: &str,
        store: u64,
        spread: Spread,
        pool: Arc<ChunkPool>,
    ) -> Option<Self> {
        Some(TableCore {
            number,
            name: name.into(),
            store,
            schema: Schema::new::<K, V, W>(),
            shards: (0..spread.shards).map(|_| HashIndex::new()).collect::<Option<_>>()?,
            indexes: Roll::new(),
            ordered: None,
            pool,
        })
    }

    /// As `new`, for a table with ranges.
    pub(crate) fn new_ordered<K: OrderedKey + ?Sized, V: Value + ?Sized>(
        number: u16,
        name: &str,
        store: u64,
        spread: Spread,
        pool: Arc<ChunkPool>,
    ) -> Option<Self> {
        let mut table = Self::new::<K, V>(number, name, store, spread, pool)?;
        let parts = (0..spread.parts).map(|_| OrderedIndex::new()).collect::<Option<_>>()?;
        table.ordered = Some(Ordered { order: Order::new::<K>(), parts });
        Some(table)
    }

    /// The ordered index that the keys of a shard are in; `None` for a table without ranges.
    #[inline]
    pub(crate) fn ordered_index(&self, shard: u32) -> Option<&OrderedIndex<W>> {
        let parts = &self.ordered.as_ref()?.parts;
        Some(&parts[shard as usize % parts.len()])
    }

    /// The ordered indexes of all parts; none for a table without ranges.
    #[inline]
    pub(crate) fn parts(&self) -> &[OrderedIndex<W>] {
        self.ordered.as_ref().map_or(&[], |ordered| &ordered.parts)
    }

    /// Whether the table has ranges.
    pub(crate) fn is_ordered(&self) -> bool {
        self.ordered.is_some()
    }

    fn order(&self) -> &Order {
        &self.ordered.as_ref().expect("asked of ordered tables only").order
    }

    /// The index of a shard, by a number that came from the store's ring.
    #[inline(always)]
    pub(crate) fn index(&self, shard: u32) -> &HashIndex<W> {
        debug_assert!((shard as usize) < self.shards.len());
        // SAFETY: a table has an index for each shard of its store's ring.
        unsafe { self.shards.get_unchecked(shard as usize) }
    }

    /// The hash of a record's key.
    pub(crate) fn hash_of(&self, record: *const Record<W>, state: &ahash::RandomState) -> u64 {
        let (at, len) = self.schema.key_at(record);
        // SAFETY: every record of this table holds a key of the type that the schema was made for.
        unsafe { (self.schema.hash_key)(at, len, state) }
    }

    /// Whether two records have equal keys.
    pub(crate) fn same_key(&self, one: *const Record<W>, other: *const Record<W>) -> bool {
        let (at, len) = self.schema.key_at(one);
        let (other_at, other_len) = self.schema.key_at(other);
        // SAFETY: as in `hash_of`.
        unsafe { (self.schema.equal_keys)((at, len), (other_at, other_len)) }
    }

    /// A block for a version with a value of `len` bytes (0 for a sized type or a tombstone): the
    /// record's own inline space if that is free and large enough, else from the arena.
    #[inline(never)]
    pub(crate) fn allocate_version(
        &self,
        arena: &mut Arena,
        pool: &ChunkPool,
        record: &Record<W>,
        len: usize,
        flags: u8,
    ) -> Option<NonNull<Version<W>>> {
        let Some((block, class)) = self.claim_inline(record, self.schema.version_size(len)) else {
            return self.allocate_apart(arena, pool, len, flags);
        };
        let version: NonNull<Version<W>> = block.cast();
        // SAFETY: the block is ours and large enough for the header.
        unsafe { version.write(Version::new(class, flags | INLINE, len as u32)) };
        Some(version)
    }

    /// As [`TableCore::allocate_version`], always from the arena.
    #[inline]
    fn allocate_apart(
        &self,
        arena: &mut Arena,
        pool: &ChunkPool,
        len: usize,
        flags: u8,
    ) -> Option<NonNull<Version<W>>> {
        let size = self.schema.version_size(len);
        let (block, class) = arena.allocate(pool, size, self.schema.value_align)?;
        let version: NonNull<Version<W>> = block.cast();
        // SAFETY: the block is ours and large enough for the header.
        unsafe { version.write(Version::new(class, flags, len as u32)) };
        Some(version)
    }

    #[inline]
    fn claim_inline(&self, record: &Record<W>, size: usize) -> Option<(NonNull<u8>, u8)> {
        // Most often it is in use.
        if !record.inline_is_free() || record.class == OWN_ALLOCATION {
            return None;
        }
        let offset = self.schema.inline_offset(self.schema.key_at(record).1 as usize);
        let fits = offset + size <= class_size(record.class);
        (fits && record.take_inline()).then(|| {
            let block = std::ptr::from_ref(record).cast_mut().cast::<u8>().wrapping_add(offset);
            (NonNull::new(block).expect("inside a block"), (offset / INLINE_UNIT) as u8)
        })
    }

    /// A record with its key and, where the layout allows, its first version inline. The version's
    /// value is not written yet. Both are private.
    pub(crate) fn allocate_record<K: Key + ?Sized>(
        &self,
        arena: &mut Arena,
        pool: &ChunkPool,
        key: K::Input<'_>,
        hash: u64,
        len: usize,
    ) -> Option<NewRecord<W>> {
        let schema = &self.schema;
        let key_len = K::len(&key);
        let offset = schema.inline_offset(key_len);
        let whole = offset + schema.version_size(len);
        let inline = schema.value_align <= BLOCK_ALIGN
            && schema.key_align <= BLOCK_ALIGN
            && offset <= INLINE_OFFSET_MAX
            && class_of(whole).is_some();
        let own_size = schema.key_offset + schema.key_size + key_len;
        let size = if inline { whole } else { own_size };
        let (block, class) = arena.allocate(pool, size, schema.key_align)?;
        let record: NonNull<Record<W>> = block.cast();
        let version = if inline {
            // SAFETY: the offset lies within the block.
            let version: NonNull<Version<W>> = unsafe { block.add(offset) }.cast();
            // SAFETY: the block is ours, and large enough.
            unsafe {
                version.write(Version::new((offset / INLINE_UNIT) as u8, INLINE, len as u32))
            };
            Some(version)
        } else {
            self.allocate_apart(arena, pool, len, 0)
        };
        let Some(version) = version else {
            // SAFETY: allocated just above, with this size; nothing was written to it.
            unsafe { arena.free(pool, block, class, (size, schema.key_align)) };
            return None;
        };
        // SAFETY: the block is ours; the key's place is aligned and behind the header.
        unsafe {
            record.write(Record::new(version.as_ptr(), hash, self.number, class));
            if K::UNSIZED {
                block.add(size_of::<Record<W>>()).cast::<u32>().write(key_len as u32);
            }
            K::write(key, block.add(schema.key_offset).as_ptr());
        }
        Some((record, version))
    }

    /// Drops a version's value and takes its block back. Returns the block's size in bytes.
    ///
    /// # Safety
    ///
    /// The version belongs to this table, its value is written, and nobody can reach it any more.
    /// If it is inline, its record is still there.
    #[inline]
    pub(crate) unsafe fn free_version(
        &self,
        arena: &mut Arena,
        pool: &ChunkPool,
        version: NonNull<Version<W>>,
    ) -> usize {
        // SAFETY: the caller's promise.
        let header = unsafe { version.as_ref() };
        if let Some(discard) = self.schema.discard_value
            && !header.is_tombstone()
        {
            // SAFETY: the value is written and not used again.
            unsafe { discard(self.schema.value_at(version.as_ptr())) };
        }
        let len = if self.schema.value_unsized {
            // SAFETY: the caller's version is alive, and this table's.
            unsafe { Version::value_len(version.as_ptr()) }
        } else {
            0
        };
        let size = self.schema.version_size(len as usize);
        if let Some(record) = Self::record_of_inline(version) {
            // SAFETY: the record is still there by the caller's promise.
            unsafe { record.as_ref() }.return_inline();
        } else {
            let (class, layout) = (header.class, (size, self.schema.value_align));
            // SAFETY: the caller's promise; allocated with this class and layout.
            unsafe { arena.free(pool, version.cast(), class, layout) };
        }
        size
    }

    /// The record around an inline version.
    fn record_of_inline(version: NonNull<Version<W>>) -> Option<NonNull<Record<W>>> {
        // SAFETY: the caller holds the version.
        let header = unsafe { version.as_ref() };
        let inline = header.flags & INLINE != 0;
        let distance = usize::from(header.class) * INLINE_UNIT;
        // SAFETY: an inline version lies at this distance from its record.
        inline.then(|| unsafe { version.cast::<u8>().sub(distance) }.cast())
    }

    /// Marks a version that is about to wait in limbo.
    pub(crate) fn mark_retired(version: NonNull<Version<W>>) {
        if let Some(record) = Self::record_of_inline(version) {
            // SAFETY: the record is alive while one of its versions is.
            unsafe { record.as_ref() }.retire_inline();
        }
    }

    /// Drops a record's key and takes its block back. Its versions are gone already.
    ///
    /// # Safety
    ///
    /// The record belongs to this table and nobody can reach it any more.
    pub(crate) unsafe fn free_record(
        &self,
        arena: &mut Arena,
        pool: &ChunkPool,
        record: NonNull<Record<W>>,
    ) {
        let (at, len) = self.schema.key_at(record.as_ptr());
        if let Some(discard) = self.schema.discard_key {
            // SAFETY: the key was written with the record and is not used again.
            unsafe { discard(at) };
        }
        // SAFETY: the caller's promise.
        let class = unsafe { record.as_ref() }.class;
        // A record with an allocation of its own has no inline version.
        let size = self.schema.key_offset + self.schema.key_size + len as usize;
        // SAFETY: the caller's promise; allocated with this class and layout.
        unsafe { arena.free(pool, record.cast(), class, (size, self.schema.key_align)) };
    }
}

impl<W: Words> KeyOrder<W> for TableCore<W> {
    #[inline]
    fn exact(&self) -> bool {
        self.order().exact
    }

    unsafe fn head(&self, record: *const Record<W>, skip: u32) -> u64 {
        let (at, len) = self.schema.key_at(record);
        // SAFETY: as in `hash_of`.
        unsafe { (self.order().head)((at, len), skip) }
    }

    unsafe fn shared(&self, low: *const Record<W>, high: *const Record<W>) -> u32 {
        let ((at, len), (high_at, high_len)) = (self.schema.key_at(low), self.schema.key_at(high));
        // SAFETY: as in `hash_of`.
        unsafe { (self.order().shared)((at, len), (high_at, high_len)) }
    }

    unsafe fn compare(&self, one: *const Record<W>, other: *const Record<W>) -> cmp::Ordering {
        let ((at, len), (other_at, other_len)) =
            (self.schema.key_at(one), self.schema.key_at(other));
        // SAFETY: as in `hash_of`.
        unsafe { (self.order().compare)((at, len), (other_at, other_len)) }
    }
}

impl<W: Words> Drop for TableCore<W> {
    fn drop(&mut self) {
        // The store and every handle are gone; the arena only serves to take the blocks.
        let (mut arena, pool) = (Arena::new(), Arc::clone(&self.pool));
        if let Some(mut ordered) = self.ordered.take() {
            for index in &mut ordered.parts {
                index.drain_owned(|record| {
                    let record = NonNull::new(record).expect("a record");
                    // SAFETY: as below; the hash index has let go of it, and it has no versions.
                    unsafe { self.free_record(&mut arena, &pool, record) };
                });
            }
        }
        let mut shards = std::mem::take(&mut self.shards);
        for index in &mut shards {
            index.drain(|record| {
                // SAFETY: records in the index are alive, and nobody else uses the table.
                let head: Head<W> = unsafe { (*record).head() };
                let mut version = head.version();
                while let Some(current) = NonNull::new(version) {
                    // SAFETY: as above; the chain is ours.
                    version = unsafe { current.as_ref() }.older();
                    // SAFETY: as above; each version is in one chain, once.
                    unsafe { self.free_version(&mut arena, &pool, current) };
                }
                let record = NonNull::new(record).expect("a record");
                // SAFETY: as above.
                unsafe { self.free_record(&mut arena, &pool, record) };
            });
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests;
