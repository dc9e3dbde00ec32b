//! How many pods a fleet needs, by the time that its backlog takes: `pods = (what arrives + backlog / drain) / rate of a pod`, damped, and
//! with a reason for people. Pure: looks at the group go in, answers come out.
//!
//! What is known comes from Kafka alone (ends of logs, commits with their metadata, members of the group), so whoever looks long
//! enough answers the same, be it a worker or a process that runs while the fleet stands at zero. Counts are offsets, gaps included, on both sides
//! of the division.
//!
//! The parts: `measure` makes rates of looks, `ceiling` finds where more pods help no more, `judge` puts them together and damps.

mod ceiling;
mod judge;
mod measure;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::{Moment, PairId};

pub use judge::Scaler;

/// Rates are those of so long, and need [`LEAST`] of it.
const WINDOW: Duration = Duration::from_secs(30);
/// The shortest span that gives a rate: commits come every second.
const LEAST: Duration = Duration::from_secs(12);
/// Whoever has a backlog of less than so many seconds of its own work keeps up, and its rate is no measure of what it could do.
const BUSY_SECONDS: f64 = 4.0;
/// A partition with a backlog that has not moved for so long under an owner stands.
const STANDS: Duration = Duration::from_secs(90);
/// Looks that lie farther apart than this say nothing of what was in between.
const TORN: Duration = Duration::from_secs(25);
/// A rebalance that takes longer holds the answer no more.
const REBALANCE_PATIENCE: Duration = Duration::from_secs(60);
/// The share of a pod's rate that what arrives may take.
const FULL: f64 = 0.9;
/// Nobody is called for less than this share more, and none sent home for less.
const UP_TOLERANCE: f64 = 1.1;
const DOWN_TOLERANCE: f64 = 0.85;

/// What a fleet is to be sized for.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// A backlog is to be gone within so long.
    pub drain: Duration,
    /// At least so many pods; 0 lets a fleet without work go.
    pub min: u32,
    /// At most so many; as many as there are partitions when left out, and never more than those.
    pub max: Option<u32>,
    /// Fewer pods are asked for when so long no more were needed. To be longer than a rebalance takes.
    pub down_after: Duration,
}

/// The group at one moment.
#[derive(Clone, Debug)]
pub struct Look {
    /// When, on any clock that does not go back.
    pub at: Moment,
    /// Members of the group.
    pub members: u32,
    /// Whether the group is dealing its partitions out anew.
    pub rebalancing: bool,
    /// All partitions of the input.
    pub partitions: Vec<PartitionLook>,
}

/// One partition at one moment.
#[derive(Clone, Debug)]
pub struct PartitionLook {
    /// Which one.
    pub pair: PairId,
    /// The offset behind its last record.
    pub end: i64,
    /// Offsets that are neither settled nor in an open segment: what a pod has to work on.
    pub backlog: u64,
    /// What waits for time to pass and needs a worker then, but no more of them: offsets in open segments, copies in the retry topic.
    pub waiting: u64,
    /// Whether its owner says that a sink, a target or the flood breaker holds it back.
    pub held: bool,
}

/// So many pods, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// How many.
    pub pods: u32,
    /// Why, for machines.
    pub cause: Cause,
    /// Why, for people.
    pub reason: String,
    /// The backlog of all partitions.
    pub lag: u64,
    /// What a pod can do, in offsets a second; none before it was measured.
    pub rate_per_pod: Option<f64>,
    /// Seconds until the backlog is gone at the rate of now; none while nothing moves or no rate is known.
    pub drain_seconds: Option<f64>,
}

/// Why there is no answer yet: two looks at least have to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the group was looked at for {0:?} only, and {LEAST:?} are needed")]
pub struct TooEarly(pub Duration);

/// Why it is so many pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// There is nothing to do.
    Idle,
    /// So many drain the backlog in time.
    Demand,
    /// There is work, and no rate is known.
    Fresh,
    /// What would be needed differs by too little from what was asked for.
    Steady,
    /// Fewer would do, but not for long enough yet.
    Cooling,
    /// Fewer would do, but the group was not watched for long enough.
    Watching,
    /// The group is dealing its partitions out.
    Rebalance,
    /// More at once than the sinks have ever been seen to take: some first, the others when these helped.
    Step,
    /// More pods did not help: what the records go to is the limit.
    Sink,
    /// As many as there are partitions.
    Partitions,
    /// As many as the file allows.
    Max,
    /// As few as the file allows.
    Min,
    /// The backlog is in few partitions, and one partition is read by one pod.
    Skew,
    /// Owners say that a sink, a target or the flood breaker holds them back.
    Held,
    /// Everything that is behind stands still.
    Stuck,
    /// Records in open segments or in the retry topic wait for time to pass; one pod stays for them.
    Waiting,
}

impl Cause {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::Idle,
        Self::Demand,
        Self::Fresh,
        Self::Steady,
        Self::Cooling,
        Self::Watching,
        Self::Rebalance,
        Self::Step,
        Self::Sink,
        Self::Partitions,
        Self::Max,
        Self::Min,
        Self::Skew,
        Self::Held,
        Self::Stuck,
        Self::Waiting,
    ];

    /// The word for machines; it does not change.
    pub fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Demand => "demand",
            Self::Fresh => "fresh",
            Self::Steady => "steady",
            Self::Cooling => "cooling",
            Self::Watching => "watching",
            Self::Rebalance => "rebalance",
            Self::Step => "step",
            Self::Sink => "sink",
            Self::Partitions => "partitions",
            Self::Max => "max",
            Self::Min => "min",
            Self::Skew => "skew",
            Self::Held => "held",
            Self::Stuck => "stuck",
            Self::Waiting => "waiting",
        }
    }
}
