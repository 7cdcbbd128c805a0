//! One request: the operations of one transaction, with all their keys and values.

use super::config::{KeyFormat, Verb};
use crate::OrderedKey;
use crate::workload::generator::fnv_hash_64;
use std::ops::Range;

/// One operation of a request.
#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) verb: Verb,
    /// How many records a scan asks for.
    pub(super) length: u32,
    /// The key number as a key, where keys are numbers.
    pub(super) number: u64,
    /// The key's text in [`Request::keys`], where keys are texts.
    pub(super) key: Range<usize>,
    pub(super) field: usize,
    /// The bytes to write, in [`Request::values`].
    pub(super) value: Range<usize>,
}

impl Operation {
    pub(super) fn new(verb: Verb) -> Self {
        Operation { verb, length: 0, number: 0, key: 0..0, field: 0, value: 0..0 }
    }
}

/// A request. Its buffers are kept from one request to the next, so that drawing allocates nothing.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) operations: Vec<Operation>,
    pub(super) keys: Vec<u8>,
    pub(super) values: Vec<u8>,
    /// The record number of the first insert; the others follow it.
    pub(super) first_insert: u64,
    pub(super) inserts: u64,
    /// Whether it is one of the long ones.
    pub(super) long: bool,
    /// The verb of all operations, if they have one in common.
    pub(super) uniform_verb: Option<Verb>,
    /// Whether no operation writes.
    pub(super) only_reads: bool,
}

impl Request {
    #[inline]
    pub(super) fn restart(&mut self) {
        self.operations.clear();
        self.keys.clear();
        self.values.clear();
    }

    /// Finds out whether all operations have one verb in common, and whether any writes.
    #[inline]
    pub(super) fn classify(&mut self) {
        let first = self.operations[0].verb;
        let uniform = self.operations.iter().all(|operation| operation.verb == first);
        self.uniform_verb = uniform.then_some(first);
        self.only_reads = self.operations.iter().all(|operation| operation.verb.only_reads());
    }

    /// Sets the key of an operation to that of a record number.
    #[inline]
    pub(super) fn set_key(&mut self, index: usize, number: u64, format: &KeyFormat) {
        let number = format.number_of(number);
        let operation = &mut self.operations[index];
        operation.number = number;
        if !format.integer {
            let start = self.keys.len();
            format.append_text(number, &mut self.keys);
            operation.key = start..self.keys.len();
        }
    }

    #[inline]
    pub(super) fn text_key(&self, operation: &Operation) -> &[u8] {
        &self.keys[operation.key.clone()]
    }

    #[inline]
    pub(super) fn value(&self, operation: &Operation) -> &[u8] {
        &self.values[operation.value.clone()]
    }
}

impl KeyFormat {
    /// The key number of a record number.
    #[inline]
    pub(super) fn number_of(&self, record: u64) -> u64 {
        if self.hashed { fnv_hash_64(record) } else { record }
    }

    /// Appends the text of a key number.
    #[inline]
    pub(super) fn append_text(&self, number: u64, out: &mut Vec<u8>) {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(number).as_bytes();
        out.extend_from_slice(self.prefix.as_bytes());
        for _ in digits.len()..self.zero_padding {
            out.push(b'0');
        }
        out.extend_from_slice(digits);
    }
}

/// A type of key that the records can have.
pub(super) trait RecordKey: OrderedKey {
    /// The key of an operation.
    fn of<'a>(request: &'a Request, operation: &'a Operation) -> &'a Self;
    /// The key as the store takes it.
    fn input(&self) -> Self::Input<'_>;
    /// Appends the bytes of the key.
    fn append_to(&self, out: &mut Vec<u8>);
}

impl RecordKey for [u8] {
    #[inline]
    fn of<'a>(request: &'a Request, operation: &'a Operation) -> &'a [u8] {
        request.text_key(operation)
    }

    #[inline]
    fn input(&self) -> &[u8] {
        self
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl RecordKey for u64 {
    #[inline]
    fn of<'a>(_request: &'a Request, operation: &'a Operation) -> &'a u64 {
        &operation.number
    }

    #[inline]
    fn input(&self) -> u64 {
        *self
    }

    fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_look_like_those_of_ycsb() {
        let key = |hashed, zero_padding, record| {
            let prefix = "user".to_owned();
            let format = KeyFormat { hashed, zero_padding, prefix, integer: false };
            let mut text = Vec::new();
            format.append_text(format.number_of(record), &mut text);
            String::from_utf8(text).expect("digits")
        };
        assert_eq!(key(false, 1, 7), "user7");
        assert_eq!(key(false, 5, 7), "user00007");
        assert_eq!(key(false, 1, 123), "user123");
        // YCSB's first hashed key, known from every YCSB database.
        assert_eq!(key(true, 1, 0), "user6284781860667377211");
    }
}
