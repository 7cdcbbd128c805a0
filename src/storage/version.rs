//! A version: a value, the time from which it holds, and the link to the version before it.

use super::Words;
use super::decision::{Decision, Outcome};
use super::payload::Value;
use crate::limits::UNDECIDED_SPINS_MAX;
use crate::sync::{AtomicPtr, AtomicU16, AtomicU64, Ordering};
use std::cell::UnsafeCell;
use std::mem::{MaybeUninit, offset_of};
use std::ptr::NonNull;

const BY_TRANSACTION: u64 = 1;

/// The key is absent from this version on.
pub(crate) const TOMBSTONE: u8 = 1;
/// The version lies in its record's block; `class` is its distance from the record in
/// [`INLINE_UNIT`]s.
pub(crate) const INLINE: u8 = 2;
pub(crate) const INLINE_UNIT: usize = 8;

/// How far behind its record an inline version lies whose value has this alignment; the key ends
/// `key_end` bytes behind the record's beginning.
#[inline(always)]
pub(crate) const fn inline_offset(key_end: usize, value_align: usize) -> usize {
    // A mask, because a division by an alignment that is known at run time only would be slow.
    let mask = if value_align > INLINE_UNIT { value_align - 1 } else { INLINE_UNIT - 1 };
    (key_end + mask) & !mask
}

/// When a version begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stamp {
    /// At this timestamp.
    At(u64),
    /// When, and if, this transaction commits.
    By(*const Decision),
}

/// The header of a version; the value follows it in the same block. A sized one of alignment 4 or
/// less begins in the header's last four bytes, where an unsized one has its length.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Version<W: Words> {
    /// A timestamp shifted left by one, or the pointer to a [`Decision`] with the low bit set. Goes
    /// from the pointer to the timestamp of that decision once, by whoever is first.
    stamp: AtomicU64,
    older: AtomicPtr<Version<W>>,
    pub(crate) word: W::Version,
    pub(crate) class: u8,
    pub(crate) flags: u8,
    /// At most this many versions are below. A hint for reclamation and statistics.
    depth: AtomicU16,
    /// The length of an unsized value, or where a sized one begins: a cell, because that may be one
    /// whose contents change.
    tail: UnsafeCell<MaybeUninit<u32>>,
}

impl<W: Words> Version<W> {
    /// A private version, not yet part of a chain.
    pub(crate) fn new(class: u8, flags: u8, len: u32) -> Self {
        Version {
            stamp: AtomicU64::new(0),
            older: AtomicPtr::new(std::ptr::null_mut()),
            word: W::Version::default(),
            class,
            flags,
            depth: AtomicU16::new(0),
            tail: UnsafeCell::new(MaybeUninit::new(len)),
        }
    }

    /// Where in a version its value begins.
    pub(crate) const fn value_offset<V: Value + ?Sized>() -> usize {
        if V::UNSIZED || V::ALIGN > align_of::<u32>() {
            size_of::<Self>().next_multiple_of(V::ALIGN)
        } else {
            offset_of!(Self, tail)
        }
    }

    /// Where the value of a version lies, in a table whose values are `V`s.
    #[inline]
    pub(crate) fn value_at<V: Value + ?Sized>(this: *const Self) -> *mut u8 {
        this.cast_mut().cast::<u8>().wrapping_add(const { Self::value_offset::<V>() })
    }

    /// The value.
    ///
    /// # Safety
    ///
    /// The version is alive for `'t`, no tombstone, and of a table whose values are `V`s.
    #[inline]
    pub(crate) unsafe fn value<'t, V: Value + ?Sized>(this: *const Self) -> &'t V {
        // SAFETY: the caller's promise.
        let len = if V::UNSIZED { unsafe { Self::value_len(this) } } else { 0 };
        // SAFETY: the caller's promise: the version's maker has put a value of this length there.
        unsafe { V::view(Self::value_at::<V>(this), len) }
    }

    /// The length of an unsized value.
    ///
    /// # Safety
    ///
    /// The version is alive, and of a table whose values are unsized.
    #[inline]
    pub(crate) unsafe fn value_len(this: *const Self) -> u32 {
        // SAFETY: the caller's promise: `new` has put it there, and nothing lies over it.
        unsafe { (*this).tail.get().cast::<u32>().read() }
    }

    #[inline]
    pub(crate) fn is_tombstone(&self) -> bool {
        self.flags & TOMBSTONE != 0
    }

    /// When the version begins.
    #[inline]
    pub(crate) fn stamp(&self) -> Stamp {
        // SeqCst: pairs with the store in `set_begin`. It acquires what the committed transaction
        // wrote, and it stays behind the load of the chain's head.
        let word = self.stamp.load(Ordering::SeqCst);
        if word & BY_TRANSACTION == 0 {
            Stamp::At(word >> 1)
        } else {
            Stamp::By((word & !BY_TRANSACTION) as usize as *const Decision)
        }
    }

    /// Whether the version is known to begin before a timestamp. If not, it may yet do so: ask its
    /// stamp.
    #[inline]
    pub(crate) fn begins_before(&self, timestamp: u64) -> bool {
        // A pointer's low bit goes to the top, where no timestamp has one.
        // SeqCst: as in `stamp`.
        self.stamp.load(Ordering::SeqCst).rotate_right(1) < timestamp
    }

    /// Marks a private version as written by an undecided transaction.
    #[inline]
    pub(crate) fn set_writer(&self, decision: *const Decision) {
        // Relaxed: the version is private; the install publishes it.
        self.stamp.store(decision as usize as u64 | BY_TRANSACTION, Ordering::Relaxed);
    }

