//! Questions and orders of an administrator: topics, offsets, groups, lag. Every call blocks, for at most its deadline;
//! in async code use `spawn_blocking`.

mod check;
mod fleet;
mod lag;
mod own;
mod release;
mod rights;
mod session;
mod topics;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longshore_core::{Class, Failure, Reason};

use crate::errors::failure;
use crate::ffi::{Code, GroupFound, OK, PartitionList};
use crate::options::KafkaOptions;

pub use check::{check_topics, require_topic};
pub use fleet::{FleetLook, FleetView, Member, PartitionView};
pub use lag::{LagRow, Unseen};
pub use own::{Difference, Mend, OwnTopic, OwnTopics, Purpose, TopicState, own_settings};
pub use release::Release;
pub use rights::{BrokerAddress, GroupLook, Right, Rights, WriteRule, Writers};
pub(crate) use session::Session;
pub use topics::{NewTopic, TopicInfo};
pub(crate) use topics::{is_missing, missing};

/// How long one question may take, unless [`Admin::with_deadline`] says otherwise.
pub(crate) const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// The group that clients name when they ask about none; nothing joins it or commits for it.
pub(crate) const NO_GROUP: &str = "longshore-admin";

/// Asks and administers a cluster.
pub struct Admin {
    options: KafkaOptions,
    deadline: Duration,
    session: Session,
    /// librdkafka asks for the offsets of a client's own group only, so each group needs a client.
    groups: Mutex<HashMap<String, Arc<Session>>>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("brokers", &self.options.brokers).finish_non_exhaustive()
    }
}

/// Where a partition begins and ends for whoever reads committed records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionOffsets {
    /// The partition.
    pub partition: i32,
    /// The first offset that is still there.
    pub start: i64,
    /// The offset behind the last record; an open transaction ends it.
    pub end: i64,
}

/// A group's commit for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The partition.
    pub partition: i32,
    /// The offset, none before the first commit.
    pub offset: Option<i64>,
    /// What was written with it.
    pub metadata: String,
}

impl Admin {
    /// Connects, with a deadline of 10 s for this and for every question.
    ///
    /// # Errors
    /// [`Reason::BrokerUnavailable`], [`Reason::BrokerAuthentication`] or [`Reason::BrokerConfiguration`].
    pub fn new(options: &KafkaOptions) -> Result<Self, Failure> {
        Self::with_deadline(options, ANSWER_DEADLINE)
    }

    /// Connects; this and every question may take so long.
    ///
    /// # Errors
    /// As [`Admin::new`].
    pub fn with_deadline(options: &KafkaOptions, deadline: Duration) -> Result<Self, Failure> {
        let session = Session::open(options, NO_GROUP, &[], deadline)?;
        Ok(Self { options: options.clone(), deadline, session, groups: Mutex::default() })
    }

    /// The cluster's id.
    ///
    /// # Errors
    /// [`Reason::BrokerUnavailable`] when no broker answers.
    pub fn cluster_id(&self) -> Result<String, Failure> {
        let id = self.session.client().cluster_id(self.deadline);
        id.ok_or_else(|| self.failed(Code::RD_KAFKA_RESP_ERR__TIMED_OUT, "", "cluster id"))
    }

    /// The names of all consumer groups.
    ///
    /// # Errors
    /// Reasons `broker.*`; the embedded broker cannot tell.
    pub fn groups(&self) -> Result<Vec<String>, Failure> {
        let groups = self.session.client().groups(self.deadline);
        groups.map_err(|(code, words)| self.failed(code, &words, "list of groups"))
    }

    /// First and last offsets of all partitions of a topic.
    ///
    /// # Errors
    /// [`Reason::BrokerTopicMissing`] and the other reasons `broker.*`; the first failure, where leaders do not answer.
    pub fn offsets(&self, topic: &str) -> Result<Vec<PartitionOffsets>, Failure> {
        self.offsets_each(topic)?.into_iter().collect()
    }

    /// The same, with the failure of a leader that did not answer in its partition's place.
    fn offsets_each(&self, topic: &str) -> Result<Vec<Result<PartitionOffsets, Failure>>, Failure> {
        let names: Vec<_> =
            (0..self.existing(topic)?.partitions).map(|partition| (topic, partition)).collect();
        let asked = self.session.client().watermarks(&names, self.deadline);
        let found = asked.map_err(|code| self.failed(code, "", &format!("offsets of {topic}")))?;
        let named = names.into_iter().zip(found).map(|((_, partition), found)| match found {
            Ok((start, end)) => Ok(PartitionOffsets { partition, start, end }),
            Err(code) => Err(self.failed(code, "", &format!("offsets of {topic}/{partition}"))),
        });
        Ok(named.collect())
    }

    /// Deletes the records of a topic below these offsets by partition; the first offsets there are then.
    ///
    /// # Errors
    /// The first partition's failure: reasons `broker.*`; the embedded broker cannot do it.
    pub fn delete_records_below(
        &self,
        topic: &str,
        below: &[(i32, i64)],
    ) -> Result<Vec<(i32, i64)>, Failure> {
        let mut list = PartitionList::empty().ok_or_else(no_memory)?;
        for (partition, offset) in below {
            list.add(topic, *partition, *offset, None);
        }
        let what = || format!("delete records of {topic}");
        let answered = self.session.client().delete_records(&list, self.deadline);
        let entries = answered.map_err(|(code, words)| self.failed(code, &words, &what()))?;
        entries
            .into_iter()
            .map(|entry| match entry.code {
                OK => Ok((entry.partition, entry.offset)),
                code => Err(self.failed(code, "", &format!("{}/{}", what(), entry.partition))),
            })
            .collect()
    }

