//! The spool of payloads that wait for their retry.

use std::sync::atomic::Ordering;

use longshore_core::SpoolUsage;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::whole;

/// What a worker's spool holds, and how often it failed.
#[derive(Clone, Debug, Default)]
pub(super) struct SpoolMetrics {
    used: Gauge,
    limit: Gauge,
    refused: Counter,
    lost: Counter,
}

impl SpoolMetrics {
    pub(super) fn name(&self, r: &mut Registry) {
        let help = "Bytes on the disk of payloads that wait for their retry";
        r.register("spool_used_bytes", help, self.used.clone());
        r.register("spool_limit_bytes", "The bound of the spool; 0 without one", self.limit.clone());
        let help =
            "Chunks of copies that the spool did not take, so that they are read from the retry topic again";
        r.register("spool_refused", help, self.refused.clone());
        let help =
            "Records that the spool could not give back, so that they are read from the retry topic again";
        r.register("spool_lost", help, self.lost.clone());
    }

    pub(super) fn set(&self, usage: SpoolUsage) {
        self.used.set(whole(usage.used_bytes));
        self.limit.set(whole(usage.limit_bytes));
        self.refused.inner().store(usage.refused, Ordering::Relaxed);
        self.lost.inner().store(usage.lost, Ordering::Relaxed);
    }
}
