//! Rows in the text format of `COPY`: columns between tabs, a line each, made on the CPU pool, so that publishing a
//! segment is handing its bytes over. The server reads each value with its column's own input function, so every type works.
//! (<https://www.postgresql.org/docs/current/sql-copy.html>, "Text Format".)

use std::sync::{Arc, OnceLock};

use longshore_core::{Block, Encode, Failure, Item, Reason, Row, Value};

use super::Looked;
use super::options::{Column, PostgresOptions, Source};
use crate::jsonl::JsonLines;

/// What a column's type asks of a value's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `json` or `jsonb`: a text stands in quotes.
    Json,
    /// `timestamptz` or `timestamp`: a whole number is a time since 1970, see [`since_1970`].
    Time,
    /// `bytea`: the bytes of whatever it is, so a text of letters and one that is no text are the same kind of value.
    Bytes,
    /// An array: a list is one, and each element is written as a column of its kind is.
    Array(Element),
    /// Anything else: the text as it is.
    Plain,
}

/// What an array's elements ask; each as the [`Kind`] of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    /// A list in a list is JSON too.
    Json,
    Time,
    Bytes,
    Plain,
}

/// Encodes items as lines for `COPY`.
pub(super) struct CopyLines {
    columns: Vec<Column>,
    /// With a key: which columns are of it. A line then has three columns more, by which the merge decides.
    key: Option<Vec<bool>>,
    looked: Arc<OnceLock<Looked>>,
}

impl CopyLines {
    pub(super) fn new(options: &PostgresOptions, looked: Arc<OnceLock<Looked>>) -> Self {
        let columns = options.columns.clone();
        let of_key = |key: &Vec<String>| columns.iter().map(|column| key.contains(&column.name)).collect();
        Self { key: options.key.as_ref().map(of_key), columns, looked }
    }

    fn column(&self, place: usize, item: &Item, out: &mut Vec<u8>) -> Result<(), Failure> {
        let column = &self.columns[place];
        // Of a deleted row its key alone is kept.
        let deleted = self.key.as_ref().is_some_and(|key| !key[place]) && item.is_tombstone();
        let written = match &column.source {
            Source::Record | Source::Value(_) if deleted => write(&Value::Null, Kind::Plain, out),
            Source::Record => record(item, out),
            Source::Value(extract) => {
                let looked = self.looked.get();
                let kind = looked.and_then(|looked| looked.kinds.get(place)).copied().unwrap_or(Kind::Plain);
                extract.extract(item).and_then(|value| write(&value, kind, out))
            }
        };
        written.map_err(|failure| named(failure, &column.name))
    }
}

impl Encode for CopyLines {
    fn encode(&self, item: &Item, block: &mut Block) -> Result<(), Failure> {
        let start = block.bytes.len();
        for place in 0..self.columns.len() {
            if place > 0 {
                block.bytes.push(b'\t');
            }
            self.column(place, item, &mut block.bytes)?;
        }
        if self.key.is_some() {
            let deletes = if item.is_tombstone() { 't' } else { 'f' };
            let (offset, index) = (item.source.offset(), item.index);
            block.bytes.extend_from_slice(format!("\t{offset}\t{index}\t{deletes}").as_bytes());
        }
        block.bytes.push(b'\n');
        let range = match (u32::try_from(start), u32::try_from(block.bytes.len())) {
            (Ok(start), Ok(end)) => start..end,
            _ => return Err(Failure::reject(Reason::SinkTooLarge, "a block of rows grew beyond 4 GiB")),
        };
        let (offset, headers) = (item.source.offset(), Vec::new());
        block.rows.push(Row { offset, key: None, value: Some(range), headers });
        Ok(())
    }
}

/// Says which column it was.
fn named(failure: Failure, column: &str) -> Failure {
    Failure::new(failure.class, failure.reason, format_args!("column {column}: {}", failure.detail()))
}

