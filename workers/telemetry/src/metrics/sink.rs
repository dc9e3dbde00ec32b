//! The metrics of one sink, resolved once.

use std::time::Duration;

use longshore_core::Failure;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::families::{Families, OfSink, OfSinkReason};

/// The metrics of one sink.
#[derive(Clone)]
pub struct SinkMetrics {
    name: String,
    publishes: Counter,
    bytes: Counter,
    seconds: Histogram,
    retries: Family<OfSinkReason, Counter>,
}

impl SinkMetrics {
    pub(super) fn new(families: &Families, name: &str) -> Self {
        let labels = OfSink { sink: name.to_owned() };
        Self {
            publishes: families.publishes.get_or_create_owned(&labels),
            bytes: families.publish_bytes.get_or_create_owned(&labels),
            seconds: families.publish_seconds.get_or_create_owned(&labels),
            retries: families.sink_retries.clone(),
            name: name.to_owned(),
        }
    }

    /// A segment of so many stored bytes was published in this time, all tries together.
    pub fn published(&self, bytes: u64, took: Duration) {
        self.publishes.inc();
        self.bytes.inc_by(bytes);
        self.seconds.observe(took.as_secs_f64());
    }

    /// A call failed and will be tried again.
    pub fn retried(&self, failure: &Failure) {
        let labels = OfSinkReason { sink: self.name.clone(), reason: failure.reason.code() };
        self.retries.get_or_create(&labels).inc();
    }
}
