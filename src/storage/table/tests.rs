//! Where keys, versions and values lie in a block.

use super::*;
use crate::storage::NoWords;
use crate::sync::AtomicU64;
use std::fmt::Debug;

/// Words that make headers longer.
#[derive(Debug)]
struct SomeWords;

impl Words for SomeWords {
    type Record = AtomicU64;
    type Version = AtomicU64;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(align(16))]
struct Aligned16([u8; 20]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(64))]
struct Aligned64(u8);

/// A table of `K`s and `V`s, and the memory for it.
struct Layouts<W: Words> {
    table: TableCore<W>,
    arena: Arena,
    pool: Arc<ChunkPool>,
}

impl<W: Words> Layouts<W> {
    /// Makes a record with this key and value, a version beside it, and one in the record's own
    /// space again, and looks whether keys, headers and values leave each other alone.
    fn check<K, V>(key: impl Fn() -> K::Input<'static>, value: impl Fn() -> V::Input<'static>)
    where
        K: Key + Debug + ?Sized,
        V: Value + PartialEq + Debug + ?Sized,
    {
        let (pool, spread) = (Arc::new(ChunkPool::new()), Spread { shards: 1, parts: 1 });
        let table = TableCore::new::<K, V>(7, "t", 0, spread, Arc::clone(&pool)).expect("memory");
        let mut layouts = Layouts { table, arena: Arena::new(), pool };
        let Layouts { table, arena, pool } = &mut layouts;
        let len = V::len(&value());

        let new = table.allocate_record::<K>(arena, pool, key(), u64::MAX, len);
        let (record, first) = new.expect("memory");
        Self::write::<V>(first, &value);
        // SAFETY: made just above, and not freed before the end.
        let header = unsafe { record.as_ref() };
        assert_eq!(header.head().version(), first.as_ptr());
        assert_eq!((header.hash, header.table), (u32::MAX, 7));
        let in_record = TableCore::record_of_inline(first);
        let offset = table.schema.inline_offset(K::len(&key()));
        let fits = V::ALIGN <= BLOCK_ALIGN && offset <= 8 * 255;
        assert_eq!(in_record, fits.then_some(record));

        let second = table.allocate_version(arena, pool, header, len, 0).expect("memory");
        assert_eq!(TableCore::record_of_inline(second), None, "the record's space is in use");
        Self::write::<V>(second, &value);
        // SAFETY: written, and reached by nobody else.
        unsafe { table.free_version(arena, pool, first) };
        let third = table.allocate_version(arena, pool, header, len, 0).expect("memory");
        assert_eq!(TableCore::record_of_inline(third), in_record, "the record's space is free");
        Self::write::<V>(third, &value);

        // SAFETY: as above; the key was written with the record.
        unsafe {
            assert_eq!(Record::<W>::key::<K>(record.as_ptr()), K::peek(&key()));
            assert_eq!(Version::value::<V>(second.as_ptr()), V::peek(&value()));
            table.free_version(arena, pool, second);
            table.free_version(arena, pool, third);
            table.free_record(arena, pool, record);
        }
    }

    fn write<V: Value + PartialEq + Debug + ?Sized>(
        version: NonNull<Version<W>>,
        value: &impl Fn() -> V::Input<'static>,
    ) {
        // SAFETY: the caller's version is alive.
        let header = unsafe { version.as_ref() };
        let shown = || (header.class, header.flags, header.depth(), header.stamp());
        header.set_begin(u64::MAX >> 1);
        header.set_depth(u16::MAX);
        let before = shown();
        let at = Version::value_at::<V>(version.as_ptr());
        assert_eq!(at.addr() % V::ALIGN, 0, "aligned");
        if header.class != OWN_ALLOCATION {
            let (block, class) = match TableCore::record_of_inline(version) {
                // SAFETY: alive, as the version is.
                Some(record) => (record.addr(), unsafe { record.as_ref() }.class),
                None => (version.addr(), header.class),
            };
            let block_end = block.get() + class_size(class);
            let value_end = at.addr() + cmp::max(V::SIZE, V::len(&value()));
            assert!(value_end <= block_end, "the value ends behind its block");
        }
        // SAFETY: the block has room for a value of this length.
        unsafe { V::write(value(), at) };
        assert_eq!(shown(), before, "the value lies over the header");
        header.set_begin(0);
        header.set_depth(0);
        header.set_older(std::ptr::null_mut());
        // SAFETY: written just above.
        let found = unsafe { Version::value::<V>(version.as_ptr()) };
        assert_eq!(found, V::peek(&value()), "the header lies over the value");
    }

    fn check_values<K: Key + Debug + ?Sized>(key: impl Fn() -> K::Input<'static>) {
        Self::check::<K, ()>(&key, || ());
        Self::check::<K, u8>(&key, || 0xA5);
        Self::check::<K, [u8; 3]>(&key, || [0xA5; 3]);
        Self::check::<K, u16>(&key, || 0xA5A5);
        Self::check::<K, u32>(&key, || 0xA5A5_A5A5);
        Self::check::<K, [u8; 100]>(&key, || [0xA5; 100]);
        Self::check::<K, u64>(&key, || 0xA5A5_A5A5_A5A5_A5A5);
        Self::check::<K, String>(&key, || "a value with memory of its own".into());
        Self::check::<K, Aligned16>(&key, || Aligned16([0xA5; 20]));
        Self::check::<K, Aligned64>(&key, || Aligned64(0xA5));
        for len in [0, 1, 3, 4, 7, 8, 100] {
            Self::check::<K, [u8]>(&key, || &[0xA5; 100][..len]);
        }
    }

    fn check_keys() {
        Self::check_values::<()>(|| ());
        Self::check_values::<u8>(|| 0x5A);
        Self::check_values::<u32>(|| 0x5A5A_5A5A);
        Self::check_values::<u64>(|| 0x5A5A_5A5A_5A5A_5A5A);
        Self::check_values::<Aligned16>(|| Aligned16([0x5A; 20]));
        for len in (0..20).chain(1980..2060) {
            Self::check_values::<[u8]>(|| &[0x5A; 2060][..len]);
        }
    }
}

#[test]
fn keys_headers_and_values_leave_each_other_alone() {
    Layouts::<NoWords>::check_keys();
    Layouts::<SomeWords>::check_keys();
}

/// What the size of a record with a key of 8 bytes and a value of 100 depends on.
#[test]
fn headers_waste_nothing() {
    let schema = Schema::new::<u64, [u8; 100], NoWords>();
    assert_eq!(schema.inline_offset(0) + schema.version_size(0), 144);
    assert_eq!(Schema::new::<u64, u64, NoWords>().version_size(0), 32);
    assert_eq!(Schema::new::<u64, u8, NoWords>().version_size(0), size_of::<Version<NoWords>>());
    assert_eq!(Schema::new::<u64, [u8], NoWords>().version_size(1), 25);
}
