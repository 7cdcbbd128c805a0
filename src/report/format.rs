//! Numbers for people: with units, and with no more digits than mean something.

use crate::bench::{Unit, show_bytes};

/// A latency in the unit that suits it.
#[must_use]
pub fn latency(ns: f64) -> String {
    match ns {
        ns if ns < 999.5 => format!("{ns:.0} ns"),
        ns if ns < 999_500.0 => format!("{} µs", three_digits(ns / 1e3)),
        ns if ns < 999_500_000.0 => format!("{} ms", three_digits(ns / 1e6)),
        ns => format!("{} s", three_digits(ns / 1e9)),
    }
}

/// A whole number in groups of three digits.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A rate per second.
#[must_use]
pub fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate < 100.0 => format!("{}/s", three_digits(rate)),
        rate => format!("{}/s", count(rate.round() as u64)),
    }
}

/// A share as a percentage.
#[must_use]
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        0.0 => "0 %".to_owned(),
        percent if percent < 0.001 => "<0.001 %".to_owned(),
        percent if percent < 0.1 => format!("{percent:.3} %"),
        percent if percent < 10.0 => format!("{percent:.2} %"),
        percent => format!("{percent:.1} %"),
    }
}

/// A percentile's name: p50, p99.9.
#[must_use]
pub fn percentile(percentile: f64) -> String {
    format!("p{percentile}")
}

/// A multiple of something.
#[must_use]
pub fn ratio(ratio: f64) -> String {
    if ratio < 0.1 { format!("{ratio:.4}") } else { format!("{ratio:.3}") }
}

/// A probability.
#[must_use]
pub fn probability(p: f64) -> String {
    if p < 0.001 { "<0.001".to_owned() } else { format!("{p:.3}") }
}

/// A number in the form that its unit asks for.
#[must_use]
pub fn value(unit: Unit, number: f64) -> String {
    match unit {
        Unit::PerSecond => rate(number),
        Unit::Nanoseconds => latency(number),
        Unit::Share => percent(number),
        Unit::Bytes => show_bytes(number as u128),
        Unit::Probability => probability(number),
        Unit::Each if number == 0.0 => "0".to_owned(),
        Unit::Each if number < 0.1 => format!("{number:.5}"),
        Unit::Each if number < 9.995 => format!("{number:.3}"),
        Unit::Each => three_digits(number),
        Unit::Count => count(number.round() as u64),
        Unit::Seconds => format!("{number:.2} s"),
        Unit::Ratio | Unit::Multiple | Unit::Word => ratio(number),
    }
}

fn three_digits(number: f64) -> String {
    match number {
        number if number < 9.995 => format!("{number:.2}"),
        number if number < 99.95 => format!("{number:.1}"),
        number => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_units_and_three_digits() {
        assert_eq!(latency(0.0), "0 ns");
        assert_eq!(latency(999.4), "999 ns");
        assert_eq!(latency(1_000.0), "1.00 µs");
        assert_eq!(latency(123_456.0), "123 µs");
        assert_eq!(latency(999_999.0), "1.00 ms");
        assert_eq!(latency(2.5e9), "2.50 s");
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(rate(1.5), "1.50/s");
        assert_eq!(rate(1_234.5), "1,235/s");
        assert_eq!(percent(0.0), "0 %");
        assert_eq!(percent(0.038), "3.80 %");
        assert_eq!(percent(0.5), "50.0 %");
        assert_eq!(percentile(99.9), "p99.9");
        assert_eq!([ratio(1.0349), ratio(0.028_34)], ["1.035", "0.0283"]);
        assert_eq!([probability(0.0156), probability(1e-9)], ["0.016", "<0.001"]);
        assert_eq!(value(Unit::Each, 0.001_234), "0.00123");
        assert_eq!(value(Unit::Bytes, 2048.0), "2.0 KiB");
    }
}
