//! Failed records on their way through the retry topic.

use std::time::Duration;

use longshore_tests::harness::account::Fate;
use longshore_tests::harness::witness::now_ms;
use longshore_tests::harness::{Account, Record, Rig, Seen, shared_broker, wait_until};

const KEYS: usize = 20;
const ROUNDS: usize = 30;
/// The fifth record of each fifth key does not end within its deadline.
const SLOW: &str =
    "\n  - parse: { format: json }\n  - delay: { for: 60s, when: 'attributes[\"slow\"] == true' }";

fn records() -> Vec<Record> {
    let of = |n: usize| {
        let (round, key) = (n / KEYS, n % KEYS);
        let slow = key.is_multiple_of(5) && round == 5;
        Record::new(&format!("key-{key}"), format!("{{\"round\":{round},\"slow\":{slow}}}"))
    };
    (0..KEYS * ROUNDS).map(of).collect()
}

fn rig(bootstrap: &str, name: &str) -> Rig {
    Rig::new(bootstrap, name)
        .steps(SLOW)
        .set("limits.step=300ms")
        .set("failure.retry.first=1s")
        .set("failure.retry.cap=2s")
        .set("failure.retry.in_place=10ms")
        .with_topics(2)
}

fn fast_key(seen: &Seen) -> bool {
    let key = String::from_utf8(seen.key.clone().unwrap_or_default()).unwrap();
    !key.trim_start_matches("key-").parse::<usize>().unwrap().is_multiple_of(5)
}

/// Scenario: a record of each fifth key fails for as long as a bug is there; the worker is killed while they and what
/// stands behind them wait; the next worker is mended. Guarantee: the other keys went on at once, and in the end every record
/// is in the files once, each key in its order (I1, I2, I3), and the retry topic is committed to its end.
#[test]
fn retried_records_keep_their_keys_order_over_a_kill() {
    let Some(broker) = shared_broker() else { return };
    let rig = rig(&broker.bootstrap(), "e2e-retry").set("failure.retry.attempts=1000");
    rig.witness.publish(&rig.topic, &records());
    let mut worker = rig.working();
    wait_until(
        "the other keys are in the files, and what waits is behind the input",
        Duration::from_secs(60),
        || {
            let account = Account::take(&rig);
            let fast = account.published.iter().filter(|(_, seen)| fast_key(seen)).map(|(place, _)| place);
            let input: i64 = account.committed.values().map(|position| position.offset).sum();
            fast.clone().all(|place| account.rows.contains_key(place)) && input == (KEYS * ROUNDS) as i64
        },
    );
    assert!(worker.metric("longshore_records_retried_total{") > 0.0);
    assert!(rig.uncommitted_copies() > 0, "nothing waits");
    worker.process.kill9();
    let mended = rig.worker_with(&["steps.1.delay.for=1ms"], &[]);
    rig.wait_drained(Duration::from_secs(60), &[&mended]);
    wait_until("no copy waits any more", Duration::from_secs(90), || rig.uncommitted_copies() == 0);
    mended.stop();
    Account::take(&rig).assert_right((KEYS * ROUNDS) as u64, |_| Fate::Row);
}

/// Scenario: the same records, three tries, and nobody mends anything. Guarantee: each failing record becomes one dead letter
/// that tells its tries and its first place, what stood behind it goes on in order, and nothing waits at the end.
#[test]
fn the_last_try_makes_a_letter_and_frees_the_key() {
    let Some(broker) = shared_broker() else { return };
    let rig = rig(&broker.bootstrap(), "e2e-retry-last").set("failure.retry.attempts=3");
    rig.witness.publish(&rig.topic, &records());
    let worker = rig.working();
    rig.wait_drained(Duration::from_secs(60), &[&worker]);
    wait_until("no copy waits any more", Duration::from_secs(90), || {
        rig.uncommitted_copies() == 0 && rig.witness.read(&rig.letter_topic()).len() >= KEYS / 5
    });
    worker.stop();
    let slow = |seen: &Seen| seen.value.as_deref().is_some_and(|value| value.ends_with(b"\"slow\":true}"));
    let fate = |seen: &Seen| {
        if slow(seen) { Fate::Letter("step.deadline".to_owned()) } else { Fate::Row }
    };
    Account::take(&rig).assert_right((KEYS * ROUNDS) as u64, fate);
    let letters = rig.witness.read(&rig.letter_topic());
    assert_eq!(letters.len(), KEYS / 5);
    for letter in letters {
        assert_eq!(letter.header("longshore.attempt").as_deref(), Some("3"), "{letter:?}");
        let (first, last) = (letter.header("longshore.first-failed"), letter.header("longshore.last-failed"));
        let ms = |text: Option<String>| text.unwrap().parse::<i64>().unwrap();
        assert!(ms(last) > ms(first), "{letter:?}");
    }
}

