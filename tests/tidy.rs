//! House style as a test: layers, the atomics door, explained orderings, sizes.

use std::path::{Path, PathBuf};

/// The layers from the bottom up: code may use its own layer and those before it.
const LAYERS: &[&[&str]] = &[
    &["sync"],
    &["limits", "error"],
    &["clock"],
    &["reclaim"],
    &["storage", "shard"],
    &["protocol"],
    &["commit"],
    &["store"],
    &["workload"],
    &["bench"],
    &["report"],
    &["cli"],
];

const WIDTH_MAX: usize = 100;
const FILE_CODE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
/// An ordering's reason stands at most this many lines above it.
const REASON_DISTANCE: usize = 10;

struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// The layer of a file under `src`: the first part of its path.
    fn layer(&self) -> Option<String> {
        let path = self.path.strip_prefix("src").ok()?;
        let first = path.components().next()?.as_os_str().to_str()?;
        Some(first.trim_end_matches(".rs").to_string())
    }

    /// Whether it is a test module in a file of its own.
    fn is_of_tests(&self) -> bool {
        self.path.file_stem().is_some_and(|name| name == "tests" || name == "models")
    }

    /// The lines of the code that ships: without the test modules at the end of the file.
    fn shipped(&self) -> impl Iterator<Item = (usize, &str)> {
        let pairs = self.text.lines().zip(self.text.lines().skip(1));
        let is_of_tests = |(line, next): (&str, &str)| {
            let in_tests = line.starts_with("#[cfg(test)]") || line.starts_with("#[cfg(all(test");
            in_tests && next.starts_with("mod ") && next.ends_with('{')
        };
        let end = pairs.into_iter().position(is_of_tests).unwrap_or(usize::MAX);
        self.text.lines().enumerate().take(end).map(|(at, line)| (at + 1, line))
    }
}

fn sources(root: &str) -> Vec<Source> {
    fn walk(dir: &Path, into: &mut Vec<Source>) {
        for entry in std::fs::read_dir(dir).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    walk(&path, into);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("a readable file");
                into.push(Source { path, text });
            }
        }
    }
    let mut into = Vec::new();
    walk(Path::new(root), &mut into);
    assert!(!into.is_empty(), "the test runs in the package's folder");
    into
}

fn rank(layer: &str) -> Option<usize> {
    LAYERS.iter().position(|names| names.contains(&layer))
}

fn report(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// The layers that a line refers to by `crate::`.
fn uses(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

fn upward_uses(source: &Source) -> Vec<String> {
    let Some(own) = source.layer().as_deref().and_then(rank) else { return Vec::new() };
    let mut complaints = Vec::new();
    for (at, line) in source.shipped().filter(|(_, line)| !is_comment(line)) {
        for used in uses(line) {
            if rank(used).is_some_and(|used| used > own) {
                complaints
                    .push(format!("{}:{at}: uses the layer `{used}` above it", source.name()));
            }
        }
    }
    complaints
}

#[test]
fn arrows_point_down() {
    let sources = sources("src");
    let shipped = sources.iter().filter(|source| !source.is_of_tests());
    report(shipped.flat_map(upward_uses).collect());
    for source in &sources {
        let layer = source.layer().expect("under src");
        let known = rank(&layer).is_some() || ["lib", "main"].contains(&layer.as_str());
        assert!(known, "{}: the layer `{layer}` is not in the list", source.name());
    }
}

#[test]
fn a_planted_upward_arrow_is_noticed() {
    let planted = Source {
        path: "src/storage/planted.rs".into(),
        text: "use crate::sync::Tally;\nuse crate::store::Store;\n".into(),
    };
    assert_eq!(upward_uses(&planted).len(), 1);
}

#[test]
fn atomics_come_through_the_door() {
    let mut complaints = Vec::new();
    for source in sources("src").iter().filter(|source| source.layer().as_deref() != Some("sync")) {
        for (at, line) in source.shipped().filter(|(_, line)| !is_comment(line)) {
            if line.contains("std::sync::atomic") || line.contains("core::sync::atomic") {
                complaints.push(format!("{}:{at}: atomics come from crate::sync", source.name()));
            }
        }
    }
    report(complaints);
}

fn unexplained_orderings(source: &Source) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut complaints = Vec::new();
    for (at, line) in source.shipped().filter(|(_, line)| !is_comment(line)) {
        let Some((_, rest)) = line.split_once("Ordering::") else { continue };
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric()).collect();
        // Not `std::cmp::Ordering`, and not an import.
        if !["Relaxed", "Acquire", "Release", "AcqRel", "SeqCst"].contains(&name.as_str()) {
            continue;
        }
        let above = &lines[(at - 1).saturating_sub(REASON_DISTANCE)..at];
        if !above.iter().any(|line| line.contains("//") && line.contains(&name)) {
            complaints
                .push(format!("{}:{at}: say why {name}, and with whom it pairs", source.name()));
        }
    }
    complaints
}

