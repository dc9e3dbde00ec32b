//! One record, as a line for people or as a JSON object.

use longshore_core::headers;
use longshore_kafka::ReadRecord;
use serde_json::{Map, Value, json};

/// How many columns standard output has; none when it is no terminal.
pub(super) fn terminal_width() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
}

/// `partition/offset key value`, control characters escaped, cut to the width. A letter says first why it is one, and
/// where its record stood.
pub(super) fn line(record: &ReadRecord, width: Option<usize>) -> String {
    let mut line = format!("{}/{}", record.partition, record.offset);
    for name in [headers::REASON, headers::ORIGIN] {
        if let Some(value) = record.header(name) {
            let short = name.strip_prefix(headers::PREFIX).unwrap_or(name);
            line.push_str(&format!(" {short}={}", value.escape_debug()));
        }
    }
    line.push(' ');
    line.push_str(&words(record.key.as_deref(), "-", width));
    line.push(' ');
    line.push_str(&words(record.value.as_deref(), "(tombstone)", width));
    cut(line, width)
}

/// Bytes as text without control characters. What a cut takes away anyway is not even looked at: a value may have
/// 20 MB.
fn words(bytes: Option<&[u8]>, absent: &str, width: Option<usize>) -> String {
    let Some(bytes) = bytes else { return absent.to_owned() };
    // A character has at most four bytes.
    let enough = width.map_or(bytes.len(), |width| bytes.len().min(width * 4 + 4));
    let text = String::from_utf8_lossy(&bytes[..enough]);
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() { out.extend(character.escape_default()) } else { out.push(character) }
    }
    out
}

fn cut(line: String, width: Option<usize>) -> String {
    match width {
        Some(width) if line.chars().count() > width => {
            let mut short: String = line.chars().take(width.saturating_sub(1)).collect();
            short.push('\u{2026}');
            short
        }
        _ => line,
    }
}

/// The record as a JSON object of one line:
/// `topic`, `partition`, `offset`, `timestamp_ms` (null without), `key` and `value`, and `headers`, a list of
/// `{name, value}`. Null is a null key, a tombstone or a header without a value. What is no UTF-8 stands in base64
/// (RFC 4648, section 4) under `key_base64`, `value_base64` and `name_base64` instead.
pub(super) fn json(topic: &str, record: &ReadRecord) -> Value {
    let mut object = Map::new();
    object.insert("topic".to_owned(), json!(topic));
    object.insert("partition".to_owned(), json!(record.partition));
    object.insert("offset".to_owned(), json!(record.offset));
    object
        .insert("timestamp_ms".to_owned(), json!((record.timestamp_ms >= 0).then_some(record.timestamp_ms)));
    insert(&mut object, "key", record.key.as_deref());
    insert(&mut object, "value", record.value.as_deref());
    let headers = record.headers.iter().map(|(name, value)| {
        let mut header = Map::new();
        insert(&mut header, "name", Some(name));
        insert(&mut header, "value", value.as_deref());
        Value::Object(header)
    });
    object.insert("headers".to_owned(), headers.collect());
    Value::Object(object)
}

fn insert(object: &mut Map<String, Value>, field: &str, bytes: Option<&[u8]>) {
    match bytes.map(std::str::from_utf8) {
        None => object.insert(field.to_owned(), Value::Null),
        Some(Ok(text)) => object.insert(field.to_owned(), json!(text)),
        Some(Err(_)) => object.insert(format!("{field}_base64"), json!(base64(bytes.unwrap_or_default()))),
    };
}

/// RFC 4648, section 4, with padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| bits << 8 | u32::from(chunk.get(at).copied().unwrap_or(0)));
        for place in 0..4 {
            if place <= chunk.len() {
                out.push(char::from(LETTERS[(bits >> (18 - 6 * place) & 63) as usize]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> ReadRecord {
        ReadRecord {
            partition: 3,
            offset: 42,
            timestamp_ms: 1_700_000_000_000,
            key: Some(b"k".to_vec()),
            value: Some("one\ntwo \u{e9}".as_bytes().to_vec()),
            headers: Vec::new(),
        }
    }

    #[test]
    fn a_line_has_no_control_characters_and_fits() {
        assert_eq!(line(&record(), None), "3/42 k one\\ntwo \u{e9}");
        assert_eq!(line(&record(), Some(12)), "3/42 k one\\\u{2026}");
        let hostile = ReadRecord { value: Some(b"\x1b[2J\xff".to_vec()), key: None, ..record() };
        assert_eq!(line(&hostile, None), "3/42 - \\u{1b}[2J\u{fffd}");
        let tombstone = ReadRecord { value: None, ..record() };
        assert_eq!(line(&tombstone, None), "3/42 k (tombstone)");
        let large = ReadRecord { value: Some(vec![b'x'; 1 << 20]), ..record() };
        assert_eq!(line(&large, Some(80)).chars().count(), 80);
    }

    #[test]
    fn a_letter_says_why_and_whence() {
        let header = |name: &str, value: &str| (name.as_bytes().to_vec(), Some(value.as_bytes().to_vec()));
        let headers = vec![header(headers::ORIGIN, "in/0/7/0"), header(headers::REASON, "decode.json")];
        let letter = ReadRecord { headers, ..record() };
        assert_eq!(line(&letter, None), "3/42 reason=decode.json origin=in/0/7/0 k one\\ntwo \u{e9}");
    }

    #[test]
    fn what_is_no_text_stands_in_base64() {
        let headers = vec![(vec![0xff], None), (b"h".to_vec(), Some(b"v".to_vec()))];
        let odd = ReadRecord { key: None, value: Some(vec![0xff, 0xfe]), headers, ..record() };
        let expected = serde_json::json!({
            "topic": "in", "partition": 3, "offset": 42, "timestamp_ms": 1_700_000_000_000_i64, "key": null,
            "value_base64": "//4=",
            "headers": [{"name_base64": "/w==", "value": null}, {"name": "h", "value": "v"}],
        });
        assert_eq!(json("in", &odd), expected);
    }

    /// The examples of RFC 4648, section 10.
    #[test]
    fn base64_is_that_of_the_rfc() {
        for (plain, encoded) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }
}
