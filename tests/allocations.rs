//! No allocation for a read, at most one for a write: `benches/allocations.rs` as a test.

#[path = "common/allocations.rs"]
mod allocations;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

#[test]
fn reads_allocate_nothing_and_writes_once_at_most() {
    let missed = allocations::costs().into_iter().filter(|cost| !cost.is_met());
    let missed: Vec<_> = missed.map(|cost| (cost.name, cost.allocations)).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

#[test]
fn an_allocation_is_counted() {
    assert!(!allocations::counted(|| drop(std::hint::black_box(Box::new(1)))).is_met());
}
