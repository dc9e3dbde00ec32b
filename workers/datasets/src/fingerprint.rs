//! `fingerprint`: the key by which equal documents are found.

use longshore_conditions::BuildError;
use longshore_core::{Failure, Flow, Item, Map, Step, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::{fields, note, texts};
use crate::normalize::composed;

/// The step and its version, as its measured values are named.
const STEP: &str = "fingerprint@1";

/// `fingerprint: {}`: BLAKE3 (256 bits, hexadecimal) of the text in NFC, as `attributes["fingerprint@1"].blake3`. Of a
/// chat: of each message's role and content in NFC, each with its length before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FingerprintOptions {}

/// Builds the step.
///
/// # Errors
/// None today; every step is built the same way.
pub fn fingerprint(_: &FingerprintOptions) -> Result<Box<dyn Step>, BuildError> {
    Ok(Box::new(Fingerprint))
}

struct Fingerprint;

impl Step for Fingerprint {
    fn name(&self) -> &str {
        "fingerprint"
    }

    fn apply(&self, item: &mut Item) -> Result<Flow, Failure> {
        if item.is_tombstone() {
            return Ok(Flow::Keep);
        }
        let document = fields(item)?;
        let hash = hash(document)?.to_hex();
        note(document, STEP, "blake3", Value::from(hash.as_str()));
        Ok(Flow::Keep)
    }
}

fn hash(document: &Map) -> Result<blake3::Hash, Failure> {
    if let Some(Value::Text(text)) = document.get("text") {
        return Ok(match composed(text) {
            Some(composed) => blake3::hash(composed.as_bytes()),
            None => blake3::hash(text.as_bytes()),
        });
    }
    texts(document)?;
    let mut hasher = blake3::Hasher::new();
    let Some(Value::Array(messages)) = document.get("messages") else { return Ok(hasher.finalize()) };
    for message in messages {
        for name in ["role", "content"] {
            let text = message.as_object().and_then(|message| message.get(name)).and_then(Value::as_str);
            add(&mut hasher, text.unwrap_or_default());
        }
    }
    Ok(hasher.finalize())
}

/// Adds a text so that no two lists of texts run into the same bytes.
fn add(hasher: &mut blake3::Hasher, text: &str) {
    let composed = composed(text);
    let text = composed.as_deref().unwrap_or(text);
    hasher.update(&(text.len() as u64).to_le_bytes());
    hasher.update(text.as_bytes());
}
