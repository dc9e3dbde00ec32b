//! The fleet as JSON. The names are what others read: a changed one is a breaking change.

use serde::{Deserialize, Serialize};

/// The fleet at one moment.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct View {
    pub(crate) pipeline: String,
    /// The fingerprint of the pipeline file of whoever looks.
    pub(crate) pipeline_version: String,
    pub(crate) group: String,
    /// How the group is: `Missing`, `Empty`, `Rebalancing` or `Stable`.
    pub(crate) group_state: String,
    /// When it was looked at, RFC 3339.
    pub(crate) at: String,
    pub(crate) totals: Totals,
    /// Sums of those who answer, since each one began.
    pub(crate) outcomes: Outcomes,
    pub(crate) workers: Vec<Worker>,
    pub(crate) partitions: Vec<Partition>,
}

/// Sums over partitions and over those who answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Totals {
    pub(crate) lag: u64,
    /// The largest of all partitions; null when one with lag tells none.
    pub(crate) seconds_behind: Option<f64>,
    pub(crate) rate: Option<f64>,
    /// The slowest partition's; null when one with lag does not move, or is not known.
    pub(crate) drain_seconds: Option<f64>,
    pub(crate) waiting: u64,
    pub(crate) parked: u64,
    /// Of all who answer, since each one began.
    pub(crate) retries: u64,
    pub(crate) dead_letters: u64,
    pub(crate) memory: u64,
    pub(crate) budget: u64,
    pub(crate) workers: u64,
    pub(crate) answering: u64,
}

/// A member of the group.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Worker {
    /// `host:port` of a worker, `client_id@host` of another member. Names the worker of a partition.
    #[serde(default)]
    pub(crate) name: String,
    pub(crate) client_id: String,
    #[serde(default)]
    pub(crate) host: Option<String>,
    /// The port of its pages; null for a member without any.
    #[serde(default)]
    pub(crate) port: Option<u16>,
    /// Whether it said what follows.
    #[serde(default)]
    pub(crate) answers: bool,
    pub(crate) version: Option<String>,
    /// `starting`, `running`, `holding` or `draining`.
    pub(crate) state: Option<String>,
    pub(crate) partitions: u64,
    /// Records done each second, over the last ten.
    pub(crate) rate: Option<f64>,
    /// Bytes charged to the memory budget, and its bound.
    pub(crate) memory: Option<u64>,
    pub(crate) budget: Option<u64>,
    /// Records received and not settled.
    pub(crate) in_flight: Option<u64>,
    pub(crate) uptime_seconds: Option<u64>,
}

/// An input partition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Partition {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    /// The `name` of the worker that has it; null when nobody has.
    #[serde(default)]
    pub(crate) worker: Option<String>,
    /// Everything below is committed; null before the first commit.
    pub(crate) committed: Option<i64>,
    /// The offset behind its last record.
    pub(crate) end: i64,
    /// Records to be worked on; null when that cannot be told.
    pub(crate) lag: Option<u64>,
    /// The age of the oldest of them; null when nobody knows.
    pub(crate) seconds_behind: Option<f64>,
    /// Records done each second, over the last ten.
    pub(crate) rate: Option<f64>,
    /// Seconds until no lag is left at this rate; null when nothing moves.
    pub(crate) drain_seconds: Option<f64>,
    /// Records that wait in the retry topic.
    pub(crate) waiting: Option<u64>,
    /// Keys of which records wait there.
    pub(crate) parked: Option<u64>,
    /// Tries handed to the retry topic since its worker began.
    pub(crate) retries: Option<u64>,
    /// Dead letters since its worker began.
    pub(crate) dead_letters: Option<u64>,
    /// Why no records are taken, for people.
    pub(crate) held: Option<String>,
}

/// Where records ended since the worker began: the places of `longshore_records_settled_total`, and tries handed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Outcomes {
    pub(crate) sunk: u64,
    pub(crate) filtered: u64,
    pub(crate) dead: u64,
    pub(crate) already_held: u64,
    pub(crate) retried: u64,
}

impl Outcomes {
    pub(crate) fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.sunk, other.sunk),
            (&mut self.filtered, other.filtered),
            (&mut self.dead, other.dead),
            (&mut self.already_held, other.already_held),
            (&mut self.retried, other.retried),
        ];
        for (sum, more) in sums {
            *sum = sum.saturating_add(more);
        }
    }
}

/// One worker's own words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StatusPage {
    pub(crate) pipeline: String,
    pub(crate) pipeline_version: String,
    pub(crate) group: String,
    #[serde(flatten)]
    pub(crate) worker: Worker,
    pub(crate) partitions_detail: Vec<Detail>,
    #[serde(default)]
    pub(crate) outcomes: Outcomes,
}

/// A partition that a worker has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Detail {
    /// What it is at: `starting`, `running`, `careful`, `held`, `halted` or `stopping`.
    pub(crate) state: String,
    #[serde(flatten)]
    pub(crate) partition: Partition,
}

/// Seconds until nothing is left; none when nothing moves or nothing is known.
pub(crate) fn drain(lag: Option<u64>, rate: Option<f64>) -> Option<f64> {
    match (lag?, rate) {
        (0, _) => Some(0.0),
        (lag, Some(rate)) if rate > 0.0 => Some(lag as f64 / rate),
        _ => None,
    }
}
