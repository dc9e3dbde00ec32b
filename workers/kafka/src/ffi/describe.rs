//! What brokers say of topics, groups and themselves, with what we may do there.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as sys;
use rdkafka::bindings::rd_kafka_consumer_group_state_t as State;
use rdkafka::bindings::rd_kafka_consumer_group_type_t as Type;

use super::admin::{Options, answer, queue};
use super::{Client, Code, OK, c_string, text};

/// What may be done with a topic or a group, as Kafka's access lists name it.
pub(crate) use sys::rd_kafka_AclOperation_t as Operation;

/// How late an answer may come to a client that has outlived the question: the most that librdkafka takes.
const LATEST: Duration = Duration::from_secs(3_600);

/// What a group is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum GroupState {
    /// There is no such group.
    #[default]
    Missing,
    /// It has no members.
    Empty,
    /// Its partitions are being dealt out.
    Rebalancing,
    /// Its members have their partitions.
    Stable,
}

/// The protocol that a group's members speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum GroupKind {
    /// The protocol that every broker speaks.
    Classic,
    /// That of KIP-848.
    Consumer,
    /// The broker did not say.
    #[default]
    Unknown,
}

/// A consumer group.
#[derive(Debug, Default)]
pub(crate) struct GroupFound {
    pub(crate) state: GroupState,
    pub(crate) kind: GroupKind,
    /// How its partitions are dealt out; empty when the broker did not say.
    pub(crate) assignor: String,
    pub(crate) members: Vec<MemberFound>,
    /// What we may do with it; none when it was not asked or the broker did not say.
    pub(crate) allowed: Option<Vec<Operation>>,
}

/// A member of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberFound {
    /// What it calls itself.
    pub(crate) client_id: String,
    /// Its address as the broker sees it; Java writes a `/` before it.
    pub(crate) host: String,
    /// The partitions that it has by topic.
    pub(crate) partitions: Vec<(String, i32)>,
}

/// Copies a member out.
///
/// # Safety
/// `member` is alive.
unsafe fn member(member: *const sys::rd_kafka_MemberDescription_t) -> MemberFound {
    // SAFETY: by this function's contract; what it points to lives as long as it, and its list may be null.
    unsafe {
        let assignment = sys::rd_kafka_MemberDescription_assignment(member);
        let list = if assignment.is_null() {
            std::ptr::null()
        } else {
            sys::rd_kafka_MemberAssignment_partitions(assignment)
        };
        let partitions = super::list::entries(list);
        MemberFound {
            client_id: text(sys::rd_kafka_MemberDescription_client_id(member)),
            host: text(sys::rd_kafka_MemberDescription_host(member)),
            partitions: partitions.into_iter().map(|entry| (entry.topic, entry.partition)).collect(),
        }
    }
}

/// Where a broker says that it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerFound {
    pub(crate) id: i32,
    pub(crate) host: String,
    pub(crate) port: u16,
}

/// A topic's id in Kafka's base64 spelling, and what we may do with it, each none when the broker did not say.
type TopicTold = (Option<String>, Option<Vec<Operation>>);

/// Copies a list of operations; none for null, which is how librdkafka says that it was not told.
///
/// # Safety
/// `list` is null or has `count` elements, which librdkafka made of its own enumeration.
unsafe fn operations(list: *const Operation, count: usize) -> Option<Vec<Operation>> {
    if list.is_null() {
        return None;
    }
    // SAFETY: by this function's contract.
    Some(unsafe { std::slice::from_raw_parts(list, count) }.to_vec())
}

impl Client {
    /// The topic's id in Kafka's base64 spelling; none when the broker has no ids or no such topic.
    ///
    /// # Errors
    /// Code and text of what went wrong.
    pub(crate) fn topic_id(
        self: &Arc<Self>,
        topic: &str,
        timeout: Duration,
    ) -> Result<Option<String>, (Code, String)> {
        Ok(self.describe_topic(topic, false, timeout)?.0)
    }

    /// What we may do with a topic; none when the broker does not say.
    ///
    /// # Errors
    /// Code and text of what went wrong.
    pub(crate) fn topic_rights(
        self: &Arc<Self>,
        topic: &str,
        timeout: Duration,
    ) -> Result<Option<Vec<Operation>>, (Code, String)> {
        Ok(self.describe_topic(topic, true, timeout)?.1)
    }

    fn describe_topic(
        self: &Arc<Self>,
        topic: &str,
        rights: bool,
        timeout: Duration,
    ) -> Result<TopicTold, (Code, String)> {
        // Any broker knows; the mock cluster has no controller, which would be asked otherwise.
        self.ask_any(timeout, |broker, timeout| self.describe_topic_of(broker, topic, rights, timeout))
    }

