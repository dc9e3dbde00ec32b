//! What goes wrong: no broker, no topic, offsets that are gone, commits refused by the broker.

use std::time::{Duration, Instant};

use longshore_core::pair::CommitResult;
use longshore_core::source::{SourceCommand, SourceControl, SourceEvent};
use longshore_core::{Class, Failure, Reason};
use longshore_kafka::{Admin, EmbeddedBroker, KafkaOptions, NewTopic};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::support::{Source, kafka, publish};

fn trouble(event: SourceEvent) -> Option<Failure> {
    match event {
        SourceEvent::Trouble(failure) => Some(failure),
        _ => None,
    }
}

/// Scenario: nobody listens at the address. Guarantee: it is said once, and the source still ends when told to.
#[test]
fn no_broker_is_said() {
    let source = Source::with(KafkaOptions::plain("127.0.0.1:1"), "in", Duration::from_secs(1), 1 << 20);
    let failure = source.wait("trouble", trouble);
    assert_eq!(failure.reason, Reason::BrokerUnavailable);
    source.shut_down().unwrap();
}

/// Scenario: the brokers go away and come back. Guarantee: trouble, well, and records flow again.
#[test]
fn brokers_that_come_back_are_well() {
    let broker = EmbeddedBroker::start(&[("in", 1)]).unwrap();
    let source = Source::join(&broker, "in");
    let given = source.assigned();
    source.start(&given.pair, given.epoch, 0, 100);
    broker.set_down(true).unwrap();
    source.wait("trouble", trouble);
    broker.set_down(false).unwrap();
    source.wait("well", |event| matches!(event, SourceEvent::Well).then_some(()));
    publish(&broker, "in", 0, &["a"]);
    loop {
        match source.events.recv_timeout(crate::support::DEADLINE).expect("records") {
            SourceEvent::Received(chunk) => break assert_eq!(chunk.len(), 1),
            SourceEvent::Assigned(given) => source.start(&given.pair, given.epoch, 0, 100),
            _ => {}
        }
    }
    source.shut_down().unwrap();
}

/// Scenario: topics are to be made or grown on the embedded broker, which cannot. Guarantee: that is said at once and as
/// something a person must do otherwise, not as a timeout; asking for no topics asks nothing.
#[test]
fn the_embedded_broker_says_that_it_makes_no_topics() {
    let broker = EmbeddedBroker::start(&[("in", 1)]).unwrap();
    let admin = Admin::new(&kafka(&broker)).unwrap();
    let begun = Instant::now();
    let refused = [
        admin.create_topics(&[NewTopic::new("other", 1)]).unwrap_err(),
        admin.grow_topic("in", 2).unwrap_err(),
    ];
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    for failure in refused {
        assert_eq!((failure.class, failure.reason), (Class::Halt, Reason::BrokerConfiguration), "{failure}");
        assert!(failure.detail().contains("real Kafka"), "{failure}");
    }
    admin.create_topics(&[]).unwrap();
}

/// Guarantee: a missing topic is named, as something a person must mend.
#[test]
fn a_missing_topic_is_named() {
    let broker = EmbeddedBroker::start(&[("other", 1)]).unwrap();
    broker.fail_topic("in", RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART).unwrap();
    let source = Source::join(&broker, "in");
    let failure = source.wait("trouble", trouble);
    assert_eq!((failure.class, failure.reason), (Class::Halt, Reason::BrokerTopicMissing));
    assert!(failure.detail().contains("topic in"), "{failure}");
    source.shut_down().unwrap();
}

