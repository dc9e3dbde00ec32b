//! Holds the document against the JSON Schema and collects every mistake, where serde would stop at the first.

mod text;
mod union;

use std::collections::BTreeSet;

use config::{Value, ValueKind};
use serde_json::Value as Json;

use crate::nearest::{nearest, one_of};
use crate::path::Path;
use crate::report::{Code, Finding};
use crate::schema;
use crate::source::SourceMap;

type Table = config::Map<String, Value>;

/// Checks the whole document. Values at `skip` could not be filled and are not judged again.
pub(crate) fn check(document: &Value, sources: &SourceMap, skip: &BTreeSet<Path>) -> Vec<Finding> {
    let mut walker = Walker { sources, skip, findings: Vec::new() };
    walker.value(schema::root(), document, &Path::root());
    walker.findings
}

struct Walker<'a> {
    sources: &'a SourceMap,
    skip: &'a BTreeSet<Path>,
    findings: Vec<Finding>,
}

/// The JSON Schema type of a value.
pub(crate) fn type_of(value: &Value) -> &'static str {
    match &value.kind {
        ValueKind::Nil => "null",
        ValueKind::Boolean(_) => "boolean",
        ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => "integer",
        ValueKind::Float(_) => "number",
        ValueKind::String(_) => "string",
        ValueKind::Table(_) => "object",
        ValueKind::Array(_) => "array",
    }
}

/// A type in words.
fn type_words(kind: &str) -> &str {
    match kind {
        "null" => "nothing",
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "a text",
        "object" => "a map",
        "array" => "a list",
        other => other,
    }
}

fn accepts(types: &[&str], found: &str) -> bool {
    types.is_empty() || types.contains(&found) || (found == "integer" && types.contains(&"number"))
}

