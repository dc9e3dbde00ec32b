//! Questions and orders of an administrator: topics, offsets, groups, lag. Every call blocks for at most its deadline;
//! in async code use `spawn_blocking`.

use std::sync::Arc;
use std::time::Duration;

use longshore_core::{Class, Failure, Reason};

use crate::context::Context;
use crate::errors::failure;
use crate::ffi::{
    Callbacks, Change, Client, Code, Delivery, Entry, Kind, NewTopic, OK, PartitionList, Token,
};
use crate::memory::ClientMemory;
use crate::options::KafkaOptions;
use crate::settings::{Role, settings};

/// How long one question may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// Callbacks of a client that is never polled.
struct Quiet(Context);

impl Callbacks for Quiet {
    fn log(&self, level: i32, facility: &str, line: &str) {
        Context::log(level, facility, line);
    }
    fn error(&self, code: Code, reason: &str) {
        tracing::debug!(target: "librdkafka", ?code, "{reason}");
    }
    fn token(&self) -> Result<Token, String> {
        self.0.token()
    }
    fn rebalance(&self, _: Change) {}
    fn committed(&self, _: Vec<Entry>, _: Code) {}
    fn delivered(&self, _: Delivery<'_>) {}
}

/// A client that reads and asks, without joining a group.
pub(crate) fn reading_client(
    options: &KafkaOptions,
    memory: &ClientMemory,
    group: &str,
) -> Result<Arc<Client>, Failure> {
    let settings = settings(options, memory, Role::Reader { group })?;
    Client::new(Kind::Consumer, &settings, Arc::new(Quiet(Context::new(options))))
        .map_err(|reason| Failure::halt(Reason::BrokerConfiguration, reason))
}

/// An administrator's client; clone it freely.
#[derive(Clone)]
pub struct Admin {
    client: Arc<Client>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// A topic as the brokers have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: u32,
}

/// One setting of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSetting {
    /// Its name.
    pub name: String,
    /// Its value; none for what the broker keeps secret.
    pub value: Option<String>,
    /// Whether it is the broker's default.
    pub is_default: bool,
}

/// First and end offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// The log's first offset.
    pub start: i64,
    /// The offset behind the log's last record.
    pub end: i64,
}

/// What a group committed for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset.
    pub offset: i64,
    /// Its metadata.
    pub metadata: String,
}

/// How far a group is behind in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLag {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// What the group committed, none if nothing.
    pub committed: Option<CommittedOffset>,
    /// The log's bounds.
    pub watermarks: Watermarks,
}

impl PartitionLag {
    /// Offsets between what is committed (or the log's start) and the log's end. An upper bound of the records to do:
    /// transaction markers, gaps of compaction and what the metadata lists as settled are in it (trap 17).
    pub fn offsets(&self) -> u64 {
        let from = self.committed.as_ref().map_or(self.watermarks.start, |committed| committed.offset);
        u64::try_from(self.watermarks.end - from.max(self.watermarks.start)).unwrap_or(0)
    }
}

/// How far a group is behind in all partitions of some topics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LagReport {
    /// By topic as asked for, then by partition.
    pub partitions: Vec<PartitionLag>,
}

impl LagReport {
    /// The sum over all partitions.
    pub fn total(&self) -> u64 {
        self.partitions.iter().map(PartitionLag::offsets).sum()
    }
}

impl Admin {
    /// A client for questions about topics, and about this group's offsets. It never joins the group.
    ///
    /// # Errors
    /// [`Reason::BrokerConfiguration`] when librdkafka refuses the settings.
    pub fn new(options: &KafkaOptions, group: &str) -> Result<Self, Failure> {
        Ok(Self { client: reading_client(options, &ClientMemory::default(), group)? })
    }

    /// The cluster's id.
    ///
    /// # Errors
    /// [`Reason::BrokerUnavailable`] when no broker answers.
    pub fn cluster_id(&self) -> Result<String, Failure> {
        let id = self.client.cluster_id(DEADLINE);
        id.ok_or_else(|| failure(Code::RD_KAFKA_RESP_ERR__TIMED_OUT, "cluster id"))
    }

    /// The topic's id; empty when the broker has no ids.
    ///
    /// # Errors
    /// What the broker said.
    pub fn topic_id(&self, topic: &str) -> Result<String, Failure> {
        let id =
            self.client.topic_id(topic, DEADLINE).map_err(|error| failed(error, "id of topic", topic))?;
        Ok(id.unwrap_or_default())
    }

    /// All topics.
    ///
    /// # Errors
    /// What the broker said.
    pub fn topics(&self) -> Result<Vec<TopicInfo>, Failure> {
        let found = self.client.topics(None, DEADLINE).map_err(|code| failure(code, "list of topics"))?;
        let found = found.into_iter().filter(|topic| topic.code == OK);
        Ok(found
            .map(|topic| TopicInfo { name: topic.name, partitions: topic.partitions.max(0) as u32 })
            .collect())
    }

    /// How many partitions a topic has; none when there is no such topic.
    ///
    /// # Errors
    /// What the broker said.
    pub fn partitions(&self, topic: &str) -> Result<Option<u32>, Failure> {
        match self.client.partition_count(topic, DEADLINE) {
            Ok(count) => Ok(u32::try_from(count).ok().filter(|count| *count > 0)),
            Err(Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART | Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC) => {
                Ok(None)
            }
            Err(code) => Err(failure(code, &format!("topic {topic}"))),
        }
    }

