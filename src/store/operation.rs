//! What each operation of a transaction does in its one pinned step.

use super::Table;
use crate::error::Error;
use crate::protocol::access_set::{StoreTable, WriteEntry, WriteKind, WriteState};
use crate::protocol::context::{Context, Core};
use crate::protocol::{Conflict, Protocol, Step};
use crate::storage::Words;
use crate::storage::hash_index::{Lookup, Witness, prefetch_line};
use crate::storage::payload::{Key, Value};
use crate::storage::record::Record;
use crate::storage::table::TableCore;
use crate::storage::version::{TOMBSTONE, Version, inline_offset};
use std::borrow::Borrow;
use std::hash::Hash;
use std::ptr::NonNull;

/// Why an operation cannot go on.
pub(super) enum Stop<P: Protocol> {
    Conflict(Conflict<P::Words>),
    Error(Error),
}

impl<P: Protocol> From<Error> for Stop<P> {
    fn from(error: Error) -> Self {
        Stop::Error(error)
    }
}

/// Where a key belongs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Home {
    pub(super) hash: u64,
    pub(super) shard: u32,
}

impl Home {
    /// The home of a key with this hash.
    #[inline(always)]
    pub(super) fn of<P: Protocol>(core: &Core<P>, hash: u64) -> Self {
        Home { hash, shard: core.ring.shard_of(hash as u32) }
    }
}

/// Where a key was found.
pub(super) enum Place<W: Words> {
    /// This transaction writes it: the entry.
    Own(usize),
    /// It has a record.
    Record(*mut Record<W>),
    /// It has none.
    Absent(Witness<W>),
}

/// What an update is based on.
pub(super) struct Base<W: Words> {
    /// The key's record, unless the version is the transaction's own.
    pub(super) record: Option<*mut Record<W>>,
    pub(super) version: *mut Version<W>,
}

/// Whether a record of this table is the one of `key`.
#[inline]
fn is_key<K, V, Q, P>(_: &Table<K, V, P>, key: &Q, record: *const Record<P::Words>) -> bool
where
    K: Key + Borrow<Q> + ?Sized,
    V: Value + ?Sized,
    Q: Eq + ?Sized,
    P: Protocol,
{
    // SAFETY: the record belongs to this table, whose keys are `K`s, and the calling step is
    // pinned.
    unsafe { Record::key::<K>(record) }.borrow() == key
}

/// Finds a key among this transaction's writes.
#[inline]
pub(super) fn find_own<K, V, Q, P>(
    cx: &Context<'_, P>,
    table: &Table<K, V, P>,
    key: &Q,
    hash: u64,
) -> Option<usize>
where
    K: Key + Borrow<Q> + ?Sized,
    V: Value + ?Sized,
    Q: Eq + ?Sized,
    P: Protocol,
{
    cx.worker.access.find_write(table.core(), hash, |write| is_key(table, key, write.record))
}

/// Finds a key: among this transaction's writes, then in the index.
#[inline(always)]
pub(super) fn locate<K, V, Q, P>(
    cx: &Context<'_, P>,
    table: &Table<K, V, P>,
    key: &Q,
    home: Home,
) -> Place<P::Words>
where
    K: Key + Borrow<Q> + ?Sized,
    V: Value + ?Sized,
    Q: Eq + ?Sized,
    P: Protocol,
{
    if let Some(index) = find_own(cx, table, key, home.hash) {
        return Place::Own(index);
    }
    match table
        .core()
        .index(home.shard)
        .find(home.hash, |record| is_key(table, key, record) && !record.head().is_dead())
    {
        Lookup::Found(record) => Place::Record(record),
        Lookup::Absent(witness) => Place::Absent(witness),
    }
}

