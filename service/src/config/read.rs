//! Tables of a TOML file that know where they stand: every complaint names file, line, table and key.

use std::cell::RefCell;
use std::fmt;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::echo::{looks_like_a_file, looks_like_a_variable, quoted};
use super::secret::{one_line, read_secret};

/// Everything that is wrong with a configuration, by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// One line of text for each complaint, beginning with `file:line:`.
    pub complaints: Vec<String>,
}

impl ConfigError {
    /// A complaint about the file as a whole.
    pub(super) fn file(file: &Path, text: impl fmt::Display) -> ConfigError {
        ConfigError { complaints: vec![format!("{}: {text}", file.display())] }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.complaints.join("\n"))
    }
}

impl std::error::Error for ConfigError {}

/// The file that is being read, and what was found wrong so far.
pub(super) struct Source<'a> {
    file: &'a Path,
    text: &'a str,
    env: &'a dyn Fn(&str) -> Option<String>,
    complaints: RefCell<Vec<(usize, String)>>,
}

/// One table. Its verbs note which keys exist, so that [`Section::finish`] can tell the others.
pub(super) struct Section<'a> {
    source: &'a Source<'a>,
    name: String,
    table: Option<&'a DeTable<'a>>,
    line: usize,
    known: Vec<&'static str>,
}

/// A value with the line that it stands on.
#[derive(Clone, Debug)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) line: usize,
}

impl<'a> Source<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str, env: &'a dyn Fn(&str) -> Option<String>) -> Source<'a> {
        Source { file, text, env, complaints: RefCell::default() }
    }

    /// Parses the text; what is wrong with its syntax is the only complaint then.
    pub(super) fn parse(&self) -> Result<Spanned<DeTable<'a>>, ConfigError> {
        DeTable::parse(self.text).map_err(|error| {
            let line = error.span().map_or(1, |span| self.line_of(span));
            let text = error.message().replace('\n', "; ");
            ConfigError { complaints: vec![self.worded(line, &text)] }
        })
    }

    pub(super) fn complain(&self, line: usize, text: String) {
        self.complaints.borrow_mut().push((line, text));
    }

    /// Every complaint, by line.
    pub(super) fn finish(self) -> Result<(), ConfigError> {
        let mut complaints = self.complaints.take();
        if complaints.is_empty() {
            return Ok(());
        }
        complaints.sort();
        Err(ConfigError {
            complaints: complaints.iter().map(|(line, text)| self.worded(*line, text)).collect(),
        })
    }

    /// One line. What stands in the file is repeated in it, and may hold line breaks and a terminal's control sequences.
    fn worded(&self, line: usize, text: &str) -> String {
        let mut worded = format!("{}:{line}: ", self.file.display());
        for c in text.chars() {
            if c.is_control() {
                worded.extend(c.escape_default());
            } else {
                worded.push(c);
            }
        }
        worded
    }

    fn line_of(&self, span: Range<usize>) -> usize {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        1 + before.bytes().filter(|byte| *byte == b'\n').count()
    }

    fn resolve(&self, path: &str) -> PathBuf {
        self.file.parent().unwrap_or(Path::new("")).join(path)
    }
}

