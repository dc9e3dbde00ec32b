//! Reader, lag and offsets.

use std::time::Duration;

use longshore_kafka::{Admin, EmbeddedBroker, Reader};

use crate::support::{Source, kafka, position, publish};

/// Guarantee: a topic is read whole, each partition in order, and the reader knows the end, empty partitions included.
#[test]
fn a_topic_is_read_to_its_end() {
    let broker = EmbeddedBroker::start(&[("in", 3)]).unwrap();
    publish(&broker, "in", 0, &["a", "b"]);
    publish(&broker, "in", 2, &["c"]);
    let mut reader = Reader::whole(&kafka(&broker), "in").unwrap();
    let mut found = Vec::new();
    reader
        .read_all(Duration::from_secs(10), |record| {
            found.push((record.partition, record.offset, String::from_utf8(record.value.unwrap()).unwrap()));
        })
        .unwrap();
    found.sort();
    assert_eq!(found, [(0, 0, "a".into()), (0, 1, "b".into()), (2, 0, "c".into())]);
    assert!(reader.finished());
}

/// Guarantee: lag is the log's end less what is committed, with the metadata at hand.
#[test]
fn lag_is_told_by_partition() {
    let broker = EmbeddedBroker::start(&[("in", 2)]).unwrap();
    publish(&broker, "in", 0, &["a", "b", "c"]);
    let source = Source::join(&broker, "in");
    for _ in 0..2 {
        let given = source.assigned();
        let at = (given.pair.partition.0 == 0).then(|| position(1, "m"));
        source.release(&given.pair, given.epoch, at);
    }
    source.shut_down().unwrap();
    let admin = Admin::new(&kafka(&broker), "group").unwrap();
    let report = admin.lag(&["in".to_owned()]).unwrap();
    assert_eq!(report.total(), 2);
    assert_eq!(
        report.partitions[0].committed.as_ref().map(|c| (c.offset, c.metadata.as_str())),
        Some((1, "m"))
    );
    assert_eq!(report.partitions[1].committed, None);
    assert!(admin.topics().unwrap().iter().any(|topic| topic.name == "in" && topic.partitions == 2));
    assert!(!admin.cluster_id().unwrap().is_empty());
}
