//! Every metric, its name, its help and its labels. Conventions: prefix `longshore_`, base units (seconds, bytes),
//! counters end in `_total`. A renamed metric is a breaking change. Labels are bounded: topic, partition, sink, reason,
//! and small closed sets; never an offset, a key or an error's text.

mod lag;
pub mod otlp;
mod pair;
mod process;
#[cfg(test)]
mod reference;
mod spans;
mod spool;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use longshore_core::pair::CommitResult;
use longshore_core::{Budget, Failure, PairId, Spool};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

pub use lag::Lag;
use lag::LagMetrics;
pub use pair::PairMetrics;
pub use spans::{SpanLoss, SpanMetrics};
use spool::SpoolMetrics;

/// Labels of what belongs to a pair.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPair {
    topic: String,
    partition: i32,
}

/// Labels of records that reached a final place (I1).
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPlace {
    topic: String,
    partition: i32,
    place: &'static str,
}

/// Labels of what has a reason code; the codes are a closed list, filter reasons come from the pipeline file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfReason {
    topic: String,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSink {
    sink: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfSinkReason {
    sink: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfResult {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfState {
    state: &'static str,
}

/// A step's or a publish's time: 100 us to 100 s.
type Durations = Family<OfSink, Histogram, fn() -> Histogram>;

fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 3.162_277_660_168_379_5, 13))
}

/// A change of ownership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rebalance {
    /// A pair became ours.
    Assigned,
    /// A pair was given back.
    Revoked,
    /// A pair was taken without asking.
    Lost,
}

/// What a pair is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PairState {
    /// Reading ledgers.
    Starting,
    /// Taking records.
    Running,
    /// Trying records alone, because workers before this one crashed.
    Careful,
    /// Not taking records until something outside is well again.
    Held,
    /// Stopped until a person mends something.
    Halted,
    /// Finishing, because of a drain or a rebalance.
    Stopping,
}

impl PairState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Starting, Self::Running, Self::Careful, Self::Held, Self::Halted, Self::Stopping];

    /// The label, also the word in `/readyz`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Careful => "careful",
            Self::Held => "held",
            Self::Halted => "halted",
            Self::Stopping => "stopping",
        }
    }
}

/// All metrics of the process. Cheap to clone; emit once a batch.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    families: Families,
    budget: RwLock<Option<Arc<Budget>>>,
    spool: RwLock<Option<Arc<dyn Spool>>>,
    without_payload: RwLock<Option<Arc<AtomicU64>>>,
    invariants: Family<OfInvariant, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfInvariant {
    invariant: &'static str,
}

/// The families, one field for each name.
struct Families {
    received: Family<OfPair, Counter>,
    received_bytes: Family<OfPair, Counter>,
    absent: Family<OfPair, Counter>,
    settled: Family<OfPlace, Counter>,
    filtered: Family<OfReason, Counter>,
    children_filtered: Family<OfReason, Counter>,
    dead: Family<OfReason, Counter>,
    without_payload: Counter,
    retried: Family<OfReason, Counter>,
    waiting: Family<OfPair, Gauge>,
    parked: Family<OfPair, Gauge>,
    spooled: Family<OfPair, Gauge>,
    in_flight: Family<OfPair, Gauge>,
    in_flight_bytes: Family<OfPair, Gauge>,
    credit: Family<OfPair, Gauge>,
    watermark: Family<OfPair, Gauge>,
    committed: Family<OfPair, Gauge>,
    lag: LagMetrics,
    stalled: Family<OfPair, Counter>,
    pairs: Family<OfState, Gauge>,
    rebalances: Family<OfKind, Counter>,
    copies_lost: Counter,
    commits: Family<OfResult, Counter>,
    unit_seconds: Histogram,
    publishes: Family<OfSink, Counter>,
    publish_bytes: Family<OfSink, Counter>,
    publish_seconds: Durations,
    sink_retries: Family<OfSinkReason, Counter>,
    letter_retries: Family<OfReason, Counter>,
    drain_overruns: Counter,
    budget_used: Gauge,
    budget_limit: Gauge,
    budget_full: Gauge,
    budget_pauses: Counter,
    large_waiting: Gauge,
    spool: SpoolMetrics,
    spans: SpanMetrics,
    exports: Family<OfResult, Counter>,
}