impl<'a> Section<'a> {
    /// The whole document.
    pub(super) fn root(source: &'a Source<'a>, table: &'a DeTable<'a>) -> Section<'a> {
        Section { source, name: String::new(), table: Some(table), line: 1, known: Vec::new() }
    }

    /// `[key]`; an empty table where there is none.
    pub(super) fn table(&mut self, key: &'static str) -> Section<'a> {
        let empty = Section {
            source: self.source,
            name: format!("[{key}]"),
            table: None,
            line: 1,
            known: Vec::new(),
        };
        let Some((value, line)) = self.get(key) else { return empty };
        let DeValue::Table(table) = value else {
            self.source.complain(line, format!("{key} must be a table: write [{key}]"));
            return empty;
        };
        Section { table: Some(table), line, ..empty }
    }

    /// Each `[[key]]`.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let Some((value, line)) = self.get(key) else { return Vec::new() };
        let source = self.source;
        let path = match self.name.trim_matches(['[', ']']) {
            "" => key.to_owned(),
            parent => format!("{parent}.{key}"),
        };
        let DeValue::Array(array) = value else {
            source.complain(line, format!("{path} must be an array of tables: write [[{path}]]"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in array.iter() {
            let line = source.line_of(item.span());
            let DeValue::Table(table) = item.get_ref() else {
                source.complain(line, format!("{path} must be an array of tables: write [[{path}]]"));
                continue;
            };
            let name = match table.get("name").and_then(|name| name.get_ref().as_str()) {
                Some(name) => format!("[[{path}]] \"{name}\""),
                None => format!("[[{path}]]"),
            };
            sections.push(Section { source, name, table: Some(table), line, known: Vec::new() });
        }
        sections
    }

    /// Whether the key is given.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.get(key).is_some())
    }

    /// Complains about the table as a whole.
    pub(super) fn complain(&self, text: impl fmt::Display) {
        self.source.complain(self.line, format!("{} {text}", self.name));
    }

    /// Complains about the value of a key.
    pub(super) fn complain_at(&self, line: usize, key: &str, text: impl fmt::Display) {
        self.source.complain(line, format!("{} {key}: {text}", self.name));
    }

    /// A text, if it is given.
    pub(super) fn text(&mut self, key: &'static str) -> Option<Found<String>> {
        let (value, line) = self.get(key)?;
        match value {
            DeValue::String(text) => Some(Found { value: text.clone().into_owned(), line }),
            other => self.wrong_type(key, line, other, "a text in quotes"),
        }
    }

    /// A text that must be given.
    pub(super) fn needed(&mut self, key: &'static str, example: &str) -> Option<Found<String>> {
        if !self.has(key) {
            self.known.push(key);
            self.complain(format_args!("needs {key}, such as {key} = {example}"));
            return None;
        }
        self.text(key)
    }

    /// A text made into something by `parse`, which says what is wrong.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Found<T>> {
        let Found { value, line } = self.text(key)?;
        match parse(&value) {
            Ok(value) => Some(Found { value, line }),
            Err(why) => {
                self.complain_at(line, key, format_args!("{} {why}", quoted(&value)));
                None
            }
        }
    }

    /// A list of texts, each made into something by `parse`.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Found<Vec<T>>> {
        let (value, line) = self.get(key)?;
        let DeValue::Array(array) = value else {
            return self.wrong_type(key, line, value, "a list of texts, such as [\"a\", \"b\"]");
        };
        let mut all = Vec::new();
        for item in array.iter() {
            let line = self.source.line_of(item.span());
            let Some(text) = item.get_ref().as_str() else {
                self.complain_at(line, key, "must be a list of texts, such as [\"a\", \"b\"]");
                continue;
            };
            match parse(text) {
                Ok(value) => all.push(value),
                Err(why) => self.complain_at(line, key, format_args!("{} {why}", quoted(text))),
            }
        }
        Some(Found { value: all, line })
    }

    /// A whole number within `range`, `default` where it is not given. `unit` is for people.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        default: u64,
        range: RangeInclusive<u64>,
        unit: &str,
    ) -> u64 {
        let Some((value, line)) = self.get(key) else { return default };
        let DeValue::Integer(number) = value else {
            return self.wrong_type(key, line, value, "a whole number").unwrap_or(default);
        };
        let parsed = u64::from_str_radix(number.as_str(), number.radix()).ok();
        match parsed.filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                let (low, high) = (range.start(), range.end());
                self.complain_at(line, key, format_args!("{number} is not within {low} to {high} {unit}"));
                default
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, key: &'static str, default: bool) -> bool {
        let Some((value, line)) = self.get(key) else { return default };
        match value.as_bool() {
            Some(flag) => flag,
            None => self.wrong_type(key, line, value, "true or false").unwrap_or(default),
        }
    }

    /// A path, relative to the folder of the configuration file.
    pub(super) fn path(&mut self, key: &'static str) -> Option<Found<PathBuf>> {
        let Found { value, line } = self.text(key)?;
        if value.is_empty() {
            self.complain_at(line, key, "is empty: a path is needed");
            return None;
        }
        Some(Found { value: self.source.resolve(&value), line })
    }

    /// A path that must be given.
    pub(super) fn needed_path(&mut self, key: &'static str, example: &str) -> Option<PathBuf> {
        if !self.has(key) {
            self.needed(key, example)?;
        }
        self.path(key).map(|found| found.value)
    }

    /// A secret from the file that `file_key` names or the environment variable that `env_key` names, without the blanks
    /// around it. `None` where neither is given, or with a complaint.
    pub(super) fn secret(&mut self, file_key: &'static str, env_key: &'static str) -> Option<Found<String>> {
        let (file, variable) = (self.path(file_key), self.text(env_key));
        let (key, line, secret) = match (file, variable) {
            (Some(_), Some(variable)) => {
                let text = format!("give either {file_key} or {env_key}, not both");
                self.complain_at(variable.line, env_key, text);
                return None;
            }
            (Some(file), None) => {
                let read = read_secret(&file.value);
                // Somebody may have put the secret where the name of its file belongs.
                let written = self.table.and_then(|table| table.get(file_key)?.get_ref().as_str());
                let read = match written.is_none_or(looks_like_a_file) {
                    true => read,
                    false => read.map_err(|_| {
                        "there is no such file, or no secret in it: the value must be the name of a file, not the \
                         secret itself"
                            .to_owned()
                    }),
                };
                (file_key, file.line, read)
            }
            (None, Some(variable)) => {
                let name = variable.value;
                let read = (self.source.env)(&name);
                let unset = || match looks_like_a_variable(&name) {
                    true => format!("the environment variable {name} is not set, or not UTF-8"),
                    false => String::from(
                        "names no environment variable that is set: the value must be a name such as \
                         CARILLON_SECRET, not the secret itself",
                    ),
                };
                (env_key, variable.line, read.ok_or_else(unset).and_then(|text| one_line(&text)))
            }
            (None, None) => return None,
        };
        match secret {
            Ok(value) => Some(Found { value, line }),
            Err(why) => {
                self.complain_at(line, key, why);
                None
            }
        }
    }

    /// Complains about every key that nobody asked for.
    pub(super) fn finish(self) {
        let Some(table) = self.table else { return };
        for (key, _) in table.iter() {
            let (line, key) = (self.source.line_of(key.span()), key.get_ref());
            if self.known.iter().any(|known| known == key) {
                continue;
            }
            let place = if self.name.is_empty() { "here" } else { &self.name };
            let nearest = match nearest(key, &self.known) {
                Some(nearest) => format!("; did you mean \"{nearest}\"?"),
                None => ";".to_owned(),
            };
            let allowed = self.known.join(", ");
            self.source
                .complain(line, format!("unknown key \"{key}\"{nearest} Allowed in {place}: {allowed}"));
        }
    }

    fn get(&mut self, key: &'static str) -> Option<(&'a DeValue<'a>, usize)> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        let value = self.table?.get(key)?;
        Some((value.get_ref(), self.source.line_of(value.span())))
    }

    fn wrong_type<T>(&self, key: &str, line: usize, value: &DeValue<'_>, expected: &str) -> Option<T> {
        self.complain_at(line, key, format_args!("is of type {}, but must be {expected}", value.type_str()));
        None
    }
}

/// The known name that somebody may have meant.
pub(super) fn nearest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let scored = known.iter().map(|known| (strsim::damerau_levenshtein(name, known), *known));
    let (distance, nearest) = scored.min()?;
    // A third of the letters may be wrong; beyond that a guess only misleads.
    (distance <= nearest.len().max(name.len()) / 3).then_some(nearest)
}
