//! Timestamps: where time comes from, and why its order can be trusted.
//!
//! A timestamp is used as a snapshot ("everything committed *before* b is visible") or as a commit
//! time. What the commit protocol needs of the clock is two properties:
//!
//! > **Real-time order.** If a transaction has returned before another begins, the second's
//! > snapshot is greater than the first's commit timestamp.
//!
//! > **Install before draw.** If a commit timestamp is smaller than a snapshot, then whatever the
//! > committing transaction installed before its draw is seen by loads after the snapshot's draw.
//!
//! # Two sources
//!
//! * The processor's time-stamp counter, when the machine's counters are known to run as one: the
//!   processor says that the counter is invariant, the kernel has chosen it as its own clock source
//!   (it measures the counters of all cores against each other and withdraws a bad one), and a test
//!   between threads at first use sees no step back. A draw touches no memory, so it scales.
//! * Otherwise one shared counter: commits draw even numbers, snapshots are odd.
//!
//! # Order with memory
//!
//! `rdtsc` is not ordered with loads and stores, so every draw is `lfence; rdtsc; lfence`. The
//! first fence waits for what came before: a locked instruction (the install of a version, the
//! opening of a slot) has then completed, hence is visible to every core, before the counter is
//! read. The second keeps later loads (the first read of a transaction, the validation) from
//! running before the counter is read. Without the first an install could be dated before it is
//! visible; without the second a read could be older than its snapshot. Either is a lost update.
//!
//! # Ties and skew
//!
//! Some processors advance the counter in steps (ten nanoseconds on the machines this was written
//! on), so a commit and a snapshot on two cores can draw the same number although the snapshot's
//! first load came before the install. Hence *before* above, not *at or before*: a tie is
//! invisible, whichever came first. Two draws one after the other on one core never tie; the test
//! at first use checks that.
//!
//! Two counters may also differ by less than the time that a cache line takes from one core to the
//! other, which no test can see. So commit timestamps lie a little ahead (`AHEAD_MAX`): a snapshot
//! that is greater was drawn that much later, by any counter that is not further off. Real-time
//! order still holds, because a commit takes longer than that to return and be noticed, and a
//! thread that is quicker in beginning its next transaction draws again.
//!
//! # Departure from the design: no worker number in the low bits
//!
//! The design makes timestamps unique by a worker number in the low bits. That costs ten bits of
//! range (the counter would run out in weeks) and is not needed: two commits that *depend* on each
//! other never have the same timestamp, because a commit draws again until its timestamp is greater
//! than its own snapshot, than the timestamp of every version that it overwrites, and than the
//! floor that readers of its undecided versions have set (see `protocol/mvocc.rs`). Commits that
//! tie do not depend on each other, and either order of them is right.

use crate::sync::{AtomicU64, CachePadded, Ordering};

/// The largest timestamp: two bits of a word are left for tags.
pub(crate) const TIMESTAMP_MAX: u64 = (1 << 62) - 1;

/// A source of timestamps for one store.
#[derive(Debug)]
pub(crate) enum Clock {
    /// One shared counter.
    Counter(CachePadded<AtomicU64>),
    /// The time-stamp counter, and how far ahead of it commit timestamps lie.
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    Tsc {
        /// In ticks.
        ahead: u64,
    },
}

/// Which source of timestamps a store uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClockSource {
    /// The time-stamp counter where it can be trusted, else the shared counter.
    #[default]
    Automatic,
    /// One shared counter, whatever the machine offers.
    SharedCounter,
}

impl Clock {
    /// The clock for `source` on this machine.
    pub(crate) fn new(source: ClockSource) -> Self {
        #[cfg(all(target_arch = "x86_64", not(loom)))]
        if source == ClockSource::Automatic
            && let Some(ahead) = tsc::synchronised()
        {
            return Clock::Tsc { ahead };
        }
        let _ = source;
        Clock::Counter(CachePadded::new(AtomicU64::new(2)))
    }

    /// The clock's name in reports.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Clock::Counter(_) => "shared counter",
            #[cfg(all(target_arch = "x86_64", not(loom)))]
            Clock::Tsc { .. } => "time-stamp counter",
        }
    }

    /// A timestamp for a snapshot: greater than any commit timestamp whose transaction has
    /// returned.
    #[inline]
    pub(crate) fn snapshot(&self) -> u64 {
        match self {
            // SeqCst: pairs with the draw in `commit`; a draw that came first is seen, and the
            // loads of the snapshot's reads stay behind this one.
            Clock::Counter(counter) => counter.load(Ordering::SeqCst) + 1,
            #[cfg(all(target_arch = "x86_64", not(loom)))]
            Clock::Tsc { .. } => tsc::read(),
        }
    }

    /// A timestamp for a commit. The caller draws again where it must be greater than some other.
    #[inline]
    pub(crate) fn commit(&self) -> u64 {
        match self {
            // SeqCst: pairs with `snapshot`, and keeps the installs before it and the validation
            // after.
            Clock::Counter(counter) => counter.fetch_add(2, Ordering::SeqCst) + 2,
            #[cfg(all(target_arch = "x86_64", not(loom)))]
            Clock::Tsc { ahead } => tsc::read() + ahead,
        }
    }

    /// A duration in this clock's ticks, or `None` where ticks are no time.
    #[cfg_attr(loom, allow(unused_variables, reason = "the model's clock has no rate"))]
    pub(crate) fn ticks(&self, ns: u64) -> Option<u64> {
        match self {
            Clock::Counter(_) => None,
            // Three ticks a nanosecond is at or above every processor's rate that we know; a right
            // of way may last a little longer than asked, never much.
            #[cfg(all(target_arch = "x86_64", not(loom)))]
            Clock::Tsc { .. } => Some(ns.saturating_mul(3)),
        }
    }
}

