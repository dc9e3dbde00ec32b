//! The answers that refuse: for each request that one of our clients makes, what a real broker says that refuses it, in the request's version. Only
//! metadata are the broker's own, with the code put in.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};

use super::Asked;

/// Codes that a broker gives for single partitions of an `OffsetFetch`; others are the group's.
const OF_PARTITIONS: [i16; 3] = [3, 29, 88];
/// `UNSUPPORTED_VERSION`, which a client must be able to read whatever it speaks.
const UNSUPPORTED: i16 = 35;
/// `REBOOTSTRAP_REQUIRED`, the one code of metadata as a whole.
const REBOOTSTRAP: i16 = 129;

/// Whether it is known how a broker refuses this request.
#[must_use]
pub fn can_be_refused(request: ApiKey) -> bool {
    request == ApiKey::Metadata || refuse(request).is_some()
}

type Refuse = fn(&Asked, i16) -> Bytes;

/// The answer that refuses a request.
///
/// # Panics
/// When nobody knows how to.
pub(super) fn refusal(asked: &Asked, code: i16) -> Bytes {
    let refuse = refuse(asked.api).unwrap_or_else(|| panic!("{:?} cannot be refused", asked.api));
    refuse(asked, code)
}

fn refuse(request: ApiKey) -> Option<Refuse> {
    Some(match request {
        ApiKey::ApiVersions => api_versions,
        ApiKey::ConsumerGroupHeartbeat => consumer_group_heartbeat,
        ApiKey::DescribeConfigs => describe_configs,
        ApiKey::Fetch => fetch,
        ApiKey::FindCoordinator => find_coordinator,
        ApiKey::Heartbeat => heartbeat,
        ApiKey::InitProducerId => init_producer_id,
        ApiKey::JoinGroup => join_group,
        ApiKey::LeaveGroup => leave_group,
        ApiKey::ListOffsets => list_offsets,
        ApiKey::OffsetCommit => offset_commit,
        ApiKey::OffsetFetch => offset_fetch,
        ApiKey::OffsetForLeaderEpoch => offset_for_leader_epoch,
        ApiKey::Produce => produce,
        ApiKey::SyncGroup => sync_group,
        _ => return None,
    })
}

/// The broker's metadata in which each topic has this code, and nothing else that is known of it.
pub(super) fn changed(asked: &Asked, mut frame: Bytes, code: i16) -> Bytes {
    let version = asked.version();
    let header = ResponseHeader::decode(&mut frame, MetadataResponse::header_version(version));
    let metadata = header.and_then(|_| MetadataResponse::decode(&mut frame, version));
    let mut metadata = metadata.unwrap_or_else(|error| panic!("no metadata: {error}"));
    if code == REBOOTSTRAP {
        metadata.error_code = code;
    } else {
        for topic in &mut metadata.topics {
            topic.error_code = code;
            topic.partitions.clear();
        }
    }
    encoded(asked, version, &metadata)
}

fn answer<Q: Request>(asked: &Asked, refuse: impl FnOnce(Q) -> Q::Response) -> Bytes {
    let request = Q::decode(&mut asked.body.clone(), asked.version());
    let request = request.unwrap_or_else(|error| panic!("no {:?}: {error}", asked.api));
    encoded(asked, asked.version(), &refuse(request))
}

fn encoded<A: Encodable + HeaderVersion>(asked: &Asked, version: i16, answer: &A) -> Bytes {
    let mut bytes = BytesMut::new();
    let header = ResponseHeader::default().with_correlation_id(asked.header.correlation_id);
    let written = header.encode(&mut bytes, A::header_version(version));
    let written = written.and_then(|()| answer.encode(&mut bytes, version));
    written.unwrap_or_else(|error| panic!("{:?} {version} cannot be refused so: {error}", asked.api));
    bytes.freeze()
}

fn api_versions(asked: &Asked, code: i16) -> Bytes {
    // The one answer that every client can read.
    let version = if code == UNSUPPORTED { 0 } else { asked.version() };
    encoded(asked, version, &ApiVersionsResponse::default().with_error_code(code))
}

fn consumer_group_heartbeat(asked: &Asked, code: i16) -> Bytes {
    answer(asked, |_: ConsumerGroupHeartbeatRequest| {
        ConsumerGroupHeartbeatResponse::default().with_error_code(code)
    })
}

fn describe_configs(asked: &Asked, code: i16) -> Bytes {
    answer(asked, |request: DescribeConfigsRequest| {
        let results = request.resources.into_iter().map(|resource| {
            DescribeConfigsResult::default()
                .with_error_code(code)
                .with_resource_type(resource.resource_type)
                .with_resource_name(resource.resource_name)
        });
        DescribeConfigsResponse::default().with_results(results.collect())
    })
}

fn fetch(asked: &Asked, code: i16) -> Bytes {
    answer(asked, |request: FetchRequest| {
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                PartitionData::default()
                    .with_partition_index(partition.partition)
                    .with_error_code(code)
                    .with_high_watermark(-1)
            });
            FetchableTopicResponse::default()
                .with_partitions(partitions.collect())
                .with_topic(topic.topic)
                .with_topic_id(topic.topic_id)
        });
        FetchResponse::default().with_responses(topics.collect())
    })
}

