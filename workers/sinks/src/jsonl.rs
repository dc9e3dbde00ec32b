//! JSON lines: one object for each item, its origin as the last field.

use longshore_core::json::{write_base64, write_text};
use longshore_core::{Block, Content, Encode, Failure, Item, Map, Reason, Row};

/// The field that carries a row's identity, `topic/partition/offset/index`. A record's own field of this name does not
/// go out: the identity in the files must be one that readers can count on.
pub const ORIGIN_FIELD: &str = "_origin";

/// Encodes items as JSON lines.
///
/// - Fields go out as they are, without a field named [`ORIGIN_FIELD`].
/// - An item that was not read goes out as `{"body":"text"}`, as `{"body_base64":"..."}` when it is not UTF-8, and as
///   `{"body":null}` when it is a tombstone.
#[derive(Clone, Copy, Debug, Default)]
pub struct JsonLines;

impl Encode for JsonLines {
    fn encode(&self, item: &Item, block: &mut Block) -> Result<(), Failure> {
        let start = block.bytes.len();
        let out = &mut block.bytes;
        out.push(b'{');
        match &item.content {
            Content::Fields(fields) => write_fields(fields, out)?,
            Content::Original | Content::Raw(_) => write_body(item.raw(), out),
        }
        write_origin(item, out);
        out.extend_from_slice(b"}\n");
        let row = row_range(start, out.len())?;
        block.rows.push(Row {
            offset: item.source.offset(),
            key: None,
            value: Some(row),
            headers: Vec::new(),
        });
        Ok(())
    }
}

fn write_fields(fields: &Map, out: &mut Vec<u8>) -> Result<(), Failure> {
    for (name, value) in fields.iter() {
        if name == ORIGIN_FIELD {
            continue;
        }
        write_text(name, out);
        out.push(b':');
        value.write_json(out).map_err(|error| Failure::reject(Reason::EncodeValue, error))?;
        out.push(b',');
    }
    Ok(())
}

fn write_body(raw: Option<&[u8]>, out: &mut Vec<u8>) {
    match raw.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => out.extend_from_slice(br#""body":null,"#),
        Some((_, Ok(text))) => {
            out.extend_from_slice(br#""body":"#);
            write_text(text, out);
            out.push(b',');
        }
        Some((bytes, Err(_))) => {
            out.extend_from_slice(br#""body_base64":"#);
            write_base64(bytes, out);
            out.push(b',');
        }
    }
}

/// Writes the origin without making one: a topic's name needs no escape (Kafka allows `[a-zA-Z0-9._-]` alone), and an
/// `Origin` would count references of the shared name for every row.
fn write_origin(item: &Item, out: &mut Vec<u8>) {
    let pair = item.source.pair();
    out.extend_from_slice(br#""_origin":""#);
    out.extend_from_slice(pair.topic.as_str().as_bytes());
    out.push(b'/');
    out.extend_from_slice(itoa::Buffer::new().format(pair.partition.0).as_bytes());
    out.push(b'/');
    out.extend_from_slice(itoa::Buffer::new().format(item.source.offset().0).as_bytes());
    out.push(b'/');
    out.extend_from_slice(itoa::Buffer::new().format(item.index).as_bytes());
    out.push(b'"');
}

fn row_range(start: usize, end: usize) -> Result<std::ops::Range<u32>, Failure> {
    match (u32::try_from(start), u32::try_from(end)) {
        (Ok(start), Ok(end)) => Ok(start..end),
        _ => Err(Failure::reject(Reason::SinkTooLarge, "a block of rows grew beyond 4 GiB")),
    }
}

#[cfg(test)]
mod tests {
    use longshore_core::{ChunkBuilder, Epoch, Lane, Offset, PairId, RecordRef, Value};

    use super::*;

    fn item(value: Option<&[u8]>) -> Item {
        let mut chunk = ChunkBuilder::new(PairId::new("logs.raw", 3), Lane::Input, Epoch(1));
        chunk.record(Offset(42), 0, None, value);
        Item::new(RecordRef::new(&chunk.build(None), 0).unwrap())
    }

    fn line(item: &Item) -> String {
        let mut block = Block::default();
        JsonLines.encode(item, &mut block).unwrap();
        assert_eq!(block.rows[0].value, Some(0..block.bytes.len() as u32));
        assert_eq!(block.rows[0].offset, Offset(42));
        String::from_utf8(block.bytes).unwrap()
    }

    #[test]
    fn unread_items_keep_their_bytes() {
        let origin = r#""_origin":"logs.raw/3/42/0"}"#;
        assert_eq!(line(&item(Some(b"a \"line\""))), format!("{{\"body\":\"a \\\"line\\\"\",{origin}\n"));
        assert_eq!(line(&item(Some(b"\xff\x00"))), format!("{{\"body_base64\":\"/wA=\",{origin}\n"));
        assert_eq!(line(&item(None)), format!("{{\"body\":null,{origin}\n"));
    }

    /// Scenario: a record brings its own `_origin`. Guarantee: the row carries ours, once.
    #[test]
    fn a_forged_origin_does_not_go_out() {
        let mut fields = Map::default();
        fields.push("_origin", Value::from("forged/0/0/0"));
        fields.push("n", Value::UInt(u64::MAX));
        let mut item = item(Some(b"{}"));
        item.index = 7;
        item.content = Content::Fields(fields);
        assert_eq!(line(&item), "{\"n\":18446744073709551615,\"_origin\":\"logs.raw/3/42/7\"}\n");
    }

    #[test]
    fn what_json_cannot_express_is_rejected() {
        let mut fields = Map::default();
        fields.push("n", Value::Float(f64::INFINITY));
        let mut item = item(None);
        item.content = Content::Fields(fields);
        let failure = JsonLines.encode(&item, &mut Block::default()).unwrap_err();
        assert_eq!(failure.reason, Reason::EncodeValue);
    }
}
