//! The cases: which stores do what, and what Chronolith aims at.

use crate::contest::Contestant;
use crate::requests::{Kind, Mix};
use crate::stores::{Chronolith, FastStm, Papaya, Peer, SurrealMx};
use std::sync::Arc;

/// Operations in a transaction, where there are several.
const OPERATIONS: usize = 10;

/// One block of the table.
pub struct Case {
    /// What `--only` calls it.
    pub name: &'static str,
    /// What is done.
    pub what: &'static str,
    /// The requests.
    pub mix: Mix,
    /// Ten times the records; only run when it is named, because it takes several gigabytes.
    pub large: bool,
    contestants: fn(&Stores, usize) -> Vec<Contestant>,
}

impl Case {
    /// The rows, given the number of threads that cases with several use.
    pub fn contestants(&self, stores: &Stores, threads: usize) -> Vec<Contestant> {
        (self.contestants)(stores, threads)
    }
}

/// The stores of a run, each made when the first case asks for it.
pub struct Stores {
    records: u64,
    chronolith: Lazy<Chronolith>,
    surrealmx: Lazy<SurrealMx>,
    fast_stm: Lazy<FastStm>,
    papaya: Lazy<Papaya>,
}

type Lazy<P> = std::cell::OnceCell<Arc<P>>;

impl Stores {
    /// Stores with this many records each.
    pub fn new(records: u64) -> Self {
        Stores {
            records,
            chronolith: Lazy::new(),
            surrealmx: Lazy::new(),
            fast_stm: Lazy::new(),
            papaya: Lazy::new(),
        }
    }

    /// How many records each store has.
    pub fn records(&self) -> u64 {
        self.records
    }

    fn get<'a, P: Peer>(&self, peer: &'a Lazy<P>) -> &'a Arc<P> {
        peer.get_or_init(|| {
            eprintln!("loading {} records into {}", self.records, P::NAME);
            Arc::new(P::load(self.records))
        })
    }

    fn chronolith(&self) -> &Arc<Chronolith> {
        self.get(&self.chronolith)
    }

    fn surrealmx(&self) -> &Arc<SurrealMx> {
        self.get(&self.surrealmx)
    }

    fn fast_stm(&self) -> &Arc<FastStm> {
        self.get(&self.fast_stm)
    }

    fn papaya(&self) -> &Arc<Papaya> {
        self.get(&self.papaya)
    }
}

fn read<P: Peer>(peer: &Arc<P>) -> Contestant {
    Contestant::new(peer, 1, 1, |peer, requests, attempts| {
        *attempts += 1;
        peer.read(requests[0].key())
    })
}

fn modify<P: Peer>(peer: &Arc<P>) -> Contestant {
    Contestant::new(peer, 1, 1, |peer, requests, attempts| {
        *attempts += 1;
        peer.modify(requests[0].key())
    })
}

fn transact<P: Peer>(peer: &Arc<P>, threads: usize) -> Contestant {
    Contestant::new(peer, OPERATIONS, threads, P::transact)
}

fn single_read(stores: &Stores, _threads: usize) -> Vec<Contestant> {
    vec![
        read(stores.chronolith()).named("Chronolith view + get"),
        read(stores.papaya()).named("papaya get (no transactions)").target(0.6),
    ]
}

fn single_modify(stores: &Stores, _threads: usize) -> Vec<Contestant> {
    vec![
        modify(stores.chronolith()).named("Chronolith transact + update"),
        modify(stores.papaya()).named("papaya insert (no transactions)").target(0.35),
    ]
}

fn batch(stores: &Stores, _threads: usize) -> Vec<Contestant> {
    let peer = stores.chronolith();
    let many = Contestant::new(peer, OPERATIONS, 1, |peer, requests, attempts| {
        *attempts += 1;
        peer.read_many(requests)
    });
    vec![
        many.named("Chronolith view + get_many of 10"),
        transact(peer, 1).named("Chronolith view + 10 gets").target(1.8),
    ]
}

fn ycsb(stores: &Stores, threads: usize) -> Vec<Contestant> {
    vec![
        transact(stores.chronolith(), threads),
        transact(stores.surrealmx(), threads).target(5.0),
        transact(stores.fast_stm(), threads).target(1.0),
        transact(stores.papaya(), threads),
    ]
}

fn crowd(stores: &Stores, threads: usize) -> Vec<Contestant> {
    let peer = stores.chronolith();
    vec![transact(peer, 8 * threads), transact(peer, threads).target(0.7)]
}

const fn mix(reads: f64, other: Kind, operations: usize, theta: f64) -> Mix {
    Mix { reads, other, operations, theta }
}

const fn case(
    name: &'static str,
    what: &'static str,
    mix: Mix,
    contestants: fn(&Stores, usize) -> Vec<Contestant>,
) -> Case {
    Case { name, what, mix, large: false, contestants }
}

/// Every case, in the order of the table.
pub const CASES: [Case; 7] = [
    case("read", "one read, uniform", mix(1.0, Kind::Modify, 1, 0.0), single_read),
    case("modify", "one read-modify-write, uniform", mix(0.0, Kind::Modify, 1, 0.0), single_modify),
    case(
        "ycsb-a",
        "50 % reads, 50 % updates, ten a transaction, zipf 0.99",
        mix(0.5, Kind::Update, OPERATIONS, 0.99),
        ycsb,
    ),
    case(
        "ycsb-b",
        "95 % reads, 5 % updates, ten a transaction, zipf 0.99",
        mix(0.95, Kind::Update, OPERATIONS, 0.99),
        ycsb,
    ),
    case(
        "ycsb-f",
        "50 % reads, 50 % read-modify-writes, ten a transaction, zipf 0.99",
        mix(0.5, Kind::Modify, OPERATIONS, 0.99),
        ycsb,
    ),
    case(
        "crowd",
        "ycsb-a with eight times the threads, beside the same with as many as there are cores",
        mix(0.5, Kind::Update, OPERATIONS, 0.99),
        crowd,
    ),
    Case {
        large: true,
        ..case(
            "batch",
            "ten reads a view, uniform, ten times the records",
            mix(1.0, Kind::Modify, OPERATIONS, 0.0),
            batch,
        )
    },
];