/// Scenario: the group committed an offset that the log does not reach.
/// Guarantee: the pair is refused, no record is skipped or read again in silence (trap 19).
#[test]
fn an_offset_beyond_the_log_is_refused() {
    let broker = EmbeddedBroker::start(&[("in", 1)]).unwrap();
    publish(&broker, "in", 0, &["a"]);
    let source = Source::join(&broker, "in");
    let given = source.assigned();
    source.commit(&given.pair, given.epoch, 1000, "");
    source.wait("the commit", |event| matches!(event, SourceEvent::Committed { .. }).then_some(()));
    source.shut_down().unwrap();
    let source = Source::join(&broker, "in");
    let failure = source.wait("refusal", |event| match event {
        SourceEvent::Refused { failure, .. } => Some(failure),
        SourceEvent::Assigned(given) => panic!("{given:?}"),
        _ => None,
    });
    assert_eq!((failure.class, failure.reason), (Class::Halt, Reason::OffsetOutOfRange));
    source.shut_down().unwrap();
}

/// Scenario: pairs that the runtime was told of are refused, or are begun anew and cannot be looked up, when a second
/// worker takes one of them. Guarantee: the runtime hears that the pair goes, else it would keep it for ever; nobody
/// waits for the pair's release.
#[test]
fn a_pair_that_stands_still_is_told_of_its_end() {
    for refused in [true, false] {
        let broker = EmbeddedBroker::start(&[("in", 2)]).unwrap();
        if refused {
            let source = Source::join(&broker, "in");
            for given in [source.assigned(), source.assigned()] {
                source.commit(&given.pair, given.epoch, 1000, "");
                source
                    .wait("the commit", |event| matches!(event, SourceEvent::Committed { .. }).then_some(()));
            }
            source.shut_down().unwrap();
        }
        let first = Source::with(kafka(&broker), "in", Duration::from_secs(60), 1 << 20);
        if refused {
            for _ in 0..2 {
                first.wait("refusal", |event| matches!(event, SourceEvent::Refused { .. }).then_some(()));
            }
        } else {
            let both = [first.assigned(), first.assigned()];
            let denied = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 200];
            broker.fail_requests(RDKafkaApiKey::OffsetFetch, &denied).unwrap();
            for given in both {
                first.handle.send(SourceCommand::Reassign { pair: given.pair, epoch: given.epoch });
            }
            first.wait("trouble", trouble);
        }
        let second = Source::join(&broker, "in");
        first.wait("the end", |event| match event {
            SourceEvent::Revoking { .. } | SourceEvent::Lost { .. } => Some(()),
            _ => None,
        });
        second.shut_down().unwrap();
        first.shut_down().unwrap();
    }
}

/// Scenario: the broker answers commits with errors.
/// Guarantee: every commit is answered, and only what speaks about the ownership counts as refused.
#[test]
fn commits_that_fail_are_answered() {
    use RDKafkaRespErr::{RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID};
    for (error, wanted) in [
        (RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION, CommitResult::Unknown),
        (RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID, CommitResult::Refused),
    ] {
        let broker = EmbeddedBroker::start(&[("in", 1)]).unwrap();
        let source = Source::join(&broker, "in");
        let given = source.assigned();
        broker.fail_requests(RDKafkaApiKey::OffsetCommit, &[error]).unwrap();
        source.commit(&given.pair, given.epoch, 0, "");
        let result = source.wait("the answer", |event| match event {
            SourceEvent::Committed { result, .. } => Some(result),
            _ => None,
        });
        assert_eq!(result, wanted, "{error:?}");
        source.shut_down().unwrap();
    }
}

/// Scenario: the coordinator is not ready when pairs are assigned.
/// Guarantee: the pair is asked about again until it can be started; nothing is guessed.
#[test]
fn a_coordinator_that_is_not_ready_is_waited_for() {
    let broker = EmbeddedBroker::start(&[("in", 1)]).unwrap();
    let errors = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 2];
    broker.fail_requests(RDKafkaApiKey::OffsetFetch, &errors).unwrap();
    let source = Source::join(&broker, "in");
    let failure = source.wait("trouble", trouble);
    assert_eq!(failure.reason, Reason::BrokerAuthorization);
    assert_eq!(source.assigned().committed, None);
    source.shut_down().unwrap();
}
