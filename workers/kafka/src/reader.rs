//! Reads ranges of topics without a group: for `tap`, for checks of dead letters, for the account that `dev` prints.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longshore_core::{Failure, Reason};

use crate::admin::{Admin, reading_client};
use crate::errors::{Meaning, failure, meaning};
use crate::ffi::{Client, Code, MessageView, Messages, OK, PartitionList, Queue};
use crate::memory::ClientMemory;
use crate::options::KafkaOptions;

/// Records taken in one poll.
const BATCH_RECORDS: usize = 1024;
/// The group whose name the client carries; nothing is ever committed for it.
const READER_GROUP: &str = "longshore.reader";

/// A record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRecord {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
    /// The broker's timestamp, milliseconds since 1970; -1 when there is none.
    pub timestamp_ms: i64,
    /// The key; none is a null key.
    pub key: Option<Vec<u8>>,
    /// The value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Names and values in their order; names need not be UTF-8.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// A piece of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadRange {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The first offset.
    pub from: i64,
    /// The offset behind the last; none follows the log for ever.
    pub to: Option<i64>,
}

/// Reads ranges of topics, partitions interleaved, offsets rising in each.
pub struct Reader {
    client: Arc<Client>,
    messages: Messages,
    /// Where the ranges that are not read to their end stop.
    open: BTreeMap<(String, i32), Option<i64>>,
    names: Vec<Arc<str>>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("open", &self.open).finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens ranges.
    ///
    /// # Errors
    /// [`Reason::BrokerConfiguration`] when librdkafka refuses the settings.
    pub fn open(options: &KafkaOptions, ranges: &[ReadRange]) -> Result<Self, Failure> {
        let client = reading_client(options, &ClientMemory::default(), READER_GROUP)?;
        let internal = || Failure::halt(Reason::Internal, "no memory");
        let queue = Queue::of_consumer(&client).map(Arc::new).ok_or_else(internal)?;
        let mut list = PartitionList::empty().ok_or_else(internal)?;
        let mut open = BTreeMap::new();
        for range in ranges.iter().filter(|range| range.to.is_none_or(|to| to > range.from)) {
            list.add(&range.topic, range.partition, range.from, None);
            open.insert((range.topic.clone(), range.partition), range.to);
        }
        client.assign(&list).map_err(|code| failure(code, "assign"))?;
        Ok(Self { client, messages: Messages::new(queue, BATCH_RECORDS), open, names: Vec::new() })
    }

    /// Opens all that a topic holds now.
    ///
    /// # Errors
    /// What the broker said; [`Reason::BrokerTopicMissing`] for a topic that is not there.
    pub fn whole(options: &KafkaOptions, topic: &str) -> Result<Self, Failure> {
        Self::open(options, &ranges(options, topic, |start, end| (start, Some(end)))?)
    }

    /// Opens a topic behind its last record, to follow it.
    ///
    /// # Errors
    /// As [`Self::whole`].
    pub fn tail(options: &KafkaOptions, topic: &str) -> Result<Self, Failure> {
        Self::open(options, &ranges(options, topic, |_, end| (end, None))?)
    }

    /// Whether every range was read to its end.
    pub fn finished(&self) -> bool {
        self.open.is_empty()
    }

    /// The next records; none when nothing came within the timeout, or all is read. Blocks.
    ///
    /// # Errors
    /// What the broker said, when it does not pass by itself.
    pub fn read(&mut self, timeout: Duration) -> Result<Vec<ReadRecord>, Failure> {
        let mut records = Vec::new();
        if self.open.is_empty() {
            return Ok(records);
        }
        self.messages.poll(timeout);
        let mut ended = Vec::new();
        for message in self.messages.iter() {
            let place = (message.topic(), message.partition());
            let to = match (message.code(), self.open.get(&place)) {
                (OK, Some(to)) => *to,
                (OK, None) => continue,
                (Code::RD_KAFKA_RESP_ERR__PARTITION_EOF, Some(Some(to))) if message.offset() >= *to => {
                    ended.push(place);
                    continue;
                }
                (code, _) => match meaning(code) {
                    Meaning::Error(longshore_core::Class::Retry { .. }, _)
                    | Meaning::Control
                    | Meaning::Fenced => continue,
                    Meaning::Error(..) => return Err(failure(code, &format!("read {}", place.0))),
                },
            };
            if to.is_none_or(|to| message.offset() < to) {
                records.push(copy(&message, &mut self.names));
            }
            if to.is_some_and(|to| message.offset() + 1 >= to) {
                ended.push(place);
            }
        }
        for place in ended {
            self.close(&place);
        }
        if self.client.fatal().is_some() {
            return Err(failure(Code::RD_KAFKA_RESP_ERR__FATAL, "read"));
        }
        Ok(records)
    }

    /// All records to the end of all ranges.
    ///
    /// # Errors
    /// As [`Self::read`]; [`Reason::BrokerUnavailable`] when nothing came for so long.
    pub fn read_all(&mut self, patience: Duration, mut each: impl FnMut(ReadRecord)) -> Result<(), Failure> {
        let mut quiet_since = std::time::Instant::now();
        while !self.finished() {
            let records = self.read(Duration::from_millis(200))?;
            if !records.is_empty() {
                quiet_since = std::time::Instant::now();
            } else if quiet_since.elapsed() > patience {
                return Err(Failure::target(Reason::BrokerUnavailable, "no record came"));
            }
            records.into_iter().for_each(&mut each);
        }
        Ok(())
    }

    fn close(&mut self, place: &(String, i32)) {
        if self.open.remove(place).is_some()
            && let Some(list) = PartitionList::of([(place.0.as_str(), place.1)])
            && let Err(code) = self.client.pause(&list)
        {
            tracing::debug!(?code, "a partition read to its end was not paused");
        }
    }
}

fn ranges(
    options: &KafkaOptions,
    topic: &str,
    bounds: impl Fn(i64, i64) -> (i64, Option<i64>),
) -> Result<Vec<ReadRange>, Failure> {
    let admin = Admin::new(options, READER_GROUP)?;
    let missing = || failure(Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, &format!("topic {topic}"));
    let partitions = admin.partitions(topic)?.ok_or_else(missing)?;
    (0..i32::try_from(partitions).unwrap_or(i32::MAX))
        .map(|partition| {
            let watermarks = admin.watermarks(topic, partition)?;
            let (from, to) = bounds(watermarks.start, watermarks.end);
            Ok(ReadRange { topic: topic.to_owned(), partition, from, to })
        })
        .collect()
}

fn copy(message: &MessageView<'_>, names: &mut Vec<Arc<str>>) -> ReadRecord {
    let topic = message.topic();
    let known = names.iter().find(|name| ***name == *topic).map(Arc::clone);
    let topic = known.unwrap_or_else(|| {
        let name: Arc<str> = Arc::from(topic);
        names.push(Arc::clone(&name));
        name
    });
    let mut headers = Vec::new();
    message.headers(|name, value| headers.push((name.to_vec(), value.map(<[u8]>::to_vec))));
    ReadRecord {
        topic,
        partition: message.partition(),
        offset: message.offset(),
        timestamp_ms: message.timestamp_ms(),
        key: message.key().map(<[u8]>::to_vec),
        value: message.value().map(<[u8]>::to_vec),
        headers,
    }
}
