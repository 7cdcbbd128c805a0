//! The cases: which stores do what, and what Chronolith aims at.

use crate::contest::Contestant;
use crate::requests::{Kind, Mix, Request, scatter};
use crate::stores::{
    Chronolith, FastStm, Ordered, OrderedChronolith, Papaya, Peer, SkipList, SurrealMx,
    Transactional, ordered_key,
};
use std::sync::Arc;

/// Operations in a transaction, where there are several.
const OPERATIONS: usize = 10;

/// Which stores a case uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Data {
    /// Those that other cases use too.
    Shared,
    /// Its own, because it adds records.
    Own,
    /// Its own with ten times the records; only run when it is named, because it takes several
    /// gigabytes.
    Tenfold,
}

/// One block of the table.
pub struct Case {
    /// What `--only` calls it.
    pub name: &'static str,
    /// What is done.
    pub what: &'static str,
    /// The requests.
    pub mix: Mix,
    /// Which stores it uses.
    pub data: Data,
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
    scattered: bool,
    chronolith: Lazy<Chronolith>,
    surrealmx: Lazy<SurrealMx>,
    fast_stm: Lazy<FastStm>,
    papaya: Lazy<Papaya>,
    ordered_chronolith: Lazy<OrderedChronolith>,
    in_two_parts: Lazy<OrderedChronolith<2>>,
    ordered_surrealmx: Lazy<SurrealMx>,
    skip_list: Lazy<SkipList>,
}

type Lazy<P> = std::cell::OnceCell<Arc<P>>;

impl Stores {
    /// Stores with this many records each; if they are scattered, neighbours in the order of the
    /// keys are not loaded one after the other.
    pub fn new(records: u64, scattered: bool) -> Self {
        Stores {
            records,
            scattered,
            chronolith: Lazy::new(),
            surrealmx: Lazy::new(),
            fast_stm: Lazy::new(),
            papaya: Lazy::new(),
            ordered_chronolith: Lazy::new(),
            in_two_parts: Lazy::new(),
            ordered_surrealmx: Lazy::new(),
            skip_list: Lazy::new(),
        }
    }

    /// The stores that this case needs, if these are not.
    pub fn for_case(&self, case: &Case) -> Option<Self> {
        match case.data {
            Data::Shared => None,
            Data::Own => Some(Stores::new(self.records, self.scattered)),
            Data::Tenfold => Some(Stores::new(10 * self.records, self.scattered)),
        }
    }

    /// How many records each store was loaded with.
    pub fn records(&self) -> u64 {
        self.records
    }

    fn load<P: Peer>(&self, key: fn(u64) -> u64) -> Arc<P> {
        eprintln!("loading {} records into {}", self.records, P::NAME);
        let place = |at| if self.scattered { scatter(at, self.records) } else { at };
        let keys: Vec<u64> = (0..self.records).map(|at| key(place(at))).collect();
        Arc::new(P::load(&keys))
    }

    fn get<'a, P: Peer>(&self, peer: &'a Lazy<P>) -> &'a Arc<P> {
        peer.get_or_init(|| self.load(|number| number))
    }

    fn ordered<'a, P: Ordered>(&self, peer: &'a Lazy<P>) -> &'a Arc<P> {
        peer.get_or_init(|| self.load(ordered_key))
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

    fn ordered_chronolith(&self) -> &Arc<OrderedChronolith> {
        self.ordered(&self.ordered_chronolith)
    }

    fn ordered_surrealmx(&self) -> &Arc<SurrealMx> {
        self.ordered(&self.ordered_surrealmx)
    }

    fn skip_list(&self) -> &Arc<SkipList> {
        self.ordered(&self.skip_list)
    }
}

/// A row of single operations in one thread.
fn single<P: Peer>(
    peer: &Arc<P>,
    operation: impl Fn(&P, Request) -> u64 + Sync + 'static,
) -> Contestant {
    Contestant::new(peer, 1, 1, move |peer, requests, attempts| {
        *attempts += 1;
        operation(peer, requests[0])
    })
}

fn read<P: Peer>(peer: &Arc<P>) -> Contestant {
    single(peer, |peer, request| peer.read(request.key()))
}

fn modify<P: Transactional>(peer: &Arc<P>) -> Contestant {
    single(peer, |peer, request| peer.modify(request.key()))
}

