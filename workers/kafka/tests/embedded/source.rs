//! The poll thread: assignment, credit, commits, rebalances.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use longshore_core::Epoch;
use longshore_core::pair::CommitResult;
use longshore_core::source::{SourceCommand, SourceControl, SourceEvent};
use longshore_kafka::EmbeddedBroker;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::support::{Source, futures_wait, position, producer, publish};

fn committed(event: SourceEvent) -> Option<(i64, Epoch, CommitResult)> {
    match event {
        SourceEvent::Committed { offset, epoch, result, .. } => Some((offset.0, epoch, result)),
        _ => None,
    }
}

/// Scenario: a pair is assigned, started, committed with metadata, and the worker leaves; another takes over.
/// Guarantee: nothing flows before `Start`; the commit is answered; the successor gets offset and metadata (rule 9).
#[test]
fn a_commit_with_metadata_reaches_the_next_owner() {
    let broker = EmbeddedBroker::start(&[("in", 1)]).unwrap();
    publish(&broker, "in", 0, &["a", "b", "c"]);
    let first = Source::join(&broker, "in");
    let given = first.assigned();
    assert_eq!((given.committed.clone(), given.start.0, given.log_end.0), (None, 0, 3));
    assert_eq!(given.partitions, 1);
    assert!(!given.cluster.is_empty());
    first.start(&given.pair, given.epoch, 0, 100);
    assert_eq!(first.values(3), [(0, "a".into()), (1, "b".into()), (2, "c".into())]);
    first.commit(&given.pair, given.epoch, 2, "meta=1");
    assert_eq!(first.wait("the commit", committed), (2, given.epoch, CommitResult::Done));
    first.release(&given.pair, given.epoch, None);
    first.shut_down().unwrap();

    let second = Source::join(&broker, "in");
    let given = second.assigned();
    assert_eq!(given.committed, Some(position(2, "meta=1")));
    second.start(&given.pair, given.epoch, 2, 100);
    assert_eq!(second.values(1), [(2, "c".into())]);
    second.shut_down().unwrap();
}

/// Scenario: the answer to one pair's commit takes a second, and another pair asks for a commit right behind it.
/// Guarantee: the second one is gathered for others for a moment and does not wait for the answer to the first.
#[test]
fn a_late_answer_does_not_hold_up_other_commits() {
    let broker = EmbeddedBroker::start(&[("in", 2)]).unwrap();
    let source = Source::join(&broker, "in");
    let given = [source.assigned(), source.assigned()];
    let delay = Duration::from_secs(1);
    broker.set_delay(delay).unwrap();
    for given in &given {
        source.commit(&given.pair, given.epoch, 1, "");
        // As much as a turn of the poll thread, so that the two are not of one turn.
        std::thread::sleep(Duration::from_millis(5));
    }
    let answered = [(); 2].map(|()| {
        let (.., result) = source.wait("the commit", committed);
        assert_eq!(result, CommitResult::Done);
        Instant::now()
    });
    assert!(answered[1] - answered[0] < delay / 2, "{answered:?}");
    broker.set_delay(Duration::ZERO).unwrap();
    source.shut_down().unwrap();
}

/// Scenario: a pair is granted few records while many wait.
/// Guarantee: it gets at most one poll more than granted, and goes on exactly there when granted more.
#[test]
fn credit_bounds_what_is_handed_over() {
    let broker = EmbeddedBroker::start(&[("in", 1)]).unwrap();
    let values: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
    publish(&broker, "in", 0, &values.iter().map(String::as_str).collect::<Vec<_>>());
    let source = Source::join(&broker, "in");
    let given = source.assigned();
    source.start(&given.pair, given.epoch, 0, 100);
    let first = source.values(100);
    assert!(first.len() <= 100 + 1024, "{}", first.len());
    // A commit's answer comes by the same queue as records: when it is here, no record is on its way.
    source.commit(&given.pair, given.epoch, 1, "");
    let extra = source.wait("the commit", |event| match event {
        SourceEvent::Received(chunk) => panic!("{} records without credit", chunk.len()),
        other => committed(other),
    });
    assert_eq!(extra.2, CommitResult::Done);
    source.grant(&given.pair, given.epoch, 5000);
    let rest = source.values(5000 - first.len());
    let all: Vec<i64> = first.iter().chain(&rest).map(|(offset, _)| *offset).collect();
    assert_eq!(all, (0..5000).collect::<Vec<_>>());
    source.shut_down().unwrap();
}

