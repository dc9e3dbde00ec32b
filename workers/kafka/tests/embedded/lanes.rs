//! A source that reads a retry topic beside its input. That a refused commit of the input holds back the retry lane's needs a broker that refuses
//! one partition of a request: the suite `group` has it.

use longshore_core::pair::CommitResult;
use longshore_core::source::{SourceCommand, SourceControl, SourceEvent};
use longshore_core::{Chunk, Lane, Offset};
use longshore_kafka::{Admin, EmbeddedBroker};

use crate::support::{Source, kafka, position, publish};

const RETRY: &str = "in.p.retry";

/// A member that was handed two records of the input and three of the retry topic.
fn reading(broker: &EmbeddedBroker) -> (Source, longshore_core::source::Assignment) {
    publish(broker, "in", 0, &["a", "b"]);
    publish(broker, RETRY, 0, &["x", "y", "z"]);
    let source = Source::join_lanes(broker, "in", RETRY);
    let given = source.assigned();
    let retry = given.retry.clone().expect("the retry partition comes with its input");
    assert_eq!((retry.topic.as_str(), retry.committed, retry.log_end), (RETRY, None, Offset(3)));
    source.start(&given.pair, given.epoch, 0, 100);
    let (pair, epoch, lane) = (given.pair.clone(), given.epoch, Lane::Retry);
    source.handle.send(SourceCommand::Start { pair: pair.clone(), epoch, lane, offset: Offset(0) });
    source.handle.send(SourceCommand::Grant { pair, epoch, lane, records: 100, bytes: 1 << 30 });
    let mut seen = (0, 0);
    while seen != (2, 3) {
        let chunk: std::sync::Arc<Chunk> = source.received();
        assert_eq!((chunk.pair(), chunk.epoch()), (&given.pair, given.epoch));
        match chunk.lane() {
            Lane::Input => seen.0 += chunk.len(),
            Lane::Retry => seen.1 += chunk.len(),
        }
    }
    (source, given)
}

fn release(source: &Source, given: &longshore_core::source::Assignment, input: Option<i64>) {
    let (pair, epoch) = (given.pair.clone(), given.epoch);
    let (input, retry) = (input.map(|offset| position(offset, "input")), Some(position(3, "retry")));
    source.handle.send(SourceCommand::Release { pair, epoch, position: input, retry });
}

fn answer(event: SourceEvent) -> Option<(Lane, i64, CommitResult)> {
    match event {
        SourceEvent::Committed { lane, offset, result, .. } => Some((lane, offset.0, result)),
        _ => None,
    }
}

fn committed(broker: &EmbeddedBroker, topic: &str) -> Option<i64> {
    Admin::new(&kafka(broker)).unwrap().committed("group", topic).unwrap()[0].1
}

/// Guarantee: at a release the retry lane's offset is committed after the input's was acknowledged; a copy's offset before
/// the record's own would bring the record back after its copy was forgotten (design section 4, "The retry lane", 5).
#[test]
fn a_release_commits_the_input_lane_first() {
    let broker = EmbeddedBroker::start(&[("in", 1), (RETRY, 1)]).unwrap();
    let (source, given) = reading(&broker);
    release(&source, &given, Some(2));
    assert_eq!(source.wait("the input's commit", answer), (Lane::Input, 2, CommitResult::Done));
    assert_eq!(source.wait("the retry lane's", answer), (Lane::Retry, 3, CommitResult::Done));
    source.shut_down().unwrap();
    assert_eq!((committed(&broker, "in"), committed(&broker, RETRY)), (Some(2), Some(3)));
}

/// Scenario: nothing of the input is to be committed. Guarantee: the retry lane's offset is.
#[test]
fn a_release_without_an_input_commit_commits_the_retry_lane() {
    let broker = EmbeddedBroker::start(&[("in", 1), (RETRY, 1)]).unwrap();
    let (source, given) = reading(&broker);
    release(&source, &given, None);
    assert_eq!(source.wait("the retry lane's", answer), (Lane::Retry, 3, CommitResult::Done));
    source.shut_down().unwrap();
    assert_eq!((committed(&broker, "in"), committed(&broker, RETRY)), (None, Some(3)));
}
