//! Values and columns, without a file.

use longshore_core::{ChunkBuilder, Epoch, Lane, Offset, PairId, RecordRef};

use super::*;

fn item(value: Option<&[u8]>) -> Item {
    let mut chunk = ChunkBuilder::new(PairId::new("logs.raw", 3), Lane::Input, Epoch(1));
    chunk.record(Offset(42), 1_700_000_000_123, Some(b"k\xff"), value);
    Item::new(RecordRef::new(&chunk.build(None), 0).unwrap())
}

fn of(fields: &[(&str, Value)]) -> Item {
    let content = fields.iter().map(|(name, value)| ((*name).into(), value.clone())).collect();
    Item { content: Content::Fields(content), ..item(Some(b"{}")) }
}

/// The row's columns as text, in the way of a reader.
fn shown(columns: &Columns, item: &Item) -> Vec<(String, String)> {
    use arrow_array::Array;
    use arrow_array::cast::AsArray;
    use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};

    let mut bytes = Vec::new();
    columns.encode(item, &mut bytes).unwrap();
    let mut row = [&bytes[..]];
    let mut shown = Vec::new();
    for column in columns.columns() {
        let values = array(column.kind, &mut row).unwrap();
        assert_eq!(values.len(), 1);
        if values.is_null(0) {
            continue;
        }
        let text = match column.kind {
            Type::Text | Type::Json => values.as_string::<i32>().value(0).to_owned(),
            Type::Int | Type::Nanos => values.as_primitive::<Int64Type>().value(0).to_string(),
            Type::Int32 => values.as_primitive::<Int32Type>().value(0).to_string(),
            Type::Time => values.as_primitive::<TimestampMicrosecondType>().value(0).to_string(),
            Type::Bytes => format!("{:?}", values.as_binary::<i32>().value(0)),
            Type::Float | Type::Bool => format!("{values:?}"),
        };
        shown.push((column.name.clone(), text));
    }
    assert!(row[0].is_empty());
    shown
}