/// Scenario: a pair runs dry and is granted more, again and again, with nothing else to fetch.
/// Guarantee: going on takes no second each time, which is how long librdkafka's idle fetcher sleeps.
#[test]
fn a_resumed_pair_flows_at_once() {
    let broker = EmbeddedBroker::start(&[("in", 1)]).unwrap();
    let values: Vec<String> = (0..30_000).map(|n| n.to_string()).collect();
    publish(&broker, "in", 0, &values.iter().map(String::as_str).collect::<Vec<_>>());
    let source = Source::join(&broker, "in");
    let given = source.assigned();
    source.start(&given.pair, given.epoch, 0, 1);
    let mut count = source.values(1).len() as u64;
    let begun = std::time::Instant::now();
    for _ in 0..20 {
        source.grant(&given.pair, given.epoch, count + 1);
        count += source.values(1).len() as u64;
    }
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    source.shut_down().unwrap();
}

/// Scenario: the memory budget is used up by chunks that are held.
/// Guarantee (I5): intake stops, and goes on when they are dropped.
#[test]
fn a_used_up_budget_pauses_everything() {
    let broker = EmbeddedBroker::start(&[("in", 1)]).unwrap();
    let large = "x".repeat(100_000);
    publish(&broker, "in", 0, &vec![large.as_str(); 20]);
    let source = Source::with(crate::support::kafka(&broker), "in", Duration::from_secs(1), 300_000);
    let given = source.assigned();
    source.start(&given.pair, given.epoch, 0, 1000);
    let mut held = vec![source.received()];
    // Large records come one to a chunk, so that a slow one pins only itself.
    assert_eq!(held[0].len(), 1);
    while source.budget.available() > 0 {
        held.push(source.received());
    }
    let mut next = held.len() as i64;
    drop(held);
    while next < 20 {
        let chunk = source.received();
        assert_eq!(chunk.offset(0).0, next);
        next += 1;
    }
    source.shut_down().unwrap();
}

/// Scenario: a second worker joins; the first is asked to let go of a pair and takes its time.
/// Guarantee: the pair goes over only after the release, with what the broker took at it; the others flow on.
#[test]
fn a_revoke_waits_for_the_release_and_commits_it() {
    let broker = EmbeddedBroker::start(&[("in", 2)]).unwrap();
    publish(&broker, "in", 0, &["a0", "a1"]);
    publish(&broker, "in", 1, &["b0", "b1"]);
    let first = Source::with(crate::support::kafka(&broker), "in", Duration::from_secs(20), 64 << 20);
    // Both before either is started: records of the first must not be passed over while waiting for the second.
    let both = [first.assigned(), first.assigned()];
    assert_eq!(
        both.iter().map(|given| given.pair.partition.0).collect::<BTreeSet<_>>(),
        BTreeSet::from([0, 1])
    );
    for given in &both {
        first.start(&given.pair, given.epoch, 0, 100);
    }
    first.values(4);
    let second = Source::join(&broker, "in");
    let (pair, epoch) = first.wait("a revoke", |event| match event {
        SourceEvent::Revoking { pair, epoch } => Some((pair, epoch)),
        _ => None,
    });
    assert!(second.events.try_iter().all(|event| !matches!(event, SourceEvent::Assigned(_))));
    first.release(&pair, epoch, Some(position(1, "clean")));
    let (offset, of_epoch, result) = first.wait("the commit", committed);
    assert_eq!((offset, of_epoch), (1, epoch));
    let given = second.assigned();
    assert_eq!(given.pair, pair);
    // The mock cluster takes back the assignment of a member that asks for it after the leader, so the second may be joining
    // once more by now; then the broker takes no commit, which says nothing of the ownership.
    let taken = match result {
        CommitResult::Done => Some(position(1, "clean")),
        CommitResult::Unknown => None,
        CommitResult::Refused => panic!("the commit of an owner was refused"),
    };
    assert_eq!(given.committed, taken);
    let from = taken.map_or(0, |position| position.offset.0);
    second.start(&given.pair, given.epoch, from, 100);
    assert_eq!(second.values(1)[0].0, from);

    // I8: the old owner's late commit is refused without asking anybody.
    first.commit(&pair, epoch, 2, "late");
    assert_eq!(first.wait("the late commit", committed), (2, epoch, CommitResult::Refused));
    // The retained pair flows on.
    let retained = 1 - pair.partition.0;
    publish(&broker, "in", retained, &["more"]);
    assert_eq!(first.values(1)[0].1, "more");

    // Trap 6: the pair comes back paused state or not, and flows.
    second.release(&given.pair, given.epoch, Some(position(2, "")));
    second.shut_down().unwrap();
    let back = first.assigned();
    assert_eq!((back.pair.clone(), back.committed.clone()), (pair.clone(), Some(position(2, ""))));
    assert!(back.epoch > epoch);
    first.start(&back.pair, back.epoch, 2, 100);
    publish(&broker, "in", pair.partition.0, &["again"]);
    assert_eq!(first.values(1), [(2, "again".to_owned())]);
    first.shut_down().unwrap();
}

