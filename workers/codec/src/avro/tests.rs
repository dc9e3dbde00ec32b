//! Both directions against the library's own writer and reader, the golden bytes, and hostile payloads.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value as Avro;
use apache_avro::writer::datum::GenericDatumWriter;
use longshore_core::{Map, Reason, Value};
use proptest::prelude::*;

use super::{AvroReader, AvroWriter, Prepared, read, write};
use crate::json::{self, Limits};
use crate::store::Store;

fn schemas() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas")
}

fn store() -> Arc<Store> {
    Arc::new(Store::load(&schemas()).unwrap())
}

fn prepared(schema: &str) -> Prepared {
    Prepared::parse(schema).unwrap()
}

fn json(text: &str) -> Value {
    json::parse(text.as_bytes(), &Limits::default()).unwrap()
}

fn write(schema: &Prepared, value: &Value) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    write::write_datum(schema, value, &mut out).map(|()| out).map_err(|misfit| misfit.to_string())
}

fn read(schema: &Prepared, datum: &[u8]) -> Result<Value, Reason> {
    read::read_datum(&schema.plan, datum, &Limits::default()).map_err(|failure| failure.reason)
}

fn library_bytes(schema: &Prepared, value: Avro) -> Vec<u8> {
    GenericDatumWriter::builder(schema.schema()).build().unwrap().write_value_to_vec(value).unwrap()
}

fn library_value(schema: &Prepared, bytes: &[u8]) -> Option<Avro> {
    GenericDatumReader::builder(schema.schema()).build().unwrap().read_value(&mut &*bytes).ok()
}

/// Every schema version of the repository reads and writes its golden bytes identically.
#[test]
fn golden_bytes_are_read_and_written_identically() {
    let store = store();
    let reader = AvroReader::new(Arc::clone(&store), None);
    let mut seen = 0;
    for subject in ["document", "log"] {
        for entry in store.versions(subject) {
            let file = schemas().join(entry.file());
            let value = json(&std::fs::read_to_string(file.with_extension("golden.json")).unwrap());
            let mut bytes = Vec::new();
            AvroWriter::version(&store, subject, entry.version()).unwrap().write(&value, &mut bytes).unwrap();
            let golden = file.with_extension("golden.avro");
            if std::env::var_os("LONGSHORE_BLESS").is_some() && !golden.exists() {
                std::fs::write(&golden, &bytes).unwrap();
            }
            assert_eq!(bytes, std::fs::read(golden).unwrap(), "{subject}");
            assert_eq!(reader.read(&bytes, &Limits::default()).unwrap(), value, "{subject}");
            seen += 1;
        }
    }
    assert_eq!(seen, store.subjects().map(|subject| store.versions(subject).count()).sum::<usize>());
}

#[test]
fn missing_fields_take_their_defaults() {
    let store = store();
    let writer = AvroWriter::newest(&store, "log").unwrap();
    let mut bytes = Vec::new();
    writer.write_fields(&Map::default(), &mut bytes).unwrap();
    let Value::Object(read) = AvroReader::new(store, None).read(&bytes, &Limits::default()).unwrap() else {
        panic!("an object")
    };
    assert_eq!(read.get("body"), Some(&Value::Null));
    assert_eq!(read.get("attributes"), Some(&Value::Object(Map::default())));
    assert_eq!(read.get("time_unix_nano"), Some(&Value::Null));
}

#[test]
fn the_wire_header_decides_the_schema_or_the_reason() {
    let store = store();
    let any = AvroReader::new(Arc::clone(&store), None);
    let logs = AvroReader::new(Arc::clone(&store), Some("log".to_owned()));
    let reason =
        |reader: &AvroReader, bytes: &[u8]| reader.read(bytes, &Limits::default()).unwrap_err().reason;
    assert_eq!(reason(&any, b""), Reason::DecodeEmpty);
    assert_eq!(reason(&any, b"\0\0\0"), Reason::DecodeAvro);
    assert_eq!(reason(&any, b"{\"json\":1}"), Reason::DecodeAvro);
    assert_eq!(reason(&any, b"\0\0\x0f\x42\x40abc"), Reason::DecodeSchemaUnknown);
    let document = std::fs::read(schemas().join("document/v1.golden.avro")).unwrap();
    assert!(any.read(&document, &Limits::default()).is_ok());
    assert_eq!(reason(&logs, &document), Reason::DecodeSchemaUnknown);
    // The right id before another schema's datum.
    let mut wrong = document.clone();
    wrong[4] = 1;
    assert_eq!(reason(&any, &wrong), Reason::DecodeAvro);
    let mut longer = document;
    longer.push(0);
    assert_eq!(reason(&any, &longer), Reason::DecodeTrailing);
    let limits = Limits { bytes: 10, ..Limits::default() };
    assert_eq!(any.read(&longer, &limits).unwrap_err().reason, Reason::DecodeTooLarge);
}

