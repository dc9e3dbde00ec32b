//! `/scale` from the outside: any worker answers for the fleet, from Kafka alone.

use std::time::Duration;

use longshore_broker::BrokerOptions;
use longshore_tests::harness::{Record, Rig, Worker, shared_broker, start_broker, wait_for, wait_until};
use serde_json::Value;

/// Two looks and what a busy machine adds.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a worker says, with the status code; none while it does not answer.
fn asked(worker: &mut Worker) -> Option<(u16, Value)> {
    let (code, body) = worker.answer("/scale")?;
    let said = serde_json::from_str(&body);
    Some((code, said.unwrap_or_else(|error| panic!("{code} {body:?}: {error}"))))
}

/// An answer that is a number.
fn answer(worker: &mut Worker) -> Option<Value> {
    let (code, said) = asked(worker)?;
    assert!(
        code == 200 || (code == 503 && said["pods"].is_null() && said["reason"].is_string()),
        "{code} {said}"
    );
    (code == 200).then_some(said)
}

fn records(count: usize) -> Vec<Record> {
    (0..count).map(|n| Record::new(&format!("k{}", n % 97), format!("{{\"n\":{n}}}"))).collect()
}

/// Scenario: two slow workers before a backlog of minutes; both are asked. Guarantee: 503 at first, then both say the same number within the partitions,
/// with a rate and a time.
#[test]
fn any_worker_answers_for_the_fleet() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-scale")
        .steps("\n  - parse: { format: json }\n  - delay: { for: 300ms }")
        .set("scale.drain=30s")
        .with_topics(4);
    rig.witness.publish(&rig.topic, &records(200_000));
    let (mut one, mut other) = (rig.working(), rig.working());
    let first = asked(&mut one).unwrap();
    assert_eq!((first.0, &first.1["cause"]), (503, &"early".into()), "{first:?}");
    let same = || {
        let (one, other) = (answer(&mut one)?, answer(&mut other)?);
        let rates = [&one, &other].map(|said| said["rate_per_pod"].as_f64().unwrap_or(0.0));
        let known = rates.iter().all(|rate| *rate > 0.0);
        (known && one["pods"] == other["pods"]).then_some((one, other))
    };
    let (one_said, other_said) = wait_for("both say the same", PATIENCE, same);
    let all = format!("{one_said}\n{other_said}");
    assert!(one_said["pods"].as_u64().is_some_and(|pods| (2..=4).contains(&pods)), "{all}");
    for said in [one_said, other_said] {
        assert!(said["lag"].as_u64().is_some_and(|lag| (1..=200_000).contains(&lag)), "{all}");
        assert!(said["drain_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{all}");
        assert!(said["reason"].as_str().is_some_and(|reason| reason.len() > 20), "{all}");
    }
    one.process.kill9();
    other.process.kill9();
}

/// Scenario: everything published waits in open segments, or behind a failed record of its key in the retry topic. Guarantee: none of it is lag, and
/// one pod stays for it.
#[test]
fn what_waits_in_segments_and_in_the_retry_topic_is_no_lag() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-scale-waits")
        .steps("\n  - parse: { format: json }\n  - delay: { for: 60s, when: 'attributes[\"n\"] < 5' }")
        .set("limits.step=200ms")
        .set("failure.retry.first=1h")
        .set("failure.retry.in_place=10ms")
        .set("sinks.0.files.roll.age=1h")
        .set("scale.min=0")
        .with_topics(2);
    rig.witness.publish(&rig.topic, &records(500));
    let mut worker = rig.working();
    let waits = || answer(&mut worker).filter(|said| said["lag"] == 0 && said["cause"] == "waiting");
    let said = wait_for("nothing is lag", PATIENCE, waits);
    assert_eq!(said["pods"], 1, "{said}");
    assert!(rig.uncommitted_copies() > 0, "nothing waits for its retry");
    let committed: i64 = rig.witness.committed(&rig.group(), &rig.topic).values().map(|it| it.offset).sum();
    assert!(committed < 500, "nothing waits in a segment");
    worker.stop();
}

/// Scenario: the broker goes away under a worker that has answered. Guarantee: 503 with the reason, and a number again when it is back.
#[test]
fn without_a_broker_there_is_no_number() {
    let Some(mut broker) = start_broker(BrokerOptions::default()) else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-scale-away").with_topics(2);
    rig.witness.publish(&rig.topic, &records(100));
    let mut worker = rig.working();
    wait_until("it answers", PATIENCE, || answer(&mut worker).is_some());
    broker.stop(1).unwrap();
    let away = || asked(&mut worker).filter(|(code, _)| *code == 503);
    let (_, said) = wait_for("it has no number", PATIENCE, away);
    assert_eq!(said["cause"], "broker", "{said}");
    assert!(said["pods"].is_null(), "{said}");
    broker.restart(1).unwrap();
    worker.wait_until("it answers again", |worker| answer(worker).is_some());
    worker.stop();
}
