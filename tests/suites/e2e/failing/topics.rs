//! The topics for records that fail are themselves in trouble: too few replicas, no rights, gone. Nothing may be lost meanwhile.

use std::process::Command;
use std::time::Duration;

use longshore_broker::{BrokerOptions, JvmBroker, Listener, SASL_PASSWORD, SASL_USER, Tool};
use longshore_tests::harness::account::Fate;
use longshore_tests::harness::rig::{LETTER_SETTINGS, RETRY_SETTINGS};
use longshore_tests::harness::{Account, Rig, Seen, Worker, binary, shared_broker, start_broker, wait_until};

use super::{numbered, origins};

const RECORDS: usize = 200;
/// Records that fail until they are mended, or at once for good.
const PASSING: &str = "\n  - fail: { ratio: 20%, times: 1 }\n  - parse: { format: json }";
const REJECTED: &str = "\n  - fail: { ratio: 20%, class: reject }\n  - parse: { format: json }";

fn rig(bootstrap: &str, name: &str, steps: &str) -> Rig {
    Rig::new(bootstrap, name)
        .steps(steps)
        .set("failure.retry.first=100ms")
        .set("failure.retry.cap=100ms")
        .set("failure.retry.in_place=0ms")
        .set("kafka.client.topic.metadata.propagation.max.ms=2000")
}

/// Everything came through: rows, and letters for those that the step rejects.
fn assert_all_there(rig: &Rig, worker: &Worker, records: usize) {
    rig.wait_drained(Duration::from_secs(60), &[worker]);
    wait_until("no copy waits any more", Duration::from_secs(60), || rig.uncommitted_copies() == 0);
    let letters = origins(&rig.witness.read(&rig.letter_topic()), "step.failed");
    let fate = |seen: &Seen| {
        let origin = format!("{}/{}/{}/0", rig.topic, seen.partition, seen.offset);
        if letters.contains(&origin) { Fate::Letter("step.failed".to_owned()) } else { Fate::Row }
    };
    Account::take(rig).assert_right(records as u64, fate);
    let copies = rig.witness.read(&rig.retry_topic()).len();
    assert!(
        letters.len() + copies >= records / 10,
        "{} letters and {copies} copies of {records}",
        letters.len()
    );
}

fn set(broker: &JvmBroker, topic: &str, setting: &str) {
    let alter = ["--alter", "--entity-type", "topics", "--entity-name", topic, "--add-config", setting];
    broker.tool(Tool::Configs, &alter).unwrap();
}

/// The offset is not past records that are nowhere.
fn assert_offset_holds(rig: &Rig) {
    let ends: i64 = rig.witness.ends(&rig.topic).iter().sum();
    let committed: i64 =
        rig.witness.committed(&rig.group(), &rig.topic).values().map(|position| position.offset).sum();
    assert!(committed < ends, "committed {committed} of {ends} with failed records nowhere");
}

/// Scenario: three nodes, of which one dies; the pipelines' topics for failed records want all three in sync, the inputs two.
/// Guarantee: the workers hold their offsets and say what is wrong, go on by themselves when the node is back, and nothing is lost.
#[test]
fn below_the_minimum_of_replicas_failed_records_wait() {
    let Some(mut broker) = start_broker(BrokerOptions { brokers: 3, ..BrokerOptions::default() }) else {
        return;
    };
    let letters = rig(&broker.bootstrap(), "e2e-dlq-isr", REJECTED).with_topics(2);
    let copies = rig(&broker.bootstrap(), "e2e-retry-isr", PASSING).with_topics(2);
    set(&broker, &letters.letter_topic(), "min.insync.replicas=3");
    set(&broker, &copies.retry_topic(), "min.insync.replicas=3");
    let mut workers = [letters.working(), copies.working()];
    broker.kill9(3).unwrap();
    for rig in [&letters, &copies] {
        rig.witness.publish(&rig.topic, &numbered(0..RECORDS, 20));
    }
    for (rig, worker) in [&letters, &copies].into_iter().zip(&mut workers) {
        worker.wait_until("it says why it takes no records", |worker| {
            worker.process.transcript().contains("pair takes no records until this is over")
        });
        assert_offset_holds(rig);
    }
    broker.restart(3).unwrap();
    for (rig, worker) in [&letters, &copies].into_iter().zip(workers) {
        assert_all_there(rig, &worker, RECORDS);
        worker.stop();
    }
}

