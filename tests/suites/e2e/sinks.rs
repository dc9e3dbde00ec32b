//! Several sinks with conditions.

use std::collections::BTreeSet;
use std::time::Duration;

use longshore_tests::harness::account::{Fate, LETTER_REASON};
use longshore_tests::harness::{Account, Record, Rig, shared_broker, wait_until};

/// Scenario: records with two sinks, of which the topic writes at once, fail in their last step, once to four times, in the worker and through the retry topic.
/// Guarantee: what a failed try made is in no sink: each record is in both of them once, with what its last try made.
#[test]
fn a_failed_try_leaves_nothing_in_any_sink() {
    const RECORDS: usize = 200;
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-tries")
        .steps(
            "\n  - parse: { format: json }\n  - fail: { ratio: 50%, times: 1, seed: 1 }\n  - fail: { ratio: 50%, times: 3, seed: 2 }",
        )
        .set("failure.retry.first=100ms")
        .set("failure.retry.cap=100ms")
        .set("failure.retry.floor=60ms")
        .set("failure.retry.in_place=70ms");
    let files = rig.files().display().to_string();
    let rig = rig.sinks(&format!(
        "\n  - files: {{ path: \"{files}\", roll: {{ bytes: 1MiB, age: 300ms }} }}\n  - topic: {{ name: e2e-tries.out }}"
    ));
    let rig = rig.with_topics(2);
    rig.witness.create_topic("e2e-tries.out", 1, &[]);
    let record = |n: usize| Record::new(&format!("k{n}"), format!("{{\"n\":{n}}}"));
    rig.witness.publish(&rig.topic, &(0..RECORDS).map(record).collect::<Vec<_>>());
    let worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    wait_until("no copy waits any more", Duration::from_secs(60), || rig.uncommitted_copies() == 0);
    worker.stop();
    assert!(rig.witness.read(&rig.retry_topic()).len() >= RECORDS / 10, "few tries went through the topic");
    Account::take(&rig).assert_right(RECORDS as u64, |_| Fate::Row);
    let out = rig.witness.read("e2e-tries.out");
    let sources: BTreeSet<_> = out.iter().filter_map(|seen| seen.header("longshore.source")).collect();
    assert_eq!((out.len(), sources.len()), (RECORDS, RECORDS));
}

/// Scenario: files for all, a topic for errors alone; one error is larger than the topic accepts.
/// Guarantee: each sink holds what its condition names; the one that was refused is in the files and has a letter that
/// names the topic's sink and the reason; all is committed.
#[test]
fn each_sink_holds_what_it_asked_for() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-sinks");
    let files = rig.files().display().to_string();
    let rig = rig.sinks(&format!(
        "\n  - files: {{ path: \"{files}\", roll: {{ bytes: 1MiB, age: 300ms }} }}\n  \
         - topic: {{ name: e2e-sinks.alerts, when: 'severity_number >= 17' }}"
    ));
    let rig = rig.with_topics(2);
    rig.witness.create_topic("e2e-sinks.alerts", 3, &[("max.message.bytes", "2000")]);
    let record = |n: u64| {
        let level = if n.is_multiple_of(10) { "error" } else { "info" };
        // Not compressible, since the topic's limit counts packed bytes.
        let mut random = longshore_testkit::Random::new(n);
        let text: String =
            (0..if n == 50 { 500 } else { 1 }).map(|_| format!("{:016x}", random.bits())).collect();
        Record::new(&format!("k{n}"), format!(r#"{{"level":"{level}","n":{n},"message":"{text}"}}"#))
    };
    let places = rig.witness.publish(&rig.topic, &(0..200).map(record).collect::<Vec<_>>());
    let worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    worker.stop();

    let account = Account::take(&rig);
    assert_eq!(account.rows.len(), 200, "{}", account.summary());
    assert!(account.rows.values().all(|rows| rows.len() == 1));
    let source = |number: usize| format!("{}/{}/{}/0", rig.topic, places[number].0, places[number].1);
    let wanted: BTreeSet<_> = (0..200).step_by(10).filter(|number| *number != 50).map(source).collect();
    let alerts = rig.witness.read("e2e-sinks.alerts");
    let found: BTreeSet<_> = alerts.iter().filter_map(|seen| seen.header("longshore.source")).collect();
    assert_eq!(found, wanted);
    assert_eq!(alerts.len(), wanted.len());

    let [letter] = account.letters.as_slice() else { panic!("{} letters", account.letters.len()) };
    assert_eq!(letter.header("longshore.origin"), Some(source(50)));
    assert_eq!(letter.header(LETTER_REASON).as_deref(), Some("sink.too-large"));
    assert_eq!(letter.header("longshore.at").as_deref(), Some("e2e-sinks.alerts"));
    for (partition, end) in (0..).zip(&account.ends) {
        assert_eq!(account.committed[&partition].offset, *end);
    }
}
