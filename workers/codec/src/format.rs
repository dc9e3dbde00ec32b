//! The formats of the pipeline file, put together: unpacking and reading of inputs, writing of topic rows.

use std::ops::Range;
use std::sync::Arc;

use longshore_core::{Content, Failure, Item, Map, Reason, Value};

use crate::avro::{AvroReader, AvroWriter};
use crate::json::{self, Limits};
use crate::store::Store;
use crate::unpack::{Compression, unpack};

/// A format by its words in the pipeline file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text to read; the body alone to write.
    Raw,
    /// One JSON value.
    #[default]
    Json,
    /// Avro in the Confluent wire format.
    Avro {
        /// The subject in the schema store. To write, it is needed and its newest version is used; to read, it limits the
        /// ids that are accepted.
        subject: Option<String>,
    },
}

/// Reads payloads of an input.
#[derive(Clone, Debug)]
pub struct Decode {
    format: Reading,
    compression: Compression,
    limits: Limits,
}

#[derive(Clone, Debug)]
enum Reading {
    Raw,
    Json,
    Avro(AvroReader),
}

impl Decode {
    /// A reader of a format. Avro takes its schemas from the store.
    pub fn new(format: &Format, store: &Arc<Store>, compression: Compression, limits: Limits) -> Self {
        let format = match format {
            Format::Raw => Reading::Raw,
            Format::Json => Reading::Json,
            Format::Avro { subject } => Reading::Avro(AvroReader::new(Arc::clone(store), subject.clone())),
        };
        Self { format, compression, limits }
    }

    /// A reader of plain JSON with the usual limits.
    pub fn json() -> Self {
        Self { format: Reading::Json, compression: Compression::None, limits: Limits::default() }
    }

    /// Reads one payload. Raw gives its text.
    ///
    /// # Errors
    /// Reject with one of the `decode.*` reasons; see [`json::parse`], [`AvroReader::read`] and [`unpack`].
    pub fn decode(&self, bytes: &[u8]) -> Result<Value, Failure> {
        let bytes = unpack(bytes, self.compression, &self.limits)?;
        match &self.format {
            Reading::Raw => raw(&bytes),
            Reading::Json => json::parse(&bytes, &self.limits),
            Reading::Avro(reader) => reader.read(&bytes, &self.limits),
        }
    }
}

fn raw(bytes: &[u8]) -> Result<Value, Failure> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Value::from(text)),
        Err(error) => Err(Failure::reject(Reason::DecodeUtf8, format!("at byte {}", error.valid_up_to()))),
    }
}

/// Turns items into the values of topic rows.
#[derive(Clone, Debug)]
pub struct ValueEncoder {
    writing: Writing,
}

#[derive(Clone, Debug)]
enum Writing {
    Raw,
    Json,
    Avro(AvroWriter),
}

impl ValueEncoder {
    /// A writer of a format.
    ///
    /// # Errors
    /// Words for a person when Avro names no subject or one that the store does not hold.
    pub fn new(format: &Format, store: &Store) -> Result<Self, String> {
        let writing = match format {
            Format::Raw => Writing::Raw,
            Format::Json => Writing::Json,
            Format::Avro { subject: None } => return Err("avro needs a subject to write".to_owned()),
            Format::Avro { subject: Some(subject) } => match AvroWriter::newest(store, subject) {
                Some(writer) => Writing::Avro(writer),
                None => return Err(format!("the schema store holds no subject {subject}")),
            },
        };
        Ok(Self { writing })
    }

