//! What we may do there, and how a group and its brokers are, for whoever looks before a worker starts.

use longshore_core::{Failure, Reason};

use super::{Admin, Release, Session};
use crate::ffi::{Code, GroupKind, GroupState, Operation, Rule};
use crate::options::{GroupProtocol, KafkaOptions};

/// The part of librdkafka's debug log that tells which requests a broker takes; some lines for each connection.
const DEBUG: &str = "feature";

/// An operation of Kafka's access lists that a pipeline has use for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Records are read; a group is joined and its offsets are committed.
    Read,
    /// Records are written.
    Write,
    /// It is asked about at all.
    Describe,
    /// Its settings are read.
    DescribeConfigs,
}

impl Right {
    /// The word of Kafka's tools.
    pub fn word(self) -> &'static str {
        match self {
            Self::Read => "Read",
            Self::Write => "Write",
            Self::Describe => "Describe",
            Self::DescribeConfigs => "DescribeConfigs",
        }
    }

    fn of(operation: Operation) -> Option<Self> {
        match operation {
            Operation::RD_KAFKA_ACL_OPERATION_READ => Some(Self::Read),
            Operation::RD_KAFKA_ACL_OPERATION_WRITE => Some(Self::Write),
            Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE => Some(Self::Describe),
            Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS => Some(Self::DescribeConfigs),
            Operation::RD_KAFKA_ACL_OPERATION_UNKNOWN
            | Operation::RD_KAFKA_ACL_OPERATION_ANY
            | Operation::RD_KAFKA_ACL_OPERATION_ALL
            | Operation::RD_KAFKA_ACL_OPERATION_CREATE
            | Operation::RD_KAFKA_ACL_OPERATION_DELETE
            | Operation::RD_KAFKA_ACL_OPERATION_ALTER
            | Operation::RD_KAFKA_ACL_OPERATION_CLUSTER_ACTION
            | Operation::RD_KAFKA_ACL_OPERATION_ALTER_CONFIGS
            | Operation::RD_KAFKA_ACL_OPERATION_IDEMPOTENT_WRITE
            | Operation::RD_KAFKA_ACL_OPERATION__CNT => None,
        }
    }
}

/// What is known of our rights to something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rights {
    /// These and no others.
    These(Vec<Right>),
    /// None: we may not even ask.
    Refused,
    /// There is no such thing yet, or the broker does not say.
    Untold,
}

impl Rights {
    fn of(told: Option<Vec<Operation>>) -> Self {
        let known = told.map(|told| told.into_iter().filter_map(Right::of).collect());
        known.map_or(Self::Untold, Self::These)
    }
}

/// A rule that lets somebody write to a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteRule {
    /// Whom, as `User:NAME`; `User:*` is everybody.
    pub principal: String,
    /// The operation that it allows: `Write` or `All`.
    pub operation: &'static str,
    /// The topic, a prefix of its name, or `*`.
    pub name: String,
    /// Whether `name` is a prefix.
    pub prefixed: bool,
}

/// Who may write to a topic, beside super users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writers {
    /// Those of these rules.
    These(Vec<WriteRule>),
    /// Everybody: the brokers have no access lists.
    Everybody,
    /// We may not ask: that takes `Describe` on the cluster.
    Untold,
}

/// How a group is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLook {
    /// The word for what it is at; none when there is no such group.
    pub state: Option<&'static str>,
    /// The protocol that its members speak; none when the broker does not say.
    pub protocol: Option<GroupProtocol>,
    /// How its partitions are dealt out; empty without members, or when the broker does not say.
    pub assignor: String,
    /// How many members it has.
    pub members: usize,
    /// What we may do with it.
    pub rights: Rights,
}

/// Where a broker says that it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Its id.
    pub id: i32,
    /// The host that it advertises.
    pub host: String,
    /// The port that it advertises.
    pub port: u16,
}

impl Admin {
    /// As [`Self::with_deadline`], and notes which requests the brokers take, for [`Self::release`].
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn examining(options: &KafkaOptions, deadline: std::time::Duration) -> Result<Self, Failure> {
        let asked = options.client.get("debug").map(ToString::to_string).unwrap_or_default();
        let debug = if asked.is_empty() { DEBUG.to_owned() } else { format!("{asked},{DEBUG}") };
        let session = Session::open(options, super::NO_GROUP, &[("debug", &debug)], deadline)?;
        Ok(Self { options: options.clone(), deadline, session, groups: std::sync::Mutex::default() })
    }

