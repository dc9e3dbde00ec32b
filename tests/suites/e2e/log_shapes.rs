//! Input logs with holes: compaction, aborted transactions, deleted records.

use std::time::Duration;

use longshore_broker::Tool;
use longshore_tests::harness::account::{Fate, log_fate};
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::{Account, Record, Rig, shared_broker, wait_until};

fn drain(rig: &Rig) {
    let worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    worker.stop();
}

/// Scenario: a compacted topic, most of whose offsets are gone by the time a worker reads it.
/// Guarantee: no offset is stuck on a gap: lag goes to 0 and what is left is in the files.
#[test]
fn gaps_of_compaction_hold_nothing_up() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-compacted");
    let settings = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "200"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("max.compaction.lag.ms", "200"),
        ("delete.retention.ms", "0"),
    ];
    rig.witness.create_topic(&rig.topic, 1, &settings);
    let rig = rig.with_own_topics(1);
    let value = |n: usize| Record::new(&format!("k{}", n % 7), format!("{{\"n\":{n}}}"));
    rig.witness.publish(&rig.topic, &(0..500).map(value).collect::<Vec<_>>());
    let mut published = 500;
    wait_until("most offsets are compacted away", Duration::from_secs(60), || {
        // A record closes the segment before it, so that the cleaner may take that one.
        rig.witness.publish(&rig.topic, &[value(published)]);
        published += 1;
        rig.witness.read(&rig.topic).len() < 400
    });
    drain(&rig);
    let account = Account::take(&rig);
    account.assert_right(account.published.len() as u64, |_| Fate::Row);
}

/// Scenario: committed and aborted transactions, the last thing in the log being a marker.
/// Guarantee: aborted records go nowhere, markers hold nothing up: lag goes to 0.
#[test]
fn aborted_transactions_are_passed_over() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-transactions").with_topics(1);
    let publisher = rig.witness.publisher_with(&[("transactional.id", "e2e-transactions")]);
    publisher.init_transactions();
    let batch = |from: u64| (from..from + 50).map(log_line).collect::<Vec<_>>();
    for (number, commit) in [true, false, true, false, false].into_iter().enumerate() {
        publisher.transaction(&rig.topic, &batch(number as u64 * 50), commit);
    }
    drain(&rig);
    Account::take(&rig).assert_right(100, log_fate);
    // Then a plain record behind all that.
    rig.witness.publish(&rig.topic, &batch(1_000));
    drain(&rig);
    Account::take(&rig).assert_right(150, log_fate);
}

/// Scenario: records below the start of reading were deleted before the group ever began.
/// Guarantee: it begins with the first that is left.
#[test]
fn a_log_that_begins_late_is_read_from_there() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-late-start").with_topics(1);
    rig.witness.publish(&rig.topic, &(0..200).map(log_line).collect::<Vec<_>>());
    let file = rig.folder().join("delete.json");
    let wanted =
        format!(r#"{{"version":1,"partitions":[{{"topic":"{}","partition":0,"offset":150}}]}}"#, rig.topic);
    std::fs::write(&file, wanted).unwrap();
    broker.tool(Tool::DeleteRecords, &["--offset-json-file", &file.to_string_lossy()]).unwrap();
    drain(&rig);
    Account::take(&rig).assert_right(50, log_fate);
}
