//! Reads a toml document section by section. A key is known because somebody asked for it, so the list of known keys
//! cannot fall behind the code; whatever nobody asked for is refused with the nearest known key.

use std::cell::RefCell;
use std::collections::BTreeSet;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::ConfigProblem;

pub(super) struct Doc<'d> {
    file: &'d str,
    text: &'d str,
    problems: RefCell<Vec<ConfigProblem>>,
    known: RefCell<BTreeSet<String>>,
}

impl<'d> Doc<'d> {
    pub fn new(file: &'d str, text: &'d str) -> Self {
        Self { file, text, problems: RefCell::default(), known: RefCell::default() }
    }

    pub fn line_at(&self, offset: usize) -> usize {
        self.text.bytes().take(offset).filter(|b| *b == b'\n').count() + 1
    }

    pub fn problem(&self, line: Option<usize>, message: String) {
        self.problems.borrow_mut().push(ConfigProblem { file: self.file.to_string(), line, message });
    }

    /// Every problem found, in the order of lines.
    pub fn into_problems(self) -> Vec<ConfigProblem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|p| p.line);
        problems
    }

    /// The dotted path of every key that was asked for.
    #[cfg(test)]
    pub fn known_keys(&self) -> BTreeSet<String> {
        self.known.borrow().clone()
    }
}

/// One `[table]`, or its absence: then every key has its default.
pub(super) struct Section<'d> {
    doc: &'d Doc<'d>,
    path: String,
    table: Option<&'d DeTable<'d>>,
    line: Option<usize>,
    /// Its keys are among those that the shipped file lists.
    listed: bool,
    asked: RefCell<Vec<String>>,
}

impl<'d> Section<'d> {
    pub fn root(doc: &'d Doc<'d>, table: &'d DeTable<'d>) -> Self {
        Self { doc, path: String::new(), table: Some(table), line: None, listed: true, asked: RefCell::default() }
    }

    pub fn section(&self, key: &str) -> Section<'d> {
        self.asked.borrow_mut().push(key.to_string());
        let path = if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) };
        let (doc, line, listed) = (self.doc, self.line, self.listed);
        let mut section = Section { doc, path, table: None, line, listed, asked: RefCell::default() };
        if let Some((span, value)) = self.find(key) {
            section.line = Some(self.doc.line_at(span));
            match value.get_ref().as_table() {
                Some(table) => section.table = Some(table),
                None => self.doc.problem(section.line, format!("[{}] must be a table", section.path)),
            }
        }
        section
    }

    /// The value of `key` where it is written as a table, such as `{ column = "total", scale = 2 }`.
    pub fn table(&self, key: &str) -> Option<Section<'d>> {
        self.find(key)?.1.get_ref().as_table()?;
        Some(Section { listed: false, ..self.section(key) })
    }

    pub fn has(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    fn find(&self, key: &str) -> Option<(usize, &'d Spanned<DeValue<'d>>)> {
        let table = self.table?;
        table.iter().find(|(k, _)| k.get_ref() == key).map(|(k, v)| (k.span().start, v))
    }

    /// The line of the key, or of the section where the key is left at its default.
    pub fn line(&self, key: &str) -> Option<usize> {
        self.find(key).map(|(span, _)| self.doc.line_at(span)).or(self.line)
    }

    /// Records a problem with the value of `key`.
    pub fn problem(&self, key: &str, message: impl std::fmt::Display) {
        let place = if self.path.is_empty() { String::new() } else { format!("[{}] ", self.path) };
        self.doc.problem(self.line(key), format!("{place}{key}: {message}"));
    }

    /// The parsed value, `None` where the key is absent or its value is refused (the problem is recorded).
    pub fn optional<T>(&self, key: &str, parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>) -> Option<T> {
        self.asked.borrow_mut().push(key.to_string());
        if self.listed {
            let path = if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) };
            self.doc.known.borrow_mut().insert(path);
        }
        let (_, value) = self.find(key)?;
        parse(value.get_ref()).map_err(|message| self.problem(key, message)).ok()
    }

    pub fn get<T>(&self, key: &str, default: T, parse: impl FnOnce(&DeValue<'_>) -> Result<T, String>) -> T {
        self.optional(key, parse).unwrap_or(default)
    }

    pub fn text(&self, key: &str, default: &str) -> String {
        self.get(key, default.to_string(), |v| text(v).map(str::to_string))
    }

    /// A string read by `parse`.
    pub fn parsed<T>(&self, key: &str, default: T, parse: impl FnOnce(&str) -> Result<T, String>) -> T {
        self.get(key, default, |v| parse(text(v)?))
    }

    pub fn texts(&self, key: &str, default: &[&str]) -> Vec<String> {
        self.get(key, default.iter().map(ToString::to_string).collect(), texts)
    }

    pub fn bool(&self, key: &str, default: bool) -> bool {
        self.get(key, default, |v| v.as_bool().ok_or_else(|| expected("true or false", v)))
    }

    /// Every key of a section whose keys are free.
    pub fn free_texts(self) -> Vec<(String, String)> {
        let Some(table) = self.table else { return Vec::new() };
        let mut found = Vec::new();
        for (key, value) in table {
            match text(value.get_ref()) {
                Ok(text) => found.push((key.get_ref().to_string(), text.to_string())),
                Err(message) => self.problem(key.get_ref(), message),
            }
        }
        found
    }

    /// Refuses every key that was not asked for.
    pub fn finish(self) {
        let Some(table) = self.table else { return };
        let asked = self.asked.borrow();
        for key in table.keys().filter(|key| !asked.iter().any(|a| a == key.get_ref())) {
            let place = if self.path.is_empty() { String::new() } else { format!(" in [{}]", self.path) };
            let line = self.doc.line_at(key.span().start);
            let hint = nearest(key.get_ref(), asked.iter().map(String::as_str))
                .map_or(String::new(), |known| format!("; did you mean \"{known}\"?"));
            self.doc.problem(Some(line), format!("unknown key \"{}\"{place}{hint}", key.get_ref()));
        }
    }
}

/// The known word that is most like `word`.
pub(super) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|k| (strsim::normalized_damerau_levenshtein(word, k), k))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

pub(super) fn expected(what: &str, found: &DeValue<'_>) -> String {
    format!("expected {what}, found {}", found.type_str())
}

pub(super) fn text<'a>(value: &'a DeValue<'_>) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| expected("a string", value))
}

pub(super) fn texts(value: &DeValue<'_>) -> Result<Vec<String>, String> {
    let list = value.as_array().ok_or_else(|| expected("a list of strings", value))?;
    let mut found = Vec::new();
    for item in list {
        let item = match item.get_ref() {
            // Words are compared as text, and a word may be a key: 1 is as good as "1".
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().replace(['_', '+'], ""),
            DeValue::Boolean(value) => value.to_string(),
            item => text(item)?.to_string(),
        };
        if item.is_empty() {
            return Err("an empty string in the list".to_string());
        }
        found.push(item);
    }
    Ok(found)
}

/// A whole number within `min..=max`.
pub(super) fn integer(value: &DeValue<'_>, min: u64, max: u64) -> Result<u64, String> {
    let number = value.as_integer().ok_or_else(|| expected("a whole number", value))?;
    let digits = number.as_str().replace('_', "");
    u64::from_str_radix(&digits, number.radix())
        .ok()
        .filter(|n| (min..=max).contains(n))
        .ok_or_else(|| format!("{digits} is not within {min} to {max}"))
}
