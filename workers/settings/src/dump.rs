//! The settings in force, defaults included and secrets covered, and the pipeline's version.

use std::collections::BTreeSet;

use config::{Value, ValueKind};
use serde_json::Value as Json;

use crate::model::{REDACTED, holds_user};
use crate::path::Path;
use crate::schema;

/// Adds every default that the schema knows to the maps that leave it out.
pub(crate) fn with_defaults(value: &Value, path: &Path) -> Value {
    let mut value = value.clone();
    fill(&mut value, schema::of(path));
    value
}

fn fill(value: &mut Value, schema: Option<&'static Json>) {
    let Some(schema) = schema else { return };
    match &mut value.kind {
        ValueKind::Table(table) => {
            let chosen = branch_of(schema, table);
            for (name, field) in schema::fields(chosen) {
                let Some(default) = field.get("default") else { continue };
                if !table.contains_key(name) && !default.is_null() {
                    table.insert(name.to_owned(), from_json(default));
                }
            }
            for (name, inner) in table.iter_mut() {
                fill(inner, schema::child(chosen, &crate::path::Segment::Key(name.clone())));
            }
        }
        ValueKind::Array(items) => {
            for inner in items.iter_mut() {
                fill(inner, schema::items(schema));
            }
        }
        _ => {}
    }
}

/// Of several forms the one whose single key the map has; else the schema itself.
fn branch_of(schema: &'static Json, table: &config::Map<String, Value>) -> &'static Json {
    let schema = schema::resolve(schema);
    let has = |branch: &&'static Json| {
        let fields = schema::fields(branch);
        !fields.is_empty() && table.keys().all(|key| fields.iter().any(|(name, _)| name == key))
    };
    schema::branches(schema).into_iter().find(has).unwrap_or(schema)
}

fn from_json(json: &Json) -> Value {
    let kind = match json {
        Json::Null => ValueKind::Nil,
        Json::Bool(value) => ValueKind::Boolean(*value),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => ValueKind::I64(number),
            (None, Some(number)) => ValueKind::Float(number),
            (None, None) => ValueKind::String(number.to_string()),
        },
        Json::String(text) => ValueKind::String(text.clone()),
        Json::Array(items) => ValueKind::Array(items.iter().map(from_json).collect()),
        Json::Object(fields) => {
            ValueKind::Table(fields.iter().map(|(name, value)| (name.clone(), from_json(value))).collect())
        }
    };
    Value::new(None, kind)
}

/// The document with `***` for every secret: values from the environment or files, and those under secret names.
pub(crate) fn redacted(value: &Value, path: &Path, secret: &BTreeSet<Path>) -> Value {
    let named = path.is_secret();
    let kind = match &value.kind {
        ValueKind::Table(table) => ValueKind::Table(
            table
                .iter()
                .map(|(name, inner)| (name.clone(), redacted(inner, &path.key(name), secret)))
                .collect(),
        ),
        ValueKind::Array(items) => ValueKind::Array(
            items
                .iter()
                .enumerate()
                .map(|(index, inner)| redacted(inner, &path.index(index), secret))
                .collect(),
        ),
        ValueKind::Nil => ValueKind::Nil,
        ValueKind::String(text) if holds_user(text) => ValueKind::String(REDACTED.to_owned()),
        _ if named || secret.contains(path) => ValueKind::String(REDACTED.to_owned()),
        other => other.clone(),
    };
    Value::new(None, kind)
}

/// As JSON, in the order of the document.
pub(crate) fn to_json(value: &Value, out: &mut String, indent: usize) {
    match &value.kind {
        ValueKind::Table(table) if table.is_empty() => out.push_str("{}"),
        ValueKind::Array(items) if items.is_empty() => out.push_str("[]"),
        ValueKind::Table(table) => {
            let entries = table.iter().map(|(name, inner)| (Some(name.as_str()), inner));
            json_entries(entries, ('{', '}'), out, indent);
        }
        ValueKind::Array(items) => {
            json_entries(items.iter().map(|inner| (None, inner)), ('[', ']'), out, indent)
        }
        scalar => out.push_str(&json_scalar(scalar)),
    }
}

