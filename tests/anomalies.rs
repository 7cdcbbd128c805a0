//! Fixed and random interleavings of a few transactions, under every protocol, on both sides of the
//! level that it declares. `common/anomalies.rs` has the cases, `common/script.rs` their judge.
//! `tests/anomalies_stress.rs` has threads that run freely.

#[path = "common/anomalies.rs"]
mod anomalies;
#[allow(dead_code, reason = "the threads that run freely use the rest")]
#[path = "common/random.rs"]
mod random;
#[path = "common/script.rs"]
mod script;

use anomalies::Complaints;
use chronolith::protocol::{self, Isolation, Progress, Protocol, Visitor};
use chronolith::{Store, Table, Transaction};
use script::{Deed, Form, Keyed, Script, State, explained, key};
use std::time::Duration;

type Numbers<P> = Table<u64, i64, P>;

/// A step under a blocking protocol that waits costs time; the others get more scripts.
const SCRIPTS: u64 = 2_000;
const SCRIPTS_BLOCKING: u64 = 100;

fn with_each_protocol<V: Visitor<Output = ()> + Copy>(visitor: V) {
    for name in protocol::NAMES {
        protocol::dispatch(name, visitor).expect("a registered protocol");
    }
}

fn expect_none(complaints: &Complaints) {
    assert!(complaints.is_empty(), "{} complaints:\n{}", complaints.len(), complaints.join("\n"));
}

#[derive(Clone, Copy)]
struct Fixed;

impl Visitor for Fixed {
    type Output = ();
    fn visit<P: Protocol>(self) {
        expect_none(&anomalies::fixed::<P>(&Store::builder()));
    }
}

#[test]
fn every_protocol_is_as_it_declares() {
    with_each_protocol(Fixed);
}

#[derive(Clone, Copy)]
struct Random(u64);

impl Visitor for Random {
    type Output = ();
    fn visit<P: Protocol>(self) {
        let blocking = P::PROGRESS == Progress::Blocking;
        let scripts = if blocking { SCRIPTS_BLOCKING } else { SCRIPTS };
        expect_none(&anomalies::random::<P>(&Store::builder(), scripts, self.0));
    }
}

#[test]
fn random_interleavings_are_explained() {
    with_each_protocol(Random(random::seed()));
}

/// Histories from x=10 and y=20, and whether they are strictly serializable, serializable, and
/// possible with snapshots.
const JUDGED: &[(&str, [bool; 3])] = &[
    ("b1 r1(x=10) w1(x=11) c1 b2 r2(x=11) r2(z) c2", [true; 3]),
    ("b1 r1(x=10) r1(x=11) b2 w2(x=11) c2 c1", [false; 3]),
    ("b1 b2 w2(x=11) r1(x=11) c1", [false; 3]),
    ("b1 w1(x=11) c1 b2 r2(x=10) c2", [false, true, true]),
    ("b1 r1(x=10) b2 w2(x=11) c2 b3 r3(y=20) w1(y=21) c1 c3", [false, true, true]),
    ("b1 b2 r1(x=10) r2(x=10) w1(x=11) w2(x=12) c1 c2", [false; 3]),
    ("b1 b2 r1(x=10) r2(y=20) w1(y=21) w2(x=11) c1 c2", [false, false, true]),
    ("b1 b2 d1(x) r1(y=20) d2(y) r2(x=10) c1 c2", [false, false, true]),
    ("b1 b2 b3 b4 w1(x=11) w2(y=21) c1 c2 r3(x=11) r3(y=20) r4(x=10) r4(y=21) c3 c4", [false; 3]),
    (
        "b2 r2(x=10) r2(y=20) b1 r1(y=20) w1(y=40) c1 b3 r3(x=10) r3(y=40) c3 w2(x=0) c2",
        [false, false, true],
    ),
    ("b1 s1(p-z)x=10,y=20 w1(z=3) s1(y-z)y=20,z=3 S1(p-z:2)z=3,y=20 f1)x=10 l1)z=3 c1", [true; 3]),
    ("b1 s1(p-z)x=10 c1", [false; 3]),
    ("b1 s1(p-z)y=20,x=10 c1", [false; 3]),
    ("b1 d1(x) p1(x)y=20 p1(p) s1(p-z:1)y=20 c1", [true; 3]),
    ("b1 b2 s1(p-q) s2(p-q) w1(p=1) w2(q=2) c1 c2", [false, false, true]),
    ("b1 s1(p-q) b2 w2(p=1) c2 s1(p-q)p=1 c1", [false; 3]),
    ("b1 s1(p-q) b2 w2(p=1) c2 s1(p-q) w1(z=1) c1", [true; 3]),
];

#[test]
fn the_judge_convicts_and_acquits() {
    let before = State::from([(key('x'), 10), (key('y'), 20)]);
    let levels = [
        (Isolation::Serializable, true),
        (Isolation::Serializable, false),
        (Isolation::Snapshot, false),
    ];
    for &(text, verdicts) in JUDGED {
        let entries = script::history(text);
        let found = levels.map(|(level, strict)| explained(&before, &entries, level, strict));
        assert_eq!(found, verdicts, "{text}");
    }
}

