//! What the library's reader cannot tell without the schema: decimals come as bytes, transparent records as records.

use apache_avro::Schema;
use apache_avro::schema::UnionSchema;
use longshore_core::{Map, Value};

use super::{Prepared, decimal, transparent};

/// Whether any value of this schema needs the second pass.
pub(super) fn is_needed(schema: &Schema) -> bool {
    match schema {
        Schema::Decimal(_) => true,
        Schema::Array(array) => is_needed(&array.items),
        Schema::Map(map) => is_needed(&map.types),
        Schema::Union(union) => union.variants().iter().any(is_needed),
        Schema::Record(record) => {
            transparent(record).is_some() || record.fields.iter().any(|field| is_needed(&field.schema))
        }
        _ => false,
    }
}

/// Walks value and schema side by side. The depth was bounded when the value was read.
pub(super) fn refine(prepared: &Prepared, value: Value) -> Value {
    refine_as(prepared, prepared.schema, value)
}

fn refine_as(prepared: &Prepared, schema: &Schema, value: Value) -> Value {
    match (prepared.resolve(schema), value) {
        (Schema::Decimal(kind), Value::Bytes(bytes)) => decimal::to_value(bytes, kind.scale as usize),
        (Schema::Union(union), value) => match branch(prepared, union, &value) {
            Some(schema) => refine_as(prepared, schema, value),
            None => value,
        },
        (Schema::Array(array), Value::Array(items)) => {
            Value::Array(items.into_iter().map(|item| refine_as(prepared, &array.items, item)).collect())
        }
        (Schema::Map(map), Value::Object(fields)) => {
            refine_fields(fields, |_, value| refine_as(prepared, &map.types, value))
        }
        (Schema::Record(record), Value::Object(fields)) => match transparent(record) {
            Some(schema) => match fields.into_iter().next() {
                Some((_, content)) => refine_as(prepared, schema, content),
                None => Value::Null,
            },
            // The reader gives a record's fields in the schema's order.
            None => refine_fields(fields, |place, value| match record.fields.get(place) {
                Some(field) => refine_as(prepared, &field.schema, value),
                None => value,
            }),
        },
        (_, value) => value,
    }
}

fn refine_fields(fields: Map, refine: impl Fn(usize, Value) -> Value) -> Value {
    let refined = fields.into_iter().enumerate().map(|(place, (name, value))| (name, refine(place, value)));
    Value::Object(Map::from_fields(refined.collect()))
}

/// The branch a value most likely came from: the first of its kind. Only a union with two branches of one kind (such as
/// bytes and a decimal) leaves room for doubt, and there the first is taken.
fn branch<'a>(prepared: &'a Prepared, union: &'a UnionSchema, value: &Value) -> Option<&'a Schema> {
    let branches = || union.variants().iter().map(|schema| prepared.resolve(schema));
    match value {
        Value::Bytes(_) => {
            branches().find(|schema| matches!(schema, Schema::Bytes | Schema::Fixed(_) | Schema::Decimal(_)))
        }
        Value::Array(_) => branches().find(|schema| matches!(schema, Schema::Array(_))),
        Value::Object(fields) => branches().find(|schema| match schema {
            Schema::Map(_) => true,
            Schema::Record(record) => {
                record.fields.len() == fields.len()
                    && record.fields.iter().zip(fields.iter()).all(|(field, (name, _))| field.name == name)
            }
            _ => false,
        }),
        _ => None,
    }
}
