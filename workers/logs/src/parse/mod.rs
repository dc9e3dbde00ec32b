//! `parse`: from a record's bytes to a log.

mod lines;
mod object;

use std::sync::Arc;

use longshore_codec::json::{DEPTH_MAX, Limits};
use longshore_codec::{Compression, Decode, Store};
use longshore_conditions::BuildError;
use longshore_core::human::Bytes;
use longshore_core::{Content, Failure, FilterReason, Flow, Item, Map, Reason, Step, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::mapping::{MappingOptions, Model};
use lines::Lines;

/// The most values in one record: `[1,1,1` costs two bytes each in JSON, nothing in Avro, and many times that in memory.
const VALUES_MAX: u32 = 100_000;

/// The filter reason of tombstones.
const TOMBSTONE: &str = "tombstone";

/// `parse: { format: json }`, `parse: { format: lines, compression: gzip }`, `parse: { format: avro, subject: log }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParseOptions {
    /// How a record's value is written.
    pub format: Format,
    /// The only subject of the schema store whose versions are accepted, for `format: avro`. Others are rejected with
    /// `decode.schema-unknown`; without it, every schema of the store is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How the producer packed each value by itself (not the batches, which Kafka unpacks). Default `none`.
    #[serde(default)]
    pub compression: Compression,
    /// The deepest nesting of JSON or Avro, 1 to 512. Default 64.
    #[serde(default = "default_depth")]
    pub depth: u32,
    /// The largest value, packed and unpacked; a larger one is rejected with `decode.too-large`. Default 1MiB.
    #[serde(default = "default_max_bytes")]
    pub max_bytes: Bytes,
    /// The most lines in one value of `format: lines`; more are rejected with `decode.too-large`. Default 10,000.
    #[serde(default = "default_max_lines")]
    pub max_lines: u32,
    /// What becomes of a record without a value. Default `filter`.
    #[serde(default)]
    pub tombstone: Tombstone,
    /// Which of a record's fields mean what.
    #[serde(default)]
    pub mapping: MappingOptions,
}

/// How a record's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON value. An object's known fields become the log's, the rest its attributes; any other value is the body.
    Json,
    /// Lines of text: each is a log of its own with the line as body. One newline at the end is not a line; `\r\n` ends a
    /// line as well as `\n`.
    Lines,
    /// One Avro value in the Confluent wire format, with a schema of the store that `schemas` names. Its fields are mapped
    /// as those of a JSON object.
    Avro,
}

/// What becomes of a record without a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Tombstone {
    /// It is filtered, with the reason `tombstone`.
    #[default]
    Filter,
    /// It goes to the dead letter, with the reason `decode.tombstone`.
    Reject,
    /// It goes on without fields; steps that change fields leave it as it is. For a sink that deletes by it.
    Pass,
}

fn default_depth() -> u32 {
    64
}

fn default_max_bytes() -> Bytes {
    Bytes::mebi(1)
}

fn default_max_lines() -> u32 {
    10_000
}

impl ParseOptions {
    /// The defaults of a format.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            subject: None,
            compression: Compression::None,
            depth: default_depth(),
            max_bytes: default_max_bytes(),
            max_lines: default_max_lines(),
            tombstone: Tombstone::default(),
            mapping: MappingOptions::default(),
        }
    }
}

/// Builds the step. Avro takes its schemas from the store.
///
/// # Errors
/// A limit that makes no sense, a time pattern that is none, a field's name with two meanings, or a subject that the store
/// does not hold.
pub fn parse(options: &ParseOptions, store: &Arc<Store>) -> Result<Box<dyn Step>, BuildError> {
    if !(1..=DEPTH_MAX).contains(&options.depth) {
        return Err(BuildError::new("depth", format!("expected 1 to {DEPTH_MAX}")));
    }
    if options.max_lines == 0 {
        return Err(BuildError::new("max_lines", "expected at least 1"));
    }
    let bytes = usize::try_from(options.max_bytes.get()).unwrap_or(usize::MAX);
    if bytes == 0 {
        return Err(BuildError::new("max_bytes", "expected at least 1B"));
    }
    let limits = Limits { depth: options.depth, bytes, values: VALUES_MAX };
    Ok(Box::new(Parse {
        model: Model::new(&options.mapping)?,
        reading: reading(options, limits, store)?,
        tombstone: options.tombstone,
        reason: FilterReason::new(TOMBSTONE),
    }))
}

fn reading(options: &ParseOptions, limits: Limits, store: &Arc<Store>) -> Result<Reading, BuildError> {
    let subject = &options.subject;
    let format = match options.format {
        Format::Json | Format::Lines if subject.is_some() => {
            return Err(BuildError::new("subject", "only `format: avro` has a subject"));
        }
        Format::Lines => {
            let max_lines = options.max_lines as usize;
            return Ok(Reading::Lines(Lines { compression: options.compression, limits, max_lines }));
        }
        Format::Json => longshore_codec::Format::Json,
        Format::Avro => match subject {
            Some(subject) if store.newest(subject).is_none() => {
                return Err(BuildError::new("subject", "the schema store holds no such subject"));
            }
            Some(_) | None => longshore_codec::Format::Avro { subject: subject.clone() },
        },
    };
    Ok(Reading::Object(Decode::new(&format, store, options.compression, limits)))
}

enum Reading {
    Object(Decode),
    Lines(Lines),
}

struct Parse {
    reading: Reading,
    tombstone: Tombstone,
    reason: FilterReason,
    model: Model,
}

impl Step for Parse {
    fn name(&self) -> &str {
        "parse"
    }

    fn apply(&self, item: &mut Item) -> Result<Flow, Failure> {
        if item.fields().is_some() {
            return Err(Failure::halt(
                Reason::StepFailed,
                "the record is read already: `parse` stands twice",
            ));
        }
        let Some(bytes) = item.raw() else {
            return match self.tombstone {
                Tombstone::Filter => Ok(Flow::Drop(self.reason.clone())),
                Tombstone::Reject => Err(Failure::reject(Reason::DecodeTombstone, "no value")),
                Tombstone::Pass => Ok(Flow::Keep),
            };
        };
        match &self.reading {
            Reading::Object(decode) => {
                let log = object::log(bytes, decode, &self.model, &item.source)?;
                item.content = Content::Fields(log);
                Ok(Flow::Keep)
            }
            Reading::Lines(lines) => lines::logs(item, lines, &self.model),
        }
    }
}

/// The least room for a log's fields.
const LOG_FIELDS: usize = 8;

/// A log that holds a body, unless it is null, and what the record around it says.
fn log_of_body(body: Value, model: &Model, source: &longshore_core::RecordRef) -> Map {
    let mut log = Map::with_capacity(LOG_FIELDS);
    model.push_observed(&mut log, source);
    model.push_header_trace(&mut log, source);
    if !matches!(body, Value::Null) {
        log.push("body", body);
    }
    log
}

#[cfg(test)]
mod tests;