/// Scenario: the topic is deleted under a running worker while records fail, and made again when the worker has given up. Guarantee:
/// it holds its offset and ends with 78 and the topic's name; the next one brings every record to where it belongs.
fn deleted(name: &str, steps: &str, topic: impl Fn(&Rig) -> String, settings: &[(&str, &str)]) {
    let Some(broker) = shared_broker() else { return };
    let rig = rig(&broker.bootstrap(), name, steps).with_topics(2);
    let mut worker = rig.worker_with(&["limits.halt=3s"], &[]);
    worker.wait_for_partitions();
    rig.witness.delete_topic(&topic(&rig));
    rig.witness.publish(&rig.topic, &numbered(0..RECORDS, 20));
    let code = worker.exit_code(Duration::from_secs(60));
    let said = worker.process.transcript();
    assert_eq!(code, 78, "{said}");
    assert!(said.contains(&format!("broker.topic-missing: topic {}", topic(&rig))), "{said}");
    assert_offset_holds(&rig);
    rig.witness.create_topic(&topic(&rig), 2, settings);
    let next = rig.working();
    assert_all_there(&rig, &next, RECORDS);
    next.stop();
}

/// Scenario: the topic is deleted under a running worker while records fail, and made again a little later. Guarantee: the worker
/// says which topic is missing, takes no records meanwhile, and goes on by itself; every record comes to where it belongs.
fn made_again(name: &str, steps: &str, topic: impl Fn(&Rig) -> String, settings: &[(&str, &str)]) {
    let Some(broker) = shared_broker() else { return };
    let rig = rig(&broker.bootstrap(), name, steps).with_topics(2);
    let mut worker = rig.working();
    let topic = topic(&rig);
    rig.witness.delete_topic(&topic);
    rig.witness.publish(&rig.topic, &numbered(0..RECORDS, 20));
    let missing = format!("broker.topic-missing: topic {topic}");
    worker.wait_until("it says what is missing", |worker| worker.process.transcript().contains(&missing));
    assert_offset_holds(&rig);
    rig.witness.create_topic(&topic, 2, settings);
    assert_all_there(&rig, &worker, RECORDS);
    worker.stop();
}

#[test]
fn a_worker_goes_on_when_its_dead_letter_topic_is_made_again() {
    made_again("e2e-dlq-again", REJECTED, Rig::letter_topic, LETTER_SETTINGS);
}

#[test]
fn a_worker_goes_on_when_its_retry_topic_is_made_again() {
    made_again("e2e-retry-again", PASSING, Rig::retry_topic, RETRY_SETTINGS);
}

#[test]
fn a_deleted_dead_letter_topic_loses_nothing() {
    deleted("e2e-dlq-gone", REJECTED, Rig::letter_topic, LETTER_SETTINGS);
}

#[test]
fn a_deleted_retry_topic_loses_nothing() {
    deleted("e2e-retry-gone", PASSING, Rig::retry_topic, RETRY_SETTINGS);
}

/// A broker that asks for passwords and rights, where workers may do all to begin with, and their `kafka:` section.
fn guarded() -> Option<(JvmBroker, String)> {
    let options =
        BrokerOptions { listeners: vec![Listener::SaslPlain], acls: true, ..BrokerOptions::default() };
    let (broker, user) = (start_broker(options)?, format!("User:{SASL_USER}"));
    for kind in ["--topic", "--group"] {
        let all = ["--add", "--allow-principal", &user, "--operation", "All", kind, "*"];
        broker.tool(Tool::Acls, &all).unwrap();
    }
    let sasl = format!("sasl: {{ mechanism: PLAIN, username: {SASL_USER}, password: \"{SASL_PASSWORD}\" }}");
    let bootstrap = broker.bootstrap_of(Listener::SaslPlain);
    Some((broker, format!("{{ brokers: \"{bootstrap}\", security: {{ {sasl} }} }}")))
}

