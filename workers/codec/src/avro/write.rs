//! Writing a datum, led by the schema. Written here and not through the library's value type, since that keeps maps in
//! random order, so the same record would not give the same bytes, and costs a copy of every string.

use std::fmt;

use apache_avro::Schema;
use apache_avro::schema::{InnerDecimalSchema, RecordSchema, UnionSchema, UuidSchema};
use longshore_core::{Map, Value};

use super::{Prepared, decimal, transparent};

/// Deeper values are refused; whoever reads them would refuse them too.
const DEPTH_MAX: u32 = 2 * crate::json::DEPTH_MAX;

/// Where a value does not fit its schema: names of the schema only, innermost first.
#[derive(Debug)]
pub(super) struct Misfit {
    path: Vec<String>,
    wanted: String,
}

impl Misfit {
    #[cold]
    fn new(wanted: impl Into<String>) -> Self {
        Self { path: Vec::new(), wanted: wanted.into() }
    }

    #[cold]
    fn within(mut self, name: &str) -> Self {
        self.path.push(name.to_owned());
        self
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path: Vec<&str> = self.path.iter().rev().map(String::as_str).collect();
        write!(f, "{}: {}", if path.is_empty() { "value".to_owned() } else { path.join(".") }, self.wanted)
    }
}

type Written = Result<(), Misfit>;

pub(super) fn write_datum(prepared: &Prepared, value: &Value, out: &mut Vec<u8>) -> Written {
    Datum { prepared, out, depth: 0 }.write(prepared.schema, value)
}

pub(super) fn write_fields(prepared: &Prepared, fields: &Map, out: &mut Vec<u8>) -> Written {
    let mut datum = Datum { prepared, out, depth: 0 };
    match prepared.schema {
        Schema::Record(record) => datum.record(record, fields),
        Schema::Map(map) => datum.map(&map.types, fields),
        _ => Err(Misfit::new("the schema is neither a record nor a map")),
    }
}

struct Datum<'a> {
    prepared: &'a Prepared,
    out: &'a mut Vec<u8>,
    depth: u32,
}

impl<'a> Datum<'a> {
    fn write(&mut self, schema: &'a Schema, value: &Value) -> Written {
        self.depth += 1;
        let written = match self.depth {
            0..=DEPTH_MAX => self.write_resolved(self.prepared.resolve(schema), value),
            _ => Err(Misfit::new("nested too deep")),
        };
        self.depth -= 1;
        written
    }

    fn write_resolved(&mut self, schema: &'a Schema, value: &Value) -> Written {
        match (schema, value) {
            (Schema::Null, Value::Null) => {}
            (Schema::Boolean, Value::Bool(value)) => self.out.push(u8::from(*value)),
            (Schema::Int | Schema::Date | Schema::TimeMillis, value) => self.int(value)?,
            (schema, value) if is_long(schema) => match value.as_i64() {
                Some(number) => self.long(number),
                None => return Err(Misfit::new("wants a 64-bit integer")),
            },
            (Schema::Float, value) => match float(value) {
                Some(number) if (number as f32).is_finite() => self.out.extend((number as f32).to_le_bytes()),
                _ => return Err(Misfit::new("wants a float")),
            },
            (Schema::Double, value) => match float(value) {
                Some(number) => self.out.extend(number.to_le_bytes()),
                None => return Err(Misfit::new("wants a double")),
            },
            (Schema::String | Schema::Uuid(UuidSchema::String), Value::Text(text)) => {
                self.bytes(text.as_bytes())
            }
            (Schema::Bytes | Schema::BigDecimal | Schema::Uuid(UuidSchema::Bytes), Value::Bytes(bytes)) => {
                self.bytes(bytes);
            }
            (
                Schema::Fixed(fixed) | Schema::Duration(fixed) | Schema::Uuid(UuidSchema::Fixed(fixed)),
                Value::Bytes(bytes),
            ) if bytes.len() == fixed.size => self.out.extend_from_slice(bytes),
            (Schema::Decimal(kind), value) => self.decimal(kind, value)?,
            (Schema::Enum(kind), Value::Text(text)) => {
                match kind.symbols.iter().position(|symbol| symbol == text) {
                    Some(place) => self.long(place as i64),
                    None => return Err(Misfit::new("wants one of the enum's symbols")),
                }
            }
            (Schema::Array(array), Value::Array(items)) => self.array(&array.items, items)?,
            (Schema::Map(map), Value::Object(fields)) => self.map(&map.types, fields)?,
            (Schema::Record(record), value) => match (transparent(record), value) {
                (Some(schema), value) => self.write(schema, value)?,
                (None, Value::Object(fields)) => self.record(record, fields)?,
                (None, _) => return Err(Misfit::new("wants a record")),
            },
            (Schema::Union(union), value) => self.union(union, value)?,
            (schema, _) => return Err(Misfit::new(format!("wants {}", kind(schema)))),
        }
        Ok(())
    }

