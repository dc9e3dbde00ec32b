//! Members that come and go while a full retry topic waits behind failed records, on both group protocols.

use std::collections::BTreeSet;
use std::time::Duration;

use longshore_tests::harness::account::Fate;
use longshore_tests::harness::rig::PairSeen;
use longshore_tests::harness::{Account, Record, Rig, Worker, wait_until};

use super::{broker, is_full};

const PARTITIONS: i32 = 6;
const KEYS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(60);
/// What mended workers are started with: nobody's record fails any more.
const MENDED: &[&str] = &["steps.1.fail.when=key == \"nobody\""];

/// How many records wait in the retry topic when the members begin to come and go.
fn records() -> usize {
    if is_full() { 10_000 } else { 2_000 }
}

/// How often a member joins and another one leaves, before the cause is mended and after it.
fn rounds() -> usize {
    if is_full() { 6 } else { 1 }
}

/// The first record of each key fails, and the others stand behind it.
fn record(number: usize) -> Record {
    let text = format!("{{\"n\":{number},\"first\":{}}}", number < KEYS);
    Record::new(&format!("key-{}", number % KEYS), text)
}

fn rig(bootstrap: &str, protocol: &str) -> Rig {
    let mut rig = Rig::new(bootstrap, &format!("retry-storm-{protocol}"))
        .steps("\n  - parse: { format: json }\n  - fail: { when: 'attributes[\"first\"] == true' }")
        .set("failure.retry.attempts=1000")
        .set("failure.retry.first=500ms")
        .set("failure.retry.cap=2s")
        .set("failure.retry.in_place=0ms")
        .set(&format!("kafka.group_protocol={protocol}"));
    if protocol == "consumer" {
        // Sessions are the broker's affair there.
        rig.settings.retain(|setting| !setting.contains("session.timeout") && !setting.contains("heartbeat"));
    }
    rig.with_topics(PARTITIONS)
}

/// The members at work, the oldest first.
struct Crew<'a> {
    rig: &'a Rig,
    members: Vec<Worker>,
    settings: &'a [&'a str],
}

impl Crew<'_> {
    fn join(&mut self) {
        let mut worker = self.rig.worker_with(self.settings, &[]);
        worker.wait_for_partitions();
        self.members.push(worker);
    }

    fn leave(&mut self) {
        self.members.remove(0).stop();
    }

    /// The oldest is killed; the others have its partitions when its session is over.
    fn kill(&mut self) {
        self.members.remove(0).process.kill9();
        self.all_run();
    }

    /// Waits until every partition is somebody's.
    fn all_run(&mut self) {
        wait_until("every partition runs", PATIENCE, || {
            let pairs = self.members.iter_mut().flat_map(Worker::pairs);
            let running = pairs.filter(PairSeen::works).map(|pair| pair.partition);
            running.collect::<BTreeSet<_>>().len() == PARTITIONS as usize
        });
    }

    /// Three to five members, of which always others.
    fn storm(&mut self) {
        for _ in 0..rounds() {
            self.join();
            self.join();
            self.leave();
            self.kill();
        }
    }
}

/// Whether every record went to the retry topic and its input is behind us.
fn all_wait(rig: &Rig) -> bool {
    let committed = rig.witness.committed(&rig.group(), &rig.topic);
    let behind = committed.values().map(|position| position.offset).sum::<i64>() == records() as i64;
    behind && {
        let copies = rig.witness.read(&rig.retry_topic());
        let origins: BTreeSet<_> = copies.iter().filter_map(|copy| copy.header("longshore.origin")).collect();
        origins.len() == records()
    }
}

/// Scenario: a full retry topic, all of it behind failed records of their keys; members join, leave and are killed, first while
/// the cause is there, then while mended members take over and work it off.
/// Guarantee: every record is in the files once, and those of a key in their order (I1, I2, I3).
fn members_come_and_go(protocol: &str) {
    let Some(broker) = broker() else { return };
    let rig = rig(&broker.bootstrap(), protocol);
    rig.witness.publish(&rig.topic, &(0..records()).map(record).collect::<Vec<_>>());
    let mut crew = Crew { rig: &rig, members: Vec::new(), settings: &[] };
    (0..3).for_each(|_| crew.join());
    wait_until("everything waits in the retry topic", PATIENCE, || all_wait(&rig));
    crew.storm();
    assert!(Account::take(&rig).rows.is_empty(), "a record passed the failed one of its key");
    crew.settings = MENDED;
    // A mended member for each of the old ones, as a deployment does it.
    for _ in 0..crew.members.len() {
        crew.join();
        crew.leave();
    }
    crew.storm();
    wait_until("no copy waits any more", Duration::from_secs(120), || rig.uncommitted_copies() == 0);
    crew.members.into_iter().for_each(|worker| worker.stop());
    Account::take(&rig).assert_right(records() as u64, |_| Fate::Row);
}

#[test]
fn members_come_and_go_over_a_full_retry_topic() {
    members_come_and_go("classic");
}

/// The same by KIP-848.
#[test]
fn members_come_and_go_over_a_full_retry_topic_with_the_new_protocol() {
    members_come_and_go("consumer");
}