/// Takes a right away from the workers, or gives it back.
fn deny(broker: &JvmBroker, change: &[&str], operation: &str, topic: &str) {
    let user = format!("User:{SASL_USER}");
    let rule = ["--deny-principal", &user, "--operation", operation, "--topic", topic];
    broker.tool(Tool::Acls, &[change, &rule].concat()).unwrap();
}

/// Scenario: the right to write the topic is taken away under a running worker, and given back. Guarantee: the worker ends with
/// 77 and names the right; nothing is lost.
#[test]
fn rights_that_are_taken_away_end_with_77_and_lose_nothing() {
    let Some((broker, section)) = guarded() else { return };
    for (name, steps, of) in [
        ("e2e-dlq-denied", REJECTED, Rig::letter_topic as fn(&Rig) -> String),
        ("e2e-retry-denied", PASSING, Rig::retry_topic),
    ] {
        let rig = rig(&broker.bootstrap(), name, steps).kafka(&section).with_topics(2);
        let mut worker = rig.worker_with(&["limits.halt=3s"], &[]);
        worker.wait_for_partitions();
        deny(&broker, &["--add"], "Write", &of(&rig));
        rig.witness.publish(&rig.topic, &numbered(0..RECORDS, 20));
        assert_eq!(worker.exit_code(Duration::from_secs(60)), 77, "{}", worker.process.transcript());
        assert!(
            worker.process.transcript().contains("broker.authorization"),
            "{}",
            worker.process.transcript()
        );
        deny(&broker, &["--remove", "--force"], "Write", &of(&rig));
        let next = rig.working();
        assert_all_there(&rig, &next, RECORDS);
        next.stop();
    }
}

/// Scenario: the right to read the input is taken away under a running worker, which has read all of it, and given back after more was published.
/// Guarantee (I6): as long as it lacks the right it is not ready and says which partition nothing comes of; then it goes on by itself, and nothing is lost.
#[test]
fn a_right_to_read_that_is_taken_away_is_told_until_it_is_back() {
    let Some((broker, section)) = guarded() else { return };
    let rig = rig(&broker.bootstrap(), "e2e-read-denied", PASSING).kafka(&section).with_topics(2);
    rig.witness.publish(&rig.topic, &numbered(0..RECORDS / 2, 20));
    let mut worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    deny(&broker, &["--add"], "Read", &rig.topic);
    rig.witness.publish(&rig.topic, &numbered(RECORDS / 2..RECORDS, 20));
    worker.wait_until("it says that nothing comes", |worker| {
        let log = worker.process.stderr();
        log.contains(&format!("broker.fetches: nothing comes of {}/", rig.topic))
    });
    let (code, why) = worker.answer("/readyz").unwrap();
    assert!(code == 503 && why.starts_with("broker.fetches"), "{code} {why}");
    assert_offset_holds(&rig);
    deny(&broker, &["--remove", "--force"], "Read", &rig.topic);
    assert_all_there(&rig, &worker, RECORDS);
    worker.wait_until("it is ready", |worker| worker.answer("/readyz").is_some_and(|(code, _)| code == 200));
    worker.stop();
}

