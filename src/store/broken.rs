//! Protocols that are broken on purpose, under the very suites that the registry's pass.
//!
//! Each fault is armed in a process of its own, where it can do no harm to other tests: the test
//! starts this binary again with the fault's name. Every protocol that has a validation to skip is
//! caught skipping it; the other faults are those of the default protocol and of shared code. The
//! memory-ordering faults need the model checker (`protocol/models.rs`, `storage/hash_index.rs`,
//! `reclaim/watermark.rs`).

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
use crate::protocol::{self, Protocol, Visitor};
use crate::sync::fault::{Armed, Fault};
use std::process::Command;

const FAULT: &str = "CHRONOLITH_FAULT";

/// A suite, and whether it finds the protocol right.
type Suite<P> = (&'static str, fn(&Store<P>) -> Result<(), String>);

/// The suites, for the protocol of a store.
fn suites<P: Protocol>(_store: &Store<P>) -> [Suite<P>; 5] {
    [
        ("scripts", |_| none(anomalies::fixed::<P>(&StoreBuilder::new()))),
        ("random scripts", |_| {
            none(anomalies::random::<P>(&StoreBuilder::new(), 1_000, random::seed()))
        }),
        ("histories", |store| {
            let history = histories::record(store, 10_000);
            list_append::check(&history, P::ISOLATION, P::STRICT)
        }),
        ("bank", |store| bank::run(store, 1_000)),
        ("views across a commit", |_| suspension::views_across::<P>()),
    ]
}

fn none(complaints: anomalies::Complaints) -> Result<(), String> {
    complaints.into_iter().next().map_or(Ok(()), Err)
}

/// The faults, and the suites that catch each of them in the default protocol, every time.
const CAUGHT: &[(&str, Option<Fault>, &[&str])] = &[
    ("none", None, &[]),
    (
        "skip-validation",
        Some(Fault::SkipValidation),
        &["scripts", "random scripts", "histories", "bank"],
    ),
    ("skip-ranges", Some(Fault::SkipRanges), &["scripts"]),
    ("torn-decision", Some(Fault::TornDecision), &["views across a commit"]),
    ("stale-snapshot", Some(Fault::StaleSnapshot), &["scripts", "random scripts", "histories"]),
    ("ignore-floor", Some(Fault::IgnoreFloor), &["views across a commit"]),
];

#[test]
fn each_fault_is_caught() {
    let this = std::env::current_exe().expect("the path of this binary");
    for (name, _, expected) in CAUGHT {
        let child = Command::new(&this)
            .args(["--ignored", "--exact", "store::broken::with_the_fault_armed", "--nocapture"])
            .env(FAULT, name)
            .output()
            .expect("this binary starts");
        let said = String::from_utf8_lossy(&child.stdout);
        let shown = || format!("{name}: {said}{}", String::from_utf8_lossy(&child.stderr));
        assert!(child.status.success() && said.contains("1 passed"), "{}", shown());
        println!("{name}: caught by {expected:?}");
    }
}

#[test]
#[ignore = "started by `each_fault_is_caught` in a process of its own"]
fn with_the_fault_armed() {
    let name = std::env::var(FAULT).expect("the name of a fault");
    let (_, fault, expected) =
        CAUGHT.iter().find(|(other, ..)| *other == name).expect("a known fault");
    let armed = Armed::new(*fault);
    for (suite, find) in suites(&Store::new()) {
        let must_catch = expected.contains(&suite);
        // The others might notice too, or never end: they are not asked.
        if !must_catch && fault.is_some() {
            continue;
        }
        let found = find(&Store::new());
        println!("{name}, {suite}: {found:?}");
        assert_eq!(found.is_err(), must_catch, "{name}, {suite}");
    }
    drop(armed);
    if let Some(fault @ (Fault::SkipValidation | Fault::SkipRanges)) = *fault {
        for name in protocol::NAMES {
            protocol::dispatch(name, Skips(fault)).expect("a registered protocol");
        }
    }
}

/// The scripts catch a protocol that skips a validation, if it has it.
struct Skips(Fault);

impl Visitor for Skips {
    type Output = ();
    fn visit<P: Protocol>(self) {
        let armed = Armed::new(Some(self.0));
        let complaints = anomalies::fixed::<P>(&StoreBuilder::new());
        println!("{}, {:?}: {}, {}", P::NAME, self.0, armed.was_hit(), complaints.len());
        assert_eq!(!complaints.is_empty(), armed.was_hit(), "{}: {complaints:?}", P::NAME);
    }
}
