//! Steps that take long.

use std::time::Duration;

use longshore_tests::harness::account::{Fate, log_fate};
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::{Account, Record, Rig, shared_broker, wait_until};

/// Scenario: a step takes 5 s where the broker evicts a member that does not poll for 3 s.
/// Guarantee: no eviction: the partitions stay where they are from beginning to end.
#[test]
fn a_step_slower_than_the_poll_interval_evicts_nobody() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-slow-step")
        .steps("\n  - parse: { format: json }\n  - delay: { for: 5s }")
        .set("kafka.client.max.poll.interval.ms=3000")
        .with_topics(2);
    let records: Vec<_> = (0..40).map(|n| Record::new(&format!("k{n}"), format!("{{\"n\":{n}}}"))).collect();
    rig.witness.publish(&rig.topic, &records);
    let mut worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    for kind in ["lost", "revoked"] {
        assert_eq!(worker.metric(&format!("longshore_rebalances_total{{kind=\"{kind}\"")), 0.0, "{kind}");
    }
    assert_eq!(worker.metric("longshore_rebalances_total{kind=\"assigned\""), 2.0);
    worker.stop();
    Account::take(&rig).assert_right(40, |_| Fate::Row);
}

/// Scenario: in one partition, the first record takes very long and hundreds of other keys stand behind it.
/// Guarantee: all others end in the files while it still runs; its own key waits for it and keeps its order.
#[test]
fn a_slow_record_holds_up_its_own_key_alone() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-slow-key")
        .steps("\n  - parse: { format: json }\n  - delay: { for: 12s, when: 'attributes[\"slow\"] == true' }")
        .with_topics(1);
    let mut records = vec![Record::new("slow", r#"{"slow":true}"#), Record::new("slow", r#"{"slow":false}"#)];
    records.extend((0..500).map(|n| Record::new(&format!("key-{n}"), format!("{{\"n\":{n}}}"))));
    rig.witness.publish(&rig.topic, &records);
    let worker = rig.working();
    let fast = |account: &Account| account.rows.keys().filter(|(_, offset)| *offset >= 2).count();
    let mut account = Account::default();
    wait_until("the others are in the files", Duration::from_secs(60), || {
        account = Account::take(&rig);
        fast(&account) == 500
    });
    account.assert_sound();
    assert_eq!(account.missing(), [(0, 0), (0, 1)], "the slow key was not behind the others");
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    worker.stop();
    Account::take(&rig).assert_right(502, |_| Fate::Row);
}

/// Scenario: quick steps on a key order, all keys together. Guarantee: the plain case, as the others' yardstick.
#[test]
fn a_backlog_is_drained() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-backlog").with_topics(3);
    rig.witness.publish(&rig.topic, &(0..5_000).map(log_line).collect::<Vec<_>>());
    let worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    worker.stop();
    Account::take(&rig).assert_right(5_000, log_fate);
}
