//! The anomalies of the literature as scripts, and random scripts beside them, for any protocol at
//! the level that it declares.
//!
//! The names are Adya's (G0 to G2), Berenson's (P4), Hermitage's (OTV) and Fekete's. A case is
//! right on both sides: what the level forbids does not come about, and what snapshot isolation
//! allows can be shown under it, or the case would have no power. The same holds for an order that
//! is not that of real time, which whoever is not strict has to show. `common/phantoms.rs` has the
//! cases with ranges.

#[path = "phantoms.rs"]
mod phantoms;

use super::random::Random;
use super::script::{self, Deed, Entry, Form, Keyed, Scan, Script, State, explained, key};
use chronolith::protocol::{self, Isolation, Progress, Protocol, Ranges};
use chronolith::{Store, StoreBuilder};
use std::time::Duration;

/// When the next step overtakes one that waits for a lock. The outcome is judged by what was seen,
/// so a step that is overtaken by mistake makes another interleaving and no wrong verdict.
const PATIENCE: Duration = Duration::from_millis(20);
/// As above, in random scripts, which are many.
const PATIENCE_RANDOM: Duration = Duration::from_millis(2);
/// How often a case is tried that has to show an anomaly.
const TRIES_MAX: usize = 20;

struct Case {
    name: &'static str,
    script: &'static str,
    /// Transactions that commit under the default protocol: its first committer wins, and its
    /// readers always do.
    winners: &'static str,
    /// Where what happens here is allowed, and can be shown.
    allowed: Allowed,
}

/// Which protocols may show an anomaly.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Allowed {
    /// None.
    Nowhere,
    /// Those with snapshots that are not validated.
    Snapshots,
    /// All whose result need not be that of a serial order that respects real time.
    NotStrict,
}

impl Allowed {
    fn under<P: Protocol>(self) -> bool {
        let snapshots = P::ISOLATION == Isolation::Snapshot;
        match self {
            Allowed::Nowhere => false,
            Allowed::Snapshots => snapshots,
            Allowed::NotStrict => snapshots || !P::STRICT,
        }
    }
}

const fn case(name: &'static str, winners: &'static str, script: &'static str) -> Case {
    Case { name, script, winners, allowed: Allowed::Nowhere }
}

const fn skew(name: &'static str, winners: &'static str, script: &'static str) -> Case {
    Case { name, script, winners, allowed: Allowed::Snapshots }
}

const fn inversion(name: &'static str, winners: &'static str, script: &'static str) -> Case {
    Case { name, script, winners, allowed: Allowed::NotStrict }
}

