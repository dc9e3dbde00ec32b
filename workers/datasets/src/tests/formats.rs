//! Avro and packed values.

use std::path::Path;

use longshore_codec::{AvroWriter, Compression, Store};

use super::*;

/// `{"text":"t"}`, packed by gzip.
const GZIP: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\x2a\x49\xad\x28\x51\xb2\x52\x2a\x51\xaa\x05\x00\x15\xa2\x09\x0f\x0c\x00\x00\x00";

fn store() -> Arc<Store> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas");
    Arc::new(Store::load(&folder).unwrap())
}

fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/document");
    std::fs::read(folder.join(name)).unwrap()
}

fn options(format: Format, compression: Compression) -> AcceptOptions {
    AcceptOptions { format, compression, ..AcceptOptions::default() }
}

fn avro(subject: &str) -> AcceptOptions {
    AcceptOptions { subject: Some(subject.to_owned()), ..options(Format::Avro, Compression::None) }
}

fn read(options: &AcceptOptions, value: &[u8]) -> Result<Map, Reason> {
    let mut item = item_of(Lane::Input, Some(value), &[]);
    match accept(options, &store()).unwrap().apply(&mut item) {
        Ok(_) => Ok(item.fields().unwrap().clone()),
        Err(failure) => {
            assert_eq!(failure.class, Class::Reject);
            Err(failure.reason)
        }
    }
}

/// Scenario: the same document as Avro and as JSON, every field of it used. Guarantee: the same fields.
#[test]
fn avro_of_our_own_schema_reads_as_json_does() {
    let json = read(&AcceptOptions::default(), &golden("v1.golden.json")).unwrap();
    assert_eq!(read(&avro("document"), &golden("v1.golden.avro")).unwrap(), json);
    assert_eq!(read(&options(Format::Avro, Compression::None), &golden("v1.golden.avro")).unwrap(), json);
}

/// Scenario: documents go through a topic in Avro. Guarantee: what is read is what was written, and a field that was not
/// there is not there.
#[test]
fn a_document_of_our_own_survives_avro() {
    let writer = AvroWriter::newest(&store(), "document").unwrap();
    for json in
        [r#"{"text":"t"}"#, r#"{"id":"a","text":"","url":"u","source":"s","attributes":{"x@1":{"n":1}}}"#]
    {
        let first = document(json).fields().unwrap().clone();
        let mut bytes = Vec::new();
        writer.write_fields(&first, &mut bytes).unwrap();
        assert_eq!(read(&avro("document"), &bytes).unwrap(), first, "{json}");
    }
}

#[test]
fn wrong_avro_has_its_reason() {
    let golden = golden("v1.golden.avro");
    let with_id = |id: u8| [&[0, 0, 0, 0, id], &golden[5..]].concat();
    let any = options(Format::Avro, Compression::None);
    assert_eq!(read(&any, &with_id(99)), Err(Reason::DecodeSchemaUnknown));
    assert_eq!(read(&avro("log"), &golden), Err(Reason::DecodeSchemaUnknown));
    assert_eq!(read(&any, &with_id(1)), Err(Reason::DecodeAvro), "a log's schema over a document's bytes");
    assert_eq!(read(&any, br#"{"text":"t"}"#), Err(Reason::DecodeAvro));
    let log = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/log/v1.golden.avro"));
    assert_eq!(read(&any, &log.unwrap()), Err(Reason::DecodeShape), "a log is no document");
}

#[test]
fn every_format_is_unpacked_first() {
    let plain = document(r#"{"text":"t"}"#).fields().unwrap().clone();
    assert_eq!(read(&options(Format::Json, Compression::Gzip), GZIP).unwrap(), plain);
    assert_eq!(read(&options(Format::Json, Compression::Zstd), &zstd(br#"{"text":"t"}"#)).unwrap(), plain);
    assert_eq!(read(&options(Format::Text, Compression::Zstd), &zstd(b"t")).unwrap(), plain);
    let avro_golden = golden("v1.golden.avro");
    let plain = read(&options(Format::Avro, Compression::None), &avro_golden);
    assert_eq!(read(&options(Format::Avro, Compression::Zstd), &zstd(&avro_golden)), plain);
}

/// Scenario: values that are damaged, or ask for a gigabyte in a few thousand bytes. Guarantee: each has its reason, and
/// nothing is unpacked whole.
#[test]
fn bombs_and_damage_have_their_reason() {
    for format in [Format::Json, Format::Text, Format::Avro] {
        assert_eq!(read(&options(format, Compression::Zstd), &bomb(8_000)), Err(Reason::DecodeTooLarge));
        let gzip = options(format, Compression::Gzip);
        assert_eq!(read(&gzip, &GZIP[..GZIP.len() - 3]), Err(Reason::DecodeCompression));
        assert_eq!(read(&gzip, br#"{"text":"t"}"#), Err(Reason::DecodeCompression));
        assert_eq!(read(&gzip, b""), Err(Reason::DecodeEmpty));
    }
}

#[test]
fn subjects_are_judged_when_the_step_is_built() {
    let field = |options: &AcceptOptions| accept(options, &store()).err().map(|error| error.field);
    assert_eq!(field(&avro("document")), None);
    assert_eq!(field(&avro("documents")).as_deref(), Some("subject"));
    assert_eq!(
        field(&AcceptOptions { format: Format::Text, ..avro("document") }).as_deref(),
        Some("subject")
    );
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
