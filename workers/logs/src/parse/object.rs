//! One value per record, JSON or Avro.

use longshore_codec::Decode;
use longshore_core::{Failure, Map, RecordRef, Value};

use super::log_of_body;
use crate::mapping::Model;

/// The log in a payload.
pub(super) fn log(bytes: &[u8], decode: &Decode, model: &Model, source: &RecordRef) -> Result<Map, Failure> {
    Ok(match decode.decode(bytes)? {
        Value::Object(fields) => model.log(fields, source),
        other => log_of_body(other, model, source),
    })
}
