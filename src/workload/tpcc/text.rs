//! Texts of a fixed size, and the random ones of clause 4.3.2.

use crate::workload::Random;
use rand::{Rng, RngExt};

/// Up to `N` bytes of text with zeros behind them; texts sort as their bytes do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Text<const N: usize>([u8; N]);

impl<const N: usize> Text<N> {
    /// The greatest text there is: a bound for ranges.
    pub(super) const MAX: Self = Text([u8::MAX; N]);
    /// No text.
    pub(super) const EMPTY: Self = Text([0; N]);

    /// The text with these bytes, cut at `N`.
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut text = [0; N];
        let len = bytes.len().min(N);
        text[..len].copy_from_slice(&bytes[..len]);
        Text(text)
    }

    /// All `N` bytes.
    pub(super) fn padded(&self) -> &[u8; N] {
        &self.0
    }

    /// The bytes before the zeros.
    pub(super) fn as_bytes(&self) -> &[u8] {
        let len = self.0.iter().position(|byte| *byte == 0).unwrap_or(N);
        &self.0[..len]
    }

    /// An "a-string": `min` to `N` random letters and digits.
    pub(super) fn letters(random: &mut Random, min: usize) -> Self {
        let mut text = [0; N];
        let len = random.random_range(min..=N);
        fill(random, &mut text[..len], ALPHANUMERIC);
        Text(text)
    }

    /// As [`Text::letters`], but a text below `N` bytes.
    pub(super) fn letters_up_to(random: &mut Random, min: usize, max: usize) -> Self {
        let mut text = [0; N];
        let len = random.random_range(min..=max);
        fill(random, &mut text[..len], ALPHANUMERIC);
        Text(text)
    }

    /// An "n-string": `N` random digits.
    pub(super) fn digits(random: &mut Random) -> Self {
        let mut text = [0; N];
        fill(random, &mut text, DIGITS);
        Text(text)
    }

    /// As [`Text::letters`], with the word ORIGINAL somewhere in it (clause 4.3.3.1).
    pub(super) fn original(random: &mut Random, min: usize) -> Self {
        let mut text = Self::letters(random, min);
        let start = random.random_range(0..=text.as_bytes().len() - ORIGINAL.len());
        text.0[start..start + ORIGINAL.len()].copy_from_slice(ORIGINAL);
        text
    }

    /// Whether the word ORIGINAL is in it.
    pub(super) fn is_original(&self) -> bool {
        self.0.windows(ORIGINAL.len()).any(|window| window == ORIGINAL)
    }
}

impl<const N: usize> std::fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(self.as_bytes()))
    }
}

const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const DIGITS: &[u8; 10] = b"0123456789";
const ORIGINAL: &[u8; 8] = b"ORIGINAL";

/// Fills `out` with characters of `alphabet`, four from each draw of 64 bits. Sixteen bits for one
/// character make some characters likelier than others by less than a thousandth.
fn fill(random: &mut Random, out: &mut [u8], alphabet: &[u8]) {
    for chunk in out.chunks_mut(4) {
        let mut bits = random.next_u64();
        for byte in chunk {
            *byte = alphabet[((bits & 0xFFFF) as usize * alphabet.len()) >> 16];
            bits >>= 16;
        }
    }
}

/// Appends an "a-string" of `min` to `max` characters.
pub(super) fn append_letters(random: &mut Random, min: usize, max: usize, out: &mut Vec<u8>) {
    let (start, len) = (out.len(), random.random_range(min..=max));
    out.resize(start + len, 0);
    fill(random, &mut out[start..], ALPHANUMERIC);
}

/// A zip code: four random digits and 11111 (clause 4.3.2.7).
pub(super) fn zip_code(random: &mut Random) -> Text<9> {
    let mut zip = Text(*b"000011111");
    fill(random, &mut zip.0[..4], DIGITS);
    zip
}

/// The syllables of customers' last names (clause 4.3.2.3).
const SYLLABLES: [&[u8]; 10] =
    [b"BAR", b"OUGHT", b"ABLE", b"PRI", b"PRES", b"ESE", b"ANTI", b"CALLY", b"ATION", b"EING"];

/// The last name of a number from 0 to 999: one syllable for each digit.
pub(super) fn last_name(number: u32) -> Text<16> {
    debug_assert!(number < 1000, "last names have three syllables");
    let mut name = Vec::with_capacity(16);
    for digit in [number / 100, number / 10 % 10, number % 10] {
        name.extend_from_slice(SYLLABLES[digit as usize]);
    }
    Text::of(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Purpose, Seed};

    fn random() -> Random {
        Seed::new(1).stream(Purpose::Load, 1)
    }

    #[test]
    fn last_names_are_those_of_the_standard() {
        // The standard's own example: 371 is PRI + CALLY + OUGHT.
        assert_eq!(last_name(371).as_bytes(), b"PRICALLYOUGHT");
        assert_eq!(last_name(40).as_bytes(), b"BARPRESBAR");
        assert_eq!(last_name(0).as_bytes(), b"BARBARBAR");
        let mut names: Vec<_> = (0..1000).map(last_name).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 1000);
        assert!(names.iter().all(|name| name.as_bytes().len() <= 16));
    }

    #[test]
    fn texts_have_the_lengths_and_the_characters_asked_for() {
        let mut random = random();
        let mut lengths = [0; 17];
        let mut seen = [0u32; 256];
        for _ in 0..20_000 {
            let text = Text::<16>::letters(&mut random, 8);
            lengths[text.as_bytes().len()] += 1;
            text.as_bytes().iter().for_each(|byte| seen[usize::from(*byte)] += 1);
        }
        assert!(lengths[..8].iter().all(|count| *count == 0));
        assert!(lengths[8..].iter().all(|count| (1_900..2_600).contains(count)), "{lengths:?}");
        let expected = 20_000.0 * 12.0 / 62.0;
        for (byte, count) in seen.iter().enumerate() {
            if ALPHANUMERIC.contains(&(byte as u8)) {
                assert!((f64::from(*count) - expected).abs() < 400.0, "{byte}: {count}");
            } else {
                assert_eq!(*count, 0, "{byte}");
            }
        }
        let mut data = b"before".to_vec();
        append_letters(&mut random, 300, 500, &mut data);
        assert!((306..=506).contains(&data.len()) && data.starts_with(b"before"));
    }

    #[test]
    fn zip_codes_end_in_ones_and_originals_are_original() {
        let mut random = random();
        let mut starts = std::collections::HashSet::new();
        for _ in 0..1_000 {
            let zip = zip_code(&mut random);
            assert!(zip.as_bytes().ends_with(b"11111") && zip.as_bytes().len() == 9);
            assert!(zip.as_bytes().iter().all(u8::is_ascii_digit));
            let original = Text::<50>::original(&mut random, 26);
            assert!(original.is_original() && (26..=50).contains(&original.as_bytes().len()));
            starts.insert(original.as_bytes().windows(8).position(|window| window == ORIGINAL));
            assert!(!Text::<50>::letters(&mut random, 26).is_original());
        }
        assert!(starts.len() > 30, "the word begins anywhere: {starts:?}");
    }
}
