//! Allocations of each operation of the default store, once it is warm: none for a read, at most
//! one for a write. Counted on the calling thread, so they are the same every time.

use chronolith::{Store, Table};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, and how often this thread has called it.
pub struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; the counter is a plain cell of the
// calling thread, without a destructor, so counting neither allocates nor comes too late.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(block, layout) }
    }
}

const RECORDS: u64 = 10_000;
const WARM_UP: u64 = 20_000;
const ROUNDS: u64 = 20_000;
const BATCH: usize = 10;

/// What an operation costs, and what it may cost.
#[derive(Debug)]
pub struct Cost {
    pub name: &'static str,
    pub allocations: f64,
    pub allowed: u64,
}

impl Cost {
    pub fn is_met(&self) -> bool {
        self.allocations <= self.allowed as f64
    }
}

/// Does it so often that everything is warm, then counts; `operations` of it in each call.
fn measure(
    (name, allowed): (&'static str, u64),
    operations: usize,
    mut once: impl FnMut(u64),
) -> Cost {
    (0..WARM_UP).for_each(&mut once);
    let before = COUNT.get();
    (WARM_UP..WARM_UP + ROUNDS).for_each(&mut once);
    let count = COUNT.get() - before;
    Cost { name, allocations: count as f64 / (ROUNDS * operations as u64) as f64, allowed }
}

/// What something else costs, that may cost nothing.
pub fn counted(mut once: impl FnMut()) -> Cost {
    measure(("something else", 0), 1, |_| once())
}

fn filled() -> (Store, Table<u64, u64>, Table<u64, [u8]>) {
    let store = Store::new();
    let numbers = store.table("numbers").expect("a new table");
    let strings = store.table("strings").expect("a new table");
    for key in 0..RECORDS {
        let filled = store.transact(|tx| {
            tx.put(&numbers, key, key)?;
            tx.put(&strings, key, [7; 100].as_slice())
        });
        filled.expect("nobody else writes");
    }
    (store, numbers, strings)
}

/// Every operation.
pub fn costs() -> Vec<Cost> {
    let (store, numbers, strings) = filled();
    let key = |round: u64| round.wrapping_mul(0x9e37_79b9_7f4a_7c15) % RECORDS;
    let batch = |round: u64| -> [u64; BATCH] { std::array::from_fn(|at| key(round + at as u64)) };
    let mut buffer = Vec::with_capacity(200);
    let fine = "nobody else writes";
    vec![
        measure(("view, get", 0), 1, |round| {
            store.view(|tx| tx.get(&numbers, &key(round)).map(|_| ())).expect(fine);
        }),
        measure(("view, get of bytes", 0), 1, |round| {
            store.view(|tx| tx.get(&strings, &key(round)).map(|_| ())).expect(fine);
        }),
        measure(("view, get_many", 0), BATCH, |round| {
            let keys = batch(round);
            store
                .view(|tx| tx.get_many(&numbers, &keys.each_ref(), &mut [None; BATCH]))
                .expect(fine);
        }),
        measure(("view, get of an absent key", 0), 1, |round| {
            store.view(|tx| tx.get(&numbers, &(RECORDS + round)).map(|_| ())).expect(fine);
        }),
        measure(("transact, get", 0), 1, |round| {
            store.transact(|tx| tx.get(&numbers, &key(round)).map(|_| ())).expect(fine);
        }),
        measure(("transact, ten gets", 0), BATCH, |round| {
            let keys = batch(round);
            let all = store
                .transact(|tx| keys.iter().try_for_each(|key| tx.get(&numbers, key).map(|_| ())));
            all.expect(fine);
        }),
        measure(("transact, put", 1), 1, |round| {
            store.transact(|tx| tx.put(&numbers, key(round), round)).expect(fine);
        }),
        measure(("transact, put of bytes", 1), 1, |round| {
            store.transact(|tx| tx.put(&strings, key(round), [8; 100].as_slice())).expect(fine);
        }),
        measure(("transact, update", 1), 1, |round| {
            store.transact(|tx| tx.update(&numbers, &key(round), |old| old + 1)).expect(fine);
        }),
        measure(("transact, update_bytes", 1), 1, |round| {
            let updated = store.transact(|tx| {
                tx.update_bytes(&strings, &key(round), &mut buffer, |old, new| {
                    new.extend_from_slice(old);
                })
            });
            updated.expect(fine);
        }),
        measure(("transact, ten updates", 1), BATCH, |round| {
            let keys = batch(round);
            let all = store.transact(|tx| {
                keys.iter().try_for_each(|key| tx.update(&numbers, key, |old| old + 1).map(|_| ()))
            });
            all.expect(fine);
        }),
        measure(("transact, insert", 1), 1, |round| {
            store.transact(|tx| tx.insert(&numbers, RECORDS + round, round)).expect(fine);
        }),
        measure(("transact, remove", 1), 1, |round| {
            store.transact(|tx| tx.remove(&numbers, &(RECORDS + round))).expect(fine);
        }),
    ]
}
