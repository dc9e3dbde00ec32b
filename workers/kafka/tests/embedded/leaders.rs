//! Leaders of partitions that do not answer, beside others that do.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use longshore_core::source::SourceEvent;
use longshore_kafka::{KafkaOptions, Scalar};
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::DefaultProducerContext;

use crate::support::Source;

const PARTITIONS: i32 = 256;
/// The broker that answers too late for every deadline of ours, and how late.
const LATE: i32 = 3;
const HOW_LATE: Duration = Duration::from_secs(8);
/// What the others may take: that a broker does not answer what any of them knows is found out on the way.
const SOON: Duration = Duration::from_secs(8);

/// Three brokers, and a topic of which each leads a third; one of them is hardly there.
fn cluster() -> MockCluster<'static, DefaultProducerContext> {
    let cluster = MockCluster::new(3).unwrap();
    cluster.create_topic("in", PARTITIONS, 1).unwrap();
    for partition in 0..PARTITIONS {
        cluster.partition_leader("in", partition, Some(leader(partition))).unwrap();
    }
    cluster.coordinator(MockCoordinator::Group("group".to_owned()), 1).unwrap();
    cluster.broker_round_trip_time(LATE, HOW_LATE).unwrap();
    cluster
}

fn leader(partition: i32) -> i32 {
    partition % 3 + 1
}

/// Scenario: 256 partitions are given to a worker at once, and the leader of a third of them does not answer in time; then it does.
/// Guarantee: I6, the others begin within seconds and their ends are told; the rest begins when its leader answers.
#[test]
fn a_leader_without_an_answer_holds_up_its_own_partitions_alone() {
    let cluster = cluster();
    let mut options = KafkaOptions::plain(cluster.bootstrap_servers());
    options.client.insert("session.timeout.ms".into(), Scalar::Number(4_500));
    let begun = Instant::now();
    let source = Source::with(options, "in", Duration::from_secs(1), 64 << 20);
    let well = (0..PARTITIONS).filter(|partition| leader(*partition) != LATE).count();
    let (mut found, mut ends, mut first) = (BTreeSet::new(), BTreeSet::new(), None);
    source.wait("the ends of all others", |event| {
        match event {
            SourceEvent::Assigned(given) => drop(found.insert(given.pair.partition.0)),
            SourceEvent::LogEnd { pair, .. } => drop(ends.insert(pair.partition.0)),
            _ => {}
        }
        if found.len() == well {
            first.get_or_insert_with(|| begun.elapsed());
        }
        (ends.len() == well).then_some(())
    });
    let first = first.unwrap();
    println!("{well} of {PARTITIONS} pairs known after {first:?}, their ends after {:?}", begun.elapsed());
    assert!(first < SOON, "{first:?}");
    assert!(found.iter().all(|partition| leader(*partition) != LATE), "{found:?}");
    cluster.broker_round_trip_time(LATE, Duration::ZERO).unwrap();
    source.wait("the rest", |event| {
        if let SourceEvent::Assigned(given) = event {
            found.insert(given.pair.partition.0);
        }
        (found.len() == PARTITIONS as usize).then_some(())
    });
    source.shut_down().unwrap();
}