/// Scenario: a record fails at every try, first in the worker, then through the retry topic; between its tries records of its own partition and
/// of another go through. Guarantee: their success resets nothing: it is a letter after exactly as many tries as it may have.
#[test]
fn the_success_of_others_resets_no_attempt() {
    const TRIES: usize = 6;
    let Some(broker) = shared_broker() else { return };
    for (name, in_place) in [("e2e-attempts-here", "10s"), ("e2e-attempts-topic", "0ms")] {
        let rig = Rig::new(&broker.bootstrap(), name)
            .steps("\n  - fail: { when: 'key == \"bad\"' }\n  - parse: { format: json }")
            .set(&format!("failure.retry.attempts={TRIES}"))
            .set("failure.retry.first=200ms")
            .set("failure.retry.cap=200ms")
            .set("failure.retry.floor=100ms")
            .set(&format!("failure.retry.in_place={in_place}"))
            .with_topics(2);
        let good = || [0, 1].map(|partition| Record::new("good", "{}").to(partition));
        rig.witness.publish(&rig.topic, &[Record::new("bad", "{}").to(0)]);
        let worker = rig.working();
        let mut published = 1;
        wait_until("it is a letter", Duration::from_secs(60), || {
            rig.witness.publish(&rig.topic, &good());
            published += 2;
            rig.witness.ends(&rig.letter_topic())[0] > 0
        });
        rig.wait_drained(Duration::from_secs(60), &[&worker]);
        wait_until("no copy waits any more", Duration::from_secs(60), || rig.uncommitted_copies() == 0);
        worker.stop();
        let attempts = |topic: &str| -> Vec<Option<String>> {
            rig.witness.read(topic).iter().map(|seen| seen.header("longshore.attempt")).collect()
        };
        assert_eq!(attempts(&rig.letter_topic()), [Some(TRIES.to_string())]);
        let through: Vec<_> = if in_place == "0ms" { (1..TRIES).collect() } else { Vec::new() };
        assert_eq!(
            attempts(&rig.retry_topic()),
            through.iter().map(|n| Some(n.to_string())).collect::<Vec<_>>()
        );
        let bad = |seen: &Seen| seen.key.as_deref() == Some(b"bad");
        let fate = |seen: &Seen| if bad(seen) { Fate::Letter("step.failed".to_owned()) } else { Fate::Row };
        Account::take(&rig).assert_right(published, fate);
    }
}

/// Scenario: more bytes wait in the retry topic than the worker's whole memory budget, as when one worker takes over the
/// partitions of several. Guarantee: the retry lane is read to its end all the same, and everything comes through; a budget
/// that is used up must not keep the input waiting for ever, in silence (I6).
#[test]
fn a_backlog_of_copies_beyond_the_budget_is_worked_off() {
    let Some(broker) = shared_broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "e2e-retry-backlog")
        .steps(" []")
        .set("limits.memory=64MiB")
        .with_topics(1);
    let text = "x".repeat(1024 * 1024);
    let now = now_ms();
    let record = |n: usize| {
        Record::new(&format!("key-{n}"), format!("{{\"n\":{n},\"text\":\"{text}\"}}")).to(0).at(now)
    };
    let copy = |n: usize| record(n).copy_of(&format!("{}/0/{n}/0", rig.topic), now);
    for start in (0..120).step_by(20) {
        rig.witness.publish(&rig.topic, &(start..start + 20).map(record).collect::<Vec<_>>());
        rig.witness.publish(&rig.retry_topic(), &(start..start + 20).map(copy).collect::<Vec<_>>());
    }
    let worker = rig.working();
    rig.wait_drained(Duration::from_secs(90), &[&worker]);
    wait_until("no copy waits any more", Duration::from_secs(60), || rig.uncommitted_copies() == 0);
    worker.stop();
    Account::take(&rig).assert_right(120, |_| Fate::Row);
}