#[test]
fn every_ordering_says_why() {
    let sources = sources("src");
    let shipped = sources.iter().filter(|source| !source.is_of_tests());
    report(shipped.flat_map(unexplained_orderings).collect());
}

#[test]
fn an_unexplained_ordering_is_noticed() {
    let planted = Source {
        path: "src/storage/planted.rs".into(),
        text: "fn f(a: &AtomicU64) {\n    a.load(Ordering::Relaxed);\n}\n".into(),
    };
    assert_eq!(unexplained_orderings(&planted).len(), 1);
}

/// Where each function begins and how many lines of code it has.
fn functions(source: &Source) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = source.text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let head = line.trim_start();
        let is_function = !is_comment(line) && (head.starts_with("fn ") || head.contains(" fn "));
        if !is_function || head.ends_with(';') {
            continue;
        }
        // rustfmt closes a function at the indentation that it began at.
        let indent = line.len() - head.len();
        let closing = format!("{}}}", " ".repeat(indent));
        let Some(end) = lines[start..].iter().position(|line| *line == closing) else { continue };
        let code = lines[start..=start + end].iter();
        found.push((start + 1, code.filter(|l| !is_comment(l) && !l.trim().is_empty()).count()));
    }
    found
}

#[test]
fn files_and_functions_fit() {
    let mut complaints = Vec::new();
    for source in ["src", "tests", "benches", "examples"].iter().flat_map(|root| sources(root)) {
        let code = source.shipped().filter(|(_, l)| !is_comment(l) && !l.trim().is_empty()).count();
        if code > FILE_CODE_LINES_MAX {
            complaints.push(format!("{}: {code} lines of code", source.name()));
        }
        for (at, len) in functions(&source) {
            if len > FUNCTION_LINES_MAX {
                complaints.push(format!("{}:{at}: a function of {len} lines", source.name()));
            }
        }
        for (at, line) in source.text.lines().enumerate() {
            if line.chars().count() > WIDTH_MAX {
                complaints.push(format!("{}:{}: wider than {WIDTH_MAX}", source.name(), at + 1));
            }
        }
    }
    report(complaints);
}

#[test]
fn nothing_is_left_open() {
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")];
    let mut complaints = Vec::new();
    for source in ["src", "tests", "benches", "examples"].iter().flat_map(|root| sources(root)) {
        for (at, line) in source.text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                complaints.push(format!("{}:{}: finish it or file it", source.name(), at + 1));
            }
        }
    }
    report(complaints);
}

/// Whether `line` contains `word` and not as a part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(part) && !line[at + word.len()..].starts_with(part))
}

/// The registry's rows: each protocol's type, and the module that `pub use` takes it from.
fn registered(registry: &Source) -> Vec<(String, String)> {
    let rows = registry.text.lines().skip_while(|line| !line.starts_with("registry! {")).skip(1);
    let rows = rows.take_while(|line| *line != "}").map(|row| row.trim().trim_end_matches(','));
    rows.map(|row| {
        let ends = format!("::{row};");
        let used = registry.text.lines().find_map(|line| {
            line.strip_prefix("pub use ").and_then(|used| used.strip_suffix(ends.as_str()))
        });
        let module = used.unwrap_or_else(|| panic!("{row}: no `pub use` line of its own"));
        (row.to_string(), module.to_string())
    })
    .collect()
}

/// What is missing about the papers: at the type's own text whose it is (or that there is none),
/// and in its file where it departs from it.
fn missing_papers(source: &Source, row: &str) -> Vec<String> {
    let lines: Vec<&str> = source.text.lines().collect();
    let is_type = |line: &&str| {
        line.starts_with(&format!("pub struct {row}"))
            || line.starts_with(&format!("pub type {row}"))
    };
    let at = lines.iter().position(is_type).unwrap_or(0);
    let above = lines[..at].iter().rev();
    let doc: Vec<&str> = above
        .take_while(|line| line.starts_with("///") || line.starts_with("#["))
        .copied()
        .collect();
    let is_year =
        |word: &str| word.len() == 4 && (word.starts_with("19") || word.starts_with("20"));
    let mut words = doc.iter().flat_map(|line| line.split(|c: char| !c.is_ascii_digit()));
    let cites = words.any(is_year) || doc.iter().any(|line| line.contains("no paper"));
    let departs = lines.contains(&"//! # Departures");
    [(cites, "no paper and year at the type"), (departs, "no section `Departures`")]
        .into_iter()
        .filter(|(there, _)| !there)
        .map(|(_, what)| format!("{}: {row}: {what}", source.name()))
        .collect()
}

