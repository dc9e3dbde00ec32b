//! `accept`: from a record's bytes to a document.

mod shape;

use longshore_codec::json::{self, DEPTH_MAX, Limits};
use longshore_conditions::BuildError;
use longshore_core::human::Bytes;
use longshore_core::{Content, Failure, FilterReason, Flow, Item, Lane, Map, Origin, Reason, Step, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The most values in one document's JSON; its bulk is text, which is one.
const VALUES_MAX: u32 = 100_000;

/// The filter reason of tombstones.
const TOMBSTONE: &str = "tombstone";

/// The header that names the identity of a record in the pipeline's own retry topic.
const ORIGIN_HEADER: &[u8] = b"longshore.origin";

/// `accept: {}` or `accept: { format: text }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AcceptOptions {
    /// How a record's value is written. Default `json`.
    pub format: Format,
    /// The deepest nesting of JSON, 1 to 512. Default 64.
    pub depth: u32,
    /// The largest value; a larger one is rejected with `decode.too-large`. Default 8MiB.
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
}

impl Default for AcceptOptions {
    fn default() -> Self {
        Self { format: Format::Json, depth: 64, max_bytes: Bytes::mebi(8), tombstone: Tombstone::Filter }
    }
}

/// Builds the step.
///
/// # Errors
/// A limit that makes no sense.
pub fn accept(options: &AcceptOptions) -> Result<Box<dyn Step>, BuildError> {
    if !(1..=DEPTH_MAX).contains(&options.depth) {
        return Err(BuildError::new("depth", format!("expected 1 to {DEPTH_MAX}")));
    }
    let bytes = usize::try_from(options.max_bytes.get()).unwrap_or(usize::MAX);
    if bytes == 0 {
        return Err(BuildError::new("max_bytes", "expected at least 1B"));
    }
    Ok(Box::new(Accept {
        format: options.format,
        limits: Limits { depth: options.depth, bytes, values: VALUES_MAX },
        tombstone: options.tombstone,
        reason: FilterReason::new(TOMBSTONE),
    }))
}

struct Accept {
    format: Format,
    limits: Limits,
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
            };
        };
        let document = match self.format {
            Format::Json => match json::parse(bytes, &self.limits)? {
                Value::Object(fields) => shape::document(fields, || origin(item))?,
                _ => return Err(Failure::reject(Reason::DecodeShape, "expected an object")),
            },
            Format::Text => self.document_of_text(bytes, item)?,
        };
        item.content = Content::Fields(document);
        Ok(Flow::Keep)
    }
}

impl Accept {
    fn document_of_text(&self, bytes: &[u8], item: &Item) -> Result<Map, Failure> {
        self.limits.check_bytes(bytes.len())?;
        if bytes.is_empty() {
            return Err(Failure::reject(Reason::DecodeEmpty, "no text"));
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            Failure::reject(Reason::DecodeUtf8, format!("at byte {}", error.valid_up_to()))
        })?;
        let mut document = Map::with_capacity(4);
        document.push("id", Value::from(origin(item).as_str()));
        document.push("text", Value::from(text));
        Ok(document)
    }
}

/// The record's identity. In the retry lane its header names it; on an input the same header would be forged.
fn origin(item: &Item) -> String {
    let record = &item.source;
    let header = || record.headers().find(|header| header.name == ORIGIN_HEADER)?.value;
    let carried = match record.chunk().lane() {
        Lane::Input => None,
        Lane::Retry => header().and_then(|value| std::str::from_utf8(value).ok()?.parse::<Origin>().ok()),
    };
    let own = || Origin {
        topic: record.pair().topic.clone(),
        partition: record.pair().partition,
        offset: record.offset(),
        index: item.index,
    };
    carried.unwrap_or_else(own).to_string()
}