#[cfg(all(target_arch = "x86_64", not(loom)))]
mod tsc {
    use super::TIMESTAMP_MAX;
    use crate::sync::unmodelled::{AtomicU64, Ordering};
    use std::arch::x86_64::{__cpuid, _mm_lfence, _rdtsc};
    use std::sync::OnceLock;

    /// Reads the counter, ordered with the memory accesses on both sides (see the module's text).
    #[inline]
    pub(super) fn read() -> u64 {
        // SAFETY: SSE2, which every x86-64 processor has, includes lfence; rdtsc faults only where
        // the kernel forbids it to user code, and then the check at first use has already faulted.
        unsafe {
            _mm_lfence();
            let ticks = _rdtsc();
            _mm_lfence();
            ticks & TIMESTAMP_MAX
        }
    }

    /// How far commit timestamps may lie ahead, in ticks: less than a commit takes to return.
    const AHEAD_MAX: u64 = 64;

    /// If the counters of this machine's cores run as one, how far ahead of them commit timestamps
    /// shall lie. Found out once a process.
    pub(super) fn synchronised() -> Option<u64> {
        static ANSWER: OnceLock<Option<u64>> = OnceLock::new();
        *ANSWER.get_or_init(|| {
            let trusted = invariant() && kernel_trusts() && always_advances();
            let shortest = if trusted {
                shortest_message()?
            } else {
                return None;
            };
            Some(AHEAD_MAX.min(shortest / 2))
        })
    }

    /// Two draws one after the other on one core must differ.
    fn always_advances() -> bool {
        let mut last = read();
        (0..10_000).all(|_| {
            let advanced = read() > last;
            last = read();
            advanced
        })
    }

    fn invariant() -> bool {
        const POWER_LEAF: u32 = 0x8000_0007;
        const INVARIANT_TSC: u32 = 1 << 8;
        __cpuid(0x8000_0000).eax >= POWER_LEAF && __cpuid(POWER_LEAF).edx & INVARIANT_TSC != 0
    }

    /// Linux compares the counters at boot and watches them after; its choice is the best witness.
    fn kernel_trusts() -> bool {
        let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        std::fs::read_to_string(path).is_ok_and(|source| source.trim() == "tsc")
    }

    /// Two threads take turns to read the counter, each after it has seen the other's value.
    /// Returns the smallest difference seen, in ticks, or `None` if the counter ever stepped back.
    fn shortest_message() -> Option<u64> {
        const TURNS: u64 = 4_000;
        let latest = AtomicU64::new(0);
        let turn = AtomicU64::new(0);
        let play = |parity: u64| {
            let mut shortest = Some(u64::MAX);
            for number in (0..TURNS).filter(|n| n % 2 == parity) {
                let mut waited = 0u32;
                // Acquire: pairs with the other's Release, so that `latest` is the value it read.
                while turn.load(Ordering::Acquire) != number {
                    waited += 1;
                    if waited.is_multiple_of(64) {
                        std::thread::yield_now();
                    }
                    std::hint::spin_loop();
                }
                // Relaxed: ordered by `turn`.
                let seen = latest.load(Ordering::Relaxed);
                let mine = read();
                shortest = shortest.and_then(|s| mine.checked_sub(seen).map(|delta| s.min(delta)));
                // Relaxed: ordered by `turn`.
                latest.store(mine, Ordering::Relaxed);
                // Release: hands `latest` to the other thread.
                turn.store(number + 1, Ordering::Release);
            }
            shortest
        };
        std::thread::scope(|scope| {
            let other = std::thread::Builder::new().spawn_scoped(scope, || play(1)).ok()?;
            let mine = play(0)?;
            Some(mine.min(other.join().ok()??))
        })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn clocks() -> [Clock; 2] {
        [Clock::new(ClockSource::Automatic), Clock::new(ClockSource::SharedCounter)]
    }

    #[test]
    fn a_thread_sees_time_pass() {
        for clock in clocks() {
            let mut last = clock.snapshot();
            for _ in 0..10_000 {
                let commit = clock.commit();
                assert!(commit > last, "{}: {commit} after {last}", clock.name());
                while last <= commit {
                    last = clock.snapshot();
                }
            }
        }
    }

    #[test]
    fn a_message_never_arrives_before_it_was_sent() {
        for clock in clocks() {
            let (sender, receiver) = std::sync::mpsc::sync_channel(0);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let sender = sender;
                    while sender.send(clock.commit()).is_ok() {}
                });
                for sent in receiver.iter().take(5_000) {
                    assert!(clock.snapshot() > sent, "{}", clock.name());
                }
                drop(receiver);
            });
        }
    }
}
