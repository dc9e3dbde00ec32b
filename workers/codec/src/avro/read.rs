//! Reading a datum through the library's schema-aware deserializer, with our limits around it.

use std::cell::Cell;
use std::fmt;

use compact_str::CompactString;
use longshore_core::{Failure, Reason, Value};
use serde::de::{self, Deserialize, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};

use super::{Prepared, refine};
use crate::fields::distinct;
use crate::json::{DEPTH_MAX, Limits};

/// Reads one datum that fills the payload.
pub(super) fn read_datum(prepared: &Prepared, datum: &[u8], limits: &Limits) -> Result<Value, Failure> {
    // A transparent record takes a level of its own around each level of content.
    BUDGET.set(Budget { depth: limits.depth.min(DEPTH_MAX) * 2 + 1, values: limits.values, spent: None });
    let mut rest = datum;
    let read = prepared.reader.read_deser::<Read>(&mut rest);
    let at = super::HEADER_BYTES + datum.len() - rest.len();
    let value = match read {
        Ok(Read(value)) if rest.is_empty() => value,
        Ok(_) => {
            return Err(Failure::reject(
                Reason::DecodeTrailing,
                format!("bytes after the datum at byte {at}"),
            ));
        }
        // The library's own words may quote the payload, so only the position is told.
        Err(_) => return Err(refusal(at, limits)),
    };
    if prepared.needs_refining {
        return Ok(refine::refine(prepared, value));
    }
    Ok(value)
}

#[cold]
fn refusal(at: usize, limits: &Limits) -> Failure {
    match BUDGET.get().spent {
        Some(Spent::Depth) => Failure::reject(Reason::DecodeDepth, format!("nested too deep at byte {at}")),
        Some(Spent::Values) => Failure::reject(
            Reason::DecodeTooLarge,
            format!("more than {} values at byte {at}", limits.values),
        ),
        None => Failure::reject(Reason::DecodeAvro, format!("not valid for its schema at byte {at}")),
    }
}

/// What one datum may still use. It travels beside the library, which takes no seed: a recursive schema nests as deep as
/// the payload says, and an array of nulls names any number of elements in a few bytes.
#[derive(Clone, Copy)]
struct Budget {
    depth: u32,
    values: u32,
    spent: Option<Spent>,
}

/// The limit that was reached.
#[derive(Clone, Copy)]
enum Spent {
    Depth,
    Values,
}

thread_local! {
    static BUDGET: Cell<Budget> = const { Cell::new(Budget { depth: 0, values: 0, spent: None }) };
}

fn spend_value<E: de::Error>() -> Result<(), E> {
    let mut budget = BUDGET.get();
    match budget.values.checked_sub(1) {
        Some(left) => budget.values = left,
        None => budget.spent = Some(Spent::Values),
    }
    BUDGET.set(budget);
    if budget.spent.is_some() { Err(E::custom("too many values")) } else { Ok(()) }
}

/// Goes one level down for the time of `read`.
fn nested<T, E: de::Error>(read: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let mut budget = BUDGET.get();
    match budget.depth.checked_sub(1) {
        Some(left) => budget.depth = left,
        None => budget.spent = Some(Spent::Depth),
    }
    BUDGET.set(budget);
    if budget.spent.is_some() {
        return Err(E::custom("nested too deep"));
    }
    let result = read();
    let budget = BUDGET.get();
    BUDGET.set(Budget { depth: budget.depth + 1, ..budget });
    result
}

/// A value on its way in.
struct Read(Value);

impl<'de> Deserialize<'de> for Read {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        spend_value()?;
        deserializer.deserialize_any(ReadVisitor).map(Read)
    }
}

struct ReadVisitor;

impl<'de> Visitor<'de> for ReadVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i32<E>(self, value: i32) -> Result<Value, E> {
        Ok(Value::Int(i64::from(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_f32<E: de::Error>(self, value: f32) -> Result<Value, E> {
        self.visit_f64(f64::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        if value.is_finite() { Ok(Value::Float(value)) } else { Err(E::custom("not a finite number")) }
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.into()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value.into()))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(Value::Bytes(value.into()))
    }

    fn visit_byte_buf<E>(self, value: Vec<u8>) -> Result<Value, E> {
        Ok(Value::Bytes(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        nested(|| {
            // The announced length is the payload's word, so it reserves nothing.
            let mut list = Vec::new();
            while let Some(Read(item)) = items.next_element()? {
                list.push(item);
            }
            Ok(Value::Array(list))
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        nested(|| {
            let mut fields = Vec::new();
            while let Some((Name(name), Read(value))) = entries.next_entry::<Name, Read>()? {
                fields.push((name, value));
            }
            Ok(Value::Object(distinct(fields)))
        })
    }

    fn visit_enum<A: EnumAccess<'de>>(self, symbol: A) -> Result<Value, A::Error> {
        let (Name(symbol), rest) = symbol.variant::<Name>()?;
        rest.unit_variant()?;
        Ok(Value::Text(symbol))
    }
}

/// A field's name, a map's key or an enum's symbol: the library gives the first and last as identifiers only.
struct Name(CompactString);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(NameVisitor)
    }
}

struct NameVisitor;

impl Visitor<'_> for NameVisitor {
    type Value = Name;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Name, E> {
        Ok(Name(name.into()))
    }

    fn visit_string<E>(self, name: String) -> Result<Name, E> {
        Ok(Name(name.into()))
    }
}
