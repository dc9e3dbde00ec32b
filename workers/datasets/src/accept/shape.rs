//! The shapes of documents: `{text}`, Dolma, datatrove, chat.

use compact_str::{CompactString, ToCompactString};
use longshore_core::{Failure, Map, Reason, Value};

/// What a record's object holds for a document.
#[derive(Default)]
struct Parts {
    id: Option<CompactString>,
    text: Option<Value>,
    messages: Option<Value>,
    source: Option<Value>,
    added: Option<Value>,
    created: Option<Value>,
    attributes: Option<Value>,
    metadata: Map,
    /// Fields of the record that a document does not have; they join the metadata.
    others: Vec<(CompactString, Value)>,
}

/// Turns a record's fields into a document. Nothing is dropped: what a document has no field for is metadata.
pub(super) fn document(fields: Map, identity: impl FnOnce() -> String) -> Result<Map, Failure> {
    let mut parts = Parts::default();
    for (name, value) in fields {
        parts.sort_in(name, value)?;
    }
    let Parts { id, text, messages, source, added, created, attributes, mut metadata, others } = parts;
    let content = match (text, messages) {
        (Some(text), None) => ("text", text),
        (None, Some(messages)) => ("messages", messages),
        (Some(_), Some(_)) => return Err(unfit("both `text` and `messages`")),
        (None, None) => return Err(unfit("neither `text` nor `messages`")),
    };
    for (name, value) in others {
        let free =
            if metadata.get(&name).is_some() { compact_str::format_compact!("record.{name}") } else { name };
        metadata.insert(free, value);
    }
    let mut document = Map::with_capacity(8);
    document.push("id", Value::Text(id.unwrap_or_else(|| identity().into())));
    document.push(content.0, content.1);
    let fields = [("source", source), ("added", added), ("created", created)];
    for (name, value) in fields.into_iter().filter_map(|(name, value)| Some((name, value?))) {
        document.push(name, value);
    }
    if !metadata.is_empty() {
        document.push("metadata", Value::Object(metadata));
    }
    if let Some(attributes) = attributes {
        document.push("attributes", attributes);
    }
    Ok(document)
}

impl Parts {
    fn sort_in(&mut self, name: CompactString, value: Value) -> Result<(), Failure> {
        match (name.as_str(), value) {
            ("text", value @ Value::Text(_)) => self.text = Some(value),
            ("text", Value::Null) => {}
            ("text", _) => return Err(unfit("`text` is not text")),
            ("messages", Value::Array(messages)) => {
                check_chat(&messages)?;
                self.messages = Some(Value::Array(messages));
            }
            ("messages", Value::Null) => {}
            ("messages", _) => return Err(unfit("`messages` is not a list")),
            ("id", value) => self.id = id(value)?,
            ("metadata", Value::Object(metadata)) => self.metadata = metadata,
            ("metadata", Value::Null) => {}
            ("metadata", _) => return Err(unfit("`metadata` is not an object")),
            ("attributes", Value::Object(attributes)) if attributes.is_empty() => {}
            ("attributes", value @ Value::Object(_)) => self.attributes = Some(value),
            ("source", value @ Value::Text(_)) => self.source = Some(value),
            ("added", value @ Value::Text(_)) => self.added = Some(value),
            ("created", value @ Value::Text(_)) => self.created = Some(value),
            // Writers of typed rows (datatrove, Parquet, Avro) spell an absent field as null, an empty list or map.
            ("attributes" | "source" | "added" | "created" | "media", Value::Null) => {}
            ("media", Value::Array(media)) if media.is_empty() => {}
            (_, value) => self.others.push((name, value)),
        }
        Ok(())
    }
}

/// An id as text; none when it says nothing.
fn id(value: Value) -> Result<Option<CompactString>, Failure> {
    match value {
        Value::Text(text) => Ok(Some(text).filter(|text| !text.is_empty())),
        Value::Int(number) => Ok(Some(number.to_compact_string())),
        Value::UInt(number) => Ok(Some(number.to_compact_string())),
        Value::Null => Ok(None),
        Value::Bool(_)
        | Value::Float(_)
        | Value::Number(_)
        | Value::Bytes(_)
        | Value::Array(_)
        | Value::Object(_) => Err(unfit("`id` is neither text nor a whole number")),
    }
}

/// A chat is a list of messages, each with its role. The content is text; null (a tool call) and a list of parts are kept
/// as they are and count as no text.
fn check_chat(messages: &[Value]) -> Result<(), Failure> {
    if messages.is_empty() {
        return Err(unfit("`messages` is empty"));
    }
    for message in messages {
        let message = message.as_object().ok_or_else(|| unfit("a message is not an object"))?;
        if message.get("role").and_then(Value::as_str).is_none() {
            return Err(unfit("a message has no `role`"));
        }
        match message.get("content") {
            Some(Value::Text(_) | Value::Null | Value::Array(_)) => {}
            Some(_) | None => return Err(unfit("a message's `content` is not text")),
        }
    }
    Ok(())
}

fn unfit(detail: &str) -> Failure {
    Failure::reject(Reason::DecodeShape, detail)
}