    /// What the brokers that were spoken to are, by the requests that they take; nothing known unless [`Self::examining`].
    pub fn release(&self) -> Release {
        self.session.release()
    }

    /// What we may do with a topic.
    ///
    /// # Errors
    /// [`Reason::BrokerTopicMissing`] and the other reasons `broker.*`, but for a refusal.
    pub fn topic_rights(&self, topic: &str) -> Result<Rights, Failure> {
        match self.session.client().topic_rights(topic, self.deadline) {
            Ok(told) => Ok(Rights::of(told)),
            Err((code, _)) if is_untold(code) => Ok(Rights::Untold),
            Err((code, words)) => self.refused_or(code, &words, &format!("rights to topic {topic}")),
        }
    }

    /// Who may write to a topic.
    ///
    /// # Errors
    /// Reasons `broker.*`, but for a refusal.
    pub fn topic_writers(&self, topic: &str) -> Result<Writers, Failure> {
        let rules = match self.session.client().topic_rules(topic, self.deadline) {
            Ok(rules) => rules,
            Err((Code::RD_KAFKA_RESP_ERR_SECURITY_DISABLED, _)) => return Ok(Writers::Everybody),
            Err((code, _)) if is_untold(code) => return Ok(Writers::Untold),
            Err((code, words)) => {
                self.refused_or(code, &words, &format!("access list of topic {topic}"))?;
                return Ok(Writers::Untold);
            }
        };
        let write = |rule: Rule| {
            let operation = match rule.operation {
                Operation::RD_KAFKA_ACL_OPERATION_WRITE => "Write",
                Operation::RD_KAFKA_ACL_OPERATION_ALL => "All",
                _ => return None,
            };
            Some(WriteRule { principal: rule.principal, operation, name: rule.name, prefixed: rule.prefixed })
        };
        Ok(Writers::These(rules.into_iter().filter_map(write).collect()))
    }

    /// How a group is, and what we may do with it.
    ///
    /// # Errors
    /// Reasons `broker.*`, but for a refusal; the embedded broker cannot tell.
    pub fn group_look(&self, group: &str) -> Result<GroupLook, Failure> {
        let client = self.session.client();
        let what = format!("group {group}");
        let found = match client.group(group, true, self.deadline) {
            Err((code, _)) if is_untold(code) => client.group(group, false, self.deadline),
            told => told,
        };
        let found = match found {
            Ok(found) => found,
            Err((code, words)) => {
                let rights = self.refused_or(code, &words, &what)?;
                let (protocol, assignor) = (None, String::new());
                return Ok(GroupLook { state: None, protocol, assignor, members: 0, rights });
            }
        };
        Ok(GroupLook {
            state: match found.state {
                GroupState::Missing => None,
                GroupState::Empty => Some("empty"),
                GroupState::Rebalancing => Some("rebalancing"),
                GroupState::Stable => Some("stable"),
            },
            protocol: match found.kind {
                GroupKind::Classic => Some(GroupProtocol::Classic),
                GroupKind::Consumer => Some(GroupProtocol::Consumer),
                GroupKind::Unknown => None,
            },
            assignor: found.assignor,
            members: found.members.len(),
            rights: Rights::of(found.allowed),
        })
    }

    /// Where the cluster's brokers say that they are reached.
    ///
    /// # Errors
    /// Reasons `broker.*`.
    pub fn brokers(&self) -> Result<Vec<BrokerAddress>, Failure> {
        let found = self.session.client().brokers(self.deadline);
        let found = found.map_err(|(code, words)| self.failed(code, &words, "list of brokers"))?;
        let address = |found: crate::ffi::BrokerFound| BrokerAddress {
            id: found.id,
            host: found.host,
            port: found.port,
        };
        Ok(found.into_iter().map(address).collect())
    }

    fn refused_or(&self, code: Code, words: &str, what: &str) -> Result<Rights, Failure> {
        let failure = self.failed(code, words, what);
        if failure.reason == Reason::BrokerAuthorization { Ok(Rights::Refused) } else { Err(failure) }
    }
}

/// Whether a broker is too old for the question, or no real one.
fn is_untold(code: Code) -> bool {
    matches!(
        code,
        Code::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE
            | Code::RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED
            | Code::RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION
    )
}
