//! How much memory there is, and whether a load fits into it.

use super::RunError;
use crate::workload::Footprint;
use std::fs::read_to_string;

/// Bytes that the store adds to a record: index entry, record header, version header.
const RECORD_OVERHEAD_BYTES: u64 = 96;
/// The arenas round blocks up to size classes: by up to a quarter.
const ROUNDING_DIVISOR: u64 = 4;
/// Memory that is left to everything else.
const RESERVE_BYTES: u64 = 64 << 20;

/// Bytes of memory that this process may still take: what the machine has available, or less where
/// a control group allows less. `None` where the system does not say.
#[must_use]
pub fn available_bytes() -> Option<u64> {
    let machine = machine_bytes("MemAvailable:");
    let group = group_limit().map(|(limit, used)| limit.saturating_sub(used));
    match (machine, group) {
        (Some(machine), Some(group)) => Some(machine.min(group)),
        (one, other) => one.or(other),
    }
}

/// A field of /proc/meminfo in bytes.
#[must_use]
pub fn machine_bytes(field: &str) -> Option<u64> {
    let text = read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The memory limit of the control group and what of it is used, if there is a limit.
#[must_use]
pub fn group_limit() -> Option<(u64, u64)> {
    let read = |path: &str| read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let (root, old_root) = ("/sys/fs/cgroup", "/sys/fs/cgroup/memory");
    let limit = read(&format!("{root}/memory.max"))
        .or_else(|| read(&format!("{old_root}/memory.limit_in_bytes")))
        // Version 1 writes a huge number for "no limit".
        .filter(|limit| *limit < 1 << 60)?;
    let used = read(&format!("{root}/memory.current"))
        .or_else(|| read(&format!("{old_root}/memory.usage_in_bytes")));
    Some((limit, used.unwrap_or(0)))
}

/// Refuses a load that does not fit, before it begins.
pub(super) fn check(footprint: Footprint) -> Result<(), RunError> {
    let Some(available) = available_bytes() else {
        return Ok(());
    };
    let needed = needed_bytes(footprint);
    if needed > u128::from(available.saturating_sub(RESERVE_BYTES)) {
        return Err(RunError::Memory { records: footprint.records, needed, available });
    }
    Ok(())
}

fn needed_bytes(footprint: Footprint) -> u128 {
    let Footprint { records, records_added, record_bytes } = footprint;
    let records = u128::from(records) + u128::from(records_added);
    let rounded = record_bytes.saturating_add(record_bytes / ROUNDING_DIVISOR);
    records * u128::from(rounded.saturating_add(RECORD_OVERHEAD_BYTES))
}

/// Whether memory is nearly gone, so that a run had better stop while it can still report.
pub(super) fn is_low() -> bool {
    available_bytes().is_some_and(|bytes| bytes < RESERVE_BYTES)
}

/// A number of bytes for people.
#[must_use]
pub fn show_bytes(bytes: u128) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_beyond_any_machine_is_refused() {
        let footprint = |records| Footprint { records, records_added: 0, record_bytes: 1_000 };
        assert!(check(footprint(1)).is_ok());
        if available_bytes().is_some() {
            assert!(check(footprint(u64::MAX)).is_err());
        }
    }

    #[test]
    fn bytes_are_shown_in_their_unit() {
        assert_eq!(show_bytes(1023), "1023 B");
        assert_eq!(show_bytes(1536), "1.5 KiB");
        assert_eq!(show_bytes(u128::MAX).split(' ').nth(1), Some("EiB"));
    }
}
