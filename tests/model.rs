//! Random transactions against a `BTreeMap`: every protocol does what the map does.
//!
//! One thread runs them one after the other, with snapshots open in between (where the protocol
//! keeps any) that must keep seeing the state of their moment. So nothing may abort, and every
//! answer has one right value.

use chronolith::protocol::{self, Progress, Protocol, Reads, Visitor};
use chronolith::{AbortReason, Key, Store, Table, Transaction, TransactionError};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use std::collections::BTreeMap;

/// Keys of each table: few, so that transactions meet the same ones again.
const KEYS: u8 = 12;
const TABLES: usize = 4;
/// Snapshots that are open at once.
const VIEWS_MAX: usize = 4;

/// Sequences of transactions for the default protocol, on each number of shards; others get a
/// quarter.
const CASES: u32 = 512;

/// A key or value as the model keeps it: its bytes.
type Bytes = Vec<u8>;
type Model = BTreeMap<(usize, Bytes), Bytes>;

/// A type of key and value, between the store's form and the model's.
trait Cell: Key {
    /// The bytes that stand for the choice `tag`, which `len` varies.
    fn bytes(tag: u8, len: usize) -> Bytes;
    fn input(bytes: &[u8]) -> Self::Input<'_>;
    fn model(&self) -> Bytes;
    /// What an update makes of a value.
    fn changed(bytes: &[u8], tag: u8) -> Bytes;
    fn update<K: Key + ?Sized, P: Protocol>(
        tx: &Transaction<'_, P>,
        table: &Table<K, Self, P>,
        key: &K,
        tag: u8,
    ) -> Result<bool, TransactionError>;
}

impl Cell for u64 {
    fn bytes(tag: u8, _len: usize) -> Bytes {
        (u64::from(tag) << 33 | 7).to_le_bytes().to_vec()
    }

    fn input(bytes: &[u8]) -> u64 {
        u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    }

    fn model(&self) -> Bytes {
        self.to_le_bytes().to_vec()
    }

    fn changed(bytes: &[u8], tag: u8) -> Bytes {
        Self::input(bytes).wrapping_mul(31).wrapping_add(u64::from(tag)).model()
    }

    fn update<K: Key + ?Sized, P: Protocol>(
        tx: &Transaction<'_, P>,
        table: &Table<K, u64, P>,
        key: &K,
        tag: u8,
    ) -> Result<bool, TransactionError> {
        tx.update(table, key, |old| Self::input(&Self::changed(&old.model(), tag)))
    }
}

impl Cell for [u8] {
    fn bytes(tag: u8, len: usize) -> Bytes {
        // Keys differ in their first byte; the empty string is one of them.
        if tag == 0 { Bytes::new() } else { vec![tag; 1 + len] }
    }

    fn input(bytes: &[u8]) -> &[u8] {
        bytes
    }

    fn model(&self) -> Bytes {
        self.to_vec()
    }

    fn changed(bytes: &[u8], tag: u8) -> Bytes {
        let keep = bytes.len() * usize::from(tag % 4) / 3;
        [&bytes[..keep.min(bytes.len())], &[tag; 9]].concat()
    }

    fn update<K: Key + ?Sized, P: Protocol>(
        tx: &Transaction<'_, P>,
        table: &Table<K, [u8], P>,
        key: &K,
        tag: u8,
    ) -> Result<bool, TransactionError> {
        let mut buffer = vec![1, 2, 3];
        tx.update_bytes(table, key, &mut buffer, |old, new| {
            assert!(new.is_empty());
            new.extend(Self::changed(old, tag));
        })
    }
}

#[derive(Debug, Clone)]
enum Deed {
    Put { tag: u8, len: usize },
    Insert { tag: u8, len: usize },
    Update { tag: u8 },
    Remove,
    Get,
    GetMany { others: Vec<u8> },
}

#[derive(Debug, Clone)]
struct Operation {
    table: usize,
    key: u8,
    deed: Deed,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Commit,
    Rollback,
    Drop,
}