fn read_ordered<P: Ordered>(peer: &Arc<P>) -> Contestant {
    single(peer, |peer, request| peer.read(ordered_key(request.key())))
}

fn scan<P: Ordered>(peer: &Arc<P>) -> Contestant {
    single(peer, |peer, request| peer.scan(ordered_key(request.key()), request.scan_len()))
}

fn scan_or_insert<P: Ordered>(peer: &Arc<P>, threads: usize) -> Contestant {
    Contestant::new(peer, 1, threads, |peer, requests, attempts| {
        *attempts += 1;
        let (number, len) = (requests[0].key(), requests[0].scan_len());
        if len > 0 {
            return peer.scan(ordered_key(number), len);
        }
        peer.insert(number);
        0
    })
}

fn transact<P: Transactional>(peer: &Arc<P>, threads: usize) -> Contestant {
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

fn ordered_read(stores: &Stores, _threads: usize) -> Vec<Contestant> {
    vec![
        read_ordered(stores.ordered_chronolith()).named("Chronolith view + get"),
        read_ordered(stores.skip_list()).named("SkipMap get (no transactions)").target(2.0),
    ]
}

fn long_scan(stores: &Stores, _threads: usize) -> Vec<Contestant> {
    let surrealmx = stores.ordered_surrealmx();
    let in_transaction = single(surrealmx, |peer, request| {
        peer.scan_in_transaction(ordered_key(request.key()), request.scan_len())
    });
    vec![
        scan(stores.ordered_chronolith()).named("Chronolith view + range"),
        in_transaction.named("SurrealMX transaction, scan_with").target(3.0),
        scan(surrealmx).named("SurrealMX scan_with").target(3.0),
        scan(stores.skip_list()).named("SkipMap range (no transactions)").target(2.0),
    ]
}

/// What it costs that ranges merge.
fn parts(stores: &Stores, _threads: usize) -> Vec<Contestant> {
    let in_two = stores.ordered(&stores.in_two_parts);
    vec![
        scan(stores.ordered_chronolith()).named("Chronolith, one ordered index"),
        scan(in_two).named("Chronolith, merged from two"),
    ]
}

fn ycsb_e(stores: &Stores, threads: usize) -> Vec<Contestant> {
    vec![
        scan_or_insert(stores.ordered_chronolith(), threads),
        scan_or_insert(stores.ordered_surrealmx(), threads).target(4.0),
        scan_or_insert(stores.skip_list(), threads),
    ]
}

fn crowd(stores: &Stores, threads: usize) -> Vec<Contestant> {
    let peer = stores.chronolith();
    vec![transact(peer, 8 * threads), transact(peer, threads).target(0.7)]
}

const fn mix(reads: f64, other: Kind, operations: usize, theta: f64) -> Mix {
    Mix { reads, other, scans: None, operations, theta }
}

/// Scans of so many records, one a transaction, and inserts.
const fn scans(share: f64, lengths: (u8, u8), theta: f64) -> Mix {
    Mix { scans: Some(lengths), ..mix(share, Kind::Read, 1, theta) }
}

const fn case(
    name: &'static str,
    what: &'static str,
    mix: Mix,
    contestants: fn(&Stores, usize) -> Vec<Contestant>,
) -> Case {
    Case { name, what, mix, data: Data::Shared, contestants }
}

/// Every case, in the order of the table.
pub const CASES: [Case; 11] = [
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
    case(
        "ordered-read",
        "one read in an ordered table, uniform",
        mix(1.0, Kind::Modify, 1, 0.0),
        ordered_read,
    ),
    case("scan", "100 records from a uniform key on", scans(1.0, (100, 100), 0.0), long_scan),
    case("parts", "1 to 20 records from a uniform key on", scans(1.0, (1, 20), 0.0), parts),
    Case {
        data: Data::Own,
        ..case(
            "ycsb-e",
            "95 % scans of 1 to 100 records, 5 % inserts, one a transaction, zipf 0.99",
            scans(0.95, (1, 100), 0.99),
            ycsb_e,
        )
    },
    Case {
        data: Data::Tenfold,
        ..case(
            "batch",
            "ten reads a view, uniform, ten times the records",
            mix(1.0, Kind::Modify, OPERATIONS, 0.0),
            batch,
        )
    },
];
