//! How many pods the fleet is to have, asked of any worker (`/scale`) or of a process for it (`longshore scaler`).
//!
//! **Architecture invariant:** whoever is asked answers for the fleet, from Kafka alone, and nothing it knows of itself counts. So any one may be
//! asked, and nothing is summed. What it does not know is an error and never a number.

pub(crate) mod external;
pub(crate) mod page;
#[cfg(feature = "tls")]
pub(crate) mod tls;
mod watch;

use longshore_core::scale::Answer;
use longshore_kafka as kafka;
use longshore_settings::Pipeline;
use serde::Serialize;

pub(crate) use watch::{Mode, Watch};

use crate::worker::{connect, topics};

/// The answer as JSON.
#[derive(Serialize)]
struct Said<'a> {
    pods: u32,
    cause: &'static str,
    reason: &'a str,
    lag: u64,
    rate_per_pod: Option<f64>,
    drain_seconds: Option<f64>,
}

impl<'a> From<&'a Answer> for Said<'a> {
    fn from(answer: &'a Answer) -> Self {
        Self {
            pods: answer.pods,
            cause: answer.cause.word(),
            reason: &answer.reason,
            lag: answer.lag,
            rate_per_pod: answer.rate_per_pod,
            drain_seconds: answer.drain_seconds,
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Unknown {
    /// `early`, `members` or `broker`.
    pub(crate) cause: &'static str,
    pub(crate) reason: String,
}

impl Unknown {
    fn new(cause: &'static str, reason: impl std::fmt::Display) -> Self {
        Self { cause, reason: reason.to_string() }
    }
}

/// What is watched.
#[derive(Clone, Debug)]
pub(crate) struct Fleet {
    options: kafka::KafkaOptions,
    group: String,
    /// Inputs with their retry topics.
    topics: Vec<(String, Option<String>)>,
    policy: longshore_core::scale::Policy,
}

impl Fleet {
    /// The fleet of a pipeline.
    pub(crate) fn of(pipeline: &Pipeline) -> Self {
        let mut retries = topics::retry_topics(pipeline);
        let topics = pipeline.input.topics.iter().map(|input| (input.clone(), retries.remove(input)));
        Self {
            options: connect::options(&pipeline.kafka),
            group: pipeline.group(),
            topics: topics.collect(),
            policy: pipeline.scale.policy(),
        }
    }
}
