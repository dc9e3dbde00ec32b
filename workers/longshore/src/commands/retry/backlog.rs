//! What waits in the retry partitions of a pipeline, found out as a worker does that takes them over: each is read from where
//! the group's commit says to its end, and of several copies of one record the highest counts
//! (`longshore_core::pair`, the retry lane).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use longshore_core::headers::{HeaderError, LetterHeaders};
use longshore_core::letter::LetterRef;
use longshore_core::pair::{Order, Position};
use longshore_core::retry::lane_start;
use longshore_core::{Failure, KeyHash, Offset, RunSet};
use longshore_kafka::{Admin, KafkaOptions, ReadFrom, ReadUntil, Reader, RecordView, retry_topic};
use longshore_settings::Pipeline;

use crate::commands::common::choose::Choice;
use crate::commands::common::found::{Found, State};
use crate::commands::common::watch::Watch;
use crate::commands::common::words;
use crate::exit::End;
use crate::output::Output;

/// How long one look for records takes.
const LOOK: Duration = Duration::from_millis(500);
/// How much of a key is kept to be shown, bytes.
const KEY_BYTES: usize = 96;
/// How many failures of a condition are spelled out.
const FAILURES_SHOWN: usize = 20;

/// The retry topics of a pipeline.
#[derive(Clone, Debug)]
pub(crate) struct Lanes {
    pub(crate) options: KafkaOptions,
    pub(crate) group: String,
    /// Input topic and retry topic.
    pub(crate) topics: Vec<(String, String)>,
    /// Whether a key's later records wait behind a failed one.
    pub(crate) ordered: bool,
    /// The longest wait there is, milliseconds.
    pub(crate) cap_ms: i64,
}

impl Lanes {
    /// None for a pipeline whose records wait in the worker.
    pub(crate) fn of(pipeline: &Pipeline, options: &KafkaOptions) -> Option<Self> {
        if !pipeline.has_retry_topics() {
            return None;
        }
        let name = |input: &String| (input.clone(), retry_topic(input, &pipeline.pipeline));
        Some(Self {
            options: options.clone(),
            group: pipeline.group(),
            topics: pipeline.input.topics.iter().map(name).collect(),
            ordered: pipeline.retry_order() == Order::Key,
            cap_ms: i64::try_from(pipeline.failure.retry.cap.get().as_millis()).unwrap_or(i64::MAX),
        })
    }

    /// The names of the retry topics.
    pub(crate) fn names(&self) -> Vec<String> {
        self.topics.iter().map(|(_, retry)| retry.clone()).collect()
    }
}

/// A record that waits: the one copy of it that counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    /// Where the copy stands in the retry partition.
    pub(crate) copy: i64,
    pub(crate) attempt: u32,
    pub(crate) replays: u32,
    /// When it may be tried, milliseconds; 0 = at once.
    pub(crate) due_ms: i64,
    /// When it failed first, milliseconds; 0 when it has not failed itself.
    pub(crate) first_failed_ms: i64,
    /// When the copy landed, milliseconds.
    pub(crate) landed_ms: i64,
    /// Its place in [`Backlog::reasons`].
    pub(crate) reason: usize,
    pub(crate) key: Option<KeyHash>,
    /// Whether the condition takes it.
    pub(crate) chosen: bool,
    /// Whether an earlier record of its key waits, which is tried first.
    pub(crate) behind: bool,
}

impl Waiting {
    fn rank(&self) -> (u32, u32, i64) {
        (self.replays, self.attempt, self.copy)
    }

    /// Since when it waits: its first failure, or for one that only stands behind another the arrival of its copy.
    pub(crate) fn since_ms(&self) -> i64 {
        if self.first_failed_ms > 0 { self.first_failed_ms } else { self.landed_ms }
    }
}

/// Input topic and partition.
pub(crate) type PairKey = (String, i32);

/// All that waits, and what was met on the way.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    /// By pair and the record's offset in the input.
    pub(crate) pairs: BTreeMap<PairKey, BTreeMap<i64, Waiting>>,
    pub(crate) reasons: Vec<String>,
    /// The beginning of each key that waits.
    pub(crate) keys: HashMap<KeyHash, Box<[u8]>>,
    /// Copies that count no more, since another of the same record outranks them.
    pub(crate) superseded: u64,
    /// Records of the retry topics that are no copies of ours; a worker makes letters of them.
    pub(crate) strays: u64,
    /// Copies that the condition could not be evaluated for; they are not chosen.
    pub(crate) condition_failed: u64,
    pub(crate) condition_failures: Vec<String>,
    /// There is a copy of a newer version, so which copy counts is not known here.
    newer: Option<Failure>,
}

