//! Avro and packed values.

use std::path::Path;

use longshore_codec::AvroWriter;

use super::*;

/// `{"msg":"m"}`, packed by gzip.
const GZIP: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\xca\x2d\x4e\x57\xb2\x52\xca\x55\xaa\x05\x00\x20\x45\x09\x5e\x0b\x00\x00\x00";

fn store() -> Arc<Store> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas");
    Arc::new(Store::load(&folder).unwrap())
}

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/log");
    std::fs::read(folder.join(name)).unwrap()
}

fn avro(subject: Option<&str>) -> ParseOptions {
    ParseOptions { subject: subject.map(str::to_owned), ..ParseOptions::new(Format::Avro) }
}

fn packed(format: Format, compression: Compression) -> ParseOptions {
    ParseOptions { compression, ..ParseOptions::new(format) }
}

fn apply(options: &ParseOptions, value: &[u8]) -> Result<(Flow, Item), Reason> {
    let mut item = item(Some(value), &[]);
    match parse(options, &store()).unwrap().apply(&mut item) {
        Ok(flow) => Ok((flow, item)),
        Err(failure) => {
            assert_eq!(failure.class, Class::Reject);
            Err(failure.reason)
        }
    }
}

fn log(options: &ParseOptions, value: &[u8]) -> Result<Map, Reason> {
    apply(options, value).map(|(_, item)| item.fields().unwrap().clone())
}

/// Scenario: the same log as Avro and as JSON, every field of it used. Guarantee: the same fields.
#[test]
fn avro_of_our_own_schema_reads_as_json_does() {
    let json = log(&ParseOptions::new(Format::Json), &golden("v1.golden.json")).unwrap();
    for subject in [None, Some("log")] {
        assert_eq!(log(&avro(subject), &golden("v1.golden.avro")).unwrap(), json);
    }
    assert_eq!(json.get("event_name"), None);
    assert_eq!(json.get("severity_number"), Some(&Value::Int(13)));
}

/// Scenario: logs of all shapes go through a topic in Avro. Guarantee: what is read is what was written, and a field that
/// was not there is not there.
#[test]
fn a_log_of_our_own_survives_avro() {
    let writer = AvroWriter::newest(&store(), "log").unwrap();
    for json in [
        "{}",
        "null",
        r#"{"msg":"m"}"#,
        r#"{"a":1,"b":null}"#,
        r#"{"body":{"deep":[null,{}]},"level":"error","time":"2024-02-29T13:14:15Z","resource":{"host":"h"}}"#,
        r#"{"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01","event_name":"e"}"#,
    ] {
        let first = read(json);
        let mut bytes = Vec::new();
        writer.write_fields(&first, &mut bytes).unwrap();
        assert_eq!(log(&avro(Some("log")), &bytes).unwrap(), first, "{json}");
    }
}