    /// Appends the item's value and tells where it lies; none for a tombstone.
    ///
    /// What no step has read is written byte for byte as it came, in any format. Raw writes the body of a log, the text of
    /// a document alone.
    ///
    /// # Errors
    /// Reject with `encode.avro` or `encode.value` when the format cannot express the item; nothing is appended then.
    pub fn encode(&self, item: &Item, out: &mut Vec<u8>) -> Result<Option<Range<u32>>, Failure> {
        let start = out.len();
        let present = self.append(item, out).inspect_err(|_| out.truncate(start))?;
        match (present, u32::try_from(start), u32::try_from(out.len())) {
            (false, ..) => Ok(None),
            (true, Ok(start), Ok(end)) => Ok(Some(start..end)),
            _ => {
                out.truncate(start);
                Err(Failure::reject(Reason::EncodeValue, "a block of rows grew beyond 4 GiB"))
            }
        }
    }

    /// False for a tombstone.
    fn append(&self, item: &Item, out: &mut Vec<u8>) -> Result<bool, Failure> {
        match (&item.content, &self.writing) {
            (Content::Original, _) => match item.source.value() {
                Some(value) => out.extend_from_slice(value),
                None => return Ok(false),
            },
            (Content::Raw(_), Writing::Avro(_)) => {
                return Err(Failure::reject(Reason::EncodeAvro, "no step has read the record"));
            }
            (Content::Raw(bytes), Writing::Raw | Writing::Json) => out.extend_from_slice(bytes),
            (Content::Fields(fields), Writing::Raw) => append_body(fields, out)?,
            (Content::Fields(fields), Writing::Json) => fields.write_json(out).map_err(inexpressible)?,
            (Content::Fields(fields), Writing::Avro(writer)) => writer.write_fields(fields, out)?,
        }
        Ok(true)
    }
}

/// The body of a log or the text of a document: text and bytes as they are, anything else as JSON.
fn append_body(fields: &Map, out: &mut Vec<u8>) -> Result<(), Failure> {
    match fields.get("body").or_else(|| fields.get("text")) {
        Some(Value::Text(text)) => out.extend_from_slice(text.as_bytes()),
        Some(Value::Bytes(bytes)) => out.extend_from_slice(bytes),
        Some(value) => value.write_json(out).map_err(inexpressible)?,
        None => return Err(Failure::reject(Reason::EncodeValue, "neither a body nor a text to write raw")),
    }
    Ok(())
}

fn inexpressible(error: impl std::fmt::Display) -> Failure {
    Failure::reject(Reason::EncodeValue, error)
}

