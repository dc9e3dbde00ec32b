//! Avro in the Confluent wire format: a zero byte, the schema's id as four bytes big-endian, the datum.
//! (Confluent documentation, "Wire format"; Apache Avro 1.12 specification, "Binary encoding".)
//!
//! How Avro's types stand in a [`Value`]:
//!
//! | Avro | Value |
//! |---|---|
//! | null, boolean, int, long | Null, Bool, Int |
//! | float, double | Float (NaN and infinities are refused, since no other format can say them) |
//! | string, enum, uuid on a string | Text |
//! | bytes, fixed, duration, uuid on a fixed | Bytes |
//! | array; map and record | Array; Object |
//! | union | the value of its branch |
//! | date; time and timestamps | Int: days since 1970; milli-, micro- or nanoseconds as the schema says |
//! | decimal | Number with all digits of its scale (up to 38 digits; longer ones stay Bytes) |
//! | record with `"longshore": "transparent"` and one field | the value of that field, for recursive unions |
//!
//! Reading uses the schema that the payload names, so an older version lacks the fields that came later.

mod decimal;
mod plan;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;
use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::schema::{Name, RecordSchema, ResolvedSchema};
use longshore_core::{Failure, Map, Reason, Value};

use crate::json::Limits;
use crate::store::{Entry, Store};
use plan::Plan;

/// The first byte of the wire format.
const MAGIC: u8 = 0;

/// The bytes before the datum.
const HEADER_BYTES: usize = 5;

/// A schema with what reading and writing need, worked out once.
///
/// The schema lives as long as the process: a store is loaded once, and the table of names borrows from it.
pub(crate) struct Prepared {
    schema: &'static Schema,
    names: HashMap<Name, &'static Schema>,
    plan: Plan,
}

impl Prepared {
    /// Takes a schema text apart; the error says what is wrong with it.
    pub(crate) fn parse(text: &str) -> Result<Self, Box<apache_avro::Error>> {
        let schema: &'static Schema = Box::leak(Box::new(Schema::parse_str(text)?));
        let resolved = ResolvedSchema::new(schema)?;
        let names = resolved.get_names().iter().map(|(name, schema)| (name.clone(), *schema)).collect();
        let plan = Plan::new(schema, &names);
        Ok(Self { schema, names, plan })
    }

    /// The schema as it was parsed.
    pub(crate) fn schema(&self) -> &'static Schema {
        self.schema
    }

    /// Looks through a reference by name.
    fn resolve<'a>(&self, schema: &'a Schema) -> &'a Schema {
        resolve(&self.names, schema)
    }
}

fn resolve<'a>(names: &HashMap<Name, &'static Schema>, schema: &'a Schema) -> &'a Schema {
    match schema {
        Schema::Ref { name } => names.get(name).copied().unwrap_or(schema),
        _ => schema,
    }
}

/// The single field of a record that only stands for its content.
fn transparent(record: &RecordSchema) -> Option<&Schema> {
    let marked = record.attributes.get("longshore").is_some_and(|mark| mark == "transparent");
    match record.fields.as_slice() {
        [field] if marked => Some(&field.schema),
        _ => None,
    }
}

/// Reads payloads in the wire format.
#[derive(Clone)]
pub struct AvroReader {
    store: Arc<Store>,
    subject: Option<String>,
}

impl AvroReader {
    /// A reader over a store; with a subject, only the ids of its versions are accepted.
    pub fn new(store: Arc<Store>, subject: Option<String>) -> Self {
        Self { store, subject }
    }

    /// Reads one payload.
    ///
    /// # Errors
    /// Always of class Reject: `decode.empty`, `decode.too-large`, `decode.depth`, `decode.schema-unknown` (an id that the
    /// store does not hold or that belongs to another subject), `decode.trailing`, and `decode.avro` for everything else.
    pub fn read(&self, bytes: &[u8], limits: &Limits) -> Result<Value, Failure> {
        limits.check_bytes(bytes.len())?;
        if bytes.is_empty() {
            return Err(Failure::reject(Reason::DecodeEmpty, "no value"));
        }
        let Some((&[magic, a, b, c, d], datum)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(Failure::reject(Reason::DecodeAvro, "shorter than the wire format's header"));
        };
        if magic != MAGIC {
            return Err(Failure::reject(Reason::DecodeAvro, "the wire format's first byte is not zero"));
        }
        let entry = self.entry(u32::from_be_bytes([a, b, c, d]))?;
        read::read_datum(&entry.prepared().plan, datum, limits)
    }

    fn entry(&self, id: u32) -> Result<&Entry, Failure> {
        let Some(entry) = self.store.by_id(id) else {
            return Err(Failure::reject(Reason::DecodeSchemaUnknown, format!("no schema has the id {id}")));
        };
        match &self.subject {
            Some(subject) if *subject != entry.subject() => {
                let detail = format!("schema id {id} is of subject {}, not {subject}", entry.subject());
                Err(Failure::reject(Reason::DecodeSchemaUnknown, detail))
            }
            _ => Ok(entry),
        }
    }
}

impl std::fmt::Debug for AvroReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AvroReader").field("subject", &self.subject).finish_non_exhaustive()
    }
}

/// Writes payloads in the wire format with one version of one subject.
#[derive(Clone)]
pub struct AvroWriter {
    entry: Arc<Entry>,
}

impl AvroWriter {
    /// A writer with the newest version of a subject, none when the store does not hold the subject.
    pub fn newest(store: &Store, subject: &str) -> Option<Self> {
        store.newest(subject).map(|entry| Self { entry: Arc::clone(entry) })
    }

    /// A writer with one version of a subject.
    pub fn version(store: &Store, subject: &str, version: u32) -> Option<Self> {
        store.version(subject, version).map(|entry| Self { entry: Arc::clone(entry) })
    }

    /// Appends header and datum. Missing fields take their default, or null where the schema allows it. The same value
    /// always gives the same bytes.
    ///
    /// # Errors
    /// Reject with `encode.avro` when the value does not fit the schema, a field without a place in it included: nothing is
    /// left out silently. The detail names places in the schema, never content. What was appended is cut off again.
    pub fn write(&self, value: &Value, out: &mut Vec<u8>) -> Result<(), Failure> {
        self.framed(out, |prepared, out| write::write_datum(prepared, value, out))
    }

    /// Like [`Self::write`], for the fields of an item.
    ///
    /// # Errors
    /// As for [`Self::write`].
    pub fn write_fields(&self, fields: &Map, out: &mut Vec<u8>) -> Result<(), Failure> {
        self.framed(out, |prepared, out| write::write_fields(prepared, fields, out))
    }

    fn framed(
        &self,
        out: &mut Vec<u8>,
        datum: impl FnOnce(&Prepared, &mut Vec<u8>) -> Result<(), write::Misfit>,
    ) -> Result<(), Failure> {
        let start = out.len();
        out.push(MAGIC);
        out.extend_from_slice(&self.entry.id().to_be_bytes());
        datum(self.entry.prepared(), out).map_err(|misfit| {
            out.truncate(start);
            let place = format!("{} v{}", self.entry.subject(), self.entry.version());
            Failure::reject(Reason::EncodeAvro, format!("{place}: {misfit}"))
        })
    }
}

impl std::fmt::Debug for AvroWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AvroWriter").field("schema_id", &self.entry.id()).finish_non_exhaustive()
    }
}
