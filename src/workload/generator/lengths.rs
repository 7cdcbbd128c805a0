//! How long a field or a scan is.

use super::Random;
use super::Zipfian;
use rand::RngExt;
use std::path::Path;

/// The lengths of fields, in bytes, or of scans, in records.
#[derive(Debug, Clone)]
pub enum Lengths {
    /// Every one has this length.
    Constant(u64),
    /// Uniform from the first to the second, both included.
    Uniform(u64, u64),
    /// YCSB's zipfian from the first to the second, both included: the shortest are the most
    /// frequent.
    Zipfian(u64, u64, Zipfian),
    /// By the counts of a file.
    Histogram(LengthHistogram),
}

impl Lengths {
    /// YCSB's zipfian from `min` to `max`; costs one power function for each length between.
    #[must_use]
    pub fn zipfian(min: u64, max: u64) -> Self {
        Lengths::Zipfian(min, max, Zipfian::new(max - min + 1))
    }

    /// The next length.
    #[inline]
    pub fn draw(&self, random: &mut Random) -> u64 {
        match self {
            Lengths::Constant(length) => *length,
            Lengths::Uniform(min, max) => random.random_range(*min..=*max),
            // A draw next to 1 may round up to the rank behind the last.
            Lengths::Zipfian(min, max, ranks) => (min + ranks.rank(random.random())).min(*max),
            Lengths::Histogram(histogram) => histogram.draw(random),
        }
    }

    /// The shortest that can be drawn.
    #[must_use]
    pub fn min(&self) -> u64 {
        match self {
            Lengths::Constant(length) => *length,
            Lengths::Uniform(min, _) | Lengths::Zipfian(min, ..) => *min,
            Lengths::Histogram(histogram) => histogram.min(),
        }
    }

    /// The longest that can be drawn.
    #[must_use]
    pub fn max(&self) -> u64 {
        match self {
            Lengths::Constant(length) => *length,
            Lengths::Uniform(_, max) | Lengths::Zipfian(_, max, _) => *max,
            Lengths::Histogram(histogram) => histogram.max(),
        }
    }

    /// The mean length, as far as it is known without drawing (an estimate for the zipfian).
    #[must_use]
    pub fn mean(&self) -> f64 {
        const SAMPLES: u32 = 1_000;
        match self {
            Lengths::Constant(length) => *length as f64,
            Lengths::Uniform(min, max) => (*min as f64 + *max as f64) / 2.0,
            Lengths::Zipfian(min, _, ranks) => {
                let at = |i: u32| ranks.rank((f64::from(i) + 0.5) / f64::from(SAMPLES)) as f64;
                *min as f64 + (0..SAMPLES).map(at).sum::<f64>() / f64::from(SAMPLES)
            }
            Lengths::Histogram(histogram) => histogram.mean(),
        }
    }
}

/// A length histogram in YCSB's file format: `BlockSize<TAB>n`, then `bucket<TAB>count` lines in
/// ascending order of bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LengthHistogram {
    block_size: u64,
    counts: Vec<u64>,
    total: u64,
}

impl LengthHistogram {
    /// Reads the file; an error is one clear sentence.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Self::parse(&text).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut lines = text.lines();
        let block_size = match lines.next().map(|line| line.split('\t').collect::<Vec<_>>()) {
            Some(parts) if parts.len() == 2 && parts[0] == "BlockSize" => parts[1].trim().parse(),
            _ => return Err("line 1 must be \"BlockSize<TAB>bytes\"".into()),
        };
        let block_size = block_size.map_err(|_| "the block size is not a whole number")?;
        let mut counts: Vec<u64> = Vec::new();
        for (index, line) in lines.enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let row = line.split_once('\t');
            let row = row.and_then(|(bucket, count)| {
                Some((bucket.trim().parse::<usize>().ok()?, count.trim().parse::<u32>().ok()?))
            });
            match row {
                Some((bucket, count)) if bucket == counts.len() => counts.push(count.into()),
                _ => {
                    let (line, bucket) = (index + 2, counts.len());
                    return Err(format!("line {line} must be \"{bucket}<TAB>count\""));
                }
            }
        }
        let total = counts.iter().sum();
        if total == 0 {
            return Err("all counts are 0".into());
        }
        Ok(LengthHistogram { block_size, counts, total })
    }

    /// As in YCSB: bucket i stands for (i + 1) blocks, the last one for i blocks.
    fn length_of(&self, bucket: usize) -> u64 {
        let last = bucket + 1 == self.counts.len();
        (bucket as u64 + u64::from(!last)) * self.block_size
    }

    fn draw(&self, random: &mut Random) -> u64 {
        let mut number = random.random_range(0..self.total);
        for (bucket, count) in self.counts.iter().enumerate() {
            // YCSB goes on only while the remainder is above 0.
            if number <= *count {
                return self.length_of(bucket);
            }
            number -= count;
        }
        self.length_of(self.counts.len() - 1)
    }

    fn min(&self) -> u64 {
        (0..self.counts.len()).map(|bucket| self.length_of(bucket)).min().unwrap_or(0)
    }

    fn max(&self) -> u64 {
        (0..self.counts.len()).map(|bucket| self.length_of(bucket)).max().unwrap_or(0)
    }

    fn mean(&self) -> f64 {
        let weighted = self.counts.iter().enumerate();
        let sum: f64 = weighted.map(|(i, n)| self.length_of(i) as f64 * *n as f64).sum();
        sum / self.total as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{Purpose, Seed};

    #[test]
    fn a_histogram_file_is_read_or_refused_with_its_line() {
        let histogram = LengthHistogram::parse("BlockSize\t10\n0\t5\n1\t0\n2\t5\n").expect("valid");
        assert_eq!((histogram.min(), histogram.max()), (10, 20));
        let mut random = Seed::new(1).stream(Purpose::Values, 0);
        let lengths = Lengths::Histogram(histogram);
        for _ in 0..100 {
            assert!([10, 20].contains(&lengths.draw(&mut random)));
        }
        for bad in
            ["", "BlockSize\n", "BlockSize\tx\n", "BlockSize\t1\n1\t5\n", "BlockSize\t1\n0\t0"]
        {
            assert!(LengthHistogram::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lengths_stay_in_their_bounds() {
        let mut random = Seed::new(1).stream(Purpose::Values, 0);
        let zipfian = Lengths::zipfian(1, 100);
        assert_eq!(zipfian.max(), 100);
        assert!(zipfian.mean() < 40.0);
        for lengths in [Lengths::Constant(7), Lengths::Uniform(3, 9), zipfian] {
            for _ in 0..1_000 {
                let bounds = lengths.min()..=lengths.max();
                assert!(bounds.contains(&lengths.draw(&mut random)));
            }
        }
    }
}