fn json_entries<'a>(
    entries: impl Iterator<Item = (Option<&'a str>, &'a Value)>,
    brackets: (char, char),
    out: &mut String,
    indent: usize,
) {
    out.push(brackets.0);
    for (index, (name, inner)) in entries.enumerate() {
        out.push_str(if index == 0 { "\n" } else { ",\n" });
        out.push_str(&"  ".repeat(indent + 1));
        if let Some(name) = name {
            out.push_str(&Json::from(name).to_string());
            out.push_str(": ");
        }
        to_json(inner, out, indent + 1);
    }
    out.push('\n');
    out.push_str(&"  ".repeat(indent));
    out.push(brackets.1);
}

fn json_scalar(scalar: &ValueKind) -> String {
    match scalar {
        ValueKind::Boolean(value) => value.to_string(),
        ValueKind::I64(value) => value.to_string(),
        ValueKind::I128(value) => value.to_string(),
        ValueKind::U64(value) => value.to_string(),
        ValueKind::U128(value) => value.to_string(),
        ValueKind::Float(value) => Json::from(*value).to_string(),
        ValueKind::String(text) => Json::from(text.as_str()).to_string(),
        ValueKind::Nil | ValueKind::Table(_) | ValueKind::Array(_) => "null".to_owned(),
    }
}

/// As YAML that reads back as the same document.
pub(crate) fn to_yaml(value: &Value, out: &mut String, indent: usize) {
    match &value.kind {
        ValueKind::Table(table) => {
            for (name, inner) in table {
                out.push_str(&"  ".repeat(indent));
                yaml_field(name, inner, out, indent);
            }
        }
        ValueKind::Array(items) => {
            for inner in items {
                out.push_str(&"  ".repeat(indent));
                out.push_str("- ");
                yaml_item(inner, out, indent);
            }
        }
        scalar => {
            out.push_str(&yaml_scalar(scalar));
            out.push('\n');
        }
    }
}

fn yaml_field(name: &str, inner: &Value, out: &mut String, indent: usize) {
    out.push_str(&yaml_text(name));
    out.push(':');
    match &inner.kind {
        ValueKind::Table(table) if !table.is_empty() => {
            out.push('\n');
            to_yaml(inner, out, indent + 1);
        }
        ValueKind::Array(items) if !items.is_empty() => {
            out.push('\n');
            to_yaml(inner, out, indent + 1);
        }
        scalar => out.push_str(&format!(" {}\n", yaml_scalar(scalar))),
    }
}

fn yaml_item(inner: &Value, out: &mut String, indent: usize) {
    match &inner.kind {
        ValueKind::Table(table) if !table.is_empty() => {
            for (index, (name, inner)) in table.iter().enumerate() {
                if index > 0 {
                    out.push_str(&"  ".repeat(indent + 1));
                }
                yaml_field(name, inner, out, indent + 1);
            }
        }
        ValueKind::Array(items) if !items.is_empty() => {
            out.push('\n');
            to_yaml(inner, out, indent + 1);
        }
        scalar => out.push_str(&format!("{}\n", yaml_scalar(scalar))),
    }
}

fn yaml_scalar(scalar: &ValueKind) -> String {
    match scalar {
        ValueKind::String(text) => yaml_text(text),
        ValueKind::Table(_) => "{}".to_owned(),
        ValueKind::Array(_) => "[]".to_owned(),
        other => json_scalar(other),
    }
}

/// A text without quotes where it would read back as itself; else as JSON has it, which is YAML as well.
fn yaml_text(text: &str) -> String {
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.'));
    let plain =
        starts && text.chars().all(safe) && matches!(crate::document::plain(text), ValueKind::String(_));
    if plain { text.to_owned() } else { Json::from(text).to_string() }
}

/// The version of a pipeline: what it does, not where it runs. Twelve hexadecimal digits of the BLAKE3 hash of the settings
/// in force, without secrets and without the sections that change nothing about a record's way.
pub(crate) fn fingerprint(redacted: &Value) -> String {
    const ELSEWHERE: &[&str] = &["http", "scale", "telemetry"];
    let mut text = String::new();
    if let ValueKind::Table(table) = &redacted.kind {
        // The order of the file's sections means nothing; inside steps and sinks it does.
        let mut names: Vec<&String> =
            table.keys().filter(|name| !ELSEWHERE.contains(&name.as_str())).collect();
        names.sort();
        for name in names {
            text.push_str(name);
            text.push('=');
            if let Some(inner) = table.get(name.as_str()) {
                to_json(inner, &mut text, 0);
            }
            text.push('\n');
        }
    }
    let hash = blake3::hash(text.as_bytes()).to_hex();
    hash.chars().take(12).collect()
}
