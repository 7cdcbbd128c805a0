//! Long readers: snapshots that stay open beside the workers, and what they cost.
//!
//! A round begins with the snapshots' begin, lasts for as long as they are held, and ends when what
//! they have held up is cleared away. Then the next round begins. The same requests are run once
//! more without readers, before, to compare with.

use super::bell::Bell;
use super::deployment::AnyStore;
use crate::protocol::Reads;
use std::time::{Duration, Instant};

/// How often the store is looked at.
const SAMPLE: Duration = Duration::from_millis(5);
/// What is held up counts as cleared away when so much of the rise is left.
const REST_SHARE: f64 = 0.1;

/// Snapshots that are held open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongReader {
    /// How many at once, each on a thread of its own.
    pub count: u64,
    /// For how long.
    pub hold: Duration,
}

impl LongReader {
    /// The most readers.
    pub const COUNT_MAX: u64 = 1024;

    /// Reads `n=1,hold=5s`; what is left out is as in this example.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("it is empty; write it like n=1,hold=5s".to_owned());
        }
        let mut reader = LongReader { count: 1, hold: Duration::from_secs(5) };
        for part in text.split(',') {
            match part.split_once('=') {
                Some(("n", number)) => {
                    let number = number.parse().ok();
                    let number = number.filter(|number| (1..=Self::COUNT_MAX).contains(number));
                    reader.count = number.ok_or_else(|| {
                        format!("{part}: n is a number from 1 to {}", Self::COUNT_MAX)
                    })?;
                }
                Some(("hold", time)) => {
                    let time = humantime::parse_duration(time);
                    reader.hold = time
                        .map_err(|error| format!("{part}: {error}; write it like n=1,hold=5s"))?;
                }
                _ => return Err(format!("{part}: write it like n=1,hold=5s")),
            }
        }
        if reader.hold.is_zero() || reader.hold > super::DURATION_MAX {
            return Err(format!("{text}: hold is more than 0 and at most seven days"));
        }
        Ok(reader)
    }
}

impl std::fmt::Display for LongReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hold = humantime::format_duration(self.hold).to_string().replace(' ', "");
        write!(f, "n={},hold={hold}", self.count)
    }
}

/// The most that a store held while it was watched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peak {
    /// Versions beyond one for each record: waiting for a snapshot to end, or for their turn.
    pub surplus_versions: u64,
    /// Bytes of records and versions.
    pub retained_bytes: u64,
    /// The longest chain that was pruned.
    pub chain_length: u64,
}

impl Peak {
    fn raise(&mut self, other: Peak) {
        self.surplus_versions = self.surplus_versions.max(other.surplus_versions);
        self.retained_bytes = self.retained_bytes.max(other.retained_bytes);
        self.chain_length = self.chain_length.max(other.chain_length);
    }

    fn of(store: &dyn AnyStore) -> Peak {
        let stats = store.stats();
        let versions = stats.versions_live + stats.versions_retired;
        Peak {
            surplus_versions: versions.saturating_sub(stats.records),
            retained_bytes: stats.retained_bytes,
            chain_length: stats.chain_length_max,
        }
    }
}

/// What the long readers of one repetition were and what they cost.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LongReaderFacts {
    /// What an open reader holds up under this protocol.
    pub meaning: &'static str,
    /// Committed transactions per second without readers.
    pub throughput_without: f64,
    /// What the store held without readers.
    pub without: Peak,
    /// What it held with them.
    pub with: Peak,
    /// Snapshots that were held to their end.
    pub held: u64,
    /// Snapshots that the run's end has cut short.
    pub cut_short: u64,
    /// Snapshots that the store refused to begin.
    pub refused: u64,
    /// For each round how long it took to clear away nine tenths of what it had held up; `None`
    /// where that took longer than the snapshots were held, or than the run.
    pub drains: Vec<Option<Duration>>,
}

impl LongReaderFacts {
    /// The times of those rounds that were cleared away, in ascending order.
    #[must_use]
    pub fn drain_times(&self) -> Vec<Duration> {
        let mut times: Vec<Duration> = self.drains.iter().flatten().copied().collect();
        times.sort_unstable();
        times
    }

    /// Their median, the lower of two.
    #[must_use]
    pub fn median_drain(&self) -> Option<Duration> {
        let times = self.drain_times();
        times.get(times.len().saturating_sub(1) / 2).copied()
    }

    /// Rounds that were not cleared away in time.
    #[must_use]
    pub fn late_drains(&self) -> usize {
        self.drains.iter().filter(|time| time.is_none()).count()
    }
}

/// What an open snapshot that nobody reads from holds up.
fn meaning(reads: Reads) -> &'static str {
    match reads {
        Reads::Snapshot => {
            "an open snapshot keeps, of each record, the version that it sees; versions between \
             two snapshots are pruned"
        }
        Reads::Newest => {
            "this protocol reads the newest versions and keeps no others to be read: an open \
             reader has no snapshot, it holds up the memory of what is overwritten while it is open"
        }
    }
}

/// Who reads beside the workers of one repetition, and who watches the store meanwhile.
#[derive(Debug, Clone, Copy)]
pub(super) enum Company<'a> {
    /// Nobody.
    None,
    /// Nobody reads, but the store is watched.
    Watch,
    /// These readers. The peak is that of a repetition without them.
    Readers(LongReader, &'a Peak),
}

