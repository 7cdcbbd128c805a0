//! SurrealMX 1.x in memory, without persistence: write transactions are serializable, read-only
//! ones are snapshots. Values are looked at in place (`with_value`), which is its cheapest way to
//! read.

use super::{Peer, Value, changed, fresh, touch};
use crate::requests::{Kind, Request};
use surrealmx::{Database, Error};

/// The database. Keys are big-endian, so that its order is theirs.
pub struct SurrealMx(Database);

const FAILED: &str = "only conflicts are expected";

impl SurrealMx {
    fn attempt(&self, requests: &[Request], writes: bool) -> Result<u64, Error> {
        let mut tx = self.0.transaction(writes);
        let mut sum = 0;
        for request in requests {
            let key = request.key().to_be_bytes();
            match request.kind() {
                Kind::Read => sum += tx.with_value(key, touch)?.unwrap_or(0),
                Kind::Update => tx.set(key, fresh(request.key()))?,
                Kind::Modify => {
                    let value: Option<Value> = tx.with_value(key, changed)?;
                    tx.set(key, value.expect("every key is loaded"))?;
                }
            }
        }
        if writes {
            tx.commit()?;
        } else {
            tx.cancel()?;
        }
        Ok(sum)
    }

    fn until_committed(&self, requests: &[Request], attempts: &mut u64) -> u64 {
        let writes = requests.iter().any(|request| request.kind() != Kind::Read);
        loop {
            *attempts += 1;
            match self.attempt(requests, writes) {
                // Its users write this loop; without a back-off, as conflicts are few here.
                Err(Error::KeyReadConflict | Error::KeyWriteConflict) => {}
                outcome => return outcome.expect(FAILED),
            }
        }
    }
}

impl Peer for SurrealMx {
    const NAME: &'static str = "SurrealMX";

    fn load(records: u64) -> Self {
        let database = Database::new();
        for first in (0..records).step_by(1_000) {
            let mut tx = database.transaction(true);
            for key in first..records.min(first + 1_000) {
                tx.set(key.to_be_bytes(), fresh(key)).expect(FAILED);
            }
            tx.commit().expect(FAILED);
        }
        SurrealMx(database)
    }

    fn read(&self, key: u64) -> u64 {
        let sum = self.0.with_value(key.to_be_bytes(), touch);
        sum.expect(FAILED).unwrap_or(0)
    }

    fn modify(&self, key: u64) -> u64 {
        self.until_committed(&[Request::new(key, Kind::Modify)], &mut 0)
    }

    fn transact(&self, requests: &[Request], attempts: &mut u64) -> u64 {
        self.until_committed(requests, attempts)
    }
}
