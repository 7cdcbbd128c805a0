//! Java property files and `-p name=value`: how a workload is configured.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

/// A property file is text that someone wrote; anything longer is a mistake (a device, a log).
const FILE_LEN_MAX_BYTES: u64 = 1 << 20;

/// A property that cannot be used: which one, where it came from, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyError(String);

impl PropertyError {
    /// An error that is one clear sentence.
    #[must_use]
    pub fn new(sentence: impl Into<String>) -> Self {
        PropertyError(sentence.into())
    }
}

impl fmt::Display for PropertyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PropertyError {}

/// What happens to a property that is known by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// It does what it says.
    Honoured,
    /// These values are true already; any other is refused, with this advice.
    Accepts(&'static [&'static str], &'static str),
    /// It is refused whatever its value, with this advice.
    Refused(&'static str),
}

/// A property that is known by name.
#[derive(Debug, Clone, Copy)]
pub struct PropertyRow {
    /// The property's name.
    pub name: &'static str,
    /// The value it has when it is not set.
    pub default: &'static str,
    /// What it means, in a line.
    pub meaning: &'static str,
    /// Whether it is honoured or refused.
    pub rule: Rule,
}

/// A row of a property table.
pub(crate) const fn row(
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
    rule: Rule,
) -> PropertyRow {
    PropertyRow { name, default, meaning, rule }
}

/// A row of a property that does what it says.
pub(crate) const fn honoured(
    name: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> PropertyRow {
    row(name, default, meaning, Rule::Honoured)
}

/// A row of a property that is refused, and what to do instead.
pub(crate) const fn refused(
    name: &'static str,
    meaning: &'static str,
    advice: &'static str,
) -> PropertyRow {
    row(name, "", meaning, Rule::Refused(advice))
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Setting {
    value: String,
    origin: String,
}

/// Named values from property files and from the command line; later ones win.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties {
    settings: BTreeMap<String, Setting>,
}

impl Properties {
    /// No property is set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the properties of a file.
    pub fn read_file(&mut self, path: &Path) -> Result<(), PropertyError> {
        let shown = path.display().to_string();
        let fail = |error: &dyn fmt::Display| {
            PropertyError(format!("cannot read the property file {shown}: {error}"))
        };
        let file = File::open(path).map_err(|error| fail(&error))?;
        let mut bytes = Vec::new();
        file.take(FILE_LEN_MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| fail(&error))?;
        if bytes.len() as u64 > FILE_LEN_MAX_BYTES {
            return Err(fail(&format_args!("it has more than {FILE_LEN_MAX_BYTES} bytes")));
        }
        self.read_bytes(&bytes, &shown)
    }

    /// Adds the properties of a text in the format of `java.util.Properties`.
    pub fn read_bytes(&mut self, text: &[u8], origin: &str) -> Result<(), PropertyError> {
        let parsed = java_properties::PropertiesIter::new(text)
            .read_into(|name, value| self.set(&name, &value, origin));
        parsed.map_err(|error| {
            let line = error.line_number().map_or(String::new(), |line| format!(", line {line}"));
            PropertyError(format!("cannot read the property file {origin}{line}: {error}"))
        })
    }

    /// Adds one `name=value` of the command line.
    pub fn read_argument(&mut self, argument: &str) -> Result<(), PropertyError> {
        match argument.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                self.set(name.trim(), value, "-p");
                Ok(())
            }
            _ => {
                let shown = visible(argument);
                Err(PropertyError(format!("-p {shown}: write it as -p name=value")))
            }
        }
    }

    /// Sets one property; spaces around the value do not count.
    pub fn set(&mut self, name: &str, value: &str, origin: &str) {
        let setting = Setting { value: value.trim().to_owned(), origin: origin.to_owned() };
        self.settings.insert(name.to_owned(), setting);
    }

    /// Forgets a property.
    pub fn remove(&mut self, name: &str) {
        self.settings.remove(name);
    }

    /// The value of a property, if it is set.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(|setting| setting.value.as_str())
    }

    /// Where the value of a property came from: a file, a preset, `-p`.
    #[must_use]
    pub fn origin(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(|setting| setting.origin.as_str())
    }

    /// All names and values that are set, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(name, setting)| (name.as_str(), setting.value.as_str()))
    }

    /// The value of `name` as a `T`, or `default` when it is not set. `expected` completes the
    /// sentence "must be ...".
    pub fn parse<T: FromStr>(
        &self,
        name: &str,
        default: T,
        expected: &str,
    ) -> Result<T, PropertyError> {
        match self.get(name) {
            None => Ok(default),
            Some(text) => text.parse().map_err(|_| self.must_be(name, expected)),
        }
    }

    /// A whole number from `min` to `max`.
    pub fn whole(
        &self,
        name: &str,
        default: u64,
        min: u64,
        max: u64,
    ) -> Result<u64, PropertyError> {
        let expected = format!("a whole number from {min} to {max}");
        let number = self.parse(name, default, &expected)?;
        if (min..=max).contains(&number) { Ok(number) } else { Err(self.must_be(name, &expected)) }
    }

    /// A number from `min` to `max`; infinities and NaN are none.
    pub fn real(&self, name: &str, default: f64, min: f64, max: f64) -> Result<f64, PropertyError> {
        let expected = match max {
            f64::MAX => format!("a number, {min} or above"),
            max => format!("a number from {min} to {max}"),
        };
        let number: f64 = self.parse(name, default, &expected)?;
        if (min..=max).contains(&number) { Ok(number) } else { Err(self.must_be(name, &expected)) }
    }

    /// `true` or `false`, in any case of letters.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, PropertyError> {
        match self.get(name) {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(_) => Err(self.must_be(name, "true or false")),
        }
    }

    /// One of several words.
    pub fn word<'a>(
        &'a self,
        name: &str,
        default: &'static str,
        words: &[&'static str],
    ) -> Result<&'a str, PropertyError> {
        let word = self.get(name).unwrap_or(default);
        if words.contains(&word) {
            return Ok(word);
        }
        Err(self.must_be(name, &format!("one of {}", words.join(", "))))
    }

    /// The error for a value that does not fit.
    #[must_use]
    pub fn must_be(&self, name: &str, expected: &str) -> PropertyError {
        let (value, origin) = match self.settings.get(name) {
            Some(setting) => (setting.value.as_str(), setting.origin.as_str()),
            None => ("", "not set"),
        };
        PropertyError(format!("{name}={value} ({origin}): it must be {expected}"))
    }

    /// Holds every property that is set against the rows that are known: an unknown name is refused
    /// with the nearest known one, a refused one with its advice. None is silently ignored.
    pub fn check(&self, rows: &[PropertyRow]) -> Result<(), PropertyError> {
        for (name, Setting { value, origin }) in &self.settings {
            let Some(row) = rows.iter().find(|row| row.name == name) else {
                return Err(unknown(name, origin, rows));
            };
            let advice = match row.rule {
                Rule::Honoured => continue,
                Rule::Accepts(values, advice) => {
                    if values.iter().any(|accepted| accepted.eq_ignore_ascii_case(value)) {
                        continue;
                    }
                    advice
                }
                Rule::Refused(advice) => advice,
            };
            let sentence = format!("{name}={value} ({origin}) is not supported: {advice}");
            return Err(PropertyError(sentence));
        }
        Ok(())
    }
}

