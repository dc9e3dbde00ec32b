//! What the conditions promise, from the outside.

mod errors;
mod evaluation;
mod failing;
mod letters;
mod limits;
mod steps;

use longshore_core::{ChunkBuilder, Content, Epoch, Item, Lane, Map, Offset, PairId, RecordRef, Value};

/// The broker's timestamp of every test record, milliseconds since 1970.
pub(super) const TIMESTAMP_MS: i64 = 1_700_000_000_123;

/// An item that no step has read yet.
pub(super) fn raw(value: Option<&[u8]>) -> Item {
    let mut builder = ChunkBuilder::new(PairId::new("logs.raw", 3), Lane::Input, Epoch(1));
    builder.record(Offset(42), TIMESTAMP_MS, Some(b"user-7"), value);
    builder.header(b"tenant", Some(b"first"));
    builder.header(b"tenant", Some(b"acme"));
    builder.header(b"longshore.origin", Some(b"forged/0/0/0"));
    builder.header(b"empty", None);
    builder.header(b"\xff\xfe", Some(b"x"));
    Item::new(RecordRef::new(&builder.build(None), 0).unwrap())
}

/// An item with these fields, written as JSON.
pub(super) fn item(json: &str) -> Item {
    let mut item = raw(Some(b"raw"));
    let Value::Object(fields) = value(&serde_json::from_str(json).unwrap()) else { panic!("not an object") };
    item.content = Content::Fields(fields);
    item
}

/// A log with the fields that most tests need.
pub(super) fn log() -> Item {
    item(
        r#"{"time_unix_nano": 1700000000456789000, "severity_text": "WARN", "severity_number": 13, "body": "disk almost full",
        "attributes": {"app": "api", "status": 503, "ratio": 0.5, "ok": false, "none": null, "big": 18446744073709551615,
        "tags": ["a", "b"], "http": {"method": "GET"}, "http.route": "/x"}, "resource": {"host": "h1"}}"#,
    )
}

fn value(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), ..) => Value::Int(number),
            (None, Some(number), _) => Value::UInt(number),
            (None, None, Some(number)) => Value::Float(number),
            (None, None, None) => Value::Number(number.to_string().into()),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(values) => Value::Array(values.iter().map(value).collect()),
        serde_json::Value::Object(fields) => Value::Object(
            fields.iter().map(|(name, field)| (name.as_str().into(), value(field))).collect::<Map>(),
        ),
    }
}