#[derive(Debug, Clone)]
enum Step {
    /// With `begin` and `commit`, or with `transact`.
    Transaction {
        by_hand: bool,
        operations: Vec<Operation>,
        end: End,
    },
    OpenView,
    CloseView(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let len = || prop_oneof![6 => 0..40usize, 2 => 0..600usize, 1 => 4_000..9_000usize];
    let deed = prop_oneof![
        3 => (any::<u8>(), len()).prop_map(|(tag, len)| Deed::Put { tag, len }),
        3 => (any::<u8>(), len()).prop_map(|(tag, len)| Deed::Insert { tag, len }),
        3 => any::<u8>().prop_map(|tag| Deed::Update { tag }),
        3 => Just(Deed::Remove),
        2 => Just(Deed::Get),
        1 => vec(0..KEYS, 0..30).prop_map(|others| Deed::GetMany { others }),
    ];
    let operation =
        (0..TABLES, 0..KEYS, deed).prop_map(|(table, key, deed)| Operation { table, key, deed });
    let end = prop_oneof![6 => Just(End::Commit), 1 => Just(End::Rollback), 1 => Just(End::Drop)];
    let transaction = (any::<bool>(), vec(operation, 0..16), end)
        .prop_map(|(by_hand, operations, end)| Step::Transaction { by_hand, operations, end });
    let step = prop_oneof![
        8 => transaction,
        1 => Just(Step::OpenView),
        1 => any::<usize>().prop_map(Step::CloseView),
    ];
    vec(step, 1..50)
}

struct Tables<P: Protocol> {
    numbers: Table<u64, u64, P>,
    strings: Table<[u8], [u8], P>,
    names: Table<u64, [u8], P>,
    ids: Table<[u8], u64, P>,
}

impl<P: Protocol> Tables<P> {
    fn new(store: &Store<P>) -> Self {
        Tables {
            numbers: store.table("numbers").unwrap(),
            strings: store.table("strings").unwrap(),
            names: store.table("names").unwrap(),
            ids: store.table("ids").unwrap(),
        }
    }

    fn apply(&self, tx: &Transaction<'_, P>, model: &mut Model, operation: &Operation) -> Outcome {
        match operation.table {
            0 => apply(tx, &self.numbers, model, operation),
            1 => apply(tx, &self.strings, model, operation),
            2 => apply(tx, &self.names, model, operation),
            _ => apply(tx, &self.ids, model, operation),
        }
    }

