//! Memory while nothing can go out (I5).

use std::time::Duration;

use longshore_broker::{JvmBroker, Tool};
use longshore_tests::harness::account::Fate;
use longshore_tests::harness::wait::pass_time;
use longshore_tests::harness::witness::now_ms;
use longshore_tests::harness::{Account, Record, Rig, Worker};

use super::{broker, is_full};

const MIB: usize = 1024 * 1024;
/// `limits.memory` of the worker under test.
pub(super) const BUDGET_MIB: u64 = 128;
/// What the promise allows above it.
const TOLERANCE: f64 = 1.15;
/// The large records.
const LARGE: usize = 20 * MIB;
const PARTITIONS: i32 = 64;

fn backlog() -> usize {
    if is_full() { 1024 * MIB } else { 300 * MIB }
}

/// A record whose text does not compress.
pub(super) fn record_of(bytes: usize, number: usize, partition: i32) -> Record {
    let mut random = longshore_testkit::Random::new(number as u64);
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        text.push_str(&format!("{:016x}", random.bits()));
    }
    Record::new(&format!("key-{number}"), format!("{{\"n\":{number},\"message\":\"{text}\"}}")).to(partition)
}

/// Half of the backlog in records of 20 MB, half in records of 20 kB, over all partitions.
fn publish(rig: &Rig) -> u64 {
    let publisher = rig.witness.publisher();
    let large = backlog() / 2 / LARGE;
    for number in 0..large {
        publisher.publish(&rig.topic, &[record_of(LARGE, number, number as i32 % PARTITIONS)]);
    }
    let small = backlog() / 2 / 20_000;
    for start in (0..small).step_by(500) {
        let batch = start..(start + 500).min(small);
        let records = batch.map(|number| record_of(20_000, large + number, number as i32 % PARTITIONS));
        publisher.publish(&rig.topic, &records.collect::<Vec<_>>());
    }
    (large + small) as u64
}

/// The peak is at most what the promise allows.
pub(super) fn assert_within_budget(worker: &Worker, when: &str) {
    let peak_mib = worker.memory_kib("VmHWM:").unwrap_or(u64::MAX) / 1024;
    println!("VmHWM {when}: {peak_mib} MiB of {BUDGET_MIB} MiB");
    assert!(peak_mib as f64 <= BUDGET_MIB as f64 * TOLERANCE, "VmHWM {when}: {peak_mib} MiB");
}

/// Waits until nothing moves any more: the worker holds as much as it ever will.
fn wait_until_still(worker: &mut Worker) {
    let mut last = -1.0;
    let mut still = 0;
    worker.wait_until("it takes no more records", |worker| {
        let received = worker.metric("longshore_received_bytes_total{");
        still = if received == last { still + 1 } else { 0 };
        last = received;
        pass_time(Duration::from_millis(100));
        still > 30 && received > 0.0
    });
}

/// Lets the broker take only so much from a client, or as much as it sends.
fn throttle(broker: &JvmBroker, client: &str, bytes_per_second: Option<u64>) {
    let setting = bytes_per_second.map(|rate| format!("producer_byte_rate={rate}"));
    let change = match &setting {
        Some(setting) => ["--add-config", setting.as_str()],
        None => ["--delete-config", "producer_byte_rate"],
    };
    let alter = ["--alter", "--entity-type", "clients", "--entity-name", client];
    broker.tool(Tool::Configs, &[&alter[..], &change].concat()).unwrap();
}

/// Scenario: 64 partitions, records of 20 MB among small ones, a budget of 128 MiB, and a target topic that takes next to
/// nothing since the broker throttles the worker; then it takes records again.
/// Guarantee: the peak stays within 1.15 of the budget, before and after, and all records come through. While nothing moves the
/// worker says why (I6), in its log and its metrics.
#[test]
fn a_blocked_topic_sink_keeps_to_the_budget() {
    let Some(broker) = broker() else { return };
    let (name, target) = ("memory-topic", "memory-topic.out");
    let rig = Rig::new(&broker.bootstrap(), name)
        .steps(" []")
        .sinks(&format!("\n  - topic: {{ name: {target}, format: raw }}"))
        .set(&format!("limits.memory={BUDGET_MIB}MiB"))
        .set(&format!("kafka.client.client.id={name}"))
        .with_topics(PARTITIONS);
    rig.witness.create_topic(target, 4, &[("max.message.bytes", "33554432")]);
    // The broker keeps a client waiting for what it sent above its quota, also when
    // the quota is lifted meanwhile: with less the test would take minutes.
    throttle(broker, name, Some(512 * 1024));
    let published = publish(&rig);
    let mut worker = rig.worker();
    wait_until_still(&mut worker);
    assert_within_budget(&worker, "with a blocked topic");
    // The first large record uses the budget up; whether a second one was seen before that is chance.
    let told = worker.metric("longshore_budget_full") + worker.metric("longshore_large_records_waiting");
    assert!(told > 0.0, "{}\n{}", worker.page("/metrics").unwrap_or_default(), worker.process.stderr());
    assert!(worker.process.stderr().contains("input waits for memory"), "{}", worker.process.stderr());
    throttle(broker, name, None);
    rig.wait_drained(Duration::from_secs(300), &[&worker]);
    assert_within_budget(&worker, "at the end");
    worker.stop();
    let sources: std::collections::BTreeSet<_> =
        rig.witness.read(target).iter().filter_map(|seen| seen.header("longshore.source")).collect();
    assert_eq!(sources.len() as u64, published);
    assert!(rig.witness.read(&rig.letter_topic()).is_empty());
}