fn unknown(name: &str, origin: &str, rows: &[PropertyRow]) -> PropertyError {
    const SIMILAR_MIN: f64 = 0.8;
    let likeness = |row: &&PropertyRow| (strsim::jaro_winkler(name, row.name) * 1e6) as u64;
    let nearest = rows.iter().max_by_key(likeness);
    let hint = match nearest.filter(|row| likeness(row) as f64 >= SIMILAR_MIN * 1e6) {
        Some(row) => format!("did you mean {}?", row.name),
        None => "`chronolith list properties` shows the known ones".to_owned(),
    };
    PropertyError(format!("unknown property {name} ({origin}): {hint}"))
}

/// A word of the user's in a line that complains about it: an empty one has to be seen.
pub(crate) fn visible(word: &str) -> &str {
    if word.is_empty() { "''" } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &[PropertyRow] = &[
        PropertyRow { name: "recordcount", default: "0", meaning: "", rule: Rule::Honoured },
        PropertyRow { name: "db", default: "", meaning: "", rule: Rule::Refused("leave it out") },
        PropertyRow {
            name: "batch.size",
            default: "1",
            meaning: "",
            rule: Rule::Accepts(&["1"], "use opspertransaction"),
        },
    ];

    fn parsed(text: &str) -> Properties {
        let mut properties = Properties::new();
        properties.read_bytes(text.as_bytes(), "test").expect("a valid text");
        properties
    }

    #[test]
    fn the_java_syntax_is_understood() {
        let properties = parsed(
            "# a comment\n! another\n a = 1 \nb:2\nc 3\nlong=one\\\n   two\n\
             esc\\=aped=\\u0041\\t\n\n",
        );
        let all: Vec<_> = properties.iter().collect();
        assert_eq!(
            all,
            [("a", "1"), ("b", "2"), ("c", "3"), ("esc=aped", "A"), ("long", "onetwo")]
        );
    }

    #[test]
    fn later_settings_win() {
        let mut properties = parsed("recordcount=1\nrecordcount=2\n");
        assert_eq!(properties.get("recordcount"), Some("2"));
        properties.read_argument("recordcount=3").expect("valid");
        assert_eq!(properties.whole("recordcount", 0, 0, 10), Ok(3));
        assert!(properties.read_argument("recordcount").is_err());
        assert!(properties.read_argument("=3").is_err());
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let properties = parsed("n=-1\nx=NaN\ny=inf\nf=yes\nbig=99999999999999999999\nhuge=1e400");
        assert!(properties.whole("n", 0, 0, 10).is_err());
        assert!(properties.real("x", 0.0, 0.0, 1.0).is_err());
        assert!(properties.real("y", 0.0, 0.0, f64::MAX).is_err());
        assert!(properties.flag("f", false).is_err());
        assert!(properties.whole("big", 0, 0, u64::MAX).is_err());
        assert!(properties.real("huge", 0.0, 0.0, f64::MAX).is_err());
        assert!(properties.word("f", "a", &["a", "b"]).is_err());
        assert_eq!(properties.word("not-set", "a", &["a", "b"]), Ok("a"));
    }

    #[test]
    fn no_property_is_silently_ignored() {
        let complaint = |text: &str| match parsed(text).check(ROWS) {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        };
        assert_eq!(complaint("recordcount=5\nbatch.size=1"), "");
        assert!(complaint("recordcuont=5").contains("did you mean recordcount?"));
        assert!(complaint("zzz=5").contains("list properties"));
        assert!(complaint("db=mongo").contains("leave it out"));
        assert!(complaint("batch.size=2").contains("use opspertransaction"));
    }
}
