mod formats;

use longshore_conditions::steps::{Kind, Pairs, SetOptions, set};
use longshore_core::{ChunkBuilder, Class, Epoch, Lane, Offset, PairId, RecordRef};
use proptest::prelude::*;

use super::*;
use crate::Numbers;

const TIMESTAMP_MS: i64 = 1_700_000_000_123;
const OBSERVED: i64 = TIMESTAMP_MS * 1_000_000;

fn item(value: Option<&[u8]>, headers: &[(&str, &str)]) -> Item {
    let mut builder = ChunkBuilder::new(PairId::new("logs.raw", 0), Lane::Input, Epoch(1));
    builder.record(Offset(7), TIMESTAMP_MS, None, value);
    for (name, value) in headers {
        builder.header(name.as_bytes(), Some(value.as_bytes()));
    }
    Item::new(RecordRef::new(&builder.build(None), 0).unwrap())
}

fn built(options: &ParseOptions) -> Result<Box<dyn Step>, BuildError> {
    parse(options, &Arc::default())
}

fn read_with(options: &ParseOptions, value: &[u8], headers: &[(&str, &str)]) -> Map {
    let mut item = item(Some(value), headers);
    let flow = built(options).unwrap().apply(&mut item).unwrap_or_else(|e| panic!("{e}"));
    assert!(matches!(flow, Flow::Keep));
    item.fields().unwrap().clone()
}

fn read(json: &str) -> Map {
    read_with(&ParseOptions::new(Format::Json), json.as_bytes(), &[])
}

fn refused(options: &ParseOptions, value: Option<&[u8]>) -> Reason {
    let failure = built(options).unwrap().apply(&mut item(value, &[])).unwrap_err();
    assert_eq!(failure.class, Class::Reject);
    failure.reason
}

/// A log as text, field by field in order, to compare at a glance.
fn shown(map: &Map) -> String {
    let fields: Vec<String> =
        map.iter().map(|(name, value)| format!("{name}={}", shown_value(value))).collect();
    fields.join(" ")
}

fn shown_value(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::UInt(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Number(text) => text.to_string(),
        Value::Text(text) => format!("'{text}'"),
        Value::Bytes(bytes) => format!("{bytes:?}"),
        Value::Array(values) => format!("[{}]", values.iter().map(shown_value).collect::<Vec<_>>().join(",")),
        Value::Object(map) => format!("{{{}}}", shown(map)),
    }
}

#[test]
fn an_object_becomes_a_log_and_loses_nothing() {
    let log = read(
        r#"{"app":"api","level":"Warning","ts":1700000000.5,"msg":"slow","trace_id":"4BF92F3577B34DA6A3CE929D0E0E4736",
        "span_id":"00f067aa0ba902b7","took_ms":1234,"tags":["a"],"service":"shop","nothing":null}"#,
    );
    let expected = format!(
        "time_unix_nano=1700000000500000000 observed_time_unix_nano={OBSERVED} \
         trace_id='4bf92f3577b34da6a3ce929d0e0e4736' span_id='00f067aa0ba902b7' severity_text='Warning' \
         severity_number=13 body='slow' \
         attributes={{app='api' took_ms=1234 tags=['a'] service='shop' nothing=null}}"
    );
    assert_eq!(shown(&log), expected);
}

