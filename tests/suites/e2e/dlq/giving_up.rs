//! `dlq discard` and `dlq trim`, and rights.

use longshore_broker::{BrokerOptions, Listener, SASL_PASSWORD, SASL_USER, Tool};
use longshore_tests::harness::{Rig, shared_broker, start_broker};

use super::{dlq, file, letter, open, rig_with_letters};

/// Scenario: some letters are given up, with a reason; then the rest is replayed; then the topic is trimmed.
/// Guarantee: discard asks for a reason and a yes, and its audit says who and why; a discarded letter is not open and not replayed;
/// trim deletes what lies below the first open letter and not one more.
#[test]
fn letters_are_given_up_and_taken_away() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-dlq-discard").with_topics(1);
    let make = |n: i64| letter(&rig, n, 0, if n < 6 { "decode.empty" } else { "decode.json" }, "x");
    let mut letters: Vec<_> = (0..10).map(make).collect();
    // A copy of the first letter behind all others: it is the same letter, also when the first is deleted.
    letters.push(make(0));
    rig.witness.publish(&rig.letter_topic(), &letters);
    let file = file(&rig);
    let without = dlq(&["discard", "-c", &file, "--yes"]);
    assert_eq!(without.code, 64, "{}", without.err);
    let discard = ["discard", "-c", &file, "--code", "decode.empty", "--reason", "old heartbeats"];
    let unasked = dlq(&discard);
    assert_eq!((unasked.code, open(&rig)), (64, 10), "{}", unasked.err);
    dlq(&[&discard[..], &["--dry-run"]].concat()).well();
    assert_eq!(open(&rig), 10);
    let said = dlq(&[&discard[..], &["--yes"]].concat()).well();
    assert!(said.err.contains("6 letters"), "{}", said.err);
    assert_eq!(open(&rig), 4);
    let id = format!("{}/0/0", rig.letter_topic());
    let shown = dlq(&["show", "-c", &file, &id]).well();
    assert!(
        shown.out.contains("handled by discard") && shown.out.contains("old heartbeats"),
        "{}",
        shown.out
    );

    let plan = dlq(&["trim", "-c", &file, "--dry-run"]).well();
    assert!(plan.err.contains("6 offsets"), "{}", plan.err);
    assert_eq!(rig.witness.read(&rig.letter_topic()).len(), 11);
    dlq(&["trim", "-c", &file, "--yes"]).well();
    let left: Vec<i64> = rig.witness.read(&rig.letter_topic()).iter().map(|seen| seen.offset).collect();
    assert_eq!(left, [6, 7, 8, 9, 10]);
    assert_eq!(open(&rig), 4);
    let again = dlq(&["trim", "-c", &file, "--yes"]).well();
    assert!(again.err.contains("nothing to delete"), "{}", again.err);

    rig_inputs(&rig);
    dlq(&["replay", "-c", &file, "--yes"]).well();
    dlq(&["trim", "-c", &file, "--yes"]).well();
    assert!(rig.witness.read(&rig.letter_topic()).is_empty());
    assert_eq!(open(&rig), 0);
    let runs = dlq(&["replay", "ls", "-c", &file, "-o", "json"]).well().rows();
    let kinds: Vec<_> = runs.iter().map(|run| run["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["trim", "replay", "trim", "discard"]);
    assert_eq!(runs[3]["words"], "old heartbeats");
}

/// The records that the letters claim to be made from.
fn rig_inputs(rig: &Rig) {
    let record = |_| longshore_tests::harness::Record::new("k", "x").to(0);
    rig.witness.publish(&rig.topic, &(0..10).map(record).collect::<Vec<_>>());
}

/// Scenario: the user may read letters and write nothing. Guarantee: `ls` works; `replay` and `discard` end with 77, and no
/// letter counts as handled.
#[test]
fn missing_rights_end_with_77() {
    let listeners = vec![Listener::SaslPlain];
    let Some(broker) = start_broker(BrokerOptions { listeners, acls: true, ..BrokerOptions::default() })
    else {
        return;
    };
    let user = format!("User:{SASL_USER}");
    let read = ["--add", "--allow-principal", &user, "--operation", "Read", "--operation", "Describe"];
    let topics = ["--topic", "e2e-dlq-rights", "--resource-pattern-type", "prefixed"];
    broker.tool(Tool::Acls, &[&read[..], &topics].concat()).unwrap();
    let journal = ["--topic", "longshore.e2e-dlq-rights.journal"];
    broker.tool(Tool::Acls, &[&read[..], &journal].concat()).unwrap();
    let section = format!(
        "{{ brokers: \"{}\", security: {{ sasl: {{ mechanism: PLAIN, username: {SASL_USER}, password: \"{SASL_PASSWORD}\" }} }} }}",
        broker.bootstrap_of(Listener::SaslPlain)
    );
    let rig = Rig::new(&broker.bootstrap(), "e2e-dlq-rights").kafka(&section).with_topics(1);
    rig_inputs(&rig);
    rig.witness.publish(
        &rig.letter_topic(),
        &(0..3).map(|n| letter(&rig, n, 0, "decode.json", "x")).collect::<Vec<_>>(),
    );
    let file = file(&rig);
    assert_eq!(open(&rig), 3);
    for arguments in
        [&["replay", "-c", &file, "--yes"][..], &["discard", "-c", &file, "--reason", "x", "--yes"]]
    {
        let said = dlq(arguments);
        assert_eq!(said.code, 77, "{arguments:?}: {}", said.err);
        assert!(!said.err.contains(SASL_PASSWORD), "{}", said.err);
    }
    assert_eq!(open(&rig), 3);
}

/// Scenario: the sink's folder can be read from here, and it holds the record of one letter already.
/// Guarantee: that letter is told as already held, is not sent, and is done with.
#[test]
fn what_the_ledger_holds_is_not_sent() {
    let Some(broker) = shared_broker() else { return };
    let rig = rig_with_letters(broker, "e2e-dlq-held", 5);
    // A letter of a record that a worker has put into a file since: the good record behind the broken ones.
    let good = longshore_tests::harness::Record::new("k", "{\"n\":1}").to(0);
    let place = rig.witness.publish(&rig.topic, &[good]);
    let worker = rig.working();
    rig.wait_drained(std::time::Duration::from_secs(60), &[&worker]);
    worker.stop();
    let offset = place[0].1;
    rig.witness.publish(&rig.letter_topic(), &[letter(&rig, offset, 0, "sink.rejected", "{\"n\":1}")]);
    let said = dlq(&["replay", "-c", &file(&rig), "--reason", "sink.rejected", "--yes"]).well();
    assert!(said.out.contains("already held: 1"), "{}", said.out);
    assert_eq!(rig.witness.read(&rig.retry_topic()).len(), 0);
    let left = dlq(&["ls", "-c", &file(&rig), "-o", "json"]).well().rows();
    assert!(left.iter().all(|row| row["value"] != "sink.rejected"), "{left:?}");
}