/// At the start x=10 and y=20; z, p and q are absent.
const CASES: &[Case] = &[
    case("own writes", "1", "b1 w1(x=11) r1(x) d1(x) r1(x) i1(x=12) u1(x+1) r1(x) d1(p) c1"),
    case("G0 dirty write", "12", "b1 b2 w1(x=11) w2(x=12) w1(y=21) c1 w2(y=22) c2"),
    case("G1a aborted read", "2", "b1 b2 w1(x=101) r2(x) a1 r2(x) c2"),
    case("G1a read of what is undone after", "2", "b1 b2 w1(x=101) r2(x) w2(z=1) c2 a1"),
    case("G1b intermediate read", "12", "b1 b2 w1(x=101) r2(x) w1(x=11) c1 r2(x) c2"),
    case("G1c circular flow", "1", "b1 b2 w1(x=11) w2(y=22) r1(y) r2(x) c1 c2"),
    case(
        "OTV observed transaction vanishes",
        "13",
        "b1 b2 w1(x=11) w1(y=19) w2(x=12) c1 b3 r3(x) w2(y=18) r3(y) c2 r3(y) r3(x) c3",
    ),
    case(
        "OTV read after the overwriter",
        "134",
        "b1 b2 w1(x=11) w1(y=19) c1 b3 v4 r3(x) w2(x=12) w2(y=18) c2 r3(y) r4(y) r4(x) c3 c4",
    ),
    case("P4 lost update", "1", "b1 b2 r1(x) r2(x) w1(x=11) w2(x=12) c1 c2"),
    case("P4 lost update by update", "2", "b1 b2 u1(x+1) u2(x+2) c2 c1"),
    case(
        "G-single read skew",
        "23",
        "b1 v2 r1(x) r2(x) b3 w3(x=12) w3(y=18) c3 r1(y) r2(y) w1(z=30) c1 c2",
    ),
    case("G-single write on an old read", "2", "b1 r1(x) b2 w2(x=12) w2(y=18) c2 d1(y) c1"),
    case(
        "G-single on an absent key",
        "2",
        "b1 r1(x) r1(p) b2 w2(x=12) i2(p=1) c2 r1(p) u1(x+1) c1",
    ),
    skew("G2-item write skew", "1", "b1 b2 r1(x) r1(y) r2(x) r2(y) w1(x=11) w2(y=21) c1 c2"),
    skew("G2 two edges", "23", "b1 r1(x) r1(y) b2 u2(y+5) c2 b3 r3(x) r3(y) c3 w1(x=0) c1"),
    skew("G2 of three", "1", "b1 b2 b3 r1(x) r2(y) r3(z) w1(y=1) w2(z=2) w3(x=3) c1 c2 c3"),
    // Fekete, O'Neil and O'Neil (2004): without its reader the history would be serializable.
    skew(
        "read-only anomaly",
        "134",
        "b4 w4(x=0) w4(y=0) c4 b2 r2(x) r2(y) b1 r1(y) w1(y=20) c1 v3 r3(x) r3(y) c3 w2(x=-11) c2",
    ),
    case("long fork", "1234", "b1 b2 b3 b4 w1(x=11) w2(y=22) r4(x) c1 r3(x) r3(y) c2 r4(y) c3 c4"),
    case("fractured read", "12", "v1 r1(x) b2 w2(x=11) w2(y=21) c2 r1(y) c1"),
    case("stale read in real time", "123", "b1 w1(x=11) c1 b2 r2(x) c2 v3 r3(x) r3(y) c3"),
    // Its only order is 3, 1, 2, and 2 had returned when 3 began. The first transaction is for
    // protocols that compute their order: it leaves room below the write of 2.
    inversion(
        "an order against real time",
        "234",
        "b4 r4(x) w4(z=30) c4 b1 r1(x) b2 w2(x=11) c2 b3 r3(y) w1(y=21) c1 c3",
    ),
    skew("write skew on absent keys", "1", "b1 b2 r1(p) r2(q) w1(q=1) w2(p=2) c1 c2"),
    skew("write skew on removed keys", "1", "b1 b2 r1(x) r1(y) r2(x) r2(y) d1(x) d2(y) c1 c2"),
    skew(
        "write skew on tombstones",
        "13",
        "b3 d3(x) d3(y) c3 b1 b2 r1(x) r2(y) i1(y=21) i2(x=11) c1 c2",
    ),
    skew("write skew on a failed insert", "1", "b1 b2 i1(x=5) w1(y=1) r2(y) d2(x) c1 c2"),
    skew("write skew on a failed update", "1", "b1 b2 u1(p+1) w1(q=1) r2(q) w2(p=2) c1 c2"),
    skew("write skew on a failed remove", "1", "b1 b2 d1(p) w1(q=1) r2(q) w2(p=2) c1 c2"),
    case("two inserts of a key", "2", "b1 b2 r1(p) i1(p=1) r2(p) i2(p=2) c2 c1"),
    case("insert and put of a key", "2", "b1 b2 r1(p) i1(p=1) r2(p) w2(p=2) c2 c1"),
    case("lost update of an absent key by put", "1", "b2 r2(p) b1 w1(p=1) c1 w2(p=2) c2"),
    case("lost update of an absent key by insert", "1", "b2 r2(p) b1 w1(p=1) c1 i2(p=2) c2"),
    case("lost update of an absent key by update", "1", "b2 r2(p) b1 w1(p=1) c1 u2(p+1) c2"),
    case(
        "lost update of a removed key",
        "13",
        "b1 d1(x) c1 b2 r2(x) b3 w3(x=1) c3 w2(x=10) c2 b4 r4(x) c4",
    ),
    case(
        "an absent key that came and went",
        "23",
        "b1 r1(p) b2 w2(p=1) c2 r1(p) b3 d3(p) c3 r1(p) w1(x=11) c1",
    ),
    case(
        "a present key that went and came",
        "23",
        "b1 r1(x) b2 d2(x) c2 r1(x) b3 i3(x=10) c3 r1(x) w1(y=11) c1",
    ),
    case(
        "a key that came and went without a trace",
        "23",
        "b1 r1(x) b2 w2(x=11) w2(p=1) c2 b3 d3(p) c3 k4 w1(p=5) c1",
    ),
    case("lost remove", "1", "b1 b2 d1(x) u2(x+1) c1 c2"),
    case("lost insert after a remove", "14", "b1 d1(x) c1 b3 b4 i3(x=11) i4(x=12) c4 c3"),
];

