//! Interleavings of a few transactions, written down step by step, and the judge of what came of
//! them.
//!
//! A script is in the notation of the literature: `b1 r1(x) w1(x=11) c1`. Each transaction has a
//! thread of its own; the steps are let go one by one. A step that does not return is overtaken by
//! the next ones, as under a protocol with locks it has to be; a protocol that calls itself
//! lock-free may not be overtaken.
//!
//! The judge knows no anomaly by name. It tries every order in which the committed transactions can
//! have run (serializable), or every order of their begins and commits (snapshot isolation: each
//! reads the state at its begin, and of two that overlap and write the same key one aborts). If
//! none gives the values that were read, and in real-time order where that is promised, the level
//! is violated. What a transaction has read that did not commit proves nothing: an optimistic
//! protocol without versions may show it an inconsistent state before it aborts.

#[path = "tables.rs"]
mod tables;

use chronolith::protocol::{Isolation, Progress, Protocol};
use chronolith::{Key, Store, Table, Transaction, TransactionError};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

pub use tables::{Form, Keyed, Scan};

/// The present keys and their values.
pub type State = BTreeMap<u64, i64>;

/// Long enough for any step of a thread that nobody holds up.
const STEP_MAX: Duration = Duration::from_secs(60);

/// One step of one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// `b1`
    Begin,
    /// `v1`: read-only.
    BeginView,
    /// `r1(x)`
    Get(u64),
    /// `w1(x=11)`
    Put(u64, i64),
    /// `i1(x=11)`: only if the key is absent.
    Insert(u64, i64),
    /// `u1(x+1)`: only if the key is present.
    Update(u64, i64),
    /// `d1(x)`: only if the key is present.
    Remove(u64),
    /// `s1(p-z)`, at most two entries of it `s1(p-z:2)`, and from its end `S1(p-z:2)`; `f1` and
    /// `l1` for the first and the last entry of all, `p1(x)` for a prefix.
    Scan(Scan),
    /// `m1`: puts many keys behind all letters, so that what holds them grows.
    Crowd,
    /// `k1`, outside of any transaction: lets other keys come and go one by one, until what was
    /// removed before is reclaimed as far as it may be.
    Churn,
    /// `c1`
    Commit,
    /// `a1`
    Rollback,
}

/// The keys of a crowd: more than one node of an ordered index takes.
const CROWD: std::ops::Range<u64> = 1_000..1_070;

/// The keys of a churn: enough for every janitor to come round.
const CHURN: std::ops::Range<u64> = 2_000..2_600;

/// What a transaction has learnt or done.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Saw(u64, Option<i64>),
    Scanned(Scan, Vec<(u64, i64)>),
    /// The key was there, with whatever value.
    SawPresent(u64),
    Wrote(u64, Option<i64>),
}

/// A transaction that has ended.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// When it was called to begin and when it had ended, on one clock.
    begun: u64,
    ended: u64,
    pub committed: bool,
    actions: Vec<Action>,
}

/// The steps in their order, each with its transaction, numbered from 0.
#[derive(Debug, Clone, Default)]
pub struct Script(pub Vec<(usize, Deed)>);

/// The key of a letter.
pub fn key(letter: char) -> u64 {
    u64::from(letter)
}

/// Reads `p-z` or `p-z:2`.
fn parse_range(operand: &str, reversed: bool) -> Scan {
    let (bounds, most) = operand.split_once(':').unwrap_or((operand, ""));
    let most = if most.is_empty() { usize::MAX } else { most.parse().expect("a number") };
    let mut letters = bounds.chars();
    let (Some(low), Some('-'), Some(high), None) =
        (letters.next(), letters.next(), letters.next(), letters.next())
    else {
        panic!("no range: {operand}");
    };
    Scan::Range { low: key(low), high: key(high), most, reversed }
}

impl Script {
    /// Reads the notation; transactions are counted from 1 in it.
    pub fn parse(text: &str) -> Self {
        let step = |word: &str| {
            let (verb, rest) = word.split_at(1);
            let (who, rest) = rest.split_at(1);
            let who = who.parse::<usize>().expect("a transaction") - 1;
            let operand = rest.trim_matches(['(', ')']);
            let key = operand.chars().next().map_or(0, key);
            let number = || {
                let number = operand[1..].trim_start_matches('=').parse::<i64>();
                number.unwrap_or_else(|_| panic!("no number in {word}"))
            };
            let deed = match verb {
                "b" => Deed::Begin,
                "v" => Deed::BeginView,
                "r" => Deed::Get(key),
                "w" => Deed::Put(key, number()),
                "i" => Deed::Insert(key, number()),
                "u" => Deed::Update(key, number()),
                "d" => Deed::Remove(key),
                "s" | "S" => Deed::Scan(parse_range(operand, verb == "S")),
                "f" => Deed::Scan(Scan::First),
                "l" => Deed::Scan(Scan::Last),
                "p" => Deed::Scan(Scan::Prefix(key)),
                "m" => Deed::Crowd,
                "k" => Deed::Churn,
                "c" => Deed::Commit,
                "a" => Deed::Rollback,
                _ => panic!("no step: {word}"),
            };
            (who, deed)
        };
        Script(text.split_whitespace().map(step).collect())
    }

