//! A record that takes its worker down again and again.

use std::time::Duration;

use longshore_tests::harness::account::Fate;
use longshore_tests::harness::http::send;
use longshore_tests::harness::{Account, Record, Rig, Seen, Worker, shared_broker, wait_until};

use super::said::longshore;

const RECORDS: usize = 400;
const CULPRIT: usize = 123;

fn fate(seen: &Seen) -> Fate {
    let culprit = format!("{{\"n\":{CULPRIT}}}");
    if seen.value.as_deref() == Some(culprit.as_bytes()) {
        Fate::Letter("crash.loop".into())
    } else {
        Fate::Row
    }
}

/// Scenario: one of 400 records ends every process that runs it, by SIGABRT; each time a fresh worker takes over, as
/// Kubernetes would start one.
/// Guarantee: after five crashes the record is a dead letter `crash.loop`, all others are in the files once, and the worker stays, also
/// when somebody looks at the record.
#[test]
fn the_culprit_is_found_and_the_others_go_on() {
    let Some(broker) = shared_broker() else { return };
    let steps = format!(
        "\n  - parse: {{ format: json }}\n  - fail: {{ class: crash, when: 'attributes[\"n\"] == {CULPRIT}' }}"
    );
    let rig = Rig::new(&broker.bootstrap(), "e2e-crash-loop").steps(&steps).with_topics(1);
    let record = |n: usize| Record::new(&format!("key-{}", n % 7), format!("{{\"n\":{n}}}"));
    rig.witness.publish(&rig.topic, &(0..RECORDS).map(record).collect::<Vec<_>>());
    let mut crashes = 0;
    let mut worker = loop {
        let mut worker = rig.worker();
        let drained = || rig.witness.committed(&rig.group(), &rig.topic);
        wait_until("the worker crashes or is through", Duration::from_secs(60), || {
            worker.process.has_ended() || drained().get(&0).is_some_and(|at| at.offset == RECORDS as i64)
        });
        if !worker.process.has_ended() {
            break worker;
        }
        crashes += 1;
        assert!(crashes <= 5, "{}", worker.process.transcript());
    };
    let said = worker.process.transcript();
    assert!(said.contains("its records are tried one at a time"), "{said}");
    looked_at(&rig, &mut worker);
    worker.stop();
    assert_eq!(crashes, 5);
    Account::take(&rig).assert_right(RECORDS as u64, fate);
}

/// Asks worker and command for the culprit's life, whose steps would end them.
fn looked_at(rig: &Rig, worker: &mut Worker) {
    let path = format!("/api/why/{}/0/{CULPRIT}", rig.topic);
    let told = send(worker.address().unwrap(), "GET", &path, &[], "").with(200).body;
    assert!(told.contains("crash.loop") && told.contains("the steps are not run"), "{told}");
    let command = ["why", "-c", &rig.file().display().to_string(), &format!("{}/0/{CULPRIT}", rig.topic)];
    let said = longshore(&command).well();
    assert!(said.out.contains("crash.loop") && said.err.contains("the steps are not run"), "{}", said.err);
    assert!(!said.out.contains("computed now"), "{}", said.out);
}
