//! Every metric, its name, its help and its labels. Conventions: prefix `longshore_`, base units (seconds, bytes),
//! counters end in `_total`. A renamed metric is a breaking change. Labels are bounded: topic, partition, sink, reason,
//! and small closed sets; never an offset, a key or an error's text.

mod families;
mod lag;
mod messaging;
pub mod otlp;
mod pair;
mod process;
#[cfg(test)]
mod reference;
mod sink;
mod spans;
mod spool;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use longshore_core::pair::CommitResult;
use longshore_core::{Budget, PairId, Reason, Spool};
use prometheus_client::encoding::text;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use families::{Families, OfInvariant, OfKind, OfResult, OfState, OfTrouble};
pub use lag::Lag;
use messaging::Names;
pub use pair::PairMetrics;
pub use sink::SinkMetrics;
pub use spans::{SpanLoss, SpanMetrics};

use crate::trace::Topics;

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
    names: RwLock<Names>,
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
        // A series that begins with its first event shows no increase by it, and an alert would not hear of it.
        for kind in ["assigned", "revoked", "lost"] {
            drop(families.rebalances.get_or_create(&OfKind { kind }));
        }
        // The conventions' names have no prefix of ours.
        families.messaging.name(&mut registry);
        let (budget, spool, without_payload) = (RwLock::new(None), RwLock::new(None), RwLock::new(None));
        let names = RwLock::default();
        let inner = Inner { registry, families, budget, spool, without_payload, invariants, names };
        Self { inner: Arc::new(inner) }
    }

    /// The budget whose use is reported from now on.
    pub fn watch_budget(&self, budget: &Arc<Budget>) {
        *self.inner.budget.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(budget));
    }

    /// The spool whose use is reported from now on.
    pub fn watch_spool(&self, spool: &Arc<dyn Spool>) {
        *self.inner.spool.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(spool));
    }

    /// The consumer group, and the names of topics, under which pairs that come from now on tell what they do.
    pub fn name_topics(&self, group: &str, topics: Vec<Topics>) {
        let names = Names { group: group.to_owned(), topics };
        *self.inner.names.write().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// Copies or letters were sent to a topic together, in this time: how many were acknowledged, and how many were not, by reason code.
    pub fn sent_letters(&self, topic: &str, took: Duration, sent: u64, failed: &BTreeMap<&'static str, u64>) {
        self.inner.families.messaging.sent(topic, took, sent, failed);
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
        SinkMetrics::new(&self.inner.families, name)
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

    /// Whether the worker has its place in the consumer group; no, when it has had none for long.
    pub fn group_member(&self, is_member: bool) {
        self.inner.families.group_member.set(i64::from(is_member));
    }

    /// What keeps the brokers from serving the worker now, if anything.
    pub fn broker_trouble(&self, reason: Option<Reason>) {
        let troubles = &self.inner.families.broker_trouble;
        troubles.clear();
        if let Some(reason) = reason {
            troubles.get_or_create(&OfTrouble { reason: reason.code() }).set(1);
        }
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
    use longshore_core::{Failure, Offset, Reason};

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