/// The version of a key that the transaction sees (null: none), recorded as read.
#[inline(always)]
pub(super) fn read<K, V, Q, P>(
    cx: &mut Context<'_, P>,
    table: &Table<K, V, P>,
    key: &Q,
    home: Home,
) -> Step<P, *mut Version<P::Words>>
where
    K: Key + Borrow<Q> + ?Sized,
    V: Value + ?Sized,
    Q: Eq + ?Sized,
    P: Protocol,
{
    match locate(cx, table, key, home) {
        Place::Own(index) => Ok(cx.worker.access.writes[index].version),
        Place::Record(record) => {
            fetch_inline::<K, V, P::Words>(record, 1);
            // SAFETY: this step is pinned since before the record was found.
            P::read(cx, unsafe { &*record }, home.shard)
        }
        Place::Absent(witness) => {
            P::read_absent(cx, table.core(), witness, home.hash, home.shard)?;
            Ok(std::ptr::null_mut())
        }
    }
}

/// Asks for the lines of a record from `first` on: its value lies there, unless it has been
/// updated. Without this they are known only when the first one has come.
#[inline(always)]
pub(super) fn fetch_inline<K, V, W>(record: *const Record<W>, first: usize)
where
    K: Value + ?Sized,
    V: Value + ?Sized,
    W: Words,
{
    const LINE: usize = 64;
    let size = const {
        let version = inline_offset(Record::<W>::key_offset::<K>() + K::SIZE, V::ALIGN);
        version + Version::<W>::value_offset::<V>() + V::SIZE
    };
    for line in first..size.div_ceil(LINE).min(4) {
        prefetch_line(record.cast::<u8>().wrapping_add(LINE * line));
    }
}

/// The version that a write will be based on (null: none). An absence is recorded as read, since no
/// write will depend on it.
#[inline(always)]
pub(super) fn read_base<K, V, P>(
    cx: &mut Context<'_, P>,
    table: &Table<K, V, P>,
    place: &Place<P::Words>,
    home: Home,
) -> Step<P, *mut Version<P::Words>>
where
    K: Key + ?Sized,
    V: Value + ?Sized,
    P: Protocol,
{
    match *place {
        Place::Own(index) => Ok(cx.worker.access.writes[index].version),
        Place::Record(record) => {
            // SAFETY: this step is pinned since before the record was found.
            let record = unsafe { &*record };
            let version = P::read_base(cx, record, home.shard)?;
            // SAFETY: visible, hence alive.
            let found = NonNull::new(version).map(|version| unsafe { version.as_ref() });
            let present = found.is_some_and(|version| !version.is_tombstone());
            if present { Ok(version) } else { P::read(cx, record, home.shard) }
        }
        Place::Absent(witness) => {
            P::read_absent(cx, table.core(), witness, home.hash, home.shard)?;
            Ok(std::ptr::null_mut())
        }
    }
}

/// Makes a private version with this value, or a tombstone.
#[inline(always)]
fn make_version<K, V, P>(
    cx: &mut Context<'_, P>,
    table: &Table<K, V, P>,
    record: *mut Record<P::Words>,
    value: Option<V::Input<'_>>,
) -> Result<*mut Version<P::Words>, Error>
where
    K: Key + ?Sized,
    V: Value + ?Sized,
    P: Protocol,
{
    let core = table.core();
    let len = value.as_ref().map_or(0, V::len);
    let flags = if value.is_some() { 0 } else { TOMBSTONE };
    // SAFETY: the record is alive: found in this pinned step, or this transaction's own.
    let record = unsafe { &*record };
    let version = core
        .allocate_version(&mut cx.worker.arena, &cx.core.pool, record, len, flags)
        .ok_or(Error::OutOfMemory)?;
    if let Some(value) = value {
        // SAFETY: the block has room for a value of this length, at an address that suits it.
        unsafe { V::write(value, Version::value_at::<V>(version.as_ptr())) };
    }
    count_version(cx, core, len);
    Ok(version.as_ptr())
}

#[inline]
fn count_version<P: Protocol>(cx: &Context<'_, P>, core: &TableCore<P::Words>, len: usize) {
    cx.tallies.versions_made.add(1);
    cx.tallies.bytes_made.add(core.schema.version_size(len) as u64);
}

