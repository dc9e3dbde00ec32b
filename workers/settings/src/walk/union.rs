//! Values with several forms: a word or a map, a map with one key of several.

use config::{Value, ValueKind};
use serde_json::Value as Json;

use super::text::words;
use super::{Table, Walker, accepts, type_of, type_words};
use crate::nearest::{nearest, one_of};
use crate::path::Path;
use crate::report::{Code, Finding};
use crate::schema;

impl Walker<'_> {
    pub(super) fn union(&mut self, branches: &[&'static Json], value: &Value, path: &Path) {
        let found = type_of(value);
        let fitting: Vec<&'static Json> =
            branches.iter().copied().filter(|branch| accepts(&schema::types(branch), found)).collect();
        match &value.kind {
            ValueKind::String(text) => {
                let known: Vec<&str> = branches.iter().flat_map(|branch| words_below(branch)).collect();
                let free = fitting.iter().find(|branch| words_below(branch).is_empty());
                match free {
                    Some(_) if known.contains(&text.as_str()) => {}
                    Some(branch) => self.value(branch, value, path),
                    None if known.contains(&text.as_str()) => {}
                    None => self.no_such_word(branches, known, text, path),
                }
            }
            ValueKind::Table(table) => self.map_union(branches, &fitting, value, table, path),
            _ => match fitting.first() {
                Some(branch) => self.value(branch, value, path),
                None => self.no_form(branches, found, path),
            },
        }
    }

    /// A map: a kind with its options (`parse: {...}`), a map told apart by one of its fields, or a plain map.
    fn map_union(
        &mut self,
        branches: &[&'static Json],
        fitting: &[&'static Json],
        value: &Value,
        table: &Table,
        path: &Path,
    ) {
        let tagged: Vec<(&'static str, &'static Json)> =
            branches.iter().filter_map(|branch| tag(branch)).collect();
        if !tagged.is_empty() && tagged.len() == fitting.len() {
            return self.tagged_map(&tagged, value, table, path);
        }
        if let Some(branch) = fitting.iter().find(|branch| constants_match(branch, table)) {
            return self.value(branch, value, path);
        }
        match fitting.first() {
            Some(branch) => self.value(branch, value, path),
            None => self.no_form(branches, "object", path),
        }
    }

    fn tagged_map(
        &mut self,
        tagged: &[(&'static str, &'static Json)],
        value: &Value,
        table: &Table,
        path: &Path,
    ) {
        let names = || tagged.iter().map(|(name, _)| *name);
        let mut known = table.keys().filter(|key| names().any(|name| name == key.as_str()));
        if table.len() == 1
            && let Some((_, branch)) = tagged.iter().find(|(name, _)| table.contains_key(*name))
        {
            return self.value(branch, value, path);
        }
        if known.next().is_some() && table.len() > 1 {
            // The commonest cause is an option that is not indented below its kind.
            let extra = table.keys().nth(1).map_or("", String::as_str);
            let message = format!("expected one key, found {}: {}", table.len(), listed(table));
            let finding =
                Finding::new(Code::UnknownField, self.sources.key(&path.key(extra)), message).at(path);
            self.findings
                .push(finding.help("indent options below their kind, and begin each entry with `-`"));
            return;
        }
        for key in table.keys() {
            let here = path.key(key);
            let message = format!("expected {}", one_of(names()));
            let mut finding = Finding::new(Code::UnknownField, self.sources.key(&here), message).at(&here);
            if let Some(near) = nearest(key, names()) {
                finding = finding.label(format!("did you mean `{near}`?"));
            }
            self.findings.push(finding);
        }
        if table.is_empty() {
            let message = format!("expected {}", one_of(names()));
            self.findings.push(Finding::new(Code::MissingField, self.sources.value(path), message).at(path));
        }
    }

    fn no_such_word(&mut self, branches: &[&'static Json], known: Vec<&str>, text: &str, path: &Path) {
        let tags: Vec<&str> =
            branches.iter().filter_map(|branch| tag(branch)).map(|(name, _)| name).collect();
        if known.is_empty() && tags.is_empty() {
            return self.no_form(branches, "string", path);
        }
        if let Some(name) = tags.iter().find(|name| **name == text) {
            let message = format!("`{name}` needs its options");
            let finding = Finding::new(Code::Type, self.sources.value(path), message).at(path);
            return self
                .findings
                .push(finding.help(format!("write `{name}: {{...}}`, with none `{name}: {{}}`")));
        }
        if known.is_empty() {
            let message = format!("expected a map with {}", one_of(tags.iter().copied()));
            return self.findings.push(Finding::new(Code::Type, self.sources.value(path), message).at(path));
        }
        let all: Vec<&str> = known.into_iter().chain(tags).collect();
        self.unknown_word(&all, text, path);
    }

    fn no_form(&mut self, branches: &[&'static Json], found: &str, path: &Path) {
        let mut wanted: Vec<&str> = branches
            .iter()
            .flat_map(|branch| schema::types(branch))
            .filter(|kind| *kind != "null")
            .map(type_words)
            .collect();
        wanted.dedup();
        let message = format!("expected {}, found {}", wanted.join(" or "), type_words(found));
        let place = if found == "null" { self.sources.key(path) } else { self.sources.value(path) };
        self.findings.push(Finding::new(Code::Type, place, message).at(path));
    }
}

/// Every word that a form allows.
fn words_below(branch: &'static Json) -> Vec<&'static str> {
    let mut all = words(branch);
    all.extend(schema::branches(branch).into_iter().flat_map(words_below));
    all
}

/// The one key of a form such as `{parse: ...}`.
fn tag(branch: &'static Json) -> Option<(&'static str, &'static Json)> {
    let properties = branch.get("properties")?.as_object()?;
    let required = branch.get("required")?.as_array()?;
    let name = properties.keys().next()?;
    let single = properties.len() == 1 && required.len() == 1 && required[0].as_str() == Some(name);
    single.then_some((name.as_str(), branch))
}

/// Whether the fields that a form fixes to one word hold that word.
fn constants_match(branch: &'static Json, table: &Table) -> bool {
    let properties = branch.get("properties").and_then(Json::as_object);
    let mut constants = properties.into_iter().flatten().filter_map(|(name, field)| {
        let word = field.get("const")?.as_str()?;
        Some((name, word))
    });
    let mut any = false;
    let all = constants.all(|(name, word)| {
        any = true;
        matches!(table.get(name).map(|value| &value.kind), Some(ValueKind::String(text)) if text == word)
    });
    any && all
}

fn listed(table: &Table) -> String {
    let names: Vec<String> = table.keys().map(|key| format!("`{key}`")).collect();
    names.join(", ")
}
