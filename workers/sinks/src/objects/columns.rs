//! The columns of a Parquet file, and rows on their way to it.
//!
//! A record becomes a row of typed values at once, on the CPU pool. What does not fit its column is refused there, by the column's
//! name, so that nothing that is done with the row later can fail because of the record's data.

mod fit;
mod row;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::iter::Peekable;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use longshore_core::json::write_text;
use longshore_core::{Content, Failure, Item, Map, Reason, Value};

use self::fit::Misfit;
pub(super) use self::row::array;
use super::time;
use crate::extract::Extract;

/// The largest row in bytes. A page of a Parquet file holds at least one value, and its header counts in 31 bits.
const ROW_MAX: usize = 1 << 30;

/// What a column holds, and so what a value must be for it. Nothing is always taken, as null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Text. Anything that is no text is written as JSON lines would write it, so this column takes every value.
    Text,
    /// JSON as text, which is what all readers take; texts are in quotes.
    Json,
    /// A whole number of 64 bits; also a text that is one, since many formats of logs know texts alone.
    Int,
    /// The same with 32 bits.
    Int32,
    /// A double; also a text that is a number. Of a number that no double is, the nearest.
    Float,
    /// True or false, also as text.
    Bool,
    /// A time, in microseconds, since Spark reads none of nanoseconds: a whole number of up to fourteen digits is milliseconds since 1970, a
    /// longer one nanoseconds; a text is such a number, RFC 3339, or a day or time without an offset.
    Time,
    /// Nanoseconds since 1970 between 1677 and 2262, as a whole number; a text may be a time. Zero is no time, as OpenTelemetry has it.
    Nanos,
    /// Bytes; a text is its UTF-8.
    Bytes,
}

impl Type {
    fn arrow(self) -> DataType {
        match self {
            Self::Text | Self::Json => DataType::Utf8,
            Self::Int | Self::Nanos => DataType::Int64,
            Self::Int32 => DataType::Int32,
            Self::Float => DataType::Float64,
            Self::Bool => DataType::Boolean,
            Self::Time => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            Self::Bytes => DataType::Binary,
        }
    }
}

/// The time zone of all times.
const UTC: &str = "UTC";

/// What is written to a column.
#[derive(Clone)]
pub enum Source {
    /// The record's own field of this name. A record that no step has read has the field `body`, or `body_base64` when it is not
    /// UTF-8, as in JSON lines.
    Field(String),
    /// A value made of the record.
    Value(Arc<dyn Extract>),
    /// The whole record as JSON.
    Record,
    /// The fields that no column has, as JSON; null when there are none.
    Rest,
    /// When a log happened, or was observed where nobody says; null where neither is known.
    Happened,
    /// The record's identity, `topic/partition/offset/index`.
    Origin,
    /// The record's topic.
    Topic,
    /// Its partition.
    Partition,
    /// Its offset.
    Offset,
    /// The broker's timestamp; null when there is none, or none that a column of times can hold.
    Timestamp,
    /// Its key.
    Key,
}

/// One column.
#[derive(Clone)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Type,
    /// What is written to it.
    pub source: Source,
}

impl Column {
    fn field(name: &str, kind: Type) -> Self {
        Self { name: name.to_owned(), kind, source: Source::Field(name.to_owned()) }
    }

    fn own(name: &str, kind: Type, source: Source) -> Self {
        Self { name: name.to_owned(), kind, source }
    }

    /// Whether every record has a value.
    fn is_required(&self) -> bool {
        matches!(self.source, Source::Origin | Source::Topic | Source::Partition | Source::Offset)
    }
}

impl fmt::Debug for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.name, self.kind)
    }
}

/// The columns of a file in their order.
#[derive(Clone, Debug)]
pub struct Columns {
    columns: Vec<Column>,
    schema: SchemaRef,
    /// Whether no two columns are of one field, so that the fields with a column can be counted.
    distinct: bool,
}

impl Columns {
    /// A log's fields (OpenTelemetry log data model), then the record's own columns.
    ///
    /// Fields of no fixed shape are JSON, since files of one folder must have one schema. Steps may give a log fields that the model does
    /// not have: these are in `_extra`, since a file without them would be a loss that nobody is told of.
    pub fn log() -> Self {
        let fields = [
            ("time_unix_nano", Type::Nanos),
            ("observed_time_unix_nano", Type::Nanos),
            ("trace_id", Type::Text),
            ("span_id", Type::Text),
            ("trace_flags", Type::Int32),
            ("severity_text", Type::Text),
            ("severity_number", Type::Int32),
            ("body", Type::Text),
            ("attributes", Type::Json),
            ("resource", Type::Json),
            ("event_name", Type::Text),
        ];
        let mut columns = Self::fields(&fields);
        columns.insert(0, Column::own("time", Type::Time, Source::Happened));
        Self::new(columns)
    }

