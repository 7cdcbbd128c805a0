//! Tells threads that wait beside some work that it is over.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Rung once, when the work is over.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<bool>,
    wake: Condvar,
}

impl Bell {
    /// Does `work` and rings, also when a panic passes.
    pub(super) fn ring_after<R>(&self, work: impl FnOnce() -> R) -> R {
        struct RingAtEnd<'a>(&'a Bell);
        impl Drop for RingAtEnd<'_> {
            fn drop(&mut self) {
                self.0.ring();
            }
        }
        let _ring = RingAtEnd(self);
        work()
    }

    fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_all();
    }

    /// Waits for so long at most; true if the work is over.
    pub(super) fn wait(&self, time: Duration) -> bool {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.wait_timeout_while(rung, time, |rung| !*rung);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}
