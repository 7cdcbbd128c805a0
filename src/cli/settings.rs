//! From flags and properties to a workload and a plan.

use super::arguments::{EngineArguments, MeasureArguments, ThreadCount, WorkloadArguments};
use super::{Failure, contention};
use crate::bench::{
    CLIENT_ROWS, ClientProperties, Limit, PATIENCE, Pinning, Plan, RunError, Throttle,
};
use crate::workload::generator::fnv_fingerprint;
use crate::workload::{
    Properties, PropertyError, PropertyRow, Seed, Workload, WorkloadVisitor, dispatch, presets,
    visible,
};
use std::time::Duration;

/// The workload of a run that names none.
const DEFAULT_WORKLOAD: &str = "ycsb-a";
/// How long a run measures when nothing says otherwise.
pub(super) const DEFAULT_DURATION: Duration = Duration::from_secs(5);
/// The warm-up of a run that is long enough for it.
const DEFAULT_WARMUP: Duration = Duration::from_secs(1);
/// The length of one step of the timeline.
const INTERVAL: Duration = Duration::from_secs(1);
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

    /// The preset, if there is one.
    pub(super) fn preset_name(&self) -> Option<&str> {
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
}

impl EngineArguments {
    pub(super) fn threads(&self, client: &ClientProperties) -> usize {
        let threads = self.threads.map(ThreadCount::resolve);
        threads.unwrap_or_else(|| default_threads(client))
    }
}

/// The threads of a run whose flags name none.
pub(super) fn default_threads(client: &ClientProperties) -> usize {
    client.threads.map_or_else(|| ThreadCount::PerProcessor(1).resolve(), |set| set as usize)
}

impl MeasureArguments {
    /// What is to be done, with one protocol and one number of threads.
    pub(super) fn plan(
        &self,
        (protocol, threads): (&str, usize),
        repetitions: u32,
        seed: Seed,
        client: &ClientProperties,
        ending: &Ending,
    ) -> Result<Plan, Failure> {
        let pinning = Pinning::parse(&self.pin).map_err(RunError::Pinning)?;
        let throttle = |target| Throttle { operations_per_second: target, spin: client.spin };
        let plan = Plan {
            protocol: protocol.to_owned(),
            threads,
            limit: ending.limit,
            warmup: ending.warmup,
            seed,
            shards: self.shards,
            backoff: self.contention.backoff(),
            contention: self.contention.contention(),
            pinning,
            repetitions,
            throttle: client.target.map(throttle),
            latency: client.latency,
            interval: INTERVAL,
            audit_interval: client.audit_interval,
            long_reader: self.long_reader,
            keep_interval_histograms: false,
            patience: PATIENCE,
        };
        plan.check()?;
        Ok(plan)
    }

    /// What a reader should know about how the settings were read: no property is idle in silence.
    pub(super) fn notes(
        &self,
        threads: Option<usize>,
        client: &ClientProperties,
        ending: &Ending,
    ) -> Vec<String> {
        let mut notes = ending.notes.clone();
        if let (Some(flag), Some(idle)) = (threads, client.threads)
            && flag as u64 != idle
        {
            notes.push(format!("threadcount={idle} is not used: -t {flag} is"));
        }
        if let (Some(_), Some(idle)) = (self.warmup, client.warmup) {
            notes.push(format!("warmuptime={} is not used: --warmup is", idle.as_secs()));
        }
        if client.spin && client.target.is_none() {
            notes.push("spin.sleep has no effect: there is no target to wait for".to_owned());
        }
        notes
    }
}

/// The command line that does the same again; `more` are flags of this command alone.
pub(super) fn replay(
    command: &str,
    (workload, measure): (&WorkloadArguments, &MeasureArguments),
    plan: &Plan,
    shards: usize,
    more: &[(&str, String)],
) -> String {
    let mut words = vec!["chronolith".to_owned(), command.to_owned()];
    words.extend(workload.replay_flags());
    let mut add = |flag: &str, value: String| words.extend([flag.to_owned(), value]);
    let time = |duration: Duration| humantime::format_duration(duration).to_string();
    more.iter().for_each(|(flag, value)| add(flag, value.clone()));
    let Limit { duration, transactions } = plan.limit;
    if let Some(duration) = duration {
        add("-d", time(duration).replace(' ', ""));
    }
    if let Some(transactions) = transactions {
        add("-n", transactions.to_string());
    }
    add("--warmup", time(plan.warmup).replace(' ', ""));
    add("--seed", plan.seed.to_string());
    add("--shards", shards.to_string());
    if let Some(level) = &measure.isolation {
        add("--isolation", level.clone());
    }
    if let Some(reader) = plan.long_reader {
        add("--long-reader", reader.to_string());
    }
    contention::replay_flags(plan).for_each(|(flag, value)| add(flag, value.to_owned()));
    add("--pin", plan.pinning.to_string());
    add("--reps", plan.repetitions.to_string());
    words.iter().map(|word| shell_word(word)).collect::<Vec<_>>().join(" ")
}

fn unknown_preset(name: &str) -> PropertyError {
    let known: Vec<&str> = presets().map(|preset| preset.name).collect();
    let known = known.join(", ");
    let name = visible(name);
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
        operations_per_transaction: f64,
        duration_default: Duration,
    ) -> Ending {
        let mut notes = Vec::new();
        let mut limit = Limit { duration, transactions };
        let flag = if duration.is_some() { "-d" } else { "-n" };
        match client.operations {
            Some(operations) if limit != Limit::default() => notes
                .push(format!("operationcount={operations} does not end this run: {flag} does")),
            Some(operations) => {
                let transactions = (operations as f64 / operations_per_transaction).ceil();
                limit.transactions = Some(transactions as u64);
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
            limit.duration = Some(duration_default);
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
fn shell_word(word: &str) -> String {
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
        let resolve = |duration, text: &str, operations| {
            Ending::resolve(duration, None, None, &client(text), operations, DEFAULT_DURATION)
        };
        let by_flag = resolve(ten, "operationcount=1000", 1.0);
        assert_eq!(by_flag.limit, Limit { duration: ten, transactions: None });
        assert_eq!(by_flag.warmup, DEFAULT_WARMUP);
        assert_eq!(by_flag.notes.len(), 1);

        let by_file = resolve(None, "operationcount=1001", 10.0);
        assert_eq!(by_file.limit, Limit { duration: None, transactions: Some(101) });
        assert_eq!(by_file.warmup, Duration::ZERO);

        let text = "operationcount=5\nmaxexecutiontime=3\nwarmuptime=2";
        let both = resolve(None, text, 1.0);
        let three = Some(Duration::from_secs(3));
        assert_eq!(both.limit, Limit { duration: three, transactions: Some(5) });
        assert_eq!(both.warmup, Duration::from_secs(2));

        let nothing = resolve(None, "", 1.0);
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
