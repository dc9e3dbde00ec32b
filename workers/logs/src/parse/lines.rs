//! Lines of text, one or several per record.

use longshore_codec::json::Limits;
use longshore_codec::unpack::{Compression, unpack};
use longshore_core::{Content, Failure, Flow, Item, Reason, Value};

use super::log_of_body;
use crate::mapping::Model;

/// How lines are read.
pub(super) struct Lines {
    pub(super) compression: Compression,
    pub(super) limits: Limits,
    pub(super) max_lines: usize,
}

/// Turns a value into one log per line. The lines of a value are its children in their order, the same whenever it is
/// read again.
pub(super) fn logs(item: &mut Item, lines: &Lines, model: &Model) -> Result<Flow, Failure> {
    let bytes = unpack(item.raw().unwrap_or_default(), lines.compression, &lines.limits)?;
    if bytes.is_empty() {
        return Err(Failure::reject(Reason::DecodeEmpty, "no line"));
    }
    let text = std::str::from_utf8(&bytes)
        .map_err(|error| Failure::reject(Reason::DecodeUtf8, format!("at byte {}", error.valid_up_to())))?;
    let text = text.strip_suffix('\n').unwrap_or(text);
    if !text.contains('\n') {
        let log = log_of_body(Value::from(without_return(text)), model, &item.source);
        item.content = Content::Fields(log);
        return Ok(Flow::Keep);
    }
    // Counted first: a value of nothing but newlines would make a million logs out of a megabyte.
    let count = text.bytes().filter(|byte| *byte == b'\n').count() + 1;
    if count > lines.max_lines {
        let detail = format!("{count} lines, the limit is {}", lines.max_lines);
        return Err(Failure::reject(Reason::DecodeTooLarge, detail));
    }
    let children = text.split('\n').zip(0u32..).map(|(line, index)| Item {
        source: item.source.clone(),
        index,
        attempt: item.attempt,
        key: item.key.clone(),
        content: Content::Fields(log_of_body(Value::from(without_return(line)), model, &item.source)),
        trace: item.trace.clone(),
    });
    Ok(Flow::Split(children.collect()))
}

fn without_return(line: &str) -> &str {
    line.strip_suffix('\r').unwrap_or(line)
}
