//! From flags and properties to a workload and a plan.

use super::Failure;
use super::arguments::WorkloadArguments;
use crate::bench::{CLIENT_ROWS, ClientProperties, Limit};
use crate::workload::generator::fnv_fingerprint;
use crate::workload::{
    Properties, PropertyError, PropertyRow, Seed, Workload, WorkloadVisitor, dispatch, presets,
};
use std::time::Duration;

/// The workload of a run that names none.
const DEFAULT_WORKLOAD: &str = "ycsb-a";
/// How long a run measures when nothing says otherwise.
pub(super) const DEFAULT_DURATION: Duration = Duration::from_secs(5);
/// The warm-up of a run that is long enough for it.
const DEFAULT_WARMUP: Duration = Duration::from_secs(1);
/// Goes up when the same seed and properties begin to give other requests.
const GENERATOR_VERSION: u32 = 1;

impl WorkloadArguments {
    /// The properties of the preset, the files and the flags, in this order.
    pub(super) fn gather(&self) -> Result<Properties, PropertyError> {
        let mut properties = match self.preset_name() {
            None => Properties::new(),
            Some(name) => {
                let preset = presets().find(|preset| preset.name == name);
                preset.ok_or_else(|| unknown_preset(name))?.properties()?
            }
        };
        for file in &self.files {
            properties.read_file(file)?;
        }
        for argument in &self.properties {
            properties.read_argument(argument)?;
        }
        Ok(properties)
    }

    fn preset_name(&self) -> Option<&str> {
        match &self.workload {
            None if self.files.is_empty() => Some(DEFAULT_WORKLOAD),
            name => name.as_deref(),
        }
    }

    /// The workload as the user named it.
    pub(super) fn shown_name(&self) -> String {
        let files = self.files.iter().map(|file| file.display().to_string());
        let parts: Vec<String> =
            self.preset_name().map(str::to_owned).into_iter().chain(files).collect();
        parts.join(" + ")
    }

    /// The flags by which a replay chooses the same workload.
    pub(super) fn replay_flags(&self) -> Vec<String> {
        let mut flags = Vec::new();
        let mut add = |flag: &str, value: String| flags.extend([flag.to_owned(), value]);
        if let Some(name) = self.preset_name() {
            add("-w", name.to_owned());
        }
        self.files.iter().for_each(|file| add("-P", file.display().to_string()));
        self.properties.iter().for_each(|property| add("-p", property.clone()));
        flags
    }

    pub(super) fn seed(&self) -> Seed {
        Seed::new(self.seed.unwrap_or_else(rand::random))
    }

    pub(super) fn threads(&self, client: &ClientProperties) -> usize {
        let all = || std::thread::available_parallelism().map_or(1, usize::from);
        let from_file = client.threads.map(|threads| threads as usize);
        self.threads.or(from_file).unwrap_or_else(all)
    }
}

fn unknown_preset(name: &str) -> PropertyError {
    let known: Vec<&str> = presets().map(|preset| preset.name).collect();
    let known = known.join(", ");
    PropertyError::new(format!(
        "-w {name}: choose one of {known}; a property file is given with -P"
    ))
}

/// Hands the configured workload to `visitor`, with the client's properties checked beside it.
pub(super) fn with_workload<V>(properties: &Properties, visitor: V) -> Result<(), Failure>
where
    V: WorkloadVisitor<Output = Result<(), Failure>>,
{
    dispatch(properties, CLIENT_ROWS, visitor)?
}

/// A hash of everything that decides the requests.
pub(super) fn fingerprint<W: Workload>(properties: &Properties, seed: Seed) -> u64 {
    let rows = W::PROPERTIES.iter().map(|row: &PropertyRow| (row.name, row.default));
    let rows = rows.chain([("operationcount", "0")]);
    let mut text = format!("version={GENERATOR_VERSION}\nseed={seed}\n");
    for (name, default) in rows {
        text.push_str(&format!("{name}={}\n", properties.get(name).unwrap_or(default)));
    }
    fnv_fingerprint(text.as_bytes())
}

/// When a run ends, and what to say about settings that do not decide it.
pub(super) struct Ending {
    pub(super) limit: Limit,
    pub(super) warmup: Duration,
    pub(super) notes: Vec<String>,
}

impl Ending {
    /// The flags win over the properties; a property that a flag has made idle is noted.
    pub(super) fn resolve(
        duration: Option<Duration>,
        transactions: Option<u64>,
        warmup: Option<Duration>,
        client: &ClientProperties,
        operations_per_transaction: u64,
    ) -> Ending {
        let mut notes = Vec::new();
        let mut limit = Limit { duration, transactions };
        let flag = if duration.is_some() { "-d" } else { "-n" };
        match client.operations {
            Some(operations) if limit != Limit::default() => notes
                .push(format!("operationcount={operations} does not end this run: {flag} does")),
            Some(operations) => {
                limit.transactions = Some(operations.div_ceil(operations_per_transaction));
                notes.push(format!("the run ends after operationcount={operations} operations"));
            }
            None => {}
        }
        match (client.duration, duration) {
            (Some(idle), Some(_)) => notes.push(format!(
                "maxexecutiontime={} does not end this run: -d does",
                idle.as_secs()
            )),
            (Some(set), None) => limit.duration = Some(set),
            (None, _) => {}
        }
        if limit == Limit::default() {
            limit.duration = Some(DEFAULT_DURATION);
        }
        let by_default = match (limit.duration, limit.transactions) {
            (Some(duration), None) => DEFAULT_WARMUP.min(duration / 4),
            _ => Duration::ZERO,
        };
        let warmup = warmup.or(client.warmup).unwrap_or(by_default);
        Ending { limit, warmup, notes }
    }
}

/// A word of a command line, quoted where a shell would take it apart.
pub(super) fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./,:+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(text: &str) -> ClientProperties {
        let mut properties = Properties::new();
        properties.read_bytes(text.as_bytes(), "test").expect("valid");
        ClientProperties::read(&properties).expect("valid")
    }

    #[test]
    fn flags_win_over_properties_and_nothing_is_silent() {
        let ten = Some(Duration::from_secs(10));
        let by_flag = Ending::resolve(ten, None, None, &client("operationcount=1000"), 1);
        assert_eq!(by_flag.limit, Limit { duration: ten, transactions: None });
        assert_eq!(by_flag.warmup, DEFAULT_WARMUP);
        assert_eq!(by_flag.notes.len(), 1);

        let by_file = Ending::resolve(None, None, None, &client("operationcount=1001"), 10);
        assert_eq!(by_file.limit, Limit { duration: None, transactions: Some(101) });
        assert_eq!(by_file.warmup, Duration::ZERO);

        let text = "operationcount=5\nmaxexecutiontime=3\nwarmuptime=2";
        let both = Ending::resolve(None, None, None, &client(text), 1);
        let three = Some(Duration::from_secs(3));
        assert_eq!(both.limit, Limit { duration: three, transactions: Some(5) });
        assert_eq!(both.warmup, Duration::from_secs(2));

        let nothing = Ending::resolve(None, None, None, &client(""), 1);
        assert_eq!(nothing.limit.duration, Some(DEFAULT_DURATION));
    }

    #[test]
    fn replay_words_survive_a_shell() {
        assert_eq!(shell_word("recordcount=10"), "recordcount=10");
        assert_eq!(shell_word("a b"), "'a b'");
        assert_eq!(shell_word("it's"), r"'it'\''s'");
        assert_eq!(shell_word(""), "''");
    }
}