impl Families {
    fn register(r: &mut Registry) -> Self {
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

impl Metrics {
    /// A registry with every metric in it; `version` is told by `longshore_build_info`.
    pub fn new(version: &str) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(process::ProcessMemory));
        let ours = registry.sub_registry_with_prefix("longshore");
        ours.register("build", "The running version", Info::new(vec![("version", version.to_owned())]));
        let invariants = Family::<OfInvariant, Gauge>::default();
        let help = "Promises found broken since the start, by id";
        ours.register("invariant_violations", help, invariants.clone());
        let families = Families::register(ours);
        let (budget, spool, without_payload) = (RwLock::new(None), RwLock::new(None), RwLock::new(None));
        Self { inner: Arc::new(Inner { registry, families, budget, spool, without_payload, invariants }) }
    }

    /// The budget whose use is reported from now on.
    pub fn watch_budget(&self, budget: &Arc<Budget>) {
        *self.inner.budget.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(budget));
    }

    /// The spool whose use is reported from now on.
    pub fn watch_spool(&self, spool: &Arc<dyn Spool>) {
        *self.inner.spool.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(spool));
    }

    /// The count of letters without a payload that is reported from now on.
    pub fn watch_letters(&self, without_payload: Arc<AtomicU64>) {
        *self.inner.without_payload.write().unwrap_or_else(PoisonError::into_inner) = Some(without_payload);
    }

    /// All metrics in the OpenMetrics text format 1.0 (content type
    /// `application/openmetrics-text; version=1.0.0; charset=utf-8`).
    pub fn render(&self) -> String {
        let families = &self.inner.families;
        if let Some(budget) = &*self.inner.budget.read().unwrap_or_else(PoisonError::into_inner) {
            families.budget_used.set(whole(budget.used()));
            families.budget_limit.set(whole(budget.limit()));
            families.budget_full.set(i64::from(budget.is_full()));
            families.budget_pauses.inner().store(budget.pauses(), Ordering::Relaxed);
            families.large_waiting.set(whole(budget.large_waiting()));
        }
        if let Some(spool) = &*self.inner.spool.read().unwrap_or_else(PoisonError::into_inner) {
            families.spool.set(spool.usage());
        }
        if let Some(count) = &*self.inner.without_payload.read().unwrap_or_else(PoisonError::into_inner) {
            families.without_payload.inner().store(count.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        for id in longshore_core::invariant::Invariant::ALL {
            let labels = OfInvariant { invariant: invariant_name(id) };
            self.inner.invariants.get_or_create(&labels).set(whole(id.violations()));
        }
        let mut text = String::with_capacity(16 * 1024);
        // Writing to a string fails only if a label's own formatter fails; what was written until then is kept.
        let _ = text::encode(&mut text, &self.inner.registry);
        text
    }

    /// The metrics of one pair, resolved once.
    pub fn pair(&self, pair: &PairId) -> PairMetrics {
        PairMetrics::new(self.clone(), pair)
    }

    /// The metrics of one sink, resolved once.
    pub fn sink(&self, name: &str) -> SinkMetrics {
        let families = &self.inner.families;
        let labels = OfSink { sink: name.to_owned() };
        SinkMetrics {
            publishes: families.publishes.get_or_create_owned(&labels),
            bytes: families.publish_bytes.get_or_create_owned(&labels),
            seconds: families.publish_seconds.get_or_create_owned(&labels),
            retries: families.sink_retries.clone(),
            name: name.to_owned(),
        }
    }

    /// Counts a change of ownership.
    pub fn rebalance(&self, kind: Rebalance) {
        let kind = match kind {
            Rebalance::Assigned => "assigned",
            Rebalance::Revoked => "revoked",
            Rebalance::Lost => "lost",
        };
        self.inner.families.rebalances.get_or_create(&OfKind { kind }).inc();
    }

    /// Counts that copies of a pair are gone from its retry topic.
    pub fn copies_lost(&self) {
        self.inner.families.copies_lost.inc();
    }

    /// Counts the broker's answer to a commit.
    pub fn commit(&self, result: &CommitResult) {
        let result = match result {
            CommitResult::Done => "done",
            CommitResult::Refused => "refused",
            CommitResult::Unknown => "unknown",
        };
        self.inner.families.commits.get_or_create(&OfResult { result }).inc();
    }

    /// How many pairs are in a state.
    pub fn pairs(&self, state: PairState, count: usize) {
        let labels = OfState { state: state.name() };
        self.inner.families.pairs.get_or_create(&labels).set(whole(count as u64));
    }

    /// The time one unit took in the steps.
    pub fn unit(&self, took: Duration) {
        self.inner.families.unit_seconds.observe(took.as_secs_f64());
    }

    /// The metrics of spans.
    pub fn spans(&self) -> SpanMetrics {
        self.inner.families.spans.clone()
    }

    /// Counts a time that metrics were sent over OTLP.
    pub fn sent(&self, taken: bool) {
        let labels = OfResult { result: if taken { "done" } else { "failed" } };
        self.inner.families.exports.get_or_create(&labels).inc();
    }

    /// Counts a drain that ended by its deadline.
    pub fn drain_overrun(&self) {
        self.inner.families.drain_overruns.inc();
    }
}

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

fn invariant_name(id: longshore_core::invariant::Invariant) -> &'static str {
    use longshore_core::invariant::Invariant as I;
    match id {
        I::I1 => "I1",
        I::I2 => "I2",
        I::I3 => "I3",
        I::I4 => "I4",
        I::I5 => "I5",
        I::I6 => "I6",
        I::I7 => "I7",
        I::I8 => "I8",
        I::I9 => "I9",
        I::I10 => "I10",
    }
}

