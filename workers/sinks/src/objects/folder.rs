//! Rows on their way to a segment: which partition folder a record belongs to, and its row behind that.
//!
//! A row in a block is `length of the folder u16 little-endian | folder | row`, where the folder is as it stands in names:
//! `date=2026-01-31/source=web`, empty without partition folders.

use std::sync::Arc;

use longshore_core::{Block, Encode, Failure, Item, Reason, Row, Value};

use super::{Columns, Format, ObjectsOptions, time};
use crate::extract::Extract;
use crate::jsonl::JsonLines;

/// What a record without a value is put under, as Hive named it and DuckDB, Spark and pyarrow read it
/// (<https://cwiki.apache.org/confluence/display/Hive/Configuration+Properties>, `hive.exec.default.partition.name`).
pub(super) const NO_VALUE: &str = "__HIVE_DEFAULT_PARTITION__";
/// The longest part of a name that file systems take is 255 bytes; a folder's part is `name=value`.
const PART_BYTES: usize = 255;

/// The longest that all folders of a record may be, bytes: an S3 key has 1,024, and the sink's prefix (at most 200), the topic (249), the
/// generation and the file's name need the rest. A name that a store refuses would be met only after its segment is published.
const FOLDERS_BYTES: usize = 512;

/// One level of partition folders.
#[derive(Clone)]
pub struct PartitionField {
    /// The name before the equals sign.
    pub name: String,
    /// The value of a record.
    pub value: Arc<dyn Extract>,
    /// How it is written.
    pub kind: PartitionKind,
}

/// How a partition's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionKind {
    /// As it is.
    Text,
    /// A time as its day in UTC, `2026-01-31`.
    Date,
    /// A time as its hour in UTC, `2026-01-31T07`.
    Hour,
}

/// Encodes items as rows behind their folders.
pub(super) struct Rows {
    partition: Vec<PartitionField>,
    body: Body,
}

enum Body {
    Columns(Arc<Columns>),
    Lines,
}

impl Rows {
    pub(super) fn new(options: &ObjectsOptions) -> Self {
        let body = match options.format {
            Format::Parquet => Body::Columns(Arc::clone(&options.columns)),
            Format::JsonlZst => Body::Lines,
        };
        Self { partition: options.partition.clone(), body }
    }
}

impl Encode for Rows {
    fn encode(&self, item: &Item, block: &mut Block) -> Result<(), Failure> {
        let start = block.bytes.len();
        write_folder(&self.partition, item, &mut block.bytes)?;
        match &self.body {
            Body::Columns(columns) => columns.encode(item, &mut block.bytes)?,
            Body::Lines => {
                JsonLines.encode(item, block)?;
                // Its row is replaced by ours, which begins with the folder.
                block.rows.pop();
            }
        }
        let range = match (u32::try_from(start), u32::try_from(block.bytes.len())) {
            (Ok(start), Ok(end)) => start..end,
            _ => return Err(Failure::reject(Reason::SinkTooLarge, "a block of rows grew beyond 4 GiB")),
        };
        let (offset, headers) = (item.source.offset(), Vec::new());
        block.rows.push(Row { offset, key: None, value: Some(range), headers });
        Ok(())
    }
}

/// A row's folder and what stands behind it; none when the bytes are not a row of ours.
pub(super) fn split(row: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = row.split_first_chunk::<2>()?;
    let (folder, body) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    Some((std::str::from_utf8(folder).ok()?, body))
}

fn write_folder(partition: &[PartitionField], item: &Item, out: &mut Vec<u8>) -> Result<(), Failure> {
    let start = out.len();
    out.extend_from_slice(&[0, 0]);
    for (place, field) in partition.iter().enumerate() {
        if place > 0 {
            out.push(b'/');
        }
        let part = out.len();
        escape(field.name.as_bytes(), out);
        out.push(b'=');
        write_value(field, item, out)?;
        if out.len() - part > PART_BYTES {
            let detail =
                format!("partition {}: the value makes a folder's name longer than 255 bytes", field.name);
            return Err(Failure::reject(Reason::EncodeValue, detail));
        }
    }
    let length = out.len() - start - 2;
    if length > FOLDERS_BYTES {
        let detail = format!("the partition folders' names are longer than {FOLDERS_BYTES} bytes together");
        return Err(Failure::reject(Reason::EncodeValue, detail));
    }
    out[start..start + 2].copy_from_slice(&(length as u16).to_le_bytes());
    Ok(())
}