/// Those of [`shown`] that come before the columns that every file has.
fn fields(columns: &Columns, item: &Item) -> Vec<(String, String)> {
    let mut shown = shown(columns, item);
    let own = shown.split_off(shown.iter().position(|(name, _)| name == "_origin").unwrap());
    let own: Vec<(&str, &str)> = own.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let expected = [
        ("_origin", "logs.raw/3/42/0"),
        ("_topic", "logs.raw"),
        ("_partition", "3"),
        ("_offset", "42"),
        ("_timestamp", "1700000000123000"),
        ("_key", "[107, 255]"),
    ];
    assert_eq!(own, expected);
    shown
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// Scenario: a log as the step `parse` makes it, a field that no log has, and one out of its order. Guarantee: each is in its own column,
/// a body of any shape is text, and what has no column is in `_extra`.
#[test]
fn a_log_is_spread_over_its_columns() {
    let mut attributes = Map::default();
    attributes.push("n", Value::Number("1.00".into()));
    let log = of(&[
        ("time_unix_nano", Value::Int(1_772_627_696_789_000_000)),
        ("observed_time_unix_nano", Value::Int(0)),
        ("body", Value::Array(vec![Value::from("a\0\n"), Value::Null])),
        ("severity_number", Value::Int(13)),
        ("tenant", Value::from("t")),
        ("attributes", Value::Object(attributes)),
        ("debug", Value::Null),
    ]);
    let expected = pairs(&[
        ("time", "1772627696789000"),
        ("time_unix_nano", "1772627696789000000"),
        ("severity_number", "13"),
        ("body", r#"["a\u0000\n",null]"#),
        ("attributes", r#"{"n":1.00}"#),
        ("_extra", r#"{"tenant":"t","debug":null}"#),
    ]);
    assert_eq!(fields(&Columns::log(), &log), expected);
    let observed = of(&[("time_unix_nano", Value::Int(0)), ("observed_time_unix_nano", Value::Int(-1))]);
    let expected = pairs(&[("time", "-1"), ("observed_time_unix_nano", "-1")]);
    assert_eq!(fields(&Columns::log(), &observed), expected, "observed where nobody says when it happened");
    let plain = of(&[("body", Value::from("a\0\"\n"))]);
    assert_eq!(fields(&Columns::log(), &plain), pairs(&[("body", "a\0\"\n")]));
}

#[test]
fn a_document_is_spread_over_its_columns() {
    let document = of(&[
        ("id", Value::from("1")),
        ("text", Value::from("t")),
        ("source", Value::from("s")),
        ("created", Value::from("2021")),
        ("attributes", Value::Object(Map::default())),
    ]);
    let expected =
        pairs(&[("id", "1"), ("text", "t"), ("source", "s"), ("created", "2021"), ("attributes", "{}")]);
    assert_eq!(fields(&Columns::document(), &document), expected);
}

/// Guarantee: a record that no step has read is not lost in any kind of row, as UTF-8, as other bytes and without a value.
#[test]
fn unread_records_keep_their_bytes() {
    let (text, bytes, none) = (item(Some(b"a \"line\"")), item(Some(b"\xff\x00")), item(None));
    let log = Columns::log();
    assert_eq!(fields(&log, &text), pairs(&[("body", "a \"line\"")]));
    assert_eq!(fields(&log, &bytes), pairs(&[("_extra", r#"{"body_base64":"/wA="}"#)]));
    assert_eq!(fields(&log, &none), []);
    let document = Columns::document();
    assert_eq!(fields(&document, &text), pairs(&[("_extra", r#"{"body":"a \"line\""}"#)]));
    let record = Columns::record();
    assert_eq!(fields(&record, &text), pairs(&[("record", r#"{"body":"a \"line\""}"#)]));
    assert_eq!(fields(&record, &bytes), pairs(&[("record", r#"{"body_base64":"/wA="}"#)]));
    assert_eq!(fields(&record, &none), pairs(&[("record", r#"{"body":null}"#)]));
}

/// Scenario: a record brings fields named like the columns that every file has. Guarantee: the columns are ours.
#[test]
fn a_forged_origin_stays_among_the_other_fields() {
    let forged = of(&[("_origin", Value::from("forged/0/0/0")), ("_extra", Value::Int(1))]);
    let expected = pairs(&[("_extra", r#"{"_origin":"forged/0/0/0","_extra":1}"#)]);
    assert_eq!(fields(&Columns::log(), &forged), expected);
}

struct Always(Value);

impl Extract for Always {
    fn extract(&self, _: &Item) -> Result<Value, Failure> {
        Ok(self.0.clone())
    }
}

fn column(name: &str, kind: Type, value: &Value) -> Column {
    Column { name: name.to_owned(), kind, source: Source::Value(Arc::new(Always(value.clone()))) }
}

/// Guarantee: what a column's type can hold it takes, whether it comes as a number or as text, and nothing is null.
#[test]
fn values_become_what_their_columns_hold() {
    let number = |text: &str| Value::Number(text.into());
    for (kind, value, text) in [
        (Type::Text, Value::Int(-5), "-5"),
        (Type::Text, Value::Bytes(Box::from([0, 255])), "\"AP8=\""),
        (Type::Json, Value::from("a\""), r#""a\"""#),
        (Type::Json, Value::UInt(u64::MAX), "18446744073709551615"),
        (Type::Int, Value::Int(i64::MIN), "-9223372036854775808"),
        (Type::Int, Value::from("9223372036854775807"), "9223372036854775807"),
        (Type::Int, Value::Float(-3.0), "-3"),
        (Type::Int32, Value::from("-2147483648"), "-2147483648"),
        (Type::Float, number("0.1000000000000000055"), "0.1"),
        (Type::Float, Value::Int(i64::MAX), "9.223372036854776e18"),
        (Type::Float, Value::from("-inf"), "-inf"),
        (Type::Float, Value::Float(f64::NAN), "NaN"),
        (Type::Bool, Value::from("false"), "false"),
        (Type::Bool, Value::Bool(true), "true"),
        (Type::Time, Value::Int(1_700_000_000_123), "1700000000123000"),
        (Type::Time, Value::from("2023-11-15T00:13:20+02:00"), "1700000000000000"),
        (Type::Time, Value::from("9999-12-30"), "253402128000000000"),
        (Type::Nanos, Value::Int(1_700_000_000_123), "1700000000123"),
        (Type::Nanos, Value::from("1772627696789000000"), "1772627696789000000"),
        (Type::Bytes, Value::from("a"), "[97]"),
    ] {
        let columns = Columns::of(vec![column("c", kind, &value)]).unwrap();
        let shown = shown(&columns, &item(None));
        assert_eq!(shown[0].0, "c");
        let found = &shown[0].1;
        assert!(found == text || found.contains(&format!("\n  {text},\n")), "{kind:?} {value:?}: {found}");
        let null = Columns::of(vec![column("c", kind, &Value::Null)]).unwrap();
        assert_eq!(fields(&null, &item(None)), []);
    }
    for nothing in [Value::Int(0), Value::from("0")] {
        let columns = Columns::of(vec![column("c", Type::Nanos, &nothing)]).unwrap();
        assert_eq!(fields(&columns, &item(None)), []);
    }
}

/// Guarantee (I9): a value that its column cannot hold is refused, the column is named and nothing of the value is told.
#[test]
fn values_that_do_not_fit_are_refused_by_name() {
    let list = Value::Array(vec![Value::from("secret")]);
    let number = |text: &str| Value::Number(text.into());
    for (kind, value) in [
        (Type::Text, Value::Float(f64::INFINITY)),
        (Type::Json, Value::Array(vec![Value::Float(f64::NAN)])),
        (Type::Int, Value::UInt(u64::MAX)),
        (Type::Int, Value::Float(9_223_372_036_854_775_808.0)),
        (Type::Int, Value::Float(0.5)),
        (Type::Int, Value::Float(f64::NAN)),
        (Type::Int, Value::from("secret")),
        (Type::Int, Value::Bool(true)),
        (Type::Int, number("123456789012345678901234567890")),
        (Type::Int32, Value::Int(1 << 31)),
        (Type::Float, Value::from("1e999")),
        (Type::Float, Value::from("secret")),
        (Type::Float, list.clone()),
        (Type::Bool, Value::Int(1)),
        (Type::Bool, Value::from("secret")),
        (Type::Time, Value::from("secret")),
        (Type::Nanos, Value::UInt(u64::MAX)),
        (Type::Nanos, Value::Float(0.5)),
        (Type::Nanos, Value::from("secret")),
        (Type::Bytes, Value::Int(1)),
        (Type::Bytes, list),
    ] {
        let columns = Columns::of(vec![column("of_it", kind, &value)]).unwrap();
        let failure = columns.encode(&item(None), &mut Vec::new()).unwrap_err();
        assert_eq!((failure.class, failure.reason), (longshore_core::Class::Reject, Reason::EncodeValue));
        assert!(failure.detail().starts_with("column of_it: "), "{failure}");
        assert!(!failure.detail().contains("secret"), "{failure}");
    }
}

#[test]
fn names_stand_once() {
    let twice =
        |name: &str| vec![column("a", Type::Int, &Value::Null), column(name, Type::Int, &Value::Null)];
    assert!(Columns::of(twice("a")).is_err());
    assert!(Columns::of(twice("_offset")).is_err());
    assert!(Columns::of(twice("A")).is_ok());
}
