//! Records that fail on purpose, and what becomes of them on a real broker.

#[path = "failing/copies.rs"]
mod copies;
#[path = "failing/guide.rs"]
mod guide;
#[path = "failing/topics.rs"]
mod topics;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use longshore_tests::harness::account::Fate;
use longshore_tests::harness::{Account, Record, Rig, Seen, binary, shared_broker, wait_until};

/// Records `{"n": N}` over `keys` keys.
fn numbered(range: std::ops::Range<usize>, keys: usize) -> Vec<Record> {
    range.map(|n| Record::new(&format!("key-{}", n % keys), format!("{{\"n\":{n}}}"))).collect()
}

/// The origins that records of a topic of the pipeline name, with the reason they give.
fn origins(seen: &[Seen], reason: &str) -> BTreeSet<String> {
    let with = seen.iter().filter(|seen| seen.header("longshore.reason").as_deref() == Some(reason));
    with.filter_map(|seen| seen.header("longshore.origin")).collect()
}

/// Scenario: a tenth of the records fails twice and then goes through; the worker is killed in the middle and another goes on.
/// Guarantee: every record is in the files once and in order; about a tenth went through the retry topic for themselves, each of
/// them twice, before the kill and after it alike; the worker says that it rehearses.
#[test]
fn a_rehearsal_fails_the_same_records_before_and_after_a_kill() {
    const RECORDS: usize = 4_000;
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-rehearsal")
        .steps("\n  - fail: { ratio: 10%, times: 2 }\n  - parse: { format: json }")
        .set("failure.retry.first=300ms")
        .set("failure.retry.cap=300ms")
        .set("failure.retry.in_place=0ms")
        .with_topics(2);
    rig.witness.publish(&rig.topic, &numbered(0..RECORDS / 2, 100));
    let mut worker = rig.working();
    wait_until("records were sent to retry", Duration::from_secs(30), || {
        rig.witness.read(&rig.retry_topic()).len() > 100
    });
    worker.process.kill9();
    rig.witness.publish(&rig.topic, &numbered(RECORDS / 2..RECORDS, 100));
    let next = rig.working();
    assert!(next.process.transcript().contains("rehearsal step in force"), "{}", next.process.transcript());
    rig.wait_drained(Duration::from_secs(60), &[&next]);
    wait_until("no copy waits any more", Duration::from_secs(60), || rig.uncommitted_copies() == 0);
    next.stop();

    let copies = rig.witness.read(&rig.retry_topic());
    let retried = origins(&copies, "step.failed");
    assert!((320..=480).contains(&retried.len()), "{} retried of {RECORDS}, a tenth", retried.len());
    for origin in &retried {
        let own = copies.iter().filter(|copy| copy.header("longshore.origin").as_ref() == Some(origin));
        let tries: BTreeSet<_> = own.filter_map(|copy| copy.header("longshore.attempt")).collect();
        assert!(tries.contains("2"), "{origin} went through after {tries:?}");
    }
    Account::take(&rig).assert_right(RECORDS as u64, |_| Fate::Row);
}

/// Scenario: one in fifty records is rejected on purpose under a code of the pipeline's choice. Guarantee: those are the
/// letters, all others are in the files, and `check` says that a rehearsal is in force.
#[test]
fn a_rehearsal_rejects_its_share() {
    const RECORDS: usize = 2_000;
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-rehearsal-reject")
        .steps("\n  - fail: { ratio: 2%, class: reject, reason: sink.rejected }\n  - parse: { format: json }")
        .with_topics(2);
    rig.witness.publish(&rig.topic, &numbered(0..RECORDS, 100));
    let worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    worker.stop();
    let letters = origins(&rig.witness.read(&rig.letter_topic()), "sink.rejected");
    assert!((20..=60).contains(&letters.len()), "{} letters of {RECORDS}, one in fifty", letters.len());
    let rejected =
        |seen: &Seen| letters.contains(&format!("{}/{}/{}/0", rig.topic, seen.partition, seen.offset));
    let fate =
        |seen: &Seen| if rejected(seen) { Fate::Letter("sink.rejected".to_owned()) } else { Fate::Row };
    Account::take(&rig).assert_right(RECORDS as u64, fate);
    let checked = Command::new(binary()).arg("check").arg(rig.file()).output().unwrap();
    let told = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success(), "{told}");
    assert!(told.contains("rehearsal step in force: records fail on purpose (2% reject)"), "{told}");
    assert!(told.contains("memory 256MiB a worker: 128MiB for records at work"), "{told}");
    assert!(told.contains("go to a spool of up to 1GiB in "), "{told}");
}