/// Scenario: a worker does not let go of a pair in time.
/// Guarantee: it is told that the pair is lost, and the pair goes over.
#[test]
fn a_release_that_never_comes_does_not_hold_up_the_group() {
    let broker = EmbeddedBroker::start(&[("in", 2)]).unwrap();
    let first = Source::with(crate::support::kafka(&broker), "in", Duration::from_millis(300), 64 << 20);
    first.assigned();
    first.assigned();
    let second = Source::join(&broker, "in");
    let lost = first.wait("a loss", |event| match event {
        SourceEvent::Lost { pair, .. } => Some(pair),
        _ => None,
    });
    assert_eq!(second.assigned().pair, lost);
    second.shut_down().unwrap();
    first.shut_down().unwrap();
}

/// Scenario: the group counts the worker as gone, which a heartbeat tells it; the runtime asks for its last commits all the same.
/// Guarantee (I8, trap 11): the runtime hears that the pair is lost and never that it is revoked, which would have it publish and commit what
/// it has; what it asks for is refused or dropped, and the pair's next owner begins where it did.
#[test]
fn a_lost_pair_is_told_as_lost_and_commits_nothing() {
    let broker = EmbeddedBroker::start(&[("in", 1)]).unwrap();
    publish(&broker, "in", 0, &["a", "b"]);
    let source = Source::join(&broker, "in");
    let given = source.assigned();
    source.start(&given.pair, given.epoch, 0, 100);
    source.values(2);
    let gone = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID];
    broker.fail_requests(RDKafkaApiKey::Heartbeat, &gone).unwrap();
    let lost = source.wait("a loss", |event| match event {
        SourceEvent::Lost { pair, epoch } => Some((pair, epoch)),
        SourceEvent::Revoking { .. } => panic!("told as revoked"),
        _ => None,
    });
    assert_eq!(lost, (given.pair.clone(), given.epoch));
    source.release(&given.pair, given.epoch, Some(position(2, "released")));
    source.commit(&given.pair, given.epoch, 2, "late");
    assert_eq!(source.wait("the commit", committed), (2, given.epoch, CommitResult::Refused));
    let again = source.assigned();
    assert_eq!((&again.pair, again.committed), (&given.pair, None));
    assert!(again.epoch > given.epoch);
    source.shut_down().unwrap();
}

/// Scenario: the runtime begins a pair anew (design section 4, rule 7).
/// Guarantee: a higher epoch with what is committed now; records of the old epoch come no more; commands of the old
/// epoch do nothing.
#[test]
fn a_pair_begins_anew() {
    let broker = EmbeddedBroker::start(&[("in", 1)]).unwrap();
    publish(&broker, "in", 0, &["a", "b"]);
    let source = Source::join(&broker, "in");
    let given = source.assigned();
    source.start(&given.pair, given.epoch, 0, 100);
    source.values(2);
    source.commit(&given.pair, given.epoch, 1, "m");
    source.wait("the commit", committed);
    source.handle.send(SourceCommand::Reassign { pair: given.pair.clone(), epoch: given.epoch });
    let again = source.assigned();
    assert!(again.epoch > given.epoch);
    assert_eq!(again.committed, Some(position(1, "m")));
    source.commit(&given.pair, given.epoch, 2, "old");
    assert_eq!(source.wait("the old commit", committed).2, CommitResult::Refused);
    source.start(&again.pair, again.epoch, 1, 100);
    let chunk = source.received();
    assert_eq!((chunk.epoch(), chunk.offset(0).0), (again.epoch, 1));
    source.shut_down().unwrap();
}