    /// The first offset with this timestamp (milliseconds since 1970) or a later one; none when there is no such
    /// record.
    ///
    /// # Errors
    /// Reasons `broker.*`; the embedded broker cannot tell.
    pub fn offset_at(&self, topic: &str, partition: i32, timestamp_ms: i64) -> Result<Option<i64>, Failure> {
        let what = format!("offset of a time in {topic}/{partition}");
        let asked = self.session.client().offsets_by_time(&[(topic, partition)], timestamp_ms, self.deadline);
        let found = asked.and_then(|found| found.into_iter().next().transpose());
        let found = found.map_err(|code| self.failed(code, "", &what))?;
        Ok(found.filter(|offset| *offset >= 0))
    }

    /// What a group has committed for each partition of a topic.
    ///
    /// # Errors
    /// [`Reason::BrokerTopicMissing`] and the other reasons `broker.*`.
    pub fn committed(&self, group: &str, topic: &str) -> Result<Vec<(i32, Option<i64>)>, Failure> {
        let commits = self.commits(group, topic)?;
        Ok(commits.into_iter().map(|commit| (commit.partition, commit.offset)).collect())
    }

    /// What a group has committed for each partition of a topic, with the metadata, by partition.
    ///
    /// # Errors
    /// [`Reason::BrokerTopicMissing`] and the other reasons `broker.*`.
    pub fn commits(&self, group: &str, topic: &str) -> Result<Vec<Committed>, Failure> {
        let partitions = self.existing(topic)?.partitions;
        let session = self.session_of(group)?;
        let what = || format!("committed offsets of group {group} in topic {topic}");
        let mut list =
            PartitionList::of((0..partitions).map(|partition| (topic, partition))).ok_or_else(no_memory)?;
        let asked = session.client().committed(&mut list, self.deadline);
        asked.map_err(|code| {
            let plain = self.failed(code, "", &what());
            // A coordinator that we may not ask is looked for until the time is up. Asked about the group itself, a broker says so; that one
            // answers at all was seen just now.
            match self.group(group) {
                Err(refused) if refused.class == Class::Halt => refused,
                Ok(_) | Err(_) => plain,
            }
        })?;
        let mut entries = list.entries();
        entries.sort_by_key(|entry| entry.partition);
        entries
            .into_iter()
            .map(|entry| {
                if entry.code != OK {
                    return Err(self.failed(entry.code, "", &what()));
                }
                let metadata = entry.metadata.unwrap_or_default();
                Ok(Committed {
                    partition: entry.partition,
                    offset: (entry.offset >= 0).then_some(entry.offset),
                    metadata: String::from_utf8_lossy(&metadata).into_owned(),
                })
            })
            .collect()
    }

    /// Who is a member of a group, as `client at host`.
    ///
    /// # Errors
    /// Reasons `broker.*`; the embedded broker cannot tell.
    pub fn group_members(&self, group: &str) -> Result<Vec<String>, Failure> {
        Ok(self
            .group(group)?
            .members
            .into_iter()
            .map(|member| format!("{} at {}", member.client_id, member.host.trim_start_matches('/')))
            .collect())
    }

    fn group(&self, group: &str) -> Result<GroupFound, Failure> {
        let found = self.session.client().group(group, false, self.deadline);
        found.map_err(|(code, words)| self.failed(code, &words, &format!("members of group {group}")))
    }

    /// Commits these offsets, by topic, for a group that has no members, all in one request. The broker refuses it while somebody is one.
    ///
    /// # Errors
    /// The first partition's failure, or that of the request: reasons `broker.*`.
    pub fn commit_for(&self, group: &str, commits: &[(&str, Committed)]) -> Result<(), Failure> {
        let session = self.session_of(group)?;
        let mut list = PartitionList::empty().ok_or_else(no_memory)?;
        for (topic, commit) in commits {
            list.add(topic, commit.partition, commit.offset.unwrap_or(0), Some(&commit.metadata));
        }
        let what = || format!("commit for group {group}");
        let told = session.client().commit_now(&list);
        let refused = list.entries().into_iter().find(|entry| entry.code != OK);
        match (told, refused) {
            (Ok(()), None) => Ok(()),
            (_, Some(entry)) => Err(self.failed(
                entry.code,
                "",
                &format!("{} to {}/{}", what(), entry.topic, entry.partition),
            )),
            (Err(code), None) => Err(self.failed(code, "", &what())),
        }
    }

    fn session_of(&self, group: &str) -> Result<Arc<Session>, Failure> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = groups.get(group) {
            return Ok(Arc::clone(session));
        }
        let session = Arc::new(Session::open(&self.options, group, &[], self.deadline)?);
        groups.insert(group.to_owned(), Arc::clone(&session));
        Ok(session)
    }

    /// The failure of a code with the broker's words, which name topics and settings and no secret. When the client
    /// noted that it is refused, that is the cause.
    fn failed(&self, code: Code, words: &str, what: &str) -> Failure {
        self.session.refused().unwrap_or_else(|| {
            let plain = failure(code, what);
            if words.is_empty() {
                return plain;
            }
            Failure::new(plain.class, plain.reason, format!("{}; {words}", plain.detail()))
        })
    }
}

fn no_memory() -> Failure {
    Failure::halt(Reason::Internal, "no memory")
}