    /// A document's fields (Dolma), then the record's own columns; other fields are in `_extra`.
    ///
    /// `added` and `created` are texts: documents bring them as their sources wrote them, a year alone for example, and no step reads
    /// them. `messages` of a chat is JSON, since contents are texts, parts or nothing.
    pub fn document() -> Self {
        let fields = [
            ("id", Type::Text),
            ("text", Type::Text),
            ("messages", Type::Json),
            ("source", Type::Text),
            ("added", Type::Text),
            ("created", Type::Text),
            ("metadata", Type::Json),
            ("attributes", Type::Json),
        ];
        Self::new(Self::fields(&fields))
    }

    /// The whole record as JSON in a column `record`, then the record's own columns.
    pub fn record() -> Self {
        Self::new(vec![Column::own("record", Type::Json, Source::Record)])
    }

    /// Columns of one's own choice, then the record's own ones.
    ///
    /// # Errors
    /// A name that stands twice or is one of the record's own columns.
    pub fn of(columns: Vec<Column>) -> Result<Self, String> {
        let mut names: BTreeSet<String> = own_columns().into_iter().map(|column| column.name).collect();
        for column in &columns {
            if !names.insert(column.name.clone()) {
                return Err(format!("column {} stands twice, or is one that every file has", column.name));
            }
        }
        Ok(Self::new(columns))
    }

    fn fields(fields: &[(&str, Type)]) -> Vec<Column> {
        let mut columns: Vec<Column> = fields.iter().map(|(name, kind)| Column::field(name, *kind)).collect();
        columns.push(Column::own("_extra", Type::Json, Source::Rest));
        columns
    }

    fn new(mut columns: Vec<Column>) -> Self {
        let mut fields = BTreeSet::new();
        let distinct = columns.iter().filter_map(field_of).all(|field| fields.insert(field));
        columns.extend(own_columns());
        let schema: Vec<Field> = columns
            .iter()
            .map(|column| Field::new(&column.name, column.kind.arrow(), !column.is_required()))
            .collect();
        Self { columns, schema: Arc::new(Schema::new(schema)), distinct }
    }

    /// The columns' names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// The columns' names and types.
    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The columns in their order.
    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// Appends the item's row, as `row.rs` describes it.
    ///
    /// # Errors
    /// Reject when a value does not fit its column or the row is beyond any sense; the caller cuts off what was appended until then.
    pub(super) fn encode(&self, item: &Item, out: &mut Vec<u8>) -> Result<(), Failure> {
        let start = out.len();
        let unread;
        let fields = match &item.content {
            Content::Fields(fields) => fields,
            Content::Original | Content::Raw(_) => {
                unread = unread_fields(item);
                &unread
            }
        };
        let mut seen = Seen { fields, ahead: fields.iter().peekable(), taken: 0 };
        for column in &self.columns {
            self.write(column, item, &mut seen, out).map_err(|failure| named(failure, &column.name))?;
        }
        if out.len() - start > ROW_MAX {
            return Err(Failure::reject(Reason::SinkTooLarge, "the row is larger than 1 GiB"));
        }
        Ok(())
    }

