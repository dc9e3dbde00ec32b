//! The steps from the outside.

mod formats;

use std::sync::Arc;

use longshore_core::{
    ChunkBuilder, Class, Epoch, Failure, Flow, Item, Lane, Map, Offset, PairId, Reason, RecordRef, Step,
    Value,
};
use proptest::prelude::*;

use crate::*;

fn item_of(lane: Lane, value: Option<&[u8]>, headers: &[(&str, &str)]) -> Item {
    let mut builder = ChunkBuilder::new(PairId::new("docs.raw", 2), lane, Epoch(1));
    builder.record(Offset(9), 0, None, value);
    for (name, value) in headers {
        builder.header(name.as_bytes(), Some(value.as_bytes()));
    }
    Item::new(RecordRef::new(&builder.build(None), 0).unwrap())
}

fn built(options: &AcceptOptions) -> Result<Box<dyn Step>, longshore_conditions::BuildError> {
    accept(options, &Arc::default())
}

fn accepted(json: &str) -> Result<Item, Failure> {
    let mut item = item_of(Lane::Input, Some(json.as_bytes()), &[]);
    built(&AcceptOptions::default()).unwrap().apply(&mut item).map(|_| item)
}

fn document(json: &str) -> Item {
    accepted(json).unwrap_or_else(|e| panic!("{json}: {e}"))
}

fn shown(item: &Item) -> String {
    shown_map(item.fields().unwrap())
}

fn shown_map(map: &Map) -> String {
    map.iter().map(|(name, value)| format!("{name}={}", shown_value(value))).collect::<Vec<_>>().join(" ")
}

fn shown_value(value: &Value) -> String {
    match value {
        Value::Text(text) => format!("'{text}'"),
        Value::Object(map) => format!("{{{}}}", shown_map(map)),
        Value::Array(values) => format!("[{}]", values.iter().map(shown_value).collect::<Vec<_>>().join(",")),
        Value::Int(number) => number.to_string(),
        Value::Null => "null".into(),
        other => format!("{other:?}"),
    }
}