fn find_coordinator(asked: &Asked, code: i16) -> Bytes {
    let nobody = BrokerId(-1);
    answer(asked, |request: FindCoordinatorRequest| {
        if asked.version() < 4 {
            let refused = FindCoordinatorResponse::default().with_error_code(code);
            return refused.with_node_id(nobody).with_port(-1);
        }
        let coordinators = request.coordinator_keys.into_iter().map(|key| {
            let refused = Coordinator::default().with_key(key).with_error_code(code);
            refused.with_node_id(nobody).with_port(-1)
        });
        FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
    })
}

fn heartbeat(asked: &Asked, code: i16) -> Bytes {
    answer(asked, |_: HeartbeatRequest| HeartbeatResponse::default().with_error_code(code))
}

fn init_producer_id(asked: &Asked, code: i16) -> Bytes {
    answer(asked, |_: InitProducerIdRequest| {
        InitProducerIdResponse::default().with_error_code(code).with_producer_epoch(-1)
    })
}

fn join_group(asked: &Asked, code: i16) -> Bytes {
    answer(asked, |request: JoinGroupRequest| {
        JoinGroupResponse::default().with_error_code(code).with_member_id(request.member_id)
    })
}

fn leave_group(asked: &Asked, code: i16) -> Bytes {
    answer(asked, |request: LeaveGroupRequest| {
        let members = request.members.into_iter().map(|member| {
            let left = MemberResponse::default().with_member_id(member.member_id);
            left.with_group_instance_id(member.group_instance_id)
        });
        LeaveGroupResponse::default().with_error_code(code).with_members(members.collect())
    })
}

fn list_offsets(asked: &Asked, code: i16) -> Bytes {
    answer(asked, |request: ListOffsetsRequest| {
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let refused = ListOffsetsPartitionResponse::default().with_error_code(code);
                refused.with_partition_index(partition.partition_index)
            });
            ListOffsetsTopicResponse::default().with_partitions(partitions.collect()).with_name(topic.name)
        });
        ListOffsetsResponse::default().with_topics(topics.collect())
    })
}

fn offset_commit(asked: &Asked, code: i16) -> Bytes {
    answer(asked, |request: OffsetCommitRequest| {
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let refused = OffsetCommitResponsePartition::default().with_error_code(code);
                refused.with_partition_index(partition.partition_index)
            });
            OffsetCommitResponseTopic::default().with_partitions(partitions.collect()).with_name(topic.name)
        });
        OffsetCommitResponse::default().with_topics(topics.collect())
    })
}

fn offset_fetch(asked: &Asked, code: i16) -> Bytes {
    let (of_group, of_partition) = if OF_PARTITIONS.contains(&code) { (0, code) } else { (code, 0) };
    answer(asked, |request: OffsetFetchRequest| {
        // A refused group has no topics.
        let has_topics = of_group == 0;
        let topics = request.topics.into_iter().flatten().filter(|_| has_topics).map(|topic| {
            let partitions = topic.partition_indexes.iter().map(|index| {
                let refused = OffsetFetchResponsePartition::default().with_error_code(of_partition);
                refused.with_partition_index(*index).with_committed_offset(-1)
            });
            OffsetFetchResponseTopic::default().with_partitions(partitions.collect()).with_name(topic.name)
        });
        let answer = OffsetFetchResponse::default().with_topics(topics.collect());
        if asked.version() < 8 {
            return answer.with_error_code(of_group);
        }
        let groups = request.groups.into_iter().map(|group| {
            let topics = group.topics.into_iter().flatten().filter(|_| has_topics).map(|topic| {
                let partitions = topic.partition_indexes.iter().map(|index| {
                    let refused = OffsetFetchResponsePartitions::default().with_error_code(of_partition);
                    refused.with_partition_index(*index).with_committed_offset(-1)
                });
                OffsetFetchResponseTopics::default()
                    .with_partitions(partitions.collect())
                    .with_name(topic.name)
            });
            let refused = OffsetFetchResponseGroup::default().with_error_code(of_group);
            refused.with_group_id(group.group_id).with_topics(topics.collect())
        });
        answer.with_groups(groups.collect())
    })
}

fn offset_for_leader_epoch(asked: &Asked, code: i16) -> Bytes {
    answer(asked, |request: OffsetForLeaderEpochRequest| {
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                EpochEndOffset::default().with_error_code(code).with_partition(partition.partition)
            });
            OffsetForLeaderTopicResult::default()
                .with_partitions(partitions.collect())
                .with_topic(topic.topic)
        });
        OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
    })
}

fn produce(asked: &Asked, code: i16) -> Bytes {
    answer(asked, |request: ProduceRequest| {
        let topics = request.topic_data.into_iter().map(|topic| {
            let partitions = topic.partition_data.iter().map(|partition| {
                let refused = PartitionProduceResponse::default().with_error_code(code);
                refused.with_index(partition.index).with_base_offset(-1)
            });
            TopicProduceResponse::default()
                .with_partition_responses(partitions.collect())
                .with_name(topic.name)
                .with_topic_id(topic.topic_id)
        });
        ProduceResponse::default().with_responses(topics.collect())
    })
}

fn sync_group(asked: &Asked, code: i16) -> Bytes {
    answer(asked, |_: SyncGroupRequest| SyncGroupResponse::default().with_error_code(code))
}
