//! SIGKILL at named points of a replay: before letters are sent, when the broker has them and the journal does not know it, and
//! when the journal knows the letters and not how far the run is.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use longshore_testkit::Random;
use longshore_tests::harness::{Longshore, Record, Rig, binary};

use super::{broker, is_full};

/// Letters to a batch; the replay sends so many batches a second that it comes by each point now and then.
const RATE: i64 = 400;

fn hits() -> i64 {
    if is_full() { 20 } else { 1 }
}

/// Enough for every hit: no run comes by a point more often than this without noting that it did.
fn letters() -> i64 {
    (hits() + 1) * RATE * 3 / 2
}

/// Letters as a worker would have made them.
fn letter(rig: &Rig, offset: i64) -> Record {
    Record::new(&format!("key-{}", offset % 5), format!("broken {offset}"))
        .to(0)
        .header("longshore.origin", &format!("{}/0/{offset}/0", rig.topic))
        .header("longshore.origin-timestamp", "1700000000000")
        .header("longshore.attempt", "1")
        .header("longshore.replays", "0")
        .header("longshore.reason", "decode.json")
        .header("longshore.pipeline", "test 1")
        .header("longshore.first-failed", "1700000001000")
        .header("longshore.last-failed", "1700000002000")
}

fn dlq(rig: &Rig, words: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.arg("dlq").arg("replay").args(words).arg("-c").arg(rig.file());
    command
}

/// The only run of the journal, as `replay ls` and `replay status` tell it.
fn status(rig: &Rig) -> serde_json::Value {
    let answer = |words: &[&str]| {
        let out = dlq(rig, words).args(["-o", "json"]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap()
    };
    let runs = answer(&["ls"]);
    let [run] = runs.as_array().unwrap().as_slice() else { panic!("{runs}") };
    let id = run["id"].as_str().unwrap();
    answer(&["status", id])
}

/// Scenario: a replay dies at `point`; it is resumed and dies there again, and so on, until it is let through.
/// Guarantee: after each death the journal claims no letter that is not there; in the end every letter is in the target topic
/// exactly once, and the journal says that all are handled.
fn die_at(point: &str) {
    let Some(broker) = broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), &format!("point-{}", point.replace('.', "-"))).with_topics(1);
    let target = format!("{}.target", rig.name);
    rig.witness.create_topic(&target, 2, &[]);
    let broken = (0..letters()).map(|offset| Record::new("k", format!("broken {offset}")).to(0));
    rig.witness.publish(&rig.topic, &broken.collect::<Vec<_>>());
    let made: Vec<_> = (0..letters()).map(|offset| letter(&rig, offset)).collect();
    rig.witness.publish(&rig.letter_topic(), &made);
    let (rate, mut random) = (RATE.to_string(), Random::new(point.len() as u64));
    let first = ["--to", target.as_str(), "--rate", rate.as_str(), "--yes"];
    let mut id = String::new();
    for hit in 0..hits() {
        let plan = format!("{point}:{}", 1 + random.below(if point == "replay.before" { 8 } else { 2 }));
        let mut command = if hit == 0 { dlq(&rig, &first) } else { dlq(&rig, &["resume", &id]) };
        command.env("LONGSHORE_CRASH_AT", &plan);
        let mut process = Longshore::start_command(command);
        let ended = process.wait(Duration::from_secs(60));
        assert_eq!(ended.signal(), Some(9), "hit {hit} of {plan}: {ended}\n{}", process.transcript());
        let told = status(&rig);
        assert_eq!(told["state"], "running", "{told}");
        let sent = rig.witness.ends(&target).iter().sum::<i64>();
        assert!(told["counts"]["handled"].as_i64().unwrap() <= sent, "{sent} sent: {told}");
        told["id"].as_str().unwrap().clone_into(&mut id);
    }
    let mut last = Longshore::start_command(dlq(&rig, &["resume", &id, "--rate", "100000"]));
    let ended = last.wait(Duration::from_secs(60));
    assert!(ended.success(), "{ended}\n{}", last.transcript());
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for seen in rig.witness.read(&target) {
        *counts.entry(seen.header("longshore.replay-of").unwrap()).or_default() += 1;
    }
    let doubled: Vec<_> = counts.iter().filter(|(_, count)| **count != 1).collect();
    assert!(
        doubled.is_empty() && counts.len() as i64 == letters(),
        "{} sent, doubled {doubled:?}",
        counts.len()
    );
    let told = status(&rig);
    assert_eq!(
        (&told["state"], told["counts"]["handled"].as_i64()),
        (&"done".into(), Some(letters())),
        "{told}"
    );
}

#[test]
fn before_letters_are_sent() {
    die_at("replay.before");
}

#[test]
fn between_sending_letters_and_the_journal() {
    die_at("replay.sent");
}

#[test]
fn between_the_journals_letters_and_its_run() {
    die_at("replay.noted");
}
