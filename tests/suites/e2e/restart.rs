//! The broker goes away and comes back.

use std::time::Duration;

use longshore_broker::BrokerOptions;
use longshore_tests::harness::account::log_fate;
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::{Account, Flow, Rig, start_broker};

/// Scenario: the only broker is killed while two workers work and records keep coming, and started again.
/// Guarantee: nobody has to restart a worker: they go on by themselves, and the account is right.
#[test]
fn workers_outlive_a_broker() {
    let Some(mut broker) = start_broker(BrokerOptions::default()) else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-restart").with_topics(4);
    let mut crew = [rig.working(), rig.working()];
    let flow = Flow::start(&rig.witness, &rig.topic, 1_000, log_line);
    flow.wait_for_more(1_000);
    broker.kill9(1).unwrap();
    broker.restart(1).unwrap();
    flow.wait_for_more(1_000);
    let published = flow.stop();
    rig.wait_drained(Duration::from_secs(120), &crew.iter().collect::<Vec<_>>());
    for worker in &mut crew {
        assert!(!worker.process.has_ended(), "{}", worker.process.transcript());
    }
    crew.into_iter().for_each(|worker| worker.stop());
    Account::take(&rig).assert_right(published, log_fate);
}
