//! Which types can be keys of ordered tables, and how their order is made cheap.

use super::ordered_index::{head_of_bytes, shared_bytes};
use super::payload::Key;

/// A key type with an order. Implemented for integers, `bool`, `char`, byte strings, strings,
/// arrays of bytes, and pairs and triples of these.
///
/// A type of your own needs no method: `impl OrderedKey for MyKey {}` works, and every step of a
/// search then compares keys. With a good [`OrderedKey::head`] it compares eight bytes that lie in
/// the index itself.
///
/// ```
/// use chronolith::OrderedKey;
/// #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
/// struct Sensor {
///     building: u32,
///     number: u32,
/// }
/// impl OrderedKey for Sensor {
///     const EXACT: bool = true;
///     fn head(&self, _skip: u32) -> u64 {
///         u64::from(self.building) << 32 | u64::from(self.number)
///     }
/// }
/// ```
///
/// A head that does not sort as the keys do makes ranges miss keys; it harms nothing else.
pub trait OrderedKey: Key + Ord + ToOwned<Owned: Send + Sync> {
    /// Whether keys with equal heads are equal, so that no key is ever compared. `skip` is 0 then.
    const EXACT: bool = false;

    /// Eight bytes of the key: of two keys that agree in their first `skip` bytes, the one with the
    /// lower head is the lower one.
    #[must_use]
    fn head(&self, skip: u32) -> u64 {
        let _ = skip;
        0
    }

    /// In how many leading bytes this key and a higher one agree, and hence all keys between them.
    /// 0 for a type that is not a string of bytes.
    #[must_use]
    fn shared(&self, higher: &Self) -> u32 {
        let _ = higher;
        0
    }
}

macro_rules! exact {
    ($($type:ty => $head:expr;)+) => {
        $(impl OrderedKey for $type {
            const EXACT: bool = true;
            #[inline]
            fn head(&self, _skip: u32) -> u64 {
                let head: fn($type) -> u64 = $head;
                head(*self)
            }
        })+
    };
}

/// Flips the sign bit, so that negative numbers sort below the others.
const SIGN: u64 = 1 << 63;

exact! {
    u8 => u64::from;
    u16 => u64::from;
    u32 => u64::from;
    u64 => |key| key;
    usize => |key| key as u64;
    i8 => |key| i64::from(key) as u64 ^ SIGN;
    i16 => |key| i64::from(key) as u64 ^ SIGN;
    i32 => |key| i64::from(key) as u64 ^ SIGN;
    i64 => |key| key as u64 ^ SIGN;
    isize => |key| key as u64 ^ SIGN;
    bool => u64::from;
    char => u64::from;
}

macro_rules! bytes {
    ($([$($parameter:tt)*] $type:ty, $key:ident => $bytes:expr;)+) => {
        $(impl<$($parameter)*> OrderedKey for $type {
            #[inline]
            fn head(&self, skip: u32) -> u64 {
                let $key = self;
                head_of_bytes($bytes, skip)
            }
            fn shared(&self, higher: &Self) -> u32 {
                let $key = higher;
                let higher: &[u8] = $bytes;
                let $key = self;
                shared_bytes($bytes, higher)
            }
        })+
    };
}

bytes! {
    [] [u8], key => key;
    [] str, key => key.as_bytes();
    [] Vec<u8>, key => key;
    [] String, key => key.as_bytes();
    [const N: usize] [u8; N], key => key;
    [] u128, key => &key.to_be_bytes();
    [] i128, key => &(*key as u128 ^ 1 << 127).to_be_bytes();
}

impl<A: OrderedKey + Clone, B: OrderedKey + Clone> OrderedKey for (A, B) {
    #[inline]
    fn head(&self, _skip: u32) -> u64 {
        self.0.head(0)
    }
}

impl<A, B, C> OrderedKey for (A, B, C)
where
    A: OrderedKey + Clone,
    B: OrderedKey + Clone,
    C: OrderedKey + Clone,
{
    #[inline]
    fn head(&self, _skip: u32) -> u64 {
        self.0.head(0)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    fn heads_sort_as_keys<K: OrderedKey>(keys: &[K]) {
        for (low, high) in keys.iter().zip(&keys[1..]) {
            assert!(low < high);
            let skip = if K::EXACT { 0 } else { low.shared(high) };
            assert!(low.head(skip) <= high.head(skip));
            assert!(low.head(0) <= high.head(0));
            assert!(!K::EXACT || low.head(0) != high.head(0));
        }
    }

    #[test]
    fn heads_sort_as_the_keys_do() {
        heads_sort_as_keys(&[i64::MIN, -1, 0, 1, i64::MAX]);
        heads_sort_as_keys(&[i8::MIN, -1, 0, 1, i8::MAX]);
        heads_sort_as_keys(&[0u64, 1, 1 << 40, u64::MAX]);
        heads_sort_as_keys(&[i128::MIN, -1, 0, 1, 1 << 70, (1 << 70) + 1, i128::MAX]);
        heads_sort_as_keys(&[0u128, 1, 1 << 64, 1 << 65]);
        heads_sort_as_keys(&[false, true]);
        heads_sort_as_keys(&['a', 'b', '\u{10ffff}']);
        heads_sort_as_keys(&["", "a", "aa", "aaaaaaaaab", "aaaaaaaaac", "b"].map(String::from));
        heads_sort_as_keys(&[[0u8; 9], [0, 0, 0, 0, 0, 0, 0, 0, 1], [1; 9]]);
        heads_sort_as_keys(&[(1u32, 5i64), (1, 6), (2, -7)]);
    }
}
