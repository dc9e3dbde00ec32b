//! Reads a topic's records, in order of each partition, by hand and without a group: nothing is committed. For `tap`, and
//! for the account that `dev` prints.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longshore_core::{Class, Failure, Reason};

use crate::admin::{ANSWER_DEADLINE, NO_GROUP, Session, is_missing, missing};
use crate::errors::{Meaning, failure, meaning};
use crate::ffi::{Code, MessageView, Messages, OK, PartitionList, Queue};
use crate::options::KafkaOptions;

/// The most records of one batch.
const BATCH_RECORDS: usize = 1_000;

/// Where reading begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// With the first record that is still there.
    Start,
    /// Behind the last record there is now.
    End,
    /// At these offsets by partition; other partitions are not read.
    At(Vec<(i32, i64)>),
}

/// Where reading ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadUntil {
    /// At the end that each partition has when the reader is opened.
    EndNow,
    /// Never.
    Forever,
}

/// A record, copied out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadRecord {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// The broker's timestamp, milliseconds since 1970; -1 when there is none.
    pub timestamp_ms: i64,
    /// Its key; none is a null key.
    pub key: Option<Vec<u8>>,
    /// Its value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Names and values in their order; names need not be UTF-8.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl ReadRecord {
    /// The last header of this name, as text.
    pub fn header(&self, name: &str) -> Option<String> {
        let found = self.headers.iter().rev().find(|(found, _)| found == name.as_bytes())?;
        found.1.as_deref().map(|value| String::from_utf8_lossy(value).into_owned())
    }
}

/// A record where it lies in librdkafka's memory: nothing is copied, and nothing of it may be kept.
#[derive(Clone, Copy)]
pub struct RecordView<'a>(MessageView<'a>);

impl std::fmt::Debug for RecordView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordView")
            .field("partition", &self.partition())
            .field("offset", &self.offset())
            .finish()
    }
}

impl<'a> RecordView<'a> {
    /// Its partition.
    pub fn partition(&self) -> i32 {
        self.0.partition()
    }

    /// Its offset.
    pub fn offset(&self) -> i64 {
        self.0.offset()
    }

    /// The broker's timestamp, milliseconds since 1970; -1 when there is none.
    pub fn timestamp_ms(&self) -> i64 {
        self.0.timestamp_ms()
    }

    /// Its key; none is a null key.
    pub fn key(&self) -> Option<&'a [u8]> {
        self.0.key()
    }

    /// Its value; none is a tombstone.
    pub fn value(&self) -> Option<&'a [u8]> {
        self.0.value()
    }

    /// Hands every header to `each`, in order; names need not be UTF-8.
    pub fn headers(&self, each: impl FnMut(&'a [u8], Option<&'a [u8]>)) {
        self.0.headers(each);
    }

    /// The record, copied out.
    pub fn to_record(&self) -> ReadRecord {
        let mut headers = Vec::new();
        self.headers(|name, value| headers.push((name.to_vec(), value.map(<[u8]>::to_vec))));
        ReadRecord {
            partition: self.partition(),
            offset: self.offset(),
            timestamp_ms: self.timestamp_ms(),
            key: self.key().map(<[u8]>::to_vec),
            value: self.value().map(<[u8]>::to_vec),
            headers,
        }
    }
}

/// Reads a topic.
pub struct Reader {
    messages: Messages,
    session: Session,
    topic: String,
    partitions: Vec<Progress>,
    until: ReadUntil,
    offsets_at_open: u64,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// How far one partition is read.
#[derive(Clone, Copy, Debug)]
struct Progress {
    partition: i32,
    next: i64,
    end: i64,
    done: bool,
}

impl Reader {
    /// Begins to read committed records.
    ///
    /// # Errors
    /// [`Reason::BrokerTopicMissing`], [`Reason::BrokerUnavailable`] and the other reasons `broker.*`.
    pub fn open(
        options: &KafkaOptions,
        topic: &str,
        from: ReadFrom,
        until: ReadUntil,
    ) -> Result<Self, Failure> {
        // Retention may delete the first records between question and fetch; who reads from the start goes on with
        // what is left. Elsewhere a missing offset is an error.
        let reset = if from == ReadFrom::Start { "earliest" } else { "error" };
        let session = Session::open(options, NO_GROUP, &[("auto.offset.reset", reset)], ANSWER_DEADLINE)?;
        let partitions = places(&session, topic, &from, until)?;
        let no_memory = || Failure::halt(Reason::Internal, "no memory");
        let mut list = PartitionList::empty().ok_or_else(no_memory)?;
        for place in partitions.iter().filter(|place| !place.done) {
            list.add(topic, place.partition, place.next, None);
        }
        let queue = Arc::new(Queue::of_consumer(session.client()).ok_or_else(no_memory)?);
        session.client().assign(&list).map_err(|code| failure(code, &format!("read topic {topic}")))?;
        let messages = Messages::new(queue, BATCH_RECORDS);
        let before = partitions.iter().map(|place| u64::try_from(place.end - place.next).unwrap_or(0));
        let offsets_at_open = before.sum();
        Ok(Self { messages, session, topic: topic.to_owned(), partitions, until, offsets_at_open })
    }

