//! Edge cases by name, and agreement with serde_json on random and damaged texts.

use longshore_core::{Failure, Map, Reason, Value};
use proptest::prelude::*;

use super::{DEPTH_MAX, Limits, parse};

fn read(text: &str) -> Value {
    parse(text.as_bytes(), &Limits::default()).unwrap()
}

fn refusal(bytes: &[u8]) -> Failure {
    parse(bytes, &Limits::default()).unwrap_err()
}

fn reason(text: &str) -> Reason {
    refusal(text.as_bytes()).reason
}

fn number(text: &str) -> Value {
    Value::Number(text.into())
}

#[test]
fn bad_input_has_its_own_reason() {
    assert_eq!(reason(""), Reason::DecodeEmpty);
    assert_eq!(reason(" \r\n\t "), Reason::DecodeEmpty);
    assert_eq!(reason("{} {}"), Reason::DecodeTrailing);
    assert_eq!(reason("1\u{feff}"), Reason::DecodeTrailing);
    assert_eq!(refusal(b"\"a\xffb\"").reason, Reason::DecodeUtf8);
    assert_eq!(refusal(b"{}\x80").reason, Reason::DecodeUtf8);
    for text in [
        "{",
        "[1,",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{,}",
        "[1,]",
        "{\"a\":1,}",
        "nul",
        "NaN",
        "Infinity",
    ] {
        assert_eq!(reason(text), Reason::DecodeJson, "{text}");
    }
    for text in
        ["01", "-", "+1", "1.", ".5", "1e", "1e+", "-01", "0x10", "\"\u{1}\"", "\"\\x\"", "'a'", "\u{feff}1"]
    {
        assert_ne!(parse(text.as_bytes(), &Limits::default()).map(|_| ()), Ok(()), "{text}");
    }
}