    /// Makes a topic. `replication` of none is the broker's default. A topic that is there already is left as it is,
    /// and that is no error: false is returned.
    ///
    /// # Errors
    /// What the broker said.
    pub fn create_topic(
        &self,
        topic: &str,
        partitions: u32,
        replication: Option<u16>,
        settings: &[(String, String)],
    ) -> Result<bool, Failure> {
        let new = NewTopic {
            name: topic,
            partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
            replication: replication.map_or(-1, i32::from),
            configs: settings,
        };
        match self.client.create_topic(&new, DEADLINE) {
            Ok(()) => Ok(true),
            Err((Code::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS, _)) => Ok(false),
            Err(error) => Err(failed(error, "create topic", topic)),
        }
    }

    /// Grows a topic to so many partitions in all.
    ///
    /// # Errors
    /// What the broker said.
    pub fn grow_topic(&self, topic: &str, partitions: u32) -> Result<(), Failure> {
        let grown = self.client.grow_topic(topic, partitions as usize, DEADLINE);
        grown.map_err(|error| failed(error, "grow topic", topic))
    }

    /// Deletes a topic; for tests.
    ///
    /// # Errors
    /// What the broker said.
    pub fn delete_topic(&self, topic: &str) -> Result<(), Failure> {
        self.client.delete_topic(topic, DEADLINE).map_err(|error| failed(error, "delete topic", topic))
    }

    /// A topic's settings.
    ///
    /// # Errors
    /// What the broker said.
    pub fn topic_settings(&self, topic: &str) -> Result<Vec<TopicSetting>, Failure> {
        let entries = self.client.topic_configs(topic, DEADLINE);
        let entries = entries.map_err(|error| failed(error, "settings of topic", topic))?;
        let setting = |entry: crate::ffi::ConfigEntry| TopicSetting {
            name: entry.name,
            value: entry.value,
            is_default: entry.is_default,
        };
        Ok(entries.into_iter().map(setting).collect())
    }

    /// The names of all consumer groups.
    ///
    /// # Errors
    /// What the broker said.
    pub fn groups(&self) -> Result<Vec<String>, Failure> {
        self.client.groups(DEADLINE).map_err(|error| failed(error, "list of", "groups"))
    }

    /// First and end offset of a partition.
    ///
    /// # Errors
    /// What the broker said.
    pub fn watermarks(&self, topic: &str, partition: i32) -> Result<Watermarks, Failure> {
        let (start, end) = self
            .client
            .watermarks(topic, partition, DEADLINE)
            .map_err(|code| failure(code, &format!("offsets of {topic}/{partition}")))?;
        Ok(Watermarks { start, end })
    }

    /// The first offset with this timestamp (milliseconds since 1970) or a later one; none when there is no such record.
    ///
    /// # Errors
    /// What the broker said.
    pub fn offset_at(&self, topic: &str, partition: i32, timestamp_ms: i64) -> Result<Option<i64>, Failure> {
        let what = || format!("offset of a time in {topic}/{partition}");
        let mut list = PartitionList::empty().ok_or_else(|| Failure::halt(Reason::Internal, "no memory"))?;
        list.add(topic, partition, timestamp_ms, None);
        self.client.offsets_for_times(&mut list, DEADLINE).map_err(|code| failure(code, &what()))?;
        match list.entries().first() {
            Some(entry) if entry.code != OK => Err(failure(entry.code, &what())),
            Some(entry) => Ok(Some(entry.offset).filter(|offset| *offset >= 0)),
            None => Ok(None),
        }
    }

    /// What the group committed for these partitions of a topic, in their order.
    ///
    /// # Errors
    /// What the broker said.
    pub fn committed(&self, topic: &str, partitions: u32) -> Result<Vec<Option<CommittedOffset>>, Failure> {
        let what = || format!("committed offsets of {topic}");
        let count = i32::try_from(partitions).unwrap_or(i32::MAX);
        let list = PartitionList::of((0..count).map(|partition| (topic, partition)));
        let mut list = list.ok_or_else(|| Failure::halt(Reason::Internal, "no memory"))?;
        self.client.committed(&mut list, DEADLINE).map_err(|code| failure(code, &what()))?;
        let mut entries = list.entries();
        entries.sort_by_key(|entry| entry.partition);
        entries
            .into_iter()
            .map(|entry| match entry.code {
                OK if entry.offset < 0 => Ok(None),
                OK => Ok(Some(CommittedOffset {
                    offset: entry.offset,
                    metadata: String::from_utf8_lossy(entry.metadata.as_deref().unwrap_or_default())
                        .into_owned(),
                })),
                code => Err(failure(code, &what())),
            })
            .collect()
    }

    /// How far the group is behind in these topics.
    ///
    /// # Errors
    /// What the broker said; [`Reason::BrokerTopicMissing`] for a topic that is not there.
    pub fn lag(&self, topics: &[String]) -> Result<LagReport, Failure> {
        let mut report = LagReport::default();
        for topic in topics {
            let missing = || Failure::new(Class::Halt, Reason::BrokerTopicMissing, format!("topic {topic}"));
            let partitions = self.partitions(topic)?.ok_or_else(missing)?;
            for (partition, committed) in (0..).zip(self.committed(topic, partitions)?) {
                let watermarks = self.watermarks(topic, partition)?;
                report.partitions.push(PartitionLag {
                    topic: topic.clone(),
                    partition,
                    committed,
                    watermarks,
                });
            }
        }
        Ok(report)
    }
}

/// The failure of an admin request. The broker's text names topics and settings, no secret, and says more than the code.
fn failed((code, text): (Code, String), what: &str, name: &str) -> Failure {
    let plain = failure(code, &format!("{what} {name}"));
    if text.is_empty() {
        plain
    } else {
        Failure::new(plain.class, plain.reason, format!("{}; {text}", plain.detail()))
    }
}
