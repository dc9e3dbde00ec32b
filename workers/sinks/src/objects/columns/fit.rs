//! Which values fit which columns.

use longshore_core::Value;

use super::{Type, row};
use crate::objects::time;

/// Why a value does not fit, in words without anything of the value (I9).
pub(super) type Misfit = &'static str;

const NOT_FINITE: Misfit = "a float that is infinite or not a number, which JSON cannot express";
const NOT_WHOLE: Misfit = "the value is no whole number of 64 bits";
const NOT_SHORT: Misfit = "the value is no whole number of 32 bits";
const NOT_NUMBER: Misfit = "the value is no number, or beyond a double";
const NOT_BOOL: Misfit = "the value is neither true nor false";
const NOT_TIME: Misfit = "the value is no time";
const FAR_TIME: Misfit = "the time is too far from now";
const NOT_BYTES: Misfit = "the value is neither bytes nor text";

/// Appends the value as its column holds it.
///
/// # Errors
/// Why it does not fit; what was appended until then stays.
pub(super) fn write(kind: Type, value: &Value, out: &mut Vec<u8>) -> Result<(), Misfit> {
    match kind {
        Type::Text => text(value, out)?,
        Type::Json => json(value, out)?,
        Type::Int => row::long(whole(value)?, out),
        Type::Int32 => row::int(short(value)?, out),
        Type::Float => row::double(double(value)?, out),
        Type::Bool => row::truth(truth(value)?, out),
        Type::Time => row::long(time_of(value)?, out),
        Type::Nanos => row::long(nanos(value)?, out),
        Type::Bytes => row::bytes(bytes(value)?, out),
    }
    Ok(())
}

fn text(value: &Value, out: &mut Vec<u8>) -> Result<(), Misfit> {
    match value {
        Value::Text(text) => {
            row::bytes(Some(text.as_bytes()), out);
            Ok(())
        }
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::UInt(_)
        | Value::Float(_)
        | Value::Number(_)
        | Value::Bytes(_)
        | Value::Array(_)
        | Value::Object(_) => json(value, out),
    }
}

fn json(value: &Value, out: &mut Vec<u8>) -> Result<(), Misfit> {
    if *value == Value::Null {
        row::bytes(None, out);
        return Ok(());
    }
    row::sized(out, |out| value.write_json(out)).map_err(|_| NOT_FINITE)
}

fn whole(value: &Value) -> Result<Option<i64>, Misfit> {
    let number = match value {
        Value::Null => return Ok(None),
        Value::Int(number) => Some(*number),
        Value::UInt(number) => i64::try_from(*number).ok(),
        Value::Float(number) => whole_float(*number),
        Value::Text(text) => text.parse().ok(),
        Value::Number(_) | Value::Bool(_) | Value::Bytes(_) | Value::Array(_) | Value::Object(_) => None,
    };
    number.map(Some).ok_or(NOT_WHOLE)
}

/// A float that says a whole number, as a sender without integers writes them.
fn whole_float(number: f64) -> Option<i64> {
    // Both bounds are exact as floats; the upper one is the first that does not fit.
    const END: f64 = 9_223_372_036_854_775_808.0;
    (number.fract() == 0.0 && (-END..END).contains(&number)).then_some(number as i64)
}

fn short(value: &Value) -> Result<Option<i32>, Misfit> {
    match whole(value) {
        Ok(None) => Ok(None),
        Ok(Some(number)) => i32::try_from(number).map(Some).map_err(|_| NOT_SHORT),
        Err(_) => Err(NOT_SHORT),
    }
}

fn double(value: &Value) -> Result<Option<f64>, Misfit> {
    let number = match value {
        Value::Null => return Ok(None),
        Value::Int(number) => Some(*number as f64),
        Value::UInt(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        Value::Number(text) => double_of(text),
        Value::Text(text) => double_of(text),
        Value::Bool(_) | Value::Bytes(_) | Value::Array(_) | Value::Object(_) => None,
    };
    number.map(Some).ok_or(NOT_NUMBER)
}

/// The nearest double. `inf` and `nan` are ones; digits that come to infinity are a number beyond all doubles.
fn double_of(text: &str) -> Option<f64> {
    let number: f64 = text.parse().ok()?;
    (!number.is_infinite() || !text.contains(|letter: char| letter.is_ascii_digit())).then_some(number)
}

fn truth(value: &Value) -> Result<Option<bool>, Misfit> {
    match value {
        Value::Null => Ok(None),
        Value::Bool(truth) => Ok(Some(*truth)),
        Value::Text(text) => text.parse().map(Some).map_err(|_| NOT_BOOL),
        Value::Int(_)
        | Value::UInt(_)
        | Value::Float(_)
        | Value::Number(_)
        | Value::Bytes(_)
        | Value::Array(_)
        | Value::Object(_) => Err(NOT_BOOL),
    }
}

fn time_of(value: &Value) -> Result<Option<i64>, Misfit> {
    if *value == Value::Null {
        return Ok(None);
    }
    let nanos = time::nanos(value).ok_or(NOT_TIME)?;
    let micros = i64::try_from(nanos.div_euclid(1_000)).map_err(|_| FAR_TIME)?;
    if time::is_told(micros) { Ok(Some(micros)) } else { Err(FAR_TIME) }
}

pub(super) fn nanos(value: &Value) -> Result<Option<i64>, Misfit> {
    let read = match (value, whole(value)) {
        (_, Ok(nanos)) => nanos,
        (Value::UInt(_) | Value::Number(_), Err(_)) => return Err(FAR_TIME),
        (Value::Text(_), Err(_)) => {
            let nanos = time::nanos(value).ok_or(NOT_TIME)?;
            Some(i64::try_from(nanos).map_err(|_| FAR_TIME)?)
        }
        (
            Value::Null
            | Value::Bool(_)
            | Value::Int(_)
            | Value::Float(_)
            | Value::Bytes(_)
            | Value::Array(_)
            | Value::Object(_),
            Err(_),
        ) => return Err(NOT_TIME),
    };
    Ok(read.filter(|nanos| *nanos != 0))
}

fn bytes(value: &Value) -> Result<Option<&[u8]>, Misfit> {
    match value {
        Value::Null => Ok(None),
        Value::Bytes(bytes) => Ok(Some(bytes)),
        Value::Text(text) => Ok(Some(text.as_bytes())),
        Value::Bool(_)
        | Value::Int(_)
        | Value::UInt(_)
        | Value::Float(_)
        | Value::Number(_)
        | Value::Array(_)
        | Value::Object(_) => Err(NOT_BYTES),
    }
}