    /// How many transactions take part.
    fn transactions(&self) -> usize {
        self.0.iter().map(|(who, _)| who + 1).max().unwrap_or(0)
    }
}

/// Fails the test on anything but a conflict.
fn expect_abort(error: &TransactionError) {
    if let TransactionError::Error(error) = error {
        panic!("{error}");
    }
}

/// Sets the state of the keys.
pub fn prepare<P: Protocol>(store: &Store<P>, table: &Keyed<P>, keys: &[u64], state: &State) {
    let set = |tx: &Transaction<'_, P>| {
        keys.iter().try_for_each(|&key| {
            let deed = state.get(&key).map_or(Deed::Remove(key), |value| Deed::Put(key, *value));
            perform(tx, table, deed, &mut Vec::new())
        })
    };
    store.transact(set).unwrap();
}

/// Runs a script and, after it, a reader of `keys`. A step under a blocking protocol is overtaken
/// after `patience`.
pub fn run<P: Protocol>(
    store: &Store<P>,
    table: &Keyed<P>,
    script: &Script,
    keys: &[u64],
    patience: Duration,
) -> Vec<Entry> {
    let clock = AtomicU64::new(1);
    let (done, is_done) = channel();
    let mut entries = std::thread::scope(|scope| {
        let actors: Vec<_> = (0..script.transactions())
            .map(|who| {
                let (deeds, told) = channel();
                let (clock, done) = (&clock, done.clone());
                (deeds, scope.spawn(move || act(store, table, who, told, done, clock)))
            })
            .collect();
        let mut stage = Stage { late: vec![0; actors.len()], is_done };
        for &(who, deed) in &script.0 {
            actors[who].0.send(deed).expect("the actor listens to the end");
            stage.late[who] += 1;
            stage.wait::<P>(who, deed, patience);
        }
        actors
            .into_iter()
            .map(|(deeds, actor)| {
                drop(deeds);
                actor.join().expect("the actor reports a conflict and no more")
            })
            .collect::<Vec<Entry>>()
    });
    let last = keys.iter().map(|&key| Deed::Get(key));
    let all = table.form().has_ranges().then_some(Deed::Scan(Scan::EVERYTHING));
    let last = std::iter::once(Deed::BeginView).chain(last).chain(all).chain([Deed::Commit]);
    let (deeds, told) = channel();
    last.for_each(|deed| deeds.send(deed).expect("it is read below"));
    drop(deeds);
    entries.push(act(store, table, 0, told, done, &clock));
    entries
}

/// What the director of a script sees.
struct Stage {
    /// Steps of each transaction that were let go and have not returned.
    late: Vec<usize>,
    is_done: Receiver<usize>,
}

impl Stage {
    /// Waits for the step that was just let go; not for one whose transaction was late before.
    fn wait<P: Protocol>(&mut self, who: usize, deed: Deed, patience: Duration) {
        let blocking = P::PROGRESS == Progress::Blocking;
        let patience = if blocking { patience } else { STEP_MAX };
        let in_time = self.late[who] > 1 || self.until(patience, |late| late[who] == 0);
        assert!(in_time || blocking, "{}: {deed:?} waits for another transaction", P::NAME);
        if matches!(deed, Deed::Commit | Deed::Rollback) {
            // Whoever waited for this one catches up.
            self.until(patience, |late| late.iter().all(|&late| late == 0));
        }
    }

    fn until(&mut self, patience: Duration, enough: impl Fn(&[usize]) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        while !enough(&self.late) {
            let rest = deadline.saturating_duration_since(Instant::now());
            let Ok(who) = self.is_done.recv_timeout(rest) else {
                return false;
            };
            self.late[who] -= 1;
        }
        true
    }
}

