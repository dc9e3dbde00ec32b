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
    /// Whether the topics are the ones they were.
    Identities,
    /// Whether the pair's topic is the one it was; if so, the pair is refused for this.
    Suspect(PairId, Epoch, Failure),
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

/// What the broker said of a pair's log.
struct Place {
    committed: Option<Position>,
    /// Its first offset and its end.
    marks: (i64, i64),
    /// The offset of the time to start at, negative when there is no record that late.
    at_time: Option<i64>,
}

impl Errand {
    fn run(mut self, asked: &Receiver<Ask>) {
        while let Ok(ask) = asked.recv() {
            match ask {
                Ask::Pairs(pairs) => self.pairs(&pairs),
                Ask::Topics => self.put(Note::Probed(self.probe())),
                Ask::Identities => self.identify(&self.topics),
                Ask::Suspect(pair, epoch, failure) => {
                    self.identify(&[pair.topic.as_str().to_owned()]);
                    // Begun anew by then, the pair does not hear this any more.
                    self.put(Note::Refused(pair, epoch, failure));
                }
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
        match self.look(pairs) {
            Ok(notes) => {
                for note in notes {
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

    /// Finds out about all of them together: hundreds of pairs may come at once, and a question for each would take
    /// longer than a session.
    fn look(&mut self, pairs: &[(PairId, Epoch)]) -> Result<Vec<Note>, Failure> {
        let committed = self.committed(pairs)?;
        let cluster = self.cluster()?;
        let names: Vec<_> = pairs.iter().map(|(pair, _)| (pair.topic.as_str(), pair.partition.0)).collect();
        let marks = self.queue.client().watermarks(&names, ANSWER_DEADLINE);
        let marks = marks.map_err(|code| failure(code, "offsets"))?;
        let starts = self.starts(&names, &committed)?;
        let mut topics = HashMap::new();
        let mut notes = Vec::with_capacity(pairs.len());
        let answers = committed.into_iter().zip(marks).zip(starts);
        for ((pair, epoch), ((committed, marks), start)) in pairs.iter().zip(answers) {
            let found = marks
                .and_then(|marks| Ok((marks, start.transpose()?)))
                .map_err(|code| failure(code, &format!("offsets of {pair}")))
                .and_then(|(marks, start)| {
                    let topic = self.topic(pair.topic.as_str(), &mut topics)?;
                    let place = Place { committed, marks, at_time: start };
                    Ok(self.found(pair, *epoch, place, &cluster, topic))
                });
            notes.push(found.unwrap_or_else(|failure| Note::NotFound(pair.clone(), *epoch, failure)));
        }
        Ok(notes)
    }

    /// The offsets of the time to start at; none where it does not matter: not every broker can answer.
    fn starts(
        &self,
        names: &[(&str, i32)],
        committed: &[Option<Position>],
    ) -> Result<Vec<Option<Result<i64, Code>>>, Failure> {
        let StartPolicy::Time(ms) = self.start else { return Ok(vec![None; names.len()]) };
        if committed.iter().all(Option::is_some) {
            return Ok(vec![None; names.len()]);
        }
        let asked = self.queue.client().offsets_by_time(names, ms, ANSWER_DEADLINE);
        let found = asked.map_err(|code| failure(code, "offsets of the time to start at"))?;
        Ok(found.into_iter().map(Some).collect())
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

    fn found(&self, pair: &PairId, epoch: Epoch, place: Place, cluster: &str, topic: TopicFacts) -> Note {
        let Place { committed, marks: (low, high), at_time } = place;
        if let Some(position) = &committed
            && (position.offset.0 < low || position.offset.0 > high)
        {
            return Note::Refused(pair.clone(), epoch, out_of_range(pair, position.offset, low, high));
        }
        let start = match self.start {
            StartPolicy::Earliest => low,
            StartPolicy::Latest => high,
            // No record that late: begin behind the last one.
            StartPolicy::Time(_) => at_time.filter(|offset| *offset >= 0).unwrap_or(high),
        };
        Note::Found(Box::new(Assignment {
            pair: pair.clone(),
            epoch,
            committed,
            start: Offset(start),
            log_start: Offset(low),
            log_end: Offset(high),
            cluster: cluster.to_owned(),
            topic_id: topic.id,
            partitions: topic.partitions,
            retry: None,
        }))
    }

    /// Id and partitions of a topic, asked anew for each batch of pairs: the topic may have been deleted and made
    /// again since the last one (trap 19).
    fn topic(&self, topic: &str, facts: &mut HashMap<String, TopicFacts>) -> Result<TopicFacts, Failure> {
        if let Some(known) = facts.get(topic) {
            return Ok(known.clone());
        }
        let partitions = self.partitions(topic)?;
        let id = self.id(topic)?;
        let found = TopicFacts { id, partitions };
        facts.insert(topic.to_owned(), found.clone());
        Ok(found)
    }

    /// The topic's id, empty where the broker has none.
    fn id(&self, topic: &str) -> Result<String, Failure> {
        match self.queue.client().topic_id(topic, ANSWER_DEADLINE) {
            Ok(id) => Ok(id.unwrap_or_default()),
            // A broker without the request has no ids to compare.
            Err((
                Code::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE | Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION,
                _,
            )) => Ok(String::new()),
            Err((code, _)) => Err(failure(code, &format!("id of topic {topic}"))),
        }
    }

    /// The ids of these topics. One that is missing or cannot be asked for tells nothing: others say so.
    fn identify(&self, topics: &[String]) {
        let id = |topic: &String| Some((topic.clone(), self.id(topic).ok()?));
        self.put(Note::Identified(topics.iter().filter_map(id).collect()));
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
