//! Which codes in the answers to which requests are tried, and what they mean.

use std::collections::VecDeque;

use kafka_protocol::messages::ApiKey;
use longshore_tests::harness::Refusal;
use rdkafka::types::RDKafkaRespErr::{self as Code, *};

use crate::is_full;

/// The group protocol that a worker speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Classic,
    /// That of KIP-848.
    Consumer,
}

/// A code in the answers to one kind of request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Case {
    pub(super) protocol: Protocol,
    pub(super) request: ApiKey,
    pub(super) code: Code,
    pub(super) for_good: bool,
}

impl Case {
    fn told(self) -> (Protocol, ApiKey, Code) {
        (self.protocol, self.request, self.code)
    }

    /// Whether it is over soon, and a worker goes on then by itself.
    pub(super) fn passes(self) -> bool {
        !self.for_good && PASSING.contains(&self.code)
    }

    /// Whether the group denies a member that lives, again and again.
    pub(super) fn takes_for_dead(self) -> bool {
        let member =
            matches!(self.request, ApiKey::Heartbeat | ApiKey::OffsetCommit | ApiKey::ConsumerGroupHeartbeat);
        let denied = [
            RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
            RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
            RD_KAFKA_RESP_ERR_FENCED_MEMBER_EPOCH,
            RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH,
        ];
        member && self.for_good && denied.contains(&self.code)
    }

    /// Whether a record's row may be refused: then it is a letter instead.
    pub(super) fn refuses_records(self) -> bool {
        matches!(self.code, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE | RD_KAFKA_RESP_ERR_INVALID_RECORD)
    }

    /// What a broker does that gives this code. What it refuses it has not done. The others come from a broker that has done it and cannot
    /// say so, and for whoever gets them both may be: so here it has, which is the harder half.
    pub(super) fn refusal(self) -> Refusal {
        match self.code {
            RD_KAFKA_RESP_ERR__TRANSPORT => Refusal::Unanswered,
            RD_KAFKA_RESP_ERR_UNKNOWN
            | RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT
            | RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION
            | RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND => Refusal::Done(self.code as i16),
            code => Refusal::Refused(code as i16),
        }
    }
}

/// What passes by itself, wherever it comes: a worker goes on when it is over.
const PASSING: &[Code] = &[
    RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
    RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
    RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
    RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
    RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
    RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
    RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION,
    RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
    RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
    RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT,
    RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
    RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
    RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
    RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
    RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
    RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
    RD_KAFKA_RESP_ERR_FENCED_MEMBER_EPOCH,
    RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH,
    RD_KAFKA_RESP_ERR__TRANSPORT,
];

/// The codes that Kafka's protocol guide names for a request, those of a broker that is not well, and one that nobody names.
fn codes(protocol: Protocol, request: ApiKey) -> Vec<Code> {
    let coordinator = [
        RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
        RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE,
        RD_KAFKA_RESP_ERR_NOT_COORDINATOR,
        RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
    ];
    let member = [
        RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
        RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
        RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
        RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID,
    ];
    let leader = [
        RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
    ];
    let epoch = [RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID];
    let own: &[Code] = match request {
        ApiKey::OffsetCommit | ApiKey::OffsetFetch if protocol == Protocol::Consumer => &epoch,
        ApiKey::ApiVersions => &[RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION],
        ApiKey::DescribeConfigs => {
            &[RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART]
        }
        ApiKey::ConsumerGroupHeartbeat => &[
            RD_KAFKA_RESP_ERR_FENCED_MEMBER_EPOCH,
            RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
            RD_KAFKA_RESP_ERR_UNRELEASED_INSTANCE_ID,
            RD_KAFKA_RESP_ERR_UNSUPPORTED_ASSIGNOR,
            RD_KAFKA_RESP_ERR_GROUP_MAX_SIZE_REACHED,
            RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION,
        ],
        ApiKey::Metadata => &[
            RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
            RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
            RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            RD_KAFKA_RESP_ERR_REBOOTSTRAP_REQUIRED,
        ],
        ApiKey::FindCoordinator => {
            &[RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED]
        }
        ApiKey::JoinGroup => &[
            RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
            RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
            RD_KAFKA_RESP_ERR_GROUP_MAX_SIZE_REACHED,
            RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL,
            RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT,
        ],
        ApiKey::SyncGroup | ApiKey::Heartbeat | ApiKey::LeaveGroup => &member,
        ApiKey::OffsetFetch => {
            &[RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]
        }
        ApiKey::OffsetCommit => &[
            RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION,
            RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID,
            RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
            RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE,
            RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        ],
        ApiKey::OffsetForLeaderEpoch => {
            &[RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH, RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH]
        }
        ApiKey::ListOffsets => &[RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE],
        ApiKey::Fetch => &[
            RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE,
            RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE,
            RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH,
            RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH,
        ],
        ApiKey::InitProducerId => {
            &[RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH]
        }
        ApiKey::Produce => &[
            RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
            RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER,
            RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID,
            RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH,
            RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
            RD_KAFKA_RESP_ERR_INVALID_RECORD,
        ],
        _ => &[],
    };
    let shared: &[Code] = match request {
        ApiKey::JoinGroup
        | ApiKey::SyncGroup
        | ApiKey::Heartbeat
        | ApiKey::LeaveGroup
        | ApiKey::ConsumerGroupHeartbeat => &coordinator,
        ApiKey::OffsetFetch | ApiKey::OffsetCommit | ApiKey::InitProducerId => &coordinator[..3],
        ApiKey::ListOffsets | ApiKey::Fetch | ApiKey::Produce | ApiKey::OffsetForLeaderEpoch => &leader,
        _ => &[],
    };
    let any = [
        RD_KAFKA_RESP_ERR_UNKNOWN,
        RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION,
        RD_KAFKA_RESP_ERR_INVALID_REQUEST,
        // The connection ends instead of an answer.
        RD_KAFKA_RESP_ERR__TRANSPORT,
    ];
    own.iter().chain(shared).chain(&any).copied().collect()
}

