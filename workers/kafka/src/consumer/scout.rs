//! The second thread: asks the broker what takes time, so that the poll thread never waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use longshore_core::pair::Position;
use longshore_core::source::Assignment;
use longshore_core::{Epoch, Failure, Offset, PairId, Reason};

use super::inbox::{Inbox, Note};
use super::start::StartPolicy;
use crate::errors::failure;
use crate::ffi::{Code, OK, PartitionList, Queue};

/// How long one question may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);

/// A question.
#[derive(Debug)]
pub(super) enum Ask {
    /// Where these pairs stand.
    Pairs(Vec<(PairId, Epoch)>),
    /// Whether the topics are there.
    Topics,
}

/// The scout's end of the channel; the thread ends when it is dropped.
#[derive(Debug)]
pub(super) struct Scout {
    asks: Sender<Ask>,
}

impl Scout {
    /// Starts the thread. Answers come as notes.
    pub(super) fn spawn(
        queue: Arc<Queue>,
        inbox: Arc<Inbox>,
        topics: Vec<String>,
        start: StartPolicy,
    ) -> Result<Self, Failure> {
        let (asks, asked) = crossbeam_channel::unbounded();
        let errand = Errand { queue, inbox, topics, start, cluster: String::new() };
        std::thread::Builder::new()
            .name("longshore-scout".to_owned())
            .spawn(move || errand.run(&asked))
            .map_err(|error| Failure::halt(Reason::Internal, format!("no thread for the scout: {error}")))?;
        Ok(Self { asks })
    }

    /// Asks; a scout that has ended has nobody left to answer to.
    pub(super) fn ask(&self, ask: Ask) {
        if self.asks.send(ask).is_err() {
            tracing::error!("the scout has ended");
        }
    }
}

struct Errand {
    queue: Arc<Queue>,
    inbox: Arc<Inbox>,
    topics: Vec<String>,
    start: StartPolicy,
    cluster: String,
}

/// What is known of a topic.
#[derive(Clone, Debug)]
struct TopicFacts {
    id: String,
    partitions: u32,
}

impl Errand {
    fn run(mut self, asked: &Receiver<Ask>) {
        while let Ok(ask) = asked.recv() {
            match ask {
                Ask::Pairs(pairs) => self.pairs(&pairs),
                Ask::Topics => self.put(Note::Probed(self.probe())),
            }
        }
    }

    fn put(&self, note: Note) {
        self.inbox.put(note);
        self.queue.wake();
    }

    /// All topics are there and have partitions.
    fn probe(&self) -> Result<(), Failure> {
        for topic in &self.topics {
            self.partitions(topic)?;
        }
        Ok(())
    }

    fn partitions(&self, topic: &str) -> Result<u32, Failure> {
        let count = self.queue.client().partition_count(topic, ANSWER_DEADLINE);
        count.map_err(|code| failure(code, &format!("topic {topic}"))).and_then(|count| {
            match u32::try_from(count) {
                Ok(count) if count > 0 => Ok(count),
                _ => Err(failure(Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, &format!("topic {topic}"))),
            }
        })
    }

    fn pairs(&mut self, pairs: &[(PairId, Epoch)]) {
        match self.committed(pairs) {
            Ok(committed) => {
                let mut facts = HashMap::new();
                for ((pair, epoch), committed) in pairs.iter().zip(committed) {
                    let note = self
                        .look(pair, *epoch, committed, &mut facts)
                        .unwrap_or_else(|failure| Note::NotFound(pair.clone(), *epoch, failure));
                    self.put(note);
                }
            }
            Err(failure) => {
                for (pair, epoch) in pairs {
                    self.put(Note::NotFound(pair.clone(), *epoch, failure.clone()));
                }
            }
        }
    }

    /// What the group has committed for each pair, with its metadata: librdkafka's own fetch of offsets hides that.
    fn committed(&self, pairs: &[(PairId, Epoch)]) -> Result<Vec<Option<Position>>, Failure> {
        let names = pairs.iter().map(|(pair, _)| (pair.topic.as_str(), pair.partition.0));
        let mut list =
            PartitionList::of(names).ok_or_else(|| Failure::halt(Reason::Internal, "no memory"))?;
        self.queue
            .client()
            .committed(&mut list, ANSWER_DEADLINE)
            .map_err(|code| failure(code, "committed offsets"))?;
        let entries = list.entries();
        let of = |pair: &PairId| {
            entries.iter().find(|e| e.topic == pair.topic.as_str() && e.partition == pair.partition.0)
        };
        pairs
            .iter()
            .map(|(pair, _)| match of(pair) {
                Some(entry) if entry.code != OK => {
                    Err(failure(entry.code, &format!("committed offset of {pair}")))
                }
                Some(entry) if entry.offset >= 0 => Ok(Some(Position {
                    offset: Offset(entry.offset),
                    metadata: String::from_utf8_lossy(entry.metadata.as_deref().unwrap_or_default())
                        .into_owned(),
                })),
                _ => Ok(None),
            })
            .collect()
    }