fn write_value(field: &PartitionField, item: &Item, out: &mut Vec<u8>) -> Result<(), Failure> {
    let unfit =
        |detail: &str| Failure::reject(Reason::EncodeValue, format!("partition {}: {detail}", field.name));
    let value = field.value.extract(item)?;
    let letters = match (field.kind, &value) {
        (_, Value::Null) => None,
        (PartitionKind::Date, value) => moment(value, "%Y-%m-%d").map_err(unfit)?,
        (PartitionKind::Hour, value) => moment(value, "%Y-%m-%dT%H").map_err(unfit)?,
        (PartitionKind::Text, Value::Text(text)) => Some(text.to_string()),
        (PartitionKind::Text, Value::Bool(truth)) => Some(truth.to_string()),
        (PartitionKind::Text, Value::Int(number)) => Some(number.to_string()),
        (PartitionKind::Text, Value::UInt(number)) => Some(number.to_string()),
        (
            PartitionKind::Text,
            Value::Float(_) | Value::Number(_) | Value::Bytes(_) | Value::Array(_) | Value::Object(_),
        ) => return Err(unfit("only texts, whole numbers and truth values name folders")),
    };
    match letters.filter(|letters| !letters.is_empty()) {
        Some(letters) => escape(letters.as_bytes(), out),
        None => out.extend_from_slice(NO_VALUE.as_bytes()),
    }
    Ok(())
}

/// A time as `format` says; none for zero, which is what a log without a clock says.
fn moment(value: &Value, format: &str) -> Result<Option<String>, &'static str> {
    match time::nanos(value) {
        Some(0) => Ok(None),
        nanos => nanos.and_then(|nanos| time::text(nanos, format)).map(Some).ok_or("the value is no time"),
    }
}

/// What is not a plain letter of ASCII is written as `%` and two hex digits, which readers of Hive folders undo. Other letters stay: Hive and
/// Spark make a letter of each such pair of digits, whatever the bytes beside it (`FileUtils.unescapePathName`).
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || !byte.is_ascii() || matches!(byte, b'-' | b'_' | b'.') {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use longshore_core::{ChunkBuilder, Epoch, Lane, Offset, PairId, RecordRef};

    use super::*;

    struct Fixed(Value);

    impl Extract for Fixed {
        fn extract(&self, _: &Item) -> Result<Value, Failure> {
            Ok(self.0.clone())
        }
    }

    fn folder(fields: &[(&str, Value, PartitionKind)]) -> Result<String, Failure> {
        let mut chunk = ChunkBuilder::new(PairId::new("logs.raw", 3), Lane::Input, Epoch(1));
        chunk.record(Offset(42), 0, None, Some(b"{}"));
        let item = Item::new(RecordRef::new(&chunk.build(None), 0).unwrap());
        let field = |(name, value, kind): &(&str, Value, PartitionKind)| PartitionField {
            name: (*name).to_owned(),
            value: Arc::new(Fixed(value.clone())),
            kind: *kind,
        };
        let rows = Rows { partition: fields.iter().map(field).collect(), body: Body::Lines };
        let mut block = Block::default();
        rows.encode(&item, &mut block)?;
        let (folder, body) = split(&block.bytes).unwrap();
        assert_eq!(body, b"{\"body\":\"{}\",\"_origin\":\"logs.raw/3/42/0\"}\n");
        assert_eq!((block.rows.len(), block.rows[0].value.clone()), (1, Some(0..block.bytes.len() as u32)));
        Ok(folder.to_owned())
    }

    /// Guarantee: a folder is a pure function of the record, whatever letters its values have.
    #[test]
    fn folders_are_named_as_hive_names_them() {
        use PartitionKind::{Date, Hour, Text};
        let noon = Value::Int(1_769_860_800_000_000_000);
        for (fields, named) in [
            (vec![], ""),
            (vec![("date", noon.clone(), Date)], "date=2026-01-31"),
            (vec![("hour", noon, Hour), ("n", Value::Int(-1), Text)], "hour=2026-01-31T12/n=-1"),
            (vec![("source", Value::from("a/b=c d\u{e9}"), Text)], "source=a%2Fb%3Dc%20d\u{e9}"),
            (vec![("source", Value::from(".."), Text)], "source=.."),
            (vec![("source", Value::from(""), Text)], "source=__HIVE_DEFAULT_PARTITION__"),
            (vec![("date", Value::Null, Date)], "date=__HIVE_DEFAULT_PARTITION__"),
            (vec![("date", Value::Int(0), Date)], "date=__HIVE_DEFAULT_PARTITION__"),
        ] {
            assert_eq!(folder(&fields).unwrap(), named);
        }
    }

    /// Scenario: each level has a name that a file system takes, all together make none that a store takes. Guarantee (I9): the record is
    /// refused before its segment is published.
    #[test]
    fn folders_that_are_too_long_together_are_refused() {
        let long = Value::from("x".repeat(240).as_str());
        let field = |name| (name, long.clone(), PartitionKind::Text);
        assert!(folder(&[field("a"), field("b")]).is_ok());
        let failure = folder(&[field("a"), field("b"), field("c")]).unwrap_err();
        assert_eq!(failure.reason, Reason::EncodeValue);
    }

    #[test]
    fn values_that_name_no_folder_are_refused() {
        use PartitionKind::{Date, Text};
        for field in [
            ("source", Value::from("x".repeat(300).as_str()), Text),
            ("source", Value::Float(0.5), Text),
            ("date", Value::from("yesterday"), Date),
        ] {
            let failure = folder(&[field]).unwrap_err();
            assert_eq!(failure.reason, Reason::EncodeValue);
        }
    }
}
