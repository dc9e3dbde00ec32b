//! The second thread: asks the broker what takes time, so that the poll thread never waits.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use longshore_core::pair::Position;
use longshore_core::source::{Assignment, RetryAssignment};
use longshore_core::{Epoch, Failure, Offset, PairId, Reason, TopicName};

use super::ends::End;
use super::inbox::{Found, Inbox, Note};
use super::pairs::{Place as At, named};
use super::start::StartPolicy;
use crate::errors::{Meaning, failure, meaning};
use crate::ffi::{Code, OK, PartitionList, Queue, describe};

/// How long one question may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(5);
/// How long the pairs whose leaders answer wait for the leaders of the others.
const OTHERS_DEADLINE: Duration = Duration::from_secs(1);

/// A question.
#[derive(Debug)]
pub(super) enum Ask {
    /// Where these pairs stand.
    Pairs(Vec<Wanted>),
    /// Whether the topics are there.
    Topics,
    /// Whether the topics are the ones they were.
    Identities,
    /// Where these inputs end by now.
    Ends(Vec<At>),
    /// Whether the group's coordinator answers.
    Coordinator,
    /// Where the pair's input ends.
    End(PairId, Epoch),
    /// Whether the pair's topic is the one it was; if so, the pair is refused for this.
    Suspect(PairId, Epoch, Failure),
}

/// A pair to be looked up.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) pair: PairId,
    pub(super) epoch: Epoch,
    /// Its retry topic, and whether what is committed there may be of an older topic of that name.
    pub(super) retry: Option<(TopicName, bool)>,
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
        let errand = Errand { queue, inbox, topics, start, cluster: String::new(), unanswered: false };
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
    /// Whether leaders left pairs without an answer the last time.
    unanswered: bool,
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

type Places = HashMap<At, Result<Place, Code>>;

/// Why it is not known where a pair stands.
enum Unknown {
    /// One of its two leaders does not tell, which holds up this pair alone and may pass; the words name the partition.
    Unanswered(String),
    Failed(Failure),
}

impl Unknown {
    fn of(code: Code, what: &str) -> Self {
        let failure = failure(code, what);
        match failure.reason {
            Reason::BrokerUnavailable => Self::Unanswered(failure.detail().to_owned()),
            _ => Self::Failed(failure),
        }
    }
}

