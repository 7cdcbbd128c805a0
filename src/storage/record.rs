//! A record: a key and the head of its version chain. Its first version lies in the same block, so
//! that a read of a freshly loaded key costs two dependent cache misses: the index line and this
//! one.

use super::Words;
use super::payload::Value;
use super::version::Version;
use crate::sync::fault::{self, Fault};
use crate::sync::{AtomicPtr, AtomicU8, Ordering, model_fence};

/// Set in the head while some worker holds the record's *reclamation ticket*: exactly one entry in
/// exactly one worker's queue points to the record. An install sets it in the same
/// compare-and-swap.
const TICKET: usize = 1;
/// The record is out of use; a new record takes its key.
const DEAD: usize = 2;
const TAGS: usize = TICKET | DEAD;

/// A worker is unlinking versions of this record.
const PRUNING: u8 = 1;
/// The space of the inline version is unused.
const INLINE_FREE: u8 = 2;
/// The inline version is unlinked and waits in some worker's limbo: the record must outlive it.
const INLINE_RETIRED: u8 = 4;

/// The head word of a record: the newest version and two tags.
#[derive(Debug)]
pub(crate) struct Head<W: Words>(*mut Version<W>);

impl<W: Words> Clone for Head<W> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<W: Words> Copy for Head<W> {}

impl<W: Words> PartialEq for Head<W> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<W: Words> Head<W> {
    /// A head that points to `version`, with or without the ticket.
    #[inline]
    pub(crate) fn new(version: *mut Version<W>, ticket: bool) -> Self {
        // A version's address has no tags, so adding one sets it.
        Head(version.wrapping_byte_add(if ticket { TICKET } else { 0 }))
    }

    /// The head of a record that is out of use; it keeps the ticket, so nobody queues it again.
    pub(crate) fn dead() -> Self {
        Head(std::ptr::without_provenance_mut(TAGS))
    }

    /// The newest version, or null.
    #[inline]
    pub(crate) fn version(self) -> *mut Version<W> {
        self.0.map_addr(|addr| addr & !TAGS)
    }

    /// Whether the record is in use and `version` (null: none) is the first of its chain.
    #[inline]
    pub(crate) fn is_at(self, version: *const Version<W>) -> bool {
        self.0.addr() & !TICKET == version.addr()
    }

    #[inline]
    pub(crate) fn has_ticket(self) -> bool {
        self.0.addr() & TICKET != 0
    }

    #[inline]
    pub(crate) fn is_dead(self) -> bool {
        self.0.addr() & DEAD != 0
    }
}

/// The header of a record; the key follows it in the same block, then the inline version.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Record<W: Words> {
    head: AtomicPtr<Version<W>>,
    /// The low half of the key's hash: enough for the index to place the record again when it
    /// grows.
    pub(crate) hash: u32,
    /// The table, by number.
    pub(crate) table: u16,
    /// The size class of the block.
    pub(crate) class: u8,
    flags: AtomicU8,
    pub(crate) word: W::Record,
}

impl<W: Words> Record<W> {
    /// A private record whose newest version is `version`.
    pub(crate) fn new(version: *mut Version<W>, hash: u64, table: u16, class: u8) -> Self {
        Record {
            head: AtomicPtr::new(version),
            hash: hash as u32,
            table,
            class,
            flags: AtomicU8::new(0),
            word: W::Record::default(),
        }
    }

    /// How far behind the header a key begins: an unsized one lies behind its length.
    pub(crate) const fn key_offset<K: Value + ?Sized>() -> usize {
        let header = size_of::<Self>();
        if K::UNSIZED { header + 4 } else { header.next_multiple_of(K::ALIGN) }
    }

    /// The key.
    ///
    /// # Safety
    ///
    /// The record is alive for `'t`, and of a table whose keys are `K`s.
    #[inline]
    pub(crate) unsafe fn key<'t, K: Value + ?Sized>(this: *const Self) -> &'t K {
        // SAFETY: the caller's promise.
        let len = if K::UNSIZED { unsafe { Self::key_len(this) } } else { 0 };
        let at = this.cast::<u8>().wrapping_add(const { Self::key_offset::<K>() });
        // SAFETY: the caller's promise: the record's maker has put a key of this length there.
        unsafe { K::view(at, len) }
    }

