//! What ledgers of files and of objects have in common: whose they are, and checkpoints of them.

use std::collections::BTreeMap;
use std::fmt::Display;

use longshore_core::format::{CHECKPOINT, Format, FormatError, TRAILER};
use longshore_core::ledger::{Holdings, LedgerView, Trailer};
use longshore_core::sink::WriterContext;
use longshore_core::{Failure, Generation, Offset, Reason, RunSet, Sequence, WriterId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A checkpoint is written each time so many segments were published (design section 4, rule 8).
pub(crate) const EVERY_SEGMENTS: u64 = 64;
/// So many checkpoints are kept: the newest, and those a recovery falls back to.
pub(crate) const KEPT_CHECKPOINTS: usize = 4;

/// Whose ledger it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) pipeline: String,
    pub(crate) generation: Generation,
    pub(crate) topic: String,
    pub(crate) partition: i32,
}

/// Whose ledger is expected.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    pub(crate) identity: Identity,
    /// The Kafka cluster's id.
    pub(crate) cluster: String,
    /// The topic's id; empty when the broker gave none.
    pub(crate) topic_id: String,
    writer: WriterId,
}

impl Owner {
    /// The owner that a writer of a pipeline stands for.
    pub(crate) fn new(pipeline: &str, generation: Generation, context: &WriterContext) -> Self {
        let identity = Identity {
            pipeline: pipeline.to_owned(),
            generation,
            topic: context.pair.topic.as_str().to_owned(),
            partition: context.pair.partition.0,
        };
        let (cluster, topic_id) = (context.cluster.clone(), context.topic_id.clone());
        Self { identity, cluster, topic_id, writer: context.writer }
    }

    /// Whether the trailer found at `place` under a number is one of this owner's.
    pub(crate) fn check_trailer(
        &self,
        trailer: &Trailer,
        sequence: Sequence,
        place: &dyn Display,
    ) -> Result<(), Failure> {
        TRAILER.check(trailer.version).map_err(|error| unreadable(place, error))?;
        if trailer.sequence != sequence {
            return Err(broken(place, format!("its trailer says number {}", trailer.sequence)));
        }
        if !trailer.is_sound() {
            return Err(broken(place, "its trailer speaks of offsets that there are not"));
        }
        let identity = Identity {
            pipeline: trailer.pipeline.clone(),
            generation: trailer.generation,
            topic: trailer.topic.clone(),
            partition: trailer.partition,
        };
        self.check(&identity, &trailer.cluster, &trailer.topic_id, place)
    }

    /// Whether what was found at `place` belongs to this owner.
    pub(crate) fn check(
        &self,
        found: &Identity,
        cluster: &str,
        topic_id: &str,
        place: &dyn Display,
    ) -> Result<(), Failure> {
        let foreign = |what: &str, found: &str, ours: &str| {
            let detail = format!("{place}: written for {what} {found}, not {ours}");
            Err(Failure::halt(Reason::LedgerForeign, detail))
        };
        let ours = &self.identity;
        if found.pipeline != ours.pipeline {
            return foreign("pipeline", &found.pipeline, &ours.pipeline);
        }
        if (&found.topic, found.partition) != (&ours.topic, ours.partition) {
            let name = |identity: &Identity| format!("{}/{}", identity.topic, identity.partition);
            return foreign("partition", &name(found), &name(ours));
        }
        if found.generation != ours.generation {
            return foreign("generation", &found.generation.0.to_string(), &ours.generation.0.to_string());
        }
        // An empty id says that the broker gave none, which is no contradiction.
        let contradicts = |found: &str, ours: &str| !found.is_empty() && !ours.is_empty() && found != ours;
        if contradicts(cluster, &self.cluster) {
            return foreign("cluster", cluster, &self.cluster);
        }
        if contradicts(topic_id, &self.topic_id) {
            return foreign("topic id", topic_id, &self.topic_id);
        }
        Ok(())
    }

