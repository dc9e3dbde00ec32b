//! The metrics of the messaging conventions
//! (<https://opentelemetry.io/docs/specs/semconv/messaging/messaging-metrics/>), by topic. As everything here they are told once a batch:
//! a duration is that of a poll, a unit in the steps, a parcel of letters or a commit, whatever the number of its records. What a topic sink
//! sends is told by the metrics of sinks.

use std::collections::BTreeMap;
use std::time::Duration;

use longshore_core::Lane;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::trace::Topics;

/// The conventions' bounds, seconds.
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// The labels of the conventions, with underscores for their dots. What is empty says nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfOperation {
    messaging_system: &'static str,
    messaging_operation_name: &'static str,
    messaging_destination_name: String,
    messaging_consumer_group_name: String,
    error_type: &'static str,
}

impl OfOperation {
    fn new(name: &'static str, topic: &str, group: &str) -> Self {
        Self {
            messaging_system: "kafka",
            messaging_operation_name: name,
            messaging_destination_name: topic.to_owned(),
            messaging_consumer_group_name: group.to_owned(),
            error_type: "",
        }
    }

    fn failed(self, error: &'static str) -> Self {
        Self { error_type: error, ..self }
    }
}

type Durations = Family<OfOperation, Histogram, fn() -> Histogram>;

fn durations() -> Durations {
    Family::new_with_constructor((|| Histogram::new(BOUNDS)) as fn() -> Histogram)
}

/// Under which names a worker reads and writes.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) group: String,
    pub(super) topics: Vec<Topics>,
}

/// The conventions' metrics.
#[derive(Clone)]
pub(super) struct MessagingMetrics {
    operations: Durations,
    process: Durations,
    consumed: Family<OfOperation, Counter>,
    sent: Family<OfOperation, Counter>,
}

impl Default for MessagingMetrics {
    fn default() -> Self {
        Self {
            operations: durations(),
            process: durations(),
            consumed: Family::default(),
            sent: Family::default(),
        }
    }
}

impl MessagingMetrics {
    /// Names them; the registry is one without our prefix.
    pub(super) fn name(&self, r: &mut Registry) {
        let help = "Time of one poll, commit, or parcel of copies and letters";
        r.register("messaging_client_operation_duration_seconds", help, self.operations.clone());
        let help = "Time of one unit of records in the steps, by the topic of the input also for copies";
        r.register("messaging_process_duration_seconds", help, self.process.clone());
        let help = "Records received";
        r.register("messaging_client_consumed_messages", help, self.consumed.clone());
        let help = "Copies and letters acknowledged, and by `error_type` those that were not";
        r.register("messaging_client_sent_messages", help, self.sent.clone());
    }

    /// Letters of one topic went out together.
    pub(super) fn sent(&self, topic: &str, took: Duration, sent: u64, failed: &BTreeMap<&'static str, u64>) {
        let labels = || OfOperation::new("send", topic, "");
        let all = failed.keys().next().map_or_else(labels, |&code| labels().failed(code));
        self.operations.get_or_create(&all).observe(took.as_secs_f64());
        self.sent.get_or_create(&labels()).inc_by(sent);
        for (&code, &records) in failed {
            self.sent.get_or_create(&labels().failed(code)).inc_by(records);
        }
    }
}

/// What is done with one lane of a pair, resolved once.
#[derive(Clone)]
struct LaneMetrics {
    commit: OfOperation,
    poll: Histogram,
    consumed: Counter,
}

/// What is done with one pair.
#[derive(Clone)]
pub(super) struct MessagingOfPair {
    operations: Durations,
    lanes: [LaneMetrics; 2],
    process: Histogram,
}

impl MessagingOfPair {
    pub(super) fn new(all: &MessagingMetrics, names: &Names, input: &str) -> Self {
        let retry =
            names.topics.iter().find(|topics| topics.input == input).map(|topics| topics.retry.as_str());
        let lane = |topic: &str| {
            let labels = |name| OfOperation::new(name, topic, &names.group);
            LaneMetrics {
                commit: labels("commit"),
                poll: all.operations.get_or_create_owned(&labels("poll")),
                consumed: all.consumed.get_or_create_owned(&labels("poll")),
            }
        };
        let process = all.process.get_or_create_owned(&OfOperation::new("process", input, &names.group));
        let lanes = [lane(input), lane(retry.unwrap_or(input))];
        Self { operations: all.operations.clone(), lanes, process }
    }

    fn of(&self, lane: Lane) -> &LaneMetrics {
        match lane {
            Lane::Input => &self.lanes[0],
            Lane::Retry => &self.lanes[1],
        }
    }

    pub(super) fn polled(&self, lane: Lane, records: u64, took: Duration) {
        let lane = self.of(lane);
        lane.consumed.inc_by(records);
        lane.poll.observe(took.as_secs_f64());
    }

    pub(super) fn processed(&self, took: Duration) {
        self.process.observe(took.as_secs_f64());
    }

    pub(super) fn committed(&self, lane: Lane, took: Duration, error: Option<&'static str>) {
        let labels = self.of(lane).commit.clone().failed(error.unwrap_or_default());
        self.operations.get_or_create(&labels).observe(took.as_secs_f64());
    }
}
