//! Topics: which there are, how they are set, making and deleting them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use longshore_core::{Class, Failure, Reason};

use super::Admin;
use crate::embedded::EMBEDDED_CLUSTER;
use crate::errors::{Meaning, meaning};
use crate::ffi::{self, Code, OK, TopicFound};

/// How long to wait between two looks for a topic that was just made.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long to wait until a question that was refused for now is asked again: a broker that is not well is not pressed, and it is short against
/// the deadline. Nothing tells when it is well again, so there is nothing else to wait for.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// Copies of each partition, the fewest that one of them has.
    pub replicas: i32,
}

/// A topic to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions it gets.
    pub partitions: u32,
    /// Copies of each partition; none leaves it to the broker.
    pub replicas: Option<i32>,
    /// Settings as Kafka names them.
    pub settings: Vec<(String, String)>,
}

impl NewTopic {
    /// A topic with the broker's own settings.
    pub fn new(name: impl Into<String>, partitions: u32) -> Self {
        Self { name: name.into(), partitions, replicas: None, settings: Vec::new() }
    }
}

impl Admin {
    /// All topics by name, Kafka's own among them.
    ///
    /// # Errors
    /// Reasons `broker.*`.
    pub fn topics(&self) -> Result<Vec<TopicInfo>, Failure> {
        let found = self.session.client().topics(None, self.deadline);
        let found = found.map_err(|code| self.failed(code, "", "list of topics"))?;
        let mut topics: Vec<_> = found.into_iter().filter(|topic| topic.code == OK).map(info).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(topics)
    }

    /// One topic; none when it does not exist. Asking never makes it.
    ///
    /// # Errors
    /// Reasons `broker.*`.
    pub fn topic(&self, name: &str) -> Result<Option<TopicInfo>, Failure> {
        let found = self.session.client().topics(Some(name), self.deadline);
        let found = found.map(|topics| topics.into_iter().find(|topic| topic.name == name));
        match found {
            Ok(Some(topic)) if topic.code == OK => Ok(Some(info(topic))),
            Ok(None) => Ok(None),
            Ok(Some(TopicFound { code, .. })) | Err(code) if is_missing(code) => Ok(None),
            Ok(Some(TopicFound { code, .. })) | Err(code) => {
                Err(self.failed(code, "", &format!("topic {name}")))
            }
        }
    }

    /// The topic's id; empty when the broker has no ids.
    ///
    /// # Errors
    /// Reasons `broker.*`.
    pub fn topic_id(&self, topic: &str) -> Result<String, Failure> {
        let id = self.session.client().topic_id(topic, self.deadline);
        let id = id.map_err(|(code, words)| self.failed(code, &words, &format!("id of topic {topic}")))?;
        Ok(id.unwrap_or_default())
    }

    /// Makes topics, those that can be, and waits until the broker shows them to its clients.
    ///
    /// # Errors
    /// [`Reason::BrokerConfiguration`] at once for the embedded broker, which cannot make topics when asked. Else the first
    /// failure, when all were tried: [`Reason::BrokerTopicUnfit`] for a topic that is there already or that
    /// the broker refuses, [`Reason::BrokerUnavailable`] when it does not show a topic within the deadline, and the
    /// other reasons `broker.*`.
    pub fn create_topics(&self, topics: &[NewTopic]) -> Result<(), Failure> {
        if topics.is_empty() {
            return Ok(());
        }
        self.require_controller()?;
        first_failure(topics.iter().map(|topic| self.create_topic(topic)))?;
        topics.iter().try_for_each(|topic| self.until_shown(&topic.name))
    }

    /// The embedded broker names no controller, and librdkafka would wait for one until the deadline and then speak of
    /// a timeout. A real cluster without one has lost it for a moment and may well be waited for.
    fn require_controller(&self) -> Result<(), Failure> {
        if self.cluster_id()?.starts_with(EMBEDDED_CLUSTER) {
            let detail = "the embedded broker makes no topics when asked: it has those that it was started with; \
                          run this against a real Kafka (`kafka.brokers`), or let `longshore dev` make the topics";
            return Err(Failure::halt(Reason::BrokerConfiguration, detail));
        }
        Ok(())
    }