    /// Whether a publish of this trailer continues the ledger: a gap in it, or another pair's rows, would be a defect.
    pub(crate) fn check_next(&self, trailer: &Trailer, view: Option<&LedgerView>) -> Result<(), Failure> {
        let defect = |detail: &str| Err(Failure::halt(Reason::Internal, format!("publish: {detail}")));
        let Some(view) = view else { return defect("the ledger was not read") };
        if trailer.sequence > view.next_sequence {
            return defect("the number would leave a gap");
        }
        let ours = &self.identity;
        let same = trailer.writer == self.writer
            && trailer.pipeline == ours.pipeline
            && trailer.generation == ours.generation
            && (trailer.topic.as_str(), trailer.partition) == (ours.topic.as_str(), ours.partition);
        if same { Ok(()) } else { defect("the trailer is not this writer's") }
    }
}

/// What stands in a ledger cannot be read: it is damaged, or a newer version's.
pub(crate) fn unreadable(place: impl Display, error: FormatError) -> Failure {
    error.into_failure(place, Reason::LedgerBroken)
}

/// Reads an entry with a trailer in it. Both say their version, and are asked before anything else is read.
pub(crate) fn entry<T: DeserializeOwned>(format: Format, json: &[u8]) -> Result<T, FormatError> {
    #[derive(Deserialize)]
    struct Within {
        trailer: Said,
    }
    #[derive(Deserialize)]
    struct Said {
        version: u32,
    }
    format.check(Format::said(json)?)?;
    if let Ok(Within { trailer: Said { version } }) = serde_json::from_slice(json) {
        TRAILER.check(version)?;
    }
    format.read(json)
}

/// A ledger that cannot be read, or that does not fit its data.
pub(crate) fn broken(place: impl Display, detail: impl Display) -> Failure {
    Failure::halt(Reason::LedgerBroken, format!("{place}: {detail}"))
}

/// The ledger folded, so that a recovery need not read every trailer since the beginning.
///
/// A checkpoint is a help and never the truth: one that is damaged, or a newer version's, is passed over with a warning that says which, and the
/// trailers tell the same story.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Checkpoint {
    version: u32,
    pub(crate) identity: Identity,
    pub(crate) view: LedgerView,
}

impl Checkpoint {
    pub(crate) fn new(identity: Identity, view: LedgerView) -> Self {
        Self { version: CHECKPOINT.version, identity, view }
    }

    /// As it is stored: one line of JSON, and its hash in a second line.
    pub(crate) fn text(&self, place: &dyn Display) -> Result<String, Failure> {
        let json = serde_json::to_string(self).map_err(|error| broken(place, error))?;
        Ok(format!("{json}\n{}\n", blake3::hash(json.as_bytes()).to_hex()))
    }

    /// Reads the checkpoint of everything below `number`. Version 1 listed held offsets and letters apart.
    pub(crate) fn parse(text: &str, number: Sequence) -> Result<Self, FormatError> {
        let damaged = |words: &str| FormatError::Unreadable(words.to_owned());
        let parts = text.strip_suffix('\n').and_then(|text| text.rsplit_once('\n'));
        let (json, hash) = parts.ok_or_else(|| damaged("it is cut"))?;
        if blake3::hash(json.as_bytes()).to_hex().as_str() != hash {
            return Err(damaged("its checksum is wrong"));
        }
        let checkpoint = match Format::said(json.as_bytes())? {
            1 => {
                let FirstCheckpoint { identity, view, .. } = CHECKPOINT.read(json.as_bytes())?;
                Self::new(identity, view.into())
            }
            _ => CHECKPOINT.read(json.as_bytes())?,
        };
        if checkpoint.view.next_sequence == number {
            Ok(checkpoint)
        } else {
            Err(damaged("it is that of another number"))
        }
    }
}

/// A checkpoint of version 1.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FirstCheckpoint {
    #[serde(rename = "version")]
    _version: u32,
    identity: Identity,
    view: FirstView,
}

/// The view as version 1 wrote it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FirstView {
    next_sequence: Sequence,
    held: RunSet,
    dead: BTreeMap<Offset, u32>,
    cluster: String,
    topic_id: String,
    partitions_at_birth: u32,
}

impl From<FirstView> for LedgerView {
    fn from(first: FirstView) -> Self {
        let mut holdings = Holdings::default();
        holdings.add(&first.held, &first.dead);
        Self {
            next_sequence: first.next_sequence,
            holdings,
            cluster: first.cluster,
            topic_id: first.topic_id,
            partitions_at_birth: first.partitions_at_birth,
        }
    }
}