    fn describe_topic_of(
        self: &Arc<Self>,
        broker: i32,
        topic: &str,
        rights: bool,
        timeout: Duration,
    ) -> Result<TopicTold, (Code, String)> {
        let queue = queue(self)?;
        let options = Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, timeout);
        options.ask(broker);
        if rights {
            options.with_rights();
        }
        let name = c_string(topic);
        // SAFETY: all handles are alive through the calls; what the result points to lives as long as the event.
        unsafe {
            let mut names = [name.as_ptr()];
            let collection = sys::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1);
            sys::rd_kafka_DescribeTopics(self.raw(), collection, options.0, queue.raw());
            sys::rd_kafka_TopicCollection_destroy(collection);
            let event = answer(&queue, timeout)?;
            let result = sys::rd_kafka_event_DescribeTopics_result(event.0);
            let mut count = 0;
            let topics = sys::rd_kafka_DescribeTopics_result_topics(result, &mut count);
            if count == 0 {
                return Ok((None, None));
            }
            let description = *topics;
            let error = sys::rd_kafka_TopicDescription_error(description);
            if !error.is_null() && sys::rd_kafka_error_code(error) != OK {
                return Err((sys::rd_kafka_error_code(error), text(sys::rd_kafka_error_string(error))));
            }
            let mut count = 0;
            let list = sys::rd_kafka_TopicDescription_authorized_operations(description, &mut count);
            let allowed = operations(list, count);
            let id = sys::rd_kafka_TopicDescription_topic_id(description);
            if id.is_null() {
                return Ok((None, allowed));
            }
            let spelled = text(sys::rd_kafka_Uuid_base64str(id));
            // An all-zero id is how a broker without topic ids answers.
            let known = !spelled.is_empty() && spelled.bytes().any(|byte| byte != b'A');
            Ok((known.then_some(spelled), allowed))
        }
    }

    /// A group and its members; with `rights` what we may do with it as well, which old brokers cannot tell.
    ///
    /// # Errors
    /// Code and text of what went wrong.
    pub(crate) fn group(
        self: &Arc<Self>,
        group: &str,
        rights: bool,
        timeout: Duration,
    ) -> Result<GroupFound, (Code, String)> {
        let queue = queue(self)?;
        // The client's own deadline is far beyond ours: an answer that comes after it ends the process in an assertion (librdkafka #4605), and one
        // that comes after ours only finds nobody.
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
        let options = Options::new(self, operation, timeout.max(LATEST));
        if rights {
            options.with_rights();
        }
        let name = c_string(group);
        // SAFETY: all handles are alive through the calls; what the result points to lives as long as the event.
        unsafe {
            let mut names = [name.as_ptr()];
            sys::rd_kafka_DescribeConsumerGroups(self.raw(), names.as_mut_ptr(), 1, options.0, queue.raw());
            let event = answer(&queue, timeout)?;
            let result = sys::rd_kafka_event_DescribeConsumerGroups_result(event.0);
            let mut count = 0;
            let groups = sys::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
            if count == 0 { Ok(GroupFound::default()) } else { group_found(*groups) }
        }
    }

    /// Where the cluster's brokers say that they are reached.
    ///
    /// # Errors
    /// Code and text of what went wrong.
    pub(crate) fn brokers(self: &Arc<Self>, timeout: Duration) -> Result<Vec<BrokerFound>, (Code, String)> {
        let queue = queue(self)?;
        let operation = sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER;
        let options = Options::new(self, operation, timeout);
        // SAFETY: all handles are alive through the calls; what the result points to lives as long as the event.
        unsafe {
            sys::rd_kafka_DescribeCluster(self.raw(), options.0, queue.raw());
            let event = answer(&queue, timeout)?;
            let result = sys::rd_kafka_event_DescribeCluster_result(event.0);
            let mut count = 0;
            let nodes = sys::rd_kafka_DescribeCluster_result_nodes(result, &mut count);
            let found = (0..count).map(|index| {
                let node = *nodes.add(index);
                BrokerFound {
                    id: sys::rd_kafka_Node_id(node),
                    host: text(sys::rd_kafka_Node_host(node)),
                    port: sys::rd_kafka_Node_port(node),
                }
            });
            Ok(found.collect())
        }
    }
}

/// What a group is at. One of the protocol `consumer` (KIP-848) is `Assigning` or `Reconciling` while it deals its partitions out, words that
/// the client takes for unknown ones.
fn state_of(state: State) -> GroupState {
    match state {
        State::RD_KAFKA_CONSUMER_GROUP_STATE_PREPARING_REBALANCE
        | State::RD_KAFKA_CONSUMER_GROUP_STATE_COMPLETING_REBALANCE
        | State::RD_KAFKA_CONSUMER_GROUP_STATE_UNKNOWN => GroupState::Rebalancing,
        State::RD_KAFKA_CONSUMER_GROUP_STATE_STABLE => GroupState::Stable,
        State::RD_KAFKA_CONSUMER_GROUP_STATE_EMPTY => GroupState::Empty,
        State::RD_KAFKA_CONSUMER_GROUP_STATE_DEAD | State::RD_KAFKA_CONSUMER_GROUP_STATE__CNT => {
            GroupState::Missing
        }
    }
}

