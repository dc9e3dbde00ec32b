//! How many pods a fleet is to have.

use longshore_core::human::Span;
use longshore_core::scale::Policy;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many pods the fleet is to have, for `/scale` and `longshore scaler`. Workers do not look at it for their own work.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScaleOptions {
    /// Within what time a backlog is to be gone.
    pub drain: Span,
    /// At least so many pods; 0 lets a fleet without work go.
    pub min: u32,
    /// At most so many pods; as many as the input has partitions when left out, and never more than those.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// Fewer pods are asked for when so long no more were needed.
    pub down_after: Span,
}

impl Default for ScaleOptions {
    fn default() -> Self {
        Self { drain: Span::seconds(60), min: 1, max: None, down_after: Span::seconds(300) }
    }
}

impl ScaleOptions {
    /// The same for the decision.
    pub fn policy(&self) -> Policy {
        Policy { drain: self.drain.get(), min: self.min, max: self.max, down_after: self.down_after.get() }
    }
}