const KEYS: [char; 5] = ['x', 'y', 'z', 'p', 'q'];

fn keys() -> Vec<u64> {
    KEYS.map(key).to_vec()
}

/// What was wrong about a protocol, each in a sentence; nothing, if it is as it declares.
pub type Complaints = Vec<String>;

/// Runs every case on stores of one shard (one-phase commit) and of several (two-phase commit).
pub fn fixed<P: Protocol>(builder: &StoreBuilder) -> Complaints {
    // Where somebody waits, a script takes long.
    let many = (P::PROGRESS == Progress::LockFree).then_some((16, 1));
    let spreads = SPREADS.into_iter().chain(many);
    spreads.flat_map(|spread| fixed_on::<P>(builder, spread)).collect()
}

/// How many shards a store has, and its ordered tables parts.
pub type Spread = (usize, usize);

/// One shard, several, and several with more than one part.
const SPREADS: [Spread; 3] = [(1, 1), (3, 1), (3, 2)];

/// Runs every case on stores of this spread, one after the other as the complaints are asked for.
pub fn fixed_on<P: Protocol>(
    builder: &StoreBuilder,
    spread: Spread,
) -> impl Iterator<Item = String> {
    let all = [
        (CASES, Form::Hashed),
        (CASES, Form::Ordered),
        (phantoms::CASES, Form::Ordered),
        (phantoms::CASES, Form::Bytes),
    ];
    let possible = |form: Form| P::RANGES != Ranges::Unsupported || !form.has_ranges();
    let forms = all.into_iter().filter(move |&(_, form)| possible(form));
    let cases = forms.flat_map(|(cases, form)| cases.iter().map(move |case| (case, form)));
    cases.filter_map(move |(case, form)| {
        let complaint = check::<P>(builder, case, form, spread).err()?;
        let place = format!("{} on {spread:?} shards and parts, {form:?}", P::NAME);
        Some(format!("{place}, {}: {complaint}", case.name))
    })
}

fn check<P: Protocol>(
    builder: &StoreBuilder,
    case: &Case,
    form: Form,
    (shards, parts): Spread,
) -> Result<(), String> {
    let must_show = case.allowed.under::<P>();
    let strict = P::STRICT || case.allowed == Allowed::NotStrict;
    for _ in 0..if must_show { TRIES_MAX } else { 1 } {
        let store = builder.clone().shards(shards).ordered_parts(parts).build_with::<P>().unwrap();
        let table = Keyed::open(&store, form);
        let before = State::from([(key('x'), 10), (key('y'), 20)]);
        script::prepare(&store, &table, &keys(), &before);
        let script = Script::parse(case.script);
        let entries = script::run(&store, &table, &script, &keys(), PATIENCE);
        judge::<P>(&before, &entries)?;
        if P::NAME == protocol::NAMES[0] {
            expect_winners(case, &entries)?;
        }
        if !must_show || !explained(&before, &entries, Isolation::Serializable, strict) {
            return Ok(());
        }
    }
    Err("it is allowed and was not shown".into())
}

fn judge<P: Protocol>(before: &State, entries: &[Entry]) -> Result<(), String> {
    match explained(before, entries, P::ISOLATION, P::STRICT) {
        true => Ok(()),
        false => Err(format!("no order explains, from {before:?}: {entries:#?}")),
    }
}

fn expect_winners(case: &Case, entries: &[Entry]) -> Result<(), String> {
    let winners = case.winners.bytes().map(|digit| usize::from(digit - b'1'));
    match winners.map(|winner| winner + 1).find(|&winner| !entries[winner - 1].committed) {
        None => Ok(()),
        Some(winner) => Err(format!("transaction {winner} had nobody to lose to: {entries:#?}")),
    }
}