    fn record(&mut self, record: &'a RecordSchema, fields: &Map) -> Written {
        let mut placed = 0;
        for field in &record.fields {
            let written = match (fields.get(&field.name), &field.default) {
                (Some(value), _) => {
                    placed += 1;
                    self.write(&field.schema, value)
                }
                (None, Some(default)) => self.write_default(&field.schema, default),
                (None, None) => {
                    self.write(&field.schema, &Value::Null).map_err(|_| Misfit::new("is missing"))
                }
            };
            written.map_err(|misfit| misfit.within(&field.name))?;
        }
        if placed == fields.len() {
            return Ok(());
        }
        let spare = fields.len() - placed;
        Err(Misfit::new(format!("{spare} of the fields have no place in record {}", record.name)))
    }

    /// A default is JSON in the schema, where a transparent record still shows as one; in a union it is of the first
    /// branch that takes it.
    fn write_default(&mut self, schema: &'a Schema, default: &serde_json::Value) -> Written {
        if let (Schema::Record(record), Some(fields)) = (self.prepared.resolve(schema), default.as_object())
            && let (Some(inner), Some(content)) = (transparent(record), fields.values().next())
        {
            return self.write_default(inner, content);
        }
        if default.is_null() {
            return self.write(schema, &Value::Null);
        }
        let text = default.to_string();
        let limits = crate::json::Limits::default();
        match crate::json::parse(text.as_bytes(), &limits) {
            Ok(value) => self.write(schema, &value),
            Err(_) => Err(Misfit::new("has a default that cannot be read")),
        }
    }

    fn array(&mut self, schema: &'a Schema, items: &[Value]) -> Written {
        if !items.is_empty() {
            self.long(items.len() as i64);
            for item in items {
                self.write(schema, item).map_err(|misfit| misfit.within("[]"))?;
            }
        }
        self.long(0);
        Ok(())
    }

    fn map(&mut self, schema: &'a Schema, fields: &Map) -> Written {
        if !fields.is_empty() {
            self.long(fields.len() as i64);
            for (name, value) in fields.iter() {
                self.bytes(name.as_bytes());
                self.write(schema, value).map_err(|misfit| misfit.within("{}"))?;
            }
        }
        self.long(0);
        Ok(())
    }

    /// Takes the first branch that holds the value: exactly first, then with a change of number type.
    fn union(&mut self, union: &'a UnionSchema, value: &Value) -> Written {
        for exact in [true, false] {
            for (place, branch) in union.variants().iter().enumerate() {
                if self.is_exact(branch, value) != exact {
                    continue;
                }
                let start = self.out.len();
                self.long(place as i64);
                match self.write(branch, value) {
                    Ok(()) => return Ok(()),
                    Err(misfit) if union.variants().len() == 2 && exact => return Err(misfit),
                    Err(_) => self.out.truncate(start),
                }
            }
        }
        Err(Misfit::new("fits no branch of the union"))
    }