    /// A snapshot sees exactly the model, one by one and in batches.
    fn compare(&self, view: &Transaction<'_, P>, model: &Model) -> Outcome {
        for table in 0..TABLES {
            let others: Vec<u8> = (0..KEYS).collect();
            let whole = Operation { table, key: 0, deed: Deed::GetMany { others } };
            self.apply(view, &mut model.clone(), &whole)?;
            for key in 0..KEYS {
                let one = Operation { table, key, deed: Deed::Get };
                self.apply(view, &mut model.clone(), &one)?;
            }
        }
        Ok(())
    }
}

type Outcome = Result<(), TestCaseError>;

/// A key's bytes; its length follows from the key.
fn key_bytes<K: Cell + ?Sized>(key: u8) -> Bytes {
    K::bytes(key, usize::from(key) * usize::from(key) % 50)
}

fn fails(error: &TransactionError) -> TestCaseError {
    TestCaseError::fail(error.to_string())
}

/// Does one thing to the store and to the model, and compares the answers.
fn apply<K: Cell + ?Sized, V: Cell + ?Sized, P: Protocol>(
    tx: &Transaction<'_, P>,
    table: &Table<K, V, P>,
    model: &mut Model,
    operation: &Operation,
) -> Outcome {
    let bytes = key_bytes::<K>(operation.key);
    let (input, place) = (K::input(&bytes), (operation.table, bytes.clone()));
    let key: &K = K::peek(&input);
    let answer = match &operation.deed {
        Deed::Put { tag, len } => {
            let value = V::bytes(*tag, *len);
            let done = tx.put(table, K::input(&bytes), V::input(&value)).map(|()| true);
            model.insert(place, value);
            (done, true)
        }
        Deed::Insert { tag, len } => {
            let value = V::bytes(*tag, *len);
            let done = tx.insert(table, K::input(&bytes), V::input(&value));
            let absent = !model.contains_key(&place);
            model.entry(place).or_insert(value);
            (done, absent)
        }
        Deed::Update { tag } => {
            let done = V::update(tx, table, key, *tag);
            let found = model.get_mut(&place);
            let present = found.is_some();
            if let Some(value) = found {
                *value = V::changed(value, *tag);
            }
            (done, present)
        }
        Deed::Remove => (tx.remove(table, key), model.remove(&place).is_some()),
        Deed::Get => {
            let found = tx.get(table, key).map_err(|error| fails(&error))?.map(V::model);
            prop_assert_eq!(found.as_ref(), model.get(&place));
            return Ok(());
        }
        Deed::GetMany { others } => return get_many(tx, table, model, operation.table, others),
    };
    prop_assert_eq!(answer.0.map_err(|error| fails(&error))?, answer.1);
    Ok(())
}

fn get_many<K: Cell + ?Sized, V: Cell + ?Sized, P: Protocol>(
    tx: &Transaction<'_, P>,
    table: &Table<K, V, P>,
    model: &Model,
    number: usize,
    keys: &[u8],
) -> Outcome {
    let bytes: Vec<Bytes> = keys.iter().map(|&key| key_bytes::<K>(key)).collect();
    let inputs: Vec<K::Input<'_>> = bytes.iter().map(|bytes| K::input(bytes)).collect();
    let refs: Vec<&K> = inputs.iter().map(|input| K::peek(input)).collect();
    let mut found = vec![None; refs.len()];
    tx.get_many(table, &refs, &mut found).map_err(|error| fails(&error))?;
    let found: Vec<Option<Bytes>> = found.into_iter().map(|value| value.map(V::model)).collect();
    let expected: Vec<Option<Bytes>> =
        bytes.iter().map(|key| model.get(&(number, key.clone())).cloned()).collect();
    prop_assert_eq!(found, expected);
    Ok(())
}

/// Runs a transaction; returns the model after it.
fn run_transaction<P: Protocol>(
    store: &Store<P>,
    tables: &Tables<P>,
    before: &Model,
    operations: &[Operation],
    (by_hand, end): (bool, End),
) -> Result<Model, TestCaseError> {
    let mut model = before.clone();
    let mut body = |tx: &Transaction<'_, P>| {
        operations.iter().try_for_each(|operation| tables.apply(tx, &mut model, operation))
    };
    if by_hand {
        let tx = store.begin().map_err(|error| fails(&error))?;
        body(&tx)?;
        match end {
            End::Commit => tx.commit().map_err(|error| fails(&error))?,
            End::Rollback => drop(tx.rollback()),
            End::Drop => drop(tx),
        }
    } else {
        let mut outcome = Ok(());
        let ended = store.transact(|tx| {
            outcome = body(tx);
            if end == End::Commit { Ok(()) } else { Err(tx.rollback()) }
        });
        outcome?;
        match (end, ended) {
            (End::Commit, ended) => ended.map_err(|error| fails(&error))?,
            (_, ended) => {
                let reason = ended.unwrap_err().abort().map(chronolith::Abort::reason);
                prop_assert_eq!(reason, Some(AbortReason::User));
            }
        }
    }
    Ok(if end == End::Commit { model } else { before.clone() })
}