impl Backlog {
    /// Reads all of it. `choice` says which records are meant.
    pub(crate) fn read(lanes: &Lanes, choice: &Choice, now_ms: i64, output: &Output) -> Result<Self, End> {
        let mut backlog = Self::default();
        let admin = Admin::new(&lanes.options)?;
        for (input, topic) in &lanes.topics {
            let settled = begin(&admin, lanes, topic)?;
            let from: Vec<_> = settled.iter().map(|lane| (lane.partition, lane.from.0)).collect();
            if from.is_empty() {
                continue;
            }
            let limit_ms = now_ms.saturating_add(lanes.cap_ms);
            let mut take = |record: RecordView<'_>| {
                let known = settled.iter().find(|lane| lane.partition == record.partition());
                if known.is_none_or(|lane| !lane.settled.contains(Offset(record.offset()))) {
                    backlog.take(input, topic, record, choice, limit_ms, lanes.ordered);
                }
            };
            pass(&lanes.options, topic, from, output, &mut take)?;
            if let Some(failure) = backlog.newer.take() {
                return Err(failure.into());
            }
        }
        backlog.arrange(lanes.ordered);
        Ok(backlog)
    }

    fn take(
        &mut self,
        input: &str,
        topic: &str,
        record: RecordView<'_>,
        choice: &Choice,
        limit_ms: i64,
        ordered: bool,
    ) {
        let mut letter = LetterRef::default();
        record.headers(|name, value| letter.take(name, value));
        if let Err(HeaderError::Newer(newer)) = letter.place() {
            let at = format!("{topic}/{}/{}", record.partition(), record.offset());
            self.newer = Some(newer.into_failure().at(&at));
            return;
        }
        let Some(said) = copy_of(&letter, input, record.partition()) else {
            self.strays += 1;
            return;
        };
        let (place, replays) = (letter.place().ok().flatten(), said.replays);
        let found = Found { topic, record, letter, place, replays, state: State::Open };
        let chosen = choice.takes(&found).unwrap_or_else(|failure| {
            self.condition_failed += 1;
            if self.condition_failures.len() < FAILURES_SHOWN {
                let at = format!("{topic}/{}/{}", record.partition(), record.offset());
                self.condition_failures.push(format!("{at}: {}", failure.detail()));
            }
            false
        });
        let key = record.key().filter(|_| ordered).map(KeyHash::of);
        if let (Some(hash), Some(key)) = (key, record.key()) {
            self.keys.entry(hash).or_insert_with(|| key[..key.len().min(KEY_BYTES)].into());
        }
        let waiting = Waiting {
            copy: record.offset(),
            attempt: said.attempt,
            replays,
            due_ms: said.not_before_ms.unwrap_or(0).clamp(0, limit_ms),
            first_failed_ms: said.first_failed_ms,
            landed_ms: record.timestamp_ms(),
            reason: self.reason(words(letter.reason(), 128)),
            key,
            chosen,
            behind: false,
        };
        self.keep((input.to_owned(), record.partition()), said.origin.offset.0, waiting);
    }

    fn reason(&mut self, reason: String) -> usize {
        self.reasons.iter().position(|known| *known == reason).unwrap_or_else(|| {
            self.reasons.push(reason);
            self.reasons.len() - 1
        })
    }

    fn keep(&mut self, pair: PairKey, origin: i64, waiting: Waiting) {
        let pair = self.pairs.entry(pair).or_default();
        match pair.get_mut(&origin) {
            Some(known) => {
                self.superseded += 1;
                if waiting.rank() > known.rank() {
                    *known = waiting;
                }
            }
            None => {
                pair.insert(origin, waiting);
            }
        }
    }

    /// Tells which records wait for their time and which for an earlier one of their key.
    fn arrange(&mut self, ordered: bool) {
        if !ordered {
            return;
        }
        for records in self.pairs.values_mut() {
            let mut heads = std::collections::HashSet::new();
            for waiting in records.values_mut() {
                waiting.behind = waiting.key.is_some_and(|key| !heads.insert(key));
            }
        }
    }

    /// Everything that waits: pair, offset in the input, and the copy that counts.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&PairKey, i64, &Waiting)> {
        self.pairs
            .iter()
            .flat_map(|(pair, records)| records.iter().map(move |(origin, waiting)| (pair, *origin, waiting)))
    }

    /// The records that are meant, at most so many.
    pub(crate) fn chosen(&self, limit: Option<u64>) -> impl Iterator<Item = (&PairKey, i64, &Waiting)> {
        let most = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        self.iter().filter(|(_, _, waiting)| waiting.chosen).take(most)
    }

    /// The beginning of a key.
    pub(crate) fn key(&self, waiting: &Waiting) -> Option<&[u8]> {
        waiting.key.and_then(|key| self.keys.get(&key)).map(AsRef::as_ref)
    }
}