/// One transaction of a script, on its own thread.
fn act<P: Protocol>(
    store: &Store<P>,
    table: &Keyed<P>,
    who: usize,
    told: Receiver<Deed>,
    done: Sender<usize>,
    clock: &AtomicU64,
) -> Entry {
    let tick = || clock.fetch_add(1, Ordering::SeqCst);
    let (mut entry, mut open) = (Entry::default(), None);
    for deed in told {
        let outcome = match (deed, &open) {
            (Deed::Begin | Deed::BeginView, _) => {
                entry.begun = tick();
                let tx = if deed == Deed::Begin { store.begin() } else { store.begin_view() };
                tx.map(|tx| open = Some(tx))
            }
            (Deed::Commit, Some(_)) => {
                let tx: Transaction<'_, P> = open.take().expect("it is open");
                let outcome = tx.commit();
                (entry.committed, entry.ended) = (outcome.is_ok(), tick());
                outcome
            }
            (Deed::Rollback, _) => {
                open = None;
                Ok(())
            }
            (Deed::Churn, _) => churn(store, table),
            (deed, Some(tx)) => perform(tx, table, deed, &mut entry.actions),
            // It has failed before.
            (_, None) => Ok(()),
        };
        if let Err(error) = outcome {
            expect_abort(&error);
            open = None;
        }
        // The director has left once the script is over.
        let _ = done.send(who);
    }
    entry
}

fn perform<P: Protocol>(
    tx: &Transaction<'_, P>,
    table: &Keyed<P>,
    deed: Deed,
    actions: &mut Vec<Action>,
) -> Result<(), TransactionError> {
    match deed {
        Deed::Scan(scan) => actions.push(Action::Scanned(scan, table.scan(tx, scan)?)),
        Deed::Crowd => {
            return CROWD
                .into_iter()
                .try_for_each(|key| perform(tx, table, Deed::Put(key, 1), actions));
        }
        Deed::Get(key)
        | Deed::Put(key, _)
        | Deed::Insert(key, _)
        | Deed::Update(key, _)
        | Deed::Remove(key) => {
            let bytes = tables::bytes_of(key);
            match table {
                Keyed::Hashed(table) => at_key(tx, table, (&key, key), deed, actions)?,
                Keyed::Ordered(table) => at_key(tx, table, (&key, key), deed, actions)?,
                Keyed::Bytes(table) => at_key(tx, table, (&bytes[..], &bytes), deed, actions)?,
            }
        }
        Deed::Begin | Deed::BeginView | Deed::Commit | Deed::Rollback | Deed::Churn => {
            unreachable!("not inside a transaction")
        }
    }
    Ok(())
}

fn churn<P: Protocol>(store: &Store<P>, table: &Keyed<P>) -> Result<(), TransactionError> {
    for key in CHURN {
        for deed in [Deed::Put(key, 0), Deed::Remove(key)] {
            store.transact(|tx| perform(tx, table, deed, &mut Vec::new()))?;
        }
    }
    Ok(())
}

/// Performs a deed at one key, which is given in both forms in which a table asks for it.
fn at_key<P: Protocol, K: Key + ?Sized>(
    tx: &Transaction<'_, P>,
    table: &Table<K, i64, P>,
    (at, owned): (&K, K::Input<'_>),
    deed: Deed,
    actions: &mut Vec<Action>,
) -> Result<(), TransactionError> {
    match deed {
        Deed::Get(key) => actions.push(Action::Saw(key, tx.get(table, at)?.copied())),
        Deed::Put(key, value) => {
            tx.put(table, owned, value)?;
            actions.push(Action::Wrote(key, Some(value)));
        }
        Deed::Insert(key, value) => match tx.insert(table, owned, value)? {
            true => actions.extend([Action::Saw(key, None), Action::Wrote(key, Some(value))]),
            false => actions.push(Action::SawPresent(key)),
        },
        Deed::Update(key, more) => {
            let mut seen = None;
            let change = |value: &i64| {
                seen = Some(*value);
                value + more
            };
            tx.update(table, at, change)?;
            actions.push(Action::Saw(key, seen));
            actions.extend(seen.map(|value| Action::Wrote(key, Some(value + more))));
        }
        Deed::Remove(key) => match tx.remove(table, at)? {
            true => actions.extend([Action::SawPresent(key), Action::Wrote(key, None)]),
            false => actions.push(Action::Saw(key, None)),
        },
        _ => unreachable!("not at one key"),
    }
    Ok(())
}

/// A history in the same notation, with what was read: `r1(x=10)`, or `r1(x)` for an absent key,
/// and `s1(p-z)x=10,y=20`.
pub fn history(text: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for (time, word) in (1..).zip(text.split_whitespace()) {
        let (word, found) = word.split_once(')').unwrap_or((word, ""));
        let known = word.starts_with('r').then(|| word.replacen('r', "w", 1));
        let known = known.filter(|word| word.contains('='));
        let (who, deed) = Script::parse(known.as_deref().unwrap_or(word)).0[0];
        entries.resize_with(entries.len().max(who + 1), Entry::default);
        let Entry { begun, ended, committed, actions } = &mut entries[who];
        match deed {
            Deed::Begin | Deed::BeginView => *begun = time,
            Deed::Put(key, value) if known.is_some() => actions.push(Action::Saw(key, Some(value))),
            Deed::Put(key, value) => actions.push(Action::Wrote(key, Some(value))),
            Deed::Remove(key) => {
                actions.extend([Action::SawPresent(key), Action::Wrote(key, None)])
            }
            Deed::Get(key) => actions.push(Action::Saw(key, None)),
            Deed::Scan(scan) => {
                let found = found.split(',').filter_map(|entry| entry.split_once('='));
                let number = |text: &str| text.parse::<i64>().expect("a number");
                let key = |text: &str| text.chars().next().map(key).expect("a letter");
                let seen = found.map(|(at, value)| (key(at), number(value))).collect();
                actions.push(Action::Scanned(scan, seen));
            }
            Deed::Commit => (*committed, *ended) = (true, time),
            other => panic!("not in a history: {other:?}"),
        }
    }
    entries
}

/// Whether what the committed transactions have seen can come about at this level.
pub fn explained(before: &State, entries: &[Entry], isolation: Isolation, strict: bool) -> bool {
    let entries: Vec<&Entry> = entries.iter().filter(|entry| entry.committed).collect();
    let serial = isolation == Isolation::Serializable;
    let known = serial || isolation == Isolation::Snapshot;
    assert!(known, "the judge does not know the level {isolation:?}");
    let stages = vec![Part::Waiting; entries.len()];
    let mut judge = Judge { entries, serial, strict, stages, commits: Vec::new() };
    judge.search(before)
}

/// How far a transaction is in the order that the judge is trying.
#[derive(Clone)]
enum Part {
    Waiting,
    /// It has begun after that many commits, and will write this.
    Running(usize, BTreeMap<u64, Option<i64>>),
    Over,
}

struct Judge<'a> {
    entries: Vec<&'a Entry>,
    serial: bool,
    strict: bool,
    stages: Vec<Part>,
    /// The keys that each commit has written.
    commits: Vec<Vec<u64>>,
}

