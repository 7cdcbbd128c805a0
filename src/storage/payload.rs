//! Which types can be keys and values, and how their bytes lie in a block.
//!
//! Every sized type lies in its version (or record) as itself. `[u8]` and `str` lie there as their
//! bytes, so that a byte string costs one allocation together with its version.

use std::hash::Hash;

/// A type that a table can hold. Implemented for every `Sized + Send + Sync + 'static` type and for
/// `[u8]` and `str`; there is nothing to implement yourself.
///
/// # Safety
///
/// `write` initialises exactly the bytes that `view` and `discard` then use, for the length that
/// `len` gave.
pub unsafe trait Value: Send + Sync + 'static {
    /// What a caller hands over: the value itself, or a borrowed byte string.
    type Input<'a>;
    /// Whether the length differs from value to value.
    const UNSIZED: bool;
    /// Whether `discard` does anything.
    const NEEDS_DROP: bool;
    /// The alignment of the bytes.
    const ALIGN: usize;
    /// The number of bytes, where every value has the same.
    const SIZE: usize;

    /// The length of an unsized value in bytes; 0 for a sized one.
    fn len(input: &Self::Input<'_>) -> usize;

    /// The value that the input is.
    fn peek<'a>(input: &'a Self::Input<'_>) -> &'a Self;

    /// Moves the value to `at`.
    ///
    /// # Safety
    ///
    /// `at` is valid for writes of `SIZE` (or `len`) bytes and aligned to `ALIGN`.
    unsafe fn write(input: Self::Input<'_>, at: *mut u8);

    /// The value at `at`.
    ///
    /// # Safety
    ///
    /// `write` put a value of this length there, and it stays for `'a`.
    unsafe fn view<'a>(at: *const u8, len: u32) -> &'a Self;

    /// Drops the value at `at`.
    ///
    /// # Safety
    ///
    /// As for `view`, and the value is not used again.
    unsafe fn discard(at: *mut u8);
}

/// A type that can be a key: any [`Value`] with equality and a hash.
pub trait Key: Value + Hash + Eq {}

impl<T: Value + Hash + Eq + ?Sized> Key for T {}

// SAFETY: `write` initialises `size_of::<T>()` bytes, which is what `view` and `discard` use.
unsafe impl<T: Send + Sync + 'static> Value for T {
    type Input<'a> = T;
    const UNSIZED: bool = false;
    const NEEDS_DROP: bool = std::mem::needs_drop::<T>();
    const ALIGN: usize = align_of::<T>();
    const SIZE: usize = size_of::<T>();

    #[inline]
    fn len(_input: &T) -> usize {
        0
    }

    #[inline]
    fn peek(input: &T) -> &T {
        input
    }

    #[inline]
    unsafe fn write(input: T, at: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { at.cast::<T>().write(input) }
    }

    #[inline]
    unsafe fn view<'a>(at: *const u8, _len: u32) -> &'a T {
        // SAFETY: the caller's promise.
        unsafe { &*at.cast::<T>() }
    }

    #[inline]
    unsafe fn discard(at: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { at.cast::<T>().drop_in_place() }
    }
}

// SAFETY: `write` copies `len` bytes, which is what `view` uses; there is nothing to drop.
unsafe impl Value for [u8] {
    type Input<'a> = &'a [u8];
    const UNSIZED: bool = true;
    const NEEDS_DROP: bool = false;
    const ALIGN: usize = 1;
    const SIZE: usize = 0;

    #[inline]
    fn len(input: &&[u8]) -> usize {
        <[u8]>::len(input)
    }

    #[inline]
    fn peek<'a>(input: &'a &[u8]) -> &'a [u8] {
        input
    }

    #[inline]
    unsafe fn write(input: &[u8], at: *mut u8) {
        // SAFETY: the caller's promise; a block that nobody else has seen does not overlap the
        // input.
        unsafe { at.copy_from_nonoverlapping(input.as_ptr(), <[u8]>::len(input)) }
    }

    #[inline]
    unsafe fn view<'a>(at: *const u8, len: u32) -> &'a [u8] {
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(at, len as usize) }
    }

    #[inline]
    unsafe fn discard(_at: *mut u8) {}
}

// SAFETY: as for `[u8]`; the bytes were a `str` when they were written.
unsafe impl Value for str {
    type Input<'a> = &'a str;
    const UNSIZED: bool = true;
    const NEEDS_DROP: bool = false;
    const ALIGN: usize = 1;
    const SIZE: usize = 0;

    #[inline]
    fn len(input: &&str) -> usize {
        str::len(input)
    }

    #[inline]
    fn peek<'a>(input: &'a &str) -> &'a str {
        input
    }

    #[inline]
    unsafe fn write(input: &str, at: *mut u8) {
        // SAFETY: the caller's promise.
        unsafe { <[u8] as Value>::write(input.as_bytes(), at) }
    }

    #[inline]
    unsafe fn view<'a>(at: *const u8, len: u32) -> &'a str {
        // SAFETY: the caller's promise; only a `str` was ever written here.
        unsafe { std::str::from_utf8_unchecked(<[u8] as Value>::view(at, len)) }
    }

    #[inline]
    unsafe fn discard(_at: *mut u8) {}
}