/// Copies the description of a group.
///
/// # Safety
/// The description is alive.
unsafe fn group_found(
    description: *const sys::rd_kafka_ConsumerGroupDescription_t,
) -> Result<GroupFound, (Code, String)> {
    // SAFETY: by this function's contract; what the description points to lives as long as it.
    unsafe {
        let mut count = 0;
        let list = sys::rd_kafka_ConsumerGroupDescription_authorized_operations(description, &mut count);
        let allowed = operations(list, count);
        let error = sys::rd_kafka_ConsumerGroupDescription_error(description);
        if !error.is_null() {
            return match sys::rd_kafka_error_code(error) {
                OK | Code::RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND => {
                    Ok(GroupFound { allowed, ..GroupFound::default() })
                }
                code => Err((code, text(sys::rd_kafka_error_string(error)))),
            };
        }
        let state = state_of(sys::rd_kafka_ConsumerGroupDescription_state(description));
        let kind = match sys::rd_kafka_ConsumerGroupDescription_type(description) {
            Type::RD_KAFKA_CONSUMER_GROUP_TYPE_CONSUMER => GroupKind::Consumer,
            Type::RD_KAFKA_CONSUMER_GROUP_TYPE_CLASSIC => GroupKind::Classic,
            Type::RD_KAFKA_CONSUMER_GROUP_TYPE_UNKNOWN | Type::RD_KAFKA_CONSUMER_GROUP_TYPE__CNT => {
                GroupKind::Unknown
            }
        };
        let members = sys::rd_kafka_ConsumerGroupDescription_member_count(description);
        let members = (0..members)
            .map(|index| member(sys::rd_kafka_ConsumerGroupDescription_member(description, index)));
        Ok(GroupFound {
            state,
            kind,
            assignor: text(sys::rd_kafka_ConsumerGroupDescription_partition_assignor(description)),
            members: members.collect(),
            allowed,
        })
    }
}

/// A rule of the brokers' access lists that lets somebody do something with a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Whom, as `User:NAME`.
    pub(crate) principal: String,
    pub(crate) operation: Operation,
    /// The topic, a prefix of its name, or `*`.
    pub(crate) name: String,
    /// Whether `name` is a prefix.
    pub(crate) prefixed: bool,
}

impl Client {
    /// The rules that let somebody do something with a topic.
    ///
    /// # Errors
    /// Code and text of what went wrong; without access lists the code of that.
    pub(crate) fn topic_rules(
        self: &Arc<Self>,
        topic: &str,
        timeout: Duration,
    ) -> Result<Vec<Rule>, (Code, String)> {
        use sys::rd_kafka_AclPermissionType_t::RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW as ALLOW;
        use sys::rd_kafka_ResourcePatternType_t as Pattern;
        let queue = queue(self)?;
        let options = Options::new(self, sys::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBEACLS, timeout);
        let name = c_string(topic);
        let mut buffer = [0 as std::ffi::c_char; 256];
        // SAFETY: all handles are alive through the calls; the filter is copied by the request and destroyed here; what the result points
        // to lives as long as the event.
        unsafe {
            let filter = sys::rd_kafka_AclBindingFilter_new(
                sys::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC,
                name.as_ptr(),
                Pattern::RD_KAFKA_RESOURCE_PATTERN_MATCH,
                std::ptr::null(),
                std::ptr::null(),
                Operation::RD_KAFKA_ACL_OPERATION_ANY,
                ALLOW,
                buffer.as_mut_ptr(),
                buffer.len(),
            );
            if filter.is_null() {
                return Err((Code::RD_KAFKA_RESP_ERR__INVALID_ARG, text(buffer.as_ptr())));
            }
            sys::rd_kafka_DescribeAcls(self.raw(), filter, options.0, queue.raw());
            sys::rd_kafka_AclBinding_destroy(filter);
            let event = answer(&queue, timeout)?;
            let result = sys::rd_kafka_event_DescribeAcls_result(event.0);
            let mut count = 0;
            let rules = sys::rd_kafka_DescribeAcls_result_acls(result, &mut count);
            let found = (0..count).map(|index| {
                let rule = *rules.add(index);
                let pattern = sys::rd_kafka_AclBinding_resource_pattern_type(rule);
                Rule {
                    principal: text(sys::rd_kafka_AclBinding_principal(rule)),
                    operation: sys::rd_kafka_AclBinding_operation(rule),
                    name: text(sys::rd_kafka_AclBinding_name(rule)),
                    prefixed: pattern == Pattern::RD_KAFKA_RESOURCE_PATTERN_PREFIXED,
                }
            });
            Ok(found.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantee: a group of the newer protocol that is being reconciled, which the client has no word for, is no calm one.
    #[test]
    fn a_state_without_a_word_is_a_rebalance() {
        use State as S;
        assert_eq!(state_of(S::RD_KAFKA_CONSUMER_GROUP_STATE_UNKNOWN), GroupState::Rebalancing);
        assert_eq!(state_of(S::RD_KAFKA_CONSUMER_GROUP_STATE_PREPARING_REBALANCE), GroupState::Rebalancing);
        assert_eq!(state_of(S::RD_KAFKA_CONSUMER_GROUP_STATE_STABLE), GroupState::Stable);
        assert_eq!(state_of(S::RD_KAFKA_CONSUMER_GROUP_STATE_EMPTY), GroupState::Empty);
    }
}
