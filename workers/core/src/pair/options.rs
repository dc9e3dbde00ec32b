//! What a pair is told once.

use std::time::Duration;

use crate::retry::Backoff;

/// Which records wait for each other.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// None.
    None,
    /// Records of one key; a null key waits for nobody.
    #[default]
    Key,
    /// All of the partition.
    Partition,
}

/// How records are handed to the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grain {
    /// Many at once, keys in order inside the unit: all steps are pure and quick.
    Batch,
    /// One record a unit: a step waits, and a slow record must hold up its own key alone.
    Record,
}

/// When the open segment of a sink is sealed: whichever comes first. Also at drain, at revoke, and near a memory bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealPolicy {
    /// Bytes as stored.
    pub bytes: u64,
    /// Rows, settled-by-filter records included.
    pub rows: u64,
    /// Since its first record.
    pub age: Duration,
}

/// One sink as the pair sees it.
#[derive(Clone, Debug)]
pub struct SinkSpec {
    /// Its name in the pipeline file.
    pub name: String,
    /// Whether it holds each record once.
    pub ledger: bool,
    /// Whether it may refuse single rows when a segment is published. The records of its rows are kept until then, and with a
    /// ledger the rows as well, so both count against the window, and near its end the segment is sealed.
    pub refuses: bool,
    /// When to seal. Without a ledger a segment is sealed as soon as the one before it is acknowledged.
    pub seal: SealPolicy,
}

/// When to commit.
#[derive(Clone, Copy, Debug)]
pub struct CommitPolicy {
    /// At most so often, unless many records are settled.
    pub interval: Duration,
    /// With so many settled and uncommitted records, at once.
    pub records: u64,
    /// So many records may have rows in a sink without a ledger and no *acknowledged* commit that covers them, which is what
    /// may repeat after a crash; above it nothing is sent. [`Event::Share`](super::Event::Share) changes it for a pair.
    pub uncommitted_cap: u64,
    /// The most bytes of metadata that the broker takes with a commit: [`METADATA_BYTES`](crate::metadata::METADATA_BYTES) unless it is set otherwise.
    pub metadata_bytes: usize,
}

/// How failed records wait outside of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Whether later records of a failed record's key follow it (I3). Without, they overtake it.
    pub ordered: bool,
    /// A next try that is wanted within this span is made in the worker; later ones go through the retry topic.
    pub in_place: Duration,
    /// The longest wait; a `longshore.not-before` beyond it is clipped.
    pub cap: Duration,
    /// A record that has failed for so long gets no further try; none for as many as `attempts` allows.
    pub max_age: Option<Duration>,
    /// So many records wait at most before the input lane pauses.
    pub waiting: u64,
    /// So many of them may be parked behind others of their key.
    pub parked: u64,
    /// Copies farther behind the end of the retry partition than this are carried forward.
    pub span: u64,
    /// Copies older than this are carried forward: a third of the topic's retention.
    pub carry_age: Duration,
}

/// When rejected records are an outage and no longer poison.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FloodPolicy {
    /// The share of rejected records that trips the breaker, above 0 and at most 1.
    pub ratio: f64,
    /// It never trips on fewer rejected records than these.
    pub min: u64,
    /// Over how long they are counted.
    pub window: Duration,
}

/// How much may be between intake and settle without being in a segment.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Records received and not finished.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a pair is told once.
#[derive(Clone, Debug)]
pub struct PairOptions {
    /// The pipeline's name, for trailers and letters.
    pub pipeline: String,
    /// Its version: a short hash of the pipeline file, for letters.
    pub version: String,
    /// Which records wait for each other.
    pub order: Order,
    /// How records are handed to the steps.
    pub grain: Grain,
    /// The sinks, at most [`crate::SinkMask::CAPACITY`].
    pub sinks: Vec<SinkSpec>,
    /// The most records in one unit.
    pub unit_records: u32,
    /// The most units with the steps at once.
    pub units_in_flight: u32,
    /// The intake window.
    pub window: Window,
    /// When to commit.
    pub commit: CommitPolicy,
    /// Retry of a record in place: waits between tries.
    pub backoff: Backoff,
    /// Tries in all before a record becomes a letter, the first included.
    pub attempts: u32,
    /// How failed records wait outside of the worker; none: they wait in it.
    pub retry: Option<RetryPolicy>,
    /// When rejected records are an outage; none: never.
    pub flood: Option<FloodPolicy>,
    /// The sink generation.
    pub generation: crate::Generation,
}
