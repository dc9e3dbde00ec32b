//! What happens to records that fail.

use longshore_core::human::Span;
use longshore_core::pair::Order;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens to records that fail.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FailureOptions {
    /// Tries of a record whose failure may pass.
    pub retry: RetryOptions,
    /// The breaker that takes a flood of rejected records for an outage.
    pub flood: FloodOptions,
}

/// Tries of a record whose failure may pass: exponential waits with full jitter.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryOptions {
    /// Tries in all, the first included, before a record becomes a dead letter.
    #[schemars(range(min = 1, max = 1000))]
    pub attempts: u32,
    /// The longest wait after the first failed try; it doubles with each further one.
    pub first: Span,
    /// The longest wait ever.
    pub cap: Span,
    /// Which records wait behind a failed one; that of `input.order` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self { attempts: 8, first: Span::seconds(1), cap: Span::seconds(3600), order: None }
    }
}

/// The breaker that takes a flood of rejected records for an outage: the pair stops instead of emptying a whole topic
/// into the dead letter.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FloodOptions {
    /// The share of rejected records that trips it, above 0 and at most 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub ratio: f64,
    /// It never trips on fewer records than these.
    #[schemars(range(min = 1))]
    pub min: u64,
    /// Over how long records are counted.
    pub window: Span,
}

impl Default for FloodOptions {
    fn default() -> Self {
        Self { ratio: 0.9, min: 1000, window: Span::seconds(60) }
    }
}
