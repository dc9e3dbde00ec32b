//! From CEL's results and errors back to ours.

use cel::common::types::{CelBool, CelBytes, CelDouble, CelInt, CelString, CelType, CelUInt, Kind};
use cel::common::value::Val;
use cel::{ExecutionError, Value as CelValue};
use longshore_core::{Failure, Map, Reason, Value};

/// The name of null's type in CEL.
const NULL_TYPE: &str = "null_type";

/// A result as a record's value. Numbers stay exact; a double that JSON has no word for is refused.
pub(crate) fn record_value(value: &dyn Val) -> Result<Value, Failure> {
    match value.get_type().kind() {
        Kind::NullType => Ok(Value::Null),
        Kind::Boolean => known(value, |value: &CelBool| Value::Bool(*value.inner())),
        Kind::Int => known(value, |value: &CelInt| Value::Int(*value.inner())),
        Kind::UInt => known(value, |value: &CelUInt| match i64::try_from(*value.inner()) {
            Ok(number) => Value::Int(number),
            Err(_) => Value::UInt(*value.inner()),
        }),
        Kind::Double => {
            let number = value.downcast_ref::<CelDouble>().map(|value| *value.inner());
            number
                .filter(|number| number.is_finite())
                .map(Value::Float)
                .ok_or_else(|| refused("not a finite number"))
        }
        Kind::String => {
            let text = value.downcast_ref::<CelString>().ok_or_else(|| unusable(value))?;
            Ok(Value::Text(text.inner().into()))
        }
        Kind::Bytes => {
            let bytes = value.downcast_ref::<CelBytes>().ok_or_else(|| unusable(value))?;
            Ok(Value::Bytes(bytes.inner().into()))
        }
        Kind::Type => known(value, |value: &CelType| Value::Text(value.name().into())),
        Kind::List => list(value),
        Kind::Map => map(value),
        _ => Err(unusable(value)),
    }
}

fn known<T: cel::common::value::StaticVal>(
    value: &dyn Val,
    make: impl FnOnce(&T) -> Value,
) -> Result<Value, Failure> {
    value.downcast_ref::<T>().map(make).ok_or_else(|| unusable(value))
}

fn list(value: &dyn Val) -> Result<Value, Failure> {
    let mut items = value.as_iterable().ok_or_else(|| unusable(value))?.iter();
    let mut values = Vec::new();
    while let Some(item) = items.next() {
        values.push(record_value(item)?);
    }
    Ok(Value::Array(values))
}

/// Works for CEL's own maps and for ours alike. CEL's come in no order, so names are sorted to keep rows the same
/// whenever the record is read again; ours keep the record's order.
fn map(value: &dyn Val) -> Result<Value, Failure> {
    let (names, fields) = (value.as_iterable().zip(value.as_indexer())).ok_or_else(|| unusable(value))?;
    let mut names = names.iter();
    let mut found = Vec::new();
    while let Some(name) = names.next() {
        let text = name.downcast_ref::<CelString>().ok_or_else(|| refused("a map's keys must be text"))?;
        let field = fields.get(name).map_err(|error| failure(&error))?;
        found.push((text.inner().into(), record_value(&*field)?));
    }
    if value.downcast_ref::<cel::common::types::CelMap>().is_some() {
        found.sort_by(|a: &(compact_str::CompactString, Value), b| a.0.cmp(&b.0));
    }
    Ok(Value::Object(found.into_iter().collect::<Map>()))
}

/// Whether an evaluation had no result only because something was null.
pub(crate) fn is_unknown(error: &ExecutionError) -> bool {
    let null = |value: &CelValue| matches!(value, CelValue::Null);
    match error {
        ExecutionError::NoSuchOverload(overload) => {
            overload.argument_types().iter().any(|name| name == NULL_TYPE)
        }
        ExecutionError::ValuesNotComparable(left, right)
        | ExecutionError::UnsupportedBinaryOperator(_, left, right)
        | ExecutionError::UnsupportedIndex(left, right) => null(left) || null(right),
        ExecutionError::UnexpectedType { got, .. } => got == NULL_TYPE,
        _ => false,
    }
}

/// The record's failure. CEL's own messages quote values, so only kinds and function names are taken over (I9).
pub(crate) fn failure(error: &ExecutionError) -> Failure {
    match error {
        ExecutionError::NoSuchOverload(overload) => refused(&overload.to_string()),
        ExecutionError::ValuesNotComparable(left, right) => {
            refused(&format!("{} cannot be compared with {}", left.type_of(), right.type_of()))
        }
        ExecutionError::UnsupportedBinaryOperator(operator, left, right) => {
            refused(&format!("no `{operator}` of {} and {}", left.type_of(), right.type_of()))
        }
        ExecutionError::UnexpectedType { got, want } => refused(&format!("found {got}, expected {want}")),
        ExecutionError::FunctionError { function, .. } => refused(&format!("`{function}` failed")),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => refused("division by zero"),
        ExecutionError::Overflow(operator, ..) => refused(&format!("overflow in `{operator}`")),
        ExecutionError::IndexOutOfBounds(_) => refused("the index is outside the list"),
        ExecutionError::NoSuchKey(_) => refused("no such key"),
        ExecutionError::UndeclaredReference(name) => refused(&format!("`{name}` is not known")),
        _ => refused("it cannot be evaluated"),
    }
}

fn unusable(value: &dyn Val) -> Failure {
    refused(&format!("a result of type {} cannot be used", value.get_type().name()))
}

/// A failure that is the record's fault.
pub(crate) fn refused(detail: &str) -> Failure {
    Failure::reject(Reason::StepExpression, detail)
}