/// Runs random scripts, one after the other, on one store of each spread, so that their records,
/// tombstones and reclamation meet too. Half of those with ranges have a store each: a key that was
/// removed keeps its record for a while, and a phantom is a key without one.
pub fn random<P: Protocol>(builder: &StoreBuilder, scripts: u64, seed: u64) -> Complaints {
    let mut complaints = Vec::new();
    let ordered = if P::RANGES == Ranges::Unsupported { 0 } else { scripts / 4 };
    for (stream, (shards, parts)) in (0..).zip(SPREADS) {
        let build =
            || builder.clone().shards(shards).ordered_parts(parts).build_with::<P>().unwrap();
        let (store, mut random) = (build(), Random::new(seed, stream));
        for (form, count) in
            [(Form::Hashed, scripts / 2), (Form::Ordered, ordered), (Form::Bytes, ordered)]
        {
            for number in 0..count {
                let own = (form.has_ranges() && number % 2 == 0).then(build);
                let store = own.as_ref().unwrap_or(&store);
                let table = Keyed::open(store, form);
                if let Err(complaint) = check_random(store, &table, &mut random) {
                    let place = format!("{} on {shards} shards, {parts} parts, {form:?}", P::NAME);
                    complaints.push(format!("{place}, random {number}: {complaint}"));
                }
            }
        }
    }
    complaints
}

fn check_random<P: Protocol>(
    store: &Store<P>,
    table: &Keyed<P>,
    random: &mut Random,
) -> Result<(), String> {
    let keys = &keys()[..2 + random.below(2) as usize];
    let present = keys.iter().filter(|_| random.below(3) > 0);
    let before: State = present.map(|&key| (key, 100_000)).collect();
    // Ranges would show what another script has left at the keys that this one has no use for.
    script::prepare(store, table, &self::keys(), &before);
    let script = random_script(random, keys, table.form().has_ranges());
    let entries = script::run(store, table, &script, keys, PATIENCE_RANDOM);
    judge::<P>(&before, &entries).map_err(|complaint| format!("{complaint}\nof {script:?}"))
}

/// Two to four transactions of a few steps on the same few keys. Every write is of another value.
fn random_script(random: &mut Random, keys: &[u64], ranges: bool) -> Script {
    let count = 2 + random.below(3) as usize;
    let mut left: Vec<u64> = (0..count).map(|_| 1 + random.below(4)).collect();
    let mut begun = vec![None; count];
    let mut steps = Vec::new();
    let mut value = 0;
    while left.iter().any(|&left| left > 0) {
        let who = random.below(count as u64) as usize;
        if left[who] == 0 {
            continue;
        }
        let writes = *begun[who].get_or_insert_with(|| {
            let writes = random.below(5) > 0;
            steps.push((who, if writes { Deed::Begin } else { Deed::BeginView }));
            writes
        });
        let key = keys[random.below(keys.len() as u64) as usize];
        // Updates add to what others have written; no two sums are alike.
        value += 1;
        let deed = match random.below(if writes { 8 } else { 1 }) {
            _ if ranges && random.below(3) == 0 => Deed::Scan(random_scan(random)),
            0..3 => Deed::Get(key),
            3 | 4 => Deed::Put(key, value),
            5 => Deed::Insert(key, value),
            6 => Deed::Update(key, 1 << (10 + value)),
            _ => Deed::Remove(key),
        };
        steps.push((who, deed));
        left[who] -= 1;
        if left[who] == 0 {
            let rolls_back = random.below(8) == 0;
            steps.push((who, if rolls_back { Deed::Rollback } else { Deed::Commit }));
        }
    }
    Script(steps)
}

/// Of the keys `x`, `y` and `z`, with bounds that lie at them, between them and beside them.
fn random_scan(random: &mut Random) -> Scan {
    let mut bound = || key('w') + random.below(5);
    let (low, high) = (bound(), bound());
    match random.below(8) {
        0 => Scan::First,
        1 => Scan::Last,
        2 => Scan::Prefix(low),
        _ => {
            let most = [1, 2, usize::MAX][random.below(3) as usize];
            let reversed = random.below(2) == 0;
            Scan::Range { low: low.min(high), high: low.max(high), most, reversed }
        }
    }
}
