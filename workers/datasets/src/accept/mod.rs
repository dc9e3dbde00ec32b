//! `accept`: from a record's bytes to a document.

mod shape;

use std::sync::Arc;

use longshore_codec::json::{DEPTH_MAX, Limits};
use longshore_codec::unpack::unpack;
use longshore_codec::{Compression, Decode, Store};
use longshore_conditions::BuildError;
use longshore_core::human::Bytes;
use longshore_core::{Content, Failure, FilterReason, Flow, Item, Map, Origin, Reason, Step, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most values in one document; its bulk is text, which is one.
const VALUES_MAX: u32 = 100_000;

/// The filter reason of tombstones.
const TOMBSTONE: &str = "tombstone";

/// `accept: {}`, `accept: { format: text, compression: zstd }` or `accept: { format: avro, subject: document }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AcceptOptions {
    /// How a record's value is written. Default `json`.
    pub format: Format,
    /// The only subject of the schema store whose versions are accepted, for `format: avro`. Others are rejected with
    /// `decode.schema-unknown`; without it, every schema of the store is accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// How the producer packed each value by itself (not the batches, which Kafka unpacks). Default `none`.
    pub compression: Compression,
    /// The deepest nesting of JSON or Avro, 1 to 512. Default 64.
    pub depth: u32,
    /// The largest value, packed and unpacked; a larger one is rejected with `decode.too-large`. Default 8MiB.
    pub max_bytes: Bytes,
    /// What becomes of a record without a value. Default `filter`.
    pub tombstone: Tombstone,
}

/// How a record's value is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A JSON object with `text` (Dolma, datatrove and plain) or `messages` (chat). A missing `id` becomes the record's
    /// identity, `topic/partition/offset/index`; fields that a document does not have become metadata.
    #[default]
    Json,
    /// The value is the text, for example Markdown.
    Text,
    /// One Avro record in the Confluent wire format, with a schema of the store that `schemas` names. It is accepted in
    /// the shapes of `json`.
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

impl Default for AcceptOptions {
    fn default() -> Self {
        Self {
            format: Format::Json,
            subject: None,
            compression: Compression::None,
            depth: 64,
            max_bytes: Bytes::mebi(8),
            tombstone: Tombstone::Filter,
        }
    }
}

/// Builds the step. Avro takes its schemas from the store.
///
/// # Errors
/// A limit that makes no sense, or a subject that the store does not hold.
pub fn accept(options: &AcceptOptions, store: &Arc<Store>) -> Result<Box<dyn Step>, BuildError> {
    if !(1..=DEPTH_MAX).contains(&options.depth) {
        return Err(BuildError::new("depth", format!("expected 1 to {DEPTH_MAX}")));
    }
    let bytes = usize::try_from(options.max_bytes.get()).unwrap_or(usize::MAX);
    if bytes == 0 {
        return Err(BuildError::new("max_bytes", "expected at least 1B"));
    }
    let limits = Limits { depth: options.depth, bytes, values: VALUES_MAX };
    Ok(Box::new(Accept {
        reading: reading(options, limits, store)?,
        tombstone: options.tombstone,
        reason: FilterReason::new(TOMBSTONE),
    }))
}

fn reading(options: &AcceptOptions, limits: Limits, store: &Arc<Store>) -> Result<Reading, BuildError> {
    let subject = &options.subject;
    let format = match options.format {
        Format::Json | Format::Text if subject.is_some() => {
            return Err(BuildError::new("subject", "only `format: avro` has a subject"));
        }
        Format::Text => return Ok(Reading::Text { compression: options.compression, limits }),
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
    Text { compression: Compression, limits: Limits },
}

struct Accept {
    reading: Reading,
    tombstone: Tombstone,
    reason: FilterReason,
}

impl Step for Accept {
    fn name(&self) -> &str {
        "accept"
    }

    fn apply(&self, item: &mut Item) -> Result<Flow, Failure> {
        if item.fields().is_some() {
            return Err(Failure::halt(
                Reason::StepFailed,
                "the record is read already: `accept` stands twice",
            ));
        }
        let Some(bytes) = item.raw() else {
            return match self.tombstone {
                Tombstone::Filter => Ok(Flow::Drop(self.reason.clone())),
                Tombstone::Reject => Err(Failure::reject(Reason::DecodeTombstone, "no value")),
                Tombstone::Pass => Ok(Flow::Keep),
            };
        };
        let document = match &self.reading {
            Reading::Object(decode) => match decode.decode(bytes)? {
                Value::Object(fields) => shape::document(fields, || origin(item))?,
                _ => return Err(Failure::reject(Reason::DecodeShape, "expected an object")),
            },
            Reading::Text { compression, limits } => {
                document_of_text(&unpack(bytes, *compression, limits)?, item)?
            }
        };
        item.content = Content::Fields(document);
        Ok(Flow::Keep)
    }
}

fn document_of_text(bytes: &[u8], item: &Item) -> Result<Map, Failure> {
    if bytes.is_empty() {
        return Err(Failure::reject(Reason::DecodeEmpty, "no text"));
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Failure::reject(Reason::DecodeUtf8, format!("at byte {}", error.valid_up_to())))?;
    let mut document = Map::with_capacity(4);
    document.push("id", Value::from(origin(item).as_str()));
    document.push("text", Value::from(text));
    Ok(document)
}

/// The record's identity.
fn origin(item: &Item) -> String {
    let record = &item.source;
    let (topic, partition) = (record.pair().topic.clone(), record.pair().partition);
    Origin { topic, partition, offset: record.offset(), index: item.index }.to_string()
}