#[test]
fn every_protocol_names_its_paper_and_its_departures() {
    let all = sources("src/protocol");
    let of = |name: &str| all.iter().find(|s| s.path.ends_with(name)).expect("a file of its own");
    let rows = registered(of("src/protocol/mod.rs"));
    let missing = |(row, module): &(String, String)| {
        missing_papers(of(&format!("src/protocol/{module}.rs")), row)
    };
    report(rows.iter().flat_map(missing).collect());
}

#[test]
fn a_missing_paper_is_noticed() {
    for (text, count) in [
        ("//! # Departures\n/// After nobody.\npub struct Planted;\n", 1),
        ("/// After somebody (VLDB 2012).\n#[derive(Debug)]\npub struct Planted;\n", 1),
        ("//! # Departures\n/// There is no paper.\npub type Planted = Other;\n", 0),
    ] {
        let planted = Source { path: "src/protocol/planted.rs".into(), text: text.into() };
        assert_eq!(missing_papers(&planted, "Planted").len(), count, "{text}");
    }
}

/// Adding a protocol needs its file, its `mod` line (with its `pub use`) and its row: nothing else
/// in the registry's file may name it.
fn other_lines_of_the_registry(registry: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for (row, module) in registered(registry) {
        let own =
            [format!("mod {module};"), format!("pub use {module}::{row};"), format!("{row},")];
        for (at, line) in registry.shipped().filter(|(_, line)| !is_comment(line)) {
            let names = has_word(line, &row) || has_word(line, &module);
            if names && !own.iter().any(|own| line.trim() == own) {
                complaints.push(format!("{}:{at}: names {row}", registry.name()));
            }
        }
    }
    complaints
}

/// Nor may any other file: by its type or by its name in quotes. The default, which is the first,
/// is named as such.
fn protocols_named(source: &Source, protocols: &[(String, &str)]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (at, line) in source.shipped().filter(|(_, line)| !is_comment(line)) {
        for (row, name) in &protocols[1..] {
            if has_word(line, row) || line.contains(&format!("\"{name}\"")) {
                complaints.push(format!("{}:{at}: names the protocol {name}", source.name()));
            }
        }
    }
    complaints
}

#[test]
fn only_its_file_and_the_registry_name_a_protocol() {
    let mut all: Vec<Source> =
        ["src", "tests", "examples"].iter().flat_map(|root| sources(root)).collect();
    let registry = all.iter().position(|source| source.path.ends_with("src/protocol/mod.rs"));
    let registry = all.swap_remove(registry.expect("the registry"));
    let names = chronolith::protocol::NAMES;
    let protocols: Vec<(String, &str)> =
        registered(&registry).into_iter().map(|(row, _)| row).zip(names.iter().copied()).collect();
    assert_eq!(protocols.len(), names.len());
    let mut complaints = other_lines_of_the_registry(&registry);
    for source in all.iter().filter(|source| source.layer().as_deref() != Some("protocol")) {
        complaints.extend(protocols_named(source, &protocols));
    }
    report(complaints);
}

#[test]
fn a_protocol_that_is_named_elsewhere_is_noticed() {
    let protocols = [("First".to_string(), "first"), ("Other".to_string(), "other")];
    for (text, count) in [
        ("use crate::protocol::Other;\n", 1),
        ("if name == \"other\" {}\n", 1),
        ("// Other\nlet another = First; // no other\n", 0),
    ] {
        let planted = Source { path: "src/store/planted.rs".into(), text: text.into() };
        assert_eq!(protocols_named(&planted, &protocols).len(), count, "{text}");
    }
    let registry = Source {
        path: "src/protocol/mod.rs".into(),
        text:
            "mod first;\npub use first::First;\nregistry! {\n    First,\n}\nfn f() { first::g() }\n"
                .into(),
    };
    assert_eq!(other_lines_of_the_registry(&registry).len(), 1);
}
