//! Scans: records in the order of their keys.

use super::request::RecordKey;
use super::worker::Run;
use crate::protocol::Protocol;
use crate::{Transaction, TransactionError};
use std::ops::Bound;

/// The keys of one scan as they come, held against what a scan promises: none is below its start,
/// and each is above the one before.
struct Ascent<'k, K: ?Sized> {
    start: &'k K,
    last: Option<&'k K>,
}

impl<'k, K: Ord + ?Sized> Ascent<'k, K> {
    fn from(start: &'k K) -> Self {
        Ascent { start, last: None }
    }

    /// Whether `key` may come next; if not, the one after it is still compared with it.
    #[inline]
    fn admits(&mut self, key: &'k K) -> bool {
        match self.last.replace(key) {
            None => key >= self.start,
            Some(last) => key > last,
        }
    }
}

impl<'a, P: Protocol, K: RecordKey + ?Sized> Run<'a, P, K> {
    /// Reads as many records as the operation asks for, from its key on, as far as there are some.
    // Not inlined: requests for single records keep their code to themselves.
    #[inline(never)]
    pub(super) fn scan(
        &mut self,
        transaction: &Transaction<'_, P>,
        index: usize,
    ) -> Result<(), TransactionError> {
        let request: &'a _ = self.request;
        let operation = &request.operations[index];
        let ordered = self.table.ordered.as_ref().expect("with scans the table has an order");
        let start = K::of(request, operation);
        let bounds = (Bound::Included(start), Bound::Unbounded);
        let mut ascent = Ascent::from(start);
        let mut begins_at_start = false;
        for entry in transaction.range(ordered, bounds)?.limit(operation.length as usize) {
            let (key, record) = entry?;
            begins_at_start |= ascent.last.is_none() && key == start;
            self.scratch.disorder += u64::from(!ascent.admits(key));
            self.scratch.scanned += 1;
            self.copy_out(index, key, Some(record));
        }
        // The key was drawn from those that exist, so the scan begins at its record.
        self.scratch.absent += u64::from(!begins_at_start);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_ascend_from_the_start_on() {
        let admitted = |start: &[u8], keys: &[&[u8]]| {
            let mut ascent = Ascent::from(start);
            keys.iter().map(|key| ascent.admits(key)).collect::<Vec<_>>()
        };
        assert_eq!(admitted(b"user2", &[b"user2", b"user20", b"user3"]), [true; 3]);
        assert_eq!(admitted(b"user2", &[b"user3", b"user3", b"user4"]), [true, false, true]);
        assert_eq!(admitted(b"user2", &[b"user3", b"user2", b"user4"]), [true, false, true]);
        assert_eq!(admitted(b"user2", &[b"user10", b"user11"]), [false, true]);
    }
}
