//! What a pipeline file says, as plain data. Every type is strict: an unknown field is a mistake.
//!
//! Debug of the whole ([`Pipeline`], [`crate::Loaded`]), of secrets and of client settings shows no value. Debug of a single
//! part (a sink's folder, a condition) does, and the value may have come from `${NAME}` or `${file:}`: it is for tests, and
//! no log line takes it. What people read is [`crate::Loaded::dump`], which stars such values (I10).

mod endpoint;
mod failure;
mod input;
pub mod kafka;
mod limits;
mod objects;
mod postgres;
mod scale;
mod secret;
mod service;
mod sink;
mod step;

use std::fmt;
use std::path::PathBuf;

use longshore_core::pair::Order;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use endpoint::EndpointError;
pub(crate) use endpoint::is_amazons;
pub use failure::{FailureOptions, FloodOptions, RetryOptions};
pub(crate) use input::START_FORMAT;
pub use input::{InputOptions, Start};
pub use kafka::KafkaOptions;
pub(crate) use limits::DEADLINE_FORMAT;
pub use limits::{Deadline, LimitOptions};
pub use longshore_core::client::{Compression, Latency};
pub use objects::{
    OBJECTS_OWN_COLUMNS, ObjectsColumn, ObjectsColumns, ObjectsFormat, ObjectsPartition,
    ObjectsPartitionKind, ObjectsPlace, ObjectsRoll, ObjectsRows, ObjectsSinkOptions, ObjectsStore,
    ObjectsType,
};
pub use postgres::{PostgresMode, PostgresRoll, PostgresSinkOptions, PostgresTls, RECORD_COLUMN};
pub use scale::ScaleOptions;
pub(crate) use secret::holds_user;
pub use secret::{REDACTED, Secret, is_secret_name};
pub(crate) use service::LISTEN_FORMAT;
pub use service::{ConsoleOptions, HttpOptions, Level, Listen, LogFormat, TelemetryOptions, Traces};
pub use sink::{SinkEntry, SinkKind, TopicFormat, TopicSinkOptions};
pub use step::StepOptions;

/// What the records of a pipeline are; it decides which steps there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Raw lines or structured events, brought to the OpenTelemetry log data model.
    Logs,
    /// Documents for training.
    Dataset,
}

impl Kind {
    /// The word in the pipeline file.
    pub fn word(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Dataset => "dataset",
        }
    }
}

/// One pipeline: what one fleet of workers reads, does and writes.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Longshore pipeline")]
pub struct Pipeline {
    /// The pipeline's name: letters, digits, `.`, `_` and `-`. It is part of the names of the consumer group, the retry
    /// and the dead-letter topic, so changing it starts over.
    #[schemars(length(min = 1, max = 100))]
    pub pipeline: String,
    /// What the records are: `logs` or `dataset`.
    pub kind: Kind,
    /// How to reach the brokers.
    pub kafka: KafkaOptions,
    /// What is read.
    pub input: InputOptions,
    /// What is done to each record, in this order.
    #[serde(default)]
    pub steps: Vec<StepOptions>,
    /// Where records go; a record is settled when every sink it was routed to holds it.
    #[schemars(length(min = 1, max = 16))]
    pub sinks: Vec<SinkEntry>,
    /// The sink generation. A higher number starts every sink anew; `longshore rewind` counts it up.
    #[serde(default = "first_generation")]
    #[schemars(range(min = 1))]
    pub generation: u32,
    /// Folder of the Avro schema store; needed where a step or sink speaks Avro.
    #[serde(default)]
    pub schemas: Option<PathBuf>,
    /// What happens to records that fail.
    #[serde(default)]
    pub failure: FailureOptions,
    /// Bounds on memory and time.
    #[serde(default)]
    pub limits: LimitOptions,
    /// Where the status pages (`/livez`, `/readyz`, `/metrics`, `/fleet`, `/scale`, ...) and the console are served.
    #[serde(default)]
    pub http: HttpOptions,
    /// How many pods the fleet is to have, for `/scale` and `longshore scaler`.
    #[serde(default)]
    pub scale: ScaleOptions,
    /// The worker's own log.
    #[serde(default)]
    pub telemetry: TelemetryOptions,
}

fn first_generation() -> u32 {
    longshore_core::Generation::FIRST.0
}

impl Pipeline {
    /// The consumer group: `input.group`, or `longshore.<pipeline>`.
    pub fn group(&self) -> String {
        self.input.group.clone().unwrap_or_else(|| format!("longshore.{}", self.pipeline))
    }

    /// Which records wait behind a failed one: `failure.retry.order`, or that of `input.order`.
    pub fn retry_order(&self) -> Order {
        self.failure.retry.order.unwrap_or(self.input.order)
    }

    /// Whether records wait in a retry topic. Those of an ordered partition never do: nothing behind a failed one may go
    /// on, so it is tried again in place.
    pub fn has_retry_topics(&self) -> bool {
        match self.retry_order() {
            Order::None | Order::Key => self.failure.retry.topic,
            Order::Partition => false,
        }
    }
}

/// Shows the name alone: other values may have come from `${file:}` or the environment (I10). Print
/// [`crate::Loaded::dump`] to see them.
impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("pipeline", &self.pipeline)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
