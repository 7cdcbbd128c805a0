//! Protocols that are broken on purpose, under the very suites that the registry's pass.
//!
//! Each fault is armed in a process of its own, where it can do no harm to other tests: the test
//! starts this binary again with the fault's name. There the default protocol meets every suite
//! that has to notice, and then each protocol meets the one that is made for the fault: it has to
//! complain if and only if the protocol can have this fault (`can_have`).
//! The memory-ordering faults need the model checker (`protocol/models.rs`,
//! `storage/hash_index.rs`, `reclaim/watermark.rs`).

#[allow(dead_code, reason = "the other suites use the rest")]
#[path = "../../tests/common/anomalies.rs"]
mod anomalies;
#[path = "../../tests/common/bank.rs"]
mod bank;
#[path = "../../tests/common/histories.rs"]
mod histories;
#[allow(dead_code, reason = "the other suites use the rest")]
#[path = "../../tests/common/list_append.rs"]
mod list_append;
#[allow(dead_code, reason = "the other suites use the rest")]
#[path = "../../tests/common/random.rs"]
mod random;
#[allow(dead_code, reason = "the other suites use the rest")]
#[path = "../../tests/common/script.rs"]
mod script;

use super::{Store, StoreBuilder, suspension};
use crate::protocol::{self, Progress, Protocol, Reads, Visitor};
use crate::sync::fault::{Armed, Fault};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

const FAULT: &str = "CHRONOLITH_FAULT";
/// Far more than a process needs; a fault may also make somebody wait for ever.
const PATIENCE: Duration = Duration::from_secs(600);

/// A suite, and whether it finds the protocol right.
type Suite<P> = (&'static str, fn(&Store<P>) -> Result<(), String>);

/// The suites, for the protocol of a store.
fn suites<P: Protocol>(_store: &Store<P>) -> [Suite<P>; 5] {
    [
        // One shard will do for a fault, and one complaint.
        ("scripts", |_| none(anomalies::fixed_on::<P>(&StoreBuilder::new(), (1, 1)))),
        ("random scripts", |_| {
            none(anomalies::random::<P>(&StoreBuilder::new(), 1_000, random::seed()))
        }),
        ("histories", |store| {
            let history = histories::record(store, 10_000);
            list_append::check(&history, P::ISOLATION, P::STRICT)
        }),
        ("bank", |store| bank::run(store, 1_000)),
        ("suspended commits", |_| suspension::suspended_commits::<P>()),
    ]
}

fn none(complaints: impl IntoIterator<Item = String>) -> Result<(), String> {
    complaints.into_iter().next().map_or(Ok(()), Err)
}

/// A fault that suites are tried with.
struct Broken {
    name: &'static str,
    fault: Fault,
    /// The suite that every protocol meets with it.
    suite: &'static str,
    /// The suites that notice it in the default protocol, every time.
    by_default: &'static [&'static str],
}

const BROKEN: &[Broken] = &[
    Broken {
        name: "skip-validation",
        fault: Fault::SkipValidation,
        suite: "scripts",
        by_default: &["scripts", "random scripts", "histories", "bank"],
    },
    Broken {
        name: "skip-ranges",
        fault: Fault::SkipRanges,
        suite: "scripts",
        by_default: &["scripts"],
    },
    Broken {
        name: "ignore-base",
        fault: Fault::IgnoreBase,
        suite: "scripts",
        by_default: &["scripts"],
    },
    Broken {
        name: "grant-unchecked",
        fault: Fault::GrantUnchecked,
        suite: "scripts",
        by_default: &[],
    },
    Broken {
        name: "ignore-dependencies",
        fault: Fault::IgnoreDependencies,
        suite: "scripts",
        by_default: &[],
    },
    Broken {
        name: "stale-snapshot",
        fault: Fault::StaleSnapshot,
        suite: "scripts",
        by_default: &["scripts", "random scripts", "histories"],
    },
    Broken {
        name: "torn-decision",
        fault: Fault::TornDecision,
        suite: "suspended commits",
        by_default: &["suspended commits"],
    },
    Broken {
        name: "ignore-floor",
        fault: Fault::IgnoreFloor,
        suite: "suspended commits",
        by_default: &["suspended commits"],
    },
];

