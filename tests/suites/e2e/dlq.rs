//! `longshore dlq` from the outside: letters made by real workers, and by tests as other tools would make them.

#[path = "dlq/giving_up.rs"]
mod giving_up;
#[path = "dlq/looking.rs"]
mod looking;
#[path = "dlq/replaying.rs"]
mod replaying;
#[path = "dlq/rounds.rs"]
mod rounds;

use std::time::Duration;

use longshore_broker::JvmBroker;
use longshore_tests::harness::{Record, Rig};

use super::said::{Said, longshore};

/// `longshore dlq ARGUMENTS...`, to its end.
fn dlq(arguments: &[&str]) -> Said {
    longshore(&[&["dlq"], arguments].concat())
}

/// Publishes records and lets a worker make letters of those that are broken.
fn with_letters(rig: &Rig, records: &[Record]) {
    rig.witness.publish(&rig.topic, records);
    let worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    worker.stop();
}

fn file(rig: &Rig) -> String {
    rig.file().display().to_string()
}

/// How many letters are open.
fn open(rig: &Rig) -> u64 {
    let said = dlq(&["ls", "-c", &file(rig), "-o", "json"]).well();
    said.rows().iter().map(|row| row["open"].as_u64().unwrap()).sum()
}

/// A pipeline with letters as a worker would have made them: of records `0..count` of its one input partition, whose values are
/// `broken NUMBER`.
fn rig_with_letters(broker: &JvmBroker, name: &str, count: i64) -> Rig {
    let rig = Rig::new(&broker.bootstrap(), name).with_topics(1);
    let value = |n: i64| format!("broken {n}");
    let records = (0..count).map(|n| Record::new("k", value(n)).to(0));
    rig.witness.publish(&rig.topic, &records.collect::<Vec<_>>());
    let letters = (0..count).map(|n| letter(&rig, n, 0, "decode.json", &value(n)));
    rig.witness.publish(&rig.letter_topic(), &letters.collect::<Vec<_>>());
    rig
}

/// A letter of the record at this offset of the input's partition 0.
fn letter(rig: &Rig, offset: i64, replays: u32, reason: &str, value: &str) -> Record {
    Record::new(&format!("key-{}", offset % 5), value)
        .to(0)
        .header("longshore.origin", &format!("{}/0/{offset}/0", rig.topic))
        .header("longshore.origin-timestamp", "1700000000000")
        .header("longshore.attempt", "1")
        .header("longshore.replays", &replays.to_string())
        .header("longshore.reason", reason)
        .header("longshore.detail", "made by a test")
        .header("longshore.pipeline", "test 1")
        .header("longshore.first-failed", "1700000001000")
        .header("longshore.last-failed", "1700000002000")
}
