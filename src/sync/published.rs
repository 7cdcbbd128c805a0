//! A value that is made once and then shared: `OnceLock` without the wait. Two threads that come at
//! the same time may both make it; one is published and the other's is dropped, so a thread that
//! stops while making it holds up nobody.

use super::unmodelled::{AtomicPtr, Ordering};
use std::marker::PhantomData;

/// A place for a value.
#[derive(Debug)]
pub(crate) struct Published<T> {
    value: AtomicPtr<T>,
    owns: PhantomData<T>,
}

impl<T> Published<T> {
    pub(crate) fn new() -> Self {
        Published { value: AtomicPtr::new(std::ptr::null_mut()), owns: PhantomData }
    }

    /// The value, if it is published.
    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        // Acquire: pairs with the Release in `get_or_publish`.
        let value = self.value.load(Ordering::Acquire);
        // SAFETY: null or made by `Box::into_raw`, and freed only by `drop`, which has `&mut self`.
        unsafe { value.as_ref() }
    }

    /// The value; made by `make` and published if there is none yet.
    pub(crate) fn get_or_publish(&self, make: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        let made = Box::into_raw(Box::new(make()));
        let null = std::ptr::null_mut();
        // Release: publishes the value to `get`. Acquire: if another's is there, we return that.
        match self.value.compare_exchange(null, made, Ordering::Release, Ordering::Acquire) {
            // SAFETY: published, so it lives as long as `self`.
            Ok(_) => unsafe { &*made },
            Err(published) => {
                // SAFETY: nobody else has seen ours.
                drop(unsafe { Box::from_raw(made) });
                // SAFETY: as above.
                unsafe { &*published }
            }
        }
    }
}

impl<T> Drop for Published<T> {
    fn drop(&mut self) {
        let value = *self.value.get_mut();
        if !value.is_null() {
            // SAFETY: made by `Box::into_raw`, and nobody else uses it.
            drop(unsafe { Box::from_raw(value) });
        }
    }
}
