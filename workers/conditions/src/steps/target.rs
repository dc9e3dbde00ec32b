//! Places in a record that steps write to.

use bytes::Bytes;
use compact_str::CompactString;
use longshore_core::item::Key;
use longshore_core::{Failure, Item, Map, Reason, Value};

use super::Kind;
use crate::convert::refused;

/// OpenTelemetry's largest severity number (log data model, field `SeverityNumber`).
const SEVERITY_MAX: i64 = 24;

/// A place in a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// The key that sinks see.
    Key,
    /// A field of the record itself.
    Field(Field),
    /// An entry of a map of the record.
    Entry(&'static str, CompactString),
    /// A whole map of the record.
    Whole(&'static str),
}

/// A field of the record itself: its name and what it may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field {
    name: &'static str,
    rule: Rule,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Any,
    Text,
    Time,
    Severity,
    /// Hexadecimal of so many digits.
    Hex(usize),
    Flags,
}

const LOG_FIELDS: &[(&str, Rule)] = &[
    ("time_unix_nano", Rule::Time),
    ("observed_time_unix_nano", Rule::Time),
    ("trace_id", Rule::Hex(32)),
    ("span_id", Rule::Hex(16)),
    ("trace_flags", Rule::Flags),
    ("severity_text", Rule::Text),
    ("severity_number", Rule::Severity),
    ("body", Rule::Any),
    ("event_name", Rule::Text),
];
const LOG_MAPS: &[&str] = &["attributes", "resource"];

const DOCUMENT_FIELDS: &[(&str, Rule)] = &[
    ("id", Rule::Text),
    ("text", Rule::Text),
    ("source", Rule::Text),
    ("added", Rule::Text),
    ("created", Rule::Text),
];
const DOCUMENT_MAPS: &[&str] = &["metadata", "attributes"];

impl Target {
    /// The place that a name means. `attributes.http.status` is the attribute `http.status`: OpenTelemetry's attribute
    /// names have dots, and so have ours.
    pub(super) fn parse(text: &str, kind: Kind) -> Result<Self, String> {
        let (fields, maps) = match kind {
            Kind::Log => (LOG_FIELDS, LOG_MAPS),
            Kind::Document => (DOCUMENT_FIELDS, DOCUMENT_MAPS),
        };
        if text == "key" {
            return Ok(Self::Key);
        }
        if let Some((name, rule)) = fields.iter().find(|(name, _)| *name == text) {
            return Ok(Self::Field(Field { name, rule: *rule }));
        }
        if let Some(map) = maps.iter().find(|map| **map == text) {
            return Ok(Self::Whole(map));
        }
        let entry = maps.iter().find_map(|map| Some((*map, text.strip_prefix(map)?.strip_prefix('.')?)));
        let (map, name) = entry.unwrap_or((maps[0], text));
        if name.is_empty() || name != name.trim() {
            return Err(format!("`{text}` names no field; write for example `{map}.service`"));
        }
        Ok(Self::Entry(map, name.into()))
    }

    /// As [`Self::parse`], for a place that takes one value.
    pub(super) fn parse_single(text: &str, kind: Kind) -> Result<Self, String> {
        match Self::parse(text, kind)? {
            Self::Whole(map) => Err(format!("name a field of `{map}`, for example `{map}.service`")),
            target @ (Self::Key | Self::Field(_) | Self::Entry(..)) => Ok(target),
        }
    }

    /// Whether the place exists before a step has read the record.
    pub(super) fn is_key(&self) -> bool {
        matches!(self, Self::Key)
    }

    /// Puts a value there. A tombstone has a key and no fields, and stays one.
    pub(super) fn put(&self, item: &mut Item, value: Value) -> Result<(), Failure> {
        match self {
            Self::Key => {
                item.key = Key::Set(Some(key_bytes(value)?));
                return Ok(());
            }
            _ if item.is_tombstone() => {}
            Self::Field(field) => {
                let value = field.fit(value)?;
                fields(item)?.insert(field.name, value);
            }
            Self::Entry(map, name) => match fields(item)?.get_mut(map) {
                Some(Value::Object(entries)) => {
                    entries.insert(name.clone(), value);
                }
                Some(_) | None => {
                    let mut entries = Map::with_capacity(1);
                    entries.push(name.clone(), value);
                    fields(item)?.insert(*map, Value::Object(entries));
                }
            },
            Self::Whole(map) => {
                fields(item)?.insert(*map, value);
            }
        }
        Ok(())
    }

    /// Takes the value out, none when there is none. The key stays: it decided the record's partition.
    pub(super) fn take(&self, item: &mut Item) -> Result<Option<Value>, Failure> {
        if item.is_tombstone() {
            return Ok(None);
        }
        let fields = fields(item)?;
        Ok(match self {
            Self::Key => None,
            Self::Field(field) => fields.remove(field.name),
            Self::Whole(map) => fields.remove(map),
            Self::Entry(map, name) => match fields.get_mut(map) {
                Some(Value::Object(entries)) => entries.remove(name),
                Some(_) | None => None,
            },
        })
    }
}

impl Field {
    fn fit(self, value: Value) -> Result<Value, Failure> {
        let fits = match (self.rule, &value) {
            (Rule::Any, _) => true,
            (Rule::Text, value) => matches!(value, Value::Text(_)),
            (Rule::Time, value) => value.as_i64().is_some_and(|nanos| nanos >= 0),
            (Rule::Severity, value) => {
                value.as_i64().is_some_and(|number| (0..=SEVERITY_MAX).contains(&number))
            }
            (Rule::Flags, value) => value.as_i64().is_some_and(|flags| (0..=255).contains(&flags)),
            (Rule::Hex(digits), value) => value.as_str().is_some_and(|text| is_id(text, digits)),
        };
        if fits { Ok(value) } else { Err(refused(&format!("{} must be {}", self.name, self.rule.words()))) }
    }
}

/// An id of the W3C trace context: lower-case hexadecimal, not all zero.
fn is_id(text: &str, digits: usize) -> bool {
    text.len() == digits
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && text.bytes().any(|byte| byte != b'0')
}

impl Rule {
    fn words(self) -> &'static str {
        match self {
            Self::Any => "anything",
            Self::Text => "text",
            Self::Time => "nanoseconds since 1970",
            Self::Severity => "a whole number from 0 to 24",
            Self::Hex(_) => "lower-case hexadecimal of its full length, not all zero",
            Self::Flags => "a whole number from 0 to 255",
        }
    }
}

/// The fields to change. A record that no step has read is a mistake in the pipeline, and would be one for every record.
fn fields(item: &mut Item) -> Result<&mut Map, Failure> {
    let unread = || {
        Failure::halt(
            Reason::StepFailed,
            "the record is not read yet: put `parse` or `accept` before this step",
        )
    };
    item.fields_mut().ok_or_else(unread)
}

fn key_bytes(value: Value) -> Result<Bytes, Failure> {
    match value {
        Value::Text(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Value::Bytes(bytes) => Ok(Bytes::from(bytes)),
        Value::Int(number) => Ok(Bytes::from(number.to_string())),
        Value::UInt(number) => Ok(Bytes::from(number.to_string())),
        Value::Number(text) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Value::Null | Value::Bool(_) | Value::Float(_) | Value::Array(_) | Value::Object(_) => {
            Err(refused("a key must be text, bytes or a whole number"))
        }
    }
}
