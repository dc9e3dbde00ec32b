//! Three brokers, of which one dies, and which are all restarted in turn.

use std::collections::BTreeSet;
use std::time::Duration;

use longshore_broker::{BrokerOptions, JvmBroker};
use longshore_tests::harness::account::log_fate;
use longshore_tests::harness::flow::log_line;
use longshore_tests::harness::{Account, Flow, Rig, Worker, report, start_broker, wait_until};

use super::is_full;
use super::progress::Mark;

/// What the promise allows.
const MOST: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(120);

/// How often each broker is killed, and how often all are restarted in turn.
fn rounds() -> usize {
    if is_full() { 5 } else { 1 }
}

/// Waits until every replica of what the fleet writes to is in sync: with one behind, the loss of another stops writes by design.
fn wait_in_sync(rig: &Rig, topics: &[&str]) {
    wait_until("all replicas are in sync", PATIENCE, || {
        topics.iter().all(|topic| rig.witness.least_in_sync(topic) == Some(3))
    });
}

/// What happens to one broker, and how long until records of every partition are committed again.
fn strike(rig: &Rig, what: &str, crew: &[Worker], strike: impl FnOnce()) -> (String, Duration) {
    let mark = Mark::set(rig);
    strike();
    let took = mark.wait_until_passed(rig, crew);
    let found = format!("flows after {:.1} s", took.as_secs_f64());
    report::figure(what, &found, &format!("<= {} s", MOST.as_secs()));
    (what.to_owned(), took)
}

/// Each node in its turn goes in the given way under load and comes back.
fn each_in_turn(
    broker: &mut JvmBroker,
    rig: &Rig,
    topics: &[&str],
    crew: &[Worker],
    kill: bool,
) -> Vec<(String, Duration)> {
    let mut took = Vec::new();
    for node in 1..=3 {
        wait_in_sync(rig, topics);
        let what = format!("broker {node} of three {}", if kill { "killed" } else { "restarted" });
        took.push(strike(rig, &what, crew, || {
            if kill { broker.kill9(node).unwrap() } else { broker.stop(node).unwrap() }
        }));
        broker.restart(node).unwrap();
        Account::take(rig).assert_sound();
    }
    took
}

/// Every row is in the topic sink as well, at least once.
fn assert_topic_has_all(rig: &Rig, account: &Account, target: &str) {
    let found: BTreeSet<String> =
        rig.witness.read(target).iter().filter_map(|seen| seen.header("longshore.source")).collect();
    let wanted =
        account.rows.keys().map(|(partition, offset)| format!("{}/{partition}/{offset}/0", rig.topic));
    let missing: Vec<_> = wanted.filter(|source| !found.contains(source)).collect();
    assert!(missing.is_empty(), "I1: not in {target}: {missing:?}");
}

/// Scenario: three brokers, replication 3, two replicas for an acknowledgement; two workers write into files and into a topic. Under load one
/// broker after the other is killed (SIGKILL; in the short form only one), and then each is restarted in turn.
/// Guarantee: I1 to I4, nothing is missing in the topic, no worker ends, and at most ten seconds after each loss every partition has new
/// commits.
#[test]
fn brokers_die_and_restart_in_turn() {
    let Some(mut broker) = start_broker(BrokerOptions { brokers: 3, ..BrokerOptions::default() }) else {
        return;
    };
    let target = "three.out";
    let rig = Rig::new(&broker.bootstrap(), "three");
    let files = rig.files().display().to_string();
    let rig = rig
        .sinks(&format!(
            "\n  - files: {{ path: \"{files}\", roll: {{ bytes: 1MiB, age: 300ms }} }}\n  - topic: {{ name: {target} }}"
        ))
        .set("kafka.client.session.timeout.ms=6000")
        .with_topics(6);
    rig.witness.create_topic(target, 3, &[]);
    let own = [rig.retry_topic(), rig.letter_topic()];
    let topics = [rig.topic.as_str(), target, own[0].as_str(), own[1].as_str(), "__consumer_offsets"];
    let mut crew = vec![rig.working(), rig.working()];
    let flow = Flow::start(&rig.witness, &rig.topic, 600, log_line);
    flow.wait_for_more(1_000);
    let mut took = Vec::new();
    for _ in 0..rounds() {
        if is_full() {
            took.extend(each_in_turn(&mut broker, &rig, &topics, &crew, true));
        } else {
            wait_in_sync(&rig, &topics);
            took.push(strike(&rig, "broker 2 of three killed", &crew, || broker.kill9(2).unwrap()));
            broker.restart(2).unwrap();
        }
        took.extend(each_in_turn(&mut broker, &rig, &topics, &crew, false));
    }
    for worker in &mut crew {
        assert!(!worker.process.has_ended(), "a worker ended\n{}", worker.process.transcript());
    }
    let published = flow.stop();
    rig.wait_drained(PATIENCE, &crew.iter().collect::<Vec<_>>());
    let said: Vec<_> = crew.iter().map(|worker| worker.process.transcript()).collect();
    crew.into_iter().for_each(Worker::stop);
    let account = Account::take(&rig);
    account.assert_right(published, log_fate);
    assert_topic_has_all(&rig, &account, target);
    let late: Vec<_> = took.iter().filter(|(_, took)| *took > MOST).collect();
    assert!(late.is_empty(), "longer than {MOST:?}: {late:?}\n{}", said.join("\n======\n"));
}