impl Company<'_> {
    /// Does `work` in this company.
    pub(super) fn beside<R>(
        self,
        store: &dyn AnyStore,
        work: impl FnOnce() -> R,
    ) -> (R, Option<LongReaderFacts>) {
        if matches!(self, Company::None) {
            return (work(), None);
        }
        let bell = Bell::default();
        std::thread::scope(|scope| {
            let watcher = scope.spawn(|| match self {
                Company::None | Company::Watch => watch(store, &bell),
                Company::Readers(reader, without) => {
                    Rounds { store, bell: &bell, reader, without }.run()
                }
            });
            let result = bell.ring_after(work);
            match watcher.join() {
                Ok(facts) => (result, Some(facts)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }
}

fn watch(store: &dyn AnyStore, bell: &Bell) -> LongReaderFacts {
    let mut facts = LongReaderFacts::default();
    while !bell.wait(SAMPLE) {
        facts.with.raise(Peak::of(store));
    }
    facts.with.raise(Peak::of(store));
    facts
}

struct Rounds<'a> {
    store: &'a dyn AnyStore,
    bell: &'a Bell,
    reader: LongReader,
    without: &'a Peak,
}

/// How one snapshot ended.
enum Held {
    ToItsEnd,
    CutShort,
    Refused,
}

impl Rounds<'_> {
    fn run(&self) -> LongReaderFacts {
        let mut facts = LongReaderFacts {
            meaning: meaning(self.store.reads()),
            without: *self.without,
            ..LongReaderFacts::default()
        };
        while !self.bell.wait(Duration::ZERO) {
            let refused = facts.refused;
            let over = self.round(&mut facts);
            if over || facts.refused > refused && self.bell.wait(SAMPLE) {
                break;
            }
        }
        facts
    }

    /// One round; true if the work is over.
    fn round(&self, facts: &mut LongReaderFacts) -> bool {
        // What the store holds anyway is no part of what the readers hold up.
        let usual = Peak::of(self.store).surplus_versions.max(self.without.surplus_versions);
        let mut peak = Peak::default();
        let over = std::thread::scope(|scope| {
            let readers: Vec<_> =
                (0..self.reader.count).map(|_| scope.spawn(|| self.hold())).collect();
            while readers.iter().any(|reader| !reader.is_finished()) {
                self.bell.wait(SAMPLE);
                peak.raise(Peak::of(self.store));
            }
            let mut over = false;
            for reader in readers {
                match reader.join() {
                    Ok(Held::ToItsEnd) => facts.held += 1,
                    Ok(Held::Refused) => facts.refused += 1,
                    Ok(Held::CutShort) => {
                        facts.cut_short += 1;
                        over = true;
                    }
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            over
        });
        facts.with.raise(peak);
        if over {
            return true;
        }
        let rise = peak.surplus_versions.saturating_sub(usual);
        let drained = self.drain(facts, usual + (rise as f64 * REST_SHARE) as u64);
        facts.drains.push(drained);
        false
    }

    /// Holds one snapshot open. Nothing is read: what it keeps, it keeps by being open.
    fn hold(&self) -> Held {
        let mut over = false;
        match self.store.beside_snapshot(&mut || over = self.bell.wait(self.reader.hold)) {
            false => Held::Refused,
            true if over => Held::CutShort,
            true => Held::ToItsEnd,
        }
    }

    /// Waits until no more than `rest` versions are too many; how long that took.
    fn drain(&self, facts: &mut LongReaderFacts, rest: u64) -> Option<Duration> {
        let began = Instant::now();
        loop {
            let now = Peak::of(self.store);
            facts.with.raise(now);
            if now.surplus_versions <= rest {
                return Some(began.elapsed());
            }
            if began.elapsed() > self.reader.hold || self.bell.wait(SAMPLE / 5) {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Store;

    #[test]
    fn readers_are_read_from_a_flag() {
        let second = Duration::from_secs(1);
        assert_eq!(LongReader::parse("n=3"), Ok(LongReader { count: 3, hold: second * 5 }));
        let both = LongReader::parse("hold=1s,n=2").expect("valid");
        assert_eq!(both, LongReader { count: 2, hold: second });
        assert_eq!(LongReader::parse(&both.to_string()), Ok(both));
        for bad in ["", "n", "n=0", "n=1025", "n=x", "hold=0s", "hold=5", "hold=99999days", "m=1"] {
            assert!(LongReader::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_held_snapshot_shows_and_drains() {
        let store = Store::builder().shards(1).build().expect("a store");
        let table = store.table::<u64, u64>("numbers").expect("a table");
        let write = |rounds: u64| {
            for round in 0..rounds {
                store
                    .transact(|tx| (0..50).try_for_each(|key| tx.put(&table, key, round)))
                    .expect("written");
            }
        };
        write(10);
        let reader = LongReader { count: 2, hold: Duration::from_millis(30) };
        let usual = Peak { surplus_versions: 60, ..Peak::default() };
        let began = Instant::now();
        let (written, facts) = Company::Readers(reader, &usual).beside(&store, || {
            let mut rounds = 0;
            while began.elapsed() < Duration::from_millis(400) {
                write(1);
                rounds += 1;
            }
            rounds
        });
        let facts = facts.expect("readers were asked for");
        assert!(written > 0 && facts.held >= 2, "{facts:?}");
        assert!(facts.with.surplus_versions > 0 && facts.with.retained_bytes > 0, "{facts:?}");
        assert!(!facts.drains.is_empty() && facts.refused == 0, "{facts:?}");
    }
}
