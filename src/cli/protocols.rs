//! Which protocols a command is about: the names, and the isolation level.

use super::Failure;
use crate::bench::{ProtocolFacts, RunError, protocol_facts};
use crate::protocol::NAMES;
use crate::workload::{PropertyError, visible};

/// The name that stands for all protocols.
const ALL: &str = "all";

/// Every protocol has one level: asking for another one is asking for another protocol.
pub(super) fn check_isolation(name: &str, asked: Option<&str>) -> Result<(), Failure> {
    let facts = protocol_facts(name).ok_or_else(|| RunError::Protocol(name.to_owned()))?;
    match asked {
        Some(asked) if !has_level(&facts, asked) => Err(fail(format!(
            "--isolation {}: protocol {name} is {} and nothing else; leave the flag out",
            visible(asked),
            facts.level()
        ))),
        _ => Ok(()),
    }
}

/// The protocols of a comparison. Those of `all` that have another level than the one that was
/// asked for are left out; one that was named is refused.
pub(super) fn choose(names: &[String], asked: Option<&str>) -> Result<Vec<String>, Failure> {
    let names: Vec<&str> = names.iter().map(|name| name.trim()).collect();
    if names == [ALL] {
        return of_level(asked);
    }
    if names.contains(&"") {
        let (two, choice) = (NAMES[..2].join(","), NAMES.join(", "));
        return Err(fail(format!(
            "--protocols {}: a name is missing; write it like {two} or all, and choose from \
             {choice}",
            visible(&names.join(","))
        )));
    }
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            return Err(fail(format!("--protocols: {name} is named twice; name it once")));
        }
        if *name != ALL {
            check_isolation(name, asked)?;
        }
    }
    if names.contains(&ALL) {
        return Err(fail(format!(
            "--protocols {}: all stands for every protocol; write it alone, or leave it out",
            names.join(",")
        )));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

fn of_level(asked: Option<&str>) -> Result<Vec<String>, Failure> {
    let Some(asked) = asked else {
        return Ok(NAMES.iter().map(|name| (*name).to_owned()).collect());
    };
    let facts: Vec<ProtocolFacts> = NAMES.iter().filter_map(|name| protocol_facts(name)).collect();
    let kept = facts.iter().filter(|facts| has_level(facts, asked));
    let kept: Vec<String> = kept.map(|facts| facts.name.to_owned()).collect();
    match &kept[..] {
        [] => {
            let mut levels: Vec<String> = Vec::new();
            for level in facts.iter().flat_map(|facts| [facts.isolation.clone(), facts.level()]) {
                if !levels.contains(&level) {
                    levels.push(level);
                }
            }
            let (asked, levels) = (visible(asked), levels.join(", "));
            Err(fail(format!("--isolation {asked}: no protocol has it; choose one of {levels}")))
        }
        [alone] => Err(fail(format!(
            "--isolation {asked}: only {alone} has it, and one protocol cannot be compared; leave \
             the flag out, or use `run`"
        ))),
        _ => Ok(kept),
    }
}

/// A level is meant with or without the word for the strict one, which promises more.
fn has_level(facts: &ProtocolFacts, asked: &str) -> bool {
    asked == facts.isolation || asked == facts.level()
}

fn fail(line: String) -> Failure {
    PropertyError::new(line).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &str, asked: Option<&str>) -> Result<Vec<String>, String> {
        let names: Vec<String> = names.split(',').map(str::to_owned).collect();
        choose(&names, asked).map_err(|failure| failure.line.expect("a line"))
    }

    fn levels(strict: bool) -> Vec<String> {
        let facts = NAMES.iter().filter_map(|name| protocol_facts(name));
        let facts = facts.filter(|facts| facts.isolation == "serializable");
        facts.filter(|facts| facts.strict || !strict).map(|facts| facts.name.to_owned()).collect()
    }

    #[test]
    fn all_protocols_or_those_of_one_level() {
        assert_eq!(chosen("all", None).expect("all"), NAMES);
        assert_eq!(chosen(" all ", None).expect("all"), NAMES);
        let (serializable, strictly) = (levels(false), levels(true));
        assert!(strictly.len() < serializable.len() && serializable.len() < NAMES.len());
        assert_eq!(chosen("all", Some("serializable")), Ok(serializable));
        assert_eq!(chosen("all", Some("strictly serializable")), Ok(strictly));
    }

    #[test]
    fn blanks_are_trimmed() {
        let spaced = NAMES[..3].join(" , ");
        assert_eq!(chosen(&spaced, None).expect("names"), NAMES[..3]);
    }

    #[test]
    fn what_is_wrong_with_the_names_is_one_line() {
        let (first, second) = (NAMES[0], NAMES[1]);
        let level_of = |name: &str| protocol_facts(name).expect("a protocol").isolation;
        let other = NAMES.iter().find(|name| level_of(name) != level_of(first));
        let other = other.expect("not all have the same level");
        for (names, asked, part) in [
            (String::new(), None, "--protocols '': a name is missing".to_owned()),
            (format!("{first},"), None, format!("--protocols {first},: a name is missing")),
            (format!("{first},,{second}"), None, "a name is missing".to_owned()),
            (format!("{first},all"), None, "all stands for every protocol".to_owned()),
            (format!("{first},all,magic"), None, "there is no protocol magic: choose".to_owned()),
            ("all,all".to_owned(), None, "all is named twice".to_owned()),
            (format!("{first},all,{first}"), None, format!("{first} is named twice")),
            (format!("{first},{other}"), Some(level_of(first)), format!("protocol {other} is")),
            ("all".to_owned(), Some(level_of(other)), format!("only {other} has it")),
            ("all".to_owned(), Some("chaos".to_owned()), "choose one of serializable".to_owned()),
            ("all".to_owned(), Some(String::new()), "--isolation '': no protocol".to_owned()),
        ] {
            let line = chosen(&names, asked.as_deref()).expect_err(&names);
            assert!(line.contains(&part) && line.lines().count() == 1, "{line}");
        }
    }
}
