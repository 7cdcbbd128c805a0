//! Histories of transactions that append to lists and read them, and a check of their own.
//!
//! A list holds every value that was ever appended to it, in order. So the last reading of each
//! list gives the order of its versions, and with it *all* dependencies between transactions: no
//! guess and no search. A history is serializable if and only if the graph of these dependencies
//! has no cycle, and strictly so if the real-time order is in the graph too (Adya 1999; Elle:
//! Kingsbury and Alvaro, VLDB 2020). It is possible with snapshots if and only if every cycle has
//! two anti-dependencies in succession (Fekete et al., TODS 2005; Cerone and Gotsman, PODC 2016),
//! that is, if there is no cycle of steps that never takes two of them one after the other.

use chronolith::protocol::Isolation;
use std::collections::HashMap;
use std::fmt::Write as _;

/// One thing that a transaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Appended a value to the list of a key.
    Append(u64, u32),
    /// Read the list of a key.
    Read(u64, Vec<u32>),
}

/// A transaction that has ended.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Who ran it.
    pub process: u64,
    /// When it was called and when it returned, by one clock.
    pub invoked: u64,
    pub returned: u64,
    pub committed: bool,
    pub actions: Vec<Action>,
}

/// The history in the form that `adya` and Elle read: one JSON object on each line.
pub fn to_json_lines(history: &[Entry]) -> String {
    // At the same instant a call comes before a return: that orders less, never more.
    let mut events: Vec<(u64, bool, &Entry)> = history
        .iter()
        .flat_map(|entry| [(entry.invoked, false, entry), (entry.returned, true, entry)])
        .collect();
    events.sort_by_key(|&(time, returned, _)| (time, returned));
    let mut text = String::new();
    for (index, (time, returned, entry)) in events.into_iter().enumerate() {
        let kind = match (returned, entry.committed) {
            (false, _) => "invoke",
            (true, true) => "ok",
            (true, false) => "fail",
        };
        // Only a transaction that has committed says what it has read.
        let value: Vec<String> =
            entry.actions.iter().map(|action| action_json(action, kind == "ok")).collect();
        let who = format!(r#""index":{index},"process":{},"time":{time}"#, entry.process);
        let what = format!(r#""type":"{kind}","f":"txn","value":[{}]"#, value.join(","));
        writeln!(text, "{{{who},{what}}}").expect("writing to a string");
    }
    text
}

fn action_json(action: &Action, known: bool) -> String {
    match action {
        Action::Append(key, value) => format!(r#"["append",{key},{value}]"#),
        Action::Read(key, list) if known => format!(r#"["r",{key},{list:?}]"#),
        Action::Read(key, _) => format!(r#"["r",{key},null]"#),
    }
}

/// The lists at the end, and who has appended what.
struct Lists<'a> {
    /// The longest reading of each key's list.
    order: HashMap<u64, &'a [u32]>,
    /// The committed transaction that has appended a value to the list of a key.
    writers: HashMap<(u64, u32), usize>,
}

impl<'a> Lists<'a> {
    fn new(committed: &[&'a Entry]) -> Result<Self, String> {
        let mut lists = Lists { order: HashMap::new(), writers: HashMap::new() };
        for (number, entry) in committed.iter().enumerate() {
            for action in &entry.actions {
                match action {
                    Action::Append(key, value) => {
                        if lists.writers.insert((*key, *value), number).is_some() {
                            return Err(format!("{value} was appended to {key} twice"));
                        }
                    }
                    Action::Read(key, list) => {
                        let longest = lists.order.entry(*key).or_default();
                        if list.len() > longest.len() {
                            *longest = list;
                        }
                    }
                }
            }
        }
        lists.check()?;
        Ok(lists)
    }

    /// Every value in a list was appended by a committed transaction, once, and none is missing.
    fn check(&self) -> Result<(), String> {
        let mut counted = 0;
        for (key, list) in &self.order {
            for (place, value) in list.iter().enumerate() {
                if !self.writers.contains_key(&(*key, *value)) {
                    return Err(format!("G1a: key {key} holds {value}, which nobody committed"));
                }
                if list[..place].contains(value) {
                    return Err(format!("key {key} holds {value} twice"));
                }
                counted += 1;
            }
        }
        if counted < self.writers.len() {
            let lost = self.writers.len() - counted;
            return Err(format!("{lost} committed appends are in no list"));
        }
        Ok(())
    }

    fn writer(&self, key: u64, place: usize) -> Option<usize> {
        let value = self.order.get(&key)?.get(place)?;
        self.writers.get(&(key, *value)).copied()
    }

    /// Where a value stands in its list.
    fn place(&self, key: u64, value: u32) -> usize {
        let list = self.order.get(&key).copied().unwrap_or_default();
        list.iter().position(|&other| other == value).expect("no append is missing")
    }
}

/// Whether the history is possible at this level; if not, why. Each list has to be read once after
/// its last append.
pub fn check(history: &[Entry], isolation: Isolation, strict: bool) -> Result<(), String> {
    let committed: Vec<&Entry> = history.iter().filter(|entry| entry.committed).collect();
    let lists = Lists::new(&committed)?;
    let mut graph = Graph::new(committed.len(), isolation);
    if strict {
        graph.add_real_time(&committed);
    }
    for (number, entry) in committed.iter().enumerate() {
        // A list that the transaction itself has appended to ends in its own values.
        let mut own: HashMap<u64, Vec<u32>> = HashMap::new();
        for action in &entry.actions {
            match action {
                Action::Append(key, value) => {
                    own.entry(*key).or_default().push(*value);
                    let place = lists.place(*key, *value);
                    let before = place.checked_sub(1).and_then(|place| lists.writer(*key, place));
                    graph.depends(before, Some(number));
                    graph.depends(Some(number), lists.writer(*key, place + 1));
                }
                Action::Read(key, list) => {
                    let own = own.get(key).map_or(&[][..], Vec::as_slice);
                    let others = list.strip_suffix(own);
                    let others = others.ok_or_else(|| format!("internal: {entry:?}"))?;
                    if !lists.order[key].starts_with(list) {
                        return Err(format!("incompatible order of key {key}: {list:?}"));
                    }
                    let last = others.len().checked_sub(1);
                    graph.depends(last.and_then(|place| lists.writer(*key, place)), Some(number));
                    graph.misses(number, lists.writer(*key, list.len()));
                }
            }
        }
    }
    let cyclic = graph.on_or_behind_cycles();
    match cyclic.as_slice() {
        [] => Ok(()),
        some => {
            let shown: Vec<&Entry> = some.iter().take(4).map(|&one| committed[one]).collect();
            Err(format!("{} transactions on or behind a cycle: {shown:#?}", some.len()))
        }
    }
}

/// What came before what. The first nodes are the transactions. Behind them stands one for each
/// moment at which one has returned: a transaction comes before its moment, a moment before the
/// next one and before whatever was called after it. Last come the transactions again, as reached
/// by an anti-dependency: from there no other one leads on, where snapshots are enough.
struct Graph {
    count: usize,
    snapshots: bool,
    after: Vec<Vec<usize>>,
    /// How many come immediately before each node.
    before: Vec<usize>,
}

impl Graph {
    fn new(count: usize, isolation: Isolation) -> Self {
        let snapshots = isolation == Isolation::Snapshot;
        let known = snapshots || isolation == Isolation::Serializable;
        assert!(known, "the judge does not know the level {isolation:?}");
        Graph { count, snapshots, after: vec![Vec::new(); 3 * count], before: vec![0; 3 * count] }
    }

    fn add_real_time(&mut self, committed: &[&Entry]) {
        let mut events: Vec<(u64, bool, usize)> = Vec::new();
        for (number, entry) in committed.iter().enumerate() {
            events.push((entry.invoked, false, number));
            events.push((entry.returned, true, number));
        }
        events.sort_unstable();
        let mut moment = None;
        for (_, returned, number) in events {
            if returned {
                let next = moment.map_or(self.count, |moment| moment + 1);
                self.depends(moment, Some(next));
                self.depends(Some(number), Some(next));
                moment = Some(next);
            } else {
                self.depends(moment, Some(number));
            }
        }
    }

    /// The second comes after the first, or has seen or overwritten what that one wrote.
    fn depends(&mut self, first: Option<usize>, second: Option<usize>) {
        let (Some(first), Some(second)) = (first, second) else { return };
        self.add(first, second);
        if self.snapshots && first < self.count {
            self.add(self.missing(first), second);
        }
    }

    /// The reader has not seen what the writer wrote (an anti-dependency).
    fn misses(&mut self, reader: usize, writer: Option<usize>) {
        let Some(writer) = writer.filter(|&writer| writer != reader) else { return };
        self.add(reader, if self.snapshots { self.missing(writer) } else { writer });
    }

    /// The node of a transaction as reached by an anti-dependency.
    fn missing(&self, number: usize) -> usize {
        2 * self.count + number
    }

    fn add(&mut self, first: usize, second: usize) {
        if first % (2 * self.count) != second {
            self.after[first].push(second);
            self.before[second] += 1;
        }
    }

    /// The transactions that no topological order reaches (Kahn 1962).
    fn on_or_behind_cycles(mut self) -> Vec<usize> {
        let mut free: Vec<usize> =
            (0..self.before.len()).filter(|&node| self.before[node] == 0).collect();
        while let Some(node) = free.pop() {
            for next in std::mem::take(&mut self.after[node]) {
                self.before[next] -= 1;
                if self.before[next] == 0 {
                    free.push(next);
                }
            }
        }
        let left = |node: usize| self.before[node] > 0;
        (0..self.count).filter(|&number| left(number) || left(self.missing(number))).collect()
    }
}