/// Appends an item's value in a format; see [`ValueEncoder`], which looks the schema up once instead of each time.
///
/// # Errors
/// As for [`ValueEncoder::encode`]; Halt with `encode.avro` when the store lacks the subject.
pub fn encode_value(
    item: &Item,
    format: &Format,
    store: &Store,
    out: &mut Vec<u8>,
) -> Result<Option<Range<u32>>, Failure> {
    let encoder =
        ValueEncoder::new(format, store).map_err(|words| Failure::halt(Reason::EncodeAvro, words))?;
    encoder.encode(item, out)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use bytes::Bytes;
    use longshore_core::{ChunkBuilder, Epoch, Lane, Offset, PairId, Partition, RecordRef, TopicName};

    use super::*;

    fn store() -> Arc<Store> {
        Arc::new(Store::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas")).unwrap())
    }

    fn item(value: Option<&[u8]>) -> Item {
        let pair = PairId { topic: TopicName::new("t"), partition: Partition(0) };
        let mut builder = ChunkBuilder::new(pair, Lane::Input, Epoch(0));
        builder.record(Offset(0), -1, None, value);
        Item::new(RecordRef::new(&builder.build(None), 0).unwrap())
    }

    fn with(content: Content) -> Item {
        Item { content, ..item(Some(b"{\"body\": 1 }")) }
    }

    fn fields(text: &str) -> Content {
        match json::parse(text.as_bytes(), &Limits::default()).unwrap() {
            Value::Object(map) => Content::Fields(map),
            _ => panic!("an object"),
        }
    }

    fn avro(subject: &str) -> Format {
        Format::Avro { subject: Some(subject.to_owned()) }
    }

    fn encode(item: &Item, format: &Format) -> Result<Option<Vec<u8>>, Reason> {
        let mut out = b"before".to_vec();
        match encode_value(item, format, &store(), &mut out) {
            Ok(range) => Ok(range.map(|range| out[range.start as usize..range.end as usize].to_vec())),
            Err(failure) => {
                assert_eq!(out, b"before");
                Err(failure.reason)
            }
        }
    }

    #[test]
    fn what_no_step_read_goes_out_as_it_came_and_a_tombstone_stays_one() {
        for format in [Format::Raw, Format::Json, avro("log")] {
            assert_eq!(
                encode(&item(Some(b"{ \"a\":1.10 }\xff")), &format),
                Ok(Some(b"{ \"a\":1.10 }\xff".to_vec()))
            );
            assert_eq!(encode(&item(None), &format), Ok(None));
            assert_eq!(encode(&item(Some(b"")), &format), Ok(Some(Vec::new())));
        }
        let line = with(Content::Raw(Bytes::from_static(b"one line")));
        assert_eq!(encode(&line, &Format::Raw), Ok(Some(b"one line".to_vec())));
        assert_eq!(encode(&line, &avro("log")), Err(Reason::EncodeAvro));
    }

    #[test]
    fn fields_are_written_in_each_format() {
        let log = with(fields(r#"{"body":"text","severity_number":9}"#));
        assert_eq!(encode(&log, &Format::Json), Ok(Some(br#"{"body":"text","severity_number":9}"#.to_vec())));
        assert_eq!(encode(&log, &Format::Raw), Ok(Some(b"text".to_vec())));
        let bytes = encode(&log, &avro("log")).unwrap().unwrap();
        let decode = Decode::new(&avro("log"), &store(), Compression::None, Limits::default());
        let Value::Object(read) = decode.decode(&bytes).unwrap() else { panic!("an object") };
        assert_eq!(read.get("body"), Some(&Value::from("text")));
        assert_eq!(read.get("severity_number"), Some(&Value::Int(9)));
        assert_eq!(encode(&log, &avro("document")), Err(Reason::EncodeAvro));
        let nameless = with(fields(r#"{"message":"text"}"#));
        assert_eq!(encode(&nameless, &Format::Raw), Err(Reason::EncodeValue));
        assert_eq!(
            encode(
                &with(Content::Fields(Map::from_fields(vec![("n".into(), Value::Float(f64::NAN))]))),
                &Format::Json
            ),
            Err(Reason::EncodeValue)
        );
    }

    #[test]
    fn a_subject_that_does_not_exist_is_told_at_the_start() {
        assert!(ValueEncoder::new(&avro("nothing"), &store()).unwrap_err().contains("nothing"));
        assert!(ValueEncoder::new(&Format::Avro { subject: None }, &store()).is_err());
    }

    #[test]
    fn packed_input_is_unpacked_before_it_is_read() {
        let packed = zstd::encode_all(&br#"{"a":1}"#[..], 3).unwrap();
        let decode = Decode::new(&Format::Json, &store(), Compression::Zstd, Limits::default());
        assert_eq!(decode.decode(&packed).unwrap(), Decode::json().decode(br#"{"a":1}"#).unwrap());
        assert_eq!(decode.decode(b"{\"a\":1}").unwrap_err().reason, Reason::DecodeCompression);
        let raw = Decode::new(&Format::Raw, &store(), Compression::None, Limits::default());
        assert_eq!(raw.decode("é".as_bytes()).unwrap(), Value::from("é"));
        assert_eq!(raw.decode(b"\xe9").unwrap_err().reason, Reason::DecodeUtf8);
    }

    #[test]
    fn numbers_come_out_as_they_went_in() {
        let text = br#"{"a":1.10,"b":2305843009213693951,"c":1e400,"d":0.1,"e":-0,"f":-0.0,"g":1.0,"h":123456789012.5}"#;
        let mut out = Vec::new();
        Decode::json().decode(text).unwrap().write_json(&mut out).unwrap();
        assert_eq!(out, text);
    }
}