    /// The controller answers when it has made a topic; the brokers learn of it a moment later, and until then they
    /// tell everyone who asks that there is no such topic.
    fn until_shown(&self, topic: &str) -> Result<(), Failure> {
        let began = Instant::now();
        while self.topic(topic)?.is_none() {
            if began.elapsed() > self.deadline {
                let detail = format!("topic {topic} was made, but no broker shows it yet");
                return Err(Failure::target(Reason::BrokerUnavailable, detail));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(())
    }

    fn create_topic(&self, topic: &NewTopic) -> Result<(), Failure> {
        let new = ffi::NewTopic {
            name: &topic.name,
            partitions: i32::try_from(topic.partitions).unwrap_or(i32::MAX),
            replication: topic.replicas.unwrap_or(-1),
            configs: &topic.settings,
        };
        let made = self.session.client().create_topic(&new, self.deadline);
        made.map_err(|(code, words)| self.failed(code, &words, &format!("create topic {}", topic.name)))
    }

    /// Sets settings of a topic and leaves its others alone.
    ///
    /// # Errors
    /// Reasons `broker.*`.
    pub fn alter_topic(&self, topic: &str, settings: &[(&str, &str)]) -> Result<(), Failure> {
        let altered = self.session.client().alter_topic(topic, settings, self.deadline);
        altered.map_err(|(code, words)| self.failed(code, &words, &format!("settings of topic {topic}")))
    }

    /// Grows a topic to so many partitions in all.
    ///
    /// # Errors
    /// [`Reason::BrokerConfiguration`] at once for the embedded broker; else reasons `broker.*`.
    pub fn grow_topic(&self, topic: &str, partitions: u32) -> Result<(), Failure> {
        self.require_controller()?;
        let grown = self.session.client().grow_topic(topic, partitions as usize, self.deadline);
        grown.map_err(|(code, words)| self.failed(code, &words, &format!("grow topic {topic}")))
    }

    /// Deletes topics, those that can be.
    ///
    /// # Errors
    /// The first failure, when all were tried.
    pub fn delete_topics(&self, names: &[&str]) -> Result<(), Failure> {
        first_failure(names.iter().map(|name| {
            let deleted = self.session.client().delete_topic(name, self.deadline);
            deleted.map_err(|(code, words)| self.failed(code, &words, &format!("delete topic {name}")))
        }))
    }

    /// A topic's settings, the broker's defaults among them, without those it keeps secret; none when the broker
    /// cannot tell (the embedded one). What passes by itself is waited for: librdkafka asks such a question once.
    ///
    /// # Errors
    /// Reasons `broker.*`.
    pub fn describe_topic_settings(&self, name: &str) -> Result<Option<BTreeMap<String, String>>, Failure> {
        let until = Instant::now() + self.deadline;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let (code, words) = match self.session.client().topic_configs(name, left) {
                Ok(entries) => {
                    let told = entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
                    return Ok(Some(told.collect()));
                }
                Err(refused) => refused,
            };
            match code {
                Code::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE
                | Code::RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED
                | Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION => return Ok(None),
                code if passes(code) && Instant::now() + ASK_AGAIN < until => std::thread::sleep(ASK_AGAIN),
                code => return Err(self.failed(code, &words, &format!("settings of topic {name}"))),
            }
        }
    }

    pub(super) fn existing(&self, topic: &str) -> Result<TopicInfo, Failure> {
        self.topic(topic)?.ok_or_else(|| missing(topic))
    }
}

fn info(found: TopicFound) -> TopicInfo {
    TopicInfo { name: found.name, partitions: found.partitions, replicas: found.replicas }
}

/// Whether a code is of a broker that is not well, which passes.
fn passes(code: Code) -> bool {
    matches!(meaning(code), Meaning::Error(_, Reason::BrokerUnavailable))
}

/// Whether a code says that there is no such topic.
pub(crate) fn is_missing(code: Code) -> bool {
    matches!(meaning(code), Meaning::Error(Class::Halt, Reason::BrokerTopicMissing))
}

pub(crate) fn missing(topic: &str) -> Failure {
    Failure::halt(Reason::BrokerTopicMissing, format!("topic {topic} does not exist"))
}

/// Tries all and tells of the first that failed.
fn first_failure(results: impl Iterator<Item = Result<(), Failure>>) -> Result<(), Failure> {
    let mut outcome = Ok(());
    for result in results {
        if outcome.is_ok() {
            outcome = result;
        }
    }
    outcome
}
