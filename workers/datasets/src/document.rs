//! What the steps after `accept` share: a document's texts and its measured values.

use compact_str::CompactString;
use longshore_core::{Failure, Item, Map, Reason, Value};

/// The fields of a document to change. A record that no step has read is a mistake in the pipeline, and would be one for
/// every record.
pub(crate) fn fields(item: &mut Item) -> Result<&mut Map, Failure> {
    let unread =
        || Failure::halt(Reason::StepFailed, "the record is not read yet: put `accept` before this step");
    item.fields_mut().ok_or_else(unread)
}

/// The text, or the contents of a chat's messages in their order.
///
/// # Errors
/// Reject when a step has left no text.
pub(crate) fn texts(document: &Map) -> Result<Vec<&str>, Failure> {
    if let Some(Value::Text(text)) = document.get("text") {
        return Ok(vec![text]);
    }
    match document.get("messages") {
        Some(Value::Array(messages)) => Ok(messages.iter().filter_map(content).collect()),
        Some(_) | None => {
            Err(Failure::reject(Reason::DecodeShape, "the document has neither text nor messages"))
        }
    }
}

fn content(message: &Value) -> Option<&str> {
    message.as_object()?.get("content")?.as_str()
}

/// Lets `change` at each text of [`texts`].
pub(crate) fn change_texts(
    document: &mut Map,
    mut change: impl FnMut(&mut CompactString),
) -> Result<(), Failure> {
    texts(document)?;
    if let Some(Value::Text(text)) = document.get_mut("text") {
        change(text);
        return Ok(());
    }
    let Some(Value::Array(messages)) = document.get_mut("messages") else { return Ok(()) };
    for message in messages {
        if let Value::Object(message) = message
            && let Some(Value::Text(text)) = message.get_mut("content")
        {
            change(text);
        }
    }
    Ok(())
}

/// Notes what a step measured, as `attributes["<step>@<version>"]["<name>"]`.
pub(crate) fn note(document: &mut Map, step: &str, name: &str, value: Value) {
    let mut measured = Map::with_capacity(1);
    measured.push(name, value);
    match document.get_mut("attributes") {
        Some(Value::Object(attributes)) => match attributes.get_mut(step) {
            Some(Value::Object(known)) => {
                for (name, value) in measured {
                    known.insert(name, value);
                }
            }
            Some(_) | None => {
                attributes.insert(step, Value::Object(measured));
            }
        },
        Some(_) | None => {
            let mut attributes = Map::with_capacity(1);
            attributes.push(step, Value::Object(measured));
            document.insert("attributes", Value::Object(attributes));
        }
    }
}
