//! Which partition a key goes to, and partitions that come later.

use std::fmt::Write;
use std::time::Duration;

use longshore_broker::Tool;
use longshore_kafka::partition_for_key;
use longshore_tests::harness::account::log_fate;
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::{Account, Record, Rig, Witness, shared_broker};

const PARTITIONS: i32 = 7;

/// Scenario: Java's own console producer writes records with keys.
/// Guarantee: each lies in the partition that our partitioner chooses.
#[test]
fn java_puts_keys_where_we_do() {
    let Some(broker) = shared_broker() else { return };
    let witness = Witness::new(&broker.bootstrap());
    witness.create_topic("e2e-java-keys", PARTITIONS, &[]);
    let mut lines = String::new();
    for number in 0..500 {
        let _ = writeln!(lines, "key {number} {}\u{fc}=value", "x".repeat(number % 13));
    }
    let arguments =
        ["--topic", "e2e-java-keys", "--property", "parse.key=true", "--property", "key.separator=="];
    broker.tool_with_input(Tool::ConsoleProducer, &arguments, lines.as_bytes()).unwrap();
    let seen = witness.read("e2e-java-keys");
    assert_eq!(seen.len(), 500);
    for record in seen {
        let ours = partition_for_key(record.key.as_deref(), PARTITIONS as u32);
        assert_eq!(Some(record.partition), ours, "{record:?}");
    }
}

/// Scenario: partitions are added to the input (after the retry and the dead-letter topic) while two workers run.
/// Guarantee: the new ones are consumed without a restart, and the account is right.
#[test]
fn new_partitions_are_consumed() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-growth").with_topics(2);
    let crew = [rig.working(), rig.working()];
    rig.witness.publish(&rig.topic, &(0..500).map(log_line).collect::<Vec<_>>());
    rig.witness.grow(&rig.retry_topic(), 5);
    rig.witness.grow(&rig.letter_topic(), 5);
    rig.witness.grow(&rig.topic, 5);
    let placed = |n: u64| -> Record { log_line(n).to((n % 5) as i32) };
    rig.witness.publish(&rig.topic, &(500..1_500).map(placed).collect::<Vec<_>>());
    rig.wait_drained(Duration::from_secs(60), &crew.iter().collect::<Vec<_>>());
    crew.into_iter().for_each(|worker| worker.stop());
    Account::take(&rig).assert_right(1_500, log_fate);
}
