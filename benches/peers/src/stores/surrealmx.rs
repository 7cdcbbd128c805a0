//! SurrealMX 1.x in memory, without persistence: write transactions are serializable, read-only
//! ones are snapshots. Values are looked at in place (`with_value`, `scan_with`), which is its
//! cheapest way to read. A read, a scan or a write alone needs no transaction of the caller's.

use super::{Ordered, Peer, Transactional, Value, changed, fresh, touch, touch_entry};
use crate::requests::{Kind, Request};
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use surrealmx::{ByteSlice, Database, Error};

/// The database. Keys are big-endian, so that its order is theirs.
pub struct SurrealMx {
    database: Database,
    added: AtomicU64,
}

const FAILED: &str = "only conflicts are expected";

impl SurrealMx {
    fn attempt(&self, requests: &[Request], writes: bool) -> Result<u64, Error> {
        let mut tx = self.database.transaction(writes);
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

/// The keys from this one on. The range has no end that its callers would know.
fn onward(from: u64) -> Range<[u8; 8]> {
    from.to_be_bytes()..[u8::MAX; 8]
}

/// Adds an entry of a scan to the sum, and goes on.
fn add_to(sum: &mut u64) -> impl FnMut(&ByteSlice, &[u8]) -> bool {
    |key, value| {
        let key = key.as_slice().try_into().map(u64::from_be_bytes);
        *sum += touch_entry(key.expect("every key has 8 bytes"), value);
        true
    }
}

impl SurrealMx {
    /// As [`Ordered::scan`], in a read transaction of the caller's.
    pub fn scan_in_transaction(&self, from: u64, len: usize) -> u64 {
        let mut sum = 0;
        let mut tx = self.database.transaction(false);
        tx.scan_with(onward(from), None, Some(len), add_to(&mut sum)).expect(FAILED);
        tx.cancel().expect(FAILED);
        sum
    }
}

impl Peer for SurrealMx {
    const NAME: &'static str = "SurrealMX";

    fn load(keys: &[u64]) -> Self {
        let database = Database::new();
        for batch in keys.chunks(1_000) {
            let mut tx = database.transaction(true);
            for &key in batch {
                tx.set(key.to_be_bytes(), fresh(key)).expect(FAILED);
            }
            tx.commit().expect(FAILED);
        }
        SurrealMx { database, added: AtomicU64::new(0) }
    }

    fn read(&self, key: u64) -> u64 {
        let sum = self.database.with_value(key.to_be_bytes(), touch);
        sum.expect(FAILED).unwrap_or(0)
    }
}

impl Transactional for SurrealMx {
    fn modify(&self, key: u64) -> u64 {
        self.until_committed(&[Request::new(key, Kind::Modify)], &mut 0)
    }

    fn transact(&self, requests: &[Request], attempts: &mut u64) -> u64 {
        self.until_committed(requests, attempts)
    }
}

impl Ordered for SurrealMx {
    fn scan(&self, from: u64, len: usize) -> u64 {
        let mut sum = 0;
        let scanned = self.database.scan_with(onward(from), None, Some(len), add_to(&mut sum));
        scanned.expect(FAILED);
        sum
    }

    fn put(&self, key: u64) {
        self.database.set(key.to_be_bytes(), fresh(key)).expect(FAILED);
    }

    fn added(&self) -> &AtomicU64 {
        &self.added
    }
}