#[test]
fn lone_surrogates_are_refused_and_pairs_joined() {
    for text in [
        r#""\ud83d""#,
        r#""\ude00""#,
        r#""\ud83d\u0041""#,
        r#""\ud83dx""#,
        r#""\ud83d\ud83d""#,
        r#""\ud83d\n""#,
    ] {
        assert_eq!(reason(text), Reason::DecodeJson, "{text}");
    }
    assert_eq!(read(r#""\ud83d\ude00\u00e9\/\b\f\n\r\t\\\"""#), Value::from("😀é/\u{8}\u{c}\n\r\t\\\""));
    assert_eq!(read(r#""\u0000""#), Value::from("\0"));
}

#[test]
fn depth_is_bounded_without_recursing_deeper() {
    let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
    assert!(parse(nested(64).as_bytes(), &Limits::default()).is_ok());
    assert_eq!(reason(&nested(65)), Reason::DecodeDepth);
    assert_eq!(reason(&"[".repeat(10_000)), Reason::DecodeDepth);
    assert_eq!(reason(&r#"{"a":"#.repeat(10_000)), Reason::DecodeDepth);
    // However deep the limit is set, the stack is never at risk.
    let boundless = Limits { depth: u32::MAX, ..Limits::default() };
    assert!(parse(nested(DEPTH_MAX as usize).as_bytes(), &boundless).is_ok());
    assert_eq!(parse(nested(1_000_000).as_bytes(), &boundless).unwrap_err().reason, Reason::DecodeDepth);
    // Width is not depth.
    assert!(parse(format!("[{}[]]", "[],".repeat(100_000)).as_bytes(), &Limits::default()).is_ok());
}

#[test]
fn size_is_bounded_in_bytes_and_in_values() {
    let limits = Limits { bytes: 8, values: 3, ..Limits::default() };
    assert!(parse(b"[1,2]", &limits).is_ok());
    assert_eq!(parse(b"[1,2,3]", &limits).unwrap_err().reason, Reason::DecodeTooLarge);
    assert_eq!(parse(b"\"1234567\"", &limits).unwrap_err().reason, Reason::DecodeTooLarge);
}

#[test]
fn numbers_are_kept_as_written() {
    assert_eq!(read("2305843009213693951"), Value::Int(2_305_843_009_213_693_951));
    assert_eq!(read("-9223372036854775808"), Value::Int(i64::MIN));
    assert_eq!(read("9223372036854775808"), Value::UInt(1 << 63));
    assert_eq!(read("18446744073709551615"), Value::UInt(u64::MAX));
    assert_eq!(read("0"), Value::Int(0));
    for text in ["18446744073709551616", "-9223372036854775809", "100000000000000000000000000001", "-0"] {
        assert_eq!(read(text), number(text));
    }
    for text in [
        "1.10",
        "1e5",
        "1E+05",
        "1e400",
        "0.1000000000000000055511151231257827",
        "1.00",
        "0.00001",
        "1e-7",
        "70400000000000.13",
    ] {
        assert_eq!(read(text), number(text));
    }
    for (text, float) in
        [("0.1", 0.1), ("-1.5", -1.5), ("1.0", 1.0), ("0.0", 0.0), ("0.1234567890123456", 0.1234567890123456)]
    {
        assert_eq!(read(text), Value::Float(float));
    }
}

#[test]
fn the_last_of_two_equal_names_wins_in_the_first_place() {
    let Value::Object(map) = read(r#"{"a":1,"b":{"a":5},"a":2}"#) else { panic!("an object") };
    let fields: Vec<_> = map.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
    let inner = Value::Object(Map::from_iter([("a".into(), Value::Int(5))]));
    assert_eq!(fields, [("a".to_owned(), Value::Int(2)), ("b".to_owned(), inner)]);
}

#[test]
fn wide_objects_take_linear_time_and_find_duplicates() {
    // A quadratic search over 200,000 names would take minutes.
    let names = 200_000;
    let mut text = String::from("{");
    for pass in 0..2 {
        for name in 0..names {
            text.push_str(&format!("\"field-{name}\":{pass},"));
        }
    }
    text.push_str("\"last\":{\"inner\":[]}}");
    let Value::Object(map) = read(&text) else { panic!("an object") };
    assert_eq!(map.len(), names + 1);
    assert_eq!(map.iter().next(), Some(("field-0", &Value::Int(1))));
}

#[test]
fn details_name_a_position_and_no_payload() {
    for text in
        [r#"{"secret": hunter2}"#, r#"{"secret":"hunter2"} hunter2"#, r#""hunter2\q""#, "\"hunter2\u{2}\""]
    {
        let failure = refusal(text.as_bytes());
        assert!(!failure.to_string().contains("hunter2"), "{failure}");
        assert!(failure.detail().contains("at byte "), "{failure}");
    }
    assert_eq!(refusal(b"[1, x]").detail(), "unexpected character at byte 4");
}

#[test]
fn a_refused_payload_leaves_nothing_for_the_next() {
    refusal(br#"{"a":[1,2,{"b":3,"#);
    assert_eq!(
        read(r#"{"c":[4]}"#),
        Value::Object(Map::from_iter([("c".into(), Value::Array(vec![Value::Int(4)]))]))
    );
}

/// What serde_json makes of the same text, as a float where it went through one.
fn agrees(ours: &Value, theirs: &serde_json::Value) -> bool {
    use serde_json::Value as Json;
    match (ours, theirs) {
        (Value::Null, Json::Null) => true,
        (Value::Bool(a), Json::Bool(b)) => a == b,
        (Value::Int(a), Json::Number(b)) => b.as_i64() == Some(*a),
        (Value::UInt(a), Json::Number(b)) => b.as_u64() == Some(*a),
        (Value::Float(a), Json::Number(b)) => same(Some(*a), b.as_f64()),
        (Value::Number(a), Json::Number(b)) => same(a.parse().ok(), b.as_f64()),
        (Value::Text(a), Json::String(b)) => a == b,
        (Value::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| agrees(a, b)),
        (Value::Object(a), Json::Object(b)) => {
            a.len() == b.len()
                && a.iter().all(|(name, value)| b.get(name).is_some_and(|other| agrees(value, other)))
        }
        _ => false,
    }
}

/// The same double, bit by bit: a number that passes through is not one beside it.
fn same(ours: Option<f64>, theirs: Option<f64>) -> bool {
    ours.is_some() && ours.map(f64::to_bits) == theirs.map(f64::to_bits)
}

fn compare(bytes: &[u8]) -> Result<(), TestCaseError> {
    match (parse(bytes, &Limits::default()), serde_json::from_slice::<serde_json::Value>(bytes)) {
        (Ok(ours), Ok(theirs)) => prop_assert!(agrees(&ours, &theirs), "{ours:?} {theirs:?}"),
        (Err(_), Err(_)) => {}
        // serde_json refuses what leaves the range of a float; we keep its text.
        (Ok(_), Err(error)) if error.to_string().starts_with("number out of range") => {}
        (ours, theirs) => prop_assert!(false, "{ours:?} {theirs:?}"),
    }
    Ok(())
}

/// JSON texts with free whitespace, duplicate names and every kind of number.
fn json_text() -> impl Strategy<Value = String> {
    let text = prop_oneof!["[a-c]{0,3}", "\\PC{0,40}"].prop_map(|text| serde_json::to_string(&text).unwrap());
    let number = prop_oneof![
        "-?(0|[1-9][0-9]{0,22})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?",
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        proptest::num::f64::NORMAL.prop_map(|number| format!("{number:?}")),
    ];
    let escaped = "(\\\\u[0-9a-fA-F]{4}|\\\\[bfnrt/]|[a-z ]){0,6}".prop_map(|text| format!("\"{text}\""));
    let word = prop_oneof![Just("true"), Just("false"), Just("null")].prop_map(str::to_owned);
    let leaf = prop_oneof![text.clone(), number, escaped, word];
    leaf.prop_recursive(4, 60, 8, move |inner| {
        let field = ("[ \n]{0,2}", text.clone(), inner.clone())
            .prop_map(|(space, name, value)| format!("{space}{name}{space}:{value}"));
        prop_oneof![
            proptest::collection::vec(inner, 0..8).prop_map(|items| format!("[{}]", items.join(" ,\t"))),
            proptest::collection::vec(field, 0..8).prop_map(|fields| format!("{{{}}}", fields.join(","))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_serde_json_on_sound_texts(text in json_text()) {
        compare(text.as_bytes())?;
    }

    #[test]
    fn agrees_with_serde_json_on_damaged_texts(
        text in json_text(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), Just(b',')]), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = text.into_bytes();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        compare(&bytes)?;
        let end = cut.index(bytes.len());
        compare(&bytes[..end])?;
    }

    #[test]
    fn agrees_with_serde_json_on_any_bytes(bytes in proptest::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"[]{},:\"\\0123-.eE truefalsn"[..])], 0..64)) {
        compare(&bytes)?;
    }

    #[test]
    fn every_number_keeps_its_text(text in "-?(0|[1-9][0-9]{0,22})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?") {
        let mut printed = Vec::new();
        read(&text).write_json(&mut printed).unwrap();
        prop_assert_eq!(String::from_utf8(printed).unwrap(), text);
    }
}