/// Scenario: 64 partitions with records of 1 kB, and a target topic that takes less than comes, since the broker throttles the worker; then it takes
/// them as they come. Guarantee (I5): the peak stays within 1.15 of the budget, before and after, and all records come through.
#[test]
fn a_slow_topic_sink_keeps_to_the_budget() {
    let Some(broker) = broker() else { return };
    let (name, target) = ("memory-slow", "memory-slow.out");
    let rig = Rig::new(&broker.bootstrap(), name)
        .steps(" []")
        .sinks(&format!("\n  - topic: {{ name: {target}, format: raw }}"))
        .set(&format!("limits.memory={BUDGET_MIB}MiB"))
        .set(&format!("kafka.client.client.id={name}"))
        .with_topics(PARTITIONS);
    rig.witness.create_topic(target, 4, &[]);
    throttle(broker, name, Some(4 * MIB as u64));
    let publisher = rig.witness.publisher();
    let records = if is_full() { 400_000 } else { 80_000 };
    for start in (0..records).step_by(8_000) {
        let batch = (start..start + 8_000).map(|number| record_of(1_000, number, number as i32 % PARTITIONS));
        publisher.publish(&rig.topic, &batch.collect::<Vec<_>>());
    }
    let mut worker = rig.worker();
    worker.wait_until("it holds as much as it may", |worker| {
        worker.metric("longshore_received_bytes_total{") >= 40.0 * MIB as f64
    });
    assert_within_budget(&worker, "with a slow topic");
    throttle(broker, name, None);
    rig.wait_drained(Duration::from_secs(300), &[&worker]);
    assert_within_budget(&worker, "at the end");
    worker.stop();
    let read = rig.witness.read(target);
    let sources: std::collections::BTreeSet<_> =
        read.iter().filter_map(|seen| seen.header("longshore.source")).collect();
    assert_eq!(sources.len(), records);
}

/// Scenario: large records among small ones go to files: what is read is written, sealed by size, and the peak is that of a working worker.
#[test]
fn files_of_large_records_keep_to_the_budget() {
    let Some(broker) = broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "memory-files")
        .steps(" []")
        .set(&format!("limits.memory={BUDGET_MIB}MiB"))
        .with_topics(PARTITIONS);
    let published = publish(&rig);
    let worker = rig.worker();
    rig.wait_drained(Duration::from_secs(300), &[&worker]);
    assert_within_budget(&worker, "with files");
    worker.stop();
    Account::take(&rig).assert_right(published, |_| Fate::Row);
}

/// Scenario: large records in the input of many partitions and large copies in their retry lanes, together several times the
/// budget. Guarantee: neither lane waits for the other for ever, the peak stays within 1.15 of the budget, each record is held once.
#[test]
fn large_copies_and_large_records_are_all_worked_off() {
    let Some(broker) = broker() else { return };
    let rig = Rig::new(&broker.bootstrap(), "memory-copies")
        .steps(" []")
        .set(&format!("limits.memory={BUDGET_MIB}MiB"))
        .with_topics(4);
    let publisher = rig.witness.publisher();
    let now = now_ms();
    for number in 0..8 {
        let large = |number: usize| record_of(LARGE, number, number as i32 % 4).at(now);
        publisher.publish(&rig.topic, &[large(number)]);
        // A copy of the first record of each partition.
        if number < 4 {
            let origin = format!("{}/{}/0/0", rig.topic, number % 4);
            publisher.publish(&rig.retry_topic(), &[large(number).copy_of(&origin, now)]);
        }
    }
    let worker = rig.worker();
    rig.wait_drained(Duration::from_secs(120), &[&worker]);
    assert_within_budget(&worker, "with large copies");
    worker.stop();
    Account::take(&rig).assert_right(8, |_| Fate::Row);
}