fn no_zero() -> Failure {
    Failure::reject(Reason::EncodeValue, "a zero byte, which no text of Postgres can hold")
}

/// The whole record as one JSON object.
fn record(item: &Item, out: &mut Vec<u8>) -> Result<(), Failure> {
    let mut line = Block::default();
    JsonLines.encode(item, &mut line)?;
    let json = line.bytes.strip_suffix(b"\n").unwrap_or(&line.bytes);
    if has_escaped_zero(json) {
        return Err(no_zero());
    }
    escape(json, out);
    Ok(())
}

/// Whether JSON text names a zero character, which `jsonb` refuses. `\\u0000` is a backslash and not one.
fn has_escaped_zero(json: &[u8]) -> bool {
    let mut at = 0;
    while let Some(found) = json[at..].iter().position(|byte| *byte == b'\\') {
        at += found;
        if json[at..].starts_with(b"\\u0000") {
            return true;
        }
        at += 2;
        if at >= json.len() {
            return false;
        }
    }
    false
}

fn write(value: &Value, kind: Kind, out: &mut Vec<u8>) -> Result<(), Failure> {
    match (value, kind) {
        (Value::Null, _) => out.extend_from_slice(b"\\N"),
        (Value::Bool(true), _) => out.extend_from_slice(b"true"),
        (Value::Bool(false), _) => out.extend_from_slice(b"false"),
        (Value::Int(number), Kind::Time) => time(since_1970(i128::from(*number)), out),
        (Value::UInt(number), Kind::Time) => time(since_1970(i128::from(*number)), out),
        (Value::Text(text), Kind::Time) => match text.parse::<i64>() {
            Ok(number) => time(since_1970(i128::from(number)), out),
            Err(_) => text_of(text, out)?,
        },
        (Value::Int(number), _) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        (Value::UInt(number), _) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        (Value::Array(values), Kind::Array(of)) => {
            let mut literal = Vec::new();
            array(values, of, &mut literal)?;
            escape(&literal, out);
        }
        (Value::Text(text), Kind::Plain | Kind::Array(_)) => text_of(text, out)?,
        (Value::Text(text), Kind::Bytes) => {
            out.push(b'\\');
            hex(text.as_bytes(), out);
        }
        (Value::Bytes(bytes), Kind::Plain | Kind::Time | Kind::Bytes | Kind::Array(_)) => {
            out.push(b'\\');
            hex(bytes, out);
        }
        (
            Value::Float(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::Bytes(_)
            | Value::Array(_)
            | Value::Object(_),
            _,
        ) => {
            let mut json = Vec::new();
            value.write_json(&mut json).map_err(|error| Failure::reject(Reason::EncodeValue, error))?;
            if kind == Kind::Bytes {
                out.push(b'\\');
                hex(&json, out);
                return Ok(());
            }
            if has_escaped_zero(&json) {
                return Err(no_zero());
            }
            escape(&json, out);
        }
    }
    Ok(())
}

/// A list as an array's literal (<https://www.postgresql.org/docs/current/arrays.html>): elements between braces, everything but null in quotes.
/// A list in a list is one more dimension.
fn array(values: &[Value], of: Element, out: &mut Vec<u8>) -> Result<(), Failure> {
    out.push(b'{');
    for (place, value) in values.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        match value {
            Value::Null => out.extend_from_slice(b"NULL"),
            Value::Array(inner) if of != Element::Json => array(inner, of, out)?,
            Value::Bool(_)
            | Value::Int(_)
            | Value::UInt(_)
            | Value::Float(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::Bytes(_)
            | Value::Array(_)
            | Value::Object(_) => element(&element_text(value, of)?, out),
        }
    }
    out.push(b'}');
    Ok(())
}

/// An element's text, before quotes: what a column of its kind would read.
fn element_text(value: &Value, of: Element) -> Result<Vec<u8>, Failure> {
    let mut text = Vec::new();
    let since = |number: i128, text: &mut Vec<u8>| time(since_1970(number), text);
    match (value, of) {
        (Value::Int(number), Element::Time) => since(i128::from(*number), &mut text),
        (Value::UInt(number), Element::Time) => since(i128::from(*number), &mut text),
        (Value::Text(said), Element::Bytes) => hex(said.as_bytes(), &mut text),
        (Value::Bytes(bytes), Element::Time | Element::Bytes | Element::Plain) => hex(bytes, &mut text),
        (Value::Text(said), Element::Time | Element::Plain) => {
            if said.as_bytes().contains(&0) {
                return Err(no_zero());
            }
            match said.parse::<i64>() {
                Ok(number) if of == Element::Time => since(i128::from(number), &mut text),
                Ok(_) | Err(_) => text.extend_from_slice(said.as_bytes()),
            }
        }
        (
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::UInt(_)
            | Value::Float(_)
            | Value::Number(_)
            | Value::Text(_)
            | Value::Bytes(_)
            | Value::Array(_)
            | Value::Object(_),
            _,
        ) => {
            let mut json = Vec::new();
            value.write_json(&mut json).map_err(|error| Failure::reject(Reason::EncodeValue, error))?;
            if of == Element::Bytes {
                hex(&json, &mut text);
            } else if has_escaped_zero(&json) {
                return Err(no_zero());
            } else {
                text = json;
            }
        }
    }
    Ok(text)
}

/// An array's element in quotes.
fn element(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn text_of(text: &str, out: &mut Vec<u8>) -> Result<(), Failure> {
    if text.as_bytes().contains(&0) {
        return Err(no_zero());
    }
    escape(text.as_bytes(), out);
    Ok(())
}

/// What stands for something else in the format is written with a backslash.
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len());
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\\' | b'\n' | b'\r' | b'\t')) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(match rest[at] {
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            _ => b"\\\\",
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

/// `bytea` in its hex form, its backslash escaped.
fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\x");
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

/// Nanoseconds since 1970: a number of up to fourteen digits is milliseconds, as conditions have them (until the year 5138), a longer one is
/// nanoseconds, as the field `time_unix_nano` has them.
fn since_1970(number: i128) -> i128 {
    if number.abs() < 100_000_000_000_000 { number * 1_000_000 } else { number }
}

/// Nanoseconds since 1970 as a time in UTC; Postgres rounds to microseconds. The date by H. Hinnant's `civil_from_days`
/// (<https://howardhinnant.github.io/date_algorithms.html>).
fn time(nanos: i128, out: &mut Vec<u8>) {
    const DAY: i128 = 86_400_000_000_000;
    let (days, rest) = (nanos.div_euclid(DAY), nanos.rem_euclid(DAY));
    let z = days + 719_468;
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i128::from(month <= 2);
    let (seconds, nanos) = (rest / 1_000_000_000, rest % 1_000_000_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{nanos:09}+00");
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARRAY: Kind = Kind::Array(Element::Plain);

    fn list(texts: &[&str]) -> Value {
        Value::Array(texts.iter().map(|text| Value::from(*text)).collect())
    }

    fn written(value: &Value, kind: Kind) -> String {
        let mut out = Vec::new();
        write(value, kind, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    /// Guarantee: each value reads back as what it was, whatever letters are in it.
    #[test]
    fn values_are_written_as_copy_reads_them() {
        for (value, kind, text) in [
            (Value::Null, Kind::Plain, "\\N"),
            (Value::Bool(true), Kind::Json, "true"),
            (Value::Int(-5), Kind::Plain, "-5"),
            (Value::UInt(u64::MAX), Kind::Plain, "18446744073709551615"),
            (Value::Float(0.5), Kind::Plain, "0.5"),
            (Value::Number("1.00".into()), Kind::Plain, "1.00"),
            (Value::from("a\tb\\N\r\n\"é"), Kind::Plain, "a\\tb\\\\N\\r\\n\"é"),
            (Value::from("a\"\n"), Kind::Json, "\"a\\\\\"\\\\n\""),
            (Value::Bytes(Box::from([0, 255])), Kind::Plain, "\\\\x00ff"),
            (Value::Array(vec![Value::Int(1), Value::Null]), Kind::Plain, "[1,null]"),
            (Value::from("\0\u{5}\\x41"), Kind::Bytes, "\\\\x00055c783431"),
            (Value::Bytes(Box::from([0, 255])), Kind::Bytes, "\\\\x00ff"),
            (Value::Array(vec![Value::from("\"")]), Kind::Bytes, "\\\\x5b225c22225d"),
            (Value::Null, Kind::Bytes, "\\N"),
            (list(&["a", "b\"\\", ""]), ARRAY, r#"{"a","b\\"\\\\",""}"#),
            (
                Value::Array(vec![Value::Null, Value::Int(-1), Value::Bool(true), Value::Float(0.5)]),
                ARRAY,
                r#"{NULL,"-1","true","0.5"}"#,
            ),
            (Value::Array(vec![list(&["a\n"]), list(&["NULL"])]), ARRAY, r#"{{"a\n"},{"NULL"}}"#),
            (Value::Array(Vec::new()), ARRAY, "{}"),
            (Value::from("{1,2}"), ARRAY, "{1,2}"),
            (
                Value::Array(vec![list(&["a"]), Value::from("b")]),
                Kind::Array(Element::Json),
                r#"{"[\\"a\\"]","\\"b\\""}"#,
            ),
            (
                Value::Array(vec![Value::Bytes(Box::from([0, 255])), Value::from("\\x41"), Value::Int(1)]),
                Kind::Array(Element::Bytes),
                r#"{"\\\\x00ff","\\\\x5c783431","\\\\x31"}"#,
            ),
            (
                Value::Array(vec![
                    Value::Int(20_240_101),
                    list(&["-1"]),
                    Value::from("2026-01-31T00:00:00Z"),
                ]),
                Kind::Array(Element::Time),
                r#"{"1970-01-01 05:37:20.101000000+00",{"1969-12-31 23:59:59.999000000+00"},"2026-01-31T00:00:00Z"}"#,
            ),
            (Value::Int(0), Kind::Time, "1970-01-01 00:00:00.000000000+00"),
            (Value::from("1700000000123456789"), Kind::Time, "2023-11-14 22:13:20.123456789+00"),
            (Value::Int(951_782_400_000_000_000), Kind::Time, "2000-02-29 00:00:00.000000000+00"),
            (Value::Int(-1), Kind::Time, "1969-12-31 23:59:59.999000000+00"),
            (Value::Int(1_700_000_000_123), Kind::Time, "2023-11-14 22:13:20.123000000+00"),
            (Value::from("2026-01-31T00:00:00Z"), Kind::Time, "2026-01-31T00:00:00Z"),
        ] {
            assert_eq!(written(&value, kind), text, "{value:?}");
        }
    }

    /// Guarantee (I9): a zero byte is refused before it comes to the server, and what only looks like one is not.
    #[test]
    fn zero_bytes_are_refused_before_the_server_sees_them() {
        for (value, kind) in [
            (Value::from("a\0b"), Kind::Plain),
            (Value::from("\0"), Kind::Json),
            (Value::Array(vec![Value::from("\0")]), Kind::Plain),
            (list(&["\0"]), ARRAY),
            (list(&["\0"]), Kind::Array(Element::Json)),
        ] {
            let failure = write(&value, kind, &mut Vec::new()).unwrap_err();
            assert_eq!(failure.reason, Reason::EncodeValue);
        }
        assert_eq!(written(&Value::from("\\u0000"), Kind::Json), "\"\\\\\\\\u0000\"");
    }
}