#[test]
fn shapes_that_are_accepted() {
    for (json, expected) in [
        (r#"{"text":"t"}"#, "id='docs.raw/2/9/0' text='t'"),
        (r#"{"text":"t","id":""}"#, "id='docs.raw/2/9/0' text='t'"),
        (r#"{"text":"t","id":null}"#, "id='docs.raw/2/9/0' text='t'"),
        (r#"{"id":7,"text":""}"#, "id='7' text=''"),
        (
            r#"{"id":"a","text":"t","source":"s","added":"2024","created":"2023","metadata":{"url":"u"},"attributes":{"x":1}}"#,
            "id='a' text='t' source='s' added='2024' created='2023' metadata={url='u'} attributes={x=1}",
        ),
        (r#"{"text":"t","id":"a","media":[],"metadata":{}}"#, "id='a' text='t'"),
        (
            r#"{"text":"t","id":"a","media":[{"type":1}],"metadata":{"m":1}}"#,
            "id='a' text='t' metadata={m=1 media=[{type=1}]}",
        ),
        (
            r#"{"url":"u","text":"t","metadata":{"url":"v"},"id":"a"}"#,
            "id='a' text='t' metadata={url='v' record.url='u'}",
        ),
        (r#"{"text":"t","id":"a","created":5,"source":null}"#, "id='a' text='t' metadata={created=5}"),
        (
            r#"{"id":"c","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":null}]}"#,
            "id='c' messages=[{role='user' content='hi'},{role='assistant' content=null}]",
        ),
        (
            r#"{"id":"c","text":null,"messages":[{"role":"user","content":"hi","x":1}]}"#,
            "id='c' messages=[{role='user' content='hi' x=1}]",
        ),
    ] {
        assert_eq!(shown(&document(json)), expected, "{json}");
    }
}

#[test]
fn shapes_that_are_not() {
    for json in [
        "[]",
        "1",
        "\"t\"",
        "null",
        "{}",
        r#"{"text":1}"#,
        r#"{"text":["t"]}"#,
        r#"{"text":null}"#,
        r#"{"id":{},"text":"t"}"#,
        r#"{"id":1.5,"text":"t"}"#,
        r#"{"text":"t","metadata":[]}"#,
        r#"{"messages":[]}"#,
        r#"{"messages":"x"}"#,
        r#"{"messages":["x"]}"#,
        r#"{"messages":[{"content":"x"}]}"#,
        r#"{"messages":[{"role":1,"content":"x"}]}"#,
        r#"{"messages":[{"role":"user"}]}"#,
        r#"{"messages":[{"role":"user","content":5}]}"#,
        r#"{"text":"t","messages":[{"role":"user","content":"x"}]}"#,
    ] {
        let failure = accepted(json).expect_err(json);
        assert_eq!((failure.class, failure.reason), (Class::Reject, Reason::DecodeShape), "{json}");
    }
    let deep = format!(r#"{{"text":"t","metadata":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
    for (json, reason) in [
        ("{", Reason::DecodeJson),
        ("", Reason::DecodeEmpty),
        (r#"{"text":"t"} x"#, Reason::DecodeTrailing),
        (deep.as_str(), Reason::DecodeDepth),
    ] {
        assert_eq!(accepted(json).unwrap_err().reason, reason);
    }
}

#[test]
fn plain_text_and_tombstones() {
    let text = AcceptOptions { format: Format::Text, ..AcceptOptions::default() };
    let run = |options: &AcceptOptions, value: Option<&[u8]>| {
        let mut item = item_of(Lane::Input, value, &[]);
        built(options).unwrap().apply(&mut item).map(|flow| (flow, item))
    };
    assert_eq!(
        shown(&run(&text, Some("# Title\n\né".as_bytes())).unwrap().1),
        "id='docs.raw/2/9/0' text='# Title\n\né'"
    );
    assert_eq!(run(&text, Some(b"\xff")).unwrap_err().reason, Reason::DecodeUtf8);
    assert_eq!(run(&text, Some(b"")).unwrap_err().reason, Reason::DecodeEmpty);
    let small = AcceptOptions { max_bytes: longshore_core::human::Bytes(3), ..text.clone() };
    assert_eq!(run(&small, Some(b"four")).unwrap_err().reason, Reason::DecodeTooLarge);
    let (Flow::Drop(reason), _) = run(&text, None).unwrap() else { panic!() };
    assert_eq!(&*reason.0, "tombstone");
    let strict = AcceptOptions { tombstone: Tombstone::Reject, ..text.clone() };
    assert_eq!(run(&strict, None).unwrap_err().reason, Reason::DecodeTombstone);
    let (Flow::Keep, mut passed) = run(&AcceptOptions { tombstone: Tombstone::Pass, ..text }, None).unwrap()
    else {
        panic!()
    };
    let least = LengthOptions { min: Some(10), max: None, unit: Unit::Chars };
    for step in [normalize(&NormalizeOptions::default()), length(&least), fingerprint(&FingerprintOptions {})]
    {
        assert!(matches!(step.unwrap().apply(&mut passed).unwrap(), Flow::Keep));
    }
    assert!(passed.is_tombstone());
}

/// Scenario: a record with an origin header, on the input (forged) and in the retry lane (ours). Guarantee: the id is the
/// record's one identity either way.
#[test]
fn a_missing_id_is_the_records_identity() {
    for (lane, expected) in [(Lane::Input, "docs.raw/2/9/0"), (Lane::Retry, "docs.raw/2/5/0")] {
        let mut item = item_of(lane, Some(br#"{"text":"t"}"#), &[("longshore.origin", "docs.raw/2/5/0")]);
        built(&AcceptOptions::default()).unwrap().apply(&mut item).unwrap();
        assert_eq!(item.fields().unwrap().get("id"), Some(&Value::from(expected)));
    }
}

fn apply(step: Box<dyn Step>, item: &mut Item) -> Flow {
    step.apply(item).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn texts_are_composed() {
    for (text, expected) in [
        ("plain", "plain"),
        ("e\u{301}", "é"),
        ("é", "é"),
        ("\u{1100}\u{1161}", "가"),
        ("ﬁ", "ﬁ"),
        ("Å", "Å"),
    ] {
        let mut item = document(&serde_json::json!({ "id": "a", "text": text }).to_string());
        apply(normalize(&NormalizeOptions::default()).unwrap(), &mut item);
        assert_eq!(item.fields().unwrap().get("text"), Some(&Value::from(expected)), "{text}");
    }
    let mut chat = document(
        r#"{"id":"c","messages":[{"role":"user","content":"e\u0301"},{"role":"tool","content":null}]}"#,
    );
    apply(normalize(&NormalizeOptions::default()).unwrap(), &mut chat);
    assert!(shown(&chat).contains("content='é'"), "{}", shown(&chat));
}

#[test]
fn lengths_are_bounded_and_noted() {
    let run = |options: LengthOptions, json: &str| {
        let mut item = document(json);
        match apply(length(&options).unwrap(), &mut item) {
            Flow::Drop(reason) => reason.0.to_string(),
            Flow::Keep => shown_value(item.fields().unwrap().get("attributes").unwrap()),
            Flow::Split(_) => panic!(),
        }
    };
    let bounds = |min, max, unit| LengthOptions { min, max, unit };
    let word = r#"{"id":"a","text":"héllo"}"#;
    assert_eq!(run(bounds(Some(5), Some(5), Unit::Chars), word), "{length@1={chars=5}}");
    assert_eq!(run(bounds(Some(6), None, Unit::Bytes), word), "{length@1={bytes=6}}");
    assert_eq!(run(bounds(Some(6), None, Unit::Chars), word), "length.short");
    assert_eq!(run(bounds(None, Some(5), Unit::Bytes), word), "length.long");
    let chat =
        r#"{"id":"c","messages":[{"role":"user","content":"ab"},{"role":"assistant","content":"cd"}]}"#;
    assert_eq!(run(bounds(Some(4), Some(4), Unit::Chars), chat), "{length@1={chars=4}}");
    assert_eq!(length(&bounds(None, None, Unit::Chars)).err().unwrap().field, "");
    assert_eq!(length(&bounds(Some(2), Some(1), Unit::Chars)).err().unwrap().field, "min");
}

fn print(json: &str) -> String {
    let mut item = document(json);
    apply(fingerprint(&FingerprintOptions {}).unwrap(), &mut item);
    shown_value(item.fields().unwrap().get("attributes").unwrap())
}

#[test]
fn equal_texts_have_equal_fingerprints() {
    let hash = blake3::hash("é".as_bytes()).to_hex();
    assert_eq!(print(r#"{"text":"é"}"#), format!("{{fingerprint@1={{blake3='{hash}'}}}}"));
    assert_eq!(print(r#"{"text":"é"}"#), print(r#"{"text":"e\u0301","id":"other"}"#));
    assert_ne!(print(r#"{"text":"a"}"#), print(r#"{"text":"a "}"#));
    let chat = |a: &str, b: &str| {
        print(&serde_json::json!({"messages": [{"role": "user", "content": a}, {"role": "user", "content": b}]}).to_string())
    };
    assert_eq!(chat("ab", "c"), chat("ab", "c"));
    assert_ne!(chat("ab", "c"), chat("a", "bc"));
}

#[test]
fn steps_before_accept_are_the_pipelines_mistake() {
    let steps = [
        normalize(&NormalizeOptions::default()).unwrap(),
        fingerprint(&FingerprintOptions {}).unwrap(),
        length(&LengthOptions { min: Some(1), ..LengthOptions::default() }).unwrap(),
    ];
    for step in steps {
        assert_eq!(step.apply(&mut item_of(Lane::Input, Some(b"x"), &[])).unwrap_err().class, Class::Halt);
        let mut empty = document(r#"{"text":"t"}"#);
        empty.fields_mut().unwrap().remove("text");
        assert_eq!(step.apply(&mut empty).unwrap_err().reason, Reason::DecodeShape);
    }
    let mut twice = document(r#"{"text":"t"}"#);
    assert_eq!(built(&AcceptOptions::default()).unwrap().apply(&mut twice).unwrap_err().class, Class::Halt);
}

#[test]
fn options_are_strict() {
    assert!(serde_json::from_str::<AcceptOptions>(r#"{"fromat":"text"}"#).is_err());
    assert!(serde_json::from_str::<NormalizeOptions>(r#"{"form":"nfkc"}"#).is_err());
    assert!(serde_json::from_str::<LengthOptions>(r#"{"min":-1}"#).is_err());
    assert!(serde_json::from_str::<FingerprintOptions>(r#"{"x":1}"#).is_err());
    assert_eq!(serde_json::from_str::<AcceptOptions>("{}").unwrap(), AcceptOptions::default());
    assert_eq!(built(&AcceptOptions { depth: 0, ..AcceptOptions::default() }).err().unwrap().field, "depth");
}

proptest! {
    #[test]
    fn any_bytes_are_accepted_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::Json, Format::Text] {
            let options = AcceptOptions { format, ..AcceptOptions::default() };
            let mut item = item_of(Lane::Input, Some(&bytes), &[]);
            if let Err(failure) = built(&options).unwrap().apply(&mut item) {
                prop_assert_eq!(failure.class, Class::Reject);
            }
        }
    }

    /// Composing twice changes nothing, and the quick check never skips a text that is not composed.
    #[test]
    fn composing_is_final(text in "[a-z\u{300}-\u{315}\u{1100}-\u{1115}\u{1161}-\u{1175}é]{0,20}") {
        use unicode_normalization::UnicodeNormalization;
        let once = crate::normalize::composed(&text).unwrap_or_else(|| text.clone());
        prop_assert_eq!(&once, &text.nfc().collect::<String>());
        prop_assert_eq!(crate::normalize::composed(&once), None);
    }
}