/// Often, because a clock that ticks slowly goes unnoticed once.
#[derive(Clone, Copy)]
struct Stale;

impl Visitor for Stale {
    type Output = ();
    fn visit<P: Protocol>(self) {
        if !P::STRICT {
            return;
        }
        let store = Store::builder().shards(3).build_with::<P>().unwrap();
        let table: Numbers<P> = store.table("numbers").unwrap();
        let now = |tx: &Transaction<'_, P>| Ok(tx.get(&table, &1)?.copied());
        for value in 0..2_000 {
            store.transact(|tx| tx.put(&table, 1, value)).unwrap();
            let seen = std::thread::scope(|scope| match value % 100 {
                0 => scope.spawn(|| store.view(now)).join().unwrap(),
                _ => store.view(now),
            });
            assert_eq!(seen, Ok(Some(value)), "{}", P::NAME);
            assert_eq!(store.transact(now), Ok(Some(value)), "{}", P::NAME);
        }
    }
}

#[test]
fn no_read_is_stale_in_real_time() {
    with_each_protocol(Stale);
}

/// Under way each shard's index grows, up to three times, and each growth may cost both
/// transactions of that moment their proof of absence.
const COMMITS_MIN: usize = 150;

/// Two transactions that exclude each other, on keys that are absent, while the index grows.
#[derive(Clone, Copy)]
struct Growing;

impl Growing {
    /// Whether one of them has committed.
    fn round<P: Protocol>(store: &Store<P>, table: &Keyed<P>, keys: [u64; 2]) -> bool {
        let [first, second] = keys;
        let steps = [
            [(0, Deed::Begin), (1, Deed::Begin)],
            [(0, Deed::Get(first)), (1, Deed::Get(second))],
            // Of the same key, or of the key that the other one has found absent.
            [(0, Deed::Insert(second, 1)), (1, Deed::Put(first, 2))],
            [(0, Deed::Commit), (1, Deed::Commit)],
        ];
        let script = Script(steps.concat());
        let entries = script::run(store, table, &script, &keys, Duration::from_millis(2));
        let right = explained(&State::new(), &entries, P::ISOLATION, P::STRICT);
        assert!(right, "{}: {entries:#?}", P::NAME);
        entries[..2].iter().any(|entry| entry.committed)
    }
}

impl Visitor for Growing {
    type Output = ();
    fn visit<P: Protocol>(self) {
        for (shards, apart) in [(1, 0), (3, 0), (1, 1), (3, 1)] {
            let store = Store::builder().shards(shards).build_with::<P>().unwrap();
            let table = Keyed::open(&store, Form::Hashed);
            let rounds = (100..500).step_by(2);
            let round = |key: &u64| Self::round(&store, &table, [*key, key + apart]);
            let committed = rounds.filter(round).count();
            let is_default = P::NAME == protocol::NAMES[0];
            assert!(!is_default || committed >= COMMITS_MIN, "{committed}");
        }
    }
}

#[test]
fn absent_keys_exclude_each_other_while_the_index_grows() {
    with_each_protocol(Growing);
}

/// A blind write finds the record of a removed key. That record is reclaimed while the transaction
/// is open, and the transaction's snapshot may move forward past that: the write must not land in
/// whatever has taken the record's place. One thread does all of it, so nobody may wait.
#[derive(Clone, Copy)]
struct Buried;

impl Visitor for Buried {
    type Output = ();
    fn visit<P: Protocol>(self) {
        if P::PROGRESS == Progress::Blocking {
            return;
        }
        let store = Store::builder().shards(1).build_with::<P>().unwrap();
        let table: Numbers<P> = store.table("numbers").unwrap();
        let put = |key, value| store.transact(|tx| tx.put(&table, key, value)).unwrap();
        put(1, 10);
        put(2, 20);
        assert!(store.transact(|tx| tx.remove(&table, &2)).unwrap());
        let one = store.begin().unwrap();
        let written = one.put(&table, 2, -1);
        put(1, 11);
        // Work for the janitor, which takes the removed key's record out of the index.
        for key in 1_000..1_500 {
            put(key, 0);
            assert!(store.transact(|tx| tx.remove(&table, &key)).unwrap());
        }
        // This moves the snapshot forward, if the store finds that nothing stands against it.
        let seen = written.and_then(|()| Ok(one.get(&table, &1)?.copied()));
        assert!(!matches!(seen, Ok(value) if value != Some(10) && value != Some(11)), "{seen:?}");
        // These take the memory of the records that nobody can point to any more.
        for key in 5_000..9_000 {
            put(key, i64::try_from(key).unwrap());
        }
        let committed = seen.and_then(|_| one.commit()).is_ok();
        let view = store.begin_view().unwrap();
        let value = |key| view.get(&table, &key).unwrap().copied();
        assert_eq!(value(2), committed.then_some(-1), "{}", P::NAME);
        for key in 5_000..9_000 {
            assert_eq!(value(key), i64::try_from(key).ok(), "{}", P::NAME);
        }
    }
}

#[test]
fn a_blind_write_to_a_removed_key_stays_with_its_key() {
    with_each_protocol(Buried);
}