/// Where one retry partition is read from.
struct LaneStart {
    partition: i32,
    from: Offset,
    settled: RunSet,
}

/// Partitions with nothing to read are left out.
fn begin(admin: &Admin, lanes: &Lanes, topic: &str) -> Result<Vec<LaneStart>, End> {
    // Commits first: what is committed meanwhile is only read once more.
    let commits = admin.commits(&lanes.group, topic)?;
    let places = admin.offsets(topic)?;
    let mut begin = Vec::new();
    for place in &places {
        let commit = commits.iter().find(|commit| commit.partition == place.partition);
        let position = commit.and_then(|commit| {
            let metadata = commit.metadata.clone();
            commit.offset.map(|offset| Position { offset: Offset(offset), metadata })
        });
        let start = lane_start(position.as_ref(), Offset(place.start), Offset(place.end));
        let (from, found) = start.map_err(|newer| newer.into_failure().at(topic))?;
        if from.0 < place.end {
            begin.push(LaneStart { partition: place.partition, from, settled: found.settled });
        }
    }
    Ok(begin)
}

/// Reads these partitions from these offsets to their present ends.
pub(crate) fn pass(
    options: &KafkaOptions,
    topic: &str,
    from: Vec<(i32, i64)>,
    output: &Output,
    each: &mut dyn FnMut(RecordView<'_>),
) -> Result<(), End> {
    let mut reader = Reader::open(options, topic, ReadFrom::At(from), ReadUntil::EndNow)?;
    let mut watch = Watch::new(topic, reader.offsets_at_open(), "copies", output);
    while let Some(records) = reader.visit_batch(LOOK, each)? {
        watch.went_on(records as u64)?;
    }
    watch.finish();
    Ok(())
}

/// What the headers of a copy say; none when it is no copy of a record of this very input partition.
pub(super) fn copy_of(letter: &LetterRef<'_>, input: &str, partition: i32) -> Option<LetterHeaders> {
    let said = letter.headers().ok().flatten()?;
    let origin = &said.origin;
    let own = letter.kind() == longshore_core::letter::LetterKind::Longshore
        && origin.topic.as_str() == input
        && origin.partition.0 == partition
        && origin.index == 0;
    own.then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn waiting(copy: i64, attempt: u32, replays: u32, key: &str) -> Waiting {
        Waiting {
            copy,
            attempt,
            replays,
            due_ms: 0,
            first_failed_ms: 0,
            landed_ms: 7,
            reason: 0,
            key: (!key.is_empty()).then(|| KeyHash::of(key.as_bytes())),
            chosen: true,
            behind: false,
        }
    }

    /// Guarantee: of several copies of one record the one counts that counts for a worker: replay number, then attempts, then
    /// the later one.
    #[test]
    fn of_several_copies_the_highest_counts() {
        let mut backlog = Backlog::default();
        let pair = ("in".to_owned(), 0);
        for (copy, attempt, replays) in [(0, 3, 0), (1, 0, 1), (2, 2, 1), (3, 2, 1), (4, 1, 1), (5, 9, 0)] {
            backlog.keep(pair.clone(), 40, waiting(copy, attempt, replays, "k"));
        }
        assert_eq!(backlog.pairs[&pair][&40].copy, 3);
        assert_eq!((backlog.iter().count(), backlog.superseded), (1, 5));
    }

    /// Guarantee: of a key the record with the lowest offset in the input comes first, wherever its copy stands; records without
    /// a key stand behind nothing.
    #[test]
    fn the_first_of_a_key_is_the_first_of_the_input() {
        let mut backlog = Backlog::default();
        for (origin, copy, key) in [(5, 0, "a"), (3, 9, "a"), (4, 2, "b"), (8, 3, ""), (9, 4, "")] {
            backlog.keep(("in".to_owned(), 0), origin, waiting(copy, 1, 0, key));
        }
        backlog.keep(("in".to_owned(), 1), 7, waiting(0, 1, 0, "a"));
        backlog.arrange(true);
        let behind: Vec<_> = backlog
            .iter()
            .filter(|(_, _, waiting)| waiting.behind)
            .map(|(pair, origin, _)| (pair.1, origin))
            .collect();
        assert_eq!(behind, [(0, 5)]);
    }
}