#[test]
fn every_truncation_is_refused_without_payload_in_the_detail() {
    let store = store();
    let reader = AvroReader::new(store, None);
    let golden = std::fs::read(schemas().join("log/v1.golden.avro")).unwrap();
    for end in 1..golden.len() {
        let failure = reader.read(&golden[..end], &Limits::default()).unwrap_err();
        assert_eq!(failure.reason, Reason::DecodeAvro, "{end}");
        assert!(!failure.detail().contains("checkout") && !failure.detail().contains("shop"), "{failure}");
    }
}

#[test]
fn bombs_are_refused() {
    // Nested as deep as the payload says.
    let list = prepared(r#"{"type":"record","name":"L","fields":[{"name":"next","type":["null","L"]}]}"#);
    assert_eq!(read(&list, &[2].repeat(1_000_000)), Err(Reason::DecodeDepth));
    assert!(read(&list, &[&[2; 60][..], &[0]].concat()).is_ok());
    // A million million elements of no bytes.
    let nulls = prepared(r#"{"type":"array","items":"null"}"#);
    let mut bomb = Vec::new();
    write::write_datum(&prepared(r#""long""#), &Value::Int(1_000_000_000_000), &mut bomb).unwrap();
    assert_eq!(read(&nulls, &bomb), Err(Reason::DecodeTooLarge));
    // A text that claims to be longer than anything.
    let text = prepared(r#""string""#);
    let mut bomb = Vec::new();
    for length in [1 << 30, i64::MAX, -1] {
        bomb.clear();
        write::write_datum(&prepared(r#""long""#), &Value::Int(length), &mut bomb).unwrap();
        assert_eq!(read(&text, &bomb), Err(Reason::DecodeAvro), "{length}");
    }
    // The next datum has its whole budget again.
    assert_eq!(read(&text, b"\x04hi"), Ok(Value::from("hi")));
}

#[test]
fn the_deepest_values_cost_no_stack_overflow() {
    let store = store();
    let writer = AvroWriter::newest(&store, "document").unwrap();
    let reader = AvroReader::new(store, None);
    let deep = Limits { depth: json::DEPTH_MAX, ..Limits::default() };
    let nested = |levels: usize| {
        let text = format!(
            r#"{{"id":"","text":"","metadata":{{"a":{}{}}}}}"#,
            "[".repeat(levels),
            "]".repeat(levels)
        );
        json::parse(text.as_bytes(), &deep).unwrap()
    };
    let mut bytes = Vec::new();
    writer.write(&nested(300), &mut bytes).unwrap();
    assert_eq!(reader.read(&bytes, &Limits::default()).unwrap_err().reason, Reason::DecodeDepth);
    let Value::Object(read) = reader.read(&bytes, &deep).unwrap() else { panic!("an object") };
    let Value::Object(written) = nested(300) else { panic!("an object") };
    assert_eq!(read.get("metadata"), written.get("metadata"));
    assert_eq!(writer.write(&nested(510), &mut bytes).unwrap_err().reason, Reason::EncodeAvro);
}

#[test]
fn bad_contents_are_refused() {
    assert_eq!(read(&prepared(r#""string""#), b"\x04\xff\xff"), Err(Reason::DecodeAvro));
    assert_eq!(read(&prepared(r#""double""#), &f64::NAN.to_le_bytes()), Err(Reason::DecodeAvro));
    assert_eq!(read(&prepared(r#""boolean""#), &[7]), Err(Reason::DecodeAvro));
    assert_eq!(read(&prepared(r#"["null","long"]"#), &[8]), Err(Reason::DecodeAvro));
    assert_eq!(
        read(&prepared(r#"{"type":"enum","name":"E","symbols":["A"]}"#), &[4]),
        Err(Reason::DecodeAvro)
    );
    assert_eq!(read(&prepared(r#""int""#), &[0xff, 0xff, 0xff, 0xff, 0xff, 0x01]), Err(Reason::DecodeAvro));
}

#[test]
fn logical_types_come_and_go() {
    let decimal = prepared(r#"["null",{"type":"bytes","logicalType":"decimal","precision":20,"scale":2}]"#);
    for text in ["0.00", "1.10", "-1.10", "-0.01", "12345678901234567.89", "2.56", "-2.56", "1.28"] {
        let value = Value::Number(text.into());
        assert_eq!(read(&decimal, &write(&decimal, &value).unwrap()), Ok(value), "{text}");
    }
    assert_eq!(
        write(&decimal, &json("3")).map(|bytes| read(&decimal, &bytes)),
        Ok(Ok(Value::Number("3.00".into())))
    );
    for text in ["1.234", "1e3", "1234567890123456789.00"] {
        assert!(write(&decimal, &Value::Number(text.into())).is_err(), "{text}");
    }
    let fixed = r#"{"type":"fixed","name":"F","size":4,"logicalType":"decimal","precision":9,"scale":0}"#;
    let fixed = prepared(fixed);
    assert_eq!(write(&fixed, &json("-2")), Ok(vec![0xff, 0xff, 0xff, 0xfe]));
    assert_eq!(read(&fixed, &[0xff, 0xff, 0xff, 0xfe]), Ok(Value::Number("-2".into())));
    let time = prepared(r#"{"type":"long","logicalType":"timestamp-micros"}"#);
    assert_eq!(read(&time, &write(&time, &json("1700000000000000")).unwrap()), Ok(json("1700000000000000")));
    let uuid = prepared(r#"{"type":"string","logicalType":"uuid"}"#);
    let text = Value::from("6ba7b810-9dad-11d1-80b4-00c04fd430c8");
    assert_eq!(read(&uuid, &write(&uuid, &text).unwrap()), Ok(text));
    let bytes = Value::Bytes([1, 2, 3].into());
    let three = prepared(r#"{"type":"fixed","name":"T","size":3}"#);
    assert_eq!(read(&three, &write(&three, &bytes).unwrap()), Ok(bytes));
    let symbol = prepared(r#"{"type":"enum","name":"E","symbols":["A","B"]}"#);
    assert_eq!(read(&symbol, &write(&symbol, &Value::from("B")).unwrap()), Ok(Value::from("B")));
}

#[test]
fn what_does_not_fit_is_refused_by_place_and_leaves_nothing() {
    let store = store();
    let writer = AvroWriter::newest(&store, "document").unwrap();
    let mut out = b"before".to_vec();
    for (value, words) in [
        (r#"{"text":"hunter2"}"#, "document v1: id: is missing"),
        (r#"{"id":"a","text":["hunter2"]}"#, "document v1: text: wants a string"),
        (
            r#"{"id":"a","text":"","hunter2":1}"#,
            "document v1: value: 1 of the fields have no place in record longshore.Document",
        ),
        (
            r#"{"id":"a","text":"","metadata":{"hunter2":100000000000000000001}}"#,
            "document v1: metadata.{}: fits no branch of the union",
        ),
    ] {
        let failure = writer.write(&json(value), &mut out).unwrap_err();
        assert_eq!((failure.reason, failure.detail()), (Reason::EncodeAvro, words));
        assert_eq!(out, b"before");
    }
    let int = prepared(r#""int""#);
    assert!(write(&int, &json("2147483648")).is_err());
    assert!(write(&prepared(r#""double""#), &json("9007199254740993")).is_err());
    assert!(write(&prepared(r#""long""#), &json("9223372036854775808")).is_err());
    assert!(write(&prepared(r#""long""#), &json("1.0")).is_err());
}

/// A schema with one of each and values that fit it, as ours and as the library's.
const MIXED: &str = r#"{"type":"record","name":"M","fields":[
    {"name":"flag","type":"boolean"}, {"name":"int","type":"int"}, {"name":"long","type":"long"},
    {"name":"double","type":"double"}, {"name":"text","type":"string"}, {"name":"bytes","type":"bytes"},
    {"name":"list","type":{"type":"array","items":["null","string","long"]}},
    {"name":"maybe","type":["null",{"type":"map","values":"long"}]},
    {"name":"inner","type":{"type":"record","name":"I","fields":[{"name":"long","type":["long","string"]}]}}]}"#;

fn object(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Object(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
}

prop_compose! {
    fn mixed()(
        flag: bool, int: i32, long: i64, double in proptest::num::f64::NORMAL, text in "\\PC{0,20}",
        bytes in proptest::collection::vec(any::<u8>(), 0..20),
        list in proptest::collection::vec(proptest::option::of(prop_oneof![any::<i64>().prop_map(Ok), "[a-z]{0,5}".prop_map(Err)]), 0..5),
        maybe in proptest::option::of(any::<i64>()),
    ) -> (Value, Avro) {
        let ours = object([
            ("flag", Value::Bool(flag)), ("int", Value::Int(int.into())), ("long", Value::Int(long)),
            ("double", Value::Float(double)), ("text", Value::from(text.as_str())), ("bytes", Value::Bytes(bytes.clone().into())),
            ("list", Value::Array(list.iter().map(|item| match item {
                None => Value::Null,
                Some(Ok(number)) => Value::Int(*number),
                Some(Err(text)) => Value::from(text.as_str()),
            }).collect())),
            ("maybe", maybe.map_or(Value::Null, |number| object([("one", Value::Int(number))]))),
            ("inner", object([("long", Value::Int(long))])),
        ]);
        let name = |name: &str| name.to_owned();
        let theirs = Avro::Record(vec![
            (name("flag"), Avro::Boolean(flag)), (name("int"), Avro::Int(int)), (name("long"), Avro::Long(long)),
            (name("double"), Avro::Double(double)), (name("text"), Avro::String(text)), (name("bytes"), Avro::Bytes(bytes)),
            (name("list"), Avro::Array(list.into_iter().map(|item| match item {
                None => Avro::Union(0, Box::new(Avro::Null)),
                Some(Ok(number)) => Avro::Union(2, Box::new(Avro::Long(number))),
                Some(Err(text)) => Avro::Union(1, Box::new(Avro::String(text))),
            }).collect())),
            (name("maybe"), match maybe {
                None => Avro::Union(0, Box::new(Avro::Null)),
                Some(number) => Avro::Union(1, Box::new(Avro::Map([(name("one"), Avro::Long(number))].into()))),
            }),
            (name("inner"), Avro::Record(vec![(name("long"), Avro::Union(0, Box::new(Avro::Long(long))))])),
        ]);
        (ours, theirs)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_library_in_both_directions((ours, theirs) in mixed()) {
        let schema = prepared(MIXED);
        let bytes = write(&schema, &ours).unwrap();
        prop_assert_eq!(&bytes, &library_bytes(&schema, theirs.clone()));
        prop_assert_eq!(library_value(&schema, &bytes), Some(theirs));
        prop_assert_eq!(read(&schema, &bytes), Ok(ours));
    }

    #[test]
    fn damaged_datums_are_refused_wherever_the_library_refuses(
        (ours, _) in mixed(), damage in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>(),
    ) {
        let schema = prepared(MIXED);
        let mut bytes = write(&schema, &ours).unwrap();
        let place = damage.index(bytes.len());
        bytes[place] = byte;
        let keep = if byte % 2 == 0 { bytes.len() } else { cut.index(bytes.len()) };
        let datum = &bytes[..keep];
        if read(&schema, datum).is_ok() {
            prop_assert!(library_value(&schema, datum).is_some());
        }
    }

    #[test]
    fn any_bytes_end_in_a_value_or_a_reason(bytes in proptest::collection::vec(any::<u8>(), 0..200), id in 1u8..3) {
        let reader = AvroReader::new(store(), None);
        let payload = [&[0, 0, 0, 0, id][..], &bytes].concat();
        let _ = reader.read(&payload, &Limits::default());
    }
}
