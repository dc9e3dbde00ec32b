//! Commands that meet what a newer version wrote; `ledger.rs` has the workers.

use longshore_tests::harness::{Record, Rig, shared_broker};

use super::said::longshore;

/// A command that is to be refused: it ends with 78 and says the one sentence, once, with these words, and lists and counts nothing.
#[track_caller]
fn is_refused(arguments: &[&str], words: &str) {
    let said = longshore(arguments);
    assert_eq!(said.code, 78, "{arguments:?}: {}{}", said.out, said.err);
    for words in ["format.newer", words, "run that version or a later one here", "docs/versions.md"] {
        assert_eq!(said.err.matches(words).count(), 1, "{arguments:?}: {words}: {}", said.err);
    }
    assert_eq!(said.out, "", "{arguments:?}");
}

fn rig(name: &str) -> Option<(Rig, String)> {
    let rig = Rig::new(&shared_broker()?.bootstrap(), name).with_topics(1);
    rig.witness.publish(&rig.topic, &[Record::new("k", "broken").to(0), Record::new("k", "broken").to(0)]);
    let file = rig.file().display().to_string();
    Some((rig, file))
}

/// A copy or letter of the input's first record, of a contract.
fn of_contract(rig: &Rig, contract: &str) -> Record {
    Record::new("k", "broken")
        .to(0)
        .header("longshore.origin", &format!("{}/0/0/0", rig.topic))
        .header("longshore.attempt", "1")
        .header("longshore.reason", "step.failed")
        .header("longshore.contract", contract)
}

/// Scenario: a newer worker has committed for the retry partition. Guarantee: what waits is neither listed nor made due, and nobody is told where a
/// record is.
#[test]
fn commits_of_a_newer_version_are_refused() {
    let Some((rig, file)) = rig("e2e-newer-commit") else { return };
    rig.witness.commit(&rig.group(), &rig.topic, 0, 0, "");
    rig.witness.commit(&rig.group(), &rig.retry_topic(), 0, 0, "L2:AAAA");
    let record = format!("{}/0/0", rig.topic);
    for arguments in [&["retry", "ls", "-c", &file][..], &["retry", "now", "-c", &file, "--yes"]] {
        is_refused(arguments, "commit metadata of version 2");
    }
    rig.witness.commit(&rig.group(), &rig.topic, 0, 0, "L2:AAAA");
    is_refused(&["why", "-c", &file, &record], "commit metadata of version 2");
    assert_eq!(rig.witness.ends(&rig.retry_topic()).iter().sum::<i64>(), 0, "something was sent");
}

/// Scenario: a newer version has handled letters, and its block is then written over by this version's. Guarantee: no command that goes by the
/// journal lists, sends or gives up anything before that; afterwards it does, with or without compaction.
#[test]
fn a_newer_journal_is_refused_until_it_is_written_over() {
    let Some((rig, file)) = rig("e2e-newer-journal") else { return };
    rig.witness.publish(&rig.letter_topic(), &[of_contract(&rig, "1")]);
    let key = format!("handled/20261128T120000-1/{}/0/0", rig.letter_topic());
    let write = |value: &str| rig.witness.publish(&rig.journal_topic(), &[Record::new(&key, value).to(0)]);
    write(r#"{"version":2,"handled":"all of them"}"#);
    let letter = format!("{}/0/0", rig.letter_topic());
    for arguments in [
        &["dlq", "ls", "-c", &file][..],
        &["dlq", "show", "-c", &file, &letter],
        &["dlq", "replay", "-c", &file, "--yes"],
        &["dlq", "discard", "-c", &file, "--reason", "x", "--yes"],
        &["why", "-c", &file, &format!("{}/0/0", rig.topic)],
    ] {
        is_refused(arguments, "journal record of version 2");
    }
    assert_eq!(rig.witness.ends(&rig.topic), [2], "something was sent");
    write(r#"{"version":1,"runs":[]}"#);
    let said = longshore(&["dlq", "ls", "-c", &file]).well();
    assert!(said.err.contains("1 open letter"), "{}", said.err);
}

/// Scenario: a letter and a copy of a newer contract. Guarantee: as whose they count is not known, so commands end where they meet one; only who asks to
/// see the letter itself sees it, with the sentence where its origin would stand.
#[test]
fn letters_and_copies_of_a_newer_contract_are_refused() {
    let Some((rig, file)) = rig("e2e-newer-contract") else { return };
    for topic in [rig.letter_topic(), rig.retry_topic()] {
        rig.witness.publish(&topic, &[of_contract(&rig, "2")]);
    }
    for arguments in [
        &["dlq", "ls", "-c", &file][..],
        &["dlq", "replay", "-c", &file, "--yes"],
        &["retry", "ls", "-c", &file],
        &["retry", "now", "-c", &file, "--yes"],
    ] {
        is_refused(arguments, "header contract of version 2");
    }
    assert_eq!(rig.witness.ends(&rig.topic), [2], "something was sent");
    let shown = longshore(&["dlq", "show", "-c", &file, &format!("{}/0/0", rig.letter_topic())]).well();
    assert!(shown.out.contains("header contract of version 2"), "{}", shown.out);
}