/// Trap 13: a header name that is not UTF-8 is handed over as bytes.
#[test]
fn header_names_are_bytes() {
    let broker = EmbeddedBroker::start(&[("in", 1)]).unwrap();
    let producer = producer(&broker);
    let headers: &[(&[u8], Option<&[u8]>)] =
        &[(b"\xff\xfe", Some(b"\x00\x01")), (b"twice", Some(b"1")), (b"twice", None)];
    let record = longshore_kafka::ProducerRecord {
        partition: Some(0),
        key: Some(b""),
        value: None,
        timestamp_ms: Some(1_700_000_000_123),
        headers,
    };
    futures_wait(async { producer.send_batch("in", &[record]).await.unwrap().await.unwrap() });
    let source = Source::join(&broker, "in");
    let given = source.assigned();
    source.start(&given.pair, given.epoch, 0, 100);
    let chunk = source.received();
    let record = longshore_core::RecordRef::new(&chunk, 0).unwrap();
    let found: Vec<_> =
        record.headers().map(|header| (header.name.to_vec(), header.value.map(<[u8]>::to_vec))).collect();
    let wanted: Vec<_> =
        headers.iter().map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect();
    assert_eq!(found, wanted);
    assert_eq!((record.key(), record.value()), (Some(b"".as_slice()), None));
    assert_eq!(record.timestamp_ms(), 1_700_000_000_123);
    source.shut_down().unwrap();
}

/// Scenario: workers join and leave again and again, each finishing what it gets.
/// Guarantee: every record is handed over, and in the end everything is committed.
#[test]
fn a_storm_of_rebalances_loses_nothing() {
    let broker = EmbeddedBroker::start(&[("in", 4)]).unwrap();
    let values: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    let values: Vec<&str> = values.iter().map(String::as_str).collect();
    for partition in 0..4 {
        publish(&broker, "in", partition, &values);
    }
    let done = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    for round in 0..4 {
        let workers: Vec<_> = (0..2)
            .map(|_| {
                let source = Source::join(&broker, "in");
                let done = std::sync::Arc::clone(&done);
                std::thread::spawn(move || work(source, &done, 200 * (round + 1)))
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
    }
    let last = Source::join(&broker, "in");
    work(last, &done, usize::MAX);
    assert_eq!(done.lock().unwrap().len(), 4 * 500);
}

type Done = std::sync::Mutex<BTreeSet<(i32, i64)>>;

/// A worker that settles at once and leaves after so many records, or when all are done.
fn work(source: Source, done: &Done, most: usize) {
    let mut positions = std::collections::BTreeMap::new();
    let mut count = 0;
    while count < most && done.lock().unwrap().len() < 2000 {
        let Ok(event) = source.events.recv_timeout(crate::support::DEADLINE) else {
            panic!("nothing happens")
        };
        match event {
            SourceEvent::Assigned(given) => {
                let offset = given.committed.as_ref().map_or(0, |position| position.offset.0);
                positions.insert(given.pair.clone(), (given.epoch, offset));
                source.start(&given.pair, given.epoch, offset, 1_000_000);
            }
            SourceEvent::Received(chunk) => {
                let Some((epoch, next)) = positions.get_mut(chunk.pair()) else { continue };
                assert_eq!(*epoch, chunk.epoch());
                for index in 0..chunk.len() as u32 {
                    assert_eq!(chunk.offset(index).0, *next, "a gap or a repetition inside one ownership");
                    *next += 1;
                    done.lock().unwrap().insert((chunk.pair().partition.0, chunk.offset(index).0));
                    count += 1;
                }
                source.commit(chunk.pair(), chunk.epoch(), *next, "");
            }
            SourceEvent::Revoking { pair, epoch } => {
                let position = positions.remove(&pair).map(|(_, next)| position(next, ""));
                source.release(&pair, epoch, position);
            }
            SourceEvent::Lost { pair, .. } => {
                positions.remove(&pair);
            }
            SourceEvent::Ended(result) => panic!("{result:?}"),
            _ => {}
        }
        if positions.values().map(|(_, next)| *next).sum::<i64>() >= 2000 {
            break;
        }
    }
    for (pair, (epoch, next)) in positions {
        source.release(&pair, epoch, Some(position(next, "")));
    }
    source.shut_down().unwrap();
}
