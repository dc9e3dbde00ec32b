//! Reader, lag, offsets, and what is asked of a pipeline's topics.

use std::time::{Duration, Instant};

use longshore_core::metadata::Metadata;
use longshore_core::{Class, Offset, Reason, RunSet};
use longshore_kafka::{
    Admin, EmbeddedBroker, KafkaOptions, OwnTopics, ReadFrom, ReadUntil, Reader, check_topics, require_topic,
};

use crate::support::{DEADLINE, Source, kafka, position, publish};

/// Partition, offset and value of all that a reader gives until its end.
fn read(reader: &mut Reader) -> Vec<(i32, i64, String)> {
    let deadline = Instant::now() + DEADLINE;
    let mut found = Vec::new();
    while let Some(batch) = reader.next_batch(Duration::from_millis(200)).unwrap() {
        assert!(Instant::now() < deadline, "no end after {found:?}");
        found.extend(batch.into_iter().map(|record| {
            (record.partition, record.offset, String::from_utf8(record.value.unwrap()).unwrap())
        }));
    }
    found.sort();
    found
}

/// Guarantee: a topic is read whole, each partition in order, and the reader knows the end, empty partitions included.
#[test]
fn a_topic_is_read_to_its_end() {
    let broker = EmbeddedBroker::start(&[("in", 3)]).unwrap();
    publish(&broker, "in", 0, &["a", "b"]);
    publish(&broker, "in", 2, &["c"]);
    let mut reader = Reader::open(&kafka(&broker), "in", ReadFrom::Start, ReadUntil::EndNow).unwrap();
    assert_eq!(read(&mut reader), [(0, 0, "a".into()), (0, 1, "b".into()), (2, 0, "c".into())]);
    assert_eq!(reader.next_batch(Duration::ZERO).unwrap(), None);
}

/// Guarantee: what is published after the reader was opened lies behind its end, and an empty topic ends at once.
#[test]
fn the_end_is_the_one_found_at_open() {
    let broker = EmbeddedBroker::start(&[("in", 1), ("empty", 2)]).unwrap();
    publish(&broker, "in", 0, &["a"]);
    let mut reader = Reader::open(&kafka(&broker), "in", ReadFrom::Start, ReadUntil::EndNow).unwrap();
    publish(&broker, "in", 0, &["late"]);
    assert_eq!(read(&mut reader), [(0, 0, "a".into())]);
    let mut empty = Reader::open(&kafka(&broker), "empty", ReadFrom::Start, ReadUntil::EndNow).unwrap();
    assert_eq!(read(&mut empty), []);
}

/// Guarantee: reading begins at the offsets asked for, in the partitions asked for; one beyond the log is an error.
#[test]
fn reading_begins_where_it_is_told() {
    let broker = EmbeddedBroker::start(&[("in", 2)]).unwrap();
    publish(&broker, "in", 0, &["a", "b", "c"]);
    publish(&broker, "in", 1, &["x"]);
    let at = |offset| ReadFrom::At(vec![(0, offset)]);
    let mut reader = Reader::open(&kafka(&broker), "in", at(1), ReadUntil::EndNow).unwrap();
    assert_eq!(read(&mut reader), [(0, 1, "b".into()), (0, 2, "c".into())]);
    let mut beyond = Reader::open(&kafka(&broker), "in", at(50), ReadUntil::Forever).unwrap();
    assert_eq!(beyond.next_batch(DEADLINE).unwrap_err().reason, Reason::OffsetOutOfRange);
}

/// Guarantee: who reads for ever from the end gets what comes later, and only that.
#[test]
fn what_comes_later_is_followed() {
    let broker = EmbeddedBroker::start(&[("in", 1)]).unwrap();
    publish(&broker, "in", 0, &["before"]);
    let mut reader = Reader::open(&kafka(&broker), "in", ReadFrom::End, ReadUntil::Forever).unwrap();
    assert_eq!(reader.next_batch(Duration::from_millis(50)).unwrap(), Some(Vec::new()));
    publish(&broker, "in", 0, &["after"]);
    let batch = reader.next_batch(DEADLINE).unwrap().unwrap();
    assert_eq!(batch.iter().map(|record| record.value.as_deref()).collect::<Vec<_>>(), [Some(&b"after"[..])]);
}

