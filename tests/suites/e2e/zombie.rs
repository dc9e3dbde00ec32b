//! A worker that sleeps through its own eviction.

use std::time::Duration;

use longshore_tests::harness::account::log_fate;
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::{Account, Flow, Rig, shared_broker, wait_until};

/// Scenario: one of two workers is stopped (SIGSTOP) with open segments for longer than the session timeout, the other
/// takes over and goes on, then the sleeper is woken (SIGCONT).
/// Guarantee: the zombie moves no committed offset back, its segment loses the race for its name, and it works again.
#[test]
fn a_zombie_commits_and_doubles_nothing() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-zombie").with_topics(4);
    let (mut sleeper, mut other) = (rig.working(), rig.working());
    let flow = Flow::start(&rig.witness, &rig.topic, 1_000, log_line);
    flow.wait_for_more(1_000);
    sleeper.freeze_until_replaced(&mut other, 4);
    flow.wait_for_more(500);
    let before = rig.witness.committed(&rig.group(), &rig.topic);
    sleeper.wake_as_zombie();
    sleeper.wait_for_partitions();
    wait_until("commits go on", Duration::from_secs(30), || {
        let now = rig.witness.committed(&rig.group(), &rig.topic);
        for (partition, position) in &before {
            assert!(now[partition].offset >= position.offset, "partition {partition} went back");
        }
        now.iter().any(|(partition, position)| {
            before.get(partition).is_none_or(|before| before.offset < position.offset)
        })
    });
    let published = flow.stop();
    rig.wait_drained(Duration::from_secs(60), &[&sleeper, &other]);
    sleeper.stop();
    other.stop();
    Account::take(&rig).assert_right(published, log_fate);
}