    /// Stamps the version with its transaction's commit timestamp.
    #[inline]
    pub(crate) fn set_begin(&self, timestamp: u64) {
        // Release: whoever reads the timestamp instead of the decision word acquires the same
        // writes.
        self.stamp.store(timestamp << 1, Ordering::Release);
    }

    /// The next older version.
    #[inline]
    pub(crate) fn older(&self) -> *mut Version<W> {
        // Acquire: pairs with the Release in `set_older`; reclamation links past what it removes.
        self.older.load(Ordering::Acquire)
    }

    #[inline]
    pub(crate) fn set_older(&self, older: *mut Version<W>) {
        // Release: pairs with `older`. (For a private version the install publishes it anyway.)
        self.older.store(older, Ordering::Release);
    }

    #[inline]
    pub(crate) fn depth(&self) -> u16 {
        // Relaxed: a hint.
        self.depth.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn set_depth(&self, depth: u16) {
        // Relaxed: a hint.
        self.depth.store(depth, Ordering::Relaxed);
    }
}

/// The newest version of the chain from `head` that a snapshot sees, or null if the key was absent;
/// and whether no committed version newer than the snapshot lies above it.
///
/// Undecided versions are settled for the snapshot (see [`Decision::settle_for`]), so the answer is
/// final.
///
/// # Safety
///
/// `head` was loaded from a record's head after `snapshot` was drawn; the calling operation has
/// been pinned since before that load, and `snapshot` is published in the watermark.
#[inline(always)]
pub(crate) unsafe fn visible_at<W: Words>(
    head: *mut Version<W>,
    snapshot: u64,
) -> (*mut Version<W>, bool) {
    // SAFETY: as in `visible_below`.
    if let Some(first) = unsafe { head.as_ref() }
        && first.begins_before(snapshot)
    {
        return (head, true);
    }
    // SAFETY: the caller's promise.
    unsafe { visible_below(head, snapshot) }
}

/// As [`visible_at`], where the first version need not be the one.
///
/// # Safety
///
/// As for [`visible_at`].
#[inline(never)]
unsafe fn visible_below<W: Words>(head: *mut Version<W>, snapshot: u64) -> (*mut Version<W>, bool) {
    let (mut version, mut newest) = (head, true);
    while !version.is_null() {
        // SAFETY: by the caller's pin and publication: a version newer than the visible one is
        // freed only after a grace period, the visible one only after the snapshot ends.
        let current = unsafe { &*version };
        let begin = match current.stamp() {
            Stamp::At(begin) => Some(begin),
            // SAFETY: a decision word is freed a grace period after its last stamp is replaced.
            Stamp::By(decision) => unsafe { &*decision }.settle_for(snapshot, UNDECIDED_SPINS_MAX),
        };
        match begin {
            // Before, not at: see the clock's text on ties.
            Some(begin) if begin < snapshot => break,
            Some(_) => newest = false,
            None => {}
        }
        version = current.older();
    }
    (version, newest)
}

/// What stands at the top of a chain.
#[derive(Debug)]
pub(crate) enum Top<W: Words> {
    /// Nothing, or only an aborted version: the committed chain below it (or null).
    Settled {
        /// The newest committed version and its begin, or null and 0.
        base: *mut Version<W>,
        /// When it began.
        begin: u64,
    },
    /// An undecided version.
    Undecided(*const Decision),
}

/// Looks at the top of a chain without waiting. A chain has at most one version that is not
/// committed, and it is the head: installs happen on top of committed versions and in place of
/// aborted ones.
///
/// # Safety
///
/// `head` was loaded from a record's head while the calling operation is pinned.
#[inline]
pub(crate) unsafe fn top<W: Words>(head: *mut Version<W>) -> Top<W> {
    if head.is_null() {
        return Top::Settled { base: head, begin: 0 };
    }
    // SAFETY: the caller is pinned; a head is freed a grace period after it was unlinked at the
    // earliest, or when no open snapshot is older than its successor, and ours is.
    let version = unsafe { &*head };
    match version.stamp() {
        Stamp::At(begin) => Top::Settled { base: head, begin },
        Stamp::By(decision) => {
            // SAFETY: as in `visible_at`.
            match unsafe { &*decision }.outcome() {
                Outcome::Undecided { .. } => Top::Undecided(decision),
                Outcome::Committed(begin) => Top::Settled { base: head, begin },
                // SAFETY: what an undecided version was installed on is committed.
                Outcome::Aborted => unsafe { settled(version.older()) },
            }
        }
    }
}

/// The begin of a version; `None` if it is not committed (yet).
///
/// # Safety
///
/// The calling operation is pinned, and was when it found the version.
pub(crate) unsafe fn committed_begin<W: Words>(version: &Version<W>) -> Option<u64> {
    match version.stamp() {
        Stamp::At(begin) => Some(begin),
        // SAFETY: a decision word is freed a grace period after its last stamp is replaced.
        Stamp::By(decision) => match unsafe { &*decision }.outcome() {
            Outcome::Committed(begin) => Some(begin),
            Outcome::Undecided { .. } | Outcome::Aborted => None,
        },
    }
}

/// The begin of a version that is known to be committed.
///
/// # Safety
///
/// As for [`top`]; `base` is null or committed.
unsafe fn settled<W: Words>(base: *mut Version<W>) -> Top<W> {
    let begin = NonNull::new(base).map_or(0, |base| {
        // SAFETY: the caller's promise.
        unsafe { committed_begin(base.as_ref()) }.expect("a version below another is committed")
    });
    Top::Settled { base, begin }
}