    /// The next records; empty when none came within `timeout`, none when the end is reached. Blocks.
    ///
    /// # Errors
    /// [`Reason::OffsetOutOfRange`] when offsets were asked for that the topic does not have; reasons `broker.*` for
    /// what does not pass by itself. What passes is waited for, so a broker that is down gives empty batches.
    pub fn next_batch(&mut self, timeout: Duration) -> Result<Option<Vec<ReadRecord>>, Failure> {
        let mut records = Vec::new();
        let visited = self.visit_batch(timeout, &mut |record| records.push(record.to_record()))?;
        Ok(visited.map(|_| records))
    }

    /// As [`Self::next_batch`], but hands the records to `each` without copying them, and gives their number.
    ///
    /// # Errors
    /// As [`Self::next_batch`].
    pub fn visit_batch(
        &mut self,
        timeout: Duration,
        each: &mut dyn FnMut(RecordView<'_>),
    ) -> Result<Option<usize>, Failure> {
        let deadline = Instant::now() + timeout;
        while !self.at_end() {
            let left = deadline.saturating_duration_since(Instant::now());
            let visited = self.poll(left, each)?;
            if visited > 0 || left.is_zero() {
                return Ok(Some(visited));
            }
        }
        Ok(None)
    }

    /// How many offsets lay before the reader when it was opened, gaps counted; what is written later does not count.
    pub fn offsets_at_open(&self) -> u64 {
        self.offsets_at_open
    }

    fn poll(&mut self, timeout: Duration, each: &mut dyn FnMut(RecordView<'_>)) -> Result<usize, Failure> {
        self.messages.poll(timeout);
        let mut visited = 0;
        for message in self.messages.iter() {
            match message.code() {
                OK => {
                    if take(&mut self.partitions, self.until, &message) {
                        visited += 1;
                        each(RecordView(message));
                    }
                }
                Code::RD_KAFKA_RESP_ERR__PARTITION_EOF => ended(&mut self.partitions, &message),
                code => trouble(code, &self.topic, message.partition())?,
            }
        }
        self.session.noted().map_or(Ok(visited), Err)
    }

    fn at_end(&self) -> bool {
        self.until == ReadUntil::EndNow && self.partitions.iter().all(|place| place.done)
    }
}

/// Where each partition begins and ends.
fn places(
    session: &Session,
    topic: &str,
    from: &ReadFrom,
    until: ReadUntil,
) -> Result<Vec<Progress>, Failure> {
    let asked = session.client().partition_count(topic, ANSWER_DEADLINE);
    let count = asked.map_err(|code| {
        if is_missing(code) { missing(topic) } else { failure(code, &format!("topic {topic}")) }
    })?;
    let chosen: Vec<(i32, Option<i64>)> = match from {
        ReadFrom::Start | ReadFrom::End => (0..count).map(|partition| (partition, None)).collect(),
        ReadFrom::At(offsets) => {
            offsets.iter().map(|(partition, offset)| (*partition, Some(*offset))).collect()
        }
    };
    let names: Vec<_> = chosen.iter().map(|(partition, _)| (topic, *partition)).collect();
    // Ends at the first open transaction, since only committed records are read.
    let marks = session.client().watermarks(&names, ANSWER_DEADLINE);
    let marks = marks.map_err(|code| failure(code, &format!("offsets of {topic}")))?;
    chosen
        .into_iter()
        .zip(marks)
        .map(|((partition, at), marks)| {
            let (start, end) =
                marks.map_err(|code| failure(code, &format!("offsets of {topic}/{partition}")))?;
            let next = at.unwrap_or(if *from == ReadFrom::End { end } else { start });
            Ok(Progress { partition, next, end, done: until == ReadUntil::EndNow && next >= end })
        })
        .collect()
}

/// Notes how far its partition is read; false for a record behind the end.
fn take(partitions: &mut [Progress], until: ReadUntil, message: &MessageView<'_>) -> bool {
    let Some(place) = of(partitions, message) else { return false };
    if until == ReadUntil::EndNow {
        place.done |= message.offset() >= place.end - 1;
        return message.offset() < place.end;
    }
    true
}

/// Everything up to here was read: the last offsets may be gaps of compaction or marks of a transaction, which come as
/// no record.
fn ended(partitions: &mut [Progress], message: &MessageView<'_>) {
    if let Some(place) = of(partitions, message) {
        place.done |= message.offset() >= place.end;
    }
}

fn of<'a>(partitions: &'a mut [Progress], message: &MessageView<'_>) -> Option<&'a mut Progress> {
    let wanted = message.partition();
    // Who reads all partitions finds each at its own number.
    let guess =
        usize::try_from(wanted).ok().filter(|at| partitions.get(*at).is_some_and(|p| p.partition == wanted));
    let at = guess.or_else(|| partitions.iter().position(|place| place.partition == wanted))?;
    partitions.get_mut(at)
}

/// What passes by itself is waited for.
fn trouble(code: Code, topic: &str, partition: i32) -> Result<(), Failure> {
    match meaning(code) {
        // The client has to name a group and joins none: who may not use it may read nevertheless.
        _ if code == Code::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED => Ok(()),
        Meaning::Error(Class::Halt | Class::Reject, _) => {
            Err(failure(code, &format!("read {topic}/{partition}")))
        }
        Meaning::Error(Class::Retry { .. }, _) | Meaning::Control | Meaning::Fenced => {
            tracing::debug!(?code, topic, partition, "reading goes on");
            Ok(())
        }
    }
}
