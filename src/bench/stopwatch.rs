//! The clock that times transactions: nanoseconds, cheap, and of known cost.
//!
//! It is not the store's clock. A measurement must not lean on what it measures.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long the time-stamp counter is compared with the system's clock.
const CALIBRATION: Duration = Duration::from_millis(40);
/// Readings by which the cost of one is found.
const COST_READINGS: u32 = 200_000;

/// A clock that counts nanoseconds from its own beginning.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch {
    source: Source,
}

#[derive(Debug, Clone, Copy)]
enum Source {
    #[cfg(target_arch = "x86_64")]
    Tsc {
        base: u64,
        /// Nanoseconds of one tick, in 2^-32 of a nanosecond.
        scale: u64,
    },
    System(Instant),
}

impl Stopwatch {
    /// The cheapest clock that can be trusted on this machine.
    #[must_use]
    pub fn calibrated() -> Self {
        #[cfg(target_arch = "x86_64")]
        if tsc::trusted() {
            return Stopwatch { source: tsc::calibrate() };
        }
        Stopwatch { source: Source::System(Instant::now()) }
    }

    /// Nanoseconds since this clock's beginning.
    #[inline]
    #[must_use]
    pub fn now(&self) -> u64 {
        match self.source {
            #[cfg(target_arch = "x86_64")]
            Source::Tsc { base, scale } => {
                let ticks = tsc::read().saturating_sub(base);
                ((u128::from(ticks) * u128::from(scale)) >> 32) as u64
            }
            Source::System(base) => base.elapsed().as_nanos() as u64,
        }
    }

    /// What the clock reads, for reports.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.source {
            #[cfg(target_arch = "x86_64")]
            Source::Tsc { .. } => "time-stamp counter, calibrated",
            Source::System(_) => "system monotonic clock",
        }
    }

    /// The cost of one reading in nanoseconds, and the smallest step between two that differ.
    #[must_use]
    pub fn cost(&self) -> ClockCost {
        let start = self.now();
        let mut last = start;
        let mut step_ns = u64::MAX;
        for _ in 0..COST_READINGS {
            let now = black_box(self.now());
            if now > last {
                step_ns = step_ns.min(now - last);
                last = now;
            }
        }
        let reading_ns = (last - start) as f64 / f64::from(COST_READINGS);
        ClockCost { source: self.name(), reading_ns, step_ns }
    }
}

/// What it costs to look at the clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockCost {
    /// What the clock reads.
    pub source: &'static str,
    /// Nanoseconds that one reading takes; a timed transaction has two.
    pub reading_ns: f64,
    /// The smallest step seen between two readings.
    pub step_ns: u64,
}

#[cfg(target_arch = "x86_64")]
mod tsc {
    use super::{CALIBRATION, Source};
    use std::arch::x86_64::__rdtscp;
    use std::time::{Duration, Instant};

    /// Reads the counter once everything before has executed. What comes after may begin earlier by
    /// a few nanoseconds: a fence would forbid it, and cost more than it corrects.
    #[inline]
    pub(super) fn read() -> u64 {
        let mut processor = 0;
        // SAFETY: `trusted` has seen the instruction in the processor's feature list, and no other
        // path leads here.
        unsafe { __rdtscp(&raw mut processor) }
    }

    /// Whether the counter runs evenly, as one on all cores, and can be read in order: the kernel
    /// has compared the counters of the cores and chosen them as its own clock.
    pub(super) fn trusted() -> bool {
        let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        let chosen = std::fs::read_to_string(source).is_ok_and(|name| name.trim() == "tsc");
        let listed = std::fs::read_to_string("/proc/cpuinfo").is_ok_and(|text| {
            let flags = text.lines().find(|line| line.starts_with("flags"));
            flags.is_some_and(|flags| {
                let has = |name| flags.split_whitespace().any(|flag| flag == name);
                has("rdtscp") && has("constant_tsc")
            })
        });
        chosen && listed
    }

    /// A reading of both clocks, as close together as a few tries get them.
    fn pair() -> (u64, Instant) {
        let one = || {
            let before = read();
            let instant = Instant::now();
            let after = read();
            (after - before, before + (after - before) / 2, instant)
        };
        let best = (0..16).map(|_| one()).min_by_key(|(width, ..)| *width);
        let (_, ticks, instant) = best.expect("sixteen tries were made");
        (ticks, instant)
    }

    pub(super) fn calibrate() -> Source {
        let (ticks_first, first) = pair();
        std::thread::sleep(CALIBRATION);
        let (ticks_last, last) = pair();
        let elapsed: Duration = last - first;
        let ticks = (ticks_last - ticks_first).max(1);
        let scale = (elapsed.as_nanos() << 32) / u128::from(ticks);
        Source::Tsc { base: ticks_first, scale: scale as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stopwatch_agrees_with_the_system_clock() {
        let stopwatch = Stopwatch::calibrated();
        let (from, instant) = (stopwatch.now(), Instant::now());
        std::thread::sleep(Duration::from_millis(20));
        let (to, elapsed) = (stopwatch.now(), instant.elapsed());
        // Both bounds are wide: the thread may be suspended between the two readings of a pair.
        let measured = Duration::from_nanos(to - from);
        assert!(measured >= Duration::from_millis(19), "{measured:?}");
        assert!(measured <= elapsed + Duration::from_millis(500), "{measured:?} of {elapsed:?}");
        assert!(stopwatch.cost().reading_ns > 0.0);
    }
}
