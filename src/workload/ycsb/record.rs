//! How the fields of a record lie in one byte string.

use std::ops::Range;

/// The place of each field in a record.
///
/// Fields of one fixed length stand side by side. Otherwise the record opens with the length of
/// each field, four bytes, the least significant first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    fields: usize,
    fixed: Option<usize>,
}

const LENGTH_BYTES: usize = size_of::<u32>();

impl Layout {
    pub(super) fn new(fields: usize, fixed: Option<usize>) -> Self {
        assert!(fields > 0, "a record has a field");
        Layout { fields, fixed }
    }

    pub(super) fn fields(&self) -> usize {
        self.fields
    }

    /// The bytes before the first field.
    fn header_len(&self) -> usize {
        if self.fixed.is_some() { 0 } else { self.fields * LENGTH_BYTES }
    }

    /// The length of a record whose fields all have `field_len` bytes.
    pub(super) fn record_len(&self, field_len: usize) -> usize {
        self.header_len() + self.fields * field_len
    }

    /// Appends a record to `out`; `write` appends the value of each field.
    pub(super) fn build(&self, out: &mut Vec<u8>, mut write: impl FnMut(usize, &mut Vec<u8>)) {
        let start = out.len();
        out.resize(start + self.header_len(), 0);
        for field in 0..self.fields {
            let before = out.len();
            write(field, out);
            let length = out.len() - before;
            match self.fixed {
                Some(fixed) => assert_eq!(length, fixed, "every field has the fixed length"),
                None => set_length(&mut out[start..], field, length),
            }
        }
    }

    /// Where `field` lies in `record`; `None` if the record does not have this layout.
    #[inline]
    pub(super) fn find(&self, record: &[u8], field: usize) -> Option<Range<usize>> {
        let range = match self.fixed {
            Some(length) => field * length..(field + 1) * length,
            None => {
                let mut start = self.header_len();
                for earlier in 0..field {
                    start += length_at(record, earlier)?;
                }
                start..start + length_at(record, field)?
            }
        };
        (range.end <= record.len()).then_some(range)
    }

    /// Puts `record` with another value of `field` into the empty `out`; false, and nothing put, if
    /// it has another layout.
    #[inline]
    pub(super) fn replace(
        &self,
        record: &[u8],
        field: usize,
        value: &[u8],
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(place) = self.find(record, field) else {
            return false;
        };
        debug_assert!(out.is_empty(), "the record is assembled from its start");
        if place.len() == value.len() {
            out.extend_from_slice(record);
            out[place].copy_from_slice(value);
            return true;
        }
        out.extend_from_slice(&record[..place.start]);
        out.extend_from_slice(value);
        out.extend_from_slice(&record[place.end..]);
        set_length(out, field, value.len());
        true
    }
}

fn length_at(record: &[u8], field: usize) -> Option<usize> {
    let bytes = record.get(field * LENGTH_BYTES..(field + 1) * LENGTH_BYTES)?;
    bytes.try_into().ok().map(|bytes| u32::from_le_bytes(bytes) as usize)
}

fn set_length(record: &mut [u8], field: usize, length: usize) {
    let length = u32::try_from(length).expect("the configuration bounds the length of a field");
    record[field * LENGTH_BYTES..(field + 1) * LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
}

/// Appends the value that YCSB's dataintegrity gives to a field: the key, the field's name, and
/// then hashes of what is there so far, cut at `length`.
pub(super) fn deterministic_value(key: &[u8], field_name: &str, length: usize, out: &mut Vec<u8>) {
    let start = out.len();
    let mut hash: i32 = 0;
    let mut append = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.extend_from_slice(bytes);
        // Java's String.hashCode, carried on over what is appended.
        for byte in bytes {
            hash = hash.wrapping_mul(31).wrapping_add(i32::from(*byte));
        }
        hash
    };
    append(out, key);
    append(out, b":");
    append(out, field_name.as_bytes());
    let mut digits = itoa::Buffer::new();
    while out.len() - start < length {
        // The hash covers the separator before it, as YCSB's StringBuilder does.
        let so_far = append(out, b":");
        append(out, digits.format(so_far).as_bytes());
    }
    out.truncate(start + length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_and_replaced_in_both_layouts() {
        let lengths = [3usize, 0, 5];
        for fixed in [Some(4), None] {
            let layout = Layout::new(3, fixed);
            let mut record = Vec::new();
            layout.build(&mut record, |field, out| {
                out.resize(out.len() + fixed.unwrap_or(lengths[field]), b'a' + field as u8);
            });
            let mut changed = Vec::new();
            let value = vec![b'x'; fixed.unwrap_or(9)];
            assert!(layout.replace(&record, 1, &value, &mut changed));
            for field in [0, 2] {
                let before = &record[layout.find(&record, field).expect("present")];
                let after = &changed[layout.find(&changed, field).expect("present")];
                assert_eq!(before, after);
            }
            assert_eq!(&changed[layout.find(&changed, 1).expect("present")], &value);
            assert_eq!(layout.find(&record[..1], 2), None);
        }
    }

    #[test]
    fn deterministic_values_are_those_of_ycsb() {
        let mut value = Vec::new();
        deterministic_value(b"user1", "field0", 30, &mut value);
        // Worked out with Java's String.hashCode by an independent script.
        let expected = "user1:field0:-1268391216:957204686:-1707619825";
        assert_eq!(value, &expected.as_bytes()[..30]);
        value.clear();
        deterministic_value(b"user1", "field0", expected.len(), &mut value);
        assert_eq!(value, expected.as_bytes());
    }
}