/// Guarantee: lag is the log's end less what is committed, and less what the metadata calls settled.
#[test]
fn lag_is_told_by_partition() {
    let broker = EmbeddedBroker::start(&[("in", 2)]).unwrap();
    publish(&broker, "in", 0, &["a", "b", "c", "d"]);
    let settled = Metadata { settled: RunSet::of(Offset(2), Offset(3)), ..Metadata::default() };
    let metadata = settled.encode(Offset(1)).text;
    let source = Source::join(&broker, "in");
    for _ in 0..2 {
        let given = source.assigned();
        let at = (given.pair.partition.0 == 0).then(|| position(1, &metadata));
        source.release(&given.pair, given.epoch, at);
    }
    source.shut_down().unwrap();
    let admin = Admin::new(&kafka(&broker)).unwrap();
    let rows = admin.lag("group", &["in".to_owned()]).unwrap();
    let rows: Vec<_> = rows.iter().map(|row| (row.partition, row.committed, row.end, row.lag)).collect();
    assert_eq!(rows, [(0, Some(1), 4, 2), (1, None, 0, 0)]);
    assert_eq!(admin.committed("group", "in").unwrap(), [(0, Some(1)), (1, None)]);
    assert_eq!(admin.committed("nobody", "in").unwrap(), [(0, None), (1, None)]);
    assert!(!admin.cluster_id().unwrap().is_empty());
}

/// Guarantee: asking for a topic never makes it.
#[test]
fn a_missing_topic_is_named_and_not_made() {
    let broker = EmbeddedBroker::start(&[("in", 2)]).unwrap();
    let options = kafka(&broker);
    require_topic(&options, "in").unwrap();
    let failure = require_topic(&options, "other").unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::Halt, Reason::BrokerTopicMissing));
    assert!(failure.detail().contains("other"), "{failure}");
    let failure = Reader::open(&options, "other", ReadFrom::Start, ReadUntil::EndNow).unwrap_err();
    assert_eq!(failure.reason, Reason::BrokerTopicMissing);
    let admin = Admin::new(&options).unwrap();
    assert_eq!(admin.topic("other").unwrap(), None);
    assert_eq!(admin.topics().unwrap().iter().map(|topic| topic.name.as_str()).collect::<Vec<_>>(), ["in"]);
}

/// Guarantee: a topic of the pipeline's own that is missing or too small keeps a worker from starting, all of them named;
/// settings are passed over where the broker cannot tell them, and that is said.
#[test]
fn a_pipelines_topics_are_checked() {
    let broker = EmbeddedBroker::start(&[("in", 4)]).unwrap();
    let options = kafka(&broker);
    let own = |pipeline: &str| OwnTopics {
        pipeline: pipeline.to_owned(),
        inputs: vec!["in".to_owned()],
        retry_cap: Some(Duration::from_secs(3600)),
    };
    let failure = check_topics(&options, &own("small")).unwrap_err();
    assert_eq!(failure.reason, Reason::BrokerTopicMissing);
    let all = "topics do not exist: in.small.retry, in.small.dlq, longshore.small.journal";
    assert_eq!(failure.detail(), all);
    for (topic, partitions) in [("in.small.retry", 3), ("in.small.dlq", 2), ("longshore.small.journal", 1)] {
        broker.create_topic(topic, partitions).unwrap();
    }
    let failure = check_topics(&options, &own("small")).unwrap_err();
    assert_eq!(failure.reason, Reason::BrokerTopicUnfit);
    assert!(failure.detail().contains("in.small.retry has 3 partitions; its input has 4"), "{failure}");
    assert!(failure.detail().contains("in.small.dlq has 2 partitions; its input has 4"), "{failure}");
    for (topic, partitions) in [("in.fit.retry", 4), ("in.fit.dlq", 4), ("longshore.fit.journal", 1)] {
        broker.create_topic(topic, partitions).unwrap();
    }
    let told = check_topics(&options, &own("fit")).unwrap();
    assert!(matches!(told.as_slice(), [words] if words.contains("cannot tell the settings")), "{told:?}");
}

/// Guarantee: a broker that nobody runs is told within the deadline, as an outage.
#[test]
fn an_unreachable_broker_is_told() {
    let options = KafkaOptions::plain("127.0.0.1:1");
    let began = Instant::now();
    let failure = Admin::with_deadline(&options, Duration::from_millis(300)).unwrap_err();
    assert_eq!(failure.reason, Reason::BrokerUnavailable);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