impl Walker<'_> {
    fn value(&mut self, schema: &'static Json, value: &Value, path: &Path) {
        if self.skip.contains(path) {
            return;
        }
        let resolved = schema::resolve(schema);
        for part in resolved.get("allOf").and_then(Json::as_array).into_iter().flatten() {
            self.value(part, value, path);
        }
        let branches = schema::branches(resolved);
        if !branches.is_empty() {
            return self.union(&branches, value, path);
        }
        let types = schema::types(resolved);
        if !accepts(&types, type_of(value)) {
            return self.wrong_type(resolved, &types, value, path);
        }
        match &value.kind {
            ValueKind::Table(table) => self.map(resolved, table, path),
            ValueKind::Array(items) => self.list(resolved, items, path),
            ValueKind::String(text) => self.text(resolved, text, path),
            ValueKind::Nil | ValueKind::Boolean(_) => {}
            ValueKind::I64(number) => self.number(resolved, *number as f64, path),
            ValueKind::U64(number) => self.number(resolved, *number as f64, path),
            ValueKind::I128(number) => self.number(resolved, *number as f64, path),
            ValueKind::U128(number) => self.number(resolved, *number as f64, path),
            ValueKind::Float(number) => self.number(resolved, *number, path),
        }
    }

    fn wrong_type(&mut self, schema: &'static Json, types: &[&str], value: &Value, path: &Path) {
        // A wish for "nothing" is how optional fields say that they may be left out; nobody needs to be told.
        let wanted: Vec<&str> =
            types.iter().filter(|kind| **kind != "null").map(|kind| type_words(kind)).collect();
        let found = type_of(value);
        let message = format!("expected {}, found {}", wanted.join(" or "), type_words(found));
        let mut finding = Finding::new(Code::Type, self.sources.value(path), message).at(path);
        let text_wanted = types.contains(&"string");
        if found == "null" {
            finding.place = self.sources.key(path);
            finding = finding.help("give a value, or leave the field out");
        } else if text_wanted && matches!(found, "integer" | "number" | "boolean") {
            finding = match text::wanted_form(schema, value) {
                Some(wanted) => finding.help(wanted),
                None => finding.help("put it in quotes to make it a text"),
            };
        } else if types.contains(&"boolean") && found == "string" {
            finding = finding.help("write true or false");
        } else if types.contains(&"array") {
            finding = finding.help(match found {
                "object" => "begin each entry of the list with `-`",
                _ => "write a list: [one, two]",
            });
        } else if let Some(fields) = fields_words(schema).filter(|_| types.contains(&"object")) {
            finding = finding.help(fields);
        } else if let Some(example) = example(schema) {
            finding = finding.help(format!("write for example {example}"));
        }
        self.findings.push(finding);
    }

    fn map(&mut self, schema: &'static Json, table: &Table, path: &Path) {
        let known = schema::fields(schema);
        let free = schema::free_names(schema);
        let closed = ["additionalProperties", "unevaluatedProperties"]
            .iter()
            .any(|word| schema.get(word).and_then(Json::as_bool) == Some(false));
        for (name, value) in table {
            let here = path.key(name);
            match known.iter().find(|(field, _)| field == name) {
                Some((_, schema)) => self.value(schema, value, &here),
                None => match free {
                    Some(schema) => self.value(schema, value, &here),
                    None if closed => self.unknown_field(name, &known, &here),
                    None => {}
                },
            }
        }
        self.missing_fields(schema, table, path);
        self.bounds(schema, ("minProperties", "maxProperties"), table.len(), "entry", "entries", path);
    }

    fn unknown_field(&mut self, name: &str, known: &[(&'static str, &'static Json)], path: &Path) {
        let place = self.sources.key(path);
        let mut finding = Finding::new(Code::UnknownField, place, format!("unknown field `{name}`")).at(path);
        finding = match nearest(name, known.iter().map(|(field, _)| *field)) {
            Some(near) => finding.label(format!("did you mean `{near}`?")),
            None if known.is_empty() => finding,
            None => finding.help(format!("known here: {}", one_of(known.iter().map(|(field, _)| *field)))),
        };
        self.findings.push(finding);
    }

    fn missing_fields(&mut self, schema: &'static Json, table: &Table, path: &Path) {
        let known: Vec<&str> = schema::fields(schema).into_iter().map(|(field, _)| field).collect();
        // A field that is only misspelt was found already, with the right word beside it.
        let misspelt = |name: &str| {
            let mut strange = table.keys().filter(|key| !known.contains(&key.as_str()));
            strange.any(|key| nearest(key, known.iter().copied()) == Some(name))
        };
        for name in required(schema).filter(|name| !table.contains_key(*name) && !misspelt(name)) {
            let holder = if path.is_root() { "the file".to_owned() } else { format!("`{path}`") };
            let message = format!("{holder} needs the field `{name}`");
            let mut finding =
                Finding::new(Code::MissingField, self.sources.holder(path), message).at(&path.key(name));
            if let Some(description) = description(schema, name) {
                finding = finding.help(format!("{name}: {description}"));
            }
            self.findings.push(finding);
        }
    }

    fn list(&mut self, schema: &'static Json, items: &[Value], path: &Path) {
        if let Some(entry) = schema::items(schema) {
            for (index, item) in items.iter().enumerate() {
                self.value(entry, item, &path.index(index));
            }
        }
        self.bounds(schema, ("minItems", "maxItems"), items.len(), "entry", "entries", path);
    }

    /// Lower and upper bound of a length.
    fn bounds(
        &mut self,
        schema: &'static Json,
        words: (&str, &str),
        length: usize,
        one: &str,
        many: &str,
        path: &Path,
    ) {
        let bound = |word: &str| schema.get(word).and_then(Json::as_u64);
        let noun = |count: u64| if count == 1 { one.to_owned() } else { many.to_owned() };
        let length = length as u64;
        let message = match (bound(words.0), bound(words.1)) {
            (Some(least), _) if length < least => {
                format!("expected at least {least} {}, found {length}", noun(least))
            }
            (_, Some(most)) if length > most => {
                format!("expected at most {most} {}, found {length}", noun(most))
            }
            _ => return,
        };
        let place = if one == "entry" { self.sources.key(path) } else { self.sources.value(path) };
        self.findings.push(Finding::new(Code::Value, place, message).at(path));
    }

    fn number(&mut self, schema: &'static Json, number: f64, path: &Path) {
        let bound = |word: &str| schema.get(word).and_then(Json::as_f64);
        // A text form with its own rules (a size, a span) says more about a bare number than a bound could.
        if schema
            .get("format")
            .and_then(Json::as_str)
            .is_some_and(|format| self.bare_number(format, number, path))
        {
            return;
        }
        let message = match (
            bound("minimum"),
            bound("maximum"),
            bound("exclusiveMinimum"),
            bound("exclusiveMaximum"),
        ) {
            (Some(least), Some(most), ..) if number < least || number > most => {
                format!("expected a number from {least} to {most}")
            }
            (Some(least), ..) if number < least => format!("expected a number of at least {least}"),
            (_, Some(most), ..) if number > most => format!("expected a number of at most {most}"),
            (_, _, Some(bound), _) if number <= bound => format!("expected a number above {bound}"),
            (_, _, _, Some(bound)) if number >= bound => format!("expected a number below {bound}"),
            _ => return,
        };
        self.findings.push(Finding::new(Code::Value, self.sources.value(path), message).at(path));
    }
}

/// The fields that a map must have.
fn required(schema: &'static Json) -> impl Iterator<Item = &'static str> {
    schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str)
}

/// How a map of fixed fields is written: with those it must have, else with those it knows.
fn fields_words(schema: &'static Json) -> Option<String> {
    let must: Vec<&str> = required(schema).collect();
    let known: Vec<&str> = schema::fields(schema).into_iter().map(|(field, _)| field).collect();
    match (must.as_slice(), known.as_slice()) {
        ([], []) => None,
        ([], known) => Some(format!("it is a map, with the fields {}", one_of(known.iter().copied()))),
        (must, _) => Some(format!("write a map: {{ {}: ... }}", must.join(": ..., "))),
    }
}

/// An example of a value, from the schema.
fn example(schema: &'static Json) -> Option<String> {
    let example = schema.get("examples")?.get(0)?;
    Some(example.as_str().map_or_else(|| example.to_string(), str::to_owned))
}

/// The first sentence about a field.
fn description(schema: &'static Json, name: &str) -> Option<String> {
    let (_, field) = schema::fields(schema).into_iter().find(|(field, _)| *field == name)?;
    let text = field.get("description").or_else(|| schema::resolve(field).get("description"))?.as_str()?;
    let line = text.lines().collect::<Vec<_>>().join(" ");
    Some(line.split_once(". ").map_or(line.as_str(), |(first, _)| first).trim_end_matches('.').to_owned())
}
