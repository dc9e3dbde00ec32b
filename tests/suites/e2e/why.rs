//! `longshore why` from the outside: the life of records whose end is known.

use std::time::Duration;

use longshore_kafka::{Admin, KafkaOptions};
use longshore_tests::harness::{Record, Rig, shared_broker, wait_until};

use super::said::{Said, longshore};

const DRAINED: Duration = Duration::from_secs(60);
const SECRET: &str = "planted-secret-47";
const STEPS: &str = "
  - parse: { format: json }
  - delay: { for: 60s, when: 'attributes[\"slow\"] == true' }
  - filter: { drop: 'severity_number < 9', name: quiet }";

fn why(rig: &Rig, arguments: &[&str]) -> Said {
    let file = rig.folder().join("pipeline.yaml").display().to_string();
    longshore(&[&["why", "-c", &file], arguments].concat())
}

fn line(level: &str, slow: bool) -> String {
    format!("{{\"level\":\"{level}\",\"message\":\"{SECRET}\",\"slow\":{slow}}}")
}

/// A worker's work on: a row, a filtered record, a broken one, a slow one, and one behind it; then a record that nobody has read.
fn rig(bootstrap: &str, name: &str) -> Rig {
    let out = "
  - files: { path: \"FOLDER/out\", format: jsonl.zst, roll: { bytes: 1MiB, age: 300ms } }
  - files: { path: \"FOLDER/loud\", name: loud, when: 'severity_number >= 17', roll: { bytes: 1MiB, age: 300ms } }";
    let rig = Rig::new(bootstrap, name).steps(STEPS);
    let out = out.replace("FOLDER", &rig.folder().display().to_string());
    let rig = rig
        .sinks(&out)
        .set("limits.step=300ms")
        .set("failure.retry.floor=30m")
        .set("failure.retry.first=1h")
        .with_topics(1);
    let record = |key: &str, value: String| Record::new(key, value).to(0);
    let records = [
        record("a", line("info", false)),
        record("b", line("debug", false)),
        record("c", format!("{SECRET} {{")),
        record("d", line("error", true)),
        record("d", line("info", false)),
        record("e", line("error", false)),
    ];
    rig.witness.publish(&rig.topic, &records);
    let worker = rig.working();
    rig.wait_drained(DRAINED, &[&worker]);
    wait_until("the letter is there", DRAINED, || rig.witness.read(&rig.letter_topic()).len() == 1);
    worker.stop();
    rig.witness.publish(&rig.topic, &[record("f", line("info", false))]);
    rig
}

/// Scenario: records that became a row in one sink and in two, were filtered, became a letter, wait, stand behind one that waits,
/// and one that no worker has read. Guarantee: for each the command says where it is, how it came there, and ends with 0; for the
/// last one it says how far the group is and ends with 1; no payload is shown.
#[test]
fn every_end_of_a_record_is_told() {
    let Some(broker) = shared_broker() else { return };
    let rig = rig(&broker.bootstrap(), "e2e-why");
    let name = &rig.name;
    let cases: [(i64, i32, &[&str]); 7] = [
        (0, 0, &["in sink files: ", ", line ", "not for sink loud", "settled"]),
        (1, 0, &["filtered by quiet (step filter, computed now)", "settled"]),
        (
            2,
            0,
            &[
                "dead letter ",
                "(open): decode.json",
                "dead letter after attempt 1",
                "refused by parse: decode.json",
            ],
        ),
        (
            3,
            0,
            &[
                "waits in ",
                "due in ",
                "(1 of 8 attempts made)",
                "attempt 1 failed: step.deadline at delay",
                "without delay",
            ],
        ),
        (
            4,
            0,
            &[
                "waits in ",
                "when the earlier records of its key are through",
                "parked behind an earlier record",
            ],
        ),
        (5, 0, &["in sink files: ", "in sink loud: "]),
        (6, 1, &["nowhere yet", "committed 6 of 7, 0 before it", "not settled", "to files"]),
    ];
    for (offset, code, words) in cases {
        let said = why(&rig, &[&format!("{}/0/{offset}", rig.topic)]);
        assert_eq!(said.code, code, "{offset}: {}{}", said.out, said.err);
        for word in words {
            assert!(said.out.contains(word), "{offset}: no {word:?} in\n{}", said.out);
        }
        assert!(!said.out.contains(SECRET), "{}", said.out);
    }
    let raw = why(&rig, &[&format!("{}/0/0", rig.topic), "--raw"]).well();
    assert!(raw.out.contains(SECRET), "{}", raw.out);

    // The failed record and the one behind it go to the retry topic in any order.
    let copies = rig.witness.read(&rig.retry_topic());
    let failed = |copy: &&longshore_tests::harness::Seen| {
        copy.header("longshore.origin").as_deref() == Some(&format!("{}/0/3/0", rig.topic))
    };
    let at = copies.iter().find(failed).unwrap().offset;
    let copy = why(&rig, &[&format!("{}/0/{at}", rig.retry_topic())]).well();
    assert!(
        copy.out.contains("is a copy of it") && copy.out.contains(&format!("{}/0/3", rig.topic)),
        "{}",
        copy.out
    );
    let letter = why(&rig, &[&format!("{}/0/0", rig.letter_topic()), "-o", "json"]).well().json();
    assert_eq!(
        (&letter["record"], &letter["asked_for"]),
        (&format!("{}/0/2", rig.topic).into(), &"letter".into())
    );
    assert_eq!(letter["found"], true);

    let file = rig.folder().join("pipeline.yaml").display().to_string();
    longshore(&["dlq", "discard", "-c", &file, "--reason", "a test", "--yes"]).well();
    let handled = why(&rig, &[&format!("{}/0/2", rig.topic)]).well();
    assert!(
        handled.out.contains("handled by discard ") && handled.out.contains(name.as_str()),
        "{}",
        handled.out
    );
}

/// Scenario: retention has taken the records of the input. Guarantee: what ledger and letters know is told all the same, and for
/// a filtered record that its rule cannot be computed any more.
#[test]
fn a_record_that_is_gone_is_told_from_what_is_left() {
    let Some(broker) = shared_broker() else { return };
    let rig = rig(&broker.bootstrap(), "e2e-why-gone");
    let admin = Admin::new(&KafkaOptions::plain(broker.bootstrap())).unwrap();
    admin.delete_records_below(&rig.topic, &[(0, 6)]).unwrap();
    let told = |offset: i64| why(&rig, &[&format!("{}/0/{offset}", rig.topic)]).well().out;
    for (offset, word) in
        [(0, "in sink files: "), (1, "the record is gone"), (2, "(open): decode.json"), (3, "waits in ")]
    {
        let out = told(offset);
        assert!(out.contains(word) && out.contains("the record itself is not in the log"), "{offset}: {out}");
    }
}

/// Bad input. Guarantee: a clear message and the documented exit code.
#[test]
fn mistakes_of_a_question_are_told() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-why-mistakes").with_topics(1);
    let file = rig.file().display().to_string();
    let topic = rig.topic.as_str();
    let letters = rig.letter_topic();
    for (arguments, code, words) in [
        (vec!["why", "-c", &file, "nonsense"], 64, "TOPIC/PARTITION/OFFSET"),
        (vec!["why", "-c", &file, &format!("{topic}/0/-1")], 64, "TOPIC/PARTITION/OFFSET"),
        (vec!["why", "-c", &file, "another.topic/0/1"], 64, "is no topic of pipeline"),
        (vec!["why", "-c", &file, &format!("{topic}/7/1")], 64, "has 1 partitions"),
        (vec!["why", "-c", &file, &format!("{letters}/0/3")], 1, "holds no record"),
        (vec!["why", &format!("{topic}/0/1")], 64, "name the pipeline with -c"),
        (
            vec!["why", "-c", &file, "--broker", "127.0.0.1:1", &format!("{topic}/0/1")],
            69,
            "broker.unavailable",
        ),
    ] {
        let said = longshore(&arguments);
        assert_eq!(said.code, code, "{arguments:?}: {}", said.err);
        assert!(said.err.contains(words), "{arguments:?}: {}", said.err);
    }
    let beyond = longshore(&["why", "-c", &file, &format!("{topic}/0/99")]);
    assert_eq!(beyond.code, 1, "{}", beyond.err);
    assert!(beyond.out.contains("was not written yet, the partition ends at 0"), "{}", beyond.out);
}