impl Judge<'_> {
    /// Whether what is left can be put in an order that begins with `state`.
    fn search(&mut self, state: &State) -> bool {
        if self.stages.iter().all(|part| matches!(part, Part::Over)) {
            return true;
        }
        (0..self.entries.len()).any(|number| match self.stages[number].clone() {
            Part::Waiting => self.try_begin(number, state),
            Part::Running(since, writes) => self.try_commit(number, state, since, writes),
            Part::Over => false,
        })
    }

    fn try_begin(&mut self, number: usize, state: &State) -> bool {
        let begun = self.entries[number].begun;
        let too_early =
            |(other, part): (&&Entry, &Part)| other.ended < begun && !matches!(part, Part::Over);
        if self.strict && self.entries.iter().zip(&self.stages).any(too_early) {
            return false;
        }
        let Some(writes) = replay(state, self.entries[number]) else {
            return false;
        };
        if self.serial {
            return self.try_commit(number, state, self.commits.len(), writes);
        }
        self.stages[number] = Part::Running(self.commits.len(), writes);
        let found = self.search(state);
        self.stages[number] = Part::Waiting;
        found
    }

    fn try_commit(
        &mut self,
        number: usize,
        state: &State,
        since: usize,
        writes: BTreeMap<u64, Option<i64>>,
    ) -> bool {
        if self.commits[since..].iter().flatten().any(|key| writes.contains_key(key)) {
            return false;
        }
        let after = after(state, &writes);
        self.commits.push(writes.into_keys().collect());
        let before = std::mem::replace(&mut self.stages[number], Part::Over);
        let found = self.search(&after);
        self.stages[number] = before;
        self.commits.pop();
        found
    }
}

/// The state with these writes in it.
fn after(state: &State, writes: &BTreeMap<u64, Option<i64>>) -> State {
    let mut after = state.clone();
    for (key, value) in writes {
        match value {
            Some(value) => after.insert(*key, *value),
            None => after.remove(key),
        };
    }
    after
}

/// What a transaction would write that runs on `state`, if it would see there what it has seen.
fn replay(state: &State, entry: &Entry) -> Option<BTreeMap<u64, Option<i64>>> {
    let mut writes = BTreeMap::new();
    for action in &entry.actions {
        let value = |writes: &BTreeMap<u64, Option<i64>>, key: u64| {
            writes.get(&key).copied().unwrap_or_else(|| state.get(&key).copied())
        };
        match action {
            Action::Saw(key, seen) if value(&writes, *key) != *seen => return None,
            Action::SawPresent(key) if value(&writes, *key).is_none() => return None,
            Action::Scanned(scan, seen) if scan.of(&after(state, &writes)) != *seen => return None,
            Action::Saw(..) | Action::SawPresent(_) | Action::Scanned(..) => {}
            Action::Wrote(key, value) => {
                writes.insert(*key, *value);
            }
        }
    }
    Some(writes)
}