fn run<P: Protocol>((shards, parts): (usize, usize), seed: u64, steps: &[Step]) -> Outcome {
    let store = Store::builder()
        .shards(shards)
        .ordered_parts(parts)
        .hash_seed(seed)
        .build_with::<P>()
        .unwrap();
    let tables = Tables::new(&store);
    let mut model = Model::new();
    let mut views: Vec<(Transaction<'_, P>, Model)> = Vec::new();
    // A blocking protocol's snapshot would keep this very thread from going on; without versions,
    // or where readers are validated too, it would not last.
    let lasts = P::READS == Reads::Snapshot && !P::VALIDATES_READ_ONLY;
    let views_max = if lasts && P::PROGRESS == Progress::LockFree { VIEWS_MAX } else { 0 };
    for step in steps {
        match step {
            Step::Transaction { by_hand, operations, end } => {
                model = run_transaction(&store, &tables, &model, operations, (*by_hand, *end))?;
            }
            Step::OpenView if views.len() < views_max => {
                let view = store.begin_view().map_err(|error| fails(&error))?;
                views.push((view, model.clone()));
            }
            Step::CloseView(which) if !views.is_empty() => {
                let (view, seen) = views.swap_remove(which % views.len());
                tables.compare(&view, &seen)?;
            }
            Step::OpenView | Step::CloseView(_) => {}
        }
    }
    for (view, seen) in &views {
        tables.compare(view, seen)?;
    }
    drop(views);
    let view = store.begin_view().map_err(|error| fails(&error))?;
    tables.compare(&view, &model)
}

struct Differential;

impl Visitor for Differential {
    type Output = ();
    fn visit<P: Protocol>(self) {
        let cases = if P::NAME == protocol::NAMES[0] { CASES } else { CASES / 4 };
        for spread in [(1, 1), (3, 1), (3, 2)] {
            let config = Config { cases, failure_persistence: None, ..Config::default() };
            let checked = TestRunner::new(config)
                .run(&(any::<u64>(), steps()), |(seed, steps)| run::<P>(spread, seed, &steps));
            if let Err(failure) = checked {
                panic!("{} with {spread:?} shards and parts: {failure}", P::NAME);
            }
        }
    }
}

#[test]
fn every_protocol_does_what_a_map_does() {
    for name in protocol::NAMES {
        protocol::dispatch(name, Differential).expect("a registered protocol");
    }
}

/// Nor may the index get in a transaction's way, except at the moment when it grows.
#[test]
fn a_lone_transaction_hardly_ever_aborts() {
    let store = Store::builder().shards(1).hash_seed(7).build().unwrap();
    let table = store.table::<u64, u64>("t").unwrap();
    let aborted = (0..20_000).filter(|&key| {
        let tx = store.begin().unwrap();
        assert_eq!(tx.get(&table, &key).unwrap(), None);
        tx.put(&table, key, key).unwrap();
        tx.commit().is_err()
    });
    let aborted = aborted.count();
    assert!(aborted < 100, "{aborted} of 20000");
}

/// References stay what they were, whatever the transaction and others do afterwards.
#[test]
fn a_reference_lasts_as_long_as_its_transaction() {
    let store = Store::new();
    let table = store.table::<[u8], [u8]>("t").unwrap();
    let key = |number: u8| vec![number; usize::from(number)];
    for number in 0..50 {
        store.transact(|tx| tx.put(&table, &key(number), &[number; 100])).unwrap();
    }
    let view = store.begin_view().unwrap();
    let own = store.begin().unwrap();
    let mut held = Vec::new();
    for number in 0..50 {
        for tx in [&view, &own] {
            let value = tx.get(&table, key(number).as_slice()).unwrap().expect("present");
            held.push((number, value));
        }
        own.put(&table, &key(number), &[!number; 100]).unwrap();
        let value = own.get(&table, key(number).as_slice()).unwrap().expect("its own");
        held.push((!number, value));
        assert!(own.remove(&table, key(number).as_slice()).unwrap());
    }
    for round in 0..20 {
        for number in 0..50 {
            store.transact(|tx| tx.put(&table, &key(number), &[round; 100])).unwrap();
            let gone = store.transact(|tx| tx.remove(&table, key(number).as_slice()));
            assert!(gone.unwrap());
        }
    }
    for (number, value) in held {
        assert_eq!(value, [number; 100]);
    }
    assert!(own.commit().is_err());
}
