//! fast-stm: software transactional memory, serializable. It has variables and no table, so the
//! table is a hash map that is filled before the run and never changes: no index of its own can be
//! faster.

use super::{Peer, Transactional, Value, changed, fresh, touch};
use crate::requests::{Kind, Request};
use ahash::AHashMap;
use fast_stm::{TVar, atomically};
use std::cell::Cell;

/// A variable for each key. A read copies the value: one more `Arc` around it, which a read would
/// clone instead, costs an allocation for each write.
pub struct FastStm(AHashMap<u64, TVar<Value>>);

impl FastStm {
    fn variable(&self, key: u64) -> &TVar<Value> {
        self.0.get(&key).expect("every key is loaded")
    }
}

impl Peer for FastStm {
    const NAME: &'static str = "fast-stm";

    fn load(keys: &[u64]) -> Self {
        let variables = keys.iter().map(|&key| (key, TVar::new(fresh(key))));
        FastStm(variables.collect())
    }

    fn read(&self, key: u64) -> u64 {
        touch(&self.variable(key).read_atomic())
    }
}

impl Transactional for FastStm {
    fn modify(&self, key: u64) -> u64 {
        let variable = self.variable(key);
        atomically(|tx| variable.modify(tx, |value| changed(&value)));
        1
    }

    fn transact(&self, requests: &[Request], attempts: &mut u64) -> u64 {
        // Its closures may not change what they capture.
        let tried = Cell::new(0);
        let sum = atomically(|tx| {
            tried.set(tried.get() + 1);
            let mut sum = 0;
            for request in requests {
                let variable = self.variable(request.key());
                match request.kind() {
                    Kind::Read => sum += touch(&variable.read(tx)?),
                    Kind::Update => variable.write(tx, fresh(request.key()))?,
                    Kind::Modify => {
                        variable.modify(tx, |value| changed(&value))?;
                    }
                }
            }
            Ok(sum)
        });
        *attempts += tried.get();
        sum
    }
}