/// The faults in what protocols share, and whether they do harm under this one.
fn shared_faults<P: Protocol>() -> [(Fault, bool); 3] {
    // With snapshots and blocking, each transaction has the store to itself while it commits.
    let versions = P::READS == Reads::Snapshot && P::PROGRESS == Progress::LockFree;
    let optimistic = P::READS == Reads::Newest && !P::TAKES_LOCKS;
    [
        // Where somebody looks at what is being committed, and no lock is in his way;
        (Fault::TornDecision, versions || optimistic),
        // and where he goes past it with a snapshot, for which he has to raise its floor.
        (Fault::IgnoreFloor, versions),
        // An old snapshot is a consistent one.
        (Fault::StaleSnapshot, versions && P::STRICT),
    ]
}

/// Whether a protocol can have a fault, in its own code or in what it shares.
fn can_have<P: Protocol>(fault: Fault) -> bool {
    P::FAULTS.contains(&fault) || shared_faults::<P>().contains(&(fault, true))
}

/// The process in which no fault is armed.
const SOUND: &str = "none";

/// Two processes at a time: no other test takes as long.
#[test]
fn each_fault_is_noticed() {
    let names = Mutex::new(BROKEN.iter().map(|broken| broken.name).chain([SOUND]));
    let next = || names.lock().expect("nobody panics with it").next();
    std::thread::scope(|scope| {
        let notice_all = || std::iter::from_fn(next).for_each(is_noticed);
        for _ in 0..2 {
            scope.spawn(notice_all);
        }
    });
}

fn is_noticed(name: &str) {
    let child = Command::new(std::env::current_exe().expect("the path of this binary"))
        .args(["--ignored", "--exact", "store::broken::with_the_fault_armed", "--nocapture"])
        .env(FAULT, name)
        .output()
        .expect("this binary starts");
    let said = String::from_utf8_lossy(&child.stdout);
    let shown = || format!("{name}: {said}{}", String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && said.contains("1 passed"), "{}", shown());
    said.lines().filter(|line| line.starts_with(name)).for_each(|line| println!("{line}"));
}

#[test]
#[ignore = "started by `each_fault_is_noticed` in a process of its own"]
fn with_the_fault_armed() {
    let name = std::env::var(FAULT).expect("the name of a fault");
    std::thread::spawn(|| {
        std::thread::sleep(PATIENCE);
        eprintln!("no end");
        std::process::exit(1);
    });
    let broken = BROKEN.iter().find(|broken| broken.name == name);
    let armed = Armed::new(broken.map(|broken| broken.fault));
    for (suite, find) in suites(&Store::new()) {
        let must_notice = broken.is_some_and(|broken| broken.by_default.contains(&suite));
        // The others might notice too, or never end: they are not asked.
        if broken.is_some() && !must_notice {
            continue;
        }
        let found = find(&Store::new());
        println!("{name}, {suite}: {}", found.is_err());
        assert_eq!(found.is_err(), must_notice, "{name}, {suite}: {found:?}");
    }
    drop(armed);
    let Some(broken) = broken else {
        assert_eq!(name, SOUND, "an unknown fault");
        return;
    };
    for name in protocol::NAMES {
        protocol::dispatch(name, broken).expect("a registered protocol");
    }
}

impl Visitor for &Broken {
    type Output = ();
    fn visit<P: Protocol>(self) {
        let armed = Armed::new(Some(self.fault));
        let store = Store::builder().build_with::<P>().expect("a store");
        let found = suites(&store).into_iter().find(|(name, _)| *name == self.suite);
        let complaint = (found.expect("a suite").1)(&store).err();
        let can_have_it = can_have::<P>(self.fault);
        let hit = if armed.was_hit() { "comes by it" } else { "has no such place" };
        let noticed = if complaint.is_some() { ", noticed" } else { "" };
        println!("{}, {}: {hit}{noticed}", self.name, P::NAME);
        assert_eq!(complaint.is_some(), can_have_it, "{}: {complaint:?}", P::NAME);
    }
}

/// A protocol without a fault of its own would pass whatever the suites look at.
struct HasFaults;

impl Visitor for HasFaults {
    type Output = ();
    fn visit<P: Protocol>(self) {
        assert!(!P::FAULTS.is_empty(), "{}: nothing is tried with it", P::NAME);
        for fault in P::FAULTS {
            let tried = BROKEN.iter().any(|broken| broken.fault == *fault);
            assert!(tried, "{}: {fault:?} is not tried", P::NAME);
            let shared = shared_faults::<P>().iter().any(|(shared, _)| shared == fault);
            assert!(!shared, "{}: {fault:?} follows from its other constants", P::NAME);
        }
    }
}

#[test]
fn every_protocol_has_faults_that_are_noticed() {
    for name in protocol::NAMES {
        protocol::dispatch(name, HasFaults).expect("a registered protocol");
    }
}