    fn write<'a>(
        &self,
        column: &Column,
        item: &Item,
        seen: &mut Seen<'a, impl Iterator<Item = (&'a str, &'a Value)>>,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        match &column.source {
            Source::Field(name) => {
                fit::write(column.kind, seen.take(name).unwrap_or(&Value::Null), out).map_err(unfit)?;
            }
            Source::Value(extract) => fit::write(column.kind, &extract.extract(item)?, out).map_err(unfit)?,
            Source::Record => {
                let record = row::sized(out, |out| seen.fields.write_json(out));
                record.map_err(|error| Failure::reject(Reason::EncodeValue, error))?;
            }
            Source::Rest => self.rest(seen, out)?,
            Source::Happened => row::long(happened(seen.fields).map_err(unfit)?, out),
            Source::Origin => row::sized(out, |out| {
                write_origin(item, out);
                Ok::<_, Failure>(())
            })?,
            Source::Topic => row::bytes(Some(item.source.pair().topic.as_str().as_bytes()), out),
            Source::Partition => row::int(Some(item.source.pair().partition.0), out),
            Source::Offset => row::long(Some(item.source.offset().0), out),
            Source::Timestamp => row::long(timestamp(item), out),
            Source::Key => row::bytes(item.key(), out),
        }
        Ok(())
    }

    /// The fields without a column of their own.
    fn rest<'a>(
        &self,
        seen: &Seen<'a, impl Iterator<Item = (&'a str, &'a Value)>>,
        out: &mut Vec<u8>,
    ) -> Result<(), Failure> {
        if self.distinct && seen.taken == seen.fields.len() {
            row::bytes(None, out);
            return Ok(());
        }
        let has_column = |name: &str| self.columns.iter().filter_map(field_of).any(|field| field == name);
        let mut rest = seen.fields.iter().filter(|(name, _)| !has_column(name)).peekable();
        if rest.peek().is_none() {
            row::bytes(None, out);
            return Ok(());
        }
        row::sized(out, |out| {
            out.push(b'{');
            for (place, (name, value)) in rest.enumerate() {
                if place > 0 {
                    out.push(b',');
                }
                write_text(name, out);
                out.push(b':');
                value.write_json(out).map_err(|error| Failure::reject(Reason::EncodeValue, error))?;
            }
            out.push(b'}');
            Ok(())
        })
    }
}

/// The columns that every file has: where the record stood, which makes a row's identity, and what Kafka knows of it.
fn own_columns() -> Vec<Column> {
    vec![
        Column::own("_origin", Type::Text, Source::Origin),
        Column::own("_topic", Type::Text, Source::Topic),
        Column::own("_partition", Type::Int32, Source::Partition),
        Column::own("_offset", Type::Int, Source::Offset),
        Column::own("_timestamp", Type::Time, Source::Timestamp),
        Column::own("_key", Type::Bytes, Source::Key),
    ]
}

fn field_of(column: &Column) -> Option<&str> {
    match &column.source {
        Source::Field(name) => Some(name),
        Source::Value(_)
        | Source::Record
        | Source::Rest
        | Source::Happened
        | Source::Origin
        | Source::Topic
        | Source::Partition
        | Source::Offset
        | Source::Timestamp
        | Source::Key => None,
    }
}

/// The fields of one record while its row is written.
struct Seen<'a, I: Iterator<Item = (&'a str, &'a Value)>> {
    fields: &'a Map,
    /// Steps write fields in the order of the columns, so mostly the next field is the one that is asked for.
    ahead: Peekable<I>,
    /// How many fields went to columns.
    taken: usize,
}

impl<'a, I: Iterator<Item = (&'a str, &'a Value)>> Seen<'a, I> {
    fn take(&mut self, name: &str) -> Option<&'a Value> {
        let next = self.ahead.next_if(|(known, _)| *known == name).map(|(_, value)| value);
        let found = next.or_else(|| self.fields.get(name));
        self.taken += usize::from(found.is_some());
        found
    }
}

/// What a record that no step has read holds, in the spelling of JSON lines.
fn unread_fields(item: &Item) -> Map {
    let mut fields = Map::with_capacity(1);
    match item.raw().map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => fields.push("body", Value::Null),
        Some((_, Ok(text))) => fields.push("body", Value::from(text)),
        Some((bytes, Err(_))) => fields.push("body_base64", Value::Bytes(bytes.into())),
    }
    fields
}

/// Kafka's -1 is no time. A producer may also send one that no reader could take, and that must not keep the record out.
fn timestamp(item: &Item) -> Option<i64> {
    let time = Some(item.source.timestamp_ms()).filter(|time| *time >= 0)?.checked_mul(1_000)?;
    time::is_told(time).then_some(time)
}

/// Microseconds since 1970.
fn happened(fields: &Map) -> Result<Option<i64>, Misfit> {
    for name in ["time_unix_nano", "observed_time_unix_nano"] {
        if let Some(nanos) = fields.get(name).map(fit::nanos).transpose()?.flatten() {
            return Ok(Some(nanos.div_euclid(1_000)));
        }
    }
    Ok(None)
}

fn write_origin(item: &Item, out: &mut Vec<u8>) {
    let pair = item.source.pair();
    out.extend_from_slice(pair.topic.as_str().as_bytes());
    for number in [i64::from(pair.partition.0), item.source.offset().0, i64::from(item.index)] {
        out.push(b'/');
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
}

fn unfit(misfit: Misfit) -> Failure {
    Failure::reject(Reason::EncodeValue, misfit)
}

/// Says which column it was.
fn named(failure: Failure, column: &str) -> Failure {
    Failure::new(failure.class, failure.reason, format_args!("column {column}: {}", failure.detail()))
}