#[test]
fn objects_of_every_kind() {
    let observed = format!("observed_time_unix_nano={OBSERVED}");
    for (json, expected) in [
        ("{}", String::new()),
        (r#"{"a":1}"#, " attributes={a=1}".into()),
        (
            r#"{"level":30,"time":"bad","msg":""}"#,
            " severity_text='30' severity_number=9 body='' attributes={time.unparsed='bad'}".into(),
        ),
        (r#"{"level":{"n":1},"time":null}"#, " attributes={level={n=1}}".into()),
        (r#"{"body":null,"msg":"m","trace_id":null,"resource":{},"attributes":null}"#, " body='m'".into()),
        (r#"{"level":"loud"}"#, " severity_text='loud'".into()),
        (r#"{"message":"m","msg":"n","log":"l"}"#, " body='m' attributes={msg='n' log='l'}".into()),
        (r#"{"msg":"n","message":"m"}"#, " body='m' attributes={msg='n'}".into()),
        (r#"{"log":{"level":"x"}}"#, " body={level='x'}".into()),
        (
            r#"{"trace_id":"nope","span_id":5}"#,
            " span_id='0000000000000005' attributes={trace_id='nope'}".into(),
        ),
        (
            r#"{"dd.trace_id":"18446744073709551615","dd.span_id":"10"}"#,
            " trace_id='0000000000000000ffffffffffffffff' span_id='000000000000000a'".into(),
        ),
        (
            r#"{"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","span_id":"00000000000000ff"}"#,
            " trace_id='4bf92f3577b34da6a3ce929d0e0e4736' span_id='00000000000000ff' trace_flags=1".into(),
        ),
        (r#"{"traceparent":"junk"}"#, " attributes={traceparent='junk'}".into()),
        (r#"{"severity_number":17,"level":"info"}"#, " severity_text='info' severity_number=17".into()),
        (r#"{"severity_number":99}"#, " attributes={severity_number=99}".into()),
        (r#"{"attributes":{"a":1},"b":2}"#, " attributes={b=2 a=1}".into()),
        (r#"{"attributes":{"b":1},"b":2}"#, " attributes={b=2 attributes={b=1}}".into()),
        (
            r#"{"attributes":7,"resource":"r","event_name":1}"#,
            " attributes={resource='r' attributes=7 event_name=1}".into(),
        ),
        (r#"{"resource":{"host":"h"},"event_name":"e"}"#, " resource={host='h'} event_name='e'".into()),
        ("[1]", " body=[1]".into()),
        ("\"text\"", " body='text'".into()),
        ("null", String::new()),
        ("12", " body=12".into()),
    ] {
        assert_eq!(shown(&read(json)), format!("{observed}{expected}"), "{json}");
    }
}

fn written(log: &Map) -> String {
    let mut out = Vec::new();
    log.write_json(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// Scenario: a pipeline reads what another one wrote. Guarantee: the same log comes out.
#[test]
fn a_log_of_our_own_reads_back_as_itself() {
    let first = read(
        r#"{"msg":"m","level":"error","time":"2024-02-29T13:14:15.123456789Z","a":{"b":[1,2.5,"x"]},
        "trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","trace_flags":1,"resource":{"host":"h"}}"#,
    );
    assert_eq!(read(&written(&first)), first);
    let otlp = written(&first).replace("1709212455123456789", "\"1709212455123456789\"");
    assert_eq!(read(&otlp), first, "OTLP's JSON writes 64-bit integers as text");
}

#[test]
fn headers_give_the_trace_when_fields_do_not() {
    let header = [("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")];
    let options = ParseOptions::new(Format::Json);
    let log = read_with(&options, b"{}", &header);
    assert_eq!(log.get("span_id"), Some(&Value::from("00f067aa0ba902b7")));
    let log = read_with(&options, br#"{"trace_id":"000000000000000000000000000000ff"}"#, &header);
    assert_eq!(log.get("trace_id"), Some(&Value::from("000000000000000000000000000000ff")));
    assert_eq!(log.get("span_id"), None, "a span of another trace is not mixed in");
    let line = read_with(&ParseOptions::new(Format::Lines), b"x", &header);
    assert_eq!(line.get("trace_flags"), Some(&Value::Int(1)));
    let mut off = ParseOptions::new(Format::Json);
    off.mapping.trace_headers = false;
    assert_eq!(read_with(&off, b"{}", &header).get("trace_id"), None);
}

#[test]
fn the_mapping_can_be_renamed_and_switched_off() {
    let options: ParseOptions = serde_json::from_str(
        r#"{"format":"json","mapping":{"body":["text"],"severity":[],"time":["when"],"time_formats":["%d.%m.%Y %H:%M"],
        "severity_numbers":"python"}}"#,
    )
    .unwrap();
    let log = read_with(&options, br#"{"text":"t","msg":"m","level":"info","when":"29.02.2024 13:14"}"#, &[]);
    let expected = format!(
        "time_unix_nano=1709212440000000000 observed_time_unix_nano={OBSERVED} body='t' attributes={{msg='m' level='info'}}"
    );
    assert_eq!(shown(&log), expected);
    assert_eq!(options.mapping.severity_numbers, Numbers::Python);
}

#[test]
fn bad_json_is_refused_by_its_reason() {
    let options = ParseOptions::new(Format::Json);
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for (value, reason) in [
        (b"{".as_slice(), Reason::DecodeJson),
        (b"not json", Reason::DecodeJson),
        (b"", Reason::DecodeEmpty),
        (b"  ", Reason::DecodeEmpty),
        (b"\"\xff\"", Reason::DecodeUtf8),
        (b"{} {}", Reason::DecodeTrailing),
        (deep.as_bytes(), Reason::DecodeDepth),
        (&vec![b' '; (1 << 20) + 1], Reason::DecodeTooLarge),
    ] {
        assert_eq!(refused(&options, Some(value)), reason);
    }
    let mut strict = options.clone();
    strict.tombstone = Tombstone::Reject;
    assert_eq!(refused(&strict, None), Reason::DecodeTombstone);
    let Flow::Drop(reason) = built(&options).unwrap().apply(&mut item(None, &[])).unwrap() else { panic!() };
    assert_eq!(&*reason.0, "tombstone");
    strict.tombstone = Tombstone::Pass;
    let mut passed = item(None, &[]);
    assert!(matches!(built(&strict).unwrap().apply(&mut passed).unwrap(), Flow::Keep));
    assert!(passed.is_tombstone());
    let mut twice = item(Some(b"{}"), &[]);
    built(&options).unwrap().apply(&mut twice).unwrap();
    assert_eq!(built(&options).unwrap().apply(&mut twice).unwrap_err().class, Class::Halt);
}

fn lines(value: &[u8]) -> Vec<String> {
    let mut item = item(Some(value), &[]);
    let body = |item: &Item| item.fields().unwrap().get("body").unwrap().as_str().unwrap().to_owned();
    match built(&ParseOptions::new(Format::Lines)).unwrap().apply(&mut item).unwrap() {
        Flow::Keep => vec![body(&item)],
        Flow::Split(children) => {
            assert!(children.iter().zip(0..).all(|(child, index)| child.index == index));
            children.iter().map(body).collect()
        }
        Flow::Drop(_) => panic!(),
    }
}

#[test]
fn lines_split() {
    for (value, expected) in [
        ("one", vec!["one"]),
        ("one\n", vec!["one"]),
        ("one\r\n", vec!["one"]),
        ("one\ntwo", vec!["one", "two"]),
        ("one\r\ntwo\r\n", vec!["one", "two"]),
        ("one\n\ntwo\n", vec!["one", "", "two"]),
        ("\n", vec![""]),
        ("\n\n", vec!["", ""]),
        ("é\rü", vec!["é\rü"]),
    ] {
        assert_eq!(lines(value.as_bytes()), expected, "{value:?}");
    }
    let options = ParseOptions::new(Format::Lines);
    assert_eq!(refused(&options, Some(b"")), Reason::DecodeEmpty);
    assert_eq!(refused(&options, Some(b"ok\n\xff")), Reason::DecodeUtf8);
    assert_eq!(refused(&options, Some(&vec![b'\n'; 20_000])), Reason::DecodeTooLarge);
    assert_eq!(refused(&options, Some(&vec![b'x'; (1 << 20) + 1])), Reason::DecodeTooLarge);
}

/// Scenario: integers of 61 to 64 bits and numbers that no float holds, through parse, set and back. Guarantee: each
/// stands as it was written.
#[test]
fn numbers_stay_exact_through_parse_and_set() {
    for number in [
        "2305843009213693951",
        "-9223372036854775808",
        "18446744073709551615",
        "1.10",
        "123456789012345678901",
        "1e400",
    ] {
        let json = format!(r#"{{"n":{number}}}"#);
        let mut item = item(Some(json.as_bytes()), &[]);
        built(&ParseOptions::new(Format::Json)).unwrap().apply(&mut item).unwrap();
        let options = SetOptions(Pairs(vec![
            ("copy".into(), "attributes.n".into()),
            ("body".into(), "attributes".into()),
        ]));
        set(&options, Kind::Log).unwrap().apply(&mut item).unwrap();
        let written = written(item.fields().unwrap());
        let object = format!(r#"{{"n":{number},"copy":{number}}}"#);
        assert!(written.ends_with(&format!(r#""attributes":{object},"body":{object}}}"#)), "{written}");
    }
}

#[test]
fn options_that_make_no_sense_name_their_field() {
    let field = |change: fn(&mut ParseOptions)| {
        let mut options = ParseOptions::new(Format::Json);
        change(&mut options);
        built(&options).err().unwrap().field
    };
    assert_eq!(field(|o| o.depth = 0), "depth");
    assert_eq!(field(|o| o.depth = 513), "depth");
    assert_eq!(field(|o| o.max_bytes = Bytes(0)), "max_bytes");
    assert_eq!(field(|o| o.max_lines = 0), "max_lines");
    assert_eq!(field(|o| o.mapping.body.push("level".into())), "mapping.severity[1]");
    assert_eq!(field(|o| o.mapping.time.push(String::new())), "mapping.time[6]");
    assert_eq!(field(|o| o.mapping.time_formats.push("%".into())), "mapping.time_formats[0]");
    assert!(serde_json::from_str::<ParseOptions>(r#"{"format":"json","dpeth":3}"#).is_err());
    assert!(serde_json::from_str::<ParseOptions>(r#"{"format":"xml"}"#).is_err());
    assert!(serde_json::from_str::<ParseOptions>(r#"{"format":"json","mapping":{"boby":[]}}"#).is_err());
}

proptest! {
    /// Whatever the bytes, both formats answer; what fails is the record's fault.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::Json, Format::Lines] {
            if let Err(failure) = built(&ParseOptions::new(format)).unwrap().apply(&mut item(Some(&bytes), &[])) {
                prop_assert_eq!(failure.class, Class::Reject);
            }
        }
    }

    /// Every value of an object is found again somewhere in the log.
    #[test]
    fn no_value_is_lost(
        fields in proptest::collection::vec(
            ("(msg|message|level|severity|time|ts|trace_id|span_id|attributes|resource|event_name|a|b)", "[a-z0-9]{1,12}"),
            0..12,
        )
    ) {
        let object: serde_json::Map<_, _> = fields.iter().cloned().map(|(n, v)| (n, v.into())).collect();
        let log = shown(&read(&serde_json::Value::Object(object.clone()).to_string()));
        for (name, value) in object {
            // Times and ids that could be read stand in another form.
            if !["time", "ts", "trace_id", "span_id"].contains(&name.as_str()) {
                let value = value.as_str().unwrap();
                prop_assert!(log.contains(value), "{name}={value} in {log}");
            }
        }
    }
}