/// A count as a gauge takes it.
fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use longshore_core::item::FilterReason;
    use longshore_core::pair::Tally;
    use longshore_core::{Offset, Reason};

    use super::*;

    /// Scenario: a worker has 1,000 partitions. Guarantee: a page of metrics takes 20 ms at most, in the best of several tries, since others
    /// use the machine too.
    #[test]
    fn a_page_of_a_thousand_partitions_is_quick() {
        let metrics = Metrics::new("1");
        let pairs: Vec<_> =
            (0..1_000).map(|partition| metrics.pair(&PairId::new("logs.web", partition))).collect();
        pairs.iter().for_each(|pair| pair.received(1, 100));
        let lag = Lag { records: 1, seconds: Some(1.5), rate: 2.0 };
        pairs.iter().for_each(|pair| pair.lag(&lag));
        let render = || {
            let began = std::time::Instant::now();
            let page = metrics.render();
            (began.elapsed(), page.len())
        };
        let (took, bytes) = (0..20).map(|_| render()).min().unwrap();
        eprintln!("a page of {bytes} bytes in {took:?}");
        assert!(bytes > 1_000_000 && took < Duration::from_millis(20), "{bytes} bytes in {took:?}");
    }

    /// Scenario: records fail for 10,000 reasons of the data's own making, in details and places. Guarantee: labels are closed lists, so the page
    /// does not grow with what comes.
    #[test]
    fn labels_are_bounded_whatever_comes() {
        let metrics = Metrics::new("1");
        let pair = metrics.pair(&PairId::new("logs", 0));
        let tell = |n: usize| {
            let failure =
                Failure::reject(Reason::DecodeJson, format_args!("value {n}")).at(&format!("at-{n}"));
            pair.letter_retried(&failure);
            metrics.sink("files").retried(&failure);
            pair.settled(&Tally { dead: vec![(failure.reason, 1)], ..Tally::default() });
        };
        tell(0);
        let lines = metrics.render().lines().count();
        (1..10_000).for_each(tell);
        assert_eq!(metrics.render().lines().count(), lines);
    }

    #[test]
    fn every_place_of_a_tally_is_told_with_bounded_labels() {
        let metrics = Metrics::new("0.1.0");
        let pair = metrics.pair(&PairId::new("logs", 3));
        pair.received(5, 500);
        let filtered = vec![(FilterReason(Arc::from("filter.2")), 2)];
        pair.settled(&Tally {
            sunk: 1,
            filtered,
            dead: vec![(Reason::DecodeJson, 1)],
            already_held: 1,
            retried: vec![(Reason::RetryParked, 1)],
        });
        pair.committed(Offset(5));
        let text = metrics.render();
        for line in [
            "longshore_records_received_total{topic=\"logs\",partition=\"3\"} 5",
            "longshore_records_settled_total{topic=\"logs\",partition=\"3\",place=\"sunk\"} 1",
            "longshore_records_settled_total{topic=\"logs\",partition=\"3\",place=\"filtered\"} 2",
            "longshore_records_settled_total{topic=\"logs\",partition=\"3\",place=\"dead\"} 1",
            "longshore_records_settled_total{topic=\"logs\",partition=\"3\",place=\"already_held\"} 1",
            "longshore_records_filtered_total{topic=\"logs\",reason=\"filter.2\"} 2",
            "longshore_records_dead_total{topic=\"logs\",reason=\"decode.json\"} 1",
            "longshore_committed_offset{topic=\"logs\",partition=\"3\"} 5",
            "longshore_build_info{version=\"0.1.0\"} 1",
            "longshore_invariant_violations{invariant=\"I4\"} 0",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        assert!(text.contains("process_resident_memory_bytes "), "{text}");
        pair.forget();
        assert!(!metrics.render().contains("longshore_committed_offset{"));
    }
}
