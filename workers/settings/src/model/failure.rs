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

/// Tries of a record whose failure may pass: exponential waits with full jitter, short ones in the worker, longer ones in
/// the retry topic.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryOptions {
    /// Tries in all, the first included, before a record becomes a dead letter.
    #[schemars(range(min = 1, max = 1000))]
    pub attempts: u32,
    /// The longest wait after the first failed try; it doubles with each further one.
    pub first: Span,
    /// The longest wait ever, also where a server asks for a longer one. The retry topic keeps records a day longer.
    pub cap: Span,
    /// The shortest wait ever, so that a try is never immediate; 10ms (or `cap`, if that is shorter) when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub floor: Option<Span>,
    /// A record that failed first so long ago is tried no more and becomes a dead letter; no such limit when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Span>,
    /// Which records wait behind a failed one; that of `input.order` when left out. `none` is the fast path: a record that is
    /// retried takes effect after younger ones of its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// Whether longer waits are spent in the retry topic. `false` spends all of them in the worker, and a failing record
    /// holds up the commit of its partition meanwhile.
    pub topic: bool,
    /// Waits shorter than this are spent in the worker.
    pub in_place: Span,
    /// With so many records of a partition in retry, its input pauses.
    #[schemars(range(min = 1))]
    pub waiting: u64,
    /// With so many records of a partition behind a failed one of their key, its input pauses.
    #[schemars(range(min = 1))]
    pub parked: u64,
    /// A copy that waits so many records behind the end of the retry topic is written again at its end, which bounds what is
    /// read again after a restart.
    #[schemars(range(min = 100))]
    pub span: u64,
}

impl RetryOptions {
    /// The shortest wait ever.
    pub fn shortest(&self) -> Span {
        self.floor.unwrap_or(FLOOR.min(self.cap))
    }
}

/// The shortest wait when the file says nothing.
const FLOOR: Span = Span::millis(10);

impl Default for RetryOptions {
    fn default() -> Self {
        Self {
            attempts: 8,
            first: Span::seconds(1),
            cap: Span::seconds(3600),
            floor: None,
            max_age: None,
            order: None,
            topic: true,
            in_place: Span::seconds(1),
            waiting: 1_000_000,
            parked: 100_000,
            span: 100_000,
        }
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
