//! Every error code of librdkafka and of the protocol, classified in one table.
//!
//! The match has no wildcard: a new code of a new librdkafka does not compile until somebody has chosen its class.

use longshore_core::{Class, Failure, Reason, Scope};

use crate::ffi::{Code, describe};

/// What a code means for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// Not an error: a signal of librdkafka, or one that it deals with by itself.
    Control,
    /// The group moved on without us: a commit with this answer is refused, no more.
    Fenced,
    /// An error, with its class and reason.
    Error(Class, Reason),
}

const TARGET: Class = Class::Retry { scope: Scope::Target, after: None };

const fn down() -> Meaning {
    Meaning::Error(TARGET, Reason::BrokerUnavailable)
}

const fn halt(reason: Reason) -> Meaning {
    Meaning::Error(Class::Halt, reason)
}

const fn reject(reason: Reason) -> Meaning {
    Meaning::Error(Class::Reject, reason)
}

/// The one table.
#[rustfmt::skip]
pub(crate) fn meaning(code: Code) -> Meaning {
    use Code::*;
    match code {
        // Signals and what librdkafka settles by itself.
        RD_KAFKA_RESP_ERR_NO_ERROR | RD_KAFKA_RESP_ERR__BEGIN | RD_KAFKA_RESP_ERR__END | RD_KAFKA_RESP_ERR_END_ALL
        | RD_KAFKA_RESP_ERR__PARTITION_EOF | RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS
        | RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS | RD_KAFKA_RESP_ERR__NODE_UPDATE | RD_KAFKA_RESP_ERR__IN_PROGRESS
        | RD_KAFKA_RESP_ERR__NOOP | RD_KAFKA_RESP_ERR__INTR | RD_KAFKA_RESP_ERR__WAIT_CACHE
        | RD_KAFKA_RESP_ERR__DESTROY_BROKER | RD_KAFKA_RESP_ERR__OUTDATED | RD_KAFKA_RESP_ERR__PARTIAL
        | RD_KAFKA_RESP_ERR__NO_OFFSET | RD_KAFKA_RESP_ERR_MEMBER_ID_REQUIRED
        | RD_KAFKA_RESP_ERR_FETCH_SESSION_ID_NOT_FOUND | RD_KAFKA_RESP_ERR_INVALID_FETCH_SESSION_EPOCH
        | RD_KAFKA_RESP_ERR_UNKNOWN_SUBSCRIPTION_ID | RD_KAFKA_RESP_ERR_TELEMETRY_TOO_LARGE
        | RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER | RD_KAFKA_RESP_ERR_ELECTION_NOT_NEEDED
        | RD_KAFKA_RESP_ERR_NO_REASSIGNMENT_IN_PROGRESS => Meaning::Control,

        // The group no longer counts us as the owner.
        RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION | RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID
        | RD_KAFKA_RESP_ERR_FENCED_MEMBER_EPOCH | RD_KAFKA_RESP_ERR_STALE_MEMBER_EPOCH
        | RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST | RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED => Meaning::Fenced,

        // The broker, the network or the coordinator: passes.
        RD_KAFKA_RESP_ERR__TRANSPORT | RD_KAFKA_RESP_ERR__RESOLVE | RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN
        | RD_KAFKA_RESP_ERR__MSG_TIMED_OUT | RD_KAFKA_RESP_ERR__TIMED_OUT | RD_KAFKA_RESP_ERR__TIMED_OUT_QUEUE
        | RD_KAFKA_RESP_ERR__ISR_INSUFF | RD_KAFKA_RESP_ERR__WAIT_COORD | RD_KAFKA_RESP_ERR__PREV_IN_PROGRESS
        | RD_KAFKA_RESP_ERR__STATE | RD_KAFKA_RESP_ERR__RETRY | RD_KAFKA_RESP_ERR__QUEUE_FULL
        | RD_KAFKA_RESP_ERR__PURGE_QUEUE | RD_KAFKA_RESP_ERR__PURGE_INFLIGHT | RD_KAFKA_RESP_ERR__DESTROY
        | RD_KAFKA_RESP_ERR__UNKNOWN_BROKER | RD_KAFKA_RESP_ERR__FAIL | RD_KAFKA_RESP_ERR__BAD_MSG
        | RD_KAFKA_RESP_ERR__BAD_COMPRESSION | RD_KAFKA_RESP_ERR__UNDERFLOW | RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE
        | RD_KAFKA_RESP_ERR_UNKNOWN | RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
        | RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION | RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT
        | RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE | RD_KAFKA_RESP_ERR_REPLICA_NOT_AVAILABLE
        | RD_KAFKA_RESP_ERR_STALE_CTRL_EPOCH | RD_KAFKA_RESP_ERR_NETWORK_EXCEPTION
        | RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS | RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE
        | RD_KAFKA_RESP_ERR_NOT_COORDINATOR | RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS
        | RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND | RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS
        | RD_KAFKA_RESP_ERR_NOT_CONTROLLER | RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR
        | RD_KAFKA_RESP_ERR_LOG_DIR_NOT_FOUND | RD_KAFKA_RESP_ERR_REASSIGNMENT_IN_PROGRESS
        | RD_KAFKA_RESP_ERR_LISTENER_NOT_FOUND | RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH
        | RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH | RD_KAFKA_RESP_ERR_STALE_BROKER_EPOCH
        | RD_KAFKA_RESP_ERR_OFFSET_NOT_AVAILABLE | RD_KAFKA_RESP_ERR_PREFERRED_LEADER_NOT_AVAILABLE
        | RD_KAFKA_RESP_ERR_ELIGIBLE_LEADERS_NOT_AVAILABLE | RD_KAFKA_RESP_ERR_UNSTABLE_OFFSET_COMMIT
        | RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED | RD_KAFKA_RESP_ERR_REBOOTSTRAP_REQUIRED
        | RD_KAFKA_RESP_ERR_INVALID_MSG | RD_KAFKA_RESP_ERR_OPERATION_NOT_ATTEMPTED
        | RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS | RD_KAFKA_RESP_ERR_INCONSISTENT_VOTER_SET
        | RD_KAFKA_RESP_ERR_INVALID_UPDATE_VERSION | RD_KAFKA_RESP_ERR_FEATURE_UPDATE_FAILED
        | RD_KAFKA_RESP_ERR_GROUP_MAX_SIZE_REACHED => down(),

        // The producer's idempotence broke, or the client as a whole: it is built anew.
        RD_KAFKA_RESP_ERR__FATAL | RD_KAFKA_RESP_ERR__INCONSISTENT | RD_KAFKA_RESP_ERR__GAPLESS_GUARANTEE
        | RD_KAFKA_RESP_ERR__FENCED | RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER
        | RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH | RD_KAFKA_RESP_ERR_UNKNOWN_PRODUCER_ID
        | RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING | RD_KAFKA_RESP_ERR_PRODUCER_FENCED
        | RD_KAFKA_RESP_ERR_TRANSACTION_COORDINATOR_FENCED | RD_KAFKA_RESP_ERR_INVALID_TXN_STATE =>
            Meaning::Error(TARGET, Reason::BrokerFatal),

        // Credentials and rights.
        RD_KAFKA_RESP_ERR__AUTHENTICATION | RD_KAFKA_RESP_ERR__SSL
        | RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED | RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM
        | RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE | RD_KAFKA_RESP_ERR_SECURITY_DISABLED
        | RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_AUTH_DISABLED | RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_NOT_FOUND
        | RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_OWNER_MISMATCH
        | RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_REQUEST_NOT_ALLOWED | RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_EXPIRED
        | RD_KAFKA_RESP_ERR_INVALID_PRINCIPAL_TYPE | RD_KAFKA_RESP_ERR_UNACCEPTABLE_CREDENTIAL
        | RD_KAFKA_RESP_ERR_PRINCIPAL_DESERIALIZATION_FAILURE => halt(Reason::BrokerAuthentication),
        RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED | RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED
        | RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED
        | RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        | RD_KAFKA_RESP_ERR_DELEGATION_TOKEN_AUTHORIZATION_FAILED => halt(Reason::BrokerAuthorization),

        // Topics.
        RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC | RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION
        | RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART | RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_ID =>
            halt(Reason::BrokerTopicMissing),
        RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION | RD_KAFKA_RESP_ERR_INVALID_PARTITIONS
        | RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR | RD_KAFKA_RESP_ERR_INVALID_REPLICA_ASSIGNMENT
        | RD_KAFKA_RESP_ERR_INVALID_CONFIG | RD_KAFKA_RESP_ERR_POLICY_VIOLATION
        | RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS | RD_KAFKA_RESP_ERR_TOPIC_DELETION_DISABLED
        | RD_KAFKA_RESP_ERR_UNSUPPORTED_FOR_MESSAGE_FORMAT => halt(Reason::BrokerTopicUnfit),

        // Offsets.
        RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE | RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET
        | RD_KAFKA_RESP_ERR__LOG_TRUNCATION => halt(Reason::OffsetOutOfRange),
        RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE | RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE =>
            halt(Reason::MetadataBroken),

        // One record's fault.
        RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE | RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE
        | RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE => reject(Reason::SinkTooLarge),
        RD_KAFKA_RESP_ERR_INVALID_RECORD | RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP
        | RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD => reject(Reason::SinkRejected),
        RD_KAFKA_RESP_ERR__KEY_SERIALIZATION | RD_KAFKA_RESP_ERR__VALUE_SERIALIZATION
        | RD_KAFKA_RESP_ERR__KEY_DESERIALIZATION | RD_KAFKA_RESP_ERR__VALUE_DESERIALIZATION =>
            reject(Reason::SinkRejected),

        // How we set the client or the group up.
        RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS | RD_KAFKA_RESP_ERR_INCONSISTENT_GROUP_PROTOCOL
        | RD_KAFKA_RESP_ERR_INVALID_GROUP_ID | RD_KAFKA_RESP_ERR_INVALID_SESSION_TIMEOUT
        | RD_KAFKA_RESP_ERR_UNSUPPORTED_VERSION | RD_KAFKA_RESP_ERR_INVALID_REQUEST
        | RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT | RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP
        | RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND | RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE
        | RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID | RD_KAFKA_RESP_ERR_UNRELEASED_INSTANCE_ID
        | RD_KAFKA_RESP_ERR_UNSUPPORTED_ASSIGNOR | RD_KAFKA_RESP_ERR_GROUP_SUBSCRIBED_TO_TOPIC
        | RD_KAFKA_RESP_ERR_RESOURCE_NOT_FOUND | RD_KAFKA_RESP_ERR_DUPLICATE_RESOURCE
        | RD_KAFKA_RESP_ERR__FS | RD_KAFKA_RESP_ERR__INVALID_ARG | RD_KAFKA_RESP_ERR__UNKNOWN_GROUP
        | RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE | RD_KAFKA_RESP_ERR__NOT_IMPLEMENTED
        | RD_KAFKA_RESP_ERR__NOT_CONFIGURED | RD_KAFKA_RESP_ERR__UNKNOWN_PROTOCOL => halt(Reason::BrokerConfiguration),

        // Only a defect of ours leads here.
        RD_KAFKA_RESP_ERR__EXISTING_SUBSCRIPTION | RD_KAFKA_RESP_ERR__CONFLICT | RD_KAFKA_RESP_ERR__READ_ONLY
        | RD_KAFKA_RESP_ERR__NOENT | RD_KAFKA_RESP_ERR__INVALID_TYPE | RD_KAFKA_RESP_ERR__APPLICATION =>
            halt(Reason::Internal),
    }
}