    /// Whether the branch is of the value's own kind.
    fn is_exact(&self, branch: &Schema, value: &Value) -> bool {
        let schema = self.prepared.resolve(branch);
        match value {
            Value::Null => matches!(schema, Schema::Null),
            Value::Bool(_) => matches!(schema, Schema::Boolean),
            Value::Int(_) | Value::UInt(_) => {
                matches!(schema, Schema::Int | Schema::Date | Schema::TimeMillis) || is_long(schema)
            }
            Value::Float(_) => matches!(schema, Schema::Double | Schema::Float),
            Value::Number(_) => matches!(schema, Schema::Decimal(_)),
            Value::Text(_) => {
                matches!(schema, Schema::String | Schema::Enum(_) | Schema::Uuid(UuidSchema::String))
            }
            Value::Bytes(_) => matches!(schema, Schema::Bytes | Schema::Fixed(_) | Schema::Duration(_)),
            Value::Array(_) => matches!(schema, Schema::Array(_)),
            Value::Object(_) => matches!(schema, Schema::Map(_) | Schema::Record(_)),
        }
    }

    fn int(&mut self, value: &Value) -> Written {
        match value.as_i64().map(i32::try_from) {
            Some(Ok(number)) => {
                self.long(i64::from(number));
                Ok(())
            }
            _ => Err(Misfit::new("wants a 32-bit integer")),
        }
    }

    fn decimal(&mut self, kind: &apache_avro::schema::DecimalSchema, value: &Value) -> Written {
        let text = match value {
            Value::Number(text) => text.to_string(),
            Value::Int(number) => number.to_string(),
            Value::UInt(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            _ => return Err(Misfit::new("wants a decimal")),
        };
        let Some(unscaled) = decimal::parse(&text, kind.precision, kind.scale) else {
            let wanted =
                format!("wants a decimal of {} digits, {} of them decimals", kind.precision, kind.scale);
            return Err(Misfit::new(wanted));
        };
        let bytes = decimal::to_bytes(unscaled);
        match &kind.inner {
            InnerDecimalSchema::Bytes => self.bytes(&bytes),
            InnerDecimalSchema::Fixed(fixed) => {
                let Some(padding) = fixed.size.checked_sub(bytes.len()) else {
                    return Err(Misfit::new("wants a decimal that fits its fixed size"));
                };
                let sign = if unscaled < 0 { 0xff } else { 0 };
                self.out.extend(std::iter::repeat_n(sign, padding));
                self.out.extend_from_slice(&bytes);
            }
        }
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.long(bytes.len() as i64);
        self.out.extend_from_slice(bytes);
    }

    /// Zigzag, then seven bits a byte, lowest first.
    fn long(&mut self, number: i64) {
        let mut rest = ((number << 1) ^ (number >> 63)) as u64;
        while rest >= 0x80 {
            self.out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        self.out.push(rest as u8);
    }
}

fn is_long(schema: &Schema) -> bool {
    matches!(
        schema,
        Schema::Long
            | Schema::TimeMicros
            | Schema::TimestampMillis
            | Schema::TimestampMicros
            | Schema::TimestampNanos
            | Schema::LocalTimestampMillis
            | Schema::LocalTimestampMicros
            | Schema::LocalTimestampNanos
    )
}

/// A finite float; a whole number only if a float holds it exactly.
fn float(value: &Value) -> Option<f64> {
    const EXACT: u64 = 1 << f64::MANTISSA_DIGITS;
    match value {
        Value::Float(number) => Some(*number),
        Value::Int(number) if number.unsigned_abs() <= EXACT => Some(*number as f64),
        Value::Number(text) if significant_digits(text) <= FLOAT_DIGITS => {
            text.parse().ok().filter(|number: &f64| number.is_finite())
        }
        _ => None,
    }
}

/// More digits than this a double cannot mean (IEEE 754), so a text that has them is more exact than a double.
const FLOAT_DIGITS: usize = 17;

fn significant_digits(text: &str) -> usize {
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    digits.trim_matches('0').len()
}

fn kind(schema: &Schema) -> &'static str {
    match schema {
        Schema::Null => "null",
        Schema::Boolean => "a boolean",
        Schema::String | Schema::Uuid(_) => "a string",
        Schema::Bytes | Schema::BigDecimal => "bytes",
        Schema::Fixed(_) | Schema::Duration(_) => "bytes of its fixed size",
        Schema::Enum(_) => "a symbol",
        Schema::Array(_) => "an array",
        Schema::Map(_) => "a map",
        Schema::Ref { .. } => "a schema that is defined",
        _ => "another type",
    }
}