impl From<Failure> for Unknown {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Errand {
    fn run(mut self, asked: &Receiver<Ask>) {
        while let Ok(ask) = asked.recv() {
            match ask {
                Ask::Pairs(pairs) => self.pairs(pairs),
                Ask::Topics => self.put(Note::Probed(self.probe())),
                Ask::Identities => self.identify(&self.topics),
                Ask::Ends(places) => self.put(Note::EndsSeen(self.ends(&places))),
                Ask::Coordinator => self.put(Note::Coordinator(self.coordinator())),
                Ask::End(pair, epoch) => self.put(Note::Ends(pair.clone(), epoch, self.end(&pair))),
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

    /// Whether the group's coordinator answers, be it with a refusal, when it is asked for next to nothing.
    fn coordinator(&self) -> bool {
        let place = self.topics.first().map(|topic| (topic.as_str(), 0));
        let Some(mut list) = PartitionList::of(place) else { return true };
        let answer = self.queue.client().committed(&mut list, ANSWER_DEADLINE);
        !answer.is_err_and(|code| matches!(meaning(code), Meaning::Error(_, Reason::BrokerUnavailable)))
    }

    fn end(&self, pair: &PairId) -> Option<Offset> {
        let place = [(pair.topic.as_str(), pair.partition.0)];
        let ends = self.queue.client().ends(&place, ANSWER_DEADLINE);
        match ends.map(|ends| ends.into_iter().next()) {
            Ok(Some(Ok(end))) => Some(Offset(end)),
            Ok(Some(Err(code))) | Err(code) => {
                tracing::debug!(%pair, ?code, "where the input ends is not known");
                None
            }
            Ok(None) => None,
        }
    }

    /// Where each of them ends, or why that is not known.
    fn ends(&self, places: &[At]) -> Vec<End> {
        let names: Vec<_> = named(places).collect();
        let asked = self.queue.client().ends(&names, ANSWER_DEADLINE);
        let ends = asked.unwrap_or_else(|code| vec![Err(code); places.len()]);
        let end = |((topic, partition), end): (&At, Result<i64, Code>)| {
            (topic.clone(), *partition, end.map(Offset).map_err(describe))
        };
        let ends: Vec<_> = places.iter().zip(ends).map(end).collect();
        self.look_for_leaders(&ends);
        ends
    }

    /// Has librdkafka find out who leads these topics now: who answered may have been the leader of old, and it goes on asking that one.
    fn look_for_leaders(&self, ends: &[End]) {
        let topics: BTreeSet<_> =
            ends.iter().filter(|(.., end)| end.is_err()).map(|(topic, ..)| topic).collect();
        for topic in topics {
            if let Err(failure) = self.partitions(topic.as_str()) {
                tracing::debug!(%failure, "who leads a topic is not known");
            }
        }
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

    /// Finds out about all of them together: hundreds of pairs may come at once, and a question for each would take
    /// longer than a session. Leaders that do not answer soon have more time, and hold up their own pairs alone.
    fn pairs(&mut self, pairs: Vec<Wanted>) {
        let late = self.look(pairs, OTHERS_DEADLINE);
        let late = late.into_iter().map(|(wanted, _)| wanted).collect();
        let unanswered = self.look(late, ANSWER_DEADLINE);
        if let (Some((_, words)), false) = (unanswered.first(), self.unanswered) {
            tracing::warn!(
                pairs = unanswered.len(),
                "no leader tells where they stand: {words}; asked again and again"
            );
        }
        self.unanswered = !unanswered.is_empty();
        for (Wanted { pair, epoch, .. }, words) in unanswered {
            self.put(Note::Unanswered(pair, epoch, words));
        }
    }

    /// Tells what is found out of these pairs, and gives those of which a leader did not answer in time, with words for it.
    fn look(&mut self, pairs: Vec<Wanted>, patience: Duration) -> Vec<(Wanted, String)> {
        if pairs.is_empty() {
            return Vec::new();
        }
        let cluster = match self.cluster() {
            Ok(cluster) => cluster,
            Err(failure) => return self.not_found(pairs, &failure),
        };
        let mut facts = HashMap::new();
        // First, since a look at a topic also brings its new partitions to librdkafka's knowledge (rule 8 of `kafka.md`).
        let mut ready = Vec::with_capacity(pairs.len());
        for wanted in pairs {
            match self.unfit(&wanted, &mut facts) {
                Ok(None) => ready.push(wanted),
                Ok(Some(failure)) => self.put(Note::Unready(wanted.pair, wanted.epoch, failure)),
                Err(failure) => self.put(Note::NotFound(wanted.pair, wanted.epoch, failure)),
            }
        }
        let mut places = match self.places(&ready, patience) {
            Ok(places) => places,
            Err(failure) => return self.not_found(ready, &failure),
        };
        let mut unanswered = Vec::new();
        for wanted in ready {
            match self.found(&wanted, &mut places, &cluster, &mut facts) {
                Ok(note) => self.put(note),
                Err(Unknown::Unanswered(words)) => unanswered.push((wanted, words)),
                Err(Unknown::Failed(failure)) => self.put(Note::NotFound(wanted.pair, wanted.epoch, failure)),
            }
        }
        unanswered
    }

    /// Of none of them anything was found out.
    fn not_found(&self, pairs: Vec<Wanted>, failure: &Failure) -> Vec<(Wanted, String)> {
        for Wanted { pair, epoch, .. } in pairs {
            self.put(Note::NotFound(pair, epoch, failure.clone()));
        }
        Vec::new()
    }

    /// Where the lanes of these pairs stand.
    fn places(&self, pairs: &[Wanted], patience: Duration) -> Result<Places, Failure> {
        let inputs = pairs.iter().map(|wanted| (wanted.pair.topic.clone(), wanted.pair.partition.0));
        let retry = |wanted: &Wanted| Some((wanted.retry.as_ref()?.0.clone(), wanted.pair.partition.0));
        let all: Vec<At> = inputs.chain(pairs.iter().filter_map(retry)).collect();
        if all.is_empty() {
            return Ok(Places::new());
        }
        let committed = self.committed(&all)?;
        let asked = self.queue.client().watermarks(&named(&all).collect::<Vec<_>>(), patience);
        let marks = asked.map_err(|code| failure(code, "offsets"))?;
        let starts = self.starts(&named(&all[..pairs.len()]).collect::<Vec<_>>(), &committed, patience)?;
        let starts = starts.into_iter().chain(std::iter::repeat(None));
        let mut places = Places::new();
        for (((at, committed), marks), start) in all.into_iter().zip(committed).zip(marks).zip(starts) {
            let place = marks.and_then(|marks| Ok(Place { committed, marks, at_time: start.transpose()? }));
            places.insert(at, place);
        }
        Ok(places)
    }

    /// Why the pair's retry topic cannot take its records: it has no partition for them. Asking it for offsets would give no
    /// error at all, only silence (rule 8 of `kafka.md`).
    fn unfit(
        &self,
        wanted: &Wanted,
        facts: &mut HashMap<String, TopicFacts>,
    ) -> Result<Option<Failure>, Failure> {
        self.topic(wanted.pair.topic.as_str(), facts)?;
        let Some((retry, _)) = &wanted.retry else { return Ok(None) };
        let found = self.topic(retry.as_str(), facts)?.partitions;
        if u32::try_from(wanted.pair.partition.0).is_ok_and(|partition| partition < found) {
            return Ok(None);
        }
        let (pair, partition) = (&wanted.pair, wanted.pair.partition.0);
        let detail = format!(
            "{pair}: topic {retry} has {found} partitions and none for partition {partition} of its input; grow it: \
             longshore topics apply"
        );
        Ok(Some(Failure::halt(Reason::BrokerTopicUnfit, detail)))
    }

    /// The offsets of the time to start at; none where it does not matter: not every broker can answer.
    fn starts(
        &self,
        names: &[(&str, i32)],
        committed: &[Option<Position>],
        patience: Duration,
    ) -> Result<Vec<Option<Result<i64, Code>>>, Failure> {
        let StartPolicy::Time(ms) = self.start else { return Ok(vec![None; names.len()]) };
        if committed[..names.len()].iter().all(Option::is_some) {
            return Ok(vec![None; names.len()]);
        }
        let asked = self.queue.client().offsets_by_time(names, ms, patience);
        let found = asked.map_err(|code| failure(code, "offsets of the time to start at"))?;
        Ok(found.into_iter().map(Some).collect())
    }

    /// What the group has committed for each partition, with its metadata: librdkafka's own fetch of offsets hides that.
    fn committed(&self, places: &[At]) -> Result<Vec<Option<Position>>, Failure> {
        let mut list =
            PartitionList::of(named(places)).ok_or_else(|| Failure::halt(Reason::Internal, "no memory"))?;
        self.queue
            .client()
            .committed(&mut list, ANSWER_DEADLINE)
            .map_err(|code| failure(code, "committed offsets"))?;
        let entries = list.entries();
        let of = |(topic, partition): &At| {
            entries.iter().find(|e| e.topic == topic.as_str() && e.partition == *partition)
        };
        places
            .iter()
            .map(|place| match of(place) {
                Some(entry) if entry.code != OK => {
                    Err(failure(entry.code, &format!("committed offset of {}/{}", place.0, place.1)))
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

    fn found(
        &self,
        wanted: &Wanted,
        places: &mut Places,
        cluster: &str,
        facts: &mut HashMap<String, TopicFacts>,
    ) -> Result<Note, Unknown> {
        let (pair, epoch) = (&wanted.pair, wanted.epoch);
        let mut take = |topic: &TopicName| {
            let place = places.remove(&(topic.clone(), pair.partition.0));
            let place = place.unwrap_or(Err(Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION));
            place.map_err(|code| Unknown::of(code, &format!("offsets of {topic}/{}", pair.partition)))
        };
        let Place { committed, marks: (low, high), at_time } = take(&pair.topic)?;
        if let Some(position) = &committed
            && (position.offset.0 < low || position.offset.0 > high)
        {
            return Ok(Note::Refused(pair.clone(), epoch, out_of_range(pair, position.offset, low, high)));
        }
        let start = match self.start {
            StartPolicy::Earliest => low,
            StartPolicy::Latest => high,
            // No record that late: begin behind the last one.
            StartPolicy::Time(_) => at_time.filter(|offset| *offset >= 0).unwrap_or(high),
        };
        let topic = self.topic(pair.topic.as_str(), facts)?;
        let (mut retry_id, mut retry, mut lost) = (String::new(), None, None);
        if let Some((name, made_again)) = &wanted.retry {
            let place = take(name)?;
            retry_id = self.topic(name.as_str(), facts)?.id;
            let found = retry_place(name, place, *made_again);
            lost = found.1;
            retry = Some(found.0);
        }
        let assignment = Assignment {
            pair: pair.clone(),
            epoch,
            committed,
            start: Offset(start),
            log_start: Offset(low),
            log_end: Offset(high),
            cluster: cluster.to_owned(),
            topic_id: topic.id,
            partitions: topic.partitions,
            retry,
        };
        Ok(Note::Found(Box::new(Found { assignment, retry_id, lost })))
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

/// Where a retry lane stands, and how copies were lost, if they were. A lane never stops for it: what is left is read from its
/// first record, and what is gone cannot be brought back by standing still.
fn retry_place(topic: &TopicName, place: Place, made_again: bool) -> (RetryAssignment, Option<String>) {
    let Place { mut committed, marks: (low, high), .. } = place;
    let lost = match &committed {
        _ if made_again => Some(format!("topic {topic} was deleted and made again")),
        Some(position) if position.offset.0 > high => {
            let offset = position.offset;
            Some(format!(
                "topic {topic} ends at {high} before the committed offset {offset}: it was truncated or made again"
            ))
        }
        Some(position) if position.offset.0 < low => {
            let (offset, count) = (position.offset, low - position.offset.0);
            Some(format!(
                "{count} offsets of topic {topic} from {offset} on were deleted by retention before they were done"
            ))
        }
        Some(_) | None => None,
    };
    if lost.is_some() {
        committed = None;
    }
    let (log_start, log_end) = (Offset(low), Offset(high));
    (RetryAssignment { topic: topic.clone(), committed, log_start, log_end }, lost)
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
