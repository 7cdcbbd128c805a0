//! A fingerprint of the requests: whether two repetitions were asked the same.

use super::Plan;
use super::deployment::Deployment;
use crate::workload::{End, Fingerprint};

/// Requests of each worker that are hashed: a few milliseconds, outside of any timed window.
const REQUESTS: usize = 500;

/// Hashes the first requests of every worker of the plan, keys and values included.
///
/// They are drawn once more, by workers of the same protocol, and none is run: a worker draws from
/// the seed alone, so what it draws here is what it will ask for. The deployment is one of their
/// own, because workers share what they know of their inserts. Where requests follow the inserts
/// of other workers, these take turns.
pub(super) fn fingerprint(deployment: &dyn Deployment, plan: &Plan) -> u64 {
    let make = |index| deployment.worker(plan.seed, index, plan.threads);
    let mut workers: Vec<_> = (0..plan.threads).map(make).collect();
    let mut fingerprint = Fingerprint::new();
    for _ in 0..REQUESTS {
        for worker in &mut workers {
            worker.prepare();
            worker.describe(&mut fingerprint);
            worker.settle(End::Committed);
        }
    }
    fingerprint.value()
}