#[test]
fn wrong_avro_has_its_reason() {
    let golden = golden("v1.golden.avro");
    let with_id = |id: u8| [&[0, 0, 0, 0, id], &golden[5..]].concat();
    let any = avro(None);
    assert_eq!(log(&any, &with_id(99)), Err(Reason::DecodeSchemaUnknown));
    assert_eq!(log(&avro(Some("document")), &golden), Err(Reason::DecodeSchemaUnknown));
    assert_eq!(log(&any, &with_id(2)), Err(Reason::DecodeAvro), "a document's schema over a log's bytes");
    assert_eq!(log(&any, br#"{"msg":"m"}"#), Err(Reason::DecodeAvro));
    assert_eq!(log(&any, &golden[..golden.len() - 1]), Err(Reason::DecodeAvro));
    assert_eq!(log(&any, &[golden.as_slice(), b"x"].concat()), Err(Reason::DecodeTrailing));
    assert_eq!(log(&any, b""), Err(Reason::DecodeEmpty));
}

#[test]
fn every_format_is_unpacked_first() {
    let plain = read(r#"{"msg":"m"}"#);
    assert_eq!(log(&packed(Format::Json, Compression::Gzip), GZIP).unwrap(), plain);
    let zstd_json = packed(Format::Json, Compression::Zstd);
    assert_eq!(log(&zstd_json, &zstd(br#"{"msg":"m"}"#)).unwrap(), plain);
    let zstd_avro = packed(Format::Avro, Compression::Zstd);
    let golden = golden("v1.golden.avro");
    assert_eq!(log(&zstd_avro, &zstd(&golden)), log(&avro(None), &golden));
    let zstd_lines = packed(Format::Lines, Compression::Zstd);
    let (Flow::Split(children), _) = apply(&zstd_lines, &zstd(b"a\nb\n")).unwrap() else { panic!() };
    let bodies: Vec<_> = children.iter().map(|child| child.fields().unwrap().get("body").unwrap()).collect();
    assert_eq!(bodies, [&Value::from("a"), &Value::from("b")]);
}

/// Scenario: some dozen bytes that ask for megabytes, in each format. Guarantee: too large, and never unpacked whole.
#[test]
fn a_decompression_bomb_is_too_large() {
    for format in [Format::Json, Format::Lines, Format::Avro] {
        let options = packed(format, Compression::Zstd);
        assert_eq!(log(&options, &bomb(1_000)), Err(Reason::DecodeTooLarge), "{format:?}");
        // Beyond a mebibyte the ratio counts too, whatever the limit.
        let generous = ParseOptions { max_bytes: Bytes::mebi(512), ..options };
        assert_eq!(log(&generous, &bomb(1_000)), Err(Reason::DecodeTooLarge), "{format:?}");
    }
}

#[test]
fn damaged_or_unpacked_values_have_their_reason() {
    for format in [Format::Json, Format::Lines, Format::Avro] {
        let gzip = packed(format, Compression::Gzip);
        assert_eq!(log(&gzip, &GZIP[..GZIP.len() - 3]), Err(Reason::DecodeCompression), "{format:?}");
        assert_eq!(log(&gzip, br#"{"msg":"m"}"#), Err(Reason::DecodeCompression), "{format:?}");
        assert_eq!(log(&gzip, b""), Err(Reason::DecodeEmpty), "{format:?}");
    }
}

#[test]
fn subjects_are_judged_when_the_step_is_built() {
    let field = |options: &ParseOptions| parse(options, &store()).err().map(|error| error.field);
    assert_eq!(field(&avro(Some("log"))), None);
    assert_eq!(field(&avro(Some("lgo"))).as_deref(), Some("subject"));
    let json = ParseOptions { subject: Some("log".into()), ..ParseOptions::new(Format::Json) };
    assert_eq!(field(&json).as_deref(), Some("subject"));
    let read: ParseOptions =
        serde_json::from_str(r#"{"format":"avro","subject":"log","compression":"zstd"}"#).unwrap();
    assert_eq!(read, ParseOptions { compression: Compression::Zstd, ..avro(Some("log")) });
}

/// A frame of zstd (RFC 8878) that holds the bytes as they are.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let size = u32::try_from(bytes.len()).unwrap();
    [FRAME.as_slice(), &block_header(size, 0, true), bytes].concat()
}

/// A frame of zstd that asks for `blocks` times 128 KiB of one letter, each in four bytes.
fn bomb(blocks: usize) -> Vec<u8> {
    let mut bomb = FRAME.to_vec();
    for block in 1..=blocks {
        bomb.extend(block_header(128 << 10, 1, block == blocks));
        bomb.push(b' ');
    }
    bomb
}

/// Magic number, no checksum and no content size, a window of 2 MiB.
const FRAME: [u8; 6] = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x58];

fn block_header(size: u32, kind: u32, last: bool) -> [u8; 3] {
    let [a, b, c, _] = (size << 3 | kind << 1 | u32::from(last)).to_le_bytes();
    [a, b, c]
}