/// Adds a write to an existing record.
#[inline]
pub(super) fn write<K, V, P>(
    cx: &mut Context<'_, P>,
    table: &Table<K, V, P>,
    record: *mut Record<P::Words>,
    home: Home,
    kind: WriteKind,
    base: *mut Version<P::Words>,
    value: Option<V::Input<'_>>,
) -> Result<(), Stop<P>>
where
    K: Key + ?Sized,
    V: Value + ?Sized,
    P: Protocol,
{
    P::write(cx, record, home.shard).map_err(Stop::Conflict)?;
    let version = make_version(cx, table, record, value)?;
    push(cx, table.core(), record, version, base, home, kind);
    Ok(())
}

/// Adds a write (of a value, or of none) that was decided on after its base was read: an update's
/// closure, or the upkeep of indexes, has run since.
#[inline(always)]
pub(super) fn write_after<K, V, Q, P>(
    cx: &mut Context<'_, P>,
    table: &Table<K, V, P>,
    key: &Q,
    home: Home,
    base: Base<P::Words>,
    value: Option<V::Input<'_>>,
) -> Result<(), Stop<P>>
where
    K: Key + Borrow<Q> + ?Sized,
    V: Value + ?Sized,
    Q: Eq + ?Sized,
    P: Protocol,
{
    // The closure may have written to the key itself; this comes after.
    if let Some(index) = find_own(cx, table, key, home.hash) {
        let write = &mut cx.worker.access.writes[index];
        if base.record.is_some() && write.kind == WriteKind::Blind {
            (write.kind, write.base) = (WriteKind::Based, base.version);
        }
        return Ok(replace(cx, table, index, value)?);
    }
    // Found in the step before, under the same snapshot, which has kept it alive.
    let record = base.record.expect("a value that is not our own has a record");
    write(cx, table, record, home, WriteKind::Based, base.version, value)
}

/// Adds a write to a key without a record: makes the record, private until commit.
pub(super) fn insert_record<K, V, P>(
    cx: &mut Context<'_, P>,
    table: &Table<K, V, P>,
    key: K::Input<'_>,
    home: Home,
    value: V::Input<'_>,
) -> Result<(), Stop<P>>
where
    K: Key + ?Sized,
    V: Value + ?Sized,
    P: Protocol,
{
    P::write(cx, std::ptr::null_mut(), home.shard).map_err(Stop::Conflict)?;
    let (core, len) = (table.core(), V::len(&value));
    let (record, version) = core
        .allocate_record::<K>(&mut cx.worker.arena, &cx.core.pool, key, home.hash, len)
        .ok_or(Error::OutOfMemory)?;
    // SAFETY: the block has room for a value of this length, at an address that suits it.
    unsafe { V::write(value, Version::value_at::<V>(version.as_ptr())) };
    count_version(cx, core, len);
    cx.tallies.records_made.add(1);
    let none = std::ptr::null_mut();
    push(cx, core, record.as_ptr(), version.as_ptr(), none, home, WriteKind::Insert);
    Ok(())
}

#[inline]
fn push<P: Protocol>(
    cx: &mut Context<'_, P>,
    table: &TableCore<P::Words>,
    record: *mut Record<P::Words>,
    version: *mut Version<P::Words>,
    base: *mut Version<P::Words>,
    Home { hash, shard }: Home,
    kind: WriteKind,
) {
    let (state, ticket, shown) = (WriteState::Private, false, false);
    // SAFETY: a transaction writes only to tables of its store.
    let table = unsafe { StoreTable::new(table) };
    let entry =
        WriteEntry { record, version, base, table, hash, shard, kind, state, ticket, shown };
    cx.worker.access.push_write(entry);
    P::written(cx, cx.worker.access.writes.len() - 1);
}

