//! The steps: a list of maps with one key each, the step's name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One step and its options.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StepOptions {}
