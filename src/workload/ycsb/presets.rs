//! The presets: the property files that come with the command.

use crate::workload::Preset;

/// A shipped property file as a preset: a million records, and the flags say how long it runs.
macro_rules! preset {
    ($name:literal, $file:literal, $summary:literal) => {
        Preset {
            name: $name,
            summary: $summary,
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/workloads/", $file)),
            adds: &[("recordcount", "1000000")],
            removes: &["operationcount"],
        }
    };
}

/// YCSB's own mixes, then those that show what contention does.
pub(super) const PRESETS: &[Preset] = &[
    preset!("ycsb-a", "workloada", "update heavy: 50 % reads, 50 % updates, zipfian"),
    preset!("ycsb-b", "workloadb", "read mostly: 95 % reads, 5 % updates, zipfian"),
    preset!("ycsb-c", "workloadc", "read only: 100 % reads, zipfian"),
    preset!("ycsb-d", "workloadd", "read latest: 95 % reads, 5 % inserts, latest"),
    preset!("ycsb-e", "workloade", "short ranges: 95 % scans of up to 100 records, 5 % inserts"),
    preset!("ycsb-f", "workloadf", "50 % reads, 50 % read-modify-writes, zipfian"),
    preset!("uniform", "uniform", "no contention: ten operations, half of them updates, uniform"),
    preset!("zipf-0.9", "zipf-0.9", "moderate contention: the same, zipf with theta 0.9"),
    preset!("zipf-0.99", "zipf-0.99", "high contention: the same, zipf with theta 0.99"),
    preset!("zipf-1.2", "zipf-1.2", "extreme contention: the same, zipf with theta 1.2"),
    preset!("hot-key", "hot-key", "one hot key: the same, a tenth of all operations on one record"),
    preset!("moving-hot-set", "moving-hot-set", "a hot set of 100 records that moves"),
    preset!("read-50", "read-50", "zipf with theta 0.99, ten operations, 50 % reads"),
    preset!("read-95", "read-95", "zipf with theta 0.99, ten operations, 95 % reads"),
    preset!("read-100", "read-100", "zipf with theta 0.99, ten operations, reads only"),
    preset!("long-among-short", "long-among-short", "1 % of the transactions have 100 operations"),
];