    fn look(
        &mut self,
        pair: &PairId,
        epoch: Epoch,
        committed: Option<Position>,
        facts: &mut HashMap<String, TopicFacts>,
    ) -> Result<Note, Failure> {
        let topic = self.topic(pair.topic.as_str(), facts)?;
        let cluster = self.cluster()?;
        let what = || format!("offsets of {pair}");
        let (low, high) = self
            .queue
            .client()
            .watermarks(pair.topic.as_str(), pair.partition.0, ANSWER_DEADLINE)
            .map_err(|code| failure(code, &what()))?;
        if let Some(position) = &committed
            && (position.offset.0 < low || position.offset.0 > high)
        {
            return Ok(Note::Refused(pair.clone(), epoch, out_of_range(pair, position.offset, low, high)));
        }
        let start = match self.start {
            StartPolicy::Earliest => low,
            StartPolicy::Latest => high,
            // Only asked for when it matters: not every broker can answer.
            StartPolicy::Time(_) if committed.is_some() => low,
            StartPolicy::Time(ms) => self.offset_at(pair, ms, high)?,
        };
        Ok(Note::Found(Box::new(Assignment {
            pair: pair.clone(),
            epoch,
            committed,
            start: Offset(start),
            log_start: Offset(low),
            log_end: Offset(high),
            cluster,
            topic_id: topic.id,
            partitions: topic.partitions,
        })))
    }

    /// Id and partitions of a topic, asked anew for each batch of pairs: the topic may have been deleted and made
    /// again since the last one (trap 19).
    fn topic(&self, topic: &str, facts: &mut HashMap<String, TopicFacts>) -> Result<TopicFacts, Failure> {
        if let Some(known) = facts.get(topic) {
            return Ok(known.clone());
        }
        let partitions = self.partitions(topic)?;
        let id = match self.queue.client().topic_id(topic, ANSWER_DEADLINE) {
            Ok(id) => id.unwrap_or_default(),
            // A broker without the request has no ids to compare.
            Err((
                Code::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE | Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION,
                _,
            )) => String::new(),
            Err((code, _)) => return Err(failure(code, &format!("id of topic {topic}"))),
        };
        let found = TopicFacts { id, partitions };
        facts.insert(topic.to_owned(), found.clone());
        Ok(found)
    }

    fn cluster(&mut self) -> Result<String, Failure> {
        if self.cluster.is_empty() {
            self.cluster = self
                .queue
                .client()
                .cluster_id(ANSWER_DEADLINE)
                .ok_or_else(|| failure(Code::RD_KAFKA_RESP_ERR__TIMED_OUT, "cluster id"))?;
        }
        Ok(self.cluster.clone())
    }

    fn offset_at(&self, pair: &PairId, ms: i64, high: i64) -> Result<i64, Failure> {
        let mut list = PartitionList::empty().ok_or_else(|| Failure::halt(Reason::Internal, "no memory"))?;
        list.add(pair.topic.as_str(), pair.partition.0, ms, None);
        self.queue
            .client()
            .offsets_for_times(&mut list, ANSWER_DEADLINE)
            .map_err(|code| failure(code, &format!("offset of a time in {pair}")))?;
        // No record that late: begin behind the last one.
        Ok(list.entries().first().map_or(high, |entry| if entry.offset >= 0 { entry.offset } else { high }))
    }
}

fn out_of_range(pair: &PairId, committed: Offset, low: i64, high: i64) -> Failure {
    let words = if committed.0 < low {
        "records were deleted by retention before they were processed"
    } else {
        "the log ends before it: the topic was truncated or made again"
    };
    let detail =
        format!("{pair}: committed offset {committed} is outside [{low}, {high}]; {words}; see rewind");
    Failure::halt(Reason::OffsetOutOfRange, detail)
}
