//! The table.

use crate::contest::{Contestant, Window};

/// Prints the heading.
pub fn heading() {
    println!(
        "{:<34} {:>7} {:>11} {:>24} {:>8} {:>5} {:>6} {:>7}  target",
        "", "threads", "txn/s", "least .. most", "attempts", "cpu", "ratio", "per cpu"
    );
}

/// Prints a case: the first row, and how it stands to the others.
pub fn print(name: &str, what: &str, contestants: &[Contestant], windows: &[Vec<Window>]) {
    println!("\n{name}: {what}");
    for (row, (contestant, own)) in contestants.iter().zip(windows).enumerate() {
        // Round by round: what slowed the machine down in a round slowed down both.
        let compare = |value: fn(&Window) -> f64| {
            let ratios = windows[0].iter().zip(own);
            median(ratios.map(|(first, this)| value(first) / value(this)))
        };
        let ratio = compare(|window| window.rate);
        let per_cpu = compare(|window| window.rate / window.cpu);
        let verdict = contestant.target.map_or_else(String::new, |least| {
            let verdict = if ratio >= least { "met" } else { "MISSED" };
            format!(">= {least} {verdict}")
        });
        let compared =
            if row == 0 { format!("{:14}", "") } else { format!("{ratio:>6.2} {per_cpu:>7.2}") };
        let rates = || own.iter().map(|window| window.rate);
        let line = format!(
            "  {:<32} {:>7} {:>11} {:>11} ..{:>10} {:>8.3} {:>4.0}% {compared}  {verdict}",
            contestant.name,
            contestant.threads,
            thousands(median(rates())),
            thousands(rates().fold(f64::INFINITY, f64::min)),
            thousands(rates().fold(0.0, f64::max)),
            median(own.iter().map(|window| window.attempts)),
            100.0 * median(own.iter().map(|window| window.cpu)),
        );
        println!("{}", line.trim_end());
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// A count with its thousands apart.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut spaced = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            spaced.push(',');
        }
        spaced.push(digit);
    }
    spaced
}