/// What a worker asks on its way from its start to its end.
const REQUESTS: [ApiKey; 14] = [
    ApiKey::ApiVersions,
    ApiKey::Metadata,
    ApiKey::DescribeConfigs,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::SyncGroup,
    ApiKey::Heartbeat,
    ApiKey::OffsetFetch,
    ApiKey::ListOffsets,
    ApiKey::Fetch,
    ApiKey::OffsetCommit,
    ApiKey::InitProducerId,
    ApiKey::Produce,
    ApiKey::LeaveGroup,
];

/// What it asks otherwise with the protocol of KIP-848.
const NEWER: [ApiKey; 3] = [ApiKey::ConsumerGroupHeartbeat, ApiKey::OffsetFetch, ApiKey::OffsetCommit];

/// Whether a worker's requests of this kind are tried.
pub(super) fn is_tried(request: ApiKey) -> bool {
    REQUESTS.contains(&request) || NEWER.contains(&request) || request == ApiKey::OffsetForLeaderEpoch
}

/// The part of their names by which somebody chooses cases; all when it is empty.
fn only() -> String {
    std::env::var("LONGSHORE_CODES").unwrap_or_default()
}

/// Those that stay, in the short form as well: one that is told at once, of each request one that librdkafka tries again without a word, and one by which a
/// living member is none.
const STAY: [(Protocol, ApiKey, Code); 5] = [
    (Protocol::Classic, ApiKey::SyncGroup, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE),
    (Protocol::Classic, ApiKey::OffsetCommit, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED),
    (Protocol::Classic, ApiKey::Fetch, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION),
    (Protocol::Classic, ApiKey::Fetch, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED),
    (Protocol::Consumer, ApiKey::OffsetCommit, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID),
];

/// All of them, for a while and for good; in the short form the first code of each request for a while, and of its settings one that passes, and those
/// of [`STAY`]. What stays comes first, since it takes longest.
pub(super) fn cases() -> VecDeque<Case> {
    let classic = REQUESTS.map(|request| (Protocol::Classic, request));
    let newer = NEWER.map(|request| (Protocol::Consumer, request));
    chosen(classic.into_iter().chain(newer))
}

/// The same of the question about a leader's epoch, for a while or for good.
pub(super) fn cases_of_epochs(for_good: bool) -> VecDeque<Case> {
    let mut cases = chosen([(Protocol::Classic, ApiKey::OffsetForLeaderEpoch)]);
    cases.retain(|case| case.for_good == for_good);
    cases
}

fn chosen(requests: impl IntoIterator<Item = (Protocol, ApiKey)>) -> VecDeque<Case> {
    let all = requests.into_iter().flat_map(|(protocol, request)| {
        codes(protocol, request).into_iter().enumerate().flat_map(move |(place, code)| {
            [false, true].map(|for_good| (place, Case { protocol, request, code, for_good }))
        })
    });
    let only = only();
    let is_short = |(place, case): &(usize, Case)| {
        let stays = case.for_good && STAY.contains(&case.told());
        let is_asked_once = matches!(case.request, ApiKey::DescribeConfigs);
        let passes = is_asked_once && case.code == RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT;
        stays || (!case.for_good && (*place == 0 || passes))
    };
    let wanted = |told: &(usize, Case)| {
        let named = !only.is_empty() && format!("{:?}", told.1).contains(&only);
        named || (only.is_empty() && (is_full() || is_short(told)))
    };
    let mut cases: Vec<_> = all.filter(wanted).map(|(_, case)| case).collect();
    cases.sort_by_key(|case| !case.for_good);
    cases.into()
}
