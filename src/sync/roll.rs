//! A list that grows until it is sealed, and is read without a lock. One word says which: whoever
//! seals it knows all that will ever be in it, so nobody can add behind a reader's back.

use super::unmodelled::{AtomicPtr, Ordering};
use std::marker::PhantomData;

/// An entry, and the one that was added before it.
struct Node<T> {
    value: T,
    next: *mut Node<T>,
}

/// The list. Its word is the address of the newest entry (null: none), and `SEALED` once sealed.
pub(crate) struct Roll<T> {
    head: AtomicPtr<Node<T>>,
    owns: PhantomData<T>,
}

/// An entry's alignment keeps this bit of its address free.
const SEALED: usize = 1;

fn is_sealed<T>(head: *mut Node<T>) -> bool {
    head.addr() & SEALED != 0
}

fn first<T>(head: *mut Node<T>) -> *mut Node<T> {
    head.map_addr(|addr| addr & !SEALED)
}

impl<T> Roll<T> {
    pub(crate) fn new() -> Self {
        const { assert!(align_of::<Node<T>>() > SEALED) };
        Roll { head: AtomicPtr::new(std::ptr::null_mut()), owns: PhantomData }
    }

    /// Whether it is sealed and has no entry.
    #[inline(always)]
    pub(crate) fn is_sealed_empty(&self) -> bool {
        // Relaxed: nothing is reached through it, and after this value there is no other.
        self.head.load(Ordering::Relaxed).addr() == SEALED
    }

    /// Whether nothing can be added any more.
    pub(crate) fn is_sealed(&self) -> bool {
        // Relaxed: as above.
        is_sealed(self.head.load(Ordering::Relaxed))
    }

    /// Adds an entry; false, and it is dropped, if the list is sealed.
    pub(crate) fn push(&self, value: T) -> bool
    where
        T: Send,
    {
        // Relaxed: we do not look at the entry before; whoever acquires ours acquires it too, by
        // the release sequence.
        let mut head = self.head.load(Ordering::Relaxed);
        let mut node = Box::new(Node { value, next: head });
        while !is_sealed(head) {
            node.next = head;
            let new = Box::into_raw(node);
            // Release: publishes the entry to `seal`. Relaxed: as above.
            match self.head.compare_exchange(head, new, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => head = now,
            }
            // SAFETY: nobody else has seen it.
            node = unsafe { Box::from_raw(new) };
        }
        false
    }

    /// Seals the list: its entries, the newest first, are all that it will have.
    pub(crate) fn seal(&self) -> Entries<'_, T> {
        // Acquire: pairs with the Release in `push`; the exchanges after one are all of its release
        // sequence, so this reaches every entry.
        let mut head = self.head.load(Ordering::Acquire);
        while !is_sealed(head) {
            let sealed = head.map_addr(|addr| addr | SEALED);
            // Acquire: as above; there is nothing of ours to release.
            match self.head.compare_exchange(head, sealed, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => break,
                Err(now) => head = now,
            }
        }
        Entries { next: first(head), list: PhantomData }
    }
}

/// The entries of a list.
pub(crate) struct Entries<'l, T> {
    next: *mut Node<T>,
    list: PhantomData<&'l T>,
}

impl<T> Clone for Entries<'_, T> {
    fn clone(&self) -> Self {
        Entries { next: self.next, list: PhantomData }
    }
}

impl<'l, T> Iterator for Entries<'l, T> {
    type Item = &'l T;

    fn next(&mut self) -> Option<&'l T> {
        // SAFETY: null or published by `push`; entries stay as long as the list, which is borrowed.
        let node: &'l Node<T> = unsafe { self.next.as_ref() }?;
        self.next = node.next;
        Some(&node.value)
    }
}

impl<T> Drop for Roll<T> {
    fn drop(&mut self) {
        let mut next = first(*self.head.get_mut());
        while !next.is_null() {
            // SAFETY: made by `Box::into_raw` in `push`, in the list once, and nobody else uses it.
            let node = unsafe { Box::from_raw(next) };
            next = node.next;
        }
    }
}

impl<T> std::fmt::Debug for Roll<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Roll").field("sealed", &self.is_sealed()).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_sealed_list_grows_no_more() {
        let (list, token) = (Roll::new(), Arc::new(()));
        assert!(!list.is_sealed() && !list.is_sealed_empty());
        assert!(list.push((1, Arc::clone(&token))) && list.push((2, Arc::clone(&token))));
        let numbers = |entries: Entries<'_, (i32, Arc<()>)>| -> Vec<i32> {
            entries.map(|entry| entry.0).collect()
        };
        assert_eq!(numbers(list.seal()), [2, 1]);
        assert!(!list.push((3, Arc::clone(&token))));
        assert!(list.is_sealed() && !list.is_sealed_empty());
        assert_eq!(numbers(list.seal()), [2, 1]);
        assert_eq!(Arc::strong_count(&token), 3);
        drop(list);
        assert_eq!(Arc::strong_count(&token), 1);
        let empty = Roll::<u8>::new();
        assert_eq!(empty.seal().count(), 0);
        assert!(empty.is_sealed_empty() && !empty.push(1));
    }

    #[test]
    fn whoever_seals_it_has_seen_every_entry() {
        for _ in 0..200 {
            let list = Roll::new();
            let (added, seen) = std::thread::scope(|scope| {
                let adders = [0, 1].map(|thread| {
                    let list = &list;
                    scope.spawn(move || (0..20).filter(|n| list.push(thread * 20 + n)).count())
                });
                let sealer = scope.spawn(|| {
                    std::thread::yield_now();
                    list.seal().count()
                });
                (adders.map(|adder| adder.join().expect("no panic")), sealer.join())
            });
            let seen = seen.expect("no panic");
            assert_eq!(added[0] + added[1], seen);
            assert_eq!(list.seal().count(), seen);
        }
    }
}