/// The code of a connection's error, from librdkafka's code and words. TLS 1.3 lets a client believe that all is well before
/// the broker has looked at its certificate, so librdkafka tells of a refused one as of any broken connection.
pub(crate) fn refined(code: Code, reason: &str) -> Code {
    // RFC 8446, section 6.2: alerts 42 to 46, 48, 49, 51 and 116 are about certificates.
    let alert = reason.split_once("SSL alert number ").map(|(_, rest)| rest);
    let number =
        alert.and_then(|rest| rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse::<u8>().ok());
    match (code, number) {
        (Code::RD_KAFKA_RESP_ERR__TRANSPORT, Some(42..=46 | 48 | 49 | 51 | 116)) => {
            Code::RD_KAFKA_RESP_ERR__SSL
        }
        _ => code,
    }
}

/// The failure of a code; `what` says in a few words what was being done. Librdkafka's own text is left out: it may
/// quote settings and records.
pub(crate) fn failure(code: Code, what: &str) -> Failure {
    let detail = format!("{what}: {}", describe(code));
    match meaning(code) {
        Meaning::Error(class, reason) => Failure::new(class, reason, detail),
        Meaning::Control | Meaning::Fenced => Failure::new(TARGET, Reason::BrokerUnavailable, detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::all_codes;

    /// Scenario: librdkafka lists every code it knows. Guarantee: each is one that the table names (a code the
    /// bindings did not know would come back as `UNKNOWN`), and has words.
    #[test]
    fn every_code_is_classified() {
        let codes = all_codes();
        assert!(codes.len() > 150, "librdkafka listed only {} codes", codes.len());
        for (code, name) in codes {
            assert!(
                code != Code::RD_KAFKA_RESP_ERR_UNKNOWN || name == "UNKNOWN",
                "{name} is not in the bindings"
            );
            let _ = meaning(code);
            assert!(!failure(code, "test").detail().is_empty());
        }
    }

    #[test]
    fn a_refused_certificate_is_no_broken_connection() {
        let down = Code::RD_KAFKA_RESP_ERR__TRANSPORT;
        let refused = "Receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate required: SSL alert number 116 (after 1ms in state APIVERSION_QUERY)";
        assert_eq!(refined(down, refused), Code::RD_KAFKA_RESP_ERR__SSL);
        assert_eq!(refined(down, "SSL alert number 48"), Code::RD_KAFKA_RESP_ERR__SSL);
        for other in ["Disconnected (after 1ms in state UP)", "SSL alert number 80", "SSL alert number "] {
            assert_eq!(refined(down, other), down, "{other}");
        }
    }

    #[test]
    fn the_classes_that_decide_about_records_are_as_documented() {
        assert_eq!(meaning(Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE), reject(Reason::SinkTooLarge));
        assert_eq!(meaning(Code::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN), down());
        assert_eq!(meaning(Code::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID), Meaning::Fenced);
        assert_eq!(meaning(Code::RD_KAFKA_RESP_ERR__PARTITION_EOF), Meaning::Control);
    }
}
