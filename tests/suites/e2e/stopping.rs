//! SIGTERM while work is under way.

use std::time::{Duration, Instant};

use longshore_core::Offset;
use longshore_core::metadata::Metadata;
use longshore_tests::harness::account::{Fate, log_fate};
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::{Account, Record, Rig, shared_broker};

const RECEIVED: &str = "longshore_records_received_total{";

/// Scenario: SIGTERM while a segment with everything in it is open and would stay so for an hour.
/// Guarantee: exit 0 within 25 s; all of it is published and committed, and the next worker reads nothing again.
#[test]
fn a_stopped_worker_publishes_what_is_open() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-stop-open").set("sinks.0.files.roll.age=1h").with_topics(3);
    rig.witness.publish(&rig.topic, &(0..3_000).map(log_line).collect::<Vec<_>>());
    let mut first = rig.worker();
    first.wait_until("all is received", |worker| worker.metric(RECEIVED) >= 3_000.0);
    first.stop();
    Account::take(&rig).assert_right(3_000, log_fate);
    let mut second = rig.working();
    second.wait_until("all partitions are at work", |worker| {
        worker.pairs().iter().filter(|pair| pair.state == "running").count() == 3
    });
    assert_eq!(second.metric(RECEIVED), 0.0, "the next worker read something again");
    second.stop();
    Account::take(&rig).assert_right(3_000, log_fate);
}

/// Scenario: SIGTERM in the middle of a step of 2 s, with ten records of each key waiting in line.
/// Guarantee: exit 0 within 25 s; what is settled then is not done again by the next worker, and the rest is done once.
#[test]
fn a_worker_stops_in_the_middle_of_a_slow_step() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-stop-step")
        .steps("\n  - parse: { format: json }\n  - delay: { for: 2s }")
        .set("limits.drain=5s")
        .with_topics(2);
    let record = |n: u64| Record::new(&format!("k{}", n % 10), format!("{{\"n\":{n}}}"));
    rig.witness.publish(&rig.topic, &(0..100).map(record).collect::<Vec<_>>());
    let mut first = rig.working();
    first.wait_until("some are settled", |worker| worker.metric("longshore_records_settled_total{") >= 10.0);
    let began = Instant::now();
    first.stop();
    assert!(began.elapsed() < Duration::from_secs(25));
    assert_left_in_order(&rig);
    let between = Account::take(&rig);
    between.assert_sound();
    let left = between.missing().len();
    assert!(left > 0, "the scenario needs records that were not finished");
    let mut second = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&second]);
    let done = second.metric("longshore_records_settled_total{") - second.metric(HELD);
    assert_eq!(done, left as f64, "the next worker did again what was settled");
    second.stop();
    Account::take(&rig).assert_right(100, |_| Fate::Row);
}

/// What is committed of each partition says that its owner left in good order: two that did not, without progress, have the next one try the records
/// one at a time.
fn assert_left_in_order(rig: &Rig) {
    let (ends, committed) = (rig.witness.ends(&rig.topic), rig.witness.committed(&rig.group(), &rig.topic));
    assert_eq!(ends.len(), committed.len());
    for (partition, position) in committed {
        let (offset, end) = (Offset(position.offset), Offset(ends[partition as usize]));
        let told = Metadata::decode(&position.metadata, offset, end).unwrap();
        assert!(told.clean, "partition {partition}: {told:?}");
    }
}

/// The settled counter of records that the ledger already held.
const HELD: &str =
    r#"longshore_records_settled_total{topic="e2e-stop-step.in",partition="0",place="already_held"}"#;
