//! One JSON value per record.

use longshore_codec::json::{self, Limits};
use longshore_core::{Failure, Map, RecordRef, Value};

use super::log_of_body;
use crate::mapping::Model;

/// The log in a JSON text.
pub(super) fn log(bytes: &[u8], limits: &Limits, model: &Model, source: &RecordRef) -> Result<Map, Failure> {
    Ok(match json::parse(bytes, limits)? {
        Value::Object(fields) => model.log(fields, source),
        other => log_of_body(other, model, source),
    })
}