/// Scenario: two pipelines read one input topic, and each fails other records. Guarantee: each has its own retry topic, dead
/// letters and journal, nothing of one is in the other's, and a replay of one's letters reaches that one alone.
#[test]
fn two_pipelines_on_one_topic_do_not_mix() {
    let Some(broker) = shared_broker() else { return };
    let first = rig(
        &broker.bootstrap(),
        "e2e-both-first",
        "\n  - fail: { ratio: 20%, times: 1, seed: 1 }\n  - fail: { ratio: 5%, class: reject, seed: 2 }\n  - parse: { format: json }",
    )
    .with_topics(2);
    let mut second = rig(&broker.bootstrap(), "e2e-both-second", REJECTED);
    second.topic.clone_from(&first.topic);
    let second = second.with_own_topics(2);
    first.witness.publish(&first.topic, &numbered(0..RECORDS, 20));
    let (one, two) = (first.working(), second.working());
    assert_all_there(&first, &one, RECORDS);
    assert_all_there(&second, &two, RECORDS);
    let of = |topic: &str| -> Vec<String> {
        let seen = first.witness.read(topic);
        seen.iter().filter_map(|seen| seen.header("longshore.pipeline")).collect()
    };
    for (rig, other) in [(&first, &second.name), (&second, &first.name)] {
        let both = [of(&rig.retry_topic()), of(&rig.letter_topic())].concat();
        assert!(!both.is_empty() && both.iter().all(|by| by.starts_with(&rig.name)), "{other}: {both:?}");
    }
    assert!(second.witness.read(&second.retry_topic()).is_empty(), "nothing of the second is tried again");
    one.stop();

    // Mended, the first one's letters are sent again; the second one sees nothing of it.
    let mended = first.steps("\n  - parse: { format: json }");
    let worker = mended.working();
    let letters = mended.witness.read(&mended.letter_topic()).len();
    let mut replay = Command::new(binary());
    let ran = replay.args(["dlq", "replay", "--yes", "-c"]).arg(mended.file()).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    wait_until("the letters' records are in the files", Duration::from_secs(60), || {
        mended.uncommitted_copies() == 0 && Account::take(&mended).rows.len() == RECORDS
    });
    let replayed = origins(&mended.witness.read(&mended.retry_topic()), "step.failed").len();
    assert!(replayed >= letters);
    assert!(second.witness.read(&second.retry_topic()).is_empty());
    worker.stop();
    two.stop();
}

/// Scenario: a large copy waits for its next try when somebody lowers what the retry topic takes at once; those behind it are through, so it is to
/// be carried forward, which is refused. Guarantee: its record is a letter with its payload that tells why, and the partition goes on, where it
/// halted at this start and at each one after it (I9).
#[test]
fn a_copy_that_the_retry_topic_takes_no_more_is_a_letter() {
    const COPIES: usize = 141;
    let Some(broker) = shared_broker() else { return };
    let rig = rig(&broker.bootstrap(), "e2e-carry-refused", "\n  - parse: { format: json }")
        .set("failure.retry.cap=10m")
        .set("failure.retry.span=100")
        .with_topics(1);
    // Not compressible, since the topic's limit counts packed bytes.
    let mut random = longshore_testkit::Random::new(1);
    let noise: String = (0..60_000).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
    let mut records = numbered(0..COPIES + 1, COPIES + 1);
    records[0].value = Some(format!("{{\"n\":0,\"noise\":\"{noise}\"}}").into_bytes());
    rig.witness.publish(&rig.topic, &records);
    rig.witness.commit(&rig.group(), &rig.topic, 0, COPIES as i64, "");
    let copies = records[..COPIES].iter().cloned().enumerate().map(|(offset, copy)| {
        let copy = copy.to(0).header("longshore.origin", &format!("{}/0/{offset}/0", rig.topic));
        let copy = copy.header("longshore.attempt", "1").header("longshore.reason", "step.failed");
        copy.header("longshore.not-before", if offset == 0 { "7258118400000" } else { "1" })
    });
    rig.witness.publish(&rig.retry_topic(), &copies.collect::<Vec<_>>());
    let lowered = [RETRY_SETTINGS, &[("max.message.bytes", "20000")]].concat();
    rig.witness.alter_topic(&rig.retry_topic(), &lowered);
    let worker = rig.working();
    wait_until("no copy waits any more", Duration::from_secs(60), || rig.uncommitted_copies() == 0);
    rig.witness.publish(&rig.topic, &numbered(COPIES + 1..COPIES + 10, COPIES));
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    worker.stop();
    let letters = rig.witness.read(&rig.letter_topic());
    assert_eq!(origins(&letters, "sink.too-large"), [format!("{}/0/0/0", rig.topic)].into());
    assert_eq!(letters[0].value, records[0].value);
    let rows = Account::take(&rig).rows;
    assert_eq!(rows.len(), COPIES + 9);
}
