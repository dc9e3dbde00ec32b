//! Spans on their way to a collector.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Why a span was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanLoss {
    /// As many as may wait did.
    Full,
    /// The collector did not take it, or did not answer.
    Export,
    /// The process ended before it was sent.
    Stop,
}

impl SpanLoss {
    fn word(self) -> &'static str {
        match self {
            Self::Full => "queue_full",
            Self::Export => "export",
            Self::Stop => "stop",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCause {
    cause: &'static str,
}

/// The metrics of spans.
#[derive(Clone, Debug, Default)]
pub struct SpanMetrics {
    exported: Counter,
    dropped: Family<OfCause, Counter>,
}

impl SpanMetrics {
    pub(super) fn name(&self, r: &mut Registry) {
        r.register("spans_exported", "Spans that the collector took", self.exported.clone());
        let help = "Spans lost, by cause: `queue_full`, `export` (not taken or not answered), `stop`";
        r.register("spans_dropped", help, self.dropped.clone());
    }

    /// Counts spans that arrived.
    pub fn exported(&self, spans: usize) {
        self.exported.inc_by(spans as u64);
    }

    /// Counts spans that were lost.
    pub fn lost(&self, why: SpanLoss, spans: usize) {
        self.dropped.get_or_create(&OfCause { cause: why.word() }).inc_by(spans as u64);
    }
}