    /// The length of an unsized key.
    ///
    /// # Safety
    ///
    /// The record is alive, and of a table whose keys are unsized.
    #[inline]
    pub(crate) unsafe fn key_len(this: *const Self) -> u32 {
        // SAFETY: the record's block holds the length behind the header, aligned because the
        // header's size is a multiple of its alignment, which is at least 4.
        unsafe { this.wrapping_add(1).cast::<u32>().read() }
    }

    /// The head, ordered with this transaction's installs.
    #[inline]
    pub(crate) fn head(&self) -> Head<W> {
        // SeqCst: pairs with the compare-and-swap in `exchange`. It acquires the version's
        // contents; and of two transactions that each install and then read what the other
        // installs, at least one sees the other, because installs and these loads stand in one
        // order.
        if !fault::on(Fault::InstallUnordered) {
            model_fence();
        }
        Head(self.head.load(Ordering::SeqCst))
    }

    /// Replaces the head if it is still `current`; otherwise returns what it is.
    #[inline]
    pub(crate) fn exchange(&self, current: Head<W>, new: Head<W>) -> Result<(), Head<W>> {
        let publish = if fault::on(Fault::PublishRelaxed) {
            // Relaxed: what a model must catch.
            Ordering::Relaxed
        } else {
            // SeqCst: the install. Releases the version's contents; see `head` for the single
            // order.
            Ordering::SeqCst
        };
        if !fault::on(Fault::InstallUnordered) && !fault::on(Fault::PublishRelaxed) {
            model_fence();
        }
        // Relaxed: on failure the caller loads the head again before it acts on it.
        match self.head.compare_exchange(current.0, new.0, publish, Ordering::Relaxed) {
            Ok(_) => Ok(()),
            Err(found) => Err(Head(found)),
        }
    }

    /// Sets the head of a record that nobody else can reach yet.
    pub(crate) fn set_private_head(&self, head: Head<W>) {
        // Relaxed: private; the index publishes the record.
        self.head.store(head.0, Ordering::Relaxed);
    }

    /// Takes the right to unlink versions below the head; false if another worker has it.
    pub(crate) fn try_prune(&self) -> bool {
        // Acquire: pairs with the Release in `end_prune`, so that one worker's unlinking happens
        // before the next one's walk.
        self.flags.fetch_or(PRUNING, Ordering::Acquire) & PRUNING == 0
    }

    /// Gives the right back.
    pub(crate) fn end_prune(&self) {
        // Release: pairs with `try_prune`.
        self.flags.fetch_and(!PRUNING, Ordering::Release);
    }

    /// Whether the space of the inline version looks unused.
    #[inline]
    pub(crate) fn inline_is_free(&self) -> bool {
        // Relaxed: a first look that spares `take_inline` its locked instruction.
        self.flags.load(Ordering::Relaxed) & INLINE_FREE != 0
    }

    /// Claims the space of the inline version; false if it is in use.
    #[inline]
    pub(crate) fn take_inline(&self) -> bool {
        // Acquire: pairs with the Release in `return_inline`; the old contents are no longer used.
        self.flags.fetch_and(!INLINE_FREE, Ordering::Acquire) & INLINE_FREE != 0
    }

    /// Says that the space of the inline version is unused.
    #[inline]
    pub(crate) fn return_inline(&self) {
        // Relaxed: only whoever frees the inline version changes these two bits.
        let retired = self.flags.load(Ordering::Relaxed) & INLINE_RETIRED;
        // Release: pairs with `take_inline`, and with `inline_retired` before the record goes.
        self.flags.fetch_xor(INLINE_FREE | retired, Ordering::Release);
    }

    /// Says that the inline version waits in limbo.
    pub(crate) fn retire_inline(&self) {
        // Relaxed: whoever buries the record holds its ticket and was handed it after this.
        self.flags.fetch_or(INLINE_RETIRED, Ordering::Relaxed);
    }

    /// Whether the inline version waits in limbo.
    pub(crate) fn inline_retired(&self) -> bool {
        // Acquire: pairs with `return_inline`; then the version's memory is no longer used.
        self.flags.load(Ordering::Acquire) & INLINE_RETIRED != 0
    }
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Record<super::NoWords>>() == 16);
#[cfg(not(loom))]
const _: () = assert!(size_of::<Version<super::NoWords>>() == 24);
