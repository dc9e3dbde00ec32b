//! Workers that come and go in good order.

use std::time::Duration;

use longshore_tests::harness::account::{Fate, document_fate, log_fate};
use longshore_tests::harness::flow::{document, log_line};
use longshore_tests::harness::witness::Seen;
use longshore_tests::harness::{Account, Flow, Record, Rig, shared_broker};

/// Scenario: one worker, then up to four join, then all but the last leave, while records keep coming.
/// Guarantee: every record has its one place, keys keep their order, all is committed (I1 to I4).
fn join_and_leave(rig: &Rig, make: fn(u64) -> Record, fate: fn(&Seen) -> Fate) {
    let mut crew = vec![rig.working()];
    let flow = Flow::start(&rig.witness, &rig.topic, 1_500, make);
    for _ in 1..4 {
        flow.wait_for_more(300);
        crew.push(rig.working());
    }
    while crew.len() > 1 {
        flow.wait_for_more(300);
        crew.remove(0).stop();
    }
    flow.wait_for_more(300);
    let published = flow.stop();
    rig.wait_drained(Duration::from_secs(60), &crew.iter().collect::<Vec<_>>());
    crew.into_iter().for_each(|worker| worker.stop());
    Account::take(rig).assert_right(published, fate);
}

#[test]
fn workers_join_and_leave_a_logs_pipeline() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-join-logs").with_topics(6);
    join_and_leave(&rig, log_line, log_fate);
}

#[test]
fn workers_join_and_leave_a_documents_pipeline() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-join-documents").documents().with_topics(6);
    join_and_leave(&rig, document, document_fate);
}
