//! The machine and the build that a figure belongs to.

use super::memory::{group_limit, machine_bytes, show_bytes};
use std::fs::read_to_string;

/// One fact about the machine or the build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// Its name.
    pub name: &'static str,
    /// What it is, in words.
    pub value: String,
}

/// Facts about the machine and the build. What the system does not tell is not in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The facts.
    pub facts: Vec<Fact>,
    /// Processors that this process may use.
    pub processors: usize,
}

impl Machine {
    /// Looks at the machine.
    #[must_use]
    pub fn observe() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let mut facts = Vec::new();
        let mut add = |name, value: Option<String>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                facts.push(Fact { name, value });
            }
        };
        let cpuinfo = read_to_string("/proc/cpuinfo").unwrap_or_default();
        add("cpu", cpu_field(&cpuinfo, &["model name", "Hardware", "uarch"]));
        add("processors", Some(format!("{processors} usable")));
        add("topology", topology(&cpuinfo));
        add("caches", caches());
        add("memory", machine_bytes("MemTotal:").map(|bytes| show_bytes(bytes.into())));
        add("memory-available", machine_bytes("MemAvailable:").map(|b| show_bytes(b.into())));
        add("cgroup-memory", group_limit().map(|(limit, _)| show_bytes(limit.into())));
        add("cgroup-cpu", cgroup_cpu());
        add("os", os());
        add("kernel", line("/proc/sys/kernel/osrelease"));
        add("governor", line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"));
        add("turbo", turbo());
        add("smt", line("/sys/devices/system/cpu/smt/control"));
        add("virtualised", hypervisor(&cpuinfo));
        add("transparent-huge-pages", chosen("/sys/kernel/mm/transparent_hugepage/enabled"));
        add(
            "clock-source",
            line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        );
        add("load-average", line("/proc/loadavg").map(|text| first_words(&text, 3)));
        add("perf-event-paranoid", line("/proc/sys/kernel/perf_event_paranoid"));
        build_facts().into_iter().for_each(|(name, value)| add(name, value));
        Machine { facts, processors }
    }

    /// A fact by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.facts.iter().find(|fact| fact.name == name).map(|fact| fact.value.as_str())
    }
}

fn build_facts() -> Vec<(&'static str, Option<String>)> {
    let known = |value: Option<&str>| value.map(str::to_owned);
    let profile = if cfg!(debug_assertions) { "debug (assertions on)" } else { "release" };
    vec![
        ("chronolith", known(Some(env!("CARGO_PKG_VERSION")))),
        // The build script sets these where it can find them out.
        ("revision", known(option_env!("CHRONOLITH_REVISION"))),
        ("rustc", known(option_env!("CHRONOLITH_RUSTC"))),
        ("profile", known(Some(profile))),
        ("target", Some(format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS))),
        ("target-features", Some(target_features())),
        ("allocator", known(Some("system"))),
    ]
}

/// Whether this build is slow because it checks itself.
#[must_use]
pub fn is_debug_build() -> bool {
    cfg!(debug_assertions)
}

fn target_features() -> String {
    let features = [
        ("avx2", cfg!(target_feature = "avx2")),
        ("avx512f", cfg!(target_feature = "avx512f")),
        ("bmi2", cfg!(target_feature = "bmi2")),
        ("lse", cfg!(target_feature = "lse")),
    ];
    let on: Vec<&str> = features.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
    if on.is_empty() { "baseline".to_owned() } else { on.join(", ") }
}

/// The first line of a file.
fn line(path: &str) -> Option<String> {
    let text = read_to_string(path).ok()?;
    text.lines().next().map(|line| line.trim().to_owned())
}

fn first_words(text: &str, count: usize) -> String {
    text.split_whitespace().take(count).collect::<Vec<_>>().join(" ")
}

/// The word in brackets, by which the kernel marks the choice in force.
fn chosen(path: &str) -> Option<String> {
    let text = line(path)?;
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(word, _)| word.to_owned())
}

fn cpu_field(cpuinfo: &str, names: &[&str]) -> Option<String> {
    let fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
    let mut fields = fields.map(|(name, value)| (name.trim(), value.trim()));
    fields.find(|(name, _)| names.contains(name)).map(|(_, value)| value.to_owned())
}

fn topology(cpuinfo: &str) -> Option<String> {
    let distinct = |field: &str| {
        let lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        let mut values: Vec<&str> =
            lines.filter(|(name, _)| name.trim() == field).map(|(_, value)| value.trim()).collect();
        values.sort_unstable();
        values.dedup();
        values.len()
    };
    let threads = distinct("processor");
    if threads == 0 {
        return None;
    }
    let sockets = distinct("physical id").max(1);
    let cores: usize = cpu_field(cpuinfo, &["cpu cores"])
        .and_then(|text| text.parse().ok())
        .map_or(threads, |per_socket: usize| per_socket * sockets);
    let nodes =
        (0..1024).take_while(|node| std::path::Path::new(&node_path(*node)).exists()).count();
    Some(format!("{sockets} socket(s), {cores} core(s), {threads} thread(s), {nodes} NUMA node(s)"))
}

fn node_path(node: usize) -> String {
    format!("/sys/devices/system/node/node{node}")
}

fn caches() -> Option<String> {
    let mut shown = Vec::new();
    for index in 0..8 {
        let cache = format!("/sys/devices/system/cpu/cpu0/cache/index{index}");
        let Some(level) = line(&format!("{cache}/level")) else {
            break;
        };
        let kind = match line(&format!("{cache}/type")).as_deref() {
            Some("Data") => "d",
            Some("Instruction") => "i",
            _ => "",
        };
        let size = line(&format!("{cache}/size")).unwrap_or_default();
        shown.push(format!("L{level}{kind} {size}"));
    }
    Some(shown.join(", "))
}

fn cgroup_cpu() -> Option<String> {
    let text = line("/sys/fs/cgroup/cpu.max")?;
    let (quota, period) = text.split_once(' ')?;
    let (quota, period) = (quota.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    Some(format!("{:.2} processors", quota / period))
}

fn os() -> Option<String> {
    let text = read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    Some(name.map_or(std::env::consts::OS, |name| name.trim_matches('"')).to_owned())
}

fn turbo() -> Option<String> {
    let boost = line("/sys/devices/system/cpu/cpufreq/boost").map(|text| text == "1");
    let no_turbo = line("/sys/devices/system/cpu/intel_pstate/no_turbo").map(|text| text == "0");
    boost.or(no_turbo).map(|on| if on { "on" } else { "off" }.to_owned())
}

fn hypervisor(cpuinfo: &str) -> Option<String> {
    let flags = cpu_field(cpuinfo, &["flags"])?;
    flags.split_whitespace().any(|flag| flag == "hypervisor").then(|| "yes".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_says_something() {
        let machine = Machine::observe();
        assert!(machine.processors >= 1);
        assert!(machine.get("profile").is_some());
        assert_eq!(machine.get("no such fact"), None);
    }

    #[test]
    fn processors_are_counted_from_the_kernels_list() {
        let text =
            "processor : 0\nphysical id : 0\ncpu cores : 2\nprocessor : 1\nphysical id : 0\n";
        let shown = topology(text).expect("processors are listed");
        assert!(shown.starts_with("1 socket(s), 2 core(s), 2 thread(s)"), "{shown}");
    }
}