/// Gives one of the transaction's own writes another value. The old one stays until the end,
/// because references to it may have been handed out.
pub(super) fn replace<K, V, P>(
    cx: &mut Context<'_, P>,
    table: &Table<K, V, P>,
    index: usize,
    value: Option<V::Input<'_>>,
) -> Result<(), Error>
where
    K: Key + ?Sized,
    V: Value + ?Sized,
    P: Protocol,
{
    let record = cx.worker.access.writes[index].record;
    let version = make_version(cx, table, record, value)?;
    let access = &mut cx.worker.access;
    let old = std::mem::replace(&mut access.writes[index].version, version);
    if access.writes[index].shown {
        cx.supersede_version(table.core(), NonNull::new(old).expect("a write has its version"));
    } else {
        let table = access.writes[index].table;
        access.replaced.push((table, old));
    }
    P::written(cx, index);
    Ok(())
}

/// Frees what is still private when a transaction ends.
#[inline]
pub(super) fn dispose<P: Protocol>(cx: &mut Context<'_, P>, committed: bool) {
    if !committed || !cx.worker.access.replaced.is_empty() {
        dispose_private(cx, committed);
    }
}

#[cold]
fn dispose_private<P: Protocol>(cx: &mut Context<'_, P>, committed: bool) {
    while let Some((table, version)) = cx.worker.access.replaced.pop() {
        cx.free_private_version(table.get(), NonNull::new(version).expect("a replaced version"));
    }
    // Each entry is taken out before it is freed: a value's `Drop` may panic.
    while !committed && let Some(write) = cx.worker.access.writes.pop() {
        if write.state == WriteState::Private {
            dispose_write(cx, &write);
        }
    }
}

fn dispose_write<P: Protocol>(cx: &mut Context<'_, P>, write: &WriteEntry<P::Words>) {
    let table = write.table.get();
    let version = NonNull::new(write.version).expect("a private write has its version");
    // A record that never came into the index was shown to nobody.
    if write.shown && write.kind != WriteKind::Insert {
        return cx.supersede_version(table, version);
    }
    cx.free_private_version(table, version);
    if write.kind == WriteKind::Insert {
        let record = NonNull::new(write.record).expect("a record");
        cx.tallies.records_freed.add(1);
        // SAFETY: the record never was in the index, and its versions are freed.
        unsafe { table.free_record(&mut cx.worker.arena, &cx.core.pool, record) };
    }
}

/// Keys that a batch has in flight together: as many as a core has line-fill buffers.
pub(super) const BATCH: usize = 12;

/// Fetches what reads of these keys (a batch at most) will need, one level of pointers after the
/// other, so that the misses of a level overlap. Returns the keys' homes.
#[inline]
pub(super) fn prefetch<K, V, Q, P>(
    core: &Core<P>,
    table: &Table<K, V, P>,
    keys: &[&Q],
) -> [Home; BATCH]
where
    K: Key + ?Sized,
    V: Value + ?Sized,
    Q: Hash + ?Sized,
    P: Protocol,
{
    let table = table.core();
    let mut homes = [Home { hash: 0, shard: 0 }; BATCH];
    let mut records = [std::ptr::null::<Record<P::Words>>(); BATCH];
    for (key, home) in keys.iter().zip(&mut homes) {
        *home = Home::of(core, core.hasher.hash_one(*key));
        table.index(home.shard).prefetch(home.hash);
    }
    for (home, record) in homes.iter().zip(&mut records).take(keys.len()) {
        if let Some(candidate) = table.index(home.shard).candidate(home.hash) {
            *record = candidate;
            fetch_inline::<K, V, P::Words>(candidate, 0);
        }
    }
    for &record in records.iter().take(keys.len()) {
        // SAFETY: found in the index by this pinned step, or null.
        if let Some(record) = unsafe { record.as_ref() } {
            let version = record.head().version().cast::<u8>();
            prefetch_line(version);
            prefetch_line(version.wrapping_add(64));
        }
    }
    homes
}
