//! Allocations of each operation of the default store: `cargo bench --bench allocations`.

#[allow(dead_code, reason = "the test of the same name uses the rest")]
#[path = "../tests/common/allocations.rs"]
mod allocations;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

fn main() {
    println!("{:<28} {:>12} {:>8}", "operation", "allocations", "allowed");
    for cost in allocations::costs() {
        let verdict = if cost.is_met() { "MET" } else { "MISSED" };
        println!("{:<28} {:>12.6} {:>8} {verdict}", cost.name, cost.allocations, cost.allowed);
    }
}
