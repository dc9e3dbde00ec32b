//! `length`: documents that are too short or too long.

use longshore_conditions::BuildError;
use longshore_core::{Failure, FilterReason, Flow, Item, Step, Value};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::document::{fields, note, texts};

/// The step and its version, as its measured values are named.
const STEP: &str = "length@1";

/// `length: { min: 200, max: 100000, unit: chars }`. A document outside goes no further and is counted as `length.short` or
/// `length.long`. A chat is as long as its messages together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LengthOptions {
    /// The least length that goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<u64>,
    /// The greatest length that goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
    /// What is counted. Default `chars`.
    #[serde(default)]
    pub unit: Unit,
}

/// What a length counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Unicode code points, as Python's `len` counts a text.
    #[default]
    Chars,
    /// Bytes of UTF-8.
    Bytes,
}

/// Builds the step.
///
/// # Errors
/// Neither bound, or bounds that leave nothing between them.
pub fn length(options: &LengthOptions) -> Result<Box<dyn Step>, BuildError> {
    let (min, max) = (options.min.unwrap_or(0), options.max.unwrap_or(u64::MAX));
    if options.min.is_none() && options.max.is_none() {
        return Err(BuildError::new("", "expected `min`, `max` or both"));
    }
    if min > max {
        return Err(BuildError::new(
            "min",
            format!("is above `max`, {max}, so that no document would be left"),
        ));
    }
    let (short, long) = (FilterReason::new("length.short"), FilterReason::new("length.long"));
    Ok(Box::new(Length { min, max, unit: options.unit, short, long }))
}

struct Length {
    min: u64,
    max: u64,
    unit: Unit,
    short: FilterReason,
    long: FilterReason,
}

impl Step for Length {
    fn name(&self) -> &str {
        "length"
    }

    fn apply(&self, item: &mut Item) -> Result<Flow, Failure> {
        if item.is_tombstone() {
            return Ok(Flow::Keep);
        }
        let document = fields(item)?;
        let (name, measured) = match self.unit {
            Unit::Chars => {
                ("chars", texts(document)?.iter().map(|text| text.chars().count() as u64).sum::<u64>())
            }
            Unit::Bytes => ("bytes", texts(document)?.iter().map(|text| text.len() as u64).sum()),
        };
        if measured < self.min {
            return Ok(Flow::Drop(self.short.clone()));
        }
        if measured > self.max {
            return Ok(Flow::Drop(self.long.clone()));
        }
        note(document, STEP, name, Value::Int(i64::try_from(measured).unwrap_or(i64::MAX)));
        Ok(Flow::Keep)
    }
}
