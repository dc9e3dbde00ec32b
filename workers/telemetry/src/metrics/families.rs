//! The names of all metrics that are not of a subject of their own, their help and their labels.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::lag::LagMetrics;
use super::messaging::MessagingMetrics;
use super::spans::SpanMetrics;
use super::spool::SpoolMetrics;

/// Labels of what belongs to a pair.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfPair {
    pub(super) topic: String,
    pub(super) partition: i32,
}

/// Labels of records that reached a final place (I1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfPlace {
    pub(super) topic: String,
    pub(super) partition: i32,
    pub(super) place: &'static str,
}

/// Labels of what has a reason code; the codes are a closed list, filter reasons come from the pipeline file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfReason {
    pub(super) topic: String,
    pub(super) reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfTrouble {
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfSink {
    pub(super) sink: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfSinkReason {
    pub(super) sink: String,
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfKind {
    pub(super) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfResult {
    pub(super) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfState {
    pub(super) state: &'static str,
}

/// A step's or a publish's time: 100 us to 100 s.
type Durations = Family<OfSink, Histogram, fn() -> Histogram>;

fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 3.162_277_660_168_379_5, 13))
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OfInvariant {
    pub(super) invariant: &'static str,
}

/// The families, one field for each name.
pub(super) struct Families {
    pub(super) received: Family<OfPair, Counter>,
    pub(super) received_bytes: Family<OfPair, Counter>,
    pub(super) absent: Family<OfPair, Counter>,
    pub(super) settled: Family<OfPlace, Counter>,
    pub(super) filtered: Family<OfReason, Counter>,
    pub(super) children_filtered: Family<OfReason, Counter>,
    pub(super) dead: Family<OfReason, Counter>,
    pub(super) without_payload: Counter,
    pub(super) retried: Family<OfReason, Counter>,
    pub(super) waiting: Family<OfPair, Gauge>,
    pub(super) parked: Family<OfPair, Gauge>,
    pub(super) spooled: Family<OfPair, Gauge>,
    pub(super) in_flight: Family<OfPair, Gauge>,
    pub(super) in_flight_bytes: Family<OfPair, Gauge>,
    pub(super) credit: Family<OfPair, Gauge>,
    pub(super) watermark: Family<OfPair, Gauge>,
    pub(super) committed: Family<OfPair, Gauge>,
    pub(super) lag: LagMetrics,
    pub(super) stalled: Family<OfPair, Counter>,
    pub(super) pairs: Family<OfState, Gauge>,
    pub(super) rebalances: Family<OfKind, Counter>,
    pub(super) copies_lost: Counter,
    pub(super) group_member: Gauge,
    pub(super) broker_trouble: Family<OfTrouble, Gauge>,
    pub(super) commits: Family<OfResult, Counter>,
    pub(super) unit_seconds: Histogram,
    pub(super) publishes: Family<OfSink, Counter>,
    pub(super) publish_bytes: Family<OfSink, Counter>,
    pub(super) publish_seconds: Durations,
    pub(super) sink_retries: Family<OfSinkReason, Counter>,
    pub(super) letter_retries: Family<OfReason, Counter>,
    pub(super) drain_overruns: Counter,
    pub(super) budget_used: Gauge,
    pub(super) budget_limit: Gauge,
    pub(super) budget_full: Gauge,
    pub(super) budget_pauses: Counter,
    pub(super) large_waiting: Gauge,
    pub(super) spool: SpoolMetrics,
    pub(super) spans: SpanMetrics,
    pub(super) exports: Family<OfResult, Counter>,
    pub(super) messaging: MessagingMetrics,
}

impl Families {
    pub(super) fn register(r: &mut Registry) -> Self {
        let families = Self {
            received: Family::default(),
            received_bytes: Family::default(),
            absent: Family::default(),
            settled: Family::default(),
            filtered: Family::default(),
            children_filtered: Family::default(),
            dead: Family::default(),
            without_payload: Counter::default(),
            retried: Family::default(),
            waiting: Family::default(),
            parked: Family::default(),
            spooled: Family::default(),
            in_flight: Family::default(),
            in_flight_bytes: Family::default(),
            credit: Family::default(),
            watermark: Family::default(),
            committed: Family::default(),
            lag: LagMetrics::default(),
            stalled: Family::default(),
            pairs: Family::default(),
            rebalances: Family::default(),
            copies_lost: Counter::default(),
            group_member: Gauge::default(),
            broker_trouble: Family::default(),
            commits: Family::default(),
            unit_seconds: durations(),
            publishes: Family::default(),
            publish_bytes: Family::default(),
            publish_seconds: Family::new_with_constructor(durations as fn() -> Histogram),
            sink_retries: Family::default(),
            letter_retries: Family::default(),
            drain_overruns: Counter::default(),
            budget_used: Gauge::default(),
            budget_limit: Gauge::default(),
            budget_full: Gauge::default(),
            budget_pauses: Counter::default(),
            large_waiting: Gauge::default(),
            spool: SpoolMetrics::default(),
            spans: SpanMetrics::default(),
            exports: Family::default(),
            messaging: MessagingMetrics::default(),
        };
        families.name_records(r);
        families.name_pairs(r);
        families.name_work(r);
        families
    }

    fn name_records(&self, r: &mut Registry) {
        r.register("records_received", "Records received", self.received.clone());
        r.register(
            "received_bytes",
            "Bytes of keys, values and headers received",
            self.received_bytes.clone(),
        );
        let help = "Offsets without a record where reading began: compaction, markers, aborted transactions";
        r.register("offsets_absent_at_start", help, self.absent.clone());
        r.register("records_settled", "Records that reached a final place, by place", self.settled.clone());
        r.register("records_filtered", "Records filtered, by reason", self.filtered.clone());
        let help = "Children filtered although their record went to a sink, by reason";
        r.register("children_filtered", help, self.children_filtered.clone());
        r.register("records_dead", "Dead letters acknowledged, by reason", self.dead.clone());
        let help = "Dead letters acknowledged without their payload, which was too large for their topic";
        r.register("letters_without_payload", help, self.without_payload.clone());
        let help = "Copies acknowledged by the retry topic, by reason; each try of a record makes one";
        r.register("records_retried", help, self.retried.clone());
        r.register("retry_waiting_records", "Records that wait in the retry lane", self.waiting.clone());
        r.register("retry_parked_keys", "Keys of which records wait in the retry lane", self.parked.clone());
        let help = "Bytes of records that wait in the retry lane and are in the spool";
        r.register("retry_spooled_bytes", help, self.spooled.clone());
        r.register("in_flight_records", "Records received and not settled", self.in_flight.clone());
        r.register(
            "in_flight_bytes",
            "Bytes of records received and not finished",
            self.in_flight_bytes.clone(),
        );
    }

    fn name_pairs(&self, r: &mut Registry) {
        r.register("credit_records", "Records the pair may still be given", self.credit.clone());
        r.register("watermark_offset", "Everything below is settled", self.watermark.clone());
        r.register("committed_offset", "The offset last acknowledged by the broker", self.committed.clone());
        self.lag.name(r);
        r.register("pair_stalls", "Times a pair made no progress for too long", self.stalled.clone());
        r.register("pairs", "Pairs owned, by state", self.pairs.clone());
        r.register("rebalances", "Changes of ownership of a pair, by kind", self.rebalances.clone());
        r.register(
            "retry_copies_lost",
            "Times a pair's retry topic had lost copies that waited",
            self.copies_lost.clone(),
        );
        let help = "0 while the worker has had no place in its consumer group for long, else 1";
        r.register("group_member", help, self.group_member.clone());
        let help = "1 while the brokers do not serve the worker, by the first thing to mend; absent while all is well";
        r.register("broker_trouble", help, self.broker_trouble.clone());
        r.register("commits", "Answers to offset commits, by result", self.commits.clone());
        r.register("drain_overruns", "Drains that ended by their deadline", self.drain_overruns.clone());
    }

    fn name_work(&self, r: &mut Registry) {
        r.register("unit_duration_seconds", "Time of one unit in the steps", self.unit_seconds.clone());
        r.register("publishes", "Segments published, by sink", self.publishes.clone());
        r.register(
            "publish_bytes",
            "Bytes of published segments as stored, by sink",
            self.publish_bytes.clone(),
        );
        r.register("publish_duration_seconds", "Time of one publish, by sink", self.publish_seconds.clone());
        r.register("sink_retries", "Sink calls that failed and were tried again", self.sink_retries.clone());
        r.register(
            "letter_retries",
            "Letters whose produce failed and was tried again",
            self.letter_retries.clone(),
        );
        r.register("budget_used_bytes", "Bytes charged to the memory budget", self.budget_used.clone());
        r.register("budget_limit_bytes", "The bound of the memory budget", self.budget_limit.clone());
        let help = "1 while no partition is read because the memory budget is used up";
        r.register("budget_full", help, self.budget_full.clone());
        let help = "Times that no partition was read any more because the memory budget was used up";
        r.register("budget_pauses", help, self.budget_pauses.clone());
        let help = "Partitions that wait for room for a large record";
        r.register("large_records_waiting", help, self.large_waiting.clone());
        self.spool.name(r);
        self.spans.name(r);
        let help = "Times that metrics were sent over OTLP, by result: `done`, `failed`";
        r.register("metric_exports", help, self.exports.clone());
    }
}
