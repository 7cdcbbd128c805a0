//! How skewed the requests are, measured from draws of the same generator with the same seed.

use super::deployment::AnyWorkload;
use crate::workload::Seed;

/// Draws in each of the two samples; a debug build draws slowly and its figures mean little.
const DRAWS: usize = if cfg!(debug_assertions) { 50_000 } else { 500_000 };

/// The skew of the requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Skew {
    /// The share of all requests that the hottest key gets.
    pub hottest: f64,
    /// The share of the ten hottest keys.
    pub top_ten: f64,
    /// The share of the hottest hundredth of all keys.
    pub top_percent: f64,
    /// Draws that the shares were measured from.
    pub draws: usize,
}

/// Measures the skew of a workload, outside of any timed window.
///
/// One sample says which keys are the hottest, another how often they are asked for: measured in
/// the sample that chose them, the "hottest" keys of a uniform distribution would look hot.
pub fn measure(workload: &dyn AnyWorkload, seed: Seed, workers: usize) -> Option<Skew> {
    let per_worker = DRAWS.div_ceil(workers);
    let mut streams = Vec::new();
    let mut population = 0;
    for index in 0..workers {
        let (stream, keys) = workload.key_stream(seed, index, workers)?;
        streams.push(stream);
        population = keys;
    }
    let mut sample = || -> Vec<u64> {
        let mut keys = Vec::with_capacity(per_worker * workers);
        for stream in &mut streams {
            keys.extend((0..per_worker).map(|_| stream()));
        }
        keys
    };
    let hot = by_popularity(sample(), population.div_ceil(100).max(10) as usize);
    let draws = sample();
    let share = |top: usize| {
        let mut set = hot[..top.min(hot.len())].to_vec();
        set.sort_unstable();
        let hits = draws.iter().filter(|key| set.binary_search(key).is_ok()).count();
        hits as f64 / draws.len() as f64
    };
    Some(Skew {
        hottest: share(1),
        top_ten: share(10),
        top_percent: share(population.div_ceil(100) as usize),
        draws: draws.len(),
    })
}

/// The `top` most frequent keys, the most frequent first.
fn by_popularity(mut keys: Vec<u64>, top: usize) -> Vec<u64> {
    keys.sort_unstable();
    let mut counted: Vec<(usize, u64)> =
        keys.chunk_by(|a, b| a == b).map(|run| (run.len(), run[0])).collect();
    // Ties by key, so that the same draws always give the same answer.
    counted.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    counted.truncate(top);
    counted.into_iter().map(|(_, key)| key).collect()
}
